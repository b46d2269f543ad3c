// cases_float: f32 and f64: arithmetic in all roundings, order, comparison, and the approximations with the ISA's
// bounds. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#define COMPARE(op, type, kinds)                                                                                       \
    {                                                                                                                  \
        "setp." op "." type ": setp." op "." type " %p0|%p1, $a, $b; selp.b32 $d, 1, 0, %p0; selp.b32 $e, 1, 0, %p1;", \
            "b32,b32=" kinds, "exact"                                                                                  \
    }
#define COMPARE_ALL(type, kinds)                                                                                       \
    COMPARE("eq", type, kinds), COMPARE("ne", type, kinds), COMPARE("lt", type, kinds), COMPARE("le", type, kinds),    \
        COMPARE("gt", type, kinds), COMPARE("ge", type, kinds), COMPARE("equ", type, kinds),                           \
        COMPARE("neu", type, kinds), COMPARE("ltu", type, kinds), COMPARE("leu", type, kinds),                         \
        COMPARE("gtu", type, kinds), COMPARE("geu", type, kinds), COMPARE("num", type, kinds),                         \
        COMPARE("nan", type, kinds)
#define TESTP(property)                                                                                                \
    {"testp." property ".f32: testp." property ".f32 %p0, $a; selp.b32 $d, 1, 0, %p0;", "b32=f32", "exact"}, {         \
        "testp." property ".f64: testp." property ".f64 %p0, $a; selp.b32 $d, 1, 0, %p0;", "b32=f64", "exact"          \
    }

static const struct truth_row rows[] = {
    {"<add,sub,mul><,.rn,.rz,.rm,.rp><,.ftz><,.sat>.f32", "f32=f32,f32@6144", "exact"},
    {"fma.<rn,rz,rm,rp><,.ftz><,.sat>.f32", "f32=f32,f32,f32@8192", "exact"},
    {"mad.<rn,rz,rm,rp><,.ftz>.f32", "f32=f32,f32,f32@8192", "exact"},
    {"div.<rn,rz,rm,rp><,.ftz>.f32", "f32=f32,f32@6144", "exact"},
    {"<rcp,sqrt>.<rn,rz,rm,rp><,.ftz>.f32", "f32=f32@6144", "exact"},
    {"<abs,neg><,.ftz>.f32", "f32=f32", "exact"},
    {"<min,max><,.ftz><,.NaN><,.xorsign.abs>.f32", "f32=f32,f32@6144", "exact"},
    {"copysign.f32", "f32=f32,f32", "exact"},
    TESTP("finite"),
    TESTP("infinite"),
    TESTP("number"),
    TESTP("notanumber"),
    TESTP("normal"),
    TESTP("subnormal"),
    {"<add,sub,mul><,.rn,.rz,.rm,.rp>.f64", "f64=f64,f64", "nan"},
    {"fma.<rn,rz,rm,rp>.f64", "f64=f64,f64,f64", "nan"},
    {"div.<rn,rz,rm,rp>.f64", "f64=f64,f64", "nan"},
    {"<rcp,sqrt>.<rn,rz,rm,rp>.f64", "f64=f64", "nan"},
    {"<abs,neg>.f64", "f64=f64", "exact"},
    {"<min,max>.f64", "f64=f64,f64", "nan"},
    {"copysign.f64", "f64=f64,f64", "exact"},
    COMPARE_ALL("f32", "f32,f32@6144"),
    COMPARE_ALL("ftz.f32", "f32,f32@6144"),
    COMPARE_ALL("f64", "f64,f64"),
    {"set.<eq,lt,gtu,nan>.<u32,f32>.f32", "b32=f32,f32", "exact"},
    {"setp.lt.and.ftz.f32: setp.lt.f32 %p2, $c, 0f3f800000; setp.lt.and.ftz.f32 %p0|%p1, $a, $b, %p2; selp.b32 $d, 1, "
     "0, %p0; selp.b32 $e, 1, 0, %p1;",
     "b32,b32=f32,f32,f32", "exact"},
    {"ex2.approx<,.ftz>.f32", "f32=f32@16384", "ulp 2"},
    {"ex2.approx.f32 angle: ex2.approx.f32 $d, $a;", "f32=angle@16384", "ulp 2"},
    {"lg2.approx<,.ftz>.f32", "f32=f32@16384", "abs 2.4e-7"},
    {"sin.approx<,.ftz>.f32", "f32=angle@16384", "abs 6.8e-7"},  /* PTX ISA: 2^-20.5 = 6.74e-7 within a turn of 0 */
    {"cos.approx<,.ftz>.f32", "f32=angle@16384", "abs 6.95e-7"}, /* so too, but an H100 is up to 2^-20.456 off */
    {"tanh.approx.f32", "f32=f32@16384", "rel 4.9e-4"},
    {"tanh.approx.f32 angle: tanh.approx.f32 $d, $a;", "f32=angle@16384", "rel 4.9e-4"},
    {"rcp.approx<,.ftz>.f32", "f32=f32@16384", "ulp 1"},
    {"sqrt.approx<,.ftz>.f32", "f32=f32@16384", "rel 1.2e-7"},
    {"rsqrt.approx<,.ftz>.f32", "f32=f32@16384", "rel 1.3e-7"},
    {"div.<approx,full><,.ftz>.f32", "f32=f32,f32@16384", "ulp 2"},
    {"<rcp,rsqrt>.approx.ftz.f64", "f64=f64", "rel 1e-6"},
    {NULL, NULL, NULL}};

bool truth_cases_float(truth_visit *visit, void *user) {
    return truth_rows("float", rows, visit, user);
}
