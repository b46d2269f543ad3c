// spec_fields: the schema of a kernel spec, one row per field. Drives parsing, defaults, `sagegen fields`, the canonical text that is
// hashed, and the names that templates see.
//
// SPEC_ENUM(type, X): X(symbol, text)      the words of an enumerated field
// SPEC_FIELDS(X):     X(path, member, kind, default, allowed, unit, help)
//   kind     int | bool | f32_list | int_list | enum:<E> | enum_list:<E> | name | head_dim | smooth_q     (parsers: spec_value.c)
//   allowed  for numbers: "lo...hi", "lo...hi step n", or "a|b|c"; for words: "a|b", or "" for all of the list
//   default  the text a spec would hold; "required" where there is none; "auto" where spec_check.c finds it from other fields
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SPEC_FIELDS_H
#define SAGE_GEN_SPEC_FIELDS_H

#define SPEC_ENUM_OPERATION(X) X(ATTENTION_FORWARD, "attention_forward")
#define SPEC_ENUM_IO(X) X(BF16, "bf16") X(FP16, "fp16")
#define SPEC_ENUM_FORMAT(X) X(INT8, "int8") X(NVFP4, "nvfp4") X(MXFP4, "mxfp4") X(FP16, "fp16") X(FP8_E4M3, "fp8_e4m3")
#define SPEC_ENUM_GRANULARITY(X) X(PER_THREAD, "per_thread") X(PER_WARP, "per_warp") X(PER_BLOCK, "per_block") X(PER_TOKEN, "per_token")
#define SPEC_ENUM_P_SCALING(X) X(ONE_LEVEL, "one_level") X(TWO_LEVEL, "two_level")
#define SPEC_ENUM_P_BLOCK_SCALE(X) X(NEAREST, "nearest") X(LOG_LINEAR, "log_linear")
#define SPEC_ENUM_V_ROUNDING(X) X(NEAREST, "nearest") X(ERROR_DIFFUSION, "error_diffusion")
#define SPEC_ENUM_ACCUMULATOR(X) X(FP32, "fp32") X(FP16, "fp16")
#define SPEC_ENUM_SMOOTH(X) X(NONE, "none") X(MEAN, "mean")
#define SPEC_ENUM_ROTATE(X) X(NONE, "none") X(HADAMARD, "hadamard")
#define SPEC_ENUM_EXP(X) X(EXP2, "exp2") X(LOG_CODE, "log_code")
#define SPEC_ENUM_MAX(X) X(EACH_TILE, "each_tile") X(ON_OVERFLOW, "on_overflow")
#define SPEC_ENUM_OVERLAP(X) X(NONE, "none") X(PV, "pv") X(QK, "qk")
#define SPEC_ENUM_BLOCKS(X) X(ONE_TILE, "one_tile") X(PERSISTENT, "persistent")
#define SPEC_ENUM_ROW_SUM(X) X(EXACT, "exact") X(QUANTISED, "quantised")
#define SPEC_ENUM_MASK(X) X(NONE, "none") X(CAUSAL, "causal")
#define SPEC_ENUM_TARGET(X)                                                                                                               \
    X(SM_80, "sm_80") X(SM_86, "sm_86") X(SM_89, "sm_89") X(SM_90, "sm_90") X(SM_90A, "sm_90a") X(SM_120A, "sm_120a")                      \
    X(SM_121A, "sm_121a") X(SM_120F, "sm_120f")

#define SPEC_FIELDS(X)                                                                                                                    \
    X("kernel", operation, "enum:operation", "required", "", "", "what the kernel computes")                                              \
    X("name", name, "name", "required", "", "", "name of the spec and of its kernels: a-z, 0-9, _; starts with a letter; at most 48")      \
    X("head_dim", head_dim_qk, "head_dim", "required", "8...256 step 8", "elements", "head dim, or {qk: N, v: N} where V's differs")        \
    X("io", io, "enum_list:io", "[bf16, fp16]", "", "", "types of Q, K, V and O; one kernel each")                                         \
    X("qk.format", qk_format, "enum:format", "required", "int8|nvfp4|mxfp4|fp8_e4m3", "", "format of Q and K in the first product")        \
    X("qk.granularity", qk_granularity, "enum:granularity", "per_thread", "", "", "elements that share an fp32 scale (int8, fp8_e4m3)")    \
    X("qk.block", qk_block, "int", "auto", "16|32", "elements", "elements of a block scale: 16 for nvfp4, 32 for mxfp4")                   \
    X("pv.p", p_format, "enum:format", "required", "fp16|fp8_e4m3|nvfp4|mxfp4", "", "format of P in the second product")                   \
    X("pv.v", v_format, "enum:format", "required", "fp16|fp8_e4m3|nvfp4|mxfp4", "", "format of V in the second product; that of P")        \
    X("pv.block", pv_block, "int", "auto", "16|32", "elements", "elements of a block scale: 16 for nvfp4, 32 for mxfp4")                   \
    X("pv.p_scaling", p_scaling, "enum:p_scaling", "two_level", "", "", "fp4 P: scaled to 448*6 first (two_level), or not")                \
    X("pv.p_block_scale", p_block_scale, "enum:p_block_scale", "nearest", "", "", "nvfp4 P: block scale rounded, or linear in its log2 (log_linear)")\
    X("pv.v_rounding", v_rounding, "enum:v_rounding", "nearest", "", "", "fp8 V: each value to the nearest code, or a tile's errors spread over its keys, so that their sum stays (error_diffusion)")\
    X("pv.accumulate.in", accumulate_in, "enum:accumulator", "fp32", "", "", "type of the tensor core's accumulator of P V")               \
    X("pv.accumulate.flush_tiles", flush_tiles, "int", "1", "1...64", "tiles", "key tiles that wgmma sums before fp32 adds; above 128 keys with smooth.v: mean; mma.sync: 1, fp4: all")  \
    X("smooth.k", smooth_k, "enum:smooth", "mean", "", "", "subtract K's mean over the sequence, per channel")                            \
    X("smooth.q", smooth_q_group, "smooth_q", "none", "16|32|64|128", "rows", "none, or {group: N}: subtract the mean of N query rows")    \
    X("smooth.v", smooth_v, "enum:smooth", "none", "", "", "subtract V's mean over the sequence, per channel; added back to O")           \
    X("rotate.qk", rotate_qk, "enum:rotate", "none", "", "", "rotate Q and K along the head dim before quantising")                       \
    X("scale_search", scale_search, "f32_list", "[6]", "1...7", "", "fp4: divisors of a block's maximum tried as its scale (above 6 it saturates); least squares") \
    X("softmax.exp", softmax_exp, "enum:exp", "exp2", "", "", "P from scores: an exponential, or its nvfp4 code by the exponent (log_code)")\
    X("softmax.row_sum", row_sum, "enum:row_sum", "exact", "", "", "divide by the sum of P, or of the quantised P")                       \
    X("softmax.lazy_rescale_log2", lazy_rescale_log2, "int", "0", "0...8", "log2", "rescale O only when a row maximum grew by more; mma.sync of 8 and 16 bits rescales always above 192 channels of V")      \
    X("softmax.exp2_poly", exp2_poly, "int", "0", "0...3", "quarters", "of fp8 P that schedule.max: on_overflow makes: by a polynomial, not the exponential unit")\
    X("schedule.max", max, "enum:max", "each_tile", "", "", "wgmma: row maximum made for each tile, or where P would not fit (on_overflow)") \
    X("schedule.overlap", overlap, "enum:overlap", "none", "", "", "beside a softmax: P V of the tile before (pv: wgmma), or Q K^T of what comes next (qk: wgmma, fp4)") \
    X("schedule.blocks", blocks, "enum:blocks", "one_tile", "", "", "wgmma: a block for each tile of queries, or, without a mask, one for each SM, which goes over tiles (persistent)") \
    X("mask", mask, "enum_list:mask", "[none, causal]", "", "", "masks; one kernel each; causal is aligned to the last query and key")    \
    X("safe", safe, "bool", "false", "", "", "fp32 accumulation every tile, no lazy rescaling")                            \
    X("targets", targets, "enum_list:target", "required", "", "", "GPU architectures")                                                    \
    X("tune.tile_q", tile_q, "int_list", "[128]", "16...256 step 16", "rows", "query rows of a block; the first is the default")           \
    X("tune.tile_k", tile_k, "int_list", "[64]", "16...256 step 16", "rows", "keys of a tile")                                             \
    X("tune.stages", stages, "int_list", "[2]", "1...8", "tiles", "K/V tiles in flight")                                                  \
    X("tune.warps", warps, "int_list", "[8]", "1...16", "warps", "warps that compute (sm_90a: 4 per consumer warpgroup)")                  \
    X("tune.in_place", in_place, "int_list", "[1]", "1...64", "tiles", "flush_tiles of a wgmma kernel where above the spec's: V smoothed, lazy 2^4") \
    X("tune.overlap", tune_overlap, "enum_list:overlap", "[none]", "", "", "overlap of a wgmma kernel where schedule.overlap is another")

#endif
