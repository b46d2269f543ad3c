// sass_report: see sass_report.h.
// SPDX-License-Identifier: Apache-2.0
#include "sass_report.h"

#include "buf.h"
#include <stdlib.h>
#include <string.h>

enum { OPERANDS_MAX = 8 };

/* -- Counting ------------------------------------------------------------------ */

static void count_instr(struct sass_count *count, const struct sass_instr *instr, int sm) {
    double clocks;
    enum sass_pipe pipe = sass_pipe_of(instr, sm, &clocks);
    count->slots++;
    count->of_class[sass_class_of(instr)]++;
    if (pipe != SASS_PIPE_NONE) count->clocks[pipe] += clocks;
}

static void count_block(struct sass_count *count, const struct sass_report *r, const struct sass_block *block) {
    for (int i = block->first; i <= block->last; i++) count_instr(count, &r->kernel->item[i], r->sm);
}

static int highest_register(const struct sass_instr *instr) {
    int most = -1;
    for (const char *p = instr->text; *p; p++) {
        const bool begins = p[0] == 'R' && p[1] >= '0' && p[1] <= '9' && p > instr->text && strchr(" -|!~[,", p[-1]);
        int number = begins ? atoi(p + 1) : -1;
        if (number > most && number < 255) most = number;
    }
    return most;
}

static void scan_kernel(struct sass_report *r) {
    for (int i = 0; i < r->kernel->count; i++) {
        const struct sass_instr *instr = &r->kernel->item[i];
        r->local_accesses += sass_class_of(instr) == SASS_LOCAL;
        r->calls += instr->is_call;
        int most = highest_register(instr);
        if (most + 1 > r->registers_seen) r->registers_seen = most + 1;
    }
}

static bool is_exponential(const struct sass_instr *instr) {
    return sass_is(instr, "MUFU.EX2");
}

static bool holds_exponential(const struct sass_report *r, const struct sass_flow *f, const struct sass_loop *l) {
    for (int b = 0; b < f->block_count; b++)
        for (int i = f->block[b].first; l->has[b] && i <= f->block[b].last; i++)
            if (is_exponential(&r->kernel->item[i])) return true;
    return false;
}

/* -- Loops ----------------------------------------------------------------------- */

static void add_loop(struct sass_report *r, const struct sass_flow *f, int index) {
    const struct sass_loop *l = &f->loop[index];
    struct sass_loop_count *out = &r->loop[index];
    *out = (struct sass_loop_count){
        .first = r->kernel->count, .depth = l->depth, .parent = l->parent, .innermost = l->innermost};
    for (int b = 0; b < f->block_count; b++) {
        if (!l->has[b]) continue;
        if (f->block[b].first < out->first) out->first = f->block[b].first;
        if (f->block[b].last > out->last) out->last = f->block[b].last;
        count_block(&out->all, r, &f->block[b]);
    }
}

static bool encloses(const struct sass_report *r, int outer, int inner) {
    for (int at = r->loop[inner].parent; at >= 0; at = r->loop[at].parent)
        if (at == outer) return true;
    return false;
}

// Whether a loop is more of a steady state than another: it goes over several tiles, or else has the fewer instructions.
// Others are the masked or last iterations.
static bool is_steadier(const struct sass_count *a, const struct sass_count *b) {
    const int more = a->of_class[SASS_MMA] - b->of_class[SASS_MMA];
    return more != 0 ? more > 0 : a->slots < b->slots;
}

// The deepest loop with matrix products and exponentials; of several, the steadiest.
static int find_main(const struct sass_report *r, const struct sass_flow *f) {
    int found = -1;
    for (int i = 0; i < r->loop_count; i++) {
        if (r->loop[i].all.of_class[SASS_MMA] == 0 || !holds_exponential(r, f, &f->loop[i])) continue;
        if (found >= 0 && encloses(r, i, found)) continue;
        if (found < 0 || encloses(r, found, i) || is_steadier(&r->loop[i].all, &r->loop[found].all)) found = i;
    }
    return found;
}

/* -- The steady way -------------------------------------------------------------- */

static bool is_copy(const struct sass_instr *instr) {
    return sass_is(instr, "LDGSTS") || sass_is(instr, "LDG") || sass_is(instr, "UBLKCP") || sass_is(instr, "UTMALDG");
}

static struct sass_weight *weights_of(const struct sass_report *r, const struct sass_flow *f) {
    struct sass_weight *weight = xcalloc((size_t)f->block_count + 1, sizeof *weight);
    for (int b = 0; b < f->block_count; b++) {
        for (int i = f->block[b].first; i <= f->block[b].last; i++) {
            weight[b].work += sass_class_of(&r->kernel->item[i]) == SASS_MMA;
            weight[b].copies += is_copy(&r->kernel->item[i]);
            weight[b].slots++;
        }
    }
    return weight;
}

static void take_instr(struct sass_report *r, int index) {
    const struct sass_instr *instr = &r->kernel->item[index];
    r->way[r->way_count++] = index;
    count_instr(&r->steady, instr, r->sm);
    r->exponentials += is_exponential(instr);
    r->way_calls += instr->is_call;
    r->guarded += instr->guard[0] != '\0' && sass_class_of(instr) != SASS_BRANCH;
}

static void take_way(struct sass_report *r, const struct sass_flow *f, const int *way, int count) {
    const struct sass_loop *loop = &f->loop[r->main];
    r->way = xcalloc((size_t)r->kernel->count + 1, sizeof *r->way);
    for (int i = 0; i < count; i++) {
        const struct sass_block *block = &f->block[way[i]];
        for (int j = block->first; j <= block->last; j++) take_instr(r, j);
        if (!sass_flow_always(f, loop, way[i])) r->conditional += block->last - block->first + 1;
        for (int j = 0; j < f->loop_count; j++) r->inner_loops += f->loop[j].head == way[i] && j != r->main;
    }
}

/* -- What branches skip ------------------------------------------------------------- */

static bool heads_loop(const struct sass_flow *f, int b, int main) {
    for (int i = 0; i < f->loop_count; i++)
        if (i != main && f->loop[i].head == b) return true;
    return false;
}

static int entering_branch(const struct sass_flow *f, int b, const bool *on_way) {
    for (int i = 0; i < f->block[b].pred_count; i++)
        if (on_way[f->block[b].pred[i]]) return f->block[f->block[b].pred[i]].last;
    return -1;
}

static void add_skipped(struct sass_report *r, const struct sass_flow *f, int b, const bool *on_way, bool joins) {
    if (!joins) {
        struct sass_skipped *more = xcalloc((size_t)r->skipped_count + 1, sizeof *more);
        if (r->skipped_count) memcpy(more, r->skipped, (size_t)r->skipped_count * sizeof *more);
        free(r->skipped);
        r->skipped = more;
        r->skipped[r->skipped_count++] = (struct sass_skipped){.first = f->block[b].first, .branch = -1};
    }
    struct sass_skipped *s = &r->skipped[r->skipped_count - 1];
    s->last = f->block[b].last;
    s->is_loop |= heads_loop(f, b, r->main);
    if (s->branch < 0) s->branch = entering_branch(f, b, on_way);
    count_block(&s->count, r, &f->block[b]);
}

static void find_skipped(struct sass_report *r, const struct sass_flow *f, const int *way, int count) {
    bool *on_way = xcalloc((size_t)f->block_count + 1, sizeof *on_way), joins = false;
    for (int i = 0; i < count; i++) on_way[way[i]] = true;
    for (int b = 0; b < f->block_count; b++) {
        const bool skipped = f->loop[r->main].has[b] && !on_way[b];
        // Waits that lie side by side out of line belong to branches of their own.
        if (skipped) add_skipped(r, f, b, on_way, joins && entering_branch(f, b, on_way) < 0);
        joins = skipped;
    }
    free(on_way);
}

/* -- wgmma ---------------------------------------------------------------------------- */

// The accumulator, as text: "R88" of "QGMMA... R88, R24, gdesc[UR12], R88, UP0".
static size_t accumulator(const struct sass_instr *instr, const char **at) {
    const char *p = instr->text + strcspn(instr->text, " ");
    *at = p + strspn(p, " ");
    return strcspn(*at, ",");
}

// Whether b adds to what a has made; "RZ" as its addend starts anew.
static bool continues(const struct sass_instr *a, const struct sass_instr *b) {
    const char *x, *y;
    size_t n = accumulator(a, &x), m = accumulator(b, &y);
    return n == m && strncmp(x, y, n) == 0 && !strstr(b->text, ", RZ");
}

// "WARPGROUP.DEPBAR.LE gsb0, 0x1": groups that may stay in flight.
static int wait_leaves(const struct sass_instr *instr) {
    const char *comma = strrchr(instr->text, ',');
    return comma ? (int)strtol(comma + 1, NULL, 16) : 0;
}

// Round twice: what is in flight at the end of an iteration is so at the start of the next.
static void follow_gmma(struct sass_report *r) {
    struct sass_gmma *g = &r->gmma;
    const struct sass_instr *chain = NULL; // the last product, where a full wait came after it
    const struct sass_instr *last = NULL;
    for (int pass = 0, flying = 0; pass < 2; pass++) {
        *g = (struct sass_gmma){0};
        last = chain = NULL;
        for (int i = 0; i < r->way_count; i++) {
            const struct sass_instr *instr = &r->kernel->item[r->way[i]];
            if (sass_is_gmma(instr)) {
                g->products++;
                g->cut_chains += chain && continues(chain, instr);
                chain = NULL;
                last = instr;
                const bool ends_group = strstr(instr->text, "gsb0") != NULL;
                g->groups += ends_group;
                flying += ends_group;
            } else if (sass_is(instr, "WARPGROUP.DEPBAR")) {
                g->waits++;
                if (flying > wait_leaves(instr)) flying = wait_leaves(instr);
                if (flying == 0) chain = last;
            } else {
                g->arrives += sass_is(instr, "WARPGROUP.ARRIVE");
                g->under += flying > 0;
            }
        }
    }
}

/* -- Register banks --------------------------------------------------------------------- */

// Source registers of fp32 and integer arithmetic by operand place; -1: none there. The first operand is the result.
static int sources(const struct sass_instr *instr, int reg[OPERANDS_MAX], bool reuse[OPERANDS_MAX]) {
    int count = 0;
    const char *p = strchrnul(instr->text, ',');
    while (*p && count < OPERANDS_MAX) {
        p += 1 + strspn(p + 1, " -|~!");
        size_t len = strcspn(p, ",");
        reg[count] = p[0] == 'R' && p[1] >= '0' && p[1] <= '9' ? atoi(p + 1) : -1;
        const char *mark = strstr(p, ".reuse");
        reuse[count++] = mark && mark < p + len;
        p += len;
    }
    return count;
}

// Volta and later have two banks, odd and even registers, of two ports' width: three different registers of one bank
// take a clock more, unless the reuse cache of an operand's place has one of them from the instruction before.
static int count_conflicts(const struct sass_report *r) {
    int cached[OPERANDS_MAX], found = 0;
    memset(cached, -1, sizeof cached);
    for (int i = 0; i < r->way_count; i++) {
        const struct sass_instr *instr = &r->kernel->item[r->way[i]];
        int reg[OPERANDS_MAX], bank[2] = {0, 0};
        bool reuse[OPERANDS_MAX];
        int count = sources(instr, reg, reuse);
        const enum sass_class c = sass_class_of(instr);
        const bool reads_three =
            c == SASS_FFMA || c == SASS_IMAD || c == SASS_IADD || c == SASS_LOGIC || c == SASS_HALF;
        for (int j = 0; reads_three && j < count; j++) {
            bool again = reg[j] < 0 || cached[j] == reg[j];
            for (int k = 0; k < j; k++) again |= reg[k] == reg[j];
            if (!again) bank[reg[j] & 1]++;
        }
        found += bank[0] > 2 || bank[1] > 2;
        for (int j = 0; j < OPERANDS_MAX; j++) cached[j] = j < count && reuse[j] ? reg[j] : -1;
    }
    return found;
}

/* -- All together ------------------------------------------------------------------------ */

static void report_main(struct sass_report *r, const struct sass_flow *f) {
    struct sass_weight *weight = weights_of(r, f);
    int *way = xcalloc((size_t)f->block_count + 1, sizeof *way);
    int count = sass_flow_way(f, &f->loop[r->main], weight, way);
    take_way(r, f, way, count);
    find_skipped(r, f, way, count);
    follow_gmma(r);
    r->conflicts = count_conflicts(r);
    free(way);
    free(weight);
}

void sass_report_make(struct sass_report *out, const struct sass_kernel *kernel, int sm) {
    struct sass_flow flow;
    *out = (struct sass_report){.name = kernel->name, .kernel = kernel, .sm = sm};
    scan_kernel(out);
    sass_flow_make(&flow, kernel);
    out->loop_count = flow.loop_count;
    out->irreducible = flow.irreducible;
    out->loop = xcalloc((size_t)flow.loop_count + 1, sizeof *out->loop);
    for (int i = 0; i < flow.loop_count; i++) add_loop(out, &flow, i);
    out->main = find_main(out, &flow);
    if (out->main >= 0) {
        out->loop[out->main].main = true;
        report_main(out, &flow);
    }
    sass_flow_free(&flow);
}

void sass_report_free(struct sass_report *report) {
    free(report->loop);
    free(report->way);
    free(report->skipped);
    *report = (struct sass_report){0};
}

int sass_report_scores(const struct sass_report *report, int tile_scores) {
    if (tile_scores <= 0) return report->exponentials - report->exponentials % 8;
    int tiles = (report->exponentials + tile_scores / 2) / tile_scores;
    return tile_scores * (tiles > 1 ? tiles : 1);
}
