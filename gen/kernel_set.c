// kernel_set: see kernel_set.h. A request becomes a plan request, one build job for each role, and then the set. Keeps
// no state. SPDX-License-Identifier: Apache-2.0
#include "kernel_set.h"

#include "context.h"
#include <stdio.h>

/* -- Requests ------------------------------------------------------------ */

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

// The name stays: a plan that gave it expects it back. The metadata's safe and the spec's hash tell the two apart.
static struct spec form_of(const struct spec *spec, const struct sage_kernel_request *request) {
    struct spec form = *spec;
    if (request->safe && !form.safe) spec_derive(&form, form.name, form.head_dim_qk, form.head_dim_v, true);
    return form;
}

static sage_status check_lists(sage_context *context, const struct spec *spec, const struct plan_request *plan) {
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

// The target that suits the GPU best among those with a tuning point that can run, and its first such point. Of targets
// that suit it equally well, the first of the spec.
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

// Fills all of *plan but the role. form: of form_of.
static sage_status resolve(sage_context *context, const struct spec *form, const struct sage_kernel_request *request,
                           struct plan_request *plan) {
    if (form->head_dim_qk != request->head_dim_qk || form->head_dim_v != request->head_dim_v)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s has head dims %d and %d, not %d and %d", form->name,
                             form->head_dim_qk, form->head_dim_v, request->head_dim_qk, request->head_dim_v);
    *plan = (struct plan_request){.spec = form, .io = io_of(request->io), .mask = mask_of(request->mask)};
    SAGE_TRY(check_lists(context, form, plan));
    return choose_target(context, form, request->sm, plan);
}

sage_status kernel_set_check(sage_context *context, const struct spec *spec,
                             const struct sage_kernel_request *request) {
    const struct spec form = form_of(spec, request);
    struct plan_request plan;
    return resolve(context, &form, request, &plan);
}

/* -- Kernels ------------------------------------------------------------- */

static int list_jobs(const struct plan_request *plan, const char *spec_text, struct build_job jobs[SAGE_ROLE_COUNT]) {
    int count = 0;
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        if (!plan_needs_role(plan->spec, (enum sage_role)role)) continue;
        jobs[count] = (struct build_job){.request = *plan, .spec_text = spec_text};
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

// The first failure in the order of the jobs.
static sage_status jobs_status(sage_context *context, const struct build_job *jobs, int count) {
    for (int i = 0; i < count; i++)
        if (jobs[i].state != BUILD_DONE)
            return context_error(context, jobs[i].status, "%s",
                                 jobs[i].messages.len ? jobs[i].messages.data : sage_status_text(jobs[i].status));
    return SAGE_OK;
}

sage_status kernel_set_make(sage_context *context, const struct kernel_source *source,
                            const struct sage_kernel_request *request, struct sage_kernel_set *out) {
    const struct spec form = form_of(source->spec, request);
    struct plan_request plan;
    struct build_setup setup;
    struct build_job jobs[SAGE_ROLE_COUNT];
    SAGE_TRY(resolve(context, &form, request, &plan));
    SAGE_TRY(build_open(&setup, context, source->template_dir, source->form));
    const int count = list_jobs(&plan, source->spec_text, jobs);
    build_all(&setup, jobs, count, 0, NULL, NULL);
    sage_status status = jobs_status(context, jobs, count);
    if (status == SAGE_OK) *out = (struct sage_kernel_set){0};
    for (int i = 0; i < count; i++) {
        if (status == SAGE_OK) take_blob(&jobs[i], out);
        build_job_free(&setup, &jobs[i]);
    }
    return status;
}
