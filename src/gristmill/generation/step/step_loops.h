/* The loops of step.c with vectors of LANES floats. */
#include "panels.h"

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

/* Floats of a page that a key-value head has. */
INLINE size_t head_room(int type, size_t K) { return type == INT8 ? PAGE * (K + 2) : 2 * PAGE * K; }

/* LANES of its keys and values from i. */
INLINE vec held_at(const float *held, size_t i, const int narrow) {
    if (!narrow) return load(held + i);
    half_vec shorts;
    memcpy(&shorts, (const int16_t *)(held + 2 * PAGE) + i, sizeof(shorts));
    return __builtin_convertvector(__builtin_convertvector(shorts, ivec), vec);
}

/* Write the key and value of one position. */
INLINE void hold(float *held, size_t lane, size_t K, const float *key, const float *value, int narrow) {
    if (!narrow) {
        for (size_t i = 0; i < K; i++) held[i * PAGE + lane] = key[i];
        memcpy(held + (PAGE + lane) * K, value, K * sizeof(float));
        return;
    }
    int16_t own[MOST_HEAD], *shorts = (int16_t *)(held + 2 * PAGE);
    shorten(key, K, own, held + lane);
    for (size_t i = 0; i < K; i++) shorts[i * PAGE + lane] = own[i];
    shorten(value, K, shorts + (PAGE + lane) * K, held + PAGE + lane);
}

/* Attention of one head to the positions up to its own: softmax page by page (Milakov and Gimelshein 2018,
   arXiv:1805.02867). `at`: where keys and values of its layer and key-value head lie in a page. */
INLINE void attend_to(const float *q, float *const *pages, size_t at, size_t position, size_t K, float *out,
                      const int narrow) {
    float sums[MOST_HEAD], shares[PAGE], top = -INFINITY, total = 0;
    memset(sums, 0, K * sizeof(float));
    for (size_t page = 0; page * PAGE <= position; page++) {
        const float *held = pages[page] + at;
        size_t filled = position + 1 - page * PAGE < PAGE ? position + 1 - page * PAGE : PAGE;
        vec even[PAGE / LANES], odd[PAGE / LANES], most = all(-INFINITY), whole = all(0);
        for (int j = 0; j < PAGE / LANES; j++) even[j] = odd[j] = all(0);
        for (size_t k = 0; k < K; k += 2)
            for (int j = 0; j < PAGE / LANES; j++) {
                even[j] += all(q[k]) * held_at(held, k * PAGE + j * LANES, narrow);
                odd[j] += all(q[k + 1]) * held_at(held, (k + 1) * PAGE + j * LANES, narrow);
            }
        for (int j = 0; j < PAGE / LANES; j++)
            store(shares + j * LANES, (even[j] + odd[j]) * (narrow ? load(held + j * LANES) : all(1)));
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
        if (narrow)
            for (size_t j = 0; j < filled; j++) shares[j] *= held[PAGE + j];
        for (size_t k = 0; k < K; k += LANES) {
            vec own = load(sums + k);
            for (size_t j = 0; j < filled; j++) own += all(shares[j]) * held_at(held, (PAGE + j) * K + k, narrow);
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

/* What the matrices of a step multiply: rows of scratch; for int8 weights with room for the same in 16 bits. */
INLINE factors factors_of(const struct step *s, const step_sizes *n, const float *x, size_t k) {
    float *scales = s->scratch + STEP_ROWS * (2 * n->D + n->Q + n->A + n->F);
    return (factors){k, x, (int16_t *)(scales + STEP_ROWS), scales};
}

/* Make one row of them ready. */
INLINE void make_ready(const struct step *s, const factors *f, size_t row) {
    if (s->type == INT8) shorten(f->x + row * f->k, f->k, f->shorts + row * f->k, f->scales + row);
}

/* One layer of `rows` rows from `first`. */
INLINE void layer_of(const struct step *s, const step_sizes *n, size_t layer, size_t first, size_t rows, float *x) {
    const struct step_layer *w = s->layer + layer;
    size_t D = n->D, K = n->K, G = s->kv_heads, group = s->heads / G, room = head_room(s->type, K);
    float *y = x + STEP_ROWS * D, *qkv = y + STEP_ROWS * D, *seen = qkv + STEP_ROWS * n->Q,
          *act = seen + STEP_ROWS * n->A;
    factors of_y = factors_of(s, n, y, D), of_seen = factors_of(s, n, seen, n->A), of_act = factors_of(s, n, act, n->F);
    for (size_t r = 0; r < rows; r++) {
        normalise(x + r * D, w->norm, s->width, D, s->eps, y + r * D);
        make_ready(s, &of_y, r);
    }
    panels_of(s->type, &of_y, rows, w->qkv, n->Q / PANEL, qkv, n->Q, 0);
    for (size_t r = 0; r < rows; r++) {
        float *q = qkv + r * n->Q, *k = q + s->heads * K, *v = k + G * K;
        size_t position = (size_t)s->positions[first + r], lane = position % PAGE;
        float *held = s->pages[first + r][position / PAGE] + layer * G * room;
        for (size_t h = 0; h < s->heads; h++)
            place_head(s, q + h * K, K, w->q_norm, position, LOG2E / sqrtf((float)s->head));
        for (size_t g = 0; g < G; g++, held += room) {
            place_head(s, k + g * K, K, w->k_norm, position, 1);
            hold(held, lane, K, k + g * K, v + g * K, s->type == INT8);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t h = 0; h < s->heads; h++) {
            size_t at = (layer * G + h / group) * room, position = (size_t)s->positions[first + r];
            float *const *pages = s->pages[first + r], *q = qkv + r * n->Q + h * K, *out = seen + r * n->A + h * K;
            if (s->type == INT8) attend_to(q, pages, at, position, K, out, 1);
            else attend_to(q, pages, at, position, K, out, 0);
        }
        memset(seen + r * n->A + s->heads * K, 0, (n->A - s->heads * K) * sizeof(float));
        make_ready(s, &of_seen, r);
    }
    panels_of(s->type, &of_seen, rows, w->o, D / PANEL, x, D, 1);
    for (size_t r = 0; r < rows; r++) {
        normalise(x + r * D, w->ffn_norm, s->width, D, s->eps, y + r * D);
        make_ready(s, &of_y, r);
    }
    for (size_t p = 0; p < n->F / PANEL; p++) {
        float both[STEP_ROWS * 2 * PANEL];
        panels_of(s->type, &of_y, rows, w->gate_up + 2 * p * panel_bytes(s->type, D), 2, both, 2 * PANEL, 0);
        silu_times(both, rows, act + p * PANEL, n->F);
    }
    for (size_t r = 0; r < rows; r++) make_ready(s, &of_act, r);
    panels_of(s->type, &of_act, rows, w->down, D / PANEL, x, D, 1);
}

void NAME(gm_step_rows)(const struct step *s) {
    step_sizes n = sizes_of(s);
    float *x = s->scratch, *y = x + STEP_ROWS * n.D;
    factors of_y = factors_of(s, &n, y, n.D);
    for (size_t first = 0; first < s->rows; first += STEP_ROWS) {
        size_t rows = s->rows - first < STEP_ROWS ? s->rows - first : STEP_ROWS, wanted = 0, output = 0;
        for (size_t r = 0; r < rows; r++) {
            size_t token = (size_t)s->tokens[first + r];
            const char *panel = s->embeddings + token / PANEL * panel_bytes(s->type, n.D);
            for (size_t i = 0; i < n.D; i++) x[r * n.D + i] = weight_at(s->type, panel, i, token % PANEL);
        }
        for (size_t layer = 0; layer < s->layers; layer++) layer_of(s, &n, layer, first, rows, x);
        for (size_t r = 0; r < rows; r++) {
            if (s->outputs[first + r] < 0) continue;
            if (!wanted) output = (size_t)s->outputs[first + r];
            normalise(x + r * n.D, s->norm, s->width, n.D, s->eps, y + wanted * n.D);
            make_ready(s, &of_y, wanted++);
        }
        float *logits = s->logits + output * n.V;
        panels_of(s->type, &of_y, wanted, s->unembedding, n.V / PANEL, logits, n.V, 0);
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

/* The place of the largest number, the first of equal ones. */
size_t NAME(gm_likeliest)(const float *x, size_t n) {
    size_t whole = n / LANES * LANES, place = 0;
    vec most = load_some(x + whole, n - whole, -INFINITY);
    for (size_t i = 0; i < whole; i += LANES) most = larger(most, load(x + i));
    float top = largest(most);
    while (place + 1 < n && x[place] != top) place++;
    return place;
}

/* x = exp((x - top) · scale). */
void NAME(gm_weights)(float *x, size_t n, float top, float scale) {
    size_t whole = n / LANES * LANES;
    vec rest = exp2v((load_some(x + whole, n - whole, -INFINITY) - all(top)) * all(scale) * all(LOG2E));
    for (size_t i = 0; i < whole; i += LANES) store(x + i, exp2v((load(x + i) - all(top)) * all(scale) * all(LOG2E)));
    memcpy(x + whole, &rest, (n - whole) * sizeof(float));
}
