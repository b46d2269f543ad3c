// parse: PTX text to struct ptx_text. Here: the entry, errors, and what stands at module scope.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* -- Errors and memory --------------------------------------------------------------------------------------------- */

// The first error stays.
static void set_error(struct parser *p, ptxvm_status status, const char *format, va_list list) {
    if (p->status != PTXVM_OK) return;
    p->status = status;
    if (!p->error || !p->error_bytes) return;
    int used = snprintf(p->error, p->error_bytes, "line %u: ", p->line);
    if (used > 0 && (size_t)used < p->error_bytes)
        vsnprintf(p->error + used, p->error_bytes - (size_t)used, format, list);
}

bool parse_fail(struct parser *p, const char *format, ...) {
    va_list list;
    va_start(list, format);
    set_error(p, PTXVM_ERROR_SYNTAX, format, list);
    va_end(list);
    return false;
}

bool parse_unsupported(struct parser *p, const char *format, ...) {
    char text[200];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    parse_fail(p, "%s is not supported", text);
    if (p->status == PTXVM_ERROR_SYNTAX) p->status = PTXVM_ERROR_UNSUPPORTED;
    return false;
}

void *parse_alloc(struct parser *p, size_t bytes) {
    void *memory = arena_alloc(p->arena, bytes);
    if (!memory) {
        parse_fail(p, "out of memory, or more than a text of this size may take");
        p->status = PTXVM_ERROR_MEMORY;
    }
    return memory;
}

bool parse_grow(struct parser *p, void *array_address, size_t count, size_t *capacity, size_t element_bytes) {
    void *array;
    memcpy(&array, array_address, sizeof array);
    void *grown = arena_grow(p->arena, array, count, capacity, element_bytes);
    if (!grown) return parse_alloc(p, SIZE_MAX) != NULL; /* says why */
    memcpy(array_address, &grown, sizeof grown);
    return true;
}

/* -- Module scope -------------------------------------------------------------------------------------------------- */

static bool parse_version(struct parser *p) {
    struct ptx_text *text = p->text;
    uint64_t part[2] = {0, 0};
    lex_peek(p);
    for (int k = 0; k < 2; k++) {
        const char *start = p->at;
        for (; p->at < p->end && *p->at >= '0' && *p->at <= '9' && part[k] < 1000; p->at++)
            part[k] = part[k] * 10 + (uint64_t)(*p->at - '0');
        if (p->at == start) return parse_fail(p, "malformed version");
        if (!k && (p->at == p->end || *p->at++ != '.')) return parse_fail(p, "malformed version");
        text->version[k] = (unsigned)part[k];
    }
    return true;
}

// .target sm_90a [, texmode_independent, debug, ...]
static bool parse_target(struct parser *p) {
    struct ptx_text *text = p->text;
    struct span word;
    if (!lex_word(p, &word) || word.bytes < 4 || word.bytes >= sizeof text->target || memcmp(word.text, "sm_", 3))
        return parse_fail(p, "a target sm_N is expected");
    memcpy(text->target, word.text, word.bytes);
    text->target[word.bytes] = '\0';
    text->target_sm = 0;
    for (const char *at = text->target + 3; *at >= '0' && *at <= '9' && text->target_sm < 10000; at++)
        text->target_sm = text->target_sm * 10 + (*at - '0');
    while (lex_accept(p, ','))
        if (!lex_word(p, &word)) return parse_fail(p, "a target option is expected");
    return true;
}

static bool parse_address_size(struct parser *p) {
    uint64_t bits;
    if (!lex_count(p, 1024, &bits)) return false;
    return bits == 64 || parse_unsupported(p, "an address size of %llu", (unsigned long long)bits);
}

// Debug information: .section name { ... }, with braces and strings inside.
static bool skip_section(struct parser *p) {
    struct span word;
    while (lex_directive(p, &word) || lex_word(p, &word)) continue;
    if (!lex_expect(p, '{')) return false;
    for (uint32_t open = 1; open;) {
        char c = lex_peek(p);
        if (p->status != PTXVM_OK) return false;
        if (p->at == p->end) return parse_fail(p, "unfinished section");
        if (c == '"') {
            if (!lex_string(p)) return false;
            continue;
        }
        open += c == '{';
        open -= c == '}';
        p->at++;
    }
    return true;
}

static bool parse_linked(struct parser *p, struct span word) {
    static const char *const linking[] = {"visible", "weak"};
    enum ptx_space space;
    bool is_extern = span_is(word, "extern"), is_linking = is_extern;
    for (size_t k = 0; k < sizeof linking / sizeof linking[0]; k++) is_linking |= span_is(word, linking[k]);
    if (is_linking && !lex_directive(p, &word)) return parse_fail(p, "a declaration is expected");
    if (span_is(word, "entry")) return parse_function(p, true);
    if (span_is(word, "func")) return parse_function(p, false);
    if (parse_space(word, &space)) return parse_variables(p, space, is_extern);
    return parse_unsupported(p, "directive '.%.*s'", (int)(word.bytes > 50 ? 50 : word.bytes), word.text);
}

static bool parse_module_directive(struct parser *p, struct span word) {
    static const struct {
        const char *text;
        bool (*parse)(struct parser *p);
    } rows[] = {{"version", parse_version},
                {"target", parse_target},
                {"address_size", parse_address_size},
                {"pragma", parse_pragma},
                {"section", skip_section}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
        if (span_is(word, rows[k].text)) return rows[k].parse(p);
    if (!span_is(word, "file")) return parse_linked(p, word);
    lex_line_end(p);
    return true;
}

static bool parse_module(struct parser *p) {
    while (lex_peek(p), p->status == PTXVM_OK && p->at < p->end) {
        struct span word;
        if (lex_accept(p, ';')) continue;
        if (!lex_directive(p, &word)) return parse_fail(p, "a directive is expected");
        if (!parse_module_directive(p, word)) return false;
    }
    if (p->status != PTXVM_OK) return false;
    if (!p->text->version[0]) return parse_fail(p, "no .version");
    if (!p->text->target_sm) return parse_fail(p, "no .target");
    return true;
}

/* -- Entry --------------------------------------------------------------------------------------------------------- */

// The variables that were collected, as an array.
static bool keep_symbols(struct parser *p) {
    struct ptx_text *text = p->text;
    text->symbol = parse_alloc(p, text->symbols * sizeof *text->symbol);
    if (!text->symbol) return false;
    for (unsigned k = 0; k < text->symbols; k++) text->symbol[k] = p->symbol[k]->symbol;
    return true;
}

ptxvm_status ptx_parse(const char *text, size_t bytes, struct ptx_text **out, char *error, size_t error_bytes) {
    // What a text may make the parser hold: enough for any text of this size that is not nearly all names.
    enum { MEMORY_BASE = 8 << 20, MEMORY_FACTOR = 64 };
    struct parser *p = NULL;
    struct parser failed = {.error = error, .error_bytes = error_bytes, .line = 1};
    if (bytes > PTX_TEXT_BYTES_MAX) {
        parse_fail(&failed, "text of more than %d bytes", PTX_TEXT_BYTES_MAX);
        return failed.status;
    }
    struct arena *arena = arena_create(MEMORY_BASE + (size_t)MEMORY_FACTOR * bytes);
    p = arena ? arena_alloc(arena, sizeof *p) : NULL;
    if (!p) {
        arena_free(arena);
        parse_fail(&failed, "out of memory");
        return PTXVM_ERROR_MEMORY;
    }
    *p = failed;
    p->arena = arena;
    p->at = text;
    p->end = text + bytes;
    p->text = arena_alloc(arena, sizeof *p->text);
    bool good = p->text && parse_module(p) && keep_symbols(p);
    ptxvm_status status = p->text ? p->status : PTXVM_ERROR_MEMORY;
    if (!good) {
        arena_free(arena);
        return status;
    }
    p->text->arena = arena;
    *out = p->text;
    return PTXVM_OK;
}
