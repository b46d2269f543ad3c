// report: findings of checks: once per kind and instruction of a launch to the caller's callback; fatal kinds end the
// launch. Never prints. SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const finding_texts[PTXVM_FINDING_COUNT] = {
#define FINDING_TEXT(name, text) text,
    PTXVM_FINDINGS(FINDING_TEXT)
#undef FINDING_TEXT
};

const char *ptxvm_finding_text(enum ptxvm_finding_kind kind) {
    return (unsigned)kind < PTXVM_FINDING_COUNT ? finding_texts[kind] : "?";
}

const char *ptxvm_status_text(ptxvm_status status) {
    switch (status) {
#define STATUS_TEXT(name, number, text)                                                                                \
    case PTXVM_##name:                                                                                                 \
        return text;
        PTXVM_STATUS(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "?";
}

ptxvm_status vm_fail(ptxvm *vm, ptxvm_status status, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(vm->error, sizeof vm->error, format, list);
    va_end(list);
    return status;
}

static bool is_fatal(enum ptxvm_finding_kind kind) {
    return kind <= PTXVM_FINDING_TRAP;
}

// The error of ptxvm_run is its first finding.
static void set_error(struct run *r, const struct ptxvm_finding *finding) {
    if (r->vm->findings == 0)
        vm_fail(r->vm, PTXVM_ERROR_FAULT, "line %u: %s: %s", finding->ptx_line, ptxvm_finding_text(finding->kind),
                finding->text);
}

// The number of an instruction among all of the module; *function: the one it belongs to.
static size_t number_of(const struct run *r, const struct instruction *i, const struct ptxvm_kernel **function) {
    size_t before = 0;
    const ptxvm_module *module = r->kernel->module;
    *function = r->kernel;
    for (unsigned k = 0; k < module->functions; k++) {
        const struct ptxvm_kernel *f = &module->kernel[k];
        if (i >= f->code && i < f->code + f->count) {
            *function = f;
            break;
        }
        before += f->count;
    }
    return before + i->index;
}

static bool is_new(struct run *r, size_t number, enum ptxvm_finding_kind kind) {
    uint32_t bit = UINT32_C(1) << (unsigned)kind;
    bool seen = r->seen[number] & bit;
    r->seen[number] |= bit;
    return !seen;
}

void report(struct exec *x, const struct instruction *i, int lane, enum ptxvm_finding_kind kind, const char *format,
            ...) {
    struct run *r = run_of(x);
    if (is_fatal(kind)) {
        x->status = EXEC_FAULT;
        if (r->stopped) return; /* the first fatal one ends the launch */
        r->stopped = true;
    }
    const struct ptxvm_kernel *function;
    if (is_new(r, number_of(r, i, &function), kind)) {
        char text[2048];
        va_list list;
        va_start(list, format);
        vsnprintf(text, sizeof text, format, list);
        va_end(list);
        struct ptxvm_finding finding = {
            .kind = kind,
            .kernel = function->function->name,
            .block = {x->block->index[0], x->block->index[1], x->block->index[2]},
            .warp = (int)x->warp->id,
            .lane = lane,
            .instruction = i->index,
            .ptx_line = i->line,
            .source_line = i->source_line,
            .text = text,
        };
        set_error(r, &finding);
        const struct ptxvm_options *options = &r->vm->options;
        if (options->finding && r->reported++ < options->findings_max) options->finding(options->user, &finding);
    }
    r->vm->findings++;
}
