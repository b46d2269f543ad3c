// runtime_fixture: what the tests of runtime/ share: a temporary directory, a context without a GPU, a valid struct
// meta, files. SPDX-License-Identifier: Apache-2.0
#ifndef RUNTIME_FIXTURE_H
#define RUNTIME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "context.h"
#include "kernel_args.h"
#include "key.h"
#include "meta.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture_log {
    int count;
    char last[CONTEXT_ERROR_BYTES];
};

static inline void fixture_log_line(void *user, sage_log_level level, const char *text) {
    struct fixture_log *log = user;
    (void)level;
    log->count++;
    snprintf(log->last, sizeof log->last, "%s", text);
}

static inline int fixture_remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

static inline void fixture_remove_tree(const char *path) {
    nftw(path, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// Writes the path of a new empty directory to out[64].
static inline void fixture_directory(char out[64]) {
    strcpy(out, "/tmp/sage_test_XXXXXX");
    assert_non_null(mkdtemp(out));
}

static inline sage_context *fixture_context(const char *cache_dir, struct fixture_log *log) {
    sage_options options = {
        .size = sizeof options, .device = -1, .cache_dir = cache_dir, .memory_only = cache_dir == NULL};
    if (log) {
        options.log = fixture_log_line;
        options.log_user = log;
    }
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    return context;
}

// Valid metadata for these files.
static inline struct meta fixture_meta(const char *source, const char *ptx, const void *cubin, size_t cubin_bytes) {
    struct meta meta = {.role = "attn_fwd",
                        .entry = "sage_attn_fwd_int8_fp8_d128",
                        .spec = "int8_fp8_d128",
                        .family = "int8_fp8",
                        .variant = "q128_k64_s2_w8",
                        .target = "sm_90a",
                        .io = "bf16",
                        .mask = "none",
                        .qk_format = "int8",
                        .v_format = "fp8_e4m3",
                        .sagegen = "0.1.0",
                        .spec_hash = "0123456789abcdef",
                        .args_bytes = (int)sizeof(struct sage_kernel_args),
                        .threads = 256,
                        .smem_dynamic = 65536,
                        .registers = 168,
                        .head_dim_qk = 128,
                        .head_dim_v = 128,
                        .d_qk = 128,
                        .d_v = 128,
                        .tile_q = 128,
                        .tile_k = 64};
    meta_set_files(&meta, source, strlen(source), ptx, strlen(ptx), cubin, cubin_bytes);
    return meta;
}

static inline void fixture_write(const char *dir, const char *name, const void *data, size_t bytes) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

#endif
