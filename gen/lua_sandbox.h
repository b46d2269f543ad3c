// lua_sandbox: a Lua state for template code: bounded memory and steps, a fixed list of pure functions, read-only
// tables, and no way to the outside: no files, no loading of code, no metatables, no iteration in hash order, no
// addresses in text. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_LUA_SANDBOX_H
#define SAGE_GEN_LUA_SANDBOX_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct sandbox {
    size_t memory_bytes; /* in use */
    size_t memory_limit; /* bytes */
    long steps;          /* Lua instructions so far */
    long step_limit;
    clock_t started;
};

// A state with the limits of *s, which must outlive it; NULL where memory is short. lua_close() ends it.
lua_State *sandbox_open(struct sandbox *s);

// The following run in protected mode and raise Lua errors.

// Fills the table on top of the stack with the basics (math, string, table, ipairs, ...) and gives strings their
// methods.
void sandbox_add_basics(lua_State *L);
// Makes reading an absent name of the table on top of the stack the error "undefined name '<prefix>name'".
void sandbox_make_strict(lua_State *L, const char *prefix);
// Replaces the table on top of the stack by a read-only view of it. The table is not copied: keep no other reference to
// it.
void sandbox_make_readonly(lua_State *L);
// Replaces the table on top of the stack by a deep read-only copy; with prefix, its own absent fields are strict.
void sandbox_freeze(lua_State *L, const char *prefix);
// Pushes the table behind a read-only view at index, or the table itself.
void sandbox_push_underlying(lua_State *L, int index);
// string.format(...) on all arguments of the calling function from index on: one string is pushed.
void sandbox_format(lua_State *L, int index);

#endif
