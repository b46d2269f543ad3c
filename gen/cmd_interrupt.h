// cmd_interrupt: Ctrl-C and SIGTERM for commands that work long: the first is noted, so that what is done can be kept and
// told; the second ends the program at once. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_CMD_INTERRUPT_H
#define SAGE_GEN_CMD_INTERRUPT_H

#include <stdbool.h>

void cmd_interrupt_catch(void);
void cmd_interrupt_default(void); // as before, in a child process
bool cmd_interrupted(void);

#endif
