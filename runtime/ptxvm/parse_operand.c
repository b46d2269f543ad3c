// parse_operand: operands of instructions: registers, numbers, addresses, vectors, names. Elements of vectors go to the
// function's pool at once, a statement's own operands together when its ';' is reached.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"

#include <string.h>

enum { ELEMENTS_MAX = 512, WARP_SIZE = 32 };

// An operand and the name that it still has to be given a meaning of, if any.
struct draft {
    struct ptx_operand op;
    struct name *unknown;
};

/* -- Names as operands --------------------------------------------------------------------------------------------- */

bool variable_address(struct parser *p, struct variable *variable, int64_t *out) {
    struct ptx_symbol *symbol = &variable->symbol;
    uint32_t function = p->function_index + 1;
    if (symbol->space == PTX_SHARED && symbol->is_extern) {
        if (symbol->align > p->extern_align) p->extern_align = symbol->align;
        *out = EXTERN_MARK;
        return true;
    }
    if (symbol->space == PTX_SHARED && variable->placed != function) {
        if (!place(p, &p->function->shared_bytes, symbol->bytes, symbol->align, PTX_SHARED_BYTES_MAX, &symbol->address))
            return false;
        if (symbol->align > p->function->shared_align) p->function->shared_align = symbol->align;
        variable->placed = function;
    }
    *out = (int64_t)symbol->address;
    return true;
}

// '+' or '-' and a number, if there is one.
static bool optional_offset(struct parser *p, int64_t *out) {
    char sign = lex_peek(p);
    struct literal literal = {PTX_S64, 0};
    *out = 0;
    if (sign != '+' && sign != '-') return true;
    if (sign == '+') p->at++;
    if (!lex_literal(p, &literal)) return false;
    int64_t most = INT64_C(1) << OFFSET_BITS_MAX;
    if (literal.type != PTX_S64 || literal.value > most || literal.value < -most)
        return parse_fail(p, "offset out of range");
    *out = literal.value;
    return true;
}

static bool symbol_operand(struct parser *p, struct variable *variable, struct ptx_operand *op) {
    int64_t address, offset;
    if (!variable_address(p, variable, &address) || !optional_offset(p, &offset)) return false;
    op->kind = PTX_SYMBOL;
    op->type = PTX_U64;
    op->space = (uint16_t)variable->symbol.space;
    op->value = address + offset;
    return slot_symbol(p, variable->symbol.space, op->value, &op->slot);
}

static bool immediate_operand(struct parser *p, struct literal literal, struct ptx_operand *op) {
    op->kind = PTX_IMMEDIATE;
    op->type = literal.type;
    op->value = literal.value;
    return slot_immediate(p, literal, &op->slot);
}

static bool sink_operand(struct parser *p, struct ptx_operand *op) {
    enum { SCRATCH_BYTES = 512 };
    op->kind = PTX_SINK;
    if (!p->scratch_slot && !slot_new(p, SCRATCH_BYTES, &p->scratch_slot)) return false;
    op->slot = p->scratch_slot;
    return true;
}

// %tid.x and the like; the word is what stands before the dot.
static bool special_operand(struct parser *p, struct span word, struct ptx_operand *op) {
    struct span component, whole = word;
    if (p->at < p->end && *p->at == '.' && lex_directive(p, &component))
        whole.bytes = (size_t)(component.text + component.bytes - word.text);
    enum ptx_special special = ptx_special_parse(whole.text, whole.bytes);
    if (special == PTX_SPECIAL_NONE)
        return parse_fail(p, "unknown register '%.*s'", (int)(whole.bytes > 100 ? 100 : whole.bytes), whole.text);
    op->kind = PTX_SPECIAL;
    op->type = ptx_special_type(special);
    op->special = (uint8_t)special;
    return slot_special(p, special, &op->slot);
}

// A name that is no register.
static bool other_name(struct parser *p, struct span word, struct name *name, struct draft *out) {
    const struct binding *binding = scope_find(name);
    if (binding && binding->kind == BIND_VARIABLE) return symbol_operand(p, binding->variable, &out->op);
    if (binding && binding->kind == BIND_PROTOTYPE) return parse_unsupported(p, "indirect call");
    if (binding && binding->kind == BIND_FUNCTION) {
        out->op.kind = PTX_FUNCTION;
        out->op.value = binding->index;
        return true;
    }
    if (word.text[0] == '%') return special_operand(p, word, &out->op);
    if (span_is(word, "WARP_SZ")) return immediate_operand(p, (struct literal){PTX_S64, WARP_SIZE}, &out->op);
    out->op.kind = PTX_LABEL;
    out->unknown = name; /* maybe a label: known when the scope ends */
    return true;
}

static bool name_operand(struct parser *p, struct draft *out) {
    struct span word;
    if (!lex_word(p, &word)) return parse_fail(p, "an operand is expected");
    if (span_is(word, "_")) return sink_operand(p, &out->op);
    struct name *name = lex_intern(p, word);
    struct ptx_register reg;
    bool found;
    if (!name || !scope_register(p, name, &reg, &found)) return false;
    if (!found) return other_name(p, word, name, out);
    out->op.kind = PTX_REG;
    out->op.type = reg.type;
    out->op.slot = reg.slot;
    return true;
}

/* -- Addresses, vectors, pairs ------------------------------------------------------------------------------------- */

static bool pool_add(struct parser *p, const struct ptx_operand *op) {
    struct ptx_function *f = p->function;
    if (!parse_grow(p, &f->operand, f->operands, &p->operand_capacity, sizeof *f->operand)) return false;
    f->operand[f->operands++] = *op;
    return true;
}

// One element of a vector: a register, number, variable or '_'.
static bool parse_element(struct parser *p) {
    struct draft draft = {0};
    struct literal literal;
    if (lex_starts_number(p)) {
        if (!lex_literal(p, &literal) || !immediate_operand(p, literal, &draft.op)) return false;
    } else if (!name_operand(p, &draft))
        return false;
    if (draft.unknown) return parse_fail(p, "unknown name '%.100s'", draft.unknown->text);
    return pool_add(p, &draft.op);
}

// Elements up to the closing bracket; the opening one was read.
static bool parse_vector(struct parser *p, char close, struct ptx_operand *op) {
    op->first = p->function->operands;
    op->count = 0;
    if (close == ')' && lex_accept(p, close)) return true;
    do {
        if (op->count == ELEMENTS_MAX) return parse_fail(p, "more than %d elements", ELEMENTS_MAX);
        if (!parse_element(p)) return false;
        op->count++;
    } while (lex_accept(p, ','));
    return lex_expect(p, close);
}

// A base that is no register: a slot holds the first address of the variable's space, `value` the rest.
static bool constant_base(struct parser *p, struct variable *variable, int64_t number, struct ptx_operand *op) {
    op->is_constant = true;
    op->type = PTX_U64;
    op->value = number;
    if (!variable) return slot_immediate(p, (struct literal){PTX_S64, 0}, &op->slot);
    op->base_is_symbol = true;
    op->space = (uint16_t)variable->symbol.space;
    return variable_address(p, variable, &op->value) && slot_symbol(p, variable->symbol.space, 0, &op->slot);
}

static bool address_base(struct parser *p, struct ptx_operand *op) {
    struct literal literal;
    if (lex_starts_number(p)) {
        if (!lex_literal(p, &literal)) return false;
        if (ptx_type_class(literal.type) == 'F') return parse_fail(p, "a float as address");
        return constant_base(p, NULL, literal.value, op);
    }
    struct span word;
    if (!lex_word(p, &word)) return parse_fail(p, "an address is expected");
    struct name *name = lex_intern(p, word);
    struct ptx_register reg;
    bool found;
    if (!name || !scope_register(p, name, &reg, &found)) return false;
    const struct binding *binding = scope_find(name);
    if (!found && binding && binding->kind == BIND_VARIABLE) return constant_base(p, binding->variable, 0, op);
    if (!found) return parse_fail(p, "unknown name '%.100s'", name->text);
    op->type = reg.type;
    op->slot = reg.slot;
    return true;
}

// [base], [base + offset], [base, {coordinates}]; the '[' was read.
static bool parse_address(struct parser *p, struct ptx_operand *op) {
    int64_t offset;
    op->kind = PTX_ADDRESS;
    if (!address_base(p, op) || !optional_offset(p, &offset)) return false;
    op->value = (int64_t)((uint64_t)op->value + (uint64_t)offset);
    if (lex_accept(p, ',') && (!lex_expect(p, '{') || !parse_vector(p, '}', op))) return false;
    return lex_expect(p, ']');
}

// The '|p' of 'd|p'.
static bool parse_pair(struct parser *p, struct ptx_operand *op) {
    struct draft second = {0};
    if (!name_operand(p, &second)) return false;
    bool is_predicate = second.op.kind == PTX_REG && second.op.type == PTX_PRED;
    if (!is_predicate && second.op.kind != PTX_SINK) return parse_fail(p, "a predicate is expected after '|'");
    op->slot_pair = second.op.slot;
    return true;
}

static bool parse_name_or_pair(struct parser *p, struct draft *out) {
    if (!name_operand(p, out)) return false;
    if (!lex_accept(p, '|')) return true;
    if (out->op.kind != PTX_REG && out->op.kind != PTX_SINK) return parse_fail(p, "a register is expected before '|'");
    return parse_pair(p, &out->op);
}

static bool parse_negated(struct parser *p, struct draft *out) {
    if (!name_operand(p, out)) return false;
    if (out->op.kind != PTX_REG || out->op.type != PTX_PRED) return parse_fail(p, "a predicate is expected after '!'");
    out->op.negated = true;
    return true;
}

static bool parse_operand(struct parser *p, struct draft *out) {
    struct literal literal;
    if (lex_starts_number(p)) return lex_literal(p, &literal) && immediate_operand(p, literal, &out->op);
    if (lex_accept(p, '[')) return parse_address(p, &out->op);
    if (lex_accept(p, '!')) return parse_negated(p, out);
    out->op.kind = PTX_VECTOR;
    if (lex_accept(p, '{')) return parse_vector(p, '}', &out->op);
    if (lex_accept(p, '(')) return parse_vector(p, ')', &out->op);
    return parse_name_or_pair(p, out);
}

/* -- Statements' operands ------------------------------------------------------------------------------------------ */

static bool add_draft(struct parser *p, const struct draft *draft) {
    if (draft->unknown && !scope_pending(p, draft->unknown, p->function->operands)) return false;
    return pool_add(p, &draft->op);
}

bool parse_operands(struct parser *p, struct ptx_statement *statement) {
    struct draft draft[PTX_OPERANDS_MAX] = {0};
    unsigned count = 0;
    if (lex_peek(p) != ';') do {
            if (count == PTX_OPERANDS_MAX) return parse_fail(p, "more than %d operands", PTX_OPERANDS_MAX);
            if (!parse_operand(p, &draft[count])) return false;
            count++;
        } while (lex_accept(p, ','));
    if (!lex_expect(p, ';')) return false;
    statement->first = p->function->operands;
    statement->operands = count;
    for (unsigned k = 0; k < count; k++)
        if (!add_draft(p, &draft[k])) return false;
    return true;
}

bool parse_label_list(struct parser *p, uint32_t *first, uint32_t *count) {
    *first = p->function->operands;
    *count = 0;
    do {
        struct span word;
        if (!lex_word(p, &word)) return parse_fail(p, "a label is expected");
        struct draft draft = {.op.kind = PTX_LABEL, .unknown = lex_intern(p, word)};
        if (!draft.unknown || !add_draft(p, &draft)) return false;
        ++*count;
    } while (lex_accept(p, ','));
    return lex_expect(p, ';');
}

bool parse_guard(struct parser *p, struct ptx_statement *statement) {
    struct draft draft = {0};
    statement->guard_negated = lex_accept(p, '!');
    if (!name_operand(p, &draft)) return false;
    if (draft.op.kind != PTX_REG || draft.op.type != PTX_PRED)
        return parse_fail(p, "a predicate is expected after '@'");
    statement->guard_slot = draft.op.slot;
    return true;
}
