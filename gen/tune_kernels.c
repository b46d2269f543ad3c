// tune_kernels: see tune_kernels.h. SPDX-License-Identifier: Apache-2.0
#include "tune_kernels.h"

#include "verify_process.h"
#include <stdio.h>
#include <string.h>

bool tune_kernels_make(const struct build_setup *setup, const struct tune_set *s, struct tune_kernels *out, char *why,
                       size_t why_bytes) {
    bool ok = true;
    *out = (struct tune_kernels){
        .unit = {.spec = s->spec->spec, .target = s->target, .io = s->io, .mask = s->mask, .variant = s->variant}};
    const struct plan_request attention = tune_request(s, SAGE_ROLE_ATTN_FWD);
    plan_make(&out->unit.plan, &attention);
    for (int role = 0; ok && role < SAGE_ROLE_COUNT; role++) {
        if (!plan_needs_role(&s->spec->spec, (enum sage_role)role)) continue;
        struct build_job *job = out->unit.job[role] = &out->job[role];
        *job = (struct build_job){.request = tune_request(s, (enum sage_role)role), .spec_text = s->spec->text};
        ok = build_kernel(setup, job);
        if (!ok) snprintf(why, why_bytes, "%.*s", (int)strcspn(job->messages.data, "\n"), job->messages.data);
    }
    return ok;
}

void tune_kernels_free(const struct build_setup *setup, struct tune_kernels *kernels) {
    for (int role = 0; role < SAGE_ROLE_COUNT; role++)
        if (kernels->unit.job[role]) build_job_free(setup, &kernels->job[role]);
    *kernels = (struct tune_kernels){0};
}

/* -- The compiling child ---- */

static bool say(int fd, const struct buf *line) {
    return process_write(fd, line->data, line->len);
}

static bool build_set(const struct build_setup *setup, const struct tune_work *work, int set, int fd) {
    struct tune_kernels kernels;
    struct buf line = {0};
    char why[TUNE_WHY_BYTES];
    if (tune_kernels_make(setup, &work->set[set], &kernels, why, sizeof why)) {
        const struct meta *m = &kernels.job[SAGE_ROLE_ATTN_FWD].meta;
        buf_printf(&line, "built %d %d %d %d\n", set, m->registers, m->spill_bytes, m->threads);
    } else {
        buf_printf(&line, "failed %d %s\n", set, why);
    }
    tune_kernels_free(setup, &kernels);
    const bool ok = say(fd, &line);
    buf_free(&line);
    return ok;
}

static int cannot(int fd, const char *why) {
    struct buf line = {0};
    buf_printf(&line, "no %.*s\n", (int)strcspn(why, "\n"), why);
    const bool ok = say(fd, &line);
    buf_free(&line);
    return ok ? 0 : 1;
}

int tune_build_in_child(void *user, int fd) {
    const struct tune_builder *b = user;
    const sage_options options = {
        .size = sizeof options, .device = -1, .cache_dir = b->bench->cache_dir, .wisdom = "none"};
    sage_context *context = NULL;
    struct build_setup setup;
    if (sage_context_create(&options, &context) != SAGE_OK) return cannot(fd, sage_last_error(NULL));
    if (build_open(&setup, context, cmd_template_dir(), b->form) != SAGE_OK)
        return cannot(fd, sage_last_error(context));
    for (int i = 0; i < b->count; i++)
        if (!build_set(&setup, b->bench->work, b->set[i], fd)) return 1;
    sage_context_destroy(context);
    return 0;
}
