// fp4_d64_attn_fwd_q128_k128_s3_w8_sm_120a_bf16_none
// O = softmax(Q K^T * sm_scale) V   QK in nvfp4, PV in nvfp4
//
// spec fp4_d64 (hash eeb9e4c92e341307)   variant q128_k128_s3_w8   target sm_120a   io bf16   mask none
// made by sagegen 0.1.0 from templates/attn_fwd_sm120.cu.tl
// again: sagegen expand --spec specs/fp4_d64.yaml --role attn_fwd --arch sm_120a --io bf16 --mask none --variant q128_k128_s3_w8

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;
typedef signed char i8;

// ---- arguments of the call: the same struct in every kernel; strides in elements, head dim contiguous -------------
struct kernel_args {
    u64 q; // 0: [batch][heads_q][seq_q][d_qk] bf16 or fp16, strides below; never written
    u64 k; // 8: [batch][heads_kv][seq_k][d_qk]
    u64 v; // 16: [batch][heads_kv][seq_k][d_v]
    u64 o; // 24: [batch][heads_q][seq_q][d_v]
    u64 lse; // 32: [batch][heads_q][seq_q] fp32, natural log; null: not wanted
    u64 flags; // 40: one u32 that kernels OR overflow bits into; null: not wanted
    u64 q_tiles; // 48: workspace: quantised Q, one image per tile
    u64 k_tiles; // 56: workspace: quantised K, one image per tile
    u64 v_tiles; // 64: workspace: quantised V, transposed, channels in the order of O in the accumulators, one image per tile of keys
    u64 q_scale; // 72: workspace: fp32 [batch][heads_q][rows of all q tiles], log2 units per score, sm_scale * log2 e folded in
    u64 v_scale; // 80: workspace: fp32 [batch][heads_kv][2][d_v_padded], linear: scales, then means; O = acc * v_scale + mean
    u64 progress; // 88: workspace: u32 pieces of K and V drawn, then [batch][heads_kv][2] parts of their statistics done; high 16 bits: those that were not finite
    u64 stats; // 96: workspace: fp32 [batch][heads_kv][splits][4][stats_width], sum of K; sum, minimum, maximum of V per channel
    u64 k_mean; // 104: workspace: fp32 [batch][heads_kv][d_qk_padded], mean of K over the sequence
    u64 lse_bias; // 112: workspace: fp32 [batch][heads_q][rows], sm_scale * q . mean(K), natural-log units
    u64 q_mean; // 120: workspace: fp32 [batch][heads_q][groups][d_qk_padded]
    u64 k_centred; // 128: workspace: K - mean(K) in the io type [batch][heads_kv][keys of all tiles][d_qk_padded]
    u64 delta_s; // 136: workspace: fp32 [batch][heads_q][q tiles of a chunk][k tiles][groups of a q tile][pairs of keys][2 copies][2], accumulator units
    i64 q_stride_b; // 144: elements
    i64 q_stride_h; // 152: elements
    i64 q_stride_n; // 160: elements
    i64 k_stride_b; // 168: elements
    i64 k_stride_h; // 176: elements
    i64 k_stride_n; // 184: elements
    i64 v_stride_b; // 192: elements
    i64 v_stride_h; // 200: elements
    i64 v_stride_n; // 208: elements
    i64 o_stride_b; // 216: elements
    i64 o_stride_h; // 224: elements
    i64 o_stride_n; // 232: elements
    i32 batch; // 240
    i32 heads_q; // 244
    i32 heads_kv; // 248: divides heads_q
    i32 seq_q; // 252: rows
    i32 seq_k; // 256: keys
    i32 q_tile_count; // 260: tiles of tile_q rows per head
    i32 k_tile_count; // 264: tiles of tile_k keys per head
    i32 splits; // 268: parts of the sequence that stats are taken over
    i32 q_tile_first; // 272: first q tile of this launch (queries in chunks)
    i32 q_tile_launch; // 276: q tiles of this launch, per head
    i32 vector_io; // 280: bit 0-3: q, k, v, o are 16-byte aligned with strides of multiples of 8
    i32 stats_lead; // 284: tensors (K or V of a head) by which statistics run ahead of quantising
    float sm_scale; // 288: linear
    float reserved; // 292: zero
};
static_assert(sizeof(kernel_args) == 296, "kernel_args differs from runtime/kernel_args.h"); // no padding: the offsets above hold

// ---- problem and tiles ---------------------------------------------------------------------------------------------
constexpr i32 head_dim_qk = 64;               // elements of a Q or K row
constexpr i32 head_dim_v = 64;                // elements of a V or O row
constexpr i32 d_qk = 64;                      // head_dim_qk, padded with zeros to the depth of the MMA
constexpr i32 d_v = 64;                       // head_dim_v, padded with zeros to the width of the MMA
constexpr i32 tile_q = 128;                   // query rows of a block
constexpr i32 tile_k = 128;                   // keys of a tile

// ---- workspace images: a tile is stored as shared memory holds it, swizzled, so that one linear copy loads it ------
constexpr i32 qk_row_bytes = 32;              // of a quantised Q or K row: d_qk elements, nvfp4
constexpr i32 qk_panel_bytes = 32;            // rows are cut into panels this wide: [panel][row][bytes]
constexpr i32 v_row_bytes = 64;               // of a quantised, transposed V row: tile_k keys, nvfp4
constexpr i32 v_panel_bytes = 64;             // as qk_panel_bytes
constexpr i32 q_data_bytes = tile_q * qk_row_bytes;
constexpr i32 k_data_bytes = tile_k * qk_row_bytes;
constexpr i32 v_data_bytes = d_v * v_row_bytes;
constexpr i32 q_sf_bytes = 1024;              // block scales behind the data, in the order of the MMA's lanes
constexpr i32 k_sf_bytes = 512;               //
constexpr i32 v_sf_bytes = 512;               //
constexpr i32 k_scales = 4;                   // fp32 scales behind K's data and block scales: the tile's, four times
constexpr i32 q_tile_bytes = q_data_bytes + q_sf_bytes;
constexpr i32 k_tile_bytes = k_data_bytes + k_sf_bytes + 4 * k_scales;
constexpr i32 v_tile_bytes = v_data_bytes + v_sf_bytes;
static_assert(q_tile_bytes == 5120 && k_tile_bytes == 4624 && v_tile_bytes == 4608, "workspace layout");

constexpr i32 warps = 8;                            // consumer warps
constexpr i32 threads = 128 + 32 * warps;           // warpgroup 0 is the producer
constexpr i32 m_tiles = 1;                          // 16-row MMA tiles of a warp
constexpr i32 stages = 3;                           // K and V tiles in flight
constexpr float log2_p_one = 7.3923173f;  // log2 of what p = 1 is stored as, leaving room for lazy rescaling

// ---- shared memory ----------------------------------------------------------------------------------------------------
//   Q        offset      0    5120 bytes  [128][64] nvfp4, panels of 32 bytes, swizzled
//   K        offset   5120    4624 bytes  3 x [128][64] nvfp4, panels of 32 bytes, swizzled; scales
//   V        offset   9856    4608 bytes  3 x [64][128] nvfp4 transposed, panels of 64 bytes, swizzled
//   delta_s  offset  14464    2048 bytes  3 x [2][64][2][2] fp32, units of the score accumulator
//   barriers offset  39296      56 bytes  mbarriers, table below
//   K, V, delta_s of the next slot: 11392 bytes further
constexpr i32 smem_q = 0;
constexpr i32 smem_k = 5120, smem_k_stride = 11392;
constexpr i32 smem_v = 9856, smem_v_stride = 11392;
constexpr i32 smem_delta = 14464, smem_delta_stride = 11392, delta_tile_bytes = 2048;
constexpr i32 smem_barriers = 39296;
static_assert(smem_k >= q_tile_bytes && smem_v - smem_k >= k_tile_bytes && smem_k_stride >= smem_v - smem_k + v_tile_bytes, "regions overlap");
static_assert(smem_barriers + (1 + 2 * stages) * 8 <= 39352, "shared memory of the launch");

// ---- barriers (mbarriers, 8 bytes each) ---------------------------------------------------------------------------------
//   q_full            producer arrives with the bytes of Q     phase 0 once
//   full[slot]        producer arrives with the bytes of a tile     phase = pass over the slots
//   empty[slot]       one thread of every consumer warp arrives: 8    the tile was read

// ---- cost of one tile of keys, per block ------------------------------------------------------------------------------
//   QK: 128 MMA   PV: 128 MMA   ex2: 16384   bytes loaded: 11280

// mbarriers in shared memory, PTX ISA 9.7.13.15, sm_90: init with the number of arrivals; arrive; arrive and expect bytes of bulk copies;
// wait until the phase with this parity has ended.
__device__ __forceinline__ void mbar_init(u32 s_bar, u32 count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(s_bar), "r"(count) : "memory");
}

// One arrival for the warp: what its lanes read before has been read. A predicate and no branch: behind a branch that lanes take apart, the
// compiler keeps what they share in a register each.
__device__ __forceinline__ void mbar_arrive_warp(u32 s_bar, i32 lane)
{
    __syncwarp();
    asm volatile("{ .reg .pred first;\n"
                 "setp.eq.s32 first, %1, 0;\n"
                 "@first mbarrier.arrive.shared::cta.b64 _, [%0]; }" ::"r"(s_bar), "r"(lane) : "memory");
}

__device__ __forceinline__ void mbar_expect(u32 s_bar, u32 bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(s_bar), "r"(bytes) : "memory");
}

__device__ __forceinline__ void mbar_wait(u32 s_bar, u32 parity)
{
    asm volatile("{ .reg .pred done;\n"
                 "wait_%=: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra wait_%=; }" ::"r"(s_bar), "r"(parity) : "memory");
}

// Makes the init visible to the copy engine. PTX ISA 9.7.13.5.
__device__ __forceinline__ void fence_barrier_init()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Programmatic dependent launch: waits until the launch before has ended and its writes are visible. That one has waited for its own, and so
// on, so all launches of this call before this one have then ended. Does nothing after an ordinary launch. PTX ISA 9.7.13.13, sm_90.
__device__ __forceinline__ void wait_for_launches()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

// `bytes` (a multiple of 16) from global to shared memory by the bulk copy engine; completes on s_bar. PTX ISA 9.7.9.25.4.1, sm_90.
__device__ __forceinline__ void bulk_copy(u32 s_dst, const void *g_src, u32 bytes, u32 s_bar)
{
    asm volatile("cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(s_dst), "l"(g_src), "r"(bytes),
                 "r"(s_bar) : "memory");
}

// Registers per thread handed back (dec) or taken (inc) by a whole warpgroup. PTX ISA 9.7.19.5, sm_90a.
template <u32 registers> __device__ __forceinline__ void setmaxnreg_dec()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

template <u32 registers> __device__ __forceinline__ void setmaxnreg_inc()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

// Four 8x8 matrices of 16-bit elements: lanes 8i..8i+7 give the row addresses of matrix i; lane l receives bytes 4(l%4)..+3 of row l/4
// of each. PTX ISA 9.7.14.5.15, sm_75.
__device__ __forceinline__ void ldmatrix_x4(u32 (&r)[4], u32 s_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s_row) : "memory");
}

// D = (A * SFA)(B * SFB) + C: A 16x64, B 64x8 e2m1, a scale per 16 elements along k. Bytes of a scale register: blocks of k.
// Lanes with lane%4 in {2*tid_a, 2*tid_a+1} hold SFA of rows l/4, l/4+8; lanes with lane%4 = tid_b hold SFB of column l/4.
// PTX ISA 9.7.14.5 "Block Scaling for mma.sync", sm_120a.
template <i32 tid_a, i32 tid_b>
__device__ __forceinline__ void mma_m16n8k64_nvfp4(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, const float (&c)[4], u32 sfa, u32 sfb)
{
    asm("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13}, %14, {0, %16}, %15, {0, %17};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]), "r"(sfa), "r"(sfb),
          "n"(tid_a), "n"(tid_b));
}

// 4, 8 or 16 bytes at a shared address. PTX ISA 9.7.9.8.
__device__ __forceinline__ u32 load_shared(u32 s)
{
    u32 r;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(r) : "r"(s) : "memory");
    return r;
}

__device__ __forceinline__ uint2 load_shared2(u32 s)
{
    uint2 r;
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(r.x), "=r"(r.y) : "r"(s) : "memory");
    return r;
}

__device__ __forceinline__ uint4 load_shared4(u32 s)
{
    uint4 r;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w) : "r"(s) : "memory");
    return r;
}

// 2^x, relative error 2^-22, ex2(-inf) = +0. PTX ISA 9.7.3.20, sm_50.
__device__ __forceinline__ float ex2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two fp32 to f16, lo in the low half, negative values to 0. PTX ISA 9.7.9.21, sm_80.
__device__ __forceinline__ u32 pack_relu_f16x2(float lo, float hi)
{
    u32 r;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

// Two f16 in a register: x * y + z; the larger of each half, a number before NaN; whether a half of x is above that of y. PTX ISA 9.7.4, 9.7.7, sm_80.
__device__ __forceinline__ u32 fma_f16x2(u32 x, u32 y, u32 z)
{
    u32 r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    return r;
}

__device__ __forceinline__ u32 max_f16x2(u32 x, u32 y)
{
    u32 r;
    asm("max.f16x2 %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y));
    return r;
}

__device__ __forceinline__ bool any_above_f16x2(u32 x, u32 y)
{
    u32 r;
    asm("{ .reg .pred low, high;\n"
        "setp.gt.f16x2 low|high, %1, %2;\n"
        "or.pred low, low, high;\n"
        "selp.u32 %0, 1, 0, low; }"
        : "=r"(r)
        : "r"(x), "r"(y));
    return r != 0;
}

// Eight fp32 to packed e2m1, x[0] in bits 0-3, round to nearest even, saturating at 6. PTX ISA 9.7.9.21, sm_120a.
__device__ __forceinline__ u32 pack_e2m1x8(const float (&x)[8])
{
    u32 r;
    asm("{ .reg .b8 b0, b1, b2, b3;\n"
        "cvt.rn.satfinite.e2m1x2.f32 b0, %2, %1;\n"
        "cvt.rn.satfinite.e2m1x2.f32 b1, %4, %3;\n"
        "cvt.rn.satfinite.e2m1x2.f32 b2, %6, %5;\n"
        "cvt.rn.satfinite.e2m1x2.f32 b3, %8, %7;\n"
        "mov.b32 %0, {b0, b1, b2, b3}; }"
        : "=r"(r)
        : "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]), "f"(x[4]), "f"(x[5]), "f"(x[6]), "f"(x[7]));
    return r;
}

// z - x / 8, x the low f16 of a pair; one instruction. PTX ISA 9.7.5 "Mixed Precision Floating Point", sm_100.
__device__ __forceinline__ float sub_eighth_low(float z, u32 x)
{
    float r;
    asm("{ .reg .f16 low, high, y; mov.b32 {low, high}, %1; mov.b16 y, 0xb000; fma.rn.f32.f16 %0, low, y, %2; }" : "=f"(r) : "r"(x), "f"(z)); // -1/8
    return r;
}

// z - x / 8, x the high f16 of a pair; one instruction. PTX ISA 9.7.5 "Mixed Precision Floating Point", sm_100.
__device__ __forceinline__ float sub_eighth_high(float z, u32 x)
{
    float r;
    asm("{ .reg .f16 low, high, y; mov.b32 {low, high}, %1; mov.b16 y, 0xb000; fma.rn.f32.f16 %0, high, y, %2; }" : "=f"(r) : "r"(x), "f"(z)); // -1/8
    return r;
}

// log2(x), absolute error 2^-22. PTX ISA 9.7.3.19, sm_50.
__device__ __forceinline__ float lg2(float x)
{
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// lo in bits 0-15, hi in bits 16-31, as bf16. PTX ISA 9.7.9.21, sm_80.
__device__ __forceinline__ u32 narrow2(float lo, float hi)
{
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

// grid: batch * heads_q * q_tile_launch   O rows past seq_q are not written   LSE: natural log
extern "C" __global__ void __launch_bounds__(threads, 1) fp4_d64_attn_fwd_q128_k128_s3_w8_sm_120a_bf16_none(const __grid_constant__ kernel_args args)
{
    extern __shared__ __align__(128) u8 smem[];
    const float minus_inf = __int_as_float(0xff800000);
    const u32 s_base = __shfl_sync(~0u, (u32)__cvta_generic_to_shared(smem), 0);
    const i32 tid = threadIdx.x, lane = tid % 32;
    const u32 q_full = s_base + smem_barriers, full = q_full + 8, empty = full + 8 * stages;

    // ---- stage 1/7: tile coordinates --------------------------------------------------------------------------------------
    // out: q_tile q_head batch head kv_index
    const i32 q_tile = args.q_tile_first + (i32)blockIdx.x % args.q_tile_launch;
    const i32 head = (i32)blockIdx.x / args.q_tile_launch; // batch * heads_q + query head
    const i32 batch = head / args.heads_q, q_head = head % args.heads_q;
    const i32 kv_index = batch * args.heads_kv + q_head / (args.heads_q / args.heads_kv);
    // row_first: first query row of the tile
    // tiles: key tiles to visit; tiles_full: no mask touches the tiles before this one
    const i32 row_first = q_tile * tile_q;
    const i32 tiles = (args.seq_k + tile_k - 1) / tile_k;
    const i32 tiles_full = args.seq_k / tile_k;

    // ---- stage 2/7: barriers ------------------------------------------------------------------------------------------------
    if (tid == 0) {
        mbar_init(q_full, 1);
        #pragma unroll
        for (i32 slot = 0; slot < stages; slot++) {
            mbar_init(full + 8 * slot, 1);
            mbar_init(empty + 8 * slot, warps);
        }
        fence_barrier_init();
    }
    __syncthreads();
    wait_for_launches(); // nothing of the workspace is read or written before

    if (tid < 128) {
        // ---- stage 3/7: load (producer warpgroup) --------------------------------------------------------------------------------
        // A tile is one linear copy, since the workspace holds it as shared memory does. One thread issues.
        setmaxnreg_dec<24>();
        if (tid == 0) {
            const u8 *g_q = (const u8 *)args.q_tiles + ((i64)head * args.q_tile_count + q_tile) * q_tile_bytes;
            const u8 *g_k = (const u8 *)args.k_tiles + (i64)kv_index * args.k_tile_count * k_tile_bytes;
            const u8 *g_v = (const u8 *)args.v_tiles + (i64)kv_index * args.k_tile_count * v_tile_bytes;
            const u8 *g_delta = (const u8 *)args.delta_s
                                + ((i64)head * 8 + (q_tile - args.q_tile_first)) * args.k_tile_count * delta_tile_bytes;
            constexpr i32 tile_bytes = k_tile_bytes + v_tile_bytes + delta_tile_bytes;
            mbar_expect(q_full, q_tile_bytes);
            bulk_copy(s_base + smem_q, g_q, q_tile_bytes, q_full);
            i32 slot = 0;
            u32 phase = 1; // of the empty barriers: the first pass over the slots does not wait
            #pragma unroll 1
            for (i32 j = 0; j < tiles; j++) {
                mbar_wait(empty + 8 * slot, phase);
                mbar_expect(full + 8 * slot, tile_bytes);
                bulk_copy(s_base + smem_k + slot * smem_k_stride, g_k + (i64)j * k_tile_bytes, k_tile_bytes, full + 8 * slot);
                bulk_copy(s_base + smem_delta + slot * smem_delta_stride, g_delta + (i64)j * delta_tile_bytes, delta_tile_bytes, full + 8 * slot);
                bulk_copy(s_base + smem_v + slot * smem_v_stride, g_v + (i64)j * v_tile_bytes, v_tile_bytes, full + 8 * slot);
                if (++slot == stages) slot = 0, phase ^= 1;
            }
        }
        return;
    }

    setmaxnreg_inc<240>();
    const i32 warp = __shfl_sync(~0u, tid / 32, 0) - 4; // consumer warp, the same in all lanes: rows 16 m_tiles warp ...
    mbar_wait(q_full, 0);
    // ---- Q: fragments and scales into registers ---------------------------------------------------------------------------
    // out: rQ[m_tiles][qk_steps][4] (lane l: rows l/4, l/4+8; bytes 4(l%4)..+3 and +16 of each 32-byte step)
    //      r_q_scale[m_tiles][2], log2 units per score
    constexpr i32 qk_steps = qk_row_bytes / 32; // MMA steps along the head dim
    u32 rQ[m_tiles][qk_steps][4];
    float r_q_scale[m_tiles][2];
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++) {
        const i32 row = (warp * m_tiles + m) * 16 + lane % 16; // matrices 0, 1: rows 0-7, 8-15 of bytes 0-15; 2, 3: of bytes 16-31
        #pragma unroll
        for (i32 step = 0; step < qk_steps; step++) {
            const i32 panel = step * 32 / qk_panel_bytes, chunk = step * 2 % (qk_panel_bytes / 16) + lane / 16;
            ldmatrix_x4(rQ[m][step], s_base + smem_q + (panel * tile_q + row) * qk_panel_bytes + (chunk ^ row / 4 % 2) * 16);
        }
        const float *g_scale = (const float *)args.q_scale + ((i64)head * args.q_tile_count + q_tile) * tile_q + (warp * m_tiles + m) * 16;
        r_q_scale[m][0] = g_scale[lane / 4];
        r_q_scale[m][1] = g_scale[lane / 4 + 8];
    }
    // block scales of Q: a stored word serves two steps (lanes 0, 1 and 2, 3 of a quad); thread-id selector 0 for both
    u32 rQ_sf[m_tiles][qk_steps];
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++) {
        #pragma unroll
        for (i32 step = 0; step < qk_steps; step++) {
            const u32 word = ((const u32 *)(smem + smem_q + q_data_bytes))[((warp * m_tiles + m) * ((qk_steps + 1) / 2) + step / 2) * 32 + lane];
            rQ_sf[m][step] = step % 2 ? __shfl_xor_sync(~0u, word, 2) : word;
        }
    }

    // ---- running state: lane l holds rows l/4, l/4+8 of each 16; columns 8n + 2(l%4) + {0,1} --------------------------------
    float rO[m_tiles][9][4]; // the last column tile is the sum of P: [0] and [2] for rows l/4, l/4+8
    constexpr float no_key = -3.402823466e38f; // maximum of a row that has seen no key: finite, so that a score of -inf stays -inf
    float r_max[m_tiles][2]; // in log2 units
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++) {
        r_max[m][0] = r_max[m][1] = no_key;
        #pragma unroll
        for (i32 n = 0; n < 9; n++) rO[m][n][0] = rO[m][n][1] = rO[m][n][2] = rO[m][n][3] = 0.0f;
    }

    // ---- a step of 64 keys: one MMA deep for P V ------------------------------------------------------------------------
    constexpr i32 steps = tile_k / 64;
    float scale[m_tiles][2];       // log2 units per score, of rows l/4 and l/4+8: positive
    u32 rP_sf[m_tiles];            // block scales of P, thread-id selector 0
    u32 rP[m_tiles][4];            // P as e2m1, A fragment: register r has rows l/4 + 8 (r % 2), keys of half r / 2
    u32 r_code[m_tiles][2];        // f16x2, rows l/4 and l/4+8: 1024 + code of the block scale; [half of the step]
    float to_code[m_tiles][2];     // from a block's largest score to its code, and from the code to log2 of P: both follow r_max
    float log2_p[m_tiles][2];
    constexpr float code_one = 94.0f;  // block scale of P = 1: ue4m3 0x5e; 126 is the largest, below 8 the line bends
    auto follow_max = [&] {
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++)
            #pragma unroll
            for (i32 h = 0; h < 2; h++) {
                to_code[m][h] = (code_one - 8.45f) / 8.0f - r_max[m][h];
                log2_p[m][h] = 142.334961f - r_max[m][h]; // log2 6 + (code_one + 1024) / 8: less r_code / 8
            }
    };
    follow_max();

    // ---- stage 4/7: qk_gemm -----------------------------------------------------------------------------------------------
    // in : rQ, K tile [panel][tile_k][32 bytes] nvfp4, swizzled      out: rS: rows l/4, l/4+8; keys 8n + 2(l%4) + {0,1}
    auto qk_gemm = [&](float (&rS)[m_tiles][8][4], i32 slot, i32 step) {
        const u32 s_k = s_base + smem_k + slot * smem_k_stride;
        const uint2 r_k_sf_0 = load_shared2(s_k + k_data_bytes + (step * 32 + lane) * 8);
        const u32 r_k_sf[2] = {r_k_sf_0.x, r_k_sf_0.y};
        // the sum starts at delta_s = mean(Q) . K, which smoothing took out of the product: an accumulator's four values are one load
        const u32 s_delta = s_base + smem_delta + slot * smem_delta_stride + (warp * 16 / 64 * (tile_k / 2) + step * 32 + lane % 4) * 16;
        #pragma unroll
        for (i32 group = 0; group < 2; group++) { // four n8 tiles share a register of block scales
            float r_delta[1][4][4];
            #pragma unroll
            for (i32 n = 0; n < 4; n++) {
                const uint4 delta0 = load_shared4(s_delta + ((group * 4 + n) * 4) * 16);
                r_delta[0][n][0] = __uint_as_float(delta0.x), r_delta[0][n][1] = __uint_as_float(delta0.y);
                r_delta[0][n][2] = __uint_as_float(delta0.z), r_delta[0][n][3] = __uint_as_float(delta0.w);
            }
            const i32 key = step * 64 + group * 32 + lane % 8 + lane / 16 * 8;
            {
                constexpr i32 panel = 0;
                const i32 row = key, chunk = lane / 8 % 2;
                u32 rK[4];
                ldmatrix_x4(rK, s_k + (panel * tile_k + row) * qk_panel_bytes + (chunk ^ row / 4 % 2) * 16);
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    mma_m16n8k64_nvfp4<0, 0>(rS[m][group * 4 + 0], rQ[m][0], rK[0], rK[1], r_delta[0][0], rQ_sf[m][0], r_k_sf[group * 1 + 0]);
                    mma_m16n8k64_nvfp4<0, 1>(rS[m][group * 4 + 1], rQ[m][0], rK[2], rK[3], r_delta[0][1], rQ_sf[m][0], r_k_sf[group * 1 + 0]);
                }
            }
            {
                constexpr i32 panel = 0;
                const i32 row = key + 16, chunk = lane / 8 % 2;
                u32 rK[4];
                ldmatrix_x4(rK, s_k + (panel * tile_k + row) * qk_panel_bytes + (chunk ^ row / 4 % 2) * 16);
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    mma_m16n8k64_nvfp4<0, 2>(rS[m][group * 4 + 2], rQ[m][0], rK[0], rK[1], r_delta[0][2], rQ_sf[m][0], r_k_sf[group * 1 + 0]);
                    mma_m16n8k64_nvfp4<0, 3>(rS[m][group * 4 + 3], rQ[m][0], rK[2], rK[3], r_delta[0][3], rQ_sf[m][0], r_k_sf[group * 1 + 0]);
                }
            }
        }
    };

    // ---- stage 5/7: mask ----------------------------------------------------------------------------------------------------
    // in : rS of 64 keys      out: rS, -inf where a row must not look
    auto mask_scores = [&](float (&rS)[m_tiles][8][4], i32 tile, i32 step) {
        if (tile >= tiles_full) { // only the last tiles
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++)
                #pragma unroll
                for (i32 h = 0; h < 2; h++) { // rows l/4, l/4+8
                    const i32 seen = args.seq_k - 1;
                    const i32 last = seen - tile * tile_k - step * 64 - lane % 4 * 2; // of the keys this lane's columns may see
                    #pragma unroll
                    for (i32 n = 0; n < 8; n++)
                        #pragma unroll
                        for (i32 e = 0; e < 2; e++)
                            if (n * 8 + e > last) rS[m][n][2 * h + e] = minus_inf;
                }
        }
    };

    // ---- stage 6/7: row maximum, block scales of P -----------------------------------------------------------------------------
    // in : rS masked      out: scale, rP_sf, r_code
    // A block of 16 keys along P's fragment: two lanes, four n8 tiles; a step has blocks 2 half + (lane%4)/2.
    auto p_scales = [&](const float (&rS)[m_tiles][8][4], i32 slot, i32 step) {
        if (step == 0) { // all steps of a tile share K's fp32 scale
            const float k_scale = __uint_as_float(load_shared(s_base + smem_k + slot * smem_k_stride + k_data_bytes + k_sf_bytes));
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++)
                #pragma unroll
                for (i32 h = 0; h < 2; h++) scale[m][h] = fmaf(r_q_scale[m][h], k_scale, 1e-30f); // never 0: -inf times 0 is no number
        }
        float r_most[m_tiles][2][2]; // largest score of this lane's eight in a block; [row][half of the step]
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) {
            #pragma unroll
            for (i32 h = 0; h < 2; h++) // rows l/4, l/4+8
                #pragma unroll
                for (i32 half = 0; half < 2; half++) {
                    float most = fmaxf(rS[m][half * 4][2 * h], rS[m][half * 4][2 * h + 1]);
                    #pragma unroll
                    for (i32 n = half * 4 + 1; n < half * 4 + 4; n++) most = fmaxf(most, fmaxf(rS[m][n][2 * h], rS[m][n][2 * h + 1]));
                    r_most[m][h][half] = most;
                }
        }
        auto block_codes = [&] {
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++) {
                #pragma unroll
                for (i32 half = 0; half < 2; half++) {
                    const float x = fmaf(r_most[m][0][half], scale[m][0], to_code[m][0]);
                    const float y = fmaf(r_most[m][1][half], scale[m][1], to_code[m][1]);
                    const u32 eighths = pack_relu_f16x2(x, y); // (code - 8) / 8, at least 0
                    r_code[m][half] = fma_f16x2(max_f16x2(eighths, __shfl_xor_sync(~0u, eighths, 1)), 0x48004800u, 0x64086408u); // * 8 + 1032: a whole number
                }
            }
        };
        block_codes();
        u32 most = max_f16x2(r_code[0][0], r_code[0][1]);
        #pragma unroll
        for (i32 m = 1; m < m_tiles; m++) most = max_f16x2(most, max_f16x2(r_code[m][0], r_code[m][1]));
        if (__any_sync(~0u, any_above_f16x2(most, 0x647e647eu))) { // 126: a row has outgrown P's head room
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++) {
                #pragma unroll
                for (i32 h = 0; h < 2; h++) {
                    float top = fmaxf(r_most[m][h][0], r_most[m][h][1]) * scale[m][h];
                    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
                    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2)); // the quad holds the row
                    const float max_new = top > r_max[m][h] + 4.12265635f ? top : r_max[m][h]; // smaller growth is left to P's head room
                    const float shrink = ex2(r_max[m][h] - max_new);
                    r_max[m][h] = max_new;
                    if (__any_sync(~0u, shrink != 1.0f)) {
                        #pragma unroll
                        for (i32 n = 0; n < 9; n++) rO[m][n][2 * h] *= shrink, rO[m][n][2 * h + 1] *= shrink;
                    }
                }
            }
            follow_max();
            block_codes();
        }
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) { // lane 0 of a quad supplies row l/4, lane 1 row l/4+8: bytes are blocks 0 ... 3
            const u32 own = __byte_perm(r_code[m][0], r_code[m][1], lane % 2 ? 0x0062 : 0x0040); // blocks 0 and 2, or 1 and 3
            rP_sf[m] = __byte_perm(own, __shfl_xor_sync(~0u, own, 2), 0x5140);
        }
    };

    // ---- stage 6/7: P ---------------------------------------------------------------------------------------------------------
    // in : rS, block scales      out: rP
    auto quant_p = [&](const float (&rS)[m_tiles][8][4]) {
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++)
            #pragma unroll
            for (i32 r = 0; r < 4; r++) {
                const i32 h = r % 2, half = r / 2;
                const float shift = h ? sub_eighth_high(log2_p[m][h], r_code[m][half]) : sub_eighth_low(log2_p[m][h], r_code[m][half]);
                float p[8];
                #pragma unroll
                for (i32 i = 0; i < 8; i++) p[i] = ex2(fmaf(rS[m][half * 4 + i / 2][2 * h + i % 2], scale[m][h], shift));
                rP[m][r] = pack_e2m1x8(p);
            }
    };

    // ---- stage 7/7: pv_gemm ---------------------------------------------------------------------------------------------------
    // in : rP, rP_sf, V tile [panel][d_v][64 bytes] nvfp4, transposed, swizzled      out: rO, its last column tile the sum of P
    // the column of "ones": e2m1 1.5 with ue4m3 scales of 0.6875, so that one constant is both; the epilogue divides by their product
    const u32 ones = 0x33333333u, ones_sf = ones;
    auto pv_gemm = [&](i32 slot, i32 step) {
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) // a column of ones, so that the errors of P cancel in O / sum
            mma_m16n8k64_nvfp4<0, 0>(rO[m][d_v / 8], rP[m], ones, ones, rO[m][d_v / 8], rP_sf[m], ones_sf);
        const u32 s_v = s_base + smem_v + slot * smem_v_stride;
        const i32 panel = step * 32 / v_panel_bytes, chunk = step * 2 % (v_panel_bytes / 16) + lane / 8 % 2;
        const uint2 r_v_sf_0 = load_shared2(s_v + v_data_bytes + (step * 32 + lane) * 8);
        const u32 r_v_sf[2] = {r_v_sf_0.x, r_v_sf_0.y};
        #pragma unroll
        for (i32 group = 0; group < d_v / 32; group++) { // four n8 tiles of channels share a register of block scales
            {
                const i32 channel = group * 32 + lane % 8 + lane / 16 * 8;
                u32 rV[4];
                ldmatrix_x4(rV, s_v + (panel * d_v + channel) * v_panel_bytes + (chunk ^ channel / 2 % 4) * 16);
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    mma_m16n8k64_nvfp4<0, 0>(rO[m][group * 4 + 0], rP[m], rV[0], rV[1], rO[m][group * 4 + 0], rP_sf[m], r_v_sf[group]);
                    mma_m16n8k64_nvfp4<0, 1>(rO[m][group * 4 + 1], rP[m], rV[2], rV[3], rO[m][group * 4 + 1], rP_sf[m], r_v_sf[group]);
                }
            }
            {
                const i32 channel = group * 32 + 16 + lane % 8 + lane / 16 * 8;
                u32 rV[4];
                ldmatrix_x4(rV, s_v + (panel * d_v + channel) * v_panel_bytes + (chunk ^ channel / 2 % 4) * 16);
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    mma_m16n8k64_nvfp4<0, 2>(rO[m][group * 4 + 2], rP[m], rV[0], rV[1], rO[m][group * 4 + 2], rP_sf[m], r_v_sf[group]);
                    mma_m16n8k64_nvfp4<0, 3>(rO[m][group * 4 + 3], rP[m], rV[2], rV[3], rO[m][group * 4 + 3], rP_sf[m], r_v_sf[group]);
                }
            }
        }
    };

    // ---- main loop over tiles of keys ---------------------------------------------------------------------------------
    //   step:      tensor cores             other pipes
    //              Q K^T of the next step   exponentials of this step
    //              P V of this step         row maximum, block scales of the next step
    static_assert(steps % 2 == 0, "scores alternate between two sets of registers");
    float rS[2][m_tiles][8][4]; // scores of this step, and of the next
    auto step_of_tile = [&](i32 step, i32 slot, i32 step_next, i32 slot_next) {
        quant_p(rS[step % 2]);
        qk_gemm(rS[(step + 1) % 2], slot_next, step_next);
        pv_gemm(slot, step);
        p_scales(rS[(step + 1) % 2], slot_next, step_next);
    };
    if (tiles > 0) {
        mbar_wait(full, 0);
        qk_gemm(rS[0], 0, 0);
        mask_scores(rS[0], 0, 0);
        p_scales(rS[0], 0, 0);
    }
    i32 j = 0;
    u32 phase = 0; // of the full barriers: flips with each pass over the slots
    #pragma unroll 1
    for (; j + stages < tiles_full; j += stages, phase ^= 1) { // no key of these tiles is masked
        #pragma unroll
        for (i32 slot = 0; slot < stages; slot++) { // unrolled: addresses in a slot are constants
            const i32 slot_next = (slot + 1) % stages;
            #pragma unroll
            for (i32 step = 0; step < steps - 1; step++) step_of_tile(step, slot, step + 1, slot);
            mbar_wait(full + 8 * slot_next, slot_next == 0 ? phase ^ 1 : phase);
            step_of_tile(steps - 1, slot, 0, slot_next);
            mbar_arrive_warp(empty + 8 * slot, lane); // every lane has read its part of the slot
        }
    }
    // the last few tiles: those that fill no pass over the slots, and those with masked keys
    i32 slot = 0;
    #pragma unroll 1
    for (; j < tiles; j++) {
        #pragma unroll
        for (i32 step = 0; step < steps; step++) {
            quant_p(rS[step % 2]);
            pv_gemm(slot, step);
            if (step < steps - 1) {
                qk_gemm(rS[(step + 1) % 2], slot, step + 1);
                mask_scores(rS[(step + 1) % 2], j, step + 1);
                p_scales(rS[(step + 1) % 2], slot, step + 1);
            }
        }
        mbar_arrive_warp(empty + 8 * slot, lane); // every lane has read its part of the slot
        if (++slot == stages) slot = 0, phase ^= 1;
        if (j + 1 == tiles) break;
        mbar_wait(full + 8 * slot, phase);
        qk_gemm(rS[0], slot, 0);
        mask_scores(rS[0], j + 1, 0);
        p_scales(rS[0], slot, 0);
    }

    // ---- epilogue: O and LSE ----------------------------------------------------------------------------------------------------------
    bool seen[m_tiles][2]; // false: the row sees no key at all, O = 0 and LSE = -inf
    float inv[m_tiles][2];
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++)
        #pragma unroll
        for (i32 h = 0; h < 2; h++) {
            const i32 tile_row = (warp * m_tiles + m) * 16 + lane / 4 + 8 * h, row = row_first + tile_row;
            float sum = rO[m][d_v / 8][2 * h] * 0.969696999f; // the tensor core made the row sum beside O, with "ones" of 1.5 * 0.6875
            seen[m][h] = sum > 0.0f;
            inv[m][h] = seen[m][h] ? 1.0f / sum : 0.0f;
            if (args.lse && lane % 4 == 0 && row < args.seq_q) {
                float lse = seen[m][h] ? (r_max[m][h] + lg2(sum) - log2_p_one) * 0.693147181f : minus_inf;
                if (seen[m][h]) lse += ((const float *)args.lse_bias)[((i64)head * args.q_tile_count + q_tile) * tile_q + tile_row];
                ((float *)args.lse)[(i64)head * args.seq_q + row] = lse;
            }
        }

    const float *g_v_scale = (const float *)args.v_scale + (i64)kv_index * 2 * d_v; // [d_v] scales, then [d_v] means
    const bool has_keys = args.seq_k > 0; // without keys no scale was written
    u32 rO_io[m_tiles][8][2]; // pairs of columns, rows l/4, l/4+8
    u32 past[m_tiles][2] = {};   // top bit of a half: one of the row's values is infinite or NaN
    #pragma unroll
    for (i32 n = 0; n < 8; n += 2) { // no branch in it: all loads are under way together; columns 32 (n / 4) + 8 (l % 4) + 2 (n % 4) + {0,1,2,3}
        const i32 at = n / 4 * 32 + lane % 4 * 8 + n % 4 * 2;
        const float4 scale = has_keys ? *(const float4 *)(g_v_scale + at) : float4{0.0f, 0.0f, 0.0f, 0.0f};
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) {
            #pragma unroll
            for (i32 h = 0; h < 2; h++) {
                const float first = rO[m][n][2 * h] * inv[m][h] * scale.x;
                const float second = rO[m][n][2 * h + 1] * inv[m][h] * scale.y;
                const u32 pair = seen[m][h] ? narrow2(first, second) : 0;
                rO_io[m][n][h] = pair;
                past[m][h] |= (pair & 0x7fff7fffu) + 0x00800080u; // an exponent of ones carries into the top bit
            }
        }
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) {
            #pragma unroll
            for (i32 h = 0; h < 2; h++) {
                const float first = rO[m][n + 1][2 * h] * inv[m][h] * scale.z;
                const float second = rO[m][n + 1][2 * h + 1] * inv[m][h] * scale.w;
                const u32 pair = seen[m][h] ? narrow2(first, second) : 0;
                rO_io[m][n + 1][h] = pair;
                past[m][h] |= (pair & 0x7fff7fffu) + 0x00800080u; // an exponent of ones carries into the top bit
            }
        }
    }
    bool bad = false;
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++)
        #pragma unroll
        for (i32 h = 0; h < 2; h++) bad |= (past[m][h] & 0x80008000u) != 0 && row_first + (warp * m_tiles + m) * 16 + lane / 4 + 8 * h < args.seq_q;
    if (bad && args.flags) atomicOr((u32 *)args.flags, 8u);

    u16 *g_o = (u16 *)args.o + batch * args.o_stride_b + q_head * args.o_stride_h;
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++)
        #pragma unroll
        for (i32 h = 0; h < 2; h++) {
            const i32 row = row_first + (warp * m_tiles + m) * 16 + lane / 4 + 8 * h;
            u16 *g_row = g_o + (i64)row * args.o_stride_n;
            if (row >= args.seq_q) continue;
            if (args.vector_io & 8) {
                #pragma unroll
                for (i32 n = 0; n < 8; n += 4)
                    *(uint4 *)(g_row + n * 8 + lane % 4 * 8) = make_uint4(rO_io[m][n][h], rO_io[m][n + 1][h], rO_io[m][n + 2][h], rO_io[m][n + 3][h]);
            } else {
                #pragma unroll
                for (i32 n = 0; n < 8; n++) {
                    u16 *g_pair = g_row + n / 4 * 32 + lane % 4 * 8 + n % 4 * 2;
                    g_pair[0] = (u16)rO_io[m][n][h];
                    g_pair[1] = (u16)(rO_io[m][n][h] >> 16);
                }
            }
        }
}
