// parse: what the parts of the parser share. parse.c: entry and module scope; parse_lex.c: characters, names, numbers;
// parse_scope.c: who is called what, slots; parse_data.c: variables and initialisers; parse_function.c: heads and
// bodies; parse_operand.c: operands. Every function that returns bool returns false after parse_fail, and so on to the
// top. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_PARSE_H
#define PTXVM_PARSE_H

#include "ptx.h"
#include "arena.h"

struct binding;
struct mnemonic;

// A word of the text, once.
struct name {
    const char *text; /* ends in 0 */
    uint32_t bytes, hash;
    struct name *next;         /* in its bucket */
    struct binding *binding;   /* innermost scope first */
    struct mnemonic *mnemonic; /* of an instruction, when it was met as one */
};

// "cvt.rn.f16x2.f32" taken apart.
struct mnemonic {
    const char *opcode;
    const char **modifier;
    unsigned modifiers;
};

struct variable {
    struct ptx_symbol symbol;
    uint32_t placed; /* shared of the module: 1 + index of the function in whose layout it has an address */
};

enum binding_kind {
    BIND_REGISTER, /* index: in the function's registers */
    BIND_RANGE,    /* %r<count>: index = count, type; the name is the prefix */
    BIND_VARIABLE,
    BIND_LABEL,    /* index of the instruction */
    BIND_TABLE,    /* .branchtargets: index, count: in the operand pool */
    BIND_FUNCTION, /* index in the module */
    BIND_PROTOTYPE
};

struct binding {
    enum binding_kind kind;
    enum ptx_type type;
    uint32_t index, count;
    struct variable *variable;
    uint32_t depth;
    struct name *name;
    struct binding *outer;   /* of the same name */
    struct binding *sibling; /* of the same scope */
};

// A name used before it is known: a label, or a mistake.
struct pending {
    struct name *name;
    uint32_t operand; /* index in the pool */
    uint32_t line;
    struct pending *next;
};

struct scope {
    struct binding *first;
    struct pending *pending;
};

// The constants of a function that have slots: open addressing; slot 0: free.
struct constant_table {
    struct ptx_constant *entry;
    size_t size, used;
};

struct parser {
    const char *at, *end; /* what is left of the text */
    uint32_t line;
    struct arena *arena;
    struct ptx_text *text;
    char *error;
    size_t error_bytes;
    ptxvm_status status;

    struct name **bucket;
    size_t buckets, names;
    bool has_digit_ranges; /* a range's prefix ended in a digit */
    struct scope scope[PTX_NESTING_MAX + 2];
    uint32_t depth; /* 0: the module, 1: parameters of a function, 2: its body, ... */

    // The function that is being parsed.
    struct ptx_function *function; /* NULL: at module scope */
    uint32_t function_index;
    uint64_t param_bytes; /* parameters and .param variables of the body so far */
    uint32_t extern_align;
    struct constant_table constants;
    size_t reg_capacity, operand_capacity, statement_capacity, constant_capacity;
    uint32_t scratch_slot;             /* of '_' */
    uint32_t source_file, source_line; /* of .loc; file 0: none yet */

    // Of the module.
    size_t parameter_capacity, function_capacity, symbol_capacity, relocation_capacity;
    struct variable **symbol; /* collected; copied to text->symbol at the end */
};

// Addresses of extern shared variables are known at the end of a function: until then they carry this bit.
#define EXTERN_MARK (INT64_C(1) << 60)
enum { OFFSET_BITS_MAX = 40 }; /* of offsets of symbols */

// Sets the error "line N: text" and returns false. parse_unsupported: the same with the status UNSUPPORTED.
bool parse_fail(struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool parse_unsupported(struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *parse_alloc(struct parser *p, size_t bytes); /* NULL after parse_fail */
// *array with room for one more element; false after parse_fail.
bool parse_grow(struct parser *p, void *array_address, size_t count, size_t *capacity, size_t element_bytes);

/* -- parse_lex.c --------------------------------------------------------------------------------------------------- */

struct span {
    const char *text;
    size_t bytes;
};

bool lex_space(struct parser *p); /* skips blanks and comments; false: an unfinished comment */
char lex_peek(struct parser *p);  /* next character after blanks; 0 at the end (or after an error) */
bool lex_accept(struct parser *p, char c);
bool lex_expect(struct parser *p, char c);
bool lex_word(struct parser *p, struct span *out);      /* a name, without dots; false, silently, if there is none */
bool lex_directive(struct parser *p, struct span *out); /* '.name': the name; silently false */
bool lex_string(struct parser *p);                      /* "...", skipped */
void lex_line_end(struct parser *p);                    /* to the end of the line */
bool lex_starts_number(struct parser *p);
bool span_is(struct span span, const char *text);
// A literal with its sign. Type S64, U64 (large or with a U), F32, F64; value: the integer, or the bits.
struct literal {
    enum ptx_type type;
    int64_t value;
};
bool lex_literal(struct parser *p, struct literal *out);
bool lex_count(struct parser *p, uint64_t most, uint64_t *out);  /* a plain number in [0, most] */
struct name *lex_intern(struct parser *p, struct span span);     /* NULL after parse_fail */
struct name *lex_find(const struct parser *p, struct span span); /* NULL: not met yet */

/* -- parse_scope.c ------------------------------------------------------------------------------------------------- */

bool scope_enter(struct parser *p);
bool scope_leave(struct parser *p); /* resolves the labels that its statements used */
// A new name of the innermost scope; fails if the scope has it already. NULL after parse_fail.
struct binding *scope_declare(struct parser *p, struct name *name, enum binding_kind kind);
struct binding *scope_find(const struct name *name); /* NULL: unknown. Registers of ranges: see scope_register. */
// The register of this name, of a declaration of its own or of a range, if that is its innermost meaning. *found is
// false where it is something else, or unknown.
bool scope_register(struct parser *p, struct name *name, struct ptx_register *out, bool *found);
bool scope_pending(struct parser *p, struct name *name, uint32_t operand);
bool slot_new(struct parser *p, unsigned bytes, uint32_t *slot);
// Slot of an immediate (type as of a literal), of a symbol's address, of a special register; see isa.h for its layout.
bool slot_immediate(struct parser *p, struct literal literal, uint32_t *slot);
bool slot_symbol(struct parser *p, enum ptx_space space, int64_t value, uint32_t *slot);
bool slot_special(struct parser *p, enum ptx_special special, uint32_t *slot);

/* -- parse_operand.c ----------------------------------------------------------------------------------------------- */

// Operands up to ';', appended to the pool.
bool parse_operands(struct parser *p, struct ptx_statement *statement);
// A list of labels up to ';', appended to the pool.
bool parse_label_list(struct parser *p, uint32_t *first, uint32_t *count);
bool parse_guard(struct parser *p, struct ptx_statement *statement);
// Address of a variable in its space; a shared variable of the module gets its place in this function.
bool variable_address(struct parser *p, struct variable *variable, int64_t *out);

/* -- parse_data.c -------------------------------------------------------------------------------------------------- */

// .global, .const, .shared, .local, .param (of a body): declarations up to ';'. The space's directive was read.
bool parse_variables(struct parser *p, enum ptx_space space, bool is_extern);
bool parse_space(struct span directive, enum ptx_space *out);
// A parameter of a function, with its address: [.align N] .type [.ptr ...] name [dims].
bool parse_parameter(struct parser *p);
bool place(struct parser *p, uint64_t *used, uint64_t bytes, uint32_t align, uint64_t most, uint64_t *address);

/* -- parse_function.c ---------------------------------------------------------------------------------------------- */

bool parse_function(struct parser *p, bool is_entry); /* behind .entry or .func */
bool parse_pragma(struct parser *p);                  /* behind .pragma */

/* -- parse_body.c -------------------------------------------------------------------------------------------------- */

bool parse_body(struct parser *p); /* behind the '{', to the '}' */

#endif
