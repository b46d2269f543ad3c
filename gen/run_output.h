// run_output: where `sagegen run` writes. In: paths and tensors. Out: .npy files, each whole or not at all, and none of
// them where one cannot be written. Never overwrites an input. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_RUN_OUTPUT_H
#define SAGE_GEN_RUN_OUTPUT_H

#include "reference/tensor.h"

// Looks whether the path can be written, without touching it. inputs: count paths that it must not be.
bool run_output_check(const char *option, const char *path, const char *const *inputs, int count, char *why,
                      size_t why_bytes);

struct run_file {
    const char *path;
    const struct tensor *tensor; /* F16 is written as it is, everything else as f32 */
};

bool run_output_write(const struct run_file *files, int count, char *why, size_t why_bytes);

#endif
