// exec_convert: a conversion as it was read, and the handlers that take it. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_EXEC_CONVERT_H
#define PTXVM_EXEC_CONVERT_H

#include "exec_float.h"

// The modifiers of a cvt.
struct conversion {
    enum ptx_type to, from;
    bool has_rounding;      /* .rn .rz .rm .rp .rna */
    bool integral;          /* .rni .rzi .rmi .rpi: to a whole number */
    enum rounding rounding; /* of either */
    bool ftz, sat;
    unsigned flags;   /* FORMAT_SATFINITE, FORMAT_RELU */
    bool from_wide;   /* the source's slot is uint64_t[32] */
    unsigned to_bits; /* of the destination register: 8, 16, 32, 64 */
};

// Handler of any conversion between single values; aux is a struct conversion.
void convert_any(struct exec *x, const struct instruction *i);
// Pairs of narrow floats, which the types name: c's modifiers were taken.
bool is_packed_conversion(const struct conversion *c);
bool bind_packed_conversion(struct binder *b, struct instruction *out, const struct conversion *c);
// cvt.pack.sat: "pack" was taken.
bool bind_integer_pack(struct binder *b, struct instruction *out);

#endif
