// verify_report: counts and prints the records of checks: a line each, then failures again, then the worst of each
// check. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_text[] = {[VERIFY_BEGIN] = "",
                                           [VERIFY_PASS] = "PASS",
                                           [VERIFY_FAIL] = "FAIL",
                                           [VERIFY_SKIP] = "SKIP",
                                           [VERIFY_FATAL] = "FAIL"};

static const char *unit_text(const struct verify_report *report, const struct verify_record *r, char out[96]) {
    if (r->unit < 0 || r->unit >= report->units->count) return "-";
    return verify_unit_text(&report->units->unit[r->unit], out);
}

static void print_line(const struct verify_report *report, const struct verify_record *r) {
    char unit[96];
    printf("%-43s %-20s %-30s ", unit_text(report, r, unit), r->check, r->shape);
    if (r->outcome == VERIFY_SKIP)
        printf("SKIP %s\n", r->note);
    else
        printf("error %-9.3g bound %-9.3g %s%s%s\n", r->error, r->bound, outcome_text[r->outcome],
               r->note[0] ? "  " : "", r->note);
}

static void keep(struct verify_report *report, const struct verify_record *r) {
    if (report->count == report->capacity) {
        report->capacity = report->capacity ? 2 * report->capacity : 256;
        struct verify_record *more = xmalloc((size_t)report->capacity * sizeof *more);
        if (report->count) memcpy(more, report->record, (size_t)report->count * sizeof *more);
        free(report->record);
        report->record = more;
    }
    report->record[report->count++] = *r;
}

void verify_report_put(void *user, const struct verify_record *r) {
    struct verify_report *report = user;
    if (r->outcome == VERIFY_BEGIN) return;
    keep(report, r);
    report->passed += r->outcome == VERIFY_PASS;
    report->failed += r->outcome == VERIFY_FAIL || r->outcome == VERIFY_FATAL;
    report->skipped += r->outcome == VERIFY_SKIP;
    if (report->json) return;
    print_line(report, r);
    fflush(stdout);
}

/* -- The end ---- */

static double badness(const struct verify_record *r) {
    if (r->outcome == VERIFY_SKIP) return -1;
    if (!isfinite(r->error)) return INFINITY;
    return r->bound > 0 ? r->error / r->bound : r->error > 0 ? INFINITY : 0;
}

static bool same_check(const struct verify_report *report, const struct verify_record *a,
                       const struct verify_record *b) {
    if (strcmp(a->check, b->check) != 0) return false;
    if (a->unit < 0 || b->unit < 0) return a->unit == b->unit;
    const struct verify_unit *x = &report->units->unit[a->unit], *y = &report->units->unit[b->unit];
    return x->target == y->target && x->spec.v_format == y->spec.v_format &&
           x->spec.accumulate_in == y->spec.accumulate_in && x->io == y->io;
}

// The record nearest to its bound among all of its check, V format, target and io, if r is the first of them.
static const struct verify_record *worst_of(const struct verify_report *report, int first, int *count) {
    const struct verify_record *r = &report->record[first], *worst = r;
    for (int i = 0; i < first; i++)
        if (same_check(report, &report->record[i], r)) return NULL;
    *count = 0;
    for (int i = first; i < report->count; i++) {
        const struct verify_record *other = &report->record[i];
        if (!same_check(report, other, r)) continue;
        ++*count;
        if (badness(other) > badness(worst)) worst = other;
    }
    return worst;
}

static void print_worst(const struct verify_report *report) {
    printf("\nnearest to its bound, of each check, format of V, target and io (number of records):\n");
    for (int i = 0; i < report->count; i++) {
        int count = 0;
        const struct verify_record *worst = worst_of(report, i, &count);
        if (!worst || worst->outcome == VERIFY_SKIP) continue;
        printf("(%4d) ", count);
        print_line(report, worst);
    }
}

static void print_failures(const struct verify_report *report) {
    enum { LINES_MAX = 60 };
    int printed = 0;
    for (int i = 0; i < report->count; i++) {
        const struct verify_record *r = &report->record[i];
        if (r->outcome != VERIFY_FAIL && r->outcome != VERIFY_FATAL) continue;
        if (printed == 0) printf("\nfailures:\n");
        if (printed++ < LINES_MAX) print_line(report, r);
    }
    if (printed > LINES_MAX) printf("... and %d more\n", printed - LINES_MAX);
}

static void json_text(struct buf *out, const char *name, const char *text) {
    buf_printf(out, "\"%s\": \"", name);
    for (const char *p = text; *p; p++)
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if ((unsigned char)*p >= ' ')
            buf_append(out, p, 1);
    buf_puts(out, "\"");
}

// JSON has no infinity and no NaN.
static void json_number(struct buf *out, const char *name, double x) {
    if (isfinite(x))
        buf_printf(out, ", \"%s\": %.6g", name, x);
    else
        buf_printf(out, ", \"%s\": null", name);
}

static void json_unit(struct buf *out, const struct verify_unit *u) {
    char variant[VARIANT_TEXT_MAX];
    variant_text(u->variant, variant);
    buf_printf(out, "\"spec\": \"%s\", \"target\": \"%s\", \"variant\": \"%s\", \"io\": \"%s\", \"mask\": \"%s\", ",
               u->spec.name, spec_target_text(u->target), variant, spec_io_text(u->io), spec_mask_text(u->mask));
    buf_printf(out, "\"safe\": %s, ", u->spec.safe ? "true" : "false");
}

static void print_json(const struct verify_report *report) {
    struct buf out = {0};
    buf_puts(&out, "[");
    for (int i = 0; i < report->count; i++) {
        const struct verify_record *r = &report->record[i];
        buf_puts(&out, i ? ",\n {" : "\n {");
        if (r->unit >= 0 && r->unit < report->units->count) json_unit(&out, &report->units->unit[r->unit]);
        json_text(&out, "check", r->check);
        buf_puts(&out, ", ");
        json_text(&out, "shape", r->shape);
        json_number(&out, "error", r->error);
        json_number(&out, "bound", r->bound);
        buf_printf(&out, ", \"outcome\": \"%s\", ", outcome_text[r->outcome]);
        json_text(&out, "note", r->note);
        buf_puts(&out, "}");
    }
    buf_puts(&out, "\n]\n");
    fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
}

void verify_report_end(const struct verify_report *report) {
    if (report->json) {
        print_json(report);
    } else {
        print_worst(report);
        print_failures(report);
        printf("\n");
    }
    fprintf(report->json ? stderr : stdout, "%d passed, %d failed, %d skipped\n", report->passed, report->failed,
            report->skipped);
    fflush(stdout);
}

void verify_report_free(struct verify_report *report) {
    free(report->record);
    report->record = NULL;
    report->count = report->capacity = 0;
}
