// test_warp: exchange within a warp: shfl in all modes, vote, redux, match, elect, masks of tiles, lanes in different
// branches; and the counters of memory accesses. Expected values are written down from the ISA's definitions, lane by
// lane. SPDX-License-Identifier: Apache-2.0
#include "exec.h"

static uint32_t expected[OUT_WORDS_MAX];

/* -- shfl ---------------------------------------------------------------------------------------------------------- */

// Runs one form: out[lane] = value | in range << 16, where each lane gives lane * 3 + 1.
static void check_shfl(const char *mode, const char *amount, unsigned clamp, int (*source)(int lane)) {
    char body[512];
    snprintf(body, sizeof body,
             "mad.lo.u32 %%r20, %%r2, 3, 1; shfl.sync.%s.b32 %%r21|%%p1, %%r20, %s, %u, 0xffffffff;\n"
             "selp.u32 %%r22, 65536, 0, %%p1; or.b32 %%r21, %%r21, %%r22; st.global.u32 [%%d5], %%r21;",
             mode, amount, clamp);
    struct exec_case c = {.block = 32, .body = body};
    for (int lane = 0; lane < 32; lane++) {
        int from = source(lane);
        expected[lane] = from >= 0 ? (uint32_t)(from * 3 + 1) | 65536u : (uint32_t)(lane * 3 + 1);
    }
    exec_expect(&c, expected);
}

static int xor5(int lane) {
    return lane ^ 5;
}
static int up3(int lane) {
    return lane - 3;
}
static int down9(int lane) {
    return lane + 9 <= 31 ? lane + 9 : -1;
}
static int idx7(int lane) {
    return (void)lane, 7;
}
static int own_amount(int lane) {
    return lane;
}
static int down3_of_8(int lane) {
    return lane % 8 + 3 <= 7 ? lane + 3 : -1;
}
static int up5_of_16(int lane) {
    return lane % 16 >= 5 ? lane - 5 : -1;
}
static int idx2_of_4(int lane) {
    return lane / 4 * 4 + 2;
}
static int xor20_of_16(int lane) {
    return (lane ^ 20) / 16 <= lane / 16 ? (lane ^ 20) : -1;
}

static void shuffles(void **state) {
    (void)state;
    check_shfl("bfly", "5", 31, xor5);
    check_shfl("up", "3", 0, up3);
    check_shfl("down", "9", 31, down9);
    check_shfl("idx", "7", 31, idx7);
    check_shfl("idx", "%r2", 31, own_amount);
    check_shfl("down", "3", 24 << 8 | 31, down3_of_8);
    check_shfl("up", "5", 16 << 8, up5_of_16);
    check_shfl("idx", "2", 28 << 8 | 31, idx2_of_4);
    check_shfl("bfly", "20", 16 << 8 | 31, xor20_of_16);
}

// Eight tiles of four lanes, each with a mask of its own, in one instruction.
static void tiles_of_a_warp(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 64,
        .body = "and.b32 %r20, %r2, 28; mov.u32 %r21, 15; shl.b32 %r21, %r21, %r20;\n"
                "redux.sync.add.u32 %r22, %r1, %r21; setp.gt.u32 %p1, %r2, 14; vote.sync.ballot.b32 %r23, %p1, %r21;\n"
                "vote.sync.any.pred %p2, %p1, %r21; selp.u32 %r24, 1000000, 0, %p2;\n"
                "shfl.sync.bfly.b32 %r25, %r1, 1, 0x1c1f, %r21; popc.b32 %r23, %r23; mad.lo.u32 %r22, %r22, 10, %r23;\n"
                "add.u32 %r22, %r22, %r24; mad.lo.u32 %r22, %r25, 10000, %r22; st.global.u32 [%d5], %r22;"};
    for (uint32_t t = 0; t < 64; t++) {
        uint32_t first = t / 4 * 4, lane = t % 32 / 4 * 4, above = lane > 14 ? 4 : lane + 3 > 14 ? 1 : 0;
        expected[t] = (4 * first + 6) * 10 + above + (above ? 1000000 : 0) + (t ^ 1) * 10000;
    }
    exec_expect(&c, expected);
}

// Half of the lanes come late to the same instruction: the loop's first passes differ in length.
static void lanes_come_late(void **state) {
    (void)state;
    struct exec_case c = {.block = 32,
                          .body =
                              "mov.u32 %r20, 0; setp.lt.u32 %p1, %r2, 16; @%p1 bra LATE; bra MEET;\n"
                              "LATE: add.u32 %r20, %r20, 1; setp.lt.u32 %p2, %r20, 50; @%p2 bra LATE;\n"
                              "MEET: shfl.sync.bfly.b32 %r21, %r20, 16, 31, 0xffffffff; st.global.u32 [%d5], %r21;"};
    for (uint32_t t = 0; t < 32; t++) expected[t] = t < 16 ? 0 : 50;
    exec_expect(&c, expected);
}

/* -- vote, redux, match, elect ------------------------------------------------------------------------------------- */

static void votes(void **state) {
    (void)state;
    struct exec_case c = {.block = 64,
                          .body = "setp.lt.u32 %p1, %r1, 40; vote.sync.all.pred %p2, %p1, 0xffffffff; "
                                  "vote.sync.any.pred %p3, %p1, 0xffffffff;\n"
                                  "vote.sync.uni.pred %p4, %p1, 0xffffffff; vote.sync.all.pred %p5, !%p1, 0xffffffff; "
                                  "vote.sync.ballot.b32 %r20, !%p1, 0xffffffff;\n"
                                  "selp.u32 %r21, 1, 0, %p2; selp.u32 %r22, 2, 0, %p3; or.b32 %r21, %r21, %r22; "
                                  "selp.u32 %r22, 4, 0, %p4; or.b32 %r21, %r21, %r22;\n"
                                  "selp.u32 %r22, 8, 0, %p5; or.b32 %r21, %r21, %r22; shl.b32 %r20, %r20, 4; or.b32 "
                                  "%r20, %r20, %r21; st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 64; t++) expected[t] = t < 32 ? 1 | 2 | 4 : (0xffffff00u << 4 | 2);
    exec_expect(&c, expected);
}

static void reductions(void **state) {
    (void)state;
    struct exec_case c = {
        .target = "sm_100a",

        .block = 32,
        .out_words = 320,
        .body = "mad.lo.u32 %r20, %r2, 7, 4294967200;\n" /* -96, -89, ... */
                "redux.sync.add.s32 %r21, %r20, 0xffffffff; st.global.u32 [%d5], %r21; redux.sync.min.s32 %r21, %r20, "
                "0xffffffff; st.global.u32 [%d5+128], %r21;\n"
                "redux.sync.max.s32 %r21, %r20, 0xffffffff; st.global.u32 [%d5+256], %r21; redux.sync.min.u32 %r21, "
                "%r20, 0xffffffff; st.global.u32 [%d5+384], %r21;\n"
                "redux.sync.max.u32 %r21, %r20, 0xffffffff; st.global.u32 [%d5+512], %r21; redux.sync.and.b32 %r21, "
                "%r20, 0xffffffff; st.global.u32 [%d5+640], %r21;\n"
                "redux.sync.or.b32 %r21, %r2, 0xffffffff; st.global.u32 [%d5+768], %r21; redux.sync.xor.b32 %r21, "
                "%r20, 0xffffffff; st.global.u32 [%d5+896], %r21;\n"
                "cvt.rn.f32.s32 %f1, %r20; redux.sync.min.f32 %f2, %f1, 0xffffffff; st.global.f32 [%d5+1024], %f2;\n"
                "setp.eq.u32 %p1, %r2, 3; selp.f32 %f1, 0f7fc00001, %f1, %p1; redux.sync.max.abs.f32 %f2, %f1, "
                "0xffffffff; st.global.f32 [%d5+1152], %f2;"};
    uint32_t all = 0xffffffffu, x = 0;
    for (uint32_t l = 0; l < 32; l++) {
        uint32_t v = (uint32_t)((int)(7 * l) - 96);
        all &= v;
        x ^= v;
    }
    for (uint32_t l = 0; l < 32; l++) {
        float low = -96.0f, magnitude = 121.0f; /* of 7 * 31 - 96 */
        const uint32_t values[] = {(uint32_t)(7 * 31 * 16 - 96 * 32), (uint32_t)-96, 121, 2, (uint32_t)-5, all, 31, x};
        for (int k = 0; k < 8; k++) expected[32 * k + (int)l] = values[k];
        memcpy(&expected[256 + l], &low, 4);
        memcpy(&expected[288 + l], &magnitude, 4);
    }
    exec_expect(&c, expected);
}

static void matches_and_elections(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 32,
        .out_words = 128,
        .body = "and.b32 %r20, %r2, 3; match.any.sync.b32 %r21, %r20, 0xffffffff; st.global.u32 [%d5], %r21;\n"
                "setp.lt.u32 %p1, %r2, 8; selp.b64 %d6, 0x100000000, 0, %p1; match.any.sync.b64 %r21, %d6, 0xffffffff; "
                "st.global.u32 [%d5+128], %r21;\n"
                "match.all.sync.b32 %r21|%p2, %r20, 0xffffffff; selp.u32 %r22, 1, 0, %p2; match.all.sync.b32 %r23|%p3, "
                "5, 0xffffffff; selp.u32 %r24, 2, 0, %p3;\n"
                "add.u32 %r22, %r22, %r24; popc.b32 %r23, %r23; mad.lo.u32 %r22, %r23, 10, %r22; popc.b32 %r21, %r21; "
                "mad.lo.u32 %r22, %r21, 1000, %r22; st.global.u32 [%d5+256], %r22;\n"
                "elect.sync %r21|%p4, 0xffffffff; selp.u32 %r22, 1, 0, %p4; redux.sync.add.u32 %r23, %r22, 0xffffffff; "
                "mad.lo.u32 %r23, %r21, 100, %r23; st.global.u32 [%d5+384], %r23;"};
    for (uint32_t l = 0; l < 32; l++) {
        expected[l] = 0x11111111u << l % 4;
        expected[32 + l] = l < 8 ? 0xff : 0xffffff00u;
        expected[64 + l] = 32 * 10 + 2;
        expected[96 + l] = 1; /* one lane, and hardware names the lowest */
    }
    exec_expect(&c, expected);
}

/* -- Counters ------------------------------------------------------------------------------------------------------ */

static struct ptxvm_site sites[64];
static unsigned site_count;

static void keep_sites(ptxvm_kernel *kernel) {
    site_count = 0;
    for (unsigned k = 0; k < ptxvm_kernel_sites(kernel) && site_count < 64; k++) {
        struct ptxvm_site site;
        ptxvm_kernel_site(kernel, k, &site);
        bool memory = site.klass == PTXVM_CLASS_SHARED || site.klass == PTXVM_CLASS_GLOBAL;
        if (memory) sites[site_count++] = site;
    }
}

static void memory_counters(void **state) {
    (void)state;
    static uint32_t out[4096];
    struct exec_case c = {
        .block = 32,
        .counts = true,
        .out_words = 4096,
        .out = out,
        .body =
            "st.shared.u32 [%r12], %r1;\n"                                                 /* one word each: 1 */
            "shl.b32 %r20, %r2, 3; add.u32 %r20, %r20, %r10; st.shared.u32 [%r20], %r1;\n" /* stride 2: 2 */
            "shl.b32 %r21, %r2, 7; add.u32 %r21, %r21, %r10; st.shared.u32 [%r21], %r1;\n" /* stride 32: 32 */
            "ld.shared.u32 %r22, [smem];\n"                                                /* broadcast: 1 */
            "st.shared.v2.u32 [%r20], {%r1, %r1};\n"                                       /* 8 bytes: 2, ideal 2 */
            "shl.b32 %r23, %r2, 4; add.u32 %r23, %r23, %r10; st.shared.v4.u32 [%r23], {%r1, %r1, %r1, %r1};\n" /* 4,
                                                                                                                  ideal
                                                                                                                  4 */
            "shl.b32 %r24, %r2, 8; add.u32 %r24, %r24, %r10; st.shared.v4.u32 [%r24], {%r1, %r1, %r1, %r1};\n" /* 8
                                                                                                                  lanes
                                                                                                                  in the
                                                                                                                  same
                                                                                                                  banks:
                                                                                                                  32 */
            "st.shared.u16 [%r12], %h1;\n"                                                                     /* 1 */
            "ld.global.u32 %r25, [%d4];\n"                                                   /* 4 sectors */
            "mul.wide.u32 %d6, %r2, 64; add.u64 %d6, %d6, %d1; ld.global.u32 %r26, [%d6];\n" /* 32 */
            "mul.wide.u32 %d7, %r2, 16; add.u64 %d7, %d7, %d2; st.global.v4.u32 [%d7], {%r1, %r1, %r1, %r1};\n" /* 16 */
            "setp.eq.u32 %p1, %r2, 4; @%p1 ld.global.u32 %r27, [%d1+28];"};                                     /* 1 */
    static const struct {
        unsigned wavefronts, ideal, sectors, bytes;
    } rows[] = {{1, 1, 0, 128},  {2, 1, 0, 128}, {32, 1, 0, 128}, {1, 1, 0, 128},  {2, 2, 0, 256},  {4, 4, 0, 512},
                {32, 4, 0, 512}, {1, 1, 0, 64},  {0, 0, 4, 128},  {0, 0, 32, 128}, {0, 0, 16, 512}, {0, 0, 1, 4}};
    assert_int_equal(exec_seed(&c, 3, keep_sites), PTXVM_OK);
    assert_int_equal(site_count, 12);
    for (unsigned k = 0; k < 12; k++) {
        assert_int_equal(sites[k].wavefronts, rows[k].wavefronts);
        assert_int_equal(sites[k].wavefronts_ideal, rows[k].ideal);
        assert_int_equal(sites[k].sectors, rows[k].sectors);
        assert_int_equal(sites[k].bytes, rows[k].bytes);
        assert_int_equal(sites[k].warp_executions, 1);
        assert_int_equal(sites[k].lane_executions, k == 11 ? 1 : 32);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffles),        cmocka_unit_test(tiles_of_a_warp), cmocka_unit_test(lanes_come_late),
        cmocka_unit_test(votes),           cmocka_unit_test(reductions),      cmocka_unit_test(matches_and_elections),
        cmocka_unit_test(memory_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
