// spec_check: contradictions between the fields of one spec, and the values that `auto` stands for.
// In: a spec whose fields were read, with the state of each. Out: errors at the offending field with a note at the
// other. A field that could not be read contradicts nothing. What a GPU or a template can do is decided in plan, not
// here. SPDX-License-Identifier: Apache-2.0
#include "spec_internal.h"

#include <string.h>

/* -- Facts ------------------------------------------------------------- */

// Elements of a block scale, 0 where the format has none.
static int block_of(enum spec_format f) {
    return f == SPEC_FORMAT_NVFP4 ? 16 : f == SPEC_FORMAT_MXFP4 ? 32 : 0;
}

static bool has_fp8(enum spec_target t) {
    return t != SPEC_TARGET_SM_80 && t != SPEC_TARGET_SM_86;
}

static bool has_fp4(enum spec_target t) {
    return t == SPEC_TARGET_SM_120A || t == SPEC_TARGET_SM_121A || t == SPEC_TARGET_SM_120F;
}

/* -- Rules ------------------------------------------------------------- */

// One contradiction: `path` is set in the file, and broken() holds. The message is "path = value text".
struct rule {
    const char *path;
    const char *other;  /* what it contradicts; the note points there if the file sets it */
    const char *other2; /* a second such field or NULL */
    bool (*broken)(const struct spec *);
    const char *text;
};

static bool formats_differ(const struct spec *s) {
    return s->v_format != s->p_format;
}

static bool qk_has_no_blocks(const struct spec *s) {
    return !spec_format_is_fp4(s->qk_format);
}

static bool pv_has_no_blocks(const struct spec *s) {
    return !spec_format_is_fp4(s->p_format);
}

static bool qk_block_not_16(const struct spec *s) {
    return s->qk_format == SPEC_FORMAT_NVFP4 && s->qk_block != block_of(SPEC_FORMAT_NVFP4);
}

static bool qk_block_not_32(const struct spec *s) {
    return s->qk_format == SPEC_FORMAT_MXFP4 && s->qk_block != block_of(SPEC_FORMAT_MXFP4);
}

static bool pv_block_not_16(const struct spec *s) {
    return s->p_format == SPEC_FORMAT_NVFP4 && s->pv_block != block_of(SPEC_FORMAT_NVFP4);
}

static bool pv_block_not_32(const struct spec *s) {
    return s->p_format == SPEC_FORMAT_MXFP4 && s->pv_block != block_of(SPEC_FORMAT_MXFP4);
}

static bool qk_is_fp4(const struct spec *s) {
    return spec_format_is_fp4(s->qk_format);
}

static bool no_fp4(const struct spec *s) {
    return !spec_format_is_fp4(s->qk_format) && !spec_format_is_fp4(s->p_format);
}

static bool diffused_without_fp8(const struct spec *s) {
    return s->v_rounding == SPEC_V_ROUNDING_ERROR_DIFFUSION && s->v_format != SPEC_FORMAT_FP8_E4M3;
}

// V's largest code is the largest that a sum in fp16 can take: no value may be rounded away from it, upwards.
static bool diffused_into_fp16_sums(const struct spec *s) {
    return s->v_rounding == SPEC_V_ROUNDING_ERROR_DIFFUSION && s->accumulate_in == SPEC_ACCUMULATOR_FP16;
}

static bool fp16_sums_without_fp8(const struct spec *s) {
    return s->accumulate_in == SPEC_ACCUMULATOR_FP16 && s->p_format != SPEC_FORMAT_FP8_E4M3;
}

static bool late_flush_without_fp8(const struct spec *s) {
    return s->flush_tiles > 1 && s->p_format != SPEC_FORMAT_FP8_E4M3;
}

// The tensor core truncates small products beside large ones. In the row sum, made by the same unit, that cancels; against
// an exact sum, a constant V is off by more than 2e-3 (measured on an H100, sums of three tiles).
static bool late_flush_with_exact_sum(const struct spec *s) {
    return s->flush_tiles > 1 && !s->safe && s->p_format == SPEC_FORMAT_FP8_E4M3 && s->row_sum == SPEC_ROW_SUM_EXACT;
}

static bool smooth_q_without_fp4(const struct spec *s) {
    return s->smooth_q_group > 0 && !spec_format_is_fp4(s->qk_format);
}

// A kept maximum leaves P above 1 until the next one: it needs the head room that lazy rescaling gives.
static bool sums_in_place(const struct spec *s) {
    for (int i = 0; i < s->in_place.count; i++)
        if (s->in_place.item[i] > s->flush_tiles) return true;
    return false;
}

static bool kept_max_without_room(const struct spec *s) {
    return s->max == SPEC_MAX_ON_OVERFLOW && !s->safe && s->lazy_rescale_log2 == 0 && !sums_in_place(s);
}

static bool kept_max_of_other_scores(const struct spec *s) {
    if (s->max != SPEC_MAX_ON_OVERFLOW) return false;
    if (spec_format_is_fp4(s->p_format)) return s->p_block_scale != SPEC_P_BLOCK_SCALE_LOG_LINEAR;
    if (spec_format_is_fp4(s->qk_format)) return false;
    return s->qk_granularity == SPEC_GRANULARITY_PER_TOKEN;
}

static bool block_scale_of_other_formats(const struct spec *s) {
    return s->p_block_scale != SPEC_P_BLOCK_SCALE_NEAREST &&
           (s->p_format != SPEC_FORMAT_NVFP4 || s->p_scaling != SPEC_P_SCALING_TWO_LEVEL);
}

static bool log_code_of_other_formats(const struct spec *s) {
    return s->softmax_exp == SPEC_EXP_LOG_CODE &&
           (s->p_format != SPEC_FORMAT_NVFP4 || s->p_scaling != SPEC_P_SCALING_TWO_LEVEL);
}

// Without exponentials there is no P to add up but the quantised one.
static bool log_code_with_exact_sum(const struct spec *s) {
    return s->softmax_exp == SPEC_EXP_LOG_CODE && s->row_sum != SPEC_ROW_SUM_QUANTISED;
}

// A line in place of the logarithm makes P up to 6 % too large: only its own sum takes that out again.
static bool log_linear_with_exact_sum(const struct spec *s) {
    return s->p_block_scale == SPEC_P_BLOCK_SCALE_LOG_LINEAR && s->row_sum != SPEC_ROW_SUM_QUANTISED;
}

static bool overlap_of_other_formats(const struct spec *s) {
    return s->overlap == SPEC_OVERLAP_PV && !no_fp4(s);
}

static bool kept_max_with_overlap(const struct spec *s) {
    return s->max == SPEC_MAX_ON_OVERFLOW && s->overlap == SPEC_OVERLAP_PV;
}

static bool persistent_with_overlap(const struct spec *s) {
    return s->blocks == SPEC_BLOCKS_PERSISTENT && s->overlap == SPEC_OVERLAP_PV;
}

static bool safe_fp16_sums(const struct spec *s) {
    return s->safe && s->accumulate_in != SPEC_ACCUMULATOR_FP32;
}

static bool safe_late_flush(const struct spec *s) {
    return s->safe && s->flush_tiles > 1;
}

static bool poly_without_fp8(const struct spec *s) {
    return s->exp2_poly > 0 && s->p_format != SPEC_FORMAT_FP8_E4M3;
}

// The polynomial's P goes into its code at once: there is no value to add up.
static bool poly_with_exact_sum(const struct spec *s) {
    return s->exp2_poly > 0 && s->row_sum == SPEC_ROW_SUM_EXACT;
}

static bool poly_without_kept_max(const struct spec *s) {
    return s->exp2_poly > 0 && s->max != SPEC_MAX_ON_OVERFLOW;
}

static bool safe_lazy_rescale(const struct spec *s) {
    return s->safe && s->lazy_rescale_log2 > 0;
}

static const struct rule rules[] = {
    {"qk.granularity", "qk.format", NULL, qk_is_fp4, "is for int8 and fp8_e4m3 only; fp4 formats have block scales"},
    {"qk.block", "qk.format", NULL, qk_has_no_blocks, "is for nvfp4 and mxfp4 only; qk.format has no block scales"},
    {"qk.block", "qk.format", NULL, qk_block_not_16, "must be 16 for nvfp4"},
    {"qk.block", "qk.format", NULL, qk_block_not_32, "must be 32 for mxfp4"},
    {"pv.v", "pv.p", NULL, formats_differ, "must equal pv.p in this version"},
    {"pv.block", "pv.p", NULL, pv_has_no_blocks, "is for nvfp4 and mxfp4 only; pv.p has no block scales"},
    {"pv.block", "pv.p", NULL, pv_block_not_16, "must be 16 for nvfp4"},
    {"pv.block", "pv.p", NULL, pv_block_not_32, "must be 32 for mxfp4"},
    {"pv.p_scaling", "pv.p", NULL, pv_has_no_blocks, "is for an fp4 P only (nvfp4, mxfp4)"},
    {"pv.p_block_scale", "pv.p", "pv.p_scaling", block_scale_of_other_formats, "is for a two-level nvfp4 P only"},
    {"pv.p_block_scale", "softmax.row_sum", NULL, log_linear_with_exact_sum, "needs softmax.row_sum = quantised"},
    {"softmax.exp", "pv.p", "pv.p_scaling", log_code_of_other_formats, "is for a two-level nvfp4 P only"},
    {"softmax.exp", "softmax.row_sum", NULL, log_code_with_exact_sum, "needs softmax.row_sum = quantised"},
    {"softmax.exp2_poly", "pv.p", NULL, poly_without_fp8, "needs pv.p = fp8_e4m3: its error is too large for other codes"},
    {"softmax.exp2_poly", "softmax.row_sum", NULL, poly_with_exact_sum, "needs softmax.row_sum = quantised"},
    {"softmax.exp2_poly", "schedule.max", NULL, poly_without_kept_max, "needs schedule.max = on_overflow"},
    {"pv.v_rounding", "pv.v", NULL, diffused_without_fp8, "needs pv.v = fp8_e4m3: an fp16 V has no errors worth it, fp4 has its scale search"},
    {"pv.v_rounding", "pv.accumulate.in", NULL, diffused_into_fp16_sums, "needs pv.accumulate.in = fp32: fp16 sums have no room above V's largest code"},
    {"pv.accumulate.in", "pv.p", NULL, fp16_sums_without_fp8, "needs pv.p = fp8_e4m3"},
    {"pv.accumulate.flush_tiles", "pv.p", NULL, late_flush_without_fp8, "must be 1 unless pv.p is fp8_e4m3"},
    {"pv.accumulate.flush_tiles", "softmax.row_sum", NULL, late_flush_with_exact_sum, "needs softmax.row_sum = quantised"},
    {"smooth.q", "qk.format", NULL, smooth_q_without_fp4, "needs an fp4 qk.format in this version"},
    {"scale_search", "qk.format", "pv.p", no_fp4, "needs an fp4 format in qk or pv"},
    {"schedule.max", "softmax.lazy_rescale_log2", NULL, kept_max_without_room, "needs head room: softmax.lazy_rescale_log2 of at least 1, or tune.in_place"},
    {"schedule.max", "qk.granularity", "pv.p_block_scale", kept_max_of_other_scores,
     "needs one scale for many keys (not per_token), and for an fp4 P pv.p_block_scale = log_linear"},
    {"schedule.overlap", "qk.format", "pv.p", overlap_of_other_formats, "is for specs without fp4"},
    {"schedule.max", "schedule.overlap", NULL, kept_max_with_overlap, "is not there for schedule.overlap = pv"},
    {"schedule.blocks", "schedule.overlap", NULL, persistent_with_overlap, "is not there for schedule.overlap = pv"},
    {"pv.accumulate.in", "safe", NULL, safe_fp16_sums, "contradicts safe: true (fp32 accumulation)"},
    {"pv.accumulate.flush_tiles", "safe", NULL, safe_late_flush, "contradicts safe: true (fp32 adds after every tile)"},
    {"softmax.lazy_rescale_log2", "safe", NULL, safe_lazy_rescale, "contradicts safe: true (no lazy rescaling)"},
};

static enum spec_field_state state_of(const struct spec_reader *r, const char *path) {
    return r->state[spec_field_index(path)];
}

static void put_value(const struct spec_reader *r, const char *path, struct buf *out) {
    buf_printf(out, "%s = ", path);
    spec_value_write(r->spec, &spec_field_table[spec_field_index(path)], out);
}

static void note_field(struct spec_reader *r, const char *path) {
    if (!path || state_of(r, path) != SPEC_FIELD_GIVEN) return;
    struct buf value = {0};
    put_value(r, path, &value);
    diag_note(r->diag, spec_where(r->spec, path), "%s is set here", value.data);
    buf_free(&value);
}

static void check_rule(struct spec_reader *r, const struct rule *rule) {
    if (state_of(r, rule->path) != SPEC_FIELD_GIVEN || state_of(r, rule->other) == SPEC_FIELD_BAD) return;
    if (rule->other2 && state_of(r, rule->other2) == SPEC_FIELD_BAD) return;
    if (!rule->broken(r->spec)) return;
    struct buf value = {0};
    put_value(r, rule->path, &value);
    diag_error(r->diag, spec_where(r->spec, rule->path), "%s %s", value.data, rule->text);
    note_field(r, rule->other);
    note_field(r, rule->other2);
    buf_free(&value);
}

/* -- Lists ------------------------------------------------------------- */

static struct diag_loc item_loc(const struct spec_reader *r, const char *list, int index) {
    struct buf path = {0};
    buf_printf(&path, "%s[%d]", list, index);
    struct diag_loc loc = spec_where(r->spec, path.data);
    buf_free(&path);
    return loc;
}

// The mean of Q is taken over groups inside a query tile.
static void check_smooth_group(struct spec_reader *r) {
    const struct spec *s = r->spec;
    if (state_of(r, "smooth.q") != SPEC_FIELD_GIVEN || s->smooth_q_group == 0) return;
    if (state_of(r, "tune.tile_q") == SPEC_FIELD_BAD) return;
    for (int i = 0; i < s->tile_q.count; i++) {
        int tile = s->tile_q.item[i];
        if (tile % s->smooth_q_group == 0) continue;
        diag_error(r->diag, spec_where(s, "smooth.q.group"), "smooth.q.group = %d must divide tune.tile_q = %d",
                   s->smooth_q_group, tile);
        diag_note(r->diag, item_loc(r, "tune.tile_q", i), "tune.tile_q = %d is set here", tile);
    }
}

// Reports a target that lacks the products of the format at `path`.
static bool check_target(struct spec_reader *r, int index, const char *path, enum spec_format format) {
    enum spec_target target = (enum spec_target)r->spec->targets.item[index];
    const char *needs = NULL;
    if (spec_format_is_fp4(format) && !has_fp4(target)) needs = "sm_120a, sm_121a or sm_120f";
    if (format == SPEC_FORMAT_FP8_E4M3 && !has_fp8(target)) needs = "sm_89 or newer";
    if (!needs) return true;
    diag_error(r->diag, item_loc(r, "targets", index), "targets: %s has no %s tensor-core products (needs %s)",
               spec_target_text(target), spec_format_text(format), needs);
    note_field(r, path);
    return false;
}

static void check_targets(struct spec_reader *r) {
    const struct spec *s = r->spec;
    if (state_of(r, "targets") != SPEC_FIELD_GIVEN) return;
    for (int i = 0; i < s->targets.count; i++) {
        bool qk_ok = state_of(r, "qk.format") == SPEC_FIELD_BAD || check_target(r, i, "qk.format", s->qk_format);
        bool same = s->p_format == s->qk_format && !qk_ok;
        if (state_of(r, "pv.p") != SPEC_FIELD_BAD && !same) check_target(r, i, "pv.p", s->p_format);
    }
}

/* -- All --------------------------------------------------------------- */

void spec_check(struct spec_reader *r) {
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) check_rule(r, &rules[i]);
    check_smooth_group(r);
    check_targets(r);
    if (state_of(r, "qk.block") == SPEC_FIELD_ABSENT) r->spec->qk_block = block_of(r->spec->qk_format);
    if (state_of(r, "pv.block") == SPEC_FIELD_ABSENT) r->spec->pv_block = block_of(r->spec->p_format);
}
