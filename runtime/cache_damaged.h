// cache_damaged: <dir>/damaged of a cache, where entries that failed their checks are kept for a look at what became of
// them. Bounded: the newest CACHE_DAMAGED_MAX stay. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_CACHE_DAMAGED_H
#define SAGE_CACHE_DAMAGED_H

#include "safe_dir.h"
#include <sys/stat.h>

#define CACHE_DAMAGED_MAX 16

// Moves <shard>/<key>, if it still is what *read says, to <root>/damaged/<key>-<unique> (16 hex digits that nobody else
// uses), and removes the oldest of what was moved there so, never anything else. false: it could not be moved, or it is
// another one.
bool cache_damaged_take(int root, struct safe_policy policy, int shard, const char *key, const struct stat *read,
                        const char *unique);
// Removes all that was moved there. Returns how many.
int cache_damaged_clear(int root);

#endif
