// consumer: the least that an application does with libsage on a machine that may have neither GPU nor NVRTC.
// SPDX-License-Identifier: Apache-2.0
#include <sage.h>
#include <stdio.h>

int main(void) {
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    sage_context *context = NULL;
    sage_status status = sage_context_create(&options, &context);
#ifdef WITH_GENERATOR
    if (status == SAGE_OK) status = sage_use_generator(context);
#endif
    printf("libsage %d: %s%s\n", sage_version(), sage_status_text(status), sage_last_error(context));
    sage_context_destroy(context);
    return status == SAGE_OK && sage_version() == SAGE_VERSION_MAJOR * 10000 + SAGE_VERSION_MINOR * 100 + SAGE_VERSION_PATCH ? 0 : 1;
}
