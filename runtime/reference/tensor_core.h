// tensor_core: how tensor cores add products of fp8 values where they keep few bits: the scores of a kernel that
// multiplies Q and K in fp8. In: rows of e4m3 values as floats. Out: a dot product. The same arithmetic as the PTX
// virtual machine's (ptxvm/accumulate.h, where the sources are), written apart from it.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_TENSOR_CORE_H
#define SAGE_REFERENCE_TENSOR_CORE_H

enum { TENSOR_CORE_CHUNK_MAX = 32 };

// The sum of n products of e4m3 values, `chunk` (at most TENSOR_CORE_CHUNK_MAX) of them at a time: they and the sum so
// far are aligned to the largest exponent among them, cut toward zero 13 binary places below it, and added; the sum is
// cut to 13 mantissa bits. Hopper's wgmma adds 32 at a time, Ada's mma.sync 16.
float tensor_core_dot(const float *a, const float *b, int n, int chunk);

#endif
