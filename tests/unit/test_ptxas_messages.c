// Tests of ptxas_messages: which lines of a log are errors, and where the PTX says that they come from.
// SPDX-License-Identifier: Apache-2.0
#include "ptx_image.h"
#include "ptxas_messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LINE "ptxas application ptx input, line "

// As NVRTC writes it: .file comes last; the first function has no .loc of its own until its body.
static const char ptx[] = ".version 9.0\n"                                          /*  1 */
                          ".visible .entry first(\n"                                /*  2 */
                          "\t.param .u64 first_param_0\n"                           /*  3 */
                          ")\n{\n"                                                  /*  4 5 */
                          "\t.loc\t1 10 0\n"                                        /*  6 */
                          "\tmov.u32 \t%r1, %tid.x;\n"                              /*  7 */
                          "\t.loc\t1 12 5\n"                                        /*  8 */
                          "\t.loc\t1 4 5, function_name $L__a, inlined_at 1 12 5\n" /*  9 */
                          "\t// begin inline asm\n"                                 /* 10 */
                          "\tbogus.b32 %r2, %r1;\n"                                 /* 11 */
                          "mov.u32 %r2, %r1\n\n"                                    /* 12 13 */
                          "\t// end inline asm\n"                                   /* 14 */
                          "\t.loc\t1 13 5\n"                                        /* 15 */
                          "\tst.global.u32 \t[%rd1], %r2;\n"                        /* 16 */
                          "\t.loc\t2 99 5\n"                                        /* 17 */
                          "\tret;\n}\n"                                             /* 18 19 */
                          ".visible .entry second()\n{\n"                           /* 20 21 */
                          "\t.local .align 4 .b8 \t__local_depot1[4];\n"            /* 22 */
                          "\t.loc\t1 20 0\n"                                        /* 23 */
                          "\tret;\n}\n"                                             /* 24 25 */
                          "\t.file\t1 \"/some/where/kernel.cu\"\n"                  /* 26 */
                          "\t.file\t2 \"/some/where/other_kernel.cu\"\n";           /* 27 */

static struct ptxas_error only_error(const char *log, const char *text_of_ptx) {
    struct ptxas_errors errors;
    ptxas_errors_read(log, text_of_ptx, "kernel.cu", &errors);
    assert_int_equal(errors.count, 1);
    const struct ptxas_error error = errors.item[0];
    ptxas_errors_free(&errors);
    return error;
}

static void expect_place(const char *log, int source_line, int caller_line, const char *rejected) {
    const struct ptxas_error e = only_error(log, ptx);
    assert_int_equal(e.source_line, source_line);
    assert_int_equal(e.caller_line, caller_line);
    assert_int_equal(e.ptx_len, strlen(rejected));
    assert_memory_equal(e.ptx, rejected, e.ptx_len);
}

static void test_origin_of_a_line(void **state) {
    (void)state;
    static const struct {
        int ptx_line, source_line, caller_line;
    } rows[] = {{1, 0, 0},  {3, 0, 0},   {7, 10, 0}, {11, 4, 12}, {16, 13, 0},
                {18, 0, 0}, {24, 20, 0}, {99, 0, 0}, {-1, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int source = -1, caller = -1;
        ptx_line_origin(ptx, "kernel.cu", rows[i].ptx_line, &source, &caller);
        assert_int_equal(source, rows[i].source_line);
        assert_int_equal(caller, rows[i].caller_line);
    }
    int source, caller;
    ptx_line_origin(ptx, "absent.cu", 7, &source, &caller);
    assert_int_equal(source, 0);
}

// Line 4 of the emitted text comes from a wrapper, which line 12 calls.
static void test_image_knows_template_lines(void **state) {
    (void)state;
    struct linemap map = {0}, back;
    struct buf image = {0}, text = {0};
    for (int line = 1; line <= 20; line++)
        linemap_add(&map,
                    line < 10   ? "ptx/mma.cu.tl"
                    : line < 13 ? "stage/pv.cu.tl"
                                : NULL,
                    line < 10 ? line + 30 : line - 5);
    ptx_image_write(ptx, &map, &image);
    assert_memory_equal(image.data, ptx, sizeof ptx - 1);
    assert_true(ptx_image_map(image.data, &back));
    const struct ptx_place wrapped = ptx_image_place(image.data, &back, "kernel.cu", 11);
    assert_string_equal(wrapped.file, "ptx/mma.cu.tl");
    assert_int_equal(wrapped.line, 34);
    assert_string_equal(wrapped.caller_file, "stage/pv.cu.tl");
    assert_int_equal(wrapped.caller_line, 7);
    ptx_place_text(&wrapped, &text);
    assert_string_equal(text.data, "templates/stage/pv.cu.tl:7");
    buf_clear(&text);
    const struct ptx_place plain = ptx_image_place(image.data, &back, "kernel.cu", 7);
    ptx_place_text(&plain, &text);
    assert_string_equal(text.data, "templates/stage/pv.cu.tl:5");
    buf_clear(&text);
    const struct ptx_place own = ptx_image_place(image.data, &back, "kernel.cu", 16); // sagegen's own line
    ptx_place_text(&own, &text);
    assert_string_equal(text.data, "");
    linemap_free(&back);
    assert_false(ptx_image_map(ptx, &back));
    const struct ptx_place none = ptx_image_place(ptx, &back, "kernel.cu", 7);
    assert_null(none.file);
    linemap_free(&map);
    buf_free(&image);
    buf_free(&text);
}

static void test_nearest_loc_above(void **state) {
    (void)state;
    expect_place(LINE "7; error   : x", 10, 0, "mov.u32 \t%r1, %tid.x;");
    expect_place(LINE "11; error   : x\nptxas fatal   : Ptx assembly aborted due to errors\n", 4, 12,
                 "bogus.b32 %r2, %r1;");
    expect_place("ptxas kernel.ptx, line 24; fatal   : x", 20, 0, "ret;");
}

static void test_syntax_error_behind_asm_is_the_asm_s(void **state) {
    (void)state;
    expect_place(LINE "16; fatal   : Parsing error near 'st': syntax error", 4, 12, "mov.u32 %r2, %r1");
    expect_place(LINE "15; fatal   : Parsing error near '.loc': syntax error", 4, 12, "mov.u32 %r2, %r1");
    expect_place(LINE "11; fatal   : Parsing error near 'b32': syntax error", 4, 12, "bogus.b32 %r2, %r1;");
    expect_place(LINE "24; fatal   : Parsing error near 'ret': syntax error", 20, 0, "ret;"); // another function's asm
}

static void test_errors_without_a_place(void **state) {
    (void)state;
    static const char *const logs[] = {
        LINE "3; error   : above the first .loc", LINE "22; error   : not of the function before",
        LINE "18; error   : in another file",     LINE "28; error   : below the end",
        LINE "0; error   : no such line",         "ptxas fatal   : Unresolved extern function 'f'",
    };
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        const struct ptxas_error e = only_error(logs[i], ptx);
        assert_int_equal(e.source_line, 0);
        assert_null(e.ptx);
        assert_string_equal(e.line, logs[i]);
        assert_string_equal(strstr(logs[i], e.text), e.text);
    }
    assert_int_equal(only_error(LINE "7; error   : x", "").source_line, 0);
    assert_int_equal(only_error(LINE "2; error   : x", "\t.loc\t1 10 0\n\tret;\n").source_line, 0); // no .file
}

static void test_log_of_several_messages(void **state) {
    (void)state;
    struct ptxas_errors errors;
    ptxas_errors_read("kernel.cu(1): warning #1: x\n" LINE "7; warning : w\n" LINE "7; error   : a\n" LINE
                      "7; error   : a\n" LINE "7; error   : b\nptxas info    : Used 7 registers\n" LINE
                      "16; error   : a\nptxas fatal   : Ptx assembly aborted due to errors\n",
                      ptx, "kernel.cu", &errors);
    assert_int_equal(errors.count, 3);
    for (int i = 0; i < errors.count; i++) {
        assert_int_equal(errors.item[i].text_len, 1);
        assert_int_equal(errors.item[i].text[0], "aba"[i]);
        assert_int_equal(errors.item[i].source_line, i < 2 ? 10 : 13);
    }
    ptxas_errors_free(&errors);
}

static void test_which_logs_have_lines(void **state) {
    (void)state;
    assert_true(ptxas_log_has_lines("\nptxas info    : x\n" LINE "7; error   : x\n"));
    assert_false(ptxas_log_has_lines(""));
    assert_false(ptxas_log_has_lines(LINE "7; warning : x\n"));
    assert_false(ptxas_log_has_lines("ptxas fatal   : Unresolved extern function 'f'\n"));
    assert_false(ptxas_log_has_lines("kernel.cu(7): error: x, line 7; error   : x\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearest_loc_above),          cmocka_unit_test(test_syntax_error_behind_asm_is_the_asm_s),
        cmocka_unit_test(test_errors_without_a_place),     cmocka_unit_test(test_log_of_several_messages),
        cmocka_unit_test(test_which_logs_have_lines),      cmocka_unit_test(test_origin_of_a_line),
        cmocka_unit_test(test_image_knows_template_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
