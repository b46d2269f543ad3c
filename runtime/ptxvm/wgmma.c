// wgmma: binds wgmma.fence, commit_group, wait_group and mma_async (dense, all types but b1), issues products and
// computes them. The four warps of a warpgroup execute on their own: each computes its 16 of the 64 rows. Exports
// isa_wgmma. SPDX-License-Identifier: Apache-2.0
#include "wgmma.h"

#include <stdlib.h>
#include <string.h>

#include "formats.h"
#include "mma.h"

/* -- Computing ----------------------------------------------------------------------------------------------------- */

static void load_a(const struct exec *x, const struct wgmma_job *job, struct tile_rows *a) {
    const struct wgmma *w = job->i->aux;
    uint32_t raw[TILE_ROWS][FRAGMENT_WORDS];
    if (w->regs_a > 0) {
        fragment_gather_a(x->file, job->i->slots + w->regs_d, TILE_ROWS, FRAGMENT_WORDS, raw);
    } else {
        struct wgmma_matrix matrix = wgmma_matrix(job->a, w->transposed_a);
        wgmma_matrix_load(x->block, &matrix, x->warp->id % 4 * TILE_ROWS, TILE_ROWS, raw);
    }
    tile_load_rows(a, w->a, w->container, TILE_ROWS, w->k, w->negate_a, raw);
}

union addend {
    uint32_t bits[TILE_ROWS][8];
    float value[TILE_ROWS][8];
    int32_t integer[TILE_ROWS][8];
};

// D of eight columns, as values; zeros where scale-d is false.
static void load_d(const struct exec *x, const struct wgmma_job *job, unsigned tile, union addend *c) {
    const struct wgmma *w = job->i->aux;
    unsigned bits = w->d == PTX_F16 ? 16 : 32;
    if (!job->accumulate) {
        memset(c, 0, sizeof *c);
        return;
    }
    fragment_gather_c(x->file, job->i->slots, TILE_ROWS, bits, tile, c->bits);
    for (unsigned e = 0; bits == 16 && e < TILE_ROWS * 8; e++)
        c->value[e / 8][e % 8] = f16_to_float(c->bits[e / 8][e % 8]);
}

static void store_d(const struct exec *x, const struct wgmma_job *job, unsigned tile, union addend *c) {
    const struct wgmma *w = job->i->aux;
    unsigned bits = w->d == PTX_F16 ? 16 : 32;
    for (unsigned e = 0; bits == 16 && e < TILE_ROWS * 8; e++)
        c->bits[e / 8][e % 8] = float_to_f16(c->value[e / 8][e % 8]);
    fragment_scatter_c(x->file, job->i->slots, TILE_ROWS, bits, tile, c->bits);
}

void wgmma_compute(const struct exec *x, const struct wgmma_job *job) {
    const struct wgmma *w = job->i->aux;
    struct wgmma_matrix matrix = wgmma_matrix(job->b, w->transposed_b);
    struct tile_rows a;
    struct tile_columns b;
    load_a(x, job, &a);
    struct accumulate_float product = {w->model,         &a,   &b,  TILE_ROWS, w->k, w->d == PTX_F16,
                                       w->a == PTX_BF16, NULL, NULL};
    for (unsigned tile = 0; tile < w->n / 8; tile++) {
        uint32_t raw[8][FRAGMENT_WORDS];
        union addend c;
        wgmma_matrix_load(x->block, &matrix, 8 * tile, 8, raw);
        tile_load_columns(&b, w->b, w->container, w->k, w->negate_b, raw);
        load_d(x, job, tile, &c);
        if (w->d == PTX_S32)
            accumulate_integer(&a, &b, TILE_ROWS, w->k, w->saturate, c.integer);
        else
            accumulate_float(&product, c.value);
        store_d(x, job, tile, &c);
    }
}

/* -- Issue --------------------------------------------------------------------------------------------------------- */

static bool read_descriptor(struct exec *x, const struct instruction *i, uint32_t slot, uint64_t *out) {
    const uint64_t *lane = lanes64(x, slot);
    bool same = true;
    for (unsigned l = 1; l < LANES; l++) same = same && lane[l] == lane[0];
    if (!same) report(x, i, -1, PTXVM_FINDING_BAD_OPERAND, "the lanes have different matrix descriptors");
    *out = lane[0];
    return same;
}

static bool read_scale_d(struct exec *x, const struct instruction *i, const struct wgmma *w, bool *out) {
    uint32_t bits = *predicate(x, w->slot_scale_d);
    if (w->scale_d_negated) bits = ~bits;
    *out = bits & 1u;
    if (bits == 0 || bits == ALL_LANES) return true;
    report(x, i, -1, PTXVM_FINDING_BAD_OPERAND, "the lanes have different scale-d");
    return false;
}

static bool read_operands(struct exec *x, const struct instruction *i, struct wgmma_job *job) {
    const struct wgmma *w = i->aux;
    if (!read_scale_d(x, i, w, &job->accumulate) || !read_descriptor(x, i, w->slot_b, &job->b)) return false;
    struct wgmma_matrix b = wgmma_matrix(job->b, w->transposed_b);
    if (!wgmma_matrix_access(x, i, &b, 0, w->n)) return false;
    if (w->regs_a > 0) return true;
    if (!read_descriptor(x, i, w->slot_a, &job->a)) return false;
    struct wgmma_matrix a = wgmma_matrix(job->a, w->transposed_a);
    return wgmma_matrix_access(x, i, &a, x->warp->id % 4 * TILE_ROWS, TILE_ROWS);
}

// A warpgroup is four warps of which the first has a number that is a multiple of 4.
static bool need_warpgroup(struct exec *x, const struct instruction *i) {
    if (!warp_require_all(x, i)) return false;
    if ((x->warp->id | 3u) < x->block->warps) return true;
    report(x, i, -1, PTXVM_FINDING_DIVERGENCE, "the warp is not part of a full warpgroup of four warps");
    return false;
}

static void run_product(struct exec *x, const struct instruction *i) {
    struct wgmma_job job = {.i = i};
    if (!need_warpgroup(x, i)) return;
    struct wgmma_state *state = wgmma_state_of(x, i);
    if (state == NULL) return;
    wgmma_state_check_issue(x, i, state);
    if (!read_operands(x, i, &job)) return;
    wgmma_state_issue(x, state, job);
}

static void run_fence(struct exec *x, const struct instruction *i) {
    if (!need_warpgroup(x, i)) return;
    struct wgmma_state *state = wgmma_state_of(x, i);
    if (state != NULL) wgmma_state_fence(state);
}

static void run_commit(struct exec *x, const struct instruction *i) {
    if (!need_warpgroup(x, i)) return;
    struct wgmma_state *state = wgmma_state_of(x, i);
    if (state != NULL) wgmma_state_commit(x, state);
}

static void run_wait(struct exec *x, const struct instruction *i) {
    if (!need_warpgroup(x, i)) return;
    struct wgmma_state *state = wgmma_state_of(x, i);
    if (state != NULL) wgmma_state_wait(x, state, (uint32_t)i->imm);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

#define FLOAT8 (TYPE_BIT(PTX_E4M3) | TYPE_BIT(PTX_E5M2))
#define BYTES  (TYPE_BIT(PTX_S8) | TYPE_BIT(PTX_U8))

// X(factors, results, k, container, class): k of 32 bytes; the factors' types may differ within a row.
#define PRODUCTS(X)                                                                                                    \
    X(TYPE_BIT(PTX_F16), TYPE_BIT(PTX_F16) | TYPE_BIT(PTX_F32), 16, 16, HALF)                                          \
    X(TYPE_BIT(PTX_BF16), TYPE_BIT(PTX_F32), 16, 16, HALF)                                                             \
    X(TYPE_BIT(PTX_TF32), TYPE_BIT(PTX_F32), 8, 32, TF32)                                                              \
    X(FLOAT8, TYPE_BIT(PTX_F16) | TYPE_BIT(PTX_F32), 32, 8, WGMMA_FP8)                                                 \
    X(BYTES, TYPE_BIT(PTX_S32), 32, 8, HALF)
#define PRODUCT_ROW(factors, results, k, container, klass) {factors, results, k, container, ACCUMULATE_##klass},
static const struct product {
    uint64_t factors, results;
    unsigned k, container;
    enum accumulate_class klass;
} products[] = {PRODUCTS(PRODUCT_ROW)};

static const struct product *find_product(const struct wgmma *w) {
    for (size_t p = 0; p < sizeof products / sizeof products[0]; p++) {
        const struct product *row = &products[p];
        if ((row->factors & TYPE_BIT(w->a)) && (row->factors & TYPE_BIT(w->b)) && (row->results & TYPE_BIT(w->d)) &&
            row->k == w->k)
            return row;
    }
    return NULL;
}

// "m64n128k32" -> n, k
static bool parse_shape(const char *text, unsigned *n, unsigned *k) {
    char *end;
    if (text == NULL || strncmp(text, "m64n", 4) != 0) return false;
    unsigned long value = strtoul(text + 4, &end, 10);
    if (*end != 'k' || value < 8 || value > 256 || value % 8 != 0) return false;
    *n = (unsigned)value;
    value = strtoul(end + 1, &end, 10);
    *k = value <= 32 ? (unsigned)value : 0;
    return *end == '\0';
}

// Products of bytes have n of 8, 24 or multiples of 16.
static bool has_shape(const struct wgmma *w) {
    return w->d != PTX_S32 || w->n == 8 || w->n == 24 || w->n % 16 == 0;
}

static bool take_types(struct binder *b, struct wgmma *w) {
    const uint64_t any = ~UINT64_C(0);
    w->saturate = mod_take(b, "satfinite");
    if (!mod_type_need(b, any, &w->d) || !mod_type_need(b, any, &w->a) || !mod_type_need(b, any, &w->b)) return false;
    if (!parse_shape(mod_next(b), &w->n, &w->k)) return bind_fail(b, "needs a shape .m64nNkK");
    const struct product *product = find_product(w);
    if (product == NULL || !has_shape(w)) return bind_fail(b, "no product of this shape and these types");
    if (w->saturate && w->d != PTX_S32) return bind_fail(b, ".satfinite is for integers");
    w->container = product->container;
    w->model = accumulate_model(product->klass, b->module->text->target_sm);
    return true;
}

static bool take_sign(struct binder *b, unsigned k, bool *negate) {
    int64_t value;
    if (!take_constant(b, &b->operand[k], -1, 1, &value)) return false;
    if (value == 0) return bind_fail(b, "imm-scale must be 1 or -1");
    *negate = value < 0;
    return true;
}

static bool take_flag(struct binder *b, unsigned k, bool *flag) {
    int64_t value;
    if (!take_constant(b, &b->operand[k], 0, 1, &value)) return false;
    *flag = value != 0;
    return true;
}

// scale-d, then for floats imm-scale-a and -b, then for 16-bit types imm-trans-a (A in shared memory) and -b.
static bool take_scales(struct binder *b, struct wgmma *w) {
    bool is_float = w->d != PTX_S32, is_half = w->container == 16, a_shared = w->regs_a == 0;
    unsigned trans_b = a_shared ? 7 : 6, count = is_half ? trans_b + 1 : is_float ? 6 : 4;
    if (!need_operands(b, count, count)) return false;
    if (!take_src_pred(b, &b->operand[3], &w->slot_scale_d, &w->scale_d_negated)) return false;
    if (is_float && (!take_sign(b, 4, &w->negate_a) || !take_sign(b, 5, &w->negate_b))) return false;
    if (is_half && a_shared && !take_flag(b, 6, &w->transposed_a)) return false;
    return !is_half || take_flag(b, trans_b, &w->transposed_b);
}

static bool take_matrices(struct binder *b, struct wgmma *w, struct instruction *out) {
    bool a_in_registers = b->operand[1].kind == PTX_VECTOR;
    w->regs_d = w->n / (w->d == PTX_F16 ? 4 : 2);
    w->regs_a = a_in_registers ? 4 : 0;
    uint32_t *slot = bind_alloc(b, (w->regs_d + w->regs_a) * sizeof *slot);
    if (slot == NULL) return false;
    out->slots = slot;
    out->slot_count = w->regs_d + w->regs_a;
    if (!mma_take_dst(b, &b->operand[0], w->regs_d, 32, slot)) return false;
    bool fine = a_in_registers ? mma_take_src(b, &b->operand[1], w->regs_a, PTX_B32, slot + w->regs_d)
                               : take_src(b, &b->operand[1], PTX_B64, &w->slot_a);
    return fine && take_src(b, &b->operand[2], PTX_B64, &w->slot_b);
}

static bool bind_product(struct binder *b, struct wgmma *w, struct instruction *out) {
    if (mod_take(b, "sp")) return bind_fail(b, "sparse products are not supported");
    out->run = run_product;
    return take_types(b, w) && need_operands(b, 4, 8) && take_matrices(b, w, out) && take_scales(b, w);
}

static bool bind_wgmma(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"mma_async", "fence", "commit_group", "wait_group", NULL};
    enum { PRODUCT, FENCE, COMMIT, WAIT };
    unsigned which;
    if (!mod_need(b, names, &which) || !mma_take_aligned(b)) return false;
    struct wgmma *w = bind_alloc(b, sizeof *w);
    if (w == NULL || (w->registers = wgmma_registers_of(b)) == NULL) return false;
    out->aux = w;
    out->klass = which == PRODUCT ? PTXVM_CLASS_MMA : PTXVM_CLASS_BARRIER;
    if (which == PRODUCT) return bind_product(b, w, out);
    out->run = which == FENCE ? run_fence : which == COMMIT ? run_commit : run_wait;
    if (!need_operands(b, which == WAIT, which == WAIT)) return false;
    return which != WAIT || take_constant(b, &b->operand[0], 0, INT32_MAX, &out->imm);
}

const struct isa_entry isa_wgmma[] = {{"wgmma", bind_wgmma}, {NULL, NULL}};
