// run_device: where `sagegen run` runs: a GPU, or the PTX virtual machine; its context and its kernels' provider. In:
// what the user asked for. Out: an open device; the machine's findings on stderr as they come. SPDX-License-Identifier:
// Apache-2.0
#ifndef SAGE_GEN_RUN_DEVICE_H
#define SAGE_GEN_RUN_DEVICE_H

#include "cmd.h"
#include "device.h"
#include "vm_driver.h"

struct run_device_choice {
    struct cmd_device device;    /* AUTO: GPU 0, or the machine where there is none */
    const struct cmd_spec *spec; /* NULL: a shipped one, by precision */
    sage_precision precision;
    int target;    /* enum spec_target that the machine shall be; -1: the spec's, see vm_target.h */
    uint64_t seed; /* of the machine's order of warps */
    bool counts;   /* of the machine */
};

struct run_device {
    bool vm;
    struct device device;
    sage_context *context;
};

// false: the error was printed, or is in why.
bool run_device_open(const struct run_device_choice *choice, struct run_device *out, char *why, size_t why_bytes);
void run_device_close(struct run_device *d); // one that was not opened is allowed

#endif
