// fuzz: see the header. Files go to a new folder below TMPDIR or /tmp. SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "key.h"
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_FOLDERS_MAX = 8 };

static char folder[PATH_MAX / 2];

_Noreturn void fuzz_fail(const char *file, int line, const char *sentence) {
    fprintf(stderr, "%s:%d: %s\n", file, line, sentence);
    abort();
}

/* -- Context ---- */

static sage_context *context;

static void context_end(void) {
    sage_context_destroy(context);
}

sage_context *fuzz_context(void) {
    if (context) return context;
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1, .wisdom = "none"};
    FUZZ_CHECK(sage_context_create(&options, &context) == SAGE_OK, "no context");
    atexit(context_end);
    return context;
}

/* -- Files ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static void folder_end(void) {
    nftw(folder, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void) {
    if (folder[0]) return folder;
    const char *above = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/sage_fuzz_XXXXXX", above && *above ? above : "/tmp");
    FUZZ_CHECK(mkdtemp(folder) != NULL, "no folder for files: set TMPDIR");
    atexit(folder_end);
    return folder;
}

const char *fuzz_file(const char *name, const void *data, size_t bytes) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file != NULL, "a file cannot be made");
    FUZZ_CHECK(fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "a file cannot be written");
    return path;
}

void fuzz_link(const char *name, const char *link_name) {
    char from[PATH_MAX], to[PATH_MAX];
    snprintf(from, sizeof from, "%s/%s", fuzz_folder(), name);
    snprintf(to, sizeof to, "%s/%s", fuzz_folder(), link_name);
    char *slash = strrchr(to, '/');
    *slash = '\0';
    mkdir(to, 0700);
    *slash = '/';
    FUZZ_CHECK(link(from, to) == 0, "a file cannot get a second name");
}

/* -- Texts ---- */

char *fuzz_sealed(const uint8_t *data, size_t bytes, const char *label, size_t *out_bytes) {
    char hash[KEY_HEX64_BYTES];
    const size_t room = bytes + strlen(label) + sizeof hash + 1;
    char *text = malloc(room);
    FUZZ_CHECK(text != NULL, "out of memory");
    key_hash64(data, bytes, hash);
    if (bytes) memcpy(text, data, bytes);
    *out_bytes = bytes + (size_t)snprintf(text + bytes, room - bytes, "%s%s\n", label, hash);
    return text;
}
