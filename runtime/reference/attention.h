// attention: exact softmax attention in float64 on sampled query rows: the reference of every accuracy gate.
// In: Q, K, V of all heads as floats, and a list of (head, row). Out: O and LSE of those rows. Memory: O(samples),
// never seq x seq.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_ATTENTION_H
#define SAGE_REFERENCE_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

struct attention_problem {
    const float *q;        /* [heads_q][seq_q][dim_qk]; a batch is more heads */
    const float *k;        /* [heads_kv][seq_k][dim_qk] */
    const float *v;        /* [heads_kv][seq_k][dim_v] */
    int heads_q, heads_kv; /* heads_kv divides heads_q */
    size_t seq_q, seq_k;
    int dim_qk, dim_v;
    double sm_scale; /* 0 = 1 / sqrt(dim_qk) */
    bool causal;     /* aligned to the last query and key: row i sees keys j <= i + seq_k - seq_q */
};

struct attention_sample {
    int head; /* of Q */
    size_t row;
};

double attention_sm_scale(const struct attention_problem *p);            // with the default filled in
size_t attention_visible(const struct attention_problem *p, size_t row); // keys that the row sees

// Checks heads, dims and samples; false with a sentence in why.
bool attention_check(const struct attention_problem *p, const struct attention_sample *samples, size_t count, char *why,
                     size_t why_bytes);

// Evenly spread rows, the first and the last included, of evenly spread heads. Fills heads * rows samples, ordered by
// head.
void attention_spread(const struct attention_problem *p, int heads, size_t rows, struct attention_sample *samples);

// **Shapes** o [count][dim_v]; lse [count] natural log, may be NULL. A row that sees no key has O = 0, LSE = -infinity.
// Samples that are neighbours in the list and of one head are taken together. threads <= 0: all CPUs.
// **Errors** false with a sentence in why: bad arguments, or out of memory.
bool attention_exact(const struct attention_problem *p, const struct attention_sample *samples, size_t count,
                     int threads, double *o, double *lse, char *why, size_t why_bytes);

#endif
