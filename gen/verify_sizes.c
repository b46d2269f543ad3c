// verify_sizes: how large the checks' problems are: a row for each level, of a GPU and of the PTX virtual machine,
// which does in a second what a GPU does in a microsecond. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include <assert.h>

static const struct verify_sizes rows[2][VERIFY_LEVEL_COUNT] = {
    [false] = {[VERIFY_QUICK] = {.name = "quick",
                                 .set = VERIFY_SET_QUICK,
                                 .distribution = {1, 8, 4, 1024, 1024},
                                 .sample_heads = 8,
                                 .sample_rows = 24,
                                 .usual = {1, 4, 2, 333, 333},
                                 .constant_v = 2048},
               [VERIFY_NORMAL] = {.name = "normal",
                                  .set = VERIFY_SET_NORMAL,
                                  .distribution = {1, 8, 4, 4096, 4096},
                                  .sample_heads = 8,
                                  .sample_rows = 40,
                                  .usual = {1, 4, 2, 333, 333},
                                  .constant_v = 4096},
               [VERIFY_FULL] = {.name = "full",
                                .set = VERIFY_SET_NORMAL,
                                .distribution = {1, 8, 4, 4096, 4096},
                                .sample_heads = 8,
                                .sample_rows = 40,
                                .usual = {1, 4, 2, 333, 333},
                                .constant_v = 4096}},
    [true] = {[VERIFY_QUICK] = {.name = "quick, on the PTX virtual machine",
                                .set = VERIFY_SET_VM_QUICK,
                                .distribution = {1, 2, 1, 200, 512},
                                .sample_heads = 2,
                                .sample_rows = 100,
                                .usual = {1, 2, 1, 150, 150},
                                .constant_v = 512},
              [VERIFY_NORMAL] = {.name = "normal, on the PTX virtual machine",
                                 .set = VERIFY_SET_VM,
                                 .distribution = {1, 4, 2, 384, 512},
                                 .sample_heads = 4,
                                 .sample_rows = 96,
                                 .usual = {1, 4, 2, 200, 200},
                                 .constant_v = 1024},
              [VERIFY_FULL] = {.name = "full, on the PTX virtual machine",
                               .set = VERIFY_SET_NORMAL,
                               .distribution = {1, 8, 4, 1024, 1024},
                               .sample_heads = 8,
                               .sample_rows = 24,
                               .usual = {1, 4, 2, 333, 333},
                               .constant_v = 2048}},
};

const struct verify_sizes *verify_sizes(const struct verify_options *options) {
    assert((unsigned)options->level < VERIFY_LEVEL_COUNT);
    return &rows[options->vm][options->level];
}
