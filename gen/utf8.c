// utf8: decodes one code point of untrusted text.
// In: bytes. Out: the code point and its length, or 0 where the bytes are not UTF-8.
// SPDX-License-Identifier: Apache-2.0
#include "utf8.h"

size_t utf8_decode(const char *text, size_t n, uint32_t *code) {
    static const uint32_t lowest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    size_t used = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || used > n) return 0;
    uint32_t c = s[0] & (0x7fu >> used);
    for (size_t i = 1; i < used; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < lowest[used] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
    *code = c;
    return used;
}
