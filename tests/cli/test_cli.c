// Tests of the program as a user meets it: exit statuses, messages, JSON, files. Runs the built sagegen in a temporary
// directory with a cache of its own. The parts that compile skip themselves where there is no NVRTC.
// SPDX-License-Identifier: Apache-2.0
#include "fake_cuda.h"
#include "runtime_fixture.h"

#include "buf.h"
#include <jansson.h>
#include <sys/wait.h>

/* -- Running ------------------------------------------------------------------ */

struct cli {
    char dir[64];
    char out[1 << 16], err[1 << 16];
    int status;
};

static struct cli cli; // one process, one test at a time

static void read_text(const char *name, char *out, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", cli.dir, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void write_text(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", cli.dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void run(const char *words) {
    char command[1024];
    snprintf(command, sizeof command, "cd %s && %s %s >out 2>err </dev/null", cli.dir, SAGEGEN_PATH, words);
    int result = system(command);
    cli.status = WIFEXITED(result) ? WEXITSTATUS(result) : -1;
    read_text("out", cli.out, sizeof cli.out);
    read_text("err", cli.err, sizeof cli.err);
}

static void expect(const char *words, int status, const char *in_out, const char *in_err) {
    run(words);
    bool good = cli.status == status && strstr(cli.out, in_out) && strstr(cli.err, in_err);
    if (!good) print_message("sagegen %s: status %d\nout: %s\nerr: %s\n", words, cli.status, cli.out, cli.err);
    assert_true(good);
}

// stdout as JSON, and nothing but JSON.
static json_t *expect_json(const char *words, int status) {
    json_error_t error;
    run(words);
    json_t *root = json_loads(cli.out, 0, &error);
    if (!root) print_message("sagegen %s: %s at line %d of\n%s\n%s\n", words, error.text, error.line, cli.out, cli.err);
    assert_non_null(root);
    assert_int_equal(cli.status, status);
    return root;
}

static bool exists(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", cli.dir, name);
    return access(path, F_OK) == 0;
}

static int set_up(void **state) {
    (void)state;
    fixture_directory(cli.dir);
    char cache[128];
    snprintf(cache, sizeof cache, "%s/cache", cli.dir);
    setenv("SAGE_CACHE_DIR", cache, 1);
    unsetenv("SAGE_TEMPLATE_DIR");
    setenv("SAGE_WISDOM", "none", 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_remove_tree(cli.dir);
    return 0;
}

static void need_nvrtc(void) {
    run("doctor");
    if (cli.status != 0) skip();
}

/* -- Words ---------------------------------------------------------------------- */

static void test_help_and_version(void **state) {
    (void)state;
    static const char *const commands[] = {"",       "build", "check",  "list",  "expand", "where",
                                           "fields", "cache", "doctor", "bench", "verify", "tune", "wisdom",
                                           "pack", "inspect"};
    expect("--version", 0, "sagegen ", "");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char words[64];
        snprintf(words, sizeof words, "%s --help", commands[i]);
        expect(words, 0, "usage: sagegen ", "");
        assert_non_null(strstr(cli.out, "examples:"));
        assert_string_equal(cli.err, "");
    }
}

static void test_mistyped_words_are_bad_input_with_a_suggestion(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"lst", "unknown command 'lst'; did you mean 'list'?"},
        {"frobnicate", "unknown command 'frobnicate'; see sagegen --help"},
        {"--spce x", "unknown option --spce; did you mean --spec?"},
        {"list --jsn", "unknown option --jsn; did you mean --json?"},
        {"--spec fp4_d128 -x", "unknown option -x"},
        {"--spec", "--spec needs a value"},
        {"--spec fp4_d129", "did you mean 'fp4_d128'?"},
        {"--spec nothing.yaml", "nothing.yaml: error: cannot be opened"},
        {"--spec fp4_d128 --arch sm_91", "'sm_91' is none of"},
        {"--spec fp4_d128 --io f32", "--io: 'f32' is none of bf16, fp16"},
        {"--spec fp4_d128 --mask casual", "did you mean 'causal'?"},
        {"--spec fp4_d128 --jobs 0", "--jobs must be a whole number"},
        {"--spec fp4_d128 --variant q1_k1_s1_w1", "specs/fp4_d128.yaml:15:"},
        {"--spec fp4_d128 --variant a --all-variants", "exclude each other"},
        {"--spec fp4_d128 --verify", "sagegen verify"},
        {"--spec fp4_d128 --spec fp4_d128", "is taken by another spec"},
        {"--json", "no spec given"},
        {"", "nothing to do"},
        {"check", "no spec given"},
        {"wisdom", "wisdom path, ls, export or import?"},
        {"wisdom exprot", "did you mean 'export'?"},
        {"wisdom import", "import which files?"},
        {"wisdom export a b", "export takes no 'b'"},
        {"expand --spec fp4_d128 --role quantize_kv", "did you mean 'quantise_kv'?"},
        {"expand --spec int8_fp16_d64 --role delta_s", "needs no such kernel"},
        {"cache lst", "did you mean 'ls'?"},
        {"verify --soak 0", "--soak must be a whole number"},
        {"verify --soak 5 --only gates", "--soak runs instead of the checks"},
        {"verify --soak 5 --full", "--full, --only, --random and --counts do not go with it"},
        {"verify --soak 5 --random 3", "--random and --counts do not go with it"},
        {"verify --soak 5 --streams 65", "--streams must be a whole number of 1...64"},
        {"verify --streams 2", "--streams is of --soak"},
        {"bench --contenders fa3_fp9", "did you mean 'fa3_fp8'?"},
        {"bench --mode kernl", "did you mean 'kernel'?"},
        {"bench --mask casual", "did you mean 'causal'?"},
        {"bench --n 0", "--n must be a whole number"},
        {"bench --d 60", "d must be a multiple of 8, not 60"},
        {"bench --quick --n 4096", "exclude --d, --n"},
        {"bench --problems nothing.txt", "no file and no shipped problems are named 'nothing.txt'"},
        {"bench record.json", "a record is shown by --table record.json"},
        {"bench --table nothing.json", "nothing.json: error: cannot be opened"},
        {"bench --table a.json --quick", "--table shows a record"},
        {"bench --spec fp4_d129", "did you mean 'fp4_d128'?"},
        {"where kernel.cu", "is not FILE.cu:LINE"},
        {"where nothing.cu:1", "nothing.map: No such file"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect(rows[i][0], 2, "", rows[i][1]);
        assert_string_equal(cli.out, "");
    }
}

/* -- Specs ---------------------------------------------------------------------- */

static void test_bad_spec_gives_all_errors_and_writes_nothing(void **state) {
    (void)state;
    write_text("bad.yaml",
               "kernel: attention_forward\nname: bad\nhead_dim: 73\nqk: {format: int9}\npv: {p: fp16, v: fp16}\n"
               "targets: [sm_80]\n");
    expect("--spec bad.yaml --out kernels", 2, "", "bad.yaml:3:11: error: head_dim = 73 must be a multiple of 8");
    assert_non_null(strstr(cli.err, "bad.yaml:4:"));
    assert_non_null(strstr(cli.err, "head_dim: 73\n          ^\n"));
    assert_false(exists("kernels"));
    assert_false(exists("cache"));
    expect("--spec fp4_d128 --spec bad.yaml --out kernels", 2, "", "bad.yaml:3:11");
    assert_false(exists("kernels"));
    expect("check bad.yaml", 2, "", "bad.yaml:3:11");
    expect("list --spec bad.yaml", 2, "", "bad.yaml:3:11");
    expect("expand --spec bad.yaml", 2, "", "bad.yaml:3:11");
}

static void test_spec_that_no_target_can_run(void **state) {
    (void)state;
    write_text("flush.yaml",
               "kernel: attention_forward\nname: large\nhead_dim: 256\nqk: {format: int8}\npv: {p: fp16, v: fp16}\n"
               "targets: [sm_86]\ntune: {tile_q: [256], tile_k: [256], stages: [8]}\n");
    expect("check flush.yaml", 2, "", "flush.yaml:6:11: error: no variant of large can run on sm_86: ");
    expect("--spec flush.yaml", 2, "", "flush.yaml:6:11: error: no variant of large");
}

static void test_good_specs_check(void **state) {
    (void)state;
    expect("check fp4_d128 int8_fp8_d64", 0, "fp4_d128: ok", "");
    expect("check " SOURCE_DIR "/specs/fp4_d64.yaml", 0, "ok (fp4_d64, hash ", "");
}

static void test_list_marks_one_default_and_gives_reasons(void **state) {
    (void)state;
    expect("list --spec fp4_d128", 0, "needs about", "");
    json_t *rows = expect_json("list fp4_d128 --json", 0), *row;
    size_t i;
    int defaults = 0;
    assert_true(json_array_size(rows) > 4);
    json_array_foreach(rows, i, row) {
        bool runs = json_is_true(json_object_get(row, "applicable"));
        const char *reason = json_string_value(json_object_get(row, "reason"));
        defaults += json_is_true(json_object_get(row, "default"));
        assert_non_null(reason);
        assert_true(runs == (reason[0] == '\0'));
    }
    assert_int_equal(defaults, 1);
    json_decref(rows);
}

static void test_fields_as_json(void **state) {
    (void)state;
    json_t *rows = expect_json("fields --json", 0);
    assert_true(json_array_size(rows) > 20);
    json_decref(rows);
    expect("fields", 0, "qk.format", "");
}

/* -- Text and its lines ----------------------------------------------------------- */

static void test_expand_and_where(void **state) {
    (void)state;
    expect("expand --spec int8_fp16_d64 --arch sm_80 --io fp16 --mask causal", 0, "int8_fp16_d64_attn_fwd_q128_k", "");
    assert_non_null(strstr(cli.out, "_sm_80_fp16_causal"));
    expect("expand --spec int8_fp16_d64 --role quantise_q -o quantise_q.cu", 0, "", "");
    assert_true(exists("quantise_q.cu") && exists("quantise_q.map"));
    expect("where quantise_q.cu:1", 0, "templates/prelude.cu.tl:", "");
    expect("where 'quantise_q.cu(1)'", 0, "templates/prelude.cu.tl:", "");
    expect("where quantise_q.cu:1000000", 2, "", "quantise_q.cu has ");
    write_text("other.map", "not a map\n");
    expect("where other.cu:1", 2, "", "other.map is not a line map");
}

// The banner of a safe kernel says so, and its command makes the same text again, under the same name of the spec.
static void test_expand_in_the_safe_mode(void **state) {
    (void)state;
    char plain[sizeof cli.out], safe[sizeof cli.out], again[512];
    expect("expand --spec int8_fp8acc16_d128 --role quantise_q", 0, "_quantise_q_", "");
    strcpy(plain, cli.out);
    assert_null(strstr(plain, "safe"));
    expect("expand --safe --spec int8_fp8acc16_d128 --role quantise_q", 0, "// spec int8_fp8acc16_d128 (hash ", "");
    strcpy(safe, cli.out);
    assert_non_null(strstr(safe, "   numerics safe\n"));
    assert_non_null(strstr(safe, " --safe\n"));
    const char *command = strstr(safe, "// again: sagegen ");
    assert_non_null(command);
    command += strlen("// again: sagegen ");
    snprintf(again, sizeof again, "%.*s", (int)strcspn(command, "\n"), command);
    assert_int_equal(symlink(SOURCE_DIR "/specs", strcat(strcpy(plain, cli.dir), "/specs")), 0);
    expect(again, 0, safe, "");
    expect("list int8_fp8acc16_d128 --safe", 0, "yes", "");
}

static void test_errors_in_templates_point_at_them(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "cp -r %s/templates %s/templates", SOURCE_DIR, cli.dir);
    assert_int_equal(system(command), 0);
    write_text("templates/quantise_q.cu.tl", "@ wrappers()\nint x = ${no_such_name};\n");
    setenv("SAGE_TEMPLATE_DIR", "templates", 1);
    expect("expand --spec int8_fp16_d64 --role quantise_q", 1, "",
           "templates/quantise_q.cu.tl:2:1: error: undefined name 'no_such_name'");
    unsetenv("SAGE_TEMPLATE_DIR");
}

/* -- Machine ------------------------------------------------------------------------ */

static void test_doctor_without_nvrtc(void **state) {
    (void)state;
    setenv("SAGE_NVRTC", "/nothing/here", 1);
    expect("doctor", 1, "verdict    kernels cannot be compiled here", "");
    json_t *root = expect_json("doctor --json", 1);
    assert_true(json_is_false(json_object_get(root, "can_compile")));
    assert_true(json_array_size(json_object_get(root, "remedies")) > 0);
    json_decref(root);
    expect("--spec fp4_d128", 1, "", "no usable NVRTC library");
    expect("expand --spec fp4_d128", 0, "fp4_d128_attn_fwd", ""); // needs none
    unsetenv("SAGE_NVRTC");
}

// nvdisasm's place is taken by a script that prints a listing, or fails.
static void write_disassembler(const char *name, const char *script) {
    char path[128];
    write_text(name, script);
    snprintf(path, sizeof path, "%s/%s", cli.dir, name);
    assert_int_equal(chmod(path, 0755), 0);
}

static void test_sass_of_files(void **state) {
    (void)state;
    static const char listing[] = "\t.target\tsm_90a\n\t.section\t.text.some_kernel,\"ax\"\n.L_x_1:\n"
                                  "        /*0000*/  IMMA.16832.S8.S8 R4, R8.ROW, R10.COL, R4 ;\n"
                                  "        /*0010*/  MUFU.EX2 R1, R1 ;\n"
                                  "        /*0020*/  @!P0 BRA `(.L_x_2) ;\n        /*0030*/  FMUL R2, R2, R3 ;\n.L_x_2:\n"
                                  "        /*0040*/  @P1 BRA `(.L_x_1) ;\n        /*0050*/  EXIT ;\n";
    write_text("kernel.sass", listing);
    expect("sass kernel.sass --scores 2", 0, "4 issue slots for 2 scores a thread: 2.00 a score", "");
    expect("sass kernel.sass --scores 2 --annotate", 0, "0030 . fmul", "");
    json_t *root = expect_json("sass kernel.sass --scores 2 --json", 0);
    json_t *row = json_array_get(json_object_get(root, "kernels"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "name")), "some_kernel");
    assert_int_equal(json_integer_value(json_object_get(row, "skipped_slots")), 1);
    json_decref(root);

    write_text("kernel.cubin", "\177ELF and more");
    write_disassembler("nvdisasm", "#!/bin/sh\ncat kernel.sass\n");
    expect("sass kernel.cubin --nvdisasm nvdisasm --scores 2", 0, "2.00 a score", "");
    expect("sass kernel.cubin --nvdisasm . --scores 2", 0, "2.00 a score", "");
    write_disassembler("nvdisasm", "#!/bin/sh\necho nvdisasm fatal: no such thing >&2\nexit 1\n");
    expect("sass kernel.cubin --nvdisasm ./nvdisasm", 1, "", "failed: nvdisasm fatal: no such thing");
    write_disassembler("nvdisasm", "#!/bin/sh\nexit 0\n");
    expect("sass kernel.cubin --nvdisasm ./nvdisasm", 2, "", "kernel.cubin: no kernel");
}

static void test_sass_without_what_it_needs(void **state) {
    (void)state;
    setenv("SAGE_NVDISASM", "/nothing/here", 1);
    write_text("kernel.cubin", "\177ELF and more");
    expect("sass kernel.cubin", 1, "", "/nothing/here is no program");
    expect("sass --spec fp4_d128", 1, "", "/nothing/here is no program");
    unsetenv("SAGE_NVDISASM");
    expect("sass", 2, "", "nothing to read");
    expect("sass none.cubin", 2, "", "No such file");
    expect("sass --spec fp4_d128 kernel.cubin", 2, "", "exclude each other");
    expect("sass kernel.cubin --scores 0", 2, "", "--scores must be");
    write_text("text", "no listing");
    expect("sass text", 2, "", "text: no kernel");
}

static void test_native_without_a_gpu_is_a_failure(void **state) {
    (void)state;
    setenv("SAGE_DRIVER", "/nothing/here", 1);
    expect("--spec fp4_d128 --arch native", 1, "", "no NVIDIA driver");
    unsetenv("SAGE_DRIVER");
}

static void test_cache_path(void **state) {
    (void)state;
    expect("cache path", 0, cli.dir, "");
    expect("cache ls", 0, "kernel", "");
    expect("cache verify", 0, "0 of 0 kernels are whole", "");
    expect("cache gc", 0, "removed 0 kernels (0 bytes)", "");
    expect("cache gc --max-bytes 5X", 2, "", "such as 500M");
    expect("cache gc --days 0", 2, "", "--days must be");
    expect("cache", 2, "", "verify, gc or clear?");
    expect("cache clear", 0, "0 of 0 kernels deleted", "");
}

/* -- Kernels ------------------------------------------------------------------------- */

#define ONE_KERNEL "--spec int8_fp16_d32 --arch sm_80 --io bf16 --mask none"

static void check_row(const json_t *row, bool cached) {
    static const char *const numbers[] = {"registers", "spill_bytes", "smem_static_bytes", "smem_dynamic_bytes",
                                          "cubin_bytes"};
    static const char *const texts[] = {"name", "target", "variant", "role", "io", "mask"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_true(json_is_integer(json_object_get(row, numbers[i])));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_true(json_is_string(json_object_get(row, texts[i])));
    assert_true(json_is_real(json_object_get(row, "expand_ms")) && json_is_real(json_object_get(row, "compile_ms")));
    assert_true(json_is_true(json_object_get(row, "cached")) == cached);
}

static void check_rows(bool cached) {
    json_t *root = expect_json(ONE_KERNEL " --json", 0), *row;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(root, "kernels")), 3); // quantise_q, quantise_kv, attn_fwd
    json_array_foreach(json_object_get(root, "kernels"), i, row) check_row(row, cached);
    json_decref(root);
}

static void test_kernels_are_built_once(void **state) {
    (void)state;
    need_nvrtc();
    check_rows(false);
    check_rows(true);
    assert_string_equal(cli.err, ""); // no progress for what is cached
    expect(ONE_KERNEL, 0, "total: 3 kernels, 3 cached", "");
    expect("cache ls", 0, "int8_fp16_d32_quantise_", "");
    expect("cache clear", 0, "3 of 3 kernels deleted", "");
}

static void test_out_writes_whole_files_and_replaces_no_others(void **state) {
    (void)state;
    need_nvrtc();
    expect(ONE_KERNEL " --out a/kernels", 0, "total: 3", "");
    expect("list --spec int8_fp16_d32 --arch sm_80", 0, "yes", "");
    char command[640], found[512] = "";
    snprintf(command, sizeof command,
             "cd %s && ls -A a/kernels | wc -l >names && ls a/kernels/*.attn_fwd.*.sm_80.bf16.none.cu >>names",
             cli.dir);
    assert_int_equal(system(command), 0);
    read_text("names", found, sizeof found);
    assert_int_equal(atoi(found), 15); // 3 kernels, 5 files each, nothing temporary
    char *cu = strchr(found, '\n') + 1;
    cu[strcspn(cu, "\n")] = '\0';
    snprintf(command, sizeof command, "where %s:1", cu);
    expect(command, 0, "templates/prelude.cu.tl:", "");
    snprintf(command, sizeof command, "cd %s && for f in a/kernels/*.meta; do rm $f && ln -s elsewhere $f; done",
             cli.dir);
    assert_int_equal(system(command), 0);
    expect(ONE_KERNEL " --out a/kernels", 1, "total: 3", "is a symbolic link, which is not replaced");
    write_text("file", "");
    expect(ONE_KERNEL " --out file", 1, "", "--out file: Not a directory");
}

// Both forms of one spec lie in one folder, and each is what its metadata say.
static void test_safe_files_lie_beside_plain_ones(void **state) {
    (void)state;
    need_nvrtc();
    char command[256], found[512] = "";
    expect(ONE_KERNEL " --out kernels", 0, "total: 3", "");
    expect(ONE_KERNEL " --out kernels --safe", 0, "total: 3 kernels, 0 cached", "");
    json_t *root = expect_json(ONE_KERNEL " --safe --json", 0), *row;
    size_t i;
    json_array_foreach(json_object_get(root, "kernels"), i, row) {
        assert_true(json_is_true(json_object_get(row, "safe")) && json_is_true(json_object_get(row, "cached")));
        assert_string_equal(json_string_value(json_object_get(row, "spec")), "int8_fp16_d32");
    }
    json_decref(root);
    snprintf(
        command, sizeof command,
        "cd %s/kernels && { ls | wc -l; grep -lx 'safe: 1' *.meta | wc -l; grep -lx 'safe: 1' *.safe.meta | wc -l; "
        "ls *.bf16.none.safe.cubin; } >../names",
        cli.dir);
    assert_int_equal(system(command), 0);
    read_text("names", found, sizeof found);
    assert_non_null(strstr(found, "30\n3\n3\nint8_fp16_d32.attn_fwd."));
}

static void test_compile_errors_point_at_templates(void **state) {
    (void)state;
    need_nvrtc();
    char command[256];
    snprintf(command, sizeof command, "cp -r %s/templates %s/templates", SOURCE_DIR, cli.dir);
    assert_int_equal(system(command), 0);
    write_text("templates/quantise_q.cu.tl", "extern \"C\" __global__ void f() {\n    no_such_name = 3;\n}\n");
    setenv("SAGE_TEMPLATE_DIR", "templates", 1);
    expect(ONE_KERNEL " --out kernels", 1, "total: 2 kernels",
           "templates/quantise_q.cu.tl:2:5: error: identifier \"no_such_name\"");
    unsetenv("SAGE_TEMPLATE_DIR");
    assert_non_null(strstr(cli.err, "    no_such_name = 3;\n    ^\n"));
    assert_non_null(strstr(cli.err, "1 of 3 kernels failed"));
    assert_false(exists("kernels"));
}

/* -- Bench ---------------------------------------------------------------------- */

#define BENCH_RECORD SOURCE_DIR "/tuning/bench/h100.json"

static void test_bench_shows_a_record_without_a_gpu(void **state) {
    (void)state;
    setenv("SAGE_DRIVER", "/nothing/libcuda.so.1", 1);
    expect("bench --table " BENCH_RECORD " --d 128 --mask causal --plot plot.svg", 0, "d = 128, causal:", "");
    assert_null(strstr(cli.out, "d = 64"));
    assert_non_null(strstr(cli.out, " / best bf16"));
    read_text("plot.svg", cli.out, sizeof cli.out);
    assert_int_equal(strncmp(cli.out, "<svg xmlns=", 11), 0);
    write_text("empty.json", "[]");
    expect("bench --table empty.json --plot none.svg", 1, "", "there is nothing to plot");
    assert_false(exists("none.svg"));
    write_text("bad.json", "[\n{\"kernel\": 1}\n]");
    expect("bench --table bad.json", 2, "", "bad.json: error: record 1: 'kernel' must be a text");
    unsetenv("SAGE_DRIVER");
}

static void test_bench_needs_a_gpu_to_measure(void **state) {
    (void)state;
    setenv("SAGE_DRIVER", "/nothing/libcuda.so.1", 1);
    expect("bench --quick", 1, "", "nothing can be measured, no usable GPU");
    assert_non_null(strstr(cli.err, "sagegen bench --table FILE.json"));
    write_text("p.txt", "128 4096 4 32 full\n128 4096 4 none full\n");
    expect("bench --problems p.txt", 2, "", "p.txt:2:12: error: heads must be a whole number");
    write_text("bad.json", "{}");
    expect("bench --out bad.json", 2, "", "bad.json: error: is no record"); // before anything is measured
    unsetenv("SAGE_DRIVER");
}

static void write_python(const char *body) {
    char path[128];
    snprintf(path, sizeof path, "%s/python", cli.dir);
    write_text("python", body);
    assert_int_equal(chmod(path, 0755), 0);
}

#define BENCH_WORDS "bench --python ./python --contenders cudnn_bf16 --n 1024 --commit abc --out r.json "

// A stand-in for the GPU and one for Python, which says that 1 ms was measured.
static void test_bench_writes_and_adds_to_a_record(void **state) {
    (void)state;
    static const char script[] =
        "#!/bin/sh\necho '{\"event\": \"start\", \"gpu\": \"\", \"found\": {}, \"missing\": {\"fa4_bf16\": \"no "
        "module\"}}'\n"
        "echo '{\"event\": \"doing\", \"problem\": 0, \"contender\": \"cudnn_bf16\", \"kernel\": "
        "\"attention_forward\"}'\n"
        "for m in kernel end_to_end; do echo \"{\\\"event\\\": \\\"row\\\", \\\"problem\\\": 0, \\\"contender\\\": "
        "\\\"cudnn_bf16\\\", \\\"kernel\\\": \\\"attention_forward\\\", \\\"mode\\\": \\\"$m\\\", \\\"ms\\\": 1}\"; "
        "done\n";
    char text[2048];
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    snprintf(text, sizeof text, "%s%s", script,
             "echo '{\"event\": \"done\", \"problem\": 0}'\necho '{\"event\": \"end\"}'\n");
    write_python(text);
    expect(BENCH_WORDS "--plot p.svg", 0, "cudnn_bf16    69\n", "fa4_bf16 is not here: no module");
    assert_true(exists("p.svg"));
    expect(BENCH_WORDS "--causal --json", 0, "\"tops\": 34.36", "[1/1]");
    json_error_t error;
    char path[128];
    snprintf(path, sizeof path, "%s/r.json", cli.dir);
    json_t *root = json_load_file(path, 0, &error);
    assert_int_equal(json_array_size(root), 4); // both runs, both modes
    assert_string_equal(json_string_value(json_object_get(json_array_get(root, 0), "commit")), "abc");
    json_decref(root);
    expect("bench --table r.json --compare r.json", 0, "69 +0.0%", "");
    snprintf(text, sizeof text, "%s%s", script, "kill -INT $PPID; sleep 60\n"); // Ctrl-C
    write_python(text);
    expect("bench --python ./python --contenders cudnn_bf16 --n 2048 --out s.json", 1, "cudnn_bf16",
           "interrupted: 0 of 1 problems are measured");
    assert_true(exists("s.json"));
    unsetenv("SAGE_DRIVER");
}

static void test_bench_without_torch_measures_sagegen_alone(void **state) {
    (void)state;
    need_nvrtc();
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    write_python("#!/bin/sh\necho '{\"event\": \"cannot\", \"reason\": \"no PyTorch\"}'\n");
    expect("bench --python ./python --spec int8_fp8_d64 --d 64 --n 512", 0, "int8_fp8_d64 end to end",
           "no peer was found, sagegen is measured alone: ./python: no PyTorch");
    unsetenv("SAGE_DRIVER");
}

// Of one kernel at one length, all modes: measured, or with this reason.
static void expect_rows(const json_t *rows, const char *kernel, int n, const char *reason) {
    size_t i;
    int found = 0;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "kernel")), kernel) != 0) continue;
        if (json_integer_value(json_object_get(row, "n")) != n) continue;
        const char *told = json_string_value(json_object_get(row, "reason"));
        if (!reason != !told || (told && !strstr(told, reason))) print_message("%s: %s\n", kernel, told ? told : "-");
        assert_true(reason ? told && strstr(told, reason) : !told);
        const json_t *ms = json_object_get(row, "ms");
        assert_true(reason ? json_is_null(ms) : json_real_value(ms) > 0);
        found++;
    }
    assert_int_equal(found, 2);
}

#define BENCH_PAIR                                                                                                     \
    "bench --python ./none --spec int8_fp8_d64 --spec int8_fp16_d64 --d 64 --n 512,1024 --batch 1 --heads 2 "

// One kernel ends in an illegal instruction, after which the process cannot use the GPU.
static void test_bench_goes_on_after_a_kernel_that_breaks_the_gpu(void **state) {
    (void)state;
    static const char unusable[] = "left the GPU unusable: ";
    need_nvrtc();
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    setenv("FAKE_CUDA_ILLEGAL", "int8_fp8_d64", 1);
    json_t *rows = expect_json(BENCH_PAIR "--json", 0);
    assert_int_equal(json_array_size(rows), 8);
    expect_rows(rows, "int8_fp8_d64", 512, unusable);
    expect_rows(rows, "int8_fp8_d64", 1024, "left out: at N = 512, 1 x 2 it left the GPU unusable: ");
    expect_rows(rows, "int8_fp16_d64", 512, NULL);
    expect_rows(rows, "int8_fp16_d64", 1024, NULL);
    json_decref(rows);
    expect(BENCH_PAIR, 0, "- sagegen int8_fp8_d64, N = 512: left the GPU unusable: ",
           "sagegen bench: int8_fp8_d64 left the GPU unusable: ");
    assert_non_null(strstr(cli.out, "(715"));
    assert_null(strstr(cli.out, "- sagegen int8_fp16_d64"));
    setenv("FAKE_CUDA_ILLEGAL", "_d64", 1); // each by its own name
    expect(BENCH_PAIR, 1, "- sagegen int8_fp8_d64, N = 512: left the GPU", "nothing could be measured");
    assert_non_null(strstr(cli.out, "- sagegen int8_fp16_d64, N = 512: left the GPU unusable: "));
    setenv("FAKE_CUDA_ILLEGAL", "int8_fp8_d64_attn@10", 1); // well when it is called first, not when they take turns
    rows = expect_json(BENCH_PAIR "--json", 0);
    assert_non_null(strstr(cli.err, "sagegen bench: a kernel left the GPU unusable: "));
    expect_rows(rows, "int8_fp8_d64", 512, unusable);
    expect_rows(rows, "int8_fp8_d64", 1024, "left out: ");
    expect_rows(rows, "int8_fp16_d64", 512, NULL);
    expect_rows(rows, "int8_fp16_d64", 1024, NULL);
    json_decref(rows);
    unsetenv("FAKE_CUDA_ILLEGAL");
    unsetenv("SAGE_DRIVER");
}

static void test_bench_needs_bf16(void **state) {
    (void)state;
    need_nvrtc();
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    write_text("fp16.yaml", "kernel: attention_forward\nname: only_fp16\nhead_dim: 64\nio: [fp16]\nqk: {format: int8}\n"
                            "pv: {p: fp16, v: fp16}\ntargets: [sm_90a]\n");
    expect("bench --spec fp16.yaml --d 64 --n 512", 1, "", "the inputs are bf16, and no spec has that io; sagegen run --repeat");
    assert_non_null(strstr(cli.err, "fp16.yaml:4:5: error: only_fp16 has no io 'bf16'"));
    unsetenv("SAGE_DRIVER");
}

static const json_t *bench_row(const json_t *rows, const char *contender, const char *mode) {
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "contender")), contender) == 0 &&
            strcmp(json_string_value(json_object_get(row, "mode")), mode) == 0)
            return row;
    }
    print_message("no row of %s, %s\n", contender, mode);
    fail();
    return NULL;
}

static void expect_reason(const json_t *rows, const char *contender, const char *part) {
    const json_t *row = bench_row(rows, contender, "kernel");
    const char *reason = json_string_value(json_object_get(row, "reason"));
    assert_true(json_is_null(json_object_get(row, "ms")));
    if (!reason || !strstr(reason, part)) print_message("%s: %s\n", contender, reason ? reason : "no reason");
    assert_true(reason && strstr(reason, part));
}

// measure.py itself, with libsage, on stand-ins for the GPU and for PyTorch and the peers (tests/cli/python): all calls
// have their form, and what fails becomes a row.
static void test_bench_measures_all_contenders(void **state) {
    (void)state;
    static const char *const good[] = {"sagegen", "cudnn_bf16", "fa3_bf16", "fa3_fp8", "sageattention"};
#ifdef __SANITIZE_ADDRESS__
    skip(); // Python cannot load a libsage that was built with the sanitizers
#endif
    need_nvrtc();
    if (system("python3 -c 'import ctypes, json' >/dev/null 2>&1") != 0) skip();
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    setenv("PYTHONPATH", SOURCE_DIR "/tests/cli/python", 1);
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    json_t *rows =
        expect_json("bench --spec int8_fp8_d128 --d 128 --n 512 --batch 1 --heads 2 --causal --json --out r.json", 0);
    assert_int_equal(json_array_size(rows), 14);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        const json_t *row = bench_row(rows, good[i], "end_to_end");
        assert_non_null(bench_row(rows, good[i], "kernel"));
        assert_int_equal(json_integer_value(json_object_get(row, "repeats")), 20);
        assert_true(json_real_value(json_object_get(row, "ms")) == 1.0);
    }
    expect_reason(rows, "fa2_bf16", "RuntimeError: No available kernel.");
    expect_reason(rows, "fa4_bf16", "not timed: its output is not that of int8_fp8_d128");
    json_decref(rows);
    rows = expect_json("bench --spec int8_fp8_d128 --n 16777216 --json", 1); // more than the stand-in has
    expect_reason(rows, "sagegen", "out of GPU memory");
    json_decref(rows);
    unsetenv("PYTHONDONTWRITEBYTECODE");
    unsetenv("PYTHONPATH");
    unsetenv("SAGE_DRIVER");
}

/* -- Wisdom ------------------------------------------------------------------- */

static void write_wisdom(const char *name, const char *machine, const char *variant, int tokens) {
    struct buf out = {0};
    char hash[KEY_HEX64_BYTES];
    buf_printf(&out,
               "sagegen wisdom 1\nmachine %s\n"
               "row int8_fp8_d128 0123456789abcdef sm_90a bf16 none %s 128 128 4 32 32 %d %d 900000 1000000\n",
               machine, variant, tokens, tokens);
    key_hash64(out.data, out.len, hash);
    buf_printf(&out, "hash %s\n", hash);
    write_text(name, out.data);
    buf_free(&out);
}

#define H100 "sm_90 132 580.1 Fake GPU 0"

static void test_wisdom_is_listed_exported_and_imported(void **state) {
    (void)state;
    setenv("SAGE_WISDOM", "own/wisdom.txt", 1);
    expect("wisdom path", 0, "own/wisdom.txt\n", "");
    expect("wisdom ls", 0, "  tuning/wisdom/h100.txt\n", ""); // the shipped tables alone
    expect("wisdom export", 1, "", "there is no wisdom to export yet");
    write_wisdom("a.txt", H100, "q128_k64_s3_w8", 4096);
    write_wisdom("b.txt", "sm_90 114 580.1 Fake PCIe", "q128_k32_s3_w8", 1024);
    write_text("bad.txt", "sagegen wisdom 1\n");
    expect("wisdom import a.txt bad.txt", 2, "", "bad.txt:1:1: error: the last line must be the hash: the file is cut");
    assert_non_null(strstr(cli.err, "own/wisdom.txt is as it was"));
    assert_false(exists("own/wisdom.txt"));
    expect("wisdom import a.txt b.txt", 0, "2 rows, 2 of them new, in own/wisdom.txt", "");
    expect("wisdom import b.txt", 0, "2 rows, 0 of them new", "");
    json_t *rows = expect_json("wisdom ls own/wisdom.txt --json", 0);
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "gpu")), "Fake GPU 0");
    assert_true(json_is_false(json_object_get(json_array_get(rows, 0), "current"))); // of no shipped spec's hash
    json_decref(rows);
    expect("wisdom export copy.txt", 0, "", "");
    expect("tune --merge b.txt a.txt --out joined.txt", 0, "2 rows of 2 machines in joined.txt", "");
    run("wisdom export");
    char copy[4096], joined[4096];
    read_text("copy.txt", copy, sizeof copy);
    read_text("joined.txt", joined, sizeof joined);
    assert_string_equal(cli.out, copy);
    assert_string_equal(copy, joined);
    setenv("SAGE_WISDOM", "none", 1);
    expect("wisdom path", 1, "", "there is no wisdom file: SAGE_WISDOM is none");
    unsetenv("SAGE_WISDOM");
}

static void test_doctor_says_whose_wisdom_a_gpu_uses(void **state) {
    (void)state;
    setenv("SAGE_WISDOM", "wisdom.txt", 1);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    run("doctor"); // the shipped table of an H100
    assert_non_null(strstr(cli.out, "the nearest multiprocessors: NVIDIA H100 80GB HBM3, 132"));
    write_wisdom("wisdom.txt", H100, "q128_k64_s3_w8", 4096);
    run("doctor");
    assert_non_null(strstr(cli.out, "GPU 0: tuned for it, with driver 580.1"));
    write_wisdom("wisdom.txt", "sm_90 132 580.1 Fake twin", "q128_k64_s3_w8", 4096);
    run("doctor"); // as near as the shipped one, and one's own
    assert_non_null(strstr(cli.out, "the nearest multiprocessors: Fake twin, 132"));
    write_wisdom("wisdom.txt", "sm_90 114 580.1 Fake PCIe", "q128_k64_s3_w8", 4096);
    run("doctor");
    assert_non_null(strstr(cli.out, "the nearest multiprocessors: NVIDIA H100 80GB HBM3, 132"));
    setenv("SAGE_WISDOM", "none", 1);
    run("doctor");
    assert_non_null(strstr(cli.out, "GPU 0: none; default variants"));
    setenv("SAGE_WISDOM", "wisdom.txt", 1);
    write_text("wisdom.txt", "nonsense\n");
    run("doctor");
    assert_non_null(strstr(cli.out, "left out: wisdom.txt:1: a wisdom file begins with"));
    unsetenv("SAGE_WISDOM");
    unsetenv("SAGE_DRIVER");
}

// An application without libsagegen, on a GPU that is newer than every target: NVRTC compiles what the pack carries.
static void test_a_plan_from_packed_sources(void **state) {
    (void)state;
    char path[128];
    const char *const packs[] = {path, NULL};
    sage_context *context = NULL;
    sage_attention_plan *plan = NULL;
    struct fake_cuda cuda = fake_cuda_open(FAKE_CUDA_PATH);
    need_nvrtc();
    expect("pack int8_fp16_d32 --arch sm_80 --io bf16 --mask none --sources -o app.sagepack", 0, "3 cubins, 15 sources", "");
    snprintf(path, sizeof path, "%s/app.sagepack", cli.dir);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    cuda.set_sm(100);
    const sage_options options = {.size = sizeof options, .packs = packs};
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 32};
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    assert_int_equal(sage_attention_plan_create(context, &desc, &plan), SAGE_OK);
    assert_non_null(strstr(sage_attention_plan_describe(plan), "int8_fp16_d32 "));
    assert_non_null(strstr(sage_attention_plan_describe(plan), " sm_100"));
    sage_attention_plan_destroy(plan);
    sage_context_destroy(context);
    unsetenv("SAGE_DRIVER");
    expect("cache verify", 0, "18 of 18 kernels are whole", ""); // those of the pack, and the three that were made here
}

// Where the disk takes no more, there is no pack, and nothing of it.
static void test_a_pack_is_whole_or_not_there(void **state) {
    (void)state;
    char command[512];
    setenv("SAGE_NVRTC", FAKE_NVRTC_PATH, 1);
    snprintf(command, sizeof command,
             "cd %s && trap '' XFSZ && ulimit -f 40 && %s pack int8_fp16_d32 --arch sm_80 -o app.sagepack 2>err; "
             "test $? = 1 && grep -q 'app.sagepack: File too large' err && test -z \"$(ls -A | grep sagepack)\"",
             cli.dir, SAGEGEN_PATH);
    assert_int_equal(system(command), 0);
    unsetenv("SAGE_NVRTC");
}

// Packs need no real compiler to be written and checked.
static void test_pack_and_inspect(void **state) {
    (void)state;
    json_t *root, *packs;
    char path[128];
    setenv("SAGE_NVRTC", FAKE_NVRTC_PATH, 1);
    expect("pack --spec int8_fp16_d32", 2, "", "pack needs the file to write: -o app.sagepack");
    expect("pack -o app.sagepack", 2, "", "no spec given");
    expect("pack --spec int8_fp16_d32 --arch sm_80 --io bf16 --mask none -o app.sagepack", 0,
           "app.sagepack: 3 kernels, 3 cubins, 0 sources", "");
    root = expect_json("pack int8_fp16_d32 --arch sm_80 --io bf16 --mask none --sources --safe -o new/all.sagepack --json", 0);
    assert_int_equal(json_integer_value(json_object_get(root, "kernels")), 30); // five targets, plain and safe
    assert_int_equal(json_integer_value(json_object_get(root, "cubins")), 6);
    assert_int_equal(json_integer_value(json_object_get(root, "sources")), 30);
    json_decref(root);
    expect("cache verify", 0, "30 of 30 kernels are whole", "");
    expect("cache gc --max-bytes 1G", 0, "kept 30 kernels", "");
    json_t *collected = expect_json("cache gc --max-bytes 0 --json", 0);
    assert_int_equal(json_integer_value(json_object_get(collected, "removed")), 30);
    assert_int_equal(json_integer_value(json_object_get(collected, "lines")), 30);
    json_decref(collected);
    expect("inspect app.sagepack new/all.sagepack", 0, "app.sagepack: 3 kernels", "");
    packs = expect_json("inspect new/all.sagepack --json", 0);
    const json_t *kernels = json_object_get(json_array_get(packs, 0), "kernels");
    assert_int_equal(json_array_size(kernels), 30);
    const json_t *first = json_array_get(kernels, 0);
    assert_string_equal(json_string_value(json_object_get(first, "spec")), "int8_fp16_d32");
    assert_true(json_integer_value(json_object_get(first, "source_bytes")) > 1000);
    json_decref(packs);
    expect("pack int8_fp16_d32 --arch sm_80 --io bf16 --mask none --sources --safe -o again.sagepack", 0, "30 kernels", "");
    snprintf(path, sizeof path, "cd %s && cmp again.sagepack new/all.sagepack", cli.dir);
    assert_int_equal(system(path), 0);
    expect("inspect", 2, "", "no pack given");
    expect("inspect app.sagepack none.sagepack", 1, "app.sagepack: 3 kernels", "none.sagepack");
    snprintf(path, sizeof path, "%s/app.sagepack", cli.dir);
    assert_int_equal(truncate(path, 3000), 0);
    expect("inspect app.sagepack", 1, "", "app.sagepack is damaged: 3000 bytes; its header says");
    write_text("app.sagepack", "something else, of more than the bytes of a header and of a trailer");
    expect("inspect app.sagepack", 1, "", "is no pack of `sagegen pack`");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("new/all.sagepack", path), 0);
    expect("pack --spec int8_fp16_d32 --arch sm_80 --io bf16 --mask none -o app.sagepack", 1, "", "is not replaced");
    unsetenv("SAGE_NVRTC");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_help_and_version),
        TEST(test_mistyped_words_are_bad_input_with_a_suggestion),
        TEST(test_bad_spec_gives_all_errors_and_writes_nothing),
        TEST(test_spec_that_no_target_can_run),
        TEST(test_good_specs_check),
        TEST(test_list_marks_one_default_and_gives_reasons),
        TEST(test_fields_as_json),
        TEST(test_expand_and_where),
        TEST(test_expand_in_the_safe_mode),
        TEST(test_errors_in_templates_point_at_them),
        TEST(test_doctor_without_nvrtc),
        TEST(test_sass_of_files),
        TEST(test_sass_without_what_it_needs),
        TEST(test_native_without_a_gpu_is_a_failure),
        TEST(test_cache_path),
        TEST(test_pack_and_inspect),
        TEST(test_a_pack_is_whole_or_not_there),
        TEST(test_a_plan_from_packed_sources),
        TEST(test_kernels_are_built_once),
        TEST(test_out_writes_whole_files_and_replaces_no_others),
        TEST(test_safe_files_lie_beside_plain_ones),
        TEST(test_compile_errors_point_at_templates),
        TEST(test_bench_shows_a_record_without_a_gpu),
        TEST(test_bench_needs_a_gpu_to_measure),
        TEST(test_bench_writes_and_adds_to_a_record),
        TEST(test_bench_without_torch_measures_sagegen_alone),
        TEST(test_bench_goes_on_after_a_kernel_that_breaks_the_gpu),
        TEST(test_bench_needs_bf16),
        TEST(test_bench_measures_all_contenders),
        TEST(test_wisdom_is_listed_exported_and_imported),
        TEST(test_doctor_says_whose_wisdom_a_gpu_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
