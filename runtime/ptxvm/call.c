// call: direct calls of .func. NVRTC inlines nearly everything; what remains is refused with its line.
// SPDX-License-Identifier: Apache-2.0
#include "call.h"
#include "run.h"

bool call_bind(struct binder *b, struct instruction *out) {
    (void)out;
    return bind_fail(b, "calls are not supported: compile with inlining");
}

void call_return(struct exec *x, const struct instruction *i) {
    report(x, i, -1, PTXVM_FINDING_BAD_OPERAND, "return from a function that was not called");
}

uint64_t calls_local_bytes(const struct ptxvm_kernel *kernel) {
    return kernel->function->local_bytes;
}

uint64_t calls_local_base(const struct warp *w) {
    (void)w;
    return 0;
}

uint64_t calls_parameter_base(const struct warp *w) {
    (void)w;
    return 0;
}

uint64_t calls_local_top(const struct warp *w) {
    return w->block->vm->run->local_bytes;
}

uint8_t *calls_parameter(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                         uint32_t align, enum access access) {
    (void)align;
    report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS, "%s of %u bytes at parameter offset %lld; there are %llu bytes",
           access & ACCESS_WRITE ? "write" : "read", bytes, (long long)address,
           (unsigned long long)run_of(x)->kernel->function->parameter_bytes);
    return NULL;
}

void calls_reset(struct run *r) {
    (void)r;
}

void calls_destroy(struct run *r) {
    (void)r;
}
