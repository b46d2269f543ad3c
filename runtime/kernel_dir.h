// kernel_dir: the provider over a directory of files that `sagegen --out` wrote: *.meta with the *.cubin beside each.
// Matches by metadata, not by name; looks at the directory anew for every request; writes nothing.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_KERNEL_DIR_H
#define SAGE_KERNEL_DIR_H

#include "provider.h"

// Adds the provider. Errors: IO (no such directory), UNSUPPORTED (others may write it, without trust_shared_cache),
// OUT_OF_MEMORY.
sage_status kernel_dir_add(sage_context *context, const char *path);

#endif
