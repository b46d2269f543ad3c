// bench_alone: times sagegen's kernels by themselves, through libsage and CUDA events, in this process: for machines
// whose Python cannot. Random bf16 inputs; kernels and modes take turns; events of all calls are read at the end, so
// that the host runs ahead of the GPU. Compares nothing: that is `sagegen verify`. SPDX-License-Identifier: Apache-2.0
#include "bench_measure.h"

#include "bench_memory.h"
#include "cmd_interrupt.h"
#include "device.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// As in measure.py.
enum { REPEATS = 20, LEAST_REPEATS = 2, WARM_UP = 3, BUDGET_MS = 250 };

typedef sage_status bench_step(const sage_attention_plan *plan, const sage_attention_args *args, sage_stream stream);

// A kernel set in one mode.
struct entry {
    const char *kernel;
    int mode;
    sage_attention_plan *plan;
    bench_step *step;
    sage_attention_args args[BENCH_SETS_MOST];
    device_event from[REPEATS], to[REPEATS];
    int repeats;
    char *variant, *reason; /* reason not NULL: it cannot be measured */
};

struct alone {
    const struct bench_job *job;
    struct bench_records *records;
    struct buf *why;
    struct device device;
    sage_stream stream;
    sage_context *context;
    struct bench_memory memory;
};

/* -- Memory ---- */

static bool device_failed(struct alone *a) {
    buf_puts(a->why, device_error(&a->device));
    return false;
}

static bool allocate(struct alone *a, uint64_t bytes, void **out) {
    return bench_memory_take(&a->memory, bytes, out) || device_failed(a);
}

static int sets_of(const struct alone *a, const struct bench_problem *p) {
    return bench_memory_sets(&a->memory, 8.0 * p->batch * p->heads * p->n * p->d);
}

/* -- Entries ---- */

static bool fails(const struct alone *a, struct entry *e, sage_status status) {
    if (status != SAGE_OK && !e->reason) e->reason = xstrdup(sage_last_error(a->context));
    return status != SAGE_OK;
}

static void open_entry(const struct alone *a, const struct bench_problem *p, const char *spec, struct entry *e) {
    const sage_attention_desc desc = {.size = sizeof desc,
                                      .dtype = SAGE_BF16,
                                      .head_dim_qk = p->d,
                                      .mask = p->causal ? SAGE_MASK_CAUSAL : SAGE_MASK_NONE,
                                      .spec = spec};
    e->kernel = spec;
    e->step = e->mode == BENCH_KERNEL ? sage_attention_attend : sage_attention_run;
    if (fails(a, e, sage_attention_plan_create(a->context, &desc, &e->plan))) return;
    const char *variant = strchr(sage_attention_plan_describe(e->plan), ' ');
    e->variant = xstrdup(variant ? variant + 1 : "");
}

static bool fill_entry(struct alone *a, const struct bench_problem *p, int sets, void *inputs[][3], struct entry *e) {
    const int64_t seq = p->d, head = seq * p->n, batch = head * p->heads;
    const sage_attention_shape shape = {p->batch, p->heads, p->heads, p->n, p->n};
    void *output, *workspace;
    const size_t bytes = sage_attention_workspace_bytes(e->plan, &shape);
    for (int s = 0; s < sets; s++) {
        if (!allocate(a, 2 * (uint64_t)(batch * p->batch), &output) || !allocate(a, bytes, &workspace)) return false;
        e->args[s] = (sage_attention_args){.size = sizeof e->args[s],
                                           .shape = shape,
                                           .q = {inputs[s][0], batch, head, seq},
                                           .k = {inputs[s][1], batch, head, seq},
                                           .v = {inputs[s][2], batch, head, seq},
                                           .o = {output, batch, head, seq},
                                           .workspace = workspace,
                                           .workspace_bytes = bytes};
        if (fails(a, e, sage_attention_quantise(e->plan, &e->args[s], a->stream))) return true;
    }
    return true;
}

static void close_entry(struct alone *a, struct entry *e) {
    for (int i = 0; i < REPEATS; i++) {
        device_event_destroy(&a->device, e->from[i]);
        device_event_destroy(&a->device, e->to[i]);
    }
    sage_attention_plan_destroy(e->plan);
    free(e->variant);
    free(e->reason);
}

/* -- Times ---- */

static bool once(struct alone *a, struct entry *e, int i, int sets) {
    if (!e->from[i] && (!device_event_create(&a->device, &e->from[i]) || !device_event_create(&a->device, &e->to[i])))
        return device_failed(a);
    if (!device_event_record(&a->device, e->from[i], a->stream)) return device_failed(a);
    if (fails(a, e, e->step(e->plan, &e->args[i % sets], a->stream))) return true;
    return device_event_record(&a->device, e->to[i], a->stream) || device_failed(a);
}

static bool elapsed(struct alone *a, struct entry *e, int i, double *ms) {
    return device_event_elapsed(&a->device, e->from[i], e->to[i], ms) || device_failed(a);
}

static bool warm_up(struct alone *a, struct entry *e, int sets) {
    double ms = 0;
    for (int i = 0; i < WARM_UP && ms < BUDGET_MS && !e->reason; i++)
        if (!once(a, e, 0, sets) || (!e->reason && !elapsed(a, e, 0, &ms))) return false;
    const double fitting = ceil(BUDGET_MS / fmax(ms, 1e-3));
    e->repeats = (int)fmin(REPEATS, fmax(LEAST_REPEATS, fitting));
    return true;
}

static int by_value(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static bool add_record(struct alone *a, const struct bench_problem *p, struct entry *e) {
    double ms[REPEATS];
    for (int i = 0; !e->reason && i < e->repeats; i++)
        if (!elapsed(a, e, i, &ms[i])) return false;
    struct bench_record record = {.kernel = (char *)(uintptr_t)e->kernel,
                                  .reason = e->reason,
                                  .variant = e->variant,
                                  .contender = BENCH_SAGEGEN,
                                  .mode = e->mode,
                                  .problem = *p};
    if (!e->reason) {
        const int n = e->repeats;
        qsort(ms, (size_t)n, sizeof *ms, by_value);
        record.ms = (ms[(n - 1) / 2] + ms[n / 2]) / 2;
        record.spread = (ms[3 * (n - 1) / 4] - ms[(n - 1) / 4]) / record.ms;
        record.repeats = n;
    }
    bench_add(a->job, a->records, &record);
    return true;
}

static bool time_entries(struct alone *a, const struct bench_problem *p, struct entry *e, int count, int sets) {
    for (int k = 0; k < count; k++)
        if (!e[k].reason && !warm_up(a, &e[k], sets)) return false;
    for (int i = 0; i < REPEATS; i++)
        for (int k = 0; k < count; k++)
            if (!e[k].reason && i < e[k].repeats && !once(a, &e[k], i, sets)) return false;
    for (int k = 0; k < count; k++)
        if (!add_record(a, p, &e[k])) return false;
    return true;
}

/* -- Problems ---- */

static bool prepare(struct alone *a, const struct bench_problem *p, struct entry *e, int count, int sets) {
    void *inputs[BENCH_SETS_MOST][3];
    const uint64_t elements = (uint64_t)p->batch * (uint64_t)p->heads * (uint64_t)p->n * (uint64_t)p->d;
    for (int s = 0; s < sets; s++)
        for (int t = 0; t < 3; t++)
            if (!bench_memory_random(&a->memory, FORMAT_BF16, elements, &inputs[s][t])) return device_failed(a);
    for (int k = 0; k < count; k++)
        if (!e[k].reason && !fill_entry(a, p, sets, inputs, &e[k])) return false;
    return true;
}

// Two modes of up to four specs at a time: what bench_memory holds.
static void measure(struct alone *a, const struct bench_problem *p, const struct bench_spec *const *spec, int specs) {
    struct entry *e = xcalloc(2 * (size_t)specs, sizeof *e);
    const int sets = sets_of(a, p);
    int count = 0;
    for (int s = 0; s < specs; s++)
        for (int mode = 0; mode < BENCH_MODES; mode++) {
            if (!a->job->mode[mode]) continue;
            e[count].mode = mode;
            open_entry(a, p, spec[s]->name, &e[count++]);
        }
    if (!prepare(a, p, e, count, sets) || !time_entries(a, p, e, count, sets)) {
        for (int k = 0; k < count; k++) {
            if (!e[k].reason) e[k].reason = xstrdup(a->why->data);
            add_record(a, p, &e[k]);
        }
        buf_clear(a->why);
    }
    for (int k = 0; k < count; k++) close_entry(a, &e[k]);
    bench_memory_release(&a->memory);
    free(e);
}

static void measure_problem(struct alone *a, const struct bench_problem *p) {
    enum { AT_ONCE = 4 };
    const struct bench_spec *spec[AT_ONCE];
    int count = 0;
    for (int i = 0; i < a->job->specs; i++) {
        if (a->job->spec[i].d == p->d) spec[count++] = &a->job->spec[i];
        if (count < AT_ONCE && i < a->job->specs - 1) continue;
        if (count) measure(a, p, spec, count);
        count = 0;
    }
}

static bool open_all(struct alone *a) {
    char why[DEVICE_ERROR_BYTES];
    const sage_options options = {.size = sizeof options, .kernel_dir = a->job->kernel_dir, .memory_only = 1};
    if (!device_open(0, NULL, &a->device, why, sizeof why)) {
        buf_puts(a->why, why);
        return false;
    }
    if (sage_context_create(&options, &a->context) != SAGE_OK) {
        buf_puts(a->why, sage_last_error(NULL));
        return false;
    }
    return device_stream_create(&a->device, &a->stream) || device_failed(a);
}

enum bench_end bench_alone_run(const struct bench_job *job, struct bench_records *records, struct buf *why) {
    struct alone a = {.job = job, .records = records, .why = why};
    enum bench_end end = open_all(&a) ? BENCH_ENDED : BENCH_FAILED;
    a.memory = (struct bench_memory){.device = &a.device, .stream = a.stream};
    for (int i = 0; end == BENCH_ENDED && i < job->problems->count; i++) {
        bench_progress_doing(job->progress, i, "sagegen");
        measure_problem(&a, &job->problems->item[i]);
        bench_progress_done(job->progress, i);
        if (cmd_interrupted()) end = BENCH_STOPPED;
    }
    bench_memory_close(&a.memory);
    if (a.stream) device_stream_destroy(&a.device, a.stream);
    sage_context_destroy(a.context);
    device_close(&a.device);
    return end;
}
