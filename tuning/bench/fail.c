// fail: see fail.h. SPDX-License-Identifier: Apache-2.0
#include "fail.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

bool fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return false;
}

bool device_ok(const struct device *device, bool ok) {
    return ok || fail("%s", device_error(device));
}

bool sage_ok(const sage_context *context, bool ok) {
    return ok || fail("%s", sage_last_error(context));
}
