// run_report: what `sagegen run` prints: lines for people, or one JSON object. In: everything that is known about a
// finished call. Out: text. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_RUN_REPORT_H
#define SAGE_GEN_RUN_REPORT_H

#include "buf.h"
#include "device.h"
#include "run_check.h"
#include "run_launch.h"
#include "vm_driver.h"

struct run_report {
    const char *kernel; /* spec, variant, target */
    const struct device *device;
    const struct run_shape *shape;
    enum number_format io;
    bool causal, safe;
    float sm_scale;        /* 0: 1 / sqrt(head dim) */
    const char *out, *lse; /* paths; lse NULL: not written */
    const struct tensor *o;
    const struct run_times *times;
    const struct vm_driver_totals *machine; /* NULL: a GPU */
    uint64_t seed;                          /* of the machine */
    int repeat;                             /* 0: no times */
    const struct run_check *check;          /* NULL: not checked */
};

void run_report_text(const struct run_report *report, struct buf *out);
void run_report_json(const struct run_report *report, struct buf *out);

#endif
