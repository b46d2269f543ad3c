// fuzz_wisdom: a wisdom text, as it is and with its hash made right; then the questions that a plan asks of it, and the
// text that a join writes, which must be read as the same. SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "wisdom_text.h"
#include <stdlib.h>
#include <string.h>

static void ask(const struct wisdom *wisdom) {
    const struct wisdom_query queries[] = {
        {.family = "int8_fp8", .head_dim_qk = 128, .head_dim_v = 128, .gpu = "GPU", .sm = 90, .multiprocessors = 132},
        {.spec = "a",
         .head_dim_qk = 64,
         .head_dim_v = 64,
         .gpu = "",
         .sm = 89,
         .shape = {INT32_MAX, INT32_MAX, 1, 1, 1}},
    };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        enum wisdom_match match;
        const struct wisdom_machine *machine;
        wisdom_find(wisdom, 1, &queries[i], &match);
        wisdom_match(wisdom, 1, &queries[i], &machine);
    }
}

static void print_again(const struct wisdom *wisdom) {
    struct wisdom_list list = {0}, again = {0};
    struct buf first = {0}, second = {0}, messages = {0};
    struct diag diag = {.sink = &messages};
    wisdom_list_join(&list, wisdom, WISDOM_BETTER);
    wisdom_list_print(&list, &first);
    FUZZ_CHECK(wisdom_list_parse(&again, "again", first.data, first.len, WISDOM_BETTER, &diag),
               "what was written cannot be read");
    wisdom_list_print(&again, &second);
    FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0,
               "what was written is read as something else");
    wisdom_list_free(&list);
    wisdom_list_free(&again);
    buf_free(&first);
    buf_free(&second);
    buf_free(&messages);
    diag_free(&diag);
}

static void try_text(const char *text, size_t bytes) {
    struct wisdom wisdom;
    if (wisdom_read(fuzz_context(), "wisdom", text, bytes, &wisdom) != SAGE_OK) return;
    ask(&wisdom);
    print_again(&wisdom);
    wisdom_free(fuzz_context(), &wisdom);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    size_t sealed_bytes;
    char *sealed = fuzz_sealed(data, bytes, "hash ", &sealed_bytes);
    try_text((const char *)data, bytes);
    try_text(sealed, sealed_bytes);
    free(sealed);
    return 0;
}
