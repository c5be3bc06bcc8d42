/* Words of UTF-8 text, one at a time and already hashed: what Python's re finds in the lower-cased text (words.py). */
#ifndef GM_WORDS_H
#define GM_WORDS_H
#include <stddef.h>
#include <stdint.h>

enum { CODE_POINTS = 0x110000 };
#define GM_ALONE 0x80000000u /* in the table: this character is a word of its own */
#define GM_MIX 0x9E3779B97F4A7C15u

static inline uint64_t gm_mix(uint64_t x) { /* the finalizer of splitmix64 */
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* The character at `at` and its length. Bytes that are not UTF-8 are one character each, U+FFFD, which is no word; so are
   those of too long a form, which might hide a line's end. */
static inline uint32_t gm_character(const uint8_t *at, const uint8_t *end, size_t *length) {
    uint32_t first = at[0];
    size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
    *length = 1;
    if (first < 0x80) return first;
    if (!more || (size_t)(end - at) <= more) return 0xFFFD;
    uint32_t point = first & (0x3Fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0xFFFD;
        point = point << 6 | (at[i] & 0x3F);
    }
    if (point < (more == 1 ? 0x80u : more == 2 ? 0x800u : 0x10000u) || point >= CODE_POINTS) return 0xFFFD;
    *length = more + 1;
    return point;
}

typedef struct {
    const uint8_t *at, *end;
    const uint32_t *fold; /* [CODE_POINTS]: 0 for what is no word, else the lower-case character */
} gm_words;

/* The next word's hash in `hash` and its bytes from `start` up to `stop`; 0 where there is none. */
static inline int gm_next_word(gm_words *words, uint64_t *hash, const uint8_t **start, const uint8_t **stop) {
    const uint8_t *at = words->at, *end = words->end;
    const uint32_t *fold = words->fold;
    uint64_t sum = GM_MIX;
    size_t length;
    int begun = 0;
    while (at < end) {
        uint32_t point = *at, folded;
        length = 1;
        if (point >= 0x80) point = gm_character(at, end, &length);
        folded = fold[point];
        if (folded && !(folded & GM_ALONE)) {
            if (!begun) *start = at, begun = 1;
            sum = (sum ^ folded) * GM_MIX;
            sum ^= sum >> 32;
            at += length;
        } else if (begun) {
            break;
        } else if (folded) {
            *start = at, begun = 1;
            sum = (sum ^ folded) * GM_MIX;
            sum ^= sum >> 32;
            at += length;
            break;
        } else {
            at += length;
        }
    }
    words->at = *stop = at;
    *hash = sum;
    return begun;
}
#endif
