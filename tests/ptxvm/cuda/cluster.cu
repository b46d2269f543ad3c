// truth: kernel=cluster grid=4 block=64 in=raw:256 out=b32:256 mode=exact check=cluster
// Two blocks of a cluster read each other's shared memory. SPDX-License-Identifier: Apache-2.0
typedef unsigned u32;

extern "C" __global__ void __cluster_dims__(2, 1, 1) cluster(const u32 *in, u32 *out) {
    __shared__ u32 words[64];
    u32 rank, theirs, value, at = blockIdx.x * 64 + threadIdx.x;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    words[threadIdx.x] = in[at] + rank;
    asm volatile("barrier.cluster.arrive.aligned;" : : : "memory");
    asm volatile("barrier.cluster.wait.aligned;" : : : "memory");
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(theirs)
                 : "r"((u32)__cvta_generic_to_shared(&words[63 - threadIdx.x])), "r"(rank ^ 1));
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(theirs) : "memory");
    asm volatile("barrier.cluster.arrive.aligned;" : : : "memory");
    asm volatile("barrier.cluster.wait.aligned;" : : : "memory");
    out[at] = value * 2 + words[threadIdx.x];
}
