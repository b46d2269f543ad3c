// shadow: races on shared memory, by happens-before: for each word the last write and the reads since, each as a step
// of an actor; an access must know (by its warp's vector clock) what it conflicts with. Proxies: an asynchronous access
// to bytes written generically must know of the write through its second clock. Also: reads of bytes that nobody wrote.
// The method follows FastTrack (Flanagan, Freund, PLDI 2009) with numbered read sets. SPDX-License-Identifier:
// Apache-2.0
#include "shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Memory -------------------------------------------------------------------------------------------------------- */

ptxvm_status shadow_create(struct run *r) {
    if (!r->checks_races && !r->checks_uninitialised) return PTXVM_OK;
    for (unsigned k = 0; k < r->blocks; k++) {
        struct shared_shadow *s = calloc(1, sizeof *s);
        r->block[k].shadow = s;
        if (!s) return PTXVM_ERROR_MEMORY;
        s->words = (r->shared_bytes + 3) / 4;
        s->word = calloc(s->words + 1, sizeof *s->word);
        if (!s->word) return PTXVM_ERROR_MEMORY;
    }
    return read_sets_create(r);
}

void shadow_destroy(struct run *r) {
    for (unsigned k = 0; r->block && k < r->blocks; k++) {
        struct shared_shadow *s = r->block[k].shadow;
        if (!s) continue;
        free(s->word);
        free(s->split);
        free(s);
    }
    read_sets_destroy(r);
    syncs_destroy(r);
}

void shadow_reset(struct run *r) {
    if (!r->sets) return;
    for (unsigned k = 0; k < r->blocks; k++) {
        struct shared_shadow *s = r->block[k].shadow;
        memset(s->word, 0, s->words * sizeof *s->word);
        s->splits = 0;
    }
    read_sets_reset(r);
    syncs_reset(r);
}

// Forgets who read what, of all cells: when the table of sets is full. Later writes may go unchecked against them.
static void forget_reads(struct run *r) {
    for (unsigned k = 0; k < r->blocks; k++) {
        struct shared_shadow *s = r->block[k].shadow;
        for (uint32_t n = 0; n < s->words; n++)
            if (!(s->word[n].flags & CELL_SPLIT)) s->word[n].read = 0, s->word[n].reader = 0;
        for (uint32_t n = 0; n < 4 * s->splits; n++) s->split[n / 4][n % 4].read = 0, s->split[n / 4][n % 4].reader = 0;
    }
    read_sets_reset(r);
}

/* -- Texts --------------------------------------------------------------------------------------------------------- */

static void describe_actor(const struct run *r, uint32_t actor, char *text, size_t bytes) {
    static const char *const engines[ENGINES] = {"a cp.async of ", "a bulk copy of ", "a wgmma of "};
    uint32_t engine = actor / r->warps;
    if (engine > ENGINES) {
        snprintf(text, bytes, "a bulk copy that completes on an mbarrier");
        return;
    }
    const struct warp *w = &r->warp[actor % r->warps];
    int used = snprintf(text, bytes, "%swarp %u", engine ? engines[engine - 1] : "", w->id);
    if (r->blocks > 1 && used > 0 && (size_t)used < bytes)
        snprintf(text + used, bytes - (size_t)used, " of block %u", w->block->rank);
}

// What an access to a cell needs besides the cell.
struct visit {
    struct exec *x;
    const struct instruction *i;
    int lane;
    uint32_t offset;
    enum access access;
    const struct party *party;
    bool found; /* reported something: the result is not to be repeated for equal cells */
};

static const char *access_text(enum access access) {
    switch ((unsigned)access & ACCESS_ATOMIC) {
    case ACCESS_READ:
        return "reads";
    case ACCESS_WRITE:
        return "writes";
    default:
        return "updates";
    }
}

static void report_write(struct visit *v, const struct cell *c, enum ptxvm_finding_kind kind) {
    const struct run *r = run_of(v->x);
    char who[96];
    describe_actor(r, c->write_actor, who, sizeof who);
    v->found = true;
    report(v->x, v->i, v->lane, kind, "%s shared offset %u (block %u), last written by %s at line %u%s",
           access_text(v->access), v->offset, v->x->block->rank, who, c->write_line,
           kind == PTXVM_FINDING_PROXY ? " through the generic proxy, without fence.proxy.async since"
                                       : ", with nothing that orders the two");
}

static void report_read(struct visit *v, uint32_t actor) {
    char who[96];
    describe_actor(run_of(v->x), actor, who, sizeof who);
    v->found = true;
    report(v->x, v->i, v->lane, PTXVM_FINDING_RACE,
           "%s shared offset %u (block %u), read before by %s, with nothing that orders the two",
           access_text(v->access), v->offset, v->x->block->rank, who);
}

static void report_unwritten(struct visit *v) {
    v->found = true;
    report(v->x, v->i, v->lane, PTXVM_FINDING_UNINITIALISED, "%s shared offset %u, which nobody wrote",
           access_text(v->access), v->offset);
}

/* -- One cell ------------------------------------------------------------------------------------------------------ */

static bool knows(const struct party *p, uint32_t actor, uint32_t clock) {
    return p->warp->clock[actor] >= clock || (actor == p->actor && clock == p->clock);
}

static void check_last_write(struct visit *v, const struct cell *c) {
    const struct party *p = v->party;
    if (!(c->flags & CELL_WRITTEN) || (p->strong && c->flags & CELL_STRONG)) return;
    if (!knows(p, c->write_actor, c->write_clock)) {
        report_write(v, c, PTXVM_FINDING_RACE);
    } else if (p->asynchronous_proxy && !(c->flags & CELL_ASYNC) &&
               p->warp->async_clock[c->write_actor] < c->write_clock) {
        report_write(v, c, PTXVM_FINDING_PROXY);
    }
}

static void check_readers(struct visit *v, const struct cell *c) {
    if (!c->reader) return;
    if (c->reader != READERS_SET) {
        if (!knows(v->party, c->reader - 1u, c->read)) report_read(v, c->reader - 1u);
        return;
    }
    uint32_t count;
    const struct reader *reader = read_sets_get(run_of(v->x), c->read, &count);
    for (uint32_t k = 0; k < count; k++) {
        if (knows(v->party, reader[k].actor, reader[k].clock)) continue;
        report_read(v, reader[k].actor);
        return;
    }
}

static void add_reader(struct visit *v, struct cell *c) {
    const struct party *p = v->party;
    struct run *r = run_of(v->x);
    if (!c->reader || c->reader == p->actor + 1 || (c->reader != READERS_SET && knows(p, c->reader - 1u, c->read))) {
        c->reader = (uint16_t)(p->actor + 1);
        c->read = p->clock;
        return;
    }
    uint32_t set = c->read;
    if (c->reader != READERS_SET) set = read_sets_add(r, 0, c->reader - 1u, c->read);
    if (set != UINT32_MAX) set = read_sets_add(r, set, p->actor, p->clock);
    if (set == UINT32_MAX) {
        forget_reads(r);
        v->found = true; /* cells have changed under the caller's feet: no repetition */
        set = read_sets_add(r, 0, p->actor, p->clock);
        if (set == UINT32_MAX) return;
    }
    c->reader = READERS_SET;
    c->read = set;
}

static void set_writer(const struct visit *v, struct cell *c) {
    const struct party *p = v->party;
    uint8_t flags = CELL_WRITTEN;
    if (p->asynchronous_proxy) flags |= CELL_ASYNC;
    if (p->strong) flags |= CELL_STRONG;
    *c = (struct cell){.write_clock = p->clock,
                       .write_actor = (uint16_t)p->actor,
                       .flags = flags,
                       .write_line = (uint16_t)(v->i->line < UINT16_MAX ? v->i->line : UINT16_MAX)};
}

static void visit_cell(struct visit *v, struct cell *c) {
    const struct run *r = run_of(v->x);
    if (r->checks_races) check_last_write(v, c);
    if (v->access & ACCESS_READ && r->checks_uninitialised && !(c->flags & CELL_WRITTEN)) report_unwritten(v);
    if (v->access & ACCESS_WRITE) {
        if (r->checks_races) check_readers(v, c);
        set_writer(v, c);
    } else if (r->checks_races && !v->party->strong) {
        add_reader(v, c);
    }
}

/* -- Words whose bytes differ -------------------------------------------------------------------------------------- */

static bool same(const struct cell *a, const struct cell *b) {
    uint64_t x[2], y[2];
    memcpy(x, a, 16);
    memcpy(y, b, 16);
    return x[0] == y[0] && x[1] == y[1];
}

// False: no memory; the word is then treated as a whole.
static bool split(struct shared_shadow *s, struct cell *c) {
    if (s->splits == s->splits_max) {
        uint32_t most = s->splits_max ? 2 * s->splits_max : 64;
        void *larger = realloc(s->split, most * sizeof *s->split);
        if (!larger) return false;
        s->split = larger;
        s->splits_max = most;
    }
    struct cell *four = s->split[s->splits];
    for (unsigned k = 0; k < 4; k++) four[k] = *c;
    *c = (struct cell){.flags = CELL_SPLIT, .read = s->splits++};
    return true;
}

static void visit_bytes(struct visit *v, struct shared_shadow *s, struct cell *c, unsigned first, unsigned end) {
    uint32_t word = v->offset;
    if (!(c->flags & CELL_SPLIT) && !split(s, c)) {
        visit_cell(v, c);
        return;
    }
    struct cell *four = s->split[c->read];
    for (unsigned k = first; k < end; k++) {
        v->offset = word + k;
        visit_cell(v, &four[k]);
    }
    v->offset = word;
    if (!same(&four[0], &four[1]) || !same(&four[0], &four[2]) || !same(&four[0], &four[3])) return;
    bool last = c->read + 1 == s->splits;
    *c = four[0];
    s->splits -= last; /* the newest four cells are free again */
}

/* -- An access ----------------------------------------------------------------------------------------------------- */

static void visit_word(struct visit *v, struct shared_shadow *s, struct cell *c, struct cell_memo *memo) {
    if (c->flags & CELL_SPLIT) {
        visit_bytes(v, s, c, 0, 4);
        return;
    }
    uint64_t now[2];
    memcpy(now, c, 16);
    if (memo->valid && now[0] == memo->before[0] && now[1] == memo->before[1]) {
        memcpy(c, memo->after, 16);
        return;
    }
    v->found = false;
    visit_cell(v, c);
    memo->valid = !v->found;
    memcpy(memo->before, now, 16);
    memcpy(memo->after, c, 16);
}

void shadow_access(struct exec *x, const struct instruction *i, int lane, struct block *b, uint32_t offset,
                   uint32_t bytes, enum access access, const struct party *party) {
    struct shared_shadow *s = b->shadow;
    struct cell_memo *memo = &run_of(x)->memo;
    struct visit v = {.x = x, .i = i, .lane = lane, .access = access, .party = party};
    uint32_t end = offset + bytes;
    for (uint32_t word = offset / 4; 4 * word < end; word++) {
        uint32_t first = 4 * word < offset ? offset - 4 * word : 0, last = end - 4 * word < 4 ? end - 4 * word : 4;
        v.offset = 4 * word;
        if (first == 0 && last == 4)
            visit_word(&v, s, &s->word[word], memo);
        else
            visit_bytes(&v, s, &s->word[word], first, last);
    }
}
