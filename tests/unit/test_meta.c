// Tests of runtime/meta and meta_write: round trip, each field missing, wrong values, random damage (run under ASan
// too). SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

static sage_context *context;

// noinline: gcc 12 takes the returned pointer for a dangling one.
__attribute__((noinline)) static char *written(const struct meta *meta, size_t *len) {
    char *text = NULL;
    assert_int_equal(meta_write(context, meta, &text, len), SAGE_OK);
    return text;
}

// Reads a copy that has no byte to spare, so that ASan sees any step beyond it.
static sage_status read_exact(const char *text, size_t len, struct meta *out) {
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    sage_status status = meta_read(context, copy, len, out);
    free(copy);
    return status;
}

// Recomputes the hash of the last line, so that the checks behind it are reached. Returns the new length.
static size_t sign(char *text, size_t len) {
    const char *last = memrchr(text, 'm', len); // of meta_hash
    while (last > text && last[-1] != '\n') last = memrchr(text, 'm', (size_t)(last - text));
    char hash[KEY_HEX64_BYTES];
    size_t body = (size_t)(last - text);
    key_hash64(text, body, hash);
    return body + (size_t)sprintf(text + body, "meta_hash: %s\n", hash);
}

static void round_trip(void **state) {
    (void)state;
    struct meta meta = fixture_meta("source", "ptx", "cubin", 5), again;
    memset(&again, 0xAA, sizeof again);
    size_t len;
    char *text = written(&meta, &len);
    assert_int_equal(strlen(text), len);
    assert_int_equal(read_exact(text, len, &again), SAGE_OK);
#define SAME_TEXT(name, help) assert_string_equal(meta.name, again.name);
#define SAME_INT(name, help)  assert_int_equal(meta.name, again.name);
    SAGE_META_TEXTS(SAME_TEXT)
    SAGE_META_INTS(SAME_INT)
    size_t len_again;
    char *text_again = written(&again, &len_again);
    assert_int_equal(len, len_again);
    assert_memory_equal(text, text_again, len);
    context_free(context, text);
    context_free(context, text_again);
}

static void every_line_is_needed(void **state) {
    (void)state;
    struct meta meta = fixture_meta("source", "ptx", "cubin", 5), out;
    size_t len;
    char *text = written(&meta, &len), *cut = malloc(META_FILE_MAX);
    int lines = 0;
    for (const char *line = text; *line; lines++) {
        const char *next = strchr(line, '\n') + 1;
        size_t before = (size_t)(line - text), after = len - (size_t)(next - text);
        memcpy(cut, text, before);
        memcpy(cut + before, next, after);
        size_t cut_len = after ? sign(cut, before + after) : before;
        assert_int_equal(read_exact(cut, cut_len, &out), SAGE_ERROR_CORRUPT);
        line = next;
    }
    assert_true(lines > 40);
    for (size_t i = 0; i < len; i++) assert_int_equal(read_exact(text, i, &out), SAGE_ERROR_CORRUPT);
    free(cut);
    context_free(context, text);
}

static void expect_refused(const char *from, const char *to) {
    struct meta meta = fixture_meta("source", "ptx", "cubin", 5), out;
    size_t len;
    char *text = written(&meta, &len), *changed = malloc(META_FILE_MAX);
    const char *at = strstr(text, from);
    assert_non_null(at);
    size_t before = (size_t)(at - text);
    size_t changed_len = (size_t)sprintf(changed, "%.*s%s%s", (int)before, text, to, at + strlen(from));
    changed_len = sign(changed, changed_len);
    assert_int_equal(read_exact(changed, changed_len, &out), SAGE_ERROR_CORRUPT);
    free(changed);
    context_free(context, text);
}

static void wrong_values_are_refused(void **state) {
    (void)state;
    expect_refused("meta_version: 3", "meta_version: 4");
    expect_refused("role: attn_fwd", "role: attn_bwd");
    expect_refused("target: sm_90a", "target: sm_90x");
    expect_refused("io: bf16", "io: fp32");
    expect_refused("mask: none", "mask: Causal");
    expect_refused("entry: sage", "entry: ../sage");
    expect_refused("spec: int8", "spec:  int8");
    expect_refused("spec_hash: 0", "spec_hash: g");
    expect_refused("threads: 256", "threads: 0256");
    expect_refused("threads: 256", "threads: 4096");
    expect_refused("threads: 256", "threads: -1");
    expect_refused("threads: 256", "threads: 99999999999999999999");
    expect_refused("safe: 0", "safe: 2");
    expect_refused("d_qk: 128\nd_v", "d_qk: 64\nd_v");
    expect_refused("cubin_bytes: 5", "cubin_bytes: 0");
    expect_refused("threads: 256\n", "threads: 256\r\n");
    expect_refused("threads: 256\n", "threads: 256\nmore: 1\n");
}

static void the_writer_refuses_too(void **state) {
    (void)state;
    struct meta meta = fixture_meta("source", "ptx", "cubin", 5);
    char *text = NULL;
    size_t len = 0;
    meta.registers = -1;
    assert_int_equal(meta_write(context, &meta, &text, &len), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(sage_last_error(context), "registers"));
    meta = fixture_meta("source", "ptx", "cubin", 5);
    strcpy(meta.variant, "a\nb");
    assert_int_equal(meta_write(context, &meta, &text, &len), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(sage_last_error(context), "variant"));
    memset(meta.variant, 'x', sizeof meta.variant); // no NUL
    assert_int_equal(meta_write(context, &meta, &text, &len), SAGE_ERROR_INVALID_ARGUMENT);
    assert_null(text);
}

static uint64_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void random_damage(void **state) {
    (void)state;
    struct meta meta = fixture_meta("source", "ptx", "cubin", 5), out;
    size_t len;
    char *text = written(&meta, &len), *damaged = malloc(META_FILE_MAX + 64);
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        memcpy(damaged, text, len + 1);
        size_t damaged_len = len;
        for (uint64_t changes = 1 + next_random(&seed) % 4; changes; changes--) {
            size_t at = next_random(&seed) % damaged_len;
            switch (next_random(&seed) % 4) {
            case 0:
                damaged[at] = (char)next_random(&seed);
                break;
            case 1:
                damaged[at] = (char)(damaged[at] ^ (1 << next_random(&seed) % 8));
                break;
            case 2:
                damaged_len = at + 1;
                break;
            default:
                memmove(damaged + at, damaged + at + 1, damaged_len - at - 1), damaged_len--;
                break;
            }
            if (damaged_len == 0) break;
        }
        bool same = damaged_len == len && !memcmp(damaged, text, len);
        assert_int_equal(read_exact(damaged, damaged_len, &out), same ? SAGE_OK : SAGE_ERROR_CORRUPT);
    }
    for (int round = 0; round < 2000; round++) { // signed damage: values are checked, nothing crashes
        memcpy(damaged, text, len + 1);
        size_t at = next_random(&seed) % (len - 40);
        damaged[at] = (char)(damaged[at] ^ (1 << next_random(&seed) % 7));
        size_t signed_len = sign(damaged, len);
        sage_status status = read_exact(damaged, signed_len, &out);
        assert_true(status == SAGE_OK || status == SAGE_ERROR_CORRUPT);
    }
    for (size_t i = 0; i < META_FILE_MAX + 64; i++) damaged[i] = (char)next_random(&seed);
    assert_int_equal(read_exact(damaged, META_FILE_MAX + 64, &out), SAGE_ERROR_CORRUPT);
    assert_int_equal(read_exact(damaged, 0, &out), SAGE_ERROR_CORRUPT);
    free(damaged);
    context_free(context, text);
}

static void targets(void **state) {
    (void)state;
    assert_true(meta_target_rank("sm_80", 80) > 0);
    assert_true(meta_target_rank("sm_80", 89) > 0);
    assert_int_equal(meta_target_rank("sm_80", 90), 0);
    assert_int_equal(meta_target_rank("sm_89", 86), 0);
    assert_int_equal(meta_target_rank("sm_90a", 90) > 0, 1);
    assert_int_equal(meta_target_rank("sm_120a", 121), 0);
    assert_true(meta_target_rank("sm_120f", 121) > 0);
    assert_int_equal(meta_target_rank("sm_120f", 100), 0);
    assert_true(meta_target_rank("sm_90a", 90) > meta_target_rank("sm_90", 90));
    assert_true(meta_target_rank("sm_89", 89) > meta_target_rank("sm_80", 89));
    assert_true(meta_target_rank("sm_120a", 120) > meta_target_rank("sm_120f", 120));
    assert_true(meta_target_rank("sm_121a", 121) > meta_target_rank("sm_120f", 121));
    const char *const bad[] = {"", "sm_", "sm_9", "sm_090", "sm_1200", "compute_90", "sm_90b", "sm_90aa", "sm_90 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(meta_target_rank(bad[i], 90), 0);
}

static int make_context(void **state) {
    (void)state;
    context = fixture_context(NULL, NULL);
    return 0;
}

static int free_context(void **state) {
    (void)state;
    sage_context_destroy(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(every_line_is_needed),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(the_writer_refuses_too),
        cmocka_unit_test(random_damage),
        cmocka_unit_test(targets),
    };
    return cmocka_run_group_tests(tests, make_context, free_context);
}
