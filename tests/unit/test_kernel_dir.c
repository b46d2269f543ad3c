// Tests of runtime/kernel_dir: which kernels answer which request, incomplete and damaged directories.
// SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

static char directory[64];
static sage_context *context;
static struct fixture_log log_lines;

// Writes one kernel under a name that says nothing; its cubin holds role and target.
static void add(const char *file, const char *role, const char *target, struct meta meta) {
    char cubin[64], name[80], *text = NULL;
    size_t len = 0;
    int cubin_bytes = snprintf(cubin, sizeof cubin, "%s %s %s", role, target, meta.mask);
    snprintf(meta.role, sizeof meta.role, "%s", role);
    snprintf(meta.target, sizeof meta.target, "%s", target);
    meta_set_files(&meta, "s", 1, "p", 1, cubin, (size_t)cubin_bytes);
    assert_int_equal(meta_write(context, &meta, &text, &len), SAGE_OK);
    snprintf(name, sizeof name, "%s.meta", file);
    fixture_write(directory, name, text, len);
    snprintf(name, sizeof name, "%s.cubin", file);
    fixture_write(directory, name, cubin, (size_t)cubin_bytes);
    context_free(context, text);
}

static struct meta base(void) {
    return fixture_meta("s", "p", "c", 1);
}

static const struct sage_kernel_request request_90 = {
    .family = "int8_fp8", .head_dim_qk = 128, .head_dim_v = 128, .io = SAGE_BF16, .mask = SAGE_MASK_NONE, .sm = 90};

static const struct sage_provider *provider(void) {
    assert_int_equal(context->provider_count, 1);
    return &context->provider[0];
}

static sage_status ask(struct sage_kernel_request request, struct sage_kernel_set *set) {
    sage_status status = provider()->get(context, provider()->user, &request, set);
    sage_status supports = provider()->supports(context, provider()->user, &request);
    if (status != SAGE_ERROR_CORRUPT) assert_int_equal(status, supports);
    return status;
}

static void add_quantisers(const char *name, const char *target, struct meta meta) {
    char other[16];
    snprintf(other, sizeof other, "%sk", name);
    add(name, "quantise_q", target, meta);
    add(other, "quantise_kv", target, meta);
}

static void expect_none(struct sage_kernel_request request, const char *reason) {
    struct sage_kernel_set set = {0};
    assert_int_equal(ask(request, &set), SAGE_ERROR_NOT_FOUND);
    assert_non_null(strstr(sage_last_error(context), reason));
    assert_null(set.kernel[SAGE_ROLE_ATTN_FWD].cubin);
}

static void expect_attention(struct sage_kernel_request request, const char *cubin) {
    struct sage_kernel_set set = {0};
    assert_int_equal(ask(request, &set), SAGE_OK);
    assert_string_equal(set.kernel[SAGE_ROLE_ATTN_FWD].cubin, cubin);
    assert_non_null(set.kernel[SAGE_ROLE_QUANTISE_KV].cubin);
    kernel_set_free(context, &set);
}

static void matches_by_metadata(void **state) {
    (void)state;
    struct meta meta = base();
    add("a", "attn_fwd", "sm_90a", meta);
    expect_none(request_90, "lacks its quantise_q kernel");
    add("b", "quantise_q", "sm_90a", meta);
    expect_none(request_90, "lacks its quantise_kv kernel");
    add("bk", "quantise_kv", "sm_90a", meta);
    expect_attention(request_90, "attn_fwd sm_90a none");
    struct sage_kernel_request request = request_90;
    request.spec = "int8_fp8_d128";
    request.family = NULL;
    expect_attention(request, "attn_fwd sm_90a none");
    request.spec = "int8_fp8_d64";
    expect_none(request, "int8_fp8_d64");
    request = request_90;
    request.mask = SAGE_MASK_CAUSAL;
    expect_none(request, "causal");
    strcpy(meta.mask, "causal");
    add("c", "attn_fwd", "sm_90a", meta);
    expect_attention(request, "attn_fwd sm_90a causal");
    request = request_90;
    request.io = SAGE_FP16;
    expect_none(request, "fp16");
    request = request_90;
    request.safe = true;
    expect_none(request, "safe");
    request = request_90;
    request.head_dim_v = 64;
    expect_none(request, "128 and 64");
    request = request_90;
    request.family = "fp4";
    expect_none(request, "fp4");
    request = request_90;
    request.family = NULL;
    expect_none(request, "(no name)");
}

static void the_best_target_wins(void **state) {
    (void)state;
    struct meta meta = base();
    const char *const targets[] = {"sm_80", "sm_86", "sm_120a", "sm_120f"};
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "q%d", i);
        add_quantisers(name, targets[i], meta);
        snprintf(name, sizeof name, "a%d", i);
        add(name, "attn_fwd", targets[i], meta);
    }
    const struct {
        int sm;
        const char *cubin;
    } rows[] = {{80, "attn_fwd sm_80 none"},
                {86, "attn_fwd sm_86 none"},
                {89, "attn_fwd sm_86 none"},
                {120, "attn_fwd sm_120a none"},
                {121, "attn_fwd sm_120f none"}};
    struct sage_kernel_request request = request_90;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        request.sm = rows[i].sm;
        expect_attention(request, rows[i].cubin);
    }
    expect_none(request_90, "for this GPU");
    add_quantisers("q9", "sm_89", meta);
    add("a9", "attn_fwd", "sm_89", (strcpy(meta.variant, "other"), meta)); // its quantisers are of another variant
    request.sm = 89;
    expect_attention(request, "attn_fwd sm_86 none");
}

static void safe_kernels_lie_beside_plain_ones(void **state) {
    (void)state;
    struct meta plain = base(), safe = base();
    struct sage_kernel_request safe_90 = request_90, by_name = request_90, safe_by_name;
    safe_90.safe = true;
    by_name.spec = "int8_fp8_d128";
    safe_by_name = by_name;
    safe_by_name.safe = true;
    safe.safe = 1;
    strcpy(safe.spec_hash, "fedcba9876543210");
    // told apart in the cubins below by the target
    add("1a", "attn_fwd", "sm_120a", safe);
    add_quantisers("1q", "sm_120a", safe);
    safe_90.sm = safe_by_name.sm = by_name.sm = 120;
    expect_attention(safe_90, "attn_fwd sm_120a none");
    expect_attention(safe_by_name, "attn_fwd sm_120a none");
    expect_attention(by_name, "attn_fwd sm_120a none"); // safer than asked for: it is all that there is of this name
    struct sage_kernel_request family = request_90;
    family.sm = 120;
    expect_none(family, "int8_fp8");
    add("2a", "attn_fwd", "sm_120", plain);
    expect_attention(by_name, "attn_fwd sm_120a none"); // the plain set is not whole
    add_quantisers("2q", "sm_120", plain);
    expect_attention(by_name, "attn_fwd sm_120 none"); // as asked for, before what suits the GPU better
    expect_attention(family, "attn_fwd sm_120 none");
    expect_attention(safe_90, "attn_fwd sm_120a none");
    expect_attention(safe_by_name, "attn_fwd sm_120a none");
}

static void sets_are_complete_and_of_one_piece(void **state) {
    (void)state;
    struct meta meta = base();
    meta.stats_width = 4;
    meta.q_group = 64;
    meta.delta_groups = 2;
    add("a", "attn_fwd", "sm_90a", meta);
    add("k", "quantise_kv", "sm_90a", meta);
    expect_none(request_90, "lacks its quantise_q kernel");
    add("q", "quantise_q", "sm_90a", meta);
    expect_none(request_90, "lacks its delta_s kernel");
    struct meta other = meta;
    strcpy(other.spec_hash, "fedcba9876543210");
    add("d", "delta_s", "sm_90a", other);
    expect_none(request_90, "lacks its delta_s kernel");
    add("d", "delta_s", "sm_90a", meta);
    struct sage_kernel_set set = {0};
    assert_int_equal(ask(request_90, &set), SAGE_OK);
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        struct meta read;
        assert_int_equal(meta_read(context, set.kernel[role].meta, set.kernel[role].meta_len, &read), SAGE_OK);
        assert_string_equal(read.role, sage_role_text((enum sage_role)role));
        assert_int_equal(meta_check_cubin(context, &read, set.kernel[role].cubin, set.kernel[role].cubin_bytes),
                         SAGE_OK);
    }
    kernel_set_free(context, &set);
}

static void damage_is_found(void **state) {
    (void)state;
    struct sage_kernel_set set = {0};
    add("a", "attn_fwd", "sm_90a", base());
    add("q", "quantise_q", "sm_90a", base());
    add("k", "quantise_kv", "sm_90a", base());
    fixture_write(directory, "b.meta", "meta_version: 1\nrole: attn", 26); // unrelated damage: ignored, and said
    fixture_write(directory, "c.txt", "x", 1);
    expect_attention(request_90, "attn_fwd sm_90a none");
    assert_true(log_lines.count > 0);
    fixture_write(directory, "q.cubin", "quantise_q sm_90a nonE", 22);
    assert_int_equal(ask(request_90, &set), SAGE_ERROR_CORRUPT);
    fixture_write(directory, "q.cubin", "quantise_q", 10);
    assert_int_equal(ask(request_90, &set), SAGE_ERROR_CORRUPT);
    char path[128];
    snprintf(path, sizeof path, "%s/q.cubin", directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ask(request_90, &set), SAGE_ERROR_CORRUPT);
    snprintf(path, sizeof path, "%s/q.meta", directory);
    assert_int_equal(unlink(path), 0);
    expect_none(request_90, "damaged: b.meta");
    assert_null(set.kernel[SAGE_ROLE_ATTN_FWD].meta);
}

static void directories_are_checked(void **state) {
    (void)state;
    sage_options options = {
        .size = sizeof options, .device = -1, .memory_only = 1, .kernel_dir = "/nonexistent/kernels"};
    sage_context *made = NULL;
    assert_int_equal(sage_context_create(&options, &made), SAGE_ERROR_IO);
    assert_non_null(strstr(sage_last_error(NULL), "/nonexistent/kernels"));
    options.kernel_dir = directory;
    assert_int_equal(chmod(directory, 0777), 0);
    assert_int_equal(sage_context_create(&options, &made), SAGE_ERROR_UNSUPPORTED);
    options.trust_shared_cache = 1;
    assert_int_equal(sage_context_create(&options, &made), SAGE_OK);
    sage_context_destroy(made);
    assert_int_equal(chmod(directory, 0775), 0);
    options.trust_shared_cache = 0;
    assert_int_equal(sage_context_create(&options, &made), SAGE_OK);
    sage_context_destroy(made);
}

static int make(void **state) {
    (void)state;
    fixture_directory(directory);
    memset(&log_lines, 0, sizeof log_lines);
    sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1, .kernel_dir = directory};
    options.log = fixture_log_line;
    options.log_user = &log_lines;
    return sage_context_create(&options, &context) == SAGE_OK ? 0 : -1;
}

static int destroy(void **state) {
    (void)state;
    sage_context_destroy(context);
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(matches_by_metadata),
        TEST(the_best_target_wins),
        TEST(safe_kernels_lie_beside_plain_ones),
        TEST(sets_are_complete_and_of_one_piece),
        TEST(damage_is_found),
        TEST(directories_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
