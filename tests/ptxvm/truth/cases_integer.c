// cases_integer: integer, bit, predicate and selection instructions. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#define COMPARE(op, type, kinds)                                                                                       \
    {                                                                                                                  \
        "setp." op "." type ": setp." op "." type " %p0|%p1, $a, $b; selp.b32 $d, 1, 0, %p0; selp.b32 $e, 1, 0, %p1;", \
            "b32,b32=" kinds, "exact"                                                                                  \
    }
#define COMPARE_SIGNED(type, kinds)                                                                                    \
    COMPARE("eq", type, kinds), COMPARE("ne", type, kinds), COMPARE("lt", type, kinds), COMPARE("le", type, kinds),    \
        COMPARE("gt", type, kinds), COMPARE("ge", type, kinds)
#define COMPARE_UNSIGNED(type, kinds)                                                                                  \
    COMPARE_SIGNED(type, kinds), COMPARE("lo", type, kinds), COMPARE("ls", type, kinds), COMPARE("hi", type, kinds),   \
        COMPARE("hs", type, kinds)
#define COMBINE(op)                                                                                                    \
    {"setp.lt." op ".s32: setp.ne.s32 %p2, $c, 0; setp.lt." op                                                         \
     ".s32 %p0|%p1, $a, $b, %p2; selp.b32 $d, 1, 0, %p0; selp.b32 $e, 1, 0, %p1;",                                     \
     "b32,b32=b32,b32,few32", "exact"},                                                                                \
    {                                                                                                                  \
        "setp.lt." op ".s32!: setp.ne.s32 %p2, $c, 0; setp.lt." op ".s32 %p0, $a, $b, !%p2; selp.b32 $d, 1, 0, %p0;",  \
            "b32=b32,b32,few32", "exact"                                                                               \
    }
#define PREDICATES(op)                                                                                                 \
    {                                                                                                                  \
        op ".pred: setp.lt.s32 %p0, $a, 0; setp.lt.s32 %p1, $b, 0; " op                                                \
           ".pred %p2, %p0, %p1; selp.b32 $d, 1, 0, %p2;",                                                             \
            "b32=b32,b32", "exact"                                                                                     \
    }
#define CARRY(op, type, first, next, kinds, out)                                                                       \
    {                                                                                                                  \
        op ".cc." type ": " first ".cc." type " $d, $a, $b; " next ".cc." type " $e, $b, $c; " next "." type           \
           " $f, $c, $a;",                                                                                             \
            out "," out "," out "=" kinds, "exact"                                                                     \
    }

static const struct truth_row rows[] = {
    {"<add,sub>.<u16,s16>", "b16=b16,b16", "exact"},
    {"<add,sub>.<u32,s32>", "b32=b32,b32", "exact"},
    {"<add,sub>.<u64,s64>", "b64=b64,b64", "exact"},
    {"<add,sub>.sat.s32", "b32=b32,b32", "exact"},
    {"add.<u16x2,s16x2>", "b32=b32,b32", "exact"},
    {"<min,max>.<u16,s16>", "b16=b16,b16", "exact"},
    {"<min,max>.<u32,s32>", "b32=b32,b32", "exact"},
    {"<min,max>.<u64,s64>", "b64=b64,b64", "exact"},
    {"<min,max>.<u16x2,s16x2>", "b32=b32,b32", "exact"},
    {"<min,max>.relu.<s32,s16x2>", "b32=b32,b32", "exact"},
    {"mul.<lo,hi>.<u16,s16>", "b16=b16,b16", "exact"},
    {"mul.<lo,hi>.<u32,s32>", "b32=b32,b32", "exact"},
    {"mul.<lo,hi>.<u64,s64>", "b64=b64,b64", "exact"},
    {"mul.wide.<u16,s16>", "b32=b16,b16", "exact"},
    {"mul.wide.<u32,s32>", "b64=b32,b32", "exact"},
    {"mad.<lo,hi>.<u16,s16>", "b16=b16,b16,b16", "exact"},
    {"mad.<lo,hi>.<u32,s32>", "b32=b32,b32,b32", "exact"},
    {"mad.<lo,hi>.<u64,s64>", "b64=b64,b64,b64", "exact"},
    {"mad.hi.sat.s32", "b32=b32,b32,b32", "exact"},
    {"mad.wide.<u16,s16>", "b32=b16,b16,b32", "exact"},
    {"mad.wide.<u32,s32>", "b64=b32,b32,b64", "exact"},
    {"mul24.<lo,hi>.<u32,s32>", "b32=b32,b32", "exact"},
    {"mad24.<lo,hi>.<u32,s32>", "b32=b32,b32,b32", "exact"},
    {"mad24.hi.sat.s32", "b32=b32,b32,b32", "exact"},
    {"sad.<u16,s16>", "b16=b16,b16,b16", "exact"},
    {"sad.<u32,s32>", "b32=b32,b32,b32", "exact"},
    {"sad.<u64,s64>", "b64=b64,b64,b64", "exact"},
    {"<div,rem>.<u16,s16>", "b16=b16,n16", "exact"},
    {"<div,rem>.<u32,s32>", "b32=b32,n32", "exact"},
    {"<div,rem>.<u64,s64>", "b64=b64,n64", "exact"},
    {"<abs,neg>.s16", "b16=b16", "exact"},
    {"<abs,neg>.s32", "b32=b32", "exact"},
    {"<abs,neg>.s64", "b64=b64", "exact"},
    CARRY("add", "u32", "add", "addc", "b32,b32,b32", "b32"),
    CARRY("sub", "u32", "sub", "subc", "b32,b32,b32", "b32"),
    CARRY("add", "u64", "add", "addc", "b64,b64,b64", "b64"),
    CARRY("sub", "s64", "sub", "subc", "b64,b64,b64", "b64"),
    {"mad.cc.u32: mad.lo.cc.u32 $d, $a, $b, $c; madc.hi.cc.u32 $e, $a, $b, $c; madc.lo.u32 $f, $b, $c, $a;",
     "b32,b32,b32=b32,b32,b32", "exact"},
    {"mad.cc.s64: mad.lo.cc.s64 $d, $a, $b, $c; madc.hi.s64 $e, $a, $b, $c;", "b64,b64=b64,b64,b64", "exact"},
    {"<dp4a>.<u32,s32>.<u32,s32>", "b32=raw,b32,b32", "exact"},
    {"dp2a.<lo,hi>.<u32,s32>.<u32,s32>", "b32=raw,b32,b32", "exact"},
    {"<and,or,xor>.b16", "b16=b16,b16", "exact"},
    {"<and,or,xor>.b32", "b32=b32,b32", "exact"},
    {"<and,or,xor>.b64", "b64=b64,b64", "exact"},
    {"<not,cnot>.b16", "b16=b16", "exact"},
    {"<not,cnot>.b32", "b32=b32", "exact"},
    {"<not,cnot>.b64", "b64=b64", "exact"},
    {"lop3.b32.<0,1,23,42,88,105,128,150,202,216,226,232,234,254,255>: lop3.b32 $d, $a, $b, $c, "
     "<0,1,23,42,88,105,128,150,202,216,226,232,234,254,255>;",
     "b32=raw,b32,raw@256", "exact"},
    {"lop3.or.b32: setp.lt.s32 %p0, $a, 0; lop3.or.b32 $d|%p1, $a, $b, $c, 0x80, %p0; selp.b32 $e, 1, 0, %p1;",
     "b32,b32=b32,b32,b32", "exact"},
    {"lop3.and.b32: setp.lt.s32 %p0, $a, 0; lop3.and.b32 $d|%p1, $a, $b, $c, 0x80, %p0; selp.b32 $e, 1, 0, %p1;",
     "b32,b32=b32,b32,b32", "exact"},
    {"shl.b16", "b16=b16,shift", "exact"},
    {"shl.b32", "b32=b32,shift", "exact"},
    {"shl.b64", "b64=b64,shift", "exact"},
    {"shr.<b16,u16,s16>", "b16=b16,shift", "exact"},
    {"shr.<b32,u32,s32>", "b32=b32,shift", "exact"},
    {"shr.<b64,u64,s64>", "b64=b64,shift", "exact"},
    {"shf.<l,r>.<clamp,wrap>.b32", "b32=b32,b32,shift", "exact"},
    {"<popc,clz>.b32", "b32=b32", "exact"},
    {"<popc,clz>.b64", "b32=b64", "exact"},
    {"bfind<,.shiftamt>.<u32,s32>", "b32=b32", "exact"},
    {"bfind<,.shiftamt>.<u64,s64>", "b32=b64", "exact"},
    {"brev.b32", "b32=b32", "exact"},
    {"brev.b64", "b64=b64", "exact"},
    {"bfe.<u32,s32>", "b32=b32,shift,shift", "exact"},
    {"bfe.<u64,s64>", "b64=b64,shift,shift", "exact"},
    {"bfi.b32", "b32=b32,b32,shift,shift", "exact"},
    {"bfi.b64", "b64=b64,b64,shift,shift", "exact"},
    {"bmsk.<clamp,wrap>.b32", "b32=shift,shift", "exact"},
    {"szext.<clamp,wrap>.<u32,s32>", "b32=b32,shift", "exact"},
    {"fns: and.b32 %r1, $b, 31; shr.s32 %r2, $c, 27; fns.b32 $d, $a, %r1, %r2;", "b32=b32,b32,raw", "exact"},
    {"prmt.b32", "b32=raw,raw,raw", "exact"},
    {"prmt.b32.<f4e,b4e,rc8,ecl,ecr,rc16>: and.b32 %r1, $c, 3; prmt.b32.<f4e,b4e,rc8,ecl,ecr,rc16> $d, $a, $b, %r1;",
     "b32=raw,raw,raw@1024", "exact"},
    {"slct.<u32,s32,b32>.s32", "b32=b32,b32,b32", "exact"},
    {"slct.<b64,u64>.s32", "b64=b64,b64,b32", "exact"},
    {"slct.b16.s32", "b16=b16,b16,b32", "exact"},
    {"slct.b32.f32", "b32=b32,b32,f32", "exact"},
    {"slct.ftz.b32.f32", "b32=b32,b32,f32", "exact"},
    {"selp.b16: setp.gt.s32 %p0, $c, 5; selp.b16 $d, $a, $b, %p0;", "b16=b16,b16,b32", "exact"},
    {"selp.b64: setp.gt.s32 %p0, $c, 5; selp.b64 $d, $a, $b, !%p0;", "b64=b64,b64,b32", "exact"},
    COMPARE_SIGNED("s16", "b16,b16"),
    COMPARE_UNSIGNED("u16", "b16,b16"),
    COMPARE_SIGNED("s32", "b32,b32"),
    COMPARE_UNSIGNED("u32", "b32,b32"),
    COMPARE_SIGNED("s64", "b64,b64"),
    COMPARE_UNSIGNED("u64", "b64,b64"),
    COMPARE("eq", "b32", "b32,b32"),
    COMPARE("ne", "b64", "b64,b64"),
    COMBINE("and"),
    COMBINE("or"),
    COMBINE("xor"),
    PREDICATES("and"),
    PREDICATES("or"),
    PREDICATES("xor"),
    {"not.pred: setp.lt.s32 %p0, $a, 0; not.pred %p1, %p0; selp.b32 $d, 1, 0, %p1;", "b32=b32", "exact"},
    {"set.<eq,ne,lt,le,gt,ge>.<u32,s32,f32>.s32", "b32=b32,b32@2048", "exact"},
    {"set.<lo,ls,hi,hs>.u32.u32", "b32=b32,b32@2048", "exact"},
    {"guard: setp.lt.s32 %p0, $a, $b; mov.b32 $d, $a; @%p0 mov.b32 $d, $b; @!%p0 add.s32 $d, $d, 1;", "b32=b32,b32",
     "exact"},
    {"mov.b64.pack: mov.b64 $d, {$a, $b}; mov.b64 {$e, $f}, $c;", "b64,b32,b32=b32,b32,b64", "exact"},
    {"mov.b32.pack: mov.b32 $d, {$a, $b}; mov.b32 {$e, $f}, $c;", "b32,b16,b16=b16,b16,b32", "exact"},
    {"mov.b64.v4: mov.b64 $d, {$a0, $a1, $a2, $a3}; mov.b64 {$e0, $e1, $e2, $e3}, $b;", "b64,b16*4=b16*4,b64", "exact"},
    {NULL, NULL, NULL}};

bool truth_cases_integer(truth_visit *visit, void *user) {
    return truth_rows("integer", rows, visit, user);
}
