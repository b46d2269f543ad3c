// plan_table: the plans that a context keeps, by description: see sage_attention_plan_get.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PLAN_TABLE_H
#define SAGE_PLAN_TABLE_H

#include "sage.h"

// Made and destroyed with the context. Errors: OUT_OF_MEMORY.
sage_status plan_table_create(sage_context *context);
void plan_table_destroy(sage_context *context);

#endif
