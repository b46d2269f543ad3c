// fake_cuda: the driver's entry points in host memory; see fake_cuda.h. One device, one primary context, everything
// synchronous. Keeps its state in globals under one lock, as a driver does. SPDX-License-Identifier: Apache-2.0
#include "fake_cuda.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAKE_EXPORT __attribute__((visibility("default")))
#define FAKE_ENTRY(name, ...)                                                                                          \
    FAKE_EXPORT int name(__VA_ARGS__);                                                                                 \
    int name(__VA_ARGS__)

enum {
    OK = 0,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    ILLEGAL_ADDRESS = 700,
    ILLEGAL_INSTRUCTION = 715,
    CAPTURE_UNSUPPORTED = 900
};
enum { STACK_MAX = 32, FAKE_CUDA_NODES_MAX = 64 };

// What a captured stream was given; an executable one is a copy.
struct fake_graph {
    int count;
    struct fake_cuda_launch launch[FAKE_CUDA_NODES_MAX];
};

struct fake_function {
    struct fake_function *next;
    const struct fake_module *module;
    char name[128];
    int smem_dynamic_max;
};

struct fake_module {
    void *context; /* that it was loaded into */
    struct fake_function *functions;
};

static struct {
    pthread_mutex_t lock;
    int broken; /* the result of all further work: a context that a kernel broke */
    int suspects; /* launches of the kernels that FAKE_CUDA_ILLEGAL means */
    int caller; /* the process that called an entry first, which a forked one inherits; 0: none */
    int sm[FAKE_CUDA_DEVICES_MAX];
    int device_count, cuda_version, capturing;
    size_t args_bytes;
    char fail_entry[64];
    int fail_result;
    void (*hook)(void *user, const struct fake_cuda_launch *launch);
    void *hook_user;
    void *captured_stream;
    struct fake_graph *captured; /* NULL: none */
    struct fake_cuda_counts counts;
    float elapsed_ms;
    int primary[FAKE_CUDA_DEVICES_MAX]; /* their addresses are the primary contexts */
} state = {.elapsed_ms = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .sm = {90, 90, 90, 90}, .device_count = 1, .cuda_version = 13000};

static struct fake_cuda_launch launch_log[FAKE_CUDA_LAUNCHES_MAX];
static _Thread_local void *stack[STACK_MAX];
static _Thread_local int depth;

// Refuses a process whose parent called the driver, takes the one pending failure if it is for this entry, else counts.
static int enter(const char *entry, int *counter) {
    int result = OK;
    pthread_mutex_lock(&state.lock);
    if (state.caller == 0) state.caller = (int)getpid();
    if (state.caller != (int)getpid()) {
        result = NOT_INITIALIZED;
    } else if (state.fail_entry[0] && !strcmp(state.fail_entry, entry)) {
        result = state.fail_result;
        state.fail_entry[0] = 0;
        if (result == ILLEGAL_ADDRESS) state.broken = result;
    } else if (counter) {
        ++*counter;
    }
    pthread_mutex_unlock(&state.lock);
    return result;
}

#define ENTER(counter)                                                                                                 \
    do {                                                                                                               \
        int enter_result = enter(__func__, counter);                                                                   \
        if (enter_result != OK) return enter_result;                                                                   \
    } while (0)
#define ENTER_WITH_CONTEXT(counter)                                                                                    \
    do {                                                                                                               \
        ENTER(depth ? (counter) : NULL);                                                                               \
        if (depth == 0) return INVALID_CONTEXT;                                                                        \
    } while (0)

#define ENTER_TO_WORK(counter)                                                                                         \
    do {                                                                                                               \
        if (state.broken) return state.broken;                                                                         \
        ENTER_WITH_CONTEXT(counter);                                                                                   \
    } while (0)

/* -- Control and log ------------------------------------------------------------------------------------------------
 */

#define FAKE_DECLARE(type, name, parameters) FAKE_EXPORT type fake_cuda_##name parameters;
FAKE_CUDA_EXPORTS(FAKE_DECLARE)

void fake_cuda_reset(void) {
    pthread_mutex_lock(&state.lock);
    state.caller = state.broken = state.suspects = 0;
    for (int i = 0; i < FAKE_CUDA_DEVICES_MAX; i++) state.sm[i] = 90;
    state.device_count = 1;
    state.cuda_version = 13000;
    state.capturing = 0;
    state.args_bytes = 0;
    state.elapsed_ms = 1;
    state.fail_entry[0] = 0;
    state.hook = NULL;
    memset(&state.counts, 0, sizeof state.counts);
    pthread_mutex_unlock(&state.lock);
}

int fake_cuda_caller(void) {
    return state.caller;
}

void fake_cuda_set_sm(int sm) {
    state.sm[0] = sm;
}

void fake_cuda_set_device_sm(int device, int sm) {
    state.sm[device] = sm;
}

void fake_cuda_set_elapsed(float ms) {
    state.elapsed_ms = ms;
}

void fake_cuda_set_device_count(int count) {
    state.device_count = count;
}

void fake_cuda_set_cuda_version(int version) {
    state.cuda_version = version;
}

void fake_cuda_set_args_bytes(size_t bytes) {
    state.args_bytes = bytes < FAKE_CUDA_ARGS_MAX ? bytes : FAKE_CUDA_ARGS_MAX;
}

void fake_cuda_fail_next(const char *entry, int result) {
    pthread_mutex_lock(&state.lock);
    snprintf(state.fail_entry, sizeof state.fail_entry, "%s", entry);
    state.fail_result = result;
    pthread_mutex_unlock(&state.lock);
}

void fake_cuda_set_capturing(int capturing) {
    state.capturing = capturing;
}

void fake_cuda_set_launch_hook(void (*hook)(void *user, const struct fake_cuda_launch *launch), void *user) {
    state.hook = hook;
    state.hook_user = user;
}

int fake_cuda_launch_count(void) {
    return state.counts.launches < FAKE_CUDA_LAUNCHES_MAX ? state.counts.launches : FAKE_CUDA_LAUNCHES_MAX;
}

const struct fake_cuda_launch *fake_cuda_launch_at(int index) {
    return index >= 0 && index < fake_cuda_launch_count() ? &launch_log[index] : NULL;
}

struct fake_cuda_counts fake_cuda_counts(void) {
    return state.counts;
}

int fake_cuda_stack_depth(void) {
    return depth;
}

/* -- Device and context ---------------------------------------------------------------------------------------------
 */

FAKE_ENTRY(cuInit, unsigned flags) {
    ENTER(NULL);
    return flags ? INVALID_VALUE : state.device_count ? OK : NO_DEVICE;
}

FAKE_ENTRY(cuDriverGetVersion, int *version) {
    ENTER(NULL);
    *version = state.cuda_version;
    return OK;
}

FAKE_ENTRY(cuGetErrorName, int result, const char **text) {
    enter(__func__, NULL); // errors have names all the same
    *text = result ? "CUDA_ERROR_FAKE" : "CUDA_SUCCESS";
    return OK;
}

FAKE_ENTRY(cuGetErrorString, int result, const char **text) {
    enter(__func__, NULL); // errors have names all the same
    *text = result ? "a failure of the fake driver" : "no error";
    return OK;
}

FAKE_ENTRY(cuDeviceGetCount, int *count) {
    ENTER(NULL);
    *count = state.device_count;
    return OK;
}

FAKE_ENTRY(cuDeviceGet, int *device, int ordinal) {
    ENTER(NULL);
    if (ordinal < 0 || ordinal >= state.device_count) return INVALID_DEVICE;
    *device = ordinal;
    return OK;
}

FAKE_ENTRY(cuDeviceGetName, char *name, int bytes, int device) {
    ENTER(NULL);
    snprintf(name, (size_t)bytes, "Fake GPU %d", device);
    return OK;
}

FAKE_ENTRY(cuDeviceTotalMem_v2, size_t *bytes, int device) {
    ENTER(NULL);
    (void)device;
    *bytes = (size_t)80 << 30;
    return OK;
}

FAKE_ENTRY(cuDeviceGetAttribute, int *value, int attribute, int device) {
    ENTER(NULL);
    if (device < 0 || device >= state.device_count) return INVALID_DEVICE;
    switch (attribute) {
    case 13:
        *value = 1980000;
        return OK;
    case 16:
        *value = 132;
        return OK;
    case 38:
        *value = 50 << 20;
        return OK;
    case 75:
        *value = state.sm[device] / 10;
        return OK;
    case 76:
        *value = state.sm[device] % 10;
        return OK;
    case 97:
        *value = 227 << 10;
        return OK;
    default:
        return INVALID_VALUE;
    }
}

FAKE_ENTRY(cuDevicePrimaryCtxRetain, void **context, int device) {
    ENTER(&state.counts.retains);
    *context = &state.primary[device];
    return OK;
}

FAKE_ENTRY(cuDevicePrimaryCtxRelease_v2, int device) {
    (void)device;
    ENTER(&state.counts.releases);
    return OK;
}

FAKE_ENTRY(cuCtxGetCurrent, void **context) {
    ENTER(NULL);
    *context = depth ? stack[depth - 1] : NULL;
    return OK;
}

FAKE_ENTRY(cuCtxPushCurrent_v2, void *context) {
    ENTER(&state.counts.pushes);
    if (depth == STACK_MAX) return INVALID_VALUE;
    stack[depth++] = context;
    return OK;
}

FAKE_ENTRY(cuCtxPopCurrent_v2, void **context) {
    ENTER_WITH_CONTEXT(&state.counts.pops);
    --depth;
    if (context) *context = stack[depth];
    return OK;
}

FAKE_ENTRY(cuCtxSynchronize, void) {
    ENTER_TO_WORK(&state.counts.synchronisations);
    return OK;
}

/* -- Modules and launches -------------------------------------------------------------------------------------------
 */

FAKE_ENTRY(cuModuleLoadData, void **module, const void *image) {
    ENTER_TO_WORK(NULL);
    if (!image || !memcmp(image, "BAD", 3)) return INVALID_IMAGE;
    struct fake_module *made = calloc(1, sizeof *made);
    if (!made) return 2;
    made->context = stack[depth - 1];
    *module = made;
    pthread_mutex_lock(&state.lock);
    ++state.counts.modules;
    pthread_mutex_unlock(&state.lock);
    return OK;
}

FAKE_ENTRY(cuModuleUnload, void *module) {
    ENTER_WITH_CONTEXT(&state.counts.unloads);
    struct fake_module *gone = module;
    while (gone->functions) {
        struct fake_function *function = gone->functions;
        gone->functions = function->next;
        free(function);
    }
    free(gone);
    return OK;
}

FAKE_ENTRY(cuModuleGetFunction, void **function, void *module, const char *name) {
    ENTER_WITH_CONTEXT(NULL);
    struct fake_module *owner = module;
    struct fake_function *made = calloc(1, sizeof *made);
    if (!made) return 2;
    snprintf(made->name, sizeof made->name, "%s", name);
    made->module = owner;
    made->next = owner->functions;
    owner->functions = made;
    *function = made;
    return OK;
}

FAKE_ENTRY(cuFuncGetAttribute, int *value, int attribute, void *function) {
    ENTER(NULL);
    const struct fake_function *asked = function;
    *value = attribute == 0 ? 1024 : attribute == 8 ? asked->smem_dynamic_max : 0;
    return OK;
}

FAKE_ENTRY(cuFuncSetAttribute, void *function, int attribute, int value) {
    ENTER(NULL);
    struct fake_function *set = function;
    if (attribute != 8 || value < 0 || value > 227 << 10) return INVALID_VALUE;
    set->smem_dynamic_max = value;
    return OK;
}

FAKE_ENTRY(cuFuncLoad, void *function) {
    ENTER(NULL);
    return function ? OK : INVALID_VALUE;
}

// Counts the launches that FAKE_CUDA_ILLEGAL means; under the lock.
static int is_illegal(const char *function) {
    const char *text = getenv("FAKE_CUDA_ILLEGAL");
    char name[128];
    if (!text) return 0;
    const size_t bytes = strcspn(text, "@");
    snprintf(name, sizeof name, "%.*s", (int)bytes, text);
    if (!strstr(function, name)) return 0;
    return ++state.suspects >= (text[bytes] ? atoi(text + bytes + 1) : 1);
}

static void perform(const struct fake_cuda_launch *launch) {
    pthread_mutex_lock(&state.lock);
    if (is_illegal(launch->function)) state.broken = ILLEGAL_INSTRUCTION;
    if (state.counts.launches < FAKE_CUDA_LAUNCHES_MAX) launch_log[state.counts.launches] = *launch;
    ++state.counts.launches;
    pthread_mutex_unlock(&state.lock);
    if (state.hook) state.hook(state.hook_user, launch);
}

static int launch_or_capture(const struct fake_function *launched, struct fake_cuda_launch launch, void **params,
                             void **extra) {
    if (!launched || !launch.grid[0] || !launch.grid[1] || !launch.grid[2] || !launch.block[0] || extra)
        return INVALID_VALUE;
    if (launched->module->context != launch.current_context) return INVALID_CONTEXT;
    if ((int)launch.smem_dynamic > 48 << 10 && (int)launch.smem_dynamic > launched->smem_dynamic_max)
        return INVALID_VALUE;
    memcpy(launch.function, launched->name, sizeof launch.function);
    if (state.args_bytes) memcpy(launch.args, params[0], state.args_bytes);
    if (state.captured && state.captured_stream == launch.stream) {
        if (state.captured->count == FAKE_CUDA_NODES_MAX) return 2;
        state.captured->launch[state.captured->count++] = launch;
        return OK;
    }
    perform(&launch);
    return OK;
}

FAKE_ENTRY(cuLaunchKernel, void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
           unsigned block_y, unsigned block_z, unsigned smem_bytes, void *stream, void **params, void **extra) {
    ENTER_TO_WORK(NULL);
    const struct fake_cuda_launch launch = {.grid = {grid_x, grid_y, grid_z},
                                            .block = {block_x, block_y, block_z},
                                            .smem_dynamic = smem_bytes,
                                            .stream = stream,
                                            .current_context = stack[depth - 1]};
    return launch_or_capture(function, launch, params, extra);
}

// CUlaunchConfig, of which the one attribute known here lets a launch start early.
struct launch_config {
    unsigned grid[3], block[3], smem_bytes;
    void *stream;
    const struct {
        int id, padding;
        int value[16];
    } *attributes;
    unsigned attribute_count;
};

FAKE_ENTRY(cuLaunchKernelEx, const struct launch_config *config, void *function, void **params, void **extra) {
    ENTER_TO_WORK(NULL);
    if (config->attribute_count != 1 || config->attributes->id != 6) return INVALID_VALUE;
    struct fake_cuda_launch launch = {.smem_dynamic = config->smem_bytes,
                                      .stream = config->stream,
                                      .current_context = stack[depth - 1],
                                      .early = config->attributes->value[0]};
    memcpy(launch.grid, config->grid, sizeof launch.grid);
    memcpy(launch.block, config->block, sizeof launch.block);
    return launch_or_capture(function, launch, params, extra);
}

/* -- Graphs: one stream at a time ---------------------------------------------------------------------------------
 */

FAKE_ENTRY(cuStreamBeginCapture_v2, void *stream, int mode) {
    ENTER_TO_WORK(NULL);
    (void)mode;
    if (!stream || state.captured) return CAPTURE_UNSUPPORTED;
    state.captured_stream = stream;
    state.captured = calloc(1, sizeof *state.captured);
    return state.captured ? OK : 2;
}

FAKE_ENTRY(cuStreamEndCapture, void *stream, void **graph) {
    ENTER(NULL);
    if (!state.captured || state.captured_stream != stream) return INVALID_VALUE;
    *graph = state.captured;
    state.captured = NULL;
    return OK;
}

FAKE_ENTRY(cuGraphInstantiateWithFlags, void **exec, void *graph, unsigned long long flags) {
    ENTER(NULL);
    struct fake_graph *copy = malloc(sizeof *copy);
    if (flags || !copy) return INVALID_VALUE;
    memcpy(copy, graph, sizeof *copy);
    *exec = copy;
    return OK;
}

FAKE_ENTRY(cuGraphLaunch, void *exec, void *stream) {
    ENTER_TO_WORK(NULL);
    const struct fake_graph *graph = exec;
    for (int i = 0; i < graph->count; i++) {
        struct fake_cuda_launch launch = graph->launch[i];
        launch.stream = stream;
        perform(&launch);
    }
    return OK;
}

FAKE_ENTRY(cuGraphExecDestroy, void *exec) {
    ENTER(NULL);
    free(exec);
    return OK;
}

FAKE_ENTRY(cuGraphDestroy, void *graph) {
    ENTER(NULL);
    free(graph);
    return OK;
}

/* -- Streams and events ---------------------------------------------------------------------------------------------
 */

FAKE_ENTRY(cuThreadExchangeStreamCaptureMode, int *mode) {
    ENTER(NULL);
    static _Thread_local int current;
    int old = current;
    current = *mode;
    *mode = old;
    return OK;
}

FAKE_ENTRY(cuStreamIsCapturing, void *stream, int *status) {
    ENTER(NULL);
    *status = state.capturing || (state.captured && state.captured_stream == stream) ? 1 : 0;
    return OK;
}

FAKE_ENTRY(cuStreamCreate, void **stream, unsigned flags) {
    ENTER_TO_WORK(NULL);
    (void)flags;
    *stream = malloc(1);
    return *stream ? OK : 2;
}

FAKE_ENTRY(cuStreamDestroy_v2, void *stream) {
    ENTER(NULL);
    free(stream);
    return OK;
}

FAKE_ENTRY(cuStreamSynchronize, void *stream) {
    (void)stream;
    ENTER_TO_WORK(&state.counts.synchronisations);
    return OK;
}

FAKE_ENTRY(cuStreamGetCtx, void *stream, void **context) {
    ENTER(NULL);
    (void)stream;
    *context = &state.primary[0];
    return OK;
}

FAKE_ENTRY(cuEventCreate, void **event, unsigned flags) {
    ENTER(NULL);
    (void)flags;
    *event = malloc(1);
    return *event ? OK : 2;
}

FAKE_ENTRY(cuEventDestroy_v2, void *event) {
    ENTER(NULL);
    free(event);
    return OK;
}

FAKE_ENTRY(cuEventRecord, void *event, void *stream) {
    if (state.broken) return state.broken;
    ENTER(NULL);
    (void)event, (void)stream;
    return OK;
}

FAKE_ENTRY(cuEventSynchronize, void *event) {
    (void)event;
    if (state.broken) return state.broken;
    ENTER(&state.counts.synchronisations);
    return OK;
}

FAKE_ENTRY(cuEventElapsedTime, float *ms, void *from, void *to) {
    ENTER(NULL);
    (void)from, (void)to;
    *ms = state.elapsed_ms;
    return OK;
}

/* -- Memory ---------------------------------------------------------------------------------------------------------
 */

FAKE_ENTRY(cuMemGetInfo_v2, size_t *free_bytes, size_t *total_bytes) {
    ENTER_WITH_CONTEXT(NULL);
    *free_bytes = *total_bytes = (size_t)80 << 30;
    return OK;
}

FAKE_ENTRY(cuMemAlloc_v2, uint64_t *memory, size_t bytes) {
    ENTER_TO_WORK(&state.counts.allocations);
    if (!bytes) return INVALID_VALUE;
    void *made = aligned_alloc(512, (bytes + 511) / 512 * 512);
    if (!made) return 2;
    *memory = (uint64_t)(uintptr_t)made;
    return OK;
}

FAKE_ENTRY(cuMemFree_v2, uint64_t memory) {
    ENTER_WITH_CONTEXT(&state.counts.frees);
    free((void *)(uintptr_t)memory);
    return OK;
}

FAKE_ENTRY(cuMemcpyHtoDAsync_v2, uint64_t to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    ENTER_TO_WORK(NULL);
    memcpy((void *)(uintptr_t)to, from, bytes);
    return OK;
}

FAKE_ENTRY(cuMemcpyDtoHAsync_v2, void *to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    ENTER_TO_WORK(NULL);
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return OK;
}

FAKE_ENTRY(cuMemsetD8Async, uint64_t to, unsigned char value, size_t bytes, void *stream) {
    (void)stream;
    ENTER_TO_WORK(NULL);
    memset((void *)(uintptr_t)to, value, bytes);
    return OK;
}
