// tile: operands of one matrix product, decoded from packed rows into dense arrays: values as floats (exact for every
// type) and exponents as tensor cores align them. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_TILE_H
#define PTXVM_TILE_H

#include "fragment.h"

enum { TILE_K = 64, TILE_ROWS = 16, EXPONENT_OF_ZERO = -8192 };

// Exponent: value = significand * 2^exponent with |significand| in [1, 2), or below 1 for the type's subnormals, which
// have its lowest normal exponent.
struct tile_rows { /* of A */
    _Alignas(32) float value[TILE_ROWS][TILE_K];
    int16_t exponent[TILE_ROWS][TILE_K];
    bool special[TILE_ROWS]; /* the row has a NaN or an infinity */
};

struct tile_columns { /* eight columns of B */
    _Alignas(32) float value[TILE_K][8];
    int16_t exponent[TILE_K][8];
    bool special[8];
};

// Decodes k elements of a packed row. container: bits that an element occupies; where it is wider than the type, the
// element lies in the low bits, except that e2m1 in 8 bits lies in bits 2-5.
void tile_decode(enum ptx_type type, unsigned container, unsigned k, const uint32_t *raw, float *value);

// Decodes `rows` packed rows of A; 8 packed columns of B. negate: the sign of every element is flipped (wgmma).
void tile_load_rows(struct tile_rows *tile, enum ptx_type type, unsigned container, unsigned rows, unsigned k,
                    bool negate, uint32_t raw[][FRAGMENT_WORDS]);
void tile_load_columns(struct tile_columns *tile, enum ptx_type type, unsigned container, unsigned k, bool negate,
                       uint32_t raw[][FRAGMENT_WORDS]);

#endif
