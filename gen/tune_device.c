// tune_device: see tune_device.h. SPDX-License-Identifier: Apache-2.0
#include "tune_device.h"

#include "context.h"
#include "reference/random.h"
#include "run_launch.h"
#include "verify_data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ends within every tile there is.
enum { PROOF_HEADS = 2, PROOF_TOKENS = 333, PROOF_SEED = 1 };

enum number_format tune_io_format(enum spec_io io) {
    return io == SPEC_IO_BF16 ? FORMAT_BF16 : FORMAT_F16;
}

sage_attention_shape tune_proof_shape(void) {
    return (sage_attention_shape){1, PROOF_HEADS, PROOF_HEADS, PROOF_TOKENS, PROOF_TOKENS};
}

/* -- Opening ---- */

bool tune_device_open(struct tune_device *d, const struct tune_bench *bench, void *(*entry)(const char *symbol),
                      enum build_form form, char *why, size_t why_bytes) {
    const sage_options options = {.size = sizeof options,
                                  .device = bench->ordinal,
                                  .cache_dir = bench->cache_dir,
                                  .driver_entry = entry,
                                  .wisdom = "none"};
    const struct sage_provider provider = verify_provider(&d->unit);
    d->bench = bench;
    d->loaded = xcalloc((size_t)bench->work->sets + 1, sizeof *d->loaded);
    if (!device_open(bench->ordinal, entry, &d->device, why, why_bytes)) return false;
    if (sage_context_create(&options, &d->context) != SAGE_OK) {
        snprintf(why, why_bytes, "%s", sage_last_error(NULL));
        return false;
    }
    if (context_add_provider(d->context, &provider) != SAGE_OK ||
        build_open(&d->setup, d->context, cmd_template_dir(), form) != SAGE_OK) {
        snprintf(why, why_bytes, "%s", sage_last_error(d->context));
        return false;
    }
    if (device_stream_create(&d->device, &d->stream)) return true;
    snprintf(why, why_bytes, "%s", device_error(&d->device));
    return false;
}

static void standard_free(struct tune_standard *s) {
    for (int i = 0; i < RUN_INPUTS; i++) tensor_free(&s->input[i]);
    verify_rows_free(&s->exact);
    free(s->sample);
    *s = (struct tune_standard){0};
}

void tune_device_close(struct tune_device *d) {
    for (int i = 0; d->loaded && i < d->bench->work->sets; i++) {
        sage_attention_plan_destroy(d->loaded[i].plan);
        tune_kernels_free(&d->setup, &d->loaded[i].kernels);
    }
    free(d->loaded);
    standard_free(&d->standard);
    if (d->stream) device_stream_destroy(&d->device, d->stream);
    sage_context_destroy(d->context);
    device_close(&d->device);
}

enum tune_answer tune_device_failed(struct tune_device *d, char *why, size_t why_bytes, const char *text) {
    snprintf(why, why_bytes, "%.*s", (int)strcspn(text, "\n"), text);
    return device_synchronize(&d->device, d->stream) ? TUNE_FAILED : TUNE_LOST;
}

/* -- Plans ---- */

enum tune_answer tune_device_plan(struct tune_device *d, int set, struct tune_loaded **out, char *why,
                                  size_t why_bytes) {
    const struct tune_set *s = &d->bench->work->set[set];
    const struct spec *spec = &s->spec->spec;
    struct tune_loaded *loaded = *out = &d->loaded[set];
    if (loaded->plan) return TUNE_OK;
    tune_kernels_free(&d->setup, &loaded->kernels);
    if (!tune_kernels_make(&d->setup, s, &loaded->kernels, why, why_bytes)) return TUNE_FAILED;
    const sage_attention_desc desc = {.size = sizeof desc,
                                      .dtype = s->io == SPEC_IO_BF16 ? SAGE_BF16 : SAGE_FP16,
                                      .head_dim_qk = spec->head_dim_qk,
                                      .head_dim_v = spec->head_dim_v,
                                      .mask = s->mask == SPEC_MASK_CAUSAL ? SAGE_MASK_CAUSAL : SAGE_MASK_NONE,
                                      .spec = spec->name,
                                      .flags = SAGE_FLAG_OVERFLOW};
    d->unit = &loaded->kernels.unit;
    if (sage_attention_plan_create(d->context, &desc, &loaded->plan) == SAGE_OK) return TUNE_OK;
    return tune_device_failed(d, why, why_bytes, sage_last_error(d->context));
}

/* -- Proof ---- */

static double *doubles(size_t count) {
    return xcalloc(count + 1, sizeof(double));
}

// Random inputs, rounded to the io type, as floats for the reference and as tensors for the kernels.
static bool make_inputs(struct tune_standard *s, const struct spec *spec, struct attention_problem *p, float *data[3],
                        char *why, size_t why_bytes) {
    const sage_attention_shape e = tune_proof_shape();
    const enum number_format io = tune_io_format(s->io);
    const struct random_shape shape = {(int)e.heads_q,  (int)e.heads_kv,   (size_t)e.seq_q,
                                       (size_t)e.seq_k, spec->head_dim_qk, spec->head_dim_v};
    const int dims[RUN_INPUTS] = {spec->head_dim_qk, spec->head_dim_qk, spec->head_dim_v};
    bool ok = true;
    for (int i = 0; ok && i < RUN_INPUTS; i++) {
        const int64_t extent[4] = {e.batch, e.heads_q, e.seq_q, dims[i]};
        ok = tensor_create(io, 4, extent, &s->input[i], why, why_bytes);
        if (ok) data[i] = xcalloc(tensor_count(&s->input[i]), sizeof(float));
    }
    if (!ok) return false;
    random_attention(RANDOM_NORMAL, &shape, io, PROOF_SEED, 0, data[RUN_Q], data[RUN_K], data[RUN_V]);
    for (int i = 0; i < RUN_INPUTS; i++) format_encode_array(io, data[i], tensor_count(&s->input[i]), s->input[i].data);
    *p = (struct attention_problem){.q = data[RUN_Q],
                                    .k = data[RUN_K],
                                    .v = data[RUN_V],
                                    .heads_q = shape.heads_q,
                                    .heads_kv = shape.heads_kv,
                                    .seq_q = shape.seq_q,
                                    .seq_k = shape.seq_k,
                                    .dim_qk = shape.dim_qk,
                                    .dim_v = shape.dim_v,
                                    .causal = s->mask == SPEC_MASK_CAUSAL};
    return true;
}

// How far a sound kernel may be off: by the published algorithm's own error on these inputs, as `sagegen verify`
// judges.
static bool make_references(struct tune_standard *s, const struct verify_unit *unit, const struct attention_problem *p,
                            char *why, size_t why_bytes) {
    struct verify_published published;
    const size_t count = verify_samples(p, 0, 0, &s->sample);
    s->exact = verify_rows_make(s->sample, count, p->dim_v);
    struct verify_rows own = verify_rows_make(s->sample, count, p->dim_v);
    const bool ok = verify_published(unit, &published) &&
                    attention_exact(p, s->sample, count, 0, s->exact.o, s->exact.lse, why, why_bytes) &&
                    algorithm_attend(&published.algorithm, p, s->sample, count, 0, own.o, own.lse, why, why_bytes);
    if (ok) s->bound = verify_loose_bound(verify_error(&own, &s->exact), &s->exact);
    verify_rows_free(&own);
    return ok;
}

static bool standard_make(struct tune_standard *s, const struct tune_set *set, const struct verify_unit *unit,
                          char *why, size_t why_bytes) {
    const struct spec *spec = &set->spec->spec;
    float *data[RUN_INPUTS] = {NULL, NULL, NULL};
    struct attention_problem p;
    if (s->spec == set->spec && s->io == set->io && s->mask == set->mask) return true;
    standard_free(s);
    *s = (struct tune_standard){.spec = set->spec, .io = set->io, .mask = set->mask};
    s->shape = (struct run_shape){.layout = RUN_BHND,
                                  .ndim = 4,
                                  .extent = tune_proof_shape(),
                                  .dim_qk = spec->head_dim_qk,
                                  .dim_v = spec->head_dim_v};
    const bool ok = make_inputs(s, spec, &p, data, why, why_bytes) && make_references(s, unit, &p, why, why_bytes);
    for (int i = 0; i < RUN_INPUTS; i++) free(data[i]);
    if (!ok) standard_free(s);
    return ok;
}

static double error_of(const struct tune_standard *s, const struct tensor *o) {
    const size_t count = tensor_count(o);
    struct verify_rows got = {.sample = s->sample, .count = s->exact.count, .dim_v = s->exact.dim_v};
    float *values = xcalloc(count + 1, sizeof *values);
    got.o = doubles(count);
    format_decode_array(o->dtype, o->data, count, values);
    for (size_t i = 0; i < count; i++) got.o[i] = (double)values[i];
    const double error = verify_error(&got, &s->exact);
    free(values);
    verify_rows_free(&got);
    return error;
}

enum tune_answer tune_device_prove(struct tune_device *d, int set, struct tune_loaded **out, char *why,
                                   size_t why_bytes) {
    struct tune_standard *s = &d->standard;
    struct tensor o = {0};
    struct run_times times;
    char text[DEVICE_ERROR_BYTES] = "";
    const enum tune_answer answer = tune_device_plan(d, set, out, why, why_bytes);
    if (answer != TUNE_OK || (*out)->proved) return answer;
    if (!standard_make(s, &d->bench->work->set[set], &(*out)->kernels.unit, why, why_bytes) ||
        !run_output_create(&s->shape, tune_io_format(s->io), &o, why, why_bytes))
        return TUNE_FAILED;
    const struct run_call call = {
        .plan = (*out)->plan, .context = d->context, .shape = &s->shape, .input = s->input, .o = &o};
    const bool ok = run_launch(&d->device, &call, &times, text, sizeof text);
    if (ok) (*out)->proof = (struct tune_proof){error_of(s, &o), s->bound};
    (*out)->proved = ok;
    tensor_free(&o);
    return ok ? TUNE_OK : tune_device_failed(d, why, why_bytes, text);
}
