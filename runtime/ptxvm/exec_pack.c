// exec_pack: cvt of pairs: two f32, or a pair, to a pair of narrow floats and back; cvt.pack of integers.
// SPDX-License-Identifier: Apache-2.0
#include "exec_convert.h"

/* -- Kinds of pairs ------------------------------------------------------------------------------------------------ */

// A packed type: the format of its halves and the distance between them in the register.
struct packed {
    enum ptx_type type;
    enum format format;
    unsigned stride, bits; /* bits: of the whole */
};
static const struct packed packed_types[] = {{PTX_F16X2, FORMAT_F16, 16, 32},  {PTX_BF16X2, FORMAT_BF16, 16, 32},
                                             {PTX_E4M3X2, FORMAT_E4M3, 8, 16}, {PTX_E5M2X2, FORMAT_E5M2, 8, 16},
                                             {PTX_E2M3X2, FORMAT_E2M3, 8, 16}, {PTX_E3M2X2, FORMAT_E3M2, 8, 16},
                                             {PTX_E2M1X2, FORMAT_E2M1, 4, 8},  {PTX_UE8M0X2, FORMAT_UE8M0, 8, 16}};

static const struct packed *find_packed(enum ptx_type type) {
    for (size_t k = 0; k < sizeof packed_types / sizeof packed_types[0]; k++)
        if (packed_types[k].type == type) return &packed_types[k];
    return NULL;
}

bool is_packed_conversion(const struct conversion *c) {
    return find_packed(c->to) != NULL || find_packed(c->from) != NULL;
}

/* -- Handlers ------------------------------------------------------------------------------------------------------ */

// aux: `from` is NULL where the sources are two f32, the upper half's first.
struct pair_conversion {
    const struct packed *to, *from;
    enum rounding rounding;
    unsigned flags;
};

static void pair_from_floats(struct exec *x, const struct instruction *i) {
    const struct pair_conversion *c = i->aux;
    uint32_t *d = lanes32(x, i->dst);
    const uint32_t *high = lanes32(x, i->src[0]), *low = lanes32(x, i->src[1]);
    enum format format = c->to->format;
    unsigned stride = c->to->stride;
    LANE_LOOP(x, uint32_t upper = narrow_encode(format, (double)bits_float(high[l]), c->rounding, c->flags);
              uint32_t lower = narrow_encode(format, (double)bits_float(low[l]), c->rounding, c->flags);
              d[l] = lower | upper << stride;)
}

static void pair_from_pair(struct exec *x, const struct instruction *i) {
    const struct pair_conversion *c = i->aux;
    uint32_t *d = lanes32(x, i->dst);
    const uint32_t *a = lanes32(x, i->src[0]);
    LANE_LOOP(x, float low = narrow_decode(c->from->format, a[l]);
              float high = narrow_decode(c->from->format, a[l] >> c->from->stride);
              d[l] = narrow_encode(c->to->format, (double)low, c->rounding, c->flags) |
                     narrow_encode(c->to->format, (double)high, c->rounding, c->flags) << c->to->stride;)
}

// The kernels' quantisers: .rn(.satfinite) without .relu from two f32.
HANDLER2(f16x2_from_floats, u32, f32, f32, float_to_f16(b) | float_to_f16(a) << 16)
HANDLER2(bf16x2_from_floats, u32, f32, f32, float_to_bf16(b) | float_to_bf16(a) << 16)
HANDLER2(e4m3x2_from_floats, u32, f32, f32, float_to_e4m3(b) | float_to_e4m3(a) << 8)
HANDLER2(e5m2x2_from_floats, u32, f32, f32, float_to_e5m2(b) | float_to_e5m2(a) << 8)
HANDLER2(e2m1x2_from_floats, u32, f32, f32, float_to_e2m1(b) | float_to_e2m1(a) << 4)

static instruction_handler find_loop(const struct pair_conversion *c) {
    if (c->rounding != ROUND_NEAREST || (c->flags & FORMAT_RELU) != 0) return NULL;
    bool satfinite = (c->flags & FORMAT_SATFINITE) != 0;
    switch (c->to->type) {
    case PTX_F16X2:
        return satfinite ? NULL : f16x2_from_floats;
    case PTX_BF16X2:
        return satfinite ? NULL : bf16x2_from_floats;
    case PTX_E4M3X2:
        return e4m3x2_from_floats;
    case PTX_E5M2X2:
        return e5m2x2_from_floats;
    case PTX_E2M1X2:
        return e2m1x2_from_floats;
    default:
        return NULL;
    }
}

/* -- What PTX allows ----------------------------------------------------------------------------------------------- */

#define NEAREST      1u
#define TO_ZERO      2u
#define TO_PLUS      4u
#define ONE_OF(type) TYPE_BIT(type)
#define NARROW_8     (ONE_OF(PTX_E4M3X2) | ONE_OF(PTX_E5M2X2))
#define NARROW_6_4   (ONE_OF(PTX_E2M3X2) | ONE_OF(PTX_E3M2X2) | ONE_OF(PTX_E2M1X2))
enum satfinite { SAT_NEVER, SAT_MAYBE, SAT_ALWAYS };

// PTX ISA, cvt, syntax: which pairs convert to which, with what rounding and modifiers.
static const struct {
    uint64_t to, from;
    unsigned roundings;
    enum satfinite satfinite;
    bool relu;
} pair_rules[] = {
    {ONE_OF(PTX_F16X2) | ONE_OF(PTX_BF16X2), ONE_OF(PTX_F32), NEAREST | TO_ZERO, SAT_MAYBE, true},
    {NARROW_8 | NARROW_6_4, ONE_OF(PTX_F32), NEAREST, SAT_ALWAYS, true},
    {NARROW_8 | ONE_OF(PTX_E2M1X2), ONE_OF(PTX_F16X2), NEAREST, SAT_ALWAYS, true},
    {ONE_OF(PTX_F16X2), NARROW_8 | NARROW_6_4, NEAREST, SAT_NEVER, true},
    {ONE_OF(PTX_UE8M0X2), ONE_OF(PTX_F32) | ONE_OF(PTX_BF16X2), TO_ZERO | TO_PLUS, SAT_MAYBE, false},
    {ONE_OF(PTX_BF16X2), ONE_OF(PTX_UE8M0X2), NEAREST, SAT_NEVER, false},
};

static unsigned rounding_bit(enum rounding rounding) {
    static const unsigned bits[] = {
        [ROUND_NEAREST] = NEAREST, [ROUND_ZERO] = TO_ZERO, [ROUND_UP] = TO_PLUS, [ROUND_DOWN] = 0, [ROUND_AWAY] = 0};
    return bits[rounding];
}

static bool is_allowed(const struct conversion *c) {
    bool satfinite = (c->flags & FORMAT_SATFINITE) != 0, relu_there = (c->flags & FORMAT_RELU) != 0;
    if (!c->has_rounding || c->integral || c->ftz || c->sat) return false;
    for (size_t k = 0; k < sizeof pair_rules / sizeof pair_rules[0]; k++) {
        if ((pair_rules[k].to & TYPE_BIT(c->to)) == 0 || (pair_rules[k].from & TYPE_BIT(c->from)) == 0) continue;
        if ((pair_rules[k].roundings & rounding_bit(c->rounding)) == 0 || (relu_there && !pair_rules[k].relu))
            return false;
        return pair_rules[k].satfinite == SAT_MAYBE || satfinite == (pair_rules[k].satfinite == SAT_ALWAYS);
    }
    return false;
}

/* -- Binders ------------------------------------------------------------------------------------------------------- */

static enum ptx_type bits_type(unsigned bits) {
    return bits == 32 ? PTX_B32 : bits == 16 ? PTX_B16 : PTX_B8;
}

bool bind_packed_conversion(struct binder *b, struct instruction *out, const struct conversion *c) {
    struct pair_conversion *pair = bind_alloc(b, sizeof *pair);
    if (pair == NULL) return false;
    if (!is_allowed(c)) return bind_fail(b, "unknown combination of types and modifiers");
    *pair = (struct pair_conversion){find_packed(c->to), find_packed(c->from), c->rounding, c->flags};
    out->aux = pair;
    unsigned operands = pair->from == NULL ? 3 : 2;
    if (!need_operands(b, operands, operands)) return false;
    if (!take_dst(b, &b->operand[0], pair->to->bits, &out->dst)) return false;
    if (pair->from != NULL) {
        out->run = pair_from_pair;
        return take_src(b, &b->operand[1], bits_type(pair->from->bits), &out->src[0]);
    }
    instruction_handler loop = find_loop(pair);
    out->run = loop != NULL ? loop : pair_from_floats;
    return take_src(b, &b->operand[1], PTX_F32, &out->src[0]) && take_src(b, &b->operand[2], PTX_F32, &out->src[1]);
}

/* -- cvt.pack.sat: two s32 to narrower integers, above them what c has ----------------------------------------------
 */

static inline uint32_t saturated(int32_t v, int32_t least, int32_t greatest) {
    return (uint32_t)(v < least ? least : v > greatest ? greatest : v);
}
#define PACK16(least, greatest) ((saturated(b, least, greatest) & 0xffffu) | saturated(a, least, greatest) << 16)
#define PACK(bits, least, greatest)                                                                                    \
    ((saturated(b, least, greatest) & ((1u << (bits)) - 1u)) |                                                         \
     (saturated(a, least, greatest) & ((1u << (bits)) - 1u)) << (bits) | c << (2 * (bits)))
HANDLER2(pack_s16, u32, s32, s32, PACK16(INT16_MIN, INT16_MAX))
HANDLER2(pack_u16, u32, s32, s32, PACK16(0, UINT16_MAX))
HANDLER3(pack_s8, u32, s32, s32, u32, PACK(8, INT8_MIN, INT8_MAX))
HANDLER3(pack_u8, u32, s32, s32, u32, PACK(8, 0, UINT8_MAX))
HANDLER3(pack_s4, u32, s32, s32, u32, PACK(4, -8, 7))
HANDLER3(pack_u4, u32, s32, s32, u32, PACK(4, 0, 15))

bool bind_integer_pack(struct binder *b, struct instruction *out) {
    static const struct form forms[] = {
        {PTX_S16, pack_s16, "==="}, {PTX_U16, pack_u16, "==="}, {PTX_S8, pack_s8, "===="}, {PTX_U8, pack_u8, "===="},
        {PTX_S4, pack_s4, "===="},  {PTX_U4, pack_u4, "===="},  {PTX_NONE, NULL, NULL}};
    enum ptx_type to = mod_type(b), from;
    const struct form *form = forms;
    while (form->type != PTX_NONE && form->type != to) form++;
    if (form->type == PTX_NONE || !mod_take(b, "sat"))
        return bind_fail(b, "unknown combination of types and modifiers");
    if (!mod_type_need(b, TYPE_BIT(PTX_S32), &from)) return false;
    if (strlen(form->operands) == 4 && !mod_take(b, "b32")) return bind_fail(b, "needs .b32 for the third source");
    return bind_handler(b, out, form->run, form->operands, PTX_B32, PTXVM_CLASS_CONVERT);
}
