// pack_provider: kernels from packs: their cubins, and for GPUs that no cubin is for, their sources, compiled and
// cached. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PACK_PROVIDER_H
#define SAGE_PACK_PROVIDER_H

#include "pack.h"
#include "provider.h"

// Opens the packs, in order, into context->packs, and adds a provider of cubins for each. paths ends with NULL. Errors:
// those of pack_open, UNSUPPORTED (too many).
sage_status packs_add(sage_context *context, const char *const *paths);
// Adds a provider for each of context->packs that has sources; after whatever has cubins.
sage_status packs_add_sources(sage_context *context);
void packs_close(sage_context *context);

#endif
