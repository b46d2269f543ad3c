// vm_driver: the PTX virtual machine (runtime/ptxvm) as a CUDA driver: the entry points that runtime/driver.h names,
// for sage_options.driver_entry and device_open. One device; work on streams happens at once; a module's image is that
// of ptx_image.h. In: options. Out: findings of the machine with template lines, counts. Prints nothing.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VM_DRIVER_H
#define SAGE_GEN_VM_DRIVER_H

#include "ptx_image.h"
#include "ptxvm.h"

#define VM_DEVICE_NAME "PTX virtual machine"

// A finding, and where its instruction comes from.
struct vm_finding {
    const struct ptxvm_finding *finding;
    struct ptx_place place;
    const char *text; /* "templates/stage/x.cu.tl:12: error: race on shared memory: ... (kernel, block, warp, lane, PTX
                         line)" */
};

struct vm_driver_options {
    int sm;                   /* compute capability of the device: 80, 90, ... */
    unsigned multiprocessors; /* 0: 4 */
    uint64_t seed;            /* of the order in which warps run */
    unsigned checks;          /* bits of ptxvm_check */
    bool counts;
    // Called during the launch that has the finding; must not call the driver. Texts are valid during the call. NULL:
    // none.
    void (*finding)(void *user, const struct vm_finding *finding);
    void *user;
};

// Sets what the next machine is like: there is one from the first cuDevicePrimaryCtxRetain to the last release. Before
// the first call: sm 90, all checks. false: there is one now, which stays as it is.
bool vm_driver_configure(const struct vm_driver_options *options);

// The address of the entry point; NULL: not one of runtime/driver.h. A launch is run before cuLaunchKernel returns. One
// that faults returns 719 and leaves the machine usable; cuGetErrorString has the machine's sentence. Findings that
// hardware might survive (races, missing fences, memory read before it was written) go to the callback alone.
// **Threads** any; calls wait for each other.
void *vm_driver_entry(const char *symbol);

// Since vm_driver_configure.
struct vm_driver_totals {
    uint64_t launches, thread_instructions, findings;
    double seconds; /* in launches */
};
struct vm_driver_totals vm_driver_totals(void);

// Calls visit for each kernel of each loaded module, in the order of loading; with its counts, where counting is on.
// image and map: of its module.
typedef void vm_driver_visit(void *user, const ptxvm_kernel *kernel, const char *image, const struct linemap *map);
void vm_driver_each_kernel(vm_driver_visit *visit, void *user);

#endif
