// truth: kernel=spin_lock grid=8 block=64 in=raw:512 out=b32:16 mode=exact check=spin_lock
// Lanes of one warp contend for four locks, held while a counter is changed by plain loads and stores.
// out: 4 locks, 4 counters, 4 sums, 4 unused. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void spin_lock(const unsigned *in, unsigned *out) {
    unsigned value = in[blockIdx.x * 64 + threadIdx.x], lock = value % 4;
    volatile unsigned *counters = out + 4, *sums = out + 8;
    bool done = false;
    while (!done)
        if (atomicCAS(&out[lock], 0u, 1u) == 0) {
            __threadfence();
            counters[lock] = counters[lock] + 1;
            sums[lock] = sums[lock] + value;
            __threadfence();
            atomicExch(&out[lock], 0u);
            done = true;
        }
}
