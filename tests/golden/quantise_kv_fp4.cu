// fp4_d64_quantise_kv_q128_k128_s3_w8_sm_120a_bf16
// K and V quantised to tile images in the workspace, by their statistics over the sequence (QK in nvfp4, PV in nvfp4)
//
// spec fp4_d64 (hash eeb9e4c92e341307)   variant q128_k128_s3_w8   target sm_120a   io bf16   mask none
// made by sagegen 0.1.0 from templates/quantise_kv.cu.tl
// again: sagegen expand --spec specs/fp4_d64.yaml --role quantise_kv --arch sm_120a --io bf16 --mask none --variant q128_k128_s3_w8

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
constexpr i32 chunks = d_qk / 8;             // 16-byte chunks of a Q or K row
constexpr i32 stats_width = 64;           // floats of a row of statistics: the wider of d_qk and d_v
constexpr i32 stats_chunks = stats_width / 8;
constexpr i32 stats_rows = threads / stats_chunks; // rows read side by side
constexpr i32 stats_pitch = threads + stats_chunks; // keeps the joins of two words out of each other's banks

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

// Counters in global memory by which blocks hand results on. Order: all threads write, a barrier, then thread 0 releases at gpu scope by
// count_up or count_set; there thread 0 acquires at gpu scope by count_up or count_wait, then a barrier, then all threads read. Barriers
// order within a block and both sides are cumulative, so that every thread there sees what any thread here wrote. count_up reads and
// writes in one, so that the last of a row of them has seen all before it. The low 16 bits count; the high ones are notes of who counted,
// added up. PTX ISA 8 (memory model), 9.7.13.5, 9.7.9.8, 9.7.9.11, sm_70.
constexpr u32 count_mask = 0xffffu, count_note = 0x10000u;

__device__ __forceinline__ u32 count_up(u32 *g, u32 note) // what stood there before
{
    u32 before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(before) : "l"(g), "r"(1 + note) : "memory");
    return before;
}

__device__ __forceinline__ void count_set(u32 *g, u32 value)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(g), "r"(value) : "memory");
}

// Waits until the count is `value` or more, and returns it with its notes. It ends, because
// - the block that waits holds a number from a counter, and waits for pieces of lower numbers alone: those were drawn by blocks that
//   run already. The pieces waited for (statistics) wait for nothing. So it matters neither in which order blocks start nor how many
//   the GPU holds at once, and a launch that starts early takes nobody's place: it comes when all blocks of this one have started.
// - each call's quantise_q clears the counters before quantise_kv starts: nothing is left over from the call before, from the last
//   replay of a graph, or from a call whose later launches failed.
// Not covered: two calls at the same time on one workspace, which sage.h forbids.
__device__ __forceinline__ u32 count_wait(const u32 *g, u32 value)
{
    u32 now;
    for (;;) {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(g) : "memory");
        if ((now & count_mask) >= value) return now;
        __nanosleep(100);
    }
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

// Eight consecutive floats from global memory. g: 16-byte aligned.
__device__ __forceinline__ void load8_f32(float (&x)[8], const float *g)
{
    const float4 a = ((const float4 *)g)[0], b = ((const float4 *)g)[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
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

// x[16] -> packed e2m1 codes with the best of 6 scales, by squared error. Returns the scale's code.
__device__ __forceinline__ u32 block_quantise(u32 (&packed)[2], const float (&x)[16])
{
    float amax = 0.0f;
    #pragma unroll
    for (i32 e = 0; e < 16; e++) amax = fmaxf(amax, fabsf(x[e]));
    u32 best = 0;
    float best_inv = 0.0f, least = 3.402823466e38f;
    #pragma unroll 1
    for (i32 i = 0; i < 6; i++) {
        const u32 code = block_scale_code(amax, scale_divisors[i]);
        const float value = block_scale_value(code), inv = 1.0f / value;
        float error = 0.0f;
        #pragma unroll
        for (i32 e = 0; e < 16; e++) {
            const float y = fabsf(x[e] * inv), r = y - e2m1_value(e2m1_code(y));
            error += r * r;
        }
        error *= value * value;
        if (error < least) best = code, best_inv = inv, least = error;
    }
    #pragma unroll
    for (i32 w = 0; w < 2; w++) {
        packed[w] = 0;
        #pragma unroll
        for (i32 e = 0; e < 8; e++) packed[w] |= e2m1_code(x[8 * w + e] * best_inv) << (4 * e);
    }
    return best;
}

// A tensor is K or V of one head. Pieces of work, in the order in which blocks take them up:
//   the parts of the first `lead` tensors' statistics;
//   for each further tensor: the parts of its statistics, between them the tiles of the tensor `lead` before it;
//   the tiles of the last `lead` tensors;
//   where LSE is wanted: the tiles of Q, for what smoothing took from their scores.
// Blocks draw numbers, since nothing is said about the order in which they start: whoever waits for statistics waits for blocks that run.
// grid: as many blocks as pieces
extern "C" __global__ void __launch_bounds__(threads, 2) fp4_d64_quantise_kv_q128_k128_s3_w8_sm_120a_bf16(const __grid_constant__ kernel_args args)
{
    __shared__ __align__(16) u8 smem[18944];
    const i32 tid = threadIdx.x;
    __builtin_assume(tid >= 0 && tid < threads); // quotients of it by powers of two are then shifts
    const i32 tensors = 2 * args.batch * args.heads_kv; // K and V in turn
    bool bad = false; // a non-finite element was seen
    launch_dependents(); // its blocks fill the SMs that this grid's last blocks leave
    wait_for_launches(); // nothing of the workspace is read or written before

    // ---- which piece ----------------------------------------------------------------------------------------------------
    // out: tensor, and part (>= 0: of its statistics) or tile; batch and kv_head of the tensor. One thread divides for all.
    __shared__ i32 s_piece_tensor, s_piece_part, s_piece_tile, s_piece_batch, s_piece_kv_head;
    u32 *g_progress = (u32 *)args.progress; // pieces drawn; then, for each tensor: parts done, + 1 when they are joined; high 16 bits: a note
    const i32 parts = args.splits;
    if (tid == 0) {
        const u32 piece = atomicAdd(g_progress, 1u), lead = args.stats_lead, tiles = args.k_tile_count, step = parts + tiles;
        u32 piece_tensor, piece_tile = 0;
        i32 piece_part = -1;
        if (piece < lead * parts) {
            piece_tensor = piece / parts;
            piece_part = (i32)(piece % parts);
        } else if (piece - lead * parts < (tensors - lead) * step) {
            // parts stand at every `every`-th place from the first on, so that they are drawn halfway through the tiles: none waits long for them
            const u32 rest = piece - lead * parts, within = rest % step, every = max(step / (2 * parts), 1);
            const u32 before = min((within + every - 1) / every, (u32)parts); // parts that come before
            const bool is_part = within == before * every && before < (u32)parts;
            piece_tensor = rest / step + (is_part ? lead : 0);
            piece_part = is_part ? (i32)before : -1;
            piece_tile = is_part ? 0 : within - before;
        } else {
            const u32 rest = piece - lead * parts - (tensors - lead) * step;
            piece_tensor = tensors - lead + rest / tiles;
            piece_tile = rest % tiles;
        }
        s_piece_tensor = piece_tensor;
        s_piece_part = piece_part;
        s_piece_tile = piece_tile;
        s_piece_batch = piece_tensor / 2 / (u32)args.heads_kv;
        s_piece_kv_head = piece_tensor / 2 % (u32)args.heads_kv;
    }
    __syncthreads();
    const i32 tensor = s_piece_tensor, part = s_piece_part, tile = s_piece_tile, batch = s_piece_batch, kv_head = s_piece_kv_head;
    const i64 head = tensor / 2; // batch * heads_kv + kv head

    if (part >= 0) {
        if (tensor % 2 == 0) {
            // ---- each thread runs down 8 channels -------------------------------------------------------------------------------------
            const i32 chunk = tid % stats_chunks, row = tid / stats_chunks;
            const i32 first = (i32)((u64)args.seq_k * (u32)part / (u32)parts), count = (i32)((u64)args.seq_k * ((u32)part + 1) / (u32)parts) - first;
            const bool inside = chunk * 8 < head_dim_qk, vector = args.vector_io & 2;
            const i64 load_stride = stats_rows * args.k_stride_n;
            const u16 *g_head = (const u16 *)args.k + batch * args.k_stride_b + kv_head * args.k_stride_h;
            const u16 *g_first = g_head + (first + row) * args.k_stride_n + chunk * 8;
            float sum[8];
            bool repair = false; // second run: non-finite elements count as 0
            #pragma unroll 1
            for (;;) {
                #pragma unroll
                for (i32 i = 0; i < 8; i++) sum[i] = 0.0f;
                const u16 *g_next = g_first;
                i32 left = inside && row < stats_rows ? count - row : 0; // a load per stats_rows of them
                if (vector && !repair) {
                    #pragma unroll 1
                    for (; left > 0; left -= 8 * stats_rows, g_next += 8 * load_stride) {
                        u32 raw[8][4];
                        #pragma unroll
                        for (i32 j = 0; j < 8; j++) load8_aligned(raw[j], g_next + j * load_stride, j * stats_rows < left);
                        #pragma unroll
                        for (i32 j = 0; j < 8; j++) {
                            #pragma unroll
                            for (i32 i = 0; i < 8; i++) sum[i] += widen((u16)(raw[j][i / 2] >> i % 2 * 16));
                        }
                    }
                } else {
                    #pragma unroll 1
                    for (; left > 0; left -= stats_rows, g_next += load_stride) {
                        u32 raw[4];
                        load8_any(raw, g_next, true);
                        if (repair) drop_nonfinite(raw, bad);
                        #pragma unroll
                        for (i32 i = 0; i < 8; i++) sum[i] += widen((u16)(raw[i / 2] >> i % 2 * 16));
                    }
                }
                bool ok = true;
                #pragma unroll
                for (i32 i = 0; i < 8; i++) ok &= fabsf(sum[i]) <= 3.402823466e38f;
                if (ok || repair) break;
                repair = true;
            }

            // ---- join the rows of threads, in a fixed order ----------------------------------------------------------------------------
            float *g_out = (float *)args.stats + (i64)(tensor / 2 * parts + part) * 4 * stats_width; // rows: sum of K; sum, minimum, maximum of V
            u32 *s_part = (u32 *)smem;                                                  // [word][row][chunk], words stats_pitch apart
            #pragma unroll
            for (i32 i = 0; i < 8; i++) s_part[i * stats_pitch + tid] = __float_as_uint(sum[i]);
            __syncthreads();
            for (i32 w = tid; w < stats_width; w += threads) {
                const u32 *s_word = s_part + w / stats_chunks * stats_pitch + w % stats_chunks;
                float total = 0.0f;
                #pragma unroll
                for (i32 r = 0; r < stats_rows; r++) total += __uint_as_float(s_word[r * stats_chunks]);
                g_out[w % stats_chunks * 8 + w / stats_chunks] = total;
            }

            // ---- the last part joins all, in a fixed order ------------------------------------------------------------------------------
            __shared__ bool s_last_k;
            const u32 note = __syncthreads_or(bad) ? count_note : 0; // non-finite elements
            u32 counted = 0;                                         // thread 0's
            if (tid == 0) {
                counted = count_up(&g_progress[1 + tensor], note) + note;
                s_last_k = (counted & count_mask) == (u32)parts - 1;
            }
            __syncthreads();
            if (!s_last_k) return;
            const float *g_stats = (const float *)args.stats + head * parts * 4 * stats_width;
            // out: k_mean[d_qk], the mean over the sequence
            for (i32 c = tid; c < d_qk; c += threads) {
                float total = 0.0f;
                #pragma unroll 16
                for (i32 s = 0; s < parts; s++) total += g_stats[(i64)s * 4 * stats_width + c];
                ((float *)args.k_mean)[head * d_qk + c] = total * (1.0f / (float)args.seq_k);
            }
            __syncthreads();
            if (tid == 0) count_set(&g_progress[1 + tensor], (counted & ~count_mask) + (u32)parts + 1);
        } else {
            // ---- each thread runs down 8 channels -------------------------------------------------------------------------------------
            const i32 chunk = tid % stats_chunks, row = tid / stats_chunks;
            const i32 first = (i32)((u64)args.seq_k * (u32)part / (u32)parts), count = (i32)((u64)args.seq_k * ((u32)part + 1) / (u32)parts) - first;
            const bool inside = chunk * 8 < head_dim_v, vector = args.vector_io & 4;
            const i64 load_stride = stats_rows * args.v_stride_n;
            const u16 *g_head = (const u16 *)args.v + batch * args.v_stride_b + kv_head * args.v_stride_h;
            const u16 *g_first = g_head + (first + row) * args.v_stride_n + chunk * 8;
            u32 low[4], high[4]; // packed pairs
            bool repair = false; // second run: non-finite elements count as 0
            #pragma unroll 1
            for (;;) {
                #pragma unroll
                for (i32 i = 0; i < 4; i++) low[i] = inside ? largest2 : 0, high[i] = inside ? largest2 ^ 0x80008000u : 0;
                const u16 *g_next = g_first;
                i32 left = inside && row < stats_rows ? count - row : 0; // a load per stats_rows of them
                if (vector && !repair) {
                    #pragma unroll 1
                    for (; left > 0; left -= 8 * stats_rows, g_next += 8 * load_stride) {
                        u32 raw[8][4];
                        #pragma unroll
                        for (i32 j = 0; j < 8; j++) load8_aligned(raw[j], g_next + j * load_stride, j * stats_rows < left);
                        #pragma unroll
                        for (i32 j = 0; j < 8; j++) {
                            if (j * stats_rows >= left) continue;
                            #pragma unroll
                            for (i32 i = 0; i < 4; i++) low[i] = min2(low[i], raw[j][i]), high[i] = max2(high[i], raw[j][i]);
                        }
                    }
                } else {
                    #pragma unroll 1
                    for (; left > 0; left -= stats_rows, g_next += load_stride) {
                        u32 raw[4];
                        load8_any(raw, g_next, true);
                        if (repair) drop_nonfinite(raw, bad);
                        #pragma unroll
                        for (i32 i = 0; i < 4; i++) low[i] = min2(low[i], raw[i]), high[i] = max2(high[i], raw[i]);
                    }
                }
                bool ok = true;
                #pragma unroll
                for (i32 i = 0; i < 4; i++) ok &= finite2(low[i]) && finite2(high[i]);
                if (ok || repair) break;
                repair = true;
            }

            // ---- join the rows of threads, in a fixed order ----------------------------------------------------------------------------
            float *g_out = (float *)args.stats + (i64)(tensor / 2 * parts + part) * 4 * stats_width; // rows: sum of K; sum, minimum, maximum of V
            u32 *s_part = (u32 *)smem;                                                  // [word][row][chunk], words stats_pitch apart
            #pragma unroll
            for (i32 i = 0; i < 4; i++) s_part[i * stats_pitch + tid] = low[i], s_part[(4 + i) * stats_pitch + tid] = high[i];
            __syncthreads();
            for (i32 w = tid; w < stats_width / 2; w += threads) {
                const u32 *s_low = s_part + w / stats_chunks * stats_pitch + w % stats_chunks, *s_high = s_low + 4 * stats_pitch;
                u32 least = largest2, most = largest2 ^ 0x80008000u;
                #pragma unroll
                for (i32 r = 0; r < stats_rows; r++) least = min2(least, s_low[r * stats_chunks]), most = max2(most, s_high[r * stats_chunks]);
                float *g_pair = g_out + 2 * stats_width + w % stats_chunks * 8 + w / stats_chunks * 2;
                g_pair[0] = widen((u16)least);
                g_pair[1] = widen((u16)(least >> 16));
                g_pair[stats_width] = widen((u16)most);
                g_pair[stats_width + 1] = widen((u16)(most >> 16));
            }

            // ---- the last part joins all, in a fixed order ------------------------------------------------------------------------------
            __shared__ bool s_last_v;
            const u32 note = __syncthreads_or(bad) ? count_note : 0; // non-finite elements
            u32 counted = 0;                                         // thread 0's
            if (tid == 0) {
                counted = count_up(&g_progress[1 + tensor], note) + note;
                s_last_v = (counted & count_mask) == (u32)parts - 1;
            }
            __syncthreads();
            if (!s_last_v) return;
            const float *g_stats = (const float *)args.stats + head * parts * 4 * stats_width;
            // out: v_scale: scale of each channel (value = code * scale), then its mean
            float *g_scale = (float *)args.v_scale + head * 2 * d_v;
            for (i32 c = tid; c < d_v; c += threads) {
                float low = 3.402823466e38f, high = -3.402823466e38f;
                #pragma unroll 16
                for (i32 s = 0; s < parts; s++) {
                    const float *g_row = g_stats + ((i64)s * 4 + 1) * stats_width + c;
                    low = fminf(low, g_row[stats_width]);
                    high = fmaxf(high, g_row[2 * stats_width]);
                }
                const float amax = fmaxf(high, -low);
                g_scale[c] = amax > 1e-30f ? amax * 0.000372023816f : 1.0f; // amax maps to 2688
                g_scale[d_v + c] = 0.0f;
            }
            __syncthreads();
            if (tid == 0) count_set(&g_progress[1 + tensor], (counted & ~count_mask) + (u32)parts + 1);
        }
        return;
    }

    if (tensor >= tensors) {
        // ---- lse_bias = sm_scale * q . mean(K), natural-log units ---------------------------------------------------------
        const i32 q_piece = (tensor - tensors) * args.k_tile_count + tile; // counts on behind the tiles of K and V
        const i32 q_tile = q_piece % args.q_tile_count;
        const i64 q_index = q_piece / args.q_tile_count; // batch * heads_q + query head
        const i32 q_batch = (i32)(q_index / args.heads_q), q_head = (i32)(q_index % args.heads_q);
        const i64 kv_index = (i64)q_batch * args.heads_kv + q_head / (args.heads_q / args.heads_kv);
        const i32 rows_left = args.seq_q - q_tile * tile_q;
        const u16 *g_rows = (const u16 *)args.q + q_batch * args.q_stride_b + q_head * args.q_stride_h + (i64)q_tile * tile_q * args.q_stride_n;
        const i32 chunk = tid % chunks, row_first = tid / chunks;
        float *s_dot = (float *)smem; // [tile_q][chunks / 4]: one sum per 4 chunks, so that the order of the sum is fixed
        if (tid == 0) count_wait(&g_progress[1 + 2 * kv_index], (u32)parts + 1);
        __syncthreads();
        float mean[8];
        load8_f32(mean, (const float *)args.k_mean + kv_index * d_qk + chunk * 8);
        #pragma unroll 4
        for (i32 row = row_first; row < tile_q; row += threads / chunks) {
            u32 raw[4];
            float x[8], dot = 0.0f;
            const u16 *g_item = g_rows + row * args.q_stride_n + chunk * 8;
            const bool inside = row < rows_left && chunk * 8 < head_dim_qk;
            if (args.vector_io & 1)
                load8_aligned(raw, g_item, inside);
            else
                load8_any(raw, g_item, inside);
            widen8(x, raw, bad);
            #pragma unroll
            for (i32 e = 0; e < 8; e++) dot += x[e] * mean[e];
            dot += __shfl_xor_sync(~0u, dot, 1);
            dot += __shfl_xor_sync(~0u, dot, 2);
            if (chunk % 4 == 0) s_dot[row * (chunks / 4) + chunk / 4] = dot;
        }
        __syncthreads();
        for (i32 row = tid; row < tile_q; row += threads) {
            float dot = 0.0f;
            #pragma unroll
            for (i32 c = 0; c < chunks / 4; c++) dot += s_dot[row * (chunks / 4) + c];
            ((float *)args.lse_bias)[(q_index * args.q_tile_count + q_tile) * tile_q + row] = dot * args.sm_scale;
        }
        return;
    }

    if (tensor % 2 == 0) {
        const i32 rows_left = args.seq_k - tile * tile_k;
        const u16 *g_head = (const u16 *)args.k + batch * args.k_stride_b + kv_head * args.k_stride_h;
        const u16 *g_rows = g_head + (i64)tile * tile_k * args.k_stride_n;
        // ---- mean of K: s_k_mean[d_qk] fp32 -----------------------------------------------------------------------------------------
        if (tid == 0) count_wait(&g_progress[1 + tensor], (u32)parts + 1);
        __syncthreads();
        float *s_k_mean = (float *)smem;
        for (i32 c = tid; c < d_qk; c += threads) s_k_mean[c] = ((const float *)args.k_mean)[head * d_qk + c];
        __syncthreads();
        // items of 8 elements; item i of a thread is chunk (i * threads + tid) % chunks of row (i * threads + tid) / chunks
        constexpr i32 items = tile_k * chunks / threads;
        static_assert(items * threads == tile_k * chunks, "a tile is a whole number of items per thread");
        float *s_work = (float *)(smem + 4 * d_qk);

        // ---- pass 1: the largest magnitude gives the second-level scale, fp32, amax / (448 * 6) -----------------------------
        u32 *s_amax = (u32 *)s_work; // fp32 bits; magnitudes order as integers
        constexpr i32 groups = 1;
        for (i32 g = tid; g < groups; g += threads) s_amax[g] = 0;
        __syncthreads();
        #pragma unroll 1
        for (i32 i = 0; i < items; i++) {
            const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
            u32 raw[4];
            float x[8];
            const u16 *g_item = g_rows + row * args.k_stride_n + chunk * 8;
            const bool inside = row < rows_left && chunk * 8 < head_dim_qk;
            if (args.vector_io & 2)
                load8_aligned(raw, g_item, inside);
            else
                load8_any(raw, g_item, inside);
            widen8(x, raw, bad);
            #pragma unroll
            for (i32 e = 0; e < 8; e++) x[e] = row < rows_left ? x[e] - s_k_mean[chunk * 8 + e] : 0.0f;
            // K - mean(K), unrotated, kept for delta_s = mean(Q) . (K - mean(K))
            uint4 *g_centred = (uint4 *)args.k_centred + ((head * args.k_tile_count + tile) * tile_k + row) * chunks + chunk;
            *g_centred = make_uint4(narrow2(x[0], x[1]), narrow2(x[2], x[3]), narrow2(x[4], x[5]), narrow2(x[6], x[7]));
            hadamard8(x); // along the head dim, over blocks of 64 channels, orthonormal
            float amax = 0.0f;
            #pragma unroll
            for (i32 e = 0; e < 8; e++) amax = fmaxf(amax, fabsf(x[e]));
            amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 1));
            amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 2)); // the 4 lanes hold chunks of one row
            if (tid % 4 == 0) atomicMax(&s_amax[row / (tile_k / groups)], __float_as_uint(amax));
        }
        __syncthreads();
        u8 *g_image = (u8 *)args.k_tiles + (head * args.k_tile_count + tile) * k_tile_bytes;
        u8 *g_sf = g_image + k_data_bytes;
        float *g_scale = (float *)(g_image + k_data_bytes + k_sf_bytes);
        for (i32 s = tid; s < k_scales; s += threads) {
            const float amax = __uint_as_float(s_amax[0]);
            g_scale[s] = amax > 0.0f ? amax * 0.000372023816f : 1.0f;
        }

        // ---- pass 2: block scales of 16 elements, codes --------------------------------------------------------------
        constexpr i32 steps = d_qk / 64; // k steps of the block-scaled MMA
        #pragma unroll 1
        for (i32 i = 0; i < items; i++) {
            const i32 row = (i * threads + tid) / chunks, chunk = (i * threads + tid) % chunks;
            u32 raw[4];
            float x[8];
            const u16 *g_item = g_rows + row * args.k_stride_n + chunk * 8;
            const bool inside = row < rows_left && chunk * 8 < head_dim_qk;
            if (args.vector_io & 2)
                load8_aligned(raw, g_item, inside);
            else
                load8_any(raw, g_item, inside);
            widen8(x, raw, bad);
            #pragma unroll
            for (i32 e = 0; e < 8; e++) x[e] = row < rows_left ? x[e] - s_k_mean[chunk * 8 + e] : 0.0f;
            hadamard8(x); // along the head dim, over blocks of 64 channels, orthonormal
            const float second = __uint_as_float(s_amax[row / (tile_k / groups)]);
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
            u8 *g_row = g_image + (panel * tile_k + row) * qk_panel_bytes;
            *(u32 *)(g_row + (byte / 16 ^ row / 4 % 2) * 16 + byte % 16) = packed;

            // block scales, in the order of the MMA's lanes: byte = block within a k step of 64
            if (chunk % 2 == 0) {
                const i32 step = chunk / 8, block_byte = chunk % 8 / 2;
                const i32 lane = 4 * (row % 8) + row % 32 / 8;
                u8 *g_word = g_sf + 4 * (((row / 32 * steps + step) / 2 * 32 + lane) * 2 + (row / 32 * steps + step) % 2);
                g_word[block_byte] = (u8)scale;
            }
        }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 2u);
    } else {
        const i32 keys_left = args.seq_k - tile * tile_k;
        // ---- load: [tile_k][d_v] bf16 into shared memory ---------------------------------------------------------------------
        constexpr i32 v_chunks = d_v / 8, v_pitch = d_v + 8; // elements; the pad spreads rows over the banks
        u16 *s_v = (u16 *)smem;
        float *s_inv = (float *)(smem + tile_k * v_pitch * 2), *s_mean = s_inv + d_v; // [d_v]
        const u16 *g_rows = (const u16 *)args.v + batch * args.v_stride_b + kv_head * args.v_stride_h + (i64)tile * tile_k * args.v_stride_n;
        for (i32 item = tid; item < tile_k * v_chunks; item += threads) {
            const i32 key = item / v_chunks, chunk = item % v_chunks;
            u32 raw[4];
            const u16 *g_item = g_rows + key * args.v_stride_n + chunk * 8;
            const bool inside = key < keys_left && chunk * 8 < head_dim_v;
            if (args.vector_io & 4)
                load8_aligned(raw, g_item, inside);
            else
                load8_any(raw, g_item, inside);
            u32 *s_row = (u32 *)(s_v + key * v_pitch + chunk * 8);
            #pragma unroll
            for (i32 e = 0; e < 4; e++) s_row[e] = raw[e];
        }

        // ---- scale of each channel, over the whole sequence --------------------------------------------------------------------
        if (tid == 0) count_wait(&g_progress[1 + tensor], (u32)parts + 1);
        __syncthreads();
        for (i32 c = tid; c < d_v; c += threads) {
            const float *g_scale = (const float *)args.v_scale + head * 2 * d_v; // value = code * scale
            s_inv[c] = 1.0f / g_scale[c];
            s_mean[c] = g_scale[d_v + c];
        }
        __syncthreads();

        // ---- codes: 8 bytes, 16 keys of one channel, an item ---------------------------------------------------------------
        u8 *g_image = (u8 *)args.v_tiles + (head * args.k_tile_count + tile) * v_tile_bytes;
        for (i32 item = tid; item < d_v * (v_row_bytes / 8); item += threads) {
            const i32 c = item % d_v, part = item / d_v;
            const float inv = s_inv[c], mean = s_mean[c];
            float y[16];
            #pragma unroll
            for (i32 k = 0; k < 16; k++) {
                const i32 position = part * 16 + k; // along the P fragment
                const i32 key = position / 32 * 32 + 8 * (position % 8 / 2) + 2 * (position % 32 / 8) + position % 2;
                y[k] = key < keys_left ? (finite(widen(s_v[key * v_pitch + c]), bad) - mean) * inv : 0.0f;
            }
            const i32 row = c / 32 * 32 + c % 8 / 2 * 8 + c % 32 / 8 * 2 + c % 2;
            u32 packed[2];
            u8 *g_word = g_image + v_data_bytes + 4 * (((part / 4 * (d_v / 32) + row / 32) / 2 * 32 + 4 * (row % 8) + row % 32 / 8) * 2 + (part / 4 * (d_v / 32) + row / 32) % 2);
            g_word[part % 4] = (u8)block_quantise(packed, y);
            const i32 panel = part * 8 / v_panel_bytes, byte = part * 8 % v_panel_bytes;
            u8 *g_chunk = g_image + (panel * d_v + row) * v_panel_bytes + (byte / 16 ^ row / 2 % 4) * 16;
            *(uint2 *)(g_chunk + byte % 16) = make_uint2(packed[0], packed[1]);
        }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 4u);
    }
}
