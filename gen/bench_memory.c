// bench_memory: see bench_memory.h. SPDX-License-Identifier: Apache-2.0
#include "bench_memory.h"

#include "buf.h"
#include <math.h>
#include <stdlib.h>

enum { PATTERN = 8388593 /* elements; a prime */ };

// Sums of twelve uniform numbers: near enough to a normal distribution for the time of a kernel.
static uint16_t *pattern_make(enum number_format io) {
    float *values = xcalloc(PATTERN, sizeof *values);
    uint16_t *pattern = xcalloc(PATTERN, sizeof *pattern);
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < PATTERN; i++) {
        values[i] = -6;
        for (int k = 0; k < 3; k++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            for (int part = 0; part < 4; part++) values[i] += (float)((state >> 16 * part) & 0xffff) / 65536;
        }
    }
    format_encode_array(io, values, PATTERN, pattern);
    free(values);
    return pattern;
}

bool bench_memory_take(struct bench_memory *m, uint64_t bytes, void **out) {
    if (!device_alloc(m->device, bytes, out)) return false;
    m->memory[m->count++] = *out;
    return true;
}

bool bench_memory_random(struct bench_memory *m, enum number_format io, uint64_t elements, void **out) {
    if (!m->pattern[io]) m->pattern[io] = pattern_make(io);
    if (!bench_memory_take(m, 2 * elements, out)) return false;
    for (uint64_t at = 0; at < elements; at += PATTERN) {
        const uint64_t count = elements - at < PATTERN ? elements - at : PATTERN;
        if (!device_upload(m->device, (char *)*out + 2 * at, m->pattern[io], 2 * count, m->stream)) return false;
    }
    return true;
}

void bench_memory_release(struct bench_memory *m) {
    while (m->count > 0) device_free(m->device, m->memory[--m->count]);
}

void bench_memory_close(struct bench_memory *m) {
    bench_memory_release(m);
    for (int io = 0; io < FORMAT_COUNT; io++) free(m->pattern[io]);
    *m = (struct bench_memory){0};
}

int bench_memory_sets(const struct bench_memory *m, double bytes) {
    const int l2_bytes = m->device->driver.l2_bytes;
    const double l2 = l2_bytes > 0 ? (double)l2_bytes : 5e7;
    return (int)fmin(BENCH_SETS_MOST, fmax(1, ceil(2 * l2 / bytes)));
}
