// driver: opens libcuda, or takes the caller's entry points, fills the table of entry points, and keeps one device with its primary context. Makes that
// context current only between driver_enter and driver_leave. Never resets a device, never sets flags of a context.
// SPDX-License-Identifier: Apache-2.0
#include "driver.h"
#include "context.h"
#include "safe_dir.h"
#include <dlfcn.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct driver_entry {
    const char *symbol;
    size_t offset; /* in struct driver_api */
    bool required;
};

#define DRIVER_ENTRY_ROW(member, symbol, required, parameters) {symbol, offsetof(struct driver_api, member), required},
static const struct driver_entry driver_entries[] = {DRIVER_ENTRIES(DRIVER_ENTRY_ROW)};

/* -- Opening --------------------------------------------------------------------------------------------------------
 */

enum { WHY_BYTES = 512 };

static const char wsl_path[] = "/usr/lib/wsl/lib/libcuda.so.1"; // not always on the loader's path there

// NODELETE: an initialised driver has threads of its own and must never be unmapped.
static void *open_or_say(const char *path, char why[WHY_BYTES]) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *reason = library ? NULL : dlerror();
    if (!library) snprintf(why, WHY_BYTES, "%s", reason ? reason : "libcuda.so.1 not found");
    return library;
}

// A path that was asked for. Without a slash it is a name, which the loader looks for where it looks for libc.
static void *library_open_named(const char *path, char why[WHY_BYTES]) {
    char real[PATH_MAX];
    struct safe_why unsafe;
    if (!strchr(path, '/') || !realpath(path, real)) return open_or_say(path, why);
    if (safe_path(real, path[0] == '/', &unsafe)) return open_or_say(real, why);
    snprintf(why, WHY_BYTES, "%s", unsafe.text);
    return NULL;
}

// WSL's path is named in the reason only where there is such a file: elsewhere nobody knows it.
static void *library_open(const char *path, char why[WHY_BYTES]) {
    void *library = path ? library_open_named(path, why) : open_or_say("libcuda.so.1", why);
    return library || path || access(wsl_path, F_OK) != 0 ? library : open_or_say(wsl_path, why);
}

static void *find_symbol(const struct driver_source *source, void *library, const char *symbol) {
    return source->entry ? source->entry(symbol) : dlsym(library, symbol);
}

// Returns the first required symbol that is missing, or NULL.
static const char *api_fill(const struct driver_source *source, void *library, struct driver_api *api) {
    for (size_t i = 0; i < sizeof driver_entries / sizeof *driver_entries; i++) {
        const struct driver_entry *entry = &driver_entries[i];
        void *symbol = find_symbol(source, library, entry->symbol);
        if (!symbol && entry->required) return entry->symbol;
        memcpy((char *)api + entry->offset, &symbol, sizeof symbol);
    }
    return NULL;
}

// Like driver_check, for a driver that the context does not hold yet.
static sage_status api_check(sage_context *context, const struct driver_api *api, driver_result result,
                             const char *what, sage_status status) {
    if (result == DRIVER_SUCCESS) return SAGE_OK;
    const char *name = NULL, *text = NULL;
    if (api->get_error_name(result, &name) != DRIVER_SUCCESS || !name) name = "unknown";
    if (api->get_error_string(result, &text) != DRIVER_SUCCESS || !text) text = "no text";
    return context_error(context, status, "%s: %s (%d, %s)", what, name, result, text);
}

static sage_status device_attributes(sage_context *context, struct driver *driver) {
    const struct driver_api *api = &driver->api;
    int major = 0, minor = 0;
    const struct {
        int attribute;
        int *value;
        bool required;
    } rows[] = {{DRIVER_DEVICE_CAPABILITY_MAJOR, &major, true},
                {DRIVER_DEVICE_CAPABILITY_MINOR, &minor, true},
                {DRIVER_DEVICE_MULTIPROCESSORS, &driver->multiprocessors, true},
                {DRIVER_DEVICE_SMEM_OPTIN, &driver->smem_optin_bytes, true},
                {DRIVER_DEVICE_L2_BYTES, &driver->l2_bytes, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        driver_result result = api->device_get_attribute(rows[i].value, rows[i].attribute, driver->device);
        if (rows[i].required) SAGE_TRY(api_check(context, api, result, "cuDeviceGetAttribute", SAGE_ERROR_CUDA));
    }
    driver->sm = major * 10 + minor;
    SAGE_TRY(api_check(context, api,
                       api->device_get_name(driver->device_name, sizeof driver->device_name, driver->device),
                       "cuDeviceGetName", SAGE_ERROR_CUDA));
    return SAGE_OK;
}

static sage_status device_open(sage_context *context, int ordinal, struct driver *driver) {
    const struct driver_api *api = &driver->api;
    driver_result result = api->init(0);
    SAGE_TRY(api_check(context, api, result, "cuInit",
                       result == DRIVER_NO_DEVICE ? SAGE_ERROR_NO_DEVICE : SAGE_ERROR_NO_DRIVER));
    SAGE_TRY(
        api_check(context, api, api->driver_get_version(&driver->cuda_version), "cuDriverGetVersion", SAGE_ERROR_CUDA));
    int count = 0;
    SAGE_TRY(api_check(context, api, api->device_get_count(&count), "cuDeviceGetCount", SAGE_ERROR_CUDA));
    if (ordinal >= count)
        return context_error(context, SAGE_ERROR_NO_DEVICE, "GPU %d was asked for; the driver shows %d", ordinal,
                             count);
    SAGE_TRY(api_check(context, api, api->device_get(&driver->device, ordinal), "cuDeviceGet", SAGE_ERROR_NO_DEVICE));
    SAGE_TRY(device_attributes(context, driver));
    return api_check(context, api, api->primary_retain(&driver->primary, driver->device), "cuDevicePrimaryCtxRetain",
                     SAGE_ERROR_CUDA);
}

bool driver_is_open(const struct driver *driver) {
    return driver->api.init != NULL;
}

sage_status driver_open(sage_context *context, const struct driver_source *source, int ordinal, struct driver *driver) {
    char why[WHY_BYTES];
    struct driver opened = {.library = source->entry ? NULL : library_open(source->path, why)};
    if (!source->entry && !opened.library)
        return context_error(context, SAGE_ERROR_NO_DRIVER, "no NVIDIA driver: %s", why);
    const char *missing = api_fill(source, opened.library, &opened.api);
    sage_status status =
        missing ? context_error(context, SAGE_ERROR_NO_DRIVER, "the NVIDIA driver lacks %s: too old", missing)
                : device_open(context, ordinal, &opened);
    if (status != SAGE_OK) {
        if (opened.library) dlclose(opened.library);
        return status;
    }
    *driver = opened;
    return SAGE_OK;
}

void driver_close(struct driver *driver) {
    if (!driver_is_open(driver)) return;
    driver->api.primary_release(driver->device);
    if (driver->library) dlclose(driver->library);
    memset(driver, 0, sizeof *driver);
}

int driver_probe_version(const sage_context *context) {
    const struct driver_source source = context_driver_source(context);
    if (driver_is_open(&context->driver)) return context->driver.cuda_version;
    char why[WHY_BYTES];
    void *library = source.entry ? NULL : library_open(source.path, why);
    if (!library && !source.entry) return 0;
    driver_result (*get_version)(int *);
    void *symbol = find_symbol(&source, library, "cuDriverGetVersion");
    memcpy(&get_version, &symbol, sizeof symbol);
    int version = 0;
    if (!symbol || get_version(&version) != DRIVER_SUCCESS) version = 0;
    if (library) dlclose(library);
    return version;
}

/* -- Use ------------------------------------------------------------------------------------------------------------
 */

const struct driver *context_driver(const sage_context *context) {
    return driver_is_open(&context->driver) ? &context->driver : NULL;
}

sage_status driver_check(sage_context *context, driver_result result, const char *what) {
    if (result == DRIVER_SUCCESS) return SAGE_OK;
    return api_check(context, &context->driver.api, result, what, SAGE_ERROR_CUDA);
}

sage_status driver_enter(sage_context *context, bool *pushed) {
    const struct driver *driver = &context->driver;
    if (!driver_is_open(driver))
        return context_error(context, SAGE_ERROR_NO_DEVICE,
                             "the context was created without a GPU (options.device = -1)");
    driver_context current = NULL;
    SAGE_TRY(driver_check(context, driver->api.ctx_get_current(&current), "cuCtxGetCurrent"));
    if (current != driver->primary)
        SAGE_TRY(driver_check(context, driver->api.ctx_push(driver->primary), "cuCtxPushCurrent"));
    *pushed = current != driver->primary;
    return SAGE_OK;
}

void driver_leave(sage_context *context, bool pushed) {
    driver_context popped;
    if (pushed) context->driver.api.ctx_pop(&popped);
}

bool driver_is_capturing(sage_context *context, sage_stream stream) {
    const struct driver *driver = &context->driver;
    bool pushed;
    if (!driver_is_open(driver) || !driver->api.stream_is_capturing || driver_enter(context, &pushed) != SAGE_OK) return false;
    int status = DRIVER_CAPTURE_NONE;
    driver_result result = driver->api.stream_is_capturing(stream, &status);
    driver_leave(context, pushed);
    // The legacy stream answers with an error while another stream is being captured in a mode that forbids it: also
    // not a time to compile.
    return result != DRIVER_SUCCESS || status != DRIVER_CAPTURE_NONE;
}
