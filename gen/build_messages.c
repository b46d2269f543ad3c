// build_messages: splits an NVRTC log into messages and reports each error where a template says so.
// In: the log and the line map of the emitted text. Out: diag errors and notes. Never drops an error it cannot place.
// SPDX-License-Identifier: Apache-2.0
#include "build_messages.h"

#include "template.h"
#include <stdlib.h>
#include <string.h>

// One front-end message: "kernel.cu(LINE): error: text", then the emitted line and a caret under it.
struct message {
    int output_line;
    const char *text; /* after the position: "error: identifier ..." */
    size_t text_len;
    const char *excerpt; /* the lines that follow, up to the next blank one */
    size_t excerpt_len;
};

/* -- Log --------------------------------------------------------------- */

static const char *line_end(const char *p) {
    return strchrnul(p, '\n');
}

static const char *next_line(const char *p) {
    const char *end = line_end(p);
    return *end ? end + 1 : end;
}

// "name(LINE): " at p; returns the text after it, or NULL.
static const char *skip_position(const char *p, const char *name, int *line) {
    size_t n = strlen(name);
    if (strncmp(p, name, n) != 0 || p[n] != '(') return NULL;
    char *end;
    long number = strtol(p + n + 1, &end, 10);
    if (number <= 0 || number > 1 << 30 || strncmp(end, "): ", 3) != 0) return NULL;
    *line = (int)number;
    return end + 3;
}

// Reads the message that starts at *p, and moves *p behind it; false: *p was moved over one line of another kind.
static bool take_message(const char **p, const char *name, struct message *out) {
    const char *start = *p;
    *p = next_line(start);
    out->text = skip_position(start, name, &out->output_line);
    if (!out->text) return false;
    out->text_len = (size_t)(line_end(start) - out->text);
    out->excerpt = *p;
    int line;
    while (**p && **p != '\n' && !skip_position(*p, name, &line)) *p = next_line(*p);
    out->excerpt_len = (size_t)(*p - out->excerpt);
    while (out->excerpt_len > 0 && out->excerpt[out->excerpt_len - 1] == '\n') out->excerpt_len--;
    return true;
}

/* -- Reports ----------------------------------------------------------- */

// The template's line, in d's sources so that it is shown; d keeps borrowing it, so it is never freed.
static struct diag_loc template_loc(struct diag *d, const char *template_dir, const char *name, int line) {
    struct template_source source;
    if (!template_read(template_dir, name, &source)) return (struct diag_loc){.file = NULL};
    diag_add_source(d, source.path, source.text, source.len);
    struct diag_loc loc = {.file = source.path, .line = line, .column = 1};
    const char *at = source.text;
    for (int i = 1; i < line && *at; i++) at = next_line(at);
    loc.column += (int)strspn(at, " \t");
    template_source_keep(&source);
    return loc;
}

static void report(struct diag *d, const struct linemap *map, const char *template_dir, const char *name,
                   const char *entry, const struct message *m) {
    struct buf text = {0}, shown = {0};
    buf_append(&text, m->text, m->text_len);
    linemap_rewrite_log(map, name, text.data, &shown);
    int line = 0;
    const char *file = linemap_find(map, m->output_line, &line);
    struct diag_loc loc = file ? template_loc(d, template_dir, file, line) : (struct diag_loc){.file = NULL};
    const char *what = strncmp(shown.data, "error: ", 7) == 0 ? shown.data + 7 : shown.data;
    diag_error(d, loc, "%s", what);
    diag_note(d, (struct diag_loc){.file = NULL}, "emitted as line %d of %s:\n%.*s", m->output_line, entry,
              (int)m->excerpt_len, m->excerpt);
    buf_free(&text);
    buf_free(&shown);
}

// The lines that belong to no front-end message, such as those of ptxas.
static void put_other_lines(const char *log, const char *name, struct buf *out) {
    buf_puts(out, "");
    for (const char *p = log; *p;) {
        struct message m;
        const char *line = p;
        if (take_message(&p, name, &m) || *line == '\n' || strncmp(line, "Remark:", 7) == 0) continue;
        buf_append(out, line, (size_t)(p - line));
    }
}

void build_report_log(struct diag *d, const struct linemap *map, const char *template_dir, const char *name,
                      const char *entry, const char *log) {
    int errors = 0;
    for (const char *p = log; *p;) {
        struct message m;
        if (!take_message(&p, name, &m)) continue;
        bool is_error = memmem(m.text, m.text_len, "error", 5) || memmem(m.text, m.text_len, "catastrophic", 12);
        if (!is_error) continue;
        report(d, map, template_dir, name, entry, &m);
        errors++;
    }
    if (errors > 0) return;
    struct buf other = {0};
    put_other_lines(log, name, &other);
    diag_error(d, (struct diag_loc){.file = NULL}, "%s does not compile:\n%s", entry, other.len ? other.data : log);
    buf_free(&other);
}
