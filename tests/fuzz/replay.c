// replay: runs a fuzz target on the files of folders, in the order of their names, where there is no libFuzzer.
//   fuzz_<reader> FOLDER...
// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20 };

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort goes by the locale */
}

// From memory of the exact size, so that a sanitizer sees each read behind it.
static bool run_file(const char *path) {
    static uint8_t bytes[FILE_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    uint8_t *copy = malloc(count ? count : 1);
    if (!copy) return false;
    memcpy(copy, bytes, count);
    LLVMFuzzerTestOneInput(copy, count);
    free(copy);
    return true;
}

// Returns how many were run; -1: one cannot be read.
static int run_folder(const char *folder) {
    struct dirent **entry;
    int ran = 0, count = scandir(folder, &entry, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.' && ran >= 0) ran = run_file(path) ? ran + 1 : -1;
        free(entry[i]);
    }
    if (count >= 0) free(entry);
    return count < 0 ? -1 : ran;
}

int main(int count, char **argument) {
    int total = 0;
    for (int i = 1; i < count; i++) {
        int ran = run_folder(argument[i]);
        if (ran < 1) {
            fprintf(stderr, "%s: no folder of files that can be read\n", argument[i]);
            return 1;
        }
        total += ran;
    }
    printf("%d inputs\n", total);
    return total ? 0 : 2;
}
