// Tests of runtime/status, context, driver, module and launch, on the fake driver.
// SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"
#include "cache.h"
#include "fake_cuda.h"
#include "launch.h"
#include "module.h"
#include <pthread.h>

static struct fake_cuda fake;

static sage_context *device_context(void) {
    sage_options options = {.size = sizeof options, .memory_only = 1};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    return context;
}

/* -- Status and options ---------------------------------------------------------------------------------------------
 */

static void status_texts(void **state) {
    (void)state;
    assert_string_equal(sage_status_text(SAGE_OK), "ok");
    assert_string_equal(sage_status_text(SAGE_ERROR_CORRUPT), "damaged kernel file");
    assert_string_equal(sage_status_text((sage_status)999), "unknown status");
    assert_int_equal(SAGE_ERROR_INTERNAL, 15);
    assert_int_equal(sage_version(), 100);
}

static void options_are_checked(void **state) {
    (void)state;
    struct {
        sage_options known;
        void *unknown;
    } newer = {.known = {.size = sizeof newer, .device = -1, .memory_only = 1}};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&newer.known, &context), SAGE_OK);
    sage_context_destroy(context);
    context = NULL;
    newer.unknown = &newer;
    assert_int_equal(sage_context_create(&newer.known, &context), SAGE_ERROR_INVALID_ARGUMENT);
    sage_options bad = {.size = 0};
    assert_int_equal(sage_context_create(&bad, &context), SAGE_ERROR_INVALID_ARGUMENT);
    bad = (sage_options){.size = sizeof bad, .device = -2};
    assert_int_equal(sage_context_create(&bad, &context), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(sage_last_error(NULL), "-2"));
    assert_null(context);
    assert_int_equal(sage_context_create(NULL, NULL), SAGE_ERROR_INVALID_ARGUMENT);
    sage_context_destroy(NULL);
}

// On; off by the option or, where it says nothing, by the variable, whose other values are refused.
static void dependent_launch_can_be_refused(void **state) {
    (void)state;
    static const struct {
        int option;
        const char *variable;
        bool on;
    } rows[] = {{0, NULL, true}, {0, "", true}, {0, "0", false}, {0, "1", true}, {1, "0", true}, {-1, NULL, false}, {-1, "1", false}};
    sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    sage_context *context = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        options.dependent_launch = rows[i].option;
        unsetenv("SAGE_DEPENDENT_LAUNCH");
        if (rows[i].variable) setenv("SAGE_DEPENDENT_LAUNCH", rows[i].variable, 1);
        assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
        assert_int_equal(context->dependent_launch, rows[i].on);
        sage_context_destroy(context);
    }
    context = NULL;
    setenv("SAGE_DEPENDENT_LAUNCH", "yes", 1);
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(sage_last_error(NULL), "SAGE_DEPENDENT_LAUNCH is 'yes'"));
    assert_null(context);
    unsetenv("SAGE_DEPENDENT_LAUNCH");
    options.dependent_launch = 2;
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(sage_last_error(NULL), "dependent_launch is 2"));
    assert_null(context);
}

static void works_without_device(void **state) {
    (void)state;
    setenv("SAGE_DRIVER", "/nonexistent/libcuda.so.1", 1);
    sage_context *context = fixture_context(NULL, NULL);
    bool pushed;
    assert_int_equal(sage_context_sm(context), 0);
    assert_null(context_driver(context));
    assert_int_equal(driver_enter(context, &pushed), SAGE_ERROR_NO_DEVICE);
    assert_false(driver_is_capturing(context, NULL));
    sage_context_destroy(context);
    sage_options options = {.size = sizeof options, .memory_only = 1};
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_NO_DRIVER);
    assert_non_null(strstr(sage_last_error(NULL), "/nonexistent/libcuda.so.1"));
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
}

// On a machine with a driver, or on WSL, there is nothing to see.
static void a_missing_driver_is_named_as_users_know_it(void **state) {
    (void)state;
    unsetenv("SAGE_DRIVER");
    const sage_options options = {.size = sizeof options, .memory_only = 1};
    sage_context *context = NULL;
    sage_status status = sage_context_create(&options, &context);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    sage_context_destroy(context);
    if (status != SAGE_ERROR_NO_DRIVER || access("/usr/lib/wsl", F_OK) == 0) skip();
    if (!strstr(sage_last_error(NULL), "cannot open")) skip(); // there is one, which finds no GPU
    assert_non_null(strstr(sage_last_error(NULL), "no NVIDIA driver: libcuda.so.1: "));
    assert_null(strstr(sage_last_error(NULL), "wsl"));
}

/* -- Memory ---------------------------------------------------------------------------------------------------------
 */

struct counting {
    int live, total, fail_at; /* fail_at: the n-th allocation fails; 0: none */
};

static void *counting_allocate(void *user, size_t bytes) {
    struct counting *counting = user;
    if (++counting->total == counting->fail_at) return NULL;
    counting->live++;
    return malloc(bytes);
}

static void counting_release(void *user, void *memory) {
    struct counting *counting = user;
    counting->live--;
    free(memory);
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    for (int fail_at = 1;; fail_at++) {
        struct counting counting = {.fail_at = fail_at};
        sage_options options = {.size = sizeof options, .allocator = {counting_allocate, counting_release, &counting}};
        options.memory_only = 1;
        sage_context *context = NULL;
        sage_status status = sage_context_create(&options, &context);
        if (status == SAGE_OK)
            sage_context_destroy(context);
        else
            assert_int_equal(status, SAGE_ERROR_OUT_OF_MEMORY);
        assert_int_equal(counting.live, 0);
        if (counting.total < fail_at) break;
    }
    assert_int_equal(fake.counts().retains, fake.counts().releases);
}

/* -- Errors ---------------------------------------------------------------------------------------------------------
 */

static void *error_thread(void *user) {
    sage_context *context = user;
    assert_string_equal(sage_last_error(context), "");
    context_error(context, SAGE_ERROR_IO, "of another thread");
    assert_string_equal(sage_last_error(context), "of another thread");
    return NULL;
}

static void errors_are_per_thread_and_context(void **state) {
    (void)state;
    sage_context *a = fixture_context(NULL, NULL), *b = fixture_context(NULL, NULL);
    assert_string_equal(sage_last_error(a), "");
    assert_int_equal(context_error(a, SAGE_ERROR_IO, "one %d", 1), SAGE_ERROR_IO);
    context_error(b, SAGE_ERROR_IO, "two");
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, error_thread, a), 0);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    assert_string_equal(sage_last_error(a), "one 1");
    context_error(a, SAGE_ERROR_IO, "again: %s", sage_last_error(a));
    assert_string_equal(sage_last_error(a), "again: one 1");
    assert_string_equal(sage_last_error(b), "two");
    sage_context_destroy(a);
    sage_context_destroy(b);
}

/* -- Driver ---------------------------------------------------------------------------------------------------------
 */

static void device_is_described(void **state) {
    (void)state;
    fake.set_sm(120);
    sage_context *context = device_context();
    assert_int_equal(sage_context_sm(context), 120);
    assert_int_equal(context_driver(context)->cuda_version, 13000);
    assert_int_equal(context_driver(context)->multiprocessors, 132);
    assert_string_equal(context_driver(context)->device_name, "Fake GPU 0");
    assert_int_equal(fake.counts().retains, 1);
    sage_context_destroy(context);
    assert_int_equal(fake.counts().releases, 1);
}

static void driver_failures_have_texts(void **state) {
    (void)state;
    const struct {
        const char *entry;
        int result;
        sage_status status;
    } rows[] = {{"cuInit", 100, SAGE_ERROR_NO_DEVICE},
                {"cuInit", 999, SAGE_ERROR_NO_DRIVER},
                {"cuDeviceGetCount", 1, SAGE_ERROR_CUDA},
                {"cuDevicePrimaryCtxRetain", 2, SAGE_ERROR_CUDA}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sage_context *context = NULL;
        sage_options options = {.size = sizeof options, .memory_only = 1};
        fake.fail_next(rows[i].entry, rows[i].result);
        assert_int_equal(sage_context_create(&options, &context), rows[i].status);
        assert_non_null(strstr(sage_last_error(NULL), rows[i].entry));
        assert_null(context);
    }
    sage_options options = {.size = sizeof options, .device = 7, .memory_only = 1};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_NO_DEVICE);
}

static const char *lacking; // of entry_of_test
static void *entry_of_test(const char *symbol) {
    return lacking && strcmp(symbol, lacking) == 0 ? NULL : dlsym(fake.library, symbol);
}

static void entry_points_may_be_the_callers(void **state) {
    (void)state;
    sage_context *context = NULL;
    sage_options options = {.size = sizeof options, .memory_only = 1, .driver_entry = entry_of_test};
    setenv("SAGE_DRIVER", "/nonexistent/libcuda.so.1", 1); // nobody opens a library
    lacking = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    assert_int_equal(sage_context_sm(context), 90);
    assert_null(context_driver(context)->library);
    bool pushed;
    assert_int_equal(driver_enter(context, &pushed), SAGE_OK);
    driver_leave(context, pushed);
    assert_int_equal(driver_probe_version(context), 13000);
    sage_context_destroy(context);
    assert_int_equal(fake.counts().retains, fake.counts().releases);
    options.device = -1;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    assert_int_equal(driver_probe_version(context), 13000);
    sage_context_destroy(context);
    options.device = 0;
    lacking = "cuStreamIsCapturing"; // not required
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    sage_context_destroy(context);
    lacking = "cuModuleLoadData";
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_NO_DRIVER);
    assert_non_null(strstr(sage_last_error(NULL), "cuModuleLoadData"));
    options.size = offsetof(sage_options, driver_entry); // built before there was this field: what follows is not read
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_NO_DRIVER);
    assert_non_null(strstr(sage_last_error(NULL), "/nonexistent"));
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
}

static void current_context_is_restored(void **state) {
    (void)state;
    sage_context *context = device_context();
    bool outer, inner;
    assert_int_equal(driver_enter(context, &outer), SAGE_OK);
    assert_true(outer);
    assert_int_equal(driver_enter(context, &inner), SAGE_OK);
    assert_false(inner);
    driver_leave(context, inner);
    assert_int_equal(fake.stack_depth(), 1);
    driver_leave(context, outer);
    assert_int_equal(fake.stack_depth(), 0);
    assert_false(driver_is_capturing(context, NULL));
    fake.set_capturing(1);
    assert_true(driver_is_capturing(context, NULL));
    sage_context_destroy(context);
    assert_int_equal(fake.counts().pushes, fake.counts().pops);
}

/* -- Modules and launches -------------------------------------------------------------------------------------------
 */

static void modules_are_shared_and_launched(void **state) {
    (void)state;
    sage_context *context = device_context();
    struct meta meta = fixture_meta("", "", "CUBIN", 5);
    struct module *a = NULL, *b = NULL;
    assert_int_equal(module_acquire(context, &meta, "CUBIN", 5, &a), SAGE_OK);
    assert_int_equal(module_acquire(context, &meta, "CUBIN", 5, &b), SAGE_OK);
    assert_ptr_equal(a, b);
    assert_int_equal(fake.counts().modules, 1);
    struct sage_kernel_args args = {.q = 0x1234, .seq_k = 77};
    fake.set_args_bytes(sizeof args);
    assert_int_equal(launch_kernel(context, a, 12, &args, false, &args), SAGE_OK);
    assert_int_equal(launch_kernel(context, a, 0, &args, true, NULL), SAGE_OK);
    assert_int_equal(launch_kernel(context, a, (int64_t)1 << 31, &args, false, NULL), SAGE_ERROR_INVALID_ARGUMENT);
    assert_int_equal(fake.launch_count(), 1);
    const struct fake_cuda_launch *launch = fake.launch_at(0);
    assert_string_equal(launch->function, meta.entry);
    assert_int_equal(launch->grid[0], 12);
    assert_int_equal(launch->grid[1] * launch->grid[2] * launch->block[1] * launch->block[2], 1);
    assert_int_equal(launch->block[0], 256);
    assert_int_equal(launch->smem_dynamic, 65536);
    assert_ptr_equal(launch->stream, &args);
    assert_memory_equal(launch->args, &args, sizeof args);
    fake.fail_next("cuLaunchKernel", 700);
    assert_int_equal(launch_kernel(context, a, 1, &args, false, NULL), SAGE_ERROR_CUDA);
    assert_int_equal(fake.stack_depth(), 0);
    assert_int_equal(fake.counts().synchronisations, 0);
    module_release(context, a);
    assert_int_equal(fake.counts().unloads, 0);
    module_release(context, b);
    assert_int_equal(fake.counts().unloads, 1);
    sage_context_destroy(context);
}

static void bad_modules_are_refused(void **state) {
    (void)state;
    sage_context *context = device_context();
    struct module *module = NULL;
    struct meta meta = fixture_meta("", "", "CUBIN", 5), other;
    assert_int_equal(module_acquire(context, &meta, "CUBIM", 5, &module), SAGE_ERROR_CORRUPT);
    assert_int_equal(module_acquire(context, &meta, "CUBI", 4, &module), SAGE_ERROR_CORRUPT);
    other = meta;
    other.args_bytes -= 8;
    assert_int_equal(module_acquire(context, &other, "CUBIN", 5, &module), SAGE_ERROR_CORRUPT);
    other = meta;
    strcpy(other.target, "sm_120a");
    assert_int_equal(module_acquire(context, &other, "CUBIN", 5, &module), SAGE_ERROR_UNSUPPORTED);
    other = meta;
    other.smem_dynamic = 512 << 10;
    assert_int_equal(module_acquire(context, &other, "CUBIN", 5, &module), SAGE_ERROR_UNSUPPORTED);
    const char *const entries[] = {"cuModuleLoadData", "cuModuleGetFunction", "cuFuncGetAttribute",
                                   "cuFuncSetAttribute"};
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        fake.fail_next(entries[i], 999);
        assert_int_equal(module_acquire(context, &meta, "CUBIN", 5, &module), SAGE_ERROR_CUDA);
        assert_int_equal(fake.counts().modules, fake.counts().unloads);
        assert_int_equal(fake.stack_depth(), 0);
    }
    assert_null(module);
    sage_context_destroy(context);
}

static void leftover_modules_are_unloaded(void **state) {
    (void)state;
    sage_context *context = device_context();
    struct meta meta = fixture_meta("", "", "CUBIN", 5);
    struct module *module = NULL;
    assert_int_equal(module_acquire(context, &meta, "CUBIN", 5, &module), SAGE_OK);
    sage_context_destroy(context);
    assert_int_equal(fake.counts().unloads, 1);
}

static int reset_fake(void **state) {
    (void)state;
    fake.reset();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, reset_fake)

int main(void) {
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    fake = fake_cuda_open(FAKE_CUDA_PATH);
    if (!fake.library) return 1;
    const struct CMUnitTest tests[] = {
        TEST(status_texts),
        TEST(options_are_checked),
        TEST(dependent_launch_can_be_refused),
        TEST(works_without_device),
        TEST(a_missing_driver_is_named_as_users_know_it),
        TEST(any_allocation_may_fail),
        TEST(errors_are_per_thread_and_context),
        TEST(device_is_described),
        TEST(driver_failures_have_texts),
        TEST(entry_points_may_be_the_callers),
        TEST(current_context_is_restored),
        TEST(modules_are_shared_and_launched),
        TEST(bad_modules_are_refused),
        TEST(leftover_modules_are_unloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
