// diag: prints `file:line:col: error: text`, the source line, a caret and notes.
// In: positions, printf formats, and the texts that the positions point into. Out: stderr, or a buffer in tests.
// Nothing it prints can move the cursor or hide text: control bytes and direction marks are shown escaped. Never exits.
// SPDX-License-Identifier: Apache-2.0
#include "diag.h"
#include "utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct diag_source {
    const char *file; /* borrowed */
    const char *text; /* borrowed */
    size_t len;       /* bytes */
    struct diag_source *next;
};

enum { DEFAULT_ERROR_LIMIT = 20, LINE_COLUMNS_MAX = 200 };

/* -- Escaping ---------------------------------------------------------- */

// One code point, or one byte that is not UTF-8, as it is shown.
struct cell {
    char text[12];
    size_t bytes;   /* of text */
    size_t columns; /* shown */
    size_t used;    /* bytes of the input */
};

// Control codes, zero-width and direction marks, line separators.
static bool is_hidden(uint32_t code) {
    static const uint32_t ranges[][2] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
        {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (code >= ranges[i][0] && code <= ranges[i][1]) return true;
    return false;
}

static struct cell next_cell(const char *text, size_t n) {
    struct cell c = {.columns = 1};
    uint32_t code = 0;
    c.used = utf8_decode(text, n, &code);
    if (c.used && !is_hidden(code)) {
        memcpy(c.text, text, c.used);
        c.bytes = c.used;
        return c;
    }
    int shown;
    if (!c.used) {
        c.used = 1;
        shown = snprintf(c.text, sizeof c.text, "\\x%02x", (unsigned)(unsigned char)text[0]);
    } else if (code == '\t' || code == '\n' || code == '\r') {
        shown = snprintf(c.text, sizeof c.text, "\\%c", code == '\t' ? 't' : code == '\n' ? 'n' : 'r');
    } else {
        shown = snprintf(c.text, sizeof c.text, code < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)code);
    }
    c.bytes = c.columns = (size_t)shown;
    return c;
}

void diag_escape(struct buf *out, const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        struct cell c = next_cell(text + at, len - at);
        buf_append(out, c.text, c.bytes);
        at += c.used;
    }
}

// As diag_escape, but keeps line ends: a message may quote a log of several lines.
static void escape_lines(struct buf *out, const char *text) {
    for (;;) {
        size_t len = strcspn(text, "\n");
        diag_escape(out, text, len);
        if (!text[len]) return;
        buf_puts(out, "\n");
        text += len + 1;
    }
}

/* -- Source lines ------------------------------------------------------ */

void diag_add_source(struct diag *d, const char *file, const char *text, size_t len) {
    struct diag_source *s = d->sources;
    while (s && strcmp(s->file, file) != 0) s = s->next;
    if (!s) {
        s = xcalloc(1, sizeof *s);
        s->next = d->sources;
        d->sources = s;
    }
    s->file = file;
    s->text = text;
    s->len = len;
}

// The text of a line without its line end; NULL where the file or the line is not known.
static const char *find_line(const struct diag *d, struct diag_loc loc, size_t *len) {
    const struct diag_source *s = d->sources;
    while (s && strcmp(s->file, loc.file) != 0) s = s->next;
    if (!s || !s->text) return NULL;
    const char *at = s->text, *end = s->text + s->len;
    for (int line = 1; line < loc.line; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline) return NULL;
        at = newline + 1;
    }
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    *len = (size_t)((newline ? newline : end) - at);
    if (*len && at[*len - 1] == '\r') --*len;
    return at;
}

// Columns shown for the first n bytes.
static size_t shown_columns(const char *text, size_t n) {
    size_t columns = 0;
    for (size_t at = 0; at < n;) {
        struct cell c = next_cell(text + at, n - at);
        columns += c.columns;
        at += c.used;
    }
    return columns;
}

// The line, cut to LINE_COLUMNS_MAX columns around the caret, and the caret under byte `column`.
static void put_line(struct buf *out, const char *line, size_t len, size_t column) {
    size_t caret_byte = column - 1 < len ? column - 1 : len;
    size_t caret = shown_columns(line, caret_byte), total = shown_columns(line, len);
    size_t from = 0, to = total;
    if (total > LINE_COLUMNS_MAX) {
        from = caret > LINE_COLUMNS_MAX / 2 ? caret - LINE_COLUMNS_MAX / 2 : 0;
        if (from + LINE_COLUMNS_MAX > total) from = total - LINE_COLUMNS_MAX;
        to = from + LINE_COLUMNS_MAX;
    }
    const char *cut = "...";
    size_t before_caret = from ? strlen(cut) : 0;
    buf_puts(out, from ? cut : "");
    size_t at_column = 0;
    for (size_t at = 0; at < len;) {
        struct cell c = next_cell(line + at, len - at);
        if (at_column >= from && at_column + c.columns <= to) {
            buf_append(out, c.text, c.bytes);
            if (at_column < caret) before_caret += c.columns;
        }
        at_column += c.columns;
        at += c.used;
    }
    buf_printf(out, "%s\n%*s^\n", to < total ? cut : "", (int)before_caret, "");
}

/* -- Messages ---------------------------------------------------------- */

static void put_position(struct buf *out, struct diag_loc loc) {
    if (!loc.file) {
        buf_puts(out, "sagegen: ");
        return;
    }
    diag_escape(out, loc.file, strlen(loc.file));
    if (loc.line > 0) buf_printf(out, ":%d:%d", loc.line, loc.column > 0 ? loc.column : 1);
    buf_puts(out, ": ");
}

static void emit(struct diag *d, struct diag_loc loc, const char *severity, const char *format, va_list args) {
    struct buf message = {0}, out = {0};
    buf_vprintf(&message, format, args);
    put_position(&out, loc);
    buf_printf(&out, "%s: ", severity);
    escape_lines(&out, message.data);
    buf_puts(&out, "\n");
    size_t len = 0;
    const char *line = loc.file && loc.line > 0 ? find_line(d, loc, &len) : NULL;
    if (line) put_line(&out, line, len, loc.column > 0 ? (size_t)loc.column : 1);
    if (d->sink)
        buf_append(d->sink, out.data, out.len);
    else
        fwrite(out.data, 1, out.len, stderr);
    buf_free(&message);
    buf_free(&out);
}

static int error_limit(const struct diag *d) {
    return d->error_limit > 0 ? d->error_limit : DEFAULT_ERROR_LIMIT;
}

static void note_limit(struct diag *d, const char *file, const char *format, ...) {
    va_list args;
    va_start(args, format);
    emit(d, (struct diag_loc){.file = file}, "note", format, args);
    va_end(args);
}

void diag_error(struct diag *d, struct diag_loc loc, const char *format, ...) {
    d->errors++;
    if (d->errors == error_limit(d) + 1)
        note_limit(d, loc.file, "more than %d errors; the rest are not shown", error_limit(d));
    if (d->errors > error_limit(d)) return;
    va_list args;
    va_start(args, format);
    emit(d, loc, "error", format, args);
    va_end(args);
}

void diag_note(struct diag *d, struct diag_loc loc, const char *format, ...) {
    if (d->errors > error_limit(d)) return; // belongs to an error that is not shown
    va_list args;
    va_start(args, format);
    emit(d, loc, "note", format, args);
    va_end(args);
}

void diag_free(struct diag *d) {
    while (d->sources) {
        struct diag_source *next = d->sources->next;
        free(d->sources);
        d->sources = next;
    }
}
