// yaml_tree: YAML text -> a tree of nodes that keep their line and column.
// In: bytes of any kind. Out: scalars, lists and maps; every fault is reported with its position.
// Refuses what a kernel spec never needs: anchors, aliases, tags, merge keys, several documents, duplicate keys, deep
// nesting. Nothing else in the program sees libyaml. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_YAML_TREE_H
#define SAGE_GEN_YAML_TREE_H

#include "diag.h"
#include <stdbool.h>
#include <stddef.h>

#define YAML_TREE_BYTES_MAX (1024 * 1024) /* of a text */
#define YAML_TREE_DEPTH_MAX 16            /* lists and maps inside each other */
#define YAML_TREE_NODES_MAX 4096

enum yaml_tree_kind { YAML_TREE_SCALAR, YAML_TREE_LIST, YAML_TREE_MAP };

// A node and all below it.
struct yaml_tree {
    enum yaml_tree_kind kind;
    bool plain;              /* scalar written without quotes, not as a block */
    bool bad;                /* an error about this node was reported; its content means nothing */
    struct diag_loc loc;     /* of the value */
    char *text;              /* of a scalar; holds no NUL byte */
    char *key;               /* of a member of a map; else NULL */
    struct diag_loc key_loc; /* of the key */
    int count;               /* children */
    struct yaml_tree *child; /* first item or member */
    struct yaml_tree *next;  /* next item or member, in the order of the file */
};

// Reads one document. Errors: reported to d; NULL if the structure cannot be known, else a tree that may hold `bad`
// nodes (so compare d->errors). **Owner**: the caller, yaml_tree_free. file is borrowed by the positions.
struct yaml_tree *yaml_tree_parse(const char *file, const char *text, size_t len, struct diag *d);
void yaml_tree_free(struct yaml_tree *tree); // NULL is allowed

#endif
