// test_readers: .npy and .safetensors: what is read, what is refused and why, and that no bytes can crash the readers.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "capture.h"
#include "npy.h"
#include "random.h"
#include "safetensors.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WHY = 512, MUTATIONS = 2000 };
static char path[64]; // of the file that a test writes

/* -- Files ---- */

static int make_path(void **state) {
    (void)state;
    strcpy(path, "/tmp/sage_readers_XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return remove(path);
}

static void write_file(const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

// A .npy file of version 1, 2 or 3 with that header text; returns its bytes.
static size_t npy_bytes(int version, const char *header, const void *data, size_t data_bytes, unsigned char *out) {
    size_t n = strlen(header), at = 8;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[7] = 0;
    for (size_t i = 0; i < (version == 1 ? 2u : 4u); i++) out[at++] = (unsigned char)(n >> (8 * i));
    memcpy(out + at, header, n);
    if (data_bytes) memcpy(out + at + n, data, data_bytes);
    return at + n + data_bytes;
}

static void write_npy(int version, const char *header, const void *data, size_t data_bytes) {
    unsigned char bytes[1024];
    write_file(bytes, npy_bytes(version, header, data, data_bytes, bytes));
}

static size_t safetensors_bytes(const char *header, const void *data, size_t data_bytes, unsigned char *out) {
    uint64_t n = strlen(header);
    memcpy(out, &n, 8);
    memcpy(out + 8, header, n);
    if (data_bytes) memcpy(out + 8 + n, data, data_bytes);
    return 8 + n + data_bytes;
}

static void write_safetensors(const char *header, const void *data, size_t data_bytes) {
    unsigned char bytes[2048];
    write_file(bytes, safetensors_bytes(header, data, data_bytes, bytes));
}

/* -- .npy ---- */

static void test_npy_versions(void **state) {
    (void)state;
    const float data[6] = {0, 1, 2, 3, 4, -5};
    char why[WHY];
    for (int version = 1; version <= 3; version++) {
        struct tensor t;
        write_npy(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", data, sizeof data);
        assert_true(npy_read(path, NPY_RAW16_REFUSE, &t, why, sizeof why));
        assert_int_equal(t.dtype, FORMAT_F32);
        assert_int_equal(t.ndim, 2);
        assert_int_equal(t.strides[0], 3);
        assert_memory_equal(t.data, data, sizeof data);
        tensor_free(&t);
    }
}

static void test_npy_types(void **state) {
    (void)state;
    static const struct {
        const char *header;
        enum npy_raw16 raw16;
        enum number_format dtype;
        int ndim;
    } rows[] = {
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", NPY_RAW16_REFUSE, FORMAT_F16, 1},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (), }", NPY_RAW16_REFUSE, FORMAT_F64, 0},
        {"{\"shape\": (1, 4), \"fortran_order\": False, \"descr\": \"<V2\"}", NPY_RAW16_IS_BF16, FORMAT_BF16, 2},
        {"{'descr': '|V2', 'fortran_order': False, 'shape': (2,2)}", NPY_RAW16_IS_BF16, FORMAT_BF16, 2},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (4,)}", NPY_RAW16_IS_BF16, FORMAT_BF16, 1},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", NPY_RAW16_REFUSE, FORMAT_F32, 1},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775800)}", NPY_RAW16_REFUSE, FORMAT_F32,
         2},
    };
    const uint16_t data[4] = {0x3f80, 0x4000, 0, 0x3fc0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tensor t;
        char why[WHY] = "";
        write_npy(1, rows[i].header, data, sizeof data);
        if (!npy_read(path, rows[i].raw16, &t, why, sizeof why)) fail_msg("row %zu: %s", i, why);
        assert_int_equal(t.dtype, rows[i].dtype);
        assert_int_equal(t.ndim, rows[i].ndim);
        tensor_free(&t);
    }
}

static void test_npy_refusals(void **state) {
    (void)state;
    static const struct {
        const char *header, *reason;
    } rows[] = {
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", "Fortran order"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "big-endian"},
        {"{'descr': '<V2', 'fortran_order': False, 'shape': (2,), }", "declared to be bf16"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", "'<i4'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "structured"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "cut short: 12 bytes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "dimension is too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "whole number"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", "no tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", "more than 8"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,), }", "whole number"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", "neither True nor False"},
        {"{'descr': '<f4', 'shape': (2,), }", "missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "twice"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "unknown key"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", "follows"},
        {"{'descr': '<f4", "no end"},
        {"[]", "no dict"},
        {"", "no dict"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tensor t = {.ndim = -7};
        char why[WHY] = "";
        write_npy(1, rows[i].header, "12345678", 8);
        assert_false(npy_read(path, NPY_RAW16_REFUSE, &t, why, sizeof why));
        if (!strstr(why, rows[i].reason) || !strstr(why, path)) fail_msg("row %zu: %s", i, why);
        assert_int_equal(t.ndim, -7);
    }
}

static void test_npy_bad_files(void **state) {
    (void)state;
    struct tensor t;
    char why[WHY];
    assert_false(npy_read("/nonexistent/x.npy", NPY_RAW16_REFUSE, &t, why, sizeof why));
    assert_non_null(strstr(why, "cannot be opened"));
    assert_false(npy_read("/", NPY_RAW16_REFUSE, &t, why, sizeof why));
    write_file("hello", 5);
    assert_false(npy_read(path, NPY_RAW16_REFUSE, &t, why, sizeof why));
    assert_non_null(strstr(why, "mark"));
    write_file("\x93NUMPY\x02\x00\xff\xff\xff\x7f", 12);
    assert_false(npy_read(path, NPY_RAW16_REFUSE, &t, why, sizeof why));
    assert_non_null(strstr(why, "more than the file has"));
    write_file("\x93NUMPY\x09\x00\x00\x00", 10);
    assert_false(npy_read(path, NPY_RAW16_REFUSE, &t, why, sizeof why));
    assert_non_null(strstr(why, "version is 9"));
    assert_false(npy_read(path, NPY_RAW16_REFUSE, &t, why, 8)); // the sentence is cut, not overrun
    assert_int_equal(strlen(why), 7);
}

static void test_npy_round_trip(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{2, 3, 5}, {7, 1, 0}, {1, 1, 1}};
    char why[WHY];
    for (size_t i = 0; i < 3; i++)
        for (int ndim = 0; ndim <= 3; ndim++)
            for (int half = 0; half < 2; half++) {
                struct tensor t, back;
                assert_true(tensor_create(FORMAT_F32, ndim, shapes[i], &t, why, sizeof why));
                for (size_t j = 0; j < tensor_count(&t); j++) ((float *)t.data)[j] = (float)j * 0.5f - 3;
                assert_true(npy_write(path, &t, half ? FORMAT_F16 : FORMAT_F32, why, sizeof why));
                assert_true(npy_read(path, NPY_RAW16_REFUSE, &back, why, sizeof why));
                assert_int_equal(back.dtype, half ? FORMAT_F16 : FORMAT_F32);
                struct tensor wide;
                assert_true(tensor_convert(&back, FORMAT_F32, &wide, why, sizeof why));
                assert_int_equal(wide.ndim, ndim);
                assert_memory_equal(wide.shape, t.shape, sizeof t.shape);
                assert_memory_equal(wide.data, t.data, tensor_count(&t) * sizeof(float));
                tensor_free(&t);
                tensor_free(&back);
                tensor_free(&wide);
            }
    struct tensor t = {0};
    assert_false(npy_write("/nonexistent/x.npy", &(struct tensor){.dtype = FORMAT_F32, .data = &t, .ndim = 0},
                           FORMAT_F32, why, sizeof why));
    assert_non_null(strstr(why, "cannot be written"));
}

// Flips, cuts and extends valid files; the readers must answer, either way.
static size_t mutate(struct random *r, unsigned char *bytes, size_t n) {
    size_t changes = 1 + random_bits(r) % 4;
    for (size_t i = 0; i < changes; i++) {
        size_t at = random_bits(r) % n;
        switch (random_bits(r) % 4) {
        case 0:
            bytes[at] = (unsigned char)random_bits(r);
            break;
        case 1:
            bytes[at] = (unsigned char)(bytes[at] ^ 1u << random_bits(r) % 8);
            break;
        case 2:
            bytes[at] = (unsigned char)"0123456789,:'\"()[]{} -e"[random_bits(r) % 23];
            break;
        default:
            n = at + 1;
            break;
        }
    }
    return n;
}

static void test_npy_mutations(void **state) {
    (void)state;
    static const char header[] = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3, 4), }          \n";
    unsigned char whole[256], bytes[256], data[48] = {0};
    size_t n = npy_bytes(1, header, data, sizeof data, whole);
    struct random r;
    random_seed(&r, 7);
    for (int i = 0; i < MUTATIONS; i++) {
        struct tensor t;
        char why[WHY] = "";
        memcpy(bytes, whole, n);
        write_file(bytes, mutate(&r, bytes, n));
        if (npy_read(path, NPY_RAW16_IS_BF16, &t, why, sizeof why))
            tensor_free(&t);
        else
            assert_non_null(strstr(why, path));
    }
}

/* -- .safetensors ---- */

static const char two_tensors[] =
    "{\"__metadata__\":{\"made\":\"by hand\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[8,12]},"
    "\"ids\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[12,20]}}   ";

static void test_safetensors_read(void **state) {
    (void)state;
    const unsigned char data[20] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0x80, 0x3f, 0, 0x40};
    struct safetensors s;
    struct tensor t, wide;
    char why[WHY] = "", text[TENSOR_TEXT];
    write_safetensors(two_tensors, data, sizeof data);
    if (!safetensors_open(path, &s, why, sizeof why)) fail_msg("%s", why);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.entries[1].name, "b");
    assert_string_equal(s.entries[2].dtype, "I64");
    assert_true(safetensors_read(&s, "a", &t, why, sizeof why));
    tensor_describe(&t, text);
    assert_string_equal(text, "f32 [2, 1]");
    assert_true(((float *)t.data)[0] == 1 && ((float *)t.data)[1] == -2);
    tensor_free(&t);
    assert_true(safetensors_read(&s, "b", &t, why, sizeof why));
    assert_true(tensor_convert(&t, FORMAT_F32, &wide, why, sizeof why));
    assert_true(((float *)wide.data)[0] == 1 && ((float *)wide.data)[1] == 2);
    tensor_free(&t);
    tensor_free(&wide);
    assert_false(safetensors_read(&s, "ids", &t, why, sizeof why));
    assert_non_null(strstr(why, "is I64"));
    assert_false(safetensors_read(&s, "none", &t, why, sizeof why));
    assert_non_null(strstr(why, "no tensor \"none\""));
    safetensors_close(&s);
}

static void test_safetensors_refusals(void **state) {
    (void)state;
    static const struct {
        const char *header, *reason;
    } rows[] = {
        {"", "no JSON"},
        {"[]", "no object"},
        {"{\"a\":1}", "dtype is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{}}", "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]}}", "end at byte 9"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "out of order"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "out of order"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "no pair"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}", "no whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "no whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "no array"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}", "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", "9 dimensions"},
        {"{\"a\":{\"dtype\":\"F32_VERY_LONG\",\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", "no JSON"},
        {"{\"a\\u0007\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "a?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct safetensors s = {.count = 99};
        char why[WHY] = "";
        write_safetensors(rows[i].header, "12345678", 8);
        assert_false(safetensors_open(path, &s, why, sizeof why));
        if (!strstr(why, rows[i].reason) || !strstr(why, path)) fail_msg("row %zu: %s", i, why);
        assert_int_equal(s.count, 99);
    }
}

static void test_safetensors_bad_files(void **state) {
    (void)state;
    struct safetensors s;
    char why[WHY];
    write_file("short", 5);
    assert_false(safetensors_open(path, &s, why, sizeof why));
    assert_non_null(strstr(why, "too short"));
    write_file("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    assert_false(safetensors_open(path, &s, why, sizeof why));
    assert_non_null(strstr(why, "more than the file has"));
    const uint64_t length = 100000001;
    write_file(&length, 8);
    assert_int_equal(truncate(path, 200000000), 0); // sparse
    assert_false(safetensors_open(path, &s, why, sizeof why));
    assert_non_null(strstr(why, "exceeds the limit"));
    assert_false(safetensors_open("/", &s, why, sizeof why));
}

static void read_all(const struct safetensors *s) {
    for (size_t i = 0; i < s->count; i++) {
        struct tensor t;
        char why[WHY];
        if (safetensors_read(s, s->entries[i].name, &t, why, sizeof why)) tensor_free(&t);
    }
}

static void test_safetensors_mutations(void **state) {
    (void)state;
    unsigned char whole[512], bytes[512], data[20] = {0};
    size_t n = safetensors_bytes(two_tensors, data, sizeof data, whole);
    struct random r;
    random_seed(&r, 11);
    for (int i = 0; i < MUTATIONS; i++) {
        struct safetensors s;
        char why[WHY] = "";
        memcpy(bytes, whole, n);
        write_file(bytes, mutate(&r, bytes, n));
        if (safetensors_open(path, &s, why, sizeof why)) {
            read_all(&s);
            safetensors_close(&s);
        } else {
            assert_non_null(strstr(why, path));
        }
    }
}

/* -- Tensors ---- */

static void test_strided_convert(void **state) {
    (void)state;
    float data[6] = {0, 1, 2, 3, 4, 5};
    struct tensor transposed = {.dtype = FORMAT_F32, .ndim = 2, .shape = {3, 2}, .strides = {1, 3}, .data = data}, t;
    const double expected[6] = {0, 3, 1, 4, 2, 5};
    char why[WHY];
    assert_false(tensor_is_contiguous(&transposed));
    assert_true(tensor_convert(&transposed, FORMAT_F64, &t, why, sizeof why));
    assert_true(tensor_is_contiguous(&t));
    assert_memory_equal(t.data, expected, sizeof expected);
    tensor_free(&t);
}

static void test_join_heads(void **state) {
    (void)state;
    struct tensor t, joined;
    char why[WHY];
    assert_true(tensor_create(FORMAT_F32, 3, (const int64_t[]){4, 3, 2}, &t, why, sizeof why));
    float *x = t.data;
    for (int i = 0; i < 24; i++) x[i] = (float)i;
    assert_true(tensor_join_heads(&t, 2, &joined, why, sizeof why));
    assert_true(joined.shape[0] == 2 && joined.shape[1] == 3 && joined.shape[2] == 4 && joined.ndim == 3);
    const float *y = joined.data;
    for (int h = 0; h < 4; h++)
        for (int n = 0; n < 3; n++)
            for (int d = 0; d < 2; d++) assert_true(y[(h / 2 * 3 + n) * 4 + h % 2 * 2 + d] == x[(h * 3 + n) * 2 + d]);
    tensor_free(&joined);
    assert_false(tensor_join_heads(&t, 3, &joined, why, sizeof why));
    assert_non_null(strstr(why, "groups of 3"));
    tensor_free(&t);
}

static void test_capture_load(void **state) {
    (void)state;
    struct safetensors s;
    struct capture c;
    char why[WHY] = "";
    if (!safetensors_open(SOURCE_DIR "/tests/data/minilm.safetensors", &s, why, sizeof why)) fail_msg("%s", why);
    for (int join = 1; join <= 4; join *= 2) {
        if (!capture_load(&s, 3, join, &c, why, sizeof why)) fail_msg("%s", why);
        assert_int_equal(c.heads * join, 4);
        assert_int_equal(c.dim, 32 * join);
        assert_int_equal(c.seq, 384);
        for (size_t i = 0; i < 4 * 384 * 32; i++) assert_true(isfinite(c.q[i]) && isfinite(c.k[i]) && isfinite(c.v[i]));
        capture_free(&c);
    }
    assert_false(capture_load(&s, 3, 3, &c, why, sizeof why));
    assert_false(capture_load(&s, 1, 1, &c, why, sizeof why));
    assert_non_null(strstr(why, "layer1.q"));
    safetensors_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_npy_versions),          cmocka_unit_test(test_npy_types),
        cmocka_unit_test(test_npy_refusals),          cmocka_unit_test(test_npy_bad_files),
        cmocka_unit_test(test_npy_round_trip),        cmocka_unit_test(test_npy_mutations),
        cmocka_unit_test(test_safetensors_read),      cmocka_unit_test(test_safetensors_refusals),
        cmocka_unit_test(test_safetensors_bad_files), cmocka_unit_test(test_safetensors_mutations),
        cmocka_unit_test(test_strided_convert),       cmocka_unit_test(test_join_heads),
        cmocka_unit_test(test_capture_load),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
