// ptx: PTX as the parser leaves it: modules, functions, symbols, registers, statements. Text and names only: what an
// instruction means is decided by isa.h's binders. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_PTX_H
#define PTXVM_PTX_H

#include "ptxvm.h"

// X(NAME, text, bits of one element, elements, class): S signed, U unsigned, B untyped, F float, P predicate.
// clang-format off
#define PTX_TYPES(X)                                                                                                   \
    X(PRED, "pred", 1, 1, P)                                                                                           \
    X(B1, "b1", 1, 1, B) X(B8, "b8", 8, 1, B) X(B16, "b16", 16, 1, B) X(B32, "b32", 32, 1, B) X(B64, "b64", 64, 1, B)  \
    X(B128, "b128", 128, 1, B) X(U4, "u4", 4, 1, U) X(S4, "s4", 4, 1, S)                                               \
    X(U8, "u8", 8, 1, U) X(U16, "u16", 16, 1, U) X(U32, "u32", 32, 1, U) X(U64, "u64", 64, 1, U)                       \
    X(S8, "s8", 8, 1, S) X(S16, "s16", 16, 1, S) X(S32, "s32", 32, 1, S) X(S64, "s64", 64, 1, S)                       \
    X(U16X2, "u16x2", 16, 2, U) X(S16X2, "s16x2", 16, 2, S)                                                            \
    X(F16, "f16", 16, 1, F) X(F16X2, "f16x2", 16, 2, F) X(BF16, "bf16", 16, 1, F) X(BF16X2, "bf16x2", 16, 2, F)        \
    X(TF32, "tf32", 32, 1, F) X(F32, "f32", 32, 1, F) X(F32X2, "f32x2", 32, 2, F) X(F64, "f64", 64, 1, F)              \
    X(E4M3, "e4m3", 8, 1, F) X(E5M2, "e5m2", 8, 1, F) X(E3M2, "e3m2", 6, 1, F) X(E2M3, "e2m3", 6, 1, F)                \
    X(E2M1, "e2m1", 4, 1, F) X(UE4M3, "ue4m3", 8, 1, F) X(UE8M0, "ue8m0", 8, 1, F)                                     \
    X(E4M3X2, "e4m3x2", 8, 2, F) X(E5M2X2, "e5m2x2", 8, 2, F) X(E3M2X2, "e3m2x2", 8, 2, F)                             \
    X(E2M3X2, "e2m3x2", 8, 2, F) X(E2M1X2, "e2m1x2", 4, 2, F) X(UE8M0X2, "ue8m0x2", 8, 2, F)
// clang-format on
#define PTX_TYPE_ROW(name, text, bits, count, klass) PTX_##name,
enum ptx_type { PTX_NONE, PTX_TYPES(PTX_TYPE_ROW) PTX_TYPE_COUNT };

// Limits of a text.
enum {
    PTX_TEXT_BYTES_MAX = 64 << 20,
    PTX_REGISTERS_MAX = 1 << 20, /* used ones, of a function */
    PTX_STATEMENTS_MAX = 4 << 20,
    PTX_FUNCTIONS_MAX = 1 << 16,
    PTX_NESTING_MAX = 64,
    PTX_SHARED_BYTES_MAX = 1 << 20,
    PTX_LOCAL_BYTES_MAX = 512 << 10,
    PTX_CONST_BYTES_MAX = 1 << 20,
    PTX_GLOBAL_BYTES_MAX = 256 << 20,
    PTX_PARAMETER_BYTES_MAX = 32764,
    PTX_FILE_BYTES_MAX = 256 << 20 /* a warp's register file */
};

unsigned ptx_type_bits(enum ptx_type type); /* of the whole value: f16x2 is 32 */
char ptx_type_class(enum ptx_type type);    /* 'S', 'U', 'B', 'F', 'P'; 0 for PTX_NONE */
const char *ptx_type_text(enum ptx_type type);
enum ptx_type ptx_type_parse(const char *text, size_t bytes); /* without the dot; PTX_NONE if it is no type */

enum ptx_space { PTX_GENERIC, PTX_GLOBAL, PTX_SHARED, PTX_LOCAL, PTX_CONST, PTX_PARAM, PTX_SPACE_COUNT };

// Registers of a function. A register's values live in its slot of the warp's register file (see machine.h).
struct ptx_register {
    const char *name; /* with the '%' */
    enum ptx_type type;
    uint32_t slot; /* byte offset in the register file */
};

// A variable: shared, global, const, local or param; also a label is found by name (space PTX_GENERIC, is_label).
struct ptx_symbol {
    const char *name;
    enum ptx_space space;
    bool is_label, is_extern; /* extern: the dynamic shared memory */
    enum ptx_type type;
    uint64_t address; /* space's own address; label: index of the instruction that it names */
    uint64_t bytes;
    uint32_t align;
    const uint8_t *initial; /* first initial_bytes of .global/.const; the rest is zeros */
    uint64_t initial_bytes;
};

// An address in an initialiser: 8 bytes at `offset` of the image of `space` become the device address of `value` in
// the image of `target` (PTX_GLOBAL or PTX_CONST).
struct ptx_relocation {
    enum ptx_space space, target;
    uint64_t offset, value;
};

enum ptx_operand_kind {
    PTX_REG,       /* slot, type */
    PTX_IMMEDIATE, /* value (integer, or bits of a float); type F32/F64 for 0f/0d literals, S64/U64 for integers;
                      slot holds it, broadcast, see below */
    PTX_ADDRESS,   /* [base + offset]: slot of the base register or base_is_symbol; offset; type = register's type */
    PTX_VECTOR,    /* {a, b, ...}, the arguments (a, b) of a call, or the labels of a .branchtargets table: first,
                      count in the function's operand pool */
    PTX_SYMBOL,    /* name of a variable: value = its address (+ offset) in its space; slot holds it as 64 bits */
    PTX_LABEL,     /* target instruction index in value */
    PTX_SPECIAL,   /* %tid.x, %clock64, ...: special names it; slot holds it where it is constant for a thread */
    PTX_SINK,      /* '_': slot of a scratch area of 512 bytes that nobody reads */
    PTX_FUNCTION,  /* name of a .func or .entry: value = its index in the text */
    PTX_MISSING    /* never in a statement: what a binder sees behind the last operand */
};

struct ptx_operand {
    enum ptx_operand_kind kind;
    enum ptx_type type;
    // Byte offset in the warp's register file of the value to read or write. Valid for REG, IMMEDIATE, SYMBOL, SPECIAL
    // and the base of ADDRESS, so that a source is always read the same way. Immediates, symbols and constant special
    // registers own slots that are filled when a warp starts.
    uint32_t slot;
    // Where the second value is: 'a|b' as destination (setp, shfl, elect): slot of b, type PRED mostly; 0: none.
    uint32_t slot_pair;
    bool negated; /* '!p' or '-r' as a source */
    bool base_is_symbol;
    bool is_constant; /* ADDRESS: the base is no register: a symbol, or a number ([16]; value has it) */
    uint8_t special;  /* enum ptx_special */
    uint32_t first, count;
    int64_t value;  /* immediate bits, offset of an address (symbol's address added in where base_is_symbol) */
    uint16_t space; /* ADDRESS/SYMBOL with a symbol: its enum ptx_space */
    // A tensor-map address has a second part, [map, {c0, c1}], [addr, {..}]: first, count name the coordinates.
};

// X(NAME, text, constant for a thread?)
// clang-format off
#define PTX_SPECIALS(X)                                                                                                \
    X(TID_X, "%tid.x", 1) X(TID_Y, "%tid.y", 1) X(TID_Z, "%tid.z", 1)                                                  \
    X(NTID_X, "%ntid.x", 1) X(NTID_Y, "%ntid.y", 1) X(NTID_Z, "%ntid.z", 1)                                            \
    X(CTAID_X, "%ctaid.x", 1) X(CTAID_Y, "%ctaid.y", 1) X(CTAID_Z, "%ctaid.z", 1)                                      \
    X(NCTAID_X, "%nctaid.x", 1) X(NCTAID_Y, "%nctaid.y", 1) X(NCTAID_Z, "%nctaid.z", 1)                                \
    X(LANEID, "%laneid", 1) X(WARPID, "%warpid", 1) X(NWARPID, "%nwarpid", 1) X(SMID, "%smid", 1)                      \
    X(NSMID, "%nsmid", 1) X(GRIDID, "%gridid", 1)                                                                      \
    X(LANEMASK_EQ, "%lanemask_eq", 1) X(LANEMASK_LE, "%lanemask_le", 1) X(LANEMASK_LT, "%lanemask_lt", 1)              \
    X(LANEMASK_GE, "%lanemask_ge", 1) X(LANEMASK_GT, "%lanemask_gt", 1)                                                \
    X(CLUSTERID_X, "%clusterid.x", 1) X(CLUSTERID_Y, "%clusterid.y", 1) X(CLUSTERID_Z, "%clusterid.z", 1)              \
    X(NCLUSTERID_X, "%nclusterid.x", 1) X(NCLUSTERID_Y, "%nclusterid.y", 1) X(NCLUSTERID_Z, "%nclusterid.z", 1)        \
    X(CLUSTER_CTAID_X, "%cluster_ctaid.x", 1) X(CLUSTER_CTAID_Y, "%cluster_ctaid.y", 1)                                \
    X(CLUSTER_CTAID_Z, "%cluster_ctaid.z", 1) X(CLUSTER_NCTAID_X, "%cluster_nctaid.x", 1)                              \
    X(CLUSTER_NCTAID_Y, "%cluster_nctaid.y", 1) X(CLUSTER_NCTAID_Z, "%cluster_nctaid.z", 1)                            \
    X(CLUSTER_CTARANK, "%cluster_ctarank", 1) X(CLUSTER_NCTARANK, "%cluster_nctarank", 1)                              \
    X(IS_EXPLICIT_CLUSTER, "%is_explicit_cluster", 1)                                                                  \
    X(DYNAMIC_SMEM_SIZE, "%dynamic_smem_size", 1) X(TOTAL_SMEM_SIZE, "%total_smem_size", 1)                            \
    X(CLOCK, "%clock", 0) X(CLOCK64, "%clock64", 0) X(GLOBALTIMER, "%globaltimer", 0) X(ACTIVEMASK, "%activemask", 0)
// clang-format on
#define PTX_SPECIAL_ROW(name, text, constant) PTX_SPECIAL_##name,
enum ptx_special { PTX_SPECIAL_NONE, PTX_SPECIALS(PTX_SPECIAL_ROW) PTX_SPECIAL_COUNT };

enum ptx_special ptx_special_parse(const char *text, size_t bytes); /* with the '%'; PTX_SPECIAL_NONE if unknown */
const char *ptx_special_text(enum ptx_special special);
bool ptx_special_constant(enum ptx_special special);      /* for a thread */
enum ptx_type ptx_special_type(enum ptx_special special); /* U32, U64, PRED */

enum { PTX_MODIFIERS_MAX = 24, PTX_OPERANDS_MAX = 16 };

// One instruction as written. `cvt.rn.satfinite.e4m3x2.f32 %rs1, %f1, %f2;` has opcode "cvt", modifiers "rn",
// "satfinite", "e4m3x2", "f32". '::' stays inside a modifier: "shared::cta", "kind::mxf4nvf4", "scale_vec::4X".
struct ptx_statement {
    const char *opcode;
    const char *text;            /* opcode with modifiers, as written */
    const char *const *modifier; /* in order, interned; at most PTX_MODIFIERS_MAX */
    unsigned modifiers;
    uint32_t guard_slot; /* 0: no guard (slot 0 is never a register) */
    bool guard_negated;
    uint32_t first, operands; /* in the function's operand pool */
    uint32_t line;            /* of the PTX text, from 1 */
    uint32_t source_line;     /* nearest .loc, 0: none */
};

struct ptx_parameter {
    const char *name;
    size_t offset, bytes;
};

struct ptx_function {
    const char *name;
    bool is_entry;
    bool is_defined; /* has a body; else a declaration */
    struct ptx_parameter *parameter;
    unsigned parameters;
    unsigned returns;         /* of .func: parameter[0 .. returns) are its results; then come its arguments */
    size_t parameter_bytes;   /* addresses of PTX_PARAM symbols: parameters first, */
    size_t param_space_bytes; /* then the .param variables of the body, up to here */
    struct ptx_register *reg; /* those that are used */
    unsigned regs;
    struct ptx_operand *operand;
    unsigned operands;
    struct ptx_statement *statement;
    unsigned statements;
    uint32_t file_bytes;   /* size of a warp's register file, all slots */
    uint64_t local_bytes;  /* .local of one thread */
    uint64_t shared_bytes; /* static .shared: the module's and the function's; addresses start at 0 */
    uint32_t shared_align;
    uint64_t dynamic_shared;       /* address of the dynamic shared memory: shared_bytes, aligned for its variables */
    unsigned maxntid;              /* threads of a block at most, 0: not said */
    unsigned reqntid[3];           /* exactly these; 0 0 0: not said. maxntid is then their product */
    unsigned reqnctapercluster[3]; /* 0 0 0: not said */
    unsigned maxnreg;              /* 0: not said */
    // What a warp's register file is filled with at its start.
    struct ptx_constant {
        uint32_t slot;
        enum ptx_operand_kind kind; /* IMMEDIATE, SYMBOL, SPECIAL */
        bool wide;                  /* 64-bit lanes, else 32-bit */
        enum ptx_type type;         /* IMMEDIATE: of the literal; SPECIAL: of the register */
        bool is_mask;               /* a predicate: one uint32_t, all ones where the value is not 0, else 0 */
        uint8_t special;
        uint16_t space; /* SYMBOL */
        uint64_t value; /* IMMEDIATE: as it is to be stored; SYMBOL: plus the first address of the space */
    } * constant;
    unsigned constants;
};

struct ptx_text {    /* one parsed module; owns everything it points to in one arena */
    int target_sm;   /* 80, 90, 120 */
    char target[32]; /* "sm_90a" */
    unsigned version[2];
    struct ptx_function *function;
    unsigned functions;
    struct ptx_symbol *symbol; /* module scope: .global, .const, .shared */
    unsigned symbols;
    struct ptx_relocation *relocation;
    unsigned relocations;
    uint64_t global_bytes, const_bytes; /* sizes of the two images */
    void *arena;
};

// Slots: a predicate is one uint32_t, bit l = lane l. Values up to 32 bits are uint32_t[32], zero-extended (s8 and s16
// too: readers sign-extend by the instruction's type). 64-bit values are uint64_t[32]. 128-bit: uint64_t[32][2].
// Slot sizes: 64 (pred, padded), 128, 256, 512 bytes; all 64-byte aligned, the first slot is 64.

// Parses. *error gets "line N: text" (at most error_bytes). Errors: SYNTAX, UNSUPPORTED, MEMORY. Never crashes,
// whatever the text; depth, counts and sizes are limited.
ptxvm_status ptx_parse(const char *text, size_t bytes, struct ptx_text **out, char *error, size_t error_bytes);
void ptx_text_free(struct ptx_text *text);

#endif
