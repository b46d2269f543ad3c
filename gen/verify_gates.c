// verify_gates: the accuracy gates: against the unit's own algorithm (gate 2), against the published one (gate 1), on
// three distributions, at lengths up to 131072, and on ragged shapes in every layout. SPDX-License-Identifier:
// Apache-2.0
#include "verify.h"

#include "verify_compare.h"
#include "verify_data.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_text[] = {
    [RANDOM_NORMAL] = "normal", [RANDOM_OUTLIER] = "outlier", [RANDOM_RUNS] = "runs"};

/* -- One case ---- */

struct gate_case {
    enum random_kind kind;
    sage_attention_shape shape;
    enum verify_layout layout;
    int sample_heads, sample_rows;
    bool ragged; /* few rows: compared loosely with the published algorithm */
    int index;   /* part of the seed */
};

static struct verify_inputs_key key_of(const struct verify_session *s, const struct gate_case *c) {
    return (struct verify_inputs_key){.kind = c->kind,
                                      .io = verify_io_format(s),
                                      .shape = c->shape,
                                      .dim_qk = s->unit->spec.head_dim_qk,
                                      .dim_v = s->unit->spec.head_dim_v,
                                      .seed = s->options->seed + 1000003u * (uint64_t)c->index,
                                      .sample_heads = c->sample_heads,
                                      .sample_rows = c->sample_rows};
}

static struct verify_rows rows_of(const struct verify_inputs *in, const struct verify_reference *r) {
    return (struct verify_rows){in->sample, in->samples, in->key.dim_v, r->o, r->lse};
}

// Three standard errors more: a ratio that is not significantly above the bound is no failure. Of 16 groups of heads
// one check of 220 fails by chance where the ratio is the bound itself, with two errors one of 31; a run has dozens.
static void check_ratio(struct verify_session *s, const char *check, const char *shape, const struct verify_ratio *r,
                        double bound, const char *note) {
    verify_check(s, check, shape, r->ratio, bound + 3 * r->standard_error, note);
}

static void ratio_text(const struct verify_ratio *r, const char *what, const char *published, char note[128]) {
    snprintf(note, 128, "%s %.5g, %s %.5g, ratio %.4f +- %.4f", what, r->error, published, r->other, r->ratio,
             r->standard_error);
}

// The kernel's error over the rival's, both against exact attention, both with outputs of the io type. Of ragged shapes
// over the published algorithm's.
static void gate1(struct verify_session *s, const struct gate_case *c, struct verify_inputs *in,
                  const struct verify_rows *got, const char *shape) {
    struct verify_rival rival;
    char why[160] = "no such preset", note[128], check[32];
    const bool causal = s->unit->mask == SPEC_MASK_CAUSAL;
    snprintf(check, sizeof check, c->ragged ? "exact" : "gate1 %s", kind_text[c->kind]);
    const struct verify_reference *exact = verify_data_reference(s->data, in, causal, "exact", NULL, why, sizeof why);
    const bool found = c->ragged ? verify_published(s->unit, &rival.published)
                                 : verify_rival(s->unit, c->kind, c->shape.seq_k, &rival);
    const struct verify_published *published = &rival.published;
    const struct verify_reference *other =
        exact && found
            ? verify_data_reference(s->data, in, causal, published->name, &published->algorithm, why, sizeof why)
            : NULL;
    if (!exact || !other) {
        verify_fail(s, check, shape, "reference: %s", why);
        return;
    }
    const struct verify_rows e = rows_of(in, exact), o = rows_of(in, other);
    const struct verify_ratio r = verify_ratio(got, &o, &e, verify_io_format(s));
    ratio_text(&r, "kernel", published->name, note);
    if (c->ragged)
        verify_check(s, check, shape, r.error, verify_loose_bound(r.other, &e), note);
    else
        check_ratio(s, check, shape, &r, rival.bound, note);
}

static void compare(struct verify_session *s, const struct gate_case *c, const struct verify_call *call,
                    struct verify_inputs *in, bool with_gate1) {
    const struct attention_problem p = verify_problem(in, s->unit->mask == SPEC_MASK_CAUSAL, 0);
    struct verify_rows got = verify_rows_make(in->sample, in->samples, in->key.dim_v);
    char shape[64], suffix[24];
    verify_shape_text(call, shape);
    snprintf(suffix, sizeof suffix, " %s", c->ragged ? "ragged" : kind_text[c->kind]);
    verify_rows_gather(&got, call);
    verify_gate2(s, call, &p, in->sample, in->samples, suffix);
    if (with_gate1 && c->shape.seq_k > 0) gate1(s, c, in, &got, shape);
    verify_rows_free(&got);
}

static void run_case(struct verify_session *s, const struct gate_case *c, bool with_gate1) {
    const struct verify_inputs_key key = key_of(s, c);
    struct verify_inputs *in = verify_data_inputs(s->data, &key);
    struct verify_call call = {.shape = c->shape, .layout = c->layout, .q = in->q, .k = in->k, .v = in->v};
    char shape[64];
    call.keep_workspace = true;
    verify_shape_text(&call, shape);
    if (verify_call_run(s, &call, "gate2")) {
        if (in->samples == 0)
            verify_check(s, "nothing to do", shape, 0, 0, "");
        else
            compare(s, c, &call, in, with_gate1);
        if (call.flags != 0) verify_fail(s, "overflow flags", shape, "flags 0x%x for finite inputs", call.flags);
    }
    verify_call_free(&call);
}

// As gate1, of the model.
static void run_model(struct verify_session *s, const struct gate_case *c, const struct verify_published *own,
                      const struct verify_rival *rival) {
    const bool causal = s->unit->mask == SPEC_MASK_CAUSAL;
    const struct verify_inputs_key key = key_of(s, c);
    struct verify_inputs *in = verify_data_inputs(s->data, &key);
    const struct verify_published *const algorithm[] = {NULL, own, &rival->published};
    const char *const name[] = {"exact", own->name, rival->published.name};
    struct verify_rows rows[3];
    char check[32], shape[64], note[128], why[160] = "";
    snprintf(check, sizeof check, "model gate1 %s", kind_text[c->kind]);
    verify_shape_text(&(struct verify_call){.shape = c->shape}, shape);
    for (int i = 0; i < 3; i++) {
        const struct verify_reference *r = verify_data_reference(
            s->data, in, causal, name[i], algorithm[i] ? &algorithm[i]->algorithm : NULL, why, sizeof why);
        if (!r) {
            verify_fail(s, check, shape, "reference: %s", why);
            return;
        }
        rows[i] = rows_of(in, r);
    }
    const struct verify_ratio r = verify_ratio(&rows[1], &rows[2], &rows[0], verify_io_format(s));
    ratio_text(&r, "not run; model", rival->published.name, note);
    check_ratio(s, check, shape, &r, rival->bound, note);
}

/* -- Which cases ---- */

// Rows of a head share the rounding errors of its K and V. Where these are most of all errors, gate 1 needs many heads,
// so that each group of verify_ratio has its own. Against SageAttention3 heads differ more than rounding does, so that
// a group has SAGE3_GROUP_HEADS.
enum { SAGE3_GROUP_HEADS = 2, SAGE3_ROWS = 16 };

static void gate1_heads(const struct verify_unit *unit, struct gate_case *c) {
    const bool sage3 = verify_unit_beats_sage3(unit);
    const int heads = VERIFY_RATIO_GROUPS * (sage3 ? SAGE3_GROUP_HEADS : 1);
    if (!unit->plan.fp4 && unit->spec.qk_format != SPEC_FORMAT_FP8_E4M3) return;
    c->sample_rows = sage3 ? SAGE3_ROWS : c->sample_rows * c->sample_heads / heads;
    c->shape.heads_q = c->shape.heads_kv = c->sample_heads = heads;
}

static void run_distributions(struct verify_session *s) {
    const struct verify_sizes *sizes = verify_sizes(s->options);
    const bool quick = s->options->level == VERIFY_QUICK, headline = verify_unit_is_headline(s->unit);
    for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS && !s->dead; kind++) {
        if (kind != RANDOM_NORMAL && !headline) continue;
        if (quick && kind == RANDOM_OUTLIER && s->unit->io == SPEC_IO_BF16) continue;
        // Many heads, for many independent errors: rows of a head share those of its K and V.
        struct gate_case c = {.kind = (enum random_kind)kind,
                              .shape = sizes->distribution,
                              .layout = kind == RANDOM_OUTLIER ? LAYOUT_FUSED : LAYOUT_BNHD,
                              .sample_heads = sizes->sample_heads,
                              .sample_rows = sizes->sample_rows,
                              .index = kind};
        if (headline && !s->options->vm)
            gate1_heads(s->unit, &c);
        else if (s->unit->plan.fp4)
            c.shape.heads_kv = c.shape.heads_q;
        // of the machine's few rows a ratio near 1 says little
        run_case(s, &c, headline && (!s->options->vm || verify_unit_beats_sage3(s->unit)));
    }
}

// The kernel is not run at that size: its algorithm in float64 against the rival. Gate 2 says, at the machine's sizes,
// that the kernel is its algorithm.
void verify_gate1_model(struct verify_session *s, enum random_kind kind) {
    struct verify_published own;
    struct verify_rival rival;
    const struct verify_options gpu = {.level = VERIFY_NORMAL};
    const struct verify_sizes *sizes = verify_sizes(&gpu);
    struct gate_case c = {.kind = kind,
                          .shape = sizes->distribution,
                          .sample_heads = sizes->sample_heads,
                          .sample_rows = sizes->sample_rows,
                          .index = (int)kind};
    gate1_heads(s->unit, &c);
    if (verify_own(s->unit, &own) && verify_rival(s->unit, kind, c.shape.seq_k, &rival)) run_model(s, &c, &own, &rival);
}

static void run_models(struct verify_session *s) {
    if (!verify_unit_is_headline(s->unit)) return;
    for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS; kind++) verify_gate1_model(s, (enum random_kind)kind);
}

static void run_long(struct verify_session *s) {
    static const int64_t lengths[] = {32768, 131072};
    const bool d128 = s->unit->spec.head_dim_qk == 128;
    if (!verify_unit_is_headline(s->unit) || (s->unit->io == SPEC_IO_BF16 && !d128)) return;
    if (s->unit->safe_form && (!d128 || s->unit->io == SPEC_IO_BF16)) return;
    for (int i = 0; i < 2; i++)
        for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS && !s->dead; kind++) {
            if (kind == RANDOM_OUTLIER && !verify_unit_beats_sage3(s->unit)) continue;
            if (kind == RANDOM_RUNS && s->unit->safe_form) continue;
            if (s->unit->plan.emulate_fp4 && i > 0) continue; // a hundred times slower than the real thing
            struct gate_case c = {.kind = (enum random_kind)kind,
                                  .shape = {1, 4, 4, lengths[i], lengths[i]},
                                  .sample_heads = 4,
                                  .sample_rows = 32,
                                  .index = 10 + 3 * i + kind};
            if (s->options->vm) { // all keys, and the queries of few tiles
                c.shape = (sage_attention_shape){1, 1, 1, 192, lengths[i]};
                c.sample_heads = 1, c.sample_rows = 96;
            }
            run_case(s, &c, !s->options->vm);
        }
}

// Lengths below, at and beyond tiles, N_q != N_k both ways, no key, no query; every head grouping and layout.
static const struct ragged {
    sage_attention_shape shape;
    enum verify_layout layout;
    unsigned sets; /* VERIFY_SET_* */
} ragged[] = {
    {{1, 2, 2, 1, 1}, LAYOUT_BHND, VERIFY_SET_ALL},
    {{2, 4, 1, 2, 7}, LAYOUT_BNHD, VERIFY_SET_LONG},
    {{1, 4, 4, 7, 2}, LAYOUT_ODD, VERIFY_SET_ALL},
    {{3, 4, 2, 17, 63}, LAYOUT_FUSED, VERIFY_SET_LONG},
    {{1, 8, 2, 63, 17}, LAYOUT_BHND, VERIFY_SET_LONG},
    {{2, 2, 2, 64, 64}, LAYOUT_FUSED, VERIFY_SET_ALL},
    {{1, 4, 1, 65, 129}, LAYOUT_ODD, VERIFY_SET_ALL},
    {{2, 2, 1, 129, 65}, LAYOUT_BNHD, VERIFY_SET_ALL},
    {{1, 2, 2, 127, 200}, LAYOUT_FUSED, VERIFY_SET_LONG},
    {{1, 4, 2, 200, 127}, LAYOUT_BHND, VERIFY_SET_LONG},
    {{1, 2, 1, 1000, 1}, LAYOUT_ODD, VERIFY_SET_LONG},
    {{3, 8, 8, 1, 1000}, LAYOUT_BNHD, VERIFY_SET_GPU | VERIFY_SET_VM},
    {{1, 4, 4, 200, 1000}, LAYOUT_BHND, VERIFY_SET_LONG},
    {{1, 8, 1, 1000, 200}, LAYOUT_FUSED, VERIFY_SET_GPU | VERIFY_SET_VM},
    {{2, 2, 2, 129, 129}, LAYOUT_ODD, VERIFY_SET_LONG},
    {{2, 4, 2, 64, 0}, LAYOUT_BNHD, VERIFY_SET_ALL},
    {{1, 2, 2, 0, 64}, LAYOUT_BHND, VERIFY_SET_ALL},
    {{1, 4, 2, 1000, 1000}, LAYOUT_FUSED, VERIFY_SET_LONG},
    {{0, 2, 2, 64, 64}, LAYOUT_BHND, VERIFY_SET_LONG},
};

static void run_ragged(struct verify_session *s) {
    for (int i = 0; i < (int)(sizeof ragged / sizeof ragged[0]) && !s->dead; i++) {
        if (!(verify_sizes(s->options)->set & ragged[i].sets)) continue;
        const struct gate_case c = {.kind = (enum random_kind)(i % 3),
                                    .shape = ragged[i].shape,
                                    .layout = ragged[i].layout,
                                    .sample_heads = 24,
                                    .sample_rows = 16,
                                    .ragged = true,
                                    .index = 100 + i};
        run_case(s, &c, true);
    }
}

// From 1 to most, small ones as often as large ones.
static int64_t random_length(struct random *r, int64_t most) {
    return (int64_t)exp(random_uniform(r) * log((double)most + 0.99));
}

// The kernel adds up in one order, whatever order its warps ran in.
static void compare_again(struct verify_session *s, const struct gate_case *c) {
    const struct verify_inputs_key key = key_of(s, c);
    struct verify_inputs *in = verify_data_inputs(s->data, &key);
    struct verify_call call[2];
    for (int i = 0; i < 2; i++) {
        call[i] = (struct verify_call){.shape = c->shape, .layout = c->layout, .q = in->q, .k = in->k, .v = in->v};
        if (!verify_call_run(s, &call[i], "again")) {
            for (int j = 0; j <= i; j++) verify_call_free(&call[j]);
            return;
        }
    }
    const size_t n = verify_count(&c->shape, 'o', &s->unit->plan), rows = n / (size_t)s->unit->spec.head_dim_v;
    size_t differ = 0;
    for (size_t i = 0; i < n; i++) differ += call[0].o_bits[i] != call[1].o_bits[i];
    for (size_t i = 0; i < rows; i++) differ += memcmp(&call[0].lse[i], &call[1].lse[i], sizeof *call[0].lse) != 0;
    char shape[64];
    verify_shape_text(&call[0], shape);
    verify_check(s, "again", shape, (double)differ, 0, "values of O and LSE that differ from run to run");
    for (int i = 0; i < 2; i++) verify_call_free(&call[i]);
}

static void run_random(struct verify_session *s) {
    struct random r;
    random_seed(&r, s->options->seed ^ 0x72616e646f6dull);
    const int64_t most = s->options->vm ? 300 : 1500;
    for (int i = 0; i < s->options->random && !s->dead; i++) {
        const int heads_kv = 1 + (int)(random_bits(&r) % 4), group = 1 + (int)(random_bits(&r) % 4);
        const struct gate_case c = {.kind = (enum random_kind)(random_bits(&r) % 3),
                                    .shape = {1 + (int64_t)(random_bits(&r) % 3), group * heads_kv, heads_kv,
                                              random_length(&r, most), random_length(&r, most)},
                                    .layout = (enum verify_layout)(random_bits(&r) % LAYOUT_COUNT),
                                    .sample_heads = 6,
                                    .sample_rows = 12,
                                    .ragged = true,
                                    .index = 1000 + i};
        run_case(s, &c, true);
        if (!s->dead) compare_again(s, &c);
    }
}

void verify_gates(struct verify_session *s) {
    run_distributions(s);
    if (!s->dead) run_ragged(s);
    if (s->options->vm && !s->dead) run_models(s);
    if (!s->dead) run_random(s);
    if (!s->dead && s->options->level == VERIFY_FULL) run_long(s);
}
