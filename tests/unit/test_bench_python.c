// bench_python: the protocol with the measuring process, held against shell scripts that stand in for Python: answers,
// crashes, nonsense, silence, Ctrl-C. SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "bench_measure.h"
#include "cmd_interrupt.h"
#include <sys/wait.h>

static struct bench_problem items[] = {{128, 512, 1, 1, false}, {128, 1024, 1, 1, true}};
static struct bench_problems problems = {items, 2, 2};
static const struct bench_spec specs[] = {{"int8_fp8_d128", 128}};

struct run {
    char dir[64];
    struct bench_progress progress;
    struct bench_records records;
    struct buf why;
    enum bench_end end;
};

// What every script has: $2 is the request; `row` and `doing` answer.
static const char prelude[] =
    "#!/bin/sh\n"
    "start() { echo '{\"event\": \"start\", \"gpu\": \"G\", \"found\": {}, \"missing\": {}}'; }\n"
    "doing() { echo \"{\\\"event\\\": \\\"doing\\\", \\\"problem\\\": $1, \\\"contender\\\": \\\"$2\\\", "
    "\\\"kernel\\\": "
    "\\\"$3\\\"}\"; }\n"
    "row() { echo \"{\\\"event\\\": \\\"row\\\", \\\"problem\\\": $1, \\\"contender\\\": \\\"$2\\\", \\\"kernel\\\": "
    "\\\"$3\\\", \\\"mode\\\": \\\"$4\\\", \\\"ms\\\": $5, \\\"spread\\\": 0.01, \\\"repeats\\\": 20}\"; }\n"
    "done_() { echo \"{\\\"event\\\": \\\"done\\\", \\\"problem\\\": $1}\"; }\n"
    "end() { echo '{\"event\": \"end\"}'; }\n"
    "has() { grep -q \"$1\" \"$R\"; }\n"
    "R=$2\n";

static void write_script(const char *path, const char *body) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s%s", prelude, body);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
}

static void run_script(struct run *r, const char *body, int timeout_s) {
    char script[96];
    *r = (struct run){.end = BENCH_FAILED};
    fixture_directory(r->dir);
    snprintf(script, sizeof script, "%s/python", r->dir);
    if (body) write_script(script, body);
    static char gpu[] = "G", empty[] = "";
    const struct bench_job job = {
        .problems = &problems,
        .spec = specs,
        .specs = 1,
        .contender = {[BENCH_SAGEGEN] = true, [BENCH_CUDNN_BF16] = true},
        .mode = {[BENCH_KERNEL] = true, [BENCH_END_TO_END] = true},
        .scratch = r->dir,
        .kernel_dir = r->dir,
        .timeout_s = timeout_s,
        .stamp = {.gpu = gpu, .driver = empty, .nvrtc = empty, .commit = empty, .date = empty},
        .progress = &r->progress};
    const struct bench_python python = {.program = script, .library = "libsage.so.0"};
    buf_puts(&r->why, "");
    bench_progress_start(&r->progress, &problems);
    r->end = bench_python_run(&job, &python, &r->records, &r->why);
}

static const struct bench_record *found(const struct run *r, int problem, int contender, int mode) {
    for (int i = 0; i < r->records.count; i++) {
        const struct bench_record *record = &r->records.item[i];
        if (bench_problem_equal(&record->problem, &items[problem]) && record->contender == contender &&
            record->mode == mode)
            return record;
    }
    print_message("%d records, end %d, why: %s\n", r->records.count, (int)r->end, r->why.data);
    fail();
    return NULL;
}

static void assert_reason(const struct run *r, int problem, int contender, const char *part) {
    const struct bench_record *record = found(r, problem, contender, BENCH_KERNEL);
    if (!strstr(record->reason, part)) print_message("reason: %s\n", record->reason);
    assert_non_null(strstr(record->reason, part));
    assert_true(record->ms == 0 && record->tops == 0);
}

static void finish(struct run *r) {
    bench_records_free(&r->records);
    buf_free(&r->why);
    fixture_remove_tree(r->dir);
}

#define SAGEGEN_ROWS                                                                                                   \
    "for p in 0 1; do has \"\\\"id\\\": $p\" || continue; doing $p sagegen int8_fp8_d128; doing $p '' ''; "            \
    "row $p sagegen int8_fp8_d128 kernel 0.5; row $p sagegen int8_fp8_d128 end_to_end 1.0; done_ $p; done; end\n"

static void test_answers_become_records(void **state) {
    (void)state;
    struct run r;
    run_script(&r, "start\n" SAGEGEN_ROWS, 20);
    assert_int_equal(r.end, BENCH_ENDED);
    assert_int_equal(r.records.count, 4);
    assert_int_equal(r.progress.done, 2);
    const struct bench_record *record = found(&r, 1, BENCH_SAGEGEN, BENCH_END_TO_END);
    assert_true(record->ms == 1.0 && record->repeats == 20);
    assert_true(record->tops == 2.0 * 1024 * 1024 * 128 / 1e9); // causal: half
    assert_string_equal(record->gpu, "G");
    assert_non_null(strstr(record->version, "sagegen "));
    finish(&r);
}

static void test_the_request_has_what_was_asked_for(void **state) {
    (void)state;
    struct run r;
    run_script(&r,
               "for w in int8_fp8_d128 cudnn_bf16 libsage.so.0 end_to_end '\"n\": 1024' "
               "'\"dropped\": \\[\\]'; do has \"$w\" || { echo \"no $w\" >&2; exit 3; }; done\n"
               "has fa3 && exit 4; grep -q 'sage_attention' \"$1\" || exit 5\nstart; " SAGEGEN_ROWS,
               20);
    assert_int_equal(r.end, BENCH_ENDED);
    finish(&r);
}

static void test_no_python_and_no_torch_are_told(void **state) {
    (void)state;
    struct run r;
    run_script(&r, NULL, 20);
    assert_int_equal(r.end, BENCH_NO_PEER);
    assert_non_null(strstr(r.why.data, "cannot be started"));
    assert_non_null(strstr(r.why.data, "No such file"));
    finish(&r);
    run_script(&r, "echo '{\"event\": \"cannot\", \"reason\": \"no PyTorch: x\"}'\n", 20);
    assert_int_equal(r.end, BENCH_NO_PEER);
    assert_string_equal(r.why.data, "no PyTorch: x");
    finish(&r);
    run_script(&r, "echo Traceback >&2; echo 'SyntaxError: x' >&2; exit 1\n", 20);
    assert_int_equal(r.end, BENCH_NO_PEER);
    assert_non_null(strstr(r.why.data, "status 1: SyntaxError: x"));
    finish(&r);
}

static void test_a_contender_that_crashes_is_left_out(void **state) {
    (void)state;
    struct run r;
    run_script(&r,
               "start\nif has '\"dropped\": \\[\\]'; then doing 0 sagegen int8_fp8_d128; doing 0 cudnn_bf16 "
               "attention_forward; echo oops >&2; kill -SEGV $$; fi\nhas cudnn_bf16 || exit 9\n" SAGEGEN_ROWS,
               20);
    assert_int_equal(r.end, BENCH_ENDED);
    assert_reason(&r, 0, BENCH_CUDNN_BF16, "ended the Python process by signal 11");
    assert_reason(&r, 1, BENCH_CUDNN_BF16, "left out: at N = 512, 1 x 1 it ended the Python process by signal 11");
    assert_true(found(&r, 0, BENCH_SAGEGEN, BENCH_KERNEL)->ms == 0.5);
    assert_true(found(&r, 1, BENCH_SAGEGEN, BENCH_KERNEL)->ms == 0.5);
    finish(&r);
}

static void test_a_gpu_left_unusable_is_told(void **state) {
    (void)state;
    struct run r;
    run_script(
        &r,
        "start\nif has '\"dropped\": \\[\\]'; then doing 1 cudnn_bf16 attention_forward; "
        "echo '{\"event\": \"broken\", \"problem\": 1, \"reason\": \"illegal address\"}'; exit 1; fi\n" SAGEGEN_ROWS,
        20);
    assert_int_equal(r.end, BENCH_ENDED);
    assert_reason(&r, 1, BENCH_CUDNN_BF16, "left the GPU unusable: illegal address");
    finish(&r);
}

static void test_nonsense_is_no_answer(void **state) {
    (void)state;
    static const char *const lines[] = {
        "hello",
        "{",
        "[]",
        "{\"event\": \"dance\"}",
        "row 7 cudnn_bf16 k kernel 1",
        "{\"event\": \"row\", \"problem\": 0, \"contender\": \"cudnn_bf16\", \"kernel\": "
        "\"k\", \"mode\": \"kernel\", \"ms\": -1}"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct run r;
        char body[1024];
        snprintf(body, sizeof body,
                 "start\nif has '\"dropped\": \\[\\]'; then doing 0 cudnn_bf16 attention_forward; echo '%s'; sleep 60; "
                 "fi\n" SAGEGEN_ROWS,
                 lines[i]);
        run_script(&r, body, 20);
        assert_int_equal(r.end, BENCH_ENDED);
        assert_reason(&r, 0, BENCH_CUDNN_BF16, "nonsense: '");
        assert_int_equal(r.progress.done, 2);
        finish(&r);
    }
}

static void test_silence_ends_after_the_time_limit(void **state) {
    (void)state;
    struct run r;
    run_script(&r,
               "start\nif has '\"dropped\": \\[\\]'; then doing 0 cudnn_bf16 attention_forward; sleep 60 & wait; "
               "fi\n" SAGEGEN_ROWS,
               1);
    assert_int_equal(r.end, BENCH_ENDED);
    assert_reason(&r, 0, BENCH_CUDNN_BF16, "gave no answer for 1 s");
    assert_true(found(&r, 1, BENCH_SAGEGEN, BENCH_KERNEL)->ms > 0);
    finish(&r);
}

static void test_a_crash_while_timing_costs_one_problem(void **state) {
    (void)state;
    struct run r;
    run_script(&r,
               "start\nif has '\"id\": 0'; then doing 0 sagegen int8_fp8_d128; doing 0 cudnn_bf16 attention_forward; "
               "doing 0 '' ''; exit 7; fi\n" SAGEGEN_ROWS,
               20);
    assert_int_equal(r.end, BENCH_ENDED);
    assert_reason(&r, 0, BENCH_SAGEGEN, "status 7");
    assert_reason(&r, 0, BENCH_CUDNN_BF16, "status 7");
    assert_true(found(&r, 1, BENCH_SAGEGEN, BENCH_KERNEL)->ms > 0);
    finish(&r);
}

static void test_a_process_that_says_nothing_useful_fails(void **state) {
    (void)state;
    struct run r;
    run_script(&r, "start\n", 20);
    assert_int_equal(r.end, BENCH_FAILED);
    assert_non_null(strstr(r.why.data, "status 0"));
    finish(&r);
}

// Last: the process stays interrupted.
static void test_interrupt_keeps_what_was_measured(void **state) {
    (void)state;
    struct run r;
    cmd_interrupt_catch();
    run_script(&r,
               "start\ndoing 0 sagegen int8_fp8_d128\nrow 0 sagegen int8_fp8_d128 kernel 0.5\ndone_ 0\n"
               "kill -INT $PPID\nsleep 60 & wait\n",
               20);
    assert_int_equal(r.end, BENCH_STOPPED);
    assert_int_equal(r.records.count, 1);
    assert_true(found(&r, 0, BENCH_SAGEGEN, BENCH_KERNEL)->ms == 0.5);
    finish(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_become_records),
        cmocka_unit_test(test_the_request_has_what_was_asked_for),
        cmocka_unit_test(test_no_python_and_no_torch_are_told),
        cmocka_unit_test(test_a_contender_that_crashes_is_left_out),
        cmocka_unit_test(test_a_gpu_left_unusable_is_told),
        cmocka_unit_test(test_nonsense_is_no_answer),
        cmocka_unit_test(test_silence_ends_after_the_time_limit),
        cmocka_unit_test(test_a_crash_while_timing_costs_one_problem),
        cmocka_unit_test(test_a_process_that_says_nothing_useful_fails),
        cmocka_unit_test(test_interrupt_keeps_what_was_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
