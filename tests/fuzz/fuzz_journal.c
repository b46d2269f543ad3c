// fuzz_journal: the measurements of `sagegen tune`, as they are and with the hash of each line made right.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "key.h"
#include "tune_journal.h"
#include <string.h>

static void try_text(const void *text, size_t bytes) {
    struct buf messages = {0};
    struct diag diag = {.sink = &messages};
    struct tune_journal journal;
    if (tune_journal_open(&journal, fuzz_file("journal", text, bytes), &diag))
        tune_journal_close(&journal);
    else
        FUZZ_CHECK(messages.len > 0, "refused without a reason");
    buf_free(&messages);
    diag_free(&diag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct buf sealed = {0};
    buf_puts(&sealed, "");
    for (size_t at = 0, len; at < bytes; at += len + 1) {
        const uint8_t *newline = memchr(data + at, '\n', bytes - at);
        char hash[KEY_HEX64_BYTES];
        len = newline ? (size_t)(newline - data) - at : bytes - at;
        key_hash64(data + at, len, hash);
        buf_printf(&sealed, "%s ", hash);
        buf_append(&sealed, data + at, len);
        buf_puts(&sealed, "\n");
    }
    try_text(data, bytes);
    try_text(sealed.data, sealed.len);
    buf_free(&sealed);
    return 0;
}
