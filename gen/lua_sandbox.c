// lua_sandbox: a Lua state for template code.
// In: limits. Out: a state whose code can compute and build text, and nothing else.
// Lua's own functions are used where they are pure and cheap; the others are wrapped here with a bound.
// SPDX-License-Identifier: Apache-2.0
#include "lua_sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOOK_STEPS = 1000,
    CPU_SECONDS_MAX = 60,        /* for loops inside C functions, which take no steps */
    REPEAT_BYTES_MAX = 16 << 20, /* of one string.rep */
    SORT_ITEMS_MAX = 128,        /* above, Lua's table.sort may choose pivots by the clock */
    FREEZE_DEPTH_MAX = 32,
};

/* -- Limits ------------------------------------------------------------------------------------------------------ */

static void *limited_alloc(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
    struct sandbox *s = user;
    if (!ptr) old_bytes = 0;
    if (new_bytes == 0) {
        free(ptr);
        s->memory_bytes -= old_bytes;
        return NULL;
    }
    if (new_bytes > old_bytes && new_bytes - old_bytes > s->memory_limit - s->memory_bytes) return NULL;
    void *grown = realloc(ptr, new_bytes);
    if (grown) s->memory_bytes = s->memory_bytes - old_bytes + new_bytes;
    return grown;
}

static void count_steps(lua_State *L, lua_Debug *ar) {
    (void)ar;
    void *user;
    lua_getallocf(L, &user);
    struct sandbox *s = user;
    s->steps += s->step_limit < HOOK_STEPS ? s->step_limit : HOOK_STEPS;
    if (s->steps >= s->step_limit) {
        lua_pushfstring(L, "template code ran more than %I steps (endless loop?)", (LUAI_UACINT)s->step_limit);
        lua_error(L);
    }
    if (clock() - s->started > (clock_t)CPU_SECONDS_MAX * CLOCKS_PER_SEC) {
        lua_pushfstring(L, "template code ran for more than %d s", CPU_SECONDS_MAX);
        lua_error(L);
    }
}

lua_State *sandbox_open(struct sandbox *s) {
    s->memory_bytes = 0;
    s->steps = 0;
    s->started = clock();
    lua_State *L = lua_newstate(limited_alloc, s);
    if (L) lua_sethook(L, count_steps, LUA_MASKCOUNT, (int)(s->step_limit < HOOK_STEPS ? s->step_limit : HOOK_STEPS));
    return L;
}

/* -- Strict and read-only tables --------------------------------------------------------------------------------- */

static int undefined_name(lua_State *L) {
    const char *prefix = lua_tostring(L, lua_upvalueindex(1));
    if (lua_type(L, 2) == LUA_TSTRING) return luaL_error(L, "undefined name '%s%s'", prefix, lua_tostring(L, 2));
    if (lua_isinteger(L, 2)) return luaL_error(L, "undefined name '%s[%I]'", prefix, (LUAI_UACINT)lua_tointeger(L, 2));
    return luaL_error(L, "undefined name '%s[%s]'", prefix, luaL_typename(L, 2));
}

static int read_only(lua_State *L) {
    if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "assignment to a read-only table");
    return luaL_error(L, "assignment to field '%s' of a read-only table", lua_tostring(L, 2));
}

static int view_length(lua_State *L) {
    sandbox_push_underlying(L, 1);
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
    return 1;
}

void sandbox_make_strict(lua_State *L, const char *prefix) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, prefix);
    lua_pushcclosure(L, undefined_name, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

void sandbox_make_readonly(lua_State *L) {
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, read_only);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, view_length);
    lua_setfield(L, -2, "__len");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

void sandbox_push_underlying(lua_State *L, int index) {
    index = lua_absindex(L, index);
    int t = luaL_getmetafield(L, index, "__index"); // pushes nothing where it is absent
    if (t == LUA_TTABLE) return;
    if (t != LUA_TNIL) lua_pop(L, 1);
    lua_pushvalue(L, index);
}

// Replaces the table on top by a read-only copy. `seen` is the index of a table: original -> view, which also ends
// cycles.
static void freeze(lua_State *L, int seen, const char *prefix, int depth) {
    luaL_checkstack(L, 8, "tables nested too deeply");
    if (depth > FREEZE_DEPTH_MAX) luaL_error(L, "tables nested too deeply");
    lua_newtable(L); // copy
    lua_pushvalue(L, -1);
    sandbox_make_readonly(L); // original, copy, view
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -2);
    lua_rawset(L, seen);
    sandbox_push_underlying(L, -3);
    for (lua_pushnil(L); lua_next(L, -2);) { // original, copy, view, underlying, key, value
        if (lua_istable(L, -1)) {
            lua_pushvalue(L, -1);
            if (lua_rawget(L, seen) == LUA_TTABLE) {
                lua_remove(L, -2);
            } else {
                lua_pop(L, 1);
                freeze(L, seen, NULL, depth + 1);
            }
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -6); // key stays
    }
    lua_pop(L, 1);
    if (prefix) {
        lua_pushvalue(L, -2);
        sandbox_make_strict(L, prefix);
        lua_pop(L, 1);
    }
    lua_replace(L, -3); // original := view
    lua_pop(L, 1);
}

void sandbox_freeze(lua_State *L, const char *prefix) {
    lua_newtable(L);
    lua_insert(L, -2);
    freeze(L, lua_gettop(L) - 1, prefix, 0);
    lua_remove(L, -2);
}

/* -- Basic functions --------------------------------------------------------------------------------------------- */

// tostring(x): Lua's would show addresses.
static int basic_tostring(lua_State *L) {
    luaL_checkany(L, 1);
    switch (lua_type(L, 1)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
        luaL_tolstring(L, 1, NULL);
        return 1;
    default:
        lua_pushstring(L, luaL_typename(L, 1));
        return 1;
    }
}

// f32(x): the literal of x rounded to float, "0.0883883461f".
static int basic_f32(lua_State *L) {
    lua_Number x = luaL_checknumber(L, 1);
    float f = (float)x;
    if (!isfinite(f)) return luaL_error(L, "f32: %s is not a finite float", x != x ? "nan" : "the number");
    char digits[48];
    snprintf(digits, sizeof digits, "%.9g", (double)f);
    size_t mantissa = strcspn(digits, "e");
    const char *point = memchr(digits, '.', mantissa) ? "" : ".0";
    lua_pushlstring(L, digits, mantissa);
    lua_pushfstring(L, "%s%s%sf", lua_tostring(L, -1), point, digits + mantissa);
    return 1;
}

// Calls the wrapped Lua function, the first upvalue (the second is its name), with the arguments as they are.
static int call_wrapped(lua_State *L) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int string_rep(lua_State *L) {
    size_t len, separator_len;
    luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_len);
    size_t bytes = len + separator_len;
    if (n <= 0 || bytes == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (bytes > REPEAT_BYTES_MAX || (lua_Unsigned)n > REPEAT_BYTES_MAX / bytes)
        return luaL_error(L, "string.rep: result above %d bytes", REPEAT_BYTES_MAX);
    return call_wrapped(L);
}

static int string_format(lua_State *L) {
    for (int i = 2; i <= lua_gettop(L); i++) {
        int t = lua_type(L, i);
        if (t != LUA_TNIL && t != LUA_TBOOLEAN && t != LUA_TNUMBER && t != LUA_TSTRING)
            return luaL_error(L, "string.format: argument %d is a %s", i, lua_typename(L, t));
    }
    const char *p = luaL_checkstring(L, 1);
    for (; *p; p++) {
        if (*p != '%') continue;
        p++;
        while (*p && strchr("-+ #0123456789.", *p)) p++;
        if (*p == 'p') return luaL_error(L, "string.format: %%p is not available");
        if (!*p) break;
    }
    return call_wrapped(L);
}

// The position after a set "[...]" that starts at p.
static const char *skip_set(const char *p, const char *end) {
    p++;
    if (p < end && *p == '^') p++;
    do { // a ']' that comes first belongs to the set
        if (p < end && *p++ == '%' && p < end) p++;
    } while (p < end && *p != ']');
    return p < end ? p + 1 : end;
}

// An upper bound of the steps that matching may take: each repetition may end at any place of the subject.
static double pattern_cost(const char *p, size_t len, double subject, bool can_anchor) {
    const char *end = p + len;
    double cost = can_anchor && len > 0 && *p == '^' ? (double)len : subject * (double)(len + 1);
    while (p < end) {
        char c = *p;
        if (c == '[') {
            p = skip_set(p, end);
            continue;
        }
        bool reference = c == '%' && p + 1 < end && (p[1] == 'b' || (p[1] >= '0' && p[1] <= '9'));
        if (reference || c == '*' || c == '+' || c == '-') cost *= subject;
        if (c == '?') cost *= 2;
        p += c == '%' ? 2 : 1;
    }
    return cost;
}

// find, match, gmatch, gsub: patterns can take exponential time, and steps inside them are not counted.
static int string_matching(lua_State *L) {
    static const double cost_max = 1e10;
    size_t subject, len;
    luaL_checklstring(L, 1, &subject);
    const char *pattern = luaL_checklstring(L, 2, &len);
    const char *name = lua_tostring(L, lua_upvalueindex(2));
    bool plain = strcmp(name, "find") == 0 && lua_toboolean(L, 4);
    double n = (double)subject + 1;
    double cost = plain ? n * (double)(len + 1) : pattern_cost(pattern, len, n, strcmp(name, "gmatch") != 0);
    if (cost > cost_max) return luaL_error(L, "pattern has too many repetitions for a text of %d bytes", (int)subject);
    return call_wrapped(L);
}

static int table_sort(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (luaL_len(L, 1) > SORT_ITEMS_MAX) return luaL_error(L, "table.sort: more than %d items", SORT_ITEMS_MAX);
    return call_wrapped(L);
}

/* -- Libraries --------------------------------------------------------------------------------------------------- */

struct wrapper {
    const char *name;
    lua_CFunction function; /* NULL: Lua's own */
};

static const struct wrapper base_functions[] = {{"assert", NULL},
                                                {"error", NULL},
                                                {"ipairs", NULL},
                                                {"select", NULL},
                                                {"tonumber", NULL},
                                                {"type", NULL},
                                                {"tostring", basic_tostring},
                                                {NULL, NULL}};
static const struct wrapper math_functions[] = {
    {"abs", NULL}, {"ceil", NULL}, {"exp", NULL},        {"floor", NULL}, {"fmod", NULL},       {"huge", NULL},
    {"log", NULL}, {"max", NULL},  {"maxinteger", NULL}, {"min", NULL},   {"mininteger", NULL}, {"modf", NULL},
    {"pi", NULL},  {"sqrt", NULL}, {"tointeger", NULL},  {"type", NULL},  {"ult", NULL},        {NULL, NULL}};
static const struct wrapper string_functions[] = {{"byte", NULL},
                                                  {"char", NULL},
                                                  {"find", string_matching},
                                                  {"format", string_format},
                                                  {"gmatch", string_matching},
                                                  {"gsub", string_matching},
                                                  {"len", NULL},
                                                  {"lower", NULL},
                                                  {"match", string_matching},
                                                  {"rep", string_rep},
                                                  {"reverse", NULL},
                                                  {"sub", NULL},
                                                  {"upper", NULL},
                                                  {NULL, NULL}};
static const struct wrapper table_functions[] = {{"concat", NULL}, {"insert", NULL},     {"pack", NULL},
                                                 {"remove", NULL}, {"sort", table_sort}, {"unpack", NULL},
                                                 {NULL, NULL}};

// From Lua's library, the table on top, copies the listed functions into the table at `into`; pops the library.
static void copy_functions(lua_State *L, const struct wrapper *list, int into) {
    for (const struct wrapper *w = list; w->name; w++) {
        lua_getfield(L, -1, w->name);
        if (w->function) {
            lua_pushstring(L, w->name);
            lua_pushcclosure(L, w->function, 2);
        }
        lua_setfield(L, into, w->name);
    }
    lua_pop(L, 1);
}

static void add_library(lua_State *L, int basics, const char *name, const char *prefix, lua_CFunction open,
                        const struct wrapper *list) {
    lua_newtable(L);
    int library = lua_gettop(L);
    lua_pushcfunction(L, open);
    lua_call(L, 0, 1);
    copy_functions(L, list, library);
    sandbox_make_strict(L, prefix);
    sandbox_make_readonly(L);
    lua_setfield(L, basics, name);
}

void sandbox_add_basics(lua_State *L) {
    int basics = lua_gettop(L);
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 1);
    copy_functions(L, base_functions, basics);
    lua_pushcfunction(L, basic_f32);
    lua_setfield(L, basics, "f32");
    add_library(L, basics, "math", "math.", luaopen_math, math_functions);
    add_library(L, basics, "table", "table.", luaopen_table, table_functions);
    add_library(L, basics, "string", "string.", luaopen_string, string_functions);
    lua_pushliteral(L, "");
    lua_createtable(L, 0, 1); // strings get the safe methods, and no arithmetic
    lua_getfield(L, basics, "string");
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_getfield(L, basics, "string");
    sandbox_push_underlying(L, -1);
    lua_getfield(L, -1, "format");
    lua_setfield(L, LUA_REGISTRYINDEX, "sage.format");
    lua_settop(L, basics);
}

void sandbox_format(lua_State *L, int index) {
    int top = lua_gettop(L);
    luaL_checkstack(L, top + 2, NULL);
    lua_getfield(L, LUA_REGISTRYINDEX, "sage.format");
    for (int i = index; i <= top; i++) lua_pushvalue(L, i);
    lua_call(L, top - index + 1, 1);
}
