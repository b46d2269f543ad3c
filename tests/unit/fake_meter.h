// fake_meter: a scripted GPU for the tests of `sagegen tune`: times, faults, hangs and wrong numbers by the variant's
// name, in memory that the measuring and compiling children share with the test, so that it can count what they did.
// SPDX-License-Identifier: Apache-2.0
#ifndef FAKE_METER_H
#define FAKE_METER_H

#include "tune_kernels.h"
#include "tune_run.h"
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FAKE_VARIANTS_MOST = 32 };

enum fake_conduct {
    FAKE_FINE,
    FAKE_COMPILE_FAILS,
    FAKE_COMPILE_CRASHES,
    FAKE_COMPILE_HANGS,
    FAKE_SPILLS,
    FAKE_REGISTERS,
    FAKE_REFUSED,
    FAKE_LOST,
    FAKE_HANGS,        /* when it is checked */
    FAKE_HANGS_LATE,   /* at its second sample */
    FAKE_CRASHES,      /* when it is checked */
    FAKE_CRASHES_LATE, /* at its second sample */
    FAKE_WRONG,
    FAKE_NAN
};

struct fake_variant {
    char name[VARIANT_TEXT_MAX];
    double ms;
    enum fake_conduct conduct;
};

// Shared memory of test and children.
struct fake_gpu {
    struct fake_variant variant[FAKE_VARIANTS_MOST];
    int variants;
    double noise;       /* relative, half its width */
    unsigned seed;      /* of the noise */
    unsigned sample_us; /* that a sample takes */
    bool does_not_open;
    atomic_int opened, checked, samples, built;
};

static inline struct fake_gpu *fake_gpu_make(void) {
    void *shared = mmap(NULL, sizeof(struct fake_gpu), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(shared, 0, sizeof(struct fake_gpu));
    return shared;
}

static inline void fake_gpu_free(struct fake_gpu *gpu) {
    munmap(gpu, sizeof *gpu);
}

static inline void fake_gpu_set(struct fake_gpu *gpu, const char *name, double ms, enum fake_conduct conduct) {
    int i = 0;
    while (i < gpu->variants && strcmp(gpu->variant[i].name, name) != 0) i++;
    if (i == gpu->variants) gpu->variants++;
    snprintf(gpu->variant[i].name, sizeof gpu->variant[i].name, "%s", name);
    gpu->variant[i].ms = ms;
    gpu->variant[i].conduct = conduct;
}

// Of a variant that was not set: 10 ms and fine.
static inline struct fake_variant fake_variant_of(const struct fake_gpu *gpu, const struct tune_set *set) {
    for (int i = 0; i < gpu->variants; i++)
        if (strcmp(gpu->variant[i].name, set->name) == 0) return gpu->variant[i];
    return (struct fake_variant){.ms = 10};
}

_Noreturn static inline void fake_hang(void) {
    for (;;) pause();
}

/* -- Meter ---- */

struct fake_state {
    struct fake_gpu *gpu;
    const struct tune_work *work;
    int *samples; /* by set */
};

static inline bool fake_open(const struct tune_bench *bench, void **state, char *why, size_t n) {
    struct fake_state *s = *state = xcalloc(1, sizeof *s);
    s->gpu = bench->user;
    s->work = bench->work;
    s->samples = xcalloc((size_t)bench->work->sets + 1, sizeof *s->samples);
    s->gpu->opened++;
    snprintf(why, n, "it is asleep");
    return !s->gpu->does_not_open;
}

static inline void fake_close(void *state) {
    struct fake_state *s = state;
    free(s->samples);
    free(s);
}

static inline enum tune_answer fake_check(void *state, const struct tune_task *t, int candidate, int reference,
                                          struct tune_proof *out, char *why, size_t n) {
    struct fake_state *s = state;
    const struct fake_variant v = fake_variant_of(s->gpu, tune_set_of(s->work, t, candidate));
    (void)reference;
    s->gpu->checked++;
    snprintf(why, n, "too many registers for the launch");
    if (v.conduct == FAKE_REFUSED) return TUNE_FAILED;
    if (v.conduct == FAKE_LOST) return TUNE_LOST;
    if (v.conduct == FAKE_HANGS) fake_hang();
    if (v.conduct == FAKE_CRASHES) raise(SIGKILL);
    *out = (struct tune_proof){v.conduct == FAKE_WRONG ? 0.5 : v.conduct == FAKE_NAN ? NAN : 0.02, 0.1};
    return TUNE_OK;
}

static inline double fake_noise(struct fake_gpu *gpu, int sample) {
    unsigned x = gpu->seed * 2654435761u + (unsigned)sample * 40503u;
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    return gpu->noise * ((double)(x % 2001) / 1000 - 1);
}

static inline enum tune_answer fake_time(void *state, const struct tune_task *t, int candidate, double *ms, char *why,
                                         size_t n) {
    struct fake_state *s = state;
    const struct fake_variant v = fake_variant_of(s->gpu, tune_set_of(s->work, t, candidate));
    const int own = ++s->samples[t->candidate[candidate].set];
    (void)why, (void)n;
    if (v.conduct == FAKE_HANGS_LATE && own == 2) fake_hang();
    if (v.conduct == FAKE_CRASHES_LATE && own == 2) raise(SIGKILL);
    if (s->gpu->sample_us) usleep(s->gpu->sample_us);
    *ms = v.ms * (1 + fake_noise(s->gpu, ++s->gpu->samples));
    return TUNE_OK;
}

static const struct tune_meter fake_meter = {
    .name = "fake", .open = fake_open, .check = fake_check, .time = fake_time, .close = fake_close};

/* -- Compiler ---- */

static inline int fake_build(void *user, int fd) {
    const struct tune_builder *b = user;
    struct fake_gpu *gpu = b->bench->user;
    for (int i = 0; i < b->count; i++) {
        const struct fake_variant v = fake_variant_of(gpu, &b->bench->work->set[b->set[i]]);
        char line[96];
        gpu->built++;
        if (v.conduct == FAKE_COMPILE_CRASHES) raise(SIGKILL);
        if (v.conduct == FAKE_COMPILE_HANGS) fake_hang();
        const int registers = v.conduct == FAKE_REGISTERS ? 255 : 168;
        const int len = v.conduct == FAKE_COMPILE_FAILS
                            ? snprintf(line, sizeof line, "failed %d ptxas gave up\n", b->set[i])
                            : snprintf(line, sizeof line, "built %d %d %d 384\n", b->set[i], registers,
                                       v.conduct == FAKE_SPILLS ? 64 : 0);
        if (!process_write(fd, line, (size_t)len)) return 1;
    }
    return 0;
}

#endif
