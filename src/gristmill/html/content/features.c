/* What a block of text looks like, as numbers for the model that chooses among blocks (choose.c).

   The features are those that the literature found to tell main text from the rest: length, link density and the same
   of the neighbours (Kohlschütter et al. 2010, "Boilerplate Detection using Shallow Text Features"), text per markup
   (Sun et al. 2011, "DOM Based Content Extraction via Text Density"), class names and the part of the page with most
   running text (Readability), and what follows which heading. None depends on a language's words but two sums of
   learned weights. */
#include "features.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOOKS = 1024, SHORT_WORDS = 15, LONG_WORDS = 25, TITLE_WORDS = 64 };

static bool is_heading(const struct page *page, const struct block *block) {
    return page->nodes[block->node].level > 0;
}

static float link_share(uint32_t linked, uint32_t length) { return length ? (float)linked / (float)length : 0; }

static float log1(double value) { return (float)log1p(value); }

/* Characters of running text in a block; 0 for labels, headings and lists of links. */
static float running(const struct page *page, const struct block *block) {
    float share = link_share(block->linked, block->length);
    if (share > 0.33f || is_heading(page, block) || (block->words < 10 && !(block->ends && block->words > 4))) return 0;
    float free = (float)block->chars * (1 - share);
    return free < 800 ? free : 800;
}

/* The next run of letters from `*stop` on; whether there is one. */
static bool next_word(const uint8_t *text, size_t length, size_t *start, size_t *stop) {
    size_t at = *stop;
    while (at < length && !gm_is_letter(text[at]) && text[at] < 0x80) at++;
    *start = at;
    while (at < length && (gm_is_letter(text[at]) || text[at] >= 0x80)) at++;
    *stop = at;
    return at > *start;
}

/* Sum, least and greatest weight of the words of a short text. */
static void weigh_words(const uint8_t *text, size_t length, const struct word_weights *words, float out[3]) {
    out[0] = out[1] = out[2] = 0;
    for (size_t start, stop = 0; next_word(text, length, &start, &stop);) {
        int64_t found = gm_word_find(words, gm_word_hash(text + start, stop - start));
        if (found < 0) continue;
        float weight = words->weights[found];
        out[0] += weight;
        if (weight < out[1]) out[1] = weight;
        if (weight > out[2]) out[2] = weight;
    }
}

/* The text of a block, by its hash. */
struct hashed {
    uint32_t hash, block;
};

static int by_hash(const void *a, const void *b) {
    uint32_t one = ((const struct hashed *)a)->hash, two = ((const struct hashed *)b)->hash;
    return (one > two) - (one < two);
}

/* The hashes of the title's words. */
static size_t title_words(const struct page *page, uint32_t *out) {
    size_t count = 0, start, stop = page->title, end = page->title + page->title_length;
    const uint8_t *text = page->facts.at;
    while (count < TITLE_WORDS && next_word(text, end, &start, &stop))
        out[count++] = gm_word_hash(text + start, stop - start);
    return count;
}

/* The share of a block's words that the title has too. */
static float in_title(const struct page *page, const struct block *block, const uint32_t *title, size_t count) {
    const uint8_t *text = page->text.at + block->start;
    size_t start, stop = 0, words = 0, shared = 0;
    if (!count || block->words > 40) return 0;
    while (next_word(text, block->length, &start, &stop)) {
        uint32_t hash = gm_word_hash(text + start, stop - start);
        words++;
        size_t known = 0;
        while (known < count && title[known] != hash) known++;
        shared += known < count;
    }
    return words ? (float)shared / (float)words : 0;
}

/* How often each block's text occurs on the page. By sorting: whoever writes a page can choose texts that crowd into
   few slots of a hash table, and would make it quadratic. */
static bool count_copies(struct view *view) {
    struct hashed *texts = malloc((view->count + 1) * sizeof *texts);
    if (!texts) return false;
    for (size_t i = 0; i < view->count; i++) {
        const uint8_t *text = view->page->text.at + view->block[i]->start;
        texts[i] = (struct hashed){gm_fnv32_of(text, view->block[i]->length), (uint32_t)i};
    }
    qsort(texts, view->count, sizeof *texts, by_hash);
    for (size_t start = 0, stop = 0; start < view->count; start = stop) {
        while (stop < view->count && texts[stop].hash == texts[start].hash) stop++;
        for (size_t i = start; i < stop; i++) view->facts[texts[i].block].copies = (uint32_t)(stop - start);
    }
    free(texts);
    return true;
}

/* Sums over elements and over elements of one look; the parts of the page that hold most of its running text. */
static void sum_nodes(struct view *view) {
    struct page *page = view->page;
    for (size_t i = 0; i < page->node_count; i++) /* a page may be viewed again */
        page->nodes[i].body = 0, page->nodes[i].length = page->nodes[i].linked = page->nodes[i].blocks = 0;
    for (size_t i = 0; i < view->count; i++) {
        const struct block *block = view->block[i];
        struct node *node = &page->nodes[block->node];
        float body = running(page, block);
        node->body += body;
        node->length += block->length;
        node->linked += block->linked;
        node->blocks++;
        struct look *look = &view->looks[node->look % LOOKS];
        look->body += body, look->length += block->length, look->linked += block->linked, look->blocks++;
    }
    for (size_t i = page->node_count; i-- > 1;) {
        const struct node *node = &page->nodes[i];
        struct node *above = &page->nodes[node->parent];
        above->body += node->body;
        above->length += node->length;
        above->linked += node->linked;
        above->blocks += node->blocks;
    }
    static const float share[MAIN_PARTS] = {0.51f, 0.7f, 0.9f};
    for (int part = 0; part < MAIN_PARTS; part++) {
        view->main[part] = 0;
        for (size_t i = 1; i < page->node_count; i++)
            if (page->nodes[i].body > 0 && page->nodes[i].body >= share[part] * page->nodes[0].body)
                view->main[part] = (int32_t)i; /* later ones lie inside */
    }
}

/* What each block's place in the order of blocks tells: headings before it, running text around it. */
static void look_around(struct view *view) {
    const struct page *page = view->page;
    uint32_t title[TITLE_WORDS];
    size_t title_count = title_words(page, title);
    int32_t heading = -1, first_heading = -1, last_long = -1;
    uint64_t words = 0, chars = 0, since = 0;
    for (size_t i = 0; i < view->count; i++) {
        const struct block *block = view->block[i];
        struct block_facts *facts = &view->facts[i];
        facts->words_before = words;
        facts->chars_before = chars;
        facts->heading = heading;
        facts->first_heading = first_heading;
        facts->long_before = last_long < 0 ? -1 : (int32_t)i - last_long;
        facts->words_since = since;
        facts->title = in_title(page, block, title, title_count);
        facts->share = link_share(block->linked, block->length);
        if (block->words <= SHORT_WORDS)
            weigh_words(page->text.at + block->start, block->length, view->words, facts->weight);
        if (is_heading(page, block)) {
            heading = (int32_t)i;
            bool first = page->nodes[block->node].level == 1 || facts->title > 0.8f;
            if (first_heading < 0 && first) first_heading = heading;
        }
        facts->is_long = block->words >= LONG_WORDS && facts->share < 0.3f;
        since += block->words;
        if (facts->is_long) last_long = (int32_t)i, since = 0, view->longs++;
        if (block->words > view->longest) view->longest = block->words;
        if (page->nodes[block->node].all & COMMENTS) view->comment_words += block->words;
        words += block->words, chars += block->chars;
    }
    view->total_words = words, view->total_chars = chars;
    int32_t next = -1;
    uint64_t until = 0;
    for (size_t i = view->count; i-- > 0;) {
        view->facts[i].long_after = next < 0 ? -1 : next - (int32_t)i;
        view->facts[i].words_until = until;
        until += view->block[i]->words;
        if (view->facts[i].is_long) next = (int32_t)i, until = 0;
    }
}

bool gm_view_open(struct view *view, struct page *page, const struct word_weights *words) {
    *view = (struct view){.page = page, .words = words};
    view->block = calloc(page->block_count + 1, sizeof *view->block);
    view->facts = calloc(page->block_count + 1, sizeof *view->facts);
    view->looks = calloc(LOOKS, sizeof *view->looks);
    if (!view->block || !view->facts || !view->looks) return gm_view_close(view), false;
    for (size_t i = 0; i < page->block_count; i++)
        if (!page->blocks[i].gone) view->block[view->count++] = &page->blocks[i];
    sum_nodes(view);
    look_around(view);
    return (gm_view_records(view) && count_copies(view)) || (gm_view_close(view), false);
}

void gm_view_close(struct view *view) {
    free(view->block), free(view->facts), free(view->looks), free(view->records), free(view->record_of);
    *view = (struct view){0};
}

static float *put_own(float *out, const struct view *view, size_t i) {
    const struct block *block = view->block[i];
    const struct block_facts *facts = &view->facts[i];
    const struct node *node = &view->page->nodes[block->node];
    const uint8_t *text = view->page->text.at + block->start;
    float chars = (float)(block->chars ? block->chars : 1), words = (float)(block->words ? block->words : 1);
    *out++ = log1(block->chars);
    *out++ = log1(block->words);
    *out++ = facts->share;
    *out++ = chars / words;
    *out++ = block->ends;
    *out++ = (float)block->stops / words;
    *out++ = (float)block->commas / words;
    *out++ = (float)block->digits / chars;
    *out++ = (float)block->capitals / chars;
    *out++ = block->breaks;
    *out++ = block->links;
    *out++ = log1(block->markup / chars);
    *out++ = link_share(block->bold, block->length);
    *out++ = node->level;
    *out++ = node->tag == T_P;
    *out++ = node->tag == T_LI || node->tag == T_UL || node->tag == T_OL;
    *out++ = node->tag == T_TD || node->tag == T_TH || block->row;
    *out++ = block->pre;
    *out++ = node->tag == T_DIV || node->tag == T_SECTION || node->tag == T_BODY || node->tag == T_ARTICLE;
    *out++ = node->tag == T_DT || node->tag == T_DD;
    *out++ = node->tag == T_BLOCKQUOTE;
    *out++ = block->depth;
    *out++ = block->ordinal > 0;
    *out++ = block->item;
    *out++ = block->after_break;
    *out++ = memchr(text, '|', block->length) != NULL;
    *out++ = block->length > 1 && text[0] == 0xC2 && text[1] == 0xA9; /* © */
    *out++ = block->length && (uint8_t)(text[0] - 'a') < 26;
    *out++ = block->maths;
    for (int k = 0; k < 3; k++) *out++ = facts->weight[k];
    *out++ = facts->title;
    *out++ = (float)facts->copies;
    return out;
}

static float *put_place(float *out, const struct view *view, size_t i) {
    const struct block_facts *facts = &view->facts[i];
    const struct page *page = view->page;
    *out++ = (float)i / (float)view->count;
    *out++ = log1((double)i);
    *out++ = log1((double)(view->count - 1 - i));
    *out++ = view->total_chars ? (float)facts->chars_before / (float)view->total_chars : 0;
    *out++ = log1((double)facts->words_before);
    *out++ = facts->long_before < 0 ? 99 : (float)facts->long_before;
    *out++ = facts->long_after < 0 ? 99 : (float)facts->long_after;
    *out++ = log1((double)facts->words_since);
    *out++ = log1((double)facts->words_until);
    *out++ = facts->heading < 0 ? 99 : (float)(i - (size_t)facts->heading);
    *out++ = facts->heading < 0 ? 0 : page->nodes[view->block[facts->heading]->node].level;
    for (int k = 0; k < 2; k++) *out++ = facts->heading < 0 ? 0 : view->facts[facts->heading].weight[k];
    *out++ = facts->first_heading < 0 ? -1 : log1((double)(i - (size_t)facts->first_heading));
    for (int part = 0; part < MAIN_PARTS; part++) {
        const struct node *main = &page->nodes[view->main[part]];
        int32_t at = (int32_t)(view->block[i] - page->blocks);
        *out++ = at < main->first ? -1 : at >= main->end ? 1 : 0;
    }
    *out++ = log1((double)view->total_words);
    *out++ = log1((double)view->count);
    *out++ = log1((double)view->longest);
    *out++ = log1((double)view->longs);
    *out++ = link_share(page->nodes[0].linked, page->nodes[0].length);
    *out++ = log1((double)page->nodes[0].body);
    return out;
}

static float *put_elements(float *out, const struct view *view, size_t i) {
    const struct page *page = view->page;
    const struct block *block = view->block[i];
    const struct node *node = &page->nodes[block->node];
    const struct look *look = &view->looks[node->look % LOOKS];
    float whole = page->nodes[0].body + 1;
    *out++ = node->depth;
    *out++ = node->sum;
    *out++ = node->low;
    *out++ = node->high;
    *out++ = node->near;
    uint64_t near = block->groups;
    for (int step = 0; step < ANCESTORS; step++) {
        near |= node->tag == T_BODY ? 0 : node->own;
        *out++ = log1(node->length);
        *out++ = link_share(node->linked, node->length);
        *out++ = log1(node->blocks);
        *out++ = node->body / whole;
        *out++ = node->body / (float)(node->length + 1);
        if (node->parent >= 0) node = &page->nodes[node->parent];
    }
    *out++ = log1(look->blocks);
    *out++ = look->body / whole;
    *out++ = link_share(look->linked, look->length);
    *out++ = log1((double)look->length / (look->blocks + 1));
    uint64_t all = page->nodes[block->node].all | block->groups;
    for (int bit = 0; bit < GROUPS; bit++) *out++ = (float)((near >> bit & 1) * 2 + (all >> bit & 1));
    for (int bit = 48; bit < 60; bit++) *out++ = (float)((near >> bit & 1) * 2 + (all >> bit & 1));
    return out;
}

static float *put_neighbours(float *out, const struct view *view, size_t i) {
    for (int step = -WINDOW; step <= WINDOW; step++) {
        if (!step) continue;
        int64_t at = (int64_t)i + step;
        bool there = at >= 0 && at < (int64_t)view->count;
        const struct block *block = there ? view->block[at] : NULL;
        *out++ = there ? log1(block->words) : -1;
        *out++ = there ? view->facts[at].share : -1;
        *out++ = there ? block->ends : -1;
        const struct node *node = there ? &view->page->nodes[block->node] : NULL;
        *out++ = there ? (float)node->level + (float)(node->tag == T_P) * 9 : -1;
        *out++ = there ? view->facts[at].weight[0] : 0;
        *out++ = there && block->node == view->block[i]->node;
    }
    return out;
}

size_t gm_view_features(const struct view *view, size_t i, float *out) {
    float *end = put_own(out, view, i);
    end = put_place(end, view, i);
    end = gm_put_records(put_elements(end, view, i), view, i);
    return (size_t)(put_neighbours(end, view, i) - out);
}

/* A weighted mean of the first guesses over one element and its like. */
struct mean {
    float sum, weight;
};

static void add_mean(struct mean *mean, float value, float weight) {
    mean->sum += value * weight;
    mean->weight += weight;
}

static float mean_of(struct mean mean) { return mean.weight > 0 ? mean.sum / mean.weight : 0; }

bool gm_view_guesses(struct view *view, const float *guess) {
    struct page *page = view->page;
    view->guess = guess;
    struct mean *nodes = calloc(page->node_count, sizeof *nodes), looks[LOOKS] = {{0, 0}}, whole = {0, 0};
    if (!nodes) return false;
    for (size_t i = 0; i < view->count; i++) {
        const struct block *block = view->block[i];
        float weight = (float)block->words + 1;
        add_mean(&nodes[block->node], guess[i], weight);
        add_mean(&looks[page->nodes[block->node].look % LOOKS], guess[i], weight);
        add_mean(&whole, guess[i], weight);
    }
    for (size_t i = page->node_count; i-- > 1;) {
        nodes[page->nodes[i].parent].sum += nodes[i].sum;
        nodes[page->nodes[i].parent].weight += nodes[i].weight;
    }
    float kept = 0;
    for (size_t i = 0; i < view->count; i++) {
        struct block_facts *facts = &view->facts[i];
        int32_t node = view->block[i]->node;
        for (int step = 0; step < ANCESTORS; step++) {
            facts->around[step] = mean_of(nodes[node]);
            if (page->nodes[node].parent >= 0) node = page->nodes[node].parent;
        }
        facts->around[ANCESTORS] = mean_of(looks[page->nodes[view->block[i]->node].look % LOOKS]);
        facts->around[ANCESTORS + 1] = mean_of(whole);
        facts->kept_before = kept;
        kept += guess[i] * (float)view->block[i]->words;
    }
    view->kept = kept;
    free(nodes);
    return true;
}

size_t gm_view_context(const struct view *view, size_t i, float *out) {
    float *start = out;
    float before = 0, after = 0, before_weight = 0.01f, after_weight = 0.01f;
    for (int step = -NEAR; step <= NEAR; step++) {
        int64_t at = (int64_t)i + step;
        bool there = at >= 0 && at < (int64_t)view->count;
        *out++ = there ? view->guess[at] : 0;
    }
    for (int step = 1; step <= 2 * NEAR; step++) {
        if (i >= (size_t)step) {
            float weight = (float)view->block[i - (size_t)step]->words;
            before += view->guess[i - (size_t)step] * weight, before_weight += weight;
        }
        if (i + (size_t)step < view->count) {
            float weight = (float)view->block[i + (size_t)step]->words;
            after += view->guess[i + (size_t)step] * weight, after_weight += weight;
        }
    }
    const struct block_facts *facts = &view->facts[i];
    *out++ = before / before_weight;
    *out++ = after / after_weight;
    for (int k = 0; k < AROUND; k++) *out++ = facts->around[k];
    *out++ = facts->heading < 0 ? -1 : view->guess[facts->heading];
    *out++ = facts->kept_before / (view->kept + 1);
    *out++ = log1((double)view->kept);
    return (size_t)(out - start);
}
