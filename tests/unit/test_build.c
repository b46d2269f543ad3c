// Tests of build and build_messages: errors that point at template lines, what the cache spares, and what invalidates
// it. The parts that compile skip themselves where there is no NVRTC. SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "build.h"
#include "build_messages.h"
#include "kernel_meta.h"
#include "ptx_image.h"
#include "shipped.h"
#include <inttypes.h>

/* -- Fixture -------------------------------------------------------------- */

struct kernels {
    char dir[64];
    sage_context *context;
    struct spec spec;
    struct build_setup setup;
};

static void open_spec(struct kernels *k, const char *name) {
    const struct embedded_file *file = shipped_find(name);
    struct diag d = {0};
    assert_non_null(file);
    assert_true(spec_parse(&k->spec, file->name, file->data, file->size, &d));
    diag_free(&d);
}

// Skips the test where there is no NVRTC.
static void open_kernels(struct kernels *k, const char *name) {
    *k = (struct kernels){.context = NULL};
    fixture_directory(k->dir);
    k->context = fixture_context(k->dir, NULL);
    if (build_open(&k->setup, k->context, NULL, BUILD_CUBIN) != SAGE_OK) {
        print_message("skipped: %s\n", sage_last_error(k->context));
        sage_context_destroy(k->context);
        fixture_remove_tree(k->dir);
        skip();
    }
    open_spec(k, name);
}

static void close_kernels(struct kernels *k) {
    spec_free(&k->spec);
    sage_context_destroy(k->context);
    fixture_remove_tree(k->dir);
}

// The cheapest kernel of a spec.
static struct build_job quantise_job(const struct kernels *k) {
    struct build_job job = {.request = {.spec = &k->spec, .io = SPEC_IO_BF16, .role = SAGE_ROLE_QUANTISE_Q}};
    char why[256];
    job.request.target = (enum spec_target)k->spec.targets.item[0];
    assert_true(plan_default_variant(&k->spec, job.request.target, &job.request.variant, why, sizeof why));
    return job;
}

/* -- Metadata --------------------------------------------------------------- */

static void test_family_is_the_name_up_to_the_head_dim(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"int8_fp8_d128", "int8_fp8"},
                                          {"int8_fp8_d128_mine", "int8_fp8"},
                                          {"int8_fp8_d192x128", "int8_fp8"},
                                          {"mine", "mine"},
                                          {"my_dense_d64", "my_dense"},
                                          {"a_d", "a_d"},
                                          {"a_d8_d64", "a_d8"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char family[SPEC_NAME_MAX + 1];
        kernel_meta_family(rows[i][0], family);
        assert_string_equal(family, rows[i][1]);
    }
}

static void test_metadata_of_another_plan_do_not_match(void **state) {
    (void)state;
    struct kernels k = {.context = NULL};
    open_spec(&k, "int8_fp16_d64");
    struct build_job job = quantise_job(&k);
    struct plan plan, other;
    struct meta meta;
    const struct compile_result result = {.cubin = NULL};
    plan_make(&plan, &job.request);
    kernel_meta_fill(&meta, &plan, "", 0, &result);
    assert_true(kernel_meta_matches(&meta, &plan));
    job.request.io = SPEC_IO_FP16;
    plan_make(&other, &job.request);
    assert_false(kernel_meta_matches(&meta, &other));
    job.request.io = SPEC_IO_BF16;
    plan_make(&other, &job.request);
    assert_true(kernel_meta_matches(&meta, &other));
    spec_derive(&k.spec, k.spec.name, 64, 64, true);
    plan_make(&other, &job.request);
    assert_false(kernel_meta_matches(&meta, &other));
    strcpy(meta.entry, other.entry);
    snprintf(meta.spec_hash, sizeof meta.spec_hash, "%016" PRIx64, k.spec.hash);
    assert_false(kernel_meta_matches(&meta, &other)); // safe is looked at itself
    spec_derive(&k.spec, "int8_fp16_d56", 56, 56, false);
    plan_make(&other, &job.request);
    assert_false(kernel_meta_matches(&meta, &other));
    spec_free(&k.spec);
}

/* -- Derived specs ---------------------------------------------------------- */

static void test_derived_spec_has_its_own_hash_and_no_contradictions(void **state) {
    (void)state;
    struct kernels k = {.context = NULL};
    open_spec(&k, "int8_fp8acc16_d128");
    const uint64_t hash = k.spec.hash;
    spec_derive(&k.spec, k.spec.name, 128, 128, false);
    assert_true(k.spec.hash == hash); // nothing changed
    spec_derive(&k.spec, k.spec.name, 128, 128, true);
    assert_true(k.spec.hash != hash && k.spec.safe);
    assert_int_equal(k.spec.accumulate_in, SPEC_ACCUMULATOR_FP32);
    assert_int_equal(k.spec.row_sum, SPEC_ROW_SUM_QUANTISED); // the sum that errors of P cancel in is the safer one
    assert_int_equal(k.spec.lazy_rescale_log2, 0);
    assert_int_equal(k.spec.flush_tiles, 1);
    spec_free(&k.spec);
}

/* -- Which points can run ---------------------------------------------------- */

// Sums of 13 bits lose up to 2 % of what V has in common over 1024 keys.
static void test_long_sums_need_v_without_its_mean(void **state) {
    (void)state;
    struct kernels k = {.context = NULL};
    open_spec(&k, "int8_fp8_d64");
    const struct variant short_tiles = {128, 64, 2, 8, 0, SPEC_OVERLAP_NONE},
                         long_tiles = {128, 128, 2, 8, 0, SPEC_OVERLAP_NONE};
    char why[160];
    k.spec.flush_tiles = 2;
    assert_null(plan_applicable(&k.spec, SPEC_TARGET_SM_90A, short_tiles, why, sizeof why));
    assert_non_null(plan_applicable(&k.spec, SPEC_TARGET_SM_90A, long_tiles, why, sizeof why));
    assert_non_null(strstr(why, "256 keys in 13 bits: more than 128 need smooth.v: mean"));
    k.spec.smooth_v = SPEC_SMOOTH_MEAN;
    assert_null(plan_applicable(&k.spec, SPEC_TARGET_SM_90A, long_tiles, why, sizeof why));
    spec_free(&k.spec);
}

// A point that sums in place brings what such sums need, and is no point of other targets or of the safe form.
static void test_point_that_sums_in_place(void **state) {
    (void)state;
    struct kernels k = {.context = NULL};
    static const char text[] =
        "kernel: attention_forward\nname: points\nhead_dim: 64\nqk: {format: int8}\n"
        "pv: {p: fp8_e4m3, v: fp8_e4m3}\nsmooth: {k: mean}\nsoftmax: {row_sum: quantised}\ntargets: [sm_89, sm_90a]\n"
        "tune: {tile_q: [128, 192], tile_k: [128, 64], stages: [2, 3], warps: [8, 12], in_place: [1, 8]}\n";
    struct diag d = {0};
    assert_true(spec_parse(&k.spec, "points.yaml", text, strlen(text), &d));
    diag_free(&d);
    struct plan_request r = {.spec = &k.spec, .target = SPEC_TARGET_SM_90A, .role = SAGE_ROLE_ATTN_FWD, .io = SPEC_IO_BF16};
    struct plan plan;
    char why[160];
    assert_true(variants_find(&k.spec, "q192_k128_s3_w12_f8", &r.variant));
    assert_null(plan_applicable(&k.spec, r.target, r.variant, why, sizeof why));
    plan_make(&plan, &r);
    assert_int_equal(plan.flush_tiles, 8);
    assert_int_equal(plan.lazy_rescale, 4);
    assert_true(plan.smooth_v);
    assert_non_null(strstr(plan.entry, "_q192_k128_s3_w12_f8_"));
    assert_non_null(plan_applicable(&k.spec, SPEC_TARGET_SM_89, r.variant, why, sizeof why));
    assert_non_null(strstr(why, "only wgmma sums over tiles"));
    assert_true(variants_find(&k.spec, "q192_k64_s2_w12", &r.variant)); // three warpgroups, and no warpgroups
    assert_null(plan_applicable(&k.spec, SPEC_TARGET_SM_90A, r.variant, why, sizeof why));
    assert_non_null(plan_applicable(&k.spec, SPEC_TARGET_SM_89, r.variant, why, sizeof why));
    assert_non_null(strstr(why, "170 registers a thread are too few for mma.sync"));
    assert_true(variants_find(&k.spec, "q128_k128_s2_w8", &r.variant)); // the spec's own form
    plan_make(&plan, &r);
    assert_true(plan.flush_tiles == 1 && plan.lazy_rescale == 0 && !plan.smooth_v);
    spec_derive(&k.spec, k.spec.name, 64, 64, true);
    assert_true(variants_find(&k.spec, "q192_k128_s3_w12_f8", &r.variant));
    assert_non_null(plan_applicable(&k.spec, SPEC_TARGET_SM_90A, r.variant, why, sizeof why));
    assert_non_null(strstr(why, "the safe form adds to fp32 after every tile"));
    spec_free(&k.spec);
}

// How the loop of a Hopper kernel goes over tiles: what a point's form allows, and what it falls back to.
static void test_schedules_of_points(void **state) {
    (void)state;
    struct kernels k = {.context = NULL};
    open_spec(&k, "int8_fp8_d128");
    struct plan_request r = {.spec = &k.spec, .target = SPEC_TARGET_SM_90A, .role = SAGE_ROLE_ATTN_FWD, .io = SPEC_IO_BF16};
    static const struct {
        const char *variant, *why; /* NULL: it can run */
        const char *max, *overlap;
    } rows[] = {
        {"q192_k128_s3_w12_f16", NULL, "on_overflow", "none"},
        {"q128_k192_s2_w8_f16_qk", NULL, "on_overflow", "qk"},
        {"q128_k128_s2_w8", NULL, "each_tile", "none"}, // without head room
        {"q128_k128_s2_w8_qk", "needs schedule.max: on_overflow", NULL, NULL},
        {"q128_k64_s2_w8_f16_qk", "tile_k = 64 must be 128, 192 or 256", NULL, NULL},
        {"q192_k128_s3_w12_f16_qk", "registers a thread; 160 are there", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char why[200] = "";
        struct plan plan;
        assert_true(variants_find(&k.spec, rows[i].variant, &r.variant));
        const char *refused = plan_applicable(&k.spec, r.target, r.variant, why, sizeof why);
        if (rows[i].why) {
            assert_non_null(refused);
            assert_non_null(strstr(why, rows[i].why));
            continue;
        }
        assert_null(refused);
        plan_make(&plan, &r);
        assert_string_equal(plan.max, rows[i].max);
        assert_string_equal(plan.overlap, rows[i].overlap);
        assert_true(plan.persistent);
        r.mask = SPEC_MASK_CAUSAL; // tiles of unlike length: the GPU hands them out
        plan_make(&plan, &r);
        assert_false(plan.persistent);
        r.mask = SPEC_MASK_NONE;
    }
    assert_true(variants_find(&k.spec, "q128_k64_s2_w8_qk", &r.variant));
    char why[200];
    assert_non_null(plan_applicable(&k.spec, SPEC_TARGET_SM_89, r.variant, why, sizeof why));
    assert_non_null(strstr(why, "tune.overlap is for wgmma"));
    spec_free(&k.spec);
}

/* -- Messages ---------------------------------------------------------------- */

static void report(const char *log, const char *ptx, struct buf *out, int *errors) {
    struct expansion emitted = {.text = {0}};
    struct diag d = {.sink = out};
    buf_puts(&emitted.text, "int a;\nfoo = 3;\n}\n");
    linemap_add(&emitted.map, "quantise_q.cu.tl", 1);
    linemap_add(&emitted.map, "quantise_q.cu.tl", 2);
    linemap_add(&emitted.map, NULL, 0);
    const struct build_subject subject = {"k_quantise", "kernel.cu", &emitted, NULL};
    build_report_log(&d, &subject, log, ptx);
    *errors = d.errors;
    diag_free(&d);
    expansion_free(&emitted);
}

static void test_front_end_errors_point_at_template_lines(void **state) {
    (void)state;
    struct buf out = {0};
    int errors;
    report("kernel.cu(1): warning #177-D: variable \"x\" was declared\n  int x;\n      ^\n\n"
           "kernel.cu(2): error: identifier \"foo\" is undefined\n      foo = 3;\n      ^\n\n"
           "kernel.cu(3): error: expected a \";\"\n  }\n  ^\n\n2 errors detected.\n",
           NULL, &out, &errors);
    assert_int_equal(errors, 2);
    assert_non_null(strstr(out.data, "templates/quantise_q.cu.tl:2:"));
    assert_non_null(strstr(out.data, "error: identifier \"foo\" is undefined"));
    assert_non_null(strstr(out.data, "emitted as line 2 of k_quantise"));
    assert_non_null(strstr(out.data, "      foo = 3;"));
    assert_non_null(strstr(out.data, "emitted as line 3 of k_quantise")); // a line of sagegen's own
    assert_null(strstr(out.data, "177-D"));
    buf_free(&out);
}

static void test_ptxas_errors_without_ptx_stay_as_they_are(void **state) {
    (void)state;
    struct buf out = {0};
    int errors;
    report("kernel.cu(1): warning #177-D: variable \"x\" was declared\n  int x;\n      ^\n\n"
           "ptxas application ptx input, line 1426; error   : Not a name of any known instruction: 'bogus'\n",
           NULL, &out, &errors);
    assert_int_equal(errors, 1);
    assert_non_null(strstr(out.data, "k_quantise does not compile"));
    assert_non_null(strstr(out.data, "known instruction: 'bogus'"));
    assert_null(strstr(out.data, "177-D"));
    buf_free(&out);
}

static void test_ptxas_errors_with_and_without_a_place(void **state) {
    (void)state;
    struct buf out = {0};
    int errors;
    report("ptxas kernel.ptx, line 3; error   : a\nptxas kernel.ptx, line 5; error   : b\n"
           "ptxas kernel.ptx, line 1; error   : c\nptxas fatal   : d\n",
           ".entry k(\n.loc 1 2 0\nfoo\t%r1;\n.loc 1 3 0\nret;\n.file 1 \"/kernel.cu\"\n", &out, &errors);
    assert_int_equal(errors, 4);
    assert_non_null(strstr(out.data, "templates/quantise_q.cu.tl:2:1: error: ptxas: a\n"));
    assert_non_null(strstr(out.data, "emitted as line 2 of k_quantise:\nfoo = 3;\n"));
    assert_non_null(strstr(out.data, "PTX that ptxas rejects:\n    foo %r1;\n"));
    assert_non_null(strstr(out.data, "sagegen: error: ptxas: b\n")); // a line of sagegen's own
    assert_non_null(strstr(out.data, "emitted as line 3 of k_quantise:\n}\n"));
    assert_non_null(strstr(out.data, "sagegen: error: k_quantise: ptxas kernel.ptx, line 1; error   : c\n"));
    assert_non_null(strstr(out.data, "sagegen: error: k_quantise: ptxas fatal   : d\n"));
    buf_free(&out);
}

static void test_a_log_of_another_kind_is_not_lost(void **state) {
    (void)state;
    struct buf out = {0};
    int errors;
    report("something went wrong", NULL, &out, &errors);
    assert_int_equal(errors, 1);
    assert_non_null(strstr(out.data, "something went wrong"));
    buf_free(&out);
}

/* -- Messages of a compilation --------------------------------------------- */

// Compiles the quantise_q skeleton of tests/data/bad_templates/<folder>, which fails, and hands out what it says.
static void build_bad_templates(const char *folder, struct buf *messages) {
    struct kernels k;
    char templates[1024];
    open_kernels(&k, "int8_fp16_d64");
    snprintf(templates, sizeof templates, SOURCE_DIR "/tests/data/bad_templates/%s", folder);
    k.setup.template_dir = templates;
    struct build_job job = quantise_job(&k);
    assert_false(build_kernel(&k.setup, &job));
    assert_int_equal(job.status, SAGE_ERROR_COMPILE);
    buf_append(messages, job.messages.data, job.messages.len);
    build_job_free(&k.setup, &job);
    close_kernels(&k);
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p++) count++;
    return count;
}

static void expect_text(const struct buf *messages, const char *part) {
    if (!strstr(messages->data, part)) fail_msg("no '%s' in:\n%s", part, messages->data);
}

static void test_compiled_front_end_error(void **state) {
    (void)state;
    struct buf messages = {0};
    build_bad_templates("front_end", &messages);
    expect_text(&messages, "templates/stage/undefined.cu.tl:3:1: error: identifier \"undefined_name\" is undefined\n"
                           "x[1] = undefined_name;\n^\n");
    assert_int_equal(count_of(messages.data, "error:"), 1);
    buf_free(&messages);
}

static void test_compiled_ptxas_errors(void **state) {
    (void)state;
    struct buf messages = {0};
    build_bad_templates("ptxas", &messages);
    expect_text(&messages, "templates/ptx/bogus.cu.tl:3:5: error: ptxas: Not a name of any known instruction: 'bogus'\n"
                           "    asm volatile(\"bogus.b32 %0, %1;\" : \"=r\"(d) : \"r\"(a));\n    ^\n");
    expect_text(&messages, "note: emitted as line 3 of int8_fp16_d64_quantise_q_");
    expect_text(&messages, "PTX that ptxas rejects:\n    bogus.b32 %r");
    expect_text(&messages, "templates/quantise_q.cu.tl:7:5: note: called at line");
    expect_text(&messages, "templates/quantise_q.cu.tl:9:5: error: ptxas: Instruction 'wgmma.fence' not supported");
    expect_text(&messages, "PTX that ptxas rejects:\n    wgmma.fence.sync.aligned;\n");
    assert_int_equal(count_of(messages.data, "'bogus'"), 1); // called three times
    assert_null(strstr(messages.data, "aborted"));
    buf_free(&messages);
}

static void test_compiled_asm_without_its_semicolon(void **state) {
    (void)state;
    struct buf messages = {0};
    build_bad_templates("unfinished", &messages);
    expect_text(&messages, "templates/quantise_q.cu.tl:4:5: error: ptxas: Parsing error near ");
    expect_text(&messages, "PTX that ptxas rejects:\n    add.u32 %r");
    buf_free(&messages);
}

/* -- Cache ------------------------------------------------------------------- */

static void test_second_build_neither_expands_nor_compiles(void **state) {
    (void)state;
    struct kernels k;
    open_kernels(&k, "int8_fp16_d64");
    struct build_job first = quantise_job(&k), second = first, third = first;
    assert_true(build_kernel(&k.setup, &first));
    assert_false(first.cached);
    assert_true(first.compile_ms > 0 && first.meta.registers > 0);
    assert_true(build_kernel(&k.setup, &second));
    assert_true(second.cached && second.expand_ms == 0 && second.compile_ms == 0);
    assert_string_equal(second.key, first.key);
    assert_int_equal(second.entry.files.cubin.bytes, first.entry.files.cubin.bytes);
    third.want_files = true; // expands, for the line map; compiles nothing
    assert_true(build_kernel(&k.setup, &third));
    assert_true(third.cached && third.expand_ms > 0);
    assert_non_null(third.entry.files.source.data);
    assert_non_null(third.entry.files.ptx.data);
    assert_non_null(third.entry.files.map.data);
    build_job_free(&k.setup, &first);
    build_job_free(&k.setup, &second);
    build_job_free(&k.setup, &third);
    close_kernels(&k);
}

// The image of a kernel for the machine, and that neither form is taken for the other.
static void test_ptx_form_is_another_kernel(void **state) {
    (void)state;
    struct kernels k;
    open_kernels(&k, "int8_fp16_d64");
    struct build_job cubin = quantise_job(&k), ptx = quantise_job(&k), again = quantise_job(&k);
    assert_true(build_kernel(&k.setup, &cubin));
    k.setup.form = BUILD_PTX;
    assert_true(build_kernel(&k.setup, &ptx));
    assert_false(ptx.cached);
    assert_string_not_equal(ptx.key, cubin.key);
    const struct cache_bytes *image = &ptx.entry.files.cubin;
    const char *text = image->data;
    assert_int_equal(text[image->bytes - 1], '\0');
    assert_int_equal(strlen(text), image->bytes - 1);
    assert_int_equal(ptx.meta.cubin_bytes, image->bytes);
    assert_int_equal(ptx.meta.registers, 0);
    assert_true(cubin.meta.registers > 0);
    assert_non_null(strstr(text, ".target sm_80"));
    assert_non_null(strstr(text, ptx.meta.entry));
    int line = 1;
    for (const char *p = text; p < strstr(text, "st.global"); p++) line += *p == '\n';
    struct linemap map;
    assert_true(ptx_image_map(text, &map));
    const struct ptx_place place = ptx_image_place(text, &map, BUILD_SOURCE_NAME, line);
    assert_non_null(place.file);
    linemap_free(&map);
    assert_true(build_kernel(&k.setup, &again));
    assert_true(again.cached);
    build_job_free(&k.setup, &again);
    build_job_free(&k.setup, &ptx);
    build_job_free(&k.setup, &cubin);
    close_kernels(&k);
}

static void test_another_template_bundle_is_expanded_again(void **state) {
    (void)state;
    struct kernels k;
    open_kernels(&k, "int8_fp16_d64");
    struct build_job first = quantise_job(&k), second = first;
    assert_true(build_kernel(&k.setup, &first));
    k.setup.bundle_hash++;
    assert_true(build_kernel(&k.setup, &second));
    assert_true(second.cached && second.expand_ms > 0); // the text is the same, so the cubin is too
    build_job_free(&k.setup, &first);
    build_job_free(&k.setup, &second);
    close_kernels(&k);
}

static bool stop_after_first(void *user, const struct build_job *job, int done, int count) {
    int *calls = user;
    (void)job;
    assert_true(done <= count);
    return ++*calls < 1;
}

static void test_progress_can_stop_a_batch(void **state) {
    (void)state;
    struct kernels k;
    open_kernels(&k, "int8_fp16_d64");
    struct build_job jobs[4];
    int calls = 0, waiting = 0;
    for (int i = 0; i < 4; i++) jobs[i] = quantise_job(&k);
    assert_int_equal(build_all(&k.setup, jobs, 4, 1, stop_after_first, &calls), 0);
    assert_int_equal(calls, 1);
    for (int i = 0; i < 4; i++) waiting += jobs[i].state == BUILD_WAITING;
    assert_int_equal(waiting, 3);
    for (int i = 0; i < 4; i++) build_job_free(&k.setup, &jobs[i]);
    close_kernels(&k);
}

static void test_batch_on_threads_gives_each_its_own(void **state) {
    (void)state;
    struct kernels k;
    open_kernels(&k, "int8_fp16_d64");
    struct build_job jobs[6];
    for (int i = 0; i < 6; i++) {
        jobs[i] = quantise_job(&k);
        jobs[i].request.io = i % 2 ? SPEC_IO_FP16 : SPEC_IO_BF16;
        jobs[i].request.target = (enum spec_target)k.spec.targets.item[i / 2];
    }
    assert_int_equal(build_all(&k.setup, jobs, 6, 4, NULL, NULL), 0);
    for (int i = 0; i < 6; i++) {
        struct plan plan;
        plan_make(&plan, &jobs[i].request);
        assert_int_equal(jobs[i].state, BUILD_DONE);
        assert_string_equal(jobs[i].meta.entry, plan.entry);
        build_job_free(&k.setup, &jobs[i]);
    }
    close_kernels(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_family_is_the_name_up_to_the_head_dim),
        cmocka_unit_test(test_metadata_of_another_plan_do_not_match),
        cmocka_unit_test(test_derived_spec_has_its_own_hash_and_no_contradictions),
        cmocka_unit_test(test_long_sums_need_v_without_its_mean),
        cmocka_unit_test(test_point_that_sums_in_place),
        cmocka_unit_test(test_schedules_of_points),
        cmocka_unit_test(test_front_end_errors_point_at_template_lines),
        cmocka_unit_test(test_ptxas_errors_without_ptx_stay_as_they_are),
        cmocka_unit_test(test_ptxas_errors_with_and_without_a_place),
        cmocka_unit_test(test_a_log_of_another_kind_is_not_lost),
        cmocka_unit_test(test_compiled_front_end_error),
        cmocka_unit_test(test_compiled_ptxas_errors),
        cmocka_unit_test(test_compiled_asm_without_its_semicolon),
        cmocka_unit_test(test_second_build_neither_expands_nor_compiles),
        cmocka_unit_test(test_ptx_form_is_another_kernel),
        cmocka_unit_test(test_another_template_bundle_is_expanded_again),
        cmocka_unit_test(test_progress_can_stop_a_batch),
        cmocka_unit_test(test_batch_on_threads_gives_each_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
