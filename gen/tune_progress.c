// tune_progress: see tune_progress.h. SPDX-License-Identifier: Apache-2.0
#include "tune_progress.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

// A candidate takes some time whatever the problem, and as long as its samples' budget allows for a long one.
static double weight(const struct tune_task *t) {
    const double call_s = bench_problem_work(&t->problem) / 5e14;
    return t->count * (0.05 + fmin(30 * call_s, 1.0) + 3 * call_s);
}

void tune_progress_start(struct tune_progress *p, bool quiet) {
    *p = (struct tune_progress){.quiet = quiet, .terminal = !quiet && isatty(STDERR_FILENO)};
    clock_gettime(CLOCK_MONOTONIC, &p->start);
}

void tune_progress_add(struct tune_progress *p, const struct tune_task *t, bool is_done) {
    p->tasks++;
    p->done += is_done;
    if (!is_done) p->weight_left += weight(t);
}

static void put_time_left(const struct tune_progress *p) {
    struct timespec now;
    if (!(p->weight_done > 0)) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double spent_s = (double)(now.tv_sec - p->start.tv_sec) + (double)(now.tv_nsec - p->start.tv_nsec) / 1e9;
    fprintf(stderr, "; %.0f s left", spent_s * fmax(0, p->weight_left) / p->weight_done);
}

static void put_task(const struct tune_progress *p, int number, const struct tune_task *t) {
    struct buf text = {0};
    tune_task_text(t, &text);
    fprintf(stderr, "[%d/%d] %s", number, p->tasks, text.data);
    buf_free(&text);
}

void tune_progress_doing(struct tune_progress *p, const struct tune_task *t, const struct tune_step *step,
                         int building) {
    if (!p->terminal) return;
    fputs("\r\033[K", stderr);
    put_task(p, p->done + 1, t);
    if (step->next == TUNE_CHECK)
        fputs(": checking", stderr);
    else
        fprintf(stderr, ": round %d of %d, %d variant%s", step->round + 1, TUNE_ROUNDS, step->count,
                step->count == 1 ? "" : "s");
    if (building) fprintf(stderr, "; %d compiling", building);
    put_time_left(p);
    fflush(stderr);
}

void tune_progress_done(struct tune_progress *p, const struct tune_task *t) {
    p->done++;
    p->weight_done += weight(t);
    p->weight_left -= weight(t);
    if (p->quiet || p->terminal) return;
    put_task(p, p->done, t);
    put_time_left(p);
    fputs("\n", stderr);
}

void tune_progress_fault(struct tune_progress *p, const struct tune_set *s, const struct tune_task *t,
                         enum tune_fault fault, const char *why) {
    struct buf text = {0};
    if (p->quiet) return;
    if (t)
        tune_task_text(t, &text);
    else
        buf_printf(&text, "%s %s %s", s->spec->spec.name, spec_io_text(s->io), spec_mask_text(s->mask));
    fprintf(stderr, "%ssagegen tune: %s of %s is left out (%s): %s\n", p->terminal ? "\r\033[K" : "", s->name,
            text.data, tune_fault_word(fault), why);
    buf_free(&text);
}

void tune_progress_end(struct tune_progress *p) {
    if (p->terminal) fputs("\r\033[K", stderr);
}
