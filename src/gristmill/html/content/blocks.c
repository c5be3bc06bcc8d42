/* Blocks and the block-level elements that hold them; what elements say of themselves. */
#include "../parser.h"

#include <stdlib.h>
#include <string.h>

void gm_html_add_fact(struct page *page, const char *name, const uint8_t *text, size_t length) {
    if (!gm_buffer_add(&page->facts, name, strlen(name) + 1) || !gm_buffer_add(&page->facts, text, length) ||
        !gm_buffer_add(&page->facts, "\0\0", 3))
        page->fault = FAULT_MEMORY;
}

static void *grown(void *items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return items;
    size_t wanted = *capacity ? *capacity * 2 : 256;
    void *bigger = realloc(items, wanted * size);
    if (bigger) *capacity = wanted;
    return bigger;
}

static struct block *push_block(struct page *page, const struct block *block) {
    void *blocks = grown(page->blocks, page->block_count, &page->block_capacity, sizeof *page->blocks);
    if (!blocks) return page->fault = FAULT_MEMORY, NULL;
    page->blocks = blocks;
    page->blocks[page->block_count] = *block;
    return &page->blocks[page->block_count++];
}

uint8_t gm_html_list_depth(const struct parser *parser) {
    uint8_t depth = 0;
    for (int list = parser->list; list >= 0; list = parser->stack[list].outer) depth += depth < 255;
    return depth;
}

void gm_html_flush(struct parser *parser) {
    struct page *page = parser->page;
    struct block *block = &parser->block;
    if (parser->any && page->block_count >= gm_most_parts(page->size) && parser->at < parser->end) {
        gm_html_put(parser, "\n", 1); /* what would be a block of its own is a line of this one */
        parser->space = 0;
        return;
    }
    if (parser->any) {
        while (page->text.length > block->start && gm_is_space(page->text.at[page->text.length - 1]))
            page->text.length--;
        block->length = (uint32_t)(page->text.length - block->start);
        block->node = parser->stack[parser->depth - 1].node;
        block->markup = (uint32_t)(parser->at - page->html) - parser->source_end;
        parser->source_end = (uint32_t)(parser->at - page->html);
        block->item = parser->item;
        block->pre = parser->pres > 0;
        block->after_break = parser->paragraph;
        block->depth = gm_html_list_depth(parser);
        if (parser->list >= 0) {
            block->list = parser->stack[parser->list].list;
            int32_t counter = parser->stack[parser->list].counter;
            block->ordinal = counter > 0 ? (uint32_t)counter : 0;
        }
        gm_html_measure(page->text.at + block->start, block);
        block->ends = gm_html_ends(page->text.at + block->start, block->length);
        push_block(page, block);
        parser->item = parser->paragraph = false;
    } else {
        page->text.length = block->start;
    }
    *block = (struct block){.start = (uint32_t)page->text.length};
    parser->any = false, parser->space = 0;
    parser->breaks = 0;
}

/* Groups and weight of a class or id attribute: its words, split at what is no letter and at camel case. */
static struct cached_class judge_names(const struct parser *parser, struct slice names) {
    struct cached_class found = {.used = true};
    int known = 0;
    size_t at = 0;
    while (at < names.length) {
        while (at < names.length && !gm_is_letter(names.at[at])) at++;
        size_t start = at;
        while (at < names.length && gm_is_letter(names.at[at]) &&
               !(at > start && names.at[at] < 'a' && names.at[at - 1] >= 'a'))
            at++;
        if (at == start) break;
        int64_t word = gm_word_find(parser->words, gm_word_hash(names.at + start, at - start));
        if (word < 0) continue;
        found.groups |= parser->words->groups[word];
        found.weight += parser->words->weights[word];
        known += parser->words->weights[word] != 0;
    }
    if (known > 1) found.weight /= (float)known;
    return found;
}

static struct cached_class judge_cached(struct parser *parser, struct slice names) {
    uint32_t hash = gm_fnv32_of(names.at, names.length);
    struct cached_class *cached = &parser->cache[hash % CLASS_CACHE];
    if (!cached->used || cached->hash != hash) {
        *cached = judge_names(parser, names);
        cached->hash = hash;
    }
    return *cached;
}

static uint64_t role_groups(struct slice role) {
    static const struct {
        const char *role;
        uint64_t groups;
    } known[] = {{"navigation", G_NAV},  {"banner", G_HEADER}, {"contentinfo", G_FOOTER}, {"complementary", G_ASIDE},
                 {"search", G_FORM},     {"dialog", G_POPUP},  {"alertdialog", G_POPUP},  {"menu", G_NAV},
                 {"menubar", G_NAV},     {"toolbar", G_NAV},   {"tablist", G_NAV},        {"main", G_MAIN},
                 {"article", G_ARTICLE}, {"button", G_BUTTON}, {"alert", G_POPUP},        {"form", G_FORM}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (gm_slice_is(role, known[i].role)) return known[i].groups;
    return 0;
}

/* What an element says by its tag. */
static const uint64_t TAG_GROUPS[T_COUNT] = {
    [T_NAV] = G_NAV,   [T_MENU] = G_NAV,        [T_HEADER] = G_HEADER, [T_FOOTER] = G_FOOTER, [T_ASIDE] = G_ASIDE,
    [T_FORM] = G_FORM, [T_FIELDSET] = G_FORM,   [T_SEARCH] = G_FORM,   [T_FIGURE] = G_FIGURE, [T_FIGCAPTION] = G_FIGURE,
    [T_MAIN] = G_MAIN, [T_ARTICLE] = G_ARTICLE, [T_BUTTON] = G_BUTTON, [T_DIALOG] = G_POPUP,
};

/* Whether a style has a declaration, whatever its spaces; at the end may stand `!important`. */
static bool declares(struct slice style, const char *declaration) {
    bool begins = true;
    for (size_t i = 0; i < style.length; i++) {
        const char *next = declaration;
        size_t at = i;
        for (; begins && at < style.length; at++) {
            if (gm_is_space(style.at[at])) continue;
            if (!*next || gm_lower(style.at[at]) != (uint8_t)*next) break;
            next++;
        }
        if (!*next && (at == style.length || style.at[at] == ';' || style.at[at] == '!')) return true;
        begins = style.at[i] == ';';
    }
    return false;
}

struct cached_class gm_html_judge(struct parser *parser, const struct tag_token *token) {
    const struct slice *value = token->value;
    uint32_t has = token->present;
    struct cached_class found = {.groups = TAG_GROUPS[token->tag]};
    if (gm_tag_kind(token->tag) & FALLBACK) found.groups |= G_HIDDEN;
    if (!has) return found;
    if (has >> A_ROLE & 1) found.groups |= role_groups(value[A_ROLE]);
    if (has >> A_HIDDEN & 1 && !gm_slice_is(value[A_HIDDEN], "false")) found.groups |= G_HIDDEN;
    if (has >> A_ARIA_HIDDEN & 1 && gm_slice_is(value[A_ARIA_HIDDEN], "true")) found.groups |= G_HIDDEN;
    if (declares(value[A_STYLE], "display:none") || declares(value[A_STYLE], "visibility:hidden") ||
        declares(value[A_STYLE], "visibility:collapse"))
        found.groups |= G_HIDDEN;
    if (has >> A_ITEMPROP & 1 && gm_slice_has_word(value[A_ITEMPROP], "articlebody")) found.groups |= G_BODY_TEXT;
    static const enum attribute names[] = {A_CLASS, A_ID};
    int known = 0;
    for (int i = 0; i < 2; i++) {
        if (!(has >> names[i] & 1)) continue;
        struct cached_class more = judge_cached(parser, value[names[i]]);
        found.groups |= more.groups;
        found.weight += more.weight;
        known += more.weight != 0;
    }
    if (known == 2) found.weight /= 2;
    return found;
}

int32_t gm_html_push_node(struct parser *parser, const struct tag_token *token, struct cached_class says) {
    struct page *page = parser->page;
    int32_t parent = parser->stack[parser->depth - 1].node;
    if (page->node_count >= gm_most_parts(page->size)) return parent;
    void *nodes = grown(page->nodes, page->node_count, &page->node_capacity, sizeof *page->nodes);
    if (!nodes) return page->fault = FAULT_MEMORY, parent;
    page->nodes = nodes;
    struct node *node = &page->nodes[page->node_count];
    const struct node *above = &page->nodes[parent];
    *node = (struct node){.parent = parent, .first = (int32_t)page->block_count, .tag = (uint8_t)token->tag};
    node->depth = (uint16_t)(above->depth + 1);
    node->own = says.groups;
    node->all = above->all | (token->tag == T_BODY ? 0 : says.groups);
    float weight = token->tag == T_BODY ? 0 : says.weight;
    node->sum = above->sum + weight;
    node->low = weight < above->low ? weight : above->low;
    node->high = weight > above->high ? weight : above->high;
    node->near = weight != 0 ? weight : above->near;
    node->look = gm_word_hash(token->value[A_CLASS].at, token->value[A_CLASS].length);
    node->look = node->look * 31 + (uint32_t)token->tag;
    for (int i = 0; i < 2; i++) {
        enum attribute name = i ? A_ID : A_CLASS;
        if (!(token->present >> name & 1) || !token->value[name].length) continue;
        node->names[2 * i] = (uint32_t)(token->value[name].at - page->html);
        node->names[2 * i + 1] = (uint32_t)token->value[name].length;
    }
    node->fostered = !(gm_tag_kind(token->tag) & OF_TABLE) && token->tag != T_FORM && gm_html_is_fostered(above);
    if (token->tag >= T_H1 && token->tag <= T_H6) node->level = (uint8_t)(token->tag - T_H1 + 1);
    return (int32_t)page->node_count++;
}

void gm_html_part(struct parser *parser) {
    if (!parser->skips) gm_html_flush(parser);
}

/* A table that holds another is a layout; else its rows are made blocks. */
static void end_table(struct parser *parser, const struct open *table) {
    parser->table = table->outer;
    if (!table->counter) {
        gm_html_foster(parser->page, table->node);
        gm_html_join_table(parser, table->node);
    }
    if (parser->table >= 0) parser->stack[parser->table].counter = 1;
}

static void pop_one(struct parser *parser) {
    struct open *top = &parser->stack[parser->depth - 1];
    struct page *page = parser->page;
    gm_html_forget_since(parser, top->tag);
    if (top->counter && (top->tag == T_SUB || top->tag == T_SUP)) gm_html_end_script(parser, top);
    if (top->line) {
        if (top->tag != T_TD) gm_html_end_line(parser, (size_t)top->counter);
    } else if (top->kind & BLOCK) {
        if (parser->skips == top->skip) gm_html_flush(parser);
        if (top->list) parser->list = top->outer;
        page->nodes[top->node].end = (int32_t)page->block_count;
        if (top->tag == T_TABLE) end_table(parser, top);
        if (top->tag == T_LI) parser->item = false;
    }
    parser->links -= top->link;
    parser->pres -= top->pre;
    parser->skips -= top->skip;
    if (top->box && !parser->skips) parser->space |= APART;
    parser->bolds -= top->bold;
    parser->svgs -= top->tag == T_SVG;
    gm_html_count(parser, top, -1);
    parser->depth--;
}

void gm_html_pop(struct parser *parser) {
    do pop_one(parser);
    while (parser->stack[parser->depth - 1].ended);
}
