// bench_table: records as tables: TOPS by length, one table a head dim and mask, with ratios to the fastest bf16 and
// 8-bit contenders, the machine they come from, and why what is missing is missing. Text for people or Markdown.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_TABLE_H
#define SAGE_GEN_BENCH_TABLE_H

#include "bench_view.h"

struct bench_table_options {
    bool markdown;
    const struct bench_records *old; /* also print the change since these; NULL: none */
};

void bench_table_print(const struct bench_records *records, const struct bench_table_options *options, struct buf *out);
// One line: GPU, driver, NVRTC, commit and date, where they are the same in all records; else "several".
void bench_table_machine(const struct bench_records *records, struct buf *out);

#endif
