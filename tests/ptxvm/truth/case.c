// case: a table's row becomes kernels: <x,y> is expanded, the PTX text written around the instruction, the inputs made.
// SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* -- Text that grows ----------------------------------------------------------------------------------------------- */

static void add(FILE *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(FILE *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(text, format, arguments);
    va_end(arguments);
}

/* -- Types: "outputs=inputs@lanes/block" --------------------------------------------------------------------------- */

static const char input_letters[] = "abcghl", output_letters[] = "defijk";

static bool parse_fields(const char *text, size_t bytes, struct truth_field *fields, unsigned *count) {
    const char *end = text + bytes;
    *count = 0;
    while (text < end && *count < TRUTH_FIELDS) {
        const char *comma = memchr(text, ',', (size_t)(end - text)), *stop = comma != NULL ? comma : end;
        const char *star = memchr(text, '*', (size_t)(stop - text));
        struct truth_field *field = &fields[(*count)++];
        field->tile = strncmp(text, "tile:", 5) == 0;
        if (field->tile) text += 5;
        field->kind = truth_kind_find(text, (size_t)((star != NULL ? star : stop) - text));
        field->count = star != NULL ? (unsigned)atoi(star + 1) : 1;
        field->vector = star != NULL;
        if (field->kind == NULL || field->count == 0) return false;
        text = stop + 1;
    }
    return true;
}

static size_t place_fields(struct truth_field *fields, unsigned count, unsigned lanes) {
    size_t offset = 0;
    for (unsigned f = 0; f < count; f++) {
        fields[f].offset = offset;
        offset += (size_t)fields[f].count * lanes * fields[f].kind->bytes;
    }
    return offset;
}

static bool parse_types(struct truth_case *c, const char *types) {
    const char *equal = strchr(types, '='), *at = strchr(types, '@');
    if (equal == NULL) return false;
    const char *end = at != NULL ? at : types + strlen(types);
    c->lanes = at != NULL ? (unsigned)atoi(at + 1) : 4096;
    const char *slash = at != NULL ? strchr(at, '/') : NULL;
    c->block = slash != NULL ? (unsigned)atoi(slash + 1) : 256;
    if (!parse_fields(types, (size_t)(equal - types), c->outputs, &c->output_count)) return false;
    if (!parse_fields(equal + 1, (size_t)(end - equal - 1), c->inputs, &c->input_count)) return false;
    c->input_bytes = place_fields(c->inputs, c->input_count, c->lanes);
    c->output_bytes = place_fields(c->outputs, c->output_count, c->lanes);
    return true;
}

bool truth_case_mode(struct truth_case *c, const char *text) {
    static const struct {
        const char *name;
        enum truth_mode mode;
    } modes[] = {{"exact", MODE_EXACT},   {"nan", MODE_NAN},       {"ulp ", MODE_ULP},
                 {"rel ", MODE_RELATIVE}, {"abs ", MODE_ABSOLUTE}, {"sum ", MODE_ACCUMULATE}};
    for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
        size_t bytes = strlen(modes[m].name);
        if (strncmp(text, modes[m].name, bytes) != 0) continue;
        c->mode = modes[m].mode;
        c->bound = strtod(text + bytes, NULL);
        return true;
    }
    return false;
}

/* -- Operands ------------------------------------------------------------------------------------------------------ */

static const struct truth_field *field_of(const struct truth_case *c, char letter, bool *is_output) {
    const char *at = strchr(output_letters, letter);
    *is_output = at != NULL && (unsigned)(at - output_letters) < c->output_count;
    if (*is_output) return &c->outputs[at - output_letters];
    at = strchr(input_letters, letter);
    return at != NULL && (unsigned)(at - input_letters) < c->input_count ? &c->inputs[at - input_letters] : NULL;
}

static void add_operand(FILE *text, char letter, const struct truth_field *field) {
    if (!field->vector) {
        add(text, "%%%c0", letter);
        return;
    }
    for (unsigned r = 0; r < field->count; r++) add(text, "%s%%%c%u", r == 0 ? "{" : ", ", letter, r);
    add(text, "}");
}

static void add_address(FILE *text, const struct truth_case *c, const struct truth_field *field, bool is_output,
                        unsigned r) {
    add(text, "%%%s%u+%zu", is_output ? "out" : "in", field->kind->bytes,
        field->offset + (size_t)r * c->lanes * field->kind->bytes);
}

// The body with $x and &x replaced.
static void add_body(FILE *text, const struct truth_case *c, const char *body) {
    for (; *body != 0; body++) {
        bool is_output;
        const struct truth_field *field = *body == '$' || *body == '&' ? field_of(c, body[1], &is_output) : NULL;
        if (field == NULL) {
            fputc(*body, text);
        } else if (*body == '&') {
            add_address(text, c, field, is_output, 0);
            body++;
        } else if (body[2] >= '0' && body[2] <= '9') {
            add(text, "%%%c", body[1]);
            body++;
        } else {
            add_operand(text, body[1], field);
            body++;
        }
    }
}

static void add_opcode(FILE *text, const struct truth_case *c, const char *opcode) {
    add(text, "%s ", opcode);
    for (unsigned f = 0; f < c->output_count; f++) add_operand(text, output_letters[f], &c->outputs[f]);
    for (unsigned f = 0; f < c->input_count; f++) {
        add(text, ", ");
        add_operand(text, input_letters[f], &c->inputs[f]);
    }
    add(text, ";");
}

/* -- The kernel's text --------------------------------------------------------------------------------------------- */

static const struct truth_field *tile_of(const struct truth_case *c) {
    for (unsigned f = 0; f < c->input_count; f++)
        if (c->inputs[f].tile) return &c->inputs[f];
    return NULL;
}

static void add_registers(FILE *text, const struct truth_case *c) {
    for (unsigned f = 0; f < c->output_count; f++)
        add(text, "\t.reg .b%u %%%c<%u>;\n", 8 * c->outputs[f].kind->bytes, output_letters[f], c->outputs[f].count);
    for (unsigned f = 0; f < c->input_count; f++)
        if (!c->inputs[f].tile)
            add(text, "\t.reg .b%u %%%c<%u>;\n", 8 * c->inputs[f].kind->bytes, input_letters[f], c->inputs[f].count);
    add(text, "\t.reg .pred %%p<4>;\n\t.reg .b16 %%q<4>;\n\t.reg .b32 %%r<8>, %%thr, %%lane, %%i, %%sm;\n"
              "\t.reg .b64 %%u<8>, %%in2, %%in4, %%in8, %%out2, %%out4, %%out8, %%at;\n");
}

static void add_start(FILE *text, size_t shared_bytes) {
    add(text, "\tmov.u32 %%thr, %%tid.x;\n\tmov.u32 %%i, %%ctaid.x;\n\tmov.u32 %%r0, %%ntid.x;\n"
              "\tmad.lo.u32 %%i, %%i, %%r0, %%thr;\n\tand.b32 %%lane, %%thr, 31;\n");
    if (shared_bytes > 0) add(text, "\tmov.u32 %%sm, smem;\n\tmad.lo.u32 %%sm, %%thr, 16, %%sm;\n");
    add(text, "\tld.param.u64 %%in2, [p_in];\n\tld.param.u64 %%out2, [p_out];\n"
              "\tcvta.to.global.u64 %%in2, %%in2;\n\tcvta.to.global.u64 %%out2, %%out2;\n");
    for (unsigned bytes = 8; bytes >= 2; bytes /= 2)
        add(text, "\tmad.wide.u32 %%in%u, %%i, %u, %%in2;\n\tmad.wide.u32 %%out%u, %%i, %u, %%out2;\n", bytes, bytes,
            bytes, bytes);
}

static void add_loads(FILE *text, const struct truth_case *c) {
    for (unsigned f = 0; f < c->input_count; f++)
        for (unsigned r = 0; r < c->inputs[f].count; r++) {
            const struct truth_field *field = &c->inputs[f];
            if (field->tile)
                add(text, "\tld.global.b32 %%r1, [");
            else
                add(text, "\tld.global.b%u %%%c%u, [", 8 * field->kind->bytes, input_letters[f], r);
            add_address(text, c, field, false, r);
            add(text, "];\n");
            if (field->tile) add(text, "\tst.shared.b32 [%%r2+%u], %%r1;\n", r * c->block * 4);
        }
}

static void add_stores(FILE *text, const struct truth_case *c) {
    for (unsigned f = 0; f < c->output_count; f++)
        for (unsigned r = 0; r < c->outputs[f].count; r++) {
            add(text, "\tst.global.b%u [", 8 * c->outputs[f].kind->bytes);
            add_address(text, c, &c->outputs[f], true, r);
            add(text, "], %%%c%u;\n", output_letters[f], r);
        }
}

static char *kernel_text(const struct truth_case *c, const char *body) {
    const struct truth_field *tile = tile_of(c);
    size_t bytes, shared = strstr(body, "%sm") != NULL ? (size_t)c->block * 16 : 0;
    if (tile != NULL) shared = (size_t)tile->count * c->block * 4;
    char *result = NULL;
    FILE *text = open_memstream(&result, &bytes);
    if (text == NULL) return NULL;
    add(text,
        ".version 8.7\n.target sm_90a\n.address_size 64\n\n.visible .entry probe(.param .u64 p_in, .param .u64 "
        "p_out)\n.maxntid %u, 1, 1\n{\n",
        c->block);
    if (shared > 0) add(text, "\t.shared .align 1024 .b8 smem[%zu];\n", shared);
    add_registers(text, c);
    add_start(text, shared);
    if (tile != NULL) add(text, "\tmov.u32 %%r2, smem;\n\tmad.lo.u32 %%r2, %%thr, 4, %%r2;\n");
    add_loads(text, c);
    if (tile != NULL) add(text, "\tfence.proxy.async.shared::cta;\n\tbar.sync 0;\n");
    add(text, "\t");
    if (strchr(body, '$') == NULL)
        add_opcode(text, c, body);
    else
        add_body(text, c, body);
    add(text, "\n");
    add_stores(text, c);
    add(text, "\tret;\n}\n");
    return fclose(text) == 0 ? result : NULL;
}

/* -- Cases --------------------------------------------------------------------------------------------------------- */

void truth_case_free(struct truth_case *c) {
    if (c == NULL) return;
    free(c->name);
    free(c->ptx);
    free(c->input);
    free(c);
}

uint8_t *truth_case_input(struct truth_case *c, unsigned field, unsigned reg, unsigned lane) {
    const struct truth_field *f = &c->inputs[field];
    return c->input + f->offset + ((size_t)reg * c->lanes + lane) * f->kind->bytes;
}

static void fill_kinds(struct truth_case *c) {
    uint64_t seed = truth_hash(TRUTH_HASH, c->name, strlen(c->name));
    for (unsigned f = 0; f < c->input_count; f++)
        for (unsigned r = 0; r < c->inputs[f].count; r++)
            for (unsigned lane = 0; lane < c->lanes; lane++) {
                const struct truth_kind *kind = c->inputs[f].kind;
                uint64_t value = kind->make(kind, seed + 1000 * r, f, lane, lane / TRUTH_GROUP);
                memcpy(truth_case_input(c, f, r, lane), &value, kind->bytes); /* little-endian */
            }
}

struct truth_case *truth_case_make(const char *group, const char *text, const char *types, const char *mode,
                                   void (*fill)(struct truth_case *c, const void *data), const void *data) {
    struct truth_case *c = calloc(1, sizeof *c);
    const char *colon = strstr(text, ": ");
    if (c == NULL) return NULL;
    c->group = group;
    c->kernel = "probe";
    c->name = colon != NULL ? strndup(text, (size_t)(colon - text)) : strdup(text);
    if (c->name == NULL || !parse_types(c, types) || !truth_case_mode(c, mode)) goto fail;
    c->ptx = kernel_text(c, colon != NULL ? colon + 2 : text);
    c->input = calloc(1, c->input_bytes + 1);
    if (c->ptx == NULL || c->input == NULL) goto fail;
    if (fill != NULL)
        fill(c, data);
    else
        fill_kinds(c);
    c->key = truth_hash(truth_hash(TRUTH_HASH, c->ptx, strlen(c->ptx)), c->input, c->input_bytes);
    return c;
fail:
    fprintf(stderr, "ptx_truth: bad row: %s [%s] %s\n", text, types, mode);
    truth_case_free(c);
    return NULL;
}

// text with `bytes` at `open` replaced by the choice; the same <..> in a body says again what its name chose.
static char *choose(const char *text, const char *open, size_t bytes, const char *choice, size_t choice_bytes) {
    const char *body = strstr(open, ": ");
    char *result = NULL;
    size_t size;
    FILE *out = open_memstream(&result, &size);
    if (out == NULL) return NULL;
    for (const char *at = text; *at != 0;) {
        bool replace = at == open || (body != NULL && at > body && strncmp(at, open, bytes) == 0);
        if (replace)
            fwrite(choice, 1, choice_bytes, out);
        else
            fputc(*at, out);
        at += replace ? bytes : 1;
    }
    return fclose(out) == 0 ? result : NULL;
}

// Expands the first <..> and goes on; text without one is a case.
static bool expand(const char *group, const char *text, const struct truth_row *row, truth_visit *visit, void *user) {
    const char *open = strchr(text, '<'), *close = open != NULL ? strchr(open, '>') : NULL;
    if (close == NULL) {
        struct truth_case *c = truth_case_make(group, text, row->types, row->mode, NULL, NULL);
        return c != NULL && visit(user, c);
    }
    for (const char *from = open + 1; from <= close;) {
        size_t bytes = strcspn(from, ",>");
        char *one = choose(text, open, (size_t)(close + 1 - open), from, bytes);
        bool go_on = one != NULL && expand(group, one, row, visit, user);
        free(one);
        if (!go_on) return false;
        from += bytes + 1;
    }
    return true;
}

bool truth_rows(const char *group, const struct truth_row *rows, truth_visit *visit, void *user) {
    for (; rows->text != NULL; rows++)
        if (!expand(group, rows->text, rows, visit, user)) return false;
    return true;
}
