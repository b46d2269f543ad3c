// compare: a machine's output beside a GPU's, element by element, in the case's mode. SPDX-License-Identifier:
// Apache-2.0
#include "truth.h"

#include <math.h>
#include <string.h>

static uint64_t element_bits(const uint8_t *at, unsigned bytes) {
    uint64_t bits = 0;
    memcpy(&bits, at, bytes); /* little-endian */
    return bits;
}

static bool is_nan(enum truth_value value, uint64_t bits) {
    return value != VALUE_INTEGER && isnan(truth_decode(value, bits));
}

// Floats as integers in their order, so that neighbours differ by one.
static int64_t ordered(uint64_t bits, unsigned bytes) {
    uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
    return (bits & sign) != 0 ? -(int64_t)(bits & (sign - 1)) : (int64_t)bits;
}

static const struct { int digits, lowest; } formats[] = {{0, 0}, {11, -14}, {8, -126}, {24, -126}, {53, -1022}};

static double half_unit(enum truth_value value, double of) {
    int exponent;
    frexp(of, &exponent);
    exponent = exponent - 1 < formats[value].lowest ? formats[value].lowest : exponent - 1;
    return ldexp(0.5, exponent - formats[value].digits + 1);
}

// How far apart, in the mode's unit; infinite where nothing relates the two.
static double distance(const struct truth_case *c, enum truth_value value, unsigned bytes, uint64_t machine,
                       uint64_t gpu, double scale) {
    double a = truth_decode(value, machine), b = truth_decode(value, gpu), gap = fabs(a - b);
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? 0 : (double)INFINITY;
    switch (c->mode) {
    case MODE_ULP: /* the largest number's neighbour is infinity */
        return fabs((double)(ordered(machine, bytes) - ordered(gpu, bytes)));
    case MODE_RELATIVE:
    case MODE_ABSOLUTE:
        if (isinf(a) || isinf(b)) return a == b ? 0 : (double)INFINITY;
        gap = fmax(gap - half_unit(value, a), 0);
        // Neighbouring subnormals are further apart than a bound on the relative error can be: there it is one of the
        // least normal number (ex2.approx.f16: PTX ISA's 2^-9.9 is less than a subnormal's last place).
        if (c->mode == MODE_RELATIVE) return gap / fmax(fabs(a), ldexp(1, formats[value].lowest));
        return gap / fmax(fabs(a), 1);
    case MODE_ACCUMULATE:
        if (isinf(a) || isinf(b)) return a == b ? 0 : (double)INFINITY;
        return scale > 0 ? gap / scale : (double)INFINITY;
    default:
        return (double)INFINITY;
    }
}

// Largest finite magnitude of the group of lanes, which the error of a sum is measured by.
static double group_scale(const struct truth_case *c, const struct truth_field *field, const uint8_t *output,
                          unsigned group) {
    unsigned bytes = truth_value_bytes(field->kind->value, field->kind->bytes);
    unsigned first = group * TRUTH_GROUP, last = first + TRUTH_GROUP < c->lanes ? first + TRUTH_GROUP : c->lanes;
    double largest = 0;
    for (unsigned r = 0; r < field->count; r++)
        for (unsigned lane = first; lane < last; lane++)
            for (unsigned e = 0; e < field->kind->bytes / bytes; e++) {
                size_t at = field->offset + ((size_t)r * c->lanes + lane) * field->kind->bytes + e * bytes;
                double value = fabs(truth_decode(field->kind->value, element_bits(output + at, bytes)));
                if (isfinite(value) && value > largest) largest = value;
            }
    return largest;
}

static void describe(const struct truth_case *c, unsigned field, unsigned r, unsigned lane, unsigned e,
                     uint64_t machine, uint64_t gpu, struct truth_result *out) {
    int at = snprintf(out->first, sizeof out->first, "out %u.%u lane %u.%u: machine %llx gpu %llx, inputs", field, r,
                      lane, e, (unsigned long long)machine, (unsigned long long)gpu);
    for (unsigned f = 0; f < c->input_count && c->inputs[f].count == 1 && at < (int)sizeof out->first; f++) {
        const struct truth_field *in = &c->inputs[f];
        uint64_t bits = element_bits(c->input + in->offset + (size_t)lane * in->kind->bytes, in->kind->bytes);
        at += snprintf(out->first + at, sizeof out->first - (size_t)at, " %llx", (unsigned long long)bits);
    }
}

static void compare_field(const struct truth_case *c, unsigned f, const uint8_t *machine, const uint8_t *gpu,
                          struct truth_result *out) {
    const struct truth_field *field = &c->outputs[f];
    enum truth_value value = field->kind->value;
    unsigned bytes = truth_value_bytes(value, field->kind->bytes), per = field->kind->bytes / bytes;
    double scale = 0;
    unsigned group = ~0u;
    for (unsigned r = 0; r < field->count; r++)
        for (unsigned k = 0; k < c->lanes * per; k++) {
            unsigned lane = k / per;
            size_t at = field->offset + ((size_t)r * c->lanes + lane) * field->kind->bytes + k % per * bytes;
            uint64_t a = element_bits(machine + at, bytes), b = element_bits(gpu + at, bytes);
            out->elements++;
            out->equal += a == b;
            if (a == b || (c->mode != MODE_EXACT && is_nan(value, a) && is_nan(value, b))) continue;
            if (c->mode == MODE_ACCUMULATE && lane / TRUTH_GROUP != group) {
                group = lane / TRUTH_GROUP;
                scale = group_scale(c, field, gpu, group);
            }
            double gap = distance(c, value, bytes, a, b, scale);
            bool over = !(gap <= c->bound) || c->mode <= MODE_NAN;
            if (gap > out->worst) out->worst = gap;
            if (out->first[0] == 0 || (over && out->over == 0)) describe(c, f, r, lane, k % per, a, b, out);
            out->over += over;
        }
}

void truth_compare(const struct truth_case *c, const uint8_t *machine, const uint8_t *gpu, struct truth_result *out) {
    memset(out, 0, sizeof *out);
    for (unsigned f = 0; f < c->output_count; f++) compare_field(c, f, machine, gpu, out);
}

void truth_canonical(const struct truth_case *c, uint8_t *output) {
    static const uint64_t one[] = {0, 0x7fff, 0x7fff, 0x7fffffff, UINT64_C(0x7fffffffffffffff)};
    if (c->mode == MODE_EXACT) return;
    for (unsigned f = 0; f < c->output_count; f++) {
        const struct truth_field *field = &c->outputs[f];
        unsigned bytes = truth_value_bytes(field->kind->value, field->kind->bytes);
        size_t end = field->offset + (size_t)field->count * c->lanes * field->kind->bytes;
        for (size_t at = field->offset; at < end; at += bytes)
            if (is_nan(field->kind->value, element_bits(output + at, bytes)))
                memcpy(output + at, &one[field->kind->value], bytes);
    }
}
