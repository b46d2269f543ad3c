// tune_halving: from what is known of a task to what comes next: checks, then rounds of successive halving, then the
// winner. Keeps nothing: what was measured by an earlier run counts like what was measured just now.
// SPDX-License-Identifier: Apache-2.0
#include "tune.h"

#include <stdlib.h>

// Noise of a median shrinks with its samples, and so does the band. The last is about what two runs differ by: within
// it the order of the spec decides, so that a second run names the same winner.
const struct tune_round tune_rounds[TUNE_ROUNDS] = {{3, 0.10}, {9, 0.04}, {27, 0.015}};

struct tune_time tune_best_time(const struct tune_candidate *c) {
    for (int round = TUNE_ROUNDS - 1; round >= 0; round--)
        if (c->time[round].ns > 0) return c->time[round];
    return (struct tune_time){0};
}

static int64_t best_of(const struct tune_task *t, const bool *in, int round) {
    int64_t best = 0;
    for (int i = 0; i < t->count; i++)
        if (in[i] && (best == 0 || t->candidate[i].time[round].ns < best)) best = t->candidate[i].time[round].ns;
    return best;
}

static bool is_close(int64_t ns, int64_t best, double band) {
    return (double)ns <= (double)best * (1 + band);
}

// How many of those in are faster than the candidate, or as fast and before it.
static int place_of(const struct tune_task *t, const bool *in, int round, int candidate) {
    const int64_t own = t->candidate[candidate].time[round].ns;
    int place = 0;
    for (int i = 0; i < t->count; i++) {
        const int64_t ns = t->candidate[i].time[round].ns;
        place += in[i] && i != candidate && (ns < own || (ns == own && i < candidate));
    }
    return place;
}

// The better half, those within the band, and the default point, whose time the table shows.
static void halve(const struct tune_task *t, int round, bool *in) {
    const int64_t best = best_of(t, in, round);
    bool *keep = xcalloc((size_t)t->count, sizeof *keep);
    int all = 0;
    for (int i = 0; i < t->count; i++) all += in[i];
    for (int i = 0; i < t->count; i++)
        keep[i] = in[i] && (i == 0 || place_of(t, in, round, i) < (all + 1) / 2 ||
                            is_close(t->candidate[i].time[round].ns, best, tune_rounds[round].band));
    for (int i = 0; i < t->count; i++) in[i] = keep[i];
    free(keep);
}

static bool add_check(const struct tune_task *t, const bool *in, struct tune_step *out) {
    out->next = TUNE_CHECK;
    out->reference = -1;
    for (int i = 0; i < t->count; i++) {
        if (!in[i]) continue;
        if (!t->candidate[i].checked) out->candidate[out->count++] = i;
        if (out->count) return true;
        if (out->reference < 0) out->reference = i;
    }
    return false;
}

static bool add_round(const struct tune_task *t, const bool *in, int round, struct tune_step *out) {
    out->next = TUNE_TIME;
    out->round = round;
    out->samples = tune_rounds[round].samples;
    for (int i = 0; i < t->count; i++)
        if (in[i] && t->candidate[i].time[round].ns == 0) out->candidate[out->count++] = i;
    return out->count > 0;
}

static int winner_of(const struct tune_task *t, const bool *in) {
    const int last = TUNE_ROUNDS - 1;
    const int64_t best = best_of(t, in, last);
    for (int i = 0; i < t->count; i++)
        if (in[i] && is_close(t->candidate[i].time[last].ns, best, tune_rounds[last].band)) return i;
    return -1;
}

static void decide(const struct tune_task *t, bool *in, struct tune_step *out) {
    if (add_check(t, in, out)) return;
    for (int round = 0; round < TUNE_ROUNDS; round++) {
        if (add_round(t, in, round, out)) return;
        if (round < TUNE_ROUNDS - 1) halve(t, round, in);
    }
    out->next = TUNE_DONE;
    out->winner = winner_of(t, in);
}

void tune_step_next(const struct tune_work *work, const struct tune_task *t, struct tune_step *out) {
    bool *in = xcalloc((size_t)t->count + 1, sizeof *in);
    *out = (struct tune_step){.candidate = out->candidate, .winner = -1};
    for (int i = 0; i < t->count; i++) in[i] = tune_candidate_fault(work, t, i) == TUNE_FINE;
    decide(t, in, out);
    free(in);
}
