-- mma_table: the tensor-core instructions that stages use: shape, types, registers, lowest sm. Source: PTX ISA, mma and wgmma tables.
local M = {}

-- mma.sync: k in elements; every A row or B column of one step is 32 bytes. c: C type of an accumulator, regs: per thread.
M.sync = {
    int8 = { name = "mma_m16n8k32_s8", k = 32, text = "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", c = "i32", sm = 80 },
    fp16 = { name = "mma_m16n8k16_f16", k = 16, text = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", c = "float", sm = 80 },
    bf16 = { name = "mma_m16n8k16_bf16", k = 16, text = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", c = "float", sm = 80 },
    fp8_e4m3 = { name = "mma_m16n8k32_e4m3", k = 32, text = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", c = "float", sm = 89 },
}

-- Block-scaled mma.sync of 4-bit operands; blocks of 16 (ue4m3) or 32 (ue8m0) elements along k.
M.block_scaled = {
    nvfp4 = {
        name = "mma_m16n8k64_nvfp4", k = 64, block = 16, c = "float", sm = 120, emulation = "fp16",
        text = "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3",
    },
    mxfp4 = {
        name = "mma_m16n8k64_mxfp4", k = 64, block = 32, c = "float", sm = 120, emulation = "bf16",
        text = "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0",
    },
}

-- wgmma, 64 rows: accumulator type, operand types, k in elements (32 bytes).
M.wgmma = {
    int8 = { types = "s32.s8.s8", k = 32, c = "i32" },
    fp16 = { types = "f32.f16.f16", k = 16, c = "float" },
    fp8_e4m3 = { types = "f32.e4m3.e4m3", k = 32, c = "float" },
}

return M
