// verify_run: runs the units' checks in a child process, so that a kernel that faults or never ends costs its own unit
// only: the parent, which never touches the GPU, starts another child at the next unit. Records come through a pipe.
// SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct verify_record) <= PIPE_BUF, "a record is written to the pipe as a whole");

/* -- Pipes ---- */

static bool write_all(int fd, const void *data, size_t bytes) {
    for (const char *p = data; bytes > 0;) {
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

// Bytes read: all, or fewer at the end of the pipe; -1: nothing came in time.
static ssize_t read_all(int fd, void *data, size_t bytes, int timeout_s) {
    size_t done = 0;
    while (done < bytes) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, timeout_s * 1000);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return -1;
        ssize_t n = read(fd, (char *)data + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* -- Probe ---- */

struct probe {
    bool ok;
    struct verify_gpu gpu;
    char why[DEVICE_ERROR_BYTES];
};

static void probe_here(struct probe *out) {
    struct device device = {.ordinal = 0};
    out->ok = device_open(0, &device, out->why, sizeof out->why);
    if (!out->ok) return;
    out->gpu.sm = device.driver.sm;
    out->gpu.memory_bytes = device.memory_bytes;
    snprintf(out->gpu.name, sizeof out->gpu.name, "%s", device.driver.device_name);
    device_close(&device);
}

static void probe_child(struct probe *out) {
    enum { PROBE_TIMEOUT_S = 60 };
    int fd[2];
    if (pipe(fd) != 0) return;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        probe_here(out);
        _exit(write_all(fd[1], out, sizeof *out) ? 0 : 1);
    }
    close(fd[1]);
    struct probe answer = {.ok = false};
    if (pid > 0 && read_all(fd[0], &answer, sizeof answer, PROBE_TIMEOUT_S) == (ssize_t)sizeof answer)
        *out = answer;
    else
        snprintf(out->why, sizeof out->why, "asking the driver for its GPUs failed or took over %d s", PROBE_TIMEOUT_S);
    close(fd[0]);
    if (pid <= 0) return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

bool verify_probe(bool fork_allowed, struct verify_gpu *out, char *why, size_t why_bytes) {
    struct probe probe = {.why = "no process could be started"};
    if (fork_allowed)
        probe_child(&probe);
    else
        probe_here(&probe);
    *out = probe.gpu;
    snprintf(why, why_bytes, "%s", probe.why);
    return probe.ok;
}

/* -- Checks of a range of units ---- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_unit(struct verify_session *s, int index) {
    const unsigned parts = s->options->parts;
    char text[96];
    double start = seconds();
    if (!verify_session_unit(s, index)) return;
    if (parts & VERIFY_QUANTISERS) verify_quantisers(s);
    if ((parts & VERIFY_GATES) && !s->dead) verify_gates(s);
    if ((parts & VERIFY_PROPERTIES) && !s->dead) verify_properties(s);
    fprintf(stderr, "[%3d/%d] %s  %.1f s%s\n", index + 1, s->units->count, verify_unit_text(s->unit, text),
            seconds() - start, s->dead ? "  GPU LOST" : "");
}

// Runs units from `first` on. false: the GPU was lost.
static bool run_units(const struct verify_options *options, const struct verify_units *units, int first,
                      struct verify_sink sink) {
    struct verify_session s = {.options = options, .units = units, .unit_index = first, .sink = sink};
    char why[DEVICE_ERROR_BYTES] = "";
    s.unit = &units->unit[first];
    if (!verify_session_open(&s, why, sizeof why)) {
        verify_fail(&s, "open", "", "%.180s", why);
        s.dead = true;
    }
    for (int i = first; i < units->count && !s.dead; i++) run_unit(&s, i);
    bool ok = !s.dead;
    verify_session_close(&s);
    return ok;
}

/* -- Processes ---- */

enum { CHILD_DONE = 0, CHILD_LOST = 3 };

static void put_to_pipe(void *user, const struct verify_record *record) {
    if (!write_all(*(int *)user, record, sizeof *record)) _exit(1);
}

static void put_failure(struct verify_report *report, int unit, const char *check, const char *note) {
    struct verify_record r = {.unit = unit, .outcome = VERIFY_FAIL, .error = 1};
    snprintf(r.check, sizeof r.check, "%s", check);
    snprintf(r.note, sizeof r.note, "%s", note);
    verify_report_put(report, &r);
}

// Says how the child ended, where that is a failure that it could not record itself.
static bool judge_end(struct verify_report *report, int unit, int status, bool hung, const char *last_check) {
    char note[192];
    if (hung)
        snprintf(note, sizeof note, "no answer in time; killed after %s", last_check);
    else if (WIFSIGNALED(status))
        snprintf(note, sizeof note, "killed by signal %d after %s", WTERMSIG(status), last_check);
    else if (WEXITSTATUS(status) == CHILD_LOST)
        return false; // recorded by the child
    else if (WEXITSTATUS(status) != CHILD_DONE)
        snprintf(note, sizeof note, "exit status %d after %s", WEXITSTATUS(status), last_check);
    else
        return true;
    put_failure(report, unit, hung ? "hang" : "crash", note);
    return false;
}

// Reads the child's records; *unit follows the unit that it is at. Returns whether it reached the end of all units.
static bool follow(const struct verify_options *options, struct verify_report *report, pid_t pid, int fd, int *unit) {
    char last_check[96] = "the start";
    struct verify_record r;
    ssize_t n;
    while ((n = read_all(fd, &r, sizeof r, options->timeout_s)) == (ssize_t)sizeof r) {
        *unit = r.unit;
        if (r.outcome == VERIFY_BEGIN)
            snprintf(last_check, sizeof last_check, "the start");
        else
            snprintf(last_check, sizeof last_check, "%s %s", r.check, r.shape);
        verify_report_put(report, &r);
    }
    int status = 0;
    if (n < 0) kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return judge_end(report, *unit, status, n < 0, last_check);
}

// One child, from unit `first` on. Returns the unit to go on with; units->count: done.
static int run_child(const struct verify_options *options, const struct verify_units *units, int first,
                     struct verify_report *report) {
    int fd[2], unit = first;
    fflush(NULL); // or the child would print it again
    if (pipe(fd) != 0) {
        put_failure(report, first, "process", strerror(errno));
        return units->count;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        const struct verify_sink sink = {put_to_pipe, &fd[1]};
        _exit(run_units(options, units, first, sink) ? CHILD_DONE : CHILD_LOST);
    }
    close(fd[1]);
    bool done = false;
    if (pid < 0)
        put_failure(report, first, "process", strerror(errno));
    else
        done = follow(options, report, pid, fd[0], &unit);
    close(fd[0]);
    return done || pid < 0 ? units->count : unit + 1;
}

void verify_run(const struct verify_options *options, const struct verify_units *units, struct verify_report *report) {
    enum { LOSSES_MAX = 40 }; // a GPU that is beyond help would else be tried for every unit
    if (!options->fork) {
        const struct verify_sink sink = {verify_report_put, report};
        run_units(options, units, 0, sink);
        return;
    }
    int losses = 0;
    for (int next = 0; next < units->count; losses++) {
        next = run_child(options, units, next, report);
        if (losses < LOSSES_MAX || next >= units->count) continue;
        put_failure(report, next, "process", "too many faults; the remaining units were not run");
        return;
    }
}
