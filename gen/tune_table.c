// tune_table: what `sagegen tune` prints: a row a problem, the default variant beside the winner, then what was left
// out and what became of the run; or all of it as JSON. SPDX-License-Identifier: Apache-2.0
#include "tune_command.h"

#include "table.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- Winners ---- */

int tune_winner(const struct tune_work *work, const struct tune_task *task) {
    struct tune_step step = {.candidate = xcalloc((size_t)task->count + 1, sizeof *step.candidate)};
    tune_step_next(work, task, &step);
    free(step.candidate);
    return step.next == TUNE_DONE ? step.winner : -1;
}

static bool is_decided(const struct tune_work *work, const struct tune_task *task) {
    struct tune_step step = {.candidate = xcalloc((size_t)task->count + 1, sizeof *step.candidate)};
    tune_step_next(work, task, &step);
    free(step.candidate);
    return step.next == TUNE_DONE;
}

static double ms_of(const struct tune_task *t, int candidate) {
    return (double)tune_best_time(&t->candidate[candidate]).ns / 1e6;
}

// The default's time over the winner's; 1 where the default has none.
static double gain_of(const struct tune_task *t, int winner) {
    const double usual = ms_of(t, 0), fastest = ms_of(t, winner);
    return usual > 0 && fastest > 0 ? usual / fastest : 1;
}

static void count_faults(const struct tune_command *c, struct tune_summary *s) {
    for (int i = 0; i < c->work.pruned_count; i++) s->faults[c->work.pruned[i].fault]++;
    for (int i = 0; i < c->work.sets; i++) s->faults[c->work.set[i].fault] += c->work.set[i].fault != TUNE_FINE;
    for (int i = 0; i < c->work.tasks; i++)
        for (int k = 0; k < c->work.task[i].count; k++)
            s->faults[c->work.task[i].candidate[k].fault] += c->work.task[i].candidate[k].fault != TUNE_FINE;
}

void tune_summary_make(const struct tune_command *c, struct tune_summary *s) {
    double logs = 0;
    *s = (struct tune_summary){.gain_most = 1};
    for (int i = 0; i < c->work.tasks; i++) {
        const struct tune_task *t = &c->work.task[i];
        const int winner = tune_winner(&c->work, t);
        s->decided += is_decided(&c->work, t);
        s->failed += is_decided(&c->work, t) && winner < 0;
        if (winner < 0) continue;
        s->other += winner > 0;
        s->gain_most = fmax(s->gain_most, gain_of(t, winner));
        logs += log(gain_of(t, winner));
        if (!c->before || c->before[i] < 0) continue;
        s->compared++;
        s->agreeing += c->before[i] == winner;
    }
    const int won = s->decided - s->failed;
    s->gain_mean = won ? exp(logs / won) : 1;
    count_faults(c, s);
}

/* -- Rows ---- */

static const struct table_column columns[] = {
    {"spec", "spec", TABLE_TEXT, 0},
    {"io", "io", TABLE_TEXT, 0},
    {"mask", "mask", TABLE_TEXT, 0},
    {NULL, "target", TABLE_TEXT, 0},
    {"tokens", "n", TABLE_INT, 0},
    {"batch", "batch", TABLE_INT, 0},
    {"heads", "heads", TABLE_INT, 0},
    {NULL, "heads_kv", TABLE_INT, 0},
    {"default", "default_variant", TABLE_TEXT, 0},
    {"ms", "default_ms", TABLE_REAL, 4},
    {"winner", "variant", TABLE_TEXT, 0},
    {"ms", "ms", TABLE_REAL, 4},
    {"gain", "gain", TABLE_REAL, 3},
    {NULL, "spread", TABLE_REAL, 4},
    {"tried", "tried", TABLE_INT, 0},
    {"failed", "failed", TABLE_INT, 0},
};

static int count_failed(const struct tune_work *w, const struct tune_task *t) {
    int failed = 0;
    for (int i = 0; i < t->count; i++) failed += tune_candidate_fault(w, t, i) != TUNE_FINE;
    return failed;
}

static void add_row(struct table *table, const struct tune_work *w, const struct tune_task *t) {
    const int winner = tune_winner(w, t);
    const struct tune_time time = winner >= 0 ? tune_best_time(&t->candidate[winner]) : (struct tune_time){0};
    table_text(table, t->spec->spec.name);
    table_text(table, spec_io_text(t->io));
    table_text(table, t->problem.causal ? "causal" : "none");
    table_text(table, spec_target_text(t->target));
    table_int(table, t->problem.n);
    table_int(table, t->problem.batch);
    table_int(table, t->problem.heads);
    table_int(table, t->heads_kv);
    table_text(table, tune_set_of(w, t, 0)->name);
    table_real(table, ms_of(t, 0));
    table_text(table, winner >= 0 ? tune_set_of(w, t, winner)->name : is_decided(w, t) ? "none" : "undecided");
    table_real(table, (double)time.ns / 1e6);
    table_real(table, winner >= 0 ? gain_of(t, winner) : 0);
    table_real(table, time.spread_ppm / 1e6);
    table_int(table, t->count);
    table_int(table, count_failed(w, t));
}

static void make_rows(const struct tune_command *c, struct table *out) {
    *out = (struct table){.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    for (int i = 0; i < c->work.tasks; i++) add_row(out, &c->work, &c->work.task[i]);
}

/* -- Text ---- */

void tune_machine_text(const struct tune_command *c, struct buf *out) {
    const struct wisdom_machine *m = &c->probe.machine;
    if (tune_is_estimate(c))
        buf_printf(out,
                   "ESTIMATES from instruction counts of the PTX virtual machine, for an sm_%d GPU of %d "
                   "multiprocessors; nothing was measured",
                   m->sm, m->multiprocessors);
    else
        buf_printf(out, "%s, sm_%d, %d multiprocessors, driver %s", m->gpu, m->sm, m->multiprocessors, m->driver);
}

static void put_faults(const struct tune_summary *s, struct buf *out) {
    const char *before = "left out: ";
    for (int i = 1; i < TUNE_FAULT_COUNT; i++) {
        if (s->faults[i] == 0) continue;
        buf_printf(out, "%s%d %s", before, s->faults[i], tune_fault_text((enum tune_fault)i));
        before = ", ";
    }
    if (before[0] == ',') buf_puts(out, "\n");
}

static void put_summary(const struct tune_command *c, const struct tune_summary *s, struct buf *out) {
    const int won = s->decided - s->failed;
    buf_printf(out, "%d of %d problems decided; %d keep the default variant, %d have a faster one", s->decided,
               c->work.tasks, won - s->other, s->other);
    if (s->failed) buf_printf(out, ", %d have none that works", s->failed);
    buf_printf(out, "; gain %.3f in the mean, %.3f at most\n", s->gain_mean, s->gain_most);
    put_faults(s, out);
    if (c->before) buf_printf(out, "again: %d of %d winners are those of the last run\n", s->agreeing, s->compared);
    buf_printf(out, "%d measurements in %.1f s%s", c->outcome.measured, c->outcome.seconds,
               c->outcome.requests ? "" : ": the journal has them all");
    if (c->wisdom_path.len && c->wisdom_new)
        buf_printf(out, "; wisdom in %s\n", c->wisdom_path.data);
    else
        buf_puts(out, tune_is_estimate(c) ? "; no wisdom written: estimates go to --out alone\n" : "\n");
}

void tune_table_print(const struct tune_command *c, struct buf *out) {
    struct table table;
    struct tune_summary summary;
    make_rows(c, &table);
    tune_summary_make(c, &summary);
    tune_machine_text(c, out);
    buf_puts(out, "\n\n");
    table_print(&table, out);
    buf_puts(out, "\n");
    put_summary(c, &summary, out);
    table_free(&table);
}

/* -- JSON ---- */

static json_t *left_out_json(const struct tune_command *c) {
    json_t *list = json_array();
    for (int i = 0; i < c->work.pruned_count; i++) {
        const struct tune_pruned *p = &c->work.pruned[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "spec", p->spec, "target", p->target,
                                              "variant", p->variant, "problem", p->problem, "fault",
                                              tune_fault_word(p->fault), "why", p->why));
    }
    for (int i = 0; i < c->work.sets; i++) {
        const struct tune_set *s = &c->work.set[i];
        if (s->fault == TUNE_FINE) continue;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "spec", s->spec->spec.name, "target",
                                              spec_target_text(s->target), "variant", s->name, "problem", "", "fault",
                                              tune_fault_word(s->fault), "why", s->why));
    }
    for (int i = 0; i < c->work.tasks; i++)
        for (int k = 0; k < c->work.task[i].count; k++) {
            const struct tune_task *t = &c->work.task[i];
            const struct tune_candidate *own = &t->candidate[k];
            struct buf text = {0};
            if (own->fault == TUNE_FINE) continue;
            tune_task_text(t, &text);
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "spec", t->spec->spec.name,
                                                  "target", spec_target_text(t->target), "variant",
                                                  tune_set_of(&c->work, t, k)->name, "problem", text.data, "fault",
                                                  tune_fault_word(own->fault), "why", own->why));
            buf_free(&text);
        }
    return list;
}

void tune_table_json(const struct tune_command *c, struct buf *out) {
    const struct wisdom_machine *m = &c->probe.machine;
    struct table table;
    struct tune_summary s;
    make_rows(c, &table);
    tune_summary_make(c, &s);
    json_t *root = json_pack("{s:{s:s, s:i, s:i, s:s}, s:b}", "machine", "gpu", m->gpu, "sm", m->sm, "multiprocessors",
                             m->multiprocessors, "driver", m->driver, "estimate", (int)(tune_is_estimate(c)));
    json_object_set_new(root, "problems", table_json(&table));
    json_object_set_new(root, "left_out", left_out_json(c));
    json_object_set_new(root, "summary",
                        json_pack("{s:i, s:i, s:i, s:i, s:f, s:f, s:i, s:f}", "problems", c->work.tasks, "decided",
                                  s.decided, "without_winner", s.failed, "other_than_default", s.other, "gain_mean",
                                  s.gain_mean, "gain_most", s.gain_most, "measurements", c->outcome.measured, "seconds",
                                  c->outcome.seconds));
    if (c->before)
        json_object_set_new(root, "again", json_pack("{s:i, s:i}", "compared", s.compared, "agreeing", s.agreeing));
    json_object_set_new(root, "wisdom", json_string(c->wisdom_path.len && c->wisdom_new ? c->wisdom_path.data : ""));
    table_put_json(root, out);
    table_free(&table);
}
