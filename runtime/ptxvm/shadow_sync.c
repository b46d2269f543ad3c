// shadow_sync: atomics and strong accesses as synchronisation: what is known travels through the address. Release and
// acquire at once; relaxed ones together with fences. Every update joins, so that a chain of updates passes everything
// on. SPDX-License-Identifier: Apache-2.0
#include "shadow.h"

#include <stdlib.h>
#include <string.h>

enum { SYNCS = 1024, PROBES = 16 /* further addresses share a place: races may be missed, none invented */ };

struct sync {
    uint64_t key;
    uint32_t *clock, *async_clock; /* one area */
    bool used;
};
struct sync_table {
    struct sync row[SYNCS];
};

void syncs_destroy(struct run *r) {
    for (unsigned k = 0; r->syncs && k < SYNCS; k++) free(r->syncs->row[k].clock);
    free(r->syncs);
}

void syncs_reset(struct run *r) {
    for (unsigned k = 0; r->syncs && k < SYNCS; k++) {
        struct sync *s = &r->syncs->row[k];
        if (s->used) memset(s->clock, 0, 2 * r->actors * sizeof *s->clock);
        s->used = false;
    }
}

static struct sync *find(struct run *r, uint64_t key) {
    if (!r->syncs) r->syncs = calloc(1, sizeof *r->syncs);
    if (!r->syncs) return NULL;
    uint64_t start = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 40;
    for (unsigned k = 0; k < PROBES; k++) {
        struct sync *s = &r->syncs->row[(start + k) % SYNCS];
        if (!s->used || s->key == key) return s;
    }
    return &r->syncs->row[start % SYNCS];
}

void shadow_synchronise(struct exec *x, uint64_t key, unsigned access) {
    struct run *r = run_of(x);
    struct warp *w = x->warp;
    struct sync *s = find(r, key);
    if (s && !s->clock) {
        s->clock = calloc(2 * r->actors, sizeof *s->clock);
        s->async_clock = s->clock + (s->clock ? r->actors : 0);
    }
    if (!s || !s->clock) {
        r->status = PTXVM_ERROR_MEMORY;
        r->stopped = true;
        return;
    }
    s->key = key;
    s->used = true;
    if (access & ACCESS_READ) {
        if (access & ACCESS_ACQUIRE)
            clock_acquire(r, w, s->clock, s->async_clock);
        else
            clock_join(r, w->pending_clock, s->clock);
    }
    if (!(access & ACCESS_WRITE)) return;
    clock_join(r, s->clock, access & ACCESS_RELEASE ? w->clock : w->fence_clock);
    if (access & ACCESS_RELEASE) clock_join(r, s->async_clock, w->async_clock);
}
