// variants: the tuning points of a spec, in a fixed order: the first entry of each list first, warps innermost, then overlap and
// in_place outermost.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VARIANTS_H
#define SAGE_GEN_VARIANTS_H

#include "spec.h"

struct variant {
    int tile_q;   /* query rows of a block */
    int tile_k;   /* keys of a tile */
    int stages;   /* K/V tiles in flight */
    int warps;    /* warps that compute */
    int in_place; /* tiles that the tensor core sums, where more than the spec's pv.accumulate.flush_tiles; 0: as the spec has it */
    enum spec_overlap overlap; /* where it is not the spec's schedule.overlap; SPEC_OVERLAP_NONE: as the spec has it */
};

#define VARIANT_TEXT_MAX 40

// Tuning points of the spec, applicable or not.
int variants_count(const struct spec *spec);
struct variant variants_get(const struct spec *spec, int index);
// "q128_k64_s2_w8", "q192_k128_s3_w12_f8" of 8 tiles in place, "..._qk" with overlap qk; `out` has VARIANT_TEXT_MAX bytes.
void variant_text(struct variant v, char *out);
// The tuning point of that name. false: not one of this spec's.
bool variants_find(const struct spec *spec, const char *text, struct variant *out);

#endif
