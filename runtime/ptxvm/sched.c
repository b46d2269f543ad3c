// sched: runs the warps of one cluster in a random order given by the seed: a warp for a random number of instructions,
// then another. Wakes the blocked, lets asynchronous work land, notices when nobody can go on. Knows nothing of single
// instructions. SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <stdio.h>
#include <string.h>

/* -- Ready list ---------------------------------------------------------------------------------------------------- */

static bool has_runnable(const struct warp *w) {
    for (unsigned k = 0; k < w->fragments; k++)
        if (w->fragment[k].mask && w->fragment[k].wait == WAIT_NONE) return true;
    return false;
}

void sched_ready(struct run *r, struct warp *w) {
    if (r->ready_place[w->actor] != UINT32_MAX || !has_runnable(w)) return;
    r->ready_place[w->actor] = r->ready_count;
    r->ready[r->ready_count++] = w->actor;
}

static void unready(struct run *r, const struct warp *w) {
    uint32_t place = r->ready_place[w->actor];
    if (place == UINT32_MAX) return;
    uint32_t last = r->ready[--r->ready_count];
    r->ready[place] = last;
    r->ready_place[last] = place;
    r->ready_place[w->actor] = UINT32_MAX;
}

static void wake_warp(struct run *r, struct warp *w, enum wait_kind kind, uint64_t key) {
    bool woken = false;
    for (unsigned k = 0; k < w->fragments; k++) {
        struct fragment *f = &w->fragment[k];
        if (!f->mask || (f->wait != WAIT_ANY && !(f->wait == (uint8_t)kind && f->key == key))) continue;
        f->wait = WAIT_NONE;
        woken = true;
    }
    if (woken) sched_ready(r, w);
}

void sched_wake(struct run *r, enum wait_kind kind, uint64_t key, struct block *block) {
    struct warp *first = block ? block->warp : r->warp;
    unsigned count = block ? block->warps : r->warps;
    r->progress++;
    for (unsigned k = 0; k < count; k++)
        if (r->ready_place[first[k].actor] == UINT32_MAX || first[k].fragments > 1) wake_warp(r, &first[k], kind, key);
}

void machine_wait(struct exec *x, enum wait_kind kind, uint64_t key) {
    x->warp->current->wait = (uint8_t)kind;
    x->warp->current->key = key;
}

void machine_wake(struct exec *x, enum wait_kind kind, uint64_t key) {
    sched_wake(run_of(x), kind, key, NULL);
}

/* -- Services ------------------------------------------------------------------------------------------------------ */

uint32_t machine_random(struct exec *x) {
    return run_random(run_of(x));
}

void machine_progress(const struct exec *x) {
    run_of(x)->progress++;
}

uint64_t machine_clock(const struct exec *x) {
    const struct run *r = run_of(x);
    return r->instructions + r->slept;
}

const uint8_t *exec_parameters(const struct exec *x) {
    return run_of(x)->parameters;
}

bool exec_counts_on(const struct exec *x) {
    return run_of(x)->counts;
}

bool exec_checks(const struct exec *x, unsigned check) {
    return run_of(x)->vm->options.checks & check;
}

/* -- A quantum: one fragment, some instructions -------------------------------------------------------------------- */

// Lanes split at a guarded instruction that blocks: those without the guard go on and wait behind it.
static void split_blocked(struct run *r, struct warp *w, const struct exec *x) {
    struct fragment *f = w->current;
    uint8_t wait = f->wait;
    uint64_t key = f->key;
    struct fragment saved = *f;
    f->wait = WAIT_NONE;
    fragment_split(r, w, f, x->active, x->pc, x->pc + 1, x->pc + 1);
    for (unsigned k = 0; k < w->fragments; k++) {
        struct fragment *s = &w->fragment[k];
        if (!s->mask || s->pc != x->pc || s->mask != x->active) continue;
        s->wait = wait;
        s->key = key;
        s->arrived = saved.arrived;
        s->token = saved.token;
        s->members = saved.members;
    }
}

static void after_retry(struct run *r, struct warp *w, struct exec *x) {
    struct fragment *f = w->current;
    f->pc = x->pc;
    if (f->wait == WAIT_NONE) f->wait = WAIT_ANY;
    if (x->active != f->mask) split_blocked(r, w, x);
}

static void after_jump(struct run *r, struct warp *w, struct exec *x, const struct instruction *i) {
    struct fragment *f = w->current;
    if (!f) return; /* the handler has placed the lanes itself */
    if (x->active != f->mask) {
        fragment_split(r, w, f, x->active, x->pc, i->index + 1, i->reconverge);
    } else {
        f->pc = x->pc;
        fragment_arrive(r, w, f);
    }
}

static void count_poll(struct run *r, struct fragment *f) {
    if (f->stamp != r->progress) {
        f->stamp = r->progress;
        f->polls = 0;
    }
    f->polls++;
}

static void after_yield(struct run *r, struct warp *w, struct exec *x) {
    struct fragment *f = w->current;
    f->pc = x->pc + 1;
    if (x->converged != f->mask)
        warp_release_carried(r, w);
    else
        count_poll(r, f);
    fragment_arrive(r, w, f);
}

static void count_site(struct run *r, const struct instruction *i, uint32_t active) {
    struct ptxvm_site *site = &r->running->site[i->index];
    site->warp_executions++;
    site->lane_executions += (unsigned)__builtin_popcount(active);
}

// The loop that everything waits for: one body, specialised by the compiler for each caller. Runs the current fragment
// until something other than straight execution happens, or the quantum is over; returns the instructions executed.
static inline __attribute__((always_inline)) uint32_t quantum(struct run *r, struct exec *x, uint32_t most,
                                                              const bool counts, const bool registers) {
    struct warp *w = x->warp;
    struct fragment *f = w->current;
    const struct instruction *code = r->running->code, *i;
    const uint32_t mask = f->mask, stop = fragment_stop(w, f), end = r->running->count;
    uint32_t pc = f->pc, done = 0;
    x->status = EXEC_NEXT;
    x->file = f->frame ? f->frame->file : w->file;
    for (;;) {
        if (__builtin_expect(pc >= end, 0)) { /* fell off the end */
            if (f->frame)
                fragment_return(r, w, f);
            else
                warp_exit_lanes(r, w, mask);
            return done;
        }
        i = &code[pc];
        done++;
        x->pc = pc;
        if (registers) wgmma_check_registers(x, i);
        uint32_t active = mask;
        if (i->guard_slot) {
            uint32_t guard = *predicate(x, i->guard_slot);
            active &= i->guard_negated ? ~guard : guard;
            if (!active) goto next;
        }
        x->active = active;
        x->converged = mask;
        if (counts) count_site(r, i, active);
        i->run(x, i);
        if (__builtin_expect(x->status != EXEC_NEXT, 0)) break;
    next:
        pc++;
        if (pc == stop || done >= most) {
            f->pc = pc;
            if (pc == stop) fragment_arrive(r, w, f);
            return done;
        }
    }
    switch (x->status) {
    case EXEC_JUMP:
        after_jump(r, w, x, i);
        break;
    case EXEC_RETRY:
        after_retry(r, w, x);
        break;
    case EXEC_YIELD:
        after_yield(r, w, x);
        break;
    case EXEC_FAULT:
        r->stopped = true;
        break;
    case EXEC_NEXT:
        break;
    }
    return done;
}

static uint32_t run_quantum(struct run *r, struct exec *x, uint32_t most) {
    const struct fragment *f = x->warp->current;
    r->running = fragment_function(r, f);
    bool registers = r->checks_in_flight && r->running->uses_wgmma && !f->frame;
    if (r->counts) return registers ? quantum(r, x, most, true, true) : quantum(r, x, most, true, false);
    return registers ? quantum(r, x, most, false, true) : quantum(r, x, most, false, false);
}

/* -- Who is next --------------------------------------------------------------------------------------------------- */

// A favourite that polls what others must change is none.
static bool is_favoured(struct run *r) {
    const struct temper *t = &r->temper;
    if (!t->favour || r->ready_place[t->favourite] == UINT32_MAX) return false;
    const struct fragment *f = &r->warp[t->favourite].fragment[0];
    return !(f->polls && f->stamp == r->progress) && (run_random(r) & 255) < t->favour;
}

static struct warp *pick_warp(struct run *r) {
    if (is_favoured(r)) return &r->warp[r->temper.favourite];
    return &r->warp[r->ready[r->ready_count > 1 ? run_below(r, r->ready_count) : 0]];
}

static struct fragment *pick_fragment(struct run *r, struct warp *w) {
    if (w->fragments == 1) return &w->fragment[0];
    struct fragment *found[LANES];
    uint32_t count = 0;
    for (unsigned k = 0; k < w->fragments; k++)
        if (w->fragment[k].mask && w->fragment[k].wait == WAIT_NONE) found[count++] = &w->fragment[k];
    return found[count > 1 ? run_below(r, count) : 0];
}

static void one_turn(struct run *r) {
    struct warp *w = pick_warp(r);
    w->current = pick_fragment(r, w);
    struct exec x = {.vm = r->vm, .block = w->block, .warp = w};
    uint32_t lanes = (uint32_t)__builtin_popcount(w->current->mask);
    uint32_t done = run_quantum(r, &x, 1 + run_below(r, r->temper.quantum));
    r->instructions += done;
    r->thread_instructions += (uint64_t)done * lanes;
    w->current = NULL;
    if (!has_runnable(w)) unready(r, w);
}

// Seeds differ in more than the order: short or long turns, one warp far ahead, copies that land at once or at last.
static void draw_temper(struct run *r) {
    static const uint32_t quanta[] = {64, 64, 1, 8, 512, 64, 4096, 16}, favours[] = {0, 0, 250, 0, 128, 0, 255, 0},
                          eagers[] = {32, 256, 0, 8, 128, 0, 64, 2}, spurious[] = {16, 0, 64, 0};
    uint64_t bits = random_next(&r->random);
    r->temper = (struct temper){
        .quantum = quanta[bits & 7],
        .favour = favours[bits >> 3 & 7],
        .favourite = run_below(r, r->warps),
        .eagerness = eagers[bits >> 6 & 7],
        .spurious = spurious[bits >> 9 & 3],
    };
}

/* -- When nobody can go on ----------------------------------------------------------------------------------------- */

struct text {
    char at[1600];
    size_t used;
};

static void text_add(struct text *t, const char *piece) {
    size_t bytes = strlen(piece);
    if (t->used + bytes + 1 > sizeof t->at) return;
    memcpy(t->at + t->used, piece, bytes + 1);
    t->used += bytes;
}

static void describe_wait(const struct run *r, const struct warp *w, const struct fragment *f, char *text,
                          size_t bytes) {
    switch ((enum wait_kind)f->wait) {
    case WAIT_NONE:
        snprintf(text, bytes, "spins");
        return;
    case WAIT_MERGE:
        snprintf(text, bytes, "waits to reconverge");
        return;
    case WAIT_LANES:
        snprintf(text, bytes, "waits for lanes 0x%08x", f->members & w->live & ~f->arrived);
        return;
    case WAIT_BARRIER:
        barrier_describe(r, w, (unsigned)f->key, text, bytes);
        return;
    case WAIT_CLUSTER:
        snprintf(text, bytes, "waits at barrier.cluster (%u warps arrived)", r->cluster_barrier.arrived);
        return;
    case WAIT_MBARRIER:
        mbarrier_describe(r, f->key, text, bytes);
        return;
    case WAIT_ANY:
        break;
    }
    snprintf(text, bytes, "waits");
}

// What it is at; the first one where it is behind the last.
static const struct instruction *place_of(const struct run *r, const struct fragment *f) {
    const struct ptxvm_kernel *function = fragment_function(r, f);
    return &function->code[f->pc < function->count ? f->pc : 0];
}

static void describe_fragment(const struct run *r, const struct warp *w, const struct fragment *f, struct text *t) {
    char wait[256], line[400];
    describe_wait(r, w, f, wait, sizeof wait);
    snprintf(line, sizeof line, "%sblock %u warp %u lanes 0x%08x at line %u %s", t->used ? "; " : "", w->block->rank,
             w->id, f->mask, place_of(r, f)->line, wait);
    text_add(t, line);
}

// The fragment to name: rather one at a .sync instruction, then one at a barrier, than one that waits to reconverge.
static int weight(const struct fragment *f) {
    switch ((enum wait_kind)f->wait) {
    case WAIT_LANES:
        return 4;
    case WAIT_BARRIER:
    case WAIT_CLUSTER:
    case WAIT_MBARRIER:
        return 3;
    case WAIT_ANY:
        return 2;
    case WAIT_NONE:
        return 1;
    case WAIT_MERGE:
        break;
    }
    return 0;
}

static void report_deadlock(struct run *r) {
    struct text text = {.used = 0};
    struct warp *worst_warp = NULL;
    struct fragment *worst = NULL;
    for (unsigned k = 0; k < r->warps; k++) {
        struct warp *w = &r->warp[k];
        for (unsigned n = 0; n < w->fragments; n++) {
            struct fragment *f = &w->fragment[n];
            if (!f->mask) continue;
            describe_fragment(r, w, f, &text);
            if (!worst || weight(f) > weight(worst)) worst = f, worst_warp = w;
        }
    }
    if (!worst) return;
    struct exec x = {.vm = r->vm, .block = worst_warp->block, .warp = worst_warp, .active = worst->mask};
    bool lanes = worst->wait == WAIT_LANES;
    report(&x, place_of(r, worst), -1, lanes ? PTXVM_FINDING_DIVERGENCE : PTXVM_FINDING_DEADLOCK, "%s", text.at);
}

// A try_wait may give up after a time: all that wait at one get false, a few times, for those that poll several things.
static bool release_polls(struct run *r) {
    enum { RELEASES = 4 };
    if (r->release_progress != r->progress) r->releases = 0;
    r->release_progress = r->progress;
    if (r->releases++ >= RELEASES) return false;
    for (unsigned k = 0; k < r->warps; k++) {
        struct warp *w = &r->warp[k];
        for (unsigned n = 0; n < w->fragments; n++) {
            struct fragment *f = &w->fragment[n];
            if (!f->mask || f->wait != WAIT_MBARRIER) continue;
            f->wait = WAIT_NONE;
            f->arrived = 1; /* tells try_wait to return false */
        }
        sched_ready(r, w);
    }
    return r->ready_count > 0;
}

// Lanes that wait to reconverge go on without the others: these may be waiting for them (a lock that one lane took and
// gives back behind the loop). Not where lanes meet by .sync: that they cannot is a bug of the kernel.
static bool release_merges(struct run *r) {
    bool released = false;
    for (unsigned k = 0; k < r->warps; k++) released |= fragments_leave(r, &r->warp[k]);
    return released;
}

static bool is_spinning(const struct run *r, const struct warp *w) {
    enum { POLLS = 1000, POLLS_SPLIT = 30 /* where it has turned out before that lanes wait for lanes */ };
    for (unsigned n = 0; n < w->fragments; n++) {
        const struct fragment *f = &w->fragment[n];
        if (f->mask && f->wait == WAIT_NONE &&
            (f->stamp != r->progress || f->polls < (w->split_up ? POLLS_SPLIT : POLLS)))
            return false;
    }
    return true;
}

// All that can run poll the same unchanged state again and again.
static bool all_spin(struct run *r) {
    for (uint32_t k = 0; k < r->ready_count; k++)
        if (!is_spinning(r, &r->warp[r->ready[k]])) return false;
    return true;
}

void run_cluster(struct run *r) {
    enum { LOOK_EVERY = 256 };
    draw_temper(r);
    for (uint64_t turn = 1; r->live_warps && !r->stopped; turn++) {
        if ((r->ops_undone || r->pending_copies) && (run_random(r) & 255) < r->temper.eagerness) async_step(r);
        if (!r->ready_count && !async_step(r) && !release_merges(r) && !release_polls(r)) {
            report_deadlock(r);
            break;
        }
        if (!r->ready_count) continue;
        one_turn(r);
        if (turn % LOOK_EVERY == 0 && all_spin(r) && !async_step(r) && !release_merges(r)) {
            report_deadlock(r);
            break;
        }
        if (r->instructions > r->instruction_limit) {
            r->status = PTXVM_ERROR_LIMIT;
            break;
        }
    }
}
