// bench_child: see bench_child.h. SPDX-License-Identifier: Apache-2.0
#include "bench_child.h"

#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Process ---- */

static int be_child(void *user, int fd) {
    const struct bench_child *c = user;
    setpgid(0, 0);
    return c->work(c, fd);
}

// The last line that the process wrote to stderr, cut to a sensible length; "": none.
static void last_message(const struct bench_child *c, struct buf *out) {
    char text[4097], *line = text;
    FILE *file = c->messages ? fopen(c->messages, "r") : NULL;
    size_t len = 0;
    if (file && (fseek(file, -(long)(sizeof text - 1), SEEK_END) == 0 || fseek(file, 0, SEEK_SET) == 0))
        len = fread(text, 1, sizeof text - 1, file);
    if (file) fclose(file);
    while (len > 0 && strchr("\r\n ", text[len - 1])) len--;
    text[len] = '\0';
    for (char *end; (end = strpbrk(line, "\r\n"));) line = end + 1;
    if (line[0]) buf_printf(out, ": %.300s", line);
}

// Why the process is gone: its exit status or signal, and what it said last.
static void put_end(const struct bench_child *c, int status, struct buf *out) {
    if (status < 0)
        buf_printf(out, "ended %s by signal %d (%s)", c->name, -status, strsignal(-status));
    else if (!c->started && status == BENCH_CANNOT_START)
        buf_puts(out, "cannot be started");
    else
        buf_printf(out, "ended %s with status %d", c->name, status);
    last_message(c, out);
}

/* -- Answers ---- */

static const char *text_of(const json_t *object, const char *member) {
    const char *text = json_string_value(json_object_get(object, member));
    return text ? text : "";
}

static void forget_rivals(struct bench_child *c) {
    for (int i = 0; i < c->rivals; i++) free(c->rival[i].kernel);
    c->rivals = 0;
    c->timing = false;
}

// The problem that an answer is about; -1: none of ours.
static int problem_of(const struct bench_child *c, const json_t *answer) {
    const json_t *value = json_object_get(answer, "problem");
    const json_int_t id = json_integer_value(value);
    return json_is_integer(value) && id >= 0 && id < c->job->problems->count && !c->done[id] ? (int)id : -1;
}

static bool take_start(struct bench_child *c, const json_t *answer) {
    json_t *missing = json_object_get(answer, "missing"), *reason;
    const char *name;
    if (!c->started)
        json_object_foreach(missing, name, reason)
            bench_progress_note(c->job->progress, "%s is not here: %s", name, text_of(missing, name));
    if (!c->started) bench_progress_running(c->job->progress);
    c->started = true;
    return true;
}

static bool take_doing(struct bench_child *c, const json_t *answer) {
    const char *name = text_of(answer, "contender"), *kernel = text_of(answer, "kernel");
    const int problem = problem_of(c, answer), contender = bench_contender_find(name);
    if (problem < 0 || (name[0] && contender < 0)) return false;
    if (problem != c->problem || c->timing) forget_rivals(c);
    c->problem = problem;
    c->timing = !name[0];
    if (!c->timing && c->rivals < BENCH_RIVALS_MOST)
        c->rival[c->rivals++] = (struct bench_rival){contender, xstrdup(kernel)};
    bench_progress_doing(c->job->progress, problem, contender == BENCH_SAGEGEN ? kernel : name);
    return true;
}

static bool take_row(struct bench_child *c, const json_t *answer) {
    const char *reason = text_of(answer, "reason");
    const double ms = json_number_value(json_object_get(answer, "ms"));
    const double spread = json_number_value(json_object_get(answer, "spread"));
    const json_int_t repeats = json_integer_value(json_object_get(answer, "repeats"));
    const int problem = problem_of(c, answer);
    struct bench_record row = {.kernel = (char *)(uintptr_t)text_of(answer, "kernel"),
                               .reason = (char *)(uintptr_t)reason,
                               .version = (char *)(uintptr_t)text_of(answer, "version"),
                               .variant = (char *)(uintptr_t)text_of(answer, "variant"),
                               .contender = bench_contender_find(text_of(answer, "contender")),
                               .mode = bench_mode_find(text_of(answer, "mode")),
                               .ms = reason[0] ? 0 : ms,
                               .spread = isfinite(spread) && spread > 0 ? spread : 0,
                               .repeats = repeats > 0 && repeats < 1 << 30 ? (int)repeats : 0};
    if (problem < 0 || row.contender < 0 || row.mode < 0 || !row.kernel[0]) return false;
    if (!reason[0] && !(isfinite(ms) && ms > 0)) return false;
    row.problem = c->job->problems->item[problem];
    bench_add(c->job, c->records, &row);
    return true;
}

static bool take_done(struct bench_child *c, const json_t *answer) {
    const int problem = problem_of(c, answer);
    if (problem < 0) return false;
    c->done[problem] = true;
    c->problem = -1;
    forget_rivals(c);
    bench_progress_done(c->job->progress, problem);
    return true;
}

static bool take_cannot(struct bench_child *c, const json_t *answer) {
    buf_puts(c->why, text_of(answer, "reason"));
    c->cannot = true;
    return true;
}

static bool take_broken(struct bench_child *c, const json_t *answer) {
    buf_printf(c->why, "left the GPU unusable: %s", text_of(answer, "reason"));
    return true;
}

static bool take_end(struct bench_child *c, const json_t *answer) {
    (void)answer;
    c->ended = true;
    return true;
}

// False: no answer of this protocol.
static bool take_answer(struct bench_child *c, const char *line) {
    static const struct {
        const char *event;
        bool (*take)(struct bench_child *, const json_t *);
        bool early; /* allowed before "start" */
    } events[] = {{"start", take_start, true}, {"cannot", take_cannot, true},  {"doing", take_doing, false},
                  {"row", take_row, false},    {"broken", take_broken, false}, {"done", take_done, false},
                  {"end", take_end, false}};
    json_t *answer = json_loads(line, 0, NULL);
    const char *event = text_of(answer, "event");
    bool ok = false;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (strcmp(events[i].event, event) == 0) ok = (c->started || events[i].early) && events[i].take(c, answer);
    json_decref(answer);
    return ok;
}

/* -- One process ---- */

// Reads until the process has ended or must be ended; why it failed is in c->why, which is else empty.
static enum process_answer listen_to(struct bench_child *c) {
    for (;;) {
        const enum process_answer answer = process_read_line(&c->process, &c->pending, &c->line, c->job->timeout_s);
        if (answer == PROCESS_SILENT) buf_printf(c->why, "gave no answer for %d s", c->job->timeout_s);
        if (answer != PROCESS_ANSWER) return answer;
        if (take_answer(c, c->line.data)) continue;
        buf_printf(c->why, "made %s answer nonsense: '", c->name);
        diag_escape(c->why, c->line.data, c->line.len < 80 ? c->line.len : 80);
        buf_puts(c->why, "'");
        return PROCESS_SILENT;
    }
}

// True: it ran to its end, or said that it cannot. False: c->why says what happened, or the user interrupted.
static bool run_once(struct bench_child *c, bool *stopped) {
    char why[256];
    c->problem = -1;
    buf_clear(&c->pending);
    if (!process_start(&c->process, be_child, c, why, sizeof why)) {
        buf_puts(c->why, why);
        return false;
    }
    const enum process_answer answer = listen_to(c);
    *stopped = answer == PROCESS_STOPPED;
    if (answer != PROCESS_END) kill(-c->process.pid, SIGKILL);
    const int status = process_end(&c->process, answer != PROCESS_END);
    if (*stopped || c->cannot || c->ended) return !*stopped;
    if (c->why->len == 0) put_end(c, status, c->why);
    return false;
}

/* -- After a failure ---- */

static void add_reason(struct bench_child *c, int problem, const struct bench_rival *rival, const char *reason) {
    for (int mode = 0; mode < BENCH_MODES; mode++) {
        if (!c->job->mode[mode]) continue;
        const struct bench_record row = {.kernel = rival->kernel,
                                         .reason = (char *)(uintptr_t)reason,
                                         .contender = rival->contender,
                                         .mode = mode,
                                         .problem = c->job->problems->item[problem]};
        bench_add(c->job, c->records, &row);
    }
}

static bool runs(const struct bench_child *c, const struct bench_rival *rival, int problem) {
    if (rival->contender != BENCH_SAGEGEN) return true;
    for (int i = 0; i < c->job->specs; i++)
        if (strcmp(c->job->spec[i].name, rival->kernel) == 0)
            return c->job->spec[i].d == c->job->problems->item[problem].d;
    return false;
}

// It has the reason of this problem in all that are still to come, too.
static void drop(struct bench_child *c, const struct bench_rival *rival) {
    const char *name = rival->contender == BENCH_SAGEGEN ? rival->kernel : bench_contender_name(rival->contender);
    struct buf later = {0};
    const struct bench_problem *p = &c->job->problems->item[c->problem];
    buf_printf(&later, "left out: at N = %d, %d x %d%s it %s", p->n, p->batch, p->heads, p->causal ? ", causal," : "",
               c->why->data);
    for (int i = 0; i < c->job->problems->count; i++)
        if (!c->done[i] && i != c->problem && runs(c, rival, i)) add_reason(c, i, rival, later.data);
    add_reason(c, c->problem, rival, c->why->data);
    bench_progress_note(c->job->progress, "%s %s; it is left out from now on", name, c->why->data);
    json_array_append_new(c->dropped, json_string(name));
    buf_free(&later);
}

static void leave_problem_out(struct bench_child *c) {
    for (int i = 0; i < c->rivals; i++) add_reason(c, c->problem, &c->rival[i], c->why->data);
    bench_progress_note(c->job->progress, "a problem is left out: one of its contenders %s", c->why->data);
    c->done[c->problem] = true;
    bench_progress_done(c->job->progress, c->problem);
}

// Whoever was at work is left out. Where all were timed in turn, they are timed one by one, or the problem is left out.
// False: nobody was at work.
static bool blame(struct bench_child *c) {
    if (c->problem < 0 || c->rivals == 0) return false;
    if (!c->timing || (c->apart == c->problem && c->rivals == 1)) {
        drop(c, &c->rival[c->rivals - 1]);
    } else if (c->can_part && c->apart != c->problem) {
        bench_progress_note(c->job->progress, "a kernel %s; now one by one", c->why->data);
        c->apart = c->problem;
    } else {
        leave_problem_out(c);
    }
    forget_rivals(c);
    buf_clear(c->why);
    return true;
}

bool bench_child_drops(const struct bench_child *c, const char *name) {
    size_t i;
    const json_t *value;
    json_array_foreach(c->dropped, i, value) if (strcmp(json_string_value(value), name) == 0) return true;
    return false;
}

static bool all_done(const struct bench_child *c) {
    for (int i = 0; i < c->job->problems->count; i++)
        if (!c->done[i]) return false;
    return true;
}

static enum bench_end run_all(struct bench_child *c) {
    while (!all_done(c)) {
        bool stopped = false;
        if (run_once(c, &stopped)) return c->cannot ? BENCH_NO_PEER : BENCH_ENDED;
        if (stopped) return BENCH_STOPPED;
        if (!c->started) return BENCH_NO_PEER;
        if (!blame(c)) return BENCH_FAILED;
    }
    return BENCH_ENDED;
}

enum bench_end bench_child_run(struct bench_child *c) {
    c->problem = c->apart = -1;
    c->done = xcalloc((size_t)c->job->problems->count + 1, sizeof *c->done);
    c->dropped = json_array();
    const enum bench_end end = run_all(c);
    forget_rivals(c);
    json_decref(c->dropped);
    free(c->done);
    buf_free(&c->pending);
    buf_free(&c->line);
    return end;
}
