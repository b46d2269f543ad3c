// probe_cuda: runs the probes of a list on a GPU: prints the list with digests of the results, and writes the results
// to a file. How scalar_h100.txt was made: cc -I tests/ptxvm tests/ptxvm/probe_cuda.c -ldl -o probe_cuda &&
// ./probe_cuda scalar_h100.txt results.bin. Not part of the build. SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <stdlib.h>

#include "probe.h"

static int (*cuInit)(unsigned), (*cuRetain)(void **, int), (*cuSet)(void *);
static int (*cuAlloc)(uint64_t *, size_t), (*cuIn)(uint64_t, const void *, size_t), (*cuOut)(void *, uint64_t, size_t);
static int (*cuLoad)(void **, const void *, unsigned, int *, void **), (*cuFunction)(void **, void *, const char *);
static int (*cuLaunch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                       void **);

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        int status = (call);                                                                                           \
        if (status != 0) {                                                                                             \
            fprintf(stderr, "%s: CUDA error %d\n", #call, status);                                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static void *find(void *library, const char *name) {
    void *f = dlsym(library, name);
    if (f == NULL) {
        fprintf(stderr, "no %s\n", name);
        exit(1);
    }
    return f;
}

static void open_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *context;
    if (library == NULL) {
        fprintf(stderr, "no libcuda.so.1\n");
        exit(77);
    }
    *(void **)&cuInit = find(library, "cuInit");
    *(void **)&cuRetain = find(library, "cuDevicePrimaryCtxRetain");
    *(void **)&cuSet = find(library, "cuCtxSetCurrent");
    *(void **)&cuAlloc = find(library, "cuMemAlloc_v2");
    *(void **)&cuIn = find(library, "cuMemcpyHtoD_v2");
    *(void **)&cuOut = find(library, "cuMemcpyDtoH_v2");
    *(void **)&cuLoad = find(library, "cuModuleLoadDataEx");
    *(void **)&cuFunction = find(library, "cuModuleGetFunction");
    *(void **)&cuLaunch = find(library, "cuLaunchKernel");
    CHECK(cuInit(0));
    CHECK(cuRetain(&context, 0));
    CHECK(cuSet(context));
}

static void run(const char *klass, void *function, uint64_t in, uint64_t out, uint64_t *result) {
    static uint64_t inputs[PROBE_THREADS * PROBE_SOURCES];
    for (unsigned n = 0; n < PROBE_THREADS; n++)
        for (unsigned k = 0; k < PROBE_SOURCES; k++) inputs[n * PROBE_SOURCES + k] = probe_input(klass, n, k);
    CHECK(cuIn(in, inputs, sizeof inputs));
    void *parameters[] = {&in, &out};
    CHECK(cuLaunch(function, PROBE_THREADS / PROBE_BLOCK, 1, 1, PROBE_BLOCK, 1, 1, 0, NULL, parameters, NULL));
    CHECK(cuOut(result, out, PROBE_THREADS * sizeof *result));
}

enum { PROBES_MAX = 2048 };

int main(int count, char **arguments) {
    static char line[PROBES_MAX][512];
    unsigned lines = 0;
    FILE *list = count > 1 ? fopen(arguments[1], "r") : NULL, *results = count > 2 ? fopen(arguments[2], "wb") : NULL;
    if (list == NULL) return 2;
    char *text = malloc((size_t)PROBES_MAX * PROBE_TEXT_MAX), klass[16], letters[16], digest[32];
    size_t at = (size_t)sprintf(text, "%s", PROBE_HEAD);
    while (lines < PROBES_MAX && fgets(line[lines], sizeof line[0], list) != NULL) {
        int body = 0;
        line[lines][strcspn(line[lines], "\n")] = 0;
        if (sscanf(line[lines], "%15s %15s %31s %n", klass, letters, digest, &body) != 3) continue;
        char name[16];
        snprintf(name, sizeof name, "k%u", lines);
        at += probe_text(text + at, name, letters, line[lines] + body);
        lines++;
    }
    open_driver();
    void *module, *function;
    uint64_t in, out;
    static uint64_t result[PROBE_THREADS];
    CHECK(cuLoad(&module, text, 0, NULL, NULL));
    CHECK(cuAlloc(&in, PROBE_THREADS * PROBE_SOURCES * 8));
    CHECK(cuAlloc(&out, PROBE_THREADS * 8));
    for (unsigned k = 0; k < lines; k++) {
        int body = 0;
        char name[16];
        sscanf(line[k], "%15s %15s %31s %n", klass, letters, digest, &body);
        snprintf(name, sizeof name, "k%u", k);
        CHECK(cuFunction(&function, module, name));
        run(klass, function, in, out, result);
        if (results != NULL) fwrite(result, sizeof result, 1, results);
        printf("%s %s %016llx %s\n", klass, letters, (unsigned long long)probe_digest(result), line[k] + body);
    }
    return 0;
}
