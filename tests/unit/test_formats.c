// test_formats: every code of every format up to 16 bits, the midpoints between them, and what happens outside the
// range.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "formats.h"
#include "quantise.h"
#include "random.h"
#include <math.h>
#include <string.h>

static const enum number_format small_formats[] = {FORMAT_F16,  FORMAT_BF16, FORMAT_E4M3,
                                                   FORMAT_E5M2, FORMAT_E2M1, FORMAT_UE4M3};
enum { SMALL_FORMATS = sizeof small_formats / sizeof small_formats[0] };

// Codes without the sign bit.
static uint64_t magnitudes(enum number_format f) {
    return (uint64_t)1 << (format_bits(f) - 1);
}

static bool is_signed(enum number_format f) {
    return f != FORMAT_UE4M3;
}

static void test_every_code_survives(void **state) {
    (void)state;
    for (int i = 0; i < SMALL_FORMATS; i++) {
        enum number_format f = small_formats[i];
        for (uint64_t code = 0; code < magnitudes(f) * (is_signed(f) ? 2 : 1); code++) {
            double x = format_decode(f, code);
            if (isnan(x)) {
                assert_true(isnan(format_decode(f, format_encode(f, x))));
            } else if (isinf(x) && f == FORMAT_E5M2) {
                assert_true(fabs(format_round(f, x)) == 57344);
            } else {
                assert_int_equal(format_encode(f, x), code);
                assert_true(format_round(f, x) == x);
            }
        }
    }
}

// Values grow with the code; midpoints go to the even code, their neighbours to the nearer one.
static void check_midpoint(enum number_format f, uint64_t code) {
    double low = format_decode(f, code), high = format_decode(f, code + 1);
    if (!(isfinite(low) && isfinite(high))) return;
    double mid = (low + high) / 2;
    assert_true(low < high);
    assert_int_equal(format_encode(f, mid), code % 2 ? code + 1 : code);
    assert_int_equal(format_encode(f, nextafter(mid, 0)), code);
    assert_int_equal(format_encode(f, nextafter(mid, INFINITY)), code + 1);
    if (is_signed(f)) assert_int_equal(format_encode(f, -mid), (code % 2 ? code + 1 : code) | magnitudes(f));
}

static void test_midpoints(void **state) {
    (void)state;
    for (int i = 0; i < SMALL_FORMATS; i++)
        for (uint64_t code = 0; code + 1 < magnitudes(small_formats[i]); code++) check_midpoint(small_formats[i], code);
}

static void test_known_values(void **state) {
    (void)state;
    static const struct {
        enum number_format f;
        uint64_t code;
        double x;
    } rows[] = {
        {FORMAT_F16, 0x3c00, 1},
        {FORMAT_F16, 0x7bff, 65504},
        {FORMAT_F16, 0x0001, 0x1p-24},
        {FORMAT_BF16, 0x3f80, 1},
        {FORMAT_BF16, 0x0001, 0x1p-133},
        {FORMAT_E4M3, 0x38, 1},
        {FORMAT_E4M3, 0x7e, 448},
        {FORMAT_E4M3, 0x01, 0x1p-9},
        {FORMAT_E5M2, 0x3c, 1},
        {FORMAT_E5M2, 0x7b, 57344},
        {FORMAT_E5M2, 0x01, 0x1p-16},
        {FORMAT_UE4M3, 0x7e, 448},
        {FORMAT_E2M1, 1, 0.5},
        {FORMAT_E2M1, 2, 1},
        {FORMAT_E2M1, 3, 1.5},
        {FORMAT_E2M1, 4, 2},
        {FORMAT_E2M1, 5, 3},
        {FORMAT_E2M1, 6, 4},
        {FORMAT_E2M1, 7, 6},
        {FORMAT_E2M1, 15, -6},
        {FORMAT_F32, 0x3f800000, 1},
        {FORMAT_F32, 1, 0x1p-149},
        {FORMAT_F16, 0x7e00, NAN},
        {FORMAT_BF16, 0x7fc0, NAN},
        {FORMAT_E4M3, 0x7f, NAN},
        {FORMAT_E5M2, 0x7f, NAN},
        {FORMAT_F16, 0x7c00, INFINITY},
        {FORMAT_BF16, 0xff80, -INFINITY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double x = format_decode(rows[i].f, rows[i].code);
        assert_true(x == rows[i].x || (isnan(x) && isnan(rows[i].x)));
        assert_int_equal(format_encode(rows[i].f, rows[i].x), rows[i].code);
    }
}

static void test_out_of_range(void **state) {
    (void)state;
    static const enum number_format saturating[] = {FORMAT_E4M3, FORMAT_E5M2, FORMAT_E2M1};
    static const double huge[] = {1e5, 1e30, 1e300, INFINITY};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 4; j++) {
            assert_true(format_round(saturating[i], huge[j]) == format_max(saturating[i]));
            assert_true(format_round(saturating[i], -huge[j]) == -format_max(saturating[i]));
        }
    assert_true(format_round(FORMAT_F16, 65519.99) == 65504);
    assert_true(format_round(FORMAT_F16, 65520) == INFINITY);
    assert_true(format_round(FORMAT_BF16, 3.4e38) == INFINITY);
    assert_true(format_round(FORMAT_F32, 1e300) == INFINITY);
    assert_true(format_round(FORMAT_UE4M3, -3) == 0);
    assert_true(format_round(FORMAT_E2M1, NAN) == 6);
    assert_int_equal(format_encode(FORMAT_F16, -0.0), 0x8000);
    assert_true(signbit(format_decode(FORMAT_E4M3, 0x80)));
    assert_true(format_round(FORMAT_F16, 5e-324) == 0);
}

// bf16 against the usual bit arithmetic on fp32, and fp32 against the hardware, on random bits.
static void test_against_hardware(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 1);
    for (int i = 0; i < 1000000; i++) {
        uint32_t bits = (uint32_t)(random_bits(&r) >> 32);
        float x;
        memcpy(&x, &bits, sizeof x);
        if (isnan(x)) continue;
        assert_int_equal(format_encode(FORMAT_F32, (double)x), bits);
        assert_int_equal(format_encode(FORMAT_BF16, (double)x), ((uint64_t)bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        double wide = (double)x * 1.0000000123;
        float narrow = (float)wide;
        assert_true((float)format_round(FORMAT_F32, wide) == narrow);
    }
}

static void test_arrays(void **state) {
    (void)state;
    const float values[5] = {1, -2, 0.5f, 6, -0.26f};
    unsigned char codes[20];
    float back[5];
    format_encode_array(FORMAT_E2M1, values, 5, codes);
    assert_int_equal(codes[0], 0xc2);
    assert_int_equal(codes[1], 0x71);
    assert_int_equal(codes[2], 0x09);
    format_decode_array(FORMAT_E2M1, codes, 5, back);
    assert_true(back[0] == 1 && back[1] == -2 && back[2] == 0.5f && back[3] == 6 && back[4] == -0.5f);
    format_encode_array(FORMAT_F16, values, 5, codes);
    assert_int_equal(codes[0] | codes[1] << 8, 0x3c00);
    format_decode_array(FORMAT_F16, codes, 4, back);
    assert_memory_equal(back, values, 4 * sizeof(float));
    format_encode_array(FORMAT_F32, values, 5, codes);
    assert_memory_equal(codes, values, sizeof values);
    memcpy(back, values, sizeof back);
    format_round_array(FORMAT_E2M1, back, 5);
    assert_true(back[4] == -0.5f);
}

static void test_ue8m0(void **state) {
    (void)state;
    for (int code = 0; code < 255; code++) {
        double x = format_ue8m0_decode((uint8_t)code);
        assert_true(x == ldexp(1, code - 127));
        assert_int_equal(format_ue8m0_encode(x, false), code);
        assert_int_equal(format_ue8m0_encode(x, true), code);
        assert_int_equal(format_ue8m0_encode(x * 1.5, false), code);
        if (code > 0) assert_int_equal(format_ue8m0_encode(x * 1.5, true), code < 254 ? code + 1 : 254);
    }
    assert_int_equal(format_ue8m0_encode(NAN, false), 255);
    assert_int_equal(format_ue8m0_encode(0, false), 0);
    assert_int_equal(format_ue8m0_encode(INFINITY, true), 254);
    assert_true(isnan(format_ue8m0_decode(255)));
}

// The quick e2m1 of quantise.c is the table's.
static void test_quick_e2m1(void **state) {
    (void)state;
    for (int i = -70000; i <= 70000; i++) {
        float x = (float)i / 8192;
        assert_true((double)quantise_e2m1(x) == format_round(FORMAT_E2M1, (double)x));
    }
    assert_true(quantise_e2m1(INFINITY) == 6 && quantise_e2m1(-1e30f) == -6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_survives),
        cmocka_unit_test(test_midpoints),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_against_hardware),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_ue8m0),
        cmocka_unit_test(test_quick_e2m1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
