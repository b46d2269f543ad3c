// truth: kernel=matmul_s8 grid=4 block=128 in=raw:2048 out=b32:4096 mode=exact check=matmul_s8
// 64 x 64 x 64 in 8-bit integers by mma.sync m16n8k32, fragments loaded by plain loads. A [m][k], B [n][k].
// SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void matmul_s8(const int *in, int *out) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.x * 16, group = lane / 4, word = lane % 4;
    const int *a = in + row * 16, *b = in + 1024; // rows of 16 words
    for (int column = warp * 16; column < warp * 16 + 16; column += 8) {
        int d[4] = {0, 0, 0, 0};
        for (int k = 0; k < 16; k += 8)
            asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
                         "%9}, {%0, %1, %2, %3};"
                         : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                         : "r"(a[group * 16 + k + word]), "r"(a[(group + 8) * 16 + k + word]),
                           "r"(a[group * 16 + k + 4 + word]), "r"(a[(group + 8) * 16 + k + 4 + word]),
                           "r"(b[(column + group) * 16 + k + word]), "r"(b[(column + group) * 16 + k + 4 + word]));
        for (int r = 0; r < 4; r++) out[(row + group + r / 2 * 8) * 64 + column + word * 2 + r % 2] = d[r];
    }
}
