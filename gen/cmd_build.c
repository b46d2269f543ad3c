// cmd_build: the steps of the main command, in the order of main.c: options, kernels, context, compile, print. Owns its
// options, the progress line and the table. Ctrl-C: no further kernel is started; what is compiled is in the cache.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"
#include "cmd_interrupt.h"

#include "table.h"
#include "version.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* -- Options -------------------------------------------------------------- */

enum { SPEC, ARCH, IO, MASK, VARIANT, ALL_VARIANTS, SAFE, OUT, JOBS, JSON, VERIFY };

static const struct cmd_option options[] = {
    [SPEC] = {"spec", 0, "FILE", "a kernel spec, or the name of a shipped one; may be repeated"},
    [ARCH] = {"arch", 0, "LIST", "sm_80,sm_120a,...; native: this GPU's; all: the spec's (default)"},
    [IO] = {"io", 0, "LIST", "bf16,fp16; default: the spec's"},
    [MASK] = {"mask", 0, "LIST", "none,causal; default: the spec's"},
    [VARIANT] = {"variant", 0, "NAME", "this tuning point (sagegen list) instead of each target's default"},
    [ALL_VARIANTS] = {"all-variants", 0, NULL, "all tuning points that can run"},
    [SAFE] = {"safe", 0, NULL, "in the safe numeric mode, which SAGE_FLAG_SAFE picks; files of --out end in .safe.*"},
    [OUT] = {"out", 'o', "DIR", "also write each kernel's .cu, .map, .meta, .ptx and .cubin there"},
    [JOBS] = {"jobs", 'j', "N", "kernels compiled at once; default: the number of CPUs"},
    [JSON] = {"json", 0, NULL, "the table as JSON on standard output"},
    [VERIFY] = {"verify", 0, NULL, "not here: see sagegen verify"},
    {NULL, 0, NULL, NULL},
};

const struct cmd_syntax cmd_build_syntax = {
    .name = "",
    .usage = "[--spec] FILE... [options]     or: sagegen COMMAND ...",
    .summary = "Expands kernel specs to CUDA, compiles them with NVRTC, and caches the cubins; needs no GPU.",
    .examples = "  sagegen --spec fp4_d128\n"
                "  sagegen --spec specs/int8_fp8_d128.yaml --arch native\n"
                "  sagegen specs/*.yaml --io bf16 --mask causal --out kernels --json\n",
    .options = options,
};

bool cmd_build_takes(struct cmd_build *b, const char *option, const char *value, bool *ok) {
    static const struct {
        const char *option;
        bool (*take)(struct cmd_select *select, const char *list);
    } lists[] = {{"arch", cmd_select_arch}, {"io", cmd_select_io}, {"mask", cmd_select_mask}, {"role", cmd_select_role}};
    *ok = true;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(option, lists[i].option) != 0) continue;
        *ok = lists[i].take(&b->select, value);
        return true;
    }
    if (strcmp(option, "spec") == 0)
        cmd_specs_add(&b->specs, value); // its errors are counted; further specs are checked too
    else if (strcmp(option, "variant") == 0)
        b->select.variant = value;
    else if (strcmp(option, "all-variants") == 0)
        b->select.all_variants = true;
    else if (strcmp(option, "jobs") == 0)
        *ok = cmd_parse_count("jobs", value, 256, &b->threads);
    else if (strcmp(option, "json") == 0)
        b->json = true;
    else
        return false;
    return true;
}

bool cmd_build_variants_agree(const struct cmd_build *b) {
    if (b->select.variant && b->select.all_variants) cmd_bad_input("--variant and --all-variants exclude each other");
    return !b->select.variant || !b->select.all_variants;
}

static bool take_option(struct cmd_build *b, int option, const char *value) {
    bool ok;
    if (cmd_build_takes(b, options[option == CMD_WORD ? SPEC : option].name, value, &ok)) return ok;
    switch (option) {
    case SAFE:
        b->safe = true;
        return true;
    case OUT:
        b->out_dir = value;
        return true;
    default:
        cmd_bad_input("--verify is a command of its own: sagegen verify --spec FILE");
        return false;
    }
}

static bool check_options(struct cmd_build *b) {
    if (b->specs.count == 0)
        cmd_bad_input("no spec given; try sagegen --spec fp4_d128, or sagegen --help");
    else
        return cmd_build_variants_agree(b) && b->specs.diag.errors == 0;
    return false;
}

bool cmd_build_options(struct cmd_build *b, int argc, char **argv) {
    struct cmd_args args = {.syntax = &cmd_build_syntax, .argc = argc, .argv = argv};
    b->status = CMD_BAD_INPUT;
    int option;
    while ((option = cmd_next(&args)) != CMD_END) {
        if (option == CMD_STOP) b->status = args.status;
        if (option == CMD_STOP) return false;
        if (!take_option(b, option, args.value)) {
            if (b->select.no_gpu) b->status = CMD_FAILED;
            return false;
        }
    }
    return check_options(b);
}

/* -- Kernels and context ---------------------------------------------------- */

bool cmd_build_plan(struct cmd_build *b) {
    b->status = CMD_BAD_INPUT;
    if (b->safe) cmd_specs_make_safe(&b->specs);
    if (!cmd_jobs_list(&b->jobs, &b->select, &b->specs)) return false;
    for (int i = 0; i < b->jobs.count; i++) b->jobs.item[i].want_files = b->out_dir != NULL;
    return true;
}

bool cmd_build_open(struct cmd_build *b) {
    b->status = CMD_FAILED;
    sage_context *context = cmd_context(-1);
    if (!context) return false;
    if (build_open(&b->setup, context, cmd_template_dir(), BUILD_CUBIN) == SAGE_OK) return true;
    cmd_failed("%s", sage_last_error(context));
    sage_context_destroy(context);
    return false;
}

void cmd_build_close(struct cmd_build *b) {
    cmd_jobs_free(&b->jobs, &b->setup);
    if (b->setup.context) sage_context_destroy(b->setup.context);
    cmd_specs_free(&b->specs);
}

/* -- Compile ---------------------------------------------------------------- */

// A rewritten line on a terminal; elsewhere one line for each kernel that had to be compiled.
static bool show_progress(void *user, const struct build_job *job, int done, int count) {
    const bool terminal = *(const bool *)user;
    struct plan plan;
    plan_make(&plan, &job->request);
    if (terminal)
        fprintf(stderr, "\r\033[K[%d/%d] %s", done, count, plan.entry);
    else if (!job->cached && job->state == BUILD_DONE)
        fprintf(stderr, "[%d/%d] %s: %.0f ms\n", done, count, plan.entry, job->compile_ms);
    return !cmd_interrupted();
}

// Whether an earlier kernel failed with the same first line: one fault of a template shows in many kernels.
static bool is_repeated(const struct cmd_jobs *jobs, int index) {
    const struct buf *own = &jobs->item[index].messages;
    size_t line = strcspn(own->data, "\n");
    for (int i = 0; i < index; i++) {
        const struct buf *other = &jobs->item[i].messages;
        if (other->len > line && strcspn(other->data, "\n") == line && memcmp(own->data, other->data, line) == 0)
            return true;
    }
    return false;
}

// In the order of the jobs, whatever order they ended in.
static void print_messages(const struct cmd_jobs *jobs) {
    int repeated = 0;
    for (int i = 0; i < jobs->count; i++) {
        const struct buf *messages = &jobs->item[i].messages;
        if (messages->len == 0) continue;
        if (is_repeated(jobs, i))
            repeated++;
        else
            fwrite(messages->data, 1, messages->len, stderr);
    }
    if (repeated) fprintf(stderr, "sagegen: note: the same in %d more kernel%s\n", repeated, repeated == 1 ? "" : "s");
}

static int count_done(const struct cmd_jobs *jobs) {
    int done = 0;
    for (int i = 0; i < jobs->count; i++) done += jobs->item[i].state == BUILD_DONE;
    return done;
}

bool cmd_build_compile(struct cmd_build *b) {
    bool terminal = isatty(STDERR_FILENO);
    struct timespec from, to;
    cmd_interrupt_catch();
    clock_gettime(CLOCK_MONOTONIC, &from);
    int failed = build_all(&b->setup, b->jobs.item, b->jobs.count, b->threads, show_progress, &terminal);
    clock_gettime(CLOCK_MONOTONIC, &to);
    b->total_ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    if (terminal) fprintf(stderr, "\r\033[K");
    print_messages(&b->jobs);
    int done = count_done(&b->jobs);
    b->status = done == b->jobs.count ? CMD_DONE : CMD_FAILED;
    if (failed) cmd_failed("%d of %d kernels failed", failed, b->jobs.count);
    if (done + failed < b->jobs.count)
        cmd_failed("interrupted: %d of %d kernels are done, and in the cache", done, b->jobs.count);
    return true;
}

/* -- Results ----------------------------------------------------------------- */

bool cmd_build_write(struct cmd_build *b) {
    if (!b->out_dir) return true;
    if (b->status != CMD_DONE)
        cmd_failed("nothing was written to %s", b->out_dir);
    else if (!cmd_out_write(b->out_dir, &b->jobs))
        b->status = CMD_FAILED;
    return true; // the table is printed all the same
}

static const struct table_column columns[] = {
    {NULL, "name", TABLE_TEXT, 0},
    {"kernel", "spec", TABLE_TEXT, 0},
    {"role", "role", TABLE_TEXT, 0},
    {"io", "io", TABLE_TEXT, 0},
    {"mask", "mask", TABLE_TEXT, 0},
    {NULL, "safe", TABLE_BOOL, 0},
    {"target", "target", TABLE_TEXT, 0},
    {"variant", "variant", TABLE_TEXT, 0},
    {"registers", "registers", TABLE_INT, 0},
    {"spills", "spill_bytes", TABLE_INT, 0},
    {NULL, "local_bytes", TABLE_INT, 0},
    {"smem static", "smem_static_bytes", TABLE_INT, 0},
    {"dynamic", "smem_dynamic_bytes", TABLE_INT, 0},
    {"cubin", "cubin_bytes", TABLE_INT, 0},
    {"expand ms", "expand_ms", TABLE_REAL, 1},
    {"compile ms", "compile_ms", TABLE_REAL, 0},
    {"cached", "cached", TABLE_BOOL, 0},
    {NULL, "key", TABLE_TEXT, 0},
};

static void add_row(struct table *t, const struct build_job *job) {
    const struct meta *m = &job->meta;
    table_text(t, m->entry);
    table_text(t, m->spec);
    table_text(t, m->role);
    table_text(t, m->io);
    table_text(t, m->mask);
    table_bool(t, m->safe);
    table_text(t, m->target);
    table_text(t, m->variant);
    table_int(t, m->registers);
    table_int(t, m->spill_bytes);
    table_int(t, m->local_bytes);
    table_int(t, m->smem_static);
    table_int(t, m->smem_dynamic);
    table_int(t, m->cubin_bytes);
    table_real(t, job->expand_ms);
    table_real(t, job->compile_ms);
    table_bool(t, job->cached);
    table_text(t, job->key);
}

static void put_total(const struct cmd_build *b, const struct table *t, struct buf *out) {
    int cached = 0;
    double expand_ms = 0, compile_ms = 0;
    for (int i = 0; i < b->jobs.count; i++) {
        cached += b->jobs.item[i].cached;
        expand_ms += b->jobs.item[i].expand_ms;
        compile_ms += b->jobs.item[i].compile_ms;
    }
    int kernels = t->cell_count / t->column_count;
    buf_printf(out, "total: %d kernel%s, %d cached, %.0f ms (expand %.0f, compile %.0f)\n", kernels,
               kernels == 1 ? "" : "s", cached, b->total_ms, expand_ms, compile_ms);
}

static void put_json(const struct cmd_build *b, const struct table *t, struct buf *out) {
    json_t *root = json_object();
    json_object_set_new(root, "sagegen", json_string(SAGEGEN_VERSION));
    json_object_set_new(root, "nvrtc", json_string(b->setup.nvrtc_identity));
    json_object_set_new(root, "kernels", table_json(t));
    json_object_set_new(root, "total_ms", json_real(b->total_ms));
    json_object_set_new(root, "failed", json_integer(b->jobs.count - t->cell_count / t->column_count));
    table_put_json(root, out);
}

bool cmd_build_print(struct cmd_build *b) {
    struct table t = {.columns = columns, .column_count = sizeof columns / sizeof columns[0]};
    struct buf out = {0};
    for (int i = 0; i < b->jobs.count; i++)
        if (b->jobs.item[i].state == BUILD_DONE) add_row(&t, &b->jobs.item[i]);
    if (b->json) {
        put_json(b, &t, &out);
    } else if (t.cell_count > 0) {
        table_print(&t, &out);
        put_total(b, &t, &out);
    }
    bool ok = cmd_print(&out);
    if (!ok) b->status = CMD_FAILED;
    table_free(&t);
    buf_free(&out);
    return ok;
}
