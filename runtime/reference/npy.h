// npy: reads and writes NumPy's .npy files, versions 1, 2 and 3. In: a path. Out: a tensor that owns its memory, or one
// sentence that names the file and the reason. Any bytes are safe to read: every size is checked against the file.
// Refuses Fortran order, big-endian data, structures and types other than 2, 4 and 8-byte floats.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_NPY_H
#define SAGE_REFERENCE_NPY_H

#include "tensor.h"

// NumPy has no bf16: files hold it as raw 2-byte elements ('<V2', '|V2') or '<u2'. They are read only where the caller
// says they are bf16.
enum npy_raw16 { NPY_RAW16_REFUSE, NPY_RAW16_IS_BF16 };

bool npy_read(const char *path, enum npy_raw16 raw16, struct tensor *out, char *why, size_t why_bytes);

// Writes '<f2' or '<f4' (dtype F16 or F32), converting where the tensor differs. A file cut short by an error is
// removed.
bool npy_write(const char *path, const struct tensor *t, enum number_format dtype, char *why, size_t why_bytes);

#endif
