// fp4_d64_delta_s_q128_k128_s2_w8_sm_120a_bf16
// delta_s = mean(Q group) . (K - mean(K)), what Q smoothing takes out of the scores (QK in nvfp4, PV in nvfp4)
//
// spec fp4_d64 (hash e45fb982d75f33f5)   variant q128_k128_s2_w8   target sm_120a   io bf16   mask none
// made by sagegen 0.1.0 from templates/delta_s.cu.tl
// again: sagegen expand --spec specs/fp4_d64.yaml --role delta_s --arch sm_120a --io bf16 --mask none --variant q128_k128_s2_w8

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
    u64 v_tiles; // 64: workspace: quantised V, transposed, one image per tile of keys
    u64 q_scale; // 72: workspace: fp32 [batch][heads_q][rows of all q tiles], log2 units per score, sm_scale * log2 e folded in
    u64 v_scale; // 80: workspace: fp32 [batch][heads_kv][d_v_padded], linear; O = acc * v_scale
    u64 stats; // 88: workspace: fp32 partial sums, minima, maxima of K and V per channel
    u64 lse_bias; // 96: workspace: fp32 [batch][heads_q][rows], sm_scale * q . mean(K), natural-log units
    u64 q_mean; // 104: workspace: fp32 [batch][heads_q][groups][d_qk_padded]
    u64 k_centred; // 112: workspace: K - mean(K) in the io type [batch][heads_kv][keys of all tiles][d_qk_padded]
    u64 delta_s; // 120: workspace: fp32 [batch][heads_q][chunk groups][keys of all tiles], units of the score accumulator
    i64 q_stride_b; // 128: elements
    i64 q_stride_h; // 136: elements
    i64 q_stride_n; // 144: elements
    i64 k_stride_b; // 152: elements
    i64 k_stride_h; // 160: elements
    i64 k_stride_n; // 168: elements
    i64 v_stride_b; // 176: elements
    i64 v_stride_h; // 184: elements
    i64 v_stride_n; // 192: elements
    i64 o_stride_b; // 200: elements
    i64 o_stride_h; // 208: elements
    i64 o_stride_n; // 216: elements
    i32 batch; // 224
    i32 heads_q; // 228
    i32 heads_kv; // 232: divides heads_q
    i32 seq_q; // 236: rows
    i32 seq_k; // 240: keys
    i32 q_tile_count; // 244: tiles of tile_q rows per head
    i32 k_tile_count; // 248: tiles of tile_k keys per head
    i32 splits; // 252: parts of the sequence that stats are taken over
    i32 q_tile_first; // 256: first q tile of this launch (queries in chunks)
    i32 q_tile_launch; // 260: q tiles of this launch, per head
    i32 vector_io; // 264: bit 0-3: q, k, v, o are 16-byte aligned with strides of multiples of 8
    i32 quantise_parts; // 268: bit 0-2: quantise Q, K, V in this launch
    float sm_scale; // 272: linear
    float reserved; // 276: zero
};
static_assert(sizeof(kernel_args) == 280, "kernel_args differs from runtime/kernel_args.h"); // no padding: the offsets above hold

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

constexpr i32 threads = tile_k;                // a thread per key
constexpr i32 q_group = 64;            // query rows that share a mean
constexpr i32 delta_groups = 16;  // groups of a chunk
constexpr float log2_e = 1.44269504f;

// Eight consecutive bf16 elements from global memory, read once; zeros where `inside` is false. vector: 16-byte aligned.
__device__ __forceinline__ void load8(u32 (&r)[4], const u16 *g, bool inside, bool vector)
{
    r[0] = r[1] = r[2] = r[3] = 0;
    if (!inside) return;
    if (vector) {
        asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" // PTX ISA 9.7.9.8, sm_70
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "l"(g));
    } else {
        #pragma unroll
        for (i32 i = 0; i < 4; i++) r[i] = (u32)g[2 * i] | (u32)g[2 * i + 1] << 16;
    }
}

// One bf16 element as fp32.
__device__ __forceinline__ float widen(u16 x)
{
    return __uint_as_float((u32)x << 16);
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

// grid: batch * heads_q * k_tile_count   out: delta_s[batch][heads_q][delta_groups][keys] fp32
extern "C" __global__ void __launch_bounds__(threads) fp4_d64_delta_s_q128_k128_s2_w8_sm_120a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ float s_mean[delta_groups][d_qk];
    const i32 tile = (i32)(blockIdx.x % args.k_tile_count), tid = threadIdx.x;
    const i64 head = blockIdx.x / args.k_tile_count; // batch * heads_q + query head
    const i64 kv_index = head / args.heads_q * args.heads_kv + head % args.heads_q / (args.heads_q / args.heads_kv);

    // ---- stage 1/2: means of the chunk's groups, divided by the scale of their accumulators ------------------------
    const i64 groups = (i64)args.q_tile_count * (tile_q / q_group), first = (i64)args.q_tile_first * (tile_q / q_group);
    const float *g_k_scale = (const float *)((const u8 *)args.k_tiles + (kv_index * args.k_tile_count + tile) * k_tile_bytes + k_data_bytes + k_sf_bytes);
    for (i32 item = tid; item < delta_groups * d_qk; item += threads) {
        const i64 group = first + item / d_qk;
        float mean = 0.0f;
        if (group < groups) {
            const float q_scale = ((const float *)args.q_scale)[(head * groups + group) * q_group]; // all rows of a group share it
            mean = ((const float *)args.q_mean)[(head * groups + group) * d_qk + item % d_qk] * (args.sm_scale * log2_e / (q_scale * g_k_scale[0]));
        }
        s_mean[item / d_qk][item % d_qk] = mean;
    }
    __syncthreads();

    // ---- stage 2/2: one key a thread against all groups --------------------------------------------------------------
    const u32 *g_key = (const u32 *)args.k_centred + ((kv_index * args.k_tile_count + tile) * tile_k + tid) * (d_qk / 2);
    float sum[delta_groups];
    #pragma unroll
    for (i32 g = 0; g < delta_groups; g++) sum[g] = 0.0f;
    #pragma unroll 2
    for (i32 c = 0; c < d_qk; c += 2) {
        const u32 pair = g_key[c / 2];
        const float lo = widen((u16)pair), hi = widen((u16)(pair >> 16));
        #pragma unroll
        for (i32 g = 0; g < delta_groups; g++) sum[g] += lo * s_mean[g][c] + hi * s_mean[g][c + 1];
    }
    float *g_out = (float *)args.delta_s + head * delta_groups * args.k_tile_count * tile_k + (i64)tile * tile_k + tid;
    #pragma unroll
    for (i32 g = 0; g < delta_groups; g++) g_out[(i64)g * args.k_tile_count * tile_k] = sum[g];
}
