/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_descriptors.c: what a forked process keeps of httpd: descriptors, and the name it shows.
 *
 * A manager inherits everything that the parent had open: listeners, other modules' locks, pipes to
 * log programs.  Whatever it kept it would hold on to after the parent has let go, so all but a
 * short list is closed.  Called once in each manager and each daemon, single-threaded.
 */
#include "server/manager_descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <syslog.h>
#include <unistd.h>

#include <apr_portable.h>
#include <apr_strings.h>

#define COMM_MAX 16 /* TASK_COMM_LEN of the kernel, with the NUL */

static int descriptor_of(apr_file_t *file)
{
    apr_os_file_t fd;

    return file != NULL && apr_os_file_get(&fd, file) == APR_SUCCESS ? fd : -1;
}

/* A table by descriptor, so that thousands of channels cost one look each.  It ends behind the
 * largest that is kept: the limit of open files may be a thousand million. */
typedef struct kept_t {
    char *table; /* owned by the pool it was made in */
    int size;
} kept_t;

static int kept_size(server_rec *main_server, const apr_array_header_t *keep)
{
    int most = STDERR_FILENO;
    server_rec *s;
    int i;

    for (i = 0; i < keep->nelts; i++) {
        int fd = APR_ARRAY_IDX(keep, i, int);

        most = fd > most ? fd : most;
    }
    for (s = main_server; s != NULL; s = s->next) {
        int fd = descriptor_of(s->error_log);

        most = fd > most ? fd : most;
    }
    return most + 1;
}

static void kept_make(kept_t *kept, server_rec *main_server, const apr_array_header_t *keep,
                      apr_pool_t *p)
{
    server_rec *s;
    int i;

    kept->size = kept_size(main_server, keep);
    kept->table = apr_pcalloc(p, (apr_size_t)kept->size);
    for (i = 0; i < keep->nelts; i++) {
        int fd = APR_ARRAY_IDX(keep, i, int);

        if (fd >= 0) {
            kept->table[fd] = 1;
        }
    }
    for (s = main_server; s != NULL; s = s->next) {
        int fd = descriptor_of(s->error_log);

        if (fd >= 0) {
            kept->table[fd] = 1;
        }
    }
}

static int kept_has(const kept_t *kept, int fd)
{
    return fd <= STDERR_FILENO || (fd < kept->size && kept->table[fd]);
}

void manager_descriptors_close(server_rec *main_server, const apr_array_header_t *keep,
                               apr_pool_t *p)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    kept_t kept;

    if (folder == NULL) {
        return;
    }
    closelog(); /* its descriptor is closed below; the next message opens another */
    kept_make(&kept, main_server, keep, p);
    while ((entry = readdir(folder)) != NULL) {
        int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);

        if (fd != dirfd(folder) && !kept_has(&kept, fd)) {
            (void)close(fd);
        }
    }
    (void)closedir(folder);
}

/* Bytes of the arguments as the kernel laid them out; httpd's own array has copies of some of them.
 */
static apr_size_t arguments_size(void)
{
    char bytes[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof(bytes)) : 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return n > 0 ? (apr_size_t)n : 0;
}

void manager_title_set(server_rec *main_server, const char *title)
{
    char *start = (char *)main_server->process->argv[0];
    apr_size_t room = arguments_size();
    char comm[COMM_MAX];

    apr_cpystrn(comm, title, sizeof(comm));
    (void)prctl(PR_SET_NAME, comm);
    if (room > 0) {
        memset(start, 0, room);
        apr_cpystrn(start, title, room);
    }
}
