// cases_mma: mma.sync with random registers: every lane's registers go in and come out, so that the comparison needs no
// fragment layout. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#define MMA(shape, types, counts, mode)                                                                                \
    { "mma.sync.aligned." shape ".row.col." types, counts, mode }

static const struct truth_row rows[] = {
    MMA("m16n8k8", "f32.f16.f16.f32", "cf32*4=mf16*2,mf16*1,cf32*4@4096", "exact"),
    MMA("m16n8k16", "f32.f16.f16.f32", "cf32*4=mf16*4,mf16*2,cf32*4@4096", "exact"),
    MMA("m16n8k8", "f16.f16.f16.f16", "cf16*2=mf16*2,mf16*1,cf16*2@4096", "exact"),
    MMA("m16n8k16", "f16.f16.f16.f16", "cf16*2=mf16*4,mf16*2,cf16*2@4096", "exact"),
    MMA("m16n8k8", "f32.bf16.bf16.f32", "cf32*4=mbf16*2,mbf16*1,cf32*4@4096", "exact"),
    MMA("m16n8k16", "f32.bf16.bf16.f32", "cf32*4=mbf16*4,mbf16*2,cf32*4@4096", "exact"),
    MMA("m16n8k4", "f32.tf32.tf32.f32", "cf32*4=mtf32*2,mtf32*1,cf32*4@4096", "exact"),
    MMA("m16n8k8", "f32.tf32.tf32.f32", "cf32*4=mtf32*4,mtf32*2,cf32*4@4096", "exact"),
    MMA("m16n8k32", "f32.<e4m3,e5m2>.<e4m3,e5m2>.f32", "cf32*4=me4m3*4,me5m2*2,cf32*4@4096", "exact"),
    MMA("m16n8k32", "f16.<e4m3,e5m2>.<e4m3,e5m2>.f16", "cf16*2=me4m3*4,me5m2*2,cf16*2@4096", "exact"),
    MMA("m16n8k16", "f32.<e4m3,e5m2>.<e4m3,e5m2>.f32", "cf32*4=me5m2*2,me4m3*1,cf32*4@4096", "exact"),
    MMA("m16n8k16", "f16.<e4m3,e5m2>.<e4m3,e5m2>.f16", "cf16*2=me5m2*2,me4m3*1,cf16*2@4096", "exact"),
    MMA("m8n8k16", "<,satfinite.>s32.<s8,u8>.<s8,u8>.s32", "b32*2=raw*1,raw*1,cs32*2@2048", "exact"),
    MMA("m16n8k16", "<,satfinite.>s32.<s8,u8>.<s8,u8>.s32", "b32*4=raw*2,raw*1,cs32*4@2048", "exact"),
    MMA("m16n8k32", "<,satfinite.>s32.<s8,u8>.<s8,u8>.s32", "b32*4=raw*4,raw*2,cs32*4@2048", "exact"),
    MMA("m8n8k32", "<,satfinite.>s32.<s4,u4>.<s4,u4>.s32", "b32*2=raw*1,raw*1,cs32*2@2048", "exact"),
    MMA("m16n8k32", "<,satfinite.>s32.<s4,u4>.<s4,u4>.s32", "b32*4=raw*2,raw*1,cs32*4@2048", "exact"),
    MMA("m16n8k64", "<,satfinite.>s32.<s4,u4>.<s4,u4>.s32", "b32*4=raw*4,raw*2,cs32*4@2048", "exact"),
    {NULL, NULL, NULL}};

bool truth_cases_mma(truth_visit *visit, void *user) {
    return truth_rows("mma", rows, visit, user);
}
