// embedded: the files built into the program: templates, specs, and of tuning/ problems, wisdom and the measuring
// script. embedded.c is written by embed.lua at build time. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_EMBEDDED_H
#define SAGE_GEN_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name; /* relative to the source folder: "templates/stage/softmax.cu.tl" */
    const char *data; /* NUL-terminated */
    size_t size;      /* bytes, without the NUL */
};

extern const struct embedded_file
    embedded_files[]; // sorted by name (strcmp); at least one element, which is empty where the count is 0
extern const int embedded_file_count;

#endif
