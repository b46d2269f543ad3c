// spec: YAML nodes -> struct spec. Unknown or duplicate keys, wrong types, ranges and contradictions are errors, all reported at once.
// Remembers where each field was set, so that later stages can point there. Knows no GPU and no template.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SPEC_H
#define SAGE_GEN_SPEC_H

#include "buf.h"
#include "diag.h"
#include "spec_fields.h"
#include <stdbool.h>
#include <stdint.h>

#define SPEC_LIST_MAX 16
#define SPEC_NAME_MAX 48

// enum spec_<name> { SPEC_<NAME>_<SYMBOL>, ... } for each word list of spec_fields.h
#define SPEC_ENUM_SYMBOL_OPERATION(s, t) SPEC_OPERATION_##s,
#define SPEC_ENUM_SYMBOL_IO(s, t) SPEC_IO_##s,
#define SPEC_ENUM_SYMBOL_FORMAT(s, t) SPEC_FORMAT_##s,
#define SPEC_ENUM_SYMBOL_GRANULARITY(s, t) SPEC_GRANULARITY_##s,
#define SPEC_ENUM_SYMBOL_P_SCALING(s, t) SPEC_P_SCALING_##s,
#define SPEC_ENUM_SYMBOL_P_BLOCK_SCALE(s, t) SPEC_P_BLOCK_SCALE_##s,
#define SPEC_ENUM_SYMBOL_V_ROUNDING(s, t) SPEC_V_ROUNDING_##s,
#define SPEC_ENUM_SYMBOL_ACCUMULATOR(s, t) SPEC_ACCUMULATOR_##s,
#define SPEC_ENUM_SYMBOL_SMOOTH(s, t) SPEC_SMOOTH_##s,
#define SPEC_ENUM_SYMBOL_ROTATE(s, t) SPEC_ROTATE_##s,
#define SPEC_ENUM_SYMBOL_EXP(s, t) SPEC_EXP_##s,
#define SPEC_ENUM_SYMBOL_MAX(s, t) SPEC_MAX_##s,
#define SPEC_ENUM_SYMBOL_BLOCKS(s, t) SPEC_BLOCKS_##s,
#define SPEC_ENUM_SYMBOL_OVERLAP(s, t) SPEC_OVERLAP_##s,
#define SPEC_ENUM_SYMBOL_ROW_SUM(s, t) SPEC_ROW_SUM_##s,
#define SPEC_ENUM_SYMBOL_MASK(s, t) SPEC_MASK_##s,
#define SPEC_ENUM_SYMBOL_TARGET(s, t) SPEC_TARGET_##s,
enum spec_operation { SPEC_ENUM_OPERATION(SPEC_ENUM_SYMBOL_OPERATION) SPEC_OPERATION_COUNT };
enum spec_io { SPEC_ENUM_IO(SPEC_ENUM_SYMBOL_IO) SPEC_IO_COUNT };
enum spec_format { SPEC_ENUM_FORMAT(SPEC_ENUM_SYMBOL_FORMAT) SPEC_FORMAT_COUNT };
enum spec_granularity { SPEC_ENUM_GRANULARITY(SPEC_ENUM_SYMBOL_GRANULARITY) SPEC_GRANULARITY_COUNT };
enum spec_p_scaling { SPEC_ENUM_P_SCALING(SPEC_ENUM_SYMBOL_P_SCALING) SPEC_P_SCALING_COUNT };
enum spec_p_block_scale { SPEC_ENUM_P_BLOCK_SCALE(SPEC_ENUM_SYMBOL_P_BLOCK_SCALE) SPEC_P_BLOCK_SCALE_COUNT };
enum spec_v_rounding { SPEC_ENUM_V_ROUNDING(SPEC_ENUM_SYMBOL_V_ROUNDING) SPEC_V_ROUNDING_COUNT };
enum spec_accumulator { SPEC_ENUM_ACCUMULATOR(SPEC_ENUM_SYMBOL_ACCUMULATOR) SPEC_ACCUMULATOR_COUNT };
enum spec_smooth { SPEC_ENUM_SMOOTH(SPEC_ENUM_SYMBOL_SMOOTH) SPEC_SMOOTH_COUNT };
enum spec_rotate { SPEC_ENUM_ROTATE(SPEC_ENUM_SYMBOL_ROTATE) SPEC_ROTATE_COUNT };
enum spec_exp { SPEC_ENUM_EXP(SPEC_ENUM_SYMBOL_EXP) SPEC_EXP_COUNT };
enum spec_max { SPEC_ENUM_MAX(SPEC_ENUM_SYMBOL_MAX) SPEC_MAX_COUNT };
enum spec_blocks { SPEC_ENUM_BLOCKS(SPEC_ENUM_SYMBOL_BLOCKS) SPEC_BLOCKS_COUNT };
enum spec_overlap { SPEC_ENUM_OVERLAP(SPEC_ENUM_SYMBOL_OVERLAP) SPEC_OVERLAP_COUNT };
enum spec_row_sum { SPEC_ENUM_ROW_SUM(SPEC_ENUM_SYMBOL_ROW_SUM) SPEC_ROW_SUM_COUNT };
enum spec_mask { SPEC_ENUM_MASK(SPEC_ENUM_SYMBOL_MASK) SPEC_MASK_COUNT };
enum spec_target { SPEC_ENUM_TARGET(SPEC_ENUM_SYMBOL_TARGET) SPEC_TARGET_COUNT };

struct spec_int_list {
    int count;
    int item[SPEC_LIST_MAX];
};

struct spec_f32_list {
    int count;
    float item[SPEC_LIST_MAX];
};

// A parsed, validated spec with every default filled in. Enumerated lists hold the enum values as ints.
struct spec {
    enum spec_operation operation;
    char name[SPEC_NAME_MAX + 1];
    int head_dim_qk; /* elements */
    int head_dim_v;  /* elements */
    struct spec_int_list io;
    enum spec_format qk_format;
    enum spec_granularity qk_granularity;
    int qk_block; /* elements; 0 where the format has no block scales */
    enum spec_format p_format;
    enum spec_format v_format;
    int pv_block; /* elements; 0 where the format has no block scales */
    enum spec_p_scaling p_scaling;
    enum spec_p_block_scale p_block_scale;
    enum spec_v_rounding v_rounding;
    enum spec_accumulator accumulate_in;
    int flush_tiles;
    enum spec_smooth smooth_k;
    int smooth_q_group; /* rows; 0 = none */
    enum spec_smooth smooth_v;
    enum spec_rotate rotate_qk;
    struct spec_f32_list scale_search;
    enum spec_exp softmax_exp;
    enum spec_row_sum row_sum;
    enum spec_max max;
    enum spec_overlap overlap;
    enum spec_blocks blocks;
    int lazy_rescale_log2;
    int exp2_poly; /* quarters */
    struct spec_int_list mask;
    bool safe;
    struct spec_int_list targets;
    struct spec_int_list tile_q, tile_k, stages, warps, in_place, tune_overlap;

    uint64_t hash;             /* XXH3-64 of the canonical text; the same for two files that say the same */
    const char *file;          /* borrowed */
    struct spec_where *where;  /* owned: field path -> position */
};

// Parses `text` (borrowed, len bytes). On any error reports all of them to d and returns false; *out is then zeroed.
bool spec_parse(struct spec *out, const char *file, const char *text, size_t len, struct diag *d);
// Reads the file (at most 1 MiB) and parses it; *text_out (owned by the caller, free()) must outlive d's use of the file.
bool spec_load(struct spec *out, const char *file, char **text_out, struct diag *d);
void spec_free(struct spec *spec);
// Turns a spec into another one: new name (at most SPEC_NAME_MAX bytes) and head dims; safe: also into the safe mode, with
// what contradicts it reset. Recomputes the hash. The other fields, and their positions, stay.
void spec_derive(struct spec *spec, const char *name, int head_dim_qk, int head_dim_v, bool safe);

// Where `path` ("qk.format", or a list's item "targets[0]") was set; if it was defaulted, the place of its nearest
// enclosing key, else the first line.
struct diag_loc spec_where(const struct spec *spec, const char *path);
// The spec as sorted `path: value` lines, defaults included: what is hashed, and what a kernel's banner and metadata quote.
void spec_canonical(const struct spec *spec, struct buf *out);
// Prints the schema: path, kind, allowed values, default, unit, help; aligned text, or a JSON array.
void spec_print_fields(struct buf *out, bool json);

const char *spec_operation_text(enum spec_operation v);
const char *spec_io_text(enum spec_io v);
const char *spec_format_text(enum spec_format v);
bool spec_format_is_fp4(enum spec_format v); // 4-bit elements with block scales
const char *spec_granularity_text(enum spec_granularity v);
const char *spec_p_scaling_text(enum spec_p_scaling v);
const char *spec_p_block_scale_text(enum spec_p_block_scale v);
const char *spec_v_rounding_text(enum spec_v_rounding v);
const char *spec_accumulator_text(enum spec_accumulator v);
const char *spec_smooth_text(enum spec_smooth v);
const char *spec_rotate_text(enum spec_rotate v);
const char *spec_exp_text(enum spec_exp v);
const char *spec_row_sum_text(enum spec_row_sum v);
const char *spec_max_text(enum spec_max v);
const char *spec_overlap_text(enum spec_overlap v);
const char *spec_blocks_text(enum spec_blocks v);
const char *spec_mask_text(enum spec_mask v);
const char *spec_target_text(enum spec_target v);

#endif
