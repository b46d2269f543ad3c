// Tests of `sagegen tune` as a command on the fake driver, whose kernels are a hook: exact attention, or what a test
// wants of a variant. Real kernels are compiled, so these skip themselves where there is no NVRTC.
// SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "cmd.h"
#include "fake_cuda.h"
#include "nvrtc.h"
#include "reference/attention.h"
#include "reference/formats.h"

static struct fake_cuda fake;
static char dir[64], text[1 << 16];

/* -- Kernels ---- */

static float *read_bf16(const uint16_t *bits, size_t count) {
    float *values = xcalloc(count + 1, sizeof *values);
    format_decode_array(FORMAT_BF16, bits, count, values);
    return values;
}

static void attend(const struct sage_kernel_args *a, bool causal) {
    const size_t rows = (size_t)(a->heads_q * a->seq_q), count = rows * 64;
    float *q = read_bf16((const uint16_t *)(uintptr_t)a->q, count),
          *k = read_bf16((const uint16_t *)(uintptr_t)a->k, count),
          *v = read_bf16((const uint16_t *)(uintptr_t)a->v, count);
    const struct attention_problem p = {q,  k,  v, a->heads_q, a->heads_kv, (size_t)a->seq_q, (size_t)a->seq_k,
                                        64, 64, 0, causal};
    struct attention_sample *sample = xcalloc(rows, sizeof *sample);
    double *o = xcalloc(count, sizeof *o);
    char why[128];
    attention_spread(&p, a->heads_q, (size_t)a->seq_q, sample);
    attention_exact(&p, sample, rows, 1, o, NULL, why, sizeof why);
    for (size_t i = 0; i < count; i++) ((uint16_t *)(uintptr_t)a->o)[i] = (uint16_t)format_encode(FORMAT_BF16, o[i]);
    free(q), free(k), free(v), free(sample), free(o);
}

// k64 takes half the time, so that a sample has two calls; k32 is as fast, and forgets the mask.
static void run_kernel(void *user, const struct fake_cuda_launch *launch) {
    struct sage_kernel_args args;
    (void)user;
    if (!strstr(launch->function, "_attn_fwd_")) return;
    memcpy(&args, launch->args, sizeof args);
    fake.set_elapsed(strstr(launch->function, "_k128_") ? 1.0f : 0.5f);
    attend(&args, strstr(launch->function, "_causal") && !strstr(launch->function, "_k32_"));
}

/* -- Fixture ---- */

static void write_file(const char *name, const char *data) {
    fixture_write(dir, name, data, strlen(data));
}

static int set_up(void **state) {
    (void)state;
    fixture_directory(dir);
    if (chdir(dir) != 0) return -1;
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    setenv("SAGE_CACHE_DIR", "cache", 1);
    setenv("SAGE_WISDOM", "data/wisdom.txt", 1);
    if (!fake.library) fake = fake_cuda_open(FAKE_CUDA_PATH);
    if (!fake.library) return -1;
    fake.reset();
    fake.set_args_bytes(sizeof(struct sage_kernel_args));
    fake.set_launch_hook(run_kernel, NULL);
    write_file("own.yaml", "kernel: attention_forward\nname: int8_fp16_d64\nhead_dim: 64\nio: [bf16]\n"
                           "qk: {format: int8, granularity: per_thread}\npv: {p: fp16, v: fp16}\n"
                           "smooth: {k: mean, q: none, v: none}\nmask: [none, causal]\ntargets: [sm_90a]\n"
                           "tune: {tile_q: [128], tile_k: [128, 64, 32], stages: [2], warps: [8, 4]}\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fake.set_launch_hook(NULL, NULL);
    unsetenv("SAGE_WISDOM");
    if (chdir("/") != 0) return -1;
    fixture_remove_tree(dir);
    return 0;
}

static void need_nvrtc(void) {
    sage_context *context = fixture_context(NULL, NULL);
    struct nvrtc_info info;
    const bool here = nvrtc_find(context, &info) == SAGE_OK;
    sage_context_destroy(context);
    fake.reset(); // the search asked the driver: children could not
    fake.set_args_bytes(sizeof(struct sage_kernel_args));
    fake.set_launch_hook(run_kernel, NULL);
    if (!here) skip();
}

// Runs the command with standard output and error in `text`.
static int call(const char *words) {
    char copy[512], *argv[32], *rest = NULL;
    int argc = 0;
    snprintf(copy, sizeof copy, "tune %s", words);
    for (char *word = strtok_r(copy, " ", &rest); word && argc < 31; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    argv[argc] = NULL;
    fflush(NULL);
    FILE *file = tmpfile();
    const int out = dup(1), err = dup(2);
    assert_true(file && out >= 0 && err >= 0);
    dup2(fileno(file), 1);
    dup2(fileno(file), 2);
    const int status = cmd_tune(argc, argv);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return status;
}

static void expect(const char *words, int status, const char *const *parts) {
    const int got = call(words);
    if (got != status) fail_msg("tune %s: status %d: %s", words, got, text);
    for (; *parts; parts++)
        if (!strstr(text, *parts)) fail_msg("tune %s: no '%s' in: %s", words, *parts, text);
}

#define EXPECT(words, status, ...) expect(words, status, (const char *const[]){__VA_ARGS__, NULL})
#define SMALL                      "--spec own.yaml --d 64 --n 64 --batch 1 --heads 2 --mask full,causal"

static bool holds(const char *name, const char *wanted) {
    FILE *file = fopen(name, "rb");
    if (!file) return false;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return strstr(text, wanted);
}

/* -- Tests ---- */

static void winners_become_wisdom(void **state) {
    (void)state;
    need_nvrtc();
    EXPECT(SMALL " --html report.html", CMD_DONE, "Fake GPU 0, sm_90, 132 multiprocessors", "2 of 2 problems decided",
           "2 have a faster one; gain 4.000 in the mean", "q128_k64_s2_w8", "3 cannot run on the target",
           "1 give wrong numbers", "wisdom in data/wisdom.txt");
    assert_true(holds("data/wisdom.txt", "machine sm_90 132 CUDA_13.0 Fake GPU 0\nrow int8_fp16_d64 "));
    assert_true(holds("data/wisdom.txt", " sm_90a bf16 causal q128_k64_s2_w8 64 64 1 2 2 64 64 250000 1000000\n"));
    assert_true(holds("data/wisdom.txt", " sm_90a bf16 none q128_k64_s2_w8 64 64 1 2 2 64 64 250000 1000000\n"));
    assert_true(holds("report.html", "<svg"));
    assert_true(holds("report.html", "<td>wrong</td><td>off by "));
    EXPECT(SMALL, CMD_DONE, "0 measurements", "the journal has them all", "2 of 2 problems decided");
    EXPECT(SMALL " --again", CMD_DONE, "again: 2 of 2 winners are those of the last run");
    EXPECT(SMALL " --json --n 64,128", CMD_DONE, "\"gain\": 4.0", "\"fault\": \"wrong\"", "\"decided\": 4");
    EXPECT("--merge data/wisdom.txt data/wisdom.txt --out both.txt", CMD_DONE, "4 rows of 1 machine in both.txt");
    assert_true(holds("both.txt", "sagegen wisdom 1\n"));
}

static void a_driver_that_fails_everything_names_no_winner(void **state) {
    (void)state;
    need_nvrtc();
    fake.fail_next("cuLaunchKernel", 700); // in every child anew: it breaks its context
    EXPECT(SMALL, CMD_FAILED, "2 problems have no variant that works", "fail in the driver");
    assert_int_not_equal(access("data/wisdom.txt", F_OK), 0);
    fake.fail_next("", 0);
    EXPECT(SMALL, CMD_FAILED, "0 measurements", "2 problems have no variant that works"); // remembered
    EXPECT(SMALL " --retry", CMD_DONE, "2 of 2 problems decided; 0 keep the default variant, 2 have a faster one");
}

static void bad_wisdom_stops_before_anything_is_measured(void **state) {
    (void)state;
    assert_int_equal(mkdir("data", 0755), 0);
    write_file("data/wisdom.txt", "sagegen wisdom 1\nrow\nhash 0123456789abcdef\n");
    EXPECT(SMALL, CMD_BAD_INPUT, "data/wisdom.txt:2:1: error: a row before any machine; nothing of this file is taken");
    EXPECT("--merge data/wisdom.txt --out both.txt", CMD_BAD_INPUT, "data/wisdom.txt:2", "nothing was written");
    assert_int_not_equal(access("both.txt", F_OK), 0);
    assert_int_equal(fake.counts().retains, 0);
}

static void words_are_checked(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"--merge", "--merge needs wisdom files"},
        {"--merge a.txt", "--merge needs --out"},
        {"--merge a.txt --out b.txt --again", "--merge measures nothing"},
        {"a.txt", "wisdom files with --merge"},
        {"--arch sm_90a", "--arch goes with --device vm"},
        {"--device vm --arch sm_80,sm_90a", "--arch takes one target"},
        {"--device gpu", "none of vm, cuda"},
        {"--problems quick --n 64", "--problems excludes"},
        {"--problems nowhere.txt", "shipped are bench, quick, tune"},
        {"--spec int8_fp8_d129", "did you mean"},
        {"--heads-kv 0", "--heads-kv must be a whole number"},
        {"--timeout x", "--timeout must be a whole number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) EXPECT(cases[i][0], CMD_BAD_INPUT, cases[i][1]);
    EXPECT("--help", CMD_DONE, "--merge", "successive halving");
    setenv("SAGE_WISDOM", "none", 1);
    EXPECT(SMALL, CMD_BAD_INPUT, "there is no place for wisdom");
    setenv("SAGE_DRIVER", "/nothing/here", 1);
    EXPECT(SMALL " --out w.txt --journal j", CMD_FAILED, "nothing can be tuned", "--device vm");
}

static void estimates_leave_wisdom_alone(void **state) {
    (void)state;
    need_nvrtc();
    EXPECT(SMALL " --device vm", CMD_DONE, "ESTIMATES", "nothing was measured", "estimates go to --out alone");
    assert_int_not_equal(access("data", F_OK), 0);
    EXPECT(SMALL " --device vm --out e.txt --json", CMD_DONE, "\"estimate\": true", "\"decided\": 2");
    assert_true(holds("e.txt", "machine sm_90 132 estimate PTX virtual machine\n"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(winners_become_wisdom),
        T(a_driver_that_fails_everything_names_no_winner),
        T(bad_wisdom_stops_before_anything_is_measured),
        T(words_are_checked),
        T(estimates_leave_wisdom_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
