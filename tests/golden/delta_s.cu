// fp4_d64_delta_s_q128_k128_s3_w8_sm_120a_bf16
// delta_s = mean(Q group) . (K - mean(K)), what Q smoothing takes out of the scores (QK in nvfp4, PV in nvfp4)
//
// spec fp4_d64 (hash eeb9e4c92e341307)   variant q128_k128_s3_w8   target sm_120a   io bf16   mask none
// made by sagegen 0.1.0 from templates/delta_s.cu.tl
// again: sagegen expand --spec specs/fp4_d64.yaml --role delta_s --arch sm_120a --io bf16 --mask none --variant q128_k128_s3_w8

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

constexpr i32 threads = tile_k;                // a thread per key
constexpr i32 q_group = 64;            // query rows that share a mean
constexpr i32 delta_groups = 16;  // groups of a chunk
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

// grid: batch * heads_q * k_tile_count   out: delta_s, see runtime/kernel_args.h
extern "C" __global__ void __launch_bounds__(threads) fp4_d64_delta_s_q128_k128_s3_w8_sm_120a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ float s_mean[delta_groups][d_qk];
    const i32 tile = (i32)(blockIdx.x % args.k_tile_count), tid = threadIdx.x;
    const i64 head = blockIdx.x / args.k_tile_count; // batch * heads_q + query head
    const i64 kv_index = head / args.heads_q * args.heads_kv + head % args.heads_q / (args.heads_q / args.heads_kv);
    launch_dependents(); // its blocks fill the SMs that this grid's last blocks leave
    wait_for_launches(); // nothing of the workspace is read or written before

    // ---- stage 1/2: means of the chunk's groups, divided by the scale of their accumulators ------------------------
    const i64 groups = (i64)args.q_tile_count * (tile_q / q_group), first = (i64)args.q_tile_first * (tile_q / q_group);
    const float *g_k_scale = (const float *)((const u8 *)args.k_tiles + (kv_index * args.k_tile_count + tile) * k_tile_bytes + k_data_bytes + k_sf_bytes);
    for (i32 item = tid; item < delta_groups * d_qk; item += threads) {
        const i64 group = first + item / d_qk;
        float mean = 0.0f;
        if (group < groups) {
            const float q_scale = ((const float *)args.q_scale)[(head * groups + group) * q_group]; // all rows of a group share it
            mean = ((const float *)args.q_mean)[(head * groups + group) * d_qk + item % d_qk] * (args.sm_scale * log2_e / fmaxf(q_scale * g_k_scale[0], 1e-30f)); // as attn_fwd takes it
        }
        s_mean[item / d_qk][item % d_qk] = mean;
    }
    __syncthreads();

    // ---- stage 2/2: one key a thread against all groups --------------------------------------------------------------
    const uint4 *g_key = (const uint4 *)args.k_centred + ((kv_index * args.k_tile_count + tile) * tile_k + tid) * (d_qk / 8);
    float sum[delta_groups];
    #pragma unroll
    for (i32 g = 0; g < delta_groups; g++) sum[g] = 0.0f;
    #pragma unroll 1
    for (i32 c = 0; c < d_qk; c += 8) {
        const uint4 eight = g_key[c / 8];
        const u32 pair[4] = {eight.x, eight.y, eight.z, eight.w};
        #pragma unroll
        for (i32 e = 0; e < 8; e += 2) {
            const float lo = widen((u16)pair[e / 2]), hi = widen((u16)(pair[e / 2] >> 16));
            #pragma unroll
            for (i32 g = 0; g < delta_groups; g++) sum[g] = fmaf(hi, s_mean[g][c + e + 1], fmaf(lo, s_mean[g][c + e], sum[g]));
        }
    }
    // keys 2i, 2i+1 twice: the four accumulators of a lane, rows l/4 and l/4+8, start from one load
    constexpr i32 tile_groups = tile_q / q_group; // that a tile of queries reads together
    float *g_out = (float *)args.delta_s + head * delta_groups * args.k_tile_count * (2 * tile_k) + tid / 2 * 4 + tid % 2;
    #pragma unroll
    for (i32 g = 0; g < delta_groups; g++) {
        float *at = g_out + (((i64)(g / tile_groups) * args.k_tile_count + tile) * tile_groups + g % tile_groups) * (2 * tile_k);
        at[0] = at[2] = sum[g];
    }
}
