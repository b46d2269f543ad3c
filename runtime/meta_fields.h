// meta_fields: the contents of kernel.meta, one row per field; `name: value` lines in this order. Written by gen/meta.c, read by
// runtime/meta.c, from this one table. A reader refuses a file of another version, and one that lacks a field.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_META_FIELDS_H
#define SAGE_META_FIELDS_H

#ifndef SAGE_META_VERSION // a test builds a libsage of another version
#define SAGE_META_VERSION 3
#endif

// X(name, help)
#define SAGE_META_TEXTS(X)                                                                                                                \
    X(role, "quantise_q | quantise_kv | delta_s | attn_fwd")                                                                             \
    X(entry, "extern C name in the cubin")                                                                                                \
    X(spec, "name of the spec")                                                                                                           \
    X(family, "the spec's name up to its head dim: int8_fp8 of int8_fp8_d128")                                                            \
    X(variant, "tuning point: q128_k64_s2_w8")                                                                                            \
    X(target, "sm_90a")                                                                                                                   \
    X(io, "bf16 | fp16")                                                                                                                  \
    X(mask, "none | causal; none for roles that no mask changes")                                                                         \
    X(qk_format, "int8 | fp8_e4m3 | nvfp4 | mxfp4") X(v_format, "fp16 | fp8_e4m3 | nvfp4 | mxfp4")                                                    \
    X(sagegen, "version of the generator")                                                                                                \
    X(spec_hash, "XXH3-64 of the canonical spec, 16 hex digits")                                                                          \
    X(source_hash, "XXH3-128 of kernel.cu, 32 hex digits") X(ptx_hash, "of kernel.ptx") X(cubin_hash, "of kernel.cubin")

#define SAGE_META_INTS(X)                                                                                                                 \
    X(safe, "1: the safe numeric mode")                                                                                                   \
    X(args_bytes, "sizeof(struct sage_kernel_args) that the kernel was emitted for")                                                      \
    X(dependent_launch, "1: waits for the launches before it by itself, so that it may start while they run")                             \
    X(persistent, "1: a block goes over query tiles until none is left, so that one block an SM is enough; attn_fwd")                       \
    X(threads, "per block") X(smem_static, "bytes") X(smem_dynamic, "bytes")                                                               \
    X(registers, "per thread, as compiled") X(spill_bytes, "spill stores + loads") X(local_bytes, "stack frame")                          \
    X(head_dim_qk, "elements") X(head_dim_v, "elements") X(d_qk, "elements, padded") X(d_v, "elements, padded")                           \
    X(tile_q, "rows") X(tile_k, "keys")                                                                                                   \
    X(q_tile_bytes, "image of one q tile in the workspace") X(k_tile_bytes, "of one k tile") X(v_tile_bytes, "of one v tile")             \
    X(stats_width, "floats of a row of the statistics; 0: no statistics needed")                                                          \
    X(smooth_k, "1: mean(K) subtracted, so LSE needs lse_bias")                                                                           \
    X(q_group, "query rows that share a mean; 0: none, and no delta_s kernel")                                                            \
    X(delta_groups, "groups of a query chunk; 0 without delta_s")                                                                         \
    X(source_bytes, "") X(ptx_bytes, "") X(cubin_bytes, "")

#endif
