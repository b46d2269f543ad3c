/* sage.h: low-bit attention kernels in any application.
 *
 * libsage finds, loads and launches the kernels that sagegen emits: O = softmax(Q K^T * sm_scale) V with 8-bit or 4-bit operands.
 * It needs the NVIDIA driver at run time and, to compile kernels at run time, the NVRTC library; both are found with dlopen, so that a
 * program which links libsage also starts where neither is present.
 *
 * Use, in order:
 *   1. sage_context_create()          once per GPU
 *   2. options.packs                  kernels that you ship (files of `sagegen pack`), or options.kernel_dir (files of
 *                                     `sagegen --out`), or sage_use_generator(): made at run time (link libsagegen)
 *   3. sage_attention_supports()      optional: ask before you launch
 *   4. sage_attention_plan_create()   picks, compiles or loads the kernels; may take seconds; keep the plan. Or let the context keep
 *                                     them: sage_attention_prewarm() once, then sage_attention_plan_get() wherever one is needed
 *   5. sage_attention_workspace_bytes(), one allocation of your own
 *   6. sage_attention_run()           launches only, on your stream; or sage_attention_quantise() then sage_attention_attend()
 *
 * Rules that hold everywhere: no globals; the library never prints, never exits; inputs are never written; every argument is either
 * honoured or refused with a reason. Errors are codes; sage_last_error() has the sentence. Outputs are untouched on failure.
 * Threads: a context and its plans may be used from many threads at once. Creation and destruction are the caller's to order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SAGE_H
#define SAGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(SAGE_STATIC) || !defined(__GNUC__)
#define SAGE_API
#else
#define SAGE_API __attribute__((visibility("default")))
#endif

#define SAGE_VERSION_MAJOR 0
#define SAGE_VERSION_MINOR 1
#define SAGE_VERSION_PATCH 0

/* ---- Status ------------------------------------------------------------------------------------------------------------------- */

/* X(symbol, number, text). Numbers are pinned: they never change meaning. */
#define SAGE_STATUS_LIST(X)                                                                                                        \
    X(OK, 0, "ok")                                                                                                                 \
    X(ERROR_INVALID_ARGUMENT, 1, "invalid argument")                                                                               \
    X(ERROR_UNSUPPORTED, 2, "not supported")                                                                                       \
    X(ERROR_OUT_OF_MEMORY, 3, "out of host memory")                                                                                \
    X(ERROR_NO_DRIVER, 4, "no usable NVIDIA driver")                                                                               \
    X(ERROR_NO_DEVICE, 5, "no such GPU")                                                                                           \
    X(ERROR_NO_NVRTC, 6, "no usable NVRTC library")                                                                                \
    X(ERROR_COMPILE, 7, "kernel compilation failed")                                                                               \
    X(ERROR_NOT_FOUND, 8, "no kernel found")                                                                                       \
    X(ERROR_CACHE, 9, "kernel cache unusable")                                                                                     \
    X(ERROR_CORRUPT, 10, "damaged kernel file")                                                                                    \
    X(ERROR_CUDA, 11, "CUDA driver error")                                                                                         \
    X(ERROR_WORKSPACE, 12, "workspace too small or misaligned")                                                                    \
    X(ERROR_CAPTURE, 13, "not possible while a stream is being captured")                                                          \
    X(ERROR_IO, 14, "file error")                                                                                                  \
    X(ERROR_INTERNAL, 15, "internal error")

typedef enum sage_status {
#define SAGE_STATUS_MEMBER(symbol, number, text) SAGE_##symbol = number,
    SAGE_STATUS_LIST(SAGE_STATUS_MEMBER)
#undef SAGE_STATUS_MEMBER
} sage_status;

/* The fixed short text of a code; never NULL. */
SAGE_API const char *sage_status_text(sage_status status);
/* major * 10000 + minor * 100 + patch of the library that runs. */
SAGE_API int sage_version(void);

/* ---- Context ------------------------------------------------------------------------------------------------------------------ */

typedef struct sage_context sage_context;

/* The caller's CUstream (or cudaStream_t) as it is; NULL: the legacy default stream. */
typedef void *sage_stream;

typedef struct sage_allocator {
    void *(*allocate)(void *user, size_t bytes); /* NULL: failed */
    void (*release)(void *user, void *memory);
    void *user;
} sage_allocator;

typedef enum sage_log_level { SAGE_LOG_INFO = 0, SAGE_LOG_WARNING = 1 } sage_log_level;
typedef void (*sage_log_function)(void *user, sage_log_level level, const char *text);

/* Zero-initialise, set size = sizeof(sage_options), then what you need. Texts are copied. */
typedef struct sage_options {
    size_t size;
    int device;                     /* CUDA ordinal; -1: no device (compile and inspect only) */
    const char *cache_dir;          /* NULL: $SAGE_CACHE_DIR, else the user's cache directory by the XDG rules */
    const char *nvrtc_path;         /* NULL: $SAGE_NVRTC, else the toolkit, Python wheels, the loader path. Refused:
                                       what everyone may write; where it was searched for, also what other users may */
    const char *kernel_dir;         /* files written by `sagegen --out`, searched before the cache; NULL: none */
    int memory_only;                /* 1: never touch a cache directory */
    int trust_shared_cache;         /* 1: accept a cache directory that other users may write (their code would run as yours) */
    sage_allocator allocator;       /* all zero: malloc and free */
    sage_log_function log;          /* NULL: silent */
    void *log_user;
    /* The CUDA driver's entry points by their exported names ("cuInit", "cuMemAlloc_v2", ...; the driver's own calling convention), for
     * a stand-in of the driver; returns NULL for one it lacks. Must outlive the context. NULL: those of libcuda.so.1 ($SAGE_DRIVER). */
    void *(*driver_entry)(const char *symbol);
    /* From the second launch of a call on, kernels may start while the one before drains (programmatic dependent launch: sm_90 and
     * newer, driver of CUDA 12.3 or newer; elsewhere nothing changes). 1: they may. -1: never. 0: $SAGE_DEPENDENT_LAUNCH (0 or 1), else 1. */
    int dependent_launch;
    const char *wisdom;             /* what `sagegen tune` found; NULL: $SAGE_WISDOM, else <data directory>/sagegen/wisdom.txt; "none": no
                                       wisdom, the tables that come with the generator neither: default variants alone */
    /* Paths of packs (files of `sagegen pack`), then NULL; at most 8. Their cubins are searched before all else, in this order; their
     * sources after kernel_dir, for GPUs that no cubin is for: those need NVRTC, and what it makes is cached. NULL: none. */
    const char *const *packs;
} sage_options;

/* Creates a context on the device's primary CUDA context (retained until destroy; never made current for the caller).
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, NO_DRIVER, NO_DEVICE, CUDA; of packs and kernel_dir: IO, CORRUPT (damaged, or something
 * else), UNSUPPORTED (others may write it; made for another version). options may be NULL: device 0, all defaults.
 * A cache directory that cannot be used is not an error: the context is then memory-only, and says so through the log. */
SAGE_API sage_status sage_context_create(const sage_options *options, sage_context **out);
/* Waits for nothing: destroy plans first, and let the work that uses them end. NULL is allowed. */
SAGE_API void sage_context_destroy(sage_context *context);
/* The sentence of the calling thread's last failed call on this context; "" if none. Valid until that thread's next call. context NULL: of
 * its last failed sage_context_create. */
SAGE_API const char *sage_last_error(const sage_context *context);
/* Compute capability of the context's GPU times ten (90, 120, ...); 0 without a device. */
SAGE_API int sage_context_sm(const sage_context *context);

/* Registers the generator as the last provider of kernels: specs -> text -> NVRTC at run time. Defined in libsagegen; link it too. */
SAGE_API sage_status sage_use_generator(sage_context *context);

/* ---- Attention ---------------------------------------------------------------------------------------------------------------- */

typedef enum sage_dtype { SAGE_BF16 = 0, SAGE_FP16 = 1 } sage_dtype;
typedef enum sage_mask { SAGE_MASK_NONE = 0, SAGE_MASK_CAUSAL = 1 /* aligned to the last query and the last key */ } sage_mask;
typedef enum sage_precision {
    SAGE_PRECISION_AUTO = 0,  /* the fastest 8-bit kernel that this GPU has for the head dim */
    SAGE_INT8_FP16 = 1,       /* SageAttention: INT8 QK, FP16 PV */
    SAGE_INT8_FP8 = 2,        /* SageAttention2: INT8 QK, FP8 PV, fp32 accumulation */
    SAGE_INT8_FP8_ACC16 = 3,  /* SageAttention2++: FP8 PV accumulated in fp16 */
    SAGE_FP4 = 4,             /* SageAttention3: NVFP4 operands */
    SAGE_FP8_FP8 = 5,         /* FP8 QK, rotated along the head dim; FP8 PV, fp32 accumulation */
    SAGE_FP8_FP4 = 6,         /* the QK of SAGE_FP8_FP8, the PV of SAGE_FP4 */
    SAGE_FP4_FP8 = 7          /* the QK of SAGE_FP4; FP8 PV */
} sage_precision;

enum { SAGE_FLAG_LSE = 1u, SAGE_FLAG_SAFE = 2u, SAGE_FLAG_OVERFLOW = 4u };

typedef struct sage_attention_shape {
    int64_t batch;    /* >= 0 */
    int64_t heads_q;  /* a multiple of heads_kv */
    int64_t heads_kv; /* >= 1 */
    int64_t seq_q;    /* >= 0, < 2^31 - 256 */
    int64_t seq_k;    /* >= 0, < 2^31 - 256; 0 keys: O = 0, LSE = -inf */
} sage_attention_shape;

/* Zero-initialise, set size. What a plan is made for. */
typedef struct sage_attention_desc {
    size_t size;
    sage_dtype dtype;         /* of Q, K, V and O */
    int head_dim_qk;          /* elements; 8...256, a multiple of 8 */
    int head_dim_v;           /* elements; 0: head_dim_qk */
    sage_mask mask;
    sage_precision precision;
    const char *spec;         /* a spec by name ("int8_fp8_d128"); NULL: chosen by precision, head dim and GPU. Copied. */
    float sm_scale;           /* > 0; 0: 1 / sqrt(head_dim_qk) */
    unsigned flags;           /* SAGE_FLAG_LSE: lse may be passed; SAFE: the safe numeric mode; OVERFLOW: flags may be passed */
    sage_attention_shape expected; /* what will mostly be run: wisdom chooses the variant for it; all zero: 4 x 32 heads, 4096 tokens.
                                      The plan runs every other shape too, and compiles nothing for it. Callers that were built
                                      before this member was there pass a smaller size, and get the same as for zeros. */
} sage_attention_desc;

/* A strided tensor [batch][heads][seq][dim], dim contiguous. Strides in elements, 0 or more (negative ones are refused), such that all
 * addresses stay inside the allocation; 0 for a dimension of size 1 is fine. The address must be a multiple of the element size. */
typedef struct sage_tensor {
    void *data; /* device pointer */
    int64_t stride_batch, stride_head, stride_seq;
} sage_tensor;

/* Zero-initialise, set size. Non-finite elements of Q, K, V are read as 0, and reported through overflow_flags. */
typedef struct sage_attention_args {
    size_t size;
    sage_attention_shape shape;
    sage_tensor q, k, v; /* never written; not read by sage_attention_attend */
    sage_tensor o;       /* all of [batch][heads_q][seq_q][head_dim_v] is written */
    float *lse;          /* device fp32 [batch][heads_q][seq_q], contiguous, natural log of the true scores; NULL: not wanted */
    uint32_t *overflow_flags; /* device, one word, OR-ed into, never cleared; NULL: not wanted */
    void *workspace;     /* device, 256-byte aligned; may be reused by calls that are ordered one after the other (one stream, or events).
                          * Kernels count in it: two calls at once on one workspace may never end. */
    size_t workspace_bytes;
} sage_attention_args;

/* Bits of *overflow_flags. */
enum { SAGE_OVERFLOW_Q = 1u, SAGE_OVERFLOW_K = 2u, SAGE_OVERFLOW_V = 4u, SAGE_OVERFLOW_O = 8u };

typedef struct sage_attention_plan sage_attention_plan;

/* Whether a plan can be made for desc on this context. Never compiles. If not, returns UNSUPPORTED or INVALID_ARGUMENT (OUT_OF_MEMORY:
 * nobody knows) and writes the reason (NUL-terminated, cut to n bytes) to why; why may be NULL. */
SAGE_API sage_status sage_attention_supports(sage_context *context, const sage_attention_desc *desc, char *why, size_t n);
/* Picks the kernels and loads them: from packs, kernel_dir, the cache, or the generator (compiling: may take seconds). Not for a thread that is
 * capturing. Errors: those of supports, NOT_FOUND, NO_NVRTC, COMPILE, CUDA, OUT_OF_MEMORY. Owner: the caller; destroy before the context. */
SAGE_API sage_status sage_attention_plan_create(sage_context *context, const sage_attention_desc *desc, sage_attention_plan **out);
SAGE_API void sage_attention_plan_destroy(sage_attention_plan *plan);
/* Makes the plans for count descriptions (an array; all with the same size member), several at a time, and keeps them in the context for
 * sage_attention_plan_get: kernels are compiled, cached, and loaded on the GPU. May take seconds; not for a thread that is capturing.
 * Errors: those of plan_create, for the first description that has one; the others are made all the same. */
SAGE_API sage_status sage_attention_prewarm(sage_context *context, const sage_attention_desc *descs, size_t count);
/* The context's own plan for desc, made if there is none yet; equal descriptions give the same plan, in all threads. While stream is
 * being captured nothing is made: CAPTURE, with the capture left as it was. Errors: those of plan_create, CAPTURE. Owner: the context;
 * do not destroy it. Threads: any; those that want the same plan wait for the one that makes it. */
SAGE_API sage_status sage_attention_plan_get(sage_context *context, const sage_attention_desc *desc, sage_stream stream,
                                             const sage_attention_plan **out);
/* The spec and variant in use, for logs: "int8_fp8_d128 q128_k128_s2_w8 sm_90a", " safe" added. Lives as long as
 * the plan. */
SAGE_API const char *sage_attention_plan_describe(const sage_attention_plan *plan);
/* Bytes of workspace that run, quantise and attend need for this shape; grows linearly in seq_q and seq_k. 0 for an impossible shape. */
SAGE_API size_t sage_attention_workspace_bytes(const sage_attention_plan *plan, const sage_attention_shape *shape);
/* O = softmax(Q K^T * sm_scale) V. Launches only: no allocation, no synchronisation, no compilation; safe in CUDA graph capture.
 * Errors: INVALID_ARGUMENT, UNSUPPORTED, WORKSPACE (nothing was launched), CUDA. Errors of the kernels themselves show at the caller's
 * next synchronisation, as usual in CUDA. The context's device need not be current. */
SAGE_API sage_status sage_attention_run(const sage_attention_plan *plan, const sage_attention_args *args, sage_stream stream);
/* The two halves of run. After quantise's work is done, Q, K and V may be freed or reused; attend reads the workspace alone. Both take the
 * same shape, and the same workspace, which must not be used otherwise between them. */
SAGE_API sage_status sage_attention_quantise(const sage_attention_plan *plan, const sage_attention_args *args, sage_stream stream);
SAGE_API sage_status sage_attention_attend(const sage_attention_plan *plan, const sage_attention_args *args, sage_stream stream);

#ifdef __cplusplus
}
#endif
#endif
