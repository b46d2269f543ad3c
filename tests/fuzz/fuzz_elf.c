// fuzz_elf: the file of a library, as the search for NVRTC reads it before any is loaded.
// SPDX-License-Identifier: Apache-2.0
#include "elf_identity.h"
#include "fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char identity[80] = "";
    const char *reason = elf_identity(fuzz_file("input.so", data, bytes), identity, sizeof identity);
    FUZZ_CHECK(reason || (identity[0] && strlen(identity) < sizeof identity), "neither an identity nor a reason");
    return 0;
}
