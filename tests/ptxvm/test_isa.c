// What binders share: modifiers by name, operands by width, and that nothing is ignored.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "arena.h"
#include "isa.h"

// A statement of a kernel with registers of each width, and a binder that stands at it.
struct bench {
    struct ptxvm_module module;
    struct binder b;
    char error[300];
};

static void set_up(struct bench *t, const char *statement) {
    char source[600];
    snprintf(
        source, sizeof source,
        ".version 8.7\n.target sm_90a\n.address_size 64\n.shared .align 16 .b8 s[64];\n"
        ".visible .entry k(.param .u64 p0) { .reg .pred %%p<3>; .reg .b16 %%h<3>; .reg .b32 %%r<3>; .reg .f32 %%f<3>;\n"
        ".reg .b64 %%d<3>; .reg .b128 %%q<3>; ret; %s }",
        statement);
    memset(t, 0, sizeof *t);
    if (ptx_parse(source, strlen(source), &t->module.text, t->error, sizeof t->error)) fail_msg("%s", t->error);
    t->module.arena = arena_create(1 << 20);
    const struct ptx_function *f = &t->module.text->function[0];
    const struct ptx_statement *s = &f->statement[1]; /* the first is ret */
    t->b = (struct binder){.module = &t->module,
                           .function = f,
                           .statement = s,
                           .operand = f->operand + s->first,
                           .operands = s->operands,
                           .error = t->error,
                           .error_bytes = sizeof t->error};
}

static void tear_down(struct bench *t) {
    ptx_text_free(t->module.text);
    arena_free(t->module.arena);
}

static void modifiers(void **state) {
    (void)state;
    static const char *const rounds[] = {"rz", "rn", "rp", NULL}, *const other[] = {"x", "y", NULL};
    struct bench t;
    unsigned which = 9;
    enum ptx_type type = PTX_NONE;
    set_up(&t, "cvt.rn.satfinite.e4m3x2.f32.m16n8k32 %h1, %f1, %f2;");
    assert_true(mod_take(&t.b, "satfinite"));
    assert_false(mod_take(&t.b, "satfinite")); /* once only */
    assert_false(mod_take(&t.b, "ftz"));
    assert_int_equal(mod_choice(&t.b, other), -1);
    assert_true(mod_need(&t.b, rounds, &which));
    assert_int_equal(which, 1);
    assert_true(mod_type_need(&t.b, TYPE_BIT(PTX_E4M3X2) | TYPE_BIT(PTX_E5M2X2), &type));
    assert_int_equal(type, PTX_E4M3X2);
    assert_false(mod_type_need(&t.b, TYPE_BIT(PTX_F64), &type));
    assert_non_null(strstr(t.error, "line 6: cvt.rn.satfinite.e4m3x2.f32.m16n8k32: type .f32 is not supported"));
    assert_int_equal(t.b.status, PTXVM_ERROR_UNSUPPORTED);
    assert_int_equal(mod_type(&t.b), PTX_NONE);
    assert_string_equal(mod_next(&t.b), "m16n8k32");
    assert_null(mod_next(&t.b));
    assert_false(mod_need(&t.b, rounds, &which));
    assert_non_null(strstr(t.error, "needs one of .rz .rn .rp"));
    tear_down(&t);
}

static void ignored_modifiers(void **state) {
    (void)state;
    static const char *const left[] = {"v4", NULL};
    struct bench t;
    set_up(&t, "ld.relaxed.gpu.global.nc.L1::no_allocate.L2::128B.v4.b32 %r1, [%d1];");
    mod_ignore_memory(&t.b);
    assert_string_equal(mod_next(&t.b), "global");
    mod_ignore(&t.b, left);
    assert_string_equal(mod_next(&t.b), "b32");
    assert_null(mod_next(&t.b));
    tear_down(&t);
}

// The statement as a whole: what a family does not consume is an error.
static void nothing_is_ignored(void **state) {
    (void)state;
    static const struct {
        const char *statement, *text;
    } rows[] = {
        {"bra.uni.fast L; L:", "line 6: bra.uni.fast: modifier .fast is not supported"},
        {"bra.uni.uni L; L:", "modifier .uni is not supported"},
        {"frobnicate.b32 %r1;", "line 6: frobnicate.b32: unknown instruction"},
        {"bra %r1;", "a register where a label is expected"},
        {"exit 1;", "1 operands"},
        {"bra;", "0 operands"},
        {"mbarrier.arrive.shared.b64 _;", "nothing where an address is expected"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct bench t;
        struct instruction out = {0};
        set_up(&t, rows[k].statement);
        assert_false(isa_bind(&t.b, &out));
        if (!strstr(t.error, rows[k].text)) fail_msg("%s gave: %s", rows[k].statement, t.error);
        tear_down(&t);
    }
}

static void destinations(void **state) {
    (void)state;
    struct bench t;
    uint32_t slot, pair;
    bool wide;
    set_up(&t, "foo %r1, %d1, %p1, _, %r2|%p2, %h1, 5;");
    const struct ptx_operand *op = t.b.operand;
    assert_true(take_dst(&t.b, &op[0], 32, &slot));
    assert_int_equal(slot, op[0].slot);
    assert_false(take_dst(&t.b, &op[0], 64, &slot));
    assert_false(take_dst(&t.b, &op[0], 16, &slot));
    assert_false(take_dst(&t.b, &op[0], 1, &slot));
    assert_false(take_dst(&t.b, &op[2], 32, &slot));
    assert_true(take_dst(&t.b, &op[2], 1, &slot));
    assert_true(take_dst(&t.b, &op[3], 64, &slot));
    assert_int_not_equal(slot, 0);
    assert_false(take_dst(&t.b, &op[4], 32, &slot));
    assert_true(take_dst_pair(&t.b, &op[4], 32, &slot, &pair));
    assert_int_not_equal(pair, 0);
    assert_int_not_equal(pair, slot);
    assert_true(take_dst_pair(&t.b, &op[0], 32, &slot, &pair));
    assert_int_equal(pair, 0);
    assert_true(take_dst_wider(&t.b, &op[1], 16, &slot, &wide));
    assert_true(wide);
    assert_false(take_dst_wider(&t.b, &op[5], 32, &slot, &wide));
    assert_false(take_dst_wider(&t.b, &op[2], 16, &slot, &wide));
    assert_false(take_dst(&t.b, &op[6], 32, &slot));
    tear_down(&t);
}

static void sources(void **state) {
    (void)state;
    static const struct {
        const char *operand;
        enum ptx_type type;
        int offset; /* of the slot that is read from the operand's; -1: refused */
    } rows[] = {
        {"%r1", PTX_S32, 0},
        {"%r1", PTX_F32, 0},
        {"%r1", PTX_B64, -1},
        {"%r1", PTX_U16, -1},
        {"%r1", PTX_PRED, -1},
        {"%p1", PTX_PRED, 0},
        {"%p1", PTX_B32, -1},
        {"!%p1", PTX_PRED, -1},
        {"%q1", PTX_B128, 0},
        {"_", PTX_B32, -1},
        {"{%r1}", PTX_B32, -1},
        {"[%d1]", PTX_B32, -1},
        {"7", PTX_S32, 256},
        {"7", PTX_U64, 0},
        {"7", PTX_B16, 256},
        {"-7", PTX_S16, 384},
        {"-1", PTX_PRED, 512},
        {"1", PTX_PRED, 512},
        {"2", PTX_PRED, -1},
        {"-7", PTX_F16, 384},
        {"65535", PTX_U16, 256},
        {"65536", PTX_U16, -1},
        {"-32769", PTX_S16, -1},
        {"4294967296", PTX_U32, -1},
        {"-2147483649", PTX_S32, -1},
        {"0xFFFFFFFFFFFFFFFF", PTX_U64, 0},
        {"0xFFFFFFFFFFFFFFFF", PTX_U32, -1},
        {"7", PTX_F32, -1},
        {"7", PTX_F64, -1},
        {"7", PTX_B128, -1},
        {"0f3F800000", PTX_F32, 256},
        {"0f3F800000", PTX_B32, 256},
        {"0f3F800000", PTX_F64, 0},
        {"0f3F800000", PTX_U32, -1},
        {"0f3F800000", PTX_B64, -1},
        {"0f3F800000", PTX_F16, -1},
        {"1.0", PTX_F32, 256},
        {"1.0", PTX_F64, 0},
        {"1.0", PTX_B64, 0},
        {"1.0", PTX_B32, -1},
        {"%tid.x", PTX_U32, 256},
        {"%tid.x", PTX_B64, 0},
        {"%clock", PTX_U32, -1},
        {"%is_explicit_cluster", PTX_PRED, 512},
        {"%is_explicit_cluster", PTX_U32, -1},
        {"s", PTX_U32, 256},
        {"s+4", PTX_U64, 0},
        {"s", PTX_U16, -1},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct bench t;
        char statement[100];
        uint32_t slot = 0;
        snprintf(statement, sizeof statement, "foo %s;", rows[k].operand);
        set_up(&t, statement);
        bool taken = take_src(&t.b, t.b.operand, rows[k].type, &slot);
        if (taken != (rows[k].offset >= 0) || (taken && slot != t.b.operand->slot + (uint32_t)rows[k].offset))
            fail_msg("%s as .%s: %s, +%u", rows[k].operand, ptx_type_text(rows[k].type), taken ? "taken" : t.error,
                     slot - t.b.operand->slot);
        tear_down(&t);
    }
}

static void other_operands(void **state) {
    (void)state;
    struct bench t;
    uint32_t slot;
    bool wide, negated;
    int64_t value;
    enum ptx_space space;
    set_up(&t, "foo !%p1, %d1, 5, [%r1+-8], [s+12], [%h1], [64];");
    const struct ptx_operand *op = t.b.operand;
    assert_true(take_src_pred(&t.b, &op[0], &slot, &negated));
    assert_true(negated);
    assert_true(take_src_wider(&t.b, &op[1], PTX_U16, &slot, &wide));
    assert_true(wide);
    assert_true(take_src_wider(&t.b, &op[2], PTX_U32, &slot, &wide));
    assert_false(wide);
    assert_true(take_constant(&t.b, &op[2], 0, 5, &value));
    assert_int_equal(value, 5);
    assert_false(take_constant(&t.b, &op[2], 0, 4, &value));
    assert_false(take_constant(&t.b, &op[1], 0, 4, &value));
    assert_true(take_address(&t.b, &op[3], &slot, &wide, &value, &space));
    assert_true(!wide && value == -8 && space == PTX_GENERIC && slot == op[3].slot);
    assert_true(take_address(&t.b, &op[4], &slot, &wide, &value, &space));
    assert_true(wide && value == 12 && space == PTX_SHARED);
    assert_false(take_address(&t.b, &op[5], &slot, &wide, &value, &space));
    assert_true(take_address(&t.b, &op[6], &slot, &wide, &value, &space));
    assert_true(wide && value == 64 && space == PTX_GENERIC);
    assert_false(take_address(&t.b, &op[1], &slot, &wide, &value, &space));
    assert_true(need_operands(&t.b, 7, 7));
    assert_false(need_operands(&t.b, 1, 6));
    tear_down(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modifiers),    cmocka_unit_test(ignored_modifiers), cmocka_unit_test(nothing_is_ignored),
        cmocka_unit_test(destinations), cmocka_unit_test(sources),           cmocka_unit_test(other_operands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
