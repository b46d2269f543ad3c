// shadow_sets: sets of readers of shared words, numbered, with a table of "this set and one more is that set": a tile
// that many warps read has a handful of different sets, however many words it has. SPDX-License-Identifier: Apache-2.0
#include "shadow.h"

#include <stdlib.h>
#include <string.h>

enum { READERS_MAX = 4 << 20, SETS_MAX = 1 << 20, STEPS = 1 << 16 /* of the table, a power of two */ };

struct step {
    uint32_t set, actor, clock, result; /* result 0: free */
};
struct read_sets {
    struct reader *reader;
    uint32_t readers, readers_max;
    struct {
        uint32_t first, count;
    } * set;
    uint32_t sets, sets_max;
    struct step step[STEPS];
};

ptxvm_status read_sets_create(struct run *r) {
    r->sets = calloc(1, sizeof *r->sets);
    if (!r->sets) return PTXVM_ERROR_MEMORY;
    r->sets->sets = 1;
    return PTXVM_OK;
}

void read_sets_destroy(struct run *r) {
    if (!r->sets) return;
    free(r->sets->reader);
    free(r->sets->set);
    free(r->sets);
}

void read_sets_reset(struct run *r) {
    struct read_sets *s = r->sets;
    if (s->sets > 1) memset(s->step, 0, sizeof s->step);
    s->readers = 0;
    s->sets = 1;
}

const struct reader *read_sets_get(const struct run *r, uint32_t set, uint32_t *count) {
    const struct read_sets *s = r->sets;
    *count = set ? s->set[set].count : 0;
    return set ? s->reader + s->set[set].first : NULL;
}

static bool reserve(struct read_sets *s, uint32_t readers) {
    if (s->readers + readers > READERS_MAX || s->sets + 1 > SETS_MAX) return false;
    if (s->readers + readers > s->readers_max) {
        uint32_t most = 2 * (s->readers + readers) + 256;
        struct reader *larger = realloc(s->reader, most * sizeof *larger);
        if (!larger) return false;
        s->reader = larger;
        s->readers_max = most;
    }
    if (s->sets + 1 > s->sets_max) {
        uint32_t most = 2 * s->sets + 256;
        void *larger = realloc(s->set, most * sizeof *s->set);
        if (!larger) return false;
        s->set = larger;
        s->sets_max = most;
    }
    return true;
}

static uint32_t build(struct read_sets *s, uint32_t set, uint32_t actor, uint32_t clock) {
    uint32_t old = set ? s->set[set].count : 0, n = 0;
    if (!reserve(s, old + 1)) return UINT32_MAX;
    struct reader *out = s->reader + s->readers;
    const struct reader *in = set ? s->reader + s->set[set].first : NULL;
    for (uint32_t k = 0; k < old; k++)
        if (in[k].actor != actor) out[n++] = in[k];
    out[n++] = (struct reader){actor, clock};
    s->set[s->sets].first = s->readers;
    s->set[s->sets].count = n;
    s->readers += n;
    return s->sets++;
}

uint32_t read_sets_add(struct run *r, uint32_t set, uint32_t actor, uint32_t clock) {
    struct read_sets *s = r->sets;
    uint64_t hash = ((uint64_t)set << 32 | clock) * UINT64_C(0x9e3779b97f4a7c15) + actor * UINT64_C(0xc2b2ae3d27d4eb4f);
    struct step *step = &s->step[(hash >> 40) % STEPS];
    if (step->result && step->set == set && step->actor == actor && step->clock == clock) return step->result;
    uint32_t result = build(s, set, actor, clock);
    if (result != UINT32_MAX) *step = (struct step){set, actor, clock, result};
    return result;
}
