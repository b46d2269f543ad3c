// vm_counts: see vm_counts.h. A main loop is an innermost loop with matrix products; loops inside it are waits.
// SPDX-License-Identifier: Apache-2.0
#include "vm_counts.h"

#include "build.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOPS_MAX = 256 };

struct counted {
    const ptxvm_kernel *kernel;
    const char *image;
    const struct linemap *map;
    struct ptxvm_kernel_info info;
    struct ptxvm_site *site;
    unsigned sites;
    int loops;
    uint64_t iterations[LOOPS_MAX]; /* of warps; 0: no matrix products */
};

/* -- Sites ---- */

static struct counted counted_read(const ptxvm_kernel *kernel, const char *image, const struct linemap *map) {
    struct counted c = {.kernel = kernel, .image = image, .map = map, .sites = ptxvm_kernel_sites(kernel)};
    ptxvm_kernel_info(kernel, &c.info);
    c.site = xcalloc(c.sites + 1, sizeof *c.site);
    for (unsigned i = 0; i < c.sites; i++) {
        struct ptxvm_site *s = &c.site[i];
        ptxvm_kernel_site(kernel, i, s);
        if (s->loop < 0 || s->loop >= LOOPS_MAX) continue;
        if (s->loop >= c.loops) c.loops = s->loop + 1;
        uint64_t *most = &c.iterations[s->loop];
        if (s->klass == PTXVM_CLASS_MMA && s->warp_executions > *most) *most = s->warp_executions;
    }
    return c;
}

static bool ran(const struct counted *c) {
    for (unsigned i = 0; i < c->sites; i++)
        if (c->site[i].warp_executions) return true;
    return false;
}

static bool in_main_loop(const struct counted *c, const struct ptxvm_site *s) {
    return s->loop >= 0 && s->loop < LOOPS_MAX && c->iterations[s->loop] > 0;
}

// Scores that a warp computes in an iteration, by the kernel's name: rows of a warp times keys of a tile. 0: no
// attention.
static double scores_of(const char *name) {
    int tile_q, tile_k, stages, warps;
    const char *at = strstr(name, "_attn_fwd_q");
    if (!at || sscanf(at, "_attn_fwd_q%d_k%d_s%d_w%d", &tile_q, &tile_k, &stages, &warps) != 4 || warps < 1) return 0;
    return (double)tile_q / warps * tile_k;
}

/* -- Text ---- */

static void put_classes(const struct counted *c, int loop, struct buf *out) {
    static const char *const texts[] = {
#define CLASS_TEXT(name, text) text,
        PTXVM_CLASSES(CLASS_TEXT)};
    const double iterations = (double)c->iterations[loop], scores = scores_of(c->info.name);
    uint64_t warps[PTXVM_CLASS_COUNT + 1] = {0}, lanes[PTXVM_CLASS_COUNT + 1] = {0};
    for (unsigned i = 0; i < c->sites; i++) {
        const struct ptxvm_site *s = &c->site[i];
        if (s->loop != loop) continue;
        warps[s->klass] += s->warp_executions;
        lanes[s->klass] += s->lane_executions;
        warps[PTXVM_CLASS_COUNT] += s->warp_executions;
        lanes[PTXVM_CLASS_COUNT] += s->lane_executions;
    }
    buf_printf(out, "  loop %d, %" PRIu64 " iterations of a warp: instructions of an iteration%s\n", loop,
               c->iterations[loop], scores > 0 ? ", thread instructions of a score" : "");
    for (int k = 0; k <= PTXVM_CLASS_COUNT; k++) {
        if (warps[k] == 0) continue;
        buf_printf(out, "    %-40s %9.1f", k < PTXVM_CLASS_COUNT ? texts[k] : "all", (double)warps[k] / iterations);
        if (scores > 0) buf_printf(out, " %9.3f", (double)lanes[k] / iterations / scores);
        buf_puts(out, "\n");
    }
}

// Conflicts of one template line: an unrolled loop has many sites.
struct conflict {
    struct buf place;
    const char *opcode;
    bool main_loop;
    unsigned sites;
    uint64_t wavefronts, wavefronts_ideal;
};

static struct conflict *conflict_of(struct conflict *list, int *count, const struct counted *c,
                                    const struct ptxvm_site *s) {
    const struct ptx_place place = ptx_image_place(c->image, c->map, BUILD_SOURCE_NAME, (int)s->ptx_line);
    struct conflict new = {.opcode = s->opcode, .main_loop = in_main_loop(c, s)};
    ptx_place_text(&place, &new.place);
    for (int i = 0; i < *count; i++) {
        struct conflict *old = &list[i];
        if (strcmp(old->place.data, new.place.data) != 0 || strcmp(old->opcode, new.opcode) != 0 ||
            old->main_loop != new.main_loop)
            continue;
        buf_free(&new.place);
        return old;
    }
    list[*count] = new;
    return &list[(*count)++];
}

static void put_conflicts(const struct counted *c, struct buf *out) {
    struct conflict *list = xcalloc(c->sites + 1, sizeof *list);
    int count = 0;
    for (unsigned i = 0; i < c->sites; i++) {
        const struct ptxvm_site *s = &c->site[i];
        if (s->wavefronts <= s->wavefronts_ideal) continue;
        struct conflict *conflict = conflict_of(list, &count, c, s);
        conflict->sites++;
        conflict->wavefronts += s->wavefronts;
        conflict->wavefronts_ideal += s->wavefronts_ideal;
    }
    for (int i = 0; i < count; i++) {
        const struct conflict *k = &list[i];
        buf_printf(out, "  bank conflicts %s %s%s, %u instructions: %" PRIu64 " wavefronts, %" PRIu64 " at least\n",
                   k->place.data, k->opcode, k->main_loop ? " in the main loop" : "", k->sites, k->wavefronts,
                   k->wavefronts_ideal);
        buf_free(&list[i].place);
    }
    free(list);
}

// Whether the instruction stores to global memory; loads, copies to shared memory and atomics count as reads.
static bool stores(const struct ptxvm_site *s) {
    return strncmp(s->opcode, "st.", 3) == 0;
}

static void put_totals(const struct counted *c, struct buf *out) {
    uint64_t read = 0, written = 0, bytes = 0, mma = 0, warps = 0, lanes = 0, wavefronts = 0, ideal = 0;
    for (unsigned i = 0; i < c->sites; i++) {
        const struct ptxvm_site *s = &c->site[i];
        *(stores(s) ? &written : &read) += s->sectors;
        bytes += s->sectors ? s->bytes : 0;
        mma += s->klass == PTXVM_CLASS_MMA ? s->warp_executions : 0;
        warps += s->warp_executions;
        lanes += s->lane_executions;
        wavefronts += s->wavefronts;
        ideal += s->wavefronts_ideal;
    }
    buf_printf(out,
               "  %" PRIu64 " warp instructions, %" PRIu64 " thread instructions, %" PRIu64 " matrix products\n"
               "  global memory: %" PRIu64 " sectors of 32 bytes read, %" PRIu64 " written, for %" PRIu64 " bytes\n"
               "  shared memory: %" PRIu64 " wavefronts, %" PRIu64 " at least\n",
               warps, lanes, mma, read, written, bytes, wavefronts, ideal);
}

static void put_kernel(void *user, const ptxvm_kernel *kernel, const char *image, const struct linemap *map) {
    struct buf *out = user;
    struct counted c = counted_read(kernel, image, map);
    if (ran(&c)) {
        buf_printf(out, "counts of %s\n", c.info.name);
        put_totals(&c, out);
        for (int loop = 0; loop < c.loops; loop++)
            if (c.iterations[loop] > 0) put_classes(&c, loop, out);
        put_conflicts(&c, out);
    }
    free(c.site);
}

void vm_counts_text(struct buf *out) {
    vm_driver_each_kernel(put_kernel, out);
}

/* -- Sums ---- */

static void add_main_loops(void *user, const ptxvm_kernel *kernel, const char *image, const struct linemap *map) {
    struct vm_main_loops *sum = user;
    struct counted c = counted_read(kernel, image, map);
    for (unsigned i = 0; i < c.sites && scores_of(c.info.name) > 0; i++) {
        if (!in_main_loop(&c, &c.site[i])) continue;
        sum->wavefronts += c.site[i].wavefronts;
        sum->wavefronts_ideal += c.site[i].wavefronts_ideal;
    }
    for (int loop = 0; loop < c.loops; loop++) sum->iterations += c.iterations[loop];
    free(c.site);
}

struct vm_main_loops vm_counts_main_loops(void) {
    struct vm_main_loops sum = {0};
    vm_driver_each_kernel(add_main_loops, &sum);
    return sum;
}
