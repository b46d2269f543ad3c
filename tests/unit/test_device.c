// Tests of gen/device.c on the fake driver: opening, memory, copies, times, and the sentence of every failure.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "device.h"
#include "fake_cuda.h"
#include <stdlib.h>
#include <string.h>

static struct fake_cuda fake;

static int set_up(void **state) {
    (void)state;
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    if (!fake.library) fake = fake_cuda_open(FAKE_CUDA_PATH);
    if (!fake.library) return -1;
    fake.reset();
    return 0;
}

static struct device open_or_die(void) {
    struct device device;
    char why[256] = "";
    if (!device_open(0, NULL, &device, why, sizeof why)) fail_msg("%s", why);
    return device;
}

/* -- Opening ---- */

static void test_open_and_close(void **state) {
    (void)state;
    struct device device = open_or_die();
    assert_string_equal(device.driver.device_name, "Fake GPU 0");
    assert_int_equal(device.driver.sm, 90);
    assert_int_equal(device.driver.multiprocessors, 132);
    assert_true(device.memory_bytes == (uint64_t)80 << 30);
    assert_int_equal(fake.stack_depth(), 1);
    device_close(&device);
    assert_int_equal(fake.stack_depth(), 0);
    assert_int_equal(fake.counts().retains, fake.counts().releases);
    device_close(&device); // a closed device is allowed
}

static void open_fails(int ordinal, const char *part, const char *remedy) {
    struct device device;
    char why[512] = "";
    assert_false(device_open(ordinal, NULL, &device, why, sizeof why));
    if (!strstr(why, part) || !strstr(why, remedy)) fail_msg("\"%s\" lacks \"%s\" or \"%s\"", why, part, remedy);
    assert_int_equal(fake.stack_depth(), 0);
    assert_int_equal(fake.counts().retains, fake.counts().releases);
}

static void test_open_failures(void **state) {
    (void)state;
    open_fails(-1, "GPU -1", "count from 0");
    open_fails(1, "GPU 1 was asked for; the driver shows 1", "nvidia-smi");
    fake.set_device_count(0);
    open_fails(0, "cuInit", "CUDA_VISIBLE_DEVICES");
    fake.set_device_count(1);
    fake.fail_next("cuCtxPushCurrent_v2", 201);
    open_fails(0, "cuCtxPushCurrent", "201");
    setenv("SAGE_DRIVER", "/nonexistent/libcuda.so", 1);
    open_fails(0, "no NVIDIA driver", "unset it");
}

/* -- Use ---- */

static void test_copies(void **state) {
    (void)state;
    struct device device = open_or_die();
    unsigned char in[300], out[300];
    void *memory;
    for (size_t i = 0; i < sizeof in; i++) in[i] = (unsigned char)(i * 7);
    assert_true(device_alloc(&device, sizeof in, &memory));
    assert_int_equal((uintptr_t)memory % 256, 0);
    assert_true(device_upload(&device, memory, in, sizeof in, NULL));
    assert_true(device_memset_u8(&device, memory, 0xff, 10, NULL));
    assert_true(device_download(&device, out, memory, sizeof out, NULL));
    assert_memory_equal(out + 10, in + 10, sizeof in - 10);
    assert_int_equal(out[9], 0xff);
    device_free(&device, memory);
    device_free(&device, NULL);
    assert_int_equal(fake.counts().allocations, fake.counts().frees);
    device_close(&device);
}

static void test_nothing_is_a_size(void **state) {
    (void)state;
    struct device device = open_or_die();
    void *memory;
    assert_true(device_alloc(&device, 0, &memory));
    assert_non_null(memory);
    assert_true(device_upload(&device, memory, NULL, 0, NULL));
    assert_true(device_download(&device, NULL, memory, 0, NULL));
    device_free(&device, memory);
    device_close(&device);
}

static void test_streams_and_events(void **state) {
    (void)state;
    struct device device = open_or_die();
    sage_stream stream;
    device_event from, to;
    double ms = 0;
    assert_true(device_stream_create(&device, &stream));
    assert_true(device_event_create(&device, &from) && device_event_create(&device, &to));
    assert_true(device_event_record(&device, from, stream) && device_event_record(&device, to, stream));
    assert_true(device_event_elapsed(&device, from, to, &ms));
    assert_true(ms == 1.0);
    assert_true(device_synchronize(&device, stream));
    device_event_destroy(&device, from);
    device_event_destroy(&device, to);
    device_event_destroy(&device, NULL);
    device_stream_destroy(&device, stream);
    device_close(&device);
}

static void test_failures_have_a_sentence(void **state) {
    (void)state;
    struct device device = open_or_die();
    void *memory = &device;
    fake.fail_next("cuMemAlloc_v2", 2);
    assert_false(device_alloc(&device, (uint64_t)5 << 40, &memory));
    assert_null(memory);
    assert_non_null(strstr(device_error(&device), "GPU 0 is out of memory: 5497.56 GB (5497558138880 bytes)"));
    fake.fail_next("cuStreamSynchronize", 700);
    assert_false(device_synchronize(&device, NULL));
    assert_string_equal(device_error(&device),
                        "GPU 0: cuStreamSynchronize: CUDA_ERROR_FAKE (700, a failure of the fake driver)");
    device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_open_and_close, set_up),
        cmocka_unit_test_setup(test_open_failures, set_up),
        cmocka_unit_test_setup(test_copies, set_up),
        cmocka_unit_test_setup(test_nothing_is_a_size, set_up),
        cmocka_unit_test_setup(test_streams_and_events, set_up),
        cmocka_unit_test_setup(test_failures_have_a_sentence, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
