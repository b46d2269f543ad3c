// Tests of the generator as a provider: which spec, target and mode answers which request, with what reason it refuses,
// and, where there is NVRTC, whole kernel sets.
// SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "fake_cuda.h"
#include "kernel_set.h"
#include "nvrtc.h"

/* -- Fixture ------------------------------------------------------------------ */

static sage_context *open_generator(void) {
    sage_context *context = fixture_context(NULL, NULL);
    assert_int_equal(sage_use_generator(context), SAGE_OK);
    assert_int_equal(context->provider_count, 1);
    return context;
}

static const struct sage_kernel_request int8_d64 = {
    .family = "int8_fp16", .head_dim_qk = 64, .head_dim_v = 64, .io = SAGE_BF16, .mask = SAGE_MASK_NONE, .sm = 80};

static bool have_nvrtc(sage_context *context) {
    struct nvrtc_info info;
    return nvrtc_find(context, &info) == SAGE_OK;
}

// Without NVRTC a request that could be answered is NOT_FOUND, for want of it.
static void expect_supported(struct sage_kernel_request request) {
    sage_context *context = open_generator();
    const struct sage_provider *p = &context->provider[0];
    const sage_status expected = have_nvrtc(context) ? SAGE_OK : SAGE_ERROR_NOT_FOUND;
    const sage_status status = p->supports(context, p->user, &request);
    if (status != expected) print_message("%s\n", sage_last_error(context));
    assert_int_equal(status, expected);
    if (expected != SAGE_OK) assert_non_null(strstr(sage_last_error(context), "NVRTC"));
    sage_context_destroy(context);
}

static void expect_refused(struct sage_kernel_request request, sage_status expected, const char *reason) {
    sage_context *context = open_generator();
    const struct sage_provider *p = &context->provider[0];
    struct sage_kernel_set set;
    assert_int_equal(p->supports(context, p->user, &request), expected);
    if (!strstr(sage_last_error(context), reason)) print_message("got: %s\n", sage_last_error(context));
    assert_non_null(strstr(sage_last_error(context), reason));
    assert_int_equal(p->get(context, p->user, &request, &set), expected);
    sage_context_destroy(context);
}

/* -- Requests ------------------------------------------------------------------ */

static void test_null_and_second_registration(void **state) {
    (void)state;
    assert_int_equal(sage_use_generator(NULL), SAGE_ERROR_INVALID_ARGUMENT);
    sage_context *context = open_generator();
    assert_int_equal(sage_use_generator(context), SAGE_OK);
    assert_int_equal(context->provider_count, 1);
    sage_context_destroy(context);
}

static void test_shipped_and_derived_head_dims(void **state) {
    (void)state;
    struct sage_kernel_request request = int8_d64;
    expect_supported(request);
    request.head_dim_qk = request.head_dim_v = 48; // not shipped: from d64
    expect_supported(request);
    request.head_dim_qk = 128;
    request.head_dim_v = 64;
    expect_supported(request);
    request.head_dim_qk = 64;
    request.head_dim_v = 128;
    expect_supported(request);
    request.safe = true;
    expect_supported(request);
}

static void test_spec_by_name(void **state) {
    (void)state;
    struct sage_kernel_request request = int8_d64;
    request.spec = "int8_fp16_d64";
    expect_supported(request);
    request.head_dim_qk = 128;
    expect_refused(request, SAGE_ERROR_UNSUPPORTED, "has head dims 64 and 64, not 128 and 64");
    request.spec = "int8_fp16_d65";
    expect_refused(request, SAGE_ERROR_NOT_FOUND, "no spec named int8_fp16_d65");
}

static void test_refusals_say_why(void **state) {
    (void)state;
    struct sage_kernel_request request = int8_d64;
    request.family = "int2";
    expect_refused(request, SAGE_ERROR_NOT_FOUND, "no spec of the family int2");
    request.family = "int8"; // a beginning of a family's name is no family
    expect_refused(request, SAGE_ERROR_NOT_FOUND, "no spec of the family int8");
    request.family = "fp8_fp4";
    request.sm = 120;
    request.head_dim_qk = 256;
    expect_refused(request, SAGE_ERROR_UNSUPPORTED, "fp8_fp4 reaches head dim 128, not 256");
    request = int8_d64;
    request.sm = 130;
    expect_refused(request, SAGE_ERROR_UNSUPPORTED, "none of them runs on sm_130");
    request.sm = 75;
    expect_refused(request, SAGE_ERROR_UNSUPPORTED, "none of them runs on sm_75");
}

static void test_target_of_the_same_major_version(void **state) {
    (void)state;
    struct sage_kernel_request request = int8_d64;
    static const int gpus[] = {80, 86, 87, 89, 90, 120};
    for (size_t i = 0; i < sizeof gpus / sizeof gpus[0]; i++) {
        request.sm = gpus[i];
        expect_supported(request);
    }
}

// Of a spec of the user's own, which is the same code: what it does not list, and that a refusal leaves the set alone.
static void test_specs_that_lack_what_is_asked_for(void **state) {
    (void)state;
    static const char text[] = "kernel: attention_forward\nname: own\nhead_dim: 64\nio: [fp16]\nmask: [none]\n"
                               "qk: {format: int8}\npv: {p: fp16, v: fp16}\ntargets: [sm_80, sm_86]\n";
    static const struct {
        sage_dtype io;
        sage_mask mask;
        int head_dim_v, sm;
        const char *reason; /* NULL: it is supported */
    } rows[] = {{SAGE_FP16, SAGE_MASK_NONE, 64, 89, NULL},
                {SAGE_BF16, SAGE_MASK_NONE, 64, 89, "own has no bf16 kernels"},
                {SAGE_FP16, SAGE_MASK_CAUSAL, 64, 89, "own has no kernels for mask causal"},
                {SAGE_FP16, SAGE_MASK_NONE, 32, 89, "own has head dims 64 and 64, not 64 and 32"},
                {SAGE_FP16, SAGE_MASK_NONE, 64, 90, "own is made for sm_80, sm_86; none of them runs on sm_90"}};
    struct spec spec;
    struct diag d = {0};
    assert_true(spec_parse(&spec, "own.yaml", text, sizeof text - 1, &d));
    sage_context *context = fixture_context(NULL, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct sage_kernel_request request = {.spec = "own",
                                                    .head_dim_qk = 64,
                                                    .head_dim_v = rows[i].head_dim_v,
                                                    .io = rows[i].io,
                                                    .mask = rows[i].mask,
                                                    .safe = i % 2 == 0,
                                                    .sm = rows[i].sm};
        const sage_status expected = rows[i].reason ? SAGE_ERROR_UNSUPPORTED : SAGE_OK;
        assert_int_equal(kernel_set_check(context, &spec, &request), expected);
        if (!rows[i].reason) continue;
        assert_string_equal(sage_last_error(context), rows[i].reason);
        struct sage_kernel_set set, before;
        memset(&set, 0x5a, sizeof set);
        before = set;
        assert_int_equal(kernel_set_make(context, &(struct kernel_source){.spec = &spec}, &request, &set), expected);
        assert_memory_equal(&set, &before, sizeof set);
    }
    sage_context_destroy(context);
    spec_free(&spec);
    diag_free(&d);
}

/* -- Kernels -------------------------------------------------------------------- */

static void need_nvrtc(sage_context *context) {
    if (have_nvrtc(context)) return;
    print_message("skipped: %s\n", sage_last_error(context));
    sage_context_destroy(context);
    skip();
}

static void get_set(struct sage_kernel_request request, const char *spec, const char *target, bool safe) {
    sage_context *context = open_generator();
    need_nvrtc(context);
    const struct sage_provider *p = &context->provider[0];
    struct sage_kernel_set set = {0};
    assert_int_equal(p->get(context, p->user, &request, &set), SAGE_OK);
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        const struct sage_kernel_blob *blob = &set.kernel[role];
        struct meta meta;
        if (!blob->cubin) continue;
        assert_int_equal(meta_read(context, blob->meta, blob->meta_len, &meta), SAGE_OK);
        assert_int_equal(meta_check_cubin(context, &meta, blob->cubin, blob->cubin_bytes), SAGE_OK);
        assert_int_equal(meta_role(&meta), role);
        assert_string_equal(meta.spec, spec);
        assert_string_equal(meta.target, target);
        assert_int_equal(meta.safe, safe);
        assert_int_equal(meta.head_dim_qk, request.head_dim_qk);
        assert_int_equal(meta.head_dim_v, request.head_dim_v);
    }
    assert_non_null(set.kernel[SAGE_ROLE_QUANTISE_KV].cubin);
    assert_non_null(set.kernel[SAGE_ROLE_ATTN_FWD].cubin);
    assert_null(set.kernel[SAGE_ROLE_DELTA_S].cubin); // int8 specs do not smooth Q
    kernel_set_free(context, &set);
    sage_context_destroy(context);
}

static void test_whole_set_of_a_shipped_spec(void **state) {
    (void)state;
    struct sage_kernel_request request = int8_d64;
    request.sm = 87; // sm_86's code runs there
    get_set(request, "int8_fp16_d64", "sm_86", false);
}

static void test_whole_set_of_a_derived_safe_spec(void **state) {
    (void)state;
    struct sage_kernel_request request = int8_d64;
    request.head_dim_qk = 64;
    request.head_dim_v = 32;
    request.safe = true;
    get_set(request, "int8_fp16_d64x32", "sm_80", true);
}

/* -- Plans ----------------------------------------------------------------------- */

static void expect_plan(sage_context *context, unsigned flags, const char *describe) {
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .spec = "int8_fp8_d128", .flags = flags};
    sage_attention_plan *plan = NULL;
    sage_status status = sage_attention_plan_create(context, &desc, &plan);
    if (status != SAGE_OK) print_message("%s\n", sage_last_error(context));
    assert_int_equal(status, SAGE_OK);
    assert_non_null(strstr(sage_attention_plan_describe(plan), describe));
    assert_int_equal(strstr(sage_attention_plan_describe(plan), " safe") != NULL, (flags & SAGE_FLAG_SAFE) != 0);
    sage_attention_plan_destroy(plan);
}

// Both are of one name: neither the index nor the cache may give one for the other, whichever was made first.
static void test_safe_and_plain_plans_of_one_spec(void **state) {
    (void)state;
    struct fake_cuda fake = fake_cuda_open(FAKE_CUDA_PATH);
    assert_non_null(fake.library);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    const sage_options options = {.size = sizeof options, .memory_only = 1};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    unsetenv("SAGE_DRIVER");
    assert_int_equal(sage_use_generator(context), SAGE_OK);
    need_nvrtc(context);
    static const unsigned flags[] = {SAGE_FLAG_SAFE, 0, SAGE_FLAG_SAFE, 0};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) expect_plan(context, flags[i], "int8_fp8_d128 q");
    sage_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_and_second_registration),
        cmocka_unit_test(test_shipped_and_derived_head_dims),
        cmocka_unit_test(test_spec_by_name),
        cmocka_unit_test(test_refusals_say_why),
        cmocka_unit_test(test_target_of_the_same_major_version),
        cmocka_unit_test(test_specs_that_lack_what_is_asked_for),
        cmocka_unit_test(test_whole_set_of_a_shipped_spec),
        cmocka_unit_test(test_whole_set_of_a_derived_safe_spec),
        cmocka_unit_test(test_safe_and_plain_plans_of_one_spec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
