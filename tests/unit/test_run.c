// Tests of sagegen run: words, shapes, the io type, files, the check, and whole calls on the fake driver, whose kernels
// are a hook that fills O and LSE. Kernels come from a spec provider where NVRTC is present.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cmd.h"
#include "context.h"
#include "fake_cuda.h"
#include "kernel_args.h"
#include "reference/attention.h"
#include "reference/npy.h"
#include "run_check.h"
#include "run_input.h"
#include "run_launch.h"
#include "run_output.h"
#include "run_report.h"
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fake_cuda fake;
static char home[64];

/* -- Fixture ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

// Every test works in a new folder, which is also where the cache lives.
static int set_up(void **state) {
    (void)state;
    strcpy(home, "/tmp/sage_run_XXXXXX");
    if (!mkdtemp(home) || chdir(home) != 0) return -1;
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    setenv("SAGE_CACHE_DIR", "cache", 1);
    if (!fake.library) fake = fake_cuda_open(FAKE_CUDA_PATH);
    if (!fake.library) return -1;
    fake.reset();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return chdir("/") == 0 ? nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS) : -1;
}

static struct tensor make(enum number_format format, int ndim, const int64_t *shape) {
    struct tensor t;
    char why[256];
    if (!tensor_create(FORMAT_F32, ndim, shape, &t, why, sizeof why)) fail_msg("%s", why);
    for (size_t i = 0; i < tensor_count(&t); i++) ((float *)t.data)[i] = (float)((i * 37 + 11) % 64) / 32 - 1;
    if (!run_round(&t, format, why, sizeof why)) fail_msg("%s", why);
    return t;
}

static void save(const char *path, struct tensor t) {
    char why[256];
    if (!npy_write(path, &t, t.dtype, why, sizeof why)) fail_msg("%s", why);
    tensor_free(&t);
}

static struct tensor load(const char *path) {
    struct tensor t;
    char why[256];
    if (!npy_read(path, NPY_RAW16_REFUSE, &t, why, sizeof why)) fail_msg("%s", why);
    return t;
}

#define DIMS(...)                                                                                                      \
    (const int64_t[]) {                                                                                                \
        __VA_ARGS__                                                                                                    \
    }

// q.npy, k.npy and v.npy of 2 x 4 heads (K and V: 2), 10 queries, 12 keys.
static void save_inputs(enum number_format format) {
    save("q.npy", make(format, 4, DIMS(2, 4, 10, 64)));
    save("k.npy", make(format, 4, DIMS(2, 2, 12, 64)));
    save("v.npy", make(format, 4, DIMS(2, 2, 12, 64)));
}

enum { CALL_WORDS_MAX = 40, TEXT_BYTES = 8192 };

// Runs the command with standard output and error in files; *text gets both, output first.
static int call(char text[TEXT_BYTES], const char *words) {
    char copy[1024], *argv[CALL_WORDS_MAX + 1], *rest = NULL;
    int argc = 0;
    snprintf(copy, sizeof copy, "run %s", words);
    for (char *word = strtok_r(copy, " ", &rest); word && argc < CALL_WORDS_MAX; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    argv[argc] = NULL;
    fflush(NULL);
    FILE *file = tmpfile();
    int out = dup(1), err = dup(2);
    assert_true(file && out >= 0 && err >= 0);
    dup2(fileno(file), 1);
    dup2(fileno(file), 2);
    int status = cmd_run(argc, argv);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    rewind(file);
    text[fread(text, 1, TEXT_BYTES - 1, file)] = 0;
    fclose(file);
    return status;
}

#define FILES "--q q.npy --k k.npy --v v.npy "

static void refused(const char *words, const char *expected) {
    char text[TEXT_BYTES];
    int status = call(text, words);
    if (status != CMD_BAD_INPUT || !strstr(text, expected))
        fail_msg("run %s: status %d, \"%s\", expected \"%s\"", words, status, text, expected);
    assert_int_equal(fake.counts().retains, 0); // no GPU was asked
    assert_int_not_equal(access("o.npy", F_OK), 0);
}

/* -- Words and files ---- */

static void test_words(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "--q FILE is missing"},
        {"--q q.npy --k k.npy", "--v FILE is missing"},
        {FILES, "--out FILE is missing"},
        {FILES "--out o.npy --frobnicate", "unknown option --frobnicate"},
        {FILES "--out o.npy stray", "unexpected word 'stray'"},
        {FILES "--out o.npy --q q.npy", "--q is given twice"},
        {FILES "--out o.npy --device cuda:x", "'cuda:x' is none of vm, cuda, cuda:N"},
        {FILES "--out o.npy --device vm --repeat 3", "--repeat is for GPUs"},
        {FILES "--out o.npy --device cuda --arch sm_80", "--arch is for --device vm"},
        {FILES "--out o.npy --device cuda --seed 1", "--seed is for --device vm"},
        {FILES "--out o.npy --device vm --arch sm_80,sm_86", "--arch takes one target, not 'sm_80,sm_86'"},
        {FILES "--out o.npy --device vm --arch sm_70", "'sm_70' is none of"},
        {FILES "--out o.npy --device vm --seed x", "--seed must be a whole number, not 'x'"},
        {FILES "--out o.npy --device cuda:", "is none of"},
        {FILES "--out o.npy --layout nbhd", "'nbhd' is none of bhnd, bnhd"},
        {FILES "--out o.npy --io f32", "'f32' is none of auto, bf16, fp16"},
        {FILES "--out o.npy --precision int4", "'int4' is none of auto, int8_fp16"},
        {FILES "--out o.npy --sm-scale -1", "--sm-scale must be a finite number above 0, not '-1'"},
        {FILES "--out o.npy --sm-scale nan", "not 'nan'"},
        {FILES "--out o.npy --sm-scale 1x", "not '1x'"},
        {FILES "--out o.npy --repeat 0", "--repeat must be"},
        {FILES "--out o.npy --spec fp4_d64 --precision fp4", "exclude each other"},
        {FILES "--out o.npy --spec int8_fp9_d64", "did you mean 'int8_fp8_d64'?"},
        {FILES "--out o.npy --spec int8_fp8_d128", "head dim of 128 (V: 128); the tensors have 64 (V: 64)"},
        {FILES "--out o.npy --names a,b,c", "--names needs --tensors"},
        {FILES "--out o.npy --tensors t.safetensors", "--q and --tensors exclude each other"},
        {"--out o.npy --tensors t.npy", "a .safetensors file"},
        {"--out o.npy --tensors t.safetensors --names a,b", "three names with commas"},
        {"--out o.npy --tensors t.safetensors --names a,b,c,d", "three names with commas"},
        {"--out o.npy --tensors t.safetensors --names a,,c", "three names with commas"},
        {"--out o.npy --tensors t.safetensors", "t.safetensors: cannot be opened"},
    };
    save_inputs(FORMAT_F16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused(cases[i][0], cases[i][1]);
}

static void test_help(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    assert_int_equal(call(text, "--help"), CMD_DONE);
    assert_non_null(strstr(text, "--sm-scale X"));
}

static void test_files(void **state) {
    (void)state;
    save_inputs(FORMAT_F16);
    assert_int_equal(mkdir("folder.npy", 0700), 0);
    refused("--q none.npy --k k.npy --v v.npy --out o.npy", "none.npy: cannot be opened");
    refused("--q cache --k k.npy --v v.npy --out o.npy", "cache: cannot be opened");
    refused("--q folder.npy --k k.npy --v v.npy --out o.npy", "folder.npy: it is no regular file");
    refused(FILES "--out none/o.npy", "the folder none: No such file");
    refused(FILES "--out q.npy/o.npy", "q.npy");
    refused(FILES "--out o.txt", "only .npy files are written");
    refused(FILES "--out folder.npy", "is no regular file");
    refused(FILES "--out q.npy", "also an input");
    refused(FILES "--out ./v.npy", "also an input");
    refused(FILES "--out o.npy --lse k.npy", "also an input");
    refused(FILES "--out o.npy --lse o.npy", "the same file");
}

static void test_safetensors(void **state) {
    (void)state;
    const char *sample = SOURCE_DIR "/tests/data/minilm.safetensors";
    struct tensor t;
    char why[1024], text[512];
    size_t len;
    assert_string_equal(run_tensor_name("a/b.safetensors:x:y", &len), "x:y");
    assert_int_equal(len, strlen("a/b.safetensors"));
    assert_null(run_tensor_name("a/b.safetensors", &len));
    assert_null(run_tensor_name("a:b.npy", &len));
    snprintf(text, sizeof text, "%s:layer0.q", sample);
    assert_true(run_read(text, false, &t, why, sizeof why));
    assert_int_equal(t.ndim, 3);
    tensor_free(&t);
    assert_false(run_read(sample, false, &t, why, sizeof why));
    assert_non_null(strstr(why, "say which tensor"));
    snprintf(text, sizeof text, "%s:nothing", sample);
    assert_false(run_read(text, false, &t, why, sizeof why));
    assert_non_null(strstr(why, "there is no tensor \"nothing\"; it has layer0."));
}

static void test_output_is_whole_or_nothing(void **state) {
    (void)state;
    struct tensor t = make(FORMAT_BF16, 2, DIMS(3, 8));
    char why[512];
    const struct run_file files[] = {{"a.npy", &t}, {"none/b.npy", &t}};
    assert_false(run_output_write(files, 2, why, sizeof why));
    assert_non_null(strstr(why, "none/b.npy"));
    assert_int_not_equal(access("a.npy", F_OK), 0);
    assert_true(run_output_write(files, 1, why, sizeof why));
    struct tensor back = load("a.npy");
    assert_int_equal(back.dtype, FORMAT_F32); // bf16 has no .npy type
    tensor_free(&back);
    tensor_free(&t);
}

/* -- Shapes ---- */

static bool shape_of(int ndim, const int64_t *q, const int64_t *k, const int64_t *v, enum run_layout layout,
                     struct run_shape *out, char why[512]) {
    struct tensor in[RUN_INPUTS] = {0};
    const int64_t *dims[RUN_INPUTS] = {q, k, v};
    for (int i = 0; i < RUN_INPUTS; i++) {
        in[i].dtype = FORMAT_F16;
        in[i].ndim = ndim;
        memcpy(in[i].shape, dims[i], (size_t)ndim * sizeof *dims[i]);
    }
    return run_shape_make(in, layout, out, why, 512);
}

static void expect_shape(const struct run_shape *s, const int64_t expected[7]) {
    const sage_attention_shape *e = &s->extent;
    const int64_t got[7] = {e->batch, e->heads_q, e->heads_kv, e->seq_q, e->seq_k, s->dim_qk, s->dim_v};
    for (int i = 0; i < 7; i++) assert_int_equal(got[i], expected[i]);
}

static void test_shapes(void **state) {
    (void)state;
    struct run_shape s;
    char why[512];
    assert_true(shape_of(4, DIMS(2, 8, 100, 64), DIMS(2, 2, 70, 64), DIMS(2, 2, 70, 32), RUN_BHND, &s, why));
    expect_shape(&s, DIMS(2, 8, 2, 100, 70, 64, 32));
    assert_true(shape_of(4, DIMS(2, 100, 8, 64), DIMS(2, 70, 2, 64), DIMS(2, 70, 2, 32), RUN_BNHD, &s, why));
    expect_shape(&s, DIMS(2, 8, 2, 100, 70, 64, 32));
    const sage_tensor strides = run_strides(&s, 8, 100, 64);
    assert_int_equal(strides.stride_batch, 8 * 100 * 64);
    assert_int_equal(strides.stride_head, 64);
    assert_int_equal(strides.stride_seq, 8 * 64);
    assert_true(shape_of(3, DIMS(8, 100, 64), DIMS(8, 70, 64), DIMS(8, 70, 64), RUN_BHND, &s, why));
    expect_shape(&s, DIMS(1, 8, 8, 100, 70, 64, 64));
    assert_true(shape_of(3, DIMS(100, 8, 64), DIMS(70, 8, 64), DIMS(70, 8, 64), RUN_BNHD, &s, why));
    expect_shape(&s, DIMS(1, 8, 8, 100, 70, 64, 64));
    assert_true(shape_of(2, DIMS(100, 64), DIMS(70, 64), DIMS(70, 64), RUN_BNHD, &s, why));
    expect_shape(&s, DIMS(1, 1, 1, 100, 70, 64, 64));
    assert_int_equal(run_strides(&s, 1, 100, 64).stride_seq, 64);
    assert_true(shape_of(2, DIMS(0, 64), DIMS(0, 64), DIMS(0, 64), RUN_BHND, &s, why));
    assert_true(run_operations(&s, false) == 0);
}

static void test_shape_errors(void **state) {
    (void)state;
    const struct {
        int ndim;
        const int64_t *q, *k, *v;
        const char *expected;
    } cases[] = {
        {1, DIMS(64), DIMS(64), DIMS(64), "Q is f16 [64]; 4 dimensions"},
        {5, DIMS(1, 1, 1, 1, 8), DIMS(1, 1, 1, 1, 8), DIMS(1, 1, 1, 1, 8), "4 dimensions"},
        {4, DIMS(2, 4, 9, 64), DIMS(3, 4, 9, 64), DIMS(3, 4, 9, 64), "the batch is 2 in Q and 3 in K"},
        {4, DIMS(2, 4, 9, 64), DIMS(2, 4, 9, 64), DIMS(1, 4, 9, 64), "the batch is 2 in K and 1 in V"},
        {4, DIMS(2, 4, 9, 64), DIMS(2, 4, 9, 64), DIMS(2, 2, 9, 64), "the number of heads is 4 in K and 2 in V"},
        {4, DIMS(2, 4, 9, 64), DIMS(2, 4, 9, 64), DIMS(2, 4, 8, 64), "rows (keys) is 9 in K and 8 in V"},
        {4, DIMS(2, 4, 9, 64), DIMS(2, 4, 9, 72), DIMS(2, 4, 9, 72), "the head dim is 64 in Q and 72 in K"},
        {4, DIMS(2, 4, 9, 20), DIMS(2, 4, 9, 20), DIMS(2, 4, 9, 64), "Q has a head dim of 20"},
        {4, DIMS(2, 4, 9, 64), DIMS(2, 4, 9, 64), DIMS(2, 4, 9, 264), "V has a head dim of 264"},
        {4, DIMS(2, 5, 9, 64), DIMS(2, 2, 9, 64), DIMS(2, 2, 9, 64), "Q has 5 heads, K and V have 2"},
        {4, DIMS(2, 4, 9, 64), DIMS(2, 0, 9, 64), DIMS(2, 0, 9, 64), "Q has 4 heads, K and V have 0"},
        {2, DIMS(9, 64), DIMS(INT32_MAX, 64), DIMS(INT32_MAX, 64), "K has 2147483647 rows"},
        {4, DIMS(1 << 20, 1 << 20, 9, 64), DIMS(1 << 20, 1, 9, 64), DIMS(1 << 20, 1, 9, 64), "1048576 x 1048576 heads"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_shape s;
        char why[512] = "";
        bool ok = shape_of(cases[i].ndim, cases[i].q, cases[i].k, cases[i].v, RUN_BHND, &s, why);
        if (ok || !strstr(why, cases[i].expected)) fail_msg("case %zu: \"%s\"", i, why);
    }
}

/* -- Number format ---- */

static void test_scan(void **state) {
    (void)state;
    const struct {
        enum number_format format;
        double value[4];
        double max_abs;
        int not_finite;
    } cases[] = {
        {FORMAT_F16, {1, -2.5, NAN, INFINITY}, 2.5, 2},
        {FORMAT_BF16, {-3e38, 1, -INFINITY, 0}, 0x1.c2p127, 1},
        {FORMAT_F32, {1e-40, -0.0, 0, 0}, 0x1.16c2p-133, 0},
        {FORMAT_F64, {1e300, -1, NAN, 2}, 1e300, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tensor t = make(cases[i].format, 1, DIMS(4));
        const size_t bytes = format_bits(t.dtype) / 8;
        for (size_t j = 0; j < 4; j++) {
            const uint64_t code = format_encode(t.dtype, cases[i].value[j]);
            memcpy((char *)t.data + j * bytes, &code, bytes);
        }
        const struct run_scan scan = run_scan(&t);
        assert_true(fabs(scan.max_abs - cases[i].max_abs) <= 1e-2 * cases[i].max_abs);
        assert_int_equal(scan.not_finite, cases[i].not_finite);
        tensor_free(&t);
    }
}

static void test_format(void **state) {
    (void)state;
    enum { F16 = FORMAT_F16, BF16 = FORMAT_BF16, F32 = FORMAT_F32 };
    const struct {
        int dtype[3];
        double max_abs; /* of K */
        enum run_io asked;
        int expected; /* -1: refused with the text */
        const char *text;
    } cases[] = {
        {{F16, F16, F16}, 1, RUN_IO_AUTO, F16, NULL},
        {{BF16, BF16, BF16}, 1e30, RUN_IO_AUTO, BF16, NULL},
        {{F32, F32, F32}, 65504, RUN_IO_AUTO, F16, NULL},
        {{F32, F32, F32}, 65505, RUN_IO_AUTO, BF16, NULL},
        {{F32, F32, F32}, 1, RUN_IO_BF16, BF16, NULL},
        {{BF16, F32, F32}, 1e30, RUN_IO_AUTO, BF16, NULL},
        {{F16, F32, F32}, 1, RUN_IO_AUTO, F16, NULL},
        {{F16, F32, F32}, 1e6, RUN_IO_AUTO, -1, "K holds 1e+06, above the largest f16 number 65504; say --io bf16"},
        {{BF16, BF16, BF16}, 1e6, RUN_IO_FP16, -1, "say --io bf16"},
        {{F32, F32, F32}, 3.4e38, RUN_IO_AUTO, -1, "scale it down"},
        {{F16, BF16, F16}, 1, RUN_IO_AUTO, -1, "Q is f16, K is bf16, V is f16; say --io"},
        {{F16, BF16, F16}, 1, RUN_IO_FP16, F16, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tensor in[RUN_INPUTS] = {0};
        const struct run_scan scan[RUN_INPUTS] = {{1, 0}, {cases[i].max_abs, 0}, {1, 0}};
        enum number_format format = FORMAT_F64;
        char why[512] = "";
        for (int t = 0; t < RUN_INPUTS; t++) in[t].dtype = (enum number_format)cases[i].dtype[t];
        bool ok = run_format_choose(in, scan, cases[i].asked, &format, why, sizeof why);
        if (ok != (cases[i].expected >= 0) || (ok && (int)format != cases[i].expected))
            fail_msg("case %zu: %s", i, why);
        if (!ok && !strstr(why, cases[i].text)) fail_msg("case %zu: %s", i, why);
    }
}

/* -- Check ---- */

static void test_check_rows(void **state) {
    (void)state;
    struct run_shape s = {.extent =
                              {
                                  2,
                                  4,
                                  4,
                                  100,
                                  50,
                              },
                          .dim_qk = 64,
                          .dim_v = 64};
    int heads;
    size_t rows;
    run_check_rows(&s, RUN_CHECK_COST, &heads, &rows);
    assert_int_equal(heads, 8);
    assert_int_equal(rows, 100);
    run_check_rows(&s, 80 * 50 * 64, &heads, &rows); // 80 rows can be had
    assert_int_equal(heads, 8);
    assert_int_equal(rows, 10);
    run_check_rows(&s, 3 * 50 * 64, &heads, &rows);
    assert_int_equal(heads, 3);
    assert_int_equal(rows, 1);
    run_check_rows(&s, 0, &heads, &rows);
    assert_int_equal(heads, 1);
    s.extent.seq_k = 0;
    run_check_rows(&s, RUN_CHECK_COST, &heads, &rows);
    assert_int_equal(rows, 100);
}

// O and LSE of the reference itself, in the shape's layout: the check must find no difference.
static void test_check_of_the_reference(void **state) {
    (void)state;
    const struct run_shape s = {.layout = RUN_BNHD, .ndim = 4, .extent = {2, 4, 2, 5, 3}, .dim_qk = 16, .dim_v = 8};
    struct tensor in[RUN_INPUTS] = {make(FORMAT_F16, 4, DIMS(2, 5, 4, 16)), make(FORMAT_F16, 4, DIMS(2, 3, 2, 16)),
                                    make(FORMAT_F16, 4, DIMS(2, 3, 2, 8))};
    struct tensor o, lse;
    char why[512];
    assert_true(run_output_create(&s, FORMAT_F32, &o, why, sizeof why) && run_lse_create(&s, &lse, why, sizeof why));
    struct run_check_setup setup = {.shape = &s, .input = in, .o = &o, .lse = &lse, .causal = true, .cost = 1e9};
    struct tensor q, k, v;
    struct tensor view = run_view(&s, &in[RUN_Q], 4, 5, 16);
    assert_true(tensor_convert(&view, FORMAT_F32, &q, why, sizeof why));
    view = run_view(&s, &in[RUN_K], 2, 3, 16);
    assert_true(tensor_convert(&view, FORMAT_F32, &k, why, sizeof why));
    view = run_view(&s, &in[RUN_V], 2, 3, 8);
    assert_true(tensor_convert(&view, FORMAT_F32, &v, why, sizeof why));
    const struct attention_problem p = {q.data, k.data, v.data, 8, 4, 5, 3, 16, 8, 0, true};
    struct attention_sample samples[40];
    double exact[40 * 8], exact_lse[40];
    attention_spread(&p, 8, 5, samples);
    assert_true(attention_exact(&p, samples, 40, 1, exact, exact_lse, why, sizeof why));
    for (size_t b = 0; b < 2; b++)
        for (size_t h = 0; h < 4; h++)
            for (size_t n = 0; n < 5; n++) {
                ((float *)lse.data)[(b * 4 + h) * 5 + n] = (float)exact_lse[(b * 4 + h) * 5 + n];
                for (size_t d = 0; d < 8; d++)
                    ((float *)o.data)[((b * 5 + n) * 4 + h) * 8 + d] = (float)exact[((b * 4 + h) * 5 + n) * 8 + d];
            }
    struct run_check result;
    assert_true(run_check(&setup, &result, why, sizeof why));
    assert_int_equal(result.rows, 40);
    assert_int_equal(result.rows_all, 40);
    assert_true(result.o.rel_l2 < 1e-6 && result.lse.rel_l2 < 1e-6);
    ((float *)o.data)[3 * 4 * 8] += 1; // a row that sees keys
    assert_true(run_check(&setup, &result, why, sizeof why));
    assert_true(result.o.rel_l2 > 1e-2 && result.o.max_abs > 0.9);
    ((float *)lse.data)[0] = 1; // a row that sees none
    assert_true(run_check(&setup, &result, why, sizeof why));
    assert_true(!(result.lse.rel_l2 < 1));
    tensor_free(&q), tensor_free(&k), tensor_free(&v), tensor_free(&o), tensor_free(&lse);
    for (int i = 0; i < RUN_INPUTS; i++) tensor_free(&in[i]);
}

/* -- Whole calls, on the fake driver ---- */

// What the kernels would do, so that it can be recognised: O = 2 everywhere, LSE = 3.
static void fill_outputs(void *user, const struct fake_cuda_launch *launch) {
    struct sage_kernel_args args;
    (void)user;
    if (!strstr(launch->function, "attn_fwd")) return;
    memcpy(&args, launch->args, sizeof args);
    uint16_t *o = (uint16_t *)(uintptr_t)args.o;
    for (int64_t i = 0; i < 2 * 4 * 10 * 64; i++) o[i] = 0x4000; // 2 as fp16 and as bf16
    float *lse = (float *)(uintptr_t)args.lse;
    for (int64_t i = 0; lse && i < 2 * 4 * 10; i++) lse[i] = 3;
    *(uint32_t *)(uintptr_t)args.flags |= SAGE_OVERFLOW_K;
}

static bool nvrtc_is_here(void) {
    sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    sage_context *context = NULL;
    struct nvrtc_info info;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    bool here = nvrtc_find(context, &info) == SAGE_OK;
    sage_context_destroy(context);
    return here;
}

static void arm(void) {
    fake.set_args_bytes(sizeof(struct sage_kernel_args));
    fake.set_launch_hook(fill_outputs, NULL);
}

static void expect_all(const char *path, enum number_format format, double value, size_t count) {
    struct tensor t = load(path), wide;
    char why[256];
    assert_int_equal(t.dtype, format);
    assert_int_equal(tensor_count(&t), count);
    assert_true(tensor_convert(&t, FORMAT_F64, &wide, why, sizeof why));
    for (size_t i = 0; i < count; i++) assert_true(((double *)wide.data)[i] == value);
    tensor_free(&t);
    tensor_free(&wide);
}

static void test_no_gpu(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    save_inputs(FORMAT_F16);
    fake.set_device_count(0);
    assert_int_equal(call(text, FILES "--out o.npy --device cuda"), CMD_FAILED);
    assert_non_null(strstr(text, "cuInit"));
    assert_non_null(strstr(text, "nvidia-smi"));
    assert_int_not_equal(access("o.npy", F_OK), 0);
}

// Without a GPU, and without being asked to, on the PTX virtual machine; nothing is cached, since it is no cubin.
static void test_vm(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    if (!nvrtc_is_here()) skip();
    save_inputs(FORMAT_F16);
    fake.set_device_count(0);
    assert_int_equal(call(text, FILES "--out o.npy --lse l.npy --check --counts --precision int8_fp16"), CMD_DONE);
    assert_non_null(strstr(text, "note: no usable GPU ("));
    assert_non_null(strstr(text, "kernel   int8_fp16_d64 "));
    assert_non_null(strstr(text, "device   PTX virtual machine (sm_90, "));
    assert_non_null(strstr(text, " thread instructions in "));
    assert_non_null(strstr(text, "counts of int8_fp16_d64_attn_fwd_"));
    assert_non_null(strstr(text, "matrix product"));
    struct tensor first = load("o.npy"), again;
    const char *at = strstr(text, "check O  rel L2 ");
    assert_non_null(at);
    assert_true(strtod(at + strlen("check O  rel L2 "), NULL) < 0.03);
    assert_int_not_equal(access("cache", F_OK), 0);
    assert_int_equal(
        call(text, FILES "--out again.npy --device vm --arch sm_90a --precision int8_fp16 --seed 5 --json"), CMD_DONE);
    assert_non_null(strstr(text, "\"seed\": 5"));
    again = load("again.npy");
    assert_memory_equal(first.data, again.data, 2 * tensor_count(&first)); // every order of warps gives the same
    tensor_free(&first);
    tensor_free(&again);
    assert_int_equal(call(text, FILES "--out o.npy --device vm --arch sm_80 --spec fp4_d64"), CMD_FAILED);
    assert_non_null(strstr(text, "none of them runs on sm_80"));
}

// The same operands and the same rule, whether products are those of 4-bit tensor cores or of f16.
static void test_emulated_fp4(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    if (!nvrtc_is_here()) skip();
    save_inputs(FORMAT_F16);
    assert_int_equal(call(text, FILES "--out native.npy --device vm --spec fp4_d64"), CMD_DONE);
    assert_non_null(strstr(text, " sm_120a\n"));
    assert_int_equal(call(text, FILES "--out emulated.npy --device vm --emulate fp4"), CMD_DONE);
    assert_non_null(strstr(text, " sm_80\n"));
    assert_non_null(strstr(text, "4-bit products are emulated"));
    struct tensor native = load("native.npy"), emulated = load("emulated.npy");
    double difference = 0, norm = 0;
    for (size_t i = 0; i < tensor_count(&native); i++) {
        const double a = format_decode(FORMAT_F16, ((const uint16_t *)native.data)[i]);
        const double b = format_decode(FORMAT_F16, ((const uint16_t *)emulated.data)[i]);
        difference += (a - b) * (a - b);
        norm += a * a;
    }
    assert_true(norm > 0 && sqrt(difference / norm) < 1e-3);
    tensor_free(&native);
    tensor_free(&emulated);
    assert_int_equal(call(text, FILES "--out o.npy --device vm --emulate fp4 --spec int8_fp16_d64"), CMD_BAD_INPUT);
    assert_non_null(strstr(text, "int8_fp16_d64 has no 4-bit operands to emulate"));
    assert_int_equal(call(text, FILES "--out o.npy --emulate fp8"), CMD_BAD_INPUT);
    assert_int_equal(call(text, FILES "--out o.npy --emulate fp4 --precision fp4"), CMD_BAD_INPUT);
}

static void test_call(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    if (!nvrtc_is_here()) skip();
    save_inputs(FORMAT_F32);
    arm();
    assert_int_equal(call(text, FILES "--out o.npy --lse l.npy --spec int8_fp16_d64 --check --repeat 5"), CMD_DONE);
    assert_non_null(strstr(text, "note: Q is f32 (largest magnitude 1) and is rounded to f16"));
    assert_non_null(strstr(text, "warning: overflow or values that are not finite in K"));
    assert_non_null(strstr(text, "kernel   int8_fp16_d64 "));
    assert_non_null(strstr(text, "all 80 rows"));
    assert_non_null(strstr(text, "median of 5"));
    expect_all("o.npy", FORMAT_F16, 2, 2 * 4 * 10 * 64);
    expect_all("l.npy", FORMAT_F32, 3, 2 * 4 * 10);
    assert_int_equal(fake.counts().allocations, fake.counts().frees);
    assert_int_equal(fake.counts().retains, fake.counts().releases);
    assert_int_equal(fake.counts().modules, fake.counts().unloads);
    assert_int_equal(fake.stack_depth(), 0);
}

// A spec of the user's own, in a file; the safe mode; bf16; [batch, rows, heads, dim].
static void test_call_with_own_spec(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    if (!nvrtc_is_here()) skip();
    FILE *file = fopen("own.yaml", "w");
    assert_non_null(file);
    fputs("kernel: attention_forward\nname: own\nhead_dim: 64\nqk: {format: int8}\npv: {p: fp16, v: fp16}\n"
          "targets: [sm_80, sm_90a]\n",
          file);
    assert_int_equal(fclose(file), 0);
    save("q.npy", make(FORMAT_F16, 4, DIMS(2, 10, 4, 64)));
    save("k.npy", make(FORMAT_F16, 4, DIMS(2, 12, 2, 64)));
    save("v.npy", make(FORMAT_F16, 4, DIMS(2, 12, 2, 64)));
    arm();
    int status = call(text, FILES "--out o.npy --spec own.yaml --safe --io bf16 --layout bnhd --json");
    if (status != CMD_DONE) fail_msg("%s", text);
    assert_non_null(strstr(text, "\"kernel\": \"own "));
    assert_non_null(strstr(text, " safe\","));
    assert_non_null(strstr(text, "\"safe\": true"));
    expect_all("o.npy", FORMAT_F32, 2, 2 * 4 * 10 * 64);
    const struct fake_cuda_launch *last = fake.launch_at(fake.launch_count() - 1);
    struct sage_kernel_args args;
    memcpy(&args, last->args, sizeof args);
    assert_int_equal(args.q_stride_h, 64);
    assert_int_equal(args.q_stride_n, 4 * 64);
    assert_int_equal(args.k_stride_n, 2 * 64);
}

// A failure after the launch leaves nothing behind, on disk or on the device.
static void test_failing_device(void **state) {
    (void)state;
    static const struct {
        const char *entry;
        int result;
        const char *expected;
    } cases[] = {{"cuMemAlloc_v2", 2, "out of memory"},
                 {"cuMemcpyHtoDAsync_v2", 700, "cuMemcpyHtoDAsync"},
                 {"cuLaunchKernel", 1, "CUDA_ERROR_FAKE"},
                 {"cuMemcpyDtoHAsync_v2", 700, "cuMemcpyDtoHAsync"},
                 {"cuStreamCreate", 2, "cuStreamCreate"}};
    if (!nvrtc_is_here()) skip();
    save_inputs(FORMAT_F16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[TEXT_BYTES];
        fake.reset();
        fake.fail_next(cases[i].entry, cases[i].result);
        int status = call(text, FILES "--out o.npy --spec int8_fp16_d64");
        if (status != CMD_FAILED || !strstr(text, cases[i].expected))
            fail_msg("%s: status %d, %s", cases[i].entry, status, text);
        assert_int_equal(fake.counts().allocations, fake.counts().frees);
        assert_int_equal(fake.counts().retains, fake.counts().releases);
        assert_int_not_equal(access("o.npy", F_OK), 0);
    }
}

// Kernels that write nothing are seen: O starts as NaN.
static void test_nothing_computed(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    if (!nvrtc_is_here()) skip();
    save_inputs(FORMAT_F16);
    assert_int_equal(call(text, FILES "--out o.npy --spec int8_fp16_d64 --check"), CMD_FAILED);
    assert_non_null(strstr(text, "the output holds NaN or infinity"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_words),
        TEST(test_help),
        TEST(test_files),
        TEST(test_safetensors),
        TEST(test_output_is_whole_or_nothing),
        TEST(test_shapes),
        TEST(test_shape_errors),
        TEST(test_scan),
        TEST(test_format),
        TEST(test_check_rows),
        TEST(test_check_of_the_reference),
        TEST(test_no_gpu),
        TEST(test_vm),
        TEST(test_emulated_fp4),
        TEST(test_call),
        TEST(test_call_with_own_spec),
        TEST(test_failing_device),
        TEST(test_nothing_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
