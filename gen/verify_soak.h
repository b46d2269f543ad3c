// verify_soak: `sagegen verify --soak`: random calls on several streams from several threads, whose bits must be those
// of the first call of their kernel set and shape. What its parts share. The line: verify_soak_pairs.c (first calls,
// checked against float64) -> verify_soak.c (threads, time) -> verify_soak_stream.c (calls, comparisons) -> records.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERIFY_SOAK_H
#define SAGE_GEN_VERIFY_SOAK_H

#include "verify.h"
#include <pthread.h>

enum {
    SOAK_BURST = 8,     /* calls on a stream between two looks at their outputs */
    SOAK_TOLD_MOST = 20 /* faults that get a line of their own */
};

// Q, K and V on the device, contiguous [batch][heads][seq][dim], one behind the other; read by many calls at once.
struct soak_inputs {
    enum spec_io io;
    int shape; /* in the table of shapes */
    int dim_qk, dim_v;
    uint16_t *host;
    uint64_t bytes;
    char *device;
    uint64_t k_offset, v_offset; /* bytes */
};

// A kernel set and a shape, and what their first call gave: O [batch][heads_q][seq_q][dim_v], LSE, flags.
struct soak_pair {
    int unit, inputs;
    sage_attention_plan *plan; /* borrowed */
    sage_attention_shape shape;
    uint64_t workspace_bytes, o_bytes, lse_bytes;
    uint16_t *o;
    float *lse;
    uint32_t flags;
    uint64_t calls, wrong; /* under the lock */
};

struct soak_call {
    const struct soak_pair *pair;
    uint64_t number; /* of the stream's calls, from 0 */
    uint64_t offset; /* bytes, in the stream's outputs */
};

// A stream and what only its calls use. Held by one thread at a time; between two, its calls may still run.
struct soak_stream {
    int index;
    sage_stream stream;
    struct random random; /* decides all its calls: the same seed, the same calls */
    char *workspace, *outputs;
    uint8_t *host; /* as large as outputs */
    struct soak_call call[SOAK_BURST];
    int calls;
    uint64_t used_bytes; /* of outputs */
    uint64_t number;     /* of the next call */
    int next;            /* its pair; -1: not drawn yet */
    bool held;
    double since; /* seconds; when it was taken */
};

struct soak {
    struct verify_session *s;
    const int *unit; /* [count] the kernel sets */
    int count;
    double later_s;             /* that other machines' kernel sets will take */
    sage_attention_plan **plan; /* [count] */
    struct soak_inputs *inputs; /* [capacity] */
    struct soak_pair *pair;     /* [capacity] */
    int inputs_count, pairs, capacity;
    struct soak_stream *stream; /* [options->streams] */
    uint64_t outputs_bytes;     /* of a stream */
    pthread_mutex_t lock;       /* of what follows, of a stream's `held` and of a pair's counts */
    double end;                 /* seconds */
    bool lost;                  /* a call failed: nothing more is started */
    uint64_t calls, wrong;
};

bool soak_over(struct soak *k); // no further call is to be started
// One call that went wrong; counted, and recorded while there are few.
void soak_fault(struct soak *k, const struct soak_stream *stream, const struct soak_call *call, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* -- Pairs (verify_soak_pairs.c) ---- */

// Makes the plans and first calls of k->unit. false: there is none, the session is dead, or interrupted.
bool soak_pairs_make(struct soak *k);
// Inputs that any call has changed are faults.
void soak_pairs_check_inputs(struct soak *k);
void soak_pairs_free(struct soak *k);

/* -- Streams (verify_soak_stream.c) ---- */

bool soak_streams_make(struct soak *k); // false: recorded
void soak_streams_free(struct soak *k);
// Waits for the stream's calls and compares them; then starts others, unless the time is over. device: the thread's
// own. false: a call failed, which was recorded; nothing more may be started.
bool soak_stream_visit(struct soak *k, struct soak_stream *stream, struct device *device);

#endif
