// device: see device.h. The driver's table and the primary context are those of runtime/driver.c; this file adds what
// tools need and libsage does not: memory, copies, streams and times, each call checked.
// SPDX-License-Identifier: Apache-2.0
#include "device.h"
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(size_t) == 8, "device sizes are 64 bits wide");

/* -- Errors ---- */

__attribute__((format(printf, 2, 3))) static bool fail(struct device *device, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(device->error, sizeof device->error, format, arguments);
    va_end(arguments);
    return false;
}

static bool check(struct device *device, driver_result result, const char *what) {
    if (result == DRIVER_SUCCESS) return true;
    const struct driver_api *api = &device->driver.api;
    const char *name = NULL, *text = NULL;
    if (api->get_error_name(result, &name) != DRIVER_SUCCESS || !name) name = "unknown";
    if (api->get_error_string(result, &text) != DRIVER_SUCCESS || !text) text = "no text";
    return fail(device, "GPU %d: %s: %s (%d, %s)", device->ordinal, what, name, result, text);
}

const char *device_error(const struct device *device) {
    return device->error;
}

/* -- Opening ---- */

// What a user can do about it.
static const char *remedy(sage_status status, const char *library) {
    if (status == SAGE_ERROR_NO_DRIVER && library)
        return "SAGE_DRIVER names the driver library; unset it to use the system's";
    if (status == SAGE_ERROR_NO_DRIVER)
        return "install the NVIDIA driver, start the container with its GPUs (--gpus all), or let SAGE_DRIVER name "
               "libcuda.so.1";
    if (status == SAGE_ERROR_NO_DEVICE)
        return "nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES and the container's settings may hide them";
    return "nvidia-smi shows whether the GPU is healthy and free";
}

// libsage itself can do without these.
static const char *missing_entry(const struct driver_api *api) {
#define DEVICE_ENTRY_CHECK(member, symbol, required, parameters)                                                       \
    if (!api->member) return symbol;
    DRIVER_ENTRIES(DEVICE_ENTRY_CHECK)
#undef DEVICE_ENTRY_CHECK
    return NULL;
}

static bool make_current(struct device *device) {
    const struct driver *driver = &device->driver;
    const char *missing = missing_entry(&driver->api);
    if (missing) return fail(device, "the NVIDIA driver lacks %s: too old", missing);
    size_t bytes = 0;
    if (driver->api.device_total_mem(&bytes, driver->device) == DRIVER_SUCCESS) device->memory_bytes = bytes;
    return check(device, driver->api.ctx_push(driver->primary), "cuCtxPushCurrent");
}

bool device_open(int ordinal, void *(*entry)(const char *symbol), struct device *out, char *why, size_t why_bytes) {
    const char *library = getenv("SAGE_DRIVER");
    if (library && !*library) library = NULL;
    const struct driver_source source = {.entry = entry, .path = library};
    struct device opened = {.ordinal = ordinal};
    if (ordinal < 0) {
        snprintf(why, why_bytes, "GPU %d: ordinals count from 0", ordinal);
        return false;
    }
    sage_status status = driver_open(NULL, &source, ordinal, &opened.driver);
    if (status != SAGE_OK) {
        snprintf(why, why_bytes, "%s; %s", sage_last_error(NULL), remedy(status, library));
        return false;
    }
    if (!make_current(&opened)) {
        snprintf(why, why_bytes, "%s", opened.error);
        driver_close(&opened.driver);
        return false;
    }
    *out = opened;
    return true;
}

void device_close(struct device *device) {
    if (!driver_is_open(&device->driver)) return;
    driver_context popped;
    device->driver.api.ctx_pop(&popped);
    driver_close(&device->driver);
}

/* -- Memory ---- */

static driver_pointer address(const void *memory) {
    return (driver_pointer)(uintptr_t)memory;
}

static bool out_of_memory(struct device *device, uint64_t bytes) {
    uint64_t free_bytes = 0, total_bytes = 0;
    if (!device_memory_info(device, &free_bytes, &total_bytes)) return false;
    return fail(device, "GPU %d is out of memory: %.2f GB (%" PRIu64 " bytes) asked for, %.2f of %.2f GB free",
                device->ordinal, (double)bytes * 1e-9, bytes, (double)free_bytes * 1e-9, (double)total_bytes * 1e-9);
}

bool device_alloc(struct device *device, uint64_t bytes, void **out) {
    driver_pointer memory = 0;
    *out = NULL;
    driver_result result = device->driver.api.mem_alloc(&memory, bytes ? bytes : 1);
    if (result == DRIVER_OUT_OF_MEMORY) return out_of_memory(device, bytes);
    if (!check(device, result, "cuMemAlloc")) return false;
    *out = (void *)(uintptr_t)memory;
    return true;
}

void device_free(struct device *device, void *memory) {
    if (memory) device->driver.api.mem_free(address(memory));
}

bool device_memory_info(struct device *device, uint64_t *free_bytes, uint64_t *total_bytes) {
    size_t available = 0, total = 0;
    if (!check(device, device->driver.api.mem_get_info(&available, &total), "cuMemGetInfo")) return false;
    *free_bytes = available;
    *total_bytes = total;
    return true;
}

bool device_upload(struct device *device, void *to, const void *from, uint64_t bytes, sage_stream stream) {
    if (bytes == 0) return true;
    driver_result result = device->driver.api.memcpy_to_device(address(to), from, bytes, stream);
    return check(device, result, "cuMemcpyHtoDAsync") && device_synchronize(device, stream);
}

bool device_download(struct device *device, void *to, const void *from, uint64_t bytes, sage_stream stream) {
    if (bytes == 0) return true;
    driver_result result = device->driver.api.memcpy_to_host(to, address(from), bytes, stream);
    return check(device, result, "cuMemcpyDtoHAsync") && device_synchronize(device, stream);
}

bool device_memset_u8(struct device *device, void *to, uint8_t value, uint64_t bytes, sage_stream stream) {
    if (bytes == 0) return true;
    return check(device, device->driver.api.memset_u8(address(to), value, bytes, stream), "cuMemsetD8Async");
}

/* -- Streams and events ---- */

bool device_stream_create(struct device *device, sage_stream *out) {
    driver_stream stream = NULL;
    driver_result result = device->driver.api.stream_create(&stream, DRIVER_STREAM_NON_BLOCKING);
    if (!check(device, result, "cuStreamCreate")) return false;
    *out = stream;
    return true;
}

void device_stream_destroy(struct device *device, sage_stream stream) {
    if (stream) device->driver.api.stream_destroy(stream);
}

bool device_synchronize(struct device *device, sage_stream stream) {
    return check(device, device->driver.api.stream_synchronize(stream), "cuStreamSynchronize");
}

bool device_event_create(struct device *device, device_event *out) {
    device_event event = NULL;
    if (!check(device, device->driver.api.event_create(&event, 0), "cuEventCreate")) return false;
    *out = event;
    return true;
}

void device_event_destroy(struct device *device, device_event event) {
    if (event) device->driver.api.event_destroy(event);
}

bool device_event_record(struct device *device, device_event event, sage_stream stream) {
    return check(device, device->driver.api.event_record(event, stream), "cuEventRecord");
}

bool device_event_elapsed(struct device *device, device_event from, device_event to, double *ms) {
    float elapsed = 0;
    if (!check(device, device->driver.api.event_synchronize(to), "cuEventSynchronize")) return false;
    if (!check(device, device->driver.api.event_elapsed_ms(&elapsed, from, to), "cuEventElapsedTime")) return false;
    *ms = (double)elapsed;
    return true;
}

/* -- Graphs ---- */

bool device_capture_begin(struct device *device, sage_stream stream) {
    driver_result result = device->driver.api.stream_begin_capture(stream, DRIVER_CAPTURE_THREAD_LOCAL);
    return check(device, result, "cuStreamBeginCapture");
}

bool device_capture_end(struct device *device, sage_stream stream, device_graph *out) {
    const struct driver_api *api = &device->driver.api;
    driver_graph graph = NULL;
    *out = NULL;
    if (!check(device, api->stream_end_capture(stream, &graph), "cuStreamEndCapture")) return false;
    bool ok = check(device, api->graph_instantiate(out, graph, 0), "cuGraphInstantiate");
    api->graph_destroy(graph);
    if (!ok) *out = NULL;
    return ok;
}

bool device_graph_launch(struct device *device, device_graph graph, sage_stream stream) {
    return check(device, device->driver.api.graph_launch(graph, stream), "cuGraphLaunch");
}

void device_graph_destroy(struct device *device, device_graph graph) {
    if (graph) device->driver.api.graph_exec_destroy(graph);
}
