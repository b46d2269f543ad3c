// sass_report: what can be read off one kernel's SASS: its loops, the issue slots of the steady-state main loop by
// class and pipe, what branches skip, how wgmma is overlapped. Counts; judges nothing. SPDX-License-Identifier:
// Apache-2.0
#ifndef SAGE_GEN_SASS_REPORT_H
#define SAGE_GEN_SASS_REPORT_H

#include "sass_class.h"
#include "sass_flow.h"

// Instructions, and what they keep busy.
struct sass_count {
    int slots; /* one for each instruction, also those whose guard is false */
    int of_class[SASS_CLASS_COUNT];
    double clocks[SASS_PIPE_COUNT]; /* of a scheduler, for one warp */
};

// Neighbouring blocks of the main loop that are not on the steady way.
struct sass_skipped {
    int first, last; /* instructions */
    int branch;      /* the instruction on the steady way that leads here or past here; -1: none does */
    bool is_loop;    /* a loop of its own, such as a wait */
    struct sass_count count;
};

struct sass_loop_count {
    int first, last; /* lowest and highest instruction */
    int depth, parent;
    bool innermost, main;
    struct sass_count all; /* of all its blocks, inner loops too */
};

// wgmma on the steady way, walked round and round.
struct sass_gmma {
    int products, arrives; /* wgmma instructions; WARPGROUP.ARRIVE */
    int groups, waits;     /* ends of a group (gsb0); WARPGROUP.DEPBAR */
    int cut_chains;        /* accumulations into the same registers with a full wait between them: serialised */
    int under;             /* slots other than wgmma that are issued while a group is in flight */
};

struct sass_report {
    const char *name; /* borrowed, as are the instructions */
    const struct sass_kernel *kernel;
    int sm;
    int registers_seen; /* highest number in the text, plus one */
    int local_accesses, calls;
    struct sass_loop_count *loop;
    int loop_count, irreducible;
    int main; /* loop; -1: none holds both matrix products and exponentials */

    // Of the main loop:
    int *way; /* instructions of the steady way, in order */
    int way_count;
    struct sass_count steady;
    int conditional;  /* steady slots in blocks that some other way round skips */
    int guarded;      /* steady slots with a guard, branches aside */
    int exponentials; /* MUFU.EX2 on the steady way */
    int inner_loops;  /* passed once each on the steady way */
    int way_calls;    /* whose callees are not counted */
    int conflicts;    /* operands in one register bank, by the two-bank rule: an estimate */
    struct sass_gmma gmma;
    struct sass_skipped *skipped;
    int skipped_count;
};

void sass_report_make(struct sass_report *out, const struct sass_kernel *kernel, int sm);
void sass_report_free(struct sass_report *report);

// Scores that a thread makes in an iteration: tile_scores (of a K tile, by tile_q * tile_k / (32 * warps)) times the
// tiles that the iteration's exponentials make up, at least one. tile_scores 0: estimated from the exponentials.
int sass_report_scores(const struct sass_report *report, int tile_scores);

#endif
