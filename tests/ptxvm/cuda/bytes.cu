// truth: kernel=bytes grid=4 block=64 in=raw:4096 out=b32:4356 mode=exact check=bytes
// Text: 64 bytes per thread, in upper case, with its words and its digits' value counted. out: 16384 bytes of text, per
// thread words and digits packed. SPDX-License-Identifier: Apache-2.0
extern "C" __global__ void bytes(const unsigned char *in, unsigned char *out) {
    unsigned at = blockIdx.x * 64 + threadIdx.x, words = 0;
    unsigned short digits = 0;
    bool inside = false;
    for (int k = 0; k < 64; k++) {
        signed char letter = (signed char)(in[at * 64 + k] & 0x7f);
        switch (letter) {
        case ' ':
        case '\n':
        case '_':
            inside = false;
            break;
        case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
            digits = (unsigned short)(digits * 10 + letter - '0');
            inside = false;
            break;
        default:
            if (letter >= 'a' && letter <= 'z') letter = (signed char)(letter - 32);
            if (!inside && letter >= 'A' && letter <= 'Z') {
                words++;
                inside = true;
            }
        }
        out[at * 64 + k] = (unsigned char)letter;
    }
    ((unsigned *)(out + 16384))[at] = words << 16 | digits;
}
