/* Records: siblings of one look (posts, results, products, rows), of which a page's text may be a list. */
#include "features.h"

#include <stdlib.h>

enum { FEW_RECORDS = 3, SHORT_RECORD = 40 }; /* siblings; bytes of one on average */

bool gm_view_records(struct view *view) {
    const struct page *page = view->page;
    size_t slots = 1024;
    while (slots < 2 * page->node_count) slots *= 2;
    /* No list of what is in a slot: two groups in one are taken for one, which costs less than looking */
    view->records = calloc(slots, sizeof *view->records);
    view->record_of = malloc((page->node_count + 1) * sizeof *view->record_of);
    uint32_t *slot = malloc((page->node_count + 1) * sizeof *slot);
    bool done = view->records && view->record_of && slot;
    for (size_t i = 1; done && i < page->node_count; i++) {
        const struct node *node = &page->nodes[i];
        slot[i] = ((uint32_t)node->parent * 2654435761u ^ node->look * 0x9E3779B1u) >> 7 & (uint32_t)(slots - 1);
        struct records *group = &view->records[slot[i]];
        if (!node->length) continue;
        group->count++, group->length += node->length, group->linked += node->linked, group->blocks += node->blocks;
    }
    for (size_t i = 0; done && i < page->node_count; i++) {
        struct record_place *place = &view->record_of[i];
        *place = i ? view->record_of[page->nodes[i].parent] : (struct record_place){-1, -1};
        const struct records *group = i ? &view->records[slot[i]] : NULL;
        if (!i || group->count < FEW_RECORDS || group->length < (uint64_t)group->count * SHORT_RECORD) continue;
        place->inner = (int32_t)slot[i];
        if (place->most < 0 || group->count > view->records[place->most].count) place->most = (int32_t)slot[i];
    }
    free(slot);
    return done;
}

float *gm_put_records(float *out, const struct view *view, size_t i) {
    const struct page *page = view->page;
    struct record_place place = view->record_of[view->block[i]->node];
    for (int which = 0; which < 2; which++) {
        int32_t at = which ? place.most : place.inner;
        struct records none = {0}, group = at < 0 ? none : view->records[at];
        float count = (float)(group.count ? group.count : 1);
        *out++ = (float)group.count;
        *out++ = (float)group.length / count;
        *out++ = (float)group.blocks / count;
        *out++ = group.length ? (float)group.linked / (float)group.length : 0;
        *out++ = (float)group.length / (float)(page->nodes[0].length + 1);
    }
    for (int bit = 0; bit < SAID; bit++) *out++ = (float)(page->said >> bit & 1);
    *out++ = (float)(page->documented > 0);
    *out++ = (float)view->comment_words / (float)(view->total_words + 1);
    return out;
}
