// launch: one kernel launch. Everything that can be checked was checked when the module was made; what remains is the
// grid. SPDX-License-Identifier: Apache-2.0
#include "launch.h"
#include "context.h"
#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>

static_assert(sizeof(struct driver_launch_attribute) == 72 && offsetof(struct driver_launch_attribute, value) == 8,
              "CUlaunchAttribute");
static_assert(sizeof(struct driver_launch) == 56 && offsetof(struct driver_launch, stream) == 32, "CUlaunchConfig");

// Whether the launch may be told to start early. Such a kernel waits at its top until the launch before it has ended;
// that one has waited likewise, so none runs into work of its own call. The first launch of a call must be an ordinary
// one: it starts when all earlier work of the stream has ended, an earlier call with the same workspace too, and so do
// all behind it.
static bool starts_early(const sage_context *context, const struct module *module, bool early) {
    const struct driver *driver = &context->driver;
    return early && context->dependent_launch && module->dependent_launch && driver->api.launch_kernel_ex != NULL &&
           driver->cuda_version >= DRIVER_PROGRAMMATIC_VERSION;
}

static driver_result launch_early(const struct driver_api *api, const struct module *module, unsigned grid_x,
                                  void **params, sage_stream stream) {
    struct driver_launch_attribute programmatic = {.id = DRIVER_LAUNCH_PROGRAMMATIC, .value = {.allowed = 1}};
    const struct driver_launch launch = {.grid = {grid_x, 1, 1},
                                         .block = {module->threads, 1, 1},
                                         .smem_bytes = module->smem_dynamic,
                                         .stream = stream,
                                         .attributes = &programmatic,
                                         .attribute_count = 1};
    return api->launch_kernel_ex(&launch, module->function, params, NULL);
}

sage_status launch_kernel(sage_context *context, const struct module *module, int64_t grid_x,
                          const struct sage_kernel_args *args, bool early, sage_stream stream) {
    const struct driver_api *api = &context->driver.api;
    if (grid_x == 0) return SAGE_OK;
    if (grid_x < 0 || grid_x > INT_MAX)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "%s: a grid of %" PRId64 " blocks; at most %d",
                             module->entry, grid_x, INT_MAX);
    void *params[] = {(void *)(uintptr_t)args}; // the driver's list is not const, but it only copies from there
    bool pushed;
    SAGE_TRY(driver_enter(context, &pushed));
    driver_result result = starts_early(context, module, early)
                               ? launch_early(api, module, (unsigned)grid_x, params, stream)
                               : api->launch_kernel(module->function, (unsigned)grid_x, 1, 1, module->threads, 1, 1,
                                                    module->smem_dynamic, stream, params, NULL);
    driver_leave(context, pushed);
    return driver_check(context, result, module->entry);
}
