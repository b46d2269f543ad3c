// programs: CUDA programs of a folder as cases. The first line of a file says how it runs:
//   // truth: kernel=NAME grid=G block=B in=KIND:COUNT out=KIND:COUNT mode=MODE check=NAME
// The kernel takes (const T *in, T *out); out is zero before. Compiled to PTX by NVRTC, or taken from a folder that has
// it. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"

/* -- Files --------------------------------------------------------------------------------------------------------- */

static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = file != NULL ? open_memstream(&text, &bytes) : NULL;
    if (file == NULL) return NULL;
    for (int byte; out != NULL && (byte = fgetc(file)) != EOF;) fputc(byte, out);
    fclose(file);
    if (out == NULL || fclose(out) != 0) return NULL;
    return text;
}

static int is_program(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 3 && strcmp(entry->d_name + length - 3, ".cu") == 0;
}

/* -- The first line ------------------------------------------------------------------------------------------------ */

struct header {
    char kernel[64], in_kind[16], out_kind[16], mode[32], check[32];
    unsigned grid, block, in_count, out_count;
};

static bool parse_header(const char *source, struct header *header) {
    char mode[24], number[24] = "";
    int fields = sscanf(source,
                        "// truth: kernel=%63s grid=%u block=%u in=%15[a-z0-9]:%u out=%15[a-z0-9]:%u mode=%23[a-z]%*["
                        ":]%23[0-9.e-]",
                        header->kernel, &header->grid, &header->block, header->in_kind, &header->in_count,
                        header->out_kind, &header->out_count, mode, number);
    const char *check = strstr(source, " check=");
    if (fields < 8) return false;
    snprintf(header->mode, sizeof header->mode, "%s%s%s", mode, number[0] != 0 ? " " : "", number);
    header->check[0] = 0;
    if (check != NULL && check < strchr(source, '\n')) sscanf(check, " check=%31s", header->check);
    return true;
}

static struct truth_case *make_program(const char *name, const char *source, char *ptx) {
    struct truth_case *c = calloc(1, sizeof *c);
    struct header header;
    if (c == NULL || !parse_header(source, &header)) goto fail;
    c->group = "program";
    c->ptx = ptx;
    c->kernel = c->name = strdup(header.kernel);
    const struct truth_kind *in = truth_kind_find(header.in_kind, strlen(header.in_kind));
    const struct truth_kind *out = truth_kind_find(header.out_kind, strlen(header.out_kind));
    c->input = calloc(header.in_count + 1, 8);
    if (c->name == NULL || in == NULL || out == NULL || c->input == NULL || !truth_case_mode(c, header.mode)) goto fail;
    if (header.check[0] != 0 && truth_check_find(header.check, &c->check) == NULL) goto fail;
    c->lanes = header.out_count;
    c->grid = header.grid;
    c->block = header.block;
    c->outputs[0] = (struct truth_field){.kind = out, .count = 1};
    c->output_count = 1;
    c->output_bytes = (size_t)header.out_count * out->bytes;
    c->input_bytes = (size_t)header.in_count * in->bytes;
    uint64_t seed = truth_hash(TRUTH_HASH, c->name, strlen(c->name));
    for (unsigned k = 0; k < header.in_count; k++) {
        uint64_t value = in->make(in, seed, 5, k, 1); /* operand 5: no crossing; distribution 1 */
        memcpy(c->input + (size_t)k * in->bytes, &value, in->bytes);
    }
    c->key = truth_hash(truth_hash(TRUTH_HASH, source, strlen(source)), c->input, c->input_bytes);
    return c;
fail:
    fprintf(stderr, "ptx_truth: %s: bad first line\n", name);
    if (c != NULL) c->ptx = NULL;
    truth_case_free(c);
    return NULL;
}

/* -- PTX ----------------------------------------------------------------------------------------------------------- */

static char *compile(sage_context *context, const char *name, const char *source) {
    static const char *const options[] = {"--fmad=false", "--device-as-default-execution-space"};
    struct compile_input input = {.source = source,
                                  .source_bytes = strlen(source),
                                  .name = name,
                                  .target = "sm_90a",
                                  .options = options,
                                  .option_count = 2,
                                  .to_ptx = true};
    struct compile_result result = {0};
    sage_status status = compile_source(context, &input, &result);
    char *ptx = status == SAGE_OK ? strdup(result.ptx) : NULL;
    if (status != SAGE_OK) fprintf(stderr, "ptx_truth: %s: %s\n%s\n", name, sage_last_error(context), result.log);
    compile_result_free(context, &result);
    return ptx;
}

static char *ptx_of(const struct truth_programs *programs, sage_context *context, const char *name,
                    const char *source) {
    char path[4096];
    if (programs->ptx_folder == NULL) return compile(context, name, source);
    snprintf(path, sizeof path, "%s/%.*s.ptx", programs->ptx_folder, (int)strlen(name) - 3, name);
    return read_text(path);
}

static bool has_compiler(sage_context *context) {
    struct compile_input input = {.source = "", .name = "probe.cu", .target = "sm_90a", .to_ptx = true};
    struct compile_result result = {0};
    bool has = compile_source(context, &input, &result) == SAGE_OK;
    compile_result_free(context, &result);
    return has;
}

static bool visit_program(struct truth_programs *programs, sage_context *context, const char *name, truth_visit *visit,
                          void *user) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", programs->folder, name);
    char *source = read_text(path), *ptx = source != NULL ? ptx_of(programs, context, name, source) : NULL;
    struct truth_case *c = ptx != NULL ? make_program(name, source, ptx) : NULL;
    free(source);
    if (c == NULL) {
        free(ptx);
        programs->failed++;
        return true;
    }
    return visit(user, c);
}

bool truth_cases_programs(struct truth_programs *programs, truth_visit *visit, void *user) {
    sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    sage_context *context = NULL;
    struct dirent **names = NULL;
    bool go_on = true;
    if (sage_context_create(&options, &context) != SAGE_OK) return true;
    programs->has_nvrtc = programs->ptx_folder != NULL || has_compiler(context);
    int count = programs->has_nvrtc ? scandir(programs->folder, &names, is_program, alphasort) : 0;
    for (int k = 0; k < count; k++) {
        if (go_on) go_on = visit_program(programs, context, names[k]->d_name, visit, user);
        free(names[k]);
    }
    free(names);
    sage_context_destroy(context);
    return go_on;
}
