// app_0_1: an application built against sage.h as it was at version 0.1 (sage_0_1.h, frozen: never edit it), run with
// the libsage.so of today. Every struct ends where memory ends, so that a library that reads a member of a later
// version faults. usage: app_0_1 KERNEL_DIR FAKE_CUDA; exit status 0: all is as it was. SPDX-License-Identifier:
// Apache-2.0
#include "sage_0_1.h"
#include "fake_cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "app_0_1.c:%d: %s; %s\n", __LINE__, #condition, sage_last_error(context));                 \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

// A copy of bytes that ends at the last byte of a page; the next page is nobody's.
static void *at_the_end(const void *from, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE) != 0) exit(2);
    return memcpy(pages + page - bytes, from, bytes);
}

static int live;

static void *allocate(void *user, size_t bytes) {
    (void)user;
    live++;
    return malloc(bytes);
}

static void release(void *user, void *memory) {
    (void)user;
    live--;
    free(memory);
}

static int run(sage_context *context, const sage_attention_plan *plan, const struct fake_cuda *cuda) {
    static uint16_t tensor[4][64 * 128];
    static float lse[64];
    const sage_tensor rows = {NULL, 64 * 128, 64 * 128, 128};
    sage_attention_args args = {
        .size = sizeof args, .shape = {1, 1, 1, 64, 64}, .q = rows, .k = rows, .v = rows, .o = rows};
    args.q.data = tensor[0], args.k.data = tensor[1], args.v.data = tensor[2], args.o.data = tensor[3], args.lse = lse;
    args.workspace_bytes = sage_attention_workspace_bytes(plan, &args.shape);
    CHECK(args.workspace_bytes > 0);
    args.workspace = aligned_alloc(256, (args.workspace_bytes + 255) / 256 * 256);
    const sage_attention_args *given = at_the_end(&args, sizeof args);
    CHECK(sage_attention_run(plan, given, NULL) == SAGE_OK);
    const int launches = cuda->launch_count();
    CHECK(launches > 0);
    CHECK(sage_attention_quantise(plan, given, NULL) == SAGE_OK);
    CHECK(sage_attention_attend(plan, given, NULL) == SAGE_OK);
    CHECK(cuda->launch_count() == 2 * launches);
    args.workspace_bytes--;
    CHECK(sage_attention_run(plan, &args, NULL) == SAGE_ERROR_WORKSPACE);
    CHECK(strstr(sage_last_error(context), "workspace_bytes"));
    free(args.workspace);
    return 0;
}

int main(int argc, char **argv) {
    sage_context *context = NULL;
    sage_attention_plan *plan = NULL;
    char why[200];
    if (argc != 3) return 2;
    struct fake_cuda cuda = fake_cuda_open(argv[2]);
    setenv("SAGE_DRIVER", argv[2], 1);
    const sage_options options = {
        .size = sizeof options, .kernel_dir = argv[1], .memory_only = 1, .allocator = {allocate, release, NULL}};
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .flags = SAGE_FLAG_LSE};
    const sage_attention_desc *given = at_the_end(&desc, sizeof desc);
    CHECK(sage_context_create(at_the_end(&options, sizeof options), &context) == SAGE_OK);
    CHECK(sage_context_sm(context) == 90 && sage_version() >= 100);
    CHECK(sage_attention_supports(context, given, why, sizeof why) == SAGE_OK);
    CHECK(sage_attention_plan_create(context, given, &plan) == SAGE_OK);
    CHECK(strcmp(sage_attention_plan_describe(plan), "int8_fp8_d128 q128_k64_s2_w8 sm_90a") == 0);
    CHECK(strcmp(sage_status_text(SAGE_ERROR_INTERNAL), "internal error") == 0);
    if (run(context, plan, &cuda) != 0) return 1;
    sage_attention_plan_destroy(plan);
    sage_context_destroy(context);
    context = NULL;
    CHECK(live == 0);
    return 0;
}
