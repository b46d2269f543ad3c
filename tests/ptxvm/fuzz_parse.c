// fuzz_parse: mutates the PTX files of a folder, loads the results and runs what loaded: an error or success is fine, a
// crash, a leak, a text that takes seconds or an error without words is not. Deterministic: round n of seed s is always
// the same text.
//   fuzz_parse FOLDER SECONDS [SEED [FIRST_ROUND [LAST_TEXT]]]    LAST_TEXT: file that gets each text before it is
//   tried
// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ptx.h"

enum { FILES_MAX = 16, FILE_BYTES = 8192, TEXT_BYTES = 4 * FILE_BYTES, ROUNDS_BETWEEN_CLOCKS = 64 };
#define SECONDS_MAX 2.0 /* of one text */

struct corpus {
    char text[FILES_MAX][FILE_BYTES];
    size_t bytes[FILES_MAX];
    unsigned files;
};

struct fuzzer {
    struct corpus corpus;
    uint64_t random;
    char text[TEXT_BYTES];
    size_t bytes;
    uint64_t round, good, bound, ran;
    ptxvm *vm;
    uint64_t parameter[PTX_PARAMETER_BYTES_MAX / 8 + 1];
};

/* -- Corpus -------------------------------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort goes by the locale */
}

static bool read_file(struct corpus *c, const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    c->bytes[c->files] = fread(c->text[c->files], 1, FILE_BYTES, file);
    c->files++;
    return fclose(file) == 0;
}

static bool read_corpus(struct corpus *c, const char *folder) {
    struct dirent **entry;
    int count = scandir(folder, &entry, NULL, by_name);
    for (int k = 0; k < count; k++) {
        size_t length = strlen(entry[k]->d_name);
        bool is_ptx = length > 4 && !strcmp(entry[k]->d_name + length - 4, ".ptx");
        if (is_ptx && c->files < FILES_MAX) read_file(c, folder, entry[k]->d_name);
        free(entry[k]);
    }
    if (count >= 0) free(entry);
    return c->files > 0;
}

/* -- Mutations ----------------------------------------------------------------------------------------------------- */

static size_t below(struct fuzzer *f, size_t bound) {
    f->random ^= f->random << 13; /* xorshift64 */
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return bound ? (size_t)(f->random >> 11) % bound : 0;
}

// Replaces [at, at + gone) by bytes of `with`.
static void replace(struct fuzzer *f, size_t at, size_t gone, const char *with, size_t bytes) {
    if (at > f->bytes) at = f->bytes;
    if (gone > f->bytes - at) gone = f->bytes - at;
    if (f->bytes - gone + bytes > TEXT_BYTES) return;
    memmove(f->text + at + bytes, f->text + at + gone, f->bytes - at - gone);
    memcpy(f->text + at, with, bytes);
    f->bytes += bytes - gone;
}

static size_t copy_of(const char *from, size_t available, size_t wanted, char out[FILE_BYTES]) {
    size_t bytes = wanted < available ? wanted : available;
    memcpy(out, from, bytes);
    return bytes;
}

static void flip_byte(struct fuzzer *f) {
    char c = (char)(below(f, 4) ? 32 + below(f, 96) : below(f, 256));
    replace(f, below(f, f->bytes), below(f, 2), &c, 1);
}

static void drop_piece(struct fuzzer *f) {
    replace(f, below(f, f->bytes), 1 + below(f, below(f, 2) ? 8 : 200), "", 0);
}

static void repeat_piece(struct fuzzer *f) {
    char piece[FILE_BYTES];
    size_t from = below(f, f->bytes);
    size_t bytes = copy_of(f->text + from, f->bytes - from, 1 + below(f, 300), piece);
    replace(f, below(f, f->bytes), 0, piece, bytes);
}

static void take_piece(struct fuzzer *f) {
    char piece[FILE_BYTES];
    size_t file = below(f, f->corpus.files), from = below(f, f->corpus.bytes[file]);
    size_t bytes = copy_of(f->corpus.text[file] + from, f->corpus.bytes[file] - from, 1 + below(f, 300), piece);
    replace(f, below(f, f->bytes), below(f, 50), piece, bytes);
}

static void add_word(struct fuzzer *f) {
    static const char *const words[] = {"0",
                                        "-1",
                                        "1",
                                        "4294967295",
                                        "4294967296",
                                        "18446744073709551615",
                                        "-9223372036854775808",
                                        "0x7fffffff",
                                        "0f7FC00000",
                                        "0d7FF0000000000000",
                                        "1e308",
                                        "1e-9999",
                                        ".5",
                                        "0b1",
                                        "077",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "(",
                                        ")",
                                        ";",
                                        ",",
                                        "|",
                                        "!",
                                        "@",
                                        "_",
                                        "%",
                                        "%p1",
                                        "%r1",
                                        "%rd1",
                                        "%f1",
                                        "%rs1",
                                        "%tid.x",
                                        "%clock64",
                                        "WARP_SZ",
                                        "smem",
                                        "p0",
                                        "L",
                                        "L:",
                                        "\n",
                                        "//",
                                        "/*",
                                        "*/",
                                        "\"",
                                        ".reg .b32 %r<1000000>;",
                                        ".reg .pred p;",
                                        ".shared .b8 x[1000];",
                                        ".global .b8 y[] = {1};",
                                        ".param .b32 q;",
                                        ".branchtargets L;",
                                        ".align 8",
                                        ".v4",
                                        ".b128",
                                        "[1000000000]",
                                        "= {{1}, {2}}",
                                        "bra L;",
                                        "ret;",
                                        "::",
                                        ".",
                                        "+",
                                        "-",
                                        "<9>"};
    const char *word = words[below(f, sizeof words / sizeof words[0])];
    replace(f, below(f, f->bytes), below(f, 6), word, strlen(word));
}

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '%' ||
           c == '$';
}

// The word of the text at or behind `at`.
static size_t find_word(const struct fuzzer *f, size_t *at) {
    while (*at < f->bytes && !is_word(f->text[*at])) ++*at;
    size_t end = *at;
    while (end < f->bytes && is_word(f->text[end])) end++;
    return end - *at;
}

// Puts another word of the text in the place of a word: most such texts still parse.
static void exchange_word(struct fuzzer *f) {
    char word[FILE_BYTES];
    size_t from = below(f, f->bytes), to = below(f, f->bytes);
    size_t bytes = find_word(f, &from), gone = find_word(f, &to);
    bytes = copy_of(f->text + from, bytes, bytes < 200 ? bytes : 200, word);
    replace(f, to, gone, word, bytes);
}

static void cut_end(struct fuzzer *f) {
    if (!below(f, 8)) f->bytes = below(f, f->bytes + 1);
}

static void make_text(struct fuzzer *f, uint64_t seed) {
    static void (*const mutations[])(struct fuzzer *) = {flip_byte,     drop_piece,    repeat_piece,
                                                         take_piece,    add_word,      exchange_word,
                                                         exchange_word, exchange_word, cut_end};
    f->random = (seed + f->round) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (int k = 0; k < 4; k++) below(f, 1);
    size_t file = below(f, f->corpus.files);
    f->bytes = f->corpus.bytes[file];
    memcpy(f->text, f->corpus.text[file], f->bytes);
    for (size_t count = 1 + below(f, below(f, 4) ? 4 : 40); count; count--)
        mutations[below(f, sizeof mutations / sizeof mutations[0])](f);
}

/* -- Trying -------------------------------------------------------------------------------------------------------- */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static bool keep(const struct fuzzer *f, const char *path) {
    FILE *file = path ? fopen(path, "wb") : NULL;
    if (!file) return !path;
    fwrite(f->text, 1, f->bytes, file);
    return fclose(file) == 0;
}

// Runs each kernel for a few instructions, with a buffer's address in each word of its parameters; whatever it does,
// the machine reports and survives.
static bool run_kernels(struct fuzzer *f, ptxvm_module *module) {
    enum { THREADS = 128, DYNAMIC_BYTES = 1000 };
    for (unsigned k = 0; k < ptxvm_module_kernels(module); k++) {
        ptxvm_kernel *kernel = NULL;
        struct ptxvm_launch launch = {.grid = {2, 1, 1},
                                      .block = {THREADS, 1, 1},
                                      .smem_dynamic_bytes = DYNAMIC_BYTES,
                                      .parameters = f->parameter};
        if (ptxvm_module_kernel(module, ptxvm_module_kernel_name(module, k), &kernel) != PTXVM_OK) return false;
        ptxvm_set_seed(f->vm, f->round);
        ptxvm_status status = ptxvm_run(f->vm, kernel, &launch);
        f->ran++;
        if (status != PTXVM_OK && !ptxvm_error(f->vm)[0]) return false;
    }
    return true;
}

static bool load_text(struct fuzzer *f, const char *text) {
    ptxvm_module *module = NULL;
    if (ptxvm_module_load(f->vm, text, f->bytes, &module) != PTXVM_OK) return ptxvm_error(f->vm)[0] != 0;
    f->bound++;
    bool sane = run_kernels(f, module);
    ptxvm_module_unload(module);
    return sane;
}

// Parses a copy of the exact size, so that a sanitizer sees each read behind it; then loads what parsed.
static bool try_text(struct fuzzer *f) {
    char error[200] = "";
    char *copy = malloc(f->bytes ? f->bytes : 1);
    if (!copy) return false;
    memcpy(copy, f->text, f->bytes);
    struct ptx_text *text = NULL;
    ptxvm_status status = ptx_parse(copy, f->bytes, &text, error, sizeof error);
    bool sane = status == PTXVM_OK ? text != NULL : !strncmp(error, "line ", 5);
    ptx_text_free(text);
    f->good += status == PTXVM_OK;
    if (status == PTXVM_OK) sane &= load_text(f, copy);
    free(copy);
    return sane;
}

static int run(struct fuzzer *f, double seconds, uint64_t seed, const char *last) {
    double start = now(), before = start;
    for (;; f->round++) {
        make_text(f, seed);
        if (!keep(f, last)) return 1;
        if (!try_text(f)) {
            fprintf(stderr, "round %llu: no words about an error\n", (unsigned long long)f->round);
            return 1;
        }
        if (f->round % ROUNDS_BETWEEN_CLOCKS) continue;
        double time = now();
        if (time - before > SECONDS_MAX * ROUNDS_BETWEEN_CLOCKS) {
            fprintf(stderr, "round %llu and those before it: slow\n", (unsigned long long)f->round);
            return 1;
        }
        before = time;
        if (time - start > seconds) break;
    }
    printf("%llu texts, %llu parsed, %llu loaded, %llu kernels run\n", (unsigned long long)f->round,
           (unsigned long long)f->good, (unsigned long long)f->bound, (unsigned long long)f->ran);
    return f->good ? 0 : 1;
}

static bool make_machine(struct fuzzer *f) {
    enum { INSTRUCTIONS = 3000, BUFFER_BYTES = 65536 };
    const struct ptxvm_options options = {
        .size = sizeof options, .checks = PTXVM_CHECK_ALL, .counts = true, .instruction_limit = INSTRUCTIONS};
    uint64_t buffer;
    if (ptxvm_create(&options, &f->vm) != PTXVM_OK) return false;
    if (ptxvm_alloc(f->vm, BUFFER_BYTES, &buffer) || ptxvm_set(f->vm, buffer, 0, BUFFER_BYTES)) return false;
    for (size_t k = 0; k < sizeof f->parameter / sizeof f->parameter[0]; k++) f->parameter[k] = buffer;
    return true;
}

int main(int count, char **argument) {
    if (count < 3) {
        fprintf(stderr, "fuzz_parse FOLDER SECONDS [SEED [FIRST_ROUND [LAST_TEXT]]]\n");
        return 2;
    }
    struct fuzzer *f = calloc(1, sizeof *f);
    if (!f || !read_corpus(&f->corpus, argument[1]) || !make_machine(f)) {
        fprintf(stderr, "no corpus in %s, or no memory\n", argument[1]);
        if (f) ptxvm_destroy(f->vm);
        free(f);
        return 2;
    }
    uint64_t seed = count > 3 ? strtoull(argument[3], NULL, 10) : 1;
    f->round = count > 4 ? strtoull(argument[4], NULL, 10) : 0;
    int result = run(f, strtod(argument[2], NULL), seed * UINT64_C(1000000007), count > 5 ? argument[5] : NULL);
    ptxvm_destroy(f->vm);
    free(f);
    return result;
}
