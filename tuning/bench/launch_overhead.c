// launch_overhead: host time of sage_attention_run beside the same launches made straight through the driver. In: a
// folder of `sagegen --spec int8_fp8_d128 --arch sm_90a --io bf16 --out DIR`. Out: microseconds per call, as text or
// JSON, for a caller whose CUDA context is current and for one that has none. Checks first that both ways write the
// same O. The shape is tiny, so that the GPU never limits; launches alone are timed, never the wait for them.
// SPDX-License-Identifier: Apache-2.0
#include "bare_launch.h"
#include "fail.h"
#include "samples.h"
#include "tiny_call.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    CALLS = 200, /* of one block, between two waits for the stream */
    ROUNDS = 101 /* blocks of each kind */
};
static_assert(CALLS * BARE_LAUNCHES < 1000, "the driver queues about a thousand launches, then waits for the GPU");
static_assert(CALLS % 2 == 0 && (int)ROUNDS <= (int)SAMPLES_MAX, "blocks have two halves, samples find room");

// What is timed: either way of calling, for either caller.
enum kind { CURRENT_BARE, CURRENT_RUN, ABSENT_BARE, ABSENT_RUN, KIND_COUNT };

struct bench {
    struct device device;
    sage_stream stream;
    sage_context *context;
    sage_attention_plan *plan;
    sage_attention_args args;
    struct bare_call bare;
    double us[KIND_COUNT][ROUNDS];       /* per call */
    double early_us[KIND_COUNT][ROUNDS]; /* per call, first half of the block */
};

/* -- Errors ---- */

static bool driver_ok(const struct bench *b, driver_result result, const char *what) {
    return sage_ok(b->context, driver_check(b->context, result, what) == SAGE_OK);
}

/* -- Set-up ---- */

static bool make_plan(struct bench *b, const char *kernel_dir) {
    const sage_options options = {.size = sizeof options, .kernel_dir = kernel_dir, .memory_only = 1};
    return sage_ok(b->context, sage_context_create(&options, &b->context) == SAGE_OK) &&
           sage_ok(b->context, sage_attention_plan_create(b->context, &tiny_desc, &b->plan) == SAGE_OK);
}

static bool make_call(struct bench *b) {
    return device_ok(&b->device, device_stream_create(&b->device, &b->stream) &&
                                     tiny_make(&b->device, b->stream,
                                               sage_attention_workspace_bytes(b->plan, &tiny_shape), &b->args));
}

static bool make_bare(struct bench *b, const char *kernel_dir) {
    struct bare_recipe recipe;
    return sage_ok(b->context,
                   bare_read(b->context, kernel_dir, sage_attention_plan_describe(b->plan), &tiny_shape, &recipe)) &&
           device_ok(&b->device, bare_load(&b->device, &recipe, &b->args, TINY_SM_SCALE, b->stream, &b->bare));
}

// After a successful device_open.
static bool set_up(struct bench *b, const char *kernel_dir) {
    return make_plan(b, kernel_dir) && make_call(b) && make_bare(b, kernel_dir);
}

static void tear_down(struct bench *b) {
    tiny_free(&b->device, &b->args);
    bare_unload(&b->bare);
    device_stream_destroy(&b->device, b->stream);
    sage_attention_plan_destroy(b->plan);
    sage_context_destroy(b->context);
    device_close(&b->device);
}

/* -- Calls and times ---- */

static bool call_bare(struct bench *b) {
    return bare_run(&b->bare);
}

// The least that a call for a caller without a current context must do.
static bool call_bare_pushed(struct bench *b) {
    const struct driver *driver = &b->device.driver;
    driver_context popped;
    if (driver->api.ctx_push(driver->primary) != DRIVER_SUCCESS) return false;
    bool ok = bare_run(&b->bare);
    return driver->api.ctx_pop(&popped) == DRIVER_SUCCESS && ok;
}

static bool call_run(struct bench *b) {
    return sage_attention_run(b->plan, &b->args, b->stream) == SAGE_OK;
}

static const struct {
    bool (*call)(struct bench *b);
    bool current; /* the caller's context is current */
} kinds[KIND_COUNT] = {
    [CURRENT_BARE] = {call_bare, true},
    [CURRENT_RUN] = {call_run, true},
    [ABSENT_BARE] = {call_bare_pushed, false},
    [ABSENT_RUN] = {call_run, false},
};

// O of one call; O and the workspace start with all bits set.
static bool output_of(struct bench *b, bool (*call)(struct bench *b), uint16_t out[TINY_ELEMENTS]) {
    struct device *d = &b->device;
    if (!device_ok(&b->device, device_memset_u8(d, b->args.workspace, 0xff, b->args.workspace_bytes, b->stream) &&
                                   device_memset_u8(d, b->args.o.data, 0xff, TINY_TENSOR_BYTES, b->stream)))
        return false;
    if (!call(b)) return fail("a launch failed: %s", sage_last_error(b->context));
    return device_ok(&b->device, device_download(d, out, b->args.o.data, TINY_TENSOR_BYTES, b->stream));
}

// Whether both ways give the same O. *written: whether all of it was written.
static bool compare_outputs(struct bench *b, bool *written) {
    uint16_t bare[TINY_ELEMENTS], run[TINY_ELEMENTS];
    if (!output_of(b, call_bare, bare) || !output_of(b, call_run, run)) return false;
    for (int i = 0; i < TINY_ELEMENTS; i++)
        if (bare[i] != run[i])
            return fail("O differs at element %d: 0x%04x by bare launches, 0x%04x by sage_attention_run", i, bare[i],
                        run[i]);
    *written = tiny_is_written(run);
    return true;
}

static bool call_often(struct bench *b, enum kind kind, int count) {
    bool ok = true;
    for (int i = 0; i < count; i++) ok &= kinds[kind].call(b);
    return ok;
}

static bool time_block(struct bench *b, enum kind kind, int round) {
    const struct driver *driver = &b->device.driver;
    driver_context popped;
    if (!kinds[kind].current && !driver_ok(b, driver->api.ctx_pop(&popped), "cuCtxPopCurrent")) return false;
    const double start = now_us();
    bool ok = call_often(b, kind, CALLS / 2);
    const double middle = now_us();
    ok &= call_often(b, kind, CALLS / 2);
    const double end = now_us();
    if (!kinds[kind].current && !driver_ok(b, driver->api.ctx_push(driver->primary), "cuCtxPushCurrent")) return false;
    b->early_us[kind][round] = (middle - start) / (CALLS / 2);
    b->us[kind][round] = (end - start) / CALLS;
    if (!ok) return fail("a launch failed: %s", sage_last_error(b->context));
    return device_ok(&b->device, device_synchronize(&b->device, b->stream));
}

// Each kind once a round; the rounds start with another kind in turn, so that a drift hits all alike.
static bool time_all(struct bench *b) {
    for (int i = 0; i < KIND_COUNT; i++)
        if (!time_block(b, (enum kind)i, 0)) return false; // warm-up; overwritten
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < KIND_COUNT; i++)
            if (!time_block(b, (enum kind)((round + i) % KIND_COUNT), round)) return false;
    return true;
}

/* -- Report and program ---- */

static struct summary difference(struct summary a, struct summary b) {
    return (struct summary){a.median - b.median, a.min - b.min, a.p90 - b.p90};
}

// Where the second halves of the blocks are slower, the launch queue was full, and the GPU was timed.
static bool is_gpu_limited(const struct bench *b) {
    bool limited = false;
    for (int kind = 0; kind < KIND_COUNT; kind++)
        limited |= summarise(b->us[kind], ROUNDS).median > 1.1 * summarise(b->early_us[kind], ROUNDS).median;
    return limited;
}

struct line {
    const char *text, *key;
    struct summary us;
};

// bare: CURRENT_BARE or ABSENT_BARE; its run is the kind after it.
static void report_lines(const struct bench *b, int bare, struct line lines[3]) {
    lines[0] = (struct line){"bare launches", "bare", summarise(b->us[bare], ROUNDS)};
    lines[1] = (struct line){"sage_attention_run", "run", summarise(b->us[bare + 1], ROUNDS)};
    lines[2] = (struct line){"difference", "difference", difference(lines[1].us, lines[0].us)};
}

static void print_text(const struct bench *b) {
    static const char *const callers[] = {"the caller's context is current",
                                          "no context is current; bare: one push and pop"};
    printf("%s, %s\n%d blocks of %d calls of each kind; %d launches a call\n", b->device.driver.device_name,
           sage_attention_plan_describe(b->plan), ROUNDS, CALLS, BARE_LAUNCHES);
    for (int i = 0; i < 2; i++) {
        struct line lines[3];
        report_lines(b, 2 * i, lines);
        printf("\n%-46s  median     min     p90  us per call\n", callers[i]);
        for (int j = 0; j < 3; j++)
            printf("  %-44s %7.3f %7.3f %7.3f\n", lines[j].text, lines[j].us.median, lines[j].us.min, lines[j].us.p90);
    }
}

static void print_json(const struct bench *b, bool written, bool limited) {
    static const char *const callers[] = {"context_current", "no_context"};
    printf(
        "{\"gpu\": \"%s\", \"kernels\": \"%s\", \"blocks\": %d, \"calls_per_block\": %d, \"launches_per_call\": %d,\n"
        " \"output_identical\": true, \"output_written\": %s, \"gpu_limited\": %s, \"unit\": \"us per call\"",
        b->device.driver.device_name, sage_attention_plan_describe(b->plan), ROUNDS, CALLS, BARE_LAUNCHES,
        written ? "true" : "false", limited ? "true" : "false");
    for (int i = 0; i < 2; i++) {
        struct line lines[3];
        report_lines(b, 2 * i, lines);
        printf(",\n \"%s\": {", callers[i]);
        for (int j = 0; j < 3; j++)
            printf("%s\"%s\": {\"median\": %.4f, \"min\": %.4f, \"p90\": %.4f}", j ? ", " : "", lines[j].key,
                   lines[j].us.median, lines[j].us.min, lines[j].us.p90);
        printf("}");
    }
    printf("}\n");
}

static bool measure(struct bench *b, const char *kernel_dir, bool json) {
    bool written = false;
    if (!set_up(b, kernel_dir) || !compare_outputs(b, &written) || !time_all(b)) return false;
    const bool limited = is_gpu_limited(b);
    if (json)
        print_json(b, written, limited);
    else
        print_text(b);
    if (!written) fail("no kernel wrote O: not a real driver, and the times are those of its stand-in");
    if (limited)
        fail("second halves of blocks are slower: the GPU did not keep up, and the times include waits for it");
    return written && !limited;
}

int main(int argc, char **argv) {
    static struct bench b;
    char why[DEVICE_ERROR_BYTES];
    const bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
    if (argc < 2 || argv[1][0] == '-' || (argc > 2 && !json)) {
        fputs("usage: launch_overhead KERNEL_DIR [--json]\n", stderr);
        return 2;
    }
    if (!device_open(0, NULL, &b.device, why, sizeof why)) {
        fail("%s", why);
        return 1;
    }
    bool ok = measure(&b, argv[1], json);
    tear_down(&b);
    return ok ? 0 : 1;
}
