// fault_layer: system calls of libsage that fail on demand. CMake links the test with --wrap for each of FAULT_CALLS,
// so that libsage's own calls, not libc's, come through fault_layer.c. SPDX-License-Identifier: Apache-2.0
#ifndef FAULT_LAYER_H
#define FAULT_LAYER_H

#include <stdbool.h>

#define FAULT_SHORT (-1) /* instead of an errno: read, pread and write do half of it, at least one byte */

// Names of the calls that can fail, in a fixed order; NULL after the last.
extern const char *const fault_names[];

// From now on the n-th call of that name (1: the next) fails with error, and, where `lasting`, all after it.
void fault_arm(const char *name, int error, int n, bool lasting);
// No more faults. Returns whether there was one.
bool fault_disarm(void);

#endif
