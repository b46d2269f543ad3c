// Valid specs: values, defaults, positions, the canonical text and its hash, the printed schema, the shipped specs; and
// files refused unread. Invalid texts are in tests/bad_specs (test_bad_specs.c). SPDX-License-Identifier: Apache-2.0
#include "spec.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static const char small[] = "kernel: attention_forward\n"
                            "name: small\n"
                            "head_dim: 72\n"
                            "qk: {format: int8}\n"
                            "pv: {p: fp16, v: fp16}\n"
                            "targets: [sm_80, sm_90a]\n";

static const char full[] = "kernel: attention_forward\n"
                           "name: \"full_1\"\n"
                           "head_dim: {qk: 192, v: 128}\n"
                           "io:\n"
                           "  - fp16\n"
                           "qk:\n"
                           "  format: mxfp4\n"
                           "pv: {p: nvfp4, v: nvfp4, p_scaling: one_level, accumulate: {in: fp32}}\n"
                           "smooth: {k: none, q: {group: 32}, v: mean}\n"
                           "rotate: {qk: hadamard}\n"
                           "scale_search: [6, 5.5, 4.0, 3.125]\n"
                           "softmax: {exp: exp2, row_sum: quantised, lazy_rescale_log2: 8}\n"
                           "mask: [causal]\n"
                           "targets: [sm_121a, sm_120f]\n"
                           "tune: {tile_q: [64, 128], tile_k: [32], stages: [3], warps: [4, 8, 16]}\n";

static bool parse(struct spec *spec, const char *text, struct buf *messages) {
    struct diag d = {.sink = messages};
    bool ok = spec_parse(spec, "f.yaml", text, strlen(text), &d);
    assert_int_equal(ok, d.errors == 0);
    diag_free(&d);
    return ok;
}

static struct spec parse_valid(const char *text) {
    struct buf messages = {0};
    struct spec spec;
    if (!parse(&spec, text, &messages)) fail_msg("%s", messages.data);
    buf_free(&messages);
    return spec;
}

/* -- Values ------------------------------------------------------------ */

static void test_defaults(void **state) {
    (void)state;
    struct spec s = parse_valid(small);
    assert_string_equal(s.name, "small");
    assert_int_equal(s.head_dim_qk, 72);
    assert_int_equal(s.head_dim_v, 72);
    assert_int_equal(s.io.count, 2);
    assert_int_equal(s.io.item[1], SPEC_IO_FP16);
    assert_int_equal(s.qk_format, SPEC_FORMAT_INT8);
    assert_int_equal(s.qk_granularity, SPEC_GRANULARITY_PER_THREAD);
    assert_int_equal(s.qk_block, 0);
    assert_int_equal(s.pv_block, 0);
    assert_int_equal(s.accumulate_in, SPEC_ACCUMULATOR_FP32);
    assert_int_equal(s.flush_tiles, 1);
    assert_int_equal(s.smooth_k, SPEC_SMOOTH_MEAN);
    assert_int_equal(s.smooth_q_group, 0);
    assert_int_equal(s.scale_search.count, 1);
    assert_true(s.scale_search.item[0] == 6.0f);
    assert_int_equal(s.row_sum, SPEC_ROW_SUM_EXACT);
    assert_int_equal(s.lazy_rescale_log2, 0);
    assert_int_equal(s.mask.count, 2);
    assert_false(s.safe);
    assert_int_equal(s.targets.item[1], SPEC_TARGET_SM_90A);
    assert_int_equal(s.tile_q.item[0], 128);
    assert_int_equal(s.warps.item[0], 8);
    spec_free(&s);
    assert_null(s.where);
}

static void test_full(void **state) {
    (void)state;
    struct spec s = parse_valid(full);
    assert_string_equal(s.name, "full_1");
    assert_int_equal(s.head_dim_qk, 192);
    assert_int_equal(s.head_dim_v, 128);
    assert_int_equal(s.qk_block, 32);
    assert_int_equal(s.pv_block, 16);
    assert_int_equal(s.p_scaling, SPEC_P_SCALING_ONE_LEVEL);
    assert_int_equal(s.smooth_q_group, 32);
    assert_int_equal(s.smooth_v, SPEC_SMOOTH_MEAN);
    assert_int_equal(s.rotate_qk, SPEC_ROTATE_HADAMARD);
    assert_true(s.scale_search.item[3] == 3.125f);
    assert_int_equal(s.lazy_rescale_log2, 8);
    assert_int_equal(s.warps.count, 3);
    assert_int_equal(s.warps.item[2], 16);
    spec_free(&s);
}

static void test_texts(void **state) {
    (void)state;
    assert_string_equal(spec_format_text(SPEC_FORMAT_FP8_E4M3), "fp8_e4m3");
    assert_string_equal(spec_target_text(SPEC_TARGET_SM_120F), "sm_120f");
    assert_string_equal(spec_mask_text(SPEC_MASK_CAUSAL), "causal");
    assert_string_equal(spec_target_text(SPEC_TARGET_COUNT), "?");
}

/* -- Positions --------------------------------------------------------- */

static void expect_where(const struct spec *s, const char *path, int line, int column) {
    struct diag_loc loc = spec_where(s, path);
    assert_string_equal(loc.file, "f.yaml");
    if (loc.line != line || loc.column != column) fail_msg("%s is at %d:%d", path, loc.line, loc.column);
}

static void test_where(void **state) {
    (void)state;
    struct spec s = parse_valid(full);
    expect_where(&s, "head_dim", 3, 1);
    expect_where(&s, "head_dim.v", 3, 24);
    expect_where(&s, "io", 5, 3);
    expect_where(&s, "io[0]", 5, 5);
    expect_where(&s, "qk", 6, 1);
    expect_where(&s, "qk.format", 7, 11);
    expect_where(&s, "qk.block", 6, 1);
    expect_where(&s, "pv.accumulate.flush_tiles", 8, 48);
    expect_where(&s, "smooth.q.group", 9, 30);
    expect_where(&s, "targets[1]", 14, 20);
    expect_where(&s, "safe", 1, 1);
    expect_where(&s, "no.such.field", 1, 1);
    spec_free(&s);
}

/* -- Canonical text ---------------------------------------------------- */

static void test_canonical(void **state) {
    (void)state;
    struct spec s = parse_valid(full);
    struct buf text = {0};
    spec_canonical(&s, &text);
    assert_string_equal(text.data, "head_dim: {qk: 192, v: 128}\n"
                                   "io: [fp16]\n"
                                   "kernel: attention_forward\n"
                                   "mask: [causal]\n"
                                   "name: full_1\n"
                                   "pv.accumulate.flush_tiles: 1\n"
                                   "pv.accumulate.in: fp32\n"
                                   "pv.block: 16\n"
                                   "pv.p: nvfp4\n"
                                   "pv.p_block_scale: nearest\n"
                                   "pv.p_scaling: one_level\n"
                                   "pv.v: nvfp4\n"
                                   "pv.v_rounding: nearest\n"
                                   "qk.block: 32\n"
                                   "qk.format: mxfp4\n"
                                   "qk.granularity: per_thread\n"
                                   "rotate.qk: hadamard\n"
                                   "safe: false\n"
                                   "scale_search: [6, 5.5, 4, 3.125]\n"
                                   "schedule.blocks: one_tile\n"
                                   "schedule.max: each_tile\n"
                                   "schedule.overlap: none\n"
                                   "smooth.k: none\n"
                                   "smooth.q: {group: 32}\n"
                                   "smooth.v: mean\n"
                                   "softmax.exp: exp2\n"
                                   "softmax.exp2_poly: 0\n"
                                   "softmax.lazy_rescale_log2: 8\n"
                                   "softmax.row_sum: quantised\n"
                                   "targets: [sm_121a, sm_120f]\n"
                                   "tune.in_place: [1]\n"
                                   "tune.overlap: [none]\n"
                                   "tune.stages: [3]\n"
                                   "tune.tile_k: [32]\n"
                                   "tune.tile_q: [64, 128]\n"
                                   "tune.warps: [4, 8, 16]\n");
    buf_free(&text);
    spec_free(&s);
}

static uint64_t hash_of(const char *text) {
    struct spec s = parse_valid(text);
    uint64_t hash = s.hash;
    spec_free(&s);
    return hash;
}

static void test_hash(void **state) {
    (void)state;
    struct buf other = {0};
    buf_puts(&other, "# the same, said in another way\n"
                     "targets:\n- sm_80\n- 'sm_90a'\n"
                     "pv:\n    v: \"fp16\"\n    p: fp16\n    accumulate: {}\n"
                     "qk: {granularity: per_thread, format: int8}\n"
                     "head_dim: {v: 72, qk: 72}\r\n"
                     "safe: false\n"
                     "smooth: {q: none}\n"
                     "name: small\nkernel: attention_forward\n...\n");
    assert_true(hash_of(small) == hash_of(other.data));
    buf_clear(&other);
    buf_printf(&other, "%ssafe: true\n", small);
    assert_true(hash_of(small) != hash_of(other.data));
    buf_free(&other);
}

/* -- Schema and shipped specs ------------------------------------------ */

static void test_fields(void **state) {
    (void)state;
    struct buf out = {0};
    spec_print_fields(&out, false);
    assert_memory_equal(out.data, "path ", 5);
    assert_non_null(strstr(out.data, "\nqk.format "));
    assert_non_null(strstr(out.data, " int8|nvfp4|mxfp4|fp8_e4m3 "));
    buf_clear(&out);
    spec_print_fields(&out, true);
    json_t *fields = json_loads(out.data, 0, NULL);
    assert_true(json_is_array(fields));
    size_t lines = 0;
    json_t *field;
    json_array_foreach(fields, lines, field) {
        assert_true(strlen(json_string_value(json_object_get(field, "path"))) > 0);
        assert_true(strlen(json_string_value(json_object_get(field, "help"))) > 0);
    }
    assert_int_equal(json_array_size(fields), 36);
    assert_string_equal(json_string_value(json_object_get(json_array_get(fields, 3), "allowed")), "bf16|fp16");
    json_decref(fields);
    buf_free(&out);
}

static int is_yaml(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".yaml") == 0;
}

static void check_shipped(const char *file_name) {
    struct buf path = {0}, messages = {0}, expected = {0};
    buf_printf(&path, "%s/specs/%s", SOURCE_DIR, file_name);
    struct diag d = {.sink = &messages};
    struct spec s;
    char *text;
    if (!spec_load(&s, path.data, &text, &d)) fail_msg("%s", messages.data);
    buf_printf(&expected, "%s.yaml", s.name);
    assert_string_equal(expected.data, file_name);
    spec_free(&s);
    free(text);
    diag_free(&d);
    buf_free(&path);
    buf_free(&messages);
    buf_free(&expected);
}

static void test_shipped_specs(void **state) {
    (void)state;
    struct dirent **entries;
    int count = scandir(SOURCE_DIR "/specs", &entries, is_yaml, alphasort);
    assert_true(count >= 15);
    for (int i = 0; i < count; i++) {
        check_shipped(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

/* -- Files and texts refused unread ------------------------------------ */

static void expect_load_error(const char *file, const char *expected) {
    struct buf messages = {0};
    struct diag d = {.sink = &messages};
    struct spec s;
    char *text;
    assert_false(spec_load(&s, file, &text, &d));
    assert_int_equal(d.errors, 1);
    if (!strstr(messages.data, expected)) fail_msg("got: %s", messages.data);
    assert_memory_equal(messages.data, file, strlen(file));
    assert_null(s.where);
    free(text);
    diag_free(&d);
    buf_free(&messages);
}

static void write_file(const char *file, const char *text, off_t bytes) {
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(ftruncate(fd, bytes), 0);
    close(fd);
}

static void test_files(void **state) {
    (void)state;
    char dir[] = "/tmp/test_spec_XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct buf file = {0};
    expect_load_error(dir, ": error: is a directory, not a spec");
    buf_printf(&file, "%s/spec.yaml", dir);
    expect_load_error(file.data, ": error: cannot be opened: No such file or directory");
    write_file(file.data, "", 0);
    expect_load_error(file.data, ": error: the file is empty");
    write_file(file.data, small, 100 * 1000 * 1000); // sparse
    expect_load_error(file.data, ": error: has 100000000 bytes; a spec has at most 1048576");
    write_file(file.data, small, 1024 * 1024);
    expect_load_error(file.data, ":7:1: error: NUL byte");
    unlink(file.data);
    assert_int_equal(mkfifo(file.data, 0600), 0);
    expect_load_error(file.data, ": error: is not a regular file");
    unlink(file.data);
    rmdir(dir);
    buf_free(&file);
}

static void expect_text_error(const struct buf *text, const char *expected) {
    struct buf messages = {0};
    struct spec s;
    assert_false(parse(&s, text->data, &messages));
    if (!strstr(messages.data, expected)) fail_msg("got: %.500s", messages.data);
    buf_free(&messages);
}

static void test_heavy_texts(void **state) {
    (void)state;
    struct buf text = {0};
    for (int i = 0; i < 500000; i++) buf_puts(&text, "[");
    expect_text_error(&text, "nested more than 16 deep");
    buf_clear(&text);
    for (int i = 0; i < 100000; i++) buf_printf(&text, "k%d: 1\n", i);
    expect_text_error(&text, "more than 4096 values");
    buf_clear(&text);
    buf_puts(&text, "mask: [");
    for (int i = 0; i < 400000; i++) buf_puts(&text, "a,");
    expect_text_error(&text, "more than 4096 values");
    buf_clear(&text);
    buf_puts(&text, "? ");
    for (int i = 0; i < 900000; i++) buf_puts(&text, "k");
    buf_puts(&text, "\n: {");
    for (int i = 0; i < 2000; i++) buf_printf(&text, "k%d: 1, ", i);
    buf_puts(&text, "}\n");
    expect_text_error(&text, "unknown key 'kkk");
    buf_clear(&text);
    for (int i = 0; i < 1100; i++) buf_printf(&text, "%1000s", "\n");
    expect_text_error(&text, "the file has more than 1048576 bytes");
    buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_full),          cmocka_unit_test(test_texts),
        cmocka_unit_test(test_where),       cmocka_unit_test(test_canonical),     cmocka_unit_test(test_hash),
        cmocka_unit_test(test_fields),      cmocka_unit_test(test_shipped_specs), cmocka_unit_test(test_files),
        cmocka_unit_test(test_heavy_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
