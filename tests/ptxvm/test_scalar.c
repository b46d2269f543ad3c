// test_scalar: scalar instructions that the H100's probes leave open: .approx within PTX's bounds against long double,
// conversions and packed forms of sm_100 and later, bit fields by their definition, loads and stores of all widths,
// atomics of a whole warp, special registers and addresses, and forms that must be refused.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"
#include "ptxvm.h"

/* -- One warp --------------------------------------------------------------------------------------------------------
 */

enum { LANES = 32, TEXT_BYTES = 8192 };
typedef uint64_t values[LANES];

static uint32_t bits_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static float float_of(uint64_t lane) {
    uint32_t bits = (uint32_t)lane;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

struct run {
    ptxvm *vm;
    ptxvm_module *module;
    ptxvm_status status;
    unsigned findings; /* bit per kind */
};

static void note_finding(void *user, const struct ptxvm_finding *finding) {
    *(unsigned *)user |= 1u << finding->kind;
}

// Loads and runs `text` (entry "probe") with one warp; parameters: addresses of `in` and `out` (LANES x 32 bytes each).
static void launch(struct run *run, const char *text, uint64_t in[LANES][4], void *out) {
    struct ptxvm_options options = {
        .size = sizeof options, .checks = PTXVM_CHECK_ALL, .finding = note_finding, .user = &run->findings};
    uint64_t parameters[2];
    ptxvm_kernel *kernel;
    enum { BYTES = LANES * 32 };
    run->findings = 0;
    assert_int_equal(ptxvm_create(&options, &run->vm), PTXVM_OK);
    run->status = ptxvm_module_load(run->vm, text, strlen(text), &run->module);
    if (run->status != PTXVM_OK) fail_msg("%s in %s", ptxvm_error(run->vm), text);
    assert_int_equal(ptxvm_module_kernel(run->module, "probe", &kernel), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(run->vm, BYTES, &parameters[0]), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(run->vm, BYTES, &parameters[1]), PTXVM_OK);
    assert_int_equal(ptxvm_write(run->vm, parameters[0], in, BYTES), PTXVM_OK);
    assert_int_equal(ptxvm_set(run->vm, parameters[1], 0, BYTES), PTXVM_OK);
    struct ptxvm_launch shape = {.grid = {1, 1, 1}, .block = {LANES, 1, 1}, .parameters = parameters};
    run->status = ptxvm_run(run->vm, kernel, &shape);
    assert_int_equal(ptxvm_read(run->vm, out, parameters[1], BYTES), PTXVM_OK);
    ptxvm_module_unload(run->module);
    ptxvm_destroy(run->vm);
}

static const char head[] = ".version 8.7\n.target sm_120a\n.address_size 64\n";

// The instruction on up to 4 sources per lane; registers as in probe.h.
static void execute(const char *letters, const char *instruction, uint64_t in[LANES][4], values result) {
    char text[TEXT_BYTES];
    uint64_t out[LANES * 4];
    struct run run;
    strcpy(text, head);
    probe_text(text + strlen(text), "probe", letters, instruction);
    launch(&run, text, in, out);
    assert_int_equal(run.status, PTXVM_OK);
    memcpy(result, out, sizeof(values));
}

/* -- .approx: within the bounds of the PTX ISA -----------------------------------------------------------------------
 */

struct bound {
    const char *instruction;
    long double (*function)(long double);
    float least, greatest;
    double relative, absolute; /* either may be reached */
};

static long double inverse(long double v) {
    return 1.0L / v;
}
static long double inverse_root(long double v) {
    return 1.0L / sqrtl(v);
}

static const struct bound bounds[] = {
    {"ex2.approx.f32 d, a;", exp2l, -125.0f, 127.0f, 0x1p-22, 0},
    {"ex2.approx.ftz.f32 d, a;", exp2l, -125.0f, 127.0f, 0x1p-22, 0},
    {"lg2.approx.f32 d, a;", log2l, 0.5f, 2.0f, 0, 0x1p-22},
    {"lg2.approx.f32 d, a;", log2l, 2.0f, 1e30f, 0x1p-22, 0},
    {"sin.approx.f32 d, a;", sinl, -6.28f, 6.28f, 0, 0x1p-20},
    {"cos.approx.ftz.f32 d, a;", cosl, -6.28f, 6.28f, 0, 0x1p-20},
    {"tanh.approx.f32 d, a;", tanhl, -10.0f, 10.0f, 0x1p-11, 0},
    {"rcp.approx.f32 d, a;", inverse, 0.001f, 1e6f, 0x1p-23, 0},
    {"sqrt.approx.f32 d, a;", sqrtl, 0.0f, 1e9f, 0x1p-22, 0},
    {"rsqrt.approx.ftz.f32 d, a;", inverse_root, 0.001f, 1e6f, 0x1p-22, 0},
};

static void approximations_keep_their_bounds(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof bounds / sizeof bounds[0]; k++) {
        const struct bound *b = &bounds[k];
        for (int round = 0; round < 40; round++) {
            uint64_t in[LANES][4] = {0};
            values result;
            for (int l = 0; l < LANES; l++) {
                float at = b->least + (b->greatest - b->least) * (float)(round * LANES + l) / (40.0f * LANES);
                in[l][0] = bits_of(at);
            }
            execute("ff", b->instruction, in, result);
            for (int l = 0; l < LANES; l++) {
                long double exact = b->function((long double)float_of(in[l][0]));
                long double error = fabsl((long double)float_of(result[l]) - exact);
                if (error > b->relative * fabsl(exact) + b->absolute)
                    fail_msg("%s of %g gives %g", b->instruction, (double)float_of(in[l][0]),
                             (double)float_of(result[l]));
            }
        }
    }
}

// Source and result as bits: special values of the ISA's tables.
static const struct {
    const char *instruction;
    uint32_t source, result;
} specials[] = {
    {"ex2.approx.f32 d, a;", 0xff800000, 0x00000000},
    {"ex2.approx.f32 d, a;", 0x80000000, 0x3f800000},
    {"ex2.approx.f32 d, a;", 0x7f800000, 0x7f800000},
    {"ex2.approx.f32 d, a;", 0xc3140000, 0x00000002},
    {"ex2.approx.ftz.f32 d, a;", 0xc3140000, 0x00000000},
    {"ex2.approx.ftz.f32 d, a;", 0xc2fc0000, 0x00800000},
    {"lg2.approx.f32 d, a;", 0x80000000, 0xff800000},
    {"lg2.approx.f32 d, a;", 0xbf800000, 0x7fffffff},
    {"lg2.approx.f32 d, a;", 0x00400000, 0xc2fe0000},
    {"lg2.approx.ftz.f32 d, a;", 0x00400000, 0xff800000},
    {"rcp.approx.f32 d, a;", 0x80000000, 0xff800000},
    {"rcp.approx.ftz.f32 d, a;", 0x807fffff, 0xff800000},
    {"rsqrt.approx.f32 d, a;", 0x80000000, 0xff800000},
    {"rsqrt.approx.f32 d, a;", 0xbf800000, 0x7fffffff},
    {"sqrt.approx.f32 d, a;", 0x80000000, 0x80000000},
    {"sin.approx.f32 d, a;", 0x7f800000, 0x7fffffff},
    {"cos.approx.ftz.f32 d, a;", 0x00000001, 0x3f800000},
    {"sin.approx.ftz.f32 d, a;", 0x80000001, 0x80000000},
    {"tanh.approx.f32 d, a;", 0xff800000, 0xbf800000},
    {"tanh.approx.f32 d, a;", 0x7fc00000, 0x7fffffff},
    {"div.approx.f32 d, a, 0f7f000001;", 0x3f800000, 0},
    {"div.approx.f32 d, a, 0f7f000001;", 0x7f800000, 0x7fffffff},
    {"div.full.f32 d, a, 0f7f000000;", 0x7f000000, 0x3f800000},
};

static void approximations_of_special_values(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof specials / sizeof specials[0]; k++) {
        uint64_t in[LANES][4] = {0};
        values result;
        for (int l = 0; l < LANES; l++) in[l][0] = specials[k].source;
        execute("ff", specials[k].instruction, in, result);
        if (result[7] != specials[k].result)
            fail_msg("%s of %08x gives %08x", specials[k].instruction, specials[k].source, (uint32_t)result[7]);
    }
}

/* -- Forms of sm_100 and later, by values worked by hand --------------------------------------------------------------
 */

struct example {
    const char *letters, *instruction;
    uint64_t a, b, c, result;
};
#define F(v) UINT64_C(0x##v)

static const struct example examples[] = {
    // e2m1: 0 .5 1 1.5 2 3 4 6 are codes 0..7. a is the upper half.
    {"hff", "{ .reg .b8 y; cvt.rn.satfinite.e2m1x2.f32 y, a, b; mov.b16 d, {y, 0}; }", F(40a00000) /* 5 */,
     F(c0200000) /* -2.5 */, 0, 0x6c},
    {"hff", "{ .reg .b8 y; cvt.rn.satfinite.e2m1x2.f32 y, a, b; mov.b16 d, {y, 0}; }", F(7fc00000), F(ff800000), 0,
     0x7f},
    {"hff", "{ .reg .b8 y; cvt.rn.satfinite.relu.e2m1x2.f32 y, a, b; mov.b16 d, {y, 0}; }", F(3e800001), F(c0200000), 0,
     0x10},
    {"rh", "{ .reg .b8 y, z; mov.b16 {y, z}, a; cvt.rn.f16x2.e2m1x2 d, y; }", 0x5f9e, 0, 0, F(b800c400)},
    {"hr", "{ .reg .b8 y; cvt.rn.satfinite.e2m1x2.f16x2 y, a; mov.b16 d, {y, 0}; }", F(4500c100), 0, 0, 0x6c},
    {"hff", "cvt.rn.satfinite.e2m3x2.f32 d, a, b;", F(40f40000) /* 7.625 */, F(bf900000) /* -1.125 */, 0, 0x1f29},
    {"hff", "cvt.rn.satfinite.e3m2x2.f32 d, a, b;", F(41e80000) /* 29 */, F(3d000000) /* 2^-5 */, 0, 0x1f00},
    {"rh", "cvt.rn.f16x2.e2m3x2 d, a;", 0x1f21, 0, 0, F(47800000) | 0xb000},
    {"rh", "cvt.rn.f16x2.e3m2x2 d, a;", 0x3f01, 0, 0, F(cf000000) | 0x2c00},
    {"hff", "cvt.rp.satfinite.ue8m0x2.f32 d, a, b;", F(3f800001), F(7f800000), 0, 0x80fe},
    {"hff", "cvt.rz.ue8m0x2.f32 d, a, b;", F(40e00000), F(7f800000), 0, 0x81ff},
    {"hr", "cvt.rp.ue8m0x2.bf16x2 d, a;", F(3f814000), 0, 0, 0x8080},
    {"rh", "cvt.rn.bf16x2.ue8m0x2 d, a;", 0x7f00, 0, 0, F(3f800040)},
    // Two floats in 64 bits: each rounded by itself.
    {"ddd", "add.rn.f32x2 d, a, b;", F(3f80000040000000), F(3f80000040400000), 0, F(4000000040a00000)},
    {"dddd", "fma.rz.f32x2 d, a, b, c;", F(3f80000040000000), F(3f80000040400000), F(33800000b3800000),
     F(3f80000040bfffff)},
    {"ddd", "mul.rn.ftz.f32x2 d, a, b;", F(0080000040000000), F(3f00000040400000), 0, F(0000000040c00000)},
    // Factors of 16 bits, the rest f32.
    {"fhhf", "fma.rn.f32.f16 d, a, b, c;", 0x6408 /* 1032 */, 0xb000 /* -1/8 */, F(42c80000) /* 100 */, F(c1e80000)},
    {"fhhf", "fma.rn.f32.bf16 d, a, b, c;", 0x3fc0 /* 1.5 */, 0x4040 /* 3 */, F(3f800000), F(40b00000) /* 5.5 */},
    // Three operands.
    {"ffff", "max.f32 d, a, b, c;", F(3f800000), F(7fc00000), F(40000000), F(40000000)},
    {"ffff", "max.NaN.f32 d, a, b, c;", F(3f800000), F(7fc00000), F(40000000), F(7fffffff)},
    {"ffff", "min.abs.f32 d, a, b, c;", F(bf800000), F(40000000), F(c0400000), F(3f800000)},
    // Integers at their limits.
    {"rrr", "div.s32 d, a, b;", 0x80000000, 0xffffffff, 0, 0x80000000},
    {"rrr", "rem.s32 d, a, b;", 0x80000000, 0xffffffff, 0, 0},
    {"ddd", "div.s64 d, a, b;", UINT64_C(1) << 63, UINT64_MAX, 0, UINT64_C(1) << 63},
    {"rrrr", "cvt.pack.sat.u4.s32.b32 d, a, b, c;", 20, 0xffffffff, 0x00abcdef, 0xabcdeff0},
    // Extended precision over three words.
    {"rrr", "{ .reg .b32 x; add.cc.u32 x, a, b; addc.cc.u32 x, 0xffffffff, 0; addc.u32 d, 0, 0; }", 0xffffffff, 1, 0,
     1},
    // A negated predicate, a pair, a sink.
    {"rrr", "{ .reg .pred p, q; setp.eq.s32 p|q, a, b; @!q mov.b32 d, 1; @q mov.b32 d, 2; }", 5, 5, 0, 1},
    {"rrr", "{ .reg .pred q; setp.eq.s32 _|q, a, b; selp.b32 d, 3, 4, q; }", 5, 5, 0, 4},
    {"dh", "{ .reg .b16 x; mov.b64 d, {a, a, a, 0x7}; mov.b64 {_, x, _, _}, d; mov.b64 d, {x, 0, 0, a}; }", 0x1234, 0,
     0, F(1234000000001234)},
    // 16-bit registers extend to their own width.
    {"hr", "cvt.s8.s32 d, a;", 0x80, 0, 0, 0xff80},
    {"dr", "cvt.s64.s32 d, a;", 0x80000000, 0, 0, F(ffffffff80000000)},
    {"dr", "cvt.u64.s32 d, a;", 0x80000000, 0, 0, F(ffffffff80000000)},
    {"dr", "cvt.s64.u32 d, a;", 0x80000000, 0, 0, F(80000000)},
};

static void examples_give_their_results(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof examples / sizeof examples[0]; k++) {
        const struct example *e = &examples[k];
        uint64_t in[LANES][4];
        values result;
        for (int l = 0; l < LANES; l++) in[l][0] = e->a, in[l][1] = e->b, in[l][2] = e->c, in[l][3] = 0;
        execute(e->letters, e->instruction, in, result);
        for (int l = 0; l < LANES; l++)
            if (result[l] != e->result) fail_msg("%s gives %llx", e->instruction, (unsigned long long)result[l]);
    }
}

/* -- Bit fields, bit by bit as PTX defines them -----------------------------------------------------------------------
 */

static uint64_t defined_bfe(uint64_t a, unsigned position, unsigned length, unsigned top, int is_signed) {
    unsigned last = position + length - 1 < top ? position + length - 1 : top;
    uint64_t sign = is_signed && length != 0 ? a >> last & 1 : 0, d = 0;
    for (unsigned k = 0; k <= top; k++) d |= (k < length && position + k <= top ? a >> (position + k) & 1 : sign) << k;
    return d;
}

static uint64_t defined_bfi(uint64_t a, uint64_t b, unsigned position, unsigned length, unsigned top) {
    for (unsigned k = 0; k < length && position + k <= top; k++)
        b = (b & ~(UINT64_C(1) << (position + k))) | (a >> k & 1) << (position + k);
    return b;
}

static void bit_fields_follow_their_definition(void **state) {
    (void)state;
    static const unsigned counts[] = {0, 1, 5, 31, 32, 33, 63, 64, 65, 255};
    uint64_t seed = 1;
    for (size_t p = 0; p < sizeof counts / sizeof counts[0]; p++)
        for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
            uint64_t in[LANES][4];
            values u, s, i, s32;
            for (int l = 0; l < LANES; l++) {
                in[l][0] = probe_random(&seed), in[l][1] = counts[p], in[l][2] = counts[n];
                in[l][3] = 0;
            }
            execute("ddrr", "bfe.u64 d, a, b, c;", in, u);
            execute("ddrr", "bfe.s64 d, a, b, c;", in, s);
            execute("rrrr", "bfe.s32 d, a, b, c;", in, s32);
            execute("ddrr", "bfi.b64 d, a, 0x123456789abcdef, b, c;", in, i);
            for (int l = 0; l < LANES; l++) {
                uint64_t a = in[l][0];
                assert_int_equal(u[l], defined_bfe(a, counts[p], counts[n], 63, 0));
                assert_int_equal(s[l], defined_bfe(a, counts[p], counts[n], 63, 1));
                assert_int_equal(s32[l], defined_bfe(a & 0xffffffff, counts[p], counts[n], 31, 1));
                assert_int_equal(i[l], defined_bfi(a, UINT64_C(0x123456789abcdef), counts[p], counts[n], 63));
            }
        }
}

/* -- Loads, stores, atomics -------------------------------------------------------------------------------------------
 */

// A kernel whose body has %tid.x in t, addresses of the lane's 32 bytes of input and output in i and o, and shared
// memory s; out: 32 bytes per lane.
static void run_body(const char *body, uint64_t in[LANES][4], uint64_t out[LANES][4], struct run *run) {
    char text[TEXT_BYTES];
    snprintf(text, sizeof text,
             "%s.visible .entry probe(.param .u64 in, .param .u64 out) {\n"
             ".reg .b32 t, r<8>; .reg .b64 i, o, q<8>; .reg .f32 f<8>; .reg .b16 h<8>; .reg .pred p;\n"
             ".shared .align 16 .b8 s[1024];\n"
             "mov.u32 t, %%tid.x; mul.wide.u32 q0, t, 32; ld.param.u64 i, [in]; add.u64 i, i, q0;\n"
             "ld.param.u64 o, [out]; add.u64 o, o, q0;\n%s\nret;\n}\n",
             head, body);
    launch(run, text, in, out);
}

static void fill(uint64_t in[LANES][4]) {
    uint64_t seed = 9;
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < 4; k++) in[l][k] = probe_random(&seed);
}

static const char *const copies[] = {
    "ld.global.v4.u64 {q1, q2, q3, q4}, [i]; st.global.v4.u64 [o], {q1, q2, q3, q4};",
    "createpolicy.fractional.L2::evict_first.b64 q7, 1.0; ld.global.L2::cache_hint.u32 r0, [i], q7;"
    "ld.global.nc.L1::no_allocate.L2::128B.v2.b64 {q1, q2}, [i]; st.global.wt.v2.b64 [o], {q1, q2};"
    "ld.v4.u32 {r0, r1, r2, r3}, [i+16]; st.v4.b32 [o+16], {r0, r1, r2, r3};",
    "ld.global.v8.f32 {f0, f1, f2, f3, f4, f5, f6, f7}, [i]; st.global.v8.f32 [o], {f0, f1, f2, f3, f4, f5, f6, f7};",
    "{ .reg .b128 w; ld.global.b128 w, [i]; st.global.b128 [o], w; ld.global.b128 w, [i+16]; mov.b128 {q1, q2}, w;"
    "mov.b128 w, {q1, q2}; st.global.b128 [o+16], w; }",
    "ld.volatile.global.u64 q1, [i]; st.volatile.global.u64 [o], q1; ld.relaxed.gpu.global.u64 q1, [i+8];"
    "st.relaxed.sys.global.u64 [o+8], q1; ld.acquire.cta.global.u64 q1, [i+16]; st.release.gpu.global.u64 [o+16], q1;"
    "ld.global.v4.u16 {h0, h1, h2, h3}, [i+24]; st.global.v4.u16 [o+24], {h0, h1, h2, h3};",
    "{ .local .align 16 .b8 l[32]; ld.global.v2.u64 {q1, q2}, [i]; st.local.v2.u64 [l], {q1, q2}; ld.local.u64 q3, [l];"
    "ld.local.u64 q4, [l+8]; st.global.v2.u64 [o], {q3, q4}; mov.u64 q5, l; cvta.local.u64 q5, q5; ld.global.u64 q1, "
    "[i+16];"
    "st.u64 [q5+16], q1; ld.u64 q1, [q5+16]; st.global.u64 [o+16], q1; ld.global.v4.u8 {r0, r1, r2, r3}, [i+24];"
    "st.global.v4.u8 [o+24], {r0, r1, r2, r3}; ld.global.b32 r0, [i+28]; st.global.b32 [o+28], r0; }",
    "{ mov.u32 r4, s; shl.b32 r5, t, 5; add.u32 r4, r4, r5; ld.global.v2.u64 {q1, q2}, [i]; st.shared.v2.u64 [r4], "
    "{q1, q2};"
    "ld.global.v2.u64 {q1, q2}, [i+16]; st.shared.v2.u64 [r4+16], {q1, q2}; cvt.u64.u32 q5, r4; cvta.shared.u64 q5, q5;"
    "ld.v2.u64 {q1, q2}, [q5]; st.global.v2.u64 [o], {q1, q2}; ld.shared.v4.f32 {f0, f1, f2, f3}, [r4+16];"
    "st.global.v4.f32 [o+16], {f0, f1, f2, f3}; }",
    "{ .reg .b16 z; ld.global.b8 z, [i]; st.global.b8 [o], z; ld.global.v2.s8 {h1, h2}, [i+2]; st.global.v2.s8 [o+2], "
    "{h1, h2};"
    "ld.global.u8 q1, [i+1]; st.global.u8 [o+1], q1; ld.global.s16 q1, [i+4]; st.global.b16 [o+4], q1; ld.global.u16 "
    "r1, [i+6];"
    "st.global.u16 [o+6], r1; ld.global.u64 q1, [i+8]; st.global.u32 [o+8], q1; shr.u64 q1, q1, 32; st.global.u32 "
    "[o+12], q1;"
    "ld.global.v2.u64 {_, q2}, [i+16]; st.global.u64 [o+24], q2; ld.global.v2.u64 {q2, _}, [i+16]; st.global.u64 "
    "[o+16], q2; }",
};

static void loads_and_stores_move_bytes(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof copies / sizeof copies[0]; k++) {
        uint64_t in[LANES][4], out[LANES][4];
        struct run run;
        fill(in);
        run_body(copies[k], in, out, &run);
        if (run.status != PTXVM_OK || memcmp(in, out, sizeof in) != 0)
            fail_msg("copy %zu: status %d, findings %x", k, (int)run.status, run.findings);
    }
}

static void loads_extend_by_their_type(void **state) {
    (void)state;
    uint64_t in[LANES][4], out[LANES][4];
    struct run run;
    fill(in);
    run_body("ld.global.s8 q1, [i]; st.global.u64 [o], q1; ld.global.s16 r1, [i]; cvt.u64.u32 q1, r1; st.global.u64 "
             "[o+8], q1;"
             "ld.global.s32 q1, [i]; st.global.u64 [o+16], q1; ld.global.u8 q1, [i]; st.global.u64 [o+24], q1;"
             "ld.global.s8 h1, [i]; ld.global.u32 r1, [i]; cvt.s8.u32 h2, r1; setp.ne.u16 p, h1, h2; @p trap;",
             in, out, &run);
    assert_int_equal(run.status, PTXVM_OK);
    for (int l = 0; l < LANES; l++) {
        assert_int_equal(out[l][0], (uint64_t)(int8_t)in[l][0]);
        assert_int_equal(out[l][1], (uint32_t)(int16_t)in[l][0]);
        assert_int_equal(out[l][2], (uint64_t)(int32_t)in[l][0]);
        assert_int_equal(out[l][3], (uint8_t)in[l][0]);
    }
}

// All lanes on one address: each sees another old value, and the sum of all is there at the end.
static void atomics_of_a_warp(void **state) {
    (void)state;
    uint64_t in[LANES][4], out[LANES][4];
    struct run run;
    fill(in);
    run_body(
        "setp.eq.u32 p, t, 0; @p st.shared.u32 [s], 100; bar.sync 0; add.u32 r1, t, 1; atom.shared.add.u32 r2, [s], r1;"
        "bar.sync 0; ld.shared.u32 r3, [s]; st.global.v2.u32 [o], {r2, r3};"
        "{ .reg .b64 b; mov.u64 b, s; cvta.shared.u64 b, b; red.max.s32 [b], t; atom.and.b32 r4, [b], 0xff0; }"
        "bar.sync 0; ld.shared.u32 r3, [s]; st.global.u32 [o+8], r3;"
        "@p st.shared.u32 [s+4], 30; bar.sync 0; atom.shared::cta.inc.u32 r5, [s+4], 40; st.global.u32 [o+16], r5;",
        in, out, &run);
    assert_int_equal(run.status, PTXVM_OK);
    uint32_t seen = 0, wrapped = 0;
    for (int l = 0; l < LANES; l++) {
        uint32_t old = (uint32_t)out[l][0];
        assert_int_equal(out[l][0] >> 32, 100 + 32 * 33 / 2);
        assert_int_equal(out[l][1], (100 + 32 * 33 / 2) & 0xff0);
        assert_true(old >= 100 && old < 100 + 32 * 33 / 2);
        if (old == 100) seen++;
        if (out[l][2] == 40) wrapped++;
        assert_true(out[l][2] <= 40);
    }
    assert_int_equal(seen, 1);
    assert_int_equal(wrapped, 1);
}

static void vector_atomics(void **state) {
    (void)state;
    uint64_t in[LANES][4], out[LANES][4];
    struct run run;
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < 4; k++) in[l][k] = F(3f80000040000000); /* 2, 1 as floats */
    run_body("ld.global.v4.f32 {f0, f1, f2, f3}, [i]; st.global.v4.f32 [o], {f0, f1, f2, f3};"
             "red.global.add.v4.f32 [o], {f0, f1, f2, f3}; atom.global.v2.f32.add {f4, f5}, [o], {f0, f1};"
             "st.global.v2.f32 [o+16], {f4, f5}; st.global.u64 [o+24], 0x3c00400044004800;"
             "mov.b16 h0, 0x3c00; mov.b16 h1, 0x4200; red.global.max.noftz.v2.f16 [o+24], {h0, h1};",
             in, out, &run);
    assert_int_equal(run.status, PTXVM_OK);
    for (int l = 0; l < LANES; l++) {
        assert_int_equal(out[l][0], F(4040000040c00000)); /* 6, 3 */
        assert_int_equal(out[l][1], F(4000000040800000)); /* 4, 2 */
        assert_int_equal(out[l][2], F(4000000040800000));
        assert_int_equal(out[l][3], F(3c00400044004800));
    }
}

static void bad_accesses_are_found(void **state) {
    (void)state;
    static const struct {
        const char *body;
        enum ptxvm_finding_kind kind;
    } bad[] = {{"ld.global.v2.u32 {r0, r1}, [i+4];", PTXVM_FINDING_MISALIGNED},
               {"ld.global.u32 r0, [i+1024];", PTXVM_FINDING_OUT_OF_BOUNDS},
               {"st.shared.u32 [s+1024], t;", PTXVM_FINDING_OUT_OF_BOUNDS},
               {"ld.shared.u32 r0, [s];", PTXVM_FINDING_UNINITIALISED},
               {"cvta.to.shared.u64 q1, i; ld.shared.u32 r0, [q1];", PTXVM_FINDING_OUT_OF_BOUNDS},
               {"atom.global.add.u64 q1, [i+4], 1;", PTXVM_FINDING_MISALIGNED},
               {"ld.param.u32 r0, [in+16];", PTXVM_FINDING_OUT_OF_BOUNDS}};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        uint64_t in[LANES][4] = {0}, out[LANES][4];
        struct run run;
        run_body(bad[k].body, in, out, &run);
        if (run.status != PTXVM_ERROR_FAULT || (run.findings >> bad[k].kind & 1u) == 0)
            fail_msg("%s: status %d, findings %x", bad[k].body, (int)run.status, run.findings);
    }
}

/* -- Special registers, addresses ------------------------------------------------------------------------------------
 */

static void special_registers_and_addresses(void **state) {
    (void)state;
    uint64_t in[LANES][4] = {0}, out[LANES][4];
    struct run run;
    run_body(
        "mov.u32 r0, %laneid; mov.u32 r1, %lanemask_lt; st.global.v2.u32 [o], {r0, r1};"
        "mov.u64 q1, %clock64; add.u32 r2, r0, r1; mov.u64 q2, %clock64; sub.u64 q1, q2, q1; st.global.u64 [o+8], q1;"
        "mov.u32 r3, s; getctarank.shared::cluster.u32 r4, r3; mapa.shared::cluster.u32 r5, r3, 0; setp.eq.u32 p, r3, "
        "r5;"
        "selp.u32 r6, 1, 0, p; or.b32 r6, r6, r4; st.global.u32 [o+16], r6;"
        "mov.u32 r7, 0; mov.u64 q3, s; cvta.shared.u64 q3, q3; isspacep.shared p, q3; @p or.b32 r7, r7, 1; "
        "isspacep.global p, q3;"
        "@p or.b32 r7, r7, 2; isspacep.global p, o; @p or.b32 r7, r7, 4; isspacep.shared::cluster p, o; @p or.b32 r7, "
        "r7, 8;"
        "cvta.to.shared.u64 q3, q3; mov.u64 q4, s; setp.eq.u64 p, q3, q4; @p or.b32 r7, r7, 16; st.global.u32 [o+20], "
        "r7;"
        "mov.u64 q5, in; cvta.param.u64 q5, q5; ld.u64 q6, [q5+8]; sub.u64 q6, o, q6; st.global.u64 [o+24], q6;",
        in, out, &run);
    assert_int_equal(run.status, PTXVM_OK);
    for (uint32_t l = 0; l < LANES; l++) {
        assert_int_equal(out[l][0], l | (uint64_t)((1u << l) - 1) << 32);
        assert_true(out[l][1] < 1000); /* the clock may stand still within a turn of the warp */
        assert_int_equal(out[l][2], 1 | UINT64_C(21) << 32);
        assert_int_equal(out[l][3], 32 * l);
    }
}

/* -- Refusals --------------------------------------------------------------------------------------------------------
 */

// Registers: b32 r, b64 q, b16 h, f32 f, f64 g, pred p; each line is a form that PTX does not have, or the machine does
// not.
static const char *const refused[] = {
    "add.ftz.s32 r, r, r;",
    "add.sat.u32 r, r, r;",
    "add.cc.u16 h, h, h;",
    "mul.s32 r, r, r;",
    "mul.wide.s64 q, q, q;",
    "mad.lo.sat.s32 r, r, r, r;",
    "div.f32 f, f, f;",
    "div.rn.sat.f32 f, f, f;",
    "fma.f32 f, f, f, f;",
    "fma.rn.relu.f32 f, f, f, f;",
    "fma.rz.f32.f16 f, h, h, f;",
    "fma.rn.f16.f32 h, f, f, h;",
    "mad.f32 f, f, f, f;",
    "rcp.f32 f, f;",
    "ex2.f32 f, f;",
    "ex2.rn.f32 f, f;",
    "tanh.approx.ftz.f32 f, f;",
    "sqrt.rna.f32 f, f;",
    "add.rz.f16 h, h, h;",
    "add.ftz.bf16 h, h, h;",
    "abs.u32 r, r;",
    "neg.u32 r, r;",
    "min.sat.f32 f, f, f;",
    "min.abs.f32 f, f, f;",
    "and.s32 r, r, r;",
    "and.b32 r, r, p;",
    "popc.u32 r, r;",
    "popc.b64 q, q;",
    "shl.s32 r, r, r;",
    "shl.b32 r, r, q;",
    "shf.l.b32 r, r, r, r;",
    "shf.l.clamp.b64 q, q, q, r;",
    "lop3.b32 r, r, r, r, 256;",
    "lop3.b32 r, r, r, r, r;",
    "bfe.b32 r, r, r, r;",
    "bfi.u32 r, r, r, r, r;",
    "prmt.b64 q, q, q, r;",
    "prmt.b32.x r, r, r, r;",
    "setp.lo.s32 p, r, r;",
    "setp.lt.b32 p, r, r;",
    "setp.eq.ftz.s32 p, r, r;",
    "setp.equ.s32 p, r, r;",
    "setp.s32 p, r, r;",
    "setp.eq.and.s32 p, r, r;",
    "selp.pred p, p, p, p;",
    "selp.b32 r, r, r, r;",
    "mov.f16 h, h;",
    "mov.b32 r, q;",
    "mov.b32 {h, h, h}, r;",
    "mov.b64 q, {r, h};",
    "mov.s32 {h, h}, r;",
    "cvt.s32.f32 r, f;",
    "cvt.rn.s32.f32 r, f;",
    "cvt.f32.s32 f, r;",
    "cvt.f16.f32 h, f;",
    "cvt.rni.f32.f64 f, g;",
    "cvt.rna.f32.f64 f, g;",
    "cvt.rn.s32.s32 r, r;",
    "cvt.rn.satfinite.f32.f64 f, g;",
    "cvt.rn.e4m3x2.f32 h, f, f;",
    "cvt.rz.satfinite.e4m3x2.f32 h, f, f;",
    "cvt.rn.satfinite.e4m3x2.f32 r, f, f;",
    "cvt.rn.ue8m0x2.f32 h, f, f;",
    "cvt.rs.f16x2.f32 r, f, f, r;",
    "cvt.rn.f16x2.f32 r, f;",
    "cvt.rn.satfinite.f16x2.e4m3x2 r, h;",
    "cvt.pack.u16.s32 r, r, r;",
    "cvta.shared.u32 r, r;",
    "cvta.u64 q, q;",
    "ld.global.v3.f32 {f, f, f}, [q];",
    "ld.global.v2.f32 f, [q];",
    "ld.global.f16 h, [q];",
    "ld.global.u32 h, [q];",
    "ld.global.v8.u64 {q, q, q, q, q, q, q, q}, [q];",
    "ld.global.u32 r, [q], q;",
    "ld.global.foo.u32 r, [q];",
    "st.const.u32 [q], r;",
    "st.global.u64 [q], r;",
    "st.global.u32 [h], r;",
    "st.shared.v2.u32 [r], {r};",
    "ldu.shared.u32 r, [q];",
    "atom.global.min.f32 f, [q], f;",
    "atom.global.add.f16 h, [q], h;",
    "atom.global.add.noftz.f32 f, [q], f;",
    "atom.global.inc.s32 r, [q], r;",
    "atom.global.cas.b32 r, [q], r;",
    "atom.local.add.u32 r, [q], r;",
    "atom.shared.v2.f32.add {f, f}, [r], {f, f};",
    "red.global.exch.b32 [q], r;",
    "red.global.max.noftz.f16 [q], h;",
    "red.global.add.u32 r, [q], r;",
    "isspacep.u64 p, q;",
    "testp.f32 p, f;",
    "testp.zero.f32 p, f;",
    "copysign.f16 h, h, h;",
    "slct.s32.u32 r, r, r, r;",
    "dp4a.u32 r, r, r, r;",
    "dp2a.u32.u32 r, r, r, r;",
    "bfind.b32 r, r;",
    "szext.s32 r, r, r;",
    "mul24.s32 r, r, r;",
    "prefetch.global.L3 [q];",
    "applypriority.global.L2::evict_normal [q], 64;",
    "discard.global.L2 [q];",
    "add.s32 r, r;",
    "add.s32 r, r, r, r;",
    "add.s32 r, q, r;",
    "add.f32 f, f, 1;",
    "add.s32 r, r, 0f3f800000;",
    "and.b16 h, h, 65536;",
};

static void unknown_forms_are_refused(void **state) {
    (void)state;
    struct ptxvm_options options = {.size = sizeof options};
    ptxvm *vm;
    assert_int_equal(ptxvm_create(&options, &vm), PTXVM_OK);
    for (size_t k = 0; k < sizeof refused / sizeof refused[0]; k++) {
        char text[1024];
        ptxvm_module *module = NULL;
        int bytes =
            snprintf(text, sizeof text,
                     "%s.visible .entry probe() {\n.reg .b32 r; .reg .b64 q; .reg .b16 h; .reg .f32 f; .reg .f64 g;"
                     " .reg .pred p;\n%s\nret;\n}\n",
                     head, refused[k]);
        ptxvm_status status = ptxvm_module_load(vm, text, (size_t)bytes, &module);
        if (status == PTXVM_OK) fail_msg("taken: %s", refused[k]);
        if (status != PTXVM_ERROR_UNSUPPORTED) fail_msg("%s: %s", refused[k], ptxvm_error(vm));
        if (strstr(ptxvm_error(vm), "line 6") == NULL) fail_msg("no line: %s", ptxvm_error(vm));
    }
    ptxvm_destroy(vm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(approximations_keep_their_bounds),
        cmocka_unit_test(approximations_of_special_values),
        cmocka_unit_test(examples_give_their_results),
        cmocka_unit_test(bit_fields_follow_their_definition),
        cmocka_unit_test(loads_and_stores_move_bytes),
        cmocka_unit_test(loads_extend_by_their_type),
        cmocka_unit_test(atomics_of_a_warp),
        cmocka_unit_test(vector_atomics),
        cmocka_unit_test(bad_accesses_are_found),
        cmocka_unit_test(special_registers_and_addresses),
        cmocka_unit_test(unknown_forms_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
