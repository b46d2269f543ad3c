// cmd_interrupt: Ctrl-C and SIGTERM for commands that work long: the first is noted, so that what is done can be kept and
// told; the second ends the program at once. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_CMD_INTERRUPT_H
#define SAGE_GEN_CMD_INTERRUPT_H

#include <stdbool.h>
#include <sys/types.h>

void cmd_interrupt_catch(void);
void cmd_interrupt_default(void); // as before, in a child process
// In a child that has something to say of what it did so far: Ctrl-C is left to the parent, which passes it on, once.
void cmd_interrupt_by_parent(void);
void cmd_interrupt_child(pid_t child); // the parent's side
bool cmd_interrupted(void);

#endif
