// test_async: asynchronous copies and mbarriers: cp.async, cp.async.bulk in every direction, tensor maps, phases.
// Copies land at random times, so that a result that needed luck fails under some seed. SPDX-License-Identifier:
// Apache-2.0
#include "exec.h"

static uint32_t expected[OUT_WORDS_MAX];

#define COPY_OUT(words)                                                                                                \
    "mov.u32 %r60, %r1; OUT: shl.b32 %r61, %r60, 2; add.u32 %r62, %r10, %r61; ld.shared.u32 %r63, [%r62];\n"           \
    "cvt.u64.u32 %d20, %r61; add.u64 %d20, %d20, %d2; st.global.u32 [%d20], %r63; mov.u32 %r61, %ntid.x;\n"            \
    "add.u32 %r60, %r60, %r61; setp.lt.u32 %p15, %r60, " words "; @%p15 bra OUT;\n"
#define WAIT(label, bar, parity)                                                                                       \
    label ": mbarrier.try_wait.parity.shared::cta.b64 %p14, [%r11+" bar "], " parity "; @!%p14 bra " label ";\n"
#define INIT(count)                                                                                                    \
    "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared::cta.b64 [%r11], " count                                       \
    "; fence.mbarrier_init.release.cluster; bar.sync 0;\n"

/* -- cp.async ------------------------------------------------------------------------------------------------------ */

// Source sizes 0..16 by lane, then zeros; the ignored ones are zeros.
static void copies_fill_with_zeros(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 32,
        .out_words = 160,
        .body = "shl.b32 %r20, %r1, 4; add.u32 %r21, %r10, %r20; mul.wide.u32 %d6, %r1, 16; add.u64 %d6, %d6, %d1;\n"
                "rem.u32 %r22, %r1, 17; cp.async.cg.shared.global.L2::128B [%r21], [%d6], 16, %r22;\n"
                "add.u32 %r23, %r12, 512; setp.lt.u32 %p2, %r2, 11;\n"
                "cp.async.ca.shared.global [%r23], [%d4], 4, %p2; cp.async.wait_all; bar.sync 0;\n" COPY_OUT("160")};
    uint8_t *bytes = (uint8_t *)expected;
    memset(expected, 0, 640);
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t k = 0; k < lane % 17; k++) {
            uint32_t word = (lane * 16 + k) / 4;
            bytes[lane * 16 + k] = (uint8_t)(word >> 8 * (k % 4));
        }
    for (uint32_t lane = 11; lane < 32; lane++) expected[128 + lane] = lane;
    exec_expect(&c, expected);
}

// Three stages in flight, each awaited just in time.
static void copies_in_a_pipeline(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 64,
        .out_words = 1024,
        .body =
            "mov.u32 %r20, 0; mov.u64 %d6, %d4; mov.u64 %d7, %d5;\n"
            "FILL: shl.b32 %r21, %r20, 8; add.u32 %r22, %r12, %r21; cp.async.ca.shared.global [%r22], [%d6], 4;\n"
            "cp.async.commit_group; add.u64 %d6, %d6, 256; add.u32 %r20, %r20, 1; setp.lt.u32 %p1, %r20, 2; @%p1 bra "
            "FILL;\n"
            "mov.u32 %r23, 0; xor.b32 %r24, %r7, 252; add.u32 %r24, %r24, %r10;\n"
            "LOOP: cp.async.wait_group 1; bar.sync 0; rem.u32 %r25, %r23, 3; shl.b32 %r25, %r25, 8;\n"
            "add.u32 %r26, %r24, %r25; ld.shared.u32 %r27, [%r26]; st.global.u32 [%d7], %r27; add.u64 %d7, %d7, 256;\n"
            "setp.ge.u32 %p2, %r20, 16; @%p2 bra NO_MORE; rem.u32 %r25, %r20, 3; shl.b32 %r25, %r25, 8;\n"
            "add.u32 %r22, %r12, %r25; cp.async.ca.shared.global [%r22], [%d6], 4; add.u64 %d6, %d6, 256;\n"
            "NO_MORE: cp.async.commit_group; add.u32 %r20, %r20, 1; add.u32 %r23, %r23, 1;\n"
            "setp.lt.u32 %p3, %r23, 16; @%p3 bra LOOP;"};
    for (uint32_t k = 0; k < 1024; k++) expected[k] = k / 64 * 64 + (63 - k % 64);
    exec_expect(&c, expected);
}

static void copies_that_arrive_on_an_mbarrier(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 64,
        .out_words = 64,
        .body = "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared::cta.b64 [%r11], 64;\n"
                "@%p1 mbarrier.init.shared::cta.b64 [%r11+8], 64; bar.sync 0;\n"
                "cp.async.ca.shared.global [%r12], [%d4], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [%r11];\n"
                "cp.async.ca.shared.global [%r12+256], [%d4], 4; cp.async.mbarrier.arrive.shared.b64 [%r11+8];\n"
                "mbarrier.arrive.shared::cta.b64 _, [%r11+8];\n" WAIT("W0", "0", "0")
                    WAIT("W1", "8", "0") "xor.b32 %r20, %r7, 252; add.u32 %r20, %r20, %r10; ld.shared.u32 %r21, "
                                         "[%r20]; ld.shared.u32 %r22, [%r20+256];\n"
                                         "mad.lo.u32 %r21, %r21, 1000, %r22; st.global.u32 [%d5], %r21;"};
    for (uint32_t t = 0; t < 64; t++) expected[t] = (63 - t) * 1001;
    exec_expect(&c, expected);
}

/* -- cp.async.bulk ------------------------------------------------------------------------------------------------- */

// A producer warp fills a ring of two slots, three consumer warps empty it: the skeleton of the project's kernels.
static void bulk_ring(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 128,
        .out_words = 960,
        .body =
            "setp.eq.u32 %p1, %r1, 0; @!%p1 bra READY; mov.u32 %r20, 0;\n"
            "mbarrier.init.shared::cta.b64 [%r11], 1; mbarrier.init.shared::cta.b64 [%r11+8], 1;\n"
            "mbarrier.init.shared::cta.b64 [%r11+16], 96; mbarrier.init.shared::cta.b64 [%r11+24], 96;\n"
            "fence.mbarrier_init.release.cluster;\n"
            "READY: bar.sync 0; mov.u32 %r20, 0; setp.ge.u32 %p2, %r3, 1; @%p2 bra CONSUME; @!%p1 bra DONE;\n"
            "PRODUCE: and.b32 %r21, %r20, 1; shl.b32 %r22, %r21, 3; add.u32 %r22, %r22, %r11; shr.u32 %r23, %r20, 1;\n"
            "and.b32 %r24, %r23, 1; xor.b32 %r24, %r24, 1;\n"
            "EMPTY: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r22+16], %r24; @!%p3 bra EMPTY;\n"
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r22], 384; shl.b32 %r25, %r21, 9; add.u32 %r25, %r25, "
            "%r10;\n"
            "mul.wide.u32 %d6, %r20, 384; add.u64 %d6, %d6, %d1;\n"
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r25], [%d6], 256, [%r22];\n"
            "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r25+256], [%d6+256], 128, [%r22];\n"
            "add.u32 %r20, %r20, 1; setp.lt.u32 %p4, %r20, 10; @%p4 bra PRODUCE; bra DONE;\n"
            "CONSUME: and.b32 %r21, %r20, 1; shl.b32 %r22, %r21, 3; add.u32 %r22, %r22, %r11; shr.u32 %r23, %r20, 1; "
            "and.b32 %r24, %r23, 1;\n"
            "FULL: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r22], %r24, 1000; @!%p3 bra FULL;\n"
            "shl.b32 %r25, %r21, 9; add.u32 %r25, %r25, %r12; ld.shared.u32 %r26, [%r25+-128];\n"
            "mbarrier.arrive.shared::cta.b64 %d7, [%r22+16]; mad.lo.u32 %r27, %r20, 96, %r1; sub.u32 %r27, %r27, 32;\n"
            "mul.wide.u32 %d8, %r27, 4; add.u64 %d8, %d8, %d2; st.global.u32 [%d8], %r26;\n"
            "add.u32 %r20, %r20, 1; setp.lt.u32 %p4, %r20, 10; @%p4 bra CONSUME; DONE:"};
    for (uint32_t k = 0; k < 960; k++) expected[k] = k;
    exec_expect(&c, expected);
}

static void bulk_stores_and_reductions(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 64,
        .out_words = 128,
        .body = "add.u32 %r20, %r1, 5; st.shared.u32 [%r12], %r20; fence.proxy.async.shared::cta; bar.sync 0;\n"
                "setp.eq.u32 %p1, %r1, 0; @!%p1 bra DONE;\n"
                "cp.async.bulk.global.shared::cta.bulk_group [%d2], [%r10], 256; cp.async.bulk.commit_group;\n"
                "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%d2+256], [%r10], 256;\n"
                "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%d2+256], [%r10], 128;\n"
                "cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 1; cp.async.bulk.wait_group 0; DONE:"};
    for (uint32_t k = 0; k < 64; k++) expected[k] = k + 5, expected[64 + k] = (k + 5) * (k < 32 ? 2 : 1);
    exec_expect(&c, expected);
}

// Block 0 multicasts to both blocks, and each block then sends its half to the other.
static void bulk_in_a_cluster(void **state) {
    (void)state;
    struct exec_case c = {
        .grid = 4,
        .cluster = 2,
        .block = 64,
        .out_words = 256,
        .body = INIT("1") "@%p1 mbarrier.init.shared::cta.b64 [%r11+8], 1; fence.mbarrier_init.release.cluster; "
                          "mov.u32 %r20, %cluster_ctarank; xor.b32 "
                          "%r21, %r20, 1;\n"
                          "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r11], 256;\n"
                          "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r11+8], 256;\n"
                          "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n"
                          "setp.eq.u32 %p2, %r20, 0; and.pred %p2, %p1, %p2; @!%p2 bra W0; mov.u16 %h1, 3;\n"
                          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                          "[%r10], [%d1], 256, [%r11], %h1;\n" WAIT(
                              "W0", "0", "0") "ld.shared.u32 %r22, [%r12]; mad.lo.u32 %r22, %r20, 1000, %r22; "
                                              "st.shared.u32 [%r12+256], %r22;\n"
                                              "fence.proxy.async.shared::cta; bar.sync 0; @!%p1 bra W1;\n"
                                              "mapa.shared::cluster.u32 %r23, %r10, %r21; mapa.shared::cluster.u32 "
                                              "%r24, %r11, %r21; add.u32 %r25, %r10, 256;\n"
                                              "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
                                              "[%r23+512], [%r25], 256, [%r24+8];\n" WAIT(
                                                  "W1", "8",
                                                  "0") "ld.shared.u32 %r26, [%r12+512]; st.global.u32 [%d5], %r26; "
                                                       "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"};
    for (uint32_t t = 0; t < 256; t++) expected[t] = t % 64 + (t / 64 % 2 ^ 1) * 1000;
    exec_expect(&c, expected);
}

/* -- Tensor maps --------------------------------------------------------------------------------------------------- */

#define TENSOR_LOAD(rank, coordinates, bytes)                                                                          \
    INIT("1")                                                                                                          \
    "mov.b64 %d6, map; cvta.param.u64 %d6, %d6; @!%p1 bra W0;\n"                                                       \
    "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r11], " bytes ";\n"                                                \
    "cp.async.bulk.tensor." rank                                                                                       \
    "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r10], [%d6, {" coordinates                           \
    "}], [%r11];\n" WAIT("W0", "0", "0")

// A box of 32 x 16 words that hangs over the edges of a tensor of 100 x 80; zeros outside.
static void tensor_load_over_the_edge(void **state) {
    (void)state;
    struct ptxvm_tensor_map map = {
        .element_bytes = 4, .rank = 2, .dimension = {100, 80}, .stride = {448}, .box = {32, 16}};
    static const struct {
        const char *body;
        int x, y;
    } rows[] = {
        {TENSOR_LOAD("2", "8, 3", "2048") COPY_OUT("512"), 8, 3},
        {TENSOR_LOAD("2", "-5, 70", "2048") COPY_OUT("512"), -5, 70},
        {TENSOR_LOAD("2", "90, -16", "2048") COPY_OUT("512"), 90, -16},
        {TENSOR_LOAD("2", "99, 79", "2048") COPY_OUT("512"), 99, 79},
    };
    for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
        struct exec_case c = {.block = 64, .out_words = 512, .map = &map, .body = rows[n].body};
        for (int k = 0; k < 512; k++) {
            int x = rows[n].x + k % 32, y = rows[n].y + k / 32;
            expected[k] = x >= 0 && x < 100 && y >= 0 && y < 80 ? (uint32_t)(y * 112 + x) : 0;
        }
        exec_expect(&c, expected);
    }
}

// Swizzles move 16-byte chunks of a row of 32, 64, 128 bytes: chunk ^ (row number of 128 bytes), as the CUDA
// programming guide draws them.
static void tensor_swizzles(void **state) {
    (void)state;
    static const struct {
        enum ptxvm_swizzle swizzle;
        unsigned row_words;
    } rows[] = {{PTXVM_SWIZZLE_NONE, 32}, {PTXVM_SWIZZLE_32, 8}, {PTXVM_SWIZZLE_64, 16}, {PTXVM_SWIZZLE_128, 32}};
    for (size_t n = 0; n < 4; n++) {
        unsigned words = rows[n].row_words, count = 16 * words;
        struct ptxvm_tensor_map map = {.element_bytes = 4,
                                       .rank = 2,
                                       .dimension = {64, 64},
                                       .stride = {256},
                                       .box = {words, 16},
                                       .swizzle = rows[n].swizzle};
        static const char *const bodies[] = {
            TENSOR_LOAD("2", "4, 2", "2048") COPY_OUT("512"), TENSOR_LOAD("2", "4, 2", "512") COPY_OUT("128"),
            TENSOR_LOAD("2", "4, 2", "1024") COPY_OUT("256"), TENSOR_LOAD("2", "4, 2", "2048") COPY_OUT("512")};
        struct exec_case c = {.block = 32, .out_words = count, .map = &map, .body = bodies[n]};
        for (unsigned row = 0; row < 16; row++)
            for (unsigned k = 0; k < words; k++) {
                unsigned line = (row * words + k) / 32, chunk = k / 4, chunks = words / 4; /* line: of 128 bytes */
                unsigned key = n == 0 ? 0 : n == 1 ? line & 1 : n == 2 ? line & 3 : line & 7;
                unsigned place = row * words + ((chunk ^ key) % chunks) * 4 + k % 4;
                expected[place] = (row + 2) * 64 + k + 4;
            }
        exec_expect(&c, expected);
    }
}

static void tensor_of_five_dimensions(void **state) {
    (void)state;
    struct ptxvm_tensor_map map = {.element_bytes = 2,
                                   .rank = 5,
                                   .dimension = {16, 3, 4, 2, 5},
                                   .stride = {32, 96, 384, 768},
                                   .box = {8, 2, 2, 2, 2}};
    struct exec_case c = {
        .block = 32, .out_words = 64, .map = &map, .body = TENSOR_LOAD("5", "2, 1, 3, 0, 2", "256") COPY_OUT("64")};
    uint16_t *halves = (uint16_t *)expected;
    for (unsigned k = 0; k < 128; k++) {
        unsigned at[5] = {2 + k % 8, 1 + k / 8 % 2, 3 + k / 16 % 2, k / 32 % 2, 2 + k / 64};
        unsigned byte = at[0] * 2 + at[1] * 32 + at[2] * 96 + at[3] * 384 + at[4] * 768, word = byte / 4;
        bool inside = at[0] < 16 && at[1] < 3 && at[2] < 4;
        halves[k] = inside ? (uint16_t)(byte % 4 ? word >> 16 : word) : 0;
    }
    exec_expect(&c, expected);
}

static void tensor_element_strides(void **state) {
    (void)state;
    struct ptxvm_tensor_map map = {.element_bytes = 4,
                                   .rank = 2,
                                   .dimension = {64, 64},
                                   .stride = {256},
                                   .box = {32, 8},
                                   .element_stride = {4, 2}};
    struct exec_case c = {
        .block = 32, .out_words = 32, .map = &map, .body = TENSOR_LOAD("2", "3, 5", "128") COPY_OUT("32")};
    for (unsigned k = 0; k < 32; k++) expected[k] = (5 + k / 8 * 2) * 64 + 3 + k % 8 * 4;
    exec_expect(&c, expected);
}

// What lies outside of the tensor is not written.
static void tensor_store(void **state) {
    (void)state;
    struct ptxvm_tensor_map map = {.element_bytes = 4,
                                   .rank = 2,
                                   .dimension = {20, 10},
                                   .stride = {96},
                                   .box = {16, 8},
                                   .swizzle = PTXVM_SWIZZLE_64};
    struct exec_case c = {.block = 128,
                          .out_words = 24 * 12,
                          .map = &map,
                          .map_of_out = true,
                          .body = "shr.u32 %r20, %r1, 5; and.b32 %r20, %r20, 3; shl.b32 %r20, %r20, 4; xor.b32 %r21, "
                                  "%r7, %r20; add.u32 %r21, %r21, %r10;\n"
                                  "add.u32 %r22, %r1, 1; st.shared.u32 [%r21], %r22; fence.proxy.async.shared::cta; "
                                  "bar.sync 0; setp.eq.u32 %p1, %r1, 0; @!%p1 bra DONE;\n"
                                  "mov.b64 %d6, map; cvta.param.u64 %d6, %d6; prefetch.tensormap [%d6];\n"
                                  "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%d6, {7, 4}], [%r10];\n"
                                  "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; DONE:"};
    memset(expected, 0, 24 * 12 * 4);
    for (uint32_t k = 0; k < 128; k++) {
        uint32_t x = 7 + k % 16, y = 4 + k / 16;
        if (x < 20 && y < 10) expected[y * 24 + x] = k + 1;
    }
    exec_expect(&c, expected);
}

static void tensor_maps_that_are_refused(void **state) {
    (void)state;
    const struct ptxvm_tensor_map good = {.element_bytes = 2,
                                          .rank = 2,
                                          .address = 256,
                                          .dimension = {64, 64},
                                          .stride = {128},
                                          .box = {64, 8},
                                          .swizzle = PTXVM_SWIZZLE_128};
    uint8_t bytes[128];
    struct ptxvm_tensor_map bad = good;
    assert_int_equal(ptxvm_tensor_map_encode(&good, bytes), PTXVM_OK);
#define REFUSED(change)                                                                                                \
    bad = good;                                                                                                        \
    change;                                                                                                            \
    assert_int_equal(ptxvm_tensor_map_encode(&bad, bytes), PTXVM_ERROR_ARGUMENT)
    REFUSED(bad.element_bytes = 3);
    REFUSED(bad.rank = 6);
    REFUSED(bad.rank = 0);
    REFUSED(bad.address = 8);
    REFUSED(bad.stride[0] = 120);
    REFUSED(bad.box[0] = 128); /* a row wider than the swizzle */
    REFUSED(bad.box[1] = 257);
    REFUSED(bad.dimension[1] = 0);
    REFUSED(bad.element_stride[1] = 9);
#undef REFUSED
}

/* -- mbarriers ----------------------------------------------------------------------------------------------------- */

// Tokens, counts above one, drops, pending counts.
static void mbarrier_states(void **state) {
    (void)state;
    struct exec_case c = {
        .block = 32,
        .out_words = 8,
        .body = "setp.eq.u32 %p1, %r1, 0; @!%p1 bra DONE; mbarrier.init.b64 [%d10], 6;\n"
                "mbarrier.arrive.shared::cta.b64 %d6, [%r11]; mbarrier.pending_count.b64 %r20, %d6; st.global.u32 "
                "[%d2], %r20;\n"
                "mbarrier.arrive.noComplete.release.cta.shared::cta.b64 %d6, [%r11], 2; mbarrier.pending_count.b64 "
                "%r20, %d6; st.global.u32 [%d2+4], %r20;\n"
                "mbarrier.test_wait.shared::cta.b64 %p2, [%r11], %d6; selp.u32 %r20, 1, 2, %p2; st.global.u32 [%d2+8], "
                "%r20;\n"
                "mbarrier.arrive_drop.shared::cta.b64 %d7, [%r11], 3;\n"
                "mbarrier.test_wait.shared::cta.b64 %p2, [%r11], %d6; selp.u32 %r20, 1, 2, %p2; st.global.u32 "
                "[%d2+12], %r20;\n"
                "mbarrier.arrive.shared::cta.b64 %d6, [%r11], 3; mbarrier.pending_count.b64 %r20, %d6; st.global.u32 "
                "[%d2+16], %r20;\n"
                "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p3, [%r11], 1; selp.u32 %r20, 1, 2, %p3; "
                "st.global.u32 [%d2+20], %r20;\n"
                "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r11], 100; mbarrier.arrive.shared::cta.b64 _, "
                "[%r11], 3;\n"
                "mbarrier.test_wait.parity.shared::cta.b64 %p3, [%r11], 0; selp.u32 %r20, 1, 2, %p3; st.global.u32 "
                "[%d2+24], %r20;\n"
                "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r11], 100;\n"
                "mbarrier.test_wait.parity.shared::cta.b64 %p3, [%r11], 0; selp.u32 %r20, 1, 2, %p3; st.global.u32 "
                "[%d2+28], %r20;\n"
                "mbarrier.inval.shared::cta.b64 [%r11]; st.shared.u64 [%r11], %d1; ld.shared.u64 %d6, [%r11]; DONE:"};
    static char body[4096];
    snprintf(body, sizeof body, "cvt.u64.u32 %%d9, %%r11; cvta.shared.u64 %%d10, %%d9;\n%s", c.body);
    c.body = body;
    const uint32_t values[] = {6, 5, 2, 1, 3, 1, 2, 1};
    memcpy(expected, values, sizeof values);
    exec_expect(&c, expected);
}

// All threads arrive on the mbarrier of block 0; its own threads wait.
static void mbarrier_of_another_block(void **state) {
    (void)state;
    struct exec_case c = {
        .grid = 4,
        .cluster = 4,
        .block = 32,
        .out_words = 128,
        .body = "mov.u32 %r20, %cluster_ctarank; setp.eq.u32 %p2, %r20, 0;\n" INIT(
            "128") "st.shared.u32 [%r12], %r4; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n"
                   "mapa.shared::cluster.u32 %r21, %r11, 0; mapa.shared::cluster.u32 %r22, %r12, 0; shl.b32 %r23, "
                   "%r20, 7;\n"
                   "add.u32 %r22, %r22, %r23; setp.ne.u32 %p3, %r20, 0; @%p3 st.shared::cluster.u32 [%r22], %r4;\n"
                   "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r21]; @!%p2 bra END;\n"
                   "W0: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p4, [%r11], 0; @!%p4 bra "
                   "W0;\n" COPY_OUT("128") "END: barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"};
    for (uint32_t t = 0; t < 128; t++) expected[t] = t;
    exec_expect(&c, expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_fill_with_zeros),
        cmocka_unit_test(copies_in_a_pipeline),
        cmocka_unit_test(copies_that_arrive_on_an_mbarrier),
        cmocka_unit_test(bulk_ring),
        cmocka_unit_test(bulk_stores_and_reductions),
        cmocka_unit_test(bulk_in_a_cluster),
        cmocka_unit_test(tensor_load_over_the_edge),
        cmocka_unit_test(tensor_swizzles),
        cmocka_unit_test(tensor_of_five_dimensions),
        cmocka_unit_test(tensor_element_strides),
        cmocka_unit_test(tensor_store),
        cmocka_unit_test(tensor_maps_that_are_refused),
        cmocka_unit_test(mbarrier_states),
        cmocka_unit_test(mbarrier_of_another_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
