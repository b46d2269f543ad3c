// wgmma_shared: matrices of wgmma in shared memory: descriptor -> addresses, checks, packed rows. Source: PTX ISA,
// "Shared Memory Matrix Layout" and "Matrix Descriptor Format" of wgmma; CUTLASS, cute/atom/mma_traits_sm90_gmma.hpp.
// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "wgmma.h"

/* -- Addresses ----------------------------------------------------------------------------------------------------- */

enum { CHUNK = 16 /* bytes */, MN_K = 16 /* k of an MN-major operand */ };

static uint32_t descriptor_bytes(uint64_t descriptor, unsigned bit) {
    return (uint32_t)(descriptor >> bit & 0x3fff) * CHUNK;
}

struct wgmma_matrix wgmma_matrix(uint64_t descriptor, bool is_mn_major) {
    static const uint32_t swizzles[] = {0, 128, 64, 32};
    return (struct wgmma_matrix){
        .start = descriptor_bytes(descriptor, 0),
        .leading = descriptor_bytes(descriptor, 16),
        .stride = descriptor_bytes(descriptor, 32),
        .swizzle = swizzles[descriptor >> 62],
        .base = (uint32_t)(descriptor >> 49 & 7),
        .is_mn_major = is_mn_major,
    };
}

// Swizzling exchanges the 16-byte chunks within a 128-byte line: address bits 4.. are XORed with bits 7.. (3, 2 or 1 of
// them for 128, 64, 32 bytes), counted from where the pattern begins.
static uint32_t swizzled(const struct wgmma_matrix *m, uint32_t address) {
    uint32_t mask = m->swizzle == 0 ? 0 : m->swizzle / CHUNK - 1;
    return address ^ ((address / 128 - m->base) & mask) * CHUNK;
}

// K-major: 8 rows make a group; groups lie `stride` apart. Without swizzle a row of a group is 16 bytes, the next 16
// bytes along k are `leading` away; with it a row has `swizzle` bytes, of which the descriptor points at the first.
static uint32_t k_major(const struct wgmma_matrix *m, unsigned row, unsigned chunk) {
    uint32_t group = m->start + row / 8 * m->stride;
    if (m->swizzle == 0) return group + row % 8 * CHUNK + chunk * m->leading;
    return swizzled(m, group + row % 8 * m->swizzle + chunk * CHUNK);
}

// MN-major: 8 neighbouring rows are the 16 bytes of a chunk, the 8 chunks of 8 k lie `swizzle` (none: 16) bytes apart.
// With swizzle, groups of `swizzle` bytes along the rows are `leading` apart and groups of 8 k `stride`; without, the
// other way round.
static uint32_t mn_major(const struct wgmma_matrix *m, unsigned chunk, unsigned k) {
    if (m->swizzle == 0) return m->start + chunk * m->stride + k / 8 * m->leading + k % 8 * CHUNK;
    uint32_t per_group = m->swizzle / CHUNK;
    return swizzled(m, m->start + chunk / per_group * m->leading + chunk % per_group * CHUNK + k / 8 * m->stride +
                           k % 8 * m->swizzle);
}

unsigned wgmma_matrix_chunks(const struct wgmma_matrix *m, unsigned first, unsigned rows,
                             uint32_t address[WGMMA_CHUNKS]) {
    unsigned count = 0;
    if (m->is_mn_major) {
        for (unsigned k = 0; k < MN_K; k++)
            for (unsigned chunk = first / 8; chunk < (first + rows) / 8; chunk++)
                address[count++] = mn_major(m, chunk, k);
    } else {
        for (unsigned row = first; row < first + rows; row++)
            for (unsigned chunk = 0; chunk < 2; chunk++) address[count++] = k_major(m, row, chunk);
    }
    return count;
}

/* -- Checks -------------------------------------------------------------------------------------------------------- */

enum { WINDOW = 1 << 18 /* bytes that a descriptor can point at */, WINDOW_WORDS = WINDOW / CHUNK / 64 };

static bool access_run(struct exec *x, const struct instruction *i, uint32_t address, uint32_t bytes) {
    uint64_t own = ((uint64_t)x->block->rank << SHARED_RANK_SHIFT) + address;
    return memory_access(x, i, -1, PTX_SHARED, own, bytes, CHUNK, ACCESS_READ, PROXY_ASYNC) != NULL;
}

// Accesses runs of neighbouring chunks as one: `used` has a bit for each.
static bool access_runs(struct exec *x, const struct instruction *i, const uint64_t *used, unsigned low,
                        unsigned high) {
    unsigned run = 0;
    for (unsigned chunk = low; chunk <= high + 1; chunk++) {
        bool in = chunk <= high && (used[chunk / 64] >> chunk % 64 & 1);
        if (!in && run > 0 && !access_run(x, i, (chunk - run) * CHUNK, run * CHUNK)) return false;
        run = in ? run + 1 : 0;
    }
    return true;
}

bool wgmma_matrix_access(struct exec *x, const struct instruction *i, const struct wgmma_matrix *m, unsigned first,
                         unsigned rows) {
    uint32_t address[WGMMA_CHUNKS];
    uint64_t used[WINDOW_WORDS] = {0};
    unsigned count = wgmma_matrix_chunks(m, first, rows, address), low = WINDOW / CHUNK, high = 0;
    for (unsigned c = 0; c < count; c++) {
        if (address[c] >= WINDOW) return access_run(x, i, address[c], CHUNK); /* out of bounds: reported there */
        unsigned chunk = address[c] / CHUNK;
        used[chunk / 64] |= UINT64_C(1) << chunk % 64;
        low = chunk < low ? chunk : low;
        high = chunk > high ? chunk : high;
    }
    return access_runs(x, i, used, low, high);
}

/* -- Loads --------------------------------------------------------------------------------------------------------- */

void wgmma_matrix_load(const struct block *block, const struct wgmma_matrix *m, unsigned first, unsigned rows,
                       uint32_t raw[][8]) {
    uint32_t address[WGMMA_CHUNKS];
    unsigned count = wgmma_matrix_chunks(m, first, rows, address), chunks = rows / 8;
    for (unsigned c = 0; c < count; c++) {
        const uint8_t *from = block->shared + (address[c] - SHARED_BASE);
        if (!m->is_mn_major) {
            memcpy((uint8_t *)raw[c / 2] + c % 2 * CHUNK, from, CHUNK);
            continue;
        }
        unsigned k = c / chunks, row = c % chunks * 8;
        for (unsigned e = 0; e < 8; e++) memcpy((uint8_t *)raw[row + e] + 2 * k, from + 2 * e, 2);
    }
}
