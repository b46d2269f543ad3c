// cmd_wisdom: says where the user's wisdom is, lists it with the shipped tables, writes a copy, takes in files of other
// machines. Reading, joining and writing are wisdom_text.c. SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "embedded.h"
#include "table.h"
#include "wisdom_text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cmd_option options[] = {{"json", 0, NULL, "ls as JSON"}, {NULL, 0, NULL, NULL}};

static const struct cmd_syntax syntax = {
    .name = "wisdom",
    .usage = "wisdom path|ls|export|import [FILE...] [--json]",
    .summary =
        "Which tuning points are fastest, as sagegen tune found out; libsage uses it by itself.\n"
        "path: where the user's is. ls: its rows and those of shipped tables, or those of the files named. export: a "
        "copy of the\n"
        "user's, to FILE or standard output. import: adds the files named, each as a whole or not at all; of two rows "
        "of one GPU\n"
        "and problem the faster stays. SAGE_WISDOM names another file; none turns wisdom off.",
    .examples = "  sagegen wisdom ls\n  sagegen wisdom export h100.txt\n  sagegen wisdom import h100.txt l40s.txt\n",
    .options = options,
};

enum action { ACTION_PATH, ACTION_LS, ACTION_EXPORT, ACTION_IMPORT, ACTION_COUNT };

static const char *action_name(int index) {
    static const char *const names[ACTION_COUNT] = {"path", "ls", "export", "import"};
    return names[index];
}

struct wisdom_command {
    int action;
    const char **file;
    int files;
    bool json;
    struct buf path; /* of the user's; "" where there is none */
    struct diag diag;
};

/* -- Files ---- */

static bool find_path(struct wisdom_command *c) {
    const sage_options wanted = {.size = sizeof wanted, .device = -1, .memory_only = 1};
    struct wisdom_description wisdom;
    sage_context *context = NULL;
    if (sage_context_create(&wanted, &context) != SAGE_OK) {
        cmd_failed("%s", sage_last_error(NULL));
        return false;
    }
    wisdom_describe(context, &wisdom);
    buf_puts(&c->path, strcmp(wisdom.path, "none") == 0 ? "" : wisdom.path);
    sage_context_destroy(context);
    if (c->path.len || c->action == ACTION_LS) return true;
    cmd_failed("there is no wisdom file: SAGE_WISDOM is none, or neither XDG_DATA_HOME nor HOME is set");
    return false;
}

static bool read_user(struct wisdom_command *c, struct wisdom_list *list) {
    return !c->path.len || wisdom_list_read(list, c->path.data, false, WISDOM_BETTER, &c->diag);
}

/* -- Listing ---- */

static const struct table_column columns[] = {
    {"GPU", "gpu", TABLE_TEXT, 0},
    {NULL, "sm", TABLE_INT, 0},
    {"MPs", "multiprocessors", TABLE_INT, 0},
    {NULL, "driver", TABLE_TEXT, 0},
    {"spec", "spec", TABLE_TEXT, 0},
    {"io", "io", TABLE_TEXT, 0},
    {"mask", "mask", TABLE_TEXT, 0},
    {NULL, "target", TABLE_TEXT, 0},
    {"batch", "batch", TABLE_INT, 0},
    {"heads", "heads_q", TABLE_INT, 0},
    {NULL, "heads_kv", TABLE_INT, 0},
    {"tokens", "seq_q", TABLE_INT, 0},
    {NULL, "seq_k", TABLE_INT, 0},
    {"variant", "variant", TABLE_TEXT, 0},
    {"ms", "ms", TABLE_REAL, 4},
    {"default ms", "default_ms", TABLE_REAL, 4},
    {"used", "current", TABLE_BOOL, 0},
    {NULL, "spec_hash", TABLE_TEXT, 0},
    {"from", "source", TABLE_TEXT, 0},
};

static void add_rows(struct table *t, const struct wisdom_list *list, const char *source) {
    for (int i = 0; i < list->rows; i++) {
        const struct wisdom_row *row = &list->row[i];
        const struct wisdom_machine *m = &list->machine[row->machine];
        table_text(t, m->gpu);
        table_int(t, m->sm);
        table_int(t, m->multiprocessors);
        table_text(t, m->driver);
        table_text(t, row->spec);
        table_text(t, row->io);
        table_text(t, row->mask);
        table_text(t, row->target);
        table_int(t, row->batch);
        table_int(t, row->heads_q);
        table_int(t, row->heads_kv);
        table_int(t, row->seq_q);
        table_int(t, row->seq_k);
        table_text(t, row->variant);
        table_real(t, (double)row->variant_ns / 1e6);
        table_real(t, (double)row->default_ns / 1e6);
        table_bool(t, wisdom_row_is_current(row));
        table_text(t, row->spec_hash);
        table_text(t, source);
    }
}

static bool add_file(struct wisdom_command *c, struct table *t, const char *file, bool must_exist) {
    struct wisdom_list list = {0};
    const bool ok = wisdom_list_read(&list, file, must_exist, WISDOM_BETTER, &c->diag);
    if (ok) add_rows(t, &list, file);
    wisdom_list_free(&list);
    return ok;
}

static bool add_shipped(struct wisdom_command *c, struct table *t) {
    bool ok = true;
    for (int i = 0; i < embedded_file_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        struct wisdom_list list = {0};
        if (strncmp(file->name, "tuning/wisdom/", 14) != 0) continue;
        ok &= wisdom_list_parse(&list, file->name, file->data, file->size, WISDOM_BETTER, &c->diag);
        add_rows(t, &list, file->name);
        wisdom_list_free(&list);
    }
    return ok;
}

static bool ls(struct wisdom_command *c) {
    struct table t = {.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    struct buf out = {0};
    bool ok = true;
    for (int i = 0; i < c->files; i++) ok &= add_file(c, &t, c->file[i], true);
    if (!c->files && c->path.len) ok &= add_file(c, &t, c->path.data, false);
    if (!c->files) ok &= add_shipped(c, &t);
    if (c->json)
        table_put_json(table_json(&t), &out);
    else if (t.cell_count)
        table_print(&t, &out);
    else
        buf_puts(&out, "no wisdom; sagegen tune makes some for this GPU\n");
    ok &= cmd_print(&out);
    table_free(&t);
    buf_free(&out);
    return ok;
}

/* -- Export and import ---- */

static bool export_to(struct wisdom_command *c) {
    struct wisdom_list list = {0};
    struct buf text = {0};
    bool ok = read_user(c, &list);
    if (ok && list.rows == 0) {
        cmd_failed("%s: there is no wisdom to export yet; sagegen tune makes some", c->path.data);
        ok = false;
    }
    if (ok && c->files) ok = wisdom_list_write(&list, c->file[0], &c->diag);
    if (ok && !c->files) {
        wisdom_list_print(&list, &text);
        ok = cmd_print(&text);
    }
    wisdom_list_free(&list);
    buf_free(&text);
    return ok;
}

static bool import(struct wisdom_command *c) {
    struct wisdom_list list = {0};
    bool ok = read_user(c, &list);
    const int before = list.rows;
    for (int i = 0; ok && i < c->files; i++) ok = wisdom_list_read(&list, c->file[i], true, WISDOM_BETTER, &c->diag);
    ok = ok && wisdom_list_write(&list, c->path.data, &c->diag);
    if (ok)
        printf("%d rows, %d of them new, in %s\n", list.rows, list.rows - before, c->path.data);
    else
        fprintf(stderr, "sagegen: note: %s is as it was\n", c->path.data);
    wisdom_list_free(&list);
    return ok;
}

/* -- Words ---- */

static bool take_word(struct wisdom_command *c, const char *word) {
    if (c->action == ACTION_COUNT) {
        for (c->action = 0; c->action < ACTION_COUNT && strcmp(word, action_name(c->action)) != 0;) c->action++;
        if (c->action < ACTION_COUNT) return true;
        char *near = cmd_suggestion(word, action_name, ACTION_COUNT);
        cmd_bad_input("unknown action '%s'%s", word, near[0] ? near : "; see sagegen wisdom --help");
        free(near);
        return false;
    }
    const char **more = xcalloc((size_t)c->files + 1, sizeof(const char *));
    for (int i = 0; i < c->files; i++) more[i] = c->file[i];
    more[c->files++] = word;
    free(c->file);
    c->file = more;
    return true;
}

static bool check_words(const struct wisdom_command *c) {
    if (c->action == ACTION_COUNT)
        cmd_bad_input("wisdom path, ls, export or import? see sagegen wisdom --help");
    else if (c->action == ACTION_IMPORT && !c->files)
        cmd_bad_input("import which files? sagegen wisdom import FILE...");
    else if (c->files > (c->action == ACTION_PATH ? 0 : c->action == ACTION_EXPORT ? 1 : c->files))
        cmd_bad_input("%s takes no '%s'", action_name(c->action), c->file[c->files - 1]);
    else
        return true;
    return false;
}

// Returns the exit status of what is left to say, or CMD_END to go on.
static int read_words(struct wisdom_command *c, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    for (int found; (found = cmd_next(&args)) != CMD_END;) {
        if (found == CMD_STOP) return args.status;
        if (found == CMD_WORD && !take_word(c, args.value)) return CMD_BAD_INPUT;
        if (found == 0) c->json = true;
    }
    return check_words(c) ? CMD_END : CMD_BAD_INPUT;
}

static bool act(struct wisdom_command *c) {
    switch (c->action) {
    case ACTION_PATH:
        return printf("%s\n", c->path.data) > 0;
    case ACTION_LS:
        return ls(c);
    case ACTION_EXPORT:
        return export_to(c);
    default:
        return import(c);
    }
}

int cmd_wisdom(int argc, char **argv) {
    struct wisdom_command c = {.action = ACTION_COUNT};
    int status = read_words(&c, argc, argv);
    if (status == CMD_END) status = find_path(&c) && act(&c) ? CMD_DONE : c.diag.errors ? CMD_BAD_INPUT : CMD_FAILED;
    free(c.file);
    buf_free(&c.path);
    diag_free(&c.diag);
    return status;
}
