// Tests of runtime/pack, pack_provider and jit, and of gen/pack_write: which kernels answer, refusal of everything that
// is not a whole pack of this version, files that change while they are open, compilation from sources, and its cache.
// SPDX-License-Identifier: Apache-2.0
#include "pack_fixture.h"
#include "fake_cuda.h"
#include <fcntl.h>

static char directory[64], path[128];
static struct fixture_log log_lines;
static sage_context *plain; /* without packs, for memory and for pack_open */
static struct pack_fixture kernels;
static struct fake_nvrtc nvrtc;

static struct meta base(void) {
    return fixture_meta("s", "p", "c", 1);
}

static struct meta causal(void) {
    struct meta meta = base();
    strcpy(meta.mask, "causal");
    return meta;
}

static void write_pack(void) {
    pack_fixture_write(&kernels, directory, "app.sagepack");
}

static sage_status open_context(const char *const *packs, const char *cache_dir, const char *nvrtc_path,
                                sage_context **out) {
    sage_options options = {.size = sizeof options, .device = -1, .packs = packs, .nvrtc_path = nvrtc_path};
    options.cache_dir = cache_dir;
    options.memory_only = cache_dir == NULL;
    options.log = fixture_log_line;
    options.log_user = &log_lines;
    return sage_context_create(&options, out);
}

static sage_context *context_with(const char *cache_dir, const char *nvrtc_path) {
    const char *const packs[] = {path, NULL};
    sage_context *context = NULL;
    assert_int_equal(open_context(packs, cache_dir, nvrtc_path, &context), SAGE_OK);
    return context;
}

static const struct sage_kernel_request request_90 = {
    .family = "int8_fp8", .head_dim_qk = 128, .head_dim_v = 128, .io = SAGE_BF16, .mask = SAGE_MASK_NONE, .sm = 90};

static struct sage_kernel_request request_for(int sm) {
    struct sage_kernel_request request = request_90;
    request.sm = sm;
    return request;
}

// Asks providers in order, as select does.
static sage_status ask(sage_context *context, struct sage_kernel_request request, struct sage_kernel_set *set) {
    sage_status status = SAGE_ERROR_NOT_FOUND;
    for (int i = 0; i < context->provider_count && status == SAGE_ERROR_NOT_FOUND; i++) {
        const struct sage_provider *provider = &context->provider[i];
        status = provider->get(context, provider->user, &request, set);
        if (status == SAGE_OK || status == SAGE_ERROR_NOT_FOUND)
            assert_int_equal(provider->supports(context, provider->user, &request), status);
    }
    return status;
}

static void expect_attention(sage_context *context, struct sage_kernel_request request, const char *cubin) {
    struct sage_kernel_set set = {0};
    struct meta meta;
    assert_int_equal(ask(context, request, &set), SAGE_OK);
    const struct sage_kernel_blob *attention = &set.kernel[SAGE_ROLE_ATTN_FWD];
    assert_string_equal(attention->cubin, cubin);
    assert_non_null(set.kernel[SAGE_ROLE_QUANTISE_Q].cubin);
    assert_int_equal(meta_read(context, attention->meta, attention->meta_len, &meta), SAGE_OK);
    assert_int_equal(meta_check_cubin(context, &meta, attention->cubin, attention->cubin_bytes), SAGE_OK);
    kernel_set_free(context, &set);
}

static void expect_none(sage_context *context, struct sage_kernel_request request, const char *reason) {
    struct sage_kernel_set set = {0};
    assert_int_equal(ask(context, request, &set), SAGE_ERROR_NOT_FOUND);
    assert_non_null(strstr(sage_last_error(context), reason));
    assert_null(set.kernel[SAGE_ROLE_ATTN_FWD].cubin);
}

static void expect_refused(sage_status expected, const char *reason) {
    struct pack *pack = NULL;
    sage_status status = pack_open(plain, path, &pack);
    if (status != expected || !strstr(sage_last_error(plain), reason))
        print_message("status %d, %s\n", status, sage_last_error(plain));
    assert_int_equal(status, expected);
    assert_non_null(strstr(sage_last_error(plain), reason));
    assert_null(pack);
}

/* -- Cubins ---------------------------------------------------------------------------------------------------------
 */

static void kernels_are_found_by_metadata(void **state) {
    (void)state;
    pack_fixture_add_set(&kernels, base(), "sm_89", WITH_CUBIN);
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_CUBIN);
    pack_fixture_add_set(&kernels, causal(), "sm_90a", WITH_CUBIN);
    write_pack();
    sage_context *context = context_with(NULL, "/nonexistent");
    expect_attention(context, request_90, "cubin int8_fp8_d128 attn_fwd sm_90a none");
    expect_attention(context, request_for(89), "cubin int8_fp8_d128 attn_fwd sm_89 none");
    struct sage_kernel_request request = request_90;
    request.mask = SAGE_MASK_CAUSAL;
    expect_attention(context, request, "cubin int8_fp8_d128 attn_fwd sm_90a causal");
    expect_none(context, request_for(80), "for this GPU");
    request.io = SAGE_FP16;
    expect_none(context, request, "app.sagepack: no kernel int8_fp8");
    sage_context_destroy(context);
}

static void the_first_pack_wins(void **state) {
    (void)state;
    char second[160];
    struct meta other = base();
    strcpy(other.spec, "int8_fp8_mine");
    pack_fixture_add_set(&kernels, other, "sm_90a", WITH_CUBIN);
    pack_fixture_add_set(&kernels, other, "sm_89", WITH_CUBIN);
    pack_fixture_write(&kernels, directory, "second.sagepack");
    snprintf(second, sizeof second, "%s/second.sagepack", directory);
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_CUBIN);
    write_pack();
    const char *const packs[] = {path, second, NULL};
    sage_context *context = NULL;
    assert_int_equal(open_context(packs, NULL, NULL, &context), SAGE_OK);
    expect_attention(context, request_90, "cubin int8_fp8_d128 attn_fwd sm_90a none");
    expect_attention(context, request_for(89), "cubin int8_fp8_mine attn_fwd sm_89 none");
    sage_context_destroy(context);
    const char *const nine[] = {path, path, path, path, path, path, path, path, path, NULL};
    context = NULL;
    assert_int_equal(open_context(nine, NULL, NULL, &context), SAGE_ERROR_UNSUPPORTED);
    assert_non_null(strstr(sage_last_error(NULL), "at most 8"));
    assert_int_equal(open_context(nine + 1, NULL, NULL, &context), SAGE_OK);
    sage_context_destroy(context);
}

static void the_same_kernels_give_the_same_bytes(void **state) {
    (void)state;
    struct buf first = {0}, second = {0};
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_BOTH);
    pack_fixture_add_set(&kernels, base(), "sm_89", WITH_BOTH);
    pack_write(kernels.item, kernels.count, &first);
    struct pack_item swapped = kernels.item[0];
    kernels.item[0] = kernels.item[3];
    kernels.item[3] = swapped;
    pack_write(kernels.item, kernels.count, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    buf_free(&first);
    buf_free(&second);
    write_pack();
}

/* -- Refusal --------------------------------------------------------------------------------------------------------
 */

static char *read_bytes(size_t *len) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *bytes = malloc(1 << 20);
    *len = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_bytes(const char *bytes, size_t len) {
    fixture_write(directory, "app.sagepack", bytes, len);
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    size_t len;
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_BOTH);
    write_pack();
    char *bytes = read_bytes(&len);
    for (size_t cut = 0; cut < len; cut++) {
        struct pack *pack = NULL;
        write_bytes(bytes, cut);
        assert_int_equal(pack_open(plain, path, &pack), SAGE_ERROR_CORRUPT);
    }
    bytes[len] = 0;
    write_bytes(bytes, len + 1);
    expect_refused(SAGE_ERROR_CORRUPT, "its header says");
    free(bytes);
}

static void every_flipped_bit_is_refused(void **state) {
    (void)state;
    struct stat info;
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_BOTH);
    write_pack();
    int file = open(path, O_RDWR);
    assert_int_equal(fstat(file, &info), 0);
    for (off_t bit = 0; bit < 8 * info.st_size; bit++) {
        struct pack *pack = NULL;
        unsigned char byte, flipped;
        assert_int_equal(pread(file, &byte, 1, bit / 8), 1);
        flipped = (unsigned char)(byte ^ 1u << bit % 8);
        assert_int_equal(pwrite(file, &flipped, 1, bit / 8), 1);
        sage_status status = pack_open(plain, path, &pack);
        assert_true(status == SAGE_ERROR_CORRUPT || status == SAGE_ERROR_UNSUPPORTED);
        assert_int_equal(pwrite(file, &byte, 1, bit / 8), 1);
    }
    struct pack *pack = NULL;
    assert_int_equal(pack_open(plain, path, &pack), SAGE_OK);
    pack_close(plain, pack);
    close(file);
}

static void seal(char *bytes, size_t len) {
    char hash[KEY_BYTES];
    key_hash(bytes, len - PACK_TRAILER_BYTES, hash);
    memcpy(bytes + len - PACK_TRAILER_BYTES, hash, PACK_TRAILER_BYTES);
}

// A pack whose hash is right but whose numbers are not: made by a program with a fault, or on purpose.
static void no_number_is_believed(void **state) {
    (void)state;
    static const unsigned char values[] = {0, 1, 2, 39, 127, 128, 255};
    size_t len;
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_BOTH);
    write_pack();
    char *bytes = read_bytes(&len);
    for (size_t at = 0; at < PACK_HEADER_BYTES + 2 * PACK_ROW_BYTES; at++) {
        const char original = bytes[at];
        for (size_t i = 0; i < sizeof values; i++) {
            struct pack *pack = NULL;
            bytes[at] = (char)values[i];
            seal(bytes, len);
            write_bytes(bytes, len);
            sage_status status = pack_open(plain, path, &pack);
            assert_true(status == SAGE_OK || status == SAGE_ERROR_CORRUPT || status == SAGE_ERROR_UNSUPPORTED);
            for (int k = 0; status == SAGE_OK && k < pack->count; k++) {
                for (int part = PACK_PART_CUBIN; part < PACK_PART_COUNT; part++) {
                    char *data = NULL;
                    if (pack_read(plain, pack, k, (enum pack_part)part, &data) == SAGE_OK)
                        context_free(plain, data);
                    else
                        assert_null(data);
                }
            }
            if (status == SAGE_OK) pack_close(plain, pack);
        }
        bytes[at] = original;
    }
    free(bytes);
}

static void foreign_files_are_refused(void **state) {
    (void)state;
    char text[200];
    memset(text, 'x', sizeof text);
    expect_refused(SAGE_ERROR_IO, "No such file");
    write_bytes("", 0);
    expect_refused(SAGE_ERROR_CORRUPT, "no pack");
    write_bytes(text, sizeof text);
    expect_refused(SAGE_ERROR_CORRUPT, "no pack");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(SAGE_ERROR_UNSUPPORTED, "not a regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refused(SAGE_ERROR_UNSUPPORTED, "not a regular file");
    assert_int_equal(rmdir(path), 0);
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_CUBIN);
    write_pack();
    assert_int_equal(chmod(path, 0666), 0);
    expect_refused(SAGE_ERROR_UNSUPPORTED, "written by others");
    assert_int_equal(chmod(path, 0444), 0);
    struct pack *pack = NULL;
    assert_int_equal(pack_open(plain, path, &pack), SAGE_OK);
    pack_close(plain, pack);
    const char *const packs[] = {"/nonexistent/app.sagepack", NULL};
    sage_context *context = NULL;
    assert_int_equal(open_context(packs, NULL, NULL, &context), SAGE_ERROR_IO);
    assert_non_null(strstr(sage_last_error(NULL), "/nonexistent/app.sagepack"));
    assert_null(context);
}

static void other_versions_are_refused(void **state) {
    (void)state;
    size_t len;
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_CUBIN);
    write_pack();
    char *bytes = read_bytes(&len);
    bytes[PACK_HEADER_VERSION] = 2;
    seal(bytes, len);
    write_bytes(bytes, len);
    expect_refused(SAGE_ERROR_UNSUPPORTED, "format 2");
    free(bytes);
    struct meta other = base();
    other.args_bytes += 8;
    pack_fixture_add_set(&kernels, other, "sm_90a", WITH_CUBIN);
    write_pack();
    expect_refused(SAGE_ERROR_UNSUPPORTED, "bytes of arguments");
}

static void a_file_that_changes_while_it_is_open(void **state) {
    (void)state;
    struct pack *pack = NULL;
    char *data = NULL, byte = '!';
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_BOTH);
    write_pack();
    assert_int_equal(pack_open(plain, path, &pack), SAGE_OK);
    int file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, &byte, 1, (off_t)pack->kernel[0].offset[PACK_PART_CUBIN]), 1);
    assert_int_equal(pack_read(plain, pack, 0, PACK_PART_CUBIN, &data), SAGE_ERROR_CORRUPT);
    assert_int_equal(pack_read(plain, pack, 0, PACK_PART_SOURCE, &data), SAGE_OK);
    context_free(plain, data);
    data = NULL;
    assert_int_equal(ftruncate(file, 100), 0);
    assert_int_equal(pack_read(plain, pack, 1, PACK_PART_CUBIN, &data), SAGE_ERROR_CORRUPT);
    assert_non_null(strstr(sage_last_error(plain), "shorter"));
    assert_null(data);
    close(file);
    pack_close(plain, pack);
}

/* -- Sources --------------------------------------------------------------------------------------------------------
 */

static void expect_compiled(sage_context *context, int sm, const char *text_target, const char *target) {
    struct meta meta = base();
    char option[64], source[256], cubin[400];
    strcpy(meta.target, text_target);
    pack_fixture_source(&meta, source);
    snprintf(option, sizeof option, "--gpu-architecture=%s", target);
    snprintf(cubin, sizeof cubin, FAKE_NVRTC_CUBIN_FORMAT, option, source);
    expect_attention(context, request_for(sm), cubin);
}

static void sources_are_compiled_for_gpus_without_a_cubin(void **state) {
    (void)state;
    char cache[128];
    snprintf(cache, sizeof cache, "%s/cache", directory);
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_BOTH);
    pack_fixture_add_set(&kernels, base(), "sm_80", WITH_SOURCE);
    pack_fixture_add_set(&kernels, base(), "sm_89", WITH_SOURCE);
    pack_fixture_add_set(&kernels, base(), "sm_120a", WITH_SOURCE);
    write_pack();
    const int before = nvrtc.compiles();
    sage_context *context = context_with(cache, FAKE_NVRTC_PATH);
    expect_attention(context, request_90, "cubin int8_fp8_d128 attn_fwd sm_90a none");
    assert_int_equal(nvrtc.compiles(), before);
    expect_compiled(context, 120, "sm_120a", "sm_120a");
    assert_int_equal(nvrtc.compiles(), before + 3);
    expect_compiled(context, 86, "sm_80", "sm_80");
    expect_compiled(context, 100, "sm_89", "sm_100"); // newer than every text: the newest for any GPU
    assert_int_equal(nvrtc.compiles(), before + 9);
    expect_none(context, request_for(75), "for this GPU");
    sage_context_destroy(context);
    context = context_with(cache, FAKE_NVRTC_PATH);
    expect_compiled(context, 120, "sm_120a", "sm_120a");
    expect_compiled(context, 100, "sm_89", "sm_100");
    assert_int_equal(nvrtc.compiles(), before + 9); // all from the cache
    sage_context_destroy(context);
    context = context_with(NULL, FAKE_NVRTC_PATH); // no writable disk: in memory
    expect_compiled(context, 120, "sm_120a", "sm_120a");
    expect_compiled(context, 120, "sm_120a", "sm_120a");
    assert_int_equal(nvrtc.compiles(), before + 12);
    sage_context_destroy(context);
}

static void without_nvrtc_the_reason_says_so(void **state) {
    (void)state;
    pack_fixture_add_set(&kernels, base(), "sm_90a", WITH_CUBIN);
    pack_fixture_add_set(&kernels, base(), "sm_120a", WITH_SOURCE);
    write_pack();
    sage_context *context = context_with(NULL, "/nonexistent/libnvrtc.so");
    expect_none(context, request_for(120), "has sources alone for sm_120: no usable NVRTC library (set SAGE_NVRTC");
    expect_attention(context, request_90, "cubin int8_fp8_d128 attn_fwd sm_90a none");
    sage_context_destroy(context);
}

static void failures_of_the_compiler_are_told(void **state) {
    (void)state;
    struct sage_kernel_set set = {0};
    pack_fixture_add_set(&kernels, base(), "sm_120a", WITH_SOURCE);
    write_pack();
    sage_context *context = context_with(NULL, FAKE_NVRTC_PATH);
    nvrtc.fail_from(nvrtc.compiles() + 1); // not the first
    assert_int_equal(ask(context, request_for(120), &set), SAGE_ERROR_OUT_OF_MEMORY);
    assert_null(set.kernel[SAGE_ROLE_ATTN_FWD].cubin);
    nvrtc.fail_from(-1);
    expect_compiled(context, 120, "sm_120a", "sm_120a");
    sage_context_destroy(context);
    pack_fixture_add_set(&kernels, base(), "sm_89", WITH_SOURCE);
    write_pack();
    context = context_with(NULL, FAKE_NVRTC_PATH);
    assert_int_equal(ask(context, request_for(130), &set), SAGE_ERROR_UNSUPPORTED); // the stand-in is older than that
    assert_non_null(strstr(sage_last_error(context), "NVRTC 13.0 does not know sm_130; install a newer one"));
    sage_context_destroy(context);
}

static void a_plan_comes_from_sources_alone(void **state) {
    (void)state;
    const char *const packs[] = {path, NULL};
    struct fake_cuda cuda = fake_cuda_open(FAKE_CUDA_PATH);
    pack_fixture_add_set(&kernels, base(), "sm_80", WITH_SOURCE);
    write_pack();
    cuda.set_sm(103);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    sage_options options = {.size = sizeof options, .packs = packs, .memory_only = 1, .nvrtc_path = FAKE_NVRTC_PATH};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .spec = "int8_fp8_d128"};
    sage_attention_plan *plan = NULL;
    assert_int_equal(sage_attention_supports(context, &desc, NULL, 0), SAGE_OK);
    assert_int_equal(sage_attention_plan_create(context, &desc, &plan), SAGE_OK);
    assert_string_equal(sage_attention_plan_describe(plan), "int8_fp8_d128 q128_k64_s2_w8 sm_103");
    sage_attention_plan_destroy(plan);
    sage_context_destroy(context);
    unsetenv("SAGE_DRIVER");
}

static int make(void **state) {
    (void)state;
    fixture_directory(directory);
    snprintf(path, sizeof path, "%s/app.sagepack", directory);
    memset(&log_lines, 0, sizeof log_lines);
    memset(&kernels, 0, sizeof kernels);
    plain = fixture_context(NULL, NULL);
    kernels.context = plain;
    nvrtc = fake_nvrtc_open(FAKE_NVRTC_PATH);
    return nvrtc.library ? 0 : -1;
}

static int destroy(void **state) {
    (void)state;
    sage_context_destroy(plain);
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(kernels_are_found_by_metadata),
        TEST(the_first_pack_wins),
        TEST(the_same_kernels_give_the_same_bytes),
        TEST(every_truncation_is_refused),
        TEST(every_flipped_bit_is_refused),
        TEST(no_number_is_believed),
        TEST(foreign_files_are_refused),
        TEST(other_versions_are_refused),
        TEST(a_file_that_changes_while_it_is_open),
        TEST(sources_are_compiled_for_gpus_without_a_cubin),
        TEST(without_nvrtc_the_reason_says_so),
        TEST(failures_of_the_compiler_are_told),
        TEST(a_plan_comes_from_sources_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
