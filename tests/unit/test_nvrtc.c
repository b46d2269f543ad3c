// Tests of runtime/nvrtc, elf_identity, compile and key_compute. Those that compile skip themselves where there is no
// NVRTC. SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"
#include "cache.h"
#include "compile.h"
#include "elf_identity.h"
#include "fake_cuda.h"
#include "nvrtc.h"
#include <pthread.h>

static const char source[] = "extern \"C\" __global__ void __launch_bounds__(128) scale(float *x, float s) {\n"
                             "    __shared__ float tile[128];\n"
                             "    tile[threadIdx.x] = x[blockIdx.x * 128 + threadIdx.x];\n"
                             "    __syncthreads();\n"
                             "    x[blockIdx.x * 128 + threadIdx.x] = tile[127 - threadIdx.x] * s;\n"
                             "}\n";

static struct compile_input input_of(const char *text, const char *target) {
    return (struct compile_input){.source = text, .source_bytes = strlen(text), .name = "kernel.cu", .target = target};
}

static sage_context *context_with_nvrtc(void) {
    sage_context *context = fixture_context(NULL, NULL);
    struct nvrtc_info info;
    if (nvrtc_find(context, &info) == SAGE_OK) return context;
    print_message("skipped: %s\n", sage_last_error(context));
    sage_context_destroy(context);
    skip();
    return NULL;
}

/* -- Log ------------------------------------------------------------------------------------------------------------
 */

static void logs_are_read(void **state) {
    (void)state;
    struct compile_result result = {0};
    compile_parse_log("ptxas info    : 0 bytes gmem\n"
                      "ptxas info    : Compiling entry function 'a' for 'sm_90a'\n"
                      "ptxas info    : Function properties for a\n"
                      "    24 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads\n"
                      "ptxas info    : Used 136 registers, used 1 barriers, 24 bytes cumulative stack size, 1024 bytes "
                      "smem, 400 bytes cmem[0]\n"
                      "ptxas info    : Used 40 registers, used 0 barriers",
                      &result);
    assert_int_equal(result.registers, 136);
    assert_int_equal(result.spill_bytes, 32);
    assert_int_equal(result.stack_bytes, 24);
    assert_int_equal(result.smem_static, 1024);
    compile_parse_log("", &result);
    assert_int_equal(result.registers, 0);
    compile_parse_log("99999999999999999999 registers\n bytes smem\n1 bytes spill stores\n", &result);
    assert_int_equal(result.spill_bytes, 0);
    assert_int_equal(result.smem_static, 0);
}

static void bad_inputs_are_refused(void **state) {
    (void)state;
    sage_context *context = fixture_context(NULL, NULL);
    struct compile_result result = {0};
    struct compile_input input = input_of(source, "compute_90");
    char key[KEY_BYTES];
    assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_INVALID_ARGUMENT);
    assert_int_equal(key_compute(context, &input, key), SAGE_ERROR_INVALID_ARGUMENT);
    input = input_of(source, "sm_80");
    input.source_bytes++;
    assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_INVALID_ARGUMENT);
    input = input_of(source, "sm_80");
    input.option_count = COMPILE_OPTIONS_MAX;
    assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_INVALID_ARGUMENT);
    assert_null(result.cubin);
    sage_context_destroy(context);
}

/* -- Search ---------------------------------------------------------------------------------------------------------
 */

struct candidates {
    int count, chosen;
    char text[8192];
};

static void note_candidate(void *user, const char *path, const char *reason) {
    struct candidates *candidates = user;
    candidates->count++;
    candidates->chosen += *reason == 0;
    size_t at = strlen(candidates->text);
    snprintf(candidates->text + at, sizeof candidates->text - at, "%s: %s\n", path, reason);
}

static void a_wanted_path_is_the_only_one(void **state) {
    (void)state;
    char directory[64];
    fixture_directory(directory);
    fixture_write(directory, "libnvrtc.so.13.0.0", "not a library", 13);
    const char *const reasons[] = {"no such file", "no libnvrtc.so.* in this folder", "not an ELF file",
                                   "lacks nvrtcVersion"};
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", directory, i == 0 ? "absent" : i == 1 ? "empty" : "libnvrtc.so.13.0.0");
        if (i == 1) assert_int_equal(mkdir(path, 0700), 0);
        sage_options options = {
            .size = sizeof options, .device = -1, .memory_only = 1, .nvrtc_path = i == 3 ? FAKE_CUDA_PATH : path};
        sage_context *context = NULL;
        const struct nvrtc_api *api = NULL;
        struct candidates candidates = {0};
        assert_int_equal(sage_context_create(&options, &context), SAGE_OK); // looked for only when needed
        assert_int_equal(nvrtc_load(context, &api), SAGE_ERROR_NO_NVRTC);
        assert_non_null(strstr(sage_last_error(context), reasons[i]));
        assert_int_equal(nvrtc_each_candidate(context, note_candidate, &candidates), 1);
        assert_int_equal(candidates.chosen, 0);
        assert_non_null(strstr(candidates.text, reasons[i]));
        struct compile_result result = {0};
        struct compile_input input = input_of(source, "sm_80");
        assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_NO_NVRTC);
        sage_context_destroy(context);
    }
    fixture_remove_tree(directory);
}

static void copy_file(const char *from, const char *directory, const char *name) {
    FILE *file = fopen(from, "rb");
    assert_non_null(file);
    static char bytes[1 << 20];
    size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    fixture_write(directory, name, bytes, count);
}

// Libraries of several versions in a wheel's folder; they are ELF files, which is all that finding looks at.
static void the_newest_suitable_is_found(void **state) {
    (void)state;
    char home[64], folder[160], command[256];
    fixture_directory(home);
    snprintf(folder, sizeof folder, "%s/lib/python3.99/site-packages/nvidia/cuda_nvrtc/lib", home);
    snprintf(command, sizeof command, "mkdir -p %s", folder);
    assert_int_equal(system(command), 0);
    copy_file(FAKE_CUDA_PATH, folder, "libnvrtc.so.12");
    fixture_write(folder, "libnvrtc-builtins.so.12.4", "", 0);
    copy_file(FAKE_CUDA_PATH, folder, "libnvrtc.so.99.1.2");
    copy_file(FAKE_CUDA_PATH, folder, "libnvrtc.so.98");
    char *old = getenv("VIRTUAL_ENV") ? strdup(getenv("VIRTUAL_ENV")) : NULL;
    setenv("VIRTUAL_ENV", home, 1);
    setenv("SAGE_DRIVER", "/nonexistent", 1); // no driver: the newest
    sage_context *context = fixture_context(NULL, NULL);
    struct nvrtc_info info;
    assert_int_equal(nvrtc_find(context, &info), SAGE_OK);
    assert_int_equal(info.major, 99);
    assert_int_equal(info.minor, 1);
    assert_false(info.loaded);
    struct candidates candidates = {0};
    nvrtc_each_candidate(context, note_candidate, &candidates);
    assert_non_null(strstr(candidates.text, "version 12.4; needs 12.8 or newer"));
    assert_int_equal(candidates.chosen, 1);
    // Both lack NVRTC's functions. The caller may have keyed by the first, so the first failure is told, and nothing is
    // stored under its key.
    const struct nvrtc_api *api;
    assert_int_equal(nvrtc_load(context, &api), SAGE_ERROR_NO_NVRTC);
    assert_non_null(strstr(sage_last_error(context), "libnvrtc.so.99.1.2"));
    sage_context_destroy(context);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1); // CUDA 13.0: not 98 and 99
    struct fake_cuda fake = fake_cuda_open(FAKE_CUDA_PATH);
    assert_non_null(fake.library);
    context = fixture_context(NULL, NULL);
    memset(&candidates, 0, sizeof candidates);
    nvrtc_each_candidate(context, note_candidate, &candidates);
    assert_non_null(strstr(candidates.text, "version 99; the driver supports CUDA 13.0"));
    sage_context_destroy(context);
    unsetenv("SAGE_DRIVER");
    if (old)
        setenv("VIRTUAL_ENV", old, 1);
    else
        unsetenv("VIRTUAL_ENV");
    free(old);
    fixture_remove_tree(home);
}

/* -- Trust ----------------------------------------------------------------------------------------------------------
 */

// A folder of wheels below root, which is to be VIRTUAL_ENV, with one library.
static void make_wheel(const char *root, char folder[160]) {
    char command[256];
    snprintf(folder, 160, "%s/lib/python3.99/site-packages/nvidia/cu13/lib", root);
    snprintf(command, sizeof command, "umask 022; mkdir -p %s", folder);
    assert_int_equal(system(command), 0);
    copy_file(FAKE_CUDA_PATH, folder, "libnvrtc.so.99.1.2");
    fixture_write(folder, "libnvrtc-builtins.so.99.1.2", "", 0);
}

// What the search says, with a variable set; "chosen: " in front where the wheel's library was chosen.
static void search_says(const char *name, const char *value, const char *nvrtc, struct candidates *out) {
    char *old = getenv(name) ? strdup(getenv(name)) : NULL;
    setenv("SAGE_DRIVER", "/nonexistent", 1);
    setenv(name, value, 1);
    sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1, .nvrtc_path = nvrtc};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    struct nvrtc_info info;
    memset(out, 0, sizeof *out);
    if (nvrtc_find(context, &info) == SAGE_OK && strstr(info.path, "libnvrtc.so.99.1.2")) strcpy(out->text, "chosen: ");
    nvrtc_each_candidate(context, note_candidate, out);
    sage_context_destroy(context);
    unsetenv("SAGE_DRIVER");
    if (old)
        setenv(name, old, 1);
    else
        unsetenv(name);
    free(old);
}

static bool is_chosen(const struct candidates *candidates) {
    return strncmp(candidates->text, "chosen: ", 8) == 0;
}

static void what_everyone_may_write_is_not_loaded(void **state) {
    (void)state;
    char home[64], folder[160], path[256], builtins[256], parent[160];
    struct candidates said;
    fixture_directory(home);
    make_wheel(home, folder);
    snprintf(path, sizeof path, "%s/libnvrtc.so.99.1.2", folder);
    snprintf(builtins, sizeof builtins, "%s/libnvrtc-builtins.so.99.1.2", folder);
    snprintf(parent, sizeof parent, "%s/lib/python3.99", home);
    search_says("VIRTUAL_ENV", home, NULL, &said);
    assert_true(is_chosen(&said));
    const char *const writable[] = {path, builtins, folder, parent};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(chmod(writable[i], 0777), 0);
        search_says("VIRTUAL_ENV", home, NULL, &said);
        assert_false(is_chosen(&said));
        assert_non_null(strstr(said.text, "may be written by everyone (mode 0777): chmod o-w it"));
        search_says("VIRTUAL_ENV", home, path, &said); // not if it is named either
        assert_false(is_chosen(&said));
        assert_int_equal(chmod(writable[i], 0755), 0);
    }
    assert_int_equal(chmod(folder, 01777), 0); // sticky, as /tmp: what is there belongs to its owner
    search_says("VIRTUAL_ENV", home, NULL, &said);
    assert_true(is_chosen(&said));
    fixture_remove_tree(home);
}

static void other_users_are_trusted_by_name_alone(void **state) {
    (void)state;
    enum { STRANGER = 12345 };
    char home[64], folder[160], path[256];
    struct candidates said;
    if (geteuid() != 0) {
        print_message("skipped: only root can give files to another user\n");
        skip();
    }
    fixture_directory(home);
    make_wheel(home, folder);
    snprintf(path, sizeof path, "%s/libnvrtc.so.99.1.2", folder);
    assert_int_equal(chown(folder, STRANGER, STRANGER), 0);
    search_says("VIRTUAL_ENV", home, NULL, &said);
    assert_false(is_chosen(&said));
    assert_non_null(strstr(said.text, "belongs to user 12345"));
    search_says("VIRTUAL_ENV", home, path, &said);
    assert_true(is_chosen(&said));
    char old[1024];
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(folder), 0);
    search_says("VIRTUAL_ENV", home, "libnvrtc.so.99.1.2", &said); // a file of whatever folder this is
    assert_false(is_chosen(&said));
    assert_int_equal(chdir(old), 0);
    fixture_remove_tree(home);
}

static void relative_folders_are_not_searched(void **state) {
    (void)state;
    char home[64], folder[160], old[1024];
    struct candidates said;
    fixture_directory(home);
    make_wheel(home, folder);
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(home), 0);
    search_says("VIRTUAL_ENV", ".", NULL, &said);
    assert_false(is_chosen(&said));
    assert_null(strstr(said.text, "libnvrtc.so.99"));
    search_says("HOME", ".", NULL, &said);
    assert_null(strstr(said.text, "libnvrtc.so.99"));
    assert_int_equal(chdir(old), 0);
    fixture_remove_tree(home);
}

static void a_driver_that_everyone_may_write_is_not_loaded(void **state) {
    (void)state;
    char directory[64], path[128];
    fixture_directory(directory);
    copy_file(FAKE_CUDA_PATH, directory, "libcuda.so.1");
    snprintf(path, sizeof path, "%s/libcuda.so.1", directory);
    assert_int_equal(chmod(path, 0666), 0);
    setenv("SAGE_DRIVER", path, 1);
    sage_options options = {.size = sizeof options, .device = 0, .memory_only = 1};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_ERROR_NO_DRIVER);
    assert_non_null(strstr(sage_last_error(NULL), "may be written by everyone"));
    unsetenv("SAGE_DRIVER");
    fixture_remove_tree(directory);
}

/* -- Identity ---- */

static void identities_survive_any_bytes(void **state) {
    (void)state;
    char directory[64], path[128], identity[NVRTC_IDENTITY_BYTES], again[NVRTC_IDENTITY_BYTES];
    fixture_directory(directory);
    snprintf(path, sizeof path, "%s/x", directory);
    static unsigned char bytes[20000], damaged[20000];
    FILE *file = fopen(FAKE_CUDA_PATH, "rb");
    assert_non_null(file);
    size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    uint64_t seed = 1;
    for (int round = 0; round < 500; round++) {
        memcpy(damaged, bytes, count);
        for (int i = 0; i < 4; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            damaged[16 + (seed >> 33) % (round < 250 ? 1000 : count - 16)] = (unsigned char)(seed >> 20);
        }
        fixture_write(directory, "x", damaged, round % 10 ? count : (seed >> 40) % count);
        elf_identity(path, identity, sizeof identity);
    }
    memset(damaged, 0, sizeof damaged);
    memcpy(damaged, bytes, 64); // an ELF header and no program headers: the hash instead
    memset(damaged + 56, 0, 2);
    fixture_write(directory, "x", damaged, 5000);
    assert_null(elf_identity(path, identity, sizeof identity));
    assert_memory_equal(identity, "xxh", 3);
    damaged[4999] = 1;
    fixture_write(directory, "x", damaged, 5000);
    assert_null(elf_identity(path, again, sizeof again));
    assert_string_not_equal(identity, again);
    assert_string_equal(elf_identity(directory, identity, sizeof identity), "not an ELF file");
    copy_file(FAKE_CUDA_PATH, directory, "x");
    assert_null(elf_identity(path, identity, sizeof identity));
    assert_int_equal(strlen(identity), 40);
    assert_int_equal(truncate(path, 4096), 0);
    assert_string_equal(elf_identity(path, identity, sizeof identity), "truncated");
    fixture_remove_tree(directory);
}

/* -- Compiling ------------------------------------------------------------------------------------------------------
 */

static void found_without_loading(void **state) {
    (void)state;
    sage_context *context = context_with_nvrtc();
    struct nvrtc_info info, after;
    assert_int_equal(nvrtc_find(context, &info), SAGE_OK);
    assert_true(strlen(info.identity) >= 16);
    print_message("%s: %d.%d, build id %s\n", info.path, info.major, info.minor, info.identity);
    const struct nvrtc_api *api;
    assert_int_equal(nvrtc_load(context, &api), SAGE_OK);
    assert_int_equal(nvrtc_find(context, &after), SAGE_OK);
    assert_true(after.loaded);
    assert_string_equal(info.identity, after.identity);
    assert_int_equal(info.major, after.major);
    struct candidates candidates = {0};
    assert_true(nvrtc_each_candidate(context, note_candidate, &candidates) >= 1);
    assert_int_equal(candidates.chosen, 1);
    sage_context_destroy(context);
}

static void compiles(void **state) {
    (void)state;
    sage_context *context = context_with_nvrtc();
    const char *const targets[] = {"sm_80", "sm_90a", "sm_120a"};
    for (int i = 0; i < 3; i++) {
        struct compile_result result = {0};
        struct compile_input input = input_of(source, targets[i]);
        assert_int_equal(compile_source(context, &input, &result), SAGE_OK);
        assert_memory_equal(result.cubin, "\177ELF", 4);
        assert_true(result.cubin_bytes > 500);
        assert_int_equal(result.smem_static, 512);
        assert_in_range(result.registers, 4, 64);
        assert_int_equal(result.spill_bytes, 0);
        assert_int_equal(result.stack_bytes, 0);
        assert_int_equal(result.ptx_bytes, strlen(result.ptx));
        print_message("%s: %zu bytes of cubin, %zu of PTX, %d registers\n", targets[i], result.cubin_bytes,
                      result.ptx_bytes, result.registers);
        if (result.ptx_bytes) assert_non_null(strstr(result.ptx, ".entry scale"));
        compile_result_free(context, &result);
    }
    sage_context_destroy(context);
}

static void errors_have_logs(void **state) {
    (void)state;
    sage_context *context = context_with_nvrtc();
    struct compile_result result = {0};
    struct compile_input input =
        input_of("extern \"C\" __global__ void k(int *x) {\n    *x = undefined_name;\n}\n", "sm_80");
    assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_COMPILE);
    assert_null(result.cubin);
    assert_non_null(strstr(result.log, "kernel.cu(2): error"));
    assert_non_null(strstr(sage_last_error(context), "undefined_name"));
    compile_result_free(context, &result);
    const char *const options[] = {"--no-such-option"};
    input = input_of(source, "sm_80");
    input.options = options;
    input.option_count = 1;
    assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_COMPILE);
    compile_result_free(context, &result);
    input =
        input_of("extern \"C\" __global__ void k() { asm volatile(\"nonsense.b32;\"); }\n", "sm_80"); // found by ptxas
    assert_int_equal(compile_source(context, &input, &result), SAGE_ERROR_COMPILE);
    assert_non_null(strstr(result.log, "ptxas"));
    compile_result_free(context, &result);
    sage_context_destroy(context);
}

static void *compile_thread(void *user) {
    sage_context *context = user;
    for (int i = 0; i < 4; i++) {
        struct compile_result result = {0};
        struct compile_input input = input_of(source, i % 2 ? "sm_80" : "sm_90");
        if (compile_source(context, &input, &result) != SAGE_OK) return user;
        compile_result_free(context, &result);
    }
    return NULL;
}

static void threads_compile_at_once(void **state) {
    (void)state;
    sage_context *context = context_with_nvrtc();
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, compile_thread, context), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    sage_context_destroy(context);
}

static void keys_cover_what_decides(void **state) {
    (void)state;
    sage_context *context = context_with_nvrtc();
    char key[6][KEY_BYTES];
    const char *const joined[] = {"-DA=1 -DB=2"}, *const apart[] = {"-DA=1", "-DB=2"};
    struct compile_input input = input_of(source, "sm_80");
    assert_int_equal(key_compute(context, &input, key[0]), SAGE_OK);
    input.name = "other.cu";
    assert_int_equal(key_compute(context, &input, key[1]), SAGE_OK);
    assert_string_equal(key[0], key[1]);
    input.target = "sm_86";
    assert_int_equal(key_compute(context, &input, key[1]), SAGE_OK);
    input = input_of(source + 1, "sm_80");
    assert_int_equal(key_compute(context, &input, key[2]), SAGE_OK);
    input = input_of(source, "sm_80");
    input.options = joined;
    input.option_count = 1;
    assert_int_equal(key_compute(context, &input, key[3]), SAGE_OK);
    input.options = apart;
    input.option_count = 2;
    assert_int_equal(key_compute(context, &input, key[4]), SAGE_OK);
    for (int i = 0; i < 5; i++)
        for (int j = i + 1; j < 5; j++) assert_string_not_equal(key[i], key[j]);
    sage_context *another = context_with_nvrtc();
    assert_int_equal(key_compute(another, &input, key[5]), SAGE_OK);
    assert_string_equal(key[4], key[5]);
    struct nvrtc_info info;
    assert_int_equal(nvrtc_find(another, &info), SAGE_OK);
    assert_false(info.loaded); // a key needs no NVRTC in memory
    sage_context_destroy(another);
    sage_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_are_read),
        cmocka_unit_test(bad_inputs_are_refused),
        cmocka_unit_test(a_wanted_path_is_the_only_one),
        cmocka_unit_test(the_newest_suitable_is_found),
        cmocka_unit_test(what_everyone_may_write_is_not_loaded),
        cmocka_unit_test(other_users_are_trusted_by_name_alone),
        cmocka_unit_test(relative_folders_are_not_searched),
        cmocka_unit_test(a_driver_that_everyone_may_write_is_not_loaded),
        cmocka_unit_test(identities_survive_any_bytes),
        cmocka_unit_test(found_without_loading),
        cmocka_unit_test(compiles),
        cmocka_unit_test(errors_have_logs),
        cmocka_unit_test(threads_compile_at_once),
        cmocka_unit_test(keys_cover_what_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
