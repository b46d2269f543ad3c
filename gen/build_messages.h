// build_messages: a compiler log -> messages that point at template lines.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BUILD_MESSAGES_H
#define SAGE_GEN_BUILD_MESSAGES_H

#include "diag.h"
#include "linemap.h"

// Reports each error of the log, at the template line that emitted it, with the emitted line as a note. A log without
// a front-end error (one of ptxas) is reported as it is. entry: the kernel, name: what the log calls the emitted text.
void build_report_log(struct diag *d, const struct linemap *map, const char *template_dir, const char *name,
                      const char *entry, const char *log);

#endif
