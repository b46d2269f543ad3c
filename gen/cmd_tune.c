// cmd_tune: `sagegen tune`: which tuning point is the fastest, for a GPU nobody has tuned for. The line: words ->
// problems -> GPU -> tasks -> journal -> measurements -> wisdom -> report. SPDX-License-Identifier: Apache-2.0
#include "tune_command.h"

#include "bench_record.h"
#include "cmd_interrupt.h"
#include "tune_kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUILD_TIMEOUT_S = 300 };

/* -- Work ---- */

static bool is_wanted_spec(void *user, const struct spec *spec) {
    const struct tune_command *c = user;
    for (int i = 0; i < c->choice.problems.count; i++)
        if (spec->head_dim_qk == c->choice.problems.item[i].d && spec->head_dim_v == spec->head_dim_qk) return true;
    return false;
}

static bool list_work(struct tune_command *c) {
    c->status = CMD_BAD_INPUT;
    if (c->specs.count == 0) cmd_specs_add_shipped(&c->specs, c->probe.machine.sm, is_wanted_spec, c);
    c->setup = (struct build_setup){.form = tune_is_estimate(c) ? BUILD_PTX : BUILD_CUBIN,
                                    .template_dir = cmd_template_dir(),
                                    .bundle_hash = expand_bundle_hash(cmd_template_dir())};
    memcpy(c->setup.nvrtc_identity, c->probe.nvrtc_identity, sizeof c->setup.nvrtc_identity);
    c->select.target.count = 0;
    c->select.native_sm = c->probe.machine.sm;
    const struct tune_choice choice = {.select = &c->select,
                                       .problems = &c->choice.problems,
                                       .heads_kv = c->heads_kv,
                                       .multiprocessors = c->probe.machine.multiprocessors,
                                       .setup = &c->setup};
    if (!tune_list(&c->work, &c->specs, &choice, &c->skipped)) return false;
    for (const char *line = c->skipped.data; line && *line; line += strcspn(line, "\n") + 1)
        fprintf(stderr, "sagegen tune: %.*s\n", (int)strcspn(line, "\n"), line);
    if (c->work.tasks > 0) return true;
    c->status = CMD_FAILED;
    cmd_failed("there is nothing to tune: no spec fits the problems on sm_%d", c->probe.machine.sm);
    return false;
}

/* -- Journal ---- */

static void forget(struct tune_command *c) {
    for (int i = 0; i < c->work.tasks; i++)
        for (int k = 0; k < c->work.task[i].count; k++)
            c->work.task[i].candidate[k] = (struct tune_candidate){.set = c->work.task[i].candidate[k].set};
}

// Those of --retry, or of --again with what was measured.
static void forget_faults(struct tune_command *c) {
    for (int i = 0; i < c->work.sets; i++) c->work.set[i].fault = TUNE_FINE;
    for (int i = 0; i < c->work.tasks; i++)
        for (int k = 0; k < c->work.task[i].count; k++) c->work.task[i].candidate[k].fault = TUNE_FINE;
}

static bool open_journal(struct tune_command *c) {
    const char *file = c->journal_path.len ? c->journal_path.data : NULL;
    c->status = CMD_FAILED;
    if (file) wisdom_make_folders(file);
    if (!tune_journal_open(&c->journal, file, &c->diag)) return false;
    if (c->journal.cut_bytes)
        fprintf(stderr, "sagegen tune: %s: the last %d bytes were torn and are cut off\n", file, c->journal.cut_bytes);
    tune_journal_machine(&c->journal, &c->probe.machine);
    tune_journal_replay(&c->journal, &c->work);
    if (c->again) {
        c->before = xcalloc((size_t)c->work.tasks + 1, sizeof *c->before);
        for (int i = 0; i < c->work.tasks; i++) c->before[i] = tune_winner(&c->work, &c->work.task[i]);
        forget(c);
    }
    if (c->again || c->retry) forget_faults(c);
    return true;
}

/* -- Measuring ---- */

// Without a cache directory children could not share what they compile; the machine's images are no cubins, and keep
// out of it.
static bool need_scratch(struct tune_command *c) {
    const sage_options options = {.size = sizeof options, .device = -1, .wisdom = "none"};
    struct cache_description cache;
    sage_context *context = NULL;
    if (tune_is_estimate(c)) return cmd_scratch_make("sagegen-tune", &c->scratch);
    if (sage_context_create(&options, &context) != SAGE_OK) return false;
    cache_describe(context, &cache);
    const bool usable = !cache.memory_only;
    if (!usable) fprintf(stderr, "sagegen tune: kernels are not kept: %s\n", cache.reason);
    sage_context_destroy(context);
    return usable || cmd_scratch_make("sagegen-tune", &c->scratch);
}

static int cpu_count(void) {
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus > 0 ? (int)cpus : 1;
}

static bool measure(struct tune_command *c) {
    c->status = CMD_FAILED;
    if (!need_scratch(c)) return false;
    const struct tune_setup setup = {.work = &c->work,
                                     .journal = &c->journal,
                                     .meter = tune_is_estimate(c) ? &tune_meter_vm : &tune_meter_cuda,
                                     .bench = {.work = &c->work,
                                               .cache_dir = c->scratch.len ? c->scratch.data : NULL,
                                               .ordinal = c->device.ordinal,
                                               .sm = c->probe.machine.sm},
                                     .build = tune_build_in_child,
                                     .form = c->setup.form,
                                     .builders = c->jobs ? c->jobs : cpu_count(),
                                     .timeout_s = c->timeout_s,
                                     .build_timeout_s = BUILD_TIMEOUT_S};
    cmd_interrupt_catch();
    tune_run(&setup, &c->outcome);
    const struct tune_outcome *o = &c->outcome;
    if (o->end == TUNE_STOPPED)
        cmd_failed("interrupted: %d of %d problems are decided; run the same again to go on", o->decided,
                   c->work.tasks);
    else if (o->end == TUNE_BROKEN)
        cmd_failed("%s", o->why);
    else
        c->status = CMD_DONE;
    return true;
}

/* -- Report ---- */

static bool write_html(const struct tune_command *c) {
    struct buf text = {0};
    struct diag d = {0};
    if (!c->html) return true;
    tune_html_print(c, &text);
    const bool ok = bench_file_write(c->html, &text, &d);
    buf_free(&text);
    diag_free(&d);
    return ok;
}

// A GPU on which nothing works is no result.
static void judge(struct tune_command *c) {
    struct tune_summary s;
    tune_summary_make(c, &s);
    if (s.failed == 0) return;
    c->status = cmd_failed("%d problem%s no variant that works; sagegen verify may say why", s.failed,
                           s.failed == 1 ? " has" : "s have");
}

static bool show(struct tune_command *c) {
    struct buf out = {0};
    buf_puts(&out, "");
    if (c->json)
        tune_table_json(c, &out);
    else
        tune_table_print(c, &out);
    const bool printed = cmd_print(&out);
    buf_free(&out);
    judge(c);
    return write_html(c) && printed;
}

/* -- End ---- */

static void close_tune(struct tune_command *c) {
    tune_journal_close(&c->journal);
    cmd_scratch_remove(&c->scratch);
    tune_work_free(&c->work);
    wisdom_list_free(&c->wisdom);
    bench_choice_free(&c->choice);
    cmd_specs_free(&c->specs);
    diag_free(&c->diag);
    buf_free(&c->wisdom_path);
    buf_free(&c->journal_path);
    buf_free(&c->skipped);
    free(c->before);
    free(c->file);
}

static bool choose_problems(struct tune_command *c) {
    return bench_choice_make(&c->choice, "tune", &c->diag);
}

int cmd_tune(int argc, char **argv) {
    struct tune_command c = {.status = CMD_BAD_INPUT, .journal = {.fd = -1}};
    if (tune_words_read(&c, argc, argv)) {
        if (c.merge)
            tune_wisdom_merge(&c);
        else if (choose_problems(&c)        // file, shipped name or numbers
                 && tune_wisdom_read(&c)    // what there is, to add to
                 && tune_probe_run(&c)      // GPU and NVRTC, in a child
                 && list_work(&c)           // specs x problems -> candidates, pruned
                 && open_journal(&c)        // what is measured already
                 && measure(&c)             // children compile while one measures
                 && (!tune_wisdom_write(&c) // winners
                     || !show(&c)))         // table, JSON, HTML
            c.status = CMD_FAILED;
    }
    close_tune(&c);
    return c.status;
}
