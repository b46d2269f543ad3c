// compile: CUDA source -> cubin, PTX, log and resource counts, in process through NVRTC. Knows nothing of specs and
// caches. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_COMPILE_H
#define SAGE_COMPILE_H

#include "sage.h"
#include <stdbool.h>

#define COMPILE_OPTIONS_MAX 32
#define COMPILE_ARCH_BYTES  64

// Everything that decides the result; key_compute hashes all of it but name.
struct compile_input {
    const char *source;  /* NUL-terminated */
    size_t source_bytes; /* without the NUL */
    const char *name;    /* shown in the log: "kernel.cu"; never a path, since __FILE__ could carry it into the code */
    const char *target;  /* "sm_90a" */
    const char *const *options; /* besides the standard ones; NULL where option_count is 0 */
    int option_count;
    bool to_ptx; /* stop at PTX of the target's virtual architecture, with line information: no ptxas, no cubin */
};

// Owned by the context's allocator; compile_result_free. ptx and log are NUL-terminated, sizes do not count the NUL.
struct compile_result {
    void *cubin; /* NULL where the input says to_ptx */
    size_t cubin_bytes;
    char *ptx; /* "" where NVRTC gives none beside a cubin */
    size_t ptx_bytes;
    char *log;
    size_t log_bytes;
    int registers;   /* per thread; the most of all entries of the source; this and the others are 0 for to_ptx */
    int spill_bytes; /* stores + loads */
    int stack_bytes; /* local memory of the stack frame */
    int smem_static; /* bytes */
};

// Compiles with the standard options (--gpu-architecture=<target> --std=c++17 --ptxas-options=-v; to_ptx:
// compute_<target> and --generate-line-info) and input's own.
// Errors: NO_NVRTC, OUT_OF_MEMORY, INVALID_ARGUMENT, COMPILE: then out has the log, the PTX where NVRTC came that far,
// and nothing else (free out as usual), and the context has the first error line. Threads: any number at once.
sage_status compile_source(sage_context *context, const struct compile_input *input, struct compile_result *out);
void compile_result_free(sage_context *context, struct compile_result *result);

// Writes all options of the call, in order, to options; the architecture option's text to arch. Errors:
// INVALID_ARGUMENT (a target that is not sm_ and 2 to 3 digits and at most one letter, too many options, no source).
sage_status compile_options(sage_context *context, const struct compile_input *input, char arch[COMPILE_ARCH_BYTES],
                            const char *options[COMPILE_OPTIONS_MAX], int *count);
// Reads ptxas -v lines into the four counts of out (maximum over entries; 0 where absent).
void compile_parse_log(const char *log, struct compile_result *out);

#endif
