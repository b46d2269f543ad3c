// context: creation and destruction in order, memory, error texts per thread, log, and the list of providers. The one
// reader of the environment. Never prints, never exits; holds no state outside the contexts but the text of a failed
// creation. SPDX-License-Identifier: Apache-2.0
#include "context.h"
#include "cache.h"
#include "kernel_dir.h"
#include "module.h"
#include "nvrtc.h"
#include "pack_provider.h"
#include "plan_table.h"
#include "wisdom.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct context_thread_error {
    sage_context *owner;
    struct context_thread_error *previous, *next;
    char text[CONTEXT_ERROR_BYTES];
};

// A failed sage_context_create leaves no context to hold its text; per thread, so that creations do not disturb each
// other.
static _Thread_local char creation_error[CONTEXT_ERROR_BYTES];

/* -- Memory ---------------------------------------------------------------------------------------------------------
 */

static void *default_allocate(void *user, size_t bytes) {
    (void)user;
    return malloc(bytes);
}

static void default_release(void *user, void *memory) {
    (void)user;
    free(memory);
}

sage_status context_out_of_memory(sage_context *context) {
    return context_error(context, SAGE_ERROR_OUT_OF_MEMORY, "out of host memory");
}

void *context_alloc(sage_context *context, size_t bytes) {
    void *memory = context->allocator.allocate(context->allocator.user, bytes ? bytes : 1);
    if (!memory) context_error(context, SAGE_ERROR_OUT_OF_MEMORY, "out of host memory: %zu bytes", bytes);
    return memory;
}

void *context_alloc_zeroed(sage_context *context, size_t bytes) {
    void *memory = context_alloc(context, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

char *context_copy_text(sage_context *context, const char *text, size_t len) {
    char *copy = context_alloc(context, len + 1);
    if (!copy) return NULL;
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

char *context_format(sage_context *context, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = len < 0 ? NULL : context_alloc(context, (size_t)len + 1);
    if (text) vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}

void context_free(sage_context *context, void *memory) {
    if (memory) context->allocator.release(context->allocator.user, memory);
}

/* -- Errors and log -------------------------------------------------------------------------------------------------
 */

// Runs when a thread ends, and for the destroying thread.
static void thread_error_free(void *value) {
    struct context_thread_error *error = value;
    sage_context *context = error->owner;
    pthread_mutex_lock(&context->errors_lock);
    if (error->previous)
        error->previous->next = error->next;
    else
        context->errors = error->next;
    if (error->next) error->next->previous = error->previous;
    pthread_mutex_unlock(&context->errors_lock);
    context_free(context, error);
}

// The calling thread's text of this context; NULL if it cannot be allocated.
static char *thread_error_text(sage_context *context) {
    struct context_thread_error *error = pthread_getspecific(context->error_key);
    if (error) return error->text;
    error = context->allocator.allocate(context->allocator.user, sizeof *error);
    if (!error) return NULL;
    *error = (struct context_thread_error){.owner = context};
    if (pthread_setspecific(context->error_key, error)) {
        context_free(context, error);
        return NULL;
    }
    pthread_mutex_lock(&context->errors_lock);
    error->next = context->errors;
    if (error->next) error->next->previous = error;
    context->errors = error;
    pthread_mutex_unlock(&context->errors_lock);
    return error->text;
}

sage_status context_error(sage_context *context, sage_status status, const char *format, ...) {
    // Formatted aside first: an argument may be the old text.
    char text[CONTEXT_ERROR_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *out = context ? thread_error_text(context) : creation_error;
    if (out) memcpy(out, text, sizeof text);
    return status;
}

const char *sage_last_error(const sage_context *context) {
    if (!context) return creation_error;
    const struct context_thread_error *error = pthread_getspecific(context->error_key);
    return error ? error->text : "";
}

void context_log(const sage_context *context, sage_log_level level, const char *format, ...) {
    if (!context->log) return;
    char text[CONTEXT_ERROR_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    context->log(context->log_user, level, text);
}

/* -- Providers ------------------------------------------------------------------------------------------------------
 */

const char *sage_role_text(enum sage_role role) {
    static const char *const text[SAGE_ROLE_COUNT] = {[SAGE_ROLE_QUANTISE_Q] = "quantise_q",
                                                      [SAGE_ROLE_QUANTISE_KV] = "quantise_kv",
                                                      [SAGE_ROLE_DELTA_S] = "delta_s",
                                                      [SAGE_ROLE_ATTN_FWD] = "attn_fwd"};
    return (unsigned)role < SAGE_ROLE_COUNT ? text[role] : "unknown role";
}

sage_status context_add_provider(sage_context *context, const struct sage_provider *provider) {
    if (!provider->name || !provider->supports || !provider->get)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "a provider needs a name, supports and get");
    if (context->provider_count == CONTEXT_PROVIDERS_MAX)
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "a context takes at most %d providers",
                             CONTEXT_PROVIDERS_MAX);
    context->provider[context->provider_count++] = *provider;
    return SAGE_OK;
}

void kernel_set_free(sage_context *context, struct sage_kernel_set *set) {
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        context_free(context, set->kernel[role].meta);
        context_free(context, set->kernel[role].cubin);
    }
    memset(set, 0, sizeof *set);
}

/* -- Creation and destruction ---------------------------------------------------------------------------------------
 */

// Fields that a caller built against a newer header sets, and this library does not know, are refused rather than
// ignored.
static sage_status options_read(const sage_options *given, sage_options *out) {
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    if (given) {
        if (given->size < offsetof(sage_options, cache_dir))
            return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT,
                                 "sage_options.size is %zu; set it to sizeof(sage_options)", given->size);
        const unsigned char *bytes = (const unsigned char *)given;
        for (size_t i = sizeof *out; i < given->size; i++)
            if (bytes[i])
                return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT,
                                     "sage_options has a field that this version of libsage does not know");
        memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
    }
    if (out->device < -1)
        return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT, "options.device is %d; -1 means none", out->device);
    if (!out->allocator.allocate != !out->allocator.release)
        return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT,
                             "options.allocator needs both allocate and release, or neither");
    if (!out->allocator.allocate) out->allocator = (sage_allocator){default_allocate, default_release, NULL};
    return SAGE_OK;
}

// Of a program that runs with more rights than its caller (setuid) the environment is the caller's: none of it is read.
static sage_status environment_read(sage_context *context) {
    const char *text;
#define ENVIRONMENT_READ(member, variable)                                                                             \
    text = secure_getenv(variable);                                                                                    \
    if (text && *text && !(context->environment.member = context_copy_text(context, text, strlen(text))))              \
        return SAGE_ERROR_OUT_OF_MEMORY;
    CONTEXT_ENVIRONMENT(ENVIRONMENT_READ)
#undef ENVIRONMENT_READ
    return SAGE_OK;
}

// The bare context: memory and errors work, all else is empty.
static sage_status context_new(const sage_options *options, sage_context **out) {
    sage_context *context = options->allocator.allocate(options->allocator.user, sizeof *context);
    if (!context) return context_out_of_memory(NULL);
    memset(context, 0, sizeof *context);
    context->allocator = options->allocator;
    context->log = options->log;
    context->log_user = options->log_user;
    context->trust_shared_cache = options->trust_shared_cache != 0;
    context->driver_entry = options->driver_entry;
    if (pthread_key_create(&context->error_key, thread_error_free)) {
        context_free(context, context);
        return context_error(NULL, SAGE_ERROR_OUT_OF_MEMORY, "no thread-specific key left in this process");
    }
    pthread_mutex_init(&context->modules_lock, NULL);
    pthread_mutex_init(&context->errors_lock, NULL);
    *out = context;
    return SAGE_OK;
}

struct driver_source context_driver_source(const sage_context *context) {
    return (struct driver_source){.entry = context->driver_entry, .path = context->environment.sage_driver};
}

static sage_status dependent_launch_read(sage_context *context, const sage_options *options) {
    const char *text = context->environment.sage_dependent_launch;
    if (text != NULL && strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "SAGE_DEPENDENT_LAUNCH is '%s'; set it to 0 or 1",
                             text);
    if (options->dependent_launch < -1 || options->dependent_launch > 1)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "dependent_launch is %d; it must be -1, 0 or 1",
                             options->dependent_launch);
    const bool by_default = text == NULL || text[0] == '1';
    context->dependent_launch = options->dependent_launch == 0 ? by_default : options->dependent_launch > 0;
    return SAGE_OK;
}

static sage_status context_fill(sage_context *context, const sage_options *options) {
    SAGE_TRY(environment_read(context));
    SAGE_TRY(dependent_launch_read(context, options));
    SAGE_TRY(plan_table_create(context));
    const struct driver_source source = context_driver_source(context);
    if (options->device >= 0)
        SAGE_TRY(driver_open(context, &source, options->device, &context->driver));
    SAGE_TRY(nvrtc_create(context, options->nvrtc_path));
    SAGE_TRY(cache_create(context, options->cache_dir, options->memory_only != 0));
    if (options->packs) SAGE_TRY(packs_add(context, options->packs));
    SAGE_TRY(wisdom_open(context, options->wisdom));
    if (options->kernel_dir) SAGE_TRY(kernel_dir_add(context, options->kernel_dir));
    return packs_add_sources(context);
}

sage_status sage_context_create(const sage_options *options, sage_context **out) {
    if (!out) return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT, "out is NULL");
    sage_options wanted;
    SAGE_TRY(options_read(options, &wanted));
    sage_context *context = NULL;
    SAGE_TRY(context_new(&wanted, &context));
    sage_status status = context_fill(context, &wanted);
    if (status != SAGE_OK) {
        const char *text = sage_last_error(context);
        context_error(NULL, status, "%s", *text ? text : sage_status_text(status));
        sage_context_destroy(context);
        return status;
    }
    *out = context;
    return SAGE_OK;
}

static void providers_destroy(sage_context *context) {
    while (context->provider_count > 0) {
        const struct sage_provider *provider = &context->provider[--context->provider_count];
        if (provider->destroy) provider->destroy(context, provider->user);
    }
}

static void errors_destroy(sage_context *context) {
    pthread_key_delete(context->error_key); // from here on no ending thread calls thread_error_free
    while (context->errors) {
        struct context_thread_error *error = context->errors;
        context->errors = error->next;
        context_free(context, error);
    }
}

void sage_context_destroy(sage_context *context) {
    if (!context) return;
    plan_table_destroy(context);
    providers_destroy(context);
    packs_close(context);
    module_release_all(context);
    wisdom_close(context);
    cache_destroy(context);
    nvrtc_destroy(context);
    driver_close(&context->driver);
#define ENVIRONMENT_FREE(member, variable) context_free(context, context->environment.member);
    CONTEXT_ENVIRONMENT(ENVIRONMENT_FREE)
#undef ENVIRONMENT_FREE
    errors_destroy(context);
    pthread_mutex_destroy(&context->modules_lock);
    pthread_mutex_destroy(&context->errors_lock);
    context_free(context, context);
}

int sage_context_sm(const sage_context *context) {
    return context->driver.sm;
}
