// tune_probe: asks a child process what this one must not: the driver for its GPU, and NVRTC's search, which calls the
// driver too. SPDX-License-Identifier: Apache-2.0
#include "tune_command.h"

#include "bench_machine.h"
#include "device.h"
#include <stdio.h>
#include <string.h>

enum { PROBE_TIMEOUT_S = 60, VM_SM = 90 };

static void replace_blanks(char *text) {
    for (; *text; text++)
        if (*text <= ' ' || *text > '~') *text = '_';
}

static bool find_gpu(const struct tune_command *c, struct tune_probe *out) {
    struct wisdom_machine *m = &out->machine;
    struct device device;
    if (!device_open(c->device.ordinal, NULL, &device, out->why, sizeof out->why)) return false;
    m->sm = device.driver.sm;
    m->multiprocessors = device.driver.multiprocessors;
    snprintf(m->gpu, sizeof m->gpu, "%s", device.driver.device_name);
    bench_machine_driver(m->driver);
    const int version = device.driver.cuda_version;
    if (!m->driver[0]) snprintf(m->driver, sizeof m->driver, "CUDA_%d.%d", version / 1000, version % 1000 / 10);
    replace_blanks(m->driver);
    device_close(&device);
    return true;
}

// What the machine's estimates are signed with: no GPU has this name.
static bool find_vm(const struct tune_command *c, struct tune_probe *out) {
    struct wisdom_machine *m = &out->machine;
    m->sm = c->select.target.count ? arch_of((enum spec_target)c->select.target.item[0])->sm : VM_SM;
    m->multiprocessors = tune_vm_multiprocessors(m->sm);
    snprintf(m->driver, sizeof m->driver, "estimate");
    snprintf(m->gpu, sizeof m->gpu, "PTX virtual machine");
    return true;
}

static bool find_nvrtc(struct tune_probe *out) {
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1, .wisdom = "none"};
    sage_context *context = NULL;
    struct nvrtc_info info;
    const bool ok = sage_context_create(&options, &context) == SAGE_OK && nvrtc_find(context, &info) == SAGE_OK;
    if (ok) memcpy(out->nvrtc_identity, info.identity, sizeof out->nvrtc_identity);
    if (!ok) snprintf(out->why, sizeof out->why, "%s", sage_last_error(context));
    sage_context_destroy(context);
    return ok;
}

static int probe_in_child(void *user, int fd) {
    const struct tune_command *c = user;
    struct tune_probe probe = {.ok = false};
    probe.ok = (tune_is_estimate(c) ? find_vm(c, &probe) : find_gpu(c, &probe)) && find_nvrtc(&probe);
    return process_write(fd, &probe, sizeof probe) ? 0 : 1;
}

bool tune_probe_run(struct tune_command *c) {
    struct process child;
    struct tune_probe *probe = &c->probe;
    c->status = CMD_FAILED;
    if (!process_start(&child, probe_in_child, c, probe->why, sizeof probe->why)) {
        cmd_failed("%s", probe->why);
        return false;
    }
    if (process_read(&child, probe, sizeof *probe, PROBE_TIMEOUT_S) != PROCESS_ANSWER)
        *probe = (struct tune_probe){.why = "asking the driver for its GPUs failed, or took over a minute"};
    process_end(&child, true);
    if (probe->ok) return true;
    cmd_failed("nothing can be tuned: %s", probe->why);
    if (!tune_is_estimate(c))
        fputs("sagegen: note: estimates need no GPU: sagegen tune --device vm --spec NAME\n", stderr);
    return false;
}
