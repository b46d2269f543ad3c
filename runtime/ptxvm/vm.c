// vm: the machine by itself: options, error text, global memory as its user sees it. Launches are in launch.c.
// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <stdlib.h>
#include <string.h>

/* -- Machine ------------------------------------------------------------------------------------------------------- */

ptxvm_status ptxvm_create(const struct ptxvm_options *options, ptxvm **out) {
    if (!out || (options && options->size != sizeof *options)) return PTXVM_ERROR_ARGUMENT;
    ptxvm *vm = calloc(1, sizeof *vm);
    if (!vm) return PTXVM_ERROR_MEMORY;
    if (options)
        vm->options = *options;
    else
        vm->options.checks = PTXVM_CHECK_ALL;
    if (!vm->options.instruction_limit) vm->options.instruction_limit = UINT64_C(1) << 40;
    if (!vm->options.multiprocessors) vm->options.multiprocessors = 1;
    if (!vm->options.findings_max) vm->options.findings_max = 16;
    vm->next_address = GLOBAL_FIRST;
    *out = vm;
    return PTXVM_OK;
}

static void allocation_release(struct allocation *a) {
    free(a->data);
    free(a->written);
}

void ptxvm_destroy(ptxvm *vm) {
    if (!vm) return;
    for (unsigned k = 0; k < vm->allocations; k++) allocation_release(&vm->allocation[k]);
    free(vm->allocation);
    free(vm);
}

const char *ptxvm_error(const ptxvm *vm) {
    return vm ? vm->error : "no machine";
}

unsigned ptxvm_findings(const ptxvm *vm) {
    return vm->findings;
}

void ptxvm_set_seed(ptxvm *vm, uint64_t seed) {
    vm->options.seed = seed;
}

void ptxvm_speed(const ptxvm *vm, uint64_t *thread_instructions, double *seconds) {
    if (thread_instructions) *thread_instructions = vm->thread_instructions;
    if (seconds) *seconds = vm->seconds;
}

/* -- Global memory ------------------------------------------------------------------------------------------------- */

enum {
    ALIGNMENT = 256,
    GUARD = 4096 /* bytes between allocations */,
    SLACK = 64 /* host bytes behind an allocation */
};

static bool grow(ptxvm *vm) {
    if (vm->allocations < vm->allocations_max) return true;
    unsigned most = vm->allocations_max ? 2 * vm->allocations_max : 16;
    struct allocation *larger = realloc(vm->allocation, most * sizeof *larger);
    if (!larger) return false;
    vm->allocation = larger;
    vm->allocations_max = most;
    return true;
}

// Addresses are never used again, so that a use after free is out of bounds.
ptxvm_status ptxvm_alloc(ptxvm *vm, uint64_t bytes, uint64_t *address) {
    if (!address) return vm_fail(vm, PTXVM_ERROR_ARGUMENT, "address is NULL");
    if (bytes > UINT64_C(1) << 40)
        return vm_fail(vm, PTXVM_ERROR_MEMORY, "an allocation of %llu bytes", (unsigned long long)bytes);
    struct allocation a = {.address = vm->next_address, .bytes = bytes};
    a.data = calloc(1, (size_t)bytes + SLACK);
    if (vm->options.checks & PTXVM_CHECK_UNINITIALISED) a.written = calloc(1, (size_t)(bytes + 7) / 8 + SLACK);
    if (!a.data || (!a.written && vm->options.checks & PTXVM_CHECK_UNINITIALISED) || !grow(vm)) {
        allocation_release(&a);
        return vm_fail(vm, PTXVM_ERROR_MEMORY, "no memory for %llu bytes", (unsigned long long)bytes);
    }
    vm->allocation[vm->allocations++] = a;
    vm->next_address += (bytes + GUARD + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *address = a.address;
    return PTXVM_OK;
}

struct allocation *memory_find(ptxvm *vm, uint64_t address) {
    if (vm->last_hit < vm->allocations) {
        struct allocation *a = &vm->allocation[vm->last_hit];
        if (address - a->address < a->bytes) return a;
    }
    unsigned low = 0, high = vm->allocations;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (vm->allocation[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low || address - vm->allocation[low - 1].address >= vm->allocation[low - 1].bytes) return NULL;
    vm->last_hit = low - 1;
    return &vm->allocation[low - 1];
}

ptxvm_status ptxvm_free(ptxvm *vm, uint64_t address) {
    for (unsigned k = 0; k < vm->allocations; k++) {
        if (vm->allocation[k].address != address) continue;
        allocation_release(&vm->allocation[k]);
        memmove(&vm->allocation[k], &vm->allocation[k + 1], (vm->allocations - k - 1) * sizeof *vm->allocation);
        vm->allocations--;
        vm->last_hit = 0;
        return PTXVM_OK;
    }
    return vm_fail(vm, PTXVM_ERROR_ARGUMENT, "0x%llx is no allocation", (unsigned long long)address);
}

// The allocation that holds all of [address, address + bytes).
static struct allocation *find_range(ptxvm *vm, uint64_t address, uint64_t bytes) {
    struct allocation *a = memory_find(vm, address);
    if (a && bytes <= a->bytes - (address - a->address)) return a;
    vm_fail(vm, PTXVM_ERROR_ARGUMENT, "0x%llx and the %llu bytes there are not in one allocation",
            (unsigned long long)address, (unsigned long long)bytes);
    return NULL;
}

static void mark_written(struct allocation *a, uint64_t first, uint64_t bytes) {
    if (!a->written) return;
    for (; bytes && first % 8; first++, bytes--) a->written[first / 8] |= (uint8_t)(1u << first % 8);
    memset(a->written + first / 8, 0xff, (size_t)(bytes / 8));
    for (first += bytes / 8 * 8, bytes %= 8; bytes; first++, bytes--)
        a->written[first / 8] |= (uint8_t)(1u << first % 8);
}

ptxvm_status ptxvm_write(ptxvm *vm, uint64_t to, const void *from, uint64_t bytes) {
    if (!bytes) return PTXVM_OK;
    struct allocation *a = find_range(vm, to, bytes);
    if (!a) return PTXVM_ERROR_ARGUMENT;
    memcpy(a->data + (to - a->address), from, (size_t)bytes);
    mark_written(a, to - a->address, bytes);
    return PTXVM_OK;
}

ptxvm_status ptxvm_read(ptxvm *vm, void *to, uint64_t from, uint64_t bytes) {
    if (!bytes) return PTXVM_OK;
    struct allocation *a = find_range(vm, from, bytes);
    if (!a) return PTXVM_ERROR_ARGUMENT;
    memcpy(to, a->data + (from - a->address), (size_t)bytes);
    return PTXVM_OK;
}

ptxvm_status ptxvm_set(ptxvm *vm, uint64_t to, uint8_t value, uint64_t bytes) {
    if (!bytes) return PTXVM_OK;
    struct allocation *a = find_range(vm, to, bytes);
    if (!a) return PTXVM_ERROR_ARGUMENT;
    memset(a->data + (to - a->address), value, (size_t)bytes);
    mark_written(a, to - a->address, bytes);
    return PTXVM_OK;
}
