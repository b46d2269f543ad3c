// Every file of tests/bad_specs is refused with exactly the errors and notes that it carries as `# expect: LINE:COL:
// error: text`. Also: each message with a position is followed by the source line and a caret line.
// SPDX-License-Identifier: Apache-2.0
#include "spec.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BAD_SPECS SOURCE_DIR "/tests/bad_specs"

static void read_file(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) buf_append(out, chunk, n);
    fclose(f);
}

// Bytes up to the line end or the end of the text.
static size_t line_length(const char *at, const char *end) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return (size_t)((newline ? newline : end) - at);
}

// The `# expect: ` lines of a file as the messages that they stand for.
static void put_expected(struct buf *out, const char *name, const struct buf *text) {
    static const char mark[] = "# expect: ";
    const char *end = text->data + text->len;
    for (const char *at = text->data; at < end;) {
        size_t len = line_length(at, end), skip = sizeof mark - 1;
        if (len > skip && memcmp(at, mark, skip) == 0) {
            bool placed = at[skip] >= '0' && at[skip] <= '9';
            buf_printf(out, "%s:%s%.*s\n", name, placed ? "" : " ", (int)(len - skip), at + skip);
        }
        at += len + 1;
    }
}

// The messages among printed lines; checks that a caret line follows each that has a position.
static void put_printed(struct buf *out, const char *name, const struct buf *printed) {
    const char *end = printed->data + printed->len;
    size_t skip = strlen(name);
    for (const char *at = printed->data; at < end;) {
        size_t len = line_length(at, end);
        assert_true(len > skip && memcmp(at, name, skip) == 0);
        buf_printf(out, "%.*s\n", (int)len, at);
        bool placed = at[skip + 1] != ' ';
        at += len + 1;
        if (!placed) continue;
        at += line_length(at, end) + 1; // the source line
        assert_true(at < end);
        len = line_length(at, end);
        assert_int_equal(at[len - 1], '^');
        assert_int_equal(strspn(at, " "), len - 1);
        at += len + 1;
    }
}

static bool check_file(const char *name) {
    struct buf path = {0}, text = {0}, sink = {0}, expected = {0}, printed = {0};
    buf_printf(&path, "%s/%s", BAD_SPECS, name);
    read_file(path.data, &text);
    struct diag diag = {.sink = &sink};
    struct spec spec;
    bool accepted = spec_parse(&spec, name, text.data, text.len, &diag);
    assert_true(sink.len > 0 || accepted);
    put_expected(&expected, name, &text);
    if (sink.len) put_printed(&printed, name, &sink);
    bool ok = !accepted && diag.errors > 0 && expected.len > 0 && strcmp(expected.data, printed.data) == 0;
    if (!ok) print_error("%s: expected\n%s---- but got\n%s", name, expected.data, printed.data);
    if (accepted) spec_free(&spec);
    diag_free(&diag);
    buf_free(&path);
    buf_free(&text);
    buf_free(&sink);
    buf_free(&expected);
    buf_free(&printed);
    return ok;
}

static int is_yaml(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".yaml") == 0;
}

static void test_each_file(void **state) {
    (void)state;
    struct dirent **entries;
    int count = scandir(BAD_SPECS, &entries, is_yaml, alphasort), failed = 0;
    assert_true(count > 40);
    for (int i = 0; i < count; i++) {
        failed += !check_file(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(failed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
