// fuzz: what the fuzz targets share. A target is one fuzz_<reader>.c with LLVMFuzzerTestOneInput: any bytes may be
// refused, none may crash, leak, run for long, or be read as something that is written otherwise. Linked with libFuzzer
// (SAGE_FUZZ), or with replay.c, which runs the corpus alone. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_FUZZ_H
#define SAGE_FUZZ_H

#include "sage.h"
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// Ends the program with the sentence, which is how a target reports a fault that no sanitizer sees.
#define FUZZ_CHECK(condition, sentence)                                                                                \
    do {                                                                                                               \
        if (!(condition)) fuzz_fail(__FILE__, __LINE__, sentence);                                                     \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *sentence);

// One quiet context for all inputs: no GPU, no disk, no wisdom.
sage_context *fuzz_context(void);
// A folder of this process alone, removed at its end.
const char *fuzz_folder(void);
// Writes a file of that folder; returns its path, valid until the next call.
const char *fuzz_file(const char *name, const void *data, size_t bytes);
// Makes <folder>/<link>, another name of <folder>/<name>.
void fuzz_link(const char *name, const char *link);

// data and behind it "<label><XXH3-64 of data>\n": texts with the hash that a fuzzer cannot guess. Owner: the caller.
char *fuzz_sealed(const uint8_t *data, size_t bytes, const char *label, size_t *out_bytes);

#endif
