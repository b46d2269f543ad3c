// Tests of `sagegen tune` on a scripted GPU: rounds and winners, faults of every kind, what the journal keeps through
// interrupts, kills and torn ends, and that what is known is not measured again. SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "cmd_interrupt.h"
#include "fake_meter.h"
#include "tune_cost.h"
#include <fcntl.h>
#include <math.h>
#include <sys/wait.h>

/* -- Fixture ---- */

struct fixture {
    char dir[64];
    struct buf journal;
    struct fake_gpu *gpu;
    struct cmd_specs specs;
    struct bench_problems problems;
    struct buf spec; /* its path */
    struct build_setup setup;
    struct cmd_select select;
};

static const struct wisdom_machine machine = {.sm = 90, .multiprocessors = 132, .driver = "580.1", .gpu = "Fake GPU"};

// Few points, of which the tests know which can run where.
static void write_spec(const char *path) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("kernel: attention_forward\nname: int8_fp8_d128\nhead_dim: 128\nqk: {format: int8}\n"
          "pv: {p: fp8_e4m3, v: fp8_e4m3}\nsoftmax: {row_sum: quantised}\ntargets: [sm_89, sm_90a]\n"
          "tune: {tile_q: [128, 64], tile_k: [128, 64, 32], stages: [2, 3], warps: [8, 4]}\n",
          file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    *state = f;
    fixture_directory(f->dir);
    buf_printf(&f->journal, "%s/tune.journal", f->dir);
    f->gpu = fake_gpu_make();
    buf_printf(&f->spec, "%s/int8_fp8_d128.yaml", f->dir);
    write_spec(f->spec.data);
    assert_true(cmd_specs_add(&f->specs, f->spec.data));
    bench_problems_add(&f->problems, &(struct bench_problem){128, 1024, 4, 32, false});
    bench_problems_add(&f->problems, &(struct bench_problem){128, 4096, 4, 32, true});
    f->setup = (struct build_setup){.bundle_hash = 7, .nvrtc_identity = "0123"};
    f->select.native_sm = 90;
    f->select.io = (struct spec_int_list){1, {SPEC_IO_BF16}};
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    fixture_remove_tree(f->dir);
    buf_free(&f->journal);
    buf_free(&f->spec);
    fake_gpu_free(f->gpu);
    cmd_specs_free(&f->specs);
    bench_problems_free(&f->problems);
    free(f);
    return 0;
}

static struct tune_work list(struct fixture *f) {
    struct tune_work work = {0};
    struct buf skipped = {0};
    const struct tune_choice choice = {
        .select = &f->select, .problems = &f->problems, .multiprocessors = 132, .setup = &f->setup};
    assert_true(tune_list(&work, &f->specs, &choice, &skipped));
    buf_free(&skipped);
    return work;
}

// A run from nothing but the journal. The caller frees the work.
static struct tune_work run(struct fixture *f, const struct wisdom_machine *m, struct tune_outcome *out) {
    struct tune_work work = list(f);
    struct tune_journal journal;
    struct diag d = {0};
    assert_true(tune_journal_open(&journal, f->journal.data, &d));
    tune_journal_machine(&journal, m);
    tune_journal_replay(&journal, &work);
    const struct tune_setup setup = {.work = &work,
                                     .journal = &journal,
                                     .meter = &fake_meter,
                                     .bench = {.work = &work, .user = f->gpu},
                                     .build = fake_build,
                                     .builders = 3,
                                     .timeout_s = 1,
                                     .build_timeout_s = 1,
                                     .quiet = true};
    tune_run(&setup, out);
    tune_journal_close(&journal);
    diag_free(&d);
    return work;
}

static int winner_of(const struct tune_work *work, int task) {
    struct tune_step step = {.candidate = xcalloc((size_t)work->task[task].count, sizeof(int))};
    tune_step_next(work, &work->task[task], &step);
    free(step.candidate);
    return step.next == TUNE_DONE ? step.winner : -2;
}

static const char *winner_name(const struct tune_work *work, int task) {
    const int winner = winner_of(work, task);
    return winner == -2 ? "undecided" : winner < 0 ? "none" : tune_set_of(work, &work->task[task], winner)->name;
}

static void expect_winners(struct fixture *f, const char *name) {
    struct tune_outcome out;
    struct tune_work work = run(f, &machine, &out);
    if (out.end != TUNE_ENDED) print_message("%s\n", out.why);
    assert_int_equal(out.end, TUNE_ENDED);
    assert_int_equal(work.tasks, 2);
    for (int i = 0; i < work.tasks; i++) assert_string_equal(winner_name(&work, i), name);
    tune_work_free(&work);
}

static char *read_journal(const struct fixture *f, size_t *len) {
    FILE *stream = fopen(f->journal.data, "rb");
    assert_non_null(stream);
    char *text = xcalloc(1, 1 << 20);
    *len = fread(text, 1, (1 << 20) - 1, stream);
    fclose(stream);
    return text;
}

static int count_lines(const struct fixture *f, const char *kind) {
    size_t len;
    char *text = read_journal(f, &len);
    int count = 0;
    for (const char *at = text; (at = strstr(at, kind)); at++) count++;
    free(text);
    return count;
}

/* -- Lists ---- */

static void candidates_are_the_points_that_can_run(void **state) {
    struct tune_work work = list(*state);
    assert_int_equal(work.tasks, 2);
    for (int t = 0; t < work.tasks; t++) {
        assert_int_equal(work.task[t].count, 6); // of 24 on sm_90a: wgmma needs 128 rows and 8 warps
        assert_string_equal(tune_set_of(&work, &work.task[t], 0)->name, "q128_k128_s2_w8");
        assert_int_equal(work.task[t].target, SPEC_TARGET_SM_90A);
    }
    assert_int_equal(work.sets, 12); // of each mask its own
    assert_int_equal(work.pruned_count, 18);
    for (int i = 0; i < work.pruned_count; i++) assert_int_equal(work.pruned[i].fault, TUNE_INAPPLICABLE);
    for (int i = 0; i < work.sets; i++)
        for (int k = 0; k < i; k++) assert_string_not_equal(work.set[i].key, work.set[k].key);
    tune_work_free(&work);
}

static struct plan plan_of(const struct spec *spec, enum spec_target target, const char *variant) {
    struct plan plan;
    struct plan_request request = {.spec = spec, .target = target, .role = SAGE_ROLE_ATTN_FWD};
    assert_true(variants_find(spec, variant, &request.variant));
    plan_make(&plan, &request);
    return plan;
}

static void the_cost_model_knows_padding_and_waves(void **state) {
    const struct fixture *f = *state;
    const struct spec *spec = &f->specs.item[0]->spec;
    const struct plan tall = plan_of(spec, SPEC_TARGET_SM_89, "q128_k64_s2_w8"),
                      low = plan_of(spec, SPEC_TARGET_SM_89, "q64_k64_s2_w4");
    const struct arch *arch = arch_of(SPEC_TARGET_SM_89);
    const sage_attention_shape few = {1, 1, 1, 64, 4096}, full = {4, 32, 32, 4096, 4096}, one = {1, 1, 1, 128, 64};
    assert_true(fabs(tune_cost_scores(&tall, &one) - 128.0 * 64) < 1e-9);
    assert_true(fabs(tune_cost_longest(&tall, arch, &few, 128) / tune_cost_longest(&low, arch, &few, 128) - 2) < 1e-9);
    assert_true(fabs(tune_cost_longest(&tall, arch, &full, 128) / tune_cost_longest(&low, arch, &full, 128) - 1) <
                0.02);
}

static void what_cannot_win_is_not_tried(void **state) {
    struct fixture *f = *state;
    f->select.native_sm = 89;
    bench_problems_add(&f->problems, &(struct bench_problem){128, 20, 1, 4, false});
    struct tune_work work = list(f);
    const struct tune_task *t = &work.task[2];
    int costly = 0;
    for (int i = 0; i < work.pruned_count; i++) {
        if (work.pruned[i].fault != TUNE_COST) continue;
        costly++;
        assert_non_null(strstr(work.pruned[i].problem, "20 tokens"));
    }
    assert_int_equal(t->problem.n, 20);
    assert_true(costly > 0); // 128 rows and keys for 20
    assert_true(t->count + costly == work.task[0].count);
    assert_string_equal(tune_set_of(&work, t, 0)->name,
                        tune_set_of(&work, &work.task[0], 0)->name); // the default stays
    tune_work_free(&work);
}

static void grouped_heads_are_problems_of_their_own(void **state) {
    struct fixture *f = *state;
    struct tune_work work = {0}, whole = list(f);
    struct buf skipped = {0}, text = {0};
    const struct tune_choice choice = {
        .select = &f->select, .problems = &f->problems, .heads_kv = 8, .multiprocessors = 132, .setup = &f->setup};
    bench_problems_add(&f->problems, &(struct bench_problem){128, 1024, 4, 4, false}); // not a multiple: left out
    assert_true(tune_list(&work, &f->specs, &choice, &skipped));
    assert_int_equal(work.tasks, whole.tasks);
    assert_int_equal(tune_shape(&work.task[0]).heads_kv, 8);
    assert_int_equal(tune_shape(&work.task[0]).heads_q, 32);
    tune_task_text(&work.task[0], &text);
    assert_string_equal(text.data, "int8_fp8_d128 bf16 full, 1024 tokens, 4 x 32 heads (8 of K and V)");
    assert_string_equal(work.set[0].key, whole.set[0].key); // of the same kernels
    tune_work_free(&work);
    tune_work_free(&whole);
    buf_free(&skipped);
    buf_free(&text);
}

/* -- Winners ---- */

static void the_fastest_wins(void **state) {
    struct fixture *f = *state;
    fake_gpu_set(f->gpu, "q128_k64_s3_w8", 9, FAKE_FINE);
    expect_winners(f, "q128_k64_s3_w8");
    assert_int_equal(f->gpu->built, 12);
    assert_int_equal(f->gpu->opened, 1);
    assert_int_equal(f->gpu->checked, 12);
}

static void among_equals_the_first_of_the_spec_wins(void **state) {
    struct fixture *f = *state;
    fake_gpu_set(f->gpu, "q128_k32_s3_w8", 9.90, FAKE_FINE); // 1 % ahead, the last in order: within the band
    expect_winners(f, "q128_k128_s2_w8");
}

static void two_noisy_runs_name_the_same_winners(void **state) {
    struct fixture *f = *state;
    f->gpu->noise = 0.02;
    fake_gpu_set(f->gpu, "q128_k64_s2_w8", 9.05, FAKE_FINE);
    fake_gpu_set(f->gpu, "q128_k64_s3_w8", 9.00, FAKE_FINE);
    fake_gpu_set(f->gpu, "q128_k32_s2_w8", 9.02, FAKE_FINE);
    for (unsigned seed = 1; seed <= 5; seed++) {
        f->gpu->seed = seed;
        unlink(f->journal.data);
        expect_winners(f, "q128_k64_s2_w8");
    }
}

static void rounds_halve_and_keep_the_band(void **state) {
    struct tune_work work = list(*state);
    struct tune_task *t = &work.task[0];
    const int64_t ns[6] = {2000, 1000, 1050, 1500, 1600, 1700};
    int room[6];
    struct tune_step step = {.candidate = room};
    tune_step_next(&work, t, &step);
    assert_int_equal(step.next, TUNE_CHECK);
    assert_int_equal(step.count, 1);
    assert_int_equal(step.reference, -1);
    t->candidate[0].checked = true;
    tune_step_next(&work, t, &step);
    assert_int_equal(room[0], 1);
    assert_int_equal(step.reference, 0);
    for (int i = 0; i < 6; i++) t->candidate[i].checked = true;
    tune_step_next(&work, t, &step);
    assert_int_equal(step.next, TUNE_TIME);
    assert_int_equal(step.count, 6);
    for (int i = 0; i < 6; i++) t->candidate[i].time[0].ns = ns[i];
    tune_step_next(&work, t, &step);
    assert_int_equal(step.round, 1); // the better half, and the default
    assert_int_equal(step.count, 4);
    assert_int_equal(room[0] * 1000 + room[1] * 100 + room[2] * 10 + room[3], 123);
    for (int i = 0; i < 4; i++) t->candidate[i].time[1].ns = ns[i];
    tune_step_next(&work, t, &step);
    assert_int_equal(step.round, 2);
    assert_int_equal(step.count, 3);
    for (int i = 0; i < 3; i++) t->candidate[i].time[2].ns = ns[i];
    tune_step_next(&work, t, &step);
    assert_int_equal(step.next, TUNE_DONE);
    assert_int_equal(step.winner, 1);
    t->candidate[1].fault = TUNE_HANG; // found later: those that it had beaten come back
    tune_step_next(&work, t, &step);
    assert_int_equal(step.next, TUNE_TIME);
    tune_work_free(&work);
}

/* -- Faults ---- */

// The fastest of all by far, if only it worked.
static void expect_left_out(struct fixture *f, enum fake_conduct conduct, enum tune_fault fault) {
    struct tune_outcome out;
    fake_gpu_set(f->gpu, "q128_k64_s3_w8", 1, conduct);
    fake_gpu_set(f->gpu, "q128_k64_s2_w8", 8, FAKE_FINE);
    for (int again = 0; again < 2; again++) {
        const int opened = f->gpu->opened;
        struct tune_work work = run(f, &machine, &out);
        assert_int_equal(out.end, TUNE_ENDED);
        for (int t = 0; t < work.tasks; t++) {
            int found = 0;
            assert_string_equal(winner_name(&work, t), "q128_k64_s2_w8");
            for (int i = 0; i < work.task[t].count; i++) {
                if (strcmp(tune_set_of(&work, &work.task[t], i)->name, "q128_k64_s3_w8") != 0) continue;
                found++;
                assert_int_equal(tune_candidate_fault(&work, &work.task[t], i), fault);
            }
            assert_int_equal(found, 1);
        }
        if (again) assert_int_equal(f->gpu->opened, opened); // the journal remembers: it is not tried again
        tune_work_free(&work);
    }
}

#define LEFT_OUT(name, conduct, fault)                                                                                 \
    static void name(void **state) {                                                                                   \
        expect_left_out(*state, conduct, fault);                                                                       \
    }
LEFT_OUT(one_that_does_not_compile_is_left_out, FAKE_COMPILE_FAILS, TUNE_COMPILE)
LEFT_OUT(one_that_crashes_the_compiler_is_left_out, FAKE_COMPILE_CRASHES, TUNE_COMPILE)
LEFT_OUT(one_that_hangs_the_compiler_is_left_out, FAKE_COMPILE_HANGS, TUNE_COMPILE)
LEFT_OUT(one_that_spills_is_left_out, FAKE_SPILLS, TUNE_SPILLS)
LEFT_OUT(one_with_too_many_registers_is_left_out, FAKE_REGISTERS, TUNE_REGISTERS)
LEFT_OUT(one_that_the_driver_refuses_is_left_out, FAKE_REFUSED, TUNE_REFUSED)
LEFT_OUT(one_that_loses_the_device_is_left_out, FAKE_LOST, TUNE_REFUSED)
LEFT_OUT(one_that_hangs_is_left_out, FAKE_HANGS, TUNE_HANG)
LEFT_OUT(one_that_hangs_late_is_left_out, FAKE_HANGS_LATE, TUNE_HANG)
LEFT_OUT(one_that_crashes_is_left_out, FAKE_CRASHES, TUNE_CRASH)
LEFT_OUT(one_that_crashes_late_is_left_out, FAKE_CRASHES_LATE, TUNE_CRASH)
LEFT_OUT(one_with_wrong_numbers_is_left_out, FAKE_WRONG, TUNE_WRONG)
LEFT_OUT(one_with_nan_is_left_out, FAKE_NAN, TUNE_WRONG)

static void a_default_that_spills_is_kept(void **state) {
    struct fixture *f = *state;
    fake_gpu_set(f->gpu, "q128_k128_s2_w8", 5, FAKE_SPILLS);
    expect_winners(f, "q128_k128_s2_w8");
}

static void a_default_that_fails_is_no_winner(void **state) {
    struct fixture *f = *state;
    fake_gpu_set(f->gpu, "q128_k128_s2_w8", 5, FAKE_CRASHES);
    fake_gpu_set(f->gpu, "q128_k64_s2_w8", 8, FAKE_FINE);
    expect_winners(f, "q128_k64_s2_w8");
}

static void where_all_fail_nothing_wins(void **state) {
    struct fixture *f = *state;
    static const char *const all[] = {"q128_k128_s2_w8", "q128_k128_s3_w8", "q128_k64_s2_w8",
                                      "q128_k64_s3_w8",  "q128_k32_s2_w8",  "q128_k32_s3_w8"};
    for (int i = 0; i < 6; i++) fake_gpu_set(f->gpu, all[i], 1, i % 2 ? FAKE_CRASHES : FAKE_WRONG);
    expect_winners(f, "none");
}

static void a_device_that_does_not_open_ends_the_run(void **state) {
    struct fixture *f = *state;
    struct tune_outcome out;
    f->gpu->does_not_open = true;
    struct tune_work work = run(f, &machine, &out);
    assert_int_equal(out.end, TUNE_BROKEN);
    assert_string_equal(out.why, "it is asleep");
    assert_int_equal(count_lines(f, " fault "), 0);
    tune_work_free(&work);
}

/* -- Journal ---- */

static void what_is_known_is_not_measured_again(void **state) {
    struct fixture *f = *state;
    struct tune_outcome out;
    fake_gpu_set(f->gpu, "q128_k64_s3_w8", 9, FAKE_FINE);
    expect_winners(f, "q128_k64_s3_w8");
    const int opened = f->gpu->opened, built = f->gpu->built, lines = count_lines(f, "\n");
    struct tune_work work = run(f, &machine, &out);
    assert_string_equal(winner_name(&work, 0), "q128_k64_s3_w8");
    assert_int_equal(out.measured, 0);
    assert_int_equal(f->gpu->opened, opened);
    assert_int_equal(f->gpu->built, built);
    assert_int_equal(count_lines(f, "\n"), lines);
    tune_work_free(&work);
}

static void a_changed_kernel_and_another_gpu_are_measured_anew(void **state) {
    struct fixture *f = *state;
    struct tune_outcome first, out;
    struct tune_work work = run(f, &machine, &first);
    tune_work_free(&work);
    const struct wisdom_machine other = {.sm = 90, .multiprocessors = 114, .driver = "580.1", .gpu = "Fake GPU"};
    work = run(f, &other, &out);
    assert_int_equal(out.measured, first.measured);
    tune_work_free(&work);
    f->setup.bundle_hash++; // a template was edited
    work = run(f, &machine, &out);
    assert_int_equal(out.measured, first.measured);
    tune_work_free(&work);
}

static void a_new_problem_costs_itself_alone(void **state) {
    struct fixture *f = *state;
    struct tune_outcome first, out;
    struct tune_work work = run(f, &machine, &first);
    tune_work_free(&work);
    bench_problems_add(&f->problems, &(struct bench_problem){128, 2048, 4, 32, false});
    work = run(f, &machine, &out);
    assert_int_equal(work.tasks, 3);
    assert_int_equal(2 * out.measured, first.measured);
    tune_work_free(&work);
}

// No measurement is in the journal twice.
static void expect_no_repeats(const struct fixture *f) {
    size_t len;
    char *text = read_journal(f, &len);
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        char key[200];
        if (strstr(line, " time ")) {
            const char *words = strstr(line, " time ");
            int round, used = 0;
            char id[20], kernel[40], problem[64];
            assert_int_equal(sscanf(words, " time %19s %39s %63s %d%n", id, kernel, problem, &round, &used), 4);
            snprintf(key, sizeof key, "%s %s %d ", kernel, problem, round);
            assert_null(strstr(end + 1, key));
        }
        line = end + 1;
    }
    free(text);
}

// Forks a run, signals it when so many samples are made, and returns how it ended.
static int run_and_signal(struct fixture *f, int number, int samples) {
    const pid_t pid = fork();
    if (pid == 0) {
        struct tune_outcome out;
        cmd_interrupt_catch();
        struct tune_work work = run(f, &machine, &out);
        tune_work_free(&work);
        _exit(out.end == TUNE_STOPPED ? 11 : 12);
    }
    while (f->gpu->samples < samples) usleep(500);
    kill(pid, number);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void expect_resumed(struct fixture *f, int number, int ends_with) {
    struct tune_outcome whole, out;
    fake_gpu_set(f->gpu, "q128_k64_s3_w8", 9, FAKE_FINE);
    struct tune_work work = run(f, &machine, &whole);
    tune_work_free(&work);
    unlink(f->journal.data);
    f->gpu->samples = 0;
    f->gpu->sample_us = 500;
    assert_int_equal(run_and_signal(f, number, 40), ends_with);
    const int kept = count_lines(f, " time ");
    assert_true(kept > 0 && kept < whole.measured);
    f->gpu->sample_us = 0;
    work = run(f, &machine, &out);
    assert_int_equal(out.end, TUNE_ENDED);
    assert_int_equal(kept + out.measured, whole.measured); // none lost, none repeated
    assert_string_equal(winner_name(&work, 0), "q128_k64_s3_w8");
    expect_no_repeats(f);
    tune_work_free(&work);
}

static void a_killed_run_is_resumed(void **state) {
    expect_resumed(*state, SIGKILL, -SIGKILL);
}

static void an_interrupted_run_is_resumed(void **state) {
    expect_resumed(*state, SIGINT, 11);
}

static void write_at_end(const struct fixture *f, const char *text) {
    FILE *stream = fopen(f->journal.data, "ab");
    assert_non_null(stream);
    fputs(text, stream);
    fclose(stream);
}

static bool open_again(const struct fixture *f, struct tune_journal *j, struct buf *messages) {
    struct diag d = {.sink = messages};
    buf_clear(messages);
    const bool ok = tune_journal_open(j, f->journal.data, &d);
    diag_free(&d);
    j->diag = NULL;
    return ok;
}

static void a_torn_end_is_cut_off(void **state) {
    struct fixture *f = *state;
    struct tune_outcome out;
    struct tune_journal j;
    struct buf messages = {0};
    size_t before, after;
    struct tune_work work = run(f, &machine, &out);
    tune_work_free(&work);
    free(read_journal(f, &before));
    static const char *const torn[] = {"0", "0123456789abcdef time 12", "garbage\nmore\n"};
    for (int i = 0; i < 3; i++) {
        write_at_end(f, torn[i]);
        assert_true(open_again(f, &j, &messages));
        assert_int_equal(j.cut_bytes, strlen(torn[i]));
        tune_journal_close(&j);
        free(read_journal(f, &after));
        assert_int_equal(after, before);
    }
    work = run(f, &machine, &out);
    assert_int_equal(out.measured, 0);
    tune_work_free(&work);
    buf_free(&messages);
}

static void a_damaged_line_is_named(void **state) {
    struct fixture *f = *state;
    struct tune_outcome out;
    struct tune_journal j;
    struct buf messages = {0};
    struct tune_work work = run(f, &machine, &out);
    tune_work_free(&work);
    const int fd = open(f->journal.data, O_RDWR);
    size_t len;
    char *text = read_journal(f, &len);
    const off_t third = strchr(strchr(text, '\n') + 1, '\n') + 30 - text;
    assert_int_equal(pwrite(fd, "#", 1, third), 1);
    close(fd);
    free(text);
    assert_false(open_again(f, &j, &messages));
    assert_non_null(strstr(messages.data, "tune.journal:3"));
    assert_non_null(strstr(messages.data, "does not match its hash; delete it"));
    buf_free(&messages);
}

static void a_file_that_is_no_journal_is_left_alone(void **state) {
    struct fixture *f = *state;
    struct tune_journal j;
    struct buf messages = {0};
    size_t len;
    write_at_end(f, "Dear diary,\ntoday nothing was measured.\n");
    assert_false(open_again(f, &j, &messages));
    assert_non_null(strstr(messages.data, "no journal of sagegen tune"));
    free(read_journal(f, &len));
    assert_int_equal(len, 40);
    buf_free(&messages);
}

// 0: it could be opened; 1: another process has it.
static int open_in_other_process(const struct fixture *f) {
    const pid_t pid = fork();
    if (pid == 0) {
        struct tune_journal journal;
        struct buf messages = {0};
        if (open_again(f, &journal, &messages)) _exit(0);
        _exit(strstr(messages.data, "another sagegen tune writes it") ? 1 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_journal_is_for_one_process(void **state) {
    struct fixture *f = *state;
    struct tune_journal journal;
    struct buf messages = {0};
    assert_true(open_again(f, &journal, &messages));
    assert_int_equal(open_in_other_process(f), 1);
    tune_journal_close(&journal);
    assert_int_equal(open_in_other_process(f), 0);
    buf_free(&messages);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(candidates_are_the_points_that_can_run),
        T(the_cost_model_knows_padding_and_waves),
        T(what_cannot_win_is_not_tried),
        T(grouped_heads_are_problems_of_their_own),
        T(the_fastest_wins),
        T(among_equals_the_first_of_the_spec_wins),
        T(two_noisy_runs_name_the_same_winners),
        T(rounds_halve_and_keep_the_band),
        T(one_that_does_not_compile_is_left_out),
        T(one_that_crashes_the_compiler_is_left_out),
        T(one_that_hangs_the_compiler_is_left_out),
        T(one_that_spills_is_left_out),
        T(one_with_too_many_registers_is_left_out),
        T(one_that_the_driver_refuses_is_left_out),
        T(one_that_loses_the_device_is_left_out),
        T(one_that_hangs_is_left_out),
        T(one_that_hangs_late_is_left_out),
        T(one_that_crashes_is_left_out),
        T(one_that_crashes_late_is_left_out),
        T(one_with_wrong_numbers_is_left_out),
        T(one_with_nan_is_left_out),
        T(a_default_that_spills_is_kept),
        T(a_default_that_fails_is_no_winner),
        T(where_all_fail_nothing_wins),
        T(a_device_that_does_not_open_ends_the_run),
        T(what_is_known_is_not_measured_again),
        T(a_changed_kernel_and_another_gpu_are_measured_anew),
        T(a_new_problem_costs_itself_alone),
        T(a_killed_run_is_resumed),
        T(an_interrupted_run_is_resumed),
        T(a_torn_end_is_cut_off),
        T(a_damaged_line_is_named),
        T(a_file_that_is_no_journal_is_left_alone),
        T(a_journal_is_for_one_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
