// pack_format: the bytes of a pack, a file of kernels. Written by gen/pack_write.c, read by runtime/pack.c. All numbers
// are unsigned, little-endian.
//   header   PACK_HEADER_BYTES, see enum pack_header
//   rows     one for each kernel, PACK_ROW_BYTES, see enum pack_row; sorted by the names of the kernels
//   parts    kernel.meta, cubin and source of each kernel, anywhere after the rows; each part's hash is in its metadata
//   trailer  XXH3-128 of all bytes before it, as 32 hex digits
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PACK_FORMAT_H
#define SAGE_PACK_FORMAT_H

#include <stdint.h>

#define PACK_MAGIC   "SAGEPACK" /* 8 bytes */
#define PACK_VERSION 1

enum pack_part { PACK_PART_META, PACK_PART_CUBIN, PACK_PART_SOURCE, PACK_PART_COUNT };

enum pack_header { /* offsets */
                   PACK_HEADER_MAGIC = 0,
                   PACK_HEADER_VERSION = 8, /* 4 bytes */
                   PACK_HEADER_COUNT = 12,  /* 4 bytes: kernels */
                   PACK_HEADER_FILE = 16,   /* 8 bytes: of the whole file */
                   PACK_HEADER_META = 24,   /* 4 bytes: SAGE_META_VERSION of the metadata */
                   PACK_HEADER_UNUSED = 28, /* 4 bytes: 0 */
                   PACK_HEADER_BYTES = 32
};

enum pack_row {                       /* offsets; a part of 0 bytes is not there, and its offset is 0 */
                PACK_ROW_OFFSET = 0,  /* 8 bytes of each part: from the start of the file */
                PACK_ROW_SIZE = 24,   /* 4 bytes of each part */
                PACK_ROW_UNUSED = 36, /* 4 bytes: 0 */
                PACK_ROW_BYTES = 40
};

enum { PACK_TRAILER_BYTES = 32, PACK_KERNELS_MAX = 1 << 16, PACK_CUBIN_MAX = 256 << 20, PACK_SOURCE_MAX = 64 << 20 };

static inline void pack_put(unsigned char *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * i));
}

static inline uint64_t pack_get(const unsigned char *from, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)from[i] << (8 * i);
    return value;
}

#endif
