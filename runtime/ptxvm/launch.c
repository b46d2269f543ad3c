// launch: ptxvm_run: checks a launch, sets up a cluster's warps, register files and shared memory, and runs the
// clusters of the grid one after another in an order given by the seed. SPDX-License-Identifier: Apache-2.0
#include "run.h"
#include "wgmma.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* -- Is the launch possible? --------------------------------------------------------------------------------------- */

enum { THREADS_MAX = 1024, SHARED_BYTES_MAX = 256 << 10, GRID_YZ_MAX = 65535 };

static ptxvm_status refuse(ptxvm *vm, const char *text) {
    return vm_fail(vm, PTXVM_ERROR_ARGUMENT, "%s", text);
}

static void cluster_of(const struct ptxvm_kernel *kernel, const struct ptxvm_launch *launch, unsigned out[3]) {
    const unsigned *own = kernel->function->reqnctapercluster;
    for (int d = 0; d < 3; d++) {
        out[d] = launch->cluster[d] ? launch->cluster[d] : own[d];
        if (!out[d]) out[d] = 1;
    }
}

static ptxvm_status check_block(ptxvm *vm, const struct ptx_function *f, const struct ptxvm_launch *launch) {
    uint64_t threads = 1;
    for (int d = 0; d < 3; d++) {
        if (!launch->block[d] || launch->block[d] > THREADS_MAX) return refuse(vm, "block: 1 to 1024 threads");
        threads *= launch->block[d];
    }
    if (threads > THREADS_MAX) return refuse(vm, "block: more than 1024 threads");
    if (f->maxntid && threads > f->maxntid)
        return vm_fail(vm, PTXVM_ERROR_ARGUMENT, "block: %llu threads, the kernel allows %u",
                       (unsigned long long)threads, f->maxntid);
    for (int d = 0; d < 3; d++)
        if (f->reqntid[0] && launch->block[d] != f->reqntid[d]) return refuse(vm, "block: not the kernel's .reqntid");
    return PTXVM_OK;
}

static ptxvm_status check_grid(ptxvm *vm, const struct ptx_function *f, const struct ptxvm_launch *launch,
                               const unsigned cluster[3]) {
    uint64_t blocks = 1;
    for (int d = 0; d < 3; d++) {
        if (!launch->grid[d] || launch->grid[d] > (d ? GRID_YZ_MAX : INT32_MAX))
            return refuse(vm, "grid: out of range");
        if (cluster[d] > CLUSTER_MAX || launch->grid[d] % cluster[d])
            return refuse(vm, "grid: no multiple of the cluster");
        if (f->reqnctapercluster[d] && cluster[d] != f->reqnctapercluster[d])
            return refuse(vm, "cluster: not the kernel's .reqnctapercluster");
        blocks *= cluster[d];
    }
    return blocks > CLUSTER_MAX ? refuse(vm, "cluster: more than 16 blocks") : PTXVM_OK;
}

static ptxvm_status check_launch(ptxvm *vm, const struct ptxvm_kernel *kernel, const struct ptxvm_launch *launch,
                                 const unsigned cluster[3]) {
    const struct ptx_function *f = kernel->function;
    ptxvm_status status = check_block(vm, f, launch);
    if (status == PTXVM_OK) status = check_grid(vm, f, launch, cluster);
    if (status != PTXVM_OK) return status;
    if (f->dynamic_shared + launch->smem_dynamic_bytes > SHARED_BYTES_MAX ||
        launch->smem_dynamic_bytes > SHARED_BYTES_MAX)
        return refuse(vm, "shared memory: more than 256 KiB");
    if (f->parameter_bytes && !launch->parameters) return refuse(vm, "parameters: NULL");
    return PTXVM_OK;
}

/* -- Memory of a launch -------------------------------------------------------------------------------------------- */

static ptxvm_status out_of_memory(ptxvm *vm) {
    return vm_fail(vm, PTXVM_ERROR_MEMORY, "no host memory for the launch");
}

static void run_destroy(struct run *r) {
    async_destroy(r);
    mbarriers_destroy(r);
    shadow_destroy(r);
    clocks_destroy(r);
    calls_destroy(r);
    for (unsigned k = 0; r->warp && k < r->warps; k++) wgmma_state_destroy(r->warp[k].wgmma);
    free(r->block);
    free(r->warp);
    free(r->files);
    free(r->locals);
    free(r->locals_written);
    free(r->shareds);
    free(r->parameters);
    free(r->ready);
    free(r->ready_place);
    free(r->seen);
}

static size_t round_up(uint64_t bytes, size_t multiple) {
    return (size_t)((bytes + multiple - 1) / multiple * multiple);
}

enum { SLACK = 64 /* bytes behind each area, so that wide copies of the host stay inside */ };

static size_t instructions_of(const ptxvm_module *module) {
    size_t count = 0;
    for (unsigned k = 0; k < module->functions; k++) count += module->kernel[k].count;
    return count;
}

static bool allocate_areas(struct run *r) {
    const struct ptx_function *f = r->kernel->function;
    size_t file = round_up(f->file_bytes, 64), warps = r->warps;
    r->files = aligned_alloc(64, file * warps + SLACK);
    r->shareds = aligned_alloc(1024, round_up(r->shared_bytes + SLACK, 1024) * r->blocks);
    r->parameters = calloc(1, f->parameter_bytes + SLACK);
    r->ready = calloc(warps, sizeof *r->ready);
    r->ready_place = calloc(warps, sizeof *r->ready_place);
    r->seen = calloc(instructions_of(r->kernel->module) + 1, sizeof *r->seen);
    r->locals = calloc(1, (size_t)r->local_bytes * LANES * warps + SLACK);
    if (r->checks_uninitialised) r->locals_written = calloc(1, (size_t)r->local_bytes / 8 * LANES * warps + SLACK);
    if (!r->files || !r->shareds || !r->parameters || !r->ready || !r->ready_place || !r->seen || !r->locals)
        return false;
    if (r->checks_uninitialised && !r->locals_written) return false;
    memset(r->files, 0, file * warps);
    if (f->parameter_bytes) memcpy(r->parameters, r->launch->parameters, f->parameter_bytes);
    return true;
}

static void wire_warp(struct run *r, struct block *b, unsigned k) {
    unsigned actor = b->rank * r->block_warps + k;
    struct warp *w = &r->warp[actor];
    unsigned threads = r->block_threads - k * LANES;
    w->id = k;
    w->actor = actor;
    w->block = b;
    w->lanes = threads >= LANES ? ALL_LANES : (UINT32_C(1) << threads) - 1;
    w->file = r->files + round_up(r->kernel->function->file_bytes, 64) * actor;
    w->local = r->locals + (size_t)r->local_bytes * LANES * actor;
    if (r->locals_written) w->local_written = r->locals_written + (size_t)r->local_bytes / 8 * LANES * actor;
}

static void wire(struct run *r) {
    for (unsigned k = 0; k < r->blocks; k++) {
        struct block *b = &r->block[k];
        b->vm = r->vm;
        b->rank = k;
        b->warp = r->warp + k * r->block_warps;
        b->warps = r->block_warps;
        b->shared_bytes = r->shared_bytes;
        b->shared = r->shareds + round_up(r->shared_bytes + SLACK, 1024) * k;
        for (unsigned w = 0; w < r->block_warps; w++) wire_warp(r, b, w);
    }
}

static ptxvm_status run_create(struct run *r) {
    r->block = calloc(r->blocks, sizeof *r->block);
    r->warp = calloc(r->warps, sizeof *r->warp);
    if (!r->block || !r->warp || !allocate_areas(r)) return out_of_memory(r->vm);
    wire(r);
    if (clocks_create(r) != PTXVM_OK || shadow_create(r) != PTXVM_OK) return out_of_memory(r->vm);
    return PTXVM_OK;
}

/* -- One cluster --------------------------------------------------------------------------------------------------- */

static void block_reset(struct run *r, struct block *b, const unsigned first[3]) {
    unsigned rest = b->rank;
    for (int d = 0; d < 3; d++) {
        b->index[d] = first[d] + rest % r->cluster[d];
        rest /= r->cluster[d];
    }
    for (unsigned k = 0; k < NAMED_BARRIERS; k++) {
        struct named_barrier *n = &b->barrier[k];
        *n = (struct named_barrier){
            .clock = n->clock, .async_clock = n->async_clock, .done_clock = n->done_clock, .done_async = n->done_async};
    }
    b->registers = 0;
    /* nobody may rely on what shared memory holds at the start */
    uint32_t word = run_random(r);
    for (uint32_t k = 0; k + 4 <= b->shared_bytes; k += 4) memcpy(b->shared + k, &word, 4);
}

static void cluster_reset(struct run *r, const unsigned first[3]) {
    r->live_warps = r->warps;
    r->ready_count = 0;
    r->cluster_barrier.arrived = 0;
    r->cluster_barrier.generation = 0;
    for (unsigned k = 0; k < r->blocks; k++) block_reset(r, &r->block[k], first);
    clocks_reset(r);
    shadow_reset(r);
    mbarriers_reset(r);
    async_reset(r);
    calls_reset(r);
    if (r->locals_written) memset(r->locals_written, 0, (size_t)r->local_bytes / 8 * LANES * r->warps);
    for (unsigned k = 0; k < r->warps; k++) {
        struct warp *w = &r->warp[k];
        wgmma_state_destroy(w->wgmma);
        w->wgmma = NULL;
        memset(w->committed, 0, sizeof w->committed);
        memset(w->open, 0, sizeof w->open);
        w->registers = 0;
        w->register_changes = 0;
        w->cluster_arrived = 0;
        warp_reset(w, 0);
        warp_fill_constants(r, w, r->kernel->function, w->file, 0, !w->filled);
        w->filled = true; /* nobody writes to immediates */
        r->ready_place[k] = UINT32_MAX;
        sched_ready(r, w);
    }
}

/* -- The grid ------------------------------------------------------------------------------------------------------ */

// A permutation of [0, count): k -> (start + k * step) mod count with step coprime to count.
static uint64_t coprime_step(uint64_t count, uint64_t random) {
    uint64_t step = 1 + random % count;
    for (;; step = step % count + 1) {
        uint64_t a = step, b = count;
        while (b) {
            uint64_t t = a % b;
            a = b;
            b = t;
        }
        if (a == 1) return step;
    }
}

static ptxvm_status run_grid(struct run *r) {
    unsigned clusters[3];
    uint64_t count = 1;
    for (int d = 0; d < 3; d++) count *= clusters[d] = r->grid[d] / r->cluster[d];
    uint64_t step = coprime_step(count, random_next(&r->random)), at = random_next(&r->random) % count;
    for (uint64_t k = 0; k < count && !r->stopped && r->status == PTXVM_OK; k++) {
        unsigned first[3];
        uint64_t rest = at;
        for (int d = 0; d < 3; d++) {
            first[d] = (unsigned)(rest % clusters[d]) * r->cluster[d];
            rest /= clusters[d];
        }
        cluster_reset(r, first);
        run_cluster(r);
        at = (uint64_t)(((unsigned __int128)at + step) % count);
    }
    if (r->status == PTXVM_ERROR_LIMIT) vm_fail(r->vm, r->status, "the instruction limit was reached");
    if (r->status == PTXVM_ERROR_MEMORY) out_of_memory(r->vm);
    return r->status;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void describe_run(struct run *r, ptxvm *vm, const struct ptxvm_kernel *kernel,
                         const struct ptxvm_launch *launch) {
    const struct ptx_function *f = kernel->function;
    unsigned checks = vm->options.checks;
    r->vm = vm;
    r->kernel = kernel;
    r->running = kernel;
    r->launch = launch;
    cluster_of(kernel, launch, r->cluster);
    memcpy(r->grid, launch->grid, sizeof r->grid);
    memcpy(r->threads, launch->block, sizeof r->threads);
    r->blocks = r->cluster[0] * r->cluster[1] * r->cluster[2];
    r->block_threads = launch->block[0] * launch->block[1] * launch->block[2];
    r->block_warps = (r->block_threads + LANES - 1) / LANES;
    r->warps = r->blocks * r->block_warps;
    r->shared_bytes =
        (uint32_t)(launch->smem_dynamic_bytes ? f->dynamic_shared + launch->smem_dynamic_bytes : f->shared_bytes);
    r->local_bytes = round_up(calls_local_bytes(kernel), 64);
    r->random = vm->options.seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    r->explicit_cluster = launch->cluster[0] || f->reqnctapercluster[0];
    r->checks_races = checks & PTXVM_CHECK_RACES;
    r->checks_uninitialised = checks & PTXVM_CHECK_UNINITIALISED;
    r->checks_in_flight = checks & PTXVM_CHECK_IN_FLIGHT;
    r->counts = vm->options.counts;
    r->instruction_limit = vm->options.instruction_limit;
}

ptxvm_status ptxvm_run(ptxvm *vm, const ptxvm_kernel *kernel, const struct ptxvm_launch *launch) {
    if (!vm) return PTXVM_ERROR_ARGUMENT;
    if (!kernel || !launch) return refuse(vm, "kernel and launch must be given");
    unsigned cluster[3];
    cluster_of(kernel, launch, cluster);
    vm->findings = 0;
    ptxvm_status status = check_launch(vm, kernel, launch, cluster);
    if (status != PTXVM_OK) return status;
    struct run r = {.status = PTXVM_OK};
    describe_run(&r, vm, kernel, launch);
    double start = seconds_now();
    vm->run = &r;
    status = run_create(&r);
    if (status == PTXVM_OK) status = run_grid(&r);
    vm->thread_instructions = r.thread_instructions;
    vm->seconds = seconds_now() - start;
    run_destroy(&r);
    vm->run = NULL;
    if (status == PTXVM_OK && vm->findings) return PTXVM_ERROR_FAULT;
    return status;
}
