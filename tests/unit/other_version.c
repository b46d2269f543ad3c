// other_version: a program with a libsage of another metadata version, run by test_concurrency on a cache that it
// shares. usage: other_version CACHE_DIR put|get|each KEY. Exit status: 0 done or found, 1 not found, 2 failed.
// SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"
#include "cache.h"

static int put(sage_context *context, const char *key) {
    char *text = NULL;
    size_t len = 0;
    const struct meta meta = fixture_meta("source", "ptx", "other cubin", 11);
    if (meta_write(context, &meta, &text, &len) != SAGE_OK) return 2;
    const struct cache_files files = {
        .meta = {text, len}, .cubin = {"other cubin", 11}, .source = {"source", 6}, .ptx = {"ptx", 3}};
    sage_status status = cache_put(context, key, &files);
    if (status == SAGE_OK) status = cache_index_put(context, key, key);
    context_free(context, text);
    return status == SAGE_OK ? 0 : 2;
}

static int get(sage_context *context, const char *key) {
    struct cache_entry entry;
    sage_status status = cache_get(context, key, CACHE_ALL, &entry);
    if (status == SAGE_ERROR_NOT_FOUND) return 1;
    if (status != SAGE_OK) return 2;
    int result = strcmp(entry.files.cubin.data, "other cubin") == 0 ? 0 : 2;
    cache_entry_free(context, &entry);
    return result;
}

static bool look(void *user, const char *key) {
    get(user, key);
    return true;
}

int main(int argc, char **argv) {
    sage_context *context = NULL;
    if (argc != 4) return 2;
    const sage_options options = {.size = sizeof options, .device = -1, .cache_dir = argv[1]};
    if (sage_context_create(&options, &context) != SAGE_OK) return 2;
    int result = strcmp(argv[2], "put") == 0                     ? put(context, argv[3])
                 : strcmp(argv[2], "get") == 0                   ? get(context, argv[3])
                 : cache_each(context, look, context) == SAGE_OK ? 0
                                                                 : 2;
    sage_context_destroy(context);
    return result;
}
