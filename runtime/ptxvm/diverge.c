// diverge: fragments of a warp: how branches split them, where they merge, how lanes leave, and how .sync instructions
// bring lanes together. A fragment belongs to a group: the lanes of one divergent branch, which meet again at its
// immediate post-dominator. Each fragment is scheduled on its own, so that lanes of one warp may wait for each other.
// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <string.h>

void warp_reset(struct warp *w, uint32_t pc) {
    memset(w->fragment, 0, sizeof w->fragment);
    memset(w->group, 0, sizeof w->group);
    w->live = w->lanes;
    w->group[0] = (struct group){.reconverge = UINT32_MAX, .members = w->lanes};
    w->fragment[0] = (struct fragment){.pc = pc, .mask = w->lanes};
    w->fragments = 1;
    w->current = NULL;
    w->split_up = false;
}

static void fragment_free(struct warp *w, struct fragment *f) {
    f->mask = 0;
    f->carried = false;
    while (w->fragments > 0 && w->fragment[w->fragments - 1].mask == 0) w->fragments--;
}

// A part of `from`, with lanes that `from` no longer has. NULL if none is free (cannot happen: lanes are disjoint).
static struct fragment *fragment_new(struct warp *w, uint32_t pc, uint32_t mask, unsigned group,
                                     const struct fragment *from) {
    for (unsigned k = 0; k < LANES; k++) {
        if (w->fragment[k].mask) continue;
        w->fragment[k] = (struct fragment){.frame = from->frame, .pc = pc, .mask = mask, .group = (uint8_t)group};
        if (w->fragments <= k) w->fragments = k + 1;
        return &w->fragment[k];
    }
    return NULL;
}

uint32_t fragment_stop(const struct warp *w, const struct fragment *f) {
    return w->group[f->group].reconverge;
}

// A free group; there is always one: a group of a branch has fewer lanes than its parent, sisters are disjoint, and the
// number of calls is limited.
static unsigned group_new(struct warp *w, uint32_t reconverge, uint32_t members, unsigned parent) {
    unsigned g = 1;
    while (g < GROUPS - 1 && w->group[g].members) g++;
    w->group[g] = (struct group){.reconverge = reconverge, .members = members, .parent = (uint8_t)parent};
    return g;
}

static struct fragment *waiting_at_merge(struct warp *w, unsigned group, const struct fragment *except) {
    for (unsigned k = 0; k < w->fragments; k++) {
        struct fragment *f = &w->fragment[k];
        if (f->mask && f != except && f->group == group && f->wait == WAIT_MERGE) return f;
    }
    return NULL;
}

// A nested group inherits its parent's stop only when it is left, so a merge may be an arrival again.
void fragment_arrive(struct run *r, struct warp *w, struct fragment *f) {
    for (;;) {
        struct group *g = &w->group[f->group];
        if (f->pc != g->reconverge) break;
        struct fragment *other = waiting_at_merge(w, f->group, f);
        if (other) {
            other->mask |= f->mask;
            fragment_free(w, f);
            f = other;
        }
        if (f->mask != (g->members & w->live)) {
            f->wait = WAIT_MERGE;
            return;
        }
        f->wait = WAIT_NONE;
        f->group = g->parent;
        g->members = 0;
        if (g->frame) calls_finish(r, w, f, g->frame);
    }
    sched_ready(r, w);
}

void fragment_split(struct run *r, struct warp *w, struct fragment *f, uint32_t taken, uint32_t target,
                    uint32_t fallthrough, uint32_t reconverge) {
    uint32_t others = f->mask & ~taken;
    unsigned group = f->group;
    if (reconverge != UINT32_MAX && reconverge != w->group[group].reconverge)
        group = group_new(w, reconverge, f->mask, group);
    f->mask = taken;
    f->pc = target;
    f->group = (uint8_t)group;
    struct fragment *rest = fragment_new(w, fallthrough, others, group, f);
    if (!rest) return;
    fragment_arrive(r, w, rest);
    fragment_arrive(r, w, f);
}

// Fragments that waited for lanes which are gone.
static void recheck(struct run *r, struct warp *w) {
    for (unsigned k = 0; k < LANES; k++) {
        struct fragment *f = &w->fragment[k];
        if (!f->mask) continue;
        if (f->wait == WAIT_MERGE) fragment_arrive(r, w, f);
        if (f->mask && f->wait == WAIT_LANES) {
            f->wait = WAIT_NONE;
            sched_ready(r, w);
        }
    }
}

enum { AT_RETURN = UINT32_MAX - 1 }; /* pc of lanes that have returned */

bool fragment_call(struct warp *w, struct fragment *f, struct call_frame *frame) {
    unsigned g = group_new(w, AT_RETURN, f->mask, f->group);
    if (w->group[GROUPS - 1].members) return false;
    w->group[g].frame = frame;
    f->group = (uint8_t)g;
    f->frame = frame;
    f->pc = 0;
    return true;
}

// The groups of branches inside of the function lose the lanes.
void fragment_return(struct run *r, struct warp *w, struct fragment *f) {
    uint32_t lanes = f->mask;
    while (!w->group[f->group].frame) {
        w->group[f->group].members &= ~lanes;
        f->group = w->group[f->group].parent;
    }
    f->pc = AT_RETURN;
    fragment_arrive(r, w, f);
    recheck(r, w);
}

bool fragments_leave(struct run *r, struct warp *w) {
    bool left = false;
    for (unsigned k = 0; k < w->fragments && !w->split_up; k++)
        if (w->fragment[k].mask && w->fragment[k].wait == WAIT_LANES) return false;
    for (unsigned k = 0; k < w->fragments; k++) {
        struct fragment *f = &w->fragment[k];
        if (!f->mask || f->wait != WAIT_MERGE) continue;
        struct group *g = &w->group[f->group];
        if (g->frame) continue; /* a call returns as a whole */
        g->members &= ~f->mask;
        f->group = g->parent;
        f->wait = WAIT_NONE;
        r->progress++;
        left = w->split_up = true;
        fragment_arrive(r, w, f);
    }
    return left;
}

void warp_exit_lanes(struct run *r, struct warp *w, uint32_t lanes) {
    w->live &= ~lanes;
    r->progress++;
    for (unsigned k = LANES; k-- > 0;) {
        struct fragment *f = &w->fragment[k];
        if (!(f->mask & lanes)) continue;
        f->mask &= ~lanes;
        if (!f->mask) fragment_free(w, f);
    }
    for (unsigned g = 1; g < GROUPS; g++) {
        struct group *group = &w->group[g];
        if (!group->members || group->members & w->live) continue;
        if (group->frame) group->frame->used = false;
        group->members = 0;
    }
    if (w->live) {
        recheck(r, w);
        return;
    }
    r->live_warps--;
    async_finish_warp(r, w);
    barriers_warp_exited(r, w);
}

/* -- .sync --------------------------------------------------------------------------------------------------------- */

// bar.warp.sync may meet bar.warp.sync elsewhere; the others need the same instruction.
static uint64_t rendezvous_key(const struct instruction *i, uint32_t members) {
    return i->flags & RENDEZVOUS_ANYWHERE ? UINT64_C(1) << 63 | members : (uintptr_t)i;
}

// Another fragment that waits there; lanes of different calls have different registers and cannot run as one.
static bool waits_with(const struct warp *w, const struct fragment *f, uint64_t key) {
    bool same_place = f->frame == w->current->frame || key >> 63;
    return f != w->current && f->mask && f->wait == WAIT_LANES && f->key == key && same_place;
}

static void join_waiting(struct exec *x, uint64_t key) {
    struct warp *w = x->warp;
    for (unsigned k = 0; k < w->fragments; k++) {
        struct fragment *f = &w->fragment[k];
        if (!waits_with(w, f, key)) continue;
        f->carried = true;
        x->active |= f->arrived;
        x->converged |= f->mask;
        x->status = EXEC_YIELD; /* so that the scheduler looks after the carried fragments */
    }
}

bool warp_rendezvous(struct exec *x, const struct instruction *i, uint32_t members) {
    struct warp *w = x->warp;
    uint32_t need = members & w->live, have = x->active;
    if (x->active & ~members) {
        report(x, i, __builtin_ctz(x->active & ~members), PTXVM_FINDING_BAD_OPERAND,
               "the lane executes the instruction but is not in its member mask 0x%08x", members);
        return false;
    }
    if (have == need) return true;
    uint64_t key = rendezvous_key(i, members);
    for (unsigned k = 0; k < w->fragments; k++)
        if (waits_with(w, &w->fragment[k], key)) have |= w->fragment[k].arrived;
    if ((have & need) == need) {
        join_waiting(x, key);
        return true;
    }
    w->current->arrived = x->active;
    w->current->members = members;
    machine_wait(x, WAIT_LANES, key);
    x->status = EXEC_RETRY;
    return false;
}

// Where the scheduler itself has split the warp (fragments_leave), the others may still come.
static bool require(struct exec *x, const struct instruction *i, uint32_t lanes, const char *which) {
    if (x->active == lanes) return true;
    if (x->warp->split_up && x->warp->live == lanes) return warp_rendezvous(x, i, lanes);
    report(x, i, -1, PTXVM_FINDING_DIVERGENCE, "lanes 0x%08x execute it; %s are 0x%08x", x->active, which, lanes);
    return false;
}

bool warp_require_all(struct exec *x, const struct instruction *i) {
    return require(x, i, ALL_LANES, "it needs a whole warp, nobody exited: lanes");
}

bool warp_require_live(struct exec *x, const struct instruction *i) {
    return require(x, i, x->warp->live, "the live lanes of the warp");
}

// Behind bar.warp.sync elsewhere each goes on at its own place.
void warp_release_carried(struct run *r, struct warp *w) {
    struct fragment *current = w->current;
    for (unsigned k = LANES; k-- > 0;) {
        struct fragment *f = &w->fragment[k];
        if (!f->mask || !f->carried) continue;
        f->carried = false;
        f->wait = WAIT_NONE;
        f->pc++;
        if (f->group == current->group && f->pc == current->pc) {
            current->mask |= f->mask;
            fragment_free(w, f);
        } else {
            fragment_arrive(r, w, f);
        }
    }
    sched_ready(r, w);
}
