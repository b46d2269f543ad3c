// select: from what the caller describes to kernels: checks the description, lists the families that fit the GPU in
// order of preference, asks each provider for each, with the tuning point that wisdom names for the expected shape. In: sage_attention_desc. Out: a kernel set, or a sentence that says
// why not. Never launches.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_SELECT_H
#define SAGE_SELECT_H

#include "provider.h"

#define SELECT_FAMILIES_MAX 2

struct select_families {
    const char *name[SELECT_FAMILIES_MAX]; /* best first; one NULL where a spec is wanted by name */
    int count;
};

// Copies a caller's struct, which begins with its size, to *out, of known_bytes; what an older one lacks is zero.
// Refuses one smaller than oldest_bytes, that of the first version, and one with members that this library does not
// know and that are not zero. what: "desc". Errors: INVALID_ARGUMENT.
sage_status select_read_struct(sage_context *context, const char *what, const void *given, size_t oldest_bytes,
                               size_t known_bytes, void *out);
// desc with the defaults of head_dim_v and sm_scale filled in. Errors: INVALID_ARGUMENT with the member and its value.
sage_status select_check_desc(sage_context *context, const sage_attention_desc *desc, sage_attention_desc *out);
// The same of a call's arguments, none of which may be NULL: `result` is where the caller wants the plan.
sage_status select_check_call(sage_context *context, const sage_attention_desc *desc, const void *result,
                              sage_attention_desc *out);
// The families to ask for on a GPU of this sm. desc has passed select_check_desc. Errors: UNSUPPORTED.
sage_status select_families(sage_context *context, const sage_attention_desc *desc, int sm,
                            struct select_families *out);
// Whether some provider has or can make a set. Errors: NOT_FOUND or UNSUPPORTED with every provider's reason; any other
// status of a provider ends the search.
sage_status select_supports(sage_context *context, const sage_attention_desc *desc);
// The first set that a provider has. Owner: the caller, kernel_set_free. Errors: as select_supports, and those of
// making kernels.
sage_status select_get(sage_context *context, const sage_attention_desc *desc, struct sage_kernel_set *out);

#endif
