// truth: kernel=reduce grid=8 block=256 in=wf32:8192 out=wf32:8 mode=exact check=reduce
// Sums of 1024 floats: four per thread, shuffles in a warp, shared memory between warps. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void reduce(const float *in, float *out) {
    __shared__ float partial[8];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float sum = 0;
    for (int k = 0; k < 4; k++) sum += in[blockIdx.x * 1024 + k * 256 + threadIdx.x];
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (lane == 0) partial[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = lane < 8 ? partial[lane] : 0.0f;
        for (int offset = 4; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
        if (lane == 0) out[blockIdx.x] = sum;
    }
}
