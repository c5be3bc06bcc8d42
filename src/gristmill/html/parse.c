/* From HTML to blocks of text, in one pass and without a tree.

   A stack of open elements follows the tree construction of the WHATWG standard (§13.2.6) as far as text and its blocks
   depend on it: void elements, implied end tags, scopes, misnested formatting, raw text, breaking out of <svg>. Work
   and memory grow with the bytes of the page: the stack is bounded (deeper elements count as their parent), and so are
   elements and blocks (gm_most_parts). Any bytes are safe to read. */
#include "parser.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FACTS = 1024, MAX_TITLE = 2048, LONGEST_TYPE = 64 };

/* ---- facts about the page ---- */

/* Whether a tag says something of the page itself: every <meta>, and links to what it is or the licence it is under. */
static bool is_fact(const struct tag_token *token) {
    const struct slice *value = token->value;
    if (token->tag == T_META) return true;
    if (token->tag != T_A && token->tag != T_LINK) return false;
    return gm_slice_has_word(value[A_REL], "license") || gm_slice_has(value[A_HREF], "creativecommons.org/") ||
           (token->tag == T_LINK && gm_slice_has_word(value[A_REL], "canonical"));
}

static void note_facts(struct parser *parser, const struct tag_token *token, const uint8_t *after) {
    struct buffer *facts = &parser->page->facts;
    if (!gm_is_link(token) || !is_fact(token) || parser->facts++ >= MAX_FACTS) return;
    if (!gm_buffer_grow(facts, LINK_GROWTH * (size_t)(after - parser->at))) {
        parser->page->fault = FAULT_MEMORY;
        return;
    }
    facts->length = (size_t)(gm_write_link(token, parser->entities, facts->at + facts->length) - facts->at);
}

/* ---- elements ---- */

/* Notes what a page says that it is, in a type of schema.org or Open Graph: an article, a product, a list, a talk. */
static void note_type(struct page *page, struct slice type) {
    if (type.length > LONGEST_TYPE) return;
    const uint8_t *name = type.at + type.length; /* "Product" of "https://schema.org/Product" */
    while (name > type.at && gm_is_letter(name[-1])) name--;
    type = (struct slice){name, (size_t)(type.at + type.length - name)};
    static const char *const known[] = {"article newsarticle blogposting techarticle", "product productgroup",
                                        "itemlist collectionpage searchresultspage offercatalog",
                                        "qapage discussionforumposting question"};
    for (unsigned bit = 0; bit < sizeof known / sizeof *known; bit++)
        page->said |= (unsigned)gm_slice_has_word(type, known[bit]) << bit;
}

/* The same of all types in JSON-LD. */
static void note_types(struct page *page, const uint8_t *at, const uint8_t *end) {
    while ((at = gm_find_bytes(at, end, "\"@type\"")) != NULL) {
        at += strlen("\"@type\"");
        for (bool more = true, list = false; more; more = list) { /* one name, or several in brackets */
            while (at < end && (gm_is_space(*at) || *at == ':' || *at == '[' || *at == ',')) list |= *at++ == '[';
            if (at == end || *at != '"') break;
            const uint8_t *start = ++at;
            while (at < end && *at != '"') at++;
            note_type(page, (struct slice){start, (size_t)(at - start)});
            at += at < end;
        }
    }
}

/* Whether an element is decoration that the reader of plain text does not want: permalinks, edit links, drawn formulas,
   numbers of lines of code. */
static bool is_decoration(struct parser *parser, const struct tag_token *token) {
    struct slice names = token->value[A_CLASS];
    if (parser->pres && gm_slice_has_word(names, "lineno linenos linenumber line-number line-numbers-rows gutter"))
        return true;
    switch (token->tag) {
        case T_A:
            return gm_slice_has_word(names, "headerlink anchorjs-link hash-link header-anchor anchor-link") &&
                   ++parser->page->documented;
        case T_SUP: return gm_slice_has_word(names, "reference");
        case T_SPAN:
            return gm_slice_has_word(names,
                                     "mw-editsection katex-html mathjax mathjax_preview mathjax_svg mathjax_chtml");
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

static bool is_box(const struct tag_token *token) {
    if (token->tag == T_INPUT) return !gm_slice_is(token->value[A_TYPE], "hidden");
    return gm_tag_kind(token->tag) & (BOX | FALLBACK);
}

static void push(struct parser *parser, const struct tag_token *token) {
    unsigned kind = gm_tag_kind(token->tag);
    bool line = parser->pres && kind & OF_CODE;
    if (line && token->tag != T_TD) gm_html_end_line(parser, SIZE_MAX);
    else if (kind & BLOCK && !line) gm_html_part(parser);
    if (parser->depth == MAX_OPEN) return;
    gm_html_remember_formatting(parser, token->tag);
    const struct open *above = &parser->stack[parser->depth - 1];
    struct cached_class says = gm_html_judge(parser, token);
    struct open open = {.tag = (uint8_t)token->tag, .kind = (uint16_t)kind, .name = token->name, .node = above->node};
    open.groups = above->groups | (token->tag == T_BODY || token->tag == T_HTML ? 0 : says.groups);
    if (kind & BLOCK && !line) open.node = gm_html_push_node(parser, token, says), open.groups = 0;
    if (parser->page->fault) return;
    open.link = token->tag == T_A && token->present >> A_HREF & 1;
    open.pre = token->tag == T_PRE || token->tag == T_LISTING || token->tag == T_PLAINTEXT || token->tag == T_XMP;
    open.box = is_box(token);
    open.bold = token->tag == T_B || token->tag == T_STRONG;
    bool shown = token->tag == T_TEMPLATE && token->present >> A_SHADOWROOTMODE & 1; /* a declarative shadow root */
    open.skip = (kind & SKIP && !shown) || is_decoration(parser, token);
    parser->links += open.link, parser->pres += open.pre, parser->skips += open.skip, parser->bolds += open.bold;
    parser->svgs += token->tag == T_SVG;
    parser->block.links = (uint16_t)(parser->block.links + open.link);
    open.line = line;
    if (line) open.counter = (int32_t)parser->page->text.length;
    else switch (token->tag) {
            case T_UL:
            case T_OL:
            case T_DIR: begin_list(parser, &open, token); break;
            case T_TABLE: open.outer = parser->table, parser->table = parser->depth; break;
            case T_LI:
                parser->item = true;
                if (parser->list >= 0 && parser->stack[parser->list].counter >= 0)
                    parser->stack[parser->list].counter++;
                break;
            case T_SUB:
            case T_SUP: open.counter = gm_html_begin_script(parser, token->tag); break;
            default: break;
        }
    gm_html_open(parser, open);
}

/* Inside <svg>, names mean nothing: an element is there for its end tag. */
static void push_foreign(struct parser *parser, const struct tag_token *token) {
    if (parser->depth == MAX_OPEN) return;
    const struct open *above = &parser->stack[parser->depth - 1];
    gm_html_open(
        parser,
        (struct open){.tag = (uint8_t)token->tag, .name = token->name, .node = above->node, .groups = above->groups});
}

/* ---- special elements ---- */

static void add_break(struct parser *parser) {
    if (parser->skips) return;
    if (parser->pres) {
        gm_html_put(parser, "\n", 1);
        return;
    }
    if (!parser->any) return;
    if (++parser->breaks >= 2) {
        gm_html_flush(parser);
        parser->paragraph = true;
        return;
    }
    struct buffer *text = &parser->page->text;
    while (text->length > parser->block.start && text->at[text->length - 1] == ' ') text->length--;
    parser->block.breaks++;
    parser->space = 0;
    gm_html_put(parser, "\n", 1);
}

/* The page's title, decoded into the facts. */
static void note_title(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    struct page *page = parser->page;
    if (page->title_length || parser->svgs || parser->any) return;
    uint32_t start = parser->block.start;
    int skips = parser->skips;
    parser->skips = 0;
    gm_html_add_text(parser, at, end);
    parser->skips = skips;
    size_t length = page->text.length - start;
    length = length < MAX_TITLE ? length : MAX_TITLE;
    if (length) {
        page->title = (uint32_t)(page->facts.length + sizeof "title"), page->title_length = (uint32_t)length;
        gm_html_add_fact(page, "title", page->text.at + start, length);
    }
    page->text.length = start;
    parser->block = (struct block){.start = start};
    parser->any = false, parser->space = 0;
}

/* An element whose content is text. Returns what follows its end tag. */
static const uint8_t *read_raw(struct parser *parser, const struct tag_token *token, const uint8_t *at) {
    const uint8_t *close = gm_raw_end(at, parser->end, token->tag);
    if (token->tag == T_TITLE) note_title(parser, at, close);
    if (token->tag == T_XMP) {
        int depth = parser->depth;
        push(parser, token);
        gm_html_add_raw(parser, at, close);
        gm_html_close_to(parser, depth);
    }
    if (token->tag == T_SCRIPT && token->present >> A_TYPE & 1 && gm_slice_has(token->value[A_TYPE], "math/tex"))
        gm_html_add_formula(parser, (struct slice){at, (size_t)(close - at)},
                            gm_slice_has(token->value[A_TYPE], "mode=display"));
    if (token->tag == T_SCRIPT && token->present >> A_TYPE & 1 && gm_slice_has(token->value[A_TYPE], "ld+json"))
        note_types(parser->page, at, close);
    struct tag_token ends;
    const uint8_t *after = close < parser->end ? gm_read_tag(close, parser->end, &ends) : NULL;
    return after ? after : parser->end;
}

static const uint8_t *start_element(struct parser *parser, const struct tag_token *token, const uint8_t *after) {
    enum tag tag = token->tag;
    note_facts(parser, token, after);
    if (tag == T_META && gm_slice_is(token->value[A_NAME], "generator")) {
        parser->page->docbook |= gm_slice_has_word(token->value[A_CONTENT], "docbook");
        parser->page->documented +=
            gm_slice_has_word(token->value[A_CONTENT], "rustdoc docusaurus vuepress vitepress mdbook");
    }
    if (tag == T_META && gm_slice_is(token->value[A_PROPERTY], "og:type"))
        note_type(parser->page, token->value[A_CONTENT]);
    if (token->present >> A_ITEMTYPE & 1) note_type(parser->page, token->value[A_ITEMTYPE]);
    gm_html_break_out(parser, tag);
    unsigned kind = gm_tag_kind(tag);
    bool inside = tag == T_FOREIGNOBJECT || tag == T_DESC; /* what holds HTML in <svg> */
    if (tag != T_SVG && !inside && gm_html_in_svg(parser)) {
        if (!token->closed) push_foreign(parser, token);
        return after;
    }
    if (tag == T_FORM && !gm_html_begin_form(parser)) return after;
    gm_html_close_implied(parser, tag);
    int select = tag == T_SELECT || tag == T_INPUT ? gm_html_find_open(parser, T_SELECT, T_COUNT) : 0;
    if (select) gm_html_close_to(parser, select); /* a second <select> ends the first and begins none */
    if (is_box(token) && !parser->skips) parser->space |= APART;
    if (kind & RAW && parser->xml && token->closed) return after;
    if (kind & RAW) return read_raw(parser, token, after);
    if (tag == T_MATH) return token->closed ? after : gm_html_read_math(parser, token, after);
    if (tag == T_HTML || tag == T_HEAD) return after;
    if (kind & VOID || (token->closed && (tag == T_SVG || inside))) {
        if (tag == T_BR) add_break(parser);
        if (tag == T_HR) gm_html_part(parser);
        if (tag == T_IMG && token->present >> A_ALT & 1 && token->present >> A_CLASS & 1 &&
            gm_slice_has_word(token->value[A_CLASS], "latex"))
            gm_html_add_formula(parser, token->value[A_ALT], false);
        return after;
    }
    if (select && tag == T_SELECT) return after;
    if (tag == T_FRAMESET) { /* of a page of frames nothing is shown but what they name (§13.2.6.4.20) */
        parser->skips += parser->depth == 1 && !parser->any && !parser->page->text.length;
        return after;
    }
    push(parser, token);
    if (tag == T_PLAINTEXT) {
        gm_html_add_raw(parser, after, parser->end);
        return parser->end;
    }
    if ((tag == T_PRE || tag == T_LISTING) && after < parser->end && *after == '\n') after++;
    return after;
}

static void parse(struct parser *parser) {
    struct tag_token token;
    while (parser->at < parser->end && !parser->page->fault) {
        const uint8_t *open = memchr(parser->at, '<', (size_t)(parser->end - parser->at));
        const uint8_t *text = parser->at;
        parser->at = open ? open : parser->end;
        if (text < parser->at) gm_html_add_text(parser, text, parser->at);
        if (!open) return;
        uint8_t next = parser->end - open > 1 ? open[1] : 0;
        if (gm_is_letter(next) || (next == '/' && parser->end - open > 2 && gm_is_letter(open[2]))) {
            const uint8_t *after = gm_read_tag(open, parser->end, &token);
            if (!after) return;
            if (!token.end) {
                parser->at = start_element(parser, &token, after);
                if (parser->xml && token.closed && !gm_html_in_svg(parser)) gm_html_end(parser, &token);
            } else {
                if (token.tag == T_BR || token.tag == T_P) gm_html_break_out(parser, token.tag);
                if (token.tag == T_BR) add_break(parser);
                gm_html_end(parser, &token);
                parser->at = after;
            }
        } else if ((parser->xml || parser->math) && parser->end - open > 9 && !memcmp(open, "<![CDATA[", 9)) {
            const uint8_t *close = gm_find_bytes(open, parser->end, "]]>");
            parser->at = close ? close : parser->end;
            gm_html_add_raw(parser, open + 9, parser->at);
            parser->at += close ? 3 : 0;
        } else if (next == '!' || next == '?' || (next == '/' && parser->end - open > 2)) {
            parser->at = gm_skip_comment(open, parser->end);
        } else {
            gm_html_add_text(parser, open, open + 1);
            parser->at = open + 1;
        }
    }
}

/* The blocks of a page of `size` bytes (below 1 GiB) of UTF-8, as HTML or as XHTML; NULL where there is no memory. */
struct page *gm_html_parse(const uint8_t *html, size_t size, const struct entities *entities,
                           const struct word_weights *words, unsigned xml) {
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
    parser->list = parser->table = -1;
    parser->xml = xml != 0;
    parser->stack[0] = (struct open){.tag = T_HTML, .kind = BLOCK};
    parser->opened[T_HTML] = parser->changes = 1;
    parser->depth = 1;
    parse(parser);
    parser->at = parser->at < parser->end ? parser->at : parser->end;
    gm_html_close_to(parser, 1);
    gm_html_flush(parser);
    page->nodes[0].end = (int32_t)page->block_count;
    free(parser);
    return page;
}

void gm_html_free(struct page *page) {
    if (!page) return;
    free(page->text.at), free(page->facts.at), free(page->out.at), free(page->nodes), free(page->blocks);
    free(page);
}
