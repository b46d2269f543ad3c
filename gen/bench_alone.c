// bench_alone: times sagegen's kernels by themselves, through libsage and CUDA events, as the process that measures:
// for machines whose Python cannot. Random bf16 inputs; kernels and modes take turns; events of all calls are read at
// the end, so that the host runs ahead of the GPU. Compares nothing: that is `sagegen verify`. A kernel that breaks the
// context ends the process, as the driver then needs a new one. SPDX-License-Identifier: Apache-2.0
#include "bench_child.h"

#include "bench_memory.h"
#include "device.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

// A problem, and what stands on the GPU for it.
struct trial {
    const struct bench_problem *problem;
    int id, sets;
    void *inputs[BENCH_SETS_MOST][3];
};

struct alone {
    const struct bench_job *job;
    int fd;
    struct device device;
    sage_stream stream;
    sage_context *context;
    struct bench_memory memory;
};

/* -- Answers ---- */

// Takes the answer. The process ends where nobody reads any more.
static void tell(const struct alone *a, json_t *answer) {
    char *text = json_dumps(answer, JSON_COMPACT);
    if (!text || !process_write(a->fd, text, strlen(text)) || !process_write(a->fd, "\n", 1)) _exit(1);
    json_decref(answer);
    free(text);
}

static void tell_doing(const struct alone *a, const struct trial *t, const char *kernel) {
    tell(a, json_pack("{s:s, s:i, s:s, s:s}", "event", "doing", "problem", t->id, "contender",
                      kernel[0] ? bench_contender_name(BENCH_SAGEGEN) : "", "kernel", kernel));
}

static json_t *row(const struct trial *t, const struct entry *e) {
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "event", "row", "problem", t->id, "contender",
                     bench_contender_name(BENCH_SAGEGEN), "kernel", e->kernel, "mode", bench_mode_name(e->mode),
                     "variant", e->variant ? e->variant : "", "reason", e->reason ? e->reason : "");
}

/* -- Failures ---- */

// Both return false. The first reason counts.
static bool refuse(struct entry *e, const char *reason) {
    if (!e->reason) e->reason = xstrdup(reason);
    return false;
}

static bool device_failed(const struct alone *a, struct entry *e) {
    return refuse(e, device_error(&a->device));
}

static bool succeeds(const struct alone *a, struct entry *e, sage_status status) {
    return status == SAGE_OK || refuse(e, sage_last_error(a->context));
}

// Of a context that a kernel broke each further call fails, whatever it is: the process that made it must go.
static void give_up_if_broken(struct alone *a, const char *reason /* NULL: nothing failed */) {
    if (!reason || device_synchronize(&a->device, a->stream)) return;
    tell(a, json_pack("{s:s, s:s}", "event", "broken", "reason", reason));
    _exit(1);
}

/* -- Entries ---- */

static bool open_entry(const struct alone *a, const struct trial *t, struct entry *e) {
    const sage_attention_desc desc = {.size = sizeof desc,
                                      .dtype = SAGE_BF16,
                                      .head_dim_qk = t->problem->d,
                                      .mask = t->problem->causal ? SAGE_MASK_CAUSAL : SAGE_MASK_NONE,
                                      .spec = e->kernel};
    e->step = e->mode == BENCH_KERNEL ? sage_attention_attend : sage_attention_run;
    if (!succeeds(a, e, sage_attention_plan_create(a->context, &desc, &e->plan))) return false;
    const char *variant = strchr(sage_attention_plan_describe(e->plan), ' ');
    e->variant = xstrdup(variant ? variant + 1 : "");
    return true;
}

static bool fill_entry(struct alone *a, const struct trial *t, struct entry *e) {
    const struct bench_problem *p = t->problem;
    const int64_t seq = p->d, head = seq * p->n, batch = head * p->heads;
    const sage_attention_shape shape = {p->batch, p->heads, p->heads, p->n, p->n};
    void *output, *workspace;
    const size_t bytes = sage_attention_workspace_bytes(e->plan, &shape);
    for (int s = 0; s < t->sets; s++) {
        if (!bench_memory_take(&a->memory, 2 * (uint64_t)(batch * p->batch), &output) ||
            !bench_memory_take(&a->memory, bytes, &workspace))
            return device_failed(a, e);
        e->args[s] = (sage_attention_args){.size = sizeof e->args[s],
                                           .shape = shape,
                                           .q = {t->inputs[s][0], batch, head, seq},
                                           .k = {t->inputs[s][1], batch, head, seq},
                                           .v = {t->inputs[s][2], batch, head, seq},
                                           .o = {output, batch, head, seq},
                                           .workspace = workspace,
                                           .workspace_bytes = bytes};
        if (!succeeds(a, e, sage_attention_quantise(e->plan, &e->args[s], a->stream))) return false;
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
    struct device *d = &a->device;
    if (!e->from[i] && (!device_event_create(d, &e->from[i]) || !device_event_create(d, &e->to[i])))
        return device_failed(a, e);
    if (!device_event_record(d, e->from[i], a->stream)) return device_failed(a, e);
    if (!succeeds(a, e, e->step(e->plan, &e->args[i % sets], a->stream))) return false;
    return device_event_record(d, e->to[i], a->stream) || device_failed(a, e);
}

static bool elapsed(struct alone *a, struct entry *e, int i, double *ms) {
    return device_event_elapsed(&a->device, e->from[i], e->to[i], ms) || device_failed(a, e);
}

static bool warm_up(struct alone *a, struct entry *e, int sets) {
    double ms = 0;
    for (int i = 0; i < WARM_UP && ms < BUDGET_MS; i++)
        if (!once(a, e, 0, sets) || !elapsed(a, e, 0, &ms)) return false;
    const double fitting = ceil(BUDGET_MS / fmax(ms, 1e-3));
    e->repeats = (int)fmin(REPEATS, fmax(LEAST_REPEATS, fitting));
    return true;
}

static int by_value(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void tell_row(struct alone *a, const struct trial *t, struct entry *e) {
    double ms[REPEATS];
    const int n = e->repeats;
    for (int i = 0; !e->reason && i < n; i++) elapsed(a, e, i, &ms[i]);
    give_up_if_broken(a, e->reason);
    json_t *answer = row(t, e);
    if (!e->reason) {
        qsort(ms, (size_t)n, sizeof *ms, by_value);
        const double median = (ms[(n - 1) / 2] + ms[n / 2]) / 2;
        json_object_set_new(answer, "ms", json_real(median));
        json_object_set_new(answer, "spread", json_real((ms[3 * (n - 1) / 4] - ms[(n - 1) / 4]) / median));
        json_object_set_new(answer, "repeats", json_integer(n));
    }
    tell(a, answer);
}

static void time_entries(struct alone *a, const struct trial *t, struct entry *e, int count) {
    tell_doing(a, t, "");
    for (int i = 0; i < REPEATS; i++)
        for (int k = 0; k < count; k++)
            if (!e[k].reason && i < e[k].repeats && !once(a, &e[k], i, t->sets)) give_up_if_broken(a, e[k].reason);
    for (int k = 0; k < count; k++) tell_row(a, t, &e[k]);
}

/* -- Problems ---- */

// The modes of one kernel set, each called and waited for, so that what it breaks is told of it.
static int prepare(struct alone *a, const struct trial *t, const char *kernel, const char *failed, struct entry *e) {
    int count = 0;
    tell_doing(a, t, kernel);
    for (int mode = 0; mode < BENCH_MODES; mode++) {
        if (!a->job->mode[mode]) continue;
        struct entry *own = &e[count++];
        own->kernel = kernel;
        own->mode = mode;
        if (failed) refuse(own, failed);
        if (!failed && open_entry(a, t, own) && fill_entry(a, t, own)) warm_up(a, own, t->sets);
        give_up_if_broken(a, own->reason);
    }
    return count;
}

// False: device_error() says why.
static bool make_inputs(struct alone *a, struct trial *t) {
    const struct bench_problem *p = t->problem;
    const uint64_t elements = (uint64_t)p->batch * (uint64_t)p->heads * (uint64_t)p->n * (uint64_t)p->d;
    for (int s = 0; s < t->sets; s++)
        for (int i = 0; i < 3; i++)
            if (!bench_memory_random(&a->memory, FORMAT_BF16, elements, &t->inputs[s][i])) return false;
    return true;
}

// Two modes of up to four specs at a time: what bench_memory holds.
static void measure(struct alone *a, struct trial *t, const char *const *kernel, int kernels) {
    struct entry *e = xcalloc(2 * (size_t)kernels, sizeof *e);
    char failed[DEVICE_ERROR_BYTES] = "";
    int count = 0;
    if (!make_inputs(a, t)) snprintf(failed, sizeof failed, "%s", device_error(&a->device));
    for (int k = 0; k < kernels; k++) count += prepare(a, t, kernel[k], failed[0] ? failed : NULL, &e[count]);
    time_entries(a, t, e, count);
    for (int k = 0; k < count; k++) close_entry(a, &e[k]);
    bench_memory_release(&a->memory);
    free(e);
}

static void measure_problem(struct alone *a, const struct bench_child *c, int id) {
    enum { AT_ONCE = 4 };
    const char *kernel[AT_ONCE];
    const int most = c->apart == id ? 1 : AT_ONCE;
    int count = 0;
    const struct bench_problem *p = &a->job->problems->item[id];
    struct trial t = {.problem = p, .id = id};
    t.sets = bench_memory_sets(&a->memory, 8.0 * p->batch * p->heads * p->n * p->d);
    for (int i = 0; i < a->job->specs; i++) {
        const struct bench_spec *spec = &a->job->spec[i];
        if (spec->d == p->d && !bench_child_drops(c, spec->name)) kernel[count++] = spec->name;
        if (count < most && i < a->job->specs - 1) continue;
        if (count) measure(a, &t, kernel, count);
        count = 0;
    }
    tell(a, json_pack("{s:s, s:i}", "event", "done", "problem", id));
}

/* -- Process ---- */

static bool open_all(struct alone *a, char *why, size_t why_bytes) {
    const sage_options options = {.size = sizeof options, .kernel_dir = a->job->kernel_dir, .memory_only = 1};
    if (!device_open(0, NULL, &a->device, why, why_bytes)) return false;
    a->memory = (struct bench_memory){.device = &a->device};
    if (sage_context_create(&options, &a->context) != SAGE_OK)
        snprintf(why, why_bytes, "%s", sage_last_error(NULL));
    else if (!device_stream_create(&a->device, &a->stream))
        snprintf(why, why_bytes, "%s", device_error(&a->device));
    a->memory.stream = a->stream;
    return a->stream != NULL;
}

static void close_all(struct alone *a) {
    bench_memory_close(&a->memory);
    if (a->stream) device_stream_destroy(&a->device, a->stream);
    sage_context_destroy(a->context);
    device_close(&a->device);
}

static int be_alone(const struct bench_child *c, int fd) {
    struct alone a = {.job = c->job, .fd = fd};
    char why[DEVICE_ERROR_BYTES];
    if (!open_all(&a, why, sizeof why)) {
        tell(&a, json_pack("{s:s, s:s}", "event", "cannot", "reason", why));
    } else {
        tell(&a, json_pack("{s:s}", "event", "start"));
        for (int i = 0; i < a.job->problems->count; i++)
            if (!c->done[i]) measure_problem(&a, c, i);
        tell(&a, json_pack("{s:s}", "event", "end"));
    }
    close_all(&a);
    return 0;
}

enum bench_end bench_alone_run(const struct bench_job *job, struct bench_records *records, struct buf *why) {
    struct bench_child child = {.job = job,
                                .records = records,
                                .why = why,
                                .work = be_alone,
                                .name = "the measuring process",
                                .can_part = true};
    const enum bench_end end = bench_child_run(&child);
    return end == BENCH_NO_PEER ? BENCH_FAILED : end;
}
