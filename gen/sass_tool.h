// sass_tool: finds NVIDIA's disassembler, nvdisasm, and runs it on a cubin. Nothing else runs other programs.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SASS_TOOL_H
#define SAGE_GEN_SASS_TOOL_H

#include "buf.h"
#include <limits.h>
#include <stdbool.h>

#define SASS_TOOL_WHY_BYTES 1024

// Finds nvdisasm: `wanted` (NULL: the environment's SAGE_NVDISASM), or else in PATH, CUDA toolkits, the folders of
// Python wheels (`nvidia-cuda-nvdisasm`), and $XDG_DATA_HOME/sagegen/nvdisasm, where `make` puts it. false: why says
// where it was sought and how to install it.
bool sass_tool_find(const char *wanted, char out[PATH_MAX], char why[SASS_TOOL_WHY_BYTES]);
// Appends the listing of a cubin in memory. false: why has what nvdisasm said.
bool sass_tool_run(const char *tool, const void *cubin, size_t bytes, struct buf *listing,
                   char why[SASS_TOOL_WHY_BYTES]);

#endif
