// cmd_inspect: checks packs as libsage does, and all of their parts, and lists their kernels. Needs no GPU, no NVRTC,
// no cache. SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "context.h"
#include "pack.h"
#include "table.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct cmd_option options[] = {{"json", 0, NULL, "the kernels as JSON on standard output"},
                                            {NULL, 0, NULL, NULL}};

static const struct cmd_syntax syntax = {
    .name = "inspect",
    .usage = "inspect PACK... [--json]",
    .summary =
        "Checks packs of `sagegen pack` as libsage does, and lists their kernels. A damaged or foreign one: exit "
        "status 1, with the reason.",
    .examples = "  sagegen inspect app.sagepack\n",
    .options = options,
};

static const struct table_column columns[] = {
    {"kernel", "spec", TABLE_TEXT, 0},
    {"role", "role", TABLE_TEXT, 0},
    {"io", "io", TABLE_TEXT, 0},
    {"mask", "mask", TABLE_TEXT, 0},
    {"safe", "safe", TABLE_BOOL, 0},
    {"target", "target", TABLE_TEXT, 0},
    {"variant", "variant", TABLE_TEXT, 0},
    {"registers", "registers", TABLE_INT, 0},
    {"cubin", "cubin_bytes", TABLE_INT, 0},
    {"source", "source_bytes", TABLE_INT, 0},
    {NULL, "entry", TABLE_TEXT, 0},
    {NULL, "sagegen", TABLE_TEXT, 0},
    {NULL, "cubin_hash", TABLE_TEXT, 0},
    {NULL, "source_hash", TABLE_TEXT, 0},
};

static void add_row(struct table *t, const struct pack_kernel *kernel) {
    const struct meta *m = &kernel->meta;
    table_text(t, m->spec);
    table_text(t, m->role);
    table_text(t, m->io);
    table_text(t, m->mask);
    table_bool(t, m->safe);
    table_text(t, m->target);
    table_text(t, m->variant);
    table_int(t, m->registers);
    table_int(t, kernel->bytes[PACK_PART_CUBIN]);
    table_int(t, kernel->bytes[PACK_PART_SOURCE]);
    table_text(t, m->entry);
    table_text(t, m->sagegen);
    table_text(t, m->cubin_hash);
    table_text(t, m->source_hash);
}

// The parts against the hashes in their metadata, which the hash of the file does not compare.
static bool check_parts(sage_context *context, const struct pack *pack, int index) {
    for (int part = PACK_PART_CUBIN; part < PACK_PART_COUNT; part++) {
        char *data;
        if (pack->kernel[index].bytes[part] == 0) continue;
        if (pack_read(context, pack, index, (enum pack_part)part, &data) != SAGE_OK) {
            cmd_failed("pack %s: %s", pack->path, sage_last_error(context));
            return false;
        }
        context_free(context, data);
    }
    return true;
}

static void put_text(const struct pack *pack, const struct table *t, struct buf *out) {
    buf_printf(out, "%s: %d kernels, %" PRIu64 " bytes, hash %s\n", pack->path, pack->count, pack->bytes, pack->hash);
    if (t->cell_count > 0) table_print(t, out);
}

static json_t *to_json(const struct pack *pack, const struct table *t) {
    json_t *root = json_object();
    json_object_set_new(root, "pack", json_string(pack->path));
    json_object_set_new(root, "bytes", json_integer((json_int_t)pack->bytes));
    json_object_set_new(root, "hash", json_string(pack->hash));
    json_object_set_new(root, "kernels", table_json(t));
    return root;
}

// Appends to packs (JSON) or out. false: an error was printed.
static bool inspect(sage_context *context, const char *path, json_t *packs, struct buf *out) {
    struct pack *pack;
    struct table t = {.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    if (pack_open(context, path, &pack) != SAGE_OK) {
        cmd_failed("%s", sage_last_error(context));
        return false;
    }
    bool ok = true;
    for (int i = 0; i < pack->count; i++) {
        ok &= check_parts(context, pack, i);
        add_row(&t, &pack->kernel[i]);
    }
    if (packs)
        json_array_append_new(packs, to_json(pack, &t));
    else
        put_text(pack, &t, out);
    table_free(&t);
    pack_close(context, pack);
    return ok;
}

static int inspect_all(char *const *paths, int count, bool json) {
    sage_context *context = cmd_vm_context(false);
    if (!context) return CMD_FAILED;
    json_t *packs = json ? json_array() : NULL;
    struct buf out = {0};
    bool ok = true;
    for (int i = 0; i < count; i++) ok &= inspect(context, paths[i], packs, &out);
    if (packs) table_put_json(packs, &out);
    if (out.len > 0) ok &= cmd_print(&out);
    buf_free(&out);
    sage_context_destroy(context);
    return ok ? CMD_DONE : CMD_FAILED;
}

int cmd_inspect(int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    char **paths = xcalloc((size_t)argc + 1, sizeof *paths);
    int count = 0, status = CMD_BAD_INPUT;
    bool json = false;
    int found;
    while ((found = cmd_next(&args)) != CMD_END && found != CMD_STOP) {
        if (found == 0) json = true;
        if (found == CMD_WORD) paths[count++] = xstrdup(args.value);
    }
    if (found == CMD_STOP)
        status = args.status;
    else if (count == 0)
        cmd_bad_input("no pack given; try sagegen inspect app.sagepack");
    else
        status = inspect_all(paths, count, json);
    for (int i = 0; i < count; i++) free(paths[i]);
    free(paths);
    return status;
}
