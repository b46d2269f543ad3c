// diag: the one place that prints `file:line:col: error: text`, the source line, a caret and notes, to stderr (or a buffer in tests).
// Collects every error of a run, in the order given; never exits.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_DIAG_H
#define SAGE_GEN_DIAG_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>

// A position in an input text. line and column count from 1; line 0 = the whole file; file NULL = no file at all.
struct diag_loc {
    const char *file; /* borrowed; must outlive the diag */
    int line;
    int column;       /* in bytes; the caret is placed by UTF-8 code points */
};

struct diag {
    struct buf *sink;  /* NULL: stderr */
    int errors;        /* printed so far */
    int error_limit;   /* further errors are counted, not printed; 0 = 20 */
    struct diag_source *sources;
};

// Remembers the text of a file so that its lines can be shown under errors. text is borrowed. Control bytes are shown escaped.
void diag_add_source(struct diag *d, const char *file, const char *text, size_t len);
void diag_error(struct diag *d, struct diag_loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_note(struct diag *d, struct diag_loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_free(struct diag *d);

// Appends text with control bytes, direction marks and bytes that are not UTF-8 shown as \n, \x1b, \u202e; never a line end.
void diag_escape(struct buf *out, const char *text, size_t len);

#endif
