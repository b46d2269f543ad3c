// run_device: see run_device.h. SPDX-License-Identifier: Apache-2.0
#include "run_device.h"

#include "generator.h"
#include "spec_provider.h"
#include "vm_target.h"
#include <stdio.h>

static void print_finding(void *user, const struct vm_finding *finding) {
    (void)user;
    fprintf(stderr, "%s\n", finding->text);
}

static int machine_sm(const struct run_device_choice *c) {
    if (c->target >= 0) return arch_of((enum spec_target)c->target)->sm;
    return c->spec ? arch_of(vm_default_target(&c->spec->spec))->sm : vm_default_sm(c->precision);
}

static bool open_vm(const struct run_device_choice *c, struct run_device *d, char *why, size_t why_bytes) {
    const struct vm_driver_options options = {
        .sm = machine_sm(c), .seed = c->seed, .checks = PTXVM_CHECK_ALL, .counts = c->counts, .finding = print_finding};
    d->vm = true;
    return vm_driver_configure(&options) && device_open(0, vm_driver_entry, &d->device, why, why_bytes);
}

// Which device it is, is said on stderr where the user did not choose.
static bool open_device(const struct run_device_choice *c, struct run_device *d, char *why, size_t why_bytes) {
    const enum cmd_device_kind kind = c->device.kind;
    if (kind == CMD_DEVICE_VM || (kind == CMD_DEVICE_AUTO && c->target >= 0)) return open_vm(c, d, why, why_bytes);
    if (device_open(c->device.ordinal, NULL, &d->device, why, why_bytes)) return true;
    if (kind == CMD_DEVICE_CUDA) return false;
    fprintf(stderr, "sagegen: note: no usable GPU (%s); runs on the PTX virtual machine\n", why);
    return open_vm(c, d, why, why_bytes);
}

bool run_device_open(const struct run_device_choice *c, struct run_device *d, char *why, size_t why_bytes) {
    *d = (struct run_device){.vm = false};
    if (!open_device(c, d, why, why_bytes)) return false;
    d->context = d->vm ? cmd_vm_context(true) : cmd_context(c->device.ordinal);
    why[0] = '\0';
    if (!d->context) return false;
    const enum build_form form = d->vm ? BUILD_PTX : BUILD_CUBIN;
    sage_status status = c->spec
                             ? spec_provider_add(d->context, &c->spec->spec, c->spec->text, cmd_template_dir(), form)
                             : generator_add(d->context, form);
    if (status != SAGE_OK) snprintf(why, why_bytes, "%s", sage_last_error(d->context));
    return status == SAGE_OK;
}

void run_device_close(struct run_device *d) {
    sage_context_destroy(d->context);
    device_close(&d->device);
}
