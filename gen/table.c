// table: keeps cells by kind and formats them at the end, when the widths are known.
// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Cells --------------------------------------------------------------- */

static struct table_cell *add(struct table *t, enum table_kind kind) {
    assert(t->columns[t->cell_count % t->column_count].kind == kind);
    (void)kind;
    t->cells = xgrown(t->cells, t->cell_count, &t->capacity, sizeof *t->cells);
    return &t->cells[t->cell_count++];
}

void table_text(struct table *t, const char *text) {
    add(t, TABLE_TEXT)->text = xstrdup(text);
}

void table_int(struct table *t, long long number) {
    add(t, TABLE_INT)->number = number;
}

void table_real(struct table *t, double real) {
    add(t, TABLE_REAL)->real = real;
}

void table_bool(struct table *t, bool value) {
    add(t, TABLE_BOOL)->number = value;
}

void table_free(struct table *t) {
    for (int i = 0; i < t->cell_count; i++) free(t->cells[i].text);
    free(t->cells);
    t->cells = NULL;
    t->cell_count = t->capacity = 0;
}

/* -- Print --------------------------------------------------------------- */

static void format_cell(const struct table *t, int index, struct buf *out) {
    const struct table_column *column = &t->columns[index % t->column_count];
    const struct table_cell *cell = &t->cells[index];
    buf_clear(out);
    switch (column->kind) {
    case TABLE_TEXT:
        buf_puts(out, cell->text);
        break;
    case TABLE_INT:
        buf_printf(out, "%lld", cell->number);
        break;
    case TABLE_REAL:
        buf_printf(out, "%.*f", column->decimals, cell->real);
        break;
    case TABLE_BOOL:
        buf_puts(out, cell->number ? "yes" : "no");
        break;
    }
}

static int column_width(const struct table *t, int c) {
    struct buf text = {0};
    size_t width = strlen(t->columns[c].title);
    for (int i = c; i < t->cell_count; i += t->column_count) {
        format_cell(t, i, &text);
        if (text.len > width) width = text.len;
    }
    buf_free(&text);
    return (int)width;
}

static void put_cell(const struct table *t, int c, int width, const char *text, struct buf *out) {
    bool number = t->columns[c].kind == TABLE_INT || t->columns[c].kind == TABLE_REAL;
    buf_printf(out, number ? "%*s  " : "%-*s  ", width, text);
}

static void end_row(struct buf *out) {
    while (out->len > 0 && out->data[out->len - 1] == ' ') out->len--;
    buf_puts(out, "\n");
}

void table_print(const struct table *t, struct buf *out) {
    int *widths = xcalloc((size_t)t->column_count, sizeof *widths);
    struct buf text = {0};
    for (int c = 0; c < t->column_count; c++) {
        if (!t->columns[c].title) continue;
        widths[c] = column_width(t, c);
        put_cell(t, c, widths[c], t->columns[c].title, out);
    }
    end_row(out);
    for (int i = 0; i < t->cell_count; i++) {
        int c = i % t->column_count;
        format_cell(t, i, &text);
        if (t->columns[c].title) put_cell(t, c, widths[c], text.data, out);
        if (c == t->column_count - 1) end_row(out);
    }
    buf_free(&text);
    free(widths);
}

/* -- JSON ---------------------------------------------------------------- */

static json_t *cell_json(enum table_kind kind, const struct table_cell *cell) {
    switch (kind) {
    case TABLE_TEXT:
        return json_string(cell->text);
    case TABLE_INT:
        return json_integer(cell->number);
    case TABLE_REAL:
        return json_real(cell->real);
    default:
        return json_boolean(cell->number);
    }
}

json_t *table_json(const struct table *t) {
    json_t *rows = json_array(), *row = NULL;
    for (int i = 0; i < t->cell_count; i++) {
        const struct table_column *column = &t->columns[i % t->column_count];
        if (i % t->column_count == 0) {
            row = json_object();
            json_array_append_new(rows, row);
        }
        if (column->key) json_object_set_new(row, column->key, cell_json(column->kind, &t->cells[i]));
    }
    return rows;
}

void table_put_json(json_t *json, struct buf *out) {
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    buf_puts(out, text ? text : "null");
    buf_puts(out, "\n");
    free(text);
    json_decref(json);
}
