// verify_call: one attention call: tensors laid out as asked for among poisoned bytes, uploaded, run through sage.h,
// downloaded; then every byte that nobody may write is looked at. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "context.h"
#include "parallel.h"
#include "reference/formats.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GUARD_ELEMENTS = 256,  /* before and behind tensors */
    GUARD_WORDS = 64,      /* around LSE */
    GUARD_BYTES = 1024,    /* behind the workspace */
    WORKSPACE_SHIFT = 256, /* bytes: no better aligned than promised */
    POISON = 0xffff        /* a NaN in both io types */
};
static const uint32_t flags_before = 0x80000000u; // flags are ORed into, never cleared
enum { BUFFER_INPUTS, BUFFER_OUTPUT, BUFFER_LSE, BUFFER_WORKSPACE };

/* -- Places ---- */

// A strided tensor inside a host array of 16-bit elements.
struct place {
    int64_t offset, stride_b, stride_h, stride_n; /* elements */
    int64_t batch, heads, seq;
    int dim;
};

static int64_t round_up(int64_t x, int64_t to) {
    return (x + to - 1) / to * to;
}

// Puts the tensor behind `start`; returns where the next may begin.
static int64_t place_alone(struct place *t, enum verify_layout layout, int64_t start) {
    const bool odd = layout == LAYOUT_ODD;
    t->offset = round_up(start, 8) + GUARD_ELEMENTS + odd;
    if (layout == LAYOUT_BNHD || layout == LAYOUT_FUSED) {
        t->stride_h = t->dim;
        t->stride_n = t->heads * t->dim;
        t->stride_b = t->seq * t->stride_n;
    } else {
        t->stride_n = t->dim + (odd ? 3 : 0);
        t->stride_h = t->seq * t->stride_n + (odd ? 5 : 0);
        t->stride_b = t->heads * t->stride_h + (odd ? 7 : 0);
    }
    return t->offset + t->batch * t->stride_b + GUARD_ELEMENTS;
}

// Slices of one projection: [batch][seq][all heads of the first, of the second, ...][dim].
static int64_t place_fused(struct place *const t[], int count, int64_t start) {
    int64_t width = 0, offset = round_up(start, 8) + GUARD_ELEMENTS;
    for (int i = 0; i < count; i++) {
        t[i]->offset = offset + width;
        width += t[i]->heads * t[i]->dim;
    }
    for (int i = 0; i < count; i++) {
        t[i]->stride_h = t[i]->dim;
        t[i]->stride_n = width;
        t[i]->stride_b = t[i]->seq * width;
    }
    return offset + t[0]->batch * t[0]->seq * width + GUARD_ELEMENTS;
}

static int64_t place_inputs(struct place t[3], enum verify_layout layout) {
    struct place *const all[] = {&t[0], &t[1], &t[2]};
    if (layout == LAYOUT_FUSED && t[0].seq == t[1].seq) return place_fused(all, 3, 0);
    int64_t end = place_alone(&t[0], layout, 0);
    if (layout == LAYOUT_FUSED) return place_fused(all + 1, 2, end);
    for (int i = 1; i < 3; i++) end = place_alone(&t[i], layout, end);
    return end;
}

static sage_tensor tensor_at(const struct place *t, void *base) {
    return (sage_tensor){(uint16_t *)base + t->offset, t->stride_b, t->stride_h, t->stride_n};
}

/* -- Rows between host arrays ---- */

struct rows {
    const struct place *place;
    enum number_format io;
    const float *values; /* contiguous */
    uint16_t *array;
};

static uint16_t encode(enum number_format io, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (io == FORMAT_BF16) return (uint16_t)(bits >> 16); // exact by promise; NaN and infinity keep their upper half
    return (uint16_t)format_encode(io, (double)x);
}

static int64_t row_offset(const struct place *t, int64_t row) {
    int64_t n = row % t->seq, h = row / t->seq % t->heads, b = row / t->seq / t->heads;
    return t->offset + b * t->stride_b + h * t->stride_h + n * t->stride_n;
}

static int64_t row_count(const struct place *t) {
    return t->batch * t->heads * t->seq;
}

enum { ROWS_PER_ITEM = 128 };

static void encode_rows(void *user, size_t item) {
    const struct rows *r = user;
    int64_t first = (int64_t)item * ROWS_PER_ITEM, last = first + ROWS_PER_ITEM, dim = r->place->dim;
    for (int64_t row = first; row < last && row < row_count(r->place); row++)
        for (int64_t c = 0; c < dim; c++)
            r->array[row_offset(r->place, row) + c] = encode(r->io, r->values[row * dim + c]);
}

static void fill(const struct place *t, enum number_format io, const float *values, int threads, uint16_t *array) {
    struct rows r = {t, io, values, array};
    parallel_for((size_t)(row_count(t) + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM, threads, encode_rows, &r);
}

static void poison(uint16_t *array, int64_t elements) {
    memset(array, 0xff, (size_t)elements * sizeof *array);
}

/* -- One call on the device ---- */

struct work {
    struct verify_session *s;
    struct verify_call *call;
    const char *check;
    char shape[64];
    sage_stream stream;
    sage_attention_plan *plan, *own_plan;
    struct place in[3], out;
    int64_t in_elements, out_elements, lse_rows, lse_words, flags_word;
    uint16_t *in_host, *out_host;
    uint32_t *lse_host;
    uint64_t workspace_bytes;
    void *device[VERIFY_BUFFERS];
};

static bool dead(struct work *w) {
    verify_dead(w->s, w->check, w->shape);
    return false;
}

static void place_all(struct work *w) {
    const sage_attention_shape *shape = &w->call->shape;
    const struct plan *p = &w->s->unit->plan;
    w->in[0] =
        (struct place){.batch = shape->batch, .heads = shape->heads_q, .seq = shape->seq_q, .dim = p->head_dim_qk};
    w->in[1] =
        (struct place){.batch = shape->batch, .heads = shape->heads_kv, .seq = shape->seq_k, .dim = p->head_dim_qk};
    w->in[2] =
        (struct place){.batch = shape->batch, .heads = shape->heads_kv, .seq = shape->seq_k, .dim = p->head_dim_v};
    w->out = w->in[0];
    w->out.dim = p->head_dim_v;
    w->in_elements = place_inputs(w->in, w->call->layout);
    w->out_elements = place_alone(&w->out, w->call->layout, 0);
    w->lse_rows = shape->batch * shape->heads_q * shape->seq_q;
    w->flags_word = GUARD_WORDS + 1 + w->lse_rows + GUARD_WORDS;
    w->lse_words = w->flags_word + 1 + GUARD_WORDS;
    w->workspace_bytes = sage_attention_workspace_bytes(w->plan, shape);
}

static int64_t lse_first(const struct work *w) {
    return GUARD_WORDS + (w->call->layout == LAYOUT_ODD);
}

static bool host_fill(struct work *w) {
    const float *const values[] = {w->call->q, w->call->k, w->call->v};
    enum number_format io = w->s->unit->io == SPEC_IO_BF16 ? FORMAT_BF16 : FORMAT_F16;
    w->in_host = malloc((size_t)w->in_elements * sizeof *w->in_host);
    w->out_host = malloc((size_t)w->out_elements * sizeof *w->out_host);
    w->lse_host = malloc((size_t)w->lse_words * sizeof *w->lse_host);
    if (!w->in_host || !w->out_host || !w->lse_host) {
        verify_fail(w->s, w->check, w->shape, "out of host memory");
        return false;
    }
    poison(w->in_host, w->in_elements);
    for (int i = 0; i < 3; i++) fill(&w->in[i], io, values[i], w->s->options->threads, w->in_host);
    poison(w->out_host, w->out_elements);
    memset(w->lse_host, 0xff, (size_t)w->lse_words * sizeof *w->lse_host);
    w->lse_host[w->flags_word] = flags_before;
    return true;
}

// On the machine the workspace itself stays memory that nobody wrote, which it reports whoever reads.
static bool guard_workspace(struct work *w) {
    struct device *d = &w->s->device;
    char *base = w->device[BUFFER_WORKSPACE];
    return device_memset_u8(d, base, 0xff, WORKSPACE_SHIFT, w->stream) &&
           device_memset_u8(d, base + WORKSPACE_SHIFT + w->workspace_bytes, 0xff, GUARD_BYTES, w->stream);
}

static bool upload(struct work *w) {
    struct device *d = &w->s->device;
    const uint64_t bytes[] = {(uint64_t)w->in_elements * 2, (uint64_t)w->out_elements * 2, (uint64_t)w->lse_words * 4,
                              WORKSPACE_SHIFT + w->workspace_bytes + GUARD_BYTES};
    const void *const host[] = {w->in_host, w->out_host, w->lse_host};
    for (int i = 0; i < VERIFY_BUFFERS; i++)
        if (!verify_buffer(w->s, i, bytes[i], &w->device[i])) return dead(w);
    for (int i = 0; i < BUFFER_WORKSPACE; i++)
        if (!device_upload(d, w->device[i], host[i], bytes[i], w->stream)) return dead(w);
    return (w->s->options->vm
                ? guard_workspace(w)
                : device_memset_u8(d, w->device[BUFFER_WORKSPACE], 0xff, bytes[BUFFER_WORKSPACE], w->stream)) ||
           dead(w);
}

static sage_attention_args arguments(const struct work *w) {
    uint32_t *lse = w->device[BUFFER_LSE];
    return (sage_attention_args){.size = sizeof(sage_attention_args),
                                 .shape = w->call->shape,
                                 .q = tensor_at(&w->in[0], w->device[BUFFER_INPUTS]),
                                 .k = tensor_at(&w->in[1], w->device[BUFFER_INPUTS]),
                                 .v = tensor_at(&w->in[2], w->device[BUFFER_INPUTS]),
                                 .o = tensor_at(&w->out, w->device[BUFFER_OUTPUT]),
                                 .lse = (float *)lse + lse_first(w),
                                 .overflow_flags = lse + w->flags_word,
                                 .workspace = (char *)w->device[BUFFER_WORKSPACE] + WORKSPACE_SHIFT,
                                 .workspace_bytes = w->workspace_bytes};
}

static bool accepted(struct work *w, sage_status status, const char *what) {
    if (status == SAGE_OK) return true;
    verify_fail(w->s, w->check, w->shape, "%s: %s: %s", what, sage_status_text(status), sage_last_error(w->s->context));
    w->s->dead |= status == SAGE_ERROR_CUDA && !w->s->options->vm; // a fault leaves the machine as it was
    return false;
}

static bool launch_two_steps(struct work *w, sage_attention_args args) {
    float *lse = args.lse;
    if (w->call->mode == MODE_LATE_LSE) args.lse = NULL;
    if (!accepted(w, sage_attention_quantise(w->plan, &args, w->stream), "quantise")) return false;
    if (!device_memset_u8(&w->s->device, w->device[BUFFER_INPUTS], 0x7f, (uint64_t)w->in_elements * 2, w->stream))
        return dead(w);
    args.lse = lse;
    args.q = args.k = args.v = (sage_tensor){0};
    return accepted(w, sage_attention_attend(w->plan, &args, w->stream), "attend");
}

// The arguments are gone when the graph runs, and O is written anew by the second run.
static bool launch_graph(struct work *w, sage_attention_args args) {
    struct device *d = &w->s->device;
    device_graph graph;
    if (!device_capture_begin(d, w->stream)) return dead(w);
    const sage_status status = sage_attention_run(w->plan, &args, w->stream);
    memset(&args, 0xff, sizeof args);
    const bool captured = device_capture_end(d, w->stream, &graph);
    bool ok = accepted(w, status, "run while the stream was captured") && (captured || dead(w));
    for (int i = 0; ok && i < 2; i++)
        ok = (device_memset_u8(d, w->device[BUFFER_OUTPUT], 0xff, (uint64_t)w->out_elements * 2, w->stream) &&
              device_graph_launch(d, graph, w->stream)) ||
             dead(w);
    ok = ok && (device_synchronize(d, w->stream) || dead(w));
    device_graph_destroy(d, graph);
    return ok;
}

static bool launch_mode(struct work *w) {
    const sage_attention_args args = arguments(w);
    switch (w->call->mode) {
    case MODE_TWO_STEP:
    case MODE_LATE_LSE:
        return launch_two_steps(w, args);
    case MODE_GRAPH:
        return launch_graph(w, args);
    default:
        return accepted(w, sage_attention_run(w->plan, &args, w->stream), "run");
    }
}

static bool launch(struct work *w) {
    return launch_mode(w) && (device_synchronize(&w->s->device, w->stream) || dead(w));
}

/* -- What came back ---- */

__attribute__((format(printf, 2, 3))) static void fault(struct work *w, const char *format, ...) {
    va_list args;
    if (w->call->fault[0]) return;
    va_start(args, format);
    vsnprintf(w->call->fault, sizeof w->call->fault, format, args);
    va_end(args);
}

static bool check_inputs(struct work *w) {
    if (w->call->mode == MODE_TWO_STEP || w->call->mode == MODE_LATE_LSE) return true;
    uint16_t *now = malloc((size_t)w->in_elements * sizeof *now);
    bool ok =
        now && device_download(&w->s->device, now, w->device[BUFFER_INPUTS], (uint64_t)w->in_elements * 2, w->stream);
    for (int64_t i = 0; ok && i < w->in_elements; i++)
        if (now[i] != w->in_host[i]) fault(w, "input element %lld was changed", (long long)i);
    free(now);
    return ok || dead(w);
}

// Elements of O in order; marks them as seen in the array.
static void take_output(struct work *w) {
    enum number_format io = w->s->unit->io == SPEC_IO_BF16 ? FORMAT_BF16 : FORMAT_F16;
    int64_t dim = w->out.dim;
    for (int64_t row = 0; row < row_count(&w->out); row++)
        for (int64_t c = 0; c < dim; c++) {
            uint16_t *at = &w->out_host[row_offset(&w->out, row) + c];
            if (*at == POISON) fault(w, "O row %lld channel %lld was not written", (long long)row, (long long)c);
            w->call->o_bits[row * dim + c] = *at;
            w->call->o[row * dim + c] = (float)format_decode(io, *at);
            *at = POISON;
        }
    for (int64_t i = 0; i < w->out_elements; i++)
        if (w->out_host[i] != POISON) fault(w, "element %lld beside O was written", (long long)(i - w->out.offset));
}

static void take_lse(struct work *w) {
    int64_t first = lse_first(w);
    memcpy(w->call->lse, w->lse_host + first, (size_t)w->lse_rows * sizeof(float));
    for (int64_t i = 0; i < w->lse_words; i++) {
        bool inside = i >= first && i < first + w->lse_rows, written = w->lse_host[i] != UINT32_MAX;
        if (i == w->flags_word) continue;
        if (inside && !written) fault(w, "LSE %lld was not written", (long long)(i - first));
        if (!inside && written) fault(w, "word %lld beside LSE was written", (long long)(i - first));
    }
    uint32_t flags = w->lse_host[w->flags_word];
    if (!(flags & flags_before)) fault(w, "overflow flags were cleared");
    w->call->flags = flags & ~flags_before;
}

static bool check_workspace(struct work *w) {
    uint8_t guard[WORKSPACE_SHIFT + GUARD_BYTES];
    struct device *d = &w->s->device;
    const char *base = w->device[BUFFER_WORKSPACE];
    if (!device_download(d, guard, base, WORKSPACE_SHIFT, w->stream) ||
        !device_download(d, guard + WORKSPACE_SHIFT, base + WORKSPACE_SHIFT + w->workspace_bytes, GUARD_BYTES,
                         w->stream))
        return dead(w);
    for (size_t i = 0; i < sizeof guard; i++)
        if (guard[i] != 0xff) fault(w, "a byte beside the workspace was written");
    return true;
}

static bool take_workspace(struct work *w) {
    struct verify_call *call = w->call;
    if (!call->keep_workspace) return true;
    const struct verify_unit *u = w->s->unit;
    const struct build_job *job = u->job[SAGE_ROLE_QUANTISE_KV];
    call->workspace = malloc(w->workspace_bytes);
    if (!call->workspace || !workspace_layout_make(&job->meta, &call->shape, &call->layout_of_workspace)) {
        verify_fail(w->s, w->check, w->shape, "out of host memory");
        return false;
    }
    return device_download(&w->s->device, call->workspace, (char *)w->device[BUFFER_WORKSPACE] + WORKSPACE_SHIFT,
                           w->workspace_bytes, w->stream) ||
           dead(w);
}

static bool download(struct work *w) {
    struct device *d = &w->s->device;
    size_t o = (size_t)(row_count(&w->out) * w->out.dim);
    if (!device_download(d, w->out_host, w->device[BUFFER_OUTPUT], (uint64_t)w->out_elements * 2, w->stream) ||
        !device_download(d, w->lse_host, w->device[BUFFER_LSE], (uint64_t)w->lse_words * 4, w->stream))
        return dead(w);
    w->call->o_bits = xmalloc((o + 1) * sizeof *w->call->o_bits);
    w->call->o = xmalloc((o + 1) * sizeof *w->call->o);
    w->call->lse = xmalloc(((size_t)w->lse_rows + 1) * sizeof *w->call->lse);
    take_output(w);
    take_lse(w);
    return check_inputs(w) && check_workspace(w) && take_workspace(w);
}

/* -- Public ---- */

static bool run(struct work *w) {
    if (w->call->sm_scale != 0 && !verify_plan(w->s, w->call->sm_scale, &w->own_plan)) return false;
    w->plan = w->own_plan ? w->own_plan : w->s->plan;
    place_all(w);
    if (w->workspace_bytes == 0) {
        verify_fail(w->s, w->check, w->shape, "workspace_bytes is 0: %s", sage_last_error(w->s->context));
        return false;
    }
    return host_fill(w) && upload(w) && launch(w) && download(w);
}

bool verify_call_run(struct verify_session *s, struct verify_call *call, const char *check) {
    struct work w = {.s = s, .call = call, .check = check, .stream = call->own_stream ? s->stream : NULL};
    if (s->dead) return false;
    verify_shape_text(call, w.shape);
    bool ok = run(&w);
    if (ok && call->fault[0]) verify_fail(s, "memory", w.shape, "%s: %s", check, call->fault);
    sage_attention_plan_destroy(w.own_plan);
    free(w.in_host);
    free(w.out_host);
    free(w.lse_host);
    return ok;
}

void verify_call_free(struct verify_call *call) {
    free(call->o_bits);
    free(call->o);
    free(call->lse);
    free(call->workspace);
    call->o_bits = NULL;
    call->o = call->lse = NULL;
    call->workspace = NULL;
    call->fault[0] = '\0';
}

void verify_shape_text(const struct verify_call *call, char out[64]) {
    static const char *const layouts[] = {
        [LAYOUT_BHND] = "bhnd", [LAYOUT_BNHD] = "bnhd", [LAYOUT_FUSED] = "fused", [LAYOUT_ODD] = "odd"};
    const sage_attention_shape *s = &call->shape;
    snprintf(out, 64, "b%lld h%lld/%lld q%lld k%lld %s", (long long)s->batch, (long long)s->heads_q,
             (long long)s->heads_kv, (long long)s->seq_q, (long long)s->seq_k, layouts[call->layout]);
}

size_t verify_count(const sage_attention_shape *shape, char tensor, const struct plan *plan) {
    bool queries = tensor == 'q' || tensor == 'o';
    int64_t rows = shape->batch * (queries ? shape->heads_q * shape->seq_q : shape->heads_kv * shape->seq_k);
    return (size_t)rows * (size_t)(tensor == 'v' || tensor == 'o' ? plan->head_dim_v : plan->head_dim_qk);
}

const void *verify_region(const struct verify_call *call, enum workspace_region_index region) {
    return call->workspace + call->layout_of_workspace.region[region].offset;
}

struct image_head verify_image_head(const struct verify_call *call, const struct plan *plan, size_t head) {
    const struct workspace_layout *l = &call->layout_of_workspace;
    size_t kv = head / (size_t)(call->shape.heads_q / call->shape.heads_kv);
    size_t q_tiles = (size_t)l->q_tile_count, k_tiles = (size_t)l->k_tile_count;
    const uint8_t *q = verify_region(call, WORKSPACE_q_tiles), *k = verify_region(call, WORKSPACE_k_tiles),
                  *v = verify_region(call, WORKSPACE_v_tiles);
    const float *q_scale = verify_region(call, WORKSPACE_q_scale), *v_scale = verify_region(call, WORKSPACE_v_scale);
    return (struct image_head){.q_tiles = q + head * q_tiles * (size_t)plan->q_tile_bytes,
                               .k_tiles = k + kv * k_tiles * (size_t)plan->k_tile_bytes,
                               .v_tiles = v + kv * k_tiles * (size_t)plan->v_tile_bytes,
                               .q_scale = q_scale + head * q_tiles * (size_t)plan->tile_q,
                               .v_scale = v_scale + kv * 2 * (size_t)plan->d_v,
                               .k_tile_count = l->k_tile_count,
                               .seq_k = call->shape.seq_k};
}
