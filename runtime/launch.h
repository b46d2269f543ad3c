// launch: one kernel on the caller's stream. No allocation, no synchronisation; safe in graph capture.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_LAUNCH_H
#define SAGE_LAUNCH_H

#include "kernel_args.h"
#include "module.h"

// Launches grid_x blocks of module's threads with args as the kernel's one parameter (copied by the driver). early: the
// launch before on the stream is of the same call, so that this one may start while that one runs, where the
// context's options ask for it and kernel and driver know how. grid_x 0: nothing to do, OK. For several launches in a
// row, driver_enter once around them spares each its own. Errors: INVALID_ARGUMENT (grid), CUDA.
sage_status launch_kernel(sage_context *context, const struct module *module, int64_t grid_x,
                          const struct sage_kernel_args *args, bool early, sage_stream stream);

#endif
