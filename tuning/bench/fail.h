// fail: how the programs beside it say on standard error what went wrong: each false, so that it can be returned.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_BENCH_FAIL_H
#define SAGE_BENCH_FAIL_H

#include "device.h"
#include "sage.h"

// A line that begins with the program's name.
__attribute__((format(printf, 1, 2))) bool fail(const char *format, ...);
// ok, or the sentence of the last call that failed.
bool device_ok(const struct device *device, bool ok);
bool sage_ok(const sage_context *context /* NULL: none yet */, bool ok);

#endif
