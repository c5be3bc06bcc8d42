/* What a training step does between its matrix products, fused: attention with QK-norm and rotary positions, RMSNorm,
   SwiGLU, softmax cross-entropy; forward and backward, float32. `kernels.py` says what each computes, `kernels_loops.h`
   does it.

   Work is cut into items whose number does not depend on the threads, and every item writes places of its own: the bits
   are the same for any number of threads. */
#include "kernels.h"

#include <stdatomic.h>
#include <stdlib.h>

int gm_most_lanes = 16;

/* A pool's way to run a function once in each of its threads: GOMP_parallel of the OpenMP that PyTorch runs in. */
typedef void region(void (*run)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    void (*item)(const void *job, size_t index, float *scratch);
    const void *job;
    size_t items, scratch; /* floats */
    atomic_size_t next;
    atomic_int failed;
} queue;

static void work(void *data) {
    queue *q = data;
    float *scratch = q->scratch ? aligned_alloc(64, (q->scratch * sizeof(float) + 63) / 64 * 64) : NULL;
    if (q->scratch && !scratch) {
        atomic_store(&q->failed, 1);
        return;
    }
    for (size_t i; (i = atomic_fetch_add(&q->next, 1)) < q->items;) q->item(q->job, i, scratch);
    free(scratch);
}

/* Returns whether memory ran out. */
static int spread(region *pool, unsigned threads, void (*item)(const void *, size_t, float *), const void *job,
                  size_t items, size_t scratch) {
    queue q = {.item = item, .job = job, .items = items, .scratch = scratch};
    if (pool && threads > 1 && items > 1) pool(work, &q, threads, 0);
    else work(&q);
    return atomic_load(&q.failed);
}

int gm_attend(const float *q, const float *k, const float *v, const float *q_weight, const float *k_weight,
              const float *cosine, const float *sine, const int64_t *starts, const int64_t *firsts, const int64_t *kept,
              float *out, float *lse, size_t B, size_t T, size_t H, size_t G, size_t K, size_t turned, float eps,
              region *pool, unsigned threads) {
    /* clang-format off */
    attention c = {.q = q, .k = k, .v = v, .q_weight = q_weight, .k_weight = k_weight, .cosine = cosine, .sine = sine,
                   .starts = starts, .firsts = firsts, .kept = kept, .turned = turned, .out = out, .lse = lse, .B = B, .T = T, .H = H, .G = G, .K = K, .eps = eps};
    /* clang-format on */
    size_t P = padded(T);
    return spread(pool, threads, WIDEST(gm_attend_item), &c, B * G, 2 * BLOCK * K + 2 * P * K + BLOCK * P);
}

int gm_attend_back(const float *q, const float *k, const float *v, const float *q_weight, const float *k_weight,
                   const float *cosine, const float *sine, const int64_t *starts, const int64_t *firsts,
                   const int64_t *kept, const float *y, const float *lse, const float *dy, float *dq, float *dk,
                   float *dv, float *dq_weight, float *dk_weight, size_t B, size_t T, size_t H, size_t G, size_t K,
                   size_t turned, float eps, region *pool, unsigned threads) {
    /* clang-format off */
    attention c = {.q = q, .k = k, .v = v, .q_weight = q_weight, .k_weight = k_weight, .cosine = cosine, .sine = sine,
                   .starts = starts, .firsts = firsts, .kept = kept, .turned = turned, .y = y, .lse = (float *)lse, .dy = dy, .dq = dq, .dk = dk, .dv = dv, .dq_weight = dq_weight,
                   .dk_weight = dk_weight, .B = B, .T = T, .H = H, .G = G, .K = K, .eps = eps};
    /* clang-format on */
    size_t P = padded(T);
    size_t scratch = 3 * BLOCK * K + 5 * P * K + 2 * BLOCK * P;
    return spread(pool, threads, WIDEST(gm_attend_back_item), &c, B * G, scratch);
}

size_t gm_rms_norm_items(size_t rows) { return (rows + NORM_ROWS - 1) / NORM_ROWS; }

int gm_rms_norm(const float *x, const float *weight, float *y, size_t rows, size_t width, float eps, region *pool,
                unsigned threads) {
    rms_norm c = {.x = x, .weight = weight, .y = y, .rows = rows, .width = width, .eps = eps};
    return spread(pool, threads, WIDEST(gm_rms_norm_item), &c, gm_rms_norm_items(rows), 0);
}

/* `dweight` [items][width]: by item. */
int gm_rms_norm_back(const float *x, const float *weight, const float *dy, float *dx, float *dweight, size_t rows,
                     size_t width, float eps, region *pool, unsigned threads) {
    rms_norm c = {
        .x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = dweight, .rows = rows, .width = width, .eps = eps};
    return spread(pool, threads, WIDEST(gm_rms_norm_back_item), &c, gm_rms_norm_items(rows), 0);
}

/* `n` is a multiple of 16. */
int gm_swiglu(const float *gate, const float *up, float *y, size_t n, region *pool, unsigned threads) {
    swiglu c = {.gate = gate, .up = up, .y = y, .n = n};
    return spread(pool, threads, WIDEST(gm_swiglu_item), &c, (n + SWIGLU_RUN - 1) / SWIGLU_RUN, 0);
}

int gm_swiglu_back(const float *gate, const float *up, const float *dy, float *dgate, float *dup, size_t n,
                   region *pool, unsigned threads) {
    swiglu c = {.gate = gate, .up = up, .dy = dy, .dgate = dgate, .dup = dup, .n = n};
    return spread(pool, threads, WIDEST(gm_swiglu_back_item), &c, (n + SWIGLU_RUN - 1) / SWIGLU_RUN, 0);
}

/* Losses in nats, and logits [rows][V] turned into `scale` times their gradients. Returns -1 for a target beyond V. */
int gm_cross_entropy(float *logits, const int64_t *targets, float *loss, size_t rows, size_t V, float scale,
                     region *pool, unsigned threads) {
    for (size_t r = 0; r < rows; r++)
        if (targets[r] < 0 || (uint64_t)targets[r] >= V) return -1;
    cross_entropy c = {.logits = logits, .targets = targets, .loss = loss, .rows = rows, .V = V, .scale = scale};
    return spread(pool, threads, WIDEST(gm_cross_entropy_item), &c, (rows + LOSS_ROWS - 1) / LOSS_ROWS, 0);
}
