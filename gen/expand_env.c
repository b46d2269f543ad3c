// expand_env: the names that templates and modules see.
// In: bindings, template functions, arguments. Out: read-only environments on the Lua stack.
// Never: lets one template change what another one sees.
// SPDX-License-Identifier: Apache-2.0
#include "expand_internal.h"

#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

/* -- Names that templates see ------------------------------------------------------------------------------------ */

static int global_assignment(lua_State *L) {
    return luaL_error(L, "assignment to global '%s': write local",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

bool is_identifier(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    while (isalnum((unsigned char)*s) || *s == '_') s++;
    return *s == '\0';
}

void expand_push_arguments(lua_State *L, int index) {
    lua_newtable(L);
    int copy = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "sage.base");
    if (!lua_isnoneornil(L, index)) {
        luaL_checktype(L, index, LUA_TTABLE);
        sandbox_push_underlying(L, index);
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || !is_identifier(lua_tostring(L, -2)))
                luaL_error(L, "arguments are given by name: {name = value}");
            lua_getfield(L, LUA_REGISTRYINDEX, "sage.functions");
            lua_pushvalue(L, -3);
            if (lua_rawget(L, -2) != LUA_TNIL)
                luaL_error(L, "argument '%s' hides a built-in name", lua_tostring(L, -4));
            lua_pop(L, 2);
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, copy);
        }
        lua_pop(L, 1);
    }
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, copy);
}

void expand_make_environment(lua_State *L) {
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, global_assignment);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

static void push_rows(lua_State *L, const struct expand_binding *b) {
    const char *const *cell = b->cells;
    lua_newtable(L);
    for (int64_t row = 1; row <= b->number; row++) {
        lua_newtable(L);
        for (const char *const *column = b->columns; *column; column++) {
            lua_pushstring(L, *cell++);
            lua_setfield(L, -2, *column);
        }
        const char *prefix = lua_pushfstring(L, "%s[%I].", b->name, (LUAI_UACINT)row);
        lua_insert(L, -2);
        sandbox_make_strict(L, prefix);
        sandbox_make_readonly(L);
        lua_remove(L, -2);
        lua_rawseti(L, -2, row);
    }
    sandbox_make_readonly(L);
}

static void push_binding(lua_State *L, const struct expand_binding *b) {
    switch (b->kind) {
    case EXPAND_INT:
        lua_pushinteger(L, b->number);
        break;
    case EXPAND_BOOL:
        lua_pushboolean(L, b->number != 0);
        break;
    case EXPAND_REAL:
        lua_pushnumber(L, (lua_Number)b->real);
        break;
    case EXPAND_TEXT:
        lua_pushstring(L, b->text);
        break;
    case EXPAND_F32_LIST:
        lua_newtable(L);
        for (int64_t i = 0; i < b->number; i++) {
            lua_pushnumber(L, (lua_Number)b->floats[i]);
            lua_rawseti(L, -2, i + 1);
        }
        sandbox_make_readonly(L);
        break;
    case EXPAND_ROWS:
        push_rows(L, b);
        break;
    }
}

static void add_binding(lua_State *L, const struct expand_binding *b) { // the base table is on top
    if (!b->name || !is_identifier(b->name)) luaL_error(L, "binding '%s' is no name", b->name ? b->name : "");
    if (lua_getfield(L, -1, b->name) != LUA_TNIL)
        luaL_error(L, "binding '%s' is given twice, or hides a built-in name", b->name);
    lua_pop(L, 1);
    push_binding(L, b);
    lua_setfield(L, -2, b->name);
}

// Registry: sage.functions = basics and template functions, sage.base = these and the bindings, sage.module_base =
// basics and use.
void expand_env_open(lua_State *L, const struct expand_env *env, const lua_CFunction *functions,
                     const char *const *names) {
    lua_newtable(L);
    sandbox_add_basics(L);
    for (int copy = 0; copy < 3; copy++) {
        lua_newtable(L);
        for (lua_pushnil(L); lua_next(L, 1);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
        for (int i = 0; names[i]; i++) {
            if (copy == 2 && strcmp(names[i], "use") != 0) continue;
            lua_pushcfunction(L, functions[i]);
            lua_setfield(L, -2, names[i]);
        }
    } // basics, functions, base, module base
    sandbox_make_strict(L, "");
    lua_setfield(L, LUA_REGISTRYINDEX, "sage.module_base");
    for (int i = 0; i < env->binding_count; i++) add_binding(L, &env->bindings[i]);
    sandbox_make_strict(L, "");
    lua_setfield(L, LUA_REGISTRYINDEX, "sage.base");
    lua_setfield(L, LUA_REGISTRYINDEX, "sage.functions");
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "sage.modules");
    lua_pop(L, 1);
}

void expand_push_module_names(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "sage.module_base");
}
