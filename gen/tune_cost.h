// tune_cost: what a tuning point costs by its geometry alone: padding of tiles, and blocks that fill the GPU's
// multiprocessors unevenly. Knows nothing of instructions: good for leaving out what cannot win, and for scaling a
// count of instructions from one shape to another. Pure. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_TUNE_COST_H
#define SAGE_GEN_TUNE_COST_H

#include "plan.h"

// A point that costs this many times the cheapest is not tried.
#define TUNE_COST_LIMIT 2.0

// **Units** scores (a query row times a key) that all blocks compute, padding included; causal: about half.
double tune_cost_scores(const struct plan *plan, const sage_attention_shape *shape);
// Of the multiprocessor that has most to do.
double tune_cost_longest(const struct plan *plan, const struct arch *arch, const sage_attention_shape *shape,
                         int multiprocessors);

#endif
