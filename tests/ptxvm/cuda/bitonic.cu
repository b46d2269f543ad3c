// truth: kernel=bitonic grid=4 block=256 in=raw:2048 out=raw:2048 mode=exact check=sort
// Sorts 512 numbers per block; who swaps depends on the data. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void bitonic(const unsigned *in, unsigned *out) {
    __shared__ unsigned keys[512];
    for (unsigned k = threadIdx.x; k < 512; k += 256) keys[k] = in[blockIdx.x * 512 + k];
    __syncthreads();
    for (unsigned size = 2; size <= 512; size *= 2)
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            unsigned low = 2 * threadIdx.x - (threadIdx.x & (stride - 1)), high = low + stride;
            bool up = (low & size) == 0;
            if ((keys[low] > keys[high]) == up) {
                unsigned swap = keys[low];
                keys[low] = keys[high];
                keys[high] = swap;
            }
            __syncthreads();
        }
    for (unsigned k = threadIdx.x; k < 512; k += 256) out[blockIdx.x * 512 + k] = keys[k];
}
