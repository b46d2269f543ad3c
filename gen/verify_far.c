// verify_far: offsets beyond 2^31 elements: the last head, batch or row of every tensor starts there. The result must
// be that of the same values in a small tensor, bit by bit. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "reference/formats.h"
#include "verify_data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_INPUTS, BUFFER_OUTPUT, BUFFER_LSE, BUFFER_WORKSPACE };

static const int64_t far_elements = ((int64_t)1 << 31) + ((int64_t)1 << 27); // of each of two buffers

static const struct far_case {
    const char *check;
    sage_attention_shape shape;
    int64_t stride_b, stride_h, stride_n; /* 0: small */
} cases[] = {
    {"far head", {1, 2, 2, 66, 66}, 0, ((int64_t)1 << 31) + 64, 0},
    {"far batch", {2, 1, 1, 66, 66}, ((int64_t)1 << 31) + 64, 0, 0},
    {"far row", {1, 2, 2, 66, 66}, 0, 0, ((int64_t)1 << 25) + 8},
};

// Q, K, V and O are [batch][heads][66][dim], at different small offsets of one far pattern.
struct far_tensor {
    int64_t offset, stride_b, stride_h, stride_n;
    int64_t heads, rows; /* rows: in all */
    int dim;
};

static struct far_tensor far_tensor_of(const struct far_case *c, int index, int dim) {
    const int64_t n = c->shape.seq_q, heads = c->shape.heads_q, small = n * dim;
    return (struct far_tensor){.offset = index * ((int64_t)1 << 20),
                               .stride_b = c->stride_b ? c->stride_b : heads * small,
                               .stride_h = c->stride_h   ? c->stride_h
                                           : c->stride_n ? ((int64_t)1 << 14)
                                                         : small,
                               .stride_n = c->stride_n ? c->stride_n : dim,
                               .heads = heads,
                               .rows = c->shape.batch * heads * n,
                               .dim = dim};
}

static char *row_address(const struct far_tensor *t, int64_t row, int64_t n, void *base) {
    int64_t at =
        t->offset + row / n / t->heads * t->stride_b + row / n % t->heads * t->stride_h + row % n * t->stride_n;
    return (char *)base + at * 2;
}

static bool upload(struct verify_session *s, const struct far_tensor *t, int64_t n, const float *x, void *base) {
    enum number_format io = s->unit->io == SPEC_IO_BF16 ? FORMAT_BF16 : FORMAT_F16;
    uint16_t row[256];
    for (int64_t r = 0; r < t->rows; r++) {
        format_encode_array(io, x + r * t->dim, (size_t)t->dim, row);
        if (!device_upload(&s->device, row_address(t, r, n, base), row, (uint64_t)t->dim * 2, NULL)) return false;
    }
    return true;
}

static bool download(struct verify_session *s, const struct far_tensor *t, int64_t n, void *base, uint16_t *out) {
    for (int64_t r = 0; r < t->rows; r++)
        if (!device_download(&s->device, out + r * t->dim, row_address(t, r, n, base), (uint64_t)t->dim * 2, NULL))
            return false;
    return true;
}

static sage_tensor tensor_of(const struct far_tensor *t, void *base) {
    return (sage_tensor){(uint16_t *)base + t->offset, t->stride_b, t->stride_h, t->stride_n};
}

// Runs the case on far tensors; o_bits [rows of O][dim].
static bool run_far(struct verify_session *s, const struct far_case *c, const struct verify_call *near, void *base[4],
                    uint16_t *o_bits) {
    const struct plan *p = &s->unit->plan;
    const float *const values[3] = {near->q, near->k, near->v};
    struct far_tensor t[4];
    for (int i = 0; i < 4; i++) t[i] = far_tensor_of(c, i, i < 2 ? p->head_dim_qk : p->head_dim_v);
    const sage_attention_args args = {.size = sizeof args,
                                      .shape = c->shape,
                                      .q = tensor_of(&t[0], base[BUFFER_INPUTS]),
                                      .k = tensor_of(&t[1], base[BUFFER_INPUTS]),
                                      .v = tensor_of(&t[2], base[BUFFER_INPUTS]),
                                      .o = tensor_of(&t[3], base[BUFFER_OUTPUT]),
                                      .workspace = base[BUFFER_WORKSPACE],
                                      .workspace_bytes = sage_attention_workspace_bytes(s->plan, &c->shape)};
    for (int i = 0; i < 3; i++)
        if (!upload(s, &t[i], c->shape.seq_q, values[i], base[BUFFER_INPUTS])) return false;
    sage_status status = sage_attention_run(s->plan, &args, NULL);
    if (status != SAGE_OK) {
        verify_fail(s, c->check, "", "%s: %s", sage_status_text(status), sage_last_error(s->context));
        return true;
    }
    return device_synchronize(&s->device, NULL) && download(s, &t[3], c->shape.seq_q, base[BUFFER_OUTPUT], o_bits);
}

static void compare(struct verify_session *s, const struct far_case *c, const struct verify_call *near, void *base[4]) {
    size_t n = verify_count(&c->shape, 'o', &s->unit->plan), wrong = 0;
    uint16_t *o_bits = xcalloc(n + 1, sizeof *o_bits);
    char shape[64];
    verify_shape_text(near, shape);
    if (run_far(s, c, near, base, o_bits)) {
        for (size_t i = 0; i < n; i++) wrong += o_bits[i] != near->o_bits[i];
        verify_check(s, c->check, shape, (double)wrong, 0, "elements that differ from those of a small tensor");
    } else {
        verify_dead(s, c->check, shape);
    }
    free(o_bits);
}

static void run_case(struct verify_session *s, const struct far_case *c) {
    const struct plan *p = &s->unit->plan;
    const struct verify_inputs_key key = {.kind = RANDOM_NORMAL,
                                          .io = s->unit->io == SPEC_IO_BF16 ? FORMAT_BF16 : FORMAT_F16,
                                          .shape = c->shape,
                                          .dim_qk = p->head_dim_qk,
                                          .dim_v = p->head_dim_v,
                                          .seed = s->options->seed + 77,
                                          .sample_heads = 1,
                                          .sample_rows = 1};
    const struct verify_inputs *in = verify_data_inputs(s->data, &key);
    struct verify_call near = {.shape = c->shape, .q = in->q, .k = in->k, .v = in->v};
    void *base[4] = {NULL, NULL, NULL, NULL};
    if (verify_call_run(s, &near, c->check)) {
        const uint64_t bytes = (uint64_t)far_elements * 2,
                       workspace = sage_attention_workspace_bytes(s->plan, &c->shape);
        if (verify_buffer(s, BUFFER_INPUTS, bytes, &base[BUFFER_INPUTS]) &&
            verify_buffer(s, BUFFER_OUTPUT, bytes, &base[BUFFER_OUTPUT]) &&
            verify_buffer(s, BUFFER_WORKSPACE, workspace, &base[BUFFER_WORKSPACE]))
            compare(s, c, &near, base);
        else
            verify_dead(s, c->check, "");
    }
    verify_call_free(&near);
}

void verify_far(struct verify_session *s) {
    uint64_t free_bytes = 0, total_bytes = 0, need = (uint64_t)far_elements * 4 + ((uint64_t)1 << 30);
    if (!verify_unit_is_headline(s->unit) || s->unit->io != SPEC_IO_FP16 || s->unit->safe_form) return;
    if (!device_memory_info(&s->device, &free_bytes, &total_bytes)) {
        verify_dead(s, "far", "");
        return;
    }
    free_bytes += s->buffer[BUFFER_INPUTS].bytes + s->buffer[BUFFER_OUTPUT].bytes;
    if (free_bytes < need) {
        verify_skip(s, "far", "needs %.1f GB of device memory; %.1f are free", (double)need * 1e-9,
                    (double)free_bytes * 1e-9);
        return;
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0] && !s->dead; i++) run_case(s, &cases[i]);
}
