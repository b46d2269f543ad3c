// fragment: element -> lane, register, bit, and moving operands between registers and packed rows. No arithmetic on
// values. SPDX-License-Identifier: Apache-2.0
#include "fragment.h"

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

static const uint32_t *lanes_of(const uint8_t *file, uint32_t slot) {
    return (const uint32_t *)(const void *)(file + slot);
}

void fragment_gather_a(const uint8_t *file, const uint32_t *slot, unsigned rows, unsigned words,
                       uint32_t raw[][FRAGMENT_WORDS]) {
    for (unsigned row = 0; row < rows; row++)
        for (unsigned word = 0; word < words; word++) {
            struct fragment_place place = fragment_a_word(rows, row, word);
            raw[row][word] = lanes_of(file, slot[place.reg])[place.lane];
        }
}

void fragment_gather_b(const uint8_t *file, const uint32_t *slot, unsigned words, uint32_t raw[][FRAGMENT_WORDS]) {
    for (unsigned column = 0; column < 8; column++)
        for (unsigned word = 0; word < words; word++) {
            struct fragment_place place = fragment_b_word(column, word);
            raw[column][word] = lanes_of(file, slot[place.reg])[place.lane];
        }
}

void fragment_gather_c(const uint8_t *file, const uint32_t *slot, unsigned rows, unsigned bits, unsigned tile,
                       uint32_t c[][8]) {
    uint32_t mask = bits == 16 ? 0xffffu : UINT32_MAX;
    for (unsigned row = 0; row < rows; row++)
        for (unsigned column = 0; column < 8; column++) {
            struct fragment_place place = fragment_c(rows, bits, row, 8 * tile + column);
            c[row][column] = lanes_of(file, slot[place.reg])[place.lane] >> place.bit & mask;
        }
}

void fragment_scatter_c(uint8_t *file, const uint32_t *slot, unsigned rows, unsigned bits, unsigned tile,
                        uint32_t c[][8]) {
    for (unsigned row = 0; row < rows; row++)
        for (unsigned column = 0; column < 8; column++) {
            struct fragment_place place = fragment_c(rows, bits, row, 8 * tile + column);
            uint32_t *lane = (uint32_t *)(void *)(file + slot[place.reg]) + place.lane;
            if (bits == 16)
                *lane = (*lane & ~(UINT32_C(0xffff) << place.bit)) | c[row][column] << place.bit;
            else
                *lane = c[row][column];
        }
}
