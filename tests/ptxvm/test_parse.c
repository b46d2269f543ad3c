// The parser: what it makes of each form of PTX, what it refuses and on which line, and that limits hold.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "isa.h"

#define HEAD ".version 8.7\n.target sm_90a\n.address_size 64\n" /* three lines */

static struct ptx_text *parse(const char *source) {
    struct ptx_text *text = NULL;
    char error[300] = "";
    ptxvm_status status = ptx_parse(source, strlen(source), &text, error, sizeof error);
    if (status != PTXVM_OK) print_error("%s\n", error);
    assert_int_equal(status, PTXVM_OK);
    assert_non_null(text);
    return text;
}

// A kernel with this body; the body starts on line 5.
static struct ptx_text *parse_body_of(const char *body) {
    static char source[8192];
    int bytes =
        snprintf(source, sizeof source, HEAD ".visible .entry k(.param .u64 p0, .param .u32 p1) {\n%s\n}\n", body);
    assert_in_range(bytes, 1, sizeof source - 1);
    return parse(source);
}

static const struct ptx_operand *operand(const struct ptx_text *text, unsigned statement, unsigned k) {
    const struct ptx_function *f = &text->function[0];
    assert_in_range(statement, 0, f->statements - 1);
    assert_in_range(k, 0, f->statement[statement].operands - 1);
    return &f->operand[f->statement[statement].first + k];
}

// What a warp's register file holds at `slot` in lane 5 after the constants are filled in.
static uint64_t constant_at(const struct ptx_function *f, uint32_t slot, bool wide) {
    for (unsigned k = 0; k < f->constants; k++)
        if (f->constant[k].slot == slot && f->constant[k].wide == wide && !f->constant[k].is_mask)
            return f->constant[k].value;
    fail_msg("no constant at slot %u", slot);
    return 0;
}

/* -- Modules ------------------------------------------------------------------------------------------------------- */

static void heads(void **state) {
    (void)state;
    struct ptx_text *text =
        parse("//\n// comment\n/* more\n */ .version 9.0 .target sm_120a, debug .address_size 64\n"
              ".file 1 \"/x/y.cu\", 123, 456\n.section .debug_str { L: .b8 1, 2, 3 { } .b8 \"}\" }\n"
              ".weak .entry a() .maxntid 8, 4, 2 .minnctapersm 2 .reqnctapercluster 2, 1, 1 { ret; }\n"
              ".visible .entry b(.param .align 64 .b8 b_0[128], .param .u8 b_1,\n"
              " .param .u64 .ptr .global .align 16 b_2) .reqntid 32 .maxnreg 64 .explicitcluster\n"
              ".pragma \"nounroll\"; { exit; }\n"
              ".extern .func (.param .b32 r) vprintf (.param .b64 x, .param .b64 y);\n"
              ".func (.param .b32 r) f (.param .b32 x, .param .b64 y) .noreturn { ret; }\n");
    assert_int_equal(text->target_sm, 120);
    assert_string_equal(text->target, "sm_120a");
    assert_int_equal(text->version[0], 9);
    assert_int_equal(text->functions, 4);
    const struct ptx_function *a = &text->function[0], *b = &text->function[1], *v = &text->function[2],
                              *f = &text->function[3];
    assert_int_equal(a->maxntid, 64);
    assert_int_equal(a->reqnctapercluster[0], 2);
    assert_int_equal(a->parameters, 0);
    assert_true(b->is_entry && b->is_defined);
    assert_int_equal(b->parameters, 3);
    assert_int_equal(b->parameter[0].bytes, 128);
    assert_int_equal(b->parameter[1].offset, 128);
    assert_int_equal(b->parameter[2].offset, 136);
    assert_int_equal(b->parameter_bytes, 144);
    assert_int_equal(b->reqntid[0], 32);
    assert_int_equal(b->maxnreg, 64);
    assert_true(!v->is_defined && !v->is_entry);
    assert_true(f->is_defined && !f->is_entry);
    assert_int_equal(f->returns, 1);
    assert_int_equal(f->parameters, 3);
    ptx_text_free(text);
}

static void variables(void **state) {
    (void)state;
    struct ptx_text *text = parse(
        HEAD ".global .align 4 .u32 a = 7, a2;\n.global .align 8 .b8 b[4] = {1, 0xff, -1, 0};\n"
             ".const .align 16 .f32 c[2][3] = { {1.5, 0f40000000}, {-2.5e-1} };\n"
             ".global .u64 d[3] = {generic(a), b+2, c};\n.const .b16 e[] = {1, 2, 3};\n.global .f64 g = "
             "0d3FF0000000000000;\n"
             ".extern .shared .align 128 .b8 dyn[];\n.shared .align 4 .b8 unused[100];\n"
             ".visible .entry k() { .shared .align 16 .b8 s[20]; .shared .u32 t; .local .align 8 .b8 l[24];\n"
             ".reg .b64 %r<9>;\n mov.u64 %r0, dyn; mov.u64 %r1, t; mov.u64 %r2, s+4; mov.u64 %r3, l; mov.u64 %r4, a2;\n"
             "ld.shared.u64 %r5, [dyn+8]; ret; }\n");
    assert_int_equal(text->symbols, 11);
    assert_int_equal(text->global_bytes, 48);
    assert_memory_equal(text->symbol[2].initial, "\x01\xff\xff\x00", 4);
    const struct ptx_symbol *c = &text->symbol[3];
    const float expected[] = {1.5f, 2.0f, 0.0f, -0.25f};
    assert_int_equal(c->bytes, 24);
    assert_int_equal(c->initial_bytes, 16);
    assert_memory_equal(c->initial, expected, 16);
    assert_int_equal(text->relocations, 3);
    assert_int_equal(text->relocation[1].offset, 24);
    assert_int_equal(text->relocation[1].value, 8 + 2);
    assert_int_equal(text->relocation[2].target, PTX_CONST);
    assert_int_equal(text->symbol[5].bytes, 6);
    const double one = 1.0;
    assert_memory_equal(text->symbol[6].initial, &one, 8);
    const struct ptx_function *f = &text->function[0];
    assert_int_equal(f->shared_bytes, 24); /* `unused` is in no function */
    assert_int_equal(f->dynamic_shared, 128);
    assert_int_equal(f->shared_align, 128);
    assert_int_equal(f->local_bytes, 24);
    assert_int_equal(operand(text, 0, 1)->value, 128);
    assert_int_equal(operand(text, 0, 1)->space, PTX_SHARED);
    assert_int_equal(constant_at(f, operand(text, 0, 1)->slot, true), 128);
    assert_int_equal(operand(text, 1, 1)->value, 20);
    assert_int_equal(operand(text, 2, 1)->value, 4);
    assert_int_equal(operand(text, 4, 1)->value, 4);
    const struct ptx_operand *address = operand(text, 5, 1);
    assert_true(address->base_is_symbol && address->is_constant);
    assert_int_equal(address->value, 136);
    assert_int_equal(constant_at(f, address->slot, true), 0);
    ptx_text_free(text);
}

/* -- Statements ---------------------------------------------------------------------------------------------------- */

static void instructions(void **state) {
    (void)state;
    struct ptx_text *text = parse_body_of(
        ".reg .pred %p<3>; .reg .b32 %r<8>, x; .reg .b64 %rd<4>;\n" /* 5 */
        "@!%p1 mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3\n"
        " {%r0, %r1}, {%r2,%r3}, {x}, {%r4,%r5}, %r6, {1, 2}, %r7, {-3, 0};\n"          /* 7 */
        "setp.lt.s32 %p0|%p1, %r0, -5;\n"                                               /* 8 */
        "shfl.sync.bfly.b32 %r1|%p2, %r2, 1, 0x1f, -1; elect.sync _|%p1, 0xffffffff;\n" /* 9 */
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, 64}], "
        "[%r3+8];\n"
        ".loc 1 77 3\n ld.param.u64 %rd2, [p0]; .loc 2 5 1, function_name L, inlined_at 1 9 9\n ld.param.u32 %r1, "
        "[p1+-4];\n"
        "selp.b32 %r1, 1, 0, !%p1; mov.u32 %r2, %tid.x; mov.u64 %rd1, %clock64; bar.sync 0; mov.u32 %r1, WARP_SZ;");
    const struct ptx_function *f = &text->function[0];
    const struct ptx_statement *mma = &f->statement[0];
    assert_string_equal(mma->opcode, "mma");
    assert_int_equal(mma->modifiers, 13);
    assert_string_equal(mma->modifier[5], "kind::mxf4nvf4");
    assert_string_equal(mma->modifier[7], "scale_vec::4X");
    assert_string_equal(mma->modifier[12], "ue4m3");
    assert_int_equal(mma->operands, 8);
    assert_int_equal(mma->line, 6);
    assert_true(mma->guard_negated && mma->guard_slot);
    const struct ptx_operand *d = operand(text, 0, 0), *selector = operand(text, 0, 7);
    assert_int_equal(d->kind, PTX_VECTOR);
    assert_int_equal(d->count, 2);
    assert_int_equal(f->operand[d->first].kind, PTX_REG);
    assert_int_not_equal(f->operand[d->first].slot, f->operand[d->first + 1].slot);
    assert_int_equal(f->operand[selector->first].value, -3);
    assert_int_equal(operand(text, 1, 0)->type, PTX_PRED);
    assert_int_equal(operand(text, 1, 0)->slot_pair, mma->guard_slot);
    assert_int_equal(f->statement[1].line, 8);
    assert_int_equal(operand(text, 2, 0)->type, PTX_B32);
    assert_int_equal(operand(text, 3, 0)->kind, PTX_SINK);
    const struct ptx_operand *map = operand(text, 4, 1);
    assert_int_equal(map->kind, PTX_ADDRESS);
    assert_int_equal(map->count, 2);
    assert_int_equal(f->operand[map->first + 1].value, 64);
    assert_int_equal(operand(text, 4, 2)->value, 8);
    assert_int_equal(f->statement[4].source_line, 0);
    assert_int_equal(f->statement[5].source_line, 77);
    assert_int_equal(operand(text, 5, 1)->value, 0);
    assert_int_equal(operand(text, 5, 1)->space, PTX_PARAM);
    assert_int_equal(f->statement[6].source_line, 77); /* file 2 is another file */
    assert_int_equal(operand(text, 6, 1)->value, 8 - 4);
    assert_true(operand(text, 7, 3)->negated);
    assert_int_equal(operand(text, 8, 1)->special, PTX_SPECIAL_TID_X);
    assert_int_not_equal(operand(text, 8, 1)->slot, 0);
    assert_int_equal(operand(text, 9, 1)->slot, 0); /* changes */
    assert_int_equal(f->statement[10].operands, 1);
    assert_int_equal(operand(text, 11, 1)->value, 32);
    ptx_text_free(text);
}

static uint64_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t bits_of_double(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void numbers(void **state) {
    (void)state;
    const struct {
        const char *text;
        enum ptx_type type;
        int64_t value;
        uint64_t wide, narrow;
    } rows[] = {
        {"0", PTX_S64, 0, 0, 0},
        {"42U", PTX_S64, 42, 42, 42},
        {"0x1F", PTX_S64, 31, 31, 31},
        {"017", PTX_S64, 15, 15, 15},
        {"0b101", PTX_S64, 5, 5, 5},
        {"-1", PTX_S64, -1, UINT64_MAX, UINT32_MAX},
        {"~5", PTX_S64, -6, UINT64_MAX - 5, UINT32_MAX - 5},
        {"-9223372036854775808", PTX_S64, INT64_MIN, UINT64_C(1) << 63, 0},
        {"0xFFFFFFFFFFFFFFFF", PTX_U64, -1, UINT64_MAX, UINT32_MAX},
        {"0f3FC00000", PTX_F32, 0x3FC00000, bits_of_double(1.5), 0x3FC00000},
        {"0f7F800001", PTX_F32, 0x7F800001, 0, 0x7F800001}, /* a signalling NaN stays as it is in 32 bits */
        {"-0f3FC00000", PTX_F32, 0xBFC00000, bits_of_double(-1.5), 0xBFC00000},
        {"0d3FB999999999999A", PTX_F64, 0x3FB999999999999A, bits_of_double(0.1), bits_of_float(0.1f)},
        {"0.1", PTX_F64, 0x3FB999999999999A, bits_of_double(0.1), bits_of_float(0.1f)},
        {"1e3", PTX_F64, (int64_t)bits_of_double(1000.0), bits_of_double(1000.0), bits_of_float(1000.0f)},
        {"-12.5E-1", PTX_F64, (int64_t)bits_of_double(-1.25), bits_of_double(-1.25), bits_of_float(-1.25f)},
        {"1.", PTX_F64, (int64_t)bits_of_double(1.0), bits_of_double(1.0), bits_of_float(1.0f)},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        char body[200];
        snprintf(body, sizeof body, ".reg .b64 %%rd<2>; foo.b64 %%rd1, %s;", rows[k].text);
        struct ptx_text *text = parse_body_of(body);
        const struct ptx_operand *op = operand(text, 0, 1);
        assert_int_equal(op->kind, PTX_IMMEDIATE);
        assert_int_equal(op->type, rows[k].type);
        assert_int_equal(op->value, rows[k].value);
        if (rows[k].wide || !rows[k].narrow)
            assert_int_equal(constant_at(&text->function[0], op->slot, true), rows[k].wide);
        assert_int_equal(constant_at(&text->function[0], op->slot + 256, false), rows[k].narrow);
        ptx_text_free(text);
    }
}

// 16-bit readers get 16 bits, predicates all lanes.
static void copies_of_numbers(void **state) {
    (void)state;
    struct ptx_text *text = parse_body_of(".reg .b16 %h<2>; foo %h0, -2; foo %h0, -1; foo %h0, -2;");
    const struct ptx_function *f = &text->function[0];
    assert_int_equal(constant_at(f, operand_slot16(operand(text, 0, 1)), false), 0xfffe);
    assert_int_equal(operand(text, 2, 1)->slot, operand(text, 0, 1)->slot);
    unsigned masks = 0;
    for (unsigned k = 0; k < f->constants; k++) masks += f->constant[k].is_mask;
    assert_int_equal(masks, 1);
    for (unsigned k = 0; k < f->constants; k++) /* nothing overlaps, all is inside */
        for (unsigned o = 0; o < f->constants; o++) {
            uint32_t end = f->constant[k].slot + (f->constant[k].wide ? 256 : f->constant[k].is_mask ? 64 : 128);
            assert_true(end <= f->file_bytes);
            assert_true(k == o || f->constant[o].slot >= end || f->constant[o].slot < f->constant[k].slot);
        }
    ptx_text_free(text);
}

static void scopes_and_labels(void **state) {
    (void)state;
    struct ptx_text *text =
        parse_body_of(".reg .b32 %r<4>; .reg .pred p; .reg .b32 a1<3>;\n"
                      "mov.b32 %r1, %r2; { .reg .b32 %r<2>; .reg .b64 x; again: mov.b32 %r1, %r2; mov.b64 x, x; @p bra "
                      "again; bra done; }\n"
                      "{ .reg .b32 x; again: mov.b32 %r1, x; @p bra again; mov.b32 a11, a12; } bra end;\n"
                      "table: .branchtargets done, end;\n brx.idx %r1, table; done: ret; end: ");
    const struct ptx_function *f = &text->function[0];
    uint32_t outer = operand(text, 0, 0)->slot;
    assert_int_not_equal(operand(text, 1, 0)->slot, outer);                 /* %r1 of the inner range */
    assert_int_equal(operand(text, 1, 1)->slot, operand(text, 0, 1)->slot); /* %r2 is not in it */
    assert_int_equal(operand(text, 2, 0)->type, PTX_B64);
    assert_int_equal(operand(text, 3, 0)->kind, PTX_LABEL);
    assert_int_equal(operand(text, 3, 0)->value, 1);
    assert_int_equal(operand(text, 4, 0)->value, 10);
    assert_int_equal(operand(text, 5, 0)->slot, outer);
    assert_int_equal(operand(text, 5, 1)->type, PTX_B32);
    assert_int_equal(operand(text, 6, 0)->value, 5);
    assert_int_not_equal(operand(text, 7, 0)->slot, operand(text, 7, 1)->slot);
    assert_int_equal(operand(text, 8, 0)->value, 11);
    const struct ptx_operand *table = operand(text, 9, 1);
    assert_int_equal(table->kind, PTX_VECTOR);
    assert_int_equal(table->count, 2);
    assert_int_equal(f->operand[table->first].kind, PTX_LABEL);
    assert_int_equal(f->operand[table->first].value, 10);
    assert_int_equal(f->operand[table->first + 1].value, 11);
    assert_int_equal(f->statements, 11);
    ptx_text_free(text);
}

// Only registers that are used take room, and they do not overlap.
static void registers(void **state) {
    (void)state;
    struct ptx_text *text =
        parse_body_of(".reg .b128 %q<1000000>; .reg .b16 %h<9>; .reg .pred %p<9>; .reg .b64 %d<9>;\n"
                      "foo %q7, %h1, %p1, %d3, %q999999, %h1, %h2;");
    const struct ptx_function *f = &text->function[0];
    assert_int_equal(f->regs, 6);
    assert_int_equal(f->file_bytes, 64 + 512 + 128 + 64 + 256 + 512 + 128);
    for (unsigned k = 0; k < f->regs; k++) {
        assert_int_equal(f->reg[k].slot % 64, 0);
        assert_in_range(f->reg[k].slot, 64, f->file_bytes - 64);
    }
    assert_string_equal(f->reg[0].name, "%q7");
    ptx_text_free(text);
}

static void calls(void **state) {
    (void)state;
    struct ptx_text *text =
        parse(HEAD ".func (.param .b32 r) f (.param .b32 x);\n.visible .entry k(.param .u32 p) { .reg .b32 %r<3>;\n"
                   "{ .param .b32 arg; .param .b32 ret0; st.param.b32 [arg], %r1; call.uni (ret0), f, (arg);\n"
                   "ld.param.b32 %r2, [ret0]; } ret; }");
    assert_int_equal(text->function[1].parameter_bytes, 4);
    assert_int_equal(text->function[1].param_space_bytes, 12);
    const struct ptx_function *f = &text->function[1];
    const struct ptx_operand *op = &f->operand[f->statement[1].first];
    assert_int_equal(f->statement[1].operands, 3);
    assert_int_equal(op[0].kind, PTX_VECTOR);
    assert_int_equal(op[1].kind, PTX_FUNCTION);
    assert_int_equal(op[1].value, 0);
    assert_int_equal(f->operand[op[2].first].kind, PTX_SYMBOL);
    assert_int_equal(f->operand[op[2].first].value, 4);
    ptx_text_free(text);
}

/* -- What is refused ----------------------------------------------------------------------------------------------- */

#define SYNTAX      PTXVM_ERROR_SYNTAX
#define UNSUPPORTED PTXVM_ERROR_UNSUPPORTED

struct refused {
    const char *body;
    unsigned line; /* of the kernel's text, whose body starts on line 5 */
    const char *text;
    ptxvm_status status;
};

static void check_refused(const char *source, const struct refused *row) {
    struct ptx_text *text = NULL;
    char error[300] = "", start[20];
    snprintf(start, sizeof start, "line %u: ", row->line);
    ptxvm_status status = ptx_parse(source, strlen(source), &text, error, sizeof error);
    if (status != row->status || strncmp(error, start, strlen(start)) || !strstr(error, row->text))
        fail_msg("%s\ngave %d: %s", row->body, (int)status, error);
    assert_null(text);
}

static void refused_bodies(void **state) {
    (void)state;
    static const struct refused rows[] = {
        {"add.s32 %r1, %r2", 6, "';' expected", SYNTAX},
        {"\n\nmov.b32 %r1, %q;", 7, "unknown register '%q'", SYNTAX},
        {"mov.b32 %r1, %r4;", 5, "unknown register '%r4'", SYNTAX},
        {"mov.b32 %r1, %r02;", 5, "unknown register", SYNTAX},
        {"mov.b32 %r1, %tid;", 5, "unknown register '%tid'", SYNTAX},
        {"bra nowhere;\nret;", 5, "unknown name 'nowhere'", SYNTAX},
        {"ret;\n{ inner: ret; } bra inner;", 6, "unknown name 'inner'", SYNTAX},
        {"a: ret; a: ret;", 5, "declared twice", SYNTAX},
        {".reg .b32 %r<9>;", 5, "declared twice", SYNTAX},
        {"mov.b32 %r1, 0x;", 5, "digits", SYNTAX},
        {"mov.b32 %r1, 09;", 5, "digits", SYNTAX},
        {"mov.b32 %r1, 089;", 5, "digits", SYNTAX},
        {"mov.b32 %r1, 08;", 5, "digits", SYNTAX},
        {"mov.b32 %r1, 12q;", 5, "malformed number", SYNTAX},
        {"mov.b32 %r1, 0f123;", 5, "8 digits", SYNTAX},
        {"mov.b32 %r1, 99999999999999999999;", 5, "64 bits", SYNTAX},
        {"mov.b32 %r1, {%r2, {%r3}};", 5, "operand", SYNTAX},
        {"mov.b32 %r1, [%r2;", 5, "']' expected", SYNTAX},
        {"mov.b32 %r1, [nope];", 5, "unknown name", SYNTAX},
        {"mov.b32 %r1|%r2, 1;", 5, "predicate", SYNTAX},
        {"@%r1 ret;", 5, "predicate", SYNTAX},
        {"selp.b32 %r1, 1, 2, !%r1;", 5, "predicate", SYNTAX},
        {"mov..b32 %r1, 1;", 5, "malformed instruction", SYNTAX},
        {"mov. %r1, 1;", 5, "malformed instruction", SYNTAX},
        {".reg .v4 .f32 %v;", 5, "registers of '.v4'", UNSUPPORTED},
        {".maxnreg 4;", 5, "'.maxnreg'", UNSUPPORTED},
        {".shared .b8 s[2000000];", 5, "more than 1048576 bytes", SYNTAX},
        {".local .b8 s[4294967296];", 5, "more than", SYNTAX},
        {".shared .b8 s[4294967296][4294967296];", 5, "too large", SYNTAX},
        {".shared .b8 s[];", 5, "no size", SYNTAX},
        {".shared .align 3 .b8 s[2];", 5, "power of two", SYNTAX},
        {".shared .u32 s = 4;", 5, "initial value", SYNTAX},
        {"/* never ends", 5, "unfinished comment", SYNTAX},
        {".pragma \"open;\n", 5, "unfinished string", SYNTAX},
        {"{ {", 7, "does not end", SYNTAX},
        {"} ret;", 5, "a directive is expected", SYNTAX},
        {"proto: .callprototype _ (.param .b64 _); call %r1, (%r2), proto;", 5, "indirect call", UNSUPPORTED},
        {"$ 5;", 5, "an instruction is expected", SYNTAX},
        {"\x80\xff;", 5, "statement is expected", SYNTAX},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        char source[600];
        snprintf(source, sizeof source, HEAD ".visible .entry k() { .reg .b32 %%r<4>; .reg .pred %%p<2>;\n%s\n}\n",
                 rows[k].body);
        check_refused(source, &rows[k]);
    }
}

static void refused_modules(void **state) {
    (void)state;
    static const struct refused rows[] = {
        {"", 1, "no .version", SYNTAX},
        {".version 8.0", 1, "no .target", SYNTAX},
        {".version 8", 1, "malformed version", SYNTAX},
        {".version 8.0 .target compute_90", 1, "sm_N", SYNTAX},
        {HEAD ".address_size 32", 4, "address size of 32", UNSUPPORTED},
        {HEAD "\n.texref t;", 5, "'.texref'", UNSUPPORTED},
        {HEAD ".global .texref t;", 4, "'.texref'", UNSUPPORTED},
        {HEAD ".extern .global .u32 t;", 4, "external variable", UNSUPPORTED},
        {HEAD ".global .u32 t = 4294967296;", 4, "does not fit", SYNTAX},
        {HEAD ".global .u8 t[2] = {1, 2, 3};", 4, "too many", SYNTAX},
        {HEAD ".global .u8 t[2] = {{1}, 2};", 4, "too many braces", SYNTAX},
        {HEAD ".global .u64 t = nothing;", 4, "no variable", UNSUPPORTED},
        {HEAD ".global .u8 t[] = {1, 2", 4, "'}' expected", SYNTAX},
        {HEAD ".visible .entry k(.reg .u32 x) { }", 4, "not .param", UNSUPPORTED},
        {HEAD ".visible .entry k() { } .visible .entry k() { }", 4, "two bodies", SYNTAX},
        {HEAD ".visible .entry k() .maxntid 2000 { }", 4, "1024", SYNTAX},
        {HEAD ".visible .entry k(.param .b8 x[40000]) { }", 4, "more than", SYNTAX},
        {HEAD "hello", 4, "directive is expected", SYNTAX},
        {HEAD ".section .x { {", 4, "unfinished section", SYNTAX},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) check_refused(rows[k].body, &rows[k]);
}

/* -- Limits -------------------------------------------------------------------------------------------------------- */

// HEAD, a kernel whose body is `piece` many times between `before` and `after`.
static char *repeat(const char *before, const char *piece, size_t times, const char *after) {
    static const char start[] = HEAD ".visible .entry k() {";
    size_t bytes = strlen(piece) * times + strlen(before) + strlen(after) + sizeof start + 2;
    char *text = malloc(bytes), *at = text;
    assert_non_null(text);
    at += sprintf(at, "%s%s", start, before);
    for (size_t k = 0; k < times; k++, at += strlen(piece)) memcpy(at, piece, strlen(piece));
    sprintf(at, "%s}", after);
    return text;
}

static void limits(void **state) {
    (void)state;
    struct ptx_text *text = NULL;
    char error[300];
    char *deep = repeat("", "{", 1000, "");
    assert_int_equal(ptx_parse(deep, strlen(deep), &text, error, sizeof error), PTXVM_ERROR_SYNTAX);
    assert_non_null(strstr(error, "nested too deeply"));
    free(deep);
    char *modifiers = repeat("mov", ".x", 1000, " 1, 2;");
    assert_int_equal(ptx_parse(modifiers, strlen(modifiers), &text, error, sizeof error), PTXVM_ERROR_SYNTAX);
    free(modifiers);
    char *operands = repeat("mov ", "1,", 1000, "1;");
    assert_int_equal(ptx_parse(operands, strlen(operands), &text, error, sizeof error), PTXVM_ERROR_SYNTAX);
    free(operands);
    char *elements = repeat("mov {", "1,", 1000, "1};");
    assert_int_equal(ptx_parse(elements, strlen(elements), &text, error, sizeof error), PTXVM_ERROR_SYNTAX);
    free(elements);
    char *statements = repeat("", "x;", 100000, "");
    assert_int_equal(ptx_parse(statements, strlen(statements), &text, error, sizeof error), PTXVM_OK);
    assert_int_equal(text->function[0].statements, 100000);
    ptx_text_free(text);
    free(statements);
    assert_int_equal(ptx_parse("", (size_t)PTX_TEXT_BYTES_MAX + 1, &text, error, sizeof error), PTXVM_ERROR_SYNTAX);
    assert_int_equal(ptx_parse(".", 1, &text, NULL, 0), PTXVM_ERROR_SYNTAX); /* no room for a text */
}

// Each prefix of a good text is an error or good, and never reads behind its end (the copy has no byte more).
static void prefixes(void **state) {
    (void)state;
    static const char source[] =
        HEAD ".global .align 4 .f32 a[2] = {1.0, 0f3F800000};\n"
             ".visible .entry k(.param .u64 p) .maxntid 32, 1, 1\n{ .reg .pred %p<2>; .reg .b32 %r<3>;\n"
             "/* c */ L: @%p1 shfl.sync.b32 %r1|%p1, %r2, -1, 0x1f, 0b1; // d\n"
             "ld.v2.b32 {%r1, _}, [a+4]; .pragma \"x\"; @!%p1 bra L; { } ret; }\n";
    for (size_t bytes = 0; bytes < sizeof source; bytes++) {
        char *copy = malloc(bytes ? bytes : 1);
        assert_non_null(copy);
        memcpy(copy, source, bytes);
        struct ptx_text *text = NULL;
        char error[100];
        ptxvm_status status = ptx_parse(copy, bytes, &text, error, sizeof error);
        assert_true((status == PTXVM_OK) == (text != NULL));
        ptx_text_free(text);
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),
        cmocka_unit_test(variables),
        cmocka_unit_test(instructions),
        cmocka_unit_test(numbers),
        cmocka_unit_test(copies_of_numbers),
        cmocka_unit_test(scopes_and_labels),
        cmocka_unit_test(registers),
        cmocka_unit_test(calls),
        cmocka_unit_test(refused_bodies),
        cmocka_unit_test(refused_modules),
        cmocka_unit_test(limits),
        cmocka_unit_test(prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
