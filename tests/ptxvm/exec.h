// exec: what tests of execution share: a kernel put together from a fixed head and a body, run under many seeds with
// all checks; no finding is allowed. SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_PTXVM_EXEC_H
#define TESTS_PTXVM_EXEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptxvm.h"

enum { SEEDS = 24, IN_WORDS = 16384, OUT_WORDS_MAX = 65536 };

// The head: %r1 thread, %r2 lane, %r3 warp, %r4 thread of the grid, %r10 smem, %r11 bars, %r12 own word of smem;
// %d1 in, %d2 out, %d4 and %d5 own word of in and out. in[k] is k.
#define EXEC_MODULE                                                                                                    \
    ".version 8.7\n.target %s\n.address_size 64\n"                                                                     \
    ".shared .align 1024 .b8 smem[16384];\n.shared .align 8 .b64 bars[8];\n"
#define EXEC_KERNEL                                                                                                    \
    ".visible .entry k(.param .u64 in, .param .u64 out, .param .align 64 .b8 map[128])\n{\n"                           \
    ".reg .pred %p<16>; .reg .b16 %h<8>; .reg .b32 %r<64>; .reg .b64 %d<24>; .reg .f32 %f<24>;\n"                      \
    "ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out];\n"                                                               \
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %laneid; shr.u32 %r3, %r1, 5;\n"                                                \
    "mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ntid.x; mad.lo.u32 %r4, %r5, %r6, %r1;\n"                                    \
    "mov.u32 %r10, smem; mov.u32 %r11, bars; shl.b32 %r7, %r1, 2; add.u32 %r12, %r10, %r7;\n"                          \
    "mul.wide.u32 %d3, %r4, 4; add.u64 %d4, %d1, %d3; add.u64 %d5, %d2, %d3;\n"

struct exec_case {
    const char *target;    /* NULL: sm_90a */
    const char *functions; /* before the kernel; may be NULL */
    const char *body;
    unsigned grid, block, cluster; /* 0 counts as 1 */
    size_t smem_bytes;
    size_t out_words;
    const struct ptxvm_tensor_map *map; /* address: filled in with the one of in, or of out if map_of_out */
    bool map_of_out;
    bool counts;
    bool no_checks;
    uint64_t instruction_limit;
    // Results.
    uint32_t *out;
    char finding[512];
    enum ptxvm_finding_kind kind;
    unsigned findings;
};

static inline void exec_note(void *user, const struct ptxvm_finding *f) {
    struct exec_case *c = user;
    if (c->findings++) return;
    c->kind = f->kind;
    snprintf(c->finding, sizeof c->finding, "line %u: %s: %s", f->ptx_line, ptxvm_finding_text(f->kind), f->text);
}

static inline void exec_parameters(ptxvm *vm, const struct exec_case *c, uint8_t block[192]) {
    static uint32_t in[IN_WORDS];
    uint64_t address[2];
    for (uint32_t k = 0; k < IN_WORDS; k++) in[k] = k;
    assert_int_equal(ptxvm_alloc(vm, sizeof in, &address[0]), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(vm, c->out_words * 4, &address[1]), PTXVM_OK);
    assert_int_equal(ptxvm_write(vm, address[0], in, sizeof in), PTXVM_OK);
    assert_int_equal(ptxvm_set(vm, address[1], 0, c->out_words * 4), PTXVM_OK);
    memset(block, 0, 192);
    memcpy(block, address, 16);
    if (!c->map) return;
    struct ptxvm_tensor_map map = *c->map;
    map.address = address[c->map_of_out];
    assert_int_equal(ptxvm_tensor_map_encode(&map, block + 64), PTXVM_OK);
}

// One run; `visit` (may be NULL) sees the module before it goes.
static inline ptxvm_status exec_seed(struct exec_case *c, uint64_t seed, void (*visit)(ptxvm_kernel *kernel)) {
    static char text[1 << 16];
    uint8_t parameters[192];
    ptxvm *vm;
    ptxvm_module *module;
    ptxvm_kernel *kernel;
    int bytes = snprintf(text, sizeof text, EXEC_MODULE "%s%s%s\nret;\n}\n", c->target ? c->target : "sm_90a",
                         c->functions ? c->functions : "", EXEC_KERNEL, c->body);
    assert_true(bytes > 0 && (size_t)bytes < sizeof text);
    c->findings = 0;
    struct ptxvm_options options = {.size = sizeof options,
                                    .checks = c->no_checks ? 0 : PTXVM_CHECK_ALL,
                                    .seed = seed,
                                    .counts = c->counts,
                                    .finding = exec_note,
                                    .user = c,
                                    .multiprocessors = 7,
                                    .instruction_limit = c->instruction_limit};
    assert_int_equal(ptxvm_create(&options, &vm), PTXVM_OK);
    if (ptxvm_module_load(vm, text, strlen(text), &module) != PTXVM_OK) fail_msg("%s\n%s", ptxvm_error(vm), text);
    assert_int_equal(ptxvm_module_kernel(module, "k", &kernel), PTXVM_OK);
    exec_parameters(vm, c, parameters);
    struct ptxvm_launch launch = {.grid = {c->grid ? c->grid : 1, 1, 1},
                                  .block = {c->block, 1, 1},
                                  .cluster = {c->cluster ? c->cluster : 1, 1, 1},
                                  .smem_dynamic_bytes = c->smem_bytes,
                                  .parameters = parameters};
    ptxvm_status status = ptxvm_run(vm, kernel, &launch);
    uint64_t out;
    memcpy(&out, parameters + 8, 8);
    assert_int_equal(ptxvm_read(vm, c->out, out, c->out_words * 4), PTXVM_OK);
    if (visit) visit(kernel);
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
    return status;
}

// All seeds, some without checks: clean, and out[k] == expected[k] each time.
static inline void exec_expect(struct exec_case *c, const uint32_t *expected) {
    static uint32_t out[OUT_WORDS_MAX];
    if (!c->out_words) c->out_words = (c->grid ? c->grid : 1) * c->block;
    assert_true(c->out_words <= OUT_WORDS_MAX);
    c->out = out;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        c->no_checks = seed % 3 == 2;
        ptxvm_status status = exec_seed(c, seed, NULL);
        if (c->findings) fail_msg("seed %u: %s\n%s", (unsigned)seed, c->finding, c->body);
        assert_int_equal(status, PTXVM_OK);
        for (size_t k = 0; k < c->out_words; k++)
            if (out[k] != expected[k])
                fail_msg("seed %u: out[%zu] is %u, not %u\n%s", (unsigned)seed, k, out[k], expected[k], c->body);
    }
}

#endif
