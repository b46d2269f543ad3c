// safetensors: u64 header length, JSON {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}, data.
// Source: the format description of the safetensors project.
// SPDX-License-Identifier: Apache-2.0
#include "safetensors.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER_LIMIT = 100000000, LENGTH_BYTES = 8, NAME_SHOWN = 60 };

static const struct {
    const char *dtype;
    enum number_format format;
} readable[] = {{"F16", FORMAT_F16}, {"BF16", FORMAT_BF16}, {"F32", FORMAT_F32}, {"F64", FORMAT_F64}};

static bool find_format(const char *dtype, enum number_format *format) {
    for (size_t i = 0; i < sizeof readable / sizeof readable[0]; i++) {
        if (strcmp(dtype, readable[i].dtype) != 0) continue;
        *format = readable[i].format;
        return true;
    }
    return false;
}

/* -- Entries ---- */

// Where the data lie in the file, both in bytes.
struct extent {
    uint64_t begin, bytes;
};

static bool parse_shape(const json_t *shape, struct safetensors_entry *e, char *why, size_t why_bytes) {
    size_t ndim = json_array_size(shape); // 0 for what is no array
    if (!json_is_array(shape)) return tensor_fail(why, why_bytes, "its shape is no array");
    if (ndim > TENSOR_DIMS)
        return tensor_fail(why, why_bytes, "it has %zu dimensions; at most %d are supported", ndim, TENSOR_DIMS);
    e->ndim = (int)ndim;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *dimension = json_array_get(shape, i);
        e->shape[i] = json_integer_value(dimension);
        if (!json_is_integer(dimension) || e->shape[i] < 0)
            return tensor_fail(why, why_bytes, "its shape holds no whole number");
    }
    return true;
}

static bool parse_offsets(const json_t *offsets, const struct extent *data, struct safetensors_entry *e, char *why,
                          size_t why_bytes) {
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return tensor_fail(why, why_bytes, "its data_offsets are no pair of whole numbers");
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin) return tensor_fail(why, why_bytes, "its data_offsets are out of order");
    if ((uint64_t)end > data->bytes)
        return tensor_fail(why, why_bytes, "its data end at byte %" PRId64 ", but the file has %" PRIu64, (int64_t)end,
                           data->bytes);
    e->begin = data->begin + (uint64_t)begin;
    e->end = data->begin + (uint64_t)end;
    return true;
}

static bool check_size(const struct safetensors_entry *e, char *why, size_t why_bytes) {
    enum number_format format;
    size_t bytes;
    if (!find_format(e->dtype, &format)) return true;
    if (!tensor_bytes(format, e->ndim, e->shape, &bytes)) return tensor_fail(why, why_bytes, "its shape is too large");
    if (bytes == e->end - e->begin) return true;
    return tensor_fail(why, why_bytes, "its shape needs %zu bytes, but its data have %" PRIu64, bytes,
                       e->end - e->begin);
}

static bool parse_entry(const char *name, const json_t *value, const struct extent *data, struct safetensors_entry *e,
                        char *why, size_t why_bytes) {
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    if (!dtype || strlen(dtype) >= sizeof e->dtype)
        return tensor_fail(why, why_bytes, "its dtype is missing or no short string");
    strcpy(e->dtype, dtype);
    if (!parse_shape(json_object_get(value, "shape"), e, why, why_bytes)) return false;
    if (!parse_offsets(json_object_get(value, "data_offsets"), data, e, why, why_bytes)) return false;
    if (!check_size(e, why, why_bytes)) return false;
    e->name = strdup(name);
    return e->name || tensor_fail(why, why_bytes, "out of memory");
}

static bool parse_entries(json_t *root, const struct extent *data, struct safetensors *s, char *why, size_t why_bytes) {
    char reason[160];
    const char *name;
    json_t *value;
    s->entries = calloc(json_object_size(root) + 1, sizeof *s->entries);
    if (!s->entries) return tensor_fail(why, why_bytes, "out of memory");
    json_object_foreach(root, name, value) {
        if (strcmp(name, "__metadata__") == 0) continue;
        if (!parse_entry(name, value, data, &s->entries[s->count], reason, sizeof reason))
            return tensor_fail(why, why_bytes, "tensor \"%.*s\": %s", NAME_SHOWN, name, reason);
        s->count++;
    }
    return true;
}

/* -- The file ---- */

static bool read_header(FILE *file, char **text, struct extent *data, char *why, size_t why_bytes) {
    struct stat status;
    if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode))
        return tensor_fail(why, why_bytes, "it is no regular file");
    uint64_t file_bytes = (uint64_t)status.st_size, length;
    if (fread(&length, 1, LENGTH_BYTES, file) != LENGTH_BYTES)
        return tensor_fail(why, why_bytes, "it is too short for a header");
    if (length > file_bytes - LENGTH_BYTES)
        return tensor_fail(why, why_bytes, "its header claims %" PRIu64 " bytes, more than the file has", length);
    if (length > HEADER_LIMIT)
        return tensor_fail(why, why_bytes, "its header of %" PRIu64 " bytes exceeds the limit of %d", length,
                           HEADER_LIMIT);
    *data = (struct extent){LENGTH_BYTES + length, file_bytes - LENGTH_BYTES - length};
    *text = malloc((size_t)length + 1);
    if (!*text) return tensor_fail(why, why_bytes, "out of memory for its header");
    (*text)[length] = 0;
    if (fread(*text, 1, (size_t)length, file) == length) return true;
    free(*text);
    return tensor_fail(why, why_bytes, "its header cannot be read");
}

static bool open_file(FILE *file, struct safetensors *s, char *why, size_t why_bytes) {
    struct extent data = {0};
    char *text = NULL;
    json_error_t error;
    if (!read_header(file, &text, &data, why, why_bytes)) return false;
    json_t *root = json_loadb(text, (size_t)(data.begin - LENGTH_BYTES), JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!root) return tensor_fail(why, why_bytes, "its header is no JSON: %s", error.text);
    bool ok = json_is_object(root) ? parse_entries(root, &data, s, why, why_bytes)
                                   : tensor_fail(why, why_bytes, "its header is no object");
    json_decref(root);
    return ok;
}

bool safetensors_open(const char *path, struct safetensors *out, char *why, size_t why_bytes) {
    char reason[400];
    FILE *file = fopen(path, "rb");
    if (!file) return tensor_fail(why, why_bytes, "%s: cannot be opened: %s", path, strerror(errno));
    struct safetensors s = {.path = strdup(path)};
    bool ok = s.path ? open_file(file, &s, reason, sizeof reason) : tensor_fail(reason, sizeof reason, "out of memory");
    fclose(file);
    if (ok)
        *out = s;
    else
        safetensors_close(&s);
    return ok || tensor_fail(why, why_bytes, "%s: %s", path, reason);
}

void safetensors_close(struct safetensors *s) {
    for (size_t i = 0; i < s->count; i++) free(s->entries[i].name);
    free(s->entries);
    free(s->path);
    *s = (struct safetensors){0};
}

const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].name, name) == 0) return &s->entries[i];
    return NULL;
}

// fread below checks again: the file may have shrunk since it was opened.
static bool read_data(const char *path, const struct safetensors_entry *e, struct tensor *t, char *why,
                      size_t why_bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return tensor_fail(why, why_bytes, "cannot be opened: %s", strerror(errno));
    size_t bytes = (size_t)(e->end - e->begin);
    bool ok = fseeko(file, (off_t)e->begin, SEEK_SET) == 0 && fread(t->data, 1, bytes, file) == bytes;
    fclose(file);
    return ok || tensor_fail(why, why_bytes, "its data cannot be read");
}

bool safetensors_read(const struct safetensors *s, const char *name, struct tensor *out, char *why, size_t why_bytes) {
    const struct safetensors_entry *e = safetensors_find(s, name);
    enum number_format format;
    char reason[200];
    struct tensor t;
    if (!e) return tensor_fail(why, why_bytes, "%s: there is no tensor \"%.*s\"", s->path, NAME_SHOWN, name);
    if (!find_format(e->dtype, &format))
        return tensor_fail(why, why_bytes, "%s: tensor \"%.*s\" is %s; F16, BF16, F32 and F64 are read", s->path,
                           NAME_SHOWN, name, e->dtype);
    if (!tensor_create(format, e->ndim, e->shape, &t, reason, sizeof reason))
        return tensor_fail(why, why_bytes, "%s: tensor \"%.*s\": %s", s->path, NAME_SHOWN, name, reason);
    if (!read_data(s->path, e, &t, reason, sizeof reason)) {
        tensor_free(&t);
        return tensor_fail(why, why_bytes, "%s: tensor \"%.*s\": %s", s->path, NAME_SHOWN, name, reason);
    }
    *out = t;
    return true;
}
