// cmd_run: sagegen run and verify. Stub.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

int cmd_run(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return cmd_failed("run is not in this build");
}

int cmd_verify(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return cmd_failed("verify is not in this build");
}
