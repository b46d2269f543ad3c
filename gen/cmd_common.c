// cmd_common: specs by file or shipped name, the program's context, standard output.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "arch.h"
#include "shipped.h"
#include "suggest.h"
#include "vm_driver.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Specs --------------------------------------------------------------- */

// A name, and nothing else, is looked up among the shipped specs.
static bool is_name(const char *text) {
    return text[0] && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static void report_no_spec(struct diag *d, const char *name) {
    struct suggest near = {.word = name};
    struct buf shipped = {0};
    for (int i = 0; i < shipped_count(); i++) {
        const char *own;
        size_t len = shipped_name(shipped_get(i), &own);
        suggest_offer(&near, own, len);
        buf_printf(&shipped, "%s%.*s", i ? ", " : "", (int)len, own);
    }
    if (near.best)
        diag_error(d, (struct diag_loc){.file = NULL},
                   "no file and no shipped spec is named '%s'; did you mean '%.*s'?", name, (int)near.best_len,
                   near.best);
    else
        diag_error(d, (struct diag_loc){.file = NULL}, "no file and no shipped spec is named '%s'; shipped are %s",
                   name, shipped.len ? shipped.data : "none");
    buf_free(&shipped);
}

static bool load(struct cmd_spec *s, struct diag *d) {
    if (!is_name(s->file) || access(s->file, F_OK) == 0) return spec_load(&s->spec, s->file, &s->text, d);
    const struct embedded_file *file = shipped_find(s->file);
    if (!file) {
        report_no_spec(d, s->file);
        return false;
    }
    s->text = xstrndup(file->data, file->size);
    return spec_parse(&s->spec, file->name, s->text, file->size, d);
}

static bool name_is_new(const struct cmd_specs *specs, const struct cmd_spec *s, struct diag *d) {
    for (int i = 0; i < specs->count; i++) {
        if (strcmp(specs->item[i]->spec.name, s->spec.name) != 0) continue;
        diag_error(d, spec_where(&s->spec, "name"), "the name '%s' is taken by another spec of this run", s->spec.name);
        diag_note(d, spec_where(&specs->item[i]->spec, "name"), "this one");
        return false;
    }
    return true;
}

bool cmd_specs_add(struct cmd_specs *specs, const char *file_or_name) {
    struct cmd_spec *s = xcalloc(1, sizeof *s);
    s->file = xstrdup(file_or_name);
    bool ok = load(s, &specs->diag) && name_is_new(specs, s, &specs->diag);
    struct cmd_spec **item = xcalloc((size_t)specs->count + 1, sizeof(struct cmd_spec *));
    if (specs->count) memcpy(item, specs->item, (size_t)specs->count * sizeof *item);
    free(specs->item);
    specs->item = item;
    specs->item[specs->count++] = s; // a bad one too: its text is shown under errors
    return ok;
}

void cmd_specs_add_shipped(struct cmd_specs *specs, int sm, bool (*wanted)(void *user, const struct spec *spec),
                           void *user) {
    for (int i = 0; i < shipped_count(); i++) {
        const char *name;
        const size_t len = shipped_name(shipped_get(i), &name);
        char *own = xstrndup(name, len);
        struct cmd_specs one = {0};
        const bool usable =
            cmd_specs_add(&one, own) && arch_native(&one.item[0]->spec.targets, sm) >= 0 && wanted(user, &one.item[0]->spec);
        cmd_specs_free(&one);
        if (usable) cmd_specs_add(specs, own);
        free(own);
    }
}

void cmd_specs_make_safe(struct cmd_specs *specs) {
    for (int i = 0; i < specs->count; i++) {
        struct spec *spec = &specs->item[i]->spec;
        spec_derive(spec, spec->name, spec->head_dim_qk, spec->head_dim_v, true);
    }
}

void cmd_specs_free(struct cmd_specs *specs) {
    for (int i = 0; i < specs->count; i++) {
        spec_free(&specs->item[i]->spec);
        free(specs->item[i]->text);
        free(specs->item[i]->file);
        free(specs->item[i]);
    }
    free(specs->item);
    diag_free(&specs->diag);
    *specs = (struct cmd_specs){0};
}

/* -- Device and context --------------------------------------------------- */

bool cmd_parse_device(const char *text, struct cmd_device *out) {
    char *end;
    *out = (struct cmd_device){.kind = strcmp(text, "vm") == 0 ? CMD_DEVICE_VM : CMD_DEVICE_CUDA};
    if (out->kind == CMD_DEVICE_VM || strcmp(text, "cuda") == 0) return true;
    long value = strncmp(text, "cuda:", 5) == 0 && text[5] >= '0' && text[5] <= '9' ? strtol(text + 5, &end, 10) : -1;
    if (value >= 0 && value <= 1023 && *end == '\0') {
        out->ordinal = (int)value;
        return true;
    }
    cmd_bad_input("--device: '%s' is none of vm, cuda, cuda:N", text);
    return false;
}

const char *cmd_template_dir(void) {
    const char *dir = getenv("SAGE_TEMPLATE_DIR");
    return dir && dir[0] ? dir : NULL;
}

static void print_log(void *user, sage_log_level level, const char *text) {
    (void)user;
    if (level == SAGE_LOG_WARNING) fprintf(stderr, "sagegen: warning: %s\n", text);
}

static sage_context *create_context(const sage_options *options) {
    sage_context *context = NULL;
    if (sage_context_create(options, &context) == SAGE_OK) return context;
    cmd_failed("%s", sage_last_error(NULL));
    return NULL;
}

sage_context *cmd_context(int device) {
    const sage_options options = {.size = sizeof options, .device = device, .log = print_log};
    return create_context(&options);
}

sage_context *cmd_vm_context(bool device) {
    const sage_options options = {.size = sizeof options,
                                  .device = device ? 0 : -1,
                                  .memory_only = 1,
                                  .log = print_log,
                                  .driver_entry = vm_driver_entry,
                                  .wisdom = "none"};
    return create_context(&options);
}

/* -- Scratch ---- */

bool cmd_scratch_make(const char *name, struct buf *out) {
    const char *parent = getenv("TMPDIR");
    buf_printf(out, "%s/%s-XXXXXX", parent && parent[0] ? parent : "/tmp", name);
    if (mkdtemp(out->data)) return true;
    cmd_failed("%s: %s", out->data, strerror(errno));
    buf_free(out);
    return false;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

void cmd_scratch_remove(struct buf *path) {
    if (path->len) nftw(path->data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    buf_free(path);
}

/* -- Output -------------------------------------------------------------- */

bool cmd_print(const struct buf *text) {
    if (fwrite(text->data, 1, text->len, stdout) == text->len && fflush(stdout) == 0) return true;
    cmd_failed("cannot write to standard output: %s", strerror(errno));
    return false;
}
