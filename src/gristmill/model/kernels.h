/* The jobs of kernels.c, which `kernels.py` fills in, and the loops that do one item of a job, in versions for two widths of vectors. */
#ifndef GM_KERNELS_H
#define GM_KERNELS_H
#include <stddef.h>
#include <stdint.h>

static const float LOG2E = 1.44269504f, LN2 = 0.693147181f;

enum { BLOCK = 32 }; /* query rows that are attended at once; a multiple of TILE_ROWS and LANES */

static inline size_t padded(size_t n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }

extern int gm_most_lanes; /* for tests: 8 or 4 for narrower vectors than the processor has */

struct attention_job {
    const float *q, *k, *v; /* [B][T][H][K], [B][T][G][K] twice: as the projections give them */
    const float *q_weight, *k_weight; /* [K], or NULL */
    const float *cosine, *sine; /* [T][K / 2], or [B][T][K / 2] */
    const int64_t *starts; /* [B][T]: the first place that each sees, never falling in a row; or NULL: all */
    const int64_t *firsts, *kept; /* [B][T]: it sees from `firsts` up to before `kept`, too; or NULL. Neither falls */
    float *y, *lse; /* [B][T][H][K]; [B][H][T]: log2 of the sum of 2^scores */
    const float *dy; /* as y; this and what follows in the backward pass only */
    float *dq, *dk, *dv; /* as q, k, v */
    float *dq_weight, *dk_weight; /* [B·G][K]: by item */
    size_t B, T, H, G, K;
    size_t turned; /* rows of cosine and sine from one row to the next: T, or 0 */
    float eps;
};

enum { NORM_ROWS = 64 }; /* of an item */

struct norm_job {
    const float *x, *weight, *dy;
    float *y, *dx, *dweight; /* dweight [items][width]: by item */
    size_t rows, width;
    float eps;
};

enum { SWIGLU_RUN = 1 << 13 }; /* numbers of an item */

struct swiglu_job {
    const float *gate, *up, *dy;
    float *y, *dgate, *dup;
    size_t n; /* a multiple of 16 */
};

enum { LOSS_ROWS = 8 }; /* of an item */

struct cross_entropy_job {
    float *logits, *loss; /* [rows][V], which turn into `scale` times their gradients; [rows], in nats */
    const int64_t *targets; /* [rows] */
    size_t rows, V;
    float scale;
};

#define LOOPS(name)                                                                                                    \
    void name##_512(const void *, size_t, float *), name##_256(const void *, size_t, float *),                         \
        name##_128(const void *, size_t, float *)
LOOPS(gm_attend_item);
LOOPS(gm_attend_back_item);
LOOPS(gm_rms_norm_item);
LOOPS(gm_rms_norm_back_item);
LOOPS(gm_swiglu_item);
LOOPS(gm_swiglu_back_item);
LOOPS(gm_cross_entropy_item);

/* Each width has a file that tells the compiler by a pragma which instructions there are: an attribute of the function
   that loops comes too late, after GCC has split vectors in what is inlined into it (three times as slow). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define GM_X86
#define HAS_16 (gm_most_lanes >= 16 && __builtin_cpu_supports("avx512bw"))
#define HAS_8 (gm_most_lanes >= 8 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define WIDEST(item) (HAS_16 ? item##_512 : HAS_8 ? item##_256 : item##_128)
#else
#define WIDEST(item) item##_128
#endif
#endif
