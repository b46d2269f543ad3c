// truth: kernel=mandelbrot grid=16 block=128 in=angle:32 out=b32:2048 mode=exact
// Every lane leaves its loop in a round of its own; a second loop inside runs a data-dependent number of times.
// SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void mandelbrot(const float *in, unsigned *out) {
    unsigned at = blockIdx.x * 128 + threadIdx.x, rounds = 0, inner = 0;
    float cx = (float)(at % 64) * (1.0f / 24) - 2.0f + in[0] * 0.001f, cy = (float)(at / 64) * (1.0f / 13) - 1.2f;
    float x = 0, y = 0;
    while (rounds < 200) {
        float xx = __fmul_rn(x, x), yy = __fmul_rn(y, y);
        if (__fadd_rn(xx, yy) > 4.0f) break;
        y = __fmaf_rn(__fmul_rn(2.0f, x), y, cy);
        x = __fadd_rn(__fadd_rn(xx, -yy), cx);
        rounds++;
        if (rounds % 7 == at % 5) continue;
        for (unsigned k = at % 3 + rounds % 4; k > 0; k--)
            if (((inner ^= k * rounds + at) & 31) == 9) break;
    }
    out[at] = rounds << 16 | (inner & 0xffff);
}
