/* What the forests' choice is corrected by: what elements say of themselves, and what belongs together. */
#include "features.h"

#include <string.h>

enum { SHORT_PAGE = 100, FEW = 150, POSTS = 4, LABEL = 10 };
/* words; words beside comments, and how many times as many those have */

#define NAVIGATION (G_NAV | 1ull << 0)
/* What is no text even in the main element of documentation; of the groups of words (tools/main_text/forests.py) those
   of navigation, comments, related pages, hidden text and forms. */
#define NO_TEXT                                                                                                        \
    (G_NAV | G_FOOTER | G_FORM | G_BUTTON | G_HIDDEN | G_POPUP | 1ull << 0 | COMMENTS | 1ull << 6 | 1ull << 19 |       \
     1ull << 20)

/* And what may stand beside the text of any other page: heads and feet, side columns, sharing, advertisements, teasers. */
#define BESIDE                                                                                                         \
    (NO_TEXT | G_HEADER | G_ASIDE | 1ull << 1 | 1ull << 2 | 1ull << 3 | 1ull << 5 | 1ull << 7 | 1ull << 11 |           \
     1ull << 12 | 1ull << 17)

int32_t gm_table_of(const struct page *page, const struct block *block) {
    int32_t node = block->node;
    while (node > 0 && page->nodes[node].tag != T_TABLE) node = page->nodes[node].parent;
    return node;
}

/* Leaves out the headings at the end that nothing follows. */
static void drop_last_headings(const struct view *view, bool *kept) {
    for (size_t i = view->count; i-- > 0;) {
        if (kept[i] && !view->page->nodes[view->block[i]->node].level) return;
        kept[i] = false;
    }
}

/* Leaves out the first heading where it repeats the page's title, which is told apart from the text. */
static void drop_headline(const struct view *view, bool *kept) {
    for (size_t i = 0; i < view->count; i++) {
        unsigned level = view->page->nodes[view->block[i]->node].level;
        if (kept[i] && level && level < 3 && view->facts[i].title > 0.99f) {
            kept[i] = false;
            return;
        }
        if (kept[i] && view->facts[i].is_long) return;
    }
}

/* Whether a block is all links (but for the spaces), in a part that says itself that it is next to the text; or a few
   words in navigation. */
static bool is_side_link(const struct view *view, size_t i) {
    uint64_t groups = view->page->nodes[view->block[i]->node].all | view->block[i]->groups;
    bool label = groups & G_NAV && view->block[i]->words < LABEL;
    return label || (view->facts[i].share > 0.7f && groups & (G_NAV | G_ASIDE | G_FOOTER));
}

/* Whether a block is a reader's comment: running text in a part that is named so. */
static bool is_comment(const struct view *view, size_t i) {
    const struct block *block = view->block[i];
    return (view->page->nodes[block->node].all | block->groups) & COMMENTS && block->words > 3 &&
           view->facts[i].share < 0.5f;
}

/* Whether a page is made of what people wrote: most of what is kept are comments, or the rest is next to nothing. */
static bool is_discussion(const struct view *view, const bool *kept) {
    uint64_t inside = 0, outside = 0, all = 0;
    for (size_t i = 0; i < view->count; i++) {
        bool comment = is_comment(view, i);
        if (comment) all += view->block[i]->words;
        if (kept[i]) *(comment ? &inside : &outside) += view->block[i]->words;
    }
    return inside > outside || (outside < FEW && all > POSTS * outside);
}

/* The element that the page says is its main one: the longest, or -1. */
static int32_t main_element(const struct page *page) {
    int32_t found = -1;
    for (size_t i = 1; i < page->node_count; i++) {
        const struct node *node = &page->nodes[i];
        if (!(node->own & G_MAIN) || page->nodes[node->parent].all & G_MAIN) continue;
        if (found < 0 || node->length > page->nodes[found].length) found = (int32_t)i;
    }
    return found;
}

/* Keeps what the main element of documentation holds, but for links alone; and nothing else, if that is less. DocBook
   has no such element, and its tables of contents are text. */
static void fill_main(const struct view *view, bool *kept) {
    const struct page *page = view->page;
    int32_t main = page->docbook ? 0 : page->documented ? main_element(page) : -1;
    if (main < 0) return;
    const struct node *node = &page->nodes[main];
    uint64_t words[2] = {0, 0};
    for (int round = 0; round < 2 && words[0] <= words[1]; round++) {
        for (size_t i = 0; i < view->count; i++) {
            const struct block *block = view->block[i];
            int32_t at = (int32_t)(block - page->blocks);
            uint64_t groups = (page->nodes[block->node].all | block->groups) & ~node->all;
            bool inside = at >= node->first && at < node->end;
            if (page->docbook) kept[i] = !(groups & NAVIGATION);
            else if (inside && !(groups & NO_TEXT) && view->facts[i].share < 0.6f) kept[i] = true;
            if (kept[i]) words[inside] += block->words, kept[i] = inside || !round;
        }
    }
}

/* Keeps what nothing says to be beside the text, on a page so short that the forests found none. */
static void keep_short(const struct view *view, bool *kept) {
    if (view->total_words > SHORT_PAGE || memchr(kept, true, view->count)) return;
    for (size_t i = 0; i < view->count; i++) {
        uint64_t groups = view->page->nodes[view->block[i]->node].all | view->block[i]->groups;
        kept[i] = !(groups & BESIDE) && view->facts[i].share < 0.5f;
    }
}

/* Leaves out what is not shown, unless it is most of what is kept: a script will show it. */
static void drop_hidden(const struct view *view, bool *kept) {
    uint64_t hidden = 0, shown = 0;
    for (int round = 0; round < 2 && hidden <= shown; round++) {
        for (size_t i = 0; i < view->count; i++) {
            bool hides = (view->page->nodes[view->block[i]->node].all | view->block[i]->groups) & G_HIDDEN;
            if (round) kept[i] &= !hides;
            else if (kept[i]) *(hides ? &hidden : &shown) += view->block[i]->words;
        }
    }
}

static bool is_text(const struct view *view, size_t i) {
    uint64_t groups = view->page->nodes[view->block[i]->node].all | view->block[i]->groups;
    return !(groups & NO_TEXT) && view->facts[i].share < 0.5f;
}

/* Keeps code beside text that is kept, and headings and terms above it. */
static void complete_sections(const struct view *view, bool *kept) {
    for (size_t i = view->count; i-- > 0;) {
        const struct node *node = &view->page->nodes[view->block[i]->node];
        bool code = view->block[i]->pre, after = i + 1 < view->count && kept[i + 1];
        unsigned next = after ? view->page->nodes[view->block[i + 1]->node].level : 0;
        bool heads = after && (node->level || node->tag == T_DT) && (!next || next > node->level);
        if ((heads || (code && (after || (i && kept[i - 1])))) && is_text(view, i)) kept[i] = true;
    }
}

void gm_view_correct(const struct view *view, bool *kept, bool comments) {
    keep_short(view, kept);
    drop_hidden(view, kept);
    comments = comments || is_discussion(view, kept);
    complete_sections(view, kept);
    fill_main(view, kept);
    for (size_t i = 0; i < view->count; i++)
        kept[i] = (kept[i] && !is_side_link(view, i)) || (comments && is_comment(view, i));
    drop_headline(view, kept);
    drop_last_headings(view, kept);
}
