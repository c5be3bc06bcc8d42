/* Rows of training tokens: which pieces share a row, and the rows themselves. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Best fit, the longest first (Johnson 1974; for language models Ding et al. 2024, arXiv:2404.10830): every piece goes
   into the fullest row that has room for it. `lengths` [n] lie in 1..capacity; `row` [n] gets each piece's row. Of equally
   long pieces the earlier goes first. Returns the number of rows, -1 where memory is short. Time n · log(capacity). */
int64_t gm_pack(const int32_t *lengths, size_t n, int32_t capacity, int64_t *row) {
    size_t room = (size_t)capacity + 1, leaves = 1;
    while (leaves < room) leaves *= 2;
    int64_t *sorted = malloc((n + 1) * sizeof *sorted), *next = malloc((n + 1) * sizeof *next);
    int64_t *newest = malloc(room * sizeof *newest); /* of the rows with that much room; `next` leads to the others */
    size_t *places = calloc(room + 1, sizeof *places);
    bool *any = calloc(2 * leaves, 1); /* a tree over the room left: whether a row has it */
    int64_t rows = -1;
    if (sorted && next && newest && places && any) {
        for (size_t i = 0; i < n; i++) places[(size_t)(capacity - lengths[i]) + 1]++;
        for (size_t i = 0; i < room; i++) places[i + 1] += places[i];
        for (size_t i = 0; i < n; i++) sorted[places[capacity - lengths[i]]++] = (int64_t)i;
        for (size_t i = 0; i < room; i++) newest[i] = -1;
        rows = 0;
        for (size_t i = 0; i < n; i++) {
            size_t length = (size_t)lengths[sorted[i]], left = (size_t)capacity, at = leaves + length;
            /* the first leaf from `at` on that is set: up while we come from the right or nothing is set, then down */
            while (at > 1 && !any[at]) {
                while (at > 1 && at & 1) at /= 2;
                at = at > 1 ? at + 1 : at;
            }
            int64_t into = rows;
            if (at > 1) {
                while (at < leaves) at = any[2 * at] ? 2 * at : 2 * at + 1;
                left = at - leaves;
                into = newest[left];
                newest[left] = next[into];
                if (newest[left] < 0) {
                    any[at] = false;
                    for (at /= 2; at && !(any[2 * at] || any[2 * at + 1]); at /= 2) any[at] = false;
                }
            } else {
                rows++;
            }
            row[sorted[i]] = into;
            left -= length;
            if (!left) continue;
            next[into] = newest[left];
            newest[left] = into;
            for (at = leaves + left; at && !any[at]; at /= 2) any[at] = true;
        }
    }
    free(sorted);
    free(next);
    free(newest);
    free(places);
    free(any);
    return rows;
}

/* Fill `rows` rows of `width` inputs and targets. Row r has the pieces `first[r]` to `first[r + 1]`; piece p is the tokens
   [start, start + length) of its shard, each predicted from the one before it, the document's first (where `begins`) from
   `end_token`. `documents` gets the piece's number in its row, -1 where the row is padded with `end_token` and `ignore`.
   The caller has made sure that every piece lies within its shard and every row's pieces within its width. */
#define FILL(name, token)                                                                                              \
    void name(const uint64_t *shards, const int32_t *shard, const int64_t *start, const int32_t *length,               \
              const uint8_t *begins, const int64_t *first, size_t rows, size_t width, int64_t end_token,               \
              int64_t ignore, int64_t *inputs, int64_t *targets, int32_t *documents) {                                 \
        for (size_t r = 0; r < rows; r++, inputs += width, targets += width, documents += width) {                     \
            size_t at = 0;                                                                                             \
            for (int64_t p = first[r]; p < first[r + 1]; p++) {                                                        \
                const token *from = (const token *)(uintptr_t)shards[shard[p]] + start[p];                             \
                size_t n = (size_t)length[p];                                                                          \
                inputs[at] = begins[p] ? end_token : (int64_t)from[-1];                                                \
                for (size_t i = 1; i < n; i++) inputs[at + i] = from[i - 1];                                           \
                for (size_t i = 0; i < n; i++) targets[at + i] = from[i];                                              \
                for (size_t i = 0; i < n; i++) documents[at + i] = (int32_t)(p - first[r]);                            \
                at += n;                                                                                               \
            }                                                                                                          \
            for (; at < width; at++) {                                                                                 \
                inputs[at] = end_token;                                                                                \
                targets[at] = ignore;                                                                                  \
                documents[at] = -1;                                                                                    \
            }                                                                                                          \
        }                                                                                                              \
    }

FILL(gm_fill_16, uint16_t)
FILL(gm_fill_32, uint32_t)
