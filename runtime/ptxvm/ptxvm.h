// ptxvm: a machine that executes PTX on the CPU: modules, memory, launches, checks and counts. Depends on libc and libm
// only. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_H
#define PTXVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptxvm ptxvm;               /* one machine: memory, options, findings. Use from one thread at a time. */
typedef struct ptxvm_module ptxvm_module; /* one PTX text, decoded */
typedef struct ptxvm_kernel ptxvm_kernel; /* one .entry of a module; lives as long as the module */

// X(NAME, number, text)
#define PTXVM_STATUS(X)                                                                                                \
    X(OK, 0, "done")                                                                                                   \
    X(ERROR_ARGUMENT, 1, "an argument is out of range")                                                                \
    X(ERROR_MEMORY, 2, "out of host memory")                                                                           \
    X(ERROR_SYNTAX, 3, "the text is not PTX")                                                                          \
    X(ERROR_UNSUPPORTED, 4, "an instruction or directive that the machine does not know")                              \
    X(ERROR_FAULT, 5, "the kernel did something that hardware would not survive, or that a check forbids")             \
    X(ERROR_LIMIT, 6, "the instruction limit was reached")
#define PTXVM_STATUS_ROW(name, number, text) PTXVM_##name = number,
enum ptxvm_status { PTXVM_STATUS(PTXVM_STATUS_ROW) };
typedef enum ptxvm_status ptxvm_status;

/* -- Findings ------------------------------------------------------------------------------------------------------ */

// X(NAME, text): what a check can find. The first group ends the launch, whatever the options.
#define PTXVM_FINDINGS(X)                                                                                              \
    X(OUT_OF_BOUNDS, "access outside of any allocation")                                                               \
    X(MISALIGNED, "misaligned access")                                                                                 \
    X(DEADLOCK, "deadlock: no warp can go on")                                                                         \
    X(BARRIER_MISUSE, "barrier misuse")                                                                                \
    X(MBARRIER_MISUSE, "mbarrier misuse")                                                                              \
    X(DIVERGENCE, "warp diverged where convergence is required")                                                       \
    X(BAD_OPERAND, "operand value that the instruction does not allow")                                                \
    X(TRAP, "trap")                                                                                                    \
    X(RACE, "race on shared memory")                                                                                   \
    X(PROXY, "async-proxy access without a proxy fence")                                                               \
    X(UNINITIALISED, "read of memory that nobody wrote")                                                               \
    X(IN_FLIGHT, "register of an unfinished asynchronous instruction touched")
#define PTXVM_FINDING_ROW(name, text) PTXVM_FINDING_##name,
enum ptxvm_finding_kind { PTXVM_FINDINGS(PTXVM_FINDING_ROW) PTXVM_FINDING_COUNT };

struct ptxvm_finding {
    enum ptxvm_finding_kind kind;
    const char *kernel;
    unsigned block[3];
    int warp, lane;       /* lane -1: the whole warp */
    unsigned instruction; /* index in the kernel */
    unsigned ptx_line;
    unsigned source_line; /* of the nearest .loc before it; 0: the PTX has none */
    const char *text;     /* one sentence with addresses, values, and the other party; valid during the callback */
};

/* -- Machine ------------------------------------------------------------------------------------------------------- */

enum ptxvm_check { /* bits of ptxvm_options.checks */
    PTXVM_CHECK_RACES = 1,
    PTXVM_CHECK_UNINITIALISED = 2,
    PTXVM_CHECK_IN_FLIGHT = 4,
    PTXVM_CHECK_ALL = 7
};

struct ptxvm_options {
    size_t size;     /* sizeof(struct ptxvm_options) */
    unsigned checks; /* bits of ptxvm_check; bounds, alignment, barriers and deadlocks are always checked */
    bool counts;     /* fill struct ptxvm_counts */
    uint64_t seed;   /* order in which warps run and asynchronous copies land; every seed is a legal order */
    uint64_t instruction_limit; /* warp instructions of a launch; 0: 2^40 */
    unsigned multiprocessors;   /* what %nsmid says; 0: 1 */
    int sm;                     /* 80, 90, 120; 0: the module's .target */
    unsigned findings_max;      /* of a launch; further ones are only counted; 0: 16 */
    void (*finding)(void *user, const struct ptxvm_finding *finding);
    void *user;
};

ptxvm_status ptxvm_create(const struct ptxvm_options *options, ptxvm **out); /* options NULL: all checks, seed 0 */
void ptxvm_destroy(ptxvm *vm); /* frees its memory too; modules are unloaded before */
// One sentence about the last call that failed: "line 12: error: text" for a text. Never NULL.
const char *ptxvm_error(const ptxvm *vm);
const char *ptxvm_status_text(ptxvm_status status);
const char *ptxvm_finding_text(enum ptxvm_finding_kind kind);
unsigned ptxvm_findings(const ptxvm *vm); /* of the last launch */
void ptxvm_set_seed(ptxvm *vm, uint64_t seed);

/* -- Memory: device addresses, 256-byte aligned, guard gaps between allocations; sizes in bytes -------------------- */

ptxvm_status ptxvm_alloc(ptxvm *vm, uint64_t bytes, uint64_t *address); /* contents count as never written */
ptxvm_status ptxvm_free(ptxvm *vm, uint64_t address);
ptxvm_status ptxvm_write(ptxvm *vm, uint64_t to, const void *from, uint64_t bytes);
ptxvm_status ptxvm_read(ptxvm *vm, void *to, uint64_t from, uint64_t bytes);
ptxvm_status ptxvm_set(ptxvm *vm, uint64_t to, uint8_t value, uint64_t bytes);

/* -- Modules ------------------------------------------------------------------------------------------------------- */

// Parses and decodes bytes of text (need not end in 0; not kept). Errors: SYNTAX, UNSUPPORTED (with line), MEMORY.
ptxvm_status ptxvm_module_load(ptxvm *vm, const char *text, size_t bytes, ptxvm_module **out);
void ptxvm_module_unload(ptxvm_module *module); /* NULL is allowed */
ptxvm_status ptxvm_module_kernel(ptxvm_module *module, const char *name, ptxvm_kernel **out);
unsigned ptxvm_module_kernels(const ptxvm_module *module);
const char *ptxvm_module_kernel_name(const ptxvm_module *module, unsigned index);

struct ptxvm_kernel_info {
    const char *name;
    unsigned parameters;         /* count */
    size_t parameter_bytes;      /* of the parameter block, padding included */
    size_t smem_static_bytes;
    unsigned threads_max;        /* .maxntid or .reqntid; 1024 without */
    unsigned cluster[3];         /* .reqnctapercluster; 1 1 1 without */
    unsigned instructions;
};
void ptxvm_kernel_info(const ptxvm_kernel *kernel, struct ptxvm_kernel_info *out);
// Offset and size in the parameter block of parameter `index`. False: no such parameter.
bool ptxvm_kernel_parameter(const ptxvm_kernel *kernel, unsigned index, size_t *offset, size_t *bytes);

/* -- Tensor maps --------------------------------------------------------------------------------------------------- */

enum ptxvm_swizzle { PTXVM_SWIZZLE_NONE, PTXVM_SWIZZLE_32, PTXVM_SWIZZLE_64, PTXVM_SWIZZLE_128 }; /* bytes of the pattern */

// What cuTensorMapEncodeTiled takes, without interleave.
struct ptxvm_tensor_map {
    unsigned element_bytes;      /* 1, 2, 4, 8 */
    unsigned rank;               /* 1 to 5 */
    uint64_t address;            /* multiple of 16 */
    uint64_t dimension[5];       /* elements; [0] is the innermost */
    uint64_t stride[4];          /* bytes from one element to the next of dimension 1, 2, ...; multiples of 16 */
    unsigned box[5];             /* elements, 1 to 256 */
    unsigned element_stride[5];  /* 1 to 8; 0 counts as 1 */
    enum ptxvm_swizzle swizzle;
    bool fill_nan;               /* outside of the tensor NaN (2 bytes: f16/bf16, 4: f32) instead of 0 */
};
// Writes the 128 bytes that this machine's cp.async.bulk.tensor reads as a CUtensorMap. They are not NVIDIA's format.
// Errors: ARGUMENT (what the driver would refuse).
ptxvm_status ptxvm_tensor_map_encode(const struct ptxvm_tensor_map *map, void *bytes128);

/* -- Launch -------------------------------------------------------------------------------------------------------- */

struct ptxvm_launch {
    unsigned grid[3], block[3];
    unsigned cluster[3];      /* all 0: the kernel's own */
    size_t smem_dynamic_bytes;
    const void *parameters;   /* parameter_bytes of info, as the kernel reads them */
};
// Runs to the end. OK only without findings. Errors: ARGUMENT, FAULT (see the findings), LIMIT, MEMORY.
ptxvm_status ptxvm_run(ptxvm *vm, const ptxvm_kernel *kernel, const struct ptxvm_launch *launch);

/* -- Counts, of all launches since the last reset ------------------------------------------------------------------ */

// X(NAME, text): classes of instructions.
#define PTXVM_CLASSES(X)                                                                                               \
    X(INTEGER, "integer and logic")                                                                                    \
    X(FLOAT, "float")                                                                                                  \
    X(SPECIAL, "ex2, lg2, rcp, sqrt, sin, cos, tanh")                                                                  \
    X(CONVERT, "conversion")                                                                                           \
    X(MOVE, "move, select, permute")                                                                                   \
    X(PREDICATE, "comparison and predicate")                                                                           \
    X(CONTROL, "branch, exit, call")                                                                                   \
    X(GLOBAL, "global load and store")                                                                                 \
    X(SHARED, "shared load, store, ldmatrix")                                                                          \
    X(LOCAL, "local load and store")                                                                                   \
    X(CONSTANT, "parameter and constant load")                                                                         \
    X(ATOMIC, "atomic")                                                                                                \
    X(WARP, "shuffle, vote, redux, elect")                                                                             \
    X(BARRIER, "barrier, mbarrier, fence")                                                                             \
    X(ASYNC, "asynchronous copy")                                                                                      \
    X(MMA, "matrix product")                                                                                           \
    X(OTHER, "other")
#define PTXVM_CLASS_ROW(name, text) PTXVM_CLASS_##name,
enum ptxvm_class { PTXVM_CLASSES(PTXVM_CLASS_ROW) PTXVM_CLASS_COUNT };

// Per instruction of a kernel.
struct ptxvm_site {
    unsigned ptx_line, source_line;
    const char *opcode; /* with modifiers, as written */
    enum ptxvm_class klass;
    int loop;                  /* index of the innermost loop (by its header's order in the text), -1: none */
    uint64_t warp_executions;  /* times a warp executed it */
    uint64_t lane_executions;  /* active lanes summed */
    uint64_t wavefronts;       /* shared memory: passes over the 32 banks */
    uint64_t wavefronts_ideal; /* the fewest that the bytes need */
    uint64_t sectors;          /* global memory: 32-byte sectors touched */
    uint64_t bytes;            /* moved by the active lanes, or by an asynchronous copy */
};
unsigned ptxvm_kernel_sites(const ptxvm_kernel *kernel);
void ptxvm_kernel_site(const ptxvm_kernel *kernel, unsigned index, struct ptxvm_site *out);
void ptxvm_counts_reset(ptxvm_module *module);
// Thread instructions of the last launch, and the seconds that it took.
void ptxvm_speed(const ptxvm *vm, uint64_t *thread_instructions, double *seconds);

#ifdef __cplusplus
}
#endif
#endif
