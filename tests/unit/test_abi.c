// test_abi: structs of older and newer versions than this one: an application built against the previous header, and
// sizes on both sides of today's. SPDX-License-Identifier: Apache-2.0
#include "pack_fixture.h"
#include "fake_cuda.h"
#include <sys/wait.h>

static char directory[64];

static void write_kernels(void) {
    static struct pack_fixture kernels;
    kernels.context = fixture_context(NULL, NULL);
    pack_fixture_add_set(&kernels, fixture_meta("s", "p", "c", 1), "sm_90a", WITH_CUBIN);
    for (int i = 0; i < kernels.count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.meta", i);
        fixture_write(directory, name, kernels.item[i].meta.data, kernels.item[i].meta.bytes);
        snprintf(name, sizeof name, "%d.cubin", i);
        fixture_write(directory, name, kernels.item[i].cubin.data, kernels.item[i].cubin.bytes);
    }
    pack_fixture_write(&kernels, directory, "unused.sagepack"); // frees them
    sage_context_destroy(kernels.context);
}

static void an_application_of_the_previous_version_runs(void **state) {
    (void)state;
    char command[512];
#ifdef __SANITIZE_THREAD__
    skip(); // a libsage.so of ThreadSanitizer needs an application of its
#endif
    write_kernels();
    snprintf(command, sizeof command, "%s %s %s", APP_0_1_PATH, directory, FAKE_CUDA_PATH);
    int status = system(command);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

// What a caller of a later version sets, and this library does not know, is refused; what it leaves zero is not.
static void structs_may_grow(void **state) {
    (void)state;
    struct {
        sage_options known;
        int later;
    } options = {.known = {.size = sizeof options, .device = -1, .memory_only = 1}};
    struct {
        sage_attention_desc known;
        int later;
    } desc = {.known = {.size = sizeof desc, .head_dim_qk = 128}};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options.known, &context), SAGE_OK);
    assert_int_equal(sage_attention_supports(context, &desc.known, NULL, 0), SAGE_ERROR_UNSUPPORTED); // no device
    desc.later = 1;
    assert_int_equal(sage_attention_supports(context, &desc.known, NULL, 0), SAGE_ERROR_INVALID_ARGUMENT);
    desc.known.size = sizeof(size_t);
    assert_int_equal(sage_attention_supports(context, &desc.known, NULL, 0), SAGE_ERROR_INVALID_ARGUMENT);
    sage_context_destroy(context);
    options.later = 1;
    assert_int_equal(sage_context_create(&options.known, &context), SAGE_ERROR_INVALID_ARGUMENT);
}

static int make(void **state) {
    (void)state;
    fixture_directory(directory);
    return 0;
}

static int destroy(void **state) {
    (void)state;
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(an_application_of_the_previous_version_runs), TEST(structs_may_grow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
