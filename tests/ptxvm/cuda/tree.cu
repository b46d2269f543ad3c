// truth: kernel=tree grid=4 block=128 in=raw:1023 out=b32:512 mode=exact check=tree
// Walks an implicit binary tree of 1023 keys depth first with a stack of its own, as far as a bound that differs by
// thread allows. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void tree(const unsigned *in, unsigned *out) {
    unsigned at = blockIdx.x * 128 + threadIdx.x, hash = at, visited = 0;
    unsigned short stack[24];
    int depth = 0;
    stack[depth++] = 1;
    while (depth > 0 && visited < 300) {
        unsigned node = stack[--depth], key = in[node - 1];
        hash = hash * 31 + key;
        visited++;
        if (node * 2 + 1 >= 1024) continue;
        bool left = ((key >> (at % 29)) & 3) != 0, right = ((key >> (at % 23 + 3)) & 3) != 1;
        if (right) stack[depth++] = (unsigned short)(node * 2 + 1);
        if (left) stack[depth++] = (unsigned short)(node * 2);
    }
    out[at] = hash ^ visited;
}
