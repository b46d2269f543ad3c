// plan: computes every derived number of a kernel. Comes in: a validated spec, a target, a tuning point. Goes out: struct plan, or the
// reason why the point cannot run there. Never expands text, never asks a GPU.
// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SMEM_STATIC_MAX (48 * 1024) /* bytes a kernel may declare without asking the driver */
#define IN_PLACE_LAZY   4           /* log2: a tuning point that sums in place leaves O alone while maxima grow by less */
#define SUM_KEYS_MAX    128         /* keys whose P V the tensor core may sum in 13 bits where V has a mean (tuning/notes/hopper.md) */

static int round_up(int x, int to)
{
    return (x + to - 1) / to * to;
}

static int at_least(int a, int b)
{
    return a > b ? a : b;
}

static int format_bits(enum spec_format f)
{
    return f == SPEC_FORMAT_FP16 ? 16 : spec_format_is_fp4(f) ? 4 : 8;
}

// Widest of 128, 64, 32 bytes that divides a row: the swizzle modes.
static int panel_bytes(int row_bytes)
{
    return row_bytes % 128 == 0 ? 128 : row_bytes % 64 == 0 ? 64 : 32;
}

// 4-bit operands in either product: a warp goes over the keys in steps of 64.
static bool uses_steps(const struct spec *spec)
{
    return spec_format_is_fp4(spec->qk_format) || spec_format_is_fp4(spec->p_format);
}

static bool uses_wgmma(const struct spec *spec, const struct arch *arch)
{
    return arch->wgmma && !uses_steps(spec);
}

// The block-scaled mma.sync of Blackwell, fed by a producer warp through the bulk copy engine.
static bool uses_block_scaled(const struct spec *spec, const struct arch *arch)
{
    return arch->block_scaled_mma && uses_steps(spec);
}

static bool uses_barriers(const struct spec *spec, const struct arch *arch)
{
    return uses_wgmma(spec, arch) || uses_block_scaled(spec, arch);
}

static bool needs_stats_v(const struct spec *spec, enum spec_io io)
{
    return spec->v_format != SPEC_FORMAT_FP16 || io == SPEC_IO_BF16 || spec->smooth_v == SPEC_SMOOTH_MEAN;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------------------------ */

static void plan_sizes(struct plan *p, const struct spec *spec, struct variant v)
{
    const bool qk4 = spec_format_is_fp4(spec->qk_format), v4 = spec_format_is_fp4(spec->v_format);
    p->qk4 = qk4;
    p->pv4 = v4;
    p->fp4 = uses_steps(spec);
    p->head_dim_qk = spec->head_dim_qk;
    p->head_dim_v = spec->head_dim_v;
    p->d_qk = round_up(spec->head_dim_qk, qk4 ? 64 : 32);
    p->d_v = round_up(spec->head_dim_v, v4 ? 32 : 16);
    p->tile_q = v.tile_q;
    p->tile_k = v.tile_k;
    p->stages = v.stages;
    p->warps = v.warps;
    p->rows_per_warp = v.tile_q / v.warps;
    p->m_tiles = p->rows_per_warp / 16;
    p->qk_row_bytes = p->d_qk * format_bits(spec->qk_format) / 8;
    p->qk_panel_bytes = panel_bytes(p->qk_row_bytes);
    p->v_row_bytes = p->tile_k * format_bits(spec->v_format) / 8;
    p->v_panel_bytes = panel_bytes(p->v_row_bytes);
    const int q_words = p->tile_q / 16 * ((p->d_qk / 64 + 1) / 2) * 32, k_words = p->tile_k / 32 * (p->d_qk / 64) * 32;
    p->q_sf_bytes = qk4 ? 4 * q_words : 0;
    p->k_sf_bytes = qk4 ? 4 * k_words : 0;
    p->v_sf_bytes = v4 ? p->d_v / 32 * (p->tile_k / 64) * 128 : 0;
    // int8 and fp8 scales span 64 keys, as SageAttention's do, whatever the tile: wider ones lose accuracy on correlated tokens.
    p->k_scale_keys = qk4 || p->tile_k % 64 ? p->tile_k : 64;
    p->k_scales = p->tile_k / p->k_scale_keys * 4; // a set is one scale for each lane of a quad
    if (!qk4 && spec->qk_granularity == SPEC_GRANULARITY_PER_TOKEN) p->k_scale_keys = 1, p->k_scales = p->tile_k;
    // A scale for every query row is free in the main loop, and makes the row's largest fp8 code exact; int8 follows SageAttention2.
    p->q_thread_rows = spec->qk_format == SPEC_FORMAT_FP8_E4M3 ? 1 : 2;
    p->q_tile_bytes = p->tile_q * p->qk_row_bytes + p->q_sf_bytes;
    p->k_tile_bytes = p->tile_k * p->qk_row_bytes + p->k_sf_bytes + 4 * p->k_scales;
    p->v_tile_bytes = p->d_v * p->v_row_bytes + p->v_sf_bytes;
    p->qk_block = spec->qk_block;
    p->v_block = spec->pv_block;
    p->q_group = spec->smooth_q_group;
    p->delta_groups = p->q_group ? 1024 / p->q_group : 0;
    p->rotate_width = p->d_qk & -p->d_qk;
}

#define MMA_LAZY_D_V 192 /* at 256 channels 40 bytes spill */

// Tiles that the tensor core sums by itself, and what long sums need: V without its mean, O left alone while a maximum grows a little.
// mma.sync adds to fp32 after every tile: its sums are in registers either way, and above MMA_LAZY_D_V leave none for a lazy maximum.
static void plan_flush(struct plan *p, const struct spec *spec, struct variant v, bool wgmma)
{
    p->flush_tiles = !wgmma || spec->safe ? 1 : v.in_place ? v.in_place : spec->flush_tiles;
    p->smooth_v = spec->smooth_v == SPEC_SMOOTH_MEAN || v.in_place;
    p->diffuse_v = spec->v_rounding == SPEC_V_ROUNDING_ERROR_DIFFUSION;
    const bool lazy = !spec->safe && (wgmma || p->fp4 || p->d_v <= MMA_LAZY_D_V);
    p->lazy_rescale = !lazy ? 0 : at_least(spec->lazy_rescale_log2, v.in_place ? IN_PLACE_LAZY : 0);
}

// The row sum of the quantised P as one more column tile of O: from 8 rows of ones behind V in one wgmma where V is one panel and the
// width is legal, else from an MMA of its own.
static void plan_row_sum(struct plan *p, const struct spec *spec, const struct arch *arch)
{
    const bool wgmma = uses_wgmma(spec, arch), quantised = spec->row_sum == SPEC_ROW_SUM_QUANTISED;
    const bool fp8 = spec->v_format == SPEC_FORMAT_FP8_E4M3, fresh = wgmma && fp8 && p->flush_tiles == 1;
    p->pv_in_place = p->fp4 && !(fp8 && (spec->safe || !arch->block_scaled_mma)); // Blackwell keeps 25 bits of a sum of fp8 products
    p->sum_in_o = p->pv_in_place && quantised; // from a column of ones that is no part of V
    p->sum_in_pv = wgmma && quantised && p->v_panel_bytes == p->v_row_bytes && p->d_v + 8 <= 256;
    p->pv_tiles = p->d_v / 8 + (wgmma && quantised);
    p->o_tiles = (fresh ? p->d_v / 8 : p->pv_tiles) + p->sum_in_o;
}

// Slots of K, V and delta_s each in a row; or, for block-scaled MMA, each slot with its three parts together, so that one base addresses
// all of them.
static void plan_slots(struct plan *p, int align, bool together)
{
    const int k = round_up(p->k_tile_bytes, align), v = round_up(p->v_tile_bytes + (p->sum_in_pv ? 8 * p->v_row_bytes : 0), align);
    const int delta = p->q_group ? p->tile_q / p->q_group * p->tile_k * 8 : 0; // each value twice
    const int slot = k + v + round_up(delta, align);
    p->delta_tile_bytes = delta;
    p->smem_k_stride = together ? slot : k;
    p->smem_v_stride = together ? slot : v;
    p->smem_delta_stride = together ? slot : delta;
    p->smem_v = p->smem_k + (together ? k : p->stages * k);
    p->smem_delta = p->smem_v + (together ? v : p->stages * v);
    p->smem_ones = p->smem_k + p->stages * (together ? slot : k + v + delta);
}

// How products run beside a softmax. Without a producer, tiles arrive at fixed points of the loop.
static enum spec_overlap overlap_of(const struct spec *spec, const struct arch *arch, struct variant v)
{
    return !uses_barriers(spec, arch) ? SPEC_OVERLAP_NONE : v.overlap ? v.overlap : spec->overlap;
}

// P is tried with the maximum of earlier tiles where the kernel sees P beyond its head room, and there is head room.
static bool keeps_max(const struct plan *p, const struct spec *spec, bool wgmma, enum spec_overlap overlap)
{
    const bool linear = spec->p_block_scale == SPEC_P_BLOCK_SCALE_LOG_LINEAR;
    const bool seen = wgmma ? overlap != SPEC_OVERLAP_PV : p->fp4 && (linear || !p->pv4);
    return spec->max == SPEC_MAX_ON_OVERFLOW && seen && !spec->safe && p->lazy_rescale > 0;
}

static void plan_schedule(struct plan *p, const struct spec *spec, const struct arch *arch, struct variant v)
{
    const bool wgmma = uses_wgmma(spec, arch);
    const enum spec_overlap overlap = overlap_of(spec, arch, v);
    p->overlap = spec_overlap_text(overlap);
    p->max = spec_max_text(keeps_max(p, spec, wgmma, overlap) ? SPEC_MAX_ON_OVERFLOW : SPEC_MAX_EACH_TILE);
    p->exp2_poly = keeps_max(p, spec, wgmma, overlap) ? spec->exp2_poly : 0;
    p->persistent = wgmma && spec->blocks == SPEC_BLOCKS_PERSISTENT && overlap != SPEC_OVERLAP_PV;
    // Maxima of int32 scores where they are of one scale, and where a maximum of three is one instruction.
    p->int_max = wgmma && spec->qk_format == SPEC_FORMAT_INT8 && spec->qk_granularity != SPEC_GRANULARITY_PER_TOKEN;
}

// What comes behind the large regions of shared memory: the maxima that flushed sums are relative to, wgmma's note of the tile, barriers. Where
// sums are flushed, shared memory may be full to the last KB (128 of it the sums, at 256 channels): then they stand in the first slot of K,
// behind its scales, where the swizzle's alignment leaves room.
static void plan_smem_tail(struct plan *p, bool wgmma, bool barriers, int from)
{
    const int flushed = p->flush_tiles > 1 ? p->tile_q * 4 : 0, tile = wgmma ? 64 : 0;
    p->barrier_bytes = barriers ? (1 + p->persistent + (wgmma ? 4 : 2) * p->stages) * 8 : 0;
    const int tail = flushed + tile + p->barrier_bytes, k_end = round_up(p->k_tile_bytes, 16);
    p->tail_in_k = flushed > 0 && tail <= p->smem_k_stride - k_end;
    p->smem_flushed = p->tail_in_k ? p->smem_k + k_end : from;
    p->smem_tile = p->smem_flushed + flushed;
    p->smem_barriers = p->smem_tile + tile;
    p->smem_bytes = p->tail_in_k ? from : from + tail;
}

// Shared memory of the attention kernel: Q, then the slots of K, V, delta_s, then ones and flushed sums, then what is small.
static void plan_smem(struct plan *p, bool wgmma, bool barriers)
{
    const int align = wgmma ? 1024 : 128;
    p->smem_q = 0;
    p->smem_k = round_up(p->q_tile_bytes, align);
    plan_slots(p, align, barriers && !wgmma);
    p->smem_master = p->smem_ones + (p->pv_tiles > p->d_v / 8 && !p->sum_in_pv ? 1024 : 0);
    plan_smem_tail(p, wgmma, barriers, p->smem_master + (p->flush_tiles > 1 ? p->tile_q * p->d_v * 4 : 0));
}

#define QUANT_THREADS_MAX 384

// A thread of a quantiser keeps to one column of 8 channels, and walks down the rows of a tile.
static int quantiser_threads(const struct plan *p)
{
    const int chunks = p->d_qk / 8;
    int rows = 8;
    while (2 * rows * chunks <= QUANT_THREADS_MAX && p->tile_q % (2 * rows) == 0 && p->tile_k % (2 * rows) == 0) rows *= 2;
    return rows * chunks;
}

// Blocks of a quantiser that an SM holds, by its registers. 4 bits: a block of V's channel, and the search for its scale. 8 bits: 16 bytes of
// each item of a tile of `rows`, which are all loaded before the first is used, or its 8 rotated values; and the rest.
static int quantiser_blocks(const struct plan *p, bool rotate, int rows)
{
    const int items = rows * (p->d_qk / 8) / p->quant_threads;
    const int four = p->qk4 || p->pv4 ? 96 : 0, eight = p->qk4 && p->pv4 ? 0 : 48 + (rotate && !p->qk4 ? 8 : 4) * at_least(items, 8);
    return 65536 / (at_least(four, eight) * p->quant_threads);
}

static void plan_quantiser(struct plan *p, const struct spec *spec)
{
    p->quant_threads = quantiser_threads(p);
    p->quant_q_blocks = quantiser_blocks(p, spec->rotate_qk != SPEC_ROTATE_NONE, p->tile_q);
    p->quant_kv_blocks = quantiser_blocks(p, spec->rotate_qk != SPEC_ROTATE_NONE, p->tile_k);
    const int groups = at_least(p->tile_q, p->tile_k) * 8;
    const int means = p->q_group ? p->tile_q / p->q_group * p->d_qk * 4 : 0;
    const int qk = p->qk4 ? 4 * p->d_qk + means + groups : groups;
    const int codes = p->diffuse_v ? p->tile_k * (p->d_v + 8) : p->d_v * p->v_row_bytes; // diffused: first, a sum of four errors for each word
    const int v = (p->pv4 ? p->tile_k * (p->d_v + 8) * 2 : codes) + (p->diffuse_v ? 3 : 2) * 4 * p->d_v;
    const int dot = p->tile_q * (p->d_qk / 32) * 4;
    const int stats = 8 * 4 * (p->quant_threads + at_least(p->d_qk, p->d_v) / 8);
    p->quant_q_smem_bytes = round_up(qk, 16);
    p->quant_kv_smem_bytes = round_up(at_least(at_least(qk, v), at_least(dot, stats)), 16);
}

// A producer warpgroup hands registers on to the warps that compute, unless the block is so small that each thread starts with more than
// they would have: setmaxnreg.inc must not lower the count.
static void plan_registers(struct plan *p, const struct arch *arch)
{
    const int producer = 24, rest = (arch->registers_sm - 128 * producer) / (32 * p->warps) / 8 * 8;
    p->consumer_registers = rest < 240 ? rest : 240;
    p->producer_registers = arch->registers_sm / (128 + 32 * p->warps) > p->consumer_registers ? 0 : producer;
}

// Registers a thread of the attention kernel needs, roughly: output, fresh accumulator, scores, packed P, Q, the rest. Fitted to what
// ptxas 13.0 reports: a point that is refused here spilled, one that passes did not.
static int registers_estimate(const struct plan *p, const struct spec *spec, bool wgmma, enum spec_overlap overlap)
{
    const int output = p->d_v / 2 * p->m_tiles, scores = p->tile_k / 2 * p->m_tiles, packed = p->v_row_bytes / 8 * p->m_tiles;
    const bool fresh = wgmma && spec->v_format == SPEC_FORMAT_FP8_E4M3 && p->flush_tiles == 1;
    const int q = (p->q_resident ? p->qk_row_bytes / 8 : 8) * p->m_tiles;
    if (wgmma && overlap == SPEC_OVERLAP_QK) return output + scores + packed + scores / 8 + (p->int_max ? 36 : 48);
    if (wgmma && overlap == SPEC_OVERLAP_PV) return output + (fresh ? p->d_v / 2 : 0) + scores + packed + 36; // P stays beside the next scores
    if (wgmma) return output + (fresh ? p->d_v / 2 : 0) + scores + packed / 2 + (p->flush_tiles > 1 ? 24 : 36);
    if (p->fp4) return output + scores + q + 64; // float scores from the start, of 64 keys at a time
    const int temporary = spec->v_format == SPEC_FORMAT_FP8_E4M3 ? 8 * p->m_tiles : 0;
    return output + temporary + 2 * scores + packed / 2 + q + 48; // the compiler keeps integer scores beside their fp32 form
}

// Q's fragments stay in registers where they fit beside everything else; else each tile reads them again from shared memory.
static void plan_residence(struct plan *p, const struct spec *spec, bool wgmma)
{
    p->q_resident = true;
    if (!wgmma && !p->qk4) p->q_resident = registers_estimate(p, spec, wgmma, SPEC_OVERLAP_NONE) <= 232;
}

// Sizes, shared memory and registers: what decides whether a tuning point can run.
static struct plan plan_numbers(const struct spec *spec, const struct arch *arch, struct variant v)
{
    const bool wgmma = uses_wgmma(spec, arch);
    struct plan p = {.sm = arch->sm, .l2_mb = arch->l2_mb};
    plan_sizes(&p, spec, v);
    plan_flush(&p, spec, v, wgmma);
    plan_row_sum(&p, spec, arch);
    plan_schedule(&p, spec, arch, v);
    plan_smem(&p, wgmma, uses_barriers(spec, arch));
    plan_quantiser(&p, spec);
    plan_registers(&p, arch);
    plan_residence(&p, spec, wgmma);
    return p;
}

/* ---- applicable ---------------------------------------------------------------------------------------------------------------------- */

#define REFUSE(condition, ...)                                                                                                            \
    if (condition) {                                                                                                                      \
        snprintf(why, n, __VA_ARGS__);                                                                                                    \
        return why;                                                                                                                       \
    }

static const char *applicable_shape(const struct spec *spec, const struct arch *arch, struct variant v, char *why, size_t n)
{
    const bool fp8 = spec->qk_format == SPEC_FORMAT_FP8_E4M3 || spec->v_format == SPEC_FORMAT_FP8_E4M3;
    REFUSE(fp8 && !arch->fp8_mma, "%s has no fp8 MMA", spec_target_text(arch->target))
    REFUSE(v.tile_q % (16 * v.warps) != 0, "tile_q = %d is no multiple of 16 rows for each of %d warps", v.tile_q, v.warps)
    REFUSE(v.overlap && !uses_wgmma(spec, arch), "overlap = %s: tune.overlap is for wgmma", spec_overlap_text(v.overlap))
    REFUSE(overlap_of(spec, arch, v) == SPEC_OVERLAP_QK && arch->block_scaled_mma && v.tile_k % 128 != 0,
           "tile_k = %d must be a multiple of 128 for schedule.overlap = qk: scores of 64 keys alternate", v.tile_k)
    REFUSE(uses_steps(spec) && v.tile_k % 64 != 0, "tile_k = %d must be a multiple of 64 for 4-bit operands", v.tile_k)
    const int keys = spec->v_format == SPEC_FORMAT_FP16 ? 16 : 32;
    REFUSE(v.tile_k % keys != 0, "tile_k = %d must be a multiple of %d for %s", v.tile_k, keys, spec_format_text(spec->v_format))
    REFUSE(spec->smooth_q_group && (v.tile_q % spec->smooth_q_group || 1024 % v.tile_q), "smooth.q.group = %d must divide tile_q = %d, which must divide 1024",
           spec->smooth_q_group, v.tile_q)
    return NULL;
}

static const char *applicable_wgmma(const struct spec *spec, struct variant v, char *why, size_t n)
{
    REFUSE(v.warps != 8 && v.warps != 12, "warps = %d: wgmma needs 2 or 3 consumer warpgroups of 4", v.warps)
    REFUSE(v.tile_q != 16 * v.warps, "tile_q = %d: a warpgroup owns 64 rows, so %d warps own %d", v.tile_q, v.warps, 16 * v.warps)
    REFUSE(v.tile_k % 32 != 0, "tile_k = %d must be a multiple of 32 for wgmma", v.tile_k)
    REFUSE(spec->accumulate_in == SPEC_ACCUMULATOR_FP16, "wgmma accumulates fp8 in fp32 only here")
    REFUSE(!spec->safe && !v.in_place && spec->flush_tiles > 1 && spec->flush_tiles * v.tile_k > SUM_KEYS_MAX && spec->smooth_v != SPEC_SMOOTH_MEAN,
           "flush_tiles = %d sums the products of %d keys in 13 bits: more than %d need smooth.v: mean", spec->flush_tiles, spec->flush_tiles * v.tile_k, SUM_KEYS_MAX)
    return NULL;
}

// With 12 warps a head dim of 128 spilled: mma.sync's fragments of K and V pass through registers too.
static const char *applicable_mma(const struct arch *arch, struct variant v, char *why, size_t n)
{
    REFUSE(v.warps > 8, "warps = %d: %d registers a thread are too few for mma.sync", v.warps, arch->registers_sm / (32 * v.warps))
    return NULL;
}

static const char *applicable_in_place(const struct spec *spec, struct variant v, bool wgmma, char *why, size_t n)
{
    REFUSE(v.in_place && !wgmma, "in_place = %d: only wgmma sums over tiles", v.in_place)
    REFUSE(v.in_place && spec->safe, "in_place = %d: the safe form adds to fp32 after every tile", v.in_place)
    REFUSE(v.in_place && spec->p_format != SPEC_FORMAT_FP8_E4M3, "in_place = %d is of sums of fp8_e4m3, not of %s", v.in_place, spec_format_text(spec->p_format))
    REFUSE(v.in_place && spec->row_sum == SPEC_ROW_SUM_EXACT, "in_place = %d needs softmax.row_sum: quantised", v.in_place)
    return NULL;
}

// Scores of half a tile make place for those of the next one: their maximum is not known, and P V goes on without an accumulator of its own.
static const char *applicable_halves(const struct plan *p, const struct spec *spec, struct variant v, char *why, size_t n)
{
    REFUSE(strcmp(p->max, spec_max_text(SPEC_MAX_ON_OVERFLOW)) != 0,
           "overlap = qk needs schedule.max: on_overflow, and head room: softmax.lazy_rescale_log2 or tune.in_place")
    REFUSE(spec->v_format == SPEC_FORMAT_FP8_E4M3 && p->flush_tiles == 1, "overlap = qk needs sums in place: pv.accumulate.flush_tiles or tune.in_place above 1")
    REFUSE(v.tile_k % 64 != 0 || v.tile_k < 128, "tile_k = %d must be 128, 192 or 256 for overlap = qk: halves of two steps of 32 keys or more", v.tile_k)
    return NULL;
}

static const char *applicable_resources(const struct plan *p, const struct spec *spec, const struct arch *arch, enum spec_overlap overlap, char *why,
                                        size_t n)
{
    const bool wgmma = uses_wgmma(spec, arch);
    REFUSE(p->smem_bytes > arch->smem_block_bytes, "needs %d bytes of shared memory; %s has %d", p->smem_bytes, spec_target_text(arch->target),
           arch->smem_block_bytes)
    REFUSE(p->quant_kv_smem_bytes > SMEM_STATIC_MAX, "the quantiser needs %d bytes of shared memory; %d is the limit", p->quant_kv_smem_bytes, SMEM_STATIC_MAX)
    const int share = arch->registers_sm / (32 * p->warps);
    const int budget = uses_barriers(spec, arch) ? p->consumer_registers : share < 255 ? share : 255;
    const int need = registers_estimate(p, spec, wgmma, overlap);
    REFUSE(need > budget, "needs about %d registers a thread; %d are there", need, budget)
    return NULL;
}

const char *plan_applicable(const struct spec *spec, enum spec_target target, struct variant v, char *why, size_t n)
{
    const struct arch *arch = arch_of(target);
    const bool wgmma = uses_wgmma(spec, arch);
    if (applicable_shape(spec, arch, v, why, n)) return why;
    if (applicable_in_place(spec, v, wgmma, why, n)) return why;
    if (wgmma ? applicable_wgmma(spec, v, why, n) : applicable_mma(arch, v, why, n)) return why;
    const struct plan p = plan_numbers(spec, arch, v);
    const enum spec_overlap overlap = overlap_of(spec, arch, v);
    if (wgmma && overlap == SPEC_OVERLAP_QK && applicable_halves(&p, spec, v, why, n)) return why;
    return applicable_resources(&p, spec, arch, overlap, why, n);
}

bool plan_default_variant(const struct spec *spec, enum spec_target target, struct variant *out, char *why, size_t n)
{
    char other[256];
    for (int i = 0; i < variants_count(spec); i++) {
        const struct variant v = variants_get(spec, i);
        if (plan_applicable(spec, target, v, i == 0 ? why : other, i == 0 ? n : sizeof other)) continue;
        *out = v;
        return true;
    }
    return false;
}

/* ---- make ---------------------------------------------------------------------------------------------------------------------------- */

static double p_one_log2(const struct spec *spec, int lazy)
{
    switch (spec->p_format) {
    case SPEC_FORMAT_FP8_E4M3: return log2(448.0) - lazy; // p = 1 at 448 / 2^t, so that P never saturates
    case SPEC_FORMAT_NVFP4: return spec->p_scaling == SPEC_P_SCALING_TWO_LEVEL ? log2(448.0 * 6.0) - lazy : 0.0;
    default: return 0.0;
    }
}

static double v_largest(const struct spec *spec)
{
    if (spec_format_is_fp4(spec->v_format)) return 448.0 * 6.0;
    return spec->accumulate_in == SPEC_ACCUMULATOR_FP16 && !spec->safe ? 2.25 : 448.0; // SageAttention2++: 64 products fit fp16
}

static const char *scales_meaning(enum spec_granularity g)
{
    static const char *const text[SPEC_GRANULARITY_COUNT] = {
        [SPEC_GRANULARITY_PER_THREAD] = "for each set of keys, one for those with the same (key % 8) / 2",
        [SPEC_GRANULARITY_PER_WARP] = "one for each set of keys, four times",
        [SPEC_GRANULARITY_PER_BLOCK] = "one for each set of keys, four times",
        [SPEC_GRANULARITY_PER_TOKEN] = "one a key",
    };
    return text[g];
}

static const char *role_skeleton(enum sage_role role, bool wgmma, bool block_scaled)
{
    switch (role) {
    case SAGE_ROLE_QUANTISE_Q: return "quantise_q";
    case SAGE_ROLE_QUANTISE_KV: return "quantise_kv";
    case SAGE_ROLE_DELTA_S: return "delta_s";
    default: return wgmma ? "attn_fwd_sm90" : block_scaled ? "attn_fwd_sm120" : "attn_fwd_mma";
    }
}

static int role_threads(const struct plan *p, enum sage_role role, bool producer)
{
    switch (role) {
    case SAGE_ROLE_QUANTISE_Q:
    case SAGE_ROLE_QUANTISE_KV: return p->quant_threads;
    case SAGE_ROLE_DELTA_S: return p->tile_k;
    default: return 32 * p->warps + (producer ? 128 : 0);
    }
}

static void role_maths(struct plan *p, enum sage_role role)
{
    static const char *const what[SAGE_ROLE_COUNT] = {
        [SAGE_ROLE_QUANTISE_Q] = "Q quantised to tile images in the workspace",
        [SAGE_ROLE_QUANTISE_KV] = "K and V quantised to tile images in the workspace, by their statistics over the sequence",
        [SAGE_ROLE_DELTA_S] = "delta_s = mean(Q group) . (K - mean(K)), what Q smoothing takes out of the scores",
    };
    if (role == SAGE_ROLE_ATTN_FWD)
        snprintf(p->maths, sizeof p->maths, "O = softmax(Q K^T * sm_scale) V   QK in %s, PV in %s", p->qk_format, p->v_format);
    else
        snprintf(p->maths, sizeof p->maths, "%s (QK in %s, PV in %s)", what[role], p->qk_format, p->v_format);
}

static void plan_choices(struct plan *p, const struct plan_request *r)
{
    const struct spec *spec = r->spec;
    p->safe = spec->safe;
    p->dependent_launch = arch_of(r->target)->sm >= 90;
    p->emulate_fp4 = p->fp4 && !arch_of(r->target)->block_scaled_mma;
    p->smooth_k = spec->smooth_k == SPEC_SMOOTH_MEAN;
    p->rotate = spec->rotate_qk == SPEC_ROTATE_HADAMARD;
    p->stats_v = needs_stats_v(spec, r->io);
    p->stats_width = p->smooth_k || p->stats_v ? round_up(at_least(p->d_qk, p->d_v), 8) : 0;
    p->log2_p_one = p_one_log2(spec, p->lazy_rescale);
    p->v_max = v_largest(spec);
    p->accumulate = spec_accumulator_text(spec->safe ? SPEC_ACCUMULATOR_FP32 : spec->accumulate_in);
    p->row_sum = spec_row_sum_text(spec->row_sum);
    const bool linear = spec->p_block_scale == SPEC_P_BLOCK_SCALE_LOG_LINEAR;
    p->log_code = spec->softmax_exp == SPEC_EXP_LOG_CODE;
    p->p_block_scale = spec_p_block_scale_text(spec->p_block_scale);
    p->p_code_one = 126 - 8 * p->lazy_rescale;
    p->max_growth = p->lazy_rescale + (linear ? 0.98125 / 8 : 0.0); // log_linear: up to the code that rounds to 126
}

static void plan_texts(struct plan *p, const struct plan_request *r, bool wgmma, bool block_scaled)
{
    const struct spec *spec = r->spec;
    p->spec = spec;
    p->spec_name = spec->name;
    p->target = spec_target_text(r->target);
    p->io = spec_io_text(r->io);
    p->mask = r->role == SAGE_ROLE_ATTN_FWD ? spec_mask_text(r->mask) : spec_mask_text(SPEC_MASK_NONE);
    p->role = sage_role_text(r->role);
    p->skeleton = role_skeleton(r->role, wgmma, block_scaled);
    p->qk_format = spec_format_text(spec->qk_format);
    p->p_format = spec_format_text(spec->p_format);
    p->v_format = spec_format_text(spec->v_format);
    p->granularity = p->qk4 ? "" : spec_granularity_text(spec->qk_granularity);
    p->k_scales_meaning = scales_meaning(spec->qk_granularity);
    variant_text(r->variant, p->variant);
    snprintf(p->entry, sizeof p->entry, "%s_%s_%s_%s_%s%s%s%s", spec->name, p->role, p->variant, p->target, p->io,
             r->role == SAGE_ROLE_ATTN_FWD ? "_" : "", r->role == SAGE_ROLE_ATTN_FWD ? p->mask : "", spec->safe ? "_safe" : "");
    role_maths(p, r->role);
}

void plan_make(struct plan *out, const struct plan_request *r)
{
    const struct arch *arch = arch_of(r->target);
    struct plan p = plan_numbers(r->spec, arch, r->variant);
    plan_choices(&p, r);
    plan_texts(&p, r, uses_wgmma(r->spec, arch), uses_block_scaled(r->spec, arch));
    // Causal query tiles differ in length, and a fixed share of them can be all long ones (132 SMs, 22 tiles a head: 0.55 of an even share);
    // the GPU hands blocks out as SMs become free.
    if (r->role == SAGE_ROLE_ATTN_FWD && r->mask == SPEC_MASK_CAUSAL) p.persistent = 0;
    p.threads = role_threads(&p, r->role, uses_barriers(r->spec, arch));
    p.cost_qk_mma = p.tile_q / 16 * (p.tile_k / 8) * (p.qk_row_bytes / 32);
    p.cost_pv_mma = p.tile_q / 16 * (p.d_v / 8) * (p.v_row_bytes / 32);
    *out = p;
}

bool plan_needs_role(const struct spec *spec, enum sage_role role)
{
    return role != SAGE_ROLE_DELTA_S || spec->smooth_q_group != 0;
}
