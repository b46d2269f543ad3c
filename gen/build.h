// build: one kernel from a plan request to cubin and metadata, through the cache; and many of them on a thread pool.
// A request whose result is known costs one look into the request index and one into the cache: no expansion, no NVRTC.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BUILD_H
#define SAGE_GEN_BUILD_H

#include "cache.h"
#include "meta.h"
#include "nvrtc.h"
#include "plan.h"

#define BUILD_SOURCE_NAME "kernel.cu" /* what compiler messages call the emitted text */

// What a kernel becomes.
enum build_form {
    BUILD_CUBIN,
    BUILD_PTX /* an image of ptx_image.h in the place of the cubin, for the PTX virtual machine */
};

// What all kernels of a run share. The context and template_dir are borrowed.
struct build_setup {
    enum build_form form;
    sage_context *context;
    const char *template_dir; /* NULL: the embedded templates */
    uint64_t bundle_hash;     /* of the templates in use */
    char nvrtc_identity[NVRTC_IDENTITY_BYTES];
};

enum build_state { BUILD_WAITING, BUILD_DONE, BUILD_FAILED };

struct build_job {
    struct plan_request request; /* in; its tuning point must be applicable */
    const char *spec_text;       /* in: shown under errors that point into the spec; borrowed; may be NULL */
    bool want_files;             /* in: also hand out source, PTX and line map, all of this very expansion */

    enum build_state state;
    sage_status status;
    struct buf messages; /* errors and notes as diag prints them; "" if none */
    bool cached;         /* nothing was compiled */
    double expand_ms, compile_ms;
    char key[KEY_BYTES];
    struct meta meta;
    struct cache_entry entry; /* kernel.meta and the cubin; with want_files also source, PTX and map */
};

// Finds NVRTC (does not load it) and hashes the templates. Errors: NO_NVRTC, OUT_OF_MEMORY, with the text in the
// context.
sage_status build_open(struct build_setup *out, sage_context *context, const char *template_dir, enum build_form form);
// What build_kernel would be asked for, as a hash over everything that decides the kernel: the same for the same kernel,
// known without expanding or compiling. Of setup, form, bundle_hash and nvrtc_identity are used.
void build_request_key(const struct build_setup *setup, const struct plan_request *request, char out[KEY_BYTES]);
// Builds one kernel. false: job->status and job->messages say why. Threads: any number at once, each with its own job.
bool build_kernel(const struct build_setup *setup, struct build_job *job);
void build_job_free(const struct build_setup *setup, struct build_job *job);

// Called after each job, never by two threads at once, in the order in which jobs end. Returns false to start no more.
typedef bool build_progress(void *user, const struct build_job *job, int done, int count);

// Builds all jobs on `threads` threads (<= 0: one per CPU), the roles that take longest first. Returns how many failed;
// jobs that were never started stay BUILD_WAITING. progress may be NULL.
int build_all(const struct build_setup *setup, struct build_job *jobs, int count, int threads, build_progress *progress,
              void *user);

#endif
