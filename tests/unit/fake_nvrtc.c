// fake_nvrtc: NVRTC's entry points without a compiler; see fake_nvrtc.h. Threads: any, as with the real one.
// SPDX-License-Identifier: Apache-2.0
#include "fake_nvrtc.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAKE_EXPORT __attribute__((visibility("default")))
#define FAKE_ENTRY(type, name, ...)                                                                                    \
    FAKE_EXPORT type name(__VA_ARGS__);                                                                                \
    type name(__VA_ARGS__)

enum { SUCCESS = 0, OUT_OF_MEMORY = 1, INVALID_INPUT = 3, COMPILATION = 6 };

struct program {
    char *source, *cubin;
    const char *log;
};

static atomic_int compile_count;
static atomic_int first_failure = -1;

FAKE_ENTRY(int, fake_nvrtc_compiles, void) {
    return compile_count;
}

FAKE_ENTRY(void, fake_nvrtc_fail_from, int index) {
    first_failure = index;
}

FAKE_ENTRY(int, nvrtcVersion, int *major, int *minor) {
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

FAKE_ENTRY(const char *, nvrtcGetErrorString, int result) {
    return result == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_FAKE";
}

FAKE_ENTRY(int, nvrtcCreateProgram, void **out, const char *source, const char *name, int header_count,
           const char *const *headers, const char *const *include_names) {
    (void)name, (void)headers, (void)include_names;
    struct program *program = calloc(1, sizeof *program);
    if (!program || header_count) return INVALID_INPUT;
    program->source = strdup(source);
    program->log = "";
    *out = program;
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcDestroyProgram, void **out) {
    struct program *program = *out;
    free(program->source);
    free(program->cubin);
    free(program);
    *out = NULL;
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcCompileProgram, void *handle, int option_count, const char *const *options) {
    struct program *program = handle;
    const int index = compile_count++;
    if (option_count < 1) return INVALID_INPUT;
    if (strstr(program->source, "SLOW")) usleep(20000);
    if (first_failure >= 0 && index >= first_failure) return OUT_OF_MEMORY;
    if (strstr(program->source, "#error")) {
        program->log = "kernel.cu(1): error: #error directive\n";
        return COMPILATION;
    }
    program->log = "ptxas info    : Used 100 registers, used 1 barriers, 1024 bytes smem\n";
    const size_t bytes = strlen(program->source) + strlen(options[0]) + 64;
    program->cubin = malloc(bytes);
    snprintf(program->cubin, bytes, FAKE_NVRTC_CUBIN_FORMAT, options[0], program->source);
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetCUBINSize, void *handle, size_t *bytes) {
    const struct program *program = handle;
    *bytes = program->cubin ? strlen(program->cubin) : 0;
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetCUBIN, void *handle, char *cubin) {
    const struct program *program = handle;
    memcpy(cubin, program->cubin, strlen(program->cubin));
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetPTXSize, void *handle, size_t *bytes) {
    (void)handle;
    *bytes = sizeof FAKE_NVRTC_PTX;
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetPTX, void *handle, char *ptx) {
    (void)handle;
    memcpy(ptx, FAKE_NVRTC_PTX, sizeof FAKE_NVRTC_PTX);
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetProgramLogSize, void *handle, size_t *bytes) {
    const struct program *program = handle;
    *bytes = strlen(program->log) + 1;
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetProgramLog, void *handle, char *log) {
    const struct program *program = handle;
    strcpy(log, program->log);
    return SUCCESS;
}

static const int supported[] = {80, 86, 89, 90, 100, 103, 120};

FAKE_ENTRY(int, nvrtcGetNumSupportedArchs, int *count) {
    *count = sizeof supported / sizeof *supported;
    return SUCCESS;
}

FAKE_ENTRY(int, nvrtcGetSupportedArchs, int *archs) {
    memcpy(archs, supported, sizeof supported);
    return SUCCESS;
}
