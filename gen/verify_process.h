// verify_process: a child process that does one piece of work and reports through a pipe; of `sagegen verify`,
// `sagegen bench` and `sagegen tune`. A process that called the
// driver cannot hand it on: after fork, cuInit fails in the child with CUDA_ERROR_NOT_INITIALIZED. So `sagegen verify`
// calls it in such children alone, and so does NVRTC's search, which asks for the driver's version.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_PROCESS_H
#define SAGE_GEN_VERIFY_PROCESS_H

#include "buf.h"
#include <stdbool.h>
#include <sys/types.h>

struct process {
    pid_t pid;
    int fd; /* the end that this process reads; of a served one also writes */
};

// Runs in the child, which reports through fd; returns the child's exit status.
typedef int process_work(void *user, int fd);

// false: no process could be started; why has the reason. The child dies with the thread that started it.
bool process_start(struct process *out, process_work *work, void *user, char *why, size_t why_bytes);
// The same, over a socket: the child is told what to do through fd as well, as lines (process_send, process_next_line).
bool process_serve(struct process *out, process_work *work, void *user, char *why, size_t why_bytes);
// To a served child: all bytes, or false where it is gone.
bool process_send(const struct process *process, const void *data, size_t bytes);
// In a served child: the next line without its end; false at the end. pending keeps what was read beyond it.
bool process_next_line(int fd, struct buf *pending, struct buf *line);
// In the child: all bytes, or false where nobody reads any more.
bool process_write(int fd, const void *data, size_t bytes);

enum process_answer { PROCESS_ANSWER, PROCESS_END, PROCESS_SILENT, PROCESS_STOPPED };
// Reads all bytes. END: the child closed the pipe before; SILENT: for timeout_s seconds nothing came; STOPPED: the user
// interrupted this process (cmd_interrupt.h).
enum process_answer process_read(const struct process *process, void *data, size_t bytes, int timeout_s);
// The same after an interrupt, of which the child was told (cmd_interrupt_child): reads until it ends.
enum process_answer process_read_on(const struct process *process, void *data, size_t bytes, int timeout_s);

// The next line, without its end; pending keeps what was read beyond it, from call to call. END also for a last line that
// has no end, and for one of over a megabyte.
enum process_answer process_read_line(const struct process *process, struct buf *pending, struct buf *line,
                                      int timeout_s);

/* -- Several children at once ---- */

// Waits until one of them has something to say or has ended, at most timeout_ms, or until an interrupt. Sets ready[i].
// false: none has.
bool process_wait(const struct process *const *list, int count, int timeout_ms, bool *ready);
// Reads what a child that is ready has said, without waiting. false: it closed its end.
bool process_take(const struct process *process, struct buf *pending);
// Moves the first whole line out of pending; false: there is none yet.
bool process_take_line(struct buf *pending, struct buf *line);

// Waits for the child's end, which kill_it brings about. Returns its exit status, or minus the signal that ended it.
int process_end(struct process *process, bool kill_it);

#endif
