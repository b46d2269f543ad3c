// exec_move: mov in all its shapes (copies, addresses, special registers, packing and unpacking of vectors), selp slct,
// and questions about addresses: isspacep mapa getctarank. SPDX-License-Identifier: Apache-2.0
#include "exec_move.h"

#include "vm.h"

#define END                                                                                                            \
    { PTX_NONE, NULL, NULL }

/* -- Copies -------------------------------------------------------------------------------------------------------- */

HANDLER1(copy_32, u32, u32, a)
HANDLER1(copy_64, u64, u64, a)

static void copy_128(struct exec *x, const struct instruction *i) {
    uint64_t *d = lanes64(x, i->dst);
    const uint64_t *a = lanes64(x, i->src[0]);
    LANE_LOOP(x, d[2 * l] = a[2 * l]; d[2 * l + 1] = a[2 * l + 1];)
}

static void copy_predicate(struct exec *x, const struct instruction *i) {
    write_predicate(x, i->dst, *predicate(x, i->src[0]) ^ (i->flags != 0 ? ALL_LANES : 0));
}

static instruction_handler copy_of(unsigned bits) {
    return bits == 128 ? copy_128 : bits == 64 ? copy_64 : copy_32;
}

/* -- Special registers that change ----------------------------------------------------------------------------------
 */

static void read_clock32(struct exec *x, const struct instruction *i) {
    uint32_t now = (uint32_t)machine_clock(x), *d = lanes32(x, i->dst);
    LANE_LOOP(x, d[l] = now;)
}

static void read_clock64(struct exec *x, const struct instruction *i) {
    uint64_t now = machine_clock(x), *d = lanes64(x, i->dst);
    LANE_LOOP(x, d[l] = now;)
}

static void read_active(struct exec *x, const struct instruction *i) {
    uint32_t mask = x->active, *d = lanes32(x, i->dst);
    LANE_LOOP(x, d[l] = mask;)
}

static bool bind_changing(struct binder *b, struct instruction *out, enum ptx_special special, unsigned bits) {
    static const struct {
        enum ptx_special special;
        unsigned bits;
        instruction_handler run;
    } readers[] = {{PTX_SPECIAL_CLOCK, 32, read_clock32},
                   {PTX_SPECIAL_CLOCK64, 64, read_clock64},
                   {PTX_SPECIAL_GLOBALTIMER, 64, read_clock64},
                   {PTX_SPECIAL_ACTIVEMASK, 32, read_active}};
    for (size_t k = 0; k < sizeof readers / sizeof readers[0]; k++) {
        if (readers[k].special != special || readers[k].bits != bits) continue;
        out->run = readers[k].run;
        return take_dst(b, &b->operand[0], bits, &out->dst);
    }
    return bind_fail(b, "a special register of another width");
}

/* -- Packing ------------------------------------------------------------------------------------------------------- */

// slots: the elements, lowest first, 0 for '_'; width: bits of one.
static uint64_t lane_value(const struct exec *x, uint32_t slot, bool wide, unsigned l) {
    return wide ? lanes64(x, slot)[l] : lanes32(x, slot)[l];
}

static void set_lane(const struct exec *x, uint32_t slot, bool wide, unsigned l, uint64_t value) {
    if (wide)
        lanes64(x, slot)[l] = value;
    else
        lanes32(x, slot)[l] = (uint32_t)value;
}

static void pack(struct exec *x, const struct instruction *i) {
    unsigned bits = i->width, total = bits * i->slot_count;
    LANE_LOOP(x, uint64_t value = 0;
              for (unsigned k = 0; k < i->slot_count; k++) value |= lane_value(x, i->slots[k], false, l) << (k * bits);
              set_lane(x, i->dst, total == 64, l, value);)
}

static void unpack(struct exec *x, const struct instruction *i) {
    unsigned bits = i->width, total = bits * i->slot_count;
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    LANE_LOOP(x, uint64_t value = lane_value(x, i->src[0], total == 64, l);
              for (unsigned k = 0; k < i->slot_count; k++) if (i->slots[k] != 0)
                  set_lane(x, i->slots[k], false, l, value >> (k * bits) & mask);)
}

HANDLER2(pack_16x2, u32, u32, u32, (a & 0xffffu) | b << 16)
HANDLER2(pack_32x2, u64, u32, u32, a | (uint64_t)b << 32)

static void unpack_16x2(struct exec *x, const struct instruction *i) {
    uint32_t *low = lanes32(x, i->slots[0]), *high = lanes32(x, i->slots[1]);
    const uint32_t *a = lanes32(x, i->src[0]);
    LANE_LOOP(x, uint32_t value = a[l]; low[l] = value & 0xffffu; high[l] = value >> 16;)
}

static void unpack_32x2(struct exec *x, const struct instruction *i) {
    uint32_t *low = lanes32(x, i->slots[0]), *high = lanes32(x, i->slots[1]);
    const uint64_t *a = lanes64(x, i->src[0]);
    LANE_LOOP(x, uint64_t value = a[l]; low[l] = (uint32_t)value; high[l] = (uint32_t)(value >> 32);)
}

static void pack_128(struct exec *x, const struct instruction *i) {
    uint64_t *d = lanes64(x, i->dst);
    const uint64_t *low = lanes64(x, i->slots[0]), *high = lanes64(x, i->slots[1]);
    LANE_LOOP(x, d[2 * l] = low[l]; d[2 * l + 1] = high[l];)
}

static void unpack_128(struct exec *x, const struct instruction *i) {
    const uint64_t *a = lanes64(x, i->src[0]);
    LANE_LOOP(x, for (unsigned k = 0; k < 2; k++) if (i->slots[k] != 0) lanes64(x, i->slots[k])[l] = a[2 * l + k];)
}

static enum ptx_type bits_type(unsigned bits) {
    static const enum ptx_type types[] = {PTX_B8, PTX_B16, PTX_B32, PTX_B64, PTX_B128};
    return types[__builtin_ctz(bits) - 3];
}

// The vector's registers into slots, their width into width.
static bool take_vector_registers(struct binder *b, struct instruction *out, const struct ptx_operand *op,
                                  unsigned total, bool is_dst) {
    bool known = op->count == 2 || (op->count == 4 && total <= 64);
    if (!known || total < 8 * op->count || total > 128)
        return bind_fail(b, "a vector of %u in %u bits", op->count, total);
    uint32_t *slots = bind_alloc(b, op->count * sizeof *slots);
    if (slots == NULL) return false;
    unsigned bits = total / op->count;
    for (unsigned k = 0; k < op->count; k++) {
        const struct ptx_operand *element = operand_element(b, op, k);
        if (is_dst && element->kind == PTX_SINK) continue;
        if (is_dst ? !take_dst(b, element, bits, &slots[k]) : !take_src(b, element, bits_type(bits), &slots[k]))
            return false;
    }
    out->slots = slots;
    out->slot_count = op->count;
    out->width = (uint8_t)bits;
    return true;
}

static bool bind_pack(struct binder *b, struct instruction *out, unsigned total) {
    if (!take_vector_registers(b, out, &b->operand[1], total, false)) return false;
    out->run = out->width == 64 ? pack_128 : pack;
    if (out->slot_count == 2 && out->width == 16) out->run = pack_16x2;
    if (out->slot_count == 2 && out->width == 32) out->run = pack_32x2;
    out->src[0] = out->slots[0];
    out->src[1] = out->slots[1];
    return take_dst(b, &b->operand[0], total, &out->dst);
}

static bool bind_unpack(struct binder *b, struct instruction *out, unsigned total) {
    if (!take_vector_registers(b, out, &b->operand[0], total, true)) return false;
    bool whole = out->slot_count == 2 && out->slots[0] != 0 && out->slots[1] != 0;
    out->run = out->width == 64 ? unpack_128 : unpack;
    if (whole && out->width == 16) out->run = unpack_16x2;
    if (whole && out->width == 32) out->run = unpack_32x2;
    return take_src(b, &b->operand[1], bits_type(total), &out->src[0]);
}

/* -- mov ----------------------------------------------------------------------------------------------------------- */

static bool bind_mov_predicate(struct binder *b, struct instruction *out) {
    bool negated;
    if (!take_dst(b, &b->operand[0], 1, &out->dst) || !take_src_pred(b, &b->operand[1], &out->src[0], &negated))
        return false;
    out->flags = negated;
    out->run = copy_predicate;
    out->klass = PTXVM_CLASS_PREDICATE;
    return true;
}

static bool bind_mov(struct binder *b, struct instruction *out) {
    const uint64_t set = TYPE_BIT(PTX_PRED) | TYPE_BIT(PTX_B16) | TYPE_BIT(PTX_B32) | TYPE_BIT(PTX_B64) |
                         TYPE_BIT(PTX_B128) | TYPE_BIT(PTX_U16) | TYPE_BIT(PTX_U32) | TYPE_BIT(PTX_U64) |
                         TYPE_BIT(PTX_S16) | TYPE_BIT(PTX_S32) | TYPE_BIT(PTX_S64) | TYPE_BIT(PTX_F32) |
                         TYPE_BIT(PTX_F64);
    enum ptx_type type;
    out->klass = PTXVM_CLASS_MOVE;
    if (!mod_type_need(b, set, &type) || !need_operands(b, 2, 2)) return false;
    const struct ptx_operand *to = &b->operand[0], *from = &b->operand[1];
    unsigned bits = ptx_type_bits(type);
    bool untyped = ptx_type_class(type) == 'B';
    if (type == PTX_PRED) return bind_mov_predicate(b, out);
    if (to->kind == PTX_VECTOR && untyped) return bind_unpack(b, out, bits);
    if (from->kind == PTX_VECTOR && untyped) return bind_pack(b, out, bits);
    if (from->kind == PTX_SPECIAL && from->slot == 0)
        return bind_changing(b, out, (enum ptx_special)from->special, bits);
    out->run = copy_of(bits);
    return take_dst(b, to, bits, &out->dst) && take_src(b, from, type, &out->src[0]);
}

/* -- selp, slct ---------------------------------------------------------------------------------------------------- */

#define SELECT_HANDLER(name, T)                                                                                        \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        T##_lane *d = LANES_OF(T, x, i->dst);                                                                          \
        const T##_lane *a = SOURCE(T, x, i->src[0]), *b = SOURCE(T, x, i->src[1]);                                     \
        uint32_t p = *predicate(x, i->src[2]) ^ (i->flags != 0 ? ALL_LANES : 0);                                       \
        LANE_LOOP(x, d[l] = (p & lane_bits[l]) != 0 ? a[l] : b[l];)                                                         \
    }
SELECT_HANDLER(selp_32, u32)
SELECT_HANDLER(selp_64, u64)

#define VALUE_TYPES                                                                                                    \
    (TYPE_BIT(PTX_B16) | TYPE_BIT(PTX_B32) | TYPE_BIT(PTX_B64) | TYPE_BIT(PTX_U16) | TYPE_BIT(PTX_U32) |               \
     TYPE_BIT(PTX_U64) | TYPE_BIT(PTX_S16) | TYPE_BIT(PTX_S32) | TYPE_BIT(PTX_S64) | TYPE_BIT(PTX_F32) |               \
     TYPE_BIT(PTX_F64))

static bool take_two(struct binder *b, struct instruction *out, enum ptx_type type) {
    return need_operands(b, 4, 4) && take_dst(b, &b->operand[0], ptx_type_bits(type), &out->dst) &&
           take_src(b, &b->operand[1], type, &out->src[0]) && take_src(b, &b->operand[2], type, &out->src[1]);
}

static bool bind_selp(struct binder *b, struct instruction *out) {
    enum ptx_type type;
    bool negated;
    if (!mod_type_need(b, VALUE_TYPES, &type) || !take_two(b, out, type)) return false;
    if (!take_src_pred(b, &b->operand[3], &out->src[2], &negated)) return false;
    out->flags = negated;
    out->run = ptx_type_bits(type) == 64 ? selp_64 : selp_32;
    out->klass = PTXVM_CLASS_MOVE;
    return true;
}

// a where c >= 0, else b; NaN counts as negative, and -0 does not. With .ftz a subnormal c is 0.
#define NOT_NEGATIVE(c) (bits_float(c) >= 0.0f)
#define FLUSHED(c)      (((c)&0x7f800000u) == 0 || NOT_NEGATIVE(c))
HANDLER3(slct_s32_32, u32, u32, u32, s32, c >= 0 ? a : b)
HANDLER3(slct_s32_64, u64, u64, u64, s32, c >= 0 ? a : b)
HANDLER3(slct_f32_32, u32, u32, u32, u32, NOT_NEGATIVE(c) ? a : b)
HANDLER3(slct_f32_64, u64, u64, u64, u32, NOT_NEGATIVE(c) ? a : b)
HANDLER3(slct_ftz_32, u32, u32, u32, u32, FLUSHED(c) ? a : b)
HANDLER3(slct_ftz_64, u64, u64, u64, u32, FLUSHED(c) ? a : b)

static bool bind_slct(struct binder *b, struct instruction *out) {
    static const instruction_handler handlers[3][2] = {
        {slct_s32_32, slct_s32_64}, {slct_f32_32, slct_f32_64}, {slct_ftz_32, slct_ftz_64}};
    bool ftz = mod_take(b, "ftz");
    enum ptx_type type, selector;
    if (!mod_type_need(b, VALUE_TYPES, &type)) return false;
    if (!mod_type_need(b, ftz ? TYPE_BIT(PTX_F32) : TYPE_BIT(PTX_F32) | TYPE_BIT(PTX_S32), &selector)) return false;
    unsigned row = selector == PTX_S32 ? 0 : ftz ? 2 : 1;
    out->run = handlers[row][ptx_type_bits(type) == 64];
    out->klass = PTXVM_CLASS_MOVE;
    return take_two(b, out, type) && take_src(b, &b->operand[3], selector, &out->src[2]);
}

/* -- Addresses ----------------------------------------------------------------------------------------------------- */

// A shared address with the rank of another block of the cluster; the same for own and generic addresses.
#define RANK_MASK (UINT64_C(0xff) << SHARED_RANK_SHIFT)
HANDLER2(mapa_u32, u32, u32, u32, (a & ~(uint32_t)RANK_MASK) | b << SHARED_RANK_SHIFT)
HANDLER2(mapa_u64, u64, u64, u32, (a & ~RANK_MASK) | (uint64_t)b << SHARED_RANK_SHIFT)
HANDLER1(rank_u32, u32, u32, a >> SHARED_RANK_SHIFT)
HANDLER1(rank_u64, u32, u64, (a & RANK_MASK) >> SHARED_RANK_SHIFT)

static bool bind_mapa(struct binder *b, struct instruction *out) {
    static const struct form forms[] = {{PTX_U32, mapa_u32, "==u"}, {PTX_U64, mapa_u64, "==u"}, END};
    mod_take(b, "shared::cluster");
    return bind_form(b, out, forms, PTXVM_CLASS_MOVE);
}

static bool bind_getctarank(struct binder *b, struct instruction *out) {
    static const struct form forms[] = {{PTX_U32, rank_u32, "u="}, {PTX_U64, rank_u64, "u="}, END};
    mod_take(b, "shared::cluster");
    return bind_form(b, out, forms, PTXVM_CLASS_MOVE);
}

// Constants and parameters share the global window's addresses: PTX ISA, isspacep, says so of parameters only.
static bool lies_in(const struct exec *x, const struct instruction *i, uint64_t address) {
    const struct ptxvm_module *module = i->aux;
    uint64_t own;
    enum ptx_space found = memory_resolve(x, address, &own), space = (enum ptx_space)i->space;
    if (found == PTX_GLOBAL && address - module->const_base < module->text->const_bytes) found = PTX_CONST;
    if (found == PTX_PARAM && space == PTX_GLOBAL) return true;
    bool foreign = found == PTX_SHARED && i->flags != 0 && own >> SHARED_RANK_SHIFT != x->block->rank;
    return found == space && !foreign;
}

static void run_isspacep(struct exec *x, const struct instruction *i) {
    const uint64_t *a = lanes64(x, i->src[0]);
    uint32_t mask = 0;
    for (unsigned l = 0; l < LANES; l++) mask |= (uint32_t)lies_in(x, i, a[l]) << l;
    write_predicate(x, i->dst, mask);
}

static bool bind_isspacep(struct binder *b, struct instruction *out) {
    static const struct {
        const char *name;
        enum ptx_space space;
        bool own_block;
    } rows[] = {{"global", PTX_GLOBAL, false},     {"const", PTX_CONST, false},
                {"local", PTX_LOCAL, false},       {"shared", PTX_SHARED, true},
                {"shared::cta", PTX_SHARED, true}, {"shared::cluster", PTX_SHARED, false},
                {"param", PTX_PARAM, false},       {"param::entry", PTX_PARAM, false}};
    size_t k = 0, count = sizeof rows / sizeof rows[0];
    while (k < count && !mod_take(b, rows[k].name)) k++;
    if (k == count) return bind_fail(b, "needs a state space");
    out->space = (uint8_t)rows[k].space;
    out->flags = rows[k].own_block;
    out->aux = b->module;
    return bind_handler(b, out, run_isspacep, "p=", PTX_U64, PTXVM_CLASS_PREDICATE);
}

const struct isa_entry isa_move[] = {{"mov", bind_mov},
                                     {"selp", bind_selp},
                                     {"slct", bind_slct},
                                     {"setp", bind_setp},
                                     {"set", bind_set},
                                     {"mapa", bind_mapa},
                                     {"getctarank", bind_getctarank},
                                     {"isspacep", bind_isspacep},
                                     {NULL, NULL}};
