// int8_fp8_d128_attn_fwd_q192_k128_s3_w12_f16_sm_90a_bf16_none
// O = softmax(Q K^T * sm_scale) V   QK in int8, PV in fp8_e4m3
//
// spec int8_fp8_d128 (hash c9740032ff0f3cee)   variant q192_k128_s3_w12_f16   target sm_90a   io bf16   mask none
// made by sagegen 0.1.0 from templates/attn_fwd_sm90.cu.tl
// again: sagegen expand --spec specs/int8_fp8_d128.yaml --role attn_fwd --arch sm_90a --io bf16 --mask none --variant q192_k128_s3_w12_f16

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
constexpr i32 head_dim_qk = 128;              // elements of a Q or K row
constexpr i32 head_dim_v = 128;               // elements of a V or O row
constexpr i32 d_qk = 128;                     // head_dim_qk, padded with zeros to the depth of the MMA
constexpr i32 d_v = 128;                      // head_dim_v, padded with zeros to the width of the MMA
constexpr i32 tile_q = 192;                   // query rows of a block
constexpr i32 tile_k = 128;                   // keys of a tile

// ---- workspace images: a tile is stored as shared memory holds it, swizzled, so that one linear copy loads it ------
constexpr i32 qk_row_bytes = 128;             // of a quantised Q or K row: d_qk elements, int8
constexpr i32 qk_panel_bytes = 128;           // rows are cut into panels this wide: [panel][row][bytes]
constexpr i32 v_row_bytes = 128;              // of a quantised, transposed V row: tile_k keys, fp8_e4m3
constexpr i32 v_panel_bytes = 128;            // as qk_panel_bytes
constexpr i32 q_data_bytes = tile_q * qk_row_bytes;
constexpr i32 k_data_bytes = tile_k * qk_row_bytes;
constexpr i32 v_data_bytes = d_v * v_row_bytes;
constexpr i32 k_scale_keys = 64;              // consecutive keys that share a set of scales
constexpr i32 k_scales = 8;                   // fp32 scales behind K's data: for each set of keys, one for those with the same (key % 8) / 2
constexpr i32 q_tile_bytes = q_data_bytes;
constexpr i32 k_tile_bytes = k_data_bytes + 4 * k_scales;
constexpr i32 v_tile_bytes = v_data_bytes;
static_assert(q_tile_bytes == 24576 && k_tile_bytes == 16416 && v_tile_bytes == 16384, "workspace layout");

constexpr i32 warps = 12;                           // consumer warps, 16 rows each
constexpr i32 warpgroups = warps / 4;              // consumer warpgroups, 64 rows each
constexpr i32 threads = 128 + 32 * warps;          // warpgroup 0 is the producer
constexpr i32 m_tiles = 1;                         // 16-row tiles of a warp
constexpr i32 stages = 3;                          // K and V tiles in flight
constexpr i32 flush_tiles = 16;                  // tiles that the tensor core sums by itself
constexpr float log2_p_one = 4.80735493f;  // log2 of what p = 1 is stored as, leaving room for lazy rescaling

// ---- shared memory ----------------------------------------------------------------------------------------------------
//   Q        offset      0   24576 bytes  [192][128] int8, panels of 128 bytes, swizzled
//   K        offset  24576   52224 bytes  3 x [128][128] int8, panels of 128 bytes, swizzled; scales
//   V        offset  76800   52224 bytes  3 x [128][128] fp8_e4m3 transposed, panels of 128 bytes, swizzled; 8 rows of ones
//   master   offset 129024   98304 bytes  O in fp32 up to the last flush: [warpgroup][d_v / 8][thread][4]
//   flushed  offset  40992     768 bytes  [row] the maximum that master is relative to; it and what follows: in slot 0 of K, behind its scales
//   tile     offset  41760      64 bytes  2 x: q_tile, head, batch, q_head, kv_index, key tiles
//   barriers offset  41824     112 bytes  mbarriers, table below
constexpr i32 smem_q = 0;
constexpr i32 smem_k = 24576, smem_k_stride = 17408;
constexpr i32 smem_v = 76800, smem_v_stride = 17408;
constexpr i32 smem_master = 129024, smem_flushed = 40992;
constexpr i32 smem_tile = 41760, smem_barriers = 41824;
static_assert(smem_k >= q_tile_bytes && smem_k_stride >= k_tile_bytes && smem_v_stride >= v_tile_bytes + 8 * v_row_bytes, "regions overlap");
static_assert(smem_flushed >= smem_k + k_tile_bytes && smem_barriers + 112 <= smem_k + smem_k_stride, "behind K's scales, before the next slot");
static_assert(smem_master + tile_q * d_v * 4 <= 227328, "shared memory of the launch");
static_assert(smem_tile % 16 == 0 && (2 + 4 * stages) * 8 <= 112, "the tile is written as vectors; the barriers below");

// ---- barriers (mbarriers, 8 bytes each) ---------------------------------------------------------------------------------
//   q_full            producer arrives with the bytes of Q, and has noted the tile     phase = query tile of the block
//   q_empty           every consumer thread arrives: 384     the products with Q have ended, and the tile before is stored
//   k_full[slot]      producer arrives with the bytes of K     phase = pass over the slots
//   k_empty[slot]     every consumer thread arrives: 384     it has read K's scales, its warp's products with K have ended, or it has no use for K
//   v_full[slot]      as k_full
//   v_empty[slot]     one thread of every consumer warp arrives: 12     the products with V have ended, or it has no use for V

// ---- cost of one tile of keys, per block ------------------------------------------------------------------------------
//   QK: 3 x 4 wgmma m64n128   PV: 3 x 4 wgmma m64n136   ex2: 24576   bytes loaded: 32800

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

// This thread arrives: what it read before has been read. PTX ISA 9.7.13.15.
__device__ __forceinline__ void mbar_arrive(u32 s_bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(s_bar) : "memory");
}

// Ordinary stores to shared memory become visible to wgmma and the copy engine. PTX ISA 9.7.13.5, sm_90.
__device__ __forceinline__ void fence_proxy_async()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Programmatic dependent launch: waits until the launch before has ended and its writes are visible. That one has waited for its own, and so
// on, so all launches of this call before this one have then ended. Does nothing after an ordinary launch. PTX ISA 9.7.13.13, sm_90.
__device__ __forceinline__ void wait_for_launches()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
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

// `bytes` (a multiple of 16) from global to shared memory by the bulk copy engine; completes on s_bar. PTX ISA 9.7.9.25.4.1, sm_90.
__device__ __forceinline__ void bulk_copy(u32 s_dst, const void *g_src, u32 bytes, u32 s_bar)
{
    asm volatile("cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(s_dst), "l"(g_src), "r"(bytes),
                 "r"(s_bar) : "memory");
}

// Ordering of wgmma, PTX ISA 9.7.15.7, sm_90a: registers are ready (fence); close a group (commit); at most `pending` groups run on (wait).
__device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <i32 pending> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// Descriptor of a K-major operand in panels of `panel_bytes` a row, swizzled by as much; 8 rows apart: 8 * panel_bytes.
// Bits 0-13 address / 16, 32-45 stride / 16, 62-63 swizzle (1: 128, 2: 64, 3: 32 bytes). PTX ISA 9.7.15.5.1.
// Only the low word tells one operand from another, and it never carries: shared memory ends below 2^18. So tiles and steps are added to it
// in 32 bits, and the high word is a constant.
__device__ __forceinline__ u32 wgmma_low_word(u32 s_address)
{
    return (s_address >> 4 & 0x3fff) | 1u << 16;
}

template <i32 panel_bytes> __device__ __forceinline__ u64 wgmma_descriptor(u32 low_word)
{
    constexpr u64 swizzle = panel_bytes == 128 ? 1 : panel_bytes == 64 ? 2 : 3;
    return low_word | (u64)(8 * panel_bytes >> 4) << 32 | swizzle << 62;
}

// D (64x128, lane l: rows l/4, l/4+8 of the warp's 16; columns 8n + 2(l%4) + {0,1}) = A B + (accumulate ? D : 0), asynchronous.
// A 64x32 and B 32x128 K-major in shared memory, by the low words of their descriptors. PTX ISA 9.7.15.5, sm_90a.
__device__ __forceinline__ void wgmma_qk(i32 (&d)[16][4], u32 a, u32 b, bool accumulate)
{
    asm volatile(
        "{ .reg .pred p;\n"
        "setp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, p; }"
        : "+r"(d[0][0]), "+r"(d[0][1]), "+r"(d[0][2]), "+r"(d[0][3]),
          "+r"(d[1][0]), "+r"(d[1][1]), "+r"(d[1][2]), "+r"(d[1][3]),
          "+r"(d[2][0]), "+r"(d[2][1]), "+r"(d[2][2]), "+r"(d[2][3]),
          "+r"(d[3][0]), "+r"(d[3][1]), "+r"(d[3][2]), "+r"(d[3][3]),
          "+r"(d[4][0]), "+r"(d[4][1]), "+r"(d[4][2]), "+r"(d[4][3]),
          "+r"(d[5][0]), "+r"(d[5][1]), "+r"(d[5][2]), "+r"(d[5][3]),
          "+r"(d[6][0]), "+r"(d[6][1]), "+r"(d[6][2]), "+r"(d[6][3]),
          "+r"(d[7][0]), "+r"(d[7][1]), "+r"(d[7][2]), "+r"(d[7][3]),
          "+r"(d[8][0]), "+r"(d[8][1]), "+r"(d[8][2]), "+r"(d[8][3]),
          "+r"(d[9][0]), "+r"(d[9][1]), "+r"(d[9][2]), "+r"(d[9][3]),
          "+r"(d[10][0]), "+r"(d[10][1]), "+r"(d[10][2]), "+r"(d[10][3]),
          "+r"(d[11][0]), "+r"(d[11][1]), "+r"(d[11][2]), "+r"(d[11][3]),
          "+r"(d[12][0]), "+r"(d[12][1]), "+r"(d[12][2]), "+r"(d[12][3]),
          "+r"(d[13][0]), "+r"(d[13][1]), "+r"(d[13][2]), "+r"(d[13][3]),
          "+r"(d[14][0]), "+r"(d[14][1]), "+r"(d[14][2]), "+r"(d[14][3]),
          "+r"(d[15][0]), "+r"(d[15][1]), "+r"(d[15][2]), "+r"(d[15][3])
        : "l"(wgmma_descriptor<qk_panel_bytes>(a)), "l"(wgmma_descriptor<qk_panel_bytes>(b)), "r"((i32)accumulate));
}

// D (64x128, lane l: rows l/4, l/4+8 of the warp's 16; columns 8n + 2(l%4) + {0,1}) = A B, asynchronous.
// A 64x32 and B 32x128 K-major in shared memory, by the low words of their descriptors. PTX ISA 9.7.15.5, sm_90a.
__device__ __forceinline__ void wgmma_qk_first(i32 (&d)[16][4], u32 a, u32 b)
{
    asm volatile(
        "{ .reg .pred p;\n"
        "setp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, p; }"
        : "=r"(d[0][0]), "=r"(d[0][1]), "=r"(d[0][2]), "=r"(d[0][3]),
          "=r"(d[1][0]), "=r"(d[1][1]), "=r"(d[1][2]), "=r"(d[1][3]),
          "=r"(d[2][0]), "=r"(d[2][1]), "=r"(d[2][2]), "=r"(d[2][3]),
          "=r"(d[3][0]), "=r"(d[3][1]), "=r"(d[3][2]), "=r"(d[3][3]),
          "=r"(d[4][0]), "=r"(d[4][1]), "=r"(d[4][2]), "=r"(d[4][3]),
          "=r"(d[5][0]), "=r"(d[5][1]), "=r"(d[5][2]), "=r"(d[5][3]),
          "=r"(d[6][0]), "=r"(d[6][1]), "=r"(d[6][2]), "=r"(d[6][3]),
          "=r"(d[7][0]), "=r"(d[7][1]), "=r"(d[7][2]), "=r"(d[7][3]),
          "=r"(d[8][0]), "=r"(d[8][1]), "=r"(d[8][2]), "=r"(d[8][3]),
          "=r"(d[9][0]), "=r"(d[9][1]), "=r"(d[9][2]), "=r"(d[9][3]),
          "=r"(d[10][0]), "=r"(d[10][1]), "=r"(d[10][2]), "=r"(d[10][3]),
          "=r"(d[11][0]), "=r"(d[11][1]), "=r"(d[11][2]), "=r"(d[11][3]),
          "=r"(d[12][0]), "=r"(d[12][1]), "=r"(d[12][2]), "=r"(d[12][3]),
          "=r"(d[13][0]), "=r"(d[13][1]), "=r"(d[13][2]), "=r"(d[13][3]),
          "=r"(d[14][0]), "=r"(d[14][1]), "=r"(d[14][2]), "=r"(d[14][3]),
          "=r"(d[15][0]), "=r"(d[15][1]), "=r"(d[15][2]), "=r"(d[15][3])
        : "l"(wgmma_descriptor<qk_panel_bytes>(a)), "l"(wgmma_descriptor<qk_panel_bytes>(b)), "r"(0));
}

// The thread's index, read where it stands: what is computed from it is computed here, and not kept in registers over a loop that needs them
// for other things.
__device__ __forceinline__ i32 thread_index_again()
{
    u32 x;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
    return (i32)x;
}

// An end that no thread takes: seq_q is not negative, which the compiler cannot know. It moves no instruction across, so that what stands
// between two fences is scheduled together. Each fence needs a number of its own, or it is taken for the one before. The end waits for
// products of wgmma itself: where threads could leave with one running, the compiler would wait for it ahead of the fence (C7517).
__device__ __forceinline__ void schedule_fence(const kernel_args &args, i32 number)
{
    asm volatile("{ .reg .pred here;\n"
                 "setp.ne.s32 here, %0, %1;\n"
                 "@here bra goes_on_%=;\n"
                 "wgmma.wait_group.sync.aligned 0;\n"
                 "exit;\n"
                 "goes_on_%=: }" ::"r"(args.seq_q), "r"(-1 - number));
}

// Asks whether `value` holds in any of the warpgroup's 128 threads; barrier: a named barrier of its own. The answer takes a while: what stands
// between the question and warpgroup_answer runs meanwhile. PTX ISA 9.7.13.1, sm_70.
__device__ __forceinline__ u32 warpgroup_vote(bool value, u32 barrier)
{
    u32 any;
    asm volatile("{ .reg .pred p, q;\n"
                 "setp.ne.u32 p, %1, 0;\n"
                 "barrier.cta.red.or.pred q, %2, 128, p;\n"
                 "selp.u32 %0, 1, 0, q; }"
                 : "=r"(any) : "r"((u32)value), "r"(barrier));
    return any;
}

__device__ __forceinline__ bool warpgroup_answer(u32 any)
{
    return __any_sync(~0u, any != 0); // no news, but the compiler now knows that a warp's lanes agree
}

// 2^x, relative error 2^-22, ex2(-inf) = +0. PTX ISA 9.7.3.20, sm_50.
__device__ __forceinline__ float ex2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Four fp32 to packed e4m3, a in bits 0-7, round to nearest even, saturating at 448. PTX ISA 9.7.9.21, sm_89.
__device__ __forceinline__ u32 pack_e4m3x4(float a, float b, float c, float d)
{
    u32 r;
    asm("{ .reg .b16 lo, hi;\n"
        "cvt.rn.satfinite.e4m3x2.f32 lo, %2, %1;\n"
        "cvt.rn.satfinite.e4m3x2.f32 hi, %4, %3;\n"
        "mov.b32 %0, {lo, hi}; }"
        : "=r"(r) : "f"(a), "f"(b), "f"(c), "f"(d));
    return r;
}

// D (64x136, lane l: rows l/4, l/4+8 of the warp's 16; columns 8n + 2(l%4) + {0,1}) = A B + (accumulate ? D : 0), asynchronous.
// A 64x32 from registers (rows l/4, l/4+8; bytes 4(l%4)..+3 and +16), B 32x136 K-major in shared memory, by the low word of its descriptor. PTX ISA 9.7.15.5, sm_90a.
__device__ __forceinline__ void wgmma_pv(float (&d)[17][4], const u32 (&a)[4], u32 b, bool accumulate)
{
    asm volatile(
        "{ .reg .pred p;\n"
        "setp.ne.b32 p, %73, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n136k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67}, "
        "{%68, %69, %70, %71}, %72, p, 1, 1; }"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]),
          "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
          "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
          "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
          "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]),
          "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
          "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
          "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
          "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),
          "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
          "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]),
          "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
          "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]),
          "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]),
          "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]),
          "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3]),
          "+f"(d[16][0]), "+f"(d[16][1]), "+f"(d[16][2]), "+f"(d[16][3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(wgmma_descriptor<v_panel_bytes>(b)), "r"((i32)accumulate));
}

// Columns 8n + 2(l%4) of an accumulator tile become 0. In place: a 0 of its own, merged with the accumulator, can cost registers that the
// compiler then misses for running products (C7511).
__device__ __forceinline__ void wgmma_zero(float (&d)[4])
{
    asm volatile("mov.f32 %0, 0f00000000; mov.f32 %1, 0f00000000;" : "+f"(d[0]), "+f"(d[2]));
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

// grid: at most batch * heads_q * q_tile_launch   O rows past seq_q are not written   LSE: natural log
extern "C" __global__ void __launch_bounds__(threads, 1) int8_fp8_d128_attn_fwd_q192_k128_s3_w12_f16_sm_90a_bf16_none(const __grid_constant__ kernel_args args)
{
    extern __shared__ __align__(1024) u8 smem[];
    const float minus_inf = __int_as_float(0xff800000);
    const u32 s_base = (u32)__cvta_generic_to_shared(smem);
    const i32 tid = threadIdx.x, lane = tid % 32;
    const i32 warp = __shfl_sync(~0u, tid / 32, 0) - 4; // consumer warp: rows 16 warp ... 16 warp + 15; by the shuffle, uniform for the compiler
    const u32 q_full = s_base + smem_barriers;
    const u32 k_full = q_full + 8, k_empty = k_full + 8 * stages, v_full = k_empty + 8 * stages, v_empty = v_full + 8 * stages;
    const u32 q_empty = v_empty + 8 * stages;
    const i32 blocks = args.batch * args.heads_q * args.q_tile_launch; // query tiles of all heads

    // ---- stage 2/7: barriers ------------------------------------------------------------------------------------------------
    if (tid == 0) {
        mbar_init(q_full, 1);
        mbar_init(q_empty, 32 * warps);
        #pragma unroll
        for (i32 slot = 0; slot < stages; slot++) {
            mbar_init(k_full + 8 * slot, 1);
            mbar_init(k_empty + 8 * slot, 32 * warps);
            mbar_init(v_full + 8 * slot, 1);
            mbar_init(v_empty + 8 * slot, warps);
        }
        fence_barrier_init();
    }
    for (i32 i = tid; i < stages * 256; i += threads) // 8 rows of ones behind V in each slot
        *(u32 *)(smem + smem_v + i / 256 * smem_v_stride + v_tile_bytes + i % 256 * 4) = 0x38383838u;
    fence_proxy_async();
    __syncthreads();
    wait_for_launches(); // nothing of the workspace is read or written before

    if (warp < 0) {
        // ---- stage 3/7: load (producer warpgroup) --------------------------------------------------------------------------------
        // A tile is one linear copy, since the workspace holds it as shared memory does. One thread issues; the others leave.
        setmaxnreg_dec<24>();
        if (tid == 0) {
            i32 slot = 0;
            u32 free_phase = 1; // the first pass over the slots does not wait
            u32 q_free_phase = 1;
            #pragma unroll 1
            for (i32 block = blockIdx.x; block < blocks; block += gridDim.x) {
                // ---- stage 1/7: tile coordinates --------------------------------------------------------------------------------------
                // out: q_tile q_head batch head kv_index
                const i32 q_tile = args.q_tile_first + block % args.q_tile_launch;
                const i32 head = block / args.q_tile_launch; // batch * heads_q + query head
                const i32 batch = head / args.heads_q, q_head = head % args.heads_q;
                const i32 kv_index = batch * args.heads_kv + q_head / (args.heads_q / args.heads_kv);
                // row_first: first query row of the tile
                // tiles: key tiles to visit
                const i32 row_first = q_tile * tile_q;
                const i32 tiles = (args.seq_k + tile_k - 1) / tile_k;
                const u8 *g_q = (const u8 *)args.q_tiles + ((i64)head * args.q_tile_count + q_tile) * q_tile_bytes;
                const u8 *g_k = (const u8 *)args.k_tiles + (i64)kv_index * args.k_tile_count * k_tile_bytes;
                const u8 *g_v = (const u8 *)args.v_tiles + (i64)kv_index * args.k_tile_count * v_tile_bytes;
                mbar_wait(q_empty, q_free_phase);
                {
                    i32 *s_tile = (i32 *)(smem + smem_tile + 32 * (q_free_phase ^ 1));
                    *(int4 *)s_tile = make_int4(q_tile, head, batch, q_head);
                    *(int2 *)(s_tile + 4) = make_int2(kv_index, tiles);
                }
                q_free_phase ^= 1;
                mbar_expect(q_full, q_tile_bytes);
                bulk_copy(s_base + smem_q, g_q, q_tile_bytes, q_full);
                #pragma unroll 1
                for (i32 j = 0; j < tiles; j++) {
                    mbar_wait(k_empty + 8 * slot, free_phase);
                    mbar_expect(k_full + 8 * slot, k_tile_bytes);
                    bulk_copy(s_base + smem_k + slot * smem_k_stride, g_k + (i64)j * k_tile_bytes, k_tile_bytes, k_full + 8 * slot);
                    mbar_wait(v_empty + 8 * slot, free_phase);
                    mbar_expect(v_full + 8 * slot, v_tile_bytes);
                    bulk_copy(s_base + smem_v + slot * smem_v_stride, g_v + (i64)j * v_tile_bytes, v_tile_bytes, v_full + 8 * slot);
                    if (++slot == stages) slot = 0, free_phase ^= 1;
                }
            }
        }
        return;
    }

    setmaxnreg_inc<160>();
    i32 slot = 0;  // of the next tile of keys in the ring
    u32 phase = 0; // of its barriers
    u32 q_phase = 0;
    #pragma unroll 1
    for (i32 block = blockIdx.x; block < blocks; block += gridDim.x) {
        mbar_wait(q_full, q_phase);
        // ---- which query tile it is, as one thread noted it ---------------------------------------------------------------------
        const i32 tile_word = ((const i32 *)(smem + smem_tile + 32 * q_phase))[min(lane, 4)];
        const i32 q_tile = __shfl_sync(~0u, tile_word, 0), head = __shfl_sync(~0u, tile_word, 1), batch = __shfl_sync(~0u, tile_word, 2);
        const i32 q_head = __shfl_sync(~0u, tile_word, 3), kv_index = __shfl_sync(~0u, tile_word, 4);
        // row_first: first query row of the tile
        // tiles: key tiles to visit for the 64 rows of this warpgroup; tiles_full: no mask touches the tiles before this one
        const i32 row_first = q_tile * tile_q;
        const i32 own_first = row_first + (warp & ~3) * 16; // not warp / 4 * 64: operands has that, and the compiler would not keep what is made of it
        const i32 keys = own_first < args.seq_q ? args.seq_k : 0;
        const i32 tiles = (keys + tile_k - 1) / tile_k;
        const i32 tiles_full = args.seq_k / tile_k;

        // ---- running state: lane l holds rows l/4, l/4+8 of each 16; columns 8n + 2(l%4) + {0,1} --------------------------------
        float rO[m_tiles][17][4]; // the last column tile is the sum of P of one tile: [0] and [2] for rows l/4, l/4+8
        constexpr float no_key = -3.402823466e38f; // maximum of a row that has seen no key: finite, so that a score of -inf stays -inf
        float r_max[m_tiles][2], r_sum[m_tiles][2]; // maximum in log2 units; sum of P in units of 2^log2_p_one
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) {
            r_max[m][0] = r_max[m][1] = no_key;
            r_sum[m][0] = r_sum[m][1] = 0.0f;
            #pragma unroll
            for (i32 n = 0; n < 17; n++) rO[m][n][0] = rO[m][n][1] = rO[m][n][2] = rO[m][n][3] = 0.0f;
        }
        // ---- Q: scales into registers; its codes stay in shared memory ---------------------------------------------------------
        // out: r_q_scale[1][2], log2 units per score (per_thread); low words of descriptors: desc_q, the warpgroup's 64 rows of panel 0;
        //      desc_k_first and desc_v_first, slot 0
        float r_q_scale[m_tiles][2];
        {
            const float *g_scale = (const float *)args.q_scale + ((i64)head * args.q_tile_count + q_tile) * tile_q + warp * 16;
            r_q_scale[0][0] = g_scale[lane / 4];
            r_q_scale[0][1] = g_scale[lane / 4 + 8];
        }
        const u32 desc_q = __shfl_sync(~0u, wgmma_low_word(s_base + smem_q + warp / 4 * 64 * qk_panel_bytes), 0);
        const u32 desc_k_first = __shfl_sync(~0u, wgmma_low_word(s_base + smem_k), 0); // a shuffle is not made again in the loop: the register stays
        const u32 desc_v_first = __shfl_sync(~0u, wgmma_low_word(s_base + smem_v), 0);

        // ---- main loop over tiles of keys ---------------------------------------------------------------------------------
        //   issue Q K(j); meanwhile flush, read K's scales, and wait for V
        //   softmax(j)
        //   issue P V(j); meanwhile wait for the next K
        constexpr i32 pv_steps = v_row_bytes / 32; // MMA steps along the keys
        i32 kept_tiles = 0; // tiles before this one are tried with the maximum of earlier ones: not the first, nor one whose P did not fit
        i32 flush_tile = flush_tiles; // the next tile before which the sum so far is flushed
        const i32 tile_end = __shfl_sync(~0u, tiles, 0); // kept: the compiler would compute tiles anew from the arguments in every turn
        if (tile_end > 0) mbar_wait(k_full + 8 * slot, phase);
        #pragma unroll 1
        for (i32 j = 0; j < tile_end;) {
            i32 rS[m_tiles][tile_k / 8][4];
            u32 rP[m_tiles][pv_steps][4];
            // ---- stage 4/7: qk_gemm -------------------------------------------------------------------------------------------------
            // in : desc_q [64][d_qk] int8, K tile [panel][tile_k][128 bytes] in slot `slot`, both swizzled
            // out: rS i32, once waited for: rows l/4, l/4+8 of the warp's 16; keys 8n + 2(l%4) + {0,1}
            const u32 desc_k = desc_k_first + slot * (smem_k_stride / 16);
            wgmma_fence();
            wgmma_qk_first(rS[0], desc_q + 0, desc_k + 0); // step 0: panel 0
            wgmma_qk(rS[0], desc_q + 2, desc_k + 2, true); // step 1: panel 0
            wgmma_qk(rS[0], desc_q + 4, desc_k + 4, true); // step 2: panel 0
            wgmma_qk(rS[0], desc_q + 6, desc_k + 6, true); // step 3: panel 0
            wgmma_commit();
            const u8 *k_tail = smem + smem_k + slot * smem_k_stride + k_data_bytes; // scales behind K's codes
            float r_k_scale[2]; // a set for each 64 keys of the tile
            #pragma unroll
            for (i32 s = 0; s < 2; s++) r_k_scale[s] = ((const float *)k_tail)[s * 4 + lane % 4];
            mbar_wait(v_full + 8 * slot, phase);
            if (j == flush_tile) {
                flush_tile += flush_tiles;
                // ---- flush: O = master * 2^(old maximum - new maximum) + rO; the tensor core's own sums keep 13 bits ------
                // master: [warpgroup][d_v / 8][thread][4] fp32, each thread its own     flushed: [row] the maximum that master is relative to
                const i32 thread = thread_index_again() - 128; // of the consumers
                float4 *s_master = (float4 *)(smem + smem_master) + thread / 128 * (d_v / 8 * 128) + thread % 128;
                float *s_flushed = (float *)(smem + smem_flushed) + thread / 32 * 16 + thread % 32 / 4;
                const bool first = j == flush_tiles;
                float shrink[2]; // of what was flushed before
                #pragma unroll
                for (i32 h = 0; h < 2; h++) shrink[h] = first ? 0.0f : ex2(s_flushed[8 * h] - r_max[0][h]);
                __syncwarp(); // the row's four lanes have read; they write the same
                #pragma unroll
                for (i32 h = 0; h < 2; h++) s_flushed[8 * h] = r_max[0][h];
                #pragma unroll
                for (i32 n = 0; n < d_v / 8; n++) {
                    const float4 old = first ? float4{0.0f, 0.0f, 0.0f, 0.0f} : s_master[n * 128];
                    s_master[n * 128] = float4{old.x * shrink[0] + rO[0][n][0], old.y * shrink[0] + rO[0][n][1],
                                               old.z * shrink[1] + rO[0][n][2], old.w * shrink[1] + rO[0][n][3]};
                }
            }
            wgmma_wait<0>();

            if (j < kept_tiles) {
                bool fits;
                {
                    // ---- stage 5/7: softmax with the kept maximum ---------------------------------------------------------------------------------
                    // in : rS, r_q_scale, r_k_scale, r_max      out: fits: every P is below 448, 2^4 times p = 1; then rP, as stage 6 would make it
                    float scale[2][2], shift[2]; // score * scale + shift is log2 P
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) { // rows l/4, l/4+8
                        shift[h] = log2_p_one - r_max[0][h];
                        #pragma unroll
                        for (i32 s = 0; s < 2; s++) scale[h][s] = r_q_scale[0][h] * r_k_scale[s];
                    }
                    float x[tile_k / 8][4]; // log2 P, then P
                    u32 high = 0;           // top bit of a byte: P there reached 448, the end of the head room
                    i32 most[2] = {0, 0};   // bits of the largest log2 P above 0, of the last keys: as integers, positive floats keep their order
                    u32 outgrown;
                    #pragma unroll
                    for (i32 step = 0; step < 4; step++) { // 32 keys: their exponentials, beside the multiply-adds of the next 32
                        if (step == 0) {
                            #pragma unroll
                            for (i32 n = 4 * step; n < 4 * step + 4; n++) {
                                #pragma unroll
                                for (i32 e = 0; e < 4; e++) x[n][e] = (float)rS[0][n][e] * scale[e / 2][n / 8] + shift[e / 2];
                            }
                        }
                        if (step + 1 < 4) {
                            #pragma unroll
                            for (i32 n = 4 * (step + 1); n < 4 * (step + 1) + 4; n++) {
                                #pragma unroll
                                for (i32 e = 0; e < 4; e++) x[n][e] = (float)rS[0][n][e] * scale[e / 2][n / 8] + shift[e / 2];
                            }
                        }
                        if (step + 1 == 4) {
                            #pragma unroll
                            for (i32 n = 4 * step; n < 4 * step + 4; n++) {
                                most[0] = max(max(most[0], __float_as_int(x[n][0])), __float_as_int(x[n][1]));
                                most[1] = max(max(most[1], __float_as_int(x[n][2])), __float_as_int(x[n][3]));
                            }
                            const i32 head_room = __float_as_int(8.75488758f); // log2 432: P from there on rounds to 448
                            outgrown = warpgroup_vote((high & 0x80808080u) != 0 || max(most[0], most[1]) >= head_room, 1 + (u32)warp / 4);
                        }
                        #pragma unroll
                        for (i32 n = 4 * step; n < 4 * step + 4; n++) {
                            #pragma unroll
                            for (i32 e = 0; e < 4; e++) {
                                x[n][e] = ex2(x[n][e]);
                            }
                        }
                        #pragma unroll
                        for (i32 r = 0; r < 4; r++) { // register r: rows l/4 + 8 (r % 2), second half of the step's keys for r >= 2
                            const i32 n = 4 * step + r / 2 * 2, e = r % 2 * 2;
                            const u32 p = pack_e4m3x4(x[n][e], x[n][e + 1], x[n + 1][e], x[n + 1][e + 1]);
                            if (step + 1 < 4) high |= p + 0x02020202u; // 448 is 0x7e; the last keys were looked at before
                            rP[0][step][r] = p;
                        }
                        if (step + 1 < 4) schedule_fence(args, step);
                    }
                    fits = !warpgroup_answer(outgrown);
                }
                if (!fits) { // once more, with a new maximum
                    kept_tiles = 0;
                    continue;
                }
            } else {
                // ---- stage 5/7: mask -------------------------------------------------------------------------------------------------------
                // out: rS int32 scores, `hidden` where the row must not see the key; r_scale log2 units per score
                constexpr i32 hidden = -0x7fffffff - 1; // below every score
                float r_scale[m_tiles][2][2];
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++)
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) // rows l/4, l/4+8
                        #pragma unroll
                        for (i32 s = 0; s < 2; s++) r_scale[m][h][s] = fmaxf(r_q_scale[m][h] * r_k_scale[s], 1e-36f); // never 0: -inf times 0 is no number
                if (j >= tiles_full) { // only the last tiles
                    #pragma unroll
                    for (i32 m = 0; m < m_tiles; m++)
                        #pragma unroll
                        for (i32 h = 0; h < 2; h++) { // rows l/4, l/4+8
                            const i32 last = args.seq_k - 1 - j * tile_k - lane % 4 * 2; // of the keys this lane's columns may see
                            #pragma unroll
                            for (i32 n = 0; n < tile_k / 8; n++)
                                #pragma unroll
                                for (i32 e = 0; e < 2; e++)
                                    if (n * 8 + e > last) rS[m][n][2 * h + e] = hidden;
                            #pragma unroll
                            for (i32 s = 0; s < 2; s++)
                                if (s * 64 > last) r_scale[m][h][s] = -minus_inf; // no key seen: the largest score, hidden, becomes -inf
                        }
                }

                // ---- stage 6/7: softmax -------------------------------------------------------------------------------------------------------
                // in : rS, r_scale      out: rP packed fp8_e4m3, A fragment of PV: rows l/4, l/4+8, keys as the scores are held
                float rF[m_tiles][tile_k / 8][4];
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    float top[2] = {minus_inf, minus_inf}; // of the rows, in log2 units
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) // rows l/4, l/4+8
                        #pragma unroll
                        for (i32 s = 0; s < 2; s++) {
                            i32 most = hidden;
                            #pragma unroll
                            for (i32 n = s * 8; n < (s + 1) * 8; n++) most = max(max(most, rS[m][n][2 * h]), rS[m][n][2 * h + 1]);
                            top[h] = fmaxf(top[h], (float)most * r_scale[m][h][s]);
                        }
                    #pragma unroll
                    for (i32 lanes = 1; lanes < 4; lanes *= 2) // the quad holds the row
                        #pragma unroll
                        for (i32 h = 0; h < 2; h++) top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], lanes));
                    #pragma unroll
                    for (i32 n = 0; n < tile_k / 8; n++)
                        #pragma unroll
                        for (i32 e = 0; e < 4; e++) rF[m][n][e] = (float)rS[m][n][e];
                    if (j >= tiles_full) {
                        #pragma unroll
                        for (i32 n = 0; n < tile_k / 8; n++)
                            #pragma unroll
                            for (i32 e = 0; e < 4; e++)
                                if (rF[m][n][e] == (float)hidden) rF[m][n][e] = minus_inf;
                    }
                    bool grown = false;
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) grown |= top[h] > r_max[m][h] + 4.0f;
                    if (__any_sync(~0u, grown)) {
                        #pragma unroll
                        for (i32 h = 0; h < 2; h++) {
                            const float max_new = top[h] > r_max[m][h] + 4.0f ? top[h] : r_max[m][h];
                            const float shrink = ex2(r_max[m][h] - max_new);
                            r_sum[m][h] *= shrink;
                            #pragma unroll
                            for (i32 n = 0; n < 17; n++) rO[m][n][2 * h] *= shrink, rO[m][n][2 * h + 1] *= shrink;
                            r_max[m][h] = max_new;
                        }
                    }
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) {
                        const float shift = log2_p_one - r_max[m][h]; // score * scale + shift is log2 P, p = 1 at log2_p_one
                        #pragma unroll
                        for (i32 n = 0; n < tile_k / 8; n++) {
                            rF[m][n][2 * h] = ex2(rF[m][n][2 * h] * r_scale[m][h][n / 8] + shift);
                            rF[m][n][2 * h + 1] = ex2(rF[m][n][2 * h + 1] * r_scale[m][h][n / 8] + shift);
                        }
                    }
                    #pragma unroll
                    for (i32 step = 0; step < pv_steps; step++)
                        #pragma unroll
                        for (i32 r = 0; r < 4; r++) { // register r: rows l/4 + 8 (r % 2), second half of the step's keys for r >= 2
                            const i32 n = step * 4 + r / 2 * 2, e = r % 2 * 2;
                            rP[m][step][r] = pack_e4m3x4(rF[m][n][e], rF[m][n][e + 1], rF[m][n + 1][e], rF[m][n + 1][e + 1]);
                        }
                }
                kept_tiles = tiles_full; // where keys are masked, they are made -inf
            }
            mbar_arrive(k_empty + 8 * slot);

            // ---- stage 7/7: pv_gemm ---------------------------------------------------------------------------------------------------
            // in : rP, V tile [panel][d_v][128 bytes] fp8_e4m3, transposed, swizzled, in slot `slot`      out, once waited for: rO
            const u32 desc_v = desc_v_first + slot * (smem_v_stride / 16);
            wgmma_zero(rO[0][d_v / 8]); // the row sum is of this tile alone
            wgmma_fence();
            wgmma_pv(rO[0], rP[0][0], desc_v + 0, j % flush_tiles != 0); // keys 0...
            wgmma_pv(rO[0], rP[0][1], desc_v + 2, true); // keys 32...
            wgmma_pv(rO[0], rP[0][2], desc_v + 4, true); // keys 64...
            wgmma_pv(rO[0], rP[0][3], desc_v + 6, true); // keys 96...
            wgmma_commit();
            const u32 v_read = v_empty + 8 * slot;
            j++;
            if (++slot == stages) slot = 0, phase ^= 1;
            if (j < tile_end) mbar_wait(k_full + 8 * slot, phase);
            wgmma_wait<0>();
            mbar_arrive_warp(v_read, lane);
            r_sum[0][0] += rO[0][d_v / 8][0]; // fp32 adds the row sum of each tile, of which the tensor core loses up to 1 % over several
            r_sum[0][1] += rO[0][d_v / 8][2];
        }
        // ---- key tiles that only rows of other warpgroups see: handed back unread -----------------------------------------------
        {
            const i32 loaded = __shfl_sync(~0u, ((const i32 *)(smem + smem_tile + 32 * q_phase))[5], 0);
            #pragma unroll 1
            for (i32 j = tiles; j < loaded; j++) {
                mbar_wait(k_full + 8 * slot, phase); // or this thread could arrive twice in one phase
                mbar_arrive(k_empty + 8 * slot);
                mbar_wait(v_full + 8 * slot, phase);
                mbar_arrive_warp(v_empty + 8 * slot, lane);
                if (++slot == stages) slot = 0, phase ^= 1;
            }
        }

        mbar_arrive(q_empty);

        // ---- flush of the last tiles: O = master * 2^(old maximum - new maximum) + rO; the tensor core's own sums keep 13 bits ------
        // master: [warpgroup][d_v / 8][thread][4] fp32, each thread its own     flushed: [row] the maximum that master is relative to
        const i32 thread = thread_index_again() - 128; // of the consumers
        float4 *s_master = (float4 *)(smem + smem_master) + thread / 128 * (d_v / 8 * 128) + thread % 128;
        float *s_flushed = (float *)(smem + smem_flushed) + thread / 32 * 16 + thread % 32 / 4;
        const bool first = tiles <= flush_tiles;
        float shrink[2]; // of what was flushed before
        #pragma unroll
        for (i32 h = 0; h < 2; h++) shrink[h] = first ? 0.0f : ex2(s_flushed[8 * h] - r_max[0][h]);
        #pragma unroll
        for (i32 n = 0; n < d_v / 8 && !first; n++) {
            const float4 old = s_master[n * 128];
            rO[0][n][0] += old.x * shrink[0];
            rO[0][n][1] += old.y * shrink[0];
            rO[0][n][2] += old.z * shrink[1];
            rO[0][n][3] += old.w * shrink[1];
        }

        {
            // ---- which query tile it is, as one thread noted it ---------------------------------------------------------------------
            const i32 tile_word = ((const i32 *)(smem + smem_tile + 32 * q_phase))[min(lane, 4)];
            const i32 q_tile = __shfl_sync(~0u, tile_word, 0), head = __shfl_sync(~0u, tile_word, 1), batch = __shfl_sync(~0u, tile_word, 2);
            const i32 q_head = __shfl_sync(~0u, tile_word, 3), kv_index = __shfl_sync(~0u, tile_word, 4);
            const i32 row_first = q_tile * tile_q;

            // ---- epilogue: O and LSE ----------------------------------------------------------------------------------------------------------
            bool seen[m_tiles][2]; // false: the row sees no key at all, O = 0 and LSE = -inf
            float inv[m_tiles][2];
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++)
                #pragma unroll
                for (i32 h = 0; h < 2; h++) {
                    const i32 tile_row = (warp) * 16 + lane / 4 + 8 * h, row = row_first + tile_row;
                    float sum = r_sum[m][h];
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
            u32 rO_io[m_tiles][16][2]; // pairs of columns, rows l/4, l/4+8
            u32 past[m_tiles][2] = {};   // top bit of a half: one of the row's values is infinite or NaN
            #pragma unroll
            for (i32 n = 0; n < 16; n += 2) { // no branch in it: all loads are under way together; columns 32 (n / 4) + 8 (l % 4) + 2 (n % 4) + {0,1,2,3}
                const i32 at = n / 4 * 32 + lane % 4 * 8 + n % 4 * 2;
                const float4 scale = has_keys ? *(const float4 *)(g_v_scale + at) : float4{0.0f, 0.0f, 0.0f, 0.0f};
                const float4 mean = has_keys ? *(const float4 *)(g_v_scale + d_v + at) : float4{0.0f, 0.0f, 0.0f, 0.0f};
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) {
                        const float first = rO[m][n][2 * h] * inv[m][h] * scale.x + mean.x;
                        const float second = rO[m][n][2 * h + 1] * inv[m][h] * scale.y + mean.y;
                        const u32 pair = seen[m][h] ? narrow2(first, second) : 0;
                        rO_io[m][n][h] = pair;
                        past[m][h] |= (pair & 0x7fff7fffu) + 0x00800080u; // an exponent of ones carries into the top bit
                    }
                }
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    #pragma unroll
                    for (i32 h = 0; h < 2; h++) {
                        const float first = rO[m][n + 1][2 * h] * inv[m][h] * scale.z + mean.z;
                        const float second = rO[m][n + 1][2 * h + 1] * inv[m][h] * scale.w + mean.w;
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
                for (i32 h = 0; h < 2; h++) bad |= (past[m][h] & 0x80008000u) != 0 && row_first + (warp) * 16 + lane / 4 + 8 * h < args.seq_q;
            if (bad && args.flags) atomicOr((u32 *)args.flags, 8u);

            u16 *g_o = (u16 *)args.o + batch * args.o_stride_b + q_head * args.o_stride_h;
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++)
                #pragma unroll
                for (i32 h = 0; h < 2; h++) {
                    const i32 row = row_first + (warp) * 16 + lane / 4 + 8 * h;
                    u16 *g_row = g_o + (i64)row * args.o_stride_n;
                    if (row >= args.seq_q) continue;
                    if (args.vector_io & 8) {
                        #pragma unroll
                        for (i32 n = 0; n < 16; n += 4)
                            *(uint4 *)(g_row + n * 8 + lane % 4 * 8) = make_uint4(rO_io[m][n][h], rO_io[m][n + 1][h], rO_io[m][n + 2][h], rO_io[m][n + 3][h]);
                    } else {
                        #pragma unroll
                        for (i32 n = 0; n < 16; n++) {
                            u16 *g_pair = g_row + n / 4 * 32 + lane % 4 * 8 + n % 4 * 2;
                            g_pair[0] = (u16)rO_io[m][n][h];
                            g_pair[1] = (u16)(rO_io[m][n][h] >> 16);
                        }
                    }
                }
        }
        q_phase ^= 1;
    }
}
