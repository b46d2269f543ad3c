// context: everything one sage_context owns: allocator, log, error texts, environment, driver, NVRTC, cache, modules,
// providers. The only module that reads the environment, once, in sage_context_create. Never prints, never exits.
// Internal to libsage and libsagegen. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_CONTEXT_H
#define SAGE_CONTEXT_H

#include "driver.h"
#include "provider.h"
#include "sage.h"
#include <pthread.h>
#include <stdarg.h>

#define SAGE_TRY(expression)                                                                                           \
    do {                                                                                                               \
        sage_status sage_try_status = (expression);                                                                    \
        if (sage_try_status != SAGE_OK) return sage_try_status;                                                        \
    } while (0)

#define CONTEXT_ERROR_BYTES   2048 /* of one error text, its NUL included */
#define CONTEXT_PACKS_MAX     8
#define CONTEXT_PROVIDERS_MAX (2 * CONTEXT_PACKS_MAX + 8) /* cubins and sources of each pack, and others */

// X(member, variable): read once, at creation. SAGE_DRIVER names the driver library (tests use a fake one; containers
// may keep libcuda in an odd place).
#define CONTEXT_ENVIRONMENT(X)                                                                                         \
    X(home, "HOME")                                                                                                    \
    X(xdg_cache_home, "XDG_CACHE_HOME")                                                                                \
    X(xdg_data_home, "XDG_DATA_HOME")                                                                                  \
    X(cuda_home, "CUDA_HOME")                                                                                          \
    X(cuda_path, "CUDA_PATH")                                                                                          \
    X(virtual_env, "VIRTUAL_ENV")                                                                                      \
    X(conda_prefix, "CONDA_PREFIX")                                                                                    \
    X(sage_cache_dir, "SAGE_CACHE_DIR")                                                                                \
    X(sage_nvrtc, "SAGE_NVRTC")                                                                                        \
    X(sage_driver, "SAGE_DRIVER")                                                                                      \
    X(sage_dependent_launch, "SAGE_DEPENDENT_LAUNCH")                                                                  \
    X(sage_wisdom, "SAGE_WISDOM")

#define CONTEXT_ENVIRONMENT_MEMBER(member, variable) char *member; /* owned; NULL where unset or empty */
struct context_environment {
    CONTEXT_ENVIRONMENT(CONTEXT_ENVIRONMENT_MEMBER)
};

struct nvrtc;
struct cache;
struct wisdom_tables;
struct module;
struct pack;
struct plan_table;
struct context_thread_error;

// Fields are for the modules of runtime/; everyone else uses the functions.
struct sage_context {
    sage_allocator allocator;
    sage_log_function log;
    void *log_user;
    bool trust_shared_cache;
    bool dependent_launch; /* later launches of a call may start early */
    struct context_environment environment;
    void *(*driver_entry)(const char *symbol); /* NULL: the driver's library */
    struct driver driver;                      /* zeroed where device is -1 */
    struct nvrtc *nvrtc;    /* never NULL; finds the library on first use */
    struct cache *cache;    /* never NULL */
    struct wisdom_tables *wisdom; /* never NULL */
    struct pack *packs;     /* list of the opened ones, in order */
    struct plan_table *plans; /* never NULL */
    struct module *modules; /* list of the loaded ones, guarded by modules_lock */
    pthread_mutex_t modules_lock;
    struct sage_provider provider[CONTEXT_PROVIDERS_MAX];
    int provider_count;
    pthread_key_t error_key;             /* -> struct context_thread_error of the calling thread */
    struct context_thread_error *errors; /* list of all of them, guarded by errors_lock */
    pthread_mutex_t errors_lock;
};

// Memory from the context's allocator. bytes 0 gives a valid pointer. On failure: NULL, with the thread's error text
// set, so that callers `return SAGE_ERROR_OUT_OF_MEMORY`. Threads: any.
void *context_alloc(sage_context *context, size_t bytes);
void *context_alloc_zeroed(sage_context *context, size_t bytes);
char *context_copy_text(sage_context *context, const char *text, size_t len); /* len bytes, and a NUL */
char *context_format(sage_context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
void context_free(sage_context *context, void *memory); /* NULL is allowed */

// Records the calling thread's error text and returns status, so that callers `return context_error(...)`. context
// NULL: the text of the failed sage_context_create.
sage_status context_error(sage_context *context, sage_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
sage_status context_out_of_memory(sage_context *context);

// Where this context's driver comes from: the caller's entry points, SAGE_DRIVER, or the system's library.
struct driver_source context_driver_source(const sage_context *context);

// Hands a line to the caller's log function, if any.
void context_log(const sage_context *context, sage_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
