// verify_session: one process's GPU, context, plan and buffers, and how a check's result becomes a record.
// SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "context.h"
#include "verify_data.h"
#include <stdio.h>
#include <string.h>

/* -- Records ---- */

static void put(struct verify_session *s, enum verify_outcome outcome, const char *check, const char *shape,
                double error, double bound, const char *note) {
    struct verify_record r = {.unit = s->unit_index, .outcome = outcome, .error = error, .bound = bound};
    snprintf(r.check, sizeof r.check, "%s", check);
    snprintf(r.shape, sizeof r.shape, "%s", shape);
    snprintf(r.note, sizeof r.note, "%s", note ? note : "");
    s->sink.put(s->sink.user, &r);
}

void verify_check(struct verify_session *s, const char *check, const char *shape, double error, double bound,
                  const char *note) {
    put(s, error <= bound ? VERIFY_PASS : VERIFY_FAIL, check, shape, error, bound, note);
}

void verify_fail(struct verify_session *s, const char *check, const char *shape, const char *format, ...) {
    char note[sizeof((struct verify_record *)0)->note];
    va_list args;
    va_start(args, format);
    vsnprintf(note, sizeof note, format, args);
    va_end(args);
    put(s, VERIFY_FAIL, check, shape, 1, 0, note);
}

void verify_skip(struct verify_session *s, const char *check, const char *format, ...) {
    char note[sizeof((struct verify_record *)0)->note];
    va_list args;
    va_start(args, format);
    vsnprintf(note, sizeof note, format, args);
    va_end(args);
    put(s, VERIFY_SKIP, check, "", 0, 0, note);
}

void verify_dead(struct verify_session *s, const char *check, const char *shape) {
    s->dead = true;
    put(s, VERIFY_FATAL, check, shape, 1, 0, device_error(&s->device));
}

void verify_begin(struct verify_session *s, const char *part) {
    put(s, VERIFY_BEGIN, part, "", 0, 0, "");
}

/* -- Opening ---- */

static bool open_context(struct verify_session *s, char *why, size_t why_bytes) {
    const sage_options options = {.size = sizeof options, .device = 0, .memory_only = 1};
    struct sage_provider provider = verify_provider(&s->unit);
    if (sage_context_create(&options, &s->context) != SAGE_OK) {
        snprintf(why, why_bytes, "%s", sage_last_error(NULL));
        return false;
    }
    if (context_add_provider(s->context, &provider) == SAGE_OK) return true;
    snprintf(why, why_bytes, "%s", sage_last_error(s->context));
    return false;
}

bool verify_session_open(struct verify_session *s, char *why, size_t why_bytes) {
    if (!device_open(0, NULL, &s->device, why, why_bytes)) return false;
    if (!open_context(s, why, why_bytes)) return false;
    s->data = verify_data_create(s->options->threads);
    if (device_stream_create(&s->device, &s->stream)) return true;
    snprintf(why, why_bytes, "%s", device_error(&s->device));
    return false;
}

void verify_session_close(struct verify_session *s) {
    sage_attention_plan_destroy(s->plan);
    if (driver_is_open(&s->device.driver)) {
        for (int i = 0; i < VERIFY_BUFFERS; i++) device_free(&s->device, s->buffer[i].data);
        device_stream_destroy(&s->device, s->stream);
    }
    sage_context_destroy(s->context);
    device_close(&s->device);
    verify_data_destroy(s->data);
}

/* -- Plans and buffers ---- */

bool verify_plan(struct verify_session *s, float sm_scale, sage_attention_plan **out) {
    const struct verify_unit *u = s->unit;
    const sage_attention_desc desc = {.size = sizeof desc,
                                      .dtype = u->io == SPEC_IO_BF16 ? SAGE_BF16 : SAGE_FP16,
                                      .head_dim_qk = u->spec.head_dim_qk,
                                      .head_dim_v = u->spec.head_dim_v,
                                      .mask = u->mask == SPEC_MASK_CAUSAL ? SAGE_MASK_CAUSAL : SAGE_MASK_NONE,
                                      .spec = u->spec.name,
                                      .sm_scale = sm_scale,
                                      .flags =
                                          SAGE_FLAG_LSE | SAGE_FLAG_OVERFLOW | (u->spec.safe ? SAGE_FLAG_SAFE : 0)};
    sage_status status = sage_attention_plan_create(s->context, &desc, out);
    if (status == SAGE_OK) return true;
    verify_fail(s, "plan", "", "%s: %s", sage_status_text(status), sage_last_error(s->context));
    return false;
}

static bool built(struct verify_session *s) {
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        const struct build_job *job = s->unit->job[role];
        if (!job || job->state == BUILD_DONE) continue;
        verify_fail(s, "build", sage_role_text((enum sage_role)role), "%.150s",
                    job->messages.len ? job->messages.data : "not built");
        return false;
    }
    return true;
}

bool verify_session_unit(struct verify_session *s, int index) {
    sage_attention_plan_destroy(s->plan);
    s->plan = NULL;
    s->unit_index = index;
    s->unit = &s->units->unit[index];
    verify_begin(s, "");
    return built(s) && verify_plan(s, 0, &s->plan);
}

// Buffers only grow, and hold what the last call left in them.
bool verify_buffer(struct verify_session *s, int index, uint64_t bytes, void **out) {
    if (s->buffer[index].bytes < bytes) {
        device_free(&s->device, s->buffer[index].data);
        s->buffer[index].bytes = 0;
        if (!device_alloc(&s->device, bytes, &s->buffer[index].data)) return false;
        s->buffer[index].bytes = bytes;
    }
    *out = s->buffer[index].data;
    return true;
}
