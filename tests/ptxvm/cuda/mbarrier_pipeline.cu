// truth: kernel=mbarrier_pipeline grid=2 block=160 in=raw:8192 out=b32:256 mode=exact check=cp_async
// One thread of a producer warp brings 2048 bytes per round by bulk copy into three slots; four warps consume. Each slot
// has a full and an empty barrier, waited for by phase. SPDX-License-Identifier: Apache-2.0
typedef unsigned u32;
typedef unsigned long long u64;

static u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}
static void wait(u64 *barrier, u32 phase) {
    asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }"
                 :
                 : "r"(shared_address(barrier)), "r"(phase)
                 : "memory");
}

extern "C" __global__ void mbarrier_pipeline(const u32 *in, u32 *out) {
    __shared__ __align__(128) u32 slots[3][512];
    __shared__ u64 full[3], empty[3];
    if (threadIdx.x == 0) {
        for (int s = 0; s < 3; s++) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(shared_address(&full[s])) : "memory");
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 128;" : : "r"(shared_address(&empty[s])) : "memory");
        }
        asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
    }
    __syncthreads();
    if (threadIdx.x >= 128) {
        for (u32 round = 0; round < 8 && threadIdx.x == 128; round++) {
            u32 slot = round % 3, bar = shared_address(&full[slot]);
            if (round >= 3) wait(&empty[slot], (round / 3 - 1) % 2);
            asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 2048;" : : "r"(bar) : "memory");
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], 2048, [%2];"
                         :
                         : "r"(shared_address(slots[slot])), "l"(in + blockIdx.x * 4096 + round * 512), "r"(bar)
                         : "memory");
        }
        return;
    }
    u32 sum = 0;
    for (u32 round = 0; round < 8; round++) {
        u32 slot = round % 3;
        wait(&full[slot], round / 3 % 2);
        for (int k = 0; k < 4; k++) sum = sum * 3 + slots[slot][(threadIdx.x * 7 + k * 128 + 11) % 512];
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(shared_address(&empty[slot])) : "memory");
    }
    out[blockIdx.x * 128 + threadIdx.x] = sum;
}
