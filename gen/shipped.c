// shipped: finds embedded files under specs/. Parses nothing.
// SPDX-License-Identifier: Apache-2.0
#include "shipped.h"

#include <string.h>

static const char folder[] = "specs/", ending[] = ".yaml";
enum { FOLDER_LEN = sizeof folder - 1, ENDING_LEN = sizeof ending - 1 };

static bool is_spec(const struct embedded_file *file) {
    size_t len = file->name ? strlen(file->name) : 0;
    return len > FOLDER_LEN + ENDING_LEN && strncmp(file->name, folder, FOLDER_LEN) == 0 &&
           strcmp(file->name + len - ENDING_LEN, ending) == 0;
}

int shipped_count(void) {
    int count = 0;
    for (int i = 0; i < embedded_file_count; i++) count += is_spec(&embedded_files[i]);
    return count;
}

const struct embedded_file *shipped_get(int index) {
    for (int i = 0; i < embedded_file_count; i++)
        if (is_spec(&embedded_files[i]) && index-- == 0) return &embedded_files[i];
    return NULL;
}

size_t shipped_name(const struct embedded_file *file, const char **name) {
    *name = file->name + FOLDER_LEN;
    return strlen(*name) - ENDING_LEN;
}

const struct embedded_file *shipped_find(const char *name) {
    for (int i = 0; i < shipped_count(); i++) {
        const struct embedded_file *file = shipped_get(i);
        const char *own;
        size_t len = shipped_name(file, &own);
        if (strlen(name) == len && strncmp(own, name, len) == 0) return file;
    }
    return NULL;
}
