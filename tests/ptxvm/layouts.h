// layouts: the matrix fragments of mma.sync and wgmma as the PTX ISA states them: for element i of a lane with groupID
// g (lane / 4) and threadID_in_group t (lane % 4), its row and column. Written from the ISA's formulas ("Matrix
// Fragments for mma.m16n8k16 with floating point type" and its siblings), one per shape, independently of
// runtime/ptxvm/fragment.c, which tests hold against them. Elements of a lane fill its registers from register 0, bit 0
// on. SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_PTXVM_LAYOUTS_H
#define TESTS_PTXVM_LAYOUTS_H

#include <string.h>

struct cell {
    unsigned row, col;
};

/* -- 16-bit ----------------------------------------------------------------------------------------------------------
 */

static inline struct cell k8_half_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 2 ? g : g + 8, t * 2 + (i & 1)};
}
static inline struct cell k8_half_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){t * 2 + i, g};
}
static inline struct cell k16_half_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 2 || (i >= 4 && i < 6) ? g : g + 8, i < 4 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8};
}
static inline struct cell k16_half_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 2 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8, g};
}

/* -- tf32 ------------------------------------------------------------------------------------------------------------
 */

static inline struct cell k4_tf32_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i == 0 ? g : g + 8, t};
}
static inline struct cell k4_tf32_b(unsigned g, unsigned t, unsigned i) {
    (void)i;
    return (struct cell){t, g};
}
static inline struct cell k8_tf32_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
}
static inline struct cell k8_tf32_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i == 0 ? t : t + 4, g};
}

/* -- 8-bit -----------------------------------------------------------------------------------------------------------
 */

static inline struct cell m8k16_byte_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){g, t * 4 + i};
}
static inline struct cell k16_byte_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 4 ? g : g + 8, t * 4 + (i & 3)};
}
static inline struct cell k16_byte_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){t * 4 + (i & 3), g};
}
static inline struct cell k32_byte_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 4 || (i >= 8 && i < 12) ? g : g + 8, i < 8 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16};
}
static inline struct cell k32_byte_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 4 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16, g};
}

/* -- 4-bit -----------------------------------------------------------------------------------------------------------
 */

static inline struct cell m8k32_nibble_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){g, t * 8 + i};
}
static inline struct cell k32_nibble_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 8 ? g : g + 8, t * 8 + (i & 7)};
}
static inline struct cell k32_nibble_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){t * 8 + (i & 7), g};
}
static inline struct cell k64_nibble_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 8 || (i >= 16 && i < 24) ? g : g + 8, i < 16 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32};
}
static inline struct cell k64_nibble_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 8 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32, g};
}

/* -- f64 -------------------------------------------------------------------------------------------------------------
 */

static inline struct cell m8k4_double_a(unsigned g, unsigned t, unsigned i) {
    (void)i;
    return (struct cell){g, t};
}
static inline struct cell k4_double_a(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i == 0 ? g : g + 8, t};
}
static inline struct cell k4_double_b(unsigned g, unsigned t, unsigned i) {
    (void)i;
    return (struct cell){t, g};
}
static inline struct cell k16_double_a(unsigned g, unsigned t, unsigned i) { /* k8 too */
    return (struct cell){i % 2 == 0 ? g : g + 8, i / 2 * 4 + t};
}
static inline struct cell k16_double_b(unsigned g, unsigned t, unsigned i) {
    return (struct cell){t + 4 * i, g};
}

/* -- C and D ---------------------------------------------------------------------------------------------------------
 */

static inline struct cell m8_c(unsigned g, unsigned t, unsigned i) {
    return (struct cell){g, t * 2 + i};
}
static inline struct cell m16_c(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i < 2 ? g : g + 8, t * 2 + (i & 1)};
}
// wgmma, one warp's 16 rows: d_i of m64nN.
static inline struct cell wgmma_d(unsigned g, unsigned t, unsigned i) {
    return (struct cell){i % 4 < 2 ? g : g + 8, i / 4 * 8 + t * 2 + (i & 1)};
}

/* -- Table -----------------------------------------------------------------------------------------------------------
 */

// count: elements of a lane. rows: of A and C.
typedef struct cell cell_function(unsigned g, unsigned t, unsigned i);
struct layout {
    const char *shape;
    unsigned bits, m, k; /* bits of an element's container in A and B */
    unsigned count_a, count_b, count_c;
    cell_function *a, *b, *c;
};

static const struct layout layouts[] = {
    {"m16n8k8", 16, 16, 8, 4, 2, 4, k8_half_a, k8_half_b, m16_c},
    {"m16n8k16", 16, 16, 16, 8, 4, 4, k16_half_a, k16_half_b, m16_c},
    {"m16n8k4", 32, 16, 4, 2, 1, 4, k4_tf32_a, k4_tf32_b, m16_c},
    {"m16n8k8", 32, 16, 8, 4, 2, 4, k8_tf32_a, k8_tf32_b, m16_c},
    {"m8n8k16", 8, 8, 16, 4, 4, 2, m8k16_byte_a, k16_byte_b, m8_c},
    {"m16n8k16", 8, 16, 16, 8, 4, 4, k16_byte_a, k16_byte_b, m16_c},
    {"m16n8k32", 8, 16, 32, 16, 8, 4, k32_byte_a, k32_byte_b, m16_c},
    {"m8n8k32", 4, 8, 32, 8, 8, 2, m8k32_nibble_a, k32_nibble_b, m8_c},
    {"m16n8k32", 4, 16, 32, 16, 8, 4, k32_nibble_a, k32_nibble_b, m16_c},
    {"m16n8k64", 4, 16, 64, 32, 16, 4, k64_nibble_a, k64_nibble_b, m16_c},
    {"m8n8k4", 64, 8, 4, 1, 1, 2, m8k4_double_a, k4_double_b, m8_c},
    {"m16n8k4", 64, 16, 4, 2, 1, 4, k4_double_a, k4_double_b, m16_c},
    {"m16n8k8", 64, 16, 8, 4, 2, 4, k16_double_a, k16_double_b, m16_c},
    {"m16n8k16", 64, 16, 16, 8, 4, 4, k16_double_a, k16_double_b, m16_c},
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static inline const struct layout *layout_of(const char *shape, unsigned bits) {
    for (unsigned k = 0; k < LAYOUTS; k++)
        if (strcmp(layouts[k].shape, shape) == 0 && layouts[k].bits == bits) return &layouts[k];
    return NULL;
}

/* -- Scales ----------------------------------------------------------------------------------------------------------
 */

// "Block Scaling for mma.sync": thread-id-a 0 chooses lanes 0 and 1 of each quad, 1 lanes 2 and 3: the first supplies
// the scales of row g, the second of row g + 8. thread-id-b chooses one lane of the quad, which supplies column g.
// byte-id is the first byte; block b is in byte byte-id + b. The row (column) that a lane supplies, or -1.
static inline int scale_row_of_lane(unsigned lane, unsigned thread_id_a) {
    unsigned g = lane >> 2, t = lane & 3;
    if (t == 2 * thread_id_a) return (int)g;
    if (t == 2 * thread_id_a + 1) return (int)g + 8;
    return -1;
}
static inline int scale_column_of_lane(unsigned lane, unsigned thread_id_b) {
    return (lane & 3) == thread_id_b ? (int)(lane >> 2) : -1;
}

#endif
