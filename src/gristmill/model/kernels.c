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

/* Each returns whether memory ran out. */

int gm_attend(const struct attention_job *c, region *pool, unsigned threads) {
    size_t P = padded(c->T), scratch = 2 * BLOCK * c->K + 2 * P * c->K + BLOCK * P;
    return spread(pool, threads, WIDEST(gm_attend_item), c, c->B * c->G, scratch);
}

int gm_attend_back(const struct attention_job *c, region *pool, unsigned threads) {
    size_t P = padded(c->T), scratch = 3 * BLOCK * c->K + 5 * P * c->K + 2 * BLOCK * P;
    return spread(pool, threads, WIDEST(gm_attend_back_item), c, c->B * c->G, scratch);
}

static size_t items_of(size_t n, size_t each) { return (n + each - 1) / each; }

int gm_rms_norm(const struct norm_job *c, region *pool, unsigned threads) {
    return spread(pool, threads, WIDEST(gm_rms_norm_item), c, items_of(c->rows, NORM_ROWS), 0);
}

int gm_rms_norm_back(const struct norm_job *c, region *pool, unsigned threads) {
    return spread(pool, threads, WIDEST(gm_rms_norm_back_item), c, items_of(c->rows, NORM_ROWS), 0);
}

int gm_swiglu(const struct swiglu_job *c, region *pool, unsigned threads) {
    return spread(pool, threads, WIDEST(gm_swiglu_item), c, items_of(c->n, SWIGLU_RUN), 0);
}

int gm_swiglu_back(const struct swiglu_job *c, region *pool, unsigned threads) {
    return spread(pool, threads, WIDEST(gm_swiglu_back_item), c, items_of(c->n, SWIGLU_RUN), 0);
}

/* Returns -1 for a target beyond V. */
int gm_cross_entropy(const struct cross_entropy_job *c, region *pool, unsigned threads) {
    for (size_t r = 0; r < c->rows; r++)
        if (c->targets[r] < 0 || (uint64_t)c->targets[r] >= c->V) return -1;
    return spread(pool, threads, WIDEST(gm_cross_entropy_item), c, items_of(c->rows, LOSS_ROWS), 0);
}
