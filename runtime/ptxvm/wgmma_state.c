// wgmma_state: what a warp has in flight: products not computed yet, and per register the group that uses it. A product
// is computed at a random time from its commit to the wait that covers it, in order of issue. SPDX-License-Identifier:
// Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "isa.h"
#include "wgmma.h"

/* -- State --------------------------------------------------------------------------------------------------------- */

// Marks of one register (WGMMA_UNIT bytes of the file): numbers of groups and fences, 0: never.
struct mark {
    uint32_t accumulator; /* last group that accumulates into it: in flight if above `waited` */
    uint32_t input;       /* last group that reads it as A */
    uint32_t written;     /* fences executed, plus 1, when an ordinary instruction last wrote it */
    uint32_t shape;       /* n of the last product that accumulated into it */
};

struct wgmma_state {
    const struct wgmma_registers *registers;
    struct mark *mark;
    uint32_t fences, committed, waited; /* waited: number of the newest group known to be done */
    struct wgmma_job *job;
    unsigned first, jobs, capacity; /* job[first .. jobs) */
    uint32_t countdown, due;        /* instructions until the groups up to `due` are computed; 0: not set */
};

void wgmma_state_destroy(struct wgmma_state *state) {
    if (state == NULL) return;
    free(state->mark);
    free(state->job);
    free(state);
}

static void report_memory(struct exec *x, const struct instruction *i) {
    report(x, i, -1, PTXVM_FINDING_TRAP, "the machine is out of host memory");
}

struct wgmma_state *wgmma_state_of(struct exec *x, const struct instruction *i) {
    if (x->warp->wgmma != NULL) return x->warp->wgmma;
    const struct wgmma *shared = i->aux;
    struct wgmma_state *state = calloc(1, sizeof *state);
    struct mark *mark = calloc(shared->registers->slots + 1, sizeof *mark);
    if (state == NULL || mark == NULL) {
        free(state);
        free(mark);
        report_memory(x, i);
        return NULL;
    }
    state->registers = shared->registers;
    state->mark = mark;
    x->warp->wgmma = state;
    return state;
}

/* -- Computing ----------------------------------------------------------------------------------------------------- */

static void compute_through(const struct exec *x, struct wgmma_state *state, uint32_t group) {
    while (state->first < state->jobs && state->job[state->first].group <= group)
        wgmma_compute(x, &state->job[state->first++]);
    if (state->first == state->jobs) state->first = state->jobs = 0;
}

void wgmma_state_commit(struct exec *x, struct wgmma_state *state) {
    enum { AT_ONCE, AT_WAIT, CHOICES = 4, LONGEST = 256 };
    uint32_t bits = machine_random(x);
    state->committed++;
    machine_group_commit(x, ENGINE_WGMMA);
    if (bits % CHOICES == AT_ONCE) {
        compute_through(x, state, state->committed);
    } else if (bits % CHOICES != AT_WAIT && state->countdown == 0) {
        state->countdown = 1 + (bits >> 8) % LONGEST;
        state->due = state->committed;
    }
}

void wgmma_state_wait(struct exec *x, struct wgmma_state *state, uint32_t pending) {
    uint32_t done = state->committed > pending ? state->committed - pending : 0;
    compute_through(x, state, done);
    if (done > state->waited) state->waited = done;
    machine_group_wait(x, ENGINE_WGMMA, pending);
}

void wgmma_state_fence(struct wgmma_state *state) {
    state->fences++;
}

/* -- Issue --------------------------------------------------------------------------------------------------------- */

static void check_accumulator(struct exec *x, const struct instruction *i, const struct wgmma_state *state,
                              unsigned k) {
    const struct wgmma *w = i->aux;
    const struct mark *mark = &state->mark[i->slots[k] / WGMMA_UNIT];
    bool in_flight = mark->accumulator > state->waited;
    if (in_flight && mark->shape != w->n)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT, "accumulator %u is in flight in a wgmma with another shape", k);
    if (mark->input > state->waited)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT, "accumulator %u is A of a wgmma in flight", k);
    if (mark->written > state->fences)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT, "accumulator %u was written after the last wgmma.fence", k);
}

static void check_input(struct exec *x, const struct instruction *i, const struct wgmma_state *state, unsigned k) {
    const struct wgmma *w = i->aux;
    const struct mark *mark = &state->mark[i->slots[k] / WGMMA_UNIT];
    if (mark->accumulator > state->waited)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT, "register %u of A is the accumulator of a wgmma in flight",
               k - w->regs_d);
    if (mark->written > state->fences)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT, "register %u of A was written after the last wgmma.fence",
               k - w->regs_d);
}

void wgmma_state_check_issue(struct exec *x, const struct instruction *i, const struct wgmma_state *state) {
    const struct wgmma *w = i->aux;
    if (!exec_checks(x, PTXVM_CHECK_IN_FLIGHT)) return;
    if (state->fences == 0) report(x, i, -1, PTXVM_FINDING_IN_FLIGHT, "no wgmma.fence before the first wgmma");
    for (unsigned k = 0; k < w->regs_d; k++) check_accumulator(x, i, state, k);
    for (unsigned k = w->regs_d; k < i->slot_count; k++) check_input(x, i, state, k);
}

static bool make_room(struct wgmma_state *state) {
    if (state->jobs < state->capacity) return true;
    unsigned capacity = state->capacity ? 2 * state->capacity : 16;
    struct wgmma_job *job = realloc(state->job, capacity * sizeof *job);
    if (job == NULL) return false;
    state->job = job;
    state->capacity = capacity;
    return true;
}

bool wgmma_state_issue(struct exec *x, struct wgmma_state *state, struct wgmma_job job) {
    const struct wgmma *w = job.i->aux;
    if (!make_room(state)) {
        report_memory(x, job.i);
        return false;
    }
    job.group = state->committed + 1;
    state->job[state->jobs++] = job;
    for (unsigned k = 0; k < job.i->slot_count; k++) {
        struct mark *mark = &state->mark[job.i->slots[k] / WGMMA_UNIT];
        if (k < w->regs_d) {
            mark->accumulator = job.group;
            mark->shape = w->n;
        } else
            mark->input = job.group;
    }
    return true;
}

/* -- Ordinary instructions ----------------------------------------------------------------------------------------- */

static void count_down(const struct exec *x, struct wgmma_state *state) {
    if (--state->countdown == 0) compute_through(x, state, state->due);
}

static bool is_skipped(const struct exec *x, const struct instruction *i) {
    if (i->guard_slot == 0) return false;
    uint32_t guard = *predicate(x, i->guard_slot);
    return (x->warp->current->mask & (i->guard_negated ? ~guard : guard)) == 0;
}

static void check_touch(struct exec *x, const struct instruction *i, struct wgmma_state *state, uint32_t touch) {
    struct mark *mark = &state->mark[touch >> 1];
    bool is_write = touch & 1;
    if (mark->accumulator > state->waited)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT,
               "%s the accumulator of a wgmma before the wgmma.wait_group that covers it",
               is_write ? "writes" : "reads");
    if (is_write && mark->input > state->waited)
        report(x, i, -1, PTXVM_FINDING_IN_FLIGHT,
               "writes a register of A of a wgmma before the wgmma.wait_group that covers it");
    if (is_write) mark->written = state->fences + 1;
}

void wgmma_check_registers(struct exec *x, const struct instruction *i) {
    struct wgmma_state *state = x->warp->wgmma;
    if (state == NULL) return;
    if (state->countdown != 0) count_down(x, state);
    const struct wgmma_registers *registers = state->registers;
    if (i->index >= registers->function->statements) return;
    uint32_t first = registers->first[i->index], end = registers->first[i->index + 1];
    if (first == end || is_skipped(x, i)) return;
    for (uint32_t t = first; t < end; t++) check_touch(x, i, state, registers->touch[t]);
}

/* -- Which registers a statement touches --------------------------------------------------------------------------- */

static bool is_named(const char *text, const char *const *names) {
    for (; *names != NULL; names++)
        if (strcmp(text, *names) == 0) return true;
    return false;
}

static bool is_product(const struct ptx_statement *s) {
    return strcmp(s->opcode, "wgmma") == 0 && s->modifiers > 0 && strcmp(s->modifier[0], "mma_async") == 0;
}

// Calls visit for each register operand of a statement; is_first: it belongs to the first operand.
struct visitor {
    const struct ptx_function *function;
    uint8_t *used;   /* [slots] 1: a register of some wgmma */
    uint32_t *touch; /* NULL: only count */
    uint32_t count;
    bool is_written;
};

static void visit_slot(struct visitor *v, uint32_t slot) {
    if (!v->used[slot / WGMMA_UNIT]) return;
    if (v->touch != NULL) v->touch[v->count] = slot / WGMMA_UNIT << 1 | v->is_written;
    v->count++;
}

static void visit_operand(struct visitor *v, const struct ptx_operand *op) {
    if (op->kind == PTX_REG) visit_slot(v, op->slot);
    if (op->kind == PTX_REG && op->slot_pair != 0) visit_slot(v, op->slot_pair);
    if (op->kind == PTX_ADDRESS && !op->base_is_symbol) visit_slot(v, op->slot);
    if (op->kind != PTX_VECTOR && op->kind != PTX_ADDRESS) return;
    for (uint32_t k = 0; k < op->count; k++) {
        const struct ptx_operand *element = &v->function->operand[op->first + k];
        if (element->kind == PTX_REG) visit_slot(v, element->slot);
    }
}

// The first operand is the destination, if it is a register or a vector, but for a few opcodes.
static void visit_statement(struct visitor *v, const struct ptx_statement *s) {
    static const char *const sources[] = {"bar", "barrier", "nanosleep", "brx", "call", NULL};
    if (strcmp(s->opcode, "wgmma") == 0) return;
    for (uint32_t k = 0; k < s->operands; k++) {
        const struct ptx_operand *op = &v->function->operand[s->first + k];
        v->is_written = k == 0 && (op->kind == PTX_REG || op->kind == PTX_VECTOR) && !is_named(s->opcode, sources);
        visit_operand(v, op);
    }
}

static void mark_used(const struct ptx_function *function, uint8_t *used) {
    for (uint32_t s = 0; s < function->statements; s++) {
        const struct ptx_statement *statement = &function->statement[s];
        for (uint32_t k = 0; is_product(statement) && k < 2 && k < statement->operands; k++) {
            const struct ptx_operand *op = &function->operand[statement->first + k];
            for (uint32_t e = 0; op->kind == PTX_VECTOR && e < op->count; e++) {
                const struct ptx_operand *element = &function->operand[op->first + e];
                if (element->kind == PTX_REG) used[element->slot / WGMMA_UNIT] = 1;
            }
        }
    }
}

static struct wgmma_registers *build_registers(struct binder *b) {
    const struct ptx_function *function = b->function;
    struct wgmma_registers *r = bind_alloc(b, sizeof *r);
    if (r == NULL) return NULL;
    r->function = function;
    r->slots = function->file_bytes / WGMMA_UNIT;
    r->first = bind_alloc(b, (function->statements + 1) * sizeof *r->first);
    struct visitor v = {.function = function, .used = bind_alloc(b, r->slots + 1)};
    if (r->first == NULL || v.used == NULL) return NULL;
    mark_used(function, v.used);
    for (uint32_t s = 0; s < function->statements; s++) visit_statement(&v, &function->statement[s]);
    r->touch = v.touch = bind_alloc(b, (v.count + 1) * sizeof *r->touch);
    if (r->touch == NULL) return NULL;
    v.count = 0;
    for (uint32_t s = 0; s < function->statements; s++) {
        r->first[s] = v.count;
        visit_statement(&v, &function->statement[s]);
    }
    r->first[function->statements] = v.count;
    return r;
}

const struct wgmma_registers *wgmma_registers_of(struct binder *b) {
    struct wgmma_registers *r = b->module->wgmma_registers;
    while (r != NULL && r->function != b->function) r = r->next;
    if (r != NULL) return r;
    r = build_registers(b);
    if (r == NULL) return NULL;
    r->next = b->module->wgmma_registers;
    b->module->wgmma_registers = r;
    return r;
}
