// bench_memory: device memory of a measurement: random inputs, outputs, workspaces, all freed at once. The inputs
// repeat a pattern of normal numbers, so that making them costs copies alone. In: sizes. Out: device pointers. Compares
// nothing. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_MEMORY_H
#define SAGE_GEN_BENCH_MEMORY_H

#include "device.h"
#include "reference/formats.h"

enum { BENCH_SETS_MOST = 8, BENCH_MEMORY_MOST = 3 * BENCH_SETS_MOST + 2 * 64 };

struct bench_memory {
    struct device *device;
    sage_stream stream;
    uint16_t *pattern[FORMAT_COUNT]; /* of bf16 and f16, where they were needed */
    void *memory[BENCH_MEMORY_MOST];
    int count;
};

// Each is false with a sentence in device_error().
bool bench_memory_take(struct bench_memory *m, uint64_t bytes, void **out);
// io: bf16 or f16.
bool bench_memory_random(struct bench_memory *m, enum number_format io, uint64_t elements, void **out);
void bench_memory_release(struct bench_memory *m); // all that was taken
void bench_memory_close(struct bench_memory *m);   // the pattern too
// How many sets of `bytes` it takes, up to BENCH_SETS_MOST, that calls by turns find none in the second level cache.
int bench_memory_sets(const struct bench_memory *m, double bytes);

#endif
