// bench_machine: see bench_machine.h. The driver's version comes from its management library, which needs no GPU
// context. SPDX-License-Identifier: Apache-2.0
#include "bench_machine.h"

#include "cmd.h"
#include "commit.h"
#include "device.h"
#include "nvrtc.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool bench_machine_gpu(struct bench_record *stamp, int *sm, char *why, size_t why_bytes) {
    struct device device;
    if (!device_open(0, NULL, &device, why, why_bytes)) return false;
    stamp->gpu = xstrdup(device.driver.device_name);
    *sm = device.driver.sm;
    const int version = device.driver.cuda_version;
    struct buf driver = {0};
    buf_printf(&driver, "CUDA %d.%d", version / 1000, version % 1000 / 10); // unless the version itself is found
    stamp->driver = driver.data;
    device_close(&device);
    return true;
}

void bench_machine_driver(char version[BENCH_DRIVER_BYTES]) {
    version[0] = '\0';
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*init)(void) = NULL, (*get)(char *, unsigned) = NULL, (*end)(void) = NULL;
    if (library) {
        *(void **)&init = dlsym(library, "nvmlInit_v2");
        *(void **)&get = dlsym(library, "nvmlSystemGetDriverVersion");
        *(void **)&end = dlsym(library, "nvmlShutdown");
    }
    if (init && get && end && init() == 0) {
        if (get(version, BENCH_DRIVER_BYTES) != 0) version[0] = '\0';
        end();
    }
    if (library) dlclose(library);
}

static void find_driver(struct bench_record *stamp) {
    char version[BENCH_DRIVER_BYTES];
    bench_machine_driver(version);
    if (!version[0]) return;
    free(stamp->driver);
    stamp->driver = xstrdup(version);
}

static void find_nvrtc(struct bench_record *stamp) {
    struct nvrtc_info info;
    struct buf text = {0};
    sage_context *context = cmd_context(-1);
    buf_puts(&text, "");
    if (context && nvrtc_find(context, &info) == SAGE_OK) buf_printf(&text, "%d.%d", info.major, info.minor);
    sage_context_destroy(context);
    stamp->nvrtc = text.data;
}

void bench_machine_stamp(struct bench_record *stamp, const char *commit) {
    char date[16] = "";
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%d", &utc);
    stamp->date = xstrdup(date);
    stamp->commit = xstrdup(commit ? commit : SAGEGEN_COMMIT);
    find_driver(stamp);
    find_nvrtc(stamp);
}

void bench_machine_library(struct buf *out) {
    static const char *const places[] = {"libsage.so.0", "../lib/libsage.so.0", "../lib64/libsage.so.0",
                                         "../lib/x86_64-linux-gnu/libsage.so.0",
                                         "../lib/aarch64-linux-gnu/libsage.so.0"};
    char own[4096];
    const ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    if (len > 0) {
        own[len] = '\0';
        *strrchr(own, '/') = '\0';
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            buf_clear(out);
            buf_printf(out, "%s/%s", own, places[i]);
            if (access(out->data, R_OK) == 0) return;
        }
    }
    buf_clear(out);
    buf_puts(out, "libsage.so.0");
}
