// spec: walks the YAML tree of a kernel spec by the field table, fills in defaults, and remembers where each field was
// set. In: a file or a text. Out: a complete struct spec with its hash, or every error of the file and false. Values
// are read by spec_value.c, contradictions found by spec_check.c; no field is handled by name here.
// SPDX-License-Identifier: Apache-2.0
#include "spec_internal.h"
#include "suggest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* -- Positions --------------------------------------------------------- */

// What the file sets, in its order: "qk" (its key), "qk.format", "targets", "targets[0]" (their values).
struct spec_where {
    struct spec_where_entry {
        char *path;
        struct diag_loc loc;
    } * entries;
    size_t count, capacity;
};

static void where_add(struct spec_where *w, const char *path, struct diag_loc loc) {
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 64;
        struct spec_where_entry *entries = xcalloc(capacity, sizeof *entries);
        if (w->count) memcpy(entries, w->entries, w->count * sizeof *entries);
        free(w->entries);
        w->entries = entries;
        w->capacity = capacity;
    }
    w->entries[w->count++] = (struct spec_where_entry){.path = xstrdup(path), .loc = loc};
}

// Adds a value that was read without error, and all inside it.
static void where_add_tree(struct spec_where *w, const char *path, const struct yaml_tree *node) {
    where_add(w, path, node->kind == YAML_TREE_MAP ? node->key_loc : node->loc);
    int index = 0;
    for (const struct yaml_tree *c = node->child; c; c = c->next, index++) {
        struct buf inner = {0};
        if (c->key)
            buf_printf(&inner, "%s.%s", path, c->key);
        else
            buf_printf(&inner, "%s[%d]", path, index);
        where_add_tree(w, inner.data, c);
        buf_free(&inner);
    }
}

static const struct diag_loc *where_find(const struct spec_where *w, const char *path, size_t len) {
    for (size_t i = 0; w && i < w->count; i++)
        if (strlen(w->entries[i].path) == len && memcmp(w->entries[i].path, path, len) == 0) return &w->entries[i].loc;
    return NULL;
}

struct diag_loc spec_where(const struct spec *spec, const char *path) {
    for (size_t len = strlen(path); len > 0; len--) {
        if (path[len] != '\0' && path[len] != '.' && path[len] != '[') continue;
        const struct diag_loc *loc = where_find(spec->where, path, len);
        if (loc) return *loc;
    }
    return (struct diag_loc){.file = spec->file, .line = 1, .column = 1};
}

/* -- Keys -------------------------------------------------------------- */

// Length of a field's next key under `prefix` ("" or "qk."), or 0 if the field lies elsewhere.
static size_t key_under(const struct spec_field *f, const char *prefix) {
    size_t skip = strlen(prefix);
    return strncmp(f->path, prefix, skip) == 0 ? strcspn(f->path + skip, ".") : 0;
}

static bool is_section(const char *path) {
    size_t len = strlen(path);
    for (int i = 0; i < SPEC_FIELD_COUNT; i++)
        if (strncmp(spec_field_table[i].path, path, len) == 0 && spec_field_table[i].path[len] == '.') return true;
    return false;
}

// Fields under a key that could not be read are neither missing nor contradicted.
static void mark_bad(struct spec_reader *r, const char *path, size_t len) {
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        const char *p = spec_field_table[i].path;
        if (strncmp(p, path, len) == 0 && (p[len] == '\0' || p[len] == '.') && r->state[i] == SPEC_FIELD_ABSENT)
            r->state[i] = SPEC_FIELD_BAD;
    }
}

// The nearest key of the same map.
static struct suggest near_key(const char *key, const char *prefix) {
    struct suggest near = {.word = key};
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        size_t len = key_under(&spec_field_table[i], prefix);
        if (len) suggest_offer(&near, spec_field_table[i].path + strlen(prefix), len);
    }
    return near;
}

// The first field anywhere whose last key is just this one, or NULL.
static const char *field_ending_in(const char *key) {
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        const char *dot = strrchr(spec_field_table[i].path, '.');
        if (dot && strcmp(dot + 1, key) == 0) return spec_field_table[i].path;
    }
    return NULL;
}

static void report_unknown_key(struct spec_reader *r, const struct yaml_tree *node, const char *prefix) {
    struct suggest near = near_key(node->key, prefix);
    struct buf meant = {0}, message = {0};
    if (near.best) buf_printf(&meant, "%s%.*s", prefix, (int)near.best_len, near.best);
    const char *elsewhere = near.best ? NULL : field_ending_in(node->key);
    if (elsewhere) {
        buf_puts(&meant, elsewhere);
        near.best = elsewhere;
        near.best_len = strlen(elsewhere);
    }
    buf_puts(&message, "unknown key ");
    spec_quote(&message, node->key);
    if (prefix[0]) buf_printf(&message, " in %.*s", (int)strlen(prefix) - 1, prefix);
    spec_put_suggestion(&message, &near);
    diag_error(r->diag, node->key_loc, "%s", message.data);
    if (near.best) mark_bad(r, meant.data, meant.len); // it is mistyped, not missing
    buf_free(&meant);
    buf_free(&message);
}

static void report_no_section(struct spec_reader *r, const struct yaml_tree *node, const char *path) {
    struct buf keys = {0}, prefix = {0};
    buf_printf(&prefix, "%s.", path);
    const char *last = "";
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        size_t len = key_under(&spec_field_table[i], prefix.data);
        const char *key = spec_field_table[i].path + prefix.len;
        if (!len || (strncmp(last, key, len) == 0 && strcspn(last, ".") == len)) continue;
        buf_printf(&keys, "%s%.*s", keys.len ? ", " : "", (int)len, key);
        last = key;
    }
    if (!node->bad) diag_error(r->diag, node->loc, "%s must be a mapping; its keys are %s", path, keys.data);
    mark_bad(r, path, strlen(path));
    buf_free(&keys);
    buf_free(&prefix);
}

/* -- Reading ----------------------------------------------------------- */

static void read_field(struct spec_reader *r, int index, const struct yaml_tree *node) {
    const struct spec_field *field = &spec_field_table[index];
    bool ok = spec_value_read(r, field, node);
    r->state[index] = ok ? SPEC_FIELD_GIVEN : SPEC_FIELD_BAD;
    if (ok) where_add_tree(r->spec->where, field->path, node);
}

static void read_map(struct spec_reader *r, const struct yaml_tree *map, const char *prefix) {
    for (const struct yaml_tree *m = map->child; m; m = m->next) {
        struct buf path = {0};
        buf_printf(&path, "%s%s", prefix, m->key);
        int index = spec_field_index(path.data);
        bool section = index < 0 && is_section(path.data);
        if (index >= 0) {
            read_field(r, index, m);
        } else if (section && m->kind == YAML_TREE_MAP) {
            where_add(r->spec->where, path.data, m->key_loc);
            buf_puts(&path, ".");
            read_map(r, m, path.data);
        } else if (section) {
            report_no_section(r, m, path.data);
        } else {
            report_unknown_key(r, m, prefix);
        }
        buf_free(&path);
    }
}

// A default is read as if the file held its text. `auto` is left to spec_check.
static void read_default(struct spec_reader *r, const struct spec_field *field) {
    if (strcmp(field->fallback, "required") == 0 || strcmp(field->fallback, "auto") == 0) return;
    struct buf sink = {0};
    struct diag scratch = {.sink = &sink};
    struct spec_reader reader = {.spec = r->spec, .diag = &scratch};
    struct yaml_tree *node = yaml_tree_parse("default", field->fallback, strlen(field->fallback), &scratch);
    bool ok = node && spec_value_read(&reader, field, node);
    assert(ok && "the table's defaults are valid");
    (void)ok;
    yaml_tree_free(node);
    buf_free(&sink);
}

static void finish_fields(struct spec_reader *r) {
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        const struct spec_field *field = &spec_field_table[i];
        if (r->state[i] == SPEC_FIELD_ABSENT && strcmp(field->fallback, "required") == 0) {
            diag_error(r->diag, spec_where(r->spec, field->path), "required key '%s' is missing", field->path);
            r->state[i] = SPEC_FIELD_BAD;
        }
        if (r->state[i] != SPEC_FIELD_GIVEN) read_default(r, field);
    }
}

static void read_root(struct spec_reader *r, const struct yaml_tree *root) {
    if (root->bad) return;
    if (root->kind != YAML_TREE_MAP) {
        diag_error(r->diag, root->loc, "a spec is a mapping of keys to values, such as 'head_dim: 128'");
        return;
    }
    read_map(r, root, "");
    finish_fields(r);
    spec_check(r);
}

static void rehash(struct spec *spec) {
    struct buf canonical = {0};
    spec_canonical(spec, &canonical);
    spec->hash = XXH3_64bits(canonical.data, canonical.len);
    buf_free(&canonical);
}

bool spec_parse(struct spec *out, const char *file, const char *text, size_t len, struct diag *d) {
    if (!text) text = "";
    int errors_before = d->errors;
    *out = (struct spec){.file = file, .where = xcalloc(1, sizeof *out->where)};
    diag_add_source(d, file, text, len);
    struct spec_reader reader = {.spec = out, .diag = d};
    struct yaml_tree *root = yaml_tree_parse(file, text, len, d);
    if (root) read_root(&reader, root);
    yaml_tree_free(root);
    if (d->errors != errors_before) {
        spec_free(out);
        return false;
    }
    rehash(out);
    return true;
}

bool spec_format_is_fp4(enum spec_format f) {
    return f == SPEC_FORMAT_NVFP4 || f == SPEC_FORMAT_MXFP4;
}

void spec_derive(struct spec *spec, const char *name, int head_dim_qk, int head_dim_v, bool safe) {
    assert(strlen(name) <= SPEC_NAME_MAX);
    memmove(spec->name, name, strlen(name) + 1); // name may be the spec's own
    spec->head_dim_qk = head_dim_qk;
    spec->head_dim_v = head_dim_v;
    if (safe) {
        spec->safe = true;
        spec->accumulate_in = SPEC_ACCUMULATOR_FP32;
        spec->flush_tiles = 1;
        spec->lazy_rescale_log2 = 0;
    }
    rehash(spec);
}

void spec_free(struct spec *spec) {
    for (size_t i = 0; spec->where && i < spec->where->count; i++) free(spec->where->entries[i].path);
    if (spec->where) free(spec->where->entries);
    free(spec->where);
    *spec = (struct spec){0};
}

/* -- Files ------------------------------------------------------------- */

// Reads at most YAML_TREE_BYTES_MAX bytes of a regular file; NULL, with the reason reported, if it is anything else.
static char *read_descriptor(int fd, const char *file, size_t *len, struct diag *d) {
    struct diag_loc loc = {.file = file};
    struct stat st;
    if (fstat(fd, &st) != 0) {
        diag_error(d, loc, "cannot be read: %s", strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        diag_error(d, loc, S_ISDIR(st.st_mode) ? "is a directory, not a spec" : "is not a regular file");
        return NULL;
    }
    if (st.st_size > YAML_TREE_BYTES_MAX) {
        diag_error(d, loc, "has %lld bytes; a spec has at most %d", (long long)st.st_size, YAML_TREE_BYTES_MAX);
        return NULL;
    }
    char *text = xmalloc(YAML_TREE_BYTES_MAX + 1);
    ssize_t got = 1;
    for (*len = 0; got > 0 && *len <= YAML_TREE_BYTES_MAX; *len += got > 0 ? (size_t)got : 0) {
        do got = read(fd, text + *len, YAML_TREE_BYTES_MAX + 1 - *len);
        while (got < 0 && errno == EINTR);
    }
    if (got >= 0) return text;
    diag_error(d, loc, "cannot be read: %s", strerror(errno));
    free(text);
    return NULL;
}

bool spec_load(struct spec *out, const char *file, char **text_out, struct diag *d) {
    *out = (struct spec){0};
    *text_out = NULL;
    int fd =
        open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // O_NONBLOCK: a FIFO without a writer is refused, not waited for
    if (fd < 0) {
        diag_error(d, (struct diag_loc){.file = file}, "cannot be opened: %s", strerror(errno));
        return false;
    }
    size_t len = 0;
    *text_out = read_descriptor(fd, file, &len, d);
    close(fd);
    return *text_out && spec_parse(out, file, *text_out, len, d);
}

/* -- Canonical text ---------------------------------------------------- */

static int compare_paths(const void *a, const void *b) {
    const struct spec_field *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

void spec_canonical(const struct spec *spec, struct buf *out) {
    const struct spec_field *sorted[SPEC_FIELD_COUNT];
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) sorted[i] = &spec_field_table[i];
    qsort(sorted, SPEC_FIELD_COUNT, sizeof sorted[0], compare_paths);
    for (int i = 0; i < SPEC_FIELD_COUNT; i++) {
        buf_printf(out, "%s: ", sorted[i]->path);
        spec_value_write(spec, sorted[i], out);
        buf_puts(out, "\n");
    }
}
