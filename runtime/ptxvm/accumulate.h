// accumulate: how tensor cores add: the one place of the machine where the arithmetic of matrix products is modelled.
// In: tiles of decoded operands (tile.h) and 8 columns of C; out: D in place of C. Deterministic; no machine state.
// SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_ACCUMULATE_H
#define PTXVM_ACCUMULATE_H

#include "tile.h"

// Model. Products are exact. A chunk of consecutive products along k and the addend are aligned to the largest exponent
// among them (of a product: the sum of its factors' exponents, 2^e <= |product| < 2^(e+2); never below 2^-126), cut off
// toward zero `bits` binary places below it, and summed exactly. The sum is normalised and rounded once: to f32 toward
// zero, to `mantissa` bits (23: all of f32's; Hopper and Ada keep 13 of them for 8-bit products), or to f16 to nearest
// even; the next chunk adds to that. Block-scaled 4-bit products are first summed exactly in groups of 16, multiplied
// by the scales' significands, and aligned by the scales' exponents. `unpacked`: the GPU has no mma.sync of 8-bit
// floats; they become f16, and of every four products along k the two low ones are of the first chunk, the two high
// ones of the second (half of k each). The first starts from zero, the second adds to its result, and C is added last,
// rounded to nearest even. A sum that rounds to zero in f16 is +0. NaN results are 0x7fffffff (f16: 0x7fff); infinities
// and NaN follow IEEE 754; an overflow is an infinity. Subnormals are kept.
//
// Sources: M. Fasi et al., "Numerical behavior of NVIDIA tensor cores" (2021); X. Li et al., "FTTN" (2024); P. Xie et
// al., "FPRev" (2025) and "MMA-Sim" (arXiv 2511.10909), which agrees bit for bit with these GPUs in random tests. Rows
// of sm 90 are as measured on an H100 (tests/ptxvm/truth/README.md).

// X(class, lowest sm, chunk, bits, mantissa, unpacked): the row with the largest sm that is not above the machine's
// counts.
#define ACCUMULATE_MODELS(X)                                                                                           \
    X(HALF, 80, 8, 24, 23, false) /* f16, bf16 */                                                                      \
    X(HALF, 90, 16, 25, 23, false)                                                                                     \
    X(TF32, 80, 4, 24, 23, false)                                                                                      \
    X(TF32, 90, 8, 25, 23, false)                                                                                      \
    X(FP8, 89, 16, 13, 13, false) /* mma.sync, also 6 and 4 bits in 8-bit containers */                                \
    X(FP8, 90, 16, 25, 23, true)  /* Hopper */                                                                         \
    X(FP8, 100, 32, 25, 23, false)                                                                                     \
    X(WGMMA_FP8, 90, 32, 13, 13, false)                                                                                \
    X(SCALED_FP8, 100, 32, 25, 23, false) /* kind::mxf8f6f4 */                                                         \
    X(SCALED_FP4, 100, 64, 35, 23, false) /* kind::mxf4, kind::mxf4nvf4 */

enum accumulate_class {
    ACCUMULATE_HALF,
    ACCUMULATE_TF32,
    ACCUMULATE_FP8,
    ACCUMULATE_WGMMA_FP8,
    ACCUMULATE_SCALED_FP8,
    ACCUMULATE_SCALED_FP4
};

struct accumulate_model {
    enum accumulate_class klass;
    int sm;
    unsigned chunk; /* products summed at once */
    int bits;       /* binary places kept below the largest exponent */
    unsigned mantissa;
    bool unpacked;
};

// An sm below the first row takes the first row.
const struct accumulate_model *accumulate_model(enum accumulate_class klass, int sm);

// c[row][column] as values; to_f16: C and D are f16 (rounded to nearest even), else f32. scale_a[row], scale_b[column]:
// exponents by which the products are scaled (mxf8f6f4), NULL: none.
struct accumulate_float {
    const struct accumulate_model *model;
    const struct tile_rows *a;
    const struct tile_columns *b;
    unsigned rows, k;
    bool to_f16, is_bf16;
    const int *scale_a, *scale_b;
};
void accumulate_float(const struct accumulate_float *p, float c[][8]);

// Integers: exact; wraps, or saturates to the s32 range.
void accumulate_integer(const struct tile_rows *a, const struct tile_columns *b, unsigned rows, unsigned k,
                        bool saturate, int32_t c[][8]);

// 4-bit products with scales per 16 elements of k: scale_a[row][k / 16], scale_b[column][k / 16]. lowest: exponent of
// the scale type's subnormals.
void accumulate_scaled(const struct accumulate_model *model, const struct tile_rows *a, const struct tile_columns *b,
                       int lowest, float scale_a[16][4], float scale_b[8][4], float c[][8]);

#endif
