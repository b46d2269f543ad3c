// vm: the state of a machine and of a running cluster, and the small services that instruction families use. Owned by
// the scheduler; families read it, and change it only through the functions below. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_VM_H
#define PTXVM_VM_H

#include "machine.h"

// Addresses, as handlers see them. Own address of a space = what symbols of the space hold (struct ptx_constant of kind
// SYMBOL is filled with base + value):
//   SHARED  (rank << SHARED_RANK_SHIFT) + SHARED_BASE + offset    generic: SHARED_WINDOW + own   (base: own block's)
//   LOCAL   offset in the thread's frame                          generic: LOCAL_WINDOW + own
//   PARAM   offset in the parameter block                         generic: PARAM_WINDOW + own
//   GLOBAL, CONST  device address (module->global_base/const_base + offset); generic: the same
// memory_access takes own addresses of `space`, or generic ones with space PTX_GENERIC.
#define PARAM_WINDOW UINT64_C(0x0000711000000000)

/* -- Warps --------------------------------------------------------------------------------------------------------- */

// Why a fragment does not run.
enum wait_kind {
    WAIT_NONE,     /* runnable */
    WAIT_MERGE,    /* at its group's reconvergence point */
    WAIT_LANES,    /* .sync instruction: other lanes of the warp; key: the instruction */
    WAIT_BARRIER,  /* named barrier; key: its number */
    WAIT_CLUSTER,  /* barrier.cluster.wait */
    WAIT_MBARRIER, /* try_wait; key: shared address */
    WAIT_ANY       /* whatever event comes */
};

enum { GROUPS = 96, CALL_DEPTH = 48 /* activations of a warp at a time */ };

// Lanes of a warp that are at one instruction together.
struct call_frame;
struct fragment {
    struct call_frame *frame; /* the function that they run; NULL: the kernel */
    uint32_t pc, mask;
    uint32_t arrived; /* .sync: lanes whose arrival was counted; barriers: != 0 after the arrival */
    uint32_t members; /* .sync: lanes it waits for */
    uint64_t key;     /* what it waits for, see wait_kind */
    uint64_t token;   /* barriers: generation that must pass */
    uint64_t stamp;   /* machine's progress at the last failed poll */
    uint32_t polls;   /* failed polls since then */
    uint8_t group;    /* index in warp->group */
    uint8_t wait;     /* enum wait_kind */
    bool carried;     /* ran along with another fragment's .sync instruction */
};

// Fragments of one divergent branch; they merge at `reconverge` into a fragment of the parent group.
struct group {
    uint32_t reconverge; /* UINT32_MAX: never */
    uint32_t members;    /* 0: free */
    uint8_t parent;
    struct call_frame *frame; /* the lanes of one call, which meet at its return; else NULL */
};

// Asynchronous engines that work for a warp in groups: each has a clock of its own in the vector clocks.
enum engine { ENGINE_COPY /* cp.async */, ENGINE_BULK /* bulk_group */, ENGINE_WGMMA, ENGINES };

struct warp {
    uint32_t id;    /* in its block */
    uint32_t actor; /* index in the cluster: block rank * warps + id; its component of the vector clocks */
    uint32_t lanes; /* lanes that exist (the last warp of a block may be partial) */
    uint32_t live;  /* lanes that have not exited */
    struct block *block;
    uint8_t *file;          /* register file */
    uint8_t *local;         /* [LANES][local_bytes] */
    uint8_t *local_written; /* bitmap of local, with check UNINITIALISED */
    struct fragment fragment[LANES];
    unsigned fragments;
    struct fragment *current; /* the fragment that runs */
    struct group group[GROUPS];
    bool split_up;                         /* lanes went on without waiting for others at a reconvergence point */
    uint32_t *clock, *async_clock;         /* vector clocks: what it knows; what the async proxy may see. With RACES. */
    uint32_t *fence_clock, *pending_clock; /* published by relaxed atomics; gained by the next fence */
    uint32_t committed[ENGINES];           /* groups committed */
    uint32_t open[ENGINES];                /* operations in the group being built */
    uint32_t registers;                    /* per thread: setmaxnreg */
    uint32_t register_changes;             /* setmaxnreg executed */
    bool cluster_arrived;                  /* at barrier.cluster, and has not waited yet */
    uint64_t cluster_token;                /* generation in which it arrived */
    bool filled;                           /* the register file holds its immediates */
    struct wgmma_state *wgmma;             /* owned by wgmma.c; NULL until the first wgmma */
    struct copy_state *copies;             /* owned by async.c: cp.async groups of each lane */
    struct call_frame *frames;             /* owned by call.c: all activations, free ones too */
    uint8_t *arguments;                    /* owned by call.c: .param variables of the kernel's body, by lane */
};

struct named_barrier {
    uint32_t arrived;  /* threads, in whole warps */
    uint32_t expected; /* threads; 0: nobody has arrived; UINT32_MAX: all live warps of the block */
    uint32_t arrivals; /* warps */
    uint64_t generation;
    const struct instruction *first;    /* by which this generation's first warp arrived; NULL: none has */
    uint32_t count_true, votes;         /* bar.red: lanes with a true predicate; lanes that voted */
    uint32_t result_true, result_votes; /* of the last generation */
    uint32_t *clock, *async_clock;      /* gathered by those who arrive */
    uint32_t *done_clock, *done_async;  /* what the last generation hands to its waiters */
};

struct block {
    ptxvm *vm;
    unsigned index[3]; /* %ctaid */
    unsigned rank;     /* in the cluster */
    struct warp *warp;
    unsigned warps;
    uint8_t *shared;                  /* shared_bytes */
    uint32_t shared_bytes;            /* static and dynamic */
    struct shared_shadow *shadow;     /* shadow.c */
    struct mbarrier_table *mbarriers; /* mbarrier.c */
    struct named_barrier barrier[NAMED_BARRIERS];
    uint32_t registers; /* of all its threads, once a setmaxnreg was executed; else 0 */
};

/* -- Services for instruction families ----------------------------------------------------------------------------- */

// Random bits of the launch's seed: use for whatever the hardware leaves open.
uint32_t machine_random(struct exec *x);
// The launch's parameter block (parameter_bytes of the kernel).
const uint8_t *exec_parameters(const struct exec *x);
bool exec_counts_on(const struct exec *x);
// `check`: a bit of enum ptxvm_check.
bool exec_checks(const struct exec *x, unsigned check);
// Memory has changed: whoever polls may see something new. Stores say so by memory_access; atomics only if they changed
// it.
void machine_progress(const struct exec *x);
// The instruction counter as a clock: %clock, %clock64, %globaltimer.
uint64_t machine_clock(const struct exec *x);

// For `.sync` instructions with a member mask, called first: true when all live lanes of `members` are at this
// instruction; fragments that were waiting have then been joined to x->active (x->converged) and go on with it.
// False: x->status is EXEC_RETRY, or a finding was reported; the handler returns at once.
bool warp_rendezvous(struct exec *x, const struct instruction *i, uint32_t members);
// For matrix instructions: true when x->active is all 32 lanes (the ISA allows neither divergence nor exited lanes);
// else reports DIVERGENCE.
bool warp_require_all(struct exec *x, const struct instruction *i);
// The same for `.aligned` barriers, which lanes that have exited do not hinder.
bool warp_require_live(struct exec *x, const struct instruction *i);
// With EXEC_RETRY: what to wait for. Without this call it is WAIT_ANY.
void machine_wait(struct exec *x, enum wait_kind kind, uint64_t key);
// Something happened that may let `kind`/`key` (and WAIT_ANY) go on, in any block of the cluster.
void machine_wake(struct exec *x, enum wait_kind kind, uint64_t key);

// Accesses in `enum access` may carry these bits too.
enum access_order {
    ACCESS_STRONG = 8,   /* volatile, relaxed: no race with other strong accesses or atomics */
    ACCESS_ACQUIRE = 16, /* .acquire, .acq_rel */
    ACCESS_RELEASE = 32  /* .release, .acq_rel */
};
// All active lanes at once, faster than a memory_access each, and counted when counts are on: out[lane] as of
// memory_access for the lanes of x->active. False: a fatal finding was reported. Use it for ld, st, atom, red.
bool memory_access_warp(struct exec *x, const struct instruction *i, enum ptx_space space,
                        const uint64_t address[LANES], uint32_t bytes, uint32_t align, unsigned access,
                        uint8_t *out[LANES]);

// Groups of asynchronous work. Call memory_access(.., PROXY_ASYNC) when the work is *issued*: the checks and the shadow
// then know that the bytes are in use until the group is waited for; the bytes themselves may be touched later through
// the pointer, which stays valid for the launch. Such accesses belong to the warp's ENGINE_WGMMA, group being built.
void machine_group_commit(struct exec *x, enum engine engine);
// The warp knows that all but the `pending` newest committed groups are done.
void machine_group_wait(struct exec *x, enum engine engine, uint32_t pending);

#endif
