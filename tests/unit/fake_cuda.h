// fake_cuda: a stand-in for libcuda.so.1 in host memory, for tests without a GPU. CMake builds it as a module; a test
//   1. defines its path by FAKE_CUDA_PATH (compile definition of every unit test), and calls fake_cuda_open() below,
//   2. sets what it wants (sm, failures), and setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1),
//   3. creates a context, works, and reads the log of launches.
// Device memory is host memory (cuMemAlloc is malloc), work on streams happens at once, kernels do nothing unless a
// hook is set. As with the real driver, a process is refused whose parent called any entry before it forked: every
// entry then returns 3 (CUDA_ERROR_NOT_INITIALIZED). Any image loads as a module with any function, except one that
// begins with "BAD" (CUDA_ERROR_INVALID_IMAGE); it is launched in the context that it was loaded into, or refused.
// With FAKE_CUDA_ILLEGAL="name@N" in the environment, the N-th launch of a kernel with such a name ("name": the first)
// breaks the process: all further work fails with 715, an illegal instruction.
// SPDX-License-Identifier: Apache-2.0
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_CUDA_DEVICES_MAX  4
#define FAKE_CUDA_LAUNCHES_MAX 4096
#define FAKE_CUDA_ARGS_MAX     1024

struct fake_cuda_launch {
    char function[128];
    unsigned grid[3], block[3];
    unsigned smem_dynamic; /* bytes */
    void *stream;
    void *current_context;                  /* of the calling thread, at the launch */
    int early;                              /* 1: may start before the launch before it has ended */
    unsigned char args[FAKE_CUDA_ARGS_MAX]; /* the first args_bytes of the one parameter */
};

// Counters since fake_cuda_reset.
struct fake_cuda_counts {
    int retains, releases; /* of the primary context */
    int modules, unloads;  /* cuModuleLoadData, cuModuleUnload */
    int pushes, pops;
    int allocations, frees; /* device memory */
    int synchronisations;   /* of stream, context or event */
    int launches;           /* also those beyond the log */
};

// X(return, name, parameters): the exported functions.
#define FAKE_CUDA_EXPORTS(X)                                                                                           \
    /* Clears the log and counters, and sets: one device, sm_90, 132 multiprocessors, CUDA 13.0, no failure, no hook;  \
       this process has not called the driver. */                                                                      \
    X(void, reset, (void))                                                                                             \
    /* The process that called an entry first, here or before it forked this one; 0: none. */                          \
    X(int, caller, (void))                                                                                             \
    X(void, set_sm, (int sm)) /* of device 0 */                                                                        \
    X(void, set_device_sm, (int device, int sm))                                                                       \
    X(void, set_device_count, (int count))                                                                             \
    /* Between any two events; a launch hook may say what its kernel took. Default 1. */                                \
    X(void, set_elapsed, (float ms))                                                                                   \
    X(void, set_cuda_version, (int version))                                                                           \
    /* How many bytes of the parameter a launch copies to the log (the driver knows it from the cubin); default 0. */  \
    X(void, set_args_bytes, (size_t bytes))                                                                            \
    /* The next call of the entry ("cuLaunchKernel") returns this result, once. "" : none. After 700, an illegal       \
       address, all further work in this process fails with it too, as with the real driver. */                        \
    X(void, fail_next, (const char *entry, int result))                                                                \
    /* Every stream reports that it is being captured. */                                                              \
    X(void, set_capturing, (int capturing))                                                                            \
    /* Called at each launch, after it was logged; may read and write "device" memory. NULL: none. */                  \
    X(void, set_launch_hook, (void (*hook)(void *user, const struct fake_cuda_launch *launch), void *user))            \
    X(int, launch_count, (void))                                                                                       \
    X(const struct fake_cuda_launch *, launch_at, (int index))                                                         \
    X(struct fake_cuda_counts, counts, (void))                                                                         \
    /* Depth of the calling thread's stack of contexts. */                                                             \
    X(int, stack_depth, (void))

#define FAKE_CUDA_MEMBER(type, name, parameters) type(*name) parameters;
struct fake_cuda {
    void *library;
    FAKE_CUDA_EXPORTS(FAKE_CUDA_MEMBER)
};

// Loads the module and looks up its functions; all NULL if it cannot be loaded.
static inline struct fake_cuda fake_cuda_open(const char *path) {
    struct fake_cuda fake = {.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!fake.library) return fake;
#define FAKE_CUDA_LOOKUP(type, name, parameters) *(void **)(&fake.name) = dlsym(fake.library, "fake_cuda_" #name);
    FAKE_CUDA_EXPORTS(FAKE_CUDA_LOOKUP)
#undef FAKE_CUDA_LOOKUP
    fake.reset();
    return fake;
}

#endif
