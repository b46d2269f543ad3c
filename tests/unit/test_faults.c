// test_faults: every system call that libsage makes on the cache and on packs fails, once and for good, with every
// errno that a disk has, and short; then real ones: a full disk, a read-only one, a limit on files and on their size.
// Nothing crashes, nothing wrong is loaded, and what was put is found again. SPDX-License-Identifier: Apache-2.0
#include "pack_fixture.h"
#include "cache.h"
#include "fault_layer.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define KEY_A "00112233445566778899aabbccddeeff"
#define KEY_B "ff112233445566778899aabbccddeeff"

static char directory[64], cache_dir[128], pack_path[128];

/* -- Entries whose bits are known -----------------------------------------------------------------------------------
 */

static void put(sage_context *context, const char *key) {
    char cubin[3000], *text = NULL;
    size_t len = 0;
    for (size_t i = 0; i < sizeof cubin; i++) cubin[i] = key[i % 32];
    struct meta meta = fixture_meta("source", "ptx", cubin, sizeof cubin);
    assert_int_equal(meta_write(context, &meta, &text, &len), SAGE_OK);
    const struct cache_files files = {
        .meta = {text, len}, .cubin = {cubin, sizeof cubin}, .source = {"source", 6}, .ptx = {"ptx", 3}};
    assert_int_equal(cache_put(context, key, &files), SAGE_OK);
    context_free(context, text);
}

// Whether it is there; if so, it is right.
static bool is_hit(sage_context *context, const char *key) {
    struct cache_entry entry;
    sage_status status = cache_get(context, key, CACHE_ALL, &entry);
    assert_true(status == SAGE_OK || status == SAGE_ERROR_NOT_FOUND);
    if (status != SAGE_OK) return false;
    assert_int_equal(entry.files.cubin.bytes, 3000);
    for (size_t i = 0; i < 3000; i++) assert_int_equal(((const char *)entry.files.cubin.data)[i], key[i % 32]);
    cache_entry_free(context, &entry);
    return true;
}

static bool index_is_hit(sage_context *context) {
    char key[KEY_BYTES];
    sage_status status = cache_index_get(context, KEY_A, key);
    assert_true(status == SAGE_OK || status == SAGE_ERROR_NOT_FOUND);
    if (status == SAGE_OK) assert_string_equal(key, KEY_B);
    return status == SAGE_OK;
}

/* -- Injected -------------------------------------------------------------------------------------------------------
 */

static bool was_struck; /* by the way just walked */

// What a process does with the cache while a call fails, and what it and the next one find afterwards.
static void use_cache(void) {
    sage_context *context = fixture_context(cache_dir, NULL);
    is_hit(context, KEY_B); // published before
    put(context, KEY_A);
    is_hit(context, KEY_A);
    assert_int_equal(cache_index_put(context, KEY_A, KEY_B), SAGE_OK);
    index_is_hit(context);
    was_struck = fault_disarm();
    assert_true(is_hit(context, KEY_A));
    assert_true(index_is_hit(context));
    sage_context_destroy(context);
    context = fixture_context(cache_dir, NULL);
    if (!is_hit(context, KEY_A)) put(context, KEY_A);
    assert_true(is_hit(context, KEY_A));
    assert_true(is_hit(context, KEY_B)); // nothing is lost that was published
    sage_context_destroy(context);
}

static void set_up_cache(void) {
    fixture_remove_tree(cache_dir);
    sage_context *context = fixture_context(cache_dir, NULL);
    put(context, KEY_B);
    sage_context_destroy(context);
}

// For each call, errno and n: sets up, arms, uses. `use` disarms, and sets was_struck.
static void fail_each(void (*prepare)(void), void (*use)(void)) {
#ifdef __SANITIZE_ADDRESS__ // which takes its time
    static const int errors[] = {EACCES, ENOSPC, EINTR, FAULT_SHORT};
#else
    static const int errors[] = {EACCES, ENOSPC, EIO, EROFS, EMFILE, ENOMEM, EINTR, EDQUOT, ESTALE, FAULT_SHORT};
#endif
    int faults = 0;
    for (int call = 0; fault_names[call]; call++) {
        for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
            for (int mode = 0; mode < 2; mode++) {
                // For good: interrupted for ever is waiting for ever, and not a fault.
                if (mode == 1 && errors[e] == EINTR) continue;
                was_struck = true;
                for (int n = 1; was_struck; n++) {
                    prepare();
                    fault_arm(fault_names[call], errors[e], n, mode == 1);
                    use();
                    faults += was_struck;
                }
            }
        }
    }
    print_message("%d faults\n", faults);
    assert_true(faults > 500);
}

static void the_cache_stands_every_fault(void **state) {
    (void)state;
    fail_each(set_up_cache, use_cache);
}

static void write_source_pack(void) {
    static struct pack_fixture kernels;
    kernels.context = fixture_context(NULL, NULL);
    pack_fixture_add_set(&kernels, fixture_meta("s", "p", "c", 1), "sm_90a", WITH_CUBIN);
    pack_fixture_add_set(&kernels, fixture_meta("s", "p", "c", 1), "sm_80", WITH_SOURCE);
    pack_fixture_write(&kernels, directory, "app.sagepack");
    sage_context_destroy(kernels.context);
}

static const struct sage_kernel_request request_90 = {
    .family = "int8_fp8", .head_dim_qk = 128, .head_dim_v = 128, .io = SAGE_BF16, .mask = SAGE_MASK_NONE, .sm = 90};

// The right bits, or none.
static bool ask(sage_context *context, int provider, int sm, const char *cubin) {
    struct sage_kernel_request request = request_90;
    struct sage_kernel_set set = {0};
    request.sm = sm;
    if (context->provider[provider].get(context, context->provider[provider].user, &request, &set) != SAGE_OK)
        return false;
    assert_string_equal(set.kernel[SAGE_ROLE_ATTN_FWD].cubin, cubin);
    kernel_set_free(context, &set);
    return true;
}

static bool use_pack_once(bool must) {
    static const char cubin[] = "cubin int8_fp8_d128 attn_fwd sm_90a none",
                      compiled[] = "cubin for --gpu-architecture=sm_80 of:\n// sm_80\nint8_fp8_d128 attn_fwd none\n";
    const char *const packs[] = {pack_path, NULL};
    sage_options options = {.size = sizeof options, .device = -1, .packs = packs, .cache_dir = cache_dir};
    options.nvrtc_path = FAKE_NVRTC_PATH;
    sage_context *context = NULL;
    sage_status status = sage_context_create(&options, &context);
    if (status != SAGE_OK) {
        assert_true(sage_last_error(NULL)[0]);
        assert_false(must);
        return false;
    }
    const bool loaded = ask(context, 0, 90, cubin), both = ask(context, 1, 80, compiled) && loaded;
    sage_context_destroy(context);
    return both;
}

static void use_pack(void) {
    use_pack_once(false);
    was_struck = fault_disarm();
    assert_true(use_pack_once(true));
}

static void set_up_pack(void) {
    fixture_remove_tree(cache_dir);
}

static void packs_stand_every_fault(void **state) {
    (void)state;
    write_source_pack();
    fail_each(set_up_pack, use_pack);
}

/* -- Real -----------------------------------------------------------------------------------------------------------
 */

static int run_child(int (*run)(void)) {
    pid_t child = fork();
    if (child == 0) _exit(run());
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum { CHILD_SKIPS = 77 };

// A disk of its own, for this process and as long as it lives.
static bool mount_small(const char *options) {
    return mkdir(cache_dir, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("sage", cache_dir, "tmpfs", 0, options) == 0;
}

static int on_a_full_disk(void) {
    char key[KEY_BYTES];
    int on_disk = 0;
    if (!mount_small("size=96k,mode=0700")) return CHILD_SKIPS;
    sage_context *context = fixture_context(cache_dir, NULL);
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "%032x", i);
        put(context, key);
    }
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "%032x", i);
        if (!is_hit(context, key)) return 1; // on the disk, or in memory
    }
    sage_context_destroy(context);
    context = fixture_context(cache_dir, NULL);
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "%032x", i);
        on_disk += is_hit(context, key);
    }
    if (on_disk == 0 || on_disk == 30) return 2;
    struct cache_collected done;
    if (cache_collect(context, &(struct cache_limits){.idle_seconds = 1000}, &done) != SAGE_OK || done.kept) return 3;
    put(context, KEY_A);
    sage_context_destroy(context);
    context = fixture_context(cache_dir, NULL);
    if (!is_hit(context, KEY_A)) return 4; // there is room again
    if (mount("sage", cache_dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) != 0) return 5;
    put(context, KEY_B);
    if (!is_hit(context, KEY_B)) return 6;
    sage_context_destroy(context);
    context = fixture_context(cache_dir, NULL); // sees a read-only disk
    put(context, KEY_B);
    bool all = is_hit(context, KEY_A) && is_hit(context, KEY_B);
    sage_context_destroy(context);
    return all ? 0 : 7;
}

static void a_full_and_a_read_only_disk(void **state) {
    (void)state;
    int result = run_child(on_a_full_disk);
    if (result == CHILD_SKIPS) {
        print_message("skipped: this process may not mount a small disk; injected ENOSPC and EROFS are tested above\n");
        skip();
    }
    assert_int_equal(result, 0);
}

// Short writes of the kernel itself: a file may not grow beyond 2000 bytes.
static int with_short_files(void) {
    const struct rlimit limit = {2000, 2000};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return CHILD_SKIPS;
    sage_context *context = fixture_context(cache_dir, NULL);
    put(context, KEY_A);
    bool hit = is_hit(context, KEY_A);
    sage_context_destroy(context);
    context = fixture_context(cache_dir, NULL);
    bool on_disk = is_hit(context, KEY_A);
    sage_context_destroy(context);
    return !hit ? 1 : on_disk ? 2 : 0;
}

static int with_few_descriptors(void) {
    for (unsigned files = 4; files < 30; files++) {
        const struct rlimit limit = {files, 64};
        sage_context *context = NULL;
        sage_options options = {.size = sizeof options, .device = -1, .cache_dir = cache_dir};
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return CHILD_SKIPS;
        if (sage_context_create(&options, &context) != SAGE_OK) return 1;
        put(context, KEY_A);
        if (!is_hit(context, KEY_A)) return 2;
        sage_context_destroy(context);
    }
    return 0;
}

static void limits_of_the_process(void **state) {
    (void)state;
    assert_int_equal(run_child(with_short_files), 0);
    assert_int_equal(run_child(with_few_descriptors), 0);
    sage_context *context = fixture_context(cache_dir, NULL);
    assert_true(is_hit(context, KEY_A)); // by the child that had descriptors enough
    sage_context_destroy(context);
}

static int as_a_user_without_rights(void) {
    if (geteuid() == 0 && (setgid(12345) || setuid(12345))) return CHILD_SKIPS;
    sage_context *context = fixture_context(cache_dir, NULL);
    struct cache_description description;
    cache_describe(context, &description);
    put(context, KEY_A);
    bool good = is_hit(context, KEY_A) && description.memory_only && strstr(description.reason, "Permission denied");
    sage_context_destroy(context);
    return good ? 0 : 1;
}

// A directory that this user may not even look into.
static void a_closed_directory(void **state) {
    (void)state;
    assert_int_equal(chmod(directory, 0000), 0);
    int result = run_child(as_a_user_without_rights);
    assert_int_equal(chmod(directory, 0700), 0);
    assert_int_equal(result, 0);
}

static int make(void **state) {
    (void)state;
    fixture_directory(directory);
    snprintf(cache_dir, sizeof cache_dir, "%s/cache", directory);
    snprintf(pack_path, sizeof pack_path, "%s/app.sagepack", directory);
    return 0;
}

static int destroy(void **state) {
    (void)state;
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_cache_stands_every_fault), TEST(packs_stand_every_fault), TEST(a_full_and_a_read_only_disk),
        TEST(limits_of_the_process),        TEST(a_closed_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
