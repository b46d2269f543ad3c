// tune_run: the loop of `sagegen tune`: children compile while one child measures; every answer goes to the journal.
// In: work, what the journal knows of it replayed. Out: the same work, measured. A set that does not compile, and a
// candidate that faults, hangs or is wrong, costs itself alone. Never calls the driver. SPDX-License-Identifier:
// Apache-2.0
#ifndef SAGE_GEN_TUNE_RUN_H
#define SAGE_GEN_TUNE_RUN_H

#include "tune_journal.h"
#include "verify_process.h"

struct tune_setup {
    struct tune_work *work;
    struct tune_journal *journal;
    const struct tune_meter *meter;
    struct tune_bench bench;
    process_work *build; /* user: struct tune_builder */
    enum build_form form;
    int builders;        /* children that compile at once */
    int timeout_s;       /* of the measuring child, without a word */
    int build_timeout_s; /* of a compiling child */
    bool quiet;
};

enum tune_end {
    TUNE_ENDED,
    TUNE_STOPPED, /* the user interrupted; all that was measured is in the journal */
    TUNE_BROKEN   /* for the reason given */
};

struct tune_outcome {
    enum tune_end end;
    int decided, undecided; /* tasks */
    int requests;           /* to the measuring child; 0: the journal knew everything */
    int measured;           /* candidates and rounds, in this run */
    double seconds;
    char why[512];
};

void tune_run(const struct tune_setup *setup, struct tune_outcome *out);

#endif
