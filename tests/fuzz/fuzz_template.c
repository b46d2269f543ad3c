// fuzz_template: a template, which can name itself as stage, wrapper and library; the sandbox bounds what it does.
// SPDX-License-Identifier: Apache-2.0
#include "expand.h"
#include "fuzz.h"

enum { STEPS_MAX = 20000 };

static const char *const param_columns[] = {"type", "name", NULL};
static const char *const param_cells[] = {"const void *", "q", "int", "kv_len"};
static const float scales[] = {0.0883883461f, 1.0f, 6.0f};
static const struct expand_binding bindings[] = {
    {.name = "head_dim", .kind = EXPAND_INT, .number = 64},
    {.name = "masked", .kind = EXPAND_BOOL, .number = 0},
    {.name = "log2e", .kind = EXPAND_REAL, .real = 1.4426950408889634},
    {.name = "name", .kind = EXPAND_TEXT, .text = "demo"},
    {.name = "scale", .kind = EXPAND_F32_LIST, .number = 3, .floats = scales},
    {.name = "params", .kind = EXPAND_ROWS, .number = 2, .columns = param_columns, .cells = param_cells},
};

static void write_template(const uint8_t *data, size_t bytes) {
    static bool linked;
    fuzz_file("fuzz.cu.tl", data, bytes);
    if (linked) return;
    fuzz_link("fuzz.cu.tl", "stage/fuzz.cu.tl");
    fuzz_link("fuzz.cu.tl", "ptx/fuzz.cu.tl");
    fuzz_link("fuzz.cu.tl", "lib/fuzz.lua");
    linked = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct buf messages = {0};
    struct diag diag = {.sink = &messages};
    struct expansion text;
    write_template(data, bytes);
    const struct expand_env env = {.bindings = bindings,
                                   .binding_count = (int)(sizeof bindings / sizeof *bindings),
                                   .template_dir = fuzz_folder(),
                                   .step_limit = STEPS_MAX};
    if (expand_template("fuzz", &env, &diag, &text))
        expansion_free(&text);
    else
        FUZZ_CHECK(messages.len > 0, "refused without a reason");
    buf_free(&messages);
    diag_free(&diag);
    return 0;
}
