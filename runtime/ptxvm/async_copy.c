// async_copy: cp.async of 4, 8, 16 bytes a lane: groups of each lane, arrivals on mbarriers. The bytes are in flight
// until the lane waits: they land at a random time before that. SPDX-License-Identifier: Apache-2.0
#include "async.h"

#include <stdlib.h>
#include <string.h>

/* -- Records ------------------------------------------------------------------------------------------------------- */

static struct copy_record *new_record(struct exec *x, const struct instruction *i) {
    struct copy_state *s = copy_state_of(x);
    if (!s) return NULL;
    if (s->records == s->records_max) {
        unsigned most = s->records_max ? 2 * s->records_max : 16;
        struct copy_record *larger = realloc(s->record, most * sizeof *larger);
        if (!larger) {
            run_of(x)->status = PTXVM_ERROR_MEMORY;
            run_of(x)->stopped = true;
            x->status = EXEC_FAULT;
            return NULL;
        }
        s->record = larger;
        s->records_max = most;
    }
    struct copy_record *c = &s->record[s->records++];
    c->i = i;
    c->mask = c->waited = 0;
    c->done = c->is_arrival = false;
    c->number = ++s->number;
    s->undone++;
    run_of(x)->pending_copies++;
    return c;
}

static void move_bytes(const struct copy_record *c) {
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        if (c->source_bytes[l]) memcpy(c->to[l], c->from[l], c->source_bytes[l]);
        memset(c->to[l] + c->source_bytes[l], 0, c->bytes - c->source_bytes[l]);
    }
}

static void arrive(struct run *r, struct warp *w, const struct copy_record *c) {
    struct exec x = {.vm = r->vm, .block = w->block, .warp = w};
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        struct block *owner;
        struct mbarrier *m = mbarrier_find(&x, c->i, (int)l, c->mbarrier[l], &owner);
        if (!m) return;
        mbarrier_async_arrive(&x, c->i, owner, m, engine_actor(r, w, ENGINE_COPY), c->number);
    }
}

static void perform(struct run *r, struct warp *w, struct copy_record *c) {
    if (c->done) return;
    c->done = true;
    w->copies->undone--;
    r->pending_copies--;
    r->progress++;
    if (c->is_arrival)
        arrive(r, w, c);
    else
        move_bytes(c);
}

// An arrival stands for all copies before it.
static void perform_through(struct run *r, struct warp *w, unsigned index) {
    struct copy_state *s = w->copies;
    if (s->record[index].is_arrival)
        for (unsigned k = 0; k < index; k++) perform(r, w, &s->record[k]);
    perform(r, w, &s->record[index]);
}

static bool is_over(const struct copy_record *c) {
    return c->done && (c->is_arrival || c->waited == c->mask);
}

static void compact(struct copy_state *s) {
    unsigned kept = 0;
    for (unsigned k = 0; k < s->records; k++) {
        if (is_over(&s->record[k])) continue;
        if (kept != k) s->record[kept] = s->record[k];
        kept++;
    }
    s->records = kept;
}

bool copy_step(struct run *r) {
    unsigned first = run_below(r, r->warps);
    for (unsigned k = 0; k < r->warps; k++) {
        struct warp *w = &r->warp[(first + k) % r->warps];
        struct copy_state *s = w->copies;
        if (!s || !s->undone) continue;
        unsigned at = run_below(r, s->records);
        while (s->record[at].done) at = (at + 1) % s->records;
        perform_through(r, w, at);
        return true;
    }
    return false;
}

void copy_finish_warp(struct run *r, struct warp *w) {
    struct copy_state *s = w->copies;
    if (!s) return;
    for (unsigned k = 0; k < s->records; k++) perform(r, w, &s->record[k]);
    s->records = 0;
}

void copy_reset(struct run *r) {
    for (unsigned k = 0; k < r->warps; k++) {
        struct copy_state *s = r->warp[k].copies;
        if (s) *s = (struct copy_state){.record = s->record, .records_max = s->records_max};
    }
    r->pending_copies = 0;
}

void copy_destroy(struct run *r) {
    for (unsigned k = 0; r->warp && k < r->warps; k++) {
        if (r->warp[k].copies) free(r->warp[k].copies->record);
        free(r->warp[k].copies);
    }
}

/* -- cp.async ------------------------------------------------------------------------------------------------------ */

enum source_limit { ALL_BYTES, LIMITED, IGNORED };

struct copy_aux {
    struct place to, from;
    enum source_limit limit;
    bool ignore_negated;
};

static uint32_t source_bytes(const struct exec *x, const struct instruction *i, unsigned lane, uint32_t bytes) {
    const struct copy_aux *a = i->aux;
    if (a->limit == LIMITED) return lanes32(x, i->src[0])[lane];
    bool ignored = a->limit == IGNORED && ((*predicate(x, i->src[0]) >> lane & 1) != a->ignore_negated);
    return ignored ? 0 : bytes;
}

static bool issue_lane(struct exec *x, const struct instruction *i, struct copy_record *c, unsigned l) {
    const struct copy_aux *a = i->aux;
    struct run *r = run_of(x);
    uint32_t offset, bytes = i->width;
    uint64_t from = place_of(x, &a->from, l);
    struct party party = {.actor = engine_actor(r, x->warp, ENGINE_COPY), .clock = c->number, .warp = x->warp};
    struct block *b = async_shared(x, i, (int)l, place_of(x, &a->to, l), bytes, bytes, ACCESS_WRITE, &party, &offset);
    if (!b) return false;
    c->source_bytes[l] = source_bytes(x, i, l, bytes);
    if (c->source_bytes[l] > bytes) {
        report(x, i, (int)l, PTXVM_FINDING_BAD_OPERAND, "source size %u of %u bytes", c->source_bytes[l], bytes);
        return false;
    }
    c->from[l] = NULL;
    if (c->source_bytes[l]) c->from[l] = memory_global(x, i, (int)l, from, c->source_bytes[l], bytes, ACCESS_READ);
    c->to[l] = b->shared + offset;
    c->group[l] = x->warp->copies->committed[l] + 1;
    return !c->source_bytes[l] || c->from[l];
}

static void count_copy(struct exec *x, const struct instruction *i) {
    const struct copy_aux *a = i->aux;
    uint64_t to[LANES], from[LANES];
    for (unsigned l = 0; l < LANES; l++) to[l] = place_of(x, &a->to, l), from[l] = place_of(x, &a->from, l);
    memory_count(x, i, PTX_SHARED, to, i->width);
    uint64_t bytes = run_of(x)->running->site[i->index].bytes;
    memory_count(x, i, PTX_GLOBAL, from, i->width);
    run_of(x)->running->site[i->index].bytes = bytes; /* moved once */
}

static void run_copy(struct exec *x, const struct instruction *i) {
    struct copy_record *c = new_record(x, i);
    if (!c) return;
    c->bytes = i->width;
    if (run_of(x)->counts) count_copy(x, i);
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        if (!issue_lane(x, i, c, l)) return;
        c->mask |= UINT32_C(1) << l;
    }
}

// Operands behind the size: a source size or an 'ignore' predicate, and the policy of a cache hint.
static bool bind_limit(struct binder *b, struct instruction *out, struct copy_aux *a, bool has_policy) {
    unsigned have = b->operands - (has_policy ? 1u : 0u);
    uint32_t policy;
    if (has_policy && !take_src(b, &b->operand[b->operands - 1], PTX_B64, &policy)) return false;
    a->limit = ALL_BYTES;
    if (have == 3) return true;
    if (have != 4) return bind_fail(b, "wrong count of operands");
    bool is_predicate = b->operand[3].type == PTX_PRED;
    a->limit = is_predicate ? IGNORED : LIMITED;
    return is_predicate ? take_src_pred(b, &b->operand[3], &out->src[0], &a->ignore_negated)
                        : take_src(b, &b->operand[3], PTX_U32, &out->src[0]);
}

static bool bind_copy(struct binder *b, struct instruction *out) {
    static const char *const caches[] = {"ca", "cg", NULL}, *const spaces[] = {"shared", "shared::cta", NULL};
    static const char *const prefetches[] = {"L2::64B", "L2::128B", "L2::256B", NULL};
    unsigned cache, space;
    int64_t bytes;
    if (!mod_need(b, caches, &cache) || !mod_need(b, spaces, &space)) return false;
    if (!mod_take(b, "global")) return bind_fail(b, "needs .global");
    bool has_policy = mod_take(b, "L2::cache_hint");
    mod_choice(b, prefetches);
    struct copy_aux *a = bind_alloc(b, sizeof *a);
    if (!a || !need_operands(b, 3, 5)) return false;
    if (!place_bind(b, &b->operand[0], PTX_SHARED, &a->to) || !place_bind(b, &b->operand[1], PTX_GLOBAL, &a->from))
        return false;
    if (!take_constant(b, &b->operand[2], 4, 16, &bytes)) return false;
    if (bytes != 4 && bytes != 8 && bytes != 16) return bind_fail(b, "a size other than 4, 8, 16");
    if (cache == 1 && bytes != 16) return bind_fail(b, ".cg copies 16 bytes");
    out->width = (uint8_t)bytes;
    out->aux = a;
    out->run = run_copy;
    return bind_limit(b, out, a, has_policy);
}

/* -- Groups -------------------------------------------------------------------------------------------------------- */

static void commit(struct exec *x) {
    struct copy_state *s = copy_state_of(x);
    if (!s) return;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) s->committed[__builtin_ctz(rest)]++;
}

static void run_commit(struct exec *x, const struct instruction *i) {
    (void)i;
    commit(x);
}

static uint32_t waited_lanes(const struct exec *x, const struct copy_record *c, uint64_t pending) {
    uint32_t lanes = 0;
    if (c->is_arrival) return 0;
    for (uint32_t rest = c->mask & x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        lanes |= (uint32_t)(c->group[l] + pending <= x->warp->copies->committed[l]) << l;
    }
    return lanes;
}

static void wait(struct exec *x, uint64_t pending) {
    struct run *r = run_of(x);
    struct warp *w = x->warp;
    struct copy_state *s = w->copies;
    uint32_t newest = 0;
    if (!s) return;
    for (unsigned k = 0; k < s->records; k++) {
        struct copy_record *c = &s->record[k];
        uint32_t lanes = waited_lanes(x, c, pending);
        if (!lanes) continue;
        c->waited |= lanes;
        if (c->number > newest) newest = c->number;
        perform(r, w, c);
    }
    compact(s);
    if (!r->checks_races) return;
    uint32_t *known = &w->clock[engine_actor(r, w, ENGINE_COPY)];
    if (*known < newest) *known = newest;
}

static void run_wait(struct exec *x, const struct instruction *i) {
    wait(x, (uint64_t)i->imm);
}

static void run_wait_all(struct exec *x, const struct instruction *i) {
    (void)i;
    commit(x);
    wait(x, 0);
}

/* -- cp.async.mbarrier.arrive -------------------------------------------------------------------------------------- */

enum { COPY_NOINC = 1 };

static bool arrival_lane(struct exec *x, const struct instruction *i, struct copy_record *c, unsigned l) {
    const struct copy_aux *a = i->aux;
    uint64_t address = place_of(x, &a->to, l);
    if (a->to.space == PTX_GENERIC && memory_resolve(x, address, &address) != PTX_SHARED) {
        report(x, i, (int)l, PTXVM_FINDING_MBARRIER_MISUSE, "the address is not in shared memory");
        return false;
    }
    struct block *owner;
    struct mbarrier *m = mbarrier_find(x, i, (int)l, address, &owner);
    c->mbarrier[l] = address;
    return m && (i->flags & COPY_NOINC || mbarrier_increment(x, i, m));
}

static void run_arrival(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct copy_record *c = new_record(x, i);
    if (!c) return;
    c->is_arrival = true;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        if (!arrival_lane(x, i, c, l)) return;
        c->mask |= UINT32_C(1) << l;
    }
    /* the executing thread does not release anything by this; its copies do */
    if (!r->temper.eagerness) return;
    if ((run_random(r) & 255) < r->temper.eagerness) perform_through(r, x->warp, x->warp->copies->records - 1);
}

static bool bind_arrival(struct binder *b, struct instruction *out) {
    static const char *const spaces[] = {"shared", "shared::cta", NULL};
    enum ptx_type type;
    if (!mod_take(b, "arrive")) return bind_fail(b, "needs .arrive");
    if (mod_take(b, "noinc")) out->flags |= COPY_NOINC;
    int space = mod_choice(b, spaces);
    struct copy_aux *a = bind_alloc(b, sizeof *a);
    out->aux = a;
    out->run = run_arrival;
    return a && mod_type_need(b, TYPE_BIT(PTX_B64), &type) && need_operands(b, 1, 1) &&
           place_bind(b, &b->operand[0], space < 0 ? PTX_GENERIC : PTX_SHARED, &a->to);
}

bool copy_bind(struct binder *b, struct instruction *out) {
    if (mod_take(b, "mbarrier")) return bind_arrival(b, out);
    if (mod_take(b, "commit_group")) {
        out->run = run_commit;
        return need_operands(b, 0, 0);
    }
    if (mod_take(b, "wait_all")) {
        out->run = run_wait_all;
        return need_operands(b, 0, 0);
    }
    if (mod_take(b, "wait_group")) {
        out->run = run_wait;
        return need_operands(b, 1, 1) && take_constant(b, &b->operand[0], 0, INT32_MAX, &out->imm);
    }
    return bind_copy(b, out);
}
