// parse_scope: names and what they mean in the open scopes; places in the register file. A name knows its meanings,
// innermost first; a scope knows its names, and the uses of labels that it did not know when it met them.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"
#include "isa.h"

#include <string.h>

/* -- Scopes -------------------------------------------------------------------------------------------------------- */

bool scope_enter(struct parser *p) {
    if (p->depth + 1 >= sizeof p->scope / sizeof p->scope[0]) return parse_fail(p, "scopes nested too deeply");
    p->scope[++p->depth] = (struct scope){0};
    return true;
}

// Gives the operand the meaning that its name turned out to have.
static void resolve(struct parser *p, const struct pending *pending, const struct binding *binding) {
    struct ptx_operand *op = &p->function->operand[pending->operand];
    op->kind = binding->kind == BIND_TABLE ? PTX_VECTOR : PTX_LABEL;
    op->first = binding->kind == BIND_TABLE ? binding->index : 0;
    op->count = binding->count;
    op->value = binding->kind == BIND_TABLE ? 0 : binding->index;
}

static bool is_label(const struct binding *binding) {
    return binding && (binding->kind == BIND_LABEL || binding->kind == BIND_TABLE);
}

bool scope_leave(struct parser *p) {
    struct scope *scope = &p->scope[p->depth];
    for (struct pending *pending = scope->pending, *next; pending; pending = next) {
        next = pending->next;
        const struct binding *binding = pending->name->binding;
        if (is_label(binding) && binding->depth == p->depth)
            resolve(p, pending, binding);
        else if (p->depth <= 2) {
            p->line = pending->line;
            return parse_fail(p, "unknown name '%.100s'", pending->name->text);
        } else {
            pending->next = scope[-1].pending;
            scope[-1].pending = pending;
        }
    }
    for (struct binding *binding = scope->first; binding; binding = binding->sibling)
        binding->name->binding = binding->outer;
    p->depth--;
    return true;
}

// Binds a name at a depth, which is not below that of its innermost meaning.
static struct binding *bind(struct parser *p, struct name *name, enum binding_kind kind, uint32_t depth) {
    struct binding *binding = parse_alloc(p, sizeof *binding);
    if (!binding) return NULL;
    struct scope *scope = &p->scope[depth];
    *binding =
        (struct binding){.kind = kind, .depth = depth, .name = name, .outer = name->binding, .sibling = scope->first};
    return name->binding = scope->first = binding;
}

struct binding *scope_declare(struct parser *p, struct name *name, enum binding_kind kind) {
    const struct binding *old = name->binding;
    if (old && old->depth == p->depth) {
        parse_fail(p, "'%.100s' is declared twice", name->text);
        return NULL;
    }
    return bind(p, name, kind, p->depth);
}

struct binding *scope_find(const struct name *name) {
    return name->binding;
}

bool scope_pending(struct parser *p, struct name *name, uint32_t operand) {
    struct pending *pending = parse_alloc(p, sizeof *pending);
    if (!pending) return false;
    *pending = (struct pending){name, operand, p->line, p->scope[p->depth].pending};
    p->scope[p->depth].pending = pending;
    return true;
}

/* -- Registers ----------------------------------------------------------------------------------------------------- */

bool slot_new(struct parser *p, unsigned bytes, uint32_t *slot) {
    struct ptx_function *function = p->function;
    if (function->file_bytes > (uint32_t)PTX_FILE_BYTES_MAX - bytes) return parse_fail(p, "too many registers");
    *slot = function->file_bytes;
    function->file_bytes += bytes;
    return true;
}

static unsigned slot_bytes(enum ptx_type type) {
    unsigned bits = ptx_type_bits(type);
    return type == PTX_PRED ? 64 : bits <= 32 ? 128 : bits / 64 * 256;
}

static bool new_register(struct parser *p, const char *name, enum ptx_type type, uint32_t *index) {
    struct ptx_function *function = p->function;
    if (function->regs >= PTX_REGISTERS_MAX) return parse_fail(p, "more than %d registers", PTX_REGISTERS_MAX);
    if (!parse_grow(p, &function->reg, function->regs, &p->reg_capacity, sizeof *function->reg)) return false;
    struct ptx_register reg = {.name = name, .type = type};
    if (!slot_new(p, slot_bytes(type), &reg.slot)) return false;
    *index = function->regs;
    function->reg[function->regs++] = reg;
    return true;
}

// The range %r<count> for a name whose first `bytes` characters are the prefix; NULL: there is none.
static struct binding *range_of(struct parser *p, const struct name *name, uint32_t bytes, uint64_t number) {
    struct name *prefix = lex_find(p, (struct span){name->text, bytes});
    for (struct binding *range = prefix ? prefix->binding : NULL; range; range = range->outer)
        if (range->kind == BIND_RANGE && number < range->index) return range;
    return NULL;
}

// The range that has this register, e.g. %r<10> for %r7, or a1<10> for a17; NULL: none.
static struct binding *find_range(struct parser *p, const struct name *name) {
    enum { DIGITS_MAX = 7 }; /* ranges end at PTX_REGISTERS_MAX */
    struct binding *best = NULL;
    uint64_t number = 0, scale = 1;
    for (uint32_t bytes = name->bytes; bytes > 1 && name->bytes - bytes < DIGITS_MAX; scale *= 10) {
        char digit = name->text[--bytes];
        if (digit < '0' || digit > '9') break;
        number += scale * (uint64_t)(digit - '0');
        if (digit == '0' && name->bytes - bytes > 1) continue; /* %r07 is no register */
        char before = name->text[bytes - 1];
        if (!p->has_digit_ranges && before >= '0' && before <= '9') continue;
        struct binding *range = range_of(p, name, bytes, number);
        if (range && (!best || range->depth > best->depth)) best = range;
    }
    return best;
}

bool scope_register(struct parser *p, struct name *name, struct ptx_register *out, bool *found) {
    struct binding *binding = name->binding;
    struct binding *range = find_range(p, name);
    if (range && (!binding || binding->depth < range->depth)) {
        // First use of a register of the range.
        uint32_t index;
        if (!new_register(p, name->text, range->type, &index)) return false;
        binding = bind(p, name, BIND_REGISTER, range->depth);
        if (!binding) return false;
        binding->index = index;
    } else if (binding && binding->kind == BIND_REGISTER && binding->type != PTX_NONE) {
        // First use of one that was declared by itself.
        if (!new_register(p, name->text, binding->type, &binding->index)) return false;
        binding->type = PTX_NONE;
    }
    *found = binding && binding->kind == BIND_REGISTER;
    if (*found) *out = p->function->reg[binding->index];
    return p->status == PTXVM_OK;
}

/* -- Constants: numbers, addresses, special registers -------------------------------------------------------------- */

static uint64_t constant_hash(const struct ptx_constant *c) {
    uint64_t hash = c->value * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)c->kind + ((uint64_t)c->type << 8) +
                    ((uint64_t)c->special << 16) + ((uint64_t)c->space << 24);
    hash ^= hash >> 29;
    return hash * UINT64_C(0xbf58476d1ce4e5b9) >> 17;
}

static bool same_constant(const struct ptx_constant *a, const struct ptx_constant *b) {
    return a->kind == b->kind && a->type == b->type && a->special == b->special && a->space == b->space &&
           a->value == b->value;
}

static bool constants_grow(struct parser *p) {
    struct constant_table old = p->constants, table = {.size = old.size ? old.size * 2 : 64, .used = old.used};
    if (old.used * 2 < old.size) return true;
    table.entry = parse_alloc(p, table.size * sizeof *table.entry);
    if (!table.entry) return false;
    for (size_t k = 0; k < old.size; k++) {
        if (!old.entry[k].slot) continue;
        size_t h = constant_hash(&old.entry[k]) % table.size;
        while (table.entry[h].slot) h = (h + 1) % table.size;
        table.entry[h] = old.entry[k];
    }
    p->constants = table;
    return true;
}

static bool add_constant(struct parser *p, struct ptx_constant constant) {
    struct ptx_function *f = p->function;
    if (!parse_grow(p, &f->constant, f->constants, &p->constant_capacity, sizeof *f->constant)) return false;
    f->constant[f->constants++] = constant;
    return true;
}

static bool has_half(const struct ptx_constant *c) {
    int64_t value = (int64_t)c->value;
    return c->kind == PTX_IMMEDIATE && c->type == PTX_S64 && value < 0 && value >= INT16_MIN;
}

static bool has_mask(const struct ptx_constant *c) {
    int64_t value = (int64_t)c->value;
    return c->type == PTX_PRED || (c->kind == PTX_IMMEDIATE && c->type == PTX_S64 && value >= -1 && value <= 1);
}

// What lanes of 64 and of 32 bits hold of a literal: floats are converted, integers cut.
static void literal_values(const struct ptx_constant *literal, uint64_t *wide, uint64_t *narrow) {
    uint32_t bits = (uint32_t)literal->value;
    float single;
    double number;
    *wide = literal->value;
    *narrow = bits;
    if (literal->type == PTX_F32) {
        memcpy(&single, &bits, sizeof single);
        number = (double)single;
        memcpy(wide, &number, sizeof number);
    } else if (literal->type == PTX_F64) {
        memcpy(&number, wide, sizeof number);
        single = (float)number;
        memcpy(&bits, &single, sizeof bits);
        *narrow = bits;
    }
}

// The copies of a constant in its slot, as isa.h describes them.
static bool add_copies(struct parser *p, const struct ptx_constant *constant) {
    struct ptx_constant wide = *constant, narrow = *constant, half = *constant, mask = *constant;
    if (constant->kind == PTX_IMMEDIATE) literal_values(constant, &wide.value, &narrow.value);
    wide.wide = true;
    narrow.slot += SLOT_COPY32;
    half.slot += SLOT_COPY16;
    half.value = (uint16_t)constant->value;
    mask.slot += SLOT_COPY_PREDICATE;
    mask.is_mask = true;
    return add_constant(p, wide) && add_constant(p, narrow) && (!has_half(constant) || add_constant(p, half)) &&
           (!has_mask(constant) || add_constant(p, mask));
}

static unsigned constant_bytes(const struct ptx_constant *c) {
    return has_mask(c) ? SLOT_COPY_PREDICATE + 64 : has_half(c) ? SLOT_COPY_PREDICATE : SLOT_COPY16;
}

// The slot of a constant, the same for equal ones.
static bool constant_slot(struct parser *p, struct ptx_constant wanted, uint32_t *slot) {
    if (!constants_grow(p)) return false;
    struct constant_table *table = &p->constants;
    size_t h = constant_hash(&wanted) % table->size;
    for (; table->entry[h].slot; h = (h + 1) % table->size) {
        if (!same_constant(&table->entry[h], &wanted)) continue;
        *slot = table->entry[h].slot;
        return true;
    }
    if (!slot_new(p, constant_bytes(&wanted), slot)) return false;
    wanted.slot = *slot;
    table->entry[h] = wanted;
    table->used++;
    return add_copies(p, &wanted);
}

bool slot_immediate(struct parser *p, struct literal literal, uint32_t *slot) {
    struct ptx_constant wanted = {.kind = PTX_IMMEDIATE, .type = literal.type, .value = (uint64_t)literal.value};
    return constant_slot(p, wanted, slot);
}

bool slot_symbol(struct parser *p, enum ptx_space space, int64_t value, uint32_t *slot) {
    struct ptx_constant wanted = {.kind = PTX_SYMBOL, .space = (uint16_t)space, .value = (uint64_t)value};
    return constant_slot(p, wanted, slot);
}

bool slot_special(struct parser *p, enum ptx_special special, uint32_t *slot) {
    *slot = 0;
    if (!ptx_special_constant(special)) return true;
    struct ptx_constant wanted = {.kind = PTX_SPECIAL, .special = (uint8_t)special, .type = ptx_special_type(special)};
    return constant_slot(p, wanted, slot);
}
