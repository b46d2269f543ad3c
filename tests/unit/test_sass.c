// Tests of the SASS reader: small listings with known loops, ways and counts; listings that are none; mutated ones.
// SPDX-License-Identifier: Apache-2.0
#include "sass_report.h"
#include "sass_tool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* -- Listings ------------------------------------------------------------------ */

// A listing from lines such as "L3:", "@!P0 BRA L3", "FADD R1, R2, R3": gives them addresses and nvdisasm's dress.
static char *dressed(const char *lines) {
    static char out[1 << 14];
    size_t at = (size_t)sprintf(out, "\t.target\tsm_90a\n\t.section\t.text.k,\"ax\",@progbits\n"
                                     "\t.sectioninfo\t@\"SHI_REGISTERS=40\"\n.text.k:\n");
    unsigned address = 0;
    for (const char *p = lines; *p; p += *p == '\n') {
        const size_t len = strcspn(p, "\n");
        const char *label = memchr(p, 'L', len) && strstr(p, " L") && strstr(p, " L") < p + len ? strstr(p, " L") : NULL;
        const bool jumps = label && (strncmp(label - 3, "BRA", 3) == 0 || label[-1] == ',' || label[-1] == 'C');
        if (p[len - 1] == ':')
            at += (size_t)sprintf(out + at, ".L_x_%.*s\n", (int)len, p);
        else if (jumps)
            at += (size_t)sprintf(out + at, "        /*%04x*/      %.*s `(.L_x_%.*s) ;\n", address, (int)(label - p), p,
                                  (int)(p + len - label - 1), label + 1);
        else
            at += (size_t)sprintf(out + at, "        /*%04x*/      %.*s ;\n", address, (int)len, p);
        address += p[len - 1] == ':' ? 0 : 16;
        p += len;
    }
    return out;
}

struct reading {
    struct sass_listing listing;
    struct sass_report report;
};

static struct reading read_text(const char *text) {
    struct reading r;
    char why[SASS_WHY_BYTES] = "";
    if (!sass_listing_read(&r.listing, text, strlen(text), why)) print_message("%s\n%s", why, text);
    assert_string_equal(why, "");
    assert_int_equal(r.listing.count, 1);
    sass_report_make(&r.report, &r.listing.kernel[0], 90);
    return r;
}

static struct reading read_lines(const char *lines) {
    return read_text(dressed(lines));
}

static void reading_free(struct reading *r) {
    sass_report_free(&r->report);
    sass_listing_free(&r->listing);
}

static void expect_refusal(const char *text, const char *reason) {
    struct sass_listing listing;
    char why[SASS_WHY_BYTES] = "";
    assert_false(sass_listing_read(&listing, text, strlen(text), why));
    if (!strstr(why, reason)) print_message("'%s' does not say '%s'\n", why, reason);
    assert_non_null(strstr(why, reason));
    assert_null(listing.kernel);
}

#define QK   "IMMA.16832.S8.S8 R4, R8.ROW, R10.COL, R4\n"
#define EX2  "MUFU.EX2 R1, R1\n"
#define FADD "FADD R2, R2, R1\n"

/* -- Loops ----------------------------------------------------------------------- */

static void test_a_loop_with_its_test_at_the_bottom(void **state) {
    (void)state;
    struct reading r = read_lines("S2R R0, SR_TID.X\nL1:\n" QK EX2 FADD "ISETP.NE.AND P0, PT, R0, RZ, PT\n@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.loop_count, 1);
    assert_int_equal(r.report.main, 0);
    assert_int_equal(r.report.steady.slots, 5);
    assert_int_equal(r.report.conditional, 0);
    assert_int_equal(r.report.skipped_count, 0);
    assert_int_equal(r.report.exponentials, 1);
    assert_int_equal(r.report.steady.of_class[SASS_MMA], 1);
    assert_int_equal(r.report.steady.of_class[SASS_BRANCH], 1);
    assert_int_equal(r.report.steady.of_class[SASS_OTHER], 0);
    assert_int_equal(r.report.registers_seen, 11);
    assert_true(r.report.steady.clocks[SASS_PIPE_XU] == 8);
    assert_true(r.report.steady.clocks[SASS_PIPE_TENSOR] == 4); // 16 * 8 * 32 at 1024 a clock
    reading_free(&r);
}

static void test_a_loop_with_its_test_at_the_top(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\nISETP.NE.AND P0, PT, R0, RZ, PT\n@!P0 BRA L2\n" QK EX2 FADD "BRA L1\nL2:\nEXIT");
    assert_int_equal(r.report.loop_count, 1);
    assert_int_equal(r.report.steady.slots, 6);
    assert_int_equal(r.report.conditional, 0);
    reading_free(&r);
}

// The entry jumps into the middle, where the test is: the loop's head is that test.
static void test_a_rotated_loop(void **state) {
    (void)state;
    struct reading r = read_lines("BRA L2\nL1:\n" QK EX2 FADD "L2:\nISETP.NE.AND P0, PT, R0, RZ, PT\n@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.loop_count, 1);
    assert_int_equal(r.report.irreducible, 0);
    assert_int_equal(r.report.steady.slots, 5);
    assert_int_equal(r.report.skipped_count, 0);
    reading_free(&r);
}

static void test_nested_loops(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" FADD "L2:\n" QK EX2 "@P0 BRA L2\n" FADD FADD "L3:\n" FADD "@P1 BRA L3\n@P2 BRA L1\nEXIT");
    assert_int_equal(r.report.loop_count, 3);
    assert_int_equal(r.report.main, 1);
    assert_int_equal(r.report.loop[0].depth, 1);
    assert_false(r.report.loop[0].innermost);
    assert_int_equal(r.report.loop[1].depth, 2);
    assert_int_equal(r.report.loop[1].parent, 0);
    assert_true(r.report.loop[1].main && r.report.loop[1].innermost);
    assert_int_equal(r.report.loop[0].all.slots, 9);
    assert_int_equal(r.report.steady.slots, 3);
    reading_free(&r);
}

// Products in an inner loop alone: the main loop is the one that has the exponentials too.
static void test_an_inner_loop_is_passed_once_and_told(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\nL2:\n" QK "@P0 BRA L2\n" EX2 "@P1 BRA L1\nEXIT");
    assert_int_equal(r.report.loop_count, 1); // both come back to the same block
    reading_free(&r);
    r = read_lines("L1:\n" FADD "L2:\n" QK "@P0 BRA L2\n" EX2 "@P1 BRA L1\nEXIT");
    assert_int_equal(r.report.loop_count, 2);
    assert_int_equal(r.report.main, 0);
    assert_int_equal(r.report.steady.slots, 5);
    assert_int_equal(r.report.inner_loops, 1);
    reading_free(&r);
}

static void test_jumps_into_a_cycle_are_told(void **state) {
    (void)state;
    struct reading r = read_lines("@P0 BRA L2\nL1:\n" QK "L2:\n" EX2 "@P1 BRA L1\nEXIT");
    assert_int_equal(r.report.loop_count, 0);
    assert_int_equal(r.report.irreducible, 1);
    assert_int_equal(r.report.main, -1);
    reading_free(&r);
}

static void test_of_two_main_loops_the_shorter_counts(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" QK EX2 "FSEL R1, R1, -INF , P1\n@P0 BRA L1\nL2:\n" QK EX2 "@P0 BRA L2\nEXIT");
    assert_int_equal(r.report.loop_count, 2);
    assert_int_equal(r.report.main, 1);
    assert_int_equal(r.report.steady.slots, 3);
    reading_free(&r);
}

/* -- What is skipped ---------------------------------------------------------------- */

static void test_a_skipped_block_is_listed_apart(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" QK "@!P1 BRA L2\nFMUL R2, R2, R3\nFMUL R4, R4, R3\nL2:\n" EX2 "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.steady.slots, 4);
    assert_int_equal(r.report.conditional, 0);
    assert_int_equal(r.report.skipped_count, 1);
    assert_int_equal(r.report.skipped[0].first, 2);
    assert_int_equal(r.report.skipped[0].last, 3);
    assert_int_equal(r.report.skipped[0].branch, 1);
    assert_int_equal(r.report.skipped[0].count.of_class[SASS_FMUL], 2);
    assert_int_equal(r.report.steady.slots + r.report.skipped[0].count.slots, r.report.loop[0].all.slots);
    reading_free(&r);
}

// The last iteration skips the products of the next tile; every other one has them.
static void test_products_and_copies_are_never_skipped(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" EX2 "@!P1 BRA L2\n" QK QK "L2:\n@P2 BRA L3\nLDGSTS.E.128 [R3], [R4.64]\nL3:\n"
                                  "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.steady.slots, 7);
    assert_int_equal(r.report.conditional, 3);
    assert_int_equal(r.report.skipped_count, 0);
    reading_free(&r);
}

static void test_of_two_ways_the_shorter_counts(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" QK "@P1 BRA L2\n" FADD FADD FADD "BRA L3\nL2:\n" FADD "L3:\n" EX2 "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.steady.slots, 5);
    assert_int_equal(r.report.conditional, 1);
    assert_int_equal(r.report.skipped_count, 1);
    assert_int_equal(r.report.skipped[0].count.slots, 4);
    reading_free(&r);
}

// As ptxas does for mbarriers: the retry stands behind the kernel, one per wait, side by side.
static void test_waits_out_of_line(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\nSYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0\n@!P0 BRA L3\nL2:\n" QK
                                  "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR5], R0\n@!P0 BRA L5\nL4:\n" EX2 "@P1 BRA L1\nEXIT\n"
                                  "L3:\nSYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0\n@!P0 BRA L3\nBRA L2\n"
                                  "L5:\nSYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR5], R0\n@!P0 BRA L5\nBRA L4");
    assert_int_equal(r.report.loop_count, 3);
    assert_int_equal(r.report.steady.slots, 7);
    assert_int_equal(r.report.skipped_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(r.report.skipped[i].is_loop);
        assert_int_equal(r.report.skipped[i].count.slots, 3);
    }
    assert_int_equal(r.report.skipped[0].branch, 1);
    assert_int_equal(r.report.skipped[1].branch, 4);
    assert_int_equal(r.report.inner_loops, 0);
    reading_free(&r);
}

/* -- Instructions -------------------------------------------------------------------- */

static void test_guards_count_and_conditions_may_be_operands(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" QK "@!P0 FADD R1, R1, R2\n@UP1 UIADD3 UR4, UR4, 0x1, URZ\nBRA.U !UP0, L2\n" FADD "L2:\n" EX2
                                  "@PT BRA L1\n" FADD "EXIT");
    assert_int_equal(r.report.guarded, 2);
    assert_int_equal(r.report.steady.slots, 6);
    assert_int_equal(r.report.skipped_count, 1);
    assert_int_equal(r.report.steady.of_class[SASS_UNIFORM], 1);
    reading_free(&r);
}

static void test_calls(void **state) {
    (void)state;
    // To a label of the kernel: a jump. With a guard, as the end of a loop:
    struct reading r = read_lines("L1:\n" QK EX2 "@!P0 CALL.REL.NOINC L2\nBRA L1\nL2:\nEXIT");
    assert_int_equal(r.report.loop_count, 1);
    assert_int_equal(r.report.steady.slots, 4);
    assert_int_equal(r.report.calls, 0);
    reading_free(&r);
    // To a function: it comes back, and is told.
    r = read_lines("L1:\n" QK EX2 "CALL.REL.NOINC `($__internal_0_$rcp)\n@P0 BRA L1\nEXIT\nRET.REL.NODEC R4 `(k)");
    assert_int_equal(r.report.steady.slots, 4);
    assert_int_equal(r.report.way_calls, 1);
    reading_free(&r);
}

static void test_indirect_branches_go_everywhere_that_is_told(void **state) {
    (void)state;
    struct reading r = read_text("\t.section\t.text.k,\"ax\"\n.L_x_1:\n/*0000*/ IMMA.16832.S8.S8 R4, R8, R10, R4 ;\n"
                                 "/*0010*/ BRX R2 -0x90 (*\"BRANCH_TARGETS .L_x_2,.L_x_3\"*) ;\n.L_x_2:\n/*0020*/ EXIT ;\n"
                                 ".L_x_3:\n/*0030*/ MUFU.EX2 R1, R1 ;\n/*0040*/ BRA `(.L_x_1) ;\n");
    assert_int_equal(r.report.loop_count, 1);
    assert_int_equal(r.report.steady.slots, 4);
    reading_free(&r);
}

// cuobjdump: no labels, the encoding behind and below.
static void test_listings_of_cuobjdump(void **state) {
    (void)state;
    struct reading r = read_text("\t\tFunction : some_kernel\n\t.headerflags\t@\"EF_CUDA_SM90\"\n"
                                 "        /*0000*/                   MUFU.EX2 R1, R1 ;    /* 0x00000a0000017a02 */\n"
                                 "                                                        /* 0x000fe40000000f00 */\n"
                                 "        /*0010*/                   HMMA.16816.F32 R4, R8, R10, R4 ; /* 0x000 */\n"
                                 "        /*0020*/              @!P0 BRA 0x0 ;  /* 0x000 */\n"
                                 "        /*0030*/                   BRA 0x30;\n");
    assert_string_equal(r.report.name, "some_kernel");
    assert_int_equal(r.report.loop_count, 2);
    assert_int_equal(r.report.steady.slots, 3);
    assert_true(r.report.steady.clocks[SASS_PIPE_TENSOR] == 4); // 16 * 8 * 16 at 512 a clock
    reading_free(&r);
}

static void test_local_memory_is_seen_anywhere(void **state) {
    (void)state;
    struct reading r = read_lines("STL [R1], R0\nL1:\n" QK EX2 "@P0 BRA L1\n@P1 LDL.LU R0, [R1]\nEXIT");
    assert_int_equal(r.report.local_accesses, 2);
    assert_int_equal(r.report.steady.of_class[SASS_LOCAL], 0);
    reading_free(&r);
}

static void test_register_banks(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" QK EX2 "FFMA R0, R2, R4, R6\n"        // three of the even bank
                                  "FFMA R0, R2.reuse, R4.reuse, R5\n"           // two
                                  "FFMA R1, R2, R4, R6\n"                       // two of them cached
                                  "FFMA R1, R2, R2, R6\nFFMA R1, R2, c[0x0][0x20], R6\n@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.conflicts, 1);
    reading_free(&r);
}

/* -- wgmma ----------------------------------------------------------------------------- */

#define FIRST(d) "IGMMA.64x128x32.S8.S8 " d ", gdesc[UR4], RZ, !UPT\n"
#define NEXT(d)  "IGMMA.64x128x32.S8.S8 " d ", gdesc[UR4], " d "\n"
#define LAST(d)  "IGMMA.64x128x32.S8.S8 " d ", gdesc[UR4], " d ", gsb0\n"
#define WAIT(n)  "WARPGROUP.DEPBAR.LE gsb0, " n "\n"

static void test_wgmma_in_turns(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\nWARPGROUP.ARRIVE\n" FIRST("R24") NEXT("R24") LAST("R24") WAIT("0x0") EX2 FADD "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.gmma.products, 3);
    assert_int_equal(r.report.gmma.groups, 1);
    assert_int_equal(r.report.gmma.waits, 1);
    assert_int_equal(r.report.gmma.cut_chains, 0);
    assert_int_equal(r.report.gmma.under, 0);
    assert_true(r.report.steady.clocks[SASS_PIPE_TENSOR] == 3 * 64);
    reading_free(&r);
}

// The group of one iteration is waited for in the next, behind the exponentials.
static void test_wgmma_under_other_work(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" EX2 FADD WAIT("0x0") FADD FIRST("R24") LAST("R24") "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.gmma.under, 3); // ex2, add, branch
    reading_free(&r);
    r = read_lines("L1:\n" FIRST("R24") LAST("R24") FADD FIRST("R88") LAST("R88") WAIT("0x1") EX2 WAIT("0x0") FADD "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.gmma.groups, 2);
    assert_int_equal(r.report.gmma.under, 2); // the first add, and ex2
    reading_free(&r);
}

static void test_serialised_wgmma(void **state) {
    (void)state;
    struct reading r = read_lines("L1:\n" "IGMMA.64x128x32.S8.S8 R24, gdesc[UR4], RZ, !UPT, gsb0\n" WAIT("0x0") LAST("R24") WAIT("0x0")
                                  LAST("R24") WAIT("0x0") EX2 "@P0 BRA L1\nEXIT");
    assert_int_equal(r.report.gmma.cut_chains, 2);
    reading_free(&r);
}

/* -- Scores -------------------------------------------------------------------------------- */

static void test_scores_of_unrolled_loops(void **state) {
    (void)state;
    struct sass_report r = {.exponentials = 66};
    assert_int_equal(sass_report_scores(&r, 64), 64);
    assert_int_equal(sass_report_scores(&r, 32), 64); // two tiles
    assert_int_equal(sass_report_scores(&r, 0), 64);
    r.exponentials = 48; // a quarter by polynomial
    assert_int_equal(sass_report_scores(&r, 64), 64);
}

/* -- Bad input --------------------------------------------------------------------------------- */

static void test_what_is_no_listing_is_refused(void **state) {
    (void)state;
    expect_refusal("", "no kernel");
    expect_refusal("\n\n{\"a\": 1}\n", "no kernel");
    expect_refusal("\t.section\t.nv.info,\"\"\n        /*0000*/ \t.byte\t0x04, 0x2f\n", "no kernel");
    expect_refusal("\t.section\t.text.k\n/*0000*/ BRA `(.L_x_9) ;\n", "line 2: the target of 'BRA `(.L_x_9)'");
    expect_refusal("\t.section\t.text.k\n/*0000*/ @P0 BRA 0x100 ;\n", "leads to no instruction");
    expect_refusal("\t.section\t.text.k\n/*0000*/ BRX R2 -0x10 ;\n", "are not told");
    expect_refusal("\t.section\t.text.k\n/*0010*/ NOP ;\n/*0000*/ NOP ;\n", "line 3: the address 0 is not above");
    expect_refusal("\t.section\t.text.k\n.L_x_1:\n/*0000*/ NOP ;\n.L_x_1:\n/*0010*/ NOP ;\n", "also in line 2");
    expect_refusal("\t.section\t.text.k\n/*0000*/ BRA ;\n", "leads to no instruction");
}

// Bytes that are changed, lines that go or come twice: an answer or a refusal, and no crash (also under sanitizers).
static void test_mutated_listings(void **state) {
    (void)state;
    static const char letters[] = "\n\t @!`().,:;/*0123456789abcdefLPRxBRAEXIT_";
    const char *seed = dressed("BRA L2\nL1:\n" QK EX2 "@!P1 BRA L3\nFMUL R2, R2, R3\nL3:\n" FIRST("R24") WAIT("0x0") "BRA.U !UP0, L4\n" FADD
                               "L4:\nCALL.REL.NOINC L5\nL5:\nL2:\n@P0 BRA L1\nL6:\nSYNCS.ARRIVE RZ, [UR4]\n@P1 BRA L6\nBRA L2\nEXIT");
    const size_t len = strlen(seed);
    uint64_t random = 88172645463325252ull;
    int read = 0;
    for (int round = 0; round < 20000; round++) {
        char text[4096], why[SASS_WHY_BYTES];
        size_t n = len;
        memcpy(text, seed, len);
        for (int i = 0; i < 1 + round % 6; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            text[random % n] = letters[(random >> 32) % (sizeof letters - 1)];
        }
        if (round % 7 == 0) n = random % len;
        struct sass_listing listing;
        if (!sass_listing_read(&listing, text, n, why)) continue;
        for (int i = 0; i < listing.count; i++) {
            struct sass_report report;
            sass_report_make(&report, &listing.kernel[i], 120);
            assert_true(report.way_count <= listing.kernel[i].count);
            sass_report_free(&report);
        }
        sass_listing_free(&listing);
        read++;
    }
    assert_true(read > 1000);
}

/* -- The tool ---- */

// Whether a search with this PATH gives the nvdisasm of the folder.
static bool is_found(const char *path, const char *folder) {
    char out[PATH_MAX] = "", why[SASS_TOOL_WHY_BYTES];
    setenv("PATH", path, 1);
    return sass_tool_find(NULL, out, why) && !strncmp(out, folder, strlen(folder));
}

static void test_what_everyone_may_write_is_not_executed(void **state) {
    (void)state;
    char folder[] = "/tmp/sage_sass_XXXXXX", tool[64], old[PATH_MAX], *path = strdup(getenv("PATH"));
    unsetenv("SAGE_NVDISASM");
    assert_non_null(getcwd(old, sizeof old));
    assert_non_null(mkdtemp(folder));
    snprintf(tool, sizeof tool, "%s/nvdisasm", folder);
    FILE *file = fopen(tool, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(tool, 0755), 0);
    assert_true(is_found(folder, folder));
    assert_int_equal(chdir(folder), 0);
    assert_false(is_found(".:", folder)); // of whatever folder this is
    assert_int_equal(chdir(old), 0);
    assert_int_equal(chmod(tool, 0777), 0);
    assert_false(is_found(folder, folder));
    assert_int_equal(chmod(tool, 0755), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_false(is_found(folder, folder));
    setenv("PATH", path, 1);
    free(path);
    remove(tool);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_loop_with_its_test_at_the_bottom),
        cmocka_unit_test(test_a_loop_with_its_test_at_the_top),
        cmocka_unit_test(test_a_rotated_loop),
        cmocka_unit_test(test_nested_loops),
        cmocka_unit_test(test_an_inner_loop_is_passed_once_and_told),
        cmocka_unit_test(test_jumps_into_a_cycle_are_told),
        cmocka_unit_test(test_of_two_main_loops_the_shorter_counts),
        cmocka_unit_test(test_a_skipped_block_is_listed_apart),
        cmocka_unit_test(test_products_and_copies_are_never_skipped),
        cmocka_unit_test(test_of_two_ways_the_shorter_counts),
        cmocka_unit_test(test_waits_out_of_line),
        cmocka_unit_test(test_guards_count_and_conditions_may_be_operands),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_indirect_branches_go_everywhere_that_is_told),
        cmocka_unit_test(test_listings_of_cuobjdump),
        cmocka_unit_test(test_local_memory_is_seen_anywhere),
        cmocka_unit_test(test_register_banks),
        cmocka_unit_test(test_wgmma_in_turns),
        cmocka_unit_test(test_wgmma_under_other_work),
        cmocka_unit_test(test_serialised_wgmma),
        cmocka_unit_test(test_what_everyone_may_write_is_not_executed),
        cmocka_unit_test(test_scores_of_unrolled_loops),
        cmocka_unit_test(test_what_is_no_listing_is_refused),
        cmocka_unit_test(test_mutated_listings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
