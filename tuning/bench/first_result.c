// first_result: what libsage adds to a program, from the start of its process to its first O. In: a folder of
// `sagegen --spec int8_fp8_d128 --arch sm_90a --io bf16 --out DIR`, and packs of the same kernels. Out: milliseconds,
// as text or JSON. Starts itself as one process after the other: each opens the driver, makes one tiny call and
// downloads O, either by three launches straight through the driver, with cubins and launch parameters that it is
// handed, or through libsage (linked statically). All must come to the same O. The parent never calls the driver.
// SPDX-License-Identifier: Apache-2.0
#include "bare_launch.h"
#include "fail.h"
#include "samples.h"
#include "tiny_call.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_DEFAULT = 15, PROCESSES_LEAST = 3, LIMIT_DEFAULT = 14 /* seconds */, NAME_BYTES = 512 };

static const double us_per_ms = 1e3, us_per_s = 1e6;

// How a process comes to its O.
enum way { BARE, FOLDER, PACK, SOURCES, WAY_COUNT };

static const struct {
    const char *key, *text;
} ways[WAY_COUNT] = {
    [BARE] = {"bare", "bare driver calls"},
    [FOLDER] = {"folder", "libsage, kernel folder"},
    [PACK] = {"pack", "libsage, cubins of a pack"},
    [SOURCES] = {"sources", "libsage, sources of a pack, warm cache"},
};

// What a process writes to its standard output when it has O. Its times are of the clock that all processes share.
struct arrival {
    double opened_us, done_us; /* the driver was open; O was there */
    char gpu[NAME_BYTES], kernels[NAME_BYTES];
    uint16_t o[TINY_ELEMENTS];
};

/* -- One process ---- */

struct process {
    struct device device;
    sage_stream stream;
    sage_attention_args args;
    struct bare_call bare;
    sage_context *context;
    sage_attention_plan *plan;
};

// The recipe is the file on standard input; processes share its offset.
static bool launch_bare(struct process *p) {
    struct bare_recipe recipe;
    if (pread(STDIN_FILENO, &recipe, sizeof recipe, 0) != (ssize_t)sizeof recipe)
        return fail("no recipe on standard input");
    if (!device_ok(&p->device, tiny_make(&p->device, p->stream, recipe.workspace.bytes, &p->args) &&
                                   bare_load(&p->device, &recipe, &p->args, TINY_SM_SCALE, p->stream, &p->bare)))
        return false;
    return bare_run(&p->bare) || fail("the driver refused a launch");
}

static bool launch_run(struct process *p, enum way way, const char *path) {
    const char *const packs[] = {path, NULL};
    const sage_options options = {
        .size = sizeof options, .kernel_dir = way == FOLDER ? path : NULL, .packs = way == FOLDER ? NULL : packs};
    return sage_ok(p->context, sage_context_create(&options, &p->context) == SAGE_OK) &&
           sage_ok(p->context, sage_attention_plan_create(p->context, &tiny_desc, &p->plan) == SAGE_OK) &&
           device_ok(&p->device, tiny_make(&p->device, p->stream, sage_attention_workspace_bytes(p->plan, &tiny_shape),
                                           &p->args)) &&
           sage_ok(p->context, sage_attention_run(p->plan, &p->args, p->stream) == SAGE_OK);
}

static bool make_result(struct process *p, enum way way, const char *path, struct arrival *out) {
    char why[DEVICE_ERROR_BYTES];
    if (!device_open(0, NULL, &p->device, why, sizeof why)) return fail("%s", why);
    out->opened_us = now_us();
    if (!device_ok(&p->device, device_stream_create(&p->device, &p->stream))) return false;
    if (!(way == BARE ? launch_bare(p) : launch_run(p, way, path))) return false;
    if (!device_ok(&p->device, device_download(&p->device, out->o, p->args.o.data, TINY_TENSOR_BYTES, p->stream)))
        return false;
    out->done_us = now_us();
    return true;
}

static bool send_arrival(const struct process *p, struct arrival *arrival) {
    snprintf(arrival->gpu, sizeof arrival->gpu, "%s", p->device.driver.device_name);
    if (p->plan) snprintf(arrival->kernels, sizeof arrival->kernels, "%s", sage_attention_plan_describe(p->plan));
    return write(STDOUT_FILENO, arrival, sizeof *arrival) == (ssize_t)sizeof *arrival ||
           fail("nobody reads the result");
}

static void process_end(struct process *p) {
    tiny_free(&p->device, &p->args);
    bare_unload(&p->bare);
    device_stream_destroy(&p->device, p->stream);
    sage_attention_plan_destroy(p->plan);
    sage_context_destroy(p->context);
    device_close(&p->device);
}

// key: of the way. Returns the exit status.
static int process_main(const char *key, const char *path) {
    static struct process p;
    static struct arrival arrival;
    int way = 0;
    while (way < WAY_COUNT && strcmp(ways[way].key, key) != 0) way++;
    if (way == WAY_COUNT) {
        fail("%s: no such way", key);
        return 2;
    }
    const bool ok = make_result(&p, (enum way)way, path, &arrival) && send_arrival(&p, &arrival);
    process_end(&p);
    return ok ? 0 : 1;
}

/* -- The parent: processes ---- */

struct bench {
    const char *path[WAY_COUNT]; /* NULL: this way is not taken */
    int processes;               /* of each way, at most */
    double limit_s;
    bool json;
    int recipe;           /* descriptor of the file that holds it; -1: there is none yet */
    struct arrival first; /* of FOLDER; what the others must equal */
    int rounds;
    double result_ms[WAY_COUNT][SAMPLES_MAX]; /* from before the process starts to its O */
    double rest_ms[WAY_COUNT][SAMPLES_MAX];   /* of these: after it opened the driver */
};

static bool spawn(const struct bench *b, enum way way, int output, pid_t *pid) {
    char program[] = "first_result", child[] = "--process", key[16], path[PATH_MAX];
    char *const arguments[] = {program, child, key, path, NULL};
    posix_spawn_file_actions_t actions;
    snprintf(key, sizeof key, "%s", ways[way].key);
    snprintf(path, sizeof path, "%s", b->path[way]);
    posix_spawn_file_actions_init(&actions);
    if (b->recipe >= 0) posix_spawn_file_actions_adddup2(&actions, b->recipe, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    const int error = posix_spawn(pid, "/proc/self/exe", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error == 0 || fail("cannot start a process: %s", strerror(error));
}

static bool read_whole(int input, void *to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        const ssize_t n = read(input, (char *)to + done, bytes - done);
        if (n == 0 || (n < 0 && errno != EINTR)) return false;
        if (n > 0) done += (size_t)n;
    }
    return true;
}

// Starts a process, reads what it sends, and waits for its end.
static bool run_process(const struct bench *b, enum way way, double *start_us, struct arrival *out) {
    int ends[2], status = 0;
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) != 0) return fail("no pipe: %s", strerror(errno));
    *start_us = now_us();
    const bool started = spawn(b, way, ends[1], &pid);
    close(ends[1]);
    const bool arrived = started && read_whole(ends[0], out, sizeof *out);
    close(ends[0]);
    if (!started) return false;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return (arrived && status == 0) || fail("%s: the process failed", ways[way].text);
}

// Bare launches have no description; their O tells.
static bool same_result(const struct bench *b, enum way way, const struct arrival *arrival) {
    if (way != BARE && strcmp(arrival->kernels, b->first.kernels) != 0)
        return fail("%s has other kernels than %s: %s, not %s", b->path[way], b->path[FOLDER], arrival->kernels,
                    b->first.kernels);
    for (int i = 0; i < TINY_ELEMENTS; i++)
        if (arrival->o[i] != b->first.o[i])
            return fail("O differs at element %d: 0x%04x by %s, 0x%04x by %s", i, arrival->o[i], ways[way].text,
                        b->first.o[i], ways[FOLDER].text);
    return true;
}

static bool time_process(struct bench *b, enum way way, int round) {
    struct arrival arrival;
    double start_us;
    if (!run_process(b, way, &start_us, &arrival) || !same_result(b, way, &arrival)) return false;
    b->result_ms[way][round] = (arrival.done_us - start_us) / us_per_ms;
    b->rest_ms[way][round] = (arrival.done_us - arrival.opened_us) / us_per_ms;
    return true;
}

// Each way once; the rounds start with another way in turn, so that a drift hits all alike.
static bool time_round(struct bench *b, int round) {
    for (int i = 0; i < WAY_COUNT; i++) {
        const enum way way = (enum way)((round + i) % WAY_COUNT);
        if (b->path[way] && !time_process(b, way, round)) return false;
    }
    return true;
}

/* -- The parent: measurement ---- */

static bool write_recipe(struct bench *b, const struct bare_recipe *recipe) {
    b->recipe = memfd_create("recipe", MFD_CLOEXEC);
    return (b->recipe >= 0 && write(b->recipe, recipe, sizeof *recipe) == (ssize_t)sizeof *recipe) ||
           fail("the launch parameters cannot be kept: %s", strerror(errno));
}

// For the kernels that libsage chose in b->first.
static bool make_recipe(struct bench *b) {
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    sage_context *context = NULL;
    struct bare_recipe recipe;
    const bool ok = sage_context_create(&options, &context) == SAGE_OK &&
                    bare_read(context, b->path[FOLDER], b->first.kernels, &tiny_shape, &recipe);
    if (!ok) fail("%s", sage_last_error(context));
    sage_context_destroy(context);
    return ok && write_recipe(b, &recipe);
}

// The first round fills caches, and does not count. As many rounds as the limit lets end, but PROCESSES_LEAST.
static bool time_all(struct bench *b) {
    const double start_us = now_us(), limit_us = b->limit_s * us_per_s;
    double unused_us;
    if (!run_process(b, FOLDER, &unused_us, &b->first) || !make_recipe(b) || !time_round(b, 0)) return false;
    double longest_us = 0;
    while (b->rounds < b->processes) {
        const double round_us = now_us();
        if (b->rounds >= PROCESSES_LEAST && round_us - start_us + longest_us > limit_us) break;
        if (!time_round(b, b->rounds)) return false;
        const double took_us = now_us() - round_us;
        longest_us = took_us > longest_us ? took_us : longest_us;
        b->rounds++;
    }
    return true;
}

/* -- Report ---- */

// What way takes longer than bare calls, by pairs of one round.
static struct summary summarise_added(const struct bench *b, double ms[WAY_COUNT][SAMPLES_MAX], int way) {
    double added[SAMPLES_MAX];
    for (int i = 0; i < b->rounds; i++) added[i] = ms[way][i] - ms[BARE][i];
    return summarise(added, b->rounds);
}

static void print_text_part(const struct bench *b, const char *title, double ms[WAY_COUNT][SAMPLES_MAX]) {
    printf("\n%-46s   median      min      p90  ms\n", title);
    for (int way = 0; way < WAY_COUNT; way++) {
        if (!b->path[way]) continue;
        const struct summary all = summarise(ms[way], b->rounds), added = summarise_added(b, ms, way);
        printf("  %-44s %8.2f %8.2f %8.2f\n", ways[way].text, all.median, all.min, all.p90);
        if (way != BARE) printf("  %-44s %8.2f %8.2f %8.2f\n", "  added to bare", added.median, added.min, added.p90);
    }
}

static uint64_t checksum(const uint16_t o[TINY_ELEMENTS]) { // FNV-1a, an element at a time
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < TINY_ELEMENTS; i++) hash = (hash ^ o[i]) * 0x100000001b3u;
    return hash;
}

static void print_text(struct bench *b) {
    printf("%s, %s\n%d processes of each kind, in turn; O is the same in all, checksum %016" PRIx64 "\n", b->first.gpu,
           b->first.kernels, b->rounds, checksum(b->first.o));
    print_text_part(b, "from the start of the process to O", b->result_ms);
    print_text_part(b, "of it, from the opened driver to O", b->rest_ms);
}

static void print_json_summary(const char *key, struct summary ms) {
    printf("\"%s\": {\"median\": %.4f, \"min\": %.4f, \"p90\": %.4f}", key, ms.median, ms.min, ms.p90);
}

static void print_json_part(const struct bench *b, const char *key, double ms[WAY_COUNT][SAMPLES_MAX]) {
    char added[32];
    printf(",\n \"%s\": {", key);
    for (int way = 0; way < WAY_COUNT; way++) {
        if (!b->path[way]) continue;
        printf("%s\n  ", way == BARE ? "" : ",");
        print_json_summary(ways[way].key, summarise(ms[way], b->rounds));
        if (way == BARE) continue;
        snprintf(added, sizeof added, "%s_added", ways[way].key);
        fputs(", ", stdout);
        print_json_summary(added, summarise_added(b, ms, way));
    }
    printf("}");
}

static void print_json(struct bench *b, bool written) {
    printf("{\"gpu\": \"%s\", \"kernels\": \"%s\", \"processes_of_each\": %d,\n"
           " \"output_identical\": true, \"output_written\": %s, \"output_checksum\": \"%016" PRIx64 "\",\n"
           " \"unit\": \"ms\", \"goal\": \"start_to_result: added < 10 ms\"",
           b->first.gpu, b->first.kernels, b->rounds, written ? "true" : "false", checksum(b->first.o));
    print_json_part(b, "start_to_result", b->result_ms);
    print_json_part(b, "driver_open_to_result", b->rest_ms);
    printf("}\n");
}

static bool measure(struct bench *b) {
    const bool timed = time_all(b);
    if (b->recipe >= 0) close(b->recipe);
    if (!timed) return false;
    const bool written = tiny_is_written(b->first.o);
    if (b->json)
        print_json(b, written);
    else
        print_text(b);
    return written || fail("no kernel wrote O: not a real driver, and the times are those of its stand-in");
}

/* -- Program ---- */

static const char usage[] =
    "usage: first_result KERNEL_DIR [--pack FILE] [--sources FILE] [--processes N] [--limit S] [--json]\n"
    "\n"
    "What libsage adds to a program, from the start of its process to its first O.\n"
    "\n"
    "  KERNEL_DIR       files of `sagegen --spec int8_fp8_d128 --arch ... --io bf16 --out KERNEL_DIR`\n"
    "  --pack FILE      also libsage with this pack, which holds the same cubins\n"
    "  --sources FILE   also libsage with this pack, which holds the same sources, and no cubin for this GPU; the "
    "first\n"
    "                   process compiles them into SAGE_CACHE_DIR, and does not count\n"
    "  --processes N    of each kind; default 15, at least 3, at most 128\n"
    "  --limit S        stop after this many seconds, with fewer processes (but 3 of each); default 14\n"
    "  --json           a record instead of a table\n"
    "  --help           this text\n"
    "\n"
    "exit status: 0 done, 1 failed or not a real driver, 2 bad input\n"
    "environment: that of libsage: SAGE_DRIVER, SAGE_CACHE_DIR, SAGE_NVRTC\n";

static bool read_number(const char *option, const char *text, double least, double most, double *out) {
    char *end;
    *out = strtod(text, &end);
    return (end != text && !*end && *out >= least && *out <= most) ||
           fail("--%s %s: a number from %g to %g is needed", option, text, least, most);
}

static bool read_options(int argc, char **argv, struct bench *b) {
    enum { OPTION_PACK = 'p', OPTION_SOURCES = 's', OPTION_PROCESSES = 'n', OPTION_LIMIT = 'l', OPTION_JSON = 'j' };
    static const struct option options[] = {{"pack", required_argument, NULL, OPTION_PACK},
                                            {"sources", required_argument, NULL, OPTION_SOURCES},
                                            {"processes", required_argument, NULL, OPTION_PROCESSES},
                                            {"limit", required_argument, NULL, OPTION_LIMIT},
                                            {"json", no_argument, NULL, OPTION_JSON},
                                            {0}};
    double processes = PROCESSES_DEFAULT;
    bool ok = true;
    for (int c; ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case OPTION_PACK:
            b->path[PACK] = optarg;
            break;
        case OPTION_SOURCES:
            b->path[SOURCES] = optarg;
            break;
        case OPTION_PROCESSES:
            ok = read_number("processes", optarg, PROCESSES_LEAST, SAMPLES_MAX, &processes);
            break;
        case OPTION_LIMIT:
            ok = read_number("limit", optarg, 0, 1e6, &b->limit_s);
            break;
        case OPTION_JSON:
            b->json = true;
            break;
        default:
            ok = false;
        }
    }
    if (ok && optind + 1 != argc) ok = fail("one KERNEL_DIR is needed; --help says more");
    if (!ok) return false;
    b->processes = (int)processes;
    b->path[BARE] = b->path[FOLDER] = argv[optind];
    return true;
}

int main(int argc, char **argv) {
    static struct bench b = {.limit_s = LIMIT_DEFAULT, .recipe = -1};
    if (argc == 4 && strcmp(argv[1], "--process") == 0) return process_main(argv[2], argv[3]);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!read_options(argc, argv, &b)) return 2;
    return measure(&b) ? 0 : 1;
}
