/* The pieces of one text. */
#include "split.h"

INLINE size_t split(const uint8_t *classes, const uint8_t *text, size_t n, uint64_t *ends, gm_splitter next) {
    size_t count = 0;
    for (size_t at = 0; at < n; count++) ends[count] = at = next(classes, text, n, at);
    return count;
}

/* Write where each piece of a text ends, `ends` [n]; returns how many there are. */
size_t gm_split(const uint8_t *classes, int pattern, const uint8_t *text, size_t n, uint64_t *ends) {
    return GM_WITH_SPLITTER(pattern, split, classes, text, n, ends);
}
