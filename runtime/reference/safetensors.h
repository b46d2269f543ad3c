// safetensors: lists and reads the tensors of a .safetensors file. In: a path. Out: a directory of entries, and tensors
// that own their memory, or one sentence that names the file and the reason. Any bytes are safe to read: every size is
// checked against the file. Reads F16, BF16, F32 and F64; other types are listed, and refused when read.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_SAFETENSORS_H
#define SAGE_REFERENCE_SAFETENSORS_H

#include "tensor.h"

struct safetensors_entry {
    char *name;
    char dtype[12]; /* as in the file: "BF16", "I64" */
    int ndim;
    int64_t shape[TENSOR_DIMS];
    uint64_t begin, end; /* bytes from the file's start */
};

struct safetensors {
    char *path;
    struct safetensors_entry *entries; /* in the order of the header */
    size_t count;
};

// Reads the header (at most 100 MB) and checks every entry. **Owner** the caller, until safetensors_close.
bool safetensors_open(const char *path, struct safetensors *out, char *why, size_t why_bytes);
void safetensors_close(struct safetensors *s); // back to zeros; a zeroed one is allowed

// The entry of that name, or NULL.
const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);
bool safetensors_read(const struct safetensors *s, const char *name, struct tensor *out, char *why, size_t why_bytes);

#endif
