// workspace: where each intermediate of a call lies in the caller's workspace. In: metadata of the kernels and a shape.
// Out: offsets and a total, in 64-bit arithmetic that cannot wrap. A pure function: no device, no context, no state.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_WORKSPACE_H
#define SAGE_WORKSPACE_H

#include "meta.h"
#include <stdbool.h>

enum {
    WORKSPACE_ALIGNMENT = 256,         /* bytes, of the caller's pointer */
    WORKSPACE_REGION_ALIGNMENT = 1024, /* bytes, of each region, from the start of the workspace */
    WORKSPACE_SPLIT_KEYS = 256,        /* keys of one part of the statistics, as long as there are few parts */
    WORKSPACE_SPLITS_MAX = 64,
    /* K and V bytes by which statistics run ahead of quantising: about what the blocks of a GPU have in flight, so that
     * few of them wait; less than its L2 holds, so that the second read does not go to memory. */
    WORKSPACE_LEAD_BYTES = 10 << 20
};

// X(name): in the order of their offsets; each is the pointer of that name in struct sage_kernel_args.
#define WORKSPACE_REGIONS(X)                                                                                           \
    X(q_tiles) X(k_tiles) X(v_tiles) X(q_scale) X(v_scale) X(progress) X(stats) X(k_mean) X(lse_bias) X(q_mean) X(k_centred) X(delta_s)

#define WORKSPACE_REGION_INDEX(name) WORKSPACE_##name,
enum workspace_region_index { WORKSPACE_REGIONS(WORKSPACE_REGION_INDEX) WORKSPACE_REGION_COUNT };

struct workspace_region {
    uint64_t offset; /* bytes from the start of the workspace */
    uint64_t bytes;  /* a multiple of WORKSPACE_REGION_ALIGNMENT; 0: this call does not have it */
};

struct workspace_layout {
    int64_t q_tile_count, k_tile_count; /* per head */
    int64_t splits;                     /* parts of the sequence that statistics are taken over */
    int64_t stats_lead;                 /* tensors (K or V of a head) by which statistics run ahead of quantising */
    struct workspace_region region[WORKSPACE_REGION_COUNT];
    uint64_t bytes; /* of the whole workspace; never 0, also where there is no work */
};

// NULL if the numbers of shape are each in range, else what is wrong with which, written to why.
const char *workspace_check_shape(const sage_attention_shape *shape, char why[256]);
// Lays the regions out. shape must have passed workspace_check_shape. False: the total does not fit 63 bits; *out is
// then untouched.
bool workspace_layout_make(const struct meta *meta, const sage_attention_shape *shape, struct workspace_layout *out);

#endif
