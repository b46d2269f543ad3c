// key: the hashes of the project. A kernel's key = XXH3-128 over everything that decides its cubin, and nothing else:
// no paths, no times. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_KEY_H
#define SAGE_KEY_H

#include "compile.h"
#include "sage.h"
#include <stdbool.h>

#define KEY_BYTES       33 /* 32 lower-case hex digits and a NUL */
#define KEY_HEX64_BYTES 17

// XXH3-128 and XXH3-64 of bytes, as text; big-endian digits.
void key_hash(const void *bytes, size_t count, char out[KEY_BYTES]);
void key_hash64(const void *bytes, size_t count, char out[KEY_HEX64_BYTES]);
// XXH3-128 of the first `bytes` bytes of an open file. false: they could not be read (errno; 0: the file is shorter).
bool key_hash_file(int file, uint64_t bytes, char out[KEY_BYTES]);
// 32 lower-case hex digits and nothing else.
bool key_is_valid(const char *key);

// Hash over the source text, all compile options, the target, the NVRTC identity and SAGE_META_VERSION. Finds NVRTC,
// does not load it. Errors: those of nvrtc_find, INVALID_ARGUMENT.
sage_status key_compute(sage_context *context, const struct compile_input *input, char out[KEY_BYTES]);

#endif
