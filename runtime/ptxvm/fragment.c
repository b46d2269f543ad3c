// fragment: element -> lane, register, bit, and moving operands between registers and packed rows. No arithmetic on
// values. SPDX-License-Identifier: Apache-2.0
#include "fragment.h"

#include <string.h>

/* -- Places -------------------------------------------------------------------------------------------------------- */

struct fragment_place fragment_a(unsigned rows, unsigned bits, unsigned row, unsigned k) {
    unsigned per_word = bits == 64 ? 1 : 32 / bits;
    struct fragment_place place = fragment_a_word(rows, row, k / per_word);
    place.bit = (uint8_t)(k % per_word * bits);
    return place;
}

struct fragment_place fragment_b(unsigned bits, unsigned k, unsigned column) {
    unsigned per_word = bits == 64 ? 1 : 32 / bits;
    struct fragment_place place = fragment_b_word(column, k / per_word);
    place.bit = (uint8_t)(k % per_word * bits);
    return place;
}

struct fragment_place fragment_matrix(bool transposed, unsigned matrix, unsigned row, unsigned column) {
    unsigned r = transposed ? column : row, c = transposed ? row : column;
    return (struct fragment_place){(uint8_t)(r * 4 + c / 2), (uint8_t)matrix, (uint8_t)(c % 2 * 16)};
}

/* -- Moving operands ----------------------------------------------------------------------------------------------- */

// The loops below are the places of fragment.h turned round: over the lanes of one register, so that they vectorise.

static const uint32_t *lanes_of(const uint8_t *file, uint32_t slot) {
    return (const uint32_t *)(const void *)(file + slot);
}

// Lane 4 g + t has word 4 * (reg / groups) + t of row 8 * (reg % groups) + g: four lanes are 16 bytes of a row.
static void gather_words(const uint8_t *file, const uint32_t *slot, unsigned groups, unsigned words,
                         uint32_t raw[][FRAGMENT_WORDS]) {
    for (unsigned reg = 0; reg < groups * words / 4; reg++) {
        const uint32_t *lane = lanes_of(file, slot[reg]);
        for (unsigned g = 0; g < 8; g++)
            memcpy(&raw[reg % groups * 8 + g][reg / groups * 4], lane + 4 * g, 4 * sizeof *lane);
    }
}

void fragment_gather_a(const uint8_t *file, const uint32_t *slot, unsigned rows, unsigned words,
                       uint32_t raw[][FRAGMENT_WORDS]) {
    gather_words(file, slot, rows / 8, words, raw);
}

void fragment_gather_b(const uint8_t *file, const uint32_t *slot, unsigned words, uint32_t raw[][FRAGMENT_WORDS]) {
    gather_words(file, slot, 1, words, raw);
}

// Lane 4 g + t has columns 2 t and 2 t + 1 of row g: eight rows of eight columns are the lanes' pairs one after
// another.
void fragment_gather_c(const uint8_t *file, const uint32_t *slot, unsigned rows, unsigned bits, unsigned tile,
                       uint32_t c[][8]) {
    unsigned groups = rows / 8;
    for (unsigned group = 0; group < groups; group++) {
        uint32_t *out = c[8 * group];
        unsigned pair = group + groups * tile;
        const uint32_t *even = lanes_of(file, slot[bits == 16 ? pair : 2 * pair]);
        const uint32_t *odd = bits == 16 ? even : lanes_of(file, slot[2 * pair + 1]);
        uint32_t mask = bits == 16 ? 0xffffu : UINT32_MAX, shift = bits == 16 ? 16 : 0;
        for (unsigned lane = 0; lane < LANES; lane++) {
            out[2 * lane] = even[lane] & mask;
            out[2 * lane + 1] = odd[lane] >> shift;
        }
    }
}

void fragment_scatter_c(uint8_t *file, const uint32_t *slot, unsigned rows, unsigned bits, unsigned tile,
                        uint32_t c[][8]) {
    unsigned groups = rows / 8;
    for (unsigned group = 0; group < groups; group++) {
        const uint32_t *from = c[8 * group];
        unsigned pair = group + groups * tile;
        uint32_t *even = (uint32_t *)(void *)(file + slot[bits == 16 ? pair : 2 * pair]);
        if (bits == 16) {
            for (unsigned lane = 0; lane < LANES; lane++) even[lane] = from[2 * lane] | from[2 * lane + 1] << 16;
            continue;
        }
        uint32_t *odd = (uint32_t *)(void *)(file + slot[2 * pair + 1]);
        for (unsigned lane = 0; lane < LANES; lane++) even[lane] = from[2 * lane];
        for (unsigned lane = 0; lane < LANES; lane++) odd[lane] = from[2 * lane + 1];
    }
}
