// parallel: a loop over independent work items on a few threads. In: a count and a function. Items run in any order,
// each once. Where a thread cannot be started its share is done by the others, so it never fails. No state outlives a
// call. The threads take no signals.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PARALLEL_H
#define SAGE_PARALLEL_H

#include <stddef.h>

// Calls work(user, i) for i in [0, count). threads <= 0: one per online CPU.
void parallel_for(size_t count, int threads, void (*work)(void *user, size_t i), void *user);

#endif
