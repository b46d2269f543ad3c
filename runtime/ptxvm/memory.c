// memory: from an address to host bytes: spaces, bounds, alignment, and the checks that hang on every access. Counters
// are in count.c, races in shadow.c. SPDX-License-Identifier: Apache-2.0
#include "run.h"

typedef unsigned long long ull; /* for %llx */

/* -- Spaces -------------------------------------------------------------------------------------------------------- */

enum ptx_space memory_resolve(const struct exec *x, uint64_t generic, uint64_t *own) {
    (void)x;
    if (generic < SHARED_WINDOW || generic >= GLOBAL_FIRST) {
        *own = generic;
        return PTX_GLOBAL;
    }
    if (generic < LOCAL_WINDOW) {
        *own = generic - SHARED_WINDOW;
        return PTX_SHARED;
    }
    if (generic < PARAM_WINDOW) {
        *own = generic - LOCAL_WINDOW;
        return PTX_LOCAL;
    }
    *own = generic - PARAM_WINDOW;
    return PTX_PARAM;
}

static bool aligned(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t align) {
    if (!(address & (align - 1))) return true;
    report(x, i, lane, PTXVM_FINDING_MISALIGNED, "address 0x%llx is not a multiple of %u", (ull)address, align);
    return false;
}

static void out_of_bounds(struct exec *x, const struct instruction *i, int lane, const char *space, uint64_t address,
                          uint32_t bytes, uint64_t size) {
    report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS, "%u bytes at %s address 0x%llx; there are %llu", bytes, space,
           (ull)address, (ull)size);
}

/* -- Bitmaps of written bytes -------------------------------------------------------------------------------------- */

// Index of the first byte of [first, first + bytes) that is not marked, or -1.
static int64_t first_unwritten(const uint8_t *map, uint64_t first, uint32_t bytes) {
    if (bytes <= 8 && first % bytes == 0) {
        uint32_t bits = ((UINT32_C(1) << bytes) - 1) << first % 8;
        if ((map[first / 8] & bits) == bits) return -1;
    }
    for (uint64_t k = first; k < first + bytes; k++)
        if (!(map[k / 8] >> k % 8 & 1)) return (int64_t)k;
    return -1;
}

static void mark(uint8_t *map, uint64_t first, uint32_t bytes) {
    for (uint64_t k = first; bytes; k++, bytes--) map[k / 8] |= (uint8_t)(1u << k % 8);
}

// `map` of an area: reads need written bytes, writes write them.
static void check_written(struct exec *x, const struct instruction *i, int lane, const char *space, uint8_t *map,
                          uint64_t offset, uint32_t bytes, enum access access, uint64_t address) {
    if (access & ACCESS_READ) {
        int64_t missing = first_unwritten(map, offset, bytes);
        if (missing >= 0)
            report(x, i, lane, PTXVM_FINDING_UNINITIALISED,
                   "%u bytes at %s address 0x%llx: byte %llu was never written", bytes, space, (ull)address,
                   (ull)((uint64_t)missing - offset));
    }
    if (access & ACCESS_WRITE) mark(map, offset, bytes);
}

/* -- Global -------------------------------------------------------------------------------------------------------- */

static void report_global(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes) {
    const struct ptxvm *vm = x->vm;
    const struct allocation *below = NULL;
    for (unsigned k = 0; k < vm->allocations && vm->allocation[k].address <= address; k++) below = &vm->allocation[k];
    if (below)
        report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS,
               "%u bytes at global address 0x%llx: byte %llu of an allocation of %llu bytes at 0x%llx", bytes,
               (ull)address, (ull)(address - below->address), (ull)below->bytes, (ull)below->address);
    else
        report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS, "%u bytes at global address 0x%llx: no allocation is there",
               bytes, (ull)address);
}

uint8_t *memory_global(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                       uint32_t align, enum access access) {
    struct allocation *a = memory_find(x->vm, address);
    if (!a || bytes > a->bytes - (address - a->address)) {
        report_global(x, i, lane, address, bytes);
        return NULL;
    }
    if (!aligned(x, i, lane, address, align)) return NULL;
    uint64_t offset = address - a->address;
    if (a->written) check_written(x, i, lane, "global", a->written, offset, bytes, access, address);
    return a->data + offset;
}

/* -- Shared -------------------------------------------------------------------------------------------------------- */

struct block *memory_shared(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                            uint32_t align, uint32_t *offset) {
    struct run *r = run_of(x);
    uint64_t rank = address >> SHARED_RANK_SHIFT;
    uint32_t own = (uint32_t)(address & ((UINT32_C(1) << SHARED_RANK_SHIFT) - 1));
    if (rank >= r->blocks || own < SHARED_BASE || own - SHARED_BASE > r->shared_bytes ||
        bytes > r->shared_bytes - (own - SHARED_BASE)) {
        report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS,
               "%u bytes at shared offset %lld of block %llu; there are %u bytes", bytes, (long long)own - SHARED_BASE,
               (ull)rank, r->shared_bytes);
        return NULL;
    }
    if (!aligned(x, i, lane, own, align)) return NULL;
    *offset = own - SHARED_BASE;
    return &r->block[rank];
}

static bool has_exited(const struct block *b) {
    for (unsigned k = 0; k < b->warps; k++)
        if (b->warp[k].live) return false;
    return true;
}

static struct party party_of(const struct run *r, const struct warp *w, enum access access, enum proxy proxy) {
    if (!r->checks_races) return (struct party){.warp = w, .asynchronous_proxy = proxy == PROXY_ASYNC};
    if (proxy == PROXY_ASYNC)
        return (struct party){.actor = engine_actor(r, w, ENGINE_WGMMA),
                              .clock = w->committed[ENGINE_WGMMA] + 1,
                              .warp = w,
                              .asynchronous_proxy = true};
    bool strong = (unsigned)access & ACCESS_STRONG || (access & ACCESS_ATOMIC) == ACCESS_ATOMIC;
    return (struct party){.actor = w->actor, .clock = w->clock[w->actor], .warp = w, .strong = strong};
}

// What is checked besides bounds; false: fatal.
static bool check_shared(struct exec *x, const struct instruction *i, int lane, struct block *b, uint32_t offset,
                         uint32_t bytes, enum access access, const struct party *party) {
    const struct mbarrier *m = mbarrier_overlap(b, offset, bytes);
    if (m) {
        report(x, i, lane, PTXVM_FINDING_MBARRIER_MISUSE,
               "an ordinary access to shared offset %u, which holds the mbarrier of line %u", offset, m->line);
        return false;
    }
    if (b != x->block && has_exited(b)) {
        report(x, i, lane, PTXVM_FINDING_OUT_OF_BOUNDS, "shared memory of block %u of the cluster, which has exited",
               b->rank);
        return false;
    }
    if (b->shadow) shadow_access(x, i, lane, b, offset, bytes, access, party);
    return true;
}

static uint8_t *access_shared(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                              uint32_t align, enum access access, enum proxy proxy) {
    uint32_t offset;
    struct block *b = memory_shared(x, i, lane, address, bytes, align, &offset);
    if (!b) return NULL;
    struct party party = party_of(run_of(x), x->warp, access, proxy);
    if (!check_shared(x, i, lane, b, offset, bytes, access, &party)) return NULL;
    return b->shared + offset;
}

/* -- Local, parameters --------------------------------------------------------------------------------------------- */

static uint8_t *access_local(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                             uint32_t align, enum access access) {
    struct run *r = run_of(x);
    uint64_t size = r->local_bytes, have = size;
    unsigned l = lane < 0 ? 0 : (unsigned)lane;
    if (address > have || bytes > have - address) {
        out_of_bounds(x, i, lane, "local", address, bytes, have);
        return NULL;
    }
    if (!aligned(x, i, lane, address, align)) return NULL;
    if (x->warp->local_written)
        check_written(x, i, lane, "local", x->warp->local_written + size / 8 * l, address, bytes, access, address);
    return x->warp->local + size * l + address;
}

static uint8_t *access_parameter(struct exec *x, const struct instruction *i, int lane, uint64_t address,
                                 uint32_t bytes, uint32_t align, enum access access) {
    struct run *r = run_of(x);
    uint64_t size = r->kernel->function->parameter_bytes;
    if (!aligned(x, i, lane, address, align)) return NULL;
    bool in_block = address < size && bytes <= size - address && !(access & ACCESS_WRITE) && !x->warp->current->frame;
    return in_block ? r->parameters + address : calls_parameter(x, i, lane, address, bytes, align, access);
}

/* -- One lane ------------------------------------------------------------------------------------------------------ */

static uint8_t *access_lane(struct exec *x, const struct instruction *i, int lane, enum ptx_space space,
                            uint64_t address, uint32_t bytes, uint32_t align, enum access access, enum proxy proxy) {
    if (space == PTX_GENERIC) space = memory_resolve(x, address, &address);
    switch (space) {
    case PTX_SHARED:
        return access_shared(x, i, lane, address, bytes, align, access, proxy);
    case PTX_LOCAL:
        return access_local(x, i, lane, address, bytes, align, access);
    case PTX_PARAM:
        return access_parameter(x, i, lane, address, bytes, align, access);
    default:
        return memory_global(x, i, lane, address, bytes, align, access);
    }
}

// Does the access order others? Plain ones do not.
static bool synchronises(const struct run *r, unsigned access) {
    return r->checks_races &&
           (access & (ACCESS_STRONG | ACCESS_ACQUIRE | ACCESS_RELEASE) || (access & ACCESS_ATOMIC) == ACCESS_ATOMIC);
}

// Before the access, which belongs to the step that its own release publishes; the next step begins behind it.
static void synchronise(struct exec *x, enum ptx_space space, uint64_t address, unsigned access) {
    if (space == PTX_GENERIC) memory_resolve(x, address, &address);
    shadow_synchronise(x, address, access);
}

uint8_t *memory_access(struct exec *x, const struct instruction *i, int lane, enum ptx_space space, uint64_t address,
                       uint32_t bytes, uint32_t align, enum access access, enum proxy proxy) {
    struct run *r = run_of(x);
    bool ordered = proxy == PROXY_GENERIC && synchronises(r, (unsigned)access);
    r->progress += ((unsigned)access & ACCESS_ATOMIC) == ACCESS_WRITE;
    r->memo.valid = false;
    if (ordered) synchronise(x, space, address, (unsigned)access);
    uint8_t *at = access_lane(x, i, lane, space, address, bytes, align, access, proxy);
    if (ordered) clock_step(x->warp, (unsigned)access);
    return at;
}

/* -- A warp -------------------------------------------------------------------------------------------------------- */

// Global memory without bitmap, where all lanes lie in the allocation that was found last: no search, no checks.
static uint32_t fast_global(struct exec *x, const uint64_t address[LANES], uint32_t bytes, uint32_t align,
                            uint8_t *out[LANES]) {
    const struct ptxvm *vm = x->vm;
    if (vm->last_hit >= vm->allocations) return x->active;
    const struct allocation *a = &vm->allocation[vm->last_hit];
    if (a->written || a->bytes < bytes) return x->active;
    uint32_t left = 0;
    uint64_t first = a->address, last = a->bytes - bytes;
    for (unsigned l = 0; l < LANES; l++) {
        uint64_t offset = address[l] - first;
        bool good = offset <= last && !(address[l] & (align - 1));
        out[l] = a->data + (good ? offset : 0);
        left |= (uint32_t)!good << l;
    }
    return left & x->active;
}

// Shared memory of the own block without checks and without mbarriers in the way.
static uint32_t fast_shared(struct exec *x, const uint64_t address[LANES], uint32_t bytes, uint32_t align,
                            uint8_t *out[LANES]) {
    const struct block *b = x->block;
    if (b->shadow || b->shared_bytes < bytes) return x->active;
    uint64_t first = ((uint64_t)b->rank << SHARED_RANK_SHIFT) + SHARED_BASE, last = b->shared_bytes - bytes;
    uint32_t left = 0, low = b->mbarriers ? b->mbarriers->low : 0, high = b->mbarriers ? b->mbarriers->high : 0;
    for (unsigned l = 0; l < LANES; l++) {
        uint64_t offset = address[l] - first;
        bool good = offset <= last && !(address[l] & (align - 1)) && (offset + bytes <= low || offset >= high);
        out[l] = b->shared + (good ? offset : 0);
        left |= (uint32_t)!good << l;
    }
    return left & x->active;
}

// Lanes that follow one another at one address count once.
static void synchronise_warp(struct exec *x, enum ptx_space space, const uint64_t address[LANES], unsigned access) {
    uint64_t last = UINT64_MAX;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned lane = (unsigned)__builtin_ctz(rest);
        if (address[lane] != last) synchronise(x, space, address[lane], access);
        last = address[lane];
    }
}

bool memory_access_warp(struct exec *x, const struct instruction *i, enum ptx_space space,
                        const uint64_t address[LANES], uint32_t bytes, uint32_t align, unsigned access,
                        uint8_t *out[LANES]) {
    struct run *r = run_of(x);
    uint32_t left = x->active;
    r->progress += (access & ACCESS_ATOMIC) == ACCESS_WRITE;
    if (r->counts) memory_count(x, i, space, address, bytes);
    bool ordered = synchronises(r, access);
    if (!ordered) {
        if (space == PTX_GLOBAL) left = fast_global(x, address, bytes, align, out);
        if (space == PTX_SHARED) left = fast_shared(x, address, bytes, align, out);
    }
    r->memo.valid = false;
    if (ordered) synchronise_warp(x, space, address, access);
    for (; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        out[lane] = access_lane(x, i, lane, space, address[lane], bytes, align, (enum access)access, PROXY_GENERIC);
        if (!out[lane]) return false;
    }
    if (ordered) clock_step(x->warp, access);
    return true;
}
