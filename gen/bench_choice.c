// bench_choice: see bench_choice.h. SPDX-License-Identifier: Apache-2.0
#include "bench_choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Lists ---- */

static bool next_word(const char **at, struct buf *word) {
    if (!*at) return false;
    const size_t len = strcspn(*at, ",");
    buf_clear(word);
    buf_append(word, *at, len);
    *at = (*at)[len] ? *at + len + 1 : NULL;
    return true;
}

static bool parse_numbers(const char *option, const char *text, int most, struct bench_numbers *out) {
    struct buf word = {0};
    bool ok = true;
    out->count = 0;
    while (ok && next_word(&text, &word)) {
        ok = out->count < BENCH_LIST_MOST && cmd_parse_count(option, word.data, most, &out->item[out->count]);
        if (out->count == BENCH_LIST_MOST) cmd_bad_input("--%s: at most %d", option, BENCH_LIST_MOST);
        out->count += ok;
    }
    buf_free(&word);
    return ok;
}

bool bench_parse_words(const char *option, const char *text, const char *(*known)(int), int count, bool *out) {
    struct buf word = {0};
    bool ok = true;
    while (ok && next_word(&text, &word)) {
        int found = 0;
        while (found < count && strcmp(known(found), word.data) != 0) found++;
        ok = found < count;
        if (ok) {
            out[found] = true;
            continue;
        }
        struct buf all = {0};
        for (int i = 0; i < count; i++) buf_printf(&all, "%s%s", i ? ", " : "", known(i));
        char *near = cmd_suggestion(word.data, known, count);
        cmd_bad_input("--%s: '%s' is none of %s%s", option, word.data, all.data, near);
        free(near);
        buf_free(&all);
    }
    buf_free(&word);
    return ok;
}

static const char *mask_word(int index) {
    return index == 0 ? "full" : "causal";
}

static bool take_mask(struct bench_choice *c, const char *value) {
    bool found[2] = {false, false};
    const bool ok = bench_parse_words("mask", value, mask_word, 2, found);
    c->full |= found[0], c->causal |= found[1];
    return ok;
}

/* -- Words ---- */

bool bench_choice_take(struct bench_choice *c, const char *option, const char *value) {
    const struct {
        const char *name;
        int most;
        struct bench_numbers *out;
    } numbers[] = {
#define NUMBER_ROW(member, largest) {#member, largest, &c->member},
        BENCH_PROBLEM_NUMBERS(NUMBER_ROW)
#undef NUMBER_ROW
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(option, numbers[i].name) == 0) return parse_numbers(option, value, numbers[i].most, numbers[i].out);
    return take_mask(c, strcmp(option, "causal") == 0 ? "causal" : value);
}

bool bench_choice_by_hand(const struct bench_choice *c) {
    return c->d.count || c->n.count || c->batch.count || c->heads.count || c->full || c->causal;
}

/* -- Problems ---- */

static bool add_by_hand(struct bench_choice *c) {
    static const struct bench_numbers usual_d = {{128}, 1}, usual_n = {{4096}, 1}, usual_batch = {{4}, 1},
                                      usual_heads = {{32}, 1};
    const struct bench_numbers *d = c->d.count ? &c->d : &usual_d, *n = c->n.count ? &c->n : &usual_n,
                               *batch = c->batch.count ? &c->batch : &usual_batch,
                               *heads = c->heads.count ? &c->heads : &usual_heads;
    const int all = 2 * d->count * n->count * batch->count * heads->count;
    for (int i = 0; i < all; i++) {
        int k = i / 2;
        struct bench_problem p = {.causal = i % 2};
        p.heads = heads->item[k % heads->count], k /= heads->count;
        p.batch = batch->item[k % batch->count], k /= batch->count;
        p.n = n->item[k % n->count], k /= n->count;
        p.d = d->item[k];
        if (p.causal ? !c->causal : c->causal && !c->full) continue;
        const char *fault = bench_problem_fault(&p);
        if (fault) cmd_bad_input("%s, not %d", fault, p.d);
        if (fault) return false;
        bench_problems_add(&c->problems, &p);
    }
    return true;
}

static bool no_file(const char *name) {
    struct buf shipped = {0};
    bench_problems_names(&shipped);
    cmd_bad_input("--problems: no file and no shipped problems are named '%s'; shipped are %s", name, shipped.data);
    buf_free(&shipped);
    return false;
}

static bool read_file(struct bench_choice *c, const char *name, struct diag *d) {
    FILE *stream = fopen(name, "rb");
    char block[4096];
    if (!stream) return no_file(name);
    buf_puts(&c->text, "");
    for (size_t n; (n = fread(block, 1, sizeof block, stream)) > 0;) buf_append(&c->text, block, n);
    fclose(stream);
    return bench_problems_parse(&c->problems, name, c->text.data, d);
}

bool bench_choice_make(struct bench_choice *c, const char *usual, struct diag *d) {
    const char *name = c->file ? c->file : usual;
    if (bench_choice_by_hand(c)) return add_by_hand(c);
    const struct embedded_file *file = access(name, F_OK) == 0 ? NULL : bench_problems_shipped(name);
    return file ? bench_problems_parse(&c->problems, file->name, file->data, d) : read_file(c, name, d);
}

void bench_choice_free(struct bench_choice *c) {
    bench_problems_free(&c->problems);
    buf_free(&c->text);
}
