// scalar: binders of the scalar families: a form by its type, operands by a form's letters, rounding modes.
// SPDX-License-Identifier: Apache-2.0
#include "scalar.h"

#include <fenv.h>

#define BITS4(k) 1u << (k), 2u << (k), 4u << (k), 8u << (k)
const uint32_t lane_bits[LANES] = {BITS4(0),  BITS4(4),  BITS4(8),  BITS4(12),
                                   BITS4(16), BITS4(20), BITS4(24), BITS4(28)};

/* -- Operands ------------------------------------------------------------------------------------------------------ */

static enum ptx_type twice_as_wide(enum ptx_type type) {
    switch (type) {
    case PTX_U16:
        return PTX_U32;
    case PTX_S16:
        return PTX_S32;
    case PTX_U32:
        return PTX_U64;
    case PTX_S32:
        return PTX_S64;
    default:
        return PTX_NONE;
    }
}

static enum ptx_type letter_type(char letter, enum ptx_type type) {
    switch (letter) {
    case 'w':
        return twice_as_wide(type);
    case 'u':
        return PTX_U32;
    case 'q':
        return PTX_U16;
    case 'p':
        return PTX_PRED;
    default:
        return type;
    }
}

bool bind_operands(struct binder *b, struct instruction *out, const char *letters, enum ptx_type type) {
    unsigned count = (unsigned)strlen(letters);
    if (!need_operands(b, count, count)) return false;
    if (!take_dst(b, &b->operand[0], ptx_type_bits(letter_type(letters[0], type)), &out->dst)) return false;
    for (unsigned k = 1; k < count; k++)
        if (!take_src(b, &b->operand[k], letter_type(letters[k], type), &out->src[k - 1])) return false;
    return true;
}

/* -- Forms --------------------------------------------------------------------------------------------------------- */

enum ptx_type peek_type(const struct binder *b) {
    struct binder copy = *b; /* what it consumes is forgotten with it */
    return mod_type(&copy);
}

bool bind_handler(struct binder *b, struct instruction *out, instruction_handler run, const char *letters,
                  enum ptx_type type, enum ptxvm_class klass) {
    out->run = run;
    out->klass = klass;
    return bind_operands(b, out, letters, type);
}

bool bind_form(struct binder *b, struct instruction *out, const struct form *forms, enum ptxvm_class klass) {
    uint64_t set = 0;
    for (const struct form *f = forms; f->type != PTX_NONE; f++) set |= TYPE_BIT(f->type);
    enum ptx_type type;
    if (!mod_type_need(b, set, &type)) return false;
    while (forms->type != type) forms++;
    return bind_handler(b, out, forms->run, forms->operands, type, klass);
}

/* -- Rounding ------------------------------------------------------------------------------------------------------ */

bool take_rounding(struct binder *b, enum rounding *out) {
    static const char *const names[] = {"rn", "rz", "rm", "rp", NULL}; /* in the order of enum rounding */
    int choice = mod_choice(b, names);
    *out = choice < 0 ? ROUND_NEAREST : (enum rounding)choice;
    return choice >= 0;
}

// What a directed instruction runs as, and with what mode of <fenv.h>.
struct directed {
    instruction_handler run;
    int mode;
};

// The handler reads its operands from memory after fesetround and writes its results before it is set back: calls that
// the compiler cannot see into, so no operation moves across them.
static void run_directed(struct exec *x, const struct instruction *i) {
    const struct directed *directed = i->aux;
    fesetround(directed->mode);
    directed->run(x, i);
    fesetround(FE_TONEAREST);
}

bool bind_rounding(struct binder *b, struct instruction *out, enum rounding rounding) {
    static const int modes[] = {[ROUND_NEAREST] = FE_TONEAREST,
                                [ROUND_ZERO] = FE_TOWARDZERO,
                                [ROUND_DOWN] = FE_DOWNWARD,
                                [ROUND_UP] = FE_UPWARD};
    if (rounding == ROUND_NEAREST) return true;
    struct directed *directed = bind_alloc(b, sizeof *directed);
    if (directed == NULL) return false;
    *directed = (struct directed){out->run, modes[rounding]};
    out->aux = directed;
    out->run = run_directed;
    return true;
}
