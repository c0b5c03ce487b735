/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_fork.c: what becomes of a daemon's fork that an application makes.
 *
 * Such a process has the daemon's sockets and the thread that forked it, but no part in serving: it
 * must never take a ticket, nor touch the channel of the request in which it was made, which its
 * parent answers.  The kernel tells the two apart: it wipes a page of the daemon in every fork.
 * Any thread; one load to ask, no system call.
 */
#include "server/daemon_private.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* The thread's mask while it forks; a thread's own, so that two may fork at once. */
static _Thread_local sigset_t mask_kept;

/* Before a fork: a signal that is sent to the child at once must not meet a handler of the
 * daemon's. */
static void signals_hold(void)
{
    sigset_t all;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &mask_kept);
}

static void signals_resume(void)
{
    (void)pthread_sigmask(SIG_SETMASK, &mask_kept, NULL);
}

/* In the child: our handlers are the daemon's own affair; those of an application stay. */
static void signals_default(void)
{
    static const int handled[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGWINCH, DAEMON_WAKE };
    apr_size_t i;

    for (i = 0; i < sizeof(handled) / sizeof(handled[0]); i++) {
        struct sigaction action;

        if (sigaction(handled[i], NULL, &action) == 0 && action.sa_handler == daemon_wake_up) {
            (void)signal(handled[i], SIG_DFL);
        }
    }
    signals_resume();
}

apr_status_t daemon_fork_guard(daemon_t *daemon)
{
    apr_size_t size = (apr_size_t)sysconf(_SC_PAGESIZE);
    volatile int *page =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return errno;
    }
    if (madvise((void *)page, size, MADV_WIPEONFORK) != 0) { /* Linux 4.14 and later have it */
        return errno;
    }
    *page = 1;
    daemon->genuine = page;
    return pthread_atfork(signals_hold, signals_resume, signals_default);
}

int daemon_fork_crossed(const daemon_t *daemon)
{
    return *daemon->genuine == 0;
}
