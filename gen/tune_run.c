// tune_run: see tune_run.h. One thread, one poll. SPDX-License-Identifier: Apache-2.0
#include "tune_run.h"

#include "cmd_interrupt.h"
#include "tune_kernels.h"
#include "tune_progress.h"
#include "tune_worker.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUILDERS_MOST = 64, POLL_MS = 200, FAULT_TOLD = -2 };

struct building {
    struct process process;
    struct tune_builder job;
    struct buf pending;
    double since; /* seconds */
};

// Samples of a candidate in the request at hand.
struct samples {
    int64_t *ns;
    int count;
};

struct measuring {
    struct process process;
    struct tune_server server;
    struct buf pending;
    bool started, ready;
    int task;              /* at hand; -1: idle */
    int at;                /* candidate; -1: none; or FAULT_TOLD */
    double since;          /* its last word */
    struct tune_step step; /* at hand */
    struct samples *samples;
};

struct run {
    const struct tune_setup *setup;
    struct tune_work *work;
    struct tune_journal *journal;
    struct tune_outcome *out;
    struct building building[BUILDERS_MOST];
    int buildings;
    struct measuring m;
    bool *done, *needed; /* of tasks; of sets */
    struct tune_progress progress;
    bool broken;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((format(printf, 2, 3))) static void break_off(struct run *r, const char *format, ...) {
    va_list args;
    if (r->broken) return;
    va_start(args, format);
    vsnprintf(r->out->why, sizeof r->out->why, format, args);
    va_end(args);
    r->broken = true;
}

// Ctrl-C reaches the children too, perhaps before this process.
static bool is_interrupt(int status) {
    return cmd_interrupted() || status == -SIGINT || status == -SIGTERM;
}

/* -- Faults ---- */

static void set_fault(struct run *r, int set, enum tune_fault fault, const char *why) {
    struct tune_set *s = &r->work->set[set];
    s->state = TUNE_BUILT;
    s->fault = fault;
    snprintf(s->why, sizeof s->why, "%s", why);
    tune_journal_set_fault(r->journal, s);
    tune_progress_fault(&r->progress, s, NULL, fault, why);
}

static void candidate_fault(struct run *r, const struct tune_task *t, int candidate, enum tune_fault fault,
                            const char *why) {
    struct tune_candidate *c = &t->candidate[candidate];
    c->fault = fault;
    snprintf(c->why, sizeof c->why, "%s", why);
    tune_journal_fault(r->journal, r->work, t, candidate);
    tune_progress_fault(&r->progress, tune_set_of(r->work, t, candidate), t, fault, why);
}

/* -- Compiling ---- */

// The default point of some task is never pruned: it is what others are compared with.
static bool is_default(const struct tune_work *w, int set) {
    for (int i = 0; i < w->tasks; i++)
        if (w->task[i].count && w->task[i].candidate[0].set == set) return true;
    return false;
}

static void take_built(struct run *r, int set, int registers, int spill_bytes, int threads) {
    const int all = arch_of(r->work->set[set].target)->registers_sm;
    char why[TUNE_WHY_BYTES];
    r->work->set[set].state = TUNE_BUILT;
    if (registers * threads > all) {
        snprintf(why, sizeof why, "%d registers of %d threads; a multiprocessor has %d", registers, threads, all);
        set_fault(r, set, TUNE_REGISTERS, why);
    } else if (spill_bytes > 0 && !is_default(r->work, set)) {
        snprintf(why, sizeof why, "%d bytes", spill_bytes);
        set_fault(r, set, TUNE_SPILLS, why);
    }
}

static bool is_of(const struct building *b, int set) {
    return set == b->job.set[0] || (b->job.count > 1 && set == b->job.set[1]);
}

static void take_build_line(struct run *r, const struct building *b, const char *line) {
    int set, registers, spill_bytes, threads, used = 0;
    if (sscanf(line, "built %d %d %d %d", &set, &registers, &spill_bytes, &threads) == 4 && is_of(b, set))
        take_built(r, set, registers, spill_bytes, threads);
    else if (sscanf(line, "failed %d %n", &set, &used) == 1 && used && is_of(b, set))
        set_fault(r, set, TUNE_COMPILE, line + used);
    else if (strncmp(line, "no ", 3) == 0)
        break_off(r, "nothing can be compiled: %s", line + 3);
}

// Of sets that it left unfinished the first is to blame; the other one is tried again.
static void end_building(struct run *r, int index, bool kill_it, const char *how) {
    struct building *b = &r->building[index];
    char why[TUNE_WHY_BYTES];
    const int status = process_end(&b->process, kill_it);
    bool blamed = is_interrupt(status) || r->broken;
    if (how) snprintf(why, sizeof why, "%s", how);
    if (!how) snprintf(why, sizeof why, "the compiler's process ended with status %d", status);
    for (int i = 0; i < b->job.count; i++) {
        struct tune_set *s = &r->work->set[b->job.set[i]];
        if (s->state != TUNE_BUILDING) continue;
        s->state = TUNE_WAITING;
        if (!blamed) set_fault(r, b->job.set[i], TUNE_COMPILE, why);
        blamed = true;
    }
    buf_free(&b->pending);
    *b = r->building[--r->buildings];
}

static int sibling_of(const struct tune_work *w, int set) {
    const struct tune_set *a = &w->set[set];
    for (int i = 0; i < w->sets; i++) {
        const struct tune_set *b = &w->set[i];
        if (i != set && b->spec == a->spec && b->target == a->target && b->io == a->io && strcmp(a->name, b->name) == 0)
            return i;
    }
    return -1;
}

static bool is_wanted(const struct run *r, int set) {
    const struct tune_set *s = &r->work->set[set];
    return r->needed[set] && s->state == TUNE_WAITING && s->fault == TUNE_FINE;
}

static void start_building(struct run *r, int set) {
    struct building *b = &r->building[r->buildings];
    const int sibling = sibling_of(r->work, set);
    *b = (struct building){.since = now()};
    b->job = (struct tune_builder){.bench = &r->setup->bench, .form = r->setup->form, .set = {set}, .count = 1};
    if (sibling >= 0 && is_wanted(r, sibling)) b->job.set[b->job.count++] = sibling;
    if (!process_start(&b->process, r->setup->build, &b->job, r->out->why, sizeof r->out->why)) {
        r->broken = true;
        return;
    }
    for (int i = 0; i < b->job.count; i++) r->work->set[b->job.set[i]].state = TUNE_BUILDING;
    r->buildings++;
}

// In the order of the tasks, which is that of the sets.
static void start_buildings(struct run *r) {
    const int most = r->setup->builders < BUILDERS_MOST ? r->setup->builders : BUILDERS_MOST;
    for (int i = 0; i < r->work->sets && r->buildings < most && !r->broken; i++)
        if (is_wanted(r, i)) start_building(r, i);
}

static void hear_building(struct run *r, int index) {
    struct building *b = &r->building[index];
    struct buf line = {0};
    const bool open = process_take(&b->process, &b->pending);
    while (process_take_line(&b->pending, &line)) take_build_line(r, b, line.data);
    buf_free(&line);
    if (!open) end_building(r, index, false, NULL);
}

static void time_out_buildings(struct run *r) {
    char how[64];
    snprintf(how, sizeof how, "no end after %d s", r->setup->build_timeout_s);
    for (int i = r->buildings - 1; i >= 0; i--)
        if (now() - r->building[i].since > r->setup->build_timeout_s) end_building(r, i, true, how);
}

/* -- Measuring ---- */

static void step_free(struct measuring *m) {
    for (int i = 0; m->samples && i < m->step.count; i++) free(m->samples[i].ns);
    free(m->samples);
    free(m->step.candidate);
    m->samples = NULL;
    m->step = (struct tune_step){.candidate = NULL};
    m->task = m->at = -1;
}

static void start_measuring(struct run *r) {
    struct measuring *m = &r->m;
    m->server = (struct tune_server){r->setup->meter, &r->setup->bench};
    m->since = now();
    m->started = process_serve(&m->process, tune_work_in_child, &m->server, r->out->why, sizeof r->out->why);
    r->broken |= !m->started;
}

static void end_measuring(struct run *r, bool kill_it) {
    struct measuring *m = &r->m;
    if (!m->started) return;
    process_end(&m->process, kill_it);
    m->started = m->ready = false;
    buf_clear(&m->pending);
    step_free(m);
}

// The child is gone or silent: whatever it was at, did it. A device that is beyond help does not open again.
static void blame(struct run *r, enum tune_fault fault, const char *why) {
    struct measuring *m = &r->m;
    if (m->task >= 0 && m->at >= 0)
        candidate_fault(r, &r->work->task[m->task], m->at, fault, why);
    else
        break_off(r, "the measuring process: %s", why);
}

static int place_in_step(const struct measuring *m, int candidate) {
    for (int i = 0; i < m->step.count; i++)
        if (m->step.candidate[i] == candidate) return i;
    return -1;
}

static void take_sample(struct measuring *m, int candidate, int64_t ns) {
    const int i = place_in_step(m, candidate);
    if (i >= 0 && ns > 0 && m->samples[i].count < m->step.samples) m->samples[i].ns[m->samples[i].count++] = ns;
}

static void take_proof(struct run *r, int candidate, const struct tune_proof *proof) {
    const struct tune_task *t = &r->work->task[r->m.task];
    char why[TUNE_WHY_BYTES];
    if (place_in_step(&r->m, candidate) < 0) return;
    if (proof->error <= proof->bound) {
        t->candidate[candidate].checked = true;
        tune_journal_check(r->journal, r->work, t, candidate, proof);
        return;
    }
    snprintf(why, sizeof why, "off by %.3g; at most %.3g", proof->error, proof->bound);
    candidate_fault(r, t, candidate, TUNE_WRONG, why);
}

static int by_value(const void *left, const void *right) {
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static struct tune_time time_of(const struct samples *s) {
    const int n = s->count;
    struct tune_time time = {.samples = n};
    qsort(s->ns, (size_t)n, sizeof *s->ns, by_value);
    time.ns = (s->ns[(n - 1) / 2] + s->ns[n / 2]) / 2;
    time.spread_ppm = (int)((double)(s->ns[3 * (n - 1) / 4] - s->ns[(n - 1) / 4]) / (double)time.ns * 1e6);
    return time;
}

// A request is answered. What failed in it has its fault already.
static void take_done(struct run *r) {
    struct measuring *m = &r->m;
    const struct tune_task *t = &r->work->task[m->task];
    for (int i = 0; m->step.next == TUNE_TIME && i < m->step.count; i++) {
        const int c = m->step.candidate[i];
        if (m->samples[i].count == 0 || tune_candidate_fault(r->work, t, c) != TUNE_FINE) continue;
        t->candidate[c].time[m->step.round] = time_of(&m->samples[i]);
        tune_journal_time(r->journal, r->work, t, c, m->step.round);
        r->out->measured++;
    }
    step_free(m);
}

static void take_line(struct run *r, const char *line) {
    struct measuring *m = &r->m;
    struct tune_proof proof;
    int candidate, used = 0;
    int64_t ns;
    const struct tune_task *t = m->task >= 0 ? &r->work->task[m->task] : NULL;
    m->since = now();
    if (strcmp(line, "ready") == 0)
        m->ready = true;
    else if (strncmp(line, "no ", 3) == 0)
        break_off(r, "%s", line + 3);
    else if (!t)
        break_off(r, "the measuring process talks nonsense: %s", line);
    else if (strcmp(line, "done") == 0)
        take_done(r);
    else if (sscanf(line, "ns %d %" SCNd64, &candidate, &ns) == 2)
        take_sample(m, candidate, ns);
    else if (sscanf(line, "at %d", &candidate) == 1)
        m->at = candidate;
    else if (sscanf(line, "proof %d %lg %lg", &candidate, &proof.error, &proof.bound) == 3)
        take_proof(r, candidate, &proof);
    else if ((sscanf(line, "failed %d %n", &candidate, &used) == 1 && used) ||
             (sscanf(line, "lost %d %n", &candidate, &used) == 1 && used)) {
        if (place_in_step(m, candidate) >= 0) candidate_fault(r, t, candidate, TUNE_REFUSED, line + used);
        if (line[0] == 'l') m->at = FAULT_TOLD; // the end of the process is no further fault
    }
}

static void hear_measuring(struct run *r) {
    struct measuring *m = &r->m;
    struct buf line = {0};
    char why[TUNE_WHY_BYTES];
    const bool open = process_take(&m->process, &m->pending);
    while (!r->broken && process_take_line(&m->pending, &line)) take_line(r, line.data);
    buf_free(&line);
    if (open || r->broken) return;
    const int status = process_end(&m->process, false);
    m->started = m->ready = false;
    if (status < 0)
        snprintf(why, sizeof why, "ended by signal %d (%s)", -status, strsignal(-status));
    else
        snprintf(why, sizeof why, "ended with status %d", status);
    if (m->at != FAULT_TOLD && !is_interrupt(status)) blame(r, TUNE_CRASH, why);
    buf_clear(&m->pending);
    step_free(m);
}

static void time_out_measuring(struct run *r) {
    char why[64];
    if (!r->m.started || (r->m.ready && r->m.task < 0) || now() - r->m.since <= r->setup->timeout_s) return;
    snprintf(why, sizeof why, "no answer for %d s", r->setup->timeout_s);
    blame(r, TUNE_HANG, why);
    end_measuring(r, true);
}

static void send_step(struct run *r, int task) {
    struct measuring *m = &r->m;
    struct buf line = {0};
    m->task = task;
    m->since = now();
    r->out->requests++;
    if (m->step.next == TUNE_CHECK) {
        buf_printf(&line, "check %d %d %d\n", task, m->step.candidate[0], m->step.reference);
    } else {
        buf_printf(&line, "time %d %d", task, m->step.samples);
        for (int i = 0; i < m->step.count; i++) buf_printf(&line, " %d", m->step.candidate[i]);
        buf_puts(&line, "\n");
    }
    m->samples = xcalloc((size_t)m->step.count, sizeof *m->samples);
    for (int i = 0; i < m->step.count; i++)
        m->samples[i].ns = xcalloc((size_t)m->step.samples + 1, sizeof *m->samples[i].ns);
    process_send(&m->process, line.data, line.len); // where the child is gone, the next read says so
    tune_progress_doing(&r->progress, &r->work->task[task], &m->step, r->buildings);
    buf_free(&line);
}

/* -- Tasks ---- */

static bool is_built(const struct tune_work *w, const struct tune_task *t) {
    for (int i = 0; i < t->count; i++)
        if (tune_candidate_fault(w, t, i) == TUNE_FINE && tune_set_of(w, t, i)->state != TUNE_BUILT) return false;
    return true;
}

// Fills m.step with what comes next for a task. false: it is decided.
static bool next_step(struct run *r, int task) {
    struct tune_step *step = &r->m.step;
    step->candidate = xcalloc((size_t)r->work->task[task].count + 1, sizeof *step->candidate);
    tune_step_next(r->work, &r->work->task[task], step);
    if (step->next != TUNE_DONE) return true;
    step_free(&r->m);
    return false;
}

static void give_work(struct run *r) {
    for (int i = 0; i < r->work->tasks && !r->broken; i++) {
        if (r->done[i] || !is_built(r->work, &r->work->task[i])) continue;
        if (!next_step(r, i)) {
            r->done[i] = true;
            r->out->decided++;
            tune_progress_done(&r->progress, &r->work->task[i]);
            continue;
        }
        if (!r->m.started) start_measuring(r);
        if (r->m.started && r->m.ready)
            send_step(r, i);
        else
            step_free(&r->m);
        return;
    }
}

// Before anything is started: what the journal knows is done.
static void look_at_tasks(struct run *r) {
    const struct tune_work *w = r->work;
    for (int i = 0; i < w->tasks; i++) {
        r->done[i] = !next_step(r, i);
        r->out->decided += r->done[i];
        for (int c = 0; !r->done[i] && c < w->task[i].count; c++) r->needed[w->task[i].candidate[c].set] = true;
        if (!r->done[i]) step_free(&r->m);
        tune_progress_add(&r->progress, &w->task[i], r->done[i]);
    }
}

/* -- The loop ---- */

static void hear(struct run *r) {
    const struct process *list[BUILDERS_MOST + 1];
    bool ready[BUILDERS_MOST + 1];
    int count = 0;
    for (; count < r->buildings; count++) list[count] = &r->building[count].process;
    if (r->m.started) list[count++] = &r->m.process;
    if (!process_wait(list, count, POLL_MS, ready)) return;
    if (r->m.started && ready[count - 1]) hear_measuring(r);
    for (int i = r->buildings - 1; i >= 0; i--) // from the end: one that ends is replaced by the last
        if (ready[i]) hear_building(r, i);
}

static bool goes_on(const struct run *r) {
    return !r->broken && !cmd_interrupted() && !r->journal->failed && r->out->decided < r->work->tasks;
}

static void close_all(struct run *r) {
    end_measuring(r, true);
    for (int i = 0; i < r->buildings; i++) {
        process_end(&r->building[i].process, true);
        buf_free(&r->building[i].pending);
    }
    step_free(&r->m);
    buf_free(&r->m.pending);
    free(r->done);
    free(r->needed);
}

void tune_run(const struct tune_setup *setup, struct tune_outcome *out) {
    struct run r = {.setup = setup, .work = setup->work, .journal = setup->journal, .out = out};
    const double start = now();
    *out = (struct tune_outcome){.end = TUNE_ENDED};
    r.m.task = r.m.at = -1;
    r.done = xcalloc((size_t)r.work->tasks + 1, sizeof *r.done);
    r.needed = xcalloc((size_t)r.work->sets + 1, sizeof *r.needed);
    tune_progress_start(&r.progress, setup->quiet);
    look_at_tasks(&r);
    while (goes_on(&r)) {
        start_buildings(&r);
        if (r.m.task < 0) give_work(&r);
        if (!goes_on(&r)) break;
        hear(&r);
        time_out_buildings(&r);
        time_out_measuring(&r);
        tune_journal_sync(r.journal, false);
    }
    tune_progress_end(&r.progress);
    out->undecided = r.work->tasks - out->decided;
    out->seconds = now() - start;
    if (r.broken || r.journal->failed) out->end = TUNE_BROKEN;
    if (!r.broken && r.journal->failed) snprintf(out->why, sizeof out->why, "the journal cannot be written");
    if (out->end == TUNE_ENDED && out->undecided) out->end = TUNE_STOPPED;
    tune_journal_sync(r.journal, true);
    close_all(&r);
}
