// mma_scaled: block-scaled mma.sync: kind::mxf8f6f4 (one scale along k), kind::mxf4 (2), kind::mxf4nvf4 (2 or 4).
// Scales come from one register of some lanes, chosen by byte-id and thread-id. Source: PTX ISA, "Block Scaling for
// mma.sync". SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "formats.h"
#include "mma.h"
#include "vm.h"

/* -- Execution ----------------------------------------------------------------------------------------------------- */

static float read_scale(const struct exec *x, const struct mma *m, uint32_t slot, struct fragment_place place) {
    uint32_t code = lanes32(x, slot)[place.lane] >> place.bit & 0xffu;
    return narrow_decode(m->scale == PTX_UE8M0 ? FORMAT_UE8M0 : FORMAT_UE4M3, code);
}

struct selectors {
    unsigned byte_a, thread_a, byte_b, thread_b;
};

// The value of selector `which`, the same in all lanes and at most `most`, a multiple of `step`.
static bool read_selector(struct exec *x, const struct instruction *i, unsigned which, unsigned most, unsigned step,
                          unsigned *out) {
    static const char *const names[] = {"byte-id-a", "thread-id-a", "byte-id-b", "thread-id-b"};
    const struct mma *m = i->aux;
    const uint32_t *lane = lanes32(x, m->slot_selector[which]);
    bool fits = lane[0] <= most && lane[0] % step == 0;
    for (unsigned l = 1; l < LANES; l++) fits = fits && lane[l] == lane[0];
    *out = lane[0];
    if (!fits)
        report(x, i, -1, PTXVM_FINDING_BAD_OPERAND,
               "%s is %u: it must be the same in all lanes, at most %u, in steps of %u", names[which], lane[0], most,
               step);
    return fits;
}

static bool read_selectors(struct exec *x, const struct instruction *i, struct selectors *out) {
    unsigned vec = ((const struct mma *)i->aux)->scale_vec;
    return read_selector(x, i, 0, 4 - vec, vec, &out->byte_a) && read_selector(x, i, 1, 1, 1, &out->thread_a) &&
           read_selector(x, i, 2, 4 - vec, vec, &out->byte_b) && read_selector(x, i, 3, 3, 1, &out->thread_b);
}

static float scale_of_a(const struct exec *x, const struct mma *m, const struct selectors *s, unsigned row,
                        unsigned block) {
    return read_scale(x, m, m->slot_scale_a, fragment_scale_a(s->byte_a, s->thread_a, row, block));
}

static float scale_of_b(const struct exec *x, const struct mma *m, const struct selectors *s, unsigned column,
                        unsigned block) {
    return read_scale(x, m, m->slot_scale_b, fragment_scale_b(s->byte_b, s->thread_b, column, block));
}

// 4-bit factors: m16n8k64.
static void run_scaled4(struct exec *x, const struct instruction *i) {
    const struct mma *m = i->aux;
    struct selectors selectors;
    struct tile_rows a;
    struct tile_columns b;
    float scale_a[16][4], scale_b[8][4];
    union {
        uint32_t bits[TILE_ROWS][8];
        float value[TILE_ROWS][8];
    } c;
    if (!warp_require_all(x, i) || !read_selectors(x, i, &selectors)) return;
    mma_load(x, i, &a, &b);
    for (unsigned group = 0; group < 4; group++) {
        unsigned block = group * m->scale_vec / 4;
        for (unsigned row = 0; row < 16; row++) scale_a[row][group] = scale_of_a(x, m, &selectors, row, block);
        for (unsigned column = 0; column < 8; column++)
            scale_b[column][group] = scale_of_b(x, m, &selectors, column, block);
    }
    fragment_gather_c(x->file, i->slots + m->regs_d + m->regs_a + m->regs_b, 16, 32, 0, c.bits);
    accumulate_scaled(m->model, &a, &b, m->scale == PTX_UE8M0 ? -127 : -6, scale_a, scale_b, c.value);
    fragment_scatter_c(x->file, i->slots, 16, 32, 0, c.bits);
}

// 8-bit containers: m16n8k32, one ue8m0 scale for all of k: an exponent.
static void run_scaled8(struct exec *x, const struct instruction *i) {
    const struct mma *m = i->aux;
    struct selectors selectors;
    struct tile_rows a;
    struct tile_columns b;
    int scale_a[16], scale_b[8];
    bool nan_a[16], nan_b[8];
    union {
        uint32_t bits[TILE_ROWS][8];
        float value[TILE_ROWS][8];
    } c;
    if (!warp_require_all(x, i) || !read_selectors(x, i, &selectors)) return;
    mma_load(x, i, &a, &b);
    for (unsigned row = 0; row < 16; row++) {
        float scale = scale_of_a(x, m, &selectors, row, 0);
        nan_a[row] = isnan(scale);
        scale_a[row] = nan_a[row] ? 0 : ilogbf(scale);
    }
    for (unsigned column = 0; column < 8; column++) {
        float scale = scale_of_b(x, m, &selectors, column, 0);
        nan_b[column] = isnan(scale);
        scale_b[column] = nan_b[column] ? 0 : ilogbf(scale);
    }
    fragment_gather_c(x->file, i->slots + m->regs_d + m->regs_a + m->regs_b, 16, 32, 0, c.bits);
    struct accumulate_float product = {m->model, &a, &b, 16, m->k, false, false, scale_a, scale_b};
    accumulate_float(&product, c.value);
    for (unsigned row = 0; row < 16; row++)
        for (unsigned column = 0; column < 8; column++)
            if (nan_a[row] || nan_b[column]) c.bits[row][column] = 0x7fffffffu;
    fragment_scatter_c(x->file, i->slots, 16, 32, 0, c.bits);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

// Selectors {byte-id, thread-id}: 16-bit registers or numbers.
static bool take_selectors(struct binder *b, const struct ptx_operand *op, uint32_t slot[2]) {
    if (!need_kind(b, op, PTX_VECTOR)) return false;
    if (op->count != 2) return bind_fail(b, "selectors are {byte-id, thread-id}");
    return take_src(b, operand_element(b, op, 0), PTX_U16, &slot[0]) &&
           take_src(b, operand_element(b, op, 1), PTX_U16, &slot[1]);
}

static bool take_scale_register(struct binder *b, const struct ptx_operand *op, uint32_t *slot) {
    return mma_take_src(b, op, 1, PTX_B32, slot);
}

bool mma_bind_scaled(struct binder *b, struct mma *m, unsigned vectors, struct instruction *out) {
    static const char *const names[] = {"scale_vec::1X", "scale_vec::2X", "scale_vec::4X", NULL};
    if (!mod_take(b, "block_scale")) return bind_fail(b, "needs .block_scale");
    int vec = mod_choice(b, names);
    if (vec < 0 && vectors == 6) return bind_fail(b, "needs .scale_vec::2X or .scale_vec::4X");
    m->scale_vec = vec < 0 ? vectors : 1u << vec;
    if (!(vectors & m->scale_vec)) return bind_fail(b, "no such .scale_vec for this kind");
    uint64_t types = TYPE_BIT(PTX_UE8M0) | (m->scale_vec == 4 ? TYPE_BIT(PTX_UE4M3) : 0);
    if (!mod_type_need(b, types, &m->scale)) return false;
    out->run = m->container == 4 ? run_scaled4 : run_scaled8;
    return take_scale_register(b, &b->operand[4], &m->slot_scale_a) &&
           take_selectors(b, &b->operand[5], m->slot_selector) &&
           take_scale_register(b, &b->operand[6], &m->slot_scale_b) &&
           take_selectors(b, &b->operand[7], m->slot_selector + 2);
}
