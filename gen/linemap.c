// linemap: output line <-> template line, for `sagegen where` and for rewriting compiler messages.
// In: lines as they are emitted, or a written map. Out: the run-length text, lookups, rewritten logs.
// Never: reads files; a damaged map is refused as a whole.
// SPDX-License-Identifier: Apache-2.0
#include "linemap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 1 << 24, NO_FILE = -1 };

static const char head[] =
    "# Format: first-last file:line (output lines -> template lines, advancing together; - = sagegen itself)\n";

/* -- Building ---------------------------------------------------------------------------------------------------- */

static bool is_file(const struct linemap *m, int index, const char *file, size_t len) {
    return strlen(m->files[index]) == len && memcmp(m->files[index], file, len) == 0;
}

static int file_index(struct linemap *m, const char *file, size_t len) {
    int last = m->row_count > 0 ? m->rows[m->row_count - 1].file : NO_FILE;
    if (last != NO_FILE && is_file(m, last, file, len)) return last;
    for (int i = 0; i < m->file_count; i++)
        if (is_file(m, i, file, len)) return i;
    char **grown = xmalloc(((size_t)m->file_count + 1) * sizeof *grown);
    if (m->file_count) memcpy(grown, m->files, (size_t)m->file_count * sizeof *grown);
    free(m->files);
    m->files = grown;
    m->files[m->file_count] = xstrndup(file, len);
    return m->file_count++;
}

static void add_row(struct linemap *m, int file, int line) {
    if (m->row_count == m->row_capacity) {
        m->row_capacity = m->row_capacity ? 2 * m->row_capacity : 256;
        struct linemap_row *grown = xmalloc((size_t)m->row_capacity * sizeof *grown);
        if (m->row_count) memcpy(grown, m->rows, (size_t)m->row_count * sizeof *grown);
        free(m->rows);
        m->rows = grown;
    }
    m->rows[m->row_count++] = (struct linemap_row){file, line};
}

void linemap_add(struct linemap *m, const char *file, int line) {
    bool known = file && line > 0;
    add_row(m, known ? file_index(m, file, strlen(file)) : NO_FILE, known ? line : 0);
}

void linemap_free(struct linemap *m) {
    for (int i = 0; i < m->file_count; i++) free(m->files[i]);
    free(m->files);
    free(m->rows);
    *m = (struct linemap){0};
}

/* -- Text -------------------------------------------------------------------------------------------------------- */

static int run_length(const struct linemap *m, int first) {
    struct linemap_row start = m->rows[first];
    int step = start.file == NO_FILE ? 0 : 1, n = 1;
    while (first + n < m->row_count && m->rows[first + n].file == start.file &&
           m->rows[first + n].line == start.line + n * step)
        n++;
    return n;
}

void linemap_write(const struct linemap *m, struct buf *out) {
    buf_puts(out, head);
    for (int i = 0, n; i < m->row_count; i += n) {
        struct linemap_row r = m->rows[i];
        n = run_length(m, i);
        buf_printf(out, "%d-%d ", i + 1, i + n);
        if (r.file == NO_FILE)
            buf_puts(out, "-\n");
        else
            buf_printf(out, "%s:%d\n", m->files[r.file], r.line);
    }
}

// Reads a positive decimal number; 0 where there is none or it is above INT_MAX.
static int read_number(const char **p, const char *end) {
    long long n = 0;
    const char *start = *p;
    while (*p < end && **p >= '0' && **p <= '9' && n <= INT_MAX) n = 10 * n + (*(*p)++ - '0');
    return *p > start && n <= INT_MAX ? (int)n : 0;
}

static bool skip_char(const char **p, const char *end, char c) {
    return *p < end && *(*p)++ == c;
}

// One line "first-last file:line" or "first-last -", without its newline.
static bool read_run(struct linemap *m, const char *p, const char *end) {
    int first = read_number(&p, end);
    if (!skip_char(&p, end, '-')) return false;
    int last = read_number(&p, end);
    if (!skip_char(&p, end, ' ') || first != m->row_count + 1 || last < first || last > ROWS_MAX) return false;
    if (end - p == 1 && *p == '-') {
        for (int i = first; i <= last; i++) add_row(m, NO_FILE, 0);
        return true;
    }
    const char *colon = end;
    while (colon > p && *colon != ':') colon--;
    const char *digits = colon + 1;
    if (colon == p || digits >= end || memchr(p, '\0', (size_t)(colon - p))) return false;
    int line = read_number(&digits, end);
    if (line == 0 || digits != end || line > INT_MAX - (last - first)) return false;
    int file = file_index(m, p, (size_t)(colon - p));
    for (int i = first; i <= last; i++) add_row(m, file, line + i - first);
    return true;
}

bool linemap_read(struct linemap *m, const char *text, size_t len) {
    *m = (struct linemap){0};
    const char *p = text, *end = text + len;
    if (len < 10 || memcmp(p, head, 10) != 0) return false;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline || (*p != '#' && !read_run(m, p, newline))) {
            linemap_free(m);
            return false;
        }
        p = newline + 1;
    }
    return true;
}

/* -- Use --------------------------------------------------------------------------------------------------------- */

const char *linemap_find(const struct linemap *m, int output_line, int *template_line) {
    if (output_line < 1 || output_line > m->row_count) return NULL;
    struct linemap_row r = m->rows[output_line - 1];
    if (r.file == NO_FILE) return NULL;
    *template_line = r.line;
    return m->files[r.file];
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.-/", c) != NULL);
}

// If p, just after the name, is "(LINE)" or ":LINE", returns the position after it and sets *line; else NULL.
static const char *skip_line_number(const char *p, int *line) {
    char mark = *p;
    if (mark != '(' && mark != ':') return NULL;
    p++;
    *line = read_number(&p, p + strlen(p));
    if (*line == 0 || (mark == '(' && *p != ')')) return NULL;
    return mark == '(' ? p + 1 : p;
}

void linemap_rewrite_log(const struct linemap *m, const char *name, const char *log, struct buf *out) {
    size_t n = strlen(name);
    const char *p = log, *hit = n ? strstr(log, name) : NULL;
    for (; hit; hit = strstr(hit + 1, name)) {
        int output_line = 0, line = 0;
        const char *after = hit > log && is_name_char(hit[-1]) ? NULL : skip_line_number(hit + n, &output_line);
        const char *file = after ? linemap_find(m, output_line, &line) : NULL;
        if (!file) continue;
        buf_append(out, p, (size_t)(hit - p));
        buf_printf(out, "templates/%s:%d", file, line);
        p = after;
        hit = after - 1;
    }
    buf_puts(out, p);
}
