// variants: enumerates the product of the tuning lists of a spec. Knows nothing of GPUs; plan_applicable() judges the points.
// SPDX-License-Identifier: Apache-2.0
#include "variants.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int variants_count(const struct spec *spec)
{
    return spec->tile_q.count * spec->tile_k.count * spec->stages.count * spec->warps.count * spec->in_place.count *
           spec->tune_overlap.count;
}

struct variant variants_get(const struct spec *spec, int index)
{
    assert(index >= 0 && index < variants_count(spec));
    struct variant v;
    v.warps = spec->warps.item[index % spec->warps.count];
    index /= spec->warps.count;
    v.stages = spec->stages.item[index % spec->stages.count];
    index /= spec->stages.count;
    v.tile_k = spec->tile_k.item[index % spec->tile_k.count];
    index /= spec->tile_k.count;
    v.tile_q = spec->tile_q.item[index % spec->tile_q.count];
    index /= spec->tile_q.count;
    v.overlap = (enum spec_overlap)spec->tune_overlap.item[index % spec->tune_overlap.count];
    if (v.overlap == spec->overlap) v.overlap = SPEC_OVERLAP_NONE;
    v.in_place = spec->in_place.item[index / spec->tune_overlap.count];
    if (v.in_place <= spec->flush_tiles) v.in_place = 0;
    return v;
}

void variant_text(struct variant v, char *out)
{
    int used = snprintf(out, VARIANT_TEXT_MAX, "q%d_k%d_s%d_w%d", v.tile_q, v.tile_k, v.stages, v.warps);
    if (v.in_place) used += snprintf(out + used, (size_t)(VARIANT_TEXT_MAX - used), "_f%d", v.in_place);
    if (v.overlap) snprintf(out + used, (size_t)(VARIANT_TEXT_MAX - used), "_%s", spec_overlap_text(v.overlap));
}

bool variants_find(const struct spec *spec, const char *text, struct variant *out)
{
    for (int i = 0; i < variants_count(spec); i++) {
        char name[VARIANT_TEXT_MAX];
        variant_text(variants_get(spec, i), name);
        if (strcmp(name, text) == 0) {
            *out = variants_get(spec, i);
            return true;
        }
    }
    return false;
}
