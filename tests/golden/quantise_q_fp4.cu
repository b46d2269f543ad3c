// fp4_d64_quantise_q_q128_k128_s3_w8_sm_120a_bf16
// Q quantised to tile images in the workspace (QK in nvfp4, PV in nvfp4)
//
// spec fp4_d64 (hash eeb9e4c92e341307)   variant q128_k128_s3_w8   target sm_120a   io bf16   mask none
// made by sagegen 0.1.0 from templates/quantise_q.cu.tl
// again: sagegen expand --spec specs/fp4_d64.yaml --role quantise_q --arch sm_120a --io bf16 --mask none --variant q128_k128_s3_w8

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

constexpr i32 threads = 256;
constexpr i32 chunks = d_qk / 8;             // 16-byte chunks of a Q row
constexpr float log2_e = 1.44269504f;

// Eight consecutive bf16 elements from global memory, read once; zeros where `inside` is false. g: 16-byte aligned. PTX ISA 9.7.9.8, sm_70.
__device__ __forceinline__ void load8_aligned(u32 (&r)[4], const u16 *g, bool inside)
{
    r[0] = r[1] = r[2] = r[3] = 0;
    asm volatile("{ .reg .pred inside;\n"
                 "setp.ne.u32 inside, %5, 0;\n"
                 "@inside ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4]; }"
                 : "+r"(r[0]), "+r"(r[1]), "+r"(r[2]), "+r"(r[3]) : "l"(g), "r"((u32)inside));
}

// One bf16 element as fp32.
__device__ __forceinline__ float widen(u16 x)
{
    return __uint_as_float((u32)x << 16);
}

// Programmatic dependent launch: the next kernel of the stream may start once every block has come here; it waits by itself. Does nothing
// where that kernel was not launched so. PTX ISA 9.7.13.13, sm_90.
__device__ __forceinline__ void launch_dependents()
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// Programmatic dependent launch: waits until the launch before has ended and its writes are visible. That one has waited for its own, and so
// on, so all launches of this call before this one have then ended. Does nothing after an ordinary launch. PTX ISA 9.7.13.13, sm_90.
__device__ __forceinline__ void wait_for_launches()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

// e2m1 codes {0, .5, 1, 1.5, 2, 3, 4, 6}: round to nearest, ties to the even code, saturating; sign in bit 3. Plain arithmetic, so that
// the quantiser runs on every GPU.
__device__ __forceinline__ u32 e2m1_code(float x)
{
    const float y = fminf(fabsf(x), 6.0f);
    const float step = y < 2.0f ? 2.0f : y < 4.0f ? 1.0f : 0.5f;          // codes per unit in this binade
    const float base = y < 2.0f ? 0.0f : y < 4.0f ? 2.0f : 4.0f;          // code offset of the binade
    return (u32)__float2int_rn(y * step) + (u32)base + (x < 0.0f ? 8u : 0u);
}

// Magnitude that the code stands for.
__device__ __forceinline__ float e2m1_value(u32 code)
{
    const u32 c = code & 7u;
    return c < 4u ? 0.5f * (float)c : c < 6u ? (float)c - 2.0f : 2.0f * (float)c - 8.0f;
}

// x rounded to e4m3 (nearest even, saturating at 448): its code, and its value. PTX ISA 9.7.9.21, sm_89.
__device__ __forceinline__ u32 e4m3_code(float x)
{
    u16 r;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %2, %1;" : "=h"(r) : "f"(x), "f"(0.0f));
    return r & 0xffu;
}

__device__ __forceinline__ float e4m3_value(u32 code)
{
    u32 pair;
    u16 low = (u16)code;
    float y;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"(low));
    low = (u16)pair;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(low));
    return y;
}

// Divisors of a block's maximum that are tried as its scale; the one with the least squared error is kept.
__constant__ float scale_divisors[6] = {6.5f, 6.0f, 5.5f, 5.0f, 4.5f, 4.0f};

// Scale amax / divisor as ue4m3, never 0: its code; its value through e4m3_value().
__device__ __forceinline__ u32 block_scale_code(float amax, float divisor)
{
    return max(e4m3_code(amax / divisor), 1u);
}

__device__ __forceinline__ float block_scale_value(u32 code)
{
    return e4m3_value(code);
}

// Sum of squared errors of eight values quantised with the inverse scale `inv`, in units of the scale.
__device__ __forceinline__ float e2m1_error8(const float (&x)[8], float inv)
{
    float error = 0.0f;
    #pragma unroll
    for (i32 e = 0; e < 8; e++) {
        const float y = fabsf(x[e] * inv), r = y - e2m1_value(e2m1_code(y));
        error += r * r;
    }
    return error;
}

// x = H x / sqrt(64): 3 butterflies inside a thread, the others between the 8 lanes that hold a block. All lanes take part.
__device__ __forceinline__ void hadamard8(float (&x)[8])
{
    #pragma unroll
    for (i32 step = 1; step < 8; step *= 2)
        #pragma unroll
        for (i32 e = 0; e < 8; e++)
            if (!(e & step)) {
                const float a = x[e], b = x[e + step];
                x[e] = a + b;
                x[e + step] = a - b;
            }
    #pragma unroll
    for (i32 step = 1; step < 8; step *= 2)
        #pragma unroll
        for (i32 e = 0; e < 8; e++) {
            const float other = __shfl_xor_sync(~0u, x[e], step);
            x[e] = threadIdx.x & step ? other - x[e] : x[e] + other;
        }
    #pragma unroll
    for (i32 e = 0; e < 8; e++) x[e] *= 0.125f;
}

// lo in bits 0-15, hi in bits 16-31, as bf16. PTX ISA 9.7.9.21, sm_80.
__device__ __forceinline__ u32 narrow2(float lo, float hi)
{
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

// x, or 0 where x is infinite or not a number; `bad` remembers that.
__device__ __forceinline__ float finite(float x, bool &bad)
{
    const bool ok = fabsf(x) <= 3.402823466e38f;
    bad |= !ok;
    return ok ? x : 0.0f;
}

// Eight packed elements as fp32, non-finite ones as 0.
__device__ __forceinline__ void widen8(float (&x)[8], const u32 (&r)[4], bool &bad)
{
    #pragma unroll
    for (i32 i = 0; i < 8; i++) x[i] = finite(widen((u16)(r[i / 2] >> (i % 2 * 16))), bad);
}

// Eight consecutive elements from any address; zeros where `inside` is false.
__device__ __forceinline__ void load8_any(u32 (&r)[4], const u16 *g, bool inside)
{
    #pragma unroll
    for (i32 i = 0; i < 4; i++) r[i] = inside ? (u32)g[2 * i] | (u32)g[2 * i + 1] << 16 : 0;
}

// grid: Q tiles of all heads
extern "C" __global__ void __launch_bounds__(threads, 2) fp4_d64_quantise_q_q128_k128_s3_w8_sm_120a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ __align__(16) u8 smem[1792];
    const i32 tid = threadIdx.x;
    __builtin_assume(tid >= 0 && tid < threads); // quotients of it by powers of two are then shifts
    const i32 tile = (i32)(blockIdx.x % args.q_tile_count);
    const i64 head = blockIdx.x / args.q_tile_count; // batch * heads_q + query head
    const i32 batch = (i32)(head / args.heads_q), q_head = (i32)(head % args.heads_q);
    const i32 rows_left = args.seq_q - tile * tile_q;
    bool bad = false; // a non-finite element was seen
    launch_dependents(); // its blocks fill the SMs that this grid's last blocks leave
    wait_for_launches(); // nothing of the workspace is read or written before

    // ---- nothing of K and V is done yet --------------------------------------------------------------------------------
    // the counter of pieces, then one counter for each K and V
    const i64 counters = 1 + 2 * (i64)args.batch * args.heads_kv;
    for (i64 i = (i64)blockIdx.x * threads + tid; i < counters; i += (i64)gridDim.x * threads) ((u32 *)args.progress)[i] = 0;

    const u16 *g_head = (const u16 *)args.q + batch * args.q_stride_b + q_head * args.q_stride_h;
    const u16 *g_rows = g_head + (i64)tile * tile_q * args.q_stride_n;
    // items of 8 elements; item i of a thread is chunk (i * threads + tid) % chunks of row (i * threads + tid) / chunks
    constexpr i32 items = tile_q * chunks / threads;
    static_assert(items * threads == tile_q * chunks, "a tile is a whole number of items per thread");
    float *s_work = (float *)(smem + 4 * d_qk);
    // ---- mean of each group of 64 query rows, over the rows that exist ------------------------------------------
    // out: s_q_mean[tile_q / q_group][d_qk] fp32, and the same in the workspace
    constexpr i32 q_group = 64;
    float *s_q_mean = s_work;
    s_work += tile_q / q_group * d_qk;
    for (i32 item = tid; item < tile_q / q_group * d_qk; item += threads) {
        const i32 group = item / d_qk, c = item % d_qk;
        const i32 count = min(rows_left - group * q_group, q_group);
        float sum = 0.0f;
        if (c < head_dim_qk)
            for (i32 r = 0; r < count; r++) sum += finite(widen(g_rows[(group * q_group + r) * args.q_stride_n + c]), bad);
        s_q_mean[item] = count > 0 ? sum / (float)count : 0.0f;
        ((float *)args.q_mean)[(head * args.q_tile_count + tile) * (tile_q / q_group * d_qk) + item] = s_q_mean[item];
    }
    __syncthreads();

    // ---- pass 1: the largest magnitude gives the second-level scale, fp32, amax / (448 * 6) -----------------------------
    u32 *s_amax = (u32 *)s_work; // fp32 bits; magnitudes order as integers
    constexpr i32 groups = tile_q / q_group;
    for (i32 g = tid; g < groups; g += threads) s_amax[g] = 0;
    __syncthreads();
    #pragma unroll 1
    for (i32 i = 0; i < items; i++) {
        const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
        u32 raw[4];
        float x[8];
        const u16 *g_item = g_rows + row * args.q_stride_n + chunk * 8;
        const bool inside = row < rows_left && chunk * 8 < head_dim_qk;
        if (args.vector_io & 1)
            load8_aligned(raw, g_item, inside);
        else
            load8_any(raw, g_item, inside);
        widen8(x, raw, bad);
        #pragma unroll
        for (i32 e = 0; e < 8; e++) x[e] = row < rows_left ? x[e] - s_q_mean[row / q_group * d_qk + chunk * 8 + e] : 0.0f;
        hadamard8(x); // along the head dim, over blocks of 64 channels, orthonormal
        float amax = 0.0f;
        #pragma unroll
        for (i32 e = 0; e < 8; e++) amax = fmaxf(amax, fabsf(x[e]));
        amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 1));
        amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 2)); // the 4 lanes hold chunks of one row
        if (tid % 4 == 0) atomicMax(&s_amax[row / (tile_q / groups)], __float_as_uint(amax));
    }
    __syncthreads();
    float *g_scale = (float *)args.q_scale + (head * args.q_tile_count + tile) * tile_q;
    for (i32 row = tid; row < tile_q; row += threads) {
        const float amax = __uint_as_float(s_amax[row / (tile_q / groups)]);
        g_scale[row] = (amax > 0.0f ? amax * 0.000372023816f : 1.0f) * args.sm_scale * log2_e; // log2 units per score
    }
    u8 *g_image = (u8 *)args.q_tiles + (head * args.q_tile_count + tile) * q_tile_bytes;
    u8 *g_sf = g_image + q_data_bytes;

    // ---- pass 2: block scales of 16 elements, codes --------------------------------------------------------------
    constexpr i32 steps = d_qk / 64; // k steps of the block-scaled MMA
    #pragma unroll 1
    for (i32 i = 0; i < items; i++) {
        const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
        u32 raw[4];
        float x[8];
        const u16 *g_item = g_rows + row * args.q_stride_n + chunk * 8;
        const bool inside = row < rows_left && chunk * 8 < head_dim_qk;
        if (args.vector_io & 1)
            load8_aligned(raw, g_item, inside);
        else
            load8_any(raw, g_item, inside);
        widen8(x, raw, bad);
        #pragma unroll
        for (i32 e = 0; e < 8; e++) x[e] = row < rows_left ? x[e] - s_q_mean[row / q_group * d_qk + chunk * 8 + e] : 0.0f;
        hadamard8(x); // along the head dim, over blocks of 64 channels, orthonormal
        const float second = __uint_as_float(s_amax[row / (tile_q / groups)]);
        const float to_unit = second > 0.0f ? 2688.0f / second : 0.0f;
        float amax = 0.0f;
        #pragma unroll
        for (i32 e = 0; e < 8; e++) {
            x[e] *= to_unit;
            amax = fmaxf(amax, fabsf(x[e]));
        }
        amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 1));
        u32 scale = 0;
        float inv = 0.0f, least = 3.402823466e38f;
        #pragma unroll 1
        for (i32 c = 0; c < 6; c++) {
            const u32 code = block_scale_code(amax, scale_divisors[c]);
            const float value = block_scale_value(code);
            float error = e2m1_error8(x, 1.0f / value);
            error += __shfl_xor_sync(~0u, error, 1);
            error *= value * value;
            if (error < least) scale = code, inv = 1.0f / value, least = error;
        }
        u32 packed = 0;
        #pragma unroll
        for (i32 e = 0; e < 8; e++) packed |= e2m1_code(x[e] * inv) << (4 * e);
        const i32 panel = chunk * 4 / qk_panel_bytes, byte = chunk * 4 % qk_panel_bytes;
        u8 *g_row = g_image + (panel * tile_q + row) * qk_panel_bytes;
        *(u32 *)(g_row + (byte / 16 ^ row / 4 % 2) * 16 + byte % 16) = packed;

        // block scales, in the order of the MMA's lanes: byte = block within a k step of 64
        if (chunk % 2 == 0) {
            const i32 step = chunk / 8, block_byte = chunk % 8 / 2;
            const i32 lane = 4 * (row % 8) + row % 16 / 8 + 2 * (step % 2);
            u8 *g_word = g_sf + ((row / 16 * ((steps + 1) / 2) + step / 2) * 32 + lane) * 4;
            g_word[block_byte] = (u8)scale;
            if (steps % 2 == 1 && step == steps - 1) {
                g_word[8 + block_byte] = (u8)scale; // lanes of the k step that does not exist
            }
        }
    }
    if (bad && args.flags) atomicOr((u32 *)args.flags, 1u);
}
