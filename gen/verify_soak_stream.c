// verify_soak_stream: one stream of a soak: starts a burst of random calls, each into outputs of its own, poisoned
// before, and a workspace that is poisoned or holds what the last call left; later waits for them and compares every
// bit. SPDX-License-Identifier: Apache-2.0
#include "verify_soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POISON = 0xff, GUARD_BYTES = 256, OUTPUTS_BYTES = 128 << 20 };

/* -- Outputs of a call: O, guard, LSE, guard, flags, guard ---- */

struct slot {
    uint64_t lse, flags, end; /* bytes from its beginning */
};

static uint64_t guarded(uint64_t bytes) {
    return (bytes + 255) / 256 * 256 + GUARD_BYTES;
}

static struct slot slot_of(const struct soak_pair *pair) {
    struct slot slot = {.lse = guarded(pair->o_bytes)};
    slot.flags = slot.lse + guarded(pair->lse_bytes);
    slot.end = slot.flags + guarded(sizeof(uint32_t));
    return slot;
}

bool soak_streams_make(struct soak *k) {
    struct verify_session *s = k->s;
    uint64_t workspace = 0, largest = 0;
    for (int i = 0; i < k->pairs; i++) {
        const struct soak_pair *pair = &k->pair[i];
        if (pair->workspace_bytes > workspace) workspace = pair->workspace_bytes;
        if (slot_of(pair).end > largest) largest = slot_of(pair).end;
    }
    const uint64_t most = largest * SOAK_BURST < OUTPUTS_BYTES ? largest * SOAK_BURST : OUTPUTS_BYTES;
    k->outputs_bytes = largest > most ? largest : most;
    k->stream = xcalloc((size_t)s->options->streams, sizeof *k->stream);
    for (int i = 0; i < s->options->streams; i++) {
        struct soak_stream *stream = &k->stream[i];
        void *memory[2] = {NULL, NULL};
        const bool ok = device_stream_create(&s->device, &stream->stream) &&
                        device_alloc(&s->device, workspace, &memory[0]) &&
                        device_alloc(&s->device, k->outputs_bytes, &memory[1]);
        stream->index = i;
        stream->next = -1;
        stream->workspace = memory[0];
        stream->outputs = memory[1];
        stream->host = xmalloc(k->outputs_bytes);
        random_seed(&stream->random,
                    s->options->seed ^ (UINT64_C(0x736f616b) + (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15)));
        if (ok) continue;
        verify_fail(s, "soak memory", "", "stream %d: %.160s", i, device_error(&s->device));
        return false;
    }
    return true;
}

void soak_streams_free(struct soak *k) {
    for (int i = 0; k->stream && i < k->s->options->streams; i++) {
        struct soak_stream *stream = &k->stream[i];
        device_free(&k->s->device, stream->workspace);
        device_free(&k->s->device, stream->outputs);
        device_stream_destroy(&k->s->device, stream->stream);
        free(stream->host);
    }
    free(k->stream);
}

/* -- Starting ---- */

static sage_tensor tensor(void *data, int64_t heads, int64_t seq, int64_t dim) {
    return (sage_tensor){data, heads * seq * dim, seq * dim, dim};
}

static sage_attention_args arguments(const struct soak *k, const struct soak_stream *stream,
                                     const struct soak_call *call) {
    const struct soak_pair *pair = call->pair;
    const struct soak_inputs *in = &k->inputs[pair->inputs];
    const sage_attention_shape *shape = &pair->shape;
    const struct slot slot = slot_of(pair);
    char *out = stream->outputs + call->offset;
    return (sage_attention_args){.size = sizeof(sage_attention_args),
                                 .shape = *shape,
                                 .q = tensor(in->device, shape->heads_q, shape->seq_q, in->dim_qk),
                                 .k = tensor(in->device + in->k_offset, shape->heads_kv, shape->seq_k, in->dim_qk),
                                 .v = tensor(in->device + in->v_offset, shape->heads_kv, shape->seq_k, in->dim_v),
                                 .o = tensor(out, shape->heads_q, shape->seq_q, in->dim_v),
                                 .lse = (float *)(void *)(out + slot.lse),
                                 .overflow_flags = (uint32_t *)(void *)(out + slot.flags),
                                 .workspace = stream->workspace,
                                 .workspace_bytes = pair->workspace_bytes};
}

static bool lost(struct soak *k, const struct soak_stream *stream, const struct soak_call *call,
                 const struct device *device) {
    soak_fault(k, stream, call, "%.150s", device_error(device));
    return false;
}

// In one launch or in the two steps of a caller that frees Q, K and V early.
static bool launch(struct soak *k, struct soak_stream *stream, const struct soak_call *call, bool two_steps) {
    const sage_attention_args args = arguments(k, stream, call);
    sage_status status = two_steps ? sage_attention_quantise(call->pair->plan, &args, stream->stream)
                                   : sage_attention_run(call->pair->plan, &args, stream->stream);
    if (two_steps && status == SAGE_OK) status = sage_attention_attend(call->pair->plan, &args, stream->stream);
    if (status == SAGE_OK) return true;
    soak_fault(k, stream, call, "%s: %.130s", sage_status_text(status), sage_last_error(k->s->context));
    return false;
}

static bool start(struct soak *k, struct soak_stream *stream, const struct soak_call *call, struct device *device) {
    const uint64_t choice = random_bits(&stream->random);
    const bool poisoned = choice & 1, two_steps = (choice >> 1 & 3) == 0;
    if (poisoned && !device_memset_u8(device, stream->workspace, POISON, call->pair->workspace_bytes, stream->stream))
        return lost(k, stream, call, device);
    if (!device_memset_u8(device, stream->outputs + call->offset + slot_of(call->pair).flags, 0, sizeof(uint32_t),
                          stream->stream))
        return lost(k, stream, call, device);
    return launch(k, stream, call, two_steps);
}

// The next call of the stream, if its outputs fit behind those of the others.
static struct soak_call *take_place(struct soak *k, struct soak_stream *stream) {
    if (stream->calls == SOAK_BURST) return NULL;
    if (stream->next < 0) stream->next = (int)(random_bits(&stream->random) % (uint64_t)k->pairs);
    const struct soak_pair *pair = &k->pair[stream->next];
    if (stream->used_bytes + slot_of(pair).end > k->outputs_bytes) return NULL;
    struct soak_call *call = &stream->call[stream->calls++];
    *call = (struct soak_call){pair, stream->number++, stream->used_bytes};
    stream->used_bytes += slot_of(pair).end;
    stream->next = -1;
    return call;
}

static bool start_burst(struct soak *k, struct soak_stream *stream, struct device *device) {
    struct soak_call *call = take_place(k, stream);
    if (!device_memset_u8(device, stream->outputs, POISON, k->outputs_bytes, stream->stream))
        return lost(k, stream, call, device);
    for (; call; call = soak_over(k) ? NULL : take_place(k, stream))
        if (!start(k, stream, call, device)) return false;
    return true;
}

/* -- Comparing ---- */

struct difference {
    uint64_t o, lse, beside; /* elements, words, bytes */
    bool flags;
};

static uint64_t count_beside(const uint8_t *from, const uint8_t *to) {
    uint64_t written = 0;
    for (; from < to; from++) written += *from != POISON;
    return written;
}

static struct difference compare(const struct soak_pair *pair, const uint8_t *out) {
    const struct slot slot = slot_of(pair);
    const uint16_t *o = (const uint16_t *)(const void *)out;
    const uint32_t *lse = (const uint32_t *)(const void *)(out + slot.lse);
    const uint32_t *first_lse = (const uint32_t *)(const void *)pair->lse;
    struct difference d = {.flags = memcmp(out + slot.flags, &pair->flags, sizeof pair->flags) != 0};
    if (memcmp(o, pair->o, pair->o_bytes) != 0)
        for (uint64_t i = 0; i < pair->o_bytes / sizeof *o; i++) d.o += o[i] != pair->o[i];
    if (memcmp(lse, first_lse, pair->lse_bytes) != 0)
        for (uint64_t i = 0; i < pair->lse_bytes / sizeof *lse; i++) d.lse += lse[i] != first_lse[i];
    d.beside = count_beside(out + pair->o_bytes, out + slot.lse) +
               count_beside(out + slot.lse + pair->lse_bytes, out + slot.flags) +
               count_beside(out + slot.flags + sizeof(uint32_t), out + slot.end);
    return d;
}

static void compare_call(struct soak *k, const struct soak_stream *stream, const struct soak_call *call) {
    const struct soak_pair *pair = call->pair;
    const uint8_t *out = stream->host + call->offset;
    const struct difference d = compare(pair, out);
    uint32_t flags;
    memcpy(&flags, out + slot_of(pair).flags, sizeof flags);
    if (d.o || d.lse)
        soak_fault(k, stream, call, "%llu of %llu values of O and %llu of %llu of LSE differ", (unsigned long long)d.o,
                   (unsigned long long)pair->o_bytes / 2, (unsigned long long)d.lse,
                   (unsigned long long)pair->lse_bytes / 4);
    else if (d.flags)
        soak_fault(k, stream, call, "overflow flags 0x%x, at first 0x%x", flags, pair->flags);
    else if (d.beside)
        soak_fault(k, stream, call, "%llu bytes beside the outputs were written", (unsigned long long)d.beside);
}

static void count_calls(struct soak *k, const struct soak_stream *stream) {
    pthread_mutex_lock(&k->lock);
    for (int i = 0; i < stream->calls; i++) k->pair[stream->call[i].pair - k->pair].calls++;
    k->calls += (uint64_t)stream->calls;
    pthread_mutex_unlock(&k->lock);
}

static bool finish_burst(struct soak *k, struct soak_stream *stream, struct device *device) {
    if (!device_download(device, stream->host, stream->outputs, stream->used_bytes, stream->stream))
        return lost(k, stream, &stream->call[0], device);
    for (int i = 0; i < stream->calls; i++) compare_call(k, stream, &stream->call[i]);
    count_calls(k, stream);
    stream->calls = 0;
    stream->used_bytes = 0;
    return true;
}

bool soak_stream_visit(struct soak *k, struct soak_stream *stream, struct device *device) {
    if (stream->calls > 0 && !finish_burst(k, stream, device)) return false;
    return soak_over(k) || start_burst(k, stream, device);
}
