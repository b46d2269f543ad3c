// bench_words: the command line of `sagegen bench`: its options, and the problems that they name. In: words. Out: a
// command, checked, nothing of it done yet. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_WORDS_H
#define SAGE_GEN_BENCH_WORDS_H

#include "bench_choice.h"
#include "bench_measure.h"

struct bench_command {
    struct bench_choice choice;
    bool markdown, json, chosen_contenders, chosen_modes;
    const char *out, *plot, *table, *compare, *commit;
    struct bench_python python;
    struct buf library;
    struct cmd_specs specs;
    struct bench_records records, written, old; /* of this run; of the file to write; to compare with */
    struct bench_progress progress;
    struct bench_spec *spec;
    struct bench_job job;
    struct buf scratch, kernel_dir;
    struct diag diag;
    int sm, status;
};

// False: stop with b->status, an error or the help was printed.
bool bench_words_read(struct bench_command *b, int argc, char **argv);
// From --problems, or from --d and its like. False: errors were printed.
bool bench_words_problems(struct bench_command *b);

#endif
