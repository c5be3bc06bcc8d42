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

/* A word of a text: where it is, and a hash of the run of `half` words that begins with it. */
typedef struct {
    uint64_t run; /* meaningless where fewer words are left */
    int64_t start, stop;
} gm_word;

typedef struct {
    gm_word *words;
    size_t n, room;
} gm_text;

/* Reads the words of the next text into `t`; whether there was memory for them. */
static int read_words(gm_text *t, const uint8_t *text, size_t bytes, const uint32_t *fold, size_t half) {
    gm_words words = {text, text + bytes, fold};
    const uint8_t *start, *stop;
    uint64_t hash, rolled = 0, power = 1;
    t->n = 0;
    size_t most = bytes / 2 + 2; /* two words have a byte between them, or three each */
    if (most > t->room) {
        free(t->words);
        t->words = malloc(most * sizeof *t->words);
        t->room = t->words ? most : 0;
        if (!t->words) return 0;
    }
    while (gm_next_word(&words, &hash, &start, &stop)) t->words[t->n++] = (gm_word){hash, start - text, stop - text};
    for (size_t i = 1; i < half; i++) power *= GM_GOLDEN;
    for (size_t i = 0; i < t->n; i++) { /* a run's hash takes the place of its first word's, which leaves just then */
        rolled = rolled * GM_GOLDEN + t->words[i].run;
        if (i + 1 < half) continue;
        size_t first = i + 1 - half;
        hash = t->words[first].run;
        t->words[first].run = gm_mix(rolled);
        rolled -= power * hash;
    }
    return 1;
}

/* Where the smallest of the `half` + 1 (or fewer) runs that begin in a window lies; the last of equal ones. */
static inline size_t smallest(const gm_word *words, size_t from, size_t to, size_t known) {
    if (known >= from && known < to && known != SIZE_MAX) return words[to - 1].run <= words[known].run ? to - 1 : known;
    size_t least = from;
    for (size_t i = from + 1; i < to; i++)
        if (words[i].run <= words[least].run) least = i;
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
            size_t least = smallest(t.words, first, first + span - half + 1, anchor);
            if (least != anchor) keys[found++] = t.words[least].run;
            anchor = least;
        }
    }
    free(t.words);
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
            size_t least = smallest(t.words, first, first + span - half + 1, anchor);
            if (least != anchor) again = holds(repeated, m, t.words[least].run);
            anchor = least;
            if (!again) continue;
            /* the two runs cover the window */
            uint64_t both = t.words[first].run * GM_GOLDEN + t.words[first + span - half].run;
            keys[found] = gm_mix(both), texts[found] = (uint32_t)i;
            starts[found] = t.words[first].start, stops[found] = t.words[first + span - 1].stop, found++;
        }
    }
    free(t.words);
    return found;
}
