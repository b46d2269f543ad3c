// int8_fp16_d64_attn_fwd_q128_k128_s2_w8_sm_80_bf16_causal
// O = softmax(Q K^T * sm_scale) V   QK in int8, PV in fp16
//
// spec int8_fp16_d64 (hash 2c85c609f49ea2bd)   variant q128_k128_s2_w8   target sm_80   io bf16   mask causal
// made by sagegen 0.1.0 from templates/attn_fwd_mma.cu.tl
// again: sagegen expand --spec specs/int8_fp16_d64.yaml --role attn_fwd --arch sm_80 --io bf16 --mask causal --variant q128_k128_s2_w8

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
constexpr i32 qk_row_bytes = 64;              // of a quantised Q or K row: d_qk elements, int8
constexpr i32 qk_panel_bytes = 64;            // rows are cut into panels this wide: [panel][row][bytes]
constexpr i32 v_row_bytes = 256;              // of a quantised, transposed V row: tile_k keys, fp16
constexpr i32 v_panel_bytes = 128;            // as qk_panel_bytes
constexpr i32 q_data_bytes = tile_q * qk_row_bytes;
constexpr i32 k_data_bytes = tile_k * qk_row_bytes;
constexpr i32 v_data_bytes = d_v * v_row_bytes;
constexpr i32 k_scale_keys = 64;              // consecutive keys that share a set of scales
constexpr i32 k_scales = 8;                   // fp32 scales behind K's data: for each set of keys, one for those with the same (key % 8) / 2
constexpr i32 q_tile_bytes = q_data_bytes;
constexpr i32 k_tile_bytes = k_data_bytes + 4 * k_scales;
constexpr i32 v_tile_bytes = v_data_bytes;
static_assert(q_tile_bytes == 8192 && k_tile_bytes == 8224 && v_tile_bytes == 16384, "workspace layout");

constexpr i32 warps = 8;
constexpr i32 threads = 32 * warps;
constexpr i32 m_tiles = 1;                         // 16-row MMA tiles of a warp
constexpr i32 stages = 2;                          // K and V tiles in flight
constexpr float log2_p_one = 0.0f;  // log2 of what p = 1 is stored as, leaving room for lazy rescaling

// ---- shared memory ----------------------------------------------------------------------------------------------------
//   Q        offset      0    8192 bytes  [128][64] int8, panels of 64 bytes, swizzled
//   K        offset   8192   16640 bytes  2 x [128][64] int8, panels of 64 bytes, swizzled; scales
//   V        offset  24832   32768 bytes  2 x [64][128] fp16 transposed, panels of 128 bytes, swizzled
constexpr i32 smem_q = 0;
constexpr i32 smem_k = 8192, smem_k_stride = 8320;
constexpr i32 smem_v = 24832, smem_v_stride = 16384;
static_assert(smem_k >= q_tile_bytes && smem_k_stride >= k_tile_bytes && smem_v_stride >= v_tile_bytes, "regions overlap");
static_assert(smem_v + stages * smem_v_stride <= 57600, "shared memory of the launch");

// ---- cost of one tile of keys, per block ------------------------------------------------------------------------------
//   QK: 256 MMA   PV: 512 MMA   ex2: 16384   bytes loaded: 24608

// 16 bytes from global to shared memory, asynchronously, past L1; and its groups. PTX ISA 9.7.9.25.3, sm_80.
__device__ __forceinline__ void cp_async16(u32 s_dst, const void *g_src)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(s_dst), "l"(g_src) : "memory");
}

__device__ __forceinline__ void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <i32 pending> __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8x8 matrices of 16-bit elements: lanes 8i..8i+7 give the row addresses of matrix i; lane l receives bytes 4(l%4)..+3 of row l/4
// of each. PTX ISA 9.7.14.5.15, sm_75.
__device__ __forceinline__ void ldmatrix_x4(u32 (&r)[4], u32 s_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s_row) : "memory");
}

// D += A B: A 16x32 (lane l: rows l/4, l/4+8; bytes 4(l%4)..+3 and +16), B 32x8 (column l/4, the same bytes),
// D (rows l/4, l/4+8; columns 2(l%4)+{0,1}). PTX ISA 9.7.14.5, sm_80.
__device__ __forceinline__ void mma_m16n8k32_s8(i32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x, relative error 2^-22, ex2(-inf) = +0. PTX ISA 9.7.3.20, sm_50.
__device__ __forceinline__ float ex2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two fp32 to packed fp16, lo in bits 0-15, round to nearest even. PTX ISA 9.7.9.21, sm_80.
__device__ __forceinline__ u32 pack_f16x2(float lo, float hi)
{
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

// D += A B: A 16x16 (lane l: rows l/4, l/4+8; bytes 4(l%4)..+3 and +16), B 16x8 (column l/4, the same bytes),
// D (rows l/4, l/4+8; columns 2(l%4)+{0,1}). PTX ISA 9.7.14.5, sm_80.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
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
extern "C" __global__ void __launch_bounds__(threads, 1) int8_fp16_d64_attn_fwd_q128_k128_s2_w8_sm_80_bf16_causal(const __grid_constant__ kernel_args args)
{
    extern __shared__ __align__(128) u8 smem[];
    const float minus_inf = __int_as_float(0xff800000);
    const u32 s_base = (u32)__cvta_generic_to_shared(smem);
    const i32 tid = threadIdx.x, warp = tid / 32, lane = tid % 32;

    // ---- stage 1/7: tile coordinates --------------------------------------------------------------------------------------
    // out: q_tile q_head batch head kv_index
    // Longest first, over heads whose K and V, counted once a query head, take 24 MB of the L2 cache: short tiles fill the gaps that long ones leave.
    const i32 heads_all = args.batch * args.heads_q;
    const i32 heads_together = max(1, min(heads_all, 131072 / max(1, args.seq_k)));
    const i32 head_first = (i32)blockIdx.x / (heads_together * args.q_tile_launch) * heads_together;
    const i32 rank = (i32)blockIdx.x - head_first * args.q_tile_launch, heads_here = min(heads_together, heads_all - head_first);
    const i32 q_tile = args.q_tile_first + args.q_tile_launch - 1 - rank / heads_here;
    const i32 head = head_first + rank % heads_here; // batch * heads_q + query head
    const i32 batch = head / args.heads_q, q_head = head % args.heads_q;
    const i32 kv_index = batch * args.heads_kv + q_head / (args.heads_q / args.heads_kv);
    // row_first: first query row of the tile; key_shift: key = row + key_shift is the diagonal
    // tiles: key tiles to visit; tiles_full: no mask touches the tiles before this one
    const i32 row_first = q_tile * tile_q;
    const i32 key_shift = args.seq_k - args.seq_q; // the last query sees the last key
    const i32 keys_seen = max(0, min(args.seq_k, row_first + tile_q + key_shift));
    const i32 tiles = (keys_seen + tile_k - 1) / tile_k;
    const i32 tiles_full = max(0, min(row_first + key_shift + 1, args.seq_k)) / tile_k;

    // ---- stage 2/7: load issue --------------------------------------------------------------------------------------------
    // A tile is one linear copy: the workspace holds it as shared memory does. One cp.async group per key tile; Q joins the first.
    const u8 *g_q = (const u8 *)args.q_tiles + ((i64)head * args.q_tile_count + q_tile) * q_tile_bytes;
    const u8 *g_k = (const u8 *)args.k_tiles + (i64)kv_index * args.k_tile_count * k_tile_bytes;
    const u8 *g_v = (const u8 *)args.v_tiles + (i64)kv_index * args.k_tile_count * v_tile_bytes;
    auto load_tile = [&](i32 tile) {
        if (tile < tiles) {
            const i32 slot = tile % stages;
            const u32 s_k = s_base + smem_k + slot * smem_k_stride, s_v = s_base + smem_v + slot * smem_v_stride;
            for (i32 i = tid * 16; i < k_tile_bytes; i += threads * 16) cp_async16(s_k + i, g_k + (i64)tile * k_tile_bytes + i);
            for (i32 i = tid * 16; i < v_tile_bytes; i += threads * 16) cp_async16(s_v + i, g_v + (i64)tile * v_tile_bytes + i);
        }
        cp_async_commit(); // an empty group keeps the count
    };
    for (i32 i = tid * 16; i < q_tile_bytes; i += threads * 16) cp_async16(s_base + smem_q + i, g_q + i);
    #pragma unroll
    for (i32 tile = 0; tile < stages - 1; tile++) load_tile(tile);

    cp_async_wait<stages - 2>();
    __syncthreads();
    // ---- Q: fragments and scales into registers ---------------------------------------------------------------------------
    // out: rQ[m_tiles][qk_steps][4] (lane l: rows l/4, l/4+8; bytes 4(l%4)..+3 and +16 of each 32-byte step)
    //      r_q_scale[m_tiles][2], log2 units per score (per_thread)
    constexpr i32 qk_steps = qk_row_bytes / 32; // MMA steps along the head dim
    u32 rQ[m_tiles][qk_steps][4];
    float r_q_scale[m_tiles][2];
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++) {
        const i32 row = (warp * m_tiles + m) * 16 + lane % 16; // matrices 0, 1: rows 0-7, 8-15 of bytes 0-15; 2, 3: of bytes 16-31
        #pragma unroll
        for (i32 step = 0; step < qk_steps; step++) {
            const i32 panel = step * 32 / qk_panel_bytes, chunk = step * 2 % (qk_panel_bytes / 16) + lane / 16;
            ldmatrix_x4(rQ[m][step], s_base + smem_q + (panel * tile_q + row) * qk_panel_bytes + (chunk ^ row / 2 % 4) * 16);
        }
        const float *g_scale = (const float *)args.q_scale + ((i64)head * args.q_tile_count + q_tile) * tile_q + (warp * m_tiles + m) * 16;
        r_q_scale[m][0] = g_scale[lane / 4];
        r_q_scale[m][1] = g_scale[lane / 4 + 8];
    }

    // ---- running state: lane l holds rows l/4, l/4+8 of each 16; columns 8n + 2(l%4) + {0,1} --------------------------------
    float rO[m_tiles][d_v / 8][4];
    constexpr float no_key = -3.402823466e38f; // maximum of a row that has seen no key: finite, so that a score of -inf stays -inf
    float r_max[m_tiles][2], r_sum[m_tiles][2]; // maximum in log2 units; sum of P in units of 2^log2_p_one
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++) {
        r_max[m][0] = r_max[m][1] = no_key;
        r_sum[m][0] = r_sum[m][1] = 0.0f;
        #pragma unroll
        for (i32 n = 0; n < d_v / 8; n++) rO[m][n][0] = rO[m][n][1] = rO[m][n][2] = rO[m][n][3] = 0.0f;
    }

    // ---- main loop over tiles of keys ---------------------------------------------------------------------------------
    #pragma unroll 1
    for (i32 j = 0; j < tiles; j++) {
        const i32 slot = j % stages;
        // ---- stage 3/7: load wait ---------------------------------------------------------------------------------------------
        cp_async_wait<stages - 2>(); // this thread's part of tile j
        __syncthreads();             // everybody's part; and everybody is done with tile j - 1, whose slot is filled next
        load_tile(j + stages - 1);
        const u32 s_k = s_base + smem_k + slot * smem_k_stride, s_v = s_base + smem_v + slot * smem_v_stride;
        const u8 *k_tail = smem + smem_k + slot * smem_k_stride + k_data_bytes; // scales behind K's codes

        i32 rS[m_tiles][tile_k / 8][4];
        // ---- stage 4/7: qk_gemm -------------------------------------------------------------------------------------------------
        // in : rQ, K tile [panel][tile_k][64 bytes] int8, swizzled      out: rS i32: rows l/4, l/4+8; keys 8n + 2(l%4) + {0,1}
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++)
            #pragma unroll
            for (i32 n = 0; n < tile_k / 8; n++) rS[m][n][0] = rS[m][n][1] = rS[m][n][2] = rS[m][n][3] = 0;
        #pragma unroll
        for (i32 n = 0; n < tile_k / 8; n += 2) { // two n8 tiles: matrices 0, 1 keys 0-7 of bytes 0-15, 16-31; matrices 2, 3 keys 8-15
            #pragma unroll
            for (i32 step = 0; step < qk_steps; step++) {
                const i32 key = n * 8 + lane % 8 + lane / 16 * 8;
                const i32 panel = step * 32 / qk_panel_bytes, chunk = step * 2 % (qk_panel_bytes / 16) + lane / 8 % 2;
                u32 rK[4];
                ldmatrix_x4(rK, s_k + (panel * tile_k + key) * qk_panel_bytes + (chunk ^ key / 2 % 4) * 16);
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    mma_m16n8k32_s8(rS[m][n], rQ[m][step], rK[0], rK[1]);
                    mma_m16n8k32_s8(rS[m][n + 1], rQ[m][step], rK[2], rK[3]);
                }
            }
        }

        float r_k_scale[2]; // a set for each 64 keys of the tile
        #pragma unroll
        for (i32 s = 0; s < 2; s++) r_k_scale[s] = ((const float *)k_tail)[s * 4 + lane % 4];
        // ---- stage 5/7: mask -------------------------------------------------------------------------------------------------------
        // out: rF fp32 scores in code units, -inf where the row must not see the key
        float rF[m_tiles][tile_k / 8][4];
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++)
            #pragma unroll
            for (i32 n = 0; n < tile_k / 8; n++)
                #pragma unroll
                for (i32 e = 0; e < 4; e++)
                    rF[m][n][e] = (float)rS[m][n][e];
        if (j >= tiles_full) { // only the last tiles and those on the diagonal
            #pragma unroll
            for (i32 m = 0; m < m_tiles; m++)
                #pragma unroll
                for (i32 h = 0; h < 2; h++) { // rows l/4, l/4+8
                    const i32 row = row_first + (warp * m_tiles + m) * 16 + lane / 4 + 8 * h;
                    const i32 last = min(row + key_shift, args.seq_k - 1) - j * tile_k - lane % 4 * 2; // of the keys this lane's columns may see
                    #pragma unroll
                    for (i32 n = 0; n < tile_k / 8; n++)
                        #pragma unroll
                        for (i32 e = 0; e < 2; e++)
                            if (n * 8 + e > last) rF[m][n][2 * h + e] = minus_inf;
                }
        }

        constexpr i32 pv_steps = v_row_bytes / 32; // MMA steps along the keys
        u32 rP[m_tiles][pv_steps][4];
        // ---- stage 6/7: softmax -------------------------------------------------------------------------------------------------------
        // in : rF, r_q_scale, r_k_scale      out: rP packed fp16, A fragment of PV: rows l/4, l/4+8, keys as the scores are held
        #pragma unroll
        for (i32 m = 0; m < m_tiles; m++) {
            float top[2] = {minus_inf, minus_inf}; // of the rows, in log2 units
            float scale[2][2];
            #pragma unroll
            for (i32 h = 0; h < 2; h++) // rows l/4, l/4+8
                #pragma unroll
                for (i32 s = 0; s < 2; s++) {
                    scale[h][s] = fmaxf(r_q_scale[m][h] * r_k_scale[s], 1e-36f); // never 0: -inf times 0 is no number
                    float most = minus_inf;
                    #pragma unroll
                    for (i32 n = s * 8; n < (s + 1) * 8; n++) most = fmaxf(most, fmaxf(rF[m][n][2 * h], rF[m][n][2 * h + 1]));
                    top[h] = fmaxf(top[h], most * scale[h][s]);
                }
            #pragma unroll
            for (i32 lanes = 1; lanes < 4; lanes *= 2) // the quad holds the row
                #pragma unroll
                for (i32 h = 0; h < 2; h++) top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], lanes));
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
                    for (i32 n = 0; n < d_v / 8; n++) rO[m][n][2 * h] *= shrink, rO[m][n][2 * h + 1] *= shrink;
                    r_max[m][h] = max_new;
                }
            }
            #pragma unroll
            for (i32 h = 0; h < 2; h++) {
                const float shift = log2_p_one - r_max[m][h]; // score * scale + shift is log2 P, p = 1 at log2_p_one
                #pragma unroll
                for (i32 n = 0; n < tile_k / 8; n++) {
                    rF[m][n][2 * h] = ex2(rF[m][n][2 * h] * scale[h][n / 8] + shift);
                    rF[m][n][2 * h + 1] = ex2(rF[m][n][2 * h + 1] * scale[h][n / 8] + shift);
                    r_sum[m][h] += rF[m][n][2 * h] + rF[m][n][2 * h + 1]; // this lane's keys; the quad joins at the end
                }
            }
            #pragma unroll
            for (i32 step = 0; step < pv_steps; step++)
                #pragma unroll
                for (i32 r = 0; r < 4; r++) { // register r: rows l/4 + 8 (r % 2), second half of the step's keys for r >= 2
                    const i32 n = step * 2 + r / 2, e = r % 2 * 2;
                    rP[m][step][r] = pack_f16x2(rF[m][n][e], rF[m][n][e + 1]);
                }
        }

        // ---- stage 7/7: pv_gemm ---------------------------------------------------------------------------------------------------------
        // in : rP, V tile [panel][d_v][128 bytes] fp16, transposed, swizzled      out: rO
        #pragma unroll
        for (i32 n = 0; n < d_v / 8; n += 2) { // two n8 tiles of channels
            const i32 channel = n * 8 + lane % 8 + lane / 16 * 8;
            #pragma unroll
            for (i32 step = 0; step < pv_steps; step++) {
                const i32 panel = step * 32 / v_panel_bytes, chunk = step * 2 % (v_panel_bytes / 16) + lane / 8 % 2;
                u32 rV[4];
                ldmatrix_x4(rV, s_v + (panel * d_v + channel) * v_panel_bytes + (chunk ^ channel % 8) * 16);
                #pragma unroll
                for (i32 m = 0; m < m_tiles; m++) {
                    mma_m16n8k16_f16(rO[m][n], rP[m][step], rV[0], rV[1]);
                    mma_m16n8k16_f16(rO[m][n + 1], rP[m][step], rV[2], rV[3]);
                }
            }
        }
    }

    // ---- epilogue: O and LSE ----------------------------------------------------------------------------------------------------------
    bool seen[m_tiles][2]; // false: the row sees no key at all, O = 0 and LSE = -inf
    float inv[m_tiles][2];
    #pragma unroll
    for (i32 m = 0; m < m_tiles; m++)
        #pragma unroll
        for (i32 h = 0; h < 2; h++) {
            const i32 tile_row = (warp * m_tiles + m) * 16 + lane / 4 + 8 * h, row = row_first + tile_row;
            float sum = r_sum[m][h];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2); // each lane summed its own keys
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
