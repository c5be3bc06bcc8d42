/* The loops of kernels.c with vectors of LANES floats, for files that say which instructions may use and what
   NAME makes of a name. */
#include "kernels.h"
#include "vectors.h"

/* Attention -------------------------------------------------------------------------------------------------------- */

/* Normalise, if there is a weight, and rotate `rows` rows of K, `stride` apart, from position `at`; rows up to `filled`
   become 0. */
INLINE void turn(const struct attention_job *c, const float *x, size_t stride, const float *weight, float scale,
                 size_t at, size_t rows, size_t filled, float *out) {
    size_t K = c->K, half = K / 2;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * stride, *cosine = c->cosine + (at + r) * half, *sine = c->sine + (at + r) * half;
        vec squares = all(0);
        for (size_t i = 0; i < K; i += LANES) squares += load(row + i) * load(row + i);
        float norm = weight ? scale / sqrtf(sum(squares) / (float)K + c->eps) : scale, *o = out + r * K;
#pragma GCC ivdep
        for (size_t i = 0; i < half; i++) {
            float a = row[i] * norm, b = row[i + half] * norm;
            if (weight) a *= weight[i], b *= weight[i + half];
            o[i] = a * cosine[i] - b * sine[i];
            o[i + half] = b * cosine[i] + a * sine[i];
        }
    }
    memset(out + rows * K, 0, (filled - rows) * K * sizeof(float));
}

/* The way back: gradients dy of what `turn` gave (which it overwrites) to those of x, and added to those of a weight. */
INLINE void turn_back(const struct attention_job *c, const float *x, size_t stride, const float *weight, float scale,
                      size_t at, size_t rows, float *dy, float *dx, float *dweight) {
    size_t K = c->K, half = K / 2;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * stride, *cosine = c->cosine + (at + r) * half, *sine = c->sine + (at + r) * half;
        float *d = dy + r * K, *o = dx + r * stride;
        vec squares = all(0), inner = all(0);
        for (size_t i = 0; i < K; i += LANES) squares += load(row + i) * load(row + i);
        float inverse = 1 / sqrtf(sum(squares) / (float)K + c->eps), norm = weight ? scale * inverse : scale;
#pragma GCC ivdep
        for (size_t i = 0; i < half; i++) {
            float a = d[i], b = d[i + half];
            d[i] = (a * cosine[i] + b * sine[i]) * norm;
            d[i + half] = (b * cosine[i] - a * sine[i]) * norm;
        }
        if (!weight) {
            memcpy(o, d, K * sizeof(float));
            continue;
        }
        for (size_t i = 0; i < K; i += LANES) {
            vec part = load(d + i) * load(row + i);
            store(dweight + i, load(dweight + i) + part);
            inner += part * load(weight + i);
        }
        float shared = sum(inner) * inverse * inverse / (float)K;
        for (size_t i = 0; i < K; i += LANES)
            store(o + i, load(d + i) * load(weight + i) - load(row + i) * all(shared));
    }
}

INLINE void transpose(const float *x, size_t stride, size_t rows, size_t filled, size_t K, float *out) {
    for (size_t i = 0; i < K; i++) {
        for (size_t r = 0; r < rows; r++) out[i * filled + r] = x[r * stride + i];
        memset(out + i * filled + rows, 0, (filled - rows) * sizeof(float));
    }
}

/* The first column that a block of queries reads, where a block begins: what is before it no query of the block sees. */
INLINE size_t seen_from(const struct attention_job *c, size_t b, size_t at) {
    const int64_t *first = c->firsts ? c->firsts : c->starts;
    return first ? (size_t)first[b * c->T + at] / BLOCK * BLOCK : 0;
}

/* Scores of a block of queries that begins at `at`, in units of log2, from column `from` up to `width`; what lies ahead,
   and what a query does not see, gets -inf. */
INLINE void scores(const struct attention_job *c, const float *q, const float *kT, size_t P, size_t b, size_t at,
                   size_t rows, size_t from, size_t width, float *s) {
    product(q, c->K, 1, kT + from, P, s + from, P, BLOCK, width - from, c->K, 0);
    for (size_t i = 0; i < BLOCK; i++) {
        size_t place = b * c->T + at + i, start = c->starts && i < rows ? (size_t)c->starts[place] : 0, j = from;
        if (c->kept && i < rows) {
            for (; j < (size_t)c->firsts[place]; j++) s[i * P + j] = -INFINITY;
            j = (size_t)c->kept[place] > j ? (size_t)c->kept[place] : j;
        }
        for (; j < start; j++) s[i * P + j] = -INFINITY;
        for (j = at + i + 1; j < width; j++) s[i * P + j] = -INFINITY;
    }
}

void NAME(gm_attend_item)(const void *job, size_t index, float *scratch) {
    const struct attention_job *c = job;
    size_t T = c->T, K = c->K, P = padded(T), b = index / c->G, g = index % c->G, group = c->H / c->G;
    size_t q_stride = c->H * K, k_stride = c->G * K;
    float *q = scratch, *k = q + BLOCK * K, *kT = k + P * K, *s = kT + P * K, *o = s + BLOCK * P;
    turn(c, c->k + (b * T * c->G + g) * K, k_stride, c->k_weight, 1, b * c->turned, T, P, k);
    transpose(k, K, P, P, K, kT);
    const float *v = c->v + (b * T * c->G + g) * K;
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t at = 0; at < T; at += BLOCK) {
            size_t rows = T - at < BLOCK ? T - at : BLOCK, place = (b * T + at) * c->H + h;
            turn(c, c->q + place * K, q_stride, c->q_weight, LOG2E / sqrtf((float)K), b * c->turned + at, rows, BLOCK,
                 q);
            size_t from = seen_from(c, b, at);
            scores(c, q, kT, P, b, at, rows, from, at + BLOCK, s);
            float scale[BLOCK];
            for (size_t i = 0; i < BLOCK; i++) {
                float *row = s + i * P;
                vec most = all(-INFINITY), total = all(0);
                for (size_t j = from; j < at + BLOCK; j += LANES) most = larger(most, load(row + j));
                float top = largest(most);
                for (size_t j = from; j < at + BLOCK; j += LANES) {
                    vec e = exp2v(load(row + j) - all(top));
                    store(row + j, e);
                    total += e;
                }
                float whole = sum(total);
                scale[i] = 1 / whole;
                if (i < rows) c->lse[(b * c->H + h) * T + at + i] = top + log2f(whole);
            }
            product(s + from, P, 1, v + from * k_stride, k_stride, o, K, BLOCK, K, at + rows - from, 0);
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < K; j += LANES)
                    store(c->y + place * K + i * q_stride + j, load(o + i * K + j) * all(scale[i]));
        }
}

void NAME(gm_attend_back_item)(const void *job, size_t index, float *scratch) {
    const struct attention_job *c = job;
    size_t T = c->T, K = c->K, P = padded(T), b = index / c->G, g = index % c->G, group = c->H / c->G;
    size_t q_stride = c->H * K, k_stride = c->G * K, first = (b * T * c->G + g) * K;
    float *q = scratch, *dy = q + BLOCK * K, *dq = dy + BLOCK * K, *k = dq + BLOCK * K, *kT = k + P * K;
    float *vT = kT + P * K, *dk = vT + P * K, *dv = dk + P * K, *s = dv + P * K, *ds = s + BLOCK * P;
    float q_scale = 1 / sqrtf((float)K), *dq_weight = c->dq_weight + index * K, *dk_weight = c->dk_weight + index * K;
    turn(c, c->k + first, k_stride, c->k_weight, 1, b * c->turned, T, P, k);
    transpose(k, K, P, P, K, kT);
    transpose(c->v + first, k_stride, T, P, K, vT);
    memset(dk, 0, 2 * P * K * sizeof(float));
    memset(dq_weight, 0, K * sizeof(float));
    memset(dk_weight, 0, K * sizeof(float));
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t at = 0; at < T; at += BLOCK) {
            size_t rows = T - at < BLOCK ? T - at : BLOCK, place = ((b * T + at) * c->H + h) * K, width = at + BLOCK;
            turn(c, c->q + place, q_stride, c->q_weight, q_scale, b * c->turned + at, rows, BLOCK, q);
            for (size_t i = 0; i < BLOCK; i++)
                for (size_t j = 0; j < K; j += LANES)
                    store(dy + i * K + j, i < rows ? load(c->dy + place + i * q_stride + j) : all(0));
            size_t from = seen_from(c, b, at), seen = width - from;
            scores(c, q, kT, P, b, at, rows, from, width, s);
            product(dy, K, 1, vT + from, P, ds + from, P, BLOCK, seen, K, 0);
            for (size_t i = 0; i < BLOCK; i++) {
                if (i >= rows) {
                    memset(s + i * P + from, 0, seen * sizeof(float));
                    memset(ds + i * P + from, 0, seen * sizeof(float));
                    continue;
                }
                vec both = all(0);
                for (size_t j = 0; j < K; j += LANES)
                    both += load(dy + i * K + j) * load(c->y + place + i * q_stride + j);
                vec mean = all(sum(both)), lse = all(c->lse[(b * c->H + h) * T + at + i]);
                for (size_t j = from; j < width; j += LANES) {
                    vec p = exp2v(load(s + i * P + j) * all(LOG2E) - lse);
                    store(s + i * P + j, p);
                    store(ds + i * P + j, p * (load(ds + i * P + j) - mean));
                }
            }
            product(ds + from, P, 1, k + from * K, K, dq, K, BLOCK, K, seen, 0);
            product(ds + from, 1, P, q, K, dk + from * K, K, seen, K, BLOCK, 1);
            product(s + from, 1, P, dy, K, dv + from * K, K, seen, K, BLOCK, 1);
            turn_back(c, c->q + place, q_stride, c->q_weight, q_scale, b * c->turned + at, rows, dq, c->dq + place,
                      dq_weight);
        }
    turn_back(c, c->k + first, k_stride, c->k_weight, 1, b * c->turned, T, dk, c->dk + first, dk_weight);
    for (size_t r = 0; r < T; r++) memcpy(c->dv + first + r * k_stride, dv + r * K, K * sizeof(float));
}

/* RMSNorm ---------------------------------------------------------------------------------------------------------- */

void NAME(gm_rms_norm_item)(const void *job, size_t index, float *scratch) {
    const struct norm_job *c = job;
    size_t D = c->width, end = (index + 1) * NORM_ROWS < c->rows ? (index + 1) * NORM_ROWS : c->rows;
    (void)scratch;
    for (size_t r = index * NORM_ROWS; r < end; r++) normalise(c->x + r * D, c->weight, D, D, c->eps, c->y + r * D);
}

void NAME(gm_rms_norm_back_item)(const void *job, size_t index, float *scratch) {
    const struct norm_job *c = job;
    size_t D = c->width, end = (index + 1) * NORM_ROWS < c->rows ? (index + 1) * NORM_ROWS : c->rows;
    float *dweight = c->dweight + index * D;
    (void)scratch;
    memset(dweight, 0, D * sizeof(float));
    for (size_t r = index * NORM_ROWS; r < end; r++) {
        const float *x = c->x + r * D, *dy = c->dy + r * D;
        vec squares = all(0), inner = all(0);
        for (size_t i = 0; i < D; i += LANES) {
            squares += load(x + i) * load(x + i);
            inner += load(x + i) * load(dy + i) * load(c->weight + i);
        }
        float inverse = 1 / sqrtf(sum(squares) / (float)D + c->eps);
        vec norm = all(inverse), shared = all(sum(inner) * inverse * inverse / (float)D);
        for (size_t i = 0; i < D; i += LANES) {
            vec d = load(dy + i), value = load(x + i);
            store(dweight + i, load(dweight + i) + d * value * norm);
            store(c->dx + r * D + i, (d * load(c->weight + i) - value * shared) * norm);
        }
    }
}

/* SwiGLU ----------------------------------------------------------------------------------------------------------- */

INLINE vec sigmoid(vec x) {
    vec e = exp2v(at_least(x, -80) * all(-LOG2E));
    return all(1) / (all(1) + e);
}

void NAME(gm_swiglu_item)(const void *job, size_t index, float *scratch) {
    const struct swiglu_job *c = job;
    size_t end = (index + 1) * SWIGLU_RUN < c->n ? (index + 1) * SWIGLU_RUN : c->n;
    (void)scratch;
    for (size_t i = index * SWIGLU_RUN; i < end; i += LANES) {
        vec gate = load(c->gate + i);
        store(c->y + i, gate * sigmoid(gate) * load(c->up + i));
    }
}

void NAME(gm_swiglu_back_item)(const void *job, size_t index, float *scratch) {
    const struct swiglu_job *c = job;
    size_t end = (index + 1) * SWIGLU_RUN < c->n ? (index + 1) * SWIGLU_RUN : c->n;
    (void)scratch;
    for (size_t i = index * SWIGLU_RUN; i < end; i += LANES) {
        vec gate = load(c->gate + i), dy = load(c->dy + i), open = sigmoid(gate);
        store(c->dup + i, dy * gate * open);
        store(c->dgate + i, dy * load(c->up + i) * open * (all(1) + gate * (all(1) - open)));
    }
}

/* Cross-entropy ---------------------------------------------------------------------------------------------------- */

void NAME(gm_cross_entropy_item)(const void *job, size_t index, float *scratch) {
    const struct cross_entropy_job *c = job;
    size_t V = c->V, whole = V / LANES * LANES, end = (index + 1) * LOSS_ROWS;
    end = end < c->rows ? end : c->rows;
    (void)scratch;
    for (size_t r = index * LOSS_ROWS; r < end; r++) {
        float *x = c->logits + r * V, target = x[c->targets[r]];
        vec most = load_some(x + whole, V - whole, -INFINITY), total = all(0);
        for (size_t i = 0; i < whole; i += LANES) most = larger(most, load(x + i));
        float top = largest(most);
        vec shift = all(top * LOG2E);
        for (size_t i = 0; i < whole; i += LANES) {
            vec e = exp2v(load(x + i) * all(LOG2E) - shift);
            store(x + i, e);
            total += e;
        }
        vec rest = exp2v(load_some(x + whole, V - whole, -INFINITY) * all(LOG2E) - shift);
        float all_of_it = sum(total + rest);
        c->loss[r] = top + log2f(all_of_it) * LN2 - target;
        vec scale = all(c->scale / all_of_it);
        for (size_t i = 0; i < whole; i += LANES) store(x + i, load(x + i) * scale);
        rest *= scale;
        memcpy(x + whole, &rest, (V - whole) * sizeof(float));
        x[c->targets[r]] -= c->scale;
    }
}
