// truth: kernel=block_scan grid=8 block=256 in=b32:2048 out=b32:2048 mode=exact check=scan
// Inclusive sums within blocks: Hillis-Steele in warps, then over the warps' sums. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void block_scan(const unsigned *in, unsigned *out) {
    __shared__ unsigned sums[8];
    unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5, at = blockIdx.x * 256 + threadIdx.x;
    unsigned value = in[at];
    for (unsigned step = 1; step < 32; step *= 2) {
        unsigned below = __shfl_up_sync(0xffffffffu, value, step);
        if (lane >= step) value += below;
    }
    if (lane == 31) sums[warp] = value;
    __syncthreads();
    if (warp == 0 && lane < 8) {
        unsigned sum = sums[lane];
        for (unsigned step = 1; step < 8; step *= 2) {
            unsigned below = __shfl_up_sync(0xffu, sum, step);
            if (lane >= step) sum += below;
        }
        sums[lane] = sum;
    }
    __syncthreads();
    if (warp > 0) value += sums[warp - 1];
    out[at] = value;
}
