// launch: one cuLaunchKernel. Everything that can be checked was checked when the module was made; what remains is the
// grid. SPDX-License-Identifier: Apache-2.0
#include "launch.h"
#include "context.h"
#include <inttypes.h>
#include <limits.h>

sage_status launch_kernel(sage_context *context, const struct module *module, int64_t grid_x,
                          const struct sage_kernel_args *args, sage_stream stream) {
    if (grid_x == 0) return SAGE_OK;
    if (grid_x < 0 || grid_x > INT_MAX)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "%s: a grid of %" PRId64 " blocks; at most %d",
                             module->entry, grid_x, INT_MAX);
    void *params[] = {(void *)(uintptr_t)args}; // the driver's list is not const, but it only copies from there
    bool pushed;
    SAGE_TRY(driver_enter(context, &pushed));
    driver_result result = context->driver.api.launch_kernel(module->function, (unsigned)grid_x, 1, 1, module->threads,
                                                             1, 1, module->smem_dynamic, stream, params, NULL);
    driver_leave(context, pushed);
    return driver_check(context, result, module->entry);
}
