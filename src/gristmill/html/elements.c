/* The stack of open elements: which end, and where, at a start or an end tag (WHATWG, §13.2.4 and §13.2.6). */
#include "parser.h"

#include <string.h>

void gm_html_close_to(struct parser *parser, int place) {
    while (parser->depth > place) gm_html_pop(parser);
}

void gm_html_count(struct parser *parser, const struct open *open, int change) {
    parser->opened[open->tag] = (uint16_t)(parser->opened[open->tag] + change);
    parser->named[open->name % NAMES].open += (uint32_t)change;
    parser->changes++;
}

void gm_html_open(struct parser *parser, struct open open) {
    gm_html_count(parser, &open, 1);
    parser->stack[parser->depth++] = open;
}

int gm_html_find_open(const struct parser *parser, enum tag tag, enum tag limit) {
    if (!parser->opened[tag]) return 0;
    for (int i = parser->depth - 1; i > 0; i--) {
        if (parser->stack[i].tag == tag) return i;
        bool scope = parser->stack[i].kind & SCOPE && parser->stack[i].tag != T_BUTTON;
        if (scope || parser->stack[i].tag == limit) return 0;
    }
    return 0;
}

/* Takes an element off the stack whose content stays open: it can no longer be found. */
static void lift(struct parser *parser, struct open *open) {
    parser->links -= open->link, parser->bolds -= open->bold;
    open->link = open->bold = false;
    gm_html_count(parser, open, -1);
    open->tag = T_OTHER, open->name = 0;
    gm_html_count(parser, open, 1);
}

/* ---- <svg> ---- */

static bool holds_html(enum tag tag) { return tag == T_FOREIGNOBJECT || tag == T_DESC; }

bool gm_html_in_svg(const struct parser *parser) {
    if (!parser->svgs) return false;
    for (int i = parser->depth - 1; i > 0; i--) {
        if (parser->stack[i].tag == T_SVG) return true;
        if (holds_html(parser->stack[i].tag)) return false;
    }
    return false;
}

static void leave_svg(struct parser *parser) {
    int outermost = 0;
    for (int i = parser->depth - 1; i > 0 && !holds_html(parser->stack[i].tag); i--)
        if (parser->stack[i].tag == T_SVG) outermost = i;
    if (outermost) gm_html_close_to(parser, outermost);
}

void gm_html_break_out(struct parser *parser, enum tag tag) {
    if ((!parser->svgs && !parser->math) || !(gm_tag_kind(tag) & BREAKS_OUT)) return;
    parser->math = false;
    if (parser->svgs) leave_svg(parser);
}

/* ---- active formatting elements (§13.2.4.3) ----

   A block that ends closes the formatting elements in it, but the standard opens them again at the next text. Here that
   matters to one thing: their end tags close an <svg> that was begun since. */

/* Forgets the last formatting element of that tag since the last marker; whether there was one. */
static bool forget_formatting(struct parser *parser, enum tag tag) {
    uint8_t *list = parser->formatting;
    for (int i = parser->formattings - 1; i >= 0 && !(gm_tag_kind(list[i]) & MARKER); i--) {
        if (list[i] != tag) continue;
        memmove(list + i, list + i + 1, (size_t)(--parser->formattings - i));
        return true;
    }
    return false;
}

void gm_html_remember_formatting(struct parser *parser, enum tag tag) {
    bool marker = gm_tag_kind(tag) & MARKER;
    if (!marker && !(gm_tag_kind(tag) & FORMAT)) return;
    int same = 0, first = 0;
    for (int i = parser->formattings - 1; !marker && i >= 0 && !(gm_tag_kind(parser->formatting[i]) & MARKER); i--)
        if (parser->formatting[i] == tag) same++, first = i;
    if (same == MAX_SAME)
        memmove(parser->formatting + first, parser->formatting + first + 1, (size_t)(--parser->formattings - first));
    if (parser->formattings < MAX_FORMATTING) parser->formatting[parser->formattings++] = (uint8_t)tag;
}

void gm_html_forget_since(struct parser *parser, enum tag tag) {
    if (!(gm_tag_kind(tag) & MARKER)) return;
    int at = parser->formattings;
    while (at > 0 && parser->formatting[at - 1] != tag) at--;
    if (at > 0) parser->formattings = at - 1;
}

/* ---- start tags ---- */

/* Ends an <li>, <dd> or <dt> that a start tag of its kind follows. */
static void close_item(struct parser *parser, enum tag tag) {
    for (int i = parser->depth - 1; i > 0; i--) {
        enum tag other = parser->stack[i].tag;
        if (other == tag || (tag == T_DD && other == T_DT) || (tag == T_DT && other == T_DD)) {
            gm_html_close_to(parser, i);
            return;
        }
        bool passes = other == T_ADDRESS || other == T_DIV || other == T_P;
        if (parser->stack[i].kind & (BLOCK | SCOPE) && !passes) return;
    }
}

static bool is_heading(enum tag tag) { return tag >= T_H1 && tag <= T_H6; }

static bool is_table_part(enum tag tag) { return tag == T_TBODY || tag == T_THEAD || tag == T_TFOOT; }

/* Ends the parts of a table that a start tag of such a part follows (§13.2.6.4.9 to 13.2.6.4.15). */
static void close_table_parts(struct parser *parser, enum tag tag) {
    bool for_cell = tag == T_TD || tag == T_TH;
    for (int i = parser->depth - 1; i > 0 && parser->stack[i].tag != T_TABLE; i--) {
        enum tag other = parser->stack[i].tag;
        bool cell = other == T_TD || other == T_TH || other == T_CAPTION;
        bool part = is_table_part(other);
        if (other == T_TEMPLATE) return;
        if (other == T_SELECT && parser->opened[T_TABLE]) gm_html_close_to(parser, i);
        if (!cell && !(other == T_TR && !for_cell) && !(part && !for_cell && tag != T_TR)) continue;
        gm_html_close_to(parser, i);
        if (part || (cell && for_cell) || (other == T_TR && tag == T_TR)) return; /* the outermost that it ends */
    }
}

/* Whether a start tag of this kind was met before with this very stack of open elements, and closed none: a full stack
   takes no more, and would be searched anew for each tag of a page that repeats one. */
static bool in_vain(struct parser *parser, enum tag tag) {
    if (parser->searched[tag] == parser->changes) return true;
    parser->searched[tag] = parser->changes;
    return false;
}

void gm_html_close_implied(struct parser *parser, enum tag tag) {
    int place;
    if (tag == T_A) forget_formatting(parser, tag);
    if (in_vain(parser, tag)) return;
    if (tag == T_LI || tag == T_DD || tag == T_DT) close_item(parser, tag);
    if (gm_tag_kind(tag) & CLOSES_P && (place = gm_html_find_open(parser, T_P, T_BUTTON)))
        gm_html_close_to(parser, place);
    const struct open *top = &parser->stack[parser->depth - 1];
    if (is_heading(tag) && is_heading(top->tag)) gm_html_pop(parser);
    if ((tag == T_OPTION || tag == T_OPTGROUP) && top->tag == T_OPTION) gm_html_pop(parser);
    if ((tag == T_A || tag == T_BUTTON) && (place = gm_html_find_open(parser, tag, T_TABLE))) {
        if (tag == T_A) lift(parser, &parser->stack[place]); /* adoption */
        else gm_html_close_to(parser, place);
    }
    bool reading = tag == T_RT || tag == T_RP;
    if ((reading || tag == T_RB || tag == T_RTC) && gm_html_find_open(parser, T_RUBY, T_COUNT))
        for (; gm_tag_kind(top->tag) & IMPLIED_END && !(reading && top->tag == T_RTC);
             top = &parser->stack[parser->depth - 1])
            gm_html_pop(parser);
    if (tag == T_TR || tag == T_TD || tag == T_TH || tag == T_CAPTION || is_table_part(tag))
        close_table_parts(parser, tag);
}

/* ---- forms ---- */

static bool in_template(const struct parser *parser) { return parser->opened[T_TEMPLATE] > 0; }

bool gm_html_begin_form(struct parser *parser) {
    if (in_template(parser)) return true;
    bool begins = !parser->form;
    parser->form = true;
    return begins;
}

/* What was opened in the form and is open stays so; once it closes, the form goes with it. */
static void end_form(struct parser *parser, int place) {
    bool begun = parser->form;
    parser->form = false;
    if (!begun || !place) return;
    while (gm_tag_kind(parser->stack[parser->depth - 1].tag) & IMPLIED_END) gm_html_pop(parser);
    if (place == parser->depth - 1) gm_html_pop(parser);
    else lift(parser, &parser->stack[place]), parser->stack[place].ended = true;
}

/* ---- end tags ---- */

/* An end tag that has nothing to end: a paragraph's makes an empty one, which parts what is around it (§13.2.6.4.7);
   that of formatting which a block has closed may end an <svg>. */
static void end_nothing(struct parser *parser, enum tag tag) {
    if (tag == T_P) gm_html_part(parser);
    if (gm_tag_kind(tag) & FORMAT && forget_formatting(parser, tag)) leave_svg(parser);
}

/* Ends the element at `place`. Formatting that reaches over the end of a block only stops to count. */
static void end_at(struct parser *parser, int place, bool crossed) {
    struct open *open = &parser->stack[place];
    bool format = open->kind & FORMAT;
    if (format) forget_formatting(parser, open->tag);
    if (!crossed || !format) {
        gm_html_close_to(parser, place);
        return;
    }
    for (int i = place + 1; i < parser->depth; i++)
        if (parser->stack[i].tag == T_SVG) gm_html_close_to(parser, i);
    lift(parser, open);
}

/* Whether an element of that name may be open: one of like hash is, and was not looked for in this very stack. */
static bool is_named(struct parser *parser, uint32_t name) {
    uint32_t searched = parser->named[name % NAMES].searched;
    parser->named[name % NAMES].searched = parser->changes;
    return parser->named[name % NAMES].open && searched != parser->changes;
}

void gm_html_end(struct parser *parser, const struct tag_token *token) {
    enum tag tag = token->tag;
    unsigned kind = gm_tag_kind(tag);
    bool heading = is_heading(tag), part = kind & OF_TABLE; /* looked for in table scope (§13.2.6.4.15) */
    if (kind & VOID || tag == T_BODY || tag == T_HTML) return;
    if (tag == T_FORM && !in_template(parser)) {
        int place = gm_html_find_open(parser, tag, T_COUNT);
        if (!place || parser->stack[place].kind & BLOCK) { /* else it is one of <svg>'s elements */
            end_form(parser, place);
            return;
        }
    }
    bool crossed = false, any = parser->opened[tag] > 0, foreign = gm_html_in_svg(parser);
    if (tag == T_OTHER) any = is_named(parser, token->name);
    for (enum tag level = T_H1; heading && level <= T_H6; level++) any |= parser->opened[level] > 0;
    for (int i = any ? parser->depth - 1 : 0; i > 0; i--) {
        const struct open *open = &parser->stack[i];
        bool same = open->tag == tag && open->name == token->name && (!part || foreign || open->kind);
        if (same || (heading && is_heading(open->tag))) {
            end_at(parser, i, crossed);
            return;
        }
        bool beyond = tag == T_TEMPLATE || (part && open->tag != T_TABLE && open->tag != T_TEMPLATE) ||
                      (open->tag == T_BUTTON && tag != T_P);
        if (open->kind & SCOPE && !beyond) break;
        if (tag == T_LI && (open->tag == T_UL || open->tag == T_OL)) return;
        crossed |= (open->kind & (BLOCK | SCOPE)) != 0;
        if (crossed && !(kind & (BLOCK | SCOPE | FORMAT | SKIP))) return; /* "any other end tag" */
    }
    end_nothing(parser, tag);
}
