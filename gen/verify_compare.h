// verify_compare: a call's output against float64 at sampled rows: its own algorithm on the GPU's own operands (gate
// 2), and any other reference. In: a call that kept its workspace. Out: errors, rounding to the io type accounted for.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_COMPARE_H
#define SAGE_GEN_VERIFY_COMPARE_H

#include "reference/algorithm.h"
#include "reference/attention.h"
#include "reference/random.h"
#include "verify.h"

// Outputs at the samples: o [count][dim_v], lse [count].
struct verify_rows {
    const struct attention_sample *sample;
    size_t count;
    int dim_v;
    double *o, *lse;
};

struct verify_rows verify_rows_make(const struct attention_sample *sample, size_t count, int dim_v);
void verify_rows_free(struct verify_rows *rows);
void verify_rows_gather(struct verify_rows *rows, const struct verify_call *call); // the GPU's
// The unit's own algorithm in float64 on the operands that lie in the call's workspace. The problem is the call's, all
// batches as heads. false: recorded under `check`.
bool verify_rows_quantised(struct verify_session *s, const struct verify_call *call, const struct attention_problem *p,
                           const char *check, struct verify_rows *rows);
enum number_format verify_io_format(const struct verify_session *s);
// |got - reference| / |reference| over all rows.
double verify_error(const struct verify_rows *got, const struct verify_rows *reference);
// As verify_error, with the reference rounded to the io type first: what an otherwise perfect kernel gives.
double verify_error_rounded(const struct verify_rows *reference, const struct verify_rows *of, enum number_format io);
// Gate 2: O and LSE of the call against rows_quantised, and rows without a key. Records "gate2<suffix>", "lse<suffix>".
void verify_gate2(struct verify_session *s, const struct verify_call *call, const struct attention_problem *p,
                  const struct attention_sample *sample, size_t count, const char *suffix);
// The error of `got` over that of `other`, both rounded to the io type, against `reference`, all of the same samples;
// and the ratio's standard error, by leaving out each of 16 groups of samples (jackknife). Errors of heavy-tailed
// inputs sit in a few rows, so that the ratio of two sound kernels scatters by several per cent.
enum { VERIFY_RATIO_GROUPS = 16 };
struct verify_ratio {
    double error, other, ratio, standard_error;
};
struct verify_ratio verify_ratio(const struct verify_rows *got, const struct verify_rows *other,
                                 const struct verify_rows *reference, enum number_format io);

double verify_gate2_bound(const struct verify_unit *unit);

// The published algorithm that the unit implements.
struct verify_published {
    struct algorithm algorithm;
    char name[40]; /* "sage2 k128": the preset, and the keys of a scale group */
};

bool verify_published(const struct verify_unit *unit, struct verify_published *out);
// The unit's own algorithm, as far as gate 1 compares it with another. false: it does not.
bool verify_own(const struct verify_unit *unit, struct verify_published *out);
// The shipped FP4 specs promise less error than SageAttention3, whatever they say of recipes; their safe forms do not.
bool verify_unit_beats_sage3(const struct verify_unit *unit);
// What gate 1 compares a unit with on `keys` keys of a distribution, and the most that the ratio of errors may be.
struct verify_rival {
    struct verify_published published;
    double bound;
};
bool verify_rival(const struct verify_unit *unit, enum random_kind kind, int64_t keys, struct verify_rival *out);
// Against exact attention: a kernel may be off by 2.5 times the published algorithm, where there are too few rows for a
// ratio, and the more the fewer rows see a key: the error of a handful is luck. Rows from row_limit on are left out.
void verify_exact(struct verify_session *s, const struct verify_call *call, const struct attention_problem *p,
                  size_t row_limit, const char *check);
double verify_loose_bound(double published_error, const struct verify_rows *exact);

#endif
