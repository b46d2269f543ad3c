// ptx: tables of types and special registers. SPDX-License-Identifier: Apache-2.0
#include "ptx.h"
#include "arena.h"

#include <string.h>

/* -- Types --------------------------------------------------------------------------------------------------------- */

static const struct type_row {
    const char *text;
    uint8_t bits, count;
    char klass;
} type_rows[PTX_TYPE_COUNT] = {[PTX_NONE] = {"(none)", 0, 0, 0},
#define ROW(name, text, bits, count, klass) [PTX_##name] = {text, bits, count, #klass[0]},
                               PTX_TYPES(ROW)
#undef ROW
};

unsigned ptx_type_bits(enum ptx_type type) {
    return (unsigned)type_rows[type].bits * type_rows[type].count;
}

char ptx_type_class(enum ptx_type type) {
    return type_rows[type].klass;
}

const char *ptx_type_text(enum ptx_type type) {
    return type_rows[type].text;
}

enum ptx_type ptx_type_parse(const char *text, size_t bytes) {
    for (int t = PTX_NONE + 1; t < PTX_TYPE_COUNT; t++)
        if (strlen(type_rows[t].text) == bytes && !memcmp(type_rows[t].text, text, bytes)) return (enum ptx_type)t;
    return PTX_NONE;
}

/* -- Special registers --------------------------------------------------------------------------------------------- */

static const struct special_row {
    const char *text;
    bool constant;
} special_rows[PTX_SPECIAL_COUNT] = {[PTX_SPECIAL_NONE] = {"(none)", false},
#define ROW(name, text, constant) [PTX_SPECIAL_##name] = {text, constant},
                                     PTX_SPECIALS(ROW)
#undef ROW
};

enum ptx_special ptx_special_parse(const char *text, size_t bytes) {
    for (int s = PTX_SPECIAL_NONE + 1; s < PTX_SPECIAL_COUNT; s++)
        if (strlen(special_rows[s].text) == bytes && !memcmp(special_rows[s].text, text, bytes))
            return (enum ptx_special)s;
    return PTX_SPECIAL_NONE;
}

const char *ptx_special_text(enum ptx_special special) {
    return special_rows[special].text;
}

bool ptx_special_constant(enum ptx_special special) {
    return special_rows[special].constant;
}

enum ptx_type ptx_special_type(enum ptx_special special) {
    switch (special) {
    case PTX_SPECIAL_GRIDID:
    case PTX_SPECIAL_CLOCK64:
    case PTX_SPECIAL_GLOBALTIMER:
        return PTX_U64;
    case PTX_SPECIAL_IS_EXPLICIT_CLUSTER:
        return PTX_PRED;
    default:
        return PTX_U32;
    }
}

void ptx_text_free(struct ptx_text *text) {
    if (text) arena_free(text->arena); /* text itself is in it */
}
