// test_wgmma: wgmma as kernels of one warpgroup: operands stored into shared memory by address functions written here
// from CUTLASS's canonical layouts (all swizzles, K-major and MN-major), or packed into registers by the ISA's tables;
// small integers are exact, so every misplaced element shows. Then the rules of asynchronous use, each broken once.
// SPDX-License-Identifier: Apache-2.0
#include "kernels.h"

#include <math.h>

#include "formats.h"
#include "layouts.h"

/* -- Types -----------------------------------------------------------------------------------------------------------
 */

struct type {
    const char *name;
    unsigned bits;
    enum format format;
};
static const struct type f16 = {"f16", 16, FORMAT_F16}, bf16 = {"bf16", 16, FORMAT_BF16},
                         tf32 = {"tf32", 32, FORMAT_TF32}, e4m3 = {"e4m3", 8, FORMAT_E4M3},
                         e5m2 = {"e5m2", 8, FORMAT_E5M2}, s8 = {"s8", 8, 0}, u8 = {"u8", 8, 0};

static bool is_integer(const struct type *t) {
    return t->name[1] == '8';
}

static double value_of(const struct type *t, uint32_t code) {
    if (!is_integer(t)) return (double)narrow_decode(t->format, code);
    return t->name[0] == 's' ? (double)(int8_t)code : (double)code;
}

static uint32_t random_code(const struct type *t, uint64_t *random) {
    static const int values[] = {-2, -1, 0, 1, 2};
    if (is_integer(t)) return random_bits(random) & 255;
    uint32_t code = narrow_encode(t->format, values[random_bits(random) % 5], ROUND_NEAREST, 0);
    return t->bits == 32 ? code << 13 : code;
}

/* -- A matrix in shared memory ---------------------------------------------------------------------------------------
 */

// Where element (row, k) is: rows of A or columns of B. CUTLASS, make_gmma_desc: canonical layouts, T = 16 bytes:
//   K-major   none ((8,m),(T,2)):((1T,SBO),(1,LBO))            swizzled ((8,m),(T,2)):((sT,SBO),(1,T)), s = 2, 4, 8
//   MN-major  none ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO))        swizzled ((T,s,m),(8,k)):((1,T,LBO),(sT,SBO))
// and on the byte address Swizzle<B,4,3>: bits 4.. ^= bits 7.., B of them: 1, 2, 3 for 32, 64, 128 bytes.
struct image {
    unsigned rows, k, bytes; /* bytes of an element */
    unsigned swizzle;        /* 0, 32, 64, 128 */
    bool mn_major;
    uint32_t start, leading, stride;
};

// k of the whole matrix; its size in shared memory is returned.
static uint32_t lay_out(struct image *m, uint32_t start) {
    uint32_t row_bytes = m->k * m->bytes;
    m->start = start;
    if (!m->mn_major && m->swizzle == 0) {
        m->leading = 128;
        m->stride = row_bytes / 16 * 128;
    } else if (!m->mn_major) {
        m->leading = 16;
        m->stride = 8 * m->swizzle;
    } else if (m->swizzle == 0) {
        m->stride = 128;
        m->leading = m->rows / 8 * 128;
    } else {
        m->stride = 8 * m->swizzle;
        m->leading = m->k / 8 * m->stride;
    }
    uint32_t bytes = m->rows * (m->swizzle > row_bytes && !m->mn_major ? m->swizzle : row_bytes);
    uint32_t group = m->swizzle / m->bytes;
    if (m->mn_major && m->swizzle != 0) bytes = (m->rows + group - 1) / group * m->leading;
    return (bytes + 1023) / 1024 * 1024;
}

static uint32_t place(const struct image *m, unsigned row, unsigned k) {
    uint32_t at = m->start, T = 16 / m->bytes, s = m->swizzle / 16;
    if (!m->mn_major && s == 0)
        at += row % 8 * 16 + row / 8 * m->stride + k % T * m->bytes + k / T * m->leading;
    else if (!m->mn_major)
        at += row % 8 * m->swizzle + row / 8 * m->stride + k * m->bytes;
    else if (s == 0)
        at += row % T * m->bytes + row / T * m->stride + k % 8 * 16 + k / 8 * m->leading;
    else
        at += row % T * m->bytes + row / T % s * 16 + row / T / s * m->leading + k % 8 * m->swizzle + k / 8 * m->stride;
    static const uint32_t swizzle_bits[] = {0, 1, 3, 0, 7}; /* by swizzle / 32 */
    return at ^ (at >> 7 & swizzle_bits[m->swizzle / 32]) << 4;
}

// Descriptor less the start address, and how far the start moves for the k-th product of 32 bytes along k.
static uint64_t descriptor(const struct image *m) {
    uint64_t mode = m->swizzle == 128 ? 1 : m->swizzle == 64 ? 2 : m->swizzle == 32 ? 3 : 0;
    return (uint64_t)(m->leading / 16) << 16 | (uint64_t)(m->stride / 16) << 32 | mode << 62;
}

static uint32_t step_bytes(const struct image *m) {
    if (!m->mn_major) return m->swizzle == 0 ? 2 * m->leading : 32;
    return 2 * (m->swizzle == 0 ? m->leading : m->stride);
}

/* -- One product -----------------------------------------------------------------------------------------------------
 */

enum { ROWS = 64, MOST_N = 256, MOST_K = 128, SMEM = 96 * 1024, BASE = 1024 /* shared memory starts here */ };

enum bug {
    BUG_NONE,
    BUG_NO_WAIT,
    BUG_NO_FENCE,
    BUG_WRITES_A,
    BUG_OVERWRITES_B,
    BUG_NO_PROXY_FENCE,
    BUG_LATE_WRITE,
    BUG_OVERWRITES_A
};

struct product {
    const struct type *a, *b;
    const char *d; /* "f32", "f16", "s32" */
    unsigned n, steps;
    bool a_in_registers, negate_a, negate_b, overwrite; /* overwrite: scale-d false in the first product */
    unsigned swizzle_a, swizzle_b;
    bool mn_a, mn_b, saturate;
    enum bug bug;
    uint64_t seed;
};

struct data {
    uint32_t a[ROWS][MOST_K], b[MOST_K][MOST_N];
    double c[ROWS][MOST_N];
    struct image image_a, image_b;
    uint8_t shared[SMEM];
};

static unsigned element_count(const struct product *p) { /* k of all steps */
    return p->steps * 256 / p->a->bits;
}

static unsigned words_d(const struct product *p) {
    return p->n / (p->d[1] == '1' ? 4 : 2);
}

static uint32_t image_bytes(const struct product *p, struct data *data) {
    unsigned k = element_count(p);
    data->image_a = (struct image){ROWS, k, p->a->bits / 8, p->swizzle_a, p->mn_a, 0, 0, 0};
    data->image_b = (struct image){p->n, k, p->b->bits / 8, p->swizzle_b, p->mn_b, 0, 0, 0};
    uint32_t bytes = p->a_in_registers ? 0 : lay_out(&data->image_a, BASE);
    return bytes + lay_out(&data->image_b, BASE + bytes);
}

static void store(uint8_t *shared, const struct image *m, unsigned row, unsigned k, uint32_t code) {
    memcpy(shared + place(m, row, k) - BASE, &code, m->bytes);
}

static void fill(const struct product *p, struct data *data) {
    uint64_t random = p->seed + 77;
    for (unsigned k = 0; k < element_count(p); k++) {
        for (unsigned m = 0; m < ROWS; m++) {
            data->a[m][k] = random_code(p->a, &random);
            if (!p->a_in_registers) store(data->shared, &data->image_a, m, k, data->a[m][k]);
        }
        for (unsigned n = 0; n < p->n; n++) {
            data->b[k][n] = random_code(p->b, &random);
            store(data->shared, &data->image_b, n, k, data->b[k][n]);
        }
    }
    for (unsigned m = 0; m < ROWS; m++)
        for (unsigned n = 0; n < p->n; n++) {
            int value = (int)(random_bits(&random) % 17) - 8;
            data->c[m][n] = p->saturate && n == 0 ? (m % 2 ? 2147483647.0 : -2147483648.0) : value;
        }
}

static uint32_t encode(const struct product *p, double value) {
    if (p->d[0] == 's') return (uint32_t)(int32_t)value;
    return p->d[1] == '1' ? float_to_f16((float)value) : float_bits((float)value);
}

// Registers of a thread: D, then 4 of A per step.
static void pack(const struct product *p, const struct data *data, unsigned thread, uint32_t *in) {
    unsigned g = thread % 32 / 4, t = thread % 4, first = thread / 32 * 16, bits = p->d[1] == '1' ? 16 : 32;
    for (unsigned i = 0; i < p->n / 2; i++) {
        struct cell at = wgmma_d(g, t, i);
        in[i * bits / 32] |= encode(p, data->c[first + at.row][at.col]) << i * bits % 32;
    }
    static const char *const shapes[] = {"m16n8k32", "m16n8k16", NULL, "m16n8k8"}; /* by bits / 8 - 1 */
    const struct layout *l = layout_of(shapes[p->a->bits / 8 - 1], p->a->bits);
    for (unsigned step = 0; p->a_in_registers && step < p->steps; step++)
        for (unsigned i = 0; i < l->count_a; i++) {
            struct cell at = l->a(g, t, i);
            in[words_d(p) + 4 * step + i * l->bits / 32] |= data->a[first + at.row][step * l->k + at.col]
                                                            << i * l->bits % 32;
        }
}

/* -- Kernels ---------------------------------------------------------------------------------------------------------
 */

static void write_copy(struct text *t, uint32_t images, uint32_t bytes) {
    add(t, ".reg .b32 %%s, %%v<4>;\n.reg .b64 %%g, %%dx, %%da, %%db;\n.reg .pred %%yes, %%no;\n");
    add(t, "ld.param.u64 %%g, [pin];\nmul.wide.u32 %%x, %%thread, 16;\nadd.s64 %%g, %%g, %%x;\n");
    add(t, "shl.b32 %%s, %%thread, 4;\nmov.u32 %%v0, smem;\nadd.u32 %%s, %%s, %%v0;\n");
    for (uint32_t at = 0; at < bytes; at += 2048) {
        add(t, "ld.global.v4.b32 {%%v0,%%v1,%%v2,%%v3}, [%%g+%u];\n", images + at);
        add(t, "st.shared.v4.b32 [%%s+%u], {%%v0,%%v1,%%v2,%%v3};\n", at);
    }
}

static void write_descriptor(struct text *t, const char *name, const struct image *m, unsigned step) {
    add(t, "mov.u64 %%dx, %llu;\n", (unsigned long long)((m->start + step * step_bytes(m)) / 16));
    add(t, "or.b64 %s, %%dx, %llu;\n", name, (unsigned long long)descriptor(m));
}

static void write_product(struct text *t, const struct product *p, const struct data *data, unsigned step) {
    bool is_float = p->d[0] == 'f', is_half = p->a->bits == 16;
    if (!p->a_in_registers) write_descriptor(t, "%da", &data->image_a, step);
    write_descriptor(t, "%db", &data->image_b, step);
    add(t, "wgmma.mma_async.sync.aligned.m64n%uk%u%s.%s.%s.%s ", p->n, 256 / p->a->bits,
        p->saturate ? ".satfinite" : "", p->d, p->a->name, p->b->name);
    add_vector(t, "in", 0, words_d(p));
    add(t, ", ");
    if (p->a_in_registers)
        add_vector(t, "in", words_d(p) + 4 * step, 4);
    else
        add(t, "%%da");
    add(t, ", %%db, %s", p->overwrite && step == 0 ? "%no" : "%yes");
    if (is_float) add(t, ", %d, %d", p->negate_a ? -1 : 1, p->negate_b ? -1 : 1);
    if (is_half && !p->a_in_registers) add(t, ", %d", p->mn_a);
    if (is_half) add(t, ", %d", p->mn_b);
    add(t, ";\n");
}

static void write_kernel(struct text *t, const struct product *p, const struct data *data, uint32_t bytes) {
    unsigned words = words_d(p), ins = words + (p->a_in_registers ? 4 * p->steps : 0);
    begin_kernel(t, "sm_90a", "b32", ins, words);
    add(t, ".extern .shared .align 1024 .b8 smem[];\n");
    write_copy(t, 128 * ins * 4, bytes);
    add(t, "setp.eq.u32 %%yes, %%thread, %%thread;\nsetp.ne.u32 %%no, %%thread, %%thread;\n");
    if (p->bug != BUG_NO_PROXY_FENCE) add(t, "fence.proxy.async;\n");
    add(t, "bar.sync 0;\n");
    if (p->bug != BUG_NO_FENCE) add(t, "wgmma.fence.sync.aligned;\n");
    if (p->bug == BUG_LATE_WRITE) add(t, "mov.b32 %%in1, 0;\n");
    for (unsigned step = 0; step < p->steps; step++) write_product(t, p, data, step);
    add(t, "wgmma.commit_group.sync.aligned;\n");
    if (p->bug == BUG_NO_WAIT) add(t, "mov.b32 %%out0, %%in0;\n");
    if (p->bug == BUG_WRITES_A) add(t, "mov.b32 %%in%u, 0;\n", words);
    if (p->bug == BUG_OVERWRITES_B) add(t, "st.shared.b32 [%%s+%u], %%thread;\n", data->image_b.start - BASE);
    if (p->bug == BUG_OVERWRITES_A) /* rows of 64 bytes: the warp's own 16 */
        add(t, "shl.b32 %%s, %%thread, 5;\nadd.u32 %%s, %%s, smem;\nst.shared.b32 [%%s], %%thread;\n");
    add(t, "wgmma.wait_group.sync.aligned 0;\n");
    for (unsigned k = 0; k < words; k++) add(t, "mov.b32 %%out%u, %%in%u;\n", k, k);
    end_kernel(t, "b32", words);
}

static struct data *new_data(void) {
    struct data *data = calloc(1, sizeof *data);
    assert_non_null(data);
    return data;
}

// Runs; out[thread][word]. Findings are the caller's business.
static struct run multiply(const struct product *p, struct data *data, uint32_t *out) {
    static struct text text;
    unsigned words = words_d(p), ins = words + (p->a_in_registers ? 4 * p->steps : 0);
    uint32_t bytes = (image_bytes(p, data) + 2047) / 2048 * 2048;
    assert_true(bytes <= SMEM);
    fill(p, data);
    uint8_t *in = calloc(1, 128 * ins * 4 + bytes);
    assert_non_null(in);
    for (unsigned thread = 0; thread < 128; thread++) pack(p, data, thread, (uint32_t *)(void *)in + thread * ins);
    memcpy(in + 128 * ins * 4, data->shared, bytes);
    write_kernel(&text, p, data, bytes);
    struct run r = {.text = text.at,
                    .threads = 128,
                    .smem_bytes = bytes,
                    .in = in,
                    .in_bytes = 128 * ins * 4 + bytes,
                    .out = out,
                    .out_bytes = 128 * words * 4,
                    .seed = p->seed};
    run_kernel(&r);
    free(in);
    return r;
}

static double expected(const struct product *p, const struct data *data, unsigned m, unsigned n) {
    double sum = p->overwrite ? 0.0 : data->c[m][n], sign = p->negate_a != p->negate_b ? -1.0 : 1.0;
    unsigned k_step = 256 / p->a->bits;
    for (unsigned k = 0; k < element_count(p); k++) {
        sum += sign * value_of(p->a, data->a[m][k]) * value_of(p->b, data->b[k][n]);
        if (p->saturate && k % k_step == k_step - 1) sum = fmin(fmax(sum, -2147483648.0), 2147483647.0);
    }
    return sum;
}

static void check(const struct product *p) {
    struct data *data = new_data();
    uint32_t *out = calloc(128 * 128, 4);
    assert_non_null(out);
    struct run r = multiply(p, data, out);
    if (r.findings.all != 0) fail_msg("%s", r.findings.text);
    unsigned bits = p->d[1] == '1' ? 16 : 32;
    for (unsigned thread = 0; thread < 128; thread++)
        for (unsigned i = 0; i < p->n / 2; i++) {
            struct cell at = wgmma_d(thread % 32 / 4, thread % 4, i);
            unsigned m = thread / 32 * 16 + at.row;
            uint32_t got = out[thread * words_d(p) + i * bits / 32] >> i * bits % 32 & (bits == 16 ? 0xffffu : ~0u);
            uint32_t want = encode(p, expected(p, data, m, at.col));
            if (got != want)
                fail_msg("m64n%u %s %s, swizzles %u %u, mn %d %d: [%u][%u] is %x, not %x", p->n, p->a->name, p->b->name,
                         p->swizzle_a, p->swizzle_b, p->mn_a, p->mn_b, m, at.col, got, want);
        }
    free(out);
    free(data);
}

/* -- Numbers ---------------------------------------------------------------------------------------------------------
 */

static void every_swizzle_k_major(void **state) {
    static const unsigned swizzles[] = {0, 32, 64, 128};
    static const struct type *const types[] = {&f16, &e4m3, &s8, &tf32};
    (void)state;
    for (unsigned k = 0; k < 4 * 4 * 4; k++) {
        const struct type *t = types[k % 4];
        struct product p = {.a = t, .b = t, .d = is_integer(t) ? "s32" : "f32", .n = 24, .seed = k};
        p.swizzle_a = swizzles[k / 4 % 4];
        p.swizzle_b = swizzles[k / 16];
        unsigned least = p.swizzle_a < p.swizzle_b ? p.swizzle_a : p.swizzle_b;
        p.steps = least == 0 ? (p.swizzle_a + p.swizzle_b) / 32 : least / 32; /* a swizzled row is the whole of k */
        p.steps = p.steps == 0 ? 3 : p.steps;
        check(&p);
    }
}

static void every_swizzle_mn_major(void **state) {
    static const unsigned swizzles[] = {0, 32, 64, 128};
    (void)state;
    for (unsigned k = 0; k < 4 * 4 * 4; k++) {
        struct product p = {.a = k & 1 ? &bf16 : &f16, .d = "f32", .n = 64, .steps = 1 + k % 2, .seed = k};
        p.b = p.a;
        p.mn_a = k >> 1 & 1;
        p.mn_b = !p.mn_a || (k & 1);
        p.swizzle_a = swizzles[k / 4 % 4];
        p.swizzle_b = swizzles[k / 16];
        if (!p.mn_a && p.swizzle_a != 0) p.steps = p.swizzle_a / 32;
        if (!p.mn_b && p.swizzle_b != 0) p.steps = p.swizzle_b / 32;
        check(&p);
    }
}

static void every_type(void **state) {
    static const struct {
        const struct type *a, *b;
        const char *d;
    } cases[] = {{&f16, &f16, "f32"},   {&f16, &f16, "f16"},   {&bf16, &bf16, "f32"}, {&tf32, &tf32, "f32"},
                 {&e4m3, &e4m3, "f32"}, {&e4m3, &e5m2, "f32"}, {&e5m2, &e4m3, "f16"}, {&e5m2, &e5m2, "f32"},
                 {&s8, &s8, "s32"},     {&s8, &u8, "s32"},     {&u8, &s8, "s32"},     {&u8, &u8, "s32"}};
    static const unsigned ns[] = {8, 16, 128, 256};
    (void)state;
    for (unsigned k = 0; k < 12 * 4; k++) {
        struct product p = {.a = cases[k / 4].a,
                            .b = cases[k / 4].b,
                            .d = cases[k / 4].d,
                            .n = ns[k % 4],
                            .steps = 4,
                            .swizzle_a = 128,
                            .swizzle_b = 128,
                            .a_in_registers = k & 1,
                            .overwrite = k >> 1 & 1,
                            .seed = k};
        p.saturate = p.d[0] == 's' && (k & 2);
        p.negate_a = p.d[0] == 'f' && (k % 3 == 0);
        p.negate_b = p.d[0] == 'f' && (k % 5 == 0);
        check(&p);
    }
}

/* -- Rules of asynchronous use ---------------------------------------------------------------------------------------
 */

static void broken_rules_are_found(void **state) {
    static const struct {
        enum bug bug;
        enum ptxvm_finding_kind kind;
    } cases[] = {{BUG_NO_WAIT, PTXVM_FINDING_IN_FLIGHT},    {BUG_NO_FENCE, PTXVM_FINDING_IN_FLIGHT},
                 {BUG_WRITES_A, PTXVM_FINDING_IN_FLIGHT},   {BUG_OVERWRITES_B, PTXVM_FINDING_RACE},
                 {BUG_NO_PROXY_FENCE, PTXVM_FINDING_PROXY}, {BUG_LATE_WRITE, PTXVM_FINDING_IN_FLIGHT}};
    (void)state;
    struct data *data = new_data();
    uint32_t *out = calloc(128 * 128, 4);
    assert_non_null(out);
    for (unsigned k = 0; k < 6 * 8; k++) {
        struct product p = {.a = &f16,
                            .b = &f16,
                            .d = "f32",
                            .n = 32,
                            .steps = 2,
                            .swizzle_b = 64,
                            .a_in_registers = true,
                            .bug = cases[k / 8].bug,
                            .seed = k};
        struct run r = multiply(&p, data, out);
        if (r.findings.of_kind[cases[k / 8].kind] == 0 || r.findings.of_kind[cases[k / 8].kind] != r.findings.all)
            fail_msg("bug %d, seed %u: %u findings; %s", (int)p.bug, k, r.findings.all, r.findings.text);
    }
    free(out);
    free(data);
}

// Products are computed between commit and wait: if a warp overwrites its own rows of A in between, some seeds give
// wrong numbers and some do not.
static void early_overwrite_gives_wrong_numbers(void **state) {
    (void)state;
    enum { SEEDS = 40 };
    unsigned wrong = 0;
    struct data *data = new_data();
    uint32_t *out = calloc(128 * 128, 4), *right = calloc(128 * 128, 4);
    assert_true(out != NULL && right != NULL);
    for (unsigned k = 0; k < SEEDS; k++) {
        struct product p = {
            .a = &s8, .b = &s8, .d = "s32", .n = 32, .steps = 2, .swizzle_a = 64, .swizzle_b = 64, .seed = k};
        unsigned bytes = 32 * words_d(&p) * 4; /* of one warp */
        assert_int_equal(multiply(&p, data, right).findings.all, 0);
        p.bug = BUG_OVERWRITES_A;
        assert_true(multiply(&p, data, out).findings.of_kind[PTXVM_FINDING_RACE] > 0);
        for (unsigned warp = 0; warp < 4; warp++)
            wrong += memcmp((uint8_t *)out + warp * bytes, (uint8_t *)right + warp * bytes, bytes) != 0;
    }
    assert_true(wrong > SEEDS && wrong < 4 * SEEDS - 10);
    free(out);
    free(right);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_swizzle_k_major),
        cmocka_unit_test(every_swizzle_mn_major),
        cmocka_unit_test(every_type),
        cmocka_unit_test(broken_rules_are_found),
        cmocka_unit_test(early_overwrite_gives_wrong_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
