// cases_warp: exchange in a warp, atomics whose result does not depend on an order, matrices in shared memory, and
// loads and stores. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

// One thread per address: old value and what stays.
#define ATOM_GLOBAL(op, type, bits, kind, mode)                                                                        \
    {                                                                                                                  \
        "atom.global." op "." type ": atom.global." op "." type " $d, [&a], $b; ld.global.b" bits " $e, [&a];",        \
            kind "," kind "=" kind "," kind, mode                                                                      \
    }
#define ATOM_SHARED(op, type, bits, kind, mode)                                                                        \
    {                                                                                                                  \
        "atom.shared." op "." type ": st.shared.b" bits " [%sm], $a; atom.shared." op "." type                         \
        " $d, [%sm], $b; ld.shared.b" bits " $e, [%sm];",                                                              \
            kind "," kind "=" kind "," kind, mode                                                                      \
    }
#define ATOM_BOTH(op, type, bits, kind, mode)                                                                          \
    ATOM_GLOBAL(op, type, bits, kind, mode), ATOM_SHARED(op, type, bits, kind, mode)
// Many threads per address: only the sum counts.
#define RED(op, type, bits, kind, mode)                                                                                \
    {                                                                                                                  \
        "red." op "." type ": and.b32 %r1, %thr, 7; mov.u32 %r3, smem; "                                               \
        "mad.lo.u32 %r1, %r1, 16, %r3; st.shared.b" bits " [%sm], $b; bar.sync 0; red.shared." op "." type             \
        " [%r1], $a; bar.sync 0; ld.shared.b" bits " $d, [%r1];",                                                      \
            kind "=" kind "," kind "@512", mode                                                                        \
    }

#define SHFL(mode)                                                                                                     \
    {"shfl.sync." mode ".b32: shfl.sync." mode ".b32 $d|%p0, $a, $b, $c, -1; selp.b32 $e, 1, 0, %p0;",                 \
     "b32,b32=raw,lane,lane", "exact"},                                                                                \
        {"shfl.sync." mode ".b32 segments: and.b32 %r1, $c, 28; shl.b32 %r1, %r1, 8; or.b32 %r1, %r1, 31; "            \
         "shfl.sync." mode ".b32 $d|%p0, $a, $b, %r1, -1; selp.b32 $e, 1, 0, %p0;",                                    \
         "b32,b32=raw,lane,lane", "exact"},                                                                            \
    {                                                                                                                  \
        "shfl.sync." mode ".b32 whole: shfl.sync." mode ".b32 $d, $a, 3, 31, -1;", "b32=raw", "exact"                  \
    }

#define VOTE(mode)                                                                                                     \
    {                                                                                                                  \
        "vote.sync." mode ".pred: setp.lt.s32 %p0, $a, 0; setp.eq.u32 %p2, $b, $c; vote.sync." mode                    \
        ".pred %p1, %p0, -1; selp.b32 $d, 1, 0, %p1; vote.sync." mode ".pred %p1, %p2, -1; selp.b32 $e, 1, 0, %p1; "   \
        "vote.sync." mode ".pred %p1, !%p2, -1; selp.b32 $f, 1, 0, %p1;",                                              \
            "b32,b32,b32=raw,few32,few32", "exact"                                                                     \
    }

// Half of the warp, the other half has gone another way.
#define HALF_WARP(name, instruction)                                                                                   \
    {                                                                                                                  \
        name                                                                                                           \
            " half: mov.b32 $d, 77; and.b32 %r1, %lane, 1; setp.eq.u32 %p0, %r1, 0; setp.lt.s32 %p1, $a, 0; @%p0 bra " \
            "even; " instruction " 0xaaaaaaaa; bra done; even: " instruction " 0x55555555; add.u32 $d, $d, 1; done:",  \
            "b32=raw", "exact"                                                                                         \
    }

#define LDMATRIX(x, count, how)                                                                                        \
    {                                                                                                                  \
        "ldmatrix.x" x how                                                                                             \
        ": st.shared.v4.b32 [%sm], $a; xor.b32 %r1, %thr, 5; mov.u32 %r2, smem; mad.lo.u32 %r1, %r1, "                 \
        "16, %r2; bar.sync 0; ldmatrix.sync.aligned.m8n8.x" x how ".shared.b16 {" count "}, [%r1];",                   \
            "b32*" x "=raw*4", "exact"                                                                                 \
    }
#define STMATRIX(x, count, how)                                                                                        \
    {                                                                                                                  \
        "stmatrix.x" x how                                                                                             \
        ": st.shared.v4.b32 [%sm], $a; xor.b32 %r1, %thr, 6; mov.u32 %r2, smem; mad.lo.u32 %r1, %r1, "                 \
        "16, %r2; bar.sync 0; stmatrix.sync.aligned.m8n8.x" x how ".shared.b16 [%r1], {" count                         \
        "}; bar.sync 0; ld.shared.v4.b32 $d, [%sm];",                                                                  \
            "b32*4=raw*4", "exact"                                                                                     \
    }

static const struct truth_row rows[] = {
    SHFL("idx"),
    SHFL("up"),
    SHFL("down"),
    SHFL("bfly"),
    VOTE("all"),
    VOTE("any"),
    VOTE("uni"),
    {"vote.sync.ballot.b32: setp.lt.s32 %p0, $a, 0; vote.sync.ballot.b32 $d, %p0, -1; vote.sync.ballot.b32 $e, !%p0, "
     "-1;",
     "b32,b32=raw", "exact"},
    {"redux.sync.<add,min,max>.<u32,s32>: redux.sync.<add,min,max>.<u32,s32> $d, $a, -1;", "b32=b32", "exact"},
    {"redux.sync.<and,or,xor>.b32: redux.sync.<and,or,xor>.b32 $d, $a, -1;", "b32=b32", "exact"},
    {"match.any.sync.b32: match.any.sync.b32 $d, $a, -1;", "b32=few32", "exact"},
    {"match.any.sync.b64: match.any.sync.b64 $d, $a, -1;", "b32=few64", "exact"},
    {"match.all.sync.b32: match.all.sync.b32 $d|%p0, $a, -1; selp.b32 $e, 1, 0, %p0;", "b32,b32=few32", "exact"},
    {"match.all.sync.b64: match.all.sync.b64 $d|%p0, $a, -1; selp.b32 $e, 1, 0, %p0;", "b32,b32=few64", "exact"},
    {"elect.sync: elect.sync $d|%p0, -1; selp.b32 $e, 1, 0, %p0;", "b32,b32=raw@256", "exact"},
    {"activemask: activemask.b32 $d;", "b32=raw@256", "exact"},
    HALF_WARP("shfl.sync.idx.b32", "shfl.sync.idx.b32 $d, $a, %lane, 31,"),
    HALF_WARP("shfl.sync.bfly.b32", "shfl.sync.bfly.b32 $d, $a, 6, 31,"),
    HALF_WARP("vote.sync.ballot.b32", "vote.sync.ballot.b32 $d, %p1,"),
    HALF_WARP("redux.sync.add.u32", "redux.sync.add.u32 $d, $a,"),
    HALF_WARP("match.any.sync.b32", "match.any.sync.b32 $d, $a,"),
    HALF_WARP("elect.sync", "elect.sync $d|%p2,"),
    ATOM_BOTH("add", "u32", "32", "b32", "exact"),
    ATOM_BOTH("add", "s32", "32", "b32", "exact"),
    ATOM_BOTH("add", "u64", "64", "b64", "exact"),
    ATOM_BOTH("min", "s32", "32", "b32", "exact"),
    ATOM_BOTH("min", "u32", "32", "b32", "exact"),
    ATOM_BOTH("max", "s32", "32", "b32", "exact"),
    ATOM_BOTH("max", "u32", "32", "b32", "exact"),
    ATOM_BOTH("min", "s64", "64", "b64", "exact"),
    ATOM_BOTH("max", "u64", "64", "b64", "exact"),
    ATOM_BOTH("and", "b32", "32", "b32", "exact"),
    ATOM_BOTH("or", "b32", "32", "b32", "exact"),
    ATOM_BOTH("xor", "b32", "32", "b32", "exact"),
    ATOM_BOTH("and", "b64", "64", "b64", "exact"),
    ATOM_BOTH("or", "b64", "64", "b64", "exact"),
    ATOM_BOTH("xor", "b64", "64", "b64", "exact"),
    ATOM_BOTH("exch", "b32", "32", "b32", "exact"),
    ATOM_BOTH("exch", "b64", "64", "b64", "exact"),
    ATOM_BOTH("inc", "u32", "32", "b32", "exact"),
    ATOM_BOTH("dec", "u32", "32", "b32", "exact"),
    ATOM_BOTH("add", "f32", "32", "f32", "nan"),
    ATOM_BOTH("add", "f64", "64", "f64", "nan"),
    ATOM_BOTH("add.noftz", "f16x2", "32", "f16x2", "nan"),
    ATOM_BOTH("add.noftz", "bf16x2", "32", "bf16x2", "nan"),
    ATOM_BOTH("add.noftz", "f16", "16", "f16", "nan"),
    ATOM_BOTH("add.noftz", "bf16", "16", "bf16", "nan"),
    {"atom.global.cas.b32: atom.global.cas.b32 $d, [&a], $b, $c; ld.global.b32 $e, [&a];", "b32,b32=few32,few32,b32",
     "exact"},
    {"atom.shared.cas.b64: st.shared.b64 [%sm], $a; atom.shared.cas.b64 $d, [%sm], $b, $c; ld.shared.b64 $e, [%sm];",
     "b64,b64=few64,few64,b64", "exact"},
    {"atom.global.cas.b16: atom.global.cas.b16 $d, [&a], $b, $c; ld.global.b16 $e, [&a];", "b16,b16=b16,b16,b16",
     "exact"},
    RED("add", "u32", "32", "raw", "exact"),
    RED("min", "s32", "32", "raw", "exact"),
    RED("max", "u32", "32", "raw", "exact"),
    RED("xor", "b32", "32", "raw", "exact"),
    RED("and", "b32", "32", "raw", "exact"),
    RED("inc", "u32", "32", "lane", "exact"),
    RED("add", "u64", "64", "raw64", "exact"),
    RED("add", "f32", "32", "wf32", "exact"),
    RED("add", "f64", "64", "wf64", "exact"),
    RED("add.noftz", "f16x2", "32", "wf16x2", "exact"),
    RED("add.noftz", "bf16x2", "32", "wbf16x2", "exact"),
    LDMATRIX("1", "$d0", ""),
    LDMATRIX("2", "$d0, $d1", ""),
    LDMATRIX("4", "$d0, $d1, $d2, $d3", ""),
    LDMATRIX("1", "$d0", ".trans"),
    LDMATRIX("2", "$d0, $d1", ".trans"),
    LDMATRIX("4", "$d0, $d1, $d2, $d3", ".trans"),
    STMATRIX("1", "$a0", ""),
    STMATRIX("2", "$a0, $a1", ""),
    STMATRIX("4", "$a0, $a1, $a2, $a3", ""),
    STMATRIX("1", "$a0", ".trans"),
    STMATRIX("2", "$a0, $a1", ".trans"),
    STMATRIX("4", "$a0, $a1, $a2, $a3", ".trans"),
    {"movmatrix: movmatrix.sync.aligned.m8n8.trans.b16 $d, $a;", "b32=raw", "exact"},
    {"ld.shared.<u8,s8,u16,s16,b8,b16> wide: st.shared.b32 [%sm], $a; ld.shared.<u8,s8,u16,s16,b8,b16> $d, [%sm+2];",
     "b32=raw", "exact"},
    {"ld.global.<u8,s8,u16,s16,s32> wide: ld.global.<u8,s8,u16,s16,s32> $d, [&a];", "b64=raw", "exact"},
    {"st.shared.<b8,b16,u8,s16>: st.shared.b32 [%sm], $a; st.shared.<b8,b16,u8,s16> [%sm+2], $b; ld.shared.b32 $d, "
     "[%sm];",
     "b32=raw,raw", "exact"},
    {"ld.shared.v2.b64: st.shared.v2.b64 [%sm], $a; ld.shared.v4.b32 $d, [%sm]; ld.shared.v2.f64 $e, [%sm];",
     "b32*4,b64*2=raw64*2", "exact"},
    {"generic: mov.u64 %u1, smem; cvta.shared.u64 %u0, %u1; mad.wide.u32 %u0, %thr, 16, %u0; "
     "st.b32 [%u0], $a; ld.shared.b32 $d, [%sm]; isspacep.shared %p0, %u0; selp.b32 $e, 1, 0, %p0; isspacep.global "
     "%p0, %u0; selp.b32 $f, 1, 0, %p0;",
     "b32,b32,b32=raw", "exact"},
    {"local: .local .align 16 .b8 mine[64]; mov.u32 %r1, mine; and.b32 %r2, $b, 12; add.u32 %r2, %r1, %r2; "
     "st.local.v4.b32 [%r1], {$a, $b, %thr, %lane}; st.local.b32 [%r1+16], $b; ld.local.b32 $d, [%r2]; ld.local.u8 $e, "
     "[%r1+17];",
     "b32,b32=raw,raw", "exact"},
    {NULL, NULL, NULL}};

bool truth_cases_warp(truth_visit *visit, void *user) {
    return truth_rows("warp", rows, visit, user);
}
