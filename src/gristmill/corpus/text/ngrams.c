/* Hashes of a text's words, in order. */
#include "words.h"

/* Writes the hash of each word of `text` [size] into `hashes` [size + 1]; returns how many there are. */
size_t gm_word_hashes(const uint8_t *text, size_t size, const uint32_t *fold, uint64_t *hashes) {
    gm_words words = {text, text + size, fold};
    const uint8_t *start, *stop;
    size_t count = 0;
    while (gm_next_word(&words, hashes + count, &start, &stop)) count++;
    return count;
}
