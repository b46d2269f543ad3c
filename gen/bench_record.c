// bench_record: see bench_record.h. SPDX-License-Identifier: Apache-2.0
#include "bench_record.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Names ---- */

static const struct {
    const char *name;
    int bits;
} contenders[] = {
#define CONTENDER_ROW(symbol, name, bits, help) {name, bits},
    BENCH_CONTENDER_LIST(CONTENDER_ROW)
#undef CONTENDER_ROW
};
static const char *const modes[] = {[BENCH_KERNEL] = "kernel", [BENCH_END_TO_END] = "end_to_end"};

const char *bench_contender_name(int contender) {
    return contenders[contender].name;
}

int bench_contender_bits(int contender) {
    return contenders[contender].bits;
}

int bench_contender_find(const char *name) {
    for (int i = 0; i < BENCH_CONTENDERS; i++)
        if (strcmp(contenders[i].name, name) == 0) return i;
    return -1;
}

const char *bench_mode_name(int mode) {
    return modes[mode];
}

int bench_mode_find(const char *name) {
    for (int i = 0; i < BENCH_MODES; i++)
        if (strcmp(modes[i], name) == 0) return i;
    return -1;
}

/* -- Lists ---- */

void bench_record_complete(struct bench_record *record) {
#define COMPLETE(member)                                                                                               \
    if (!record->member) record->member = xstrdup("");
    BENCH_RECORD_TEXTS(COMPLETE)
#undef COMPLETE
}

void bench_record_free(struct bench_record *record) {
#define FREE_TEXT(member) free(record->member);
    BENCH_RECORD_TEXTS(FREE_TEXT)
#undef FREE_TEXT
    *record = (struct bench_record){0};
}

void bench_records_free(struct bench_records *records) {
    for (int i = 0; i < records->count; i++) bench_record_free(&records->item[i]);
    free(records->item);
    *records = (struct bench_records){0};
}

static bool same_key(const struct bench_record *a, const struct bench_record *b, bool any_gpu) {
    return a->contender == b->contender && a->mode == b->mode && bench_problem_equal(&a->problem, &b->problem) &&
           strcmp(a->kernel, b->kernel) == 0 && (any_gpu || strcmp(a->gpu, b->gpu) == 0);
}

const struct bench_record *bench_records_find(const struct bench_records *records, const struct bench_record *key,
                                              bool any_gpu) {
    for (int i = 0; i < records->count; i++)
        if (same_key(&records->item[i], key, any_gpu)) return &records->item[i];
    return NULL;
}

void bench_records_put(struct bench_records *records, struct bench_record *record) {
    bench_record_complete(record);
    for (int i = 0; i < records->count; i++) {
        struct bench_record *old = &records->item[i];
        if (!same_key(old, record, false)) continue;
        bench_record_free(old);
        *old = *record;
        *record = (struct bench_record){0};
        return;
    }
    records->item = xgrown(records->item, records->count, &records->capacity, sizeof *records->item);
    records->item[records->count++] = *record;
    *record = (struct bench_record){0};
}

void bench_records_merge(struct bench_records *records, const struct bench_records *from) {
    for (int i = 0; i < from->count; i++) {
        struct bench_record copy = from->item[i];
#define COPY_TEXT(member) copy.member = xstrdup(copy.member);
        BENCH_RECORD_TEXTS(COPY_TEXT)
#undef COPY_TEXT
        bench_records_put(records, &copy);
    }
}

static void remove_at(struct bench_records *records, int index) {
    bench_record_free(&records->item[index]);
    records->count--;
    memmove(&records->item[index], &records->item[index + 1], (size_t)(records->count - index) * sizeof *records->item);
}

void bench_records_keep_d(struct bench_records *records, int d) {
    for (int i = records->count - 1; i >= 0; i--)
        if (records->item[i].problem.d != d) remove_at(records, i);
}

void bench_records_keep_mask(struct bench_records *records, bool causal) {
    for (int i = records->count - 1; i >= 0; i--)
        if (records->item[i].problem.causal != causal) remove_at(records, i);
}

static int compare(const void *left, const void *right) {
    const struct bench_record *a = left, *b = right;
    const struct bench_problem *p = &a->problem, *q = &b->problem;
    const long long numbers[][2] = {
        {p->d, q->d},         {p->causal, q->causal},
        {p->n, q->n},         {(long long)q->batch * q->heads, (long long)p->batch * p->heads},
        {p->batch, q->batch}, {a->contender, b->contender}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i][0] != numbers[i][1]) return numbers[i][0] < numbers[i][1] ? -1 : 1;
    const int by_kernel = strcmp(a->kernel, b->kernel), by_gpu = strcmp(a->gpu, b->gpu);
    return by_kernel ? by_kernel : a->mode != b->mode ? a->mode - b->mode : by_gpu;
}

void bench_records_sort(struct bench_records *records) {
    if (records->count) qsort(records->item, (size_t)records->count, sizeof *records->item, compare);
}

/* -- Reading ---- */

struct reader {
    struct diag *diag;
    const char *file;
    size_t index; /* of the record, from 1 */
    const json_t *object;
    bool ok;
};

static void fault(struct reader *r, const char *member, const char *what) {
    diag_error(r->diag, (struct diag_loc){.file = r->file}, "record %zu: '%s' %s", r->index, member, what);
    r->ok = false;
}

static char *read_text(struct reader *r, const char *member, bool required) {
    const json_t *value = json_object_get(r->object, member);
    if (json_is_string(value)) return xstrdup(json_string_value(value));
    if (value ? !json_is_null(value) : required) fault(r, member, value ? "must be a text" : "is missing");
    return xstrdup("");
}

static int read_name(struct reader *r, const char *member, int (*find)(const char *name)) {
    const char *text = json_string_value(json_object_get(r->object, member));
    const int found = text ? find(text) : -1;
    if (found < 0) fault(r, member, text ? "is not a known one" : "must be a text");
    return found < 0 ? 0 : found;
}

static int read_count(struct reader *r, const char *member) {
    const json_t *value = json_object_get(r->object, member);
    const json_int_t number = json_integer_value(value);
    if (json_is_integer(value) && number > 0 && number <= 1 << 30) return (int)number;
    fault(r, member, "must be a whole number above 0");
    return 1;
}

// null: not measured.
static double read_measured(struct reader *r, const char *member) {
    const json_t *value = json_object_get(r->object, member);
    const double number = json_number_value(value);
    if (json_is_null(value)) return 0;
    if (!json_is_number(value) || !(number > 0) || !isfinite(number))
        fault(r, member, "must be a number above 0, or null");
    return number;
}

static void read_problem(struct reader *r, struct bench_problem *out) {
    *out = (struct bench_problem){.d = read_count(r, "d"),
                                  .n = read_count(r, "n"),
                                  .batch = read_count(r, "batch"),
                                  .heads = read_count(r, "heads"),
                                  .causal = json_is_true(json_object_get(r->object, "causal"))};
    if (!json_is_boolean(json_object_get(r->object, "causal"))) fault(r, "causal", "must be true or false");
}

static void read_measurement(struct reader *r, struct bench_record *out) {
    out->ms = read_measured(r, "ms");
    out->tops = read_measured(r, "tops");
    if (r->ok && (out->ms == 0) != (out->tops == 0)) fault(r, "tops", "must be null where 'ms' is, and a number else");
    if (r->ok && out->ms == 0 && !out->reason[0]) fault(r, "reason", "is missing, and 'ms' is null");
    out->spread = json_number_value(json_object_get(r->object, "spread"));
    const json_int_t repeats = json_integer_value(json_object_get(r->object, "repeats"));
    out->repeats = repeats > 0 && repeats < 1 << 30 ? (int)repeats : 0;
}

static void read_record(struct reader *r, struct bench_records *out) {
    struct bench_record record = {0};
    r->ok = json_is_object(r->object);
    if (!r->ok) {
        diag_error(r->diag, (struct diag_loc){.file = r->file}, "record %zu is no object", r->index);
        return;
    }
    record.contender = read_name(r, "contender", bench_contender_find);
    record.mode = read_name(r, "mode", bench_mode_find);
#define READ_TEXT(member)                                                                                              \
    record.member =                                                                                                    \
        read_text(r, #member, offsetof(struct bench_record, member) < offsetof(struct bench_record, reason));
    BENCH_RECORD_TEXTS(READ_TEXT)
#undef READ_TEXT
    read_problem(r, &record.problem);
    read_measurement(r, &record);
    bench_records_put(out, &record);
}

bool bench_records_parse(struct bench_records *records, const char *file, const char *text, struct diag *d) {
    const int errors = d->errors;
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    struct bench_records read = {0};
    diag_add_source(d, file, text, strlen(text));
    if (!root)
        diag_error(d, (struct diag_loc){file, error.line > 0 ? error.line : 1, error.column > 0 ? error.column : 1},
                   "is no JSON: %s", error.text);
    else if (!json_is_array(root))
        diag_error(d, (struct diag_loc){.file = file}, "is no record: a JSON array is expected");
    struct reader r = {.diag = d, .file = file};
    json_t *object;
    json_array_foreach(root, r.index, object) {
        r.object = object;
        struct reader one = r;
        one.index++;
        read_record(&one, &read);
    }
    json_decref(root);
    if (d->errors == errors) bench_records_merge(records, &read);
    bench_records_free(&read);
    return d->errors == errors;
}

bool bench_records_read(struct bench_records *records, const char *file, struct diag *d) {
    FILE *stream = fopen(file, "rb");
    struct buf text = {0};
    char block[65536];
    size_t n;
    if (!stream) {
        diag_error(d, (struct diag_loc){.file = file}, "cannot be opened: %s", strerror(errno));
        return false;
    }
    while ((n = fread(block, 1, sizeof block, stream)) > 0) buf_append(&text, block, n);
    const bool whole = !ferror(stream);
    fclose(stream);
    buf_puts(&text, "");
    if (!whole) diag_error(d, (struct diag_loc){.file = file}, "cannot be read");
    const bool ok = whole && bench_records_parse(records, file, text.data, d);
    diag_free(d); // it borrows the text
    buf_free(&text);
    return ok;
}

/* -- Writing ---- */

static void set_number(json_t *object, const char *member, double value) {
    json_object_set_new(object, member, value > 0 ? json_real(value) : json_null());
}

static json_t *record_json(const struct bench_record *record) {
    const struct bench_problem *p = &record->problem;
    json_t *object = json_object();
    json_object_set_new(object, "kernel", json_string(record->kernel));
    json_object_set_new(object, "contender", json_string(bench_contender_name(record->contender)));
    json_object_set_new(object, "mode", json_string(bench_mode_name(record->mode)));
    json_object_set_new(object, "d", json_integer(p->d));
    json_object_set_new(object, "n", json_integer(p->n));
    json_object_set_new(object, "batch", json_integer(p->batch));
    json_object_set_new(object, "heads", json_integer(p->heads));
    json_object_set_new(object, "causal", json_boolean(p->causal));
    set_number(object, "ms", record->ms);
    set_number(object, "tops", record->tops);
    if (record->spread > 0) json_object_set_new(object, "spread", json_real(record->spread));
    if (record->repeats > 0) json_object_set_new(object, "repeats", json_integer(record->repeats));
#define WRITE_TEXT(member)                                                                                             \
    if (strcmp(#member, "kernel") != 0 &&                                                                              \
        (record->member[0] || offsetof(struct bench_record, member) < offsetof(struct bench_record, reason)))          \
        json_object_set_new(object, #member, json_string(record->member));
    BENCH_RECORD_TEXTS(WRITE_TEXT)
#undef WRITE_TEXT
    return object;
}

void bench_records_print(const struct bench_records *records, struct buf *out) {
    buf_puts(out, "[");
    for (int i = 0; i < records->count; i++) {
        json_t *object = record_json(&records->item[i]);
        char *text = json_dumps(object, JSON_REAL_PRECISION(5) | JSON_ENSURE_ASCII);
        buf_printf(out, "%s\n%s", i ? "," : "", text ? text : "null");
        free(text);
        json_decref(object);
    }
    buf_puts(out, records->count ? "\n]\n" : "]\n");
}

bool bench_file_write(const char *file, const struct buf *text, struct diag *d) {
    struct buf temporary = {0};
    buf_printf(&temporary, "%s.%ld", file, (long)getpid());
    FILE *stream = fopen(temporary.data, "wbx");
    bool ok = stream && fwrite(text->data, 1, text->len, stream) == text->len;
    if (stream) ok = (fclose(stream) == 0) && ok;
    ok = ok && rename(temporary.data, file) == 0;
    if (!ok) {
        diag_error(d, (struct diag_loc){.file = file}, "cannot be written: %s", strerror(errno));
        if (stream) unlink(temporary.data);
    }
    buf_free(&temporary);
    return ok;
}
