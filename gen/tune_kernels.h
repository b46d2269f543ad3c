// tune_kernels: the kernels of one set, built through the cache: in a compiling child for the first time, in the
// measuring child out of the cache. In: a set. Out: what a context's provider hands out. SPDX-License-Identifier:
// Apache-2.0
#ifndef SAGE_GEN_TUNE_KERNELS_H
#define SAGE_GEN_TUNE_KERNELS_H

#include "tune.h"
#include "verify.h"

struct tune_kernels {
    struct verify_unit unit;
    struct build_job job[SAGE_ROLE_COUNT];
};

// false: why has the first line of the messages. Free it in any case.
bool tune_kernels_make(const struct build_setup *setup, const struct tune_set *set, struct tune_kernels *out, char *why,
                       size_t why_bytes);
void tune_kernels_free(const struct build_setup *setup, struct tune_kernels *kernels);

/* -- The compiling child ---- */

struct tune_builder {
    const struct tune_bench *bench;
    enum build_form form;
    int set[2], count; /* those of both masks, which share their quantisers */
};

// A process_work (user: struct tune_builder): a line for each set as soon as it is there,
//   built <set> <registers> <spill bytes> <threads>  |  failed <set> <why>  |  no <why>: nothing can be compiled at all
int tune_build_in_child(void *user, int fd);

#endif
