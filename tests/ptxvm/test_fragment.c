// test_fragment: the machine's fragment layouts against two statements that do not come from it: the PTX ISA's formulas
// (layouts.h) and the thread-value layouts of CUTLASS (cute/atom/mma_traits_sm80.hpp, _sm90_gmma.hpp, _sm120.hpp).
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fragment.h"
#include "layouts.h"

/* -- PTX ISA ---------------------------------------------------------------------------------------------------------
 */

static void expect_place(const char *what, struct fragment_place place, unsigned lane, unsigned element, unsigned bits,
                         unsigned register_bits) {
    unsigned per_register = register_bits / bits, reg = element / per_register, bit = element % per_register * bits;
    if (place.lane != lane || place.reg != reg || place.bit != bit)
        fail_msg("%s: lane %u element %u: register %u bit %u, but the machine says lane %u register %u bit %u", what,
                 lane, element, reg, bit, place.lane, place.reg, place.bit);
}

static void fragments_are_as_the_isa_states(void **state) {
    (void)state;
    for (unsigned s = 0; s < LAYOUTS; s++) {
        const struct layout *l = &layouts[s];
        unsigned reg = l->bits == 64 ? 64 : 32;
        for (unsigned lane = 0; lane < 32; lane++) {
            for (unsigned i = 0; i < l->count_a; i++) {
                struct cell at = l->a(lane / 4, lane % 4, i);
                expect_place(l->shape, fragment_a(l->m, l->bits, at.row, at.col), lane, i, l->bits, reg);
            }
            for (unsigned i = 0; i < l->count_b; i++) {
                struct cell at = l->b(lane / 4, lane % 4, i);
                expect_place(l->shape, fragment_b(l->bits, at.row, at.col), lane, i, l->bits, reg);
            }
            for (unsigned i = 0; i < l->count_c; i++) {
                struct cell at = l->c(lane / 4, lane % 4, i);
                expect_place(l->shape, fragment_c(l->m, reg, at.row, at.col), lane, i, reg, reg);
                if (reg == 32) expect_place(l->shape, fragment_c(l->m, 16, at.row, at.col), lane, i, 16, 32);
            }
        }
    }
}

static void wgmma_accumulators_are_as_the_isa_states(void **state) {
    (void)state;
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < 256 / 2; i++) {
            struct cell at = wgmma_d(lane / 4, lane % 4, i);
            expect_place("wgmma D f32", fragment_c(16, 32, at.row, at.col), lane, i, 32, 32);
            expect_place("wgmma D f16", fragment_c(16, 16, at.row, at.col), lane, i, 16, 32);
        }
}

/* -- CUTLASS ---------------------------------------------------------------------------------------------------------
 */

// Layout ((4,8),(v0,v1,v2)) : ((t0,t1),(s0,s1,s2)) -> index row + rows * column (A, C), column + 8 * k (B).
struct cute {
    const char *name;
    char operand;
    unsigned bits, rows;
    unsigned t0, t1;
    unsigned v[3], s[3];
};

static const struct cute cutes[] = {
    {"SM80_16x8x8 f16 A", 'A', 16, 16, 32, 1, {2, 2, 1}, {16, 8, 0}},
    {"SM80_16x8x8 f16 B", 'B', 16, 8, 16, 1, {2, 1, 1}, {8, 0, 0}},
    {"SM80_16x8x16 f16 A", 'A', 16, 16, 32, 1, {2, 2, 2}, {16, 8, 128}},
    {"SM80_16x8x16 f16 B", 'B', 16, 8, 16, 1, {2, 2, 1}, {8, 64, 0}},
    {"SM80_16x8x4 tf32 A", 'A', 32, 16, 16, 1, {2, 1, 1}, {8, 0, 0}},
    {"SM80_16x8x8 tf32 A", 'A', 32, 16, 16, 1, {2, 2, 1}, {8, 64, 0}},
    {"SM80_16x8x8 tf32 B", 'B', 32, 8, 8, 1, {2, 1, 1}, {32, 0, 0}},
    {"SM80_8x8x16 s8 A", 'A', 8, 8, 32, 1, {4, 1, 1}, {8, 0, 0}},
    {"SM80_16x8x16 s8 A", 'A', 8, 16, 64, 1, {4, 2, 1}, {16, 8, 0}},
    {"SM80_16x8x32 s8 A", 'A', 8, 16, 64, 1, {4, 2, 2}, {16, 8, 256}},
    {"SM80_16x8x32 s8 B", 'B', 8, 8, 32, 1, {4, 2, 1}, {8, 128, 0}},
    {"SM120_16x8x64 e2m1 A", 'A', 4, 16, 128, 1, {8, 2, 2}, {16, 8, 512}},
    {"SM120_16x8x64 e2m1 B", 'B', 4, 8, 64, 1, {8, 2, 1}, {8, 256, 0}},
    {"SM80_16x8 C", 'C', 32, 16, 32, 1, {2, 2, 1}, {16, 8, 0}},
    {"SM80_8x8x4 f64 A", 'A', 64, 8, 8, 1, {1, 1, 1}, {0, 0, 0}},
};

static void fragments_are_as_cutlass_states(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof cutes / sizeof cutes[0]; n++) {
        const struct cute *c = &cutes[n];
        unsigned count = c->v[0] * c->v[1] * c->v[2], reg = c->bits == 64 ? 64 : 32;
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned v = 0; v < count; v++) {
                unsigned index = lane % 4 * c->t0 + lane / 4 * c->t1 + v % c->v[0] * c->s[0] +
                                 v / c->v[0] % c->v[1] * c->s[1] + v / c->v[0] / c->v[1] * c->s[2];
                unsigned row = index % c->rows, other = index / c->rows;
                struct fragment_place place = c->operand == 'A'   ? fragment_a(c->rows, c->bits, row, other)
                                              : c->operand == 'B' ? fragment_b(c->bits, other, row)
                                                                  : fragment_c(c->rows, c->bits, row, other);
                expect_place(c->name, place, lane, v, c->bits, reg);
            }
    }
}

// SM90 GMMA: CLayout_64xN ((4,8,4),(2,2,N/8)) : ((128,1,16),(64,8,512)); ALayout_64x16 ((4,8,4),(2,2,2)) :
// ((128,1,16),(64,8,512)); ALayout_64x32 ((4,8,4),(4,2,2)) : ((256,1,16),(64,8,1024)). Index: row + 64 * column.
static void wgmma_fragments_are_as_cutlass_states(void **state) {
    (void)state;
    for (unsigned thread = 0; thread < 128; thread++) {
        unsigned lane = thread % 32, warp = thread / 32;
        for (unsigned v = 0; v < 4 * 256 / 8; v++) {
            unsigned index = thread % 4 * 128 + thread / 4 % 8 + warp * 16 + v % 2 * 64 + v / 2 % 2 * 8 + v / 4 * 512;
            assert_int_equal(index % 64 / 16, warp);
            expect_place("GMMA C", fragment_c(16, 32, index % 64 % 16, index / 64), lane, v, 32, 32);
        }
        for (unsigned v = 0; v < 8; v++) {
            unsigned index = thread % 4 * 128 + thread / 4 % 8 + warp * 16 + v % 2 * 64 + v / 2 % 2 * 8 + v / 4 * 512;
            expect_place("GMMA A 16", fragment_a(16, 16, index % 64 % 16, index / 64), lane, v, 16, 32);
        }
        for (unsigned v = 0; v < 16; v++) {
            unsigned index = thread % 4 * 256 + thread / 4 % 8 + warp * 16 + v % 4 * 64 + v / 4 % 2 * 8 + v / 8 * 1024;
            expect_place("GMMA A 8", fragment_a(16, 8, index % 64 % 16, index / 64), lane, v, 8, 32);
        }
    }
}

/* -- Scales ----------------------------------------------------------------------------------------------------------
 */

static void scales_are_as_the_isa_states(void **state) {
    (void)state;
    for (unsigned vec = 1; vec <= 4; vec *= 2)
        for (unsigned byte = 0; byte + vec <= 4; byte += vec)
            for (unsigned block = 0; block < vec; block++)
                for (unsigned lane = 0; lane < 32; lane++) {
                    for (unsigned thread = 0; thread < 2; thread++) {
                        int row = scale_row_of_lane(lane, thread);
                        if (row < 0) continue;
                        struct fragment_place place = fragment_scale_a(byte, thread, (unsigned)row, block);
                        assert_int_equal(place.lane, lane);
                        assert_int_equal(place.bit, 8 * (byte + block));
                    }
                    for (unsigned thread = 0; thread < 4; thread++) {
                        int column = scale_column_of_lane(lane, thread);
                        if (column < 0) continue;
                        struct fragment_place place = fragment_scale_b(byte, thread, (unsigned)column, block);
                        assert_int_equal(place.lane, lane);
                        assert_int_equal(place.bit, 8 * (byte + block));
                    }
                }
}

// CUTLASS sm120: SFALayout ((2,2,8),K) : ((8,0,1),16): lanes t0 + 2 t1 + 4 t2 hold row 8 t0 + t2, whatever t1 (selector
// 0 and 1 see the same rows); SFBLayout ((4,8),K) : ((0,1),8): any lane of quad n holds column n.
static void scales_are_as_cutlass_states(void **state) {
    (void)state;
    for (unsigned lane = 0; lane < 32; lane++) {
        unsigned row = lane % 2 * 8 + lane / 4, selector = lane / 2 % 2;
        assert_int_equal(fragment_scale_a(0, selector, row, 0).lane, lane);
        assert_int_equal(fragment_scale_b(0, lane % 4, lane / 4, 0).lane, lane);
    }
}

/* -- ldmatrix --------------------------------------------------------------------------------------------------------
 */

// "ldmatrix": a row is held by four consecutive lanes, two elements each; .trans: the matrix is read by columns.
static void ldmatrix_is_as_the_isa_states(void **state) {
    (void)state;
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned half = 0; half < 2; half++) {
            unsigned row = lane >> 2, column = 2 * (lane & 3) + half;
            for (unsigned matrix = 0; matrix < 4; matrix++) {
                struct fragment_place plain = fragment_matrix(false, matrix, row, column);
                struct fragment_place transposed = fragment_matrix(true, matrix, column, row);
                assert_true(plain.lane == lane && plain.reg == matrix && plain.bit == 16 * half);
                assert_true(transposed.lane == lane && transposed.reg == matrix && transposed.bit == 16 * half);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fragments_are_as_the_isa_states), cmocka_unit_test(wgmma_accumulators_are_as_the_isa_states),
        cmocka_unit_test(fragments_are_as_cutlass_states), cmocka_unit_test(wgmma_fragments_are_as_cutlass_states),
        cmocka_unit_test(scales_are_as_the_isa_states),    cmocka_unit_test(scales_are_as_cutlass_states),
        cmocka_unit_test(ldmatrix_is_as_the_isa_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
