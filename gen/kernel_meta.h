// kernel_meta: what a kernel's metadata says, from its plan and the compiler's counts. The text itself is written by
// runtime/meta_write.c.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_KERNEL_META_H
#define SAGE_GEN_KERNEL_META_H

#include "compile.h"
#include "meta.h"
#include "plan.h"

// Fills every field; sizes and hashes are those of source and of the result's PTX and cubin.
void kernel_meta_fill(struct meta *out, const struct plan *plan, const char *source, size_t source_bytes,
                      const struct compile_result *result);
// Whether the metadata describe the kernel that the plan is for, so that an index that points elsewhere is found out.
bool kernel_meta_matches(const struct meta *meta, const struct plan *plan);
// A spec's name up to its head dim: "int8_fp8" of "int8_fp8_d128_mine"; `out` has SPEC_NAME_MAX + 1 bytes.
void kernel_meta_family(const char *spec_name, char *out);

#endif
