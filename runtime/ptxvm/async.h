// async.h: asynchronous copies: what a warp has under way. Private to async*.c and tensor.c.
// SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_ASYNC_H
#define PTXVM_ASYNC_H

#include "isa.h"
#include "run.h"

// One cp.async instruction of a warp, or one cp.async.mbarrier.arrive.
struct copy_record {
    const struct instruction *i;
    uint32_t mask, waited; /* lanes that executed it; that have waited for it */
    uint32_t number;       /* of the warp: its clock as step of ENGINE_COPY */
    bool done, is_arrival;
    uint32_t bytes;
    uint32_t group[LANES], source_bytes[LANES];
    uint8_t *to[LANES];
    const uint8_t *from[LANES];
    uint64_t mbarrier[LANES];
};

struct copy_state {
    struct copy_record *record; /* in order of issue */
    unsigned records, records_max, undone;
    uint32_t number;
    uint32_t committed[LANES];      /* cp.async groups of each lane */
    uint32_t bulk_number;           /* bulk copies in groups that the warp has issued */
    uint32_t bulk_committed[LANES]; /* bulk groups of each lane */
};
// The warp's state, made at the first call; NULL: out of memory, and the launch is stopped.
struct copy_state *copy_state_of(struct exec *x);

enum async_kind {
    ASYNC_LOAD,        /* global to shared, completes on an mbarrier */
    ASYNC_SHARED,      /* shared to shared of the cluster, completes on an mbarrier */
    ASYNC_STORE,       /* shared to global, in a bulk group */
    ASYNC_REDUCE,      /* shared to global, in a bulk group, with an operation */
    ASYNC_TENSOR_LOAD, /* by a tensor map */
    ASYNC_TENSOR_STORE
};

enum reduce_operation {
    REDUCE_ADD_U32,
    REDUCE_MIN_U32,
    REDUCE_MAX_U32,
    REDUCE_MIN_S32,
    REDUCE_MAX_S32,
    REDUCE_AND,
    REDUCE_OR,
    REDUCE_XOR,
    REDUCE_ADD_F32
};

// A bulk copy under way.
struct async_op {
    enum async_kind kind;
    const struct instruction *i;
    struct warp *warp;
    int lane;
    bool done;
    struct block *block; /* whose shared memory is read or written */
    uint8_t *to;
    const uint8_t *from;
    uint32_t bytes;         /* that the mbarrier counts */
    uint32_t offset;        /* in the block's shared memory */
    uint64_t mbarrier;      /* its address */
    uint32_t clock;         /* on the mbarrier */
    uint32_t group, number; /* of bulk groups */
    unsigned operation;     /* of a reduction */
    struct tensor_map {
        uint64_t magic, address;
        uint32_t dim[5];
        uint64_t stride[5]; /* bytes; [0] is the element's size */
        uint16_t box[5];
        uint8_t step[5];
        uint8_t rank, element_bytes, swizzle, fill_nan, is_float;
    } map;
    int32_t coordinate[5];
};

// Appends a copy; NULL: out of memory, and the launch is stopped.
struct async_op *async_new(struct exec *x, const struct instruction *i, enum async_kind kind, int lane);

// The lanes of x wait for their bulk groups but the `pending` newest.
void bulk_wait(struct exec *x, uint32_t pending);

// Runs a tensor copy. False: a fatal finding.
bool tensor_run(struct exec *x, struct async_op *op);
// Bytes of the box in shared memory.
uint32_t tensor_box_bytes(const struct tensor_map *map);
// Reads and checks the map at a generic address.
bool tensor_map_read(struct exec *x, const struct instruction *i, int lane, uint64_t address, unsigned rank,
                     struct tensor_map *out);

/* -- Issue (async_bulk.c) ------------------------------------------------------------------------------------------ */

// A copy into shared memory that completes on an mbarrier; NULL after a finding. The caller adds the source.
struct async_op *async_load(struct exec *x, const struct instruction *i, enum async_kind kind, unsigned lane,
                            uint64_t to, uint64_t mbarrier, uint32_t bytes, uint32_t align);
// A copy out of shared memory in the lane's open bulk group; NULL after a finding. The caller adds the destination.
struct async_op *async_store(struct exec *x, const struct instruction *i, enum async_kind kind, unsigned lane,
                             uint64_t from, uint32_t bytes, uint32_t align);
// The same shared address in another block of the cluster.
uint64_t async_in_block(uint64_t address, unsigned rank);
// Blocks that receive: by multicast mask, or (slot 0) the one of `to`. False after a finding.
bool async_ranks(struct exec *x, const struct instruction *i, unsigned lane, uint32_t mask_slot, uint64_t to,
                 uint32_t *ranks);

/* -- Operands of copies -------------------------------------------------------------------------------------------- */

// An address operand: base slot, width, offset, space of lane addresses.
struct place {
    uint32_t slot;
    bool wide;
    int64_t offset;
    enum ptx_space space;
};
bool place_bind(struct binder *b, const struct ptx_operand *op, enum ptx_space space, struct place *out);
uint64_t place_of(const struct exec *x, const struct place *p, unsigned lane);

// Shared bytes [address, address + bytes) for a copy: bounds, alignment, mbarriers in the way, races. NULL: fatal.
struct block *async_shared(struct exec *x, const struct instruction *i, int lane, uint64_t address, uint32_t bytes,
                           uint32_t align, enum access access, const struct party *party, uint32_t *offset);

bool copy_bind(struct binder *b, struct instruction *out);   /* cp.async, not bulk */
bool bulk_bind(struct binder *b, struct instruction *out);   /* cp.async.bulk behind the word bulk */
bool reduce_bind(struct binder *b, struct instruction *out); /* cp.reduce.async.bulk */
bool tensor_bind(struct binder *b, struct instruction *out, bool prefetch);

#endif
