/* From HTML to blocks of text, in one pass and without a tree.

   A stack of open elements follows the tree construction of the WHATWG standard (§13.2.6) as far as text and its blocks
   depend on it: void elements, implied end tags, scopes, misnested formatting, raw text, breaking out of <svg>. Work and
   memory grow with the bytes of the page: the stack is bounded (deeper elements count as their parent), and so are the
   elements (FAULT_COMPLEX). Any bytes are safe to read. */
#include "html_tokens.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FACTS = 64, MAX_FACT = 2048, CLASS_CACHE = 256 };

/* An open element. */
struct open {
    uint8_t tag, kind;
    bool link, pre, skip, bold, rendered; /* rendered: what a script drew of a formula that we have */
    int32_t node;
    uint64_t groups; /* of this and the inline elements around it */
    int32_t outer;   /* lists and rows: the one around, as a place in the stack */
    int32_t counter; /* lists: number of the next item, or -1 where bullets count; rows: first block */
    uint32_t list;
};

struct cached_class {
    uint32_t hash;
    bool used;
    uint64_t groups;
    float weight;
};

struct parser {
    struct page *page;
    const uint8_t *at, *end;
    const struct entities *entities;
    const struct words *words;
    struct open stack[MAX_OPEN];
    int depth;
    int links, pres, skips, bolds, svgs;
    int list, row; /* places in the stack; -1 */
    uint32_t lists;
    struct block block; /* being filled */
    bool space;         /* is owed before the next visible character */
    int breaks;         /* <br> in a row */
    bool any;           /* the block has visible characters */
    bool item;          /* the next block begins a list item */
    bool paragraph;     /* the next block follows two <br> */
    bool no_math_end;   /* there is no further </math> */
    uint32_t source_end;
    int facts;
    struct cached_class cache[CLASS_CACHE];
};

bool gm_buffer_add(struct buffer *buffer, const void *bytes, size_t length) {
    if (buffer->capacity - buffer->length < length) {
        size_t capacity = buffer->capacity * 2 + length + 1024;
        uint8_t *grown = realloc(buffer->at, capacity);
        if (!grown) return false;
        buffer->at = grown, buffer->capacity = capacity;
    }
    if (length) memcpy(buffer->at + buffer->length, bytes, length);
    buffer->length += length;
    return true;
}

uint32_t gm_word_hash(const uint8_t *word, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ gm_lower(word[i])) * 16777619u;
    return hash ? hash : 1;
}

int64_t gm_word_find(const struct words *words, uint32_t hash) {
    for (uint32_t at = hash & (words->capacity - 1), tries = 0; tries < words->capacity; tries++) {
        if (words->keys[at] == hash) return at;
        if (!words->keys[at]) return -1;
        at = (at + 1) & (words->capacity - 1);
    }
    return -1;
}

/* ---- facts about the page ---- */

static void add_fact(struct parser *parser, struct slice name, struct slice value) {
    struct page *page = parser->page;
    if (parser->facts++ >= MAX_FACTS) return;
    struct slice parts[2] = {name, value};
    for (int i = 0; i < 2; i++) {
        size_t length = parts[i].length < MAX_FACT ? parts[i].length : MAX_FACT, start = page->facts.length;
        uint8_t mark = i ? 0x1e : 0x1f;
        if (!gm_buffer_add(&page->facts, parts[i].at, length)) page->fault = FAULT_MEMORY;
        if (page->fault) return;
        for (size_t j = start; j < page->facts.length; j++)
            if (page->facts.at[j] < 0x20) page->facts.at[j] = ' ';
        if (!gm_buffer_add(&page->facts, &mark, 1)) page->fault = FAULT_MEMORY;
    }
}

static struct slice literal(const char *text) { return (struct slice){(const uint8_t *)text, strlen(text)}; }

static void note_facts(struct parser *parser, const struct tag_token *token) {
    const struct slice *value = token->value;
    uint32_t has = token->present;
    if (token->tag == T_HTML && has >> A_LANG & 1) add_fact(parser, literal("lang"), value[A_LANG]);
    if (token->tag == T_META && has >> A_CONTENT & 1) {
        struct slice name = has >> A_NAME & 1 ? value[A_NAME] : value[A_PROPERTY];
        if (!(has >> A_NAME & 1) && !(has >> A_PROPERTY & 1)) return;
        static const char *const wanted[] = {"robots",          "dc.rights", "dcterms.rights", "dcterms.license",
                                             "copyright",       "rights",    "license",        "dc.rights.license",
                                             "tdm-reservation", "tdm-policy"};
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (gm_slice_is(name, wanted[i])) add_fact(parser, name, value[A_CONTENT]);
    }
    if ((token->tag == T_A || token->tag == T_LINK) && has >> A_HREF & 1) {
        if (token->tag == T_LINK && gm_slice_has_word(value[A_REL], "canonical") && has >> A_REL & 1)
            add_fact(parser, literal("canonical"), value[A_HREF]);
        else if ((has >> A_REL & 1 && gm_slice_has_word(value[A_REL], "license")))
            add_fact(parser, literal("rel:license"), value[A_HREF]);
        else if (gm_slice_has(value[A_HREF], "creativecommons.org/"))
            add_fact(parser, literal("rel:"), value[A_HREF]);
    }
}

/* ---- text ---- */

static bool put(struct parser *parser, const void *bytes, size_t length) {
    if (gm_buffer_add(&parser->page->text, bytes, length)) return true;
    parser->page->fault = FAULT_MEMORY;
    return false;
}

/* Adds visible bytes to the block. */
static void add_visible(struct parser *parser, const uint8_t *bytes, size_t length) {
    struct block *block = &parser->block;
    uint64_t groups = parser->stack[parser->depth - 1].groups;
    if (!parser->any) {
        block->source = (uint32_t)(parser->at - parser->page->html);
        block->groups = groups;
        parser->any = true;
    } else {
        block->groups &= groups;
        if (parser->space && !put(parser, " ", 1)) return;
    }
    parser->space = false;
    parser->breaks = 0;
    if (parser->links) block->linked += (uint32_t)length;
    if (parser->bolds) block->bold += (uint32_t)length;
    put(parser, bytes, length);
}

enum { PLAIN, WHITE, REFERENCE, DROPPED, LEAD_C2, LEAD_E2, LEAD_E3, LEAD_EF };

/* What a byte may begin, for the fast way over plain text. */
static inline int byte_class(uint8_t c) {
    if (c > ' ' && c < 0x7F) return c == '&' ? REFERENCE : PLAIN;
    if (c <= ' ') return gm_is_space(c) ? WHITE : DROPPED;
    return c == 0x7F ? DROPPED : c == 0xC2 ? LEAD_C2 : c == 0xE2 ? LEAD_E2 : c == 0xE3 ? LEAD_E3 : c == 0xEF ? LEAD_EF : PLAIN;
}

/* How many bytes of white (or no) space stand here: non-breaking and ideographic spaces, zero-width ones, soft hyphens. */
static size_t odd_space(const uint8_t *at, const uint8_t *end, bool *white) {
    *white = true;
    if (end - at >= 2 && at[0] == 0xC2) {
        *white = at[1] != 0xAD;
        return at[1] == 0xA0 || at[1] == 0xAD || at[1] == 0x85 ? 2 : 0;
    }
    if (end - at < 3) return 0;
    if (at[0] == 0xE2 && at[1] == 0x80) {
        *white = at[2] != 0x8B && at[2] != 0x8E && at[2] != 0x8F;
        return (at[2] >= 0x80 && at[2] <= 0x8B) || at[2] == 0x8E || at[2] == 0x8F || (at[2] >= 0xA8 && at[2] <= 0xA9) ||
                       at[2] == 0xAF
                   ? 3
                   : 0;
    }
    if (at[0] == 0xE3) return at[1] == 0x80 && at[2] == 0x80 ? 3 : 0;
    *white = false;
    return at[0] == 0xEF && at[1] == 0xBB && at[2] == 0xBF ? 3 : 0;
}

static void add_text(struct parser *parser, const uint8_t *at, const uint8_t *end);

/* Text in <pre>: kept as it is, less control characters. */
static void add_preformatted(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    while (at < end && !parser->page->fault) {
        const uint8_t *start = at;
        while (at < end && *at != '&' && *at != '\r' && (*at >= ' ' || *at == '\n' || *at == '\t')) at++;
        if (at > start) {
            bool visible = false;
            for (const uint8_t *c = start; c < at && !visible; c++) visible = !gm_is_space(*c);
            if (visible)
                add_visible(parser, start, (size_t)(at - start));
            else
                put(parser, start, (size_t)(at - start));
        } else if (*at == '&') {
            uint8_t out[8];
            size_t length;
            at = gm_read_reference(at, end, parser->entities, out, &length);
            if (byte_class(*out) != DROPPED) add_visible(parser, out, length);
        } else {
            if (*at == '\r' && !(at + 1 < end && at[1] == '\n')) put(parser, "\n", 1);
            at++;
        }
    }
}

/* Text with white space made one space, references decoded, invisible characters left out. */
static void add_text(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    if (parser->skips) return;
    if (parser->pres) {
        add_preformatted(parser, at, end);
        return;
    }
    while (at < end && !parser->page->fault) {
        const uint8_t *start = at;
        uint8_t out[8];
        size_t length = 0;
        bool white = false;
        int found = PLAIN;
        while (at < end && (found = byte_class(*at)) == PLAIN) at++;
        if (at > start) add_visible(parser, start, (size_t)(at - start));
        if (at == end) return;
        if (found == WHITE) {
            parser->space = true, at++;
        } else if (found == REFERENCE) {
            at = gm_read_reference(at, end, parser->entities, out, &length);
            if (length == 1 && gm_is_space(*out))
                parser->space = true;
            else if (odd_space(out, out + length, &white) == length)
                parser->space |= white;
            else if (byte_class(*out) != DROPPED)
                add_visible(parser, out, length);
        } else if (found == DROPPED) {
            at++;
        } else if ((length = odd_space(at, end, &white))) {
            parser->space |= white, at += length;
        } else {
            length = 1;
            while (at + length < end && (at[length] & 0xC0) == 0x80) length++;
            add_visible(parser, at, length), at += length;
        }
    }
}

/* Counts what a block's text is made of. */
static void measure(const uint8_t *text, struct block *block) {
    bool word = false;
    uint32_t ideographs = 0, unspaced = 0;
    const uint8_t *end = text + block->length;
    for (const uint8_t *at = text; at < end; at++) {
        uint8_t c = *at;
        if (c < 0x80) {
            bool letter = gm_is_letter(c), digit = (uint8_t)(c - '0') < 10;
            block->chars++;
            block->words += (letter || digit) && !word;
            block->digits += digit;
            block->capitals += letter && c < 'a';
            block->commas += c == ',' || c == ';';
            block->stops += c == '.' || c == '!' || c == '?';
            word = letter || digit || (word && (c == '\'' || c == '-'));
            continue;
        }
        if ((c & 0xC0) == 0x80) continue;
        block->chars++;
        size_t left = (size_t)(end - at);
        if (c >= 0xE3 && c <= 0xE9) { /* kana, ideographs and their punctuation */
            ideographs++, word = false;
            if (c == 0xE3 && left > 2 && at[1] == 0x80) {
                block->commas += at[2] == 0x81;
                block->stops += at[2] == 0x82;
            }
        } else if (c == 0xEF && left > 2 && at[1] == 0xBC) {
            block->commas += at[2] == 0x8C;
            block->stops += at[2] == 0x81 || at[2] == 0x9F;
            word = false;
        } else if (c == 0xE2) { /* dashes, quotes, dots, bullets, arrows */
            block->stops += left > 2 && at[1] == 0x80 && at[2] == 0xA6;
            word = false;
        } else if (c == 0xC2) {
            word = false;
        } else if ((c == 0xE0 && left > 1 && at[1] >= 0xB8 && at[1] <= 0xBB) ||
                   (c == 0xE1 && left > 1 && (at[1] == 0x80 || at[1] == 0x81 || at[1] == 0x82 || at[1] == 0x9E))) {
            unspaced++, word = false; /* Thai, Lao, Burmese, Khmer */
        } else {
            if (c == 0xD8 && left > 1) block->commas += at[1] == 0x8C, block->stops += at[1] == 0x9F;
            if (c == 0xE0 && left > 2) block->stops += at[1] == 0xA5 && (at[2] == 0xA4 || at[2] == 0xA5);
            block->words += !word, word = true;
        }
    }
    block->chars += ideographs;
    block->words += ideographs / 2 + unspaced / 5;
}

/* Whether a text ends as a sentence does, quotes and brackets apart. */
static bool ends_sentence(const uint8_t *text, size_t length) {
    static const char *const close[] = {"\"", "'", ")", "]", "»", "”", "’", "“", "」", "』", "）", "*", " "};
    static const char *const stop[] = {".", "!", "?", ":", ";", "…", "。", "！", "？", "：", "।", "؟", "۔"};
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof stop / sizeof *stop; i++) {
            size_t size = strlen(stop[i]);
            if (length >= size && !memcmp(text + length - size, stop[i], size)) return true;
        }
        size_t before = length;
        for (size_t i = 0; i < sizeof close / sizeof *close && length == before; i++) {
            size_t size = strlen(close[i]);
            if (length >= size && !memcmp(text + length - size, close[i], size)) length -= size;
        }
        if (length == before) return false;
    }
    return false;
}

/* ---- blocks and elements ---- */

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

/* Ends the current block, if it holds anything. */
static void flush(struct parser *parser) {
    struct page *page = parser->page;
    struct block *block = &parser->block;
    if (parser->any) {
        while (page->text.length > block->start && gm_is_space(page->text.at[page->text.length - 1])) page->text.length--;
        block->length = (uint32_t)(page->text.length - block->start);
        block->node = parser->stack[parser->depth - 1].node;
        block->markup = (uint32_t)(parser->at - page->html) - parser->source_end;
        parser->source_end = (uint32_t)(parser->at - page->html);
        block->item = parser->item;
        block->pre = parser->pres > 0;
        block->after_break = parser->paragraph;
        for (int list = parser->list; list >= 0; list = parser->stack[list].outer) block->depth += block->depth < 255;
        if (parser->list >= 0) {
            block->list = parser->stack[parser->list].list;
            int32_t counter = parser->stack[parser->list].counter;
            block->ordinal = counter > 0 ? (uint32_t)counter : 0;
        }
        measure(page->text.at + block->start, block);
        block->ends = ends_sentence(page->text.at + block->start, block->length);
        push_block(page, block);
        parser->item = parser->paragraph = false;
    } else {
        page->text.length = block->start;
    }
    *block = (struct block){.start = (uint32_t)page->text.length};
    parser->any = parser->space = false;
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
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < names.length; i++) hash = (hash ^ names.at[i]) * 16777619u;
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
    } known[] = {{"navigation", G_NAV},   {"banner", G_HEADER},     {"contentinfo", G_FOOTER}, {"complementary", G_ASIDE},
                 {"search", G_FORM},      {"dialog", G_POPUP},      {"alertdialog", G_POPUP},  {"menu", G_NAV},
                 {"menubar", G_NAV},      {"toolbar", G_NAV},       {"tablist", G_NAV},        {"main", G_MAIN},
                 {"article", G_ARTICLE},  {"button", G_BUTTON},     {"alert", G_POPUP},        {"form", G_FORM}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (gm_slice_is(role, known[i].role)) return known[i].groups;
    return 0;
}

static uint64_t tag_groups(enum tag tag) {
    switch (tag) {
        case T_NAV: case T_MENU: return G_NAV;
        case T_HEADER: return G_HEADER;
        case T_FOOTER: return G_FOOTER;
        case T_ASIDE: return G_ASIDE;
        case T_FORM: case T_FIELDSET: case T_SEARCH: return G_FORM;
        case T_FIGURE: case T_FIGCAPTION: return G_FIGURE;
        case T_MAIN: return G_MAIN;
        case T_ARTICLE: return G_ARTICLE;
        case T_BUTTON: return G_BUTTON;
        case T_DIALOG: return G_POPUP;
        default: return 0;
    }
}

/* What an element says of its content by tag, role, style and names. */
static struct cached_class judge(struct parser *parser, const struct tag_token *token) {
    const struct slice *value = token->value;
    uint32_t has = token->present;
    struct cached_class found = {.groups = tag_groups(token->tag)};
    if (gm_tag_kind(token->tag) & FALLBACK) found.groups |= G_HIDDEN;
    if (!has) return found;
    if (has >> A_ROLE & 1) found.groups |= role_groups(value[A_ROLE]);
    if (has >> A_HIDDEN & 1 && !gm_slice_is(value[A_HIDDEN], "false")) found.groups |= G_HIDDEN;
    if (has >> A_ARIA_HIDDEN & 1 && gm_slice_is(value[A_ARIA_HIDDEN], "true")) found.groups |= G_HIDDEN;
    if (has >> A_STYLE & 1 && (gm_slice_has(value[A_STYLE], "display:none") ||
                               gm_slice_has(value[A_STYLE], "display: none") ||
                               gm_slice_has(value[A_STYLE], "visibility:hidden")))
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

static int32_t push_node(struct parser *parser, const struct tag_token *token, struct cached_class says) {
    struct page *page = parser->page;
    int32_t parent = parser->stack[parser->depth - 1].node;
    if (page->node_count >= MAX_NODES) return page->fault = FAULT_COMPLEX, parent;
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
    node->look = gm_word_hash(token->value[A_CLASS].at, token->present >> A_CLASS & 1 ? token->value[A_CLASS].length : 0);
    node->look = node->look * 31 + (uint32_t)token->tag;
    for (int i = 0; i < 2; i++) {
        enum attribute name = i ? A_ID : A_CLASS;
        if (!(token->present >> name & 1) || !token->value[name].length) continue;
        node->names[2 * i] = (uint32_t)(token->value[name].at - page->html);
        node->names[2 * i + 1] = (uint32_t)token->value[name].length;
    }
    if (token->tag >= T_H1 && token->tag <= T_H6) node->level = (uint8_t)(token->tag - T_H1 + 1);
    return (int32_t)page->node_count++;
}

/* Makes one block of a row's cells where each of them is short and plain: `a | b | c`. */
static void join_row(struct parser *parser, const struct open *row) {
    enum { LONGEST_CELL = 300 };
    struct page *page = parser->page;
    size_t first = (size_t)row->counter, count = page->block_count;
    int32_t node = row->node;
    bool head = true;
    size_t filled = 0;
    for (size_t i = first; i < count; i++) {
        const struct block *block = &page->blocks[i];
        const struct node *cell = &page->nodes[block->node];
        if (cell->parent != node || (cell->tag != T_TD && cell->tag != T_TH) || block->length > LONGEST_CELL ||
            block->pre || (i > first && page->blocks[i - 1].node == block->node))
            return;
        head &= cell->tag == T_TH;
        filled++;
    }
    const struct block *before = first ? &page->blocks[first - 1] : NULL;
    bool goes_on = before && before->row && page->nodes[before->node].parent == page->nodes[node].parent;
    if (filled < 2 && !(filled && goes_on)) return;
    struct block joined = page->blocks[first];
    joined = (struct block){.start = (uint32_t)page->text.length, .node = node, .source = joined.source, .row = true,
                            .head = head, .list = joined.list, .depth = joined.depth, .groups = joined.groups};
    size_t next = first;
    bool begun = false;
    for (size_t cell = (size_t)node + 1; cell < page->node_count; cell++) {
        if (page->nodes[cell].parent != node) continue;
        if (begun && !put(parser, " | ", 3)) return;
        begun = true;
        if (next == count || page->blocks[next].node != (int32_t)cell) continue;
        struct block *part = &page->blocks[next++];
        uint32_t start = part->start, length = part->length;
        for (uint32_t i = 0; i < length; i++) { /* the text may move as it grows */
            uint8_t byte = page->text.at[start + i];
            if (!put(parser, byte == '\n' ? (const uint8_t *)" " : &byte, 1)) return;
        }
        joined.linked += part->linked, joined.bold += part->bold, joined.markup += part->markup;
        joined.links = (uint16_t)(joined.links + part->links);
        joined.groups &= part->groups;
        part->gone = true;
    }
    joined.length = (uint32_t)(page->text.length - joined.start);
    measure(page->text.at + joined.start, &joined);
    push_block(page, &joined);
    parser->block.start = (uint32_t)page->text.length;
}

/* Closes the innermost open element. */
static void pop(struct parser *parser) {
    struct open *top = &parser->stack[parser->depth - 1];
    struct page *page = parser->page;
    if (top->kind & BLOCK) {
        flush(parser);
        if (top->tag == T_TR) {
            join_row(parser, top);
            parser->row = top->outer;
        } else if (top->list) {
            parser->list = top->outer;
        }
        page->nodes[top->node].end = (int32_t)page->block_count;
        if (top->tag == T_LI) parser->item = false;
    }
    parser->links -= top->link;
    parser->pres -= top->pre;
    parser->skips -= top->skip;
    parser->bolds -= top->bold;
    parser->svgs -= top->tag == T_SVG;
    parser->depth--;
}

/* ---- open elements ---- */

static void close_to(struct parser *parser, int place) {
    while (parser->depth > place) pop(parser);
}

/* Where the innermost open element of that tag is, or 0; looks no further than a scope or, if told, another tag. */
static int find_open(const struct parser *parser, enum tag tag, enum tag limit) {
    for (int i = parser->depth - 1; i > 0; i--) {
        if (parser->stack[i].tag == tag) return i;
        if (parser->stack[i].kind & SCOPE || parser->stack[i].tag == limit) return 0;
    }
    return 0;
}

/* Tags that a start tag ends first (§13.2.6.4.7 and the table modes). */
static void close_implied(struct parser *parser, enum tag tag) {
    int place;
    unsigned kind = gm_tag_kind(tag);
    if (kind & CLOSES_P && (place = find_open(parser, T_P, T_BUTTON))) close_to(parser, place);
    const struct open *top = &parser->stack[parser->depth - 1];
    switch (tag) {
        case T_LI:
            for (int i = parser->depth - 1; i > 0; i--) {
                enum tag other = parser->stack[i].tag;
                if (other == T_LI) {
                    close_to(parser, i);
                    break;
                }
                if (parser->stack[i].kind & (BLOCK | SCOPE) && other != T_ADDRESS && other != T_DIV && other != T_P) break;
            }
            break;
        case T_DD:
        case T_DT:
            if ((place = find_open(parser, T_DD, T_DL)) || (place = find_open(parser, T_DT, T_DL)))
                close_to(parser, place);
            break;
        case T_H1: case T_H2: case T_H3: case T_H4: case T_H5: case T_H6:
            if (top->tag >= T_H1 && top->tag <= T_H6) pop(parser);
            break;
        case T_A:
        case T_BUTTON:
        case T_OPTION:
        case T_OPTGROUP:
            if ((place = find_open(parser, tag, T_TABLE))) {
                if (parser->stack[place].kind & FORMAT) /* what is inside stays open: adoption */
                    parser->links -= parser->stack[place].link, parser->stack[place].link = false,
                        parser->stack[place].tag = T_OTHER;
                else
                    close_to(parser, place);
            }
            break;
        case T_TR: case T_TBODY: case T_THEAD: case T_TFOOT: case T_TD: case T_TH: case T_CAPTION:
            for (int i = parser->depth - 1; i > 0 && parser->stack[i].tag != T_TABLE; i--) {
                enum tag other = parser->stack[i].tag;
                bool cell = other == T_TD || other == T_TH || other == T_CAPTION;
                if (cell || (other == T_TR && tag != T_TD && tag != T_TH) ||
                    ((other == T_TBODY || other == T_THEAD || other == T_TFOOT) && tag != T_TD && tag != T_TH && tag != T_TR))
                    close_to(parser, i);
                else if (other == T_TEMPLATE)
                    break;
            }
            break;
        default: break;
    }
}

/* Ends an element; formatting that reaches over the end of a block only stops to count. */
static void end_element(struct parser *parser, enum tag tag) {
    bool heading = tag >= T_H1 && tag <= T_H6;
    unsigned kind = gm_tag_kind(tag);
    if (kind & VOID || tag == T_OTHER || tag == T_BODY || tag == T_HTML) return;
    bool crossed = false;
    for (int i = parser->depth - 1; i > 0; i--) {
        struct open *open = &parser->stack[i];
        if (open->tag == tag || (heading && open->tag >= T_H1 && open->tag <= T_H6)) {
            if (crossed && kind & FORMAT) {
                parser->links -= open->link, parser->bolds -= open->bold;
                open->link = open->bold = false;
                open->tag = T_OTHER;
            } else {
                close_to(parser, i);
            }
            return;
        }
        bool part = tag == T_TABLE || tag == T_TR || tag == T_TBODY || tag == T_THEAD || tag == T_TFOOT;
        if (open->kind & SCOPE && !(part && open->tag != T_TABLE && open->tag != T_TEMPLATE)) return;
        crossed |= (open->kind & BLOCK) != 0;
    }
}

/* Whether an element is decoration that the reader of plain text does not want: anchors, edit links, drawn formulas. */
static bool is_decoration(const struct tag_token *token) {
    if (!(token->present >> A_CLASS & 1)) return false;
    struct slice names = token->value[A_CLASS];
    if (!names.length) return false;
    switch (token->tag) {
        case T_A: return gm_slice_has_word(names, "headerlink") || gm_slice_has_word(names, "anchorjs-link");
        case T_SUP: return gm_slice_has_word(names, "reference");
        case T_SPAN:
            return gm_slice_has_word(names, "mw-editsection") || gm_slice_has_word(names, "katex-html") ||
                   gm_slice_has_word(names, "mathjax") || gm_slice_has_word(names, "mathjax_preview") ||
                   gm_slice_has_word(names, "mathjax_svg") || gm_slice_has_word(names, "mathjax_chtml");
        case T_DIV: return gm_slice_has_word(names, "mathjax_display");
        default: return false;
    }
}

static void begin_list(struct parser *parser, struct open *open, const struct tag_token *token) {
    open->list = ++parser->lists;
    open->outer = parser->list;
    open->counter = -1;
    if (token->tag == T_OL) {
        int32_t start = 1;
        struct slice value = token->value[A_START];
        if (token->present >> A_START & 1 && value.length && value.length < 8) {
            start = 0;
            for (size_t i = 0; i < value.length && (uint8_t)(value.at[i] - '0') < 10; i++)
                start = start * 10 + value.at[i] - '0';
        }
        open->counter = start - 1;
    }
    parser->list = parser->depth;
}

static void push(struct parser *parser, const struct tag_token *token) {
    unsigned kind = gm_tag_kind(token->tag);
    if (kind & BLOCK) flush(parser);
    if (parser->depth == MAX_OPEN) return;
    const struct open *above = &parser->stack[parser->depth - 1];
    struct cached_class says = judge(parser, token);
    struct open open = {.tag = (uint8_t)token->tag, .kind = (uint8_t)kind, .node = above->node};
    open.groups = above->groups | (token->tag == T_BODY || token->tag == T_HTML ? 0 : says.groups);
    if (kind & BLOCK) open.node = push_node(parser, token, says), open.groups = 0;
    if (parser->page->fault) return;
    open.link = token->tag == T_A && token->present >> A_HREF & 1;
    open.pre = token->tag == T_PRE || token->tag == T_LISTING || token->tag == T_PLAINTEXT;
    open.bold = token->tag == T_B || token->tag == T_STRONG;
    open.skip = kind & SKIP || is_decoration(token);
    parser->links += open.link, parser->pres += open.pre, parser->skips += open.skip, parser->bolds += open.bold;
    parser->svgs += token->tag == T_SVG;
    parser->block.links = (uint16_t)(parser->block.links + open.link);
    switch (token->tag) {
        case T_UL: case T_OL: case T_DIR: begin_list(parser, &open, token); break;
        case T_TABLE:
            break;
        case T_LI:
            parser->item = true;
            if (parser->list >= 0 && parser->stack[parser->list].counter >= 0) parser->stack[parser->list].counter++;
            break;
        case T_TR:
            open.outer = parser->row;
            open.counter = (int32_t)parser->page->block_count;
            parser->row = parser->depth;
            break;
        default: break;
    }
    parser->stack[parser->depth++] = open;
}

/* Inside <svg>, names mean nothing: an element is there for its end tag. */
static void push_foreign(struct parser *parser, enum tag tag) {
    if (parser->depth == MAX_OPEN) return;
    const struct open *above = &parser->stack[parser->depth - 1];
    parser->stack[parser->depth++] = (struct open){.tag = (uint8_t)tag, .node = above->node, .groups = above->groups};
}

/* ---- special elements ---- */

static void add_break(struct parser *parser) {
    if (parser->skips) return;
    if (parser->pres) {
        put(parser, "\n", 1);
        return;
    }
    if (!parser->any) return;
    if (++parser->breaks >= 2) {
        flush(parser);
        parser->paragraph = true;
        return;
    }
    while (parser->page->text.length > parser->block.start && parser->page->text.at[parser->page->text.length - 1] == ' ')
        parser->page->text.length--;
    parser->block.breaks++;
    parser->space = false;
    put(parser, "\n", 1);
}

/* Adds a formula in TeX between dollar signs. */
static void add_formula(struct parser *parser, struct slice tex, bool display) {
    if (parser->skips) return;
    while (tex.length && gm_is_space(*tex.at)) tex.at++, tex.length--;
    while (tex.length && gm_is_space(tex.at[tex.length - 1])) tex.length--;
    static const char style[] = "{\\displaystyle";
    if (tex.length > sizeof style && !memcmp(tex.at, style, sizeof style - 1) && tex.at[tex.length - 1] == '}') {
        tex.at += sizeof style - 1, tex.length -= sizeof style;
        while (tex.length && gm_is_space(*tex.at)) tex.at++, tex.length--;
        while (tex.length && gm_is_space(tex.at[tex.length - 1])) tex.length--;
    }
    if (!tex.length) return;
    const char *mark = display ? "$$" : "$";
    add_visible(parser, (const uint8_t *)mark, strlen(mark));
    add_text(parser, tex.at, tex.at + tex.length);
    parser->space = false;
    add_visible(parser, (const uint8_t *)mark, strlen(mark));
    parser->block.maths += parser->block.maths < 255;
}

static const uint8_t *find_bytes(const uint8_t *at, const uint8_t *end, const char *text) {
    size_t length = strlen(text);
    for (; (at = memchr(at, text[0], (size_t)(end - at))); at++) {
        if ((size_t)(end - at) < length) return NULL;
        if (!memcmp(at, text, length)) return at;
    }
    return NULL;
}

/* A <math> element: its TeX where it has some, else its letters and signs. Returns what follows it. */
static const uint8_t *read_math(struct parser *parser, const struct tag_token *token, const uint8_t *at) {
    const uint8_t *close = parser->no_math_end ? NULL : find_bytes(at, parser->end, "</math");
    if (!close) return parser->no_math_end = true, at;
    bool display = token->present >> A_DISPLAY & 1 && gm_slice_is(token->value[A_DISPLAY], "block");
    const uint8_t *note = find_bytes(at, close, "application/x-tex");
    const uint8_t *start = note ? memchr(note, '>', (size_t)(close - note)) : NULL;
    if (start) {
        const uint8_t *stop = memchr(start, '<', (size_t)(close - start));
        add_formula(parser, (struct slice){start + 1, (size_t)((stop ? stop : close) - start - 1)}, display);
    } else if (token->present >> A_ALTTEXT & 1) {
        add_formula(parser, token->value[A_ALTTEXT], display);
    } else {
        while (at < close) {
            const uint8_t *tag = memchr(at, '<', (size_t)(close - at));
            add_text(parser, at, tag ? tag : close);
            at = tag ? memchr(tag, '>', (size_t)(close - tag)) : NULL;
            if (!at) break;
            at++;
        }
    }
    const uint8_t *after = memchr(close, '>', (size_t)(parser->end - close));
    return after ? after + 1 : parser->end;
}

/* The page's title, decoded into the facts. */
static void note_title(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    struct page *page = parser->page;
    if (page->title_length || parser->svgs || parser->any) return;
    uint32_t start = parser->block.start;
    int skips = parser->skips;
    parser->skips = 0;
    add_text(parser, at, end);
    parser->skips = skips;
    size_t length = page->text.length - start;
    if (length) {
        add_fact(parser, literal("title"), (struct slice){page->text.at + start, length});
        if (!page->fault) {
            page->title_length = (uint32_t)(length < MAX_FACT ? length : MAX_FACT);
            page->title = (uint32_t)(page->facts.length - 1 - page->title_length);
        }
    }
    page->text.length = start;
    parser->block = (struct block){.start = start};
    parser->any = parser->space = false;
}

/* An element whose content is text. Returns what follows its end tag. */
static const uint8_t *read_raw(struct parser *parser, const struct tag_token *token, const uint8_t *at) {
    const uint8_t *close = gm_raw_end(at, parser->end, token->tag);
    if (token->tag == T_TITLE) note_title(parser, at, close);
    if (token->tag == T_XMP) add_text(parser, at, close);
    if (token->tag == T_SCRIPT && token->present >> A_TYPE & 1 && gm_slice_has(token->value[A_TYPE], "math/tex"))
        add_formula(parser, (struct slice){at, (size_t)(close - at)}, gm_slice_has(token->value[A_TYPE], "mode=display"));
    const uint8_t *after = memchr(close, '>', (size_t)(parser->end - close));
    return after ? after + 1 : parser->end;
}

/* Ends the foreign content that a tag stands in, if it is one that does (§13.2.6.5). */
static void break_out(struct parser *parser, enum tag tag) {
    if (!parser->svgs) return;
    switch (tag) {
        case T_B: case T_BIG: case T_BLOCKQUOTE: case T_BODY: case T_BR: case T_CENTER: case T_CODE: case T_DD: case T_DIV:
        case T_DL: case T_DT: case T_EM: case T_EMBED: case T_H1: case T_H2: case T_H3: case T_H4: case T_H5: case T_H6:
        case T_HEAD: case T_HR: case T_I: case T_IMG: case T_LI: case T_LISTING: case T_MENU: case T_META: case T_NOBR:
        case T_OL: case T_P: case T_PRE: case T_S: case T_SMALL: case T_SPAN: case T_STRONG: case T_STRIKE: case T_SUP:
        case T_TABLE: case T_TT: case T_U: case T_UL: break;
        default: return;
    }
    int outermost = 0;
    for (int i = parser->depth - 1; i > 0 && parser->stack[i].tag != T_FOREIGNOBJECT; i--)
        if (parser->stack[i].tag == T_SVG) outermost = i;
    if (outermost) close_to(parser, outermost);
}

static const uint8_t *start_element(struct parser *parser, const struct tag_token *token, const uint8_t *after) {
    enum tag tag = token->tag;
    note_facts(parser, token);
    break_out(parser, tag);
    unsigned kind = gm_tag_kind(tag);
    if (parser->svgs && tag != T_SVG && tag != T_FOREIGNOBJECT && !find_open(parser, T_FOREIGNOBJECT, T_OTHER)) {
        if (!token->closed) push_foreign(parser, tag);
        return after;
    }
    close_implied(parser, tag);
    if (kind & RAW) return read_raw(parser, token, after);
    if (tag == T_MATH) return read_math(parser, token, after);
    if (tag == T_HTML || tag == T_HEAD) return after;
    if (kind & VOID || (token->closed && (tag == T_SVG || tag == T_FOREIGNOBJECT))) {
        if (tag == T_BR) add_break(parser);
        if (tag == T_HR) flush(parser);
        if (tag == T_IMG && token->present >> A_ALT & 1 && token->present >> A_CLASS & 1 &&
            gm_slice_has_word(token->value[A_CLASS], "latex"))
            add_formula(parser, token->value[A_ALT], false);
        return after;
    }
    if (tag == T_SELECT && find_open(parser, T_SELECT, T_OTHER)) { /* a second <select> ends the first */
        close_to(parser, find_open(parser, T_SELECT, T_OTHER));
        return after;
    }
    push(parser, token);
    if (parser->pres && gm_tag_kind(tag) & BLOCK && after < parser->end && *after == '\n') after++;
    return after;
}

static void parse(struct parser *parser) {
    struct tag_token token;
    while (parser->at < parser->end && !parser->page->fault) {
        const uint8_t *open = memchr(parser->at, '<', (size_t)(parser->end - parser->at));
        const uint8_t *text = parser->at;
        parser->at = open ? open : parser->end;
        if (text < parser->at) add_text(parser, text, parser->at);
        if (!open) return;
        uint8_t next = parser->end - open > 1 ? open[1] : 0;
        if (gm_is_letter(next) || (next == '/' && parser->end - open > 2 && gm_is_letter(open[2]))) {
            const uint8_t *after = gm_read_tag(open, parser->end, &token);
            if (!after) return;
            if (!token.end)
                parser->at = start_element(parser, &token, after);
            else {
                if (token.tag == T_BR || token.tag == T_P) break_out(parser, token.tag);
                if (token.tag == T_BR) add_break(parser);
                end_element(parser, token.tag);
                parser->at = after;
            }
        } else if (next == '!' || next == '?' || next == '/') {
            parser->at = gm_skip_comment(open, parser->end);
        } else {
            add_text(parser, open, open + 1);
            parser->at = open + 1;
        }
    }
}

/* The blocks of a page of `size` bytes (below 1 GiB) of UTF-8; NULL where there is no memory. */
struct page *gm_html_parse(const uint8_t *html, size_t size, const struct entities *entities, const struct words *words) {
    struct page *page = calloc(1, sizeof *page);
    struct parser *parser = calloc(1, sizeof *parser);
    struct node *root = calloc(256, sizeof *root);
    if (!page || !parser || !root) {
        free(page), free(parser), free(root);
        return NULL;
    }
    page->html = html, page->size = size;
    page->nodes = root, page->node_count = 1, page->node_capacity = 256;
    root->parent = -1;
    root->tag = T_BODY;
    parser->page = page;
    parser->at = html, parser->end = html + size;
    parser->entities = entities, parser->words = words;
    parser->list = parser->row = -1;
    parser->stack[0] = (struct open){.tag = T_HTML, .kind = BLOCK};
    parser->depth = 1;
    parse(parser);
    parser->at = parser->at < parser->end ? parser->at : parser->end;
    close_to(parser, 1);
    flush(parser);
    page->nodes[0].end = (int32_t)page->block_count;
    free(parser);
    return page;
}

void gm_html_free(struct page *page) {
    if (!page) return;
    free(page->text.at), free(page->facts.at), free(page->out.at), free(page->nodes), free(page->blocks);
    free(page);
}
