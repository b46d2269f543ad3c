// tune_command: `sagegen tune` from its words to its results; what the steps of cmd_tune.c share.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TUNE_COMMAND_H
#define SAGE_GEN_TUNE_COMMAND_H

#include "bench_choice.h"
#include "tune_run.h"
#include "wisdom_text.h"

// What a child found out, since this process must not call the driver.
struct tune_probe {
    bool ok;
    struct wisdom_machine machine;
    char nvrtc_identity[NVRTC_IDENTITY_BYTES];
    char why[512];
};

struct tune_command {
    struct cmd_specs specs;
    struct cmd_select select;
    struct bench_choice choice;
    struct cmd_device device;
    int heads_kv, jobs, timeout_s;
    bool again, retry, merge, json;
    const char *out, *journal_file, *html, *arch;
    const char **file; /* of --merge */
    int files;

    struct tune_probe probe;
    struct build_setup setup; /* for keys alone: no context */
    struct tune_work work;
    struct tune_journal journal;
    struct tune_outcome outcome;
    int *before; /* --again: winners of the journal, by task; -1: none */
    struct wisdom_list wisdom;
    int wisdom_new; /* rows written */
    struct buf wisdom_path, journal_path, scratch, skipped;
    struct diag diag;
    int status;
};

// false: stop with c->status; an error or the help was printed.
bool tune_words_read(struct tune_command *c, int argc, char **argv);

// The GPU, or the machine that stands for one, and NVRTC. false: an error was printed.
bool tune_probe_run(struct tune_command *c);

bool tune_is_estimate(const struct tune_command *c); // --device vm

/* -- Wisdom (tune_wisdom.c) ---- */

// Finds the files, and reads the wisdom that results are added to. Before anything is measured: a file that cannot be
// added to must not cost the measurement. false: errors were printed.
bool tune_wisdom_read(struct tune_command *c);
// Adds the winners, also those of a run that was interrupted, and writes the file.
bool tune_wisdom_write(struct tune_command *c);
bool tune_wisdom_merge(struct tune_command *c); // --merge; sets c->status

/* -- Results (tune_table.c, tune_html.c) ---- */

// The winner of a task that is decided; -1: none, or undecided.
int tune_winner(const struct tune_work *work, const struct tune_task *task);
// "name of the GPU, driver ..." or what the estimate stands for.
void tune_machine_text(const struct tune_command *c, struct buf *out);
void tune_table_print(const struct tune_command *c, struct buf *out);
void tune_table_json(const struct tune_command *c, struct buf *out);
void tune_html_print(const struct tune_command *c, struct buf *out);

// How the winners compare with the default variants.
struct tune_summary {
    int decided, failed /* without any winner */, other; /* not the default variant */
    double gain_mean, gain_most;                         /* default time over the winner's: geometric mean, largest */
    int faults[TUNE_FAULT_COUNT];                        /* tuning points, candidates or sets that are out */
    int compared, agreeing;                              /* --again */
};
void tune_summary_make(const struct tune_command *c, struct tune_summary *out);

#endif
