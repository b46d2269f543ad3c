// expand_internal: the state of one expansion, shared by expand.c, expand_env.c and expand_error.c only.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_EXPAND_INTERNAL_H
#define SAGE_GEN_EXPAND_INTERNAL_H

#include "expand.h"
#include "lua_sandbox.h"
#include "sink.h"
#include "template.h"

#include <lua.h>

enum {
    EXPAND_DEPTH_MAX = 32, /* files being expanded inside each other */
    EXPAND_TRACE_MAX = 16, /* calls shown under an error */
    NO_FILE = -1,
};

struct position {
    int file; /* into expander.sources, or NO_FILE */
    int line;
};

// A file being expanded (or a module being loaded), and the place that asked for it.
struct frame {
    struct position from;
    const char *how;    /* "included", "requested" or "used" */
    struct position at; /* the last text line, for errors that carry no position */
};

struct wrapper {
    char *key; /* name and sorted arguments */
    bool done;
    struct sink sink;
};

struct source {
    struct template_source file;
    int chunk; /* registry reference of the compiled chunk */
};

// What the message handler saw at the moment of the error.
struct failure {
    struct buf message;
    struct position trace[EXPAND_TRACE_MAX]; /* innermost first; the first is where the error happened */
    int trace_count;
    int depth;            /* frames below the trace */
    struct diag_loc spec; /* where the field named in need() was set */
    char *field;
};

struct expander {
    const struct expand_env *env;
    struct diag *diag;
    const char *skeleton;
    struct sandbox sandbox;
    struct source *sources;
    int source_count;
    struct frame frames[EXPAND_DEPTH_MAX];
    int depth;
    struct sink main;
    struct sink *sink;         /* where text goes: main, or that of a wrapper */
    struct wrapper **wrappers; /* in order of first request */
    struct wrapper **finished; /* in order of completion: a wrapper comes after those it requests */
    int wrapper_count;
    int finished_count;
    int wrappers_at; /* line of main before which the wrappers go; -1 = wrappers() was not called */
    size_t output_bytes;
    struct buf scratch; /* the line being built */
    struct failure failure;
};

struct expander *expander_of(lua_State *L);

// -- expand_error.c: where an error happened, and how it is told

// The innermost template line that is running.
struct position current_position(lua_State *L);
// The message handler: records into failure what is known while the failing calls are still on the stack.
int expand_on_error(lua_State *L);
// Reports the failure of a protected call that returned `status`.
void expand_report(struct expander *x, int status);

// -- expand_env.c: the names that templates see; all but the last run in protected mode

// Builds the tables behind all environments: basics, the given functions, and the bindings.
void expand_env_open(lua_State *L, const struct expand_env *env, const lua_CFunction *functions,
                     const char *const *names);
// Pushes a copy of the arguments at index (absent, nil or a table), behind which functions and bindings are seen.
void expand_push_arguments(lua_State *L, int index);
// Pushes what modules see: the basics and use().
void expand_push_module_names(lua_State *L);
// Replaces the table on top by an empty environment that reads from it and refuses assignments.
void expand_make_environment(lua_State *L);
bool is_identifier(const char *s);

#endif
