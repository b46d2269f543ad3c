// barrier: named barriers of a block (bar, barrier.cta) and the cluster's barrier. A warp arrives as a whole.
// SPDX-License-Identifier: Apache-2.0
#include "barrier.h"
#include "run.h"
#include "warp.h"

#include <stdio.h>
#include <string.h>

/* -- State of a named barrier -------------------------------------------------------------------------------------- */

static const uint32_t all_warps = UINT32_MAX; /* expected: whoever has not exited */

static uint32_t live_warps(const struct block *b) {
    uint32_t live = 0;
    for (unsigned k = 0; k < b->warps; k++) live += b->warp[k].live != 0;
    return live;
}

static bool is_complete(const struct block *b, const struct named_barrier *n) {
    if (!n->expected) return false;
    return n->expected == all_warps ? n->arrivals >= live_warps(b) : n->arrived >= n->expected;
}

static void hand_over(const struct run *r, uint32_t *done, uint32_t *gathered) {
    if (!r->checks_races) return;
    memcpy(done, gathered, r->actors * sizeof *done);
    memset(gathered, 0, r->actors * sizeof *gathered);
}

static void complete(struct run *r, struct block *b, unsigned number) {
    struct named_barrier *n = &b->barrier[number];
    n->generation++;
    n->result_true = n->count_true;
    n->result_votes = n->votes;
    n->arrived = n->arrivals = n->expected = n->count_true = n->votes = 0;
    n->first = NULL;
    hand_over(r, n->done_clock, n->clock);
    hand_over(r, n->done_async, n->async_clock);
    sched_wake(r, WAIT_BARRIER, number, b);
}

void barrier_describe(const struct run *r, const struct warp *w, unsigned number, char *text, size_t bytes) {
    const struct named_barrier *n = &w->block->barrier[number % NAMED_BARRIERS];
    (void)r;
    uint32_t expected = n->expected == all_warps ? LANES * live_warps(w->block) : n->expected;
    snprintf(text, bytes, "waits at barrier %u (%u of %u threads arrived)", number, n->arrived, expected);
}

/* -- bar.sync, bar.arrive, bar.red --------------------------------------------------------------------------------- */

enum bar_op { BAR_SYNC, BAR_ARRIVE, BAR_RED };
enum red_op { RED_POPC, RED_AND, RED_OR };
enum { BAR_OP = 3, BAR_RED_SHIFT = 2, BAR_ALIGNED = 16, BAR_COUNT = 32, BAR_NEGATED = 64 };

static bool misuse(struct exec *x, const struct instruction *i, const char *text, uint32_t value) {
    report(x, i, -1, PTXVM_FINDING_BARRIER_MISUSE, "%s: %u", text, value);
    return false;
}

// The value that all lanes of the warp give; false after a finding.
static bool common_value(struct exec *x, const struct instruction *i, uint32_t slot, uint32_t *out) {
    const uint32_t *values = lanes32(x, slot);
    *out = values[__builtin_ctz(x->active)];
    for (uint32_t rest = x->active; rest; rest &= rest - 1)
        if (values[__builtin_ctz(rest)] != *out) return misuse(x, i, "lanes of a warp give different values", *out);
    return true;
}

static bool read_operands(struct exec *x, const struct instruction *i, uint32_t *number, uint32_t *threads) {
    *threads = all_warps;
    if (!common_value(x, i, i->src[0], number)) return false;
    if (*number >= NAMED_BARRIERS) return misuse(x, i, "there is no barrier of this number", *number);
    if (!(i->flags & BAR_COUNT)) return true;
    if (!common_value(x, i, i->src[1], threads)) return false;
    if (!*threads || *threads % LANES) return misuse(x, i, "the thread count is no multiple of 32 above 0", *threads);
    if (*threads > LANES * x->block->warps) return misuse(x, i, "the thread count is above the block's", *threads);
    return true;
}

// bar.red meets bar.red only: all else is unpredictable. **Source** PTX ISA 9.7.13.1; bar.arrive measured on an H100.
static bool may_meet(struct exec *x, const struct instruction *i, const struct named_barrier *n) {
    static const char *const names[] = {[BAR_SYNC] = "bar.sync", [BAR_ARRIVE] = "bar.arrive", [BAR_RED] = "bar.red"};
    if (!n->first) return true;
    const unsigned mine = i->flags & BAR_OP, theirs = n->first->flags & BAR_OP;
    if ((mine == BAR_RED) == (theirs == BAR_RED)) return true;
    report(x, i, -1, PTXVM_FINDING_BARRIER_MISUSE,
           "%s meets %s of line %u at barrier %u: bar.red may meet bar.red only (%s)", names[mine], names[theirs],
           n->first->line, (unsigned)(n - x->block->barrier),
           mine == BAR_ARRIVE || theirs == BAR_ARRIVE ? "an H100 stops: illegal instruction" : "PTX: unpredictable");
    return false;
}

static bool agree(struct exec *x, const struct instruction *i, const struct named_barrier *n, uint32_t threads) {
    if (!n->expected || n->expected == threads) return true;
    uint32_t block = LANES * x->block->warps, mine = threads == all_warps ? block : threads;
    uint32_t theirs = n->expected == all_warps ? block : n->expected;
    if (mine == theirs) return true;
    report(x, i, -1, PTXVM_FINDING_BARRIER_MISUSE, "for %u threads, but others have arrived for %u", mine, theirs);
    return false;
}

static void vote(struct exec *x, const struct instruction *i, struct named_barrier *n) {
    if ((i->flags & BAR_OP) != BAR_RED) return;
    uint32_t p = *predicate(x, i->src[2]) ^ (i->flags & BAR_NEGATED ? ALL_LANES : 0);
    n->count_true += (unsigned)__builtin_popcount(p & x->active);
    n->votes += (unsigned)__builtin_popcount(x->active);
}

static void write_reduction(struct exec *x, const struct instruction *i, const struct named_barrier *n) {
    if ((i->flags & BAR_OP) != BAR_RED) return;
    enum red_op op = (enum red_op)(i->flags >> BAR_RED_SHIFT & 3);
    bool result = op == RED_AND ? n->result_true == n->result_votes : n->result_true != 0;
    if (op != RED_POPC) {
        uint32_t *p = predicate(x, i->dst);
        *p = (*p & ~x->active) | (result ? x->active : 0);
        return;
    }
    for (uint32_t rest = x->active; rest; rest &= rest - 1) lanes32(x, i->dst)[__builtin_ctz(rest)] = n->result_true;
}

static void leave(struct exec *x, const struct instruction *i, const struct named_barrier *n) {
    x->warp->current->token = 0;
    clock_acquire(run_of(x), x->warp, n->done_clock, n->done_async);
    write_reduction(x, i, n);
}

// The fragment's token is 1 + the generation in which it arrived; 0: it has not yet.
static void run_bar(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct fragment *f = x->warp->current;
    uint32_t number, threads;
    if (i->flags & BAR_ALIGNED ? !warp_require_live(x, i) : !warp_rendezvous(x, i, x->warp->live)) return;
    if (!read_operands(x, i, &number, &threads)) return;
    struct named_barrier *n = &x->block->barrier[number];
    if (!f->token) {
        if (!agree(x, i, n, threads) || !may_meet(x, i, n)) return;
        f->token = n->generation + 1;
        if (!n->expected) n->expected = threads;
        if (!n->first) n->first = i;
        n->arrived += LANES;
        n->arrivals++;
        r->progress++;
        vote(x, i, n);
        clock_release(r, x->warp, n->clock, n->async_clock);
        if (is_complete(x->block, n)) complete(r, x->block, number);
    }
    if ((i->flags & BAR_OP) == BAR_ARRIVE) {
        f->token = 0;
    } else if (n->generation >= f->token) {
        leave(x, i, n);
    } else {
        machine_wait(x, WAIT_BARRIER, number);
        x->status = EXEC_RETRY;
    }
}

static bool bind_red(struct binder *b, struct instruction *out) {
    static const char *const ops[] = {"popc", "and", "or", NULL};
    unsigned op;
    enum ptx_type type;
    bool negated;
    unsigned last = b->operands - 1;
    if (!mod_need(b, ops, &op) || !mod_type_need(b, TYPE_BIT(op == RED_POPC ? PTX_U32 : PTX_PRED), &type)) return false;
    if (!take_dst(b, &b->operand[0], op == RED_POPC ? 32 : 1, &out->dst)) return false;
    if (!take_src_pred(b, &b->operand[last], &out->src[2], &negated)) return false;
    out->flags |= op << BAR_RED_SHIFT | (negated ? BAR_NEGATED : 0u);
    return true;
}

static bool bind_named(struct binder *b, struct instruction *out, bool is_aligned) {
    static const char *const ops[] = {"sync", "arrive", "red", NULL};
    unsigned op;
    mod_take(b, "cta");
    if (!mod_need(b, ops, &op)) return false;
    unsigned least = op == BAR_SYNC ? 1 : op == BAR_ARRIVE ? 2 : 3, first = op == BAR_RED;
    unsigned most = op == BAR_SYNC ? 2 : op == BAR_ARRIVE ? 2 : 4;
    if (!need_operands(b, least, most)) return false;
    out->flags = op | (is_aligned ? BAR_ALIGNED : 0u);
    if (op == BAR_RED && !bind_red(b, out)) return false;
    if (!take_src(b, &b->operand[first], PTX_U32, &out->src[0])) return false;
    bool has_count = op == BAR_RED ? b->operands == 4 : b->operands == 2;
    if (has_count && !take_src(b, &b->operand[first + 1], PTX_U32, &out->src[1])) return false;
    if (has_count) out->flags |= BAR_COUNT;
    out->run = run_bar;
    return true;
}

/* -- barrier.cluster ----------------------------------------------------------------------------------------------- */

static void cluster_complete(struct run *r) {
    struct cluster_barrier *c = &r->cluster_barrier;
    bool somebody = false;
    for (unsigned k = 0; k < r->warps; k++) {
        const struct warp *w = &r->warp[k];
        bool arrived = w->cluster_arrived && w->cluster_token == c->generation;
        if (w->live && !arrived) return;
        somebody |= w->live && arrived;
    }
    if (!somebody) return;
    c->generation++;
    c->arrived = 0;
    hand_over(r, c->done_clock, c->clock);
    hand_over(r, c->done_async, c->async_clock);
    sched_wake(r, WAIT_CLUSTER, 0, NULL);
}

enum { CLUSTER_RELAXED = 1, CLUSTER_ALIGNED = 2 };

static bool cluster_together(struct exec *x, const struct instruction *i) {
    return i->flags & CLUSTER_ALIGNED ? warp_require_live(x, i) : warp_rendezvous(x, i, x->warp->live);
}

static void run_cluster_arrive(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct cluster_barrier *c = &r->cluster_barrier;
    struct warp *w = x->warp;
    if (!cluster_together(x, i)) return;
    if (w->cluster_arrived) {
        report(x, i, -1, PTXVM_FINDING_BARRIER_MISUSE, "a second barrier.cluster.arrive before barrier.cluster.wait");
        return;
    }
    w->cluster_arrived = true;
    w->cluster_token = c->generation;
    c->arrived++;
    r->progress++;
    if (!(i->flags & CLUSTER_RELAXED)) clock_release(r, w, c->clock, c->async_clock);
    cluster_complete(r);
}

static void run_cluster_wait(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct cluster_barrier *c = &r->cluster_barrier;
    struct warp *w = x->warp;
    if (!cluster_together(x, i)) return;
    if (!w->cluster_arrived) {
        report(x, i, -1, PTXVM_FINDING_BARRIER_MISUSE, "barrier.cluster.wait without barrier.cluster.arrive");
        return;
    }
    if (c->generation == w->cluster_token) {
        machine_wait(x, WAIT_CLUSTER, 0);
        x->status = EXEC_RETRY;
        return;
    }
    w->cluster_arrived = false;
    clock_acquire(r, w, c->done_clock, c->done_async);
}

static bool bind_cluster(struct binder *b, struct instruction *out) {
    static const char *const ops[] = {"arrive", "wait", NULL}, *const orders[] = {"release", "acquire", "relaxed",
                                                                                  NULL};
    unsigned op;
    if (!mod_need(b, ops, &op) || !need_operands(b, 0, 0)) return false;
    int order = mod_choice(b, orders);
    if ((order == 1 && op == 0) || (order != 1 && order >= 0 && op == 1))
        return bind_fail(b, "order and operation do not fit");
    if (order == 2) out->flags |= CLUSTER_RELAXED;
    if (mod_take(b, "aligned")) out->flags |= CLUSTER_ALIGNED;
    out->run = op ? run_cluster_wait : run_cluster_arrive;
    return true;
}

void barriers_warp_exited(struct run *r, struct warp *w) {
    for (unsigned k = 0; k < NAMED_BARRIERS; k++) {
        struct named_barrier *n = &w->block->barrier[k];
        if (n->arrivals && n->expected == all_warps && is_complete(w->block, n)) complete(r, w->block, k);
    }
    cluster_complete(r);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

static bool bind_bar(struct binder *b, struct instruction *out) {
    out->klass = PTXVM_CLASS_BARRIER;
    return mod_take(b, "warp") ? warp_bind_bar(b, out) : bind_named(b, out, true);
}

static bool bind_barrier(struct binder *b, struct instruction *out) {
    out->klass = PTXVM_CLASS_BARRIER;
    if (mod_take(b, "cluster")) return bind_cluster(b, out);
    bool is_aligned = mod_take(b, "aligned");
    return bind_named(b, out, is_aligned);
}

const struct isa_entry isa_barrier[] = {
    {"bar", bind_bar},     {"barrier", bind_barrier},       {"membar", fence_bind},
    {"fence", fence_bind}, {"setmaxnreg", setmaxnreg_bind}, {"mbarrier", mbarrier_bind},
    {NULL, NULL},
};
