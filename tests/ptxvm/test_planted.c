// test_planted: kernels with one planted bug each, planted/*.ptx. A check must find that bug, of that kind, at that
// line, under every seed; the twin without the bug must be clean under every seed.
//
// A file is PTX with marks at the ends of lines:
//   //@ bug       the line belongs to the buggy twin only        //@ clean     to the clean twin only
//   //@ KIND ...  a finding of that kind is expected here (in the buggy twin); KIND? may come too
// and a second line "// launch: block N cluster N". Parameters are a buffer that was written and one that was not.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptxvm.h"

enum { SEEDS = 32, BUFFER_BYTES = 65536, LINES_MAX = 256 };

/* -- A file -------------------------------------------------------------------------------------------------------- */

struct plant {
    char *text;
    unsigned block, cluster;
    unsigned expected[LINES_MAX], allowed[LINES_MAX]; /* bits of finding kinds, by line */
};

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    size_t bytes = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    assert_true(bytes > 0);
    return text;
}

static const char *const kind_names[] = {
#define KIND_NAME(name, text) #name,
    PTXVM_FINDINGS(KIND_NAME)
#undef KIND_NAME
};

static unsigned kind_bit(const char *word, size_t bytes) {
    for (unsigned k = 0; k < PTXVM_FINDING_COUNT; k++)
        if (strlen(kind_names[k]) == bytes && !strncmp(kind_names[k], word, bytes)) return 1u << k;
    fail_msg("no kind of finding: %.*s", (int)bytes, word);
    return 0;
}

// Reads the marks of one line; true if the line belongs to this twin.
static bool read_marks(struct plant *p, unsigned line, const char *mark, const char *end, bool buggy) {
    bool here = true;
    while (mark < end) {
        size_t bytes = strcspn(mark, " \n");
        if (bytes == 3 && !strncmp(mark, "bug", 3))
            here = buggy;
        else if (bytes == 5 && !strncmp(mark, "clean", 5))
            here = !buggy;
        else if (bytes && mark[bytes - 1] == '?')
            p->allowed[line] |= kind_bit(mark, bytes - 1);
        else if (bytes)
            p->expected[line] |= kind_bit(mark, bytes);
        mark += bytes + 1;
    }
    return here;
}

// The twin: lines of the other one are blanked, so that line numbers stay.
static void read_plant(struct plant *p, const char *path, bool buggy) {
    memset(p, 0, sizeof *p);
    p->text = read_file(path);
    const char *launch = strstr(p->text, "// launch: ");
    assert_non_null(launch);
    assert_int_equal(sscanf(launch, "// launch: block %u cluster %u", &p->block, &p->cluster), 2);
    unsigned line = 1;
    for (char *at = p->text; *at; line++) {
        char *end = at + strcspn(at, "\n");
        assert_true(line < LINES_MAX);
        char *mark = strstr(at, "//@ ");
        if (mark && mark < end && !read_marks(p, line, mark + 4, end, buggy)) memset(at, ' ', (size_t)(end - at));
        at = *end ? end + 1 : end;
    }
}

/* -- A run --------------------------------------------------------------------------------------------------------- */

struct seen {
    const struct plant *plant;
    bool buggy;
    unsigned expected, others;
    char text[512]; /* of the first that was not expected */
};

static void note(void *user, const struct ptxvm_finding *f) {
    struct seen *s = user;
    unsigned bit = 1u << f->kind;
    bool in_range = s->buggy && f->ptx_line < LINES_MAX;
    if (in_range && s->plant->expected[f->ptx_line] & bit) {
        s->expected++;
    } else if (!in_range || !(s->plant->allowed[f->ptx_line] & bit)) {
        if (!s->others++)
            snprintf(s->text, sizeof s->text, "line %u: %s: %s", f->ptx_line, kind_names[f->kind], f->text);
    } else {
        s->expected++;
    }
    assert_true(strlen(f->text) > 0);
    assert_string_equal(f->kernel, "k");
}

static void launch(ptxvm *vm, const struct plant *p, const ptxvm_kernel *kernel) {
    uint64_t parameters[2];
    uint32_t words[BUFFER_BYTES / 4];
    for (unsigned k = 0; k < BUFFER_BYTES / 4; k++) words[k] = k;
    assert_int_equal(ptxvm_alloc(vm, BUFFER_BYTES, &parameters[0]), PTXVM_OK);
    assert_int_equal(ptxvm_alloc(vm, BUFFER_BYTES, &parameters[1]), PTXVM_OK);
    assert_int_equal(ptxvm_write(vm, parameters[0], words, sizeof words), PTXVM_OK);
    struct ptxvm_launch l = {
        .grid = {p->cluster, 1, 1}, .block = {p->block, 1, 1}, .cluster = {p->cluster, 1, 1}, .parameters = parameters};
    ptxvm_status status = ptxvm_run(vm, kernel, &l);
    assert_int_equal(status == PTXVM_OK, ptxvm_findings(vm) == 0);
    assert_true(status == PTXVM_OK || status == PTXVM_ERROR_FAULT);
}

// One seed of one twin.
static void run_seed(const struct plant *p, uint64_t seed, struct seen *seen) {
    struct ptxvm_options options = {.size = sizeof options,
                                    .checks = PTXVM_CHECK_ALL,
                                    .seed = seed,
                                    .instruction_limit = 10 * 1000 * 1000,
                                    .finding = note,
                                    .user = seen};
    ptxvm *vm;
    ptxvm_module *module;
    ptxvm_kernel *kernel;
    assert_int_equal(ptxvm_create(&options, &vm), PTXVM_OK);
    if (ptxvm_module_load(vm, p->text, strlen(p->text), &module) != PTXVM_OK) fail_msg("%s", ptxvm_error(vm));
    assert_int_equal(ptxvm_module_kernel(module, "k", &kernel), PTXVM_OK);
    launch(vm, p, kernel);
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
}

// Seeds that found what was planted; complains about whatever else was found.
static unsigned run_twin(const char *path, bool buggy, unsigned *wrong) {
    struct plant p;
    unsigned hits = 0;
    read_plant(&p, path, buggy);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct seen seen = {.plant = &p, .buggy = buggy};
        run_seed(&p, seed, &seen);
        hits += seen.expected > 0;
        if (seen.others && !(*wrong)++)
            print_error("%s (%s, seed %u): %s\n", path, buggy ? "buggy" : "clean", (unsigned)seed, seen.text);
    }
    free(p.text);
    return hits;
}

static bool check_file(const char *path) {
    unsigned wrong = 0, hits = run_twin(path, true, &wrong);
    run_twin(path, false, &wrong);
    if (hits < SEEDS) print_error("%s: found under %u of %u seeds\n", path, hits, (unsigned)SEEDS);
    return !wrong && hits == SEEDS;
}

/* -- All files ----------------------------------------------------------------------------------------------------- */

static int is_ptx(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot && !strcmp(dot, ".ptx");
}

static void all_bugs_are_found(void **state) {
    (void)state;
    struct dirent **entry;
    int count = scandir(SOURCE_DIR "/tests/ptxvm/planted", &entry, is_ptx, alphasort), bad = 0;
    assert_true(count > 40);
    for (int k = 0; k < count; k++) {
        char path[1024];
        snprintf(path, sizeof path, SOURCE_DIR "/tests/ptxvm/planted/%s", entry[k]->d_name);
        bad += !check_file(path);
        free(entry[k]);
    }
    free(entry);
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_bugs_are_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
