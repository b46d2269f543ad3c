// bench_problem: attention problems to measure, from problem files (tuning/problems/*.txt: a line "d n batch heads
// mask" each, text behind # a comment) or from words of the command line. In: text. Out: a list without doubles, in the
// order given. Errors go to a diag with file:line:col. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_PROBLEM_H
#define SAGE_GEN_BENCH_PROBLEM_H

#include "diag.h"
#include "embedded.h"

// X(member, largest), in the order of a problem file's columns.
#define BENCH_PROBLEM_NUMBERS(X) X(d, 256) X(n, 16777216) X(batch, 65536) X(heads, 65536)

// Self-attention: as many keys as queries, as many heads of K and V as of Q.
struct bench_problem {
    int d, n, batch, heads;
    bool causal;
};

struct bench_problems {
    struct bench_problem *item;
    int count, capacity;
};

// False: it is there already.
bool bench_problems_add(struct bench_problems *list, const struct bench_problem *problem);
// Reads one file's text, which is borrowed and must outlive d. False: errors are in d; a file without problems is one.
bool bench_problems_parse(struct bench_problems *list, const char *file, const char *text, struct diag *d);
void bench_problems_free(struct bench_problems *list);

// Each value within its range (d: a multiple of 8); NULL, or what is wrong, as a sentence.
const char *bench_problem_fault(const struct bench_problem *problem);
bool bench_problem_equal(const struct bench_problem *a, const struct bench_problem *b);
// **Units** operations of the two products: 4 B H N^2 d, half of it for causal.
double bench_problem_work(const struct bench_problem *problem);

// A shipped problem file by name ("bench", "quick", "tune"); NULL: there is none.
const struct embedded_file *bench_problems_shipped(const char *name);
void bench_problems_names(struct buf *out); // "bench, quick, tune"

#endif
