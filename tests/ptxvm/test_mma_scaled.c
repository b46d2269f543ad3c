// test_mma_scaled: block-scaled mma.sync as kernels: a different scale for every row, column and block, every byte-id
// and thread-id, with random bytes wherever the selectors do not look; results against a restatement of the model and
// float64. SPDX-License-Identifier: Apache-2.0
#include "kernels.h"

#include <math.h>

#include "formats.h"
#include "layouts.h"

/* -- One product -----------------------------------------------------------------------------------------------------
 */

struct narrow {
    const char *name;
    unsigned bits, shift; /* shift in an 8-bit container */
    int lowest;
    enum format format;
};
static const struct narrow e4m3 = {"e4m3", 8, 0, -6, FORMAT_E4M3}, e5m2 = {"e5m2", 8, 0, -14, FORMAT_E5M2},
                           e3m2 = {"e3m2", 6, 0, -2, FORMAT_E3M2}, e2m3 = {"e2m3", 6, 0, 0, FORMAT_E2M3},
                           e2m1 = {"e2m1", 4, 2, 0, FORMAT_E2M1};

struct scaled {
    const char *kind, *vec_text; /* vec_text: "" where it is the kind's own */
    unsigned vec;
    bool is_ue4m3, selectors_in_registers;
    const struct layout *layout;
    const struct narrow *a, *b;
    unsigned byte_a, thread_a, byte_b, thread_b;
    uint32_t code_a[16][64], code_b[64][8], scale_a[16][4], scale_b[8][4];
    float c[16][8], out[16][8];
};

enum { WORDS_A = 4, WORDS_B = 2, WORDS_C = 4, SCALE_A = WORDS_A + WORDS_B + WORDS_C, SCALE_B, WORDS };

static void put(uint32_t *reg, unsigned element, unsigned bits, uint32_t value) {
    reg[element * bits / 32] |= value << element * bits % 32;
}

static void put_byte(uint32_t *reg, unsigned byte, uint32_t value) {
    *reg = (*reg & ~(UINT32_C(255) << 8 * byte)) | value << 8 * byte;
}

static void pack(const struct scaled *p, unsigned lane, uint32_t in[WORDS], uint64_t *random) {
    const struct layout *l = p->layout;
    unsigned g = lane / 4, t = lane % 4;
    unsigned shift_a = l->bits == 8 ? p->a->shift : 0, shift_b = l->bits == 8 ? p->b->shift : 0;
    for (unsigned i = 0; i < l->count_a; i++)
        put(in, i, l->bits, p->code_a[l->a(g, t, i).row][l->a(g, t, i).col] << shift_a);
    for (unsigned i = 0; i < l->count_b; i++)
        put(in + WORDS_A, i, l->bits, p->code_b[l->b(g, t, i).row][l->b(g, t, i).col] << shift_b);
    for (unsigned i = 0; i < l->count_c; i++)
        in[WORDS_A + WORDS_B + i] = float_bits(p->c[l->c(g, t, i).row][l->c(g, t, i).col]);
    in[SCALE_A] = random_bits(random);
    in[SCALE_B] = random_bits(random);
    int row = scale_row_of_lane(lane, p->thread_a), column = scale_column_of_lane(lane, p->thread_b);
    for (unsigned block = 0; block < p->vec; block++) {
        if (row >= 0) put_byte(&in[SCALE_A], p->byte_a + block, p->scale_a[row][block]);
        if (column >= 0) put_byte(&in[SCALE_B], p->byte_b + block, p->scale_b[column][block]);
    }
}

static void write_selectors(const struct scaled *p, struct text *text) {
    const unsigned value[4] = {p->byte_a, p->thread_a, p->byte_b, p->thread_b};
    if (!p->selectors_in_registers) return;
    add(text, ".reg .b16 %%h<4>;\n");
    for (unsigned k = 0; k < 4; k++) add(text, "mov.u16 %%h%u, %u;\n", k, value[k]);
}

static void write_kernel(const struct scaled *p, struct text *text) {
    begin_kernel(text, "sm_120a", "b32", WORDS, WORDS_C);
    write_selectors(p, text);
    add(text, "mma.sync.aligned.%s.row.col.kind::%s.block_scale%s.f32.%s.%s.f32.%s ", p->layout->shape, p->kind,
        p->vec_text, p->a->name, p->b->name, p->is_ue4m3 ? "ue4m3" : "ue8m0");
    add_vector(text, "out", 0, WORDS_C);
    add(text, ", ");
    add_vector(text, "in", 0, WORDS_A);
    add(text, ", ");
    add_vector(text, "in", WORDS_A, WORDS_B);
    add(text, ", ");
    add_vector(text, "in", WORDS_A + WORDS_B, WORDS_C);
    if (p->selectors_in_registers)
        add(text, ", %%in%u, {%%h0, %%h1}, %%in%u, {%%h2, %%h3};\n", SCALE_A, SCALE_B);
    else
        add(text, ", %%in%u, {%u, %u}, %%in%u, {%u, %u};\n", SCALE_A, p->byte_a, p->thread_a, SCALE_B, p->byte_b,
            p->thread_b);
    end_kernel(text, "b32", WORDS_C);
}

static void multiply(struct scaled *p, uint64_t *random) {
    static struct text text;
    uint32_t in[32][WORDS] = {{0}};
    float out[32][WORDS_C] = {{0}};
    write_kernel(p, &text);
    for (unsigned lane = 0; lane < 32; lane++) pack(p, lane, in[lane], random);
    struct run r = {
        .text = text.at, .threads = 32, .in = in, .in_bytes = sizeof in, .out = out, .out_bytes = sizeof out};
    run_clean(&r);
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < WORDS_C; i++) {
            struct cell at = p->layout->c(lane / 4, lane % 4, i);
            p->out[at.row][at.col] = out[lane][i];
        }
}

// Distinct scales near 1, so that a scale from a wrong place shows; some far away.
static uint32_t random_scale(bool is_ue4m3, uint64_t *random) {
    uint32_t bits = random_bits(random);
    return is_ue4m3 ? bits % 127 : 117 + bits % 20;
}

static void fill(struct scaled *p, uint64_t *random) {
    for (unsigned k = 0; k < p->layout->k; k++) {
        for (unsigned m = 0; m < 16; m++) do
                p->code_a[m][k] = random_bits(random) & ((1u << p->a->bits) - 1);
            while (!(fabs((double)narrow_decode(p->a->format, p->code_a[m][k])) < 1000.0));
        for (unsigned n = 0; n < 8; n++) do
                p->code_b[k][n] = random_bits(random) & ((1u << p->b->bits) - 1);
            while (!(fabs((double)narrow_decode(p->b->format, p->code_b[k][n])) < 1000.0));
    }
    for (unsigned block = 0; block < 4; block++) {
        for (unsigned m = 0; m < 16; m++) p->scale_a[m][block] = random_scale(p->is_ue4m3, random);
        for (unsigned n = 0; n < 8; n++) p->scale_b[n][block] = random_scale(p->is_ue4m3, random);
    }
    for (unsigned m = 0; m < 16; m++)
        for (unsigned n = 0; n < 8; n++) p->c[m][n] = (float)(int32_t)random_bits(random) * 0x1p-26f;
}

/* -- What it should be -----------------------------------------------------------------------------------------------
 */

static double scale_of(const struct scaled *p, uint32_t code) {
    return (double)narrow_decode(p->is_ue4m3 ? FORMAT_UE4M3 : FORMAT_UE8M0, code);
}

static double term(const struct scaled *p, unsigned m, unsigned n, unsigned k) {
    unsigned block = k / (p->layout->k / p->vec);
    return (double)narrow_decode(p->a->format, p->code_a[m][k]) * (double)narrow_decode(p->b->format, p->code_b[k][n]) *
           scale_of(p, p->scale_a[m][block]) * scale_of(p, p->scale_b[n][block]);
}

static int exponent(double value, int lowest) {
    int own = ilogb(value);
    return own < lowest ? lowest : own;
}

// Terms and the exponents by which they are aligned: 16 products at a time with scale exponents (4 bits), or each.
static unsigned model_terms(const struct scaled *p, unsigned m, unsigned n, double value[64], int place[64]) {
    bool grouped = p->layout->k == 64;
    unsigned step = grouped ? 16 : 1, count = 0;
    for (unsigned k = 0; k < p->layout->k; k += step) {
        unsigned block = k / (p->layout->k / p->vec);
        double sum = 0.0, sa = scale_of(p, p->scale_a[m][block]), sb = scale_of(p, p->scale_b[n][block]);
        for (unsigned e = k; e < k + step; e++) sum += term(p, m, n, e);
        int lowest = p->is_ue4m3 ? -6 : -127;
        int scales = (sa == 0.0 ? -126 : exponent(sa, lowest)) + (sb == 0.0 ? -126 : exponent(sb, lowest));
        if (!grouped && sum != 0.0)
            scales += exponent((double)narrow_decode(p->a->format, p->code_a[m][k]), p->a->lowest) +
                      exponent((double)narrow_decode(p->b->format, p->code_b[k][n]), p->b->lowest);
        value[count] = sum;
        place[count++] = !grouped && sum == 0.0 ? -126 : scales;
    }
    return count;
}

static double modelled(const struct scaled *p, unsigned m, unsigned n) {
    double value[64], addend = (double)p->c[m][n];
    int place[64], largest = addend == 0.0 ? -126 : exponent(addend, -126), bits = p->layout->k == 64 ? 35 : 25;
    unsigned count = model_terms(p, m, n, value, place);
    for (unsigned k = 0; k < count; k++) largest = place[k] > largest ? place[k] : largest;
    double unit = ldexp(1.0, largest - bits), total = trunc(addend / unit);
    for (unsigned k = 0; k < count; k++) total += trunc(value[k] / unit);
    if (total == 0.0) return 0.0;
    int last = exponent(total * unit, -126) - 23;
    return ldexp(trunc(ldexp(total * unit, -last)), last);
}

static void compare(const struct scaled *p) {
    for (unsigned m = 0; m < 16; m++)
        for (unsigned n = 0; n < 8; n++) {
            double sum = (double)p->c[m][n], size = fabs(sum), got = (double)p->out[m][n], model = modelled(p, m, n);
            for (unsigned k = 0; k < p->layout->k; k++) {
                sum += term(p, m, n, k);
                size += fabs(term(p, m, n, k));
            }
            if (got != model || fabs(got - sum) > size * 0x1p-20)
                fail_msg("%s%s %s %s selectors {%u, %u} {%u, %u}: [%u][%u] is %a; model %a, float64 %a", p->kind,
                         p->vec_text, p->a->name, p->b->name, p->byte_a, p->thread_a, p->byte_b, p->thread_b, m, n, got,
                         model, sum);
        }
}

/* -- Tests -----------------------------------------------------------------------------------------------------------
 */

// Every selector of A against two of B and the other way round.
static void all_selectors(struct scaled *p, uint64_t *random) {
    unsigned bytes = 4 / p->vec;
    for (unsigned s = 0; s < bytes * 2 * bytes * 4; s++) {
        p->byte_a = s % bytes * p->vec;
        p->thread_a = s / bytes % 2;
        p->byte_b = s / bytes / 2 % bytes * p->vec;
        p->thread_b = s / bytes / 2 / bytes;
        p->selectors_in_registers = s % 3 == 1;
        fill(p, random);
        multiply(p, random);
        compare(p);
    }
}

static void four_bit_products(void **state) {
    (void)state;
    uint64_t random = 10;
    static const struct scaled cases[] = {
        {.kind = "mxf4nvf4", .vec_text = ".scale_vec::4X", .vec = 4, .is_ue4m3 = true},
        {.kind = "mxf4nvf4", .vec_text = ".scale_vec::4X", .vec = 4},
        {.kind = "mxf4nvf4", .vec_text = ".scale_vec::2X", .vec = 2},
        {.kind = "mxf4", .vec_text = ".scale_vec::2X", .vec = 2},
        {.kind = "mxf4", .vec_text = "", .vec = 2},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct scaled p = cases[k];
        p.a = p.b = &e2m1;
        p.layout = layout_of("m16n8k64", 4);
        all_selectors(&p, &random);
    }
}

static void eight_bit_products(void **state) {
    static const struct narrow *const types[] = {&e4m3, &e5m2, &e3m2, &e2m3, &e2m1};
    (void)state;
    uint64_t random = 11;
    struct scaled p = {.kind = "mxf8f6f4", .vec_text = ".scale_vec::1X", .vec = 1, .a = &e4m3, .b = &e4m3};
    p.layout = layout_of("m16n8k32", 8);
    all_selectors(&p, &random);
    p.vec_text = "";
    p.selectors_in_registers = false;
    for (unsigned k = 0; k < 25; k++) {
        p.a = types[k / 5];
        p.b = types[k % 5];
        p.byte_a = k % 4;
        fill(&p, &random);
        multiply(&p, &random);
        compare(&p);
    }
}

static void nan_scales_give_nan(void **state) {
    (void)state;
    uint64_t random = 12;
    struct scaled p = {
        .kind = "mxf4nvf4", .vec_text = ".scale_vec::4X", .vec = 4, .is_ue4m3 = true, .a = &e2m1, .b = &e2m1};
    p.layout = layout_of("m16n8k64", 4);
    fill(&p, &random);
    p.scale_a[5][2] = 0x7f;
    p.scale_b[3][0] = 0x7f;
    multiply(&p, &random);
    for (unsigned m = 0; m < 16; m++)
        for (unsigned n = 0; n < 8; n++) assert_int_equal(float_bits(p.out[m][n]) == 0x7fffffffu, m == 5 || n == 3);
}

static void wrong_selectors_are_errors(void **state) {
    static const struct scaled cases[] = {
        {.kind = "mxf4", .vec_text = "", .vec = 2, .byte_a = 1},
        {.kind = "mxf4", .vec_text = "", .vec = 2, .thread_a = 2},
        {.kind = "mxf4", .vec_text = "", .vec = 2, .byte_b = 4},
        {.kind = "mxf4", .vec_text = "", .vec = 2, .thread_b = 4},
    };
    static struct text text;
    (void)state;
    uint64_t random = 13;
    for (unsigned k = 0; k < 8; k++) {
        struct scaled p = cases[k / 2];
        uint32_t in[32][WORDS] = {{0}};
        float out[32][WORDS_C];
        p.a = p.b = &e2m1;
        p.layout = layout_of("m16n8k64", 4);
        p.selectors_in_registers = k & 1;
        fill(&p, &random);
        write_kernel(&p, &text);
        struct run r = {
            .text = text.at, .threads = 32, .in = in, .in_bytes = sizeof in, .out = out, .out_bytes = sizeof out};
        assert_int_equal(run_kernel(&r), PTXVM_ERROR_FAULT);
        assert_int_equal(r.findings.of_kind[PTXVM_FINDING_BAD_OPERAND], 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_bit_products),
        cmocka_unit_test(eight_bit_products),
        cmocka_unit_test(nan_scales_give_nan),
        cmocka_unit_test(wrong_selectors_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
