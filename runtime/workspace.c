// workspace: sizes and offsets of the regions. The sizes follow the shapes that kernel_args.h states for each pointer.
// SPDX-License-Identifier: Apache-2.0
#include "workspace.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static_assert(sizeof(size_t) == sizeof(uint64_t), "totals are handed out as size_t");
static_assert(WORKSPACE_SPLITS_MAX + 1 <= 0xffff, "parts are counted in the low 16 bits of a word");
static_assert(WORKSPACE_REGION_ALIGNMENT % WORKSPACE_ALIGNMENT == 0, "regions keep the alignment of the workspace");

/* -- Arithmetic that sticks at UINT64_MAX ---- */

static uint64_t times(uint64_t a, uint64_t b) {
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

static uint64_t plus(uint64_t a, uint64_t b) {
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

static uint64_t ceil_div(uint64_t a, uint64_t b) {
    return a / b + (a % b != 0);
}

static uint64_t round_up(uint64_t bytes) {
    uint64_t units = ceil_div(bytes, WORKSPACE_REGION_ALIGNMENT);
    return times(units, WORKSPACE_REGION_ALIGNMENT);
}

/* -- Shape ---- */

const char *workspace_check_shape(const sage_attention_shape *shape, char why[256]) {
    const int64_t seq_max = INT32_MAX - 256; /* the largest number below 2^31 - 256 */
    const struct {
        const char *name;
        int64_t value, min, max;
    } limits[] = {
        {"batch", shape->batch, 0, INT32_MAX},       {"heads_q", shape->heads_q, 1, INT32_MAX},
        {"heads_kv", shape->heads_kv, 1, INT32_MAX}, {"seq_q", shape->seq_q, 0, seq_max},
        {"seq_k", shape->seq_k, 0, seq_max},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (limits[i].value >= limits[i].min && limits[i].value <= limits[i].max) continue;
        snprintf(why, 256, "shape.%s = %" PRId64 " is out of range (%" PRId64 "...%" PRId64 ")", limits[i].name,
                 limits[i].value, limits[i].min, limits[i].max);
        return why;
    }
    if (shape->heads_q % shape->heads_kv != 0) {
        snprintf(why, 256, "shape.heads_q = %" PRId64 " is not a multiple of shape.heads_kv = %" PRId64, shape->heads_q,
                 shape->heads_kv);
        return why;
    }
    return NULL;
}

/* -- Regions ---- */

static int64_t split_count(int64_t seq_k) {
    uint64_t splits = ceil_div((uint64_t)seq_k, WORKSPACE_SPLIT_KEYS);
    if (splits < 1) return 1;
    return splits > WORKSPACE_SPLITS_MAX ? WORKSPACE_SPLITS_MAX : (int64_t)splits;
}

static int64_t lead_count(const struct meta *meta, const sage_attention_shape *shape) {
    const uint64_t tensors = times(times((uint64_t)shape->batch, (uint64_t)shape->heads_kv), 2), io = 2;
    const uint64_t bytes = times((uint64_t)shape->seq_k, (uint64_t)meta->d_qk * io);
    const uint64_t lead = bytes == 0 ? 0 : 1 + WORKSPACE_LEAD_BYTES / bytes;
    return (int64_t)(lead < tensors ? lead : tensors);
}

// Bytes of each region, before rounding; heads are counted over the whole batch. Members of meta are never negative, so
// the products of two of them and a small constant cannot wrap.
static void region_sizes(const struct meta *meta, const sage_attention_shape *shape, const struct workspace_layout *out,
                         uint64_t bytes[WORKSPACE_REGION_COUNT]) {
    const uint64_t heads_q = times((uint64_t)shape->batch, (uint64_t)shape->heads_q);
    const uint64_t heads_kv = times((uint64_t)shape->batch, (uint64_t)shape->heads_kv);
    const uint64_t q_tiles = (uint64_t)out->q_tile_count, k_tiles = (uint64_t)out->k_tile_count;
    const uint64_t rows = q_tiles * (uint64_t)meta->tile_q, keys = k_tiles * (uint64_t)meta->tile_k;
    const uint64_t d_qk = (uint64_t)meta->d_qk, d_v = (uint64_t)meta->d_v, f32 = sizeof(float), io = 2;
    const uint64_t stats_row = (uint64_t)meta->stats_width * f32; /* sum of K; sum, minimum, maximum of V */

    for (int i = 0; i < WORKSPACE_REGION_COUNT; i++) bytes[i] = 0;
    bytes[WORKSPACE_q_tiles] = times(heads_q, times(q_tiles, (uint64_t)meta->q_tile_bytes));
    bytes[WORKSPACE_k_tiles] = times(heads_kv, times(k_tiles, (uint64_t)meta->k_tile_bytes));
    bytes[WORKSPACE_v_tiles] = times(heads_kv, times(k_tiles, (uint64_t)meta->v_tile_bytes));
    bytes[WORKSPACE_q_scale] = times(heads_q, rows * f32);
    bytes[WORKSPACE_v_scale] = times(heads_kv, d_v * 2 * f32); /* scales, then means */
    if (meta->stats_width != 0) bytes[WORKSPACE_progress] = times(plus(1, times(heads_kv, 2)), sizeof(uint32_t));
    bytes[WORKSPACE_stats] = times(heads_kv, (uint64_t)out->splits * 4 * stats_row);
    if (meta->smooth_k != 0) bytes[WORKSPACE_k_mean] = times(heads_kv, d_qk * f32);
    if (meta->smooth_k != 0) bytes[WORKSPACE_lse_bias] = times(heads_q, rows * f32);
    if (meta->q_group == 0) return;
    bytes[WORKSPACE_q_mean] = times(heads_q, times(ceil_div(rows, (uint64_t)meta->q_group), d_qk * f32));
    bytes[WORKSPACE_k_centred] = times(heads_kv, times(keys, d_qk * io));
    bytes[WORKSPACE_delta_s] = times(heads_q, times((uint64_t)meta->delta_groups, 2 * keys * f32));
}

bool workspace_layout_make(const struct meta *meta, const sage_attention_shape *shape, struct workspace_layout *out) {
    assert(meta->tile_q > 0 && meta->tile_k > 0 && shape->heads_kv > 0);
    struct workspace_layout layout = {
        .q_tile_count = (int64_t)ceil_div((uint64_t)shape->seq_q, (uint64_t)meta->tile_q),
        .k_tile_count = (int64_t)ceil_div((uint64_t)shape->seq_k, (uint64_t)meta->tile_k),
        .splits = split_count(shape->seq_k),
        .stats_lead = lead_count(meta, shape),
    };
    uint64_t bytes[WORKSPACE_REGION_COUNT];
    region_sizes(meta, shape, &layout, bytes);
    for (int i = 0; i < WORKSPACE_REGION_COUNT; i++) {
        layout.region[i].offset = layout.bytes;
        layout.region[i].bytes = round_up(bytes[i]);
        layout.bytes = plus(layout.bytes, layout.region[i].bytes);
    }
    if (layout.bytes > INT64_MAX) return false;
    // 0 means "impossible shape" to the caller, so a call without work asks for one unit.
    if (layout.bytes == 0) layout.bytes = WORKSPACE_REGION_ALIGNMENT;
    *out = layout;
    return true;
}
