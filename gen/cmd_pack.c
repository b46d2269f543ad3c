// cmd_pack: compiles kernels as the main command does, and writes them into one file that libsage loads. Owns what goes
// in: cubins for the targets that were asked for, sources for all of the specs' targets.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "pack_write.h"
#include "table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPEC, ARCH, IO, MASK, VARIANT, ALL_VARIANTS, SAFE, SOURCES, OUTPUT, JOBS, JSON };

static const struct cmd_option options[] = {
    [SPEC] = {"spec", 0, "FILE", "a kernel spec, or the name of a shipped one; may be repeated"},
    [ARCH] = {"arch", 0, "LIST", "targets to put in cubins for: sm_80,sm_120a,...; native; all: the spec's (default)"},
    [IO] = {"io", 0, "LIST", "bf16,fp16; default: the spec's"},
    [MASK] = {"mask", 0, "LIST", "none,causal; default: the spec's"},
    [VARIANT] = {"variant", 0, "NAME", "this tuning point (sagegen list) instead of each target's default"},
    [ALL_VARIANTS] = {"all-variants", 0, NULL, "every tuning point that can run"},
    [SAFE] = {"safe", 0, NULL, "also the safe form of each spec, for SAGE_FLAG_SAFE"},
    [SOURCES] = {"sources", 0, NULL,
                 "also the source for every target of the specs: libsage compiles it, with NVRTC, on "
                 "GPUs that no cubin is for"},
    [OUTPUT] = {"output", 'o', "FILE", "the pack; its name should end in .sagepack"},
    [JOBS] = {"jobs", 'j', "N", "kernels to compile at once; default: the number of CPUs"},
    [JSON] = {"json", 0, NULL, "the summary as JSON on standard output"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax syntax = {
    .name = "pack",
    .usage = "pack --spec FILE... --output FILE [options]",
    .summary = "Puts kernels for several GPUs into one file that libsage loads, without NVRTC and without a cache "
               "(sage_options.packs).",
    .examples = "  sagegen pack --spec int8_fp8_d128 --arch sm_89,sm_90a -o app.sagepack\n"
                "  sagegen pack --spec int8_fp16_d64 --arch sm_80 --sources --safe -o app.sagepack\n",
    .options = options,
};

struct pack_run {
    struct cmd_build build;
    struct cmd_specs safe_specs; /* of --safe */
    int cubin_count;             /* jobs before this one are packed with their cubins, the others as sources alone */
    const char *output;
    bool safe_too, sources;
};

/* -- Options -------------------------------------------------------------- */

static bool take_option(struct pack_run *p, int option, const char *value) {
    bool ok;
    if (cmd_build_takes(&p->build, options[option == CMD_WORD ? SPEC : option].name, value, &ok)) return ok;
    switch (option) {
    case SAFE:
        p->safe_too = true;
        return true;
    case SOURCES:
        p->sources = true;
        return true;
    default:
        p->output = value;
        return true;
    }
}

static bool check_options(const struct pack_run *p) {
    const struct cmd_build *b = &p->build;
    if (b->specs.count == 0)
        cmd_bad_input("no spec given; try sagegen pack --spec int8_fp8_d128 -o app.sagepack");
    else if (!p->output)
        cmd_bad_input("pack needs the file to write: -o app.sagepack");
    else
        return cmd_build_variants_agree(b) && b->specs.diag.errors == 0;
    return false;
}

static bool read_options(struct pack_run *p, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int option;
    p->build.status = CMD_BAD_INPUT;
    while ((option = cmd_next(&args)) != CMD_END) {
        if (option == CMD_STOP) p->build.status = args.status;
        if (option == CMD_STOP) return false;
        if (!take_option(p, option, args.value)) {
            if (p->build.select.no_gpu) p->build.status = CMD_FAILED;
            return false;
        }
    }
    return check_options(p);
}

/* -- What to compile ------------------------------------------------------- */

static bool list_all(struct pack_run *p, const struct cmd_select *select) {
    struct cmd_build *b = &p->build;
    return cmd_jobs_list(&b->jobs, select, &b->specs) && cmd_jobs_list(&b->jobs, select, &p->safe_specs);
}

static bool has_cubin(const struct pack_run *p, const struct plan_request *request) {
    for (int i = 0; i < p->cubin_count; i++) {
        const struct plan_request *other = &p->build.jobs.item[i].request;
        if (other->spec == request->spec && other->target == request->target) return true;
    }
    return false;
}

// Kernels for the targets of the specs that --arch left out.
static bool list_sources(struct pack_run *p) {
    struct cmd_jobs *jobs = &p->build.jobs;
    struct cmd_select every = p->build.select;
    every.target.count = every.native_sm = 0;
    if (!list_all(p, &every)) return false;
    int kept = p->cubin_count;
    for (int i = kept; i < jobs->count; i++)
        if (!has_cubin(p, &jobs->item[i].request)) jobs->item[kept++] = jobs->item[i];
    jobs->count = kept;
    return true;
}

static bool plan(struct pack_run *p) {
    struct cmd_build *b = &p->build;
    for (int i = 0; p->safe_too && i < b->specs.count; i++)
        if (!b->specs.item[i]->spec.safe && !cmd_specs_add(&p->safe_specs, b->specs.item[i]->file)) return false;
    cmd_specs_make_safe(&p->safe_specs);
    if (!list_all(p, &b->select)) return false;
    p->cubin_count = b->jobs.count;
    if (!p->sources) return true;
    if (!list_sources(p)) return false;
    for (int i = 0; i < b->jobs.count; i++) b->jobs.item[i].want_files = true;
    return true;
}

/* -- The file ---------------------------------------------------------------- */

static bool write_pack(struct pack_run *p, struct buf *bytes) {
    const struct cmd_jobs *jobs = &p->build.jobs;
    struct pack_item *items = xcalloc((size_t)jobs->count + 1, sizeof *items);
    struct buf *names = xcalloc((size_t)jobs->count + 1, sizeof *names);
    for (int i = 0; i < jobs->count; i++) {
        const struct cache_files *files = &jobs->item[i].entry.files;
        cmd_out_stem(&jobs->item[i], &names[i]);
        items[i] = (struct pack_item){.name = names[i].data, .meta = files->meta};
        if (i < p->cubin_count) items[i].cubin = files->cubin;
        if (p->sources) items[i].source = files->source;
    }
    pack_write(items, jobs->count, bytes);
    const struct cache_bytes file = {bytes->data, bytes->len};
    bool ok = cmd_out_file("--output", p->output, &file);
    for (int i = 0; i < jobs->count; i++) buf_free(&names[i]);
    free(names);
    free(items);
    return ok;
}

static bool print_summary(const struct pack_run *p, const struct buf *bytes) {
    struct buf out = {0};
    const int count = p->build.jobs.count, sources = p->sources ? count : 0;
    if (p->build.json) {
        json_t *root = json_object();
        json_object_set_new(root, "pack", json_string(p->output));
        json_object_set_new(root, "bytes", json_integer((json_int_t)bytes->len));
        json_object_set_new(root, "kernels", json_integer(count));
        json_object_set_new(root, "cubins", json_integer(p->cubin_count));
        json_object_set_new(root, "sources", json_integer(sources));
        table_put_json(root, &out);
    } else {
        buf_printf(&out, "%s: %d kernels, %d cubins, %d sources, %zu bytes\n", p->output, count, p->cubin_count,
                   sources, bytes->len);
    }
    bool ok = cmd_print(&out);
    buf_free(&out);
    return ok;
}

static void write_and_print(struct pack_run *p) {
    struct buf bytes = {0};
    if (p->build.status != CMD_DONE)
        cmd_failed("nothing was written to %s", p->output);
    else if (!write_pack(p, &bytes) || !print_summary(p, &bytes))
        p->build.status = CMD_FAILED;
    buf_free(&bytes);
}

int cmd_pack(int argc, char **argv) {
    struct pack_run p = {.output = NULL};
    if (read_options(&p, argc, argv) && plan(&p) && cmd_build_open(&p.build) && cmd_build_compile(&p.build))
        write_and_print(&p);
    cmd_build_close(&p.build);
    cmd_specs_free(&p.safe_specs);
    return p.build.status;
}
