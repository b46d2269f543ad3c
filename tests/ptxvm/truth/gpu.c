// gpu: runs a case on the first GPU through the driver, which compiles the PTX itself. A case that fails gets a new
// context, since errors of kernels stick to one. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// The driver's ABI, under own names.
typedef int result;
typedef uint64_t address;
typedef struct context_handle *context;
typedef struct module_handle *module;
typedef struct function_handle *function;

enum { JIT_LOG = 5, JIT_LOG_BYTES = 6 }; /* CUjit_option: error log */

#define ENTRIES(X)                                                                                                     \
    X(init, "cuInit", (unsigned flags))                                                                                \
    X(device_get, "cuDeviceGet", (int *device, int ordinal))                                                           \
    X(device_name, "cuDeviceGetName", (char *name, int bytes, int device))                                             \
    X(driver_version, "cuDriverGetVersion", (int *version))                                                            \
    X(error_name, "cuGetErrorName", (result error, const char **text))                                                 \
    X(context_retain, "cuDevicePrimaryCtxRetain", (context * context, int device))                                     \
    X(context_reset, "cuDevicePrimaryCtxReset_v2", (int device))                                                       \
    X(context_set, "cuCtxSetCurrent", (context context))                                                               \
    X(synchronize, "cuCtxSynchronize", (void))                                                                         \
    X(module_load, "cuModuleLoadDataEx",                                                                               \
      (module * module, const void *image, unsigned count, int *options, void **values))                               \
    X(module_unload, "cuModuleUnload", (module module))                                                                \
    X(function_get, "cuModuleGetFunction", (function * function, module module, const char *name))                     \
    X(allocate, "cuMemAlloc_v2", (address * memory, size_t bytes))                                                     \
    X(release, "cuMemFree_v2", (address memory))                                                                       \
    X(set, "cuMemsetD8_v2", (address to, unsigned char value, size_t bytes))                                           \
    X(to_device, "cuMemcpyHtoD_v2", (address to, const void *from, size_t bytes))                                      \
    X(to_host, "cuMemcpyDtoH_v2", (void *to, address from, size_t bytes))                                              \
    X(launch, "cuLaunchKernel",                                                                                        \
      (function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,       \
       unsigned block_z, unsigned smem_bytes, void *stream, void **parameters, void **extra))

#define ENTRY_MEMBER(member, symbol, parameters) result(*member) parameters;
struct truth_gpu {
    ENTRIES(ENTRY_MEMBER)
    void *library;
    context context;
    int device;
    char name[128];
};

static bool resolve(struct truth_gpu *gpu, char *message, size_t bytes) {
#define ENTRY_RESOLVE(member, symbol, parameters)                                                                      \
    {                                                                                                                  \
        void *entry = dlsym(gpu->library, symbol);                                                                     \
        memcpy(&gpu->member, &entry, sizeof entry);                                                                    \
        if (entry == NULL) {                                                                                           \
            snprintf(message, bytes, "libcuda.so.1 has no %s", symbol);                                                \
            return false;                                                                                              \
        }                                                                                                              \
    }
    ENTRIES(ENTRY_RESOLVE)
    return true;
}

static bool check(const struct truth_gpu *gpu, result error, const char *what, char *message, size_t bytes) {
    const char *name = NULL;
    if (error == 0) return true;
    if (message[0] != 0) return false; /* the first one counts */
    gpu->error_name(error, &name);
    snprintf(message, bytes, "%s: %s", what, name != NULL ? name : "unknown error");
    return false;
}

static bool attach(struct truth_gpu *gpu, char *message, size_t bytes) {
    return check(gpu, gpu->context_retain(&gpu->context, gpu->device), "cuDevicePrimaryCtxRetain", message, bytes) &&
           check(gpu, gpu->context_set(gpu->context), "cuCtxSetCurrent", message, bytes);
}

struct truth_gpu *truth_gpu_open(char *message, size_t bytes) {
    struct truth_gpu *gpu = calloc(1, sizeof *gpu);
    message[0] = 0;
    if (gpu == NULL) return NULL;
    gpu->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (gpu->library == NULL) snprintf(message, bytes, "%s", dlerror());
    bool open =
        gpu->library != NULL && resolve(gpu, message, bytes) && check(gpu, gpu->init(0), "cuInit", message, bytes) &&
        check(gpu, gpu->device_get(&gpu->device, 0), "cuDeviceGet", message, bytes) &&
        check(gpu, gpu->device_name(gpu->name, sizeof gpu->name, gpu->device), "cuDeviceGetName", message, bytes) &&
        attach(gpu, message, bytes);
    if (open) return gpu;
    truth_gpu_close(gpu);
    return NULL;
}

void truth_gpu_close(struct truth_gpu *gpu) {
    if (gpu != NULL && gpu->library != NULL) dlclose(gpu->library);
    free(gpu);
}

const char *truth_gpu_name(const struct truth_gpu *gpu) {
    return gpu->name;
}

/* -- A case -------------------------------------------------------------------------------------------------------- */

static bool load(struct truth_gpu *gpu, const struct truth_case *c, module *loaded, function *entry, char *message,
                 size_t bytes) {
    char log[512] = "", what[600];
    int options[] = {JIT_LOG, JIT_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    result error = gpu->module_load(loaded, c->ptx, 2, options, values);
    snprintf(what, sizeof what, "cuModuleLoadDataEx %s", log);
    for (char *at = what; *at != 0; at++)
        if (*at == '\n') *at = ' ';
    return check(gpu, error, what, message, bytes) &&
           check(gpu, gpu->function_get(entry, *loaded, c->kernel), "cuModuleGetFunction", message, bytes);
}

static bool launch(struct truth_gpu *gpu, const struct truth_case *c, function entry, address in, address out,
                   uint8_t *output, char *message, size_t bytes) {
    void *parameters[] = {&in, &out};
    unsigned grid = c->grid > 0 ? c->grid : c->lanes / c->block;
    return check(gpu, gpu->to_device(in, c->input, c->input_bytes), "cuMemcpyHtoD", message, bytes) &&
           check(gpu, gpu->set(out, 0, c->output_bytes), "cuMemsetD8", message, bytes) &&
           check(gpu, gpu->launch(entry, grid, 1, 1, c->block, 1, 1, 0, NULL, parameters, NULL), "cuLaunchKernel",
                 message, bytes) &&
           check(gpu, gpu->synchronize(), "cuCtxSynchronize", message, bytes) &&
           check(gpu, gpu->to_host(output, out, c->output_bytes), "cuMemcpyDtoH", message, bytes);
}

bool truth_gpu_run(struct truth_gpu *gpu, const struct truth_case *c, uint8_t *output, char *message, size_t bytes) {
    module loaded = NULL;
    function entry = NULL;
    address in = 0, out = 0;
    message[0] = 0;
    bool ran = load(gpu, c, &loaded, &entry, message, bytes) &&
               check(gpu, gpu->allocate(&in, c->input_bytes + 1), "cuMemAlloc", message, bytes) &&
               check(gpu, gpu->allocate(&out, c->output_bytes + 1), "cuMemAlloc", message, bytes) &&
               launch(gpu, c, entry, in, out, output, message, bytes);
    if (ran || entry == NULL) {
        if (in != 0) gpu->release(in);
        if (out != 0) gpu->release(out);
        if (loaded != NULL) gpu->module_unload(loaded);
        return ran;
    }
    char ignored[200] = "";
    gpu->context_reset(gpu->device);
    attach(gpu, ignored, sizeof ignored);
    return false;
}
