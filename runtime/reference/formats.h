// formats: the number formats of low-bit attention, as exact conversions between float or double values and codes.
// In: values. Out: codes, and the values that codes stand for. Rounds to nearest, ties to the even code, once, from
// double. Never touches the floating-point environment; assumes its default rounding mode. No state, no allocation.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_FORMATS_H
#define SAGE_REFERENCE_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// X(symbol, text, bits, exponent_bits, mantissa_bits, bias, max, has_infinity, is_signed)
//   has_infinity  IEEE: overflow gives infinity. Otherwise conversions saturate to max, as PTX `cvt.rn.satfinite` does.
// NaN becomes the format's quiet NaN; E2M1 has none and takes max, as PTX does. UE4M3 takes negative values as 0.
#define FORMAT_TABLE(X)                                                                                                \
    X(F64, "f64", 64, 11, 52, 1023, 0x1.fffffffffffffp1023, true, true)                                                \
    X(F32, "f32", 32, 8, 23, 127, 0x1.fffffep127, true, true)                                                          \
    X(F16, "f16", 16, 5, 10, 15, 65504.0, true, true)                                                                  \
    X(BF16, "bf16", 16, 8, 7, 127, 0x1.fep127, true, true)                                                             \
    X(E4M3, "e4m3", 8, 4, 3, 7, 448.0, false, true)                                                                    \
    X(E5M2, "e5m2", 8, 5, 2, 15, 57344.0, false, true)                                                                 \
    X(E2M1, "e2m1", 4, 2, 1, 1, 6.0, false, true)                                                                      \
    X(UE4M3, "ue4m3", 8, 4, 3, 7, 448.0, false, false)

#define FORMAT_SYMBOL(symbol, text, bits, exponent, mantissa, bias, max, infinity, sign) FORMAT_##symbol,
enum number_format { FORMAT_TABLE(FORMAT_SYMBOL) FORMAT_COUNT };

const char *format_text(enum number_format f); // "bf16"
size_t format_bits(enum number_format f);
double format_max(enum number_format f); // largest finite value

// The nearest value of the format. E5M2 infinity codes are decoded, never made.
double format_round(enum number_format f, double x);
uint64_t format_encode(enum number_format f, double x);
double format_decode(enum number_format f, uint64_t code); // bits above the format's are ignored

// **Layout** codes of 1, 2, 4 or 8 bytes, little-endian; E2M1 two per byte, low nibble first, (n + 1) / 2 bytes.
void format_encode_array(enum number_format f, const float *values, size_t n, void *codes);
void format_decode_array(enum number_format f, const void *codes, size_t n, float *values);
void format_round_array(enum number_format f, float *values, size_t n);

// UE8M0 scales 2^(code - 127), code 255 = NaN. Zero and negative values take code 0; above 2^127 takes 254.
uint8_t format_ue8m0_encode(double x, bool round_up); // round_up false: 2^floor(log2 x)
double format_ue8m0_decode(uint8_t code);

#endif
