// cases_wgmma: wgmma.mma_async with A in registers or shared memory, in all swizzles, sizes and transpositions. Shared
// memory holds random elements everywhere, so that only the right addresses give the right product.
// SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <stdlib.h>
#include <string.h>

struct input_type {
    const char *name, *shape_k, *kind, *pair; /* of A; pair: "A.B" types */
    unsigned element_bytes;
    bool is_integer, has_f16;
};
static const struct input_type types[] = {
    {"f16", "16", "mf16", "f16.f16", 2, false, true},     {"bf16", "16", "mbf16", "bf16.bf16", 2, false, false},
    {"tf32", "8", "mtf32", "tf32.tf32", 4, false, false}, {"e4m3", "32", "me4m3", "e4m3.e4m3", 1, false, true},
    {"e5m2", "32", "me5m2", "e5m2.e5m2", 1, false, true}, {"mixed", "32", "me4m3", "e4m3.e5m2", 1, false, true},
    {"s8", "32", "raw", "s8.s8", 1, true, false},         {"u8", "32", "raw", "u8.u8", 1, true, false},
    {"s8u8", "32", "raw", "s8.u8", 1, true, false}};

struct layout {
    const char *name;
    unsigned swizzle;         /* field of the descriptor: 0 none, 3 32 bytes, 2 64 bytes, 1 128 bytes */
    unsigned leading, stride; /* bytes; of A and B */
    unsigned advance;         /* bytes from the tile's start to the first k */
    bool transposed;          /* along m or n in memory; for two-byte elements */
};
static const struct layout layouts[] = {
    {"none", 0, 128, 256, 0, false},      {"none2", 0, 4096, 128, 0, false},    {"sw32", 3, 16, 256, 0, false},
    {"sw64", 2, 16, 512, 0, false},       {"sw64+32", 2, 16, 512, 32, false},   {"sw128", 1, 16, 1024, 0, false},
    {"sw128+32", 1, 16, 1024, 32, false}, {"sw128+96", 1, 16, 1024, 96, false}, {"none t", 0, 128, 4096, 0, true},
    {"none t2", 0, 4096, 128, 0, true},   {"sw32 t", 3, 256, 4096, 0, true},    {"sw32 t2", 3, 4096, 256, 0, true},
    {"sw64 t", 2, 512, 4096, 0, true},    {"sw64 t2", 2, 4096, 512, 0, true},   {"sw128 t", 1, 1024, 4096, 0, true},
    {"sw128 t2", 1, 4096, 1024, 0, true}};

enum { TILE_WORDS = 96, TILE_A_BYTES = 16384 }; /* per thread; B starts behind A: 49152 bytes in all */

struct variant {
    const struct input_type *type;
    const struct layout *a, *b; /* a NULL: registers */
    unsigned n;
    bool f16, saturate;
    int scale_a, scale_b;
    bool scale_d;
};

static void add_descriptor(FILE *body, const char *name, const struct layout *layout, unsigned at) {
    uint64_t high = (uint64_t)layout->swizzle << 62 | (uint64_t)(layout->stride >> 4) << 32 |
                    (uint64_t)(layout->leading >> 4) << 16;
    fprintf(body,
            "mov.u32 %%r3, smem; add.u32 %%r3, %%r3, %u; shr.u32 %%r3, %%r3, 4; and.b32 %%r3, %%r3, 0x3fff; "
            "cvt.u64.u32 %s, %%r3; or.b64 %s, %s, 0x%llx; ",
            at + layout->advance, name, name, name, (unsigned long long)high);
}

static unsigned registers_d(const struct variant *v) {
    return v->f16 ? v->n / 4 : v->n / 2;
}

static char *variant_text(const struct variant *v) {
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    const char *d = v->type->is_integer ? "s32" : v->f16 ? "f16" : "f32", letter = v->a == NULL ? 'b' : 'a';
    if (out == NULL) return NULL;
    fprintf(out, "wgmma.m64n%uk%s.%s.%s%s A=%s B=%s", v->n, v->type->shape_k, d, v->type->pair,
            v->saturate ? ".satfinite" : "", v->a != NULL ? v->a->name : "registers", v->b->name);
    fprintf(out, "%s%s%s: ", v->scale_d ? "" : " D=0", v->scale_a < 0 ? " -A" : "", v->scale_b < 0 ? " -B" : "");
    for (unsigned r = 0; r < registers_d(v); r++) fprintf(out, "mov.b32 $d%u, $%c%u; ", r, letter, r);
    if (v->a != NULL) add_descriptor(out, "%u1", v->a, 0);
    add_descriptor(out, "%u2", v->b, TILE_A_BYTES);
    fprintf(out, "setp.%s.u32 %%p0, %%r3, 0; wgmma.fence.sync.aligned; ", v->scale_d ? "ne" : "eq");
    fprintf(out, "wgmma.mma_async.sync.aligned.m64n%uk%s.%s.%s%s $d, %s, %%u2, %%p0", v->n, v->type->shape_k, d,
            v->type->pair, v->saturate ? ".satfinite" : "", v->a != NULL ? "%u1" : "$a");
    if (!v->type->is_integer) fprintf(out, ", %d, %d", v->scale_a, v->scale_b);
    if (v->type->element_bytes == 2) {
        if (v->a != NULL) fprintf(out, ", %d", v->a->transposed);
        fprintf(out, ", %d", v->b->transposed);
    }
    fprintf(out, "; wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;");
    return fclose(out) == 0 ? text : NULL;
}

static bool visit_variant(const struct variant *v, truth_visit *visit, void *user) {
    char kinds[128], *text = variant_text(v);
    const char *d = v->type->is_integer ? "cs32" : v->f16 ? "cf16" : "cf32";
    unsigned count = registers_d(v);
    snprintf(kinds, sizeof kinds, "%s*%u=%s%s%s*%u,tile:%s*%d@1024/128", d, count, v->a == NULL ? v->type->kind : "",
             v->a == NULL ? "*4," : "", d, count, v->type->kind, TILE_WORDS);
    struct truth_case *c = text != NULL ? truth_case_make("wgmma", text, kinds, "exact", NULL, NULL) : NULL;
    free(text);
    return c != NULL && visit(user, c);
}

/* -- What is combined ---------------------------------------------------------------------------------------------- */

static bool fits(const struct input_type *type, const struct layout *layout) {
    return !layout->transposed || type->element_bytes == 2;
}

// Every type and layout of B with A in registers, and the same layout for A in shared memory.
static bool visit_layouts(truth_visit *visit, void *user) {
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++) {
            struct variant v = {&types[t], NULL, &layouts[l], 16, false, false, 1, 1, true};
            if (!fits(v.type, v.b)) continue;
            if (!visit_variant(&v, visit, user)) return false;
            v.a = &layouts[l];
            if (!visit_variant(&v, visit, user)) return false;
        }
    return true;
}

static bool visit_sizes(truth_visit *visit, void *user) {
    static const unsigned sizes[] = {8, 24, 32, 64, 80, 128, 256};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (unsigned f16 = 0; f16 <= types[t].has_f16; f16++) {
                struct variant v = {&types[t], NULL, &layouts[5], sizes[s], f16 != 0, false, 1, 1, true};
                if (sizes[s] == 256) v.b = &layouts[2]; /* what fits behind A */
                if (!types[t].is_integer || sizes[s] != 80)
                    if (!visit_variant(&v, visit, user)) return false;
            }
    return true;
}

static bool visit_options(truth_visit *visit, void *user) {
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        struct variant v = {&types[t], &layouts[5], &layouts[3], 32, false, false, 1, 1, false};
        if (!visit_variant(&v, visit, user)) return false;
        v.scale_d = true;
        v.saturate = types[t].is_integer;
        v.scale_a = types[t].is_integer ? 1 : -1;
        if (!visit_variant(&v, visit, user)) return false;
        v.scale_b = v.scale_a;
        v.f16 = types[t].has_f16;
        v.a = NULL;
        if (!visit_variant(&v, visit, user)) return false;
    }
    return true;
}

bool truth_cases_wgmma(truth_visit *visit, void *user) {
    return visit_layouts(visit, user) && visit_sizes(visit, user) && visit_options(visit, user);
}
