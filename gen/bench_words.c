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
    OPT_D,
    OPT_N,
    OPT_BATCH,
    OPT_HEADS,
    OPT_MASK,
    OPT_CAUSAL,
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
    [OPT_D] = {"d", 0, "LIST", "problems by hand: head dims (default: 128)"},
    [OPT_N] = {"n", 0, "LIST", "tokens (default: 4096)"},
    [OPT_BATCH] = {"batch", 0, "LIST", "batches (default: 4)"},
    [OPT_HEADS] = {"heads", 0, "LIST", "heads (default: 32)"},
    [OPT_MASK] = {"mask", 0, "LIST", "full, causal (default: full)"},
    [OPT_CAUSAL] = {"causal", 0, NULL, "the same as --mask causal"},
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
        "problem gets a record with the reason. Ctrl-C ends the run and keeps what was measured.",
    .examples = "  sagegen bench --quick\n"
                "  sagegen bench --python ~/venv/bin/python --out h100.json --plot h100.svg\n"
                "  sagegen bench --d 64,128 --n 4096 --batch 1 --mask full,causal --contenders sagegen,cudnn_bf16\n"
                "  sagegen bench --table h100.json --d 128 --compare old.json\n",
    .options = options,
};

enum { DEFAULT_TIMEOUT_S = 180 };

/* -- Lists ---- */

static bool next_word(const char **at, struct buf *word) {
    if (!*at) return false;
    const size_t len = strcspn(*at, ",");
    buf_clear(word);
    buf_append(word, *at, len);
    *at = (*at)[len] ? *at + len + 1 : NULL;
    return true;
}

static bool parse_numbers(const char *option, const char *text, int most, struct bench_numbers *out) {
    struct buf word = {0};
    bool ok = true;
    out->count = 0;
    while (ok && next_word(&text, &word)) {
        ok = out->count < BENCH_LIST_MOST && cmd_parse_count(option, word.data, most, &out->item[out->count]);
        if (out->count == BENCH_LIST_MOST) cmd_bad_input("--%s: at most %d", option, BENCH_LIST_MOST);
        out->count += ok;
    }
    buf_free(&word);
    return ok;
}

static const char *contender_word(int index) {
    return bench_contender_name(index);
}

static const char *mode_word(int index) {
    return bench_mode_name(index);
}

static const char *mask_word(int index) {
    return index == 0 ? "full" : "causal";
}

// Sets the flag of each word of a list.
static bool parse_words(const char *option, const char *text, const char *(*known)(int), int count, bool *out) {
    struct buf word = {0};
    bool ok = true;
    while (ok && next_word(&text, &word)) {
        int found = 0;
        while (found < count && strcmp(known(found), word.data) != 0) found++;
        ok = found < count;
        if (ok) {
            out[found] = true;
            continue;
        }
        struct buf all = {0};
        for (int i = 0; i < count; i++) buf_printf(&all, "%s%s", i ? ", " : "", known(i));
        char *near = cmd_suggestion(word.data, known, count);
        cmd_bad_input("--%s: '%s' is none of %s%s", option, word.data, all.data, near);
        free(near);
        buf_free(&all);
    }
    buf_free(&word);
    return ok;
}

static bool take_mask(struct bench_command *b, const char *value) {
    bool found[2] = {false, false};
    const bool ok = parse_words("mask", value, mask_word, 2, found);
    b->full |= found[0], b->causal |= found[1];
    return ok;
}

/* -- Words ---- */

static bool take_file(struct bench_command *b, int option, const char *value) {
    const char **const place[] = {[OPT_PROBLEMS] = &b->problem_file,
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
    case OPT_D:
        return parse_numbers("d", value, 256, &b->d);
    case OPT_N:
        return parse_numbers("n", value, 16777216, &b->n);
    case OPT_BATCH:
        return parse_numbers("batch", value, 65536, &b->batch);
    case OPT_HEADS:
        return parse_numbers("heads", value, 65536, &b->heads);
    case OPT_MASK:
        return take_mask(b, value);
    case OPT_CAUSAL:
        return take_mask(b, "causal");
    case OPT_CONTENDERS:
        b->chosen_contenders = true;
        return parse_words("contenders", value, contender_word, BENCH_CONTENDERS, b->job.contender);
    case OPT_MODE:
        b->chosen_modes = true;
        return parse_words("mode", value, mode_word, BENCH_MODES, b->job.mode);
    case OPT_TIMEOUT:
        return cmd_parse_count("timeout", value, 86400, &b->python.timeout_s);
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

static bool has_numbers(const struct bench_command *b) {
    return b->d.count || b->n.count || b->batch.count || b->heads.count || b->full || b->causal;
}

static bool check_words(struct bench_command *b) {
    if (b->problem_file && has_numbers(b))
        cmd_bad_input("--problems and --quick exclude --d, --n, --batch, --heads and --mask");
    else if (b->table &&
             (b->problem_file || b->n.count || b->batch.count || b->heads.count || b->out || b->specs.count))
        cmd_bad_input("--table shows a record; with it go --d, --mask, --plot, --compare, --markdown and --json alone");
    else if (b->table && b->d.count > 1)
        cmd_bad_input("--table takes one --d, or none for all");
    else
        return b->specs.diag.errors == 0;
    return false;
}

bool bench_words_read(struct bench_command *b, int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int option;
    b->python = (struct bench_python){.program = "python3", .timeout_s = DEFAULT_TIMEOUT_S};
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

/* -- Problems ---- */

static bool add_by_hand(struct bench_command *b) {
    static const struct bench_numbers usual_d = {{128}, 1}, usual_n = {{4096}, 1}, usual_batch = {{4}, 1},
                                      usual_heads = {{32}, 1};
    const struct bench_numbers *d = b->d.count ? &b->d : &usual_d, *n = b->n.count ? &b->n : &usual_n,
                               *batch = b->batch.count ? &b->batch : &usual_batch,
                               *heads = b->heads.count ? &b->heads : &usual_heads;
    const int all = 2 * d->count * n->count * batch->count * heads->count;
    for (int i = 0; i < all; i++) {
        int k = i / 2;
        struct bench_problem p = {.causal = i % 2};
        p.heads = heads->item[k % heads->count], k /= heads->count;
        p.batch = batch->item[k % batch->count], k /= batch->count;
        p.n = n->item[k % n->count], k /= n->count;
        p.d = d->item[k];
        if (p.causal ? !b->causal : b->causal && !b->full) continue;
        const char *fault = bench_problem_fault(&p);
        if (fault) cmd_bad_input("%s, not %d", fault, p.d);
        if (fault) return false;
        bench_problems_add(&b->problems, &p);
    }
    return true;
}

bool bench_words_problems(struct bench_command *b) {
    const char *name = b->problem_file ? b->problem_file : "bench";
    if (has_numbers(b)) return add_by_hand(b);
    const struct embedded_file *file = access(name, F_OK) == 0 ? NULL : bench_problems_shipped(name);
    if (file) return bench_problems_parse(&b->problems, file->name, file->data, &b->diag);
    FILE *stream = fopen(name, "rb");
    char block[4096];
    if (!stream) {
        cmd_bad_input("--problems: no file and no shipped problems are named '%s'; shipped are bench, quick", name);
        return false;
    }
    buf_puts(&b->problem_text, "");
    for (size_t n; (n = fread(block, 1, sizeof block, stream)) > 0;) buf_append(&b->problem_text, block, n);
    fclose(stream);
    return bench_problems_parse(&b->problems, name, b->problem_text.data, &b->diag);
}
