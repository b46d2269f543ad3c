// fragment: where the elements of a matrix are in the registers of a warp: element -> lane, register, bit, for
// mma.sync, wgmma and ldmatrix; scale -> lane, bit for block-scaled mma. Pure functions; the only place of the machine
// that knows. Source: PTX ISA, "Matrix Fragments for mma.*", "Register Fragments for wgmma", "Block Scaling for
// mma.sync". SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_FRAGMENT_H
#define PTXVM_FRAGMENT_H

#include "machine.h"

// Bit `bit` and up of register `reg` (index in the operand's vector) of lane `lane`.
struct fragment_place {
    uint8_t lane, reg, bit;
};

/* -- Operands of mma.sync and, per warp (16 rows), of wgmma -------------------------------------------------------- */

// Four lanes (a quad) share a row of A or a column of B: of each 128 bits (f64: 256) along k, a lane has one register.
// A lists the row groups 0-7, 8-15 of the first 128 bits, then of the next. Shapes with 8 rows have one row group.

// Word `word` (32 bits; f64: 64) along k of row `row` of A. rows: 8 or 16.
static inline struct fragment_place fragment_a_word(unsigned rows, unsigned row, unsigned word) {
    unsigned groups = rows / 8;
    return (struct fragment_place){(uint8_t)(row % 8 * 4 + word % 4), (uint8_t)(row / 8 + groups * (word / 4)), 0};
}

// Word `word` along k of column `column` (of 8) of B.
static inline struct fragment_place fragment_b_word(unsigned column, unsigned word) {
    return (struct fragment_place){(uint8_t)(column * 4 + word % 4), (uint8_t)(word / 4), 0};
}

// C and D, elements of `bits` 16, 32 or 64: a lane has two neighbouring columns of each 8; then the rows + 8; then the
// next 8 columns (wgmma). Two 16-bit elements share a register.
static inline struct fragment_place fragment_c(unsigned rows, unsigned bits, unsigned row, unsigned column) {
    unsigned pair = row / 8 + rows / 8 * (column / 8), lane = row % 8 * 4 + column % 8 / 2;
    if (bits == 16) return (struct fragment_place){(uint8_t)lane, (uint8_t)pair, (uint8_t)(column % 2 * 16)};
    return (struct fragment_place){(uint8_t)lane, (uint8_t)(2 * pair + column % 2), 0};
}

// Elements of `bits` (of their container: e3m2 in mma has 8; f64: 64).
struct fragment_place fragment_a(unsigned rows, unsigned bits, unsigned row, unsigned k);
struct fragment_place fragment_b(unsigned bits, unsigned k, unsigned column);

/* -- Scales of block-scaled mma.sync (16 rows, 8 columns) ---------------------------------------------------------- */

// Scale of block `block` along k. Selectors: byte_id 0-3 (scale_vec::1X), 0 or 2 (2X), 0 (4X); thread_id 0-1 for A (the
// pair of a quad's lanes that supplies: the first has rows 0-7, the second 8-15), 0-3 for B (the lane of the quad).
static inline struct fragment_place fragment_scale_a(unsigned byte_id, unsigned thread_id, unsigned row,
                                                     unsigned block) {
    return (struct fragment_place){(uint8_t)(row % 8 * 4 + thread_id * 2 + row / 8), 0,
                                   (uint8_t)(8 * (byte_id + block))};
}

static inline struct fragment_place fragment_scale_b(unsigned byte_id, unsigned thread_id, unsigned column,
                                                     unsigned block) {
    return (struct fragment_place){(uint8_t)(column * 4 + thread_id), 0, (uint8_t)(8 * (byte_id + block))};
}

/* -- ldmatrix, stmatrix, movmatrix: 8x8 matrices of 16-bit elements ------------------------------------------------ */

// Element [row][column] of the matrix in memory; its row's address comes from lane 8 * matrix + row, its register is
// number `matrix` of the vector.
struct fragment_place fragment_matrix(bool transposed, unsigned matrix, unsigned row, unsigned column);

/* -- Moving whole operands ----------------------------------------------------------------------------------------- */

enum { FRAGMENT_WORDS = 8 }; /* 32-bit words along k of a row of A or a column of B, at most: 256 bits */

// Registers -> raw[row][word]: packed rows of A, packed columns of B (8 of them).
void fragment_gather_a(const uint8_t *file, const uint32_t *slot, unsigned rows, unsigned words,
                       uint32_t raw[][FRAGMENT_WORDS]);
void fragment_gather_b(const uint8_t *file, const uint32_t *slot, unsigned words, uint32_t raw[][FRAGMENT_WORDS]);
// Eight columns, from column 8 * tile on, of C as bits; 16-bit elements zero-extended; and back.
void fragment_gather_c(const uint8_t *file, const uint32_t *slot, unsigned rows, unsigned bits, unsigned tile,
                       uint32_t c[][8]);
void fragment_scatter_c(uint8_t *file, const uint32_t *slot, unsigned rows, unsigned bits, unsigned tile,
                        uint32_t c[][8]);

#endif
