// buf: a growable byte buffer for text; allocation failure is handled once, here (message on stderr, exit status 1).
// Used by the generator only: libsage reports allocation failure through its own status codes.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BUF_H
#define SAGE_GEN_BUF_H

#include <stdarg.h>
#include <stddef.h>

// data is always NUL-terminated once anything was appended; len excludes the NUL. Zero-initialise before use.
struct buf {
    char *data;
    size_t len;      /* bytes */
    size_t capacity; /* bytes */
};

void buf_append(struct buf *b, const void *bytes, size_t n);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *format, va_list args);
void buf_clear(struct buf *b); // len = 0, keeps the memory
void buf_free(struct buf *b);  // back to the zero state

void *xmalloc(size_t n);                  // never NULL
void *xcalloc(size_t count, size_t size); // never NULL
// Room for one more item of `size` bytes behind `count` of them: item, or a larger copy of it, zeroed behind. Never NULL.
void *xgrown(void *item, int count, int *capacity, size_t size);
char *xstrdup(const char *text);          // never NULL
char *xstrndup(const char *text, size_t n);

#endif
