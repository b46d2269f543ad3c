// table: rows that are printed aligned for people, or as JSON for programs, from one list of columns.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TABLE_H
#define SAGE_GEN_TABLE_H

#include "buf.h"
#include <jansson.h>
#include <stdbool.h>

enum table_kind { TABLE_TEXT, TABLE_INT, TABLE_REAL, TABLE_BOOL };

struct table_column {
    const char *title; /* head of the printed column; NULL: in JSON only */
    const char *key;   /* member of the JSON object; NULL: printed only */
    enum table_kind kind;
    int decimals; /* of a printed REAL */
};

struct table_cell {
    char *text; /* owned; TEXT only */
    long long number;
    double real;
};

// Zero-initialise, set columns (borrowed) and column_count; then add cells, left to right, row by row.
struct table {
    const struct table_column *columns;
    int column_count;
    struct table_cell *cells;
    int cell_count, capacity;
};

void table_text(struct table *t, const char *text);
void table_int(struct table *t, long long number);
void table_real(struct table *t, double real);
void table_bool(struct table *t, bool value);

// A line of titles, then one line a row; numbers to the right.
void table_print(const struct table *t, struct buf *out);
// An array with one object a row. Owner: the caller, json_decref.
json_t *table_json(const struct table *t);
// Appends the JSON text, indented, with a newline. Takes the reference.
void table_put_json(json_t *json, struct buf *out);
void table_free(struct table *t);

#endif
