// generator: the provider of kernels that are made at run time: the shipped specs, derived to the head dims that are
// asked for. In: a kernel request. Out: a kernel set, or why there is none. Keeps no state between requests but the
// template folder, which is read from the environment when it is registered.
// SPDX-License-Identifier: Apache-2.0
#include "generator.h"
#include "context.h"
#include "kernel_set.h"
#include "nvrtc.h"
#include "shipped.h"
#include "wisdom.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char provider_name[] = "generator", wisdom_folder[] = "tuning/wisdom/";

// The provider's user data.
struct generator {
    char *template_dir; /* owned; NULL: the embedded templates */
    enum build_form form;
};

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
    return parse(context, file, out);
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

// On success the caller frees the spec.
static sage_status find(sage_context *context, const struct sage_kernel_request *request, struct spec *out) {
    return request->spec ? find_by_name(context, request, out) : find_by_family(context, request, out);
}

/* -- Provider ----------------------------------------------------------------- */

// Without NVRTC the next provider, or another family, may still have kernels.
static sage_status need_nvrtc(sage_context *context) {
    struct nvrtc_info info;
    sage_status status = nvrtc_find(context, &info);
    if (status != SAGE_ERROR_NO_NVRTC) return status;
    char reason[CONTEXT_ERROR_BYTES];
    snprintf(reason, sizeof reason, "%s", sage_last_error(context));
    return context_error(context, SAGE_ERROR_NOT_FOUND, "%s", reason);
}

static sage_status check(sage_context *context, const struct spec *spec, const struct sage_kernel_request *request) {
    SAGE_TRY(kernel_set_check(context, spec, request));
    return need_nvrtc(context);
}

static sage_status generator_supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    struct spec spec;
    (void)user;
    SAGE_TRY(find(context, request, &spec));
    sage_status status = check(context, &spec, request);
    spec_free(&spec);
    return status;
}

static sage_status generator_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                                 struct sage_kernel_set *out) {
    const struct generator *g = user;
    struct spec spec;
    SAGE_TRY(find(context, request, &spec));
    const struct kernel_source source = {.spec = &spec, .template_dir = g->template_dir, .form = g->form};
    sage_status status = check(context, &spec, request);
    if (status == SAGE_OK) status = kernel_set_make(context, &source, request, out);
    if (status == SAGE_ERROR_COMPILE) context_log(context, SAGE_LOG_WARNING, "%s", sage_last_error(context));
    spec_free(&spec);
    return status;
}

static void generator_destroy(sage_context *context, void *user) {
    struct generator *g = user;
    context_free(context, g->template_dir);
    context_free(context, g);
}

static bool is_registered(const sage_context *context) {
    for (int i = 0; i < context->provider_count; i++)
        if (strcmp(context->provider[i].name, provider_name) == 0) return true;
    return false;
}

static struct generator *generator_new(sage_context *context, enum build_form form) {
    const char *dir = getenv("SAGE_TEMPLATE_DIR");
    struct generator *g = context_alloc_zeroed(context, sizeof *g);
    if (!g) return NULL;
    g->form = form;
    if (dir && dir[0]) g->template_dir = context_copy_text(context, dir, strlen(dir));
    if (!dir || !dir[0] || g->template_dir) return g;
    context_free(context, g);
    return NULL;
}

// The tables of tuning/wisdom. Ones that this library cannot read are left out, as the user's file would be.
static sage_status add_wisdom(sage_context *context) {
    for (int i = 0; i < embedded_file_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        if (strncmp(file->name, wisdom_folder, sizeof wisdom_folder - 1) != 0) continue;
        const sage_status status = wisdom_add(context, file->name, file->data, file->size);
        if (status == SAGE_ERROR_OUT_OF_MEMORY) return status;
        if (status != SAGE_OK) context_log(context, SAGE_LOG_WARNING, "%s", sage_last_error(context));
    }
    return SAGE_OK;
}

sage_status generator_add(sage_context *context, enum build_form form) {
    if (is_registered(context)) return SAGE_OK;
    SAGE_TRY(add_wisdom(context));
    struct generator *g = generator_new(context, form);
    if (!g) return SAGE_ERROR_OUT_OF_MEMORY;
    const struct sage_provider provider = {.name = provider_name,
                                           .user = g,
                                           .supports = generator_supports,
                                           .get = generator_get,
                                           .destroy = generator_destroy};
    sage_status status = context_add_provider(context, &provider);
    if (status != SAGE_OK) generator_destroy(context, g);
    return status;
}

sage_status sage_use_generator(sage_context *context) {
    return context ? generator_add(context, BUILD_CUBIN) : SAGE_ERROR_INVALID_ARGUMENT;
}
