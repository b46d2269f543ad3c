// tensor: an array with a shape and a number format, as read from a file. In: shapes. Out: owned memory, conversions
// between formats. Errors are one sentence in the caller's buffer; outputs are untouched on failure. Assumes a
// little-endian host, as the files are.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_TENSOR_H
#define SAGE_REFERENCE_TENSOR_H

#include "formats.h"

enum { TENSOR_DIMS = 8, TENSOR_TEXT = 128 };

struct tensor {
    enum number_format dtype; /* F64, F32, F16 or BF16 */
    int ndim;                 /* 0 = one element */
    int64_t shape[TENSOR_DIMS];
    int64_t strides[TENSOR_DIMS]; /* elements */
    void *data;                   /* owned; never NULL in a live tensor */
};

// Writes a sentence into why (NUL-terminated, cut to fit, control bytes of the file's own text shown as '?'); returns
// false, so that callers can `return tensor_fail(...)`.
bool tensor_fail(char *why, size_t why_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

// A contiguous tensor of unspecified content. Fails on a negative or too large shape, or without memory.
bool tensor_create(enum number_format dtype, int ndim, const int64_t *shape, struct tensor *out, char *why,
                   size_t why_bytes);
void tensor_free(struct tensor *t); // back to zeros; a zeroed tensor is allowed
size_t tensor_count(const struct tensor *t);
bool tensor_is_contiguous(const struct tensor *t);
void tensor_describe(const struct tensor *t, char text[TENSOR_TEXT]); // "f16 [12, 384, 32]"

// A contiguous copy in another format; strides of the input are honoured.
bool tensor_convert(const struct tensor *in, enum number_format dtype, struct tensor *out, char *why, size_t why_bytes);

// [heads][seq][dim] -> [heads / join][seq][dim * join] of the same format, by concatenating neighbouring heads along
// dim.
bool tensor_join_heads(const struct tensor *in, int join, struct tensor *out, char *why, size_t why_bytes);

// Bytes of a contiguous tensor. False where a dimension is negative or the size exceeds PTRDIFF_MAX.
bool tensor_bytes(enum number_format dtype, int ndim, const int64_t *shape, size_t *bytes);

#endif
