// pack_write: see the header. Rows first, since their size is known; parts after them in the order of the rows.
// SPDX-License-Identifier: Apache-2.0
#include "pack_write.h"

#include "key.h"
#include "meta_fields.h"
#include "pack_format.h"
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct pack_item *)a)->name, ((const struct pack_item *)b)->name);
}

static const struct cache_bytes *part_of(const struct pack_item *item, int part) {
    return part == PACK_PART_META ? &item->meta : part == PACK_PART_CUBIN ? &item->cubin : &item->source;
}

static uint64_t total_bytes(const struct pack_item *items, int count) {
    uint64_t bytes = PACK_HEADER_BYTES + (uint64_t)count * PACK_ROW_BYTES + PACK_TRAILER_BYTES;
    for (int i = 0; i < count; i++)
        for (int part = 0; part < PACK_PART_COUNT; part++)
            if (part_of(&items[i], part)->data) bytes += part_of(&items[i], part)->bytes;
    return bytes;
}

static void put_header(const struct pack_item *items, int count, struct buf *out) {
    unsigned char header[PACK_HEADER_BYTES] = {0};
    memcpy(header + PACK_HEADER_MAGIC, PACK_MAGIC, 8);
    pack_put(header + PACK_HEADER_VERSION, PACK_VERSION, 4);
    pack_put(header + PACK_HEADER_COUNT, (uint64_t)count, 4);
    pack_put(header + PACK_HEADER_FILE, total_bytes(items, count), 8);
    pack_put(header + PACK_HEADER_META, SAGE_META_VERSION, 4);
    buf_append(out, header, sizeof header);
}

static void put_rows(const struct pack_item *items, int count, struct buf *out) {
    uint64_t at = PACK_HEADER_BYTES + (uint64_t)count * PACK_ROW_BYTES;
    for (int i = 0; i < count; i++) {
        unsigned char row[PACK_ROW_BYTES] = {0};
        for (int part = 0; part < PACK_PART_COUNT; part++) {
            const struct cache_bytes *bytes = part_of(&items[i], part);
            if (!bytes->data) continue;
            pack_put(row + PACK_ROW_OFFSET + 8 * part, at, 8);
            pack_put(row + PACK_ROW_SIZE + 4 * part, bytes->bytes, 4);
            at += bytes->bytes;
        }
        buf_append(out, row, sizeof row);
    }
}

void pack_write(struct pack_item *items, int count, struct buf *out) {
    const size_t start = out->len;
    char hash[KEY_BYTES];
    if (count) qsort(items, (size_t)count, sizeof *items, by_name);
    put_header(items, count, out);
    put_rows(items, count, out);
    for (int i = 0; i < count; i++)
        for (int part = 0; part < PACK_PART_COUNT; part++)
            if (part_of(&items[i], part)->data)
                buf_append(out, part_of(&items[i], part)->data, part_of(&items[i], part)->bytes);
    key_hash(out->data + start, out->len - start, hash);
    buf_append(out, hash, PACK_TRAILER_BYTES);
}
