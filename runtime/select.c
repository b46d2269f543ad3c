// select: checks of sage_attention_desc, the table of families per precision and GPU, and the walk over providers.
// SPDX-License-Identifier: Apache-2.0
#include "select.h"
#include "context.h"
#include "wisdom.h"
#include "workspace.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SELECT_REASONS_BYTES 1600
#define SELECT_SPEC_MAX      64   /* bytes of a spec's name */
#define SELECT_STRUCT_MAX    4096 /* bytes; a struct that claims more was not initialised */

static_assert(SELECT_REASONS_BYTES + 256 <= CONTEXT_ERROR_BYTES,
              "all reasons and the head of the sentence fit one error text");

// On GPUs from sm_min to sm_max, precision may be served by family. Rows of one precision are in order of preference.
static const struct select_rule {
    sage_precision precision;
    const char *family;
    int sm_min, sm_max;
    const char *needs; /* the compute capabilities of all rows of this precision */
} select_rules[] = {
    {SAGE_PRECISION_AUTO, "int8_fp8", 89, INT_MAX, "8.0 or newer"},
    {SAGE_PRECISION_AUTO, "int8_fp16", 80, INT_MAX, "8.0 or newer"},
    {SAGE_INT8_FP16, "int8_fp16", 80, INT_MAX, "8.0 or newer"},
    {SAGE_INT8_FP8, "int8_fp8", 89, INT_MAX, "8.9 or newer"},
    {SAGE_INT8_FP8_ACC16, "int8_fp8acc16", 89, 89, "8.9, or 12.0 and newer"},
    {SAGE_INT8_FP8_ACC16, "int8_fp8acc16", 120, INT_MAX, "8.9, or 12.0 and newer"},
    {SAGE_FP4, "fp4", 120, 121, "12.0 or 12.1"},
    {SAGE_FP8_FP8, "fp8_fp8", 89, INT_MAX, "8.9 or newer"},
    {SAGE_FP8_FP4, "fp8_fp4", 120, 121, "12.0 or 12.1"},
    {SAGE_FP4_FP8, "fp4_fp8", 120, 121, "12.0 or 12.1"},
};
enum { SELECT_RULE_COUNT = sizeof select_rules / sizeof select_rules[0], SELECT_SM_MIN = 80 };

/* -- The description ---- */

sage_status select_read_struct(sage_context *context, const char *what, const void *given, size_t oldest_bytes,
                               size_t known_bytes, void *out) {
    const unsigned char *bytes = given;
    size_t given_bytes;
    memcpy(&given_bytes, given, sizeof given_bytes);
    if (given_bytes < oldest_bytes || given_bytes > SELECT_STRUCT_MAX)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                             "%s.size = %zu; set it to sizeof(sage_attention_%s) = %zu", what, given_bytes, what,
                             known_bytes);
    for (size_t i = known_bytes; i < given_bytes; i++)
        if (bytes[i] != 0)
            return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                                 "%s has a member at byte %zu that this version of libsage does not know", what, i);
    memset(out, 0, known_bytes);
    memcpy(out, given, given_bytes < known_bytes ? given_bytes : known_bytes);
    return SAGE_OK;
}

static const char *family_of(int precision) {
    for (int i = 0; i < SELECT_RULE_COUNT; i++)
        if ((int)select_rules[i].precision == precision) return select_rules[i].family;
    return NULL;
}

static sage_status check_range(sage_context *context, const char *name, int value, int max) {
    if (value >= 0 && value <= max) return SAGE_OK;
    return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "desc.%s = %d is out of range (0...%d)", name, value,
                         max);
}

static sage_status check_head_dim(sage_context *context, const char *name, int value) {
    if (value >= 8 && value <= 256 && value % 8 == 0) return SAGE_OK;
    return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "desc.%s = %d must be a multiple of 8 (8...256)", name,
                         value);
}

// A name becomes part of C names and file names.
static sage_status check_spec_name(sage_context *context, const char *spec) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t len = strnlen(spec, SELECT_SPEC_MAX + 1);
    if (len > 0 && len <= SELECT_SPEC_MAX && strspn(spec, allowed) == len) return SAGE_OK;
    return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                         "desc.spec = \"%.*s\" is not a spec's name (1...%d letters, digits, '_')", SELECT_SPEC_MAX,
                         spec, SELECT_SPEC_MAX);
}

static sage_status check_spec(sage_context *context, const sage_attention_desc *desc) {
    if (desc->spec == NULL) return SAGE_OK;
    SAGE_TRY(check_spec_name(context, desc->spec));
    if (desc->precision == SAGE_PRECISION_AUTO) return SAGE_OK;
    const char *family = family_of((int)desc->precision);
    size_t len = strlen(family);
    if (strncmp(desc->spec, family, len) == 0 && strncmp(desc->spec + len, "_d", 2) == 0) return SAGE_OK;
    return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                         "desc.spec = \"%s\" is not of desc.precision = %d (%s); leave one of them 0", desc->spec,
                         (int)desc->precision, family);
}

// Newton's iteration for a head dim (8...256), since libsage links no libm. Eight steps from 16 give every bit of a
// float.
static float inverse_square_root(int head_dim) {
    double root = 16;
    for (int i = 0; i < 8; i++) root = (root + head_dim / root) / 2;
    return (float)(1 / root);
}

static bool is_expected(const sage_attention_shape *s) {
    return s->batch != 0 || s->heads_q != 0 || s->heads_kv != 0 || s->seq_q != 0 || s->seq_k != 0;
}

static sage_status check_expected(sage_context *context, const sage_attention_shape *expected) {
    char why[256];
    if (!is_expected(expected) || workspace_check_shape(expected, why) == NULL) return SAGE_OK;
    return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "desc.expected: %s", why);
}

sage_status select_check_desc(sage_context *context, const sage_attention_desc *given, sage_attention_desc *out) {
    const unsigned known = SAGE_FLAG_LSE | SAGE_FLAG_SAFE | SAGE_FLAG_OVERFLOW;
    // Up to the last member of the first version.
    const size_t oldest_bytes = offsetof(sage_attention_desc, flags) + sizeof given->flags;
    sage_attention_desc filled;
    SAGE_TRY(select_read_struct(context, "desc", given, oldest_bytes, sizeof filled, &filled));
    const sage_attention_desc *desc = &filled;
    if (filled.head_dim_v == 0) filled.head_dim_v = filled.head_dim_qk;
    SAGE_TRY(check_range(context, "dtype", (int)desc->dtype, SAGE_FP16));
    SAGE_TRY(check_head_dim(context, "head_dim_qk", filled.head_dim_qk));
    SAGE_TRY(check_head_dim(context, "head_dim_v", filled.head_dim_v));
    SAGE_TRY(check_range(context, "mask", (int)desc->mask, SAGE_MASK_CAUSAL));
    SAGE_TRY(check_range(context, "precision", (int)desc->precision, SAGE_FP4_FP8));
    if (!isfinite(desc->sm_scale) || desc->sm_scale < 0)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                             "desc.sm_scale = %g must be finite and positive, or 0 for 1 / sqrt(head_dim_qk)",
                             (double)desc->sm_scale);
    if ((desc->flags & ~known) != 0)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "desc.flags = 0x%x has unknown bits 0x%x",
                             desc->flags, desc->flags & ~known);
    SAGE_TRY(check_spec(context, desc));
    SAGE_TRY(check_expected(context, &desc->expected));
    if (filled.sm_scale == 0) filled.sm_scale = inverse_square_root(filled.head_dim_qk);
    *out = filled;
    return SAGE_OK;
}

sage_status select_check_call(sage_context *context, const sage_attention_desc *desc, const void *result,
                              sage_attention_desc *out) {
    if (context == NULL || desc == NULL || result == NULL)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "%s is NULL",
                             context == NULL ? "context"
                             : desc == NULL  ? "desc"
                                             : "out");
    return select_check_desc(context, desc, out);
}

/* -- Families ---- */

sage_status select_families(sage_context *context, const sage_attention_desc *desc, int sm,
                            struct select_families *out) {
    struct select_families families = {.count = 0};
    const char *needs = "8.0 or newer";
    if (sm == 0)
        return context_error(context, SAGE_ERROR_UNSUPPORTED,
                             "the context has no device (options.device = -1), so it cannot run attention");
    if (sm >= SELECT_SM_MIN && desc->spec != NULL) families.count = 1;
    for (int i = 0; i < SELECT_RULE_COUNT && desc->spec == NULL; i++) {
        const struct select_rule *rule = &select_rules[i];
        if (rule->precision != desc->precision) continue;
        needs = rule->needs;
        if (sm >= rule->sm_min && sm <= rule->sm_max) families.name[families.count++] = rule->family;
    }
    if (families.count == 0)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s needs compute capability %s; this GPU has %d.%d",
                             desc->spec != NULL || sm < SELECT_SM_MIN ? "attention" : family_of((int)desc->precision),
                             sm < SELECT_SM_MIN ? "8.0 or newer" : needs, sm / 10, sm % 10);
    *out = families;
    return SAGE_OK;
}

/* -- Providers ---- */

struct reasons {
    char text[SELECT_REASONS_BYTES];
    size_t used;
    bool not_found; /* some provider said NOT_FOUND, not UNSUPPORTED */
};

// Appends "; name (family): reason", cut where the text is full.
static void reasons_add(struct reasons *reasons, const char *provider, const char *family, const char *reason) {
    size_t left = sizeof reasons->text - reasons->used;
    int written = snprintf(reasons->text + reasons->used, left, "%s%s (%s): %s", reasons->used == 0 ? "" : "; ",
                           provider, family, reason[0] == '\0' ? "no reason given" : reason);
    if (written > 0) reasons->used += (size_t)written < left ? (size_t)written : left - 1;
}

static sage_status nothing_found(sage_context *context, const struct sage_kernel_request *request,
                                 const struct reasons *reasons) {
    sage_status status =
        reasons->not_found || context->provider_count == 0 ? SAGE_ERROR_NOT_FOUND : SAGE_ERROR_UNSUPPORTED;
    return context_error(context, status, "no kernel for %s, head_dim_qk %d, head_dim_v %d, %s, mask %s%s on sm_%d: %s",
                         request->spec != NULL ? request->spec : request->family, request->head_dim_qk,
                         request->head_dim_v, meta_io_text(request->io), meta_mask_text(request->mask),
                         request->safe ? ", safe" : "", request->sm,
                         context->provider_count == 0
                             ? "nothing to ask; set options.packs or options.kernel_dir, or call sage_use_generator()"
                             : reasons->text);
}

// Asks every provider for one request. NOT_FOUND: go on with the next family; the reasons have grown.
static sage_status ask_providers(sage_context *context, const struct sage_kernel_request *request,
                                 struct sage_kernel_set *out, struct reasons *reasons) {
    for (int i = 0; i < context->provider_count; i++) {
        const struct sage_provider *provider = &context->provider[i];
        context_error(context, SAGE_OK, "%s", ""); // so that no earlier reason passes for this provider's
        sage_status status = out == NULL ? provider->supports(context, provider->user, request)
                                         : provider->get(context, provider->user, request, out);
        if (status != SAGE_ERROR_NOT_FOUND && status != SAGE_ERROR_UNSUPPORTED) return status;
        reasons->not_found |= status == SAGE_ERROR_NOT_FOUND;
        reasons_add(reasons, provider->name, request->spec != NULL ? request->spec : request->family,
                    sage_last_error(context));
    }
    return SAGE_ERROR_NOT_FOUND;
}

// The tuning point that wisdom names for the request; its texts live as long as the context.
static struct sage_kernel_wish wish_of(const sage_context *context, const sage_attention_desc *desc,
                                       const struct sage_kernel_request *request) {
    const struct wisdom_query query = {.spec = request->spec,
                                       .family = request->family,
                                       .head_dim_qk = request->head_dim_qk,
                                       .head_dim_v = request->head_dim_v,
                                       .io = request->io,
                                       .mask = request->mask,
                                       .shape = desc->expected,
                                       .gpu = context->driver.device_name,
                                       .sm = request->sm,
                                       .multiprocessors = context->driver.multiprocessors};
    struct wisdom_description wisdom;
    wisdom_describe(context, &wisdom);
    const struct wisdom_row *row = wisdom_find(wisdom.table, wisdom.tables, &query, NULL);
    return row ? (struct sage_kernel_wish){row->variant, row->spec_hash, row->target} : (struct sage_kernel_wish){0};
}

// out NULL: only ask whether there is one.
static sage_status search(sage_context *context, const sage_attention_desc *desc, struct sage_kernel_set *out) {
    struct select_families families;
    struct reasons reasons = {.used = 0};
    struct sage_kernel_request request = {
        .spec = desc->spec,
        .head_dim_qk = desc->head_dim_qk,
        .head_dim_v = desc->head_dim_v,
        .io = desc->dtype,
        .mask = desc->mask,
        .safe = (desc->flags & SAGE_FLAG_SAFE) != 0,
        .sm = sage_context_sm(context),
    };
    SAGE_TRY(select_families(context, desc, request.sm, &families));
    for (int i = 0; i < families.count; i++) {
        request.family = families.name[i];
        request.wish = wish_of(context, desc, &request);
        sage_status status = ask_providers(context, &request, out, &reasons);
        if (status != SAGE_ERROR_NOT_FOUND) return status;
    }
    request.family = families.name[0];
    return nothing_found(context, &request, &reasons);
}

sage_status select_supports(sage_context *context, const sage_attention_desc *desc) {
    return search(context, desc, NULL);
}

sage_status select_get(sage_context *context, const sage_attention_desc *desc, struct sage_kernel_set *out) {
    struct sage_kernel_set set = {0};
    SAGE_TRY(search(context, desc, &set));
    *out = set;
    return SAGE_OK;
}
