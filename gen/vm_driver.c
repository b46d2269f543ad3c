// vm_driver: see vm_driver.h. All state is one static struct under one lock, since the driver's entry points carry
// none. SPDX-License-Identifier: Apache-2.0
#include "vm_driver.h"

#include "arch.h"
#include "build.h"
#include "driver.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Results beyond those of driver.h (values are the driver's ABI).
enum { RESULT_NOT_INITIALIZED = 3, RESULT_INVALID_HANDLE = 400, RESULT_LAUNCH_FAILED = 719, RESULT_TIMEOUT = 702 };
enum {
    SMEM_DEFAULT_BYTES = 48 << 10, /* dynamic shared memory of a block without opting in */
    ERROR_BYTES = 1024,
    FINDINGS_MAX = 64, /* of a launch */
    /* Newer than any toolkit: the machine reads PTX of every version, or says which instruction it does not know. */
    CUDA_VERSION = 99000
};
static const size_t memory_bytes = (size_t)16 << 30;

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

static struct {
    pthread_mutex_t lock;
    struct vm_driver_options options;
    ptxvm *vm;
    int references; /* of the primary context */
    driver_module modules;
    driver_module running; /* whose kernel is being launched */
    bool fatal;            /* a finding of that launch ended it */
    struct vm_driver_totals totals;
    char error[ERROR_BYTES]; /* of the last call that failed in the machine */
} vm = {.lock = PTHREAD_MUTEX_INITIALIZER, .options = {.sm = 90, .checks = PTXVM_CHECK_ALL}};

static _Thread_local int current_depth; // of the calling thread's stack of contexts; it holds the primary one alone

static driver_context primary(void) {
    return (driver_context)(void *)&vm;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* -- Calls: each entry is between enter and leave ---- */

// false: there is no machine.
static bool enter(void) {
    pthread_mutex_lock(&vm.lock);
    return vm.vm != NULL;
}

static driver_result leave(driver_result result) {
    pthread_mutex_unlock(&vm.lock);
    return result;
}

// The driver's result for a status of the machine, whose sentence is kept for cuGetErrorString.
static driver_result checked(ptxvm_status status) {
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

// One declaration per entry, so that its type is that of the table in driver.h.
#define ENTRY_DECLARE(member, symbol, required, parameters) static driver_result entry_##member parameters;
DRIVER_ENTRIES(ENTRY_DECLARE)

static driver_result entry_init(unsigned flags) {
    return flags == 0 ? DRIVER_SUCCESS : DRIVER_INVALID_VALUE;
}

static driver_result entry_driver_get_version(int *version) {
    *version = CUDA_VERSION;
    return DRIVER_SUCCESS;
}

static driver_result entry_get_error_name(driver_result result, const char **text) {
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
                 {RESULT_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].result != result) continue;
        *text = names[i].name;
        return DRIVER_SUCCESS;
    }
    return DRIVER_INVALID_VALUE;
}

// The sentence of the last failure in the machine, where it is one of the machine's kinds.
static driver_result entry_get_error_string(driver_result result, const char **text) {
    const char *name = NULL;
    if (entry_get_error_name(result, &name) != DRIVER_SUCCESS) return DRIVER_INVALID_VALUE;
    const bool of_machine = result == DRIVER_INVALID_IMAGE || result == RESULT_LAUNCH_FAILED ||
                            result == RESULT_TIMEOUT || result == DRIVER_INVALID_VALUE || result == DRIVER_NOT_FOUND;
    *text = of_machine && vm.error[0] ? vm.error : "refused by the PTX virtual machine's driver";
    return DRIVER_SUCCESS;
}

/* -- Device and context ---- */

static driver_result entry_device_get_count(int *count) {
    *count = 1;
    return DRIVER_SUCCESS;
}

static driver_result entry_device_get(driver_device *device, int ordinal) {
    if (ordinal != 0) return DRIVER_INVALID_DEVICE;
    *device = 0;
    return DRIVER_SUCCESS;
}

static driver_result entry_device_get_name(char *name, int bytes, driver_device device) {
    (void)device;
    snprintf(name, (size_t)bytes, "%s", VM_DEVICE_NAME);
    return DRIVER_SUCCESS;
}

static int smem_optin_bytes(int sm) {
    int bytes = 0;
    for (int t = 0; t < SPEC_TARGET_COUNT; t++)
        if (arch_of((enum spec_target)t)->sm == sm) bytes = arch_of((enum spec_target)t)->smem_block_bytes;
    return bytes ? bytes : SMEM_DEFAULT_BYTES;
}

static unsigned multiprocessors(void) {
    return vm.options.multiprocessors ? vm.options.multiprocessors : 4;
}

static driver_result entry_device_get_attribute(int *value, int attribute, driver_device device) {
    (void)device;
    const struct {
        int attribute, value;
    } rows[] = {{DRIVER_DEVICE_CAPABILITY_MAJOR, vm.options.sm / 10},
                {DRIVER_DEVICE_CAPABILITY_MINOR, vm.options.sm % 10},
                {DRIVER_DEVICE_MULTIPROCESSORS, (int)multiprocessors()},
                {DRIVER_DEVICE_SMEM_OPTIN, smem_optin_bytes(vm.options.sm)},
                {DRIVER_DEVICE_L2_BYTES, 0},
                {DRIVER_DEVICE_CLOCK_KHZ, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].attribute != attribute) continue;
        *value = rows[i].value;
        return DRIVER_SUCCESS;
    }
    return DRIVER_INVALID_VALUE;
}

static driver_result entry_device_total_mem(size_t *bytes, driver_device device) {
    (void)device;
    *bytes = memory_bytes;
    return DRIVER_SUCCESS;
}

static driver_result entry_mem_get_info(size_t *free_bytes, size_t *total_bytes) {
    *free_bytes = *total_bytes = memory_bytes;
    return DRIVER_SUCCESS;
}

static void on_finding(void *user, const struct ptxvm_finding *finding);

static driver_result machine_create(void) {
    const struct ptxvm_options options = {.size = sizeof options,
                                          .checks = vm.options.checks,
                                          .counts = vm.options.counts,
                                          .seed = vm.options.seed,
                                          .multiprocessors = multiprocessors(),
                                          .sm = vm.options.sm,
                                          .findings_max = FINDINGS_MAX,
                                          .finding = on_finding};
    return ptxvm_create(&options, &vm.vm) == PTXVM_OK ? DRIVER_SUCCESS : DRIVER_OUT_OF_MEMORY;
}

static driver_result entry_primary_retain(driver_context *context, driver_device device) {
    (void)device;
    enter();
    driver_result result = vm.vm ? DRIVER_SUCCESS : machine_create();
    if (result != DRIVER_SUCCESS) return leave(result);
    vm.references++;
    *context = primary();
    return leave(DRIVER_SUCCESS);
}

static void modules_free(void);

static driver_result entry_primary_release(driver_device device) {
    (void)device;
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    if (--vm.references > 0) return leave(DRIVER_SUCCESS);
    modules_free();
    ptxvm_destroy(vm.vm);
    vm.vm = NULL;
    return leave(DRIVER_SUCCESS);
}

static driver_result entry_ctx_get_current(driver_context *context) {
    *context = current_depth > 0 ? primary() : NULL;
    return DRIVER_SUCCESS;
}

static driver_result entry_ctx_push(driver_context context) {
    if (context != primary()) return DRIVER_INVALID_CONTEXT;
    current_depth++;
    return DRIVER_SUCCESS;
}

static driver_result entry_ctx_pop(driver_context *context) {
    if (current_depth == 0) return DRIVER_INVALID_CONTEXT;
    current_depth--;
    *context = primary();
    return DRIVER_SUCCESS;
}

static driver_result entry_ctx_synchronize(void) {
    return DRIVER_SUCCESS;
}

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

static void modules_free(void) {
    while (vm.modules) {
        driver_module next = vm.modules->next;
        module_free(vm.modules);
        vm.modules = next;
    }
}

// Appends, so that modules are visited in the order of loading.
static driver_result entry_module_load_data(driver_module *module, const void *image) {
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    ptxvm_module *loaded;
    driver_result result = checked(ptxvm_module_load(vm.vm, image, strlen(image), &loaded));
    if (result != DRIVER_SUCCESS) return leave(result);
    driver_module m = xcalloc(1, sizeof *m), *link = &vm.modules;
    m->module = loaded;
    m->image = xstrdup(image);
    ptx_image_map(m->image, &m->map);
    while (*link) link = &(*link)->next;
    *link = *module = m;
    return leave(DRIVER_SUCCESS);
}

static driver_result entry_module_unload(driver_module module) {
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    driver_module *link = &vm.modules;
    while (*link && *link != module) link = &(*link)->next;
    if (!*link) return leave(RESULT_INVALID_HANDLE);
    *link = module->next;
    module_free(module);
    return leave(DRIVER_SUCCESS);
}

static driver_result entry_module_get_function(driver_function *function, driver_module module, const char *name) {
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    ptxvm_kernel *kernel;
    if (ptxvm_module_kernel(module->module, name, &kernel) != PTXVM_OK) {
        snprintf(vm.error, sizeof vm.error, "the image has no kernel %s", name);
        return leave(DRIVER_NOT_FOUND);
    }
    driver_function f = xcalloc(1, sizeof *f);
    *f = (struct driver_function_handle){
        .module = module, .kernel = kernel, .smem_dynamic_max = SMEM_DEFAULT_BYTES, .next = module->functions};
    *function = module->functions = f;
    return leave(DRIVER_SUCCESS);
}

static driver_result entry_func_get_attribute(int *value, int attribute, driver_function function) {
    struct ptxvm_kernel_info info;
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    ptxvm_kernel_info(function->kernel, &info);
    if (attribute == DRIVER_FUNCTION_MAX_THREADS)
        *value = (int)info.threads_max;
    else if (attribute == DRIVER_FUNCTION_MAX_DYNAMIC_SMEM)
        *value = function->smem_dynamic_max;
    else
        return leave(DRIVER_INVALID_VALUE);
    return leave(DRIVER_SUCCESS);
}

static driver_result entry_func_set_attribute(driver_function function, int attribute, int value) {
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    if (attribute != DRIVER_FUNCTION_MAX_DYNAMIC_SMEM || value < 0 || value > smem_optin_bytes(vm.options.sm)) {
        snprintf(vm.error, sizeof vm.error, "attribute %d cannot be %d", attribute, value);
        return leave(DRIVER_INVALID_VALUE);
    }
    function->smem_dynamic_max = value;
    return leave(DRIVER_SUCCESS);
}

static driver_result entry_func_load(driver_function function) {
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

// Within ptxvm_run, under the lock.
static void on_finding(void *user, const struct ptxvm_finding *finding) {
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
static driver_result run(driver_function function, const struct ptxvm_launch *launch) {
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
    return survived ? DRIVER_SUCCESS : checked(status);
}

static driver_result entry_launch_kernel(driver_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                         unsigned block_x, unsigned block_y, unsigned block_z, unsigned smem_bytes,
                                         driver_stream stream, void **params, void **extra) {
    (void)stream;
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    struct ptxvm_kernel_info info;
    ptxvm_kernel_info(function->kernel, &info);
    if (extra || (info.parameters > 0 && !params) || smem_bytes > (unsigned)function->smem_dynamic_max) {
        snprintf(vm.error, sizeof vm.error, "%s: %u bytes of shared memory, of %d opted into; or bad parameters",
                 info.name, smem_bytes, function->smem_dynamic_max);
        return leave(DRIVER_INVALID_VALUE);
    }
    void *block = parameter_block(function->kernel, &info, params);
    const struct ptxvm_launch launch = {.grid = {grid_x, grid_y, grid_z},
                                        .block = {block_x, block_y, block_z},
                                        .smem_dynamic_bytes = smem_bytes,
                                        .parameters = block};
    const driver_result result = run(function, &launch);
    free(block);
    return leave(result);
}

/* -- Memory ---- */

static driver_result entry_mem_alloc(driver_pointer *memory, size_t bytes) {
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    return leave(checked(ptxvm_alloc(vm.vm, bytes, memory)));
}

static driver_result entry_mem_free(driver_pointer memory) {
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    return leave(checked(ptxvm_free(vm.vm, memory)));
}

static driver_result entry_memcpy_to_device(driver_pointer to, const void *from, size_t bytes, driver_stream stream) {
    (void)stream;
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    return leave(checked(ptxvm_write(vm.vm, to, from, bytes)));
}

static driver_result entry_memcpy_to_host(void *to, driver_pointer from, size_t bytes, driver_stream stream) {
    (void)stream;
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    return leave(checked(ptxvm_read(vm.vm, to, from, bytes)));
}

static driver_result entry_memset_u8(driver_pointer to, unsigned char value, size_t bytes, driver_stream stream) {
    (void)stream;
    if (!enter()) return leave(DRIVER_INVALID_CONTEXT);
    return leave(checked(ptxvm_set(vm.vm, to, value, bytes)));
}

/* -- Streams and events: all work is done when a call returns ---- */

static driver_result entry_exchange_capture_mode(int *mode) {
    (void)mode;
    return DRIVER_SUCCESS;
}

static driver_result entry_stream_is_capturing(driver_stream stream, int *status) {
    (void)stream;
    *status = DRIVER_CAPTURE_NONE;
    return DRIVER_SUCCESS;
}

static driver_result entry_stream_create(driver_stream *stream, unsigned flags) {
    (void)flags;
    *stream = xcalloc(1, 1); // an address of its own
    return DRIVER_SUCCESS;
}

static driver_result entry_stream_destroy(driver_stream stream) {
    free(stream);
    return DRIVER_SUCCESS;
}

static driver_result entry_stream_synchronize(driver_stream stream) {
    (void)stream;
    return DRIVER_SUCCESS;
}

static driver_result entry_stream_get_ctx(driver_stream stream, driver_context *context) {
    (void)stream;
    *context = primary();
    return DRIVER_SUCCESS;
}

static driver_result entry_event_create(driver_event *event, unsigned flags) {
    (void)flags;
    *event = xcalloc(1, sizeof **event);
    return DRIVER_SUCCESS;
}

static driver_result entry_event_destroy(driver_event event) {
    free(event);
    return DRIVER_SUCCESS;
}

static driver_result entry_event_record(driver_event event, driver_stream stream) {
    (void)stream;
    event->seconds = now();
    return DRIVER_SUCCESS;
}

static driver_result entry_event_synchronize(driver_event event) {
    (void)event;
    return DRIVER_SUCCESS;
}

static driver_result entry_event_elapsed_ms(float *ms, driver_event from, driver_event to) {
    *ms = (float)((to->seconds - from->seconds) * 1e3);
    return DRIVER_SUCCESS;
}

/* -- Public ---- */

bool vm_driver_configure(const struct vm_driver_options *options) {
    if (enter()) return leave(DRIVER_INVALID_CONTEXT) == DRIVER_SUCCESS;
    vm.options = *options;
    vm.totals = (struct vm_driver_totals){0};
    vm.error[0] = '\0';
    return leave(DRIVER_SUCCESS) == DRIVER_SUCCESS;
}

void *vm_driver_entry(const char *symbol) {
    static const struct {
        const char *symbol;
        void (*function)(void);
    } entries[] = {
#define ENTRY_ROW(member, symbol, required, parameters) {symbol, (void (*)(void))entry_##member},
        DRIVER_ENTRIES(ENTRY_ROW)};
    void *address = NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries && !address; i++)
        if (strcmp(entries[i].symbol, symbol) == 0) memcpy(&address, &entries[i].function, sizeof address);
    return address;
}

struct vm_driver_totals vm_driver_totals(void) {
    enter();
    const struct vm_driver_totals totals = vm.totals;
    leave(DRIVER_SUCCESS);
    return totals;
}

void vm_driver_each_kernel(vm_driver_visit *visit, void *user) {
    enter();
    for (driver_module m = vm.modules; m; m = m->next)
        for (unsigned i = 0; i < ptxvm_module_kernels(m->module); i++) {
            ptxvm_kernel *kernel;
            if (ptxvm_module_kernel(m->module, ptxvm_module_kernel_name(m->module, i), &kernel) == PTXVM_OK)
                visit(user, kernel, m->image, &m->map);
        }
    leave(DRIVER_SUCCESS);
}
