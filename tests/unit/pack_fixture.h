// pack_fixture: packs for tests, of made-up kernels whose bits are known: the cubin, and the source, of each role and
// target. Compiled by fake_nvrtc. SPDX-License-Identifier: Apache-2.0
#ifndef PACK_FIXTURE_H
#define PACK_FIXTURE_H

#include "runtime_fixture.h"
#include "fake_nvrtc.h"
#include "pack.h"
#include "pack_write.h"

enum pack_parts_wanted { WITH_CUBIN = 1, WITH_SOURCE = 2, WITH_BOTH = 3 };

#define PACK_FIXTURE_KERNELS_MAX 128

struct pack_fixture {
    sage_context *context; /* for its memory */
    struct pack_item item[PACK_FIXTURE_KERNELS_MAX];
    char name[PACK_FIXTURE_KERNELS_MAX][128];
    int count;
};

static inline void pack_fixture_cubin(const struct meta *meta, char out[256]) {
    snprintf(out, 256, "cubin %s %s %s %s", meta->spec, meta->role, meta->target, meta->mask);
}

// Of every target but the first line: what templates write for GPUs of one kind.
static inline void pack_fixture_source(const struct meta *meta, char out[256]) {
    snprintf(out, 256, "// %s\n%s %s %s\n", meta->target, meta->spec, meta->role, meta->mask);
}

static inline void pack_fixture_add(struct pack_fixture *p, struct meta meta, const char *role, const char *target,
                                    int parts) {
    char cubin[256], source[256];
    struct pack_item *item = &p->item[p->count];
    char *text = NULL;
    size_t len = 0;
    assert_true(p->count < PACK_FIXTURE_KERNELS_MAX);
    snprintf(meta.role, sizeof meta.role, "%s", role);
    snprintf(meta.target, sizeof meta.target, "%s", target);
    snprintf(meta.entry, sizeof meta.entry, "sage_%s_%s_%s", meta.spec, role, meta.mask);
    pack_fixture_cubin(&meta, cubin);
    pack_fixture_source(&meta, source);
    meta_set_files(&meta, source, strlen(source), "p", 1, cubin, strlen(cubin));
    assert_int_equal(meta_write(p->context, &meta, &text, &len), SAGE_OK);
    snprintf(p->name[p->count], sizeof p->name[0], "%s.%s.%s.%s.%d", meta.spec, role, target, meta.mask, p->count);
    *item = (struct pack_item){.name = p->name[p->count], .meta = {text, len}};
    if (parts & WITH_CUBIN) item->cubin = (struct cache_bytes){strdup(cubin), strlen(cubin)};
    if (parts & WITH_SOURCE) item->source = (struct cache_bytes){strdup(source), strlen(source)};
    p->count++;
}

// The three kernels that a plan of fixture_meta needs.
static inline void pack_fixture_add_set(struct pack_fixture *p, struct meta meta, const char *target, int parts) {
    pack_fixture_add(p, meta, "attn_fwd", target, parts);
    strcpy(meta.mask, "none");
    pack_fixture_add(p, meta, "quantise_q", target, parts);
    pack_fixture_add(p, meta, "quantise_kv", target, parts);
}

// Writes the pack, and forgets the kernels.
static inline void pack_fixture_write(struct pack_fixture *p, const char *dir, const char *name) {
    struct buf bytes = {0};
    pack_write(p->item, p->count, &bytes);
    fixture_write(dir, name, bytes.data, bytes.len);
    buf_free(&bytes);
    for (int i = 0; i < p->count; i++) {
        context_free(p->context, (void *)(uintptr_t)p->item[i].meta.data);
        free((void *)(uintptr_t)p->item[i].cubin.data);
        free((void *)(uintptr_t)p->item[i].source.data);
    }
    p->count = 0;
}

#endif
