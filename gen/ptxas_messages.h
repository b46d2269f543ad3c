// ptxas_messages: the errors of ptxas in an NVRTC log, and lines of PTX -> lines of the emitted text, by the .loc lines of
// the PTX.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_PTXAS_MESSAGES_H
#define SAGE_GEN_PTXAS_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>

// Texts are borrowed from the log and the PTX, without line ends.
struct ptxas_error {
    const char *line; /* of the log */
    size_t line_len;
    const char *text; /* of that line, what follows "error   : " */
    size_t text_len;
    int ptx_line;
    const char *ptx; /* the PTX that ptxas rejects; NULL where source_line is 0 */
    size_t ptx_len;
    int source_line; /* of the emitted text, which the PTX comes from; 0: not known */
    int caller_line; /* where that line's function was inlined; 0: nowhere */
};

struct ptxas_errors {
    struct ptxas_error *item;
    int count;
};

// Whether an error of the log names a line of the PTX, so that a recompilation with -lineinfo can tell where it is.
bool ptxas_log_has_lines(const char *log);
// Lists the log's errors, each message and source line once. ptx: what the log's line numbers count in, made with
// -lineinfo. name: the emitted text, "kernel.cu". Owner: the caller, ptxas_errors_free.
void ptxas_errors_read(const char *log, const char *ptx, const char *name, struct ptxas_errors *out);
void ptxas_errors_free(struct ptxas_errors *errors);
// Where a line of that PTX comes from: a line of the emitted text, and where that line's function was inlined; 0 where
// it is not known.
void ptx_line_origin(const char *ptx, const char *name, int ptx_line, int *source_line, int *caller_line);

#endif
