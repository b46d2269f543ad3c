// verify_run: probes the GPU and runs the units' checks, in child processes where verify may fork: a kernel that faults
// or never ends then costs its own unit only. One child runs unit after unit; a new one starts at the next unit after
// one was lost. The parent never calls the driver: its children could not any more. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "cmd_interrupt.h"
#include "verify_process.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct verify_record) <= PIPE_BUF, "a record is written to the pipe as a whole");

/* -- Probe ---- */

struct probe {
    int ordinal; /* in */
    bool ok;
    struct verify_gpu gpu;
    char why[DEVICE_ERROR_BYTES];
};

static void probe_here(struct probe *out) {
    struct device device = {.ordinal = out->ordinal};
    out->ok = device_open(out->ordinal, NULL, &device, out->why, sizeof out->why);
    if (!out->ok) return;
    out->gpu.sm = device.driver.sm;
    out->gpu.memory_bytes = device.memory_bytes;
    snprintf(out->gpu.name, sizeof out->gpu.name, "%s", device.driver.device_name);
    device_close(&device);
}

static int probe_in_child(void *user, int fd) {
    struct probe *probe = user;
    probe_here(probe);
    return process_write(fd, probe, sizeof *probe) ? 0 : 1;
}

static void probe_child(struct probe *out) {
    enum { PROBE_TIMEOUT_S = 60 };
    struct process child;
    struct probe answer;
    if (!process_start(&child, probe_in_child, out, out->why, sizeof out->why)) return;
    if (process_read(&child, &answer, sizeof answer, PROBE_TIMEOUT_S) == PROCESS_ANSWER)
        *out = answer;
    else
        snprintf(out->why, sizeof out->why, "asking the driver for its GPUs failed or took over %d s", PROBE_TIMEOUT_S);
    process_end(&child, true);
}

bool verify_probe(const struct verify_options *options, struct verify_gpu *out, char *why, size_t why_bytes) {
    struct probe probe = {.ordinal = options->ordinal};
    if (options->fork)
        probe_child(&probe);
    else
        probe_here(&probe);
    *out = probe.gpu;
    snprintf(why, why_bytes, "%s", probe.why);
    return probe.ok;
}

/* -- Checks of a range of units ---- */

struct range {
    const struct verify_options *options;
    const struct verify_units *units;
    int first;
};

double verify_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_parts(struct verify_session *s) {
    static const struct {
        unsigned bit;
        const char *name;
        void (*run)(struct verify_session *s);
    } parts[] = {{VERIFY_QUANTISERS, "quantisers", verify_quantisers},
                 {VERIFY_GATES, "gates", verify_gates},
                 {VERIFY_PROPERTIES, "properties", verify_properties}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && !s->dead; i++) {
        if (!(s->options->parts & parts[i].bit)) continue;
        verify_begin(s, parts[i].name);
        parts[i].run(s);
    }
}

static void run_unit(struct verify_session *s, int index) {
    char text[96];
    double start = verify_seconds();
    if (!verify_session_unit(s, index)) return;
    run_parts(s);
    if (s->options->vm) verify_vm_end(s);
    fprintf(stderr, "[%3d/%d] %s  %.1f s%s\n", index + 1, s->units->count, verify_unit_text(s->unit, text),
            verify_seconds() - start, s->dead ? "  GPU LOST" : "");
}

static enum verify_end run_range(const struct range *range, struct verify_sink sink) {
    const struct verify_units *units = range->units;
    struct verify_session s = {.options = range->options, .units = units, .unit_index = range->first, .sink = sink};
    enum verify_end end = VERIFY_END_NOT_OPENED;
    char why[DEVICE_ERROR_BYTES] = "";
    s.unit = &units->unit[range->first];
    if (verify_session_open(&s, why, sizeof why)) {
        if (s.options->soak_s > 0)
            verify_soak(&s);
        else
            for (int i = range->first; i < units->count && !s.dead && !cmd_interrupted(); i++) run_unit(&s, i);
        end = s.dead ? VERIFY_END_LOST : VERIFY_END_DONE;
    } else {
        verify_fail(&s, "open", "", "%.180s", why);
    }
    verify_session_close(&s);
    return end;
}

/* -- Children ---- */

static void put_to_pipe(void *user, const struct verify_record *record) {
    if (!process_write(*(int *)user, record, sizeof *record)) _exit(1);
}

static int run_in_child(void *user, int fd) {
    if (((const struct range *)user)->options->soak_s > 0) cmd_interrupt_by_parent(); // or its counts would be lost
    return (int)run_range(user, (struct verify_sink){put_to_pipe, &fd});
}

static void put_failure(struct verify_report *report, int unit, const char *check, const char *note) {
    struct verify_record r = {.unit = unit, .outcome = VERIFY_FAIL, .error = 1};
    snprintf(r.check, sizeof r.check, "%s", check);
    snprintf(r.note, sizeof r.note, "%s", note);
    verify_report_put(report, &r);
}

// Where a child is, for the sentence about its end.
struct position {
    int unit;
    char after[128]; /* "after q codes B1 H2 ..." */
};

static void position_follow(struct position *at, const struct verify_record *r) {
    at->unit = r->unit;
    if (r->outcome != VERIFY_BEGIN)
        snprintf(at->after, sizeof at->after, "after %s %s", r->check, r->shape);
    else
        snprintf(at->after, sizeof at->after, "at the start%s%s", r->check[0] ? " of " : "", r->check);
}

// Records how the child ended, where that is a failure that it could not record itself.
static void judge_end(struct verify_report *report, const struct position *at, int status, int silent_s) {
    char note[sizeof((struct verify_record *)0)->note];
    if (silent_s > 0)
        snprintf(note, sizeof note, "no answer for %d s %s: its process was killed", silent_s, at->after);
    else if (status < 0)
        snprintf(note, sizeof note, "its process was killed by signal %d (%s) %s", -status, strsignal(-status),
                 at->after);
    else if (status != VERIFY_END_DONE && status != VERIFY_END_LOST && status != VERIFY_END_NOT_OPENED)
        snprintf(note, sizeof note, "its process ended with exit status %d %s", status, at->after);
    else
        return;
    put_failure(report, at->unit, silent_s > 0 ? "hang" : "crash", note);
}

// The next record. A soak is told of an interrupt, and what it still has to say is read.
static enum process_answer next_record(const struct range *range, const struct process *child, bool *told,
                                       struct verify_record *out) {
    const int timeout_s = range->options->timeout_s;
    if (!*told) {
        const enum process_answer answer = process_read(child, out, sizeof *out, timeout_s);
        if (answer != PROCESS_STOPPED || range->options->soak_s == 0) return answer;
        cmd_interrupt_child(child->pid);
        *told = true;
    }
    return process_read_on(child, out, sizeof *out, timeout_s);
}

// One child, from range->first on, which becomes the unit to go on with; units->count: done.
static enum verify_end run_child(struct range *range, struct verify_report *report) {
    struct position at = {.unit = range->first, .after = "at the start"};
    struct process child;
    struct verify_record r;
    enum process_answer answer;
    char why[128];
    bool told = false;
    if (!process_start(&child, run_in_child, range, why, sizeof why)) {
        put_failure(report, range->first, "process", why);
        range->first = range->units->count;
        return VERIFY_END_NOT_OPENED;
    }
    while ((answer = next_record(range, &child, &told, &r)) == PROCESS_ANSWER) {
        position_follow(&at, &r);
        verify_report_put(report, &r);
    }
    const bool silent = answer == PROCESS_SILENT, stopped = answer == PROCESS_STOPPED;
    const int status = process_end(&child, silent || stopped);
    if (stopped) {
        range->first = range->units->count;
        return VERIFY_END_DONE;
    }
    judge_end(report, &at, status, silent ? range->options->timeout_s : 0);
    const bool done = !silent && status == VERIFY_END_DONE;
    range->first = done || range->options->soak_s > 0 ? range->units->count : at.unit + 1;
    return status == VERIFY_END_DONE || status == VERIFY_END_NOT_OPENED ? (enum verify_end)status : VERIFY_END_LOST;
}

static void run_children(struct range *range, struct verify_report *report) {
    enum { LOST_MAX = 40, NOT_OPENED_MAX = 3 }; // a GPU that is beyond help would else be tried for every unit
    int lost = 0, not_opened = 0;               // not_opened: in a row
    while (range->first < range->units->count) {
        enum verify_end end = run_child(range, report);
        lost += end != VERIFY_END_DONE;
        not_opened = end == VERIFY_END_NOT_OPENED ? not_opened + 1 : 0;
        if ((lost < LOST_MAX && not_opened < NOT_OPENED_MAX) || range->first >= range->units->count) continue;
        put_failure(report, range->first, "process", "too many faults; this unit and those after it were not run");
        return;
    }
}

void verify_run(const struct verify_options *options, const struct verify_units *units, struct verify_report *report) {
    struct range range = {.options = options, .units = units, .first = 0};
    if (options->fork)
        run_children(&range, report);
    else
        run_range(&range, (struct verify_sink){verify_report_put, report});
}
