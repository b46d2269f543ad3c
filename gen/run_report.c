// run_report: see run_report.h. Numbers that are not finite are null in JSON.
// SPDX-License-Identifier: Apache-2.0
#include "run_report.h"
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static const char *io_text(enum number_format io) {
    return io == FORMAT_BF16 ? "bf16" : "fp16";
}

static double scale_of(const struct run_report *r) {
    return r->sm_scale > 0 ? (double)r->sm_scale : 1 / sqrt((double)r->shape->dim_qk);
}

// TOPS; 0 where the clock saw no time.
static double tops(const struct run_report *r, double ms) {
    return ms > 0 ? run_operations(r->shape, r->causal) / ms * 1e-9 : 0;
}

/* -- Text ---- */

static void put_problem(const struct run_report *r, struct buf *out) {
    const sage_attention_shape *e = &r->shape->extent;
    buf_printf(out, "problem  batch %" PRId64 ", heads %" PRId64, e->batch, e->heads_q);
    if (e->heads_kv != e->heads_q) buf_printf(out, " (K and V %" PRId64 ")", e->heads_kv);
    buf_printf(out, ", queries %" PRId64 ", keys %" PRId64 ", head dim %d", e->seq_q, e->seq_k, r->shape->dim_qk);
    if (r->shape->dim_v != r->shape->dim_qk) buf_printf(out, " (V %d)", r->shape->dim_v);
    buf_printf(out, ", %s%s%s, sm_scale %.6g\n", io_text(r->io), r->causal ? ", causal" : "", r->safe ? ", safe" : "",
               scale_of(r));
}

static void put_metrics(const char *name, const struct metrics *m, struct buf *out) {
    buf_printf(out, "%-8s rel L2 %.3e, cosine %.8f, max abs error %.3e", name, m->rel_l2, m->cosine, m->max_abs);
}

static void put_check(const struct run_report *r, struct buf *out) {
    const struct run_check *c = r->check;
    put_metrics("check O", &c->o, out);
    buf_printf(out, "; against float64, %s%zu rows", c->rows == c->rows_all ? "all " : "", c->rows);
    if (c->rows != c->rows_all) buf_printf(out, " of %zu", c->rows_all);
    buf_puts(out, "\n");
    if (!r->lse) return;
    put_metrics("  LSE", &c->lse, out);
    buf_puts(out, "\n");
}

static void put_times(const struct run_report *r, struct buf *out) {
    const struct run_times *t = r->times;
    buf_printf(out, "attend   %.4f ms, %.1f TOPS\n", t->attend_ms, tops(r, t->attend_ms));
    buf_printf(out, "run      %.4f ms, %.1f TOPS, quantisation included; median of %d\n", t->run_ms, tops(r, t->run_ms),
               r->repeat);
}

static void put_machine(const struct run_report *r, struct buf *out) {
    const struct vm_driver_totals *m = r->machine;
    buf_printf(out, "machine  %" PRIu64 " thread instructions in %.2f s, %.1f M/s; no findings; --seed %" PRIu64 "\n",
               m->thread_instructions, m->seconds,
               m->seconds > 0 ? (double)m->thread_instructions * 1e-6 / m->seconds : 0, r->seed);
}

void run_report_text(const struct run_report *r, struct buf *out) {
    char written[TENSOR_TEXT];
    tensor_describe(r->o, written);
    buf_printf(out, "kernel   %s\n", r->kernel);
    buf_printf(out, "device   %s (sm_%d, %d multiprocessors, %.1f GB)\n", r->device->driver.device_name,
               r->device->driver.sm, r->device->driver.multiprocessors, (double)r->device->memory_bytes * 1e-9);
    if (r->machine) put_machine(r, out);
    put_problem(r, out);
    buf_printf(out, "wrote    %s: %s%s\n", r->out, written, r->io == FORMAT_BF16 ? ", stored as f32" : "");
    if (r->lse) buf_printf(out, "wrote    %s: LSE, natural log, f32\n", r->lse);
    if (r->check) put_check(r, out);
    if (r->repeat) put_times(r, out);
}

/* -- JSON ---- */

static json_t *real(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *problem_json(const struct run_report *r) {
    const sage_attention_shape *e = &r->shape->extent;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:s,s:b,s:b,s:o}", "batch", (json_int_t)e->batch, "heads_q",
                     (json_int_t)e->heads_q, "heads_kv", (json_int_t)e->heads_kv, "seq_q", (json_int_t)e->seq_q,
                     "seq_k", (json_int_t)e->seq_k, "head_dim_qk", r->shape->dim_qk, "head_dim_v", r->shape->dim_v,
                     "io", io_text(r->io), "causal", r->causal, "safe", r->safe, "sm_scale", real(scale_of(r)));
}

static json_t *metrics_json(const struct metrics *m) {
    return json_pack("{s:o,s:o,s:o}", "rel_l2", real(m->rel_l2), "cosine", real(m->cosine), "max_abs",
                     real(m->max_abs));
}

static json_t *check_json(const struct run_report *r) {
    json_t *json = json_pack("{s:I,s:I,s:o}", "rows", (json_int_t)r->check->rows, "rows_all",
                             (json_int_t)r->check->rows_all, "o", metrics_json(&r->check->o));
    if (r->lse) json_object_set_new(json, "lse", metrics_json(&r->check->lse));
    return json;
}

static json_t *times_json(const struct run_report *r) {
    const struct run_times *t = r->times;
    return json_pack("{s:i,s:o,s:o,s:o,s:o}", "repeat", r->repeat, "attend_ms", real(t->attend_ms), "attend_tops",
                     real(tops(r, t->attend_ms)), "run_ms", real(t->run_ms), "run_tops", real(tops(r, t->run_ms)));
}

void run_report_json(const struct run_report *r, struct buf *out) {
    json_t *json =
        json_pack("{s:s,s:{s:s,s:i,s:i},s:o,s:s,s:s*,s:I,s:i}", "kernel", r->kernel, "device", "name",
                  r->device->driver.device_name, "sm", r->device->driver.sm, "multiprocessors",
                  r->device->driver.multiprocessors, "problem", problem_json(r), "out", r->out, "lse_out", r->lse,
                  "workspace_bytes", (json_int_t)r->times->workspace_bytes, "overflow_flags", (int)r->times->overflow);
    if (r->machine)
        json_object_set_new(json, "machine",
                            json_pack("{s:I,s:o,s:I}", "thread_instructions",
                                      (json_int_t)r->machine->thread_instructions, "seconds", real(r->machine->seconds),
                                      "seed", (json_int_t)r->seed));
    if (r->check) json_object_set_new(json, "check", check_json(r));
    if (r->repeat) json_object_set_new(json, "time", times_json(r));
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(json);
    if (text) buf_printf(out, "%s\n", text);
    free(text);
}
