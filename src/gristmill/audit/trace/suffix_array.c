/* The suffixes of a sequence of numbers in order, and search among them.

   Sorting is by prefix doubling (N. J. Larsson and K. Sadakane, "Faster suffix sorting", 2007): when suffixes are in
   order by their first h numbers, the ranks of the suffixes h further on order them by 2h. What is in its place already
   is skipped, so that text costs about what its repetitions are long, and the worst input n log n. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../c/hashing.h"

enum { RADIX = 4 }; /* numbers that the first order, a radix sort, goes by */

typedef struct {
    int32_t *table; /* suffixes in order; below zero: so many of them, from here, are in their place */
    int32_t *rank;  /* of each suffix: the last place of the group that it cannot be told from yet */
    size_t n, depth;
    uint64_t draw;
} gm_suffixes;

static inline int32_t key_of(const gm_suffixes *s, int32_t suffix) {
    size_t at = (size_t)suffix + s->depth;
    return at < s->n ? s->rank[at] : -1; /* a suffix that ends is before all that go on */
}

static inline void swap(int32_t *table, size_t i, size_t j) {
    int32_t kept = table[i];
    table[i] = table[j], table[j] = kept;
}

static inline void number(gm_suffixes *s, size_t low, size_t high) {
    for (size_t i = low; i < high; i++) s->rank[s->table[i]] = (int32_t)(high - 1);
}

/* Order one group, places low to high, by its keys. The smaller part is done by recursion: its depth is log2(n). */
static void order(gm_suffixes *s, size_t low, size_t high) {
    while (high - low > 1) {
        s->draw = gm_mix(s->draw + 1);
        int32_t pivot = key_of(s, s->table[low + s->draw % (high - low)]);
        size_t less = low, more = high;
        for (size_t i = low; i < more;) {
            int32_t key = key_of(s, s->table[i]);
            if (key < pivot) swap(s->table, less++, i++);
            else if (key > pivot) swap(s->table, --more, i);
            else i++;
        }
        number(s, low, less), number(s, less, more); /* those above keep the group's last place */
        if (more - less == 1) s->table[less] = -1;
        if (less - low < high - more) {
            order(s, low, less);
            low = more;
        } else {
            order(s, more, high);
            high = less;
        }
    }
    if (high > low) s->table[low] = -1;
}

/* A stable pass of the radix sort: suffixes `from`, in the order of their number `k` on, to `to`. */
static void pass(const uint32_t *numbers, size_t n, size_t k, size_t *starts, size_t largest, const int32_t *from,
                 int32_t *to) {
    memset(starts, 0, (largest + 3) * sizeof *starts);
    for (size_t i = 0; i < n; i++) starts[i + k < n ? numbers[i + k] + 2 : 1]++;
    for (size_t i = 1; i < largest + 3; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; i < n; i++) {
        size_t suffix = from ? (size_t)from[i] : i;
        to[starts[suffix + k < n ? numbers[suffix + k] + 1 : 0]++] = (int32_t)suffix;
    }
}

static int same(const uint32_t *numbers, size_t n, size_t one, size_t two) {
    for (size_t k = 0; k < RADIX; k++)
        if (one + k >= n || two + k >= n || numbers[one + k] != numbers[two + k]) return 0;
    return 1;
}

/* The table of suffixes [n] of `numbers` [n], each at most `largest`; n is below 2^31. `rank` [n] is for working in.
   Returns 0 where there is no memory. */
int gm_suffix_sort(const uint32_t *numbers, size_t n, size_t largest, int32_t *table, int32_t *rank) {
    size_t *starts = malloc((largest + 3) * sizeof *starts);
    if (!starts) return 0;
    const int32_t *from = NULL;
    for (size_t k = RADIX; k--;) {
        int32_t *to = k % 2 ? rank : table;
        pass(numbers, n, k, starts, largest, from, to);
        from = to;
    }
    free(starts);
    gm_suffixes s = {table, rank, n, RADIX, n};
    for (size_t high = n; high;) { /* groups, from the last on: their numbers are still to be read in `table` */
        size_t low = high - 1;
        while (low && same(numbers, n, (size_t)table[low - 1], (size_t)table[high - 1])) low--;
        number(&s, low, high);
        if (high - low == 1) table[low] = -1;
        high = low;
    }
    for (int going = 1; going; s.depth *= 2) {
        size_t placed = 0; /* how many in a row, before `at`, are in their place */
        going = 0;
        for (size_t at = 0; at < n;) {
            if (table[at] < 0) {
                size_t run = (size_t)-table[at];
                placed += run, at += run;
                table[at - placed] = -(int32_t)placed;
            } else {
                size_t high = (size_t)rank[table[at]] + 1;
                order(&s, at, high);
                placed = 0, at = high, going = 1;
            }
        }
    }
    for (size_t i = 0; i < n; i++) table[rank[i]] = (int32_t)i;
    return 1;
}

static inline size_t pointer(const uint8_t *table, size_t width, size_t place) {
    size_t value = 0;
    for (size_t i = 0; i < width; i++) value |= (size_t)table[place * width + i] << (8 * i);
    return value;
}

/* Whether a pattern is after the suffix at a place (above 0), is its beginning (0), or is before it. */
static int against(const uint8_t *text, size_t size, size_t at, const uint8_t *pattern, size_t length) {
    size_t most = size - at < length ? size - at : length, same = 0;
    while (same < most && text[at + same] == pattern[same]) same++;
    if (same == length) return 0;
    return same == size - at || pattern[same] > text[at + same] ? 1 : -1;
}

/* The places, `range` [2] from and to, of the suffixes that begin with a pattern, in a table of `n` pointers of `width`
   bytes into a text of `size` bytes. */
void gm_suffix_find(const uint8_t *text, size_t size, const uint8_t *table, size_t n, size_t width,
                    const uint8_t *pattern, size_t length, uint64_t *range) {
    size_t low = 0;
    for (int end = 0; end < 2; end++) { /* the first that begins with the pattern, the first after it that does not */
        for (size_t high = n; low < high;) {
            size_t middle = low + (high - low) / 2;
            if (against(text, size, pointer(table, width, middle), pattern, length) + end > 0) low = middle + 1;
            else high = middle;
        }
        range[end] = low;
    }
}

/* Of a pattern, from every `step`-th byte on, in how many bytes its beginning agrees with any suffix, at most, in
   `longest` [length / step]; the table as above. What the suffixes on both sides of those that are left agree in, all
   between them do (U. Manber and G. Myers, "Suffix arrays: a new method for on-line string searches", 1993): so long
   matches are not compared again at every halving. */
void gm_suffix_longest(const uint8_t *text, size_t size, const uint8_t *table, size_t n, size_t width,
                       const uint8_t *pattern, size_t length, size_t step, uint64_t *longest) {
    for (size_t from = 0; from + step <= length; from += step) {
        const uint8_t *wanted = pattern + from;
        size_t low = 0, high = n, before = 0, after = 0, rest = length - from;
        while (low < high) {
            size_t middle = low + (high - low) / 2, at = pointer(table, width, middle);
            size_t most = size - at < rest ? size - at : rest, same = before < after ? before : after;
            while (same < most && text[at + same] == wanted[same]) same++;
            if (same < rest && (same == size - at || wanted[same] > text[at + same])) low = middle + 1, before = same;
            else high = middle, after = same;
        }
        longest[from / step] = before > after ? before : after;
    }
}
