// mbarrier_isa: the mbarrier instructions. Each active lane performs its own operation, in lane order.
// SPDX-License-Identifier: Apache-2.0
#include "barrier.h"
#include "run.h"

#include <string.h>

/* -- What they share ----------------------------------------------------------------------------------------------- */

// Flags of an instruction.
enum {
    MB_WIDE_BASE = 1, /* the base register has 64 bits */
    MB_GENERIC = 2,   /* generic address */
    MB_CLUSTER = 4,   /* .shared::cluster: any block's */
    MB_RELAXED = 8,
    MB_NO_COMPLETE = 16,
    MB_DROP = 32,
    MB_EXPECT = 64, /* arrive.expect_tx */
    MB_HAS_COUNT = 128,
    MB_PARITY = 256,
    MB_TRY = 512,
    MB_HAS_STATE = 1024, /* writes a state token */
    MB_COMPLETE = 2048   /* complete_tx */
};

// src[0] and imm: address; src[1]: count, bytes, parity or state.
static bool lane_address(struct exec *x, const struct instruction *i, unsigned lane, uint64_t *address) {
    uint64_t base = i->flags & MB_WIDE_BASE ? lanes64(x, i->src[0])[lane] : lanes32(x, i->src[0])[lane];
    *address = base + (uint64_t)i->imm;
    if (!(i->flags & MB_GENERIC) || memory_resolve(x, *address, address) == PTX_SHARED) return true;
    report(x, i, (int)lane, PTXVM_FINDING_MBARRIER_MISUSE, "the generic address 0x%llx is not in shared memory",
           (unsigned long long)*address);
    return false;
}

static struct mbarrier *lane_mbarrier(struct exec *x, const struct instruction *i, unsigned lane,
                                      struct block **owner) {
    uint64_t address;
    if (!lane_address(x, i, lane, &address)) return NULL;
    struct mbarrier *m = mbarrier_find(x, i, (int)lane, address, owner);
    if (m && *owner != x->block && !(i->flags & MB_CLUSTER) && !(i->flags & MB_GENERIC)) {
        report(x, i, (int)lane, PTXVM_FINDING_MBARRIER_MISUSE, "the mbarrier of block %u through .shared::cta",
               (*owner)->rank);
        return NULL;
    }
    return m;
}

// State token: phase above, arrivals pending before the arrival below.
static uint64_t token_of(const struct mbarrier *m) {
    return (m->phase + 1) << 20 | m->pending;
}

static bool bind_address(struct binder *b, struct instruction *out, const struct ptx_operand *op,
                         bool cluster_allowed) {
    static const char *const spaces[] = {"shared", "shared::cta", "shared::cluster", NULL};
    bool wide;
    enum ptx_space space;
    int choice = mod_choice(b, spaces);
    if (choice == 2 && !cluster_allowed) return bind_fail(b, "only .shared::cta");
    if (choice < 0) out->flags |= MB_GENERIC;
    if (choice == 2) out->flags |= MB_CLUSTER;
    if (!take_address(b, op, &out->src[0], &wide, &out->imm, &space)) return false;
    if (choice < 0 && space == PTX_SHARED) out->flags &= ~(uint32_t)MB_GENERIC; /* the symbol's own address */
    if (wide) out->flags |= MB_WIDE_BASE;
    return space == PTX_GENERIC || space == PTX_SHARED || bind_fail(b, "the mbarrier is not in shared memory");
}

static bool need_b64(struct binder *b) {
    enum ptx_type type;
    return mod_type_need(b, TYPE_BIT(PTX_B64), &type);
}

// .release by default; .relaxed; with or without scope.
static bool take_order(struct binder *b, struct instruction *out, const char *usual) {
    static const char *const scopes[] = {"cta", "cluster", NULL};
    if (mod_take(b, "relaxed"))
        out->flags |= MB_RELAXED;
    else
        mod_take(b, usual);
    mod_choice(b, scopes);
    return true;
}

/* -- init, inval --------------------------------------------------------------------------------------------------- */

// The eight bytes are written as far as races go: whatever was there before must be over.
static void touch(struct exec *x, const struct instruction *i, unsigned lane, struct block *b, uint32_t offset) {
    struct run *r = run_of(x);
    if (!b->shadow || !r->checks_races) return;
    struct party party = {.actor = x->warp->actor, .clock = x->warp->clock[x->warp->actor], .warp = x->warp};
    r->memo.valid = false;
    shadow_access(x, i, (int)lane, b, offset, 8, ACCESS_WRITE, &party);
}

static void run_init(struct exec *x, const struct instruction *i) {
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        uint64_t address;
        uint32_t offset;
        if (!lane_address(x, i, l, &address)) return;
        struct block *b = memory_shared(x, i, (int)l, address, 8, 8, &offset);
        if (!b) return;
        touch(x, i, l, b, offset);
        if (!mbarrier_init(x, i, (int)l, b, offset, lanes32(x, i->src[1])[l])) return;
    }
}

static void run_inval(struct exec *x, const struct instruction *i) {
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        struct block *owner;
        struct mbarrier *m = lane_mbarrier(x, i, (unsigned)__builtin_ctz(rest), &owner);
        if (!m) return;
        mbarrier_invalidate(owner, m);
    }
}

static bool bind_init(struct binder *b, struct instruction *out) {
    out->run = run_init;
    return need_b64(b) && need_operands(b, 2, 2) && bind_address(b, out, &b->operand[0], false) &&
           take_src(b, &b->operand[1], PTX_U32, &out->src[1]);
}

static bool bind_inval(struct binder *b, struct instruction *out) {
    out->run = run_inval;
    return need_b64(b) && need_operands(b, 1, 1) && bind_address(b, out, &b->operand[0], false);
}

/* -- arrive, arrive_drop ------------------------------------------------------------------------------------------- */

static bool would_complete(struct exec *x, const struct instruction *i, unsigned lane, const struct mbarrier *m,
                           uint32_t count) {
    if (!(i->flags & MB_NO_COMPLETE) || m->pending != count) return false;
    report(x, i, (int)lane, PTXVM_FINDING_MBARRIER_MISUSE, ".noComplete, but the arrival completes the phase");
    return true;
}

static bool drop(struct exec *x, const struct instruction *i, unsigned lane, struct mbarrier *m, uint32_t count) {
    if (!(i->flags & MB_DROP)) return true;
    if (count > m->expected) {
        report(x, i, (int)lane, PTXVM_FINDING_MBARRIER_MISUSE, "drops %u arrivals of %u", count, m->expected);
        return false;
    }
    m->expected -= count;
    return true;
}

static bool arrive_lane(struct exec *x, const struct instruction *i, unsigned lane) {
    struct block *owner;
    struct mbarrier *m = lane_mbarrier(x, i, lane, &owner);
    if (!m) return false;
    struct run *r = run_of(x);
    uint32_t operand = i->flags & MB_HAS_COUNT ? lanes32(x, i->src[1])[lane] : 1;
    uint32_t count = i->flags & MB_EXPECT ? 1 : operand;
    if (i->flags & MB_HAS_STATE) lanes64(x, i->dst)[lane] = token_of(m);
    if (would_complete(x, i, lane, m, count)) return false;
    if (i->flags & MB_EXPECT && !mbarrier_transact(x, i, (int)lane, m, operand)) return false;
    if (!drop(x, i, lane, m, count) || !mbarrier_arrive(x, i, (int)lane, m, count)) return false;
    if (r->checks_races && !(i->flags & MB_RELAXED)) {
        clock_join(r, m->clock, x->warp->clock);
        clock_join(r, m->async_clock, x->warp->async_clock);
    }
    mbarrier_settle(r, owner, m);
    return true;
}

// All lanes publish the same step of the warp; the next one starts behind them.
static void run_arrive(struct exec *x, const struct instruction *i) {
    struct warp *w = x->warp;
    for (uint32_t rest = x->active; rest; rest &= rest - 1)
        if (!arrive_lane(x, i, (unsigned)__builtin_ctz(rest))) return;
    if (run_of(x)->checks_races) w->clock[w->actor]++;
}

static bool bind_arrive(struct binder *b, struct instruction *out) {
    out->run = run_arrive;
    if (mod_take(b, "expect_tx")) out->flags |= MB_EXPECT;
    if (mod_take(b, "noComplete")) out->flags |= MB_NO_COMPLETE;
    bool has_count = b->operands == 3 || (b->operands == 2 && b->operand[0].kind == PTX_ADDRESS);
    bool has_state = b->operand[0].kind != PTX_ADDRESS;
    if (!take_order(b, out, "release") || !need_b64(b) || !need_operands(b, 1, 3)) return false;
    if ((out->flags & (MB_EXPECT | MB_NO_COMPLETE)) && !has_count) return bind_fail(b, "needs a count");
    const struct ptx_operand *op = b->operand;
    if (has_state && !take_dst(b, op++, 64, &out->dst)) return false;
    if (has_state && b->operand[0].kind != PTX_SINK) out->flags |= MB_HAS_STATE;
    if (!bind_address(b, out, op++, true)) return false;
    if (out->flags & MB_CLUSTER && out->flags & MB_HAS_STATE) return bind_fail(b, "a remote arrival has no state");
    if (!has_count) return true;
    out->flags |= MB_HAS_COUNT;
    return take_src(b, op, PTX_U32, &out->src[1]);
}

static bool bind_drop(struct binder *b, struct instruction *out) {
    out->flags |= MB_DROP;
    return bind_arrive(b, out);
}

/* -- expect_tx, complete_tx ---------------------------------------------------------------------------------------- */

static void run_transact(struct exec *x, const struct instruction *i) {
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        struct block *owner;
        struct mbarrier *m = lane_mbarrier(x, i, l, &owner);
        if (!m) return;
        int64_t bytes = lanes32(x, i->src[1])[l];
        if (!mbarrier_transact(x, i, (int)l, m, i->flags & MB_COMPLETE ? -bytes : bytes)) return;
        mbarrier_settle(run_of(x), owner, m);
    }
}

static bool bind_expect(struct binder *b, struct instruction *out) {
    out->run = run_transact;
    return take_order(b, out, "relaxed") && need_b64(b) && need_operands(b, 2, 2) &&
           bind_address(b, out, &b->operand[0], true) && take_src(b, &b->operand[1], PTX_U32, &out->src[1]);
}

static bool bind_complete(struct binder *b, struct instruction *out) {
    out->flags |= MB_COMPLETE;
    return bind_expect(b, out);
}

/* -- test_wait, try_wait ------------------------------------------------------------------------------------------- */

static bool phase_is_over(struct exec *x, const struct instruction *i, unsigned lane, const struct mbarrier *m) {
    if (i->flags & MB_PARITY) return (m->phase & 1) != (lanes32(x, i->src[1])[lane] & 1);
    uint64_t phase = lanes64(x, i->src[1])[lane] >> 20; /* 1 + the phase of the arrival */
    return m->phase >= phase;
}

static bool token_is_sane(struct exec *x, const struct instruction *i, unsigned lane, const struct mbarrier *m) {
    if (i->flags & MB_PARITY) return true;
    uint64_t phase = lanes64(x, i->src[1])[lane] >> 20;
    if (phase && phase <= m->phase + 1 && phase >= m->phase) return true;
    report(x, i, (int)lane, PTXVM_FINDING_MBARRIER_MISUSE, "a state of neither the current nor the last phase");
    return false;
}

// A try_wait may wait; it gives up when the scheduler says so, and now and then by the seed.
static bool wait_instead(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct fragment *f = x->warp->current;
    uint64_t address;
    bool released = f->arrived;
    f->arrived = 0;
    if (!(i->flags & MB_TRY) || released) return false;
    if (r->temper.spurious && (run_random(r) & 255) < r->temper.spurious) return false;
    if (!lane_address(x, i, (unsigned)__builtin_ctz(x->active), &address)) return false;
    machine_wait(x, WAIT_MBARRIER, address);
    x->status = EXEC_RETRY;
    return true;
}

static void run_wait(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    uint32_t over = 0;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        struct block *owner;
        struct mbarrier *m = lane_mbarrier(x, i, l, &owner);
        if (!m || !token_is_sane(x, i, l, m)) return;
        if (!phase_is_over(x, i, l, m)) continue;
        over |= UINT32_C(1) << l;
        if (!(i->flags & MB_RELAXED)) clock_acquire(r, x->warp, m->done_clock, m->done_async);
    }
    if (!over && wait_instead(x, i)) return;
    uint32_t *p = predicate(x, i->dst);
    *p = (*p & ~x->active) | over;
    if (over != x->active && x->status == EXEC_NEXT) x->status = EXEC_YIELD;
    if (over == x->active) x->warp->current->arrived = 0;
}

static bool bind_wait(struct binder *b, struct instruction *out) {
    out->run = run_wait;
    if (mod_take(b, "parity")) out->flags |= MB_PARITY;
    if (!take_order(b, out, "acquire") || !need_b64(b) || !need_operands(b, 3, out->flags & MB_TRY ? 4 : 3))
        return false;
    if (!take_dst(b, &b->operand[0], 1, &out->dst) || !bind_address(b, out, &b->operand[1], false)) return false;
    uint32_t hint; /* how long to wait at most: any time will do */
    if (b->operands == 4 && !take_src(b, &b->operand[3], PTX_U32, &hint)) return false;
    return take_src(b, &b->operand[2], out->flags & MB_PARITY ? PTX_U32 : PTX_B64, &out->src[1]);
}

static bool bind_try(struct binder *b, struct instruction *out) {
    out->flags |= MB_TRY;
    return bind_wait(b, out);
}

/* -- pending_count ------------------------------------------------------------------------------------------------- */

static void run_pending(struct exec *x, const struct instruction *i) {
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        lanes32(x, i->dst)[l] = (uint32_t)(lanes64(x, i->src[0])[l] & MBARRIER_COUNT_MAX);
    }
}

static bool bind_pending(struct binder *b, struct instruction *out) {
    out->run = run_pending;
    return need_b64(b) && need_operands(b, 2, 2) && take_dst(b, &b->operand[0], 32, &out->dst) &&
           take_src(b, &b->operand[1], PTX_B64, &out->src[0]);
}

bool mbarrier_bind(struct binder *b, struct instruction *out) {
    static const char *const ops[] = {"init",        "inval",     "arrive",   "arrive_drop",   "expect_tx",
                                      "complete_tx", "test_wait", "try_wait", "pending_count", NULL};
    static bool (*const binders[])(struct binder *, struct instruction *) = {
        bind_init, bind_inval, bind_arrive, bind_drop, bind_expect, bind_complete, bind_wait, bind_try, bind_pending};
    unsigned op;
    out->klass = PTXVM_CLASS_BARRIER;
    return mod_need(b, ops, &op) && binders[op](b, out);
}
