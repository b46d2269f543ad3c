// plan: spec + target + tuning point -> every derived number, computed once: padded sizes, workspace images, shared-memory map, register
// budget. Templates read a plan and decide nothing; the metadata quotes it. plan_applicable() is a pure predicate.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_PLAN_H
#define SAGE_GEN_PLAN_H

#include "arch.h"
#include "expand.h"
#include "provider.h"
#include "spec.h"
#include "variants.h"

// X(name, help): what templates and the metadata see.
#define PLAN_INTS(X)                                                                                                                      \
    X(head_dim_qk, "elements of a Q or K row") X(head_dim_v, "elements of a V or O row")                                                  \
    X(d_qk, "head_dim_qk padded to the depth of the MMA") X(d_v, "head_dim_v padded to the width of the MMA")                             \
    X(tile_q, "query rows of a block") X(tile_k, "keys of a tile") X(stages, "K/V tiles in flight")                                       \
    X(warps, "warps that compute") X(m_tiles, "16-row MMA tiles of a warp") X(rows_per_warp, "rows") X(threads, "per block of this role")  \
    X(qk_row_bytes, "of a quantised Q or K row") X(qk_panel_bytes, "a row is cut into panels this wide")                                  \
    X(v_row_bytes, "of a quantised, transposed V row: tile_k keys") X(v_panel_bytes, "")                                                  \
    X(q_sf_bytes, "block scales of a Q tile") X(k_sf_bytes, "of a K tile") X(v_sf_bytes, "of a V tile")                                    \
    X(k_scale_keys, "consecutive keys that share a set of fp32 scales; 1: one a key") X(k_scales, "fp32 scales behind a K tile")          \
    X(q_thread_rows, "query rows that share a per_thread scale: 2, those of a lane; or 1")                                                \
    X(q_tile_bytes, "image of a Q tile") X(k_tile_bytes, "of a K tile") X(v_tile_bytes, "of a V tile")                                     \
    X(qk_block, "elements of a block scale; 0: none") X(v_block, "elements of a block scale; 0: none")                                    \
    X(q_group, "query rows that share a mean; 0: none") X(delta_groups, "groups of a query chunk")                                        \
    X(rotate_width, "channels of a rotation block")                                                                                       \
    X(stats_width, "floats of a row of the statistics; 0: none needed")                                                                   \
    X(quant_threads, "threads of the quantisers: whole rows of Q and K, 8 or a power of two times as many")                              \
    X(quant_q_blocks, "of quantise_q that an SM is to hold at once: bounds its registers")                                                \
    X(quant_kv_blocks, "of quantise_kv, likewise")                                                                                        \
    X(quant_q_smem_bytes, "static shared memory of quantise_q") X(quant_kv_smem_bytes, "of quantise_kv")                                  \
    X(smem_q, "offset") X(smem_k, "offset") X(smem_k_stride, "bytes") X(smem_v, "offset") X(smem_v_stride, "bytes")                        \
    X(smem_delta, "offset") X(smem_delta_stride, "bytes") X(delta_tile_bytes, "delta_s of a tile of queries and a tile of keys")          \
    X(smem_ones, "offset") X(smem_master, "offset") X(smem_flushed, "offset")                                                             \
    X(smem_tile, "offset") X(smem_barriers, "offset") X(barrier_bytes, "of all barriers") X(l2_mb, "of L2, for K and V of causal heads")                                                                                                            \
    X(smem_bytes, "dynamic shared memory of the attention kernel")                                                                        \
    X(lazy_rescale, "log2; 0: rescale always") X(exp2_poly, "quarters of P by a polynomial") X(p_code_one, "log_linear: ue4m3 code of the block scale of p = 1") X(flush_tiles, "tiles")                                                                    \
    X(o_tiles, "n8 column tiles of O in registers, its quantised row sum among them where the tensor core adds to both")\
    X(pv_tiles, "n8 column tiles that a product P V of wgmma adds to")\
    X(consumer_registers, "after setmaxnreg") X(producer_registers, "after setmaxnreg; 0: no setmaxnreg")                                                   \
    X(cost_qk_mma, "MMAs of a tile") X(cost_pv_mma, "MMAs of a tile") X(sm, "compute capability times ten")

#define PLAN_BOOLS(X)                                                                                                                     \
    X(qk4, "Q and K are of 4 bits, with block scales") X(pv4, "P and V are")                                                              \
    X(fp4, "either: a warp goes over the keys in steps of 64") X(pv_in_place, "P V is added to O by the tensor core alone")                 \
    X(log_code, "e2m1 codes of P from exponents, without exponentials")                                                                   \
    X(sum_in_o, "the row sum of the quantised P ends as a column tile of O") X(emulate_fp4, "the target lacks block-scaled MMA")                                        \
    X(sum_in_pv, "ones behind V make the row sum in the same wgmma")\
    X(int_max, "row maxima are made of int32 scores, before their conversion")\
    X(q_resident, "Q fragments stay in registers") X(smooth_k, "") X(smooth_v, "") X(diffuse_v, "V's rounding errors of a tile are spread over every other 8 keys") X(rotate, "") X(stats_v, "statistics of V are needed")     \
    X(dependent_launch, "may start while the launch before still runs: it waits by itself") X(safe, "")\
    X(tail_in_k, "flushed, tile and barriers stand in slot 0 of K, behind its scales") \
    X(persistent, "wgmma: a block goes over query tiles, one block an SM")

#define PLAN_REALS(X) X(log2_p_one, "log2 of what p = 1 is stored as") X(v_max, "what the largest |V| of a channel is stored as") \
    X(max_growth, "log2; a row maximum moves when it is exceeded by more")

// Texts with static storage, or inside the plan.
#define PLAN_TEXTS(X)                                                                                                                     \
    X(spec_name, "") X(target, "") X(io, "") X(mask, "") X(role, "") X(skeleton, "template of this role") X(qk_format, "")                 \
    X(p_format, "") X(v_format, "") X(granularity, "\"\" for 4 bits") X(accumulate, "fp32 | fp16") X(row_sum, "exact | quantised") X(max, "each_tile | on_overflow")\
    X(overlap, "none | pv | qk") X(p_block_scale, "nearest | log_linear") \
    X(k_scales_meaning, "")

#define PLAN_INT(name, help) int name;
#define PLAN_BOOL(name, help) bool name;
#define PLAN_REAL(name, help) double name;
#define PLAN_TEXT(name, help) const char *name;

struct plan {
    PLAN_INTS(PLAN_INT)
    PLAN_BOOLS(PLAN_BOOL)
    PLAN_REALS(PLAN_REAL)
    PLAN_TEXTS(PLAN_TEXT)
    char variant[VARIANT_TEXT_MAX];
    char entry[160]; /* extern "C" name: spec_role_variant_target_io[_mask][_safe] */
    char maths[160]; /* one line for the banner */
    const struct spec *spec;
};

// What one kernel is made for.
struct plan_request {
    const struct spec *spec;
    enum spec_target target;
    enum spec_io io;
    enum spec_mask mask; /* ignored by roles that no mask changes */
    enum sage_role role;
    struct variant variant;
};

// NULL if the tuning point can run on the target, else the reason (in `why`, n bytes).
const char *plan_applicable(const struct spec *spec, enum spec_target target, struct variant v, char *why, size_t n);
// The first applicable tuning point; outside wgmma, the first whose int8 scales span at most 64 keys, if any. false: none; why has the reason for the first.
bool plan_default_variant(const struct spec *spec, enum spec_target target, struct variant *out, char *why, size_t n);
// Computes the plan. The tuning point must be applicable.
void plan_make(struct plan *out, const struct plan_request *request);
// Whether the spec needs a kernel of this role at all.
bool plan_needs_role(const struct spec *spec, enum sage_role role);
// Expands the plan's skeleton to CUDA text.
bool plan_expand(const struct plan *plan, const char *template_dir, struct diag *d, struct expansion *out);

#endif
