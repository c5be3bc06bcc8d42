/* A table of distinct pieces ("words") and how often each occurs. */
#include <stdbool.h>
#include <stdlib.h>

#include "split.h"

/* Words of up to 15 bytes are kept whole in their entry. For longer ones `low` is a hash, `high` is LONG and where the
   word is in `long_words`: its length in four bytes, then its bytes. An empty entry has the count 0. */
struct entry {
    struct gm_key key;
    uint64_t count;
};

struct gm_words {
    struct entry *entries;
    size_t capacity, words; /* capacity: a power of two */
    uint8_t *long_words;
    size_t long_used, long_capacity;
    uint64_t bytes; /* of all words together */
};

static const uint64_t LONG = 0xFFull << 56;
enum { KEPT_WHOLE = 15, FIRST_CAPACITY = 1 << 12, WAITING = 32, COMMON = 1 << 16 };

void gm_words_free(struct gm_words *table) {
    if (!table) return;
    free(table->entries);
    free(table->long_words);
    free(table);
}

/* An empty table; NULL where memory is short. */
struct gm_words *gm_words_new(void) {
    struct gm_words *table = calloc(1, sizeof *table);
    if (!table) return NULL;
    table->capacity = FIRST_CAPACITY;
    table->entries = calloc(table->capacity, sizeof *table->entries);
    if (table->entries) return table;
    gm_words_free(table);
    return NULL;
}

static inline bool is_long(const struct entry *entry) { return (entry->key.high & LONG) == LONG; }

static inline const uint8_t *long_word(const struct gm_words *table, const struct entry *entry, uint32_t *length) {
    const uint8_t *at = table->long_words + (entry->key.high & ~LONG);
    memcpy(length, at, 4);
    return at + 4;
}

static inline uint64_t hash_of(const struct entry *entry) {
    return is_long(entry) ? entry->key.low : gm_key_place(entry->key);
}

static bool grow(struct gm_words *table) {
    size_t capacity = table->capacity * 2;
    struct entry *entries = calloc(capacity, sizeof *entries);
    if (!entries) return false;
    for (size_t i = 0; i < table->capacity; i++) {
        if (!table->entries[i].count) continue;
        size_t at = hash_of(&table->entries[i]) & (capacity - 1);
        while (entries[at].count) at = (at + 1) & (capacity - 1);
        entries[at] = table->entries[i];
    }
    free(table->entries);
    table->entries = entries;
    table->capacity = capacity;
    return true;
}

/* A new entry's bytes are counted; the table grows when it is more than half full. */
static bool added(struct gm_words *table, size_t length) {
    table->bytes += length;
    return ++table->words * 2 <= table->capacity || grow(table);
}

static bool add_long(struct gm_words *table, const uint8_t *word, size_t length, uint64_t count) {
    uint64_t hash = gm_bytes_place(word, length);
    size_t at = hash & (table->capacity - 1);
    for (; table->entries[at].count; at = (at + 1) & (table->capacity - 1)) {
        struct entry *entry = &table->entries[at];
        uint32_t other;
        if (!is_long(entry) || entry->key.low != hash) continue;
        const uint8_t *bytes = long_word(table, entry, &other);
        if (other == length && !memcmp(bytes, word, length)) {
            entry->count += count;
            return true;
        }
    }
    if (table->long_used + 4 + length > table->long_capacity) {
        size_t capacity = table->long_capacity + table->long_capacity / 2 + 4 + length + 4096;
        uint8_t *bigger = realloc(table->long_words, capacity);
        if (!bigger) return false;
        table->long_words = bigger;
        table->long_capacity = capacity;
    }
    uint32_t length32 = (uint32_t)length;
    memcpy(table->long_words + table->long_used, &length32, 4);
    memcpy(table->long_words + table->long_used + 4, word, length);
    table->entries[at] = (struct entry){{hash, LONG | table->long_used}, count};
    table->long_used += 4 + length;
    return added(table, length);
}

static inline bool add_short(struct gm_words *table, struct gm_key key, uint64_t hash, uint64_t count) {
    size_t at = hash & (table->capacity - 1);
    for (; table->entries[at].count; at = (at + 1) & (table->capacity - 1)) {
        struct entry *entry = &table->entries[at];
        if (entry->key.low == key.low && entry->key.high == key.high) {
            entry->count += count;
            return true;
        }
    }
    table->entries[at] = (struct entry){key, count};
    return added(table, key.high >> 56);
}

/* Short words on their way into the table: their entries are fetched from memory while more are read. */
struct waiting {
    struct gm_key keys[WAITING];
    uint64_t hashes[WAITING];
    size_t used;
};

static bool flush(struct gm_words *table, struct waiting *waiting) {
    for (size_t i = 0; i < waiting->used; i++)
        if (!add_short(table, waiting->keys[i], waiting->hashes[i], 1)) return false;
    waiting->used = 0;
    return true;
}

INLINE bool count_texts(struct gm_words *table, const uint8_t *classes, const uint8_t *text, const int64_t *offsets,
                        size_t texts, gm_splitter next) {
    struct waiting waiting = {.used = 0};
    for (size_t i = 0; i < texts; i++) {
        const uint8_t *document = text + offsets[i];
        size_t n = (size_t)(offsets[i + 1] - offsets[i]);
        for (size_t at = 0, end; at < n; at = end) {
            end = next(classes, document, n, at);
            if (end - at > UINT32_MAX) end = at + UINT32_MAX;
            if (end - at > KEPT_WHOLE) {
                if (!add_long(table, document + at, end - at, 1)) return false;
                continue;
            }
            struct gm_key key = gm_key_of(document, n, at, end - at);
            uint64_t hash = gm_key_place(key);
            __builtin_prefetch(&table->entries[hash & (table->capacity - 1)]);
            waiting.keys[waiting.used] = key;
            waiting.hashes[waiting.used++] = hash;
            if (waiting.used == WAITING && !flush(table, &waiting)) return false;
        }
    }
    return flush(table, &waiting);
}

/* Count the pieces of `texts` documents, which lie between `offsets` [texts + 1] in `text`. A piece of 4 GiB or more is
   cut. Returns whether memory sufficed. */
bool gm_words_count(struct gm_words *table, const uint8_t *classes, int pattern, const uint8_t *text,
                    const int64_t *offsets, size_t texts) {
    return GM_WITH_SPLITTER(pattern, count_texts, table, classes, text, offsets, texts);
}

/* Add words with their counts; word i lies between `offsets` i and i + 1. Returns whether memory sufficed. */
bool gm_words_add(struct gm_words *table, const uint8_t *bytes, const int64_t *offsets, const uint64_t *counts,
                  size_t words) {
    size_t n = (size_t)offsets[words];
    for (size_t i = 0; i < words; i++) {
        size_t at = (size_t)offsets[i], length = (size_t)offsets[i + 1] - at;
        struct gm_key key = length > KEPT_WHOLE ? (struct gm_key){0, 0} : gm_key_of(bytes, n, at, length);
        bool fine = length > KEPT_WHOLE ? add_long(table, bytes + at, length, counts[i])
                                        : add_short(table, key, gm_key_place(key), counts[i]);
        if (!fine) return false;
    }
    return true;
}

/* How many words there are, how many bytes they have together, and the memory that the table takes. */
void gm_words_size(const struct gm_words *table, uint64_t *size) {
    size[0] = table->words;
    size[1] = table->bytes;
    size[2] = table->capacity * sizeof *table->entries + table->long_capacity;
}

/* The rank of a count: the common ones first, and all from COMMON on alike. */
static inline size_t rank_of(uint64_t count) { return COMMON - (count < COMMON ? count : COMMON); }

/* Write the words whose hash is `part` modulo `parts` (a power of two), by descending count (those with COMMON or more
   first; equal ones in any order): `bytes`, `offsets` and `counts` have room for all words. Returns how many, or
   SIZE_MAX where memory is short. */
size_t gm_words_list(const struct gm_words *table, size_t part, size_t parts, uint8_t *bytes, int64_t *offsets,
                     uint64_t *counts) {
    size_t found = 0, *places = calloc(COMMON + 2, sizeof *places); /* a counting sort */
    const struct entry **sorted = malloc((table->words + 1) * sizeof *sorted);
    if (!places || !sorted) {
        free(places);
        free(sorted);
        return SIZE_MAX;
    }
    /* the table is indexed by the low bits of the hash: parts are told apart by the high ones */
    for (int placing = 0; placing < 2; placing++) {
        for (size_t i = 0; i < table->capacity; i++) {
            const struct entry *entry = &table->entries[i];
            if (!entry->count || (parts > 1 && (hash_of(entry) >> 40 & (parts - 1)) != part)) continue;
            if (placing) sorted[places[rank_of(entry->count)]++] = entry;
            else places[rank_of(entry->count) + 1]++, found++;
        }
        for (size_t i = 0; !placing && i <= COMMON; i++) places[i + 1] += places[i];
    }
    offsets[0] = 0;
    for (size_t i = 0; i < found; i++) {
        uint32_t length = (uint32_t)(sorted[i]->key.high >> 56);
        const uint8_t *word = is_long(sorted[i]) ? long_word(table, sorted[i], &length) : (const uint8_t *)sorted[i];
        memcpy(bytes + offsets[i], word, length);
        offsets[i + 1] = offsets[i] + length;
        counts[i] = sorted[i]->count;
    }
    free(places);
    free(sorted);
    return found;
}
