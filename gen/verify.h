// verify: what the parts of `sagegen verify` share: units (one kernel set each), the session on a GPU, records of
// checks. The line: cmd_verify.c (words) -> verify_units.c (kernels) -> verify_build.c, verify_run.c (child processes)
// -> verify_quantisers.c, verify_gates.c, verify_properties.c, or verify_soak.c (checks) -> verify_report.c (lines).
// Kernels are driven through sage.h alone. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_H
#define SAGE_GEN_VERIFY_H

#include "build.h"
#include "device.h"
#include "plan.h"
#include "reference/random.h"
#include "verify_image.h"
#include "workspace.h"

enum verify_level { VERIFY_QUICK, VERIFY_NORMAL, VERIFY_FULL, VERIFY_LEVEL_COUNT };
enum { VERIFY_QUANTISERS = 1, VERIFY_GATES = 2, VERIFY_PROPERTIES = 4, VERIFY_ALL = 7 };

struct verify_options {
    enum verify_level level;
    unsigned parts; /* VERIFY_* bits */
    uint64_t seed;
    bool vm;           /* on the PTX virtual machine; seed is also that of its order of warps */
    bool counts;       /* of the machine: print them, and look for bank conflicts in main loops */
    int ordinal;       /* of the GPU */
    int threads;       /* of the CPU reference; 0: all */
    bool fork;         /* probe, build and checks run in child processes, so that a fault or hang costs one unit only */
    int random;        /* shapes drawn at random */
    int timeout_s;     /* without any record, after which a child counts as hung */
    int soak_s;        /* not 0: instead of all checks, a soak of that many seconds */
    int streams;       /* of the soak */
    const char *again; /* the command that repeats the run; NULL: not known */
};

/* -- Sizes (verify_sizes.c) ---- */

// Bits: which cases of a table of cases belong to a level.
enum {
    VERIFY_SET_QUICK = 1,
    VERIFY_SET_NORMAL = 2,
    VERIFY_SET_VM_QUICK = 4,
    VERIFY_SET_VM = 8,
    VERIFY_SET_GPU = VERIFY_SET_QUICK | VERIFY_SET_NORMAL,
    VERIFY_SET_LONG = VERIFY_SET_NORMAL | VERIFY_SET_VM,
    VERIFY_SET_ALL = 15
};

struct verify_sizes {
    const char *name;                  /* of the level */
    unsigned set;                      /* VERIFY_SET_* */
    sage_attention_shape distribution; /* of the gates on distributions; fp4 has as many heads of K and V as of Q */
    int sample_heads, sample_rows;     /* of them */
    sage_attention_shape usual;        /* of the properties */
    int64_t constant_v;                /* tokens */
};
const struct verify_sizes *verify_sizes(const struct verify_options *options);

/* -- Units (verify_units.c) ---- */

// One kernel set: everything that a sage_attention_plan is made of.
struct verify_unit {
    struct spec spec; /* members borrowed from the spec it was made of; its name too, so spec.safe tells forms apart */
    bool safe_form;   /* derived from that spec, which is not safe itself */
    enum spec_target target;
    enum spec_io io;
    enum spec_mask mask;
    struct variant variant;
    struct plan plan;                       /* of attn_fwd */
    struct build_job *job[SAGE_ROLE_COUNT]; /* NULL: not needed */
};

struct verify_units {
    struct verify_unit *unit;
    struct build_job *job;
    int count, job_count, capacity;
};

// What to make units of; lists that are empty stand for all.
struct verify_choice {
    struct spec_int_list target, io, mask;
    const char *variant;
    bool native; /* the spec's best target for this GPU alone; of the machine vm_target.h's choice */
    bool vm;     /* any target runs; --quick: one io and mask for each target, in turn */
    int sm;      /* of the GPU */
    enum verify_level level;
};

void verify_units_reserve(struct verify_units *units, int specs);
// Adds the units of one spec; notes in `skipped` (lines) what cannot run, and why.
void verify_units_add(struct verify_units *units, const struct spec *spec, const char *text,
                      const struct verify_choice *choice, struct buf *skipped);
void verify_units_free(struct verify_units *units, const struct build_setup *setup);
const char *verify_unit_text(const struct verify_unit *unit, char out[96]); // "int8_fp8_d128 sm_90a fp16 causal safe"
bool verify_unit_is_headline(const struct verify_unit *unit);               // head dims 64 and 128
// A provider that answers with the kernels of *current alone.
struct sage_provider verify_provider(const struct verify_unit **current);

/* -- Records (verify_report.c) ---- */

enum verify_outcome { VERIFY_BEGIN, VERIFY_PASS, VERIFY_FAIL, VERIFY_SKIP, VERIFY_FATAL };

// One line. Small enough for a pipe to take as a whole.
struct verify_record {
    int unit;
    enum verify_outcome outcome;
    double error, bound;
    char check[32], shape[64], note[400];
};

struct verify_sink {
    void (*put)(void *user, const struct verify_record *record);
    void *user;
};

struct verify_report {
    const struct verify_units *units;
    struct verify_record *record;
    int count, capacity, passed, failed, skipped;
    bool json;
};

void verify_report_put(void *report, const struct verify_record *record); // counts, prints the line
// Failures again, the worst of each check, and the totals. JSON: one array, on stdout.
void verify_report_end(const struct verify_report *report);
void verify_report_free(struct verify_report *report);

/* -- Session (verify_session.c) ---- */

enum { VERIFY_TOLD_MAX = 128 };
enum { VERIFY_BUFFERS = 4 }; /* inputs, output, LSE and flags, workspace */

struct verify_session {
    const struct verify_options *options;
    const struct verify_units *units;
    int unit_index;
    const struct verify_unit *unit; /* whose kernels the provider hands out */
    struct device device;
    unsigned findings; /* of the machine, in this unit; those that were told, by kind, line and kernel: */
    unsigned told_count;
    char told[VERIFY_TOLD_MAX][192];
    sage_context *context;
    sage_attention_plan *plan; /* of the unit, default scale */
    sage_stream stream;        /* not the default one */
    struct {
        void *data;
        uint64_t bytes;
    } buffer[VERIFY_BUFFERS];
    struct verify_sink sink;
    struct verify_data *data; /* cache of inputs and references */
    bool dead;                /* the GPU's context cannot be used any more */
};

bool verify_session_open(struct verify_session *s, char *why, size_t why_bytes);
void verify_session_close(struct verify_session *s);
// Says in the record's way that the unit, or the part of its checks, begins: "", "gates".
void verify_begin(struct verify_session *s, const char *part);
// Makes the unit current. false: it was not built, which was recorded.
bool verify_session_select(struct verify_session *s, int index);
// On the machine: a new one, of the current unit's target. false: recorded.
bool verify_session_renew(struct verify_session *s);
// Selects, renews and makes the unit's plan. false: recorded.
bool verify_session_unit(struct verify_session *s, int index);
bool verify_plan(struct verify_session *s, float sm_scale, sage_attention_plan **out);
bool verify_buffer(struct verify_session *s, int index, uint64_t bytes, void **out);

// Records one comparison; passes where error <= bound. A NaN fails.
void verify_check(struct verify_session *s, const char *check, const char *shape, double error, double bound,
                  const char *note);
void verify_fail(struct verify_session *s, const char *check, const char *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void verify_skip(struct verify_session *s, const char *check, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// The machine's findings and counts of the unit become records.
void verify_vm_end(struct verify_session *s);
// An error of the device: nothing more can run in this process.
void verify_dead(struct verify_session *s, const char *check, const char *shape);

/* -- Calls (verify_call.c) ---- */

enum verify_layout { LAYOUT_BHND, LAYOUT_BNHD, LAYOUT_FUSED, LAYOUT_ODD, LAYOUT_COUNT };
enum verify_mode {
    MODE_RUN,
    MODE_TWO_STEP, /* quantise, then the inputs are overwritten, then attend without them */
    MODE_LATE_LSE, /* as TWO_STEP, and LSE is asked of attend alone */
    MODE_GRAPH     /* captured, then replayed twice; needs own_stream */
};

struct verify_call {
    sage_attention_shape shape;
    enum verify_layout layout;
    enum verify_mode mode;
    float sm_scale; /* 0: default */
    bool own_stream, keep_workspace;
    const float *q, *k, *v; /* [batch][heads][seq][dim]; exact in the io type, may be infinite or NaN */

    uint16_t *o_bits;   /* out: owned */
    float *o, *lse;     /* out: owned; [batch][heads_q][seq_q](...) */
    uint32_t flags;     /* out: overflow flags */
    uint8_t *workspace; /* out: owned, if kept */
    struct workspace_layout layout_of_workspace;
    char fault[160]; /* out: memory that should not have been written, or was not; "" */
};

// Uploads, runs, downloads, checks guards. false: the call failed, which was recorded.
bool verify_call_run(struct verify_session *s, struct verify_call *call, const char *check);
void verify_call_free(struct verify_call *call);
void verify_shape_text(const struct verify_call *call, char out[64]);
size_t verify_count(const sage_attention_shape *shape, char tensor, const struct plan *plan); // elements of q, k, v, o
// The images and scales of one query head of the downloaded workspace.
struct image_head verify_image_head(const struct verify_call *call, const struct plan *plan, size_t head);
const void *verify_region(const struct verify_call *call, enum workspace_region_index region);

/* -- Checks ---- */

void verify_quantisers(struct verify_session *s);
void verify_gates(struct verify_session *s);
// Gate 1 of the unit's algorithm in float64, at a GPU's size; nothing where the algorithm is the published one.
void verify_gate1_model(struct verify_session *s, enum random_kind kind);
void verify_properties(struct verify_session *s);
void verify_far(struct verify_session *s); // offsets beyond 2^31 elements
// Random calls of all units on several streams, for options->soak_s seconds: the same bits each time.
void verify_soak(struct verify_session *s);

/* -- Running (verify_build.c, verify_run.c) ---- */

struct verify_gpu {
    int sm;
    uint64_t memory_bytes;
    char name[128];
};

// Asks for the GPU of options->ordinal; where options->fork, in a child: this process leaves the driver alone, so that
// its children may use it. false: no usable GPU; why has the reason.
bool verify_probe(const struct verify_options *options, struct verify_gpu *out, char *why, size_t why_bytes);
// Builds all jobs with setup->context and setup->template_dir; progress and compiler messages on stderr. Kernels that
// do not build fail in the checks of their units. false: none can be built; why has the reason.
bool verify_build(const struct verify_options *options, struct verify_units *units, struct build_setup *setup,
                  char *why, size_t why_bytes);
// How a process that ran checks ends: its exit status.
enum verify_end { VERIFY_END_DONE = 0, VERIFY_END_LOST = 3, VERIFY_END_NOT_OPENED = 4 };
double verify_seconds(void); // of a clock that only goes forward
// Runs all units.
void verify_run(const struct verify_options *options, const struct verify_units *units, struct verify_report *report);

#endif
