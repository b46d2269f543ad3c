// build_messages: a compiler log -> messages that point at template lines.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BUILD_MESSAGES_H
#define SAGE_GEN_BUILD_MESSAGES_H

#include "diag.h"
#include "expand.h"

// What was compiled. All borrowed.
struct build_subject {
    const char *entry; /* of the kernel */
    const char *name;  /* what the log calls the emitted text */
    const struct expansion *emitted;
    const char *template_dir; /* NULL: the embedded templates */
};

// Reports each error of the log, at the template line that emitted it, with the emitted line as a note; errors of ptxas
// too where ptx is not NULL: the PTX that the log speaks of, made with -lineinfo. Without any such error the log is
// reported as it is.
void build_report_log(struct diag *d, const struct build_subject *subject, const char *log, const char *ptx);

#endif
