// probe: one-instruction kernels and their inputs, the same for the PTX machine and for a GPU. A probe is a line of
// scalar_h100.txt: the class of its inputs, a letter per register (destination first), and the instruction's text.
// SPDX-License-Identifier: Apache-2.0
#ifndef PROBE_H
#define PROBE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { PROBE_THREADS = 2048, PROBE_BLOCK = 128, PROBE_SOURCES = 4, PROBE_TEXT_MAX = 4096 };

/* -- Inputs ----------------------------------------------------------------------------------------------------------
 */

// splitmix64: any start gives good bits.
static inline uint64_t probe_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

// Values at which instructions turn: zeros, subnormals, limits of integers, overflow of narrower formats, NaN payloads.
static const uint32_t probe_edges32[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000,
    0x3f800000, 0xbf800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001,
    0xffc01234, 0x7fffffff, 0x3f000000, 0x40200000, 0xc0200000, 0x4effffff, 0x4f000000, 0xcf000000,
    0x4f800000, 0x5f000000, 0xdf000000, 0x5f800000, 0x3effffff, 0xbf7fffff, 0x34000000, 0x7e800001,
    0xfe800001, 0x7f000001, 0x477fefff, 0x477ff000, 0x387fc000, 0x33000000, 0x33000001, 0xc2fc0000,
    0x43000000, 0xc3150000, 0x43e00000, 0x43e80000, 0x43e80001, 0x3a800000, 0x3b000000};
static const uint32_t probe_edges16[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x8400,
                                         0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x7c01,
                                         0xfe12, 0x7fff, 0x3800, 0x4100, 0xc100, 0x5bff, 0x7800};
static const uint64_t probe_edges64[] = {
    0x0000000000000000, 0x8000000000000000, 0x0000000000000001, 0x8000000000000001, 0x000fffffffffffff,
    0x0010000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7fefffffffffffff, 0xffefffffffffffff,
    0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 0xfff8123456789abc,
    0x3fe0000000000000, 0x4004000000000000, 0xc004000000000000, 0x41dfffffffc00000, 0x41e0000000000000,
    0xc1e0000000000000, 0x41f0000000000000, 0x43e0000000000000, 0xc3e0000000000000, 0x43f0000000000000,
    0x40effdffffffffff, 0x40effe0000000000, 0x47efffffe0000000, 0x47effffff0000000, 0x36a0000000000000,
    0x3690000000000000, 0x3690000000000001, 0x3fefffffffffffff, 0x380fffffffffffff, 0x3810000000000000,
    0x3800000000000001};
static const uint64_t probe_edges_integer[] = {0,
                                               1,
                                               2,
                                               3,
                                               7,
                                               8,
                                               15,
                                               16,
                                               31,
                                               32,
                                               33,
                                               63,
                                               64,
                                               65,
                                               127,
                                               128,
                                               255,
                                               256,
                                               0x7fff,
                                               0x8000,
                                               0xffff,
                                               0x10000,
                                               0x7fffffff,
                                               0x80000000,
                                               0xffffffff,
                                               0x100000000,
                                               0x7fffffffffffffff,
                                               0x8000000000000000,
                                               0xffffffffffffffff,
                                               0xfffffffffffffffe,
                                               0xffffffffffffff80,
                                               0xffffffffffffff7f,
                                               0xffffffffffff8000,
                                               0xffffffffffff7fff,
                                               0x0020000000000001,
                                               0x01000001,
                                               0x4000002000000001,
                                               0x01ffffff,
                                               0xfffffffffffffbff,
                                               0xfffffffffffffc00};
#define PROBE_EDGE(list, r) list[(r) % (sizeof list / sizeof list[0])]

// A float of moderate size: exponent within 2^-6 .. 2^34 about one, or a half-integer, or subnormal, or any bits.
static inline uint64_t probe_f32(uint64_t *s) {
    uint64_t kind = probe_random(s) % 20, r = probe_random(s);
    if (kind < 5) return PROBE_EDGE(probe_edges32, r);
    if (kind < 10) return (r & 0x807fffff) | (121 + (r >> 32) % 41) << 23;
    float half = (float)((int)((r >> 8) % 8001) - 4000) / 2;
    uint32_t bits;
    memcpy(&bits, &half, sizeof bits);
    if (kind < 14) return bits;
    return kind < 16 ? r & 0x807fffff : r & 0xffffffff;
}

static inline uint64_t probe_f64(uint64_t *s) {
    uint64_t kind = probe_random(s) % 20, r = probe_random(s), sign_mantissa = r & UINT64_C(0x800fffffffffffff);
    if (kind < 5) return PROBE_EDGE(probe_edges64, r);
    if (kind < 10) return sign_mantissa | (1017 + probe_random(s) % 73) << 52;
    if (kind < 12) return sign_mantissa | (863 + probe_random(s) % 291) << 52;
    double half = (double)((int)((r >> 8) % 8001) - 4000) / 2;
    uint64_t bits;
    memcpy(&bits, &half, sizeof bits);
    return kind < 16 ? bits : r;
}

// Two halves; those of bf16 are upper halves of f32 edges.
static inline uint64_t probe_half(uint64_t *s, int brain) {
    uint64_t kind = probe_random(s) % 10, r = probe_random(s);
    uint64_t edge = brain ? PROBE_EDGE(probe_edges32, r) >> 16 : PROBE_EDGE(probe_edges16, r);
    if (kind < 3) return edge;
    return kind < 7 ? r & 0xffff : (r & 0x8fff) | 0x3000;
}

static inline uint64_t probe_integer(uint64_t *s) {
    uint64_t kind = probe_random(s) % 10, r = probe_random(s);
    if (kind < 4) return PROBE_EDGE(probe_edges_integer, r);
    if (kind < 6) return r >> probe_random(s) % 64;
    return kind < 7 ? 0 - (r >> (24 + probe_random(s) % 40)) : r;
}

// Input k of thread n. Classes: f32 f64 f16 bf16 int, and fns (mask, position, small offset).
static inline uint64_t probe_input(const char *klass, unsigned n, unsigned k) {
    uint64_t state = n * UINT64_C(4) + k;
    for (const char *c = klass; *c != 0; c++) state = state * 131 + (unsigned char)*c;
    if (strcmp(klass, "f32") == 0) return probe_f32(&state);
    if (strcmp(klass, "f64") == 0) return probe_f64(&state);
    if (strcmp(klass, "f16") == 0 || strcmp(klass, "bf16") == 0) {
        uint64_t low = probe_half(&state, *klass == 'b');
        return low | probe_half(&state, *klass == 'b') << 16;
    }
    if (strcmp(klass, "fns") != 0) return probe_integer(&state);
    uint64_t r = probe_random(&state);
    return k == 0 ? r & 0xffffffff : k == 1 ? r % 32 : (r % 17 - 8) & 0xffffffff;
}

// FNV-1a over the results as bytes, least significant first.
static inline uint64_t probe_digest(const uint64_t *result) {
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (unsigned k = 0; k < PROBE_THREADS * 8u; k++)
        digest = (digest ^ (result[k / 8] >> (8 * (k % 8)) & 0xff)) * UINT64_C(0x100000001b3);
    return digest;
}

/* -- Text ------------------------------------------------------------------------------------------------------------
 */

#define PROBE_HEAD ".version 8.3\n.target sm_90\n.address_size 64\n"

// Registers by letter: h r d: 16, 32, 64 bits; f g: f32, f64; p: predicate (as destination).
static inline const char *probe_type(char letter) {
    switch (letter) {
    case 'h':
        return "b16";
    case 'r':
        return "b32";
    case 'd':
        return "b64";
    case 'f':
        return "f32";
    case 'g':
        return "f64";
    default:
        return "pred";
    }
}

static inline const char *probe_load(char letter) { /* from %q1 */
    switch (letter) {
    case 'h':
        return "cvt.u16.u64 %c, q1;";
    case 'r':
        return "cvt.u32.u64 %c, q1;";
    case 'f':
        return "cvt.u32.u64 r1, q1; mov.b32 %c, r1;";
    default:
        return "mov.b64 %c, q1;";
    }
}

static inline const char *probe_store(char letter) { /* to %q1 */
    switch (letter) {
    case 'h':
        return "cvt.u64.u16 q1, d;";
    case 'r':
        return "cvt.u64.u32 q1, d;";
    case 'f':
        return "mov.b32 r1, d; cvt.u64.u32 q1, r1;";
    case 'p':
        return "selp.u64 q1, 1, 0, d;";
    default:
        return "mov.b64 q1, d;";
    }
}

// Kernel `name` to text (PROBE_TEXT_MAX bytes): reads 4 u64 per thread at `in`, writes one at `out`. Registers d, a, b,
// c, e.
static inline size_t probe_text(char *text, const char *name, const char *letters, const char *instruction) {
    static const char names[] = "dabce";
    size_t at = (size_t)snprintf(text, PROBE_TEXT_MAX,
                                 ".visible .entry %s(.param .u64 in, .param .u64 out) {\n"
                                 ".reg .b64 q<4>; .reg .b32 r<4>;\n",
                                 name);
#define PROBE_ADD(...) at += (size_t)snprintf(text + at, PROBE_TEXT_MAX - at, __VA_ARGS__)
    for (size_t k = 0; k < strlen(letters); k++) PROBE_ADD(".reg .%s %c;\n", probe_type(letters[k]), names[k]);
    PROBE_ADD("mov.u32 r1, %%ctaid.x; mov.u32 r2, %%ntid.x; mov.u32 r3, %%tid.x; mad.lo.u32 r0, r1, r2, r3;\n"
              "ld.param.u64 q0, [in]; mul.wide.u32 q1, r0, 32; add.u64 q0, q0, q1;\n"
              "ld.param.u64 q2, [out]; mul.wide.u32 q1, r0, 8; add.u64 q2, q2, q1;\n");
    for (size_t k = 1; k < strlen(letters); k++) {
        PROBE_ADD("ld.global.u64 q1, [q0+%zu]; ", 8 * (k - 1));
        at += (size_t)snprintf(text + at, PROBE_TEXT_MAX - at, probe_load(letters[k]), names[k]);
    }
    PROBE_ADD("\n%s\n%s st.global.u64 [q2], q1; ret;\n}\n", instruction, probe_store(letters[0]));
#undef PROBE_ADD
    return at;
}

#endif
