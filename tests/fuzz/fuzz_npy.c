// fuzz_npy: a .npy file, its 2-byte elements refused and taken for bf16; what is read is converted.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "npy.h"

static void try_file(const char *path, enum npy_raw16 raw16) {
    char why[256] = "", text[TENSOR_TEXT];
    struct tensor tensor, converted;
    if (!npy_read(path, raw16, &tensor, why, sizeof why)) {
        FUZZ_CHECK(why[0] != 0, "refused without a reason");
        return;
    }
    tensor_describe(&tensor, text);
    if (tensor_convert(&tensor, FORMAT_F16, &converted, why, sizeof why)) tensor_free(&converted);
    tensor_free(&tensor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const char *path = fuzz_file("input.npy", data, bytes);
    try_file(path, NPY_RAW16_REFUSE);
    try_file(path, NPY_RAW16_IS_BF16);
    return 0;
}
