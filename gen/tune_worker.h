// tune_worker: the measuring child: does what it is told, a line at a time, and says what it is at, so that the parent
// knows whom to blame if it faults or hangs.
//
//   check <task> <candidate> <reference>              ->  at <candidate>, proof <candidate> <error> <bound>, done
//   time <task> <samples> <candidate> <candidate>...  ->  at <candidate>, ns <candidate> <ns>, by turns; done
// At the start "ready", or "no <why>". A candidate that fails: "failed <candidate> <why>"; where the device is lost
// with it, "lost <candidate> <why>", and the child ends. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TUNE_WORKER_H
#define SAGE_GEN_TUNE_WORKER_H

#include "tune.h"

// Beyond the first three, a candidate gets no further samples in a request once they took this long.
#define TUNE_BUDGET_MS 500.0
enum { TUNE_LEAST_SAMPLES = 3, TUNE_WORDS_MOST = 512 };

struct tune_server {
    const struct tune_meter *meter;
    const struct tune_bench *bench;
};

int tune_work_in_child(void *user, int fd); // a process_work; user: struct tune_server

#endif
