// wisdom: which tuning point of a spec was fastest, per problem and GPU, as `sagegen tune` measured it. A text; read
// all or nothing; never more than a preference: a provider that lacks the tuning point gives its default one. In: text,
// or a query. Out: rows. Measures, compiles and chooses nothing by itself.
//
//   sagegen wisdom 1
//   # comments
//   machine <sm> <multiprocessors> <driver> <name of the GPU>
//   row <the columns of WISDOM_TEXTS and WISDOM_NUMBERS>       of the machine above it
//   hash <XXH3-64 of all bytes before this line>
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_WISDOM_H
#define SAGE_WISDOM_H

#include "sage.h"
#include <stdbool.h>

#define WISDOM_VERSION    1
#define WISDOM_TEXT_MAX   63        /* bytes of a word, without the NUL */
#define WISDOM_FILE_MAX   (4 << 20) /* bytes */
#define WISDOM_TABLES_MAX 16        /* of a context */

// X(name, help): words of a row, in this order.
#define WISDOM_TEXTS(X)                                                                                                \
    X(spec, "name of the spec")                                                                                        \
    X(spec_hash, "of its parsed form: its formats and its tuning points; a row of another hash is not used")           \
    X(target, "sm_90a")                                                                                                \
    X(io, "bf16 | fp16")                                                                                               \
    X(mask, "none | causal")                                                                                           \
    X(variant, "the fastest tuning point: q128_k64_s2_w8")

#define WISDOM_NUMBERS(X)                                                                                              \
    X(head_dim_qk, "elements")                                                                                         \
    X(head_dim_v, "elements")                                                                                          \
    X(batch, "")                                                                                                       \
    X(heads_q, "")                                                                                                     \
    X(heads_kv, "")                                                                                                    \
    X(seq_q, "tokens")                                                                                                 \
    X(seq_k, "tokens")                                                                                                 \
    X(variant_ns, "median time of a call with that tuning point")                                                      \
    X(default_ns, "with the default one")

#define WISDOM_TEXT_MEMBER(name, help)   char name[WISDOM_TEXT_MAX + 1];
#define WISDOM_NUMBER_MEMBER(name, help) int64_t name;
struct wisdom_row {
    WISDOM_TEXTS(WISDOM_TEXT_MEMBER)
    WISDOM_NUMBERS(WISDOM_NUMBER_MEMBER)
    int machine; /* index */
};

// The GPU that rows were measured on; two are the same if all of it is.
struct wisdom_machine {
    int sm, multiprocessors;
    char driver[WISDOM_TEXT_MAX + 1]; /* "580.159.04" */
    char gpu[128];
};

struct wisdom {
    struct wisdom_machine *machine;
    struct wisdom_row *row;
    int machines, rows;
};

// Reads a text (len bytes; need not be NUL-terminated). file: what messages call it. *out is untouched on failure.
// Errors: CORRUPT with file:line and the reason, for any line; OUT_OF_MEMORY.
sage_status wisdom_read(sage_context *context, const char *file, const char *text, size_t len, struct wisdom *out);
void wisdom_free(sage_context *context, struct wisdom *wisdom);
// NULL, or what is wrong with the values of a row or a machine.
const char *wisdom_row_fault(const struct wisdom_row *row);
const char *wisdom_machine_fault(const struct wisdom_machine *machine);

/* -- Looking up ---- */

// What a plan is made for. Without a shape (all zero) the typical one: 4 x 32 heads, 4096 tokens.
struct wisdom_query {
    const char *spec;   /* by name; NULL: the family's spec of these head dims */
    const char *family; /* "int8_fp8" */
    int head_dim_qk, head_dim_v;
    sage_dtype io;
    sage_mask mask;
    sage_attention_shape shape;
    const char *gpu;
    int sm, multiprocessors;
};

enum wisdom_match {
    WISDOM_NONE,
    WISDOM_ARCHITECTURE, /* of another GPU of the same compute capability */
    WISDOM_GPU
};

// The row for a query, of several tables; NULL: none. Rows of the same spec, head dims, io, mask and group class (as
// many heads of K and V as of Q, or fewer) compete:
//   1. those of the query's GPU by name and multiprocessors; else of the same compute capability, the nearest in
//      multiprocessors first
//   2. the nearest in log2 of seq_q plus log2 of seq_k
//   3. the nearest in log2 of batch times heads_q
//   4. the longer seq_k; the larger batch times heads_q; the earlier table; the earlier row
const struct wisdom_row *wisdom_find(const struct wisdom *table, int tables, const struct wisdom_query *query,
                                     enum wisdom_match *match);
// How well the tables know a GPU at all; *machine: the one whose rows come first, NULL where match is NONE.
enum wisdom_match wisdom_match(const struct wisdom *table, int tables, const struct wisdom_query *gpu,
                               const struct wisdom_machine **machine);

/* -- A context's tables (wisdom_load.c) ---- */

// Reads the user's file: options.wisdom, SAGE_WISDOM, or <data directory>/sagegen/wisdom.txt; "none": no wisdom at all,
// that of wisdom_add neither. A file that is not there is fine; one that is bad is left out as a whole, with a warning
// to the log. Errors: OUT_OF_MEMORY.
sage_status wisdom_open(sage_context *context, const char *path);
// Adds a table behind those that are there. Errors: those of wisdom_read; UNSUPPORTED: too many.
sage_status wisdom_add(sage_context *context, const char *file, const char *text, size_t len);
void wisdom_close(sage_context *context);

struct wisdom_description {
    const char *path;   /* of the user's file; "" where there is no home; lives as long as the context */
    const char *reason; /* why it is left out; "" */
    const struct wisdom *table;
    int tables;
};
void wisdom_describe(const sage_context *context, struct wisdom_description *out);

#endif
