// verify_soak_pairs: the mixed shapes of a soak, their inputs on the device, and the first call of each kernel set and
// shape, which is checked against float64 and is what all later ones are compared with. SPDX-License-Identifier:
// Apache-2.0
#include "verify_soak.h"

#include "cmd_interrupt.h"
#include "reference/formats.h"
#include "verify_compare.h"
#include "verify_data.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Shapes ---- */

// Ragged lengths, one query, q != k both ways, every grouping of heads, several batches; few long ones.
static const struct soak_shape {
    sage_attention_shape shape;
    enum random_kind kind;
    unsigned sets; /* VERIFY_SET_* */
    bool planted;  /* values that are not finite, which the overflow flags report */
    uint64_t room; /* bytes of free device memory that it asks for */
} shapes[] = {
    {{1, 2, 2, 1, 1}, RANDOM_NORMAL, VERIFY_SET_GPU, false, 0},
    {{2, 4, 1, 17, 63}, RANDOM_OUTLIER, VERIFY_SET_GPU, false, 0},
    {{2, 2, 1, 129, 65}, RANDOM_NORMAL, VERIFY_SET_GPU, true, 0},
    {{3, 8, 2, 1, 1000}, RANDOM_RUNS, VERIFY_SET_GPU, false, 0},
    {{1, 4, 4, 200, 600}, RANDOM_NORMAL, VERIFY_SET_GPU, false, 0},
    {{1, 8, 1, 1000, 200}, RANDOM_OUTLIER, VERIFY_SET_NORMAL, false, 0},
    {{1, 4, 2, 333, 333}, RANDOM_RUNS, VERIFY_SET_GPU, false, 0},
    {{4, 8, 8, 512, 512}, RANDOM_NORMAL, VERIFY_SET_NORMAL, false, 0},
    {{1, 16, 4, 1024, 1024}, RANDOM_NORMAL, VERIFY_SET_NORMAL, false, (uint64_t)2 << 30},
    {{1, 16, 4, 4096, 4096}, RANDOM_OUTLIER, VERIFY_SET_NORMAL, false, (uint64_t)8 << 30},
    {{1, 2, 1, 777, 16384}, RANDOM_NORMAL, VERIFY_SET_NORMAL, false, (uint64_t)8 << 30},
    {{1, 2, 1, 9, 70}, RANDOM_NORMAL, VERIFY_SET_VM | VERIFY_SET_VM_QUICK, true, 0},
    {{2, 2, 2, 33, 33}, RANDOM_OUTLIER, VERIFY_SET_VM | VERIFY_SET_VM_QUICK, false, 0},
    {{1, 4, 1, 1, 130}, RANDOM_RUNS, VERIFY_SET_VM | VERIFY_SET_VM_QUICK, false, 0},
    {{1, 2, 2, 140, 65}, RANDOM_NORMAL, VERIFY_SET_VM, false, 0},
};
enum {
    SHAPES = sizeof shapes / sizeof shapes[0],
    LARGE_FROM = 4096 /* tokens; of kernels of 64 and 128 channels alone */
};

static bool wants_shape(const struct verify_session *s, const struct soak_shape *shape, uint64_t free_bytes) {
    const bool large = shape->shape.seq_q >= LARGE_FROM || shape->shape.seq_k >= LARGE_FROM;
    return (shape->sets & verify_sizes(s->options)->set) && shape->room <= free_bytes &&
           (!large || verify_unit_is_headline(s->unit));
}

/* -- Inputs ---- */

// The host's values of one first call; clean: what a planted value is read as.
struct values {
    struct verify_inputs *in;
    float *q, *k, *v, *clean_v, *clean_k;
};

static float *copy(const float *x, size_t n) {
    float *out = xmalloc((n + 1) * sizeof *out);
    memcpy(out, x, n * sizeof *out);
    return out;
}

static struct values values_make(struct verify_session *s, int shape) {
    const struct plan *p = &s->unit->plan;
    const sage_attention_shape *size = &shapes[shape].shape;
    const struct verify_inputs_key key = {.kind = shapes[shape].kind,
                                          .io = verify_io_format(s),
                                          .shape = *size,
                                          .dim_qk = p->head_dim_qk,
                                          .dim_v = p->head_dim_v,
                                          .seed = s->options->seed + 7919u * (uint64_t)(shape + 1),
                                          .sample_heads = 1,
                                          .sample_rows = 1};
    struct values x = {.in = verify_data_inputs(s->data, &key)};
    const size_t k_count = verify_count(size, 'k', p), v_count = verify_count(size, 'v', p);
    x.q = copy(x.in->q, verify_count(size, 'q', p));
    x.k = copy(x.in->k, k_count);
    x.v = copy(x.in->v, v_count);
    x.clean_k = copy(x.in->k, k_count);
    x.clean_v = copy(x.in->v, v_count);
    if (shapes[shape].planted) {
        x.k[k_count / 2] = NAN, x.clean_k[k_count / 2] = 0;
        x.v[v_count - 1] = INFINITY, x.clean_v[v_count - 1] = 0;
    }
    return x;
}

static void values_free(struct values *x) {
    float *const all[] = {x->q, x->k, x->v, x->clean_k, x->clean_v};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static uint64_t rounded(uint64_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static bool inputs_upload(struct soak *k, struct soak_inputs *in, const struct values *x) {
    struct verify_session *s = k->s;
    const struct plan *p = &s->unit->plan;
    const sage_attention_shape *size = &shapes[in->shape].shape;
    const size_t q = verify_count(size, 'q', p), kk = verify_count(size, 'k', p), v = verify_count(size, 'v', p);
    in->k_offset = rounded(q * 2);
    in->v_offset = in->k_offset + rounded(kk * 2);
    in->bytes = in->v_offset + v * 2;
    in->host = xcalloc(in->bytes / 2 + 1, 2);
    format_encode_array(verify_io_format(s), x->q, q, in->host);
    format_encode_array(verify_io_format(s), x->k, kk, (char *)in->host + in->k_offset);
    format_encode_array(verify_io_format(s), x->v, v, (char *)in->host + in->v_offset);
    void *memory = NULL;
    const bool ok = device_alloc(&s->device, in->bytes, &memory) &&
                    device_upload(&s->device, memory, in->host, in->bytes, s->stream);
    in->device = memory;
    if (!ok) verify_dead(s, "soak inputs", "");
    return ok;
}

// Kernel sets with one io type and the same head dims share them. -1: recorded.
static int inputs_of(struct soak *k, int shape, const struct values *x) {
    const struct verify_unit *u = k->s->unit;
    for (int i = 0; i < k->inputs_count; i++) {
        const struct soak_inputs *in = &k->inputs[i];
        if (in->shape == shape && in->io == u->io && in->dim_qk == u->plan.head_dim_qk &&
            in->dim_v == u->plan.head_dim_v)
            return i;
    }
    struct soak_inputs *in = &k->inputs[k->inputs_count++];
    *in = (struct soak_inputs){.io = u->io, .shape = shape, .dim_qk = u->plan.head_dim_qk, .dim_v = u->plan.head_dim_v};
    return inputs_upload(k, in, x) ? k->inputs_count - 1 : -1;
}

void soak_pairs_check_inputs(struct soak *k) {
    struct verify_session *s = k->s;
    uint64_t changed = 0;
    for (int i = 0; i < k->inputs_count && !s->dead; i++) {
        const struct soak_inputs *in = &k->inputs[i];
        uint8_t *now = xmalloc(in->bytes + 1);
        if (device_download(&s->device, now, in->device, in->bytes, s->stream)) {
            for (uint64_t b = 0; b < in->bytes; b++) changed += now[b] != ((const uint8_t *)in->host)[b];
        } else {
            verify_dead(s, "soak inputs", "");
        }
        free(now);
    }
    if (!s->dead) verify_check(s, "soak inputs", "", (double)changed, 0, "bytes of Q, K and V that were changed");
}

/* -- First calls ---- */

static void check_first(struct verify_session *s, int shape, const struct verify_call *call, const struct values *x) {
    struct attention_problem p = verify_problem(x->in, s->unit->mask == SPEC_MASK_CAUSAL, 0);
    const unsigned flags = shapes[shape].planted ? SAGE_OVERFLOW_K | SAGE_OVERFLOW_V : 0;
    char text[64];
    p.k = x->clean_k;
    p.v = x->clean_v;
    verify_exact(s, call, &p, SIZE_MAX, "soak, first call");
    verify_shape_text(call, text);
    if (call->flags != flags) verify_fail(s, "overflow flags", text, "flags 0x%x, planted 0x%x", call->flags, flags);
}

// The pair of the session's unit and a shape. A call that fails is recorded, and leaves the pair out.
static void pair_add(struct soak *k, int shape) {
    struct verify_session *s = k->s;
    struct values x = values_make(s, shape);
    struct verify_call call = {.shape = shapes[shape].shape, .q = x.q, .k = x.k, .v = x.v, .own_stream = true};
    const int inputs = inputs_of(k, shape, &x);
    if (inputs >= 0 && verify_call_run(s, &call, "soak, first call")) {
        check_first(s, shape, &call, &x);
        k->pair[k->pairs++] = (struct soak_pair){
            .unit = s->unit_index,
            .inputs = inputs,
            .plan = s->plan,
            .shape = call.shape,
            .workspace_bytes = sage_attention_workspace_bytes(s->plan, &call.shape),
            .o_bytes = verify_count(&call.shape, 'o', &s->unit->plan) * 2,
            .lse_bytes = (uint64_t)(call.shape.batch * call.shape.heads_q * call.shape.seq_q) * sizeof(float),
            .o = call.o_bits,
            .lse = call.lse,
            .flags = call.flags};
        call.o_bits = NULL;
        call.lse = NULL;
    }
    verify_call_free(&call);
    values_free(&x);
}

bool soak_pairs_make(struct soak *k) {
    struct verify_session *s = k->s;
    uint64_t free_bytes = 0, total_bytes;
    k->capacity = k->count * SHAPES;
    k->plan = xcalloc((size_t)k->count + 1, sizeof *k->plan);
    k->inputs = xcalloc((size_t)k->capacity + 1, sizeof *k->inputs);
    k->pair = xcalloc((size_t)k->capacity + 1, sizeof *k->pair);
    if (!device_memory_info(&s->device, &free_bytes, &total_bytes)) verify_dead(s, "soak", "");
    for (int i = 0; i < k->count && !s->dead && !cmd_interrupted(); i++) {
        char text[96];
        if (!verify_session_select(s, k->unit[i]) || !verify_plan(s, 0, &k->plan[i])) continue;
        s->plan = k->plan[i];
        for (int shape = 0; shape < SHAPES && !s->dead && !cmd_interrupted(); shape++)
            if (wants_shape(s, &shapes[shape], free_bytes)) pair_add(k, shape);
        s->plan = NULL; // it is the soak's
        fprintf(stderr, "[%3d/%d] %s  first calls%s\n", k->unit[i] + 1, s->units->count,
                verify_unit_text(s->unit, text), s->dead ? "  GPU LOST" : "");
    }
    return k->pairs > 0 && !s->dead && !cmd_interrupted();
}

void soak_pairs_free(struct soak *k) {
    for (int i = 0; i < k->pairs; i++) {
        free(k->pair[i].o);
        free(k->pair[i].lse);
    }
    for (int i = 0; i < k->inputs_count; i++) {
        device_free(&k->s->device, k->inputs[i].device);
        free(k->inputs[i].host);
    }
    for (int i = 0; k->plan && i < k->count; i++) sage_attention_plan_destroy(k->plan[i]);
    free(k->pair);
    free(k->inputs);
    free(k->plan);
}
