// verify_model: what the quantiser kernels should write, computed on the CPU in the same fp32 arithmetic, and the
// comparison with what they wrote. In: inputs as floats, the GPU's own statistics (checked apart). Out: tile images,
// counts of differences. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_MODEL_H
#define SAGE_GEN_VERIFY_MODEL_H

#include "verify_image.h"

enum { MODEL_DIM_MAX = 256, MODEL_ROWS_MAX = 256 };

// Rows of one head of Q, K or V. Elements that are not finite count as 0, as the kernels read them.
struct model_input {
    const float *x; /* [rows][dim] */
    int64_t rows;
    int dim;
};

// Statistics of K and V of one kv head: [splits][4][stats_width]: sum of K; sum (where V is smoothed), minimum, maximum of V.
void model_k_mean(const struct plan *p, const float *stats, int64_t splits, int64_t seq_k, float mean[MODEL_DIM_MAX]);
void model_v_scale(const struct plan *p, const float *stats, int64_t splits, int64_t seq_k, float scale[MODEL_DIM_MAX],
                   float mean[MODEL_DIM_MAX]);

// The mean of a group of query rows of a tile; out [d_qk].
void model_q_mean(const struct plan *p, const struct model_input *q, int64_t tile, int group, float *out);
// Image and scales of one tile. q_mean [tile_q / q_group][d_qk], or NULL; scales [tile_q], sm_scale * log2 e folded in.
void model_encode_q(const struct plan *p, const struct model_input *q, int64_t tile, float sm_scale,
                    const float *q_mean, uint8_t *image, float *scales);
void model_encode_k(const struct plan *p, const struct model_input *k, int64_t tile, const float *mean, uint8_t *image);
void model_encode_v(const struct plan *p, const struct model_input *v, int64_t tile, const float *scale,
                    const float *mean, uint8_t *image);

struct model_diff {
    uint64_t codes, near, far;         /* compared; one code apart; more */
    uint64_t padding;                  /* codes that should be zero and are not */
    uint64_t blocks, blocks_differing; /* block scales; the codes of differing ones are not compared */
    double scale_error;                /* largest relative error of an fp32 scale; infinity where one is not finite */
    char first[96];                    /* where the first far or padding code was */
};

void model_diff_scales(struct model_diff *d, const float *got, const float *expected, size_t n);
// real_rows: rows of the tile that the tensor has (V: positions whose keys are below it).
void model_diff_image(struct model_diff *d, const struct plan *p, enum image_tensor t, const uint8_t *got,
                      const uint8_t *expected, int64_t tile, int real_rows);

#endif
