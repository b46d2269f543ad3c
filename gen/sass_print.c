// sass_print: see sass_print.h.
// SPDX-License-Identifier: Apache-2.0
#include "sass_print.h"

#include <stdlib.h>
#include <string.h>

double sass_view_per_score(const struct sass_view *view, int slots) {
    return view->scores > 0 ? (double)slots / view->scores : 0;
}

static unsigned address_of(const struct sass_report *r, int instr) {
    return r->kernel->item[instr].address;
}

static int skipped_slots(const struct sass_report *r) {
    int slots = 0;
    for (int i = 0; i < r->skipped_count; i++) slots += r->skipped[i].count.slots;
    return slots;
}

/* -- One row a kernel ----------------------------------------------------------- */

static const struct table_column summary_columns[] = {
    {NULL, "name", TABLE_TEXT, 0},
    {"kernel", "spec", TABLE_TEXT, 0},
    {"target", "target", TABLE_TEXT, 0},
    {"io", "io", TABLE_TEXT, 0},
    {"mask", "mask", TABLE_TEXT, 0},
    {"variant", "variant", TABLE_TEXT, 0},
    {"registers", "registers", TABLE_INT, 0},
    {"spills", "spill_bytes", TABLE_INT, 0},
    {NULL, "local_bytes", TABLE_INT, 0},
    {"LDL/STL", "local_accesses", TABLE_INT, 0},
    {"slots", "slots", TABLE_INT, 0},
    {"scores", "scores", TABLE_INT, 0},
    {NULL, "scores_estimated", TABLE_BOOL, 0},
    {"per score", "slots_per_score", TABLE_REAL, 2},
    {"skipped", "skipped_slots", TABLE_INT, 0},
    {"tensor", "tensor_clocks", TABLE_REAL, 0},
    {"xu", "xu_clocks", TABLE_REAL, 0},
    {"fma", "fma_clocks", TABLE_REAL, 0},
    {"alu", "alu_clocks", TABLE_REAL, 0},
    {"lsu", "lsu_clocks", TABLE_REAL, 0},
    {"under wgmma", "slots_under_wgmma", TABLE_INT, 0},
    {"serialised", "wgmma_serialised", TABLE_BOOL, 0},
};

static bool is_serialised(const struct sass_view *v) {
    return v->complaint || v->report.gmma.cut_chains > 0;
}

static void add_row(struct table *t, const struct sass_view *v) {
    const struct sass_report *r = &v->report;
    table_text(t, r->name);
    table_text(t, v->spec[0] ? v->spec : r->name);
    table_text(t, v->target);
    table_text(t, v->io);
    table_text(t, v->mask);
    table_text(t, v->variant);
    table_int(t, v->registers);
    table_int(t, v->spill_bytes);
    table_int(t, v->local_bytes);
    table_int(t, r->local_accesses);
    table_int(t, r->steady.slots);
    table_int(t, v->scores);
    table_bool(t, v->scores_estimated);
    table_real(t, sass_view_per_score(v, r->steady.slots));
    table_int(t, skipped_slots(r));
    for (int p = 0; p < SASS_PIPE_COUNT; p++) table_real(t, r->steady.clocks[p]);
    table_int(t, r->gmma.under);
    table_bool(t, is_serialised(v));
}

static struct table summary_of(const struct sass_view *view, int count) {
    struct table t = {.columns = summary_columns, .column_count = sizeof summary_columns / sizeof summary_columns[0]};
    for (int i = 0; i < count; i++) add_row(&t, &view[i]);
    return t;
}

void sass_print_summary(const struct sass_view *view, int count, struct buf *out) {
    struct table t = summary_of(view, count);
    table_print(&t, out);
    table_free(&t);
}

/* -- Opcodes ----------------------------------------------------------------------- */

// The opcodes of one class and how often each occurs, most frequent first.
struct opcodes {
    struct {
        char name[24];
        int count;
    } item[48];
    int count;
};

// The opcode, with its second part where that says what it does.
static void short_opcode(const struct sass_instr *instr, char out[24]) {
    size_t len = strcspn(instr->text, ". ");
    if (instr->text[len] == '.' && (sass_is(instr, "MUFU") || sass_is(instr, "IMAD") || sass_is(instr, "SYNCS") ||
                                    sass_is(instr, "WARPGROUP") || sass_is(instr, "BAR")))
        len += 1 + strcspn(instr->text + len + 1, ". ");
    snprintf(out, 24, "%.*s", (int)len, instr->text);
}

static void opcodes_add(struct opcodes *o, const struct sass_instr *instr) {
    char name[24];
    short_opcode(instr, name);
    int i = 0;
    while (i < o->count && strcmp(o->item[i].name, name) != 0) i++;
    if (i == o->count && o->count == (int)(sizeof o->item / sizeof o->item[0])) return;
    if (i == o->count) memcpy(o->item[o->count++].name, name, sizeof name);
    o->item[i].count++;
    for (; i > 0 && o->item[i].count > o->item[i - 1].count; i--) {
        const struct opcodes old = *o;
        o->item[i] = old.item[i - 1];
        o->item[i - 1] = old.item[i];
    }
}

static struct opcodes opcodes_of(const struct sass_report *r, enum sass_class class) {
    struct opcodes o = {.count = 0};
    for (int i = 0; i < r->way_count; i++) {
        const struct sass_instr *instr = &r->kernel->item[r->way[i]];
        if (sass_class_of(instr) == class) opcodes_add(&o, instr);
    }
    return o;
}

static void put_opcodes(const struct opcodes *o, struct buf *out) {
    for (int i = 0; i < o->count; i++) buf_printf(out, "%s%d %s", i ? ", " : "", o->item[i].count, o->item[i].name);
}

// "66 ffma, 32 mov, 16 shared": the classes of a count, most frequent first.
static void put_classes(const struct sass_count *count, struct buf *out) {
    bool done[SASS_CLASS_COUNT] = {false};
    for (int n = 0; n < SASS_CLASS_COUNT; n++) {
        int best = -1;
        for (int c = 0; c < SASS_CLASS_COUNT; c++)
            if (!done[c] && count->of_class[c] > 0 && (best < 0 || count->of_class[c] > count->of_class[best]))
                best = c;
        if (best < 0) return;
        done[best] = true;
        buf_printf(out, "%s%d %s", n ? ", " : "", count->of_class[best], sass_class_text((enum sass_class)best));
    }
}

/* -- Detail -------------------------------------------------------------------------- */

static void put_loops(const struct sass_report *r, struct buf *out) {
    static const struct table_column columns[] = {{"loop", "loop", TABLE_TEXT, 0},  {"to", "to", TABLE_TEXT, 0},
                                                  {"depth", "depth", TABLE_INT, 0}, {"slots", "slots", TABLE_INT, 0},
                                                  {"tensor", "mma", TABLE_INT, 0},  {"mufu", "mufu", TABLE_INT, 0},
                                                  {"local", "local", TABLE_INT, 0}, {"", "note", TABLE_TEXT, 0}};
    struct table t = {.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    for (int i = 0; i < r->loop_count; i++) {
        const struct sass_loop_count *l = &r->loop[i];
        char text[16];
        snprintf(text, sizeof text, "%#06x", address_of(r, l->first));
        table_text(&t, text);
        snprintf(text, sizeof text, "%#06x", address_of(r, l->last));
        table_text(&t, text);
        table_int(&t, l->depth);
        table_int(&t, l->all.slots);
        table_int(&t, l->all.of_class[SASS_MMA]);
        table_int(&t, l->all.of_class[SASS_MUFU]);
        table_int(&t, l->all.of_class[SASS_LOCAL]);
        table_text(&t, l->main ? "main loop" : "");
    }
    if (r->loop_count > 0) table_print(&t, out);
    table_free(&t);
}

static void put_class_table(const struct sass_view *v, struct buf *out) {
    static const struct table_column columns[] = {{"class", "class", TABLE_TEXT, 0},
                                                  {"slots", "slots", TABLE_INT, 0},
                                                  {"per score", "per_score", TABLE_REAL, 2},
                                                  {"opcodes", "opcodes", TABLE_TEXT, 0}};
    struct table t = {.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    for (int c = 0; c < SASS_CLASS_COUNT; c++) {
        const int slots = v->report.steady.of_class[c];
        if (slots == 0) continue;
        const struct opcodes o = opcodes_of(&v->report, (enum sass_class)c);
        struct buf text = {0};
        put_opcodes(&o, &text);
        table_text(&t, sass_class_text((enum sass_class)c));
        table_int(&t, slots);
        table_real(&t, sass_view_per_score(v, slots));
        table_text(&t, text.data);
        buf_free(&text);
    }
    table_print(&t, out);
    table_free(&t);
}

static void put_pipes(const struct sass_report *r, struct buf *out) {
    buf_printf(out, "clocks of a scheduler that a warp's iteration takes, by pipe (estimated): issue %d",
               r->steady.slots);
    for (int p = 0; p < SASS_PIPE_COUNT; p++)
        buf_printf(out, ", %s %.0f", sass_pipe_text((enum sass_pipe)p), r->steady.clocks[p]);
    buf_puts(out, "\n");
}

static void put_skipped(const struct sass_view *v, struct buf *out) {
    static const struct table_column columns[] = {
        {"skipped", "first", TABLE_TEXT, 0},       {"to", "last", TABLE_TEXT, 0},
        {"by", "branch", TABLE_TEXT, 0},           {"slots", "slots", TABLE_INT, 0},
        {"per score", "per_score", TABLE_REAL, 2}, {"of which", "classes", TABLE_TEXT, 0}};
    const struct sass_report *r = &v->report;
    struct table t = {.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    for (int i = 0; i < r->skipped_count; i++) {
        const struct sass_skipped *s = &r->skipped[i];
        struct buf text = {0};
        buf_printf(&text, "%#06x", address_of(r, s->first));
        table_text(&t, text.data);
        buf_clear(&text);
        buf_printf(&text, "%#06x", address_of(r, s->last));
        table_text(&t, text.data);
        buf_clear(&text);
        if (s->branch >= 0) buf_printf(&text, "%#06x", address_of(r, s->branch));
        table_text(&t, text.len ? text.data : "another");
        table_int(&t, s->count.slots);
        table_real(&t, sass_view_per_score(v, s->count.slots));
        buf_clear(&text);
        put_classes(&s->count, &text);
        if (s->is_loop) buf_puts(&text, "; a loop");
        table_text(&t, text.data);
        buf_free(&text);
    }
    if (r->skipped_count > 0) table_print(&t, out);
    table_free(&t);
}

static void put_gmma(const struct sass_view *v, struct buf *out) {
    const struct sass_gmma *g = &v->report.gmma;
    if (g->products == 0) return;
    buf_printf(out,
               "wgmma: %d products in %d groups, %d arrives, %d waits; %d of %d other slots are issued under a running "
               "group\n",
               g->products, g->groups, g->arrives, g->waits, g->under, v->report.steady.slots - g->products);
    if (g->cut_chains)
        buf_printf(out, "wgmma is serialised: %d accumulations wait for the one before\n", g->cut_chains);
    if (v->complaint) buf_printf(out, "ptxas: %s\n", v->complaint);
}

static void put_notes(const struct sass_view *v, struct buf *out) {
    const struct sass_report *r = &v->report;
    if (r->conditional)
        buf_printf(out,
                   "note: %d of the slots stand in blocks that some branch skips; they count, as they hold matrix "
                   "products or copies\n"
                   "      of every iteration, or are the shorter of two ways\n",
                   r->conditional);
    if (r->guarded)
        buf_printf(out, "note: %d of the slots have a guard, and count whether it is true or not\n", r->guarded);
    if (r->inner_loops) buf_printf(out, "note: %d inner loops are passed; each is counted once\n", r->inner_loops);
    if (r->way_calls) buf_printf(out, "note: %d calls; what they call is not counted\n", r->way_calls);
    if (r->conflicts)
        buf_printf(out, "note: %d instructions read three registers of one bank (estimated)\n", r->conflicts);
    if (r->irreducible) buf_printf(out, "note: %d backward branches belong to no loop\n", r->irreducible);
    if (v->scores_estimated) buf_puts(out, "note: scores are estimated from the exponentials; --scores sets them\n");
}

static void put_title(const struct sass_view *v, struct buf *out) {
    const struct sass_report *r = &v->report;
    buf_printf(out, "%s\n%d instructions", r->name, r->kernel->count);
    if (v->registers >= 0)
        buf_printf(out, ", %d registers, %d bytes spilled, %d bytes of local memory", v->registers, v->spill_bytes,
                   v->local_bytes);
    buf_printf(out, ", registers up to R%d, %d accesses to local memory\n", r->registers_seen - 1, r->local_accesses);
}

void sass_print_detail(const struct sass_view *view, struct buf *out) {
    const struct sass_report *r = &view->report;
    put_title(view, out);
    put_loops(r, out);
    if (r->main < 0) {
        buf_puts(out, "no loop holds both matrix products and exponentials\n");
        return;
    }
    buf_printf(out, "main loop, steady state: %d issue slots for %d scores a thread: %.2f a score\n\n", r->steady.slots,
               view->scores, sass_view_per_score(view, r->steady.slots));
    put_class_table(view, out);
    put_pipes(r, out);
    buf_puts(out, "\n");
    put_skipped(view, out);
    put_gmma(view, out);
    put_notes(view, out);
}

void sass_print_annotated(const struct sass_view *view, struct buf *out) {
    const struct sass_report *r = &view->report;
    if (r->main < 0) return;
    const struct sass_loop_count *l = &r->loop[r->main];
    char *mark = xcalloc((size_t)r->kernel->count + 1, 1);
    for (int i = 0; i < r->skipped_count; i++)
        for (int j = r->skipped[i].first; j <= r->skipped[i].last; j++) mark[j] = '.';
    for (int i = 0; i < r->way_count; i++) mark[r->way[i]] = '|';
    for (int i = l->first; i <= l->last; i++) {
        const struct sass_instr *instr = &r->kernel->item[i];
        if (!mark[i]) continue;
        if (i > l->first && !mark[i - 1]) buf_puts(out, "...\n");
        buf_printf(out, "%04x %c %-8s %5s %s\n", instr->address, mark[i], sass_class_text(sass_class_of(instr)),
                   instr->guard, instr->text);
    }
    free(mark);
}

/* -- JSON ------------------------------------------------------------------------------- */

static json_t *json_count(const struct sass_count *count) {
    json_t *classes = json_object(), *clocks = json_object();
    for (int c = 0; c < SASS_CLASS_COUNT; c++)
        if (count->of_class[c])
            json_object_set_new(classes, sass_class_text((enum sass_class)c), json_integer(count->of_class[c]));
    for (int p = 0; p < SASS_PIPE_COUNT; p++)
        json_object_set_new(clocks, sass_pipe_text((enum sass_pipe)p), json_real(count->clocks[p]));
    return json_pack("{s:i, s:o, s:o}", "slots", count->slots, "classes", classes, "clocks", clocks);
}

static json_t *json_loops(const struct sass_report *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->loop_count; i++) {
        const struct sass_loop_count *l = &r->loop[i];
        json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:b, s:b, s:o}", "first", (int)address_of(r, l->first),
                                              "last", (int)address_of(r, l->last), "depth", l->depth, "innermost",
                                              (int)l->innermost, "main", (int)l->main, "count", json_count(&l->all)));
    }
    return list;
}

static json_t *json_skipped(const struct sass_report *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->skipped_count; i++) {
        const struct sass_skipped *s = &r->skipped[i];
        json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:b, s:o}", "first", (int)address_of(r, s->first),
                                              "last", (int)address_of(r, s->last), "branch",
                                              s->branch >= 0 ? (int)address_of(r, s->branch) : -1, "loop",
                                              (int)s->is_loop, "count", json_count(&s->count)));
    }
    return list;
}

static json_t *json_opcodes(const struct sass_report *r) {
    json_t *all = json_object();
    for (int c = 0; c < SASS_CLASS_COUNT; c++) {
        const struct opcodes o = opcodes_of(r, (enum sass_class)c);
        for (int i = 0; i < o.count; i++) json_object_set_new(all, o.item[i].name, json_integer(o.item[i].count));
    }
    return all;
}

static json_t *json_main(const struct sass_view *v) {
    const struct sass_report *r = &v->report;
    const struct sass_gmma *g = &r->gmma;
    if (r->main < 0) return json_null();
    json_t *wgmma = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "products", g->products, "groups", g->groups, "arrives",
                              g->arrives, "waits", g->waits, "cut_chains", g->cut_chains, "slots_under", g->under);
    return json_pack("{s:i, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "scores", v->scores, "steady",
                     json_count(&r->steady), "opcodes", json_opcodes(r), "exponentials", r->exponentials, "conditional",
                     r->conditional, "guarded", r->guarded, "inner_loops", r->inner_loops, "calls", r->way_calls,
                     "bank_conflicts", r->conflicts, "wgmma", wgmma, "skipped", json_skipped(r));
}

json_t *sass_print_json(const struct sass_view *view, int count) {
    struct table t = summary_of(view, count);
    json_t *details = json_array();
    for (int i = 0; i < count; i++) {
        const struct sass_report *r = &view[i].report;
        json_array_append_new(details, json_pack("{s:s, s:i, s:i, s:i, s:s?, s:o, s:o}", "name", r->name,
                                                 "instructions", r->kernel->count, "registers_seen", r->registers_seen,
                                                 "calls", r->calls, "ptxas", view[i].complaint, "loops", json_loops(r),
                                                 "main", json_main(&view[i])));
    }
    json_t *root = json_pack("{s:o, s:o}", "kernels", table_json(&t), "details", details);
    table_free(&t);
    return root;
}
