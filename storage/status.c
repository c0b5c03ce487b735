/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - a sentence for every status of the library. No state, any thread.
 */
#include "storage/storage.h"

static const struct {
    apr_status_t status;
    const char *text;
} status_table[] = {
    { STORAGE_CONFLICT, "another transaction changed an object that this one stores" },
    { STORAGE_READ_CONFLICT, "an object that had to stay unchanged has changed" },
    { STORAGE_RETRY, "a lock or a connection was not to be had in time" },
    { STORAGE_CLOSED, "the storage is closed" },
    { STORAGE_MISSING, "there is no such object or revision" },
    { STORAGE_FATAL, "the database cannot be used" },
    { STORAGE_BAD_URI, "the storage's URI is wrong" },
    { STORAGE_READ_ONLY, "the storage is read-only" },
    { STORAGE_PHASE, "the call does not fit the phase of the transaction" },
    { STORAGE_FORKED, "the storage was opened before a fork; open it again in this process" },
    { STORAGE_WOULD_WAIT, "the answer is not in memory" },
    { STORAGE_RANGE, "an oid, a tid or a state is beyond what the database can hold" },
};

const char *storage_strerror(apr_status_t rv, char *buffer, apr_size_t size)
{
    apr_size_t i;

    for (i = 0; i < sizeof(status_table) / sizeof(status_table[0]); i++) {
        if (status_table[i].status == rv) {
            return status_table[i].text;
        }
    }
    return apr_strerror(rv, buffer, size);
}
