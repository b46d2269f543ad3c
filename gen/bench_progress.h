// bench_progress: says on stderr how far a measurement is: a rewritten line with the time left on a terminal, elsewhere
// a line for each problem that is done. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_PROGRESS_H
#define SAGE_GEN_BENCH_PROGRESS_H

#include "bench_problem.h"
#include <time.h>

struct bench_progress {
    const struct bench_problems *problems;
    bool terminal;
    struct timespec start;
    int done;
    double weight_done, weight_all; /* shares of the expected time */
};

void bench_progress_start(struct bench_progress *p, const struct bench_problems *problems);
// A program is being started; it runs now, and the time left counts from here.
void bench_progress_starting(struct bench_progress *p, const char *program);
void bench_progress_running(struct bench_progress *p);
// Something began; what: "fa3_bf16", or "" for the timing.
void bench_progress_doing(struct bench_progress *p, int problem, const char *what);
void bench_progress_done(struct bench_progress *p, int problem);
// A line that stays.
void bench_progress_note(struct bench_progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bench_progress_end(struct bench_progress *p);

#endif
