// cases_half: f16, bf16 and their pairs. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#define COMPARE(op, type, kinds)                                                                                       \
    { "setp." op "." type ": setp." op "." type " %p0, $a, $b; selp.b32 $d, 1, 0, %p0;", "b32=" kinds, "exact" }
#define COMPARE_ALL(type, kinds)                                                                                       \
    COMPARE("eq", type, kinds), COMPARE("ne", type, kinds), COMPARE("lt", type, kinds), COMPARE("le", type, kinds),    \
        COMPARE("gt", type, kinds), COMPARE("ge", type, kinds), COMPARE("equ", type, kinds),                           \
        COMPARE("neu", type, kinds), COMPARE("ltu", type, kinds), COMPARE("leu", type, kinds),                         \
        COMPARE("gtu", type, kinds), COMPARE("geu", type, kinds), COMPARE("num", type, kinds),                         \
        COMPARE("nan", type, kinds)
#define COMPARE_PAIR(op, type, kinds)                                                                                  \
    {                                                                                                                  \
        "setp." op "." type ": setp." op "." type " %p0|%p1, $a, $b; selp.b32 $d, 1, 0, %p0; selp.b32 $e, 1, 0, %p1;", \
            "b32,b32=" kinds, "exact"                                                                                  \
    }

static const struct truth_row rows[] = {
    {"<add,sub,mul><,.rn><,.ftz><,.sat>.f16", "f16=f16,f16", "exact"},
    {"<add,sub,mul><,.rn><,.ftz><,.sat>.f16x2", "f16x2=f16x2,f16x2", "exact"},
    {"<add,sub,mul><,.rn>.bf16", "bf16=bf16,bf16", "exact"},
    {"<add,sub,mul><,.rn>.bf16x2", "bf16x2=bf16x2,bf16x2", "exact"},
    {"fma.rn<,.ftz><,.sat,.relu>.f16", "f16=f16,f16,f16@8192", "exact"},
    {"fma.rn<,.ftz><,.sat,.relu>.f16x2", "f16x2=f16x2,f16x2,f16x2@8192", "exact"},
    {"fma.rn<,.relu>.bf16", "bf16=bf16,bf16,bf16@8192", "exact"},
    {"fma.rn<,.relu>.bf16x2", "bf16x2=bf16x2,bf16x2,bf16x2@8192", "exact"},
    {"<abs,neg><,.ftz>.f16", "f16=f16", "exact"},
    {"<abs,neg><,.ftz>.f16x2", "f16x2=f16x2", "exact"},
    {"<abs,neg>.bf16", "bf16=bf16", "exact"},
    {"<abs,neg>.bf16x2", "bf16x2=bf16x2", "exact"},
    {"<min,max><,.ftz><,.NaN><,.xorsign.abs>.f16", "f16=f16,f16", "exact"},
    {"<min,max><,.ftz><,.NaN><,.xorsign.abs>.f16x2", "f16x2=f16x2,f16x2", "exact"},
    {"<min,max><,.NaN><,.xorsign.abs>.bf16", "bf16=bf16,bf16", "exact"},
    {"<min,max><,.NaN><,.xorsign.abs>.bf16x2", "bf16x2=bf16x2,bf16x2", "exact"},
    COMPARE_ALL("f16", "f16,f16"),
    COMPARE_ALL("ftz.f16", "f16,f16"),
    COMPARE_ALL("bf16", "bf16,bf16"),
    COMPARE_PAIR("lt", "f16x2", "f16x2,f16x2"),
    COMPARE_PAIR("geu", "f16x2", "f16x2,f16x2"),
    COMPARE_PAIR("nan", "bf16x2", "bf16x2,bf16x2"),
    COMPARE_PAIR("le", "bf16x2", "bf16x2,bf16x2"),
    {"set.<eq,ltu>.<f16,u16>.f16", "b16=f16,f16", "exact"},
    {"set.<eq,ltu>.<u32,s32>.f16", "b32=f16,f16", "exact"},
    {"set.<eq,ltu>.<f16x2,u32>.f16x2", "b32=f16x2,f16x2", "exact"},
    {"set.<ne,gt>.<bf16,u16>.bf16", "b16=bf16,bf16", "exact"},
    {"set.<ne,gt>.<bf16x2,u32>.bf16x2", "b32=bf16x2,bf16x2", "exact"},
    {"ex2.approx.f16: mov.b16 %q0, $a; ex2.approx.f16 $d, %q0;", "f16=all16@65536", "rel 1.05e-3"},
    {"ex2.approx.f16x2", "f16x2=f16x2", "rel 1.05e-3"},
    {"ex2.approx.ftz.bf16", "bf16=all16@65536", "rel 7.9e-3"},
    {"ex2.approx.ftz.bf16x2", "bf16x2=bf16x2", "rel 7.9e-3"},
    {"tanh.approx.f16", "f16=all16@65536", "abs 5e-4"},
    {"tanh.approx.f16x2", "f16x2=f16x2", "abs 5e-4"},
    {"tanh.approx.bf16", "bf16=all16@65536", "abs 3.95e-3"},
    {"tanh.approx.bf16x2", "bf16x2=bf16x2", "abs 3.95e-3"},
    {NULL, NULL, NULL}};

bool truth_cases_half(truth_visit *visit, void *user) {
    return truth_rows("half", rows, visit, user);
}
