// kernels: what tests of instructions share: PTX text put together from pieces, and one launch of it that gives each
// thread registers from a buffer and takes registers back. SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_PTXVM_KERNELS_H
#define TESTS_PTXVM_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptxvm.h"

/* -- Text ------------------------------------------------------------------------------------------------------------
 */

struct text {
    char at[1 << 18];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static inline void add(struct text *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(t->at + t->used, sizeof t->at - t->used, format, arguments);
    va_end(arguments);
    assert_true(bytes >= 0 && t->used + (size_t)bytes < sizeof t->at);
    t->used += (size_t)bytes;
}

// "{%name<first>, ..}"
static inline void add_vector(struct text *t, const char *name, unsigned first, unsigned count) {
    for (unsigned k = 0; k < count; k++) add(t, "%s%%%s%u", k == 0 ? "{" : ", ", name, first + k);
    add(t, "}");
}

// Kernel k(in, out) up to its body: %in<ins> of `type` loaded from in[thread][ins]; %out<outs> declared; %thread, %ain,
// %aout.
static inline void begin_kernel(struct text *t, const char *target, const char *type, unsigned ins, unsigned outs) {
    unsigned bytes = strstr(type, "64") != NULL ? 8 : 4;
    t->used = 0;
    add(t, ".version 8.7\n.target %s\n.address_size 64\n", target);
    add(t, ".visible .entry k(.param .u64 pin, .param .u64 pout)\n{\n");
    add(t, ".reg .%s %%in<%u>;\n.reg .%s %%out<%u>;\n.reg .b32 %%thread;\n.reg .b64 %%ain, %%aout, %%x;\n", type,
        ins + 1, type, outs + 1);
    add(t, "ld.param.u64 %%ain, [pin];\nld.param.u64 %%aout, [pout];\nmov.u32 %%thread, %%tid.x;\n");
    add(t, "mul.wide.u32 %%x, %%thread, %u;\nadd.s64 %%ain, %%ain, %%x;\n", ins * bytes);
    add(t, "mul.wide.u32 %%x, %%thread, %u;\nadd.s64 %%aout, %%aout, %%x;\n", outs * bytes);
    for (unsigned k = 0; k < ins; k++) add(t, "ld.global.%s %%in%u, [%%ain+%u];\n", type, k, k * bytes);
}

static inline void end_kernel(struct text *t, const char *type, unsigned outs) {
    unsigned bytes = strstr(type, "64") != NULL ? 8 : 4;
    for (unsigned k = 0; k < outs; k++) add(t, "st.global.%s [%%aout+%u], %%out%u;\n", type, k * bytes, k);
    add(t, "ret;\n}\n");
}

/* -- Launch ----------------------------------------------------------------------------------------------------------
 */

struct findings {
    unsigned of_kind[PTXVM_FINDING_COUNT], all;
    char text[300]; /* of the first */
};

static inline void note_finding(void *user, const struct ptxvm_finding *f) {
    struct findings *n = user;
    if (n->all++ == 0)
        snprintf(n->text, sizeof n->text, "line %u: %s: %s", f->ptx_line, ptxvm_finding_text(f->kind), f->text);
    n->of_kind[f->kind]++;
}

struct run {
    const char *text;
    unsigned threads;
    size_t smem_bytes;
    const void *in;
    size_t in_bytes;
    void *out;
    size_t out_bytes;
    uint64_t seed;
    struct findings findings; /* result */
};

static inline ptxvm_status run_kernel(struct run *r) {
    struct ptxvm_options options = {.size = sizeof options,
                                    .checks = PTXVM_CHECK_ALL,
                                    .seed = r->seed,
                                    .finding = note_finding,
                                    .user = &r->findings};
    ptxvm *vm;
    ptxvm_module *module;
    ptxvm_kernel *kernel;
    uint64_t parameters[2];
    memset(&r->findings, 0, sizeof r->findings);
    assert_int_equal(ptxvm_create(&options, &vm), PTXVM_OK);
    if (ptxvm_module_load(vm, r->text, strlen(r->text), &module) != PTXVM_OK)
        fail_msg("%s\n%s", ptxvm_error(vm), r->text);
    assert_int_equal(ptxvm_module_kernel(module, "k", &kernel), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(vm, r->in_bytes, &parameters[0]), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(vm, r->out_bytes, &parameters[1]), PTXVM_OK);
    assert_int_equal(ptxvm_write(vm, parameters[0], r->in, r->in_bytes), PTXVM_OK);
    struct ptxvm_launch launch = {
        .grid = {1, 1, 1}, .block = {r->threads, 1, 1}, .smem_dynamic_bytes = r->smem_bytes, .parameters = parameters};
    ptxvm_status status = ptxvm_run(vm, kernel, &launch);
    if (r->findings.all == 0) assert_int_equal(status, PTXVM_OK);
    if (status == PTXVM_OK || status == PTXVM_ERROR_FAULT)
        assert_int_equal(ptxvm_read(vm, r->out, parameters[1], r->out_bytes), PTXVM_OK);
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
    return status;
}

static inline void run_clean(struct run *r) {
    run_kernel(r);
    if (r->findings.all != 0) fail_msg("%u findings; %s\n%s", r->findings.all, r->findings.text, r->text);
}

/* -- Random ----------------------------------------------------------------------------------------------------------
 */

static inline uint32_t random_bits(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}

#endif
