// structure: probes that show how a tensor core adds: which products are summed together, how many places below the
// largest survive, how the sum is rounded, where the addend joins. One dot product per warp, in row 0 and column 0; the
// values are built so that one look at the result answers one question. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { K_MAX = 32, PLACES = 36 };

struct core {
    const char *name, *opcode; /* of wgmma: opcode NULL, name is its types */
    const struct truth_format *format;
    unsigned k;
    bool to_f16;
    int large, small; /* exponents of products: small is lost beside large, whatever the core keeps */
};
static const struct core cores[] = {
    {"mma.f32.f16", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", &truth_f16, 16, false, 30, -10},
    {"mma.f16.f16", "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", &truth_f16, 16, true, 14, -16},
    {"mma.f32.bf16", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", &truth_bf16, 16, false, 30, -10},
    {"mma.f32.tf32", "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", &truth_tf32, 8, false, 30, -10},
    {"mma.f32.e4m3", "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", &truth_e4m3, 32, false, 14, -18},
    {"mma.f32.e5m2", "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32", &truth_e5m2, 32, false, 28, -10},
    {"mma.f16.e4m3", "mma.sync.aligned.m16n8k32.row.col.f16.e4m3.e4m3.f16", &truth_e4m3, 32, true, 14, -16},
    {"mma.f16.e5m2", "mma.sync.aligned.m16n8k32.row.col.f16.e5m2.e5m2.f16", &truth_e5m2, 32, true, 14, -16},
    {"k16.f32.f16.f16", NULL, &truth_f16, 16, false, 30, -10},
    {"k16.f16.f16.f16", NULL, &truth_f16, 16, true, 14, -16},
    {"k16.f32.bf16.bf16", NULL, &truth_bf16, 16, false, 30, -10},
    {"k8.f32.tf32.tf32", NULL, &truth_tf32, 8, false, 30, -10},
    {"k32.f32.e4m3.e4m3", NULL, &truth_e4m3, 32, false, 14, -18},
    {"k32.f32.e5m2.e5m2", NULL, &truth_e5m2, 32, false, 28, -10},
    {"k32.f16.e4m3.e4m3", NULL, &truth_e4m3, 32, true, 14, -16},
    {"k32.f16.e5m2.e5m2", NULL, &truth_e5m2, 32, true, 14, -16}};
enum { CORES = sizeof cores / sizeof cores[0] };

/* -- Questions ----------------------------------------------------------------------------------------------------- */

// X(NAME, text): sweeps over j = 0 .. PLACES-1 of a term s at 2^(large - j).
#define SWEEPS(X)                                                                                                      \
    X(KEEP, "L + s - L, s = 1")                                                                                        \
    X(KEEP_HALF, "L + s - L, s = 1.5")                                                                                 \
    X(KEEP_MINUS, "L + s - L, s = -1.5")                                                                               \
    X(KEEP_WIDE, "2.25 L + s - 2.25 L, s = 1")                                                                         \
    X(KEEP_FAR, "L + s - L, s = 1, at the two ends of k")                                                              \
    X(ADDEND_LARGE, "addend L, + s - L, s = 1.5")                                                                      \
    X(ADDEND_SMALL, "L - L + addend s, s = 1.5")                                                                       \
    X(ADDEND_MINUS, "L - L + addend s, s = -1.5")                                                                      \
    X(ROUND, "L + s, s = 1")                                                                                           \
    X(ROUND_HALF, "L + s, s = 1.5")                                                                                    \
    X(ROUND_MINUS, "L - s, s = 1")                                                                                     \
    X(ROUND_NEGATIVE, "-L - s, s = 1.5")                                                                               \
    X(ROUND_ADDEND, "addend L, + s, s = 1.5")                                                                          \
    X(CARRY, "twice 1.75 L, + s, s = 1.5")
#define SWEEP_NAME(name, text) name,
enum sweep { SWEEPS(SWEEP_NAME) SWEEP_COUNT };
#define SWEEP_TEXT(name, text) text,
static const char *const sweep_texts[] = {SWEEPS(SWEEP_TEXT)};

struct test {
    double factor[K_MAX]; /* of the product at k: factor * 2^exponent */
    int exponent[K_MAX];
    double addend;
};

static void term(struct test *test, unsigned k, double factor, int exponent) {
    test->factor[k] = factor;
    test->exponent[k] = exponent;
}

static void make_sweep(const struct core *core, enum sweep sweep, int j, struct test *test) {
    int large = core->large, small = large - j;
    unsigned far = sweep == KEEP_FAR ? core->k - 1 : 2;
    double s = sweep == KEEP || sweep == KEEP_WIDE || sweep == KEEP_FAR || sweep == ROUND ? 1
               : sweep == ROUND_MINUS                                                     ? -1
               : sweep == KEEP_MINUS || sweep == ADDEND_MINUS || sweep == ROUND_NEGATIVE  ? -1.5
                                                                                          : 1.5;
    if (sweep == CARRY) large--;
    switch (sweep) {
    case KEEP:
    case KEEP_HALF:
    case KEEP_MINUS:
    case KEEP_FAR:
        term(test, 0, 1, large);
        term(test, 1, s, small);
        term(test, far, -1, large);
        return;
    case KEEP_WIDE:
        term(test, 0, 2.25, large - 1);
        term(test, 1, s, small - 1);
        term(test, 2, -2.25, large - 1);
        return;
    case ADDEND_LARGE:
    case ROUND_ADDEND:
        test->addend = ldexp(1, large);
        term(test, 1, s, small);
        if (sweep == ADDEND_LARGE) term(test, 0, -1, large);
        return;
    case ADDEND_SMALL:
    case ADDEND_MINUS:
        term(test, 0, 1, large);
        term(test, 1, -1, large);
        test->addend = ldexp(s, small);
        return;
    case CARRY:
        term(test, 0, 1.75, large);
        term(test, 2, 1.75, large);
        term(test, 1, s, small);
        return;
    default:
        term(test, 0, sweep == ROUND_NEGATIVE ? -1 : 1, large);
        term(test, 1, s, small);
        return;
    }
}

static unsigned pair_count(const struct core *core) { /* of k and the addend, which is number k */
    return (core->k + 1) * core->k / 2;
}

// Large and minus large at p and q, small ones everywhere else: the result counts those that were not beside a large.
static void make_pair(const struct core *core, unsigned p, unsigned q, struct test *test) {
    for (unsigned k = 0; k < core->k; k++) term(test, k, 1, core->small);
    term(test, p, -1, core->large);
    if (q < core->k)
        term(test, q, 1, core->large);
    else
        test->addend = ldexp(1, core->large);
}

static void pair_of(const struct core *core, unsigned index, unsigned *p, unsigned *q) {
    for (*p = 0; index >= core->k - *p; (*p)++) index -= core->k - *p;
    *q = *p + 1 + index;
}

static unsigned test_count(const struct core *core) {
    return (pair_count(core) + SWEEP_COUNT * PLACES + 3) / 4 * 4;
}

static void make_test(const struct core *core, unsigned index, struct test *test) {
    unsigned pairs = pair_count(core), p, q;
    memset(test, 0, sizeof *test);
    if (index < pairs) {
        pair_of(core, index, &p, &q);
        make_pair(core, p, q, test);
    } else if (index - pairs < SWEEP_COUNT * PLACES) {
        make_sweep(core, (enum sweep)((index - pairs) / PLACES), (int)((index - pairs) % PLACES), test);
    }
}

/* -- Into registers and shared memory ------------------------------------------------------------------------------ */

// Factors of a product; 0 where the format has none for it.
static void factors(const struct core *core, double factor, int exponent, uint32_t *a, uint32_t *b) {
    double left = factor == 2.25 || factor == -2.25 ? 1.5 : 1;
    int half = exponent >= 0 ? (exponent + 1) / 2 : exponent / 2;
    uint32_t first, second;
    *a = *b = 0;
    if (factor == 0) return;
    for (int shift = -4; shift <= 4; shift++)
        if (truth_encode(core->format, ldexp(factor / left, half + shift), &first) &&
            truth_encode(core->format, ldexp(left, exponent - half - shift), &second)) {
            *a = first;
            *b = second;
            return;
        }
}

static void put(struct truth_case *c, unsigned field, unsigned reg, unsigned lane, unsigned byte, uint32_t bits,
                unsigned bytes) {
    memcpy(truth_case_input(c, field, reg, lane) + byte, &bits, bytes);
}

// Row 0 of A lies in lanes 0-3, registers 0 and 2; column 0 of B in lanes 0-3; their result in lane 0, register 0.
static void fill_test(struct truth_case *c, const struct core *core, const struct test *test, unsigned first) {
    unsigned bytes = core->format->bytes, per = 4 / bytes, unit = 4 * per;
    for (unsigned k = 0; k < core->k; k++) {
        uint32_t a, b;
        factors(core, test->factor[k], test->exponent[k], &a, &b);
        put(c, 0, k / unit * 2, first + k % unit / per, k % per * bytes, a, bytes);
        if (core->opcode != NULL) {
            put(c, 1, k / unit, first + k % unit / per, k % per * bytes, b, bytes);
        } else {
            unsigned at = k * bytes / 16 * 128 + k * bytes % 16; /* core matrices of 8 rows of 16 bytes */
            put(c, 2, 0, first + at / 4, at % 4, b, bytes);
        }
    }
    uint32_t addend;
    truth_encode(core->to_f16 ? &truth_f16 : &truth_f32, test->addend, &addend);
    put(c, core->opcode != NULL ? 2 : 1, 0, first, 0, addend, core->to_f16 ? 2 : 4);
}

static void fill(struct truth_case *c, const void *data) {
    const struct core *core = data;
    unsigned lanes = core->opcode != NULL ? 32 : 128;
    for (unsigned t = 0; t < test_count(core); t++) {
        struct test test;
        make_test(core, t, &test);
        fill_test(c, core, &test, t * lanes);
    }
}

/* -- Cases --------------------------------------------------------------------------------------------------------- */

static struct truth_case *make_mma(const struct core *core) {
    char text[512], types[128];
    const char *d = core->to_f16 ? "cf16*2" : "cf32*4";
    snprintf(text, sizeof text, "structure.%s: %s {$d0%s}, $a, $b, $c;", core->name, core->opcode,
             core->to_f16 ? ", %r1" : ", %r1, %r2, %r3");
    snprintf(types, sizeof types, "%.4s=raw*4,raw*2,%s@%u/128", d, d, test_count(core) * 32);
    return truth_case_make("structure", text, types, "exact", fill, core);
}

static struct truth_case *make_wgmma(const struct core *core) {
    char text[1024], types[128];
    const char *d = core->to_f16 ? "cf16*2" : "cf32*4", *registers = core->to_f16 ? "$c0, $c1" : "$c0, $c1, $c2, $c3";
    snprintf(text, sizeof text,
             "structure.wgmma.%s: mov.u32 %%r3, smem; shr.u32 %%r3, %%r3, 4; cvt.u64.u32 %%u2, %%r3; or.b64 %%u2, "
             "%%u2, 0x%llx; setp.ne.u32 %%p0, %%thr, 1024; wgmma.fence.sync.aligned; "
             "wgmma.mma_async.sync.aligned.m64n8%s {%s}, $a, %%u2, %%p0, 1, 1%s; wgmma.commit_group.sync.aligned; "
             "wgmma.wait_group.sync.aligned 0; mov.b32 $d0, $c0;",
             core->name, (unsigned long long)(UINT64_C(256) >> 4 << 32 | 128 >> 4 << 16), core->name, registers,
             core->format->bytes == 2 ? ", 0" : "");
    for (char *at = text; (at = strstr(at, "$c")) != NULL;) at[1] = 'b'; /* the addend is the second input here */
    snprintf(types, sizeof types, "%.4s=raw*4,%s,tile:raw*1@%u/128", d, d, test_count(core) * 128);
    return truth_case_make("structure", text, types, "exact", fill, core);
}

bool truth_cases_structure(truth_visit *visit, void *user) {
    for (unsigned k = 0; k < CORES; k++) {
        struct truth_case *c = cores[k].opcode != NULL ? make_mma(&cores[k]) : make_wgmma(&cores[k]);
        if (c == NULL || !visit(user, c)) return false;
    }
    return true;
}

/* -- What the answers say ------------------------------------------------------------------------------------------ */

static double answer(const struct truth_case *c, const struct core *core, const uint8_t *output, unsigned test) {
    uint32_t bits = 0;
    size_t lane = (size_t)test * (core->opcode != NULL ? 32 : 128);
    memcpy(&bits, output + lane * 4, core->to_f16 ? 2 : 4);
    return truth_decode(core->to_f16 ? VALUE_F16 : VALUE_F32, bits) + 0 * (double)c->lanes;
}

static double sweep_answer(const struct truth_case *c, const struct core *core, const uint8_t *output, enum sweep sweep,
                           int j) {
    return answer(c, core, output, pair_count(core) + (unsigned)sweep * PLACES + (unsigned)j);
}

static void report_pairs(const struct truth_case *c, const struct core *core, const uint8_t *output, FILE *out) {
    for (unsigned t = 0, p, q; t < pair_count(core); t++) {
        pair_of(core, t, &p, &q);
        double survivors = answer(c, core, output, t) / ldexp(1, core->small);
        fprintf(out, "%s%g", q == p + 1 ? "    " : " ", survivors);
        if (q == core->k) fprintf(out, "\n");
    }
}

// Runs of equal answers over j, in units of s.
static void report_sweep(const struct truth_case *c, const struct core *core, const uint8_t *output, enum sweep sweep,
                         FILE *out) {
    double last = NAN;
    bool total = sweep >= ROUND; /* the large term is still in */
    double large = sweep == ROUND_NEGATIVE ? -1 : sweep == CARRY ? 1.75 : 1;
    fprintf(out, "    %-45s", sweep_texts[sweep]);
    for (int j = 0; j < PLACES; j++) {
        double value = sweep_answer(c, core, output, sweep, j) - (total ? ldexp(large, core->large) : 0);
        value /= ldexp(1, core->large - j - (sweep == KEEP_WIDE));
        if (value != last) fprintf(out, " j=%d:%g", j, value);
        last = value;
    }
    fprintf(out, "\n");
}

static int last_kept(const struct truth_case *c, const struct core *core, const uint8_t *output, enum sweep sweep,
                     bool total) {
    int last = -1;
    for (int j = 0; j < PLACES; j++)
        if (sweep_answer(c, core, output, sweep, j) != (total ? ldexp(1, core->large) : 0)) last = j;
    return last;
}

void truth_structure_report(const struct truth_case *c, const uint8_t *output, const char *who, FILE *out) {
    const struct core *core = NULL;
    for (unsigned k = 0; k < CORES; k++) {
        size_t bytes = strlen(cores[k].name), length = strlen(c->name);
        if (length > bytes && strcmp(c->name + length - bytes, cores[k].name) == 0) core = &cores[k];
    }
    if (core == NULL) return;
    double first = answer(c, core, output, 0) / ldexp(1, core->small);
    int kept = last_kept(c, core, output, KEEP, false);
    double half = kept >= 0 ? sweep_answer(c, core, output, KEEP_HALF, kept) / ldexp(1, core->large - kept) : NAN;
    double minus = kept >= 0 ? sweep_answer(c, core, output, KEEP_MINUS, kept) / ldexp(1, core->large - kept) : NAN;
    fprintf(out, "%s [%s]: chunk %g, bits %d, 1.5 at the last place becomes %g, -1.5 %g, mantissa %d, addend kept %d\n",
            c->name, who, (double)core->k - first, kept, half, minus, last_kept(c, core, output, ROUND, true),
            last_kept(c, core, output, ADDEND_SMALL, false));
    fprintf(out, "  survivors beside large terms at p (lines) and q (columns p+1 .. k, the last the addend):\n");
    report_pairs(c, core, output, out);
    fprintf(out, "  sweeps, in units of 2^(L-j):\n");
    for (unsigned s = 0; s < SWEEP_COUNT; s++) report_sweep(c, core, output, (enum sweep)s, out);
}
