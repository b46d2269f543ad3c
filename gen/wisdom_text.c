// wisdom_text: see wisdom_text.h. SPDX-License-Identifier: Apache-2.0
#include "wisdom_text.h"

#include "bench_record.h"
#include "key.h"
#include "shipped.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* -- Order ---- */

static int compare_numbers(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

static int compare_machines(const struct wisdom_machine *a, const struct wisdom_machine *b) {
    int order = compare_numbers(a->sm, b->sm);
    if (!order) order = strcmp(a->gpu, b->gpu);
    if (!order) order = compare_numbers(a->multiprocessors, b->multiprocessors);
    return order ? order : strcmp(a->driver, b->driver);
}

// By what a row answers, not by its answer.
static int compare_problems(const struct wisdom_row *a, const struct wisdom_row *b) {
    int order = strcmp(a->spec, b->spec);
    if (!order) order = strcmp(a->target, b->target);
    if (!order) order = compare_numbers(a->head_dim_qk, b->head_dim_qk);
    if (!order) order = compare_numbers(a->head_dim_v, b->head_dim_v);
    if (!order) order = strcmp(a->io, b->io);
    if (!order) order = strcmp(a->mask, b->mask);
    if (!order) order = compare_numbers(a->seq_q, b->seq_q);
    if (!order) order = compare_numbers(a->seq_k, b->seq_k);
    if (!order) order = compare_numbers(a->batch, b->batch);
    if (!order) order = compare_numbers(a->heads_q, b->heads_q);
    return order ? order : compare_numbers(a->heads_kv, b->heads_kv);
}

/* -- Joining ---- */

static int machine_index(struct wisdom_list *list, const struct wisdom_machine *machine) {
    for (int i = 0; i < list->machines; i++)
        if (compare_machines(&list->machine[i], machine) == 0) return i;
    list->machine = xgrown(list->machine, list->machines, &list->machine_capacity, sizeof *list->machine);
    list->machine[list->machines] = *machine;
    return list->machines++;
}

bool wisdom_row_is_current(const struct wisdom_row *row) {
    const struct embedded_file *file = shipped_find(row->spec);
    struct buf messages = {0};
    struct diag d = {.sink = &messages};
    struct spec spec;
    char hash[KEY_HEX64_BYTES] = "";
    if (file && spec_parse(&spec, file->name, file->data, file->size, &d)) {
        snprintf(hash, sizeof hash, "%016" PRIx64, spec.hash);
        spec_free(&spec);
    }
    diag_free(&d);
    buf_free(&messages);
    return strcmp(hash, row->spec_hash) == 0;
}

static bool is_better(const struct wisdom_row *a, const struct wisdom_row *b) {
    if (strcmp(a->spec_hash, b->spec_hash) != 0) {
        const bool a_now = wisdom_row_is_current(a), b_now = wisdom_row_is_current(b);
        if (a_now != b_now) return a_now;
    }
    int order = compare_numbers(a->variant_ns, b->variant_ns);
    if (!order) order = strcmp(a->variant, b->variant);
    if (!order) order = compare_numbers(a->default_ns, b->default_ns);
    return (order ? order : strcmp(a->spec_hash, b->spec_hash)) < 0;
}

void wisdom_list_add(struct wisdom_list *list, const struct wisdom_machine *machine, const struct wisdom_row *given,
                     enum wisdom_rule rule) {
    struct wisdom_row row = *given;
    row.machine = machine_index(list, machine);
    for (int i = 0; i < list->rows; i++) {
        struct wisdom_row *old = &list->row[i];
        if (old->machine != row.machine || compare_problems(old, &row) != 0) continue;
        if (rule == WISDOM_REPLACE || is_better(&row, old)) *old = row;
        return;
    }
    list->row = xgrown(list->row, list->rows, &list->row_capacity, sizeof *list->row);
    list->row[list->rows++] = row;
}

void wisdom_list_join(struct wisdom_list *list, const struct wisdom *more, enum wisdom_rule rule) {
    for (int i = 0; i < more->rows; i++)
        wisdom_list_add(list, &more->machine[more->row[i].machine], &more->row[i], rule);
}

void wisdom_list_free(struct wisdom_list *list) {
    free(list->machine);
    free(list->row);
    *list = (struct wisdom_list){0};
}

/* -- Files ---- */

static bool read_bytes(const char *file, struct buf *out) {
    char block[1 << 14];
    FILE *stream = fopen(file, "rb");
    if (!stream) return false;
    buf_puts(out, "");
    for (size_t n; (n = fread(block, 1, sizeof block, stream)) > 0 && out->len <= WISDOM_FILE_MAX;)
        buf_append(out, block, n);
    const bool ok = !ferror(stream);
    fclose(stream);
    return ok;
}

// The reader's sentence has the file and the line; the diag prints them its own way.
static void report_bad(const char *file, const char *sentence, struct diag *d) {
    const size_t name = strlen(file);
    int line = 0, used = 0;
    if (strncmp(sentence, file, name) == 0 && sscanf(sentence + name, ":%d: %n", &line, &used) == 1 && used)
        diag_error(d, (struct diag_loc){.file = file, .line = line}, "%s; nothing of this file is taken",
                   sentence + name + used);
    else
        diag_error(d, (struct diag_loc){.file = file}, "%s", sentence);
}

bool wisdom_list_parse(struct wisdom_list *list, const char *file, const char *text, size_t len, enum wisdom_rule rule,
                       struct diag *d) {
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1, .wisdom = "none"};
    struct wisdom read;
    sage_context *context = NULL;
    if (sage_context_create(&options, &context) != SAGE_OK) {
        diag_error(d, (struct diag_loc){.file = file}, "%s", sage_last_error(NULL));
        return false;
    }
    const bool ok = wisdom_read(context, file, text, len, &read) == SAGE_OK;
    if (ok) {
        wisdom_list_join(list, &read, rule);
        wisdom_free(context, &read);
    } else {
        report_bad(file, sage_last_error(context), d);
    }
    sage_context_destroy(context);
    return ok;
}

bool wisdom_list_read(struct wisdom_list *list, const char *file, bool must_exist, enum wisdom_rule rule,
                      struct diag *d) {
    struct buf text = {0};
    const bool found = read_bytes(file, &text);
    const bool absent = !found && errno == ENOENT && !must_exist;
    if (!found && !absent) diag_error(d, (struct diag_loc){.file = file}, "cannot be read: %s", strerror(errno));
    const bool ok = found && wisdom_list_parse(list, file, text.data, text.len, rule, d);
    buf_free(&text);
    return ok || absent;
}

/* -- Text ---- */

static int compare_places(const void *left, const void *right) {
    const struct wisdom_row *a = *(const struct wisdom_row *const *)left, *b = *(const struct wisdom_row *const *)right;
    return compare_problems(a, b);
}

static int compare_machine_places(const void *left, const void *right) {
    return compare_machines(*(const struct wisdom_machine *const *)left, *(const struct wisdom_machine *const *)right);
}

static void put_row(const struct wisdom_row *row, struct buf *out) {
    buf_puts(out, "row");
#define PUT_TEXT(name, help)   buf_printf(out, " %s", row->name);
#define PUT_NUMBER(name, help) buf_printf(out, " %" PRId64, row->name);
    WISDOM_TEXTS(PUT_TEXT)
    WISDOM_NUMBERS(PUT_NUMBER)
    buf_puts(out, "\n");
}

static void put_machine(const struct wisdom_list *list, int machine, struct buf *out) {
    const struct wisdom_machine *m = &list->machine[machine];
    const struct wisdom_row **row = xcalloc((size_t)list->rows + 1, sizeof(const struct wisdom_row *));
    int count = 0;
    for (int i = 0; i < list->rows; i++)
        if (list->row[i].machine == machine) row[count++] = &list->row[i];
    if (count) {
        qsort(row, (size_t)count, sizeof(const struct wisdom_row *), compare_places);
        buf_printf(out, "machine sm_%d %d %s %s\n", m->sm, m->multiprocessors, m->driver, m->gpu);
    }
    for (int i = 0; i < count; i++) put_row(row[i], out);
    free(row);
}

void wisdom_list_print(const struct wisdom_list *list, struct buf *out) {
    const size_t from = out->len;
    char hash[KEY_HEX64_BYTES];
    const struct wisdom_machine **machine = xcalloc((size_t)list->machines + 1, sizeof(const struct wisdom_machine *));
    for (int i = 0; i < list->machines; i++) machine[i] = &list->machine[i];
    if (list->machines)
        qsort(machine, (size_t)list->machines, sizeof(const struct wisdom_machine *), compare_machine_places);
    buf_printf(out, "sagegen wisdom %d\n#   ", WISDOM_VERSION);
#define PUT_NAME(name, help) buf_puts(out, " " #name);
    WISDOM_TEXTS(PUT_NAME)
    WISDOM_NUMBERS(PUT_NAME)
    buf_puts(out, "\n");
    for (int i = 0; i < list->machines; i++) put_machine(list, (int)(machine[i] - list->machine), out);
    key_hash64(out->data + from, out->len - from, hash);
    buf_printf(out, "hash %s\n", hash);
    free(machine);
}

void wisdom_make_folders(const char *file) {
    char *path = xstrdup(file);
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(path, 0755); // one that is there, or cannot be made: the write says so
        *p = '/';
    }
    free(path);
}

bool wisdom_list_write(const struct wisdom_list *list, const char *file, struct diag *d) {
    struct buf text = {0};
    wisdom_list_print(list, &text);
    wisdom_make_folders(file);
    const bool ok = bench_file_write(file, &text, d);
    buf_free(&text);
    return ok;
}
