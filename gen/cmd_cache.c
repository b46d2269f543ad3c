// cmd_cache: says where the kernel cache is, lists it, checks it, trims it, empties it. The cache itself is
// runtime/cache.c.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "table.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON, DAYS, MAX_BYTES };
enum { DEFAULT_DAYS = 90, SECONDS_PER_DAY = 24 * 3600 };

static const struct cmd_option options[] = {
    [JSON] = {"json", 0, NULL, "ls, verify and gc as JSON"},
    [DAYS] = {"days", 0, "N", "gc: remove kernels that were not used for N days; default: 90"},
    [MAX_BYTES] = {"max-bytes", 0, "SIZE",
                   "gc: then those not used for longest, until the others fit: 500M, 2G; default: "
                   "no limit"},
    {NULL, 0, NULL, NULL}};

static const struct cmd_syntax syntax = {
    .name = "cache",
    .usage = "cache path|ls|verify|gc|clear [options]",
    .summary =
        "Says where compiled kernels are kept, lists them, reads them all and checks every hash, removes those that "
        "nobody used for long and what is damaged, or deletes them all.",
    .examples =
        "  sagegen cache path\n  sagegen cache ls\n  sagegen cache verify\n  sagegen cache gc --days 30 --max-bytes "
        "500M\n  SAGE_CACHE_DIR=/tmp/kernels sagegen cache clear\n",
    .options = options,
};

static const struct table_column columns[] = {
    {"key", "key", TABLE_TEXT, 0},          {"kernel", "name", TABLE_TEXT, 0},
    {"sagegen", "sagegen", TABLE_TEXT, 0},  {"registers", "registers", TABLE_INT, 0},
    {"cubin", "cubin_bytes", TABLE_INT, 0},
};

// What the user wants.
struct request {
    sage_context *context;
    bool json;
    struct cache_limits limits; /* gc */
};

/* -- ls and clear ----------------------------------------------------------- */

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

static int list(struct listing *l, const struct request *r) {
    struct buf out = {0};
    if (r->json)
        table_put_json(table_json(&l->table), &out);
    else
        table_print(&l->table, &out);
    bool ok = cmd_print(&out);
    buf_free(&out);
    return ok ? CMD_DONE : CMD_FAILED;
}

static int clear(struct listing *l, const struct request *r) {
    int removed = 0;
    (void)r;
    for (int i = 0; i < l->count; i++) {
        if (cache_remove(l->context, l->keys[i]) == SAGE_OK)
            removed++;
        else
            cmd_failed("%s", sage_last_error(l->context));
    }
    printf("%d of %d kernels deleted\n", removed, l->count);
    return removed == l->count ? CMD_DONE : CMD_FAILED;
}

static int with_entries(const struct request *r, int (*then)(struct listing *l, const struct request *r)) {
    struct listing l = {.context = r->context};
    l.table.columns = columns;
    l.table.column_count = sizeof columns / sizeof columns[0];
    int status =
        cache_each(r->context, visit, &l) == SAGE_OK ? CMD_DONE : cmd_failed("%s", sage_last_error(r->context));
    if (status == CMD_DONE) status = then(&l, r);
    for (int i = 0; i < l.count; i++) free(l.keys[i]);
    free(l.keys);
    table_free(&l.table);
    return status;
}

static int do_ls(const struct request *r) {
    return with_entries(r, list);
}

static int do_clear(const struct request *r) {
    return with_entries(r, clear);
}

/* -- Verify and gc ---------------------------------------------------------- */

struct verification {
    const struct request *request;
    json_t *damaged;
    int whole, count;
};

static bool verify_entry(void *user, const char *key) {
    struct verification *v = user;
    struct cache_entry entry;
    sage_context *context = v->request->context;
    v->count++;
    if (cache_get(context, key, CACHE_ALL, &entry) == SAGE_OK) {
        cache_entry_free(context, &entry);
        v->whole++;
    } else {
        json_array_append_new(v->damaged, json_string(sage_last_error(context)));
    }
    return true;
}

// What is damaged is moved aside by the look at it, with a warning. What another version made counts as not whole here:
// this one cannot tell.
static int do_verify(const struct request *r) {
    struct verification v = {.request = r, .damaged = json_array()};
    struct buf out = {0};
    bool ok = cache_each(r->context, verify_entry, &v) == SAGE_OK;
    if (!ok) cmd_failed("%s", sage_last_error(r->context));
    if (r->json) {
        json_t *root = json_object();
        json_object_set_new(root, "kernels", json_integer(v.count));
        json_object_set_new(root, "whole", json_integer(v.whole));
        json_object_set(root, "not_whole", v.damaged);
        table_put_json(root, &out);
    } else {
        buf_printf(&out, "%d of %d kernels are whole\n", v.whole, v.count);
        for (size_t i = 0; i < json_array_size(v.damaged); i++)
            buf_printf(&out, "%s\n", json_string_value(json_array_get(v.damaged, i)));
    }
    ok &= cmd_print(&out);
    json_decref(v.damaged);
    buf_free(&out);
    return ok && v.whole == v.count ? CMD_DONE : CMD_FAILED;
}

static int do_gc(const struct request *r) {
    struct cache_collected done;
    struct buf out = {0};
    if (cache_collect(r->context, &r->limits, &done) != SAGE_OK) return cmd_failed("%s", sage_last_error(r->context));
    if (r->json) {
        json_t *root = json_object();
        json_object_set_new(root, "removed", json_integer(done.entries));
        json_object_set_new(root, "removed_bytes", json_integer((json_int_t)done.bytes));
        json_object_set_new(root, "damaged", json_integer(done.damaged));
        json_object_set_new(root, "lines", json_integer(done.lines));
        json_object_set_new(root, "kept", json_integer(done.kept));
        json_object_set_new(root, "kept_bytes", json_integer((json_int_t)done.kept_bytes));
        table_put_json(root, &out);
    } else {
        buf_printf(&out,
                   "removed %d kernels (%" PRIu64
                   " bytes), %d damaged ones, %d lines of the index; kept %d kernels (%" PRIu64 " bytes)\n",
                   done.entries, done.bytes, done.damaged, done.lines, done.kept, done.kept_bytes);
    }
    bool ok = cmd_print(&out);
    buf_free(&out);
    return ok ? CMD_DONE : CMD_FAILED;
}

/* -- Actions ---------------------------------------------------------------- */

static int do_path(const struct request *r) {
    struct cache_description where;
    cache_describe(r->context, &where);
    if (!where.path[0]) return cmd_failed("there is no cache directory: %s", where.reason);
    printf("%s\n", where.path);
    return CMD_DONE;
}

static const struct action {
    const char *name;
    int (*run)(const struct request *r);
} actions[] = {{"path", do_path}, {"ls", do_ls}, {"verify", do_verify}, {"gc", do_gc}, {"clear", do_clear}};
enum { ACTION_COUNT = sizeof actions / sizeof actions[0] };

static const char *action_name(int index) {
    return actions[index].name;
}

// NULL: an error was printed.
static const struct action *action_find(const char *name) {
    if (!name) {
        cmd_bad_input("cache path, ls, verify, gc or clear? see sagegen cache --help");
        return NULL;
    }
    for (int i = 0; i < ACTION_COUNT; i++)
        if (strcmp(actions[i].name, name) == 0) return &actions[i];
    char *near = cmd_suggestion(name, action_name, ACTION_COUNT);
    cmd_bad_input("unknown action '%s'%s", name, near[0] ? near : "; see sagegen cache --help");
    free(near);
    return NULL;
}

// "500M": a whole number of bytes, K, M, G or T.
static bool parse_bytes(const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    bool good = *text >= '0' && *text <= '9' && (!*end || (unit && !end[1])) && number <= UINT64_MAX >> shift;
    if (good)
        *out = (uint64_t)number << shift;
    else
        cmd_bad_input("--max-bytes must be a number of bytes such as 500M or 2G, not '%s'", text);
    return good;
}

static bool take_option(struct request *r, int option, const char *value) {
    int days;
    switch (option) {
    case JSON:
        r->json = true;
        return true;
    case DAYS:
        if (!cmd_parse_count("days", value, 36500, &days)) return false;
        r->limits.idle_seconds = (long long)days * SECONDS_PER_DAY;
        return true;
    default:
        return parse_bytes(value, &r->limits.bytes);
    }
}

int cmd_cache(int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    struct request r = {.limits = {.idle_seconds = (long long)DEFAULT_DAYS * SECONDS_PER_DAY, .bytes = UINT64_MAX}};
    const char *word = NULL;
    for (int found; (found = cmd_next(&args)) != CMD_END;) {
        if (found == CMD_STOP) return args.status;
        if (found == CMD_WORD && word) return cmd_bad_input("cache takes one action, not '%s' too", args.value);
        if (found == CMD_WORD)
            word = args.value;
        else if (!take_option(&r, found, args.value))
            return CMD_BAD_INPUT;
    }
    const struct action *action = action_find(word);
    if (!action) return CMD_BAD_INPUT;
    r.context = cmd_context(-1);
    if (!r.context) return CMD_FAILED;
    int status = action->run(&r);
    sage_context_destroy(r.context);
    return status;
}
