// fuzz_linemap: kernel.map of a cache entry; what is read is written and read as the same.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "linemap.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char log[] = "kernel.cu(1): error: x\nkernel.cu:2: y\nkernel.cu(4294967297): z\nkernel.cu(";
    struct linemap map, again;
    struct buf first = {0}, second = {0}, rewritten = {0};
    if (!linemap_read(&map, (const char *)data, bytes)) return 0;
    linemap_rewrite_log(&map, "kernel.cu", log, &rewritten);
    linemap_write(&map, &first);
    FUZZ_CHECK(linemap_read(&again, first.data, first.len), "what was written cannot be read");
    linemap_write(&again, &second);
    FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0,
               "what was written is read as something else");
    linemap_free(&map);
    linemap_free(&again);
    buf_free(&first);
    buf_free(&second);
    buf_free(&rewritten);
    return 0;
}
