// spec_value: reads one value of a spec from a node, and writes it back as text.
// In: a field of the table and a node. Out: the member of struct spec, or errors at the node's position.
// One row of `kinds` per kind of value; nothing here knows a field by its name.
// SPDX-License-Identifier: Apache-2.0
#include "spec_internal.h"
#include "suggest.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(enum spec_format) == sizeof(int), "an enumerated member is stored as an int");
static_assert(sizeof(int) == sizeof(float), "list items of both types share one reader");
static_assert(offsetof(struct spec_int_list, item) == offsetof(struct spec_f32_list, item), "as above");

union item {
    int i;
    float f;
};

/* -- Messages ---------------------------------------------------------- */

void spec_quote(struct buf *out, const char *text) {
    enum { SHOWN_BYTES_MAX = 60 };
    if (!text[0]) {
        buf_puts(out, "nothing");
        return;
    }
    size_t len = strlen(text), shown = len;
    if (len > SHOWN_BYTES_MAX) {
        shown = SHOWN_BYTES_MAX;
        while ((text[shown] & 0xc0) == 0x80) shown--; // a whole code point
    }
    buf_puts(out, "'");
    diag_escape(out, text, shown);
    buf_puts(out, shown < len ? "...'" : "'");
}

void spec_put_suggestion(struct buf *out, const struct suggest *s) {
    if (s->best) buf_printf(out, "; did you mean '%.*s'?", (int)s->best_len, s->best);
}

// Reports "path must be WANTED, not 'text'".
static bool refuse(struct spec_reader *r, const char *path, const struct yaml_tree *node, const char *wanted) {
    struct buf given = {0};
    if (node->kind == YAML_TREE_LIST)
        buf_puts(&given, "a list");
    else if (node->kind == YAML_TREE_MAP)
        buf_puts(&given, "a mapping");
    else {
        if (!node->plain) buf_puts(&given, "the string ");
        if (!node->plain && !node->text[0])
            buf_puts(&given, "''");
        else
            spec_quote(&given, node->text);
    }
    diag_error(r->diag, node->loc, "%s must be %s, not %s", path, wanted, given.data);
    buf_free(&given);
    return false;
}

// "a|b|c" as "a, b or c"
static void put_alternatives(struct buf *out, const char *allowed) {
    for (const char *at = allowed; *at;) {
        size_t len = strcspn(at, "|");
        buf_printf(out, "%s%.*s", at == allowed ? "" : at[len] ? ", " : " or ", (int)len, at);
        at += len + (at[len] ? 1 : 0);
    }
}

/* -- Numbers and words ------------------------------------------------- */

// Strict decimal: no sign but '-', no leading zero, no exponent. A number too large for an int becomes INT_MAX.
static bool scan_int(const char *text, int *value) {
    const char *digit = text + (text[0] == '-');
    if (!digit[0] || (digit[0] == '0' && digit[1])) return false;
    long long n = 0;
    for (; *digit; digit++) {
        if (*digit < '0' || *digit > '9') return false;
        if (n < INT_MAX) n = n * 10 + (*digit - '0');
    }
    if (n > INT_MAX) n = INT_MAX;
    *value = text[0] == '-' ? (int)-n : (int)n;
    return true;
}

// Decimal with at most 6 digits on either side of the point, so that the value does not depend on the locale or libc.
static bool scan_decimal(const char *text, double *value) {
    enum { DIGITS_MAX = 6 };
    size_t whole = strspn(text, "0123456789");
    if (whole == 0 || whole > DIGITS_MAX || (text[0] == '0' && whole > 1)) return false;
    double n = 0, unit = 1;
    for (size_t i = 0; i < whole; i++) n = n * 10 + (text[i] - '0');
    const char *rest = text + whole;
    if (*rest == '.') {
        size_t digits = strspn(++rest, "0123456789");
        if (digits == 0 || digits > DIGITS_MAX) return false;
        for (; digits > 0; digits--, unit *= 10) n = n * 10 + (*rest++ - '0');
    }
    *value = n / unit;
    return *rest == '\0';
}

// Whether a number obeys `allowed`: "lo...hi", "lo...hi step n" or "a|b|c"; reports if not.
static bool check_allowed(struct spec_reader *r, const char *path, const char *allowed, const struct yaml_tree *node,
                          double v) {
    int lo = 0, hi = 0, step = 1;
    bool ok = false, range = sscanf(allowed, "%d...%d step %d", &lo, &hi, &step) >= 2;
    if (range) {
        ok = v >= lo && v <= hi && (step == 1 || (int)v % step == 0);
    } else {
        for (const char *at = allowed; at; at = strchr(at, '|')) {
            at += *at == '|';
            if (strtol(at, NULL, 10) == (long)v) ok = true;
        }
    }
    if (ok) return true;
    struct buf rule = {0};
    if (range && step > 1)
        buf_printf(&rule, "a multiple of %d (%d...%d)", step, lo, hi);
    else if (range)
        buf_printf(&rule, "in %d...%d", lo, hi);
    else
        put_alternatives(&rule, allowed);
    diag_error(r->diag, node->loc, "%s = %.20s%s must be %s", path, node->text, strlen(node->text) > 20 ? "..." : "",
               rule.data);
    buf_free(&rule);
    return false;
}

static bool read_number(struct spec_reader *r, const char *path, const char *allowed, const struct yaml_tree *node,
                        int *to) {
    int v;
    if (node->kind != YAML_TREE_SCALAR || !node->plain || !scan_int(node->text, &v))
        return refuse(r, path, node, "a whole number in decimal");
    if (!check_allowed(r, path, allowed, node, v)) return false;
    *to = v;
    return true;
}

static bool read_int_item(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node,
                          union item *to) {
    return read_number(r, f->path, f->allowed, node, &to->i);
}

static bool read_f32_item(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node,
                          union item *to) {
    double v;
    if (node->kind != YAML_TREE_SCALAR || !node->plain || !scan_decimal(node->text, &v))
        return refuse(r, f->path, node, "a decimal number such as 5.5");
    if (!check_allowed(r, f->path, f->allowed, node, v)) return false;
    to->f = (float)v;
    return true;
}

static void report_word(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node) {
    struct buf allowed = {0}, message = {0};
    struct suggest near = {.word = node->text};
    for (const char *const *w = spec_kind_words(f->kind); *w; w++) {
        if (!spec_word_allowed(f, *w)) continue;
        buf_printf(&allowed, "%s%s", allowed.len ? "|" : "", *w);
        suggest_offer(&near, *w, strlen(*w));
    }
    buf_printf(&message, "%s must be ", f->path);
    put_alternatives(&message, allowed.data);
    buf_puts(&message, ", not ");
    spec_quote(&message, node->text);
    spec_put_suggestion(&message, &near);
    diag_error(r->diag, node->loc, "%s", message.data);
    buf_free(&allowed);
    buf_free(&message);
}

static bool read_word_item(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node,
                           union item *to) {
    if (node->kind != YAML_TREE_SCALAR) return refuse(r, f->path, node, "a word");
    const char *const *words = spec_kind_words(f->kind);
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], node->text) != 0 || !spec_word_allowed(f, words[i])) continue;
        to->i = i;
        return true;
    }
    report_word(r, f, node);
    return false;
}

/* -- Kinds: reading ---------------------------------------------------- */

typedef bool read_function(struct spec_reader *, const struct spec_field *, const struct yaml_tree *, void *to);
typedef bool read_item_function(struct spec_reader *, const struct spec_field *, const struct yaml_tree *,
                                union item *);

static bool read_int(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    return read_number(r, f->path, f->allowed, node, to);
}

static bool read_enum(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    union item word;
    if (!read_word_item(r, f, node, &word)) return false;
    memcpy(to, &word.i, sizeof word.i);
    return true;
}

static bool read_bool(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    bool plain = node->kind == YAML_TREE_SCALAR && node->plain;
    bool on = plain && strcmp(node->text, "true") == 0;
    if (!on && !(plain && strcmp(node->text, "false") == 0)) return refuse(r, f->path, node, "true or false");
    *(bool *)to = on;
    return true;
}

static bool read_name(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz", rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    if (node->kind != YAML_TREE_SCALAR) return refuse(r, f->path, node, "a word");
    size_t len = strlen(node->text);
    if (!len || !strchr(letters, node->text[0]) || strspn(node->text, rest) != len)
        return refuse(r, f->path, node, "a letter a-z, then a-z, 0-9 or '_' (it names files and functions)");
    if (len > SPEC_NAME_MAX) {
        diag_error(r->diag, node->loc, "%s has %zu characters; at most %d are allowed", f->path, len, SPEC_NAME_MAX);
        return false;
    }
    memcpy(to, node->text, len + 1);
    return true;
}

static bool check_unique(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *list,
                         const struct yaml_tree *node, const union item *items, int index) {
    const struct yaml_tree *first = list->child;
    for (int i = 0; i < index; i++, first = first->next) {
        if (memcmp(&items[i], &items[index], sizeof items[i]) != 0) continue;
        diag_error(r->diag, node->loc, "%s lists %s twice", f->path, node->text);
        diag_note(r->diag, first->loc, "it is first listed here");
        return false;
    }
    return true;
}

static bool read_list(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to,
                      read_item_function *read_item) {
    if (node->kind != YAML_TREE_LIST) return refuse(r, f->path, node, "a list, written [a, b]");
    if (node->count < 1 || node->count > SPEC_LIST_MAX) {
        diag_error(r->diag, node->loc, "%s must have 1...%d items, not %d", f->path, SPEC_LIST_MAX, node->count);
        return false;
    }
    union item items[SPEC_LIST_MAX];
    bool ok = true;
    int index = 0;
    for (const struct yaml_tree *item = node->child; item; item = item->next, index++) {
        bool item_ok = !item->bad && read_item(r, f, item, &items[index]);
        if (!item_ok) items[index].i = INT_MIN + index; // equal to no item
        ok = item_ok && check_unique(r, f, node, item, items, index) && ok;
    }
    if (!ok) return false;
    struct spec_int_list list = {.count = index};
    memcpy(list.item, items, (size_t)index * sizeof items[0]);
    memcpy(to, &list, sizeof list);
    return true;
}

static bool read_int_list(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    return read_list(r, f, node, to, read_int_item);
}

static bool read_f32_list(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    return read_list(r, f, node, to, read_f32_item);
}

static bool read_enum_list(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    return read_list(r, f, node, to, read_word_item);
}

// Reads a map of `count` numbers that must all be there, such as {qk: 192, v: 128}.
static bool read_numbers(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *map,
                         const char *const names[], int values[], int count) {
    bool ok = true;
    unsigned seen = 0;
    for (const struct yaml_tree *m = map->child; m; m = m->next) {
        int i = 0;
        while (i < count && strcmp(names[i], m->key) != 0) i++;
        struct buf path = {0};
        if (i < count) {
            buf_printf(&path, "%s.%s", f->path, names[i]);
            ok = !m->bad && read_number(r, path.data, f->allowed, m, &values[i]) && ok;
            seen |= 1u << i;
        } else {
            spec_quote(&path, m->key);
            diag_error(r->diag, m->key_loc, "unknown key %s in %s", path.data, f->path);
            ok = false;
        }
        buf_free(&path);
    }
    for (int i = 0; i < count; i++) {
        if (seen & 1u << i) continue;
        diag_error(r->diag, map->loc, "%s.%s is missing", f->path, names[i]);
        ok = false;
    }
    return ok;
}

// A number for both head dims, or {qk: N, v: N}.
static bool read_head_dim(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    static const char *const names[] = {"qk", "v"};
    int dims[2] = {0};
    if (node->kind == YAML_TREE_LIST) return refuse(r, f->path, node, "a whole number or {qk: N, v: N}");
    if (node->kind == YAML_TREE_MAP) {
        if (!read_numbers(r, f, node, names, dims, 2)) return false;
    } else {
        if (!read_number(r, f->path, f->allowed, node, &dims[0])) return false;
        dims[1] = dims[0];
    }
    *(int *)to = dims[0];
    r->spec->head_dim_v = dims[1];
    return true;
}

// none, or {group: N}.
static bool read_smooth_q(struct spec_reader *r, const struct spec_field *f, const struct yaml_tree *node, void *to) {
    static const char *const names[] = {"group"};
    if (node->kind == YAML_TREE_MAP) return read_numbers(r, f, node, names, to, 1);
    if (node->kind != YAML_TREE_SCALAR || strcmp(node->text, "none") != 0)
        return refuse(r, f->path, node, "none or {group: N}");
    *(int *)to = 0;
    return true;
}

/* -- Kinds: writing ---------------------------------------------------- */

typedef void write_function(const struct spec *, const struct spec_field *, const void *from, struct buf *out);
typedef void write_item_function(const struct spec_field *, union item, struct buf *out);

static int int_at(const void *from) {
    int v;
    memcpy(&v, from, sizeof v);
    return v;
}

static void write_int_item(const struct spec_field *f, union item v, struct buf *out) {
    (void)f;
    buf_printf(out, "%d", v.i);
}

static void write_word_item(const struct spec_field *f, union item v, struct buf *out) {
    buf_puts(out, spec_kind_words(f->kind)[v.i]);
}

// The inverse of scan_decimal; printf's %g would depend on the locale.
static void write_f32_item(const struct spec_field *f, union item v, struct buf *out) {
    (void)f;
    long long millionths = llround((double)v.f * 1e6);
    char digits[8];
    buf_printf(out, "%lld", millionths / 1000000);
    snprintf(digits, sizeof digits, "%06d", (int)(millionths % 1000000));
    size_t len = strlen(digits);
    while (len > 0 && digits[len - 1] == '0') digits[--len] = '\0';
    if (len) buf_printf(out, ".%s", digits);
}

static void write_int(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s;
    write_int_item(f, (union item){.i = int_at(from)}, out);
}

static void write_enum(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s;
    write_word_item(f, (union item){.i = int_at(from)}, out);
}

static void write_bool(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s, (void)f;
    buf_puts(out, *(const bool *)from ? "true" : "false");
}

static void write_name(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s, (void)f;
    buf_puts(out, from);
}

static void write_list(const struct spec_field *f, const void *from, struct buf *out, write_item_function *write_item) {
    struct spec_int_list list;
    memcpy(&list, from, sizeof list);
    for (int i = 0; i < list.count; i++) {
        union item item;
        memcpy(&item, &list.item[i], sizeof item);
        buf_puts(out, i ? ", " : "[");
        write_item(f, item, out);
    }
    buf_puts(out, "]");
}

static void write_int_list(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s;
    write_list(f, from, out, write_int_item);
}

static void write_f32_list(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s;
    write_list(f, from, out, write_f32_item);
}

static void write_enum_list(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s;
    write_list(f, from, out, write_word_item);
}

static void write_head_dim(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)f;
    int qk = int_at(from);
    if (qk == s->head_dim_v)
        buf_printf(out, "%d", qk);
    else
        buf_printf(out, "{qk: %d, v: %d}", qk, s->head_dim_v);
}

static void write_smooth_q(const struct spec *s, const struct spec_field *f, const void *from, struct buf *out) {
    (void)s, (void)f;
    int group = int_at(from);
    if (group)
        buf_printf(out, "{group: %d}", group);
    else
        buf_puts(out, "none");
}

/* -- Kinds ------------------------------------------------------------- */

static const struct kind {
    const char *name; /* up to a ':' */
    read_function *read;
    write_function *write;
} kinds[] = {
    {"int", read_int, write_int},
    {"bool", read_bool, write_bool},
    {"enum", read_enum, write_enum},
    {"name", read_name, write_name},
    {"int_list", read_int_list, write_int_list},
    {"f32_list", read_f32_list, write_f32_list},
    {"enum_list", read_enum_list, write_enum_list},
    {"head_dim", read_head_dim, write_head_dim},
    {"smooth_q", read_smooth_q, write_smooth_q},
};

static const struct kind *find_kind(const char *name) {
    size_t len = strcspn(name, ":");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strlen(kinds[i].name) == len && strncmp(kinds[i].name, name, len) == 0) return &kinds[i];
    assert(!"the table has a row for every kind");
    return NULL;
}

bool spec_value_read(struct spec_reader *r, const struct spec_field *field, const struct yaml_tree *node) {
    if (node->bad) return false;
    return find_kind(field->kind)->read(r, field, node, (char *)r->spec + field->offset);
}

void spec_value_write(const struct spec *spec, const struct spec_field *field, struct buf *out) {
    find_kind(field->kind)->write(spec, field, (const char *)spec + field->offset, out);
}
