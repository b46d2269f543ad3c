// machine: what executes: instructions, warps, blocks, and the calls by which instruction families reach memory, the
// scheduler and the findings. Internal to ptxvm. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_MACHINE_H
#define PTXVM_MACHINE_H

#include "ptx.h"

enum { LANES = 32, WARPS_MAX = 32 /* of a block */, NAMED_BARRIERS = 16, CLUSTER_MAX = 16 };
#define ALL_LANES 0xffffffffu

struct exec;
struct instruction;
typedef void (*instruction_handler)(struct exec *x, const struct instruction *i);

// One decoded instruction. Handlers see only what their binder left here.
struct instruction {
    instruction_handler run;
    uint32_t dst, src[4];        /* slots; 0: absent. What they mean is between binder and handler. */
    int64_t imm;                 /* address offset, constant, ... */
    uint32_t guard_slot;
    bool guard_negated;
    uint8_t width;               /* bytes of one element of a memory access, or of the type */
    uint8_t count;               /* elements of a vector access */
    uint8_t space;               /* enum ptx_space */
    uint32_t flags;              /* family's own bits */
    const uint32_t *slots;       /* more slots, e.g. fragments of a matrix product; in the kernel's arena */
    uint32_t slot_count;
    void *aux;                   /* family's own, in the kernel's arena */
    uint32_t target, reconverge; /* branches: instruction indices; reconverge UINT32_MAX: at exit */
    uint32_t index;              /* in the kernel */
    uint32_t line, source_line;
    const struct ptx_statement *statement; /* for messages */
    enum ptxvm_class klass;
};

// A function, bound.
struct ptxvm_kernel {
    ptxvm_module *module;
    const struct ptx_function *function;
    struct instruction *code;
    uint32_t count;
    int32_t *loop;            /* [count] innermost loop of each instruction, -1: none (cfg) */
    struct ptxvm_site *site;  /* [count] counters */
    bool uses_wgmma;
};

struct ptxvm_module {
    ptxvm *vm;
    struct ptx_text *text;
    struct ptxvm_kernel *kernel; /* entries first, then the other functions that have a body */
    unsigned kernels;            /* entries */
    unsigned functions;          /* all */
    struct ptxvm_kernel **by_index; /* of the text's functions; NULL: no body */
    uint64_t global_base, const_base; /* device addresses of the two images */
    void *arena;
    struct wgmma_registers *wgmma_registers; /* wgmma_state.c: of the functions with wgmma, in the arena; NULL at first */
};

// The function of this index in the text, as operands of kind PTX_FUNCTION name it; NULL: it has no body. While a module
// is being bound, code of functions that come later is NULL.
struct ptxvm_kernel *module_function(const ptxvm_module *module, uint64_t index);

/* -- Execution state ----------------------------------------------------------------------------------------------- */

enum exec_status {
    EXEC_NEXT,    /* go on with the next instruction */
    EXEC_JUMP,    /* x->pc was set; the active mask may have changed (branches; scheduler's business) */
    EXEC_RETRY,   /* blocked: run the same instruction again when something happened (barrier, mbarrier, a copy) */
    EXEC_YIELD,   /* done, but let others run first (spin loops: failed try_wait, volatile polls, nanosleep) */
    EXEC_FAULT    /* reported; the launch ends */
};

// What a handler gets. `file` is the warp's register file.
struct exec {
    ptxvm *vm;
    struct block *block;
    struct warp *warp;
    uint8_t *file;
    uint32_t active; /* lanes that execute this instruction: converged lanes and guard */
    uint32_t converged; /* the lanes that are at this instruction together, guard ignored */
    uint32_t pc;
    enum exec_status status;
};

static inline uint32_t *lanes32(const struct exec *x, uint32_t slot) { return (uint32_t *)(void *)(x->file + slot); }
static inline uint64_t *lanes64(const struct exec *x, uint32_t slot) { return (uint64_t *)(void *)(x->file + slot); }
static inline float *lanes_f32(const struct exec *x, uint32_t slot) { return (float *)(void *)(x->file + slot); }
static inline double *lanes_f64(const struct exec *x, uint32_t slot) { return (double *)(void *)(x->file + slot); }
static inline uint32_t *predicate(const struct exec *x, uint32_t slot) { return (uint32_t *)(void *)(x->file + slot); }

/* -- Binding (isa.c collects the families) ------------------------------------------------------------------------- */

// What a binder gets, and how it complains.
struct binder {
    ptxvm_module *module;
    const struct ptx_function *function;
    const struct ptx_statement *statement;
    const struct ptx_operand *operand; /* the statement's operands; behind them `operand_room` is PTX_MISSING */
    unsigned operands;
    struct ptx_operand operand_room[PTX_OPERANDS_MAX + 8]; /* where operand points */
    char *error;
    size_t error_bytes;
    uint32_t used; /* bit k: modifier k was consumed (isa.h) */
    ptxvm_status status; /* of the failure: UNSUPPORTED, or MEMORY */
};
// False, with "line N: opcode.modifiers: <text>" as the error.
bool bind_fail(struct binder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Memory that lives as long as the module; zeroed. NULL after bind_fail(out of memory).
void *bind_alloc(struct binder *b, size_t bytes);

// A family: opcode -> binder. A binder checks every modifier, type and operand (unknown ones are errors, never ignored),
// fills *out (run, slots, klass, ...), returns true. index, line, guard and statement are already set.
struct isa_entry {
    const char *opcode;
    bool (*bind)(struct binder *b, struct instruction *out);
};
extern const struct isa_entry isa_integer[], isa_float[], isa_convert[], isa_move[], isa_memory[], isa_warp[],
    isa_control[], isa_barrier[], isa_async[], isa_mma[], isa_wgmma[]; /* each ends with {NULL, NULL} */
const struct isa_entry *isa_find(const char *opcode);

/* -- Memory (memory.c) --------------------------------------------------------------------------------------------- */

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_ATOMIC = 3 };
enum proxy { PROXY_GENERIC, PROXY_ASYNC };

// Device address windows of the generic space: [SHARED_WINDOW + rank * SHARED_STRIDE, ...) and local memory. Global
// addresses lie above. Shared addresses are 32 bits, start at SHARED_BASE in a block's own window, and carry the block's
// rank in the cluster in bits 24 and up.
#define SHARED_WINDOW UINT64_C(0x0000700000000000)
#define LOCAL_WINDOW UINT64_C(0x0000710000000000)
#define GLOBAL_FIRST UINT64_C(0x0000720000000000)
enum { SHARED_BASE = 1024, SHARED_RANK_SHIFT = 24 };

// Host bytes of one lane's access of `bytes` at `address` in `space`, after all checks (bounds, alignment to `align`,
// races, uninitialised reads), and with the shadow updated. NULL: a fatal finding was reported and x->status is
// EXEC_FAULT. `lane` -1: on behalf of the whole warp.
uint8_t *memory_access(struct exec *x, const struct instruction *i, int lane, enum ptx_space space, uint64_t address,
                       uint32_t bytes, uint32_t align, enum access access, enum proxy proxy);
// Counters of a warp-wide access (only with options.counts): addresses of the active lanes.
void memory_count(struct exec *x, const struct instruction *i, enum ptx_space space, const uint64_t address[LANES],
                  uint32_t bytes_per_lane);
// A generic address resolved to its space and own address.
enum ptx_space memory_resolve(const struct exec *x, uint64_t generic, uint64_t *own);

/* -- Findings (report.c) ------------------------------------------------------------------------------------------- */

// Reports. Kinds up to TRAP are fatal: x->status becomes EXEC_FAULT. The same kind at the same instruction of one launch
// is reported once and counted on.
void report(struct exec *x, const struct instruction *i, int lane, enum ptxvm_finding_kind kind, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* -- Asynchronous work (async.c, wgmma.c) -------------------------------------------------------------------------- */

// wgmma and in-flight registers: wgmma.c marks accumulator and A slots when a wgmma is issued and clears them when
// wgmma.wait_group covers it. The interpreter calls this before each instruction of a kernel that uses_wgmma, with checks.
void wgmma_check_registers(struct exec *x, const struct instruction *i);

#endif
