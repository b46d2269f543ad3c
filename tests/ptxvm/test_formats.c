// test_formats: every code of every narrow format against the definition of its fields, and the encoders against a
// search for the nearest value in a sorted list, at, between and beyond all values, in every rounding.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats.h"

/* -- The formats, stated again: field widths and bias, and what the topmost codes are --------------------------------
 */

enum top { TOP_IEEE /* exponent all ones: infinity, NaN */, TOP_NAN /* only all ones: NaN */, TOP_FINITE };

struct statement {
    enum format format;
    int exponent_bits, mantissa_bits, bias;
    bool has_sign;
    enum top top;
    double largest;
};

static const struct statement statements[] = {
    {FORMAT_F16, 5, 10, 15, true, TOP_IEEE, 65504.0},   {FORMAT_BF16, 8, 7, 127, true, TOP_IEEE, 0x1.fep127},
    {FORMAT_E4M3, 4, 3, 7, true, TOP_NAN, 448.0},       {FORMAT_E5M2, 5, 2, 15, true, TOP_IEEE, 57344.0},
    {FORMAT_E3M2, 3, 2, 3, true, TOP_FINITE, 28.0},     {FORMAT_E2M3, 2, 3, 1, true, TOP_FINITE, 7.5},
    {FORMAT_E2M1, 2, 1, 1, true, TOP_FINITE, 6.0},      {FORMAT_UE4M3, 4, 3, 7, false, TOP_NAN, 448.0},
    {FORMAT_UE8M0, 8, 0, 127, false, TOP_NAN, 0x1p127},
};
enum { STATEMENTS = sizeof statements / sizeof statements[0] };

static unsigned magnitude_bits(const struct statement *s) {
    return (unsigned)(s->exponent_bits + s->mantissa_bits);
}

// Value of a code by the definition of its fields.
static double defined_value(const struct statement *s, uint32_t code) {
    uint32_t field = code >> s->mantissa_bits & ((1u << s->exponent_bits) - 1u);
    uint32_t mantissa = code & ((1u << s->mantissa_bits) - 1u), all = (1u << magnitude_bits(s)) - 1u;
    double sign = s->has_sign && (code >> magnitude_bits(s) & 1u) != 0 ? -1.0 : 1.0;
    if (s->top == TOP_NAN && (code & all) == all) return NAN;
    if (s->top == TOP_IEEE && field == (1u << s->exponent_bits) - 1u) return mantissa != 0 ? NAN : sign * INFINITY;
    if (s->format == FORMAT_UE8M0) return ldexp(1.0, (int)field - s->bias);
    double fraction = ldexp((double)mantissa, -s->mantissa_bits);
    return sign * (field == 0 ? ldexp(fraction, 1 - s->bias) : ldexp(1.0 + fraction, (int)field - s->bias));
}

static void every_code_decodes(void **state) {
    (void)state;
    for (int k = 0; k < STATEMENTS; k++) {
        const struct statement *s = &statements[k];
        double largest = 0.0;
        for (uint32_t code = 0; code < 1u << (magnitude_bits(s) + (s->has_sign ? 1u : 0u)); code++) {
            double expected = defined_value(s, code);
            float value = narrow_decode(s->format, code);
            if (expected != expected)
                assert_true(value != value);
            else
                assert_int_equal(double_bits(value), double_bits(expected)); /* -0 is not 0 */
            if (expected < INFINITY && expected > largest) largest = expected;
        }
        assert_true(largest == s->largest);
    }
}

/* -- Encoding against a search ---------------------------------------------------------------------------------------
 */

// The neighbours of v > 0 among the values of codes 0 .. last: found by halving, as values grow with their codes.
static uint32_t code_below(const struct statement *s, uint32_t last, double v) {
    uint32_t low = 0, high = last;
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (defined_value(s, middle) <= v)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static uint32_t last_finite(const struct statement *s) {
    uint32_t all = (1u << magnitude_bits(s)) - 1u;
    if (s->top == TOP_FINITE) return all;
    return s->top == TOP_NAN ? all - 1 : all - (1u << s->mantissa_bits);
}

// Whether a magnitude between two values goes to the upper one.
static bool goes_up(uint32_t lower_code, double low, double v, double high, enum rounding rounding, bool negative) {
    double down = v - low, up = high - v; /* exact: v has few bits more than its neighbours */
    if (down == 0.0) return false;
    switch (rounding) {
    case ROUND_NEAREST:
        return up < down || (up == down && lower_code % 2 == 1);
    case ROUND_AWAY:
        return up <= down;
    case ROUND_ZERO:
        return false;
    case ROUND_DOWN:
        return negative;
    case ROUND_UP:
        return !negative;
    }
    return false;
}

// Code of a magnitude that is not above the largest value by a whole step.
static uint32_t searched_code(const struct statement *s, double v, enum rounding rounding, bool negative,
                              bool saturate) {
    uint32_t last = last_finite(s), low = code_below(s, last, v);
    double below = defined_value(s, low), next = low < last ? defined_value(s, low + 1) : 0.0;
    if (low == last) next = below + (below - defined_value(s, low - 1)) * (s->format == FORMAT_UE8M0 ? 2.0 : 1.0);
    if (v < below) return low; /* ue8m0 below its smallest value */
    if (!goes_up(low, below, v, next, rounding, negative)) return low;
    if (low < last) return low + 1;
    if (s->top == TOP_FINITE || saturate) return last;
    if (s->format == FORMAT_UE8M0) return 0xff;
    return s->top == TOP_IEEE ? last + 1 : last;
}

static uint32_t with_sign(const struct statement *s, uint32_t code, bool negative) {
    return negative && s->has_sign ? code | 1u << magnitude_bits(s) : code;
}

static void check_encode(const struct statement *s, double v) {
    for (int r = ROUND_NEAREST; r <= ROUND_AWAY; r++) {
        enum rounding rounding = (enum rounding)r;
        if (s->format == FORMAT_UE8M0 && rounding != ROUND_ZERO && rounding != ROUND_UP)
            continue; /* PTX has no other */
        for (unsigned flags = 0; flags < 4; flags++) {
            bool saturate = (flags & FORMAT_SATFINITE) != 0, relu = (flags & FORMAT_RELU) != 0;
            uint32_t positive = searched_code(s, v, rounding, false, saturate);
            assert_int_equal(narrow_encode(s->format, v, rounding, flags), positive);
            uint32_t negative = with_sign(s, searched_code(s, v, rounding, s->has_sign, saturate), true);
            if (relu || s->format == FORMAT_UE4M3) negative = 0;
            if (s->format == FORMAT_UE8M0) negative = positive; /* its sign is dropped first */
            assert_int_equal(narrow_encode(s->format, -v, rounding, flags), negative);
        }
    }
}

static void every_value_and_every_middle_encodes(void **state) {
    (void)state;
    for (int k = 0; k < STATEMENTS; k++) {
        const struct statement *s = &statements[k];
        uint32_t last = last_finite(s);
        for (uint32_t code = 0; code <= last; code++) {
            double value = defined_value(s, code);
            double step = code < last ? defined_value(s, code + 1) - value : value - defined_value(s, code - 1);
            if (s->format == FORMAT_UE8M0) step = value;
            double middle = value + step / 2;
            check_encode(s, value);
            check_encode(s, middle);
            check_encode(s, nextafter(middle, 0.0));
            check_encode(s, nextafter(middle, INFINITY));
            check_encode(s, value + step * 0.125);
            check_encode(s, value + step * 0.875);
        }
        for (int i = 0; i < 20000; i++) {
            double unit = (double)rand() / (double)RAND_MAX; /* fixed sequence: no seed is set */
            check_encode(s, s->largest * unit * ldexp(1.0, -(rand() % 24)));
        }
    }
}

static void round_trips(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 65536; code++) {
        float half = narrow_decode(FORMAT_F16, code), brain = narrow_decode(FORMAT_BF16, code);
        assert_int_equal(narrow_encode(FORMAT_F16, half, ROUND_NEAREST, 0), half != half ? 0x7fff : code);
        assert_int_equal(narrow_encode(FORMAT_BF16, brain, ROUND_NEAREST, 0), brain != brain ? 0x7fff : code);
    }
}

// The inline encoders against the general one, which the search above has checked.
static void inline_encoders_agree(void **state) {
    (void)state;
    for (uint64_t step = 0; step < UINT64_C(0x100000000); step += 0x3fd) { /* 4.2 million floats, all exponents */
        float value = bits_float((uint32_t)step);
        assert_int_equal(float_to_f16(value), narrow_encode(FORMAT_F16, value, ROUND_NEAREST, 0));
        assert_int_equal(float_to_bf16(value), narrow_encode(FORMAT_BF16, value, ROUND_NEAREST, 0));
    }
    for (uint32_t code = 0; code < 65536; code++) { /* middles of f16, and their neighbours */
        float value = f16_to_float(code), next = f16_to_float(code + 1);
        float middle = value + (next - value) / 2;
        for (int k = -1; k <= 1; k++) {
            float at = bits_float(float_bits(middle) + (uint32_t)k);
            assert_int_equal(float_to_f16(at), narrow_encode(FORMAT_F16, at, ROUND_NEAREST, 0));
        }
    }
}

/* -- Values from outside: worked by hand ------------------------------------------------------------------------------
 */

struct example {
    enum format format;
    double value;
    enum rounding rounding;
    unsigned flags;
    uint32_t code;
};

static const struct example examples[] = {
    {FORMAT_F16, 65519.99, ROUND_NEAREST, 0, 0x7bff},
    {FORMAT_F16, 65520.0, ROUND_NEAREST, 0, 0x7c00},
    {FORMAT_F16, 1e300, ROUND_ZERO, 0, 0x7bff},
    {FORMAT_F16, -1e300, ROUND_UP, 0, 0xfbff},
    {FORMAT_F16, -1e300, ROUND_DOWN, 0, 0xfc00},
    {FORMAT_F16, INFINITY, ROUND_ZERO, 0, 0x7c00},
    {FORMAT_F16, INFINITY, ROUND_ZERO, FORMAT_SATFINITE, 0x7bff},
    {FORMAT_F16, 0x1p-25, ROUND_NEAREST, 0, 0},
    {FORMAT_F16, 0x1.8p-25, ROUND_NEAREST, 0, 1},
    {FORMAT_F16, 5e-324, ROUND_UP, 0, 1},
    {FORMAT_F16, 5e-324, ROUND_NEAREST, 0, 0},
    {FORMAT_F16, -0.0, ROUND_NEAREST, 0, 0x8000},
    {FORMAT_F16, -0.0, ROUND_NEAREST, FORMAT_RELU, 0},
    {FORMAT_F16, NAN, ROUND_NEAREST, FORMAT_RELU | FORMAT_SATFINITE, 0x7fff},
    {FORMAT_BF16, 3.3895314e38 * 1.01, ROUND_NEAREST, 0, 0x7f80},
    {FORMAT_BF16, 1.00390625, ROUND_NEAREST, 0, 0x3f80},
    {FORMAT_BF16, 1.00390625, ROUND_AWAY, 0, 0x3f81},
    {FORMAT_BF16, NAN, ROUND_NEAREST, 0, 0x7fff},
    {FORMAT_E4M3, 1000.0, ROUND_NEAREST, FORMAT_SATFINITE, 0x7e},
    {FORMAT_E4M3, -INFINITY, ROUND_NEAREST, FORMAT_SATFINITE, 0xfe},
    {FORMAT_E4M3, -NAN, ROUND_NEAREST, FORMAT_SATFINITE, 0x7f},
    {FORMAT_E4M3, 0x1p-10, ROUND_NEAREST, FORMAT_SATFINITE, 0},
    {FORMAT_E5M2, 61440.0, ROUND_NEAREST, 0, 0x7c},
    {FORMAT_E5M2, 61440.0, ROUND_NEAREST, FORMAT_SATFINITE, 0x7b},
    {FORMAT_E5M2, NAN, ROUND_NEAREST, FORMAT_SATFINITE, 0x7f},
    {FORMAT_E2M1, 0.25, ROUND_NEAREST, FORMAT_SATFINITE, 0},
    {FORMAT_E2M1, 2.5, ROUND_NEAREST, FORMAT_SATFINITE, 4},
    {FORMAT_E2M1, 5.0, ROUND_NEAREST, FORMAT_SATFINITE, 6},
    {FORMAT_E2M1, -100.0, ROUND_NEAREST, FORMAT_SATFINITE, 0xf},
    {FORMAT_E2M1, NAN, ROUND_NEAREST, FORMAT_SATFINITE, 7},
    {FORMAT_E3M2, NAN, ROUND_NEAREST, FORMAT_SATFINITE, 0x1f},
    {FORMAT_E2M3, -INFINITY, ROUND_NEAREST, FORMAT_SATFINITE, 0x3f},
    {FORMAT_UE4M3, -3.0, ROUND_NEAREST, FORMAT_SATFINITE, 0},
    {FORMAT_UE8M0, 0.0, ROUND_UP, 0, 0},
    {FORMAT_UE8M0, 1.0, ROUND_UP, 0, 127},
    {FORMAT_UE8M0, 1.0001, ROUND_UP, 0, 128},
    {FORMAT_UE8M0, -1.9999, ROUND_ZERO, 0, 127},
    {FORMAT_UE8M0, 0x1.8p127, ROUND_UP, 0, 0xff},
    {FORMAT_UE8M0, 0x1.8p127, ROUND_UP, FORMAT_SATFINITE, 0xfe},
    {FORMAT_UE8M0, INFINITY, ROUND_ZERO, 0, 0xff},
    {FORMAT_UE8M0, NAN, ROUND_ZERO, FORMAT_SATFINITE, 0xff},
    {FORMAT_TF32, 1.0 + 0x1p-11, ROUND_NEAREST, 0, 0x3f800000},
    {FORMAT_TF32, 1.0 + 0x1p-11, ROUND_AWAY, 0, 0x3f802000},
    {FORMAT_TF32, -3.4011e38, ROUND_AWAY, 0, 0xff7fe000},
    {FORMAT_TF32, 3.4028234e38, ROUND_AWAY, 0, 0x7f800000},
    {FORMAT_TF32, 3.4028234e38, ROUND_AWAY, FORMAT_SATFINITE, 0x7f7fe000},
    {FORMAT_TF32, NAN, ROUND_NEAREST, 0, 0x7fffe000},
    {FORMAT_F32, 0x1p-150, ROUND_NEAREST, 0, 0},
    {FORMAT_F32, 0x1.8p-150, ROUND_NEAREST, 0, 1},
    {FORMAT_F32, 0x1.ffffffp127, ROUND_NEAREST, 0, 0x7f800000},
    {FORMAT_F32, 0x1.ffffffp127, ROUND_ZERO, 0, 0x7f7fffff},
};

static void worked_examples(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof examples / sizeof examples[0]; k++) {
        const struct example *e = &examples[k];
        uint32_t code = narrow_encode(e->format, e->value, e->rounding, e->flags);
        if (code != e->code) print_error("example %zu: %g gives %#x, not %#x\n", k, e->value, code, e->code);
        assert_int_equal(code, e->code);
    }
}

// Rounding to odd: the sum of numbers that are far apart keeps the side on which the small one lies.
static void sums_to_odd(void **state) {
    (void)state;
    assert_int_equal(double_bits(add_to_odd(1.0, 0x1p-80)), double_bits(1.0) + 1);
    assert_int_equal(double_bits(add_to_odd(1.0, -0x1p-80)), double_bits(1.0) - 1);
    assert_int_equal(double_bits(add_to_odd(-1.0, 0x1p-80)), double_bits(-1.0) - 1);
    assert_int_equal(double_bits(add_to_odd(-0x1p-80, -1.0)), double_bits(-1.0) + 1);
    assert_int_equal(double_bits(add_to_odd(1.0, 0x1.8p-53)), double_bits(1.0) + 1);
    assert_true(add_to_odd(1.0, 2.0) == 3.0);
    assert_true(add_to_odd(INFINITY, 1.0) == INFINITY);
    assert_int_equal(double_bits(add_to_odd(0.0, -0.0)), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_decodes), cmocka_unit_test(every_value_and_every_middle_encodes),
        cmocka_unit_test(round_trips),        cmocka_unit_test(inline_encoders_agree),
        cmocka_unit_test(worked_examples),    cmocka_unit_test(sums_to_odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
