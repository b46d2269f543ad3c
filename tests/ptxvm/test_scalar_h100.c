// test_scalar_h100: single instructions on the PTX machine against what an H100 gave, bit for bit: scalar_h100.txt has
// a digest of the results of each for 2048 inputs (see probe.h). SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>

#include "probe.h"
#include "ptxvm.h"

enum { LINE_MAX_BYTES = 512, LEAST_PROBES = 1200 };

struct probe {
    char klass[16], letters[16];
    uint64_t digest;
    const char *text;
};

// A line of the list; false for comments.
static int parse_line(char *line, struct probe *probe) {
    int text = 0;
    line[strcspn(line, "\n")] = 0;
    if (line[0] == '#') return 0;
    if (sscanf(line, "%15s %15s %" SCNx64 " %n", probe->klass, probe->letters, &probe->digest, &text) != 3) return 0;
    probe->text = line + text;
    return 1;
}

// Fails with the machine's message.
static void must(ptxvm *vm, ptxvm_status status, const struct probe *probe) {
    if (status == PTXVM_OK) return;
    fail_msg("%s: %s", probe->text, ptxvm_error(vm));
}

// The instruction twice, half of the lanes at each: the results are the same, but no lane runs with its whole warp.
static void diverge(char *text, size_t bytes, const char *instruction) {
    snprintf(text, bytes,
             "{ .reg .pred odd; .reg .b32 lane; mov.u32 lane, %%tid.x; and.b32 lane, lane, 5;\n"
             "setp.ne.u32 odd, lane, 0; @odd bra SECOND;\n%s\nbra LAST;\nSECOND:\n%s\nLAST: }",
             instruction, instruction);
}

static uint64_t run_probe(const struct probe *probe, int divergent) {
    static uint64_t inputs[PROBE_THREADS][PROBE_SOURCES], results[PROBE_THREADS];
    char text[2 * PROBE_TEXT_MAX] = PROBE_HEAD, twice[2 * LINE_MAX_BYTES + 512];
    size_t bytes = strlen(text);
    diverge(twice, sizeof twice, probe->text);
    bytes += probe_text(text + bytes, "probe", probe->letters, divergent ? twice : probe->text);
    for (unsigned n = 0; n < PROBE_THREADS; n++)
        for (unsigned k = 0; k < PROBE_SOURCES; k++) inputs[n][k] = probe_input(probe->klass, n, k);

    struct ptxvm_options options = {.size = sizeof options, .checks = PTXVM_CHECK_ALL};
    ptxvm *vm = NULL;
    ptxvm_module *module = NULL;
    ptxvm_kernel *kernel = NULL;
    uint64_t parameters[2];
    assert_int_equal(ptxvm_create(&options, &vm), PTXVM_OK);
    must(vm, ptxvm_module_load(vm, text, bytes, &module), probe);
    must(vm, ptxvm_module_kernel(module, "probe", &kernel), probe);
    must(vm, ptxvm_alloc(vm, sizeof inputs, &parameters[0]), probe);
    must(vm, ptxvm_alloc(vm, sizeof results, &parameters[1]), probe);
    must(vm, ptxvm_write(vm, parameters[0], inputs, sizeof inputs), probe);
    struct ptxvm_launch launch = {
        .grid = {PROBE_THREADS / PROBE_BLOCK, 1, 1}, .block = {PROBE_BLOCK, 1, 1}, .parameters = parameters};
    must(vm, ptxvm_run(vm, kernel, &launch), probe);
    must(vm, ptxvm_read(vm, results, parameters[1], sizeof results), probe);
    ptxvm_module_unload(module);
    ptxvm_destroy(vm);
    return probe_digest(results);
}

static void check_list(int divergent) {
    FILE *list = fopen(SOURCE_DIR "/tests/ptxvm/scalar_h100.txt", "r");
    assert_non_null(list);
    char line[LINE_MAX_BYTES];
    struct probe probe;
    unsigned probes = 0, different = 0;
    while (fgets(line, sizeof line, list) != NULL) {
        if (!parse_line(line, &probe)) continue;
        probes++;
        if (run_probe(&probe, divergent) == probe.digest) continue;
        different++;
        print_error("not as on the H100: %s %s %s\n", probe.klass, probe.letters, probe.text);
    }
    fclose(list);
    assert_true(probes >= LEAST_PROBES);
    assert_int_equal(different, 0);
}

static void every_instruction_agrees(void **state) {
    (void)state;
    check_list(0);
}

static void every_instruction_agrees_in_part_of_a_warp(void **state) {
    (void)state;
    check_list(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_instruction_agrees),
                                       cmocka_unit_test(every_instruction_agrees_in_part_of_a_warp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
