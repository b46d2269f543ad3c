// warp: instructions by which lanes of a warp exchange values: shfl, vote, redux, match, elect, activemask. All of the
// .sync kind: they wait for the lanes of their member mask. SPDX-License-Identifier: Apache-2.0
#include "warp.h"
#include "run.h"

#include <string.h>

/* -- Members ------------------------------------------------------------------------------------------------------- */

// Lanes may name different masks (tiles of a warp): each exchanges with those of its own.
static uint32_t all_members(const struct exec *x, const uint32_t *masks) {
    uint32_t members = 0;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) members |= masks[__builtin_ctz(rest)];
    return members;
}

static bool is_uniform(const struct exec *x, const uint32_t *values) {
    uint32_t first = values[__builtin_ctz(x->active)];
    for (uint32_t rest = x->active; rest; rest &= rest - 1)
        if (values[__builtin_ctz(rest)] != first) return false;
    return true;
}

static bool meet(struct exec *x, const struct instruction *i, uint32_t mask_slot) {
    const uint32_t *masks = lanes32(x, mask_slot);
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        if (masks[l] >> l & 1) continue;
        report(x, i, (int)l, PTXVM_FINDING_BAD_OPERAND, "the lane is not in its own member mask 0x%08x", masks[l]);
        return false;
    }
    return warp_rendezvous(x, i, all_members(x, masks));
}

// The last source of all these instructions.
static bool bind_members(struct binder *b, unsigned operand, struct instruction *out, uint32_t *slot) {
    out->klass = PTXVM_CLASS_WARP;
    return take_src(b, &b->operand[operand], PTX_B32, slot);
}

static bool need_sync(struct binder *b) {
    return mod_take(b, "sync") || bind_fail(b, "needs .sync");
}

/* -- bar.warp.sync ------------------------------------------------------------------------------------------------- */

static void run_bar_warp(struct exec *x, const struct instruction *i) {
    meet(x, i, i->src[0]);
}

bool warp_bind_bar(struct binder *b, struct instruction *out) {
    if (!need_sync(b) || !need_operands(b, 1, 1)) return false;
    out->flags = RENDEZVOUS_ANYWHERE;
    out->run = run_bar_warp;
    return bind_members(b, 0, out, &out->src[0]);
}

/* -- shfl ---------------------------------------------------------------------------------------------------------- */

enum shfl_mode { SHFL_IDX, SHFL_UP, SHFL_DOWN, SHFL_BFLY };

// Lane from which `lane` reads; *valid: it lies in the segment (else the lane reads itself).
static unsigned shfl_source(enum shfl_mode mode, unsigned lane, uint32_t b, uint32_t c, bool *valid) {
    unsigned amount = b & 31, clamp = c & 31, segment = c >> 8 & 31;
    unsigned last = (lane & segment) | (clamp & ~segment & 31);
    int source = 0;
    switch (mode) {
    case SHFL_IDX:
        source = (int)((lane & segment) | (amount & ~segment & 31));
        break;
    case SHFL_UP:
        source = (int)lane - (int)amount;
        break;
    case SHFL_DOWN:
        source = (int)(lane + amount);
        break;
    case SHFL_BFLY:
        source = (int)(lane ^ amount);
        break;
    }
    *valid = mode == SHFL_UP ? source >= (int)last : source <= (int)last;
    return *valid ? (unsigned)source : lane;
}

static void run_shfl(struct exec *x, const struct instruction *i) {
    if (!meet(x, i, i->src[3])) return;
    const uint32_t *a = lanes32(x, i->src[0]), *b = lanes32(x, i->src[1]), *c = lanes32(x, i->src[2]);
    uint32_t result[LANES], inside = 0, *d = lanes32(x, i->dst);
    for (unsigned l = 0; l < LANES; l++) {
        bool valid;
        unsigned source = shfl_source((enum shfl_mode)i->flags, l, b[l], c[l], &valid) & 31;
        inside |= (uint32_t)valid << l;
        result[l] = a[source];
        if (!(x->active >> source & 1) && x->active >> l & 1) result[l] = machine_random(x); /* undefined */
    }
    for (unsigned l = 0; l < LANES; l++)
        if (x->active >> l & 1) d[l] = result[l];
    if (!i->imm) return;
    uint32_t *p = predicate(x, (uint32_t)i->imm);
    *p = (*p & ~x->active) | (inside & x->active);
}

static bool bind_shfl(struct binder *b, struct instruction *out) {
    static const char *const modes[] = {"idx", "up", "down", "bfly", NULL};
    unsigned mode;
    enum ptx_type type;
    uint32_t pair = 0;
    if (!need_sync(b) || !mod_need(b, modes, &mode) || !mod_type_need(b, TYPE_BIT(PTX_B32), &type)) return false;
    if (!need_operands(b, 5, 5) || !take_dst_pair(b, &b->operand[0], 32, &out->dst, &pair)) return false;
    for (unsigned k = 0; k < 3; k++)
        if (!take_src(b, &b->operand[1 + k], PTX_B32, &out->src[k])) return false;
    out->imm = pair;
    out->flags = mode;
    out->run = run_shfl;
    return bind_members(b, 4, out, &out->src[3]);
}

/* -- vote ---------------------------------------------------------------------------------------------------------- */

enum vote_mode { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };

static bool vote_of(enum vote_mode mode, uint32_t votes, uint32_t members) {
    switch (mode) {
    case VOTE_ALL:
        return votes == members;
    case VOTE_ANY:
        return votes != 0;
    case VOTE_UNI:
        return votes == 0 || votes == members;
    case VOTE_BALLOT:
        break;
    }
    return false;
}

static void run_vote(struct exec *x, const struct instruction *i) {
    if (!meet(x, i, i->src[1])) return;
    enum vote_mode mode = (enum vote_mode)i->flags;
    const uint32_t *masks = lanes32(x, i->src[1]);
    uint32_t votes = *predicate(x, i->src[0]) ^ (i->imm ? ALL_LANES : 0), yes = 0;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        uint32_t members = masks[l] & x->active;
        if (mode == VOTE_BALLOT)
            lanes32(x, i->dst)[l] = votes & members;
        else
            yes |= (uint32_t)vote_of(mode, votes & members, members) << l;
    }
    if (mode == VOTE_BALLOT) return;
    uint32_t *p = predicate(x, i->dst);
    *p = (*p & ~x->active) | yes;
}

static bool bind_vote(struct binder *b, struct instruction *out) {
    static const char *const modes[] = {"all", "any", "uni", "ballot", NULL};
    unsigned mode;
    enum ptx_type type;
    bool negated;
    if (!need_sync(b) || !mod_need(b, modes, &mode)) return false;
    enum ptx_type wanted = mode == VOTE_BALLOT ? PTX_B32 : PTX_PRED;
    if (!mod_type_need(b, TYPE_BIT(wanted), &type) || !need_operands(b, 3, 3)) return false;
    if (!take_dst(b, &b->operand[0], mode == VOTE_BALLOT ? 32 : 1, &out->dst)) return false;
    if (!take_src_pred(b, &b->operand[1], &out->src[0], &negated)) return false;
    out->imm = negated;
    out->flags = mode;
    out->run = run_vote;
    return bind_members(b, 2, out, &out->src[1]);
}

/* -- redux --------------------------------------------------------------------------------------------------------- */

enum redux_op { REDUX_ADD, REDUX_MIN, REDUX_MAX, REDUX_AND, REDUX_OR, REDUX_XOR };
enum { REDUX_SIGNED = 16, REDUX_FLOAT = 32, REDUX_ABS = 64, REDUX_NAN = 128 };

static uint32_t redux_integer(enum redux_op op, bool is_signed, uint32_t a, uint32_t b) {
    bool less = is_signed ? (int32_t)a < (int32_t)b : a < b;
    switch (op) {
    case REDUX_ADD:
        return a + b;
    case REDUX_MIN:
        return less ? a : b;
    case REDUX_MAX:
        return less ? b : a;
    case REDUX_AND:
        return a & b;
    case REDUX_OR:
        return a | b;
    case REDUX_XOR:
        break;
    }
    return a ^ b;
}

static bool float_is_nan(uint32_t bits) {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

// Order of floats as order of integers; -0 is below +0.
static int32_t float_order(uint32_t bits) {
    return (int32_t)(bits & 0x80000000u ? ~(bits & 0x7fffffffu) : bits);
}

static uint32_t redux_float(uint32_t flags, uint32_t a, uint32_t b) {
    enum { CANONICAL_NAN = 0x7fffffff };
    if (float_is_nan(a) || float_is_nan(b)) {
        if (flags & REDUX_NAN || (float_is_nan(a) && float_is_nan(b))) return CANONICAL_NAN;
        return float_is_nan(a) ? b : a;
    }
    bool a_less = float_order(a) < float_order(b);
    return a_less == ((flags & 7) == REDUX_MIN) ? a : b;
}

static uint32_t redux_lanes(uint32_t flags, const uint32_t *values, uint32_t lanes) {
    uint32_t clear = flags & REDUX_ABS ? 0x80000000u : 0, total = values[__builtin_ctz(lanes)] & ~clear;
    if (flags & REDUX_FLOAT) total = redux_float(flags, total, total); /* a NaN becomes the canonical one */
    for (lanes &= lanes - 1; lanes; lanes &= lanes - 1) {
        uint32_t value = values[__builtin_ctz(lanes)] & ~clear;
        total = flags & REDUX_FLOAT ? redux_float(flags, total, value)
                                    : redux_integer((enum redux_op)(flags & 7), flags & REDUX_SIGNED, total, value);
    }
    return total;
}

static void run_redux(struct exec *x, const struct instruction *i) {
    if (!meet(x, i, i->src[1])) return;
    const uint32_t *masks = lanes32(x, i->src[1]);
    uint32_t values[LANES], *d = lanes32(x, i->dst);
    memcpy(values, lanes32(x, i->src[0]), sizeof values);
    bool uniform = is_uniform(x, masks);
    uint32_t total = uniform ? redux_lanes(i->flags, values, x->active) : 0;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        d[l] = uniform ? total : redux_lanes(i->flags, values, masks[l] & x->active);
    }
}

static bool bind_redux(struct binder *b, struct instruction *out) {
    static const char *const ops[] = {"add", "min", "max", "and", "or", "xor", NULL};
    unsigned op;
    enum ptx_type type;
    if (!need_sync(b) || !mod_need(b, ops, &op)) return false;
    uint64_t set = op >= REDUX_AND ? TYPE_BIT(PTX_B32) : TYPE_BIT(PTX_U32) | TYPE_BIT(PTX_S32);
    if (op == REDUX_MIN || op == REDUX_MAX) set |= TYPE_BIT(PTX_F32);
    if (!mod_type_need(b, set, &type)) return false;
    if (type == PTX_F32 && b->module->text->target_sm < 100) return bind_fail(b, "needs sm_100a");
    out->flags = op | (type == PTX_S32 ? REDUX_SIGNED : 0u) | (type == PTX_F32 ? REDUX_FLOAT : 0u);
    if (type == PTX_F32 && mod_take(b, "abs")) out->flags |= REDUX_ABS;
    if (type == PTX_F32 && mod_take(b, "NaN")) out->flags |= REDUX_NAN;
    if (!need_operands(b, 3, 3) || !take_dst(b, &b->operand[0], 32, &out->dst)) return false;
    out->run = run_redux;
    return take_src(b, &b->operand[1], type, &out->src[0]) && bind_members(b, 2, out, &out->src[1]);
}

/* -- match --------------------------------------------------------------------------------------------------------- */

enum { MATCH_ALL = 1, MATCH_WIDE = 2 };

static uint64_t match_value(const struct exec *x, const struct instruction *i, unsigned lane) {
    return i->flags & MATCH_WIDE ? lanes64(x, i->src[0])[lane] : lanes32(x, i->src[0])[lane];
}

static void run_match(struct exec *x, const struct instruction *i) {
    if (!meet(x, i, i->src[1])) return;
    const uint32_t *masks = lanes32(x, i->src[1]);
    uint32_t result[LANES] = {0}, all = 0;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        uint64_t value = match_value(x, i, l);
        for (uint32_t others = masks[l] & x->active; others; others &= others - 1) {
            unsigned o = (unsigned)__builtin_ctz(others);
            result[l] |= (uint32_t)(match_value(x, i, o) == value) << o;
        }
        bool same = result[l] == (masks[l] & x->active);
        all |= (uint32_t)same << l;
        if (i->flags & MATCH_ALL && !same) result[l] = 0;
    }
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        lanes32(x, i->dst)[l] = result[l];
    }
    if (!i->imm) return;
    uint32_t *p = predicate(x, (uint32_t)i->imm);
    *p = (*p & ~x->active) | all;
}

static bool bind_match(struct binder *b, struct instruction *out) {
    static const char *const modes[] = {"any", "all", NULL};
    unsigned mode;
    enum ptx_type type;
    uint32_t pair = 0;
    if (!mod_need(b, modes, &mode) || !need_sync(b)) return false;
    if (!mod_type_need(b, TYPE_BIT(PTX_B32) | TYPE_BIT(PTX_B64), &type) || !need_operands(b, 3, 3)) return false;
    bool taken = mode == MATCH_ALL ? take_dst_pair(b, &b->operand[0], 32, &out->dst, &pair)
                                   : take_dst(b, &b->operand[0], 32, &out->dst);
    if (!taken || !take_src(b, &b->operand[1], type, &out->src[0])) return false;
    out->imm = pair;
    out->flags = mode | (type == PTX_B64 ? MATCH_WIDE : 0u);
    out->run = run_match;
    return bind_members(b, 2, out, &out->src[1]);
}

/* -- elect, activemask --------------------------------------------------------------------------------------------- */

// Hardware names some lane, always the same: here the lowest.
static void run_elect(struct exec *x, const struct instruction *i) {
    if (!meet(x, i, i->src[0])) return;
    const uint32_t *masks = lanes32(x, i->src[0]);
    uint32_t elected = 0;
    for (uint32_t rest = x->active; rest; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest), leader = (unsigned)__builtin_ctz(masks[l] & x->active);
        lanes32(x, i->dst)[l] = leader;
        elected |= (uint32_t)(leader == l) << l;
    }
    if (!i->imm) return;
    uint32_t *p = predicate(x, (uint32_t)i->imm);
    *p = (*p & ~x->active) | elected;
}

static bool bind_elect(struct binder *b, struct instruction *out) {
    uint32_t pair = 0;
    if (!need_sync(b) || !need_operands(b, 2, 2)) return false;
    if (!take_dst_pair(b, &b->operand[0], 32, &out->dst, &pair)) return false;
    out->imm = pair;
    out->run = run_elect;
    return bind_members(b, 1, out, &out->src[0]);
}

static void run_activemask(struct exec *x, const struct instruction *i) {
    for (uint32_t rest = x->active; rest; rest &= rest - 1) lanes32(x, i->dst)[__builtin_ctz(rest)] = x->active;
}

static bool bind_activemask(struct binder *b, struct instruction *out) {
    enum ptx_type type;
    out->klass = PTXVM_CLASS_WARP;
    out->run = run_activemask;
    return mod_type_need(b, TYPE_BIT(PTX_B32), &type) && need_operands(b, 1, 1) &&
           take_dst(b, &b->operand[0], 32, &out->dst);
}

const struct isa_entry isa_warp[] = {
    {"shfl", bind_shfl},   {"vote", bind_vote},   {"redux", bind_redux},
    {"match", bind_match}, {"elect", bind_elect}, {"activemask", bind_activemask},
    {NULL, NULL},
};
