// template: finds template files (embedded, or in a folder) and translates one into Lua, line by line. Runs nothing.
// A line whose first non-blank character is `@` is Lua; all else is CUDA text, in which ${expr} interpolates a Lua
// expression. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TEMPLATE_H
#define SAGE_GEN_TEMPLATE_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The name of the function that translated text lines call; its arguments: line, text, value, text, value, ...
#define TEMPLATE_TEXT_FUNCTION "__text"

struct template_source {
    char *path;       /* owned: "templates/stage/softmax.cu.tl", for messages */
    const char *name; /* within path, relative to the template folder: "stage/softmax.cu.tl" */
    const char *text;
    size_t len;  /* bytes */
    char *owned; /* the text's memory, NULL for an embedded file */
};

// Whether `name` may be given to stage(), include(), ptx() and use(): [a-z0-9_]+ parts joined by single slashes.
bool template_name_ok(const char *name, size_t len);
// Reads `name` ("stage/softmax.cu.tl") from template_dir, or the embedded file where that is NULL. False where there is
// none (or it is no regular file, above 4 MiB, or holds NUL bytes). Owner: the caller, template_source_free.
bool template_read(const char *template_dir, const char *name, struct template_source *out);
void template_source_free(struct template_source *s);
// Keeps name and text alive until the process ends, because a diag has borrowed them; *s is left in the zero state.
void template_source_keep(struct template_source *s);

// Appends the Lua chunk of a template: line n of the chunk is line n of the template. The chunk takes __text and its
// _ENV as arguments. On a malformed ${ returns false with the line and the reason (a string constant).
bool template_to_lua(const struct template_source *s, struct buf *lua, int *bad_line, const char **reason);
// The source of the index-th (from 0) ${expr} of a line; NULL if there is none. For messages.
const char *template_expression(const struct template_source *s, int line, int index, size_t *len);

// XXH3-64 over names and bytes of all templates and library files, in sorted order.
uint64_t template_bundle_hash(const char *template_dir);

#endif
