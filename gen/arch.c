// arch: the table of GPU targets. Nothing comes in but a target; out goes its row.
// SPDX-License-Identifier: Apache-2.0
#include "arch.h"

#include "meta.h"
#include <assert.h>

static const struct arch arch_table[SPEC_TARGET_COUNT] = {
    /* target              sm  smem KB      registers  L2  fp8    block  wgmma */
    {SPEC_TARGET_SM_80, 80, 163 * 1024, 65536, 24, false, false, false},
    {SPEC_TARGET_SM_86, 86, 99 * 1024, 65536, 4, false, false, false},
    {SPEC_TARGET_SM_89, 89, 99 * 1024, 65536, 24, true, false, false},
    {SPEC_TARGET_SM_90, 90, 227 * 1024, 65536, 32, true, false, false},
    {SPEC_TARGET_SM_90A, 90, 227 * 1024, 65536, 32, true, false, true},
    {SPEC_TARGET_SM_120A, 120, 99 * 1024, 65536, 24, true, true, false},
    {SPEC_TARGET_SM_121A, 121, 99 * 1024, 65536, 16, true, true, false},
    {SPEC_TARGET_SM_120F, 120, 99 * 1024, 65536, 16, true, true, false},
};

const struct arch *arch_of(enum spec_target target)
{
    assert((int)target >= 0 && target < SPEC_TARGET_COUNT && arch_table[target].target == target);
    return &arch_table[target];
}

enum spec_target arch_on(enum spec_target listed, int sm)
{
    return listed == SPEC_TARGET_SM_120A && sm == 121 ? SPEC_TARGET_SM_121A : listed;
}

int arch_native(const struct spec_int_list *listed, int sm)
{
    int best = -1, best_rank = 0;
    for (int i = 0; i < listed->count; i++) {
        const enum spec_target target = arch_on((enum spec_target)listed->item[i], sm);
        const int rank = meta_target_rank(spec_target_text(target), sm);
        if (rank <= best_rank) continue;
        best_rank = rank;
        best = (int)target;
    }
    return best;
}
