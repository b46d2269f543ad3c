// vm_driver: see vm_driver.h. All state is one struct under one lock, since the driver's entry points carry none. Here:
// the state, errors, device, context and memory. SPDX-License-Identifier: Apache-2.0
#include "vm_internal.h"

#include "arch.h"
#include <stdio.h>
#include <string.h>

static const size_t memory_bytes = (size_t)16 << 30;

struct vm_state vm = {.lock = PTHREAD_MUTEX_INITIALIZER, .options = {.sm = 90, .checks = PTXVM_CHECK_ALL}};

static _Thread_local int current_depth; // of the calling thread's stack of contexts; it holds the primary one alone

driver_context vm_primary(void) {
    return (driver_context)(void *)&vm;
}

/* -- Calls ---- */

bool vm_enter(void) {
    pthread_mutex_lock(&vm.lock);
    return vm.vm != NULL;
}

driver_result vm_leave(driver_result result) {
    pthread_mutex_unlock(&vm.lock);
    return result;
}

driver_result vm_checked(ptxvm_status status) {
    static const driver_result results[] = {[PTXVM_OK] = DRIVER_SUCCESS,
                                            [PTXVM_ERROR_ARGUMENT] = DRIVER_INVALID_VALUE,
                                            [PTXVM_ERROR_MEMORY] = DRIVER_OUT_OF_MEMORY,
                                            [PTXVM_ERROR_SYNTAX] = DRIVER_INVALID_IMAGE,
                                            [PTXVM_ERROR_UNSUPPORTED] = DRIVER_INVALID_IMAGE,
                                            [PTXVM_ERROR_FAULT] = RESULT_LAUNCH_FAILED,
                                            [PTXVM_ERROR_LIMIT] = RESULT_TIMEOUT};
    if (status != PTXVM_OK) snprintf(vm.error, sizeof vm.error, "%s", ptxvm_error(vm.vm));
    return results[status];
}

driver_result vm_entry_init(unsigned flags) {
    return flags == 0 ? DRIVER_SUCCESS : DRIVER_INVALID_VALUE;
}

driver_result vm_entry_driver_get_version(int *version) {
    *version = VM_CUDA_VERSION;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_get_error_name(driver_result result, const char **text) {
    static const struct {
        driver_result result;
        const char *name;
    } names[] = {{DRIVER_SUCCESS, "CUDA_SUCCESS"},
                 {DRIVER_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                 {DRIVER_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                 {DRIVER_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
                 {DRIVER_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
                 {DRIVER_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
                 {DRIVER_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
                 {RESULT_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
                 {DRIVER_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
                 {RESULT_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT"},
                 {RESULT_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
                 {VM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
                 {VM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].result != result) continue;
        *text = names[i].name;
        return DRIVER_SUCCESS;
    }
    return DRIVER_INVALID_VALUE;
}

// The sentence of the last failure in the machine, where it is one of the machine's kinds.
driver_result vm_entry_get_error_string(driver_result result, const char **text) {
    const char *name = NULL;
    if (vm_entry_get_error_name(result, &name) != DRIVER_SUCCESS) return DRIVER_INVALID_VALUE;
    const bool of_machine = result == DRIVER_INVALID_IMAGE || result == RESULT_LAUNCH_FAILED ||
                            result == RESULT_TIMEOUT || result == DRIVER_INVALID_VALUE || result == DRIVER_NOT_FOUND;
    *text = of_machine && vm.error[0] ? vm.error : "refused by the PTX virtual machine's driver";
    return DRIVER_SUCCESS;
}

/* -- Device and context ---- */

driver_result vm_entry_device_get_count(int *count) {
    *count = 1;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_device_get(driver_device *device, int ordinal) {
    if (ordinal != 0) return DRIVER_INVALID_DEVICE;
    *device = 0;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_device_get_name(char *name, int bytes, driver_device device) {
    (void)device;
    snprintf(name, (size_t)bytes, "%s", VM_DEVICE_NAME);
    return DRIVER_SUCCESS;
}

int vm_smem_optin_bytes(int sm) {
    int bytes = 0;
    for (int t = 0; t < SPEC_TARGET_COUNT; t++)
        if (arch_of((enum spec_target)t)->sm == sm) bytes = arch_of((enum spec_target)t)->smem_block_bytes;
    return bytes ? bytes : VM_SMEM_DEFAULT_BYTES;
}

static unsigned multiprocessors(void) {
    return vm.options.multiprocessors ? vm.options.multiprocessors : 4;
}

driver_result vm_entry_device_get_attribute(int *value, int attribute, driver_device device) {
    (void)device;
    const struct {
        int attribute, value;
    } rows[] = {{DRIVER_DEVICE_CAPABILITY_MAJOR, vm.options.sm / 10},
                {DRIVER_DEVICE_CAPABILITY_MINOR, vm.options.sm % 10},
                {DRIVER_DEVICE_MULTIPROCESSORS, (int)multiprocessors()},
                {DRIVER_DEVICE_SMEM_OPTIN, vm_smem_optin_bytes(vm.options.sm)},
                {DRIVER_DEVICE_L2_BYTES, 0},
                {DRIVER_DEVICE_CLOCK_KHZ, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].attribute != attribute) continue;
        *value = rows[i].value;
        return DRIVER_SUCCESS;
    }
    return DRIVER_INVALID_VALUE;
}

driver_result vm_entry_device_total_mem(size_t *bytes, driver_device device) {
    (void)device;
    *bytes = memory_bytes;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_mem_get_info(size_t *free_bytes, size_t *total_bytes) {
    *free_bytes = *total_bytes = memory_bytes;
    return DRIVER_SUCCESS;
}

static driver_result machine_create(void) {
    const struct ptxvm_options options = {.size = sizeof options,
                                          .checks = vm.options.checks,
                                          .counts = vm.options.counts,
                                          .seed = vm.options.seed,
                                          .multiprocessors = multiprocessors(),
                                          .sm = vm.options.sm,
                                          .findings_max = VM_FINDINGS_MAX,
                                          .finding = vm_on_finding};
    return ptxvm_create(&options, &vm.vm) == PTXVM_OK ? DRIVER_SUCCESS : DRIVER_OUT_OF_MEMORY;
}

driver_result vm_entry_primary_retain(driver_context *context, driver_device device) {
    (void)device;
    vm_enter();
    driver_result result = vm.vm ? DRIVER_SUCCESS : machine_create();
    if (result != DRIVER_SUCCESS) return vm_leave(result);
    vm.references++;
    *context = vm_primary();
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_primary_release(driver_device device) {
    (void)device;
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    if (--vm.references > 0) return vm_leave(DRIVER_SUCCESS);
    vm_modules_free();
    ptxvm_destroy(vm.vm);
    vm.vm = NULL;
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_ctx_get_current(driver_context *context) {
    *context = current_depth > 0 ? vm_primary() : NULL;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_ctx_push(driver_context context) {
    if (context != vm_primary()) return DRIVER_INVALID_CONTEXT;
    current_depth++;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_ctx_pop(driver_context *context) {
    if (current_depth == 0) return DRIVER_INVALID_CONTEXT;
    current_depth--;
    *context = vm_primary();
    return DRIVER_SUCCESS;
}

driver_result vm_entry_ctx_synchronize(void) {
    return DRIVER_SUCCESS;
}

/* -- Memory ---- */

driver_result vm_entry_mem_alloc(driver_pointer *memory, size_t bytes) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    return vm_leave(vm_checked(ptxvm_alloc(vm.vm, bytes, memory)));
}

driver_result vm_entry_mem_free(driver_pointer memory) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    return vm_leave(vm_checked(ptxvm_free(vm.vm, memory)));
}

driver_result vm_entry_memcpy_to_device(driver_pointer to, const void *from, size_t bytes, driver_stream stream) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    const driver_result refused = vm_unless_capturing(stream);
    return vm_leave(refused ? refused : vm_checked(ptxvm_write(vm.vm, to, from, bytes)));
}

driver_result vm_entry_memcpy_to_host(void *to, driver_pointer from, size_t bytes, driver_stream stream) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    const driver_result refused = vm_unless_capturing(stream);
    return vm_leave(refused ? refused : vm_checked(ptxvm_read(vm.vm, to, from, bytes)));
}

driver_result vm_entry_memset_u8(driver_pointer to, unsigned char value, size_t bytes, driver_stream stream) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    const driver_result refused = vm_unless_capturing(stream);
    return vm_leave(refused ? refused : vm_checked(ptxvm_set(vm.vm, to, value, bytes)));
}

/* -- Public ---- */

bool vm_driver_configure(const struct vm_driver_options *options) {
    if (vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT) == DRIVER_SUCCESS;
    vm.options = *options;
    vm.totals = (struct vm_driver_totals){0};
    vm.error[0] = '\0';
    return vm_leave(DRIVER_SUCCESS) == DRIVER_SUCCESS;
}

void *vm_driver_entry(const char *symbol) {
    static const struct {
        const char *symbol;
        void (*function)(void);
    } entries[] = {
#define ENTRY_ROW(member, symbol, required, parameters) {symbol, (void (*)(void))vm_entry_##member},
        DRIVER_ENTRIES(ENTRY_ROW)};
    void *address = NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries && !address; i++)
        if (strcmp(entries[i].symbol, symbol) == 0) memcpy(&address, &entries[i].function, sizeof address);
    return address;
}

struct vm_driver_totals vm_driver_totals(void) {
    vm_enter();
    const struct vm_driver_totals totals = vm.totals;
    vm_leave(DRIVER_SUCCESS);
    return totals;
}
