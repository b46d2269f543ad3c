// bench_progress: see bench_progress.h. SPDX-License-Identifier: Apache-2.0
#include "bench_progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

// A problem takes some time whatever its size, the more the longer its calls, up to the timer's budget; beyond that as
// long as its fewest calls.
static double weight(const struct bench_problem *problem) {
    const double call_s = bench_problem_work(problem) / 5e14;
    return 0.1 + fmin(20 * call_s, 0.25) + 3 * call_s;
}

void bench_progress_start(struct bench_progress *p, const struct bench_problems *problems) {
    *p = (struct bench_progress){.problems = problems, .terminal = isatty(STDERR_FILENO)};
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    for (int i = 0; i < problems->count; i++) p->weight_all += weight(&problems->item[i]);
}

void bench_progress_starting(struct bench_progress *p, const char *program) {
    if (p->terminal) fprintf(stderr, "\r\033[K%s is starting", program);
}

void bench_progress_running(struct bench_progress *p) {
    clock_gettime(CLOCK_MONOTONIC, &p->start);
}

static void put_problem(const struct bench_progress *p, int number, int problem) {
    const struct bench_problem *q = &p->problems->item[problem];
    fprintf(stderr, "[%d/%d] d %d, N %d, %d x %d%s", number, p->problems->count, q->d, q->n, q->batch, q->heads,
            q->causal ? ", causal" : "");
}

static void put_time_left(const struct bench_progress *p) {
    struct timespec now;
    if (!(p->weight_done > 0)) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double spent_s = (double)(now.tv_sec - p->start.tv_sec) + (double)(now.tv_nsec - p->start.tv_nsec) / 1e9;
    fprintf(stderr, "; %.0f s left", spent_s * (p->weight_all - p->weight_done) / p->weight_done);
}

void bench_progress_doing(struct bench_progress *p, int problem, const char *what) {
    if (!p->terminal) return;
    fputs("\r\033[K", stderr);
    put_problem(p, p->done + 1, problem);
    put_time_left(p);
    fprintf(stderr, ": %s", what[0] ? what : "timing");
    fflush(stderr);
}

void bench_progress_done(struct bench_progress *p, int problem) {
    p->done++;
    p->weight_done += weight(&p->problems->item[problem]);
    if (p->terminal) return;
    put_problem(p, p->done, problem);
    put_time_left(p);
    fputs("\n", stderr);
}

void bench_progress_note(struct bench_progress *p, const char *format, ...) {
    va_list args;
    if (p->terminal) fputs("\r\033[K", stderr);
    fputs("sagegen bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
}

void bench_progress_end(struct bench_progress *p) {
    if (p->terminal) fputs("\r\033[K", stderr);
}
