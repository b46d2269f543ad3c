// parse_lex: characters, words, numbers, and the table of words. Lines are counted here.
// SPDX-License-Identifier: Apache-2.0
#include "parse.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 1 << 12, DECIMAL_DIGITS_MAX = 400 };

/* -- Blanks and single characters ---------------------------------------------------------------------------------- */

static bool skip_comment(struct parser *p) {
    if (p->at[1] == '/') {
        while (p->at < p->end && *p->at != '\n') p->at++;
        return true;
    }
    uint32_t first = p->line;
    for (p->at += 2; p->end - p->at >= 2; p->at++) {
        if (*p->at == '\n') p->line++;
        if (p->at[0] == '*' && p->at[1] == '/') {
            p->at += 2;
            return true;
        }
    }
    p->at = p->end;
    p->line = first;
    return parse_fail(p, "unfinished comment");
}

bool lex_space(struct parser *p) {
    while (p->at < p->end) {
        char c = *p->at;
        if (c == '\n') p->line++;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v')
            p->at++;
        else if (c == '/' && p->end - p->at >= 2 && (p->at[1] == '/' || p->at[1] == '*')) {
            if (!skip_comment(p)) return false;
        } else
            break;
    }
    return true;
}

char lex_peek(struct parser *p) {
    return lex_space(p) && p->at < p->end ? *p->at : '\0';
}

bool lex_accept(struct parser *p, char c) {
    if (lex_peek(p) != c || p->at == p->end) return false;
    p->at++;
    return true;
}

bool lex_expect(struct parser *p, char c) {
    if (lex_accept(p, c)) return true;
    char there = lex_peek(p);
    if (p->at == p->end) return parse_fail(p, "'%c' expected at the end of the text", c);
    return parse_fail(p, there > ' ' && there <= '~' ? "'%c' expected at '%c'" : "'%c' expected", c, there);
}

void lex_line_end(struct parser *p) {
    while (p->at < p->end && *p->at != '\n') p->at++;
}

bool lex_string(struct parser *p) {
    if (!lex_expect(p, '"')) return false;
    while (p->at < p->end && *p->at != '"' && *p->at != '\n') p->at += p->at[0] == '\\' && p->end - p->at > 1 ? 2 : 1;
    if (p->at < p->end && *p->at == '"') {
        p->at++;
        return true;
    }
    return parse_fail(p, "unfinished string");
}

/* -- Words --------------------------------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' || c == '%';
}

bool lex_word(struct parser *p, struct span *out) {
    char first = lex_peek(p);
    if (!is_word(first) || is_digit(first)) return false;
    out->text = p->at;
    while (p->at < p->end && is_word(*p->at)) p->at++;
    out->bytes = (size_t)(p->at - out->text);
    return true;
}

bool lex_directive(struct parser *p, struct span *out) {
    if (lex_peek(p) != '.' || p->end - p->at < 2 || !is_word(p->at[1])) return false;
    out->text = ++p->at;
    while (p->at < p->end && is_word(*p->at)) p->at++;
    out->bytes = (size_t)(p->at - out->text);
    return true;
}

bool span_is(struct span span, const char *text) {
    return strlen(text) == span.bytes && !memcmp(span.text, text, span.bytes);
}

static uint32_t hash_of(struct span span) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t k = 0; k < span.bytes; k++) hash = (hash ^ (unsigned char)span.text[k]) * 16777619u;
    return hash ^ hash >> 15;
}

static struct name *find(const struct parser *p, struct span span, uint32_t hash) {
    for (struct name *name = p->buckets ? p->bucket[hash % p->buckets] : NULL; name; name = name->next)
        if (name->hash == hash && name->bytes == span.bytes && !memcmp(name->text, span.text, span.bytes)) return name;
    return NULL;
}

struct name *lex_find(const struct parser *p, struct span span) {
    return find(p, span, hash_of(span));
}

// Twice the buckets.
static bool rehash(struct parser *p) {
    size_t buckets = p->buckets ? p->buckets * 2 : BUCKETS_FIRST;
    struct name **bucket = parse_alloc(p, buckets * sizeof *bucket);
    if (!bucket) return false;
    for (size_t k = 0; k < p->buckets; k++)
        for (struct name *name = p->bucket[k], *next; name; name = next) {
            next = name->next;
            name->next = bucket[name->hash % buckets];
            bucket[name->hash % buckets] = name;
        }
    p->bucket = bucket;
    p->buckets = buckets;
    return true;
}

struct name *lex_intern(struct parser *p, struct span span) {
    uint32_t hash = hash_of(span);
    struct name *name = find(p, span, hash);
    if (name) return name;
    if (p->names >= p->buckets && !rehash(p)) return NULL;
    name = parse_alloc(p, sizeof *name + span.bytes + 1);
    if (!name) return NULL;
    char *text = (char *)(name + 1);
    memcpy(text, span.text, span.bytes);
    struct name **bucket = &p->bucket[hash % p->buckets];
    *name = (struct name){.text = text, .bytes = (uint32_t)span.bytes, .hash = hash, .next = *bucket};
    p->names++;
    return *bucket = name;
}

/* -- Numbers ------------------------------------------------------------------------------------------------------- */

bool lex_starts_number(struct parser *p) {
    char c = lex_peek(p);
    return is_digit(c) || c == '-' || c == '+' || c == '~' || (c == '.' && p->end - p->at >= 2 && is_digit(p->at[1]));
}

static int digit_value(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 99;
}

// Digits of a base; at least one.
static bool digits(struct parser *p, unsigned base, uint64_t *out) {
    const char *start = p->at;
    uint64_t value = 0;
    for (; p->at < p->end && digit_value(*p->at) < (int)base; p->at++) {
        unsigned digit = (unsigned)digit_value(*p->at);
        if (value > (UINT64_MAX - digit) / base) return parse_fail(p, "number of more than 64 bits");
        value = value * base + digit;
    }
    *out = value;
    return p->at > start || parse_fail(p, "digits expected");
}

// 0f and 0d: exactly count hexadecimal digits.
static bool float_bits(struct parser *p, unsigned count, struct literal *out) {
    const char *start = p->at += 2;
    uint64_t bits;
    if (!digits(p, 16, &bits)) return false;
    if ((size_t)(p->at - start) != count) return parse_fail(p, "a float literal has %u digits", count);
    *out = (struct literal){count == 8 ? PTX_F32 : PTX_F64, (int64_t)bits};
    return true;
}

static size_t take_digits(struct parser *p, char *buffer, size_t used) {
    for (; p->at < p->end && is_digit(*p->at); p->at++)
        if (used < DECIMAL_DIGITS_MAX) buffer[used++] = *p->at;
    return used;
}

// Digits with a point or an exponent. The point is taken out before strtod, whose point depends on the locale.
static bool decimal_float(struct parser *p, struct literal *out) {
    char buffer[DECIMAL_DIGITS_MAX + 24];
    const char *start = p->at;
    size_t whole = take_digits(p, buffer, 0), used = whole;
    if (p->at < p->end && *p->at == '.') p->at++, used = take_digits(p, buffer, used);
    if (used >= DECIMAL_DIGITS_MAX || p->at - start > DECIMAL_DIGITS_MAX) return parse_fail(p, "too many digits");
    if (!used) return parse_fail(p, "digits expected");
    uint64_t exponent = 0;
    bool down = false;
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '-' || *p->at == '+')) down = *p->at++ == '-';
        if (!digits(p, 10, &exponent)) return false;
        if (exponent > 9999) return parse_fail(p, "exponent out of range");
    }
    long scale = (down ? -(long)exponent : (long)exponent) - (long)(used - whole);
    char sign[24];
    size_t n = sizeof sign;
    for (unsigned long rest = (unsigned long)(scale < 0 ? -scale : scale); rest || n == sizeof sign; rest /= 10)
        sign[--n] = (char)('0' + rest % 10);
    sign[--n] = scale < 0 ? '-' : '+';
    sign[--n] = 'e';
    memcpy(buffer + used, sign + n, sizeof sign - n);
    buffer[used + sizeof sign - n] = '\0';
    double value = strtod(buffer, NULL);
    out->type = PTX_F64;
    memcpy(&out->value, &value, sizeof value);
    return true;
}

// True if the digits ahead belong to a decimal float.
static bool is_decimal_float(const struct parser *p) {
    const char *at = p->at;
    while (at < p->end && is_digit(*at)) at++;
    return at < p->end && (*at == '.' || *at == 'e' || *at == 'E');
}

// 123, 0x7B, 0173, 0b1111011, each with U or not.
static bool integer(struct parser *p, struct literal *out) {
    unsigned base = 10;
    if (*p->at == '0' && p->end - p->at >= 2) {
        char next = p->at[1];
        if (next == 'x' || next == 'X')
            base = 16, p->at += 2;
        else if (next == 'b' || next == 'B')
            base = 2, p->at += 2;
        else if (is_digit(next))
            base = 8, p->at++;
    }
    uint64_t value;
    if (!digits(p, base, &value)) return false;
    bool is_unsigned = p->at < p->end && *p->at == 'U';
    if (is_unsigned) p->at++;
    *out = (struct literal){value > INT64_MAX ? PTX_U64 : PTX_S64, (int64_t)value};
    return true;
}

static bool unsigned_literal(struct parser *p, struct literal *out) {
    char next = p->end - p->at >= 2 ? p->at[1] : '\0';
    if (*p->at == '0' && (next == 'f' || next == 'F')) return float_bits(p, 8, out);
    if (*p->at == '0' && (next == 'd' || next == 'D')) return float_bits(p, 16, out);
    if (*p->at == '.' || is_decimal_float(p)) return decimal_float(p, out);
    return integer(p, out);
}

// The sign applies to what was read: -0x80000000 is S64, -0f3F800000 has its sign bit flipped.
static bool negate(struct parser *p, struct literal *literal) {
    if (literal->type == PTX_F32)
        literal->value ^= INT64_C(0x80000000);
    else if (literal->type == PTX_F64)
        literal->value = (int64_t)((uint64_t)literal->value ^ UINT64_C(1) << 63);
    else if (literal->type == PTX_U64 && literal->value != INT64_MIN)
        return parse_fail(p, "number below -2^63");
    else
        *literal = (struct literal){PTX_S64, (int64_t)(0 - (uint64_t)literal->value)};
    return true;
}

bool lex_literal(struct parser *p, struct literal *out) {
    char sign = lex_peek(p);
    bool has_sign = sign == '-' || sign == '+' || sign == '~';
    if (has_sign) p->at++;
    char first = lex_peek(p);
    if (!is_digit(first) && first != '.') return parse_fail(p, "a number is expected");
    if (!unsigned_literal(p, out)) return false;
    if (p->at < p->end && is_word(*p->at)) return parse_fail(p, "malformed number");
    if (sign == '-') return negate(p, out);
    if (sign != '~') return true;
    if (ptx_type_class(out->type) == 'F') return parse_fail(p, "'~' before a float");
    *out = (struct literal){PTX_S64, ~out->value};
    return true;
}

bool lex_count(struct parser *p, uint64_t most, uint64_t *out) {
    struct literal literal;
    if (!lex_literal(p, &literal)) return false;
    bool fits = literal.type == PTX_S64 && literal.value >= 0 && (uint64_t)literal.value <= most;
    if (!fits) return parse_fail(p, "a number in [0, %llu] is expected", (unsigned long long)most);
    *out = (uint64_t)literal.value;
    return true;
}
