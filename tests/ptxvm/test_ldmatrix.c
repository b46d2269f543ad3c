// test_ldmatrix: ldmatrix, stmatrix and movmatrix as kernels: shared memory holds distinct values, and each register is
// compared with the element that the PTX ISA's figures put there. SPDX-License-Identifier: Apache-2.0
#include "kernels.h"

/* -- Kernels ---------------------------------------------------------------------------------------------------------
 */

enum { IMAGE = 32 * 48 /* bytes: 32 rows of 16, 48 apart */, PITCH = 48 };

// Shared memory from in[0 .. IMAGE); %row is the address of the lane's row. Registers come after the image.
static void begin(struct text *t, const char *target, unsigned ins, unsigned outs) {
    begin_kernel(t, target, "b32", 0, outs);
    add(t, ".shared .align 128 .b8 image[%u];\n.reg .b32 %%row, %%s, %%v, %%r<5>;\n.reg .b64 %%g;\n", IMAGE);
    add(t, "mov.u32 %%s, image;\nmad.lo.u32 %%row, %%thread, %u, %%s;\n", PITCH);
    add(t, "mul.wide.u32 %%x, %%thread, 4;\nadd.s64 %%g, %%ain, %%x;\nshl.b32 %%v, %%thread, 2;\nadd.u32 %%s, %%s, "
           "%%v;\n");
    for (unsigned at = 0; at < IMAGE; at += 128)
        add(t, "ld.global.b32 %%v, [%%g+%u];\nst.shared.b32 [%%s+%u], %%v;\n", at, at);
    for (unsigned k = 0; k < ins; k++) add(t, "ld.global.b32 %%r%u, [%%g+%u];\n", k, IMAGE + 128 * k);
    add(t, "bar.sync 0;\n");
}

// What the kernel leaves in shared memory, instead of registers.
static void end_with_image(struct text *t) {
    add(t, "bar.sync 0;\nadd.s64 %%g, %%aout, %%x;\n");
    for (unsigned at = 0; at < IMAGE; at += 128)
        add(t, "ld.shared.b32 %%v, [%%s+%u];\nst.global.b32 [%%g+%u], %%v;\n", at, at);
    end_kernel(t, "b32", 0);
}

static void run_text(const struct text *t, const void *in, size_t in_bytes, void *out, size_t out_bytes) {
    struct run r = {.text = t->at, .threads = 32, .in = in, .in_bytes = in_bytes, .out = out, .out_bytes = out_bytes};
    run_clean(&r);
}

static void fill(uint8_t *image, size_t bytes) {
    uint64_t random = 21;
    for (size_t k = 0; k < bytes; k++) image[k] = (uint8_t)random_bits(&random);
}

static uint32_t element(const uint8_t *image, unsigned matrix, unsigned row, unsigned column) {
    uint16_t value;
    memcpy(&value, image + (8 * matrix + row) * PITCH + 2 * column, 2);
    return value;
}

/* -- ldmatrix --------------------------------------------------------------------------------------------------------
 */

static void ldmatrix_loads_fragments(void **state) {
    static struct text text;
    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        unsigned count = 1u << k / 2;
        bool transposed = k & 1;
        uint8_t image[IMAGE];
        uint32_t out[32 * 4];
        fill(image, sizeof image);
        begin(&text, "sm_80", 0, count);
        add(&text, "ldmatrix.sync.aligned.m8n8.x%u%s.shared.b16 ", count, transposed ? ".trans" : "");
        add_vector(&text, "out", 0, count);
        add(&text, ", [%%row];\n");
        end_kernel(&text, "b32", count);
        run_text(&text, image, sizeof image, out, 128 * count);
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned m = 0; m < count; m++) {
                unsigned r = lane / 4, c = lane % 4 * 2;
                uint32_t low = transposed ? element(image, m, c, r) : element(image, m, r, c);
                uint32_t high = transposed ? element(image, m, c + 1, r) : element(image, m, r, c + 1);
                assert_int_equal(out[lane * count + m], low | high << 16);
            }
    }
}

// .b8x16: 4- or 6-bit elements, packed, become the low bits of bytes.
static void narrow_ldmatrix_widens(void **state) {
    static struct text text;
    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        unsigned count = 1u << k / 2, bits = k & 1 ? 4 : 6;
        uint8_t image[IMAGE];
        uint32_t out[32 * 4];
        fill(image, sizeof image);
        begin(&text, "sm_120a", 0, count);
        add(&text, "ldmatrix.sync.aligned.m8n16.x%u.shared.b8x16.%s ", count, bits == 4 ? "b4x16_p64" : "b6x16_p32");
        add_vector(&text, "out", 0, count);
        add(&text, ", [%%row];\n");
        end_kernel(&text, "b32", count);
        run_text(&text, image, sizeof image, out, 128 * count);
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned m = 0; m < count; m++)
                for (unsigned e = 0; e < 4; e++) {
                    const uint8_t *row = image + (8 * m + lane / 4) * PITCH;
                    unsigned code = 0, first = (lane % 4 * 4 + e) * bits;
                    for (unsigned bit = 0; bit < bits; bit++)
                        code |= (row[(first + bit) / 8] >> (first + bit) % 8 & 1u) << bit;
                    assert_int_equal(out[lane * count + m] >> 8 * e & 255, code);
                }
    }
}

/* -- stmatrix --------------------------------------------------------------------------------------------------------
 */

static void stmatrix_stores_fragments(void **state) {
    static struct text text;
    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        unsigned count = 1u << k / 2;
        bool transposed = k & 1;
        uint8_t in[IMAGE + 4 * 128], out[IMAGE], expected[IMAGE];
        fill(in, sizeof in);
        memcpy(expected, in, sizeof expected);
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned m = 0; m < count; m++)
                for (unsigned half = 0; half < 2; half++) {
                    unsigned r = lane / 4, c = lane % 4 * 2 + half, row = transposed ? c : r,
                             column = transposed ? r : c;
                    memcpy(expected + (8 * m + row) * PITCH + 2 * column, in + IMAGE + 128 * m + 4 * lane + 2 * half,
                           2);
                }
        begin(&text, "sm_90", count, 0);
        add(&text, "stmatrix.sync.aligned.m8n8.x%u%s.shared.b16 [%%row], ", count, transposed ? ".trans" : "");
        add_vector(&text, "r", 0, count);
        add(&text, ";\n");
        end_with_image(&text);
        run_text(&text, in, sizeof in, out, sizeof out);
        assert_memory_equal(out, expected, sizeof out);
    }
}

// .m16n8.trans.b8: bytes e0, e1 of a lane are row g, columns 2 t and 2 t + 1 of a 16x8 matrix, e2, e3 row g + 8, as in
// an accumulator fragment; a row in memory is a column. (CUTLASS, SM100_U8x4_STSM_T.)
static void stmatrix_stores_bytes(void **state) {
    static struct text text;
    (void)state;
    for (unsigned count = 1; count <= 4; count *= 2) {
        uint8_t in[IMAGE + 4 * 128], out[IMAGE], expected[IMAGE];
        fill(in, sizeof in);
        memcpy(expected, in, sizeof expected);
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned m = 0; m < count; m++)
                for (unsigned e = 0; e < 4; e++) {
                    unsigned row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
                    expected[(8 * m + column) * PITCH + row] = in[IMAGE + 128 * m + 4 * lane + e];
                }
        begin(&text, "sm_120a", count, 0);
        add(&text, "stmatrix.sync.aligned.m16n8.x%u.trans.shared.b8 [%%row], ", count);
        add_vector(&text, "r", 0, count);
        add(&text, ";\n");
        end_with_image(&text);
        run_text(&text, in, sizeof in, out, sizeof out);
        assert_memory_equal(out, expected, sizeof out);
    }
}

/* -- movmatrix -------------------------------------------------------------------------------------------------------
 */

static void movmatrix_transposes(void **state) {
    static struct text text;
    (void)state;
    uint8_t in[IMAGE + 128];
    uint32_t out[32];
    uint16_t from[8][8], to[8][8];
    fill(in, sizeof in);
    begin(&text, "sm_80", 1, 1);
    add(&text, "movmatrix.sync.aligned.m8n8.trans.b16 %%out0, %%r0;\n");
    end_kernel(&text, "b32", 1);
    run_text(&text, in, sizeof in, out, sizeof out);
    memcpy(from, in + IMAGE, sizeof from); /* lane 4 r + c / 2 holds columns c, c + 1 of row r: row-major */
    memcpy(to, out, sizeof to);
    for (unsigned r = 0; r < 8; r++)
        for (unsigned c = 0; c < 8; c++) assert_int_equal(to[r][c], from[c][r]);
}

/* -- Errors ----------------------------------------------------------------------------------------------------------
 */

static void misaligned_rows_are_found(void **state) {
    static struct text text;
    (void)state;
    uint8_t image[IMAGE];
    uint32_t out[32];
    fill(image, sizeof image);
    begin(&text, "sm_80", 0, 1);
    add(&text, "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%%out0}, [%%row+8];\n");
    end_kernel(&text, "b32", 1);
    struct run r = {
        .text = text.at, .threads = 32, .in = image, .in_bytes = sizeof image, .out = out, .out_bytes = 128};
    assert_int_equal(run_kernel(&r), PTXVM_ERROR_FAULT);
    assert_int_equal(r.findings.of_kind[PTXVM_FINDING_MISALIGNED], 1);
}

static void divergent_lanes_are_found(void **state) {
    static struct text text;
    (void)state;
    uint8_t image[IMAGE];
    uint32_t out[32];
    fill(image, sizeof image);
    begin(&text, "sm_80", 0, 1);
    add(&text, ".reg .pred %%p;\nsetp.lt.u32 %%p, %%thread, 16;\n");
    add(&text, "@%%p ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%%out0}, [%%row];\n");
    end_kernel(&text, "b32", 1);
    struct run r = {
        .text = text.at, .threads = 32, .in = image, .in_bytes = sizeof image, .out = out, .out_bytes = 128};
    assert_int_equal(run_kernel(&r), PTXVM_ERROR_FAULT);
    assert_int_equal(r.findings.of_kind[PTXVM_FINDING_DIVERGENCE], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ldmatrix_loads_fragments),  cmocka_unit_test(narrow_ldmatrix_widens),
        cmocka_unit_test(stmatrix_stores_fragments), cmocka_unit_test(stmatrix_stores_bytes),
        cmocka_unit_test(movmatrix_transposes),      cmocka_unit_test(misaligned_rows_are_found),
        cmocka_unit_test(divergent_lanes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
