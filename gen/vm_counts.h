// vm_counts: what the PTX virtual machine counted, for people: instructions by class for an iteration of the main loop
// and for a score, bank conflicts by template line, sectors of global memory. In: the kernels that are loaded. Out:
// text. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VM_COUNTS_H
#define SAGE_GEN_VM_COUNTS_H

#include "vm_driver.h"

// The loops of a kernel that hold matrix products, all launches since it was loaded.
struct vm_main_loops {
    uint64_t wavefronts, wavefronts_ideal; /* of shared memory */
    uint64_t iterations;                   /* of warps */
};

// Of one kernel, all launches since it was loaded.
struct vm_kernel_counts {
    uint64_t warps[PTXVM_CLASS_COUNT]; /* warp instructions */
    uint64_t wavefronts;               /* of shared memory */
};

// Of the loaded kernel of that name; all 0 where there is none.
struct vm_kernel_counts vm_counts_kernel(const char *name);
// Appends a section for each kernel that ran.
void vm_counts_text(struct buf *out);
// Of all attention kernels that are loaded.
struct vm_main_loops vm_counts_main_loops(void);

#endif
