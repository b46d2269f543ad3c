// cmd_verify: sagegen verify. Stub.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

int cmd_verify(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return cmd_failed("verify is not in this build");
}
