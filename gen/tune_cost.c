// tune_cost: see tune_cost.h. SPDX-License-Identifier: Apache-2.0
#include "tune_cost.h"

#include <math.h>
#include <string.h>

enum { THREADS_OF_MULTIPROCESSOR = 2048 };

static double ceil_div(int64_t a, int64_t b) {
    return (double)((a + b - 1) / b);
}

static double blocks(const struct plan *p, const sage_attention_shape *s) {
    return (double)(s->batch * s->heads_q) * ceil_div(s->seq_q, p->tile_q);
}

// Of a block; of a causal kernel the mean one.
static double block_scores(const struct plan *p, const sage_attention_shape *s) {
    const double all = ceil_div(s->seq_k, p->tile_k) * p->tile_k * p->tile_q;
    return strcmp(p->mask, "causal") == 0 ? all / 2 + (double)p->tile_q * (p->tile_q + p->tile_k) / 4 : all;
}

// Blocks that a multiprocessor runs side by side, by shared memory and threads.
static double side_by_side(const struct plan *p, const struct arch *arch) {
    enum { RESERVED = 1024 }; // of each block, by the driver
    const double room = (double)arch->smem_block_bytes;
    const double by_memory = floor((room + RESERVED) / (p->smem_bytes + RESERVED));
    return fmax(1, fmin(by_memory, floor((double)THREADS_OF_MULTIPROCESSOR / p->threads)));
}

double tune_cost_scores(const struct plan *p, const sage_attention_shape *s) {
    return blocks(p, s) * block_scores(p, s);
}

// Full waves keep every multiprocessor busy with all its blocks; the rest is dealt out one by one.
double tune_cost_longest(const struct plan *p, const struct arch *arch, const sage_attention_shape *s,
                         int multiprocessors) {
    const double at_once = side_by_side(p, arch), wave = at_once * multiprocessors;
    const double waves = floor(blocks(p, s) / wave), rest = blocks(p, s) - waves * wave;
    return block_scores(p, s) * (waves * at_once + ceil(rest / multiprocessors));
}
