// bench_python: tuning/bench/measure.py, which is embedded, in the user's Python, as the process that measures.
// SPDX-License-Identifier: Apache-2.0
#include "bench_child.h"

#include "embedded.h"
#include "sage.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct python_files {
    const struct bench_python *python;
    const char *script, *request, *messages; /* paths */
};

/* -- Files ---- */

static const struct embedded_file *script(void) {
    for (int i = 0; i < embedded_file_count; i++)
        if (strcmp(embedded_files[i].name, "tuning/bench/measure.py") == 0) return &embedded_files[i];
    return NULL;
}

static bool write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    const bool ok = file && fputs(text, file) >= 0;
    return file && fclose(file) == 0 && ok;
}

static json_t *problems_json(const struct bench_child *c) {
    json_t *list = json_array();
    for (int i = 0; i < c->job->problems->count; i++) {
        const struct bench_problem *p = &c->job->problems->item[i];
        if (c->done[i]) continue;
        json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:i, s:i, s:b}", "id", i, "d", p->d, "n", p->n, "batch",
                                              p->batch, "heads", p->heads, "causal", (int)p->causal));
    }
    return list;
}

static bool write_request(const struct bench_child *c) {
    const struct python_files *files = c->user;
    const struct bench_job *job = c->job;
    json_t *specs = json_array(), *contenders = json_array(), *modes = json_array();
    for (int i = 0; i < job->specs; i++)
        json_array_append_new(specs, json_pack("{s:s, s:i}", "name", job->spec[i].name, "d", job->spec[i].d));
    for (int i = 0; i < BENCH_CONTENDERS; i++)
        if (job->contender[i]) json_array_append_new(contenders, json_string(bench_contender_name(i)));
    for (int i = 0; i < BENCH_MODES; i++)
        if (job->mode[i]) json_array_append_new(modes, json_string(bench_mode_name(i)));
    json_t *root = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:O}", "version", sage_version(), "lib",
                             files->python->library, "kernel_dir", job->kernel_dir, "specs", specs, "contenders",
                             contenders, "modes", modes, "problems", problems_json(c), "dropped", c->dropped);
    char *text = json_dumps(root, JSON_INDENT(1));
    const bool ok = text && write_file(files->request, text);
    free(text);
    json_decref(root);
    return ok;
}

/* -- Process ---- */

// In the child.
static int be_python(const struct bench_child *c, int fd) {
    const struct python_files *files = c->user;
    const char *program = files->python->program;
    const int messages = open(files->messages, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int nothing = open("/dev/null", O_RDONLY);
    if (messages < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(fd, 1) < 0 || dup2(messages, 2) < 0)
        return BENCH_CANNOT_START;
    if (fd > 2) close(fd);
    const char *failed = files->request;
    if (write_request(c)) {
        failed = program;
        execlp(program, program, files->script, files->request, (char *)NULL);
    }
    fprintf(stderr, "%s: %s\n", failed, strerror(errno));
    fflush(stderr);
    return BENCH_CANNOT_START;
}

enum bench_end bench_python_run(const struct bench_job *job, const struct bench_python *python,
                                struct bench_records *records, struct buf *why) {
    struct buf path[3] = {{0}};
    static const char *const name[3] = {"measure.py", "request.json", "messages.txt"};
    for (int i = 0; i < 3; i++) buf_printf(&path[i], "%s/%s", job->scratch, name[i]);
    struct python_files files = {python, path[0].data, path[1].data, path[2].data};
    struct bench_child child = {.job = job,
                                .records = records,
                                .why = why,
                                .work = be_python,
                                .user = &files,
                                .name = "the Python process",
                                .messages = files.messages};
    enum bench_end end = BENCH_FAILED;
    bench_progress_starting(job->progress, python->program);
    if (write_file(files.script, script()->data))
        end = bench_child_run(&child);
    else
        buf_printf(why, "%s cannot be written: %s", files.script, strerror(errno));
    for (int i = 0; i < 3; i++) buf_free(&path[i]);
    return end;
}
