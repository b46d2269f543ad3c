// isa: finds a statement's family by its opcode, and what binders share. A modifier that no call consumed makes
// isa_bind fail, so that none is ignored by mistake. SPDX-License-Identifier: Apache-2.0
#include "isa.h"
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* -- Errors and memory --------------------------------------------------------------------------------------------- */

// Appends to b->error, which has `used` characters.
static size_t append(struct binder *b, size_t used, const char *format, va_list list) {
    if (used >= b->error_bytes) return used;
    int wrote = vsnprintf(b->error + used, b->error_bytes - used, format, list);
    return wrote < 0 ? used : used + (size_t)wrote;
}

bool bind_fail(struct binder *b, const char *format, ...) {
    if (b->status == PTXVM_OK) b->status = PTXVM_ERROR_UNSUPPORTED;
    if (!b->error || !b->error_bytes) return false;
    int wrote = snprintf(b->error, b->error_bytes, "line %u: %s: ", b->statement->line, b->statement->text);
    va_list list;
    va_start(list, format);
    append(b, wrote < 0 ? 0 : (size_t)wrote, format, list);
    va_end(list);
    return false;
}

void *bind_alloc(struct binder *b, size_t bytes) {
    void *memory = arena_alloc(b->module->arena, bytes);
    if (!memory) {
        b->status = PTXVM_ERROR_MEMORY;
        bind_fail(b, "out of memory");
    }
    return memory;
}

/* -- Families ------------------------------------------------------------------------------------------------------ */

const struct isa_entry *isa_find(const char *opcode) {
    static const struct isa_entry *const families[] = {isa_integer, isa_float, isa_convert, isa_move,
                                                       isa_memory,  isa_warp,  isa_control, isa_barrier,
                                                       isa_async,   isa_mma,   isa_wgmma};
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
        for (const struct isa_entry *entry = families[f]; entry->opcode; entry++)
            if (!strcmp(entry->opcode, opcode)) return entry;
    return NULL;
}

// Fails if a modifier was not consumed.
static bool all_used(struct binder *b) {
    for (unsigned k = 0; k < b->statement->modifiers; k++)
        if (!(b->used >> k & 1)) return bind_fail(b, "modifier .%s is not supported here", b->statement->modifier[k]);
    return true;
}

// Operands are copied, so that a binder that looks for one too many finds a missing one.
static void take_statement(struct binder *b) {
    enum { ROOM = sizeof b->operand_room / sizeof b->operand_room[0] };
    for (unsigned k = 0; k < ROOM; k++)
        b->operand_room[k] = k < b->statement->operands ? b->function->operand[b->statement->first + k]
                                                        : (struct ptx_operand){.kind = PTX_MISSING};
    b->operand = b->operand_room;
    b->operands = b->statement->operands;
    b->used = 0;
    b->status = PTXVM_OK;
}

bool isa_bind(struct binder *b, struct instruction *out) {
    const struct ptx_statement *statement = b->statement;
    take_statement(b);
    out->target = TARGET_NEXT;
    out->reconverge = UINT32_MAX;
    out->guard_slot = statement->guard_slot;
    out->guard_negated = statement->guard_negated;
    out->line = statement->line;
    out->source_line = statement->source_line;
    out->statement = statement;
    out->klass = PTXVM_CLASS_OTHER;
    const struct isa_entry *entry = isa_find(statement->opcode);
    if (!entry) return bind_fail(b, "unknown instruction");
    return entry->bind(b, out) && all_used(b);
}

/* -- Modifiers ----------------------------------------------------------------------------------------------------- */

static bool is_free(const struct binder *b, unsigned k) {
    return !(b->used >> k & 1);
}

// Index of the name in the list, -1 if it is not there.
static int index_of(const char *const *names, const char *name) {
    for (int n = 0; names[n]; n++)
        if (!strcmp(names[n], name)) return n;
    return -1;
}

bool mod_take(struct binder *b, const char *name) {
    const char *const names[] = {name, NULL};
    return mod_choice(b, names) == 0;
}

int mod_choice(struct binder *b, const char *const *names) {
    for (unsigned k = 0; k < b->statement->modifiers; k++) {
        int found = is_free(b, k) ? index_of(names, b->statement->modifier[k]) : -1;
        if (found < 0) continue;
        b->used |= 1u << k;
        return found;
    }
    return -1;
}

bool mod_need(struct binder *b, const char *const *names, unsigned *out) {
    int found = mod_choice(b, names);
    if (found >= 0) {
        *out = (unsigned)found;
        return true;
    }
    char list[200] = "";
    for (size_t n = 0, used = 0; names[n] && used < sizeof list - 1; n++) {
        int wrote = snprintf(list + used, sizeof list - used, " .%s", names[n]);
        used += wrote < 0 ? 0 : (size_t)wrote;
    }
    return bind_fail(b, "needs one of%s", list);
}

enum ptx_type mod_type(struct binder *b) {
    for (unsigned k = 0; k < b->statement->modifiers; k++) {
        const char *text = b->statement->modifier[k];
        enum ptx_type type = is_free(b, k) ? ptx_type_parse(text, strlen(text)) : PTX_NONE;
        if (type == PTX_NONE) continue;
        b->used |= 1u << k;
        return type;
    }
    return PTX_NONE;
}

bool mod_type_need(struct binder *b, uint64_t set, enum ptx_type *out) {
    enum ptx_type type = mod_type(b);
    if (type == PTX_NONE) return bind_fail(b, "has no type");
    if (!(set >> type & 1)) return bind_fail(b, "type .%s is not supported here", ptx_type_text(type));
    *out = type;
    return true;
}

const char *mod_next(struct binder *b) {
    for (unsigned k = 0; k < b->statement->modifiers; k++) {
        if (!is_free(b, k)) continue;
        b->used |= 1u << k;
        return b->statement->modifier[k];
    }
    return NULL;
}

void mod_ignore(struct binder *b, const char *const *names) {
    while (mod_choice(b, names) >= 0) continue;
}

void mod_ignore_memory(struct binder *b) {
    static const char *const words[] = {"ca", "cg",   "cs",      "cv",      "lu",      "wb",   "wt",
                                        "nc", "weak", "relaxed", "acquire", "release", "mmio", "acq_rel",
                                        "sc", "cta",  "cluster", "gpu",     "sys",     NULL};
    static const char *const prefixes[] = {"L1::", "L2::", "level::", NULL};
    mod_ignore(b, words);
    for (unsigned k = 0; k < b->statement->modifiers; k++)
        for (int p = 0; prefixes[p]; p++)
            if (!strncmp(b->statement->modifier[k], prefixes[p], strlen(prefixes[p]))) b->used |= 1u << k;
}

/* -- Operands ------------------------------------------------------------------------------------------------------ */

static const char *const kind_texts[] = {
    [PTX_REG] = "a register",      [PTX_IMMEDIATE] = "a number", [PTX_ADDRESS] = "an address",
    [PTX_VECTOR] = "a vector",     [PTX_SYMBOL] = "a variable",  [PTX_LABEL] = "a label",
    [PTX_MISSING] = "nothing",     [PTX_SINK] = "'_'",           [PTX_SPECIAL] = "a special register",
    [PTX_FUNCTION] = "a function",
};

bool need_operands(struct binder *b, unsigned least, unsigned most) {
    if (b->operands >= least && b->operands <= most) return true;
    return bind_fail(b, "%u operands are not supported", b->operands);
}

bool need_kind(struct binder *b, const struct ptx_operand *op, enum ptx_operand_kind kind) {
    if (op->kind == kind) return true;
    return bind_fail(b, "%s where %s is expected", kind_texts[op->kind], kind_texts[kind]);
}

static bool is_predicate(const struct ptx_operand *op) {
    return op->type == PTX_PRED;
}

// A register (or sink) as destination whose bits are in [least, most]; 1 means a predicate and nothing else.
static bool take_dst_range(struct binder *b, const struct ptx_operand *op, unsigned least, unsigned most,
                           uint32_t *slot) {
    if (op->negated) return bind_fail(b, "'!' at a destination");
    *slot = op->slot;
    if (op->kind == PTX_SINK) return true;
    if (!need_kind(b, op, PTX_REG)) return false;
    unsigned bits = ptx_type_bits(op->type);
    if (is_predicate(op) != (least == 1) || bits < least || bits > most)
        return bind_fail(b, "a .%s register as destination of %u bits", ptx_type_text(op->type), least);
    return true;
}

bool take_dst(struct binder *b, const struct ptx_operand *op, unsigned bits, uint32_t *slot) {
    if (op->slot_pair) return bind_fail(b, "'|' at a destination");
    return take_dst_range(b, op, bits, bits, slot);
}

bool take_dst_wider(struct binder *b, const struct ptx_operand *op, unsigned bits, uint32_t *slot, bool *wide) {
    if (op->slot_pair) return bind_fail(b, "'|' at a destination");
    *wide = op->kind == PTX_SINK ? bits == 64 : ptx_type_bits(op->type) == 64;
    return take_dst_range(b, op, bits, bits == 128 ? 128 : 64, slot);
}

bool take_dst_pair(struct binder *b, const struct ptx_operand *op, unsigned bits, uint32_t *slot, uint32_t *slot_pair) {
    *slot_pair = op->slot_pair;
    return take_dst_range(b, op, bits, bits, slot);
}

// True if the literal can stand for a value of the type.
static bool literal_fits(const struct ptx_operand *op, enum ptx_type type) {
    unsigned bits = ptx_type_bits(type);
    char klass = ptx_type_class(type);
    if (op->type == PTX_F32) return type == PTX_F32 || type == PTX_F64 || type == PTX_B32 || type == PTX_TF32;
    if (op->type == PTX_F64) return type == PTX_F32 || type == PTX_F64 || type == PTX_B64;
    if (klass == 'P') return op->value >= -1 && op->value <= 1 && op->type == PTX_S64;
    if (type == PTX_F32 || type == PTX_F64 || bits > 64) return false;
    if (bits == 64) return true;
    return op->type == PTX_S64 && op->value >= -(INT64_C(1) << (bits - 1)) && op->value < INT64_C(1) << bits;
}

// Slot of a source that is no register.
static bool take_constant_slot(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot) {
    unsigned bits = ptx_type_bits(type);
    if (op->kind == PTX_IMMEDIATE && !literal_fits(op, type))
        return bind_fail(b, "a number that .%s cannot hold", ptx_type_text(type));
    if (op->kind == PTX_SPECIAL && !op->slot) return bind_fail(b, "a special register that changes as an operand");
    if (op->kind == PTX_SPECIAL && is_predicate(op) != (bits == 1))
        return bind_fail(b, "a special register of another type than .%s", ptx_type_text(type));
    if (op->kind == PTX_SYMBOL && bits != 32 && bits != 64) return bind_fail(b, "an address of %u bits", bits);
    *slot = bits == 1    ? op->slot + SLOT_COPY_PREDICATE
            : bits == 64 ? operand_slot64(op)
            : bits <= 16 ? operand_slot16(op)
                         : operand_slot32(op);
    return true;
}

// A source of type; registers have at most `most` bits.
static bool take_src_range(struct binder *b, const struct ptx_operand *op, enum ptx_type type, unsigned most,
                           uint32_t *slot) {
    if (op->slot_pair) return bind_fail(b, "'|' at a source");
    if (op->kind == PTX_IMMEDIATE || op->kind == PTX_SYMBOL || op->kind == PTX_SPECIAL)
        return take_constant_slot(b, op, type, slot);
    if (!need_kind(b, op, PTX_REG)) return false;
    unsigned bits = ptx_type_bits(op->type), least = ptx_type_bits(type);
    if (is_predicate(op) != (type == PTX_PRED) || bits < least || bits > most)
        return bind_fail(b, "a .%s register where .%s is read", ptx_type_text(op->type), ptx_type_text(type));
    *slot = op->slot;
    return true;
}

bool take_src(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot) {
    if (op->negated) return bind_fail(b, "'!' at a source that cannot be negated");
    return take_src_range(b, op, type, ptx_type_bits(type), slot);
}

bool take_src_wider(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot, bool *wide) {
    if (op->negated) return bind_fail(b, "'!' at a source that cannot be negated");
    unsigned bits = ptx_type_bits(type);
    *wide = op->kind == PTX_REG ? ptx_type_bits(op->type) == 64 : bits == 64;
    return take_src_range(b, op, type, bits == 128 ? 128 : 64, slot);
}

bool take_src_pred(struct binder *b, const struct ptx_operand *op, uint32_t *slot, bool *negated) {
    *negated = op->negated;
    return take_src_range(b, op, PTX_PRED, 1, slot);
}

bool take_constant(struct binder *b, const struct ptx_operand *op, int64_t least, int64_t most, int64_t *out) {
    if (!need_kind(b, op, PTX_IMMEDIATE)) return false;
    if (op->type != PTX_S64 || op->value < least || op->value > most)
        return bind_fail(b, "a number that is not in [%lld, %lld]", (long long)least, (long long)most);
    *out = op->value;
    return true;
}

bool take_address(struct binder *b, const struct ptx_operand *op, uint32_t *slot, bool *wide, int64_t *offset,
                  enum ptx_space *space) {
    if (!need_kind(b, op, PTX_ADDRESS)) return false;
    unsigned bits = ptx_type_bits(op->type);
    if (bits != 32 && bits != 64) return bind_fail(b, "a .%s register as address", ptx_type_text(op->type));
    *slot = op->slot;
    *wide = bits == 64;
    *offset = op->value;
    *space = op->base_is_symbol ? (enum ptx_space)op->space : PTX_GENERIC;
    return true;
}
