// verify_image: reads the quantised tile images of the workspace on the CPU, element by element. Written from the PTX
// ISA's fragment and swizzle definitions, not from the templates, so that an error of theirs shows. In: a plan and
// bytes. Out: codes, scales, and whole operands as floats. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_IMAGE_H
#define SAGE_GEN_VERIFY_IMAGE_H

#include "plan.h"

enum image_tensor { IMAGE_Q, IMAGE_K, IMAGE_V };

// **Layout** Rows of an image: of Q and K query rows and keys, elements are channels; of V channels, elements are
// positions of keys; rows are named by their channel, wherever they lie. Where the byte of an element lies in its tile's image; bit 0 or 4 of it for 4-bit elements.
size_t image_byte(const struct plan *p, enum image_tensor t, int row, int element);
int image_bits(const struct plan *p, enum image_tensor t); // of an element
unsigned image_code(const struct plan *p, enum image_tensor t, const uint8_t *image, int row, int element);
// Where the scale of a block of elements lies: block = element / block size.
size_t image_block_scale_byte(const struct plan *p, enum image_tensor t, int row, int block);
// The fp32 scale of a key's codes.
size_t image_k_scale_byte(const struct plan *p, int key);
float image_k_scale(const struct plan *p, const uint8_t *image, int key);
// Index of the first of the four values of delta_s that a pair of keys starts from (the layout of kernel_args.h); g: group
// within its chunk. The value of the key is there at key % 2, and again two further.
int64_t image_delta_pair(const struct plan *p, int64_t k_tile_count, int64_t head, int64_t g, int64_t key);
// The key within the tile at a position of V's rows, so that P's fragment needs no shuffle.
int image_key_of_position(enum spec_format v, int position);

float image_code_value(enum spec_format format, unsigned code);
float image_scale_value(enum spec_format format, unsigned code); // of a block scale's code
// Code times block scale, in units of the fp32 scale.
float image_value(const struct plan *p, enum image_tensor t, const uint8_t *image, int row, int element);

// Tiles and scales of one head in a downloaded workspace.
struct image_head {
    const uint8_t *q_tiles, *k_tiles, *v_tiles;
    const float *q_scale; /* [rows of all tiles] */
    const float *v_scale; /* [2][d_v]: scales, means */
    int64_t k_tile_count, seq_k;
};

// Q rows with q_scale, out [count][d_qk]: log2 units per unit of k. scale [count]: gets q_scale, and out has codes
// alone; NULL: multiplied in.
void image_decode_q(const struct plan *p, const struct image_head *head, const size_t *rows, size_t count, float *out,
                    float *scale);
// **Layout** k [keys][d_qk], v [keys][head_dim_v], without V's mean. Keys are in their own order, seq_k of them; with
// a 4-bit V in the order of positions, all of all tiles, since P's blocks lie there. key_index [keys]: gets the key at
// each place, -1: padding. k_scale [keys]: gets the fp32 scales of K, and k has codes alone; NULL: multiplied in.
size_t image_key_count(const struct plan *p, const struct image_head *head);
void image_decode_kv(const struct plan *p, const struct image_head *head, int threads, float *k, float *v,
                     int32_t *key_index, float *k_scale);

#endif
