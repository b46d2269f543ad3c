// compile: one NVRTC program per call, made, compiled, read and destroyed here; no state between calls. Standard
// options come first, so that the caller's may follow up on them. SPDX-License-Identifier: Apache-2.0
#include "compile.h"
#include "context.h"
#include "meta.h"
#include "nvrtc.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Options --------------------------------------------------------------------------------------------------------
 */

sage_status compile_options(sage_context *context, const struct compile_input *input, char arch[COMPILE_ARCH_BYTES],
                            const char *options[COMPILE_OPTIONS_MAX], int *count) {
    struct meta_target target;
    if (!input->source || !input->name || !input->target || !meta_target_parse(input->target, &target))
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                             "compile: needs source, name, and a target such as sm_90a, not %s",
                             input->target ? input->target : "NULL");
    if (memchr(input->source, 0, input->source_bytes))
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "compile: a NUL byte in the source");
    snprintf(arch, COMPILE_ARCH_BYTES, "--gpu-architecture=%s%s", input->to_ptx ? "compute_" : "sm_",
             input->target + strlen("sm_"));
    const char *const standard[] = {arch, "--std=c++17", input->to_ptx ? "--generate-line-info" : "--ptxas-options=-v"};
    const int standard_count = sizeof standard / sizeof *standard;
    if (input->option_count < 0 || input->option_count > COMPILE_OPTIONS_MAX - standard_count)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "compile: %d options; at most %d",
                             input->option_count, COMPILE_OPTIONS_MAX - standard_count);
    for (int i = 0; i < standard_count; i++) options[i] = standard[i];
    for (int i = 0; i < input->option_count; i++) options[standard_count + i] = input->options[i];
    *count = standard_count + input->option_count;
    return SAGE_OK;
}

/* -- Log ------------------------------------------------------------------------------------------------------------
 */

// The number that stands right before `unit` in the line [at, end), or -1.
static int number_before(const char *at, const char *end, const char *unit) {
    const char *found = memmem(at, (size_t)(end - at), unit, strlen(unit));
    const char *digit = found;
    while (digit && digit > at && digit[-1] >= '0' && digit[-1] <= '9') digit--;
    if (!found || digit == found) return -1;
    long value = strtol(digit, NULL, 10);
    return value > INT_MAX ? INT_MAX : (int)value;
}

static void raise_to(int *most, int value) {
    if (value > *most) *most = value;
}

void compile_parse_log(const char *log, struct compile_result *out) {
    out->registers = out->spill_bytes = out->stack_bytes = out->smem_static = 0;
    for (const char *line = log; *line;) {
        const char *end = strchrnul(line, '\n');
        raise_to(&out->registers, number_before(line, end, " registers"));
        raise_to(&out->stack_bytes, number_before(line, end, " bytes stack frame"));
        raise_to(&out->smem_static, number_before(line, end, " bytes smem"));
        int stores = number_before(line, end, " bytes spill stores"),
            loads = number_before(line, end, " bytes spill loads");
        if (stores >= 0 && loads >= 0) raise_to(&out->spill_bytes, stores > INT_MAX - loads ? INT_MAX : stores + loads);
        line = *end ? end + 1 : end;
    }
}

// The first line that has "error", for the context's text; the whole log is the caller's.
static sage_status compile_failed(sage_context *context, const struct compile_input *input, const char *log,
                                  const char *reason) {
    const char *error = strstr(log, "error");
    const char *line = error ? error : log;
    while (line > log && line[-1] != '\n') line--;
    int len = (int)(strchrnul(line, '\n') - line);
    return context_error(context, SAGE_ERROR_COMPILE, "%s for %s: %.*s", input->name, input->target,
                         len < 1000 && len > 0 ? len : 1000, *line ? line : reason);
}

/* -- Results --------------------------------------------------------------------------------------------------------
 */

static sage_status nvrtc_check(sage_context *context, const struct nvrtc_api *api, nvrtc_result result,
                               const char *what) {
    if (result == NVRTC_RESULT_SUCCESS) return SAGE_OK;
    if (result == NVRTC_RESULT_OUT_OF_MEMORY) return context_out_of_memory(context);
    return context_error(context, SAGE_ERROR_COMPILE, "%s: %s", what, api->get_error_string(result));
}

// One of NVRTC's pairs of calls, "how many bytes" and "copy them". *out is NUL-terminated.
static sage_status fetch(sage_context *context, const struct nvrtc_api *api, nvrtc_program program,
                         nvrtc_result (*get_size)(nvrtc_program, size_t *), nvrtc_result (*get)(nvrtc_program, char *),
                         char **out, size_t *bytes) {
    size_t size = 0;
    SAGE_TRY(nvrtc_check(context, api, get_size(program, &size), "NVRTC result size"));
    char *text = context_alloc_zeroed(context, size + 1);
    if (!text) return SAGE_ERROR_OUT_OF_MEMORY;
    sage_status status = size ? nvrtc_check(context, api, get(program, text), "NVRTC result") : SAGE_OK;
    if (status != SAGE_OK) {
        context_free(context, text);
        return status;
    }
    *out = text;
    *bytes = size;
    return SAGE_OK;
}

// PTX is a by-product: NVRTC has none where its front end failed, and need not have any beside a cubin.
static sage_status ptx_read(sage_context *context, const struct nvrtc_api *api, nvrtc_program program,
                            struct compile_result *out) {
    sage_status status = fetch(context, api, program, api->get_ptx_size, api->get_ptx, &out->ptx, &out->ptx_bytes);
    if (status == SAGE_ERROR_COMPILE) {
        out->ptx = context_copy_text(context, "", 0);
        if (!out->ptx) return SAGE_ERROR_OUT_OF_MEMORY;
    } else if (status != SAGE_OK) {
        return status;
    }
    out->ptx_bytes = strlen(out->ptx);
    return SAGE_OK;
}

// PTX is all there is, and must be there.
static sage_status result_read_ptx(sage_context *context, const struct nvrtc_api *api, nvrtc_program program,
                                   struct compile_result *out) {
    SAGE_TRY(ptx_read(context, api, program, out));
    return out->ptx_bytes ? SAGE_OK : context_error(context, SAGE_ERROR_COMPILE, "NVRTC gave no PTX");
}

static sage_status results_read(sage_context *context, const struct nvrtc_api *api, nvrtc_program program,
                                struct compile_result *out) {
    char *cubin = NULL;
    SAGE_TRY(fetch(context, api, program, api->get_cubin_size, api->get_cubin, &cubin, &out->cubin_bytes));
    out->cubin = cubin;
    if (out->cubin_bytes == 0) return context_error(context, SAGE_ERROR_COMPILE, "NVRTC gave no cubin");
    SAGE_TRY(ptx_read(context, api, program, out));
    compile_parse_log(out->log, out);
    return SAGE_OK;
}

static sage_status program_run(sage_context *context, const struct nvrtc_api *api, nvrtc_program program,
                               const struct compile_input *input, const char *const *options, int option_count,
                               struct compile_result *out) {
    nvrtc_result result = api->compile_program(program, option_count, options);
    if (result == NVRTC_RESULT_OUT_OF_MEMORY) return context_out_of_memory(context);
    size_t bytes = 0;
    SAGE_TRY(fetch(context, api, program, api->get_log_size, api->get_log, &out->log, &bytes));
    out->log_bytes = strlen(out->log);
    if (result == NVRTC_RESULT_SUCCESS)
        return input->to_ptx ? result_read_ptx(context, api, program, out) : results_read(context, api, program, out);
    SAGE_TRY(ptx_read(context, api, program, out));
    return compile_failed(context, input, out->log, api->get_error_string(result));
}

sage_status compile_source(sage_context *context, const struct compile_input *input, struct compile_result *out) {
    char arch[COMPILE_ARCH_BYTES];
    const char *options[COMPILE_OPTIONS_MAX];
    int option_count = 0;
    const struct nvrtc_api *api;
    SAGE_TRY(compile_options(context, input, arch, options, &option_count));
    SAGE_TRY(nvrtc_load(context, &api));
    nvrtc_program program = NULL;
    nvrtc_result created = api->create_program(&program, input->source, input->name, 0, NULL, NULL);
    SAGE_TRY(nvrtc_check(context, api, created, "nvrtcCreateProgram"));
    struct compile_result result = {0};
    sage_status status = program_run(context, api, program, input, options, option_count, &result);
    api->destroy_program(&program);
    if (status != SAGE_OK) {
        context_free(context, result.cubin);
        result.cubin = NULL;
        result.cubin_bytes = 0;
    }
    if (status == SAGE_OK || status == SAGE_ERROR_COMPILE)
        *out = result;
    else
        compile_result_free(context, &result);
    return status;
}

void compile_result_free(sage_context *context, struct compile_result *result) {
    context_free(context, result->cubin);
    context_free(context, result->ptx);
    context_free(context, result->log);
    memset(result, 0, sizeof *result);
}
