// algorithm: the published low-bit attention algorithms, evaluated in float64 on the same tensors as the kernels. Gate
// 1 compares with them. In: Q, K, V as floats, a struct algorithm, sampled rows. Out: O and LSE of those rows. Every
// key, value and query of a sampled head is quantised once, as a kernel does; the accumulators are exact, so that what
// remains is the error of the algorithm itself.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_ALGORITHM_H
#define SAGE_REFERENCE_ALGORITHM_H

#include "attend.h"
#include "attention.h"
#include "quantise.h"

// Which elements of Q and K share a scale (int8, int4, fp8; block formats have their own blocks):
//   PER_BLOCK, PER_WARP  q_rows query rows; k_rows keys
//   PER_THREAD           in each q_rows query rows, those with the same row % 8;
//                        in each k_rows keys, those with the same (key % 8) / 2
//   PER_TOKEN            one row
enum granularity { PER_BLOCK, PER_WARP, PER_THREAD, PER_TOKEN };

struct algorithm {
    enum operand_format qk;
    enum granularity granularity;
    int q_rows, k_rows; /* rows of a scale group's block; k_rows 0 = p.tile_k */
    bool smooth_k;      /* K - mean over the sequence; LSE gets sm_scale * q . mean(K) back */
    int smooth_q_group; /* query rows whose mean is subtracted, and added back to the scores; 0 = none */
    int smooth_k_group; /* keys whose mean is subtracted as well, and added back to the scores; needs
                           smooth_q_group; 0 = none */
    bool rotate;        /* Hadamard along dim, after smoothing */
    int divisor_count;  /* nvfp4 scale search of Q, K and V; 0 = {6} */
    float divisors[DIVISOR_LIMIT];
    bool second_level;     /* nvfp4 Q, K and V: one more fp32 scale per head and tensor */
    enum operand_format v; /* NONE, F16, FP8 (per channel), NVFP4, MXFP4 (blocks of consecutive keys) */
    float v_max;           /* fp8 V: what a channel's maximum maps to; 0 = 448 */
    int v_diffuse;         /* fp8 V: keys of a tile whose rounding errors are diffused (quantise_channels); 0 = none */
    bool smooth_v;         /* V - mean over the sequence; added back to O */
    struct attend_rule p;
};

// X(name, description); algorithm_preset knows them by name.
#define ALGORITHM_PRESETS(X)                                                                                           \
    X(sage1, "SageAttention: int8 QK per block (128 queries, 64 keys), fp16 P and V")                                  \
    X(sage2, "SageAttention2: int8 QK per thread (16 queries, 64 keys), fp8 P, fp8 V per channel, exact row sum")      \
    X(sage2pp, "SageAttention2++: as sage2, V scaled to 2.25")                                                         \
    X(fp8, "fp8 QK per token, smoothed, not rotated, fp8 P, fp8 V per channel, exact row sum")                         \
    X(sage3, "SageAttention3: nvfp4, Q mean per 128 rows, two-level P, exact row sum")                                 \
    X(fp4,                                                                                                             \
      "this project: sage3 with a scale per head, rotation, scale search, Q mean per 64 rows, quantised row sum, "     \
      "scales of P linear in log2, maximum lazy by 2^4, steps of 64 keys")

bool algorithm_preset(const char *name, struct algorithm *out); // false: no such name

// Shapes, order of samples, errors: as attention_exact.
bool algorithm_attend(const struct algorithm *a, const struct attention_problem *p,
                      const struct attention_sample *samples, size_t count, int threads, double *o, double *lse,
                      char *why, size_t why_bytes);

#endif
