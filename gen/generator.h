// generator: sage_use_generator for callers inside this program, who may want PTX for the virtual machine.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_GENERATOR_H
#define SAGE_GEN_GENERATOR_H

#include "build.h"

// As sage_use_generator, which is this with BUILD_CUBIN.
sage_status generator_add(sage_context *context, enum build_form form);

#endif
