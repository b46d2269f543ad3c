// truth: kernel=cp_async grid=2 block=128 in=raw:8192 out=b32:256 mode=exact check=cp_async
// A pipeline of three stages by cp.async: a thread reads what others copied. SPDX-License-Identifier: Apache-2.0
static void copy16(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 :
                 : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from)
                 : "memory");
}

extern "C" __global__ void cp_async(const unsigned *in, unsigned *out) {
    __shared__ __align__(16) unsigned stage[3][512];
    const unsigned *mine = in + blockIdx.x * 4096;
    unsigned sum = 0;
    for (int s = 0; s < 2; s++) {
        copy16(&stage[s][threadIdx.x * 4], mine + s * 512 + threadIdx.x * 4);
        asm volatile("cp.async.commit_group;" : : : "memory");
    }
    for (int s = 0; s < 8; s++) {
        asm volatile("cp.async.wait_group 1;" : : : "memory");
        __syncthreads();
        if (s + 2 < 8) copy16(&stage[(s + 2) % 3][threadIdx.x * 4], mine + (s + 2) * 512 + threadIdx.x * 4);
        asm volatile("cp.async.commit_group;" : : : "memory");
        for (int k = 0; k < 4; k++) sum = sum * 3 + stage[s % 3][(threadIdx.x * 7 + k * 128 + 11) % 512];
    }
    out[blockIdx.x * 128 + threadIdx.x] = sum;
}
