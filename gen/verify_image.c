// verify_image: see verify_image.h. An element's address is found in two steps: its place in panels of rows, then the
// hardware's swizzle, which exchanges address bits. SPDX-License-Identifier: Apache-2.0
#include "verify_image.h"

#include "parallel.h"
#include "reference/formats.h"
#include <string.h>

/* -- Sizes ---- */

static enum spec_format format_of(const struct plan *p, enum image_tensor t) {
    return t == IMAGE_V ? p->spec->v_format : p->spec->qk_format;
}

int image_bits(const struct plan *p, enum image_tensor t) {
    enum spec_format f = format_of(p, t);
    return spec_format_is_fp4(f) ? 4 : f == SPEC_FORMAT_FP16 ? 16 : 8;
}

static int image_rows(const struct plan *p, enum image_tensor t) {
    return t == IMAGE_Q ? p->tile_q : t == IMAGE_K ? p->tile_k : p->d_v;
}

static size_t data_bytes(const struct plan *p, enum image_tensor t) {
    return (size_t)image_rows(p, t) * (size_t)(t == IMAGE_V ? p->v_row_bytes : p->qk_row_bytes);
}

/* -- Codes ---- */

// V's rows stand in the order of O's columns: of 32 channels each lane t of a quad has eight, 8t to 8t + 7, as columns 2t
// and 2t + 1 of four tiles of 8.
static int image_row(const struct plan *p, enum image_tensor t, int row) {
    if (t != IMAGE_V || row >= p->head_dim_v / 32 * 32) return row;
    const int lane = row % 32 / 8, tile = row % 8 / 2;
    return row / 32 * 32 + tile * 8 + lane * 2 + row % 2;
}

// Swizzle of 128, 64 and 32 bytes: address bits 4-6, 4-5, 4 are XORed with as many bits from 7 on.
size_t image_byte(const struct plan *p, enum image_tensor t, int row, int element) {
    size_t panel_bytes = (size_t)(t == IMAGE_V ? p->v_panel_bytes : p->qk_panel_bytes);
    size_t byte = (size_t)element * (size_t)image_bits(p, t) / 8;
    size_t panel = byte / panel_bytes, within = byte % panel_bytes;
    size_t linear = (panel * (size_t)image_rows(p, t) + (size_t)image_row(p, t, row)) * panel_bytes + within;
    return linear ^ (((linear >> 7) & (panel_bytes / 16 - 1)) << 4);
}

unsigned image_code(const struct plan *p, enum image_tensor t, const uint8_t *image, int row, int element) {
    const uint8_t *at = image + image_byte(p, t, row, element);
    switch (image_bits(p, t)) {
    case 4:
        return element % 2 ? *at >> 4 : *at & 15u;
    case 16:
        return (unsigned)at[0] | (unsigned)at[1] << 8;
    default:
        return *at;
    }
}

/* -- Scales ---- */

// One 32-bit word serves the lanes of a warp in turn. A operand (Q), with thread-id selector s: lanes 4i + 2s hold row
// i, 4i + 2s + 1 row i + 8, of 16; two k steps of 64 share a register. B operand (K, V): lane 4i + s holds column i of
// n8 tile s; four n8 tiles share a register. Byte of the word: block within the k step.
static size_t scale_word(const struct plan *p, enum image_tensor t, int row, int step) {
    int steps = (t == IMAGE_V ? p->tile_k : p->d_qk) / 64;
    if (t == IMAGE_Q) {
        int registers = (steps + 1) / 2, lane = row % 8 * 4 + step % 2 * 2 + row / 8 % 2;
        return (size_t)((row / 16 * registers + step / 2) * 32 + lane);
    }
    // a lane loads the words of 64 keys as vectors: [64 keys][words / width][lane][width]
    int groups = (t == IMAGE_V ? p->d_v : p->tile_k) / 32, lane = row % 8 * 4 + row / 8 % 4;
    int word = t == IMAGE_V ? step * groups + row / 32 : row / 32 * steps + step;
    int words = t == IMAGE_V ? groups : 2 * steps, width = words % 4 == 0 ? 4 : words % 2 == 0 ? 2 : 1;
    return (size_t)((word / width * 32 + lane) * width + word % width);
}

size_t image_block_scale_byte(const struct plan *p, enum image_tensor t, int row, int block) {
    int per_step = 64 / (t == IMAGE_V ? p->v_block : p->qk_block);
    return data_bytes(p, t) + 4 * scale_word(p, t, image_row(p, t, row), block / per_step) + (size_t)(block % per_step);
}

size_t image_k_scale_byte(const struct plan *p, int key) {
    size_t base = data_bytes(p, IMAGE_K) + (size_t)p->k_sf_bytes;
    if (spec_format_is_fp4(p->spec->qk_format)) return base;
    if (p->spec->qk_granularity == SPEC_GRANULARITY_PER_TOKEN) return base + 4 * (size_t)key;
    return base +
           4 * (size_t)(key / p->k_scale_keys * 4 + key % 8 / 2); // the lane of a quad that holds the key's column
}

float image_k_scale(const struct plan *p, const uint8_t *image, int key) {
    float scale;
    memcpy(&scale, image + image_k_scale_byte(p, key), sizeof scale);
    return scale;
}

int64_t image_delta_pair(const struct plan *p, int64_t k_tile_count, int64_t head, int64_t g, int64_t key) {
    const int64_t per_tile = p->tile_q / p->q_group; // groups that a tile of queries reads together
    const int64_t tile = (g / per_tile * k_tile_count + key / p->tile_k) * per_tile + g % per_tile;
    return 2 * p->tile_k * (head * p->delta_groups * k_tile_count + tile) + key % p->tile_k / 2 * 4;
}

/* -- Order of keys ---- */

// A register of P's A fragment holds n consecutive positions: 2 of 16 bits, 4 of 8, 8 of 4. Lane t of a quad fills them
// from the score accumulators that it holds, columns 2t and 2t + 1 of n / 2 neighbouring tiles of 8 keys.
int image_key_of_position(enum spec_format v, int position) {
    int n = spec_format_is_fp4(v) ? 8 : v == SPEC_FORMAT_FP16 ? 2 : 4;
    int group = position / (4 * n), lane = position % (4 * n) / n, slot = position % n;
    return group * 4 * n + slot / 2 * 8 + 2 * lane + slot % 2;
}

/* -- Values ---- */

float image_code_value(enum spec_format format, unsigned code) {
    switch (format) {
    case SPEC_FORMAT_INT8:
        return (float)(int8_t)code;
    case SPEC_FORMAT_FP16:
        return (float)format_decode(FORMAT_F16, code);
    case SPEC_FORMAT_FP8_E4M3:
        return (float)format_decode(FORMAT_E4M3, code);
    default:
        return (float)format_decode(FORMAT_E2M1, code);
    }
}

float image_scale_value(enum spec_format format, unsigned code) {
    return (float)(format == SPEC_FORMAT_MXFP4 ? format_ue8m0_decode((uint8_t)code)
                                               : format_decode(FORMAT_UE4M3, code));
}

float image_value(const struct plan *p, enum image_tensor t, const uint8_t *image, int row, int element) {
    enum spec_format f = format_of(p, t);
    float value = image_code_value(f, image_code(p, t, image, row, element));
    if (!spec_format_is_fp4(f)) return value;
    int block = element / (t == IMAGE_V ? p->v_block : p->qk_block);
    return value * image_scale_value(f, image[image_block_scale_byte(p, t, row, block)]);
}

/* -- Operands ---- */

void image_decode_q(const struct plan *p, const struct image_head *head, const size_t *rows, size_t count, float *out,
                    float *scale) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *image = head->q_tiles + rows[i] / (size_t)p->tile_q * (size_t)p->q_tile_bytes;
        const float unit = scale ? 1.0f : head->q_scale[rows[i]];
        for (int c = 0; c < p->d_qk; c++)
            *out++ = image_value(p, IMAGE_Q, image, (int)(rows[i] % (size_t)p->tile_q), c) * unit;
        if (scale) scale[i] = head->q_scale[rows[i]];
    }
}

size_t image_key_count(const struct plan *p, const struct image_head *head) {
    return (size_t)(p->pv4 ? head->k_tile_count * p->tile_k : head->seq_k);
}

struct decode {
    const struct plan *plan;
    const struct image_head *head;
    float *k, *v, *k_scale;
    int32_t *key_index;
};

// One key of a tile, to place `to`.
static void decode_key(const struct decode *d, size_t tile, int position, int key, size_t to) {
    const struct plan *p = d->plan;
    const uint8_t *k = d->head->k_tiles + tile * (size_t)p->k_tile_bytes,
                  *v = d->head->v_tiles + tile * (size_t)p->v_tile_bytes;
    const float scale = image_k_scale(p, k, key), unit = d->k_scale ? 1.0f : scale;
    if (d->k_scale) d->k_scale[to] = scale;
    for (int c = 0; c < p->d_qk; c++)
        d->k[to * (size_t)p->d_qk + (size_t)c] = image_value(p, IMAGE_K, k, key, c) * unit;
    for (int c = 0; c < p->head_dim_v; c++)
        d->v[to * (size_t)p->head_dim_v + (size_t)c] = image_value(p, IMAGE_V, v, c, position) * d->head->v_scale[c];
}

static void decode_tile(void *user, size_t tile) {
    const struct decode *d = user;
    const struct plan *p = d->plan;
    for (int position = 0; position < p->tile_k; position++) {
        int key = image_key_of_position(p->spec->v_format, position);
        size_t at = tile * (size_t)p->tile_k, all = at + (size_t)key;
        bool exists = all < (size_t)d->head->seq_k;
        if (!p->pv4 && !exists) continue;
        const size_t to = p->pv4 ? at + (size_t)position : all;
        d->key_index[to] = exists ? (int32_t)all : -1;
        decode_key(d, tile, position, key, to);
    }
}

void image_decode_kv(const struct plan *p, const struct image_head *head, int threads, float *k, float *v,
                     int32_t *key_index, float *k_scale) {
    struct decode d = {p, head, k, v, k_scale, key_index};
    parallel_for((size_t)head->k_tile_count, threads, decode_tile, &d);
}
