// tune_journal: every measurement of `sagegen tune`, as it was made: a text that only grows, a line each with its own
// hash, synced to the disk in batches. A run that was killed has lost nothing; after a power cut the next run cuts a
// torn end off, and replays the rest. Lines are keyed by GPU and by the hash of the kernels, never by the list of
// candidates: a new tuning point costs its own measurement alone, a changed kernel is measured anew, old lines are
// passed over.
//
//   <hash> machine <id> <sm> <multiprocessors> <driver> <GPU>
//   <hash> check   <id> <key> <problem> <error ppm> <bound ppm> <names>
//   <hash> time    <id> <key> <problem> <round> <samples> <ns> <spread ppm> <names>
//   <hash> fault   <id> <key> <problem> <word> <why>            problem "-": of every problem
// problem: n/batch/heads/heads_kv. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TUNE_JOURNAL_H
#define SAGE_GEN_TUNE_JOURNAL_H

#include "tune.h"
#include <time.h>

struct tune_entry;

struct tune_journal {
    const char *file; /* borrowed */
    int fd;           /* -1: nothing is written */
    struct tune_entry *entry;
    int count, capacity;
    int cut_bytes; /* of a torn end */
    char machine[KEY_HEX64_BYTES];
    struct buf pending;
    int unsynced; /* lines */
    struct timespec synced;
    struct diag *diag;
    bool failed; /* a write failed; it was reported */
};

// Opens or makes the file, and reads it. The journal is for this process alone until it is closed; a killed process
// leaves no lock. file NULL: no journal. false: the reason is in d: another process has it, it cannot be written, or
// file:line is damaged.
bool tune_journal_open(struct tune_journal *j, const char *file, struct diag *d);
void tune_journal_close(struct tune_journal *j); // writes what is pending
// Whose measurements are read and written from now on.
void tune_journal_machine(struct tune_journal *j, const struct wisdom_machine *machine);
// Fills the work with what is known of it; later lines replace earlier ones.
void tune_journal_replay(const struct tune_journal *j, struct tune_work *work);

void tune_journal_check(struct tune_journal *j, const struct tune_work *work, const struct tune_task *task,
                        int candidate, const struct tune_proof *proof);
void tune_journal_time(struct tune_journal *j, const struct tune_work *work, const struct tune_task *task,
                       int candidate, int round);
void tune_journal_fault(struct tune_journal *j, const struct tune_work *work, const struct tune_task *task,
                        int candidate);
void tune_journal_set_fault(struct tune_journal *j, const struct tune_set *set);
// Writes what is pending; syncs it if it is time, now: in any case. false: it failed, which was reported.
bool tune_journal_sync(struct tune_journal *j, bool now);

#endif
