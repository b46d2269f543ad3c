// exec_atomic: atom and red on global, shared and generic addresses: lanes take turns, each reads, combines and writes.
// Warps cannot interrupt one another within an instruction, so nothing more is needed. SPDX-License-Identifier:
// Apache-2.0
#include "exec_memory.h"

#include "exec_float.h"

/* -- Operations: the new value of `old`, with operands b and c, on bits in the low end of 64 ------------------------
 */

typedef uint64_t (*combiner)(uint64_t old, uint64_t b, uint64_t c);

#define COMBINER(name, T, expression)                                                                                  \
    static uint64_t name(uint64_t old, uint64_t right, uint64_t third) {                                               \
        T##_value a = T##_load((T##_lane)old), b = T##_load((T##_lane)right), c = T##_load((T##_lane)third);           \
        (void)a, (void)b, (void)c;                                                                                     \
        return T##_store((T##_value)(expression));                                                                     \
    }
#define LESSER(a, b)  ((a) < (b) ? (a) : (b))
#define GREATER(a, b) ((a) > (b) ? (a) : (b))
COMBINER(and_bits, u64, a &b)
COMBINER(or_bits, u64, a | b)
COMBINER(xor_bits, u64, a ^ b)
COMBINER(exchange_bits, u64, b)
COMBINER(swap_bits, u64, a == b ? c : a)
COMBINER(add_bits, u64, a + b)
COMBINER(inc_u32, u32, a >= b ? 0 : a + 1)
COMBINER(dec_u32, u32, a == 0 || a > b ? b : a - 1)
COMBINER(min_u32, u32, LESSER(a, b))
COMBINER(min_s32, s32, LESSER(a, b))
COMBINER(min_u64, u64, LESSER(a, b))
COMBINER(min_s64, s64, LESSER(a, b))
COMBINER(max_u32, u32, GREATER(a, b))
COMBINER(max_s32, s32, GREATER(a, b))
COMBINER(max_u64, u64, GREATER(a, b))
COMBINER(max_s64, s64, GREATER(a, b))
COMBINER(add_f32, f32, a + b)
COMBINER(add_f32_ftz, f32z, a + b)
COMBINER(add_f64, f64, a + b)

// Halves: alone, and as pairs whose halves are atomic each by itself.
#define HALF_COMBINER(name, T, expression)                                                                             \
    COMBINER(name, T, expression)                                                                                      \
    static uint64_t name##_x2(uint64_t old, uint64_t b, uint64_t c) {                                                  \
        return name(old, b, c) | name(old >> 16, b >> 16, c) << 16;                                                    \
    }
HALF_COMBINER(add_f16, f16, a + b)
HALF_COMBINER(add_bf16, bf16, a + b)
HALF_COMBINER(min_f16, f16, lesser(a, b))
HALF_COMBINER(min_bf16, bf16, lesser(a, b))
HALF_COMBINER(max_f16, f16, greater(a, b))
HALF_COMBINER(max_bf16, bf16, greater(a, b))

/* -- Forms --------------------------------------------------------------------------------------------------------- */

struct atomic_form {
    const char *operation;
    enum ptx_type type;
    combiner combine;
    bool is_vector_only; /* scalar min and max of halves do not exist */
};
#define BITS_FORMS(operation, combine)                                                                                 \
    {operation, PTX_B32, combine, false}, {                                                                            \
        operation, PTX_B64, combine, false                                                                             \
    }
#define HALF_FORMS(operation, name, vector_only)                                                                       \
    {operation, PTX_F16, name##_f16, vector_only}, {operation, PTX_F16X2, name##_f16_x2, vector_only},                 \
        {operation, PTX_BF16, name##_bf16, vector_only}, {                                                             \
        operation, PTX_BF16X2, name##_bf16_x2, vector_only                                                             \
    }
static const struct atomic_form forms[] = {
    BITS_FORMS("and", and_bits),       BITS_FORMS("or", or_bits),         BITS_FORMS("xor", xor_bits),
    BITS_FORMS("exch", exchange_bits), BITS_FORMS("cas", swap_bits),      {"cas", PTX_B16, swap_bits, false},
    {"add", PTX_U32, add_bits, false}, {"add", PTX_S32, add_bits, false}, {"add", PTX_U64, add_bits, false},
    {"add", PTX_S64, add_bits, false}, {"inc", PTX_U32, inc_u32, false},  {"dec", PTX_U32, dec_u32, false},
    {"min", PTX_U32, min_u32, false},  {"min", PTX_S32, min_s32, false},  {"min", PTX_U64, min_u64, false},
    {"min", PTX_S64, min_s64, false},  {"max", PTX_U32, max_u32, false},  {"max", PTX_S32, max_s32, false},
    {"max", PTX_U64, max_u64, false},  {"max", PTX_S64, max_s64, false},  {"add", PTX_F32, add_f32, false},
    {"add", PTX_F64, add_f64, false},  HALF_FORMS("add", add, false),     HALF_FORMS("min", min, true),
    HALF_FORMS("max", max, true)};
enum { FORMS = sizeof forms / sizeof forms[0] };

/* -- Handler ------------------------------------------------------------------------------------------------------- */

// aux. Element k of an operand is at slot first + k: slots holds destinations (0: none), then b's, then c's.
struct atomic {
    combiner combine;
    bool is_f32_add; /* flushes subnormals in global memory only: PTX ISA, atom */
};

static uint64_t load_bits(const uint8_t *at, unsigned width) {
    uint64_t bits = 0;
    memcpy(&bits, at, width); /* little-endian hosts */
    return bits;
}

static uint64_t operand_bits(const struct exec *x, uint32_t slot, unsigned width, unsigned lane) {
    if (slot == 0) return 0;
    return width == 8 ? lanes64(x, slot)[lane] : lanes32(x, slot)[lane];
}

static bool is_global(const struct exec *x, const struct instruction *i, uint64_t address) {
    uint64_t own;
    if (i->space != PTX_GENERIC) return i->space == PTX_GLOBAL;
    return memory_resolve(x, address, &own) == PTX_GLOBAL;
}

// One lane's turn: every element.
static void combine_lane(const struct exec *x, const struct instruction *i, unsigned lane, uint8_t *at,
                         combiner combine) {
    const uint32_t *d = i->slots, *b = d + i->count, *c = b + i->count;
    for (unsigned k = 0; k < i->count; k++, at += i->width) {
        uint64_t old = load_bits(at, i->width);
        uint64_t new = combine(old, operand_bits(x, b[k], i->width, lane), operand_bits(x, c[k], i->width, lane));
        memcpy(at, &new, i->width);
        if (new != old) machine_progress(x);
        if (d[k] == 0) continue;
        if (i->width == 8)
            lanes64(x, d[k])[lane] = old;
        else
            lanes32(x, d[k])[lane] = (uint32_t)old;
    }
}

static void run_atomic(struct exec *x, const struct instruction *i) {
    const struct atomic *atomic = i->aux;
    uint64_t address[LANES];
    uint8_t *at[LANES];
    uint32_t bytes = (uint32_t)i->width * i->count;
    memory_addresses(x, i, address);
    if (!memory_access_warp(x, i, (enum ptx_space)i->space, address, bytes, bytes, i->flags & ACCESS_MASK, at)) return;
    for (uint32_t rest = x->active; rest != 0; rest &= rest - 1) {
        unsigned lane = (unsigned)__builtin_ctz(rest);
        bool flushes = atomic->is_f32_add && is_global(x, i, address[lane]);
        combine_lane(x, i, lane, at[lane], flushes ? add_f32_ftz : atomic->combine);
    }
}

// Exchange and compare: what locks spin on. Others get to run.
static void run_lock(struct exec *x, const struct instruction *i) {
    run_atomic(x, i);
    if (x->status == EXEC_NEXT) x->status = EXEC_YIELD;
}

/* -- Binders ------------------------------------------------------------------------------------------------------- */

static const struct atomic_form *find_form(int operation, enum ptx_type type, const char *const *names) {
    for (size_t k = 0; k < FORMS; k++)
        if (forms[k].type == type && strcmp(forms[k].operation, names[operation]) == 0) return &forms[k];
    return NULL;
}

// Operation, element count and type into out and aux. *name: the operation's index in names.
static bool take_operation(struct binder *b, struct instruction *out, const char *const *names, unsigned *name) {
    if (!mod_need(b, names, name)) return false;
    bool noftz = mod_take(b, "noftz");
    out->count = (uint8_t)take_vector(b);
    enum ptx_type type = mod_type(b);
    const struct atomic_form *form = find_form((int)*name, type, names);
    unsigned bits = ptx_type_bits(type);
    bool half = is_float_type(type) && type != PTX_F32 && type != PTX_F64;
    if (form == NULL || noftz != half) return bind_fail(b, "unknown combination of operation, modifiers and type");
    if (form->is_vector_only && out->count == 1) return bind_fail(b, "this operation exists for vectors only");
    bool vectors = half || (type == PTX_F32 && form->combine == add_f32);
    if (out->count > 1 && (!vectors || out->space == PTX_SHARED || out->count * bits > 128))
        return bind_fail(b, "vectors of this type, length or space do not exist");
    struct atomic *atomic = bind_alloc(b, sizeof *atomic);
    if (atomic == NULL) return false;
    *atomic = (struct atomic){form->combine, type == PTX_F32};
    out->aux = atomic;
    out->width = (uint8_t)(bits / 8);
    return true;
}

static enum ptx_type bits_type(unsigned width) {
    return width == 8 ? PTX_B64 : width == 4 ? PTX_B32 : PTX_B16;
}

// One operand's registers, into slots. A scalar of type f32 may be a literal, which untyped bits may not.
static bool take_registers(struct binder *b, const struct instruction *out, const struct ptx_operand *op, bool is_dst,
                           uint32_t *slots) {
    bool is_vector = op->kind == PTX_VECTOR;
    enum ptx_type type = bits_type(out->width);
    if (op->kind == PTX_IMMEDIATE && (op->type == PTX_F32 || op->type == PTX_F64))
        type = out->width == 8 ? PTX_F64 : PTX_F32;
    if (op->kind == PTX_SINK && is_dst) return true;
    if (is_vector != (out->count > 1) || (is_vector && op->count != out->count))
        return bind_fail(b, "the number of registers is not that of the modifiers");
    for (unsigned k = 0; k < out->count; k++) {
        const struct ptx_operand *element = is_vector ? operand_element(b, op, k) : op;
        if (is_dst && element->kind == PTX_SINK) continue;
        if (is_dst ? !take_dst(b, element, ptx_type_bits(type), &slots[k]) : !take_src(b, element, type, &slots[k]))
            return false;
    }
    return true;
}

// [a], b (, c) from operand `at` on, after the destination; then a cache policy.
static bool take_atomic_operands(struct binder *b, struct instruction *out, bool has_dst, bool has_third, bool hinted) {
    uint32_t *slots = bind_alloc(b, 3u * VECTOR_MAX * sizeof *slots);
    unsigned at = has_dst ? 1 : 0, count = at + 2 + (has_third ? 1 : 0);
    if (slots == NULL || !take_policy(b, count, hinted)) return false;
    out->slots = slots;
    out->slot_count = 3u * out->count;
    if (has_dst && !take_registers(b, out, &b->operand[0], true, slots)) return false;
    if (!take_memory_address(b, &b->operand[at], out)) return false;
    if (!take_registers(b, out, &b->operand[at + 1], false, slots + out->count)) return false;
    return !has_third || take_registers(b, out, &b->operand[at + 2], false, slots + 2 * out->count);
}

static bool bind_atomic(struct binder *b, struct instruction *out, bool has_dst, const char *const *names) {
    enum ptx_space space = take_space(b);
    bool hinted = mod_take(b, "L2::cache_hint");
    unsigned name;
    if (space != PTX_GENERIC && space != PTX_GLOBAL && space != PTX_SHARED)
        return bind_fail(b, "atomics work on global and shared memory");
    out->space = (uint8_t)space;
    out->klass = PTXVM_CLASS_ATOMIC;
    out->flags = take_order(b) | ACCESS_ATOMIC;
    if (!take_operation(b, out, names, &name)) return false;
    bool is_cas = strcmp(names[name], "cas") == 0, is_lock = is_cas || strcmp(names[name], "exch") == 0;
    out->run = is_lock ? run_lock : run_atomic;
    return take_atomic_operands(b, out, has_dst, is_cas, hinted);
}

bool bind_atom(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"and", "or", "xor", "exch", "cas", "add", "inc", "dec", "min", "max", NULL};
    return bind_atomic(b, out, true, names);
}

bool bind_red(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"and", "or", "xor", "add", "inc", "dec", "min", "max", NULL};
    return bind_atomic(b, out, false, names);
}
