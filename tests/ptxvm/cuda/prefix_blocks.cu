// truth: kernel=prefix_blocks grid=16 block=128 in=raw:2048 out=b32:2084 mode=exact check=prefix
// Inclusive sums over all blocks in one launch: a block takes a ticket, waits for the sum of the one before, and
// passes its own on. out: 2048 sums, ticket, 16 flags, 16 sums of blocks, 3 unused. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void prefix_blocks(const unsigned *in, unsigned *out) {
    __shared__ unsigned ticket, before, sums[4];
    volatile unsigned *flags = out + 2049, *totals = out + 2065;
    if (threadIdx.x == 0) ticket = atomicAdd(out + 2048, 1u);
    __syncthreads();
    unsigned at = ticket * 128 + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, value = in[at];
    for (unsigned step = 1; step < 32; step *= 2) {
        unsigned below = __shfl_up_sync(0xffffffffu, value, step);
        if (lane >= step) value += below;
    }
    if (lane == 31) sums[warp] = value;
    __syncthreads();
    for (unsigned w = 0; w < warp; w++) value += sums[w];
    if (threadIdx.x == 127) {
        unsigned sum = 0;
        if (ticket > 0) {
            while (flags[ticket - 1] == 0) {}
            __threadfence();
            sum = totals[ticket - 1];
        }
        totals[ticket] = sum + value;
        __threadfence();
        flags[ticket] = 1;
        before = sum;
    }
    __syncthreads();
    out[at] = value + before;
}
