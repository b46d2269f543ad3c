// spec_fields: the tables made of spec_fields.h: fields, word lists, texts of enum values, and the printed schema.
// In: nothing but the X-macros. Out: lookups, and `sagegen fields` as aligned text or JSON.
// SPDX-License-Identifier: Apache-2.0
#include "spec_internal.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* -- Words ------------------------------------------------------------- */

#define WORD_TEXT(symbol, text) text,
#define WORDS(lower, UPPER)                                                                                            \
    static const char *const lower##_words[] = {SPEC_ENUM_##UPPER(WORD_TEXT) NULL};                                    \
    const char *spec_##lower##_text(enum spec_##lower v) {                                                             \
        return (unsigned)v < SPEC_##UPPER##_COUNT ? lower##_words[v] : "?";                                            \
    }
#define WORD_LISTS(X)                                                                                                  \
    X(operation, OPERATION)                                                                                            \
    X(io, IO) X(format, FORMAT) X(granularity, GRANULARITY) X(p_scaling, P_SCALING) X(p_block_scale, P_BLOCK_SCALE) X(v_rounding, V_ROUNDING) X(accumulator, ACCUMULATOR)        \
        X(smooth, SMOOTH) X(rotate, ROTATE) X(exp, EXP) X(row_sum, ROW_SUM) X(max, MAX) X(overlap, OVERLAP) X(blocks, BLOCKS) X(mask, MASK) X(target, TARGET)
WORD_LISTS(WORDS)

#define WORD_LIST_ROW(lower, UPPER) {#lower, lower##_words},
static const struct word_list {
    const char *name;
    const char *const *words;
} word_lists[] = {WORD_LISTS(WORD_LIST_ROW)};

const char *const *spec_kind_words(const char *kind) {
    const char *colon = strchr(kind, ':');
    if (!colon) return NULL;
    for (size_t i = 0; i < sizeof word_lists / sizeof word_lists[0]; i++)
        if (strcmp(word_lists[i].name, colon + 1) == 0) return word_lists[i].words;
    assert(!"a kind names its word list");
    return NULL;
}

bool spec_word_allowed(const struct spec_field *field, const char *word) {
    if (!field->allowed[0]) return true;
    size_t len = strlen(word);
    for (const char *at = field->allowed; *at;) {
        size_t part = strcspn(at, "|");
        if (part == len && strncmp(at, word, len) == 0) return true;
        at += part + (at[part] ? 1 : 0);
    }
    return false;
}

/* -- Fields ------------------------------------------------------------ */

#define FIELD_ROW(path, member, kind, fallback, allowed, unit, help)                                                   \
    {path, offsetof(struct spec, member), kind, fallback, allowed, unit, help},
const struct spec_field spec_field_table[SPEC_FIELD_COUNT] = {SPEC_FIELDS(FIELD_ROW)};

int spec_field_index(const char *path) {
    for (int i = 0; i < SPEC_FIELD_COUNT; i++)
        if (strcmp(spec_field_table[i].path, path) == 0) return i;
    return -1;
}

/* -- The printed schema ------------------------------------------------ */

enum { COLUMN_COUNT = 6 };
static const char *const column_names[COLUMN_COUNT] = {"path", "kind", "allowed", "default", "unit", "help"};

// The columns of one field; columns[2] may be written into words, which the caller frees.
static void field_columns(const struct spec_field *f, const char *columns[COLUMN_COUNT], struct buf *words) {
    const char *colon = strchr(f->kind, ':');
    const char *kind = !colon ? f->kind : strncmp(f->kind, "enum_list", 9) == 0 ? "enum_list" : "enum";
    const char *allowed = f->allowed;
    if (colon && !allowed[0]) {
        for (const char *const *w = spec_kind_words(f->kind); *w; w++)
            buf_printf(words, "%s%s", words->len ? "|" : "", *w);
        allowed = words->data;
    }
    const char *row[COLUMN_COUNT] = {f->path, kind, allowed, f->fallback, f->unit, f->help};
    memcpy(columns, row, sizeof row);
}

static void measure_row(const char *const columns[COLUMN_COUNT], int widths[COLUMN_COUNT]) {
    for (int c = 0; c < COLUMN_COUNT; c++) {
        int width = (int)strlen(columns[c]);
        if (width > widths[c]) widths[c] = width;
    }
}

static void put_row(struct buf *out, const char *const columns[COLUMN_COUNT], const int widths[COLUMN_COUNT]) {
    for (int c = 0; c < COLUMN_COUNT - 1; c++) buf_printf(out, "%-*s  ", widths[c], columns[c]);
    buf_printf(out, "%s\n", columns[COLUMN_COUNT - 1]);
}

static void print_text(struct buf *out) {
    int widths[COLUMN_COUNT] = {0};
    const char *columns[COLUMN_COUNT];
    struct buf words = {0};
    measure_row(column_names, widths);
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        buf_clear(&words);
        field_columns(&spec_field_table[i], columns, &words);
        measure_row(columns, widths);
    }
    put_row(out, column_names, widths);
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        buf_clear(&words);
        field_columns(&spec_field_table[i], columns, &words);
        put_row(out, columns, widths);
    }
    buf_free(&words);
}

static void print_json(struct buf *out) {
    json_t *array = json_array();
    struct buf words = {0};
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        const char *columns[COLUMN_COUNT];
        buf_clear(&words);
        field_columns(&spec_field_table[i], columns, &words);
        json_t *object = json_object();
        for (int c = 0; c < COLUMN_COUNT; c++) json_object_set_new(object, column_names[c], json_string(columns[c]));
        json_array_append_new(array, object);
    }
    char *text = json_dumps(array, JSON_INDENT(2));
    buf_puts(out, text ? text : "[]");
    buf_puts(out, "\n");
    free(text);
    json_decref(array);
    buf_free(&words);
}

void spec_print_fields(struct buf *out, bool json) {
    if (json)
        print_json(out);
    else
        print_text(out);
}
