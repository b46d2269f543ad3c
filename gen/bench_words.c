// bench_words: see bench_words.h. SPDX-License-Identifier: Apache-2.0
#include "bench_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Options ---- */

enum {
    OPT_SPEC,
    OPT_PROBLEMS,
    OPT_QUICK,
    BENCH_CHOICE_OPTIONS(BENCH_CHOICE_SYMBOL) //
    OPT_CONTENDERS,
    OPT_MODE,
    OPT_PYTHON,
    OPT_LIB,
    OPT_TIMEOUT,
    OPT_COMMIT,
    OPT_OUT,
    OPT_PLOT,
    OPT_TABLE,
    OPT_COMPARE,
    OPT_MARKDOWN,
    OPT_JSON
};

static const struct cmd_option options[] = {
    [OPT_SPEC] = {"spec", 's', "FILE", "a spec, by file or shipped name; may be repeated (default: all for this GPU)"},
    [OPT_PROBLEMS] = {"problems", 'p', "FILE", "problems, by file or shipped name: bench (the default), quick"},
    [OPT_QUICK] = {"quick", 'q', NULL, "the same as --problems quick"},
    BENCH_CHOICE_OPTIONS(BENCH_CHOICE_ROW) //
        [OPT_CONTENDERS] = {"contenders", 0, "LIST", "these alone; sagegen is one of them"},
    [OPT_MODE] = {"mode", 0, "LIST", "kernel, end_to_end (default: both)"},
    [OPT_PYTHON] = {"python", 0, "PATH", "the Python with PyTorch and the other contenders (default: python3)"},
    [OPT_LIB] = {"lib", 0, "FILE", "libsage for that Python (default: the one installed with this program)"},
    [OPT_TIMEOUT] = {"timeout", 0, "S", "seconds without an answer after which a contender counts as hung (180)"},
    [OPT_COMMIT] = {"commit", 0, "TEXT", "what the record names (default: the commit this program was built from)"},
    [OPT_OUT] = {"out", 'o', "FILE", "write the record; one that is there keeps what is not measured anew"},
    [OPT_PLOT] = {"plot", 0, "FILE", "draw the whole record as an SVG"},
    [OPT_TABLE] = {"table", 0, "FILE", "measure nothing: print (and plot) this record; --d and --mask choose"},
    [OPT_COMPARE] = {"compare", 0, "FILE", "also print the change since this older record"},
    [OPT_MARKDOWN] = {"markdown", 0, NULL, "the table in Markdown"},
    [OPT_JSON] = {"json", 0, NULL, "the records as JSON on standard output instead of the table"},
    {NULL, 0, NULL, NULL},
};

static const struct cmd_syntax syntax = {
    .name = "bench",
    .usage = "bench [--quick] [--python PATH] [--out FILE.json] [--plot FILE.svg] ...     or: bench --table FILE.json",
    .summary =
        "Times the kernels beside what of cuDNN, FlashAttention-2, -3, -4 and sageattention the given Python has: in "
        "one\n"
        "process, in turn, on the same random bf16 inputs; medians of CUDA events over at least 20 calls or 0.25 s. A\n"
        "contender is timed only if its output is about that of sagegen. kernel: attention alone, on operands that "
        "are\n"
        "quantised already; end_to_end: bf16 in, bf16 out, all counted. Without PyTorch sagegen is timed alone.\n"
        "TOPS = 4 x batch x heads x n^2 x d / time, half of it for causal.\n"
        "Contenders: sagegen, cudnn_bf16, fa2_bf16, fa3_bf16, fa3_fp8, fa4_bf16, sageattention. One that cannot run a\n"
        "problem gets a record with the reason; one that breaks or hangs the GPU is left out from then on, and the "
        "others\n"
        "go on in a new process. Ctrl-C ends the run and keeps what was measured.",
    .examples = "  sagegen bench --quick\n"
                "  sagegen bench --python ~/venv/bin/python --out h100.json --plot h100.svg\n"
                "  sagegen bench --d 64,128 --n 4096 --batch 1 --mask full,causal --contenders sagegen,cudnn_bf16\n"
                "  sagegen bench --table h100.json --d 128 --compare old.json\n",
    .options = options,
};

enum { DEFAULT_TIMEOUT_S = 180 };

/* -- Words ---- */

static bool take_file(struct bench_command *b, int option, const char *value) {
    const char **const place[] = {[OPT_PROBLEMS] = &b->choice.file,
                                  [OPT_PYTHON] = &b->python.program,
                                  [OPT_LIB] = &b->python.library,
                                  [OPT_COMMIT] = &b->commit,
                                  [OPT_OUT] = &b->out,
                                  [OPT_PLOT] = &b->plot,
                                  [OPT_TABLE] = &b->table,
                                  [OPT_COMPARE] = &b->compare};
    *place[option] = value;
    return true;
}

static bool take_word(struct bench_command *b, int option, const char *value) {
    switch (option) {
    case OPT_SPEC:
        return cmd_specs_add(&b->specs, value) || b->specs.diag.errors > 0; // errors are counted; read on
    case OPT_QUICK:
        return take_file(b, OPT_PROBLEMS, "quick");
        BENCH_CHOICE_OPTIONS(BENCH_CHOICE_CASE)
        return bench_choice_take(&b->choice, options[option].name, value);
    case OPT_CONTENDERS:
        b->chosen_contenders = true;
        return bench_parse_words("contenders", value, bench_contender_name, BENCH_CONTENDERS, b->job.contender);
    case OPT_MODE:
        b->chosen_modes = true;
        return bench_parse_words("mode", value, bench_mode_name, BENCH_MODES, b->job.mode);
    case OPT_TIMEOUT:
        return cmd_parse_count("timeout", value, 86400, &b->job.timeout_s);
    case OPT_MARKDOWN:
        return b->markdown = true;
    case OPT_JSON:
        return b->json = true;
    case CMD_WORD:
        cmd_bad_input("bench takes no '%s'; a record is shown by --table %s", value, value);
        return false;
    default:
        return take_file(b, option, value);
    }
}

static bool check_words(struct bench_command *b) {
    if (b->choice.file && bench_choice_by_hand(&b->choice))
        cmd_bad_input("--problems and --quick exclude --d, --n, --batch, --heads and --mask");
    else if (b->table && (b->choice.file || b->choice.n.count || b->choice.batch.count || b->choice.heads.count ||
                          b->out || b->specs.count))
        cmd_bad_input("--table shows a record; with it go --d, --mask, --plot, --compare, --markdown and --json alone");
    else if (b->table && b->choice.d.count > 1)
        cmd_bad_input("--table takes one --d, or none for all");
    else
        return b->specs.diag.errors == 0;
    return false;
}

bool bench_words_read(struct bench_command *b, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int option;
    b->python.program = "python3";
    b->job.timeout_s = DEFAULT_TIMEOUT_S;
    while ((option = cmd_next(&args)) != CMD_END) {
        if (option == CMD_STOP) {
            b->status = args.status;
            return false;
        }
        if (!take_word(b, option, args.value)) return false;
    }
    for (int i = 0; i < BENCH_CONTENDERS && !b->chosen_contenders; i++) b->job.contender[i] = true;
    for (int i = 0; i < BENCH_MODES && !b->chosen_modes; i++) b->job.mode[i] = true;
    return check_words(b);
}

bool bench_words_problems(struct bench_command *b) {
    return bench_choice_make(&b->choice, "bench", &b->diag);
}
