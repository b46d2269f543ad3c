// build_messages: splits an NVRTC log into messages and reports each error where a template says so.
// In: the log, the emitted text and its line map. Out: diag errors and notes. Never drops an error it cannot place.
// SPDX-License-Identifier: Apache-2.0
#include "build_messages.h"

#include "ptxas_messages.h"
#include "template.h"
#include "text_lines.h"
#include <stdlib.h>
#include <string.h>

// One message about an emitted line; the front end writes "kernel.cu(LINE): error: text", then the line and a caret.
struct message {
    int output_line;
    const char *text; /* after the position: "error: identifier ..." */
    size_t text_len;
    const char *excerpt; /* the emitted line; of the front end all that follows, up to the next blank line */
    size_t excerpt_len;
};

/* -- Log --------------------------------------------------------------- */

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

static const struct diag_loc nowhere = {.file = NULL};

// The template's line, in d's sources so that it is shown; d keeps borrowing it, so it is never freed.
static struct diag_loc template_loc(struct diag *d, const char *template_dir, const char *name, int line) {
    struct template_source source;
    if (!template_read(template_dir, name, &source)) return nowhere;
    diag_add_source(d, source.path, source.text, source.len);
    struct diag_loc loc = {.file = source.path, .line = line, .column = 1};
    loc.column += (int)strspn(line_at(source.text, line), " \t");
    template_source_keep(&source);
    return loc;
}

// The template line that emitted a line; nowhere for a line of sagegen's own.
static struct diag_loc emitter_loc(struct diag *d, const struct build_subject *subject, int output_line) {
    int line = 0;
    const char *file = linemap_find(&subject->emitted->map, output_line, &line);
    return file ? template_loc(d, subject->template_dir, file, line) : nowhere;
}

static void report(struct diag *d, const struct build_subject *subject, const struct message *m) {
    struct buf text = {0}, shown = {0};
    buf_append(&text, m->text, m->text_len);
    linemap_rewrite_log(&subject->emitted->map, subject->name, text.data, &shown);
    const char *what = strncmp(shown.data, "error: ", 7) == 0 ? shown.data + 7 : shown.data;
    diag_error(d, emitter_loc(d, subject, m->output_line), "%s", what);
    diag_note(d, nowhere, "emitted as line %d of %s:\n%.*s", m->output_line, subject->entry, (int)m->excerpt_len,
              m->excerpt);
    buf_free(&text);
    buf_free(&shown);
}

static void report_front_end(struct diag *d, const struct build_subject *subject, const char *log) {
    for (const char *p = log; *p;) {
        struct message m;
        if (!take_message(&p, subject->name, &m)) continue;
        if (memmem(m.text, m.text_len, "error", 5) || memmem(m.text, m.text_len, "catastrophic", 12))
            report(d, subject, &m);
    }
}

// PTX is shown with spaces for its tabs.
static void note_ptx(struct diag *d, const struct ptxas_error *e) {
    struct buf shown = {0};
    buf_append(&shown, e->ptx, e->ptx_len);
    for (char *tab = shown.data; (tab = strchr(tab, '\t')) != NULL;) *tab = ' ';
    diag_note(d, nowhere, "PTX that ptxas rejects:\n    %s", shown.data);
    buf_free(&shown);
}

static void report_ptxas_error(struct diag *d, const struct build_subject *subject, const struct ptxas_error *e) {
    if (e->source_line == 0) {
        diag_error(d, nowhere, "%s: %.*s", subject->entry, (int)e->line_len, e->line);
        return;
    }
    struct buf text = {0};
    buf_printf(&text, "ptxas: %.*s", (int)e->text_len, e->text);
    const char *emitted = line_at(subject->emitted->text.data, e->source_line);
    const struct message m = {e->source_line, text.data, text.len, emitted, (size_t)(line_end(emitted) - emitted)};
    report(d, subject, &m);
    note_ptx(d, e);
    if (e->caller_line > 0)
        diag_note(d, emitter_loc(d, subject, e->caller_line), "called at line %d of %s", e->caller_line,
                  subject->entry);
    buf_free(&text);
}

static void report_ptxas(struct diag *d, const struct build_subject *subject, const char *log, const char *ptx) {
    struct ptxas_errors errors;
    ptxas_errors_read(log, ptx, subject->name, &errors);
    for (int i = 0; i < errors.count; i++) report_ptxas_error(d, subject, &errors.item[i]);
    ptxas_errors_free(&errors);
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

void build_report_log(struct diag *d, const struct build_subject *subject, const char *log, const char *ptx) {
    const int before = d->errors;
    report_front_end(d, subject, log);
    if (ptx) report_ptxas(d, subject, log, ptx);
    if (d->errors > before) return;
    struct buf other = {0};
    put_other_lines(log, subject->name, &other);
    diag_error(d, nowhere, "%s does not compile:\n%s", subject->entry, other.len ? other.data : log);
    buf_free(&other);
}
