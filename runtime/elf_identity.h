// elf_identity: what tells one build of a shared library from another, read from the file without loading it.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_ELF_IDENTITY_H
#define SAGE_ELF_IDENTITY_H

#include <stddef.h>

// Writes the GNU build id in hex, or "xxh" + XXH3-128 of the file's size and its first and last 64 KiB. Returns NULL,
// or why the file is no library for this machine (a constant text).
const char *elf_identity(const char *path, char *out, size_t out_bytes);

#endif
