// preprocess: GPU time of what comes before attention (sage_attention_quantise: Q, K and V to 8-bit tiles), beside the
// copy bandwidth of the same GPU. In: a folder of `sagegen --spec int8_fp8_d128 --arch sm_90a --io bf16 --mask none
// --out DIR`. Out: for each length the time, the bytes that must move, and the share of the copy bandwidth, as text or
// JSON. Bytes: Q, K and V read once in 16 bits and written once in 8; scales are left out. Copies and calls take turns.
// SPDX-License-Identifier: Apache-2.0
#include "fail.h"
#include "samples.h"
#include <assert.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIM = 128,
    ROUNDS = 41, /* of a call and a copy */
    WARM_UP = 3,
    SETS = 2, /* of inputs, in turn: no call finds its own in L2 */
    COPY_BYTES = 512 << 20,
    PATTERN_ELEMENTS = 1 << 22 /* of random bf16, from which all inputs are made */
};
static_assert((int)ROUNDS <= (int)SAMPLES_MAX, "samples find room");

static const sage_attention_desc desc = {
    .size = sizeof desc, .dtype = SAGE_BF16, .head_dim_qk = DIM, .spec = "int8_fp8_d128"};
static const sage_attention_shape shapes[] = {
    {4, 32, 32, 512, 512},   {4, 32, 32, 1024, 1024}, {4, 32, 32, 2048, 2048},
    {4, 32, 32, 4096, 4096}, {4, 32, 32, 8192, 8192}, {1, 32, 32, 32768, 32768},
};
enum { SHAPE_COUNT = sizeof shapes / sizeof *shapes };

typedef driver_result copy_function(driver_pointer to, driver_pointer from, size_t bytes, driver_stream stream);

struct span {
    device_event from, to;
};

struct bench {
    struct device device;
    sage_stream stream;
    sage_context *context;
    sage_attention_plan *plan;
    copy_function *copy;
    uint16_t *pattern;
    void *copied[2];
    struct span call[ROUNDS], copying[ROUNDS];
};

struct row {
    struct summary us;
    double bytes, share;
};

/* -- Set-up ---- */

// The one entry point that libsage has no use for.
static bool find_copy(struct bench *b) {
    void *symbol = dlsym(b->device.driver.library, "cuMemcpyDtoDAsync_v2");
    if (!symbol) return fail("the driver has no cuMemcpyDtoDAsync_v2");
    memcpy(&b->copy, &symbol, sizeof symbol);
    return true;
}

// bf16 of magnitude 2^-8 to 1, either sign.
static bool make_pattern(struct bench *b) {
    b->pattern = malloc(PATTERN_ELEMENTS * sizeof *b->pattern);
    if (!b->pattern) return fail("out of memory");
    uint32_t state = 1;
    for (int i = 0; i < PATTERN_ELEMENTS; i++) {
        state = state * 1664525u + 1013904223u;
        b->pattern[i] = (uint16_t)(((state >> 16) & 0x83ffu) + 0x3b80u);
    }
    return true;
}

static bool make_spans(struct bench *b, struct span spans[ROUNDS]) {
    for (int i = 0; i < ROUNDS; i++)
        if (!device_event_create(&b->device, &spans[i].from) || !device_event_create(&b->device, &spans[i].to))
            return device_ok(&b->device, false);
    return true;
}

static bool set_up(struct bench *b, const char *kernel_dir) {
    const sage_options options = {.size = sizeof options, .kernel_dir = kernel_dir, .memory_only = 1};
    struct device *d = &b->device;
    return find_copy(b) && make_pattern(b) &&
           sage_ok(b->context, sage_context_create(&options, &b->context) == SAGE_OK) &&
           sage_ok(b->context, sage_attention_plan_create(b->context, &desc, &b->plan) == SAGE_OK) &&
           device_ok(&b->device, device_stream_create(d, &b->stream) && device_alloc(d, COPY_BYTES, &b->copied[0]) &&
                                     device_alloc(d, COPY_BYTES, &b->copied[1])) &&
           make_spans(b, b->call) && make_spans(b, b->copying);
}

static void tear_down(struct bench *b) {
    for (int i = 0; i < ROUNDS; i++) {
        device_event_destroy(&b->device, b->call[i].from);
        device_event_destroy(&b->device, b->call[i].to);
        device_event_destroy(&b->device, b->copying[i].from);
        device_event_destroy(&b->device, b->copying[i].to);
    }
    for (int i = 0; i < 2; i++) device_free(&b->device, b->copied[i]);
    device_stream_destroy(&b->device, b->stream);
    sage_attention_plan_destroy(b->plan);
    sage_context_destroy(b->context);
    device_close(&b->device);
    free(b->pattern);
}

static bool make_input(struct bench *b, uint64_t elements, void **out) {
    if (!device_alloc(&b->device, 2 * elements, out)) return false;
    for (uint64_t done = 0; done < elements; done += PATTERN_ELEMENTS) {
        const uint64_t left = elements - done, count = left < PATTERN_ELEMENTS ? left : PATTERN_ELEMENTS;
        if (!device_upload(&b->device, (uint16_t *)*out + done, b->pattern, 2 * count, b->stream)) return false;
    }
    return true;
}

static bool make_args(struct bench *b, const sage_attention_shape *shape, sage_attention_args *out) {
    const int64_t head = (int64_t)shape->seq_k * DIM, batch = head * shape->heads_kv;
    const uint64_t elements = (uint64_t)(batch * shape->batch);
    *out = (sage_attention_args){.size = sizeof *out, .shape = *shape};
    out->workspace_bytes = sage_attention_workspace_bytes(b->plan, shape);
    out->q = out->k = out->v = out->o = (sage_tensor){NULL, batch, head, DIM};
    bool ok = make_input(b, elements, &out->q.data) && make_input(b, elements, &out->k.data) &&
              make_input(b, elements, &out->v.data) && device_alloc(&b->device, 2 * elements, &out->o.data) &&
              device_alloc(&b->device, out->workspace_bytes, &out->workspace);
    return device_ok(&b->device, ok);
}

static void free_args(struct bench *b, const sage_attention_args *args) {
    void *const memory[] = {args->q.data, args->k.data, args->v.data, args->o.data, args->workspace};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) device_free(&b->device, memory[i]);
}

/* -- Times ---- */

static bool time_call(struct bench *b, const sage_attention_args *args, const struct span *span) {
    return device_ok(&b->device, device_event_record(&b->device, span->from, b->stream)) &&
           sage_ok(b->context, sage_attention_quantise(b->plan, args, b->stream) == SAGE_OK) &&
           device_ok(&b->device, device_event_record(&b->device, span->to, b->stream));
}

static bool time_copy(struct bench *b, const struct span *span) {
    const driver_pointer to = (driver_pointer)(uintptr_t)b->copied[0], from = (driver_pointer)(uintptr_t)b->copied[1];
    if (!device_ok(&b->device, device_event_record(&b->device, span->from, b->stream))) return false;
    if (b->copy(to, from, COPY_BYTES, (driver_stream)b->stream) != DRIVER_SUCCESS)
        return fail("cuMemcpyDtoDAsync failed");
    return device_ok(&b->device, device_event_record(&b->device, span->to, b->stream));
}

static bool summarise_spans(struct bench *b, const struct span spans[ROUNDS], struct summary *out) {
    double us[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        if (!device_ok(&b->device, device_event_elapsed(&b->device, spans[i].from, spans[i].to, &us[i]))) return false;
        us[i] *= 1e3;
    }
    *out = summarise(us, ROUNDS);
    return true;
}

static bool time_rounds(struct bench *b, const sage_attention_args args[SETS]) {
    for (int i = 0; i < WARM_UP; i++)
        if (!time_call(b, &args[i % SETS], &b->call[0]) || !time_copy(b, &b->copying[0])) return false;
    for (int i = 0; i < ROUNDS; i++)
        if (!time_copy(b, &b->copying[i]) || !time_call(b, &args[i % SETS], &b->call[i])) return false;
    return true;
}

static bool measure_row(struct bench *b, const sage_attention_shape *shape, struct row *out) {
    sage_attention_args args[SETS] = {0};
    struct summary copy = {0};
    bool ok = true;
    for (int i = 0; ok && i < SETS; i++) ok = make_args(b, shape, &args[i]);
    ok = ok && time_rounds(b, args) && summarise_spans(b, b->call, &out->us) && summarise_spans(b, b->copying, &copy);
    for (int i = 0; i < SETS; i++) free_args(b, &args[i]);
    if (!ok) return false;
    out->bytes = (double)(3 * (2 + 1) * shape->batch * shape->heads_kv * shape->seq_k * DIM);
    out->share = out->bytes / out->us.median / (2.0 * COPY_BYTES / copy.median);
    return true;
}

/* -- Report and program ---- */

static void print_text(const struct bench *b, const struct row rows[SHAPE_COUNT]) {
    printf("%s, %s\nbatch heads    keys       MB  median us   min us  of the copy bandwidth\n",
           b->device.driver.device_name, sage_attention_plan_describe(b->plan));
    for (int i = 0; i < SHAPE_COUNT; i++)
        printf("%5d %5d %7d %8.1f %10.1f %8.1f  %.0f %%\n", (int)shapes[i].batch, (int)shapes[i].heads_kv,
               (int)shapes[i].seq_k, rows[i].bytes * 1e-6, rows[i].us.median, rows[i].us.min, 100 * rows[i].share);
}

static void print_json(const struct bench *b, const struct row rows[SHAPE_COUNT]) {
    printf("{\"gpu\": \"%s\", \"kernels\": \"%s\", \"rounds\": %d, \"copied_bytes\": %d, \"rows\": [",
           b->device.driver.device_name, sage_attention_plan_describe(b->plan), ROUNDS, COPY_BYTES);
    for (int i = 0; i < SHAPE_COUNT; i++)
        printf("%s\n {\"batch\": %d, \"heads\": %d, \"n\": %d, \"bytes\": %.0f, \"median_us\": %.2f, "
               "\"min_us\": %.2f, \"share\": %.4f}",
               i ? "," : "", (int)shapes[i].batch, (int)shapes[i].heads_kv, (int)shapes[i].seq_k, rows[i].bytes,
               rows[i].us.median, rows[i].us.min, rows[i].share);
    printf("]}\n");
}

int main(int argc, char **argv) {
    static struct bench b;
    struct row rows[SHAPE_COUNT];
    char why[DEVICE_ERROR_BYTES];
    const bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
    if (argc < 2 || argv[1][0] == '-' || (argc > 2 && !json)) {
        fputs("usage: preprocess KERNEL_DIR [--json]\n", stderr);
        return 2;
    }
    if (!device_open(0, NULL, &b.device, why, sizeof why)) {
        fail("%s", why);
        return 1;
    }
    bool ok = set_up(&b, argv[1]);
    for (int i = 0; ok && i < SHAPE_COUNT; i++) ok = measure_row(&b, &shapes[i], &rows[i]);
    if (ok) json ? print_json(&b, rows) : print_text(&b, rows);
    tear_down(&b);
    return ok ? 0 : 1;
}
