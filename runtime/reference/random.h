// random: a small seeded generator, and the three synthetic distributions of Q, K, V that the accuracy gates use.
// In: a seed and shapes. Out: floats that are exact in the input type asked for. The same seed gives the same values on
// every machine with the same libm, whatever the number of threads.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_RANDOM_H
#define SAGE_REFERENCE_RANDOM_H

#include "formats.h"

struct random {
    uint64_t state[4];
    double spare; /* second normal of a pair */
    bool has_spare;
};

void random_seed(struct random *r, uint64_t seed);
uint64_t random_bits(struct random *r);
double random_uniform(struct random *r); // in (0, 1)
double random_normal(struct random *r);  // mean 0, variance 1

// normal   N(0, 1)
// outlier  plus per-channel biases: q sigma 2, k sigma 6 with four channels x4, v sigma 1
// runs     channel scales exp(0.7 N); biases; heavy-tailed v;
//          q and k share a vector over runs of tokens of geometric length, mean 64
enum random_kind { RANDOM_NORMAL, RANDOM_OUTLIER, RANDOM_RUNS };

enum { RANDOM_DIM_LIMIT = 1024 }; // channels per head

struct random_shape {
    int heads_q, heads_kv; /* heads_kv divides heads_q; in runs, the query heads of a group share its runs and scales */
    size_t seq_q, seq_k;   /* the last query and the last key are the same token */
    int dim_qk, dim_v;
};

// **Layout** q [heads_q][seq_q][dim_qk], k [heads_kv][seq_k][dim_qk], v [heads_kv][seq_k][dim_v], allocated by the
// caller. io: the type that values are rounded to (FORMAT_BF16, FORMAT_F16; FORMAT_F32 for none). threads as in
// parallel_for.
void random_attention(enum random_kind kind, const struct random_shape *shape, enum number_format io, uint64_t seed,
                      int threads, float *q, float *k, float *v);

#endif
