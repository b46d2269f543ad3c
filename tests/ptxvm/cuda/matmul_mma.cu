// truth: kernel=matmul_mma grid=4 block=128 in=mf16:4096 out=cf32:4096 mode=sum:1e-6 check=matmul_f16
// 64 x 64 x 64, f16 with fp32 sums: ldmatrix and mma.sync m16n8k16. A [m][k], B [n][k]; a block has 32 rows and
// columns, a warp 16 of each. SPDX-License-Identifier: Apache-2.0
typedef unsigned u32;

static u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

static void ldmatrix_x4(u32 r[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

static void mma(float d[4], const u32 a[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

extern "C" __global__ void matmul_mma(const uint4 *in, float *out) {
    __shared__ uint4 a[32][9], b[32][9]; // rows of 64 halves and a pad of 16 bytes
    int rows = blockIdx.x / 2 * 32, columns = blockIdx.x % 2 * 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int k = threadIdx.x; k < 256; k += 128) {
        a[k / 8][k % 8] = in[(rows + k / 8) * 8 + k % 8];
        b[k / 8][k % 8] = in[512 + (columns + k / 8) * 8 + k % 8];
    }
    __syncthreads();
    int row = warp / 2 * 16, column = warp % 2 * 16;
    float d[2][4] = {};
    for (int k = 0; k < 4; k++) {
        u32 fragment_a[4], fragment_b[4];
        ldmatrix_x4(fragment_a, shared_address(&a[row + lane % 16][k * 2 + lane / 16]));
        ldmatrix_x4(fragment_b, shared_address(&b[column + lane % 8 + lane / 16 * 8][k * 2 + lane / 8 % 2]));
        mma(d[0], fragment_a, fragment_b[0], fragment_b[1]);
        mma(d[1], fragment_a, fragment_b[2], fragment_b[3]);
    }
    for (int n = 0; n < 2; n++)
        for (int r = 0; r < 4; r++)
            out[(rows + row + lane / 4 + r / 2 * 8) * 64 + columns + column + n * 8 + lane % 4 * 2 + r % 2] = d[n][r];
}
