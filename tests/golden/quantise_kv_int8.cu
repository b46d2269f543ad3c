// int8_fp8_d128_quantise_kv_q192_k128_s3_w12_f16_sm_90a_bf16
// K and V quantised to tile images in the workspace, by their statistics over the sequence (QK in int8, PV in fp8_e4m3)
//
// spec int8_fp8_d128 (hash c9740032ff0f3cee)   variant q192_k128_s3_w12_f16   target sm_90a   io bf16   mask none
// made by sagegen 0.1.0 from templates/quantise_kv.cu.tl
// again: sagegen expand --spec specs/int8_fp8_d128.yaml --role quantise_kv --arch sm_90a --io bf16 --mask none --variant q192_k128_s3_w12_f16

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
constexpr i32 chunks = d_qk / 8;             // 16-byte chunks of a Q or K row
constexpr i32 stats_width = 128;           // floats of a row of statistics: the wider of d_qk and d_v
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

// Emits nothing: what was computed from the pairs before this point is not kept for use behind it.
__device__ __forceinline__ void keep_packed(u32 (&r)[4])
{
    asm volatile("" : "+r"(r[0]), "+r"(r[1]), "+r"(r[2]), "+r"(r[3]));
}

// Four products x * inv, |x * inv| < 128, rounded to nearest even, as packed int8: added to 1.5 * 2^23, a float's low bits are the integer.
__device__ __forceinline__ u32 pack_s8x4(float a, float b, float c, float d, float inv)
{
    const u32 lo = __byte_perm(__float_as_uint(__fmaf_rn(a, inv, 12582912.0f)), __float_as_uint(__fmaf_rn(b, inv, 12582912.0f)), 0x0040);
    const u32 hi = __byte_perm(__float_as_uint(__fmaf_rn(c, inv, 12582912.0f)), __float_as_uint(__fmaf_rn(d, inv, 12582912.0f)), 0x0040);
    return __byte_perm(lo, hi, 0x5410);
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

// Four packed e4m3 to fp32, exactly. PTX ISA 9.7.9.21, sm_89.
__device__ __forceinline__ void unpack_e4m3x4(float (&x)[4], u32 codes)
{
    asm("{ .reg .b16 lo, hi, a, b;\n"
        ".reg .b32 pair;\n"
        "mov.b32 {lo, hi}, %4;\n"
        "cvt.rn.f16x2.e4m3x2 pair, lo;\n"
        "mov.b32 {a, b}, pair;\n"
        "cvt.f32.f16 %0, a;\n"
        "cvt.f32.f16 %1, b;\n"
        "cvt.rn.f16x2.e4m3x2 pair, hi;\n"
        "mov.b32 {a, b}, pair;\n"
        "cvt.f32.f16 %2, a;\n"
        "cvt.f32.f16 %3, b; }"
        : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3]) : "r"(codes));
}

// Four packed e4m3 with the later two replaced by c and d, rounded to nearest even, saturating at 448. PTX ISA 9.7.9.21, sm_89.
__device__ __forceinline__ u32 later_e4m3(u32 codes, float c, float d)
{
    u32 r;
    asm("{ .reg .b16 lo, old, hi;\n"
        "mov.b32 {lo, old}, %1;\n"
        "cvt.rn.satfinite.e4m3x2.f32 hi, %3, %2;\n"
        "mov.b32 %0, {lo, hi}; }"
        : "=r"(r) : "r"(codes), "f"(c), "f"(d));
    return r;
}

// Four consecutive floats. p: 16-byte aligned.
__device__ __forceinline__ void load4_f32(float (&x)[4], const float *p)
{
    const float4 a = *(const float4 *)p;
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
}

// A tensor is K or V of one head. Pieces of work, in the order in which blocks take them up:
//   the parts of the first `lead` tensors' statistics;
//   for each further tensor: the parts of its statistics, between them the tiles of the tensor `lead` before it;
//   the tiles of the last `lead` tensors;
//   where LSE is wanted: the tiles of Q, for what smoothing took from their scores.
// Blocks draw numbers, since nothing is said about the order in which they start: whoever waits for statistics waits for blocks that run.
// grid: as many blocks as pieces
extern "C" __global__ void __launch_bounds__(threads, 3) int8_fp8_d128_quantise_kv_q192_k128_s3_w12_f16_sm_90a_bf16(const __grid_constant__ kernel_args args)
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
    __shared__ bool s_dirty; // the tensor has non-finite elements, as its statistics found
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
            float sum[8];
            u32 low[4], high[4]; // packed pairs
            bool repair = false; // second run: non-finite elements count as 0
            #pragma unroll 1
            for (;;) {
                #pragma unroll
                for (i32 i = 0; i < 8; i++) sum[i] = 0.0f;
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
                            #pragma unroll
                            for (i32 i = 0; i < 8; i++) sum[i] += widen((u16)(raw[j][i / 2] >> i % 2 * 16));
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
                        for (i32 i = 0; i < 8; i++) sum[i] += widen((u16)(raw[i / 2] >> i % 2 * 16));
                        #pragma unroll
                        for (i32 i = 0; i < 4; i++) low[i] = min2(low[i], raw[i]), high[i] = max2(high[i], raw[i]);
                    }
                }
                bool ok = true;
                #pragma unroll
                for (i32 i = 0; i < 8; i++) ok &= fabsf(sum[i]) <= 3.402823466e38f;
                #pragma unroll
                for (i32 i = 0; i < 4; i++) ok &= finite2(low[i]) && finite2(high[i]);
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
                g_out[stats_width + w % stats_chunks * 8 + w / stats_chunks] = total;
            }
            __syncthreads();
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
                float total = 0.0f;
                #pragma unroll 16
                for (i32 s = 0; s < parts; s++) {
                    const float *g_row = g_stats + ((i64)s * 4 + 1) * stats_width + c;
                    total += g_row[0];
                    low = fminf(low, g_row[stats_width]);
                    high = fmaxf(high, g_row[2 * stats_width]);
                }
                const float mean = total / (float)args.seq_k;
                const float amax = fmaxf(high - mean, mean - low);
                g_scale[c] = amax > 1e-30f ? amax * 0.00223214296f : 1.0f; // amax maps to 448
                g_scale[d_v + c] = mean;
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
        // ---- load: 8 items of 8 elements per thread: chunk `chunk` of rows row_first + i * row_step ---------------------------
        constexpr i32 items = 8, row_step = threads / chunks;
        const i32 chunk = tid % chunks, row_first = tid / chunks;
        const u16 *g_first = g_rows + row_first * args.k_stride_n + chunk * 8;
        const i64 item_stride = row_step * args.k_stride_n;
        const i32 rows_here = chunk * 8 < head_dim_qk ? rows_left - row_first : 0; // an item per row_step of them
        u32 raw[items][4];
        if (args.vector_io & 2) {
            #pragma unroll
            for (i32 i = 0; i < items; i++) load8_aligned(raw[i], g_first + i * item_stride, i * row_step < rows_here);
        } else
            load_rows_any<items>(raw, g_first, args.k_stride_n, 1, row_step, rows_here, false, bad);
        constexpr i32 groups = 8;
        u32 *s_amax = (u32 *)smem;                      // [groups] fp32 bits; magnitudes order as integers
        float *s_inv = (float *)(s_amax + groups);      // [groups] codes per unit
        for (i32 g = tid; g < groups; g += threads) s_amax[g] = 0;
        if (tid == 0) s_dirty = count_wait(&g_progress[1 + tensor], (u32)parts + 1) > count_mask; // the mean of K is there
        __syncthreads();
        float mean[8];
        load8_f32(mean, (const float *)args.k_mean + head * d_qk + chunk * 8);
        if (s_dirty) load_rows_any<items>(raw, g_first, args.k_stride_n, 1, row_step, rows_here, true, bad);

        // ---- largest magnitude of each scale group (per_thread) -----------------------------------------------------------------
        // group of a key: of 64 keys those with the same (key % 8) / 2, the columns which one thread of the score fragment holds
        constexpr i32 merge = 4, sets = items / merge; // a thread's items merge * j ... merge * j + 3 are of one group
        float amax[sets];
        #pragma unroll
        for (i32 i = 0; i < items; i++) {
            float most = 0.0f;
            #pragma unroll
            for (i32 e = 0; e < 8; e++) most = fmaxf(most, fabsf(widen((u16)(raw[i][e / 2] >> e % 2 * 16)) - mean[e]));
            if (row_first + i * row_step >= rows_left) most = 0.0f;
            amax[i / merge] = i % merge == 0 ? most : fmaxf(amax[i / merge], most);
        }
        #pragma unroll
        for (i32 j = 0; j < sets; j++) {
            const i32 row = row_first + j * merge * row_step;
            amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 1));
            amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 2));
            amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 4));
            amax[j] = fmaxf(amax[j], __shfl_xor_sync(~0u, amax[j], 8));
            if (tid % 16 == 0) atomicMax(&s_amax[(row / k_scale_keys * 4 + row % 8 / 2)], __float_as_uint(amax[j])); // 16 lanes hold chunks of one row
        }
        __syncthreads();

        // ---- scales: value = code * amax / 127; an empty group gets scale 1 -------------------------------------------------
        for (i32 g = tid; g < groups; g += threads) {
            const float most = __uint_as_float(s_amax[g]);
            s_inv[g] = most > 4.23333342e-37f ? 127.0f / most : 0.0f; // finite: 127 / 3e38
        }
        u8 *g_image = (u8 *)args.k_tiles + (head * args.k_tile_count + tile) * k_tile_bytes;
        float *g_scale = (float *)(g_image + k_data_bytes);
        for (i32 s = tid; s < k_scales; s += threads) {
            const float most = __uint_as_float(s_amax[s]);
            g_scale[s] = most > 0.0f ? most * (1.0f / 127.0f) : 1.0f;
        }
        __syncthreads();

        // ---- codes: 8 bytes an item, to their place in the image ------------------------------------------------------------------
        const i32 panel = chunk * 8 / qk_panel_bytes, byte = chunk * 8 % qk_panel_bytes;
        u8 *g_codes = g_image + (panel * tile_k + row_first) * qk_panel_bytes + (byte / 16 ^ row_first % 8) * 16 + byte % 16;
        #pragma unroll
        for (i32 i = 0; i < items; i++) {
            const i32 row = row_first + i * row_step;
            keep_packed(raw[i]); // differences are taken again: kept from above they would be 64 registers
            const float inv = row < rows_left ? s_inv[(row / k_scale_keys * 4 + row % 8 / 2)] : 0.0f;
            float y[8];
            #pragma unroll
            for (i32 e = 0; e < 8; e++) y[e] = widen((u16)(raw[i][e / 2] >> e % 2 * 16)) - mean[e];
            const u32 lo = pack_s8x4(y[0], y[1], y[2], y[3], inv), hi = pack_s8x4(y[4], y[5], y[6], y[7], inv);
            *(uint2 *)(g_codes + i * row_step * qk_panel_bytes) = make_uint2(lo, hi); // rows 8 apart are swizzled alike
        }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 2u);
    } else {
        const i32 keys_left = args.seq_k - tile * tile_k;
        // ---- load: an item is 4 keys of 8 channels, which make word `word` of 16-byte chunk `group` of 8 rows of the image -----------
        constexpr i32 items = 2, groups = 8; // groups: chunks of a row of the image, 16 keys each
        const u16 *g_rows = (const u16 *)args.v + batch * args.v_stride_b + kv_head * args.v_stride_h + (i64)tile * tile_k * args.v_stride_n;
        u32 raw[items][4][4];
        #pragma unroll
        for (i32 i = 0; i < items; i++) {
            const i32 word = tid / 8 % 4, group = tid / 32 % groups;
            const i32 chunk = i * 8 + tid % 8;
            const u16 *g_first = g_rows + (group * 16 + 2 * word) * args.v_stride_n + chunk * 8;
            const i32 keys_here = chunk * 8 < head_dim_v ? keys_left - (group * 16 + 2 * word) : 0;
            if (args.vector_io & 4) {
                #pragma unroll
                for (i32 k = 0; k < 4; k++) load8_aligned(raw[i][k], g_first + (k / 2 * 8 + k % 2) * args.v_stride_n, (k / 2 * 8 + k % 2) < keys_here);
            } else
                load_rows_any<4>(raw[i], g_first, args.v_stride_n, 2, 8, keys_here, false, bad);
        }

        // ---- scales of the channels, over the whole sequence -----------------------------------------------------------------------
        u8 *s_image = smem;                          // [d_v][groups] chunks of 16 bytes
        // Channel 8 j + 4 h + i stands at [h][j][i], here and in the sums of errors: lanes that read four channels each read on.
        constexpr i32 errors_pitch = d_v + 8;        // floats; a word's channels lie beside those of other words in the banks
        float *s_word_error = (float *)smem;         // [4 * groups][errors_pitch] of the four keys of a word, before the image takes its place
        float *s_inv = (float *)(smem + tile_k * errors_pitch); // [2][d_v / 8][4] codes per unit
        float *s_mean = s_inv + d_v;
        float *s_share = s_inv + 2 * d_v; // what a key of the later 8 of 16 takes of the tile's rounding errors, by channel
        float *g_scale = (float *)args.v_scale + head * 2 * d_v; // value = code * scale
        if (tid == 0) s_dirty = count_wait(&g_progress[1 + tensor], (u32)parts + 1) > count_mask;
        __syncthreads();
        for (i32 w = tid; w < d_v; w += threads) {
            const i32 c = w % (d_v / 2) / 4 * 8 + w / (d_v / 2) * 4 + w % 4;
            s_inv[w] = 1.0f / g_scale[c];
            s_mean[w] = g_scale[d_v + c];
        }
        __syncthreads();
        if (s_dirty) {
            #pragma unroll
            for (i32 i = 0; i < items; i++) {
                const i32 word = tid / 8 % 4, group = tid / 32 % groups;
                const i32 chunk = i * 8 + tid % 8;
                const u16 *g_first = g_rows + (group * 16 + 2 * word) * args.v_stride_n + chunk * 8;
                const i32 keys_here = chunk * 8 < head_dim_v ? keys_left - (group * 16 + 2 * word) : 0;
                load_rows_any<4>(raw[i], g_first, args.v_stride_n, 2, 8, keys_here, true, bad);
            }
        }

        // The chunks of a channel are turned by its group of 8: neither stores of words nor loads of chunks meet in a bank.
        // ---- nearest codes, and the errors that they leave: value = code + error, in units of the channel's scale --------------------------
        u32 codes[items][8];
        #pragma unroll
        for (i32 i = 0; i < items; i++) {
            const i32 word = tid / 8 % 4, group = tid / 32 % groups;
            const i32 chunk = i * 8 + tid % 8;
            u32 keep = 0;
            #pragma unroll
            for (i32 k = 0; k < 4; k++)
                if (group * 16 + 2 * word + (k / 2 * 8 + k % 2) < keys_left) keep |= 0xffu << 8 * k;
            #pragma unroll
            for (i32 half = 0; half < 2; half++) {
                float errors[4];
                float inv[4];
                load4_f32(inv, s_inv + half * (d_v / 2) + chunk * 4);
                float mean[4];
                load4_f32(mean, s_mean + half * (d_v / 2) + chunk * 4);
                #pragma unroll
                for (i32 e = 0; e < 4; e++) {
                    float y[4], nearest[4];
                    #pragma unroll
                    for (i32 k = 0; k < 4; k++) {
                        y[k] = widen((u16)(raw[i][k][half * 2 + e / 2] >> e % 2 * 16));
                        y[k] -= mean[e];
                        y[k] *= inv[e];
                    }
                    const u32 word_codes = pack_e4m3x4(y[0], y[1], y[2], y[3]);
                    unpack_e4m3x4(nearest, word_codes);
                    errors[e] = 0.0f;
                    #pragma unroll
                    for (i32 k = 0; k < 4; k++)
                        if (keep >> 8 * k & 1) errors[e] += __fsub_rn(y[k], nearest[k]); // never one operation with the product that made y
                    codes[i][half * 4 + e] = word_codes & keep;
                }
                float *s_errors = s_word_error + (group * 4 + word) * errors_pitch + half * (d_v / 2) + chunk * 4;
                *(float4 *)s_errors = make_float4(errors[0], errors[1], errors[2], errors[3]);
            }
        }
        __syncthreads();
        for (i32 w = tid; w < d_v; w += threads) {
            float error = 0.0f;
            #pragma unroll 8
            for (i32 n = 0; n < 4 * groups; n++) error += s_word_error[n * errors_pitch + w];
            s_share[w] = error * 0.01171875f;
        }
        __syncthreads();

        // ---- codes: a word of each of 8 channels; bytes 2 and 3, keys of the later 8 of 16, are rounded again with their share ----------------
        #pragma unroll
        for (i32 i = 0; i < items; i++) {
            const i32 word = tid / 8 % 4, group = tid / 32 % groups;
            const i32 chunk = i * 8 + tid % 8;
            u32 keep = 0;
            #pragma unroll
            for (i32 k = 0; k < 4; k++)
                if (group * 16 + 2 * word + (k / 2 * 8 + k % 2) < keys_left) keep |= 0xffu << 8 * k;
            #pragma unroll
            for (i32 half = 0; half < 2; half++) {
                float share[4];
                float inv[4];
                load4_f32(inv, s_inv + half * (d_v / 2) + chunk * 4);
                float mean[4];
                load4_f32(mean, s_mean + half * (d_v / 2) + chunk * 4);
                load4_f32(share, s_share + half * (d_v / 2) + chunk * 4);
                #pragma unroll
                for (i32 e = 0; e < 4; e++) {
                    float y[4];
                    #pragma unroll
                    for (i32 k = 2; k < 4; k++) {
                        y[k] = widen((u16)(raw[i][k][half * 2 + e / 2] >> e % 2 * 16));
                        y[k] -= mean[e];
                        y[k] *= inv[e];
                        y[k] = __fadd_rn(y[k], share[e]);
                    }
                    const i32 place = (chunk * 8 + half * 4 + e) * groups + (group ^ chunk % 8);
                    *(u32 *)(s_image + place * 16 + word * 4) = later_e4m3(codes[i][half * 4 + e], y[2], y[3]) & keep;
                }
            }
        }
        __syncthreads();

        // ---- to their place in the image: 16 bytes, 16 keys of one channel, a thread -------------------------------------------
        u8 *g_image = (u8 *)args.v_tiles + (head * args.k_tile_count + tile) * v_tile_bytes;
        constexpr i32 apart = threads / groups; // channels, and rows, between those of a thread
        const i32 c = tid / groups, part = tid % groups;
        const i32 row = c / 32 * 32 + c % 8 / 2 * 8 + c % 32 / 8 * 2 + c % 2;
        const i32 panel = part * 16 / v_panel_bytes, byte = part * 16 % v_panel_bytes;
        u8 *g_chunk = g_image + (panel * d_v + row) * v_panel_bytes + (byte / 16 ^ row % 8) * 16;
        static_assert(d_v % apart == 0, "each thread has as many channels");
        #pragma unroll
        for (i32 i = 0; i < d_v / apart; i++) {
            const i32 place = (c + i * apart) * groups + (part ^ (c + i * apart) / 8 % 8);
            *(uint4 *)(g_chunk + i * apart * v_panel_bytes) = *(const uint4 *)(s_image + place * 16);
        }
        if (bad && args.flags) atomicOr((u32 *)args.flags, 4u);
    }
}
