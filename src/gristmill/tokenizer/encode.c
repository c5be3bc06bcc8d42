/* Text to token ids by byte-pair encoding: in every piece the pair of neighbours that makes the token of lowest rank is
   merged, of equal ones the leftmost, until no pair makes a token. A token's id is its rank. */
#include <stdlib.h>

#include "split.h"

/* Read only once it is built: threads may share it. */
struct gm_vocabulary {
    uint32_t byte_tokens[256];
    uint32_t *byte_pairs; /* [256 * 256] token that two bytes make, or NONE */
    uint64_t *merges; /* hash table of all pairs: left, right and what they make, ID_BITS each; 0 where free */
    uint64_t *filter; /* a bit for each pair of the table: small enough to stay near, it settles most misses */
    size_t capacity; /* a power of two: slots of the table; four times as many bits in the filter */
};

/* Pieces seen lately with their tokens: a thread's own. Most pieces are small. Two of them share a line of memory: the
   first is for pieces that are one token, which are the frequent ones; the others drive each other out of the second.
   The key's topmost byte holds the length and, from bit 4 of it, the number of tokens, or IN_LARGE where they are in
   `large`; it is 0 in an unused entry. */
enum { SMALL_BYTES = 15, SMALL_TOKENS = 4, IN_LARGE = 15, PLACES = 2, SMALL_ENTRIES = 1 << 16 };
struct small {
    struct gm_key key;
    uint32_t tokens[SMALL_TOKENS];
};

enum { LARGE_BYTES = 30, LARGE_TOKENS = 8, LARGE_ENTRIES = 1 << 14 };
struct large {
    uint8_t length, count, bytes[LARGE_BYTES];
    uint32_t tokens[LARGE_TOKENS];
};

struct gm_cache {
    struct small small[SMALL_ENTRIES];
    struct large large[LARGE_ENTRIES];
};

enum { SHORT = 64 }; /* bytes of a piece up to which looking through all its merges is the fastest */
enum { ID_BITS = 21, MOST_TOKENS = 1 << ID_BITS };
static const uint32_t NONE = UINT32_MAX;
static const uint64_t COUNT_BITS = 0xF0ull << 56;

static inline uint32_t merged(const struct gm_vocabulary *v, uint32_t left, uint32_t right) {
    uint64_t pair = (uint64_t)left << ID_BITS | right, hash = gm_place(left, right), bit = hash >> 32;
    if (!(v->filter[bit / 64 & (v->capacity / 16 - 1)] >> bit % 64 & 1)) return NONE;
    for (size_t at = hash & (v->capacity - 1);; at = (at + 1) & (v->capacity - 1)) {
        if (v->merges[at] >> ID_BITS == pair && v->merges[at]) return v->merges[at] & (MOST_TOKENS - 1);
        if (!v->merges[at]) return NONE;
    }
}

static inline uint32_t merged_bytes(const struct gm_vocabulary *v, const uint8_t *bytes) {
    return v->byte_pairs[bytes[0] << 8 | bytes[1]];
}

/* The tokens of a piece of 1 to SHORT bytes. `tokens` has room for as many as it has bytes. */
static size_t encode_short(const struct gm_vocabulary *v, const uint8_t *bytes, size_t n, uint32_t *tokens) {
    uint32_t ranks[SHORT]; /* of the merge of i and i + 1 */
    for (size_t i = 0; i < n; i++) tokens[i] = v->byte_tokens[bytes[i]];
    for (size_t i = 0; i + 1 < n; i++) ranks[i] = merged_bytes(v, bytes + i);
    while (n > 1) {
        uint32_t rank = NONE;
        size_t best = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            best = ranks[i] < rank ? i : best;
            rank = ranks[i] < rank ? ranks[i] : rank;
        }
        if (rank == NONE) break;
        tokens[best] = rank;
        n--;
        for (size_t i = best + 1; i < n; i++) {
            tokens[i] = tokens[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best + 1 < n) ranks[best] = merged(v, tokens[best], tokens[best + 1]);
        if (best) ranks[best - 1] = merged(v, tokens[best - 1], tokens[best]);
    }
    return n;
}

/* A long piece: its symbols as a linked list, the possible merges in a heap. */
struct symbol {
    uint32_t token, next, previous; /* NONE at the ends; `token` is NONE once it is merged into the one before */
};

/* Heap of possible merges: rank << 32 | place of the left symbol. */
static void sift_up(uint64_t *heap, size_t at, uint64_t new) {
    for (; at && new < heap[(at - 1) / 2]; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = new;
}

static void sift_down(uint64_t *heap, size_t n, size_t at, uint64_t new) {
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= new) break;
        heap[at] = heap[child];
    }
    heap[at] = new;
}

/* The tokens of a piece of any length below 4 GiB in time n log n. SIZE_MAX where memory is short. */
static size_t encode_long(const struct gm_vocabulary *v, const uint8_t *bytes, size_t n, uint32_t *tokens) {
    struct symbol *symbols = malloc(n * sizeof *symbols);
    uint64_t *heap = malloc(2 * n * sizeof *heap); /* a merge takes one out and puts at most two in */
    size_t waiting = 0, written = 0;
    if (!symbols || !heap) {
        free(symbols);
        free(heap);
        return SIZE_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t rank = i + 1 < n ? merged_bytes(v, bytes + i) : NONE;
        symbols[i] = (struct symbol){v->byte_tokens[bytes[i]], i + 1 < n ? (uint32_t)i + 1 : NONE, (uint32_t)i - 1};
        if (rank != NONE) heap[waiting++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = waiting / 2; i-- > 0;) sift_down(heap, waiting, i, heap[i]);
    while (waiting) {
        uint32_t rank = (uint32_t)(heap[0] >> 32), at = (uint32_t)heap[0];
        if (--waiting) sift_down(heap, waiting, 0, heap[waiting]);
        struct symbol *left = &symbols[at];
        if (left->token == NONE || left->next == NONE) continue;
        struct symbol *right = &symbols[left->next];
        if (merged(v, left->token, right->token) != rank) continue; /* the pair has changed since */
        *left = (struct symbol){rank, right->next, left->previous};
        right->token = NONE;
        if (left->next != NONE) {
            symbols[left->next].previous = at;
            rank = merged(v, left->token, symbols[left->next].token);
            if (rank != NONE) sift_up(heap, waiting++, (uint64_t)rank << 32 | at);
        }
        if (left->previous != NONE) {
            rank = merged(v, symbols[left->previous].token, left->token);
            if (rank != NONE) sift_up(heap, waiting++, (uint64_t)rank << 32 | left->previous);
        }
    }
    for (size_t at = 0; at != NONE && n; at = symbols[at].next) tokens[written++] = symbols[at].token;
    free(symbols);
    free(heap);
    return written;
}

/* Pieces on their way: their cache entries are fetched from memory while more are split off. */
enum { WAITING = 16 };
struct waiting {
    size_t at, length;
    struct gm_key key; /* of a small piece */
    struct small *small;
    struct large *large;
};

INLINE void look_up(struct gm_cache *cache, const uint8_t *text, size_t n, struct waiting *piece) {
    if (piece->length <= SMALL_BYTES) {
        piece->key = gm_key_of(text, n, piece->at, piece->length);
        uint64_t hash = gm_key_place(piece->key);
        piece->small = &cache->small[hash & (SMALL_ENTRIES - PLACES)];
        piece->large = &cache->large[hash >> 20 & (LARGE_ENTRIES - 1)];
        __builtin_prefetch(piece->small);
    } else if (piece->length <= LARGE_BYTES) {
        piece->large = &cache->large[gm_bytes_place(text + piece->at, piece->length) & (LARGE_ENTRIES - 1)];
        __builtin_prefetch(piece->large);
    }
}

static inline bool in_large(const struct large *large, const uint8_t *bytes, size_t length) {
    return large->length == length && !memcmp(large->bytes, bytes, length);
}

static inline size_t take_large(const struct large *large, uint32_t *tokens) {
    memcpy(tokens, large->tokens, large->count * sizeof *tokens);
    return large->count;
}

/* Encode a piece that is in no cache, and keep it. */
static size_t encode_new(const struct gm_vocabulary *v, const uint8_t *bytes, const struct waiting *piece,
                         uint32_t *tokens) {
    size_t length = piece->length;
    if (length > SHORT) return encode_long(v, bytes, length, tokens);
    size_t count = encode_short(v, bytes, length, tokens);
    bool small = length <= SMALL_BYTES, few = small && count <= SMALL_TOKENS;
    if (length > LARGE_BYTES || count > LARGE_TOKENS) return count;
    if (!few) {
        struct large *large = piece->large;
        large->length = (uint8_t)length;
        large->count = (uint8_t)count;
        memcpy(large->bytes, bytes, length);
        memcpy(large->tokens, tokens, count * sizeof *tokens);
    }
    if (small) {
        if (count == 1) piece->small[1] = piece->small[0];
        struct small *place = &piece->small[count != 1];
        place->key = (struct gm_key){piece->key.low, piece->key.high | (uint64_t)(few ? count : IN_LARGE) << 60};
        if (few) memcpy(place->tokens, tokens, count * sizeof *tokens);
    }
    return count;
}

INLINE size_t encode_piece(const struct gm_vocabulary *v, const uint8_t *text, const struct waiting *piece,
                           uint32_t *tokens) {
    const uint8_t *bytes = text + piece->at;
    if (piece->length <= SMALL_BYTES) {
        for (int place = 0; place < PLACES; place++) {
            const struct small *small = &piece->small[place];
            if (small->key.low != piece->key.low || (small->key.high & ~COUNT_BITS) != piece->key.high) continue;
            if (small->key.high >> 60 == IN_LARGE) {
                if (in_large(piece->large, bytes, piece->length)) return take_large(piece->large, tokens);
                break;
            }
            memcpy(tokens, small->tokens, sizeof small->tokens); /* there is room: see gm_encode */
            return small->key.high >> 60;
        }
    } else if (piece->length <= LARGE_BYTES && in_large(piece->large, bytes, piece->length)) {
        return take_large(piece->large, tokens);
    }
    return encode_new(v, bytes, piece, tokens);
}

/* The tokens of one text; SIZE_MAX where memory is short or a piece too long. */
INLINE size_t encode_text(const struct gm_vocabulary *v, struct gm_cache *cache, const uint8_t *classes,
                          const uint8_t *text, size_t n, uint32_t *tokens, gm_splitter next) {
    struct waiting pieces[WAITING];
    size_t written = 0;
    for (size_t at = 0; at < n;) {
        size_t used = 0;
        for (; used < WAITING && at < n; used++) {
            struct waiting *piece = &pieces[used];
            piece->at = at;
            at = next(classes, text, n, at);
            piece->length = at - piece->at;
            if (piece->length >= NONE) return SIZE_MAX;
            look_up(cache, text, n, piece);
        }
        for (size_t i = 0; i < used; i++) {
            size_t count = encode_piece(v, text, &pieces[i], tokens + written);
            if (count == SIZE_MAX) return SIZE_MAX;
            written += count;
        }
    }
    return written;
}

INLINE int64_t encode_texts(const struct gm_vocabulary *v, struct gm_cache *cache, const uint8_t *classes,
                            const uint8_t *text, const int64_t *offsets, size_t texts, int64_t end_token,
                            uint32_t *tokens, int64_t *counts, gm_splitter next) {
    size_t written = 0;
    for (size_t i = 0; i < texts; i++) {
        size_t n = (size_t)(offsets[i + 1] - offsets[i]);
        size_t count = encode_text(v, cache, classes, text + offsets[i], n, tokens + written, next);
        if (count == SIZE_MAX) return -1;
        written += count;
        if (end_token >= 0) tokens[written++] = (uint32_t)end_token;
        counts[i] = (int64_t)count + (end_token >= 0);
    }
    return (int64_t)written;
}

/* Encode `texts` documents, which lie between `offsets` [texts + 1] in `text`, each followed by `end_token` unless that
   is negative. `counts` [texts] gets each document's tokens, `tokens` all of them: it must have room for one a byte, one
   a document and SMALL_TOKENS more. Returns how many; -1 where memory is short or a piece has 4 GiB. */
int64_t gm_encode(const struct gm_vocabulary *v, struct gm_cache *cache, const uint8_t *classes, int pattern,
                  const uint8_t *text, const int64_t *offsets, size_t texts, int64_t end_token, uint32_t *tokens,
                  int64_t *counts) {
    return GM_WITH_SPLITTER(pattern, encode_texts, v, cache, classes, text, offsets, texts, end_token, tokens, counts);
}

struct gm_cache *gm_cache_new(void) { return calloc(1, sizeof(struct gm_cache)); }

void gm_cache_free(struct gm_cache *cache) { free(cache); }

void gm_vocabulary_free(struct gm_vocabulary *v) {
    if (!v) return;
    free(v->byte_pairs);
    free(v->merges);
    free(v->filter);
    free(v);
}

static void add_merge(struct gm_vocabulary *v, uint32_t left, uint32_t right, uint32_t token) {
    uint64_t hash = gm_place(left, right), bit = hash >> 32;
    size_t at = hash & (v->capacity - 1);
    while (v->merges[at]) at = (at + 1) & (v->capacity - 1);
    v->merges[at] = ((uint64_t)left << ID_BITS | right) << ID_BITS | token;
    v->filter[bit / 64 & (v->capacity / 16 - 1)] |= 1ull << bit % 64;
}

/* A vocabulary from its tokens in order of rank; token i has the bytes [offsets[i], offsets[i + 1]). Each longer than a
   byte is encoded with those before it: what is left are the two tokens whose merge makes it, written to `pairs`
   [tokens] as left << 32 | right (0 for single bytes). NULL where memory is short, or where the tokens are no
   vocabulary: then `wrong` is the first that cannot be, -1 where a byte is missing. */
struct gm_vocabulary *gm_vocabulary_new(const uint8_t *bytes, const int64_t *offsets, size_t tokens, uint64_t *pairs,
                                        int64_t *wrong) {
    struct gm_vocabulary *v = calloc(1, sizeof *v);
    uint32_t *parts = NULL;
    bool fine = false;
    size_t longest = 1;
    *wrong = -2;
    if (!v || tokens > MOST_TOKENS) goto end;
    for (v->capacity = 1024; v->capacity < 2 * tokens; v->capacity *= 2) continue;
    v->byte_pairs = malloc(256 * 256 * sizeof *v->byte_pairs);
    v->merges = calloc(v->capacity, sizeof *v->merges);
    v->filter = calloc(v->capacity / 16, sizeof *v->filter);
    for (size_t i = 0; i < tokens; i++)
        if ((size_t)(offsets[i + 1] - offsets[i]) > longest) longest = (size_t)(offsets[i + 1] - offsets[i]);
    parts = malloc(longest * sizeof *parts);
    if (!v->byte_pairs || !v->merges || !v->filter || !parts) goto end;
    memset(v->byte_tokens, 0xFF, sizeof v->byte_tokens);
    memset(v->byte_pairs, 0xFF, 256 * 256 * sizeof *v->byte_pairs);
    for (size_t i = 0; i < tokens; i++)
        if (offsets[i + 1] - offsets[i] == 1) v->byte_tokens[bytes[offsets[i]]] = (uint32_t)i;
    *wrong = -1;
    for (int i = 0; i < 256; i++)
        if (v->byte_tokens[i] == NONE) goto end;
    for (size_t i = 0; i < tokens; i++) {
        const uint8_t *piece = bytes + offsets[i];
        size_t length = (size_t)(offsets[i + 1] - offsets[i]), count = 0;
        *wrong = (int64_t)i;
        pairs[i] = 0;
        if (length == 1) continue;
        if (length)
            count = length > SHORT ? encode_long(v, piece, length, parts) : encode_short(v, piece, length, parts);
        if (count != 2) goto end;
        pairs[i] = (uint64_t)parts[0] << 32 | parts[1];
        add_merge(v, parts[0], parts[1], (uint32_t)i);
        if (length == 2) v->byte_pairs[piece[0] << 8 | piece[1]] = (uint32_t)i;
    }
    fine = true;
end:
    free(parts);
    if (fine) return v;
    gm_vocabulary_free(v);
    return NULL;
}
