// cmd_bench: `sagegen bench`: how fast the kernels are, beside what else this machine has. The line: words -> problems
// -> GPU -> kernels -> Python, or alone -> record -> plot -> table. What is measured is written however the run ends.
// SPDX-License-Identifier: Apache-2.0
#include "bench_words.h"
#include "cmd_interrupt.h"

#include "bench_machine.h"
#include "bench_plot.h"
#include "bench_table.h"
#include "device.h"
#include "verify_process.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Records that are there already ---- */

// Before anything is measured: a file that cannot be merged with must not cost the measurement.
static bool read_records(struct bench_command *b) {
    if (b->table && !bench_records_read(&b->records, b->table, &b->diag)) return false;
    if (b->compare && !bench_records_read(&b->old, b->compare, &b->diag)) return false;
    return !b->out || access(b->out, F_OK) != 0 || bench_records_read(&b->written, b->out, &b->diag);
}

/* -- GPU and kernels ---- */

static bool open_gpu(struct bench_command *b) {
    char why[DEVICE_ERROR_BYTES];
    b->status = CMD_FAILED;
    if (bench_machine_probe(&b->job.stamp, &b->sm, why, sizeof why)) {
        bench_machine_stamp(&b->job.stamp, b->commit);
        return true;
    }
    cmd_failed("nothing can be measured, no usable GPU: %s", why);
    fputs("sagegen: note: a record that is there can be shown: sagegen bench --table FILE.json [--plot FILE.svg]\n",
          stderr);
    return false;
}

static bool make_scratch(struct bench_command *b) {
    if (!cmd_scratch_make("sagegen-bench", &b->scratch)) return false;
    buf_printf(&b->kernel_dir, "%s/kernels", b->scratch.data);
    return true;
}

static bool is_wanted(const struct bench_command *b, int d) {
    for (int i = 0; i < b->choice.problems.count; i++)
        if (b->choice.problems.item[i].d == d) return true;
    return false;
}

static bool is_wanted_spec(void *user, const struct spec *spec) {
    return spec->head_dim_qk == spec->head_dim_v && is_wanted(user, spec->head_dim_qk);
}

static bool has_bf16(const struct spec *spec) {
    for (int i = 0; i < spec->io.count; i++)
        if (spec->io.item[i] == SPEC_IO_BF16) return true;
    return false;
}

// The straight line of the main command, for one spec. Its messages are printed.
static bool build_spec(const struct bench_command *b, const struct cmd_spec *spec) {
    const char *words[] = {"build", "--spec", spec->file, "--arch",           "native",
                           "--io",  "bf16",   "--out",    b->kernel_dir.data, NULL};
    struct cmd_build build = {0};
    if (!is_wanted(b, spec->spec.head_dim_qk)) {
        cmd_failed("%s: none of the problems has head dim %d", spec->spec.name, spec->spec.head_dim_qk);
        return false;
    }
    const bool ok = cmd_build_options(&build, 9, (char **)(uintptr_t)words) && cmd_build_plan(&build) &&
                    cmd_build_open(&build) && cmd_build_compile(&build) && cmd_build_write(&build) &&
                    build.status == CMD_DONE;
    cmd_build_close(&build);
    return ok;
}

// Answers for each spec whether it can be measured.
static int build_in_child(void *user, int fd) {
    const struct bench_command *b = user;
    for (int i = 0; i < b->specs.count && !cmd_interrupted(); i++) {
        const bool built = build_spec(b, b->specs.item[i]);
        if (!process_write(fd, &built, sizeof built)) return 1;
    }
    return 0;
}

// False: it gave no answer for one of them.
static bool take_built(struct bench_command *b, const struct process *child) {
    enum { BUILD_TIMEOUT_S = 1800 }; /* of one spec */
    bool built;
    for (int i = 0; i < b->specs.count; i++) {
        const struct spec *spec = &b->specs.item[i]->spec;
        if (process_read(child, &built, sizeof built, BUILD_TIMEOUT_S) != PROCESS_ANSWER) return false;
        if (built) b->spec[b->job.specs++] = (struct bench_spec){spec->name, spec->head_dim_qk};
    }
    return true;
}

static bool no_kernel(const struct bench_command *b) {
    bool any = b->specs.count == 0;
    for (int i = 0; i < b->specs.count; i++) any |= has_bf16(&b->specs.item[i]->spec);
    if (any)
        cmd_failed("there is no kernel to measure on this GPU (sm_%d)", b->sm);
    else
        cmd_failed(
            "nothing can be measured: the inputs are bf16, and no spec has that io; sagegen run --repeat times others");
    return false;
}

// In a child process: NVRTC's search and this GPU as a target ask the driver, which no later child could use any more.
static bool build_kernels(struct bench_command *b) {
    char why[256];
    struct process child;
    if (!b->job.contender[BENCH_SAGEGEN]) return true;
    if (b->specs.count == 0) cmd_specs_add_shipped(&b->specs, b->sm, is_wanted_spec, b);
    b->spec = xcalloc((size_t)b->specs.count + 1, sizeof *b->spec);
    b->job.spec = b->spec;
    cmd_interrupt_catch();
    if (!process_start(&child, build_in_child, b, why, sizeof why)) {
        cmd_failed("%s", why);
        return false;
    }
    const bool answered = take_built(b, &child);
    const int status = process_end(&child, !answered);
    if (!answered && !cmd_interrupted())
        cmd_failed("the compiler's process ended early (%d) or hung: %d of %d specs are built", status, b->job.specs,
                   b->specs.count);
    return b->job.specs > 0 || cmd_interrupted() ? !cmd_interrupted() : no_kernel(b);
}

/* -- Measuring ---- */

static int count_measured(const struct bench_records *records) {
    int count = 0;
    for (int i = 0; i < records->count; i++) count += records->item[i].ms > 0;
    return count;
}

static enum bench_end run(struct bench_command *b, struct buf *why) {
    const enum bench_end end = bench_python_run(&b->job, &b->python, &b->records, why);
    if (end != BENCH_NO_PEER || !b->job.contender[BENCH_SAGEGEN]) return end;
    bench_progress_note(&b->progress, "no peer was found, sagegen is measured alone: %s: %s", b->python.program,
                        why->data);
    buf_clear(why);
    return bench_alone_run(&b->job, &b->records, why);
}

static bool measure(struct bench_command *b) {
    struct buf why = {0};
    buf_puts(&why, "");
    if (!b->python.library) bench_machine_library(&b->library);
    if (!b->python.library) b->python.library = b->library.data;
    b->job.problems = &b->choice.problems;
    b->job.scratch = b->scratch.data;
    b->job.kernel_dir = b->kernel_dir.data;
    b->job.progress = &b->progress;
    cmd_interrupt_catch();
    bench_progress_start(&b->progress, &b->choice.problems);
    const enum bench_end end = run(b, &why);
    bench_progress_end(&b->progress);
    bench_records_sort(&b->records);
    const int measured = count_measured(&b->records);
    if (end == BENCH_STOPPED)
        cmd_failed("interrupted: %d of %d problems are measured", b->progress.done, b->choice.problems.count);
    else if (end != BENCH_ENDED)
        cmd_failed("%s", why.data[0] ? why.data : "the measurement failed");
    else if (measured > 0)
        b->status = CMD_DONE;
    else
        cmd_failed("nothing could be measured");
    buf_free(&why);
    return b->records.count > 0;
}

/* -- Results ---- */

static bool write_out(struct bench_command *b) {
    struct buf text = {0};
    if (!b->out) return true;
    bench_records_merge(&b->written, &b->records);
    bench_records_sort(&b->written);
    bench_records_print(&b->written, &text);
    const bool ok = bench_file_write(b->out, &text, &b->diag);
    buf_free(&text);
    return ok;
}

static bool write_plot(struct bench_command *b) {
    struct buf text = {0};
    if (!b->plot) return true;
    bool ok = bench_plot_print(b->out ? &b->written : &b->records, &text);
    if (!ok) cmd_failed("there is nothing to plot");
    ok = ok && bench_file_write(b->plot, &text, &b->diag);
    buf_free(&text);
    return ok;
}

static bool print(const struct bench_command *b) {
    const struct bench_table_options table = {.markdown = b->markdown, .old = b->compare ? &b->old : NULL};
    struct buf text = {0};
    buf_puts(&text, "");
    if (b->json)
        bench_records_print(&b->records, &text);
    else
        bench_table_print(&b->records, &table, &text);
    const bool ok = cmd_print(&text);
    buf_free(&text);
    return ok;
}

static bool show(struct bench_command *b) {
    if (b->table && b->choice.d.count) bench_records_keep_d(&b->records, b->choice.d.item[0]);
    if (b->table && b->choice.full != b->choice.causal) bench_records_keep_mask(&b->records, b->choice.causal);
    bench_records_sort(&b->records);
    const bool written = write_out(b), plotted = write_plot(b);
    return print(b) && written && plotted;
}

/* -- End ---- */

static void close_bench(struct bench_command *b) {
    cmd_scratch_remove(&b->scratch);
    bench_records_free(&b->records);
    bench_records_free(&b->written);
    bench_records_free(&b->old);
    bench_record_free(&b->job.stamp);
    bench_choice_free(&b->choice);
    cmd_specs_free(&b->specs);
    diag_free(&b->diag);
    free(b->spec);
    buf_free(&b->library);
    buf_free(&b->kernel_dir);
}

int cmd_bench(int argc, char **argv) {
    struct bench_command b = {.status = CMD_BAD_INPUT};
    if (bench_words_read(&b, argc, argv) && read_records(&b)) {
        if (b.table)
            b.status = show(&b) ? CMD_DONE : CMD_FAILED;
        else if (bench_words_problems(&b) // file, shipped name or numbers
                 && open_gpu(&b)          // GPU 0, and what the record says of this machine
                 && make_scratch(&b)      // kernels and messages, for this run
                 && build_kernels(&b)     // specs -> cubins, from the cache or NVRTC
                 && measure(&b)           // in Python, or alone
                 && !show(&b))            // record, plot, table
            b.status = CMD_FAILED;
    }
    close_bench(&b);
    return b.status;
}
