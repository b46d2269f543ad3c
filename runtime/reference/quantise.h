// quantise: rounds the operands of attention to what a low-bit format can hold, in place: quantised and dequantised, as
// floats. In: one head [rows][dim] floats. Out: the same array. Never looks at scores; P is the business of attend.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_QUANTISE_H
#define SAGE_REFERENCE_QUANTISE_H

#include <stdbool.h>
#include <stddef.h>

// Of Q, K and V. NONE leaves the values as they are; FP8 is e4m3.
enum operand_format {
    OPERAND_NONE,
    OPERAND_F16,
    OPERAND_INT8,
    OPERAND_INT4,
    OPERAND_FP8,
    OPERAND_NVFP4,
    OPERAND_MXFP4,
    OPERAND_COUNT
};

// Which rows share a scale: within each `chunk` of rows, the rows with the same (row % 8) / divide; divide 8 = all rows
// of the chunk.
struct scale_groups {
    int chunk;  /* rows */
    int divide; /* 1, 2, 4 or 8 */
};

enum { DIVISOR_LIMIT = 8, BLOCK_LIMIT = 32, NVFP4_BLOCK = 16, MXFP4_BLOCK = 32 };

// E2M1 elements with a scale per block: ue4m3 (nvfp4) or 2^floor(log2 amax) / 4 in ue8m0 (mxfp4).
struct block_rule {
    int block;         /* elements: NVFP4_BLOCK or MXFP4_BLOCK; says the format too */
    int divisor_count; /* nvfp4: scales amax / divisor are tried; least squared error wins, the first of equals */
    float divisors[DIVISOR_LIMIT]; /* 6 = the block's maximum maps to the largest code */
    double log2_margin;            /* mxfp4: added to log2 of the block's maximum before it is rounded down */
    bool second_level;             /* nvfp4: one more scale for the head, amax / (448 * 6) */
};

float quantise_e2m1(float x); // the nearest e2m1 value, ties to the even code
// One block of n <= BLOCK_LIMIT elements; second_level is not looked at.
void quantise_block(float *x, int n, const struct block_rule *rule);

// INT8, INT4 or FP8 with an fp32 scale amax / max per group of rows. scale [rows]: gets the scales, and x stays in
// units of them; NULL: x is multiplied by them.
void quantise_grouped(float *x, size_t rows, int dim, enum operand_format format, struct scale_groups groups,
                      float *scale, int threads);
// e4m3 with an fp32 scale amax / max per channel. diffuse > 0: rows of each `diffuse`, a tile, are not rounded apart.
// Their rounding errors are added up, and the later 8 of each 16 rows take 1.5 / diffuse of that before they are
// rounded: a flat sum over the tile loses less, and only values next to a tie move. (3/4 of the error in all: more
// overshoots. Half of the rows: of equal values all would move, or none.)
void quantise_channels(float *x, size_t rows, int dim, float max, int diffuse, int threads);
// Blocks of consecutive elements of a row; the last block of a row may be short.
void quantise_along_dim(float *x, size_t rows, int dim, const struct block_rule *rule, int threads);
// Blocks of consecutive rows of a channel; the last block may be short.
void quantise_along_rows(float *x, size_t rows, int dim, const struct block_rule *rule, int threads);

// Multiplies every row by the normalised Hadamard matrix, in blocks of the largest power of two that divides dim.
void rotate_hadamard(float *x, size_t rows, int dim, int threads);

#endif
