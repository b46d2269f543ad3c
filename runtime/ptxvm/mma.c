// mma: mma.sync of all dense shapes and types but one bit and m8n8k4 of f16; .sp is rejected. Block-scaled kinds are
// bound here and executed by mma_scaled.c. Arithmetic: accumulate.c; layouts: fragment.c. Exports isa_mma.
// SPDX-License-Identifier: Apache-2.0
#include "mma.h"

#include <math.h>
#include <string.h>

#include "formats.h"
#include "vm.h"

/* -- Operands ------------------------------------------------------------------------------------------------------ */

static const struct ptx_operand *vector_element(struct binder *b, const struct ptx_operand *op, unsigned count,
                                                unsigned k) {
    if (op->kind != PTX_VECTOR && count == 1) return op;
    if (op->kind == PTX_VECTOR && op->count == count) return operand_element(b, op, k);
    bind_fail(b, "operand must be a vector of %u registers", count);
    return NULL;
}

bool mma_take_dst(struct binder *b, const struct ptx_operand *op, unsigned count, unsigned bits, uint32_t *slot) {
    for (unsigned k = 0; k < count; k++) {
        const struct ptx_operand *element = vector_element(b, op, count, k);
        if (element == NULL || !take_dst(b, element, bits, &slot[k])) return false;
    }
    return true;
}

bool mma_take_src(struct binder *b, const struct ptx_operand *op, unsigned count, enum ptx_type type, uint32_t *slot) {
    for (unsigned k = 0; k < count; k++) {
        const struct ptx_operand *element = vector_element(b, op, count, k);
        if (element == NULL || !take_src(b, element, type, &slot[k])) return false;
    }
    return true;
}

bool mma_take_aligned(struct binder *b) {
    if (mod_take(b, "sync") && mod_take(b, "aligned")) return true;
    return bind_fail(b, "needs .sync.aligned");
}

/* -- Variants ------------------------------------------------------------------------------------------------------ */

enum mma_kind { KIND_NONE, KIND_F8F6F4, KIND_MXF8F6F4, KIND_MXF4, KIND_MXF4NVF4 };
static const char *const kind_names[] = {"kind::f8f6f4", "kind::mxf8f6f4", "kind::mxf4", "kind::mxf4nvf4", NULL};

#define FLOAT8         (TYPE_BIT(PTX_E4M3) | TYPE_BIT(PTX_E5M2))
#define FLOAT864       (FLOAT8 | TYPE_BIT(PTX_E3M2) | TYPE_BIT(PTX_E2M3) | TYPE_BIT(PTX_E2M1))
#define BYTES          (TYPE_BIT(PTX_S8) | TYPE_BIT(PTX_U8))
#define NIBBLES        (TYPE_BIT(PTX_S4) | TYPE_BIT(PTX_U4))
#define HALF_OR_SINGLE (TYPE_BIT(PTX_F16) | TYPE_BIT(PTX_F32))

// One row per shape and group of types. Both factors come from `factors`; C and D have one type of `results`.
struct variant {
    const char *shape;
    uint8_t rows, k, container;
    enum mma_kind kind;
    uint64_t factors, results;
    bool mixed; /* the factors' types may differ */
    enum accumulate_class klass;
};

// X(shape, rows, k, container, kind, factors, results, mixed, class)
#define VARIANTS(X)                                                                                                    \
    X("m16n8k8", 16, 8, 16, NONE, TYPE_BIT(PTX_F16), HALF_OR_SINGLE, false, HALF)                                      \
    X("m16n8k16", 16, 16, 16, NONE, TYPE_BIT(PTX_F16), HALF_OR_SINGLE, false, HALF)                                    \
    X("m16n8k8", 16, 8, 16, NONE, TYPE_BIT(PTX_BF16), TYPE_BIT(PTX_F32), false, HALF)                                  \
    X("m16n8k16", 16, 16, 16, NONE, TYPE_BIT(PTX_BF16), TYPE_BIT(PTX_F32), false, HALF)                                \
    X("m16n8k4", 16, 4, 32, NONE, TYPE_BIT(PTX_TF32), TYPE_BIT(PTX_F32), false, TF32)                                  \
    X("m16n8k8", 16, 8, 32, NONE, TYPE_BIT(PTX_TF32), TYPE_BIT(PTX_F32), false, TF32)                                  \
    X("m16n8k16", 16, 16, 8, NONE, FLOAT8, HALF_OR_SINGLE, true, FP8)                                                  \
    X("m16n8k32", 16, 32, 8, NONE, FLOAT8, HALF_OR_SINGLE, true, FP8)                                                  \
    X("m16n8k32", 16, 32, 8, F8F6F4, FLOAT864, HALF_OR_SINGLE, true, FP8)                                              \
    X("m16n8k32", 16, 32, 8, MXF8F6F4, FLOAT864, TYPE_BIT(PTX_F32), true, SCALED_FP8)                                  \
    X("m16n8k64", 16, 64, 4, MXF4, TYPE_BIT(PTX_E2M1), TYPE_BIT(PTX_F32), false, SCALED_FP4)                           \
    X("m16n8k64", 16, 64, 4, MXF4NVF4, TYPE_BIT(PTX_E2M1), TYPE_BIT(PTX_F32), false, SCALED_FP4)                       \
    X("m8n8k16", 8, 16, 8, NONE, BYTES, TYPE_BIT(PTX_S32), true, HALF)                                                 \
    X("m16n8k16", 16, 16, 8, NONE, BYTES, TYPE_BIT(PTX_S32), true, HALF)                                               \
    X("m16n8k32", 16, 32, 8, NONE, BYTES, TYPE_BIT(PTX_S32), true, HALF)                                               \
    X("m8n8k32", 8, 32, 4, NONE, NIBBLES, TYPE_BIT(PTX_S32), true, HALF)                                               \
    X("m16n8k32", 16, 32, 4, NONE, NIBBLES, TYPE_BIT(PTX_S32), true, HALF)                                             \
    X("m16n8k64", 16, 64, 4, NONE, NIBBLES, TYPE_BIT(PTX_S32), true, HALF)                                             \
    X("m8n8k4", 8, 4, 64, NONE, TYPE_BIT(PTX_F64), TYPE_BIT(PTX_F64), false, HALF)                                     \
    X("m16n8k4", 16, 4, 64, NONE, TYPE_BIT(PTX_F64), TYPE_BIT(PTX_F64), false, HALF)                                   \
    X("m16n8k8", 16, 8, 64, NONE, TYPE_BIT(PTX_F64), TYPE_BIT(PTX_F64), false, HALF)                                   \
    X("m16n8k16", 16, 16, 64, NONE, TYPE_BIT(PTX_F64), TYPE_BIT(PTX_F64), false, HALF)
#define VARIANT_ROW(shape, rows, k, container, kind, factors, results, mixed, klass)                                   \
    {shape, rows, k, container, KIND_##kind, factors, results, mixed, ACCUMULATE_##klass},
static const struct variant variants[] = {VARIANTS(VARIANT_ROW)};
static const char *const shapes[] = {"m8n8k4",   "m8n8k16",  "m8n8k32",  "m16n8k4", "m16n8k8",
                                     "m16n8k16", "m16n8k32", "m16n8k64", NULL};

static const struct variant *find_variant(const char *shape, enum mma_kind kind, enum ptx_type d, enum ptx_type a,
                                          enum ptx_type b, enum ptx_type c) {
    for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v++) {
        const struct variant *row = &variants[v];
        bool is_it = strcmp(row->shape, shape) == 0 && row->kind == kind && c == d && (row->mixed || a == b) &&
                     (row->factors & TYPE_BIT(a)) && (row->factors & TYPE_BIT(b)) && (row->results & TYPE_BIT(d));
        if (is_it) return row;
    }
    return NULL;
}

/* -- Execution ----------------------------------------------------------------------------------------------------- */

void mma_load(const struct exec *x, const struct instruction *i, struct tile_rows *a, struct tile_columns *b) {
    const struct mma *m = i->aux;
    uint32_t raw[TILE_ROWS][FRAGMENT_WORDS];
    unsigned words = m->k * m->container / 32;
    fragment_gather_a(x->file, i->slots + m->regs_d, m->rows, words, raw);
    tile_load_rows(a, m->a, m->container, m->rows, m->k, false, raw);
    fragment_gather_b(x->file, i->slots + m->regs_d + m->regs_a, words, raw);
    tile_load_columns(b, m->b, m->container, m->k, false, raw);
}

static void run_float(struct exec *x, const struct instruction *i) {
    const struct mma *m = i->aux;
    const uint32_t *slot_c = i->slots + m->regs_d + m->regs_a + m->regs_b;
    unsigned bits = m->d == PTX_F16 ? 16 : 32;
    struct tile_rows a;
    struct tile_columns b;
    union {
        uint32_t bits[TILE_ROWS][8];
        float value[TILE_ROWS][8];
    } c;
    if (!warp_require_all(x, i)) return;
    mma_load(x, i, &a, &b);
    fragment_gather_c(x->file, slot_c, m->rows, bits, 0, c.bits);
    for (unsigned e = 0; bits == 16 && e < m->rows * 8; e++) c.value[e / 8][e % 8] = f16_to_float(c.bits[e / 8][e % 8]);
    struct accumulate_float product = {m->model, &a, &b, m->rows, m->k, bits == 16, m->a == PTX_BF16, NULL, NULL};
    accumulate_float(&product, c.value);
    for (unsigned e = 0; bits == 16 && e < m->rows * 8; e++) c.bits[e / 8][e % 8] = float_to_f16(c.value[e / 8][e % 8]);
    fragment_scatter_c(x->file, i->slots, m->rows, bits, 0, c.bits);
}

static void run_integer(struct exec *x, const struct instruction *i) {
    const struct mma *m = i->aux;
    struct tile_rows a;
    struct tile_columns b;
    union {
        uint32_t bits[TILE_ROWS][8];
        int32_t value[TILE_ROWS][8];
    } c;
    if (!warp_require_all(x, i)) return;
    mma_load(x, i, &a, &b);
    fragment_gather_c(x->file, i->slots + m->regs_d + m->regs_a + m->regs_b, m->rows, 32, 0, c.bits);
    accumulate_integer(&a, &b, m->rows, m->k, m->saturate, c.value);
    fragment_scatter_c(x->file, i->slots, m->rows, 32, 0, c.bits);
}

// f64: one fused multiply-add after another along k (MMA-Sim: as measured).
static void run_double(struct exec *x, const struct instruction *i) {
    const struct mma *m = i->aux;
    const uint32_t *slot_a = i->slots + m->regs_d, *slot_b = slot_a + m->regs_a, *slot_c = slot_b + m->regs_b;
    double c[TILE_ROWS][8];
    if (!warp_require_all(x, i)) return;
    for (unsigned row = 0; row < m->rows; row++)
        for (unsigned column = 0; column < 8; column++) {
            struct fragment_place place = fragment_c(m->rows, 64, row, column);
            double sum = lanes_f64(x, slot_c[place.reg])[place.lane];
            for (unsigned k = 0; k < m->k; k++) {
                struct fragment_place at = fragment_a(m->rows, 64, row, k), bt = fragment_b(64, k, column);
                sum = fma(lanes_f64(x, slot_a[at.reg])[at.lane], lanes_f64(x, slot_b[bt.reg])[bt.lane], sum);
            }
            c[row][column] = sum;
        }
    for (unsigned row = 0; row < m->rows; row++)
        for (unsigned column = 0; column < 8; column++) {
            struct fragment_place place = fragment_c(m->rows, 64, row, column);
            lanes_f64(x, i->slots[place.reg])[place.lane] = c[row][column];
        }
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

// Modifiers -> variant and m.
static const struct variant *take_variant(struct binder *b, struct mma *m) {
    unsigned shape;
    enum ptx_type c;
    const uint64_t any = ~UINT64_C(0);
    if (mod_take(b, "sp") || mod_take(b, "sp::ordered_metadata")) {
        bind_fail(b, "sparse products are not supported");
        return NULL;
    }
    if (!mma_take_aligned(b) || !mod_need(b, shapes, &shape)) return NULL;
    enum mma_kind kind = (enum mma_kind)(mod_choice(b, kind_names) + 1);
    m->saturate = mod_take(b, "satfinite");
    if (!mod_take(b, "row") || !mod_take(b, "col")) {
        bind_fail(b, "needs .row.col");
        return NULL;
    }
    if (!mod_type_need(b, any, &m->d) || !mod_type_need(b, any, &m->a) || !mod_type_need(b, any, &m->b) ||
        !mod_type_need(b, any, &c))
        return NULL;
    const struct variant *variant = find_variant(shapes[shape], kind, m->d, m->a, m->b, c);
    if (variant == NULL) bind_fail(b, "no product of this shape, kind and types");
    if (variant != NULL && m->saturate && m->d != PTX_S32) {
        bind_fail(b, ".satfinite is for integers");
        return NULL;
    }
    return variant;
}

static bool take_matrices(struct binder *b, struct mma *m, struct instruction *out) {
    unsigned bits_d = m->d == PTX_F16 ? 16 : m->d == PTX_F64 ? 64 : 32, bits_reg = m->d == PTX_F64 ? 64 : 32;
    unsigned lane_a = m->rows * m->k * m->container / LANES, lane_b = 8 * m->k * m->container / LANES;
    m->regs_d = m->rows * 8 * bits_d / LANES / bits_reg;
    m->regs_a = lane_a / bits_reg;
    m->regs_b = lane_b / bits_reg;
    unsigned count = 2 * m->regs_d + m->regs_a + m->regs_b;
    uint32_t *slot = bind_alloc(b, count * sizeof *slot);
    if (slot == NULL) return false;
    enum ptx_type factor = bits_reg == 64 ? PTX_F64 : PTX_B32;
    enum ptx_type addend = m->d == PTX_F16 ? PTX_B32 : m->d;
    out->slots = slot;
    out->slot_count = count;
    return mma_take_dst(b, &b->operand[0], m->regs_d, bits_reg, slot) &&
           mma_take_src(b, &b->operand[1], m->regs_a, factor, slot + m->regs_d) &&
           mma_take_src(b, &b->operand[2], m->regs_b, factor, slot + m->regs_d + m->regs_a) &&
           mma_take_src(b, &b->operand[3], m->regs_d, addend, slot + m->regs_d + m->regs_a + m->regs_b);
}

static bool bind_mma(struct binder *b, struct instruction *out) {
    struct mma *m = bind_alloc(b, sizeof *m);
    if (m == NULL) return false;
    const struct variant *variant = take_variant(b, m);
    if (variant == NULL) return false;
    bool is_scaled = variant->kind >= KIND_MXF8F6F4;
    if (!need_operands(b, is_scaled ? 8 : 4, is_scaled ? 8 : 4)) return false;
    m->rows = variant->rows;
    m->k = variant->k;
    m->container = variant->container;
    m->model = accumulate_model(variant->klass, b->module->text->target_sm);
    if (!take_matrices(b, m, out)) return false;
    out->aux = m;
    out->klass = PTXVM_CLASS_MMA;
    out->run = m->d == PTX_S32 ? run_integer : m->d == PTX_F64 ? run_double : run_float;
    if (!is_scaled) return true;
    unsigned scales = variant->kind == KIND_MXF8F6F4 ? 1 : variant->kind == KIND_MXF4 ? 2 : 6;
    return mma_bind_scaled(b, m, scales, out);
}

const struct isa_entry isa_mma[] = {
    {"mma", bind_mma}, {"ldmatrix", bind_ldmatrix}, {"stmatrix", bind_stmatrix}, {"movmatrix", bind_movmatrix},
    {NULL, NULL},
};
