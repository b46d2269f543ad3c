// ptxas_messages: reads errors such as "ptxas application ptx input, line 34; error   : text" and finds for each the
// nearest .loc above it. In: the log, and the PTX it speaks of, made with -lineinfo. Out: lines of the emitted text.
// Never guesses: an error above a function's first .loc, or in another file, has no place.
// SPDX-License-Identifier: Apache-2.0
#include "ptxas_messages.h"

#include "buf.h"
#include "text_lines.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool starts_with(const char *p, const char *word) {
    return strncmp(p, word, strlen(word)) == 0;
}

static const char *find_in_line(const char *p, const char *word) {
    return memmem(p, (size_t)(line_end(p) - p), word, strlen(word));
}

static int read_int(const char **p) {
    char *end;
    long number = strtol(*p, &end, 10);
    *p = end;
    return number > 0 && number <= INT_MAX ? (int)number : 0;
}

/* -- Log ---------------------------------------------------------------- */

// The text of "error   : text" or "fatal   : text", or NULL.
static const char *skip_severity(const char *p) {
    if (!starts_with(p, "error") && !starts_with(p, "fatal")) return NULL;
    p += strlen("error");
    p += strspn(p, " ");
    return starts_with(p, ": ") ? p + 2 : NULL;
}

// Reads an error at p: "ptxas FILE, line N; error   : text", or without FILE and line, which leaves ptx_line 0. That
// others were the end of ptxas is no error of its own.
static bool read_error(const char *p, struct ptxas_error *out) {
    static const char program[] = "ptxas ", mark[] = ", line ";
    if (!starts_with(p, program)) return false;
    *out = (struct ptxas_error){.line = p, .line_len = (size_t)(line_end(p) - p)};
    const char *at = p + strlen(program), *position = find_in_line(p, mark);
    if (position) {
        at = position + strlen(mark);
        out->ptx_line = read_int(&at);
        at += strspn(at, "; ");
    }
    out->text = skip_severity(at);
    if (!out->text || starts_with(out->text, "Ptx assembly aborted due to errors")) return false;
    out->text_len = (size_t)(line_end(p) - out->text);
    return true;
}

bool ptxas_log_has_lines(const char *log) {
    struct ptxas_error error;
    for (const char *p = log; *p; p = next_line(p))
        if (read_error(p, &error) && error.ptx_line > 0) return true;
    return false;
}

/* -- PTX ---------------------------------------------------------------- */

struct place {
    int file, line; /* as .file numbers them; 0: none */
    int caller_file, caller_line;
};

struct scan {
    struct place now;
    bool in_asm;            /* within an asm statement of the source */
    struct place asm_place; /* of the last such statement in this function */
    const char *asm_line;   /* its last line so far */
};

// ".loc FILE LINE COLUMN[, function_name LABEL, inlined_at FILE LINE COLUMN]"
static struct place read_loc(const char *p) {
    static const char mark[] = ", inlined_at ";
    struct place place = {0};
    const char *at = p + strlen(".loc"), *caller = find_in_line(p, mark);
    place.file = read_int(&at);
    place.line = read_int(&at);
    if (!caller) return place;
    at = caller + strlen(mark);
    place.caller_file = read_int(&at);
    place.caller_line = read_int(&at);
    return place;
}

static void scan_line(struct scan *s, const char *line) {
    const char *word = line + strspn(line, " \t");
    if (starts_with(word, ".loc\t") || starts_with(word, ".loc "))
        s->now = read_loc(word);
    else if (starts_with(word, "// begin inline asm"))
        *s = (struct scan){.now = s->now, .in_asm = true, .asm_place = s->now};
    else if (starts_with(word, "// end inline asm"))
        s->in_asm = false;
    else if (s->in_asm && *word != '\n')
        s->asm_line = line;
    else if (find_in_line(line, ".entry ") || find_in_line(line, ".func "))
        *s = (struct scan){.in_asm = false};
}

static void set_ptx(struct ptxas_error *e, const char *line) {
    e->ptx = line + strspn(line, " \t");
    e->ptx_len = (size_t)(line_end(line) - e->ptx);
}

// Reads the lines above the one asked for, which is returned; it is empty where the PTX is shorter.
static const char *scan_to(const char *ptx, int ptx_line, struct scan *s) {
    const char *line = ptx;
    *s = (struct scan){.in_asm = false};
    for (int i = 1; i < ptx_line && *line; i++, line = next_line(line)) scan_line(s, line);
    return line;
}

// The nearest place above the error's line. The compiler's own PTX parses: where ptxas stumbles over it, the asm
// statement before it is not finished.
static struct place locate(const char *ptx, struct ptxas_error *e) {
    struct scan s;
    const char *line = scan_to(ptx, e->ptx_line, &s);
    if (!*line) return (struct place){0};
    const bool unfinished = starts_with(e->text, "Parsing error") && !s.in_asm && s.asm_line;
    set_ptx(e, unfinished ? s.asm_line : line);
    return unfinished ? s.asm_place : s.now;
}

// The number that `.file N "/where/it/ran/NAME"` gives to the emitted text; 0 where it gives none.
static int file_number(const char *ptx, const char *name) {
    struct buf ending = {0};
    int number = 0;
    buf_printf(&ending, "/%s\"", name);
    for (const char *p = ptx; *p && !number; p = next_line(p)) {
        const char *at = p + strspn(p, " \t");
        if (!starts_with(at, ".file") || !find_in_line(at, ending.data)) continue;
        at += strlen(".file");
        number = read_int(&at);
    }
    buf_free(&ending);
    return number;
}

static void find_source(const char *ptx, int file, struct ptxas_error *e) {
    const struct place place = locate(ptx, e);
    if (file > 0 && place.file == file) e->source_line = place.line;
    if (e->source_line > 0 && place.caller_file == file) e->caller_line = place.caller_line;
    if (e->source_line == 0) e->ptx = NULL;
}

void ptx_line_origin(const char *ptx, const char *name, int ptx_line, int *source_line, int *caller_line) {
    const int file = file_number(ptx, name);
    struct scan s;
    *source_line = *caller_line = 0;
    if (file == 0 || ptx_line < 1 || !*scan_to(ptx, ptx_line, &s) || s.now.file != file) return;
    *source_line = s.now.line;
    if (s.now.caller_file == file) *caller_line = s.now.caller_line;
}

/* -- List ---------------------------------------------------------------- */

// A wrapper's error comes once for each call of it.
static bool is_known(const struct ptxas_errors *list, const struct ptxas_error *e) {
    for (int i = 0; i < list->count; i++) {
        const struct ptxas_error *other = &list->item[i];
        if (other->source_line == e->source_line && other->text_len == e->text_len &&
            memcmp(other->text, e->text, e->text_len) == 0)
            return true;
    }
    return false;
}

static int count_errors(const char *log) {
    struct ptxas_error error;
    int count = 0;
    for (const char *p = log; *p; p = next_line(p)) count += read_error(p, &error);
    return count;
}

void ptxas_errors_read(const char *log, const char *ptx, const char *name, struct ptxas_errors *out) {
    const int file = file_number(ptx, name);
    *out = (struct ptxas_errors){.item = xcalloc((size_t)count_errors(log) + 1, sizeof *out->item)};
    for (const char *p = log; *p; p = next_line(p)) {
        struct ptxas_error e;
        if (!read_error(p, &e)) continue;
        if (e.ptx_line > 0) find_source(ptx, file, &e);
        if (!is_known(out, &e)) out->item[out->count++] = e;
    }
}

void ptxas_errors_free(struct ptxas_errors *errors) {
    free(errors->item);
    *errors = (struct ptxas_errors){.item = NULL};
}
