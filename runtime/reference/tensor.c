// tensor: sizes checked against overflow once, here; conversions go through double, which holds every format exactly.
// SPDX-License-Identifier: Apache-2.0
#include "tensor.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the file formats are little-endian and are read without swapping");

bool tensor_fail(char *why, size_t why_bytes, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (why_bytes) vsnprintf(why, why_bytes, format, args);
    va_end(args);
    for (size_t i = 0; why_bytes && why[i]; i++)
        if ((unsigned char)why[i] < ' ' || why[i] == 127) why[i] = '?';
    return false;
}

/* -- Shapes ---- */

bool tensor_bytes(enum number_format dtype, int ndim, const int64_t *shape, size_t *bytes) {
    size_t total = format_bits(dtype) / 8;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0) return false;
    for (int i = 0; i < ndim; i++)
        if (shape[i] == 0) total = 0;
    for (int i = 0; i < ndim && total; i++) {
        if ((uint64_t)shape[i] > (uint64_t)PTRDIFF_MAX / total) return false;
        total *= (size_t)shape[i];
    }
    *bytes = total;
    return true;
}

size_t tensor_count(const struct tensor *t) {
    size_t count = 1;
    for (int i = 0; i < t->ndim; i++) count *= (size_t)t->shape[i];
    return count;
}

// Strides of a tensor without elements may not fit and are never used: they stay 0.
static void set_contiguous_strides(struct tensor *t, size_t bytes) {
    int64_t stride = 1;
    for (int i = t->ndim - 1; i >= 0 && bytes; i--) {
        t->strides[i] = stride;
        stride *= t->shape[i];
    }
}

bool tensor_is_contiguous(const struct tensor *t) {
    int64_t stride = 1;
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] == 0) return true;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->strides[i] != stride) return false;
        stride *= t->shape[i];
    }
    return true;
}

static void append(char text[TENSOR_TEXT], const char *piece) {
    size_t len = strlen(text);
    snprintf(text + len, TENSOR_TEXT - len, "%s", piece);
}

void tensor_describe(const struct tensor *t, char text[TENSOR_TEXT]) {
    char number[32];
    snprintf(text, TENSOR_TEXT, "%s [", format_text(t->dtype));
    for (int i = 0; i < t->ndim; i++) {
        snprintf(number, sizeof number, "%s%" PRId64, i ? ", " : "", t->shape[i]);
        append(text, number);
    }
    append(text, "]");
}

bool tensor_create(enum number_format dtype, int ndim, const int64_t *shape, struct tensor *out, char *why,
                   size_t why_bytes) {
    size_t bytes;
    if (ndim < 0 || ndim > TENSOR_DIMS)
        return tensor_fail(why, why_bytes, "%d dimensions; at most %d are supported", ndim, TENSOR_DIMS);
    if (!tensor_bytes(dtype, ndim, shape, &bytes))
        return tensor_fail(why, why_bytes, "the shape is negative or too large");
    void *data = malloc(bytes ? bytes : 1);
    if (!data) return tensor_fail(why, why_bytes, "out of memory for %zu bytes", bytes);
    *out = (struct tensor){.dtype = dtype, .ndim = ndim, .data = data};
    for (int i = 0; i < ndim; i++) out->shape[i] = shape[i];
    set_contiguous_strides(out, bytes);
    return true;
}

void tensor_free(struct tensor *t) {
    free(t->data);
    *t = (struct tensor){0};
}

/* -- Elements ---- */

static double load_element(enum number_format dtype, const void *data, size_t i) {
    uint64_t code = 0;
    size_t bytes = format_bits(dtype) / 8;
    memcpy(&code, (const char *)data + i * bytes, bytes);
    return format_decode(dtype, code);
}

static void store_element(enum number_format dtype, void *data, size_t i, double x) {
    uint64_t code = format_encode(dtype, x);
    size_t bytes = format_bits(dtype) / 8;
    memcpy((char *)data + i * bytes, &code, bytes);
}

// Element offset of the n-th element in row-major order.
static size_t element_offset(const struct tensor *t, size_t n) {
    int64_t offset = 0;
    for (int i = t->ndim - 1; i >= 0; i--) {
        offset += (int64_t)(n % (size_t)t->shape[i]) * t->strides[i];
        n /= (size_t)t->shape[i];
    }
    return (size_t)offset;
}

bool tensor_convert(const struct tensor *in, enum number_format dtype, struct tensor *out, char *why,
                    size_t why_bytes) {
    struct tensor t;
    if (!tensor_create(dtype, in->ndim, in->shape, &t, why, why_bytes)) return false;
    size_t count = tensor_count(in);
    bool contiguous = tensor_is_contiguous(in);
    if (contiguous && dtype == in->dtype)
        memcpy(t.data, in->data, count * format_bits(dtype) / 8);
    else
        for (size_t i = 0; i < count; i++)
            store_element(dtype, t.data, i, load_element(in->dtype, in->data, contiguous ? i : element_offset(in, i)));
    *out = t;
    return true;
}

bool tensor_join_heads(const struct tensor *in, int join, struct tensor *out, char *why, size_t why_bytes) {
    if (in->ndim != 3)
        return tensor_fail(why, why_bytes, "heads are joined in tensors of 3 dimensions, this has %d", in->ndim);
    if (join < 1 || in->shape[0] % join)
        return tensor_fail(why, why_bytes, "%" PRId64 " heads cannot be joined in groups of %d", in->shape[0], join);
    // Seen as [heads / join][join][seq][dim], the result is that view with join and seq swapped.
    struct tensor view = {.dtype = in->dtype, .ndim = 4, .data = in->data};
    const int64_t shape[] = {in->shape[0] / join, in->shape[1], join, in->shape[2]};
    const int64_t strides[] = {in->strides[0] * join, in->strides[1], in->strides[0], in->strides[2]};
    memcpy(view.shape, shape, sizeof shape);
    memcpy(view.strides, strides, sizeof strides);
    struct tensor t;
    if (!tensor_convert(&view, in->dtype, &t, why, why_bytes)) return false;
    t.ndim = 3;
    t.shape[2] = in->shape[2] * join;
    t.shape[3] = t.strides[2] = t.strides[3] = 0;
    set_contiguous_strides(&t, tensor_count(&t));
    *out = t;
    return true;
}
