// exec_memory: loads and stores: ld ldu st in all spaces, widths and vectors; prefetch, applypriority and discard,
// which do nothing here. Addresses become host bytes in memory.c; here bytes become lanes. SPDX-License-Identifier:
// Apache-2.0
#include "exec_memory.h"

#include <string.h>

/* -- Modifiers and addresses --------------------------------------------------------------------------------------- */

enum ptx_space take_space(struct binder *b) {
    static const struct {
        const char *name;
        enum ptx_space space;
    } spaces[] = {{"global", PTX_GLOBAL},          {"shared", PTX_SHARED},     {"shared::cta", PTX_SHARED},
                  {"shared::cluster", PTX_SHARED}, {"local", PTX_LOCAL},       {"param", PTX_PARAM},
                  {"param::entry", PTX_PARAM},     {"param::func", PTX_PARAM}, {"const", PTX_CONST}};
    for (size_t k = 0; k < sizeof spaces / sizeof spaces[0]; k++)
        if (mod_take(b, spaces[k].name)) return spaces[k].space;
    return PTX_GENERIC;
}

unsigned take_vector(struct binder *b) {
    static const char *const names[] = {"v2", "v4", "v8", NULL};
    int choice = mod_choice(b, names);
    return choice < 0 ? 1 : 2u << choice;
}

unsigned take_order(struct binder *b) {
    static const struct {
        const char *name;
        unsigned access;
    } orders[] = {{"volatile", ACCESS_STRONG},
                  {"relaxed", ACCESS_STRONG},
                  {"acquire", ACCESS_STRONG | ACCESS_ACQUIRE},
                  {"release", ACCESS_STRONG | ACCESS_RELEASE},
                  {"acq_rel", ACCESS_STRONG | ACCESS_ACQUIRE | ACCESS_RELEASE}};
    unsigned access = 0;
    for (size_t k = 0; k < sizeof orders / sizeof orders[0]; k++)
        if (mod_take(b, orders[k].name)) access |= orders[k].access;
    mod_ignore_memory(b);
    return access;
}

bool take_memory_address(struct binder *b, const struct ptx_operand *op, struct instruction *out) {
    bool wide;
    enum ptx_space space;
    if (!take_address(b, op, &out->src[0], &wide, &out->imm, &space)) return false;
    // A constant base owns both widths; the wide one is right for all.
    if (wide || op->is_constant) out->flags |= ADDRESS_WIDE;
    if (op->base_is_symbol && space != (enum ptx_space)out->space)
        return bind_fail(b, "the variable lies in another state space than the instruction names");
    return true;
}

bool take_policy(struct binder *b, unsigned at, bool hinted) {
    uint32_t unused;
    if (!need_operands(b, at, at + (hinted ? 1u : 0u))) return false;
    return b->operands == at || take_src(b, &b->operand[at], PTX_B64, &unused);
}

void memory_addresses(const struct exec *x, const struct instruction *i, uint64_t address[LANES]) {
    uint64_t offset = (uint64_t)i->imm;
    if ((i->flags & ADDRESS_WIDE) != 0) {
        const uint64_t *base = lanes64(x, i->src[0]);
        for (unsigned l = 0; l < LANES; l++) address[l] = base[l] + offset;
    } else {
        const uint32_t *base = lanes32(x, i->src[0]);
        for (unsigned l = 0; l < LANES; l++) address[l] = base[l] + offset;
    }
}

/* -- Bytes to lanes and back --------------------------------------------------------------------------------------- */

// Moves element at `offset` of each active lane's bytes to or from a slot.
typedef void (*element_mover)(const struct exec *x, uint32_t slot, uint8_t *const at[LANES], unsigned offset);

// A value of type M in memory; a lane of type L; extension goes through `via`, the register's own width for signed
// types.
#define LOAD_MOVER(name, M, L, via)                                                                                    \
    static void name(const struct exec *x, uint32_t slot, uint8_t *const at[LANES], unsigned offset) {                 \
        L *lane = (L *)(void *)(x->file + slot);                                                                       \
        for (uint32_t rest = x->active; rest != 0; rest &= rest - 1) {                                                 \
            unsigned l = (unsigned)__builtin_ctz(rest);                                                                \
            M value;                                                                                                   \
            memcpy(&value, at[l] + offset, sizeof value);                                                              \
            lane[l] = (L)(via)value;                                                                                   \
        }                                                                                                              \
    }
LOAD_MOVER(load_u8_32, uint8_t, uint32_t, uint32_t)
LOAD_MOVER(load_u8_64, uint8_t, uint64_t, uint64_t)
LOAD_MOVER(load_s8_16, int8_t, uint32_t, uint16_t)
LOAD_MOVER(load_s8_32, int8_t, uint32_t, uint32_t)
LOAD_MOVER(load_s8_64, int8_t, uint64_t, uint64_t)
LOAD_MOVER(load_u16_32, uint16_t, uint32_t, uint32_t)
LOAD_MOVER(load_u16_64, uint16_t, uint64_t, uint64_t)
LOAD_MOVER(load_s16_32, int16_t, uint32_t, uint32_t)
LOAD_MOVER(load_s16_64, int16_t, uint64_t, uint64_t)
LOAD_MOVER(load_u32_32, uint32_t, uint32_t, uint32_t)
LOAD_MOVER(load_u32_64, uint32_t, uint64_t, uint64_t)
LOAD_MOVER(load_s32_64, int32_t, uint64_t, uint64_t)
LOAD_MOVER(load_u64_64, uint64_t, uint64_t, uint64_t)

struct wide128 {
    uint64_t word[2];
};
#define STORE_MOVER(name, M, L)                                                                                        \
    static void name(const struct exec *x, uint32_t slot, uint8_t *const at[LANES], unsigned offset) {                 \
        const L *lane = (const L *)(const void *)(x->file + slot);                                                     \
        for (uint32_t rest = x->active; rest != 0; rest &= rest - 1) {                                                 \
            unsigned l = (unsigned)__builtin_ctz(rest);                                                                \
            M value = (M)lane[l];                                                                                      \
            memcpy(at[l] + offset, &value, sizeof value);                                                              \
        }                                                                                                              \
    }
STORE_MOVER(store_8_32, uint8_t, uint32_t)
STORE_MOVER(store_8_64, uint8_t, uint64_t)
STORE_MOVER(store_16_32, uint16_t, uint32_t)
STORE_MOVER(store_16_64, uint16_t, uint64_t)
STORE_MOVER(store_32_32, uint32_t, uint32_t)
STORE_MOVER(store_32_64, uint32_t, uint64_t)
STORE_MOVER(store_64_64, uint64_t, uint64_t)

#define MOVER128(name, to, from)                                                                                       \
    static void name(const struct exec *x, uint32_t slot, uint8_t *const at[LANES], unsigned offset) {                 \
        struct wide128 *lane = (struct wide128 *)(void *)(x->file + slot);                                             \
        for (uint32_t rest = x->active; rest != 0; rest &= rest - 1) {                                                 \
            unsigned l = (unsigned)__builtin_ctz(rest);                                                                \
            memcpy(to, from, sizeof lane[l]);                                                                          \
        }                                                                                                              \
    }
MOVER128(load_128, &lane[l], at[l] + offset)
MOVER128(store_128, at[l] + offset, &lane[l])

// By memory width 8, 16, 32, 64 bits and register width 16, 32, 64: NULL where the register is too narrow.
static const element_mover unsigned_loads[4][3] = {{load_u8_32, load_u8_32, load_u8_64},
                                                   {load_u16_32, load_u16_32, load_u16_64},
                                                   {NULL, load_u32_32, load_u32_64},
                                                   {NULL, NULL, load_u64_64}};
static const element_mover signed_loads[4][3] = {{load_s8_16, load_s8_32, load_s8_64},
                                                 {load_u16_32, load_s16_32, load_s16_64},
                                                 {NULL, load_u32_32, load_s32_64},
                                                 {NULL, NULL, load_u64_64}};
static const element_mover stores[4][3] = {{store_8_32, store_8_32, store_8_64},
                                           {store_16_32, store_16_32, store_16_64},
                                           {NULL, store_32_32, store_32_64},
                                           {NULL, NULL, store_64_64}};

static unsigned width_row(unsigned bits) { /* 8 16 32 64 -> 0 1 2 3 */
    return (unsigned)__builtin_ctz(bits) - 3;
}

/* -- Handlers ------------------------------------------------------------------------------------------------------ */

// aux: what moves each element; slots name their registers, 0 for '_'.
struct movers {
    element_mover element[VECTOR_MAX];
};

static void move_elements(const struct exec *x, const struct instruction *i, uint8_t *const at[LANES]) {
    const struct movers *movers = i->aux;
    for (unsigned k = 0; k < i->count; k++)
        if (i->slots[k] != 0) movers->element[k](x, i->slots[k], at, k * i->width);
}

static void run_access(struct exec *x, const struct instruction *i) {
    uint64_t address[LANES];
    uint8_t *at[LANES];
    uint32_t bytes = (uint32_t)i->width * i->count;
    memory_addresses(x, i, address);
    if (memory_access_warp(x, i, (enum ptx_space)i->space, address, bytes, bytes, i->flags & ACCESS_MASK, at))
        move_elements(x, i, at);
}

// A load that others may be about to answer: lets them run, so that spinning on it ends.
static void run_polling_load(struct exec *x, const struct instruction *i) {
    run_access(x, i);
    if (x->status == EXEC_NEXT) x->status = EXEC_YIELD;
}

// A parameter of the kernel at a fixed offset (imm), checked when it was bound: all lanes read the same bytes.
static void run_parameter_load(struct exec *x, const struct instruction *i) {
    uint8_t *at[LANES], bytes[16 * VECTOR_MAX];
    memcpy(bytes, exec_parameters(x) + i->imm, (size_t)i->width * i->count);
    for (unsigned l = 0; l < LANES; l++) at[l] = bytes;
    move_elements(x, i, at);
}

static void run_nothing(struct exec *x, const struct instruction *i) {
    (void)x, (void)i;
}

/* -- Binders: elements --------------------------------------------------------------------------------------------- */

static bool is_sink(const struct ptx_operand *op) {
    return op->kind == PTX_SINK;
}

static bool take_loaded(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot,
                        element_mover *mover) {
    unsigned bits = ptx_type_bits(type);
    bool wide;
    *slot = 0;
    if (is_sink(op)) return true;
    if (bits == 128) {
        *mover = load_128;
        return take_dst(b, op, bits, slot);
    }
    if (!take_dst_wider(b, op, bits, slot, &wide)) return false;
    unsigned held = ptx_type_bits(op->type) < 16 ? 16 : ptx_type_bits(op->type);
    const element_mover(*rows)[3] = ptx_type_class(type) == 'S' ? signed_loads : unsigned_loads;
    *mover = rows[width_row(bits)][width_row(held) - 1];
    return true;
}

static bool take_stored(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot,
                        element_mover *mover) {
    unsigned bits = ptx_type_bits(type);
    bool wide;
    if (bits == 128) {
        *mover = store_128;
        return take_src(b, op, type, slot);
    }
    if (!take_src_wider(b, op, type, slot, &wide)) return false;
    *mover = stores[width_row(bits)][wide ? 2 : 1];
    return true;
}

// The register, or the vector of them, of a load or store into slots and aux.
static bool take_elements(struct binder *b, const struct ptx_operand *op, enum ptx_type type, bool is_load,
                          struct instruction *out) {
    struct movers *movers = bind_alloc(b, sizeof *movers);
    uint32_t *slots = bind_alloc(b, out->count * sizeof *slots);
    if (movers == NULL || slots == NULL) return false;
    bool is_vector = op->kind == PTX_VECTOR;
    if (is_vector != (out->count > 1) || (is_vector && op->count != out->count))
        return bind_fail(b, "the number of registers is not that of the modifiers");
    for (unsigned k = 0; k < out->count; k++) {
        const struct ptx_operand *element = is_vector ? operand_element(b, op, k) : op;
        bool taken = is_load ? take_loaded(b, element, type, &slots[k], &movers->element[k])
                             : take_stored(b, element, type, &slots[k], &movers->element[k]);
        if (!taken) return false;
    }
    out->slots = slots;
    out->slot_count = out->count;
    out->aux = movers;
    return true;
}

// What ld.b8 .. ld.f64 may name: 8 bits and more, one element.
static bool take_element_type(struct binder *b, struct instruction *out, enum ptx_type *type) {
    const uint64_t set = TYPE_BIT(PTX_B8) | TYPE_BIT(PTX_B16) | TYPE_BIT(PTX_B32) | TYPE_BIT(PTX_B64) |
                         TYPE_BIT(PTX_B128) | TYPE_BIT(PTX_U8) | TYPE_BIT(PTX_U16) | TYPE_BIT(PTX_U32) |
                         TYPE_BIT(PTX_U64) | TYPE_BIT(PTX_S8) | TYPE_BIT(PTX_S16) | TYPE_BIT(PTX_S32) |
                         TYPE_BIT(PTX_S64) | TYPE_BIT(PTX_F32) | TYPE_BIT(PTX_F64);
    if (!mod_type_need(b, set, type)) return false;
    out->width = (uint8_t)(ptx_type_bits(*type) / 8);
    if (out->width * out->count > 32) return bind_fail(b, "more than 32 bytes for a thread");
    return true;
}

static enum ptxvm_class space_class(enum ptx_space space) {
    static const enum ptxvm_class classes[PTX_SPACE_COUNT] = {
        [PTX_GENERIC] = PTXVM_CLASS_GLOBAL, [PTX_GLOBAL] = PTXVM_CLASS_GLOBAL,  [PTX_SHARED] = PTXVM_CLASS_SHARED,
        [PTX_LOCAL] = PTXVM_CLASS_LOCAL,    [PTX_CONST] = PTXVM_CLASS_CONSTANT, [PTX_PARAM] = PTXVM_CLASS_CONSTANT};
    return classes[space];
}

// Modifiers up to the type, into out; *hinted: a cache policy follows the operands.
static bool take_access(struct binder *b, struct instruction *out, enum ptx_type *type, bool *hinted) {
    enum ptx_space space = take_space(b);
    *hinted = mod_take(b, "L2::cache_hint");
    out->space = (uint8_t)space;
    out->klass = space_class(space);
    out->count = (uint8_t)take_vector(b);
    out->flags = take_order(b);
    return take_element_type(b, out, type);
}

/* -- Binders: instructions ----------------------------------------------------------------------------------------- */

static bool is_kernel_parameter(const struct binder *b, const struct instruction *out) {
    const struct ptx_operand *address = &b->operand[1];
    uint64_t bytes = (uint64_t)out->width * out->count, size = b->function->parameter_bytes;
    return out->space == PTX_PARAM && b->function->is_entry && address->is_constant && out->imm >= 0 &&
           (uint64_t)out->imm + bytes <= size && (uint64_t)out->imm % bytes == 0;
}

static bool bind_ld(struct binder *b, struct instruction *out) {
    enum ptx_type type;
    bool hinted;
    if (!take_access(b, out, &type, &hinted)) return false;
    if (b->operands < 2) return bind_fail(b, "an address is missing");
    if (!take_elements(b, &b->operand[0], type, true, out)) return false;
    if (!take_memory_address(b, &b->operand[1], out) || !take_policy(b, 2, hinted)) return false;
    out->run = is_kernel_parameter(b, out)         ? run_parameter_load
               : (out->flags & ACCESS_STRONG) != 0 ? run_polling_load
                                                   : run_access;
    out->flags |= ACCESS_READ;
    return true;
}

static bool bind_ldu(struct binder *b, struct instruction *out) {
    if (!bind_ld(b, out)) return false;
    return out->space == PTX_GLOBAL || out->space == PTX_GENERIC || bind_fail(b, "ldu reads global memory only");
}

static bool bind_st(struct binder *b, struct instruction *out) {
    enum ptx_type type;
    bool hinted;
    if (!take_access(b, out, &type, &hinted)) return false;
    if (out->space == PTX_CONST) return bind_fail(b, "constants cannot be written");
    if (b->operands < 2) return bind_fail(b, "a value is missing");
    out->run = run_access;
    out->flags |= ACCESS_WRITE;
    return take_memory_address(b, &b->operand[0], out) && take_elements(b, &b->operand[1], type, false, out) &&
           take_policy(b, 2, hinted);
}

// Hints: the address is decoded, then nothing happens. `most`: operands with the size of applypriority and discard.
static bool bind_hint(struct binder *b, struct instruction *out, unsigned operands, const char *const *levels) {
    int64_t size;
    out->space = (uint8_t)take_space(b);
    out->klass = PTXVM_CLASS_OTHER;
    out->run = run_nothing;
    unsigned level;
    if (!mod_need(b, levels, &level) || !need_operands(b, operands, operands)) return false;
    mod_ignore_memory(b);
    if (operands == 2 && !take_constant(b, &b->operand[1], 128, 128, &size)) return false;
    return take_memory_address(b, &b->operand[0], out);
}

static bool bind_prefetch(struct binder *b, struct instruction *out) {
    static const char *const levels[] = {"L1", "L2", "L2::evict_last", "L2::evict_normal", "tensormap", NULL};
    return bind_hint(b, out, 1, levels);
}

static bool bind_prefetchu(struct binder *b, struct instruction *out) {
    static const char *const levels[] = {"L1", NULL};
    return bind_hint(b, out, 1, levels);
}

static bool bind_applypriority(struct binder *b, struct instruction *out) {
    static const char *const levels[] = {"L2::evict_normal", NULL};
    return bind_hint(b, out, 2, levels);
}

static bool bind_discard(struct binder *b, struct instruction *out) {
    static const char *const levels[] = {"L2", NULL};
    return bind_hint(b, out, 2, levels);
}

// createpolicy.fractional: an opaque value for cache hints, which mean nothing here.
static void run_policy(struct exec *x, const struct instruction *i) {
    uint64_t *d = lanes64(x, i->dst);
    for (uint32_t rest = x->active; rest != 0; rest &= rest - 1) d[__builtin_ctz(rest)] = 0;
}

static bool bind_createpolicy(struct binder *b, struct instruction *out) {
    enum ptx_type type;
    uint32_t fraction;
    if (!mod_take(b, "fractional")) return bind_fail(b, "only .fractional is known");
    mod_ignore_memory(b);
    out->run = run_policy;
    out->klass = PTXVM_CLASS_OTHER;
    if (!mod_type_need(b, TYPE_BIT(PTX_B64), &type) || !need_operands(b, 1, 2)) return false;
    if (b->operands == 2 && !take_src(b, &b->operand[1], PTX_F32, &fraction)) return false;
    return take_dst(b, &b->operand[0], 64, &out->dst);
}

const struct isa_entry isa_memory[] = {{"ld", bind_ld},
                                       {"ldu", bind_ldu},
                                       {"st", bind_st},
                                       {"atom", bind_atom},
                                       {"red", bind_red},
                                       {"prefetch", bind_prefetch},
                                       {"prefetchu", bind_prefetchu},
                                       {"applypriority", bind_applypriority},
                                       {"discard", bind_discard},
                                       {"createpolicy", bind_createpolicy},
                                       {NULL, NULL}};
