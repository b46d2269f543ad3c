// tune_words: the command line of `sagegen tune`. In: words. Out: a command, checked, nothing of it done yet.
// SPDX-License-Identifier: Apache-2.0
#include "tune_command.h"

#include <stdlib.h>

enum {
    OPT_SPEC,
    OPT_PROBLEMS,
    BENCH_CHOICE_OPTIONS(BENCH_CHOICE_SYMBOL) //
    OPT_HEADS_KV,
    OPT_IO,
    OPT_DEVICE,
    OPT_ARCH,
    OPT_JOBS,
    OPT_TIMEOUT,
    OPT_AGAIN,
    OPT_RETRY,
    OPT_OUT,
    OPT_JOURNAL,
    OPT_HTML,
    OPT_JSON,
    OPT_MERGE
};

static const struct cmd_option options[] = {
    [OPT_SPEC] = {"spec", 's', "FILE", "a spec, by file or shipped name; may be repeated (default: all for this GPU)"},
    [OPT_PROBLEMS] = {"problems", 'p', "FILE", "problems, by file or shipped name: tune (the default), quick, bench"},
    BENCH_CHOICE_OPTIONS(BENCH_CHOICE_ROW) //
        [OPT_HEADS_KV] = {"heads-kv", 0, "N", "heads of K and V, a divisor of the heads of Q (default: as many)"},
    [OPT_IO] = {"io", 0, "LIST", "bf16,fp16; default: the spec's"},
    [OPT_DEVICE] = {"device", 0, "D", "cuda (the default), cuda:N, or vm: estimates by the PTX virtual machine"},
    [OPT_ARCH] = {"arch", 0, "SM", "with --device vm: the GPU that it stands for (default: sm_90a)"},
    [OPT_JOBS] = {"jobs", 'j', "N", "kernels compiled at once; default: the number of CPUs"},
    [OPT_TIMEOUT] = {"timeout", 0, "S", "seconds without an answer after which a variant counts as hung (30)"},
    [OPT_AGAIN] = {"again", 0, NULL, "measure anew what the journal has, and say how many winners stay"},
    [OPT_RETRY] = {"retry", 0, NULL, "try variants again that failed before"},
    [OPT_OUT] = {"out", 'o', "FILE", "the wisdom file that results are added to (default: the user's)"},
    [OPT_JOURNAL] = {"journal", 0, "FILE", "where measurements are kept (default: beside the user's wisdom)"},
    [OPT_HTML] = {"html", 0, "FILE", "also write a report: table, plots, what was left out and why"},
    [OPT_JSON] = {"json", 0, NULL, "the results as JSON on standard output instead of the table"},
    [OPT_MERGE] = {"merge", 0, NULL, "measure nothing: join the wisdom files named into --out"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax syntax = {
    .name = "tune",
    .usage = "tune [--spec FILE] [--problems FILE] [--html FILE] ...     or: tune --merge FILE... --out FILE",
    .summary =
        "Finds the fastest tuning point (variant) of each spec for each problem on this GPU, and keeps it as wisdom, "
        "which\n"
        "libsage then uses by itself. Kernels compile in child processes while the GPU measures in another; each "
        "variant's\n"
        "numbers are checked before it is timed (float64, and the default variant's); rounds of successive halving; "
        "among\n"
        "those that are as fast the first in the spec's order wins. A variant that does not compile, fails, hangs or "
        "is "
        "wrong\n"
        "is noted and left out. Ctrl-C, or any other end, loses nothing: the next run goes on from the journal.\n"
        "--device vm needs no GPU: its times are estimates from instruction counts, and it writes wisdom to --out "
        "alone.",
    .examples = "  sagegen tune\n"
                "  sagegen tune --spec int8_fp8_d128 --n 2048,8192 --mask full,causal --html tune.html\n"
                "  sagegen tune --again --json\n"
                "  sagegen tune --merge a.txt b.txt --out both.txt\n",
    .options = options,
};

enum { TIMEOUT_S = 30, JOBS_MOST = 64 };

static void add_file(struct tune_command *c, const char *file) {
    const char **more = xcalloc((size_t)c->files + 1, sizeof(const char *));
    for (int i = 0; i < c->files; i++) more[i] = c->file[i];
    more[c->files++] = file;
    free(c->file);
    c->file = more;
}

static bool take_file(struct tune_command *c, int option, const char *value) {
    const char **const place[] = {[OPT_PROBLEMS] = &c->choice.file,
                                  [OPT_ARCH] = &c->arch,
                                  [OPT_OUT] = &c->out,
                                  [OPT_JOURNAL] = &c->journal_file,
                                  [OPT_HTML] = &c->html};
    *place[option] = value;
    return true;
}

static bool take_flag(struct tune_command *c, int option) {
    c->again |= option == OPT_AGAIN;
    c->retry |= option == OPT_RETRY;
    c->json |= option == OPT_JSON;
    c->merge |= option == OPT_MERGE;
    return true;
}

static bool take_word(struct tune_command *c, int option, const char *value) {
    switch (option) {
    case OPT_SPEC:
        return cmd_specs_add(&c->specs, value) || c->specs.diag.errors > 0; // errors are counted; read on
    case OPT_PROBLEMS:
    case OPT_ARCH:
    case OPT_OUT:
    case OPT_JOURNAL:
    case OPT_HTML:
        return take_file(c, option, value);
        BENCH_CHOICE_OPTIONS(BENCH_CHOICE_CASE)
        return bench_choice_take(&c->choice, options[option].name, value);
    case OPT_HEADS_KV:
        return cmd_parse_count("heads-kv", value, 65536, &c->heads_kv);
    case OPT_IO:
        return cmd_select_io(&c->select, value);
    case OPT_DEVICE:
        return cmd_parse_device(value, &c->device);
    case OPT_JOBS:
        return cmd_parse_count("jobs", value, JOBS_MOST, &c->jobs);
    case OPT_TIMEOUT:
        return cmd_parse_count("timeout", value, 86400, &c->timeout_s);
    case CMD_WORD:
        add_file(c, value);
        return true;
    default:
        return take_flag(c, option);
    }
}

static bool check_merge(const struct tune_command *c) {
    if (!c->files)
        cmd_bad_input("--merge needs wisdom files: sagegen tune --merge a.txt b.txt --out both.txt");
    else if (!c->out)
        cmd_bad_input("--merge needs --out FILE");
    else if (c->specs.count || c->choice.file || bench_choice_by_hand(&c->choice) || c->again || c->retry || c->html)
        cmd_bad_input("--merge measures nothing: with it go files, --out and --json alone");
    else
        return true;
    return false;
}

static bool check_words(struct tune_command *c) {
    const bool vm = tune_is_estimate(c);
    if (c->merge) return check_merge(c);
    if (c->files)
        cmd_bad_input("tune takes no '%s'; a spec is given by --spec, wisdom files with --merge", c->file[0]);
    else if (c->choice.file && bench_choice_by_hand(&c->choice))
        cmd_bad_input("--problems excludes --d, --n, --batch, --heads and --mask");
    else if (c->arch && !vm)
        cmd_bad_input("--arch goes with --device vm; on a GPU it is that GPU's");
    else if (c->arch && !cmd_select_arch(&c->select, c->arch))
        return false;
    else if (c->arch && c->select.target.count != 1)
        cmd_bad_input("--arch takes one target here, not '%s'", c->arch);
    else
        return c->specs.diag.errors == 0;
    return false;
}

bool tune_words_read(struct tune_command *c, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int option;
    c->timeout_s = TIMEOUT_S;
    while ((option = cmd_next(&args)) != CMD_END) {
        if (option == CMD_STOP) {
            c->status = args.status;
            return false;
        }
        if (!take_word(c, option, args.value)) return false;
    }
    return check_words(c);
}

bool tune_is_estimate(const struct tune_command *c) {
    return c->device.kind == CMD_DEVICE_VM;
}
