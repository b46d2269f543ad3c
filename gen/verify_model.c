// verify_model: see verify_model.h. Every product and quotient is rounded to fp32 where the kernels round it, so that
// codes agree but for ties. SPDX-License-Identifier: Apache-2.0
#include "verify_model.h"

#include "reference/formats.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float log2_e = 1.44269504f;
static const float to_integer = 12582912.0f; // 1.5 * 2^23: what is added to it is rounded to an integer

static float finite_or_zero(float x) {
    return isfinite(x) ? x : 0.0f;
}

/* -- Means and channel scales ---- */

void model_k_mean(const struct plan *p, const float *stats, int64_t splits, int64_t seq_k, float mean[MODEL_DIM_MAX]) {
    const float inv_keys = seq_k > 0 ? 1.0f / (float)seq_k : 0.0f;
    for (int c = 0; c < p->d_qk; c++) {
        float sum = 0.0f;
        for (int64_t s = 0; p->smooth_k && seq_k > 0 && s < splits; s++) sum += stats[s * 4 * p->stats_width + c];
        mean[c] = sum * inv_keys;
    }
}

static float v_channel_scale(const struct plan *p, float amax) {
    if (!(amax > 1e-30f)) return 1.0f;
    if (p->spec->v_format != SPEC_FORMAT_FP16) return amax * (float)(1 / p->v_max);
    int exponent;
    frexpf(amax, &exponent); // a power of two above amax, so that scaling is exact
    return ldexpf(1.0f, exponent);
}

void model_v_scale(const struct plan *p, const float *stats, int64_t splits, int64_t seq_k, float scale[MODEL_DIM_MAX],
                   float mean[MODEL_DIM_MAX]) {
    for (int c = 0; c < p->d_v; c++) {
        scale[c] = 1.0f;
        mean[c] = 0.0f;
        if (!p->stats_v) continue;
        float sum = 0.0f, low = FLT_MAX, high = -FLT_MAX;
        for (int64_t s = 0; s < splits; s++) {
            const float *row = stats + (s * 4 + 1) * p->stats_width + c;
            if (p->smooth_v) sum += row[0];
            low = fminf(low, row[p->stats_width]);
            high = fmaxf(high, row[2 * p->stats_width]);
        }
        if (p->smooth_v) mean[c] = sum / (float)seq_k;
        scale[c] = v_channel_scale(p, fmaxf(high - mean[c], mean[c] - low));
    }
}

void model_q_mean(const struct plan *p, const struct model_input *q, int64_t tile, int group, float *out) {
    int64_t first = tile * p->tile_q + group * p->q_group, left = q->rows - first;
    int count = left < p->q_group ? (int)left : p->q_group;
    for (int c = 0; c < p->d_qk; c++) {
        float sum = 0.0f;
        for (int r = 0; c < q->dim && r < count; r++) sum += finite_or_zero(q->x[(first + r) * q->dim + c]);
        out[c] = count > 0 ? sum / (float)count : 0.0f;
    }
}

/* -- Values of a tile ---- */

static void rotate(float *x, int width) {
    for (int half = 1; half < width; half *= 2)
        for (int i = 0; i < width; i++) {
            if (i & half) continue;
            float a = x[i], b = x[i + half];
            x[i] = a + b;
            x[i + half] = a - b;
        }
    float norm = (float)(1 / sqrt((double)width));
    for (int i = 0; i < width; i++) x[i] *= norm;
}

// Centred and rotated: y [rows][d_qk]. Means of row r: mean + r / group * d_qk; group 0: one mean for all.
static void tile_values(const struct plan *p, const struct model_input *in, int64_t tile, int rows, const float *mean,
                        int group, float *y) {
    memset(y, 0, (size_t)rows * (size_t)p->d_qk * sizeof *y);
    for (int r = 0; r < rows; r++) {
        int64_t row = tile * rows + r;
        float *out = y + (size_t)r * (size_t)p->d_qk;
        const float *m = mean ? mean + (group ? r / group * p->d_qk : 0) : NULL;
        for (int c = 0; row < in->rows && c < p->d_qk; c++) {
            out[c] = c < in->dim ? finite_or_zero(in->x[row * in->dim + c]) : 0.0f;
            if (m) out[c] -= m[c];
        }
        for (int c = 0; p->rotate && c < p->d_qk; c += p->rotate_width) rotate(out + c, p->rotate_width);
    }
}

static float *values_alloc(const struct plan *p, int rows) {
    return xmalloc((size_t)rows * (size_t)p->d_qk * sizeof(float));
}

static void put_float(uint8_t *at, float x) {
    memcpy(at, &x, sizeof x);
}

/* -- Codes of 8 bits ---- */

static int group_of(const struct plan *p, enum image_tensor t, int row) {
    switch (p->spec->qk_granularity) {
    case SPEC_GRANULARITY_PER_THREAD:
        if (t == IMAGE_Q && p->q_thread_rows == 1) return row;
        return t == IMAGE_Q ? row / 16 * 8 + row % 8 : row / p->k_scale_keys * 4 + row % 8 / 2;
    case SPEC_GRANULARITY_PER_WARP:
        return t == IMAGE_Q ? row / p->rows_per_warp : row / p->k_scale_keys;
    case SPEC_GRANULARITY_PER_TOKEN:
        return row;
    default:
        return t == IMAGE_Q ? 0 : row / p->k_scale_keys;
    }
}

static float largest_code(const struct plan *p) {
    return p->qk4 ? 2688.0f : p->spec->qk_format == SPEC_FORMAT_FP8_E4M3 ? 448.0f : 127.0f;
}

// The code of x * inv; an integer one by a fused sum, as the kernels round.
static uint8_t code_of(const struct plan *p, float x, float inv) {
    if (p->spec->qk_format == SPEC_FORMAT_FP8_E4M3) return (uint8_t)format_encode(FORMAT_E4M3, (double)(x * inv));
    return (uint8_t)(int8_t)(fmaf(x, inv, to_integer) - to_integer);
}

// Codes to the image; the largest magnitude of each row's group to amax [rows].
static void grouped_encode(const struct plan *p, enum image_tensor t, const float *y, int rows, uint8_t *image,
                           float *amax) {
    float group_amax[MODEL_ROWS_MAX] = {0};
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < p->d_qk; c++) {
            float *most = &group_amax[group_of(p, t, r)];
            *most = fmaxf(*most, fabsf(y[r * p->d_qk + c]));
        }
    for (int r = 0; r < rows; r++) {
        amax[r] = group_amax[group_of(p, t, r)];
        // the largest code's inverse scale is finite where the kernels use it
        float inv = amax[r] > largest_code(p) / 3e38f ? largest_code(p) / amax[r] : 0.0f;
        for (int c = 0; c < p->d_qk; c++) image[image_byte(p, t, r, c)] = code_of(p, y[r * p->d_qk + c], inv);
    }
}

/* -- Block scales ---- */

static unsigned scale_code(enum spec_format format, float amax, float divisor) {
    if (format == SPEC_FORMAT_MXFP4) {
        uint32_t bits;
        memcpy(&bits, &amax, sizeof bits);
        unsigned exponent = bits >> 23;
        return exponent < 3 ? 127u : exponent - 2 + (divisor < 6.0f ? 1u : 0u);
    }
    unsigned code = (unsigned)format_encode(FORMAT_UE4M3, (double)(amax / divisor));
    return code > 1 ? code : 1u;
}

// Squared error of n elements in units of the scale. The kernels' compiler fuses the multiply and add.
static float squared_error(const float *x, int n, float inv) {
    float error = 0.0f;
    for (int i = 0; i < n; i++) {
        float y = fabsf(x[i] * inv), r = y - (float)format_round(FORMAT_E2M1, (double)y);
        error = fmaf(r, r, error);
    }
    return error;
}

// Of Q and K eight elements lie in each thread, which join in pairs; of V one thread has the whole block.
static float block_error(const float *x, int n, bool whole, float inv) {
    if (whole) return squared_error(x, n, inv);
    float part[4] = {0};
    for (int i = 0; i < n / 8; i++) part[i] = squared_error(x + 8 * i, 8, inv);
    return n == 16 ? part[0] + part[1] : (part[0] + part[1]) + (part[2] + part[3]);
}

static unsigned block_choose(const struct plan *p, enum image_tensor t, const float *x, int n, float *best_inv) {
    const struct spec_f32_list *search = &p->spec->scale_search;
    const enum spec_format format = t == IMAGE_V ? p->spec->v_format : p->spec->qk_format;
    float amax = 0.0f, least = INFINITY;
    unsigned best = 0;
    for (int i = 0; i < n; i++) amax = fmaxf(amax, fabsf(x[i]));
    for (int i = 0; i < search->count; i++) {
        unsigned code = scale_code(format, amax, search->item[i]);
        float value = image_scale_value(format, code), inv = 1.0f / value;
        float error = block_error(x, n, t == IMAGE_V, inv) * (value * value);
        if (!(error < least)) continue;
        least = error;
        best = code;
        *best_inv = inv;
    }
    return best;
}

static void put_nibble(uint8_t *at, int element, unsigned code) {
    *at = (uint8_t)(element % 2 ? (*at & 15u) | code << 4 : (*at & 0xf0u) | code);
}

static void block_encode(const struct plan *p, enum image_tensor t, const float *x, int n, int row, int first,
                         uint8_t *image) {
    float inv = 0.0f;
    image[image_block_scale_byte(p, t, row, first / n)] = (uint8_t)block_choose(p, t, x, n, &inv);
    for (int i = 0; i < n; i++) {
        unsigned code = (unsigned)format_encode(FORMAT_E2M1, (double)(x[i] * inv));
        put_nibble(image + image_byte(p, t, row, first + i), first + i, code);
    }
}

// Rows share a second-level scale in `group_rows` rows; its amax goes to amax [rows].
static void fp4_encode(const struct plan *p, enum image_tensor t, float *y, int rows, int group_rows, uint8_t *image,
                       float *amax) {
    for (int first = 0; first < rows; first += group_rows) {
        float most = 0.0f;
        for (int i = 0; i < group_rows * p->d_qk; i++) most = fmaxf(most, fabsf(y[first * p->d_qk + i]));
        float to_unit = most > 0.0f ? 2688.0f / most : 0.0f;
        for (int r = first; r < first + group_rows; r++) {
            amax[r] = most;
            for (int c = 0; c < p->d_qk; c++) y[r * p->d_qk + c] *= to_unit;
            for (int c = 0; c < p->d_qk; c += p->qk_block)
                block_encode(p, t, y + r * p->d_qk + c, p->qk_block, r, c, image);
        }
    }
}

/* -- Tiles ---- */

static float scale_of(const struct plan *p, float amax) {
    return amax > 0.0f ? amax * (1.0f / largest_code(p)) : 1.0f;
}

void model_encode_q(const struct plan *p, const struct model_input *q, int64_t tile, float sm_scale,
                    const float *q_mean, uint8_t *image, float *scales) {
    float amax[MODEL_ROWS_MAX], *y = values_alloc(p, p->tile_q);
    tile_values(p, q, tile, p->tile_q, q_mean, p->q_group, y);
    if (p->qk4)
        fp4_encode(p, IMAGE_Q, y, p->tile_q, p->q_group ? p->q_group : p->tile_q, image, amax);
    else
        grouped_encode(p, IMAGE_Q, y, p->tile_q, image, amax);
    for (int r = 0; r < p->tile_q; r++) scales[r] = scale_of(p, amax[r]) * sm_scale * log2_e;
    free(y);
}

void model_encode_k(const struct plan *p, const struct model_input *k, int64_t tile, const float *mean,
                    uint8_t *image) {
    float amax[MODEL_ROWS_MAX], *y = values_alloc(p, p->tile_k);
    tile_values(p, k, tile, p->tile_k, p->smooth_k ? mean : NULL, 0, y);
    if (p->qk4)
        fp4_encode(p, IMAGE_K, y, p->tile_k, p->tile_k, image, amax);
    else
        grouped_encode(p, IMAGE_K, y, p->tile_k, image, amax);
    for (int r = 0; r < p->tile_k; r++) put_float(image + image_k_scale_byte(p, r), scale_of(p, amax[r]));
    for (int i = 0; p->qk4 && i < 4; i++) put_float(image + image_k_scale_byte(p, 0) + 4 * i, scale_of(p, amax[0]));
    free(y);
}

static void v_put(const struct plan *p, int c, int position, float y, uint8_t *image) {
    uint8_t *at = image + image_byte(p, IMAGE_V, c, position);
    if (p->spec->v_format == SPEC_FORMAT_FP8_E4M3) {
        *at = (uint8_t)format_encode(FORMAT_E4M3, (double)y);
        return;
    }
    unsigned code = (unsigned)format_encode(FORMAT_F16, (double)y);
    at[0] = (uint8_t)code;
    at[1] = (uint8_t)(code >> 8);
}

static float code_error(float y) {
    return y - (float)format_round(FORMAT_E4M3, (double)y);
}

// The kernels' error diffusion, in their order: errors of four positions, then of these fours; the later 8 of each 16
// keys take their share, where they are keys at all. y [tile_k] by position.
static void diffuse(const struct plan *p, int64_t keys_left, float *y) {
    float error = 0;
    for (int i = 0; i < p->tile_k; i += 4) {
        float word = 0;
        for (int k = 0; k < 4; k++) word += code_error(y[i + k]);
        error += word;
    }
    const float share = error * (float)(1.5 / p->tile_k);
    for (int i = 0; i < p->tile_k; i++) {
        const int key = image_key_of_position(p->spec->v_format, i);
        if (key / 8 % 2 == 1 && key < keys_left) y[i] += share;
    }
}

void model_encode_v(const struct plan *p, const struct model_input *v, int64_t tile, const float *scale,
                    const float *mean, uint8_t *image) {
    float y[MODEL_ROWS_MAX];
    for (int c = 0; c < p->d_v; c++) {
        const float inv = 1.0f / scale[c];
        for (int i = 0; i < p->tile_k; i++) {
            int64_t key = tile * p->tile_k + image_key_of_position(p->spec->v_format, i);
            float x = key < v->rows && c < v->dim ? finite_or_zero(v->x[key * v->dim + c]) : 0.0f;
            y[i] = key < v->rows ? (x - mean[c]) * inv : 0.0f;
        }
        if (p->diffuse_v) diffuse(p, v->rows - tile * p->tile_k, y);
        for (int i = 0; !spec_format_is_fp4(p->spec->v_format) && i < p->tile_k; i++) v_put(p, c, i, y[i], image);
        for (int i = 0; spec_format_is_fp4(p->spec->v_format) && i < p->tile_k; i += p->v_block)
            block_encode(p, IMAGE_V, y + i, p->v_block, c, i, image);
    }
}

/* -- Differences ---- */

void model_diff_scales(struct model_diff *d, const float *got, const float *expected, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - (double)expected[i]) / fabs((double)expected[i]);
        if (got[i] == expected[i]) error = 0;
        if (!(error <= d->scale_error)) d->scale_error = isfinite(error) ? error : INFINITY;
    }
}

// Codes as integers in the order of their values.
static int ordered(const struct plan *p, enum image_tensor t, unsigned code) {
    if (t != IMAGE_V && p->spec->qk_format == SPEC_FORMAT_INT8) return (int8_t)code;
    unsigned sign = 1u << (image_bits(p, t) - 1);
    return code & sign ? -(int)(code & (sign - 1)) : (int)code;
}

static const char *const tensor_text[] = {[IMAGE_Q] = "q", [IMAGE_K] = "k", [IMAGE_V] = "v"};

static void diff_note(struct model_diff *d, enum image_tensor t, int64_t tile, int row, int element, int got,
                      int expected) {
    if (d->first[0]) return;
    snprintf(d->first, sizeof d->first, "first: %s tile %lld row %d element %d: code %d, expected %d", tensor_text[t],
             (long long)tile, row, element, got, expected);
}

struct diff_place {
    const struct plan *plan;
    enum image_tensor t;
    int64_t tile;
    const uint8_t *got, *expected;
    int real_rows;
};

static bool is_padding(const struct diff_place *at, int row, int element) {
    const struct plan *p = at->plan;
    if (at->t != IMAGE_V) return row >= at->real_rows || (element >= p->head_dim_qk && !p->rotate);
    return row >= p->head_dim_v || image_key_of_position(p->spec->v_format, element) >= at->real_rows;
}

static void diff_code(struct model_diff *d, const struct diff_place *at, int row, int element) {
    int got = ordered(at->plan, at->t, image_code(at->plan, at->t, at->got, row, element));
    int expected = ordered(at->plan, at->t, image_code(at->plan, at->t, at->expected, row, element));
    if (is_padding(at, row, element)) {
        if (got == 0) return;
        d->padding++;
        diff_note(d, at->t, at->tile, row, element, got, 0);
        return;
    }
    int apart = abs(got - expected);
    d->codes++;
    d->near += apart == 1;
    d->far += apart > 1;
    if (apart > 1) diff_note(d, at->t, at->tile, row, element, got, expected);
}

// Whether the codes of this block can be compared.
static bool diff_block(struct model_diff *d, const struct diff_place *at, int row, int block) {
    size_t byte = image_block_scale_byte(at->plan, at->t, row, block);
    d->blocks++;
    if (at->got[byte] == at->expected[byte]) return true;
    d->blocks_differing++;
    return false;
}

void model_diff_image(struct model_diff *d, const struct plan *p, enum image_tensor t, const uint8_t *got,
                      const uint8_t *expected, int64_t tile, int real_rows) {
    const struct diff_place at = {p, t, tile, got, expected, real_rows};
    int rows = t == IMAGE_Q   ? p->tile_q
               : t == IMAGE_K ? p->tile_k
                              : p->d_v,
        elements = t == IMAGE_V ? p->tile_k : p->d_qk;
    const bool blocks = t == IMAGE_V ? p->pv4 : p->qk4;
    int block = !blocks ? elements : t == IMAGE_V ? p->v_block : p->qk_block;
    for (int row = 0; row < rows; row++)
        for (int first = 0; first < elements; first += block) {
            if (blocks && !diff_block(d, &at, row, first / block)) continue;
            for (int e = first; e < first + block; e++) diff_code(d, &at, row, e);
        }
    for (int key = 0; t == IMAGE_K && key < p->tile_k; key++) {
        float a = image_k_scale(p, got, key), b = image_k_scale(p, expected, key);
        model_diff_scales(d, &a, &b, 1);
    }
}
