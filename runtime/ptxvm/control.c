// control: branches, exit, and the instructions that only matter to the scheduler. Divergence itself is in diverge.c,
// calls are in call.c. SPDX-License-Identifier: Apache-2.0
#include "call.h"
#include "isa.h"
#include "run.h"

#include <string.h>

/* -- Branches ------------------------------------------------------------------------------------------------------ */

// Lanes whose guard is false go on behind it; the scheduler splits.
static void run_bra(struct exec *x, const struct instruction *i) {
    x->pc = i->target;
    x->status = EXEC_JUMP;
}

static bool bind_bra(struct binder *b, struct instruction *out) {
    mod_take(b, "uni");
    out->klass = PTXVM_CLASS_CONTROL;
    if (!need_operands(b, 1, 1) || !need_kind(b, &b->operand[0], PTX_LABEL)) return false;
    out->target = (uint32_t)b->operand[0].value;
    out->run = run_bra;
    return true;
}

static void placed(struct exec *x) {
    x->warp->current = NULL;
    x->status = EXEC_JUMP;
}

static uint32_t lanes_with(const uint32_t *values, uint32_t lanes, uint32_t value) {
    uint32_t mask = 0;
    for (unsigned l = 0; l < LANES; l++) mask |= (uint32_t)(values[l] == value) << l;
    return mask & lanes;
}

// One target a time: the others stay at the instruction and run it again.
static void run_brx(struct exec *x, const struct instruction *i) {
    const uint32_t *index = lanes32(x, i->src[0]);
    unsigned lane = (unsigned)__builtin_ctz(x->active);
    struct run *r = run_of(x);
    if (x->active != x->converged) {
        fragment_split(r, x->warp, x->warp->current, x->active, x->pc, x->pc + 1, i->reconverge);
        placed(x);
        return;
    }
    if (index[lane] >= i->slot_count) {
        report(x, i, (int)lane, PTXVM_FINDING_BAD_OPERAND, "index %u of a table of %u targets", index[lane],
               i->slot_count);
        return;
    }
    uint32_t taken = lanes_with(index, x->active, index[lane]), target = i->slots[index[lane]];
    if (taken == x->active) {
        x->pc = target;
        x->status = EXEC_JUMP;
        return;
    }
    fragment_split(r, x->warp, x->warp->current, taken, target, x->pc, i->reconverge);
    placed(x);
}

static bool bind_brx(struct binder *b, struct instruction *out) {
    out->klass = PTXVM_CLASS_CONTROL;
    mod_take(b, "uni");
    if (!mod_take(b, "idx")) return bind_fail(b, "needs .idx");
    if (!need_operands(b, 2, 2) || !need_kind(b, &b->operand[1], PTX_VECTOR)) return false;
    if (!take_src(b, &b->operand[0], PTX_U32, &out->src[0])) return false;
    const struct ptx_operand *table = &b->operand[1];
    uint32_t *targets = bind_alloc(b, (table->count + 1) * sizeof *targets);
    if (!targets) return false;
    for (uint32_t k = 0; k < table->count; k++) {
        const struct ptx_operand *label = operand_element(b, table, k);
        if (!need_kind(b, label, PTX_LABEL)) return false;
        targets[k] = (uint32_t)label->value;
    }
    out->slots = targets;
    out->slot_count = table->count;
    out->target = TARGET_TABLE;
    out->run = run_brx;
    return true;
}

/* -- Leaving ------------------------------------------------------------------------------------------------------- */

static void run_exit(struct exec *x, const struct instruction *i) {
    (void)i;
    struct warp *w = x->warp;
    struct fragment *f = w->current;
    struct run *r = run_of(x);
    uint32_t rest = x->converged & ~x->active;
    warp_exit_lanes(r, w, x->active);
    if (rest) {
        f->pc = x->pc + 1;
        fragment_arrive(r, w, f);
    }
    placed(x);
}

static void run_trap(struct exec *x, const struct instruction *i) {
    report(x, i, __builtin_ctz(x->active), PTXVM_FINDING_TRAP, "lanes 0x%08x executed it", x->active);
}

static bool bind_leave(struct binder *b, struct instruction *out, instruction_handler run) {
    out->klass = PTXVM_CLASS_CONTROL;
    out->target = TARGET_EXIT;
    out->run = run;
    return need_operands(b, 0, 0);
}

static bool bind_exit(struct binder *b, struct instruction *out) {
    return bind_leave(b, out, run_exit);
}

static bool bind_ret(struct binder *b, struct instruction *out) {
    mod_take(b, "uni");
    return bind_leave(b, out, b->function->is_entry ? run_exit : call_return);
}

static bool bind_trap(struct binder *b, struct instruction *out) {
    return bind_leave(b, out, run_trap);
}

// A breakpoint without a debugger ends the kernel, as on hardware.
static bool bind_brkpt(struct binder *b, struct instruction *out) {
    bool bound = bind_leave(b, out, run_trap);
    out->target = TARGET_NEXT;
    return bound;
}

/* -- Without effect here ------------------------------------------------------------------------------------------- */

static void run_nothing(struct exec *x, const struct instruction *i) {
    (void)x, (void)i;
}

static void run_nanosleep(struct exec *x, const struct instruction *i) {
    uint32_t most = 0;
    const uint32_t *time = lanes32(x, i->src[0]);
    for (unsigned l = 0; l < LANES; l++)
        if (x->active >> l & 1 && time[l] > most) most = time[l];
    run_of(x)->slept += most;
    x->warp->current->polls -= x->warp->current->polls > 0; /* a sleep is no poll */
    x->status = EXEC_YIELD;
}

static bool bind_nanosleep(struct binder *b, struct instruction *out) {
    enum ptx_type type;
    out->klass = PTXVM_CLASS_CONTROL;
    out->run = run_nanosleep;
    return mod_type_need(b, TYPE_BIT(PTX_U32), &type) && need_operands(b, 1, 1) &&
           take_src(b, &b->operand[0], PTX_U32, &out->src[0]);
}

static bool bind_pmevent(struct binder *b, struct instruction *out) {
    int64_t event;
    out->klass = PTXVM_CLASS_OTHER;
    out->run = run_nothing;
    mod_take(b, "mask");
    return need_operands(b, 1, 1) && take_constant(b, &b->operand[0], 0, 65535, &event);
}

// Launches run one after another: what came before has finished.
static bool bind_griddepcontrol(struct binder *b, struct instruction *out) {
    static const char *const actions[] = {"wait", "launch_dependents", NULL};
    unsigned action;
    out->klass = PTXVM_CLASS_CONTROL;
    out->run = run_nothing;
    return mod_need(b, actions, &action) && need_operands(b, 0, 0);
}

const struct isa_entry isa_control[] = {
    {"bra", bind_bra},
    {"brx", bind_brx},
    {"ret", bind_ret},
    {"exit", bind_exit},
    {"trap", bind_trap},
    {"brkpt", bind_brkpt},
    {"nanosleep", bind_nanosleep},
    {"pmevent", bind_pmevent},
    {"call", call_bind},
    {"griddepcontrol", bind_griddepcontrol},
    {NULL, NULL},
};
