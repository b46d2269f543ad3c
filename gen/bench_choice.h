// bench_choice: which problems a command shall measure: --problems, or --d, --n, --batch, --heads, --mask. In: words of
// the command line. Out: a list of problems. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_CHOICE_H
#define SAGE_GEN_BENCH_CHOICE_H

#include "bench_problem.h"
#include "cmd.h"

enum { BENCH_LIST_MOST = 32 };

struct bench_numbers {
    int item[BENCH_LIST_MOST], count;
};

// X(symbol, option, name of the value or NULL, help); in a command's option table by BENCH_CHOICE_ROW.
#define BENCH_CHOICE_OPTIONS(X)                                                                                        \
    X(D, "d", "LIST", "problems by hand: head dims (default: 128)")                                                    \
    X(N, "n", "LIST", "tokens (default: 4096)")                                                                        \
    X(BATCH, "batch", "LIST", "batches (default: 4)")                                                                  \
    X(HEADS, "heads", "LIST", "heads (default: 32)")                                                                   \
    X(MASK, "mask", "LIST", "full, causal (default: full)")                                                            \
    X(CAUSAL, "causal", NULL, "the same as --mask causal")

#define BENCH_CHOICE_SYMBOL(symbol, option, value, help) OPT_##symbol,
#define BENCH_CHOICE_ROW(symbol, option, value, help)    [OPT_##symbol] = {option, 0, value, help},
#define BENCH_CHOICE_CASE(symbol, option, value, help)   case OPT_##symbol:

struct bench_choice {
    const char *file; /* --problems: a path or a shipped name; NULL: the command's default */
    struct bench_numbers d, n, batch, heads;
    bool full, causal;
    struct bench_problems problems;
    struct buf text; /* of the file */
};

// Takes the option of that name ("d"). false: an error was printed.
bool bench_choice_take(struct bench_choice *choice, const char *option, const char *value);
// Whether problems were given by hand.
bool bench_choice_by_hand(const struct bench_choice *choice);
// Fills problems. usual: the shipped file where nothing was chosen. false: errors were printed, or are in d.
bool bench_choice_make(struct bench_choice *choice, const char *usual, struct diag *d);
void bench_choice_free(struct bench_choice *choice);

// Sets the flag of each word of a list with commas. false: an error was printed.
bool bench_parse_words(const char *option, const char *text, const char *(*known)(int), int count, bool *out);

#endif
