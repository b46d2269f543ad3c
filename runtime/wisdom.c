// wisdom: the reader of wisdom texts, one pass over the lines, and the search for the nearest row. Distances in log2
// are compared as ratios, so that libsage needs no libm. SPDX-License-Identifier: Apache-2.0
#include "wisdom.h"
#include "context.h"
#include "key.h"
#include "meta.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPICAL_BATCH = 4, TYPICAL_HEADS = 32, TYPICAL_SEQ = 4096, WHY_BYTES = 160, NUMBER_DIGITS = 15 };

/* -- Values ---- */

// What becomes part of C names and file names.
static bool is_word(const char *text) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-+";
    const size_t len = strlen(text);
    return len > 0 && strspn(text, allowed) == len;
}

static bool is_hash(const char *text) {
    return strlen(text) == KEY_HEX64_BYTES - 1 && strspn(text, "0123456789abcdef") == KEY_HEX64_BYTES - 1;
}

const char *wisdom_row_fault(const struct wisdom_row *row) {
    struct meta_target target;
#define CHECK_WORD(name, help)                                                                                         \
    if (!is_word(row->name)) return #name " is not a plain word";
    WISDOM_TEXTS(CHECK_WORD)
#undef CHECK_WORD
#define CHECK_NUMBER(name, help)                                                                                       \
    if (row->name < 1) return #name " must be 1 or more";
    WISDOM_NUMBERS(CHECK_NUMBER)
#undef CHECK_NUMBER
    if (!is_hash(row->spec_hash)) return "spec_hash must be 16 hex digits";
    if (!meta_target_parse(row->target, &target)) return "target must be like sm_90a";
    if (strcmp(row->io, "bf16") != 0 && strcmp(row->io, "fp16") != 0) return "io must be bf16 or fp16";
    if (strcmp(row->mask, "none") != 0 && strcmp(row->mask, "causal") != 0) return "mask must be none or causal";
    if (row->heads_q % row->heads_kv != 0) return "heads_q must be a multiple of heads_kv";
    return NULL;
}

const char *wisdom_machine_fault(const struct wisdom_machine *machine) {
    if (machine->sm < 10 || machine->sm > 999) return "the compute capability must be like sm_90";
    if (machine->multiprocessors < 1) return "a GPU has 1 or more multiprocessors";
    if (!is_word(machine->driver)) return "the driver's version is not a plain word";
    return meta_text_is_plain(machine->gpu) ? NULL : "the GPU's name is not printable text";
}

/* -- Reading ---- */

// A place in the text. Once something is wrong, why says what, and every further step does nothing.
struct reader {
    const char *line, *end, *text_end; /* of the line at hand, without its newline */
    int number;                        /* of the line, from 1 */
    char why[WHY_BYTES];
    struct wisdom *out;
    bool ended;
};

static void refuse(struct reader *r, const char *reason) {
    if (!r->why[0]) snprintf(r->why, sizeof r->why, "%s", reason);
}

// Takes the next word of the line; "" with a reason where there is none, or it is too long.
static void take_word(struct reader *r, char *out, size_t out_bytes) {
    while (r->line < r->end && *r->line == ' ') r->line++;
    const char *from = r->line;
    while (r->line < r->end && *r->line != ' ') r->line++;
    const size_t len = (size_t)(r->line - from);
    out[0] = '\0';
    if (len == 0) refuse(r, "too few words");
    if (len >= out_bytes) refuse(r, "a word is too long");
    if (r->why[0]) return;
    memcpy(out, from, len);
    out[len] = '\0';
}

static int64_t take_number(struct reader *r) {
    char word[NUMBER_DIGITS + 1];
    take_word(r, word, sizeof word);
    if (r->why[0]) return 0;
    if (strspn(word, "0123456789") != strlen(word)) refuse(r, "a number is expected: digits alone");
    return r->why[0] ? 0 : (int64_t)strtoll(word, NULL, 10);
}

static int take_int(struct reader *r) {
    const int64_t number = take_number(r);
    if (number > INT_MAX) refuse(r, "a number is too large");
    return number > INT_MAX ? 0 : (int)number;
}

static void end_line(struct reader *r) {
    if (r->line < r->end) refuse(r, "too many words");
}

// "90" of "sm_90".
static int take_sm(struct reader *r) {
    char word[WISDOM_TEXT_MAX + 1];
    struct meta_target target = {0};
    take_word(r, word, sizeof word);
    if (!r->why[0] && (!meta_target_parse(word, &target) || target.suffix))
        refuse(r, "the compute capability must be like sm_90");
    return target.sm;
}

static void read_machine(struct reader *r) {
    struct wisdom_machine m = {.sm = take_sm(r)};
    m.multiprocessors = take_int(r);
    take_word(r, m.driver, sizeof m.driver);
    while (r->line < r->end && *r->line == ' ') r->line++;
    const size_t len = (size_t)(r->end - r->line);
    if (len >= sizeof m.gpu) refuse(r, "the GPU's name is too long");
    if (r->why[0]) return;
    memcpy(m.gpu, r->line, len);
    const char *fault = memchr(m.gpu, 0, len) ? "the GPU's name is not printable text" : wisdom_machine_fault(&m);
    if (fault)
        refuse(r, fault);
    else
        r->out->machine[r->out->machines++] = m;
}

static void read_row(struct reader *r) {
    struct wisdom_row row = {.machine = r->out->machines - 1};
    if (row.machine < 0) refuse(r, "a row before any machine");
#define TAKE_TEXT(name, help)   take_word(r, row.name, sizeof row.name);
#define TAKE_NUMBER(name, help) row.name = take_number(r);
    WISDOM_TEXTS(TAKE_TEXT)
    WISDOM_NUMBERS(TAKE_NUMBER)
#undef TAKE_TEXT
#undef TAKE_NUMBER
    end_line(r);
    if (r->why[0]) return;
    const char *fault = wisdom_row_fault(&row);
    if (fault)
        refuse(r, fault);
    else
        r->out->row[r->out->rows++] = row;
}

static void read_hash(struct reader *r, const char *text, const char *line) {
    char found[WISDOM_TEXT_MAX + 1], computed[KEY_HEX64_BYTES];
    take_word(r, found, sizeof found);
    end_line(r);
    key_hash64(text, (size_t)(line - text), computed);
    if (strcmp(found, computed) != 0) refuse(r, "the text does not match its hash: it was changed, or is cut");
    if (r->text_end != r->end + 1) refuse(r, "nothing may follow the hash, and a newline must end it");
    r->ended = true;
}

static void read_head(struct reader *r) {
    char word[WISDOM_TEXT_MAX + 1];
    take_word(r, word, sizeof word);
    if (strcmp(word, "sagegen") == 0) take_word(r, word, sizeof word);
    if (strcmp(word, "wisdom") != 0) refuse(r, "a wisdom file begins with: sagegen wisdom 1");
    if (take_number(r) != WISDOM_VERSION) refuse(r, "another version of the format; this program reads version 1");
    end_line(r);
}

static void read_line(struct reader *r, const char *text) {
    const char *line = r->line;
    char word[WISDOM_TEXT_MAX + 1];
    if (r->line == r->end || *r->line == '#') return;
    take_word(r, word, sizeof word);
    if (strcmp(word, "row") == 0)
        read_row(r);
    else if (strcmp(word, "machine") == 0)
        read_machine(r);
    else if (strcmp(word, "hash") == 0)
        read_hash(r, text, line);
    else
        refuse(r, "a line begins with machine, row, hash or #");
}

static void read_lines(struct reader *r, const char *text, size_t len) {
    const char *at = text;
    for (r->text_end = text + len; at < r->text_end && !r->why[0] && !r->ended; at = r->end + 1) {
        const char *newline = memchr(at, '\n', (size_t)(r->text_end - at));
        r->line = at;
        r->end = newline ? newline : r->text_end;
        r->number++;
        if (r->number == 1)
            read_head(r);
        else
            read_line(r, text);
    }
    if (!r->ended && !r->why[0]) {
        r->number += r->number == 0;
        refuse(r, "the last line must be the hash: the file is cut");
    }
}

enum { LEAST_LINE = 16 /* bytes; no machine and no row is shorter */ };

static size_t count_long_lines(const char *text, size_t len) {
    size_t lines = 0, from = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != '\n') continue;
        lines += i - from >= LEAST_LINE;
        from = i + 1;
    }
    return lines;
}

sage_status wisdom_read(sage_context *context, const char *file, const char *text, size_t len, struct wisdom *out) {
    struct wisdom read = {0};
    if (len > WISDOM_FILE_MAX)
        return context_error(context, SAGE_ERROR_CORRUPT, "%s:1: %zu bytes; at most %d", file, len, WISDOM_FILE_MAX);
    const size_t lines = count_long_lines(text, len);
    read.machine = context_alloc(context, lines * sizeof *read.machine);
    read.row = context_alloc(context, lines * sizeof *read.row);
    struct reader r = {.out = &read};
    sage_status status = read.machine && read.row ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
    if (status == SAGE_OK) read_lines(&r, text, len);
    if (r.why[0]) status = context_error(context, SAGE_ERROR_CORRUPT, "%s:%d: %s", file, r.number, r.why);
    if (status == SAGE_OK)
        *out = read;
    else
        wisdom_free(context, &read);
    return status;
}

void wisdom_free(sage_context *context, struct wisdom *wisdom) {
    context_free(context, wisdom->machine);
    context_free(context, wisdom->row);
    *wisdom = (struct wisdom){0};
}

/* -- Nearest row ---- */

// What decides between two rows, the most important first; less is better. Ratios are 1 or more, and stand for
// distances in log2.
struct rank {
    int other_gpu, multiprocessors; /* 0: this very GPU; else how many more or fewer it has */
    double seq_ratio, heads_ratio;
    int64_t shorter; /* minus seq_k */
    double smaller;  /* minus batch times heads_q */
};

static double ratio(double a, double b) {
    return a > b ? a / b : b / a;
}

// Doubles: a row may have 15 digits in each, and a caller's shape anything.
static double all_heads(int64_t batch, int64_t heads_q) {
    return (double)batch * (double)heads_q;
}

static void rank_machine(const struct wisdom_machine *m, const struct wisdom_query *q, struct rank *out) {
    const int apart = m->multiprocessors - q->multiprocessors;
    out->other_gpu = apart != 0 || strcmp(m->gpu, q->gpu) != 0;
    out->multiprocessors = apart < 0 ? -apart : apart;
}

// 0 sizes, as of an empty batch, count as 1.
static double at_least_one(double x) {
    return x > 1 ? x : 1;
}

static struct rank rank_of(const struct wisdom *t, const struct wisdom_row *row, const struct wisdom_query *q) {
    const double heads = all_heads(row->batch, row->heads_q), asked = all_heads(q->shape.batch, q->shape.heads_q);
    struct rank rank = {.shorter = -row->seq_k, .smaller = -heads};
    rank_machine(&t->machine[row->machine], q, &rank);
    rank.seq_ratio = ratio((double)row->seq_q, at_least_one((double)q->shape.seq_q)) *
                     ratio((double)row->seq_k, at_least_one((double)q->shape.seq_k));
    rank.heads_ratio = ratio(heads, at_least_one(asked));
    return rank;
}

static bool is_better(const struct rank *a, const struct rank *b) {
    if (a->other_gpu != b->other_gpu) return a->other_gpu < b->other_gpu;
    if (a->multiprocessors != b->multiprocessors) return a->multiprocessors < b->multiprocessors;
    if (a->seq_ratio < b->seq_ratio || a->seq_ratio > b->seq_ratio) return a->seq_ratio < b->seq_ratio;
    if (a->heads_ratio < b->heads_ratio || a->heads_ratio > b->heads_ratio) return a->heads_ratio < b->heads_ratio;
    if (a->shorter != b->shorter) return a->shorter < b->shorter;
    return a->smaller < b->smaller;
}

// "int8_fp8_d128" is of the family "int8_fp8".
static bool is_of_family(const char *spec, const char *family) {
    const size_t len = strlen(family);
    return strncmp(spec, family, len) == 0 && strncmp(spec + len, "_d", 2) == 0 && spec[len + 2] >= '0' &&
           spec[len + 2] <= '9';
}

static bool competes(const struct wisdom *t, const struct wisdom_row *row, const struct wisdom_query *q) {
    const bool grouped = q->shape.heads_q != q->shape.heads_kv;
    if (t->machine[row->machine].sm != q->sm || meta_target_rank(row->target, q->sm) == 0) return false;
    if (q->spec ? strcmp(row->spec, q->spec) != 0 : !is_of_family(row->spec, q->family)) return false;
    return row->head_dim_qk == q->head_dim_qk && row->head_dim_v == q->head_dim_v &&
           strcmp(row->io, meta_io_text(q->io)) == 0 && strcmp(row->mask, meta_mask_text(q->mask)) == 0 &&
           (row->heads_q != row->heads_kv) == grouped;
}

static struct wisdom_query filled(const struct wisdom_query *query) {
    struct wisdom_query q = *query;
    const sage_attention_shape *s = &q.shape;
    if (s->batch == 0 && s->heads_q == 0 && s->heads_kv == 0 && s->seq_q == 0 && s->seq_k == 0)
        q.shape = (sage_attention_shape){TYPICAL_BATCH, TYPICAL_HEADS, TYPICAL_HEADS, TYPICAL_SEQ, TYPICAL_SEQ};
    return q;
}

const struct wisdom_row *wisdom_find(const struct wisdom *table, int tables, const struct wisdom_query *query,
                                     enum wisdom_match *match) {
    const struct wisdom_query q = filled(query);
    const struct wisdom_row *best = NULL;
    struct rank best_rank = {0};
    for (int t = 0; t < tables; t++)
        for (int i = 0; i < table[t].rows; i++) {
            if (!competes(&table[t], &table[t].row[i], &q)) continue;
            const struct rank rank = rank_of(&table[t], &table[t].row[i], &q);
            if (best && !is_better(&rank, &best_rank)) continue;
            best = &table[t].row[i];
            best_rank = rank;
        }
    if (match) *match = !best ? WISDOM_NONE : best_rank.other_gpu ? WISDOM_ARCHITECTURE : WISDOM_GPU;
    return best;
}

enum wisdom_match wisdom_match(const struct wisdom *table, int tables, const struct wisdom_query *gpu,
                               const struct wisdom_machine **machine) {
    struct rank best_rank = {0};
    *machine = NULL;
    for (int t = 0; t < tables; t++)
        for (int i = 0; i < table[t].machines; i++) {
            struct rank rank = {0};
            if (table[t].machine[i].sm != gpu->sm) continue;
            rank_machine(&table[t].machine[i], gpu, &rank);
            if (*machine && !is_better(&rank, &best_rank)) continue;
            *machine = &table[t].machine[i];
            best_rank = rank;
        }
    return !*machine ? WISDOM_NONE : best_rank.other_gpu ? WISDOM_ARCHITECTURE : WISDOM_GPU;
}
