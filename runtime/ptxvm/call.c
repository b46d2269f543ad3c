// call: direct calls of .func with arguments and results in .param space. Each activation by lanes of a warp has its
// own register file, parameter space and part of local memory; diverge.c lets the lanes meet at the return.
// SPDX-License-Identifier: Apache-2.0
#include "call.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static size_t round_up(uint64_t bytes) {
    return (size_t)((bytes + ALIGN - 1) / ALIGN * ALIGN);
}

/* -- Memory -------------------------------------------------------------------------------------------------------- */

uint64_t calls_local_bytes(const struct ptxvm_kernel *kernel) {
    enum { ROUNDS = 4 /* of all functions: recursion goes so deep at least */ };
    const ptxvm_module *module = kernel->module;
    uint64_t bytes = kernel->function->local_bytes;
    for (unsigned k = module->kernels; k < module->functions; k++)
        bytes += ROUNDS * round_up(module->kernel[k].function->local_bytes);
    return bytes;
}

static void no_memory(struct exec *x) {
    run_of(x)->status = PTXVM_ERROR_MEMORY;
    run_of(x)->stopped = true;
    x->status = EXEC_FAULT;
}

static struct call_frame *frame_new(struct warp *w, const struct ptxvm_kernel *function) {
    struct call_frame *frame = calloc(1, sizeof *frame);
    if (!frame) return NULL;
    frame->function = function;
    frame->file = aligned_alloc(ALIGN, round_up(function->function->file_bytes + 1));
    frame->parameters = calloc(LANES, function->function->param_space_bytes + 1);
    if (!frame->file || !frame->parameters) {
        free(frame->file);
        free(frame->parameters);
        free(frame);
        return NULL;
    }
    memset(frame->file, 0, function->function->file_bytes);
    frame->next = w->frames;
    w->frames = frame;
    return frame;
}

void calls_reset(struct run *r) {
    for (unsigned k = 0; k < r->warps; k++)
        for (struct call_frame *frame = r->warp[k].frames; frame; frame = frame->next) frame->used = false;
}

void calls_destroy(struct run *r) {
    for (unsigned k = 0; r->warp && k < r->warps; k++) {
        for (struct call_frame *frame = r->warp[k].frames, *next; frame; frame = next) {
            next = frame->next;
            free(frame->file);
            free(frame->parameters);
            free(frame);
        }
        free(r->warp[k].arguments);
    }
}

/* -- Parameter space ----------------------------------------------------------------------------------------------- */

// A lane's parameter space: the activation's, or that of the kernel's body; NULL: out of memory.
static uint8_t *space_of(const struct run *r, struct warp *w, const struct call_frame *frame, unsigned lane) {
    if (frame) return frame->parameters + lane * frame->function->function->param_space_bytes;
    size_t bytes = r->kernel->function->param_space_bytes;
    if (!w->arguments) w->arguments = calloc(LANES, bytes + 1);
    return w->arguments ? w->arguments + lane * bytes : NULL;
}

uint8_t *calls_parameter(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                         uint32_t align, enum access access) {
    struct run *r = run_of(x);
    const struct call_frame *frame = x->warp->current->frame;
    const struct ptx_function *f = frame ? frame->function->function : r->kernel->function;
    uint64_t first = frame ? 0 : f->parameter_bytes, end = f->param_space_bytes;
    (void)align;
    if (address < first || address > end || bytes > end - address) {
        report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS, "%s of %u bytes at parameter offset %lld; there are %llu bytes",
               access & ACCESS_WRITE ? "write" : "read", bytes, (long long)address, (unsigned long long)end);
        return NULL;
    }
    uint8_t *space = space_of(r, x->warp, frame, lane < 0 ? 0 : (unsigned)lane);
    if (!space) no_memory(x);
    return space ? space + address : NULL;
}

/* -- Call ---------------------------------------------------------------------------------------------------------- */

struct call_aux {
    const struct ptxvm_kernel *callee;
    const uint64_t *passed; /* offsets in the caller's parameter space: results, then arguments */
};

static bool pass(struct run *r, struct warp *w, struct call_frame *frame, uint32_t lanes, bool back) {
    const struct call_aux *a = frame->call->aux;
    const struct ptx_function *f = frame->function->function;
    unsigned first = back ? 0 : f->returns, end = back ? f->returns : f->parameters;
    for (; lanes; lanes &= lanes - 1) {
        unsigned lane = (unsigned)__builtin_ctz(lanes);
        uint8_t *outside = space_of(r, w, frame->caller, lane), *inside = space_of(r, w, frame, lane);
        if (!outside) return false;
        for (unsigned k = first; k < end; k++) {
            uint8_t *theirs = inside + f->parameter[k].offset, *ours = outside + a->passed[k];
            memcpy(back ? ours : theirs, back ? theirs : ours, f->parameter[k].bytes);
        }
    }
    return true;
}

static uint64_t local_top(const struct run *r, const struct call_frame *frame) {
    const struct ptxvm_kernel *function = frame ? frame->function : r->kernel;
    return (frame ? frame->local_base : 0) + round_up(function->function->local_bytes);
}

// A free activation of the function, or a new one; NULL after a finding or an error.
static struct call_frame *take_frame(struct exec *x, const struct instruction *i, const struct ptxvm_kernel *function) {
    unsigned used = 0;
    struct call_frame *found = NULL;
    for (struct call_frame *frame = x->warp->frames; frame; frame = frame->next) {
        used += frame->used;
        if (!frame->used && frame->function == function) found = frame;
    }
    if (used >= CALL_DEPTH) {
        report(x, i, -1, PTXVM_FINDING_OUT_OF_BOUNDS, "more than %d calls at a time in a warp", CALL_DEPTH);
        return NULL;
    }
    bool is_new = !found;
    if (is_new) found = frame_new(x->warp, function);
    if (!found) {
        no_memory(x);
        return NULL;
    }
    found->caller = x->warp->current->frame;
    found->local_base = local_top(run_of(x), found->caller);
    warp_fill_constants(run_of(x), x->warp, function->function, found->file, found->local_base, is_new);
    return found;
}

static void placed(struct exec *x) {
    x->warp->current = NULL;
    x->status = EXEC_JUMP;
}

static void run_call(struct exec *x, const struct instruction *i) {
    const struct call_aux *a = i->aux;
    struct run *r = run_of(x);
    struct warp *w = x->warp;
    if (x->active != x->converged) { /* the others wait behind the call */
        fragment_split(r, w, w->current, x->active, x->pc, x->pc + 1, x->pc + 1);
        placed(x);
        return;
    }
    struct call_frame *frame = take_frame(x, i, a->callee);
    if (!frame) return;
    frame->call = i;
    if (local_top(r, frame) > r->local_bytes || !pass(r, w, frame, x->active, false) ||
        !fragment_call(w, w->current, frame)) {
        report(x, i, -1, PTXVM_FINDING_OUT_OF_BOUNDS, "no stack for the call");
        return;
    }
    frame->used = true;
    placed(x);
}

void calls_finish(struct run *r, struct warp *w, struct fragment *f, struct call_frame *frame) {
    pass(r, w, frame, f->mask, true);
    f->frame = frame->caller;
    f->pc = frame->call->index + 1;
    frame->used = false;
}

void call_return(struct exec *x, const struct instruction *i) {
    struct run *r = run_of(x);
    struct warp *w = x->warp;
    (void)i;
    if (x->active != x->converged)
        fragment_split(r, w, w->current, x->active, x->pc, x->pc + 1, UINT32_MAX);
    else
        fragment_return(r, w, w->current);
    placed(x);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

// One list in parentheses: `count` variables of .param space of these sizes.
static bool take_list(struct binder *b, const struct ptx_operand *list, const struct ptx_parameter *parameter,
                      unsigned count, uint64_t *out) {
    unsigned have = list ? list->count : 0;
    if (have != count) return bind_fail(b, "%u operands in parentheses, needs %u", have, count);
    for (unsigned k = 0; k < count; k++) {
        const struct ptx_operand *op = operand_element(b, list, k);
        if (op->kind != PTX_SYMBOL || op->space != PTX_PARAM)
            return bind_fail(b, "an argument that is no .param variable");
        uint64_t end = (uint64_t)op->value + parameter[k].bytes;
        if (op->value < 0 || end > b->function->param_space_bytes) return bind_fail(b, "an argument of another size");
        out[k] = (uint64_t)op->value;
    }
    return true;
}

static void run_assertion(struct exec *x, const struct instruction *i) {
    report(x, i, __builtin_ctz(x->active), PTXVM_FINDING_TRAP, "an assertion failed");
}

// (results), function, (arguments): the lists may be missing.
bool call_bind(struct binder *b, struct instruction *out) {
    mod_take(b, "uni");
    out->klass = PTXVM_CLASS_CONTROL;
    if (!need_operands(b, 1, 3)) return false;
    unsigned at = b->operand[0].kind == PTX_VECTOR ? 1 : 0;
    if (at >= b->operands || b->operand[at].kind != PTX_FUNCTION)
        return bind_fail(b, "only direct calls are supported");
    if (b->operands > at + 2) return bind_fail(b, "only direct calls are supported");
    const struct ptx_operand *results = at ? &b->operand[0] : NULL;
    const struct ptx_operand *arguments = b->operands > at + 1 ? &b->operand[at + 1] : NULL;
    uint64_t index = (uint64_t)b->operand[at].value;
    const struct ptxvm_kernel *callee = module_function(b->module, index);
    if (!callee) {
        out->run = run_assertion;
        bool is_assertion =
            index < b->module->text->functions && !strcmp(b->module->text->function[index].name, "__assertfail");
        return is_assertion || bind_fail(b, "the function has no body");
    }
    const struct ptx_function *f = callee->function;
    struct call_aux *a = bind_alloc(b, sizeof *a);
    uint64_t *passed = a ? bind_alloc(b, (f->parameters + 1) * sizeof *passed) : NULL;
    if (!passed) return false;
    if (f->is_entry) return bind_fail(b, "a call of a kernel");
    a->callee = callee;
    a->passed = passed;
    out->aux = a;
    out->run = run_call;
    return take_list(b, results, f->parameter, f->returns, passed) &&
           take_list(b, arguments, f->parameter + f->returns, f->parameters - f->returns, passed + f->returns);
}
