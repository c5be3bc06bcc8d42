/* A page as its blocks in order, with what is known of each. See features.c. */
#ifndef GRISTMILL_HTML_FEATURES_H
#define GRISTMILL_HTML_FEATURES_H
#include "../tokens.h"

enum {
    MAIN_PARTS = 3,
    GROUPS = 28,
    ANCESTORS = 3,
    WINDOW = 3,
    NEAR = 5,
    AROUND = ANCESTORS + 2,
    MAX_FEATURES = 208,
    SAID = 4
};
/* How many features `gm_view_features` and `gm_view_context` write. */
enum {
    OWN = 34,
    PLACE = 20 + MAIN_PARTS,
    ELEMENTS = 9 + 5 * ANCESTORS + GROUPS + 12,
    NEIGHBOURS = 6 * 2 * WINDOW,
    RECORDS = 12 + SAID,
    FEATURES = OWN + PLACE + ELEMENTS + NEIGHBOURS + RECORDS,
    CONTEXT = 2 * NEAR + 1 + 2 + AROUND + 3
};
_Static_assert(FEATURES + CONTEXT <= MAX_FEATURES && MAX_FEATURES <= UINT8_MAX + 1,
               "a split has its feature as uint8_t");
_Static_assert(GROUPS <= 48, "groups of words have the bits below those of elements");

#define COMMENTS (1ull << 4) /* the group of comments among class words: tools/main_text/forests.py */

struct look {
    float body;
    uint32_t length, linked, blocks;
};

struct block_facts {
    uint64_t words_before, chars_before, words_since, words_until; /* since and until the last and next long block */
    int32_t heading, first_heading; /* the blocks that head this one; -1 */
    int32_t long_before, long_after; /* how many blocks away; -1 */
    uint32_t copies;
    float share, title, weight[3], around[AROUND], kept_before;
    bool is_long;
};

/* Siblings of one look together. */
struct records {
    uint32_t count, length, linked, blocks;
};

/* The records that an element is one of, or is in: the innermost, the most numerous; -1. */
struct record_place {
    int32_t inner, most;
};

struct view {
    struct page *page;
    const struct word_weights *words; /* of text */
    struct block **block;      /* those that are not gone */
    struct block_facts *facts;
    struct look *looks;
    struct records *records;
    struct record_place *record_of; /* of each element */
    size_t count;
    int32_t main[MAIN_PARTS];
    uint64_t total_words, total_chars, comment_words;
    uint32_t longest, longs;
    const float *guess;
    float kept;
};

bool gm_view_open(struct view *view, struct page *page, const struct word_weights *words);
void gm_view_close(struct view *view);
/* Writes the features of block i; returns how many (the same for all). */
size_t gm_view_features(const struct view *view, size_t i, float *out);
/* Finds the records of a page, once sums over elements are known; whether there was memory. */
bool gm_view_records(struct view *view);
float *gm_put_records(float *out, const struct view *view, size_t i);
/* Takes the first guesses of all blocks, and tells what those around say of block i. */
bool gm_view_guesses(struct view *view, const float *guess);
size_t gm_view_context(const struct view *view, size_t i, float *out);
/* The table that a block is in, or 0. */
int32_t gm_table_of(const struct page *page, const struct block *block);
/* Corrects which blocks are kept by what elements and the blocks around say. */
void gm_view_correct(const struct view *view, bool *kept, bool comments);

#endif
