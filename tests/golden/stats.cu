// int8_fp8_d128_stats_q128_k128_s2_w8_sm_90a_bf16
// sum, minimum and maximum of K and V per channel, over parts of the sequence (QK in int8, PV in fp8_e4m3)
//
// spec int8_fp8_d128 (hash 74b45f8df8f4719a)   variant q128_k128_s2_w8   target sm_90a   io bf16   mask none
// made by sagegen 0.1.0 from templates/stats.cu.tl
// again: sagegen expand --spec specs/int8_fp8_d128.yaml --role stats --arch sm_90a --io bf16 --mask none --variant q128_k128_s2_w8

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
constexpr i32 head_dim_qk = 128;              // elements of a Q or K row
constexpr i32 head_dim_v = 128;               // elements of a V or O row
constexpr i32 d_qk = 128;                     // head_dim_qk, padded with zeros to the depth of the MMA
constexpr i32 d_v = 128;                      // head_dim_v, padded with zeros to the width of the MMA
constexpr i32 tile_q = 128;                   // query rows of a block
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
static_assert(q_tile_bytes == 16384 && k_tile_bytes == 16416 && v_tile_bytes == 16384, "workspace layout");

constexpr i32 threads = 256;
constexpr i32 stats_width = 128;   // floats of a row: the wider of d_qk and d_v
constexpr i32 chunks = stats_width / 8;        // 16-byte chunks of a row
constexpr i32 lanes = threads / chunks;        // rows read side by side

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

// grid: batch * heads_kv * splits * 2, K and V in turn   out: stats[batch][heads_kv][split][6][stats_width]: sum, min, max of K, then V
extern "C" __global__ void __launch_bounds__(threads) int8_fp8_d128_stats_q128_k128_s2_w8_sm_90a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ float s_part[3][lanes][stats_width];

    // ---- stage 1/3: which tensor and which part of the sequence ----------------------------------------------------
    const bool is_v = blockIdx.x & 1;
    const i32 split = (blockIdx.x >> 1) % args.splits;
    const i32 head = (blockIdx.x >> 1) / args.splits; // batch * heads_kv + kv head
    const i32 batch = head / args.heads_kv, kv_head = head % args.heads_kv;
    const u16 *g_rows = is_v ? (const u16 *)args.v + batch * args.v_stride_b + kv_head * args.v_stride_h
                             : (const u16 *)args.k + batch * args.k_stride_b + kv_head * args.k_stride_h;
    const i64 stride = is_v ? args.v_stride_n : args.k_stride_n;
    const i32 dim = is_v ? head_dim_v : head_dim_qk;
    const bool vector = args.vector_io & (is_v ? 4 : 2);
    const i32 first = (i32)((i64)args.seq_k * split / args.splits);
    const i32 last = (i32)((i64)args.seq_k * (split + 1) / args.splits);

    // ---- stage 2/3: each thread runs down 8 channels ---------------------------------------------------------------
    const i32 chunk = threadIdx.x % chunks, lane = threadIdx.x / chunks;
    float sum[8], low[8], high[8];
    #pragma unroll
    for (i32 i = 0; i < 8; i++) sum[i] = 0.0f, low[i] = 3.402823466e38f, high[i] = -3.402823466e38f;
    bool bad = false;
    if (lane < lanes) {
        #pragma unroll 4
        for (i32 n = first + lane; n < last; n += lanes) {
            u32 raw[4];
            float x[8];
            load8(raw, g_rows + n * stride + chunk * 8, chunk * 8 < dim, vector);
            widen8(x, raw, bad);
            #pragma unroll
            for (i32 i = 0; i < 8; i++) sum[i] += x[i], low[i] = fminf(low[i], x[i]), high[i] = fmaxf(high[i], x[i]);
        }
        #pragma unroll
        for (i32 i = 0; i < 8; i++) {
            s_part[0][lane][chunk * 8 + i] = sum[i];
            s_part[1][lane][chunk * 8 + i] = low[i];
            s_part[2][lane][chunk * 8 + i] = high[i];
        }
    }
    __syncthreads();

    // ---- stage 3/3: join the rows of threads, in a fixed order -----------------------------------------------------
    float *g_out = (float *)args.stats + (((i64)head * args.splits + split) * 6 + (is_v ? 3 : 0)) * stats_width;
    for (i32 c = threadIdx.x; c < stats_width; c += threads) {
        float total = 0.0f, least = 3.402823466e38f, most = -3.402823466e38f;
        for (i32 r = 0; r < lanes; r++) {
            total += s_part[0][r][c];
            least = fminf(least, s_part[1][r][c]);
            most = fmaxf(most, s_part[2][r][c]);
        }
        g_out[c] = total;
        g_out[stats_width + c] = least;
        g_out[2 * stats_width + c] = most;
    }
}
