// cmd_sass: reads the SASS of kernels, from a spec or from cubins and listings, and counts what an iteration of the
// main loop issues. In: nvdisasm's text. Out: tables. Judges nothing; tests/sass does. SPDX-License-Identifier:
// Apache-2.0
#include "cmd.h"

#include "sass_print.h"
#include "sass_tool.h"
#include "version.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 256 << 20 };

/* -- Options -------------------------------------------------------------------- */

enum { SPEC, ARCH, IO, MASK, ROLE, VARIANT, ALL_VARIANTS, SAFE, SCORES, NVDISASM, DETAIL, ANNOTATE, JOBS, JSON };

static const struct cmd_option options[] = {
    [SPEC] = {"spec", 0, "FILE", "a kernel spec, or the name of a shipped one; may be repeated"},
    [ARCH] = {"arch", 0, "LIST", "sm_80,sm_120a,...; native: this GPU's; all: the spec's (default)"},
    [IO] = {"io", 0, "LIST", "bf16,fp16; default: the spec's"},
    [MASK] = {"mask", 0, "LIST", "none,causal; default: the spec's"},
    [ROLE] = {"role", 0, "LIST", "attn_fwd,quantise,...; default: attn_fwd"},
    [VARIANT] = {"variant", 0, "NAME", "this tuning point (sagegen list) instead of each target's default"},
    [ALL_VARIANTS] = {"all-variants", 0, NULL, "all tuning points that can run"},
    [SAFE] = {"safe", 0, NULL, "in the safe numeric mode"},
    [SCORES] = {"scores", 0, "N", "scores of a thread and K tile; default: by the tile, or from the exponentials"},
    [NVDISASM] = {"nvdisasm", 0, "FILE", "the disassembler; default: SAGE_NVDISASM, PATH, toolkits, wheels"},
    [DETAIL] = {"detail", 0, NULL, "everything about each kernel; without it only where there is one"},
    [ANNOTATE] = {"annotate", 0, NULL, "also the main loop, instruction by instruction"},
    [JOBS] = {"jobs", 'j', "N", "kernels compiled at once; default: the number of CPUs"},
    [JSON] = {"json", 0, NULL, "as JSON"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax syntax = {
    .name = "sass",
    .usage = "sass --spec FILE... [options]     or: sagegen sass FILE.cubin|LISTING...",
    .summary =
        "Counts the issue slots of the main loop's steady state, by class and pipe, in the machine code of kernels.\n"
        "Steady state: the way round the loop with all its matrix products and copies, and of these the shortest. "
        "What\n"
        "branches skip (masking, rescaling, flushes, waits) is listed apart. Needs nvdisasm, and NVRTC for --spec; no\n"
        "GPU. A listing is the text of nvdisasm -c or cuobjdump -sass; beside a cubin, its .meta file tells the tile.",
    .examples =
        "  sagegen sass --spec int8_fp8_d128 --arch sm_90a\n"
        "  sagegen sass --spec int8_fp8_d128 --arch sm_90a --io bf16 --mask none --variant q128_k128_s2_w8 --annotate\n"
        "  sagegen sass kernels/*.attn_fwd.*.cubin --json\n",
    .options = options,
};

struct sass_run {
    struct cmd_build build; /* of --spec */
    const char **file;
    int file_count;
    int scores;
    const char *nvdisasm;
    bool detail, annotate;

    char tool[PATH_MAX]; /* "": not sought yet */
    sage_context *context;
    struct sass_view *view;
    struct sass_listing *listing; /* which the views' texts lie in */
    int view_count, listing_count;
};

static bool take_option(struct sass_run *s, int option, const char *value) {
    bool ok;
    if (option != CMD_WORD && cmd_build_takes(&s->build, options[option].name, value, &ok)) return ok;
    switch (option) {
    case CMD_WORD:
        s->file[s->file_count++] = value;
        return true;
    case SAFE:
        s->build.safe = true;
        return true;
    case SCORES:
        return cmd_parse_count("scores", value, 1 << 20, &s->scores);
    case NVDISASM:
        s->nvdisasm = value;
        return true;
    case DETAIL:
        s->detail = true;
        return true;
    default:
        s->annotate = true;
        return true;
    }
}

static bool check_options(struct sass_run *s) {
    struct cmd_build *b = &s->build;
    if (b->specs.count == 0 && s->file_count == 0)
        cmd_bad_input("nothing to read; try sagegen sass --spec int8_fp8_d128, or sagegen sass --help");
    else if (b->specs.count > 0 && s->file_count > 0)
        cmd_bad_input("--spec and files exclude each other");
    else
        return cmd_build_variants_agree(b) && b->specs.diag.errors == 0 && (b->select.role.count || cmd_select_role(&b->select, "attn_fwd"));
    return false;
}

static bool read_options(struct sass_run *s, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int option;
    s->file = xcalloc((size_t)argc + 1, sizeof *s->file);
    s->build.status = CMD_BAD_INPUT;
    while ((option = cmd_next(&args)) != CMD_END) {
        if (option == CMD_STOP) s->build.status = args.status;
        if (option == CMD_STOP) return false;
        if (take_option(s, option, args.value)) continue;
        if (s->build.select.no_gpu) s->build.status = CMD_FAILED;
        return false;
    }
    return check_options(s);
}

/* -- One listing -------------------------------------------------------------------- */

static void view_describe(struct sass_view *v, const struct meta *m) {
    snprintf(v->spec, sizeof v->spec, "%s", m->spec);
    snprintf(v->target, sizeof v->target, "%s", m->target);
    snprintf(v->io, sizeof v->io, "%s", m->io);
    snprintf(v->mask, sizeof v->mask, "%s", m->mask);
    snprintf(v->variant, sizeof v->variant, "%s", m->variant);
    v->registers = m->registers;
    v->spill_bytes = m->spill_bytes;
    v->local_bytes = m->local_bytes;
}

// Of a thread and K tile; 0: the metadata do not tell.
static int tile_scores(const struct meta *m) {
    const char *warps = m ? strstr(m->variant, "_w") : NULL;
    int count = warps ? atoi(warps + 2) : 0;
    return count > 0 ? m->tile_q * m->tile_k / (32 * count) : 0;
}

// The target that the listing names: ".target sm_90a", or EF_CUDA_SM90 among its flags.
static void find_target(const char *text, char *out, size_t n) {
    const char *target = strstr(text, ".target"), *flag = strstr(text, "EF_CUDA_SM");
    if (target) target += 7 + strspn(target + 7, " \t");
    if (target && strncmp(target, "sm_", 3) == 0)
        snprintf(out, n, "%.*s", (int)strspn(target, "sm_0123456789af"), target);
    else if (flag)
        snprintf(out, n, "sm_%.*s", (int)strspn(flag + 10, "0123456789"), flag + 10);
}

static void add_view(struct sass_run *s, const struct sass_kernel *kernel, const struct meta *m, const char *target) {
    struct sass_view *more = xcalloc((size_t)s->view_count + 1, sizeof *more);
    if (s->view_count) memcpy(more, s->view, (size_t)s->view_count * sizeof *more);
    free(s->view);
    s->view = more;
    struct sass_view *v = &s->view[s->view_count++];
    struct meta_target parsed = {.sm = 90};
    v->registers = v->spill_bytes = v->local_bytes = -1;
    snprintf(v->target, sizeof v->target, "%s", target);
    if (m) view_describe(v, m);
    meta_target_parse(v->target, &parsed);
    sass_report_make(&v->report, kernel, parsed.sm);
    const int known = s->scores ? s->scores : tile_scores(m);
    v->scores_estimated = known == 0;
    v->scores = v->report.main >= 0 ? sass_report_scores(&v->report, known) : 0;
}

// m: NULL where the metadata are not known. Owner: text stays the caller's.
static bool take_listing(struct sass_run *s, const char *name, const char *text, size_t len, const struct meta *m) {
    char why[SASS_WHY_BYTES], target[32] = "";
    struct sass_listing listing;
    if (!sass_listing_read(&listing, text, len, why)) {
        s->build.status = cmd_bad_input("%s: %s", name, why);
        return false;
    }
    find_target(text, target, sizeof target);
    struct sass_listing *more = xcalloc((size_t)s->listing_count + 1, sizeof *more);
    if (s->listing_count) memcpy(more, s->listing, (size_t)s->listing_count * sizeof *more);
    free(s->listing);
    s->listing = more;
    s->listing[s->listing_count++] = listing;
    for (int i = 0; i < listing.count; i++) add_view(s, &listing.kernel[i], m, target);
    return true;
}

static bool take_cubin(struct sass_run *s, const char *name, const void *cubin, size_t bytes, const struct meta *m) {
    char why[SASS_TOOL_WHY_BYTES];
    struct buf text = {0};
    if (!s->tool[0] && !sass_tool_find(s->nvdisasm, s->tool, why)) {
        s->build.status = cmd_failed("%s", why);
        return false;
    }
    bool ok = sass_tool_run(s->tool, cubin, bytes, &text, why);
    if (!ok) s->build.status = cmd_failed("%s: %s", name, why);
    ok = ok && take_listing(s, name, text.data ? text.data : "", text.len, m);
    buf_free(&text);
    return ok;
}

/* -- Files ---------------------------------------------------------------------------- */

static bool read_file(const char *path, struct buf *out) {
    FILE *file = fopen(path, "re");
    char part[1 << 14];
    size_t n;
    buf_puts(out, "");
    while (file && out->len <= FILE_BYTES_MAX && (n = fread(part, 1, sizeof part, file)) > 0) buf_append(out, part, n);
    const bool ok = file && !ferror(file) && out->len <= FILE_BYTES_MAX;
    if (file) fclose(file);
    return ok;
}

// "kernel.cubin" -> kernel.meta, if it is there and describes this cubin.
static bool read_meta(struct sass_run *s, const char *path, const struct buf *cubin, struct meta *out) {
    struct buf name = {0}, text = {0};
    const char *dot = strrchr(path, '.');
    buf_printf(&name, "%.*s.meta", dot ? (int)(dot - path) : (int)strlen(path), path);
    if (!s->context) s->context = cmd_vm_context(false);
    bool ok = s->context && read_file(name.data, &text) && meta_read(s->context, text.data, text.len, out) == SAGE_OK &&
              meta_check_cubin(s->context, out, cubin->data, cubin->len) == SAGE_OK;
    buf_free(&name);
    buf_free(&text);
    return ok;
}

static bool take_file(struct sass_run *s, const char *path) {
    struct buf bytes = {0};
    struct meta meta;
    bool ok = read_file(path, &bytes);
    if (!ok)
        s->build.status = cmd_bad_input("%s: %s", path, bytes.len > FILE_BYTES_MAX ? "too large" : strerror(errno));
    else if (bytes.len > 4 && memcmp(bytes.data, "\177ELF", 4) == 0)
        ok = take_cubin(s, path, bytes.data, bytes.len, read_meta(s, path, &bytes, &meta) ? &meta : NULL);
    else
        ok = take_listing(s, path, bytes.data, bytes.len, NULL);
    buf_free(&bytes);
    return ok;
}

/* -- Specs ---------------------------------------------------------------------------- */

// The line of the compiler's log that says that wgmma was serialised.
static char *find_complaint(sage_context *context, const char *key) {
    struct cache_entry entry;
    char *found = NULL;
    if (cache_get(context, key, CACHE_log, &entry) != SAGE_OK) return NULL;
    const char *log = entry.files.log.data, *at = log ? strstr(log, "C7510") : NULL;
    if (log && !at) at = strstr(log, "serialized");
    while (at && at > log && at[-1] != '\n') at--;
    if (at) found = xstrndup(at, strcspn(at, "\n"));
    cache_entry_free(context, &entry);
    return found;
}

static bool take_job(struct sass_run *s, const struct build_job *job) {
    if (job->state != BUILD_DONE) return true; // its messages are printed
    const struct cache_bytes *cubin = &job->entry.files.cubin;
    const int first = s->view_count;
    if (!take_cubin(s, job->meta.entry, cubin->data, cubin->bytes, &job->meta)) return false;
    for (int i = first; i < s->view_count; i++) s->view[i].complaint = find_complaint(s->build.setup.context, job->key);
    return true;
}

static bool take_specs(struct sass_run *s) {
    char why[SASS_TOOL_WHY_BYTES];
    if (!sass_tool_find(s->nvdisasm, s->tool, why)) { // before compiling in vain
        s->build.status = cmd_failed("%s", why);
        return false;
    }
    if (!cmd_build_plan(&s->build) || !cmd_build_open(&s->build) || !cmd_build_compile(&s->build)) return false;
    bool ok = true;
    for (int i = 0; ok && i < s->build.jobs.count; i++) ok = take_job(s, &s->build.jobs.item[i]);
    return ok;
}

/* -- Output ------------------------------------------------------------------------------ */

static bool print(struct sass_run *s) {
    struct buf out = {0};
    const bool detail = s->detail || s->annotate || s->view_count == 1;
    if (s->build.json) {
        json_t *root = sass_print_json(s->view, s->view_count);
        json_object_set_new(root, "sagegen", json_string(SAGEGEN_VERSION));
        table_put_json(root, &out);
    }
    for (int i = 0; !s->build.json && detail && i < s->view_count; i++) {
        sass_print_detail(&s->view[i], &out);
        if (s->annotate) buf_puts(&out, "\n");
        if (s->annotate) sass_print_annotated(&s->view[i], &out);
        buf_puts(&out, i + 1 < s->view_count ? "\n" : "");
    }
    if (!s->build.json && !detail) sass_print_summary(s->view, s->view_count, &out);
    bool ok = s->view_count == 0 || cmd_print(&out);
    buf_free(&out);
    return ok;
}

static void run_free(struct sass_run *s) {
    for (int i = 0; i < s->view_count; i++) {
        sass_report_free(&s->view[i].report);
        free(s->view[i].complaint);
    }
    for (int i = 0; i < s->listing_count; i++) sass_listing_free(&s->listing[i]);
    free(s->view);
    free(s->listing);
    free(s->file);
    if (s->context) sage_context_destroy(s->context);
    cmd_build_close(&s->build);
}

int cmd_sass(int argc, char **argv) {
    struct sass_run s = {0};
    bool ok = read_options(&s, argc, argv);
    if (ok) {
        s.build.status = CMD_DONE;
        if (s.build.specs.count > 0)
            ok = take_specs(&s);
        else
            for (int i = 0; ok && i < s.file_count; i++) ok = take_file(&s, s.file[i]);
    }
    if (ok && !print(&s)) s.build.status = CMD_FAILED;
    int status = s.build.status;
    run_free(&s);
    return status;
}
