// parallel: see the header. The next index is an atomic counter; nothing else is shared.
// SPDX-License-Identifier: Apache-2.0
#include "parallel.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

enum { THREADS_MAX = 16 };

struct parallel {
    int count;
    void (*work)(void *user, int index);
    void *user;
    atomic_int next;
};

static void *take_all(void *user) {
    struct parallel *all = user;
    for (int i = atomic_fetch_add(&all->next, 1); i < all->count; i = atomic_fetch_add(&all->next, 1))
        all->work(all->user, i);
    return NULL;
}

static int thread_count(int wanted, int count) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = wanted > 0 ? wanted : cpus > 0 && cpus < THREADS_MAX ? (int)cpus : THREADS_MAX;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    return threads < count ? threads : count;
}

void parallel_each(int count, int threads, void (*work)(void *user, int index), void *user) {
    struct parallel all = {.count = count, .work = work, .user = user, .next = 0};
    pthread_t thread[THREADS_MAX];
    sigset_t every, before;
    int started = 0;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); // inherited by the new threads
    for (int i = 1; i < thread_count(threads, count); i++)
        if (pthread_create(&thread[started], NULL, take_all, &all) == 0) started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    take_all(&all);
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
}
