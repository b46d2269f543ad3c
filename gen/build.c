// build: request index -> cache entry, else plan -> text -> NVRTC -> cache entry. Owns the order of these steps and the
// thread pool. In: plan requests. Out: cubins and metadata with how they were got. Prints nothing; knows no file
// format. SPDX-License-Identifier: Apache-2.0
#include "build.h"

#include "build_messages.h"
#include "context.h"
#include "kernel_args.h"
#include "kernel_meta.h"
#include "ptx_image.h"
#include "ptxas_messages.h"
#include "source_hash.h"
#include "version.h"
#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64 };

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* -- Request index ------------------------------------------------------ */

// Everything that decides the emitted text and its cubin: the templates, every number they see, and the generator's own
// sources, so that no change needs a new version to be noticed.
static void request_hash(const struct build_setup *setup, const struct plan *plan, char out[KEY_BYTES]) {
    struct buf text = {0};
    buf_printf(&text, "sagegen %s " SAGEGEN_SOURCE_HASH " meta %d bundle %016" PRIx64 " nvrtc %s spec %016" PRIx64 "\n",
               SAGEGEN_VERSION, SAGE_META_VERSION, setup->bundle_hash, setup->nvrtc_identity, plan->spec->hash);
#define HASH_INT(name, help)  buf_printf(&text, #name " %d\n", plan->name);
#define HASH_REAL(name, help) buf_printf(&text, #name " %a\n", plan->name);
#define HASH_TEXT(name, help) buf_printf(&text, #name " %s\n", plan->name);
    PLAN_INTS(HASH_INT)
    PLAN_BOOLS(HASH_INT)
    PLAN_REALS(HASH_REAL)
    PLAN_TEXTS(HASH_TEXT)
    buf_printf(&text, "%s %s %s form %d\n", plan->variant, plan->entry, plan->maths, (int)setup->form);
#define HASH_ARG(kind, name, help) buf_puts(&text, #kind " " #name " " help "\n");
    SAGE_KERNEL_ARGS(HASH_ARG)
    key_hash(text.data, text.len, out);
    buf_free(&text);
}

// The entry under job->key, if it is there, whole, and of this plan.
static bool entry_get(const struct build_setup *setup, const struct plan *plan, struct build_job *job) {
    sage_context *context = setup->context;
    unsigned want = job->want_files ? CACHE_meta | CACHE_cubin | CACHE_source | CACHE_ptx : CACHE_meta | CACHE_cubin;
    if (cache_get(context, job->key, want, &job->entry) != SAGE_OK) return false;
    const struct cache_bytes *text = &job->entry.files.meta;
    bool whole = !job->want_files || (job->entry.files.source.data && job->entry.files.ptx.data);
    if (whole && meta_read(context, text->data, text->bytes, &job->meta) == SAGE_OK &&
        kernel_meta_matches(&job->meta, plan)) {
        job->cached = true;
        return true;
    }
    cache_entry_free(context, &job->entry);
    return false;
}

static bool index_hit(const struct build_setup *setup, const struct plan *plan, const char *request,
                      struct build_job *job) {
    if (job->want_files) return false; // the line map must be that of today's templates
    return cache_index_get(setup->context, request, job->key) == SAGE_OK && entry_get(setup, plan, job);
}

/* -- Compile ------------------------------------------------------------ */

static sage_status copy_bytes(sage_context *context, struct cache_bytes *to, const void *data, size_t bytes) {
    char *copy = context_copy_text(context, data, bytes);
    if (!copy) return SAGE_ERROR_OUT_OF_MEMORY;
    *to = (struct cache_bytes){copy, bytes};
    return SAGE_OK;
}

// Moves the result into job->entry; of the text files only what is wanted.
static sage_status entry_take(sage_context *context, const struct cache_files *files, struct compile_result *result,
                              struct build_job *job) {
    job->entry.files.meta = files->meta;
    job->entry.files.cubin = files->cubin;
    result->cubin = NULL;
    if (!job->want_files) return SAGE_OK;
    job->entry.files.ptx = files->ptx;
    result->ptx = NULL;
    return copy_bytes(context, &job->entry.files.source, files->source.data, files->source.bytes);
}

static sage_status publish(const struct build_setup *setup, const struct plan *plan, const struct expansion *text,
                           struct compile_result *result, struct build_job *job) {
    sage_context *context = setup->context;
    kernel_meta_fill(&job->meta, plan, text->text.data, text->text.len, result);
    char *meta_text = NULL;
    size_t meta_bytes = 0;
    SAGE_TRY(meta_write(context, &job->meta, &meta_text, &meta_bytes));
    struct buf map = {0};
    linemap_write(&text->map, &map);
    const struct cache_files files = {.meta = {meta_text, meta_bytes},
                                      .cubin = {result->cubin, result->cubin_bytes},
                                      .source = {text->text.data, text->text.len},
                                      .ptx = {result->ptx, result->ptx_bytes},
                                      .log = {result->log, result->log_bytes},
                                      .map = {map.data, map.len}};
    sage_status status = cache_put(context, job->key, &files);
    buf_free(&map);
    if (status != SAGE_OK) {
        context_free(context, meta_text);
        return status;
    }
    return entry_take(context, &files, result, job);
}

// Where ptxas stopped, at a line of its PTX, compiles once more, with -lineinfo, for a PTX that says where each line
// comes from. Never for a cubin: -lineinfo writes the working directory into it.
static void report_failure(const struct build_setup *setup, const struct compile_input *input,
                           const struct build_subject *subject, const char *log, struct diag *d) {
    static const char *const options[] = {"-lineinfo"};
    struct compile_input traced_input = *input;
    traced_input.options = options;
    traced_input.option_count = 1;
    struct compile_result traced = {0};
    const bool traceable = ptxas_log_has_lines(log) &&
                           compile_source(setup->context, &traced_input, &traced) == SAGE_ERROR_COMPILE && traced.ptx &&
                           traced.ptx[0];
    build_report_log(d, subject, traceable ? traced.log : log, traceable ? traced.ptx : NULL);
    compile_result_free(setup->context, &traced);
}

// The image takes the place of the cubin that was not made. Its 0 counts, so that the hash covers it.
static sage_status make_image(sage_context *context, const struct expansion *text, struct compile_result *result) {
    struct buf image = {0};
    ptx_image_write(result->ptx, &text->map, &image);
    result->cubin_bytes = image.len + 1;
    result->cubin = context_copy_text(context, image.data, image.len);
    buf_free(&image);
    return result->cubin ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
}

static sage_status compile(const struct build_setup *setup, const struct plan *plan, const struct compile_input *input,
                           const struct expansion *text, struct build_job *job, struct diag *d) {
    const struct build_subject subject = {plan->entry, input->name, text, setup->template_dir};
    struct compile_result result = {0};
    const double start = now_ms();
    sage_status status = compile_source(setup->context, input, &result);
    job->compile_ms = now_ms() - start;
    if (status == SAGE_OK && input->to_ptx) status = make_image(setup->context, text, &result);
    if (status == SAGE_OK)
        status = publish(setup, plan, text, &result, job);
    else if (status == SAGE_ERROR_COMPILE && result.log && result.log[0])
        report_failure(setup, input, &subject, result.log, d);
    compile_result_free(setup->context, &result);
    return status;
}

// From emitted text to entry, through the cache.
static sage_status build_text(const struct build_setup *setup, const struct plan *plan, const struct expansion *text,
                              struct build_job *job, struct diag *d) {
    const struct compile_input input = {.source = text->text.data,
                                        .source_bytes = text->text.len,
                                        .name = BUILD_SOURCE_NAME,
                                        .target = plan->target,
                                        .to_ptx = setup->form == BUILD_PTX};
    SAGE_TRY(key_compute(setup->context, &input, job->key));
    if (!entry_get(setup, plan, job)) SAGE_TRY(compile(setup, plan, &input, text, job, d));
    if (!job->want_files) return SAGE_OK;
    context_free(setup->context, (void *)(uintptr_t)job->entry.files.map.data);
    job->entry.files.map = (struct cache_bytes){0};
    struct buf map = {0};
    linemap_write(&text->map, &map);
    sage_status status = copy_bytes(setup->context, &job->entry.files.map, map.data, map.len);
    buf_free(&map);
    return status;
}

/* -- One kernel --------------------------------------------------------- */

static sage_status build_steps(const struct build_setup *setup, const struct plan *plan, struct build_job *job,
                               struct diag *d) {
    char request[KEY_BYTES];
    request_hash(setup, plan, request);
    if (index_hit(setup, plan, request, job)) return SAGE_OK;
    struct expansion text;
    const double start = now_ms();
    const bool expanded = plan_expand(plan, setup->template_dir, d, &text);
    job->expand_ms = now_ms() - start;
    if (!expanded) return SAGE_ERROR_COMPILE;
    sage_status status = build_text(setup, plan, &text, job, d);
    expansion_free(&text);
    if (status == SAGE_OK) status = cache_index_put(setup->context, request, job->key);
    return status;
}

bool build_kernel(const struct build_setup *setup, struct build_job *job) {
    struct diag d = {.sink = &job->messages};
    const struct spec *spec = job->request.spec;
    if (job->spec_text) diag_add_source(&d, spec->file, job->spec_text, strlen(job->spec_text));
    struct plan plan;
    plan_make(&plan, &job->request);
    job->status = build_steps(setup, &plan, job, &d);
    if (job->status != SAGE_OK && d.errors == 0)
        diag_error(&d, (struct diag_loc){.file = NULL}, "%s: %s", plan.entry, sage_last_error(setup->context));
    diag_free(&d);
    job->state = job->status == SAGE_OK ? BUILD_DONE : BUILD_FAILED;
    return job->status == SAGE_OK;
}

void build_job_free(const struct build_setup *setup, struct build_job *job) {
    cache_entry_free(setup->context, &job->entry);
    buf_free(&job->messages);
}

sage_status build_open(struct build_setup *out, sage_context *context, const char *template_dir, enum build_form form) {
    struct nvrtc_info nvrtc;
    SAGE_TRY(nvrtc_find(context, &nvrtc));
    *out = (struct build_setup){.form = form,
                                .context = context,
                                .template_dir = template_dir,
                                .bundle_hash = expand_bundle_hash(template_dir)};
    memcpy(out->nvrtc_identity, nvrtc.identity, sizeof out->nvrtc_identity);
    return SAGE_OK;
}

/* -- Many kernels ------------------------------------------------------- */

struct pool {
    const struct build_setup *setup;
    struct build_job **order; /* the next one to start is order[next] */
    int count, next, done, failed;
    build_progress *progress;
    void *user;
    pthread_mutex_t lock;
};

static struct build_job *pool_take(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    struct build_job *job = pool->next < pool->count ? pool->order[pool->next++] : NULL;
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void pool_report(struct pool *pool, const struct build_job *job) {
    pthread_mutex_lock(&pool->lock);
    pool->done++;
    pool->failed += job->state == BUILD_FAILED;
    if (pool->progress && !pool->progress(pool->user, job, pool->done, pool->count)) pool->next = pool->count;
    pthread_mutex_unlock(&pool->lock);
}

static void *pool_work(void *user) {
    struct pool *pool = user;
    for (struct build_job *job = pool_take(pool); job; job = pool_take(pool)) {
        build_kernel(pool->setup, job);
        pool_report(pool, job);
    }
    return NULL;
}

// By roles, those that take longest first; otherwise in the order given.
static void pool_order(struct pool *pool, struct build_job *jobs, int count) {
    static const enum sage_role order[] = {SAGE_ROLE_QUANTISE_KV, SAGE_ROLE_ATTN_FWD, SAGE_ROLE_QUANTISE_Q, SAGE_ROLE_DELTA_S};
    static_assert(sizeof order / sizeof order[0] == SAGE_ROLE_COUNT, "every role has its turn");
    pool->order = xcalloc((size_t)count + 1, sizeof *pool->order);
    for (int turn = 0; turn < SAGE_ROLE_COUNT; turn++)
        for (int i = 0; i < count; i++)
            if (jobs[i].request.role == order[turn]) pool->order[pool->count++] = &jobs[i];
}

static int thread_count(int wanted, int jobs) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = wanted > 0 ? wanted : cpus > 0 ? (int)cpus : 1;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    return threads < jobs ? threads : jobs;
}

int build_all(const struct build_setup *setup, struct build_job *jobs, int count, int threads, build_progress *progress,
              void *user) {
    struct pool pool = {.setup = setup, .progress = progress, .user = user, .lock = PTHREAD_MUTEX_INITIALIZER};
    pool_order(&pool, jobs, count);
    pthread_t thread[THREADS_MAX];
    int started = 0;
    for (int i = 1; i < thread_count(threads, count); i++)
        if (pthread_create(&thread[started], NULL, pool_work, &pool) == 0) started++;
    pool_work(&pool); // this thread works too, so that no thread need be had
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    free(pool.order);
    pthread_mutex_destroy(&pool.lock);
    return pool.failed;
}
