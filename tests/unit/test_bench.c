// bench: problem files, records, tables with ratios, SVG plots. SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "bench_plot.h"
#include "bench_problem.h"
#include "bench_record.h"
#include "bench_table.h"
#include "svg_plot.h"
#include <math.h>

static struct buf messages;

static void assert_holds(const struct buf *text, const char *part) {
    if (!text->data || !strstr(text->data, part))
        print_message("no '%s' in:\n%s\n", part, text->data ? text->data : "");
    assert_true(text->data && strstr(text->data, part));
}

/* -- Problems ---- */

static bool parse_problems(const char *text, struct bench_problems *out) {
    struct diag d = {.sink = &messages};
    buf_clear(&messages);
    buf_puts(&messages, "");
    const bool ok = bench_problems_parse(out, "p.txt", text, &d);
    diag_free(&d);
    return ok;
}

static void test_problems_are_read(void **state) {
    (void)state;
    struct bench_problems list = {0};
    assert_true(parse_problems("# Format: ...\n\n 128 4096\t4 32 full # a comment\n64 512 1 8 causal", &list));
    assert_int_equal(list.count, 2);
    const struct bench_problem first = {128, 4096, 4, 32, false}, second = {64, 512, 1, 8, true};
    assert_true(bench_problem_equal(&list.item[0], &first));
    assert_true(bench_problem_equal(&list.item[1], &second));
    assert_true(bench_problem_work(&first) == 4.0 * 4 * 32 * 4096 * 4096 * 128);
    assert_true(bench_problem_work(&second) == 2.0 * 8 * 512 * 512 * 64);
    bench_problems_free(&list);
}

static void test_bad_problems_are_told_with_their_place(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", "p.txt: error: holds no problem"},
        {"# only\n", "holds no problem"},
        {"128 4096 4 32\n", "p.txt:1:1: error: a problem has 5 words"},
        {"128 4096 4 32 full more\n", "p.txt:1:1: error: a problem has 5 words"},
        {"128 4096 4 32 full\n60 1 1 1 full\n", "p.txt:2:1: error: d must be a multiple of 8"},
        {"128 0 4 32 full", "p.txt:1:5: error: n must be a whole number of 1...16777216"},
        {"128 99999999999 4 32 full", "p.txt:1:5: error: n must be a whole number"},
        {"128 4k 4 32 full", "p.txt:1:5: error: n must be a whole number"},
        {"128 1 4 -1 full", "p.txt:1:9: error: heads must be a whole number"},
        {"128 4096 4 32 maybe", "p.txt:1:15: error: the mask must be full or causal, not 'maybe'"},
        {"64 1 1 1 full\n64 1 1 1 full\n", "p.txt:2:1: error: this problem stands twice"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench_problems list = {0};
        assert_false(parse_problems(rows[i][0], &list));
        assert_holds(&messages, rows[i][1]);
        bench_problems_free(&list);
    }
}

static void test_shipped_problems_are_good(void **state) {
    (void)state;
    static const char *const names[] = {"bench", "quick"};
    for (size_t i = 0; i < 2; i++) {
        struct bench_problems list = {0};
        const struct embedded_file *file = bench_problems_shipped(names[i]);
        assert_non_null(file);
        assert_non_null(strstr(file->data, "# Format: "));
        assert_true(parse_problems(file->data, &list));
        assert_true(list.count > 15);
        bench_problems_free(&list);
    }
    assert_null(bench_problems_shipped("benc"));
    assert_null(bench_problems_shipped("bench.txt"));
}

/* -- Records ---- */

#define MACHINE                                                                                                        \
    "\"gpu\": \"G\", \"driver\": \"1.2\", \"nvrtc\": \"13.0\", \"commit\": \"abc\", \"date\": \"2026-01-02\""
#define ROW(kernel, contender, mode, n, causal, ms, tops)                                                              \
    "{\"kernel\": \"" kernel "\", \"contender\": \"" contender "\", \"mode\": \"" mode "\", \"d\": 128, \"n\": " #n    \
    ", \"batch\": 4, \"heads\": 32, \"causal\": " #causal ", \"ms\": " #ms ", \"tops\": " #tops ", " MACHINE "}"

static bool parse_records(const char *text, struct bench_records *out) {
    struct diag d = {.sink = &messages};
    buf_clear(&messages);
    buf_puts(&messages, "");
    const bool ok = bench_records_parse(out, "r.json", text, &d);
    diag_free(&d);
    return ok;
}

static const char small[] = "[" ROW("attention_forward", "cudnn_bf16", "kernel", 1024, false, 1.5, 400) "," ROW(
    "attention_forward", "cudnn_bf16", "end_to_end", 1024, false, 1.5,
    400) "," ROW("attention_forward", "cudnn_bf16", "kernel", 4096, false, 2.5,
                 600) "," ROW("attention_forward", "fa3_fp8", "kernel", 4096, false, 2.5,
                              800) "," ROW("int8_fp8_d128", "sagegen", "kernel", 1024, false, 1.5,
                                           500) "," ROW("int8_fp8_d128", "sagegen", "kernel", 4096, false, 1.5,
                                                        900) "," ROW("int8_fp8_d128", "sagegen", "end_to_end", 4096,
                                                                     false, 1.5, 300) "]";

static void test_records_survive_writing_and_reading(void **state) {
    (void)state;
    struct bench_records records = {0}, again = {0};
    struct buf first = {0}, second = {0};
    assert_true(parse_records(small, &records));
    assert_int_equal(records.count, 7);
    struct bench_record failed = {.kernel = xstrdup("attention_forward"),
                                  .gpu = xstrdup("G"),
                                  .reason = xstrdup("a \"reason\"\n\xc3\xa9"),
                                  .contender = BENCH_FA2_BF16,
                                  .problem = {256, 131072, 1, 16, true}};
    bench_records_put(&records, &failed);
    bench_records_sort(&records);
    bench_records_print(&records, &first);
    json_t *root = json_loads(first.data, 0, NULL);
    assert_true(json_is_array(root));
    assert_int_equal(json_array_size(root), 8);
    assert_true(json_is_null(json_object_get(json_array_get(root, 7), "ms")));
    assert_string_equal(json_string_value(json_object_get(json_array_get(root, 7), "driver")), "");
    json_decref(root);
    assert_true(parse_records(first.data, &again));
    bench_records_print(&again, &second);
    assert_string_equal(first.data, second.data);
    assert_string_equal(again.item[7].reason, "a \"reason\"\n\xc3\xa9");
    bench_records_free(&records);
    bench_records_free(&again);
    buf_free(&first);
    buf_free(&second);
}

static void test_the_same_measurement_is_replaced(void **state) {
    (void)state;
    struct bench_records records = {0}, newer = {0};
    assert_true(parse_records(small, &records));
    assert_true(parse_records("[" ROW("int8_fp8_d128", "sagegen", "kernel", 4096, false, 1.0,
                                      1000) "," ROW("int8_fp8_d128", "sagegen", "kernel", 4096, true, 1.0, 700) "]",
                              &newer));
    bench_records_merge(&records, &newer);
    assert_int_equal(records.count, 8);
    const struct bench_record *found = bench_records_find(&records, &newer.item[0], false);
    assert_true(found->tops == 1000);
    free(newer.item[0].gpu);
    newer.item[0].gpu = xstrdup("other"); // another GPU's is no older self
    bench_records_merge(&records, &newer);
    assert_int_equal(records.count, 9);
    assert_non_null(bench_records_find(&records, &newer.item[0], true));
    bench_records_free(&records);
    bench_records_free(&newer);
}

static void test_bad_records_are_refused_whole(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", "r.json:1:1: error: is no JSON"},
        {"[\n{\"kernel\": }]", "r.json:2:"},
        {"{\"gpu\": \"old form\", \"cases\": []}", "r.json: error: is no record: a JSON array is expected"},
        {"[1]", "record 1 is no object"},
        {"[" ROW("k", "cudnn", "kernel", 1, false, 1, 1) "]", "record 1: 'contender' is not a known one"},
        {"[" ROW("k", "sagegen", "kern", 1, false, 1, 1) "]", "record 1: 'mode' is not a known one"},
        {"[" ROW("k", "sagegen", "kernel", 1.5, false, 1, 1) "]", "'n' must be a whole number above 0"},
        {"[" ROW("k", "sagegen", "kernel", 1, 0, 1, 1) "]", "'causal' must be true or false"},
        {"[" ROW("k", "sagegen", "kernel", 1, false, "1", 1) "]", "'ms' must be a number above 0, or null"},
        {"[" ROW("k", "sagegen", "kernel", 1, false, -1, 1) "]", "'ms' must be a number above 0, or null"},
        {"[" ROW("k", "sagegen", "kernel", 1, false, 1, null) "]", "'tops' must be null where 'ms' is"},
        {"[" ROW("k", "sagegen", "kernel", 1, false, null, null) "]", "'reason' is missing"},
        {"[" ROW("k", "sagegen", "kernel", 1, false, 1, 1) ", {}]", "record 2: 'kernel' is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench_records list = {0};
        assert_false(parse_records(rows[i][0], &list));
        assert_holds(&messages, rows[i][1]);
        assert_int_equal(list.count, 0);
    }
}

static void test_files_are_written_whole_or_not_at_all(void **state) {
    (void)state;
    char dir[64], path[96];
    struct diag d = {.sink = &messages};
    struct buf text = {0};
    struct bench_records records = {0};
    fixture_directory(dir);
    snprintf(path, sizeof path, "%s/r.json", dir);
    assert_false(bench_records_read(&records, path, &d));
    assert_holds(&messages, "r.json: error: cannot be opened");
    buf_puts(&text, small);
    assert_true(bench_file_write(path, &text, &d));
    assert_true(bench_records_read(&records, path, &d));
    assert_int_equal(records.count, 7);
    snprintf(path, sizeof path, "%s/none/r.json", dir);
    assert_false(bench_file_write(path, &text, &d));
    assert_holds(&messages, "none/r.json: error: cannot be written");
    bench_records_free(&records);
    buf_free(&text);
    diag_free(&d);
    fixture_remove_tree(dir);
}

/* -- Table ---- */

static void test_table_has_ratios_to_the_best(void **state) {
    (void)state;
    struct bench_records records = {0};
    struct buf out = {0};
    assert_true(parse_records(small, &records));
    bench_table_print(&records, &(struct bench_table_options){.markdown = false}, &out);
    assert_holds(&out, "G, driver 1.2, NVRTC 13.0, commit abc, 2026-01-02\n\nd = 128, not causal:\n");
    assert_holds(&out, "TOPS                                    1024  4096\n");
    assert_holds(&out, "cudnn_bf16                               400   600\n");
    assert_holds(&out, "fa3_fp8 kernel                             -   800\n");
    assert_holds(&out, "int8_fp8_d128 kernel                     500   900\n");
    assert_holds(&out, "int8_fp8_d128 kernel / best bf16        1.25  1.50\n");
    assert_holds(&out, "int8_fp8_d128 end to end / best bf16       -  0.50\n");
    assert_holds(&out, "int8_fp8_d128 kernel / best 8-bit peer     -  1.12\n");
    assert_null(strstr(out.data, "end to end / best 8-bit")); // no peer was measured in that mode
    buf_clear(&out);
    bench_table_print(&records, &(struct bench_table_options){.markdown = true}, &out);
    assert_holds(&out, "| TOPS | 1024 | 4096 |\n|---|---:|---:|\n| cudnn_bf16 | 400 | 600 |\n");
    assert_holds(&out, "| *int8_fp8_d128 kernel / best bf16* | 1.25 | 1.50 |\n");
    buf_clear(&out);
    bench_records_keep_d(&records, 128);
    assert_int_equal(records.count, 7);
    bench_records_keep_mask(&records, true);
    assert_int_equal(records.count, 0);
    bench_table_print(&records, &(struct bench_table_options){.markdown = true}, &out);
    assert_int_equal(out.len, 0);
    bench_records_free(&records);
    buf_free(&out);
}

static void test_table_tells_reasons_and_changes(void **state) {
    (void)state;
    struct bench_records records = {0}, old = {0};
    struct buf out = {0};
    assert_true(parse_records(small, &records));
    assert_true(parse_records("[" ROW("int8_fp8_d128", "sagegen", "kernel", 4096, false, 2.0, 800) "]", &old));
    struct bench_record failed = {.kernel = xstrdup("attention_forward"),
                                  .gpu = xstrdup("G"),
                                  .reason = xstrdup("out of GPU memory"),
                                  .contender = BENCH_FA2_BF16,
                                  .problem = {128, 4096, 4, 32, false}};
    bench_records_put(&records, &failed);
    bench_table_print(&records, &(struct bench_table_options){.old = &old}, &out);
    assert_holds(&out, "900 +12.5%\n");
    assert_holds(&out, "\n\n- fa2_bf16, N = 4096: out of GPU memory\n");
    bench_records_free(&records);
    bench_records_free(&old);
    buf_free(&out);
}

static void test_small_grids_are_apart(void **state) {
    (void)state;
    struct bench_records records = {0};
    struct buf out = {0};
    assert_true(parse_records(small, &records));
    struct bench_record one = {.kernel = xstrdup("int8_fp8_d128"),
                               .gpu = xstrdup("G"),
                               .contender = BENCH_SAGEGEN,
                               .problem = {128, 4096, 1, 8, false},
                               .ms = 1,
                               .tops = 77};
    bench_records_put(&records, &one);
    bench_table_print(&records, &(struct bench_table_options){.markdown = false}, &out);
    assert_holds(&out, "d = 128, not causal, small grids (batch x heads x N):\n\nTOPS                  1x8x4096\n");
    assert_holds(&out, "int8_fp8_d128 kernel        77\n");
    bench_records_free(&records);
    buf_free(&out);
}

/* -- Plot ---- */

static const struct svg_point points[] = {{512, 100}, {1024, 0}, {NAN, 5}, {4096, 350}};
static const struct svg_series series[] = {{"a <b> & \"c\"", 0, false, points, 4}, {"dashed", 9, true, points, 2}};
static const struct svg_panel panels[] = {{"first", series, 2}, {"second", series, 1}};
static const struct svg_plot plot = {"Title", "caption", "N", "TOPS", panels, 2, 2};

static void test_plot_maps_values_to_places(void **state) {
    (void)state;
    struct svg_frame f, second;
    svg_plot_frame(&plot, 0, &f);
    svg_plot_frame(&plot, 1, &second);
    assert_true(f.x_first == 512 && f.x_last == 4096 && f.y_last == 400);
    assert_true(svg_frame_x(&f, 512) == f.left && svg_frame_x(&f, 4096) == f.left + f.width);
    assert_true(fabs(svg_frame_x(&f, 1024) - (f.left + f.width / 3)) < 1e-9); // log2: an octave of three
    assert_true(svg_frame_y(&f, 0) == f.top + f.height && svg_frame_y(&f, 400) == f.top);
    assert_true(second.left > f.left + f.width && second.top == f.top);
    struct buf out = {0}, expected = {0};
    svg_plot_print(&plot, &out);
    buf_printf(&expected, "<polyline class=\"line c0\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"/>", f.left,
               svg_frame_y(&f, 100), svg_frame_x(&f, 1024), f.top + f.height, f.left + f.width, svg_frame_y(&f, 350));
    assert_holds(&out, expected.data); // the point that is no number is left out
    assert_null(strstr(out.data, "nan"));
    assert_holds(&out, "class=\"line c9 dashed\"");
    assert_holds(&out, "a &lt;b&gt; &amp; &quot;c&quot;");
    assert_holds(&out, ">4K</text>");
    buf_free(&out);
    buf_free(&expected);
}

// Tags that are opened are closed, in their order, and every < and " has its other half.
static void assert_well_formed(const char *text) {
    char open[16][16];
    int depth = 0;
    for (const char *p = strchr(text, '<'); p; p = strchr(p, '<')) {
        const char *end = strchr(p, '>');
        assert_non_null(end);
        int quotes = 0;
        for (const char *q = p; q < end; q++) quotes += *q == '"';
        assert_int_equal(quotes % 2, 0);
        if (p[1] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_true(strncmp(p + 2, open[depth], strlen(open[depth])) == 0 && p[2 + strlen(open[depth])] == '>');
        } else if (end[-1] != '/') {
            assert_true(depth < 16);
            snprintf(open[depth++], 16, "%.*s", (int)strcspn(p + 1, " >"), p + 1);
        }
        p = end;
    }
    assert_int_equal(depth, 0);
}

static void test_plots_are_well_formed(void **state) {
    (void)state;
    static const struct svg_plot empty = {"none", NULL, "x", "y", panels, 0, 1};
    struct bench_records records = {0};
    struct buf out = {0};
    svg_plot_print(&plot, &out);
    assert_well_formed(out.data);
    buf_clear(&out);
    svg_plot_print(&empty, &out);
    assert_well_formed(out.data);
    buf_clear(&out);
    assert_false(bench_plot_print(&records, &out));
    assert_true(parse_records(small, &records));
    assert_true(bench_plot_print(&records, &out));
    assert_well_formed(out.data);
    assert_holds(&out, ">int8_fp8 end to end</text>"); // one name for all head dims
    assert_holds(&out, ">d = 128, not causal</text>");
    assert_holds(&out, "int8_fp8 kernel, 4096: 900</title>");
    bench_records_free(&records);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems_are_read),
        cmocka_unit_test(test_bad_problems_are_told_with_their_place),
        cmocka_unit_test(test_shipped_problems_are_good),
        cmocka_unit_test(test_records_survive_writing_and_reading),
        cmocka_unit_test(test_the_same_measurement_is_replaced),
        cmocka_unit_test(test_bad_records_are_refused_whole),
        cmocka_unit_test(test_files_are_written_whole_or_not_at_all),
        cmocka_unit_test(test_table_has_ratios_to_the_best),
        cmocka_unit_test(test_table_tells_reasons_and_changes),
        cmocka_unit_test(test_small_grids_are_apart),
        cmocka_unit_test(test_plot_maps_values_to_places),
        cmocka_unit_test(test_plots_are_well_formed),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_free(&messages);
    return failed;
}
