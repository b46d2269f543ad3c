// tune_progress: says on stderr how far the tuning is: a rewritten line with the time left on a terminal, elsewhere a
// line for each problem that is decided; and a line for each fault. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TUNE_PROGRESS_H
#define SAGE_GEN_TUNE_PROGRESS_H

#include "tune.h"
#include <time.h>

struct tune_progress {
    bool quiet, terminal;
    struct timespec start;
    int tasks, done;
    double weight_left, weight_done; /* shares of the expected time; done: in this run */
};

void tune_progress_start(struct tune_progress *p, bool quiet);
void tune_progress_add(struct tune_progress *p, const struct tune_task *task, bool is_done);
void tune_progress_doing(struct tune_progress *p, const struct tune_task *task, const struct tune_step *step,
                         int building);
void tune_progress_done(struct tune_progress *p, const struct tune_task *task);
// task NULL: of every problem.
void tune_progress_fault(struct tune_progress *p, const struct tune_set *set, const struct tune_task *task,
                         enum tune_fault fault, const char *why);
void tune_progress_end(struct tune_progress *p);

#endif
