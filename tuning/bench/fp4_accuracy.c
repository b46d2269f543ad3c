// fp4_accuracy: the error of FP4 attention, recipe by recipe, against exact attention in float64: which step of this
// project's recipe gains what over SageAttention3's. In: a record, and optionally one problem. Out: the record (JSON)
// with the problems' figures anew. Evaluates the float64 models of runtime/reference; runs no kernel and needs no GPU.
// usage: fp4_accuracy RECORD.json [HEAD_DIM TOKENS]      without a problem: all of them, minutes each
// SPDX-License-Identifier: Apache-2.0
#include "algorithm.h"
#include "attention.h"
#include "metrics.h"
#include "random.h"
#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 512, SEED_LIMIT = 16, THREADS = 2 };

/* -- Recipes ---- */

enum recipe_index {
    SAGE3,
    ROW_SUM,
    ROTATION,
    SEARCH,
    GROUP_64,
    STEPS,
    OURS,
    GROUP_32,
    GROUP_16,
    K_GROUP_64,
    FOUR_DIVISORS,
    NO_CLIPPING,
    EXACT_P,
    FP8_QK,
    FP8_PV,
    MXFP4,
    RECIPE_COUNT
};

// Each of the first ones is the one before it and one step more.
static const char *const recipe_text[RECIPE_COUNT] = {
    [SAGE3] = "SageAttention3",
    [ROW_SUM] = "+ row sum of the quantised P",
    [ROTATION] = "+ rotation of Q and K, a scale per head",
    [SEARCH] = "+ search of block scales",
    [GROUP_64] = "+ Q mean per 64 rows",
    [STEPS] = "+ maximum lazy by 2^4",
    [OURS] = "+ scales of P linear in log2 (shipped)",
    [GROUP_32] = "shipped, Q mean per 32 rows",
    [GROUP_16] = "shipped, Q mean per 16 rows",
    [K_GROUP_64] = "shipped, K mean per 64 keys too",
    [FOUR_DIVISORS] = "shipped, search among amax / {6.5, 6, 4.5, 4}",
    [NO_CLIPPING] = "shipped, search among amax / {6, 5.5, 5, 4.5, 4, 3.5}",
    [EXACT_P] = "shipped, P not rounded",
    [FP8_QK] = "fp8 Q and K, fp4 P and V",
    [FP8_PV] = "fp4 Q and K, fp8 P and V",
    [MXFP4] = "mxfp4 throughout",
};

static void preset(const char *name, struct algorithm *out) {
    const bool known = algorithm_preset(name, out);
    assert(known);
    (void)known;
}

static void set_search(struct algorithm *a, int count, const float *divisors) {
    a->divisor_count = count;
    memcpy(a->divisors, divisors, (size_t)count * sizeof *divisors);
}

// Steps from SageAttention3's recipe to the shipped one.
static struct algorithm step_recipe(enum recipe_index recipe) {
    struct algorithm a, ours;
    preset("sage3", &a);
    preset("fp4", &ours);
    if (recipe >= ROW_SUM) a.p.quantised_sum = true;
    if (recipe >= ROTATION) a.rotate = a.second_level = true;
    if (recipe >= SEARCH) set_search(&a, ours.divisor_count, ours.divisors);
    if (recipe >= GROUP_64) a.smooth_q_group = 64;
    if (recipe >= STEPS) {
        a.p.tile_k = ours.p.tile_k;
        a.p.lazy_log2 = ours.p.lazy_log2;
    }
    return recipe >= OURS ? ours : a;
}

static struct algorithm recipe_of(enum recipe_index recipe) {
    struct algorithm a = step_recipe(recipe);
    if (recipe == GROUP_32) a.smooth_q_group = 32;
    if (recipe == GROUP_16) a.smooth_q_group = 16;
    if (recipe == K_GROUP_64) a.smooth_k_group = 64;
    if (recipe == FOUR_DIVISORS) set_search(&a, 4, (const float[]){6.5f, 6, 4.5f, 4});
    if (recipe == NO_CLIPPING) set_search(&a, 6, (const float[]){6, 5.5f, 5, 4.5f, 4, 3.5f});
    if (recipe == EXACT_P) a.p.p = P_EXACT;
    if (recipe == FP8_QK) {
        a.qk = OPERAND_FP8;
        a.granularity = PER_TOKEN;
        a.smooth_q_group = 0;
    }
    if (recipe == FP8_PV) {
        a.v = OPERAND_FP8;
        a.p = (struct attend_rule){.p = P_E4M3, .tile_k = 64, .quantised_sum = true};
    }
    if (recipe == MXFP4) {
        a = step_recipe(SAGE3);
        a.qk = a.v = OPERAND_MXFP4;
        a.p.p = P_MXFP4;
    }
    return a;
}

/* -- Problems ---- */

// **Layout** `heads` heads of K and V as of Q; the last QUERIES of `tokens` queries, of which `rows` are looked at.
static const struct problem {
    int dim, tokens, seeds, heads, rows;
} problems[] = {
    {128, 4096, 12, 4, 32},
    {64, 4096, 12, 4, 32},
    {128, 32768, 6, 1, 32},
    {128, 131072, 4, 1, 32},
};
enum { PROBLEMS = sizeof problems / sizeof problems[0] };

static const char *const kind_text[] = {
    [RANDOM_NORMAL] = "normal", [RANDOM_OUTLIER] = "outlier", [RANDOM_RUNS] = "runs"};

struct inputs {
    struct attention_problem p;
    float *q, *k, *v;
    struct attention_sample *sample;
    size_t count;
    double *exact, *exact_lse, *o, *lse;
};

// At least one element, never NULL: what this program needs and does not get ends it.
static void *room(size_t count, size_t bytes) {
    void *memory = calloc(count + 1, bytes);
    if (memory) return memory;
    fputs("fp4_accuracy: out of memory\n", stderr);
    exit(1);
}

static void inputs_make(struct inputs *in, const struct problem *problem, enum random_kind kind, uint64_t seed) {
    const size_t queries = problem->tokens < QUERIES ? (size_t)problem->tokens : QUERIES, dim = (size_t)problem->dim;
    const size_t heads = (size_t)problem->heads, tokens = (size_t)problem->tokens;
    const struct random_shape shape = {problem->heads, problem->heads, queries, tokens, problem->dim, problem->dim};
    in->count = heads * (size_t)problem->rows;
    in->q = room(heads * queries * dim, sizeof *in->q);
    in->k = room(heads * tokens * dim, sizeof *in->k);
    in->v = room(heads * tokens * dim, sizeof *in->v);
    in->sample = room(in->count, sizeof *in->sample);
    in->exact = room(in->count * dim, sizeof *in->exact);
    in->o = room(in->count * dim, sizeof *in->o);
    in->exact_lse = room(in->count, sizeof *in->exact_lse);
    in->lse = room(in->count, sizeof *in->lse);
    random_attention(kind, &shape, FORMAT_BF16, seed, THREADS, in->q, in->k, in->v);
    in->p = (struct attention_problem){.q = in->q,
                                       .k = in->k,
                                       .v = in->v,
                                       .heads_q = problem->heads,
                                       .heads_kv = problem->heads,
                                       .seq_q = queries,
                                       .seq_k = tokens,
                                       .dim_qk = problem->dim,
                                       .dim_v = problem->dim};
    attention_spread(&in->p, problem->heads, (size_t)problem->rows, in->sample);
}

static void inputs_free(struct inputs *in) {
    void *const all[] = {in->q, in->k, in->v, in->sample, in->exact, in->exact_lse, in->o, in->lse};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* -- Measuring ---- */

// Of one seed; `lse` in nats.
struct error {
    double o, lse_rms, lse_mean;
};

static bool measure(struct inputs *in, enum recipe_index recipe, struct error *out) {
    const struct algorithm a = recipe_of(recipe);
    char why[160];
    if (!algorithm_attend(&a, &in->p, in->sample, in->count, THREADS, in->o, in->lse, why, sizeof why)) {
        fprintf(stderr, "fp4_accuracy: %s: %s\n", recipe_text[recipe], why);
        return false;
    }
    *out = (struct error){.o = metrics_compare(in->o, in->exact, in->count * (size_t)in->p.dim_v).rel_l2};
    for (size_t i = 0; i < in->count; i++) {
        const double d = in->lse[i] - in->exact_lse[i];
        out->lse_mean += d / (double)in->count;
        out->lse_rms += d * d / (double)in->count;
    }
    out->lse_rms = sqrt(out->lse_rms);
    return true;
}

static bool measure_seed(const struct problem *problem, enum random_kind kind, uint64_t seed,
                         struct error error[RECIPE_COUNT]) {
    struct inputs in;
    char why[160];
    inputs_make(&in, problem, kind, seed);
    bool ok = attention_exact(&in.p, in.sample, in.count, THREADS, in.exact, in.exact_lse, why, sizeof why);
    if (!ok) fprintf(stderr, "fp4_accuracy: exact attention: %s\n", why);
    for (int i = 0; ok && i < RECIPE_COUNT; i++) ok = measure(&in, (enum recipe_index)i, &error[i]);
    inputs_free(&in);
    return ok;
}

/* -- Record ---- */

struct spread {
    double mean, deviation;
};

static struct spread spread_of(const double *x, int n) {
    struct spread s = {0, 0};
    for (int i = 0; i < n; i++) s.mean += x[i] / n;
    for (int i = 0; i < n; i++) s.deviation += (x[i] - s.mean) * (x[i] - s.mean) / (n > 1 ? n - 1 : 1);
    s.deviation = sqrt(s.deviation);
    return s;
}

static json_t *row_of(const struct problem *problem, enum random_kind kind, enum recipe_index recipe,
                      struct error error[SEED_LIMIT][RECIPE_COUNT]) {
    double o[SEED_LIMIT], ratio[SEED_LIMIT], rms[SEED_LIMIT], mean[SEED_LIMIT];
    for (int s = 0; s < problem->seeds; s++) {
        o[s] = error[s][recipe].o;
        ratio[s] = o[s] / error[s][SAGE3].o;
        rms[s] = error[s][recipe].lse_rms;
        mean[s] = error[s][recipe].lse_mean;
    }
    const struct spread e = spread_of(o, problem->seeds), r = spread_of(ratio, problem->seeds);
    return json_pack("{s:i, s:i, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "d", problem->dim, "n", problem->tokens,
                     "kind", kind_text[kind], "recipe", recipe_text[recipe], "error", e.mean, "error_sd", e.deviation,
                     "ratio", r.mean, "ratio_sd", r.deviation, "lse_rms", spread_of(rms, problem->seeds).mean,
                     "lse_mean", spread_of(mean, problem->seeds).mean);
}

static bool measure_problem(const struct problem *problem, json_t *rows) {
    static struct error error[SEED_LIMIT][RECIPE_COUNT];
    assert(problem->seeds <= SEED_LIMIT);
    for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS; kind++) {
        for (int s = 0; s < problem->seeds; s++) {
            if (!measure_seed(problem, (enum random_kind)kind, 1 + (uint64_t)s, error[s])) return false;
            fprintf(stderr, "d %d, %d tokens, %s, seed %d: %.4f of SageAttention3's error\n", problem->dim,
                    problem->tokens, kind_text[kind], s + 1, error[s][OURS].o / error[s][SAGE3].o);
        }
        for (int i = 0; i < RECIPE_COUNT; i++)
            json_array_append_new(rows, row_of(problem, (enum random_kind)kind, (enum recipe_index)i, error));
    }
    return true;
}

static bool same_problem(const json_t *row, const struct problem *problem) {
    return json_integer_value(json_object_get(row, "d")) == problem->dim &&
           json_integer_value(json_object_get(row, "n")) == problem->tokens;
}

static const json_t *rows_of(const json_t *record) {
    return json_object_get(record, "rows");
}

// The rows of `problem` that the record has.
static void keep_rows(const json_t *record, const struct problem *problem, json_t *rows) {
    for (size_t i = 0; i < json_array_size(rows_of(record)); i++) {
        json_t *row = json_array_get(rows_of(record), i);
        if (same_problem(row, problem)) json_array_append(rows, row);
    }
}

static json_t *problem_facts(void) {
    json_t *facts = json_array();
    for (int i = 0; i < PROBLEMS; i++)
        json_array_append_new(facts, json_pack("{s:i, s:i, s:i, s:i, s:i}", "d", problems[i].dim, "n",
                                               problems[i].tokens, "seeds", problems[i].seeds, "heads",
                                               problems[i].heads, "rows", problems[i].rows));
    return facts;
}

static bool write_record(const char *path, json_t *rows) {
    json_t *record = json_pack("{s:s, s:o, s:o}", "command", "fp4_accuracy tuning/bench/fp4_accuracy.json", "problems",
                               problem_facts(), "rows", rows);
    const bool ok = record && json_dump_file(record, path, JSON_INDENT(1) | JSON_REAL_PRECISION(4)) == 0;
    if (!ok) fprintf(stderr, "fp4_accuracy: cannot write %s\n", path);
    json_decref(record);
    return ok;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 4) {
        fputs("usage: fp4_accuracy RECORD.json [HEAD_DIM TOKENS]\n", stderr);
        return 2;
    }
    json_t *old = json_load_file(argv[1], 0, NULL), *rows = json_array();
    bool ok = true, found = argc == 2;
    for (int i = 0; i < PROBLEMS && ok; i++) {
        const struct problem *p = &problems[i];
        const bool wanted = argc == 2 || (atoi(argv[2]) == p->dim && atoi(argv[3]) == p->tokens);
        found |= wanted;
        if (wanted)
            ok = measure_problem(p, rows);
        else
            keep_rows(old, p, rows);
    }
    if (!found) fprintf(stderr, "fp4_accuracy: no problem of head dim %s and %s tokens\n", argv[2], argv[3]);
    json_decref(old);
    if (!ok || !found) {
        json_decref(rows);
        return 1;
    }
    return write_record(argv[1], rows) ? 0 : 1;
}
