// buf: growable byte buffers and the allocation helpers of the generator.
// In: bytes and printf formats. Out: NUL-terminated text that the caller frees with buf_free.
// Out of memory ends the program here, so that no caller checks for it.
// SPDX-License-Identifier: Apache-2.0
#include "buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Allocation -------------------------------------------------------- */

static _Noreturn void out_of_memory(void) {
    fputs("sagegen: out of memory\n", stderr);
    exit(1);
}

void *xmalloc(size_t n) {
    void *memory = malloc(n ? n : 1);
    if (!memory) out_of_memory();
    return memory;
}

void *xcalloc(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory) out_of_memory();
    return memory;
}

char *xstrdup(const char *text) {
    return xstrndup(text, strlen(text));
}

char *xstrndup(const char *text, size_t n) {
    size_t len = strnlen(text, n);
    char *copy = xmalloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

/* -- Buffer ------------------------------------------------------------ */

// Makes room for n more bytes and the NUL.
static void reserve(struct buf *b, size_t n) {
    if (n > SIZE_MAX / 2 - b->len - 1) out_of_memory();
    size_t needed = b->len + n + 1;
    if (needed <= b->capacity) return;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < needed) capacity *= 2;
    char *data = realloc(b->data, capacity);
    if (!data) out_of_memory();
    b->data = data;
    b->capacity = capacity;
}

void buf_append(struct buf *b, const void *bytes, size_t n) {
    reserve(b, n);
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *text) {
    buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    buf_vprintf(b, format, args);
    va_end(args);
}

void buf_vprintf(struct buf *b, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) out_of_memory(); // only a result over INT_MAX or a failed allocation inside libc
    reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_clear(struct buf *b) {
    b->len = 0;
    if (b->data) b->data[0] = '\0';
}

void buf_free(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}

void *xgrown(void *item, int count, int *capacity, size_t size)
{
    if (count < *capacity) return item;
    *capacity = *capacity ? 2 * *capacity : 32;
    char *more = xcalloc((size_t)*capacity, size);
    if (count) memcpy(more, item, (size_t)count * size);
    free(item);
    return more;
}
