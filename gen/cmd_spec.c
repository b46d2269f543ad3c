// cmd_spec: the commands that only look at specs: check, fields, list, expand. None needs NVRTC.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "table.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* -- check ------------------------------------------------------------------ */

static const struct cmd_option no_options[] = {{NULL, 0, NULL, NULL}};

static const struct cmd_syntax check_syntax = {
    .name = "check",
    .usage = "check FILE...",
    .summary = "Checks specs, and says all that is wrong with each, with its line. Writes nothing.",
    .examples = "  sagegen check specs/fp4_d128.yaml mine.yaml\n",
    .options = no_options,
};

// Each target must have a tuning point that can run there.
static bool check_targets(const struct cmd_specs *all) {
    struct cmd_specs specs = *all;
    struct cmd_jobs jobs = {0};
    const struct cmd_select everything = {0};
    bool ok = cmd_jobs_list(&jobs, &everything, &specs);
    cmd_jobs_free(&jobs, &(struct build_setup){0});
    return ok;
}

int cmd_check(int argc, char **argv) {
    struct cmd_args args = {.syntax = &check_syntax, .argc = argc, .argv = argv};
    struct cmd_specs specs = {0};
    int found;
    while ((found = cmd_next(&args)) == CMD_WORD) cmd_specs_add(&specs, args.value);
    int status = found == CMD_STOP ? args.status : CMD_DONE;
    if (found == CMD_END && specs.count == 0) status = cmd_bad_input("no spec given; see sagegen check --help");
    if (found == CMD_END && specs.count > 0 && (specs.diag.errors || !check_targets(&specs))) status = CMD_BAD_INPUT;
    for (int i = 0; found == CMD_END && status == CMD_DONE && i < specs.count; i++)
        printf("%s: ok (%s, hash %016llx)\n", specs.item[i]->file, specs.item[i]->spec.name,
               (unsigned long long)specs.item[i]->spec.hash);
    cmd_specs_free(&specs);
    return status;
}

/* -- fields ------------------------------------------------------------------ */

static const struct cmd_option json_options[] = {{"json", 0, NULL, "as JSON"}, {NULL, 0, NULL, NULL}};

static const struct cmd_syntax fields_syntax = {
    .name = "fields",
    .usage = "fields [--json]",
    .summary = "Prints every field of a spec: kind, allowed values, default, unit, meaning.",
    .examples = "  sagegen fields\n",
    .options = json_options,
};

int cmd_fields(int argc, char **argv) {
    struct cmd_args args = {.syntax = &fields_syntax, .argc = argc, .argv = argv};
    bool json = false;
    int found;
    while ((found = cmd_next(&args)) == 0) json = true;
    if (found == CMD_STOP) return args.status;
    if (found == CMD_WORD) return cmd_bad_input("fields takes no '%s'", args.value);
    struct buf out = {0};
    spec_print_fields(&out, json);
    bool ok = cmd_print(&out);
    buf_free(&out);
    return ok ? CMD_DONE : CMD_FAILED;
}

/* -- list -------------------------------------------------------------------- */

enum { LIST_SPEC, LIST_ARCH, LIST_SAFE, LIST_JSON };
static const struct cmd_option list_options[] = {
    [LIST_SPEC] = {"spec", 0, "FILE", "a kernel spec, or the name of a shipped one; may be repeated"},
    [LIST_ARCH] = {"arch", 0, "LIST", "sm_80,sm_120a,...; native; all: the spec's (default)"},
    [LIST_SAFE] = {"safe", 0, NULL, "of the spec's safe numeric mode"},
    [LIST_JSON] = {"json", 0, NULL, "as JSON"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax list_syntax = {
    .name = "list",
    .usage = "list --spec FILE [--arch LIST] [--safe] [--json]",
    .summary = "Lists the tuning points of a spec for each target, and why some cannot run there.",
    .examples = "  sagegen list --spec fp4_d128\n",
    .options = list_options,
};

static const struct table_column list_columns[] = {
    {"spec", "spec", TABLE_TEXT, 0},       {"target", "target", TABLE_TEXT, 0},
    {"variant", "variant", TABLE_TEXT, 0}, {"runs", "applicable", TABLE_BOOL, 0},
    {"default", "default", TABLE_BOOL, 0}, {"smem", "smem_dynamic_bytes", TABLE_INT, 0},
    {"reason", "reason", TABLE_TEXT, 0},
};

static int smem_of(const struct spec *spec, enum spec_target target, struct variant v) {
    struct plan plan;
    plan_make(&plan, &(struct plan_request){.spec = spec,
                                            .target = target,
                                            .io = (enum spec_io)spec->io.item[0],
                                            .role = SAGE_ROLE_ATTN_FWD,
                                            .variant = v});
    return plan.smem_bytes;
}

static void list_target(struct table *t, const struct spec *spec, enum spec_target target) {
    bool default_seen = false;
    for (int i = 0; i < variants_count(spec); i++) {
        char name[VARIANT_TEXT_MAX], why[256] = "";
        struct variant v = variants_get(spec, i);
        bool runs = !plan_applicable(spec, target, v, why, sizeof why);
        variant_text(v, name);
        table_text(t, spec->name);
        table_text(t, spec_target_text(target));
        table_text(t, name);
        table_bool(t, runs);
        table_bool(t, runs && !default_seen);
        table_int(t, runs ? smem_of(spec, target, v) : 0);
        table_text(t, runs ? "" : why);
        default_seen |= runs;
    }
}

static bool list_print(struct cmd_specs *specs, const struct cmd_select *select, bool json) {
    struct table t = {.columns = list_columns, .column_count = sizeof list_columns / sizeof list_columns[0]};
    struct buf out = {0};
    bool ok = true;
    for (int i = 0; i < specs->count; i++) {
        struct spec_int_list targets = {0};
        ok &= cmd_select_targets(select, &specs->item[i]->spec, &specs->diag, &targets);
        for (int k = 0; k < targets.count; k++)
            list_target(&t, &specs->item[i]->spec, (enum spec_target)targets.item[k]);
    }
    if (json)
        table_put_json(table_json(&t), &out);
    else
        table_print(&t, &out);
    ok &= cmd_print(&out);
    table_free(&t);
    buf_free(&out);
    return ok;
}

int cmd_list(int argc, char **argv) {
    struct cmd_args args = {.syntax = &list_syntax, .argc = argc, .argv = argv};
    struct cmd_specs specs = {0};
    struct cmd_select select = {0};
    bool json = false, safe = false, ok = true;
    int found;
    while (ok && (found = cmd_next(&args)) != CMD_END && found != CMD_STOP) {
        if (found == LIST_SPEC || found == CMD_WORD) cmd_specs_add(&specs, args.value);
        if (found == LIST_ARCH) ok = cmd_select_arch(&select, args.value);
        if (found == LIST_SAFE) safe = true;
        if (found == LIST_JSON) json = true;
    }
    int status = ok && found == CMD_STOP ? args.status : select.no_gpu ? CMD_FAILED : CMD_BAD_INPUT;
    if (ok && found == CMD_END && specs.count == 0) cmd_bad_input("no spec given; see sagegen list --help");
    if (ok && found == CMD_END && specs.count && specs.diag.errors == 0) {
        if (safe) cmd_specs_make_safe(&specs);
        status = list_print(&specs, &select, json) ? CMD_DONE : CMD_FAILED;
    }
    cmd_specs_free(&specs);
    return status;
}

/* -- expand ------------------------------------------------------------------- */

enum { EXPAND_SPEC, EXPAND_ROLE, EXPAND_ARCH, EXPAND_IO, EXPAND_MASK, EXPAND_VARIANT, EXPAND_SAFE, EXPAND_OUT };
static const struct cmd_option expand_options[] = {
    [EXPAND_SPEC] = {"spec", 0, "FILE", "a kernel spec, or the name of a shipped one"},
    [EXPAND_ROLE] = {"role", 0, "ROLE", "quantise_q, quantise_kv, delta_s or attn_fwd (default)"},
    [EXPAND_ARCH] = {"arch", 0, "TARGET", "default: the spec's first"},
    [EXPAND_IO] = {"io", 0, "TYPE", "default: the spec's first"},
    [EXPAND_MASK] = {"mask", 0, "MASK", "default: the spec's first"},
    [EXPAND_VARIANT] = {"variant", 0, "NAME", "default: the target's first that can run"},
    [EXPAND_SAFE] = {"safe", 0, NULL, "in the safe numeric mode, which SAGE_FLAG_SAFE picks"},
    [EXPAND_OUT] = {"out", 'o', "FILE", "write the text there, and its line map beside it, instead of printing it"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax expand_syntax = {
    .name = "expand",
    .usage = "expand --spec FILE [options]",
    .summary = "Prints the CUDA text of one kernel. Compiles nothing.",
    .examples = "  sagegen expand --spec fp4_d128 --role quantise_kv --io bf16\n"
                "  sagegen expand --spec int8_fp16_d64 --arch sm_90a --mask causal -o kernel.cu\n",
    .options = expand_options,
};

struct expand_command {
    struct cmd_specs specs;
    struct cmd_select select;
    const char *out;
    bool safe;
};

static bool expand_option(struct expand_command *e, int option, const char *value) {
    switch (option) {
    case EXPAND_ROLE:
        return cmd_select_role(&e->select, value);
    case EXPAND_ARCH:
        return cmd_select_arch(&e->select, value);
    case EXPAND_IO:
        return cmd_select_io(&e->select, value);
    case EXPAND_MASK:
        return cmd_select_mask(&e->select, value);
    case EXPAND_VARIANT:
        e->select.variant = value;
        return true;
    case EXPAND_SAFE:
        e->safe = true;
        return true;
    case EXPAND_OUT:
        e->out = value;
        return true;
    default:
        cmd_specs_add(&e->specs, value);
        return true;
    }
}

// "kernel.cu" -> "kernel.map", as --out of the main command names them.
static void map_path(const char *path, struct buf *out) {
    size_t len = strlen(path);
    if (len > 3 && strcmp(path + len - 3, ".cu") == 0) len -= 3;
    buf_printf(out, "%.*s.map", (int)len, path);
}

static bool write_text(const char *path, const struct buf *text) {
    FILE *file = fopen(path, "we");
    bool ok = file && fwrite(text->data, 1, text->len, file) == text->len;
    if (file && fclose(file) != 0) ok = false;
    if (!ok) cmd_failed("%s: %s", path, strerror(errno));
    return ok;
}

static bool expand_write(const char *path, const struct expansion *e) {
    struct buf map = {0}, name = {0};
    linemap_write(&e->map, &map);
    map_path(path, &name);
    bool ok = write_text(path, &e->text) && write_text(name.data, &map);
    buf_free(&map);
    buf_free(&name);
    return ok;
}

static int expand_first(struct expand_command *e) {
    struct cmd_jobs jobs = {0};
    if (e->safe) cmd_specs_make_safe(&e->specs);
    if (e->select.role.count == 0) cmd_select_role(&e->select, "attn_fwd");
    if (!cmd_jobs_list(&jobs, &e->select, &e->specs)) return CMD_BAD_INPUT;
    if (jobs.count == 0) return cmd_bad_input("%s needs no such kernel", e->specs.item[0]->spec.name);
    struct plan plan;
    struct expansion text;
    plan_make(&plan, &jobs.item[0].request);
    cmd_jobs_free(&jobs, &(struct build_setup){0});
    if (!plan_expand(&plan, cmd_template_dir(), &e->specs.diag, &text)) return CMD_FAILED;
    bool ok = e->out ? expand_write(e->out, &text) : cmd_print(&text.text);
    expansion_free(&text);
    return ok ? CMD_DONE : CMD_FAILED;
}

int cmd_expand(int argc, char **argv) {
    struct cmd_args args = {.syntax = &expand_syntax, .argc = argc, .argv = argv};
    struct expand_command e = {.out = NULL};
    bool ok = true;
    int found;
    while (ok && (found = cmd_next(&args)) != CMD_END && found != CMD_STOP) ok = expand_option(&e, found, args.value);
    int status = ok && found == CMD_STOP ? args.status : e.select.no_gpu ? CMD_FAILED : CMD_BAD_INPUT;
    if (ok && found == CMD_END && e.specs.count != 1) cmd_bad_input("expand takes one spec; see sagegen expand --help");
    if (ok && found == CMD_END && e.specs.count == 1 && e.specs.diag.errors == 0) status = expand_first(&e);
    cmd_specs_free(&e.specs);
    return status;
}
