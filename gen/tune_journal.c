// tune_journal: see tune_journal.h. SPDX-License-Identifier: Apache-2.0
#include "tune_journal.h"

#include "text_lines.h"
#include "verify_process.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_LINES = 64, BATCH_SECONDS = 2, HASH_LEN = KEY_HEX64_BYTES - 1, PROBLEM_BYTES = 64 };

enum kind { CHECK, TIME, FAULT };

struct tune_entry {
    enum kind kind;
    char machine[KEY_HEX64_BYTES], key[KEY_BYTES], problem[PROBLEM_BYTES];
    int round;
    struct tune_time time;
    enum tune_fault fault;
    char why[TUNE_WHY_BYTES];
};

/* -- Lines ---- */

static void problem_key(const struct tune_task *t, char out[PROBLEM_BYTES]) {
    const struct bench_problem *p = &t->problem;
    snprintf(out, PROBLEM_BYTES, "%d/%d/%d/%d", p->n, p->batch, p->heads, t->heads_kv);
}

// A line's words behind its hash. false: it is damaged.
static bool line_is_whole(const char *line, size_t len) {
    char hash[KEY_HEX64_BYTES];
    if (len < HASH_LEN + 2 || line[HASH_LEN] != ' ' || memchr(line, 0, len)) return false;
    key_hash64(line + HASH_LEN + 1, len - HASH_LEN - 1, hash);
    return memcmp(hash, line, HASH_LEN) == 0;
}

// Lines of a kind that this program does not know are passed over: another version wrote them.
static void read_words(struct tune_journal *j, const char *words) {
    struct tune_entry e = {.kind = CHECK};
    char kind[16] = "", fault[16] = "";
    int used = 0;
    if (sscanf(words, "%15s %16s %32s %63s %n", kind, e.machine, e.key, e.problem, &used) != 4) return;
    if (strcmp(kind, "time") == 0) {
        e.kind = TIME;
        if (sscanf(words + used, "%d %d %" SCNd64 " %d", &e.round, &e.time.samples, &e.time.ns, &e.time.spread_ppm) !=
            4)
            return;
        if (e.round < 0 || e.round >= TUNE_ROUNDS || e.time.ns < 1) return;
    } else if (strcmp(kind, "fault") == 0) {
        e.kind = FAULT;
        if (sscanf(words + used, "%15s %319[^\n]", fault, e.why) < 1) return;
        e.fault = tune_fault_find(fault);
        if (e.fault == TUNE_FINE) return;
    } else if (strcmp(kind, "check") != 0) {
        return;
    }
    j->entry = xgrown(j->entry, j->count, &j->capacity, sizeof *j->entry);
    j->entry[j->count++] = e;
}

/* -- Opening ---- */

static bool report(struct tune_journal *j, const char *what) {
    diag_error(j->diag, (struct diag_loc){.file = j->file}, "%s: %s", what, strerror(errno));
    return false;
}

static bool read_all(struct tune_journal *j, struct buf *out) {
    char block[1 << 16];
    ssize_t n;
    buf_puts(out, "");
    while ((n = read(j->fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return report(j, "cannot be read");
        buf_append(out, block, (size_t)n);
    }
    return true;
}

// Where the last whole line ends, and the first damaged line before it: 0 where there is none.
static size_t whole_end(const struct buf *text, int *damaged_line) {
    size_t end = 0;
    int number = 1, first_bad = 0;
    *damaged_line = 0;
    for (size_t at = 0; at < text->len; number++) {
        const char *newline = memchr(text->data + at, '\n', text->len - at);
        const size_t len = newline ? (size_t)(newline - text->data) - at : text->len - at;
        if (newline && line_is_whole(text->data + at, len)) {
            if (first_bad && !*damaged_line) *damaged_line = first_bad;
            end = at + len + 1;
        } else if (!first_bad) {
            first_bad = number;
        }
        at += len + 1;
    }
    return end;
}

// A first line of which the beginning alone was written, or nothing.
static bool is_torn_start(const struct buf *text) {
    const size_t digits = strspn(text->data, "0123456789abcdef");
    return !memchr(text->data, '\n', text->len) && (digits == text->len || digits == HASH_LEN);
}

static bool read_lines(struct tune_journal *j, struct buf *text) {
    int damaged;
    const size_t end = whole_end(text, &damaged);
    if (end == 0 && !is_torn_start(text)) {
        diag_error(j->diag, (struct diag_loc){j->file, 1, 0},
                   "this is no journal of sagegen tune; give another --journal");
        return false;
    }
    if (damaged) {
        diag_error(j->diag, (struct diag_loc){j->file, damaged, 0},
                   "this line does not match its hash; delete it (its measurement is made again), or the file");
        return false;
    }
    j->cut_bytes = (int)(text->len - end);
    if (j->cut_bytes && ftruncate(j->fd, (off_t)end) != 0) return report(j, "its torn end cannot be cut off");
    if (j->cut_bytes) text->data[end] = '\0';
    for (const char *line = text->data; *line; line = next_line(line)) read_words(j, line + HASH_LEN + 1);
    return true;
}

static bool open_file(struct tune_journal *j) {
    j->fd = open(j->file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (j->fd < 0) return report(j, "cannot be opened");
    // A record lock, not flock: children that outlive a killed parent by a moment must not hold it.
    const struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(j->fd, F_SETLK, &all) == 0) return true;
    if (errno != EACCES && errno != EAGAIN) return true; // a file system without locks
    diag_error(j->diag, (struct diag_loc){.file = j->file},
               "another sagegen tune writes it; wait for its end, or give this one a --journal of its own");
    return false;
}

bool tune_journal_open(struct tune_journal *j, const char *file, struct diag *d) {
    struct buf text = {0};
    *j = (struct tune_journal){.file = file, .fd = -1, .diag = d};
    clock_gettime(CLOCK_MONOTONIC, &j->synced);
    if (!file) return true;
    const bool ok = open_file(j) && read_all(j, &text) && read_lines(j, &text);
    buf_free(&text);
    if (!ok) tune_journal_close(j);
    return ok;
}

void tune_journal_close(struct tune_journal *j) {
    if (j->fd >= 0) {
        tune_journal_sync(j, true);
        close(j->fd);
    }
    free(j->entry);
    buf_free(&j->pending);
    *j = (struct tune_journal){.fd = -1};
}

/* -- Writing ---- */

__attribute__((format(printf, 2, 3))) static void put_line(struct tune_journal *j, const char *format, ...) {
    struct buf words = {0};
    char hash[KEY_HEX64_BYTES];
    va_list args;
    va_start(args, format);
    buf_vprintf(&words, format, args);
    va_end(args);
    for (size_t i = 0; i < words.len; i++)
        if ((unsigned char)words.data[i] < ' ') words.data[i] = ' ';
    key_hash64(words.data, words.len, hash);
    buf_printf(&j->pending, "%s %s\n", hash, words.data);
    buf_free(&words);
    j->unsynced++;
}

// As of its words, so that a line of another version's machine is another machine.
void tune_journal_machine(struct tune_journal *j, const struct wisdom_machine *m) {
    struct buf words = {0};
    buf_printf(&words, "%d %d %s %s", m->sm, m->multiprocessors, m->driver, m->gpu);
    key_hash64(words.data, words.len, j->machine);
    bool known = false;
    for (int i = 0; i < j->count && !known; i++) known = strcmp(j->entry[i].machine, j->machine) == 0;
    if (!known) put_line(j, "machine %s %s", j->machine, words.data);
    buf_free(&words);
}

static void put_names(const struct tune_set *s, struct buf *out) {
    buf_printf(out, "%s %s %s %s %s", s->spec->spec.name, s->name, spec_target_text(s->target), spec_io_text(s->io),
               spec_mask_text(s->mask));
}

void tune_journal_check(struct tune_journal *j, const struct tune_work *w, const struct tune_task *t, int candidate,
                        const struct tune_proof *proof) {
    const struct tune_set *s = tune_set_of(w, t, candidate);
    char problem[PROBLEM_BYTES];
    struct buf names = {0};
    problem_key(t, problem);
    put_names(s, &names);
    put_line(j, "check %s %s %s %.0f %.0f %s", j->machine, s->key, problem, proof->error * 1e6, proof->bound * 1e6,
             names.data);
    buf_free(&names);
}

void tune_journal_time(struct tune_journal *j, const struct tune_work *w, const struct tune_task *t, int candidate,
                       int round) {
    const struct tune_set *s = tune_set_of(w, t, candidate);
    const struct tune_time *time = &t->candidate[candidate].time[round];
    char problem[PROBLEM_BYTES];
    struct buf names = {0};
    problem_key(t, problem);
    put_names(s, &names);
    put_line(j, "time %s %s %s %d %d %" PRId64 " %d %s", j->machine, s->key, problem, round, time->samples, time->ns,
             time->spread_ppm, names.data);
    buf_free(&names);
}

void tune_journal_fault(struct tune_journal *j, const struct tune_work *w, const struct tune_task *t, int candidate) {
    const struct tune_candidate *c = &t->candidate[candidate];
    char problem[PROBLEM_BYTES];
    problem_key(t, problem);
    put_line(j, "fault %s %s %s %s %s", j->machine, tune_set_of(w, t, candidate)->key, problem,
             tune_fault_word(c->fault), c->why);
}

void tune_journal_set_fault(struct tune_journal *j, const struct tune_set *s) {
    put_line(j, "fault %s %s - %s %s", j->machine, s->key, tune_fault_word(s->fault), s->why);
}

bool tune_journal_sync(struct tune_journal *j, bool now) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const bool due = now || j->unsynced >= BATCH_LINES || t.tv_sec - j->synced.tv_sec >= BATCH_SECONDS;
    if (j->fd < 0 || j->unsynced == 0) return !j->failed;
    bool ok = process_write(j->fd, j->pending.data, j->pending.len);
    buf_clear(&j->pending);
    if (due) {
        ok = ok && fdatasync(j->fd) == 0;
        j->synced = t;
        j->unsynced = 0;
    }
    if (!ok && !j->failed) report(j, "cannot be written");
    j->failed |= !ok;
    return !j->failed;
}

/* -- Replay ---- */

static void replay_candidate(const struct tune_entry *e, struct tune_candidate *c) {
    if (e->kind == FAULT) {
        c->fault = e->fault;
        memcpy(c->why, e->why, sizeof c->why);
    } else if (e->kind == TIME) {
        c->time[e->round] = e->time;
    } else {
        c->checked = true;
    }
}

static void replay_set(const struct tune_entry *e, struct tune_set *s) {
    if (e->kind != FAULT) return;
    s->fault = e->fault;
    memcpy(s->why, e->why, sizeof s->why);
}

// Entries of one kernel stand together after sorting, in the order they were written.
struct by_key {
    const struct tune_entry **entry;
    int count;
};

static int compare_entries(const void *left, const void *right) {
    const struct tune_entry *a = *(const struct tune_entry *const *)left, *b = *(const struct tune_entry *const *)right;
    const int by_key = strcmp(a->key, b->key);
    return by_key ? by_key : (a > b) - (a < b);
}

static struct by_key index_make(const struct tune_journal *j) {
    struct by_key index = {.entry = xcalloc((size_t)j->count + 1, sizeof(const struct tune_entry *))};
    for (int i = 0; i < j->count; i++)
        if (strcmp(j->entry[i].machine, j->machine) == 0) index.entry[index.count++] = &j->entry[i];
    if (index.count) qsort(index.entry, (size_t)index.count, sizeof(const struct tune_entry *), compare_entries);
    return index;
}

// The first entry of the key.
static int index_find(const struct by_key *index, const char *key) {
    int low = 0, high = index->count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (strcmp(index->entry[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void tune_journal_replay(const struct tune_journal *j, struct tune_work *w) {
    const struct by_key index = index_make(j);
    for (int s = 0; s < w->sets; s++)
        for (int i = index_find(&index, w->set[s].key); i < index.count; i++) {
            if (strcmp(index.entry[i]->key, w->set[s].key) != 0) break;
            if (strcmp(index.entry[i]->problem, "-") == 0) replay_set(index.entry[i], &w->set[s]);
        }
    for (int t = 0; t < w->tasks; t++) {
        char problem[PROBLEM_BYTES];
        problem_key(&w->task[t], problem);
        for (int c = 0; c < w->task[t].count; c++) {
            const char *key = tune_set_of(w, &w->task[t], c)->key;
            for (int i = index_find(&index, key); i < index.count && strcmp(index.entry[i]->key, key) == 0; i++)
                if (strcmp(index.entry[i]->problem, problem) == 0)
                    replay_candidate(index.entry[i], &w->task[t].candidate[c]);
        }
    }
    free(index.entry);
}
