// count: shared-memory wavefronts and global sectors of a warp's access. SPDX-License-Identifier: Apache-2.0
#include "run.h"

// Shared memory serves 32 banks of 4 bytes a pass. Accesses of 8 bytes are served by half warps, of 16 by quarters.
// A pass serves one word of each bank, to any number of lanes.
static unsigned wavefronts_of(const uint64_t address[LANES], uint32_t lanes, uint32_t words) {
    uint64_t seen[LANES][LANES]; /* words of each bank */
    unsigned count[LANES] = {0}, most = 0;
    for (; lanes; lanes &= lanes - 1) {
        unsigned lane = (unsigned)__builtin_ctz(lanes);
        for (uint32_t k = 0; k < words; k++) {
            uint64_t word = address[lane] / 4 + k;
            unsigned bank = word % LANES, n = 0;
            while (n < count[bank] && seen[bank][n] != word) n++;
            if (n < count[bank]) continue;
            if (n < LANES) seen[bank][count[bank]++] = word;
            if (count[bank] > most) most = count[bank];
        }
    }
    return most;
}

static void count_shared(struct ptxvm_site *site, const uint64_t address[LANES], uint32_t active, uint32_t bytes) {
    unsigned groups = bytes > 8 ? 4 : bytes > 4 ? 2 : 1, width = LANES / groups;
    for (unsigned g = 0; g < groups; g++) {
        uint32_t lanes = active & (uint32_t)(((UINT64_C(1) << width) - 1) << g * width);
        if (!lanes) continue;
        site->wavefronts += wavefronts_of(address, lanes, (bytes + 3) / 4);
        site->wavefronts_ideal++;
    }
}

static void count_global(struct ptxvm_site *site, const uint64_t address[LANES], uint32_t active, uint32_t bytes) {
    uint64_t seen[LANES * 2];
    unsigned count = 0;
    for (; active; active &= active - 1) {
        unsigned lane = (unsigned)__builtin_ctz(active);
        for (uint64_t sector = address[lane] / 32; sector <= (address[lane] + bytes - 1) / 32; sector++) {
            unsigned n = count;
            while (n > 0 && seen[n - 1] != sector) n--; /* the newest is the likeliest */
            if (!n && count < LANES * 2) seen[count++] = sector;
        }
    }
    site->sectors += count;
}

void memory_count(struct exec *x, const struct instruction *i, enum ptx_space space, const uint64_t address[LANES],
                  uint32_t bytes_per_lane) {
    struct run *r = run_of(x);
    if (!r->counts || !x->active || !bytes_per_lane) return;
    struct ptxvm_site *site = &r->running->site[i->index];
    site->bytes += (uint64_t)bytes_per_lane * (unsigned)__builtin_popcount(x->active);
    if (space == PTX_GENERIC) {
        uint64_t own;
        space = memory_resolve(x, address[__builtin_ctz(x->active)], &own);
    }
    if (space == PTX_SHARED) count_shared(site, address, x->active, bytes_per_lane);
    if (space == PTX_GLOBAL) count_global(site, address, x->active, bytes_per_lane);
}
