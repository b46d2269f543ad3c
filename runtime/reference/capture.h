// capture: Q, K, V that a real model computed, from a .safetensors file with tensors "layer<n>.q", ".k", ".v" of
// [heads][seq][dim]. In: an open file, a layer, how many heads to join. Out: float arrays, ready for attention_problem.
// See tests/data/README.md.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_CAPTURE_H
#define SAGE_REFERENCE_CAPTURE_H

#include "attention.h"
#include "safetensors.h"

struct capture {
    int heads; /* after joining */
    size_t seq;
    int dim;          /* after joining */
    float *q, *k, *v; /* [heads][seq][dim], owned */
};

// Reads one layer. join: neighbouring heads concatenated along dim (heads of 32 joined in fours are heads of 128).
// **Owner** the caller, until capture_free. **Errors** false with a sentence in why.
bool capture_load(const struct safetensors *file, int layer, int join, struct capture *out, char *why,
                  size_t why_bytes);
void capture_free(struct capture *c);

struct attention_problem capture_problem(const struct capture *c, bool causal); // borrows the arrays

#endif
