// mbarrier: the state of mbarriers, kept beside shared memory: the eight bytes themselves stay opaque. A phase
// completes when no arrival and no transaction byte is pending. The instructions are in mbarrier_isa.c.
// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- The table ----------------------------------------------------------------------------------------------------- */

static void update_range(struct mbarrier_table *t) {
    t->low = t->high = 0;
    for (unsigned k = 0; k < t->rows; k++) {
        const struct mbarrier *m = &t->row[k];
        if (!m->live) continue;
        if (!t->high || m->offset < t->low) t->low = m->offset;
        if (m->offset + 8 > t->high) t->high = m->offset + 8;
    }
}

static struct mbarrier *lookup(const struct block *b, uint32_t offset) {
    const struct mbarrier_table *t = b->mbarriers;
    for (unsigned k = 0; t && k < t->rows; k++)
        if (t->row[k].live && t->row[k].offset == offset) return &t->row[k];
    return NULL;
}

struct mbarrier *mbarrier_overlap(const struct block *b, uint32_t offset, uint32_t bytes) {
    const struct mbarrier_table *t = b->mbarriers;
    if (!t || offset >= t->high || offset + bytes <= t->low) return NULL;
    for (unsigned k = 0; k < t->rows; k++) {
        struct mbarrier *m = &t->row[k];
        if (m->live && offset < m->offset + 8 && m->offset < offset + bytes) return m;
    }
    return NULL;
}

// A free row, with its clocks; NULL: out of memory.
static struct mbarrier *take_row(const struct run *r, struct block *b) {
    if (!b->mbarriers) b->mbarriers = calloc(1, sizeof *b->mbarriers);
    struct mbarrier_table *t = b->mbarriers;
    if (!t) return NULL;
    for (unsigned k = 0; k < t->rows; k++)
        if (!t->row[k].live) return &t->row[k];
    if (t->rows == t->rows_max) {
        unsigned most = t->rows_max ? 2 * t->rows_max : 8;
        struct mbarrier *larger = realloc(t->row, most * sizeof *larger);
        if (!larger) return NULL;
        memset(larger + t->rows, 0, (most - t->rows) * sizeof *larger);
        t->row = larger;
        t->rows_max = most;
    }
    struct mbarrier *m = &t->row[t->rows];
    m->actor = r->warps * (1 + ENGINES) + b->rank * MBARRIER_ACTORS + t->rows % MBARRIER_ACTORS;
    if (r->checks_races && !m->clock) m->clock = calloc(4 * (size_t)r->actors, sizeof *m->clock);
    if (r->checks_races && !m->clock) return NULL;
    t->rows++;
    return m;
}

void mbarriers_reset(struct run *r) {
    for (unsigned k = 0; k < r->blocks; k++) {
        struct mbarrier_table *t = r->block[k].mbarriers;
        if (!t) continue;
        for (unsigned n = 0; n < t->rows; n++) t->row[n].live = false;
        t->rows = 0;
        t->low = t->high = 0;
    }
}

void mbarriers_destroy(struct run *r) {
    for (unsigned k = 0; r->block && k < r->blocks; k++) {
        struct mbarrier_table *t = r->block[k].mbarriers;
        if (!t) continue;
        for (unsigned n = 0; n < t->rows_max; n++) free(t->row[n].clock);
        free(t->row);
        free(t);
    }
}

/* -- Finding one --------------------------------------------------------------------------------------------------- */

struct mbarrier *mbarrier_find(struct exec *x, const struct instruction *i, int lane, uint64_t address,
                               struct block **owner) {
    uint32_t offset;
    struct block *b = memory_shared(x, i, lane, address, 8, 8, &offset);
    if (!b) return NULL;
    struct mbarrier *m = lookup(b, offset);
    if (!m) {
        report(x, i, lane, PTXVM_FINDING_MBARRIER_MISUSE, "there is no initialised mbarrier at shared offset %u",
               offset);
        return NULL;
    }
    const struct run *r = run_of(x);
    if (r->checks_races && x->warp->clock[m->init_actor] < m->init_clock)
        report(
            x, i, lane, PTXVM_FINDING_RACE,
            "uses the mbarrier at shared offset %u, with nothing that orders this with its initialisation at line %u",
            offset, m->line);
    *owner = b;
    return m;
}

void mbarrier_describe(const struct run *r, uint64_t address, char *text, size_t bytes) {
    uint64_t rank = address >> SHARED_RANK_SHIFT;
    uint32_t offset = (uint32_t)(address & ((UINT32_C(1) << SHARED_RANK_SHIFT) - 1)) - SHARED_BASE;
    const struct mbarrier *m = rank < r->blocks ? lookup(&r->block[rank], offset) : NULL;
    if (m)
        snprintf(text, bytes,
                 "waits for the mbarrier at shared offset %u (line %u): phase %llu, %u of %u arrivals and %lld bytes "
                 "pending",
                 offset, m->line, (unsigned long long)m->phase, m->pending, m->expected, (long long)m->tx);
    else
        snprintf(text, bytes, "waits for an mbarrier at shared offset %u, which is none", offset);
}

/* -- Life ---------------------------------------------------------------------------------------------------------- */

bool mbarrier_init(struct exec *x, const struct instruction *i, int lane, struct block *b, uint32_t offset,
                   uint32_t count) {
    struct run *r = run_of(x);
    const struct mbarrier *old = mbarrier_overlap(b, offset, 8);
    if (old || !count || count > MBARRIER_COUNT_MAX) {
        if (old)
            report(x, i, lane, PTXVM_FINDING_MBARRIER_MISUSE, "shared offset %u already holds the mbarrier of line %u",
                   offset, old->line);
        else
            report(x, i, lane, PTXVM_FINDING_BAD_OPERAND, "a count of %u arrivals", count);
        return false;
    }
    struct mbarrier *m = take_row(r, b);
    if (!m) {
        r->status = PTXVM_ERROR_MEMORY;
        r->stopped = true;
        x->status = EXEC_FAULT;
        return false;
    }
    *m = (struct mbarrier){.offset = offset,
                           .live = true,
                           .expected = count,
                           .pending = count,
                           .actor = m->actor,
                           .init_actor = x->warp->actor,
                           .line = i->line,
                           .clock = m->clock};
    if (m->clock) {
        memset(m->clock, 0, 4 * (size_t)r->actors * sizeof *m->clock);
        m->async_clock = m->clock + r->actors;
        m->done_clock = m->clock + 2 * (size_t)r->actors;
        m->done_async = m->clock + 3 * (size_t)r->actors;
        m->init_clock = x->warp->clock[x->warp->actor];
    }
    update_range(b->mbarriers);
    r->progress++;
    return true;
}

void mbarriers_fence(struct run *r, const struct warp *w, bool own) {
    for (unsigned k = 0; r->checks_races && k < r->blocks; k++) {
        const struct mbarrier_table *t = r->block[k].mbarriers;
        for (unsigned n = 0; t && n < t->rows; n++) {
            struct mbarrier *m = &t->row[n];
            m->fenced |= own ? m->init_actor == w->actor : w->clock[m->init_actor] >= m->init_clock;
        }
    }
}

void mbarrier_invalidate(struct block *b, struct mbarrier *m) {
    m->live = false;
    update_range(b->mbarriers);
}

static uint64_t address_of(const struct block *b, const struct mbarrier *m) {
    return ((uint64_t)b->rank << SHARED_RANK_SHIFT) + SHARED_BASE + m->offset;
}

void mbarrier_settle(struct run *r, struct block *b, struct mbarrier *m) {
    r->progress++;
    if (m->pending || m->tx) return;
    m->phase++;
    m->pending = m->expected;
    if (r->checks_races) {
        clock_join(r, m->done_clock, m->clock);
        clock_join(r, m->done_async, m->async_clock);
    }
    sched_wake(r, WAIT_MBARRIER, address_of(b, m), NULL);
}

/* -- Arrivals and transactions ------------------------------------------------------------------------------------- */

bool mbarrier_arrive(struct exec *x, const struct instruction *i, int lane, struct mbarrier *m, uint32_t count) {
    if (count && count <= m->pending) {
        m->pending -= count;
        return true;
    }
    report(x, i, lane, PTXVM_FINDING_MBARRIER_MISUSE,
           "%u arrivals on the mbarrier at shared offset %u (line %u), which awaits %u of %u in this phase", count,
           m->offset, m->line, m->pending, m->expected);
    return false;
}

bool mbarrier_transact(struct exec *x, const struct instruction *i, int lane, struct mbarrier *m, int64_t bytes) {
    m->tx += bytes;
    if (m->tx >= -MBARRIER_COUNT_MAX && m->tx <= MBARRIER_COUNT_MAX) return true;
    report(x, i, lane, PTXVM_FINDING_MBARRIER_MISUSE,
           "the byte count of the mbarrier at shared offset %u (line %u) becomes %lld, out of range", m->offset,
           m->line, (long long)m->tx);
    return false;
}

/* -- On behalf of copies ------------------------------------------------------------------------------------------- */

uint32_t mbarrier_next_clock(struct run *r, const struct mbarrier *m) {
    return r->checks_races ? ++r->mbarrier_clock[m->actor - r->warps * (1 + ENGINES)] : 0;
}

static void know(const struct run *r, struct mbarrier *m, uint32_t actor, uint32_t clock) {
    if (r->checks_races && m->clock[actor] < clock) m->clock[actor] = clock;
}

void mbarrier_complete_tx(struct exec *x, const struct instruction *i, struct block *owner, struct mbarrier *m,
                          uint32_t bytes, uint32_t clock) {
    struct run *r = run_of(x);
    know(r, m, m->actor, clock);
    if (mbarrier_transact(x, i, -1, m, -(int64_t)bytes)) mbarrier_settle(r, owner, m);
}

void mbarrier_async_arrive(struct exec *x, const struct instruction *i, struct block *owner, struct mbarrier *m,
                           uint32_t engine_actor_index, uint32_t clock) {
    struct run *r = run_of(x);
    know(r, m, engine_actor_index, clock);
    if (mbarrier_arrive(x, i, -1, m, 1)) mbarrier_settle(r, owner, m);
}

bool mbarrier_increment(struct exec *x, const struct instruction *i, struct mbarrier *m) {
    if (m->pending < MBARRIER_COUNT_MAX) {
        m->pending++;
        return true;
    }
    report(x, i, -1, PTXVM_FINDING_MBARRIER_MISUSE, "more than 2^20 - 1 pending arrivals");
    return false;
}
