// main: the command line of sagegen. The main command is the straight line of the project, below, one call a step; the
// others are in cmd_*.c. Only this file decides which one runs.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "version.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- The straight line ---------------------------------------------------- */

// sagegen --spec F: YAML -> spec -> tuning points -> plans -> text -> cubins -> cache -> files -> table.
static int build(int argc, char **argv) {
    struct cmd_build b = {0};
    if (cmd_build_options(&b, argc, argv) // words of the command line; each spec is parsed and checked
        && cmd_build_plan(&b)             // spec, target, io, mask -> applicable tuning points -> kernels
        && cmd_build_open(&b)             // cache; NVRTC is found, not loaded
        && cmd_build_compile(&b)          // index -> cache, or template -> text -> NVRTC -> cache
        && cmd_build_write(&b))           // --out
        cmd_build_print(&b);              // one row a kernel
    cmd_build_close(&b);
    return b.status;
}

/* -- Commands -------------------------------------------------------------- */

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"build", build, "expand, compile and cache kernels (the command may be left out)"},
    {"check", cmd_check, "check specs and say all that is wrong with them"},
    {"list", cmd_list, "list the tuning points of a spec, and why some cannot run"},
    {"expand", cmd_expand, "print a kernel's CUDA text"},
    {"where", cmd_where, "say which template line emitted a line of CUDA"},
    {"run", cmd_run, "run attention on your own tensors"},
    {"verify", cmd_verify, "compare kernels with the float64 reference"},
    {"bench", cmd_bench, "time kernels beside cuDNN, FlashAttention and others"},
    {"tune", cmd_tune, "find the fastest variants on this GPU, and keep them as wisdom"},
    {"wisdom", cmd_wisdom, "path, ls, export or import of what tune found"},
    {"sass", cmd_sass, "count the instructions of kernels' main loops"},
    {"pack", cmd_pack, "put kernels of several GPUs into one file for an application"},
    {"inspect", cmd_inspect, "check packs, and list what they hold"},
    {"fields", cmd_fields, "print every field that a spec may have"},
    {"cache", cmd_cache, "list, check, trim or clear the kernel cache"},
    {"doctor", cmd_doctor, "say what of driver, NVRTC, GPUs and cache works"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static const char *command_name(int index) {
    return commands[index].name;
}

static void print_help(void) {
    cmd_print_help(&cmd_build_syntax);
    printf("\ncommands (sagegen COMMAND --help says more):\n");
    for (int i = 0; i < COMMAND_COUNT; i++) printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("\nexit status: 0 done, 1 failed, 2 bad input\n"
           "environment: SAGE_CACHE_DIR, SAGE_NVRTC, SAGE_NVDISASM, SAGE_TEMPLATE_DIR, SAGE_WISDOM, SAGE_DEPENDENT_LAUNCH\n");
}

static bool is_word(const char *text, const char *a, const char *b) {
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

// A word that could be a spec: the main command says what is wrong with it.
static bool looks_like_spec(const char *word) {
    return word[0] == '-' || strpbrk(word, "./0123456789") || access(word, F_OK) == 0;
}

int main(int argc, char **argv) {
    if (argc < 2) return cmd_bad_input("nothing to do; try sagegen --spec fp4_d128, or sagegen --help");
    const char *word = argv[1];
    if (is_word(word, "--help", "-h") || is_word(word, "help", "help")) {
        print_help();
        return CMD_DONE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("sagegen %s\n", SAGEGEN_VERSION);
        return CMD_DONE;
    }
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, word) == 0) return commands[i].run(argc - 1, argv + 1);
    if (looks_like_spec(word)) return build(argc, argv);
    char *near = cmd_suggestion(word, command_name, COMMAND_COUNT);
    cmd_bad_input("unknown command '%s'%s", word, near[0] ? near : "; see sagegen --help");
    free(near);
    return CMD_BAD_INPUT;
}
