// suggest: finds the known word nearest to a mistyped one, for "did you mean 'granularity'?".
// In: the word, then the known words one by one. Out: the nearest of them, if one is near enough to be worth saying.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SUGGEST_H
#define SAGE_GEN_SUGGEST_H

#include <stddef.h>

// Start with {.word = ...}; best stays NULL while no offered word was near. Earlier offers win ties.
struct suggest {
    const char *word;
    const char *best; /* borrowed from the offers; not NUL-terminated there */
    size_t best_len;  /* bytes */
    int distance;     /* edits from word to best */
};

void suggest_offer(struct suggest *s, const char *known, size_t len);

#endif
