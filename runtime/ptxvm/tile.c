// tile: packed rows of narrow elements -> floats and exponents. SPDX-License-Identifier: Apache-2.0
#include "tile.h"

#include "formats.h"

/* -- Values -------------------------------------------------------------------------------------------------------- */

// Copied first, so that the loops vectorise.
static void decode_half(bool is_bf16, unsigned k, const uint32_t *raw, float *value) {
    uint16_t code[2 * FRAGMENT_WORDS];
    memcpy(code, raw, sizeof code);
    if (is_bf16)
        for (unsigned e = 0; e < k; e++) value[e] = bf16_to_float(code[e]);
    else
        for (unsigned e = 0; e < k; e++) value[e] = f16_to_float(code[e]);
}

static void decode_signed_bytes(unsigned k, const uint32_t *raw, float *value) {
    int8_t code[4 * FRAGMENT_WORDS];
    memcpy(code, raw, sizeof code);
    for (unsigned e = 0; e < k; e++) value[e] = (float)code[e];
}

static void decode_unsigned_bytes(unsigned k, const uint32_t *raw, float *value) {
    uint8_t code[4 * FRAGMENT_WORDS];
    memcpy(code, raw, sizeof code);
    for (unsigned e = 0; e < k; e++) value[e] = (float)code[e];
}

// 8-bit containers by table: `shift` and `mask` take the element out of the byte.
static void decode_bytes(const float *table, unsigned shift, unsigned mask, unsigned k, const uint32_t *raw,
                         float *value) {
    for (unsigned word = 0; word < k / 4; word++)
        for (unsigned byte = 0; byte < 4; byte++)
            value[4 * word + byte] = table[(raw[word] >> (8 * byte + shift)) & mask];
}

static void decode_nibbles(const float *table, unsigned k, const uint32_t *raw, float *value) {
    for (unsigned e = 0; e < k; e++) value[e] = table[raw[e / 8] >> (e % 8 * 4) & 15u];
}

static void decode_integer_nibbles(bool is_signed, unsigned k, const uint32_t *raw, float *value) {
    uint32_t sign = is_signed ? 8 : 0;
    for (unsigned e = 0; e < k; e++) {
        uint32_t code = raw[e / 8] >> (e % 8 * 4) & 15u;
        value[e] = (float)((int32_t)(code ^ sign) - (int32_t)sign);
    }
}

void tile_decode(enum ptx_type type, unsigned container, unsigned k, const uint32_t *raw, float *value) {
    switch (type) {
    case PTX_F16:
        decode_half(false, k, raw, value);
        break;
    case PTX_BF16:
        decode_half(true, k, raw, value);
        break;
    case PTX_E4M3:
        decode_bytes(format_e4m3, 0, 255, k, raw, value);
        break;
    case PTX_E5M2:
        decode_bytes(format_e5m2, 0, 255, k, raw, value);
        break;
    case PTX_E3M2:
        decode_bytes(format_e3m2, 0, 63, k, raw, value);
        break;
    case PTX_E2M3:
        decode_bytes(format_e2m3, 0, 63, k, raw, value);
        break;
    case PTX_E2M1:
        if (container == 8)
            decode_bytes(format_e2m1, 2, 15, k, raw, value);
        else
            decode_nibbles(format_e2m1, k, raw, value);
        break;
    case PTX_TF32:
        for (unsigned e = 0; e < k; e++) value[e] = bits_float(raw[e] & 0xffffe000u);
        break;
    case PTX_S8:
        decode_signed_bytes(k, raw, value);
        break;
    case PTX_U8:
        decode_unsigned_bytes(k, raw, value);
        break;
    default:
        decode_integer_nibbles(type == PTX_S4, k, raw, value);
        break;
    }
}

/* -- Exponents ----------------------------------------------------------------------------------------------------- */

// X(type, lowest normal exponent)
#define TILE_EXPONENTS(X)                                                                                              \
    X(F16, -14) X(BF16, -126) X(TF32, -126) X(E4M3, -6) X(E5M2, -14) X(E3M2, -2) X(E2M3, 0) X(E2M1, 0)
#define TILE_EXPONENT_ROW(type, lowest) [PTX_##type] = lowest,
static const int16_t lowest_exponent[PTX_TYPE_COUNT] = {TILE_EXPONENTS(TILE_EXPONENT_ROW)};

// Exponents of n values; true if one of them is NaN or infinite.
static bool take_exponents(int32_t lowest, unsigned n, const float *value, int16_t *exponent) {
    int32_t special = 0;
    for (unsigned e = 0; e < n; e++) {
        int32_t bits = (int32_t)(float_bits(value[e]) & 0x7fffffffu), field = bits >> 23;
        int32_t own = field - 127 > lowest ? field - 127 : lowest;
        exponent[e] = (int16_t)(bits == 0 ? EXPONENT_OF_ZERO : own);
        special |= field == 255;
    }
    return special != 0;
}

static void negate_values(unsigned n, float *value) {
    for (unsigned e = 0; e < n; e++) value[e] = -value[e];
}

void tile_load_rows(struct tile_rows *tile, enum ptx_type type, unsigned container, unsigned rows, unsigned k,
                    bool negate, uint32_t raw[][FRAGMENT_WORDS]) {
    bool is_float = ptx_type_class(type) == 'F';
    for (unsigned row = 0; row < rows; row++) {
        tile_decode(type, container, k, raw[row], tile->value[row]);
        if (negate) negate_values(k, tile->value[row]);
        tile->special[row] =
            is_float && take_exponents(lowest_exponent[type], k, tile->value[row], tile->exponent[row]);
    }
}

void tile_load_columns(struct tile_columns *tile, enum ptx_type type, unsigned container, unsigned k, bool negate,
                       uint32_t raw[][FRAGMENT_WORDS]) {
    bool is_float = ptx_type_class(type) == 'F', special = false;
    for (unsigned column = 0; column < 8; column++) {
        float value[TILE_K];
        tile_decode(type, container, k, raw[column], value);
        if (negate) negate_values(k, value);
        for (unsigned e = 0; e < k; e++) tile->value[e][column] = value[e];
    }
    memset(tile->special, 0, sizeof tile->special);
    if (is_float) special = take_exponents(lowest_exponent[type], 8 * k, tile->value[0], tile->exponent[0]);
    for (unsigned e = 0; special && e < k; e++)
        for (unsigned column = 0; column < 8; column++)
            if ((float_bits(tile->value[e][column]) & 0x7f800000u) == 0x7f800000u) tile->special[column] = true;
}
