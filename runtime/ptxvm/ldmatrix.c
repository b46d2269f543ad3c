// ldmatrix: ldmatrix, stmatrix and movmatrix: 8x8 matrices of 16-bit elements (transposed too), 8x16 of 4- and 6-bit
// elements widened to bytes, stmatrix of 16x8 bytes. ldmatrix .m16n16 is not supported. Layouts: fragment.c.
// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "mma.h"
#include "vm.h"

/* -- Rows ---------------------------------------------------------------------------------------------------------- */

enum { ROW_BYTES = 16 };
enum { SHAPE_TRANSPOSED = 1, SHAPE_B4 = 2, SHAPE_B6 = 4, BASE_WIDE = 8 }; /* instruction.flags */

// Host bytes of the rows: lane 8 * matrix + r has the address of row r. False: a fault was reported.
static bool row_bytes(struct exec *x, const struct instruction *i, unsigned access, uint8_t *row[LANES]) {
    uint64_t address[LANES];
    struct exec rows = *x;
    rows.active = i->count == 4 ? ALL_LANES : (1u << (8 * i->count)) - 1;
    for (unsigned lane = 0; lane < LANES; lane++)
        address[lane] =
            (i->flags & BASE_WIDE ? lanes64(x, i->src[0])[lane] : lanes32(x, i->src[0])[lane]) + (uint64_t)i->imm;
    bool fine = memory_access_warp(&rows, i, (enum ptx_space)i->space, address, ROW_BYTES, ROW_BYTES, access, row);
    x->status = rows.status;
    return fine;
}

/* -- ldmatrix ------------------------------------------------------------------------------------------------------ */

// Lane 4 r + c / 2 has elements c and c + 1 of row r (transposed: of column r): the lanes' words, one after another,
// are the matrix row by row.
static void run_ldmatrix(struct exec *x, const struct instruction *i) {
    uint8_t *row[LANES];
    if (!warp_require_all(x, i) || !row_bytes(x, i, ACCESS_READ, row)) return;
    for (unsigned matrix = 0; matrix < i->count; matrix++) {
        uint16_t from[8][8], to[8][8];
        for (unsigned r = 0; r < 8; r++) memcpy(from[r], row[8 * matrix + r], ROW_BYTES);
        for (unsigned r = 0; i->flags & SHAPE_TRANSPOSED && r < 8; r++)
            for (unsigned c = 0; c < 8; c++) to[c][r] = from[r][c];
        memcpy(lanes32(x, i->slots[matrix]), i->flags & SHAPE_TRANSPOSED ? to : from, sizeof from);
    }
}

// A row has 16 elements of 4 or 6 bits, packed from bit 0 on; each becomes the low bits of a byte. A lane has four
// neighbouring elements of row lane / 4.
static void run_ldmatrix_narrow(struct exec *x, const struct instruction *i) {
    uint8_t *row[LANES];
    unsigned bits = i->flags & SHAPE_B4 ? 4 : 6;
    if (!warp_require_all(x, i) || !row_bytes(x, i, ACCESS_READ, row)) return;
    for (unsigned matrix = 0; matrix < i->count; matrix++) {
        uint32_t *out = lanes32(x, i->slots[matrix]);
        for (unsigned lane = 0; lane < LANES; lane++) {
            uint32_t word, value = 0;
            unsigned first = lane % 4 * 4 * bits; /* bit of the lane's first element: a multiple of 8 */
            memcpy(&word, row[8 * matrix + lane / 4] + first / 8, sizeof word);
            for (unsigned e = 0; e < 4; e++) value |= (word >> (e * bits) & ((1u << bits) - 1)) << (8 * e);
            out[lane] = value;
        }
    }
}

/* -- stmatrix ------------------------------------------------------------------------------------------------------ */

static void run_stmatrix(struct exec *x, const struct instruction *i) {
    uint8_t *row[LANES];
    if (!warp_require_all(x, i) || !row_bytes(x, i, ACCESS_WRITE, row)) return;
    bool transposed = (i->flags & SHAPE_TRANSPOSED) != 0;
    for (unsigned matrix = 0; matrix < i->count; matrix++)
        for (unsigned r = 0; r < 8; r++) {
            uint16_t element[8];
            for (unsigned c = 0; c < 8; c++) {
                struct fragment_place place = fragment_matrix(transposed, matrix, r, c);
                element[c] = (uint16_t)(lanes32(x, i->slots[matrix])[place.lane] >> place.bit);
            }
            memcpy(row[8 * matrix + r], element, sizeof element);
        }
}

// .m16n8.trans.b8: element [m][n] of the 16x8 matrix lies as in an accumulator, byte n % 2 + 2 * (m / 8); a row of 16
// bytes in memory is a column n.
static void run_stmatrix_bytes(struct exec *x, const struct instruction *i) {
    uint8_t *row[LANES];
    if (!warp_require_all(x, i) || !row_bytes(x, i, ACCESS_WRITE, row)) return;
    for (unsigned matrix = 0; matrix < i->count; matrix++)
        for (unsigned n = 0; n < 8; n++)
            for (unsigned m = 0; m < 16; m++) {
                uint32_t word = lanes32(x, i->slots[matrix])[m % 8 * 4 + n / 2];
                row[8 * matrix + n][m] = (uint8_t)(word >> (n % 2 * 8 + m / 8 * 16));
            }
}

/* -- movmatrix ----------------------------------------------------------------------------------------------------- */

static void run_movmatrix(struct exec *x, const struct instruction *i) {
    uint32_t out[LANES] = {0};
    if (!warp_require_all(x, i)) return;
    for (unsigned row = 0; row < 8; row++)
        for (unsigned column = 0; column < 8; column++) {
            struct fragment_place from = fragment_matrix(false, 0, row, column);
            struct fragment_place to = fragment_matrix(true, 0, row, column);
            out[to.lane] |= (lanes32(x, i->src[0])[from.lane] >> from.bit & 0xffffu) << to.bit;
        }
    memcpy(lanes32(x, i->dst), out, sizeof out);
}

/* -- Binding ------------------------------------------------------------------------------------------------------- */

static bool take_count(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"x1", "x2", "x4", NULL};
    unsigned count;
    if (!mod_need(b, names, &count)) return false;
    out->count = (uint8_t)(1u << count);
    return true;
}

static bool take_rows(struct binder *b, const struct ptx_operand *op, struct instruction *out) {
    bool wide;
    enum ptx_space space;
    bool is_shared = mod_take(b, "shared") || mod_take(b, "shared::cta");
    if (!need_kind(b, op, PTX_ADDRESS) || !take_address(b, op, &out->src[0], &wide, &out->imm, &space)) return false;
    out->space = is_shared ? PTX_SHARED : (uint8_t)space;
    out->width = ROW_BYTES;
    out->flags |= wide ? BASE_WIDE : 0;
    out->klass = PTXVM_CLASS_SHARED;
    return true;
}

static uint32_t *new_slots(struct binder *b, struct instruction *out) {
    uint32_t *slot = bind_alloc(b, out->count * sizeof *slot);
    out->slots = slot;
    out->slot_count = out->count;
    return slot;
}

static bool take_narrow_formats(struct binder *b, struct instruction *out) {
    static const char *const formats[] = {"b4x16_p64", "b6x16_p32", NULL};
    unsigned format;
    if (!mod_take(b, "b8x16")) return bind_fail(b, ".m8n16 needs .b8x16");
    if (!mod_need(b, formats, &format)) return false;
    out->flags |= format == 0 ? SHAPE_B4 : SHAPE_B6;
    out->run = run_ldmatrix_narrow;
    return true;
}

bool bind_ldmatrix(struct binder *b, struct instruction *out) {
    static const char *const shapes[] = {"m8n8", "m8n16", NULL};
    unsigned shape;
    if (!mma_take_aligned(b) || !need_operands(b, 2, 2)) return false;
    if (mod_take(b, "m16n16")) return bind_fail(b, ".m16n16 is not supported");
    if (!mod_need(b, shapes, &shape) || !take_count(b, out)) return false;
    if (shape == 0) {
        if (mod_take(b, "trans")) out->flags |= SHAPE_TRANSPOSED;
        if (!mod_take(b, "b16")) return bind_fail(b, "needs .b16");
        out->run = run_ldmatrix;
    } else if (!take_narrow_formats(b, out))
        return false;
    uint32_t *slot = new_slots(b, out);
    return slot != NULL && take_rows(b, &b->operand[1], out) && mma_take_dst(b, &b->operand[0], out->count, 32, slot);
}

bool bind_stmatrix(struct binder *b, struct instruction *out) {
    static const char *const shapes[] = {"m8n8", "m16n8", NULL};
    unsigned shape;
    if (!mma_take_aligned(b) || !need_operands(b, 2, 2) || !mod_need(b, shapes, &shape) || !take_count(b, out))
        return false;
    bool transposed = mod_take(b, "trans");
    if (!mod_take(b, shape == 0 ? "b16" : "b8")) return bind_fail(b, "the shape does not go with this type");
    if (shape == 1 && !transposed) return bind_fail(b, ".m16n8 needs .trans");
    out->flags |= transposed ? SHAPE_TRANSPOSED : 0;
    out->run = shape == 0 ? run_stmatrix : run_stmatrix_bytes;
    uint32_t *slot = new_slots(b, out);
    return slot != NULL && take_rows(b, &b->operand[0], out) &&
           mma_take_src(b, &b->operand[1], out->count, PTX_B32, slot);
}

bool bind_movmatrix(struct binder *b, struct instruction *out) {
    if (!mma_take_aligned(b) || !need_operands(b, 2, 2)) return false;
    if (!mod_take(b, "m8n8") || !mod_take(b, "trans") || !mod_take(b, "b16"))
        return bind_fail(b, "needs .m8n8.trans.b16");
    out->run = run_movmatrix;
    out->klass = PTXVM_CLASS_WARP;
    return take_dst(b, &b->operand[0], 32, &out->dst) && take_src(b, &b->operand[1], PTX_B32, &out->src[0]);
}
