// nvrtc: the search for libnvrtc, its identity from the ELF file, and loading. One search per context, under a lock, on
// first use. Keeps every candidate with the reason why it was refused. Writes nothing; never loads a library only to
// look at it, except the loader's own. SPDX-License-Identifier: Apache-2.0
#include "nvrtc.h"
#include "context.h"
#include "elf_identity.h"
#include "safe_dir.h"
#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CANDIDATES_MAX = 64, VERSION_OLDEST_MAJOR = 12, VERSION_OLDEST_MINOR = 8 };

struct candidate {
    char *path;     /* real path */
    char *reason;   /* why refused; NULL: suitable so far */
    int version[3]; /* major, minor, patch; -1: unknown */
};

struct nvrtc {
    pthread_mutex_t lock;
    char *wanted; /* by option or environment; NULL: search */
    bool searched;
    bool handed_out; /* an identity was given to a caller, who may have made keys with it */
    struct candidate candidate[CANDIDATES_MAX];
    int count;
    int chosen;                          /* index; -1: none */
    char identity[NVRTC_IDENTITY_BYTES]; /* of the chosen */
    void *library;
    struct nvrtc_api api;
};

/* -- Candidates -----------------------------------------------------------------------------------------------------
 */

// Reads "13.0.88" after the last `marker` of name; absent parts stay as they are.
static void version_read(const char *name, const char *marker, int version[3]) {
    const char *at = strstr(name, marker);
    if (!at) return;
    at += strlen(marker);
    for (int i = 0; i < 3 && *at >= '0' && *at <= '9'; i++) {
        char *end;
        long number = strtol(at, &end, 10);
        version[i] = number < 10000 ? (int)number : -1;
        at = *end == '.' ? end + 1 : end;
    }
}

// The library of built-ins that lies beside the NVRTC at path, the newest of its major version.
static bool builtins_find(const char *path, int major, char out[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    int len = snprintf(out, PATH_MAX, "%.*s/libnvrtc-builtins.so.%d.*", slash ? (int)(slash - path) : 0, path, major);
    glob_t found;
    if (!slash || len < 0 || len >= PATH_MAX || glob(out, 0, NULL, &found) != 0) return false;
    len = snprintf(out, PATH_MAX, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return len >= 0 && len < PATH_MAX;
}

// The file name of a wheel has the major version alone; the built-ins beside it are always named by major and minor.
static void version_from_builtins(const char *path, int version[3]) {
    char builtins[PATH_MAX];
    if (builtins_find(path, version[0], builtins)) version_read(builtins, "libnvrtc-builtins.so.", version);
}

// NVRTC opens its built-ins by name and finds them through its own RUNPATH, unless something took dlopen's place, as
// AddressSanitizer does: then that name is found only if it is loaded already. Not being there is NVRTC's to tell.
static void builtins_load(const char *path, int major) {
    char builtins[PATH_MAX];
    if (builtins_find(path, major, builtins)) dlopen(builtins, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
}

static sage_status candidate_add(sage_context *context, const char *path, const char *reason) {
    struct nvrtc *nvrtc = context->nvrtc;
    for (int i = 0; i < nvrtc->count; i++)
        if (!strcmp(nvrtc->candidate[i].path, path)) return SAGE_OK;
    if (nvrtc->count == CANDIDATES_MAX) return SAGE_OK;
    struct candidate made = {.path = context_copy_text(context, path, strlen(path)), .version = {-1, -1, -1}};
    if (!made.path) return SAGE_ERROR_OUT_OF_MEMORY;
    if (reason && !(made.reason = context_copy_text(context, reason, strlen(reason)))) {
        context_free(context, made.path);
        return SAGE_ERROR_OUT_OF_MEMORY;
    }
    version_read(path, "libnvrtc.so.", made.version);
    if (made.version[0] >= 0 && made.version[1] < 0) version_from_builtins(path, made.version);
    nvrtc->candidate[nvrtc->count++] = made;
    return SAGE_OK;
}

static sage_status refuse(sage_context *context, struct candidate *candidate, const char *reason) {
    if (candidate->reason) return SAGE_OK;
    candidate->reason = context_copy_text(context, reason, strlen(reason));
    return candidate->reason ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
}

// Adds what matches <root><rest>, where rest is a pattern, and root is taken literally. A relative root is skipped: it
// is another place in every current directory.
static sage_status candidates_glob(sage_context *context, const char *root, const char *rest) {
    if (!root || root[0] != '/') return SAGE_OK;
    char pattern[2 * PATH_MAX], real[PATH_MAX];
    size_t at = 0;
    for (; *root && at < PATH_MAX; root++) {
        if (strchr("*?[]\\", *root)) pattern[at++] = '\\';
        pattern[at++] = *root;
    }
    snprintf(pattern + at, sizeof pattern - at, "%s/libnvrtc.so.*", rest);
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0) return SAGE_OK;
    sage_status status = SAGE_OK;
    for (size_t i = 0; i < found.gl_pathc && status == SAGE_OK; i++)
        if (realpath(found.gl_pathv[i], real)) status = candidate_add(context, real, NULL);
    globfree(&found);
    return status;
}

// The places of the search, as root and pattern. Wheels: `nvidia/cu13/lib` from CUDA 13 on, `nvidia/cuda_nvrtc/lib`
// before.
static sage_status candidates_search(sage_context *context) {
    const struct context_environment *environment = &context->environment;
    const char *const packages[] = {"/python3*/site-packages", "/python3*/dist-packages"};
    const char *const wheels[] = {"/nvidia/cu13/lib", "/nvidia/cuda_nvrtc/lib"};
    const struct {
        const char *root, *rest;
    } toolkits[] = {{environment->cuda_home, "/lib64"},
                    {environment->cuda_path, "/lib64"},
                    {"/usr/local", "/cuda*/lib64"}},
      folders[] = {{environment->virtual_env, "/lib"},
                   {environment->conda_prefix, "/lib"},
                   {environment->home, "/.local/lib"},
                   {"/usr/lib", ""},
                   {"/usr/local/lib", ""}};
    for (size_t i = 0; i < sizeof toolkits / sizeof *toolkits; i++)
        SAGE_TRY(candidates_glob(context, toolkits[i].root, toolkits[i].rest));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        for (int j = 0; j < 4; j++) {
            char rest[256];
            snprintf(rest, sizeof rest, "%s%s%s", folders[i].rest, packages[j / 2], wheels[j % 2]);
            SAGE_TRY(candidates_glob(context, folders[i].root, rest));
        }
    }
    SAGE_TRY(candidates_glob(context, environment->conda_prefix, "/lib"));
    const char *data = environment->xdg_data_home ? environment->xdg_data_home : environment->home;
    const char *folder = environment->xdg_data_home ? "/sagegen/nvrtc" : "/.local/share/sagegen/nvrtc";
    const char *const inside[] = {"", "/lib", "/*/lib", "/nvidia/*/lib"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        char rest[256];
        snprintf(rest, sizeof rest, "%s%s", folder, inside[i]);
        SAGE_TRY(candidates_glob(context, data, rest));
    }
    return SAGE_OK;
}

// The path that was asked for: a file, or a folder that holds one.
static sage_status candidates_wanted(sage_context *context, const char *wanted) {
    char real[PATH_MAX];
    struct stat info;
    if (!realpath(wanted, real) || stat(real, &info) != 0) return candidate_add(context, wanted, "no such file");
    if (!S_ISDIR(info.st_mode)) return candidate_add(context, real, NULL);
    SAGE_TRY(candidates_glob(context, real, ""));
    return context->nvrtc->count ? SAGE_OK : candidate_add(context, real, "no libnvrtc.so.* in this folder");
}

// What the loader finds by itself (LD_LIBRARY_PATH, ld.so.conf): only it knows, so this one is loaded at once.
static sage_status candidates_loader(sage_context *context) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *library = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
        if (!library) {
            const char *reason = dlerror();
            SAGE_TRY(candidate_add(context, names[i], reason ? reason : "not found"));
            continue;
        }
        struct link_map *map = NULL;
        char real[PATH_MAX];
        bool named = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && realpath(map->l_name, real);
        dlclose(library);
        if (named) SAGE_TRY(candidate_add(context, real, NULL));
    }
    return SAGE_OK;
}

/* -- Choice ---------------------------------------------------------------------------------------------------------
 */

static bool is_newer(const int a[3], const int b[3]) {
    for (int i = 0; i < 3; i++)
        if (a[i] != b[i]) return a[i] > b[i];
    return false;
}

// Refuses a library that strangers may have written, or whose built-ins, which it loads from beside it, they may.
static sage_status candidate_trust(sage_context *context, struct candidate *candidate) {
    const char *wanted = context->nvrtc->wanted;
    char builtins[PATH_MAX], real[PATH_MAX];
    struct safe_why why;
    const bool named = wanted && wanted[0] == '/';
    if (candidate->reason) return SAGE_OK;
    if (!safe_path(candidate->path, named, &why)) return refuse(context, candidate, why.text);
    if (!builtins_find(candidate->path, candidate->version[0], builtins) || !realpath(builtins, real)) return SAGE_OK;
    return safe_path(real, named, &why) ? SAGE_OK : refuse(context, candidate, why.text);
}

// Refuses what is too old, and what makes cubins that this system's driver would not load.
static sage_status candidate_check(sage_context *context, struct candidate *candidate, int driver_version) {
    char reason[256];
    const int *version = candidate->version;
    bool old = version[0] >= 0 &&
               (version[0] < VERSION_OLDEST_MAJOR ||
                (version[0] == VERSION_OLDEST_MAJOR && version[1] >= 0 && version[1] < VERSION_OLDEST_MINOR));
    if (old) {
        snprintf(reason, sizeof reason, "version %d.%d; needs %d.%d or newer", version[0], version[1],
                 VERSION_OLDEST_MAJOR, VERSION_OLDEST_MINOR);
        return refuse(context, candidate, reason);
    }
    if (!context->nvrtc->wanted && driver_version > 0 && version[0] > driver_version / 1000) {
        snprintf(reason, sizeof reason, "version %d; the driver supports CUDA %d.%d", version[0], driver_version / 1000,
                 driver_version % 1000 / 10);
        return refuse(context, candidate, reason);
    }
    return SAGE_OK;
}

// Sets chosen and identity to the newest suitable candidate; the first of equals.
static sage_status choose(sage_context *context) {
    struct nvrtc *nvrtc = context->nvrtc;
    for (;;) {
        nvrtc->chosen = -1;
        for (int i = 0; i < nvrtc->count; i++) {
            const struct candidate *candidate = &nvrtc->candidate[i];
            if (candidate->reason) continue;
            if (nvrtc->chosen < 0 || is_newer(candidate->version, nvrtc->candidate[nvrtc->chosen].version))
                nvrtc->chosen = i;
        }
        if (nvrtc->chosen < 0) return SAGE_OK;
        struct candidate *candidate = &nvrtc->candidate[nvrtc->chosen];
        const char *reason = elf_identity(candidate->path, nvrtc->identity, sizeof nvrtc->identity);
        if (!reason) return SAGE_OK;
        SAGE_TRY(refuse(context, candidate, reason));
    }
}

static sage_status search(sage_context *context) {
    struct nvrtc *nvrtc = context->nvrtc;
    if (nvrtc->wanted)
        SAGE_TRY(candidates_wanted(context, nvrtc->wanted));
    else
        SAGE_TRY(candidates_search(context));
    int driver_version = nvrtc->wanted ? 0 : driver_probe_version(context);
    for (int i = 0; i < nvrtc->count; i++) {
        SAGE_TRY(candidate_trust(context, &nvrtc->candidate[i]));
        SAGE_TRY(candidate_check(context, &nvrtc->candidate[i], driver_version));
    }
    SAGE_TRY(choose(context));
    if (nvrtc->chosen < 0 && !nvrtc->wanted) {
        int first = nvrtc->count;
        SAGE_TRY(candidates_loader(context));
        for (int i = first; i < nvrtc->count; i++)
            SAGE_TRY(candidate_check(context, &nvrtc->candidate[i], driver_version));
        SAGE_TRY(choose(context));
    }
    nvrtc->searched = true;
    return SAGE_OK;
}

static sage_status none_found(sage_context *context) {
    const struct nvrtc *nvrtc = context->nvrtc;
    char text[CONTEXT_ERROR_BYTES / 2];
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < nvrtc->count && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "; %s: %s", nvrtc->candidate[i].path,
                               nvrtc->candidate[i].reason);
    return context_error(
        context, SAGE_ERROR_NO_NVRTC,
        "no usable NVRTC library (set SAGE_NVRTC, or install a CUDA toolkit or the nvidia-cuda-nvrtc wheel)%s", text);
}

static sage_status find_locked(sage_context *context) {
    if (!context->nvrtc->searched) SAGE_TRY(search(context));
    return context->nvrtc->chosen < 0 ? none_found(context) : SAGE_OK;
}

/* -- Loading --------------------------------------------------------------------------------------------------------
 */

struct nvrtc_entry {
    const char *symbol;
    size_t offset; /* in struct nvrtc_api */
};

#define NVRTC_ENTRY_ROW(type, member, symbol, parameters) {symbol, offsetof(struct nvrtc_api, member)},
static const struct nvrtc_entry nvrtc_entries[] = {NVRTC_ENTRIES(NVRTC_ENTRY_ROW)};

// Fills the table; writes why not to reason. NODELETE: NVRTC registers clean-up of its own, and other contexts may use
// it.
static void *library_load(struct candidate *candidate, struct nvrtc_api *api, char *reason, size_t reason_bytes) {
    void *library = dlopen(candidate->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        const char *text = dlerror();
        snprintf(reason, reason_bytes, "%s", text ? text : "dlopen failed");
        return NULL;
    }
    for (size_t i = 0; i < sizeof nvrtc_entries / sizeof *nvrtc_entries; i++) {
        void *symbol = dlsym(library, nvrtc_entries[i].symbol);
        memcpy((char *)api + nvrtc_entries[i].offset, &symbol, sizeof symbol);
        if (symbol) continue;
        snprintf(reason, reason_bytes, "lacks %s", nvrtc_entries[i].symbol);
        dlclose(library);
        return NULL;
    }
    candidate->version[2] = -1;
    if (api->version(&candidate->version[0], &candidate->version[1]) == NVRTC_RESULT_SUCCESS) return library;
    snprintf(reason, reason_bytes, "nvrtcVersion failed");
    dlclose(library);
    return NULL;
}

// Loads the chosen one; on failure refuses it and chooses again.
static sage_status load_once(sage_context *context) {
    struct nvrtc *nvrtc = context->nvrtc;
    struct candidate *candidate = &nvrtc->candidate[nvrtc->chosen];
    char reason[512] = "";
    nvrtc->library = library_load(candidate, &nvrtc->api, reason, sizeof reason);
    if (!nvrtc->library)
        SAGE_TRY(refuse(context, candidate, reason));
    else
        SAGE_TRY(candidate_check(context, candidate, nvrtc->wanted ? 0 : driver_probe_version(context)));
    if (!candidate->reason) {
        builtins_load(candidate->path, candidate->version[0]);
        return SAGE_OK;
    }
    if (nvrtc->library) dlclose(nvrtc->library);
    nvrtc->library = NULL;
    SAGE_TRY(choose(context));
    if (!nvrtc->handed_out) return SAGE_OK;
    nvrtc->handed_out = false;
    // The caller's key names the library that failed: code of another one must not be stored under it.
    return context_error(context, SAGE_ERROR_NO_NVRTC, "%s: %s; %s", candidate->path, candidate->reason,
                         nvrtc->chosen < 0 ? "no other one was found" : "the next call uses another one");
}

static sage_status load_locked(sage_context *context) {
    while (!context->nvrtc->library) {
        SAGE_TRY(find_locked(context));
        SAGE_TRY(load_once(context));
    }
    return SAGE_OK;
}

/* -- Use ------------------------------------------------------------------------------------------------------------
 */

sage_status nvrtc_create(sage_context *context, const char *path) {
    struct nvrtc *nvrtc = context_alloc_zeroed(context, sizeof *nvrtc);
    if (!nvrtc) return SAGE_ERROR_OUT_OF_MEMORY;
    pthread_mutex_init(&nvrtc->lock, NULL);
    nvrtc->chosen = -1;
    context->nvrtc = nvrtc;
    const char *wanted = path ? path : context->environment.sage_nvrtc;
    if (wanted) nvrtc->wanted = context_copy_text(context, wanted, strlen(wanted));
    return wanted && !nvrtc->wanted ? SAGE_ERROR_OUT_OF_MEMORY : SAGE_OK;
}

void nvrtc_destroy(sage_context *context) {
    struct nvrtc *nvrtc = context->nvrtc;
    if (!nvrtc) return;
    for (int i = 0; i < nvrtc->count; i++) {
        context_free(context, nvrtc->candidate[i].path);
        context_free(context, nvrtc->candidate[i].reason);
    }
    if (nvrtc->library) dlclose(nvrtc->library);
    context_free(context, nvrtc->wanted);
    pthread_mutex_destroy(&nvrtc->lock);
    context_free(context, nvrtc);
    context->nvrtc = NULL;
}

sage_status nvrtc_find(sage_context *context, struct nvrtc_info *out) {
    struct nvrtc *nvrtc = context->nvrtc;
    pthread_mutex_lock(&nvrtc->lock);
    sage_status status = find_locked(context);
    if (status == SAGE_OK) {
        const struct candidate *candidate = &nvrtc->candidate[nvrtc->chosen];
        *out = (struct nvrtc_info){.path = candidate->path,
                                   .major = candidate->version[0],
                                   .minor = candidate->version[1],
                                   .loaded = nvrtc->library != NULL};
        memcpy(out->identity, nvrtc->identity, sizeof out->identity);
        nvrtc->handed_out = true;
    }
    pthread_mutex_unlock(&nvrtc->lock);
    return status;
}

sage_status nvrtc_load(sage_context *context, const struct nvrtc_api **api) {
    struct nvrtc *nvrtc = context->nvrtc;
    pthread_mutex_lock(&nvrtc->lock);
    sage_status status = load_locked(context);
    pthread_mutex_unlock(&nvrtc->lock);
    if (status == SAGE_OK) *api = &nvrtc->api;
    return status;
}

int nvrtc_each_candidate(sage_context *context, void (*visit)(void *user, const char *path, const char *reason),
                         void *user) {
    struct nvrtc *nvrtc = context->nvrtc;
    pthread_mutex_lock(&nvrtc->lock);
    find_locked(context); // its failure is what the reasons tell
    for (int i = 0; i < nvrtc->count; i++) {
        const struct candidate *candidate = &nvrtc->candidate[i];
        const char *reason = candidate->reason ? candidate->reason : "suitable; another one is newer, or came first";
        visit(user, candidate->path, i == nvrtc->chosen ? "" : reason);
    }
    int count = nvrtc->count;
    pthread_mutex_unlock(&nvrtc->lock);
    return count;
}
