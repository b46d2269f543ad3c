// cmd_run: sagegen run: attention on the user's own tensors. The line: words -> files -> shape and io type -> spec ->
// device -> plan -> launch -> files -> check -> report; one function a step, each says what is wrong. Nothing is
// written before everything has been checked and has run. SPDX-License-Identifier: Apache-2.0
#include "arch.h"
#include "cmd.h"
#include "run_check.h"
#include "run_device.h"
#include "run_input.h"
#include "run_launch.h"
#include "run_output.h"
#include "run_report.h"
#include "vm_counts.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHY_BYTES = 2048, REPEAT_MAX = 100000, SLOW_CHECK = 2000000000 };

// X(symbol, name, value, help)
#define RUN_OPTIONS(X)                                                                                                 \
    X(Q, "q", "FILE", "queries: .npy, .safetensors, or file.safetensors:tensor")                                       \
    X(K, "k", "FILE", "keys")                                                                                          \
    X(V, "v", "FILE", "values")                                                                                        \
    X(TENSORS, "tensors", "FILE", "all three from one .safetensors file, instead of --q --k --v")                      \
    X(NAMES, "names", "Q,K,V", "their names in it (default: q,k,v)")                                                   \
    X(OUT, "out", "FILE", "the result, .npy: shaped like Q; fp16 as fp16, bf16 as f32")                                \
    X(LSE, "lse", "FILE", "also write log-sum-exp of the scores, natural log, f32 [batch, heads, rows]")               \
    X(SPEC, "spec", "SPEC", "a spec file, or a shipped spec by name")                                                  \
    X(PRECISION, "precision", "NAME",                                                                                  \
      "int8_fp16|int8_fp8|int8_fp8acc16|fp4|fp8_fp8|fp8_fp4|fp4_fp8|auto (the default)")                               \
    X(DEVICE, "device", "NAME", "cuda (GPU 0), cuda:N, or vm, the PTX virtual machine (default: cuda, else vm)")       \
    X(ARCH, "arch", "TARGET", "of the machine (default: sm_90a, or the spec's first; fp4: sm_120a)")                   \
    X(EMULATE, "emulate", "fp4", "run an fp4 spec on a GPU without 4-bit tensor cores (sm_80 to sm_90): slow, same operands")  \
    X(SEED, "seed", "N", "of the order in which the machine runs warps and lets copies land (default: 0)")             \
    X(COUNTS, "counts", NULL, "also print the machine's counts: instructions, bank conflicts, sectors")                \
    X(LAYOUT, "layout", "NAME", "of 4 or 3 dimensions: bhnd (the default) or bnhd")                                    \
    X(CAUSAL, "causal", NULL, "mask keys after the query, aligned to the last query and key")                          \
    X(SCALE, "sm-scale", "X", "factor of the scores (default: 1 / sqrt(head dim))")                                    \
    X(SAFE, "safe", NULL, "the safe numeric mode")                                                                     \
    X(IO, "io", "TYPE", "bf16 or fp16 (default: the files'; of f32 files fp16, bf16 where values exceed it)")          \
    X(CHECK, "check", NULL, "compare with attention in float64 on the inputs, rounded to the io type")                 \
    X(REPEAT, "repeat", "N", "also time N calls (inputs stay in the caches)")                                          \
    X(JSON, "json", NULL, "print JSON")
#define RUN_SYMBOL(symbol, name, value, help) OPTION_##symbol,
enum run_option { RUN_OPTIONS(RUN_SYMBOL) OPTION_COUNT };
#define RUN_ROW(symbol, name, value, help) {name, 0, value, help},
static const struct cmd_option run_options[] = {RUN_OPTIONS(RUN_ROW){NULL, 0, NULL, NULL}};

static const struct cmd_syntax run_syntax = {
    .name = "run",
    .usage = "run --q FILE --k FILE --v FILE --out FILE [options]",
    .summary =
        "Runs attention on your own tensors: O = softmax(Q K^T * sm_scale) V. Tensors are [batch, heads, rows, head "
        "dim],\n[heads, rows, head dim] or [rows, head dim]; K and V may have fewer heads (GQA). Without a GPU the "
        "kernels'"
        "\nPTX runs on the CPU (--device vm): much slower, with races, stray accesses and the like as "
        "errors.",
    .examples = "  sagegen run --q q.npy --k k.npy --v v.npy --out o.npy --check\n"
                "  sagegen run --tensors qkv.safetensors --names layer0.q,layer0.k,layer0.v --out o.npy --causal\n"
                "  sagegen run --emulate fp4 --q q.npy --k k.npy --v v.npy --out o.npy --check\n",
    .options = run_options,
};

/* -- Words ---- */

struct run {
    const char *value[OPTION_COUNT]; /* as given; "" for an option without a value; NULL: not given */
    char *input[RUN_INPUTS];         /* owned: "file" or "file:tensor" */
    char *input_path[RUN_INPUTS];    /* owned */
    enum run_layout layout;
    enum run_io io;
    sage_precision precision;
    struct run_device_choice choice;
    int repeat;
    float sm_scale; /* 0: the default */

    struct tensor tensor[RUN_INPUTS]; /* in the io type from run_prepare on */
    struct run_shape shape;
    enum number_format format;
    struct cmd_specs specs; /* none, or one */
    struct run_device on;
    struct vm_driver_totals machine; /* of the machine's launches */
    struct buf counts;
    sage_attention_plan *plan;
    struct tensor o, lse;
    struct run_times times;
    struct run_check check;
    char why[WHY_BYTES];
    int status;
};

static bool bad(struct run *run) {
    run->status = cmd_bad_input("%s", run->why);
    return false;
}

static bool failed(struct run *run, const char *text) {
    run->status = cmd_failed("%s", text);
    return false;
}

// The index of a word in a NULL-terminated list; -1: an error was printed.
static int word_index(const char *option, const char *text, const char *const *words) {
    struct buf all = {0};
    for (int i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            buf_free(&all);
            return i;
        }
        buf_printf(&all, "%s%s", i ? ", " : "", words[i]);
    }
    cmd_bad_input("--%s: '%s' is none of %s", option, text, all.data);
    buf_free(&all);
    return -1;
}

// One target, which only the machine can be.
static bool parse_arch(const char *text, int *out) {
    struct cmd_select select = {.native_sm = 0};
    if (strcmp(text, "native") == 0 || strcmp(text, "all") == 0 || strchr(text, ',')) {
        cmd_bad_input("--arch takes one target, not '%s'", text);
        return false;
    }
    if (!cmd_select_arch(&select, text)) return false;
    *out = select.target.item[0];
    return true;
}

// Options that only one kind of device honours.
static bool check_device(const struct run *run) {
    static const enum run_option machines[] = {OPTION_ARCH, OPTION_SEED, OPTION_COUNTS};
    const enum cmd_device_kind kind = run->choice.device.kind;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        if (run->value[machines[i]] && kind == CMD_DEVICE_CUDA)
            return cmd_bad_input("--%s is for --device vm", run_options[machines[i]].name) == CMD_DONE;
    if (run->repeat && kind == CMD_DEVICE_VM)
        return cmd_bad_input("--repeat is for GPUs: the times of the PTX virtual machine say nothing about one") ==
               CMD_DONE;
    return true;
}

static bool parse_scale(const char *text, float *out) {
    char *end;
    float value = strtof(text, &end);
    if (end != text && *end == '\0' && isfinite(value) && value > 0) {
        *out = value;
        return true;
    }
    cmd_bad_input("--sm-scale must be a finite number above 0, not '%s'", text);
    return false;
}

// A word of an option's list, or the first where the option was not given.
static bool parse_word(const struct run *run, enum run_option option, const char *const *words, int *out) {
    *out = run->value[option] ? word_index(run_options[option].name, run->value[option], words) : 0;
    return *out >= 0;
}

static bool parse_values(struct run *run) {
    static const char *const layouts[] = {"bhnd", "bnhd", NULL};       // enum run_layout
    static const char *const types[] = {"auto", "bf16", "fp16", NULL}; // enum run_io
    static const char *const precisions[] = {"auto",    "int8_fp16", "int8_fp8", "int8_fp8acc16", "fp4", "fp8_fp8",
                                             "fp8_fp4", "fp4_fp8",   NULL}; // sage_precision
    const char *const *value = run->value;
    int layout, io, precision;
    if (!parse_word(run, OPTION_LAYOUT, layouts, &layout) || !parse_word(run, OPTION_IO, types, &io) ||
        !parse_word(run, OPTION_PRECISION, precisions, &precision))
        return false;
    run->layout = (enum run_layout)layout;
    run->io = (enum run_io)io;
    run->precision = (sage_precision)precision;
    run->choice.target = -1;
    return (!value[OPTION_DEVICE] || cmd_parse_device(value[OPTION_DEVICE], &run->choice.device)) &&
           (!value[OPTION_ARCH] || parse_arch(value[OPTION_ARCH], &run->choice.target)) &&
           (!value[OPTION_SEED] || cmd_parse_seed(value[OPTION_SEED], &run->choice.seed)) &&
           (!value[OPTION_SCALE] || parse_scale(value[OPTION_SCALE], &run->sm_scale)) &&
           (!value[OPTION_REPEAT] || cmd_parse_count("repeat", value[OPTION_REPEAT], REPEAT_MAX, &run->repeat)) &&
           check_device(run);
}

static bool read_words(struct run *run, int argc, char **argv) {
    struct cmd_args args = {.syntax = &run_syntax, .argc = argc, .argv = argv};
    for (int option = cmd_next(&args); option != CMD_END; option = cmd_next(&args)) {
        run->status = option == CMD_STOP ? args.status : CMD_BAD_INPUT;
        if (option == CMD_STOP) return false;
        if (option == CMD_WORD)
            return cmd_bad_input("unexpected word '%s'; see sagegen run --help", args.value) == CMD_DONE;
        if (run->value[option]) return cmd_bad_input("--%s is given twice", run_options[option].name) == CMD_DONE;
        run->value[option] = args.value ? args.value : "";
    }
    run->status = CMD_BAD_INPUT; // of what is still to be checked
    return true;
}

/* -- Inputs ---- */

// "a,b,c" of --names -> "file:a", "file:b", "file:c".
static bool split_names(struct run *run) {
    const char *file = run->value[OPTION_TENSORS];
    const char *names = run->value[OPTION_NAMES] ? run->value[OPTION_NAMES] : "q,k,v", *at = names;
    for (int i = 0; i < RUN_INPUTS; i++) {
        struct buf text = {0};
        size_t len = strcspn(at, ",");
        buf_printf(&text, "%s:%.*s", file, (int)len, at);
        run->input[i] = text.data;
        if (len == 0 || (at[len] == ',') != (i < RUN_INPUTS - 1))
            return cmd_bad_input("--names must be three names with commas between them, not '%s'", names) == CMD_DONE;
        at += len + (at[len] == ',');
    }
    return true;
}

static bool name_inputs(struct run *run) {
    static const enum run_option option[RUN_INPUTS] = {OPTION_Q, OPTION_K, OPTION_V};
    const char *file = run->value[OPTION_TENSORS];
    size_t path_len;
    for (int i = 0; i < RUN_INPUTS; i++) {
        const char *name = run_options[option[i]].name, *value = run->value[option[i]];
        if (file && value) return cmd_bad_input("--%s and --tensors exclude each other", name) == CMD_DONE;
        if (!file && !value) return cmd_bad_input("--%s FILE is missing; see sagegen run --help", name) == CMD_DONE;
        if (!file) run->input[i] = xstrdup(value);
    }
    if (!file && run->value[OPTION_NAMES]) return cmd_bad_input("--names needs --tensors FILE") == CMD_DONE;
    if (file && (run_tensor_name(file, &path_len) || strstr(file, ".safetensors") == NULL))
        return cmd_bad_input("--tensors %s: it takes the name of a .safetensors file", file) == CMD_DONE;
    return !file || split_names(run);
}

static bool check_words(struct run *run) {
    if (!name_inputs(run)) return false;
    for (int i = 0; i < RUN_INPUTS; i++) {
        size_t path_len;
        run_tensor_name(run->input[i], &path_len);
        run->input_path[i] = xstrndup(run->input[i], path_len);
    }
    if (!run->value[OPTION_OUT]) return cmd_bad_input("--out FILE is missing; see sagegen run --help") == CMD_DONE;
    if (run->value[OPTION_EMULATE] && strcmp(run->value[OPTION_EMULATE], "fp4") != 0)
        return cmd_bad_input("--emulate takes fp4, not '%s'", run->value[OPTION_EMULATE]) == CMD_DONE;
    if (run->value[OPTION_EMULATE] && run->value[OPTION_PRECISION])
        return cmd_bad_input("--emulate and --precision exclude each other") == CMD_DONE;
    if (run->value[OPTION_SPEC] && run->value[OPTION_PRECISION])
        return cmd_bad_input("--spec and --precision exclude each other") == CMD_DONE;
    return parse_values(run);
}

static bool check_outputs(struct run *run) {
    const char *out = run->value[OPTION_OUT], *lse = run->value[OPTION_LSE];
    const char *const *inputs = (const char *const *)run->input_path;
    if (!run_output_check("out", out, inputs, RUN_INPUTS, run->why, WHY_BYTES)) return bad(run);
    if (!lse) return true;
    if (!run_output_check("lse", lse, inputs, RUN_INPUTS, run->why, WHY_BYTES)) return bad(run);
    if (strcmp(out, lse) == 0) return cmd_bad_input("--out and --lse name the same file") == CMD_DONE;
    return true;
}

static bool run_options_read(struct run *run, int argc, char **argv) {
    return read_words(run, argc, argv) && check_words(run) && check_outputs(run);
}

static bool run_read_inputs(struct run *run) {
    for (int i = 0; i < RUN_INPUTS; i++)
        if (!run_read(run->input[i], run->io == RUN_IO_BF16, &run->tensor[i], run->why, WHY_BYTES)) return bad(run);
    return run_shape_make(run->tensor, run->layout, &run->shape, run->why, WHY_BYTES) || bad(run);
}

// Chooses the io type and rounds to it; says what it does to the user's numbers.
static bool run_prepare(struct run *run) {
    struct run_scan scan[RUN_INPUTS];
    for (int i = 0; i < RUN_INPUTS; i++) scan[i] = run_scan(&run->tensor[i]);
    if (!run_format_choose(run->tensor, scan, run->io, &run->format, run->why, WHY_BYTES)) return bad(run);
    for (int i = 0; i < RUN_INPUTS; i++) {
        if (scan[i].not_finite)
            fprintf(stderr, "sagegen: warning: %s holds values that are not finite (%llu of %zu); they are read as 0\n",
                    run_input_text(i), (unsigned long long)scan[i].not_finite, tensor_count(&run->tensor[i]));
        if (run->tensor[i].dtype != run->format)
            fprintf(stderr, "sagegen: note: %s is %s (largest magnitude %g) and is rounded to %s\n", run_input_text(i),
                    format_text(run->tensor[i].dtype), scan[i].max_abs, format_text(run->format));
        if (!run_round(&run->tensor[i], run->format, run->why, WHY_BYTES)) return failed(run, run->why);
    }
    return true;
}

/* -- Kernels ---- */

static bool lists(const struct spec_int_list *list, int value) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i] == value) return true;
    return false;
}

// Whether the spec is meant for these tensors at all; errors point into it.
static bool spec_fits(struct run *run, const struct spec *spec) {
    const enum spec_io io = run->format == FORMAT_BF16 ? SPEC_IO_BF16 : SPEC_IO_FP16;
    const enum spec_mask mask = run->value[OPTION_CAUSAL] ? SPEC_MASK_CAUSAL : SPEC_MASK_NONE;
    struct diag *d = &run->specs.diag;
    if (spec->head_dim_qk != run->shape.dim_qk || spec->head_dim_v != run->shape.dim_v)
        diag_error(d, spec_where(spec, "head_dim"), "%s is for a head dim of %d (V: %d); the tensors have %d (V: %d)",
                   spec->name, spec->head_dim_qk, spec->head_dim_v, run->shape.dim_qk, run->shape.dim_v);
    if (!lists(&spec->io, (int)io))
        diag_error(d, spec_where(spec, "io"), "%s does not list %s, the type of the tensors", spec->name,
                   spec_io_text(io));
    if (!lists(&spec->mask, (int)mask))
        diag_error(d, spec_where(spec, "mask"), "%s does not list %s", spec->name, spec_mask_text(mask));
    return d->errors == 0;
}

// For GPUs without 4-bit tensor cores the same kernels are made with products of f16 (nvfp4) or bf16 (mxfp4): every operand
// is exact in them; the order and width of the sums are that GPU's.
static bool emulate(struct run *run, struct spec *spec) {
    if (spec->qk_block == 0 && spec->pv_block == 0) {
        diag_error(&run->specs.diag, spec_where(spec, "qk.format"), "%s has no 4-bit operands to emulate", spec->name);
        return false;
    }
    spec->targets.count = 0;
    for (int t = 0; t < SPEC_TARGET_COUNT; t++) {
        const struct arch *arch = arch_of((enum spec_target)t);
        if (!arch->block_scaled_mma && !arch->wgmma) spec->targets.item[spec->targets.count++] = t; // mma.sync alone: portable
    }
    fprintf(stderr, "sagegen: note: 4-bit products are emulated: operands are exact, sums are those of this device's f16 or bf16 "
                    "products\n");
    return true;
}

static bool run_load_spec(struct run *run) {
    char shipped[32];
    const char *name = run->value[OPTION_SPEC];
    snprintf(shipped, sizeof shipped, "fp4_d%d", run->shape.dim_qk);
    if (!name && run->value[OPTION_EMULATE]) name = shipped;
    if (!name) return true;
    if (!cmd_specs_add(&run->specs, name)) return false;
    struct spec *spec = &run->specs.item[0]->spec;
    return spec_fits(run, spec) && (!run->value[OPTION_EMULATE] || emulate(run, spec));
}

static bool run_open(struct run *run) {
    run->status = CMD_FAILED;
    run->choice.spec = run->specs.count ? run->specs.item[0] : NULL;
    run->choice.precision = run->precision;
    run->choice.counts = run->value[OPTION_COUNTS] != NULL;
    if (!run_device_open(&run->choice, &run->on, run->why, WHY_BYTES))
        return run->why[0] ? failed(run, run->why) : false;
    if (!run->on.vm && run->choice.counts) return failed(run, "--counts: a GPU does not count; use --device vm");
    return true;
}

static bool run_plan(struct run *run) {
    const sage_attention_desc desc = {
        .size = sizeof desc,
        .dtype = run->format == FORMAT_BF16 ? SAGE_BF16 : SAGE_FP16,
        .head_dim_qk = run->shape.dim_qk,
        .head_dim_v = run->shape.dim_v,
        .mask = run->value[OPTION_CAUSAL] ? SAGE_MASK_CAUSAL : SAGE_MASK_NONE,
        .precision = run->precision,
        .spec = run->specs.count ? run->specs.item[0]->spec.name : NULL,
        .sm_scale = run->sm_scale,
        .flags = SAGE_FLAG_OVERFLOW | (run->value[OPTION_LSE] ? SAGE_FLAG_LSE : 0u) |
                 (run->value[OPTION_SAFE] ? SAGE_FLAG_SAFE : 0u),
        .expected = run->shape.extent,
    };
    if (sage_attention_plan_create(run->on.context, &desc, &run->plan) == SAGE_OK) return true;
    return failed(run, sage_last_error(run->on.context));
}

/* -- The call ---- */

static void warn_overflow(uint32_t flags) {
    static const char *const name[] = {"Q", "K", "V", "O"}; // bit i
    for (int i = 0; i < 4; i++)
        if (flags >> i & 1u)
            fprintf(stderr, "sagegen: warning: overflow or values that are not finite in %s\n", name[i]);
}

static bool run_compute(struct run *run) {
    const bool want_lse = run->value[OPTION_LSE] != NULL;
    if (!run_output_create(&run->shape, run->format, &run->o, run->why, WHY_BYTES) ||
        (want_lse && !run_lse_create(&run->shape, &run->lse, run->why, WHY_BYTES)))
        return failed(run, run->why);
    const struct run_call call = {.plan = run->plan,
                                  .context = run->on.context,
                                  .shape = &run->shape,
                                  .input = run->tensor,
                                  .o = &run->o,
                                  .lse = want_lse ? &run->lse : NULL,
                                  .repeat = run->repeat};
    if (!run_launch(&run->on.device, &call, &run->times, run->why, WHY_BYTES)) return failed(run, run->why);
    warn_overflow(run->times.overflow);
    return true;
}

// Whatever the machine found makes the result worthless, also where it is right by chance.
static bool run_judge(struct run *run) {
    if (!run->on.vm) return true;
    run->machine = vm_driver_totals();
    if (run->choice.counts) vm_counts_text(&run->counts);
    if (run->machine.findings == 0) return true;
    snprintf(run->why, WHY_BYTES, "the PTX virtual machine found %llu errors; nothing was written",
             (unsigned long long)run->machine.findings);
    return failed(run, run->why);
}

static bool run_write(struct run *run) {
    const struct run_file files[] = {{run->value[OPTION_OUT], &run->o}, {run->value[OPTION_LSE], &run->lse}};
    return run_output_write(files, run->value[OPTION_LSE] ? 2 : 1, run->why, WHY_BYTES) || failed(run, run->why);
}

static bool run_compare(struct run *run) {
    if (!run->value[OPTION_CHECK]) return true;
    const struct run_check_setup setup = {.shape = &run->shape,
                                          .input = run->tensor,
                                          .o = &run->o,
                                          .lse = run->value[OPTION_LSE] ? &run->lse : NULL,
                                          .sm_scale = run->sm_scale,
                                          .causal = run->value[OPTION_CAUSAL] != NULL,
                                          .cost = RUN_CHECK_COST};
    if (run_operations(&run->shape, false) > SLOW_CHECK)
        fprintf(stderr, "sagegen: comparing with float64 attention on the CPU...\n");
    return run_check(&setup, &run->check, run->why, WHY_BYTES) || failed(run, run->why);
}

static bool run_print(struct run *run) {
    struct buf text = {0};
    const struct run_report report = {.kernel = sage_attention_plan_describe(run->plan),
                                      .device = &run->on.device,
                                      .shape = &run->shape,
                                      .io = run->format,
                                      .causal = run->value[OPTION_CAUSAL] != NULL,
                                      .safe = run->value[OPTION_SAFE] != NULL,
                                      .sm_scale = run->sm_scale,
                                      .out = run->value[OPTION_OUT],
                                      .lse = run->value[OPTION_LSE],
                                      .o = &run->o,
                                      .times = &run->times,
                                      .machine = run->on.vm ? &run->machine : NULL,
                                      .seed = run->choice.seed,
                                      .repeat = run->repeat,
                                      .check = run->value[OPTION_CHECK] ? &run->check : NULL};
    if (run->value[OPTION_JSON])
        run_report_json(&report, &text);
    else
        run_report_text(&report, &text);
    if (run->counts.len && !run->value[OPTION_JSON]) buf_puts(&text, run->counts.data);
    bool ok = cmd_print(&text);
    buf_free(&text);
    if (ok && report.check && !isfinite(run->check.o.rel_l2)) return failed(run, "the output holds NaN or infinity");
    return ok;
}

static void run_close(struct run *run) {
    sage_attention_plan_destroy(run->plan);
    run_device_close(&run->on);
    buf_free(&run->counts);
    cmd_specs_free(&run->specs);
    for (int i = 0; i < RUN_INPUTS; i++) {
        tensor_free(&run->tensor[i]);
        free(run->input[i]);
        free(run->input_path[i]);
    }
    tensor_free(&run->o);
    tensor_free(&run->lse);
}

int cmd_run(int argc, char **argv) {
    struct run run = {.status = CMD_BAD_INPUT};
    if (run_options_read(&run, argc, argv) // words
        && run_read_inputs(&run)           // files -> tensors, shape
        && run_prepare(&run)               // io type
        && run_load_spec(&run)             // --spec
        && run_open(&run)                  // GPU or machine, context, provider
        && run_plan(&run)                  // kernels: cache, or text -> NVRTC
        && run_compute(&run)               // upload, launch, download, times
        && run_judge(&run)                 // the machine's findings
        && run_write(&run)                 // --out, --lse
        && run_compare(&run)               // --check
        && run_print(&run))
        run.status = CMD_DONE;
    run_close(&run);
    return run.status;
}
