/* Words that are looked up by their hash. */
#ifndef GRISTMILL_HTML_WORD_TABLE_H
#define GRISTMILL_HTML_WORD_TABLE_H
#include "../c/hashing.h"

static inline uint8_t gm_lower(uint8_t c) { return (uint8_t)(c - 'A') < 26 ? c | 32 : c; }

/* Words and what they tell: an open-addressing table by `gm_word_hash`, `capacity` a power of two, key 0 empty. It ships
   with the package: pages look words up in it and add none. */
struct word_weights {
    const uint32_t *keys;
    const uint64_t *groups;
    const float *weights;
    uint32_t capacity;
};

/* FNV-1a without the case of ASCII letters, never 0. */
static inline uint32_t gm_word_hash(const uint8_t *word, size_t length) {
    uint32_t hash = GM_FNV32;
    for (size_t i = 0; i < length; i++) hash = gm_fnv32(hash, gm_lower(word[i]));
    return hash ? hash : 1;
}

/* The place of a word, or -1. */
static inline int64_t gm_word_find(const struct word_weights *words, uint32_t hash) {
    for (uint32_t at = hash & (words->capacity - 1), tries = 0; tries < words->capacity; tries++) {
        if (words->keys[at] == hash) return at;
        if (!words->keys[at]) return -1;
        at = (at + 1) & (words->capacity - 1);
    }
    return -1;
}

#endif
