// verify_build: builds the units' kernels, in a process of its own where verify may fork: NVRTC's search calls the
// driver, which then no child could use any more, and a compiler that crashes ends with that process. Each kernel comes
// through the pipe as soon as it is there, so that this works without a cache directory too.
// SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "context.h"
#include "verify_process.h"
#include <stdio.h>
#include <string.h>

enum { BUILD_TIMEOUT_S = 900 }; /* without any kernel */

struct builder {
    struct verify_units *units;
    struct build_setup *setup;
    int threads, fd; /* fd -1: this is no child */
};

// One job's result; the bytes follow in the order of their sizes. job -1: nothing can be built, and messages say why.
struct frame {
    int job;
    enum build_state state;
    sage_status status;
    size_t messages_bytes, meta_bytes, cubin_bytes;
};

/* -- Building ---- */

static void print_progress(const struct build_job *job, int done, int count) {
    if (job->state == BUILD_FAILED)
        fprintf(stderr, "%s\n", job->messages.len ? job->messages.data : "a kernel did not compile");
    if (done == count || done % 20 == 0) fprintf(stderr, "built %d of %d kernels\n", done, count);
}

static bool send_job(const struct builder *b, const struct build_job *job) {
    const struct cache_files *files = &job->entry.files;
    const bool done = job->state == BUILD_DONE;
    const struct frame frame = {.job = (int)(job - b->units->job),
                                .state = job->state,
                                .status = job->status,
                                .messages_bytes = job->messages.len,
                                .meta_bytes = done ? files->meta.bytes : 0,
                                .cubin_bytes = done ? files->cubin.bytes : 0};
    return process_write(b->fd, &frame, sizeof frame) &&
           process_write(b->fd, job->messages.data, frame.messages_bytes) &&
           process_write(b->fd, files->meta.data, frame.meta_bytes) &&
           process_write(b->fd, files->cubin.data, frame.cubin_bytes);
}

static bool job_ended(void *user, const struct build_job *job, int done, int count) {
    const struct builder *b = user;
    print_progress(job, done, count);
    return b->fd < 0 || send_job(b, job);
}

static bool build_here(struct builder *b) {
    struct build_setup *setup = b->setup;
    if (build_open(setup, setup->context, setup->template_dir, setup->form) != SAGE_OK) return false;
    build_all(setup, b->units->job, b->units->job_count, b->threads, job_ended, b);
    return true;
}

static int build_in_child(void *user, int fd) {
    struct builder *b = user;
    b->fd = fd;
    if (build_here(b)) return 0;
    const char *why = sage_last_error(b->setup->context);
    const struct frame frame = {.job = -1, .messages_bytes = strlen(why)};
    return process_write(fd, &frame, sizeof frame) && process_write(fd, why, frame.messages_bytes) ? 0 : 1;
}

/* -- Receiving ---- */

// bytes and a NUL, from the context's allocator. NULL: they did not come.
static char *receive_bytes(const struct builder *b, const struct process *child, size_t bytes) {
    char *data = context_alloc(b->setup->context, bytes + 1);
    if (!data) return NULL;
    data[bytes] = '\0';
    if (process_read(child, data, bytes, BUILD_TIMEOUT_S) == PROCESS_ANSWER) return data;
    context_free(b->setup->context, data);
    return NULL;
}

static bool receive_messages(const struct builder *b, const struct process *child, size_t bytes, struct buf *out) {
    char *text = receive_bytes(b, child, bytes);
    if (text) buf_append(out, text, bytes);
    context_free(b->setup->context, text);
    return text != NULL;
}

static bool receive_job(const struct builder *b, const struct process *child, const struct frame *frame) {
    struct build_job *job = &b->units->job[frame->job];
    struct cache_files *files = &job->entry.files;
    if (!receive_messages(b, child, frame->messages_bytes, &job->messages)) return false;
    job->status = frame->status;
    if (frame->state != BUILD_DONE) {
        job->state = frame->state;
        return true;
    }
    files->meta = (struct cache_bytes){receive_bytes(b, child, frame->meta_bytes), frame->meta_bytes};
    files->cubin = (struct cache_bytes){receive_bytes(b, child, frame->cubin_bytes), frame->cubin_bytes};
    if (!files->meta.data || !files->cubin.data ||
        meta_read(b->setup->context, files->meta.data, files->meta.bytes, &job->meta) != SAGE_OK)
        return false;
    job->state = BUILD_DONE;
    return true;
}

// false: nothing can be built. *answer: how the child's report ended.
static bool receive_all(const struct builder *b, const struct process *child, enum process_answer *answer, char *why,
                        size_t why_bytes) {
    struct frame frame;
    while ((*answer = process_read(child, &frame, sizeof frame, BUILD_TIMEOUT_S)) == PROCESS_ANSWER) {
        if (frame.job >= 0) {
            if (!receive_job(b, child, &frame)) return true;
            continue;
        }
        struct buf text = {0};
        receive_messages(b, child, frame.messages_bytes, &text);
        snprintf(why, why_bytes, "%s", text.len ? text.data : "nothing can be built");
        buf_free(&text);
        return false;
    }
    return true;
}

// Kernels that never came are failures of their units, with this reason.
static void explain_missing(const struct builder *b, bool silent, int status) {
    char why[128];
    int missing = 0;
    if (silent)
        snprintf(why, sizeof why, "the compiler's process gave no kernel for %d s and was killed", BUILD_TIMEOUT_S);
    else if (status < 0)
        snprintf(why, sizeof why, "the compiler's process was killed by signal %d (%s)", -status, strsignal(-status));
    else
        snprintf(why, sizeof why, "the compiler's process ended early with exit status %d", status);
    for (int i = 0; i < b->units->job_count; i++) {
        struct build_job *job = &b->units->job[i];
        if (job->state != BUILD_WAITING) continue;
        buf_clear(&job->messages);
        buf_puts(&job->messages, why);
        missing++;
    }
    if (missing > 0) fprintf(stderr, "%s; %d of %d kernels are missing\n", why, missing, b->units->job_count);
}

bool verify_build(const struct verify_options *options, struct verify_units *units, struct build_setup *setup,
                  char *why, size_t why_bytes) {
    struct builder b = {.units = units, .setup = setup, .threads = options->threads, .fd = -1};
    if (!options->fork) {
        if (build_here(&b)) return true;
        snprintf(why, why_bytes, "%s", sage_last_error(setup->context));
        return false;
    }
    struct process child;
    enum process_answer answer;
    if (!process_start(&child, build_in_child, &b, why, why_bytes)) return false;
    const bool ok = receive_all(&b, &child, &answer, why, why_bytes);
    const int status = process_end(&child, answer != PROCESS_END); // also one that sends what cannot be read
    if (ok) explain_missing(&b, answer == PROCESS_SILENT, status);
    return ok;
}
