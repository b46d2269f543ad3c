// constants: fills the slots of a register file that do not change while a warp runs: immediates, addresses of symbols,
// special registers. SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <string.h>

// Coordinates of a thread of the block.
static void thread_of(const struct run *r, const struct warp *w, unsigned lane, unsigned out[3]) {
    unsigned linear = w->id * LANES + lane;
    out[0] = linear % r->threads[0];
    out[1] = linear / r->threads[0] % r->threads[1];
    out[2] = linear / r->threads[0] / r->threads[1];
}

static uint64_t dimension_value(const struct run *r, const struct warp *w, unsigned special, unsigned base,
                                int *handled) {
    unsigned d = special - base;
    const struct block *b = w->block;
    *handled = 1;
    switch (base) {
    case PTX_SPECIAL_NTID_X:
        return r->threads[d];
    case PTX_SPECIAL_CTAID_X:
        return b->index[d];
    case PTX_SPECIAL_NCTAID_X:
        return r->grid[d];
    case PTX_SPECIAL_CLUSTERID_X:
        return b->index[d] / r->cluster[d];
    case PTX_SPECIAL_NCLUSTERID_X:
        return r->grid[d] / r->cluster[d];
    case PTX_SPECIAL_CLUSTER_CTAID_X:
        return b->index[d] % r->cluster[d];
    case PTX_SPECIAL_CLUSTER_NCTAID_X:
        return r->cluster[d];
    default:
        *handled = 0;
        return 0;
    }
}

// Special registers in triples x, y, z other than %tid.
static bool triple_value(const struct run *r, const struct warp *w, unsigned special, uint64_t *value) {
    static const uint8_t bases[] = {PTX_SPECIAL_NTID_X,          PTX_SPECIAL_CTAID_X,      PTX_SPECIAL_NCTAID_X,
                                    PTX_SPECIAL_CLUSTERID_X,     PTX_SPECIAL_NCLUSTERID_X, PTX_SPECIAL_CLUSTER_CTAID_X,
                                    PTX_SPECIAL_CLUSTER_NCTAID_X};
    for (size_t k = 0; k < sizeof bases; k++) {
        int handled = 0;
        if (special < bases[k] || special >= bases[k] + 3u) continue;
        *value = dimension_value(r, w, special, bases[k], &handled);
        return handled;
    }
    return false;
}

static uint64_t lane_mask(unsigned special, unsigned lane) {
    uint32_t bit = UINT32_C(1) << lane, below = bit - 1;
    switch (special) {
    case PTX_SPECIAL_LANEMASK_EQ:
        return bit;
    case PTX_SPECIAL_LANEMASK_LE:
        return below | bit;
    case PTX_SPECIAL_LANEMASK_LT:
        return below;
    case PTX_SPECIAL_LANEMASK_GE:
        return (uint32_t)~below;
    default:
        return (uint32_t) ~(below | bit);
    }
}

static uint64_t scalar_value(const struct run *r, const struct warp *w, unsigned special, unsigned lane) {
    const struct block *b = w->block;
    uint64_t linear = b->index[0] + (uint64_t)r->grid[0] * (b->index[1] + (uint64_t)r->grid[1] * b->index[2]);
    switch (special) {
    case PTX_SPECIAL_LANEID:
        return lane;
    case PTX_SPECIAL_WARPID:
        return w->id;
    case PTX_SPECIAL_NWARPID:
        return r->block_warps;
    case PTX_SPECIAL_SMID:
        return linear % r->vm->options.multiprocessors;
    case PTX_SPECIAL_NSMID:
        return r->vm->options.multiprocessors;
    case PTX_SPECIAL_GRIDID:
        return 1;
    case PTX_SPECIAL_CLUSTER_CTARANK:
        return b->rank;
    case PTX_SPECIAL_CLUSTER_NCTARANK:
        return r->blocks;
    case PTX_SPECIAL_IS_EXPLICIT_CLUSTER:
        return r->explicit_cluster;
    case PTX_SPECIAL_DYNAMIC_SMEM_SIZE:
        return r->launch->smem_dynamic_bytes;
    case PTX_SPECIAL_TOTAL_SMEM_SIZE:
        return r->shared_bytes;
    default:
        return 0;
    }
}

static uint64_t special_value(const struct run *r, const struct warp *w, unsigned special, unsigned lane) {
    uint64_t value = 0;
    if (special >= PTX_SPECIAL_TID_X && special <= PTX_SPECIAL_TID_Z) {
        unsigned thread[3];
        thread_of(r, w, lane, thread);
        return thread[special - PTX_SPECIAL_TID_X];
    }
    if (special >= PTX_SPECIAL_LANEMASK_EQ && special <= PTX_SPECIAL_LANEMASK_GT) return lane_mask(special, lane);
    if (triple_value(r, w, special, &value)) return value;
    return scalar_value(r, w, special, lane);
}

static uint64_t space_base(const struct run *r, const struct warp *w, unsigned space, uint64_t local_base) {
    switch (space) {
    case PTX_SHARED:
        return SHARED_BASE + ((uint64_t)w->block->rank << SHARED_RANK_SHIFT);
    case PTX_GLOBAL:
        return r->kernel->module->global_base;
    case PTX_CONST:
        return r->kernel->module->const_base;
    case PTX_LOCAL:
        return local_base;
    default:
        return 0;
    }
}

static uint64_t lane_value(const struct run *r, const struct warp *w, const struct ptx_constant *c, uint64_t local_base,
                           unsigned lane) {
    switch (c->kind) {
    case PTX_SPECIAL:
        return special_value(r, w, c->special, lane);
    case PTX_SYMBOL:
        return space_base(r, w, c->space, local_base) + c->value;
    default:
        return c->value;
    }
}

static void fill_one(const struct run *r, const struct warp *w, const struct ptx_constant *c, uint64_t local_base,
                     uint8_t *file) {
    uint32_t mask = 0;
    for (unsigned lane = 0; lane < LANES; lane++) {
        uint64_t value = lane_value(r, w, c, local_base, lane);
        uint32_t narrow = (uint32_t)value;
        if (c->is_mask)
            mask |= (uint32_t)(value != 0) << lane;
        else if (c->wide)
            memcpy(file + c->slot + lane * 8, &value, 8);
        else
            memcpy(file + c->slot + lane * 4, &narrow, 4);
    }
    if (c->is_mask) memcpy(file + c->slot, &mask, 4);
}

void warp_fill_constants(struct run *r, struct warp *w, const struct ptx_function *f, uint8_t *file,
                         uint64_t local_base, bool immediates) {
    for (unsigned k = 0; k < f->constants; k++) {
        const struct ptx_constant *c = &f->constant[k];
        if (c->kind != PTX_IMMEDIATE || immediates) fill_one(r, w, c, local_base, file);
    }
}
