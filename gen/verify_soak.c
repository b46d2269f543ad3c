// verify_soak: see verify_soak.h. Here: the kernel sets of one machine at a time, the threads that take streams at
// random, the one that watches them, and the sums that become records. SPDX-License-Identifier: Apache-2.0
#include "verify_soak.h"

#include "cmd_interrupt.h"
#include "parallel.h"
#include "vm_driver.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* -- Records, from any thread ---- */

struct locked_sink {
    pthread_mutex_t lock;
    struct verify_sink inner;
};

static void put_locked(void *user, const struct verify_record *record) {
    struct locked_sink *sink = user;
    pthread_mutex_lock(&sink->lock);
    sink->inner.put(sink->inner.user, record);
    pthread_mutex_unlock(&sink->lock);
}

// Under the lock: whether this fault is one of the first.
static bool count_fault(struct soak *k, const struct soak_call *call) {
    pthread_mutex_lock(&k->lock);
    const bool told = k->wrong++ < SOAK_TOLD_MOST;
    k->pair[call->pair - k->pair].wrong++;
    pthread_mutex_unlock(&k->lock);
    return told;
}

static void put_again(const struct verify_options *options, char *note, size_t bytes) {
    const size_t used = strlen(note);
    const char *again = options->again ? options->again : "the same words";
    if (used + strlen(again) + sizeof "; again: " > bytes) again = "the same words, with this --seed";
    snprintf(note + used, bytes - used, "; again: %s", again);
}

void soak_fault(struct soak *k, const struct soak_stream *stream, const struct soak_call *call, const char *format,
                ...) {
    const struct verify_options *options = k->s->options;
    struct verify_record r = {.unit = call->pair->unit, .outcome = VERIFY_FAIL, .error = 1};
    char what[160];
    va_list args;
    if (!count_fault(k, call)) return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(r.check, sizeof r.check, "soak call");
    verify_shape_text(&(struct verify_call){.shape = call->pair->shape}, r.shape);
    snprintf(r.note, sizeof r.note, "stream %d, call %llu, seed %llu: %s", stream->index,
             (unsigned long long)call->number, (unsigned long long)options->seed, what);
    put_again(options, r.note, sizeof r.note);
    k->s->sink.put(k->s->sink.user, &r);
}

/* -- Threads that call ---- */

bool soak_over(struct soak *k) {
    pthread_mutex_lock(&k->lock);
    const bool over = k->lost || verify_seconds() >= k->end;
    pthread_mutex_unlock(&k->lock);
    return over;
}

// Under the lock. Once the time is over those streams alone whose calls still have to be looked at.
static bool wants_visit(const struct soak *k, const struct soak_stream *stream, bool over) {
    return !k->lost && !stream->held && (!over || stream->calls > 0);
}

// A stream at random; NULL: there is none any more.
static struct soak_stream *take(struct soak *k, struct random *random) {
    struct soak_stream *taken = NULL;
    const uint64_t bits = random_bits(random);
    const double now = verify_seconds();
    uint64_t free = 0;
    pthread_mutex_lock(&k->lock);
    const bool over = now >= k->end;
    for (int i = 0; i < k->s->options->streams; i++) free += wants_visit(k, &k->stream[i], over);
    for (int i = 0, at = 0; free > 0 && !taken; i++)
        if (wants_visit(k, &k->stream[i], over) && (uint64_t)at++ == bits % free) taken = &k->stream[i];
    if (taken) {
        taken->held = true;
        taken->since = now;
    }
    pthread_mutex_unlock(&k->lock);
    return taken;
}

static void give_back(struct soak *k, struct soak_stream *stream) {
    pthread_mutex_lock(&k->lock);
    stream->held = false;
    pthread_mutex_unlock(&k->lock);
}

static void lose(struct soak *k) {
    pthread_mutex_lock(&k->lock);
    k->lost = true;
    pthread_mutex_unlock(&k->lock);
}

static void call_at_random(struct soak *k, size_t thread) {
    const struct verify_options *options = k->s->options;
    struct device device = {0};
    struct soak_stream *stream;
    struct random random;
    char why[DEVICE_ERROR_BYTES];
    random_seed(&random, options->seed + thread);
    if (!device_open(options->ordinal, options->vm ? vm_driver_entry : NULL, &device, why, sizeof why)) {
        verify_fail(k->s, "soak thread", "", "%.180s", why);
        lose(k);
        return;
    }
    while ((stream = take(k, &random))) {
        if (!soak_stream_visit(k, stream, &device)) lose(k);
        give_back(k, stream);
    }
    device_close(&device);
}

/* -- The thread that watches ---- */

struct watch {
    bool terminal;
    double told; /* seconds; when the last progress was told */
    double beat;
};

static void tell(struct soak *k, struct watch *w, double now) {
    enum { TERMINAL_S = 1, LINES_S = 30 };
    if (now - w->told < (w->terminal ? TERMINAL_S : LINES_S)) return;
    w->told = now;
    pthread_mutex_lock(&k->lock);
    const unsigned long long calls = k->calls, wrong = k->wrong;
    const double left_s = k->later_s + (k->end > now ? k->end - now : 0);
    pthread_mutex_unlock(&k->lock);
    fprintf(stderr, "%ssoak: %llu calls, %llu wrong; %.0f s left%s", w->terminal ? "\r\033[K" : "", calls, wrong,
            left_s, w->terminal ? "" : "\n");
    fflush(stderr);
}

// The stream whose thread has waited for longest beyond the limit.
static const struct soak_stream *hung(struct soak *k, double now) {
    const struct soak_stream *found = NULL;
    pthread_mutex_lock(&k->lock);
    for (int i = 0; i < k->s->options->streams; i++) {
        const struct soak_stream *stream = &k->stream[i];
        if (!stream->held || now - stream->since < k->s->options->timeout_s) continue;
        if (!found || stream->since < found->since) found = stream;
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

// Threads that wait for a kernel cannot be ended, their process can.
static void end_if_hung(struct soak *k, double now) {
    const struct soak_stream *stream = k->s->options->fork ? hung(k, now) : NULL;
    if (!stream) return;
    soak_fault(k, stream, &stream->call[0], "this call or one of the next %d on the stream did not end in %d s",
               SOAK_BURST - 1, k->s->options->timeout_s);
    _exit(VERIFY_END_LOST);
}

static bool is_busy(struct soak *k) {
    bool busy = false;
    pthread_mutex_lock(&k->lock);
    const double now = verify_seconds();
    if (cmd_interrupted() && k->end > now) k->end = now;
    for (int i = 0; i < k->s->options->streams; i++)
        busy |= k->stream[i].held || wants_visit(k, &k->stream[i], now >= k->end);
    pthread_mutex_unlock(&k->lock);
    return busy;
}

static void watch(struct soak *k) {
    struct watch w = {.terminal = isatty(STDERR_FILENO), .told = verify_seconds(), .beat = verify_seconds()};
    const struct timespec step = {.tv_nsec = 50 * 1000 * 1000};
    while (is_busy(k)) {
        nanosleep(&step, NULL);
        const double now = verify_seconds();
        tell(k, &w, now);
        end_if_hung(k, now);
        if (now - w.beat < 1) continue;
        w.beat = now;
        verify_begin(k->s, "soak"); // or the parent would take this process for hung
    }
    if (w.terminal) fputs("\r\033[K", stderr);
}

static void watch_or_call(void *user, size_t thread) {
    if (thread == 0)
        watch(user);
    else
        call_at_random(user, thread);
}

/* -- One machine's kernel sets ---- */

static void report_units(struct soak *k) {
    struct verify_session *s = k->s;
    for (int i = 0; i < k->count; i++) {
        unsigned long long calls = 0, wrong = 0;
        int shapes = 0;
        char note[96];
        s->unit_index = k->unit[i];
        for (int p = 0; p < k->pairs; p++) {
            const struct soak_pair *pair = &k->pair[p];
            if (pair->unit != s->unit_index) continue;
            shapes++;
            calls += pair->calls;
            wrong += pair->wrong;
        }
        snprintf(note, sizeof note, "calls that went wrong, of %llu; %d shapes", calls, shapes);
        if (calls + wrong > 0)
            verify_check(s, "soak", "", (double)wrong, 0, note);
        else if (shapes > 0)
            verify_skip(s, "soak", "no call came to its end in this time");
    }
}

static void run_threads(struct soak *k) {
    const int threads = 1 + (k->s->options->streams + 1) / 2; // the others' streams are busy meanwhile
    // What is found now is of no one kernel set; on the machine at least of its target.
    k->s->unit_index = k->s->options->vm ? k->unit[0] : -1;
    parallel_for((size_t)threads, threads, watch_or_call, k);
    k->s->dead |= k->lost && !k->s->options->vm;
    if (!k->lost) soak_pairs_check_inputs(k);
    if (k->s->options->vm) verify_vm_end(k->s);
}

struct totals {
    uint64_t calls, wrong;
    double seconds;
};

static void soak_machine(struct soak k, double soak_s, struct totals *t) {
    pthread_mutex_init(&k.lock, NULL);
    if (soak_pairs_make(&k) && soak_streams_make(&k)) {
        const double start = verify_seconds();
        k.end = start + soak_s;
        run_threads(&k);
        report_units(&k);
        t->seconds += verify_seconds() - start;
        t->calls += k.calls;
        t->wrong += k.wrong;
    }
    soak_streams_free(&k);
    soak_pairs_free(&k);
    pthread_mutex_destroy(&k.lock);
}

/* -- All ---- */

// The kernel sets that share a machine: a GPU runs all; the PTX machine is a GPU of one target.
static int same_machine(const struct verify_session *s, int target, int *unit) {
    int count = 0;
    for (int i = 0; i < s->units->count; i++)
        if (!s->options->vm || (int)s->units->unit[i].target == target) unit[count++] = i;
    return count;
}

static int machines(const struct verify_session *s, int *unit) {
    int count = 0;
    for (int target = 0; s->options->vm && target < SPEC_TARGET_COUNT; target++)
        count += same_machine(s, target, unit) > 0;
    return s->options->vm ? count : 1;
}

static void put_totals(struct verify_session *s, const struct totals *t) {
    char note[160];
    snprintf(note, sizeof note, "calls that went wrong, of %llu in %.1f s, on %d streams", (unsigned long long)t->calls,
             t->seconds, s->options->streams);
    s->unit_index = -1;
    if (t->calls + t->wrong > 0)
        verify_check(s, "soak, all", "", (double)t->wrong, 0, note);
    else
        verify_fail(s, "soak, all", "", "no call came to its end");
}

void verify_soak(struct verify_session *s) {
    struct locked_sink sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .inner = s->sink};
    struct totals totals = {0};
    int *unit = xcalloc((size_t)s->units->count + 1, sizeof *unit), left = machines(s, unit);
    const double share_s = (double)s->options->soak_s / left;
    s->sink = (struct verify_sink){put_locked, &sink};
    for (int target = 0; target < (s->options->vm ? SPEC_TARGET_COUNT : 1) && !s->dead && !cmd_interrupted();
         target++) {
        const int count = same_machine(s, target, unit);
        if (count == 0) continue;
        s->unit_index = unit[0];
        s->unit = &s->units->unit[unit[0]];
        left--;
        if (!verify_session_renew(s)) continue;
        soak_machine((struct soak){.s = s, .unit = unit, .count = count, .later_s = share_s * left}, share_s, &totals);
    }
    put_totals(s, &totals);
    s->sink = sink.inner;
    free(unit);
}
