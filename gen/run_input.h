// run_input: Q, K and V from files to what a launch needs: their shape, the io type, and 16-bit data in file order. In:
// "file" or "file:tensor" texts (.npy, .safetensors). Out: tensors and struct run_shape, or one sentence. Knows no GPU.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_RUN_INPUT_H
#define SAGE_GEN_RUN_INPUT_H

#include "reference/tensor.h"
#include "sage.h"

enum run_input { RUN_Q, RUN_K, RUN_V, RUN_INPUTS };
const char *run_input_text(int input); // "Q"

// How the last three (or two) dimensions of the files are meant: [batch][heads][seq][dim] or [batch][seq][heads][dim].
enum run_layout { RUN_BHND, RUN_BNHD };

/* -- Files ---- */

// Where "file:tensor" is cut: after ".safetensors". Returns the tensor's name within text, or NULL where there is none.
const char *run_tensor_name(const char *text, size_t *path_len);
// Reads one input. A .safetensors file of one tensor needs no name. raw16_is_bf16: .npy files of raw 2-byte elements.
bool run_read(const char *text, bool raw16_is_bf16, struct tensor *out, char *why, size_t why_bytes);

/* -- Shapes ---- */

struct run_shape {
    enum run_layout layout;
    int ndim; /* of the files: 4, 3 (no batch) or 2 (no heads either) */
    sage_attention_shape extent;
    int dim_qk, dim_v;
};

// Checks that the three fit together, and that libsage can take them.
bool run_shape_make(const struct tensor input[RUN_INPUTS], enum run_layout layout, struct run_shape *out, char *why,
                    size_t why_bytes);
// The strides of a contiguous tensor in the shape's layout; data is NULL.
sage_tensor run_strides(const struct run_shape *shape, int64_t heads, int64_t seq, int dim);
// The tensor as [batch][heads][seq][dim], sharing its data, whatever its layout and ndim.
struct tensor run_view(const struct run_shape *shape, const struct tensor *t, int64_t heads, int64_t seq, int dim);
// Contiguous tensors: O like Q with V's head dim; LSE f32 [batch][heads_q][seq_q], without the dimensions Q lacks.
bool run_output_create(const struct run_shape *shape, enum number_format io, struct tensor *out, char *why,
                       size_t why_bytes);
bool run_lse_create(const struct run_shape *shape, struct tensor *out, char *why, size_t why_bytes);
// Operations of the two products, the usual count: half where causal.
double run_operations(const struct run_shape *shape, bool causal);

/* -- Number format ---- */

struct run_scan {
    double max_abs;      /* of the finite elements */
    uint64_t not_finite; /* elements */
};
struct run_scan run_scan(const struct tensor *t);

enum run_io { RUN_IO_AUTO, RUN_IO_BF16, RUN_IO_FP16 };

// FORMAT_BF16 or FORMAT_F16: what was asked for, else what the files have, else fp16 unless a value exceeds its range.
// Fails where files disagree, or a value does not fit.
bool run_format_choose(const struct tensor input[RUN_INPUTS], const struct run_scan scan[RUN_INPUTS], enum run_io asked,
                       enum number_format *out, char *why, size_t why_bytes);
// Rounds in place, to nearest even. A tensor of that format already is left as it is.
bool run_round(struct tensor *t, enum number_format io, char *why, size_t why_bytes);

#endif
