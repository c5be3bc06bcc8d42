/* Drawing tokens from logits, one row an answer. `sampling_params.py` says what each setting means. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../c/hashing.h"
#include "../model/kernels.h"
#include "step/step.h"

/* How one answer is drawn, and how far it has come. */
struct draw {
    double temperature;
    uint64_t key, drawn; /* of its random numbers, and how many tokens it has */
    float top_p, min_p, presence, frequency, repetition;
    int32_t top_k;
    float *bias;             /* [V], or none: added to the logits; penalties are taken from it as tokens come */
    uint8_t *seen;           /* [V], where there is a bias: IN_PROMPT and IN_ANSWER */
    const uint32_t *allowed; /* a bit each, or none: the tokens that may come */
};

enum { IN_PROMPT = 1, IN_ANSWER = 2 };

struct item {
    float weight;
    int32_t token;
};

static int before(struct item a, struct item b) {
    return a.weight > b.weight || (a.weight == b.weight && a.token < b.token);
}

static void swap(struct item *a, struct item *b) {
    struct item kept = *a;
    *a = *b, *b = kept;
}

/* Brings the heaviest items to the front: the fewest that are `count` or weigh `weight` together; returns how many.
   Quickselect (Hoare 1961) by number or by weight. */
static size_t heaviest(struct item *items, size_t n, size_t count, double weight) {
    size_t low = 0, high = n;
    double sum = 0; /* of those before `low` */
    while (high - low > 1) {
        struct item *a = items + low, *b = items + low + (high - low) / 2, *c = items + high - 1;
        bool ab = before(*a, *b), bc = before(*b, *c), ac = before(*a, *c); /* no two are alike */
        swap(ab == bc ? b : ab == ac ? c : a, c); /* the median is the pivot */
        size_t at = low;
        double left = 0;
        for (size_t i = low; i + 1 < high; i++)
            if (before(items[i], *c)) left += items[i].weight, swap(items + i, items + at++);
        swap(items + at, c);
        if (at && (at >= count || sum + left >= weight)) {
            high = at;
        } else {
            sum += left + items[at].weight;
            low = at + 1;
            if (low >= count || sum >= weight) return low;
        }
    }
    return high;
}

static int by_rank(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    return before(*x, *y) ? -1 : before(*y, *x);
}

/* The likeliest tokens in order, with their log-probabilities. */
static void tell(const float *x, size_t n, float total, size_t likeliest, int32_t *tokens, float *logprobs,
                 struct item *items) {
    for (size_t i = 0; i < n; i++) items[i] = (struct item){x[i] - total, (int32_t)i};
    size_t found = heaviest(items, n, likeliest, INFINITY);
    qsort(items, found, sizeof(*items), by_rank);
    for (size_t i = 0; i < likeliest; i++) {
        tokens[i] = i < found ? items[i].token : -1;
        logprobs[i] = i < found ? items[i].weight : -INFINITY;
    }
}

/* The logits as settings change them. */
static void change(const float *x, size_t n, const struct draw *how, float *y) {
    if (!how->bias) memcpy(y, x, n * sizeof(float));
    else
        for (size_t i = 0; i < n; i++) {
            float value = x[i];
            if (how->seen[i]) value = value > 0 ? value / how->repetition : value * how->repetition;
            y[i] = value + how->bias[i];
        }
    if (how->allowed)
        for (size_t i = 0; i < n; i++)
            if (!(how->allowed[i / 32] >> i % 32 & 1)) y[i] = -INFINITY;
}

/* Draws from tokens by weight. */
static int32_t drawn_from(const struct item *items, size_t n, const struct draw *how) {
    double share = 0, chosen = (double)(gm_mix(how->key + (how->drawn + 1) * GM_GOLDEN) >> 11) * 0x1p-53;
    for (size_t i = 0; i < n; i++) share += items[i].weight;
    int32_t last = -1;
    chosen *= share, share = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i].weight == 0) continue;
        share += items[i].weight, last = items[i].token;
        if (share > chosen) break;
    }
    return last;
}

static int32_t choose_token(const float *x, size_t n, const struct draw *how, struct item *items, float *y) {
    change(x, n, how, y);
    size_t best = WIDEST(gm_likeliest)(y, n), kept = 0;
    if (y[best] == -INFINITY) return -2;
    if (how->temperature <= 0) return (int32_t)best;
    double temperature = fmin(fmax(how->temperature, 1e-30), 1e30), total = 0;
    WIDEST(gm_weights)(y, n, y[best], (float)(1 / temperature));
    for (size_t i = 0; i < n; i++)
        if (y[i] > 0) items[kept++] = (struct item){y[i], (int32_t)i};
    if (how->top_k > 0 && (size_t)how->top_k < kept) kept = heaviest(items, kept, (size_t)how->top_k, INFINITY);
    for (size_t i = 0; i < kept; i++) total += items[i].weight;
    if (how->top_p < 1) kept = heaviest(items, kept, kept, how->top_p * total);
    if (how->min_p > 0)
        for (size_t i = 0; i < kept; i++) items[i].weight = items[i].weight < how->min_p ? 0 : items[i].weight;
    return drawn_from(items, kept, how);
}

/* Draws a token for each row of logits [rows][stride], of which V count and the token `banned` gets -inf: `tokens` and
   `logprobs` [rows], under the model as it is; of each row's `likeliest` tokens `others` and `other_logprobs`
   [rows][likeliest]. `scratch` has 12 V bytes. A token is -1 where the logits are no numbers, -2 where none may come. */
void gm_sample(float *logits, size_t rows, size_t stride, size_t V, int32_t banned, struct draw *const *how,
               int32_t *tokens, float *logprobs, size_t likeliest, int32_t *others, float *other_logprobs,
               void *scratch) {
    for (size_t r = 0; r < rows; r++) {
        float *x = logits + r * stride;
        struct draw *own = how[r];
        if (banned >= 0) x[banned] = -INFINITY;
        float total = WIDEST(gm_log_total)(x, V);
        int32_t token = isfinite(total) ? choose_token(x, V, own, scratch, (float *)((struct item *)scratch + V)) : -1;
        if (likeliest) tell(x, V, total, likeliest, others + r * likeliest, other_logprobs + r * likeliest, scratch);
        tokens[r] = token, logprobs[r] = token < 0 ? NAN : x[token] - total;
        if (token >= 0 && own->bias) {
            own->bias[token] -= own->frequency + (own->seen[token] & IN_ANSWER ? 0 : own->presence);
            own->seen[token] |= IN_ANSWER;
        }
        own->drawn++;
    }
}

/* The log-probability of `targets` [rows] in rows of logits, and of each row's likeliest tokens, as in gm_sample. */
void gm_score(const float *logits, size_t rows, size_t stride, size_t V, const int32_t *targets, float *logprobs,
              size_t likeliest, int32_t *others, float *other_logprobs, void *scratch) {
    for (size_t r = 0; r < rows; r++) {
        const float *x = logits + r * stride;
        float total = WIDEST(gm_log_total)(x, V);
        if (likeliest) tell(x, V, total, likeliest, others + r * likeliest, other_logprobs + r * likeliest, scratch);
        logprobs[r] = x[targets[r]] - total;
    }
}
