// fuzz_safetensors: a .safetensors file, as it is and with the header's length made right; every tensor is read, and a
// layer as `sagegen verify` takes it. SPDX-License-Identifier: Apache-2.0
#include "capture.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

static void read_all(const struct safetensors *file) {
    char why[256] = "";
    for (size_t i = 0; i < file->count; i++) {
        struct tensor tensor;
        FUZZ_CHECK(safetensors_find(file, file->entries[i].name) != NULL, "a listed tensor is not found");
        if (safetensors_read(file, file->entries[i].name, &tensor, why, sizeof why)) tensor_free(&tensor);
    }
    struct capture capture;
    if (capture_load(file, 0, 1, &capture, why, sizeof why)) capture_free(&capture);
}

static void try_file(const char *path) {
    char why[256] = "";
    struct safetensors file;
    if (!safetensors_open(path, &file, why, sizeof why)) {
        FUZZ_CHECK(why[0] != 0, "refused without a reason");
        return;
    }
    read_all(&file);
    safetensors_close(&file);
}

// The length up to the last brace, in front of everything behind the length that the input gives.
static void try_with_length(const uint8_t *data, size_t bytes) {
    if (bytes < LENGTH_BYTES) return;
    const uint8_t *end = memrchr(data + LENGTH_BYTES, '}', bytes - LENGTH_BYTES);
    uint8_t *copy = end ? malloc(bytes) : NULL;
    if (!copy) return;
    memcpy(copy, data, bytes);
    const uint64_t length = (uint64_t)(end + 1 - data - LENGTH_BYTES);
    for (int i = 0; i < LENGTH_BYTES; i++) copy[i] = (uint8_t)(length >> (8 * i));
    try_file(fuzz_file("input.safetensors", copy, bytes));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    try_file(fuzz_file("input.safetensors", data, bytes));
    try_with_length(data, bytes);
    return 0;
}
