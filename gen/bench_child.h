// bench_child: the process that measures: it answers in JSON lines, as the head of tuning/bench/measure.py says, and
// its answers become records. In a group of its own: Ctrl-C reaches this process alone, which then keeps what there is.
// A kernel that ends the process, hangs it, breaks its GPU context or makes it talk nonsense is left out of a new
// process, which goes on with the same problem. This process never calls the driver: its children could not any more.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_CHILD_H
#define SAGE_GEN_BENCH_CHILD_H

#include "bench_measure.h"
#include "verify_process.h"

enum { BENCH_CANNOT_START = 127, BENCH_RIVALS_MOST = 64 };

// Who was named for the problem at hand.
struct bench_rival {
    int contender;
    char *kernel;
};

struct bench_child {
    const struct bench_job *job;
    struct bench_records *records;
    struct buf *why;
    // In the process: answers through fd; it sees c as it was when the process began. Returns the exit status.
    int (*work)(const struct bench_child *c, int fd);
    void *user;
    const char *name;     /* "the Python process" */
    const char *messages; /* the file of its stderr; NULL: it has this one's */
    bool can_part;        /* it heeds `apart` */
    int apart;            /* the problem whose kernels take no turns, as one of them failed in its turn; -1: none */
    bool *done;           /* of the problems */
    json_t *dropped;      /* contenders, or specs of sagegen's, that are left out from now on */
    /* The rest is the parent's. */
    struct process process;
    struct buf pending, line;
    struct bench_rival rival[BENCH_RIVALS_MOST];
    int rivals;
    int problem; /* at hand; -1: none */
    bool timing, started, ended, cannot;
};

// From job, records, why, work, user, name, messages and can_part. NO_PEER: it did not start, or said that it cannot.
enum bench_end bench_child_run(struct bench_child *c);
bool bench_child_drops(const struct bench_child *c, const char *name);

#endif
