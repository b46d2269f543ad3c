// truth: kernel=matmul_wgmma grid=1 block=128 in=mf16:4096 out=cf32:4096 mode=sum:1e-6 check=matmul_f16
// 64 x 64 x 64, f16 with fp32 sums by wgmma m64n64k16. Bulk copies of 16 bytes bring A and B into core matrices of 8
// rows of 16 bytes; a transaction barrier says when they are there. SPDX-License-Identifier: Apache-2.0
typedef unsigned u32;
typedef unsigned long long u64;

static u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

static void wait(u32 barrier, u32 phase) {
    asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }"
                 :
                 : "r"(barrier), "r"(phase)
                 : "memory");
}

// Core matrices: next along k 128 bytes on, next along the rows 1024 bytes on.
static u64 descriptor(u32 address) {
    return (u64)(1024 >> 4) << 32 | (u64)(128 >> 4) << 16 | ((address >> 4) & 0x3fff);
}

extern "C" __global__ void matmul_wgmma(const uint4 *in, float *out) {
    __shared__ __align__(1024) uint4 a[512], b[512];
    __shared__ u64 barrier;
    u32 bar = shared_address(&barrier);
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(bar) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 16384;" : : "r"(bar) : "memory");
    }
    __syncthreads();
    for (int k = threadIdx.x; k < 1024; k += 128) { // row k / 8 of A, then of B; 16 bytes k % 8
        int row = k / 8 % 64, chunk = k % 8;
        uint4 *to = (k < 512 ? a : b) + row / 8 * 64 + chunk * 8 + row % 8;
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], 16, [%2];"
                     :
                     : "r"(shared_address(to)), "l"(in + k), "r"(bar)
                     : "memory");
    }
    wait(bar, 0);
    float d[32];
    asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
    for (int k = 0; k < 4; k++) {
        u64 of_a = descriptor(shared_address(a) + k * 256), of_b = descriptor(shared_address(b) + k * 256);
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                     "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
                     "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, p, 1, 1, 0, 0; }"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                       "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),
                       "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
                       "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),
                       "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
                     : "l"(of_a), "l"(of_b), "r"(k));
    }
    asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory");
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int r = 0; r < 32; r++)
        out[(warp * 16 + lane / 4 + r / 2 % 2 * 8) * 64 + r / 4 * 8 + lane % 4 * 2 + r % 2] = d[r];
}
