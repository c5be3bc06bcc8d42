/* The merges of byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909), learned from words and their counts.

   At every step the pair of neighbours with the highest count becomes a symbol; of equally common pairs the one with the
   smaller left, then right symbol. Overlapping pairs ("aaa" holds two) all count; merging goes from left to right. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../c/hashing.h"

enum { ALPHABET = 256 }; /* the symbols at the beginning: bytes */
static const uint32_t NONE = UINT32_MAX;

struct pair {
    uint64_t symbols; /* left << 32 | right */
    int64_t count;    /* of its occurrences now, weighted by their words' counts */
    uint32_t *words;  /* the words that hold it or once did, ascending */
    uint32_t used, room;
};

/* What a step learns of a neighbour `s` of the pair (a, b) that becomes x. */
struct neighbour {
    int64_t lost_left, lost_right; /* occurrences of (s, a) and (b, s) that are gone */
    uint32_t left, right;          /* pairs (s, x) and (x, s) + 1; 0: none yet */
    bool seen;
};

/* A pair in the queue, with its count when it was put in; it can only have shrunk since. */
struct waiting {
    int64_t count;
    uint32_t pair;
};

struct word {
    size_t start; /* of its symbols, which end with NONE */
    int64_t count;
};

struct gm_merger {
    uint32_t *symbols; /* of all words */
    struct word *words;
    uint32_t symbols_now, symbols_most;

    struct pair *pairs;
    size_t used, room;
    uint64_t *slots; /* hash table: high half of the hash, pair + 1; or 0 */
    size_t capacity; /* a power of two */

    struct waiting *heap; /* those with a count below `floor` stay outside until the floor sinks */
    size_t waiting, heap_room;
    int64_t floor;

    struct neighbour *neighbours; /* [symbols_most] */
    uint32_t *touched;            /* symbols whose neighbour is not blank */
    size_t touching;
};

void gm_merger_free(struct gm_merger *m) {
    if (!m) return;
    for (size_t i = 0; m->pairs && i < m->used; i++) free(m->pairs[i].words);
    free(m->pairs);
    free(m->slots);
    free(m->symbols);
    free(m->words);
    free(m->heap);
    free(m->neighbours);
    free(m->touched);
    free(m);
}

static inline uint64_t hash_of(uint64_t symbols) { return gm_place(symbols, 0); }

static inline uint64_t slot_of(uint64_t hash, size_t pair) { return (hash & ~0xFFFFFFFFull) | (pair + 1); }

static bool grow_slots(struct gm_merger *m) {
    uint64_t *slots = calloc(m->capacity * 2, sizeof *slots);
    if (!slots) return false;
    free(m->slots);
    m->slots = slots;
    m->capacity *= 2;
    for (size_t i = 0; i < m->used; i++) {
        uint64_t hash = hash_of(m->pairs[i].symbols);
        size_t at = hash & (m->capacity - 1);
        while (m->slots[at]) at = (at + 1) & (m->capacity - 1);
        m->slots[at] = slot_of(hash, i);
    }
    return true;
}

/* The pair's number, made if need be; NONE where memory is short. */
static uint32_t pair_of(struct gm_merger *m, uint32_t left, uint32_t right) {
    uint64_t symbols = (uint64_t)left << 32 | right, hash = hash_of(symbols);
    size_t at = hash & (m->capacity - 1);
    for (; m->slots[at]; at = (at + 1) & (m->capacity - 1)) {
        uint32_t found = (uint32_t)m->slots[at] - 1;
        if ((m->slots[at] ^ hash) >> 32 == 0 && m->pairs[found].symbols == symbols) return found;
    }
    if (m->used == m->room) {
        struct pair *bigger = m->room < NONE / 2 ? realloc(m->pairs, m->room * 2 * sizeof *bigger) : NULL;
        if (!bigger) return NONE;
        m->pairs = bigger;
        m->room *= 2;
    }
    m->pairs[m->used] = (struct pair){.symbols = symbols};
    m->slots[at] = slot_of(hash, m->used++);
    if (m->used * 2 > m->capacity && !grow_slots(m)) return NONE;
    return (uint32_t)m->used - 1;
}

static inline bool before(const struct gm_merger *m, struct waiting a, struct waiting b) {
    return a.count != b.count ? a.count > b.count : m->pairs[a.pair].symbols < m->pairs[b.pair].symbols;
}

static bool push(struct gm_merger *m, uint32_t pair) {
    struct waiting new = {m->pairs[pair].count, pair};
    if (new.count < m->floor) return true;
    if (m->waiting == m->heap_room) {
        struct waiting *bigger = realloc(m->heap, m->heap_room * 2 * sizeof *bigger);
        if (!bigger) return false;
        m->heap = bigger;
        m->heap_room *= 2;
    }
    size_t at = m->waiting++;
    for (; at && before(m, new, m->heap[(at - 1) / 2]); at = (at - 1) / 2) m->heap[at] = m->heap[(at - 1) / 2];
    m->heap[at] = new;
    return true;
}

static void pop(struct gm_merger *m) {
    struct waiting last = m->heap[--m->waiting];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < m->waiting; at = child) {
        if (child + 1 < m->waiting && before(m, m->heap[child + 1], m->heap[child])) child++;
        if (!before(m, m->heap[child], last)) break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = last;
}

/* Take the commonest pair out of the queue; NONE where no pair occurs any more. False where memory is short. */
static bool take_best(struct gm_merger *m, uint32_t *best) {
    for (;;) {
        while (m->waiting) {
            struct waiting first = m->heap[0];
            pop(m);
            *best = first.pair;
            if (first.count == m->pairs[first.pair].count) return true;
            if (!push(m, first.pair)) return false;
        }
        if (m->floor == 1) return *best = NONE, true;
        int64_t above = m->floor;
        m->floor = above / 8 > 1 ? above / 8 : 1;
        for (size_t i = 0; i < m->used; i++)
            if (m->pairs[i].count < above && !push(m, (uint32_t)i)) return false;
    }
}

/* One more occurrence of the pair `*known` - 1 (made if need be) in a word. */
static inline bool gain(struct gm_merger *m, uint32_t *known, uint32_t left, uint32_t right, uint32_t word) {
    if (!*known && !(*known = pair_of(m, left, right) + 1)) return false;
    struct pair *pair = &m->pairs[*known - 1];
    pair->count += m->words[word].count;
    if (pair->used && pair->words[pair->used - 1] == word) return true;
    if (pair->used == pair->room) {
        uint32_t room = pair->room ? pair->room * 2 : 4;
        uint32_t *bigger = room > pair->room ? realloc(pair->words, room * sizeof *bigger) : NULL;
        if (!bigger) return false;
        pair->words = bigger;
        pair->room = room;
    }
    pair->words[pair->used++] = word;
    return true;
}

/* The pairs of all words. `known` [ALPHABET²] gets each pair's number + 1. */
static bool first_pairs(struct gm_merger *m, size_t words, uint32_t *known) {
    for (size_t i = 0; i < words; i++)
        for (const uint32_t *at = m->symbols + m->words[i].start; at[0] != NONE && at[1] != NONE; at++)
            if (!gain(m, &known[at[0] * ALPHABET + at[1]], at[0], at[1], (uint32_t)i)) return false;
    int64_t most = 0;
    for (size_t i = 0; i < m->used; i++) most = m->pairs[i].count > most ? m->pairs[i].count : most;
    m->floor = most / 256 > 1 ? most / 256 : 1;
    for (size_t i = 0; i < m->used; i++)
        if (!push(m, (uint32_t)i)) return false;
    return true;
}

/* Learn from words: word i has the bytes [offsets[i], offsets[i + 1]) and occurs counts[i] times. `most` is the number of
   symbols at the end, bytes included. NULL where memory is short. */
struct gm_merger *gm_merger_new(const uint8_t *bytes, const int64_t *offsets, const uint64_t *counts, size_t words,
                                uint32_t most) {
    struct gm_merger *m = calloc(1, sizeof *m);
    uint32_t *known = calloc(ALPHABET * ALPHABET, sizeof *known);
    if (m) {
        *m = (struct gm_merger){
            .symbols_now = ALPHABET, .symbols_most = most, .room = 1 << 12, .capacity = 1 << 13, .heap_room = 1 << 12};
        m->symbols = malloc(((size_t)offsets[words] + words + 1) * sizeof *m->symbols);
        m->words = malloc((words + 1) * sizeof *m->words);
        m->pairs = malloc(m->room * sizeof *m->pairs);
        m->slots = calloc(m->capacity, sizeof *m->slots);
        m->heap = malloc(m->heap_room * sizeof *m->heap);
        m->neighbours = calloc(most, sizeof *m->neighbours);
        m->touched = malloc(most * sizeof *m->touched);
    }
    bool fine = m && known && words < NONE && m->symbols && m->words && m->pairs && m->slots && m->heap &&
                m->neighbours && m->touched;
    if (fine) {
        size_t at = 0;
        for (size_t i = 0; i < words; i++) {
            m->words[i] = (struct word){at, (int64_t)counts[i]};
            for (int64_t j = offsets[i]; j < offsets[i + 1]; j++) m->symbols[at++] = bytes[j];
            m->symbols[at++] = NONE;
        }
        fine = first_pairs(m, words, known);
    }
    free(known);
    if (fine) return m;
    gm_merger_free(m);
    return NULL;
}

static inline struct neighbour *touch(struct gm_merger *m, uint32_t symbol) {
    struct neighbour *found = &m->neighbours[symbol];
    if (!found->seen) {
        found->seen = true;
        m->touched[m->touching++] = symbol;
    }
    return found;
}

/* Replace (a, b) by x in one word. */
static bool merge_word(struct gm_merger *m, uint32_t number, uint32_t a, uint32_t b, uint32_t x) {
    uint32_t *begin = m->symbols + m->words[number].start, *out = begin, *in = begin;
    int64_t count = m->words[number].count;
    while (*in != NONE) {
        if (in[0] != a || in[1] != b) {
            *out++ = *in++;
            continue;
        }
        if (out > begin) {
            struct neighbour *left = touch(m, out[-1]);
            left->lost_left += count;
            if (!gain(m, &left->left, out[-1], x, number)) return false;
        }
        if (in[2] != NONE) {
            struct neighbour *right = touch(m, in[2]);
            right->lost_right += count;
            if (!gain(m, &right->right, x, in[2], number)) return false;
        }
        *out++ = x;
        in += 2;
    }
    *out = NONE;
    return true;
}

static inline void lose(struct gm_merger *m, uint32_t left, uint32_t right, int64_t count) {
    if (count) m->pairs[pair_of(m, left, right)].count -= count; /* the pair is known: nothing is made */
}

static bool step(struct gm_merger *m, uint32_t best) {
    uint32_t a = (uint32_t)(m->pairs[best].symbols >> 32), b = (uint32_t)m->pairs[best].symbols, x = m->symbols_now++;
    const uint32_t *words = m->pairs[best].words, used = m->pairs[best].used;
    for (uint32_t i = 0; i < used; i++) { /* words lie anywhere in memory: fetch those that come soon */
        if (i + 16 < used) __builtin_prefetch(&m->words[words[i + 16]]);
        if (i + 8 < used) __builtin_prefetch(m->symbols + m->words[words[i + 8]].start);
        if (!merge_word(m, words[i], a, b, x)) return false;
    }
    for (size_t i = 0; i < m->touching; i++) {
        uint32_t symbol = m->touched[i];
        lose(m, symbol, a, m->neighbours[symbol].lost_left);
        lose(m, b, symbol, m->neighbours[symbol].lost_right);
    }
    struct pair *merged = &m->pairs[best];
    merged->count = 0;
    free(merged->words);
    *merged = (struct pair){.symbols = merged->symbols};
    for (size_t i = 0; i < m->touching; i++) {
        struct neighbour *found = &m->neighbours[m->touched[i]];
        if (found->left && !push(m, found->left - 1)) return false;
        if (found->right && !push(m, found->right - 1)) return false;
        *found = (struct neighbour){0};
    }
    m->touching = 0;
    return true;
}

/* Make up to `wanted` more merges, written to `merges` [wanted] as left << 32 | right. Returns how many: fewer where no
   pair is left or all symbols are made; -1 where memory is short. */
int64_t gm_merger_run(struct gm_merger *m, size_t wanted, uint64_t *merges) {
    size_t made = 0;
    for (; made < wanted && m->symbols_now < m->symbols_most; made++) {
        uint32_t best;
        if (!take_best(m, &best)) return -1;
        if (best == NONE) break;
        merges[made] = m->pairs[best].symbols;
        if (!step(m, best)) return -1;
    }
    return (int64_t)made;
}
