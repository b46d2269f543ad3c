// arch: what each GPU target can do: the limits and MMA families that plan_applicable() checks. A table; asks no GPU.
// Source: CUDA C Programming Guide, "Compute Capabilities"; PTX ISA, target notes of mma, wgmma and cp.async.bulk.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_ARCH_H
#define SAGE_GEN_ARCH_H

#include "spec.h"

struct arch {
    enum spec_target target;
    int sm;                /* compute capability times ten */
    int smem_block_bytes;  /* most dynamic shared memory of a block */
    int registers_sm;      /* 32-bit registers of a multiprocessor */
    int l2_mb;             /* of the L2 cache of its smaller GPUs, what K and V of several heads may take */
    bool fp8_mma;          /* e4m3 operands in mma.sync */
    bool block_scaled_mma; /* e2m1 operands with block scales in mma.sync */
    bool wgmma;            /* warpgroup MMA, with setmaxnreg and the bulk copy engine */
};

const struct arch *arch_of(enum spec_target target);
// What a target that a spec lists stands for on a GPU: itself, or the other member of its family, which the same templates are
// for (sm_120a: sm_121a on sm_121, which NVRTC knows from 12.9 on).
enum spec_target arch_on(enum spec_target listed, int sm);
// Of the targets that a spec lists, the one that suits the GPU best; of equals the first. -1: none runs there.
int arch_native(const struct spec_int_list *listed, int sm);

#endif
