// checks: what the programs must compute, done again on the CPU in the plainest way. SPDX-License-Identifier:
// Apache-2.0
#include "truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t *words_of(const uint8_t *bytes) {
    return (const uint32_t *)(const void *)bytes; /* buffers come from malloc */
}

static const char *equal_words(const uint32_t *expected, const uint8_t *output, size_t count) {
    return memcmp(expected, output, count * 4) == 0 ? NULL : "not what the CPU computes";
}

#define CHECK(name) static const char *name(const struct truth_case *c, const uint8_t *output)

CHECK(check_reduce) { /* small whole numbers: any order gives the same sum */
    const float *in = (const float *)(const void *)c->input;
    float sums[8] = {0};
    for (unsigned k = 0; k < 8192; k++) sums[k / 1024] += in[k];
    return memcmp(sums, output, sizeof sums) == 0 ? NULL : "wrong sums";
}

CHECK(check_scan) {
    const uint32_t *in = words_of(c->input);
    uint32_t expected[2048];
    for (unsigned k = 0; k < 2048; k++) expected[k] = in[k] + (k % 256 != 0 ? expected[k - 1] : 0);
    return equal_words(expected, output, 2048);
}

CHECK(check_prefix) {
    const uint32_t *in = words_of(c->input);
    uint32_t expected[2084] = {0};
    for (unsigned k = 0; k < 2048; k++) expected[k] = in[k] + (k != 0 ? expected[k - 1] : 0);
    expected[2048] = 16;
    for (unsigned b = 0; b < 16; b++) {
        expected[2049 + b] = 1;
        expected[2065 + b] = expected[b * 128 + 127];
    }
    return equal_words(expected, output, 2084);
}

CHECK(check_histogram) {
    const uint32_t *in = words_of(c->input);
    uint32_t bins[64] = {0};
    for (unsigned k = 0; k < 16384; k++) bins[(in[k] * UINT32_C(2654435761)) >> 26]++;
    return equal_words(bins, output, 64);
}

CHECK(check_matmul_fp32) {
    const float *a = (const float *)(const void *)c->input, *b = a + 4096, *d = (const float *)(const void *)output;
    for (unsigned row = 0; row < 64; row++)
        for (unsigned column = 0; column < 64; column++) {
            float sum = 0;
            for (unsigned k = 0; k < 64; k++) sum = fmaf(a[row * 64 + k], b[k * 64 + column], sum);
            if (memcmp(&sum, &d[row * 64 + column], sizeof sum) != 0) return "wrong product";
        }
    return NULL;
}

CHECK(check_matmul_f16) {
    const uint16_t *a = (const uint16_t *)(const void *)c->input, *b = a + 4096;
    const float *d = (const float *)(const void *)output;
    for (unsigned row = 0; row < 64; row++)
        for (unsigned column = 0; column < 64; column++) {
            double sum = 0, size = 0;
            for (unsigned k = 0; k < 64; k++) {
                double product = truth_decode(VALUE_F16, a[row * 64 + k]) * truth_decode(VALUE_F16, b[column * 64 + k]);
                sum += product;
                size += fabs(product);
            }
            if (!(fabs(sum - (double)d[row * 64 + column]) <= size * 0x1p-21)) return "wrong product";
        }
    return NULL;
}

CHECK(check_matmul_s8) {
    const int8_t *a = (const int8_t *)c->input, *b = a + 4096;
    uint32_t expected[4096];
    for (unsigned row = 0; row < 64; row++)
        for (unsigned column = 0; column < 64; column++) {
            int sum = 0;
            for (unsigned k = 0; k < 64; k++) sum += a[row * 64 + k] * b[column * 64 + k];
            expected[row * 64 + column] = (uint32_t)sum;
        }
    return equal_words(expected, output, 4096);
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

CHECK(check_sort) {
    uint32_t expected[2048];
    memcpy(expected, c->input, sizeof expected);
    for (unsigned b = 0; b < 4; b++) qsort(expected + b * 512, 512, sizeof *expected, by_value);
    return equal_words(expected, output, 2048);
}

static uint32_t check_text(const uint8_t *in, uint8_t *out) {
    uint32_t words = 0;
    uint16_t digits = 0;
    for (unsigned k = 0, inside = 0; k < 64; k++) {
        uint8_t letter = in[k] & 0x7f;
        bool is_lower = letter >= 'a' && letter <= 'z';
        if (is_lower) letter = (uint8_t)(letter - 32);
        bool is_digit = letter >= '0' && letter <= '9', is_space = letter == ' ' || letter == '\n' || letter == '_';
        if (is_digit) digits = (uint16_t)(digits * 10 + letter - '0');
        if (is_digit || is_space) inside = 0;
        if (letter >= 'A' && letter <= 'Z' && !inside) {
            words++;
            inside = 1;
        }
        out[k] = letter;
    }
    return words << 16 | digits;
}

CHECK(check_bytes) {
    uint32_t expected[4356] = {0};
    for (unsigned t = 0; t < 256; t++) expected[4096 + t] = check_text(c->input + t * 64, (uint8_t *)expected + t * 64);
    return equal_words(expected, output, 4356);
}

static uint32_t walk(const uint32_t *in, unsigned at) {
    unsigned stack[24], depth = 0, visited = 0;
    uint32_t hash = at;
    stack[depth++] = 1;
    for (; depth > 0 && visited < 300; visited++) {
        unsigned node = stack[--depth];
        uint32_t key = in[node - 1];
        hash = hash * 31 + key;
        if (node >= 512) continue;
        if ((key >> (at % 23 + 3) & 3) != 1) stack[depth++] = node * 2 + 1;
        if ((key >> (at % 29) & 3) != 0) stack[depth++] = node * 2;
    }
    return hash ^ visited;
}

CHECK(check_tree) {
    uint32_t expected[512];
    for (unsigned t = 0; t < 512; t++) expected[t] = walk(words_of(c->input), t);
    return equal_words(expected, output, 512);
}

CHECK(check_cp_async) {
    const uint32_t *in = words_of(c->input);
    uint32_t expected[256] = {0};
    for (unsigned t = 0; t < 256; t++)
        for (unsigned s = 0; s < 32; s++)
            expected[t] = expected[t] * 3 + in[t / 128 * 4096 + s / 4 * 512 + (t % 128 * 7 + s % 4 * 128 + 11) % 512];
    return equal_words(expected, output, 256);
}

CHECK(check_named_barriers) {
    const uint32_t *in = words_of(c->input);
    uint32_t expected[256];
    for (unsigned t = 0; t < 256; t++) {
        expected[t] = t % 128;
        for (unsigned r = 0; r < 16; r++)
            expected[t] = expected[t] * 5 + in[t / 128 * 2048 + r * 128 + (t % 128 * 3 + r) % 128] + r;
    }
    return equal_words(expected, output, 256);
}

CHECK(check_cluster) {
    const uint32_t *in = words_of(c->input);
    uint32_t expected[256];
    for (unsigned t = 0; t < 256; t++) {
        unsigned block = t / 64, rank = block % 2, other = block ^ 1;
        expected[t] = (in[other * 64 + 63 - t % 64] + (rank ^ 1)) * 2 + in[t] + rank;
    }
    return equal_words(expected, output, 256);
}

static uint32_t divisor(uint32_t a, uint32_t b) {
    return b == 0 ? a : divisor(b, a % b);
}

static uint32_t collatz(uint64_t n, uint32_t *most) {
    uint32_t count = 0;
    for (; n != 1 && count < 400; count++) {
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
        if ((uint32_t)n > *most) *most = (uint32_t)n;
    }
    return count + divisor(count * 12, 90);
}

CHECK(check_calls) {
    uint32_t expected[512];
    for (unsigned t = 0; t < 512; t++) {
        uint32_t value = words_of(c->input)[t], most = 0, result = 0;
        for (unsigned k = 0; k < 3; k++)
            if ((value >> k & 1) != 0)
                result += divisor(value | 1, 30030u * (k + 1));
            else
                result ^= collatz((value >> (k + 8)) % 1000 + 1, &most);
        expected[t] = result * 7 + most;
    }
    return equal_words(expected, output, 512);
}

CHECK(check_spin_lock) {
    uint32_t expected[16] = {0};
    for (unsigned t = 0; t < 512; t++) {
        uint32_t value = words_of(c->input)[t];
        expected[4 + value % 4]++;
        expected[8 + value % 4] += value;
    }
    return equal_words(expected, output, 16);
}

static const struct {
    const char *name;
    const char *(*check)(const struct truth_case *, const uint8_t *);
} checks[] = {{"reduce", check_reduce},
              {"scan", check_scan},
              {"prefix", check_prefix},
              {"histogram", check_histogram},
              {"matmul_fp32", check_matmul_fp32},
              {"matmul_f16", check_matmul_f16},
              {"matmul_s8", check_matmul_s8},
              {"sort", check_sort},
              {"bytes", check_bytes},
              {"tree", check_tree},
              {"cp_async", check_cp_async},
              {"named_barriers", check_named_barriers},
              {"cluster", check_cluster},
              {"calls", check_calls},
              {"spin_lock", check_spin_lock}};

const char *truth_check_find(const char *name, const char *(**check)(const struct truth_case *, const uint8_t *)) {
    for (size_t k = 0; k < sizeof checks / sizeof checks[0]; k++)
        if (strcmp(checks[k].name, name) == 0) {
            *check = checks[k].check;
            return name;
        }
    return NULL;
}
