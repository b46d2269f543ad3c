// parallel: threads take item numbers from one atomic counter.
// SPDX-License-Identifier: Apache-2.0
#include "parallel.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREAD_LIMIT = 256 };

struct loop {
    atomic_size_t next;
    size_t count;
    void (*work)(void *user, size_t i);
    void *user;
};

static void *run_items(void *argument) {
    struct loop *loop = argument;
    for (size_t i; (i = atomic_fetch_add(&loop->next, 1)) < loop->count;) loop->work(loop->user, i);
    return NULL;
}

static size_t thread_count(size_t count, int threads) {
    long wanted = threads > 0 ? threads : sysconf(_SC_NPROCESSORS_ONLN);
    if (wanted < 1) wanted = 1;
    if (wanted > THREAD_LIMIT) wanted = THREAD_LIMIT;
    return count < (size_t)wanted ? count : (size_t)wanted;
}

void parallel_for(size_t count, int threads, void (*work)(void *user, size_t i), void *user) {
    struct loop loop = {.count = count, .work = work, .user = user};
    atomic_init(&loop.next, 0);
    pthread_t thread[THREAD_LIMIT];
    size_t wanted = thread_count(count, threads), started = 0;
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); // inherited by the new threads
    while (started + 1 < wanted && pthread_create(&thread[started], NULL, run_items, &loop) == 0) started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    run_items(&loop);
    for (size_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
}
