// known: cases in which the machine differs from the H100 and may; each with how far. They are printed as "known" and
// counted on their own; each has a check of its own, which both outputs must pass. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <string.h>

/* -- red.inc: any order of the threads ----------------------------------------------------------------------------- */

enum { WORDS = 8, ORDERS = 100000 };

static uint32_t input(const struct truth_case *c, unsigned field, unsigned lane) {
    uint32_t value;
    memcpy(&value, c->input + c->inputs[field].offset + lane * sizeof value, sizeof value);
    return value;
}

// The word after red.inc with every bound, in an order drawn by *random.
static uint32_t increment(uint32_t word, uint32_t *bound, unsigned count, uint64_t *random) {
    for (unsigned k = count; k > 0; k--) {
        *random = truth_mix(*random);
        unsigned chosen = (unsigned)(*random % k);
        uint32_t of = bound[chosen];
        bound[chosen] = bound[k - 1];
        bound[k - 1] = of;
        word = word >= of ? 0 : word + 1;
    }
    return word;
}

// Some order of the threads of word `word` in the block of lane `first` gives the result.
static bool is_reachable(const struct truth_case *c, unsigned first, unsigned word, uint32_t result) {
    uint32_t bound[1024 / WORDS];
    uint64_t random = c->key;
    for (unsigned k = 0; k < c->block / WORDS; k++) bound[k] = input(c, 0, first + k * WORDS + word);
    for (unsigned n = 0; n < ORDERS; n++)
        if (increment(input(c, 1, first + word), bound, c->block / WORDS, &random) == result) return true;
    return false;
}

static const char *check_increments(const struct truth_case *c, const uint8_t *output) {
    const uint8_t *out = output + c->outputs[0].offset;
    for (unsigned lane = 0; lane < c->lanes; lane++) {
        unsigned first = lane / c->block * c->block, word = lane % WORDS;
        if (memcmp(out + lane * 4, out + (first + word) * 4, 4) != 0) return "threads read one word differently";
        uint32_t result;
        memcpy(&result, out + lane * 4, sizeof result);
        if (lane - first < WORDS && !is_reachable(c, first, word, result)) return "no order of the threads gives this";
    }
    return NULL;
}

/* -- Table --------------------------------------------------------------------------------------------------------- */

static const struct truth_known known[] = {
    {"red.inc.u32", "448 of 512 elements: 32 threads wrap a word at bounds of their own, and their order is open",
     check_increments}};

const struct truth_known *truth_known_find(const char *name) {
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
        if (strcmp(known[k].name, name) == 0) return &known[k];
    return NULL;
}
