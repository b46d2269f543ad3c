// test_concurrency: processes and threads on one cache: 16 and 16 that start on an empty one, 500 that are killed at
// any moment, two versions of libsage, and readers beside gc. What anybody loads is right to the bit; what was
// published is there. SPDX-License-Identifier: Apache-2.0
#include "pack_fixture.h"
#include "cache.h"
#include "fake_cuda.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { PROCESSES = 16, THREADS = 16, KILLS = 500, KEYS = 200 };

static char directory[64], cache_dir[128], pack_path[128], journal_path[128];

// A child dies with this process: a failed test must leave nobody at work.
static pid_t fork_child(void) {
    const pid_t parent = getpid(), child = fork();
    assert_true(child >= 0);
    if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) _exit(98);
    return child;
}

static void expect_children(const pid_t *child, int count) {
    for (int i = 0; i < count; i++) {
        int status = -1;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* -- A start on an empty cache --------------------------------------------------------------------------------------
 */

static const struct sage_kernel_request request_80 = {
    .family = "int8_fp8", .head_dim_qk = 128, .head_dim_v = 128, .io = SAGE_BF16, .mask = SAGE_MASK_NONE, .sm = 80};

struct start {
    sage_context *context;
    pthread_barrier_t *gate;
    int failures;
};

static bool is_right(const struct sage_kernel_blob *blob, const char *role) {
    char expected[256];
    snprintf(expected, sizeof expected, "cubin for --gpu-architecture=sm_80 of:\n// sm_80\nSLOW_int8_fp8 %s none\n",
             role);
    return blob->cubin && strcmp(blob->cubin, expected) == 0;
}

// Kernels whose bits are looked at, then a plan, made as an application makes it.
static int start_once(sage_context *context) {
    struct sage_kernel_set set = {0};
    sage_attention_plan *plan = NULL;
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .spec = "SLOW_int8_fp8"};
    const struct sage_provider *provider = &context->provider[1];
    if (provider->get(context, provider->user, &request_80, &set) != SAGE_OK) return 1;
    bool right = is_right(&set.kernel[SAGE_ROLE_ATTN_FWD], "attn_fwd") &&
                 is_right(&set.kernel[SAGE_ROLE_QUANTISE_Q], "quantise_q") &&
                 is_right(&set.kernel[SAGE_ROLE_QUANTISE_KV], "quantise_kv");
    kernel_set_free(context, &set);
    if (!right) return 2;
    if (sage_attention_plan_create(context, &desc, &plan) != SAGE_OK) return 3;
    if (strcmp(sage_attention_plan_describe(plan), "SLOW_int8_fp8 q128_k64_s2_w8 sm_80") != 0) return 4;
    sage_attention_plan_destroy(plan);
    return 0;
}

static void *start_thread(void *user) {
    struct start *start = user;
    pthread_barrier_wait(start->gate);
    start->failures = start_once(start->context);
    if (start->failures) print_message("%d: %s\n", start->failures, sage_last_error(start->context));
    return NULL;
}

static sage_context *open_context(void) {
    const char *const packs[] = {pack_path, NULL};
    sage_options options = {
        .size = sizeof options, .packs = packs, .cache_dir = cache_dir, .nvrtc_path = FAKE_NVRTC_PATH};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    assert_int_equal(context->provider_count, 2); // cubins and sources
    return context;
}

// Threads on `contexts` contexts. Returns how many failed.
static int start_threads(int contexts) {
    sage_context *context[THREADS];
    struct start start[THREADS];
    pthread_t thread[THREADS];
    pthread_barrier_t gate;
    int failures = 0;
    pthread_barrier_init(&gate, NULL, THREADS);
    for (int i = 0; i < contexts; i++) context[i] = open_context();
    for (int i = 0; i < THREADS; i++) {
        start[i] = (struct start){.context = context[i % contexts], .gate = &gate};
        assert_int_equal(pthread_create(&thread[i], NULL, start_thread, &start[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++) failures += start[i].failures != 0;
    for (int i = 0; i < contexts; i++) sage_context_destroy(context[i]);
    pthread_barrier_destroy(&gate);
    return failures;
}

static bool count_key(void *user, const char *key) {
    (void)key;
    ++*(int *)user;
    return true;
}

static void expect_whole_cache(int kernels) {
    sage_context *context = fixture_context(cache_dir, NULL);
    int count = 0;
    char path[160];
    assert_int_equal(cache_each(context, count_key, &count), SAGE_OK);
    assert_int_equal(count, kernels);
    snprintf(path, sizeof path, "%s/damaged", cache_dir);
    assert_int_equal(access(path, F_OK), -1); // nobody ever saw a damaged one
    sage_context_destroy(context);
}

static void sixteen_threads_start_on_an_empty_cache(void **state) {
    (void)state;
    assert_int_equal(start_threads(1), 0);
    fixture_remove_tree(cache_dir);
    assert_int_equal(start_threads(THREADS), 0);
    expect_whole_cache(3);
}

static void sixteen_processes_of_sixteen_threads(void **state) {
    (void)state;
    pid_t child[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork_child();
        if (child[i] == 0) _exit(start_threads(1 + i % 2));
    }
    expect_children(child, PROCESSES);
    expect_whole_cache(3);
}

/* -- Killed at any moment -------------------------------------------------------------------------------------------
 */

static void key_of(int index, char out[KEY_BYTES]) {
    snprintf(out, KEY_BYTES, "%02x%030x", (unsigned)(index * 37 % 256), (unsigned)index);
}

static bool content_is_right(const struct cache_entry *entry, int index) {
    const unsigned char *bytes = entry->files.cubin.data;
    if (entry->files.cubin.bytes != (size_t)(1000 + 50 * index)) return false;
    for (size_t i = 0; i < entry->files.cubin.bytes; i++)
        if (bytes[i] != (unsigned char)(i * 7 + (size_t)index)) return false;
    return true;
}

static int publish(sage_context *context, int index) {
    static unsigned char cubin[1000 + 50 * KEYS];
    const size_t bytes = (size_t)(1000 + 50 * index);
    char key[KEY_BYTES], *text = NULL;
    size_t len = 0;
    key_of(index, key);
    for (size_t i = 0; i < bytes; i++) cubin[i] = (unsigned char)(i * 7 + (size_t)index);
    const struct meta meta = fixture_meta("source", "ptx", cubin, bytes);
    if (meta_write(context, &meta, &text, &len) != SAGE_OK) return 1;
    const struct cache_files files = {
        .meta = {text, len}, .cubin = {cubin, bytes}, .source = {"source", 6}, .ptx = {"ptx", 3}};
    sage_status status = cache_put(context, key, &files);
    context_free(context, text);
    return status == SAGE_OK ? 0 : 2;
}

// Says that it is at work, then checks or publishes keys for ever; says in the journal what it published, once that was
// done.
static int work_until_killed(unsigned seed, int at_work) {
    int journal = open(journal_path, O_WRONLY | O_APPEND);
    struct fixture_log log = {0};
    if (write(at_work, "", 1) != 1) return 4;
    for (;;) {
        sage_context *context = fixture_context(cache_dir, &log);
        for (int i = 0; i < 20; i++) {
            const int index = (int)(seed = seed * 1664525u + 1013904223u) >> 8 & 0xffff;
            char key[KEY_BYTES], line[16];
            struct cache_entry entry;
            key_of(index % KEYS, key);
            if (cache_get(context, key, CACHE_ALL, &entry) == SAGE_OK) {
                if (!content_is_right(&entry, index % KEYS)) return 1;
                cache_entry_free(context, &entry);
                continue;
            }
            if (publish(context, index % KEYS) != 0) return 2;
            int bytes = snprintf(line, sizeof line, "%d\n", index % KEYS);
            if (log.count == 0 && write(journal, line, (size_t)bytes) != bytes) return 3;
            cache_index_put(context, key, key);
        }
        sage_context_destroy(context);
    }
}

// Everything that the journal names is there. Returns how many.
static int expect_published(void) {
    FILE *journal = fopen(journal_path, "r");
    struct fixture_log log = {0};
    sage_context *context = fixture_context(cache_dir, &log);
    bool named[KEYS] = {false}; // two processes may have published the same one
    int index, published = 0, present = 0;
    assert_non_null(journal);
    while (fscanf(journal, "%d", &index) == 1) {
        char key[KEY_BYTES];
        struct cache_entry entry;
        key_of(index, key);
        assert_int_equal(cache_get(context, key, CACHE_ALL, &entry), SAGE_OK);
        assert_true(content_is_right(&entry, index));
        cache_entry_free(context, &entry);
        published += !named[index];
        named[index] = true;
    }
    fclose(journal);
    assert_int_equal(cache_each(context, count_key, &present), SAGE_OK);
    print_message("%d kernels published and said so, %d there\n", published, present);
    assert_true(present >= published);
    assert_int_equal(log.count, 0); // nothing was damaged, nothing half there
    sage_context_destroy(context);
    return published;
}

// How long it takes to publish a kernel on this disk, now.
static long publish_ns(void) {
    struct timespec from, to;
    sage_context *context = fixture_context(cache_dir, NULL);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 4; i++) assert_int_equal(publish(context, i), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    sage_context_destroy(context);
    const long ns = ((to.tv_sec - from.tv_sec) * 1000000000L + to.tv_nsec - from.tv_nsec) / 4;
    return ns < 20000000 ? ns : 20000000;
}

// Two that work side by side, for up to about as long as it takes to publish eight kernels.
static void work_and_kill(unsigned seed, long one_ns) {
    pid_t child[2];
    int at_work[2];
    char byte[2];
    assert_int_equal(pipe(at_work), 0);
    for (int j = 0; j < 2; j++) {
        child[j] = fork_child();
        if (child[j] == 0) _exit(work_until_killed(seed + (unsigned)j, at_work[1]));
    }
    for (int j = 0; j < 2; j++) assert_int_equal(read(at_work[0], byte, 1), 1);
    const struct timespec moment = {.tv_nsec = (long)((uint64_t)seed * (uint64_t)(8 * one_ns) >> 32)};
    nanosleep(&moment, NULL);
    for (int j = 0; j < 2; j++) kill(child[j], SIGKILL);
    for (int j = 0; j < 2; j++) {
        int status = -1;
        assert_int_equal(waitpid(child[j], &status, 0), child[j]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); // it found nothing wrong until then
    }
    close(at_work[0]);
    close(at_work[1]);
}

static void killed_at_any_moment(void **state) {
    (void)state;
    unsigned seed = 1;
    int published = 0;
    long one_ns = publish_ns();
    close(open(journal_path, O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < KILLS; i++) {
        work_and_kill(seed, one_ns);
        seed = seed * 1664525u + 1013904223u;
        // Now and then all is thrown away, so that there is always something to publish.
        if (i % 50 != 49) continue;
        published += expect_published();
        fixture_remove_tree(cache_dir);
        assert_int_equal(truncate(journal_path, 0), 0);
        one_ns = publish_ns();
    }
    assert_true(published >= 20);
}

/* -- Readers beside gc ----------------------------------------------------------------------------------------------
 */

static int read_and_publish(unsigned seed) {
    struct fixture_log log = {0};
    sage_context *context = fixture_context(cache_dir, &log);
    for (int i = 0; i < 1500; i++) {
        const int index = (int)((seed = seed * 1664525u + 1013904223u) >> 16) % 4;
        char key[KEY_BYTES];
        struct cache_entry entry;
        key_of(index, key);
        if (cache_get(context, key, CACHE_ALL, &entry) == SAGE_OK) {
            if (!content_is_right(&entry, index)) return 1;
            cache_entry_free(context, &entry);
        } else if (publish(context, index) != 0) {
            return 2;
        }
        if (cache_get(context, key, CACHE_ALL, &entry) == SAGE_OK) cache_entry_free(context, &entry);
    }
    sage_context_destroy(context);
    return log.count == 0 ? 0 : 3; // what vanishes while it is read is no damage
}

static int collect_for_ever(void) {
    sage_context *context = fixture_context(cache_dir, NULL);
    for (;;) {
        struct cache_collected done;
        if (cache_collect(context, &(struct cache_limits){.idle_seconds = 1000}, &done) != SAGE_OK) return 1;
    }
}

static void readers_and_publishers_beside_gc(void **state) {
    (void)state;
    pid_t collector = fork(), child[4];
    if (collector == 0) _exit(collect_for_ever());
    for (int i = 0; i < 4; i++) {
        child[i] = fork_child();
        if (child[i] == 0) _exit(read_and_publish((unsigned)i));
    }
    expect_children(child, 4);
    kill(collector, SIGKILL);
    int status = -1;
    waitpid(collector, &status, 0);
    assert_true(WIFSIGNALED(status));
}

/* -- Two versions ---------------------------------------------------------------------------------------------------
 */

static int other_version(const char *action, const char *key) {
    char command[600];
    snprintf(command, sizeof command, "%s %s %s %s", OTHER_VERSION_PATH, cache_dir, action, key);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool holds(sage_context *context, int index) {
    char key[KEY_BYTES];
    struct cache_entry entry;
    key_of(index, key);
    if (cache_get(context, key, CACHE_ALL, &entry) != SAGE_OK) return false;
    assert_true(content_is_right(&entry, index));
    cache_entry_free(context, &entry);
    return true;
}

static void two_versions_share_a_cache(void **state) {
    (void)state;
    char own[KEY_BYTES], others[KEY_BYTES], path[160];
    struct fixture_log log = {0};
    sage_context *context = fixture_context(cache_dir, &log);
    key_of(1, own);
    key_of(2, others);
    assert_int_equal(publish(context, 1), 0);
    assert_int_equal(cache_index_put(context, own, own), SAGE_OK);
    assert_int_equal(other_version("get", own), 1);
    assert_int_equal(other_version("put", others), 0);
    assert_int_equal(other_version("get", others), 0);
    assert_false(holds(context, 2));
    assert_int_equal(other_version("each", "-"), 0); // a look at all of them, as of `cache verify`
    assert_true(holds(context, 1));
    int count = 0;
    assert_int_equal(cache_each(context, count_key, &count), SAGE_OK);
    assert_int_equal(count, 2);
    assert_int_equal(other_version("get", others), 0);
    assert_int_equal(other_version("put", own), 0); // keys never meet; if they did: the first one stays
    assert_true(holds(context, 1));
    snprintf(path, sizeof path, "%s/damaged", cache_dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(log.count, 0);
    sage_context_destroy(context);
}

/* -- Fixture --------------------------------------------------------------------------------------------------------
 */

static void write_pack(void) {
    static struct pack_fixture kernels;
    struct meta meta = fixture_meta("s", "p", "c", 1);
    strcpy(meta.spec, "SLOW_int8_fp8"); // so that many compile at once
    kernels.context = fixture_context(NULL, NULL);
    pack_fixture_add_set(&kernels, meta, "sm_80", WITH_SOURCE);
    pack_fixture_write(&kernels, directory, "app.sagepack");
    sage_context_destroy(kernels.context);
}

// The driver's lock must not be held when a test forks, and its parent may not have called it: the library is opened in
// this process, and used by its children alone, or after them.
static int make(void **state) {
    (void)state;
    fixture_directory(directory);
    snprintf(cache_dir, sizeof cache_dir, "%s/cache", directory);
    snprintf(pack_path, sizeof pack_path, "%s/app.sagepack", directory);
    snprintf(journal_path, sizeof journal_path, "%s/journal", directory);
    struct fake_cuda cuda = fake_cuda_open(FAKE_CUDA_PATH);
    if (!cuda.library) return -1;
    cuda.set_sm(80);
    write_pack();
    return setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
}

static int destroy(void **state) {
    (void)state;
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(sixteen_processes_of_sixteen_threads),
        TEST(sixteen_threads_start_on_an_empty_cache),
        TEST(killed_at_any_moment),
        TEST(readers_and_publishers_beside_gc),
        TEST(two_versions_share_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
