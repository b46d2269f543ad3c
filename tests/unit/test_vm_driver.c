// Tests of vm_driver: the PTX virtual machine behind the driver's entry points: memory, modules, launches, and findings
// with the template lines they come from. The kernels are PTX by hand. SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "device.h"
#include "vm_driver.h"
#include <stdio.h>
#include <string.h>

#define HEAD ".version 8.5\n.target sm_89\n.address_size 64\n"

// y[i] += x, of 64 threads.
static const char add_ptx[] = HEAD ".visible .entry add(.param .u64 y, .param .f32 x)\n{\n"
                                   ".reg .b64 %rd<4>;\n.reg .b32 %r<4>;\n.reg .f32 %f<4>;\n"
                                   "ld.param.u64 %rd1, [y];\nld.param.f32 %f1, [x];\n"
                                   "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd3, %rd1, %rd2;\n"
                                   "ld.global.f32 %f2, [%rd3];\nadd.f32 %f3, %f2, %f1;\nst.global.f32 [%rd3], %f3;\n"
                                   "ret;\n}\n";

// As kernels do that may start early: launches of the machine end before the next begins, so that the wait is none.
static const char early_ptx[] =
    HEAD ".visible .entry early(.param .u64 early_0)\n{\n"
         ".reg .b32 %r<2>;\n.reg .b64 %rd<3>;\n"
         "ld.param.u64 %rd1, [early_0];\ncvta.to.global.u64 %rd2, %rd1;\n"
         "griddepcontrol.launch_dependents;\ngriddepcontrol.wait;\n"
         "mov.u32 %r1, %ctaid.x;\nst.global.u32 [%rd2], %r1;\n"
         "ret;\n}\n";

// Warp 1 reads what warp 0 writes, with no barrier between them: line 6 of the emitted text.
static const char race_ptx[] =
    HEAD ".visible .entry race()\n{\n"
         ".reg .b32 %r<4>;\n.shared .align 4 .b8 word[256];\n.reg .b64 %rd<4>;\n.reg .pred %p1;\n"
         ".loc 1 5 1\n"
         "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 32;\n"
         "@%p1 st.shared.u32 [word], %r1;\n"
         ".loc 1 6 1\n"
         "ld.shared.u32 %r2, [word];\n"
         "ret;\n}\n.file 1 \"/somewhere/kernel.cu\"\n";

/* -- Fixture ---- */

struct seen {
    int count;
    enum ptxvm_finding_kind kind;
    char text[1024];
};

static void see(void *user, const struct vm_finding *finding) {
    struct seen *seen = user;
    seen->count++;
    seen->kind = finding->finding->kind;
    snprintf(seen->text, sizeof seen->text, "%s", finding->text);
}

static struct device open_machine(struct seen *seen) {
    const struct vm_driver_options options = {
        .sm = 89, .checks = PTXVM_CHECK_ALL, .counts = true, .finding = see, .user = seen};
    struct device device;
    char why[256] = "";
    *seen = (struct seen){.count = 0};
    assert_true(vm_driver_configure(&options));
    if (!device_open(0, vm_driver_entry, &device, why, sizeof why)) fail_msg("%s", why);
    return device;
}

static driver_function load(struct device *d, const char *ptx, const char *name, driver_module *module) {
    driver_function function;
    assert_int_equal(d->driver.api.module_load_data(module, ptx), DRIVER_SUCCESS);
    assert_int_equal(d->driver.api.module_get_function(&function, *module, name), DRIVER_SUCCESS);
    return function;
}

static driver_result launch(struct device *d, driver_function function, unsigned threads, unsigned smem,
                            void **params) {
    return d->driver.api.launch_kernel(function, 1, 1, 1, threads, 1, 1, smem, NULL, params, NULL);
}

/* -- Tests ---- */

static void test_every_entry_of_the_table_is_there(void **state) {
    (void)state;
#define ENTRY_IS_THERE(member, symbol, required, parameters) assert_non_null(vm_driver_entry(symbol));
    DRIVER_ENTRIES(ENTRY_IS_THERE)
    assert_null(vm_driver_entry("cuGraphClone"));
}

static void test_device(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen), other;
    char why[256];
    assert_string_equal(d.driver.device_name, VM_DEVICE_NAME);
    assert_int_equal(d.driver.sm, 89);
    assert_int_equal(d.driver.smem_optin_bytes, 99 * 1024);
    assert_false(vm_driver_configure(&(struct vm_driver_options){.sm = 90})); // it is open
    assert_false(device_open(1, vm_driver_entry, &other, why, sizeof why));
    assert_true(device_open(0, vm_driver_entry, &other, why, sizeof why));
    device_close(&d);
    void *memory; // the machine lives until the last release
    assert_true(device_alloc(&other, 16, &memory));
    device_close(&other);
    assert_true(vm_driver_configure(&(struct vm_driver_options){.sm = 90}));
}

static void test_memory_and_launch(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    float y[64], x = 0.5f;
    void *memory;
    device_event from, to;
    double ms = -1;
    driver_module module;
    driver_function add = load(&d, add_ptx, "add", &module);
    for (int i = 0; i < 64; i++) y[i] = (float)i;
    assert_true(device_alloc(&d, sizeof y, &memory) && device_upload(&d, memory, y, sizeof y, NULL));
    assert_true(device_event_create(&d, &from) && device_event_create(&d, &to) && device_event_record(&d, from, NULL));
    void *params[] = {&memory, &x};
    assert_int_equal(launch(&d, add, 64, 0, params), DRIVER_SUCCESS);
    assert_true(device_event_record(&d, to, NULL) && device_event_elapsed(&d, from, to, &ms));
    assert_true(ms >= 0 && ms < 60000);
    memset(y, 0, sizeof y);
    assert_true(device_download(&d, y, memory, sizeof y, NULL));
    for (int i = 0; i < 64; i++) assert_true(y[i] == (float)i + 0.5f);
    const struct vm_driver_totals totals = vm_driver_totals();
    assert_int_equal(totals.launches, 1);
    assert_int_equal(totals.thread_instructions, 64 * 9);
    assert_int_equal(totals.findings, 0);
    assert_int_equal(seen.count, 0);
    device_event_destroy(&d, from);
    device_event_destroy(&d, to);
    assert_int_equal(d.driver.api.module_unload(module), DRIVER_SUCCESS);
    device_close(&d);
}

// What is captured runs when it is replayed, as often as that, with the parameters of its time; a capture takes no more
// than launches.
static void test_capture_and_replay(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    float y[64] = {0}, x = 0.5f;
    void *memory, *params[] = {&memory, &x};
    sage_stream stream;
    device_graph graph, none;
    driver_module module;
    driver_function add = load(&d, add_ptx, "add", &module);
    const struct driver_api *api = &d.driver.api;
    int status = -1;
    assert_true(device_alloc(&d, sizeof y, &memory) && device_upload(&d, memory, y, sizeof y, NULL));
    assert_true(device_stream_create(&d, &stream));
    assert_false(device_capture_begin(&d, NULL)); // the legacy stream
    assert_false(device_capture_end(&d, stream, &none));
    assert_true(device_capture_begin(&d, stream));
    assert_int_equal(api->stream_is_capturing(stream, &status), DRIVER_SUCCESS);
    assert_int_equal(status, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(api->launch_kernel(add, 1, 1, 1, 64, 1, 1, 0, stream, params, NULL), DRIVER_SUCCESS);
    assert_false(device_synchronize(&d, stream));
    assert_false(device_memset_u8(&d, memory, 1, 4, stream));
    assert_false(device_upload(&d, memory, y, sizeof y, stream));
    x = 100;
    assert_true(device_capture_end(&d, stream, &graph));
    assert_int_equal(vm_driver_totals().launches, 0);
    for (int i = 0; i < 3; i++) assert_true(device_graph_launch(&d, graph, stream));
    assert_true(device_download(&d, y, memory, sizeof y, stream));
    for (int i = 0; i < 64; i++) assert_true(y[i] == 3.0f);
    device_graph_destroy(&d, graph);
    device_stream_destroy(&d, stream);
    assert_int_equal(api->module_unload(module), DRIVER_SUCCESS);
    device_close(&d);
}

static void test_early_launch(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    uint32_t word = 7;
    void *memory;
    driver_module module;
    driver_function early = load(&d, early_ptx, "early", &module);
    assert_true(device_alloc(&d, sizeof word, &memory));
    void *params[] = {&memory};
    struct driver_launch_attribute attribute = {.id = DRIVER_LAUNCH_PROGRAMMATIC, .value = {.allowed = 1}};
    const struct driver_launch config = {
        .grid = {1, 1, 1}, .block = {32, 1, 1}, .attributes = &attribute, .attribute_count = 1};
    assert_int_equal(d.driver.api.launch_kernel_ex(&config, early, params, NULL), DRIVER_SUCCESS);
    assert_true(device_download(&d, &word, memory, sizeof word, NULL));
    assert_int_equal(word, 0);
    assert_int_equal(vm_driver_totals().launches, 1);
    attribute.id = 4; // clusters are not of the table
    assert_int_equal(d.driver.api.launch_kernel_ex(&config, early, params, NULL), DRIVER_INVALID_VALUE);
    device_close(&d);
}

static void expect_error(struct device *d, driver_result result, const char *name, const char *part) {
    const char *text = NULL;
    assert_int_equal(d->driver.api.get_error_name(result, &text), DRIVER_SUCCESS);
    assert_string_equal(text, name);
    assert_int_equal(d->driver.api.get_error_string(result, &text), DRIVER_SUCCESS);
    if (!strstr(text, part)) fail_msg("\"%s\" lacks \"%s\"", text, part);
}

static void test_refused(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    driver_module module;
    driver_function function;
    driver_result result =
        d.driver.api.module_load_data(&module, HEAD ".visible .entry k()\n{\nfrobnicate.b32 %r1;\n}\n");
    assert_int_equal(result, DRIVER_INVALID_IMAGE);
    expect_error(&d, result, "CUDA_ERROR_INVALID_IMAGE", "line 6");
    load(&d, add_ptx, "add", &module);
    result = d.driver.api.module_get_function(&function, module, "subtract");
    assert_int_equal(result, DRIVER_NOT_FOUND);
    expect_error(&d, result, "CUDA_ERROR_NOT_FOUND", "subtract");
    float x = 0;
    void *memory = NULL, *params[] = {&memory, &x};
    function = load(&d, add_ptx, "add", &module);
    assert_int_equal(launch(&d, function, 64, 49 << 10, params), DRIVER_INVALID_VALUE); // not opted into
    assert_int_equal(d.driver.api.func_set_attribute(function, DRIVER_FUNCTION_MAX_DYNAMIC_SMEM, 100 << 10),
                     DRIVER_INVALID_VALUE);
    assert_int_equal(vm_driver_totals().launches, 0);
    device_close(&d);
}

// A stray access ends the launch, and the machine goes on.
static void test_fault(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    driver_module module;
    driver_function add = load(&d, add_ptx, "add", &module);
    float y[64] = {0}, x = 1;
    void *memory;
    assert_true(device_alloc(&d, sizeof y / 2, &memory) && device_upload(&d, memory, y, sizeof y / 2, NULL));
    void *params[] = {&memory, &x};
    const driver_result result = launch(&d, add, 64, 0, params);
    assert_int_equal(result, 719);
    expect_error(&d, result, "CUDA_ERROR_LAUNCH_FAILED", "outside of any allocation");
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.kind, PTXVM_FINDING_OUT_OF_BOUNDS);
    assert_non_null(strstr(seen.text, "add, block 0,0,0, warp 1, lane 0, PTX line 14"));
    assert_int_equal(launch(&d, add, 32, 0, params), DRIVER_SUCCESS);
    device_close(&d);
}

// Memory from cuMemAlloc holds nothing that a kernel may read.
static void test_unwritten_memory(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    driver_module module;
    driver_function add = load(&d, add_ptx, "add", &module);
    float x = 1;
    void *memory;
    assert_true(device_alloc(&d, 256, &memory));
    void *params[] = {&memory, &x};
    assert_int_equal(launch(&d, add, 64, 0, params), DRIVER_SUCCESS); // hardware would survive it
    assert_int_equal(seen.kind, PTXVM_FINDING_UNINITIALISED);
    assert_int_equal(vm_driver_totals().findings, 1);
    device_close(&d);
}

static void test_race_with_its_template_line(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    struct linemap map = {0};
    struct buf image = {0};
    driver_module module;
    for (int line = 1; line <= 9; line++) linemap_add(&map, "stage/pv.cu.tl", 40 + line);
    ptx_image_write(race_ptx, &map, &image);
    driver_function race = load(&d, image.data, "race", &module);
    assert_int_equal(launch(&d, race, 64, 0, NULL), DRIVER_SUCCESS);
    assert_true(seen.count > 0);
    assert_int_equal(seen.kind, PTXVM_FINDING_RACE);
    static const char at_load[] = "templates/stage/pv.cu.tl:46: error: race on shared memory",
                      at_store[] = "templates/stage/pv.cu.tl:45: error: race on shared memory";
    assert_true(strncmp(seen.text, at_load, sizeof at_load - 1) == 0 || // whichever came second
                strncmp(seen.text, at_store, sizeof at_store - 1) == 0);
    linemap_free(&map);
    buf_free(&image);
    device_close(&d);
}

static void visit(void *user, const ptxvm_kernel *kernel, const char *image, const struct linemap *map) {
    struct ptxvm_kernel_info info;
    struct ptxvm_site site;
    (void)image, (void)map;
    ptxvm_kernel_info(kernel, &info);
    assert_string_equal(info.name, "add");
    ptxvm_kernel_site(kernel, 0, &site);
    *(uint64_t *)user += site.warp_executions;
}

static void test_counts_of_loaded_kernels(void **state) {
    (void)state;
    struct seen seen;
    struct device d = open_machine(&seen);
    driver_module module;
    driver_function add = load(&d, add_ptx, "add", &module);
    float y[64] = {0}, x = 1;
    uint64_t executions = 0;
    void *memory;
    assert_true(device_alloc(&d, sizeof y, &memory) && device_upload(&d, memory, y, sizeof y, NULL));
    void *params[] = {&memory, &x};
    for (int i = 0; i < 3; i++) assert_int_equal(launch(&d, add, 64, 0, params), DRIVER_SUCCESS);
    vm_driver_each_kernel(visit, &executions);
    assert_int_equal(executions, 3 * 2);
    device_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_entry_of_the_table_is_there),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_memory_and_launch),
        cmocka_unit_test(test_capture_and_replay),
        cmocka_unit_test(test_early_launch),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_unwritten_memory),
        cmocka_unit_test(test_race_with_its_template_line),
        cmocka_unit_test(test_counts_of_loaded_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
