// truth: kernel=named_barriers grid=2 block=192 in=raw:4096 out=b32:256 mode=exact check=named_barriers
// Two warps fill two buffers in turn, four warps read them: barriers 1 and 2 say full, 3 and 4 say empty.
// SPDX-License-Identifier: Apache-2.0
static void arrive(int barrier) {
    asm volatile("barrier.cta.arrive %0, 192;" : : "r"(barrier) : "memory");
}
static void wait(int barrier) {
    asm volatile("barrier.cta.sync %0, 192;" : : "r"(barrier) : "memory");
}

extern "C" __global__ void named_barriers(const unsigned *in, unsigned *out) {
    __shared__ unsigned buffer[2][128];
    if (threadIdx.x < 64) {
        for (int round = 0; round < 16; round++) {
            if (round >= 2) wait(3 + round % 2);
            for (int k = threadIdx.x; k < 128; k += 64)
                buffer[round % 2][k] = in[blockIdx.x * 2048 + round * 128 + k] + round;
            asm volatile("membar.cta;" : : : "memory");
            arrive(1 + round % 2);
        }
    } else {
        unsigned thread = threadIdx.x - 64, sum = thread;
        for (int round = 0; round < 16; round++) {
            wait(1 + round % 2);
            sum = sum * 5 + buffer[round % 2][(thread * 3 + round) % 128];
            if (round < 14) arrive(3 + round % 2);
        }
        out[blockIdx.x * 128 + thread] = sum;
    }
}
