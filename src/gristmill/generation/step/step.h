/* One step of a transformer: rows of new tokens in, logits over the next ones out. `decoder.py` fills it in.

   A row is a token of some sequence at some position; rows of one sequence come in order. What a row gives does not
   depend on the other rows but those of its own sequence before it: every sum is taken in one order, whatever shares
   the step. Sizes are rounded up: heads to 16 numbers, all else to panels of 32, filled with zeros. */
#ifndef GM_STEP_H
#define GM_STEP_H
#include <stddef.h>
#include <stdint.h>

#include "../../model/kernels.h"

enum { PANEL = 32, PAGE = 16, MOST_HEAD = 256, STEP_ROWS = 64 }; /* outputs; positions; size of a head; rows at once */
enum { FLOAT32, BFLOAT16, INT8 }; /* how matrices are stored: panels.h has their form */

struct step_layer {
    const float *norm;
    const char *qkv;
    const float *q_norm, *k_norm;
    const char *o;
    const float *ffn_norm;
    const char *gate_up, *down; /* panels of gate and up in turn */
};

struct step {
    /* The model. The embeddings are the head where they are tied. */
    size_t layers, width, heads, kv_heads, head, ffn, vocabulary;
    float eps;
    int32_t qk_norm, type;
    const char *embeddings, *unembedding;
    const float *norm;
    const struct step_layer *layer;
    const float *cosine, *sine; /* [positions][head / 2] */
    /* The rows. A page holds, of PAGE positions, for each layer and key-value head: keys [head][PAGE], values
       [PAGE][head]; with int8 weights first a scale of each position's key and value, [2][PAGE], then 16-bit numbers. */
    size_t rows;
    const int32_t *tokens, *positions;
    float *const *const *pages; /* [rows]: the pages of the row's sequence */
    const int32_t *outputs; /* [rows]: which row of logits to write, or -1 */
    float *logits; /* [outputs][V rounded up] */
    float *scratch; /* [gm_step_scratch] */
};

static inline size_t up_to(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

typedef struct {
    size_t D, K, Q, A, F, V; /* rounded up: width, head, q with k and v, what attention gives, ffn, vocabulary */
} step_sizes;

static inline step_sizes sizes_of(const struct step *s) {
    size_t K = up_to(s->head, 16);
    return (step_sizes){up_to(s->width, PANEL),
                        K,
                        up_to((s->heads + 2 * s->kv_heads) * K, PANEL),
                        up_to(s->heads * K, PANEL),
                        up_to(s->ffn, PANEL),
                        up_to(s->vocabulary, PANEL)};
}

/* The longest row that is multiplied. */
static inline size_t longest_of(const step_sizes *n) {
    size_t most = n->D > n->A ? n->D : n->A;
    return most > n->F ? most : n->F;
}

#define WIDTHS(result, name, ...) result name##_512(__VA_ARGS__), name##_256(__VA_ARGS__), name##_128(__VA_ARGS__)
WIDTHS(float, gm_log_total, const float *x, size_t n);
WIDTHS(size_t, gm_likeliest, const float *x, size_t n);
WIDTHS(void, gm_weights, float *x, size_t n, float top, float scale);
WIDTHS(void, gm_step_rows, const struct step *s);
#endif
