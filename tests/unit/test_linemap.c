// test_linemap: building, writing, reading and using line maps.
// SPDX-License-Identifier: Apache-2.0
#include "linemap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "# Format: first-last file:line (output lines -> template lines, advancing together; - = sagegen itself)\n"

// 1-3 skeleton lines 4-6, 4-5 one stage line twice, 6 the expander's, 7 skeleton line 7
static struct linemap example(void) {
    struct linemap m = {0};
    for (int i = 4; i < 7; i++) linemap_add(&m, "attn.cu.tl", i);
    linemap_add(&m, "stage/softmax.cu.tl", 12);
    linemap_add(&m, "stage/softmax.cu.tl", 12);
    linemap_add(&m, NULL, 0);
    linemap_add(&m, "attn.cu.tl", 7);
    return m;
}

static const char example_text[] =
    HEAD "1-3 attn.cu.tl:4\n4-4 stage/softmax.cu.tl:12\n5-5 stage/softmax.cu.tl:12\n6-6 -\n7-7 attn.cu.tl:7\n";

static void test_write(void **state) {
    (void)state;
    struct linemap m = example();
    struct buf out = {0};
    linemap_write(&m, &out);
    assert_string_equal(out.data, example_text);
    assert_int_equal(m.file_count, 2);
    buf_free(&out);
    linemap_free(&m);
    linemap_write(&m, &out);
    assert_string_equal(out.data, HEAD);
    buf_free(&out);
}

static void test_find(void **state) {
    (void)state;
    struct linemap m = example();
    int line = -1;
    assert_string_equal(linemap_find(&m, 2, &line), "attn.cu.tl");
    assert_int_equal(line, 5);
    assert_string_equal(linemap_find(&m, 5, &line), "stage/softmax.cu.tl");
    assert_int_equal(line, 12);
    assert_null(linemap_find(&m, 6, &line));
    assert_null(linemap_find(&m, 0, &line));
    assert_null(linemap_find(&m, -1, &line));
    assert_null(linemap_find(&m, 8, &line));
    linemap_free(&m);
}

static void test_read_back(void **state) {
    (void)state;
    struct linemap m;
    struct buf out = {0};
    assert_true(linemap_read(&m, example_text, strlen(example_text)));
    linemap_write(&m, &out);
    assert_string_equal(out.data, example_text);
    buf_free(&out);
    linemap_free(&m);
    assert_true(linemap_read(&m, HEAD, strlen(HEAD)));
    assert_int_equal(m.row_count, 0);
    linemap_free(&m);
}

static void test_read_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "1-1 a:1\n",
        "# Other\n1-1 a:1\n",
        HEAD "1-1 a:1",
        HEAD "1-1 a:0\n",
        HEAD "1-1 a:\n",
        HEAD "1-1 :1\n",
        HEAD "1-1 a\n",
        HEAD "1-1 \n",
        HEAD "1-1\n",
        HEAD "\n",
        HEAD "0-1 a:1\n",
        HEAD "2-2 a:1\n",
        HEAD "1-2 a:1\n2-3 a:1\n",
        HEAD "2-1 a:1\n",
        HEAD "1-0 a:1\n",
        HEAD "1-2000000000 a:1\n",
        HEAD "1-2000000000 -\n",
        HEAD "1-99999999999999999999 a:1\n",
        HEAD "1-1 a:99999999999999999999\n",
        HEAD "1-2 a:2147483647\n",
        HEAD "1-1 a:1x\n",
        HEAD "1-1 --\n",
        HEAD "x-1 a:1\n",
        HEAD "1 1 a:1\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct linemap m;
        if (linemap_read(&m, bad[i], strlen(bad[i]))) fail_msg("accepted: %s", bad[i]);
        assert_null(m.rows);
        assert_null(m.files);
        assert_int_equal(m.row_count, 0);
    }
}

// Every prefix and every single-byte damage is either refused or a whole map; the sanitizers watch.
static void test_read_damaged(void **state) {
    (void)state;
    char text[sizeof example_text];
    for (size_t i = 0; i < sizeof example_text; i++) {
        struct linemap m;
        linemap_read(&m, example_text, i);
        linemap_free(&m);
        for (int bit = 0; bit < 8; bit++) {
            memcpy(text, example_text, sizeof text);
            text[i] = (char)(text[i] ^ (1 << bit));
            linemap_read(&m, text, sizeof text - 1);
            linemap_free(&m);
        }
    }
}

static void expect_log(const char *log, const char *expected) {
    struct linemap m = example();
    struct buf out = {0};
    linemap_rewrite_log(&m, "kernel.cu", log, &out);
    assert_string_equal(out.data, expected);
    buf_free(&out);
    linemap_free(&m);
}

static void test_rewrite_log(void **state) {
    (void)state;
    expect_log("", "");
    expect_log("kernel.cu(2): error: identifier \"x\" is undefined\n      x = 1;\n      ^\n",
               "templates/attn.cu.tl:5: error: identifier \"x\" is undefined\n      x = 1;\n      ^\n");
    expect_log("kernel.cu(5): warning #177-D: a\nkernel.cu(1): note: b\n1 error detected in the compilation of "
               "\"kernel.cu\".\n",
               "templates/stage/softmax.cu.tl:12: warning #177-D: a\ntemplates/attn.cu.tl:4: note: b\n1 error detected "
               "in the compilation of \"kernel.cu\".\n");
    expect_log("kernel.cu:7: error", "templates/attn.cu.tl:7: error");
    expect_log("at line 3 of kernel.cu(3), see kernel.cu:4:9",
               "at line 3 of templates/attn.cu.tl:6, see templates/stage/softmax.cu.tl:12:9");
    expect_log("ptxas kernel.ptx, line 2; error : x\nptxas kernel.cu, line 2; error",
               "ptxas kernel.ptx, line 2; error : x\nptxas kernel.cu, line 2; error");
}

static void test_rewrite_log_keeps_the_rest(void **state) {
    (void)state;
    static const char *const kept[] = {
        "kernel.cu(6): the expander's own line",
        "kernel.cu(8): past the end",
        "kernel.cu(0)",
        "kernel.cu(99999999999999999999)",
        "kernel.cu(2",
        "kernel.cu(",
        "kernel.cu:",
        "kernel.cu",
        "mykernel.cu(2)",
        "/tmp/kernel.cu(2)",
        "kernel.cu()",
        "kernel.cu(2x)",
    };
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) expect_log(kept[i], kept[i]);
    struct linemap m = example();
    struct buf out = {0};
    linemap_rewrite_log(&m, "", "kernel.cu(2)", &out);
    assert_string_equal(out.data, "kernel.cu(2)");
    buf_free(&out);
    linemap_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_read_refuses),
        cmocka_unit_test(test_read_damaged),
        cmocka_unit_test(test_rewrite_log),
        cmocka_unit_test(test_rewrite_log_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
