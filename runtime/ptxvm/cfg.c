// cfg: blocks, edges, loops and post-dominators of a function. Everything is iterative and near-linear, so that no text
// can make it slow or deep. Scratch memory lives in one arena. SPDX-License-Identifier: Apache-2.0
#include "cfg.h"
#include "cfg_graph.h"
#include "isa.h"

#include <string.h>

/* -- Blocks and edges ---------------------------------------------------------------------------------------------- */

struct edge {
    uint32_t from, to;
    bool early; /* leaves the kernel beside the main path */
};

struct flow {
    struct instruction *code;
    uint32_t count;
    uint32_t blocks; /* block `blocks` is the exit */
    uint32_t *block_of;
    uint32_t *first; /* of each block; first[blocks] == count */
    struct edge *edge;
    size_t edges, edge_capacity;
    struct arena *arena;
};

static bool is_branch(const struct instruction *i) {
    return i->target < TARGET_TABLE;
}

// Can the next instruction follow?
static bool falls_through(const struct instruction *i) {
    return i->target == TARGET_NEXT || i->guard_slot;
}

static bool targets_valid(const struct flow *f) {
    for (uint32_t k = 0; k < f->count; k++) {
        const struct instruction *i = &f->code[k];
        if (is_branch(i) && i->target > f->count) return false;
        if (i->target != TARGET_TABLE) continue;
        for (uint32_t s = 0; s < i->slot_count; s++)
            if (i->slots[s] > f->count) return false;
    }
    return true;
}

static void mark_leaders(const struct flow *f, bool *leader) {
    leader[0] = leader[f->count] = true;
    for (uint32_t k = 0; k < f->count; k++) {
        const struct instruction *i = &f->code[k];
        if (is_branch(i)) leader[i->target] = true;
        if (i->target == TARGET_TABLE)
            for (uint32_t s = 0; s < i->slot_count; s++) leader[i->slots[s]] = true;
        if (i->target != TARGET_NEXT) leader[k + 1] = true;
    }
}

static bool find_blocks(struct flow *f) {
    bool *leader = arena_alloc(f->arena, f->count + 1);
    f->block_of = arena_alloc(f->arena, ((size_t)f->count + 1) * sizeof *f->block_of);
    f->first = arena_alloc(f->arena, ((size_t)f->count + 1) * sizeof *f->first);
    if (!leader || !f->block_of || !f->first) return false;
    mark_leaders(f, leader);
    uint32_t blocks = 0;
    for (uint32_t k = 0; k <= f->count; k++) {
        if (leader[k]) f->first[blocks++] = k;
        f->block_of[k] = blocks - 1;
    }
    f->blocks = blocks - 1;
    return true;
}

static bool add_edge(struct flow *f, uint32_t from, uint32_t to, bool early) {
    struct edge *grown = arena_grow(f->arena, f->edge, f->edges, &f->edge_capacity, sizeof *f->edge);
    if (!grown) return false;
    f->edge = grown;
    f->edge[f->edges++] = (struct edge){from, to, early};
    return true;
}

static const struct instruction *last_of(const struct flow *f, uint32_t block) {
    return &f->code[f->first[block + 1] - 1];
}

static bool is_trap(const struct instruction *i) {
    return i->statement && !strcmp(i->statement->opcode, "trap");
}

// The block by whose exit the function ends in the ordinary way: the last in the text that returns. `blocks`: the end
// of the text.
static uint32_t main_exit(const struct flow *f) {
    for (uint32_t b = f->blocks; b-- > 0;) {
        const struct instruction *i = last_of(f, b);
        if (i->target == TARGET_EXIT && !i->guard_slot && !is_trap(i)) return b;
    }
    return f->blocks;
}

// Edges of a block. Early are: exits that are not the main one, and jumps to a main exit that is nothing but `ret` and
// is also reached from above.
static bool block_edges(struct flow *f, uint32_t b, uint32_t exit_block, bool exit_is_bare) {
    const struct instruction *i = last_of(f, b);
    if (i->target == TARGET_EXIT && !add_edge(f, b, f->blocks, b != exit_block)) return false;
    if (falls_through(i) && !add_edge(f, b, b + 1, false)) return false;
    if (is_branch(i)) {
        uint32_t to = f->block_of[i->target];
        return add_edge(f, b, to, exit_is_bare && to == exit_block && to != b + 1);
    }
    if (i->target != TARGET_TABLE) return true;
    for (uint32_t s = 0; s < i->slot_count; s++)
        if (!add_edge(f, b, f->block_of[i->slots[s]], false)) return false;
    return true;
}

static bool find_edges(struct flow *f) {
    uint32_t exit_block = main_exit(f);
    bool bare = exit_block == f->blocks || f->first[exit_block] + 1 == f->first[exit_block + 1];
    bool entered_from_above = exit_block && falls_through(last_of(f, exit_block - 1));
    for (uint32_t b = 0; b < f->blocks; b++)
        if (!block_edges(f, b, exit_block, bare && entered_from_above)) return false;
    return true;
}

// Graph of the edges, or of those that are not early; backward: from targets to sources.
static bool make_graph(const struct flow *f, bool with_early, bool backward, struct graph *out) {
    if (!graph_create(f->arena, f->blocks + 1, f->edges, out)) return false;
    for (size_t e = 0; e < f->edges; e++)
        if (with_early || !f->edge[e].early) graph_count(out, backward ? f->edge[e].to : f->edge[e].from);
    graph_counted(out);
    for (size_t e = 0; e < f->edges; e++) {
        const struct edge *edge = &f->edge[e];
        if (with_early || !edge->early)
            graph_add(out, backward ? edge->to : edge->from, backward ? edge->from : edge->to);
    }
    return true;
}

/* -- Loops --------------------------------------------------------------------------------------------------------- */

// loop_of[b]: header of b's innermost loop, NONE: none.
static bool find_loops(const struct flow *f, uint32_t *loop_of) {
    struct graph forward, backward;
    return make_graph(f, true, false, &forward) && make_graph(f, true, true, &backward) &&
           graph_loops(f->arena, &forward, &backward, 0, loop_of);
}

static bool number_loops(const struct flow *f, const uint32_t *loop_of, int32_t *loop) {
    int32_t *number = arena_alloc(f->arena, f->blocks * sizeof *number);
    if (!number) return false;
    int32_t loops = 0;
    for (uint32_t b = 0; b < f->blocks; b++) number[b] = loop_of[b] == b ? loops++ : -1;
    for (uint32_t k = 0; k < f->count; k++) {
        uint32_t header = loop_of[f->block_of[k]];
        loop[k] = header == NONE ? -1 : number[header];
    }
    return true;
}

/* -- Reconvergence ------------------------------------------------------------------------------------------------- */

// Early exits that lie behind a loop which cannot reach the main exit are exits like any other: what leaves by them may
// run for long, and others must not wait for it.
static bool keep_long_exits(struct flow *f, const uint32_t *loop_of) {
    struct graph forward, backward;
    if (!make_graph(f, true, false, &forward) || !make_graph(f, false, true, &backward)) return false;
    bool *reaches_main = graph_reach(f->arena, &backward, f->blocks, NULL);
    bool *start = arena_alloc(f->arena, f->blocks + 1);
    if (!reaches_main || !start) return false;
    for (uint32_t b = 0; b < f->blocks; b++) start[b] = loop_of[b] != NONE && !reaches_main[b];
    bool *behind_loop = graph_reach(f->arena, &forward, NONE, start);
    if (!behind_loop) return false;
    for (size_t e = 0; e < f->edges; e++)
        if (behind_loop[f->edge[e].from] && !reaches_main[f->edge[e].from]) f->edge[e].early = false;
    return true;
}

// Blocks that cannot reach the exit (endless loops) get an edge to it, the last of each such region.
static bool close_endless(struct flow *f) {
    struct graph backward;
    if (!make_graph(f, true, true, &backward)) return false;
    bool *reached = graph_reach(f->arena, &backward, f->blocks, NULL);
    if (!reached) return false;
    uint32_t *stack = arena_alloc(f->arena, ((size_t)f->blocks + 1) * sizeof *stack);
    if (!stack) return false;
    for (uint32_t b = f->blocks; b-- > 0;) {
        if (reached[b]) continue;
        if (!add_edge(f, b, f->blocks, false)) return false;
        graph_reach_more(&backward, b, reached, stack);
    }
    return true;
}

// Immediate post-dominators, with all edges or without the early ones; NONE where the exit cannot be reached.
static uint32_t *post_dominators(const struct flow *f, bool with_early) {
    struct graph forward, backward;
    if (!make_graph(f, with_early, false, &forward) || !make_graph(f, with_early, true, &backward)) return NULL;
    return graph_dominators(f->arena, &backward, &forward, f->blocks);
}

static bool set_reconvergence(struct flow *f) {
    uint32_t *main_path = post_dominators(f, false), *all = post_dominators(f, true);
    if (!main_path || !all) return false;
    for (uint32_t b = 0; b < f->blocks; b++) {
        struct instruction *i = &f->code[f->first[b + 1] - 1];
        if (!is_branch(i) && i->target != TARGET_TABLE) continue;
        uint32_t meet = main_path[b] != NONE ? main_path[b] : all[b];
        i->reconverge = meet == NONE || meet == f->blocks ? UINT32_MAX : f->first[meet];
    }
    return true;
}

/* -- Entry --------------------------------------------------------------------------------------------------------- */

static bool build(struct flow *f, int32_t *loop) {
    if (!find_blocks(f) || !find_edges(f)) return false;
    uint32_t *loop_of = arena_alloc(f->arena, ((size_t)f->blocks + 1) * sizeof *loop_of);
    if (!loop_of || !find_loops(f, loop_of)) return false;
    if (loop && !number_loops(f, loop_of, loop)) return false;
    return keep_long_exits(f, loop_of) && close_endless(f) && set_reconvergence(f);
}

ptxvm_status cfg_build(struct instruction *code, uint32_t count, int32_t *loop) {
    if (!count) return PTXVM_OK;
    struct flow flow = {.code = code, .count = count, .arena = arena_create(SIZE_MAX)};
    if (!flow.arena) return PTXVM_ERROR_MEMORY;
    ptxvm_status status = !targets_valid(&flow) ? PTXVM_ERROR_ARGUMENT
                          : build(&flow, loop)  ? PTXVM_OK
                                                : PTXVM_ERROR_MEMORY;
    arena_free(flow.arena);
    return status;
}
