// test_attention_api: the public attention calls on the fake driver, with kernels from a provider made here: every rule
// for descriptions and arguments, the choice of family, plans, launch sequences with the contents of the parameter
// struct, and many threads on one plan.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "fake_cuda.h"
#include "kernel_args.h"
#include "meta.h"
#include "workspace.h"

#define countof(array) (sizeof(array) / sizeof *(array))

/* -- A provider in memory ---- */

// Which kernels to give, and what to spoil. Zeroed: any family, one without delta_s, nothing spoilt.
struct kernels {
    const char *only_family;                                                   /* NULL: any */
    bool refuse_as_not_found;                                                  /* else UNSUPPORTED */
    sage_status hard_error;                                                    /* of get, if not OK */
    bool smoothed;                                                             /* statistics and delta_s */
    bool persistent;                                                           /* attn_fwd goes over query tiles */
    int drop_role;                                                             /* role + 1 */
    int wrong_role, wrong_geometry, wrong_args_bytes, wrong_smem, wrong_cubin; /* role + 1 */
    bool wrong_mask, wrong_chunk;
    char asked[256]; /* "int8_fp8 int8_fp16 ": families or specs, in the order they were asked for */
    int supports_calls, gets;
    struct sage_kernel_request last; /* texts are gone */
};

static sage_status kernels_answer(sage_context *context, struct kernels *kernels,
                                  const struct sage_kernel_request *want) {
    const char *name = want->spec != NULL ? want->spec : want->family;
    size_t used = strlen(kernels->asked);
    kernels->last = *want;
    kernels->last.spec = kernels->last.family = NULL;
    snprintf(kernels->asked + used, sizeof kernels->asked - used, "%s ", name);
    if (kernels->only_family == NULL || strcmp(kernels->only_family, name) == 0) return SAGE_OK;
    return context_error(context, kernels->refuse_as_not_found ? SAGE_ERROR_NOT_FOUND : SAGE_ERROR_UNSUPPORTED,
                         "memory holds only %s", kernels->only_family);
}

static sage_status kernels_supports(sage_context *context, void *user, const struct sage_kernel_request *want) {
    struct kernels *kernels = user;
    kernels->supports_calls++;
    return kernels_answer(context, kernels, want);
}

static void meta_fill_texts(struct meta *meta, const struct sage_kernel_request *want, enum sage_role role) {
    const char *family = want->spec != NULL ? "int8_fp8" : want->family;
    snprintf(meta->role, sizeof meta->role, "%s", sage_role_text(role));
    snprintf(meta->entry, sizeof meta->entry, "kernel_%s", sage_role_text(role));
    if (want->spec != NULL)
        snprintf(meta->spec, sizeof meta->spec, "%s", want->spec);
    else
        snprintf(meta->spec, sizeof meta->spec, "%s_d%d", family, want->head_dim_qk);
    snprintf(meta->family, sizeof meta->family, "%s", family);
    snprintf(meta->variant, sizeof meta->variant, "q128_k64_s2_w8");
    snprintf(meta->target, sizeof meta->target, "sm_%d%s", want->sm, want->sm == 90 ? "a" : "");
    snprintf(meta->io, sizeof meta->io, "%s", want->io == SAGE_BF16 ? "bf16" : "fp16");
    bool causal = role == SAGE_ROLE_ATTN_FWD && want->mask == SAGE_MASK_CAUSAL;
    snprintf(meta->mask, sizeof meta->mask, "%s", causal ? "causal" : "none");
    snprintf(meta->qk_format, sizeof meta->qk_format, "int8");
    snprintf(meta->v_format, sizeof meta->v_format, "fp8_e4m3");
    snprintf(meta->sagegen, sizeof meta->sagegen, "0.1.0");
    snprintf(meta->spec_hash, sizeof meta->spec_hash, "0123456789abcdef");
}

static void meta_fill_ints(struct meta *meta, const struct sage_kernel_request *want, enum sage_role role,
                           bool smoothed) {
    meta->safe = want->safe;
    meta->args_bytes = (int)sizeof(struct sage_kernel_args);
    meta->dependent_launch = smoothed;
    meta->threads = 128 + 32 * (int)role;
    meta->smem_dynamic = 1024 * (40 + 10 * (int)role);
    meta->registers = 100;
    meta->head_dim_qk = want->head_dim_qk;
    meta->head_dim_v = want->head_dim_v;
    meta->d_qk = (want->head_dim_qk + 31) / 32 * 32;
    meta->d_v = (want->head_dim_v + 31) / 32 * 32;
    meta->tile_q = 128;
    meta->tile_k = 64;
    meta->q_tile_bytes = 128 * meta->d_qk;
    meta->k_tile_bytes = 64 * meta->d_qk;
    meta->v_tile_bytes = 64 * meta->d_v;
    if (!smoothed) return;
    meta->stats_width = meta->d_qk;
    meta->smooth_k = 1;
    meta->q_group = 64;
    meta->delta_groups = 4;
}

static void meta_spoil(struct meta *meta, const struct kernels *kernels, enum sage_role role) {
    if (kernels->wrong_role == (int)role + 1) snprintf(meta->role, sizeof meta->role, "delta_s");
    if (kernels->wrong_geometry == (int)role + 1) meta->k_tile_bytes *= 2;
    if (kernels->wrong_args_bytes == (int)role + 1) meta->args_bytes -= 8;
    if (kernels->wrong_smem == (int)role + 1) meta->smem_dynamic = 900 << 10;
    if (kernels->wrong_mask) snprintf(meta->mask, sizeof meta->mask, "causal");
    if (kernels->wrong_chunk) meta->delta_groups = 3;
}

static sage_status blob_make(sage_context *context, const struct kernels *kernels,
                             const struct sage_kernel_request *want, enum sage_role role,
                             struct sage_kernel_blob *out) {
    struct meta meta;
    char image[64];
    memset(&meta, 0, sizeof meta);
    meta_fill_texts(&meta, want, role);
    meta_fill_ints(&meta, want, role, kernels->smoothed);
    meta.persistent = kernels->persistent && role == SAGE_ROLE_ATTN_FWD;
    meta_spoil(&meta, kernels, role);
    int len = snprintf(image, sizeof image, "cubin of %s %d", meta.entry, want->head_dim_qk);
    meta_set_files(&meta, "source", 6, "ptx", 3, image, (size_t)len);
    out->cubin = context_copy_text(context, image, (size_t)len);
    if (out->cubin == NULL) return SAGE_ERROR_OUT_OF_MEMORY;
    out->cubin_bytes = (size_t)len;
    if (kernels->wrong_cubin == (int)role + 1) ((char *)out->cubin)[0] = 'X';
    return meta_write(context, &meta, &out->meta, &out->meta_len);
}

static sage_status kernels_get(sage_context *context, void *user, const struct sage_kernel_request *want,
                               struct sage_kernel_set *out) {
    struct kernels *kernels = user;
    struct sage_kernel_set set = {0};
    kernels->gets++;
    if (kernels->hard_error != SAGE_OK) return context_error(context, kernels->hard_error, "broken on purpose");
    SAGE_TRY(kernels_answer(context, kernels, want));
    sage_status status = SAGE_OK;
    for (int role = 0; role < SAGE_ROLE_COUNT && status == SAGE_OK; role++) {
        if ((role == SAGE_ROLE_DELTA_S && !kernels->smoothed) || kernels->drop_role == role + 1) continue;
        status = blob_make(context, kernels, want, (enum sage_role)role, &set.kernel[role]);
    }
    if (status == SAGE_OK)
        *out = set;
    else
        kernel_set_free(context, &set);
    return status;
}

/* -- Fixture ---- */

struct fixture {
    struct fake_cuda cuda;
    sage_context *context;
    struct kernels kernels, second;
    int allocations, live, fail_at; /* of the context's allocator; fail_at: the n-th from now fails; 0: none */
};

static pthread_mutex_t allocator_lock = PTHREAD_MUTEX_INITIALIZER;

static void *counted_allocate(void *user, size_t bytes) {
    struct fixture *f = user;
    pthread_mutex_lock(&allocator_lock);
    bool fail = f->fail_at > 0 && --f->fail_at == 0;
    f->allocations++;
    f->live += !fail;
    pthread_mutex_unlock(&allocator_lock);
    return fail ? NULL : malloc(bytes);
}

static void counted_release(void *user, void *memory) {
    struct fixture *f = user;
    pthread_mutex_lock(&allocator_lock);
    f->live--;
    pthread_mutex_unlock(&allocator_lock);
    free(memory);
}

static void open_context(struct fixture *f, int sm, int device) {
    const struct sage_provider first = {"memory", &f->kernels, kernels_supports, kernels_get, NULL};
    sage_options options = {.size = sizeof options, .device = device, .memory_only = 1};
    options.allocator = (sage_allocator){counted_allocate, counted_release, f};
    sage_context_destroy(f->context);
    f->cuda.reset();
    f->cuda.set_sm(sm);
    f->cuda.set_args_bytes(sizeof(struct sage_kernel_args));
    assert_int_equal(sage_context_create(&options, &f->context), SAGE_OK);
    assert_int_equal(context_add_provider(f->context, &first), SAGE_OK);
}

static int setup(void **state) {
    static struct fixture f;
    memset(&f, 0, sizeof f);
    f.cuda = fake_cuda_open(FAKE_CUDA_PATH);
    if (f.cuda.library == NULL || setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1) != 0) return -1;
    open_context(&f, 90, 0);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sage_context_destroy(f->context);
    struct fake_cuda_counts counts = f->cuda.counts();
    bool clean =
        f->live == 0 && counts.modules == counts.unloads && counts.pushes == counts.pops && f->cuda.stack_depth() == 0;
    if (!clean) fprintf(stderr, "left over: %d allocations, %d modules\n", f->live, counts.modules - counts.unloads);
    dlclose(f->cuda.library);
    return clean ? 0 : -1;
}

static sage_attention_desc usual_desc(void) {
    return (sage_attention_desc){.size = sizeof(sage_attention_desc), .dtype = SAGE_FP16, .head_dim_qk = 128};
}

// Addresses that nothing reads: the fake driver runs no kernel.
static void *address(uint64_t value) {
    return (void *)(uintptr_t)value;
}

static sage_tensor contiguous(uint64_t where, int64_t heads, int64_t seq, int64_t dim) {
    return (sage_tensor){address(where), heads * seq * dim, seq * dim, dim};
}

enum { Q_AT = 0x10000000, K_AT = 0x20000000, V_AT = 0x30000000, O_AT = 0x40000000, WORKSPACE_AT = 0x50000000 };

static sage_attention_args args_for(const sage_attention_plan *plan, const sage_attention_shape *shape, int64_t dim) {
    return (sage_attention_args){
        .size = sizeof(sage_attention_args),
        .shape = *shape,
        .q = contiguous(Q_AT, shape->heads_q, shape->seq_q, dim),
        .k = contiguous(K_AT, shape->heads_kv, shape->seq_k, dim),
        .v = contiguous(V_AT, shape->heads_kv, shape->seq_k, dim),
        .o = contiguous(O_AT, shape->heads_q, shape->seq_q, dim),
        .workspace = address(WORKSPACE_AT),
        .workspace_bytes = sage_attention_workspace_bytes(plan, shape),
    };
}

static const sage_attention_shape usual_shape = {.batch = 2, .heads_q = 6, .heads_kv = 3, .seq_q = 300, .seq_k = 1000};

static sage_attention_plan *plan_for(struct fixture *f, const sage_attention_desc *desc) {
    sage_attention_plan *plan = NULL;
    sage_status status = sage_attention_plan_create(f->context, desc, &plan);
    if (status != SAGE_OK) fail_msg("plan: %s", sage_last_error(f->context));
    return plan;
}

static sage_attention_plan *usual_plan(struct fixture *f, bool smoothed, unsigned flags) {
    sage_attention_desc desc = usual_desc();
    desc.flags = flags;
    f->kernels.smoothed = smoothed;
    return plan_for(f, &desc);
}

static void assert_failed(struct fixture *f, sage_status status, sage_status expected, const char *text) {
    if (status != expected || strstr(sage_last_error(f->context), text) == NULL)
        fail_msg("expected %d with \"%s\", got %d with \"%s\"", expected, text, status, sage_last_error(f->context));
}

static void assert_launch(struct fixture *f, int index, const char *role, unsigned grid,
                          struct sage_kernel_args *args) {
    char function[64];
    const struct fake_cuda_launch *launch = f->cuda.launch_at(index);
    assert_non_null(launch);
    snprintf(function, sizeof function, "kernel_%s", role);
    assert_string_equal(launch->function, function);
    assert_int_equal(launch->grid[0], grid);
    assert_int_equal(launch->grid[1], 1);
    assert_int_equal(launch->grid[2], 1);
    if (args != NULL) memcpy(args, launch->args, sizeof *args);
}

/* -- Descriptions ---- */

static const struct desc_rule {
    sage_attention_desc desc;
    const char *text;
} desc_rules[] = {
#define DESC .size = sizeof(sage_attention_desc), .dtype = SAGE_FP16
    {{.size = 0, .head_dim_qk = 128}, "desc.size = 0"},
    {{.size = offsetof(sage_attention_desc, flags), .head_dim_qk = 128}, "desc.size ="},
    {{.size = 123456789, .head_dim_qk = 128}, "desc.size = 123456789"},
    {{.size = sizeof(sage_attention_desc), .dtype = (sage_dtype)2, .head_dim_qk = 128}, "desc.dtype = 2"},
    {{DESC, .head_dim_qk = 0}, "desc.head_dim_qk = 0"},
    {{DESC, .head_dim_qk = -8}, "desc.head_dim_qk = -8"},
    {{DESC, .head_dim_qk = 73}, "desc.head_dim_qk = 73 must be a multiple of 8"},
    {{DESC, .head_dim_qk = 264}, "desc.head_dim_qk = 264"},
    {{DESC, .head_dim_qk = 128, .head_dim_v = 12}, "desc.head_dim_v = 12"},
    {{DESC, .head_dim_qk = 128, .head_dim_v = 512}, "desc.head_dim_v = 512"},
    {{DESC, .head_dim_qk = 128, .mask = (sage_mask)7}, "desc.mask = 7"},
    {{DESC, .head_dim_qk = 128, .precision = (sage_precision)8}, "desc.precision = 8"},
    {{DESC, .head_dim_qk = 128, .sm_scale = -1}, "desc.sm_scale = -1"},
    {{DESC, .head_dim_qk = 128, .sm_scale = NAN}, "desc.sm_scale = "},
    {{DESC, .head_dim_qk = 128, .sm_scale = INFINITY}, "desc.sm_scale = inf"},
    {{DESC, .head_dim_qk = 128, .flags = 9}, "desc.flags = 0x9 has unknown bits 0x8"},
    {{DESC, .head_dim_qk = 128, .spec = ""}, "desc.spec = \"\""},
    {{DESC, .head_dim_qk = 128, .spec = "../secret"}, "desc.spec = \"../secret\""},
    {{DESC, .head_dim_qk = 128, .spec = "int8_fp8_d128", .precision = SAGE_FP4}, "is not of desc.precision = 4 (fp4)"},
    {{DESC, .head_dim_qk = 128, .spec = "int8_fp8acc16_d128", .precision = SAGE_INT8_FP8}, "(int8_fp8)"},
};

static void bad_descriptions_are_named(void **state) {
    struct fixture *f = *state;
    for (size_t i = 0; i < countof(desc_rules); i++) {
        char why[300] = "untouched";
        sage_attention_plan *plan = address(1);
        assert_failed(f, sage_attention_supports(f->context, &desc_rules[i].desc, why, sizeof why),
                      SAGE_ERROR_INVALID_ARGUMENT, desc_rules[i].text);
        assert_non_null(strstr(why, desc_rules[i].text));
        assert_failed(f, sage_attention_plan_create(f->context, &desc_rules[i].desc, &plan),
                      SAGE_ERROR_INVALID_ARGUMENT, desc_rules[i].text);
        assert_ptr_equal(plan, address(1));
    }
    assert_string_equal(f->kernels.asked, "");
}

static void null_pointers_are_named(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    sage_attention_plan *plan;
    char why[40];
    assert_failed(f, sage_attention_supports(f->context, NULL, NULL, 0), SAGE_ERROR_INVALID_ARGUMENT, "desc is NULL");
    assert_int_equal(sage_attention_supports(NULL, &desc, why, sizeof why), SAGE_ERROR_INVALID_ARGUMENT);
    assert_string_equal(why, "context is NULL");
    assert_failed(f, sage_attention_plan_create(f->context, NULL, &plan), SAGE_ERROR_INVALID_ARGUMENT, "desc is NULL");
    assert_failed(f, sage_attention_plan_create(f->context, &desc, NULL), SAGE_ERROR_INVALID_ARGUMENT, "out is NULL");
    assert_int_equal(sage_attention_plan_create(NULL, &desc, &plan), SAGE_ERROR_INVALID_ARGUMENT);
    assert_int_equal(sage_attention_run(NULL, NULL, NULL), SAGE_ERROR_INVALID_ARGUMENT);
    assert_int_equal(sage_attention_workspace_bytes(NULL, &usual_shape), 0);
    assert_string_equal(sage_attention_plan_describe(NULL), "");
    sage_attention_plan_destroy(NULL);
}

// A caller built against a newer header: zeros in members that are unknown here are fine, anything else is refused.
static void larger_structs_are_taken_if_the_rest_is_zero(void **state) {
    struct fixture *f = *state;
    struct {
        sage_attention_desc desc;
        uint64_t added[2];
    } newer = {.desc = usual_desc()};
    newer.desc.size = sizeof newer;
    assert_int_equal(sage_attention_supports(f->context, &newer.desc, NULL, 0), SAGE_OK);
    newer.added[1] = 1;
    assert_failed(f, sage_attention_supports(f->context, &newer.desc, NULL, 0), SAGE_ERROR_INVALID_ARGUMENT,
                  "does not know");
}

static void reasons_are_cut_to_fit(void **state) {
    struct fixture *f = *state;
    sage_attention_desc desc = usual_desc();
    char why[8] = "xxxxxxx";
    desc.head_dim_qk = 1;
    sage_attention_supports(f->context, &desc, why, 5);
    assert_string_equal(why, "desc");
    assert_int_equal(sage_attention_supports(f->context, &desc, why, 0), SAGE_ERROR_INVALID_ARGUMENT);
    assert_string_equal(why, "desc");
}

/* -- Families ---- */

static const struct family_rule {
    int sm;
    sage_precision precision;
    const char *asked, *refusal;
} family_rules[] = {
    {75, SAGE_PRECISION_AUTO, "", "needs compute capability 8.0 or newer; this GPU has 7.5"},
    {75, SAGE_FP4, "", "needs compute capability 8.0 or newer"},
    {80, SAGE_PRECISION_AUTO, "int8_fp16 ", NULL},
    {86, SAGE_PRECISION_AUTO, "int8_fp16 ", NULL},
    {89, SAGE_PRECISION_AUTO, "int8_fp8 int8_fp16 ", NULL},
    {90, SAGE_PRECISION_AUTO, "int8_fp8 int8_fp16 ", NULL},
    {120, SAGE_PRECISION_AUTO, "int8_fp8 int8_fp16 ", NULL},
    {80, SAGE_INT8_FP16, "int8_fp16 ", NULL},
    {80, SAGE_INT8_FP8, "", "int8_fp8 needs compute capability 8.9 or newer; this GPU has 8.0"},
    {89, SAGE_INT8_FP8, "int8_fp8 ", NULL},
    {89, SAGE_INT8_FP8_ACC16, "int8_fp8acc16 ", NULL},
    {90, SAGE_INT8_FP8_ACC16, "", "int8_fp8acc16 needs compute capability 8.9, or 12.0 and newer; this GPU has 9.0"},
    {121, SAGE_INT8_FP8_ACC16, "int8_fp8acc16 ", NULL},
    {90, SAGE_FP4, "", "fp4 needs compute capability 12.0 or 12.1"},
    {100, SAGE_FP4, "", "this GPU has 10.0"},
    {120, SAGE_FP4, "fp4 ", NULL},
    {121, SAGE_FP4, "fp4 ", NULL},
    {86, SAGE_FP8_FP8, "", "fp8_fp8 needs compute capability 8.9 or newer; this GPU has 8.6"},
    {90, SAGE_FP8_FP8, "fp8_fp8 ", NULL},
    {90, SAGE_FP8_FP4, "", "fp8_fp4 needs compute capability 12.0 or 12.1; this GPU has 9.0"},
    {120, SAGE_FP8_FP4, "fp8_fp4 ", NULL},
    {120, SAGE_FP4_FP8, "fp4_fp8 ", NULL},
};

static void families_follow_gpu_and_precision(void **state) {
    struct fixture *f = *state;
    for (size_t i = 0; i < countof(family_rules); i++) {
        const struct family_rule *rule = &family_rules[i];
        sage_attention_desc desc = usual_desc();
        desc.precision = rule->precision;
        open_context(f, rule->sm, 0);
        f->kernels = (struct kernels){.only_family = "none of them"};
        assert_failed(f, sage_attention_supports(f->context, &desc, NULL, 0), SAGE_ERROR_UNSUPPORTED,
                      rule->refusal != NULL ? rule->refusal : "memory holds only");
        assert_string_equal(f->kernels.asked, rule->asked);
    }
}

static void older_gpus_are_refused_by_spec_too(void **state) {
    struct fixture *f = *state;
    sage_attention_desc desc = usual_desc();
    desc.spec = "int8_fp16_d128";
    open_context(f, 75, 0);
    assert_failed(f, sage_attention_supports(f->context, &desc, NULL, 0), SAGE_ERROR_UNSUPPORTED, "8.0 or newer");
}

static void contexts_without_device_say_so(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    sage_attention_plan *plan;
    open_context(f, 90, -1);
    assert_failed(f, sage_attention_supports(f->context, &desc, NULL, 0), SAGE_ERROR_UNSUPPORTED, "no device");
    assert_failed(f, sage_attention_plan_create(f->context, &desc, &plan), SAGE_ERROR_UNSUPPORTED, "no device");
}

static void requests_carry_the_description(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = {.size = sizeof desc,
                                      .dtype = SAGE_BF16,
                                      .head_dim_qk = 192,
                                      .head_dim_v = 128,
                                      .mask = SAGE_MASK_CAUSAL,
                                      .flags = SAGE_FLAG_SAFE};
    sage_attention_plan_destroy(plan_for(f, &desc));
    assert_int_equal(f->kernels.last.io, SAGE_BF16);
    assert_int_equal(f->kernels.last.head_dim_qk, 192);
    assert_int_equal(f->kernels.last.head_dim_v, 128);
    assert_int_equal(f->kernels.last.mask, SAGE_MASK_CAUSAL);
    assert_true(f->kernels.last.safe);
    assert_int_equal(f->kernels.last.sm, 90);
}

static void a_spec_is_asked_for_by_name(void **state) {
    struct fixture *f = *state;
    sage_attention_desc desc = usual_desc();
    char name[] = "int8_fp8_d128";
    desc.spec = name;
    desc.precision = SAGE_INT8_FP8;
    sage_attention_plan *plan = plan_for(f, &desc);
    memset(name, 'x', sizeof name - 1);
    assert_string_equal(f->kernels.asked, "int8_fp8_d128 ");
    assert_string_equal(sage_attention_plan_describe(plan), "int8_fp8_d128 q128_k64_s2_w8 sm_90a");
    sage_attention_plan_destroy(plan);
}

static void the_second_family_and_the_second_provider_are_tried(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    const struct sage_provider second = {"second", &f->second, kernels_supports, kernels_get, NULL};
    assert_int_equal(context_add_provider(f->context, &second), SAGE_OK);
    f->kernels.only_family = "fp4";
    f->second.only_family = "int8_fp16";
    f->second.refuse_as_not_found = true;
    sage_attention_plan *plan = plan_for(f, &desc);
    assert_string_equal(f->kernels.asked, "int8_fp8 int8_fp16 ");
    assert_string_equal(f->second.asked, "int8_fp8 int8_fp16 ");
    assert_string_equal(sage_attention_plan_describe(plan), "int8_fp16_d128 q128_k64_s2_w8 sm_90a");
    sage_attention_plan_destroy(plan);

    f->second.only_family = "fp4";
    assert_failed(f, sage_attention_plan_create(f->context, &desc, &plan), SAGE_ERROR_NOT_FOUND,
                  "second (int8_fp16): memory holds only fp4");
    assert_non_null(strstr(sage_last_error(f->context), "memory (int8_fp8): memory holds only fp4"));
    assert_failed(f, sage_attention_supports(f->context, &desc, NULL, 0), SAGE_ERROR_UNSUPPORTED,
                  "no kernel for int8_fp8");
}

static void other_errors_end_the_search(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    const struct sage_provider second = {"second", &f->second, kernels_supports, kernels_get, NULL};
    sage_attention_plan *plan = address(1);
    assert_int_equal(context_add_provider(f->context, &second), SAGE_OK);
    f->kernels.hard_error = SAGE_ERROR_COMPILE;
    assert_failed(f, sage_attention_plan_create(f->context, &desc, &plan), SAGE_ERROR_COMPILE, "broken on purpose");
    assert_ptr_equal(plan, address(1));
    assert_int_equal(f->second.gets, 0);
}

static void no_provider_is_explained(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    sage_attention_plan *plan;
    f->context->provider_count = 0;
    assert_failed(f, sage_attention_plan_create(f->context, &desc, &plan), SAGE_ERROR_NOT_FOUND, "sage_use_generator");
}

static void supports_makes_nothing(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    char why[16] = "x";
    assert_int_equal(sage_attention_supports(f->context, &desc, why, sizeof why), SAGE_OK);
    assert_string_equal(why, "");
    assert_int_equal(f->kernels.gets, 0);
    assert_int_equal(f->cuda.counts().modules, 0);
}

/* -- Plans ---- */

static const struct plan_rule {
    struct kernels kernels;
    sage_status status;
    const char *text;
} plan_rules[] = {
    {{.drop_role = SAGE_ROLE_ATTN_FWD + 1}, SAGE_ERROR_CORRUPT, "no attn_fwd kernel"},
    {{.drop_role = SAGE_ROLE_QUANTISE_Q + 1}, SAGE_ERROR_CORRUPT, "the quantise_q kernel is missing"},
    {{.drop_role = SAGE_ROLE_QUANTISE_KV + 1}, SAGE_ERROR_CORRUPT, "the quantise_kv kernel is missing"},
    {{.smoothed = true, .drop_role = SAGE_ROLE_DELTA_S + 1}, SAGE_ERROR_CORRUPT, "the delta_s kernel is missing"},
    {{.wrong_role = SAGE_ROLE_QUANTISE_KV + 1}, SAGE_ERROR_CORRUPT, "asked for the quantise_kv kernel, got delta_s"},
    {{.wrong_geometry = SAGE_ROLE_QUANTISE_KV + 1},
     SAGE_ERROR_CORRUPT,
     "the quantise_kv kernel has k_tile_bytes = 16384, attn_fwd has 8192"},
    {{.wrong_args_bytes = SAGE_ROLE_ATTN_FWD + 1}, SAGE_ERROR_CORRUPT, "bytes of arguments"},
    {{.wrong_smem = SAGE_ROLE_ATTN_FWD + 1}, SAGE_ERROR_UNSUPPORTED, "921600 bytes of shared memory"},
    {{.wrong_cubin = SAGE_ROLE_ATTN_FWD + 1}, SAGE_ERROR_CORRUPT, "cubin"},
    {{.wrong_mask = true}, SAGE_ERROR_CORRUPT, "mask none, safe 0; got a kernel for 128 and 128, fp16, mask causal"},
    {{.smoothed = true, .wrong_chunk = true}, SAGE_ERROR_CORRUPT, "is not a whole number of tiles"},
};

static void bad_kernel_sets_are_refused(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    for (size_t i = 0; i < countof(plan_rules); i++) {
        sage_attention_plan *plan = address(1);
        f->kernels = plan_rules[i].kernels;
        assert_failed(f, sage_attention_plan_create(f->context, &desc, &plan), plan_rules[i].status,
                      plan_rules[i].text);
        assert_ptr_equal(plan, address(1));
        assert_int_equal(f->cuda.counts().modules, f->cuda.counts().unloads);
    }
}

static void plans_load_every_kernel_and_let_go(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    assert_int_equal(f->cuda.counts().modules, 4);
    sage_attention_plan_destroy(plan);
    assert_int_equal(f->cuda.counts().unloads, 4);
}

// Every allocation of plan creation fails once; nothing leaks, and the last attempt succeeds.
static void plans_survive_failing_memory(void **state) {
    struct fixture *f = *state;
    const sage_attention_desc desc = usual_desc();
    sage_attention_plan *plan = NULL;
    f->kernels.smoothed = true;
    context_error(f->context, SAGE_OK, "%s", ""); // this thread's error text exists before the count starts
    const int live = f->live;
    int failures = 0;
    while (plan == NULL && failures < 100) {
        f->fail_at = failures + 1;
        sage_status status = sage_attention_plan_create(f->context, &desc, &plan);
        f->fail_at = 0;
        if (status == SAGE_OK) break;
        assert_int_equal(status, SAGE_ERROR_OUT_OF_MEMORY);
        assert_int_equal(f->live, live);
        failures++;
    }
    assert_non_null(plan);
    assert_in_range(failures, 5, 99);
    sage_attention_plan_destroy(plan);
}

/* -- Arguments ---- */

enum { ANY_FLAGS = SAGE_FLAG_LSE | SAGE_FLAG_OVERFLOW };

static void spoil_size(sage_attention_args *a) {
    a->size--;
}
static void spoil_batch(sage_attention_args *a) {
    a->shape.batch = -1;
}
static void spoil_heads(sage_attention_args *a) {
    a->shape.heads_q = 7;
}
static void spoil_seq(sage_attention_args *a) {
    a->shape.seq_k = (int64_t)INT32_MAX - 255;
}
static void spoil_q_null(sage_attention_args *a) {
    a->q.data = NULL;
}
static void spoil_k_null(sage_attention_args *a) {
    a->k.data = NULL;
}
static void spoil_v_null(sage_attention_args *a) {
    a->v.data = NULL;
}
static void spoil_o_null(sage_attention_args *a) {
    a->o.data = NULL;
}
static void spoil_k_odd(sage_attention_args *a) {
    a->k.data = address(K_AT + 1);
}
static void spoil_v_negative(sage_attention_args *a) {
    a->v.stride_seq = -128;
}
static void spoil_q_far(sage_attention_args *a) {
    a->q.stride_batch = INT64_MAX / 2;
}
static void spoil_k_far(sage_attention_args *a) {
    a->k.stride_head = INT64_MAX;
}
static void spoil_o_batch(sage_attention_args *a) {
    a->o.stride_batch = 0;
}
static void spoil_o_head(sage_attention_args *a) {
    a->o.stride_head = 64;
}
static void spoil_o_alias_q(sage_attention_args *a) {
    a->o.data = a->q.data;
}
static void spoil_o_alias_v(sage_attention_args *a) {
    a->o.data = a->v.data;
}
static void spoil_lse_odd(sage_attention_args *a) {
    a->lse = address(0x60000002);
}
static void spoil_flags_odd(sage_attention_args *a) {
    a->overflow_flags = address(0x60000001);
}
static void spoil_workspace_null(sage_attention_args *a) {
    a->workspace = NULL;
}
static void spoil_workspace_odd(sage_attention_args *a) {
    a->workspace = address(WORKSPACE_AT + 128);
}
static void spoil_workspace_small(sage_attention_args *a) {
    a->workspace_bytes--;
}

static const struct args_rule {
    void (*spoil)(sage_attention_args *args);
    sage_status status;
    const char *text;
} args_rules[] = {
    {spoil_size, SAGE_ERROR_INVALID_ARGUMENT, "args.size ="},
    {spoil_batch, SAGE_ERROR_INVALID_ARGUMENT, "shape.batch = -1"},
    {spoil_heads, SAGE_ERROR_INVALID_ARGUMENT, "shape.heads_q = 7 is not a multiple of shape.heads_kv = 3"},
    {spoil_seq, SAGE_ERROR_INVALID_ARGUMENT, "shape.seq_k = 2147483392"},
    {spoil_q_null, SAGE_ERROR_INVALID_ARGUMENT, "args.q.data is NULL"},
    {spoil_k_null, SAGE_ERROR_INVALID_ARGUMENT, "args.k.data is NULL"},
    {spoil_v_null, SAGE_ERROR_INVALID_ARGUMENT, "args.v.data is NULL"},
    {spoil_o_null, SAGE_ERROR_INVALID_ARGUMENT, "args.o.data is NULL"},
    {spoil_k_odd, SAGE_ERROR_INVALID_ARGUMENT, "args.k.data = 0x20000001 is not a multiple of the element size"},
    {spoil_v_negative, SAGE_ERROR_INVALID_ARGUMENT, "args.v.stride_seq = -128 is negative"},
    {spoil_q_far, SAGE_ERROR_INVALID_ARGUMENT, "args.q: strides"},
    {spoil_k_far, SAGE_ERROR_INVALID_ARGUMENT, "args.k: strides"},
    {spoil_o_batch, SAGE_ERROR_INVALID_ARGUMENT, "args.o.stride_batch = 0 makes rows of 128 elements overlap"},
    {spoil_o_head, SAGE_ERROR_INVALID_ARGUMENT, "args.o.stride_head = 64"},
    {spoil_o_alias_q, SAGE_ERROR_INVALID_ARGUMENT, "args.o.data = 0x10000000 is also args.q.data"},
    {spoil_o_alias_v, SAGE_ERROR_INVALID_ARGUMENT, "is also args.v.data"},
    {spoil_lse_odd, SAGE_ERROR_INVALID_ARGUMENT, "args.lse = 0x60000002"},
    {spoil_flags_odd, SAGE_ERROR_INVALID_ARGUMENT, "args.overflow_flags = 0x60000001"},
    {spoil_workspace_null, SAGE_ERROR_WORKSPACE, "args.workspace is NULL"},
    {spoil_workspace_odd, SAGE_ERROR_WORKSPACE, "args.workspace = 0x50000080 is not a multiple of 256"},
    {spoil_workspace_small, SAGE_ERROR_WORKSPACE, "is too small; this shape needs"},
};

static void bad_arguments_are_named_and_nothing_runs(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, ANY_FLAGS);
    for (size_t i = 0; i < countof(args_rules); i++) {
        sage_attention_args args = args_for(plan, &usual_shape, 128);
        args_rules[i].spoil(&args);
        assert_failed(f, sage_attention_run(plan, &args, NULL), args_rules[i].status, args_rules[i].text);
    }
    assert_failed(f, sage_attention_run(plan, NULL, NULL), SAGE_ERROR_INVALID_ARGUMENT, "args is NULL");
    assert_int_equal(f->cuda.launch_count(), 0);
    sage_attention_plan_destroy(plan);
}

static void outputs_need_their_flags(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    sage_attention_args args = args_for(plan, &usual_shape, 128);
    args.lse = address(0x60000000);
    assert_failed(f, sage_attention_run(plan, &args, NULL), SAGE_ERROR_INVALID_ARGUMENT, "without SAGE_FLAG_LSE");
    args.lse = NULL;
    args.overflow_flags = address(0x60000000);
    assert_failed(f, sage_attention_run(plan, &args, NULL), SAGE_ERROR_INVALID_ARGUMENT, "without SAGE_FLAG_OVERFLOW");
    assert_int_equal(f->cuda.launch_count(), 0);
    sage_attention_plan_destroy(plan);
}

static void strides_may_broadcast_inputs(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    sage_attention_args args = args_for(plan, &usual_shape, 128);
    args.k.stride_batch = args.v.stride_batch = args.q.stride_head = 0;
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    const sage_attention_shape one = {1, 1, 1, 1, 1};
    args = args_for(plan, &one, 128);
    args.o = (sage_tensor){.data = address(O_AT)};
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    sage_attention_plan_destroy(plan);
}

static void too_many_blocks_are_refused_before_any_launch(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    const sage_attention_shape shapes[] = {
        {65536, 32768, 1, 1, 1}, {65536, 16384, 16384, 1, 1}, {INT32_MAX, 1, 1, 1, 1}};
    for (size_t i = 0; i < countof(shapes); i++) {
        sage_attention_args args = args_for(plan, &shapes[i], 128);
        assert_true(args.workspace_bytes > 0);
        assert_failed(f, sage_attention_run(plan, &args, NULL), SAGE_ERROR_UNSUPPORTED, "more than 2147483647 blocks");
    }
    assert_int_equal(f->cuda.launch_count(), 0);
    sage_attention_plan_destroy(plan);
}

static void workspace_bytes_of_impossible_shapes_are_0(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    const sage_attention_shape bad[] = {{-1, 1, 1, 1, 1}, {1, 3, 2, 1, 1}, {INT32_MAX, INT32_MAX, 1, 1, 1}};
    for (size_t i = 0; i < countof(bad); i++) assert_int_equal(sage_attention_workspace_bytes(plan, &bad[i]), 0);
    assert_int_equal(sage_attention_workspace_bytes(plan, NULL), 0);
    sage_attention_plan_destroy(plan);
}

/* -- Launches ---- */

// As many blocks as the GPU has SMs (the fake one: 132), and no more than there are query tiles.
static void persistent_blocks_are_one_an_sm(void **state) {
    struct fixture *f = *state;
    f->kernels.persistent = true;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    sage_attention_shape longer = usual_shape;
    longer.seq_q = 12 * 128;
    sage_attention_args args = args_for(plan, &usual_shape, 128);
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_launch(f, 2, "attn_fwd", 2 * 6 * 3, NULL);
    args = args_for(plan, &longer, 128);
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_launch(f, 3, "quantise_q", 2 * 6 * 12, NULL);
    struct sage_kernel_args a;
    assert_launch(f, 5, "attn_fwd", 132, &a);
    assert_int_equal(a.q_tile_launch, 12); // the blocks find the other tiles by it
    sage_attention_plan_destroy(plan);
}

static void a_plain_run_quantises_then_attends(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, ANY_FLAGS);
    sage_attention_args args = args_for(plan, &usual_shape, 128);
    struct sage_kernel_args a, again;
    struct workspace_layout layout;
    const struct meta meta = {.d_qk = 128,
                              .d_v = 128,
                              .tile_q = 128,
                              .tile_k = 64,
                              .q_tile_bytes = 128 * 128,
                              .k_tile_bytes = 64 * 128,
                              .v_tile_bytes = 64 * 128};
    args.lse = address(0x60000000);
    args.overflow_flags = address(0x70000000);
    assert_int_equal(sage_attention_run(plan, &args, address(0x1234)), SAGE_OK);
    assert_int_equal(f->cuda.launch_count(), 3);
    assert_launch(f, 0, "quantise_q", 2 * 6 * 3, &a);
    assert_launch(f, 1, "quantise_kv", 2 * (2 * 3 * 16), &again);
    assert_memory_equal(&a, &again, sizeof a);
    assert_launch(f, 2, "attn_fwd", 2 * 6 * 3, &again);
    assert_memory_equal(&a, &again, sizeof a);
    assert_ptr_equal(f->cuda.launch_at(0)->stream, address(0x1234));
    assert_int_equal(f->cuda.launch_at(0)->block[0], 128 + 32 * SAGE_ROLE_QUANTISE_Q);
    assert_int_equal(f->cuda.launch_at(2)->block[0], 128 + 32 * SAGE_ROLE_ATTN_FWD);
    assert_int_equal(f->cuda.launch_at(2)->smem_dynamic, 1024 * (40 + 10 * SAGE_ROLE_ATTN_FWD));

    assert_true(workspace_layout_make(&meta, &usual_shape, &layout));
    assert_int_equal(a.q, Q_AT);
    assert_int_equal(a.k, K_AT);
    assert_int_equal(a.v, V_AT);
    assert_int_equal(a.o, O_AT);
    assert_int_equal(a.lse, 0x60000000);
    assert_int_equal(a.flags, 0x70000000);
    assert_int_equal(a.q_tiles, WORKSPACE_AT);
    assert_int_equal(a.k_tiles, WORKSPACE_AT + layout.region[WORKSPACE_k_tiles].offset);
    assert_int_equal(a.v_scale, WORKSPACE_AT + layout.region[WORKSPACE_v_scale].offset);
    assert_int_equal(a.stats | a.progress | a.k_mean | a.lse_bias | a.q_mean | a.k_centred | a.delta_s, 0);
    assert_int_equal(a.q_stride_b, 6 * 300 * 128);
    assert_int_equal(a.k_stride_h, 1000 * 128);
    assert_int_equal(a.o_stride_n, 128);
    assert_int_equal(a.batch, 2);
    assert_int_equal(a.heads_q, 6);
    assert_int_equal(a.heads_kv, 3);
    assert_int_equal(a.seq_q, 300);
    assert_int_equal(a.seq_k, 1000);
    assert_int_equal(a.q_tile_count, 3);
    assert_int_equal(a.k_tile_count, 16);
    assert_int_equal(a.splits, 4);
    assert_int_equal(a.q_tile_first, 0);
    assert_int_equal(a.q_tile_launch, 3);
    assert_int_equal(a.vector_io, 15);
    assert_int_equal(a.stats_lead, 12); // all of it is less than the lead
    assert_true(fabs((double)a.sm_scale - 1 / sqrt(128)) < 1e-8);
    assert_true(a.reserved == 0);
    sage_attention_plan_destroy(plan);
}

static void a_smoothed_run_goes_in_chunks(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, SAGE_FLAG_LSE);
    const sage_attention_args args = args_for(plan, &usual_shape, 128); // 3 query tiles, 2 in a chunk
    struct sage_kernel_args a;
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_int_equal(f->cuda.launch_count(), 6);
    assert_launch(f, 0, "quantise_q", 2 * 6 * 3, &a);
    assert_true(a.stats != 0 && a.lse_bias != 0 && a.q_mean != 0 && a.k_centred != 0 && a.delta_s != 0);
    assert_int_equal(a.stats % 1024, 0);
    assert_launch(f, 1, "quantise_kv", 2 * (2 * 3 * (4 + 16)) + 2 * 6 * 3, &a); // parts, tiles; tiles of Q for LSE
    assert_int_equal(a.q_tile_launch, 3);
    static const int first[] = {0, 2}, count[] = {2, 1};
    for (int chunk = 0; chunk < 2; chunk++) {
        assert_launch(f, 2 + 2 * chunk, "delta_s", 2 * 6 * 16, &a);
        assert_int_equal(a.q_tile_first, first[chunk]);
        assert_int_equal(a.q_tile_launch, count[chunk]);
        assert_launch(f, 3 + 2 * chunk, "attn_fwd", (unsigned)(2 * 6 * count[chunk]), &a);
        assert_int_equal(a.q_tile_first, first[chunk]);
        assert_int_equal(a.q_tile_launch, count[chunk]);
    }
    sage_attention_plan_destroy(plan);
}

static void nothing_starts_early_where_forbidden(void **state) {
    struct fixture *f = *state;
    f->context->dependent_launch = false;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    const sage_attention_args args = args_for(plan, &usual_shape, 128);
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_int_equal(f->cuda.launch_count(), 6);
    for (int i = 0; i < 6; i++) assert_int_equal(f->cuda.launch_at(i)->early, 0);
    sage_attention_plan_destroy(plan);
}

// The first launch of a call is an ordinary one, which waits for earlier calls; the others may start early where
// nobody forbids it, and kernels and driver know how.
static void later_launches_may_start_early(void **state) {
    struct fixture *f = *state;
    for (int smoothed = 0; smoothed < 2; smoothed++) {
        sage_attention_plan *plan = usual_plan(f, smoothed != 0, 0);
        const sage_attention_args args = args_for(plan, &usual_shape, 128);
        const int first = f->cuda.launch_count();
        assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
        assert_int_equal(sage_attention_quantise(plan, &args, NULL), SAGE_OK);
        assert_int_equal(sage_attention_attend(plan, &args, NULL), SAGE_OK);
        static const int starts_call[][12] = {{1, 0, 0, 1, 0, 1}, {1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0}};
        for (int i = first; i < f->cuda.launch_count(); i++)
            assert_int_equal(f->cuda.launch_at(i)->early, smoothed && !starts_call[smoothed][i - first]);
        sage_attention_plan_destroy(plan);
    }
}

static void an_old_driver_starts_nothing_early(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    const sage_attention_args args = args_for(plan, &usual_shape, 128);
    struct driver *driver = &f->context->driver;
    const struct driver whole = *driver;
    driver->cuda_version = 12020; // captured graphs do not keep the attribute
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    *driver = whole;
    driver->api.launch_kernel_ex = NULL;
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    *driver = whole;
    assert_int_equal(f->cuda.launch_count(), 12);
    for (int i = 0; i < 12; i++) assert_int_equal(f->cuda.launch_at(i)->early, 0);
    sage_attention_plan_destroy(plan);
}

// The two halves launch what run launches, in the same order, and name only the tensors they touch.
static void two_steps_are_one_run(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    sage_attention_args args = args_for(plan, &usual_shape, 128);
    struct sage_kernel_args a;
    args.o.data = NULL;
    assert_int_equal(sage_attention_quantise(plan, &args, NULL), SAGE_OK);
    assert_int_equal(f->cuda.launch_count(), 2);
    assert_launch(f, 1, "quantise_kv", 2 * (2 * 3 * (4 + 16)), &a);
    assert_int_equal(a.q, Q_AT);
    assert_int_equal(a.o, 0);
    assert_int_equal(a.vector_io, 7);
    args.o.data = args.q.data; // Q may be gone by now
    args.q = args.k = args.v = (sage_tensor){0};
    assert_int_equal(sage_attention_attend(plan, &args, NULL), SAGE_OK);
    assert_int_equal(f->cuda.launch_count(), 6);
    assert_launch(f, 3, "attn_fwd", 2 * 6 * 2, &a);
    assert_int_equal(a.q | a.k | a.v, 0);
    assert_int_equal(a.o, Q_AT);
    assert_int_equal(a.q_tiles, WORKSPACE_AT);
    assert_int_equal(a.vector_io, 8);
    args.workspace_bytes--;
    assert_failed(f, sage_attention_attend(plan, &args, NULL), SAGE_ERROR_WORKSPACE, "too small");
    sage_attention_plan_destroy(plan);
}

static void no_queries_mean_no_launch(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, ANY_FLAGS);
    const sage_attention_shape shapes[] = {{0, 4, 4, 64, 64}, {3, 4, 2, 0, 64}};
    for (size_t i = 0; i < countof(shapes); i++) {
        const sage_attention_args args = {.size = sizeof args, .shape = shapes[i]};
        assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
        assert_int_equal(sage_attention_quantise(plan, &args, NULL), SAGE_OK);
        assert_int_equal(sage_attention_attend(plan, &args, NULL), SAGE_OK);
        assert_true(sage_attention_workspace_bytes(plan, &shapes[i]) > 0);
    }
    assert_int_equal(f->cuda.launch_count(), 0);
    sage_attention_plan_destroy(plan);
}

// O = 0 and LSE = -inf still have to be written.
static void no_keys_still_attend(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    const sage_attention_shape shape = {.batch = 1, .heads_q = 2, .heads_kv = 1, .seq_q = 200, .seq_k = 0};
    sage_attention_args args = args_for(plan, &shape, 128);
    struct sage_kernel_args a;
    args.k = args.v = (sage_tensor){0};
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_int_equal(f->cuda.launch_count(), 2);
    assert_launch(f, 0, "quantise_q", 2 * 2, &a);
    assert_launch(f, 1, "attn_fwd", 2 * 2, &a);
    assert_int_equal(a.k_tile_count, 0);
    assert_int_equal(a.k | a.v, 0);
    assert_int_equal(a.vector_io, 1 | 8);
    sage_attention_plan_destroy(plan);
}

static void vector_io_needs_aligned_rows(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    sage_attention_args args = args_for(plan, &usual_shape, 128);
    struct sage_kernel_args a;
    args.q.data = address(Q_AT + 8);
    args.k.stride_seq = 132;
    args.k.stride_head = 132 * 1000;
    args.v.stride_batch += 4;
    args.o.stride_head += 8;
    args.o.stride_batch += 48;
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_launch(f, 0, "quantise_q", 2 * 6 * 3, &a);
    assert_int_equal(a.vector_io, 8);
    assert_int_equal(a.k_stride_n, 132);
    sage_attention_plan_destroy(plan);
}

static void scales_and_head_dims_reach_the_kernel(void **state) {
    struct fixture *f = *state;
    sage_attention_desc desc = usual_desc();
    const sage_attention_shape shape = {1, 1, 1, 1, 1};
    struct sage_kernel_args a;
    int launches = 0;
    for (int dim = 8; dim <= 256; dim += 8, launches += 3) {
        desc.head_dim_qk = dim;
        sage_attention_plan *plan = plan_for(f, &desc);
        const sage_attention_args args = args_for(plan, &shape, dim);
        assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
        assert_launch(f, launches + 2, "attn_fwd", 1, &a);
        assert_true(a.sm_scale == (float)(1 / sqrt(dim)));
        sage_attention_plan_destroy(plan);
    }
    desc.sm_scale = 0.3f;
    sage_attention_plan *plan = plan_for(f, &desc);
    const sage_attention_args args = args_for(plan, &shape, 256);
    assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    assert_launch(f, launches + 2, "attn_fwd", 1, &a);
    assert_true(a.sm_scale == 0.3f);
    sage_attention_plan_destroy(plan);
}

static void runs_neither_allocate_nor_wait(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, true, 0);
    const sage_attention_args args = args_for(plan, &usual_shape, 128);
    const int allocations = f->allocations;
    const struct fake_cuda_counts before = f->cuda.counts();
    f->cuda.set_capturing(1);
    for (int i = 0; i < 10; i++) assert_int_equal(sage_attention_run(plan, &args, NULL), SAGE_OK);
    const struct fake_cuda_counts after = f->cuda.counts();
    assert_int_equal(f->allocations, allocations);
    assert_int_equal(after.allocations, before.allocations);
    assert_int_equal(after.synchronisations, before.synchronisations);
    assert_int_equal(after.modules, before.modules);
    assert_int_equal(after.pushes - before.pushes, 10);
    assert_int_equal(after.pops - before.pops, 10);
    assert_int_equal(f->cuda.stack_depth(), 0);
    sage_attention_plan_destroy(plan);
}

static void failing_launches_are_reported(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    const sage_attention_args args = args_for(plan, &usual_shape, 128);
    f->cuda.fail_next("cuLaunchKernel", 700);
    assert_failed(f, sage_attention_run(plan, &args, NULL), SAGE_ERROR_CUDA, "quantise");
    assert_int_equal(f->cuda.launch_count(), 0);
    f->cuda.fail_next("cuCtxPushCurrent_v2", 201);
    assert_failed(f, sage_attention_run(plan, &args, NULL), SAGE_ERROR_CUDA, "cuCtxPushCurrent");
    assert_int_equal(f->cuda.stack_depth(), 0);
    sage_attention_plan_destroy(plan);
}

/* -- Threads ---- */

enum { THREADS = 8, RUNS = 100 };

struct worker {
    const struct fixture *f;
    const sage_attention_plan *plan;
    int64_t seq_q;
    atomic_int *failures;
};

// Every thread runs its own length, good and bad arguments in turn; its error text is its own.
static void *work(void *argument) {
    const struct worker *worker = argument;
    char text[64];
    snprintf(text, sizeof text, "shape.batch = %d", (int)-worker->seq_q);
    for (int i = 0; i < RUNS; i++) {
        const sage_attention_shape shape = {1, 2, 1, worker->seq_q, 100};
        sage_attention_args args = args_for(worker->plan, &shape, 128);
        bool good = sage_attention_run(worker->plan, &args, address((uint64_t)worker->seq_q)) == SAGE_OK;
        args.shape.batch = -worker->seq_q;
        good &= sage_attention_run(worker->plan, &args, NULL) == SAGE_ERROR_INVALID_ARGUMENT;
        good &= strstr(sage_last_error(worker->f->context), text) != NULL;
        if (!good) atomic_fetch_add(worker->failures, 1);
    }
    return NULL;
}

static void many_threads_share_a_plan(void **state) {
    struct fixture *f = *state;
    sage_attention_plan *plan = usual_plan(f, false, 0);
    pthread_t thread[THREADS];
    struct worker worker[THREADS];
    atomic_int failures = 0;
    for (int i = 0; i < THREADS; i++) {
        worker[i] = (struct worker){f, plan, 100 * (i + 1), &failures};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(atomic_load(&failures), 0);
    assert_int_equal(f->cuda.launch_count(), 3 * THREADS * RUNS);
    for (int i = 0; i < f->cuda.launch_count(); i++) {
        struct sage_kernel_args a;
        memcpy(&a, f->cuda.launch_at(i)->args, sizeof a);
        assert_ptr_equal(f->cuda.launch_at(i)->stream, address((uint64_t)a.seq_q));
    }
    sage_attention_plan_destroy(plan);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(bad_descriptions_are_named),
        TEST(null_pointers_are_named),
        TEST(larger_structs_are_taken_if_the_rest_is_zero),
        TEST(reasons_are_cut_to_fit),
        TEST(families_follow_gpu_and_precision),
        TEST(older_gpus_are_refused_by_spec_too),
        TEST(contexts_without_device_say_so),
        TEST(requests_carry_the_description),
        TEST(a_spec_is_asked_for_by_name),
        TEST(the_second_family_and_the_second_provider_are_tried),
        TEST(other_errors_end_the_search),
        TEST(no_provider_is_explained),
        TEST(supports_makes_nothing),
        TEST(bad_kernel_sets_are_refused),
        TEST(plans_load_every_kernel_and_let_go),
        TEST(plans_survive_failing_memory),
        TEST(bad_arguments_are_named_and_nothing_runs),
        TEST(outputs_need_their_flags),
        TEST(strides_may_broadcast_inputs),
        TEST(too_many_blocks_are_refused_before_any_launch),
        TEST(workspace_bytes_of_impossible_shapes_are_0),
        TEST(a_plain_run_quantises_then_attends),
        TEST(persistent_blocks_are_one_an_sm),
        TEST(a_smoothed_run_goes_in_chunks),
        TEST(nothing_starts_early_where_forbidden),
        TEST(later_launches_may_start_early),
        TEST(an_old_driver_starts_nothing_early),
        TEST(two_steps_are_one_run),
        TEST(no_queries_mean_no_launch),
        TEST(no_keys_still_attend),
        TEST(vector_io_needs_aligned_rows),
        TEST(scales_and_head_dims_reach_the_kernel),
        TEST(runs_neither_allocate_nor_wait),
        TEST(failing_launches_are_reported),
        TEST(many_threads_share_a_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
