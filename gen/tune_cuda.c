// tune_cuda: measures candidates on a GPU: CUDA events around calls of sage_attention_run, quantisation included, on
// random inputs in device memory; enough sets of them that a call finds none in the second level cache. Candidates of a
// task share inputs, output and workspace. SPDX-License-Identifier: Apache-2.0
#include "tune_device.h"

#include "bench_memory.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 2, CALLS_MOST = 32, ROWS = 32 };
#define SAMPLE_MS 1.0 /* a sample is so many calls that it takes about as long */

struct cuda {
    struct tune_device base; /* first */
    struct bench_memory memory;
    device_event from, to;
    const struct tune_task *task; /* whose buffers these are; NULL: none */
    int sets, turn;
    void *input[BENCH_SETS_MOST][RUN_INPUTS], *output[BENCH_SETS_MOST], *workspace[BENCH_SETS_MOST];
    uint64_t workspace_bytes;
    int *calls;               /* of a sample, by candidate; 0: not warm yet */
    double *rows, *reference; /* [ROWS][head dim] */
    int reference_of;         /* candidate; -1: none */
};

static enum tune_answer device_failed(struct cuda *c, char *why, size_t n) {
    char text[DEVICE_ERROR_BYTES];
    snprintf(text, sizeof text, "%s", device_error(&c->base.device));
    return tune_device_failed(&c->base, why, n, text);
}

/* -- Opening ---- */

static void cuda_close(void *state) {
    struct cuda *c = state;
    if (driver_is_open(&c->base.device.driver)) {
        bench_memory_close(&c->memory);
        if (c->from) device_event_destroy(&c->base.device, c->from);
        if (c->to) device_event_destroy(&c->base.device, c->to);
    }
    tune_device_close(&c->base);
    free(c->calls);
    free(c->rows);
    free(c->reference);
    free(c);
}

static bool cuda_open(const struct tune_bench *bench, void **state, char *why, size_t n) {
    struct cuda *c = *state = xcalloc(1, sizeof *c);
    struct device *device = &c->base.device;
    if (!tune_device_open(&c->base, bench, NULL, BUILD_CUBIN, why, n)) return false;
    c->memory = (struct bench_memory){.device = device, .stream = c->base.stream};
    if (device_event_create(device, &c->from) && device_event_create(device, &c->to)) return true;
    snprintf(why, n, "%s", device_error(device));
    return false;
}

/* -- Buffers of a task ---- */

static bool take_buffers(struct cuda *c, const struct tune_task *t) {
    const sage_attention_shape s = tune_shape(t);
    const uint64_t d = (uint64_t)t->problem.d, q = (uint64_t)(s.batch * s.heads_q * s.seq_q) * d,
                   kv = (uint64_t)(s.batch * s.heads_kv * s.seq_k) * d;
    const uint64_t elements[RUN_INPUTS] = {q, kv, kv};
    bool ok = true;
    c->sets = bench_memory_sets(&c->memory, 4.0 * (double)(q + kv));
    for (int i = 0; ok && i < c->sets; i++) {
        for (int k = 0; ok && k < RUN_INPUTS; k++)
            ok = bench_memory_random(&c->memory, tune_io_format(t->io), elements[k], &c->input[i][k]);
        ok = ok && bench_memory_take(&c->memory, 2 * q, &c->output[i]);
    }
    return ok;
}

static enum tune_answer set_task(struct cuda *c, const struct tune_task *t, char *why, size_t n) {
    if (c->task == t) return TUNE_OK;
    bench_memory_release(&c->memory);
    c->task = NULL;
    c->workspace_bytes = 0;
    c->reference_of = -1;
    free(c->calls);
    free(c->rows);
    free(c->reference);
    c->calls = xcalloc((size_t)t->count, sizeof *c->calls);
    c->rows = xcalloc(ROWS * (size_t)t->problem.d, sizeof *c->rows);
    c->reference = xcalloc(ROWS * (size_t)t->problem.d, sizeof *c->reference);
    if (!take_buffers(c, t)) return device_failed(c, why, n);
    c->task = t;
    return TUNE_OK;
}

// A candidate that needs more than those before it gets new ones; the old ones are freed with the task's.
static bool take_workspace(struct cuda *c, uint64_t bytes) {
    bool ok = true;
    for (int i = 0; ok && bytes > c->workspace_bytes && i < c->sets; i++)
        ok = bench_memory_take(&c->memory, bytes, &c->workspace[i]);
    if (ok && bytes > c->workspace_bytes) c->workspace_bytes = bytes;
    return ok;
}

/* -- Calls ---- */

static sage_tensor tensor_of(void *data, int64_t heads, int64_t seq, int64_t dim) {
    return (sage_tensor){data, heads * seq * dim, seq * dim, dim};
}

static sage_status call(struct cuda *c, const sage_attention_plan *plan, const sage_attention_shape *s, int d, int i) {
    const sage_attention_args args = {.size = sizeof args,
                                      .shape = *s,
                                      .q = tensor_of(c->input[i][RUN_Q], s->heads_q, s->seq_q, d),
                                      .k = tensor_of(c->input[i][RUN_K], s->heads_kv, s->seq_k, d),
                                      .v = tensor_of(c->input[i][RUN_V], s->heads_kv, s->seq_k, d),
                                      .o = tensor_of(c->output[i], s->heads_q, s->seq_q, d),
                                      .workspace = c->workspace[i],
                                      .workspace_bytes = c->workspace_bytes};
    return sage_attention_run(plan, &args, c->base.stream);
}

// Buffers and plan of the candidate, ready for calls.
static enum tune_answer ready(struct cuda *c, const struct tune_task *t, int candidate, struct tune_loaded **out,
                              char *why, size_t n) {
    const sage_attention_shape shape = tune_shape(t);
    enum tune_answer answer = set_task(c, t, why, n);
    if (answer == TUNE_OK) answer = tune_device_plan(&c->base, t->candidate[candidate].set, out, why, n);
    if (answer != TUNE_OK) return answer;
    const size_t bytes = sage_attention_workspace_bytes((*out)->plan, &shape);
    if (bytes == 0) return tune_device_failed(&c->base, why, n, sage_last_error(c->base.context));
    return take_workspace(c, bytes) ? TUNE_OK : device_failed(c, why, n);
}

static enum tune_answer measure(struct cuda *c, const struct tune_task *t, const struct tune_loaded *loaded, int calls,
                                double *ms, char *why, size_t n) {
    struct device *device = &c->base.device;
    const sage_attention_shape shape = tune_shape(t);
    if (!device_event_record(device, c->from, c->base.stream)) return device_failed(c, why, n);
    for (int i = 0; i < calls; i++)
        if (call(c, loaded->plan, &shape, t->problem.d, c->turn++ % c->sets) != SAGE_OK)
            return tune_device_failed(&c->base, why, n, sage_last_error(c->base.context));
    if (!device_event_record(device, c->to, c->base.stream) || !device_event_elapsed(device, c->from, c->to, ms))
        return device_failed(c, why, n);
    *ms /= calls;
    return TUNE_OK;
}

static enum tune_answer cuda_time(void *state, const struct tune_task *t, int candidate, double *ms, char *why,
                                  size_t n) {
    struct cuda *c = state;
    struct tune_loaded *loaded;
    enum tune_answer answer = ready(c, t, candidate, &loaded, why, n);
    int *calls = answer == TUNE_OK ? &c->calls[candidate] : NULL;
    for (int i = 0; answer == TUNE_OK && *calls == 0 && i < WARM_UP; i++) answer = measure(c, t, loaded, 1, ms, why, n);
    if (answer != TUNE_OK) return answer;
    if (*calls == 0) *calls = (int)fmin(CALLS_MOST, fmax(1, ceil(SAMPLE_MS / fmax(*ms, 1e-4))));
    return measure(c, t, loaded, *calls, ms, why, n);
}

/* -- Check ---- */

// Evenly spread rows of the output of set 0.
static bool download_rows(struct cuda *c, const struct tune_task *t, double *out) {
    const sage_attention_shape s = tune_shape(t);
    const int64_t rows = s.batch * s.heads_q * s.seq_q, d = t->problem.d;
    uint16_t *bits = xcalloc((size_t)d, sizeof *bits);
    bool ok = true;
    for (int64_t i = 0; ok && i < ROWS; i++) {
        const int64_t row = (rows - 1) * i / (ROWS - 1);
        ok =
            device_download(&c->base.device, bits, (uint16_t *)c->output[0] + row * d, 2 * (uint64_t)d, c->base.stream);
        for (int64_t k = 0; ok && k < d; k++) out[i * d + k] = format_decode(tune_io_format(t->io), bits[k]);
    }
    free(bits);
    return ok;
}

// The output starts as NaN, so that a row that no kernel wrote is seen.
static enum tune_answer run_rows(struct cuda *c, const struct tune_task *t, int candidate, double *out, char *why,
                                 size_t n) {
    const sage_attention_shape s = tune_shape(t);
    const uint64_t bytes = 2 * (uint64_t)(s.batch * s.heads_q * s.seq_q) * (uint64_t)t->problem.d;
    struct tune_loaded *loaded;
    const enum tune_answer answer = ready(c, t, candidate, &loaded, why, n);
    if (answer != TUNE_OK) return answer;
    if (!device_memset_u8(&c->base.device, c->output[0], 0xff, bytes, c->base.stream)) return device_failed(c, why, n);
    if (call(c, loaded->plan, &s, t->problem.d, 0) != SAGE_OK)
        return tune_device_failed(&c->base, why, n, sage_last_error(c->base.context));
    return download_rows(c, t, out) ? TUNE_OK : device_failed(c, why, n);
}

static double rows_error(const struct cuda *c, const struct tune_task *t) {
    const int dim = t->problem.d;
    const struct verify_rows got = {.count = ROWS, .dim_v = dim, .o = c->rows},
                             reference = {.count = ROWS, .dim_v = dim, .o = c->reference};
    return verify_error(&got, &reference);
}

static enum tune_answer cuda_check(void *state, const struct tune_task *t, int candidate, int reference,
                                   struct tune_proof *out, char *why, size_t n) {
    struct cuda *c = state;
    struct tune_loaded *loaded;
    enum tune_answer answer = tune_device_prove(&c->base, t->candidate[candidate].set, &loaded, why, n);
    if (answer != TUNE_OK) return answer;
    *out = loaded->proof;
    if (!(out->error <= out->bound)) return TUNE_OK; // no need to look further
    answer = set_task(c, t, why, n);
    if (answer == TUNE_OK && reference >= 0 && c->reference_of != reference) {
        answer = run_rows(c, t, reference, c->reference, why, n);
        c->reference_of = reference;
    }
    if (answer == TUNE_OK) answer = run_rows(c, t, candidate, c->rows, why, n);
    if (answer != TUNE_OK) return answer;
    if (reference < 0) memcpy(c->reference, c->rows, ROWS * (size_t)t->problem.d * sizeof *c->rows);
    const double error = rows_error(c, t); // without a reference 0, or NaN
    if (!(error <= out->error)) out->error = error;
    return TUNE_OK;
}

const struct tune_meter tune_meter_cuda = {
    .name = "cuda", .open = cuda_open, .check = cuda_check, .time = cuda_time, .close = cuda_close};
