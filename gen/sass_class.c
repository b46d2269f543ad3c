// sass_class: see sass_class.h. Two tables: opcodes, and rates of GPUs.
// SPDX-License-Identifier: Apache-2.0
#include "sass_class.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Opcodes ----------------------------------------------------------------- */

// Where a rate comes from: the column of `struct rate`, or none.
enum rate_kind { R_NONE, R_TENSOR, R_XU, R_FMA, R_IMAD, R_ALU, R_LSU };

// Names with blanks between; each is also of all its forms: "IMAD" is "IMAD.WIDE". The first row that fits counts.
static const struct opcode {
    const char *names;
    enum sass_class class;
    enum rate_kind rate;
} opcodes[] = {
    {"HGMMA IGMMA QGMMA BGMMA HMMA IMMA QMMA OMMA BMMA DMMA", SASS_MMA, R_TENSOR},
    {"UTCHMMA UTCIMMA UTCQMMA UTCOMMA", SASS_MMA, R_TENSOR},
    {"MUFU", SASS_MUFU, R_XU},
    {"FFMA FFMA2 FFMA32I", SASS_FFMA, R_FMA},
    {"FMUL FMUL2 FMUL32I", SASS_FMUL, R_FMA},
    {"FADD FADD2 FADD32I FSWZADD", SASS_FADD, R_FMA},
    {"FMNMX FMNMX3", SASS_FMAX, R_ALU},
    {"HADD2 HFMA2 HMUL2 HADD2_32I HFMA2_32I HMUL2_32I", SASS_HALF, R_FMA},
    {"HMNMX2 VHMNMX HSET2 HSETP2", SASS_HALF, R_ALU},
    {"I2FP F2IP", SASS_CONVERT, R_ALU},
    {"I2F F2I F2F I2I FRND", SASS_CONVERT, R_XU},
    {"F2FP I2IP", SASS_PACK, R_ALU},
    {"IMAD.MOV IMAD.U32", SASS_MOVE, R_IMAD},
    {"IMAD IDP", SASS_IMAD, R_IMAD},
    {"IADD3 IADD IADD32I VIADD LEA IABS IMNMX VIMNMX VIMNMX3 VIADDMNMX", SASS_IADD, R_ALU},
    {"LOP3 LOP SHF SHL SHR PRMT BMSK SGXT", SASS_LOGIC, R_ALU},
    {"FLO POPC BREV", SASS_LOGIC, R_XU},
    {"SEL FSEL FSET FCHK", SASS_SELECT, R_ALU},
    {"ISETP FSETP PLOP3 VOTE", SASS_COMPARE, R_ALU},
    {"MOV CS2R R2UR P2R R2P", SASS_MOVE, R_ALU},
    {"S2R S2UR B2R MOVM", SASS_MOVE, R_NONE},
    {"LDC LDCU ULDC", SASS_CONSTANT, R_NONE},
    {"LDS LDSM STS STSM ATOMS", SASS_SHARED, R_LSU},
    {"SHFL", SASS_SHUFFLE, R_LSU},
    {"REDUX CREDUX", SASS_SHUFFLE, R_XU},
    {"MATCH", SASS_SHUFFLE, R_NONE},
    {"LDG STG LDGSTS LD ST ATOM ATOMG RED REDG", SASS_GLOBAL, R_LSU},
    {"CCTL UBLKCP UBLKPF UBLKRED UTMALDG UTMASTG UTMAPF", SASS_GLOBAL, R_NONE},
    {"LDL STL", SASS_LOCAL, R_LSU},
    {"BAR SYNCS ARRIVES WARPGROUP WARPSYNC WARPGROUPSET DEPBAR LDGDEPBAR MEMBAR FENCE", SASS_SYNC, R_NONE},
    {"BSSY BSYNC BREAK BMOV ERRBAR CGAERRBAR NANOSLEEP YIELD ELECT USETMAXREG", SASS_SYNC, R_NONE},
    {"ACQBULK PREEXIT UTMACMDFLUSH", SASS_SYNC, R_NONE},
    {"BRA BRX BRXU JMP JMX CALL RET EXIT BPT KILL", SASS_BRANCH, R_NONE},
    {"NOP", SASS_NOP, R_NONE},
};

static bool is_one_of(const struct sass_instr *instr, const char *names) {
    for (const char *p = names; *p; p += strspn(p, " ")) {
        const size_t len = strcspn(p, " ");
        if (strncmp(instr->text, p, len) == 0 && strchr(". ", instr->text[len])) return true; // a NUL too
        p += len;
    }
    return false;
}

static const struct opcode *opcode_of(const struct sass_instr *instr) {
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        if (is_one_of(instr, opcodes[i].names)) return &opcodes[i];
    return NULL;
}

const char *sass_class_text(enum sass_class c) {
#define SASS_CLASS_NAME(id, name, help) name,
    static const char *const names[] = {SASS_CLASSES(SASS_CLASS_NAME)};
    return names[c];
}

const char *sass_pipe_text(enum sass_pipe p) {
#define SASS_PIPE_NAME(id, name) name,
    static const char *const names[] = {SASS_PIPES(SASS_PIPE_NAME)};
    return names[p];
}

// Opcodes that begin with U run in the uniform datapath: UIADD3, ULOP3, USEL, ...
enum sass_class sass_class_of(const struct sass_instr *instr) {
    const struct opcode *op = opcode_of(instr);
    return op ? op->class : instr->text[0] == 'U' ? SASS_UNIFORM : SASS_OTHER;
}

bool sass_is_gmma(const struct sass_instr *instr) {
    return sass_is(instr, "IGMMA") || sass_is(instr, "QGMMA") || sass_is(instr, "HGMMA") || sass_is(instr, "BGMMA");
}

/* -- Rates ---------------------------------------------------------------------- */

// Lanes per clock of one scheduler (a quarter of an SM): CUDA C++ Programming Guide, "Arithmetic Instructions", table
// of throughput, a quarter of each number; shared memory: 128 bytes a clock and SM. MMA: multiply-adds per clock of one
// scheduler, from the peak rates of NVIDIA's architecture papers (A100, GA102, AD102, H100, GB202; dense). On GA102,
// AD102 and GB202 as GeForce cards, 16 and 8-bit floats that are accumulated in fp32 run at half rate.
// Not measured by this project, but for ex2: 15.4 a clock and SM on an H100.
static const struct rate {
    int sm;
    int fma, imad, alu, xu, lsu;       /* lanes */
    int mma_16bit, mma_8bit, mma_4bit; /* multiply-adds */
    bool fp32_at_half;
} rates[] = {
    {80, 16, 16, 16, 4, 8, 256, 512, 1024, false},    {86, 32, 16, 16, 4, 8, 128, 256, 512, true},
    {89, 32, 16, 16, 4, 8, 128, 256, 512, true},      {90, 32, 16, 16, 4, 8, 512, 1024, 1024, false},
    {100, 32, 16, 16, 4, 8, 1024, 2048, 4096, false}, {120, 32, 16, 16, 4, 8, 128, 256, 512, true},
};

static const struct rate *rate_of(int sm) {
    const struct rate *found = &rates[0];
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (rates[i].sm <= sm) found = &rates[i];
    return found;
}

// Multiply-adds of a warp: "IGMMA.64x128x32" is done by four warps, "IMMA.16832" (16 x 8 x 32) and "OMMA.SF.16864" by
// one. 0: no shape that is known.
static double mma_work(const struct sass_instr *instr) {
    int m, n, k;
    const char *p = instr->text + strcspn(instr->text, "0123456789 ");
    if (sscanf(p, "%dx%dx%d", &m, &n, &k) == 3) return (double)m * n * k / 4;
    k = strncmp(p, "168", 3) == 0 ? atoi(p + 3) : 0;
    return k > 0 ? 16.0 * 8 * k : 0;
}

static double mma_clocks(const struct sass_instr *instr, const struct rate *r) {
    const bool is_half = sass_is(instr, "HMMA") || sass_is(instr, "HGMMA"), is_narrow = sass_is(instr, "OMMA");
    const bool is_float = is_half || sass_is(instr, "QMMA");
    double rate = is_half ? r->mma_16bit : is_narrow ? r->mma_4bit : r->mma_8bit;
    if (r->fp32_at_half && is_float && strstr(instr->text, ".F32")) rate /= 2;
    return mma_work(instr) / rate;
}

// Shared memory gives 4 bytes a lane at its rate; wider accesses take as many turns.
static double lsu_turns(const struct sass_instr *instr) {
    const char *end = strchrnul(instr->text, ' ');
    const struct {
        const char *mark;
        int turns;
    } widths[] = {{".128", 4}, {".64", 2}, {".M88.4", 4}, {".MT88.4", 4}, {".M88.2", 2}, {".MT88.2", 2}};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        const char *found = strstr(instr->text, widths[i].mark);
        if (found && found < end) return widths[i].turns;
    }
    return 1;
}

enum sass_pipe sass_pipe_of(const struct sass_instr *instr, int sm, double *clocks) {
    const struct opcode *op = opcode_of(instr);
    const struct rate *r = rate_of(sm);
    const double lanes = 32;
    switch (op ? op->rate : R_NONE) {
    case R_TENSOR:
        *clocks = mma_clocks(instr, r);
        return SASS_PIPE_TENSOR;
    case R_XU:
        *clocks = lanes / r->xu;
        return SASS_PIPE_XU;
    case R_FMA:
        *clocks = lanes / r->fma;
        return SASS_PIPE_FMA;
    case R_IMAD:
        *clocks = lanes / r->imad;
        return SASS_PIPE_FMA;
    case R_ALU:
        *clocks = lanes / r->alu;
        return SASS_PIPE_ALU;
    case R_LSU:
        *clocks = lanes / r->lsu * lsu_turns(instr);
        return SASS_PIPE_LSU;
    default:
        *clocks = 0;
        return SASS_PIPE_NONE;
    }
}
