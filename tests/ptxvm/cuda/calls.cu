// truth: kernel=calls grid=4 block=128 in=raw:512 out=b32:512 mode=exact check=calls
// Functions that are not inlined, called by some lanes of a warp, in a loop, from one another.
// SPDX-License-Identifier: Apache-2.0
static __noinline__ unsigned gcd(unsigned a, unsigned b) {
    while (b != 0) {
        unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static __noinline__ unsigned steps(unsigned long long n, unsigned *most) {
    unsigned count = 0;
    while (n != 1 && count < 400) {
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
        if ((unsigned)n > *most) *most = (unsigned)n;
        count++;
    }
    return count + gcd(count * 12, 90);
}

extern "C" __global__ void calls(const unsigned *in, unsigned *out) {
    unsigned at = blockIdx.x * 128 + threadIdx.x, value = in[at], most = 0, result = 0;
    for (int k = 0; k < 3; k++) {
        if ((value >> k & 1) != 0)
            result += gcd(value | 1, 30030u * (k + 1));
        else
            result ^= steps((value >> (k + 8)) % 1000 + 1, &most);
    }
    out[at] = result * 7 + most;
}
