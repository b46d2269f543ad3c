// verify_data: see verify_data.h. A small cache, least recently used out first.
// SPDX-License-Identifier: Apache-2.0
#include "verify_data.h"

#include "buf.h"
#include "reference/tensor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS_MAX = 40 };

struct verify_data {
    int threads;
    uint64_t clock;
    struct verify_inputs item[INPUTS_MAX];
};

/* -- Cache ---- */

struct verify_data *verify_data_create(int threads) {
    struct verify_data *data = xcalloc(1, sizeof *data);
    data->threads = threads;
    return data;
}

static void inputs_free(struct verify_inputs *in) {
    for (int i = 0; i < in->references; i++) {
        free(in->reference[i].o);
        free(in->reference[i].lse);
    }
    free(in->q);
    free(in->k);
    free(in->v);
    free(in->sample);
    *in = (struct verify_inputs){0};
}

void verify_data_destroy(struct verify_data *data) {
    for (int i = 0; data && i < INPUTS_MAX; i++) inputs_free(&data->item[i]);
    free(data);
}

static bool same_key(const struct verify_inputs_key *a, const struct verify_inputs_key *b) {
    return a->kind == b->kind && a->io == b->io && memcmp(&a->shape, &b->shape, sizeof a->shape) == 0 &&
           a->dim_qk == b->dim_qk && a->dim_v == b->dim_v && a->seed == b->seed && a->sample_heads == b->sample_heads &&
           a->sample_rows == b->sample_rows;
}

static struct verify_inputs *slot(struct verify_data *data, const struct verify_inputs_key *key) {
    struct verify_inputs *oldest = &data->item[0];
    for (int i = 0; i < INPUTS_MAX; i++) {
        if (data->item[i].used && same_key(&data->item[i].key, key)) return &data->item[i];
        if (data->item[i].used < oldest->used) oldest = &data->item[i];
    }
    inputs_free(oldest);
    return oldest;
}

/* -- Inputs ---- */

static float *floats(size_t a, size_t b, size_t c) {
    return xmalloc((a * b * c + 1) * sizeof(float));
}

size_t verify_samples(const struct attention_problem *p, int heads, size_t rows, struct attention_sample **out) {
    if (heads == 0 || heads > p->heads_q) heads = p->heads_q;
    if (rows == 0 || rows > p->seq_q) rows = p->seq_q;
    *out = xcalloc((size_t)heads * rows + 1, sizeof **out);
    if (rows > 0) attention_spread(p, heads, rows, *out);
    return (size_t)heads * rows;
}

struct attention_problem verify_problem(const struct verify_inputs *in, bool causal, double sm_scale) {
    const sage_attention_shape *s = &in->key.shape;
    return (struct attention_problem){.q = in->q,
                                      .k = in->k,
                                      .v = in->v,
                                      .heads_q = (int)(s->batch * s->heads_q),
                                      .heads_kv = (int)(s->batch * s->heads_kv),
                                      .seq_q = (size_t)s->seq_q,
                                      .seq_k = (size_t)s->seq_k,
                                      .dim_qk = in->key.dim_qk,
                                      .dim_v = in->key.dim_v,
                                      .sm_scale = sm_scale,
                                      .causal = causal};
}

static void inputs_fill(struct verify_data *data, struct verify_inputs *in) {
    const struct attention_problem p = verify_problem(in, false, 0);
    const struct random_shape shape = {p.heads_q, p.heads_kv, p.seq_q, p.seq_k, p.dim_qk, p.dim_v};
    in->q = floats((size_t)p.heads_q, p.seq_q, (size_t)p.dim_qk);
    in->k = floats((size_t)p.heads_kv, p.seq_k, (size_t)p.dim_qk);
    in->v = floats((size_t)p.heads_kv, p.seq_k, (size_t)p.dim_v);
    random_attention(in->key.kind, &shape, in->key.io, in->key.seed, data->threads, in->q, in->k, in->v);
    in->samples = verify_samples(&p, in->key.sample_heads, (size_t)in->key.sample_rows, &in->sample);
}

struct verify_inputs *verify_data_inputs(struct verify_data *data, const struct verify_inputs_key *key) {
    struct verify_inputs *in = slot(data, key);
    if (in->used == 0) {
        in->key = *key;
        inputs_fill(data, in);
    }
    in->used = ++data->clock;
    return in;
}

/* -- References ---- */

static bool compute(struct verify_data *data, struct verify_inputs *in, bool causal, const struct algorithm *algorithm,
                    struct verify_reference *r, char *why, size_t why_bytes) {
    const struct attention_problem p = verify_problem(in, causal, 0);
    if (!algorithm) return attention_exact(&p, in->sample, in->samples, data->threads, r->o, r->lse, why, why_bytes);
    return algorithm_attend(algorithm, &p, in->sample, in->samples, data->threads, r->o, r->lse, why, why_bytes);
}

const struct verify_reference *verify_data_reference(struct verify_data *data, struct verify_inputs *in, bool causal,
                                                     const char *name, const struct algorithm *algorithm, char *why,
                                                     size_t why_bytes) {
    struct verify_reference r = {0};
    snprintf(r.name, sizeof r.name, "%s %s", name, causal ? "causal" : "none");
    for (int i = 0; i < in->references; i++)
        if (strcmp(in->reference[i].name, r.name) == 0) return &in->reference[i];
    if (in->references == VERIFY_REFERENCES) {
        tensor_fail(why, why_bytes, "more than %d references of one input", VERIFY_REFERENCES);
        return NULL;
    }
    r.o = xcalloc(in->samples * (size_t)in->key.dim_v + 1, sizeof *r.o);
    r.lse = xcalloc(in->samples + 1, sizeof *r.lse);
    if (compute(data, in, causal, algorithm, &r, why, why_bytes)) {
        in->reference[in->references] = r;
        return &in->reference[in->references++];
    }
    free(r.o);
    free(r.lse);
    return NULL;
}
