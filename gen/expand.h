// expand: template + bindings -> CUDA text and its line map. Owns the Lua sandbox, stage inclusion, wrapper collection, indentation.
// Knows neither specs nor plans: every name a template can see arrives as a binding. Deterministic; touches no file but templates.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_EXPAND_H
#define SAGE_GEN_EXPAND_H

#include "buf.h"
#include "diag.h"
#include "linemap.h"
#include <stdbool.h>
#include <stdint.h>

enum expand_kind { EXPAND_INT, EXPAND_BOOL, EXPAND_REAL, EXPAND_TEXT, EXPAND_F32_LIST, EXPAND_ROWS };

// A name that templates see as a read-only global. ROWS arrive as an array of tables with text cells, one per column name.
struct expand_binding {
    const char *name;
    enum expand_kind kind;
    int64_t number;           /* INT; BOOL as 0/1; F32_LIST, ROWS: count of items / rows */
    double real;              /* REAL: a Lua float, so it must go through f32() */
    const char *text;         /* TEXT */
    const float *floats;      /* F32_LIST */
    const char *const *columns; /* ROWS: NULL-terminated column names */
    const char *const *cells;   /* ROWS: number * columns cells, row by row */
};

struct expand_env {
    const struct expand_binding *bindings;
    int binding_count;
    struct diag_loc (*where)(void *user, const char *field); /* position of a spec field, for need(); may be NULL */
    void *user;
    const char *template_dir; /* NULL: the embedded templates */
    long step_limit;          /* Lua instructions; 0 = 50 million */
};

struct expansion {
    struct buf text;
    struct linemap map;
};

// Expands skeleton `name` ("attn_fwd_mma" -> attn_fwd_mma.cu.tl). On error reports to d and returns false with *out in the zero state.
bool expand_template(const char *name, const struct expand_env *env, struct diag *d, struct expansion *out);
void expansion_free(struct expansion *e);

// XXH3-64 over names and bytes of every template and library file that would be used: part of the request index.
uint64_t expand_bundle_hash(const char *template_dir);

#endif
