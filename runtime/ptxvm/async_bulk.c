// async_bulk: cp.async.bulk and cp.reduce.async.bulk of contiguous bytes: binding and issue. async.c lets them land.
// SPDX-License-Identifier: Apache-2.0
#include "async.h"

#include <string.h>

/* -- What an instruction names ------------------------------------------------------------------------------------- */

struct bulk_aux {
    enum async_kind kind;
    struct place to, from, mbarrier;
    uint32_t size_slot, mask_slot; /* mask 0: no multicast */
    unsigned operation;
};

enum { BULK_ALIGN = 16 };

static bool size_of(struct exec *x, const struct instruction *i, unsigned lane, uint32_t *bytes) {
    const struct bulk_aux *a = i->aux;
    *bytes = lanes32(x, a->size_slot)[lane];
    if (*bytes % BULK_ALIGN == 0) return true;
    report(x, i, (int)lane, PTXVM_FINDING_BAD_OPERAND, "a size of %u bytes is no multiple of 16", *bytes);
    return false;
}

static void count_bytes(struct exec *x, const struct instruction *i, uint64_t bytes) {
    if (run_of(x)->counts) run_of(x)->running->site[i->index].bytes += bytes;
}

/* -- Into shared memory, completing on an mbarrier ----------------------------------------------------------------- */

uint64_t async_in_block(uint64_t address, unsigned rank) {
    return (address & ((UINT64_C(1) << SHARED_RANK_SHIFT) - 1)) | (uint64_t)rank << SHARED_RANK_SHIFT;
}

static struct mbarrier *async_target(struct exec *x, const struct instruction *i, int lane, uint64_t to,
                                     uint64_t mbarrier) {
    struct block *owner;
    if (to >> SHARED_RANK_SHIFT != mbarrier >> SHARED_RANK_SHIFT) {
        report(x, i, lane, PTXVM_FINDING_BAD_OPERAND, "destination and mbarrier are in different blocks");
        return NULL;
    }
    struct mbarrier *m = mbarrier_find(x, i, lane, mbarrier, &owner);
    if (m && !m->fenced && run_of(x)->checks_races)
        report(x, i, lane, PTXVM_FINDING_PROXY,
               "completes on the mbarrier at shared offset %u, initialised at line %u, without fence.mbarrier_init or "
               "fence.proxy.async since",
               m->offset, m->line);
    return m;
}

struct async_op *async_load(struct exec *x, const struct instruction *i, enum async_kind kind, unsigned lane,
                            uint64_t to, uint64_t mbarrier, uint32_t bytes, uint32_t align) {
    struct run *r = run_of(x);
    struct mbarrier *m = async_target(x, i, (int)lane, to, mbarrier);
    if (!m) return NULL;
    struct party party = {
        .actor = m->actor, .clock = mbarrier_next_clock(r, m), .warp = x->warp, .asynchronous_proxy = true};
    uint32_t offset;
    struct block *b = async_shared(x, i, (int)lane, to, bytes, align, ACCESS_WRITE, &party, &offset);
    struct async_op *op = b ? async_new(x, i, kind, (int)lane) : NULL;
    if (!op) return NULL;
    op->block = b;
    op->offset = offset;
    op->to = b->shared + offset;
    op->bytes = bytes;
    op->mbarrier = mbarrier;
    op->clock = party.clock;
    return op;
}

// The source of a copy to shared memory: global, or the own block's shared memory.
static const uint8_t *source_of(struct exec *x, const struct instruction *i, unsigned lane, uint32_t bytes) {
    const struct bulk_aux *a = i->aux;
    uint64_t from = place_of(x, &a->from, lane);
    struct run *r = run_of(x);
    if (a->kind == ASYNC_LOAD) return memory_global(x, i, (int)lane, from, bytes, BULK_ALIGN, ACCESS_READ);
    /* read until its mbarrier says so: as a step of the destination's mbarrier, which the caller takes next */
    struct block *owner;
    struct mbarrier *m = mbarrier_find(x, i, (int)lane, place_of(x, &a->mbarrier, lane), &owner);
    if (!m) return NULL;
    uint32_t clock = r->checks_races ? mbarrier_next_clock(r, m) : 0, offset;
    struct party party = {.actor = m->actor, .clock = clock, .warp = x->warp, .asynchronous_proxy = true};
    struct block *b = async_shared(x, i, (int)lane, from, bytes, BULK_ALIGN, ACCESS_READ, &party, &offset);
    return b ? b->shared + offset : NULL;
}

static bool load_lane(struct exec *x, const struct instruction *i, unsigned lane) {
    const struct bulk_aux *a = i->aux;
    uint32_t bytes, ranks;
    if (!size_of(x, i, lane, &bytes)) return false;
    uint64_t to = place_of(x, &a->to, lane), mbarrier = place_of(x, &a->mbarrier, lane);
    const uint8_t *from = bytes ? source_of(x, i, lane, bytes) : NULL;
    if (bytes && !from) return false;
    if (!async_ranks(x, i, lane, a->mask_slot, to, &ranks)) return false;
    for (; ranks; ranks &= ranks - 1) {
        unsigned rank = (unsigned)__builtin_ctz(ranks);
        struct async_op *op = async_load(x, i, a->kind, lane, async_in_block(to, rank), async_in_block(mbarrier, rank),
                                         bytes, BULK_ALIGN);
        if (!op) return false;
        op->from = from;
        if (!bytes) op->from = op->to;
        count_bytes(x, i, bytes);
    }
    return true;
}

bool async_ranks(struct exec *x, const struct instruction *i, unsigned lane, uint32_t mask_slot, uint64_t to,
                 uint32_t *ranks) {
    const struct run *r = run_of(x);
    *ranks = UINT32_C(1) << (to >> SHARED_RANK_SHIFT & 31);
    if (!mask_slot) return true;
    *ranks = lanes32(x, mask_slot)[lane] & 0xffff;
    if (!(*ranks >> r->blocks)) return true;
    report(x, i, (int)lane, PTXVM_FINDING_BAD_OPERAND, "multicast mask 0x%x, the cluster has %u blocks", *ranks,
           r->blocks);
    return false;
}

/* -- Out of shared memory, in bulk groups -------------------------------------------------------------------------- */

struct async_op *async_store(struct exec *x, const struct instruction *i, enum async_kind kind, unsigned lane,
                             uint64_t from, uint32_t bytes, uint32_t align) {
    struct run *r = run_of(x);
    struct copy_state *s = copy_state_of(x);
    if (!s) return NULL;
    uint32_t number = ++s->bulk_number, offset;
    struct party party = {
        .actor = engine_actor(r, x->warp, ENGINE_BULK), .clock = number, .warp = x->warp, .asynchronous_proxy = true};
    struct block *b = async_shared(x, i, (int)lane, from, bytes, align, ACCESS_READ, &party, &offset);
    if (b && b != x->block) {
        report(x, i, (int)lane, PTXVM_FINDING_BAD_OPERAND,
               "the source is shared memory of block %u, not of the own one", b->rank);
        return NULL;
    }
    struct async_op *op = b ? async_new(x, i, kind, (int)lane) : NULL;
    if (!op) return NULL;
    op->block = b;
    op->offset = offset;
    op->from = b->shared + offset;
    op->bytes = bytes;
    op->number = number;
    op->group = s->bulk_committed[lane] + 1;
    return op;
}

static bool store_lane(struct exec *x, const struct instruction *i, unsigned lane) {
    const struct bulk_aux *a = i->aux;
    uint32_t bytes;
    if (!size_of(x, i, lane, &bytes)) return false;
    if (!bytes) return true;
    enum access access = a->kind == ASYNC_REDUCE ? ACCESS_ATOMIC : ACCESS_WRITE;
    uint8_t *to = memory_global(x, i, (int)lane, place_of(x, &a->to, lane), bytes, BULK_ALIGN, access);
    struct async_op *op = to ? async_store(x, i, a->kind, lane, place_of(x, &a->from, lane), bytes, BULK_ALIGN) : NULL;
    if (!op) return false;
    op->to = to;
    op->operation = a->operation;
    count_bytes(x, i, bytes);
    return true;
}

static void run_bulk(struct exec *x, const struct instruction *i) {
    const struct bulk_aux *a = i->aux;
    bool load = a->kind == ASYNC_LOAD || a->kind == ASYNC_SHARED;
    for (uint32_t rest = x->active; rest; rest &= rest - 1)
        if (!(load ? load_lane : store_lane)(x, i, (unsigned)__builtin_ctz(rest))) return;
}

/* -- Groups, prefetch ---------------------------------------------------------------------------------------------- */

static void run_commit(struct exec *x, const struct instruction *i) {
    struct copy_state *s = copy_state_of(x);
    (void)i;
    if (!s) return;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) s->bulk_committed[__builtin_ctz(rest)]++;
}

static void run_wait(struct exec *x, const struct instruction *i) {
    bulk_wait(x, (uint32_t)i->imm);
}

static void run_prefetch(struct exec *x, const struct instruction *i) {
    (void)x, (void)i; /* there is no cache */
}

static bool bind_prefetch(struct binder *b, struct instruction *out) {
    struct place from;
    uint32_t size;
    if (mod_take(b, "tensor")) return tensor_bind(b, out, true);
    out->run = run_prefetch;
    if (!mod_take(b, "L2") || !mod_take(b, "global")) return bind_fail(b, "needs .L2.global");
    bool has_policy = mod_take(b, "L2::cache_hint");
    return need_operands(b, 2, has_policy ? 3 : 2) && place_bind(b, &b->operand[0], PTX_GLOBAL, &from) &&
           take_src(b, &b->operand[1], PTX_U32, &size);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

// .dst.src: order matters, so they are taken from what is written first.
static bool bind_direction(struct binder *b, enum async_kind *kind, bool *cluster) {
    static const char *const spaces[] = {"shared::cluster", "shared::cta", "global", NULL};
    unsigned to, from;
    bool global_first = false;
    for (unsigned k = 0; k < b->statement->modifiers; k++) {
        const char *m = b->statement->modifier[k];
        if (!strncmp(m, "shared::", 8)) break;
        global_first |= !strcmp(m, "global");
    }
    if (global_first) {
        *kind = ASYNC_STORE;
        *cluster = false;
        return mod_take(b, "global") && (mod_take(b, "shared::cta") || bind_fail(b, "needs .shared::cta"));
    }
    bool remote = mod_take(b, "shared::cluster");
    if (!remote && !mod_take(b, "shared::cta")) return bind_fail(b, "needs .shared::cluster, .shared::cta or .global");
    to = remote ? 0 : 1;
    if (!mod_need(b, spaces, &from)) return false;
    *kind = from == 2 ? ASYNC_LOAD : ASYNC_SHARED;
    *cluster = to == 0;
    return from != 0 || bind_fail(b, "the source cannot be .shared::cluster");
}

static bool bind_load_operands(struct binder *b, struct bulk_aux *a, bool multicast, bool has_policy) {
    unsigned count = 4 + (multicast ? 1u : 0u) + (has_policy ? 1u : 0u);
    uint32_t policy;
    if (!need_operands(b, count, count) || !place_bind(b, &b->operand[3], PTX_SHARED, &a->mbarrier)) return false;
    if (multicast && !take_src(b, &b->operand[4], PTX_U16, &a->mask_slot)) return false;
    return !has_policy || take_src(b, &b->operand[count - 1], PTX_B64, &policy);
}

static bool bind_store_operands(struct binder *b, bool has_policy) {
    unsigned count = has_policy ? 4 : 3;
    uint32_t policy;
    return need_operands(b, count, count) && (!has_policy || take_src(b, &b->operand[3], PTX_B64, &policy));
}

static bool bind_completion(struct binder *b, bool is_load) {
    const char *name = is_load ? "mbarrier::complete_tx::bytes" : "bulk_group";
    return mod_take(b, name) || bind_fail(b, "needs .%s", name);
}

static bool bind_contiguous(struct binder *b, struct instruction *out, struct bulk_aux *a) {
    bool cluster = false;
    if (!bind_direction(b, &a->kind, &cluster)) return false;
    bool is_load = a->kind != ASYNC_STORE;
    if (!bind_completion(b, is_load)) return false;
    bool multicast = is_load && mod_take(b, "multicast::cluster"), has_policy = mod_take(b, "L2::cache_hint");
    if (multicast && (!cluster || a->kind != ASYNC_LOAD))
        return bind_fail(b, "multicast from global to .shared::cluster only");
    if (is_load ? !bind_load_operands(b, a, multicast, has_policy) : !bind_store_operands(b, has_policy)) return false;
    out->aux = a;
    out->run = run_bulk;
    return place_bind(b, &b->operand[0], is_load ? PTX_SHARED : PTX_GLOBAL, &a->to) &&
           place_bind(b, &b->operand[1], a->kind == ASYNC_LOAD ? PTX_GLOBAL : PTX_SHARED, &a->from) &&
           take_src(b, &b->operand[2], PTX_U32, &a->size_slot);
}

bool bulk_bind(struct binder *b, struct instruction *out) {
    if (mod_take(b, "commit_group")) {
        out->run = run_commit;
        return need_operands(b, 0, 0);
    }
    if (mod_take(b, "wait_group")) {
        out->run = run_wait;
        mod_take(b, "read"); /* reading and writing end together here */
        return need_operands(b, 1, 1) && take_constant(b, &b->operand[0], 0, INT32_MAX, &out->imm);
    }
    if (mod_take(b, "prefetch")) return bind_prefetch(b, out);
    if (mod_take(b, "tensor")) return tensor_bind(b, out, false);
    struct bulk_aux *a = bind_alloc(b, sizeof *a);
    return a && bind_contiguous(b, out, a);
}

/* -- Reductions ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *op;
    enum ptx_type type;
    enum reduce_operation operation;
} reductions[] = {
    {"add", PTX_U32, REDUCE_ADD_U32}, {"add", PTX_S32, REDUCE_ADD_U32}, {"add", PTX_F32, REDUCE_ADD_F32},
    {"min", PTX_U32, REDUCE_MIN_U32}, {"max", PTX_U32, REDUCE_MAX_U32}, {"min", PTX_S32, REDUCE_MIN_S32},
    {"max", PTX_S32, REDUCE_MAX_S32}, {"and", PTX_B32, REDUCE_AND},     {"or", PTX_B32, REDUCE_OR},
    {"xor", PTX_B32, REDUCE_XOR},
};

bool reduce_bind(struct binder *b, struct instruction *out) {
    static const char *const ops[] = {"add", "min", "max", "and", "or", "xor", NULL};
    unsigned op;
    struct bulk_aux *a = bind_alloc(b, sizeof *a);
    if (!a || !mod_take(b, "async") || !mod_take(b, "bulk")) return bind_fail(b, "needs .async.bulk");
    if (!mod_need(b, ops, &op)) return false;
    enum ptx_type type = mod_type(b);
    unsigned k = 0, count = sizeof reductions / sizeof reductions[0];
    while (k < count && (strcmp(reductions[k].op, ops[op]) || reductions[k].type != type)) k++;
    if (k == count) return bind_fail(b, "this reduction is not supported");
    if (!bind_contiguous(b, out, a)) return false;
    if (a->kind != ASYNC_STORE) return bind_fail(b, "only from shared to global memory");
    a->kind = ASYNC_REDUCE;
    a->operation = reductions[k].operation;
    return true;
}
