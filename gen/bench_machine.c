// bench_machine: see bench_machine.h. The driver's version comes from its management library, which needs no GPU
// context. SPDX-License-Identifier: Apache-2.0
#include "bench_machine.h"

#include "cmd.h"
#include "commit.h"
#include "device.h"
#include "nvrtc.h"
#include "verify_process.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* -- GPU and NVRTC, asked by a child process: none of this one could use the driver any more ---- */

enum { PROBE_TIMEOUT_S = 60 };

struct probe {
    bool ok;
    int sm;
    char gpu[256], driver[BENCH_DRIVER_BYTES], nvrtc[16];
    char why[DEVICE_ERROR_BYTES];
};

static bool find_gpu(struct probe *p) {
    struct device device;
    if (!device_open(0, NULL, &device, p->why, sizeof p->why)) return false;
    snprintf(p->gpu, sizeof p->gpu, "%s", device.driver.device_name);
    p->sm = device.driver.sm;
    bench_machine_driver(p->driver);
    const int version = device.driver.cuda_version;
    if (!p->driver[0]) snprintf(p->driver, sizeof p->driver, "CUDA %d.%d", version / 1000, version % 1000 / 10);
    device_close(&device);
    return true;
}

static void find_nvrtc(struct probe *p) {
    struct nvrtc_info info;
    sage_context *context = cmd_context(-1);
    if (context && nvrtc_find(context, &info) == SAGE_OK)
        snprintf(p->nvrtc, sizeof p->nvrtc, "%d.%d", info.major, info.minor);
    sage_context_destroy(context);
}

static int probe_in_child(void *user, int fd) {
    struct probe probe = {.ok = false};
    (void)user;
    probe.ok = find_gpu(&probe);
    if (probe.ok) find_nvrtc(&probe);
    return process_write(fd, &probe, sizeof probe) ? 0 : 1;
}

bool bench_machine_probe(struct bench_record *stamp, int *sm, char *why, size_t why_bytes) {
    struct probe probe;
    struct process child;
    if (!process_start(&child, probe_in_child, NULL, why, why_bytes)) return false;
    if (process_read(&child, &probe, sizeof probe, PROBE_TIMEOUT_S) != PROCESS_ANSWER)
        probe = (struct probe){.why = "asking the driver for its GPUs failed, or took over a minute"};
    process_end(&child, true);
    snprintf(why, why_bytes, "%s", probe.why);
    if (!probe.ok) return false;
    stamp->gpu = xstrdup(probe.gpu);
    stamp->driver = xstrdup(probe.driver);
    stamp->nvrtc = xstrdup(probe.nvrtc);
    *sm = probe.sm;
    return true;
}

void bench_machine_stamp(struct bench_record *stamp, const char *commit) {
    char date[16] = "";
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%d", &utc);
    stamp->date = xstrdup(date);
    stamp->commit = xstrdup(commit ? commit : SAGEGEN_COMMIT);
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
