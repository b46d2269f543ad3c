// parallel: the same work for many indices, on the CPUs that there are. Threads live for one call alone.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PARALLEL_H
#define SAGE_PARALLEL_H

// Calls work(user, i) once for each i of 0...count - 1, in any order, from the calling thread and up to `threads` - 1
// others (threads <= 0: one per CPU), and returns when all are done. A thread that cannot be had is no error. The
// others take no signals.
void parallel_each(int count, int threads, void (*work)(void *user, int index), void *user);

#endif
