// cmd_interrupt: see cmd_interrupt.h. SPDX-License-Identifier: Apache-2.0
#include "cmd_interrupt.h"

#include <signal.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

void cmd_interrupt_catch(void) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cmd_interrupt_default(void) {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

enum { TOLD_BY_PARENT = SIGUSR1 };

void cmd_interrupt_by_parent(void) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(TOLD_BY_PARENT, &action, NULL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
}

void cmd_interrupt_child(pid_t child) {
    kill(child, TOLD_BY_PARENT);
}

bool cmd_interrupted(void) {
    return interrupted;
}
