// run_launch: see run_launch.h. All device memory of a call is one table, so that it is freed in one place.
// SPDX-License-Identifier: Apache-2.0
#include "run_launch.h"
#include "buf.h"
#include <stdlib.h>

// X(member): the blocks of device memory of a call.
#define LAUNCH_MEMORY(X)    X(q) X(k) X(v) X(o) X(lse) X(flags) X(workspace)
#define LAUNCH_MEMBER(name) void *name;

enum { WARM_UP = 3 };

struct launch {
    struct device *device;
    const struct run_call *call;
    sage_stream stream;
    device_event from, to;
    struct {
        LAUNCH_MEMORY(LAUNCH_MEMBER)
    } memory;
    sage_attention_args args;
    char *why;
    size_t why_bytes;
};

typedef sage_status launch_step(const sage_attention_plan *plan, const sage_attention_args *args, sage_stream stream);

/* -- Errors ---- */

static bool device_failed(const struct launch *l) {
    return tensor_fail(l->why, l->why_bytes, "%s", device_error(l->device));
}

static bool step(const struct launch *l, launch_step *function) {
    if (function(l->call->plan, &l->args, l->stream) == SAGE_OK) return true;
    return tensor_fail(l->why, l->why_bytes, "%s", sage_last_error(l->call->context));
}

/* -- Memory ---- */

static uint64_t bytes_of(const struct tensor *t) {
    return t ? tensor_count(t) * format_bits(t->dtype) / 8 : 0;
}

static bool upload(const struct launch *l, const struct tensor *t, void **memory) {
    return device_alloc(l->device, bytes_of(t), memory) &&
           device_upload(l->device, *memory, t->data, bytes_of(t), l->stream);
}

// O starts as NaN (all bits set), so that a row that no kernel wrote is seen.
static bool allocate(struct launch *l) {
    const struct run_call *call = l->call;
    const struct tensor *in = call->input;
    struct device *d = l->device;
    bool ok = upload(l, &in[RUN_Q], &l->memory.q) && upload(l, &in[RUN_K], &l->memory.k) &&
              upload(l, &in[RUN_V], &l->memory.v) && device_alloc(d, bytes_of(call->o), &l->memory.o) &&
              device_memset_u8(d, l->memory.o, 0xff, bytes_of(call->o), l->stream) &&
              device_alloc(d, sizeof(uint32_t), &l->memory.flags) &&
              device_memset_u8(d, l->memory.flags, 0, sizeof(uint32_t), l->stream) &&
              device_alloc(d, l->args.workspace_bytes, &l->memory.workspace);
    if (ok && call->lse)
        ok = device_alloc(d, bytes_of(call->lse), &l->memory.lse) &&
             device_memset_u8(d, l->memory.lse, 0xff, bytes_of(call->lse), l->stream);
    return ok || device_failed(l);
}

static void release(struct launch *l) {
#define LAUNCH_FREE(name) device_free(l->device, l->memory.name);
    LAUNCH_MEMORY(LAUNCH_FREE)
#undef LAUNCH_FREE
    device_event_destroy(l->device, l->from);
    device_event_destroy(l->device, l->to);
    device_stream_destroy(l->device, l->stream);
}

/* -- The call ---- */

static sage_tensor strided(const struct run_shape *shape, void *data, int64_t heads, int64_t seq, int dim) {
    sage_tensor t = run_strides(shape, heads, seq, dim);
    t.data = data;
    return t;
}

static void fill_args(struct launch *l) {
    const struct run_shape *shape = l->call->shape;
    const sage_attention_shape *e = &shape->extent;
    sage_attention_args *a = &l->args;
    a->q = strided(shape, l->memory.q, e->heads_q, e->seq_q, shape->dim_qk);
    a->k = strided(shape, l->memory.k, e->heads_kv, e->seq_k, shape->dim_qk);
    a->v = strided(shape, l->memory.v, e->heads_kv, e->seq_k, shape->dim_v);
    a->o = strided(shape, l->memory.o, e->heads_q, e->seq_q, shape->dim_v);
    a->lse = l->memory.lse;
    a->overflow_flags = l->memory.flags;
    a->workspace = l->memory.workspace;
}

static bool open_launch(struct launch *l) {
    l->args = (sage_attention_args){.size = sizeof l->args, .shape = l->call->shape->extent};
    l->args.workspace_bytes = sage_attention_workspace_bytes(l->call->plan, &l->args.shape);
    if (!device_stream_create(l->device, &l->stream) || !device_event_create(l->device, &l->from) ||
        !device_event_create(l->device, &l->to))
        return device_failed(l);
    if (!allocate(l)) return false;
    fill_args(l);
    return true;
}

static bool download(const struct launch *l, struct run_times *out) {
    const struct run_call *call = l->call;
    struct device *d = l->device;
    bool ok = device_download(d, call->o->data, l->memory.o, bytes_of(call->o), l->stream) &&
              device_download(d, &out->overflow, l->memory.flags, sizeof out->overflow, l->stream);
    if (ok && call->lse) ok = device_download(d, call->lse->data, l->memory.lse, bytes_of(call->lse), l->stream);
    return ok || device_failed(l);
}

/* -- Times ---- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static bool time_once(const struct launch *l, launch_step *function, double *ms) {
    if (!device_event_record(l->device, l->from, l->stream)) return device_failed(l);
    if (!step(l, function)) return false;
    if (!device_event_record(l->device, l->to, l->stream)) return device_failed(l);
    return device_event_elapsed(l->device, l->from, l->to, ms) || device_failed(l);
}

static bool time_median(const struct launch *l, launch_step *function, double *ms) {
    const int count = l->call->repeat;
    double *values = xcalloc((size_t)count, sizeof *values);
    bool ok = true;
    for (int i = 0; ok && i < WARM_UP; i++) ok = time_once(l, function, &values[0]);
    for (int i = 0; ok && i < count; i++) ok = time_once(l, function, &values[i]);
    if (ok) *ms = median(values, count);
    free(values);
    return ok;
}

// attend only reads the quantised operands, so it may follow quantise any number of times.
static bool time_both(const struct launch *l, struct run_times *out) {
    if (l->call->repeat == 0) return true;
    return time_median(l, sage_attention_run, &out->run_ms) && step(l, sage_attention_quantise) &&
           time_median(l, sage_attention_attend, &out->attend_ms);
}

bool run_launch(struct device *device, const struct run_call *call, struct run_times *out, char *why,
                size_t why_bytes) {
    struct launch l = {.device = device, .call = call, .why = why, .why_bytes = why_bytes};
    struct run_times times = {0};
    bool ok = open_launch(&l) && step(&l, sage_attention_run) && download(&l, &times) && time_both(&l, &times);
    times.workspace_bytes = l.args.workspace_bytes;
    release(&l);
    if (ok) *out = times;
    return ok;
}
