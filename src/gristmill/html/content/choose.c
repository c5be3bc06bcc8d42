/* Which blocks of a page are its main text, and that text as Markdown.

   Two forests of decision trees, fitted by tools/main_text.py: the first judges each block by its looks, the second
   again with what the first said of the blocks around it. */
#include "features.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A test of a tree: `kept` are the leaves, a bit each from the left on, that are left where the feature is greater. */
struct split {
    float threshold;
    uint32_t kept;
    uint8_t feature;
};

struct forest {
    const struct split *splits; /* of all trees */
    const float *leaves;        /* a tree has one more than splits, and at most 32 */
    const uint32_t *roots;      /* [trees + 1]: where each tree's splits begin */
    uint32_t trees;
};

struct model {
    struct forest first, second;
    struct word_weights classes, texts;
    float threshold;
};

struct result {
    const uint8_t *text, *facts;
    size_t text_length, facts_length, blocks;
    int fault;
};

enum { WITH_COMMENTS = 1, WITH_EVERYTHING = 2, AS_XML = 4 };

struct page *gm_html_parse(const uint8_t *html, size_t size, const struct entities *entities,
                           const struct word_weights *words, unsigned xml);

enum { BATCH = 64, REMEMBERED = 4096 }; /* blocks judged at once; blocks whose features are worked out once */
enum { JUDGED = 4096, BYTES_EACH = 320 }; /* blocks that any page may have judged, and one more in so many bytes */

enum { LANES = 4, VECTORS = 4, ABREAST = LANES * VECTORS }; /* rows that a vector holds, vectors at a time */
typedef float row_vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t leaf_vec __attribute__((vector_size(4 * LANES)));

/* The sums of a forest over `count` rows of features. No tree is walked: every test takes away the leaves that it rules
   out, and the first that is left is the row's (Lucchese et al. 2015, QuickScorer, SIGIR), of many rows at once. */
static void judge(const struct forest *forest, const float *features, size_t count, float *sums) {
    row_vec columns[MAX_FEATURES][VECTORS];
    for (size_t first = 0; first < count; first += ABREAST) {
        size_t rows = count - first < ABREAST ? count - first : ABREAST;
        for (size_t row = 0; row < ABREAST; row++)
            for (size_t i = 0; i < MAX_FEATURES; i++)
                columns[i][row / LANES][row % LANES] = row < rows ? features[(first + row) * MAX_FEATURES + i] : 0;
        for (size_t row = 0; row < rows; row++) sums[first + row] = 0;
        for (uint32_t tree = 0; tree < forest->trees; tree++) {
            leaf_vec left[VECTORS];
            for (int i = 0; i < VECTORS; i++) left[i] = ~(leaf_vec){0};
            for (uint32_t at = forest->roots[tree]; at < forest->roots[tree + 1]; at++) {
                const struct split *split = &forest->splits[at];
                for (int i = 0; i < VECTORS; i++)
                    left[i] &= ~(leaf_vec)(columns[split->feature][i] > split->threshold) | split->kept;
            }
            const float *leaves = forest->leaves + forest->roots[tree] + tree;
            for (size_t row = 0; row < rows; row++)
                sums[first + row] += leaves[__builtin_ctz(left[row / LANES][row % LANES])];
        }
    }
}

/* The sigmoid, without the mathematics library's differences between platforms: x / (1 + |x|), scaled to 0..1. */
static float squash(float x) { return 0.5f + 0.5f * x / (1 + (x < 0 ? -x : x)); }

/* Judges every block twice; `keep` gets the sums of the second forest.

   A page of more blocks than any real one of its length has every `stride`-th of them judged, for the next ones too:
   judging costs as much as reading a thousand bytes. */
static bool judge_blocks(struct view *view, const struct model *model, float *guess, float *keep) {
    size_t stride = 1 + view->count / (JUDGED + view->page->size / BYTES_EACH);
    size_t judged = (view->count + stride - 1) / stride, width = 0;
    bool all = judged <= REMEMBERED;
    size_t batch = all ? judged + 1 : BATCH;
    float *features = malloc(sizeof *features * batch * MAX_FEATURES);
    if (!features) return false;
    for (int round = 0; round < 2; round++) {
        float *sums = round ? keep : guess;
        for (size_t start = 0; start < judged; start += batch) {
            size_t count = judged - start < batch ? judged - start : batch;
            for (size_t i = 0; i < count; i++) {
                float *row = features + i * MAX_FEATURES;
                if (!round || !all) width = gm_view_features(view, (start + i) * stride, row);
                if (round) gm_view_context(view, (start + i) * stride, row + width);
            }
            judge(round ? &model->second : &model->first, features, count, sums + start);
        }
        for (size_t i = view->count; stride > 1 && i-- > 0;) sums[i] = sums[i / stride];
        if (round) break;
        for (size_t i = 0; i < view->count; i++) guess[i] = squash(guess[i]);
        if (!gm_view_guesses(view, guess)) return free(features), false;
    }
    free(features);
    return true;
}

/* ---- Markdown ---- */

static bool add(struct page *page, const void *bytes, size_t length) {
    if (gm_buffer_add(&page->out, bytes, length)) return true;
    page->fault = FAULT_MEMORY;
    return false;
}

static void render_pre(struct page *page, const uint8_t *text, size_t length) {
    while (length && *text == '\n') text++, length--;
    size_t longest = 2, run = 0; /* the fence is longer than any in the text */
    for (size_t i = 0; i < length; i++) {
        run = text[i] == '`' ? run + 1 : 0;
        if (run > longest) longest = run;
    }
    for (size_t i = 0; i <= longest; i++) add(page, "`", 1);
    add(page, "\n", 1), add(page, text, length), add(page, "\n", 1);
    for (size_t i = 0; i <= longest; i++) add(page, "`", 1);
}

static void render_row(struct page *page, const struct block *block, const uint8_t *text, bool first) {
    add(page, "| ", 2), add(page, text, block->length), add(page, " |", 2);
    if (!first || !block->head) return;
    add(page, "\n|", 2);
    add(page, " --- |", 6);
    for (size_t i = 0; i + 3 <= block->length; i++)
        if (!memcmp(text + i, " | ", 3)) add(page, " --- |", 6);
}

static void render_block(struct page *page, const struct block *block, bool first_row) {
    const uint8_t *text = page->text.at + block->start;
    const struct node *node = &page->nodes[block->node];
    size_t indent = block->depth > 1 ? 2 * ((size_t)(block->depth < 9 ? block->depth : 9) - 1) : 0;
    if (block->item) {
        char mark[48] = "- ";
        if (block->ordinal) snprintf(mark, sizeof mark, "%" PRIu32 ". ", block->ordinal);
        for (size_t i = 0; i < indent; i++) add(page, " ", 1);
        add(page, mark, strlen(mark));
    }
    if (node->level) {
        add(page, "###### ", node->level);
        add(page, " ", 1);
        for (size_t i = 0; i < block->length; i++) add(page, text[i] == '\n' ? (const uint8_t *)" " : text + i, 1);
    } else if (block->pre) {
        render_pre(page, text, block->length);
    } else if (block->row) {
        render_row(page, block, text, first_row);
    } else {
        add(page, text, block->length);
    }
}

/* Writes the kept blocks. */
static void render(struct view *view, const bool *kept) {
    struct page *page = view->page;
    const struct block *before = NULL;
    for (size_t i = 0; i < view->count && !page->fault; i++) {
        const struct block *block = view->block[i];
        if (!kept[i]) continue;
        bool same_table = before && before->row && block->row && gm_table_of(page, before) == gm_table_of(page, block);
        bool same_list = before && before->list && block->list && block->item && before->depth && before->item;
        if (before) add(page, "\n\n", same_table || same_list ? 1 : 2);
        render_block(page, block, !same_table);
        before = block;
    }
}

/* ---- the whole way ---- */

/* Notes the first <h1>: with the title, it tells the page's name. */
static void note_heading(struct page *page) {
    for (size_t i = 0; i < page->block_count; i++) {
        const struct block *block = &page->blocks[i];
        if (page->nodes[block->node].level != 1 || block->gone) continue;
        gm_html_add_fact(page, "h1", page->text.at + block->start, block->length);
        return;
    }
}

/* The sum above which blocks are kept: where the F1 of words that is to be expected is greatest, if each block is main
   text with the odds that its sum says (Lewis 1995, "Evaluating and Optimizing Autonomous Text Classification Systems").
   Near even odds where the forests are sure; below where they doubt, as of a page that is a list. */
static float best_threshold(const struct view *view, const float *sums, float highest) {
    enum { BINS = 128, EACH = 16 }; /* a bin is a sixteenth wide */
    double words[BINS] = {0}, main[BINS] = {0}, all = 0, kept = 0, right = 0, best = 0;
    for (size_t i = 0; i < view->count; i++) {
        float place = sums[i] * EACH + BINS / 2;
        int bin = place < 0 ? 0 : place >= BINS ? BINS - 1 : (int)place;
        double count = view->block[i]->words, odds = 1 / (1 + exp(-sums[i]));
        words[bin] += count, main[bin] += count * odds, all += count * odds;
    }
    float found = highest;
    for (int bin = BINS; bin-- > 0;) {
        kept += words[bin], right += main[bin];
        if (kept + all <= 0 || right / (kept + all) <= best) continue;
        best = right / (kept + all);
        found = (float)(bin + 1 - BINS / 2) / EACH;
    }
    return found < highest ? found : highest;
}

/* Chooses, and writes what is kept; for fitting the model, where there is a `chosen` [blocks], tells instead which blocks
   are kept, and the sum of the second forest for each in `sums` [blocks]. Whether there was memory. */
bool gm_html_choice(struct page *page, const struct model *model, unsigned options, float *sums, bool *chosen) {
    struct view view;
    if (!gm_view_open(&view, page, &model->texts)) return false;
    float *guess = calloc(2 * view.count + 1, sizeof *guess), *keep = guess ? guess + view.count : NULL;
    bool *kept = calloc(view.count + 1, sizeof *kept);
    bool done = guess && kept && judge_blocks(&view, model, guess, keep);
    if (done) {
        float threshold = best_threshold(&view, keep, model->threshold);
        for (size_t i = 0; i < view.count; i++) kept[i] = keep[i] > threshold || options & WITH_EVERYTHING;
        if (!(options & WITH_EVERYTHING)) gm_view_correct(&view, kept, options & WITH_COMMENTS);
        if (!chosen) render(&view, kept);
        else memcpy(sums, keep, view.count * sizeof *keep), memcpy(chosen, kept, view.count * sizeof *kept);
    }
    free(guess), free(kept);
    gm_view_close(&view);
    return done;
}

/* Title, facts and main text of a page; free what it returns with gm_html_free. NULL where there is no memory. */
struct page *gm_html_extract(const uint8_t *html, size_t size, const struct entities *entities,
                             const struct model *model, unsigned options, struct result *result) {
    struct page *page = gm_html_parse(html, size, entities, &model->classes, options & AS_XML);
    if (!page) return NULL;
    if (!page->fault) note_heading(page);
    if (!page->fault && !gm_html_choice(page, model, options, NULL, NULL)) page->fault = FAULT_MEMORY;
    *result = (struct result){page->out.at,       page->facts.at,    page->out.length,
                              page->facts.length, page->block_count, page->fault};
    return page;
}

/* ---- for fitting the model ---- */

/* The text and the features of all blocks: `spans` [count, 2] byte offsets, `features` [count, width], `node` [count];
   returns the count, or with NULLs the most there can be. `width` gets the number of features. */
size_t gm_html_describe(struct page *page, const struct word_weights *texts, uint32_t *spans, float *features,
                        int32_t *nodes, size_t *width) {
    struct view view;
    float one[MAX_FEATURES];
    if (!spans) return page->block_count;
    if (!gm_view_open(&view, page, texts)) return 0;
    size_t count = view.count;
    for (size_t i = 0; i < count; i++) {
        *width = gm_view_features(&view, i, one);
        memcpy(features + i * *width, one, *width * sizeof *one);
        spans[2 * i] = view.block[i]->start, spans[2 * i + 1] = view.block[i]->start + view.block[i]->length;
        nodes[i] = view.block[i]->node;
    }
    gm_view_close(&view);
    return count;
}

/* What the first guesses (sums of the first forest) tell of every block: `out` [count, width]. */
size_t gm_html_context(struct page *page, const struct word_weights *texts, const float *sums, float *out,
                       size_t *width) {
    struct view view;
    if (!gm_view_open(&view, page, texts)) return 0;
    size_t count = view.count;
    float *guess = calloc(count + 1, sizeof *guess);
    for (size_t i = 0; guess && i < count; i++) guess[i] = squash(sums[i]);
    if (guess && gm_view_guesses(&view, guess))
        for (size_t i = 0; i < count; i++) *width = gm_view_context(&view, i, out + i * *width);
    free(guess);
    gm_view_close(&view);
    return count;
}

const uint8_t *gm_html_page_text(const struct page *page, size_t *length) {
    *length = page->text.length;
    return page->text.at;
}

/* Of an element its tag, and where in the HTML its class and its id are: start and length of each; returns its parent,
   or -1. */
int32_t gm_html_element(const struct page *page, int32_t node, const char **tag, uint32_t names[4]) {
    *tag = gm_tag_name((enum tag)page->nodes[node].tag);
    memcpy(names, page->nodes[node].names, sizeof page->nodes[node].names);
    return page->nodes[node].parent;
}
