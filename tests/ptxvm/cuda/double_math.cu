// truth: kernel=double_math grid=4 block=128 in=angle:1024 out=f64:512 mode=exact
// Newton's iteration and Horner's rule in double, 64-bit integers, conversions. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void double_math(const float *in, double *out) {
    unsigned at = blockIdx.x * 128 + threadIdx.x;
    double x = (double)in[at] + 7.0, y = (double)in[at + 512], root = x;
    for (int k = 0; k < 6; k++) root = __dmul_rn(0.5, __dadd_rn(root, __ddiv_rn(x, root)));
    double value = 1;
    for (int k = 12; k > 0; k--) value = __fma_rn(__ddiv_rn(y, (double)k), value, 1.0);
    long long whole = __double2ll_rn(value * 1000.0) / (long long)(at + 3);
    out[at] = __dadd_rn(__dmul_rn(root, value), (double)whole) + __dsqrt_rn(fabs(y));
}
