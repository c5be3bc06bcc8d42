/* What repeats within and between texts: lines, and windows of `span` words. */
#include <stdlib.h>

#include "../text/words.h"

/* Lines that hold a word: `keys` (of the words, under the text's seed), `texts` (whose), `starts` and `stops` (bytes
   from the text's beginning, without the line's end). All have room for every line. Returns how many. */
size_t gm_lines(const uint8_t *text, const int64_t *offsets, size_t n, const uint32_t *fold, const uint64_t *seeds,
                uint64_t *keys, uint32_t *texts, int64_t *starts, int64_t *stops) {
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *first = text + offsets[i], *end = text + offsets[i + 1], *start, *stop;
        for (const uint8_t *line = first; line < end;) {
            const uint8_t *next = line;
            while (next < end && *next != '\n') next++;
            gm_words words = {line, next, fold};
            uint64_t hash, sum = seeds[i];
            int any = 0;
            while (gm_next_word(&words, &hash, &start, &stop)) sum = gm_mix(sum ^ hash) * GM_GOLDEN, any = 1;
            if (any) {
                keys[found] = sum, texts[found] = (uint32_t)i;
                starts[found] = line - first, stops[found] = next - first, found++;
            }
            line = next + 1;
        }
    }
    return found;
}

/* The words of one text: where they are, and a hash of each run of `half` words that begins with one. */
typedef struct {
    uint64_t *runs; /* meaningless where fewer words are left */
    int64_t *starts, *stops;
    size_t n, room;
} gm_text;

static int reserve(gm_text *t, size_t words) {
    if (words <= t->room) return 1;
    free(t->runs), free(t->starts), free(t->stops);
    t->room = words;
    t->runs = malloc(words * sizeof *t->runs);
    t->starts = malloc(words * sizeof *t->starts);
    t->stops = malloc(words * sizeof *t->stops);
    if (t->runs && t->starts && t->stops) return 1;
    t->room = 0;
    return 0;
}

static int read_words(gm_text *t, const uint8_t *text, size_t bytes, const uint32_t *fold, size_t half) {
    gm_words words = {text, text + bytes, fold};
    const uint8_t *start, *stop;
    uint64_t hash, rolled = 0, power = 1;
    t->n = 0;
    if (!reserve(t, bytes / 2 + 2)) return 0; /* two words have a byte between them, or three each */
    while (gm_next_word(&words, &hash, &start, &stop)) {
        t->runs[t->n] = hash;
        t->starts[t->n] = start - text, t->stops[t->n] = stop - text, t->n++;
    }
    for (size_t i = 1; i < half; i++) power *= GM_GOLDEN;
    for (size_t i = 0; i < t->n; i++) { /* a run's hash takes the place of its first word's, which leaves just then */
        rolled = rolled * GM_GOLDEN + t->runs[i];
        if (i + 1 < half) continue;
        size_t first = i + 1 - half;
        hash = t->runs[first];
        t->runs[first] = gm_mix(rolled);
        rolled -= power * hash;
    }
    return 1;
}

/* Where the smallest of the `half` + 1 (or fewer) runs that begin in a window lies; the last of equal ones. */
static inline size_t smallest(const uint64_t *runs, size_t from, size_t to, size_t known) {
    if (known >= from && known < to && known != SIZE_MAX) return runs[to - 1] <= runs[known] ? to - 1 : known;
    size_t least = from;
    for (size_t i = from + 1; i < to; i++)
        if (runs[i] <= runs[least]) least = i;
    return least;
}

/* One anchor for every window of spans[i] words of text i: the smallest hash of half a window's words in it (winnowing: Schleimer, Wilkerson
   and Aiken 2003). Equal windows have equal anchors; neighbours mostly share theirs, which is written once. `keys` has
   room for every word. Returns how many, or SIZE_MAX where memory is short. */
size_t gm_anchors(const uint8_t *text, const int64_t *offsets, size_t n, const uint32_t *fold, const uint32_t *spans,
                  uint64_t *keys) {
    gm_text t = {0};
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        size_t span = spans[i], half = (span + 1) / 2;
        if (!read_words(&t, text + offsets[i], (size_t)(offsets[i + 1] - offsets[i]), fold, half)) return SIZE_MAX;
        size_t anchor = SIZE_MAX;
        for (size_t first = 0; first + span <= t.n; first++) {
            size_t least = smallest(t.runs, first, first + span - half + 1, anchor);
            if (least != anchor) keys[found++] = t.runs[least];
            anchor = least;
        }
    }
    free(t.runs), free(t.starts), free(t.stops);
    return found;
}

static int holds(const uint64_t *sorted, size_t n, uint64_t key) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted[middle] < key) low = middle + 1;
        else high = middle;
    }
    return low < n && sorted[low] == key;
}

/* The windows of spans[i] words of text i whose anchor is among the `m` sorted ones of `repeated`: `keys`, `texts`, `starts` and
   `stops` (bytes from the text's beginning), with room for every word. Returns as gm_anchors does. */
size_t gm_windows(const uint8_t *text, const int64_t *offsets, size_t n, const uint32_t *fold, const uint32_t *spans,
                  const uint64_t *repeated, size_t m, uint64_t *keys, uint32_t *texts, int64_t *starts,
                  int64_t *stops) {
    gm_text t = {0};
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        size_t span = spans[i], half = (span + 1) / 2;
        if (!read_words(&t, text + offsets[i], (size_t)(offsets[i + 1] - offsets[i]), fold, half)) return SIZE_MAX;
        size_t anchor = SIZE_MAX;
        int again = 0;
        for (size_t first = 0; first + span <= t.n; first++) {
            size_t least = smallest(t.runs, first, first + span - half + 1, anchor);
            if (least != anchor) again = holds(repeated, m, t.runs[least]);
            anchor = least;
            if (!again) continue;
            uint64_t both = t.runs[first] * GM_GOLDEN + t.runs[first + span - half]; /* the two cover the window */
            keys[found] = gm_mix(both), texts[found] = (uint32_t)i;
            starts[found] = t.starts[first], stops[found] = t.stops[first + span - 1], found++;
        }
    }
    free(t.runs), free(t.starts), free(t.stops);
    return found;
}
