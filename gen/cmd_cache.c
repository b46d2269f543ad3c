// cmd_cache: says where the kernel cache is, lists it, empties it. The cache itself is runtime/cache.c.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cmd_option options[] = {{"json", 0, NULL, "ls as JSON"}, {NULL, 0, NULL, NULL}};

static const struct cmd_syntax syntax = {
    .name = "cache",
    .usage = "cache path|ls|clear [--json]",
    .summary = "Says where compiled kernels are kept, lists them, or deletes them all.",
    .examples = "  sagegen cache path\n  sagegen cache ls\n  SAGE_CACHE_DIR=/tmp/kernels sagegen cache clear\n",
    .options = options,
};

static const struct table_column columns[] = {
    {"key", "key", TABLE_TEXT, 0},          {"kernel", "name", TABLE_TEXT, 0},
    {"sagegen", "sagegen", TABLE_TEXT, 0},  {"registers", "registers", TABLE_INT, 0},
    {"cubin", "cubin_bytes", TABLE_INT, 0},
};

struct listing {
    sage_context *context;
    struct table table;
    char **keys; /* all of them, for clear */
    int count;
};

static bool visit(void *user, const char *key) {
    struct listing *l = user;
    struct cache_entry entry = {0};
    struct meta meta;
    char **keys = xcalloc((size_t)l->count + 1, sizeof(char *));
    if (l->count) memcpy(keys, l->keys, (size_t)l->count * sizeof *keys);
    free(l->keys);
    l->keys = keys;
    l->keys[l->count++] = xstrdup(key);
    if (cache_get(l->context, key, 0, &entry) != SAGE_OK) return true;
    const struct cache_bytes *text = &entry.files.meta;
    if (meta_read(l->context, text->data, text->bytes, &meta) == SAGE_OK) {
        table_text(&l->table, key);
        table_text(&l->table, meta.entry);
        table_text(&l->table, meta.sagegen);
        table_int(&l->table, meta.registers);
        table_int(&l->table, meta.cubin_bytes);
    }
    cache_entry_free(l->context, &entry);
    return true;
}

static int list(struct listing *l, bool json) {
    struct buf out = {0};
    if (json)
        table_put_json(table_json(&l->table), &out);
    else
        table_print(&l->table, &out);
    bool ok = cmd_print(&out);
    buf_free(&out);
    return ok ? CMD_DONE : CMD_FAILED;
}

static int clear(struct listing *l) {
    int removed = 0;
    for (int i = 0; i < l->count; i++) {
        if (cache_remove(l->context, l->keys[i]) == SAGE_OK)
            removed++;
        else
            cmd_failed("%s", sage_last_error(l->context));
    }
    printf("%d of %d kernels deleted\n", removed, l->count);
    return removed == l->count ? CMD_DONE : CMD_FAILED;
}

static int with_entries(sage_context *context, bool deleting, bool json) {
    struct listing l = {.context = context};
    l.table.columns = columns;
    l.table.column_count = sizeof columns / sizeof columns[0];
    int status = cache_each(context, visit, &l) == SAGE_OK ? CMD_DONE : cmd_failed("%s", sage_last_error(context));
    if (status == CMD_DONE) status = deleting ? clear(&l) : list(&l, json);
    for (int i = 0; i < l.count; i++) free(l.keys[i]);
    free(l.keys);
    table_free(&l.table);
    return status;
}

static int print_path(const sage_context *context) {
    struct cache_description where;
    cache_describe(context, &where);
    if (!where.path[0]) return cmd_failed("there is no cache directory: %s", where.reason);
    printf("%s\n", where.path);
    return CMD_DONE;
}

static const char *action_name(int index) {
    static const char *const names[] = {"path", "ls", "clear"};
    return names[index];
}

int cmd_cache(int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    const char *action = NULL;
    bool json = false;
    for (int found; (found = cmd_next(&args)) != CMD_END;) {
        if (found == CMD_STOP) return args.status;
        if (found == CMD_WORD && action) return cmd_bad_input("cache takes one action, not '%s' too", args.value);
        if (found == CMD_WORD) action = args.value;
        if (found == 0) json = true;
    }
    int index = 0;
    while (index < 3 && action && strcmp(action, action_name(index)) != 0) index++;
    if (!action) return cmd_bad_input("cache path, ls or clear? see sagegen cache --help");
    if (index == 3) {
        char *near = cmd_suggestion(action, action_name, 3);
        cmd_bad_input("unknown action '%s'%s", action, near[0] ? near : "; see sagegen cache --help");
        free(near);
        return CMD_BAD_INPUT;
    }
    sage_context *context = cmd_context(-1);
    if (!context) return CMD_FAILED;
    int status = index == 0 ? print_path(context) : with_entries(context, index == 2, json);
    sage_context_destroy(context);
    return status;
}
