// npy: "\x93NUMPY", version, header length, a Python dict literal {'descr': '<f4', 'fortran_order': False, 'shape': (2,
// 3), }, data. Source: numpy.lib.format.
// SPDX-License-Identifier: Apache-2.0
#include "npy.h"
#include <inttypes.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER_LIMIT = 1 << 20, PREFIX_BYTES = 8, ALIGNMENT = 64 };
static const char magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

/* -- The header's literals ---- */

struct header {
    char descr[16];
    bool fortran_order;
    int ndim;
    int64_t shape[TENSOR_DIMS];
    bool has_descr, has_order, has_shape;
};

// The rest of the header text, NUL-terminated. reason is set where a function returns false.
struct cursor {
    const char *at;
    const char *reason;
};

static bool fail(struct cursor *c, const char *reason) {
    c->reason = reason;
    return false;
}

static void skip_spaces(struct cursor *c) {
    c->at += strspn(c->at, " \t\r\n");
}

static bool accept(struct cursor *c, const char *token) {
    skip_spaces(c);
    size_t n = strlen(token);
    if (strncmp(c->at, token, n) != 0) return false;
    c->at += n;
    return true;
}

static bool parse_string(struct cursor *c, char *out, size_t out_bytes) {
    skip_spaces(c);
    char quote = *c->at;
    if (quote != '\'' && quote != '"') return fail(c, "a quoted string is missing in the header");
    const char *start = c->at + 1, *end = strchr(start, quote);
    if (!end) return fail(c, "a string in the header has no end");
    size_t n = (size_t)(end - start);
    if (n >= out_bytes) return fail(c, "a string in the header is too long");
    memcpy(out, start, n);
    out[n] = 0;
    c->at = end + 1;
    return true;
}

static bool parse_dimension(struct cursor *c, int64_t *out) {
    skip_spaces(c);
    if (*c->at < '0' || *c->at > '9') return fail(c, "the shape holds something that is no whole number");
    int64_t value = 0;
    for (; *c->at >= '0' && *c->at <= '9'; c->at++) {
        int digit = *c->at - '0';
        if (value > (INT64_MAX - digit) / 10) return fail(c, "a dimension is too large");
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

// (), (2,), (2, 3), (2, 3,): one dimension needs its comma.
static bool parse_shape(struct cursor *c, struct header *h) {
    if (!accept(c, "(")) return fail(c, "the shape is no tuple");
    bool comma = true;
    for (h->ndim = 0; !accept(c, ")"); h->ndim++) {
        if (!comma) return fail(c, "the shape is no tuple");
        if (h->ndim == TENSOR_DIMS) return fail(c, "there are more than 8 dimensions");
        if (!parse_dimension(c, &h->shape[h->ndim])) return false;
        comma = accept(c, ",");
    }
    if (h->ndim == 1 && !comma) return fail(c, "the shape is no tuple");
    return h->has_shape = true;
}

static bool parse_order(struct cursor *c, struct header *h) {
    h->fortran_order = accept(c, "True");
    if (!h->fortran_order && !accept(c, "False")) return fail(c, "fortran_order is neither True nor False");
    return h->has_order = true;
}

static bool parse_descr(struct cursor *c, struct header *h) {
    skip_spaces(c);
    if (*c->at == '[') return fail(c, "structured types are not supported");
    return h->has_descr = parse_string(c, h->descr, sizeof h->descr);
}

static bool parse_entry(struct cursor *c, struct header *h) {
    char key[16];
    if (!parse_string(c, key, sizeof key)) return false;
    if (!accept(c, ":")) return fail(c, "a colon is missing in the header");
    if (strcmp(key, "descr") == 0) return h->has_descr ? fail(c, "descr stands twice") : parse_descr(c, h);
    if (strcmp(key, "fortran_order") == 0)
        return h->has_order ? fail(c, "fortran_order stands twice") : parse_order(c, h);
    if (strcmp(key, "shape") == 0) return h->has_shape ? fail(c, "shape stands twice") : parse_shape(c, h);
    return fail(c, "the header has an unknown key");
}

static bool parse_header(struct cursor *c, struct header *h) {
    if (!accept(c, "{")) return fail(c, "the header is no dict");
    while (!accept(c, "}")) {
        if (!parse_entry(c, h)) return false;
        if (accept(c, ",")) continue;
        if (!accept(c, "}")) return fail(c, "the header's dict has no end");
        break;
    }
    skip_spaces(c);
    if (*c->at) return fail(c, "text follows the header's dict");
    if (!h->has_descr || !h->has_order || !h->has_shape)
        return fail(c, "descr, fortran_order or shape is missing in the header");
    return true;
}

/* -- Reading ---- */

static const struct {
    const char *descr;
    enum number_format dtype;
    bool raw16;
} descr_table[] = {
    {"<f2", FORMAT_F16, false}, {"<f4", FORMAT_F32, false}, {"<f8", FORMAT_F64, false},
    {"<V2", FORMAT_BF16, true}, {"|V2", FORMAT_BF16, true}, {"<u2", FORMAT_BF16, true},
};

static bool find_dtype(const struct header *h, enum npy_raw16 raw16, enum number_format *dtype, char *why,
                       size_t why_bytes) {
    const char *shown = h->descr;
    for (size_t i = 0; i < sizeof descr_table / sizeof descr_table[0]; i++) {
        if (strcmp(h->descr, descr_table[i].descr) != 0) continue;
        if (descr_table[i].raw16 && raw16 == NPY_RAW16_REFUSE)
            return tensor_fail(why, why_bytes, "its type is '%s'; it is read only when declared to be bf16", shown);
        *dtype = descr_table[i].dtype;
        return true;
    }
    if (h->descr[0] == '>')
        return tensor_fail(why, why_bytes, "its type is '%s'; big-endian data is not supported", shown);
    return tensor_fail(why, why_bytes, "its type is '%s'; only '<f2', '<f4', '<f8' and bf16 are supported", shown);
}

// Reads the header's text, NUL-terminated; the file then stands at the data. Owner: the caller frees *text.
static bool read_header_text(FILE *file, uint64_t file_bytes, char **text, uint64_t *data_at, char *why,
                             size_t why_bytes) {
    unsigned char prefix[PREFIX_BYTES], length[4] = {0};
    if (fread(prefix, 1, sizeof prefix, file) != sizeof prefix || memcmp(prefix, magic, sizeof magic) != 0)
        return tensor_fail(why, why_bytes, "it does not begin with the mark of a .npy file");
    if (prefix[6] < 1 || prefix[6] > 3)
        return tensor_fail(why, why_bytes, "its .npy version is %d; 1, 2 and 3 are supported", prefix[6]);
    size_t length_bytes = prefix[6] == 1 ? 2 : 4;
    if (fread(length, 1, length_bytes, file) != length_bytes)
        return tensor_fail(why, why_bytes, "it ends inside the header");
    size_t n = (size_t)length[0] | (size_t)length[1] << 8 | (size_t)length[2] << 16 | (size_t)length[3] << 24;
    *data_at = PREFIX_BYTES + length_bytes + n;
    if (*data_at > file_bytes)
        return tensor_fail(why, why_bytes, "its header claims %zu bytes, more than the file has", n);
    if (n > HEADER_LIMIT)
        return tensor_fail(why, why_bytes, "its header of %zu bytes exceeds the limit of %d", n, HEADER_LIMIT);
    *text = malloc(n + 1);
    if (!*text) return tensor_fail(why, why_bytes, "out of memory for its header");
    (*text)[n] = 0;
    if (fread(*text, 1, n, file) == n && !memchr(*text, 0, n)) return true;
    free(*text);
    return tensor_fail(why, why_bytes, "its header is cut short or holds a zero byte");
}

static bool read_data(FILE *file, uint64_t available, const struct header *h, enum number_format dtype,
                      struct tensor *out, char *why, size_t why_bytes) {
    size_t bytes;
    if (!tensor_bytes(dtype, h->ndim, h->shape, &bytes)) return tensor_fail(why, why_bytes, "its shape is too large");
    if (bytes > available)
        return tensor_fail(why, why_bytes, "it is cut short: %zu bytes of data expected, %" PRIu64 " present", bytes,
                           available);
    struct tensor t;
    if (!tensor_create(dtype, h->ndim, h->shape, &t, why, why_bytes)) return false;
    if (fread(t.data, 1, bytes, file) != bytes) {
        tensor_free(&t);
        return tensor_fail(why, why_bytes, "its data cannot be read");
    }
    *out = t;
    return true;
}

static bool read_file(FILE *file, enum npy_raw16 raw16, struct tensor *out, char *why, size_t why_bytes) {
    struct stat status;
    if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode))
        return tensor_fail(why, why_bytes, "it is no regular file");
    uint64_t file_bytes = (uint64_t)status.st_size, data_at = 0;
    char *text = NULL;
    if (!read_header_text(file, file_bytes, &text, &data_at, why, why_bytes)) return false;
    struct header header = {0};
    struct cursor cursor = {.at = text};
    bool parsed = parse_header(&cursor, &header);
    free(text);
    if (!parsed) return tensor_fail(why, why_bytes, "%s", cursor.reason);
    enum number_format dtype = FORMAT_F32;
    if (!find_dtype(&header, raw16, &dtype, why, why_bytes)) return false;
    if (header.fortran_order && header.ndim > 1)
        return tensor_fail(why, why_bytes, "it is in Fortran order; save it in C order (numpy.ascontiguousarray)");
    return read_data(file, file_bytes - data_at, &header, dtype, out, why, why_bytes);
}

bool npy_read(const char *path, enum npy_raw16 raw16, struct tensor *out, char *why, size_t why_bytes) {
    char reason[160];
    FILE *file = fopen(path, "rb");
    if (!file) return tensor_fail(why, why_bytes, "%s: cannot be opened: %s", path, strerror(errno));
    bool ok = read_file(file, raw16, out, reason, sizeof reason);
    fclose(file);
    return ok || tensor_fail(why, why_bytes, "%s: %s", path, reason);
}

/* -- Writing ---- */

// The whole header, padded with spaces so that the data begin at a multiple of 64. Returns its bytes.
static size_t format_header(const struct tensor *t, char *out, size_t out_bytes) {
    char dict[512], dims[256] = "";
    for (int i = 0; i < t->ndim; i++) {
        size_t len = strlen(dims);
        snprintf(dims + len, sizeof dims - len, "%" PRId64 "%s", t->shape[i],
                 i + 1 < t->ndim ? ", "
                 : t->ndim == 1  ? ","
                                 : "");
    }
    int n = snprintf(dict, sizeof dict, "{'descr': '<f%zu', 'fortran_order': False, 'shape': (%s), }",
                     format_bits(t->dtype) / 8, dims);
    size_t total = (PREFIX_BYTES + 2 + (size_t)n + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT,
           length = total - PREFIX_BYTES - 2;
    memcpy(out, magic, sizeof magic);
    const unsigned char rest[] = {1, 0, (unsigned char)(length & 255), (unsigned char)(length >> 8)};
    memcpy(out + sizeof magic, rest, sizeof rest);
    snprintf(out + PREFIX_BYTES + 2, out_bytes - PREFIX_BYTES - 2, "%-*s\n", (int)length - 1, dict);
    return total;
}

bool npy_write(const char *path, const struct tensor *t, enum number_format dtype, char *why, size_t why_bytes) {
    if (dtype != FORMAT_F16 && dtype != FORMAT_F32)
        return tensor_fail(why, why_bytes, "%s: only f16 and f32 can be written", path);
    char header[1024], reason[160];
    struct tensor copy;
    if (!tensor_convert(t, dtype, &copy, reason, sizeof reason))
        return tensor_fail(why, why_bytes, "%s: %s", path, reason);
    size_t header_bytes = format_header(&copy, header, sizeof header),
           bytes = tensor_count(&copy) * format_bits(dtype) / 8;
    FILE *file = fopen(path, "wb");
    bool ok =
        file && fwrite(header, 1, header_bytes, file) == header_bytes && fwrite(copy.data, 1, bytes, file) == bytes;
    int error = errno;
    if (file && fclose(file) != 0 && ok) {
        error = errno;
        ok = false;
    }
    tensor_free(&copy);
    if (file && !ok) remove(path);
    return ok || tensor_fail(why, why_bytes, "%s: cannot be written: %s", path, strerror(error));
}
