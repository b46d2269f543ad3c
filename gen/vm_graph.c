// vm_graph: capture of a stream and replay, in the machine's driver: launches in their order, each with its parameters
// as they were. One stream can be captured at a time; a capture takes launches alone. SPDX-License-Identifier:
// Apache-2.0
#include "vm_internal.h"

#include "buf.h"
#include <stdlib.h>
#include <string.h>

struct vm_node {
    driver_function function;
    struct ptxvm_launch launch; /* owns its parameters */
};

struct driver_graph_handle {
    struct vm_node *node;
    int count;
};

static driver_graph graph_new(void) {
    return xcalloc(1, sizeof(struct driver_graph_handle));
}

static void graph_free(driver_graph graph) {
    for (int i = 0; graph && i < graph->count; i++) free((void *)(uintptr_t)graph->node[i].launch.parameters);
    if (graph) free(graph->node);
    free(graph);
}

/* -- Capture ---- */

bool vm_is_capturing(driver_stream stream) {
    return vm.captured && vm.capturing == stream;
}

driver_result vm_unless_capturing(driver_stream stream) {
    return vm_is_capturing(stream) ? VM_CAPTURE_UNSUPPORTED : DRIVER_SUCCESS;
}

void vm_capture_add(driver_function function, const struct ptxvm_launch *launch) {
    driver_graph graph = vm.captured;
    struct vm_node *node = xcalloc((size_t)graph->count + 1, sizeof *node);
    if (graph->count) memcpy(node, graph->node, (size_t)graph->count * sizeof *node);
    free(graph->node);
    graph->node = node;
    graph->node[graph->count++] = (struct vm_node){function, *launch};
}

driver_result vm_entry_stream_begin_capture(driver_stream stream, int mode) {
    (void)mode;
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    if (!stream || vm.captured) return vm_leave(VM_CAPTURE_UNSUPPORTED); // the legacy stream, or a second one
    vm.capturing = stream;
    vm.captured = graph_new();
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_stream_end_capture(driver_stream stream, driver_graph *graph) {
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    if (!vm_is_capturing(stream)) return vm_leave(VM_CAPTURE_UNMATCHED);
    *graph = vm.captured;
    vm.captured = NULL;
    return vm_leave(DRIVER_SUCCESS);
}

/* -- Replay: an executable graph is a copy ---- */

driver_result vm_entry_graph_instantiate(driver_graph_exec *exec, driver_graph graph, unsigned long long flags) {
    if (flags) return DRIVER_INVALID_VALUE;
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    driver_graph copy = graph_new();
    copy->node = xcalloc((size_t)graph->count + 1, sizeof *copy->node);
    copy->count = graph->count;
    for (int i = 0; i < graph->count; i++) {
        struct ptxvm_kernel_info info;
        copy->node[i] = graph->node[i];
        ptxvm_kernel_info(graph->node[i].function->kernel, &info);
        void *parameters = xcalloc(1, info.parameter_bytes + 1);
        memcpy(parameters, graph->node[i].launch.parameters, info.parameter_bytes);
        copy->node[i].launch.parameters = parameters;
    }
    *exec = (driver_graph_exec)copy;
    return vm_leave(DRIVER_SUCCESS);
}

driver_result vm_entry_graph_launch(driver_graph_exec exec, driver_stream stream) {
    const struct driver_graph_handle *graph = (driver_graph)exec;
    if (!vm_enter()) return vm_leave(DRIVER_INVALID_CONTEXT);
    driver_result result = vm_unless_capturing(stream);
    for (int i = 0; i < graph->count && result == DRIVER_SUCCESS; i++)
        result = vm_run(graph->node[i].function, &graph->node[i].launch);
    return vm_leave(result);
}

driver_result vm_entry_graph_exec_destroy(driver_graph_exec exec) {
    graph_free((driver_graph)exec);
    return DRIVER_SUCCESS;
}

driver_result vm_entry_graph_destroy(driver_graph graph) {
    graph_free(graph);
    return DRIVER_SUCCESS;
}
