/* The loops of step.c with vectors of LANES floats; VECTORS of them are a panel. */
#include "../../model/kernels.h"
#include "../../model/vectors.h"
#include "step.h"

#define VECTORS (PANEL / LANES)

/* out[rows][panels · PANEL] = or += x[rows][k] · panels [k][PANEL]: each sum over k in order. */
INLINE void tile_of(const float *x, size_t ldx, const float *b, size_t k, float *out, size_t ldo, int add,
                    const int rows, const int panels) {
    vec sums[8][8]; /* of which the registers hold those that count */
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++) sums[i][j] = add ? load(out + i * ldo + j * LANES) : all(0);
    for (size_t l = 0; l < k; l++)
        for (int p = 0; p < panels; p++) {
            if (rows == 1) /* which reads weights as fast as they come: a seventh faster */
                for (int line = 0; line < PANEL; line += 16) __builtin_prefetch(b + (p * k + l + 16) * PANEL + line);
            for (int j = 0; j < VECTORS; j++) {
                vec right = load(b + (p * k + l) * PANEL + j * LANES);
                for (int i = 0; i < rows; i++) sums[i][p * VECTORS + j] += all(x[i * ldx + l]) * right;
            }
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++) store(out + i * ldo + j * LANES, sums[i][j]);
}

/* The panels `first` up to `last` of a product. */
INLINE void panels_of(const float *x, size_t ldx, size_t rows, const float *b, size_t k, size_t first, size_t last,
                      float *out, size_t ldo, int add) {
    size_t p = first;
    if (rows == 1) /* one row has too few sums to be busy */
        for (; p + AT_ONCE <= last; p += AT_ONCE)
            tile_of(x, ldx, b + p * k * PANEL, k, out + p * PANEL, ldo, add, 1, AT_ONCE);
    for (; p < last; p++) {
        const float *own = b + p * k * PANEL;
        float *to = out + p * PANEL;
        size_t i = 0;
        for (; i + STEP_TILE <= rows; i += STEP_TILE)
            tile_of(x + i * ldx, ldx, own, k, to + i * ldo, ldo, add, STEP_TILE, 1);
        for (; i + 2 <= rows; i += 2) tile_of(x + i * ldx, ldx, own, k, to + i * ldo, ldo, add, 2, 1);
        if (i < rows) tile_of(x + i * ldx, ldx, own, k, to + i * ldo, ldo, add, 1, 1);
    }
}

INLINE void normalise(const float *x, const float *weight, size_t width, size_t filled, float eps, float *y) {
    vec squares = all(0);
    for (size_t i = 0; i < filled; i += LANES) squares += load(x + i) * load(x + i);
    vec norm = all(1 / sqrtf(sum(squares) / (float)width + eps));
    for (size_t i = 0; i < filled; i += LANES) store(y + i, load(x + i) * norm * load(weight + i));
}

/* Normalise a head, if it has a weight, turn it by its position and scale it. */
INLINE void place_head(const struct step *s, float *x, size_t K, const float *weight, size_t position, float scale) {
    size_t half = s->head / 2;
    const float *cosine = s->cosine + position * half, *sine = s->sine + position * half;
    if (s->qk_norm) normalise(x, weight, s->head, K, s->eps, x);
    for (size_t i = 0; i < half; i++) {
        float a = x[i] * scale, b = x[i + half] * scale;
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

/* Attention of one head to the positions up to its own: softmax page by page (Milakov and Gimelshein 2018,
   arXiv:1805.02867). `at`: where keys and values of its layer and key-value head lie in a page. */
INLINE void attend_to(const float *q, float *const *pages, size_t at, size_t position, size_t K, float *out) {
    float sums[MOST_HEAD], shares[PAGE], top = -INFINITY, total = 0;
    memset(sums, 0, K * sizeof(float));
    for (size_t page = 0; page * PAGE <= position; page++) {
        const float *keys = pages[page] + at, *values = keys + PAGE * K;
        size_t filled = position + 1 - page * PAGE < PAGE ? position + 1 - page * PAGE : PAGE;
        vec even[PAGE / LANES], odd[PAGE / LANES], most = all(-INFINITY), whole = all(0);
        for (int j = 0; j < PAGE / LANES; j++) even[j] = odd[j] = all(0);
        for (size_t k = 0; k < K; k += 2)
            for (int j = 0; j < PAGE / LANES; j++) {
                even[j] += all(q[k]) * load(keys + k * PAGE + j * LANES);
                odd[j] += all(q[k + 1]) * load(keys + (k + 1) * PAGE + j * LANES);
            }
        for (int j = 0; j < PAGE / LANES; j++) store(shares + j * LANES, even[j] + odd[j]);
        for (size_t j = filled; j < PAGE; j++) shares[j] = -INFINITY;
        for (int j = 0; j < PAGE / LANES; j++) most = larger(most, load(shares + j * LANES));
        float new = largest(most);
        if (new > top) {
            vec kept = exp2v(all(top - new));
            for (size_t k = 0; k < K; k += LANES) store(sums + k, load(sums + k) * kept);
            total *= kept[0], top = new;
        }
        for (int j = 0; j < PAGE / LANES; j++) {
            vec e = exp2v(load(shares + j * LANES) - all(top));
            store(shares + j * LANES, e);
            whole += e;
        }
        total += sum(whole);
        for (size_t k = 0; k < K; k += LANES) {
            vec own = load(sums + k);
            for (size_t j = 0; j < filled; j++) own += all(shares[j]) * load(values + j * K + k);
            store(sums + k, own);
        }
    }
    for (size_t k = 0; k < K; k += LANES) store(out + k, load(sums + k) / all(total));
}

INLINE void silu_times(const float *gate_up, size_t rows, float *out, size_t ldo) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < PANEL; i += LANES) {
            vec gate = load(gate_up + r * 2 * PANEL + i), up = load(gate_up + r * 2 * PANEL + PANEL + i);
            vec e = exp2v(at_least(gate, -80) * all(-LOG2E));
            store(out + r * ldo + i, gate / (all(1) + e) * up);
        }
}

typedef struct {
    size_t D, K, Q, A, F, V; /* rounded up: width, head, q with k and v, what attention gives, ffn, vocabulary */
} sizes;

/* One layer of `rows` rows from `first`; returns where the next one's weights begin. */
INLINE const float *layer_of(const struct step *s, const sizes *n, const float *w, size_t layer, size_t first,
                             size_t rows, float *x, size_t thread, size_t threads, struct step_barrier *barrier) {
    size_t D = n->D, K = n->K, G = s->kv_heads, group = s->heads / G, at = layer * G * 2 * PAGE * K;
    float *y = x + STEP_ROWS * D, *qkv = y + STEP_ROWS * D, *seen = qkv + STEP_ROWS * n->Q,
          *act = seen + STEP_ROWS * n->A;
    const float *norm = w, *w_qkv = norm + D, *q_norm = w_qkv + D * n->Q, *k_norm = q_norm + K, *w_o = k_norm + K;
    const float *ffn_norm = w_o + n->A * D, *w_up = ffn_norm + D, *w_down = w_up + 2 * D * n->F;
#define SHARE(count) count *thread / threads, count *(thread + 1) / threads
#define OWN(i, count) for (size_t i = count * thread / threads; i < count * (thread + 1) / threads; i++)
    OWN(r, rows) normalise(x + r * D, norm, s->width, D, s->eps, y + r * D);
    gm_step_wait(barrier);
    panels_of(y, D, rows, w_qkv, D, SHARE(n->Q / PANEL), qkv, n->Q, 0);
    gm_step_wait(barrier);
    OWN(r, rows) {
        float *q = qkv + r * n->Q, *k = q + n->A, *v = k + G * K;
        size_t position = (size_t)s->positions[first + r], lane = position % PAGE;
        float *page = s->pages[first + r][position / PAGE] + at;
        for (size_t h = 0; h < s->heads; h++)
            place_head(s, q + h * K, K, q_norm, position, LOG2E / sqrtf((float)s->head));
        for (size_t g = 0; g < G; g++, page += 2 * PAGE * K) {
            place_head(s, k + g * K, K, k_norm, position, 1);
            for (size_t i = 0; i < K; i++) page[i * PAGE + lane] = k[g * K + i];
            memcpy(page + (PAGE + lane) * K, v + g * K, K * sizeof(float));
        }
    }
    gm_step_wait(barrier);
    OWN(i, rows * s->heads) {
        size_t r = i / s->heads, h = i % s->heads, place = at + h / group * 2 * PAGE * K;
        const float *q = qkv + r * n->Q + h * K;
        attend_to(q, s->pages[first + r], place, (size_t)s->positions[first + r], K, seen + r * n->A + h * K);
    }
    gm_step_wait(barrier);
    panels_of(seen, n->A, rows, w_o, n->A, SHARE(D / PANEL), x, D, 1);
    gm_step_wait(barrier);
    OWN(r, rows) normalise(x + r * D, ffn_norm, s->width, D, s->eps, y + r * D);
    gm_step_wait(barrier);
    OWN(p, n->F / PANEL) {
        float both[STEP_ROWS * 2 * PANEL];
        panels_of(y, D, rows, w_up + 2 * p * D * PANEL, D, 0, 2, both, 2 * PANEL, 0);
        silu_times(both, rows, act + p * PANEL, n->F);
    }
    gm_step_wait(barrier);
    panels_of(act, n->F, rows, w_down, n->F, SHARE(D / PANEL), x, D, 1);
    gm_step_wait(barrier);
    return w_down + n->F * D;
}

void NAME(gm_step_part)(const struct step *s, size_t thread, size_t threads, struct step_barrier *barrier) {
    size_t K = up_to(s->head, 16), A = s->heads * K;
    sizes n = {up_to(s->width, PANEL),     K, up_to(A + 2 * s->kv_heads * K, PANEL), A, up_to(s->ffn, PANEL),
               up_to(s->vocabulary, PANEL)};
    const float *head = s->weights + (s->tied ? 0 : s->vocabulary * n.D), *norm = head + n.D * n.V;
    float *x = s->scratch, *y = x + STEP_ROWS * n.D;
    for (size_t first = 0; first < s->rows; first += STEP_ROWS) {
        size_t rows = s->rows - first < STEP_ROWS ? s->rows - first : STEP_ROWS, wanted = 0, output = 0;
        OWN(r, rows) {
            size_t token = (size_t)s->tokens[first + r];
            const float *panel = head + token / PANEL * n.D * PANEL + token % PANEL;
            if (s->tied)
                for (size_t i = 0; i < n.D; i++) x[r * n.D + i] = panel[i * PANEL];
            else memcpy(x + r * n.D, s->weights + token * n.D, n.D * sizeof(float));
        }
        gm_step_wait(barrier);
        const float *w = norm + n.D;
        for (size_t layer = 0; layer < s->layers; layer++)
            w = layer_of(s, &n, w, layer, first, rows, x, thread, threads, barrier);
        for (size_t r = 0; r < rows; r++) {
            if (s->outputs[first + r] < 0) continue;
            if (!wanted) output = (size_t)s->outputs[first + r];
            if (wanted++ % threads == thread)
                normalise(x + r * n.D, norm, s->width, n.D, s->eps, y + (wanted - 1) * n.D);
        }
        gm_step_wait(barrier);
        panels_of(y, n.D, wanted, head, n.D, SHARE(n.V / PANEL), s->logits + output * n.V, n.V, 0);
        gm_step_wait(barrier);
    }
}

/* The log of the sum of exponentials; NaN or infinite where a number is, or where all are -inf. */
float NAME(gm_log_total)(const float *x, size_t n) {
    size_t whole = n / LANES * LANES;
    vec most = load_some(x + whole, n - whole, -INFINITY), total = all(0);
    for (size_t i = 0; i < whole; i += LANES) most = larger(most, load(x + i));
    float top = largest(most);
    for (size_t i = 0; i < whole; i += LANES) total += exp2v((load(x + i) - all(top)) * all(LOG2E));
    total += exp2v((load_some(x + whole, n - whole, -INFINITY) - all(top)) * all(LOG2E));
    return top + log2f(sum(total)) * LN2;
}

/* x = exp((x - top) · scale). */
void NAME(gm_weights)(float *x, size_t n, float top, float scale) {
    size_t whole = n / LANES * LANES;
    vec rest = exp2v((load_some(x + whole, n - whole, -INFINITY) - all(top)) * all(scale) * all(LOG2E));
    for (size_t i = 0; i < whole; i += LANES) store(x + i, exp2v((load(x + i) - all(top)) * all(scale) * all(LOG2E)));
    memcpy(x + whole, &rest, (n - whole) * sizeof(float));
}
