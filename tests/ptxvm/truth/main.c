// ptx_truth: runs the cases on the virtual machine and holds them against a GPU: live (--gpu), dumped (--replay) or
// recorded (--against). Exit status: 0 all within their bounds, 1 not, 2 a wrong call, 77 nothing to compare with.
// SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] =
    "usage: ptx_truth [--gpu] [--replay DUMP]... [--against RECORD] [--no-machine] [--group NAME]... [--only TEXT]\n"
    "                 [--cuda DIR] [--ptx DIR] [--dump FILE] [--record FILE] [--json FILE] [--structure FILE]\n"
    "                 [--write DIR] [--all] [--list]\n"
    "  --gpu            run on the first GPU too, and compare\n"
    "  --dump FILE      write the GPU's outputs (without --gpu the machine's); --replay FILE takes them for the GPU\n"
    "  --against FILE   compare with a record; --record FILE writes one of the GPU's outputs\n"
    "  --device NAME    what a record made from dumps says they are from\n"
    "  --no-machine     only the GPU\n"
    "  --cuda DIR       the CUDA programs; --ptx DIR: their PTX (else NVRTC makes it)\n"
    "  --structure FILE what the structure probes say\n"
    "  --write DIR      write every case's PTX\n"
    "  --all            print every case, not only those that fail or differ\n";

/* -- Options ------------------------------------------------------------------------------------------------------- */

struct truth {
    bool use_gpu, no_machine, print_all, list;
    const char *only, *write, *cuda, *ptx, *dump, *record, *against, *json, *structure, *device;
    const char *groups[16];
    unsigned group_count;
    // state
    struct truth_gpu *gpu;
    struct truth_store replay, record_read, record_made;
    FILE *dump_file, *json_file, *structure_file;
    unsigned cases, passed, failed, known, unsupported, missing, number;
    size_t elements, equal;
};

static bool parse_argument(struct truth *truth, int argc, char **argv, int *at) {
    const struct {
        const char *name;
        const char **value;
    } texts[] = {{"--only", &truth->only},       {"--write", &truth->write}, {"--cuda", &truth->cuda},
                 {"--ptx", &truth->ptx},         {"--dump", &truth->dump},   {"--record", &truth->record},
                 {"--against", &truth->against}, {"--json", &truth->json},   {"--structure", &truth->structure},
                 {"--device", &truth->device}};
    const struct {
        const char *name;
        bool *value;
    } flags[] = {{"--gpu", &truth->use_gpu},
                 {"--no-machine", &truth->no_machine},
                 {"--all", &truth->print_all},
                 {"--list", &truth->list}};
    for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++)
        if (strcmp(argv[*at], flags[f].name) == 0) return *flags[f].value = true;
    if (*at + 1 >= argc) return false;
    const char *name = argv[*at], *value = argv[++*at];
    if (strcmp(name, "--replay") == 0) return truth_dump_read(&truth->replay, value);
    if (strcmp(name, "--group") == 0 && truth->group_count < 16) {
        truth->groups[truth->group_count++] = value;
        return true;
    }
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++)
        if (strcmp(name, texts[t].name) == 0) return (*texts[t].value = value) != NULL;
    return false;
}

static bool open_file(FILE **file, const char *path) {
    if (path == NULL) return true;
    *file = fopen(path, "wb");
    if (*file == NULL) perror(path);
    return *file != NULL;
}

static bool open_all(struct truth *truth) {
    char message[300];
    if (truth->use_gpu && (truth->gpu = truth_gpu_open(message, sizeof message)) == NULL) {
        fprintf(stderr, "ptx_truth: no GPU: %s\n", message);
        return false;
    }
    if (truth->against != NULL && !truth_record_read(&truth->record_read, truth->against)) {
        fprintf(stderr, "ptx_truth: %s: not a record\n", truth->against);
        return false;
    }
    return open_file(&truth->dump_file, truth->dump) && open_file(&truth->json_file, truth->json) &&
           open_file(&truth->structure_file, truth->structure);
}

/* -- Printing ------------------------------------------------------------------------------------------------------ */

static const char *mode_text(const struct truth_case *c, char *text, size_t bytes) {
    static const char *const names[] = {"exact", "exact, any NaN", "ulp", "relative", "absolute", "accumulate"};
    if (c->mode <= MODE_NAN) return names[c->mode];
    snprintf(text, bytes, "%s %.3g", names[c->mode], c->bound);
    return text;
}

static void print_json_text(FILE *out, const char *text) {
    fputc('"', out);
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        fputc((unsigned char)*text < 32 ? ' ' : *text, out);
    }
    fputc('"', out);
}

static void print_json(struct truth *truth, const struct truth_case *c, const struct truth_result *result,
                       const char *verdict, const char *detail) {
    FILE *out = truth->json_file;
    char mode[64];
    if (out == NULL) return;
    fprintf(out, "%s\n{\"name\": ", truth->cases > 1 ? "," : "[");
    print_json_text(out, c->name);
    fprintf(out, ", \"group\": \"%s\", \"mode\": \"%s\", \"elements\": %zu, \"equal\": %zu, \"over\": %zu, ", c->group,
            mode_text(c, mode, sizeof mode), result->elements, result->equal, result->over);
    fprintf(out, "\"worst\": %.6g, \"verdict\": \"%s\", \"detail\": ", result->worst <= 1e300 ? result->worst : 1e300,
            verdict);
    print_json_text(out, detail);
    fprintf(out, "}");
    fflush(out);
}

static void print_case(struct truth *truth, const struct truth_case *c, const struct truth_result *result,
                       const char *verdict, const char *detail) {
    char mode[64];
    bool good = strcmp(verdict, "pass") == 0;
    print_json(truth, c, result, verdict, detail);
    if (good && !truth->print_all && (c->mode <= MODE_NAN || result->equal == result->elements)) return;
    printf("%-11s %-52s %-18s %8zu %8.3f%% worst %-9.3g %s\n", verdict, c->name, mode_text(c, mode, sizeof mode),
           result->elements, result->elements > 0 ? 100.0 * (double)result->equal / (double)result->elements : 0,
           result->worst, detail);
    fflush(stdout);
}

/* -- A case -------------------------------------------------------------------------------------------------------- */

static void count(struct truth *truth, const struct truth_case *c, const struct truth_result *result,
                  const char *verdict, const char *detail) {
    truth->passed += strcmp(verdict, "pass") == 0;
    truth->failed += strcmp(verdict, "FAIL") == 0;
    truth->known += strcmp(verdict, "known") == 0;
    truth->unsupported += strcmp(verdict, "unsupported") == 0;
    truth->missing += strcmp(verdict, "missing") == 0;
    truth->elements += result->elements;
    truth->equal += result->equal;
    print_case(truth, c, result, verdict, detail);
}

// The GPU's output, from wherever it comes. False: there is none; message says why.
static bool get_gpu(struct truth *truth, const struct truth_case *c, uint8_t *output, char *message, size_t bytes) {
    message[0] = 0;
    if (truth->gpu != NULL) {
        if (!truth_gpu_run(truth->gpu, c, output, message, bytes)) return false;
        return truth->dump_file == NULL || truth_dump_write(truth->dump_file, c, output);
    }
    const struct truth_entry *entry = truth_store_find(&truth->replay, c->name);
    if (entry == NULL || entry->bytes != c->output_bytes || entry->key != c->key) {
        snprintf(message, bytes, entry == NULL ? "not in the dump" : "the dump is of another text or input");
        return false;
    }
    memcpy(output, entry->data, c->output_bytes);
    return true;
}

// Of a case that differs; detail gets the reason of a known difference. gpu NULL: there is only its hash.
static const char *differs(const struct truth_case *c, const uint8_t *machine, const uint8_t *gpu, char *detail,
                           size_t bytes) {
    const struct truth_known *known = truth_known_find(c->name);
    if (known == NULL) return "FAIL";
    const char *wrong = known->check(c, machine), *wrong_gpu = gpu != NULL ? known->check(c, gpu) : NULL;
    snprintf(detail, bytes, "%s%s", wrong == NULL && wrong_gpu != NULL ? "on the GPU: " : "",
             wrong != NULL       ? wrong
             : wrong_gpu != NULL ? wrong_gpu
                                 : known->why);
    return wrong != NULL || wrong_gpu != NULL ? "FAIL" : "known";
}

// Compares with a record: equal hashes, or the words that it kept.
static const char *against_record(struct truth *truth, const struct truth_case *c, uint8_t *machine, uint8_t *gpu,
                                  struct truth_result *result, char *detail, size_t bytes) {
    const struct truth_entry *entry = truth_store_find(&truth->record_read, c->name);
    if (entry == NULL || entry->key != c->key) {
        snprintf(detail, bytes, entry == NULL ? "not in the record" : "the record is of another text or input");
        return "missing";
    }
    memcpy(gpu, machine, c->output_bytes);
    truth_canonical(c, machine);
    bool equal = truth_hash(TRUTH_HASH, machine, c->output_bytes) == entry->hash;
    truth_record_overlay(entry, gpu, c->output_bytes);
    truth_compare(c, machine, gpu, result);
    if (equal) return "pass";
    snprintf(detail, bytes, "%s", result->first);
    if (c->mode > MODE_NAN) return result->over == 0 ? "pass" : "FAIL";
    result->equal = 0; /* which ones is not recorded */
    return differs(c, machine, NULL, detail, bytes);
}

static const char *compare_case(struct truth *truth, const struct truth_case *c, uint8_t *machine, uint8_t *gpu,
                                struct truth_result *result, char *detail, size_t bytes) {
    if (truth->gpu == NULL && truth->replay.count == 0) {
        if (truth->dump_file != NULL && !truth_dump_write(truth->dump_file, c, machine)) return "FAIL";
        if (truth->against == NULL) return "pass";
        return against_record(truth, c, machine, gpu, result, detail, bytes);
    }
    if (!get_gpu(truth, c, gpu, detail, bytes)) return "missing";
    if (truth->record != NULL && !truth_record_add(&truth->record_made, c, gpu)) return "missing";
    if (c->check != NULL && c->check(c, gpu) != NULL) {
        snprintf(detail, bytes, "the GPU disagrees with the CPU: %s", c->check(c, gpu));
        return "FAIL";
    }
    if (truth->structure_file != NULL && strcmp(c->group, "structure") == 0) {
        truth_structure_report(c, gpu, "gpu", truth->structure_file);
        if (!truth->no_machine) truth_structure_report(c, machine, "machine", truth->structure_file);
    }
    if (truth->no_machine) return "pass";
    truth_compare(c, machine, gpu, result);
    snprintf(detail, bytes, "%s", result->first);
    return result->over == 0 ? "pass" : differs(c, machine, gpu, detail, bytes);
}

static void run_case(struct truth *truth, const struct truth_case *c, uint8_t *machine, uint8_t *gpu) {
    struct truth_result result = {0};
    char detail[700] = "";
    ptxvm_status status = truth->no_machine ? PTXVM_OK : truth_run_machine(c, machine, detail, sizeof detail);
    if (status != PTXVM_OK) {
        char ignored[300];
        if (get_gpu(truth, c, gpu, ignored, sizeof ignored) && truth->record != NULL)
            truth_record_add(&truth->record_made, c, gpu);
        count(truth, c, &result, status == PTXVM_ERROR_UNSUPPORTED ? "unsupported" : "FAIL", detail);
        return;
    }
    if (!truth->no_machine && c->check != NULL && c->check(c, machine) != NULL) {
        count(truth, c, &result, "FAIL", c->check(c, machine));
        return;
    }
    if (!truth->no_machine && truth->gpu == NULL && truth->replay.count == 0 && truth->structure_file != NULL &&
        strcmp(c->group, "structure") == 0)
        truth_structure_report(c, machine, "machine", truth->structure_file);
    const char *verdict = compare_case(truth, c, machine, gpu, &result, detail, sizeof detail);
    count(truth, c, &result, verdict, detail);
}

static void write_ptx(struct truth *truth, const struct truth_case *c) {
    char path[4096];
    mkdir(truth->write, 0777);
    if (strcmp(c->group, "program") == 0)
        snprintf(path, sizeof path, "%s/%s.ptx", truth->write, c->kernel);
    else
        snprintf(path, sizeof path, "%s/%04u.ptx", truth->write, truth->number);
    FILE *file = fopen(path, "w");
    if (file == NULL) return;
    if (strcmp(c->group, "program") != 0) fprintf(file, "// %s\n", c->name);
    fputs(c->ptx, file);
    fclose(file);
}

static bool visit(void *user, struct truth_case *c) {
    struct truth *truth = user;
    truth->number++;
    if (truth->only == NULL || strstr(c->name, truth->only) != NULL) {
        uint8_t *machine = calloc(1, c->output_bytes + 1), *gpu = calloc(1, c->output_bytes + 1);
        truth->cases++;
        if (truth->list) printf("%04u %s %s\n", truth->number, c->group, c->name);
        if (truth->write != NULL) write_ptx(truth, c);
        if (truth->write == NULL && !truth->list && machine != NULL && gpu != NULL) run_case(truth, c, machine, gpu);
        free(machine);
        free(gpu);
    }
    truth_case_free(c);
    return true;
}

/* -- All ----------------------------------------------------------------------------------------------------------- */

static bool wanted(const struct truth *truth, const char *group) {
    for (unsigned g = 0; g < truth->group_count; g++)
        if (strcmp(truth->groups[g], group) == 0) return true;
    return truth->group_count == 0;
}

static bool run_groups(struct truth *truth, struct truth_programs *programs) {
    static const struct {
        const char *name;
        bool (*cases)(truth_visit *visit, void *user);
    } groups[] = {{"integer", truth_cases_integer}, {"float", truth_cases_float},        {"half", truth_cases_half},
                  {"convert", truth_cases_convert}, {"warp", truth_cases_warp},          {"mma", truth_cases_mma},
                  {"wgmma", truth_cases_wgmma},     {"structure", truth_cases_structure}};
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        if (wanted(truth, groups[g].name) && !groups[g].cases(visit, truth)) return false;
    return !wanted(truth, "program") || programs->folder == NULL || truth_cases_programs(programs, visit, truth);
}

static void close_all(struct truth *truth) {
    if (truth->json_file != NULL) fprintf(truth->json_file, "%s\n]\n", truth->cases > 0 ? "" : "[");
    FILE *files[] = {truth->dump_file, truth->json_file, truth->structure_file};
    for (size_t f = 0; f < 3; f++)
        if (files[f] != NULL) fclose(files[f]);
    truth_gpu_close(truth->gpu);
    truth_store_free(&truth->replay);
    truth_store_free(&truth->record_read);
    truth_store_free(&truth->record_made);
}

int main(int argc, char **argv) {
    struct truth truth = {0};
    for (int at = 1; at < argc; at++)
        if (!parse_argument(&truth, argc, argv, &at)) {
            fputs(usage, stderr);
            return 2;
        }
    if (!open_all(&truth)) return truth.use_gpu && truth.gpu == NULL ? 77 : 2;
    struct truth_programs programs = {truth.cuda, truth.ptx, true, 0};
    bool complete = run_groups(&truth, &programs);
    snprintf(truth.record_made.device, sizeof truth.record_made.device, "%s",
             truth.gpu != NULL      ? truth_gpu_name(truth.gpu)
             : truth.device != NULL ? truth.device
                                    : "unknown");
    if (truth.record != NULL && !truth_record_write(&truth.record_made, truth.record)) complete = false;
    printf(
        "%u cases: %u passed, %u failed, %u known to differ, %u unsupported, %u without truth; %zu elements, %zu equal "
        "bit for bit\n",
        truth.cases, truth.passed, truth.failed, truth.known, truth.unsupported, truth.missing, truth.elements,
        truth.equal);
    bool good = complete && truth.failed + truth.unsupported + truth.missing + programs.failed == 0;
    bool nothing = !programs.has_nvrtc && truth.cases == 0;
    close_all(&truth);
    return nothing ? 77 : good ? 0 : 1;
}
