// expand_error: where an error happened, and how it is told.
// In: a Lua error, while the calls that led to it are still on the stack. Out: one diag error and the notes that lead
// to it. Never: lets a chunk's internal name or the translated Lua text show. SPDX-License-Identifier: Apache-2.0
#include "expand_internal.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* -- Positions and errors ---------------------------------------------------------------------------------------- */

// Chunks are named "=@N", N the index of their source, because Lua shortens long names in messages.
static struct position parse_position(const char *text, const char **after) {
    struct position none = {NO_FILE, 0};
    char *end;
    if (*text++ != '@') return none;
    long file = isdigit((unsigned char)*text) ? strtol(text, &end, 10) : -1;
    if (file < 0 || *end != ':' || !isdigit((unsigned char)end[1])) return none;
    long line = strtol(end + 1, &end, 10);
    if (*end != ':' || line > 1 << 30) return none;
    *after = end[1] == ' ' ? end + 2 : end + 1;
    return (struct position){(int)file, (int)line};
}

// The position of the call at a level of the stack; is_main: it is a file's own code rather than a function in it.
static struct position position_at(lua_State *L, lua_Debug *ar, bool *is_main) {
    lua_getinfo(L, "Sl", ar);
    *is_main = strcmp(ar->what, "main") == 0;
    if (ar->currentline < 0 || strncmp(ar->source, "=@", 2) != 0) return (struct position){NO_FILE, 0};
    return (struct position){(int)strtol(ar->source + 2, NULL, 10), ar->currentline};
}

struct position current_position(lua_State *L) {
    lua_Debug ar;
    bool is_main;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        struct position p = position_at(L, &ar, &is_main);
        if (p.file != NO_FILE) return p;
    }
    return (struct position){NO_FILE, 0};
}

static void trace_add(struct failure *f, struct position p) {
    if (f->trace_count < EXPAND_TRACE_MAX) f->trace[f->trace_count++] = p;
}

// Records the calls from the innermost one up to the code of the file being expanded.
static void record_trace(lua_State *L, struct failure *f) {
    lua_Debug ar;
    bool is_main = false;
    for (int level = 1; level < 4 * EXPAND_TRACE_MAX && !is_main && lua_getstack(L, level, &ar); level++) {
        struct position p = position_at(L, &ar, &is_main);
        if (p.file != NO_FILE) trace_add(f, p);
    }
}

// Drops the calls inside the place that the message names; drops all where it names a file not running yet (a syntax
// error).
static void start_trace_at(struct failure *f, struct position p) {
    int i = 0;
    while (i < f->trace_count && (f->trace[i].file != p.file || f->trace[i].line != p.line)) i++;
    if (i < f->trace_count) {
        f->trace_count -= i;
        memmove(f->trace, f->trace + i, (size_t)f->trace_count * sizeof f->trace[0]);
    } else {
        f->trace[0] = p;
        f->trace_count = 1;
    }
}

// Lua cannot name a wrapped function in "bad argument #1 to '?'": names the function that the template called.
static void name_wrapped_function(lua_State *L, struct buf *message) {
    static const char unknown[] = "to '?'";
    char *at = strstr(message->data, unknown);
    lua_Debug ar;
    for (int level = 1; at && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "nS", &ar);
        if (*ar.what != 'C') return;
        if (!ar.name) continue;
        char *rest = xstrdup(at + sizeof unknown - 1);
        message->len = (size_t)(at - message->data);
        buf_printf(message, "to '%s'%s", ar.name, rest);
        free(rest);
        return;
    }
}

// What Lua calls the generated call is the text line to the reader.
static void name_text_lines(struct buf *message) {
    static const char call[] = "near '" TEMPLATE_TEXT_FUNCTION "'";
    char *at = strstr(message->data, call);
    if (!at) return;
    message->len = (size_t)(at - message->data);
    buf_puts(message, "before this line of text");
}

int expand_on_error(lua_State *L) {
    struct expander *x = expander_of(L);
    struct failure *f = &x->failure;
    buf_clear(&f->message);
    f->trace_count = 0;
    f->depth = x->depth;
    record_trace(L, f);
    const char *text = lua_tostring(L, 1), *message = text;
    if (!text) {
        buf_printf(&f->message, "error object is a %s, not a text", luaL_typename(L, 1));
        return 1;
    }
    struct position p = parse_position(text, &message);
    if (p.file >= 0 && p.file < x->source_count) start_trace_at(f, p);
    buf_puts(&f->message, *message ? message : "error without a text");
    name_wrapped_function(L, &f->message);
    name_text_lines(&f->message);
    return 1;
}

static struct diag_loc loc_of(struct expander *x, struct position p) {
    if (p.file == NO_FILE) return (struct diag_loc){0};
    const struct template_source *s = &x->sources[p.file].file;
    diag_add_source(x->diag, s->path, s->text, s->len);
    return (struct diag_loc){s->path, p.line, p.line > 0 ? 1 : 0};
}

// The diag keeps pointers to the sources it was shown.
static void keep_source(struct expander *x, struct position p) {
    if (p.file != NO_FILE && x->sources[p.file].file.path) template_source_keep(&x->sources[p.file].file);
}

// What is left to say where Lua could not call the message handler: it had no memory, or no stack.
static void complete_failure(struct expander *x, int status) {
    struct failure *f = &x->failure;
    if (f->message.len > 0) return;
    if (status == LUA_ERRMEM)
        buf_printf(&f->message, "template code uses more than %d MiB", (int)(x->sandbox.memory_limit >> 20));
    else
        buf_puts(&f->message, "error while handling an error");
    f->depth = x->depth;
    if (x->depth > 0) trace_add(f, x->frames[x->depth - 1].at);
}

// The chain of notes leads from the place of the error to the skeleton.
void expand_report(struct expander *x, int status) {
    static const struct position nowhere = {NO_FILE, 0};
    struct failure *f = &x->failure;
    complete_failure(x, status);
    diag_error(x->diag, loc_of(x, f->trace_count ? f->trace[0] : nowhere), "%s", f->message.data);
    if (f->field && f->spec.file) diag_note(x->diag, f->spec, "%s set here", f->field);
    for (int i = 1; i < f->trace_count; i++) diag_note(x->diag, loc_of(x, f->trace[i]), "called from here");
    for (int i = f->depth - 1; i > 0; i--)
        diag_note(x->diag, loc_of(x, x->frames[i].from), "%s from here", x->frames[i].how);
    for (int i = 0; i < f->trace_count; i++) keep_source(x, f->trace[i]);
    for (int i = f->depth - 1; i > 0; i--) keep_source(x, x->frames[i].from);
}
