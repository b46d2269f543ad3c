// buf grows and stays NUL-terminated; diag prints position, source line and caret, escapes, clips and limits; suggest
// finds near words. SPDX-License-Identifier: Apache-2.0
#include "buf.h"
#include "diag.h"
#include "suggest.h"
#include "utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- buf --------------------------------------------------------------- */

static void test_buf_grows(void **state) {
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 10000; i++) buf_printf(&b, "%04d,", i);
    assert_int_equal(b.len, 50000);
    assert_int_equal(strlen(b.data), b.len);
    assert_memory_equal(b.data + 5 * 1234, "1234,", 5);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    buf_append(&b, "a\0b", 3);
    assert_memory_equal(b.data, "a\0b", 4);
    buf_free(&b);
    assert_null(b.data);
    buf_puts(&b, "");
    assert_string_equal(b.data, "");
    buf_free(&b);
    buf_clear(&b);
    assert_null(b.data);
}

static void test_strings(void **state) {
    (void)state;
    char *copy = xstrndup("abc", 100), *part = xstrndup("abc", 2), *all = xstrdup("");
    assert_string_equal(copy, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(all, "");
    free(copy);
    free(part);
    free(all);
    free(xmalloc(0));
    free(xcalloc(0, 0));
}

static void test_utf8(void **state) {
    (void)state;
    uint32_t code = 0;
    assert_int_equal(utf8_decode("\xe2\x80\xa6", 3, &code), 3);
    assert_int_equal(code, 0x2026);
    assert_int_equal(utf8_decode("\xf0\x9f\x98\x80", 4, &code), 4);
    assert_int_equal(code, 0x1f600);
    static const char *const wrong[] = {"\x80",         "\xc0\x80", "\xe2\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                                        "\xe0\x80\x80", "\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(utf8_decode(wrong[i], strlen(wrong[i]), &code), 0);
}

/* -- diag -------------------------------------------------------------- */

// What diag prints for one error in `text`; the caller frees.
static struct buf print_at(const char *text, int line, int column, const char *message) {
    struct buf sink = {0};
    struct diag d = {.sink = &sink};
    diag_add_source(&d, "f.yaml", text, strlen(text));
    diag_error(&d, (struct diag_loc){.file = "f.yaml", .line = line, .column = column}, "%s", message);
    assert_int_equal(d.errors, 1);
    diag_free(&d);
    return sink;
}

static void expect_print(const char *text, int line, int column, const char *expected) {
    struct buf got = print_at(text, line, column, "wrong");
    assert_string_equal(got.data, expected);
    buf_free(&got);
}

static void test_caret(void **state) {
    (void)state;
    expect_print("a: 1\nb: 22\n", 2, 4, "f.yaml:2:4: error: wrong\nb: 22\n   ^\n");
    expect_print("a: 1", 1, 1, "f.yaml:1:1: error: wrong\na: 1\n^\n");
    expect_print("a: 1\r\nb", 1, 4, "f.yaml:1:4: error: wrong\na: 1\n   ^\n");
    expect_print("a\n", 1, 99, "f.yaml:1:99: error: wrong\na\n ^\n");
    expect_print("a\n", 9, 1, "f.yaml:9:1: error: wrong\n");
    expect_print("a\n", 0, 0, "f.yaml: error: wrong\n");
    expect_print("", 1, 1, "f.yaml:1:1: error: wrong\n\n^\n");
    expect_print("\xc3\xa9: \xe2\x80\xa6 x", 1, 9, "f.yaml:1:9: error: wrong\n\xc3\xa9: \xe2\x80\xa6 x\n     ^\n");
}

static void test_escapes(void **state) {
    (void)state;
    expect_print("\ta\x1b[2J\xff b", 1, 8, "f.yaml:1:8: error: wrong\n\\ta\\x1b[2J\\xff b\n              ^\n");
    expect_print("x\xe2\x80\xaey", 1, 5, "f.yaml:1:5: error: wrong\nx\\u202ey\n       ^\n");
    struct buf got = print_at("a\n", 0, 0, "two\nlines \x1b[31m");
    assert_string_equal(got.data, "f.yaml: error: two\nlines \\x1b[31m\n");
    buf_free(&got);
}

static void test_clipping(void **state) {
    (void)state;
    char line[1001];
    memset(line, 'x', 1000);
    line[1000] = '\0';
    for (int column = 1; column <= 1000; column += 37) {
        line[column - 1] = 'C';
        struct buf got = print_at(line, 1, column, "wrong");
        char *shown = strchr(got.data, '\n') + 1, *caret = strchr(shown, '\n') + 1;
        assert_true(caret - shown <= 200 + 6 + 1);
        assert_int_equal(shown[strspn(caret, " ")], 'C');
        line[column - 1] = 'x';
        buf_free(&got);
    }
}

static void test_limit_and_notes(void **state) {
    (void)state;
    struct buf sink = {0};
    struct diag d = {.sink = &sink, .error_limit = 2};
    struct diag_loc whole = {.file = "f"};
    for (int i = 1; i <= 4; i++) {
        diag_error(&d, whole, "e%d", i);
        diag_note(&d, whole, "n%d", i);
    }
    assert_int_equal(d.errors, 4);
    assert_string_equal(sink.data, "f: error: e1\nf: note: n1\nf: error: e2\nf: note: n2\n"
                                   "f: note: more than 2 errors; the rest are not shown\n");
    buf_clear(&sink);
    struct diag no_file = {.sink = &sink};
    diag_error(&no_file, (struct diag_loc){0}, "no NVRTC");
    assert_string_equal(sink.data, "sagegen: error: no NVRTC\n");
    buf_free(&sink);
}

static void test_source_is_replaced(void **state) {
    (void)state;
    struct buf sink = {0};
    struct diag d = {.sink = &sink};
    diag_add_source(&d, "f", "old", 3);
    diag_add_source(&d, "f", "new", 3);
    diag_error(&d, (struct diag_loc){.file = "f", .line = 1, .column = 1}, "e");
    assert_string_equal(sink.data, "f:1:1: error: e\nnew\n^\n");
    diag_free(&d);
    buf_free(&sink);
}

/* -- suggest ----------------------------------------------------------- */

static const char *nearest(const char *word) {
    static const char *const known[] = {"granularity", "block", "fp8_e4m3", "nvfp4", "mxfp4", "sm_120a", "q"};
    struct suggest s = {.word = word};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) suggest_offer(&s, known[i], strlen(known[i]));
    return s.best;
}

static void test_suggest(void **state) {
    (void)state;
    assert_string_equal(nearest("granularty"), "granularity");
    assert_string_equal(nearest("GRANULARITY"), "granularity");
    assert_string_equal(nearest("nvpf4"), "nvfp4");
    assert_string_equal(nearest("fp8"), "fp8_e4m3");
    assert_string_equal(nearest("sm_120"), "sm_120a");
    assert_null(nearest("softmax"));
    assert_null(nearest(""));
    assert_null(nearest("a word that is much longer than any key of a spec could be"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_grows),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_caret),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_clipping),
        cmocka_unit_test(test_limit_and_notes),
        cmocka_unit_test(test_source_is_replaced),
        cmocka_unit_test(test_suggest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
