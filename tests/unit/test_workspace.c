// test_workspace: the layout of the workspace against formulas written out again here, its alignment and growth, and
// shapes that cannot be.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "workspace.h"

static const struct meta plain = {
    .d_qk = 128,
    .d_v = 64,
    .tile_q = 128,
    .tile_k = 64,
    .q_tile_bytes = 128 * 128,
    .k_tile_bytes = 64 * 128,
    .v_tile_bytes = 64 * 64,
};

static struct meta smoothed(void) {
    struct meta meta = plain;
    meta.stats_width = 192;
    meta.smooth_k = 1;
    meta.q_group = 64;
    meta.delta_groups = 32;
    return meta;
}

static uint64_t rounded(uint64_t bytes) {
    return (bytes + 1023) / 1024 * 1024;
}

static void assert_region(const struct workspace_layout *layout, enum workspace_region_index region, uint64_t bytes) {
    assert_int_equal(layout->region[region].bytes, rounded(bytes));
}

/* -- Formulas ---- */

static void sizes_of_a_plain_kernel(void **state) {
    (void)state;
    const sage_attention_shape shape = {.batch = 2, .heads_q = 6, .heads_kv = 3, .seq_q = 300, .seq_k = 1000};
    struct workspace_layout layout;
    assert_true(workspace_layout_make(&plain, &shape, &layout));
    assert_int_equal(layout.q_tile_count, 3);
    assert_int_equal(layout.k_tile_count, 16);
    assert_int_equal(layout.splits, 4);
    assert_region(&layout, WORKSPACE_q_tiles, 2 * 6 * 3 * 128 * 128);
    assert_region(&layout, WORKSPACE_k_tiles, 2 * 3 * 16 * 64 * 128);
    assert_region(&layout, WORKSPACE_v_tiles, 2 * 3 * 16 * 64 * 64);
    assert_region(&layout, WORKSPACE_q_scale, 2 * 6 * 3 * 128 * 4);
    assert_region(&layout, WORKSPACE_v_scale, 2 * 3 * 64 * 2 * 4);
    for (int i = WORKSPACE_progress; i < WORKSPACE_REGION_COUNT; i++) assert_int_equal(layout.region[i].bytes, 0);
}

static void sizes_of_a_smoothed_kernel(void **state) {
    (void)state;
    const struct meta meta = smoothed();
    const sage_attention_shape shape = {.batch = 3, .heads_q = 4, .heads_kv = 2, .seq_q = 129, .seq_k = 65};
    struct workspace_layout layout;
    assert_true(workspace_layout_make(&meta, &shape, &layout));
    const uint64_t rows = 256, keys = 128;
    assert_region(&layout, WORKSPACE_stats, 3 * 2 * 1 * 4 * 192 * 4);
    assert_region(&layout, WORKSPACE_progress, (1 + 3 * 2 * 2) * 4);
    assert_region(&layout, WORKSPACE_k_mean, 3 * 2 * 128 * 4);
    assert_region(&layout, WORKSPACE_lse_bias, 3 * 4 * rows * 4);
    assert_region(&layout, WORKSPACE_q_mean, 3 * 4 * (rows / 64) * 128 * 4);
    assert_region(&layout, WORKSPACE_k_centred, 3 * 2 * keys * 128 * 2);
    assert_region(&layout, WORKSPACE_delta_s, 3 * 4 * 32 * keys * 2 * 4); // each value twice
}

static void splits_follow_keys(void **state) {
    (void)state;
    static const struct {
        int64_t seq_k, splits;
    } rows[] = {{0, 1}, {1, 1}, {256, 1}, {257, 2}, {8192, 32}, {8193, 33}, {INT32_MAX - 256, 64}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sage_attention_shape shape = {1, 1, 1, 1, rows[i].seq_k};
        struct workspace_layout layout;
        assert_true(workspace_layout_make(&plain, &shape, &layout));
        assert_int_equal(layout.splits, rows[i].splits);
    }
}

// 10 MiB ahead, at most all of it; a tensor of 1000 keys has 250 KiB.
static void lead_follows_bytes(void **state) {
    (void)state;
    static const struct {
        int64_t batch, seq_k, lead;
    } rows[] = {{100, 0, 0}, {1, 1, 2}, {100, 1000, 41}, {1, 1000, 2}, {100, 8192, 6}, {1, 1 << 20, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sage_attention_shape shape = {rows[i].batch, 1, 1, 1, rows[i].seq_k};
        struct workspace_layout layout;
        assert_true(workspace_layout_make(&plain, &shape, &layout));
        assert_int_equal(layout.stats_lead, rows[i].lead);
    }
}

/* -- Properties ---- */

static void regions_follow_each_other_aligned(void **state) {
    (void)state;
    const struct meta meta = smoothed();
    for (int64_t seq = 0; seq < 1300; seq += 37) {
        const sage_attention_shape shape = {.batch = 1, .heads_q = 3, .heads_kv = 1, .seq_q = seq, .seq_k = 1300 - seq};
        struct workspace_layout layout;
        uint64_t end = 0;
        assert_true(workspace_layout_make(&meta, &shape, &layout));
        for (int i = 0; i < WORKSPACE_REGION_COUNT; i++) {
            assert_int_equal(layout.region[i].offset, end);
            assert_int_equal(layout.region[i].offset % WORKSPACE_REGION_ALIGNMENT, 0);
            end += layout.region[i].bytes;
        }
        assert_int_equal(layout.bytes, end);
    }
}

static uint64_t total(int64_t seq_q, int64_t seq_k) {
    const struct meta meta = smoothed();
    const sage_attention_shape shape = {.batch = 2, .heads_q = 8, .heads_kv = 2, .seq_q = seq_q, .seq_k = seq_k};
    struct workspace_layout layout;
    assert_true(workspace_layout_make(&meta, &shape, &layout));
    return layout.bytes;
}

// Lengths are multiples of both tiles, and long enough for all splits, so that growth is exact.
static void growth_is_linear(void **state) {
    (void)state;
    const int64_t n = 65536;
    assert_int_equal(total(2 * n, n) - total(n, n), total(3 * n, n) - total(2 * n, n));
    assert_int_equal(total(n, 2 * n) - total(n, n), total(n, 3 * n) - total(n, 2 * n));
    assert_int_equal(total(2 * n, 2 * n) - total(n, 2 * n), total(2 * n, n) - total(n, n)); // no term in seq_q * seq_k
}

static void empty_shapes_need_little_but_not_nothing(void **state) {
    (void)state;
    const struct meta meta = smoothed();
    const sage_attention_shape shape = {.batch = 0, .heads_q = 8, .heads_kv = 8, .seq_q = 4096, .seq_k = 4096};
    struct workspace_layout layout;
    assert_true(workspace_layout_make(&meta, &shape, &layout));
    assert_int_equal(layout.bytes, WORKSPACE_REGION_ALIGNMENT);
    assert_true(total(0, 0) > 0);
}

/* -- Impossible shapes ---- */

static void totals_beyond_63_bits_are_refused(void **state) {
    (void)state;
    const struct meta meta = smoothed();
    const int64_t most = INT32_MAX;
    const sage_attention_shape shapes[] = {
        {most, most, 1, most - 256, 1},
        {most, 1, 1, 1, most - 256},
        {most, most, most, most - 256, most - 256},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct workspace_layout layout = {.bytes = 7};
        char why[256];
        assert_null(workspace_check_shape(&shapes[i], why));
        assert_false(workspace_layout_make(&meta, &shapes[i], &layout));
        assert_int_equal(layout.bytes, 7);
    }
}

static void long_sequences_need_64_bits(void **state) {
    (void)state;
    const sage_attention_shape shape = {.batch = 1, .heads_q = 1, .heads_kv = 1, .seq_q = INT32_MAX - 256, .seq_k = 1};
    struct workspace_layout layout;
    assert_true(workspace_layout_make(&plain, &shape, &layout));
    assert_true(layout.bytes > UINT32_MAX);
    assert_int_equal(layout.region[WORKSPACE_q_tiles].bytes, ((uint64_t)INT32_MAX - 256 + 127) / 128 * 128 * 128);
}

static void shapes_out_of_range_are_named(void **state) {
    (void)state;
    const int64_t over = (int64_t)INT32_MAX + 1;
    const struct {
        sage_attention_shape shape;
        const char *text;
    } rows[] = {
        {{-1, 1, 1, 1, 1}, "shape.batch = -1"},
        {{over, 1, 1, 1, 1}, "shape.batch = 2147483648"},
        {{1, 0, 1, 1, 1}, "shape.heads_q = 0"},
        {{1, -8, 1, 1, 1}, "shape.heads_q = -8"},
        {{1, 1, 0, 1, 1}, "shape.heads_kv = 0"},
        {{1, 8, 3, 1, 1}, "shape.heads_q = 8 is not a multiple of shape.heads_kv = 3"},
        {{1, 2, 4, 1, 1}, "not a multiple"},
        {{1, 1, 1, -1, 1}, "shape.seq_q = -1"},
        {{1, 1, 1, over - 256, 1}, "shape.seq_q = 2147483392"},
        {{1, 1, 1, 1, -5}, "shape.seq_k = -5"},
        {{1, 1, 1, 1, INT64_MAX}, "shape.seq_k = 9223372036854775807"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char why[256];
        assert_non_null(workspace_check_shape(&rows[i].shape, why));
        assert_non_null(strstr(why, rows[i].text));
    }
    const sage_attention_shape largest = {INT32_MAX, INT32_MAX, 1, over - 257, over - 257};
    char why[256];
    assert_null(workspace_check_shape(&largest, why));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_a_plain_kernel),
        cmocka_unit_test(sizes_of_a_smoothed_kernel),
        cmocka_unit_test(splits_follow_keys),
        cmocka_unit_test(lead_follows_bytes),
        cmocka_unit_test(regions_follow_each_other_aligned),
        cmocka_unit_test(growth_is_linear),
        cmocka_unit_test(empty_shapes_need_little_but_not_nothing),
        cmocka_unit_test(totals_beyond_63_bits_are_refused),
        cmocka_unit_test(long_sequences_need_64_bits),
        cmocka_unit_test(shapes_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
