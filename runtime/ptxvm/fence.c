// fence: fences between accesses and between proxies, and setmaxnreg. SPDX-License-Identifier: Apache-2.0
#include "barrier.h"
#include "run.h"

#include <string.h>

/* -- fence, membar ------------------------------------------------------------------------------------------------- */

// Scopes make no difference: what one warp of the cluster publishes, all may see.
static void run_fence(struct exec *x, const struct instruction *i) {
    (void)i;
    clock_fence(run_of(x), x->warp);
}

static void run_proxy_fence(struct exec *x, const struct instruction *i) {
    (void)i;
    clock_proxy_fence(run_of(x), x->warp);
    mbarriers_fence(run_of(x), x->warp, false);
}

static void run_init_fence(struct exec *x, const struct instruction *i) {
    (void)i;
    mbarriers_fence(run_of(x), x->warp, true);
}

// Orders what this machine does not check: global memory, aliases, tensor maps.
static void run_no_fence(struct exec *x, const struct instruction *i) {
    (void)x, (void)i;
}

static const char *const scopes[] = {"cta", "cluster", "gpu", "sys", "gl", NULL};
static const char *const orders[] = {"sc", "acq_rel", "acquire", "release", NULL};
static const char *const restricts[] = {"sync_restrict::shared::cta", "sync_restrict::shared::cluster", NULL};

// fence.proxy.async orders both directions; with a space only objects of that space.
static bool bind_proxy(struct binder *b, struct instruction *out) {
    static const char *const kinds[] = {"async", "alias", "async::generic", "tensormap::generic", NULL};
    static const char *const spaces[] = {"global", "shared::cta", "shared::cluster", NULL};
    unsigned kind;
    if (!mod_need(b, kinds, &kind)) return false;
    int space = kind == 0 ? mod_choice(b, spaces) : -1;
    bool shared = (kind == 0 && space != 0) || kind == 2;
    out->run = shared ? run_proxy_fence : run_no_fence;
    if (kind < 2) return need_operands(b, 0, 0);
    mod_choice(b, orders);
    mod_choice(b, restricts);
    mod_choice(b, scopes);
    return need_operands(b, 0, 2);
}

bool fence_bind(struct binder *b, struct instruction *out) {
    out->klass = PTXVM_CLASS_BARRIER;
    out->run = run_fence;
    if (mod_take(b, "proxy")) return bind_proxy(b, out);
    if (mod_take(b, "mbarrier_init")) out->run = run_init_fence;
    mod_choice(b, orders);
    mod_choice(b, restricts);
    if (mod_choice(b, scopes) < 0) return bind_fail(b, "needs a scope");
    return need_operands(b, 0, 0);
}

/* -- setmaxnreg ---------------------------------------------------------------------------------------------------- */

enum { REGISTERS = 65536 /* of a multiprocessor */, WARPGROUP = 4, MAXNREG_INC = 1 };

// Registers per thread with which the block starts: an equal share, unless the kernel says.
static uint32_t initial_registers(const struct run *r) {
    uint32_t limit = r->kernel->function->maxnreg, share = REGISTERS / (r->block_warps * LANES) / 8 * 8;
    if (limit) return limit;
    return share < 255 ? share : 255;
}

static void start_counting(const struct run *r, struct block *b) {
    if (b->registers) return;
    for (unsigned k = 0; k < b->warps; k++) {
        b->warp[k].registers = initial_registers(r);
        b->registers += b->warp[k].registers * LANES;
    }
}

// The warps of a warpgroup must execute the same changes in the same order.
static bool group_agrees(struct exec *x, const struct instruction *i, uint32_t count) {
    const struct warp *w = x->warp, *first = &x->block->warp[w->id / WARPGROUP * WARPGROUP];
    for (unsigned k = 0; k < WARPGROUP && first + k < x->block->warp + x->block->warps; k++) {
        const struct warp *o = first + k;
        if (o == w || o->register_changes != w->register_changes + 1 || o->registers == count) continue;
        report(x, i, -1, PTXVM_FINDING_BAD_OPERAND, "%u registers, but warp %u of the warpgroup asked for %u", count,
               o->id, o->registers);
        return false;
    }
    return true;
}

static void run_setmaxnreg(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct warp *w = x->warp;
    struct block *b = x->block;
    uint32_t count = (uint32_t)i->imm;
    if (!warp_require_live(x, i)) return;
    start_counting(r, b);
    if (i->flags & MAXNREG_INC ? count < w->registers : count > w->registers) {
        report(x, i, -1, PTXVM_FINDING_BAD_OPERAND, "%u registers, the warp has %u", count, w->registers);
        return;
    }
    if (!group_agrees(x, i, count)) return;
    uint32_t total = b->registers + count * LANES - w->registers * LANES;
    if (total > REGISTERS && i->flags & MAXNREG_INC) { /* until others have given registers back */
        machine_wait(x, WAIT_ANY, 0);
        x->status = EXEC_RETRY;
        return;
    }
    b->registers = total;
    w->registers = count;
    w->register_changes++;
    sched_wake(r, WAIT_ANY, 0, b);
}

bool setmaxnreg_bind(struct binder *b, struct instruction *out) {
    static const char *const ops[] = {"dec", "inc", NULL};
    unsigned op;
    enum ptx_type type;
    out->klass = PTXVM_CLASS_BARRIER;
    out->run = run_setmaxnreg;
    if (!mod_need(b, ops, &op) || !mod_take(b, "sync") || !mod_take(b, "aligned"))
        return bind_fail(b, "needs .inc or .dec, .sync.aligned");
    out->flags = op;
    if (!mod_type_need(b, TYPE_BIT(PTX_U32), &type) || !need_operands(b, 1, 1)) return false;
    if (!take_constant(b, &b->operand[0], 24, 256, &out->imm)) return false;
    return out->imm % 8 == 0 || bind_fail(b, "the register count is no multiple of 8");
}
