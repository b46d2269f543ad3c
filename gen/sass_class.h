// sass_class: what an opcode is (its class, its pipe) and how long it keeps that pipe busy on a GPU.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SASS_CLASS_H
#define SAGE_GEN_SASS_CLASS_H

#include "sass_listing.h"

// X(id, name, help): the order in which they are printed.
#define SASS_CLASSES(X)                                                                                                \
    X(MMA, "tensor", "matrix products: IGMMA, QGMMA, HGMMA, IMMA, HMMA, QMMA, OMMA")                                   \
    X(MUFU, "mufu", "ex2 and the like")                                                                                \
    X(FFMA, "ffma", "fp32 multiply-add")                                                                               \
    X(FMUL, "fmul", "fp32 multiply")                                                                                   \
    X(FADD, "fadd", "fp32 add")                                                                                        \
    X(FMAX, "fmnmx", "fp32 minimum and maximum")                                                                       \
    X(HALF, "half", "arithmetic on pairs of halves")                                                                   \
    X(CONVERT, "i2f", "integer to and from float")                                                                     \
    X(PACK, "f2fp", "float to narrow float, packed")                                                                   \
    X(IMAD, "imad", "integer multiply-add")                                                                            \
    X(IADD, "iadd", "integer add, minimum, LEA")                                                                       \
    X(LOGIC, "logic", "bits, shifts, permutes")                                                                        \
    X(SELECT, "select", "selections by a predicate")                                                                   \
    X(COMPARE, "compare", "comparisons, predicates, votes")                                                            \
    X(MOVE, "mov", "moves, R2UR and special registers too")                                                            \
    X(UNIFORM, "uniform", "uniform datapath")                                                                          \
    X(CONSTANT, "const", "loads of constants")                                                                         \
    X(SHARED, "shared", "shared memory: LDS, LDSM, STS")                                                               \
    X(SHUFFLE, "shfl", "between lanes")                                                                                \
    X(GLOBAL, "global", "global memory and copies from it: LDG, LDGSTS, UBLKCP")                                       \
    X(LOCAL, "local", "local memory: LDL, STL")                                                                        \
    X(SYNC, "sync", "barriers, waits, fences")                                                                         \
    X(BRANCH, "branch", "branches")                                                                                    \
    X(NOP, "nop", "nothing")                                                                                           \
    X(OTHER, "other", "opcodes that sagegen does not know")

#define SASS_CLASS_ID(id, name, help) SASS_##id,
enum sass_class { SASS_CLASSES(SASS_CLASS_ID) SASS_CLASS_COUNT };

// X(id, name): pipes of a scheduler.
#define SASS_PIPES(X)          X(TENSOR, "tensor") X(XU, "xu") X(FMA, "fma") X(ALU, "alu") X(LSU, "lsu")
#define SASS_PIPE_ID(id, name) SASS_PIPE_##id,
enum sass_pipe { SASS_PIPES(SASS_PIPE_ID) SASS_PIPE_COUNT, SASS_PIPE_NONE };

const char *sass_class_text(enum sass_class c);
const char *sass_pipe_text(enum sass_pipe p);
enum sass_class sass_class_of(const struct sass_instr *instr);
// What the instruction keeps busy, and for how many clocks of its scheduler on a GPU of this sm (times ten: 90; an
// unknown one counts as its predecessor). An estimate from rated throughput: see the tables in sass_class.c.
enum sass_pipe sass_pipe_of(const struct sass_instr *instr, int sm, double *clocks);
// Whether it is one of the wgmma family, which run asynchronously.
bool sass_is_gmma(const struct sass_instr *instr);

#endif
