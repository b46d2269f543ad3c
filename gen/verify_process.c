// verify_process: see verify_process.h. fork, pipe, poll, waitpid; knows nothing of kernels.
// SPDX-License-Identifier: Apache-2.0
#include "verify_process.h"

#include "cmd_interrupt.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void be_child(pid_t parent, process_work *work, void *user, int fd) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // or a hung kernel would keep the GPU after its user is gone
    if (getppid() != parent) _exit(1);
    cmd_interrupt_default();
    _exit(work(user, fd));
}

// fd: the parent's end, then the child's.
static bool start(int fd[2], struct process *out, process_work *work, void *user, char *why, size_t why_bytes) {
    const pid_t parent = getpid();
    fflush(NULL); // or the child would print it again
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        be_child(parent, work, user, fd[1]);
    }
    const int error = errno;
    close(fd[1]);
    *out = (struct process){pid, fd[0]};
    if (pid > 0) return true;
    close(fd[0]);
    snprintf(why, why_bytes, "no process: %s", strerror(error));
    return false;
}

static bool no_pipe(char *why, size_t why_bytes) {
    snprintf(why, why_bytes, "no pipe: %s", strerror(errno));
    return false;
}

bool process_start(struct process *out, process_work *work, void *user, char *why, size_t why_bytes) {
    int fd[2];
    return pipe(fd) == 0 ? start(fd, out, work, user, why, why_bytes) : no_pipe(why, why_bytes);
}

bool process_serve(struct process *out, process_work *work, void *user, char *why, size_t why_bytes) {
    int fd[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0 ? start(fd, out, work, user, why, why_bytes)
                                                        : no_pipe(why, why_bytes);
}

bool process_send(const struct process *process, const void *data, size_t bytes) {
    for (const char *p = data; bytes > 0;) {
        const ssize_t n = send(process->fd, p, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool process_write(int fd, const void *data, size_t bytes) {
    for (const char *p = data; bytes > 0;) {
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

static enum process_answer read_all(const struct process *process, void *data, size_t bytes, int timeout_s,
                                    bool stops) {
    for (char *p = data; bytes > 0;) {
        if (stops && cmd_interrupted()) return PROCESS_STOPPED;
        struct pollfd poll_fd = {.fd = process->fd, .events = POLLIN};
        int ready = poll(&poll_fd, 1, timeout_s * 1000);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return PROCESS_SILENT;
        ssize_t n = read(process->fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return stops && cmd_interrupted() ? PROCESS_STOPPED : PROCESS_END; // Ctrl-C ends the child too
        p += n;
        bytes -= (size_t)n;
    }
    return PROCESS_ANSWER;
}

enum process_answer process_read(const struct process *process, void *data, size_t bytes, int timeout_s) {
    return read_all(process, data, bytes, timeout_s, true);
}

enum process_answer process_read_on(const struct process *process, void *data, size_t bytes, int timeout_s) {
    return read_all(process, data, bytes, timeout_s, false);
}

/* -- Lines ---- */

enum { LINE_MOST = 1 << 20 };

bool process_take_line(struct buf *pending, struct buf *line) {
    const char *end = pending->len ? memchr(pending->data, '\n', pending->len) : NULL;
    if (!end) return false;
    const size_t len = (size_t)(end - pending->data);
    buf_clear(line);
    buf_append(line, pending->data, len);
    memmove(pending->data, end + 1, pending->len - len - 1);
    pending->len -= len + 1;
    return true;
}

// Waits in steps of a second, so that an interrupt just before the wait is seen. What came before it is read still.
static enum process_answer wait_for(int fd, int timeout_s) {
    for (int waited_s = 0; waited_s < timeout_s;) {
        const bool stop = cmd_interrupted();
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        const int ready = poll(&poll_fd, 1, stop ? 0 : 1000);
        if (ready > 0) return PROCESS_ANSWER;
        if (stop) return PROCESS_STOPPED;
        waited_s += ready == 0;
    }
    return PROCESS_SILENT;
}

enum process_answer process_read_line(const struct process *process, struct buf *pending, struct buf *line,
                                      int timeout_s) {
    char block[4096];
    while (!process_take_line(pending, line)) {
        if (pending->len > LINE_MOST) return PROCESS_END;
        const enum process_answer answer = wait_for(process->fd, timeout_s);
        if (answer != PROCESS_ANSWER) return answer;
        const ssize_t n = read(process->fd, block, sizeof block);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return cmd_interrupted() ? PROCESS_STOPPED : PROCESS_END;
        buf_append(pending, block, (size_t)n);
    }
    return PROCESS_ANSWER;
}

bool process_next_line(int fd, struct buf *pending, struct buf *line) {
    char block[4096];
    while (!process_take_line(pending, line)) {
        const ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || pending->len > LINE_MOST) return false;
        buf_append(pending, block, (size_t)n);
    }
    return true;
}

/* -- Several children at once ---- */

bool process_wait(const struct process *const *list, int count, int timeout_ms, bool *ready) {
    struct pollfd *fds = xcalloc((size_t)count + 1, sizeof *fds);
    for (int i = 0; i < count; i++) fds[i] = (struct pollfd){.fd = list[i]->fd, .events = POLLIN};
    const int found = poll(fds, (nfds_t)count, timeout_ms);
    for (int i = 0; i < count; i++) ready[i] = found > 0 && fds[i].revents != 0;
    free(fds);
    return found > 0;
}

bool process_take(const struct process *process, struct buf *pending) {
    char block[4096];
    ssize_t n;
    do n = read(process->fd, block, sizeof block);
    while (n < 0 && errno == EINTR);
    if (n <= 0 || pending->len > LINE_MOST) return false;
    buf_append(pending, block, (size_t)n);
    return true;
}

/* -- End ---- */

int process_end(struct process *process, bool kill_it) {
    int status = 0;
    if (kill_it) kill(process->pid, SIGKILL);
    close(process->fd);
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) continue;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
