// bench_record: measurements as they are kept: a JSON file that is a plain array, one object a line. Reads and checks
// files, adds to a list (the same measurement replaces its older self), sorts, writes a file whole or not at all.
// Knows the contenders by name. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_RECORD_H
#define SAGE_GEN_BENCH_RECORD_H

#include "bench_problem.h"
#include <jansson.h>

/* -- Contenders ---- */

// X(symbol, name, bits of the products, what it is); in the order of tables.
#define BENCH_CONTENDER_LIST(X)                                                                                        \
    X(CUDNN_BF16, "cudnn_bf16", 16, "cuDNN through PyTorch")                                                           \
    X(FA2_BF16, "fa2_bf16", 16, "FlashAttention-2 through PyTorch")                                                    \
    X(FA3_BF16, "fa3_bf16", 16, "FlashAttention-3 (flash_attn_interface or fa3_fwd_interface)")                        \
    X(FA4_BF16, "fa4_bf16", 16, "FlashAttention-4 (flash_attn.cute)")                                                  \
    X(FA3_FP8, "fa3_fp8", 8, "FlashAttention-3; kernel: inputs already fp8")                                           \
    X(SAGEATTENTION, "sageattention", 8, "the sageattention package")                                                  \
    X(SAGEGEN, "sagegen", 8, "the kernels of this program")

enum bench_contender {
#define BENCH_CONTENDER_MEMBER(symbol, name, bits, help) BENCH_##symbol,
    BENCH_CONTENDER_LIST(BENCH_CONTENDER_MEMBER)
#undef BENCH_CONTENDER_MEMBER
        BENCH_CONTENDERS
};

const char *bench_contender_name(int contender);
int bench_contender_bits(int contender);
int bench_contender_find(const char *name); // -1: none

// KERNEL: attention alone, on operands that are quantised already. END_TO_END: bf16 in, bf16 out, all counted. The two
// are the same of a contender that computes in bf16, which has a row of each.
enum bench_mode { BENCH_KERNEL, BENCH_END_TO_END, BENCH_MODES };

const char *bench_mode_name(int mode);
int bench_mode_find(const char *name); // -1: none

/* -- Records ---- */

// X(member): texts, owned, never NULL. kernel: the spec's name; of another contender "attention_forward". nvrtc: the
// version that compiled sagegen's kernels. Of those behind reason an empty one is not written.
#define BENCH_RECORD_TEXTS(X) X(kernel) X(gpu) X(driver) X(nvrtc) X(commit) X(date) X(reason) X(version) X(variant)

struct bench_record {
#define BENCH_TEXT_MEMBER(member) char *member;
    BENCH_RECORD_TEXTS(BENCH_TEXT_MEMBER)
#undef BENCH_TEXT_MEMBER
    int contender, mode;
    struct bench_problem problem;
    double ms, tops; /* median, and TOPS by bench_problem_work; 0: not measured, for the reason given */
    double spread;   /* of the times: quartile distance / median; 0: unknown */
    int repeats;     /* 0: unknown */
};

struct bench_records {
    struct bench_record *item;
    int count, capacity;
};

// Takes the texts of record over. One with the same key (kernel, contender, mode, problem, gpu) is replaced.
void bench_records_put(struct bench_records *records, struct bench_record *record);
// A copy of every record of `from`.
void bench_records_merge(struct bench_records *records, const struct bench_records *from);
// Without those of other head dims, or of the other mask.
void bench_records_keep_d(struct bench_records *records, int d);
void bench_records_keep_mask(struct bench_records *records, bool causal);
// By head dim, mask, length, batch x heads, contender, kernel, mode.
void bench_records_sort(struct bench_records *records);
// The record of the same key, gpu aside where any_gpu; NULL: none.
const struct bench_record *bench_records_find(const struct bench_records *records, const struct bench_record *key,
                                              bool any_gpu);
void bench_records_free(struct bench_records *records);
void bench_record_free(struct bench_record *record);
// Every text "" where it is NULL yet.
void bench_record_complete(struct bench_record *record);

/* -- JSON ---- */

// Unknown members are ignored. False: the errors are in d, and records is as it was.
bool bench_records_parse(struct bench_records *records, const char *file, const char *text, struct diag *d);
bool bench_records_read(struct bench_records *records, const char *file, struct diag *d);
void bench_records_print(const struct bench_records *records, struct buf *out);
// Through a file beside it. False: the reason is in d.
bool bench_file_write(const char *file, const struct buf *text, struct diag *d);

#endif
