// module: loads cubins into the primary context, each once, with a list and reference counts under one lock. The driver
// is given a cubin only after its size and hash were checked, since cuModuleLoadData is told no size.
// SPDX-License-Identifier: Apache-2.0
#include "module.h"
#include "context.h"
#include "kernel_args.h"
#include <stdio.h>
#include <string.h>

static const unsigned smem_default_bytes = 48u << 10; // per block, without opting in

/* -- Loading --------------------------------------------------------------------------------------------------------
 */

static sage_status check_fit(sage_context *context, const struct meta *meta) {
    const struct driver *driver = &context->driver;
    if (meta_target_rank(meta->target, driver->sm) == 0)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s is for %s, which does not run on this GPU (sm_%d)",
                             meta->entry, meta->target, driver->sm);
    if (meta->args_bytes != (int)sizeof(struct sage_kernel_args))
        return context_error(context, SAGE_ERROR_CORRUPT,
                             "%s takes %d bytes of arguments; this libsage passes %zu: made by another version",
                             meta->entry, meta->args_bytes, sizeof(struct sage_kernel_args));
    if (meta->smem_static + meta->smem_dynamic > driver->smem_optin_bytes)
        return context_error(context, SAGE_ERROR_UNSUPPORTED,
                             "%s needs %d bytes of shared memory; a block has %d on this GPU", meta->entry,
                             meta->smem_static + meta->smem_dynamic, driver->smem_optin_bytes);
    return SAGE_OK;
}

static sage_status function_prepare(sage_context *context, const struct meta *meta, struct module *module) {
    const struct driver_api *api = &context->driver.api;
    SAGE_TRY(driver_check(context, api->module_get_function(&module->function, module->handle, meta->entry),
                          "cuModuleGetFunction"));
    int threads_max = 0;
    SAGE_TRY(driver_check(context, api->func_get_attribute(&threads_max, DRIVER_FUNCTION_MAX_THREADS, module->function),
                          "cuFuncGetAttribute"));
    if (meta->threads > threads_max)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s needs blocks of %d threads; the GPU takes %d",
                             meta->entry, meta->threads, threads_max);
    if (module->smem_dynamic > smem_default_bytes)
        SAGE_TRY(driver_check(
            context, api->func_set_attribute(module->function, DRIVER_FUNCTION_MAX_DYNAMIC_SMEM, meta->smem_dynamic),
            "cuFuncSetAttribute"));
    // Where the driver loads lazily, the first launch would load, which a graph capture does not allow.
    return api->func_load ? driver_check(context, api->func_load(module->function), "cuFuncLoad") : SAGE_OK;
}

// In the current context. *module is filled on success; nothing stays loaded on failure.
static sage_status load_current(sage_context *context, const struct meta *meta, const void *cubin,
                                struct module *module) {
    const struct driver_api *api = &context->driver.api;
    SAGE_TRY(driver_check(context, api->module_load_data(&module->handle, cubin), "cuModuleLoadData"));
    sage_status status = function_prepare(context, meta, module);
    if (status != SAGE_OK) api->module_unload(module->handle);
    return status;
}

// Loading is among the calls that a capture in global mode, of any thread, forbids and is ended by; relaxed mode of
// this thread allows it.
static sage_status load(sage_context *context, const struct meta *meta, const void *cubin, struct module *module) {
    const struct driver_api *api = &context->driver.api;
    bool pushed;
    SAGE_TRY(driver_enter(context, &pushed));
    int mode = DRIVER_CAPTURE_RELAXED;
    bool exchanged = api->exchange_capture_mode && api->exchange_capture_mode(&mode) == DRIVER_SUCCESS;
    sage_status status = load_current(context, meta, cubin, module);
    if (exchanged) api->exchange_capture_mode(&mode);
    driver_leave(context, pushed);
    return status;
}

static void unload(sage_context *context, struct module *module) {
    bool pushed;
    if (driver_enter(context, &pushed) == SAGE_OK) {
        context->driver.api.module_unload(module->handle);
        driver_leave(context, pushed);
    }
    context_free(context, module);
}

/* -- List -----------------------------------------------------------------------------------------------------------
 */

static struct module *find(sage_context *context, const struct meta *meta) {
    struct module *module = context->modules;
    while (module &&
           (strcmp(module->cubin_hash, meta->cubin_hash) != 0 || strcmp(module->entry, meta->entry) != 0 ||
            module->threads != (unsigned)meta->threads || module->smem_dynamic != (unsigned)meta->smem_dynamic))
        module = module->next;
    return module;
}

static sage_status acquire_locked(sage_context *context, const struct meta *meta, const void *cubin,
                                  struct module **out) {
    struct module *module = find(context, meta);
    if (!module) {
        module = context_alloc_zeroed(context, sizeof *module);
        if (!module) return SAGE_ERROR_OUT_OF_MEMORY;
        snprintf(module->cubin_hash, sizeof module->cubin_hash, "%s", meta->cubin_hash);
        snprintf(module->entry, sizeof module->entry, "%s", meta->entry);
        module->dependent_launch = meta->dependent_launch != 0;
        module->threads = (unsigned)meta->threads;
        module->smem_dynamic = (unsigned)meta->smem_dynamic;
        sage_status status = load(context, meta, cubin, module);
        if (status != SAGE_OK) {
            context_free(context, module);
            return status;
        }
        module->next = context->modules;
        context->modules = module;
    }
    module->references++;
    *out = module;
    return SAGE_OK;
}

sage_status module_acquire(sage_context *context, const struct meta *meta, const void *cubin, size_t cubin_bytes,
                           struct module **out) {
    if (!context_driver(context))
        return context_error(context, SAGE_ERROR_NO_DEVICE,
                             "the context was created without a GPU (options.device = -1)");
    SAGE_TRY(meta_check_cubin(context, meta, cubin, cubin_bytes));
    SAGE_TRY(check_fit(context, meta));
    pthread_mutex_lock(&context->modules_lock);
    sage_status status = acquire_locked(context, meta, cubin, out);
    pthread_mutex_unlock(&context->modules_lock);
    return status;
}

void module_release(sage_context *context, struct module *module) {
    if (!module) return;
    pthread_mutex_lock(&context->modules_lock);
    bool last = --module->references == 0;
    struct module **link = &context->modules;
    while (last && *link != module) link = &(*link)->next;
    if (last) *link = module->next;
    pthread_mutex_unlock(&context->modules_lock);
    if (last) unload(context, module);
}

void module_release_all(sage_context *context) {
    while (context->modules) {
        struct module *module = context->modules;
        context->modules = module->next;
        unload(context, module);
    }
}
