// spec_provider: see spec_provider.h. A request becomes the default tuning point of the spec's best target for the GPU,
// and one build job for each role that the spec needs. SPDX-License-Identifier: Apache-2.0
#include "spec_provider.h"
#include "build.h"
#include "context.h"
#include <string.h>

struct spec_provider {
    const struct spec *spec;
    const char *spec_text, *template_dir;
};

/* -- Requests ---- */

static bool lists(const struct spec_int_list *list, int value) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i] == value) return true;
    return false;
}

static enum spec_io io_of(const struct sage_kernel_request *request) {
    return request->io == SAGE_BF16 ? SPEC_IO_BF16 : SPEC_IO_FP16;
}

static enum spec_mask mask_of(const struct sage_kernel_request *request) {
    return request->mask == SAGE_MASK_CAUSAL ? SPEC_MASK_CAUSAL : SPEC_MASK_NONE;
}

// Of targets that suit the GPU equally well, the first of the spec; -1: none runs there.
static int best_target(const struct spec *spec, int sm) {
    int best = -1, best_rank = 0;
    for (int i = 0; i < spec->targets.count; i++) {
        int rank = meta_target_rank(spec_target_text((enum spec_target)spec->targets.item[i]), sm);
        if (rank <= best_rank) continue;
        best_rank = rank;
        best = spec->targets.item[i];
    }
    return best;
}

static sage_status check_request(sage_context *context, const struct spec *spec,
                                 const struct sage_kernel_request *request) {
    if (!request->spec || strcmp(request->spec, spec->name) != 0)
        return context_error(context, SAGE_ERROR_NOT_FOUND, "it has %s alone", spec->name);
    if (request->head_dim_qk != spec->head_dim_qk || request->head_dim_v != spec->head_dim_v)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s is for a head dim of %d (V: %d), not %d (V: %d)",
                             spec->name, spec->head_dim_qk, spec->head_dim_v, request->head_dim_qk,
                             request->head_dim_v);
    if (!lists(&spec->io, (int)io_of(request)))
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "io of %s does not list %s", spec->name,
                             spec_io_text(io_of(request)));
    if (!lists(&spec->mask, (int)mask_of(request)))
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "mask of %s does not list %s", spec->name,
                             spec_mask_text(mask_of(request)));
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

// The tuning point for the request; role and safe are left to the caller.
static sage_status plan_request_make(sage_context *context, const struct spec *spec,
                                     const struct sage_kernel_request *request, struct plan_request *out) {
    char why[256] = "";
    SAGE_TRY(check_request(context, spec, request));
    const int target = best_target(spec, request->sm);
    if (target < 0) return no_target(context, spec, request->sm);
    *out = (struct plan_request){
        .spec = spec, .target = (enum spec_target)target, .io = io_of(request), .mask = mask_of(request)};
    if (plan_default_variant(spec, out->target, &out->variant, why, sizeof why)) return SAGE_OK;
    return context_error(context, SAGE_ERROR_UNSUPPORTED, "no variant of %s can run on %s: %s", spec->name,
                         spec_target_text(out->target), why);
}

// What the request makes of the spec: safe is the caller's to ask for. The name stays, since it was asked for by name.
static struct spec spec_for(const struct spec_provider *p, const struct sage_kernel_request *request) {
    struct spec spec = *p->spec;
    if (request->safe && !spec.safe) spec_derive(&spec, spec.name, spec.head_dim_qk, spec.head_dim_v, true);
    return spec;
}

static sage_status supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    const struct spec spec = spec_for(user, request);
    struct plan_request plan;
    return plan_request_make(context, &spec, request, &plan);
}

/* -- Building ---- */

static int list_jobs(const struct spec_provider *p, struct plan_request request, struct build_job *jobs) {
    int count = 0;
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        if (!plan_needs_role(request.spec, request.io, (enum sage_role)role)) continue;
        request.role = (enum sage_role)role;
        jobs[count] = (struct build_job){.request = request, .spec_text = p->spec_text};
        if (role != SAGE_ROLE_ATTN_FWD) jobs[count].request.mask = SPEC_MASK_NONE;
        count++;
    }
    return count;
}

// The job's metadata and cubin become the blob's.
static void take(struct build_job *job, struct sage_kernel_blob *blob) {
    struct cache_files *files = &job->entry.files;
    *blob = (struct sage_kernel_blob){.meta = (char *)(uintptr_t)files->meta.data,
                                      .meta_len = files->meta.bytes,
                                      .cubin = (void *)(uintptr_t)files->cubin.data,
                                      .cubin_bytes = files->cubin.bytes};
    files->meta = files->cubin = (struct cache_bytes){0};
}

static sage_status build_set(const struct build_setup *setup, struct build_job *jobs, int count,
                             struct sage_kernel_set *out) {
    if (build_all(setup, jobs, count, 0, NULL, NULL) == 0) {
        for (int i = 0; i < count; i++) take(&jobs[i], &out->kernel[jobs[i].request.role]);
        return SAGE_OK;
    }
    for (int i = 0; i < count; i++)
        if (jobs[i].state == BUILD_FAILED)
            return context_error(setup->context, jobs[i].status, "%s",
                                 jobs[i].messages.data ? jobs[i].messages.data : "the build failed");
    return context_error(setup->context, SAGE_ERROR_INTERNAL, "a kernel was not built");
}

static sage_status get(sage_context *context, void *user, const struct sage_kernel_request *request,
                       struct sage_kernel_set *out) {
    const struct spec_provider *p = user;
    const struct spec spec = spec_for(p, request);
    struct plan_request plan;
    struct build_setup setup;
    struct build_job jobs[SAGE_ROLE_COUNT];
    struct sage_kernel_set set = {0};
    SAGE_TRY(plan_request_make(context, &spec, request, &plan));
    SAGE_TRY(build_open(&setup, context, p->template_dir));
    const int count = list_jobs(p, plan, jobs);
    sage_status status = build_set(&setup, jobs, count, &set);
    for (int i = 0; i < count; i++) build_job_free(&setup, &jobs[i]);
    if (status == SAGE_OK) *out = set;
    return status;
}

static void destroy(sage_context *context, void *user) {
    context_free(context, user);
}

sage_status spec_provider_add(sage_context *context, const struct spec *spec, const char *spec_text,
                              const char *template_dir) {
    struct spec_provider *p = context_alloc(context, sizeof *p);
    if (!p) return SAGE_ERROR_OUT_OF_MEMORY;
    *p = (struct spec_provider){.spec = spec, .spec_text = spec_text, .template_dir = template_dir};
    const struct sage_provider provider = {
        .name = "spec file", .user = p, .supports = supports, .get = get, .destroy = destroy};
    sage_status status = context_add_provider(context, &provider);
    if (status != SAGE_OK) context_free(context, p);
    return status;
}
