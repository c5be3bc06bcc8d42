/* From UTF-8 text to MinHash signatures, in one pass: words, word n-grams, the smallest value of each permutation. */
#include <stdlib.h>
#include <string.h>

#include "../text/widest.h"
#include "../text/words.h"

enum { LANES = 16 }; /* permutations that are kept in registers at once; their number is a multiple of it */

/* The smallest a·x + b modulo 2³² over all x, for each of `count` pairs (a odd, so that each pair permutes). */
GM_WIDEST void gm_minhash(const uint32_t *shingles, size_t n, const uint32_t *a, const uint32_t *b, size_t count,
                          uint32_t *least) {
    for (size_t i = 0; i < count; i += LANES) {
        uint32_t smallest[LANES];
        for (size_t k = 0; k < LANES; k++) smallest[k] = UINT32_MAX;
        for (size_t j = 0; j < n; j++) {
            uint32_t x = shingles[j];
            for (size_t k = 0; k < LANES; k++) {
                uint32_t value = a[i + k] * x + b[i + k];
                smallest[k] = value < smallest[k] ? value : smallest[k];
            }
        }
        memcpy(least + i, smallest, sizeof smallest);
    }
}

typedef struct {
    uint64_t low, high;
} digest;

static inline void add(digest *sum, uint64_t value) {
    sum->low = (sum->low ^ value) * 0xFF51AFD7ED558CCDu;
    sum->low ^= sum->low >> 29;
    sum->high = (sum->high + value) * 0xC4CEB9FE1A85EC53u;
    sum->high ^= sum->high >> 31;
}

static digest of_bytes(const uint8_t *bytes, size_t n) {
    digest sum = {n, ~(uint64_t)n};
    for (size_t i = 0; i < n; i += 8) {
        uint64_t value = 0;
        memcpy(&value, bytes + i, n - i < 8 ? n - i : 8);
        add(&sum, value);
    }
    return (digest){gm_mix(sum.low), gm_mix(sum.high)};
}

/* 128-bit digests [n][2] of strings, by their bytes. */
void gm_digest(const uint8_t *text, const int64_t *offsets, size_t n, uint64_t *digests) {
    for (size_t i = 0; i < n; i++) {
        digest sum = of_bytes(text + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
        digests[2 * i] = sum.low, digests[2 * i + 1] = sum.high;
    }
}

/* The word n-grams of a text as 32-bit hashes in `shingles` (one of all words where they are fewer than `ngram`), and
   the digest of its words (of its bytes where it has none). `hashes` and `shingles` have room for every word. */
static size_t shingle(const uint8_t *text, size_t bytes, const uint32_t *fold, size_t ngram, uint64_t *hashes,
                      uint32_t *shingles, digest *whole) {
    gm_words words = {text, text + bytes, fold};
    const uint8_t *start, *stop;
    uint64_t hash, rolled = 0, power = 1;
    size_t n = 0;
    digest sum = {1, 2};
    for (size_t i = 0; i < ngram; i++) power *= GM_GOLDEN;
    while (gm_next_word(&words, &hash, &start, &stop)) {
        hashes[n] = hash;
        add(&sum, hash);
        rolled = rolled * GM_GOLDEN + hash; /* a polynomial in the last `ngram` hashes, modulo 2⁶⁴ */
        if (n >= ngram) rolled -= power * hashes[n - ngram];
        if (++n >= ngram) shingles[n - ngram] = (uint32_t)(gm_mix(rolled) >> 32);
    }
    *whole = n ? (digest){gm_mix(sum.low + n), gm_mix(sum.high + n)} : of_bytes(text, bytes);
    if (n >= ngram) return n - ngram + 1;
    shingles[0] = (uint32_t)(whole->low >> 32);
    return 1;
}

/* Of `documents` texts: `keys` [documents][bands], `digests` [documents][2] of their words, `signatures`
   [documents][bands · rows], the low 16 bits of each smallest value. `a` and `b` are padded to a multiple of LANES.
   Returns 0 where memory is short. */
int gm_signatures(const uint8_t *text, const int64_t *offsets, size_t documents, const uint32_t *fold, size_t ngram,
                  const uint32_t *a, const uint32_t *b, size_t bands, size_t rows, uint64_t *keys, uint64_t *digests,
                  uint16_t *signatures) {
    size_t count = bands * rows, padded = (count + LANES - 1) / LANES * LANES, longest = 0;
    for (size_t i = 0; i < documents; i++) {
        size_t bytes = (size_t)(offsets[i + 1] - offsets[i]);
        longest = bytes > longest ? bytes : longest;
    }
    size_t words = longest / 2 + 2; /* two words have a byte between them, or three each */
    uint64_t *hashes = malloc(words * sizeof *hashes);
    uint32_t *shingles = malloc(words * sizeof *shingles), *least = malloc(padded * sizeof *least);
    int ready = hashes && shingles && least;
    for (size_t i = 0; ready && i < documents; i++) {
        digest whole;
        size_t bytes = (size_t)(offsets[i + 1] - offsets[i]);
        size_t n = shingle(text + offsets[i], bytes, fold, ngram, hashes, shingles, &whole);
        gm_minhash(shingles, n, a, b, padded, least);
        digests[2 * i] = whole.low, digests[2 * i + 1] = whole.high;
        for (size_t j = 0; j < count; j++) signatures[i * count + j] = (uint16_t)least[j];
        for (size_t band = 0; band < bands; band++) {
            uint64_t sum = band + 1;
            for (size_t j = 0; j < rows; j++) sum = gm_mix(sum * GM_GOLDEN + least[band * rows + j]);
            keys[i * bands + band] = sum;
        }
    }
    free(hashes), free(shingles), free(least);
    return ready;
}
