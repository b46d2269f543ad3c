// text_lines: walking over the lines of a NUL-terminated text. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TEXT_LINES_H
#define SAGE_GEN_TEXT_LINES_H

#include <string.h>

// The newline that ends the line of p, or the text's end.
static inline const char *line_end(const char *p) {
    return strchrnul(p, '\n');
}

// The start of the line after that of p; the text's end where there is none.
static inline const char *next_line(const char *p) {
    const char *end = line_end(p);
    return *end ? end + 1 : end;
}

// The start of line `number`, from 1; the text's end where there are fewer.
static inline const char *line_at(const char *text, int number) {
    for (int i = 1; i < number && *text; i++) text = next_line(text);
    return text;
}

#endif
