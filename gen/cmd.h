// cmd: the commands of the program and what they share: options, specs, the context, exit statuses. Program only: not
// in libsagegen. Every command takes its own name as argv[0] and returns the exit status; none calls exit().
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_CMD_H
#define SAGE_GEN_CMD_H

#include "build.h"
#include "diag.h"
#include "plan.h"
#include "spec.h"

enum { CMD_DONE = 0, CMD_FAILED = 1, CMD_BAD_INPUT = 2 };

int cmd_bench(int argc, char **argv);
int cmd_cache(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_expand(int argc, char **argv);
int cmd_fields(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_pack(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_sass(int argc, char **argv);
int cmd_tune(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_where(int argc, char **argv);
int cmd_wisdom(int argc, char **argv);

/* -- Options (cmd_options.c) ------------------------------------------- */

struct cmd_option {
    const char *name;  /* "spec" for --spec */
    char letter;       /* 'o' for -o; 0: none */
    const char *value; /* what the help calls its value: "FILE"; NULL: it takes none */
    const char *help;
};

// A command for the user: drives parsing and --help. The options end with a name of NULL.
struct cmd_syntax {
    const char *name; /* "list"; "" for the program itself */
    const char *usage, *summary, *examples;
    const struct cmd_option *options;
};

struct cmd_args {
    const struct cmd_syntax *syntax;
    int argc;
    char **argv;
    const char *value; /* of the option just read, or the word that is no option */
    int status;        /* exit status where cmd_next gave CMD_STOP */
    bool started;
};

enum { CMD_END = -1, CMD_WORD = -2, CMD_STOP = -3 };

// Reads on: the index of an option, CMD_WORD, CMD_END, or CMD_STOP (help was printed, or an error: return
// args->status).
int cmd_next(struct cmd_args *args);
void cmd_print_help(const struct cmd_syntax *syntax);
// Prints "sagegen: error: ..." and returns CMD_BAD_INPUT.
int cmd_bad_input(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Prints "sagegen: error: ..." and returns CMD_FAILED.
int cmd_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Finds the nearest of count words to a mistyped one: "; did you mean 'x'?", or "". Owner: the caller, free().
char *cmd_suggestion(const char *word, const char *(*known)(int index), int count);
// A whole number of 1...most. false: an error was printed.
bool cmd_parse_count(const char *option, const char *text, int most, int *out);
bool cmd_parse_seed(const char *text, uint64_t *out); // --seed; false: an error was printed

/* -- Specs and context (cmd_common.c) ---------------------------------- */

struct cmd_spec {
    struct spec spec;
    char *text;
    char *file;
};

struct cmd_specs {
    struct cmd_spec **item;
    int count;
    struct diag diag; /* of all files; further errors that point into them go here too */
};

// Loads a file, or a shipped spec by name where there is no such file. Errors are printed and counted in specs->diag.
bool cmd_specs_add(struct cmd_specs *specs, const char *file_or_name);
// Adds every shipped spec that has a target for the GPU and is wanted.
void cmd_specs_add_shipped(struct cmd_specs *specs, int sm, bool (*wanted)(void *user, const struct spec *spec), void *user);
// Turns every spec into its safe form, under its own name: --safe.
void cmd_specs_make_safe(struct cmd_specs *specs);
void cmd_specs_free(struct cmd_specs *specs);

// SAGE_TEMPLATE_DIR, or NULL for the embedded templates.
const char *cmd_template_dir(void);
// Where kernels run: --device cuda, cuda:N or vm.
enum cmd_device_kind { CMD_DEVICE_AUTO, CMD_DEVICE_CUDA, CMD_DEVICE_VM };
struct cmd_device {
    enum cmd_device_kind kind;
    int ordinal; /* of CUDA */
};

// false: an error was printed.
bool cmd_parse_device(const char *text, struct cmd_device *out);

// Creates a context whose warnings go to stderr; device -1: none. NULL: the error was printed.
sage_context *cmd_context(int device);
// The same on the PTX virtual machine, or without any device (device false), and without a cache directory: its images
// are no cubins; nor with wisdom, which is of GPUs.
sage_context *cmd_vm_context(bool device);
// A new folder for this run alone, in TMPDIR: "<TMPDIR>/<name>-XXXXXX". false: an error was printed, and out is empty.
bool cmd_scratch_make(const char *name, struct buf *out);
void cmd_scratch_remove(struct buf *path); // with all that is in it; an empty path is allowed
// Writes the whole text to stdout; false: an error was printed.
bool cmd_print(const struct buf *text);

/* -- What to build (cmd_select.c) -------------------------------------- */

// The parts of a spec that the user wants; a count of 0 stands for all of them.
struct cmd_select {
    struct spec_int_list target, io, mask, role; /* of the enums of those names */
    int native_sm;                               /* not 0: the one of each spec's targets that suits this GPU best */
    bool no_gpu;                                 /* `native` asked for in vain: a failure, not bad input */
    const char *variant;                         /* NULL: the default of each target */
    bool all_variants;
};

// Each reads a list with commas. false: an error was printed.
bool cmd_select_arch(struct cmd_select *select, const char *list);
bool cmd_select_io(struct cmd_select *select, const char *list);
bool cmd_select_mask(struct cmd_select *select, const char *list);
bool cmd_select_role(struct cmd_select *select, const char *list);

struct cmd_jobs {
    struct build_job *item;
    int count, capacity;
};

// The kernels of all specs, in the order target, io, variant, role, mask. false: errors were printed (specs->diag).
bool cmd_jobs_list(struct cmd_jobs *jobs, const struct cmd_select *select, struct cmd_specs *specs);
void cmd_jobs_free(struct cmd_jobs *jobs, const struct build_setup *setup);
// The targets of one spec that are selected. false: an error was printed to d.
bool cmd_select_targets(const struct cmd_select *select, const struct spec *spec, struct diag *d,
                        struct spec_int_list *out);

/* -- The main command's steps (cmd_build.c, cmd_out.c) ------------------ */

struct cmd_build {
    struct cmd_select select;
    struct cmd_specs specs;
    struct cmd_jobs jobs;
    struct build_setup setup;
    const char *out_dir; /* NULL: the cache only */
    int threads;
    bool json, safe;
    double total_ms;
    int status; /* so far */
};

extern const struct cmd_syntax cmd_build_syntax;

// Takes an option that all commands have which build kernels, by its name: spec, arch, io, mask, role, variant,
// all-variants, jobs, json; a word of the command line is option "spec". false: it is none of these; *ok: its value is good.
bool cmd_build_takes(struct cmd_build *b, const char *option, const char *value, bool *ok);
// --variant and --all-variants exclude each other. false: an error was printed.
bool cmd_build_variants_agree(const struct cmd_build *b);
// false: stop with b->status.
bool cmd_build_options(struct cmd_build *b, int argc, char **argv);
bool cmd_build_plan(struct cmd_build *b);
bool cmd_build_open(struct cmd_build *b);
bool cmd_build_compile(struct cmd_build *b);
bool cmd_build_write(struct cmd_build *b);
bool cmd_build_print(struct cmd_build *b);
void cmd_build_close(struct cmd_build *b);

// Writes <spec>.<role>.<variant>.<target>.<io>[.<mask>][.safe].{cu,map,meta,ptx,cubin} of each job into a folder, each
// file whole or not at all. false: an error was printed.
bool cmd_out_write(const char *dir, const struct cmd_jobs *jobs);
// Appends the name of a job's files, without the ending.
void cmd_out_stem(const struct build_job *job, struct buf *out);
// Writes one file, whole or not at all; makes the folders above it. option: "--output", for messages. false: an error
// was printed.
bool cmd_out_file(const char *option, const char *path, const struct cache_bytes *bytes);

#endif
