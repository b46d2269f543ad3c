// truth: whether the virtual machine computes what a GPU computes. A case is one kernel with seeded inputs; it runs on
// the machine, and its outputs are held against a GPU's, which are there live, in a dump, or as a committed record.
// Depends on ptxvm, libc, libm and libdl. SPDX-License-Identifier: Apache-2.0
#ifndef TRUTH_H
#define TRUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ptxvm.h"

/* -- Kinds of values ----------------------------------------------------------------------------------------------- */

enum truth_value { VALUE_INTEGER, VALUE_F16, VALUE_BF16, VALUE_F32, VALUE_F64 };

struct truth_kind {
    const char *name;
    unsigned bytes; /* of the register */
    enum truth_value value;
    uint64_t (*make)(const struct truth_kind *kind, uint64_t seed, unsigned operand, unsigned lane, unsigned group);
};
const struct truth_kind *truth_kind_find(const char *name, size_t bytes); /* NULL: none */
unsigned truth_value_bytes(enum truth_value value, unsigned register_bytes);
double truth_decode(enum truth_value value, uint64_t bits);
uint64_t truth_mix(uint64_t seed);                                   /* splitmix64 */
uint64_t truth_hash(uint64_t hash, const void *bytes, size_t count); /* FNV-1a; start with TRUTH_HASH */
#define TRUTH_HASH UINT64_C(0xcbf29ce484222325)

// A float format by its fields; bits to either side, for numbers that it holds exactly.
struct truth_format {
    const char *name;
    int exponent_bits, mantissa_bits, bias;
    unsigned bytes; /* of its container */
};
extern const struct truth_format truth_f16, truth_bf16, truth_tf32, truth_f32, truth_e4m3, truth_e5m2;
bool truth_encode(const struct truth_format *format, double value, uint32_t *bits);

/* -- Cases --------------------------------------------------------------------------------------------------------- */

enum truth_mode {
    MODE_EXACT,     /* bit for bit */
    MODE_NAN,       /* bit for bit, but any NaN equals any */
    MODE_ULP,       /* units in the last place */
    MODE_RELATIVE,  /* of the machine's value, and half a unit for its own rounding */
    MODE_ABSOLUTE,  /* likewise */
    MODE_ACCUMULATE /* relative to the largest finite result of the case's group of lanes */
};

enum { TRUTH_FIELDS = 6, TRUTH_GROUP = 128 /* lanes that share a distribution of matrix data */ };

struct truth_field {
    const struct truth_kind *kind;
    unsigned count; /* registers */
    bool vector;    /* "kind*1" too is written {a} */
    size_t offset;  /* bytes in the buffer; register r of lane i lies at offset + (r * lanes + i) * kind->bytes */
    bool tile;      /* an input that goes to shared memory, word r of a block's thread i at (r * block + i) * 4 */
};

struct truth_case {
    char *name;
    const char *group;
    char *ptx;
    const char *kernel;
    unsigned lanes, block;
    unsigned grid; /* 0: lanes / block */
    struct truth_field inputs[TRUTH_FIELDS], outputs[TRUTH_FIELDS];
    unsigned input_count, output_count;
    uint8_t *input;
    size_t input_bytes, output_bytes;
    enum truth_mode mode;
    double bound;
    uint64_t key; /* of the text and the inputs: a record of another case is not compared */
    // NULL, or an independent computation on the CPU: what it expects, or NULL where it agrees.
    const char *(*check)(const struct truth_case *c, const uint8_t *output);
};

// One line of a table. `text` is an opcode ("add.f32") or "name: body" in which $a .. $h are inputs and $d $e $f
// outputs, $a0 a register of several, &a an operand's address; <x,y> stands for each of x and y. `types` is
// "outputs=inputs[@lanes[/block]]" of kinds, each with *count; an input "tile:kind" goes to shared memory. `mode` is
// "exact", "nan", "ulp 2", "rel x", ...
struct truth_row {
    const char *text, *types, *mode;
};

typedef bool truth_visit(void *user, struct truth_case *c); /* false: stop */

bool truth_rows(const char *group, const struct truth_row *rows, truth_visit *visit, void *user);
// One case of a row whose text has no <>; fill NULL: the kinds' own values.
struct truth_case *truth_case_make(const char *group, const char *text, const char *types, const char *mode,
                                   void (*fill)(struct truth_case *c, const void *data), const void *data);
void truth_case_free(struct truth_case *c);
bool truth_case_mode(struct truth_case *c, const char *text);
uint8_t *truth_case_input(struct truth_case *c, unsigned field, unsigned reg, unsigned lane);

bool truth_cases_integer(truth_visit *visit, void *user);
bool truth_cases_float(truth_visit *visit, void *user);
bool truth_cases_half(truth_visit *visit, void *user);
bool truth_cases_convert(truth_visit *visit, void *user);
bool truth_cases_warp(truth_visit *visit, void *user);
bool truth_cases_mma(truth_visit *visit, void *user);
bool truth_cases_wgmma(truth_visit *visit, void *user);
bool truth_cases_structure(truth_visit *visit, void *user);

// The CUDA programs of a folder; ptx_folder not NULL: their PTX lies there, else NVRTC makes it.
struct truth_programs {
    const char *folder, *ptx_folder;
    bool has_nvrtc;  /* out: false: no NVRTC, nothing was visited */
    unsigned failed; /* out: programs that did not compile */
};
bool truth_cases_programs(struct truth_programs *programs, truth_visit *visit, void *user);
const char *truth_check_find(const char *name, const char *(**check)(const struct truth_case *, const uint8_t *));

/* -- Running ------------------------------------------------------------------------------------------------------- */

// Status and, where it is not OK, a sentence in message[bytes].
ptxvm_status truth_run_machine(const struct truth_case *c, uint8_t *output, char *message, size_t bytes);

struct truth_gpu;
struct truth_gpu *truth_gpu_open(char *message, size_t bytes); /* NULL: none */
void truth_gpu_close(struct truth_gpu *gpu);
const char *truth_gpu_name(const struct truth_gpu *gpu);
bool truth_gpu_run(struct truth_gpu *gpu, const struct truth_case *c, uint8_t *output, char *message, size_t bytes);

/* -- Comparing ----------------------------------------------------------------------------------------------------- */

struct truth_result {
    size_t elements, equal; /* bit for bit */
    size_t over;            /* beyond the bound */
    double worst;           /* in the mode's unit */
    char first[200];        /* the first element beyond the bound, or the first that differs */
};
void truth_compare(const struct truth_case *c, const uint8_t *machine, const uint8_t *gpu, struct truth_result *out);
// A difference that is known and stays.
struct truth_known {
    const char *name; /* of the case */
    const char *why;  /* with how many elements differed on the H100 */
    // What an output must be nonetheless: NULL, or what is wrong with it.
    const char *(*check)(const struct truth_case *c, const uint8_t *output);
};
const struct truth_known *truth_known_find(const char *name); /* NULL: none */
// NaNs made one, where the mode does not tell them apart.
void truth_canonical(const struct truth_case *c, uint8_t *output);

// What a structure probe's output says about the accumulation, as text.
void truth_structure_report(const struct truth_case *c, const uint8_t *output, const char *who, FILE *out);

/* -- Records ------------------------------------------------------------------------------------------------------- */

struct truth_entry {
    char *name;
    uint64_t key, hash;
    size_t bytes;  /* of data */
    uint8_t *data; /* a dump: the whole output; a record: every stride-th word of 8 bytes */
};
struct truth_store {
    struct truth_entry *entries;
    size_t count, capacity;
    char device[128];
};
bool truth_dump_read(struct truth_store *store, const char *path); /* adds */
bool truth_dump_write(FILE *file, const struct truth_case *c, const uint8_t *output);
bool truth_record_read(struct truth_store *store, const char *path);
bool truth_record_write(const struct truth_store *store, const char *path);
bool truth_record_add(struct truth_store *store, const struct truth_case *c, const uint8_t *gpu);
// Puts a record's words over a copy of the machine's output.
void truth_record_overlay(const struct truth_entry *entry, uint8_t *output, size_t bytes);
const struct truth_entry *truth_store_find(const struct truth_store *store, const char *name);
void truth_store_free(struct truth_store *store);

#endif
