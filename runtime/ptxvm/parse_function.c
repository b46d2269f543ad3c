// parse_function: heads of .entry and .func, and what is settled when a body ends.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"

/* -- Directives between head and body ------------------------------------------------------------------------------ */

bool parse_pragma(struct parser *p) {
    do {
        if (!lex_string(p)) return false;
    } while (lex_accept(p, ','));
    return lex_expect(p, ';');
}

// One to three numbers, x, y, z; the missing ones are 1.
static bool parse_triple(struct parser *p, unsigned out[3]) {
    enum { MOST = 1 << 20 };
    unsigned count = 0;
    out[0] = out[1] = out[2] = 1;
    do {
        uint64_t value;
        if (count == 3) return parse_fail(p, "more than 3 numbers");
        if (!lex_count(p, MOST, &value)) return false;
        if (!value) return parse_fail(p, "a size of 0");
        out[count++] = (unsigned)value;
    } while (lex_accept(p, ','));
    return true;
}

// Threads of a block from its shape.
static bool set_threads(struct parser *p, const unsigned shape[3]) {
    enum { THREADS_MAX = 1024 };
    uint64_t threads = (uint64_t)shape[0] * shape[1] * shape[2];
    if (threads > THREADS_MAX) return parse_fail(p, "more than %d threads", THREADS_MAX);
    p->function->maxntid = (unsigned)threads;
    return true;
}

// One directive of performance or launch. Those that only advise the compiler are read and dropped.
static bool parse_directive(struct parser *p, struct span word) {
    static const char *const flags[] = {"explicitcluster", "blocksareclusters", "noreturn"};
    static const char *const numbers[] = {"minnctapersm", "maxnctapersm", "maxclusterrank", "abi_preserve",
                                          "abi_preserve_control"};
    enum { NUMBER_MAX = 1 << 20 };
    struct ptx_function *f = p->function;
    unsigned triple[3];
    uint64_t number;
    if (span_is(word, "pragma")) return parse_pragma(p);
    if (span_is(word, "maxntid")) return parse_triple(p, triple) && set_threads(p, triple);
    if (span_is(word, "reqntid")) return parse_triple(p, f->reqntid) && set_threads(p, f->reqntid);
    if (span_is(word, "reqnctapercluster")) return parse_triple(p, f->reqnctapercluster);
    if (span_is(word, "maxnreg")) {
        if (!lex_count(p, NUMBER_MAX, &number)) return false;
        f->maxnreg = (unsigned)number;
        return true;
    }
    for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++)
        if (span_is(word, flags[k])) return true;
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
        if (span_is(word, numbers[k])) return lex_count(p, NUMBER_MAX, &number);
    return parse_unsupported(p, "directive '.%.*s'", (int)(word.bytes > 50 ? 50 : word.bytes), word.text);
}

/* -- Heads --------------------------------------------------------------------------------------------------------- */

// (.param ..., .param ...); the '(' was read.
static bool parse_parameters(struct parser *p) {
    if (lex_accept(p, ')')) return true;
    do {
        struct span word;
        if (!lex_directive(p, &word)) return parse_fail(p, "a parameter is expected");
        if (!span_is(word, "param")) return parse_unsupported(p, "parameter that is not .param");
        if (!parse_parameter(p)) return false;
    } while (lex_accept(p, ','));
    return lex_expect(p, ')');
}

// The function's index in the module: that of its declaration, or a new one.
static bool declare_function(struct parser *p, struct name *name) {
    struct ptx_text *text = p->text;
    struct binding *binding = scope_find(name);
    if (binding && (binding->kind != BIND_FUNCTION || binding->depth))
        return parse_fail(p, "'%.100s' is declared twice", name->text);
    if (!binding) {
        if (text->functions == PTX_FUNCTIONS_MAX) return parse_fail(p, "more than %d functions", PTX_FUNCTIONS_MAX);
        uint32_t depth = p->depth;
        p->depth = 0;
        binding = scope_declare(p, name, BIND_FUNCTION);
        p->depth = depth;
        if (!binding || !parse_grow(p, &text->function, text->functions, &p->function_capacity, sizeof *text->function))
            return false;
        binding->index = text->functions;
        text->function[text->functions++] = (struct ptx_function){.name = name->text};
    }
    p->function_index = binding->index;
    return true;
}

static bool parse_head(struct parser *p, bool is_entry) {
    struct span word;
    if (!is_entry && lex_accept(p, '(')) {
        if (!parse_parameters(p)) return false;
        p->function->returns = p->function->parameters;
    }
    if (!lex_word(p, &word)) return parse_fail(p, "a function's name is expected");
    struct name *name = lex_intern(p, word);
    if (!name || !declare_function(p, name)) return false;
    p->function->name = name->text;
    if (lex_accept(p, '(') && !parse_parameters(p)) return false;
    p->function->parameter_bytes = (size_t)p->param_bytes;
    while (lex_directive(p, &word))
        if (!parse_directive(p, word)) return false;
    return true;
}

/* -- Ends ---------------------------------------------------------------------------------------------------------- */

// The address of an extern shared variable: what carried the mark gets the place behind the static variables.
static int64_t settle(int64_t value, uint64_t address) {
    return value < EXTERN_MARK / 2 ? value : value - EXTERN_MARK + (int64_t)address;
}

static void settle_extern(struct parser *p) {
    struct ptx_function *f = p->function;
    uint64_t align = p->extern_align;
    uint64_t address = (f->shared_bytes + align - 1) / align * align;
    if (align > f->shared_align) f->shared_align = (uint32_t)align;
    f->dynamic_shared = address;
    for (unsigned k = 0; k < f->constants; k++)
        if (f->constant[k].kind == PTX_SYMBOL && f->constant[k].space == PTX_SHARED)
            f->constant[k].value = (uint64_t)settle((int64_t)f->constant[k].value, address);
    for (unsigned k = 0; k < f->operands; k++) {
        struct ptx_operand *op = &f->operand[k];
        bool has_symbol = op->kind == PTX_SYMBOL || (op->kind == PTX_ADDRESS && op->base_is_symbol);
        if (has_symbol && op->space == PTX_SHARED) op->value = settle(op->value, address);
    }
}

static void reset_function(struct parser *p, struct ptx_function *function) {
    enum { SLOT_FIRST = 64 }; /* slot 0 means: none */
    function->file_bytes = SLOT_FIRST;
    p->function = function;
    p->param_bytes = 0;
    p->extern_align = 16;
    p->constants = (struct constant_table){0};
    p->reg_capacity = p->operand_capacity = p->statement_capacity = p->constant_capacity = p->parameter_capacity = 0;
    p->scratch_slot = 0;
    p->source_line = 0;
}

// Puts the function in its place in the module. A second body is an error, a second declaration says nothing new.
static bool keep_function(struct parser *p) {
    struct ptx_function *there = &p->text->function[p->function_index];
    if (there->is_defined && p->function->is_defined) return parse_fail(p, "'%.100s' has two bodies", there->name);
    if (!there->is_defined) *there = *p->function;
    p->function = NULL;
    return true;
}

bool parse_function(struct parser *p, bool is_entry) {
    struct ptx_function function = {.is_entry = is_entry};
    reset_function(p, &function);
    if (!scope_enter(p) || !parse_head(p, is_entry)) return false;
    if (!lex_accept(p, ';')) {
        if (!lex_expect(p, '{') || !parse_body(p)) return false;
        function.is_defined = true;
        settle_extern(p);
    }
    function.param_space_bytes = (size_t)p->param_bytes;
    return scope_leave(p) && keep_function(p);
}
