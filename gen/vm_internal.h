// vm_internal: what the files of vm_driver share: its state, the frame of a call, the entry points. Not for others.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VM_INTERNAL_H
#define SAGE_GEN_VM_INTERNAL_H

#include "driver.h"
#include "vm_driver.h"
#include <pthread.h>

// Results beyond those of driver.h (values are the driver's ABI).
enum { RESULT_INVALID_HANDLE = 400, RESULT_LAUNCH_FAILED = 719, RESULT_TIMEOUT = 702 };
enum {
    VM_SMEM_DEFAULT_BYTES = 48 << 10, /* dynamic shared memory of a block without opting in */
    VM_ERROR_BYTES = 1024,
    VM_FINDINGS_MAX = 64, /* of a launch */
    /* Newer than any toolkit: the machine reads PTX of every version, or says which instruction it does not know. */
    VM_CUDA_VERSION = 99000,
    VM_CAPTURE_UNSUPPORTED = 900, /* CUresult */
    VM_CAPTURE_UNMATCHED = 903    /* CUresult */
};

struct driver_function_handle {
    driver_module module;
    ptxvm_kernel *kernel;
    int smem_dynamic_max; /* bytes */
    driver_function next;
};

struct driver_module_handle {
    ptxvm_module *module;
    char *image;
    struct linemap map;
    driver_function functions;
    driver_module next;
};

struct driver_event_handle {
    double seconds;
};

struct vm_state {
    pthread_mutex_t lock;
    struct vm_driver_options options;
    ptxvm *vm;
    int references; /* of the primary context */
    driver_module modules;
    driver_module running; /* whose kernel is being launched */
    bool fatal;            /* a finding of that launch ended it */
    struct vm_driver_totals totals;
    driver_stream capturing;    /* where captured is not NULL */
    driver_graph captured;      /* so far; NULL: no stream is being captured */
    char error[VM_ERROR_BYTES]; /* of the last call that failed in the machine */
};
extern struct vm_state vm;

/* -- Calls: what an entry does is between enter and leave ---- */

bool vm_enter(void); // false: there is no machine; the lock is held all the same
driver_result vm_leave(driver_result result);
// The driver's result for a status of the machine, whose sentence is kept for cuGetErrorString.
driver_result vm_checked(ptxvm_status status);

// Under the lock. Runs a launch now.
driver_result vm_run(driver_function function, const struct ptxvm_launch *launch);
// The same of a stream that is being captured: the launch, whose parameters are handed over, becomes part of the graph.
void vm_capture_add(driver_function function, const struct ptxvm_launch *launch);
bool vm_is_capturing(driver_stream stream);
driver_result vm_unless_capturing(driver_stream stream); // what a capture does not take is an error

driver_context vm_primary(void);
int vm_smem_optin_bytes(int sm);
void vm_modules_free(void);
// Within ptxvm_run, under the lock.
void vm_on_finding(void *user, const struct ptxvm_finding *finding);

// One declaration per entry, so that its type is that of the table in driver.h.
#define VM_ENTRY_DECLARE(member, symbol, required, parameters) driver_result vm_entry_##member parameters;
DRIVER_ENTRIES(VM_ENTRY_DECLARE)

#endif
