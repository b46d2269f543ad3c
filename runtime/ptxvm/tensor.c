// tensor: cp.async.bulk.tensor in tile mode: boxes of 1 to 5 dimensions by a tensor map in this machine's own format.
// Elements outside of the tensor are filled on load and skipped on store. SPDX-License-Identifier: Apache-2.0
#include "async.h"

#include <string.h>

/* -- The map ------------------------------------------------------------------------------------------------------- */

static const uint64_t map_magic = UINT64_C(0x70616d2078747056);
enum { MAP_BYTES = 128, SMEM_ALIGN = 128, BOX_MAX = 256, STEP_MAX = 8, CHUNK = 16 };
_Static_assert(sizeof(struct tensor_map) <= MAP_BYTES, "the map fits a CUtensorMap");

static unsigned box_elements(const struct tensor_map *map, unsigned d) {
    return (map->box[d] + map->step[d] - 1u) / map->step[d];
}

static uint32_t row_bytes(const struct tensor_map *map) {
    return box_elements(map, 0) * map->element_bytes;
}

uint32_t tensor_box_bytes(const struct tensor_map *map) {
    uint32_t bytes = row_bytes(map);
    for (unsigned d = 1; d < map->rank; d++) bytes *= box_elements(map, d);
    return bytes;
}

static bool dimensions_are_legal(const struct ptxvm_tensor_map *m) {
    for (unsigned d = 0; d < m->rank; d++) {
        if (!m->dimension[d] || m->dimension[d] > UINT64_C(1) << 32) return false;
        if (!m->box[d] || m->box[d] > BOX_MAX || m->element_stride[d] > STEP_MAX) return false;
        if (d > 0 && (m->stride[d - 1] % CHUNK || m->stride[d - 1] >> 40)) return false;
    }
    return true;
}

ptxvm_status ptxvm_tensor_map_encode(const struct ptxvm_tensor_map *m, void *bytes128) {
    unsigned size = m->element_bytes;
    if ((size != 1 && size != 2 && size != 4 && size != 8) || !m->rank || m->rank > 5 || m->address % CHUNK)
        return PTXVM_ERROR_ARGUMENT;
    if (!dimensions_are_legal(m)) return PTXVM_ERROR_ARGUMENT;
    if (m->fill_nan && size != 2 && size != 4) return PTXVM_ERROR_ARGUMENT;
    struct tensor_map out = {.magic = map_magic,
                             .address = m->address,
                             .rank = (uint8_t)m->rank,
                             .element_bytes = (uint8_t)size,
                             .swizzle = (uint8_t)m->swizzle,
                             .fill_nan = m->fill_nan};
    for (unsigned d = 0; d < m->rank; d++) {
        out.dim[d] = (uint32_t)(m->dimension[d] - 1); /* 2^32 fits */
        out.stride[d] = d ? m->stride[d - 1] : size;
        out.box[d] = (uint16_t)m->box[d];
        out.step[d] = (uint8_t)(m->element_stride[d] ? m->element_stride[d] : 1);
    }
    uint32_t row = row_bytes(&out), span = m->swizzle ? 16u << m->swizzle : UINT32_MAX;
    if (row % CHUNK || row > span) return PTXVM_ERROR_ARGUMENT;
    memset(bytes128, 0, MAP_BYTES);
    memcpy(bytes128, &out, sizeof out);
    return PTXVM_OK;
}

bool tensor_map_read(struct exec *x, const struct instruction *i, int lane, uint64_t address, unsigned rank,
                     struct tensor_map *out) {
    const uint8_t *bytes = memory_access(x, i, lane, PTX_GENERIC, address, MAP_BYTES, 64, ACCESS_READ, PROXY_GENERIC);
    if (!bytes) return false;
    memcpy(out, bytes, sizeof *out);
    if (out->magic == map_magic && out->rank == rank) return true;
    report(x, i, lane, PTXVM_FINDING_BAD_OPERAND, "%s",
           out->magic == map_magic ? "the tensor map has another rank"
                                   : "there is no tensor map of this machine (ptxvm_tensor_map_encode) at the address");
    return false;
}

/* -- Rows ---------------------------------------------------------------------------------------------------------- */

// Shared offset of 16 bytes of the box: XOR of address bits, as of 128-byte rows of 8, 4 or 2 chunks.
static uint32_t swizzled(const struct tensor_map *map, uint32_t offset) {
    static const uint32_t masks[] = {0, 1, 3, 7};
    uint32_t absolute = SHARED_BASE + offset;
    return (absolute ^ ((absolute >> 7 & masks[map->swizzle & 3]) << 4)) - SHARED_BASE;
}

// Coordinates of row `row` of the box; false: outside of the tensor in dimension 1 or above.
static bool row_start(const struct async_op *op, uint32_t row, uint64_t *address) {
    const struct tensor_map *map = &op->map;
    *address = map->address;
    bool inside = true;
    for (unsigned d = 1; d < map->rank; d++) {
        unsigned count = box_elements(map, d);
        int64_t at = (int64_t)op->coordinate[d] + (int64_t)(row % count) * map->step[d];
        row /= count;
        inside = inside && at >= 0 && at <= (int64_t)map->dim[d];
        *address += (uint64_t)at * map->stride[d];
    }
    return inside;
}

static void fill(const struct tensor_map *map, uint8_t *row, uint32_t bytes) {
    memset(row, map->fill_nan ? 0xff : 0, bytes);
    if (!map->fill_nan) return;
    for (uint32_t k = map->element_bytes - 1u; k < bytes; k += map->element_bytes) row[k] = 0x7f;
}

// One element of a row: its global bytes, or NULL where it lies outside. False: a fatal finding.
static bool element_at(struct exec *x, const struct async_op *op, uint64_t base, unsigned n, enum access access,
                       uint8_t **out) {
    const struct tensor_map *map = &op->map;
    int64_t at = (int64_t)op->coordinate[0] + (int64_t)n * map->step[0];
    *out = NULL;
    if (at < 0 || at > (int64_t)map->dim[0]) return true;
    *out = memory_global(x, op->i, op->lane, base + (uint64_t)at * map->element_bytes, map->element_bytes,
                         map->element_bytes, access);
    return *out != NULL;
}

// A row between global memory and a buffer.
static bool row_global(struct exec *x, const struct async_op *op, uint32_t row, uint8_t *buffer, bool is_load) {
    const struct tensor_map *map = &op->map;
    uint64_t base;
    if (is_load) fill(map, buffer, row_bytes(map));
    if (!row_start(op, row, &base)) return true;
    for (unsigned n = 0; n < box_elements(map, 0); n++) {
        uint8_t *element, *mine = buffer + n * map->element_bytes;
        if (!element_at(x, op, base, n, is_load ? ACCESS_READ : ACCESS_WRITE, &element)) return false;
        if (!element) continue;
        memcpy(is_load ? mine : element, is_load ? element : mine, map->element_bytes);
    }
    return true;
}

static void row_shared(const struct async_op *op, uint32_t row, uint8_t *buffer, bool is_load) {
    uint32_t bytes = row_bytes(&op->map);
    for (uint32_t k = 0; k < bytes; k += CHUNK) {
        uint8_t *shared = op->block->shared + swizzled(&op->map, op->offset + row * bytes + k);
        memcpy(is_load ? shared : buffer + k, is_load ? buffer + k : shared, CHUNK);
    }
}

bool tensor_run(struct exec *x, struct async_op *op) {
    uint8_t buffer[BOX_MAX * 8];
    bool is_load = op->kind == ASYNC_TENSOR_LOAD;
    uint32_t rows = tensor_box_bytes(&op->map) / row_bytes(&op->map);
    for (uint32_t row = 0; row < rows; row++) {
        if (!is_load) row_shared(op, row, buffer, false);
        if (!row_global(x, op, row, buffer, is_load)) return false;
        if (is_load) row_shared(op, row, buffer, true);
    }
    return true;
}

/* -- The instruction ----------------------------------------------------------------------------------------------- */

struct tensor_aux {
    struct place map, shared, mbarrier;
    uint32_t coordinate_slot[5];
    uint32_t mask_slot;
    unsigned rank;
    bool is_load;
};

static void set_coordinates(const struct exec *x, const struct tensor_aux *a, unsigned lane, struct async_op *op) {
    for (unsigned d = 0; d < a->rank; d++) op->coordinate[d] = (int32_t)lanes32(x, a->coordinate_slot[d])[lane];
}

static bool load_lane(struct exec *x, const struct instruction *i, unsigned lane, const struct tensor_map *map) {
    const struct tensor_aux *a = i->aux;
    uint64_t to = place_of(x, &a->shared, lane), mbarrier = place_of(x, &a->mbarrier, lane);
    uint32_t ranks, bytes = tensor_box_bytes(map);
    if (!async_ranks(x, i, lane, a->mask_slot, to, &ranks)) return false;
    for (; ranks; ranks &= ranks - 1) {
        unsigned rank = (unsigned)__builtin_ctz(ranks);
        struct async_op *op = async_load(x, i, ASYNC_TENSOR_LOAD, lane, async_in_block(to, rank),
                                         async_in_block(mbarrier, rank), bytes, SMEM_ALIGN);
        if (!op) return false;
        op->map = *map;
        set_coordinates(x, a, lane, op);
        if (exec_counts_on(x)) run_of(x)->running->site[i->index].bytes += bytes;
    }
    return true;
}

static bool store_lane(struct exec *x, const struct instruction *i, unsigned lane, const struct tensor_map *map) {
    const struct tensor_aux *a = i->aux;
    uint32_t bytes = tensor_box_bytes(map);
    struct async_op *op = async_store(x, i, ASYNC_TENSOR_STORE, lane, place_of(x, &a->shared, lane), bytes, SMEM_ALIGN);
    if (!op) return false;
    op->map = *map;
    set_coordinates(x, a, lane, op);
    if (exec_counts_on(x)) run_of(x)->running->site[i->index].bytes += bytes;
    return true;
}

static void run_tensor(struct exec *x, const struct instruction *i) {
    const struct tensor_aux *a = i->aux;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        struct tensor_map map;
        if (!tensor_map_read(x, i, (int)l, place_of(x, &a->map, l), a->rank, &map)) return;
        if (!(a->is_load ? load_lane : store_lane)(x, i, l, &map)) return;
    }
}

static void run_prefetch(struct exec *x, const struct instruction *i) {
    (void)x, (void)i; /* there is no cache */
}

// [map, {c0, c1, ...}]
static bool bind_map(struct binder *b, const struct ptx_operand *op, struct tensor_aux *a) {
    if (!need_kind(b, op, PTX_ADDRESS) || !place_bind(b, op, PTX_GENERIC, &a->map)) return false;
    if (op->count != a->rank) return bind_fail(b, "%u coordinates, needs %u", op->count, a->rank);
    for (unsigned d = 0; d < a->rank; d++)
        if (!take_src(b, operand_element(b, op, d), PTX_S32, &a->coordinate_slot[d])) return false;
    return true;
}

static bool bind_load(struct binder *b, struct tensor_aux *a) {
    bool remote = mod_take(b, "shared::cluster");
    if (!remote && !mod_take(b, "shared::cta")) return bind_fail(b, "needs a destination space");
    if (!mod_take(b, "global")) return bind_fail(b, "needs .global");
    if (!mod_take(b, "mbarrier::complete_tx::bytes")) return bind_fail(b, "needs .mbarrier::complete_tx::bytes");
    bool multicast = mod_take(b, "multicast::cluster"), has_policy = mod_take(b, "L2::cache_hint");
    unsigned count = 3 + (multicast ? 1u : 0u) + (has_policy ? 1u : 0u);
    uint32_t policy;
    if (!need_operands(b, count, count)) return false;
    if (multicast && !take_src(b, &b->operand[3], PTX_U16, &a->mask_slot)) return false;
    if (has_policy && !take_src(b, &b->operand[count - 1], PTX_B64, &policy)) return false;
    return place_bind(b, &b->operand[0], PTX_SHARED, &a->shared) && bind_map(b, &b->operand[1], a) &&
           place_bind(b, &b->operand[2], PTX_SHARED, &a->mbarrier);
}

static bool bind_store(struct binder *b, struct tensor_aux *a) {
    if (!mod_take(b, "shared::cta") || !mod_take(b, "bulk_group")) return bind_fail(b, "needs .shared::cta.bulk_group");
    bool has_policy = mod_take(b, "L2::cache_hint");
    uint32_t policy;
    if (!need_operands(b, has_policy ? 3 : 2, has_policy ? 3 : 2)) return false;
    if (has_policy && !take_src(b, &b->operand[2], PTX_B64, &policy)) return false;
    return bind_map(b, &b->operand[0], a) && place_bind(b, &b->operand[1], PTX_SHARED, &a->shared);
}

static bool bind_prefetch(struct binder *b, struct tensor_aux *a) {
    if (!mod_take(b, "L2") || !mod_take(b, "global")) return bind_fail(b, "needs .L2.global");
    bool has_policy = mod_take(b, "L2::cache_hint");
    return need_operands(b, 1, has_policy ? 2 : 1) && bind_map(b, &b->operand[0], a);
}

bool tensor_bind(struct binder *b, struct instruction *out, bool prefetch) {
    static const char *const ranks[] = {"1d", "2d", "3d", "4d", "5d", NULL};
    struct tensor_aux *a = bind_alloc(b, sizeof *a);
    unsigned rank;
    if (!a || !mod_need(b, ranks, &rank)) return false;
    a->rank = rank + 1;
    mod_take(b, "tile"); /* the usual mode; im2col and gather are refused as left-over modifiers */
    out->aux = a;
    out->run = prefetch ? run_prefetch : run_tensor;
    if (prefetch) return bind_prefetch(b, a);
    for (unsigned k = 0; k < b->statement->modifiers && !a->is_load; k++) {
        const char *space = b->statement->modifier[k]; /* the first one is the destination */
        if (!strcmp(space, "global")) break;
        a->is_load = !strncmp(space, "shared::", 8);
    }
    if (a->is_load) return bind_load(b, a);
    return mod_take(b, "global") ? bind_store(b, a) : bind_fail(b, "needs .shared or .global");
}
