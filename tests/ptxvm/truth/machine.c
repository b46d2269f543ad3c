// machine: runs a case on the virtual machine, all checks on. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <string.h>

struct note {
    char *text;
    size_t bytes;
};

static void take_finding(void *user, const struct ptxvm_finding *finding) {
    struct note *note = user;
    if (note->text[0] == 0)
        snprintf(note->text, note->bytes, "PTX line %u, warp %d lane %d: %s: %s", finding->ptx_line, finding->warp,
                 finding->lane, ptxvm_finding_text(finding->kind), finding->text);
}

static ptxvm_status launch(ptxvm *vm, ptxvm_module *module, const struct truth_case *c, uint8_t *output) {
    uint64_t parameters[2] = {0, 0};
    ptxvm_kernel *kernel;
    ptxvm_status status = ptxvm_module_kernel(module, c->kernel, &kernel);
    if (status == PTXVM_OK) status = ptxvm_alloc(vm, c->input_bytes, &parameters[0]);
    if (status == PTXVM_OK) status = ptxvm_alloc(vm, c->output_bytes, &parameters[1]);
    if (status == PTXVM_OK) status = ptxvm_write(vm, parameters[0], c->input, c->input_bytes);
    if (status == PTXVM_OK) status = ptxvm_set(vm, parameters[1], 0, c->output_bytes);
    if (status != PTXVM_OK) return status;
    struct ptxvm_launch what = {.grid = {c->grid > 0 ? c->grid : c->lanes / c->block, 1, 1},
                                .block = {c->block, 1, 1},
                                .parameters = parameters};
    status = ptxvm_run(vm, kernel, &what);
    ptxvm_status read = ptxvm_read(vm, output, parameters[1], c->output_bytes);
    return status != PTXVM_OK ? status : read;
}

ptxvm_status truth_run_machine(const struct truth_case *c, uint8_t *output, char *message, size_t bytes) {
    struct note note = {message, bytes};
    struct ptxvm_options options = {.size = sizeof options,
                                    .checks = PTXVM_CHECK_ALL,
                                    .seed = c->key,
                                    .instruction_limit = UINT64_C(1) << 32,
                                    .finding = take_finding,
                                    .user = &note};
    ptxvm_module *module = NULL;
    ptxvm *vm = NULL;
    message[0] = 0;
    ptxvm_status status = ptxvm_create(&options, &vm);
    if (status == PTXVM_OK) status = ptxvm_module_load(vm, c->ptx, strlen(c->ptx), &module);
    if (status == PTXVM_OK) status = launch(vm, module, c, output);
    if (status != PTXVM_OK && message[0] == 0)
        snprintf(message, bytes, "%s", vm != NULL ? ptxvm_error(vm) : ptxvm_status_text(status));
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
    return status;
}
