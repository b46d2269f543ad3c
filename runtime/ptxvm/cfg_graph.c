// cfg_graph: reachability, dominators (Lengauer and Tarjan 1979, with path compression) and loops (nesting by a
// depth-first tree and union-find, after Tarjan 1974 and Havlak 1997). SPDX-License-Identifier: Apache-2.0
#include "cfg_graph.h"

/* -- Graphs -------------------------------------------------------------------------------------------------------- */

bool graph_create(struct arena *arena, uint32_t nodes, size_t edges, struct graph *out) {
    out->nodes = nodes;
    out->first = arena_alloc(arena, ((size_t)nodes + 1) * sizeof *out->first);
    out->fill = arena_alloc(arena, ((size_t)nodes + 1) * sizeof *out->fill);
    out->to = arena_alloc(arena, edges * sizeof *out->to);
    return edges < NONE && out->first && out->fill && out->to;
}

void graph_count(struct graph *graph, uint32_t from) {
    graph->first[from + 1]++;
}

void graph_counted(struct graph *graph) {
    for (uint32_t v = 0; v < graph->nodes; v++) {
        graph->first[v + 1] += graph->first[v];
        graph->fill[v] = graph->first[v];
    }
}

void graph_add(struct graph *graph, uint32_t from, uint32_t to) {
    graph->to[graph->fill[from]++] = to;
}

void graph_reach_more(const struct graph *graph, uint32_t root, bool *reached, uint32_t *stack) {
    if (reached[root]) return;
    uint32_t depth = 0;
    reached[root] = true;
    stack[depth++] = root;
    while (depth) {
        uint32_t v = stack[--depth];
        for (uint32_t e = graph->first[v]; e < graph->first[v + 1]; e++) {
            uint32_t to = graph->to[e];
            if (reached[to]) continue;
            reached[to] = true;
            stack[depth++] = to;
        }
    }
}

bool *graph_reach(struct arena *arena, const struct graph *graph, uint32_t root, const bool *start) {
    bool *reached = arena_alloc(arena, graph->nodes);
    uint32_t *stack = arena_alloc(arena, graph->nodes * sizeof *stack);
    if (!reached || !stack) return NULL;
    if (root != NONE) graph_reach_more(graph, root, reached, stack);
    for (uint32_t v = 0; start && v < graph->nodes; v++)
        if (start[v]) graph_reach_more(graph, v, reached, stack);
    return reached;
}

/* -- Depth-first numbering ----------------------------------------------------------------------------------------- */

// Nodes by the order in which a depth-first search meets them.
struct search {
    uint32_t count;   /* nodes met */
    uint32_t *vertex; /* number -> node */
    uint32_t *number; /* node -> number, NONE: not met */
    uint32_t *parent; /* number -> number of the parent in the tree */
    uint32_t *last;   /* number -> largest number below it in the tree */
};

static uint32_t *array_of(struct arena *arena, uint32_t nodes, uint32_t value) {
    uint32_t *array = arena_alloc(arena, ((size_t)nodes + 1) * sizeof *array);
    for (uint32_t v = 0; array && v <= nodes; v++) array[v] = value;
    return array;
}

static void meet(struct search *s, uint32_t node, uint32_t parent) {
    s->number[node] = s->count;
    s->parent[s->count] = parent;
    s->vertex[s->count++] = node;
}

// `edge`: next edge to follow of each number; the path to the root is in `parent`.
static void depth_first(struct search *s, const struct graph *graph, uint32_t root, uint32_t *edge) {
    meet(s, root, NONE);
    edge[0] = graph->first[root];
    for (uint32_t at = 0; at != NONE;) {
        uint32_t v = s->vertex[at];
        if (edge[at] == graph->first[v + 1]) {
            s->last[at] = s->count - 1;
            at = s->parent[at];
            continue;
        }
        uint32_t to = graph->to[edge[at]++];
        if (s->number[to] != NONE) continue;
        meet(s, to, at);
        at = s->number[to];
        edge[at] = graph->first[to];
    }
}

static bool search_graph(struct arena *arena, const struct graph *graph, uint32_t root, struct search *out) {
    *out = (struct search){.vertex = array_of(arena, graph->nodes, NONE),
                           .number = array_of(arena, graph->nodes, NONE),
                           .parent = array_of(arena, graph->nodes, NONE),
                           .last = array_of(arena, graph->nodes, NONE)};
    uint32_t *edge = array_of(arena, graph->nodes, 0);
    if (!out->vertex || !out->number || !out->parent || !out->last || !edge) return false;
    depth_first(out, graph, root, edge);
    return true;
}

/* -- Dominators: all arrays go by depth-first numbers -------------------------------------------------------------- */

struct dominators {
    struct search search;
    uint32_t *semi, *ancestor, *label, *bucket, *next, *idom, *path;
};

// The number with the least semidominator on the way up to the root of v's tree in the forest; shortens that way.
static uint32_t evaluate(struct dominators *d, uint32_t v) {
    if (d->ancestor[v] == NONE) return v;
    uint32_t depth = 0;
    for (uint32_t u = v; d->ancestor[d->ancestor[u]] != NONE; u = d->ancestor[u]) d->path[depth++] = u;
    while (depth) {
        uint32_t u = d->path[--depth], above = d->ancestor[u];
        if (d->semi[d->label[above]] < d->semi[d->label[u]]) d->label[u] = d->label[above];
        d->ancestor[u] = d->ancestor[above];
    }
    return d->label[v];
}

static void find_semidominator(struct dominators *d, const struct graph *reverse, uint32_t w) {
    uint32_t node = d->search.vertex[w];
    for (uint32_t e = reverse->first[node]; e < reverse->first[node + 1]; e++) {
        uint32_t v = d->search.number[reverse->to[e]];
        if (v == NONE) continue;
        uint32_t u = evaluate(d, v);
        if (d->semi[u] < d->semi[w]) d->semi[w] = d->semi[u];
    }
}

static void run_dominators(struct dominators *d, const struct graph *reverse) {
    const uint32_t *parent = d->search.parent;
    for (uint32_t w = d->search.count; w-- > 1;) {
        find_semidominator(d, reverse, w);
        d->next[w] = d->bucket[d->semi[w]];
        d->bucket[d->semi[w]] = w;
        d->ancestor[w] = parent[w];
        for (uint32_t v = d->bucket[parent[w]]; v != NONE; v = d->next[v]) {
            uint32_t u = evaluate(d, v);
            d->idom[v] = d->semi[u] < d->semi[v] ? u : parent[w];
        }
        d->bucket[parent[w]] = NONE;
    }
    for (uint32_t w = 1; w < d->search.count; w++)
        if (d->idom[w] != d->semi[w]) d->idom[w] = d->idom[d->idom[w]];
}

uint32_t *graph_dominators(struct arena *arena, const struct graph *graph, const struct graph *reverse, uint32_t root) {
    uint32_t nodes = graph->nodes;
    struct dominators d = {.semi = array_of(arena, nodes, 0),
                           .ancestor = array_of(arena, nodes, NONE),
                           .label = array_of(arena, nodes, 0),
                           .bucket = array_of(arena, nodes, NONE),
                           .next = array_of(arena, nodes, NONE),
                           .idom = array_of(arena, nodes, NONE),
                           .path = array_of(arena, nodes, NONE)};
    uint32_t *result = array_of(arena, nodes, NONE);
    if (!search_graph(arena, graph, root, &d.search) || !result) return NULL;
    if (!d.semi || !d.ancestor || !d.label || !d.bucket || !d.next || !d.idom || !d.path) return NULL;
    for (uint32_t v = 0; v < nodes; v++) d.semi[v] = d.label[v] = v;
    run_dominators(&d, reverse);
    for (uint32_t w = 1; w < d.search.count; w++) result[d.search.vertex[w]] = d.search.vertex[d.idom[w]];
    return result;
}

/* -- Loops: all arrays but loop_of go by depth-first numbers ------------------------------------------------------- */

struct loops {
    struct search search;
    const struct graph *reverse;
    uint32_t *joined; /* union-find: the header that a number was joined to, itself: not yet */
    uint32_t *header; /* of the innermost loop, without its own */
    uint32_t *mark;   /* the loop whose work list has had the number */
    uint32_t *work;
    bool *is_header;
};

static uint32_t find(struct loops *l, uint32_t v) {
    uint32_t top = v;
    while (l->joined[top] != top) top = l->joined[top];
    while (l->joined[v] != top) {
        uint32_t above = l->joined[v];
        l->joined[v] = top;
        v = above;
    }
    return top;
}

static bool is_below(const struct loops *l, uint32_t v, uint32_t above) {
    return above <= v && v <= l->search.last[above];
}

// Adds to the work list of the loop of w the sources of edges into v: only back edges, or all but those.
static uint32_t add_sources(struct loops *l, uint32_t w, uint32_t v, bool back_edges, uint32_t length) {
    uint32_t node = l->search.vertex[v];
    for (uint32_t e = l->reverse->first[node]; e < l->reverse->first[node + 1]; e++) {
        uint32_t source = l->search.number[l->reverse->to[e]];
        if (source == NONE || is_below(l, source, v) != back_edges) continue;
        if (back_edges) l->is_header[w] = true;
        uint32_t top = find(l, source);
        if (!is_below(l, top, w) || top == w || l->mark[top] == w) continue; /* from outside: irreducible; or known */
        l->mark[top] = w;
        l->work[length++] = top;
    }
    return length;
}

static void collect_loop(struct loops *l, uint32_t w) {
    uint32_t length = add_sources(l, w, w, true, 0);
    for (uint32_t k = 0; k < length; k++) length = add_sources(l, w, l->work[k], false, length);
    for (uint32_t k = 0; k < length; k++) {
        l->header[l->work[k]] = w;
        l->joined[l->work[k]] = w;
    }
}

bool graph_loops(struct arena *arena, const struct graph *graph, const struct graph *reverse, uint32_t root,
                 uint32_t *loop_of) {
    struct loops l = {.reverse = reverse,
                      .joined = array_of(arena, graph->nodes, 0),
                      .header = array_of(arena, graph->nodes, NONE),
                      .mark = array_of(arena, graph->nodes, NONE),
                      .work = array_of(arena, graph->nodes, 0),
                      .is_header = arena_alloc(arena, graph->nodes)};
    if (!search_graph(arena, graph, root, &l.search)) return false;
    if (!l.joined || !l.header || !l.mark || !l.work || !l.is_header) return false;
    for (uint32_t v = 0; v < graph->nodes; v++) l.joined[v] = v, loop_of[v] = NONE;
    for (uint32_t w = l.search.count; w-- > 0;) collect_loop(&l, w);
    for (uint32_t v = 0; v < l.search.count; v++) {
        uint32_t header = l.is_header[v] ? v : l.header[v];
        if (header != NONE) loop_of[l.search.vertex[v]] = l.search.vertex[header];
    }
    return true;
}
