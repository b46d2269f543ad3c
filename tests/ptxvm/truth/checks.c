// checks: what some programs must compute, done again on the CPU. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <stdlib.h>
#include <string.h>
const char *truth_check_find(const char *name, const char *(**check)(const struct truth_case *, const uint8_t *)) {
    (void)name; *check = NULL; return NULL;
}
