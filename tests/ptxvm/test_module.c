// Modules: kernels and what is known of them, images of .global and .const with addresses in them, counters' sites,
// what happens to a module that does not load. SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "machine.h"

static const char source[] =
    ".version 8.7\n.target sm_90a\n.address_size 64\n"
    ".global .align 4 .u32 first = 7;\n"
    ".global .align 64 .b8 table[16] = {1, 2, 3};\n"
    ".const .align 8 .u64 names[2] = {table, generic(first)};\n"
    ".global .align 8 .u64 back = names+8;\n"
    ".visible .entry one(.param .u32 n, .param .u64 p) .maxntid 64, 2, 1 .reqnctapercluster 2, 1, 1\n" /* line 8 */
    "{ .reg .pred %p<2>; .reg .b32 %r<3>; .shared .align 16 .b8 s[40];\n"
    ".loc 1 30 1\n"
    "mov.u32 %r1, 0;\n" /* 11 */
    "L: add.s32 %r1, %r1, 1;\n"
    "setp.lt.s32 %p1, %r1, 5;\n"
    ".loc 1 33 1\n"
    "@%p1 bra L;\n" /* 15 */
    "ret; }\n"
    ".func helper(.param .u32 x) { ret; }\n"
    ".visible .entry two() { ret; }\n";

static ptxvm *machine(void) {
    ptxvm *vm = NULL;
    assert_int_equal(ptxvm_create(NULL, &vm), PTXVM_OK);
    return vm;
}

static void kernels(void **state) {
    (void)state;
    ptxvm *vm = machine();
    ptxvm_module *module = NULL;
    ptxvm_kernel *kernel = NULL;
    struct ptxvm_kernel_info info;
    size_t offset = 99, bytes = 99;
    assert_int_equal(ptxvm_module_load(vm, source, strlen(source), &module), PTXVM_OK);
    assert_int_equal(ptxvm_module_kernels(module), 2);
    assert_string_equal(ptxvm_module_kernel_name(module, 0), "one");
    assert_string_equal(ptxvm_module_kernel_name(module, 1), "two");
    assert_null(ptxvm_module_kernel_name(module, 2));
    assert_int_equal(ptxvm_module_kernel(module, "helper", &kernel), PTXVM_ERROR_ARGUMENT);
    assert_non_null(strstr(ptxvm_error(vm), "helper"));
    assert_null(kernel);
    assert_int_equal(ptxvm_module_kernel(module, "one", &kernel), PTXVM_OK);
    ptxvm_kernel_info(kernel, &info);
    assert_string_equal(info.name, "one");
    assert_int_equal(info.parameters, 2);
    assert_int_equal(info.parameter_bytes, 16);
    assert_int_equal(info.smem_static_bytes, 40);
    assert_int_equal(info.threads_max, 128);
    assert_int_equal(info.cluster[0], 2);
    assert_int_equal(info.cluster[1], 1);
    assert_int_equal(info.instructions, 5);
    assert_true(ptxvm_kernel_parameter(kernel, 1, &offset, &bytes));
    assert_int_equal(offset, 8);
    assert_int_equal(bytes, 8);
    assert_false(ptxvm_kernel_parameter(kernel, 2, &offset, &bytes));
    assert_string_equal(module_function(module, 1)->function->name, "helper");
    assert_null(module_function(module, 3));
    ptxvm_module_unload(module);
    ptxvm_module_unload(NULL);
    ptxvm_destroy(vm);
}

static void sites(void **state) {
    (void)state;
    static const struct {
        const char *opcode;
        unsigned line, source_line;
        int loop;
        enum ptxvm_class klass;
    } expected[] = {{"mov.u32", 11, 30, -1, PTXVM_CLASS_MOVE},
                    {"add.s32", 12, 30, 0, PTXVM_CLASS_INTEGER},
                    {"setp.lt.s32", 13, 30, 0, PTXVM_CLASS_PREDICATE},
                    {"bra", 15, 33, 0, PTXVM_CLASS_CONTROL},
                    {"ret", 16, 33, -1, PTXVM_CLASS_CONTROL}};
    ptxvm *vm = machine();
    ptxvm_module *module = NULL;
    ptxvm_kernel *kernel = NULL;
    struct ptxvm_site site;
    assert_int_equal(ptxvm_module_load(vm, source, strlen(source), &module), PTXVM_OK);
    assert_int_equal(ptxvm_module_kernel(module, "one", &kernel), PTXVM_OK);
    assert_int_equal(ptxvm_kernel_sites(kernel), 5);
    for (unsigned k = 0; k < 5; k++) {
        kernel->site[k].warp_executions = 1000 + k; /* as a launch with counts leaves them */
        ptxvm_kernel_site(kernel, k, &site);
        assert_string_equal(site.opcode, expected[k].opcode);
        assert_int_equal(site.ptx_line, expected[k].line);
        assert_int_equal(site.source_line, expected[k].source_line);
        assert_int_equal(site.loop, expected[k].loop);
        assert_int_equal(site.klass, expected[k].klass);
        assert_int_equal(site.warp_executions, 1000 + k);
    }
    ptxvm_kernel_site(kernel, 5, &site);
    assert_int_equal(site.loop, -1);
    ptxvm_counts_reset(module);
    ptxvm_kernel_site(kernel, 3, &site);
    assert_int_equal(site.warp_executions, 0);
    assert_string_equal(site.opcode, "bra");
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
}

static uint64_t read64(ptxvm *vm, uint64_t address) {
    uint64_t value = 0;
    assert_int_equal(ptxvm_read(vm, &value, address, sizeof value), PTXVM_OK);
    return value;
}

static void images(void **state) {
    (void)state;
    static const uint8_t table[16] = {1, 2, 3};
    ptxvm *vm = machine();
    ptxvm_module *module = NULL;
    uint8_t bytes[16];
    assert_int_equal(ptxvm_module_load(vm, source, strlen(source), &module), PTXVM_OK);
    uint64_t global = module->global_base, constant = module->const_base;
    assert_int_equal(global % 256, 0);
    assert_int_equal(read64(vm, global), 7); /* first, and zeros behind it */
    assert_int_equal(ptxvm_read(vm, bytes, global + 64, sizeof bytes), PTXVM_OK);
    assert_memory_equal(bytes, table, sizeof table);
    assert_int_equal(read64(vm, constant), global + 64);
    assert_int_equal(read64(vm, constant + 8), global);
    assert_int_equal(read64(vm, global + 80), constant + 8);
    ptxvm_module_unload(module);
    assert_int_equal(ptxvm_read(vm, bytes, global, 1), PTXVM_ERROR_ARGUMENT); /* gone with the module */
    assert_int_equal(ptxvm_read(vm, bytes, constant, 1), PTXVM_ERROR_ARGUMENT);
    ptxvm_destroy(vm);
}

static void failures(void **state) {
    (void)state;
#define HEAD ".version 8.7\n.target sm_90a\n.address_size 64\n.global .u32 g;\n.visible .entry k() { .reg .b32 %r<3>;\n"
    static const struct {
        const char *text, *error;
        ptxvm_status status;
    } rows[] = {
        {HEAD "mov.u32 %r1, %r9; }", "line 6: unknown register", PTXVM_ERROR_SYNTAX},
        {HEAD "ret;\ntcgen05.alloc %r1; }", "line 7: tcgen05.alloc: unknown instruction", PTXVM_ERROR_UNSUPPORTED},
        {HEAD "add.nonsense.s32 %r1, %r1, %r2; }", "line 6: add.nonsense.s32: ", PTXVM_ERROR_UNSUPPORTED},
        {HEAD "brx.idx %r0, {%r1, %r2}; }", "line 6: brx.idx: ", PTXVM_ERROR_UNSUPPORTED},
        {"", "line 1: no .version", PTXVM_ERROR_SYNTAX}};
    ptxvm *vm = machine();
    ptxvm_module *module = NULL;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        assert_int_equal(ptxvm_module_load(vm, rows[k].text, strlen(rows[k].text), &module), rows[k].status);
        if (strncmp(ptxvm_error(vm), rows[k].error, strlen(rows[k].error))) fail_msg("%s", ptxvm_error(vm));
        assert_null(module);
    }
    assert_int_equal(ptxvm_module_load(vm, NULL, 0, &module), PTXVM_ERROR_ARGUMENT);
    assert_int_equal(ptxvm_module_load(vm, source, strlen(source), NULL), PTXVM_ERROR_ARGUMENT);
    ptxvm_destroy(vm);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kernels), cmocka_unit_test(sites), cmocka_unit_test(images),
                                       cmocka_unit_test(failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
