// tune_vm: estimates candidates without a GPU: runs their attention kernel at a small shape on the PTX virtual machine,
// which counts instructions, and lets the cost model scale the counts. What no count of PTX shows is left out: latency
// that is not hidden, what ptxas makes of the text, memory traffic. So these are no measurements, and say so.
// SPDX-License-Identifier: Apache-2.0
#include "tune_device.h"

#include "tune_cost.h"
#include "vm_counts.h"
#include "vm_driver.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_GHZ 1.7

// What a multiprocessor does in a clock. Source: CUDA C++ Programming Guide, "Arithmetic Instructions"; the MMA rates
// are those of NVIDIA's data sheets, of 8-bit m16n8k32 and 16-bit m16n8k16 products alike, for the GPU that is meant.
static const struct rate {
    int sm, multiprocessors;
    double mma_clocks; /* of a product */
} rates[] = {{80, 108, 2}, {86, 84, 4}, {89, 128, 4}, {90, 132, 1}, {120, 170, 4}};
enum { ISSUE_PER_CLOCK = 4 /* warp instructions */, SPECIAL_PER_CLOCK = 16 /* lanes */, LANES = 32 };

struct vm {
    struct tune_device base; /* first */
    unsigned findings;
    char finding[TUNE_WHY_BYTES];
    double *clocks; /* of a score, by set; 0: not counted yet */
};

static const struct rate *rate_of(int sm) {
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (rates[i].sm == sm) return &rates[i];
    return &rates[0];
}

int tune_vm_multiprocessors(int sm) {
    return rate_of(sm)->multiprocessors;
}

/* -- Opening ---- */

static void on_finding(void *user, const struct vm_finding *found) {
    struct vm *m = user;
    if (m->findings++ == 0) snprintf(m->finding, sizeof m->finding, "%s", found->text);
}

static void vm_close(void *state) {
    struct vm *m = state;
    tune_device_close(&m->base);
    free(m->clocks);
    free(m);
}

static bool vm_open(const struct tune_bench *bench, void **state, char *why, size_t n) {
    struct vm *m = *state = xcalloc(1, sizeof *m);
    const struct vm_driver_options options = {
        .sm = bench->sm, .seed = 1, .checks = PTXVM_CHECK_ALL, .counts = true, .finding = on_finding, .user = m};
    m->clocks = xcalloc((size_t)bench->work->sets + 1, sizeof *m->clocks);
    vm_driver_configure(&options);
    return tune_device_open(&m->base, bench, vm_driver_entry, BUILD_PTX, why, n);
}

/* -- Estimates ---- */

// The busiest of a multiprocessor's pipes.
static double clocks_of(const struct vm_kernel_counts *k, const struct rate *rate, double products) {
    double issued = 0;
    for (int i = 0; i < PTXVM_CLASS_COUNT; i++) issued += (double)k->warps[i];
    const double special = (double)k->warps[PTXVM_CLASS_SPECIAL] * LANES / SPECIAL_PER_CLOCK;
    return fmax(fmax(issued / ISSUE_PER_CLOCK, special), fmax((double)k->wavefronts, products * rate->mma_clocks));
}

static void count(struct vm *m, int set, const struct tune_loaded *loaded) {
    const struct plan *p = &loaded->kernels.unit.plan;
    const sage_attention_shape shape = tune_proof_shape();
    const double scores = tune_cost_scores(p, &shape);
    const double products = scores / ((double)p->tile_q * p->tile_k) * (p->cost_qk_mma + p->cost_pv_mma);
    const struct vm_kernel_counts counts = vm_counts_kernel(p->entry);
    m->clocks[set] = clocks_of(&counts, rate_of(m->base.bench->sm), products) / scores;
}

static enum tune_answer vm_check(void *state, const struct tune_task *t, int candidate, int reference,
                                 struct tune_proof *out, char *why, size_t n) {
    struct vm *m = state;
    const int set = t->candidate[candidate].set;
    struct tune_loaded *loaded;
    (void)reference;
    m->findings = 0;
    const enum tune_answer answer = tune_device_prove(&m->base, set, &loaded, why, n);
    if (answer != TUNE_OK) return answer;
    if (m->findings) {
        snprintf(why, n, "%u findings of the machine: %.*s", m->findings, (int)strcspn(m->finding, "\n"), m->finding);
        return TUNE_FAILED;
    }
    if (!(m->clocks[set] > 0)) count(m, set, loaded);
    *out = loaded->proof;
    return TUNE_OK;
}

static enum tune_answer vm_time(void *state, const struct tune_task *t, int candidate, double *ms, char *why,
                                size_t n) {
    struct vm *m = state;
    const int set = t->candidate[candidate].set;
    const sage_attention_shape shape = tune_shape(t);
    struct tune_proof proof;
    const enum tune_answer answer =
        m->clocks[set] > 0 ? TUNE_OK : vm_check(state, t, candidate, -1, &proof, why, n); // of a run before this one
    if (answer != TUNE_OK) return answer;
    const double scores = tune_cost_longest(&m->base.loaded[set].kernels.unit.plan, arch_of(t->target), &shape,
                                            tune_vm_multiprocessors(m->base.bench->sm));
    *ms = m->clocks[set] * scores / (CLOCK_GHZ * 1e6);
    return TUNE_OK;
}

const struct tune_meter tune_meter_vm = {
    .name = "vm", .open = vm_open, .check = vm_check, .time = vm_time, .close = vm_close};
