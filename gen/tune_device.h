// tune_device: what the two meters share, in the measuring child: device, context, the plans of kernel sets, and the
// proof that a set's numbers are right: every row of a small ragged problem against float64. SPDX-License-Identifier:
// Apache-2.0
#ifndef SAGE_GEN_TUNE_DEVICE_H
#define SAGE_GEN_TUNE_DEVICE_H

#include "device.h"
#include "run_input.h"
#include "tune_kernels.h"
#include "verify_compare.h"

// Q, K, V, exact O and how far the published algorithm is from it, of one spec's io and mask.
struct tune_standard {
    const struct cmd_spec *spec; /* NULL: none yet */
    enum spec_io io;
    enum spec_mask mask;
    struct run_shape shape;
    struct tensor input[RUN_INPUTS];
    struct attention_sample *sample;
    struct verify_rows exact;
    double bound;
};

struct tune_loaded {
    struct tune_kernels kernels;
    sage_attention_plan *plan;
    bool proved;
    struct tune_proof proof;
};

struct tune_device {
    const struct tune_bench *bench;
    struct device device;
    sage_context *context;
    sage_stream stream;
    struct build_setup setup;
    const struct verify_unit *unit; /* whose kernels the provider hands out */
    struct tune_loaded *loaded;     /* by set */
    struct tune_standard standard;
};

// entry: the driver's entry points; NULL: the library's. false: why says; close it in any case.
bool tune_device_open(struct tune_device *d, const struct tune_bench *bench, void *(*entry)(const char *symbol),
                      enum build_form form, char *why, size_t why_bytes);
void tune_device_close(struct tune_device *d);
// FAILED where the device still works, else LOST.
enum tune_answer tune_device_failed(struct tune_device *d, char *why, size_t why_bytes, const char *text);
enum tune_answer tune_device_plan(struct tune_device *d, int set, struct tune_loaded **out, char *why,
                                  size_t why_bytes);
// Runs the set once at the small problem.
enum tune_answer tune_device_prove(struct tune_device *d, int set, struct tune_loaded **out, char *why,
                                   size_t why_bytes);
enum number_format tune_io_format(enum spec_io io);
// The small problem.
sage_attention_shape tune_proof_shape(void);

#endif
