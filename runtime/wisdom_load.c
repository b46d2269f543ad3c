// wisdom_load: the wisdom tables of a context: the user's file, read once when the context is made, and those that an
// application or the generator brings. A bad file costs its own rows, never the context. SPDX-License-Identifier:
// Apache-2.0
#include "context.h"
#include "safe_dir.h"
#include "wisdom.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct wisdom_tables {
    struct wisdom table[WISDOM_TABLES_MAX];
    int count;
    bool off; /* "none" */
    char *path;
    char reason[SAFE_WHY_BYTES];
};

// NULL on failure alone; "" where the environment names no place.
static char *path_of(sage_context *context, const char *wanted) {
    const struct context_environment *e = &context->environment;
    if (wanted) return context_copy_text(context, wanted, strlen(wanted));
    if (e->sage_wisdom) return context_copy_text(context, e->sage_wisdom, strlen(e->sage_wisdom));
    if (e->xdg_data_home && e->xdg_data_home[0] == '/')
        return context_format(context, "%s/sagegen/wisdom.txt", e->xdg_data_home);
    if (e->home) return context_format(context, "%s/.local/share/sagegen/wisdom.txt", e->home);
    return context_copy_text(context, "", 0);
}

static void leave_out(sage_context *context, struct wisdom_tables *tables, const char *reason) {
    snprintf(tables->reason, sizeof tables->reason, "%s", reason);
    context_log(context, SAGE_LOG_WARNING, "wisdom is left out: %s", reason);
}

static sage_status read_file(sage_context *context, struct wisdom_tables *tables) {
    // It only chooses among the tuning points that a spec has, so whose it is matters little.
    const struct safe_policy policy = {.any_owner = true, .forbidden_mode = 0, .follow = true};
    struct safe_why why;
    size_t bytes = 0;
    char *text = safe_file_read(context, AT_FDCWD, tables->path, WISDOM_FILE_MAX, policy, &bytes, &why);
    if (!text && why.kind == SAFE_NO_MEMORY) return SAGE_ERROR_OUT_OF_MEMORY;
    if (!text && why.kind != SAFE_ABSENT) leave_out(context, tables, why.text);
    if (!text) return SAGE_OK;
    sage_status status = wisdom_add(context, tables->path, text, bytes);
    context_free(context, text);
    if (status == SAGE_ERROR_OUT_OF_MEMORY) return status;
    if (status != SAGE_OK) leave_out(context, tables, sage_last_error(context));
    return SAGE_OK;
}

sage_status wisdom_open(sage_context *context, const char *path) {
    context->wisdom = context_alloc_zeroed(context, sizeof *context->wisdom);
    if (!context->wisdom) return SAGE_ERROR_OUT_OF_MEMORY;
    context->wisdom->path = path_of(context, path);
    if (!context->wisdom->path) return SAGE_ERROR_OUT_OF_MEMORY;
    context->wisdom->off = strcmp(context->wisdom->path, "none") == 0;
    if (context->wisdom->off || !context->wisdom->path[0]) return SAGE_OK;
    return read_file(context, context->wisdom);
}

sage_status wisdom_add(sage_context *context, const char *file, const char *text, size_t len) {
    struct wisdom_tables *tables = context->wisdom;
    if (tables->off) return SAGE_OK;
    if (tables->count == WISDOM_TABLES_MAX)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "a context takes at most %d wisdom tables",
                             WISDOM_TABLES_MAX);
    SAGE_TRY(wisdom_read(context, file, text, len, &tables->table[tables->count]));
    tables->count++;
    return SAGE_OK;
}

void wisdom_close(sage_context *context) {
    struct wisdom_tables *tables = context->wisdom;
    for (int i = 0; tables && i < tables->count; i++) wisdom_free(context, &tables->table[i]);
    if (tables) context_free(context, tables->path);
    context_free(context, tables);
    context->wisdom = NULL;
}

void wisdom_describe(const sage_context *context, struct wisdom_description *out) {
    const struct wisdom_tables *tables = context->wisdom;
    *out = (struct wisdom_description){tables->path, tables->reason, tables->table, tables->count};
}
