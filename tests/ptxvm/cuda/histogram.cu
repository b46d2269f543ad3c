// truth: kernel=histogram grid=8 block=256 in=raw:16384 out=b32:64 mode=exact check=histogram
// 64 bins: atomics in shared memory, then in global memory. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void histogram(const unsigned *in, unsigned *out) {
    __shared__ unsigned bins[64];
    if (threadIdx.x < 64) bins[threadIdx.x] = 0;
    __syncthreads();
    for (unsigned k = threadIdx.x; k < 2048; k += 256) {
        unsigned value = in[blockIdx.x * 2048 + k];
        atomicAdd(&bins[(value * 2654435761u) >> 26], 1u);
    }
    __syncthreads();
    if (threadIdx.x < 64 && bins[threadIdx.x] != 0) atomicAdd(&out[threadIdx.x], bins[threadIdx.x]);
}
