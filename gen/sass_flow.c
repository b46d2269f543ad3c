// sass_flow: see sass_flow.h. Dominators after Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001).
// SPDX-License-Identifier: Apache-2.0
#include "sass_flow.h"

#include "buf.h"
#include <stdlib.h>
#include <string.h>

/* -- Blocks ----------------------------------------------------------------- */

static int *block_numbers(const struct sass_kernel *k, int *count) {
    bool *starts = xcalloc((size_t)k->count + 1, sizeof *starts);
    int *number = xcalloc((size_t)k->count + 1, sizeof *number);
    starts[0] = true;
    for (int i = 0; i < k->count; i++) {
        const struct sass_instr *instr = &k->item[i];
        for (int j = 0; j < instr->target_count; j++) starts[instr->target[j]] = true;
        if (instr->next != SASS_FALLS) starts[i + 1] = true;
    }
    *count = 0;
    for (int i = 0; i < k->count; i++) {
        *count += starts[i];
        number[i] = *count - 1;
    }
    free(starts);
    return number;
}

static void add_edge(struct sass_block *block, int from, int to) {
    for (int i = 0; i < block[from].succ_count; i++)
        if (block[from].succ[i] == to) return;
    block[from].succ[block[from].succ_count++] = to;
}

static void make_edges(struct sass_flow *f, const struct sass_kernel *k, const int *number) {
    for (int b = 0; b < f->block_count; b++) {
        const int last = f->block[b].last;
        const struct sass_instr *instr = &k->item[last];
        f->block[b].succ = xcalloc((size_t)instr->target_count + 1, sizeof(int));
        for (int j = 0; j < instr->target_count; j++) add_edge(f->block, b, number[instr->target[j]]);
        const bool falls = instr->next == SASS_FALLS || instr->next == SASS_CHOOSES;
        if (falls && last + 1 < k->count) add_edge(f->block, b, number[last + 1]);
        for (int j = 0; j < f->block[b].succ_count; j++) f->block[f->block[b].succ[j]].pred_count++;
    }
    for (int b = 0; b < f->block_count; b++) {
        f->block[b].pred = xcalloc((size_t)f->block[b].pred_count + 1, sizeof(int));
        f->block[b].pred_count = 0;
    }
    for (int b = 0; b < f->block_count; b++)
        for (int j = 0; j < f->block[b].succ_count; j++) {
            struct sass_block *to = &f->block[f->block[b].succ[j]];
            to->pred[to->pred_count++] = b;
        }
}

static void make_blocks(struct sass_flow *f, const struct sass_kernel *k) {
    int *number = block_numbers(k, &f->block_count);
    f->block = xcalloc((size_t)f->block_count + 1, sizeof *f->block);
    for (int i = k->count - 1; i >= 0; i--) f->block[number[i]].first = i;
    for (int i = 0; i < k->count; i++) f->block[number[i]].last = i;
    make_edges(f, k, number);
    free(number);
}

/* -- Orders ------------------------------------------------------------------ */

// A depth-first walk that keeps its own stack.
struct walk {
    int *stack, *next_succ, *post;
    char *state; /* of each block: 0 new, 1 on the stack, 2 done */
    int depth, count;
};

static void walk_free(struct walk *w) {
    free(w->stack);
    free(w->next_succ);
    free(w->post);
    free(w->state);
}

static void walk_push(struct walk *w, int block) {
    w->state[block] = 1;
    w->next_succ[block] = 0;
    w->stack[w->depth++] = block;
}

// Walks from a block through the blocks of `within` (NULL: all); post then has those reached, in postorder.
static struct walk walk_from(const struct sass_flow *f, int from, const bool *within) {
    const size_t n = (size_t)f->block_count + 1;
    struct walk w = {.stack = xcalloc(n, sizeof(int)),
                     .next_succ = xcalloc(n, sizeof(int)),
                     .post = xcalloc(n, sizeof(int)),
                     .state = xcalloc(n, 1)};
    walk_push(&w, from);
    while (w.depth > 0) {
        const int at = w.stack[w.depth - 1];
        if (w.next_succ[at] == f->block[at].succ_count) {
            w.state[at] = 2;
            w.post[w.count++] = at;
            w.depth--;
            continue;
        }
        const int to = f->block[at].succ[w.next_succ[at]++];
        if (w.state[to] == 0 && (!within || within[to])) walk_push(&w, to);
    }
    return w;
}

/* -- Dominators --------------------------------------------------------------- */

static int common_dominator(const struct sass_flow *f, int a, int b) {
    while (a != b) {
        while (f->block[a].order > f->block[b].order) a = f->block[a].dominator;
        while (f->block[b].order > f->block[a].order) b = f->block[b].dominator;
    }
    return a;
}

static int dominator_of(const struct sass_flow *f, int b) {
    int found = -1;
    for (int i = 0; i < f->block[b].pred_count; i++) {
        int pred = f->block[b].pred[i];
        if (f->block[pred].dominator < 0) continue;
        found = found < 0 ? pred : common_dominator(f, pred, found);
    }
    return found;
}

static void make_dominators(struct sass_flow *f) {
    struct walk w = walk_from(f, 0, NULL);
    for (int b = 0; b < f->block_count; b++) f->block[b].order = f->block[b].dominator = -1;
    for (int i = 0; i < w.count; i++) f->block[w.post[i]].order = w.count - 1 - i;
    f->block[0].dominator = 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = w.count - 2; i >= 0; i--) { // reverse postorder, without the entry
            int b = w.post[i], found = dominator_of(f, b);
            changed |= found != f->block[b].dominator;
            f->block[b].dominator = found;
        }
    }
    walk_free(&w);
}

static bool dominates(const struct sass_flow *f, int a, int b) {
    while (f->block[b].order > f->block[a].order) b = f->block[b].dominator;
    return a == b;
}

/* -- Loops -------------------------------------------------------------------- */

static struct sass_loop *loop_with_head(struct sass_flow *f, int head) {
    for (int i = 0; i < f->loop_count; i++)
        if (f->loop[i].head == head) return &f->loop[i];
    struct sass_loop *l = &f->loop[f->loop_count++]; // at most one a block
    *l = (struct sass_loop){.head = head, .has = xcalloc((size_t)f->block_count + 1, sizeof(bool))};
    l->has[head] = true;
    return l;
}

// Adds what reaches the latch without passing the head.
static void loop_add(const struct sass_flow *f, struct sass_loop *l, int latch) {
    int *stack = xcalloc((size_t)f->block_count + 1, sizeof *stack), depth = 0;
    if (!l->has[latch]) stack[depth++] = latch;
    l->has[latch] = true;
    while (depth > 0) {
        const struct sass_block *b = &f->block[stack[--depth]];
        for (int i = 0; i < b->pred_count; i++) {
            const int pred = b->pred[i];
            if (l->has[pred] || f->block[pred].order < 0) continue;
            l->has[pred] = true;
            stack[depth++] = pred;
        }
    }
    free(stack);
}

static int size_of(const struct sass_flow *f, const struct sass_loop *l) {
    int size = 0;
    for (int b = 0; b < f->block_count; b++) size += l->has[b];
    return size;
}

static void nest_loops(struct sass_flow *f) {
    for (int i = 0; i < f->loop_count; i++) {
        struct sass_loop *l = &f->loop[i];
        l->parent = -1;
        l->depth = 1;
        l->innermost = true;
        for (int j = 0; j < f->loop_count; j++) {
            if (i == j) continue;
            if (f->loop[i].has[f->loop[j].head]) l->innermost = false;
            if (!f->loop[j].has[l->head]) continue;
            l->depth++;
            if (l->parent < 0 || size_of(f, &f->loop[j]) < size_of(f, &f->loop[l->parent])) l->parent = j;
        }
    }
}

static void make_loops(struct sass_flow *f) {
    f->loop = xcalloc((size_t)f->block_count + 1, sizeof *f->loop);
    for (int head = 0; head < f->block_count; head++) {
        for (int i = 0; i < f->block[head].pred_count; i++) {
            const int latch = f->block[head].pred[i];
            if (f->block[latch].order < f->block[head].order || f->block[head].order < 0) continue;
            if (dominates(f, head, latch))
                loop_add(f, loop_with_head(f, head), latch);
            else
                f->irreducible++;
        }
    }
    nest_loops(f);
}

void sass_flow_make(struct sass_flow *out, const struct sass_kernel *kernel) {
    *out = (struct sass_flow){0};
    make_blocks(out, kernel);
    make_dominators(out);
    make_loops(out);
}

void sass_flow_free(struct sass_flow *flow) {
    for (int i = 0; i < flow->loop_count; i++) free(flow->loop[i].has);
    for (int i = 0; i < flow->block_count; i++) {
        free(flow->block[i].succ);
        free(flow->block[i].pred);
    }
    free(flow->loop);
    free(flow->block);
    *flow = (struct sass_flow){0};
}

/* -- Ways round a loop ---------------------------------------------------------- */

bool sass_flow_always(const struct sass_flow *flow, const struct sass_loop *loop, int block) {
    const struct sass_block *head = &flow->block[loop->head];
    for (int i = 0; i < head->pred_count; i++)
        if (loop->has[head->pred[i]] && !dominates(flow, block, head->pred[i])) return false;
    return true;
}

static bool is_better(struct sass_weight a, struct sass_weight b) {
    if (a.work != b.work) return a.work > b.work;
    if (a.copies != b.copies) return a.copies > b.copies;
    return a.slots < b.slots;
}

// From a block on to the head: what is best, and the block it goes to; -1: the head, -2: nowhere.
struct step {
    struct sass_weight weight;
    int to;
};

static struct step best_step(const struct sass_flow *f, const struct sass_loop *loop, const struct step *step,
                             const int *place, int b, struct sass_weight own) {
    struct step best = {.to = -2};
    for (int i = 0; i < f->block[b].succ_count; i++) {
        const int to = f->block[b].succ[i];
        struct step here = {.to = to == loop->head ? -1 : to};
        if (here.to >= 0 && (!loop->has[to] || place[to] >= place[b] || step[to].to == -2)) continue; // an inner loop's
        if (here.to >= 0) here.weight = step[to].weight;
        if (best.to == -2 || is_better(here.weight, best.weight)) best = here;
    }
    best.weight.work += own.work;
    best.weight.copies += own.copies;
    best.weight.slots += own.slots;
    return best;
}

int sass_flow_way(const struct sass_flow *flow, const struct sass_loop *loop, const struct sass_weight *weight,
                  int *way) {
    struct walk w = walk_from(flow, loop->head, loop->has);
    struct step *step = xcalloc((size_t)flow->block_count + 1, sizeof *step);
    int *place = xcalloc((size_t)flow->block_count + 1, sizeof *place), count = 0;
    for (int i = 0; i < w.count; i++) place[w.post[i]] = i;
    for (int i = 0; i < w.count; i++) {
        const int b = w.post[i];
        step[b] = best_step(flow, loop, step, place, b, weight[b]);
    }
    for (int b = loop->head; b >= 0; b = step[b].to) way[count++] = b;
    free(step);
    free(place);
    walk_free(&w);
    return count;
}
