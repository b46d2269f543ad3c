// clock: vector clocks of the happens-before relation. A warp knows, of every actor (warps, their asynchronous engines,
// mbarriers), up to which of its steps it has seen everything. async_clock is the part of that which the async proxy
// may see: a proxy fence raises it to the whole; it travels along with the clock through every synchronisation, so that
// a fence anywhere between the write and the asynchronous access counts. SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <stdlib.h>
#include <string.h>

void clock_join(const struct run *r, uint32_t *into, const uint32_t *from) {
    for (unsigned k = 0; k < r->actors; k++) into[k] = into[k] > from[k] ? into[k] : from[k];
}

static void step(struct warp *w) {
    w->clock[w->actor]++;
}

void clock_step(struct warp *w, unsigned access) {
    if (access & ACCESS_RELEASE) step(w);
}

void clock_release(const struct run *r, struct warp *w, uint32_t *clock, uint32_t *async_clock) {
    if (!r->checks_races) return;
    clock_join(r, clock, w->clock);
    clock_join(r, async_clock, w->async_clock);
    step(w);
}

void clock_acquire(const struct run *r, struct warp *w, const uint32_t *clock, const uint32_t *async_clock) {
    if (!r->checks_races) return;
    clock_join(r, w->clock, clock);
    clock_join(r, w->async_clock, async_clock);
}

// Relaxed atomics before the fence become acquires, those behind it become releases of what is known here.
void clock_fence(const struct run *r, struct warp *w) {
    if (!r->checks_races) return;
    clock_join(r, w->clock, w->pending_clock);
    memcpy(w->fence_clock, w->clock, r->actors * sizeof *w->clock);
    step(w);
}

void clock_proxy_fence(const struct run *r, struct warp *w) {
    if (!r->checks_races) return;
    memcpy(w->async_clock, w->clock, r->actors * sizeof *w->clock);
    step(w);
}

/* -- Memory -------------------------------------------------------------------------------------------------------- */

static uint32_t *take(uint32_t **next, unsigned actors) {
    uint32_t *vector = *next;
    *next += actors;
    return vector;
}

static size_t vectors(const struct run *r) {
    return 4 * ((size_t)r->warps + (size_t)r->blocks * NAMED_BARRIERS + 1);
}

static void wire_barriers(struct run *r, uint32_t **next) {
    for (unsigned k = 0; k < r->blocks * NAMED_BARRIERS; k++) {
        struct named_barrier *n = &r->block[k / NAMED_BARRIERS].barrier[k % NAMED_BARRIERS];
        n->clock = take(next, r->actors);
        n->async_clock = take(next, r->actors);
        n->done_clock = take(next, r->actors);
        n->done_async = take(next, r->actors);
    }
}

ptxvm_status clocks_create(struct run *r) {
    if (!r->checks_races) return PTXVM_OK;
    r->actors = r->warps * (1 + ENGINES) + r->blocks * MBARRIER_ACTORS;
    r->clocks = calloc(vectors(r) * r->actors, sizeof *r->clocks);
    r->mbarrier_clock = calloc(r->blocks * MBARRIER_ACTORS, sizeof *r->mbarrier_clock);
    if (!r->clocks || !r->mbarrier_clock) return PTXVM_ERROR_MEMORY;
    uint32_t *next = r->clocks;
    for (unsigned k = 0; k < r->warps; k++) {
        struct warp *w = &r->warp[k];
        w->clock = take(&next, r->actors);
        w->async_clock = take(&next, r->actors);
        w->fence_clock = take(&next, r->actors);
        w->pending_clock = take(&next, r->actors);
    }
    wire_barriers(r, &next);
    struct cluster_barrier *c = &r->cluster_barrier;
    c->clock = take(&next, r->actors);
    c->async_clock = take(&next, r->actors);
    c->done_clock = take(&next, r->actors);
    c->done_async = take(&next, r->actors);
    return PTXVM_OK;
}

void clocks_destroy(struct run *r) {
    free(r->clocks);
    free(r->mbarrier_clock);
}

void clocks_reset(struct run *r) {
    if (!r->checks_races) return;
    memset(r->clocks, 0, vectors(r) * r->actors * sizeof *r->clocks);
    memset(r->mbarrier_clock, 0, r->blocks * MBARRIER_ACTORS * sizeof *r->mbarrier_clock);
    for (unsigned k = 0; k < r->warps; k++) r->warp[k].clock[k] = 1;
}

/* -- Groups of asynchronous work ----------------------------------------------------------------------------------- */

void machine_group_commit(struct exec *x, enum engine engine) {
    x->warp->committed[engine]++;
    x->warp->open[engine] = 0;
}

void machine_group_wait(struct exec *x, enum engine engine, uint32_t pending) {
    const struct run *r = run_of(x);
    struct warp *w = x->warp;
    if (!r->checks_races || w->committed[engine] < pending) return;
    uint32_t *known = &w->clock[engine_actor(r, w, engine)], done = w->committed[engine] - pending;
    if (*known < done) *known = done;
}
