// sass_tool: see sass_tool.h. The cubin goes to nvdisasm through a memfd, so that no file is left behind.
// SPDX-License-Identifier: Apache-2.0
#include "sass_tool.h"

#include "safe_dir.h"
#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LISTING_BYTES_MAX = 256 << 20, MESSAGE_BYTES_MAX = 400 };

/* -- Search --------------------------------------------------------------------- */

static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

// What was found by a search is taken only from where strangers cannot write.
static bool take(const char *path, char out[PATH_MAX]) {
    char real[PATH_MAX];
    struct safe_why why;
    return is_program(path) && realpath(path, real) && safe_path(real, false, &why) && strcpy(out, real);
}

static bool take_named(const char *path, char out[PATH_MAX]) {
    return is_program(path) && strlen(path) < PATH_MAX && strcpy(out, path);
}

// What was asked for: a program, or a folder that holds one.
static bool find_wanted(const char *wanted, char out[PATH_MAX], char why[SASS_TOOL_WHY_BYTES]) {
    struct buf inside = {0};
    buf_printf(&inside, "%s/nvdisasm", wanted);
    bool ok = take_named(wanted, out) || take_named(inside.data, out);
    buf_free(&inside);
    if (!ok) snprintf(why, SASS_TOOL_WHY_BYTES, "%s is no program, and no folder that holds nvdisasm", wanted);
    return ok;
}

static bool find_in_path(char out[PATH_MAX]) {
    const char *folders = getenv("PATH");
    bool ok = false;
    for (const char *p = folders ? folders : ""; *p && !ok; p += *p == ':') {
        struct buf path = {0};
        size_t len = strcspn(p, ":");
        buf_printf(&path, "%.*s/nvdisasm", (int)len, p);
        ok = *p == '/' && take(path.data, out);
        buf_free(&path);
        p += len;
    }
    return ok;
}

// The last match of <root><rest>, where rest is a pattern and root is taken literally: the newest of versions.
static bool find_glob(const char *root, const char *rest, char out[PATH_MAX]) {
    if (!root || root[0] != '/') return false;
    struct buf pattern = {0};
    for (; *root; root++) buf_printf(&pattern, strchr("*?[]\\", *root) ? "\\%c" : "%c", *root);
    buf_printf(&pattern, "%s/nvdisasm", rest);
    glob_t found;
    bool ok = glob(pattern.data, 0, NULL, &found) == 0;
    if (ok) {
        size_t i = found.gl_pathc;
        for (ok = false; i > 0 && !ok; i--) ok = take(found.gl_pathv[i - 1], out);
        globfree(&found);
    }
    buf_free(&pattern);
    return ok;
}

// The places of runtime/nvrtc.c, with bin for lib.
static bool find_installed(char out[PATH_MAX]) {
    const char *home = getenv("HOME"), *data = getenv("XDG_DATA_HOME");
    const struct {
        const char *root, *rest;
    } toolkits[] = {{getenv("CUDA_HOME"), "/bin"}, {getenv("CUDA_PATH"), "/bin"}, {"/usr/local", "/cuda*/bin"}},
      folders[] = {{getenv("VIRTUAL_ENV"), "/lib"},
                   {getenv("CONDA_PREFIX"), "/lib"},
                   {home, "/.local/lib"},
                   {"/usr/lib", ""},
                   {"/usr/local/lib", ""}};
    static const char *const packages[] = {"/python3*/site-packages", "/python3*/dist-packages"},
                             *const wheels[] = {"/nvidia/cu*/bin", "/nvidia/cuda_nvdisasm/bin"};
    for (size_t i = 0; i < sizeof toolkits / sizeof toolkits[0]; i++)
        if (find_glob(toolkits[i].root, toolkits[i].rest, out)) return true;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        for (int j = 0; j < 4; j++) {
            char rest[128];
            snprintf(rest, sizeof rest, "%s%s%s", folders[i].rest, packages[j / 2], wheels[j % 2]);
            if (find_glob(folders[i].root, rest, out)) return true;
        }
    }
    return data && data[0] ? find_glob(data, "/sagegen/nvdisasm", out)
                           : find_glob(home, "/.local/share/sagegen/nvdisasm", out);
}

bool sass_tool_find(const char *wanted, char out[PATH_MAX], char why[SASS_TOOL_WHY_BYTES]) {
    if (!wanted || !wanted[0]) wanted = getenv("SAGE_NVDISASM");
    if (wanted && wanted[0]) return find_wanted(wanted, out, why);
    if (find_in_path(out) || find_installed(out)) return true;
    snprintf(why, SASS_TOOL_WHY_BYTES,
             "no nvdisasm in PATH, CUDA toolkits, Python wheels and the user's data folder: pip install "
             "nvidia-cuda-nvdisasm, or `make nvdisasm` in sagegen's source folder, or set SAGE_NVDISASM to its path");
    return false;
}

/* -- Run ---------------------------------------------------------------------------- */

static bool write_all(int fd, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        bytes -= (size_t)n;
    }
    return true;
}

static _Noreturn void be_nvdisasm(const char *tool, int cubin, int out, int err) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", cubin);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
        execl(tool, tool, "-c", "-ndf", path, (char *)NULL); // -ndf: no analysis that can fail
    dprintf(STDERR_FILENO, "%s: %s", tool, strerror(errno));
    _exit(127);
}

// Reads both pipes to their ends; false: the listing is larger than any kernel's.
static bool drain(int out, int err, struct buf *listing, struct buf *messages) {
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    struct buf *to[2] = {listing, messages};
    char part[1 << 16];
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) return false;
        for (int i = 0; i < 2; i++) {
            if (fds[i].fd < 0 || !fds[i].revents) continue;
            ssize_t n = read(fds[i].fd, part, sizeof part);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) fds[i].fd = -1;
            if (n > 0 && to[i]->len <= LISTING_BYTES_MAX) buf_append(to[i], part, (size_t)n);
        }
    }
    return listing->len <= LISTING_BYTES_MAX;
}

static bool judge(const char *tool, int status, const struct buf *messages, char why[SASS_TOOL_WHY_BYTES]) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    const char *said = messages->len ? messages->data : "it said nothing";
    int len = (int)strcspn(said, "\n");
    snprintf(why, SASS_TOOL_WHY_BYTES, "%s failed: %.*s", tool, len < MESSAGE_BYTES_MAX ? len : MESSAGE_BYTES_MAX,
             said);
    return false;
}

static bool run(const char *tool, int cubin, struct buf *listing, char why[SASS_TOOL_WHY_BYTES]) {
    int out[2], err[2], status = 0;
    if (pipe(out) != 0) return snprintf(why, SASS_TOOL_WHY_BYTES, "no pipe: %s", strerror(errno)), false;
    if (pipe(err) != 0) {
        snprintf(why, SASS_TOOL_WHY_BYTES, "no pipe: %s", strerror(errno));
        close(out[0]);
        close(out[1]);
        return false;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) be_nvdisasm(tool, cubin, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    struct buf messages = {0};
    bool ok = pid > 0 && drain(out[0], err[0], listing, &messages);
    if (!ok) snprintf(why, SASS_TOOL_WHY_BYTES, pid > 0 ? "%s gave no end of text" : "%s was not started", tool);
    close(out[0]);
    close(err[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    ok = ok && judge(tool, status, &messages, why);
    buf_free(&messages);
    return ok;
}

bool sass_tool_run(const char *tool, const void *cubin, size_t bytes, struct buf *listing,
                   char why[SASS_TOOL_WHY_BYTES]) {
    int fd = memfd_create("kernel.cubin", 0);
    bool ok = fd >= 0 && write_all(fd, cubin, bytes);
    if (!ok)
        snprintf(why, SASS_TOOL_WHY_BYTES, "no memory for the cubin: %s", strerror(errno));
    else
        ok = run(tool, fd, listing, why);
    if (fd >= 0) close(fd);
    return ok;
}
