// vm_stream: streams and events of the machine's driver: all work is done when a call returns, and takes the host's
// time. SPDX-License-Identifier: Apache-2.0
#include "vm_internal.h"

#include "buf.h"
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

driver_result vm_entry_exchange_capture_mode(int *mode) {
    (void)mode;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_stream_is_capturing(driver_stream stream, int *status) {
    vm_enter();
    *status = vm_is_capturing(stream) ? 1 : DRIVER_CAPTURE_NONE; // CU_STREAM_CAPTURE_STATUS_ACTIVE
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_stream_create(driver_stream *stream, unsigned flags) {
    (void)flags;
    *stream = xcalloc(1, 1); // an address of its own
    return DRIVER_SUCCESS;
}

driver_result vm_entry_stream_destroy(driver_stream stream) {
    free(stream);
    return DRIVER_SUCCESS;
}

driver_result vm_entry_stream_synchronize(driver_stream stream) {
    vm_enter();
    return vm_leave(vm_unless_capturing(stream));
}

driver_result vm_entry_stream_get_ctx(driver_stream stream, driver_context *context) {
    (void)stream;
    *context = vm_primary();
    return DRIVER_SUCCESS;
}

driver_result vm_entry_event_create(driver_event *event, unsigned flags) {
    (void)flags;
    *event = xcalloc(1, sizeof **event);
    return DRIVER_SUCCESS;
}

driver_result vm_entry_event_destroy(driver_event event) {
    free(event);
    return DRIVER_SUCCESS;
}

driver_result vm_entry_event_record(driver_event event, driver_stream stream) {
    (void)stream;
    event->seconds = now();
    return DRIVER_SUCCESS;
}

driver_result vm_entry_event_synchronize(driver_event event) {
    (void)event;
    return DRIVER_SUCCESS;
}

driver_result vm_entry_event_elapsed_ms(float *ms, driver_event from, driver_event to) {
    *ms = (float)((to->seconds - from->seconds) * 1e3);
    return DRIVER_SUCCESS;
}
