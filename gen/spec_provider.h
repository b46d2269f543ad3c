// spec_provider: kernels of one spec of the user's own, made at run time: spec -> text -> NVRTC, through the cache. In:
// a parsed spec. Out: a provider that answers requests for it by name. Prints nothing; the messages of a failed build
// are the context's error text. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SPEC_PROVIDER_H
#define SAGE_GEN_SPEC_PROVIDER_H

#include "build.h"
#include "provider.h"
#include "spec.h"

// Adds the provider. spec, its text (shown under errors) and template_dir (NULL: embedded) are borrowed and must
// outlive the context. Errors: OUT_OF_MEMORY, UNSUPPORTED (too many providers).
sage_status spec_provider_add(sage_context *context, const struct spec *spec, const char *spec_text,
                              const char *template_dir, enum build_form form);

#endif
