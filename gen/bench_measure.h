// bench_measure: what `sagegen bench` shall measure, and the two processes that do it: Python, which has the other
// contenders (bench_python.c), or this program, which has sagegen's kernels alone (bench_alone.c). What they answer is
// added to a list of records as it comes, so that what was measured before an interrupt is there.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_MEASURE_H
#define SAGE_GEN_BENCH_MEASURE_H

#include "bench_progress.h"
#include "bench_record.h"

// A kernel set in kernel_dir.
struct bench_spec {
    const char *name;
    int d;
};

struct bench_job {
    const struct bench_problems *problems;
    const struct bench_spec *spec;
    int specs;
    bool contender[BENCH_CONTENDERS], mode[BENCH_MODES];
    const char *scratch;       /* a folder of this run's own */
    const char *kernel_dir;    /* files as `sagegen --out` writes them */
    int timeout_s;             /* without an answer: what is measured hangs */
    struct bench_record stamp; /* gpu, driver, nvrtc, commit, date of every record */
    struct bench_progress *progress;
};

enum bench_end {
    BENCH_ENDED,
    BENCH_STOPPED, /* the user interrupted */
    BENCH_NO_PEER, /* Python cannot measure here, for the reason given; nothing was measured */
    BENCH_FAILED   /* the reason is given; some may have been measured */
};

struct bench_python {
    const char *program; /* by path, or looked up in PATH */
    const char *library; /* libsage.so, for that process */
};

// A contender that ends or hangs the process gets a record with the reason, and the others go on in a new process.
enum bench_end bench_python_run(const struct bench_job *job, const struct bench_python *python,
                                struct bench_records *records, struct buf *why);
enum bench_end bench_alone_run(const struct bench_job *job, struct bench_records *records, struct buf *why);

// A record of one measurement: stamped, its TOPS computed. ms 0: not measured, for the reason.
void bench_add(const struct bench_job *job, struct bench_records *records, const struct bench_record *measured);

#endif
