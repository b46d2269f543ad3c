// driver: the NVIDIA driver through dlopen: one table of entry points, one device, its primary context. In: the
// library's name and a device ordinal. Out: calls by name, with errors as text. Needs no cuda.h; leaves the caller's
// current context as it was. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_DRIVER_H
#define SAGE_DRIVER_H

#include "sage.h"
#include <stdbool.h>

// Own names for the driver's types (values and layouts are the driver's ABI).
typedef int driver_result;       /* CUresult; 0 is success */
typedef int driver_device;       /* CUdevice */
typedef uint64_t driver_pointer; /* CUdeviceptr */
typedef struct driver_context_handle *driver_context;
typedef struct driver_module_handle *driver_module;
typedef struct driver_function_handle *driver_function;
typedef struct driver_stream_handle *driver_stream;
typedef struct driver_event_handle *driver_event;
typedef struct driver_graph_handle *driver_graph;
typedef struct driver_graph_exec_handle *driver_graph_exec;

enum {
    DRIVER_SUCCESS = 0,
    DRIVER_INVALID_VALUE = 1,
    DRIVER_OUT_OF_MEMORY = 2,
    DRIVER_NO_DEVICE = 100,
    DRIVER_INVALID_DEVICE = 101,
    DRIVER_INVALID_IMAGE = 200,
    DRIVER_INVALID_CONTEXT = 201,
    DRIVER_NO_BINARY_FOR_GPU = 209,
    DRIVER_NOT_FOUND = 500,
    DRIVER_FUNCTION_MAX_THREADS = 0,      /* CUfunction_attribute */
    DRIVER_FUNCTION_MAX_DYNAMIC_SMEM = 8, /* CUfunction_attribute */
    DRIVER_DEVICE_CLOCK_KHZ = 13,         /* CUdevice_attribute */
    DRIVER_DEVICE_MULTIPROCESSORS = 16,   /* CUdevice_attribute */
    DRIVER_DEVICE_L2_BYTES = 38,          /* CUdevice_attribute */
    DRIVER_DEVICE_CAPABILITY_MAJOR = 75,  /* CUdevice_attribute */
    DRIVER_DEVICE_CAPABILITY_MINOR = 76,  /* CUdevice_attribute */
    DRIVER_DEVICE_SMEM_OPTIN = 97,        /* CUdevice_attribute: bytes per block */
    DRIVER_CAPTURE_NONE = 0,              /* CUstreamCaptureStatus */
    DRIVER_CAPTURE_THREAD_LOCAL = 1,      /* CUstreamCaptureMode */
    DRIVER_CAPTURE_RELAXED = 2,           /* CUstreamCaptureMode */
    DRIVER_STREAM_NON_BLOCKING = 1,       /* CUstream_flags */
    DRIVER_LAUNCH_PROGRAMMATIC = 6,       /* CUlaunchAttributeID: PROGRAMMATIC_STREAM_SERIALIZATION */
    DRIVER_PROGRAMMATIC_VERSION = 12030   /* of the driver, from which captured graphs keep that attribute */
};

// X(member, symbol, required, (parameters)): libsage itself needs the required ones; the others may be NULL.
#define DRIVER_ENTRIES(X)                                                                                              \
    X(init, "cuInit", 1, (unsigned flags))                                                                             \
    X(driver_get_version, "cuDriverGetVersion", 1, (int *version))                                                     \
    X(get_error_name, "cuGetErrorName", 1, (driver_result result, const char **text))                                  \
    X(get_error_string, "cuGetErrorString", 1, (driver_result result, const char **text))                              \
    X(device_get_count, "cuDeviceGetCount", 1, (int *count))                                                           \
    X(device_get, "cuDeviceGet", 1, (driver_device * device, int ordinal))                                             \
    X(device_get_name, "cuDeviceGetName", 1, (char *name, int bytes, driver_device device))                            \
    X(device_get_attribute, "cuDeviceGetAttribute", 1, (int *value, int attribute, driver_device device))              \
    X(device_total_mem, "cuDeviceTotalMem_v2", 0, (size_t * bytes, driver_device device))                              \
    X(primary_retain, "cuDevicePrimaryCtxRetain", 1, (driver_context * context, driver_device device))                 \
    X(primary_release, "cuDevicePrimaryCtxRelease_v2", 1, (driver_device device))                                      \
    X(ctx_get_current, "cuCtxGetCurrent", 1, (driver_context * context))                                               \
    X(ctx_push, "cuCtxPushCurrent_v2", 1, (driver_context context))                                                    \
    X(ctx_pop, "cuCtxPopCurrent_v2", 1, (driver_context * context))                                                    \
    X(ctx_synchronize, "cuCtxSynchronize", 0, (void))                                                                  \
    X(module_load_data, "cuModuleLoadData", 1, (driver_module * module, const void *image))                            \
    X(module_unload, "cuModuleUnload", 1, (driver_module module))                                                      \
    X(module_get_function, "cuModuleGetFunction", 1,                                                                   \
      (driver_function * function, driver_module module, const char *name))                                            \
    X(func_get_attribute, "cuFuncGetAttribute", 1, (int *value, int attribute, driver_function function))              \
    X(func_set_attribute, "cuFuncSetAttribute", 1, (driver_function function, int attribute, int value))               \
    X(func_load, "cuFuncLoad", 0, (driver_function function))                                                          \
    X(launch_kernel, "cuLaunchKernel", 1,                                                                              \
      (driver_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,                  \
       unsigned block_y, unsigned block_z, unsigned smem_bytes, driver_stream stream, void **params, void **extra))    \
    X(launch_kernel_ex, "cuLaunchKernelEx", 0,                                                                         \
      (const struct driver_launch *launch, driver_function function, void **params, void **extra))                     \
    X(exchange_capture_mode, "cuThreadExchangeStreamCaptureMode", 0, (int *mode))                                      \
    X(stream_is_capturing, "cuStreamIsCapturing", 0, (driver_stream stream, int *status))                              \
    X(stream_begin_capture, "cuStreamBeginCapture_v2", 0, (driver_stream stream, int mode))                            \
    X(stream_end_capture, "cuStreamEndCapture", 0, (driver_stream stream, driver_graph * graph))                       \
    X(graph_instantiate, "cuGraphInstantiateWithFlags", 0,                                                             \
      (driver_graph_exec * exec, driver_graph graph, unsigned long long flags))                                        \
    X(graph_launch, "cuGraphLaunch", 0, (driver_graph_exec exec, driver_stream stream))                                \
    X(graph_exec_destroy, "cuGraphExecDestroy", 0, (driver_graph_exec exec))                                           \
    X(graph_destroy, "cuGraphDestroy", 0, (driver_graph graph))                                                        \
    X(stream_create, "cuStreamCreate", 0, (driver_stream * stream, unsigned flags))                                    \
    X(stream_destroy, "cuStreamDestroy_v2", 0, (driver_stream stream))                                                 \
    X(stream_synchronize, "cuStreamSynchronize", 0, (driver_stream stream))                                            \
    X(stream_get_ctx, "cuStreamGetCtx", 0, (driver_stream stream, driver_context * context))                           \
    X(event_create, "cuEventCreate", 0, (driver_event * event, unsigned flags))                                        \
    X(event_destroy, "cuEventDestroy_v2", 0, (driver_event event))                                                     \
    X(event_record, "cuEventRecord", 0, (driver_event event, driver_stream stream))                                    \
    X(event_synchronize, "cuEventSynchronize", 0, (driver_event event))                                                \
    X(event_elapsed_ms, "cuEventElapsedTime", 0, (float *ms, driver_event from, driver_event to))                      \
    X(mem_get_info, "cuMemGetInfo_v2", 0, (size_t * free_bytes, size_t * total_bytes))                                 \
    X(mem_alloc, "cuMemAlloc_v2", 0, (driver_pointer * memory, size_t bytes))                                          \
    X(mem_free, "cuMemFree_v2", 0, (driver_pointer memory))                                                            \
    X(memcpy_to_device, "cuMemcpyHtoDAsync_v2", 0,                                                                     \
      (driver_pointer to, const void *from, size_t bytes, driver_stream stream))                                       \
    X(memcpy_to_host, "cuMemcpyDtoHAsync_v2", 0, (void *to, driver_pointer from, size_t bytes, driver_stream stream))  \
    X(memset_u8, "cuMemsetD8Async", 0, (driver_pointer to, unsigned char value, size_t bytes, driver_stream stream))

// CUlaunchAttribute and CUlaunchConfig, as the driver's ABI has them.
struct driver_launch_attribute {
    int id;
    int padding;
    union {
        int allowed;
        uint64_t words[8];
    } value;
};

struct driver_launch {
    unsigned grid[3], block[3];
    unsigned smem_bytes;
    driver_stream stream;
    struct driver_launch_attribute *attributes;
    unsigned attribute_count;
};

#define DRIVER_ENTRY_MEMBER(member, symbol, required, parameters) driver_result(*member) parameters;
struct driver_api {
    DRIVER_ENTRIES(DRIVER_ENTRY_MEMBER)
};

// Where the entry points come from.
struct driver_source {
    void *(*entry)(const char *symbol); /* not NULL: asked for each symbol; NULL for one it lacks. No library is opened */
    const char *path;                   /* of the library otherwise; NULL: libcuda.so.1 */
};

// One opened driver and one device. All zero: no device (options.device == -1).
struct driver {
    void *library; /* NULL where the entry points came from a function */
    struct driver_api api;
    driver_device device;
    driver_context primary; /* retained */
    char device_name[128];
    int cuda_version; /* that the driver supports: 13000 */
    int sm;           /* 90, 120, ...; 0: no device */
    int multiprocessors;
    int smem_optin_bytes; /* per block */
    int l2_bytes;
};

// Opens the driver, initialises it, retains the primary context of ordinal. *driver is untouched on failure. Errors:
// NO_DRIVER, NO_DEVICE, CUDA.
sage_status driver_open(sage_context *context, const struct driver_source *source, int ordinal, struct driver *driver);
void driver_close(struct driver *driver); /* one that is not open is allowed */
bool driver_is_open(const struct driver *driver);
// The CUDA version that the driver in this system supports (13000), without making a device; 0: no driver.
int driver_probe_version(const sage_context *context);

// NULL where the context has no device.
const struct driver *context_driver(const sage_context *context);

// Makes the primary context current for the calling thread if it is not already; *pushed tells driver_leave what to
// undo. Between the two any entry of the table may be called. Errors: NO_DEVICE (device -1), CUDA.
sage_status driver_enter(sage_context *context, bool *pushed);
void driver_leave(sage_context *context, bool pushed);

// SAGE_OK for success, else CUDA (OUT_OF_MEMORY is for host memory only) with "what: CUDA_ERROR_X (text)".
sage_status driver_check(sage_context *context, driver_result result, const char *what);
// Whether the stream is being captured; false where the driver cannot tell. Does not disturb the capture.
bool driver_is_capturing(sage_context *context, sage_stream stream);

#endif
