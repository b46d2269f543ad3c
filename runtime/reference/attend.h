// attend: the online softmax of a kernel, in float64, on rows whose operands are already what the kernel multiplies
// (dequantised). In: Q rows, K, V of one head as floats, and the rule by which P is rounded. Out: O rows and LSE.
// Memory: O(rows), never rows x keys. Never quantises Q, K or V; never knows where the operands come from. Gate 2 of
// the accuracy gates calls it with the GPU's own tiles.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_ATTEND_H
#define SAGE_REFERENCE_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// X(symbol, block)   how P is rounded; p = 1 at the running maximum, t = lazy_log2
//   E4M3          p = 1 maps to 448 / 2^t
//   NVFP4         two-level: p = 1 maps to 448 * 6 / 2^t, then ue4m3 scales per 16 keys
//   NVFP4_LINEAR  as NVFP4, with a block scale whose code is linear in log2 of the block's largest P: p = 1 has code
//                 126 - 8 t, code - 8 = 8 log2 P + 118 - 8 t - 0.45, at least 0, rounded to f16, then to a whole number; e2m1 codes of P * 2^(-code / 8)
//   NVFP4_DIRECT  one level: ue4m3 scales per 16 keys of P itself
//   MXFP4         ue8m0 scales per 32 keys; a largest P within 2^-12 (log2) below a power of two counts as that power,
//                 so that p = 1 never loses a binade to rounding
// log_code, of NVFP4 and NVFP4_LINEAR: e2m1 codes from the exponent, z = 2 log2(p / unit) + 2, code = floor(z + 0.45),
// and 1 for -2 <= z < 1.55, at most 7; with z - 0.05 rounded to f16 first. The unit is what a code of P is a multiple
// of: the block's scale, or of NVFP4_LINEAR the line that the scale follows, 2^((code of the scale - 126 + 8 t) / 8) / 6.
#define P_FORMATS(X)            X(EXACT, 1) X(F16, 1) X(E4M3, 1) X(NVFP4, 16) X(NVFP4_LINEAR, 16) X(NVFP4_DIRECT, 16) X(MXFP4, 32)
#define P_SYMBOL(symbol, block) P_##symbol,
enum p_format { P_FORMATS(P_SYMBOL) P_FORMAT_COUNT };

struct attend_rule {
    enum p_format p;
    int tile_k;    /* keys; a multiple of P's block */
    int sum_chunk; /* products that an fp8 tensor core adds at once in a score (tensor_core.h); 0: scores are exact */
    int lazy_log2; /* t: each row keeps its maximum until a tile exceeds it by more than t; log2 units, 0 = exact */
    bool log_code;      /* e2m1 codes without exponentials */
    bool quantised_sum; /* divide by the sum of the rounded P */
    bool descending;    /* tiles from the last to the first */
};

struct attend_operands {
    const float *q;                 /* [rows][dim_qk] */
    const float *k;                 /* [keys][dim_qk] */
    const float *v;                 /* [keys][dim_v] */
    const float *q_scale, *k_scale; /* [rows], [keys]: what q and k are multiplied by after the sum; NULL: 1 */
    size_t rows, keys;
    int dim_qk, dim_v;
    double score_scale;       /* log2 units per unit of q.k: sm_scale * log2 e, times what the operands leave out */
    const float *delta_s;     /* [rows][keys], added to q.k before score_scale; NULL: none */
    const int32_t *key_index; /* [keys] the key at each position, where K and V are permuted; -1 = padding; NULL: the
                                 position itself */
    const size_t *visible;    /* [rows] keys below this index are seen; NULL: all */
};

// **Layout** o [rows][dim_v]; lse [rows] natural log, may be NULL. A row that sees no key has O = 0, LSE = -infinity.
// Keys that are not seen are never used: they may hold NaN. **Errors** false with a sentence in why: a bad rule, or out
// of memory. threads <= 0: all CPUs.
bool attend_quantised(const struct attend_operands *in, const struct attend_rule *rule, int threads, double *o,
                      double *lse, char *why, size_t why_bytes);

#endif
