// wisdom_text: wisdom as it is written: rows of many runs and machines joined into one text, the same whatever order
// they came in. In: rows. Out: the text that runtime/wisdom.c reads. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_WISDOM_TEXT_H
#define SAGE_GEN_WISDOM_TEXT_H

#include "buf.h"
#include "diag.h"
#include "wisdom.h"

struct wisdom_list {
    struct wisdom_machine *machine;
    struct wisdom_row *row;
    int machines, rows, machine_capacity, row_capacity;
};

// Of two rows of one machine and one problem (all words and numbers but the variant, its spec_hash and the times)
// REPLACE keeps the later; BETTER keeps the one of a shipped spec as it is now, then the faster, then the first variant
// in the order of texts: so that a join does not depend on the order of its parts.
enum wisdom_rule { WISDOM_REPLACE, WISDOM_BETTER };

// Whether the row is of a shipped spec as it is now. Rows of other specs, and of older forms, are used where their spec
// is.
bool wisdom_row_is_current(const struct wisdom_row *row);
void wisdom_list_add(struct wisdom_list *list, const struct wisdom_machine *machine, const struct wisdom_row *row,
                     enum wisdom_rule rule);
void wisdom_list_join(struct wisdom_list *list, const struct wisdom *more, enum wisdom_rule rule);
// Reads a text into the list, all of it or nothing. false: file:line and the reason are in d.
bool wisdom_list_parse(struct wisdom_list *list, const char *file, const char *text, size_t len, enum wisdom_rule rule,
                       struct diag *d);
// Reads a file into the list, all of it or nothing. false: the reason is in d. A file that is not there: where
// must_exist.
bool wisdom_list_read(struct wisdom_list *list, const char *file, bool must_exist, enum wisdom_rule rule,
                      struct diag *d);
// Sorted by machine, spec, target, head dims, io, mask, shape. Only machines with rows.
void wisdom_list_print(const struct wisdom_list *list, struct buf *out);
// Whole or not at all, its folders made. false: the reason is in d.
bool wisdom_list_write(const struct wisdom_list *list, const char *file, struct diag *d);
void wisdom_make_folders(const char *file); // those above the file, that are missing
void wisdom_list_free(struct wisdom_list *list);

#endif
