// sink: collects the lines that a template emits, each with the template line it came from, and knows the indentation
// that text included at this point gets. Assembles the lines of several sinks into the final text and its line map.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SINK_H
#define SAGE_GEN_SINK_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>

struct sink_line {
    size_t offset; /* into text */
    size_t len;    /* bytes, without trailing blanks; 0 = a blank line */
    int file;      /* the caller's number */
    int line;
};

// Zero-initialise before use.
struct sink {
    struct buf text;
    struct sink_line *lines;
    int count;
    int capacity;
    int statement_indent; /* columns: indentation of the line in which the last statement starts */
    int paren_depth;      /* after the last line; brackets in strings and comments do not count */
    bool in_comment;      /* the last line ends inside a block comment */
    bool opens;           /* the last non-blank line ends with { (before a comment) */
};

// Appends a line (no newline inside); trailing blanks are stripped, a blank line after a blank one is dropped.
void sink_line(struct sink *s, const char *text, size_t len, int file, int line);
// Indentation of text included now: that of the last statement, 4 more where it opens a block, 0 where nothing was
// emitted.
int sink_indent(const struct sink *s);
void sink_free(struct sink *s);

#endif
