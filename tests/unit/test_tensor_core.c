// test_tensor_core: the reference's sums of fp8 products against the PTX virtual machine's, written apart from it and
// held against an H100 (tests/ptxvm/truth). SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptxvm/accumulate.h"
#include "ptxvm/formats.h"
#include "tensor_core.h"

enum { DIM = 128, STEP = 32, SUMS = 2000 };

static uint32_t next(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

// Codes of all magnitudes, or of a few binades, with zeros and subnormals among them.
static uint8_t code_of(uint64_t *state, bool narrow) {
    uint32_t r = next(state), code = narrow ? 0x58 + r % 0x27 : r % 0x7f;
    return (uint8_t)(r % 13 == 0 ? 0 : code | (r >> 20 & 1u) << 7);
}

// One row by one column, DIM products in steps of an instruction.
static float machine_dot(const struct accumulate_model *model, const uint8_t *a, const uint8_t *b) {
    float c[TILE_ROWS][8] = {{0}};
    for (int first = 0; first < DIM; first += STEP) {
        uint32_t raw_a[1][FRAGMENT_WORDS] = {{0}}, raw_b[8][FRAGMENT_WORDS] = {{0}};
        struct tile_rows rows;
        struct tile_columns columns;
        memcpy(raw_a[0], a + first, STEP);
        memcpy(raw_b[0], b + first, STEP);
        tile_load_rows(&rows, PTX_E4M3, 8, 1, STEP, false, raw_a);
        tile_load_columns(&columns, PTX_E4M3, 8, STEP, false, raw_b);
        const struct accumulate_float product = {.model = model, .a = &rows, .b = &columns, .rows = 1, .k = STEP};
        accumulate_float(&product, c);
    }
    return c[0][0];
}

static void same_sums(enum accumulate_class klass, int sm, int chunk) {
    const struct accumulate_model *model = accumulate_model(klass, sm);
    uint64_t state = 1;
    for (int i = 0; i < SUMS; i++) {
        uint8_t a[DIM], b[DIM];
        float x[DIM], y[DIM];
        for (int e = 0; e < DIM; e++) {
            a[e] = code_of(&state, i % 2);
            b[e] = i % 5 == 0 && e % 2 ? b[e - 1] ^ 0x80u : code_of(&state, i % 2); // pairs that cancel
            if (i % 5 == 0 && e % 2) a[e] = a[e - 1];
            x[e] = format_e4m3[a[e]];
            y[e] = format_e4m3[b[e]];
        }
        assert_true(float_bits(tensor_core_dot(x, y, DIM, chunk)) == float_bits(machine_dot(model, a, b)));
    }
}

static void test_wgmma(void **state) {
    (void)state;
    same_sums(ACCUMULATE_WGMMA_FP8, 90, 32);
}

static void test_ada(void **state) {
    (void)state;
    same_sums(ACCUMULATE_FP8, 89, 16);
}

static void test_zeros(void **state) {
    (void)state;
    const float zero[DIM] = {0};
    assert_true(tensor_core_dot(zero, zero, DIM, 32) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wgmma), cmocka_unit_test(test_ada),
                                       cmocka_unit_test(test_zeros)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
