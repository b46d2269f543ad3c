// Tests of wisdom: the text is read as it was written, or refused as a whole with file and line; which row answers
// which query; joins that do not depend on the order; and what a context, select and the generator make of it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"

#include "fake_cuda.h"
#include "nvrtc.h"
#include "shipped.h"
#include "wisdom_text.h"
#include <inttypes.h>

static struct fake_cuda fake;

/* -- Rows ---- */

static const struct wisdom_machine h100 = {90, 132, "580.1", "Fake GPU 0"}, h100_pcie = {90, 114, "580.1", "Fake PCIe"},
                                   l40s = {89, 142, "570.2", "Fake L40S"};

static struct wisdom_row row_of(const char *variant, int64_t tokens, int64_t batch, int64_t ns) {
    struct wisdom_row row = {.spec = "int8_fp8_d128",
                             .spec_hash = "0123456789abcdef",
                             .target = "sm_90a",
                             .io = "bf16",
                             .mask = "none",
                             .head_dim_qk = 128,
                             .head_dim_v = 128,
                             .batch = batch,
                             .heads_q = 32,
                             .heads_kv = 32,
                             .seq_q = tokens,
                             .seq_k = tokens,
                             .variant_ns = ns,
                             .default_ns = 2000};
    snprintf(row.variant, sizeof row.variant, "%s", variant);
    return row;
}

static void add(struct wisdom_list *list, const struct wisdom_machine *m, const struct wisdom_row *row) {
    wisdom_list_add(list, m, row, WISDOM_BETTER);
}

static struct wisdom read_list(sage_context *context, const struct wisdom_list *list) {
    struct wisdom wisdom;
    struct buf text = {0};
    wisdom_list_print(list, &text);
    const sage_status status = wisdom_read(context, "list", text.data, text.len, &wisdom);
    if (status != SAGE_OK) print_message("%s\n", sage_last_error(context));
    assert_int_equal(status, SAGE_OK);
    buf_free(&text);
    return wisdom;
}

/* -- Text ---- */

static void a_text_is_read_as_it_was_written(void **state) {
    (void)state;
    sage_context *context = fixture_context(NULL, NULL);
    struct wisdom_list list = {0}, again = {0};
    struct buf first = {0}, second = {0};
    struct wisdom_row row = row_of("q128_k64_s3_w8", 4096, 4, 1234567890123);
    add(&list, &h100, &row);
    add(&list, &l40s, &row);
    struct wisdom wisdom = read_list(context, &list);
    assert_int_equal(wisdom.machines, 2);
    assert_int_equal(wisdom.rows, 2);
    assert_string_equal(wisdom.machine[0].gpu, "Fake L40S"); // sorted
    row.machine = 0;
    assert_memory_equal(&wisdom.row[0], &row, sizeof row);
    wisdom_list_join(&again, &wisdom, WISDOM_BETTER);
    wisdom_list_print(&list, &first);
    wisdom_list_print(&again, &second);
    assert_string_equal(first.data, second.data);
    wisdom_free(context, &wisdom);
    wisdom_list_free(&list);
    wisdom_list_free(&again);
    buf_free(&first);
    buf_free(&second);
    sage_context_destroy(context);
}

static const char good_row[] =
    "row int8_fp8_d128 0123456789abcdef sm_90a bf16 none q128_k64_s3_w8 128 128 4 32 32 4096 4096 1000 2000";

// The lines behind the head, with the right hash below them.
static void put_text(struct buf *out, const char *lines) {
    char hash[KEY_HEX64_BYTES];
    buf_printf(out, "sagegen wisdom 1\n%s", lines);
    key_hash64(out->data, out->len, hash);
    buf_printf(out, "hash %s\n", hash);
}

static void expect_refused(const char *text, size_t len, int line, const char *reason) {
    sage_context *context = fixture_context(NULL, NULL);
    struct wisdom wisdom = {.rows = -1};
    char at[32];
    snprintf(at, sizeof at, "w.txt:%d: ", line);
    assert_int_equal(wisdom_read(context, "w.txt", text, len, &wisdom), SAGE_ERROR_CORRUPT);
    const char *got = sage_last_error(context);
    if (strncmp(got, at, strlen(at)) != 0 || !strstr(got, reason)) print_message("got: %s\n", got);
    assert_int_equal(strncmp(got, at, strlen(at)), 0);
    assert_non_null(strstr(got, reason));
    assert_int_equal(wisdom.rows, -1);
    sage_context_destroy(context);
}

#define MACHINE "machine sm_90 132 580.1 Fake GPU 0\n"

static void every_bad_line_refuses_the_file(void **state) {
    (void)state;
    static const struct {
        const char *lines;
        int line;
        const char *reason;
    } cases[] = {
        {"rows\n", 2, "a line begins with machine, row, hash or #"},
        {"row a\n", 2, "a row before any machine"},
        {"machine sm_90a 132 580.1 X\n", 2, "like sm_90"},
        {"machine 90 132 580.1 X\n", 2, "like sm_90"},
        {"machine sm_90 0 580.1 X\n", 2, "1 or more multiprocessors"},
        {"machine sm_90 132 580.1\n", 2, "printable"},
        {"machine sm_90 132 580.1 a\tb\n", 2, "printable"},
        {MACHINE "row int8_fp8_d128\n", 3, "too few words"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 none v 128 128 4 32 32 4096 4096 1 2 3\n", 3, "too many words"},
        {MACHINE "row s 0123456789abcde sm_90a bf16 none v 128 128 4 32 32 4096 4096 1 2\n", 3, "16 hex digits"},
        {MACHINE "row s 0123456789abcdef 90 bf16 none v 128 128 4 32 32 4096 4096 1 2\n", 3, "like sm_90a"},
        {MACHINE "row s 0123456789abcdef sm_90a fp8 none v 128 128 4 32 32 4096 4096 1 2\n", 3, "bf16 or fp16"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 full v 128 128 4 32 32 4096 4096 1 2\n", 3, "none or causal"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 none ../v 128 128 4 32 32 4096 4096 1 2\n", 3, "plain word"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 none v 128 128 4 32 5 4096 4096 1 2\n", 3, "multiple of heads_kv"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 none v 128 128 4 32 32 4096 4096 -1 2\n", 3, "digits alone"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 none v 128 128 4 32 32 4096 4096 0 2\n", 3, "1 or more"},
        {MACHINE "row s 0123456789abcdef sm_90a bf16 none v 128 128 4 32 32 4096 1234567890123456 1 2\n", 3,
         "too long"},
        {MACHINE "# fine\n\nhash 0123456789abcdef\n", 5, "does not match its hash"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf text = {0};
        put_text(&text, cases[i].lines);
        expect_refused(text.data, text.len, cases[i].line, cases[i].reason);
        buf_free(&text);
    }
}

static void damage_of_any_byte_is_seen(void **state) {
    (void)state;
    sage_context *context = fixture_context(NULL, NULL);
    struct buf text = {0}, lines = {0};
    struct wisdom wisdom;
    buf_printf(&lines, MACHINE "%s\n", good_row);
    put_text(&text, lines.data);
    assert_int_equal(wisdom_read(context, "w", text.data, text.len, &wisdom), SAGE_OK);
    wisdom_free(context, &wisdom);
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 1;
        assert_int_equal(wisdom_read(context, "w", text.data, text.len, &wisdom), SAGE_ERROR_CORRUPT);
        text.data[i] ^= 1;
    }
    for (size_t len = 0; len < text.len; len++)
        assert_int_equal(wisdom_read(context, "w", text.data, len, &wisdom), SAGE_ERROR_CORRUPT);
    buf_puts(&text, "\n");
    assert_int_equal(wisdom_read(context, "w", text.data, text.len, &wisdom), SAGE_ERROR_CORRUPT);
    expect_refused("sagegen wisdom 2\n", 17, 1, "another version");
    expect_refused("[wisdom]\n", 9, 1, "begins with: sagegen wisdom 1");
    expect_refused("", 0, 1, "the file is cut");
    buf_free(&text);
    buf_free(&lines);
    sage_context_destroy(context);
}

/* -- Queries ---- */

static const struct wisdom_query query = {.family = "int8_fp8",
                                          .head_dim_qk = 128,
                                          .head_dim_v = 128,
                                          .io = SAGE_BF16,
                                          .mask = SAGE_MASK_NONE,
                                          .gpu = "Fake GPU 0",
                                          .sm = 90,
                                          .multiprocessors = 132};

// The variant that answers; "" for none.
static const char *answer(const struct wisdom *w, const struct wisdom_query *q, enum wisdom_match *match) {
    const struct wisdom_row *row = wisdom_find(w, 1, q, match);
    return row ? row->variant : "";
}

static void the_nearest_problem_answers(void **state) {
    (void)state;
    sage_context *context = fixture_context(NULL, NULL);
    struct wisdom_list list = {0};
    enum wisdom_match match;
    const struct wisdom_row rows[] = {row_of("at_1024", 1024, 4, 1000), row_of("at_4096", 4096, 4, 1000),
                                      row_of("at_16384", 16384, 4, 1000), row_of("small", 4096, 1, 1000)};
    for (int i = 0; i < 4; i++) add(&list, &h100, &rows[i]);
    struct wisdom w = read_list(context, &list);
    const struct {
        sage_attention_shape shape;
        const char *variant;
    } cases[] = {
        {{0, 0, 0, 0, 0}, "at_4096"}, // 4 x 32 heads, 4096 tokens
        {{4, 32, 32, 1024, 1024}, "at_1024"},   {{4, 32, 32, 2047, 2047}, "at_1024"},
        {{4, 32, 32, 2048, 2048}, "at_4096"}, // as far from both: the longer
        {{4, 32, 32, 1, 1}, "at_1024"},         {{4, 32, 32, 1 << 20, 1 << 20}, "at_16384"},
        {{4, 32, 32, 1024, 16384}, "at_16384"}, // four octaves in all from each of the three: the longest
        {{1, 32, 32, 4096, 4096}, "small"},     {{1, 64, 64, 4096, 4096}, "at_4096"}, // an octave from both: the larger
        {{1, 8, 8, 4096, 4096}, "small"},       {{1, 32, 32, 16384, 16384}, "at_16384"}, // lengths first
        {{0, 32, 32, 0, 0}, "at_1024"},                                                  // empty calls too
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wisdom_query q = query;
        q.shape = cases[i].shape;
        const char *got = answer(&w, &q, &match);
        if (strcmp(got, cases[i].variant) != 0) fail_msg("case %zu: %s, not %s", i, got, cases[i].variant);
        assert_int_equal(match, WISDOM_GPU);
    }
    wisdom_free(context, &w);
    wisdom_list_free(&list);
    sage_context_destroy(context);
}

static void another_class_does_not_answer(void **state) {
    (void)state;
    sage_context *context = fixture_context(NULL, NULL);
    struct wisdom_list list = {0};
    enum wisdom_match match;
    const struct wisdom_row row = row_of("v", 4096, 4, 1000);
    add(&list, &h100, &row);
    struct wisdom w = read_list(context, &list);
    assert_string_equal(answer(&w, &query, &match), "v");
    struct wisdom_query q = query;
    q.spec = "int8_fp8_d128";
    assert_string_equal(answer(&w, &q, &match), "v");
#define OTHER(member, ...)                                                                                             \
    q = query;                                                                                                         \
    q.member = __VA_ARGS__;                                                                                            \
    assert_string_equal(answer(&w, &q, &match), "");                                                                   \
    assert_int_equal(match, WISDOM_NONE);
    OTHER(spec, "int8_fp16_d128")
    OTHER(family, "int8_fp16")
    OTHER(family, "int8")
    OTHER(head_dim_qk, 64)
    OTHER(head_dim_v, 64)
    OTHER(io, SAGE_FP16)
    OTHER(mask, SAGE_MASK_CAUSAL)
    OTHER(sm, 89)
    OTHER(shape, (sage_attention_shape){4, 32, 8, 4096, 4096})
#undef OTHER
    wisdom_free(context, &w);
    wisdom_list_free(&list);
    sage_context_destroy(context);
}

static void an_unknown_gpu_takes_the_nearest_of_its_architecture(void **state) {
    (void)state;
    sage_context *context = fixture_context(NULL, NULL);
    struct wisdom_list list = {0};
    enum wisdom_match match;
    const struct wisdom_machine *found;
    const struct wisdom_row sxm = row_of("sxm", 1024, 4, 1000), pcie = row_of("pcie", 4096, 4, 1000);
    add(&list, &h100, &sxm);
    add(&list, &h100_pcie, &pcie);
    struct wisdom w = read_list(context, &list);
    struct wisdom_query q = query;
    assert_string_equal(answer(&w, &q, &match), "sxm"); // the GPU before the problem
    assert_int_equal(match, WISDOM_GPU);
    q.gpu = "Fake H200";
    assert_string_equal(answer(&w, &q, &match), "sxm");
    assert_int_equal(match, WISDOM_ARCHITECTURE);
    q.multiprocessors = 120;
    assert_string_equal(answer(&w, &q, &match), "pcie");
    assert_int_equal(wisdom_match(&w, 1, &q, &found), WISDOM_ARCHITECTURE);
    assert_string_equal(found->gpu, "Fake PCIe");
    q.sm = 120;
    assert_int_equal(wisdom_match(&w, 1, &q, &found), WISDOM_NONE);
    assert_null(found);
    wisdom_free(context, &w);
    wisdom_list_free(&list);
    sage_context_destroy(context);
}

/* -- Joins ---- */

static void print_join(const struct wisdom_list *const *part, int parts, struct buf *out) {
    sage_context *context = fixture_context(NULL, NULL);
    struct wisdom_list all = {0};
    for (int i = 0; i < parts; i++) {
        struct wisdom w = read_list(context, part[i]);
        wisdom_list_join(&all, &w, WISDOM_BETTER);
        wisdom_free(context, &w);
    }
    wisdom_list_print(&all, out);
    wisdom_list_free(&all);
    sage_context_destroy(context);
}

static void joins_do_not_depend_on_the_order(void **state) {
    (void)state;
    struct wisdom_list a = {0}, b = {0}, c = {0};
    const struct wisdom_row slow = row_of("slow", 4096, 4, 1500), fast = row_of("fast", 4096, 4, 1000),
                            tied = row_of("also", 4096, 4, 1000), other = row_of("other", 1024, 4, 1500);
    add(&a, &h100, &slow), add(&a, &l40s, &slow);
    add(&b, &h100, &fast), add(&b, &h100, &other);
    add(&c, &h100, &tied), add(&c, &h100_pcie, &slow);
    const struct wisdom_list *const orders[][4] = {{&a, &b, &c, &a}, {&c, &b, &a, &b}, {&b, &a, &c, &c}};
    struct buf first = {0}, next = {0};
    print_join(orders[0], 4, &first);
    for (int i = 1; i < 3; i++) {
        buf_clear(&next);
        print_join(orders[i], 4, &next);
        assert_string_equal(first.data, next.data);
    }
    assert_non_null(strstr(first.data, " also "));
    assert_null(strstr(first.data, " fast "));
    assert_non_null(strstr(first.data, " other "));
    buf_free(&first);
    buf_free(&next);
    wisdom_list_free(&a);
    wisdom_list_free(&b);
    wisdom_list_free(&c);
}

static void shipped_hash(const char *name, char hash[KEY_HEX64_BYTES]) {
    const struct embedded_file *file = shipped_find(name);
    struct diag d = {0};
    struct spec spec;
    assert_non_null(file);
    assert_true(spec_parse(&spec, file->name, file->data, file->size, &d));
    snprintf(hash, KEY_HEX64_BYTES, "%016" PRIx64, spec.hash);
    spec_free(&spec);
    diag_free(&d);
}

static void rows_of_the_present_spec_come_before_faster_ones(void **state) {
    (void)state;
    struct wisdom_list list = {0};
    struct wisdom_row old = row_of("old", 4096, 4, 1000), present = row_of("present", 4096, 4, 1500);
    shipped_hash("int8_fp8_d128", present.spec_hash);
    for (int i = 0; i < 2; i++) {
        add(&list, &h100, i ? &present : &old);
        add(&list, &h100, i ? &old : &present);
        assert_int_equal(list.rows, 1);
        assert_string_equal(list.row[0].variant, "present");
        wisdom_list_free(&list);
    }
    wisdom_list_add(&list, &h100, &present, WISDOM_REPLACE);
    wisdom_list_add(&list, &h100, &old, WISDOM_REPLACE); // what was measured last
    assert_string_equal(list.row[0].variant, "old");
    wisdom_list_free(&list);
}

/* -- Contexts ---- */

struct fixture {
    char dir[64], file[96];
    struct fixture_log log;
};

static int set_up(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    *state = f;
    fixture_directory(f->dir);
    snprintf(f->file, sizeof f->file, "%s/wisdom.txt", f->dir);
    setenv("SAGE_WISDOM", f->file, 1);
    setenv("SAGE_DRIVER", FAKE_CUDA_PATH, 1);
    if (!fake.library) fake = fake_cuda_open(FAKE_CUDA_PATH);
    fake.reset();
    return fake.library ? 0 : -1;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    unsetenv("SAGE_WISDOM");
    unsetenv("SAGE_DRIVER");
    fixture_remove_tree(f->dir);
    free(f);
    return 0;
}

static void write_rows(const struct fixture *f, const struct wisdom_machine *m, const struct wisdom_row *row) {
    struct wisdom_list list = {0};
    struct diag d = {0};
    add(&list, m, row);
    assert_true(wisdom_list_write(&list, f->file, &d));
    wisdom_list_free(&list);
    diag_free(&d);
}

static sage_context *open_gpu(struct fixture *f, const char *wisdom) {
    const sage_options options = {
        .size = sizeof options, .cache_dir = f->dir, .log = fixture_log_line, .log_user = &f->log, .wisdom = wisdom};
    sage_context *context = NULL;
    const sage_status status = sage_context_create(&options, &context);
    if (status != SAGE_OK) print_message("%s\n", sage_last_error(NULL));
    assert_int_equal(status, SAGE_OK);
    return context;
}

static int tables_of(sage_context *context) {
    struct wisdom_description d;
    wisdom_describe(context, &d);
    return d.tables;
}

static void a_context_reads_the_users_file(void **state) {
    struct fixture *f = *state;
    const struct wisdom_row row = row_of("v", 4096, 4, 1000);
    sage_context *context = open_gpu(f, NULL); // no file is no fault
    assert_int_equal(tables_of(context), 0);
    sage_context_destroy(context);
    write_rows(f, &h100, &row);
    context = open_gpu(f, NULL);
    assert_int_equal(tables_of(context), 1);
    sage_context_destroy(context);
    context = open_gpu(f, "none");
    assert_int_equal(tables_of(context), 0);
    assert_int_equal(wisdom_add(context, "x", "", 0), SAGE_OK); // nor from elsewhere
    assert_int_equal(tables_of(context), 0);
    sage_context_destroy(context);
    assert_int_equal(f->log.count, 0);
}

static void a_bad_file_is_left_out_as_a_whole(void **state) {
    struct fixture *f = *state;
    const struct wisdom_row row = row_of("v", 4096, 4, 1000);
    write_rows(f, &h100, &row);
    FILE *stream = fopen(f->file, "ab");
    fputs("row more\n", stream);
    fclose(stream);
    sage_context *context = open_gpu(f, NULL);
    struct wisdom_description d;
    wisdom_describe(context, &d);
    assert_int_equal(d.tables, 0);
    assert_non_null(strstr(d.reason, "wisdom.txt:5: nothing may follow the hash"));
    assert_int_equal(f->log.count, 1);
    assert_non_null(strstr(f->log.last, "wisdom is left out"));
    sage_context_destroy(context);
}

// Keeps what it was asked for.
static sage_status keep(sage_context *context, void *user, const struct sage_kernel_request *request) {
    char *text = user;
    snprintf(text, 128, "%s %s %s", request->wish.variant ? request->wish.variant : "-",
             request->wish.spec_hash ? request->wish.spec_hash : "-",
             request->wish.target ? request->wish.target : "-");
    return context_error(context, SAGE_ERROR_NOT_FOUND, "it has nothing");
}

static sage_status keep_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                            struct sage_kernel_set *out) {
    (void)out;
    return keep(context, user, request);
}

static void providers_are_told_what_wisdom_names(void **state) {
    struct fixture *f = *state;
    char asked[128] = "";
    const struct wisdom_row row = row_of("v", 4096, 4, 1000);
    const struct sage_provider provider = {"keeper", asked, keep, keep_get, NULL};
    write_rows(f, &h100, &row);
    sage_context *context = open_gpu(f, NULL);
    assert_int_equal(context_add_provider(context, &provider), SAGE_OK);
    sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 128, .precision = SAGE_INT8_FP8};
    sage_attention_supports(context, &desc, NULL, 0);
    assert_string_equal(asked, "v 0123456789abcdef sm_90a");
    desc.expected = (sage_attention_shape){1, 32, 8, 512, 512}; // groups: another class
    sage_attention_supports(context, &desc, NULL, 0);
    assert_string_equal(asked, "- - -");
    desc.size = offsetof(sage_attention_desc, expected); // an older caller, whose struct ends there
    sage_attention_supports(context, &desc, NULL, 0);
    assert_string_equal(asked, "v 0123456789abcdef sm_90a");
    desc.size = sizeof desc;
    desc.expected.heads_kv = 5;
    assert_int_equal(sage_attention_supports(context, &desc, asked, sizeof asked), SAGE_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(asked, "desc.expected: shape.heads_q"));
    sage_context_destroy(context);
}

static void expect_plan(struct fixture *f, const char *variant, const char *hash, const char *describe) {
    struct wisdom_row row = row_of(variant, 4096, 4, 1000);
    snprintf(row.spec, sizeof row.spec, "int8_fp16_d64");
    row.head_dim_qk = row.head_dim_v = 64;
    snprintf(row.spec_hash, sizeof row.spec_hash, "%s", hash);
    write_rows(f, &h100, &row);
    sage_context *context = open_gpu(f, NULL);
    assert_int_equal(sage_use_generator(context), SAGE_OK);
    sage_attention_plan *plan = NULL;
    const sage_attention_desc desc = {.size = sizeof desc, .head_dim_qk = 64, .precision = SAGE_INT8_FP16};
    const sage_status status = sage_attention_plan_create(context, &desc, &plan);
    if (status != SAGE_OK) print_message("%s\n", sage_last_error(context));
    assert_int_equal(status, SAGE_OK);
    assert_string_equal(sage_attention_plan_describe(plan), describe);
    sage_attention_plan_destroy(plan);
    sage_context_destroy(context);
}

static void the_generator_gives_what_wisdom_names(void **state) {
    struct fixture *f = *state;
    sage_context *context = open_gpu(f, NULL);
    struct nvrtc_info info;
    const bool have_nvrtc = nvrtc_find(context, &info) == SAGE_OK;
    char hash[KEY_HEX64_BYTES];
    sage_context_destroy(context);
    if (!have_nvrtc) skip();
    shipped_hash("int8_fp16_d64", hash);
    expect_plan(f, "q128_k64_s3_w8", hash, "int8_fp16_d64 q128_k64_s3_w8 sm_90a");
    // Of another form of the spec, unknown to it, or unable to run there: the default one.
    expect_plan(f, "q128_k64_s3_w8", "0123456789abcdef", "int8_fp16_d64 q128_k128_s2_w8 sm_90a");
    expect_plan(f, "q999_k64_s3_w8", hash, "int8_fp16_d64 q128_k128_s2_w8 sm_90a");
    expect_plan(f, "q64_k64_s2_w4", hash, "int8_fp16_d64 q128_k128_s2_w8 sm_90a");
}

// What tuning/wisdom holds is read whole, and its rows are of the specs as they are now.
static void shipped_tables_are_sound(void **state) {
    (void)state;
    for (int i = 0; i < embedded_file_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        struct wisdom_list list = {0};
        struct diag d = {0};
        if (strncmp(file->name, "tuning/wisdom/", 14) != 0) continue;
        assert_true(wisdom_list_parse(&list, file->name, file->data, file->size, WISDOM_BETTER, &d));
        for (int k = 0; k < list.rows; k++) assert_true(wisdom_row_is_current(&list.row[k]));
        wisdom_list_free(&list);
        diag_free(&d);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_read_as_it_was_written),
        cmocka_unit_test(every_bad_line_refuses_the_file),
        cmocka_unit_test(damage_of_any_byte_is_seen),
        cmocka_unit_test(the_nearest_problem_answers),
        cmocka_unit_test(another_class_does_not_answer),
        cmocka_unit_test(an_unknown_gpu_takes_the_nearest_of_its_architecture),
        cmocka_unit_test(joins_do_not_depend_on_the_order),
        cmocka_unit_test(rows_of_the_present_spec_come_before_faster_ones),
        cmocka_unit_test(shipped_tables_are_sound),
        T(a_context_reads_the_users_file),
        T(a_bad_file_is_left_out_as_a_whole),
        T(providers_are_told_what_wisdom_names),
        T(the_generator_gives_what_wisdom_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
