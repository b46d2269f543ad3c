// kernel_set: the kernels that one plan of the runtime needs, made from one spec. In: a spec and a kernel request. Out:
// a kernel set, or why there is none. Prints nothing; the messages of a failed build are the context's error text.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_KERNEL_SET_H
#define SAGE_GEN_KERNEL_SET_H

#include "build.h"
#include "provider.h"
#include "spec.h"

// What kernels are made from; all of it is borrowed.
struct kernel_source {
    const struct spec *spec;
    const char *spec_text;    /* shown under errors that point into the spec; may be NULL */
    const char *template_dir; /* NULL: the embedded templates */
    enum build_form form;
};

// Whether the spec gives what is asked for: head dims, io, mask, and a target that runs on the GPU. Its name is not
// looked at. Compiles nothing. Errors: UNSUPPORTED with the reason.
sage_status kernel_set_check(sage_context *context, const struct spec *spec, const struct sage_kernel_request *request);
// Makes the set, through the cache: the tuning point of the request's wish, or the default one, of the spec's best target
// for the GPU, every role that the spec needs; request->safe: of the spec's safe form. Errors: those of kernel_set_check and of a build; *out is then
// untouched.
sage_status kernel_set_make(sage_context *context, const struct kernel_source *source,
                            const struct sage_kernel_request *request, struct sage_kernel_set *out);

#endif
