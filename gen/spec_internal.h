// spec_internal: what the files of the spec module share; no other module includes it.
// spec.c walks the tree and owns defaults, positions and the canonical text; spec_value.c reads and writes one value;
// spec_check.c finds contradictions between fields; spec_fields.c holds the tables made of spec_fields.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SPEC_INTERNAL_H
#define SAGE_GEN_SPEC_INTERNAL_H

#include "spec.h"
#include "yaml_tree.h"

/* -- Tables (spec_fields.c) -------------------------------------------- */

struct spec_field {
    const char *path;
    size_t offset; /* of the member in struct spec, bytes */
    const char *kind;
    const char *fallback; /* the default's text, "required" or "auto" */
    const char *allowed;
    const char *unit;
    const char *help;
};

#define SPEC_FIELD_ONE(path, member, kind, fallback, allowed, unit, help) +1
enum { SPEC_FIELD_COUNT = 0 SPEC_FIELDS(SPEC_FIELD_ONE) };

extern const struct spec_field spec_field_table[SPEC_FIELD_COUNT];

// The words of an enumerated kind ("enum:format", "enum_list:io"), in the order of the enum; NULL-terminated.
const char *const *spec_kind_words(const char *kind);
// Whether a field takes the word: all words of its kind, or those of `allowed` where that names some.
bool spec_word_allowed(const struct spec_field *field, const char *word);
int spec_field_index(const char *path); // -1: no such field

/* -- Reading ----------------------------------------------------------- */

enum spec_field_state { SPEC_FIELD_ABSENT, SPEC_FIELD_GIVEN, SPEC_FIELD_BAD };

struct spec_reader {
    struct spec *spec;
    struct diag *diag;
    enum spec_field_state state[SPEC_FIELD_COUNT];
};

// Reads one value into the spec (spec_value.c). Errors: reported with the node's position; the member then keeps its
// value.
bool spec_value_read(struct spec_reader *r, const struct spec_field *field, const struct yaml_tree *node);
// Appends a field's value as a spec would hold it.
void spec_value_write(const struct spec *spec, const struct spec_field *field, struct buf *out);
// "'text'", escaped and cut to a length that fits a message; "nothing" for an empty text.
void spec_quote(struct buf *out, const char *text);
// Appends "; did you mean 'x'?" if a near word was found.
struct suggest;
void spec_put_suggestion(struct buf *out, const struct suggest *s);

// Reports contradictions between fields, and fills in what `auto` stands for (spec_check.c).
void spec_check(struct spec_reader *r);

#endif
