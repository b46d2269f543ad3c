// tune_worker: see tune_worker.h. SPDX-License-Identifier: Apache-2.0
#include "tune_worker.h"

#include "verify_process.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct server {
    const struct tune_meter *meter;
    const struct tune_work *work;
    void *state;
    int fd;
    bool ended; /* the parent is gone, or the device */
    char why[TUNE_WHY_BYTES];
};

__attribute__((format(printf, 2, 3))) static void say(struct server *s, const char *format, ...) {
    struct buf line = {0};
    va_list args;
    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    buf_puts(&line, "\n");
    s->ended |= !process_write(s->fd, line.data, line.len);
    buf_free(&line);
}

// Tells of a failure. Returns whether there was none.
static bool went_well(struct server *s, int candidate, enum tune_answer answer) {
    if (answer == TUNE_OK) return true;
    say(s, "%s %d %s", answer == TUNE_FAILED ? "failed" : "lost", candidate, s->why);
    s->ended |= answer == TUNE_LOST;
    return false;
}

static void check(struct server *s, const struct tune_task *t, int candidate, int reference) {
    struct tune_proof proof = {0};
    say(s, "at %d", candidate);
    if (went_well(s, candidate, s->meter->check(s->state, t, candidate, reference, &proof, s->why, sizeof s->why)))
        say(s, "proof %d %.9g %.9g", candidate, proof.error, proof.bound);
}

struct turn {
    int candidate, samples;
    double spent_ms;
    bool out;
};

static bool take_sample(struct server *s, const struct tune_task *t, struct turn *turn) {
    double ms = 0;
    say(s, "at %d", turn->candidate);
    if (!went_well(s, turn->candidate, s->meter->time(s->state, t, turn->candidate, &ms, s->why, sizeof s->why)))
        return false;
    const double ns = ms * 1e6 + 0.5;
    say(s, "ns %d %" PRId64, turn->candidate, ns < 1 ? (int64_t)1 : (int64_t)ns);
    turn->samples++;
    turn->spent_ms += ms;
    return true;
}

// By turns, so that a clock that drifts meets them all.
static void take_time(struct server *s, const struct tune_task *t, int samples, struct turn *turn, int count) {
    for (int i = 0; i < samples && !s->ended; i++)
        for (int k = 0; k < count && !s->ended; k++) {
            const bool spent = turn[k].samples >= TUNE_LEAST_SAMPLES && turn[k].spent_ms >= TUNE_BUDGET_MS;
            if (!turn[k].out && !spent) turn[k].out = !take_sample(s, t, &turn[k]);
        }
}

// The numbers of a line, up to TUNE_WORDS_MOST.
static int numbers_of(const char *text, int *out) {
    int count = 0;
    for (char *end; count < TUNE_WORDS_MOST; text = end) {
        const long value = strtol(text, &end, 10);
        if (end == text) break;
        out[count++] = (int)value;
    }
    return count;
}

static void serve(struct server *s, const char *line) {
    int number[TUNE_WORDS_MOST];
    struct turn turn[TUNE_WORDS_MOST] = {{0}};
    const bool checks = strncmp(line, "check ", 6) == 0;
    const int count = numbers_of(line + strcspn(line, " "), number);
    if (count < 3 || number[0] < 0 || number[0] >= s->work->tasks) {
        s->ended = true;
        return;
    }
    const struct tune_task *t = &s->work->task[number[0]];
    for (int i = 2; i < count; i++) turn[i - 2].candidate = number[i];
    if (checks)
        check(s, t, number[1], number[2]);
    else
        take_time(s, t, number[1], turn, count - 2);
    if (!s->ended) say(s, "done");
}

int tune_work_in_child(void *user, int fd) {
    const struct tune_server *server = user;
    struct server s = {.meter = server->meter, .work = server->bench->work, .fd = fd};
    struct buf pending = {0}, line = {0};
    if (s.meter->open(server->bench, &s.state, s.why, sizeof s.why))
        say(&s, "ready");
    else
        say(&s, "no %s", s.why);
    while (!s.ended && process_next_line(fd, &pending, &line)) serve(&s, line.data);
    s.meter->close(s.state);
    buf_free(&pending);
    buf_free(&line);
    return 0;
}
