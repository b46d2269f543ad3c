// parse_data: variables (.global .const .shared .local .param), their layout and their initialisers.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"

#include <string.h>

// Alignments are those of the images' addresses: of ptxvm_alloc, and of SHARED_BASE.
enum { DIMENSIONS_MAX = 8, ALIGN_MAX = 256, ALIGN_SHARED_MAX = 1024 };
#define VARIABLE_BYTES_MAX (UINT64_C(1) << 32)

/* -- Layout -------------------------------------------------------------------------------------------------------- */

bool place(struct parser *p, uint64_t *used, uint64_t bytes, uint32_t align, uint64_t most, uint64_t *address) {
    uint64_t start = (*used + align - 1) / align * align;
    if (start > most || bytes > most - start)
        return parse_fail(p, "variables of more than %llu bytes", (unsigned long long)most);
    *address = start;
    *used = start + bytes;
    return true;
}

bool parse_space(struct span directive, enum ptx_space *out) {
    static const struct {
        const char *text;
        enum ptx_space space;
    } rows[] = {{"global", PTX_GLOBAL},
                {"shared", PTX_SHARED},
                {"local", PTX_LOCAL},
                {"const", PTX_CONST},
                {"param", PTX_PARAM}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        if (!span_is(directive, rows[k].text)) continue;
        *out = rows[k].space;
        return true;
    }
    return false;
}

/* -- Declarators --------------------------------------------------------------------------------------------------- */

// What stands before the name: alignment, vector, type.
struct base_type {
    enum ptx_type type;
    uint32_t align, elements;
};

static bool parse_align(struct parser *p, uint32_t *out) {
    uint64_t align;
    if (!lex_count(p, 1 << 16, &align)) return false;
    if (!align || (align & (align - 1))) return parse_fail(p, "an alignment is a power of two");
    *out = (uint32_t)align;
    return true;
}

static bool parse_base_type(struct parser *p, struct base_type *out) {
    *out = (struct base_type){.elements = 1};
    struct span word;
    while (out->type == PTX_NONE) {
        if (!lex_directive(p, &word)) return parse_fail(p, "a type is expected");
        if (span_is(word, "align")) {
            if (!parse_align(p, &out->align)) return false;
        } else if (span_is(word, "v2"))
            out->elements = 2;
        else if (span_is(word, "v4"))
            out->elements = 4;
        else {
            out->type = ptx_type_parse(word.text, word.bytes);
            if (ptx_type_bits(out->type) < 8)
                return parse_unsupported(p, "'.%.*s' in a declaration", (int)(word.bytes > 50 ? 50 : word.bytes),
                                         word.text);
        }
    }
    uint32_t natural = ptx_type_bits(out->type) / 8 * out->elements;
    if (out->align < natural && !out->align) out->align = natural;
    return true;
}

// The name and its dimensions; stride[k]: bytes of one element of dimension k; stride[dimensions]: of a single value.
struct shape {
    unsigned dimensions;
    uint64_t extent[DIMENSIONS_MAX], stride[DIMENSIONS_MAX + 1];
    bool unsized; /* the first dimension is [] */
};

static bool parse_dimensions(struct parser *p, uint64_t element_bytes, struct shape *out) {
    *out = (struct shape){0};
    while (lex_accept(p, '[')) {
        if (out->dimensions == DIMENSIONS_MAX) return parse_fail(p, "more than %d dimensions", DIMENSIONS_MAX);
        uint64_t *extent = &out->extent[out->dimensions];
        if (!out->dimensions && lex_peek(p) == ']')
            out->unsized = true;
        else if (!lex_count(p, VARIABLE_BYTES_MAX, extent))
            return false;
        if (!lex_expect(p, ']')) return false;
        out->dimensions++;
    }
    out->stride[out->dimensions] = element_bytes;
    for (unsigned k = out->dimensions; k-- > 0;) {
        uint64_t extent = out->unsized && !k ? 1 : out->extent[k];
        if (extent && out->stride[k + 1] > VARIABLE_BYTES_MAX / extent) return parse_fail(p, "variable is too large");
        out->stride[k] = out->stride[k + 1] * extent;
    }
    return true;
}

static bool parse_name_and_shape(struct parser *p, const struct base_type *base, struct ptx_symbol *symbol,
                                 struct name **name, struct shape *shape) {
    struct span word;
    if (!lex_word(p, &word)) return parse_fail(p, "a name is expected");
    *name = lex_intern(p, word);
    if (!*name || !parse_dimensions(p, ptx_type_bits(base->type) / 8 * base->elements, shape)) return false;
    symbol->name = (*name)->text;
    symbol->type = base->type;
    symbol->align = base->align;
    symbol->bytes = shape->unsized ? 0 : shape->stride[0];
    return true;
}

/* -- Initialisers -------------------------------------------------------------------------------------------------- */

struct image {
    uint8_t *data;
    uint64_t used; /* bytes up to the last value */
    size_t capacity;
    struct ptx_relocation *relocation;
    size_t relocations, relocation_capacity;
    const struct ptx_symbol *symbol;
    const struct shape *shape;
};

// Room for `bytes` at `offset`.
static bool image_room(struct parser *p, struct image *image, uint64_t offset, uint64_t bytes) {
    uint64_t end = offset + bytes;
    if (!image->shape->unsized && end > image->symbol->bytes) return parse_fail(p, "too many initial values");
    if (end > VARIABLE_BYTES_MAX) return parse_fail(p, "variable is too large");
    if (end > image->capacity) {
        uint64_t larger = end < 64 ? 64 : end * 2;
        uint8_t *data = parse_alloc(p, (size_t)larger);
        if (!data) return false;
        if (image->used) memcpy(data, image->data, (size_t)image->used);
        image->data = data;
        image->capacity = (size_t)larger;
    }
    if (end > image->used) image->used = end;
    return true;
}

// Bits of a literal as a value of the type; false if it has no such value.
static bool literal_bits(struct literal literal, enum ptx_type type, uint64_t *out) {
    unsigned bits = ptx_type_bits(type);
    bool wants_float = type == PTX_F32 || type == PTX_F64;
    *out = (uint64_t)literal.value;
    if (literal.type == type) return true;
    if (literal.type == PTX_F64 && type == PTX_F32) {
        double number;
        memcpy(&number, &literal.value, sizeof number);
        float single = (float)number;
        uint32_t word;
        memcpy(&word, &single, sizeof word);
        *out = word;
        return true;
    }
    if (literal.type == PTX_F32) return type == PTX_B32;
    if (literal.type == PTX_F64) return type == PTX_B64;
    if (wants_float || bits > 64) return false;
    if (bits == 64) return true;
    return literal.type == PTX_S64 && literal.value >= -(INT64_C(1) << (bits - 1)) &&
           literal.value < INT64_C(1) << bits;
}

static bool number_value(struct parser *p, struct image *image, uint64_t offset) {
    struct literal literal;
    enum ptx_type type = image->symbol->type;
    uint64_t bits;
    if (!lex_literal(p, &literal)) return false;
    if (!literal_bits(literal, type, &bits)) return parse_fail(p, "value does not fit .%s", ptx_type_text(type));
    uint64_t bytes = ptx_type_bits(type) / 8;
    if (!image_room(p, image, offset, bytes)) return false;
    for (uint64_t k = 0; k < bytes; k++) image->data[offset + k] = (uint8_t)(bits >> 8 * k);
    return true;
}

// name, name + 8, generic(name).
static bool address_value(struct parser *p, struct image *image, uint64_t offset) {
    struct span word;
    if (!lex_word(p, &word)) return parse_fail(p, "an initial value is expected");
    bool is_generic = span_is(word, "generic") && lex_accept(p, '(');
    if (is_generic && !lex_word(p, &word)) return parse_fail(p, "a name is expected");
    if (is_generic && !lex_expect(p, ')')) return false;
    struct name *name = lex_find(p, word);
    const struct binding *binding = name ? scope_find(name) : NULL;
    if (!binding || binding->kind != BIND_VARIABLE)
        return parse_unsupported(p, "initial value that is no variable's address");
    const struct ptx_symbol *target = &binding->variable->symbol;
    if (target->space != PTX_GLOBAL && target->space != PTX_CONST) return parse_unsupported(p, "address of this space");
    if (ptx_type_bits(image->symbol->type) != 64) return parse_unsupported(p, "an address that is not 64 bits");
    struct literal plus = {PTX_S64, 0};
    if (lex_accept(p, '+') && !lex_literal(p, &plus)) return false;
    if (ptx_type_class(plus.type) == 'F') return parse_fail(p, "a float as offset");
    if (!image_room(p, image, offset, 8)) return false;
    if (!parse_grow(p, &image->relocation, image->relocations, &image->relocation_capacity, sizeof *image->relocation))
        return false;
    image->relocation[image->relocations++] = (struct ptx_relocation){
        .target = target->space, .offset = offset, .value = target->address + (uint64_t)plus.value};
    return true;
}

static bool single_value(struct parser *p, struct image *image, uint64_t offset) {
    return lex_starts_number(p) ? number_value(p, image, offset) : address_value(p, image, offset);
}

// { ... } of a dimension whose elements are stride apart; single values may stand in any dimension, one after another.
static bool brace_values(struct parser *p, struct image *image, unsigned dimension, uint64_t offset) {
    const struct shape *shape = image->shape;
    if (dimension >= shape->dimensions && dimension) return parse_fail(p, "too many braces");
    uint64_t element = ptx_type_bits(image->symbol->type) / 8;
    if (lex_accept(p, '}')) return true;
    do {
        if (lex_accept(p, '{')) {
            if (!brace_values(p, image, dimension + 1, offset)) return false;
            offset += shape->stride[dimension + 1];
        } else {
            if (!single_value(p, image, offset)) return false;
            offset += element;
        }
    } while (lex_accept(p, ','));
    return lex_expect(p, '}');
}

// The value after '='. The size of an unsized array follows from it.
static bool parse_initialiser(struct parser *p, struct image *image, struct ptx_symbol *symbol) {
    if (symbol->space != PTX_GLOBAL && symbol->space != PTX_CONST) return parse_fail(p, "initial value of this space");
    bool good = lex_accept(p, '{') ? brace_values(p, image, 0, 0) : single_value(p, image, 0);
    if (!good) return false;
    uint64_t stride = image->shape->stride[image->shape->dimensions ? 1 : 0];
    if (image->shape->unsized && stride) symbol->bytes = (image->used + stride - 1) / stride * stride;
    symbol->initial = image->data;
    symbol->initial_bytes = image->used;
    return true;
}

/* -- Declarations -------------------------------------------------------------------------------------------------- */

static bool keep_relocations(struct parser *p, const struct image *image, const struct ptx_symbol *symbol) {
    struct ptx_text *text = p->text;
    for (size_t k = 0; k < image->relocations; k++) {
        if (!parse_grow(p, &text->relocation, text->relocations, &p->relocation_capacity, sizeof *text->relocation))
            return false;
        struct ptx_relocation relocation = image->relocation[k];
        relocation.space = symbol->space;
        relocation.offset += symbol->address;
        text->relocation[text->relocations++] = relocation;
    }
    return true;
}

// Those with an image, and shared ones, go to the module's list.
static bool keep_symbol(struct parser *p, struct variable *variable) {
    if (variable->symbol.space == PTX_LOCAL || variable->symbol.space == PTX_PARAM) return true;
    if (!parse_grow(p, &p->symbol, p->text->symbols, &p->symbol_capacity, sizeof(struct variable *))) return false;
    p->symbol[p->text->symbols++] = variable;
    return true;
}

// Gives the variable its address. Shared ones of the module get it where a function uses them.
static bool place_variable(struct parser *p, struct variable *variable) {
    struct ptx_symbol *s = &variable->symbol;
    struct ptx_text *text = p->text;
    uint64_t *address = &s->address;
    int64_t unused;
    switch (s->space) {
    case PTX_GLOBAL:
        return place(p, &text->global_bytes, s->bytes, s->align, PTX_GLOBAL_BYTES_MAX, address);
    case PTX_CONST:
        return place(p, &text->const_bytes, s->bytes, s->align, PTX_CONST_BYTES_MAX, address);
    case PTX_SHARED:
        return !p->function || variable_address(p, variable, &unused);
    case PTX_LOCAL:
        if (!p->function) return parse_unsupported(p, ".local outside of a function");
        return place(p, &p->function->local_bytes, s->bytes, s->align, PTX_LOCAL_BYTES_MAX, address);
    case PTX_PARAM:
        if (!p->function) return parse_fail(p, ".param outside of a function");
        return place(p, &p->param_bytes, s->bytes, s->align, PTX_PARAMETER_BYTES_MAX, address);
    default:
        return parse_fail(p, "a variable of no space");
    }
}

static bool parse_variable(struct parser *p, enum ptx_space space, bool is_extern, const struct base_type *base) {
    struct variable *variable = parse_alloc(p, sizeof *variable);
    if (!variable) return false;
    struct ptx_symbol *symbol = &variable->symbol;
    struct name *name;
    struct shape shape;
    symbol->space = space;
    symbol->is_extern = is_extern;
    if (!parse_name_and_shape(p, base, symbol, &name, &shape)) return false;
    struct image image = {.symbol = symbol, .shape = &shape};
    bool has_value = lex_accept(p, '=');
    if (has_value && !parse_initialiser(p, &image, symbol)) return false;
    if (symbol->align > (space == PTX_SHARED ? ALIGN_SHARED_MAX : ALIGN_MAX))
        return parse_unsupported(p, "an alignment of %u", symbol->align);
    if (is_extern && (space != PTX_SHARED || has_value))
        return parse_unsupported(p, "external variable '%.100s'", symbol->name);
    if (shape.unsized && !has_value && !is_extern) return parse_fail(p, "'%.100s' has no size", symbol->name);
    struct binding *binding = scope_declare(p, name, BIND_VARIABLE);
    if (!binding) return false;
    binding->variable = variable;
    return place_variable(p, variable) && keep_relocations(p, &image, symbol) && keep_symbol(p, variable);
}

bool parse_variables(struct parser *p, enum ptx_space space, bool is_extern) {
    struct base_type base;
    if (!parse_base_type(p, &base)) return false;
    do {
        if (!parse_variable(p, space, is_extern, &base)) return false;
    } while (lex_accept(p, ','));
    return lex_expect(p, ';');
}

/* -- Parameters ---------------------------------------------------------------------------------------------------- */

// .ptr .global .align 16: what a pointer points to. Says nothing about the parameter itself.
static bool skip_pointer_attributes(struct parser *p) {
    struct span word;
    enum ptx_space space;
    uint32_t align;
    if (!lex_directive(p, &word)) return true;
    if (!span_is(word, "ptr"))
        return parse_fail(p, "'.%.*s' in a parameter", (int)(word.bytes > 50 ? 50 : word.bytes), word.text);
    while (lex_directive(p, &word)) {
        if (span_is(word, "align") ? !parse_align(p, &align) : !parse_space(word, &space))
            return parse_fail(p, "'.%.*s' after .ptr", (int)(word.bytes > 50 ? 50 : word.bytes), word.text);
    }
    return true;
}

static bool add_parameter(struct parser *p, const struct ptx_symbol *symbol) {
    struct ptx_function *f = p->function;
    if (!parse_grow(p, &f->parameter, f->parameters, &p->parameter_capacity, sizeof *f->parameter)) return false;
    f->parameter[f->parameters++] =
        (struct ptx_parameter){symbol->name, (size_t)symbol->address, (size_t)symbol->bytes};
    return true;
}

bool parse_parameter(struct parser *p) {
    struct variable *variable = parse_alloc(p, sizeof *variable);
    struct base_type base;
    struct shape shape;
    struct name *name;
    if (!variable || !parse_base_type(p, &base) || !skip_pointer_attributes(p)) return false;
    variable->symbol.space = PTX_PARAM;
    if (!parse_name_and_shape(p, &base, &variable->symbol, &name, &shape)) return false;
    if (shape.unsized) return parse_unsupported(p, "parameter without a size");
    struct binding *binding = scope_declare(p, name, BIND_VARIABLE);
    if (!binding) return false;
    binding->variable = variable;
    return place_variable(p, variable) && add_parameter(p, &variable->symbol);
}
