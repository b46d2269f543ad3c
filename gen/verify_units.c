// verify_units: the kernel sets to check: specs x io x targets x masks, and safe ones; their build jobs, shared where
// two sets have a kernel in common; the provider that hands them out. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "arch.h"
#include "context.h"
#include "meta.h"
#include "vm_target.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS_PER_SPEC = 3 * SPEC_TARGET_COUNT * SPEC_IO_COUNT * SPEC_MASK_COUNT };

/* -- Arrays: fixed in size, since jobs point into units ---- */

void verify_units_reserve(struct verify_units *units, int specs) {
    units->capacity = specs * UNITS_PER_SPEC;
    units->unit = xcalloc((size_t)units->capacity + 1, sizeof *units->unit);
    units->job = xcalloc((size_t)units->capacity * SAGE_ROLE_COUNT + 1, sizeof *units->job);
}

void verify_units_free(struct verify_units *units, const struct build_setup *setup) {
    for (int i = 0; setup->context && i < units->job_count; i++) build_job_free(setup, &units->job[i]);
    free(units->job);
    free(units->unit);
    *units = (struct verify_units){0};
}

const char *verify_unit_text(const struct verify_unit *unit, char out[96]) {
    snprintf(out, 96, "%-18s %-7s %-4s %-6s %-4s", unit->spec.name, spec_target_text(unit->target),
             spec_io_text(unit->io), spec_mask_text(unit->mask), unit->spec.safe ? "safe" : "");
    return out;
}

bool verify_unit_is_headline(const struct verify_unit *unit) {
    return unit->spec.head_dim_qk == unit->spec.head_dim_v &&
           (unit->spec.head_dim_qk == 64 || unit->spec.head_dim_qk == 128);
}

/* -- Jobs ---- */

static bool same_kernel(const struct plan_request *a, const struct plan_request *b) {
    return a->role == b->role && a->target == b->target && a->io == b->io &&
           (a->role != SAGE_ROLE_ATTN_FWD || a->mask == b->mask) && a->spec->safe == b->spec->safe &&
           strcmp(a->spec->name, b->spec->name) == 0;
}

static struct build_job *job_of(struct verify_units *units, const struct plan_request *request, const char *text) {
    for (int i = 0; i < units->job_count; i++)
        if (same_kernel(&units->job[i].request, request)) return &units->job[i];
    struct build_job *job = &units->job[units->job_count++];
    *job = (struct build_job){.request = *request, .spec_text = text};
    return job;
}

static struct plan_request request_of(const struct verify_unit *unit, enum sage_role role) {
    return (struct plan_request){.spec = &unit->spec,
                                 .target = unit->target,
                                 .io = unit->io,
                                 .mask = role == SAGE_ROLE_ATTN_FWD ? unit->mask : SPEC_MASK_NONE,
                                 .role = role,
                                 .variant = unit->variant};
}

static void unit_add(struct verify_units *units, const struct verify_unit *unit, const char *text) {
    assert(units->count < units->capacity);
    struct verify_unit *u = &units->unit[units->count++];
    *u = *unit;
    struct plan_request request = request_of(u, SAGE_ROLE_ATTN_FWD);
    plan_make(&u->plan, &request);
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        if (!plan_needs_role(&u->spec, (enum sage_role)role)) continue;
        request = request_of(u, (enum sage_role)role);
        u->job[role] = job_of(units, &request, text);
    }
}

/* -- Choice ---- */

static bool contains(const struct spec_int_list *list, int value) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i] == value) return true;
    return false;
}

static int target_rank(int target, int sm) {
    return meta_target_rank(spec_target_text((enum spec_target)target), sm);
}

// Without a choice: the spec's own targets that run here, and the portable target of this very GPU, which a spec need
// not list: so an H100 runs the mma.sync templates too.
static bool wants_target(const struct verify_choice *choice, const struct spec *spec, int target) {
    if (choice->native) return target == (choice->vm ? (int)vm_default_target(spec) : arch_native(&spec->targets, choice->sm));
    if (choice->target.count) return contains(&choice->target, target);
    if (choice->vm) return contains(&spec->targets, target);
    const char *text = spec_target_text((enum spec_target)target);
    bool portable = arch_of((enum spec_target)target)->sm == choice->sm && !strpbrk(text + 3, "af");
    return target_rank(target, choice->sm) > 0 && (portable || contains(&spec->targets, target) || target == arch_native(&spec->targets, choice->sm));
}

// The kernel of a turn: io types and masks of the spec by turns, so that neighbours differ in one of them.
static bool is_turn(const struct verify_unit *u, int turn) {
    const struct spec_int_list *io = &u->spec.io, *mask = &u->spec.mask;
    return (int)u->io == io->item[(turn + 1) % io->count] &&
           (int)u->mask == mask->item[(turn % 4 == 0 || turn % 4 == 3) % mask->count];
}

// On the machine, quick: each target of the spec has its turn, such that the targets together have both io types and
// both masks; a single target has two turns. Of safe kernels those of 128 channels, of one target.
static bool wants_turn(const struct verify_choice *choice, const struct verify_unit *u) {
    const struct spec_int_list *targets = &u->spec.targets;
    int turn = 0;
    for (int i = 0; i < targets->count; i++)
        if (targets->item[i] == (int)u->target) turn = i;
    const bool asked = choice->io.count || choice->mask.count; // then what was asked for is all that is left out
    if (u->safe_form)
        return (asked || is_turn(u, turn)) && verify_unit_is_headline(u) && u->spec.head_dim_qk == 128 &&
               u->target == vm_default_target(&u->spec);
    return asked || is_turn(u, turn) || (targets->count == 1 && is_turn(u, 1));
}

// Quick: bf16 only where users look first; safe kernels of the widest headline spec alone.
static bool wants_unit(const struct verify_choice *choice, const struct verify_unit *u) {
    if (choice->io.count && !contains(&choice->io, u->io)) return false;
    if (choice->mask.count && !contains(&choice->mask, u->mask)) return false;
    bool headline = verify_unit_is_headline(u);
    if (choice->vm && choice->level == VERIFY_QUICK) return wants_turn(choice, u);
    if (!u->safe_form) return choice->level != VERIFY_QUICK || u->io == SPEC_IO_FP16 || headline || choice->io.count;
    return headline && (choice->level != VERIFY_QUICK || (u->spec.head_dim_qk == 128 && u->io == SPEC_IO_FP16));
}

static void add_masks(struct verify_units *units, struct verify_unit *u, const char *text,
                      const struct verify_choice *choice) {
    for (int i = 0; i < u->spec.mask.count; i++) {
        u->mask = (enum spec_mask)u->spec.mask.item[i];
        if (wants_unit(choice, u)) unit_add(units, u, text);
    }
}

static bool choose_variant(const struct verify_choice *choice, struct verify_unit *u, char *why, size_t n) {
    if (!choice->variant) return plan_default_variant(&u->spec, u->target, &u->variant, why, n);
    if (!variants_find(&u->spec, choice->variant, &u->variant)) {
        snprintf(why, n, "the spec has no variant %s", choice->variant);
        return false;
    }
    return plan_applicable(&u->spec, u->target, u->variant, why, n) == NULL;
}

static bool can_run(const struct verify_choice *choice, struct verify_unit *u, struct buf *skipped) {
    char why[256] = "";
    if (!choice->vm && target_rank(u->target, choice->sm) == 0)
        snprintf(why, sizeof why, "this GPU is sm_%d", choice->sm);
    else if (choose_variant(choice, u, why, sizeof why))
        return true;
    buf_printf(skipped, "%s %s skipped: %s\n", u->spec.name, spec_target_text(u->target), why);
    return false;
}

// The units of one spec, io outside targets, so that neighbours share their inputs and references.
static void add_spec(struct verify_units *units, const struct spec *spec, bool safe_form, const char *text,
                     const struct verify_choice *choice, struct buf *skipped) {
    struct variant variant[SPEC_TARGET_COUNT];
    bool runs[SPEC_TARGET_COUNT] = {false};
    struct verify_unit u = {.spec = *spec, .safe_form = safe_form};
    for (int t = 0; t < SPEC_TARGET_COUNT; t++) {
        u.target = (enum spec_target)t;
        runs[t] = wants_target(choice, spec, t) && can_run(choice, &u, skipped);
        variant[t] = u.variant;
    }
    for (int i = 0; i < spec->io.count; i++)
        for (int t = 0; t < SPEC_TARGET_COUNT; t++) {
            if (!runs[t]) continue;
            u.io = (enum spec_io)spec->io.item[i];
            u.target = (enum spec_target)t;
            u.variant = variant[t];
            add_masks(units, &u, text, choice);
        }
}

void verify_units_add(struct verify_units *units, const struct spec *spec, const char *text,
                      const struct verify_choice *choice, struct buf *skipped) {
    struct spec safe = *spec;
    struct buf again = {0}; // the same targets for the same reasons
    add_spec(units, spec, false, text, choice, skipped);
    if (spec->safe) return;
    spec_derive(&safe, spec->name, spec->head_dim_qk, spec->head_dim_v, true);
    add_spec(units, &safe, true, text, choice, &again);
    buf_free(&again);
}

/* -- Provider ---- */

static sage_status blob_copy(sage_context *context, const struct build_job *job, struct sage_kernel_blob *out) {
    const struct cache_files *files = &job->entry.files;
    out->meta = context_copy_text(context, files->meta.data, files->meta.bytes);
    out->meta_len = files->meta.bytes;
    out->cubin = context_copy_text(context, files->cubin.data, files->cubin.bytes);
    out->cubin_bytes = files->cubin.bytes;
    return out->meta && out->cubin ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
}

static sage_status provider_supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    (void)user, (void)context, (void)request;
    return SAGE_OK;
}

static sage_status provider_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                                struct sage_kernel_set *out) {
    const struct verify_unit *unit = *(const struct verify_unit *const *)user;
    struct sage_kernel_set set = {0};
    sage_status status = SAGE_OK;
    (void)request;
    for (int role = 0; role < SAGE_ROLE_COUNT && status == SAGE_OK; role++)
        if (unit->job[role]) status = blob_copy(context, unit->job[role], &set.kernel[role]);
    if (status != SAGE_OK)
        kernel_set_free(context, &set);
    else
        *out = set;
    return status;
}

struct sage_provider verify_provider(const struct verify_unit **current) {
    return (struct sage_provider){
        .name = "verify", .user = (void *)current, .supports = provider_supports, .get = provider_get};
}
