// int8_fp8_d128_quantise_q_q192_k128_s3_w12_f16_sm_90a_bf16
// Q quantised to tile images in the workspace (QK in int8, PV in fp8_e4m3)
//
// spec int8_fp8_d128 (hash c9740032ff0f3cee)   variant q192_k128_s3_w12_f16   target sm_90a   io bf16   mask none
// made by sagegen 0.1.0 from templates/quantise_q.cu.tl
// again: sagegen expand --spec specs/int8_fp8_d128.yaml --role quantise_q --arch sm_90a --io bf16 --mask none --variant q192_k128_s3_w12_f16

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

constexpr u32 largest2 = 0x7f7f7f7fu; // a pair of the largest finite bf16

// The larger, or smaller, of each half of a pair of bf16; NaN where there is one. PTX ISA 9.7.4.7, 9.7.4.8, sm_80.
__device__ __forceinline__ u32 max2(u32 a, u32 b)
{
    u32 r;
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

__device__ __forceinline__ u32 min2(u32 a, u32 b)
{
    u32 r;
    asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

// Whether neither half is infinite or not a number.
__device__ __forceinline__ bool finite2(u32 pair)
{
    return (pair & 0x7f80u) != 0x7f80u && (pair & 0x7f800000u) != 0x7f800000u;
}

// The largest magnitudes of the four first and of the four second halves; infinite or not a number where an element is.
__device__ __forceinline__ u32 magnitude2(const u32 (&r)[4])
{
    return max2(max2(r[0] & 0x7fff7fffu, r[1] & 0x7fff7fffu), max2(r[2] & 0x7fff7fffu, r[3] & 0x7fff7fffu));
}

// Infinite elements and those that are not a number become 0; `bad` remembers that.
__device__ __forceinline__ void drop_nonfinite(u32 (&r)[4], bool &bad)
{
    #pragma unroll
    for (i32 i = 0; i < 4; i++) {
        bad |= !finite2(r[i]);
        if ((r[i] & 0x7f80u) == 0x7f80u) r[i] &= 0xffff0000u;
        if ((r[i] & 0x7f800000u) == 0x7f800000u) r[i] &= 0xffffu;
    }
}

// Eight consecutive elements from any address; zeros where `inside` is false.
__device__ __forceinline__ void load8_any(u32 (&r)[4], const u16 *g, bool inside)
{
    #pragma unroll
    for (i32 i = 0; i < 4; i++) r[i] = inside ? (u32)g[2 * i] | (u32)g[2 * i + 1] << 16 : 0;
}

// Row j of `count` lies j / pair * apart + j % pair rows of the tensor behind the one at g, `stride` elements each; zeros where that is
// `rows` or more.
// clean: also for elements that are not finite. For what is rare: a loop, through which the rows move down in registers, where loads of 2 bytes
// side by side would crowd registers and code.
template <i32 count>
__device__ __forceinline__ void load_rows_any(u32 (*r)[4], const u16 *g, i64 stride, i32 pair, i32 apart, i32 rows, bool clean, bool &bad)
{
    #pragma unroll 1
    for (i32 j = 0; j < count; j++) {
        const i32 row = j / pair * apart + j % pair;
        u32 x[4];
        load8_any(x, g + row * stride, row < rows);
        if (clean) drop_nonfinite(x, bad);
        #pragma unroll
        for (i32 i = 0; i < 4 * count; i++) r[i / 4][i % 4] = i < 4 * (count - 1) ? r[i / 4 + 1][i % 4] : x[i % 4];
    }
}

// Four products x * inv, |x * inv| < 128, rounded to nearest even, as packed int8: added to 1.5 * 2^23, a float's low bits are the integer.
__device__ __forceinline__ u32 pack_s8x4(float a, float b, float c, float d, float inv)
{
    const u32 lo = __byte_perm(__float_as_uint(__fmaf_rn(a, inv, 12582912.0f)), __float_as_uint(__fmaf_rn(b, inv, 12582912.0f)), 0x0040);
    const u32 hi = __byte_perm(__float_as_uint(__fmaf_rn(c, inv, 12582912.0f)), __float_as_uint(__fmaf_rn(d, inv, 12582912.0f)), 0x0040);
    return __byte_perm(lo, hi, 0x5410);
}

// grid: Q tiles of all heads
extern "C" __global__ void __launch_bounds__(threads, 2) int8_fp8_d128_quantise_q_q192_k128_s3_w12_f16_sm_90a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ __align__(16) u8 smem[1536];
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
    // ---- load: 12 items of 8 elements per thread: chunk `chunk` of rows row_first + i * row_step ---------------------------
    constexpr i32 items = 12, row_step = threads / chunks;
    const i32 chunk = tid % chunks, row_first = tid / chunks;
    const u16 *g_first = g_rows + row_first * args.q_stride_n + chunk * 8;
    const i64 item_stride = row_step * args.q_stride_n;
    const i32 rows_here = chunk * 8 < head_dim_qk ? rows_left - row_first : 0; // an item per row_step of them
    u32 raw[items][4];
    if (args.vector_io & 1) {
        #pragma unroll
        for (i32 i = 0; i < items; i++) load8_aligned(raw[i], g_first + i * item_stride, i * row_step < rows_here);
    } else
        load_rows_any<items>(raw, g_first, args.q_stride_n, 1, row_step, rows_here, false, bad);
    constexpr i32 groups = 96;
    u32 *s_amax = (u32 *)smem;                      // [groups] fp32 bits; magnitudes order as integers
    float *s_inv = (float *)(s_amax + groups);      // [groups] codes per unit
    for (i32 g = tid; g < groups; g += threads) s_amax[g] = 0;
    __syncthreads();

    // ---- largest magnitude of each scale group (per_thread) -----------------------------------------------------------------
    // group of a row: rows l/4 and l/4 + 8 of 16, which one thread of the score fragment holds
    float amax[items];
    #pragma unroll
    for (i32 i = 0; i < items; i++) {
        if (!finite2(magnitude2(raw[i]))) drop_nonfinite(raw[i], bad);
        const u32 pair = magnitude2(raw[i]);
        const float most = fmaxf(widen((u16)pair), widen((u16)(pair >> 16)));
        amax[i] = most;
    }
    #pragma unroll
    for (i32 j = 0; j < items; j++) {
        const i32 row = row_first + j * row_step;
        amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 1));
        amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 2));
        amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 4));
        amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 8));
        if (tid % 16 == 0) atomicMax(&s_amax[(row / 16 * 8 + row % 8)], __float_as_uint(amax[j])); // 16 lanes hold chunks of one row
    }
    __syncthreads();

    // ---- scales: value = code * amax / 127; an empty group gets scale 1 -------------------------------------------------
    for (i32 g = tid; g < groups; g += threads) {
        const float most = __uint_as_float(s_amax[g]);
        s_inv[g] = most > 4.23333342e-37f ? 127.0f / most : 0.0f; // finite: 127 / 3e38
    }
    float *g_scale = (float *)args.q_scale + (head * args.q_tile_count + tile) * tile_q;
    for (i32 row = tid; row < tile_q; row += threads) {
        const float most = __uint_as_float(s_amax[(row / 16 * 8 + row % 8)]);
        g_scale[row] = (most > 0.0f ? most * (1.0f / 127.0f) : 1.0f) * args.sm_scale * log2_e; // log2 units per score
    }
    u8 *g_image = (u8 *)args.q_tiles + (head * args.q_tile_count + tile) * q_tile_bytes;
    __syncthreads();

    // ---- codes: 8 bytes an item, to their place in the image ------------------------------------------------------------------
    const i32 panel = chunk * 8 / qk_panel_bytes, byte = chunk * 8 % qk_panel_bytes;
    u8 *g_codes = g_image + (panel * tile_q + row_first) * qk_panel_bytes + (byte / 16 ^ row_first % 8) * 16 + byte % 16;
    #pragma unroll
    for (i32 i = 0; i < items; i++) {
        const i32 row = row_first + i * row_step;
        const float inv = s_inv[(row / 16 * 8 + row % 8)];
        float y[8];
        #pragma unroll
        for (i32 e = 0; e < 8; e++) y[e] = widen((u16)(raw[i][e / 2] >> e % 2 * 16));
        const u32 lo = pack_s8x4(y[0], y[1], y[2], y[3], inv), hi = pack_s8x4(y[4], y[5], y[6], y[7], inv);
        *(uint2 *)(g_codes + i * row_step * qk_panel_bytes) = make_uint2(lo, hi); // rows 8 apart are swizzled alike
    }
    if (bad && args.flags) atomicOr((u32 *)args.flags, 1u);
}
