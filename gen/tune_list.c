// tune_list: specs and problems -> tasks, candidates and the kernel sets behind them. Leaves out what cannot run, and
// what the cost model calls hopeless, each with its reason. Compiles nothing, asks no GPU. SPDX-License-Identifier:
// Apache-2.0
#include "tune.h"

#include "tune_cost.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Faults ---- */

static const struct {
    const char *word, *text;
} faults[TUNE_FAULT_COUNT] = {[TUNE_FINE] = {"", ""},
#define FAULT_ROW(symbol, word, help) [TUNE_##symbol] = {word, help},
                              TUNE_FAULTS(FAULT_ROW)};

const char *tune_fault_word(enum tune_fault fault) {
    return faults[fault].word;
}

const char *tune_fault_text(enum tune_fault fault) {
    return faults[fault].text;
}

enum tune_fault tune_fault_find(const char *word) {
    for (int i = 1; i < TUNE_FAULT_COUNT; i++)
        if (strcmp(faults[i].word, word) == 0) return (enum tune_fault)i;
    return TUNE_FINE;
}

/* -- Sets ---- */

struct plan_request tune_request(const struct tune_set *s, enum sage_role role) {
    return (struct plan_request){.spec = &s->spec->spec,
                                 .target = s->target,
                                 .io = s->io,
                                 .mask = role == SAGE_ROLE_ATTN_FWD ? s->mask : SPEC_MASK_NONE,
                                 .role = role,
                                 .variant = s->variant};
}

// One hash over the keys of its kernels.
static void key_make(const struct build_setup *setup, struct tune_set *s) {
    struct buf all = {0};
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        char key[KEY_BYTES];
        if (!plan_needs_role(&s->spec->spec, (enum sage_role)role)) continue;
        const struct plan_request request = tune_request(s, (enum sage_role)role);
        build_request_key(setup, &request, key);
        buf_puts(&all, key);
    }
    key_hash(all.data, all.len, s->key);
    buf_free(&all);
}

static bool same_set(const struct tune_set *a, const struct tune_set *b) {
    return a->spec == b->spec && a->target == b->target && a->io == b->io && a->mask == b->mask &&
           strcmp(a->name, b->name) == 0;
}

static int set_index(struct tune_work *w, const struct tune_choice *choice, struct tune_set *set) {
    for (int i = 0; i < w->sets; i++)
        if (same_set(&w->set[i], set)) return i;
    key_make(choice->setup, set);
    w->set = xgrown(w->set, w->sets, &w->set_capacity, sizeof *w->set);
    w->set[w->sets] = *set;
    return w->sets++;
}

const struct tune_set *tune_set_of(const struct tune_work *work, const struct tune_task *task, int candidate) {
    return &work->set[task->candidate[candidate].set];
}

enum tune_fault tune_candidate_fault(const struct tune_work *work, const struct tune_task *task, int candidate) {
    const enum tune_fault own = task->candidate[candidate].fault;
    return own != TUNE_FINE ? own : tune_set_of(work, task, candidate)->fault;
}

/* -- Tasks ---- */

sage_attention_shape tune_shape(const struct tune_task *t) {
    const struct bench_problem *p = &t->problem;
    return (sage_attention_shape){p->batch, p->heads, t->heads_kv, p->n, p->n};
}

static void problem_text(const struct tune_task *t, struct buf *out) {
    const struct bench_problem *p = &t->problem;
    buf_printf(out, "%d tokens, %d x %d heads", p->n, p->batch, p->heads);
    if (t->heads_kv != p->heads) buf_printf(out, " (%d of K and V)", t->heads_kv);
}

void tune_task_text(const struct tune_task *t, struct buf *out) {
    buf_printf(out, "%s %s %s, ", t->spec->spec.name, spec_io_text(t->io), t->problem.causal ? "causal" : "full");
    problem_text(t, out);
}

static void prune(struct tune_work *w, const struct tune_task *t, enum tune_fault fault, struct variant v,
                  const char *problem, const char *why) {
    struct tune_pruned p = {.fault = fault, .spec = t->spec->spec.name, .target = spec_target_text(t->target)};
    variant_text(v, p.variant);
    snprintf(p.problem, sizeof p.problem, "%s", problem);
    snprintf(p.why, sizeof p.why, "%s", why);
    for (int i = 0; i < w->pruned_count; i++) {
        const struct tune_pruned *old = &w->pruned[i];
        if (old->fault == p.fault && old->spec == p.spec && old->target == p.target &&
            strcmp(old->variant, p.variant) == 0 && strcmp(old->problem, p.problem) == 0)
            return;
    }
    w->pruned = xgrown(w->pruned, w->pruned_count, &w->pruned_capacity, sizeof *w->pruned);
    w->pruned[w->pruned_count++] = p;
}

static enum spec_mask mask_of(const struct tune_task *t) {
    return t->problem.causal ? SPEC_MASK_CAUSAL : SPEC_MASK_NONE;
}

static void set_fill(const struct tune_task *t, struct variant v, struct tune_set *out) {
    *out = (struct tune_set){.spec = t->spec, .target = t->target, .io = t->io, .mask = mask_of(t), .variant = v};
    variant_text(v, out->name);
}

static double cost_of(const struct tune_set *set, const struct tune_task *t, int multiprocessors) {
    const struct plan_request request = tune_request(set, SAGE_ROLE_ATTN_FWD);
    const sage_attention_shape shape = tune_shape(t);
    struct plan plan;
    plan_make(&plan, &request);
    return tune_cost_longest(&plan, arch_of(t->target), &shape, multiprocessors);
}

// Which tuning points can run. Returns how many.
static int list_applicable(struct tune_work *w, const struct tune_task *t, struct tune_set *sets) {
    const struct spec *spec = &t->spec->spec;
    int count = 0;
    for (int i = 0; i < variants_count(spec); i++) {
        char why[256];
        const struct variant v = variants_get(spec, i);
        if (plan_applicable(spec, t->target, v, why, sizeof why))
            prune(w, t, TUNE_INAPPLICABLE, v, "", why);
        else
            set_fill(t, v, &sets[count++]);
    }
    return count;
}

// The default point stays, whatever it costs: it is what all others are compared with.
static void add_candidates(struct tune_work *w, const struct tune_choice *choice, struct tune_task *t,
                           struct tune_set *sets, int count) {
    double least = 0;
    struct buf problem = {0};
    problem_text(t, &problem);
    buf_printf(&problem, "%s", t->problem.causal ? ", causal" : "");
    for (int i = 0; i < count; i++) {
        const double cost = cost_of(&sets[i], t, choice->multiprocessors);
        if (i == 0 || cost < least) least = cost;
    }
    for (int i = 0; i < count; i++) {
        char why[TUNE_WHY_BYTES];
        const double times = cost_of(&sets[i], t, choice->multiprocessors) / least;
        snprintf(why, sizeof why, "%.1f times the cheapest", times);
        if (i > 0 && times > TUNE_COST_LIMIT)
            prune(w, t, TUNE_COST, sets[i].variant, problem.data, why);
        else
            t->candidate[t->count++] = (struct tune_candidate){.set = set_index(w, choice, &sets[i])};
    }
    buf_free(&problem);
}

static void add_task(struct tune_work *w, const struct tune_choice *choice, struct tune_task *t) {
    const size_t most = (size_t)variants_count(&t->spec->spec);
    struct tune_set *sets = xcalloc(most + 1, sizeof *sets);
    const int count = list_applicable(w, t, sets);
    t->candidate = xcalloc(most + 1, sizeof *t->candidate);
    add_candidates(w, choice, t, sets, count);
    free(sets);
    w->task = xgrown(w->task, w->tasks, &w->task_capacity, sizeof *w->task);
    w->task[w->tasks++] = *t;
}

/* -- Specs ---- */

static bool contains(const struct spec_int_list *list, int value) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i] == value) return true;
    return false;
}

static bool is_wanted(const struct tune_choice *choice, const struct spec *spec, enum spec_io io,
                      const struct bench_problem *p) {
    return contains(&spec->io, (int)io) && (!choice->select->io.count || contains(&choice->select->io, (int)io)) &&
           spec->head_dim_qk == p->d && spec->head_dim_v == p->d &&
           contains(&spec->mask, p->causal ? SPEC_MASK_CAUSAL : SPEC_MASK_NONE) &&
           (!choice->heads_kv || p->heads % choice->heads_kv == 0);
}

static void list_problem(struct tune_work *w, const struct cmd_specs *specs, const struct spec_int_list *targets,
                         const struct tune_choice *choice, const struct bench_problem *p) {
    for (int io = 0; io < SPEC_IO_COUNT; io++)
        for (int s = 0; s < specs->count; s++)
            for (int i = 0; i < targets[s].count; i++) {
                struct tune_task task = {.spec = specs->item[s],
                                         .target = (enum spec_target)targets[s].item[i],
                                         .io = (enum spec_io)io,
                                         .problem = *p,
                                         .heads_kv = choice->heads_kv ? choice->heads_kv : p->heads};
                if (is_wanted(choice, &specs->item[s]->spec, (enum spec_io)io, p)) add_task(w, choice, &task);
            }
}

static bool has_task(const struct tune_work *w, const struct cmd_spec *spec) {
    for (int i = 0; i < w->tasks; i++)
        if (w->task[i].spec == spec) return true;
    return false;
}

static bool runs_somewhere(const struct spec *spec, enum spec_target target, char *why, size_t n) {
    struct variant v;
    return plan_default_variant(spec, target, &v, why, n);
}

// The targets that the spec is tuned for; none where no tuning point can run.
static bool targets_of(struct cmd_specs *specs, int s, const struct tune_choice *choice, struct spec_int_list *out,
                       struct buf *skipped) {
    const struct spec *spec = &specs->item[s]->spec;
    struct spec_int_list all;
    char why[256];
    if (!cmd_select_targets(choice->select, spec, &specs->diag, &all)) return false;
    *out = (struct spec_int_list){0};
    for (int i = 0; i < all.count; i++) {
        const enum spec_target target = (enum spec_target)all.item[i];
        if (runs_somewhere(spec, target, why, sizeof why))
            out->item[out->count++] = (int)target;
        else
            buf_printf(skipped, "%s on %s: %s\n", spec->name, spec_target_text(target), why);
    }
    return true;
}

bool tune_list(struct tune_work *w, struct cmd_specs *specs, const struct tune_choice *choice, struct buf *skipped) {
    struct spec_int_list *targets = xcalloc((size_t)specs->count + 1, sizeof *targets);
    bool ok = true;
    for (int s = 0; s < specs->count; s++) ok &= targets_of(specs, s, choice, &targets[s], skipped);
    for (int i = 0; ok && i < choice->problems->count; i++)
        list_problem(w, specs, targets, choice, &choice->problems->item[i]);
    for (int s = 0; ok && s < specs->count; s++)
        if (targets[s].count && !has_task(w, specs->item[s]))
            buf_printf(skipped, "%s: none of the problems fits it\n", specs->item[s]->spec.name);
    free(targets);
    return ok;
}

void tune_work_free(struct tune_work *w) {
    for (int i = 0; i < w->tasks; i++) free(w->task[i].candidate);
    free(w->task);
    free(w->set);
    free(w->pruned);
    *w = (struct tune_work){0};
}
