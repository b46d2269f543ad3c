// module: a PTX text in a machine: parsed, bound, its control flow known, its .global and .const variables in memory.
// Also what a user may ask about kernels and their counters. SPDX-License-Identifier: Apache-2.0
#include "arena.h"
#include "cfg.h"
#include "isa.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

enum { ERROR_BYTES = 900 };
#define MODULE_BYTES_MAX (SIZE_MAX / 2)

/* -- Binding ------------------------------------------------------------------------------------------------------- */

struct loader {
    ptxvm *vm;
    ptxvm_module *module;
    char error[ERROR_BYTES];
};

static ptxvm_status no_memory(const struct loader *l) {
    return vm_fail(l->vm, PTXVM_ERROR_MEMORY, "out of memory");
}

// Counters and what identifies them.
static void fill_sites(struct ptxvm_kernel *kernel) {
    for (uint32_t k = 0; k < kernel->count; k++) {
        const struct instruction *i = &kernel->code[k];
        kernel->site[k] = (struct ptxvm_site){.ptx_line = i->line,
                                              .source_line = i->source_line,
                                              .opcode = i->statement->text,
                                              .klass = i->klass,
                                              .loop = kernel->loop[k]};
    }
}

static ptxvm_status bind_statements(struct loader *l, struct ptxvm_kernel *kernel) {
    const struct ptx_function *f = kernel->function;
    struct binder b = {.module = l->module, .function = f, .error = l->error, .error_bytes = sizeof l->error};
    for (uint32_t k = 0; k < kernel->count; k++) {
        b.statement = &f->statement[k];
        kernel->code[k].index = k;
        if (!isa_bind(&b, &kernel->code[k])) return vm_fail(l->vm, b.status, "%s", l->error);
        kernel->uses_wgmma |= !strcmp(b.statement->opcode, "wgmma");
    }
    return PTXVM_OK;
}

static ptxvm_status bind_function(struct loader *l, struct ptxvm_kernel *kernel) {
    struct arena *arena = l->module->arena;
    size_t count = kernel->count = kernel->function->statements;
    kernel->code = arena_alloc(arena, count * sizeof *kernel->code);
    kernel->loop = arena_alloc(arena, count * sizeof *kernel->loop);
    kernel->site = arena_alloc(arena, count * sizeof *kernel->site);
    if (!kernel->code || !kernel->loop || !kernel->site) return no_memory(l);
    ptxvm_status status = bind_statements(l, kernel);
    if (status == PTXVM_OK && cfg_build(kernel->code, kernel->count, kernel->loop)) status = no_memory(l);
    if (status == PTXVM_OK) fill_sites(kernel);
    return status;
}

// Lists the functions that have a body: entries first.
static void list_functions(ptxvm_module *module, bool entries) {
    for (unsigned k = 0; k < module->text->functions; k++) {
        const struct ptx_function *f = &module->text->function[k];
        if (!f->is_defined || f->is_entry != entries) continue;
        struct ptxvm_kernel *kernel = &module->kernel[module->functions++];
        module->by_index[k] = kernel;
        kernel->module = module;
        kernel->function = f;
    }
    if (entries) module->kernels = module->functions;
}

static ptxvm_status bind_module(struct loader *l) {
    ptxvm_module *module = l->module;
    module->kernel = arena_alloc(module->arena, module->text->functions * sizeof *module->kernel);
    module->by_index = arena_alloc(module->arena, module->text->functions * sizeof *module->by_index);
    if (!module->kernel || !module->by_index) return no_memory(l);
    list_functions(module, true);
    list_functions(module, false);
    for (unsigned k = 0; k < module->functions; k++) {
        ptxvm_status status = bind_function(l, &module->kernel[k]);
        if (status != PTXVM_OK) return status;
    }
    return PTXVM_OK;
}

struct ptxvm_kernel *module_function(const ptxvm_module *module, uint64_t index) {
    return index < module->text->functions ? module->by_index[index] : NULL;
}

/* -- Images of .global and .const ---------------------------------------------------------------------------------- */

static uint64_t base_of(const ptxvm_module *module, enum ptx_space space) {
    return space == PTX_GLOBAL ? module->global_base : module->const_base;
}

// Variables without initial values are zero.
static ptxvm_status make_image(ptxvm *vm, uint64_t bytes, uint64_t *base) {
    if (!bytes) return PTXVM_OK;
    ptxvm_status status = ptxvm_alloc(vm, bytes, base);
    return status == PTXVM_OK ? ptxvm_set(vm, *base, 0, bytes) : status;
}

static ptxvm_status write_initial_values(ptxvm *vm, const ptxvm_module *module) {
    ptxvm_status status = PTXVM_OK;
    for (unsigned k = 0; k < module->text->symbols && status == PTXVM_OK; k++) {
        const struct ptx_symbol *s = &module->text->symbol[k];
        if (!s->initial) continue;
        status = ptxvm_write(vm, base_of(module, s->space) + s->address, s->initial, s->initial_bytes);
    }
    for (unsigned k = 0; k < module->text->relocations && status == PTXVM_OK; k++) {
        const struct ptx_relocation *r = &module->text->relocation[k];
        uint64_t address = base_of(module, r->target) + r->value;
        status = ptxvm_write(vm, base_of(module, r->space) + r->offset, &address, sizeof address);
    }
    return status;
}

static ptxvm_status make_images(ptxvm *vm, ptxvm_module *module) {
    ptxvm_status status = make_image(vm, module->text->global_bytes, &module->global_base);
    if (status == PTXVM_OK) status = make_image(vm, module->text->const_bytes, &module->const_base);
    return status == PTXVM_OK ? write_initial_values(vm, module) : status;
}

/* -- Load and unload ----------------------------------------------------------------------------------------------- */

static ptxvm_status load(struct loader *l, const char *text, size_t bytes) {
    ptxvm_module *module = l->module;
    ptxvm_status status = ptx_parse(text, bytes, &module->text, l->error, sizeof l->error);
    if (status != PTXVM_OK) return vm_fail(l->vm, status, "%s", l->error);
    module->arena = arena_create(MODULE_BYTES_MAX);
    if (!module->arena) return no_memory(l);
    status = bind_module(l);
    return status == PTXVM_OK ? make_images(l->vm, module) : status;
}

ptxvm_status ptxvm_module_load(ptxvm *vm, const char *text, size_t bytes, ptxvm_module **out) {
    if (!vm) return PTXVM_ERROR_ARGUMENT;
    if (!text || !out) return vm_fail(vm, PTXVM_ERROR_ARGUMENT, "text or out is NULL");
    struct loader loader = {.vm = vm, .module = calloc(1, sizeof(ptxvm_module))};
    if (!loader.module) return no_memory(&loader);
    loader.module->vm = vm;
    ptxvm_status status = load(&loader, text, bytes);
    if (status == PTXVM_OK)
        *out = loader.module;
    else
        ptxvm_module_unload(loader.module);
    return status;
}

void ptxvm_module_unload(ptxvm_module *module) {
    if (!module) return;
    if (module->global_base) ptxvm_free(module->vm, module->global_base);
    if (module->const_base) ptxvm_free(module->vm, module->const_base);
    arena_free(module->arena);
    ptx_text_free(module->text);
    free(module);
}

/* -- Kernels ------------------------------------------------------------------------------------------------------- */

ptxvm_status ptxvm_module_kernel(ptxvm_module *module, const char *name, ptxvm_kernel **out) {
    for (unsigned k = 0; k < module->kernels; k++) {
        if (strcmp(module->kernel[k].function->name, name)) continue;
        *out = &module->kernel[k];
        return PTXVM_OK;
    }
    return vm_fail(module->vm, PTXVM_ERROR_ARGUMENT, "the module has no kernel '%.200s'", name);
}

unsigned ptxvm_module_kernels(const ptxvm_module *module) {
    return module->kernels;
}

const char *ptxvm_module_kernel_name(const ptxvm_module *module, unsigned index) {
    return index < module->kernels ? module->kernel[index].function->name : NULL;
}

void ptxvm_kernel_info(const ptxvm_kernel *kernel, struct ptxvm_kernel_info *out) {
    enum { THREADS_MAX = 1024 };
    const struct ptx_function *f = kernel->function;
    *out = (struct ptxvm_kernel_info){.name = f->name,
                                      .parameters = f->parameters,
                                      .parameter_bytes = f->parameter_bytes,
                                      .smem_static_bytes = (size_t)f->shared_bytes,
                                      .threads_max = f->maxntid ? f->maxntid : THREADS_MAX,
                                      .instructions = kernel->count};
    for (int d = 0; d < 3; d++) out->cluster[d] = f->reqnctapercluster[d] ? f->reqnctapercluster[d] : 1;
}

bool ptxvm_kernel_parameter(const ptxvm_kernel *kernel, unsigned index, size_t *offset, size_t *bytes) {
    if (index >= kernel->function->parameters) return false;
    *offset = kernel->function->parameter[index].offset;
    *bytes = kernel->function->parameter[index].bytes;
    return true;
}

/* -- Counters ------------------------------------------------------------------------------------------------------ */

unsigned ptxvm_kernel_sites(const ptxvm_kernel *kernel) {
    return kernel->count;
}

void ptxvm_kernel_site(const ptxvm_kernel *kernel, unsigned index, struct ptxvm_site *out) {
    *out = index < kernel->count ? kernel->site[index] : (struct ptxvm_site){.opcode = "", .loop = -1};
}

void ptxvm_counts_reset(ptxvm_module *module) {
    for (unsigned k = 0; k < module->functions; k++) fill_sites(&module->kernel[k]);
}
