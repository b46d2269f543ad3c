// start_time: what libsage adds to the start of a process, measured once; tuning/bench/start.lua runs it often and
// makes the record. usage: start_time plan PACK|- SPEC     context, plan (from a pack; -: the generator), release: "ms
// ms ms"
//                    start_time hits                  one cache hit of each kernel in the cache: a line of ms each
//                    start_time pack PACK             context with the pack, reading all its cubins: "ms ms kernels"
// The driver is that of SAGE_DRIVER, the cache that of SAGE_CACHE_DIR. SPDX-License-Identifier: Apache-2.0
#include "cache.h"
#include "context.h"
#include "pack.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int fail(const sage_context *context, const char *what) {
    fprintf(stderr, "start_time: %s: %s\n", what, sage_last_error(context));
    return 1;
}

/* -- A plan ---- */

static int time_plan(const char *pack, const char *spec) {
    const char *const packs[] = {pack, NULL};
    const bool generator = strcmp(pack, "-") == 0;
    const sage_options options = {.size = sizeof options, .packs = generator ? NULL : packs};
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .spec = spec};
    sage_context *context = NULL;
    sage_attention_plan *plan = NULL;
    const double start = now_ms();
    if (sage_context_create(&options, &context) != SAGE_OK) return fail(NULL, "context");
    if (generator && sage_use_generator(context) != SAGE_OK) return fail(context, "generator");
    const double made = now_ms();
    if (sage_attention_plan_create(context, &desc, &plan) != SAGE_OK) return fail(context, "plan");
    const double planned = now_ms();
    sage_attention_plan_destroy(plan);
    sage_context_destroy(context);
    printf("%.4f %.4f %.4f\n", made - start, planned - made, now_ms() - planned);
    return 0;
}

/* -- The cache ---- */

static bool time_hit(void *user, const char *key) {
    sage_context *context = user;
    struct cache_entry entry;
    const double start = now_ms();
    const sage_status status = cache_get(context, key, 0, &entry);
    const double end = now_ms();
    if (status == SAGE_OK) cache_entry_free(context, &entry);
    if (status == SAGE_OK) printf("%.4f\n", end - start);
    return status == SAGE_OK;
}

static int time_hits(void) {
    const sage_options options = {.size = sizeof options, .device = -1};
    sage_context *context = NULL;
    if (sage_context_create(&options, &context) != SAGE_OK) return fail(NULL, "context");
    const bool ok = cache_each(context, time_hit, context) == SAGE_OK;
    sage_context_destroy(context);
    return ok ? 0 : 1;
}

/* -- A pack ---- */

static int read_cubins(sage_context *context, const struct pack *pack) {
    int count = 0;
    for (int i = 0; i < pack->count; i++) {
        char *cubin;
        if (pack->kernel[i].bytes[PACK_PART_CUBIN] == 0) continue;
        if (pack_read(context, pack, i, PACK_PART_CUBIN, &cubin) != SAGE_OK) return -1;
        context_free(context, cubin);
        count++;
    }
    return count;
}

static int time_pack(const char *path) {
    const char *const packs[] = {path, NULL};
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1, .packs = packs};
    sage_context *context = NULL;
    const double start = now_ms();
    if (sage_context_create(&options, &context) != SAGE_OK) return fail(NULL, "context");
    const double opened = now_ms();
    const int count = read_cubins(context, context->packs);
    const double all = now_ms();
    if (count < 0) return fail(context, path);
    printf("%.4f %.4f %d\n", opened - start, all - opened, count);
    sage_context_destroy(context);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "plan") == 0) return time_plan(argv[2], argv[3]);
    if (argc == 2 && strcmp(argv[1], "hits") == 0) return time_hits();
    if (argc == 3 && strcmp(argv[1], "pack") == 0) return time_pack(argv[2]);
    fputs("usage: start_time plan PACK|- SPEC | hits | pack PACK\n", stderr);
    return 2;
}
