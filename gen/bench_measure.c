// bench_measure: see bench_measure.h. SPDX-License-Identifier: Apache-2.0
#include "bench_measure.h"

#include "version.h"
#include <stdint.h>

void bench_add(const struct bench_job *job, struct bench_records *records, const struct bench_record *measured) {
    struct bench_record record = *measured;
    const struct bench_record *stamp = &job->stamp;
    record.gpu = stamp->gpu, record.driver = stamp->driver, record.nvrtc = stamp->nvrtc;
    record.commit = stamp->commit, record.date = stamp->date;
    if (record.contender == BENCH_SAGEGEN) record.version = (char *)(uintptr_t) "sagegen " SAGEGEN_VERSION;
    if (record.ms > 0) record.tops = bench_problem_work(&record.problem) / record.ms / 1e9;
#define OWN_TEXT(member) record.member = xstrdup(record.member ? record.member : "");
    BENCH_RECORD_TEXTS(OWN_TEXT)
#undef OWN_TEXT
    bench_records_put(records, &record);
}
