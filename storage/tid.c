/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tid.c - transaction ids from the clock, in the encoding of persistent.TimeStamp.
 *
 * Called by commit_vote.c while the commit lock is held; no state, any thread. A tid must decode
 * to a real date in every other ZODB program, so the step past a full minute goes by the calendar.
 */
#include "storage/tid.h"

#define BASE_YEAR         1900
#define MINUTES_PER_DAY   (24 * 60)
#define MINUTES_PER_MONTH (31 * MINUTES_PER_DAY)
#define MINUTES_PER_YEAR  (12 * MINUTES_PER_MONTH)

storage_tid_t tid_from_time(apr_time_t when)
{
    apr_time_exp_t t;
    apr_uint64_t minutes, micros;

    apr_time_exp_gmt(&t, when);
    minutes = (apr_uint64_t)(t.tm_year + 1900 - BASE_YEAR) * MINUTES_PER_YEAR +
              (apr_uint64_t)t.tm_mon * MINUTES_PER_MONTH +
              (apr_uint64_t)(t.tm_mday - 1) * MINUTES_PER_DAY + (apr_uint64_t)t.tm_hour * 60 +
              (apr_uint64_t)t.tm_min;
    micros = (apr_uint64_t)t.tm_sec * APR_USEC_PER_SEC + (apr_uint64_t)t.tm_usec;
    /* micros < 6e7 < 2^26, so the shift stays within 58 bits. */
    return (minutes << 32) | ((micros << 32) / (60 * (apr_uint64_t)APR_USEC_PER_SEC));
}

static unsigned int days_in_month(unsigned int year, unsigned int month)
{
    static const unsigned char days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    if (month == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) {
        return 29;
    }
    return days[month];
}

static apr_uint64_t next_minute(apr_uint64_t minutes)
{
    unsigned int year = BASE_YEAR + (unsigned int)(minutes / MINUTES_PER_YEAR);
    unsigned int month = (unsigned int)(minutes % MINUTES_PER_YEAR / MINUTES_PER_MONTH);
    unsigned int day = (unsigned int)(minutes % MINUTES_PER_MONTH / MINUTES_PER_DAY);

    if (minutes % MINUTES_PER_DAY == MINUTES_PER_DAY - 1 && day + 1 >= days_in_month(year, month)) {
        return (minutes / MINUTES_PER_MONTH + 1) * MINUTES_PER_MONTH;
    }
    return minutes + 1;
}

storage_tid_t tid_after(storage_tid_t last, apr_time_t when)
{
    storage_tid_t now = tid_from_time(when);

    if (now > last) {
        return now;
    }
    if ((last & 0xffffffffU) != 0xffffffffU) {
        return last + 1;
    }
    return next_minute(last >> 32) << 32;
}
