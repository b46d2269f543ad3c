// cmd_verify: `sagegen verify`: builds the kernels that this GPU runs and compares them with the float64 reference.
// Words of the command line, the order of the steps, the exit status; the checks themselves are in verify_*.c.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"
#include "cmd_interrupt.h"

#include "shipped.h"
#include "verify.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { VERIFY_CANNOT = 77 }; /* what CTest and Automake take for "skipped" */

enum {
    OPT_SPEC,
    OPT_ALL,
    OPT_ARCH,
    OPT_IO,
    OPT_MASK,
    OPT_VARIANT,
    OPT_QUICK,
    OPT_FULL,
    OPT_ONLY,
    OPT_DEVICE,
    OPT_COUNTS,
    OPT_RANDOM,
    OPT_SOAK,
    OPT_STREAMS,
    OPT_SEED,
    OPT_THREADS,
    OPT_NO_FORK,
    OPT_TIMEOUT,
    OPT_JSON
};

static const struct cmd_option options[] = {
    [OPT_SPEC] = {"spec", 's', "FILE", "a spec, by file or shipped name; may be repeated"},
    [OPT_ALL] = {"all", 'a', NULL, "all shipped specs (the default)"},
    [OPT_DEVICE] = {"device", 0, "NAME",
                    "cuda (GPU 0), cuda:N, or vm, the PTX virtual machine; default: cuda, else vm"},
    [OPT_COUNTS] = {"counts", 0, NULL,
                    "print what the machine counts, on stderr, and fail on bank conflicts in main loops"},
    [OPT_ARCH] = {"arch", 0, "LIST", "targets, or native; default: all that run on this GPU, and its portable one"},
    [OPT_IO] = {"io", 0, "LIST", "bf16, fp16"},
    [OPT_MASK] = {"mask", 0, "LIST", "none, causal"},
    [OPT_VARIANT] = {"variant", 0, "NAME", "tuning point; default: each target's default"},
    [OPT_QUICK] = {"quick", 'q', NULL, "fewer lengths and shapes"},
    [OPT_FULL] = {"full", 'f', NULL, "also 32768 and 131072 tokens (vm: keys), and offsets beyond 2^31 elements"},
    [OPT_ONLY] = {"only", 0, "LIST", "quantisers, gates, properties"},
    [OPT_RANDOM] = {"random", 0, "N", "also N shapes drawn at random for each kernel set, each run twice: the same bits"},
    [OPT_SOAK] = {"soak", 0, "SECONDS",
                  "instead of the checks: random calls on several streams, each compared with the first bit by bit"},
    [OPT_STREAMS] = {"streams", 0, "N", "of the soak (4); half as many threads call"},
    [OPT_SEED] = {"seed", 0, "N", "repeat the run that printed this seed"},
    [OPT_THREADS] = {"threads", 'j', "N", "of the CPU reference and the compiler; default: all CPUs"},
    [OPT_NO_FORK] = {"no-fork", 0, NULL, "all in one process, for debuggers; a fault or a hang then ends the run"},
    [OPT_TIMEOUT] = {"timeout", 0, "S",
                     "seconds without a result after which a kernel counts as hung (180; --full: 1800)"},
    [OPT_JSON] = {"json", 0, NULL, "one JSON array of all checks on standard output"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax syntax = {
    .name = "verify",
    .usage = "verify [--spec FILE ... | --all] [--arch LIST] [--io LIST] [--mask LIST] [--quick | --full] ...",
    .summary =
        "Runs kernels on the GPU against float64: quantisers against a model on the CPU, attention against its own\n"
        "algorithm and the published one, and properties that hold whatever the values. One line a check.\n"
        "The checks run in a process of their own: a kernel set that faults or hangs fails, and the next ones go on.\n"
        "On the PTX virtual machine all targets of a spec run, at small sizes, and what the machine finds (races, "
        "stray\n"
        "accesses, memory read before it was written, ...) fails; checks named 'model' are of the kernels' algorithm "
        "in\n"
        "float64 at a GPU's size, nothing is run for them. --quick there takes each target with one io type and one "
        "mask\n"
        "in turn, both of each for every spec.\n"
        "--soak calls each kernel set on each of a dozen shapes, and holds that against float64. Then, for so long,\n"
        "threads take streams at random, and call sets and shapes at random on them, into poisoned outputs and\n"
        "workspaces, whole or in two steps. O, LSE, overflow flags and the bytes beside them must be those of the first\n"
        "call. A line for each set counts its calls; one for each call that went wrong (of the first 20) has its\n"
        "stream, number and seed: the same seed gives each stream the same calls in the same order. Ctrl-C ends it\n"
        "with the results so far.\n"
        "Exit status: 0 all passed, 1 a check failed, 2 bad input, 77 no GPU (of --device cuda), or no NVRTC for the "
        "machine.",
    .examples = "  sagegen verify --quick\n  sagegen verify --spec int8_fp8_d128 --arch sm_90a --only gates\n"
                "  sagegen verify --soak 600 --arch native\n",
    .options = options,
};

struct verify_command {
    struct verify_options options;
    struct cmd_device device;
    struct cmd_select select;
    struct cmd_specs specs;
    struct verify_choice choice;
    struct verify_gpu gpu;
    struct build_setup setup;
    struct verify_units units;
    struct verify_report report;
    struct buf skipped, again;
    bool native;
    int status;
};

/* -- Words ---- */

static bool parse_only(struct verify_command *v, const char *text) {
    static const char *const words[] = {"quantisers", "gates", "properties"};
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        unsigned bit = 0;
        for (unsigned i = 0; i < 3; i++)
            if (strlen(words[i]) == len && strncmp(words[i], p, len) == 0) bit = 1u << i;
        if (bit == 0) {
            cmd_bad_input("--only: '%.*s' is none of quantisers, gates, properties", (int)len, p);
            return false;
        }
        v->options.parts |= bit;
        p += len;
        if (*p == '\0') return true;
    }
}

static bool add_all(struct verify_command *v) {
    bool ok = true;
    for (int i = 0; i < shipped_count(); i++) {
        const char *name;
        size_t len = shipped_name(shipped_get(i), &name);
        char *copy = xstrndup(name, len);
        ok &= cmd_specs_add(&v->specs, copy);
        free(copy);
    }
    return ok;
}

// "native" is this GPU's business, which is asked for later.
static bool parse_arch(struct verify_command *v, const char *list) {
    v->native = strcmp(list, "native") == 0;
    return v->native || cmd_select_arch(&v->select, list);
}

static bool take_word(struct verify_command *v, int option, const char *value) {
    switch (option) {
    case OPT_SPEC:
    case CMD_WORD:
        return cmd_specs_add(&v->specs, value) || v->specs.diag.errors > 0; // errors are counted; read on
    case OPT_ALL:
        return add_all(v);
    case OPT_ARCH:
        return parse_arch(v, value);
    case OPT_IO:
        return cmd_select_io(&v->select, value);
    case OPT_MASK:
        return cmd_select_mask(&v->select, value);
    case OPT_VARIANT:
        v->choice.variant = value;
        return true;
    case OPT_ONLY:
        return parse_only(v, value);
    case OPT_RANDOM:
        return cmd_parse_count("random", value, 100000, &v->options.random);
    case OPT_SOAK:
        return cmd_parse_count("soak", value, 30 * 86400, &v->options.soak_s);
    case OPT_STREAMS:
        return cmd_parse_count("streams", value, 64, &v->options.streams);
    case OPT_SEED:
        return cmd_parse_seed(value, &v->options.seed);
    case OPT_THREADS:
        return cmd_parse_count("threads", value, 256, &v->options.threads);
    case OPT_TIMEOUT:
        return cmd_parse_count("timeout", value, 86400, &v->options.timeout_s);
    case OPT_DEVICE:
        return cmd_parse_device(value, &v->device);
    case OPT_COUNTS:
        v->options.counts = true;
        return true;
    case OPT_NO_FORK:
        v->options.fork = false;
        return true;
    case OPT_JSON:
        v->report.json = true;
        return true;
    default:
        v->options.level = option == OPT_QUICK ? VERIFY_QUICK : VERIFY_FULL;
        return true;
    }
}

static uint64_t fresh_seed(void) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint64_t)getpid() * 2654435761u;
    return seed >> 20; // short enough to be typed again
}

// What a soak does not do, and what nothing but a soak does.
static bool agree(const struct verify_command *v) {
    const struct verify_options *o = &v->options;
    if (o->soak_s > 0 && (o->parts || o->random || o->counts || o->level == VERIFY_FULL))
        cmd_bad_input("--soak runs instead of the checks: --full, --only, --random and --counts do not go with it");
    else if (o->streams > 0 && o->soak_s == 0)
        cmd_bad_input("--streams is of --soak");
    else
        return true;
    return false;
}

// The command that gives each stream the same calls again.
static void keep_words(struct verify_command *v, int argc, char **argv) {
    buf_puts(&v->again, "sagegen");
    for (int i = 0; i < argc; i++) buf_printf(&v->again, " %s", argv[i]);
    if (!strstr(v->again.data, " --seed")) buf_printf(&v->again, " --seed %" PRIu64, v->options.seed);
    v->options.again = v->again.data;
}

static bool read_words(struct verify_command *v, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int option;
    v->options = (struct verify_options){.level = VERIFY_NORMAL, .seed = fresh_seed(), .fork = true};
    while ((option = cmd_next(&args)) != CMD_END) {
        if (option == CMD_STOP) {
            v->status = args.status;
            return false;
        }
        if (!take_word(v, option, args.value)) return false;
    }
    if (!agree(v) || (v->specs.count == 0 && !add_all(v))) return false;
    if (v->options.streams == 0) v->options.streams = 4;
    keep_words(v, argc, argv);
    if (v->options.parts == 0) v->options.parts = VERIFY_ALL;
    if (v->options.timeout_s == 0) v->options.timeout_s = v->options.level == VERIFY_FULL ? 1800 : 180;
    v->options.ordinal = v->device.ordinal;
    v->options.vm = v->device.kind == CMD_DEVICE_VM;
    return v->specs.diag.errors == 0;
}

/* -- Steps ---- */

// The machine is taken where it was asked for, or where there is no GPU and none was asked for.
static bool find_device(struct verify_command *v) {
    char why[DEVICE_ERROR_BYTES];
    if (!v->options.vm && verify_probe(&v->options, &v->gpu, why, sizeof why)) {
        if (v->options.counts) cmd_bad_input("--counts: a GPU does not count; use --device vm");
        return !v->options.counts;
    }
    if (v->device.kind == CMD_DEVICE_CUDA) {
        fprintf(stderr, "sagegen verify: skipped, no usable GPU: %s\n", why);
        v->status = VERIFY_CANNOT;
        return false;
    }
    if (!v->options.vm)
        fprintf(stderr, "sagegen verify: note: no usable GPU (%s); runs on the PTX virtual machine\n", why);
    v->options.vm = true;
    return true;
}

static bool choose_units(struct verify_command *v) {
    v->choice.target = v->select.target;
    v->choice.io = v->select.io;
    v->choice.mask = v->select.mask;
    v->choice.native = v->native;
    v->choice.vm = v->options.vm;
    v->choice.sm = v->gpu.sm;
    v->choice.level = v->options.level;
    verify_units_reserve(&v->units, v->specs.count);
    for (int i = 0; i < v->specs.count; i++)
        verify_units_add(&v->units, &v->specs.item[i]->spec, v->specs.item[i]->text, &v->choice, &v->skipped);
    if (v->skipped.len) fputs(v->skipped.data, stderr);
    if (v->units.count > 0) return true;
    v->status = v->options.vm ? cmd_failed("there is none of the kernels asked for")
                              : cmd_failed("none of the kernels asked for runs on this GPU (sm_%d)", v->gpu.sm);
    return false;
}

// Kernels that do not build are failures of their units; the others are checked all the same.
static bool build(struct verify_command *v) {
    char why[1024];
    sage_context *context = v->options.vm ? cmd_vm_context(false) : cmd_context(-1);
    if (!context) return false;
    v->setup = (struct build_setup){
        .form = v->options.vm ? BUILD_PTX : BUILD_CUBIN, .context = context, .template_dir = cmd_template_dir()};
    if (verify_build(&v->options, &v->units, &v->setup, why, sizeof why)) return true;
    cmd_failed("%s", why);
    if (v->options.vm) v->status = VERIFY_CANNOT; // no NVRTC
    return false;
}

static void print_head(const struct verify_command *v) {
    FILE *out = v->report.json ? stderr : stdout;
    if (!v->options.vm)
        fprintf(out, "%s (sm_%d, %.0f GB), ", v->gpu.name, v->gpu.sm, (double)v->gpu.memory_bytes * 1e-9);
    fprintf(out, "%d kernel sets, %s; again: --seed %" PRIu64 "\n", v->units.count, verify_sizes(&v->options)->name,
            v->options.seed);
    if (v->options.soak_s > 0)
        fprintf(out, "soak of %d s on %d streams\n", v->options.soak_s, v->options.streams);
    else if (v->options.vm)
        fprintf(out, "checks named 'model' are computed in float64; all others are of kernels that ran\n");
    fflush(out);
}

static void check(struct verify_command *v) {
    v->report.units = &v->units;
    print_head(v);
    cmd_interrupt_catch();
    verify_run(&v->options, &v->units, &v->report);
    verify_report_end(&v->report);
    if (cmd_interrupted()) fprintf(stderr, "sagegen: interrupted: these are the results so far\n");
    v->status = !cmd_interrupted() && v->report.failed == 0 && v->report.passed > 0 ? CMD_DONE : CMD_FAILED;
}

int cmd_verify(int argc, char **argv) {
    struct verify_command v = {.status = CMD_BAD_INPUT};
    if (read_words(&v, argc, argv) && find_device(&v) && choose_units(&v)) {
        v.status = CMD_FAILED;
        if (build(&v)) check(&v);
    }
    verify_report_free(&v.report);
    verify_units_free(&v.units, &v.setup);
    buf_free(&v.skipped);
    buf_free(&v.again);
    sage_context_destroy(v.setup.context);
    cmd_specs_free(&v.specs);
    return v.status;
}
