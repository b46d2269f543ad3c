// test_verify: `sagegen verify` without a GPU. The image decoder against layouts spelt out by hand; then whole runs on
// the fake driver, whose launches are answered by models of the kernels on the CPU: sound ones must pass every check,
// and ones with a planted fault must fail the check that is there for it; the whole command, whose children are alone
// in calling the driver. SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "context.h"
#include "driver.h"
#include "fake_cuda.h"
#include "kernel_args.h"
#include "kernel_meta.h"
#include "reference/attend.h"
#include "reference/formats.h"
#include "runtime_fixture.h"
#include "shipped.h"
#include "verify.h"
#include "verify_model.h"

#define countof(array) (sizeof(array) / sizeof *(array))

static struct fake_cuda fake;

/* -- Units without a compiler ---- */

// A test's kernel sets: one shipped spec, optionally rewritten.
struct kernels {
    struct diag diag;
    struct buf messages, skipped;
    struct spec spec;
    char *text;
    struct verify_units units;
    struct build_setup setup;
};

static void job_make(struct build_job *job, sage_context *context) {
    struct plan plan;
    char cubin[200], *text = NULL;
    size_t len = 0;
    plan_make(&plan, &job->request);
    snprintf(cubin, sizeof cubin, "cubin of %s", plan.entry);
    const struct compile_result result = {
        .cubin = cubin, .cubin_bytes = strlen(cubin), .ptx = (char[]){""}, .registers = 32};
    kernel_meta_fill(&job->meta, &plan, "source", 6, &result);
    assert_int_equal(meta_write(context, &job->meta, &text, &len), SAGE_OK);
    job->entry.files.meta = (struct cache_bytes){text, len};
    job->entry.files.cubin = (struct cache_bytes){context_copy_text(context, cubin, strlen(cubin)), strlen(cubin)};
    job->state = BUILD_DONE;
}

static void kernels_make(struct kernels *k, const char *spec, struct verify_choice choice) {
    const struct embedded_file *file = shipped_find(spec);
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    memset(k, 0, sizeof *k);
    k->diag.sink = &k->messages;
    assert_non_null(file);
    k->text = xstrndup(file->data, file->size);
    assert_true(spec_parse(&k->spec, spec, k->text, file->size, &k->diag));
    assert_int_equal(sage_context_create(&options, &k->setup.context), SAGE_OK);
    choice.sm = 90;
    verify_units_reserve(&k->units, 1);
    verify_units_add(&k->units, &k->spec, k->text, &choice, &k->skipped);
    for (int i = 0; i < k->units.job_count; i++) job_make(&k->units.job[i], k->setup.context);
}

static void kernels_free(struct kernels *k) {
    verify_units_free(&k->units, &k->setup);
    sage_context_destroy(k->setup.context);
    spec_free(&k->spec);
    diag_free(&k->diag);
    buf_free(&k->messages);
    buf_free(&k->skipped);
    free(k->text);
}

/* -- Models of the kernels ---- */

enum planted {
    NOTHING,
    WRONG_DIAGONAL, /* causal rows see one key more */
    WRONG_SWIZZLE,  /* two chunks of Q's image exchanged */
    WRONG_SCALE,    /* O 1 % too large */
    WRONG_K_SCALE,  /* a lane's scale of K 1e-5 off */
    WRONG_LSE,      /* mean(K) not given back */
    NOT_REPEATABLE,
    WRITES_INPUT,
    WRITES_BESIDE_O,
    NO_FLAG_OF_V,
    EMPTY_IS_NAN, /* no key: 0 times what is in the workspace */
    DEVICE_FAULT, /* these in the first unit */
    CRASH,        /* of the process */
    HANG,
    LATE_O, /* these after the first calls of a soak: one bit of O */
    LATE_LSE,
    LATE_FLAG,
    LATE_BESIDE,
    LATE_FAULT,
    LATE_CRASH,
    LATE_HANG
};

struct model {
    const struct verify_units *units;
    enum planted planted;
    int launches, calls;
};

enum { LATE_CALL = 6 /* of attention; the first calls of a quick soak of one unit */ };

struct launched {
    const struct model *model;
    const struct verify_unit *unit;
    const struct plan *plan;
    struct sage_kernel_args a;
};

static bool is_late(const struct launched *l, enum planted planted) {
    return l->model->planted == planted && l->model->calls > LATE_CALL;
}

static const void *at(uint64_t address) {
    return (const void *)(uintptr_t)address;
}

static void *to(uint64_t address) {
    return (void *)(uintptr_t)address;
}

static enum number_format io_of(const struct launched *l) {
    return l->unit->io == SPEC_IO_BF16 ? FORMAT_BF16 : FORMAT_F16;
}

// One head of Q, K or V as floats; non-finite ones as they are.
static float *gather(const struct launched *l, char tensor, int64_t head, struct model_input *out) {
    const struct sage_kernel_args *a = &l->a;
    const bool q = tensor == 'q', v = tensor == 'v';
    const int64_t heads = q ? a->heads_q : a->heads_kv, b = head / heads, h = head % heads;
    const int64_t sb = q ? a->q_stride_b : v ? a->v_stride_b : a->k_stride_b;
    const int64_t sh = q ? a->q_stride_h : v ? a->v_stride_h : a->k_stride_h;
    const int64_t sn = q ? a->q_stride_n : v ? a->v_stride_n : a->k_stride_n;
    const uint16_t *base = at(q ? a->q : v ? a->v : a->k);
    *out = (struct model_input){NULL, q ? a->seq_q : a->seq_k, v ? l->plan->head_dim_v : l->plan->head_dim_qk};
    float *x = xmalloc((size_t)(out->rows * out->dim + 1) * sizeof *x);
    for (int64_t n = 0; n < out->rows; n++)
        format_decode_array(io_of(l), base + b * sb + h * sh + n * sn, (size_t)out->dim, x + n * out->dim);
    out->x = x;
    return x;
}

static void raise_flag(const struct launched *l, const struct model_input *in, unsigned bit) {
    if (!l->a.flags || (bit == SAGE_OVERFLOW_V && l->model->planted == NO_FLAG_OF_V)) return;
    for (int64_t i = 0; i < in->rows * in->dim; i++)
        if (!isfinite(in->x[i])) *(uint32_t *)to(l->a.flags) |= bit;
}

static void run_stats(const struct launched *l) {
    const struct sage_kernel_args *a = &l->a;
    const int width = l->plan->stats_width;
    for (int64_t kv = 0; kv < (int64_t)a->batch * a->heads_kv; kv++)
        for (int t = 0; t < 2; t++) {
            struct model_input in;
            float *x = gather(l, t ? 'v' : 'k', kv, &in);
            for (int64_t i = 0; i < in.rows * in.dim; i++) x[i] = isfinite(x[i]) ? x[i] : 0;
            for (int64_t s = 0; s < a->splits; s++)
                for (int c = 0; c < width; c++) {
                    float *out = (float *)to(a->stats) + ((kv * a->splits + s) * 4 + t) * width + c;
                    out[0] = 0; // the sum; of K no more is kept: V, which comes later, takes the places
                    out[width] = 3.402823466e38f;
                    out[2 * width] = -3.402823466e38f;
                    for (int64_t n = in.rows * s / a->splits; n < in.rows * (s + 1) / a->splits; n++) {
                        float y = c < in.dim ? x[n * in.dim + c] : 0;
                        out[0] += y;
                        out[width] = fminf(out[width], y);
                        out[2 * width] = fmaxf(out[2 * width], y);
                    }
                }
            free(x);
        }
}

static const float *stats_of(const struct launched *l, int64_t kv) {
    return (const float *)at(l->a.stats) + kv * l->a.splits * 4 * l->plan->stats_width;
}

static void run_quantise_q(const struct launched *l, int64_t head) {
    const struct sage_kernel_args *a = &l->a;
    const struct plan *p = l->plan;
    const int64_t tiles = a->q_tile_count;
    const int groups = p->q_group ? p->tile_q / p->q_group : 0;
    struct model_input in;
    float *x = gather(l, 'q', head, &in);
    raise_flag(l, &in, SAGE_OVERFLOW_Q);
    for (int64_t tile = 0; tile < tiles; tile++) {
        uint8_t *image = (uint8_t *)to(a->q_tiles) + (head * tiles + tile) * p->q_tile_bytes;
        float *mean = groups ? (float *)to(a->q_mean) + (head * tiles + tile) * groups * p->d_qk : NULL;
        for (int g = 0; g < groups; g++) model_q_mean(p, &in, tile, g, mean + g * p->d_qk);
        model_encode_q(p, &in, tile, a->sm_scale, mean, image,
                       (float *)to(a->q_scale) + (head * tiles + tile) * p->tile_q);
        if (l->model->planted == WRONG_SWIZZLE)
            for (int i = 0; i < 16; i++) {
                uint8_t byte = image[i];
                image[i] = image[16 + i];
                image[16 + i] = byte;
            }
    }
    free(x);
}

static void run_lse_bias(const struct launched *l, int64_t head) {
    const struct sage_kernel_args *a = &l->a;
    const struct plan *p = l->plan;
    struct model_input in;
    float *x = gather(l, 'q', head, &in), k_mean[MODEL_DIM_MAX] = {0};
    model_k_mean(p, stats_of(l, head / (a->heads_q / a->heads_kv)), a->splits, a->seq_k, k_mean);
    for (int64_t n = 0; n < in.rows; n++) {
        float dot = 0;
        for (int c = 0; c < in.dim; c++) dot += (isfinite(x[n * in.dim + c]) ? x[n * in.dim + c] : 0) * k_mean[c];
        ((float *)to(a->lse_bias))[head * a->q_tile_count * p->tile_q + n] = dot * a->sm_scale;
    }
    free(x);
}

static void store_centred(const struct launched *l, const struct model_input *in, int64_t kv, const float *mean) {
    const int64_t keys = (int64_t)l->a.k_tile_count * l->plan->tile_k, d = l->plan->d_qk;
    uint16_t *out = (uint16_t *)to(l->a.k_centred) + kv * keys * d;
    for (int64_t i = 0; i < keys * d; i++) {
        int64_t n = i / d, c = i % d;
        float x = n < in->rows && c < in->dim ? in->x[n * in->dim + c] : 0;
        x = n < in->rows ? (isfinite(x) ? x : 0) - mean[c] : 0;
        out[i] = (uint16_t)format_encode(io_of(l), (double)x);
    }
}

static void run_quantise_kv(const struct launched *l, int64_t kv) {
    const struct sage_kernel_args *a = &l->a;
    const struct plan *p = l->plan;
    struct model_input k, v;
    float *free_k = gather(l, 'k', kv, &k), *free_v = gather(l, 'v', kv, &v);
    float k_mean[MODEL_DIM_MAX] = {0}, scale[MODEL_DIM_MAX], mean[MODEL_DIM_MAX];
    if (p->smooth_k) model_k_mean(p, stats_of(l, kv), a->splits, a->seq_k, k_mean);
    model_v_scale(p, stats_of(l, kv), a->splits, a->seq_k, scale, mean);
    raise_flag(l, &k, SAGE_OVERFLOW_K);
    raise_flag(l, &v, SAGE_OVERFLOW_V);
    for (int64_t tile = 0; tile < a->k_tile_count; tile++) {
        uint8_t *image = (uint8_t *)to(a->k_tiles) + (kv * a->k_tile_count + tile) * p->k_tile_bytes;
        model_encode_k(p, &k, tile, k_mean, image);
        if (l->model->planted == WRONG_K_SCALE) {
            float one;
            memcpy(&one, image + image_k_scale_byte(p, 3), sizeof one);
            one *= 1.00001f;
            memcpy(image + image_k_scale_byte(p, 3), &one, sizeof one);
        }
        model_encode_v(p, &v, tile, scale, mean,
                       (uint8_t *)to(a->v_tiles) + (kv * a->k_tile_count + tile) * p->v_tile_bytes);
    }
    float *v_scale = (float *)to(a->v_scale) + kv * 2 * p->d_v;
    for (int c = 0; c < p->d_v && a->k_tile_count > 0; c++) {
        v_scale[c] = scale[c];
        v_scale[p->d_v + c] = mean[c];
    }
    if (p->q_group) store_centred(l, &k, kv, k_mean);
    free(free_k);
    free(free_v);
}

static double delta_dot(const struct launched *l, int64_t head, int64_t group, int64_t key) {
    const struct plan *p = l->plan;
    const int64_t kv = head / (l->a.heads_q / l->a.heads_kv),
                  groups = (int64_t)l->a.q_tile_count * (p->tile_q / p->q_group);
    const float *m = (const float *)at(l->a.q_mean) + (head * groups + group) * p->d_qk;
    const uint16_t *k = (const uint16_t *)at(l->a.k_centred) + (kv * l->a.k_tile_count * p->tile_k + key) * p->d_qk;
    double dot = 0;
    for (int c = 0; c < p->d_qk; c++) dot += (double)m[c] * format_decode(io_of(l), k[c]);
    return dot * (double)l->a.sm_scale * 1.4426950408889634;
}

static void run_delta_s(const struct launched *l) {
    const struct sage_kernel_args *a = &l->a;
    const struct plan *p = l->plan;
    const int64_t keys = (int64_t)a->k_tile_count * p->tile_k, per_tile = p->tile_q / p->q_group;
    const int64_t groups = a->q_tile_count * per_tile, first = a->q_tile_first * per_tile;
    for (int64_t head = 0; head < (int64_t)a->batch * a->heads_q; head++)
        for (int64_t g = 0; g < p->delta_groups && first + g < groups; g++)
            for (int64_t key = 0; key < keys; key++) {
                const int64_t kv = head / (a->heads_q / a->heads_kv);
                const uint8_t *tile =
                    (const uint8_t *)at(a->k_tiles) + (kv * a->k_tile_count + key / p->tile_k) * p->k_tile_bytes;
                const float *q_scale = (const float *)at(a->q_scale) + (head * groups + first + g) * p->q_group;
                double unit = (double)*q_scale * (double)image_k_scale(p, tile, 0);
                float *pair = (float *)to(a->delta_s) + image_delta_pair(p, a->k_tile_count, head, g, key);
                pair[key % 2] = pair[2 + key % 2] = (float)(delta_dot(l, head, first + g, key) / unit);
            }
}

static struct attend_rule rule_of(const struct launched *l) {
    static const enum p_format formats[SPEC_FORMAT_COUNT] = {[SPEC_FORMAT_FP16] = P_F16,
                                                             [SPEC_FORMAT_FP8_E4M3] = P_E4M3,
                                                             [SPEC_FORMAT_NVFP4] = P_NVFP4,
                                                             [SPEC_FORMAT_MXFP4] = P_MXFP4};
    const bool direct =
        l->unit->spec.p_format == SPEC_FORMAT_NVFP4 && l->unit->spec.p_scaling == SPEC_P_SCALING_ONE_LEVEL;
    const bool linear = l->unit->spec.p_block_scale == SPEC_P_BLOCK_SCALE_LOG_LINEAR;
    return (struct attend_rule){.p = direct ? P_NVFP4_DIRECT : linear ? P_NVFP4_LINEAR : formats[l->unit->spec.p_format],
                                .tile_k = l->plan->fp4 ? 64 : l->plan->tile_k,
                                .lazy_log2 = l->plan->lazy_rescale,
                                .quantised_sum = strcmp(l->plan->row_sum, "quantised") == 0};
}

static void store_rows(const struct launched *l, int64_t head, const double *o, const double *lse,
                       const size_t *visible) {
    const struct sage_kernel_args *a = &l->a;
    const int64_t rows = a->seq_q, b = head / a->heads_q, h = head % a->heads_q;
    const float *v_scale = (const float *)at(a->v_scale) + head / (a->heads_q / a->heads_kv) * 2 * l->plan->d_v;
    for (int64_t n = 0; n < rows; n++) {
        uint16_t *row = (uint16_t *)to(a->o) + b * a->o_stride_b + h * a->o_stride_h + n * a->o_stride_n;
        for (int c = 0; c < l->plan->head_dim_v; c++) {
            double x = o[n * l->plan->head_dim_v + c] * (l->model->planted == WRONG_SCALE ? 1.01 : 1);
            if (l->plan->smooth_v && visible[n]) x += (double)v_scale[l->plan->d_v + c];
            if (l->model->planted == EMPTY_IS_NAN && a->seq_k == 0) x *= (double)v_scale[c];
            if (l->model->planted == NOT_REPEATABLE && n == 5 && c == 0) x *= 1 + 0.01 * (l->model->launches % 7);
            row[c] = (uint16_t)format_encode(io_of(l), x);
        }
        if (l->model->planted == WRITES_BESIDE_O && n == rows - 1) row[l->plan->head_dim_v + 1] = 0;
        if (is_late(l, LATE_O) && head == 0 && n == 0) row[3] ^= 1;
        if (is_late(l, LATE_BESIDE) && head == (int64_t)a->batch * a->heads_q - 1 && n == rows - 1)
            row[l->plan->head_dim_v] = 0;
        if (!a->lse) continue;
        double bias = l->plan->smooth_k && visible[n] && l->model->planted != WRONG_LSE
                          ? (double)((const float *)at(a->lse_bias))[head * a->q_tile_count * l->plan->tile_q + n]
                          : 0;
        ((float *)to(a->lse))[head * rows + n] = (float)(lse[n] + bias);
        if (is_late(l, LATE_LSE)) ((uint32_t *)to(a->lse))[head * rows + n] ^= 1;
    }
}

static void run_attend(const struct launched *l, int64_t head) {
    const struct sage_kernel_args *a = &l->a;
    const struct plan *p = l->plan;
    const int64_t kv = head / (a->heads_q / a->heads_kv), rows = a->seq_q;
    const struct image_head image = {
        .q_tiles = (const uint8_t *)at(a->q_tiles) + head * a->q_tile_count * p->q_tile_bytes,
        .k_tiles = (const uint8_t *)at(a->k_tiles) + kv * a->k_tile_count * p->k_tile_bytes,
        .v_tiles = (const uint8_t *)at(a->v_tiles) + kv * a->k_tile_count * p->v_tile_bytes,
        .q_scale = (const float *)at(a->q_scale) + head * a->q_tile_count * p->tile_q,
        .v_scale = (const float *)at(a->v_scale) + kv * 2 * p->d_v,
        .k_tile_count = a->k_tile_count,
        .seq_k = a->seq_k};
    const size_t n = (size_t)rows, keys = image_key_count(p, &image);
    float *q = xcalloc(n * (size_t)p->d_qk + 1, 4), *k = xcalloc(keys * (size_t)p->d_qk + 1, 4),
          *v = xcalloc(keys * (size_t)p->head_dim_v + 1, 4), *delta = p->q_group ? xcalloc(n * keys + 1, 4) : NULL;
    double *o = xcalloc(n * (size_t)p->head_dim_v + 1, 8), *lse = xcalloc(n + 1, 8);
    size_t *row = xcalloc(n + 1, 8), *visible = xcalloc(n + 1, 8);
    int32_t *key_index = xcalloc(keys + 1, 4);
    for (int64_t i = 0; i < rows; i++) {
        int64_t last = i + a->seq_k - a->seq_q + 1 + (l->model->planted == WRONG_DIAGONAL);
        row[i] = (size_t)i;
        visible[i] = l->unit->mask == SPEC_MASK_NONE || last > a->seq_k ? (size_t)a->seq_k
                     : last > 0                                         ? (size_t)last
                                                                        : 0;
    }
    image_decode_q(p, &image, row, n, q, NULL);
    image_decode_kv(p, &image, 0, k, v, key_index, NULL);
    for (size_t i = 0; delta && i < n; i++)
        for (size_t j = 0; j < keys; j++)
            delta[i * keys + j] = i % (size_t)p->q_group ? delta[(i - 1) * keys + j]
                                  : key_index[j] < 0     ? 0
                                                     : (float)delta_dot(l, head, (int64_t)i / p->q_group, key_index[j]);
    const struct attend_rule rule = rule_of(l);
    const struct attend_operands in = {.q = q,
                                       .k = k,
                                       .v = v,
                                       .rows = n,
                                       .keys = keys,
                                       .dim_qk = p->d_qk,
                                       .dim_v = p->head_dim_v,
                                       .score_scale = 1,
                                       .delta_s = delta,
                                       .key_index = p->fp4 ? key_index : NULL,
                                       .visible = visible};
    char why[128];
    assert_true(attend_quantised(&in, &rule, 0, o, lse, why, sizeof why));
    store_rows(l, head, o, lse, visible);
    void *const all[] = {q, k, v, delta, o, lse, row, visible, key_index};
    for (size_t i = 0; i < countof(all); i++) free(all[i]);
}

// Which unit and role the entry is of: attention by its own plan, the other roles by their jobs.
static const struct verify_unit *unit_of(const struct verify_units *units, const char *entry, int *role) {
    for (int i = 0; i < units->count; i++)
        for (*role = 0; *role < SAGE_ROLE_COUNT; ++*role)
            if (units->unit[i].job[*role] && strcmp(units->unit[i].job[*role]->meta.entry, entry) == 0)
                return &units->unit[i];
    return NULL;
}

// cmocka and the sanitizers would catch the signal; threads of parallel_for hold it back.
static void crash(void) {
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

static void attend(struct launched *l, struct model *model) {
    model->calls++;
    if (is_late(l, LATE_CRASH)) crash();
    if (is_late(l, LATE_HANG)) pause();
    for (int64_t h = 0; h < (int64_t)l->a.batch * l->a.heads_q; h++) run_attend(l, h);
    if (is_late(l, LATE_FLAG)) *(uint32_t *)to(l->a.flags) |= SAGE_OVERFLOW_O;
    if ((model->planted == DEVICE_FAULT && l->unit == model->units->unit) || is_late(l, LATE_FAULT))
        fake.fail_next("cuStreamSynchronize", 700);
}

static void answer_alone(struct model *model, const struct fake_cuda_launch *launch) {
    int role;
    struct launched l = {.model = model, .unit = unit_of(model->units, launch->function, &role)};
    model->launches++;
    assert_non_null(l.unit);
    l.plan = &l.unit->plan;
    memcpy(&l.a, launch->args, sizeof l.a);
    if (model->planted == CRASH && l.unit == model->units->unit) crash();
    if (model->planted == HANG && l.unit == model->units->unit) pause();
    if (role == SAGE_ROLE_QUANTISE_KV && l.plan->stats_width > 0) run_stats(&l);
    if (role == SAGE_ROLE_DELTA_S && l.a.q_tile_first + l.a.q_tile_launch == l.a.q_tile_count) run_delta_s(&l);
    for (int64_t h = 0; role == SAGE_ROLE_QUANTISE_Q && h < (int64_t)l.a.batch * l.a.heads_q; h++)
        run_quantise_q(&l, h);
    for (int64_t h = 0; role == SAGE_ROLE_QUANTISE_KV && h < (int64_t)l.a.batch * l.a.heads_kv; h++)
        run_quantise_kv(&l, h);
    for (int64_t h = 0; role == SAGE_ROLE_QUANTISE_KV && l.a.lse_bias && h < (int64_t)l.a.batch * l.a.heads_q; h++)
        run_lse_bias(&l, h);
    if (role == SAGE_ROLE_QUANTISE_KV && model->planted == WRITES_INPUT) *(uint16_t *)to(l.a.k) ^= 1;
    if (role == SAGE_ROLE_ATTN_FWD) attend(&l, model);
}

// A soak launches from several threads.
static void answer(void *user, const struct fake_cuda_launch *launch) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    answer_alone(user, launch);
    pthread_mutex_unlock(&lock);
}

/* -- Runs ---- */

enum { TIMEOUT_S = 4 };

static void fake_start(struct model *model) {
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    fake.reset();
    fake.set_args_bytes(sizeof(struct sage_kernel_args));
    fake.set_launch_hook(answer, model);
}

struct scenario {
    struct verify_choice choice;
    unsigned parts;
    enum planted planted;
    bool fork, parent_calls_driver;
    int soak_s, streams;
};

static struct verify_report run(const char *spec, const struct scenario *scenario) {
    struct kernels k;
    kernels_make(&k, spec, scenario->choice);
    assert_true(k.units.count > 0);
    struct model model = {.units = &k.units, .planted = scenario->planted};
    const struct verify_options options = {.level = VERIFY_QUICK,
                                           .parts = scenario->parts,
                                           .seed = 20260101,
                                           .fork = scenario->fork,
                                           .timeout_s = TIMEOUT_S,
                                           .soak_s = scenario->soak_s,
                                           .streams = scenario->streams,
                                           .again = "sagegen verify --soak 1 --seed 20260101"};
    struct verify_report report = {.units = &k.units, .json = true}; // lines would hide cmocka's
    fake_start(&model);
    if (scenario->parent_calls_driver) assert_int_equal(driver_probe_version(k.setup.context), 13000);
    verify_run(&options, &k.units, &report);
    assert_true((fake.caller() == 0) == (scenario->fork && !scenario->parent_calls_driver));
    fake.set_launch_hook(NULL, NULL);
    report.units = NULL;
    kernels_free(&k);
    return report;
}

static void print_failed(const struct verify_report *r) {
    for (int i = 0; i < r->count; i++)
        if (r->record[i].outcome == VERIFY_FAIL || r->record[i].outcome == VERIFY_FATAL)
            print_message("%s %s: error %g bound %g %s\n", r->record[i].check, r->record[i].shape, r->record[i].error,
                          r->record[i].bound, r->record[i].note);
}

static struct verify_choice only(enum spec_target target, enum spec_io io, enum spec_mask mask) {
    return (struct verify_choice){
        .target = {1, {(int)target}}, .io = {1, {(int)io}}, .mask = {1, {(int)mask}}, .level = VERIFY_QUICK};
}

static void passes(const char *spec, struct verify_choice choice, unsigned parts, int at_least) {
    struct verify_report r = run(spec, &(struct scenario){.choice = choice, .parts = parts});
    print_failed(&r);
    assert_int_equal(r.failed, 0);
    assert_true(r.passed >= at_least);
    verify_report_free(&r);
}

// Some check of this name must fail, and the others that fail are counted.
static void fails(const char *check, enum planted planted, enum spec_mask mask, unsigned parts) {
    const struct scenario scenario = {
        .choice = only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, mask), .parts = parts, .planted = planted};
    struct verify_report r = run("int8_fp8_d64", &scenario);
    bool found = false;
    for (int i = 0; i < r.count; i++)
        if (r.record[i].outcome == VERIFY_FAIL || r.record[i].outcome == VERIFY_FATAL)
            found |= strncmp(r.record[i].check, check, strlen(check)) == 0;
    if (!found) {
        print_message("no %s failed with fault %d; what failed:\n", check, (int)planted);
        print_failed(&r);
    }
    assert_true(found);
    verify_report_free(&r);
}

static void sound_kernels_pass(void **state) {
    (void)state;
    passes("int8_fp16_d40", only(SPEC_TARGET_SM_90, SPEC_IO_BF16, SPEC_MASK_CAUSAL), VERIFY_ALL, 20);
    passes("int8_fp8_d64", only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE), VERIFY_ALL, 60);
    passes("int8_fp16_d192x128", only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE), VERIFY_QUANTISERS, 10);
    passes("fp4_d64", only(SPEC_TARGET_SM_90, SPEC_IO_BF16, SPEC_MASK_NONE), VERIFY_QUANTISERS, 10);
    passes("int8_fp8_d128", only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE), VERIFY_QUANTISERS | VERIFY_GATES,
           60); // with its safe form
}

static void faults_are_found(void **state) {
    (void)state;
    fails("gate2", WRONG_DIAGONAL, SPEC_MASK_CAUSAL, VERIFY_GATES);
    fails("q codes", WRONG_SWIZZLE, SPEC_MASK_NONE, VERIFY_QUANTISERS);
    fails("gate2", WRONG_SCALE, SPEC_MASK_NONE, VERIFY_GATES);
    fails("k scales", WRONG_K_SCALE, SPEC_MASK_NONE, VERIFY_QUANTISERS);
    fails("lse", WRONG_LSE, SPEC_MASK_NONE, VERIFY_GATES);
    fails("same again", NOT_REPEATABLE, SPEC_MASK_NONE, VERIFY_PROPERTIES);
    fails("memory", WRITES_INPUT, SPEC_MASK_NONE, VERIFY_QUANTISERS);
    fails("memory", WRITES_BESIDE_O, SPEC_MASK_NONE, VERIFY_QUANTISERS);
    fails("overflow flags", NO_FLAG_OF_V, SPEC_MASK_NONE, VERIFY_PROPERTIES);
    fails("masked rows", EMPTY_IS_NAN, SPEC_MASK_NONE, VERIFY_GATES);
    fails("quantisers", DEVICE_FAULT, SPEC_MASK_NONE, VERIFY_QUANTISERS);
}

/* -- Isolation ---- */

// bf16 is the first unit, fp16 the second.
static struct verify_choice two_units(void) {
    struct verify_choice choice = only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE);
    choice.io.count = 0;
    return choice;
}

// One unit is lost, and the next one is checked all the same.
static void loses_one_unit(enum planted planted, const char *check, const char *note) {
    const struct scenario scenario = {
        .choice = two_units(), .parts = VERIFY_QUANTISERS, .planted = planted, .fork = true};
    struct verify_report r = run("int8_fp8_d64", &scenario);
    int of_second = 0;
    for (int i = 0; i < r.count; i++) {
        if (r.record[i].outcome == VERIFY_PASS) of_second += r.record[i].unit == 1;
        if (r.record[i].outcome == VERIFY_PASS) continue;
        assert_int_equal(r.record[i].unit, 0);
        assert_string_equal(r.record[i].check, check);
        assert_non_null(strstr(r.record[i].note, note));
    }
    assert_int_equal(r.failed, 1);
    assert_true(of_second >= 10);
    verify_report_free(&r);
}

static void a_crash_costs_one_unit(void **state) {
    (void)state;
    loses_one_unit(CRASH, "crash", "killed by signal 11");
}

static void a_hang_costs_one_unit(void **state) {
    (void)state;
    loses_one_unit(HANG, "hang", "no answer for 4 s at the start of quantisers");
}

static void a_broken_context_costs_one_unit(void **state) {
    (void)state;
    loses_one_unit(DEVICE_FAULT, "quantisers", "700");
}

// Else the tests beside it would prove nothing.
static void children_of_a_process_that_called_the_driver_fail(void **state) {
    (void)state;
    const struct scenario scenario = {
        .choice = two_units(), .parts = VERIFY_QUANTISERS, .fork = true, .parent_calls_driver = true};
    struct verify_report r = run("int8_fp8_d64", &scenario);
    assert_int_equal(r.passed, 0);
    assert_int_equal(r.failed, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r.record[i].unit, i);
        assert_string_equal(r.record[i].check, "open");
        assert_non_null(strstr(r.record[i].note, "cuInit: CUDA_ERROR_FAKE (3,"));
    }
    verify_report_free(&r);
}

/* -- Soak ---- */

static struct verify_report soak(enum planted planted, struct verify_choice choice, int streams, bool fork) {
    return run("int8_fp16_d32", // the smallest, since a model answers
               &(struct scenario){
                   .choice = choice, .planted = planted, .fork = fork, .soak_s = 1, .streams = streams});
}

static const struct verify_record *find_record(const struct verify_report *r, const char *check, int unit) {
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->record[i].check, check) == 0 && r->record[i].unit == unit) return &r->record[i];
    return NULL;
}

static void a_soak_of_sound_kernels_passes(void **state) {
    (void)state;
    for (int streams = 1; streams <= 5; streams += 4) {
        struct verify_choice both_masks = only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE);
        both_masks.mask.count = 0;
        struct verify_report r = soak(NOTHING, both_masks, streams, streams == 5);
        print_failed(&r);
        assert_int_equal(r.failed, 0);
        int calls[3] = {0};
        for (int unit = 0; unit < 2; unit++) {
            const struct verify_record *of_unit = find_record(&r, "soak", unit);
            assert_non_null(of_unit);
            assert_non_null(find_record(&r, "soak, first call", unit));
            if (of_unit->outcome == VERIFY_PASS)
                assert_int_equal(sscanf(of_unit->note, "calls that went wrong, of %d;", &calls[unit]), 1);
        }
        const struct verify_record *all = find_record(&r, "soak, all", -1);
        assert_int_equal(sscanf(all->note, "calls that went wrong, of %d in", &calls[2]), 1);
        assert_true(calls[2] > 0 && calls[0] + calls[1] == calls[2]);
        verify_report_free(&r);
    }
}

// The fault is told with all that is needed to see it again, and in the sums.
static void a_soak_finds_what_happens_late(void **state) {
    (void)state;
    static const struct {
        enum planted planted;
        const char *note;
    } rows[] = {{LATE_O, " 1 of "},
                {LATE_LSE, " and 2"},
                {LATE_FLAG, "overflow flags 0x"},
                {LATE_BESIDE, "2 bytes beside the outputs were written"},
                {LATE_FAULT, "(700,"}};
    for (size_t i = 0; i < countof(rows); i++) {
        struct verify_report r =
            soak(rows[i].planted, only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE), 3, false);
        const struct verify_record *call = find_record(&r, "soak call", 0), *all = find_record(&r, "soak, all", -1);
        bool found = false;
        assert_non_null(call);
        assert_int_equal(call->outcome, VERIFY_FAIL);
        assert_non_null(strstr(call->note, "stream "));
        assert_non_null(strstr(call->note, "seed 20260101: "));
        assert_non_null(strstr(call->note, "; again: sagegen verify --soak 1 --seed 20260101"));
        for (int j = 0; j < r.count; j++)
            found |= strcmp(r.record[j].check, "soak call") == 0 && strstr(r.record[j].note, rows[i].note);
        if (!found) print_failed(&r);
        assert_true(found);
        assert_int_equal(find_record(&r, "soak", 0)->outcome, VERIFY_FAIL);
        assert_int_equal(all->outcome, VERIFY_FAIL);
        assert_true(all->error >= 1);
        for (int j = 0; j < r.count; j++) // what is checked before was sound
            assert_true(strcmp(r.record[j].check, "soak, first call") != 0 || r.record[j].outcome == VERIFY_PASS);
        verify_report_free(&r);
    }
}

static void a_soak_ends_when_a_call_does_not(void **state) {
    (void)state;
    static const struct {
        enum planted planted;
        const char *check, *note;
    } rows[] = {{LATE_HANG, "soak call", "did not end in 4 s"}, {LATE_CRASH, "crash", "killed by signal 11"}};
    for (size_t i = 0; i < countof(rows); i++) {
        struct verify_report r =
            soak(rows[i].planted, only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE), 2, true);
        bool found = false;
        for (int j = 0; j < r.count; j++)
            found |= strcmp(r.record[j].check, rows[i].check) == 0 && strstr(r.record[j].note, rows[i].note);
        if (!found || r.failed != 1)
            for (int j = 0; j < r.count; j++) print_message("%s: %s\n", r.record[j].check, r.record[j].note);
        assert_true(found);
        assert_int_equal(r.failed, 1);
        verify_report_free(&r);
    }
}

/* -- The whole command: probe, build with NVRTC, checks ---- */

struct outcome {
    int status;
    bool called; /* the driver, by the command's own process */
    json_t *records;
};

enum { CALLED = 64 }; /* in the exit status */

static _Noreturn void be_command(const char *dir, const char *extra) {
    char words[256], path[128], *argv[32] = {NULL};
    int argc = 0;
    snprintf(words, sizeof words,
             "verify --spec int8_fp8_d64 --arch sm_90a --mask none --only quantisers --quick --json --timeout %d %s",
             TIMEOUT_S, extra);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    snprintf(path, sizeof path, "%s/out.json", dir);
    setenv("SAGE_CACHE_DIR", dir, 1);
    unsetenv("SAGE_NVRTC"); // so that its search asks for the driver's version
    if (!freopen(path, "w", stdout)) _exit(CALLED - 1);
    int status = cmd_verify(argc, argv);
    fflush(stdout);
    _exit(status | (fake.caller() ? CALLED : 0));
}

static void need_nvrtc(void) {
    sage_context *context = fixture_context(NULL, NULL);
    struct nvrtc_info info;
    unsetenv("SAGE_NVRTC");
    sage_status status = nvrtc_find(context, &info);
    sage_context_destroy(context);
    if (status != SAGE_OK) skip();
}

static struct outcome command(enum planted planted, const char *extra) {
    struct kernels k;
    char dir[64], path[128];
    int status;
    kernels_make(&k, "int8_fp8_d64", two_units());
    struct model model = {.units = &k.units, .planted = planted}; // of the same entries as the command's
    fixture_directory(dir);
    fake_start(&model);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) be_command(dir, extra);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fake.set_launch_hook(NULL, NULL);
    snprintf(path, sizeof path, "%s/out.json", dir);
    assert_true(WIFEXITED(status));
    struct outcome out = {WEXITSTATUS(status) & ~CALLED, WEXITSTATUS(status) & CALLED, json_load_file(path, 0, NULL)};
    assert_non_null(out.records);
    fixture_remove_tree(dir);
    kernels_free(&k);
    return out;
}

static int count_records(const struct outcome *o, const char *io, const char *outcome, const char *check) {
    size_t i;
    json_t *record;
    int count = 0;
    json_array_foreach(o->records, i, record) {
        const char *text = json_string_value(json_object_get(record, "check"));
        count += strcmp(json_string_value(json_object_get(record, "io")), io) == 0 &&
                 strcmp(json_string_value(json_object_get(record, "outcome")), outcome) == 0 &&
                 (!check || strcmp(text, check) == 0);
    }
    return count;
}

static void the_command_leaves_the_driver_to_its_children(void **state) {
    (void)state;
    need_nvrtc();
    struct outcome o = command(NOTHING, "");
    assert_int_equal(o.status, CMD_DONE);
    assert_false(o.called);
    assert_true(count_records(&o, "bf16", "PASS", NULL) >= 10 && count_records(&o, "fp16", "PASS", NULL) >= 10);
    json_decref(o.records);
    o = command(NOTHING, "--no-fork");
    assert_int_equal(o.status, CMD_DONE);
    assert_true(o.called);
    json_decref(o.records);
}

static void command_loses_one_unit(enum planted planted, const char *check) {
    need_nvrtc();
    struct outcome o = command(planted, "");
    assert_int_equal(o.status, CMD_FAILED);
    assert_false(o.called);
    assert_int_equal(count_records(&o, "bf16", "FAIL", NULL), 1);
    assert_int_equal(count_records(&o, "bf16", "FAIL", check), 1);
    assert_int_equal(count_records(&o, "fp16", "FAIL", NULL), 0);
    assert_true(count_records(&o, "fp16", "PASS", NULL) >= 10);
    json_decref(o.records);
}

static void the_command_survives_a_crash(void **state) {
    (void)state;
    command_loses_one_unit(CRASH, "crash");
}

static void the_command_survives_a_hang(void **state) {
    (void)state;
    command_loses_one_unit(HANG, "hang");
}

/* -- Names ---- */

static void safe_units_keep_the_name_of_their_spec(void **state) {
    (void)state;
    struct kernels k;
    struct verify_choice choice = only(SPEC_TARGET_SM_90A, SPEC_IO_FP16, SPEC_MASK_NONE);
    kernels_make(&k, "int8_fp8_d128", choice);
    const struct verify_unit *plain = &k.units.unit[0], *safe = &k.units.unit[1];
    char text[2][96];
    assert_int_equal(k.units.count, 2);
    assert_string_equal(plain->spec.name, "int8_fp8_d128");
    assert_string_equal(safe->spec.name, "int8_fp8_d128");
    assert_false(plain->spec.safe);
    assert_true(safe->spec.safe && safe->safe_form);
    for (int role = 0; role < SAGE_ROLE_COUNT; role++)
        assert_true(!plain->job[role] || plain->job[role] != safe->job[role]);
    assert_string_equal(verify_unit_text(plain, text[0]), "int8_fp8_d128      sm_90a  fp16 none       ");
    assert_string_equal(verify_unit_text(safe, text[1]), "int8_fp8_d128      sm_90a  fp16 none   safe");
    kernels_free(&k);
}

int main(void) {
    fake = fake_cuda_open(FAKE_CUDA_PATH);
    const struct CMUnitTest tests[] = {cmocka_unit_test(sound_kernels_pass),
                                       cmocka_unit_test(faults_are_found),
                                       cmocka_unit_test(a_crash_costs_one_unit),
                                       cmocka_unit_test(a_hang_costs_one_unit),
                                       cmocka_unit_test(a_broken_context_costs_one_unit),
                                       cmocka_unit_test(children_of_a_process_that_called_the_driver_fail),
                                       cmocka_unit_test(a_soak_of_sound_kernels_passes),
                                       cmocka_unit_test(a_soak_finds_what_happens_late),
                                       cmocka_unit_test(a_soak_ends_when_a_call_does_not),
                                       cmocka_unit_test(the_command_leaves_the_driver_to_its_children),
                                       cmocka_unit_test(the_command_survives_a_crash),
                                       cmocka_unit_test(the_command_survives_a_hang),
                                       cmocka_unit_test(safe_units_keep_the_name_of_their_spec)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
