// fault_layer: see the header. Nothing is synced to the disk for real: these tests cut no power.
// SPDX-License-Identifier: Apache-2.0
#include "fault_layer.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// X(type, failure, name, parameters, arguments): what fails by its value and errno. openat, read, pread, write, close
// and pthread_create are below.
#define FAULT_CALLS(X)                                                                                                 \
    X(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))                                                   \
    X(int, -1, mkdirat, (int dir, const char *name, mode_t mode), (dir, name, mode))                                   \
    X(int, -1, renameat, (int from, const char *old, int to, const char *name), (from, old, to, name))                 \
    X(int, -1, unlinkat, (int dir, const char *name, int flags), (dir, name, flags))                                   \
    X(int, -1, fstat, (int file, struct stat *info), (file, info))                                                     \
    X(int, -1, fstatat, (int dir, const char *name, struct stat *info, int flags), (dir, name, info, flags))           \
    X(int, -1, futimens, (int file, const struct timespec times[2]), (file, times))                                    \
    X(DIR *, NULL, fdopendir, (int file), (file))                                                                      \
    X(ssize_t, -1, getrandom, (void *bytes, size_t count, unsigned flags), (bytes, count, flags))

static struct {
    pthread_mutex_t lock;
    const char *name;
    int error, countdown;
    bool lasting, struck;
} fault = {.lock = PTHREAD_MUTEX_INITIALIZER};

const char *const fault_names[] = {"openat",
                                   "read",
                                   "pread",
                                   "write",
                                   "fsync",
                                   "close",
                                   "pthread_create",
#define FAULT_NAME(type, failure, name, parameters, arguments) #name,
                                   FAULT_CALLS(FAULT_NAME) NULL};

void fault_arm(const char *name, int error, int n, bool lasting) {
    pthread_mutex_lock(&fault.lock);
    fault.name = name;
    fault.error = error;
    fault.countdown = n;
    fault.lasting = lasting;
    fault.struck = false;
    pthread_mutex_unlock(&fault.lock);
}

bool fault_disarm(void) {
    pthread_mutex_lock(&fault.lock);
    bool struck = fault.struck;
    fault.name = NULL;
    pthread_mutex_unlock(&fault.lock);
    return struck;
}

// The error of this call; 0: none.
static int strikes(const char *name) {
    int error = 0;
    pthread_mutex_lock(&fault.lock);
    if (fault.name && strcmp(fault.name, name) == 0) {
        --fault.countdown;
        if (fault.countdown == 0 || (fault.countdown < 0 && fault.lasting)) error = fault.error;
        fault.struck |= error != 0;
    }
    pthread_mutex_unlock(&fault.lock);
    return error;
}

#define FAULT_WRAP(type, failure, name, parameters, arguments)                                                         \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters {                                                                                    \
        int error = strikes(#name);                                                                                    \
        if (error == 0 || error == FAULT_SHORT) return __real_##name arguments;                                        \
        errno = error;                                                                                                 \
        return failure;                                                                                                \
    }
FAULT_CALLS(FAULT_WRAP)

// How many bytes to do; -1: fail, with errno set.
static ssize_t allowed(const char *name, size_t count) {
    int error = strikes(name);
    if (error == FAULT_SHORT) return (ssize_t)(count > 1 ? count / 2 : count);
    if (error == 0) return (ssize_t)count;
    errno = error;
    return -1;
}

#define FAULT_WRAP_BYTES(name, parameters, ...)                                                                        \
    ssize_t __real_##name parameters;                                                                                  \
    ssize_t __wrap_##name parameters;                                                                                  \
    ssize_t __wrap_##name parameters {                                                                                 \
        ssize_t some = allowed(#name, count);                                                                          \
        return some < 0 ? -1 : __real_##name(__VA_ARGS__);                                                             \
    }
FAULT_WRAP_BYTES(read, (int file, void *bytes, size_t count), file, bytes, (size_t)some)
FAULT_WRAP_BYTES(pread, (int file, void *bytes, size_t count, off_t at), file, bytes, (size_t)some, at)
FAULT_WRAP_BYTES(write, (int file, const void *bytes, size_t count), file, bytes, (size_t)some)

int __real_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int error = strikes("openat");
    if (error == 0 || error == FAULT_SHORT) return __real_openat(dir, name, flags, mode);
    errno = error;
    return -1;
}

int __wrap_fsync(int file);
int __wrap_fsync(int file) {
    (void)file;
    int error = strikes("fsync");
    if (error == 0 || error == FAULT_SHORT) return 0;
    errno = error;
    return -1;
}

// Closes all the same, as Linux does.
int __real_close(int file);
int __wrap_close(int file);
int __wrap_close(int file) {
    int error = strikes("close"), result = __real_close(file);
    if (error == 0 || error == FAULT_SHORT) return result;
    errno = error;
    return -1;
}

// Returns its error.
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user) {
    int error = strikes("pthread_create");
    return error == 0 || error == FAULT_SHORT ? __real_pthread_create(thread, attributes, run, user) : error;
}
