// generator: the provider of kernels that are made at run time: the shipped specs, derived to the head dims and the
// mode that are asked for, through build to cubins. In: a kernel request. Out: a kernel set, or why there is none.
// Keeps no state between requests but the template folder, which is read from the environment when it is registered.
// SPDX-License-Identifier: Apache-2.0
#include "build.h"

#include "context.h"
#include "kernel_meta.h"
#include "shipped.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char provider_name[] = "generator";

/* -- Shipped specs ---------------------------------------------------------- */

// Parses a shipped spec; they are all valid, and the tests say so.
static sage_status parse(sage_context *context, const struct embedded_file *file, struct spec *out) {
    struct buf messages = {0};
    struct diag d = {.sink = &messages};
    bool ok = spec_parse(out, file->name, file->data, file->size, &d);
    sage_status status = ok ? SAGE_OK : context_error(context, SAGE_ERROR_INTERNAL, "%s", messages.data);
    diag_free(&d);
    buf_free(&messages);
    return status;
}

static sage_status find_by_name(sage_context *context, const struct sage_kernel_request *request, struct spec *out) {
    const struct embedded_file *file = shipped_find(request->spec);
    if (!file) return context_error(context, SAGE_ERROR_NOT_FOUND, "no spec named %s is shipped", request->spec);
    SAGE_TRY(parse(context, file, out));
    if (out->head_dim_qk == request->head_dim_qk && out->head_dim_v == request->head_dim_v) return SAGE_OK;
    sage_status status =
        context_error(context, SAGE_ERROR_UNSUPPORTED, "%s has head dims %d and %d, not %d and %d", out->name,
                      out->head_dim_qk, out->head_dim_v, request->head_dim_qk, request->head_dim_v);
    spec_free(out);
    return status;
}

// The head dim in the name of a family's spec: 128 of "int8_fp8_d128"; 0: not of the family, or not named so.
static int head_dim_of(const struct embedded_file *file, const char *family) {
    const char *name;
    size_t len = shipped_name(file, &name), family_len = strlen(family);
    if (len < family_len + 3 || strncmp(name, family, family_len) != 0 || strncmp(name + family_len, "_d", 2) != 0)
        return 0;
    char *end;
    long dim = strtol(name + family_len + 2, &end, 10);
    return end == name + len && dim > 0 && dim <= 1024 ? (int)dim : 0;
}

// The family's spec with the smallest head dim that holds `dim`; NULL: none. *largest: of the family, 0 without one.
static const struct embedded_file *find_holder(const char *family, int dim, int *largest) {
    const struct embedded_file *best = NULL;
    int best_dim = 0;
    *largest = 0;
    for (int i = 0; i < shipped_count(); i++) {
        int own = head_dim_of(shipped_get(i), family);
        if (own > *largest) *largest = own;
        if (own < dim || (best && own >= best_dim)) continue;
        best = shipped_get(i);
        best_dim = own;
    }
    return best;
}

static sage_status find_by_family(sage_context *context, const struct sage_kernel_request *request, struct spec *out) {
    const int qk = request->head_dim_qk, v = request->head_dim_v, dim = qk > v ? qk : v;
    int largest;
    const struct embedded_file *file = find_holder(request->family, dim, &largest);
    if (!file && largest == 0)
        return context_error(context, SAGE_ERROR_NOT_FOUND, "no spec of the family %s is shipped", request->family);
    if (!file)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s reaches head dim %d, not %d", request->family,
                             largest, dim);
    SAGE_TRY(parse(context, file, out));
    if (out->head_dim_qk == qk && out->head_dim_v == v) return SAGE_OK;
    char name[SPEC_NAME_MAX + 1];
    snprintf(name, sizeof name, qk == v ? "%.30s_d%d" : "%.30s_d%dx%d", request->family, qk, v);
    spec_derive(out, name, qk, v, false);
    return SAGE_OK;
}

// The name stays: a plan that gave it expects it back. The metadata's safe and the spec's hash tell the two apart.
static void make_safe(struct spec *spec) {
    if (!spec->safe) spec_derive(spec, spec->name, spec->head_dim_qk, spec->head_dim_v, true);
}

/* -- Plan requests ----------------------------------------------------------- */

static bool contains(const struct spec_int_list *list, int value) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i] == value) return true;
    return false;
}

static enum spec_io io_of(sage_dtype dtype) {
    return dtype == SAGE_BF16 ? SPEC_IO_BF16 : SPEC_IO_FP16;
}

static enum spec_mask mask_of(sage_mask mask) {
    return mask == SAGE_MASK_CAUSAL ? SPEC_MASK_CAUSAL : SPEC_MASK_NONE;
}

static sage_status check_types(sage_context *context, const struct spec *spec, const struct plan_request *plan) {
    if (!contains(&spec->io, (int)plan->io))
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s has no %s kernels", spec->name,
                             spec_io_text(plan->io));
    if (!contains(&spec->mask, (int)plan->mask))
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s has no kernels for mask %s", spec->name,
                             spec_mask_text(plan->mask));
    return SAGE_OK;
}

static sage_status no_target(sage_context *context, const struct spec *spec, int sm) {
    struct buf list = {0};
    for (int i = 0; i < spec->targets.count; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", spec_target_text((enum spec_target)spec->targets.item[i]));
    sage_status status = context_error(context, SAGE_ERROR_UNSUPPORTED, "%s is made for %s; none of them runs on sm_%d",
                                       spec->name, list.data, sm);
    buf_free(&list);
    return status;
}

// The target that suits the GPU best among those with a tuning point that can run, and its first such point.
static sage_status choose_target(sage_context *context, const struct spec *spec, int sm, struct plan_request *plan) {
    int best = 0;
    bool runs = false;
    char why[256], refused[256] = "";
    for (int i = 0; i < spec->targets.count; i++) {
        enum spec_target target = (enum spec_target)spec->targets.item[i];
        struct variant variant;
        int rank = meta_target_rank(spec_target_text(target), sm);
        if (rank == 0) continue;
        runs = true;
        if (!plan_default_variant(spec, target, &variant, why, sizeof why)) {
            snprintf(refused, sizeof refused, "%s", why);
        } else if (rank > best) {
            best = rank;
            plan->target = target;
            plan->variant = variant;
        }
    }
    if (best > 0) return SAGE_OK;
    if (!runs) return no_target(context, spec, sm);
    return context_error(context, SAGE_ERROR_UNSUPPORTED, "no variant of %s can run on sm_%d: %s", spec->name, sm,
                         refused);
}

// Fills all of *plan but the role, and the spec it points to. On success the caller frees the spec.
static sage_status resolve(sage_context *context, const struct sage_kernel_request *request, struct spec *spec,
                           struct plan_request *plan) {
    SAGE_TRY(request->spec ? find_by_name(context, request, spec) : find_by_family(context, request, spec));
    if (request->safe) make_safe(spec);
    *plan = (struct plan_request){.spec = spec, .io = io_of(request->io), .mask = mask_of(request->mask)};
    sage_status status = check_types(context, spec, plan);
    if (status == SAGE_OK) status = choose_target(context, spec, request->sm, plan);
    if (status != SAGE_OK) spec_free(spec);
    return status;
}

/* -- Kernels ------------------------------------------------------------------ */

// Without NVRTC the next provider, or another family, may still have kernels.
static sage_status open_build(sage_context *context, const char *template_dir, struct build_setup *out) {
    sage_status status = build_open(out, context, template_dir);
    if (status != SAGE_ERROR_NO_NVRTC) return status;
    char reason[CONTEXT_ERROR_BYTES];
    snprintf(reason, sizeof reason, "%s", sage_last_error(context));
    return context_error(context, SAGE_ERROR_NOT_FOUND, "%s", reason);
}

static int list_jobs(const struct plan_request *plan, struct build_job jobs[SAGE_ROLE_COUNT]) {
    int count = 0;
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        if (!plan_needs_role(plan->spec, plan->io, (enum sage_role)role)) continue;
        jobs[count] = (struct build_job){.request = *plan};
        jobs[count].request.role = (enum sage_role)role;
        if (role != SAGE_ROLE_ATTN_FWD) jobs[count].request.mask = SPEC_MASK_NONE;
        count++;
    }
    return count;
}

// Moves the kernel's metadata and cubin into the set.
static void take_blob(struct build_job *job, struct sage_kernel_set *out) {
    struct cache_files *files = &job->entry.files;
    out->kernel[job->request.role] = (struct sage_kernel_blob){.meta = (char *)(uintptr_t)files->meta.data,
                                                               .meta_len = files->meta.bytes,
                                                               .cubin = (void *)(uintptr_t)files->cubin.data,
                                                               .cubin_bytes = files->cubin.bytes};
    files->meta = files->cubin = (struct cache_bytes){0};
}

static sage_status report_failure(sage_context *context, const struct build_job *jobs, int count) {
    for (int i = 0; i < count; i++) {
        if (jobs[i].state == BUILD_DONE) continue;
        const char *text = jobs[i].messages.len ? jobs[i].messages.data : sage_status_text(jobs[i].status);
        context_log(context, SAGE_LOG_WARNING, "%s", text);
        return context_error(context, jobs[i].status, "%s", text);
    }
    return SAGE_OK;
}

static sage_status make_set(sage_context *context, const char *template_dir, const struct plan_request *plan,
                            struct sage_kernel_set *out) {
    struct build_setup setup;
    struct build_job jobs[SAGE_ROLE_COUNT];
    SAGE_TRY(open_build(context, template_dir, &setup));
    int count = list_jobs(plan, jobs);
    build_all(&setup, jobs, count, 0, NULL, NULL);
    sage_status status = report_failure(context, jobs, count);
    *out = (struct sage_kernel_set){0};
    for (int i = 0; i < count; i++) {
        if (status == SAGE_OK) take_blob(&jobs[i], out);
        build_job_free(&setup, &jobs[i]);
    }
    return status;
}

/* -- Provider ----------------------------------------------------------------- */

static sage_status generator_supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    struct spec spec;
    struct plan_request plan;
    struct build_setup setup;
    SAGE_TRY(resolve(context, request, &spec, &plan));
    spec_free(&spec);
    return open_build(context, user, &setup);
}

static sage_status generator_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                                 struct sage_kernel_set *out) {
    struct spec spec;
    struct plan_request plan;
    SAGE_TRY(resolve(context, request, &spec, &plan));
    sage_status status = make_set(context, user, &plan, out);
    spec_free(&spec);
    return status;
}

static void generator_destroy(sage_context *context, void *user) {
    context_free(context, user);
}

static bool is_registered(const sage_context *context) {
    for (int i = 0; i < context->provider_count; i++)
        if (strcmp(context->provider[i].name, provider_name) == 0) return true;
    return false;
}

sage_status sage_use_generator(sage_context *context) {
    if (!context) return SAGE_ERROR_INVALID_ARGUMENT;
    if (is_registered(context)) return SAGE_OK;
    const char *dir = getenv("SAGE_TEMPLATE_DIR");
    char *copy = dir && dir[0] ? context_copy_text(context, dir, strlen(dir)) : NULL;
    if (dir && dir[0] && !copy) return SAGE_ERROR_OUT_OF_MEMORY;
    const struct sage_provider provider = {.name = provider_name,
                                           .user = copy,
                                           .supports = generator_supports,
                                           .get = generator_get,
                                           .destroy = generator_destroy};
    sage_status status = context_add_provider(context, &provider);
    if (status != SAGE_OK) context_free(context, copy);
    return status;
}
