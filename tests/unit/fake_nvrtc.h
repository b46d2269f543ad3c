// fake_nvrtc: a stand-in for libnvrtc.so, for tests of what happens around compilations. CMake builds it as a module;
// set SAGE_NVRTC, or options.nvrtc_path, to FAKE_NVRTC_PATH. The "cubin" of a source is FAKE_NVRTC_CUBIN_FORMAT of its
// architecture option and its whole text, so that a test can tell every bit of it. A source that contains "#error" does
// not compile; one that contains "SLOW" takes 20 ms.
// SPDX-License-Identifier: Apache-2.0
#ifndef FAKE_NVRTC_H
#define FAKE_NVRTC_H

#include <dlfcn.h>

#define FAKE_NVRTC_CUBIN_FORMAT "cubin for %s of:\n%s" /* "--gpu-architecture=sm_90a", source */
#define FAKE_NVRTC_PTX          "fake ptx\n"

struct fake_nvrtc {
    void *library;
    int (*compiles)(void);        /* compilations of this process so far */
    void (*fail_from)(int index); /* the compilation of this number, and all after it, runs out of memory; -1: none */
};

static inline struct fake_nvrtc fake_nvrtc_open(const char *path) {
    struct fake_nvrtc fake = {.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!fake.library) return fake;
    *(void **)(&fake.compiles) = dlsym(fake.library, "fake_nvrtc_compiles");
    *(void **)(&fake.fail_from) = dlsym(fake.library, "fake_nvrtc_fail_from");
    return fake;
}

#endif
