// test_threads: libsage in an application of many threads: several contexts, several GPUs of different kinds, plans
// that the context keeps, prewarm, and captures. Also run under ThreadSanitizer. SPDX-License-Identifier: Apache-2.0
#include "pack_fixture.h"
#include "fake_cuda.h"
#include <pthread.h>

enum { THREADS = 16, ROUNDS = 20, CONTEXTS = 4 };

static char directory[64], pack_path[128];
static struct fake_cuda cuda;
static struct fake_nvrtc nvrtc;

static sage_context *open_context(int device, const char *cache_dir) {
    const char *const packs[] = {pack_path, NULL};
    sage_options options = {.size = sizeof options, .device = device, .packs = packs, .nvrtc_path = FAKE_NVRTC_PATH};
    options.cache_dir = cache_dir;
    options.memory_only = cache_dir == NULL;
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    return context;
}

// 0, or what went wrong. The arguments are the thread's own.
static int run_plan(const sage_attention_plan *plan) {
    static _Thread_local uint16_t tensor[4][64 * 128];
    static _Thread_local _Alignas(256) unsigned char workspace[1 << 20];
    const sage_tensor rows = {NULL, 64 * 128, 64 * 128, 128};
    sage_attention_args args = {
        .size = sizeof args, .shape = {1, 1, 1, 64, 64}, .q = rows, .k = rows, .v = rows, .o = rows};
    args.q.data = tensor[0], args.k.data = tensor[1], args.v.data = tensor[2], args.o.data = tensor[3];
    args.workspace = workspace;
    args.workspace_bytes = sage_attention_workspace_bytes(plan, &args.shape);
    if (args.workspace_bytes == 0 || args.workspace_bytes > sizeof workspace) return 20;
    return sage_attention_run(plan, &args, NULL) == SAGE_OK ? 0 : 21;
}

struct worker {
    sage_context *context;
    const char *target; /* of every plan of this context */
    int index, result;
    const sage_attention_plan *plan;
    pthread_t thread;
};

static void run_workers(struct worker *workers, int count, void *(*work)(void *user)) {
    for (int i = 0; i < count; i++) {
        workers[i].index = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < count; i++) assert_int_equal(workers[i].result, 0);
}

/* -- Contexts and GPUs ----------------------------------------------------------------------------------------------
 */

static int use_context(const struct worker *w) {
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .precision = SAGE_INT8_FP8};
    const sage_attention_desc missing = {.size = sizeof missing, .head_dim_qk = 8 * (w->index % 15 + 1)};
    char expected[32];
    sage_attention_plan *plan = NULL;
    if (sage_attention_plan_create(w->context, &desc, &plan) != SAGE_OK) return 1;
    if (!strstr(sage_attention_plan_describe(plan), w->target)) return 2;
    int result = run_plan(plan);
    sage_attention_plan_destroy(plan);
    if (sage_attention_supports(w->context, &missing, NULL, 0) != SAGE_ERROR_UNSUPPORTED) return 3;
    snprintf(expected, sizeof expected, "head_dim_qk %d,", missing.head_dim_qk); // this thread's own sentence
    return strstr(sage_last_error(w->context), expected) ? result : 4;
}

static void *use_context_often(void *user) {
    struct worker *w = user;
    for (int i = 0; i < ROUNDS && w->result == 0; i++) w->result = use_context(w);
    return NULL;
}

static void contexts_on_gpus_of_different_kinds(void **state) {
    (void)state;
    static const struct {
        int device;
        const char *target;
    } rows[CONTEXTS] = {{0, " sm_90a"}, {1, " sm_89"}, {2, " sm_120a"}, {0, " sm_90a"}};
    sage_context *context[CONTEXTS];
    struct worker workers[THREADS] = {0};
    cuda.set_device_count(3);
    cuda.set_device_sm(1, 89);
    cuda.set_device_sm(2, 120);
    for (int i = 0; i < CONTEXTS; i++) context[i] = open_context(rows[i].device, directory);
    assert_int_equal(sage_context_sm(context[1]), 89);
    for (int i = 0; i < THREADS; i++) {
        workers[i].context = context[i % CONTEXTS];
        workers[i].target = rows[i % CONTEXTS].target;
    }
    run_workers(workers, THREADS, use_context_often);
    assert_int_equal(cuda.counts().launches, 3 * THREADS * ROUNDS);
    assert_int_equal(cuda.counts().modules, cuda.counts().unloads);
    for (int i = 0; i < CONTEXTS; i++) sage_context_destroy(context[i]);
    assert_int_equal(cuda.counts().retains, cuda.counts().releases);
    assert_int_equal(cuda.counts().pushes, cuda.counts().pops);
}

/* -- Kept plans -----------------------------------------------------------------------------------------------------
 */

static sage_attention_desc desc_of(sage_mask mask) {
    return (sage_attention_desc){.size = sizeof(sage_attention_desc), .head_dim_qk = 128, .mask = mask};
}

static void *get_plan(void *user) {
    struct worker *w = user;
    const sage_attention_desc desc = desc_of(SAGE_MASK_NONE);
    w->result = sage_attention_plan_get(w->context, &desc, NULL, &w->plan) != SAGE_OK ? 1 : run_plan(w->plan);
    return NULL;
}

static void all_threads_get_the_same_plan(void **state) {
    (void)state;
    struct worker workers[THREADS] = {0};
    cuda.set_sm(120); // from sources
    const int before = nvrtc.compiles();
    sage_context *context = open_context(0, NULL);
    for (int i = 0; i < THREADS; i++) workers[i].context = context;
    run_workers(workers, THREADS, get_plan);
    for (int i = 1; i < THREADS; i++) assert_ptr_equal(workers[i].plan, workers[0].plan);
    assert_int_equal(nvrtc.compiles(), before + 3); // once, whoever was first
    sage_context_destroy(context);
    assert_int_equal(cuda.counts().modules, cuda.counts().unloads);
}

static void descriptions_are_told_apart(void **state) {
    (void)state;
    sage_context *context = open_context(0, NULL);
    sage_attention_desc rows[6];
    const sage_attention_plan *plan[6], *again;
    char spec[] = "int8_fp8_d128";
    for (int i = 0; i < 6; i++) rows[i] = desc_of(SAGE_MASK_NONE);
    rows[1].mask = SAGE_MASK_CAUSAL;
    rows[2].sm_scale = 0.5f;
    rows[3].flags = SAGE_FLAG_LSE;
    rows[4].spec = spec;
    rows[5].precision = SAGE_INT8_FP8;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(sage_attention_plan_get(context, &rows[i], NULL, &plan[i]), SAGE_OK);
        for (int j = 0; j < i; j++) assert_ptr_not_equal(plan[i], plan[j]);
    }
    rows[0].head_dim_v = 128; // its default
    assert_int_equal(sage_attention_plan_get(context, &rows[0], NULL, &again), SAGE_OK);
    assert_ptr_equal(again, plan[0]);
    spec[0] = 'I'; // the name was copied
    rows[4].spec = "int8_fp8_d128";
    assert_int_equal(sage_attention_plan_get(context, &rows[4], NULL, &again), SAGE_OK);
    assert_ptr_equal(again, plan[4]);
    rows[4].spec = "int8_fp8_mine";
    again = NULL;
    assert_int_equal(sage_attention_plan_get(context, &rows[4], NULL, &again), SAGE_ERROR_NOT_FOUND);
    assert_null(again);
    sage_context_destroy(context);
}

static void a_missing_plan_is_an_error_before_a_capture(void **state) {
    (void)state;
    cuda.set_sm(120);
    sage_context *context = open_context(0, NULL);
    const sage_attention_desc rows[] = {desc_of(SAGE_MASK_NONE), desc_of(SAGE_MASK_CAUSAL)};
    const sage_attention_plan *plan = NULL;
    const int before = nvrtc.compiles();
    cuda.set_capturing(1);
    assert_int_equal(sage_attention_plan_get(context, &rows[0], NULL, &plan), SAGE_ERROR_CAPTURE);
    assert_non_null(strstr(sage_last_error(context), "sage_attention_prewarm"));
    assert_null(plan);
    assert_int_equal(nvrtc.compiles(), before);
    assert_int_equal(cuda.counts().modules, 0);
    cuda.set_capturing(0);
    assert_int_equal(sage_attention_prewarm(context, rows, 1), SAGE_OK);
    assert_int_equal(nvrtc.compiles(), before + 3);
    cuda.set_capturing(1);
    assert_int_equal(sage_attention_plan_get(context, &rows[0], NULL, &plan), SAGE_OK);
    assert_int_equal(run_plan(plan), 0);
    assert_int_equal(cuda.counts().synchronisations, 0);
    assert_int_equal(sage_attention_plan_get(context, &rows[1], NULL, &plan), SAGE_ERROR_CAPTURE);
    sage_context_destroy(context);
}

static void prewarm_makes_what_can_be_made(void **state) {
    (void)state;
    cuda.set_sm(120);
    sage_context *context = open_context(0, NULL);
    sage_attention_desc rows[4];
    const sage_attention_plan *plan;
    for (int i = 0; i < 4; i++) rows[i] = desc_of(i % 2 ? SAGE_MASK_CAUSAL : SAGE_MASK_NONE);
    assert_int_equal(sage_attention_prewarm(context, NULL, 0), SAGE_OK);
    assert_int_equal(sage_attention_prewarm(context, NULL, 1), SAGE_ERROR_INVALID_ARGUMENT);
    rows[1].head_dim_qk = 64;
    rows[2].head_dim_qk = 7;
    assert_int_equal(sage_attention_prewarm(context, rows, 4), SAGE_ERROR_NOT_FOUND);
    assert_non_null(strstr(sage_last_error(context), "descs[1]: no kernel for"));
    cuda.set_capturing(1);
    assert_int_equal(sage_attention_plan_get(context, &rows[0], NULL, &plan), SAGE_OK);
    assert_int_equal(sage_attention_plan_get(context, &rows[3], NULL, &plan), SAGE_OK);
    cuda.set_capturing(0);
    rows[1] = rows[0];
    rows[1].size += sizeof(size_t);
    assert_int_equal(sage_attention_prewarm(context, rows, 2), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(sage_last_error(context), "descs[1]: size"));
    rows[0].size = 1 << 20;
    assert_int_equal(sage_attention_prewarm(context, rows, 2), SAGE_ERROR_INVALID_ARGUMENT);
    sage_context_destroy(context);
}

// The first compilation fails; those who waited for it try for themselves, and the table holds no ruin.
static void a_failed_plan_can_be_made_later(void **state) {
    (void)state;
    cuda.set_sm(120);
    struct worker workers[THREADS] = {0};
    sage_context *context = open_context(0, NULL);
    const sage_attention_desc desc = desc_of(SAGE_MASK_NONE);
    const sage_attention_plan *plan = NULL;
    nvrtc.fail_from(0);
    assert_int_equal(sage_attention_plan_get(context, &desc, NULL, &plan), SAGE_ERROR_OUT_OF_MEMORY);
    assert_null(plan);
    nvrtc.fail_from(-1);
    for (int i = 0; i < THREADS; i++) workers[i].context = context;
    run_workers(workers, THREADS, get_plan);
    sage_context_destroy(context);
}

/* -- Fixture --------------------------------------------------------------------------------------------------------
 */

static int make(void **state) {
    (void)state;
    static struct pack_fixture kernels;
    struct meta meta = fixture_meta("s", "p", "c", 1);
    fixture_directory(directory);
    snprintf(pack_path, sizeof pack_path, "%s/app.sagepack", directory);
    kernels.context = fixture_context(NULL, NULL);
    pack_fixture_add_set(&kernels, meta, "sm_90a", WITH_CUBIN);
    pack_fixture_add_set(&kernels, meta, "sm_89", WITH_CUBIN);
    pack_fixture_add_set(&kernels, meta, "sm_120a", WITH_SOURCE);
    strcpy(meta.mask, "causal");
    pack_fixture_add_set(&kernels, meta, "sm_90a", WITH_CUBIN);
    pack_fixture_add_set(&kernels, meta, "sm_120a", WITH_SOURCE);
    pack_fixture_write(&kernels, directory, "app.sagepack");
    sage_context_destroy(kernels.context);
    nvrtc = fake_nvrtc_open(FAKE_NVRTC_PATH);
    cuda = fake_cuda_open(FAKE_CUDA_PATH);
    return cuda.library && nvrtc.library ? setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1) : -1;
}

static int destroy(void **state) {
    (void)state;
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(contexts_on_gpus_of_different_kinds), TEST(all_threads_get_the_same_plan),
        TEST(descriptions_are_told_apart),         TEST(a_missing_plan_is_an_error_before_a_capture),
        TEST(prewarm_makes_what_can_be_made),      TEST(a_failed_plan_can_be_made_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
