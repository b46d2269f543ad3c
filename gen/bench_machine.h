// bench_machine: the provenance of a measurement: GPU, driver, NVRTC, commit of this program, date; and where libsage
// is. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_MACHINE_H
#define SAGE_GEN_BENCH_MACHINE_H

#include "bench_record.h"

enum { BENCH_DRIVER_BYTES = 64 };

// The driver's version: "580.159.04"; "" where it cannot be found.
void bench_machine_driver(char version[BENCH_DRIVER_BYTES]);
// GPU 0, its driver and NVRTC, which stays "" where it is not found; sm: the compute capability times ten. Never calls
// the driver in this process. False: why says what is missing.
bool bench_machine_probe(struct bench_record *stamp, int *sm, char *why, size_t why_bytes);
// The rest. commit NULL: the one this program was built from.
void bench_machine_stamp(struct bench_record *stamp, const char *commit);
// libsage.so beside this program, where `make install` and the build put it, else "libsage.so.0" for the loader.
void bench_machine_library(struct buf *out);

#endif
