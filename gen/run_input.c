// run_input: see run_input.h. Tensors stay in the order of their file: the kernels take any strides, so that no layout
// is ever copied on the host. SPDX-License-Identifier: Apache-2.0
#include "run_input.h"
#include "reference/npy.h"
#include "reference/safetensors.h"
#include "buf.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEQ_LIMIT = INT32_MAX - 255, NAMES_SHOWN = 12 };

const char *run_input_text(int input) {
    static const char *const text[RUN_INPUTS] = {"Q", "K", "V"};
    return text[input];
}

/* -- Files ---- */

static const char ending[] = ".safetensors";
enum { ENDING_LEN = sizeof ending - 1 };

static bool ends_with(const char *text, size_t len) {
    return len >= ENDING_LEN && strncmp(text + len - ENDING_LEN, ending, ENDING_LEN) == 0;
}

const char *run_tensor_name(const char *text, size_t *path_len) {
    *path_len = strlen(text);
    if (ends_with(text, *path_len)) return NULL;
    for (const char *at = strchr(text, ':'); at; at = strchr(at + 1, ':')) {
        if (!ends_with(text, (size_t)(at - text))) continue;
        *path_len = (size_t)(at - text);
        return at + 1;
    }
    return NULL;
}

// name NULL: none was given.
static bool no_such_name(const struct safetensors *file, const char *name, char *why, size_t why_bytes) {
    struct buf text = {0};
    if (name)
        buf_printf(&text, "%s: there is no tensor \"%s\"; it has ", file->path, name);
    else
        buf_printf(&text, "%s: say which tensor, as in %s:NAME; it has ", file->path, file->path);
    for (size_t i = 0; i < file->count && i < NAMES_SHOWN; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", file->entries[i].name);
    if (file->count > NAMES_SHOWN) buf_printf(&text, ", ... (%zu in all)", file->count);
    tensor_fail(why, why_bytes, "%s%s", text.data, file->count ? "" : "none");
    buf_free(&text);
    return false;
}

static bool read_safetensors(const char *path, const char *name, struct tensor *out, char *why, size_t why_bytes) {
    struct safetensors file;
    if (!safetensors_open(path, &file, why, why_bytes)) return false;
    if (!name && file.count == 1) name = file.entries[0].name;
    bool ok = name && safetensors_find(&file, name) ? safetensors_read(&file, name, out, why, why_bytes)
                                                    : no_such_name(&file, name, why, why_bytes);
    safetensors_close(&file);
    return ok;
}

bool run_read(const char *text, bool raw16_is_bf16, struct tensor *out, char *why, size_t why_bytes) {
    size_t path_len;
    const char *name = run_tensor_name(text, &path_len);
    char *path = xstrndup(text, path_len);
    bool ok = ends_with(path, path_len)
                  ? read_safetensors(path, name, out, why, why_bytes)
                  : npy_read(path, raw16_is_bf16 ? NPY_RAW16_IS_BF16 : NPY_RAW16_REFUSE, out, why, why_bytes);
    free(path);
    return ok;
}

/* -- Shapes ---- */

// The extents of one tensor, missing dimensions as 1.
struct extents {
    int64_t batch, heads, seq, dim;
};

static struct extents extents_of(const struct tensor *t, enum run_layout layout) {
    int64_t d[4] = {1, 1, 1, 1};
    for (int i = 0; i < t->ndim; i++) d[4 - t->ndim + i] = t->shape[i];
    if (layout == RUN_BNHD && t->ndim > 2) return (struct extents){d[0], d[2], d[1], d[3]};
    return (struct extents){d[0], d[1], d[2], d[3]};
}

static bool check_dims(const struct tensor input[RUN_INPUTS], char *why, size_t why_bytes) {
    char text[RUN_INPUTS][TENSOR_TEXT];
    for (int i = 0; i < RUN_INPUTS; i++) tensor_describe(&input[i], text[i]);
    for (int i = 0; i < RUN_INPUTS; i++)
        if (input[i].ndim < 2 || input[i].ndim > 4)
            return tensor_fail(why, why_bytes,
                               "%s is %s; 4 dimensions (batch, heads, rows, head dim), 3 (heads, rows, head dim) or 2 "
                               "(rows, head dim) are needed",
                               run_input_text(i), text[i]);
    if (input[RUN_Q].ndim == input[RUN_K].ndim && input[RUN_Q].ndim == input[RUN_V].ndim) return true;
    return tensor_fail(why, why_bytes, "Q is %s, K is %s, V is %s; give all three the same number of dimensions",
                       text[RUN_Q], text[RUN_K], text[RUN_V]);
}

static bool check_agreements(const struct extents e[RUN_INPUTS], char *why, size_t why_bytes) {
    const struct {
        const char *what;
        int a, b; /* inputs */
        int64_t of_a, of_b;
    } rows[] = {
        {"the batch", RUN_Q, RUN_K, e[RUN_Q].batch, e[RUN_K].batch},
        {"the batch", RUN_K, RUN_V, e[RUN_K].batch, e[RUN_V].batch},
        {"the number of heads", RUN_K, RUN_V, e[RUN_K].heads, e[RUN_V].heads},
        {"the number of rows (keys)", RUN_K, RUN_V, e[RUN_K].seq, e[RUN_V].seq},
        {"the head dim", RUN_Q, RUN_K, e[RUN_Q].dim, e[RUN_K].dim},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].of_a != rows[i].of_b)
            return tensor_fail(why, why_bytes, "%s is %" PRId64 " in %s and %" PRId64 " in %s; it must be the same",
                               rows[i].what, rows[i].of_a, run_input_text(rows[i].a), rows[i].of_b,
                               run_input_text(rows[i].b));
    return true;
}

static bool check_limits(const struct extents *e, const char *name, char *why, size_t why_bytes) {
    int64_t heads;
    if (e->dim < 8 || e->dim > 256 || e->dim % 8 != 0)
        return tensor_fail(why, why_bytes, "%s has a head dim of %" PRId64 "; it must be a multiple of 8 (8...256)",
                           name, e->dim);
    if (e->seq >= SEQ_LIMIT)
        return tensor_fail(why, why_bytes, "%s has %" PRId64 " rows; fewer than %d are supported", name, e->seq,
                           (int)SEQ_LIMIT);
    if (__builtin_mul_overflow(e->batch, e->heads, &heads) || heads > INT32_MAX)
        return tensor_fail(why, why_bytes, "%s has %" PRId64 " x %" PRId64 " heads; at most %d are supported", name,
                           e->batch, e->heads, INT32_MAX);
    return true;
}

static bool check_heads(const struct extents *q, const struct extents *k, enum run_layout layout, char *why,
                        size_t why_bytes) {
    if (q->heads >= 1 && k->heads >= 1 && q->heads % k->heads == 0) return true;
    return tensor_fail(why, why_bytes,
                       "Q has %" PRId64 " heads, K and V have %" PRId64 "; Q's must be a multiple of theirs, 1 or more "
                       "(if the files are %s, say --layout %s)",
                       q->heads, k->heads,
                       layout == RUN_BHND ? "[batch, rows, heads, dim]" : "[batch, heads, rows, dim]",
                       layout == RUN_BHND ? "bnhd" : "bhnd");
}

bool run_shape_make(const struct tensor input[RUN_INPUTS], enum run_layout layout, struct run_shape *out, char *why,
                    size_t why_bytes) {
    struct extents e[RUN_INPUTS];
    if (!check_dims(input, why, why_bytes)) return false;
    for (int i = 0; i < RUN_INPUTS; i++) e[i] = extents_of(&input[i], layout);
    if (!check_agreements(e, why, why_bytes)) return false;
    if (!check_heads(&e[RUN_Q], &e[RUN_K], layout, why, why_bytes)) return false;
    for (int i = 0; i < RUN_INPUTS; i++)
        if (!check_limits(&e[i], run_input_text(i), why, why_bytes)) return false;
    *out = (struct run_shape){
        .layout = layout,
        .ndim = input[RUN_Q].ndim,
        .extent = {e[RUN_Q].batch, e[RUN_Q].heads, e[RUN_K].heads, e[RUN_Q].seq, e[RUN_K].seq},
        .dim_qk = (int)e[RUN_Q].dim,
        .dim_v = (int)e[RUN_V].dim,
    };
    return true;
}

sage_tensor run_strides(const struct run_shape *shape, int64_t heads, int64_t seq, int dim) {
    if (shape->layout == RUN_BNHD && shape->ndim > 2) return (sage_tensor){NULL, seq * heads * dim, dim, heads * dim};
    return (sage_tensor){NULL, heads * seq * dim, seq * dim, dim};
}

struct tensor run_view(const struct run_shape *shape, const struct tensor *t, int64_t heads, int64_t seq, int dim) {
    const sage_tensor strides = run_strides(shape, heads, seq, dim);
    return (struct tensor){.dtype = t->dtype,
                           .ndim = 4,
                           .shape = {shape->extent.batch, heads, seq, dim},
                           .strides = {strides.stride_batch, strides.stride_head, strides.stride_seq, 1},
                           .data = t->data};
}

bool run_output_create(const struct run_shape *shape, enum number_format io, struct tensor *out, char *why,
                       size_t why_bytes) {
    const sage_attention_shape *e = &shape->extent;
    const bool bnhd = shape->layout == RUN_BNHD && shape->ndim > 2;
    const int64_t dims[4] = {e->batch, bnhd ? e->seq_q : e->heads_q, bnhd ? e->heads_q : e->seq_q, shape->dim_v};
    return tensor_create(io, shape->ndim, dims + 4 - shape->ndim, out, why, why_bytes);
}

bool run_lse_create(const struct run_shape *shape, struct tensor *out, char *why, size_t why_bytes) {
    const int64_t dims[3] = {shape->extent.batch, shape->extent.heads_q, shape->extent.seq_q};
    return tensor_create(FORMAT_F32, shape->ndim - 1, dims + 4 - shape->ndim, out, why, why_bytes);
}

double run_operations(const struct run_shape *shape, bool causal) {
    const sage_attention_shape *e = &shape->extent;
    double scores = (double)e->batch * (double)e->heads_q * (double)e->seq_q * (double)e->seq_k;
    return 2 * scores * (shape->dim_qk + shape->dim_v) / (causal ? 2 : 1);
}

/* -- Number format ---- */

// Codes of a sign and magnitude format are ordered as the magnitudes are.
struct run_scan run_scan(const struct tensor *t) {
    const size_t bytes = format_bits(t->dtype) / 8, count = tensor_count(t);
    const uint64_t magnitude = UINT64_MAX >> (65 - format_bits(t->dtype));
    const uint64_t largest = format_encode(t->dtype, format_max(t->dtype));
    struct run_scan scan = {0};
    uint64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t code = 0;
        memcpy(&code, (const char *)t->data + i * bytes, bytes);
        code &= magnitude;
        scan.not_finite += code > largest;
        if (code <= largest && code > most) most = code;
    }
    scan.max_abs = format_decode(t->dtype, most);
    return scan;
}

static bool is_16_bit(enum number_format f) {
    return f == FORMAT_F16 || f == FORMAT_BF16;
}

static double largest_of(const struct run_scan scan[RUN_INPUTS]) {
    double largest = 0;
    for (int i = 0; i < RUN_INPUTS; i++)
        if (scan[i].max_abs > largest) largest = scan[i].max_abs;
    return largest;
}

// The one 16-bit format of the files; FORMAT_F32 where none has 16 bits. False: they differ.
static bool format_of_files(const struct tensor input[RUN_INPUTS], enum number_format *out) {
    *out = FORMAT_F32;
    for (int i = 0; i < RUN_INPUTS; i++) {
        if (!is_16_bit(input[i].dtype)) continue;
        if (*out != FORMAT_F32 && *out != input[i].dtype) return false;
        *out = input[i].dtype;
    }
    return true;
}

bool run_format_choose(const struct tensor input[RUN_INPUTS], const struct run_scan scan[RUN_INPUTS], enum run_io asked,
                       enum number_format *out, char *why, size_t why_bytes) {
    enum number_format format;
    if (asked != RUN_IO_AUTO)
        format = asked == RUN_IO_BF16 ? FORMAT_BF16 : FORMAT_F16;
    else if (!format_of_files(input, &format))
        return tensor_fail(why, why_bytes, "Q is %s, K is %s, V is %s; say --io bf16 or --io fp16",
                           format_text(input[RUN_Q].dtype), format_text(input[RUN_K].dtype),
                           format_text(input[RUN_V].dtype));
    if (format == FORMAT_F32) format = largest_of(scan) > format_max(FORMAT_F16) ? FORMAT_BF16 : FORMAT_F16;
    for (int i = 0; i < RUN_INPUTS; i++)
        if (scan[i].max_abs > format_max(format))
            return tensor_fail(why, why_bytes, "%s holds %g, above the largest %s number %g%s", run_input_text(i),
                               scan[i].max_abs, format_text(format), format_max(format),
                               format == FORMAT_F16 ? "; say --io bf16" : "; scale it down");
    *out = format;
    return true;
}

bool run_round(struct tensor *t, enum number_format io, char *why, size_t why_bytes) {
    struct tensor rounded;
    if (t->dtype == io) return true;
    if (!tensor_convert(t, io, &rounded, why, why_bytes)) return false;
    tensor_free(t);
    *t = rounded;
    return true;
}
