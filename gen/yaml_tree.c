// yaml_tree: libyaml events -> nodes that keep line and column.
// In: bytes of any kind. Out: a tree, or errors with positions; never a crash, and work bounded by the limits of
// yaml_tree.h. libyaml counts code points and knows other line ends than '\n'; positions here are bytes of '\n' lines,
// as diag shows them. SPDX-License-Identifier: Apache-2.0
#include "yaml_tree.h"
#include "utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct loader {
    yaml_parser_t parser;
    struct diag *diag;
    const char *file;
    const char *text;  /* after the byte order mark */
    size_t len;        /* bytes */
    size_t bom_bytes;  /* in front of text */
    size_t cursor;     /* code points before `byte` */
    size_t byte;       /* offset in text that `cursor` stands for */
    size_t line_start; /* offset of the cursor's line */
    int line;          /* of the cursor, from 1 */
    int nodes;
};

/* -- Positions --------------------------------------------------------- */

static size_t code_point_bytes(const struct loader *l, size_t byte) {
    uint32_t code;
    size_t used = utf8_decode(l->text + byte, l->len - byte, &code);
    return used ? used : 1;
}

static void rewind_cursor(struct loader *l) {
    l->cursor = l->byte = l->line_start = 0;
    l->line = 1;
}

static struct diag_loc cursor_loc(const struct loader *l) {
    size_t column = l->byte - l->line_start + 1;
    if (l->line == 1) column += l->bom_bytes;
    return (struct diag_loc){.file = l->file, .line = l->line, .column = (int)column};
}

static void advance_cursor(struct loader *l) {
    bool newline = l->text[l->byte] == '\n';
    l->byte += code_point_bytes(l, l->byte);
    l->cursor++;
    if (!newline) return;
    l->line++;
    l->line_start = l->byte;
}

// Position of a code point. Marks come in ascending order but for a few, so that the walk is linear over a file.
static struct diag_loc locate(struct loader *l, size_t code_point) {
    if (code_point < l->cursor) rewind_cursor(l);
    while (l->cursor < code_point && l->byte < l->len) advance_cursor(l);
    return cursor_loc(l);
}

static struct diag_loc locate_byte(struct loader *l, size_t byte) {
    if (byte < l->byte) rewind_cursor(l);
    while (l->byte < byte && l->byte < l->len) advance_cursor(l);
    return cursor_loc(l);
}

/* -- Bytes that are no YAML -------------------------------------------- */

static bool is_yaml_character(uint32_t code) {
    if (code == '\t' || code == '\n' || code == '\r' || code == 0x85) return true;
    return code >= 0x20 && !(code >= 0x7f && code <= 0x9f) && code != 0xfffe && code != 0xffff;
}

static bool check_bytes(struct loader *l) {
    for (size_t at = 0; at < l->len;) {
        uint32_t code = 0;
        size_t used = utf8_decode(l->text + at, l->len - at, &code);
        if (used && is_yaml_character(code)) {
            at += used;
            continue;
        }
        struct diag_loc loc = locate_byte(l, at);
        if (!used)
            diag_error(l->diag, loc, "the file is not UTF-8 text (byte 0x%02x)", (unsigned)(unsigned char)l->text[at]);
        else if (code == 0)
            diag_error(l->diag, loc, "NUL byte: the file is not text");
        else
            diag_error(l->diag, loc, "control character U+%04X is not allowed", (unsigned)code);
        return false;
    }
    return true;
}

/* -- Events ------------------------------------------------------------ */

static void report_syntax(struct loader *l) {
    const yaml_parser_t *p = &l->parser;
    const char *problem = p->problem ? p->problem : "cannot be read";
    if (p->error == YAML_MEMORY_ERROR) {
        diag_error(l->diag, (struct diag_loc){.file = l->file}, "out of memory");
        return;
    }
    struct diag_loc loc =
        p->error == YAML_READER_ERROR ? locate_byte(l, p->problem_offset) : locate(l, p->problem_mark.index);
    bool tab = l->byte < l->len && l->text[l->byte] == '\t';
    diag_error(l->diag, loc, "YAML: %s%s", problem, tab ? " (a tab; indent with spaces)" : "");
    if (p->context && p->context_mark.index != p->problem_mark.index)
        diag_note(l->diag, locate(l, p->context_mark.index), "%s", p->context);
}

static bool next_event(struct loader *l, yaml_event_t *event) {
    if (yaml_parser_parse(&l->parser, event)) return true;
    report_syntax(l);
    return false;
}

static void refuse_properties(struct loader *l, struct diag_loc loc, const void *anchor, const void *tag) {
    if (anchor) diag_error(l->diag, loc, "anchors and aliases are not allowed");
    if (tag) diag_error(l->diag, loc, "tags are not allowed");
}

/* -- Nodes ------------------------------------------------------------- */

static struct yaml_tree *read_node(struct loader *l, const yaml_event_t *event, int depth);

static struct yaml_tree *new_node(struct loader *l, enum yaml_tree_kind kind, struct diag_loc loc) {
    if (++l->nodes > YAML_TREE_NODES_MAX) {
        diag_error(l->diag, loc, "more than %d values: this is no kernel spec", YAML_TREE_NODES_MAX);
        return NULL;
    }
    struct yaml_tree *node = xcalloc(1, sizeof *node);
    node->kind = kind;
    node->loc = loc;
    return node;
}

static struct yaml_tree *read_scalar(struct loader *l, const yaml_event_t *event, struct diag_loc loc) {
    refuse_properties(l, loc, event->data.scalar.anchor, event->data.scalar.tag);
    struct yaml_tree *node = new_node(l, YAML_TREE_SCALAR, loc);
    if (!node) return NULL;
    const char *text = (const char *)event->data.scalar.value;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = xstrndup(text, event->data.scalar.length);
    if (strlen(node->text) != event->data.scalar.length) {
        diag_error(l->diag, loc, "NUL byte in a value");
        node->bad = true;
    }
    return node;
}

static bool check_depth(struct loader *l, struct diag_loc loc, int depth) {
    if (depth < YAML_TREE_DEPTH_MAX) return true;
    diag_error(l->diag, loc, "nested more than %d deep", YAML_TREE_DEPTH_MAX);
    return false;
}

static void append_child(struct yaml_tree *parent, struct yaml_tree **last, struct yaml_tree *child) {
    if (*last)
        (*last)->next = child;
    else
        parent->child = child;
    *last = child;
    parent->count++;
}

// Reads items up to the end of the list; false if the structure is lost.
static bool read_items(struct loader *l, struct yaml_tree *list, int depth) {
    struct yaml_tree *last = NULL;
    for (;;) {
        yaml_event_t event;
        if (!next_event(l, &event)) return false;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        struct yaml_tree *item = end ? NULL : read_node(l, &event, depth + 1);
        yaml_event_delete(&event);
        if (end) return true;
        if (!item) return false;
        append_child(list, &last, item);
    }
}

// Whether a key may stand in the map; reports why not.
static bool check_key(struct loader *l, const struct yaml_tree *map, const struct yaml_tree *key) {
    if (key->bad) return false;
    if (key->kind != YAML_TREE_SCALAR) {
        diag_error(l->diag, key->loc, "a key must be a single word");
        return false;
    }
    if (key->plain && strcmp(key->text, "<<") == 0) {
        diag_error(l->diag, key->loc, "merge keys are not allowed");
        return false;
    }
    for (const struct yaml_tree *m = map->child; m; m = m->next) {
        if (strcmp(m->key, key->text) != 0) continue;
        struct buf shown = {0};
        diag_escape(&shown, key->text, strnlen(key->text, 64));
        diag_error(l->diag, key->loc, "duplicate key '%s'", shown.data);
        diag_note(l->diag, m->key_loc, "it is first set here");
        buf_free(&shown);
        return false;
    }
    return true;
}

static struct yaml_tree *read_next_node(struct loader *l, int depth) {
    yaml_event_t event;
    if (!next_event(l, &event)) return NULL;
    struct yaml_tree *node = read_node(l, &event, depth);
    yaml_event_delete(&event);
    return node;
}

// Takes key's text over into value and frees the rest of key.
static void set_key(struct yaml_tree *value, struct yaml_tree *key) {
    value->key = key->text;
    value->key_loc = key->loc;
    key->text = NULL;
    yaml_tree_free(key);
}

// Reads members up to the end of the map; false if the structure is lost.
static bool read_members(struct loader *l, struct yaml_tree *map, int depth) {
    struct yaml_tree *last = NULL;
    for (;;) {
        yaml_event_t event;
        if (!next_event(l, &event)) return false;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        struct yaml_tree *key = end ? NULL : read_node(l, &event, depth + 1);
        yaml_event_delete(&event);
        if (end) return true;
        if (!key) return false;
        bool keep = check_key(l, map, key);
        struct yaml_tree *value = read_next_node(l, depth + 1);
        if (!value || !keep) {
            yaml_tree_free(key);
            yaml_tree_free(value);
            if (!value) return false;
            continue;
        }
        set_key(value, key);
        append_child(map, &last, value);
    }
}

static struct yaml_tree *read_collection(struct loader *l, struct diag_loc loc, bool is_map, int depth) {
    if (!check_depth(l, loc, depth)) return NULL;
    struct yaml_tree *node = new_node(l, is_map ? YAML_TREE_MAP : YAML_TREE_LIST, loc);
    if (!node) return NULL;
    bool ok = is_map ? read_members(l, node, depth) : read_items(l, node, depth);
    if (ok) return node;
    yaml_tree_free(node);
    return NULL;
}

// The node that starts with `event`; NULL if the structure is lost (the error is reported).
static struct yaml_tree *read_node(struct loader *l, const yaml_event_t *event, int depth) {
    struct diag_loc loc = locate(l, event->start_mark.index);
    struct yaml_tree *node;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(l, event, loc);
    case YAML_SEQUENCE_START_EVENT:
        refuse_properties(l, loc, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        return read_collection(l, loc, false, depth);
    case YAML_MAPPING_START_EVENT:
        refuse_properties(l, loc, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return read_collection(l, loc, true, depth);
    default: // an alias: the parser gives nothing else in the place of a node
        refuse_properties(l, loc, event, NULL);
        node = new_node(l, YAML_TREE_SCALAR, loc);
        if (!node) return NULL;
        node->bad = true;
        node->text = xstrdup("");
        return node;
    }
}

/* -- Documents --------------------------------------------------------- */

// Reads events up to the first node and gives the tree below it.
static struct yaml_tree *read_document(struct loader *l) {
    for (;;) {
        yaml_event_t event;
        if (!next_event(l, &event)) return NULL;
        bool outer = event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT;
        bool empty = event.type == YAML_STREAM_END_EVENT;
        struct yaml_tree *root = outer || empty ? NULL : read_node(l, &event, 0);
        yaml_event_delete(&event);
        if (outer) continue;
        if (empty) diag_error(l->diag, (struct diag_loc){.file = l->file}, "the file is empty");
        return root;
    }
}

// Whether nothing but the end follows; the rest of the file is scanned too, so that its faults are found.
static bool read_end(struct loader *l) {
    for (;;) {
        yaml_event_t event;
        if (!next_event(l, &event)) return false;
        yaml_event_type_t type = event.type;
        struct diag_loc loc = locate(l, event.start_mark.index);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) return true;
        if (type == YAML_DOCUMENT_END_EVENT) continue;
        diag_error(l->diag, loc, "a second document starts here; a file holds one");
        return true;
    }
}

struct yaml_tree *yaml_tree_parse(const char *file, const char *text, size_t len, struct diag *d) {
    static const char bom[] = "\xef\xbb\xbf";
    size_t skip = len >= 3 && memcmp(text, bom, 3) == 0 ? 3 : 0;
    struct loader l = {.diag = d, .file = file, .text = text + skip, .len = len - skip, .bom_bytes = skip, .line = 1};
    if (len > YAML_TREE_BYTES_MAX) {
        diag_error(d, (struct diag_loc){.file = file}, "the file has more than %d bytes", YAML_TREE_BYTES_MAX);
        return NULL;
    }
    if (!check_bytes(&l)) return NULL;
    if (!yaml_parser_initialize(&l.parser)) {
        diag_error(d, (struct diag_loc){.file = file}, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)l.text, l.len);
    struct yaml_tree *root = read_document(&l);
    if (root && !read_end(&l)) {
        yaml_tree_free(root);
        root = NULL;
    }
    yaml_parser_delete(&l.parser);
    return root;
}

void yaml_tree_free(struct yaml_tree *tree) {
    while (tree) {
        struct yaml_tree *next = tree->next;
        yaml_tree_free(tree->child);
        free(tree->text);
        free(tree->key);
        free(tree);
        tree = next;
    }
}
