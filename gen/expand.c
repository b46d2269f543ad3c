// expand: template + bindings -> CUDA text and its line map. Owns stage inclusion, wrapper collection, need() and error
// reports. In: a skeleton's name, bindings, and a way to find where spec fields were set. Out: text and line map, or
// reported errors. Never: knows specs or plans; lets a Lua error, an endless loop or a huge output out of
// expand_template. SPDX-License-Identifier: Apache-2.0
#include "expand.h"
#include "expand_internal.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OUTPUT_BYTES_MAX = 16 << 20,
    MEMORY_BYTES_MAX = 256 << 20, /* of Lua */
};
static const long default_step_limit = 50L * 1000 * 1000;

struct expander *expander_of(lua_State *L) {
    struct expander *x;
    memcpy(&x, lua_getextraspace(L), sizeof x);
    return x;
}

/* -- Files ------------------------------------------------------------------------------------------------------- */

static void compile_source(lua_State *L, struct expander *x, int index, bool is_module) {
    struct source *s = &x->sources[index];
    struct buf *lua = &x->scratch;
    int bad_line = 0;
    const char *reason = "";
    buf_clear(lua);
    if (is_module) {
        buf_puts(lua, "local _ENV=...;");
        buf_append(lua, s->file.text, s->file.len);
    } else if (!template_to_lua(&s->file, lua, &bad_line, &reason)) {
        lua_pushfstring(L, "@%d:%d: %s", index, bad_line, reason);
        lua_error(L);
    }
    char chunk_name[16];
    snprintf(chunk_name, sizeof chunk_name, "=@%d", index);
    if (luaL_loadbufferx(L, lua->data, lua->len, chunk_name, "t") != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        if (message && *message != '@') lua_pushfstring(L, "@%d:0: %s", index, message); // too deeply nested, out of memory
        lua_error(L);
    }
    s->chunk = luaL_ref(L, LUA_REGISTRYINDEX);
}

// Finds or reads templates/<folder><name><suffix>; returns its index in x->sources.
static int find_source(lua_State *L, struct expander *x, const char *folder, const char *name, const char *suffix) {
    if (!template_name_ok(name, strlen(name)))
        luaL_error(L, "bad template name '%s': parts of a-z 0-9 _ joined by /", name);
    const char *file = lua_pushfstring(L, "%s%s%s", folder, name, suffix);
    int index = 0;
    while (index < x->source_count && strcmp(x->sources[index].file.name, file) != 0) index++;
    if (index == x->source_count) {
        struct template_source read;
        if (!template_read(x->env->template_dir, file, &read)) luaL_error(L, "no file templates/%s", file);
        struct source *grown = xmalloc(((size_t)x->source_count + 1) * sizeof *grown);
        if (x->source_count) memcpy(grown, x->sources, (size_t)x->source_count * sizeof *grown);
        free(x->sources);
        x->sources = grown;
        x->sources[x->source_count++] = (struct source){read, LUA_NOREF};
    }
    lua_pop(L, 1);
    return index;
}

// Enters a file: everything until leave_file() happens in it. Pushes its compiled chunk.
static int enter_file(lua_State *L, struct expander *x, const char *folder, const char *name, const char *suffix,
                      const char *how) {
    if (x->depth == EXPAND_DEPTH_MAX) luaL_error(L, "templates nested deeper than %d files", EXPAND_DEPTH_MAX);
    luaL_checkstack(L, 16, NULL);
    int file = find_source(L, x, folder, name, suffix);
    x->frames[x->depth++] = (struct frame){current_position(L), how, {file, 0}};
    if (x->sources[file].chunk == LUA_NOREF) compile_source(L, x, file, strcmp(suffix, ".lua") == 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, x->sources[file].chunk);
    return file;
}

static void leave_file(struct expander *x) {
    x->depth--;
}

/* -- Emitting ---------------------------------------------------------------------------------------------------- */

static void emit_line(lua_State *L, struct expander *x, const char *text, size_t len, struct position p) {
    x->output_bytes += len + 1;
    if (x->output_bytes > OUTPUT_BYTES_MAX) luaL_error(L, "output above %d MiB", OUTPUT_BYTES_MAX >> 20);
    sink_line(x->sink, text, len, p.file, p.line);
}

static void append_indent(struct buf *b, lua_Integer columns) {
    for (; columns > 0; columns--) buf_append(b, " ", 1);
}

static int bad_value(lua_State *L, int arg, struct position p) {
    size_t len = 0;
    const char *expression = template_expression(&expander_of(L)->sources[p.file].file, p.line, (arg - 3) / 2, &len);
    const char *what = lua_pushlstring(L, expression ? expression : "", len);
    switch (lua_type(L, arg)) {
    case LUA_TNIL:
        return luaL_error(L, "${%s} is nil", what);
    case LUA_TNUMBER:
        return luaL_error(L, "${%s} is the float %f: use f32() for constants, // for sizes", what,
                          lua_tonumber(L, arg));
    case LUA_TSTRING:
        return luaL_error(L, "${%s} holds a line end: use emit()", what);
    default:
        return luaL_error(L, "${%s} is a %s", what, luaL_typename(L, arg));
    }
}

static bool append_value(lua_State *L, struct buf *line, int arg) {
    int t = lua_type(L, arg);
    if (t == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, arg, &len);
        buf_append(line, text, len);
        return memchr(text, '\n', len) == NULL && memchr(text, '\0', len) == NULL;
    }
    if (t == LUA_TBOOLEAN)
        buf_puts(line, lua_toboolean(L, arg) ? "true" : "false");
    else if (lua_isinteger(L, arg))
        buf_printf(line, "%lld", (long long)lua_tointeger(L, arg));
    else
        return false;
    return true;
}

// __text(line, text, value, text, ...): one line of text. Upvalues: the file, the indentation of the inclusion.
static int text_function(lua_State *L) {
    struct expander *x = expander_of(L);
    struct position p = {(int)lua_tointeger(L, lua_upvalueindex(1)), (int)luaL_checkinteger(L, 1)};
    int argument_count = lua_gettop(L);
    if (x->depth > 0) x->frames[x->depth - 1].at = p;
    buf_clear(&x->scratch);
    append_indent(&x->scratch, lua_tointeger(L, lua_upvalueindex(2)));
    for (int arg = 2; arg <= argument_count; arg++) {
        if (!append_value(L, &x->scratch, arg)) return bad_value(L, arg, p);
        if (x->scratch.len > OUTPUT_BYTES_MAX) return luaL_error(L, "output above %d MiB", OUTPUT_BYTES_MAX >> 20);
    }
    emit_line(L, x, x->scratch.data ? x->scratch.data : "", x->scratch.len, p);
    return 0;
}

// emit(text): lines of text, indented as an included file is.
static int emit_function(lua_State *L) {
    struct expander *x = expander_of(L);
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len), *end = text + len;
    if (memchr(text, '\0', len)) return luaL_error(L, "emit: the text holds a NUL byte");
    struct position p = current_position(L);
    int indent = sink_indent(x->sink);
    for (const char *next; text < end; text = next) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        next = newline ? newline + 1 : end;
        buf_clear(&x->scratch);
        append_indent(&x->scratch, indent);
        buf_append(&x->scratch, text, (size_t)((newline ? newline : end) - text));
        emit_line(L, x, x->scratch.data, x->scratch.len, p);
    }
    return 0;
}

/* -- Template functions ------------------------------------------------------------------------------------------ */

// Runs a template into x->sink; arguments: index of a table or of nothing.
static void run_template(lua_State *L, struct expander *x, const char *folder, const char *name, int arguments,
                         const char *how) {
    int file = enter_file(L, x, folder, name, ".cu.tl", how);
    lua_pushinteger(L, file);
    lua_pushinteger(L, sink_indent(x->sink));
    lua_pushcclosure(L, text_function, 2);
    expand_push_arguments(L, arguments);
    expand_make_environment(L);
    lua_call(L, 2, 0);
    leave_file(x);
}

static int stage_function(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 2);
    run_template(L, expander_of(L), "stage/", name, 2, "included");
    return 0;
}

static int include_function(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 2);
    run_template(L, expander_of(L), "", name, 2, "included");
    return 0;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Pushes "name{a=1,b="x"}", sorted, for the argument table at index.
static void push_wrapper_key(lua_State *L, const char *name, int index) {
    enum { ARGUMENTS_MAX = 32 };
    const char *names[ARGUMENTS_MAX];
    size_t count = 0;
    expand_push_arguments(L, index);
    int arguments = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, arguments); lua_pop(L, 1)) {
        if (count == ARGUMENTS_MAX) luaL_error(L, "ptx: more than %d arguments", ARGUMENTS_MAX);
        names[count++] = lua_tostring(L, -2);
    }
    qsort(names, count, sizeof *names, compare_texts);
    luaL_Buffer key;
    luaL_buffinit(L, &key);
    luaL_addstring(&key, name);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, names[i]);
        int t = lua_rawget(L, arguments);
        bool scalar = t == LUA_TSTRING || t == LUA_TBOOLEAN || lua_isinteger(L, -1);
        if (!scalar)
            luaL_error(L, "ptx: argument '%s' is a %s, not a string, integer or boolean", names[i],
                       t == LUA_TNUMBER ? "float" : lua_typename(L, t));
        luaL_tolstring(L, -1, NULL);
        lua_remove(L, -2);
        // lengths keep values that hold separators apart
        lua_pushfstring(L, ";%s=%c%I:%s", names[i], *lua_typename(L, t), (LUAI_UACINT)lua_rawlen(L, -1),
                        lua_tostring(L, -1));
        lua_remove(L, -2);
        luaL_addvalue(&key);
    }
    luaL_pushresult(&key);
    lua_remove(L, arguments);
}

static struct wrapper *wrapper_add(struct expander *x, const char *key) {
    if ((x->wrapper_count & (x->wrapper_count - 1)) == 0) { // full at each power of two
        size_t capacity = x->wrapper_count ? 2 * (size_t)x->wrapper_count : 1;
        struct wrapper **wrappers = xcalloc(capacity, sizeof *wrappers),
                       **finished = xcalloc(capacity, sizeof *finished);
        if (x->wrapper_count) memcpy(wrappers, x->wrappers, (size_t)x->wrapper_count * sizeof *wrappers);
        if (x->finished_count) memcpy(finished, x->finished, (size_t)x->finished_count * sizeof *finished);
        free(x->wrappers);
        free(x->finished);
        x->wrappers = wrappers;
        x->finished = finished;
    }
    struct wrapper *w = xcalloc(1, sizeof *w);
    w->key = xstrdup(key);
    return x->wrappers[x->wrapper_count++] = w;
}

static void request_wrapper(lua_State *L, struct expander *x, const char *name, int arguments) {
    push_wrapper_key(L, name, arguments);
    const char *key = lua_tostring(L, -1);
    for (int i = 0; i < x->wrapper_count; i++) {
        if (strcmp(x->wrappers[i]->key, key) != 0) continue;
        if (!x->wrappers[i]->done) luaL_error(L, "ptx wrapper '%s' requests itself", name);
        lua_pop(L, 1);
        return;
    }
    struct wrapper *w = wrapper_add(x, key);
    lua_pop(L, 1);
    struct sink *outer = x->sink;
    x->sink = &w->sink;
    run_template(L, x, "ptx/", name, arguments, "requested");
    x->sink = outer;
    w->done = true;
    x->finished[x->finished_count++] = w;
}

// ptx(name, args...): one wrapper per table of arguments, or one without arguments.
static int ptx_function(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    int last = lua_gettop(L) < 2 ? 2 : lua_gettop(L);
    lua_settop(L, last);
    for (int i = 2; i <= last; i++) request_wrapper(L, expander_of(L), name, i);
    return 0;
}

static int wrappers_function(lua_State *L) {
    struct expander *x = expander_of(L);
    if (x->sink != &x->main) return luaL_error(L, "wrappers() called in a wrapper");
    if (x->wrappers_at >= 0) return luaL_error(L, "wrappers() called twice");
    x->wrappers_at = x->main.count;
    return 0;
}

// use(name): the module's table, loaded once. While it is loading, its entry is `true`.
static int use_function(lua_State *L) {
    struct expander *x = expander_of(L);
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "sage.modules");
    int loaded = lua_getfield(L, 2, name);
    if (loaded == LUA_TTABLE) return 1;
    if (loaded == LUA_TBOOLEAN) return luaL_error(L, "module '%s' uses itself", name);
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, 2, name);
    int file = enter_file(L, x, "lib/", name, ".lua", "used");
    expand_push_module_names(L);
    expand_make_environment(L);
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1)) {
        lua_pushfstring(L, "@%d:%d: module '%s' returned no table", file, 0, name);
        return lua_error(L);
    }
    const char *prefix = lua_pushfstring(L, "%s.", name);
    lua_insert(L, -2);
    sandbox_freeze(L, prefix);
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    leave_file(x);
    return 1;
}

// need(condition, field, format, ...)
static int need_function(lua_State *L) {
    struct expander *x = expander_of(L);
    luaL_checkany(L, 1);
    if (lua_toboolean(L, 1)) return 0;
    const char *field = luaL_checkstring(L, 2);
    if (lua_gettop(L) < 3) lua_pushliteral(L, "not supported");
    sandbox_format(L, 3);
    x->failure.field = xstrdup(field);
    if (x->env->where) x->failure.spec = x->env->where(x->env->user, field);
    lua_pushfstring(L, "%s: %s", field, lua_tostring(L, -1));
    return lua_error(L);
}

static const char *const function_names[] = {"stage", "include", "ptx", "wrappers", "use", "need", "emit", NULL};
static const lua_CFunction functions[] = {stage_function, include_function, ptx_function, wrappers_function,
                                          use_function,   need_function,    emit_function};

/* -- Expansion --------------------------------------------------------------------------------------------------- */

// Appends lines [first, last) of a sink; blank ones are held back in *blank until text follows, so that runs collapse.
static void append_lines(struct expander *x, const struct sink *s, int first, int last, struct expansion *out,
                         struct sink_line *blank) {
    for (int i = first; i < last; i++) {
        const struct sink_line *l = &s->lines[i];
        if (l->len == 0) {
            if (blank->line < 0) *blank = *l;
            continue;
        }
        if (blank->line >= 0 && out->text.len > 0) {
            buf_append(&out->text, "\n", 1);
            linemap_add(&out->map, blank->file == NO_FILE ? NULL : x->sources[blank->file].file.name, blank->line);
        }
        blank->line = -1;
        buf_append(&out->text, s->text.data + l->offset, l->len);
        buf_append(&out->text, "\n", 1);
        linemap_add(&out->map, x->sources[l->file].file.name, l->line);
    }
}

static void assemble(struct expander *x, struct expansion *out) {
    struct sink_line blank = {.line = -1};
    int at = x->wrappers_at < 0 ? 0 : x->wrappers_at;
    append_lines(x, &x->main, 0, at, out, &blank);
    for (int i = 0; i < x->finished_count; i++) {
        if (i > 0 && blank.line < 0) blank = (struct sink_line){.file = NO_FILE};
        append_lines(x, &x->finished[i]->sink, 0, x->finished[i]->sink.count, out, &blank);
    }
    if (x->finished_count > 0 && blank.line < 0) blank = (struct sink_line){.file = NO_FILE};
    append_lines(x, &x->main, at, x->main.count, out, &blank);
    buf_puts(&out->text, "");
}

static int expand_protected(lua_State *L) {
    struct expander *x = expander_of(L);
    expand_env_open(L, x->env, functions, function_names);
    lua_settop(L, 1);
    run_template(L, x, "", x->skeleton, 1, "started");
    if (x->wrapper_count > 0 && x->wrappers_at < 0) {
        lua_pushfstring(L, "@0:0: ptx() was used, but wrappers() was not called");
        return lua_error(L);
    }
    return 0;
}

static int run_protected(struct expander *x) {
    lua_State *L = sandbox_open(&x->sandbox);
    if (!L) return LUA_ERRMEM;
    memcpy(lua_getextraspace(L), &x, sizeof x);
    lua_pushcfunction(L, expand_on_error);
    lua_pushcfunction(L, expand_protected);
    int status = lua_pcall(L, 0, 0, 1);
    lua_close(L);
    return status;
}

static void expander_free(struct expander *x) {
    for (int i = 0; i < x->source_count; i++) template_source_free(&x->sources[i].file);
    for (int i = 0; i < x->wrapper_count; i++) {
        free(x->wrappers[i]->key);
        sink_free(&x->wrappers[i]->sink);
        free(x->wrappers[i]);
    }
    free(x->sources);
    free(x->wrappers);
    free(x->finished);
    sink_free(&x->main);
    buf_free(&x->scratch);
    buf_free(&x->failure.message);
    free(x->failure.field);
}

bool expand_template(const char *name, const struct expand_env *env, struct diag *d, struct expansion *out) {
    *out = (struct expansion){0};
    struct expander x = {.env = env, .diag = d, .skeleton = name, .wrappers_at = -1};
    x.sink = &x.main;
    x.sandbox.memory_limit = MEMORY_BYTES_MAX;
    x.sandbox.step_limit = env->step_limit > 0 ? env->step_limit : default_step_limit;
    int status = run_protected(&x);
    if (status == LUA_OK)
        assemble(&x, out);
    else
        expand_report(&x, status);
    expander_free(&x);
    return status == LUA_OK;
}

void expansion_free(struct expansion *e) {
    buf_free(&e->text);
    linemap_free(&e->map);
}

uint64_t expand_bundle_hash(const char *template_dir) {
    return template_bundle_hash(template_dir);
}
