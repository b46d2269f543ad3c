// tune: what the parts of `sagegen tune` share. The line: tune_words.c (words) -> tune_probe.c (GPU, NVRTC) ->
// tune_list.c (specs x problems -> tasks and their candidates) -> tune_journal.c (what is known already) -> tune_run.c
// (the loop: tune_kernels.c compiles in children while tune_worker.c measures in another; tune_halving.c says what
// comes next) -> tune_wisdom.c (winners -> wisdom) -> tune_table.c, tune_html.c. This process never calls the driver:
// its children could not use it any more. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TUNE_H
#define SAGE_GEN_TUNE_H

#include "bench_problem.h"
#include "cmd.h"
#include "wisdom.h"

enum { TUNE_WHY_BYTES = 320, TUNE_ROUNDS = 3 };

// X(symbol, word, what it is): why a candidate is out. The word stands in journals.
#define TUNE_FAULTS(X)                                                                                                 \
    X(INAPPLICABLE, "inapplicable", "cannot run on the target")                                                        \
    X(COST, "cost", "far slower by the cost model")                                                                    \
    X(COMPILE, "compile", "do not compile")                                                                            \
    X(REGISTERS, "registers", "need more registers than there are")                                                    \
    X(SPILLS, "spills", "spill registers")                                                                             \
    X(REFUSED, "refused", "fail in the driver")                                                                        \
    X(HANG, "hang", "hang")                                                                                            \
    X(CRASH, "crash", "end their process")                                                                             \
    X(WRONG, "wrong", "give wrong numbers")

enum tune_fault {
    TUNE_FINE,
#define TUNE_FAULT_SYMBOL(symbol, word, help) TUNE_##symbol,
    TUNE_FAULTS(TUNE_FAULT_SYMBOL) TUNE_FAULT_COUNT
};
const char *tune_fault_word(enum tune_fault fault); // "" for TUNE_FINE
const char *tune_fault_text(enum tune_fault fault);
enum tune_fault tune_fault_find(const char *word); // TUNE_FINE: none

/* -- What is measured (tune_list.c) ---- */

enum tune_state { TUNE_WAITING, TUNE_BUILDING, TUNE_BUILT };

// A kernel set: all roles of a spec for one tuning point. What is compiled, and checked.
struct tune_set {
    const struct cmd_spec *spec; /* borrowed */
    enum spec_target target;
    enum spec_io io;
    enum spec_mask mask;
    struct variant variant;
    char name[VARIANT_TEXT_MAX];
    char key[KEY_BYTES]; /* of everything that decides its kernels: measurements of other kernels never count for it */
    enum tune_state state;
    enum tune_fault fault; /* of every candidate that is this set */
    char why[TUNE_WHY_BYTES];
};

// A measurement. **Units** ns: median of the samples; 0: none yet. spread_ppm: quartile distance over the median.
struct tune_time {
    int64_t ns;
    int spread_ppm, samples;
};

struct tune_candidate {
    int set;
    enum tune_fault fault; /* for this problem */
    char why[TUNE_WHY_BYTES];
    bool checked; /* its numbers are right */
    struct tune_time time[TUNE_ROUNDS];
};

// The problem of one spec: to find its fastest candidate. They are in the order of the spec's tuning points; the first
// is the default one.
struct tune_task {
    const struct cmd_spec *spec;
    enum spec_target target;
    enum spec_io io;
    struct bench_problem problem;
    int heads_kv;
    struct tune_candidate *candidate;
    int count;
};

// A tuning point that was not tried at all.
struct tune_pruned {
    enum tune_fault fault;
    const char *spec, *target; /* borrowed */
    char variant[VARIANT_TEXT_MAX];
    char problem[64]; /* "" for all */
    char why[TUNE_WHY_BYTES];
};

struct tune_work {
    struct tune_set *set;
    struct tune_task *task;
    struct tune_pruned *pruned;
    int sets, tasks, pruned_count, set_capacity, task_capacity, pruned_capacity;
};

struct tune_choice {
    const struct cmd_select *select; /* target and io; native_sm */
    const struct bench_problems *problems;
    int heads_kv;              /* 0: as many as heads */
    int multiprocessors;       /* of the GPU, for the cost model */
    struct build_setup *setup; /* for the keys of the sets */
};

// Adds the tasks of all specs that have the problems' head dims; specs that have none are noted in skipped, a line
// each. false: an error was printed to specs->diag.
bool tune_list(struct tune_work *work, struct cmd_specs *specs, const struct tune_choice *choice, struct buf *skipped);
void tune_work_free(struct tune_work *work);
struct plan_request tune_request(const struct tune_set *set, enum sage_role role); // of one of its kernels
const struct tune_set *tune_set_of(const struct tune_work *work, const struct tune_task *task, int candidate);
// The candidate's own fault, or its set's.
enum tune_fault tune_candidate_fault(const struct tune_work *work, const struct tune_task *task, int candidate);
sage_attention_shape tune_shape(const struct tune_task *task);
// "int8_fp8_d128 bf16 causal, 4096 tokens, 4 x 32 heads"
void tune_task_text(const struct tune_task *task, struct buf *out);

/* -- Rounds (tune_halving.c): pure; the same measurements give the same steps and the same winner ---- */

enum tune_next { TUNE_CHECK, TUNE_TIME, TUNE_DONE };

// What comes next for a task.
struct tune_step {
    enum tune_next next;
    int round;      /* of TIME */
    int samples;    /* of TIME, of each candidate */
    int *candidate; /* of CHECK one, of TIME those that lack the round; owned by the caller: room for all */
    int count;
    int reference; /* of CHECK: a candidate whose numbers are right; -1: none yet */
    int winner;    /* of DONE; -1: every candidate failed */
};

// A round halves the candidates, but keeps those within its band of the best; after the last the first in the spec's
// order wins among those within the band.
extern const struct tune_round {
    int samples;
    double band; /* relative */
} tune_rounds[TUNE_ROUNDS];

void tune_step_next(const struct tune_work *work, const struct tune_task *task, struct tune_step *out);
// The last round that the candidate was measured in; samples 0: none.
struct tune_time tune_best_time(const struct tune_candidate *candidate);

/* -- Measuring (tune_cuda.c, tune_vm.c): runs in a child process, which may fault or hang ---- */

enum tune_answer {
    TUNE_OK,
    TUNE_FAILED, /* this candidate; why says */
    TUNE_LOST    /* and the device cannot be used any more: the child ends */
};

// What a measuring child works with; as it was when the child was started. All borrowed.
struct tune_bench {
    const struct tune_work *work;
    const char *cache_dir; /* NULL: the user's */
    int ordinal;           /* of the GPU */
    int sm;
    void *user; /* of the meter */
};

// How far a candidate's numbers may be off, and are.
struct tune_proof {
    double error, bound;
};

struct tune_meter {
    const char *name;
    bool (*open)(const struct tune_bench *bench, void **state, char *why, size_t why_bytes);
    // Compares with float64 at a small shape, and with the reference candidate (-1: none) at the task's own.
    enum tune_answer (*check)(void *state, const struct tune_task *task, int candidate, int reference,
                              struct tune_proof *out, char *why, size_t why_bytes);
    // One sample: milliseconds of a whole call, quantisation included.
    enum tune_answer (*time)(void *state, const struct tune_task *task, int candidate, double *ms, char *why,
                             size_t why_bytes);
    void (*close)(void *state);
};

extern const struct tune_meter tune_meter_cuda, tune_meter_vm;
int tune_vm_multiprocessors(int sm); // of the GPU that the machine stands for

#endif
