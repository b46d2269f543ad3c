// random: xoshiro256** seeded by splitmix64 (Blackman, Vigna: "Scrambled linear pseudorandom number generators");
// Box-Muller normals. Every head of every tensor has its own stream, so that heads can be filled in any order.
// SPDX-License-Identifier: Apache-2.0
#include "random.h"
#include "parallel.h"
#include <assert.h>
#include <math.h>

/* -- Generator ---- */

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t rotate_left(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

void random_seed(struct random *r, uint64_t seed) {
    *r = (struct random){0};
    for (int i = 0; i < 4; i++) r->state[i] = splitmix64(&seed);
}

uint64_t random_bits(struct random *r) {
    uint64_t *s = r->state, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double random_uniform(struct random *r) {
    return ((double)(random_bits(r) >> 11) + 0.5) * 0x1p-53;
}

double random_normal(struct random *r) {
    if (r->has_spare) {
        r->has_spare = false;
        return r->spare;
    }
    double radius = sqrt(-2 * log(random_uniform(r))), angle = 6.283185307179586 * random_uniform(r);
    r->spare = radius * sin(angle);
    r->has_spare = true;
    return radius * cos(angle);
}

/* -- Distributions ---- */

enum stream { STREAM_Q, STREAM_K, STREAM_V, STREAM_RUNS, STREAM_SCALE_QK, STREAM_SCALE_V };

struct fill {
    enum random_kind kind;
    const struct random_shape *shape;
    enum number_format io;
    uint64_t seed;
    float *q, *k, *v;
};

static struct random fill_stream(const struct fill *f, enum stream stream, size_t head) {
    uint64_t state = f->seed;
    state = splitmix64(&state) + (uint64_t)stream;
    state = splitmix64(&state) + head;
    struct random r;
    random_seed(&r, splitmix64(&state));
    return r;
}

enum { DIM_LIMIT = RANDOM_DIM_LIMIT, RUN_TOKENS = 64, STRONG_CHANNELS = 4 };

// Per-channel constants of one head of one tensor.
struct channels {
    double bias[DIM_LIMIT], scale[DIM_LIMIT];
};

static void fill_constant(double *out, int dim, double value) {
    for (int c = 0; c < dim; c++) out[c] = value;
}

static void fill_normal(double *out, int dim, double sigma, struct random *r) {
    for (int c = 0; c < dim; c++) out[c] = random_normal(r) * sigma;
}

static void channels_init(struct channels *ch, const struct fill *f, enum stream stream, int dim, size_t head_kv,
                          struct random *r) {
    static const double outlier_sigma[] = {[STREAM_Q] = 2, [STREAM_K] = 6, [STREAM_V] = 1};
    static const double runs_sigma[] = {[STREAM_Q] = 1, [STREAM_K] = 3, [STREAM_V] = 0};
    fill_constant(ch->scale, dim, 1);
    fill_constant(ch->bias, dim, 0);
    if (f->kind == RANDOM_OUTLIER) {
        fill_normal(ch->bias, dim, outlier_sigma[stream], r);
        for (int c = 0; stream == STREAM_K && c < STRONG_CHANNELS && c < dim; c++) ch->bias[c] *= 4;
    }
    if (f->kind != RANDOM_RUNS) return;
    fill_normal(ch->bias, dim, runs_sigma[stream], r);
    bool values = stream == STREAM_V;
    struct random scales = fill_stream(f, values ? STREAM_SCALE_V : STREAM_SCALE_QK, head_kv);
    for (int c = 0; c < dim; c++)
        ch->scale[c] = exp(random_normal(&scales) * (values ? 0.5 : 0.7)) * (values ? 1 : 1.2);
}

// The vector that tokens of a run share. A token starts a new run with probability 1 / RUN_TOKENS.
struct run {
    struct random stream;
    double base[DIM_LIMIT];
};

static void run_advance(struct run *run, int dim, bool first) {
    if (random_uniform(&run->stream) < 1.0 / RUN_TOKENS || first) fill_normal(run->base, dim, 1, &run->stream);
}

static double token_amplitude(const struct fill *f, enum stream stream, struct random *r) {
    bool heavy = f->kind == RANDOM_RUNS && stream == STREAM_V;
    return heavy ? 1 + 0.5 * fabs(random_normal(r)) : 1;
}

// One head: seq tokens after `skip` tokens that only advance the runs.
static void fill_head(const struct fill *f, enum stream stream, size_t head, size_t head_kv, size_t skip, size_t seq,
                      int dim, float *out) {
    struct random r = fill_stream(f, stream, head);
    struct channels ch;
    struct run run = {.stream = fill_stream(f, STREAM_RUNS, head_kv)};
    bool correlated = f->kind == RANDOM_RUNS && stream != STREAM_V;
    double own = correlated ? 0.6 : 1;
    channels_init(&ch, f, stream, dim, head_kv, &r);
    for (size_t t = 0; t < skip + seq; t++) {
        if (correlated) run_advance(&run, dim, t == 0);
        if (t < skip) continue;
        double amplitude = token_amplitude(f, stream, &r);
        float *row = out + (t - skip) * (size_t)dim;
        for (int c = 0; c < dim; c++) {
            double x = (random_normal(&r) * own + run.base[c]) * ch.scale[c] * amplitude + ch.bias[c];
            row[c] = (float)format_round(f->io, x);
        }
    }
}

// Items: the query heads, then the key heads, then the value heads.
static void fill_item(void *user, size_t i) {
    const struct fill *f = user;
    const struct random_shape *s = f->shape;
    size_t heads_q = (size_t)s->heads_q, heads_kv = (size_t)s->heads_kv;
    size_t seq = s->seq_q > s->seq_k ? s->seq_q : s->seq_k;
    if (i < heads_q) {
        fill_head(f, STREAM_Q, i, i / (heads_q / heads_kv), seq - s->seq_q, s->seq_q, s->dim_qk,
                  f->q + i * s->seq_q * (size_t)s->dim_qk);
        return;
    }
    bool values = i >= heads_q + heads_kv;
    size_t head = i - heads_q - (values ? heads_kv : 0);
    int dim = values ? s->dim_v : s->dim_qk;
    float *out = (values ? f->v : f->k) + head * s->seq_k * (size_t)dim;
    fill_head(f, values ? STREAM_V : STREAM_K, head, head, seq - s->seq_k, s->seq_k, dim, out);
}

void random_attention(enum random_kind kind, const struct random_shape *shape, enum number_format io, uint64_t seed,
                      int threads, float *q, float *k, float *v) {
    assert(shape->dim_qk <= DIM_LIMIT && shape->dim_v <= DIM_LIMIT);
    struct fill f = {kind, shape, io, seed, q, k, v};
    parallel_for((size_t)shape->heads_q + 2 * (size_t)shape->heads_kv, threads, fill_item, &f);
}
