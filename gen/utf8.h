// utf8: decodes one code point of untrusted text.
// In: bytes. Out: the code point and its length; overlong forms, surrogates and values over U+10FFFF are refused.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_UTF8_H
#define SAGE_GEN_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Bytes of the code point at the start of text (n > 0 bytes), stored in *code; 0 where the bytes are not UTF-8.
size_t utf8_decode(const char *text, size_t n, uint32_t *code);

#endif
