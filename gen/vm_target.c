// vm_target: see vm_target.h. SPDX-License-Identifier: Apache-2.0
#include "vm_target.h"

#include "arch.h"

enum spec_target vm_default_target(const struct spec *spec) {
    const bool fp4 = spec_format_is_fp4(spec->qk_format) || spec_format_is_fp4(spec->p_format);
    for (int i = 0; i < spec->targets.count; i++) {
        const struct arch *arch = arch_of((enum spec_target)spec->targets.item[i]);
        if (fp4 ? arch->block_scaled_mma : arch->wgmma) return (enum spec_target)spec->targets.item[i];
    }
    return (enum spec_target)spec->targets.item[0];
}

// As the shipped specs of the family list them.
int vm_default_sm(sage_precision precision) {
    switch (precision) {
    case SAGE_FP4:
    case SAGE_FP8_FP4:
    case SAGE_FP4_FP8:
        return 120;
    case SAGE_INT8_FP8_ACC16:
        return 89;
    default:
        return 90;
    }
}
