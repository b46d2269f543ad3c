// vm_target: which GPU the PTX virtual machine is, where the user does not say. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VM_TARGET_H
#define SAGE_GEN_VM_TARGET_H

#include "sage.h"
#include "spec.h"

// Of the spec's targets: for fp4 the first that has block-scaled MMA, else sm_90a, else the first.
enum spec_target vm_default_target(const struct spec *spec);
// The compute capability for a family that was asked for by its precision.
int vm_default_sm(sage_precision precision);

#endif
