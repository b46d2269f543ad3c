// kernel_args: the one parameter struct of every emitted kernel, written once. C sees `struct sage_kernel_args`; the generator emits the
// same struct into each .cu from SAGE_KERNEL_ARGS, and asserts its size and every offset there. All pointers are device pointers.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_KERNEL_ARGS_H
#define SAGE_KERNEL_ARGS_H

#include <stdint.h>

// X(kind, name, help)   kind: ptr (device pointer, 8 bytes) | i64 | i32 | f32. 8-byte members first, so that there is no padding.
// Strides are in elements. Workspace regions are described in runtime/workspace.h and in the metadata of the kernels.
#define SAGE_KERNEL_ARGS(X)                                                                                                               \
    X(ptr, q, "[batch][heads_q][seq_q][d_qk] bf16 or fp16, strides below; never written")                                                \
    X(ptr, k, "[batch][heads_kv][seq_k][d_qk]")                                                                                           \
    X(ptr, v, "[batch][heads_kv][seq_k][d_v]")                                                                                            \
    X(ptr, o, "[batch][heads_q][seq_q][d_v]")                                                                                             \
    X(ptr, lse, "[batch][heads_q][seq_q] fp32, natural log; null: not wanted")                                                           \
    X(ptr, flags, "one u32 that kernels OR overflow bits into; null: not wanted")                                                        \
    X(ptr, q_tiles, "workspace: quantised Q, one image per tile")                                                                         \
    X(ptr, k_tiles, "workspace: quantised K, one image per tile")                                                                         \
    X(ptr, v_tiles, "workspace: quantised V, transposed, channels in the order of O in the accumulators, one image per tile of keys") \
    X(ptr, q_scale, "workspace: fp32 [batch][heads_q][rows of all q tiles], log2 units per score, sm_scale * log2 e folded in")          \
    X(ptr, v_scale, "workspace: fp32 [batch][heads_kv][2][d_v_padded], linear: scales, then means; O = acc * v_scale + mean") \
    X(ptr, progress, "workspace: u32 pieces of K and V drawn, then [batch][heads_kv][2] parts of their statistics done; high 16 bits: those that were not finite") \
    X(ptr, stats, "workspace: fp32 [batch][heads_kv][splits][4][stats_width], sum of K; sum, minimum, maximum of V per channel")          \
    X(ptr, k_mean, "workspace: fp32 [batch][heads_kv][d_qk_padded], mean of K over the sequence")                                        \
    X(ptr, lse_bias, "workspace: fp32 [batch][heads_q][rows], sm_scale * q . mean(K), natural-log units")                                 \
    X(ptr, q_mean, "workspace: fp32 [batch][heads_q][groups][d_qk_padded]")                                                               \
    X(ptr, k_centred, "workspace: K - mean(K) in the io type [batch][heads_kv][keys of all tiles][d_qk_padded]")                          \
    X(ptr, delta_s, "workspace: fp32 [batch][heads_q][q tiles of a chunk][k tiles][groups of a q tile][pairs of keys][2 copies][2], accumulator units") \
    X(i64, q_stride_b, "elements") X(i64, q_stride_h, "elements") X(i64, q_stride_n, "elements")                                          \
    X(i64, k_stride_b, "elements") X(i64, k_stride_h, "elements") X(i64, k_stride_n, "elements")                                          \
    X(i64, v_stride_b, "elements") X(i64, v_stride_h, "elements") X(i64, v_stride_n, "elements")                                          \
    X(i64, o_stride_b, "elements") X(i64, o_stride_h, "elements") X(i64, o_stride_n, "elements")                                          \
    X(i32, batch, "")                                                                                                                     \
    X(i32, heads_q, "") X(i32, heads_kv, "divides heads_q")                                                                               \
    X(i32, seq_q, "rows") X(i32, seq_k, "keys")                                                                                           \
    X(i32, q_tile_count, "tiles of tile_q rows per head") X(i32, k_tile_count, "tiles of tile_k keys per head")                           \
    X(i32, splits, "parts of the sequence that stats are taken over")                                                                     \
    X(i32, q_tile_first, "first q tile of this launch (queries in chunks)") X(i32, q_tile_launch, "q tiles of this launch, per head")    \
    X(i32, vector_io, "bit 0-3: q, k, v, o are 16-byte aligned with strides of multiples of 8")                                           \
    X(i32, stats_lead, "tensors (K or V of a head) by which statistics run ahead of quantising")                                                                  \
    X(f32, sm_scale, "linear") X(f32, reserved, "zero")

#define SAGE_ARG_TYPE_ptr uint64_t
#define SAGE_ARG_TYPE_i64 int64_t
#define SAGE_ARG_TYPE_i32 int32_t
#define SAGE_ARG_TYPE_f32 float
#define SAGE_ARG_MEMBER(kind, name, help) SAGE_ARG_TYPE_##kind name;

struct sage_kernel_args {
    SAGE_KERNEL_ARGS(SAGE_ARG_MEMBER)
};

#endif
