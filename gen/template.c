// template: finds template files (embedded, or in a folder) and translates one into Lua, line by line. Runs nothing.
// In: a name, or a template's text. Out: its text, or a Lua chunk with one line per template line.
// Never: evaluates anything, or shows a path outside the template folder.
// SPDX-License-Identifier: Apache-2.0
#include "template.h"
#include "embedded.h"

#include <dirent.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FILE_BYTES_MAX = 4 << 20, FOLDER_DEPTH_MAX = 8 };

static const char folder[] = "templates/";

/* -- Files ------------------------------------------------------------------------------------------------------- */

bool template_name_ok(const char *name, size_t len) {
    bool in_part = false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == '/' && !in_part) return false;
        if (c != '/' && c != '_' && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
        in_part = c != '/';
    }
    return in_part;
}

static int compare_embedded(const void *key, const void *element) {
    return strcmp(key, ((const struct embedded_file *)element)->name);
}

static const struct embedded_file *embedded_find(const char *path) {
    return bsearch(path, embedded_files, (size_t)embedded_file_count, sizeof embedded_files[0], compare_embedded);
}

static bool read_regular_file(const char *dir, const char *name, char **text, size_t *len) {
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, name);
    struct stat st;
    FILE *f = stat(path.data, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_BYTES_MAX ? fopen(path.data, "rb")
                                                                                               : NULL;
    buf_free(&path);
    if (!f) return false;
    char *data = xmalloc((size_t)st.st_size + 1);
    *len = fread(data, 1, (size_t)st.st_size, f);
    bool ok = !ferror(f) && memchr(data, '\0', *len) == NULL;
    fclose(f);
    data[*len] = '\0';
    if (!ok) {
        free(data);
        return false;
    }
    *text = data;
    return true;
}

bool template_read(const char *template_dir, const char *name, struct template_source *out) {
    *out = (struct template_source){0};
    struct buf path = {0};
    buf_printf(&path, "%s%s", folder, name);
    const struct embedded_file *embedded = template_dir ? NULL : embedded_find(path.data);
    if (embedded) {
        out->text = embedded->data;
        out->len = embedded->size;
    } else if (template_dir && read_regular_file(template_dir, name, &out->owned, &out->len)) {
        out->text = out->owned;
    } else {
        buf_free(&path);
        return false;
    }
    out->path = path.data;
    out->name = out->path + sizeof folder - 1;
    return true;
}

void template_source_free(struct template_source *s) {
    free(s->path);
    free(s->owned);
    *s = (struct template_source){0};
}

void template_source_keep(struct template_source *s) {
    struct kept {
        struct kept *next;
        struct template_source source;
    };
    static struct kept *_Atomic kept; // expansions may fail in several threads at once
    struct kept *k = xmalloc(sizeof *k);
    *k = (struct kept){atomic_load(&kept), *s};
    while (!atomic_compare_exchange_weak(&kept, &k->next, k)) {
    }
    *s = (struct template_source){0};
}

/* -- Translation ------------------------------------------------------------------------------------------------- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

// The end of the line that starts at p, without its '\r'; *next is the start of the next one.
static const char *line_end(const char *p, const char *end, const char **next) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    const char *e = newline ? newline : end;
    *next = newline ? newline + 1 : end;
    return e > p && e[-1] == '\r' ? e - 1 : e;
}

// Skips a quoted Lua string that starts at p; returns the position after it, or end where it is not closed.
static const char *skip_string(const char *p, const char *end) {
    char quote = *p++;
    while (p < end && *p != quote) p += *p == '\\' && p + 1 < end ? 2 : 1;
    return p < end ? p + 1 : end;
}

// Finds the } that closes an expression starting at p. NULL with a reason where it is malformed: then the text after it
// would not end up where the reader expects it.
static const char *expression_end(const char *p, const char *end, const char **reason) {
    char open[64];
    size_t depth = 0;
    const char *start = p;
    while (p < end) {
        char c = *p;
        if (c == '}' && depth == 0) break;
        if (c == '"' || c == '\'') {
            p = skip_string(p, end);
            continue;
        }
        if (c == '(' || c == '{' || c == '[') {
            if (depth == sizeof open) return *reason = "expression in ${} nested too deeply", NULL;
            open[depth++] = c == '(' ? ')' : c == '{' ? '}' : ']';
        } else if (c == ')' || c == '}' || c == ']') {
            if (depth == 0 || open[--depth] != c) return *reason = "unbalanced brackets in ${}", NULL;
        } else if (c == '-' && p + 1 < end && p[1] == '-') {
            return *reason = "comment in ${}", NULL;
        }
        p++;
    }
    if (p >= end) return *reason = "unclosed ${", NULL;
    while (start < p && is_blank(*start)) start++;
    return start == p ? (*reason = "empty ${}", NULL) : p;
}

// Finds the next "${" at or after p.
static const char *find_interpolation(const char *p, const char *end) {
    while ((p = memchr(p, '$', (size_t)(end - p))) != NULL && p + 1 < end) {
        if (p[1] == '{') return p;
        p++;
    }
    return NULL;
}

static void append_lua_string(struct buf *lua, const char *text, size_t len) {
    buf_append(lua, "\"", 1);
    for (size_t start = 0, i = 0; i <= len; i++) {
        bool plain = i < len && text[i] != '"' && text[i] != '\\' && text[i] != '\r';
        if (plain) continue;
        buf_append(lua, text + start, i - start);
        if (i < len) buf_puts(lua, text[i] == '"' ? "\\\"" : text[i] == '\\' ? "\\\\" : "\\r");
        start = i + 1;
    }
    buf_append(lua, "\"", 1);
}

// One text line -> __text(line, "text", (expr), "text", ...);
static bool append_text_line(struct buf *lua, int line, const char *p, const char *end, const char **reason) {
    buf_printf(lua, "%s(%d", TEMPLATE_TEXT_FUNCTION, line);
    const char *mark;
    while ((mark = find_interpolation(p, end)) != NULL) {
        const char *close = expression_end(mark + 2, end, reason);
        if (!close) return false;
        buf_append(lua, ",", 1);
        append_lua_string(lua, p, (size_t)(mark - p));
        buf_append(lua, ",(", 2);
        buf_append(lua, mark + 2, (size_t)(close - mark - 2));
        buf_append(lua, ")", 1);
        p = close + 1;
    }
    if (p < end) {
        buf_append(lua, ",", 1);
        append_lua_string(lua, p, (size_t)(end - p));
    }
    buf_puts(lua, ");");
    return true;
}

bool template_to_lua(const struct template_source *s, struct buf *lua, int *bad_line, const char **reason) {
    const char *end = s->text + s->len, *next;
    buf_puts(lua, "local " TEMPLATE_TEXT_FUNCTION ",_ENV=...;");
    int line = 1;
    for (const char *p = s->text; p < end; p = next, line++) {
        const char *e = line_end(p, end, &next), *first = p;
        while (first < e && is_blank(*first)) first++;
        if (first < e && *first == '@') {
            buf_append(lua, first + 1, (size_t)(e - first - 1));
        } else if (!append_text_line(lua, line, p, e, reason)) {
            *bad_line = line;
            return false;
        }
        buf_append(lua, "\n", 1);
    }
    return true;
}

const char *template_expression(const struct template_source *s, int line, int index, size_t *len) {
    const char *end = s->text + s->len, *next, *p = s->text, *reason;
    for (int i = 1; i < line && p < end; i++, p = next) line_end(p, end, &next);
    const char *e = line_end(p, end, &next);
    for (int i = 0; (p = find_interpolation(p, e)) != NULL; i++) {
        const char *close = expression_end(p + 2, e, &reason);
        if (!close) return NULL;
        if (i == index) {
            *len = (size_t)(close - p - 2);
            return p + 2;
        }
        p = close + 1;
    }
    return NULL;
}

/* -- Bundle hash ------------------------------------------------------------------------------------------------- */

struct name_list {
    char **items;
    size_t count, capacity;
};

static bool ends_with(const char *text, const char *suffix) {
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

// Whether a file of the template folder can be reached by a template: what the hash covers, embedded or not.
static bool is_bundle_file(const char *name) {
    size_t n = strlen(name);
    if (ends_with(name, ".cu.tl")) return template_name_ok(name, n - 6);
    return ends_with(name, ".lua") && strncmp(name, "lib/", 4) == 0 && template_name_ok(name, n - 4);
}

static void names_add(struct name_list *l, const char *name) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        char **grown = xmalloc(l->capacity * sizeof *grown);
        if (l->count) memcpy(grown, l->items, l->count * sizeof *grown);
        free(l->items);
        l->items = grown;
    }
    l->items[l->count++] = xstrdup(name);
}

// Adds the bundle files below dir/prefix; prefix is "" or ends with a slash.
static void list_folder(const char *dir, const char *prefix, int depth, struct name_list *out) {
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, prefix);
    DIR *d = depth < FOLDER_DEPTH_MAX ? opendir(path.data) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        struct stat st;
        buf_clear(&path);
        buf_printf(&path, "%s/%s%s", dir, prefix, e->d_name);
        if (stat(path.data, &st) != 0) continue;
        buf_clear(&path);
        buf_printf(&path, "%s%s%s", prefix, e->d_name, S_ISDIR(st.st_mode) ? "/" : "");
        if (S_ISDIR(st.st_mode)) list_folder(dir, path.data, depth + 1, out);
        if (S_ISREG(st.st_mode) && is_bundle_file(path.data)) names_add(out, path.data);
    }
    if (d) closedir(d);
    buf_free(&path);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_bundle(const char *template_dir, struct name_list *out) {
    if (template_dir) {
        list_folder(template_dir, "", 0, out);
    } else {
        for (int i = 0; i < embedded_file_count; i++) {
            const char *name = embedded_files[i].name;
            bool in_folder = strncmp(name, folder, sizeof folder - 1) == 0;
            if (in_folder && is_bundle_file(name + sizeof folder - 1)) names_add(out, name + sizeof folder - 1);
        }
    }
    if (out->count) qsort(out->items, out->count, sizeof *out->items, compare_names);
}

static void hash_sized(XXH3_state_t *state, const char *bytes, size_t n) {
    uint64_t size = n;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)(size >> (8 * i));
    XXH3_64bits_update(state, prefix, sizeof prefix);
    XXH3_64bits_update(state, bytes, n);
}

uint64_t template_bundle_hash(const char *template_dir) {
    struct name_list names = {0};
    list_bundle(template_dir, &names);
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < names.count; i++) {
        struct template_source s;
        if (template_read(template_dir, names.items[i], &s)) {
            hash_sized(&state, s.name, strlen(s.name));
            hash_sized(&state, s.text, s.len);
            template_source_free(&s);
        }
        free(names.items[i]);
    }
    free(names.items);
    return XXH3_64bits_digest(&state);
}
