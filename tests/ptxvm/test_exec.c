// test_exec: how warps run: divergence and reconvergence, barriers, atomics, lanes that wait for lanes, clusters,
// grids; launches that are refused. Results are computed here thread by thread. SPDX-License-Identifier: Apache-2.0
#include "exec.h"

static uint32_t expected[OUT_WORDS_MAX];

/* -- Divergence ---------------------------------------------------------------------------------------------------- */

static void nested_ifs(void **state) {
    (void)state;
    struct exec_case c = {.block = 96,
                          .body = "mov.u32 %r20, 0;\n"
                                  "and.b32 %r21, %r1, 1; setp.eq.u32 %p1, %r21, 0;\n"
                                  "@%p1 bra EVEN;\n"
                                  "setp.lt.u32 %p2, %r2, 10; @!%p2 bra HIGH;\n"
                                  "add.u32 %r20, %r20, 100; bra JOIN_ODD;\n"
                                  "HIGH: add.u32 %r20, %r20, 200;\n"
                                  "JOIN_ODD: add.u32 %r20, %r20, 1000; bra JOIN;\n"
                                  "EVEN: setp.gt.u32 %p3, %r2, 15; @%p3 add.u32 %r20, %r20, 7;\n"
                                  "JOIN: vote.sync.ballot.b32 %r22, %p1, 0xffffffff;\n"
                                  "popc.b32 %r23, %r22; add.u32 %r20, %r20, %r23;\n"
                                  "st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 96; t++) {
        uint32_t lane = t % 32;
        expected[t] = 16 + (t % 2 ? 1000 + (lane < 10 ? 100 : 200) : (lane > 15 ? 7 : 0));
    }
    exec_expect(&c, expected);
}

static void loops_with_trip_counts_of_their_own(void **state) {
    (void)state;
    struct exec_case c = {.block = 64,
                          .body = "mov.u32 %r20, 0; mov.u32 %r21, 0;\n"
                                  "LOOP: add.u32 %r20, %r20, %r21; add.u32 %r21, %r21, 1;\n"
                                  "mov.u32 %r22, 0;\n"
                                  "INNER: add.u32 %r22, %r22, 1; setp.lt.u32 %p2, %r22, %r21; @%p2 bra INNER;\n"
                                  "add.u32 %r20, %r20, %r22;\n"
                                  "setp.le.u32 %p1, %r21, %r2; @%p1 bra LOOP;\n"
                                  "shfl.sync.idx.b32 %r23, %r20, 31, 31, 0xffffffff;\n"
                                  "add.u32 %r20, %r20, %r23; st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 64; t++) {
        uint32_t sum[2] = {0, 0}, lanes[2] = {t % 32, 31};
        for (int which = 0; which < 2; which++)
            for (uint32_t k = 0; k <= lanes[which]; k++) sum[which] += k + (k + 1);
        expected[t] = sum[0] + sum[1];
    }
    exec_expect(&c, expected);
}

static void break_and_continue(void **state) {
    (void)state;
    struct exec_case c = {.block = 32,
                          .body = "mov.u32 %r20, 0; mov.u32 %r21, 0;\n"
                                  "LOOP: add.u32 %r21, %r21, 1;\n"
                                  "setp.gt.u32 %p1, %r21, 40; @%p1 bra OUT;\n"
                                  "rem.u32 %r22, %r21, 3; setp.eq.u32 %p2, %r22, 0; @%p2 bra LOOP;\n"
                                  "add.u32 %r23, %r2, 5; setp.eq.u32 %p3, %r21, %r23; @%p3 bra OUT;\n"
                                  "add.u32 %r20, %r20, %r21; bra LOOP;\n"
                                  "OUT: bar.warp.sync 0xffffffff; st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 32; t++) {
        expected[t] = 0;
        for (uint32_t k = 1; k <= 40; k++) {
            if (k % 3 == 0) continue;
            if (k == t + 5) break;
            expected[t] += k;
        }
    }
    exec_expect(&c, expected);
}

static void early_exit(void **state) {
    (void)state;
    struct exec_case c = {.block = 96,
                          .body = "setp.ge.u32 %p1, %r1, 70; @%p1 exit;\n"
                                  "setp.eq.u32 %p2, %r2, 5; @%p2 ret;\n"
                                  "bar.sync 0;\n"
                                  "activemask.b32 %r20; st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 96; t++) {
        uint32_t mask = t < 64 ? 0xffffffdfu : 0x3fu & ~0x20u;
        expected[t] = t < 70 && t % 32 != 5 ? mask : 0;
    }
    exec_expect(&c, expected);
}

static void switch_by_table(void **state) {
    (void)state;
    struct exec_case c = {.block = 64,
                          .body = "and.b32 %r20, %r2, 3; mov.u32 %r21, 0;\n"
                                  "TABLE: .branchtargets ZERO, ONE, TWO, ONE;\n"
                                  "setp.ne.u32 %p1, %r2, 9; @%p1 brx.idx %r20, TABLE;\n"
                                  "add.u32 %r21, %r21, 5000; bra JOIN;\n"
                                  "ZERO: add.u32 %r21, %r21, 10; bra JOIN;\n"
                                  "ONE: add.u32 %r21, %r21, 20; // falls through\n"
                                  "TWO: add.u32 %r21, %r21, 300;\n"
                                  "JOIN: redux.sync.add.u32 %r22, %r21, 0xffffffff;\n"
                                  "add.u32 %r21, %r21, %r22; st.global.u32 [%d5], %r21;"};
    uint32_t own[32], sum = 0;
    for (uint32_t l = 0; l < 32; l++) sum += own[l] = l == 9 ? 5000 : l % 4 == 0 ? 10 : l % 4 == 2 ? 300 : 320;
    for (uint32_t t = 0; t < 64; t++) expected[t] = own[t % 32] + sum;
    exec_expect(&c, expected);
}

// Recursion of branches as deep as a warp allows: each level sends one lane another way.
static void deep_nesting(void **state) {
    (void)state;
    static char body[8192];
    size_t used = 0;
    used += (size_t)snprintf(body, sizeof body, "mov.u32 %%r20, 0;\n");
    for (unsigned k = 0; k < 31; k++)
        used +=
            (size_t)snprintf(body + used, sizeof body - used,
                             "setp.eq.u32 %%p1, %%r2, %u; @%%p1 bra ELSE%u; add.u32 %%r20, %%r20, %u;\n", k, k, k + 1);
    for (unsigned k = 31; k-- > 0;)
        used += (size_t)snprintf(body + used, sizeof body - used, "add.u32 %%r20, %%r20, 1000; ELSE%u:\n", k);
    snprintf(body + used, sizeof body - used, "bar.warp.sync 0xffffffff; st.global.u32 [%%d5], %%r20;");
    struct exec_case c = {.block = 32, .body = body};
    for (uint32_t t = 0; t < 32; t++) {
        expected[t] = 0;
        for (uint32_t k = 0; k < (t < 31 ? t : 31); k++) expected[t] += k + 1;
        expected[t] += 1000 * (t < 31 ? t : 31);
    }
    exec_expect(&c, expected);
}

/* -- Calls --------------------------------------------------------------------------------------------------------- */

// A function with local memory, an early return for odd lanes, and a result; called where some lanes have branched off.
static void calls_of_functions(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 64,
        .functions = ".func (.param .b32 result) blend(.param .b32 a, .param .b64 b)\n{\n"
                     ".local .align 8 .b8 frame[64]; .reg .b32 %r<8>; .reg .b64 %d<4>; .reg .pred %p<2>;\n"
                     "ld.param.u32 %r1, [a]; ld.param.u64 %d1, [b]; and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 1;\n"
                     "@%p1 bra ODD; st.local.u64 [frame+8], %d1; ld.local.u32 %r3, [frame+8]; add.u32 %r3, %r3, %r1;\n"
                     "st.param.b32 [result], %r3; ret;\nODD: st.param.b32 [result], 7; ret;\n}\n",
        .body = ".param .b32 a0; .param .b64 b0; .param .b32 r0;\n"
                "mov.u32 %r20, 99; setp.lt.u32 %p1, %r2, 5; @%p1 bra SKIP; mul.wide.u32 %d6, %r1, 100;\n"
                "{ st.param.b32 [a0], %r1; st.param.b64 [b0], %d6; call.uni (r0), blend, (a0, b0); ld.param.b32 %r20, "
                "[r0]; }\n"
                "SKIP: redux.sync.add.u32 %r21, %r20, 0xffffffff; mad.lo.u32 %r20, %r21, 10000, %r20; st.global.u32 "
                "[%d5], %r20;"};
    for (uint32_t warp = 0; warp < 2; warp++) {
        uint32_t own[32], sum = 0;
        for (uint32_t l = 0; l < 32; l++) sum += own[l] = l < 5 ? 99 : l % 2 ? 7 : (32 * warp + l) * 101;
        for (uint32_t l = 0; l < 32; l++) expected[32 * warp + l] = sum * 10000 + own[l];
    }
    exec_expect(&c, expected);
}

// Recursion as deep as the lane says.
static void recursion(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 32,
        .functions =
            ".func (.param .b32 result) sum(.param .b32 n);\n"
            ".func (.param .b32 result) sum(.param .b32 n)\n{\n.reg .b32 %r<8>; .reg .pred %p<2>; .param .b32 a0; "
            ".param .b32 r0;\n"
            "ld.param.u32 %r1, [n]; mov.u32 %r2, 0; setp.eq.u32 %p1, %r1, 0; @%p1 bra DONE; sub.u32 %r3, %r1, 1;\n"
            "st.param.b32 [a0], %r3; call (r0), sum, (a0); ld.param.b32 %r2, [r0];\n"
            "DONE: add.u32 %r2, %r2, %r1; st.param.b32 [result], %r2; ret;\n}\n",
        .body =
            ".param .b32 a0; .param .b32 r0; st.param.b32 [a0], %r2; call (r0), sum, (a0); ld.param.b32 %r20, [r0];\n"
            "bar.warp.sync 0xffffffff; activemask.b32 %r21; popc.b32 %r21, %r21; mad.lo.u32 %r20, %r21, 1000, %r20; "
            "st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 32; t++) expected[t] = 32000 + t * (t + 1) / 2;
    exec_expect(&c, expected);
}

/* -- Lanes that wait for lanes ------------------------------------------------------------------------------------- */

// Each lane takes the lock, changes a plain word, and gives it back.
static void spin_lock_within_a_warp(void **state) {
    (void)state;
    struct exec_case c = {.block = 64,
                          .out_words = 1,
                          .body = "setp.eq.u32 %p1, %r1, 0;\n"
                                  "@%p1 st.shared.u32 [smem], 0; @%p1 st.shared.u32 [smem+4], 0; bar.sync 0;\n"
                                  "TAKE: atom.acquire.cta.shared.cas.b32 %r20, [smem], 0, 1;\n"
                                  "setp.ne.u32 %p2, %r20, 0; @%p2 bra TAKE;\n"
                                  "ld.shared.u32 %r21, [smem+4]; add.u32 %r21, %r21, %r1;\n"
                                  "st.shared.u32 [smem+4], %r21;\n"
                                  "atom.release.cta.shared.exch.b32 %r22, [smem], 0;\n"
                                  "bar.sync 0; ld.shared.u32 %r23, [smem+4];\n"
                                  "@%p1 st.global.u32 [%d2], %r23;"};
    expected[0] = 64 * 63 / 2;
    exec_expect(&c, expected);
}

// Lane 0 waits for what lane 31 writes in the other branch.
static void producer_and_consumer_within_a_warp(void **state) {
    (void)state;
    struct exec_case c = {.block = 32,
                          .out_words = 1,
                          .body = "setp.eq.u32 %p1, %r2, 0; setp.eq.u32 %p2, %r2, 31;\n"
                                  "@%p1 st.volatile.shared.u32 [smem], 0; bar.warp.sync 0xffffffff;\n"
                                  "@!%p1 bra OTHERS;\n"
                                  "POLL: ld.volatile.shared.u32 %r20, [smem];\n"
                                  "setp.eq.u32 %p3, %r20, 0; @%p3 bra POLL;\n"
                                  "st.global.u32 [%d2], %r20; bra JOIN;\n"
                                  "OTHERS: @%p2 st.volatile.shared.u32 [smem], 77;\n"
                                  "JOIN: bar.warp.sync 0xffffffff;"};
    expected[0] = 77;
    exec_expect(&c, expected);
}

// bar.warp.sync in both branches of an if: the lanes meet across them.
static void warp_barrier_in_two_branches(void **state) {
    (void)state;
    struct exec_case c = {.block = 32,
                          .body = "setp.lt.u32 %p1, %r2, 16; xor.b32 %r20, %r7, 64; add.u32 %r20, %r20, %r10;\n"
                                  "@%p1 bra LOW;\n"
                                  "st.shared.u32 [%r12], %r2; bar.warp.sync 0xffffffff;\n"
                                  "ld.shared.u32 %r21, [%r20]; bra JOIN;\n"
                                  "LOW: add.u32 %r22, %r2, 100; st.shared.u32 [%r12], %r22;\n"
                                  "bar.warp.sync 0xffffffff; ld.shared.u32 %r21, [%r20];\n"
                                  "JOIN: st.global.u32 [%d5], %r21;"};
    for (uint32_t t = 0; t < 32; t++) expected[t] = t < 16 ? t + 16 : t - 16 + 100;
    exec_expect(&c, expected);
}

/* -- Barriers ------------------------------------------------------------------------------------------------------ */

// A ring of two buffers between warps 0 and 1, by four named barriers; warps 2, 3 use barrier 0 of their own count.
static void named_barriers(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 128,
        .out_words = 320,
        .body = "mov.u32 %r20, 0; setp.ge.u32 %p9, %r3, 2; @%p9 bra OTHERS;\n"
                "setp.eq.u32 %p1, %r3, 0; @!%p1 bra CONSUMER;\n"
                "PRODUCE: and.b32 %r21, %r20, 1; add.u32 %r22, %r21, 1; add.u32 %r23, %r21, 3;\n"
                "setp.lt.u32 %p2, %r20, 2; @%p2 bra FREE; bar.sync %r23, 64;\n"
                "FREE: shl.b32 %r24, %r21, 7; add.u32 %r24, %r24, %r12;\n"
                "mad.lo.u32 %r25, %r20, 1000, %r2; st.shared.u32 [%r24], %r25; bar.arrive %r22, 64;\n"
                "add.u32 %r20, %r20, 1; setp.lt.u32 %p3, %r20, 10; @%p3 bra PRODUCE; bra DONE;\n"
                "CONSUMER: and.b32 %r21, %r20, 1; add.u32 %r22, %r21, 1; add.u32 %r23, %r21, 3;\n"
                "bar.sync %r22, 64; shl.b32 %r24, %r21, 7; xor.b32 %r26, %r2, 1; shl.b32 %r26, %r26, 2;\n"
                "add.u32 %r24, %r24, %r26; add.u32 %r24, %r24, %r10; ld.shared.u32 %r27, [%r24];\n"
                "mad.lo.u32 %r28, %r20, 32, %r2; mul.wide.u32 %d6, %r28, 4; add.u64 %d6, %d6, %d2;\n"
                "st.global.u32 [%d6], %r27; setp.lt.u32 %p4, %r20, 8; @%p4 bar.arrive %r23, 64;\n"
                "add.u32 %r20, %r20, 1; setp.lt.u32 %p3, %r20, 10; @%p3 bra CONSUMER; bra DONE;\n"
                "OTHERS: bar.sync 0, 64; add.u32 %r20, %r20, 1; setp.lt.u32 %p3, %r20, 5; @%p3 bra OTHERS;\n"
                "DONE:"};
    for (uint32_t k = 0; k < 320; k++) expected[k] = k / 32 * 1000 + (k % 32 ^ 1);
    exec_expect(&c, expected);
}

static void barrier_reductions(void **state) {
    (void)state;
    struct exec_case c = {.block = 96,
                          .body = "setp.lt.u32 %p1, %r1, 41; setp.lt.u32 %p2, %r1, 200; setp.gt.u32 %p3, %r1, 94;\n"
                                  "bar.red.popc.u32 %r20, 0, %p1; bar.red.and.pred %p4, 0, %p2;\n"
                                  "barrier.cta.red.and.aligned.pred %p5, 1, 96, %p1; bar.red.or.pred %p6, 0, %p3;\n"
                                  "bar.red.or.pred %p7, 0, !%p2; bar.red.popc.u32 %r21, 0, !%p1;\n"
                                  "selp.u32 %r22, 1, 0, %p4; selp.u32 %r23, 2, 0, %p5; selp.u32 %r24, 4, 0, %p6;\n"
                                  "selp.u32 %r25, 8, 0, %p7; or.b32 %r22, %r22, %r23; or.b32 %r24, %r24, %r25;\n"
                                  "or.b32 %r22, %r22, %r24; mad.lo.u32 %r22, %r20, 100, %r22;\n"
                                  "mad.lo.u32 %r22, %r21, 100000, %r22; st.global.u32 [%d5], %r22;"};
    for (uint32_t t = 0; t < 96; t++) expected[t] = 55 * 100000 + 41 * 100 + 1 + 4;
    exec_expect(&c, expected);
}

// Whichever warp comes second is told, with the line and the instruction of the first.
static void reductions_meet_reductions_only(void **state) {
    (void)state;
    static const char *const others[] = {"bar.arrive 1, 64;", "bar.sync 1, 64;"};
    static const char *const names[] = {"bar.arrive", "bar.sync"};
    for (int k = 0; k < 2; k++) {
        char body[256], red_meets[64], meets_red[64];
        uint32_t out[64];
        unsigned seen[2] = {0, 0};
        snprintf(body, sizeof body,
                 "setp.eq.u32 %%p1, %%r3, 0; @%%p1 bra RED;\n%s\nbra DONE;\n"
                 "RED: barrier.cta.red.or.pred %%p2, 1, 64, %%p1;\nDONE:",
                 others[k]);
        snprintf(red_meets, sizeof red_meets, "barrier misuse: bar.red meets %s of line ", names[k]);
        snprintf(meets_red, sizeof meets_red, "barrier misuse: %s meets bar.red of line ", names[k]);
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct exec_case c = {.block = 64, .out_words = 64, .out = out, .body = body, .no_checks = seed % 2};
            unsigned line = 0, other = 0;
            assert_int_equal(exec_seed(&c, seed, NULL), PTXVM_ERROR_FAULT);
            assert_int_equal(c.findings, 1);
            assert_int_equal(c.kind, PTXVM_FINDING_BARRIER_MISUSE);
            const bool red_is_second = strstr(c.finding, red_meets) != NULL;
            const char *of = strstr(c.finding, red_is_second ? red_meets : meets_red);
            if (!of) fail_msg("%s", c.finding);
            assert_int_equal(sscanf(c.finding, "line %u", &line), 1);
            assert_int_equal(sscanf(strstr(of, "of line"), "of line %u at barrier 1:", &other), 1);
            assert_int_equal(red_is_second ? line - other : other - line, 2); // as in body
            seen[red_is_second]++;
        }
        assert_true(seen[0] && seen[1]);
    }
}

// A barrier without count is for those who have not exited; barrier.sync needs no convergence.
static void barriers_after_exits(void **state) {
    (void)state;
    struct exec_case c = {.block = 128,
                          .body = "setp.eq.u32 %p1, %r3, 2; @%p1 exit;\n"
                                  "st.shared.u32 [%r12], %r1; setp.lt.u32 %p2, %r2, 7; @%p2 bra MEET;\n"
                                  "add.u32 %r20, %r1, 1;\n"
                                  "MEET: barrier.sync 0; xor.b32 %r21, %r7, 128; add.u32 %r21, %r21, %r10;\n"
                                  "setp.ge.u32 %p3, %r3, 2; @%p3 mov.u32 %r21, %r12;\n"
                                  "ld.shared.u32 %r22, [%r21]; st.global.u32 [%d5], %r22;"};
    for (uint32_t t = 0; t < 128; t++) expected[t] = t / 32 == 2 ? 0 : t < 64 ? (t ^ 32) : t;
    exec_expect(&c, expected);
}

// dec gives registers back that inc then takes, whoever comes first.
static void register_counts(void **state) {
    (void)state;
    struct exec_case c = {.block = 384,
                          .body = "setp.ge.u32 %p1, %r1, 128; @%p1 bra CONSUMERS;\n"
                                  "setmaxnreg.dec.sync.aligned.u32 40; bra JOIN;\n"
                                  "CONSUMERS: setmaxnreg.inc.sync.aligned.u32 232;\n"
                                  "JOIN: st.global.u32 [%d5], %r1;"};
    for (uint32_t t = 0; t < 384; t++) expected[t] = t;
    exec_expect(&c, expected);
}

/* -- Atomics, grids, clusters -------------------------------------------------------------------------------------- */

static void atomics_of_a_grid(void **state) {
    (void)state;
    struct exec_case c = {.grid = 1000,
                          .block = 64,
                          .out_words = 4,
                          .body = "atom.global.add.u32 %r20, [%d2], %r1; red.global.max.u32 [%d2+4], %r4;\n"
                                  "setp.eq.u32 %p1, %r1, 0; @%p1 red.global.add.u32 [%d2+8], 1;\n"
                                  "@%p1 atom.global.xor.b32 %r21, [%d2+12], %r5;"};
    expected[0] = 1000 * (64 * 63 / 2);
    expected[1] = 63999;
    expected[2] = 1000;
    expected[3] = 0;
    for (uint32_t k = 0; k < 1000; k++) expected[3] ^= k;
    exec_expect(&c, expected);
}

// The last block to finish adds up what the others wrote.
static void last_block(void **state) {
    (void)state;
    struct exec_case c = {
        .grid = 40,
        .block = 32,
        .out_words = 64,
        .body = "mul.wide.u32 %d6, %r5, 4; add.u64 %d6, %d6, %d2; setp.eq.u32 %p1, %r1, 0; @!%p1 bra DONE;\n"
                "mul.lo.u32 %r20, %r5, %r5; st.global.u32 [%d6], %r20; membar.gl;\n"
                "atom.global.inc.u32 %r21, [%d2+240], 1000; setp.ne.u32 %p2, %r21, 39; @%p2 bra DONE;\n"
                "membar.gl; mov.u32 %r22, 0; mov.u32 %r23, 0; mov.u64 %d7, %d2;\n"
                "SUM: ld.global.u32 %r24, [%d7]; add.u32 %r23, %r23, %r24; add.u64 %d7, %d7, 4;\n"
                "add.u32 %r22, %r22, 1; setp.lt.u32 %p3, %r22, 40; @%p3 bra SUM; st.global.u32 [%d2+252], %r23;\n"
                "DONE:"};
    uint32_t sum = 0;
    memset(expected, 0, 64 * 4);
    for (uint32_t k = 0; k < 40; k++) sum += expected[k] = k * k;
    expected[60] = 40;
    expected[63] = sum;
    exec_expect(&c, expected);
}

// Each block of a cluster reads the words of its neighbour, and adds to a counter of block 0.
static void distributed_shared_memory(void **state) {
    (void)state;
    struct exec_case c = {
        .grid = 16,
        .block = 64,
        .cluster = 4,
        .body = "mov.u32 %r20, %cluster_ctarank; add.u32 %r21, %r20, 1; and.b32 %r21, %r21, 3;\n"
                "st.shared.u32 [%r12], %r4; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [smem+8000], 0;\n"
                "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;\n"
                "mapa.shared::cluster.u32 %r22, %r12, %r21; ld.shared::cluster.u32 %r23, [%r22];\n"
                "mapa.shared::cluster.u32 %r24, %r10, 0; atom.shared::cluster.add.u32 %r25, [%r24+8000], 1;\n"
                "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n"
                "ld.shared::cluster.u32 %r26, [%r24+8000]; mad.lo.u32 %r23, %r26, 10000, %r23;\n"
                "st.global.u32 [%d5], %r23;\n"
                "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"};
    for (uint32_t t = 0; t < 1024; t++) {
        uint32_t block = t / 64, neighbour = block / 4 * 4 + (block + 1) % 4;
        expected[t] = 256 * 10000 + neighbour * 64 + t % 64;
    }
    exec_expect(&c, expected);
}

static void special_registers(void **state) {
    (void)state;
    struct exec_case c = {
        .grid = 6,
        .block = 40,
        .cluster = 2,
        .smem_bytes = 4096,
        .body = "mov.u32 %r20, %warpid; mov.u32 %r21, %nwarpid; mad.lo.u32 %r20, %r20, 10, %r21;\n"
                "mov.u32 %r21, %clusterid.x; mad.lo.u32 %r20, %r20, 10, %r21; mov.u32 %r21, %nclusterid.x;\n"
                "mad.lo.u32 %r20, %r20, 10, %r21; mov.u32 %r21, %cluster_nctarank; mad.lo.u32 %r20, %r20, 10, %r21;\n"
                "mov.u32 %r21, %nsmid; mad.lo.u32 %r20, %r20, 10, %r21; mov.u32 %r21, %nctaid.x;\n"
                "mad.lo.u32 %r20, %r20, 10, %r21; mov.u32 %r21, %dynamic_smem_size; shr.u32 %r21, %r21, 10;\n"
                "mad.lo.u32 %r20, %r20, 10, %r21; mov.u32 %r22, %lanemask_lt; popc.b32 %r22, %r22;\n"
                "setp.ne.u32 %p1, %r22, %r2; @%p1 mov.u32 %r20, 0; st.global.u32 [%d5], %r20;"};
    for (uint32_t t = 0; t < 240; t++) {
        uint32_t digits[] = {t % 40 / 32, 2, t / 80, 3, 2, 7, 6, 4};
        expected[t] = 0;
        for (int k = 0; k < 8; k++) expected[t] = expected[t] * 10 + digits[k];
    }
    exec_expect(&c, expected);
}

/* -- Limits and refusals ------------------------------------------------------------------------------------------- */

static void instruction_limit(void **state) {
    (void)state;
    uint32_t out[32];
    struct exec_case c = {.block = 32,
                          .out_words = 32,
                          .out = out,
                          .instruction_limit = 100000,
                          .body = "LOOP: add.u32 %r20, %r1, 1; bra LOOP;"};
    assert_int_equal(exec_seed(&c, 1, NULL), PTXVM_ERROR_LIMIT);
}

static void same_seed_same_run(void **state) {
    (void)state;
    static uint32_t first[64], second[64];
    struct exec_case c = {.block = 64,
                          .out_words = 64,
                          .body = "atom.global.add.u32 %r20, [%d2], 1; shl.b32 %r21, %r20, 2; cvt.u64.u32 %d6, %r21;\n"
                                  "add.u64 %d6, %d6, %d2; setp.eq.u32 %p1, %r20, 0; @!%p1 st.global.u32 [%d6], %r1;"};
    unsigned different = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        c.out = first;
        assert_int_equal(exec_seed(&c, seed, NULL), PTXVM_OK);
        c.out = second;
        assert_int_equal(exec_seed(&c, seed, NULL), PTXVM_OK);
        assert_memory_equal(first, second, sizeof first);
        assert_int_equal(exec_seed(&c, seed + 8, NULL), PTXVM_OK);
        different += memcmp(first, second, sizeof first) != 0;
    }
    assert_true(different > 0);
}

static void launches_that_are_refused(void **state) {
    (void)state;
    static const char text[] =
        ".version 8.7\n.target sm_90a\n.address_size 64\n.visible .entry k()\n.maxntid 128, 1, 1\n"
        ".reqnctapercluster 2, 1, 1\n{\nret;\n}\n";
    static const struct {
        struct ptxvm_launch launch;
        ptxvm_status status;
    } rows[] = {
        {{.grid = {4, 1, 1}, .block = {128, 1, 1}}, PTXVM_OK},
        {{.grid = {4, 1, 1}, .block = {129, 1, 1}}, PTXVM_ERROR_ARGUMENT},
        {{.grid = {4, 1, 1}, .block = {0, 1, 1}}, PTXVM_ERROR_ARGUMENT},
        {{.grid = {3, 1, 1}, .block = {64, 1, 1}}, PTXVM_ERROR_ARGUMENT},
        {{.grid = {4, 0, 1}, .block = {64, 1, 1}}, PTXVM_ERROR_ARGUMENT},
        {{.grid = {4, 1, 1}, .block = {64, 1, 1}, .cluster = {4, 1, 1}}, PTXVM_ERROR_ARGUMENT},
        {{.grid = {4, 1, 1}, .block = {64, 1, 1}, .cluster = {2, 1, 1}}, PTXVM_OK},
        {{.grid = {4, 1, 1}, .block = {64, 1, 1}, .smem_dynamic_bytes = 1 << 20}, PTXVM_ERROR_ARGUMENT},
        {{.grid = {2, 65536, 1}, .block = {64, 1, 1}}, PTXVM_ERROR_ARGUMENT},
    };
    ptxvm *vm;
    ptxvm_module *module;
    ptxvm_kernel *kernel;
    assert_int_equal(ptxvm_create(NULL, &vm), PTXVM_OK);
    if (ptxvm_module_load(vm, text, strlen(text), &module) != PTXVM_OK) fail_msg("%s", ptxvm_error(vm));
    assert_int_equal(ptxvm_module_kernel(module, "k", &kernel), PTXVM_OK);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
        assert_int_equal(ptxvm_run(vm, kernel, &rows[k].launch), rows[k].status);
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
}

static void memory_of_the_user(void **state) {
    (void)state;
    ptxvm *vm;
    uint64_t a, b;
    uint8_t bytes[16] = {1, 2, 3}, back[16];
    assert_int_equal(ptxvm_create(NULL, &vm), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(vm, 16, &a), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(vm, 16, &b), PTXVM_OK);
    assert_true(a % 256 == 0 && b % 256 == 0 && b - a >= 16 + 256);
    assert_int_equal(ptxvm_write(vm, a, bytes, 16), PTXVM_OK);
    assert_int_equal(ptxvm_read(vm, back, a, 16), PTXVM_OK);
    assert_memory_equal(bytes, back, 16);
    assert_int_equal(ptxvm_write(vm, a + 1, bytes, 16), PTXVM_ERROR_ARGUMENT);
    assert_int_equal(ptxvm_read(vm, back, a + 16, 1), PTXVM_ERROR_ARGUMENT);
    assert_int_equal(ptxvm_set(vm, b, 0x5a, 16), PTXVM_OK);
    assert_int_equal(ptxvm_read(vm, back, b + 15, 1), PTXVM_OK);
    assert_int_equal(back[0], 0x5a);
    assert_int_equal(ptxvm_free(vm, a), PTXVM_OK);
    assert_int_equal(ptxvm_free(vm, a), PTXVM_ERROR_ARGUMENT);
    assert_int_equal(ptxvm_read(vm, back, a, 1), PTXVM_ERROR_ARGUMENT);
    ptxvm_destroy(vm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_ifs),
        cmocka_unit_test(loops_with_trip_counts_of_their_own),
        cmocka_unit_test(break_and_continue),
        cmocka_unit_test(early_exit),
        cmocka_unit_test(switch_by_table),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(calls_of_functions),
        cmocka_unit_test(recursion),
        cmocka_unit_test(spin_lock_within_a_warp),
        cmocka_unit_test(producer_and_consumer_within_a_warp),
        cmocka_unit_test(warp_barrier_in_two_branches),
        cmocka_unit_test(named_barriers),
        cmocka_unit_test(barrier_reductions),
        cmocka_unit_test(reductions_meet_reductions_only),
        cmocka_unit_test(barriers_after_exits),
        cmocka_unit_test(register_counts),
        cmocka_unit_test(atomics_of_a_grid),
        cmocka_unit_test(last_block),
        cmocka_unit_test(distributed_shared_memory),
        cmocka_unit_test(special_registers),
        cmocka_unit_test(instruction_limit),
        cmocka_unit_test(same_seed_same_run),
        cmocka_unit_test(launches_that_are_refused),
        cmocka_unit_test(memory_of_the_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
