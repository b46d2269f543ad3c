// parse_body: statements of a function: instructions, labels, declarations, blocks. One loop, no recursion.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"

#include <string.h>

/* -- Instructions -------------------------------------------------------------------------------------------------- */

static bool is_mnemonic(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == ':';
}

// Opcodes are lower case; anything else is a name in the wrong place.
static bool is_opcode(struct span span) {
    for (size_t k = 0; k < span.bytes; k++) {
        char c = span.text[k];
        if (!(c >= 'a' && c <= 'z') && !(k && ((c >= '0' && c <= '9') || c == '_'))) return false;
    }
    return span.bytes > 0;
}

// Takes "cvt.rn.f16x2.f32" apart.
static bool split(struct parser *p, struct name *name) {
    struct mnemonic *mnemonic = parse_alloc(p, sizeof *mnemonic);
    const char *piece[PTX_MODIFIERS_MAX];
    unsigned pieces = 0;
    const char *at = name->text, *end = at + name->bytes;
    for (bool first = true; at <= end; first = false) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        struct span span = {at, (size_t)((dot ? dot : end) - at)};
        struct name *part = span.bytes && mnemonic ? lex_intern(p, span) : NULL;
        if (!part) return parse_fail(p, "malformed instruction '%.100s'", name->text);
        if (!first && pieces == PTX_MODIFIERS_MAX) return parse_fail(p, "more than %d modifiers", PTX_MODIFIERS_MAX);
        if (first && !is_opcode(span)) return parse_fail(p, "an instruction is expected, not '%.100s'", name->text);
        if (first)
            mnemonic->opcode = part->text;
        else
            piece[pieces++] = part->text;
        at += span.bytes + 1;
    }
    mnemonic->modifiers = pieces;
    mnemonic->modifier = parse_alloc(p, pieces * sizeof *piece);
    if (!mnemonic->modifier) return false;
    if (pieces) memcpy(mnemonic->modifier, piece, pieces * sizeof *piece);
    name->mnemonic = mnemonic;
    return true;
}

// An instruction whose opcode starts at `start`; the parser stands behind the opcode.
static bool parse_instruction(struct parser *p, const char *start, struct ptx_statement *statement) {
    struct ptx_function *f = p->function;
    while (p->at < p->end && is_mnemonic(*p->at)) p->at++;
    struct name *name = lex_intern(p, (struct span){start, (size_t)(p->at - start)});
    if (!name || (!name->mnemonic && !split(p, name))) return false;
    statement->opcode = name->mnemonic->opcode;
    statement->text = name->text;
    statement->modifier = name->mnemonic->modifier;
    statement->modifiers = name->mnemonic->modifiers;
    statement->line = p->line;
    statement->source_line = p->source_line;
    if (!parse_operands(p, statement)) return false;
    if (f->statements == PTX_STATEMENTS_MAX) return parse_fail(p, "more than %d instructions", PTX_STATEMENTS_MAX);
    if (!parse_grow(p, &f->statement, f->statements, &p->statement_capacity, sizeof *f->statement)) return false;
    f->statement[f->statements++] = *statement;
    return true;
}

static bool parse_guarded(struct parser *p) {
    struct ptx_statement statement = {0};
    struct span word;
    if (!parse_guard(p, &statement)) return false;
    if (!lex_word(p, &word)) return parse_fail(p, "an instruction is expected");
    return parse_instruction(p, word.text, &statement);
}

/* -- Labels -------------------------------------------------------------------------------------------------------- */

// To the ';'.
static bool skip_statement(struct parser *p) {
    while (lex_peek(p) != ';' && p->at < p->end) p->at++;
    return lex_expect(p, ';');
}

// A label, and what belongs to it if it names a list.
static bool parse_label(struct parser *p, struct span word) {
    struct name *name = lex_intern(p, word);
    struct binding *binding = name ? scope_declare(p, name, BIND_LABEL) : NULL;
    if (!binding) return false;
    binding->index = p->function->statements;
    const char *before = p->at;
    uint32_t line = p->line;
    struct span directive;
    if (!lex_directive(p, &directive)) return true;
    if (span_is(directive, "branchtargets")) {
        binding->kind = BIND_TABLE;
        return parse_label_list(p, &binding->index, &binding->count);
    }
    if (span_is(directive, "callprototype") || span_is(directive, "calltargets")) {
        binding->kind = BIND_PROTOTYPE;
        return skip_statement(p);
    }
    p->at = before; /* some other directive */
    p->line = line;
    return true;
}

static bool parse_word(struct parser *p) {
    struct ptx_statement statement = {0};
    struct span word;
    uint32_t line = p->line;
    if (!lex_word(p, &word))
        return parse_fail(p, "a statement is expected at '%c'", *p->at > ' ' && *p->at <= '~' ? *p->at : '?');
    const char *behind = p->at;
    if (lex_peek(p) == ':' && p->end - p->at >= 2 && p->at[1] != ':') {
        p->at++;
        return parse_label(p, word);
    }
    p->at = behind;
    p->line = line;
    return parse_instruction(p, word.text, &statement);
}

/* -- Declarations -------------------------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// name, or name<count>.
static bool parse_register(struct parser *p, enum ptx_type type) {
    struct span word;
    if (!lex_word(p, &word)) return parse_fail(p, "a register's name is expected");
    struct name *name = lex_intern(p, word);
    if (!name) return false;
    uint64_t count = 0;
    bool is_range = lex_accept(p, '<');
    if (is_range && (!lex_count(p, PTX_REGISTERS_MAX, &count) || !lex_expect(p, '>'))) return false;
    struct binding *binding = scope_declare(p, name, is_range ? BIND_RANGE : BIND_REGISTER);
    if (!binding) return false;
    binding->type = type;
    binding->index = (uint32_t)count;
    if (is_range && is_digit(word.text[word.bytes - 1])) p->has_digit_ranges = true;
    return true;
}

static bool parse_registers(struct parser *p) {
    struct span word;
    if (!lex_directive(p, &word)) return parse_fail(p, "a type is expected");
    enum ptx_type type = ptx_type_parse(word.text, word.bytes);
    if (type == PTX_NONE || (type != PTX_PRED && ptx_type_bits(type) < 8))
        return parse_unsupported(p, "registers of '.%.*s'", (int)(word.bytes > 50 ? 50 : word.bytes), word.text);
    do {
        if (!parse_register(p, type)) return false;
    } while (lex_accept(p, ','));
    return lex_expect(p, ';');
}

// .loc file line column [, function_name name [+ n], inlined_at file line column]. A line of another file than the
// first that was named (a header's inline function) leaves the last line of the first file in force.
static bool parse_loc(struct parser *p) {
    enum { NUMBER_MAX = INT32_MAX };
    uint64_t file, line, column;
    if (!lex_count(p, NUMBER_MAX, &file) || !lex_count(p, NUMBER_MAX, &line) || !lex_count(p, NUMBER_MAX, &column))
        return false;
    if (!p->source_file) p->source_file = (uint32_t)file;
    if (file == p->source_file) p->source_line = (uint32_t)line;
    lex_line_end(p);
    return true;
}

static bool parse_declaration(struct parser *p) {
    struct span word;
    enum ptx_space space;
    if (!lex_directive(p, &word)) return parse_fail(p, "a directive is expected");
    if (span_is(word, "reg")) return parse_registers(p);
    if (span_is(word, "loc")) return parse_loc(p);
    if (span_is(word, "pragma")) return parse_pragma(p);
    bool is_extern = span_is(word, "extern");
    if (is_extern && !lex_directive(p, &word)) return parse_fail(p, "a directive is expected");
    if (parse_space(word, &space)) return parse_variables(p, space, is_extern);
    return parse_unsupported(p, "directive '.%.*s'", (int)(word.bytes > 50 ? 50 : word.bytes), word.text);
}

/* -- The loop ------------------------------------------------------------------------------------------------------ */

bool parse_body(struct parser *p) {
    uint32_t outside = p->depth;
    if (!scope_enter(p)) return false;
    while (p->depth > outside) {
        char c = lex_peek(p);
        bool good;
        if (c == '{')
            p->at++, good = scope_enter(p);
        else if (c == '}')
            p->at++, good = scope_leave(p);
        else if (c == '.')
            good = parse_declaration(p);
        else if (c == '@')
            p->at++, good = parse_guarded(p);
        else if (c == ';')
            p->at++, good = true; /* an empty statement */
        else if (p->at == p->end)
            good = parse_fail(p, "the body of '%.100s' does not end", p->function->name);
        else
            good = parse_word(p);
        if (!good || p->status) return false;
    }
    return true;
}
