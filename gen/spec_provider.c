// spec_provider: see spec_provider.h. The user data of the provider is the source of its kernels.
// SPDX-License-Identifier: Apache-2.0
#include "spec_provider.h"
#include "context.h"
#include "kernel_set.h"
#include <string.h>

static sage_status check_name(sage_context *context, const struct spec *spec,
                              const struct sage_kernel_request *request) {
    if (request->spec && strcmp(request->spec, spec->name) == 0) return SAGE_OK;
    return context_error(context, SAGE_ERROR_NOT_FOUND, "it has %s alone", spec->name);
}

static sage_status supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    const struct kernel_source *source = user;
    SAGE_TRY(check_name(context, source->spec, request));
    return kernel_set_check(context, source->spec, request);
}

static sage_status get(sage_context *context, void *user, const struct sage_kernel_request *request,
                       struct sage_kernel_set *out) {
    const struct kernel_source *source = user;
    SAGE_TRY(check_name(context, source->spec, request));
    return kernel_set_make(context, source, request, out);
}

static void destroy(sage_context *context, void *user) {
    context_free(context, user);
}

sage_status spec_provider_add(sage_context *context, const struct spec *spec, const char *spec_text,
                              const char *template_dir, enum build_form form) {
    struct kernel_source *source = context_alloc(context, sizeof *source);
    if (!source) return SAGE_ERROR_OUT_OF_MEMORY;
    *source = (struct kernel_source){
        .spec = spec, .spec_text = spec_text, .template_dir = template_dir, .form = form};
    const struct sage_provider provider = {
        .name = "spec file", .user = source, .supports = supports, .get = get, .destroy = destroy};
    sage_status status = context_add_provider(context, &provider);
    if (status != SAGE_OK) context_free(context, source);
    return status;
}
