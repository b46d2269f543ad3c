// nvrtc: finds libnvrtc, identifies it without loading it, loads it on the first compile. In: option, environment (as
// read at context creation), the file system. Out: a table of entry points, an identity for cache keys, and the reason
// why each candidate was refused. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_NVRTC_H
#define SAGE_NVRTC_H

#include "sage.h"
#include <stdbool.h>

#define NVRTC_IDENTITY_BYTES 80 /* NUL included */

typedef int nvrtc_result; /* nvrtcResult; 0 is success */
typedef struct nvrtc_program_handle *nvrtc_program;

enum {
    NVRTC_RESULT_SUCCESS = 0,
    NVRTC_RESULT_OUT_OF_MEMORY = 1,
    NVRTC_RESULT_INVALID_OPTION = 5,
    NVRTC_RESULT_COMPILATION = 6
};

// X(return type, member, symbol, (parameters)); all are required.
#define NVRTC_ENTRIES(X)                                                                                               \
    X(nvrtc_result, version, "nvrtcVersion", (int *major, int *minor))                                                 \
    X(const char *, get_error_string, "nvrtcGetErrorString", (nvrtc_result result))                                    \
    X(nvrtc_result, create_program, "nvrtcCreateProgram",                                                              \
      (nvrtc_program * program, const char *source, const char *name, int header_count, const char *const *headers,    \
       const char *const *include_names))                                                                              \
    X(nvrtc_result, destroy_program, "nvrtcDestroyProgram", (nvrtc_program * program))                                 \
    X(nvrtc_result, compile_program, "nvrtcCompileProgram",                                                            \
      (nvrtc_program program, int option_count, const char *const *options))                                           \
    X(nvrtc_result, get_cubin_size, "nvrtcGetCUBINSize", (nvrtc_program program, size_t * bytes))                      \
    X(nvrtc_result, get_cubin, "nvrtcGetCUBIN", (nvrtc_program program, char *cubin))                                  \
    X(nvrtc_result, get_ptx_size, "nvrtcGetPTXSize", (nvrtc_program program, size_t * bytes))                          \
    X(nvrtc_result, get_ptx, "nvrtcGetPTX", (nvrtc_program program, char *ptx))                                        \
    X(nvrtc_result, get_log_size, "nvrtcGetProgramLogSize", (nvrtc_program program, size_t * bytes))                   \
    X(nvrtc_result, get_log, "nvrtcGetProgramLog", (nvrtc_program program, char *log))                                 \
    X(nvrtc_result, get_arch_count, "nvrtcGetNumSupportedArchs", (int *count))                                         \
    X(nvrtc_result, get_archs, "nvrtcGetSupportedArchs", (int *archs))

#define NVRTC_ENTRY_MEMBER(type, member, symbol, parameters) type(*member) parameters;
struct nvrtc_api {
    NVRTC_ENTRIES(NVRTC_ENTRY_MEMBER)
};

// What was found. path lives as long as the context.
struct nvrtc_info {
    const char *path;
    char identity[NVRTC_IDENTITY_BYTES]; /* ELF build id in hex; without one "xxh" + XXH3-128 of size and both ends */
    int major, minor; /* from file names until the library is loaded, then its own answer; minor -1: unknown */
    bool loaded;
};

// Makes the finder; opens nothing. path NULL: $SAGE_NVRTC, else search. Called by sage_context_create alone.
sage_status nvrtc_create(sage_context *context, const char *path);
void nvrtc_destroy(sage_context *context);

// Finds the library (once per context) without loading it, except where only the loader's own path has it. Errors:
// NO_NVRTC with the reasons, OUT_OF_MEMORY. Threads: any.
sage_status nvrtc_find(sage_context *context, struct nvrtc_info *out);
// Finds and loads it. *api lives as long as the context. Errors: as nvrtc_find.
sage_status nvrtc_load(sage_context *context, const struct nvrtc_api **api);
// For doctor: calls visit for each candidate, in the order of the search; reason "" means chosen. Searches if nobody
// has. Returns how many.
int nvrtc_each_candidate(sage_context *context, void (*visit)(void *user, const char *path, const char *reason),
                         void *user);

#endif
