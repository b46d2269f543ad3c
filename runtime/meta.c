// meta: reads kernel.meta. One pass over the lines, in the one order that the writer makes; then the values are
// checked. Any other byte sequence is CORRUPT: a wrong number here would become a wrong launch.
// SPDX-License-Identifier: Apache-2.0
#include "meta.h"
#include "context.h"
#include "key.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* -- Values ---------------------------------------------------------------------------------------------------------
 */

enum sage_role meta_role(const struct meta *meta) {
    int role = 0;
    while (role < SAGE_ROLE_COUNT && strcmp(meta->role, sage_role_text((enum sage_role)role)) != 0) role++;
    return (enum sage_role)role;
}

bool meta_role_needed(const struct meta *attention, enum sage_role role) {
    return role != SAGE_ROLE_DELTA_S || attention->q_group != 0;
}

const char *meta_io_text(sage_dtype io) {
    return io == SAGE_BF16 ? "bf16" : "fp16";
}

const char *meta_mask_text(sage_mask mask) {
    return mask == SAGE_MASK_CAUSAL ? "causal" : "none";
}

bool meta_target_parse(const char *text, struct meta_target *out) {
    if (strncmp(text, "sm_", 3) != 0) return false;
    const char *digits = text + 3;
    size_t count = strspn(digits, "0123456789");
    char suffix = digits[count];
    if (count < 2 || count > 3 || digits[0] == '0') return false;
    if (suffix && ((suffix != 'a' && suffix != 'f') || digits[count + 1])) return false;
    int sm = 0;
    for (size_t i = 0; i < count; i++) sm = sm * 10 + (digits[i] - '0');
    *out = (struct meta_target){sm, suffix};
    return true;
}

int meta_target_rank(const char *target, int sm) {
    struct meta_target code;
    if (!meta_target_parse(target, &code)) return 0;
    bool runs = code.suffix == 'a' ? code.sm == sm : code.sm / 10 == sm / 10 && code.sm <= sm;
    // The nearer minor version first, then the more specific code.
    return runs ? 4 * code.sm + (code.suffix == 'a' ? 3 : code.suffix == 'f' ? 2 : 1) : 0;
}

static bool is_word(const char *text, const char *const *words) {
    while (*words && strcmp(text, *words) != 0) words++;
    return *words != NULL;
}

static bool is_hex(const char *text, size_t digits) {
    return strspn(text, "0123456789abcdef") == digits && text[digits] == 0;
}

// Words that become parts of C names and file names: letters, digits, _ (and . in versions).
static bool is_name(const char *text, const char *more) {
    for (; *text; text++) {
        bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                     (*text >= '0' && *text <= '9') || *text == '_';
        if (!plain && !strchr(more, *text)) return false;
    }
    return true;
}

static const char *check_texts(const struct meta *meta) {
    static const char *const io[] = {"bf16", "fp16", NULL}, *const masks[] = {"none", "causal", NULL};
    struct meta_target target;
    if (meta_role(meta) == SAGE_ROLE_COUNT) return "role";
    if (!meta_target_parse(meta->target, &target)) return "target";
    if (!is_word(meta->io, io)) return "io";
    if (!is_word(meta->mask, masks)) return "mask";
    if (!is_name(meta->entry, "")) return "entry";
    if (!is_name(meta->spec, "")) return "spec";
    if (!is_name(meta->family, "")) return "family";
    if (!is_name(meta->variant, "")) return "variant";
    if (!is_name(meta->qk_format, "")) return "qk_format";
    if (!is_name(meta->v_format, "")) return "v_format";
    if (!is_name(meta->sagegen, ".+-")) return "sagegen";
    if (!is_hex(meta->spec_hash, KEY_HEX64_BYTES - 1)) return "spec_hash";
    if (!is_hex(meta->source_hash, KEY_BYTES - 1)) return "source_hash";
    if (!is_hex(meta->ptx_hash, KEY_BYTES - 1)) return "ptx_hash";
    if (!is_hex(meta->cubin_hash, KEY_BYTES - 1)) return "cubin_hash";
    return NULL;
}

static const char *check_ints(const struct meta *meta, char why[META_WHY_BYTES]) {
    const struct {
        const char *name;
        int value, least, most;
    } rows[] = {{"safe", meta->safe, 0, 1},
                {"smooth_k", meta->smooth_k, 0, 1},
                {"args_bytes", meta->args_bytes, 1, 4096},
                {"threads", meta->threads, 1, 1024},
                {"smem_static", meta->smem_static, 0, 1 << 20},
                {"smem_dynamic", meta->smem_dynamic, 0, 1 << 20},
                {"registers", meta->registers, 0, 255},
                {"head_dim_qk", meta->head_dim_qk, 1, 1024},
                {"head_dim_v", meta->head_dim_v, 1, 1024},
                {"d_qk", meta->d_qk, meta->head_dim_qk, 1024},
                {"d_v", meta->d_v, meta->head_dim_v, 1024},
                {"tile_q", meta->tile_q, 1, 4096},
                {"tile_k", meta->tile_k, 1, 4096},
                {"cubin_bytes", meta->cubin_bytes, 1, INT_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].value >= rows[i].least && rows[i].value <= rows[i].most) continue;
        snprintf(why, META_WHY_BYTES, "%s = %d is outside %d...%d", rows[i].name, rows[i].value, rows[i].least,
                 rows[i].most);
        return why;
    }
    return NULL;
}

const char *meta_check(const struct meta *meta, char why[META_WHY_BYTES]) {
    const char *field = NULL;
    // `field` ends as the name of the first text that is not one to META_TEXT_MAX printable ASCII characters without
    // blanks at the ends.
#define CHECK_TEXT(name, help)                                                                                         \
    if (!field && !meta_text_is_plain(meta->name)) field = #name;
    SAGE_META_TEXTS(CHECK_TEXT)
#undef CHECK_TEXT
    if (!field) field = check_texts(meta);
    if (field) {
        snprintf(why, META_WHY_BYTES, "%s has a bad value", field);
        return why;
    }
#define CHECK_INT(name, help)                                                                                          \
    if (!field && meta->name < 0) field = #name;
    SAGE_META_INTS(CHECK_INT)
#undef CHECK_INT
    if (!field) return check_ints(meta, why);
    snprintf(why, META_WHY_BYTES, "%s is negative", field);
    return why;
}

bool meta_text_is_plain(const char *text) {
    size_t len = strnlen(text, META_TEXT_MAX + 1);
    if (len == 0 || len > META_TEXT_MAX || text[0] == ' ' || text[len - 1] == ' ') return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e) return false;
    return true;
}

/* -- Reading --------------------------------------------------------------------------------------------------------
 */

// A place in the text; line counts from 1. Once something is wrong, `why` says what, and every further step does
// nothing.
struct meta_reader {
    const char *at, *end;
    int line;
    char why[META_WHY_BYTES];
};

// Takes the line "name: value\n"; returns the value and its length, or NULL.
static const char *take(struct meta_reader *reader, const char *name, size_t *len) {
    if (reader->why[0]) return NULL;
    reader->line++;
    size_t name_len = strlen(name);
    const char *newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
    bool named = newline && (size_t)(newline - reader->at) > name_len + 2 && !memcmp(reader->at, name, name_len) &&
                 !memcmp(reader->at + name_len, ": ", 2);
    if (!named) {
        snprintf(reader->why, sizeof reader->why, "expected \"%s: ...\"", name);
        return NULL;
    }
    const char *value = reader->at + name_len + 2;
    *len = (size_t)(newline - value);
    reader->at = newline + 1;
    return value;
}

static void take_text(struct meta_reader *reader, const char *name, char out[META_TEXT_MAX + 1]) {
    size_t len = 0;
    const char *value = take(reader, name, &len);
    if (!value) return;
    if (len > META_TEXT_MAX || memchr(value, 0, len)) {
        snprintf(reader->why, sizeof reader->why, "%s has a bad value", name);
        return;
    }
    memcpy(out, value, len);
    out[len] = 0;
}

// Decimal digits without sign or leading zero, at most INT_MAX.
static void take_int(struct meta_reader *reader, const char *name, int *out) {
    size_t len = 0;
    const char *value = take(reader, name, &len);
    if (!value) return;
    long long number = 0;
    bool good = len <= 10 && (value[0] != '0' || len == 1);
    for (size_t i = 0; good && i < len; i++) {
        good = value[i] >= '0' && value[i] <= '9';
        number = number * 10 + (value[i] - '0');
    }
    if (good && number <= INT_MAX)
        *out = (int)number;
    else
        snprintf(reader->why, sizeof reader->why, "%s is not a number from 0 to %d", name, INT_MAX);
}

static void take_version(struct meta_reader *reader) {
    int version = 0;
    take_int(reader, "meta_version", &version);
    if (!reader->why[0] && version != SAGE_META_VERSION)
        snprintf(reader->why, sizeof reader->why, "version %d; this libsage reads %d", version, SAGE_META_VERSION);
}

// The last line holds the hash of all before it, and nothing follows.
static void take_hash(struct meta_reader *reader, const char *text) {
    if (reader->why[0]) return;
    char computed[KEY_HEX64_BYTES];
    key_hash64(text, (size_t)(reader->at - text), computed);
    size_t len = 0;
    const char *value = take(reader, "meta_hash", &len);
    if (!value) return;
    if (len != KEY_HEX64_BYTES - 1 || memcmp(value, computed, len) != 0)
        snprintf(reader->why, sizeof reader->why, "the text does not match its hash");
    else if (reader->at != reader->end)
        snprintf(reader->why, sizeof reader->why, "bytes after the last line");
}

bool meta_is_of_other_version(const char *text, size_t len) {
    const size_t last_bytes = strlen("meta_hash: ") + KEY_HEX64_BYTES; // the newline counts as the NUL
    if (len <= last_bytes || text[len - last_bytes - 1] != '\n') return false;
    struct meta_reader first = {.at = text, .end = text + len},
                       last = {.at = text + len - last_bytes, .end = text + len};
    int version = 0;
    take_int(&first, "meta_version", &version);
    take_hash(&last, text);
    return !first.why[0] && !last.why[0] && version != SAGE_META_VERSION;
}

sage_status meta_read(sage_context *context, const char *text, size_t len, struct meta *out) {
    if (len > META_FILE_MAX)
        return context_error(context, SAGE_ERROR_CORRUPT, "kernel.meta: %zu bytes; at most %d", len, META_FILE_MAX);
    struct meta_reader reader = {.at = text, .end = text + len};
    struct meta meta;
    memset(&meta, 0, sizeof meta);
    take_version(&reader);
#define READ_TEXT(name, help) take_text(&reader, #name, meta.name);
#define READ_INT(name, help)  take_int(&reader, #name, &meta.name);
    SAGE_META_TEXTS(READ_TEXT)
    SAGE_META_INTS(READ_INT)
#undef READ_TEXT
#undef READ_INT
    take_hash(&reader, text);
    if (!reader.why[0]) meta_check(&meta, reader.why);
    if (reader.why[0]) return context_error(context, SAGE_ERROR_CORRUPT, "kernel.meta:%d: %s", reader.line, reader.why);
    *out = meta;
    return SAGE_OK;
}

// what: "cubin".
static sage_status check_file(sage_context *context, const struct meta *meta, const char *what, const void *data,
                              size_t bytes, int meta_bytes, const char *meta_hash) {
    if (bytes != (size_t)meta_bytes)
        return context_error(context, SAGE_ERROR_CORRUPT, "%s of %s: %zu bytes; its metadata says %d", what,
                             meta->entry, bytes, meta_bytes);
    char hash[KEY_BYTES];
    key_hash(data, bytes, hash);
    if (strcmp(hash, meta_hash) != 0)
        return context_error(context, SAGE_ERROR_CORRUPT, "%s of %s: hash %s; its metadata says %s", what, meta->entry,
                             hash, meta_hash);
    return SAGE_OK;
}

sage_status meta_check_cubin(sage_context *context, const struct meta *meta, const void *cubin, size_t cubin_bytes) {
    return check_file(context, meta, "cubin", cubin, cubin_bytes, meta->cubin_bytes, meta->cubin_hash);
}

sage_status meta_check_source(sage_context *context, const struct meta *meta, const void *source, size_t source_bytes) {
    return check_file(context, meta, "source", source, source_bytes, meta->source_bytes, meta->source_hash);
}
