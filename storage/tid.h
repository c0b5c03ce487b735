/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tid.h - transaction ids from the clock, in the encoding of persistent.TimeStamp.
 *
 * The upper 32 bits count minutes, every year taken as 12 months of 31 days, from 1900; the lower
 * 32 bits are the second of that minute in units of 60 / 2^32. Pure functions, any thread.
 */
#ifndef STORAGE_TID_H
#define STORAGE_TID_H

#include "storage/storage.h"

#include <apr_time.h>

/* The tid of that moment (microseconds since 1970, UTC). */
storage_tid_t tid_from_time(apr_time_t when);

/* The tid of that moment, or the smallest valid one above last if the clock is not past it. */
storage_tid_t tid_after(storage_tid_t last, apr_time_t when);

#endif
