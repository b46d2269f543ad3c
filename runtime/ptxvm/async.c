// async: pending bulk copies of a cluster: they land at a random time between issue and the wait that covers them. Also
// what cp.async and cp.async.bulk share. SPDX-License-Identifier: Apache-2.0
#include "async.h"

#include <stdlib.h>
#include <string.h>

/* -- Operands ------------------------------------------------------------------------------------------------------ */

bool place_bind(struct binder *b, const struct ptx_operand *op, enum ptx_space space, struct place *out) {
    enum ptx_space own;
    if (!take_address(b, op, &out->slot, &out->wide, &out->offset, &own)) return false;
    if (own != PTX_GENERIC && space != PTX_GENERIC && own != space) return bind_fail(b, "a symbol of another space");
    out->space = space;
    return true;
}

uint64_t place_of(const struct exec *x, const struct place *p, unsigned lane) {
    uint64_t base = p->wide ? lanes64(x, p->slot)[lane] : lanes32(x, p->slot)[lane];
    return base + (uint64_t)p->offset;
}

struct block *async_shared(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                           uint32_t align, enum access access, const struct party *party, uint32_t *offset) {
    struct run *r = run_of(x);
    struct block *b = memory_shared(x, i, lane, address, bytes, align, offset);
    if (!b) return NULL;
    const struct mbarrier *m = mbarrier_overlap(b, *offset, bytes);
    if (m) {
        report(x, i, lane, PTXVM_FINDING_MBARRIER_MISUSE,
               "a copy to or from shared offset %u, which holds the mbarrier of line %u", m->offset, m->line);
        return NULL;
    }
    r->memo.valid = false;
    if (b->shadow) shadow_access(x, i, lane, b, *offset, bytes, access, party);
    return b;
}

/* -- The list ------------------------------------------------------------------------------------------------------ */

static void no_memory(struct exec *x) {
    run_of(x)->status = PTXVM_ERROR_MEMORY;
    run_of(x)->stopped = true;
    x->status = EXEC_FAULT;
}

struct copy_state *copy_state_of(struct exec *x) {
    struct warp *w = x->warp;
    if (!w->copies) w->copies = calloc(1, sizeof *w->copies);
    if (!w->copies) no_memory(x);
    return w->copies;
}

struct async_op *async_new(struct exec *x, const struct instruction *i, enum async_kind kind, int lane) {
    struct run *r = run_of(x);
    if (r->ops == r->ops_max) {
        unsigned most = r->ops_max ? 2 * r->ops_max : 16;
        struct async_op *larger = realloc(r->op, most * sizeof *larger);
        if (!larger) {
            no_memory(x);
            return NULL;
        }
        r->op = larger;
        r->ops_max = most;
    }
    struct async_op *op = &r->op[r->ops++];
    *op = (struct async_op){.kind = kind, .i = i, .warp = x->warp, .lane = lane};
    r->ops_undone++;
    return op;
}

static bool in_group(const struct async_op *op) {
    return op->kind == ASYNC_STORE || op->kind == ASYNC_REDUCE || op->kind == ASYNC_TENSOR_STORE;
}

static void remove_op(struct run *r, unsigned index) {
    r->op[index] = r->op[--r->ops];
}

/* -- Doing one ----------------------------------------------------------------------------------------------------- */

// cp.reduce: u32 add, min, max, f32 add and the like are few; the table says which.
static void reduce(struct async_op *op) {
    for (uint32_t k = 0; k + 4 <= op->bytes; k += 4) {
        uint32_t a, b;
        float fa, fb;
        memcpy(&a, op->to + k, 4);
        memcpy(&b, op->from + k, 4);
        switch ((enum reduce_operation)op->operation) {
        case REDUCE_ADD_U32:
            a += b;
            break;
        case REDUCE_MIN_U32:
            a = a < b ? a : b;
            break;
        case REDUCE_MAX_U32:
            a = a > b ? a : b;
            break;
        case REDUCE_MIN_S32:
            a = (int32_t)a < (int32_t)b ? a : b;
            break;
        case REDUCE_MAX_S32:
            a = (int32_t)a > (int32_t)b ? a : b;
            break;
        case REDUCE_AND:
            a &= b;
            break;
        case REDUCE_OR:
            a |= b;
            break;
        case REDUCE_XOR:
            a ^= b;
            break;
        case REDUCE_ADD_F32:
            memcpy(&fa, &a, 4);
            memcpy(&fb, &b, 4);
            fa += fb;
            memcpy(&a, &fa, 4);
            break;
        }
        memcpy(op->to + k, &a, 4);
    }
}

static void complete_on_mbarrier(struct exec *x, const struct async_op *op) {
    struct block *owner;
    struct mbarrier *m = mbarrier_find(x, op->i, op->lane, op->mbarrier, &owner);
    if (m) mbarrier_complete_tx(x, op->i, owner, m, op->bytes, op->clock);
}

static void perform(struct run *r, struct async_op *op) {
    struct exec x = {.vm = r->vm, .block = op->warp->block, .warp = op->warp};
    op->done = true;
    r->ops_undone--;
    r->progress++;
    switch (op->kind) {
    case ASYNC_LOAD:
    case ASYNC_SHARED:
    case ASYNC_STORE:
        memmove(op->to, op->from, op->bytes);
        break;
    case ASYNC_REDUCE:
        reduce(op);
        break;
    case ASYNC_TENSOR_LOAD:
    case ASYNC_TENSOR_STORE:
        if (!tensor_run(&x, op)) return;
        break;
    }
    if (!in_group(op)) complete_on_mbarrier(&x, op);
}

// Any of those that are not done; those in groups stay on the list until they were waited for.
static bool bulk_step(struct run *r) {
    if (!r->ops_undone) return false;
    unsigned at = run_below(r, r->ops);
    while (r->op[at].done) at = (at + 1) % r->ops;
    perform(r, &r->op[at]);
    if (!in_group(&r->op[at])) remove_op(r, at);
    return true;
}

bool async_step(struct run *r) {
    if (r->pending_copies && (!r->ops_undone || run_random(r) & 1) && copy_step(r)) return true;
    return bulk_step(r);
}

/* -- Groups of bulk copies ----------------------------------------------------------------------------------------- */

static bool is_waited(const struct exec *x, const struct async_op *op, uint32_t pending) {
    const struct copy_state *s = x->warp->copies;
    return op->warp == x->warp && in_group(op) && x->active >> op->lane & 1 &&
           (uint64_t)op->group + pending <= s->bulk_committed[op->lane];
}

void bulk_wait(struct exec *x, uint32_t pending) {
    struct run *r = run_of(x);
    if (!x->warp->copies) return;
    for (unsigned k = r->ops; k-- > 0;) {
        struct async_op *op = &r->op[k];
        if (!is_waited(x, op, pending)) continue;
        if (!op->done) perform(r, op);
        if (r->checks_races) {
            uint32_t *known = &x->warp->clock[engine_actor(r, x->warp, ENGINE_BULK)];
            if (*known < op->number) *known = op->number;
        }
        remove_op(r, k);
    }
}

/* -- Ends ---------------------------------------------------------------------------------------------------------- */

// Copies that complete on mbarriers may go on; those in groups are done now, as nobody can wait for them any more.
void async_finish_warp(struct run *r, struct warp *w) {
    copy_finish_warp(r, w);
    for (unsigned k = r->ops; k-- > 0;) {
        if (r->op[k].warp != w || !in_group(&r->op[k])) continue;
        if (!r->op[k].done) perform(r, &r->op[k]);
        remove_op(r, k);
    }
}

void async_reset(struct run *r) {
    r->ops = 0;
    r->ops_undone = 0;
    copy_reset(r);
}

void async_destroy(struct run *r) {
    free(r->op);
    copy_destroy(r);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

static bool bind_cp(struct binder *b, struct instruction *out) {
    out->klass = PTXVM_CLASS_ASYNC;
    if (mod_take(b, "reduce")) return reduce_bind(b, out);
    if (!mod_take(b, "async")) return bind_fail(b, "needs .async");
    return mod_take(b, "bulk") ? bulk_bind(b, out) : copy_bind(b, out);
}

const struct isa_entry isa_async[] = {{"cp", bind_cp}, {NULL, NULL}};
