// device: one GPU, or what stands in for it, for the commands that run kernels: its memory, streams and events, over the
// driver by dlopen or the caller's entry points. In: an ordinal; SAGE_DRIVER names the driver library, as for libsage. Out: device memory, copies, times; every failure is
// false, with a sentence in device_error(). Never launches, compiles or prints.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_DEVICE_H
#define SAGE_GEN_DEVICE_H

#include "driver.h"

#define DEVICE_ERROR_BYTES 512

typedef driver_event device_event;
typedef driver_graph_exec device_graph;

// Between open and close its primary context is the current one of the thread that opened it: use it from that thread.
struct device {
    struct driver driver; /* device_name, sm, multiprocessors, l2_bytes, cuda_version */
    int ordinal;
    uint64_t memory_bytes; /* of the whole device; 0 where the driver cannot tell */
    char error[DEVICE_ERROR_BYTES];
};

// Retains the primary context and makes it current. entry: the driver's entry points by name, as sage_options takes
// them; NULL: the driver's library. False: why says what is missing and what to do about it.
bool device_open(int ordinal, void *(*entry)(const char *symbol), struct device *out, char *why, size_t why_bytes);
// Puts the thread's former context back. Memory, streams and events are freed before. A zeroed device is allowed.
void device_close(struct device *device);
const char *device_error(const struct device *device); // the sentence of the last failed call

/* -- Memory: pointers are device pointers, at least 256-byte aligned; sizes in bytes, 0 is allowed ---- */

bool device_alloc(struct device *device, uint64_t bytes, void **out); // *out is NULL on failure
void device_free(struct device *device, void *memory);                // NULL is allowed
bool device_memory_info(struct device *device, uint64_t *free_bytes, uint64_t *total_bytes);

// In the order of the stream; uploads and downloads wait for their end, so that the host memory may be used at once.
bool device_upload(struct device *device, void *to, const void *from, uint64_t bytes, sage_stream stream);
bool device_download(struct device *device, void *to, const void *from, uint64_t bytes, sage_stream stream);
bool device_memset_u8(struct device *device, void *to, uint8_t value, uint64_t bytes, sage_stream stream);

/* -- Streams and events ---- */

bool device_stream_create(struct device *device, sage_stream *out); // does not wait for the default stream
void device_stream_destroy(struct device *device, sage_stream stream);
bool device_synchronize(struct device *device, sage_stream stream); // also reports what failed inside kernels

bool device_event_create(struct device *device, device_event *out);
void device_event_destroy(struct device *device, device_event event); // NULL is allowed
bool device_event_record(struct device *device, device_event event, sage_stream stream);
// Waits for `to`. **Units** milliseconds between the two records.
bool device_event_elapsed(struct device *device, device_event from, device_event to, double *ms);

/* -- Graphs: what a stream that is not the default one is given between begin and end, for many launches ---- */

bool device_capture_begin(struct device *device, sage_stream stream);
// Ends the capture in any case. *out is NULL on failure.
bool device_capture_end(struct device *device, sage_stream stream, device_graph *out);
bool device_graph_launch(struct device *device, device_graph graph, sage_stream stream);
void device_graph_destroy(struct device *device, device_graph graph); // NULL is allowed

#endif
