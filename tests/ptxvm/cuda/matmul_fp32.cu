// truth: kernel=matmul_fp32 grid=16 block=256 in=angle:8192 out=f32:4096 mode=exact check=matmul_fp32
// 64 x 64 x 64 in fp32, tiles of 16 in shared memory. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void matmul_fp32(const float *in, float *out) {
    __shared__ float a[16][16], b[16][17];
    const float *matrix_a = in, *matrix_b = in + 4096;
    int x = threadIdx.x % 16, y = threadIdx.x / 16;
    int row = blockIdx.x / 4 * 16 + y, column = blockIdx.x % 4 * 16 + x;
    float sum = 0;
    for (int tile = 0; tile < 64; tile += 16) {
        a[y][x] = matrix_a[row * 64 + tile + x];
        b[y][x] = matrix_b[(tile + y) * 64 + column];
        __syncthreads();
        for (int k = 0; k < 16; k++) sum = __fmaf_rn(a[y][k], b[k][x], sum);
        __syncthreads();
    }
    out[row * 64 + column] = sum;
}
