// verify_quantisers: what the statistics and quantiser kernels left in the workspace against a model on the CPU: codes,
// scales, means, padding. The model starts from the GPU's own statistics, which are checked first, so that codes must
// agree but for ties. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "verify_compare.h"
#include "verify_data.h"
#include "verify_model.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double log2_e = 1.4426950408889634074;

// One downloaded workspace and the inputs behind it.
struct quantised {
    struct verify_session *s;
    const struct plan *plan;
    const struct verify_call *call;
    const struct attention_problem *p;
    const struct workspace_layout *layout;
    float sm_scale;
    char shape[64];
};

static struct model_input input_of(const struct quantised *q, enum image_tensor t, size_t head) {
    const struct attention_problem *p = q->p;
    size_t rows = t == IMAGE_Q ? p->seq_q : p->seq_k, dim = (size_t)(t == IMAGE_V ? p->dim_v : p->dim_qk);
    const float *x = t == IMAGE_Q ? p->q : t == IMAGE_K ? p->k : p->v;
    return (struct model_input){x + head * rows * dim, (int64_t)rows, (int)dim};
}

static const float *stats_of(const struct quantised *q, size_t kv) {
    const float *stats = verify_region(q->call, WORKSPACE_stats);
    return stats + kv * (size_t)(q->layout->splits * 4 * q->plan->stats_width);
}

static size_t kv_heads(const struct quantised *q) {
    return (size_t)(q->call->shape.batch * q->call->shape.heads_kv);
}

static size_t q_heads(const struct quantised *q) {
    return (size_t)(q->call->shape.batch * q->call->shape.heads_q);
}

/* -- Statistics ---- */

static void raise_to(double *worst, double error) {
    if (!(error <= *worst)) *worst = isfinite(error) ? error : INFINITY;
}

struct stats_error {
    double sum, range;
};

// Channel c of a part of the sequence: got_sum are the sums of all channels, got_low their minima and, width floats
// on, maxima; NULL: the kernels have no use for them.
static void stats_channel(const struct model_input *in, int64_t first, int64_t last, int c, const float *got_sum,
                          const float *got_low, int width, struct stats_error *error) {
    double sum = 0, magnitude = 0;
    float low = FLT_MAX, high = -FLT_MAX;
    for (int64_t n = first; n < last; n++) {
        float x = c < in->dim ? in->x[n * in->dim + c] : 0.0f;
        if (!isfinite(x)) x = 0.0f;
        sum += (double)x;
        magnitude += fabs((double)x);
        low = fminf(low, x);
        high = fmaxf(high, x);
    }
    if (got_sum) raise_to(&error->sum, fabs((double)got_sum[c] - sum) / (magnitude + 1e-30));
    if (got_low) raise_to(&error->range, got_low[c] == low && got_low[width + c] == high ? 0 : 1);
}

// fp32 sums of up to a few thousand terms, joined pairwise by rows of threads: relative to the sum of magnitudes.
static void check_stats(const struct quantised *q) {
    const struct plan *p = q->plan;
    const int width = p->stats_width;
    struct stats_error error = {0};
    if (width == 0 || q->p->seq_k == 0) return;
    for (size_t kv = 0; kv < kv_heads(q); kv++)
        for (int64_t split = 0; split < q->layout->splits; split++)
            for (int t = 0; t < 2; t++) {
                const struct model_input in = input_of(q, t ? IMAGE_V : IMAGE_K, kv);
                const float *got = stats_of(q, kv) + (split * 4 + t) * width;
                int64_t first = in.rows * split / q->layout->splits, last = in.rows * (split + 1) / q->layout->splits;
                for (int c = 0; c < width; c++)
                    stats_channel(&in, first, last, c, (t ? p->smooth_v : p->smooth_k) ? got : NULL,
                                  t && p->stats_v ? got + width : NULL, width, &error);
            }
    verify_check(q->s, "stats sum", q->shape, error.sum, 1e-5, "relative to the sum of magnitudes");
    verify_check(q->s, "stats range", q->shape, error.range, 0, "minima and maxima are exact");
}

/* -- Tiles ---- */

static int real_rows(int64_t rows, int64_t tile, int per_tile) {
    int64_t left = rows - tile * per_tile;
    return left < per_tile ? (int)left : per_tile;
}

static void diff_q(const struct quantised *q, struct model_diff *d, struct model_diff *means) {
    const struct plan *p = q->plan;
    const int groups = p->q_group ? p->tile_q / p->q_group : 0;
    const int64_t tiles = q->layout->q_tile_count;
    const float *mean = verify_region(q->call, WORKSPACE_q_mean);
    uint8_t *image = xcalloc(1, (size_t)p->q_tile_bytes);
    float scales[MODEL_ROWS_MAX], expected_mean[MODEL_DIM_MAX];
    for (size_t h = 0; h < q_heads(q); h++)
        for (int64_t tile = 0; tile < tiles; tile++) {
            const struct model_input in = input_of(q, IMAGE_Q, h);
            const struct image_head got = verify_image_head(q->call, p, h);
            const float *m = mean + ((int64_t)h * tiles + tile) * groups * p->d_qk;
            for (int g = 0; g < groups; g++) {
                model_q_mean(p, &in, tile, g, expected_mean);
                for (int c = 0; c < p->d_qk; c++)
                    raise_to(&means->scale_error, fabs((double)m[g * p->d_qk + c] - (double)expected_mean[c]));
            }
            model_encode_q(p, &in, tile, q->sm_scale, groups ? m : NULL, image, scales);
            model_diff_scales(d, got.q_scale + tile * p->tile_q, scales, (size_t)p->tile_q);
            model_diff_image(d, p, IMAGE_Q, got.q_tiles + tile * p->q_tile_bytes, image, tile,
                             real_rows(in.rows, tile, p->tile_q));
        }
    free(image);
}

static void diff_k(const struct quantised *q, struct model_diff *d) {
    const struct plan *p = q->plan;
    const size_t group = (size_t)(q->call->shape.heads_q / q->call->shape.heads_kv);
    uint8_t *image = xcalloc(1, (size_t)p->k_tile_bytes);
    for (size_t kv = 0; kv < kv_heads(q); kv++) {
        const struct model_input in = input_of(q, IMAGE_K, kv);
        const struct image_head got = verify_image_head(q->call, p, kv * group);
        float mean[MODEL_DIM_MAX] = {0};
        if (p->smooth_k) model_k_mean(p, stats_of(q, kv), q->layout->splits, in.rows, mean);
        for (int64_t tile = 0; tile < got.k_tile_count; tile++) {
            model_encode_k(p, &in, tile, mean, image);
            model_diff_image(d, p, IMAGE_K, got.k_tiles + tile * p->k_tile_bytes, image, tile,
                             real_rows(in.rows, tile, p->tile_k));
        }
    }
    free(image);
}

static void diff_v(const struct quantised *q, struct model_diff *d) {
    const struct plan *p = q->plan;
    const size_t group = (size_t)(q->call->shape.heads_q / q->call->shape.heads_kv);
    uint8_t *image = xcalloc(1, (size_t)p->v_tile_bytes);
    float scale[MODEL_DIM_MAX], mean[MODEL_DIM_MAX];
    for (size_t kv = 0; kv < kv_heads(q) && q->p->seq_k > 0; kv++) {
        const struct model_input in = input_of(q, IMAGE_V, kv);
        const struct image_head got = verify_image_head(q->call, p, kv * group);
        model_v_scale(p, stats_of(q, kv), q->layout->splits, in.rows, scale, mean);
        model_diff_scales(d, got.v_scale, scale, (size_t)p->d_v);
        model_diff_scales(d, got.v_scale + p->d_v, mean, (size_t)p->d_v);
        for (int64_t tile = 0; tile < got.k_tile_count; tile++) {
            model_encode_v(p, &in, tile, got.v_scale, got.v_scale + p->d_v, image);
            model_diff_image(d, p, IMAGE_V, got.v_tiles + tile * p->v_tile_bytes, image, tile,
                             real_rows(in.rows, tile, p->tile_k));
        }
    }
    free(image);
}

// Codes: ties may fall otherwise in one of a thousand, by one. Scales: fp32 rounding.
static void check_diff(const struct quantised *q, const char *tensor, const struct model_diff *d) {
    char check[32], note[160];
    double share = d->codes ? (double)d->near / (double)d->codes : INFINITY; // none: all block scales differ
    snprintf(check, sizeof check, "%s codes", tensor);
    snprintf(note, sizeof note, "%llu codes: %llu one apart, %llu more, %llu of padding not 0 %s",
             (unsigned long long)d->codes, (unsigned long long)d->near, (unsigned long long)d->far,
             (unsigned long long)d->padding, d->first);
    verify_check(q->s, check, q->shape, d->far || d->padding ? INFINITY : share, 1e-3, note);
    snprintf(check, sizeof check, "%s scales", tensor);
    verify_check(q->s, check, q->shape, d->scale_error, 1e-6, "relative");
    if (d->blocks == 0) return;
    snprintf(check, sizeof check, "%s block scales", tensor);
    snprintf(note, sizeof note, "%llu of %llu differ", (unsigned long long)d->blocks_differing,
             (unsigned long long)d->blocks);
    verify_check(q->s, check, q->shape, (double)d->blocks_differing / (double)d->blocks, 1e-3, note);
}

/* -- What smoothing keeps ---- */

static void check_lse_bias(const struct quantised *q) {
    const struct attention_problem *p = q->p;
    const float *bias = verify_region(q->call, WORKSPACE_lse_bias);
    const size_t group = (size_t)(q->call->shape.heads_q / q->call->shape.heads_kv), dim = (size_t)p->dim_qk;
    const size_t rows = (size_t)(q->layout->q_tile_count * q->plan->tile_q);
    double worst = 0;
    if (!q->plan->smooth_k) return;
    for (size_t h = 0; h < q_heads(q); h++) {
        float mean[MODEL_DIM_MAX];
        model_k_mean(q->plan, stats_of(q, h / group), q->layout->splits, (int64_t)p->seq_k, mean);
        for (size_t n = 0; n < p->seq_q; n++) {
            const float *x = p->q + (h * p->seq_q + n) * dim;
            double dot = 0, magnitude = 0;
            for (size_t c = 0; c < dim; c++) {
                dot += (double)x[c] * (double)mean[c];
                magnitude += fabs((double)x[c] * (double)mean[c]);
            }
            double error = fabs((double)bias[h * rows + n] - dot * (double)q->sm_scale);
            raise_to(&worst, error / (magnitude * (double)q->sm_scale + 1e-30));
        }
    }
    verify_check(q->s, "lse_bias", q->shape, p->seq_k ? worst : 0, 1e-5, "relative to the sum of magnitudes");
}

static float centred_of(const struct quantised *q, size_t kv, int64_t key, int c, const float *mean) {
    const struct model_input in = input_of(q, IMAGE_K, kv);
    if (key >= in.rows) return 0.0f;
    float x = c < in.dim ? in.x[key * in.dim + c] : 0.0f;
    return (isfinite(x) ? x : 0.0f) - mean[c];
}

static void check_k_centred(const struct quantised *q) {
    const struct plan *p = q->plan;
    const enum number_format io = verify_io_format(q->s);
    const uint16_t *got = verify_region(q->call, WORKSPACE_k_centred);
    const int64_t keys = q->layout->k_tile_count * p->tile_k;
    double wrong = 0;
    for (size_t kv = 0; kv < kv_heads(q); kv++) {
        float mean[MODEL_DIM_MAX] = {0};
        if (p->smooth_k) model_k_mean(p, stats_of(q, kv), q->layout->splits, (int64_t)q->p->seq_k, mean);
        for (int64_t i = 0; i < keys * p->d_qk; i++) {
            double expected = format_round(io, (double)centred_of(q, kv, i / p->d_qk, (int)(i % p->d_qk), mean));
            wrong += format_decode(io, got[(int64_t)kv * keys * p->d_qk + i]) != expected;
        }
    }
    verify_check(q->s, "k_centred", q->shape, wrong, 0, "elements that differ from K - mean(K)");
}

// The kernel keeps the last chunk of query groups only.
static void check_delta_s(const struct quantised *q) {
    const struct plan *p = q->plan;
    const int64_t per_tile = p->tile_q / p->q_group, groups = q->layout->q_tile_count * per_tile;
    const int64_t keys = q->layout->k_tile_count * p->tile_k, first = (groups - 1) / p->delta_groups * p->delta_groups;
    const float *got = verify_region(q->call, WORKSPACE_delta_s), *means = verify_region(q->call, WORKSPACE_q_mean);
    const uint16_t *centred = verify_region(q->call, WORKSPACE_k_centred);
    const size_t group = (size_t)(q->call->shape.heads_q / q->call->shape.heads_kv);
    double worst = 0;
    for (size_t h = 0; h < q_heads(q); h++) {
        const struct image_head image = verify_image_head(q->call, p, h);
        for (int64_t g = first; g < groups; g++)
            for (int64_t j = 0; j < keys; j += 7) {
                const float *m = means + ((int64_t)h * groups + g) * p->d_qk;
                const uint16_t *k = centred + ((int64_t)(h / group) * keys + j) * p->d_qk;
                double dot = 0, magnitude = 0;
                for (int c = 0; c < p->d_qk; c++) {
                    double x = (double)m[c] * format_decode(verify_io_format(q->s), k[c]);
                    dot += x;
                    magnitude += fabs(x);
                }
                const uint8_t *tile = image.k_tiles + j / p->tile_k * p->k_tile_bytes;
                double unit = (double)q->sm_scale * log2_e /
                              ((double)image.q_scale[g * p->q_group] * (double)image_k_scale(p, tile, 0));
                const float *pair = got + image_delta_pair(p, q->layout->k_tile_count, (int64_t)h, g - first, j);
                double is = (double)pair[j % 2];
                if (pair[j % 2] != pair[2 + j % 2]) worst = INFINITY;
                raise_to(&worst, fabs(is - dot * unit) / (magnitude * unit + 1e-30));
            }
    }
    verify_check(q->s, "delta_s", q->shape, worst, 1e-5, "relative to the sum of magnitudes");
}

/* -- Public ---- */

static void check_all(const struct quantised *q) {
    struct model_diff d[3] = {{0}, {0}, {0}}, means = {0};
    check_stats(q);
    diff_q(q, &d[IMAGE_Q], &means);
    diff_k(q, &d[IMAGE_K]);
    diff_v(q, &d[IMAGE_V]);
    check_diff(q, "q", &d[IMAGE_Q]);
    check_diff(q, "k", &d[IMAGE_K]);
    check_diff(q, "v", &d[IMAGE_V]);
    check_lse_bias(q);
    if (q->plan->q_group == 0) return;
    verify_check(q->s, "q_mean", q->shape, means.scale_error, 0, "largest difference");
    check_k_centred(q);
    check_delta_s(q);
}

static const struct quantiser_case {
    enum random_kind kind;
    sage_attention_shape shape;
    enum verify_layout layout;
    unsigned sets; /* VERIFY_SET_* */
} cases[] = {
    {RANDOM_NORMAL, {1, 2, 1, 300, 700}, LAYOUT_BNHD, VERIFY_SET_GPU | VERIFY_SET_VM},
    {RANDOM_NORMAL, {1, 2, 1, 150, 300}, LAYOUT_BNHD, VERIFY_SET_VM_QUICK},
    {RANDOM_RUNS, {2, 2, 2, 129, 65}, LAYOUT_ODD, VERIFY_SET_ALL},
    {RANDOM_OUTLIER, {1, 2, 2, 17, 1000}, LAYOUT_FUSED, VERIFY_SET_LONG},
    {RANDOM_NORMAL, {1, 1, 1, 1, 1}, LAYOUT_BHND, VERIFY_SET_LONG},
};

static void run_case(struct verify_session *s, int index) {
    const struct quantiser_case *c = &cases[index];
    const struct verify_inputs_key key = {.kind = c->kind,
                                          .io = verify_io_format(s),
                                          .shape = c->shape,
                                          .dim_qk = s->unit->spec.head_dim_qk,
                                          .dim_v = s->unit->spec.head_dim_v,
                                          .seed = s->options->seed + 7919u * (uint64_t)(index + 1),
                                          .sample_heads = 1,
                                          .sample_rows = 1};
    const struct verify_inputs *in = verify_data_inputs(s->data, &key);
    struct verify_call call = {.shape = c->shape, .layout = c->layout, .q = in->q, .k = in->k, .v = in->v};
    const struct attention_problem p = verify_problem(in, false, 0);
    call.keep_workspace = true;
    if (verify_call_run(s, &call, "quantisers")) {
        struct quantised q = {.s = s, .plan = &s->unit->plan, .call = &call, .p = &p};
        q.layout = &call.layout_of_workspace;
        q.sm_scale = (float)(1 / sqrt((double)p.dim_qk));
        verify_shape_text(&call, q.shape);
        check_all(&q);
    }
    verify_call_free(&call);
}

// The quantisers are the same under either mask; but each target has one mask alone in the machine's quick set.
void verify_quantisers(struct verify_session *s) {
    const unsigned set = verify_sizes(s->options)->set;
    if (s->unit->mask == SPEC_MASK_CAUSAL && set != VERIFY_SET_VM_QUICK) return;
    for (int i = 0; i < (int)(sizeof cases / sizeof cases[0]) && !s->dead; i++)
        if (cases[i].sets & set) run_case(s, i);
}
