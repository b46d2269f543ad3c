// cfg_graph: directed graphs as arrays, and what cfg.c asks of them. All memory comes from the caller's arena; NULL or
// false: there was none. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_CFG_GRAPH_H
#define PTXVM_CFG_GRAPH_H

#include "arena.h"

#include <stdbool.h>

#define NONE UINT32_MAX

// Successors of node v: to[first[v]] .. to[first[v + 1] - 1].
struct graph {
    uint32_t nodes;
    uint32_t *first, *to, *fill;
};

// To build: create, graph_count of each edge's source, graph_counted, graph_add of each edge.
bool graph_create(struct arena *arena, uint32_t nodes, size_t edges, struct graph *out);
void graph_count(struct graph *graph, uint32_t from);
void graph_counted(struct graph *graph);
void graph_add(struct graph *graph, uint32_t from, uint32_t to);

// Nodes that can be reached from root (NONE: no root) and from all nodes with start[v] (may be NULL), those included.
bool *graph_reach(struct arena *arena, const struct graph *graph, uint32_t root, const bool *start);
// Adds what can be reached from root. stack: room for all nodes.
void graph_reach_more(const struct graph *graph, uint32_t root, bool *reached, uint32_t *stack);
// Immediate dominators seen from root; NONE for root and for what cannot be reached. `reverse` has the edges reversed.
uint32_t *graph_dominators(struct arena *arena, const struct graph *graph, const struct graph *reverse, uint32_t root);
// loop_of[v]: header of the innermost loop that v is in (a header is in its own loop); NONE: in none.
bool graph_loops(struct arena *arena, const struct graph *graph, const struct graph *reverse, uint32_t root,
                 uint32_t *loop_of);

#endif
