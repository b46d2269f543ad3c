// sink: collects the lines that a template emits, each with the template line it came from.
// In: lines of CUDA text. Out: the lines, and the indentation that text included after them gets.
// It reads just enough C to tell brackets from those in strings and comments; it never changes a line but for trailing
// blanks. SPDX-License-Identifier: Apache-2.0
#include "sink.h"

#include <stdlib.h>
#include <string.h>

enum { INDENT = 4 };

// The position after a string or character literal that starts at i; i + 1 where it is not closed on this line.
static size_t skip_literal(const char *text, size_t len, size_t i) {
    for (size_t j = i + 1; j < len; j++) {
        if (text[j] == text[i]) return j + 1;
        if (text[j] == '\\') j++;
    }
    return i + 1;
}

// Tracks parentheses over a line and returns its last character outside blanks and comments, '\0' if there is none.
static char scan_line(struct sink *s, const char *text, size_t len) {
    char last = '\0';
    for (size_t i = 0; i < len;) {
        char c = text[i], d = i + 1 < len ? text[i + 1] : '\0';
        if (s->in_comment) {
            s->in_comment = !(c == '*' && d == '/');
            i += s->in_comment ? 1 : 2;
            continue;
        }
        if (c == '/' && d == '/') break;
        if (c == '/' && d == '*') {
            s->in_comment = true;
            i += 2;
            continue;
        }
        if (c == '(') s->paren_depth++;
        if (c == ')' && s->paren_depth > 0) s->paren_depth--;
        if (c != ' ' && c != '\t') last = c;
        i = c == '"' || c == '\'' ? skip_literal(text, len, i) : i + 1;
    }
    return last;
}

void sink_line(struct sink *s, const char *text, size_t len, int file, int line) {
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t')) len--;
    if (len == 0 && s->count > 0 && s->lines[s->count - 1].len == 0) return;
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 256;
        struct sink_line *grown = xmalloc((size_t)s->capacity * sizeof *grown);
        if (s->count) memcpy(grown, s->lines, (size_t)s->count * sizeof *grown);
        free(s->lines);
        s->lines = grown;
    }
    s->lines[s->count++] = (struct sink_line){s->text.len, len, file, line};
    buf_append(&s->text, text, len);
    if (len == 0) return;
    if (s->paren_depth == 0) {
        s->statement_indent = 0;
        while (text[s->statement_indent] == ' ') s->statement_indent++;
    }
    s->opens = scan_line(s, text, len) == '{';
}

int sink_indent(const struct sink *s) {
    return s->statement_indent + (s->opens ? INDENT : 0);
}

void sink_free(struct sink *s) {
    buf_free(&s->text);
    free(s->lines);
    *s = (struct sink){0};
}
