// test_mma: mma.sync without scales, as kernels: random matrices put into registers by the ISA's tables (layouts.h)
// against products computed here: exactly for integers and for floats that need no rounding, against a plain
// restatement of the accumulation model for all others, and against float64 within the model's error.
// SPDX-License-Identifier: Apache-2.0
#include "kernels.h"

#include <math.h>

#include "accumulate.h"
#include "formats.h"
#include "layouts.h"

/* -- Types -----------------------------------------------------------------------------------------------------------
 */

struct type {
    const char *name;
    unsigned bits, container, shift; /* shift: of the element in its container */
    int lowest;                      /* exponent of the subnormals */
    enum format format;
};

static const struct type f16 = {"f16", 16, 16, 0, -14, FORMAT_F16}, bf16 = {"bf16", 16, 16, 0, -126, FORMAT_BF16},
                         tf32 = {"tf32", 32, 32, 0, -126, FORMAT_TF32}, e4m3 = {"e4m3", 8, 8, 0, -6, FORMAT_E4M3},
                         e5m2 = {"e5m2", 8, 8, 0, -14, FORMAT_E5M2}, e3m2 = {"e3m2", 6, 8, 0, -2, FORMAT_E3M2},
                         e2m3 = {"e2m3", 6, 8, 0, 0, FORMAT_E2M3}, e2m1 = {"e2m1", 4, 8, 2, 0, FORMAT_E2M1},
                         s8 = {"s8", 8, 8, 0, 0, 0}, u8 = {"u8", 8, 8, 0, 0, 0}, s4 = {"s4", 4, 4, 0, 0, 0},
                         u4 = {"u4", 4, 4, 0, 0, 0};

static bool is_integer(const struct type *t) {
    return t->name[0] == 's' || t->name[0] == 'u';
}

static double value_of(const struct type *t, uint32_t code) {
    if (!is_integer(t)) return (double)narrow_decode(t->format, code);
    int value = (int)code;
    if (t->name[0] == 's' && value >= 1 << (t->bits - 1)) value -= 1 << t->bits;
    return value;
}

// Any finite code of moderate size.
static uint32_t random_code(const struct type *t, uint64_t *state) {
    if (random_bits(state) % 8 == 0) return 0;
    for (;;) {
        uint32_t code = random_bits(state) & (t->bits == 32 ? ~0u : (1u << t->bits) - 1);
        double magnitude = fabs(value_of(t, code));
        if (is_integer(t) || magnitude == 0.0 || (magnitude < 0x1p12 && magnitude > 0x1p-12)) return code;
    }
}

// A small integer.
static uint32_t small_code(const struct type *t, uint64_t *state) {
    for (;;) {
        uint32_t code = random_bits(state) & (t->bits == 32 ? 0xffffe000u : (1u << t->bits) - 1);
        double value = value_of(t, code);
        if (fabs(value) <= 2.0 && value == rint(value)) return code;
    }
}

/* -- One product -----------------------------------------------------------------------------------------------------
 */

enum { MOST_K = 64 };
struct product {
    const char *target, *kind; /* kind: "" or ".kind::f8f6f4" */
    const struct layout *layout;
    const struct type *a, *b;
    const char *d; /* "f32", "f16", "s32" */
    bool saturate;
    uint32_t code_a[16][MOST_K], code_b[MOST_K][8], c[16][8], out[16][8]; /* c and out: bits */
};

static void put(uint32_t *reg, unsigned element, unsigned bits, uint32_t value) {
    reg[element * bits / 32] |= value << element * bits % 32;
}

static void pack(const struct product *p, unsigned lane, uint32_t *in, unsigned words_a, unsigned words_b) {
    const struct layout *l = p->layout;
    unsigned g = lane / 4, t = lane % 4, bits_c = p->d[1] == '1' ? 16 : 32;
    for (unsigned i = 0; i < l->count_a; i++) {
        struct cell at = l->a(g, t, i);
        put(in, i, l->bits, p->code_a[at.row][at.col] << p->a->shift);
    }
    for (unsigned i = 0; i < l->count_b; i++) {
        struct cell at = l->b(g, t, i);
        put(in + words_a, i, l->bits, p->code_b[at.row][at.col] << p->b->shift);
    }
    for (unsigned i = 0; i < l->count_c; i++) {
        struct cell at = l->c(g, t, i);
        put(in + words_a + words_b, i, bits_c, p->c[at.row][at.col]);
    }
}

static void unpack(struct product *p, unsigned lane, const uint32_t *out) {
    unsigned bits_c = p->d[1] == '1' ? 16 : 32;
    for (unsigned i = 0; i < p->layout->count_c; i++) {
        struct cell at = p->layout->c(lane / 4, lane % 4, i);
        p->out[at.row][at.col] = out[i * bits_c / 32] >> i * bits_c % 32 & (bits_c == 16 ? 0xffffu : ~0u);
    }
}

static void multiply(struct product *p) {
    const struct layout *l = p->layout;
    static struct text text;
    unsigned words_a = l->count_a * l->bits / 32, words_b = l->count_b * l->bits / 32;
    unsigned words_c = l->count_c * (p->d[1] == '1' ? 16 : 32) / 32, words = words_a + words_b + words_c;
    uint32_t in[32 * 16] = {0}, out[32 * 4] = {0};
    begin_kernel(&text, p->target, "b32", words, words_c);
    add(&text, "mma.sync.aligned.%s.row.col%s%s.%s.%s.%s.%s ", l->shape, p->kind, p->saturate ? ".satfinite" : "", p->d,
        p->a->name, p->b->name, p->d);
    add_vector(&text, "out", 0, words_c);
    add(&text, ", ");
    add_vector(&text, "in", 0, words_a);
    add(&text, ", ");
    add_vector(&text, "in", words_a, words_b);
    add(&text, ", ");
    add_vector(&text, "in", words_a + words_b, words_c);
    add(&text, ";\n");
    end_kernel(&text, "b32", words_c);
    for (unsigned lane = 0; lane < 32; lane++) pack(p, lane, in + lane * words, words_a, words_b);
    struct run r = {
        .text = text.at, .threads = 32, .in = in, .in_bytes = 128 * words, .out = out, .out_bytes = 128 * words_c};
    run_clean(&r);
    for (unsigned lane = 0; lane < 32; lane++) unpack(p, lane, out + lane * words_c);
}

static void fill(struct product *p, bool small, uint64_t *state) {
    for (unsigned m = 0; m < 16; m++)
        for (unsigned k = 0; k < p->layout->k; k++)
            p->code_a[m][k] = small ? small_code(p->a, state) : random_code(p->a, state);
    for (unsigned n = 0; n < 8; n++)
        for (unsigned k = 0; k < p->layout->k; k++)
            p->code_b[k][n] = small ? small_code(p->b, state) : random_code(p->b, state);
    for (unsigned m = 0; m < 16; m++)
        for (unsigned n = 0; n < 8; n++) {
            float c =
                small ? (float)(int)(random_bits(state) % 65) - 32.0f : (float)(int32_t)random_bits(state) * 0x1p-22f;
            if (random_bits(state) % 4 == 0) c = 0.0f;
            p->c[m][n] = p->d[0] == 's'   ? random_bits(state) >> (small ? 16 : 0)
                         : p->d[1] == '1' ? float_to_f16(c)
                                          : float_bits(c);
        }
}

/* -- Integers --------------------------------------------------------------------------------------------------------
 */

static void integers_are_exact(void **state) {
    static const struct type *const bytes[] = {&s8, &u8}, *const nibbles[] = {&s4, &u4};
    static const char *const shapes[][2] = {{"m8n8k16", "m8n8k32"}, {"m16n8k16", "m16n8k32"}, {"m16n8k32", "m16n8k64"}};
    (void)state;
    uint64_t random = 1;
    for (unsigned n = 0; n < 3 * 2 * 2 * 2 * 2; n++) {
        bool is_nibble = n & 1;
        struct product p = {.target = "sm_80", .kind = "", .d = "s32", .saturate = n >> 3 & 1};
        p.a = is_nibble ? nibbles[n >> 1 & 1] : bytes[n >> 1 & 1];
        p.b = is_nibble ? nibbles[n >> 2 & 1] : bytes[n >> 2 & 1];
        p.layout = layout_of(shapes[n / 16][is_nibble], p.a->container);
        fill(&p, false, &random);
        for (unsigned m = 0; m < p.layout->m; m++) p.c[m][0] = m % 2 ? 0x7fffffff - m : 0x80000000u + m; /* overflows */
        multiply(&p);
        for (unsigned row = 0; row < p.layout->m; row++)
            for (unsigned col = 0; col < 8; col++) {
                int64_t sum = (int32_t)p.c[row][col];
                for (unsigned k = 0; k < p.layout->k; k++)
                    sum += (int64_t)(value_of(p.a, p.code_a[row][k]) * value_of(p.b, p.code_b[k][col]));
                if (p.saturate) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
                if (p.out[row][col] != (uint32_t)(uint64_t)sum)
                    fail_msg("%s %s %s: [%u][%u] is %d, not %lld", p.layout->shape, p.a->name, p.b->name, row, col,
                             (int32_t)p.out[row][col], (long long)sum);
            }
    }
}

/* -- Floats ----------------------------------------------------------------------------------------------------------
 */

// A float instruction, and the model that accumulate.h states for it on that target.
struct float_case {
    const char *target, *kind, *shape, *d;
    const struct type *a, *b;
    unsigned chunk;
    int bits, mantissa;
    bool unpacked;
};

static const struct float_case float_cases[] = {
    {"sm_80", "", "m16n8k8", "f32", &f16, &f16, 8, 24, 23, false},
    {"sm_80", "", "m16n8k16", "f32", &f16, &f16, 8, 24, 23, false},
    {"sm_80", "", "m16n8k16", "f16", &f16, &f16, 8, 24, 23, false},
    {"sm_90", "", "m16n8k16", "f32", &f16, &f16, 16, 25, 23, false},
    {"sm_90", "", "m16n8k16", "f16", &f16, &f16, 16, 25, 23, false},
    {"sm_80", "", "m16n8k8", "f32", &bf16, &bf16, 8, 24, 23, false},
    {"sm_120a", "", "m16n8k16", "f32", &bf16, &bf16, 16, 25, 23, false},
    {"sm_80", "", "m16n8k4", "f32", &tf32, &tf32, 4, 24, 23, false},
    {"sm_80", "", "m16n8k8", "f32", &tf32, &tf32, 4, 24, 23, false},
    {"sm_90", "", "m16n8k8", "f32", &tf32, &tf32, 8, 25, 23, false},
    {"sm_89", "", "m16n8k16", "f32", &e4m3, &e4m3, 16, 13, 13, false},
    {"sm_89", "", "m16n8k32", "f32", &e4m3, &e5m2, 16, 13, 13, false},
    {"sm_89", "", "m16n8k32", "f16", &e4m3, &e4m3, 16, 13, 13, false},
    {"sm_90", "", "m16n8k32", "f32", &e5m2, &e4m3, 16, 25, 23, true},
    {"sm_90", "", "m16n8k32", "f16", &e4m3, &e5m2, 16, 25, 23, true},
    {"sm_90", "", "m16n8k16", "f32", &e4m3, &e4m3, 8, 25, 23, true},
    {"sm_120a", ".kind::f8f6f4", "m16n8k32", "f32", &e4m3, &e2m1, 32, 25, 23, false},
    {"sm_120a", ".kind::f8f6f4", "m16n8k32", "f32", &e3m2, &e2m3, 32, 25, 23, false},
    {"sm_120a", ".kind::f8f6f4", "m16n8k32", "f16", &e2m1, &e5m2, 32, 25, 23, false},
    {"sm_120a", ".kind::f8f6f4", "m16n8k32", "f32", &e2m3, &e3m2, 32, 25, 23, false},
};
enum { FLOAT_CASES = sizeof float_cases / sizeof float_cases[0] };

static void prepare(struct product *p, const struct float_case *c) {
    *p = (struct product){.target = c->target, .kind = c->kind, .d = c->d, .a = c->a, .b = c->b};
    p->layout = layout_of(c->shape, c->a->container);
}

static double addend_of(const struct product *p, uint32_t bits) {
    return p->d[1] == '1' ? (double)narrow_decode(FORMAT_F16, bits) : (double)bits_float(bits);
}

// Exponent of a value of a type: of its leading bit, or that of the subnormals.
static int exponent(double value, int lowest) {
    int own = ilogb(value);
    return own < lowest ? lowest : own;
}

// Toward zero to `mantissa` bits of an f32, or to f16.
static double rounded(double value, const struct float_case *c) {
    if (c->d[1] == '1') return (double)narrow_decode(FORMAT_F16, narrow_encode(FORMAT_F16, value, ROUND_NEAREST, 0));
    if (value == 0.0) return 0.0;
    int place = exponent(value, -126) - c->mantissa;
    return ldexp(trunc(ldexp(value, -place)), place);
}

// Whether the product at k is of the chunk number `chunk`; unpacked: one of low pairs and one of high pairs.
static bool is_of_chunk(const struct float_case *c, unsigned k, unsigned chunk) {
    return c->unpacked ? (k >> 1 & 1u) == chunk : k / c->chunk == chunk;
}

static int lowest_of(const struct float_case *c, const struct type *type) {
    return c->unpacked ? -14 : type->lowest;
}

static double modelled_chunk(const struct product *p, const struct float_case *c, unsigned m, unsigned n,
                             unsigned chunk, double sum) {
    int largest = -126, own_lowest = c->d[1] == '1' ? -14 : -126;
    if (sum != 0.0 && exponent(sum, own_lowest) > largest) largest = exponent(sum, own_lowest);
    for (unsigned k = 0; k < p->layout->k; k++) {
        double a = value_of(p->a, p->code_a[m][k]), b = value_of(p->b, p->code_b[k][n]);
        if (a == 0.0 || b == 0.0 || !is_of_chunk(c, k, chunk)) continue;
        int e = exponent(a, lowest_of(c, p->a)) + exponent(b, lowest_of(c, p->b));
        largest = e > largest ? e : largest;
    }
    double unit = ldexp(1.0, largest - c->bits), total = trunc(sum / unit);
    for (unsigned k = 0; k < p->layout->k; k++)
        if (is_of_chunk(c, k, chunk))
            total += trunc(value_of(p->a, p->code_a[m][k]) * value_of(p->b, p->code_b[k][n]) / unit);
    return rounded(total * unit, c);
}

// One element as the model says, term by term.
static double modelled(const struct product *p, const struct float_case *c, unsigned m, unsigned n) {
    double addend = addend_of(p, p->c[m][n]), sum = c->unpacked ? 0.0 : addend;
    for (unsigned chunk = 0; chunk * c->chunk < p->layout->k && !isinf(sum); chunk++)
        sum = modelled_chunk(p, c, m, n, chunk, sum);
    if (!c->unpacked) return sum;
    return c->d[1] == '1' ? rounded(sum + addend, c) : (double)((float)sum + (float)addend);
}

static void floats_follow_the_model(void **state) {
    (void)state;
    uint64_t random = 2;
    for (unsigned n = 0; n < 4 * FLOAT_CASES; n++) {
        const struct float_case *c = &float_cases[n / 4];
        struct product p;
        prepare(&p, c);
        fill(&p, false, &random);
        multiply(&p);
        for (unsigned row = 0; row < 16; row++)
            for (unsigned col = 0; col < 8; col++) {
                double expected = modelled(&p, c, row, col), got = addend_of(&p, p.out[row][col]);
                if (got != expected)
                    fail_msg("%s %s %s %s: [%u][%u] is %a, not %a", c->target, c->shape, c->a->name, c->b->name, row,
                             col, got, expected);
            }
    }
}

// Independent of the model: small integers are exact; others are near the float64 product.
static void floats_are_near_float64(void **state) {
    (void)state;
    uint64_t random = 3;
    for (unsigned n = 0; n < 2 * FLOAT_CASES; n++) {
        const struct float_case *c = &float_cases[n / 2];
        bool small = n & 1;
        struct product p;
        prepare(&p, c);
        fill(&p, small, &random);
        multiply(&p);
        for (unsigned row = 0; row < 16; row++)
            for (unsigned col = 0; col < 8; col++) {
                double sum = addend_of(&p, p.c[row][col]), size = fabs(sum), got = addend_of(&p, p.out[row][col]);
                for (unsigned k = 0; k < p.layout->k; k++) {
                    double term = value_of(p.a, p.code_a[row][k]) * value_of(p.b, p.code_b[k][col]);
                    sum += term;
                    size += fabs(term);
                }
                int kept = c->d[1] == '1' && c->mantissa > 10 ? 10 : c->mantissa;
                double bound = small ? 0.0 : size * 4.0 * ldexp(1.0, -kept);
                if (c->d[1] == '1' && size > 65000.0) continue; /* an infinity, or not */
                if (fabs(got - sum) > bound)
                    fail_msg("%s %s %s %s: [%u][%u] is %a, not %a", c->target, c->shape, c->a->name, c->b->name, row,
                             col, got, sum);
            }
    }
}

/* -- NaN, infinities, overflow ---------------------------------------------------------------------------------------
 */

static void specials_follow_ieee(void **state) {
    (void)state;
    struct product p;
    uint64_t random = 4;
    prepare(&p, &float_cases[3]);
    fill(&p, true, &random);
    p.code_a[0][3] = 0x7e00; /* NaN */
    p.code_a[1][5] = 0x7c00; /* infinity, times 0 in column 0, times 1 in column 1, -1 in 2 */
    p.code_b[5][0] = 0, p.code_b[5][1] = 0x3c00, p.code_b[5][2] = 0xbc00;
    p.c[1][2] = float_bits(INFINITY); /* against minus infinity */
    p.c[2][0] = float_bits(-INFINITY), p.c[3][0] = 0x7f800001u;
    p.c[4][0] = 0x7f7fffffu; /* the largest float and something that carries */
    for (unsigned k = 0; k < 16; k++) p.code_a[4][k] = p.code_b[k][7] = 0x7bff;
    p.c[4][7] = 0x7f7fffffu;
    multiply(&p);
    for (unsigned n = 0; n < 8; n++) assert_int_equal(p.out[0][n], 0x7fffffff);
    assert_int_equal(p.out[1][0], 0x7fffffff);
    assert_int_equal(p.out[1][1], 0x7f800000);
    assert_int_equal(p.out[1][2], 0x7fffffff);
    assert_int_equal(p.out[2][0], 0xff800000u);
    assert_int_equal(p.out[3][0], 0x7fffffff);
    assert_int_equal(p.out[4][7], 0x7f7fffff); /* 65504^2 * 16 is far below its last bit */
}

/* -- f64 -------------------------------------------------------------------------------------------------------------
 */

static void doubles_are_near(void **state) {
    static const char *const shapes[] = {"m8n8k4", "m16n8k4", "m16n8k8", "m16n8k16"};
    static struct text text;
    (void)state;
    uint64_t random = 5;
    for (unsigned s = 0; s < 4; s++) {
        const struct layout *l = layout_of(shapes[s], 64);
        unsigned words = l->count_a + l->count_b + l->count_c;
        double a[16][16], b[16][8], c[16][8], in[32 * 16], out[32 * 4];
        for (unsigned k = 0; k < 256; k++) a[k / 16][k % 16] = (int32_t)random_bits(&random) * 0x1p-30;
        for (unsigned k = 0; k < 128; k++) b[k / 8][k % 8] = (int32_t)random_bits(&random) * 0x1p-30;
        for (unsigned k = 0; k < 128; k++) c[k / 8][k % 8] = (int32_t)random_bits(&random) * 0x1p-30;
        for (unsigned lane = 0; lane < 32; lane++) {
            double *to = in + lane * words;
            unsigned g = lane / 4, t = lane % 4;
            for (unsigned i = 0; i < l->count_a; i++) *to++ = a[l->a(g, t, i).row][l->a(g, t, i).col];
            for (unsigned i = 0; i < l->count_b; i++) *to++ = b[l->b(g, t, i).row][l->b(g, t, i).col];
            for (unsigned i = 0; i < l->count_c; i++) *to++ = c[l->c(g, t, i).row][l->c(g, t, i).col];
        }
        begin_kernel(&text, "sm_90", "f64", words, l->count_c);
        add(&text, "mma.sync.aligned.%s.row.col.f64.f64.f64.f64 ", l->shape);
        add_vector(&text, "out", 0, l->count_c);
        add(&text, ", ");
        add_vector(&text, "in", 0, l->count_a);
        add(&text, ", ");
        add_vector(&text, "in", l->count_a, l->count_b);
        add(&text, ", ");
        add_vector(&text, "in", l->count_a + l->count_b, l->count_c);
        add(&text, ";\n");
        end_kernel(&text, "f64", l->count_c);
        struct run r = {.text = text.at,
                        .threads = 32,
                        .in = in,
                        .in_bytes = 256 * words,
                        .out = out,
                        .out_bytes = 256 * l->count_c};
        run_clean(&r);
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned i = 0; i < l->count_c; i++) {
                struct cell at = l->c(lane / 4, lane % 4, i);
                double sum = c[at.row][at.col];
                for (unsigned k = 0; k < l->k; k++) sum += a[at.row][k] * b[k][at.col];
                assert_true(fabs(out[lane * l->count_c + i] - sum) < 1e-14 * 64);
            }
    }
}

/* -- Rejected --------------------------------------------------------------------------------------------------------
 */

static void unknown_products_are_errors(void **state) {
    static const char *const lines[] = {
        "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 {%out0,%out1,%out2,%out3},{%in0,%in1,%in2,%in3},{%in4,%in5},"
        "{%in6,%in7,%in8,%in9};",
        "mma.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%out0,%out1,%out2,%out3},{%in0,%in1,%in2,%in3},{%in4,%in5},"
        "{%in6,%in7,%in8,%in9};",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 "
        "{%out0,%out1,%out2,%out3},{%in0,%in1,%in2,%in3},{%in4,%in5},"
        "{%in6,%in7,%in8,%in9};",
        "mma.sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32 {%out0,%out1,%out2,%out3},{%in0,%in1,%in2,%in3},"
        "{%in4,%in5},{%in6,%in7,%in8,%in9};",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%out0,%out1,%out2},{%in0,%in1,%in2,%in3},{%in4,%in5},"
        "{%in6,%in7,%in8,%in9};",
        "mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%out0,%out1,%out2,%out3},{%in0,%in1},{%in4,%in5},"
        "{%in6,%in7,%in8,%in9}, %in0, 0;",
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc {%out0,%out1,%out2,%out3},{%in0,%in1,%in2,%in3},"
        "{%in4,%in5},{%in6,%in7,%in8,%in9};",
    };
    static struct text text;
    (void)state;
    for (unsigned k = 0; k < sizeof lines / sizeof lines[0]; k++) {
        ptxvm *vm;
        ptxvm_module *module = NULL;
        begin_kernel(&text, "sm_90", "b32", 10, 4);
        add(&text, "%s\n", lines[k]);
        end_kernel(&text, "b32", 4);
        assert_int_equal(ptxvm_create(NULL, &vm), PTXVM_OK);
        ptxvm_status status = ptxvm_module_load(vm, text.at, text.used, &module);
        if (status != PTXVM_ERROR_UNSUPPORTED) fail_msg("status %d: %s", (int)status, lines[k]);
        assert_non_null(strstr(ptxvm_error(vm), "line "));
        ptxvm_destroy(vm);
    }
}

/* -- Models ----------------------------------------------------------------------------------------------------------
 */

// As published (MMA-Sim, FTTN): products summed at once, bits kept, mantissa of the result; in between, the older sm's.
static void models_are_as_published(void **state) {
    static const struct accumulate_model published[] = {
        {ACCUMULATE_HALF, 80, 8, 24, 23, false},         {ACCUMULATE_HALF, 89, 8, 24, 23, false},
        {ACCUMULATE_HALF, 90, 16, 25, 23, false},        {ACCUMULATE_HALF, 120, 16, 25, 23, false},
        {ACCUMULATE_TF32, 86, 4, 24, 23, false},         {ACCUMULATE_TF32, 90, 8, 25, 23, false},
        {ACCUMULATE_FP8, 89, 16, 13, 13, false},         {ACCUMULATE_FP8, 90, 16, 25, 23, true},
        {ACCUMULATE_FP8, 120, 32, 25, 23, false},        {ACCUMULATE_WGMMA_FP8, 90, 32, 13, 13, false},
        {ACCUMULATE_SCALED_FP8, 120, 32, 25, 23, false}, {ACCUMULATE_SCALED_FP4, 120, 64, 35, 23, false}};
    (void)state;
    for (size_t k = 0; k < sizeof published / sizeof published[0]; k++) {
        const struct accumulate_model *model = accumulate_model(published[k].klass, published[k].sm);
        assert_int_equal(model->chunk, published[k].chunk);
        assert_int_equal(model->bits, published[k].bits);
        assert_int_equal(model->mantissa, published[k].mantissa);
        assert_int_equal(model->unpacked, published[k].unpacked);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_as_published),     cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(floats_follow_the_model),     cmocka_unit_test(floats_are_near_float64),
        cmocka_unit_test(specials_follow_ieee),        cmocka_unit_test(doubles_are_near),
        cmocka_unit_test(unknown_products_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
