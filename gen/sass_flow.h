// sass_flow: a kernel's basic blocks, its natural loops, and the way round a loop that is taken in the steady state.
// Knows branches only, no opcode. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SASS_FLOW_H
#define SAGE_GEN_SASS_FLOW_H

#include "sass_listing.h"

struct sass_block {
    int first, last; /* instructions */
    int *succ, *pred;
    int succ_count, pred_count;
    int order;     /* in reverse postorder; -1: cannot be reached */
    int dominator; /* immediate; -1: cannot be reached. The entry's is itself */
};

struct sass_loop {
    int head;   /* block */
    bool *has;  /* of each block */
    int parent; /* the smallest loop around it; -1: none */
    int depth;  /* 1: in no other loop */
    bool innermost;
};

struct sass_flow {
    struct sass_block *block;
    int block_count;
    struct sass_loop *loop; /* by the address of the head */
    int loop_count;
    int irreducible; /* backward edges that are no loop's: into the middle of a cycle */
};

// What a block is worth on the steady way; see sass_flow_way.
struct sass_weight {
    int work, copies, slots;
};

void sass_flow_make(struct sass_flow *out, const struct sass_kernel *kernel);
void sass_flow_free(struct sass_flow *flow);

// The blocks from the loop's head back to it on the way with the most work, of these with the most copies, of these
// with the fewest slots. Inner loops are passed once. Returns the number of blocks written to way (block_count places).
int sass_flow_way(const struct sass_flow *flow, const struct sass_loop *loop, const struct sass_weight *weight,
                  int *way);
// Whether every way round the loop passes the block.
bool sass_flow_always(const struct sass_flow *flow, const struct sass_loop *loop, int block);

#endif
