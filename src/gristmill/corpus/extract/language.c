/* Naive Bayes over byte n-grams (Lui & Baldwin 2011, "Cross-domain Feature Selection for Language Identification"). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../text/widest.h"

/* An IEEE 754 half-precision number; exact, subnormal ones too: the exponent is mended by a multiplication. */
static inline float from_half(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x7FFF) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    return half & 0x8000 ? -value : value;
}

/* Adds what the n-grams of `text` [n bytes] say to `scores` [classes].

   The n-grams are found by an automaton: `rows` [states] names the row of `moves` [.., 256] that leads on from a state,
   `output` [states] the n-gram that ends there or -1. `table` [n-grams, classes] holds logarithms of likelihoods in
   half precision; a count weighs as log(1 + count). Scratch: `counts` [n-grams], all zero before and after; `seen` [n]. */
GM_WIDEST void gm_language_scores(const uint8_t *text, size_t n, const uint32_t *moves, const uint16_t *rows,
                                  const int32_t *output, const uint16_t *table, size_t classes, uint32_t *counts,
                                  uint32_t *seen, float *scores) {
    size_t kinds = 0;
    uint32_t state = 0;
    for (size_t i = 0; i < n; i++) {
        state = moves[(size_t)rows[state] * 256 + text[i]];
        if (output[state] >= 0 && !counts[output[state]]++) seen[kinds++] = (uint32_t)output[state];
    }
    for (size_t k = 0; k < kinds; k++) {
        float weight = log1pf((float)counts[seen[k]]);
        const uint16_t *row = table + (size_t)seen[k] * classes;
        for (size_t c = 0; c < classes; c++) scores[c] += weight * from_half(row[c]);
        counts[seen[k]] = 0;
    }
}
