// wgmma: a warp's asynchronous products. wgmma.c binds and issues, wgmma_shared.c finds operands in shared memory,
// wgmma_state.c keeps what is in flight and computes it when it is due. The scheduler only destroys the state with the
// warp, and calls wgmma_check_registers (machine.h) before each instruction. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_WGMMA_H
#define PTXVM_WGMMA_H

#include "vm.h"

struct wgmma_state;

// Created by the first wgmma instruction of a warp (warp->wgmma). NULL is allowed.
void wgmma_state_destroy(struct wgmma_state *state);

// wgmma_check_registers(x, i) must be called *before* the handler of i, whatever i's guard says; it may compute
// products that are due (it writes accumulators), and may report (IN_FLIGHT: not fatal). It never changes x->pc or
// x->active. Warps without state return at once; instructions that touch no accumulator and no A register cost a few
// loads.

/* -- Between the parts of wgmma ------------------------------------------------------------------------------------ */

struct accumulate_model;

// Of one function: which registers any of its wgmma.mma_async uses, and which of them each statement touches.
struct wgmma_registers {
    const struct ptx_function *function;
    uint32_t slots;  /* register file in units of WGMMA_UNIT bytes */
    uint32_t *first; /* [statements + 1] index of a statement's first touch; wgmma.* have none */
    uint32_t *touch; /* slot / WGMMA_UNIT << 1 | written */
    struct wgmma_registers *next;
};
enum { WGMMA_UNIT = 64 };

// The function's, built at the first call; NULL after bind_fail.
const struct wgmma_registers *wgmma_registers_of(struct binder *b);

// What a bound wgmma.mma_async computes. instruction.slots: D, then A where it is in registers.
struct wgmma {
    const struct wgmma_registers *registers; /* first: all wgmma instructions' aux begins so */
    unsigned n, k;
    enum ptx_type a, b, d;
    unsigned container;      /* bits of an element of A and B */
    unsigned regs_d, regs_a; /* regs_a 0: A is in shared memory */
    bool negate_a, negate_b, transposed_a, transposed_b, saturate;
    uint32_t slot_a, slot_b; /* descriptors */
    uint32_t slot_scale_d;
    bool scale_d_negated;
    const struct accumulate_model *model;
};

// An issued product, not computed yet.
struct wgmma_job {
    const struct instruction *i;
    uint64_t a, b; /* descriptors */
    bool accumulate;
    uint32_t group; /* number of its group, from 1 */
};

// A matrix in shared memory by its descriptor. Rows: of A, or columns of B.
struct wgmma_matrix {
    uint32_t start, leading, stride; /* bytes */
    uint32_t swizzle;                /* bytes of a swizzled row: 32, 64, 128; 0: none */
    uint32_t base;                   /* in 128 bytes: where the swizzle pattern begins */
    bool is_mn_major;                /* 16-bit elements; k is the outer dimension */
};
struct wgmma_matrix wgmma_matrix(uint64_t descriptor, bool is_mn_major);
enum { WGMMA_CHUNKS = 512 }; /* of 256 rows */
// Own shared addresses (without the block's rank) of the 16-byte chunks of `rows` rows from `first` on. K-major: two a
// row, row by row; MN-major: one for each 8 rows, for each of 16 k. Returns the count.
unsigned wgmma_matrix_chunks(const struct wgmma_matrix *m, unsigned first, unsigned rows,
                             uint32_t address[WGMMA_CHUNKS]);
// Checks the read of all of these rows as the async proxy. False: a fault was reported.
bool wgmma_matrix_access(struct exec *x, const struct instruction *i, const struct wgmma_matrix *m, unsigned first,
                         unsigned rows);
// Packed rows, 256 bits each.
void wgmma_matrix_load(const struct block *block, const struct wgmma_matrix *m, unsigned first, unsigned rows,
                       uint32_t raw[][8]);

// Computes the product of a job for this warp's 16 rows.
void wgmma_compute(const struct exec *x, const struct wgmma_job *job);

// The warp's state, created if need be; NULL: out of memory was reported.
struct wgmma_state *wgmma_state_of(struct exec *x, const struct instruction *i);
void wgmma_state_fence(struct wgmma_state *state);
// Checks the registers of a product that is about to be issued (with check IN_FLIGHT), then marks them and keeps the
// job (its group is set here). False: out of memory was reported.
void wgmma_state_check_issue(struct exec *x, const struct instruction *i, const struct wgmma_state *state);
bool wgmma_state_issue(struct exec *x, struct wgmma_state *state, struct wgmma_job job);
void wgmma_state_commit(struct exec *x, struct wgmma_state *state);
void wgmma_state_wait(struct exec *x, struct wgmma_state *state, uint32_t pending);

#endif
