// run: inside of the scheduler: the machine, a launch, its random order, asynchronous work, clocks. Only vm.c, sched.c,
// diverge.c, memory.c, shadow.c, barrier.c, mbarrier.c, async*.c, control.c and report.c include it; instruction
// families use vm.h. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_RUN_H
#define PTXVM_RUN_H

#include "vm.h"

/* -- The machine --------------------------------------------------------------------------------------------------- */

struct allocation {
    uint64_t address, bytes;
    uint8_t *data;
    uint8_t *written; /* bitmap, one bit a byte; NULL: all bytes count as written */
};

struct ptxvm {
    struct ptxvm_options options;
    struct allocation *allocation; /* ascending addresses */
    unsigned allocations, allocations_max;
    unsigned last_hit; /* index of the allocation that was found last */
    uint64_t next_address;
    struct run *run; /* of the launch in progress */
    unsigned findings;
    uint64_t thread_instructions;
    double seconds;
    char error[1024];
};

/* -- A launch ------------------------------------------------------------------------------------------------------ */

// How a seed orders things; drawn once a cluster.
struct temper {
    uint32_t quantum;   /* largest number of instructions that a warp runs at a time */
    uint32_t favour;    /* of 256: chance that the favourite warp is taken, if it is ready */
    uint32_t favourite; /* warp of the cluster */
    uint32_t eagerness; /* of 256: chance per turn that a pending asynchronous operation is done */
    uint32_t spurious;  /* of 256: chance that a try_wait returns false although it might wait */
};

struct run {
    ptxvm *vm;
    const struct ptxvm_kernel *kernel;
    const struct ptxvm_launch *launch;
    unsigned grid[3], threads[3], cluster[3];
    unsigned blocks; /* of a cluster */
    unsigned block_threads, block_warps;
    unsigned warps;        /* of a cluster: blocks * block_warps */
    uint32_t shared_bytes; /* of a block */
    uint64_t local_bytes;  /* of a thread, call frames included */
    uint8_t *parameters;
    struct block *block;
    struct warp *warp;
    uint8_t *files, *locals, *shareds, *locals_written; /* what warps and blocks point into */
    uint64_t random;
    struct temper temper;
    uint32_t *ready;       /* warps with a runnable fragment */
    uint32_t *ready_place; /* index of a warp in ready, UINT32_MAX: not there */
    unsigned ready_count;
    unsigned live_warps;
    uint64_t progress; /* counts events that may end a spin: stores, arrivals, completed copies, exits */
    uint64_t instructions, instruction_limit; /* warp instructions */
    uint64_t thread_instructions;
    uint32_t *seen;                     /* [kernel->count] bits of finding kinds already reported */
    unsigned reported;                  /* findings handed to the callback */
    const struct ptxvm_kernel *running; /* the function that runs: whose counters count */
    uint64_t slept;                     /* by nanosleep: part of the clock */
    uint64_t release_progress;          /* progress and number of the last releases of try_waits */
    unsigned releases;
    bool explicit_cluster;
    bool stopped; /* a fatal finding or an error */
    ptxvm_status status;
    bool checks_races, checks_uninitialised, checks_in_flight, counts;
    struct cluster_barrier {
        uint32_t arrived; /* warps; those that have exited do not count */
        uint64_t generation;
        uint32_t *clock, *async_clock, *done_clock, *done_async;
    } cluster_barrier;
    // Vector clocks: components [0, warps) warps, [warps * (1 + engine), ...) their engines, then mbarriers.
    unsigned actors;
    uint32_t *clocks;         /* all vectors, one after another */
    uint32_t *mbarrier_clock; /* [MBARRIER_ACTORS * blocks] last operation of each mbarrier actor */
    struct sync_table *syncs; /* atomics, by address; shadow_sync.c */
    struct read_sets *sets;   /* shadow_sets.c */
    struct cell_memo {        /* what the access in progress made of the last word: often the next one is the same */
        bool valid;
        uint64_t before[2], after[2];
    } memo;
    struct async_op *op; /* bulk copies under way; async.c */
    unsigned ops, ops_max, ops_undone;
    unsigned pending_copies; /* cp.async not yet done, all warps */
};

enum { MBARRIER_ACTORS = 64 /* of a block; further ones share */ };

static inline unsigned engine_actor(const struct run *r, const struct warp *w, enum engine engine) {
    return r->warps * (1 + (unsigned)engine) + w->actor;
}
static inline struct run *run_of(const struct exec *x) {
    return x->vm->run;
}

// "text" as the error, and the status.
ptxvm_status vm_fail(ptxvm *vm, ptxvm_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* -- Random -------------------------------------------------------------------------------------------------------- */

static inline uint64_t random_next(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static inline uint32_t run_random(struct run *r) {
    return (uint32_t)(random_next(&r->random) >> 32);
}
static inline uint32_t run_below(struct run *r, uint32_t bound) {
    return (uint32_t)(((uint64_t)run_random(r) * bound) >> 32);
}

/* -- Fragments (diverge.c) ----------------------------------------------------------------------------------------- */

void warp_reset(struct warp *w, uint32_t pc);
// The current fragment has arrived at its group's reconvergence point: waits there or merges.
void fragment_arrive(struct run *r, struct warp *w, struct fragment *f);
// `taken` lanes of the current fragment go to target, the others to the next instruction; they meet at reconverge.
void fragment_split(struct run *r, struct warp *w, struct fragment *f, uint32_t taken, uint32_t target,
                    uint32_t fallthrough, uint32_t reconverge);
// Fragments that wait to reconverge leave their groups and go on; false: there are none, or some wait at .sync.
bool fragments_leave(struct run *r, struct warp *w);
// The lanes of the current fragment return from its function: they wait for the others of the call.
void fragment_return(struct run *r, struct warp *w, struct fragment *f);
// f enters a function; false: too many activations.
bool fragment_call(struct warp *w, struct fragment *f, struct call_frame *frame);
// Lanes exit.
void warp_exit_lanes(struct run *r, struct warp *w, uint32_t lanes);
// Fragments that were joined by warp_rendezvous go on behind their instruction; the current one is already there.
void warp_release_carried(struct run *r, struct warp *w);
// Bit of instruction.flags of warp.c: its lanes may also meet at another instruction of the same kind and mask.
enum { RENDEZVOUS_ANYWHERE = 1 << 30 };

/* -- Scheduler (sched.c) ------------------------------------------------------------------------------------------- */

void sched_ready(struct run *r, struct warp *w); /* puts the warp on the list if it has a runnable fragment */
void sched_wake(struct run *r, enum wait_kind kind, uint64_t key, struct block *block /* NULL: any */);
void run_cluster(struct run *r); /* from reset to the exit of all its warps, a fatal finding or the limit */
uint32_t fragment_stop(const struct warp *w, const struct fragment *f);

/* -- Clocks (clock.c). All do nothing without check RACES ---------------------------------------------------------- */

void clock_join(const struct run *r, uint32_t *into, const uint32_t *from);
// Publishes what the warp knows into the pair, and starts a new epoch of the warp.
void clock_release(const struct run *r, struct warp *w, uint32_t *clock, uint32_t *async_clock);
void clock_step(struct warp *w, unsigned access); /* a new step if the access was a release; with check RACES only */
void clock_acquire(const struct run *r, struct warp *w, const uint32_t *clock, const uint32_t *async_clock);
void clock_fence(const struct run *r, struct warp *w);       /* fence, membar */
void clock_proxy_fence(const struct run *r, struct warp *w); /* fence.proxy.async */
ptxvm_status clocks_create(struct run *r);
void clocks_destroy(struct run *r);
void clocks_reset(struct run *r); /* at the start of a cluster */

/* -- Shadow of shared memory (shadow.c) ---------------------------------------------------------------------------- */

// Who accesses. A party is a warp, or an engine or mbarrier on whose behalf the hardware works.
struct party {
    uint32_t actor, clock;
    const struct warp *warp; /* whose knowledge counts */
    bool asynchronous_proxy; /* else generic */
    bool strong;             /* atomics and strong accesses do not race with each other */
};
ptxvm_status shadow_create(struct run *r);
void shadow_destroy(struct run *r);
void shadow_reset(struct run *r);
// Checks and records an access to [offset, offset + bytes) of b's shared memory.
void shadow_access(struct exec *x, const struct instruction *i, int lane, struct block *b, uint32_t offset,
                   uint32_t bytes, enum access access, const struct party *party);
void syncs_reset(struct run *r);
void syncs_destroy(struct run *r);
// Atomics and strong accesses as synchronisation through `key` (an address). A release is followed by clock_step.
void shadow_synchronise(struct exec *x, uint64_t key, unsigned access);

/* -- mbarriers (mbarrier.c) ---------------------------------------------------------------------------------------- */

struct mbarrier {
    uint32_t offset; /* in the block's shared memory */
    bool live;
    bool fenced; /* the async proxy may see its initialisation */
    uint32_t expected, pending;
    int64_t tx;
    uint64_t phase; /* completed phases */
    uint32_t actor, init_actor, init_clock;
    uint32_t line; /* of its init */
    uint32_t *clock, *async_clock, *done_clock, *done_async;
};
struct mbarrier_table {
    struct mbarrier *row;
    unsigned rows, rows_max;
    uint32_t low, high; /* bytes [low, high) hold every live one */
};
// The live mbarrier that overlaps [offset, offset + bytes), or NULL.
struct mbarrier *mbarrier_overlap(const struct block *b, uint32_t offset, uint32_t bytes);
// The mbarrier at a shared address (own or of the cluster); NULL after a finding.
struct mbarrier *mbarrier_find(struct exec *x, const struct instruction *i, int lane, uint64_t address,
                               struct block **owner);
enum { MBARRIER_COUNT_MAX = (1 << 20) - 1 };
bool mbarrier_init(struct exec *x, const struct instruction *i, int lane, struct block *b, uint32_t offset,
                   uint32_t count);
// fence.mbarrier_init (own: of the warp's own initialisations) and fence.proxy.async (of all that the warp knows of).
void mbarriers_fence(struct run *r, const struct warp *w, bool own);
void mbarrier_invalidate(struct block *b, struct mbarrier *m);
// One change each; false after a finding. mbarrier_settle then completes the phase if nothing is pending.
bool mbarrier_arrive(struct exec *x, const struct instruction *i, int lane, struct mbarrier *m, uint32_t count);
bool mbarrier_transact(struct exec *x, const struct instruction *i, int lane, struct mbarrier *m, int64_t bytes);
void mbarrier_settle(struct run *r, struct block *b, struct mbarrier *m);
// The number of the next operation that completes on m, as its clock.
uint32_t mbarrier_next_clock(struct run *r, const struct mbarrier *m);
// An asynchronous copy of `bytes`, number `clock`, has completed on m.
void mbarrier_complete_tx(struct exec *x, const struct instruction *i, struct block *owner, struct mbarrier *m,
                          uint32_t bytes, uint32_t clock);
// One arrival on behalf of copies (cp.async.mbarrier.arrive).
void mbarrier_async_arrive(struct exec *x, const struct instruction *i, struct block *owner, struct mbarrier *m,
                           uint32_t engine_actor_index, uint32_t clock);
// +1 pending, for cp.async.mbarrier.arrive without .noinc.
bool mbarrier_increment(struct exec *x, const struct instruction *i, struct mbarrier *m);
void mbarriers_reset(struct run *r);
void mbarriers_destroy(struct run *r);
// Text about the mbarrier for deadlock reports.
void mbarrier_describe(const struct run *r, uint64_t address, char *text, size_t bytes);

/* -- Asynchronous work (async.c, async_copy.c) --------------------------------------------------------------------- */

// Does one pending operation; false: there was none.
bool async_step(struct run *r);
void async_finish_warp(struct run *r, struct warp *w); /* at its exit: its copies land */
void async_reset(struct run *r);
void async_destroy(struct run *r);
bool copy_step(struct run *r);
void copy_finish_warp(struct run *r, struct warp *w);
void copy_reset(struct run *r);
void copy_destroy(struct run *r);

/* -- Barriers (barrier.c) ------------------------------------------------------------------------------------------ */

void barriers_warp_exited(struct run *r, struct warp *w); /* barriers that count live warps may be complete now */
void barrier_describe(const struct run *r, const struct warp *w, unsigned number, char *text, size_t bytes);

/* -- Constants and calls (constants.c, call.c) ----------------------------------------------------------------------
 */

void warp_fill_constants(struct run *r, struct warp *w, const struct ptx_function *f, uint8_t *file,
                         uint64_t local_base, bool immediates);
// One activation of a .func by lanes of a warp.
struct call_frame {
    const struct ptxvm_kernel *function;
    struct call_frame *next; /* of the warp */
    bool used;
    struct call_frame *caller; /* NULL: the kernel */
    const struct instruction *call;
    uint8_t *file, *parameters; /* register file; [LANES][param_space_bytes] */
    uint64_t local_base;
};
static inline const struct ptxvm_kernel *fragment_function(const struct run *r, const struct fragment *f) {
    return f->frame ? f->frame->function : r->kernel;
}
uint64_t calls_local_bytes(const struct ptxvm_kernel *kernel); /* of a thread, frames of its callees included */
// Bytes of the parameter space behind the launch's block, and of functions. NULL after a finding.
uint8_t *calls_parameter(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                         uint32_t align, enum access access);
// All lanes of f's call have returned: f goes on behind it.
void calls_finish(struct run *r, struct warp *w, struct fragment *f, struct call_frame *frame);
void calls_reset(struct run *r);
void calls_destroy(struct run *r);

/* -- Memory (memory.c) --------------------------------------------------------------------------------------------- */

struct allocation *memory_find(ptxvm *vm, uint64_t address);
// Host pointer of [address, address + bytes) in global memory after bounds and alignment, or NULL after a finding.
uint8_t *memory_global(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                       uint32_t align, enum access access);
// The block and offset of a shared address; NULL after a finding.
struct block *memory_shared(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                            uint32_t align, uint32_t *offset);

#endif
