// tensor_core: see tensor_core.h. Exponents of products are sums of the factors' exponents, so that a product is below
// four times the power of two that it is aligned by. SPDX-License-Identifier: Apache-2.0
#include "tensor_core.h"

#include <stdint.h>
#include <string.h>

enum { BITS = 13, BIAS = 127, LOWEST = -6 /* e4m3's smallest normal exponent */, OF_ZERO = -1000 };

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int exponent_of(float x, int lowest) {
    int field = (int)(bits_of(x) >> 23 & 255u), exponent = field - BIAS;
    return field == 0 ? OF_ZERO : exponent > lowest ? exponent : lowest;
}

static float power_of_two(int exponent) { // of a normal float
    return float_of((uint32_t)(exponent + BIAS) << 23);
}

static float add_chunk(float sum, const float *a, const float *b, int n) {
    int top = exponent_of(sum, OF_ZERO);
    for (int i = 0; i < n; i++) {
        int exponent = exponent_of(a[i], LOWEST) + exponent_of(b[i], LOWEST);
        top = exponent > top ? exponent : top;
    }
    if (top < 2 * LOWEST - BITS) return 0; // all of them are zero
    const float unit = power_of_two(BITS - top);
    int32_t total = (int32_t)(sum * unit);
    for (int i = 0; i < n; i++) total += (int32_t)(a[i] * b[i] * unit);
    float exact = (float)total * power_of_two(top - BITS);
    return float_of(bits_of(exact) & ~((1u << (23 - BITS)) - 1));
}

float tensor_core_dot(const float *a, const float *b, int n, int chunk) {
    float sum = 0;
    for (int first = 0; first < n; first += chunk)
        sum = add_chunk(sum, a + first, b + first, n - first < chunk ? n - first : chunk);
    return sum;
}
