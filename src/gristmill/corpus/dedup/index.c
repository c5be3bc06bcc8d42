/* Which documents are copies of earlier ones: equal keys propose, digests and signatures decide.

   A document has `columns` keys: its URL's (0: none), its text's, and one a band. `checks` [2] holds what the first two
   must also agree in; for the others at least `least` of `count` positions of the signatures must be equal. */
#include <stdlib.h>
#include <string.h>

#include "../text/words.h"

enum { KEPT, URL_COPY, EXACT_COPY, NEAR_COPY }; /* rules, the stronger first */

typedef struct {
    const uint64_t *keys, *checks;
    const uint16_t *signatures;
    size_t columns, count, least;
} gm_prints;

static inline int similar(const uint16_t *one, const uint16_t *two, size_t count, size_t least) {
    size_t equal = 0;
    for (size_t i = 0; i < count; i++) equal += one[i] == two[i];
    return equal >= least;
}

static inline uint8_t rule_of(size_t column) { return column == 0 ? URL_COPY : column == 1 ? EXACT_COPY : NEAR_COPY; }

/* The first column in which document `j` has a key. */
static inline size_t first_column(const gm_prints *new, size_t j) { return new->keys[j * new->columns] ? 0 : 1; }

/* Whether a column is worth a look: a stronger rule than the document has; the same one where it was `found` just now, as
   an earlier document may be in another band. */
static inline int may_settle(size_t column, size_t columns, uint8_t rule, int found) {
    return column < columns && (!rule || rule_of(column) < rule + found);
}

/* Is document `j` of `new` a copy of document `i` of the older ones, as the keys of `column` propose? */
static inline int agree(const gm_prints *new, size_t j, const uint64_t *checks, const uint16_t *signatures, size_t i,
                        size_t column) {
    if (column < 2) return new->checks[2 * j + column] == checks[2 * i + column];
    return similar(new->signatures + j * new->count, signatures + i * new->count, new->count, new->least);
}

/* The first of sorted keys that is not below `key`. Keys are spread evenly, so the guess is near; from there in
   growing steps, then by halves. */
static size_t lower_bound(const uint64_t *keys, size_t n, uint64_t key) {
    size_t guess = (size_t)((double)key / 18446744073709551616.0 * (double)n), low, high, step = 16;
    if (guess >= n) guess = n - 1;
    if (keys[guess] < key) {
        for (low = guess + 1, high = low; high < n && keys[high] < key; step *= 2) {
            low = high + 1;
            high = n - high > step ? high + step : n;
        }
    } else {
        for (high = guess, low = high; low > 0 && keys[low - 1] >= key; step *= 2) {
            high = low - 1;
            low = low > step ? low - step : 0;
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (keys[middle] < key) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* Look `n` documents up in a run of `m` older ones, whose keys [columns][m] are sorted in each column, equal ones by
   number. Where a stronger rule than `rules` has holds, `rules`, `originals` and `sources` are set; of several older
   documents the first counts. */
void gm_find(const uint64_t *keys, const uint64_t *checks, const uint16_t *signatures, size_t n, size_t columns,
             size_t count, size_t least, const uint64_t *run_keys, const uint32_t *run_numbers, size_t m,
             const uint64_t *old_checks, const uint16_t *old_signatures, uint16_t source, uint8_t *rules,
             uint32_t *originals, uint16_t *sources) {
    const gm_prints new = {keys, checks, signatures, columns, count, least};
    for (size_t j = 0; m && j < n; j++) {
        uint32_t first = UINT32_MAX;
        for (size_t column = first_column(&new, j); may_settle(column, columns, rules[j], first < UINT32_MAX);
             column++) {
            uint64_t key = keys[j * columns + column];
            const uint64_t *sorted = run_keys + column * m;
            for (size_t at = lower_bound(sorted, m, key); at < m && sorted[at] == key; at++) {
                uint32_t number = run_numbers[column * m + at];
                if (number >= first) break;
                if (agree(&new, j, old_checks, old_signatures, number, column)) {
                    first = number, rules[j] = rule_of(column);
                    break;
                }
            }
        }
        if (first < UINT32_MAX) originals[j] = first, sources[j] = source;
    }
}

typedef struct {
    uint64_t key;
    uint32_t head, tail; /* documents + 1 */
} slot;

static inline slot *slot_of(slot *table, size_t mask, uint64_t key) {
    size_t at = (size_t)gm_place(key, 0) & mask; /* never full: half the slots stay free */
    while (table[at].head && table[at].key != key) at = (at + 1) & mask;
    return table + at;
}

/* Settle a block in order: a document without a rule that is the copy of one kept before it gets that rule; what is
   left is kept and numbered from `number` on. Returns 0 where memory is short. */
int gm_settle(const uint64_t *keys, const uint64_t *checks, const uint16_t *signatures, size_t n, size_t columns,
              size_t count, size_t least, uint32_t number, uint16_t source, uint8_t *rules, uint32_t *originals,
              uint16_t *sources) {
    const gm_prints all = {keys, checks, signatures, columns, count, least};
    size_t capacity = 64;
    while (capacity < 2 * n * columns) capacity *= 2;
    slot *table = calloc(capacity, sizeof *table);
    uint32_t *next = malloc(n * columns * sizeof *next + 1); /* of each key, the document + 1 that has it next */
    int ready = table && next;
    for (size_t j = 0; ready && j < n; j++) {
        size_t first = SIZE_MAX;
        for (size_t column = first_column(&all, j); may_settle(column, columns, rules[j], first < SIZE_MAX); column++) {
            uint64_t key = keys[j * columns + column];
            for (uint32_t at = slot_of(table, capacity - 1, key + column * GM_GOLDEN)->head; at && at - 1 < first;
                 at = next[(at - 1) * columns + column]) {
                if (agree(&all, j, checks, signatures, at - 1, column)) {
                    first = at - 1, rules[j] = rule_of(column);
                    break;
                }
            }
        }
        if (first < SIZE_MAX) originals[j] = originals[first], sources[j] = source;
        if (rules[j]) continue;
        originals[j] = number++;
        for (size_t column = first_column(&all, j); column < columns; column++) {
            /* equal keys of two columns are two lists */
            uint64_t tag = keys[j * columns + column] + column * GM_GOLDEN;
            slot *place = slot_of(table, capacity - 1, tag);
            next[j * columns + column] = 0;
            if (place->head) next[(place->tail - 1) * columns + column] = (uint32_t)j + 1;
            else place->key = tag, place->head = (uint32_t)j + 1;
            place->tail = (uint32_t)j + 1;
        }
    }
    free(table), free(next);
    return ready;
}

/* Merge two sorted lists of keys with their numbers; of equal keys those of the first list come first. */
void gm_merge(const uint64_t *one, const uint32_t *numbers_one, size_t n, const uint64_t *two,
              const uint32_t *numbers_two, size_t m, uint64_t *keys, uint32_t *numbers) {
    for (size_t i = 0, j = 0; i < n || j < m;) {
        int from_two = i == n || (j < m && two[j] < one[i]);
        keys[i + j] = from_two ? two[j] : one[i];
        numbers[i + j] = from_two ? numbers_two[j] : numbers_one[i];
        if (from_two) j++;
        else i++;
    }
}
