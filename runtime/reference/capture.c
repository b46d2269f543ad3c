// capture: three tensors of one shape, widened to fp32 and joined.
// SPDX-License-Identifier: Apache-2.0
#include "capture.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { PARTS = 3 };
static const char part_names[PARTS] = {'q', 'k', 'v'};

static bool load_part(const struct safetensors *file, int layer, char part, int join, struct tensor *out, char *why,
                      size_t why_bytes) {
    char name[32];
    struct tensor raw, wide;
    snprintf(name, sizeof name, "layer%d.%c", layer, part);
    if (!safetensors_read(file, name, &raw, why, why_bytes)) return false;
    bool ok = tensor_convert(&raw, FORMAT_F32, &wide, why, why_bytes);
    tensor_free(&raw);
    if (!ok) return false;
    ok = tensor_join_heads(&wide, join, out, why, why_bytes);
    tensor_free(&wide);
    return ok;
}

static bool same_shape(const struct tensor *a, const struct tensor *b) {
    return memcmp(a->shape, b->shape, sizeof a->shape) == 0 && a->shape[0] <= INT_MAX && a->shape[2] <= INT_MAX;
}

bool capture_load(const struct safetensors *file, int layer, int join, struct capture *out, char *why,
                  size_t why_bytes) {
    struct tensor t[PARTS] = {0};
    bool ok = true;
    for (int i = 0; ok && i < PARTS; i++) {
        ok = load_part(file, layer, part_names[i], join, &t[i], why, why_bytes);
        if (ok && !same_shape(&t[0], &t[i]))
            ok = tensor_fail(why, why_bytes, "%s: q, k and v of layer %d differ in shape, or are too large", file->path,
                             layer);
    }
    if (!ok) {
        for (int i = 0; i < PARTS; i++) tensor_free(&t[i]);
        return false;
    }
    *out = (struct capture){.heads = (int)t[0].shape[0], .seq = (size_t)t[0].shape[1], .dim = (int)t[0].shape[2]};
    out->q = t[0].data;
    out->k = t[1].data;
    out->v = t[2].data;
    return true;
}

void capture_free(struct capture *c) {
    struct tensor parts[PARTS] = {{.data = c->q}, {.data = c->k}, {.data = c->v}};
    for (int i = 0; i < PARTS; i++) tensor_free(&parts[i]);
    *c = (struct capture){0};
}

struct attention_problem capture_problem(const struct capture *c, bool causal) {
    return (struct attention_problem){.q = c->q,
                                      .k = c->k,
                                      .v = c->v,
                                      .heads_q = c->heads,
                                      .heads_kv = c->heads,
                                      .seq_q = c->seq,
                                      .seq_k = c->seq,
                                      .dim_qk = c->dim,
                                      .dim_v = c->dim,
                                      .causal = causal};
}
