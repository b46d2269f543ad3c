// int8_fp8_d128_quantise_q128_k128_s2_w8_sm_90a_bf16
// Q, K and V quantised to tile images in the workspace (QK in int8, PV in fp8_e4m3)
//
// spec int8_fp8_d128 (hash 74b45f8df8f4719a)   variant q128_k128_s2_w8   target sm_90a   io bf16   mask none
// made by sagegen 0.1.0 from templates/quantise.cu.tl
// again: sagegen expand --spec specs/int8_fp8_d128.yaml --role quantise --arch sm_90a --io bf16 --mask none --variant q128_k128_s2_w8

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
constexpr i32 chunks = d_qk / 8;             // 16-byte chunks of a Q or K row
constexpr i32 stats_width = 128;
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

// grid: Q tiles of all heads (quantise_parts bit 0), then K tiles (bit 1), then V tiles (bit 2)
extern "C" __global__ void __launch_bounds__(threads, 1) int8_fp8_d128_quantise_q128_k128_s2_w8_sm_90a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ __align__(16) u8 smem[36352];
    const i32 tid = threadIdx.x;
    const i64 q_blocks = args.quantise_parts & 1 ? (i64)args.batch * args.heads_q * args.q_tile_count : 0;
    const i64 kv_blocks = (i64)args.batch * args.heads_kv * args.k_tile_count;
    const i64 k_blocks = args.quantise_parts & 2 ? kv_blocks : 0;
    i64 block = blockIdx.x;
    bool bad = false; // a non-finite element was seen

    if (block < q_blocks) {
        const i32 tile = (i32)(block % args.q_tile_count);
        const i64 head = block / args.q_tile_count; // batch * heads_q + query head
        const i32 batch = (i32)(head / args.heads_q), q_head = (i32)(head % args.heads_q);
        const i64 kv_index = (i64)batch * args.heads_kv + q_head / (args.heads_q / args.heads_kv);
        const i32 rows_left = args.seq_q - tile * tile_q;
        // ---- the tile: items of 8 elements; item i of a thread is chunk (i * threads + tid) % chunks of row (i * threads + tid) / chunks ----
        constexpr i32 items = tile_q * chunks / threads;
        static_assert(items * threads == tile_q * chunks, "a tile is a whole number of items per thread");
        const u16 *g_rows = (const u16 *)args.q + batch * args.q_stride_b + q_head * args.q_stride_h
                            + (i64)tile * tile_q * args.q_stride_n;
                            // ---- mean of K: fp32, joined from the parts in a fixed order ------------------------------------------------------
                            // out: s_k_mean[d_qk] fp32
                            float *s_k_mean = (float *)smem;
                            if (args.lse_bias) {
                                const float *g_stats = (const float *)args.stats + kv_index * args.splits * 6 * stats_width;
                                const float inv_keys = args.seq_k > 0 ? 1.0f / (float)args.seq_k : 0.0f;
                                for (i32 c = tid; c < d_qk; c += threads) {
                                    float sum = 0.0f;
                                    if (args.seq_k > 0)
                                        for (i32 s = 0; s < args.splits; s++) sum += g_stats[(i64)s * 6 * stats_width + c];
                                    s_k_mean[c] = sum * inv_keys;
                                }
                            }
                            __syncthreads();
                            // ---- lse_bias = sm_scale * q . mean(K), natural-log units ---------------------------------------------------------
                            if (args.lse_bias) {
                                float *s_dot = s_k_mean + d_qk; // [tile_q][chunks / 4]: one sum per 4 chunks, so that the order of the sum is fixed
                                #pragma unroll 2
                                for (i32 i = 0; i < items; i++) {
                                    const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
                                    u32 raw[4];
                                    float x[8];
                                    load8(raw, g_rows + row * args.q_stride_n + chunk * 8, row < rows_left && chunk * 8 < head_dim_qk, args.vector_io & 1);
                                    widen8(x, raw, bad);
                                    float dot = 0.0f;
                                    #pragma unroll
                                    for (i32 e = 0; e < 8; e++) dot += x[e] * s_k_mean[chunk * 8 + e];
                                    dot += __shfl_xor_sync(~0u, dot, 1);
                                    dot += __shfl_xor_sync(~0u, dot, 2);
                                    if (chunk % 4 == 0) s_dot[row * (chunks / 4) + chunk / 4] = dot;
                                }
                                __syncthreads();
                                for (i32 row = tid; row < tile_q; row += threads) {
                                    float dot = 0.0f;
                                    #pragma unroll
                                    for (i32 c = 0; c < chunks / 4; c++) dot += s_dot[row * (chunks / 4) + c];
                                    ((float *)args.lse_bias)[(head * args.q_tile_count + tile) * tile_q + row] = dot * args.sm_scale;
                                }
                                __syncthreads();
                            }
                            // ---- int8: largest magnitude of each scale group (per_thread) ---------------------------------------------------
                            // group of a row: rows l/4 and l/4 + 8 of 16, which one thread of the score fragment holds
                            constexpr i32 groups = 64;
                            u32 *s_amax = (u32 *)(smem + 4 * d_qk); // fp32 bits; magnitudes order as integers
                            for (i32 g = tid; g < groups; g += threads) s_amax[g] = 0;
                            __syncthreads();
                            #pragma unroll 2
                            for (i32 i = 0; i < items; i++) {
                                const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
                                u32 raw[4];
                                float x[8];
                                load8(raw, g_rows + row * args.q_stride_n + chunk * 8, row < rows_left && chunk * 8 < head_dim_qk, args.vector_io & 1);
                                widen8(x, raw, bad);
                                float amax = 0.0f;
                                #pragma unroll
                                for (i32 e = 0; e < 8; e++) amax = fmaxf(amax, fabsf(x[e]));
                                amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 1));
                                amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 2)); // the 4 lanes hold chunks of one row
                                if (tid % 4 == 0) atomicMax(&s_amax[(row / 16 * 8 + row % 8)], __float_as_uint(amax));
                            }
                            __syncthreads();

                            // ---- scales: value = code * amax / 127; an empty group gets scale 1 -------------------------------------------------
                            float *g_scale = (float *)args.q_scale + (head * args.q_tile_count + tile) * tile_q;
                            for (i32 row = tid; row < tile_q; row += threads) {
                                const float amax = __uint_as_float(s_amax[(row / 16 * 8 + row % 8)]);
                                g_scale[row] = (amax > 0.0f ? amax * (1.0f / 127.0f) : 1.0f) * args.sm_scale * log2_e; // log2 units per score
                            }
                            u8 *g_image = (u8 *)args.q_tiles + (head * args.q_tile_count + tile) * q_tile_bytes;

                            // ---- codes: 8 bytes an item, to their place in the image ------------------------------------------------------------
                            #pragma unroll 2
                            for (i32 i = 0; i < items; i++) {
                                const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
                                u32 raw[4];
                                float x[8];
                                load8(raw, g_rows + row * args.q_stride_n + chunk * 8, row < rows_left && chunk * 8 < head_dim_qk, args.vector_io & 1);
                                widen8(x, raw, bad);
                                const float amax = __uint_as_float(s_amax[(row / 16 * 8 + row % 8)]);
                                const float inv = amax > 0.0f ? 127.0f / amax : 0.0f;
                                u32 code[8];
                                #pragma unroll
                                for (i32 e = 0; e < 8; e++) code[e] = (u32)min(max(__float2int_rn(x[e] * inv), -127), 127) & 0xffu;
                                const u32 lo = code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24, hi = code[4] | code[5] << 8 | code[6] << 16 | code[7] << 24;
                                const i32 panel = chunk * 8 / qk_panel_bytes, byte = chunk * 8 % qk_panel_bytes;
                                u8 *g_row = g_image + (panel * tile_q + row) * qk_panel_bytes;
                                *(u64 *)(g_row + (byte / 16 ^ row % 8) * 16 + byte % 16) = (u64)hi << 32 | lo;
                            }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 1u);
        return;
    }
    block -= q_blocks;

    if (block < k_blocks) {
        const i32 tile = (i32)(block % args.k_tile_count);
        const i64 head = block / args.k_tile_count; // batch * heads_kv + kv head
        const i32 batch = (i32)(head / args.heads_kv), kv_head = (i32)(head % args.heads_kv);
        const i64 kv_index = head;
        const i32 rows_left = args.seq_k - tile * tile_k;
        // ---- the tile: items of 8 elements; item i of a thread is chunk (i * threads + tid) % chunks of row (i * threads + tid) / chunks ----
        constexpr i32 items = tile_k * chunks / threads;
        static_assert(items * threads == tile_k * chunks, "a tile is a whole number of items per thread");
        const u16 *g_rows = (const u16 *)args.k + batch * args.k_stride_b + kv_head * args.k_stride_h
                            + (i64)tile * tile_k * args.k_stride_n;
                            // ---- mean of K: fp32, joined from the parts in a fixed order ------------------------------------------------------
                            // out: s_k_mean[d_qk] fp32
                            float *s_k_mean = (float *)smem;
                            {
                                const float *g_stats = (const float *)args.stats + kv_index * args.splits * 6 * stats_width;
                                const float inv_keys = args.seq_k > 0 ? 1.0f / (float)args.seq_k : 0.0f;
                                for (i32 c = tid; c < d_qk; c += threads) {
                                    float sum = 0.0f;
                                    if (args.seq_k > 0)
                                        for (i32 s = 0; s < args.splits; s++) sum += g_stats[(i64)s * 6 * stats_width + c];
                                    s_k_mean[c] = sum * inv_keys;
                                }
                            }
                            __syncthreads();
                            // ---- int8: largest magnitude of each scale group (per_thread) ---------------------------------------------------
                            // group of a key: of 64 keys those with the same (key % 8) / 2, the columns which one thread of the score fragment holds
                            constexpr i32 groups = 8;
                            u32 *s_amax = (u32 *)(smem + 4 * d_qk); // fp32 bits; magnitudes order as integers
                            for (i32 g = tid; g < groups; g += threads) s_amax[g] = 0;
                            __syncthreads();
                            #pragma unroll 2
                            for (i32 i = 0; i < items; i++) {
                                const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
                                u32 raw[4];
                                float x[8];
                                load8(raw, g_rows + row * args.k_stride_n + chunk * 8, row < rows_left && chunk * 8 < head_dim_qk, args.vector_io & 2);
                                widen8(x, raw, bad);
                                #pragma unroll
                                for (i32 e = 0; e < 8; e++) x[e] = row < rows_left ? x[e] - s_k_mean[chunk * 8 + e] : 0.0f;
                                float amax = 0.0f;
                                #pragma unroll
                                for (i32 e = 0; e < 8; e++) amax = fmaxf(amax, fabsf(x[e]));
                                amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 1));
                                amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 2)); // the 4 lanes hold chunks of one row
                                if (tid % 4 == 0) atomicMax(&s_amax[(row / k_scale_keys * 4 + row % 8 / 2)], __float_as_uint(amax));
                            }
                            __syncthreads();

                            // ---- scales: value = code * amax / 127; an empty group gets scale 1 -------------------------------------------------
                            u8 *g_image = (u8 *)args.k_tiles + (head * args.k_tile_count + tile) * k_tile_bytes;
                            float *g_scale = (float *)(g_image + k_data_bytes);
                            for (i32 s = tid; s < k_scales; s += threads) {
                                const float amax = __uint_as_float(s_amax[s]);
                                g_scale[s] = amax > 0.0f ? amax * (1.0f / 127.0f) : 1.0f;
                            }

                            // ---- codes: 8 bytes an item, to their place in the image ------------------------------------------------------------
                            #pragma unroll 2
                            for (i32 i = 0; i < items; i++) {
                                const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
                                u32 raw[4];
                                float x[8];
                                load8(raw, g_rows + row * args.k_stride_n + chunk * 8, row < rows_left && chunk * 8 < head_dim_qk, args.vector_io & 2);
                                widen8(x, raw, bad);
                                #pragma unroll
                                for (i32 e = 0; e < 8; e++) x[e] = row < rows_left ? x[e] - s_k_mean[chunk * 8 + e] : 0.0f;
                                const float amax = __uint_as_float(s_amax[(row / k_scale_keys * 4 + row % 8 / 2)]);
                                const float inv = amax > 0.0f ? 127.0f / amax : 0.0f;
                                u32 code[8];
                                #pragma unroll
                                for (i32 e = 0; e < 8; e++) code[e] = (u32)min(max(__float2int_rn(x[e] * inv), -127), 127) & 0xffu;
                                const u32 lo = code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24, hi = code[4] | code[5] << 8 | code[6] << 16 | code[7] << 24;
                                const i32 panel = chunk * 8 / qk_panel_bytes, byte = chunk * 8 % qk_panel_bytes;
                                u8 *g_row = g_image + (panel * tile_k + row) * qk_panel_bytes;
                                *(u64 *)(g_row + (byte / 16 ^ row % 8) * 16 + byte % 16) = (u64)hi << 32 | lo;
                            }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 2u);
        return;
    }
    block -= k_blocks;

    {
        const i32 tile = (i32)(block % args.k_tile_count);
        const i64 head = block / args.k_tile_count;
        const i32 batch = (i32)(head / args.heads_kv), kv_head = (i32)(head % args.heads_kv);
        const i32 keys_left = args.seq_k - tile * tile_k;
        // ---- load: [tile_k][d_v] bf16 into shared memory ---------------------------------------------------------------------
        constexpr i32 v_chunks = d_v / 8, v_pitch = d_v + 8; // elements; the pad spreads rows over the banks
        u16 *s_v = (u16 *)smem;
        float *s_scale = (float *)(smem + tile_k * v_pitch * 2); // [d_v] value = code * scale
        float *s_inv = s_scale + d_v, *s_mean = s_inv + d_v;
        const u16 *g_rows = (const u16 *)args.v + batch * args.v_stride_b + kv_head * args.v_stride_h + (i64)tile * tile_k * args.v_stride_n;
        for (i32 item = tid; item < tile_k * v_chunks; item += threads) {
            const i32 key = item / v_chunks, chunk = item % v_chunks;
            u32 raw[4];
            load8(raw, g_rows + key * args.v_stride_n + chunk * 8, key < keys_left && chunk * 8 < head_dim_v, args.vector_io & 4);
            u32 *s_row = (u32 *)(s_v + key * v_pitch + chunk * 8);
            #pragma unroll
            for (i32 e = 0; e < 4; e++) s_row[e] = raw[e];
        }

        // ---- scale of each channel, over the whole sequence --------------------------------------------------------------------
        for (i32 c = tid; c < d_v; c += threads) {
            const float *g_stats = (const float *)args.stats + head * args.splits * 6 * stats_width + 3 * stats_width + c;
            float sum = 0.0f, low = 3.402823466e38f, high = -3.402823466e38f;
            for (i32 s = 0; s < args.splits; s++) {
                sum += g_stats[(i64)s * 6 * stats_width];
                low = fminf(low, g_stats[((i64)s * 6 + 1) * stats_width]);
                high = fmaxf(high, g_stats[((i64)s * 6 + 2) * stats_width]);
            }
            const float mean = 0.0f * sum;
            const float amax = fmaxf(high - mean, mean - low);
            const float scale = amax > 1e-30f ? amax * 0.00223214296f : 1.0f; // amax maps to 448
            s_scale[c] = scale;
            s_inv[c] = 1.0f / scale;
            s_mean[c] = mean;
            if (tile == 0) {
                float *g_scale = (float *)args.v_scale + head * 2 * d_v;
                g_scale[c] = scale;
                g_scale[d_v + c] = mean;
            }
        }
        __syncthreads();

        // ---- codes: 16 bytes, 16 keys of one channel, an item ---------------------------------------------------------------
        u8 *g_image = (u8 *)args.v_tiles + (head * args.k_tile_count + tile) * v_tile_bytes;
        for (i32 item = tid; item < d_v * (v_row_bytes / 16); item += threads) {
            const i32 c = item % d_v, part = item / d_v;
            const float inv = s_inv[c], mean = s_mean[c];
            float y[16];
            #pragma unroll
            for (i32 k = 0; k < 16; k++) {
                const i32 position = part * 16 + k; // along the P fragment
                const i32 key = position / 16 * 16 + 8 * (position % 4 / 2) + 2 * (position % 16 / 4) + position % 2;
                y[k] = key < keys_left ? (finite(widen(s_v[key * v_pitch + c]), bad) - mean) * inv : 0.0f;
            }
            u32 packed[4];
            #pragma unroll
            for (i32 e = 0; e < 4; e++) packed[e] = pack_e4m3x4(y[4 * e], y[4 * e + 1], y[4 * e + 2], y[4 * e + 3]);
            const i32 panel = part * 16 / v_panel_bytes, byte = part * 16 % v_panel_bytes;
            u8 *g_chunk = g_image + (panel * d_v + c) * v_panel_bytes + (byte / 16 ^ c % 8) * 16;
            *(uint4 *)g_chunk = make_uint4(packed[0], packed[1], packed[2], packed[3]);
        }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 4u);
    }
}
