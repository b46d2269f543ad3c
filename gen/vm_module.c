// vm_module: modules of the machine's driver, their functions and launches, and what a launch finds.
// SPDX-License-Identifier: Apache-2.0
#include "vm_internal.h"

#include "build.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Modules ---- */

static void module_free(driver_module m) {
    while (m->functions) {
        driver_function next = m->functions->next;
        free(m->functions);
        m->functions = next;
    }
    ptxvm_module_unload(m->module);
    linemap_free(&m->map);
    free(m->image);
    free(m);
}

void vm_modules_free(void) {
    while (vm.modules) {
        driver_module next = vm.modules->next;
        module_free(vm.modules);
        vm.modules = next;
    }
}

// Appends, so that modules are visited in the order of loading.
driver_result vm_entry_module_load_data(driver_module *module, const void *image) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    ptxvm_module *loaded;
    driver_result result = vm_checked(ptxvm_module_load(vm.vm, image, strlen(image), &loaded));
    if (result != DRIVER_SUCCESS) return vm_leave(result);
    driver_module m = xcalloc(1, sizeof *m), *link = &vm.modules;
    m->module = loaded;
    m->image = xstrdup(image);
    ptx_image_map(m->image, &m->map);
    while (*link) link = &(*link)->next;
    *link = *module = m;
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_module_unload(driver_module module) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    driver_module *link = &vm.modules;
    while (*link && *link != module) link = &(*link)->next;
    if (!*link) return vm_leave(RESULT_INVALID_HANDLE);
    *link = module->next;
    module_free(module);
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_module_get_function(driver_function *function, driver_module module, const char *name) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    ptxvm_kernel *kernel;
    if (ptxvm_module_kernel(module->module, name, &kernel) != PTXVM_OK) {
        snprintf(vm.error, sizeof vm.error, "the image has no kernel %s", name);
        return vm_leave(DRIVER_NOT_FOUND);
    }
    driver_function f = xcalloc(1, sizeof *f);
    *f = (struct driver_function_handle){
        .module = module, .kernel = kernel, .smem_dynamic_max = VM_SMEM_DEFAULT_BYTES, .next = module->functions};
    *function = module->functions = f;
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_func_get_attribute(int *value, int attribute, driver_function function) {
    struct ptxvm_kernel_info info;
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    ptxvm_kernel_info(function->kernel, &info);
    if (attribute == DRIVER_FUNCTION_MAX_THREADS)
        *value = (int)info.threads_max;
    else if (attribute == DRIVER_FUNCTION_MAX_DYNAMIC_SMEM)
        *value = function->smem_dynamic_max;
    else
        return vm_leave(DRIVER_INVALID_VALUE);
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_func_set_attribute(driver_function function, int attribute, int value) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    if (attribute != DRIVER_FUNCTION_MAX_DYNAMIC_SMEM || value < 0 || value > vm_smem_optin_bytes(vm.options.sm)) {
        snprintf(vm.error, sizeof vm.error, "attribute %d cannot be %d", attribute, value);
        return vm_leave(DRIVER_INVALID_VALUE);
    }
    function->smem_dynamic_max = value;
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_func_load(driver_function function) {
    (void)function;
    return DRIVER_SUCCESS;
}

/* -- Launches and findings ---- */

static void finding_text(const struct ptxvm_finding *f, const struct ptx_place *place, struct buf *out) {
    ptx_place_text(place, out);
    buf_printf(out, "%serror: %s: %s (", out->len ? ": " : "", ptxvm_finding_text(f->kind), f->text);
    if (place->caller_file) buf_printf(out, "in templates/%s:%d, ", place->file ? place->file : "-", place->line);
    buf_printf(out, "%s, block %u,%u,%u, warp %d, ", f->kernel, f->block[0], f->block[1], f->block[2], f->warp);
    if (f->lane >= 0) buf_printf(out, "lane %d, ", f->lane);
    buf_printf(out, "PTX line %u)", f->ptx_line);
}

void vm_on_finding(void *user, const struct ptxvm_finding *finding) {
    (void)user;
    vm.totals.findings++;
    vm.fatal |= finding->kind <= PTXVM_FINDING_TRAP;
    if (!vm.options.finding) return;
    struct buf text = {0};
    struct vm_finding found = {.finding = finding};
    found.place = ptx_image_place(vm.running->image, &vm.running->map, BUILD_SOURCE_NAME, (int)finding->ptx_line);
    finding_text(finding, &found.place, &text);
    found.text = text.data;
    vm.options.finding(vm.options.user, &found);
    buf_free(&text);
}

// The parameter block as the kernel reads it, from the list of cuLaunchKernel. Owner: the caller.
static void *parameter_block(const ptxvm_kernel *kernel, const struct ptxvm_kernel_info *info, void **params) {
    char *block = xcalloc(1, info->parameter_bytes + 1);
    size_t offset, bytes;
    for (unsigned i = 0; i < info->parameters && ptxvm_kernel_parameter(kernel, i, &offset, &bytes); i++)
        memcpy(block + offset, params[i], bytes);
    return block;
}

// Findings that do not end a launch do not fail it either: they are the callback's.
driver_result vm_run(driver_function function, const struct ptxvm_launch *launch) {
    uint64_t instructions = 0;
    double seconds = 0;
    vm.running = function->module;
    vm.fatal = false;
    const ptxvm_status status = ptxvm_run(vm.vm, function->kernel, launch);
    ptxvm_speed(vm.vm, &instructions, &seconds);
    vm.totals.launches++;
    vm.totals.thread_instructions += instructions;
    vm.totals.seconds += seconds;
    const bool survived = status == PTXVM_ERROR_FAULT && !vm.fatal && ptxvm_findings(vm.vm) > 0;
    return survived ? DRIVER_SUCCESS : vm_checked(status);
}

enum { BLOCKS_TOGETHER = 16 /* what the machine takes as a cluster */ };

// Blocks that run side by side, as on a GPU, so that those which wait for each other are put to the test: to the machine
// they are a cluster. The most that divide the grid; 0, one by one: kernels with clusters of their own, and those with
// dynamic shared memory, none of which waits for another block.
static unsigned side_by_side(const struct ptxvm_kernel_info *info, unsigned grid_x, unsigned smem_bytes) {
    unsigned count = BLOCKS_TOGETHER;
    for (int d = 0; d < 3; d++)
        if (info->cluster[d] > 1) return 0;
    if (grid_x == 0 || smem_bytes != 0) return 0;
    while (grid_x % count != 0) count--;
    return count;
}

driver_result vm_entry_launch_kernel(driver_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                     unsigned block_x, unsigned block_y, unsigned block_z, unsigned smem_bytes,
                                     driver_stream stream, void **params, void **extra) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    struct ptxvm_kernel_info info;
    ptxvm_kernel_info(function->kernel, &info);
    if (extra || (info.parameters > 0 && !params) || smem_bytes > (unsigned)function->smem_dynamic_max) {
        snprintf(vm.error, sizeof vm.error, "%s: %u bytes of shared memory, of %d opted into; or bad parameters",
                 info.name, smem_bytes, function->smem_dynamic_max);
        return vm_leave(DRIVER_INVALID_VALUE);
    }
    void *block = parameter_block(function->kernel, &info, params);
    const unsigned together = side_by_side(&info, grid_x, smem_bytes);
    const struct ptxvm_launch launch = {.grid = {grid_x, grid_y, grid_z},
                                        .cluster = {together, together != 0, together != 0},
                                        .block = {block_x, block_y, block_z},
                                        .smem_dynamic_bytes = smem_bytes,
                                        .parameters = block};
    if (vm_is_capturing(stream)) {
        vm_capture_add(function, &launch);
        return vm_leave(DRIVER_SUCCESS);
    }
    const driver_result result = vm_run(function, &launch);
    free(block);
    return vm_leave(result);
}

// Launches end before the next begins, so that attributes which let one start early change nothing.
driver_result vm_entry_launch_kernel_ex(const struct driver_launch *launch, driver_function function, void **params,
                                        void **extra) {
    for (unsigned i = 0; i < launch->attribute_count; i++)
        if (launch->attributes[i].id != DRIVER_LAUNCH_PROGRAMMATIC) return DRIVER_INVALID_VALUE;
    return vm_entry_launch_kernel(function, launch->grid[0], launch->grid[1], launch->grid[2], launch->block[0],
                                  launch->block[1], launch->block[2], launch->smem_bytes, launch->stream, params, extra);
}

/* -- Visits ---- */

void vm_driver_each_kernel(vm_driver_visit *visit, void *user) {
    vm_enter();
    for (driver_module m = vm.modules; m; m = m->next)
        for (unsigned i = 0; i < ptxvm_module_kernels(m->module); i++) {
            ptxvm_kernel *kernel;
            if (ptxvm_module_kernel(m->module, ptxvm_module_kernel_name(m->module, i), &kernel) == PTXVM_OK)
                visit(user, kernel, m->image, &m->map);
        }
    vm_leave(DRIVER_SUCCESS);
}
