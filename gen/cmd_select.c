// cmd_select: what the user wants of each spec -> the list of kernels to build, in a fixed order. Asks the GPU only for
// `--arch native`. A spec that cannot give what was asked for is an error with the reason, at the line that says so.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Lists of words ------------------------------------------------------ */

static const char *target_text(int i) {
    return spec_target_text((enum spec_target)i);
}

static const char *io_text(int i) {
    return spec_io_text((enum spec_io)i);
}

static const char *mask_text(int i) {
    return spec_mask_text((enum spec_mask)i);
}

static const char *role_text(int i) {
    return sage_role_text((enum sage_role)i);
}

// The words of one option.
struct vocabulary {
    const char *option;
    const char *(*text)(int index);
    int count;
};

static const struct vocabulary arch_words = {"arch", target_text, SPEC_TARGET_COUNT},
                               io_words = {"io", io_text, SPEC_IO_COUNT},
                               mask_words = {"mask", mask_text, SPEC_MASK_COUNT},
                               role_words = {"role", role_text, SAGE_ROLE_COUNT};

static bool unknown_word(const struct vocabulary *v, const char *word) {
    struct buf all = {0};
    for (int i = 0; i < v->count; i++) buf_printf(&all, "%s%s", i ? ", " : "", v->text(i));
    char *near = cmd_suggestion(word, v->text, v->count);
    cmd_bad_input("--%s: '%s' is none of %s%s%s", v->option, word, all.data, v == &arch_words ? ", native, all" : "",
                  near);
    free(near);
    buf_free(&all);
    return false;
}

static bool contains(const struct spec_int_list *list, int value) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i] == value) return true;
    return false;
}

static bool add_word(struct spec_int_list *list, const struct vocabulary *v, const char *word) {
    for (int i = 0; i < v->count; i++) {
        if (strcmp(v->text(i), word) != 0) continue;
        if (!contains(list, i) && list->count < SPEC_LIST_MAX) list->item[list->count++] = i;
        return true;
    }
    return unknown_word(v, word);
}

static bool add_words(struct spec_int_list *list, const struct vocabulary *v, const char *text) {
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        char *word = xstrndup(p, len);
        bool ok = add_word(list, v, word);
        free(word);
        if (!ok) return false;
        p += len;
        if (*p == '\0') return true;
    }
}

static bool select_native(struct cmd_select *select) {
    sage_context *context = cmd_context(0);
    select->no_gpu = !context;
    if (!context) return false;
    select->native_sm = sage_context_sm(context);
    sage_context_destroy(context);
    return true;
}

bool cmd_select_arch(struct cmd_select *select, const char *list) {
    if (strcmp(list, "native") == 0) return select_native(select);
    if (strcmp(list, "all") == 0) return true;
    return add_words(&select->target, &arch_words, list);
}

bool cmd_select_io(struct cmd_select *select, const char *list) {
    return add_words(&select->io, &io_words, list);
}

bool cmd_select_mask(struct cmd_select *select, const char *list) {
    return add_words(&select->mask, &mask_words, list);
}

bool cmd_select_role(struct cmd_select *select, const char *list) {
    return add_words(&select->role, &role_words, list);
}

/* -- Parts of a spec ------------------------------------------------------ */

// The spec's own entries that are wanted, in the spec's order.
static bool wanted_of(const struct spec_int_list *own, const struct spec_int_list *wanted, const struct vocabulary *v,
                      const struct spec *spec, struct diag *d, struct spec_int_list *out) {
    out->count = 0;
    for (int i = 0; i < own->count; i++)
        if (wanted->count == 0 || contains(wanted, own->item[i])) out->item[out->count++] = own->item[i];
    if (out->count > 0) return true;
    diag_error(d, spec_where(spec, v->option), "%s has no %s '%s'", spec->name, v->option, v->text(wanted->item[0]));
    return false;
}

static bool native_target(const struct spec *spec, int sm, struct diag *d, struct spec_int_list *out) {
    const int target = arch_native(&spec->targets, sm);
    *out = (struct spec_int_list){.count = 1, .item = {target}};
    if (target >= 0) return true;
    diag_error(d, spec_where(spec, "targets"), "no target of %s runs on this GPU (sm_%d)", spec->name, sm);
    return false;
}

bool cmd_select_targets(const struct cmd_select *select, const struct spec *spec, struct diag *d,
                        struct spec_int_list *out) {
    if (select->native_sm) return native_target(spec, select->native_sm, d, out);
    *out = select->target.count ? select->target : spec->targets; // one that the spec does not list is tried too
    return true;
}

/* -- Kernels --------------------------------------------------------------- */

static void jobs_add(struct cmd_jobs *jobs, const struct plan_request *request, const struct cmd_spec *spec) {
    if (jobs->count == jobs->capacity) {
        jobs->capacity = jobs->capacity ? 2 * jobs->capacity : 64;
        struct build_job *item = xcalloc((size_t)jobs->capacity, sizeof *item);
        if (jobs->count) memcpy(item, jobs->item, (size_t)jobs->count * sizeof *item);
        free(jobs->item);
        jobs->item = item;
    }
    jobs->item[jobs->count++] = (struct build_job){.request = *request, .spec_text = spec->text};
}

// What is wanted of one spec, and where its kernels go.
struct listing {
    struct cmd_jobs *jobs;
    const struct cmd_select *select;
    const struct cmd_spec *spec;
    struct spec_int_list io, mask;
};

static void list_roles(const struct listing *l, struct plan_request request) {
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        request.role = (enum sage_role)role;
        if (l->select->role.count && !contains(&l->select->role, role)) continue;
        if (!plan_needs_role(request.spec, request.role)) continue;
        int masks = request.role == SAGE_ROLE_ATTN_FWD ? l->mask.count : 1;
        for (int i = 0; i < masks; i++) {
            request.mask =
                masks == 1 && request.role != SAGE_ROLE_ATTN_FWD ? SPEC_MASK_NONE : (enum spec_mask)l->mask.item[i];
            jobs_add(l->jobs, &request, l->spec);
        }
    }
}

static void list_io(const struct listing *l, enum spec_target target, struct variant v) {
    for (int i = 0; i < l->io.count; i++)
        list_roles(l, (struct plan_request){
                          .spec = &l->spec->spec, .target = target, .io = (enum spec_io)l->io.item[i], .variant = v});
}

// How many tuning points of the spec were listed for this target; where none, why has the reason.
static int list_variants(const struct listing *l, enum spec_target target, char *why, size_t n) {
    const struct spec *spec = &l->spec->spec;
    struct variant v;
    int listed = 0;
    if (!l->select->variant && !l->select->all_variants) {
        if (!plan_default_variant(spec, target, &v, why, n)) return 0;
        list_io(l, target, v);
        return 1;
    }
    for (int i = 0; i < variants_count(spec); i++) {
        char name[VARIANT_TEXT_MAX];
        v = variants_get(spec, i);
        variant_text(v, name);
        if (l->select->variant && strcmp(name, l->select->variant) != 0) continue;
        if (plan_applicable(spec, target, v, why, n)) continue;
        list_io(l, target, v);
        listed++;
    }
    return listed;
}

static void report_nothing(const struct listing *l, enum spec_target target, const char *why, struct diag *d) {
    const struct spec *spec = &l->spec->spec;
    char path[32] = "targets";
    for (int i = 0; i < spec->targets.count; i++)
        if (spec->targets.item[i] == (int)target) snprintf(path, sizeof path, "targets[%d]", i);
    diag_error(d, spec_where(spec, path),
               l->select->variant ? "%s of %s cannot run on %s: %s" : "%s of %s can run on %s: %s",
               l->select->variant ? l->select->variant : "no variant", spec->name, spec_target_text(target), why);
}

static bool variant_is_known(const struct listing *l, struct diag *d) {
    const struct spec *spec = &l->spec->spec;
    struct variant v;
    if (!l->select->variant || variants_find(spec, l->select->variant, &v)) return true;
    char first[VARIANT_TEXT_MAX];
    variant_text(variants_get(spec, 0), first);
    diag_error(d, spec_where(spec, "tune"), "%s has no variant '%s'; its first is %s; see sagegen list --spec %s",
               spec->name, l->select->variant, first, l->spec->file);
    return false;
}

static void list_spec(struct listing *l, struct diag *d) {
    const struct spec *spec = &l->spec->spec;
    struct spec_int_list targets;
    bool ok = wanted_of(&spec->io, &l->select->io, &io_words, spec, d, &l->io);
    ok &= wanted_of(&spec->mask, &l->select->mask, &mask_words, spec, d, &l->mask);
    ok &= variant_is_known(l, d);
    ok &= cmd_select_targets(l->select, spec, d, &targets);
    for (int i = 0; ok && i < targets.count; i++) {
        char why[256] = "";
        enum spec_target target = (enum spec_target)targets.item[i];
        if (list_variants(l, target, why, sizeof why) == 0) report_nothing(l, target, why, d);
    }
}

bool cmd_jobs_list(struct cmd_jobs *jobs, const struct cmd_select *select, struct cmd_specs *specs) {
    int before = specs->diag.errors;
    for (int i = 0; i < specs->count; i++) {
        struct listing l = {.jobs = jobs, .select = select, .spec = specs->item[i]};
        list_spec(&l, &specs->diag);
    }
    return specs->diag.errors == before;
}

void cmd_jobs_free(struct cmd_jobs *jobs, const struct build_setup *setup) {
    for (int i = 0; setup->context && i < jobs->count; i++) build_job_free(setup, &jobs->item[i]);
    free(jobs->item);
    *jobs = (struct cmd_jobs){0};
}
