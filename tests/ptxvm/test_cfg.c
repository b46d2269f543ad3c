// Control flow: reconvergence and loops of hand-made graphs, and of random ones against the definition.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cfg.h"
#include "isa.h"

enum { MOST = 64, AT_EXIT = -1 };

struct code {
    struct instruction i[MOST];
    int32_t loop[MOST];
    uint32_t count;
};

static void plain(struct code *c) {
    c->i[c->count++] = (struct instruction){.target = TARGET_NEXT};
}

static void jump(struct code *c, uint32_t target, bool guarded) {
    c->i[c->count++] = (struct instruction){.target = target, .guard_slot = guarded ? 64 : 0};
}

static void leave(struct code *c, bool guarded) {
    jump(c, TARGET_EXIT, guarded);
}

static void build(struct code *c) {
    assert_int_equal(cfg_build(c->i, c->count, c->loop), PTXVM_OK);
}

static int meets(const struct code *c, uint32_t k) {
    return c->i[k].reconverge == UINT32_MAX ? AT_EXIT : (int)c->i[k].reconverge;
}

/* -- Hand-made ----------------------------------------------------------------------------------------------------- */

static void if_else(void **state) {
    (void)state;
    struct code c = {0};
    jump(&c, 3, true);  /* 0 */
    plain(&c);          /* 1 */
    jump(&c, 4, false); /* 2 */
    plain(&c);          /* 3 */
    plain(&c);          /* 4 */
    leave(&c, false);   /* 5 */
    build(&c);
    assert_int_equal(meets(&c, 0), 4);
    for (unsigned k = 0; k < c.count; k++) assert_int_equal(c.loop[k], -1);
}

static void nested_loops(void **state) {
    (void)state;
    struct code c = {0};
    plain(&c);         /* 0 */
    plain(&c);         /* 1 outer header */
    plain(&c);         /* 2 inner header */
    jump(&c, 2, true); /* 3 inner back edge */
    plain(&c);         /* 4 */
    jump(&c, 1, true); /* 5 outer back edge */
    plain(&c);         /* 6 */
    jump(&c, 7, true); /* 7 a loop of one instruction */
    leave(&c, false);  /* 8 */
    build(&c);
    const int32_t expected[] = {-1, 0, 1, 1, 0, 0, -1, 2, -1};
    for (unsigned k = 0; k < c.count; k++) assert_int_equal(c.loop[k], expected[k]);
    assert_int_equal(meets(&c, 3), 4);
    assert_int_equal(meets(&c, 5), 6);
    assert_int_equal(meets(&c, 7), 8);
}

// Lanes that return early do not keep the others apart: `if (a) { if (b) return; x } y; return`.
static void early_return(void **state) {
    (void)state;
    struct code c = {0};
    jump(&c, 3, true); /* 0 to y */
    jump(&c, 5, true); /* 1 return */
    plain(&c);         /* 2 x */
    plain(&c);         /* 3 y */
    plain(&c);         /* 4 */
    leave(&c, false);  /* 5 */
    build(&c);
    assert_int_equal(meets(&c, 0), 3);
    memset(&c, 0, sizeof c);
    jump(&c, 3, true);
    leave(&c, true); /* the same with @p ret */
    plain(&c);
    plain(&c);
    leave(&c, false);
    build(&c);
    assert_int_equal(meets(&c, 0), 3);
}

// What loops before it leaves may be a partner of the others: they do not wait for it.
static void long_early_return(void **state) {
    (void)state;
    struct code c = {0};
    jump(&c, 4, true);  /* 0 */
    plain(&c);          /* 1 a loop ... */
    jump(&c, 1, true);  /* 2 */
    jump(&c, 6, false); /* 3 ... that ends in the return */
    plain(&c);          /* 4 the others */
    plain(&c);          /* 5 */
    leave(&c, false);   /* 6 */
    build(&c);
    assert_int_equal(meets(&c, 0), 6);
    assert_int_equal(meets(&c, 2), 3);
    assert_int_equal(c.loop[1], 0);
}

static void table_of_targets(void **state) {
    (void)state;
    static const uint32_t targets[] = {1, 3, 5};
    struct code c = {0};
    c.i[c.count++] = (struct instruction){.target = TARGET_TABLE, .slots = targets, .slot_count = 3};
    plain(&c);
    jump(&c, 6, false);
    plain(&c);
    jump(&c, 6, false);
    plain(&c);
    plain(&c); /* 6 */
    leave(&c, false);
    build(&c);
    assert_int_equal(meets(&c, 0), 6);
}

static void odd_graphs(void **state) {
    (void)state;
    struct code c = {0};
    build(&c); /* no instruction at all */
    jump(&c, 0, false);
    build(&c); /* endless */
    assert_int_equal(c.loop[0], 0);
    memset(&c, 0, sizeof c);
    jump(&c, 2, true); /* two entries into one cycle */
    plain(&c);
    plain(&c);
    jump(&c, 1, true);
    build(&c); /* and no end but the end of the text */
    assert_int_equal(meets(&c, 0), 2);
    memset(&c, 0, sizeof c);
    jump(&c, 1, true); /* target: behind the last instruction */
    build(&c);
    jump(&c, 3, true);
    assert_int_equal(cfg_build(c.i, c.count, c.loop), PTXVM_ERROR_ARGUMENT);
}

// Many nested loops and a long chain of branches: neither recursion nor quadratic time.
static void large(void **state) {
    (void)state;
    enum { NESTED = 200000 };
    struct instruction *code = calloc(2 * NESTED + 1, sizeof *code);
    int32_t *loop = calloc(2 * NESTED + 1, sizeof *loop);
    assert_true(code && loop);
    for (uint32_t k = 0; k < NESTED; k++) {
        code[k].target = TARGET_NEXT;
        code[NESTED + k] = (struct instruction){.target = NESTED - 1 - k, .guard_slot = 64};
    }
    code[2 * NESTED].target = TARGET_EXIT;
    assert_int_equal(cfg_build(code, 2 * NESTED + 1, loop), PTXVM_OK);
    assert_int_equal(loop[0], 0);
    assert_int_equal(loop[NESTED - 1], NESTED - 1);
    assert_int_equal(loop[2 * NESTED - 1], 0);
    assert_int_equal(code[NESTED].reconverge, NESTED + 1);
    free(code);
    free(loop);
}

/* -- Random graphs against the definition -------------------------------------------------------------------------- */

static uint32_t random_below(uint32_t *state, uint32_t bound) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % bound;
}

// Can `from` reach the exit (count) without passing `without`?
static bool reaches_exit(const struct code *c, uint32_t from, uint32_t without) {
    bool seen[MOST] = {false};
    uint32_t stack[2 * MOST], depth = 0;
    stack[depth++] = from;
    while (depth) {
        uint32_t k = stack[--depth];
        if (k == without) continue;
        if (k >= c->count || c->i[k].target == TARGET_EXIT) return true;
        if (seen[k]) continue;
        seen[k] = true;
        if (c->i[k].target == TARGET_NEXT || c->i[k].guard_slot) stack[depth++] = k + 1;
        if (c->i[k].target < TARGET_TABLE) stack[depth++] = c->i[k].target;
    }
    return false;
}

// The first instruction that all paths from k to the exit have in common.
static int meet_by_definition(const struct code *c, uint32_t k) {
    for (uint32_t q = 0; q < c->count; q++) {
        if (q == k || reaches_exit(c, k, q)) continue;
        bool first = true; /* no other common instruction lies between k and q */
        for (uint32_t o = 0; o < c->count && first; o++)
            if (o != k && o != q && !reaches_exit(c, k, o)) first = !reaches_exit(c, q, o);
        if (first) return (int)q;
    }
    return AT_EXIT;
}

static void random_graphs(void **state) {
    (void)state;
    uint32_t seed = 1, compared = 0;
    for (int round = 0; round < 3000; round++) {
        struct code c = {0};
        uint32_t count = 4 + random_below(&seed, 28);
        while (c.count < count - 2) {
            uint32_t kind = random_below(&seed, 5);
            if (kind < 2)
                plain(&c);
            else
                jump(&c, random_below(&seed, count - 1), kind < 4);
        }
        plain(&c);
        leave(&c, false); /* the only exit, and no branch leads straight to it */
        bool all_end = true;
        for (uint32_t k = 0; k < c.count; k++) all_end &= reaches_exit(&c, k, UINT32_MAX);
        if (!all_end) continue;
        build(&c);
        for (uint32_t k = 0; k < c.count; k++) {
            if (c.i[k].target >= TARGET_TABLE) continue;
            assert_int_equal(meets(&c, k), meet_by_definition(&c, k));
            compared++;
        }
    }
    assert_true(compared > 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(if_else),
        cmocka_unit_test(nested_loops),
        cmocka_unit_test(early_return),
        cmocka_unit_test(long_early_return),
        cmocka_unit_test(table_of_targets),
        cmocka_unit_test(odd_graphs),
        cmocka_unit_test(large),
        cmocka_unit_test(random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
