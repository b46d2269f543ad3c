// cache_internal: what the files of the cache share: the opened directory, and where things lie in it.
//   <root>/<2>/<key>/      entries          <root>/index/<2>/<request>   lines of the request index
//   <root>/tmp/t<unique>   being written    <root>/tmp/x<unique>         being removed    <root>/damaged/   see
//   cache_damaged.h
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_CACHE_INTERNAL_H
#define SAGE_CACHE_INTERNAL_H

#include "cache_memory.h"
#include "safe_dir.h"
#include <sys/stat.h>

#define CACHE_TEMPORARY_BYTES 24
#define CACHE_UNIQUE_AT       1 /* where a temporary name's 16 hex digits begin */

struct cache {
    char *path;
    char *reason;
    int root; /* descriptor; -1: memory only */
    bool writable;
    struct safe_policy policy;
    struct cache_memory memory;
};

void cache_close_dir(int dir); // -1 is allowed
// Opens <root>/<name>/<first two of key>, made if `make`; name NULL: <root>/<first two of key>. -1 with *why set.
int cache_shard_open(const struct cache *cache, const char *name, const char *key, bool make, struct safe_why *why);
// "t" and 16 hex digits that no other process or thread uses.
void cache_temporary_name(char out[CACHE_TEMPORARY_BYTES]);
// Removes what killed processes left in tmp/ a day ago and longer.
void cache_sweep(int temporary);
// Removes an entry at once for everybody who looks, then its files. false: it is still there.
bool cache_discard(const struct cache *cache, int shard, const char *key);
// Seconds since it was made or used last; 0 where that lies in the future, because a clock was set back.
long long cache_idle_seconds(const struct stat *info);

#endif
