// shipped: the kernel specs built into the program, by name.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SHIPPED_H
#define SAGE_GEN_SHIPPED_H

#include "embedded.h"
#include "spec.h"

int shipped_count(void);
// The index-th shipped spec, sorted by name. Its embedded name is also the `file` of messages: "specs/fp4_d128.yaml".
const struct embedded_file *shipped_get(int index);
// "fp4_d128" of "specs/fp4_d128.yaml"; returns its length within file->name, and where it starts.
size_t shipped_name(const struct embedded_file *file, const char **name);
// NULL: no spec of that name is shipped.
const struct embedded_file *shipped_find(const char *name);

#endif
