// verify_session: one process's GPU, context, plan and buffers, and how a check's result becomes a record.
// SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "context.h"
#include "verify_data.h"
#include "vm_counts.h"
#include "vm_driver.h"
#include <inttypes.h>
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

// An instruction's finding of one kind is told once in a unit, however many launches have it.
static bool is_told(struct verify_session *s, const struct ptxvm_finding *f) {
    char key[sizeof s->told[0]];
    snprintf(key, sizeof key, "%d %u %s", (int)f->kind, f->ptx_line, f->kernel);
    for (unsigned i = 0; i < s->told_count; i++)
        if (strcmp(s->told[i], key) == 0) return true;
    if (s->told_count == VERIFY_TOLD_MAX) return true;
    memcpy(s->told[s->told_count++], key, sizeof key);
    return false;
}

static void on_finding(void *user, const struct vm_finding *found) {
    struct verify_session *s = user;
    struct buf place = {0};
    s->findings++;
    if (is_told(s, found->finding)) return;
    ptx_place_text(&found->place, &place);
    const char *text = strncmp(found->text, place.data, place.len) == 0 ? found->text + place.len : found->text;
    fprintf(stderr, "%s\n", found->text);
    verify_fail(s, "vm finding", place.data, "%s", strncmp(text, ": error: ", 9) == 0 ? text + 9 : text);
    buf_free(&place);
}

// The machine is made anew for each unit: a GPU of its target, whose memory nobody has written.
static bool configure_machine(struct verify_session *s) {
    const struct vm_driver_options options = {.sm = arch_of(s->unit->target)->sm,
                                              .seed = s->options->seed,
                                              .checks = PTXVM_CHECK_ALL,
                                              .counts = s->options->counts,
                                              .finding = on_finding,
                                              .user = s};
    s->findings = s->told_count = 0;
    return vm_driver_configure(&options);
}

static bool open_context(struct verify_session *s, char *why, size_t why_bytes) {
    const sage_options options = {.size = sizeof options,
                                  .device = s->options->ordinal,
                                  .memory_only = 1,
                                  .driver_entry = s->options->vm ? vm_driver_entry : NULL};
    struct sage_provider provider = verify_provider(&s->unit);
    if (sage_context_create(&options, &s->context) != SAGE_OK) {
        snprintf(why, why_bytes, "%s", sage_last_error(NULL));
        return false;
    }
    if (context_add_provider(s->context, &provider) == SAGE_OK) return true;
    snprintf(why, why_bytes, "%s", sage_last_error(s->context));
    return false;
}

static bool open_all(struct verify_session *s, char *why, size_t why_bytes) {
    if (s->options->vm && !configure_machine(s)) return false;
    if (!device_open(s->options->ordinal, s->options->vm ? vm_driver_entry : NULL, &s->device, why, why_bytes))
        return false;
    if (!open_context(s, why, why_bytes)) return false;
    if (device_stream_create(&s->device, &s->stream)) return true;
    snprintf(why, why_bytes, "%s", device_error(&s->device));
    return false;
}

bool verify_session_open(struct verify_session *s, char *why, size_t why_bytes) {
    s->data = verify_data_create(s->options->threads);
    return open_all(s, why, why_bytes);
}

static void close_all(struct verify_session *s) {
    sage_attention_plan_destroy(s->plan);
    if (driver_is_open(&s->device.driver)) {
        for (int i = 0; i < VERIFY_BUFFERS; i++) device_free(&s->device, s->buffer[i].data);
        memset(s->buffer, 0, sizeof s->buffer);
        device_stream_destroy(&s->device, s->stream);
    }
    sage_context_destroy(s->context);
    device_close(&s->device);
    s->plan = NULL;
    s->stream = NULL;
    s->context = NULL;
    s->device = (struct device){.ordinal = s->options->ordinal};
}

void verify_session_close(struct verify_session *s) {
    close_all(s);
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

bool verify_session_renew(struct verify_session *s) {
    char why[DEVICE_ERROR_BYTES] = "";
    if (!s->options->vm) return true;
    close_all(s);
    if (open_all(s, why, sizeof why)) return true;
    verify_fail(s, "open", "", "%.180s", why);
    return false;
}

bool verify_session_select(struct verify_session *s, int index) {
    sage_attention_plan_destroy(s->plan);
    s->plan = NULL;
    s->unit_index = index;
    s->unit = &s->units->unit[index];
    verify_begin(s, "");
    return built(s);
}

bool verify_session_unit(struct verify_session *s, int index) {
    return verify_session_select(s, index) && verify_session_renew(s) && verify_plan(s, 0, &s->plan);
}

// Buffers only grow, and hold what the last call left in them; on the machine they are new, so that an access beyond
// them is one.
bool verify_buffer(struct verify_session *s, int index, uint64_t bytes, void **out) {
    if (s->buffer[index].bytes < bytes || s->options->vm) {
        device_free(&s->device, s->buffer[index].data);
        s->buffer[index].bytes = 0;
        if (!device_alloc(&s->device, bytes, &s->buffer[index].data)) return false;
        s->buffer[index].bytes = bytes;
    }
    *out = s->buffer[index].data;
    return true;
}

/* -- The machine ---- */

void verify_vm_end(struct verify_session *s) {
    char note[128];
    const struct vm_driver_totals t = vm_driver_totals();
    snprintf(note, sizeof note, "%" PRIu64 " launches, %.1f M thread instructions, %.1f M/s", t.launches,
             (double)t.thread_instructions * 1e-6,
             t.seconds > 0 ? (double)t.thread_instructions * 1e-6 / t.seconds : 0);
    verify_check(s, "vm findings", "", (double)s->findings, 0, note);
    if (!s->options->counts) return;
    struct buf text = {0};
    const struct vm_main_loops loops = vm_counts_main_loops();
    vm_counts_text(&text);
    fputs(text.data ? text.data : "", stderr);
    buf_free(&text);
    snprintf(note, sizeof note, "wavefronts above the least, per wavefront; %" PRIu64 " in main loops",
             loops.wavefronts);
    const double least = (double)loops.wavefronts_ideal;
    verify_check(s, "vm bank conflicts", "", least > 0 ? ((double)loops.wavefronts - least) / least : 0, 0, note);
}
