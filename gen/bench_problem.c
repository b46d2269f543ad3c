// bench_problem: see bench_problem.h. SPDX-License-Identifier: Apache-2.0
#include "bench_problem.h"

#include "text_lines.h"
#include <stdio.h>
#include <stdlib.h>

static const char folder[] = "tuning/problems/", ending[] = ".txt", blanks[] = " \t\r";

enum { COLUMNS = 5 };

/* -- Lists ---- */

bool bench_problem_equal(const struct bench_problem *a, const struct bench_problem *b) {
    return a->d == b->d && a->n == b->n && a->batch == b->batch && a->heads == b->heads && a->causal == b->causal;
}

bool bench_problems_add(struct bench_problems *list, const struct bench_problem *problem) {
    for (int i = 0; i < list->count; i++)
        if (bench_problem_equal(&list->item[i], problem)) return false;
    list->item = xgrown(list->item, list->count, &list->capacity, sizeof *list->item);
    list->item[list->count++] = *problem;
    return true;
}

void bench_problems_free(struct bench_problems *list) {
    free(list->item);
    *list = (struct bench_problems){0};
}

/* -- Problems ---- */

const char *bench_problem_fault(const struct bench_problem *problem) {
#define CHECK_NUMBER(member, largest)                                                                                  \
    if (problem->member < 1 || problem->member > (largest)) return #member " must be a whole number of 1..." #largest;
    BENCH_PROBLEM_NUMBERS(CHECK_NUMBER)
#undef CHECK_NUMBER
    return problem->d % 8 == 0 ? NULL : "d must be a multiple of 8";
}

double bench_problem_work(const struct bench_problem *problem) {
    const double all = 4.0 * problem->batch * problem->heads * problem->n * problem->n * problem->d;
    return problem->causal ? all / 2 : all;
}

/* -- Files ---- */

struct word {
    const char *text;
    size_t len;
};

// Up to COLUMNS + 1 words before a comment.
static int split(const char *line, struct word *words) {
    const size_t end = strcspn(line, "#\n");
    int count = 0;
    for (size_t at = strspn(line, blanks); at < end && count <= COLUMNS; at += strspn(line + at, blanks)) {
        const size_t len = strcspn(line + at, " \t\r#\n");
        words[count++] = (struct word){line + at, len};
        at += len;
    }
    return count;
}

static int number_of(const struct word *word) {
    int value = 0;
    if (word->len == 0 || word->len > 9) return 0;
    for (size_t i = 0; i < word->len; i++) {
        if (word->text[i] < '0' || word->text[i] > '9') return 0;
        value = 10 * value + (word->text[i] - '0');
    }
    return value;
}

static bool is_word(const struct word *word, const char *text) {
    return strlen(text) == word->len && memcmp(word->text, text, word->len) == 0;
}

struct reader {
    struct diag *diag;
    const char *file, *line;
    int number; /* of the line */
};

static struct diag_loc at(const struct reader *r, const char *text) {
    return (struct diag_loc){r->file, r->number, (int)(text - r->line) + 1};
}

static void read_problem(const struct reader *r, const struct word *words, struct bench_problems *list) {
    struct bench_problem problem = {.causal = is_word(&words[4], "causal")};
    int i = 0;
#define READ_NUMBER(member, largest)                                                                                   \
    problem.member = number_of(&words[i]);                                                                             \
    if (problem.member < 1 || problem.member > (largest))                                                              \
        diag_error(r->diag, at(r, words[i].text), "%s must be a whole number of 1...%d", #member, largest);            \
    i++;
    BENCH_PROBLEM_NUMBERS(READ_NUMBER)
#undef READ_NUMBER
    if (problem.d > 0 && problem.d % 8 != 0) diag_error(r->diag, at(r, words[0].text), "d must be a multiple of 8");
    if (!problem.causal && !is_word(&words[4], "full"))
        diag_error(r->diag, at(r, words[4].text), "the mask must be full or causal, not '%.*s'", (int)words[4].len,
                   words[4].text);
    if (bench_problem_fault(&problem)) return;
    if (!bench_problems_add(list, &problem)) diag_error(r->diag, at(r, words[0].text), "this problem stands twice");
}

bool bench_problems_parse(struct bench_problems *list, const char *file, const char *text, struct diag *d) {
    const int errors = d->errors, before = list->count;
    struct reader r = {.diag = d, .file = file, .line = text, .number = 1};
    diag_add_source(d, file, text, strlen(text));
    for (; *r.line; r.line = next_line(r.line), r.number++) {
        struct word words[COLUMNS + 1];
        const int count = split(r.line, words);
        if (count == COLUMNS)
            read_problem(&r, words, list);
        else if (count > 0)
            diag_error(d, at(&r, words[0].text), "a problem has 5 words: d n batch heads mask");
    }
    if (list->count == before && d->errors == errors)
        diag_error(d, (struct diag_loc){.file = file}, "holds no problem");
    return d->errors == errors;
}

const struct embedded_file *bench_problems_shipped(const char *name) {
    for (int i = 0; i < embedded_file_count; i++) {
        const char *own = embedded_files[i].name;
        if (strncmp(own, folder, sizeof folder - 1) != 0) continue;
        own += sizeof folder - 1;
        const size_t len = strlen(name);
        if (strncmp(own, name, len) == 0 && strcmp(own + len, ending) == 0) return &embedded_files[i];
    }
    return NULL;
}

void bench_problems_names(struct buf *out) {
    const char *before = "";
    for (int i = 0; i < embedded_file_count; i++) {
        const char *own = embedded_files[i].name;
        if (strncmp(own, folder, sizeof folder - 1) != 0) continue;
        own += sizeof folder - 1;
        buf_printf(out, "%s%.*s", before, (int)(strlen(own) - (sizeof ending - 1)), own);
        before = ", ";
    }
    buf_puts(out, "");
}
