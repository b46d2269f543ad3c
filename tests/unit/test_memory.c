// test_memory: the n-th allocation fails, for all n, over every way through the public calls: packs, sources,
// kernel_dir, the cache on disk and in memory, plans and runs. Each call then succeeds or says OUT_OF_MEMORY, leaves
// its output untouched, and gives all memory back. SPDX-License-Identifier: Apache-2.0
#include "pack_fixture.h"
#include "cache.h"
#include "fake_cuda.h"
#include <pthread.h>

#define KEY_A "00112233445566778899aabbccddeeff"

static char directory[64], pack_path[128], source_path[128], cache_dir[128], kernel_dir[128];
static struct fake_cuda cuda;

/* -- Allocator ------------------------------------------------------------------------------------------------------
 */

static struct {
    pthread_mutex_t lock;
    int live, until; /* until: the n-th from now fails; 0: none */
    bool failed;
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *allocate(void *user, size_t bytes) {
    (void)user;
    pthread_mutex_lock(&memory.lock);
    bool fail = memory.until > 0 && --memory.until == 0;
    memory.failed |= fail;
    memory.live += !fail;
    pthread_mutex_unlock(&memory.lock);
    return fail ? NULL : malloc(bytes);
}

static void release(void *user, void *block) {
    (void)user;
    pthread_mutex_lock(&memory.lock);
    memory.live--;
    pthread_mutex_unlock(&memory.lock);
    free(block);
}

/* -- Ways through the library ---------------------------------------------------------------------------------------
 */

struct setting {
    const char *pack, *cache, *kernels; /* NULL: none */
};

static sage_status open_context(const struct setting *setting, sage_context **out) {
    const char *const packs[] = {setting->pack, NULL};
    sage_options options = {.size = sizeof options, .nvrtc_path = FAKE_NVRTC_PATH, .kernel_dir = setting->kernels};
    options.packs = setting->pack ? packs : NULL;
    options.cache_dir = setting->cache;
    options.memory_only = setting->cache == NULL;
    options.allocator = (sage_allocator){allocate, release, NULL};
    return sage_context_create(&options, out);
}

static sage_status plan_and_run(sage_context *context) {
    static uint16_t tensor[4][64 * 128];
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128};
    sage_attention_plan *plan = NULL;
    sage_status status = sage_attention_supports(context, &desc, NULL, 0);
    if (status == SAGE_OK) status = sage_attention_plan_create(context, &desc, &plan);
    if (status != SAGE_OK) {
        assert_null(plan);
        return status;
    }
    const sage_tensor rows = {NULL, 64 * 128, 64 * 128, 128};
    sage_attention_args args = {
        .size = sizeof args, .shape = {1, 1, 1, 64, 64}, .q = rows, .k = rows, .v = rows, .o = rows};
    args.q.data = tensor[0], args.k.data = tensor[1], args.v.data = tensor[2], args.o.data = tensor[3];
    args.workspace_bytes = sage_attention_workspace_bytes(plan, &args.shape);
    args.workspace = aligned_alloc(256, (args.workspace_bytes + 255) / 256 * 256);
    status = sage_attention_run(plan, &args, NULL);
    free(args.workspace);
    sage_attention_plan_destroy(plan);
    return status;
}

static sage_status with_plan(const struct setting *setting) {
    sage_context *context = NULL;
    sage_status status = open_context(setting, &context);
    if (status != SAGE_OK) {
        assert_null(context);
        return status;
    }
    status = plan_and_run(context);
    if (status == SAGE_OK) status = plan_and_run(context);
    sage_context_destroy(context);
    return status;
}

// Plans that the context keeps.
static sage_status prewarmed_plans(void) {
    sage_context *context = NULL;
    const sage_attention_plan *plan = NULL;
    const sage_attention_desc descs[] = {
        {.size = sizeof *descs, .head_dim_qk = 128},
        {.size = sizeof *descs, .head_dim_qk = 128, .spec = "int8_fp8_d128"},
        {.size = sizeof *descs, .head_dim_qk = 128, .flags = SAGE_FLAG_LSE},
    };
    SAGE_TRY(open_context(&(struct setting){.pack = source_path}, &context));
    sage_status status = sage_attention_prewarm(context, descs, 3);
    if (status == SAGE_OK) status = sage_attention_plan_get(context, &descs[1], NULL, &plan);
    assert_true((status == SAGE_OK) == (plan != NULL));
    sage_context_destroy(context);
    return status;
}

static sage_status cubins_of_a_pack(void) {
    return with_plan(&(struct setting){.pack = pack_path});
}

static sage_status sources_in_memory(void) {
    return with_plan(&(struct setting){.pack = source_path});
}

static sage_status sources_on_an_empty_cache(void) {
    fixture_remove_tree(cache_dir);
    return with_plan(&(struct setting){.pack = source_path, .cache = cache_dir});
}

static sage_status sources_on_a_full_cache(void) {
    return with_plan(&(struct setting){.pack = source_path, .cache = cache_dir});
}

static sage_status a_folder_of_kernels(void) {
    return with_plan(&(struct setting){.kernels = kernel_dir});
}

// Nothing answers: the sentence with all reasons.
static sage_status nothing_answers(void) {
    sage_context *context = NULL;
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 64};
    SAGE_TRY(open_context(&(struct setting){.pack = pack_path, .kernels = kernel_dir}, &context));
    sage_attention_plan *plan = NULL;
    sage_status status = sage_attention_plan_create(context, &desc, &plan);
    assert_null(plan);
    assert_non_null(sage_last_error(context));
    sage_context_destroy(context);
    return status == SAGE_ERROR_NOT_FOUND ? SAGE_OK : status;
}

static bool count_key(void *user, const char *key) {
    (void)key;
    ++*(int *)user;
    return true;
}

static sage_status walk_through_cache(sage_context *context, const struct cache_files *files) {
    const struct cache_limits limits = {.idle_seconds = 1000, .bytes = UINT64_MAX};
    struct cache_collected done;
    struct cache_entry entry;
    char key[KEY_BYTES];
    int count = 0;
    SAGE_TRY(cache_put(context, KEY_A, files));
    SAGE_TRY(cache_get(context, KEY_A, CACHE_ALL, &entry));
    cache_entry_free(context, &entry);
    SAGE_TRY(cache_index_put(context, KEY_A, KEY_A));
    // Not read for lack of memory: a miss, as everything in the index may be.
    sage_status status = cache_index_get(context, KEY_A, key);
    if (status != SAGE_OK) return memory.failed ? SAGE_ERROR_OUT_OF_MEMORY : status;
    SAGE_TRY(cache_each(context, count_key, &count));
    assert_int_equal(count, 1);
    struct cache_description description;
    cache_describe(context, &description);
    if (!description.memory_only) SAGE_TRY(cache_collect(context, &limits, &done));
    return cache_remove(context, KEY_A);
}

static sage_status cache_calls(const char *dir) {
    sage_context *context = NULL;
    char *text = NULL;
    size_t len = 0;
    const struct meta meta = fixture_meta("source", "ptx", "cubin", 5);
    SAGE_TRY(open_context(&(struct setting){.cache = dir}, &context));
    sage_status status = meta_write(context, &meta, &text, &len);
    const struct cache_files files = {
        .meta = {text, len}, .cubin = {"cubin", 5}, .source = {"source", 6}, .ptx = {"ptx", 3}};
    if (status == SAGE_OK) status = walk_through_cache(context, &files);
    context_free(context, text);
    sage_context_destroy(context);
    return status;
}

static sage_status cache_calls_on_disk(void) {
    fixture_remove_tree(cache_dir);
    return cache_calls(cache_dir);
}

static sage_status cache_calls_in_memory(void) {
    return cache_calls(NULL);
}

/* -- All n ----------------------------------------------------------------------------------------------------------
 */

// Until the way is walked without a failure; it then must succeed.
static void fail_each(sage_status (*way)(void)) {
    for (int n = 1; n < 5000; n++) {
        memory.until = n;
        memory.failed = false;
        sage_status status = way();
        memory.until = 0;
        if (status != SAGE_OK && (!memory.failed || status != SAGE_ERROR_OUT_OF_MEMORY))
            print_message("allocation %d: status %d\n", n, status);
        assert_true(status == SAGE_OK || (memory.failed && status == SAGE_ERROR_OUT_OF_MEMORY));
        assert_int_equal(memory.live, 0);
        assert_int_equal(cuda.counts().modules, cuda.counts().unloads);
        assert_int_equal(cuda.counts().retains, cuda.counts().releases);
        if (!memory.failed) return;
    }
    fail_msg("never walked to the end");
}

#define FAIL_EACH(way)                                                                                                 \
    static void memory_fails_in_##way(void **state) {                                                                  \
        (void)state;                                                                                                   \
        fail_each(way);                                                                                                \
    }
FAIL_EACH(cubins_of_a_pack)
FAIL_EACH(sources_in_memory)
FAIL_EACH(sources_on_an_empty_cache)
FAIL_EACH(sources_on_a_full_cache)
FAIL_EACH(a_folder_of_kernels)
FAIL_EACH(nothing_answers)
FAIL_EACH(prewarmed_plans)
FAIL_EACH(cache_calls_on_disk)
FAIL_EACH(cache_calls_in_memory)

/* -- Files ----------------------------------------------------------------------------------------------------------
 */

static void write_kernel(const struct pack_item *item, const char *name) {
    char file[200];
    snprintf(file, sizeof file, "%s.cubin", name);
    fixture_write(kernel_dir, file, item->cubin.data, item->cubin.bytes);
    snprintf(file, sizeof file, "%s.meta", name);
    fixture_write(kernel_dir, file, item->meta.data, item->meta.bytes);
}

static int set_up(void **state) {
    (void)state;
    static struct pack_fixture kernels;
    fixture_directory(directory);
    snprintf(pack_path, sizeof pack_path, "%s/cubins.sagepack", directory);
    snprintf(source_path, sizeof source_path, "%s/sources.sagepack", directory);
    snprintf(cache_dir, sizeof cache_dir, "%s/cache", directory);
    snprintf(kernel_dir, sizeof kernel_dir, "%s/kernels", directory);
    assert_int_equal(mkdir(kernel_dir, 0700), 0);
    kernels.context = fixture_context(NULL, NULL);
    pack_fixture_add_set(&kernels, fixture_meta("s", "p", "c", 1), "sm_90a", WITH_BOTH);
    for (int i = 0; i < kernels.count; i++) write_kernel(&kernels.item[i], kernels.name[i]);
    pack_fixture_write(&kernels, directory, "cubins.sagepack");
    pack_fixture_add_set(&kernels, fixture_meta("s", "p", "c", 1), "sm_80", WITH_SOURCE);
    pack_fixture_write(&kernels, directory, "sources.sagepack");
    sage_context_destroy(kernels.context);
    cuda = fake_cuda_open(FAKE_CUDA_PATH);
    return cuda.library ? setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1) : -1;
}

static int tear_down(void **state) {
    (void)state;
    fixture_remove_tree(directory);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_fails_in_cubins_of_a_pack),
        cmocka_unit_test(memory_fails_in_sources_in_memory),
        cmocka_unit_test(memory_fails_in_sources_on_an_empty_cache),
        cmocka_unit_test(memory_fails_in_sources_on_a_full_cache),
        cmocka_unit_test(memory_fails_in_a_folder_of_kernels),
        cmocka_unit_test(memory_fails_in_nothing_answers),
        cmocka_unit_test(memory_fails_in_prewarmed_plans),
        cmocka_unit_test(memory_fails_in_cache_calls_on_disk),
        cmocka_unit_test(memory_fails_in_cache_calls_in_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
