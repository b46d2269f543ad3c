// cmd_doctor: looks at all that sagegen and libsage need on this machine, and says what works, what does not, and what
// to do about it. Compiles one empty kernel to be sure. Changes nothing but the cache directory, which is made.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "context.h"
#include "sass_tool.h"
#include "table.h"
#include "version.h"
#include "wisdom.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEVICES_MAX = 64 };

static const struct cmd_option options[] = {{"json", 0, NULL, "as JSON"}, {NULL, 0, NULL, NULL}};

static const struct cmd_syntax syntax = {
    .name = "doctor",
    .usage = "doctor [--json]",
    .summary = "Says which driver, NVRTC, GPUs, cache directory and wisdom are found, and what to do where something "
               "is missing.\n"
               "Exit status 0: kernels can be compiled here; 1: they cannot.",
    .examples = "  sagegen doctor\n  SAGE_NVRTC=/opt/cuda/lib64/libnvrtc.so sagegen doctor --json\n",
    .options = options,
};

/* -- Looking ---------------------------------------------------------------- */

// Everything goes into one JSON object; the text output is printed from it.
static json_t *look_templates(void) {
    const char *dir = cmd_template_dir();
    char hash[20];
    snprintf(hash, sizeof hash, "%016" PRIx64, expand_bundle_hash(dir));
    return json_pack("{s:s, s:s}", "source", dir ? dir : "embedded", "hash", hash);
}

static void add_candidate(void *user, const char *path, const char *reason) {
    json_array_append_new(user,
                          json_pack("{s:s, s:b, s:s}", "path", path, "chosen", reason[0] == '\0', "reason", reason));
}

static void look_archs(const struct nvrtc_api *api, json_t *out) {
    int count = 0, archs[64];
    json_t *list = json_array();
    if (api->get_arch_count(&count) == NVRTC_RESULT_SUCCESS && count <= 64 &&
        api->get_archs(archs) == NVRTC_RESULT_SUCCESS)
        for (int i = 0; i < count; i++) json_array_append_new(list, json_integer(archs[i]));
    json_object_set_new(out, "architectures", list);
}

static json_t *look_nvrtc(sage_context *context) {
    json_t *out = json_object(), *candidates = json_array();
    const struct nvrtc_api *api;
    struct nvrtc_info info;
    bool loaded = nvrtc_load(context, &api) == SAGE_OK;
    json_object_set_new(out, "found", json_boolean(loaded));
    if (!loaded) json_object_set_new(out, "error", json_string(sage_last_error(context)));
    if (loaded && nvrtc_find(context, &info) == SAGE_OK) {
        json_object_set_new(out, "path", json_string(info.path));
        json_object_set_new(out, "version", json_sprintf("%d.%d", info.major, info.minor));
        json_object_set_new(out, "build_id", json_string(info.identity));
        look_archs(api, out);
    }
    nvrtc_each_candidate(context, add_candidate, candidates);
    json_object_set_new(out, "candidates", candidates);
    return out;
}

static json_t *look_device(int ordinal, sage_context *context) {
    const struct driver *driver = context_driver(context);
    size_t bytes = 0;
    if (driver->api.device_total_mem) driver->api.device_total_mem(&bytes, driver->device);
    return json_pack("{s:i, s:s, s:s, s:I, s:i}", "ordinal", ordinal, "name", driver->device_name, "target", "",
                     "memory_bytes", (json_int_t)bytes, "multiprocessors", driver->multiprocessors);
}

static json_t *look_devices(json_t *driver_out) {
    json_t *list = json_array();
    for (int i = 0; i < DEVICES_MAX; i++) {
        const sage_options wanted = {.size = sizeof wanted, .device = i, .memory_only = 1};
        sage_context *context = NULL;
        if (sage_context_create(&wanted, &context) != SAGE_OK) {
            if (i == 0) json_object_set_new(driver_out, "error", json_string(sage_last_error(NULL)));
            break;
        }
        json_t *device = look_device(i, context);
        json_object_set_new(device, "target", json_sprintf("sm_%d", sage_context_sm(context)));
        json_array_append_new(list, device);
        sage_context_destroy(context);
    }
    return list;
}

static json_t *look_driver(sage_context *context) {
    int version = driver_probe_version(context);
    json_t *out = json_pack("{s:b}", "found", version > 0);
    if (version > 0)
        json_object_set_new(out, "cuda_version", json_sprintf("%d.%d", version / 1000, version % 1000 / 10));
    return out;
}

static json_t *look_cache(sage_context *context) {
    struct cache_description cache;
    struct stat st;
    char mode[8] = "";
    cache_describe(context, &cache);
    if (cache.path[0] && stat(cache.path, &st) == 0)
        snprintf(mode, sizeof mode, "%04o", (unsigned)(st.st_mode & 07777));
    return json_pack("{s:s, s:s, s:b, s:s}", "path", cache.path, "mode", mode, "memory_only", (int)cache.memory_only,
                     "reason", cache.reason);
}

// Whose wisdom libsage uses on a GPU, and how well that fits it.
static json_t *look_wisdom_of(const sage_context *context, const json_t *gpu) {
    static const char *const texts[] = {
        [WISDOM_NONE] = "none", [WISDOM_ARCHITECTURE] = "architecture", [WISDOM_GPU] = "gpu"};
    struct wisdom_description wisdom;
    const struct wisdom_machine *m;
    const char *target = json_string_value(json_object_get(gpu, "target"));
    const struct wisdom_query query = {.gpu = json_string_value(json_object_get(gpu, "name")),
                                       .sm = (int)strtol(target + strlen("sm_"), NULL, 10),
                                       .multiprocessors =
                                           (int)json_integer_value(json_object_get(gpu, "multiprocessors"))};
    wisdom_describe(context, &wisdom);
    const enum wisdom_match match = wisdom_match(wisdom.table, wisdom.tables, &query, &m);
    json_t *out = json_pack("{s:O, s:s}", "ordinal", json_object_get(gpu, "ordinal"), "match", texts[match]);
    if (!m) return out;
    json_object_set_new(out, "gpu", json_string(m->gpu));
    json_object_set_new(out, "multiprocessors", json_integer(m->multiprocessors));
    json_object_set_new(out, "driver", json_string(m->driver));
    return out;
}

// The user's file and the shipped tables.
static json_t *look_wisdom(const json_t *gpus) {
    const sage_options wanted = {.size = sizeof wanted, .device = -1, .memory_only = 1};
    struct wisdom_description wisdom;
    sage_context *context = NULL;
    size_t i;
    const json_t *gpu;
    int rows = 0;
    if (sage_context_create(&wanted, &context) != SAGE_OK || sage_use_generator(context) != SAGE_OK) {
        sage_context_destroy(context);
        return json_object();
    }
    wisdom_describe(context, &wisdom);
    for (int t = 0; t < wisdom.tables; t++) rows += wisdom.table[t].rows;
    json_t *list = json_array();
    json_array_foreach(gpus, i, gpu) json_array_append_new(list, look_wisdom_of(context, gpu));
    json_t *out =
        json_pack("{s:s, s:s, s:i, s:o}", "path", wisdom.path, "reason", wisdom.reason, "rows", rows, "gpus", list);
    sage_context_destroy(context);
    return out;
}

static json_t *look_nvdisasm(void) {
    char path[PATH_MAX], why[SASS_TOOL_WHY_BYTES];
    if (sass_tool_find(NULL, path, why)) return json_pack("{s:b, s:s}", "found", 1, "path", path);
    return json_pack("{s:b, s:s}", "found", 0, "error", why);
}

// "" if an empty kernel compiles.
static const char *try_compile(sage_context *context) {
    static const char source[] = "extern \"C\" __global__ void doctor() {}\n";
    const struct compile_input input = {
        .source = source, .source_bytes = sizeof source - 1, .name = "doctor.cu", .target = "sm_80"};
    struct compile_result result = {0};
    sage_status status = compile_source(context, &input, &result);
    compile_result_free(context, &result);
    return status == SAGE_OK ? "" : sage_last_error(context);
}

/* -- Verdict ---------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_true(const json_t *object, const char *key) {
    return json_is_true(json_object_get(object, key));
}

static void add_remedies(json_t *root) {
    json_t *list = json_array();
    const json_t *nvrtc = json_object_get(root, "nvrtc"), *cache = json_object_get(root, "cache");
    if (!is_true(nvrtc, "found"))
        json_array_append_new(list,
                              json_string("install NVRTC 12.8 or newer: pip install nvidia-cuda-nvrtc (CUDA 13) or "
                                          "nvidia-cuda-nvrtc-cu12, or a CUDA toolkit; or set SAGE_NVRTC to its path"));
    if (is_true(cache, "memory_only"))
        json_array_append_new(
            list, json_string("set SAGE_CACHE_DIR to a directory that only you can write, so that kernels are kept"));
    if (!is_true(json_object_get(root, "driver"), "found"))
        json_array_append_new(
            list, json_string("no NVIDIA driver: kernels run on the PTX virtual machine alone (--device vm)"));
    json_object_set_new(root, "remedies", list);
}

static json_t *look(void) {
    const sage_options wanted = {.size = sizeof wanted, .device = -1};
    sage_context *context = NULL;
    if (sage_context_create(&wanted, &context) != SAGE_OK) {
        cmd_failed("%s", sage_last_error(NULL));
        return NULL;
    }
    json_t *root = json_object(), *driver = look_driver(context);
    json_object_set_new(root, "sagegen", json_string(SAGEGEN_VERSION));
    json_object_set_new(root, "templates", look_templates());
    json_object_set_new(root, "driver", driver);
    json_object_set_new(root, "gpus", look_devices(driver));
    json_object_set_new(root, "wisdom", look_wisdom(json_object_get(root, "gpus")));
    json_object_set_new(root, "nvrtc", look_nvrtc(context));
    json_object_set_new(root, "nvdisasm", look_nvdisasm());
    json_object_set_new(root, "cache", look_cache(context));
    const char *error = try_compile(context);
    json_object_set_new(root, "can_compile", json_boolean(!error[0]));
    json_object_set_new(root, "compile_error", json_string(error));
    add_remedies(root);
    sage_context_destroy(context);
    return root;
}

/* -- Print ------------------------------------------------------------------ */

static void print_driver(const json_t *root, struct buf *out) {
    const json_t *driver = json_object_get(root, "driver"), *gpu;
    size_t i;
    if (is_true(driver, "found"))
        buf_printf(out, "driver     CUDA %s\n", text_of(driver, "cuda_version"));
    else
        buf_puts(out, "driver     none\n");
    json_array_foreach(json_object_get(root, "gpus"), i, gpu) buf_printf(
        out, "GPU %-6d %s, %s, %.1f GiB, %d multiprocessors\n", (int)i, text_of(gpu, "name"), text_of(gpu, "target"),
        (double)json_integer_value(json_object_get(gpu, "memory_bytes")) / 1073741824.0,
        (int)json_integer_value(json_object_get(gpu, "multiprocessors")));
    if (json_array_size(json_object_get(root, "gpus")) == 0)
        buf_printf(out, "GPU        none: %s\n", text_of(driver, "error"));
}

static void print_nvrtc(const json_t *nvrtc, struct buf *out) {
    size_t i;
    const json_t *candidate, *arch;
    if (is_true(nvrtc, "found")) {
        buf_printf(out, "NVRTC      %s, %s\n", text_of(nvrtc, "version"), text_of(nvrtc, "path"));
        buf_printf(out, "           build id %s\n           compiles for", text_of(nvrtc, "build_id"));
        json_array_foreach(json_object_get(nvrtc, "architectures"), i, arch)
            buf_printf(out, " %d", (int)json_integer_value(arch));
        buf_puts(out, "\n");
    } else {
        buf_printf(out, "NVRTC      none: %s\n", text_of(nvrtc, "error"));
    }
    json_array_foreach(json_object_get(nvrtc, "candidates"), i, candidate) if (!is_true(candidate, "chosen"))
        buf_printf(out, "           not %s: %s\n", text_of(candidate, "path"), text_of(candidate, "reason"));
}

static void print_nvdisasm(const json_t *nvdisasm, struct buf *out) {
    if (is_true(nvdisasm, "found"))
        buf_printf(out, "nvdisasm   %s\n", text_of(nvdisasm, "path"));
    else
        buf_printf(out, "nvdisasm   none; only sagegen sass needs it: %s\n", text_of(nvdisasm, "error"));
}

static void print_wisdom(const json_t *wisdom, struct buf *out) {
    size_t i;
    const json_t *gpu;
    buf_printf(out, "wisdom     %s, %d rows with the shipped tables%s%s\n", text_of(wisdom, "path"),
               (int)json_integer_value(json_object_get(wisdom, "rows")),
               text_of(wisdom, "reason")[0] ? "; left out: " : "", text_of(wisdom, "reason"));
    json_array_foreach(json_object_get(wisdom, "gpus"), i, gpu) {
        const int multiprocessors = (int)json_integer_value(json_object_get(gpu, "multiprocessors"));
        if (strcmp(text_of(gpu, "match"), "gpu") == 0)
            buf_printf(out, "           GPU %d: tuned for it, with driver %s\n", (int)i, text_of(gpu, "driver"));
        else if (strcmp(text_of(gpu, "match"), "architecture") == 0)
            buf_printf(out,
                       "           GPU %d: not tuned for it; takes that of the same architecture with the nearest "
                       "multiprocessors: %s, %d\n",
                       (int)i, text_of(gpu, "gpu"), multiprocessors);
        else
            buf_printf(out, "           GPU %d: none; default variants. sagegen tune finds better ones\n", (int)i);
    }
}

static void put_verdict(const json_t *root, struct buf *out) {
    if (is_true(root, "can_compile"))
        buf_printf(out, "verdict    kernels can be compiled here%s\n",
                   json_array_size(json_object_get(root, "gpus"))
                       ? ", and run"
                       : "; without a GPU they run on the PTX virtual machine (--device vm)");
    else if (is_true(json_object_get(root, "nvrtc"), "found"))
        buf_printf(out, "verdict    kernels cannot be compiled here: %s\n", text_of(root, "compile_error"));
    else
        buf_puts(out, "verdict    kernels cannot be compiled here: there is no NVRTC\n");
}

static void print_text(const json_t *root, struct buf *out) {
    const json_t *cache = json_object_get(root, "cache"), *templates = json_object_get(root, "templates"), *remedy;
    size_t i;
    buf_printf(out, "sagegen    %s\n", text_of(root, "sagegen"));
    buf_printf(out, "templates  %s, hash %s\n", text_of(templates, "source"), text_of(templates, "hash"));
    print_driver(root, out);
    print_nvrtc(json_object_get(root, "nvrtc"), out);
    print_nvdisasm(json_object_get(root, "nvdisasm"), out);
    buf_printf(out, "cache      %s%s%s%s", text_of(cache, "path"), text_of(cache, "mode")[0] ? ", mode " : "",
               text_of(cache, "mode"), is_true(cache, "memory_only") ? ", memory only" : "");
    buf_printf(out, "%s%s\n", text_of(cache, "reason")[0] ? ": " : "", text_of(cache, "reason"));
    print_wisdom(json_object_get(root, "wisdom"), out);
    put_verdict(root, out);
    json_array_foreach(json_object_get(root, "remedies"), i, remedy)
        buf_printf(out, "remedy     %s\n", json_string_value(remedy));
}

int cmd_doctor(int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    bool json = false;
    int found;
    while ((found = cmd_next(&args)) == 0) json = true;
    if (found == CMD_STOP) return args.status;
    if (found == CMD_WORD) return cmd_bad_input("doctor takes no '%s'", args.value);
    json_t *root = look();
    if (!root) return CMD_FAILED;
    struct buf out = {0};
    int status = is_true(root, "can_compile") ? CMD_DONE : CMD_FAILED;
    if (json)
        table_put_json(json_incref(root), &out);
    else
        print_text(root, &out);
    if (!cmd_print(&out)) status = CMD_FAILED;
    json_decref(root);
    buf_free(&out);
    return status;
}
