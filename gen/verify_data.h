// verify_data: inputs of the checks and their float64 references, kept so that kernels of one shape share them.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_DATA_H
#define SAGE_GEN_VERIFY_DATA_H

#include "reference/algorithm.h"
#include "reference/attention.h"
#include "reference/random.h"
#include "sage.h"

struct verify_data;

struct verify_inputs_key {
    enum random_kind kind;
    enum number_format io;
    sage_attention_shape shape;
    int dim_qk, dim_v;
    uint64_t seed;
    int sample_heads, sample_rows; /* 0: every head, every row, up to verify_sample_limit rows in all */
};

struct verify_reference {
    char name[64]; /* "exact none", "sage2 k128 causal" */
    double *o;     /* [samples][dim_v] */
    double *lse;
};

enum { VERIFY_REFERENCES = 64 };

struct verify_inputs {
    struct verify_inputs_key key;
    uint64_t used; /* of the cache's clock */
    float *q, *k, *v;
    struct attention_sample *sample;
    size_t samples;
    struct verify_reference reference[VERIFY_REFERENCES];
    int references;
};

struct verify_data *verify_data_create(int threads);
void verify_data_destroy(struct verify_data *data);
// Owner: the cache; valid until the next call of this function.
struct verify_inputs *verify_data_inputs(struct verify_data *data, const struct verify_inputs_key *key);
struct attention_problem verify_problem(const struct verify_inputs *in, bool causal, double sm_scale);
// Exact attention (algorithm NULL), or an algorithm's, at the samples; name tells algorithms apart. NULL: why says.
const struct verify_reference *verify_data_reference(struct verify_data *data, struct verify_inputs *in, bool causal,
                                                     const char *name, const struct algorithm *algorithm, char *why,
                                                     size_t why_bytes);
// Samples for other problems: every row, or evenly spread ones.
size_t verify_samples(const struct attention_problem *p, int heads, size_t rows, struct attention_sample **out);

#endif
