/* Goldfish loss (Hans et al. 2024, arXiv:2406.10209 §3): which tokens are left out of the loss is decided by a hash of the WINDOW
   tokens before them, so that a passage loses the same tokens wherever and however often it is read. */
#include "../../c/hashing.h"

enum { WINDOW = 13 };

/* Set to `ignore` one in `every` of the targets that `gm_fill` wrote for these rows. Piece p is [start, start + length) of
   its shard; what comes before it there counts, back to the end of the document before (`end_token`). Targets with fewer
   than WINDOW tokens of their document before them are kept. */
#define GOLDFISH(name, token)                                                                                          \
    void name(const uint64_t *shards, const int32_t *shard, const int64_t *start, const int32_t *length,               \
              const int64_t *first, size_t rows, size_t width, int64_t end_token, uint64_t every, int64_t ignore,      \
              int64_t *targets) {                                                                                      \
        for (size_t r = 0; r < rows; r++, targets += width) {                                                          \
            int64_t *target = targets;                                                                                 \
            for (int64_t p = first[r]; p < first[r + 1]; p++) {                                                        \
                const token *text = (const token *)(uintptr_t)shards[shard[p]];                                        \
                int64_t run = 0; /* tokens of this document that end just before `at`, as far as they matter */        \
                while (run < WINDOW && run < start[p] && (int64_t)text[start[p] - run - 1] != end_token) run++;        \
                for (int64_t at = start[p]; at < start[p] + length[p]; at++, run++, target++) {                        \
                    if (run < WINDOW) continue;                                                                        \
                    uint64_t hash = 0;                                                                                 \
                    for (int i = WINDOW; i > 0; i--) hash = (hash + text[at - i] + 1) * GM_GOLDEN;                     \
                    if (gm_mix(hash) % every == 0) *target = ignore;                                                   \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

GOLDFISH(gm_goldfish_16, uint16_t)
GOLDFISH(gm_goldfish_32, uint32_t)
