// key: XXH3 over the inputs of a compilation. Each part is hashed with its length before it, so that no two different
// lists of parts run together into the same bytes. SPDX-License-Identifier: Apache-2.0
#include "key.h"
#include "context.h"
#include "meta_fields.h"
#include "nvrtc.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#define XXH_INLINE_ALL
#include <xxhash.h>
#pragma GCC diagnostic pop

static void hash128_text(XXH128_hash_t hash, char out[KEY_BYTES]) {
    snprintf(out, KEY_BYTES, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

static void hash_part(XXH3_state_t *state, const void *bytes, size_t count) {
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)count >> (8 * i));
    XXH3_128bits_update(state, length, sizeof length);
    XXH3_128bits_update(state, bytes, count);
}

static void hash_text_part(XXH3_state_t *state, const char *text) {
    hash_part(state, text, strlen(text));
}

void key_hash(const void *bytes, size_t count, char out[KEY_BYTES]) {
    hash128_text(XXH3_128bits(bytes, count), out);
}

void key_hash64(const void *bytes, size_t count, char out[KEY_HEX64_BYTES]) {
    snprintf(out, KEY_HEX64_BYTES, "%016llx", (unsigned long long)XXH3_64bits(bytes, count));
}

bool key_hash_file(int file, uint64_t bytes, char out[KEY_BYTES]) {
    char part[16384];
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    for (uint64_t at = 0; at < bytes;) {
        const size_t want = bytes - at < sizeof part ? (size_t)(bytes - at) : sizeof part;
        errno = 0;
        ssize_t got = pread(file, part, want, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        XXH3_128bits_update(&state, part, (size_t)got);
        at += (uint64_t)got;
    }
    hash128_text(XXH3_128bits_digest(&state), out);
    return true;
}

bool key_is_valid(const char *key) {
    return strspn(key, "0123456789abcdef") == KEY_BYTES - 1 && strlen(key) == KEY_BYTES - 1;
}

sage_status key_compute(sage_context *context, const struct compile_input *input, char out[KEY_BYTES]) {
    char arch[COMPILE_ARCH_BYTES];
    const char *options[COMPILE_OPTIONS_MAX];
    int count = 0;
    struct nvrtc_info nvrtc;
    SAGE_TRY(compile_options(context, input, arch, options, &count));
    SAGE_TRY(nvrtc_find(context, &nvrtc));
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    const unsigned char version = SAGE_META_VERSION;
    hash_part(&state, &version, 1);
    hash_text_part(&state, nvrtc.identity);
    hash_text_part(&state, input->target);
    for (int i = 0; i < count; i++) hash_text_part(&state, options[i]);
    hash_part(&state, input->source, input->source_bytes);
    hash128_text(XXH3_128bits_digest(&state), out);
    return SAGE_OK;
}
