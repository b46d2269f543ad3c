// wgmma: state of a warp's asynchronous products. wgmma.c owns it; the scheduler only destroys it with the warp, and
// calls wgmma_check_registers (machine.h) before each instruction. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_WGMMA_H
#define PTXVM_WGMMA_H

#include "vm.h"

struct wgmma_state;

// Created by the first wgmma instruction of a warp (warp->wgmma). NULL is allowed.
void wgmma_state_destroy(struct wgmma_state *state);

// wgmma_check_registers(x, i) must be called *before* the handler of i, whatever i's guard says; it may compute products
// that are due (it writes accumulators), and may report. It never changes x->pc or x->active. After it x->status may be
// EXEC_FAULT. With no wgmma under way it costs a few loads. Warps without state: returns at once.

#endif
