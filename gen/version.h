// version: of the generator; part of every kernel's banner, metadata and request index. Follows runtime/sage.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_VERSION_H
#define SAGE_GEN_VERSION_H

#include "sage.h"

#define SAGEGEN_STRING_(x) #x
#define SAGEGEN_STRING(x) SAGEGEN_STRING_(x)
#define SAGEGEN_VERSION SAGEGEN_STRING(SAGE_VERSION_MAJOR) "." SAGEGEN_STRING(SAGE_VERSION_MINOR) "." SAGEGEN_STRING(SAGE_VERSION_PATCH)

#endif
