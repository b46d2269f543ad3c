// kernel_match: which of the kernels that a provider has answer a request. In: metadata, offered one by one. Out: the
// rows of one set, all of one expansion. Reads no file.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_KERNEL_MATCH_H
#define SAGE_KERNEL_MATCH_H

#include "meta.h"
#include "provider.h"

#define KERNEL_NAME_BYTES    256 /* a file name, or an index in a pack */
#define KERNEL_DAMAGED_BYTES 512

// One kernel that matches the request in all but, perhaps, its role.
struct kernel_row {
    char name[KERNEL_NAME_BYTES];
    struct meta meta;
    int rank;   /* how well it suits the GPU; higher is better */
    bool exact;  /* safe where safe was asked for, plain where it was not */
    bool wished; /* of the request's wish */
};

// Zero-initialise; kernel_rows_free.
struct kernel_rows {
    struct kernel_row *row;
    size_t count, capacity;
    char damaged[KERNEL_DAMAGED_BYTES]; /* what is wrong with the first unreadable metadata; "" */
    bool other_gpu;                     /* some kernel matched in all but the GPU */
};

// Takes the kernel if it matches. rank 0: it does not suit the GPU. Errors: OUT_OF_MEMORY.
sage_status kernel_rows_offer(sage_context *context, struct kernel_rows *rows,
                              const struct sage_kernel_request *request, const struct meta *meta, int rank,
                              const char *name);
// By name: among equals the first is chosen.
void kernel_rows_sort(struct kernel_rows *rows);
// The complete set that is safe or not just as asked for, then the one whose target suits the GPU best. Roles that it
// does not need get NULL. where: the folder or file, for the reason. Errors: NOT_FOUND.
sage_status kernel_rows_choose(sage_context *context, const char *where, const struct kernel_rows *rows,
                               const struct sage_kernel_request *request,
                               const struct kernel_row *picked[SAGE_ROLE_COUNT]);
void kernel_rows_free(sage_context *context, struct kernel_rows *rows);

// Reads one chosen kernel; what a failed call left in *out is freed.
typedef sage_status kernel_read(sage_context *context, void *user, const struct kernel_row *row,
                                struct sage_kernel_blob *out);
// Reads the chosen kernels; *out is untouched on failure.
sage_status kernel_set_read(sage_context *context, const struct kernel_row *const *picked, kernel_read *read,
                            void *user, struct sage_kernel_set *out);

#endif
