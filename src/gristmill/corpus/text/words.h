/* Words of UTF-8 text, one at a time and already hashed: what Python's re finds in the lower-cased text (words.py). */
#ifndef GM_WORDS_H
#define GM_WORDS_H
#include "../../c/hashing.h"
#include "../../c/utf8.h"

#define GM_ALONE 0x80000000u /* in the table: this character is a word of its own */

typedef struct {
    const uint8_t *at, *end;
    const uint32_t *fold; /* [CODE_POINTS]: 0 for what is no word, else the lower-case character */
} gm_words;

/* The next word's hash in `hash` and its bytes from `start` up to `stop`; 0 where there is none. */
static inline int gm_next_word(gm_words *words, uint64_t *hash, const uint8_t **start, const uint8_t **stop) {
    const uint8_t *at = words->at, *end = words->end;
    const uint32_t *fold = words->fold;
    uint64_t sum = GM_GOLDEN;
    size_t length;
    *start = NULL;
    while (at < end) {
        uint32_t point = *at, folded;
        length = 1;
        if (point >= 0x80) point = gm_character(at, end, &length);
        folded = fold[point];
        if (*start && (!folded || folded & GM_ALONE)) break;
        at += length;
        if (!folded) continue;
        if (!*start) *start = at - length;
        sum = (sum ^ folded) * GM_GOLDEN;
        sum ^= sum >> 32;
        if (folded & GM_ALONE) break;
    }
    words->at = *stop = at;
    *hash = sum;
    return *start != NULL;
}
#endif
