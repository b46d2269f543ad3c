// bench_python: runs tuning/bench/measure.py, which is embedded, in the user's Python, and turns its answers into
// records. The process is in a group of its own: Ctrl-C reaches this one alone, which then keeps what there is. A
// contender that ends the process, hangs it or makes it talk nonsense is left out of a new process, which goes on with
// the same problem. SPDX-License-Identifier: Apache-2.0
#include "bench_measure.h"

#include "embedded.h"
#include "sage.h"
#include "verify_process.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RIVALS_MOST = 64, CANNOT_START = 127 };

// Who was named for the problem at hand.
struct rival {
    int contender;
    char *kernel;
};

struct bench_child {
    const struct bench_job *job;
    const struct bench_python *python;
    struct bench_records *records;
    struct buf *why;
    struct process process;
    struct buf script, request, messages; /* paths */
    struct buf pending, line;
    struct rival rival[RIVALS_MOST];
    int rivals;
    bool *done;      /* of the problems */
    json_t *dropped; /* contenders, or specs of sagegen's, that are left out from now on */
    int problem;     /* at hand; -1: none */
    bool timing, started, ended, cannot;
};

/* -- Files ---- */

static const struct embedded_file *script(void) {
    for (int i = 0; i < embedded_file_count; i++)
        if (strcmp(embedded_files[i].name, "tuning/bench/measure.py") == 0) return &embedded_files[i];
    return NULL;
}

static bool write_file(struct bench_child *c, struct buf *path, const char *name, const char *text) {
    buf_clear(path);
    buf_printf(path, "%s/%s", c->job->scratch, name);
    FILE *file = fopen(path->data, "w");
    const bool ok = file && fputs(text, file) >= 0;
    if (file && fclose(file) == 0 && ok) return true;
    buf_printf(c->why, "%s cannot be written: %s", path->data, strerror(errno));
    return false;
}

static json_t *problems_json(const struct bench_child *c) {
    json_t *list = json_array();
    for (int i = 0; i < c->job->problems->count; i++) {
        const struct bench_problem *p = &c->job->problems->item[i];
        if (c->done[i]) continue;
        json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:i, s:i, s:b}", "id", i, "d", p->d, "n", p->n, "batch",
                                              p->batch, "heads", p->heads, "causal", (int)p->causal));
    }
    return list;
}

static bool write_request(struct bench_child *c) {
    const struct bench_job *job = c->job;
    json_t *specs = json_array(), *contenders = json_array(), *modes = json_array();
    for (int i = 0; i < job->specs; i++)
        json_array_append_new(specs, json_pack("{s:s, s:i}", "name", job->spec[i].name, "d", job->spec[i].d));
    for (int i = 0; i < BENCH_CONTENDERS; i++)
        if (job->contender[i]) json_array_append_new(contenders, json_string(bench_contender_name(i)));
    for (int i = 0; i < BENCH_MODES; i++)
        if (job->mode[i]) json_array_append_new(modes, json_string(bench_mode_name(i)));
    json_t *root = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:O}", "version", sage_version(), "lib",
                             c->python->library, "kernel_dir", job->kernel_dir, "specs", specs, "contenders",
                             contenders, "modes", modes, "problems", problems_json(c), "dropped", c->dropped);
    char *text = json_dumps(root, JSON_INDENT(1));
    const bool ok = write_file(c, &c->request, "request.json", text ? text : "{}");
    free(text);
    json_decref(root);
    return ok;
}

/* -- Process ---- */

// In the child.
static int be_python(void *user, int fd) {
    const struct bench_child *c = user;
    const int messages = open(c->messages.data, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int nothing = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    if (messages < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(fd, 1) < 0 || dup2(messages, 2) < 0)
        return CANNOT_START;
    if (fd > 2) close(fd);
    execlp(c->python->program, c->python->program, c->script.data, c->request.data, (char *)NULL);
    fprintf(stderr, "%s: %s\n", c->python->program, strerror(errno));
    fflush(stderr);
    return CANNOT_START;
}

// The last line that the process wrote to stderr, cut to a sensible length; "": none.
static void last_message(const struct bench_child *c, struct buf *out) {
    char text[4097], *line = text;
    FILE *file = fopen(c->messages.data, "r");
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
        buf_printf(out, "ended the Python process by signal %d (%s)", -status, strsignal(-status));
    else if (!c->started && status == CANNOT_START)
        buf_puts(out, "cannot be started");
    else
        buf_printf(out, "ended the Python process with status %d", status);
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
    if (problem != c->problem) forget_rivals(c);
    c->problem = problem;
    c->timing = !name[0];
    if (!c->timing && c->rivals < RIVALS_MOST) c->rival[c->rivals++] = (struct rival){contender, xstrdup(kernel)};
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
        const enum process_answer answer = process_read_line(&c->process, &c->pending, &c->line, c->python->timeout_s);
        if (answer == PROCESS_SILENT) buf_printf(c->why, "gave no answer for %d s", c->python->timeout_s);
        if (answer != PROCESS_ANSWER) return answer;
        if (take_answer(c, c->line.data)) continue;
        buf_puts(c->why, "made the Python process answer nonsense: '");
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
    if (!write_request(c)) return false;
    if (!process_start(&c->process, be_python, c, why, sizeof why)) {
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

static void add_reason(struct bench_child *c, const struct rival *rival, const char *reason) {
    for (int mode = 0; mode < BENCH_MODES; mode++) {
        if (!c->job->mode[mode]) continue;
        const struct bench_record row = {.kernel = rival->kernel,
                                         .reason = (char *)(uintptr_t)reason,
                                         .contender = rival->contender,
                                         .mode = mode,
                                         .problem = c->job->problems->item[c->problem]};
        bench_add(c->job, c->records, &row);
    }
}

// Whoever was at work is left out; where all were timed in turn, the problem is. False: nobody was at work.
static bool blame(struct bench_child *c) {
    if (c->problem < 0 || c->rivals == 0) return false;
    const struct rival *last = &c->rival[c->rivals - 1];
    const char *name = last->contender == BENCH_SAGEGEN ? last->kernel : bench_contender_name(last->contender);
    if (c->timing) {
        for (int i = 0; i < c->rivals; i++) add_reason(c, &c->rival[i], c->why->data);
        bench_progress_note(c->job->progress, "a problem is left out: one of its contenders %s", c->why->data);
        c->done[c->problem] = true;
        bench_progress_done(c->job->progress, c->problem);
    } else {
        add_reason(c, last, c->why->data);
        bench_progress_note(c->job->progress, "%s %s; it is left out from now on", name, c->why->data);
        json_array_append_new(c->dropped, json_string(name));
    }
    forget_rivals(c);
    buf_clear(c->why);
    return true;
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

enum bench_end bench_python_run(const struct bench_job *job, const struct bench_python *python,
                                struct bench_records *records, struct buf *why) {
    struct bench_child c = {.job = job, .python = python, .records = records, .why = why, .problem = -1};
    enum bench_end end = BENCH_FAILED;
    c.done = xcalloc((size_t)job->problems->count + 1, sizeof *c.done);
    c.dropped = json_array();
    buf_printf(&c.messages, "%s/messages.txt", job->scratch);
    bench_progress_starting(job->progress, python->program);
    if (write_file(&c, &c.script, "measure.py", script()->data)) end = run_all(&c);
    forget_rivals(&c);
    json_decref(c.dropped);
    free(c.done);
    buf_free(&c.script);
    buf_free(&c.request);
    buf_free(&c.messages);
    buf_free(&c.pending);
    buf_free(&c.line);
    return end;
}
