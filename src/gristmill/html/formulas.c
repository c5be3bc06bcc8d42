/* Formulas: the TeX that stands in a page, or presentation MathML (MathML Core, §3) written as TeX. */
#include "parser.h"

#include <string.h>

enum { MAX_DEPTH = 64 };

/* What stands before each part of an element (the third is for all that follow), and behind the last. */
static const struct form {
    const char *name, *before[3], *after;
} FORM[] = {
    {"mfrac", {"\\frac{", "}{", ""}, "}"}, {"msqrt", {"\\sqrt{", "", ""}, "}"}, {"mroot", {"", "^{1/{", ""}, "}}"},
    {"msup", {"", "^{", ""}, "}"},         {"msub", {"", "_{", ""}, "}"},       {"msubsup", {"", "_{", "}^{"}, "}"},
    {"mover", {"", "^{", ""}, "}"},        {"munder", {"", "_{", ""}, "}"},     {"munderover", {"", "_{", "}^{"}, "}"},
    {"mtr", {"", " & ", " & "}, " \\\\ "},
};

static const struct form *form_of(struct slice name) {
    for (size_t i = 0; i < sizeof FORM / sizeof *FORM; i++)
        if (gm_slice_is(name, FORM[i].name)) return &FORM[i];
    return NULL;
}

static void add_mark(struct parser *parser, const char *mark) {
    if (*mark) gm_html_add_visible(parser, (const uint8_t *)mark, strlen(mark));
}

static struct slice trimmed(struct slice text) {
    while (text.length && gm_is_space(*text.at)) text.at++, text.length--;
    while (text.length && gm_is_space(text.at[text.length - 1])) text.length--;
    return text;
}

void gm_html_add_formula(struct parser *parser, struct slice tex, bool display) {
    if (parser->skips) return;
    tex = trimmed(tex);
    static const char style[] = "{\\displaystyle";
    if (tex.length > sizeof style && !memcmp(tex.at, style, sizeof style - 1) && tex.at[tex.length - 1] == '}')
        tex = trimmed((struct slice){tex.at + sizeof style - 1, tex.length - sizeof style});
    if (!tex.length) return;
    add_mark(parser, display ? "$$" : "$");
    gm_html_add_text(parser, tex.at, tex.at + tex.length);
    parser->space = 0;
    add_mark(parser, display ? "$$" : "$");
    parser->block.maths += parser->block.maths < 255;
}

const uint8_t *gm_find_bytes(const uint8_t *at, const uint8_t *end, const char *text) {
    size_t length = strlen(text);
    for (; (at = memchr(at, text[0], (size_t)(end - at))); at++) {
        if ((size_t)(end - at) < length) return NULL;
        if (!memcmp(at, text, length)) return at;
    }
    return NULL;
}

/* The letters of the name of the tag that begins at `at`, none where it is no tag; whether it is an end tag. */
static struct slice tag_name(const uint8_t *at, const uint8_t *end, bool *ends) {
    *ends = end - at > 2 && at[1] == '/';
    struct slice name = {at + 1 + *ends, 0};
    while (name.at + name.length < end && gm_is_letter(name.at[name.length])) name.length++;
    return name;
}

/* Adds the elements between `at` and `end`. What is opened deeper than MAX_DEPTH is text alone. */
static void add_elements(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    struct {
        const struct form *form;
        int parts;
        bool braces;
    } open[MAX_DEPTH + 1] = {{NULL, 0, false}};
    int depth = 0, deeper = 0;
    for (const uint8_t *tag; at < end; at = tag) {
        tag = memchr(at, '<', (size_t)(end - at));
        gm_html_add_text(parser, at, tag ? tag : end);
        parser->space = 0;
        if (!tag) return;
        struct tag_token token;
        bool ends;
        struct slice name = tag_name(tag, end, &ends);
        if (!name.length) {
            tag = tag[1] == '!' || tag[1] == '?' ? gm_skip_comment(tag, end) : tag + 1;
            continue;
        }
        if (!(tag = gm_read_tag(tag, end, &token))) return;
        if (!ends && gm_slice_is(name, "annotation") && !(tag = gm_find_bytes(tag, end, "</annotation"))) return;
        if (!ends && depth == MAX_DEPTH) deeper += !token.closed;
        else if (!ends) {
            const struct form *form = open[depth].form;
            int part = open[depth].parts++;
            if (form) add_mark(parser, form->before[part < 2 ? part : 2]);
            open[++depth].form = form_of(name);
            open[depth].parts = 0;
            open[depth].braces = form && !part && name.length > 2 && strchr("^_", *form->before[1]) && *form->before[1];
            if (open[depth].braces) add_mark(parser, "{");
        }
        if (deeper && ends) deeper--;
        else if (depth && !deeper && (ends || token.closed)) {
            if (open[depth].form && open[depth].parts) add_mark(parser, open[depth].form->after);
            if (open[depth].braces) add_mark(parser, "}");
            depth--;
        }
    }
}

/* The end tag of a <math>, or NULL where none comes before a tag of the page around: one that breaks out of MathML but
   for inline elements in its leaves, or that begins or ends a block. */
static const uint8_t *math_end(struct parser *parser, const uint8_t *at) {
    if (at < parser->no_math_end) return NULL;
    struct tag_token token;
    for (bool leaf = false; (at = memchr(at, '<', (size_t)(parser->end - at)));) {
        bool ends;
        struct slice name = tag_name(at, parser->end, &ends);
        if (!name.length) {
            at = parser->end - at > 1 && (at[1] == '!' || at[1] == '?' || at[1] == '/')
                     ? gm_skip_comment(at, parser->end)
                     : at + 1;
            continue;
        }
        if (ends && gm_slice_is(name, "math")) return at;
        const uint8_t *after = gm_read_tag(at, parser->end, &token);
        unsigned kind = after ? gm_tag_kind(token.tag) : 0;
        if (!after || kind & BLOCK || (!leaf && !ends && kind & BREAKS_OUT)) break;
        if (gm_slice_has_word(name, "mi mn mo ms mtext")) leaf = !ends && !token.closed;
        at = after;
    }
    parser->no_math_end = at ? at : parser->end;
    return NULL;
}

const uint8_t *gm_html_read_math(struct parser *parser, const struct tag_token *token, const uint8_t *at) {
    const uint8_t *close = math_end(parser, at);
    if (!close) return parser->math = true, at;
    bool display = token->present >> A_DISPLAY & 1 && gm_slice_is(token->value[A_DISPLAY], "block");
    const uint8_t *note = gm_find_bytes(at, close, "application/x-tex");
    const uint8_t *start = note ? memchr(note, '>', (size_t)(close - note)) : NULL;
    if (start) {
        const uint8_t *stop = memchr(start, '<', (size_t)(close - start));
        gm_html_add_formula(parser, (struct slice){start + 1, (size_t)((stop ? stop : close) - start - 1)}, display);
    } else if (token->present >> A_ALTTEXT & 1) {
        gm_html_add_formula(parser, token->value[A_ALTTEXT], display);
    } else {
        add_mark(parser, display ? "$$" : "$");
        add_elements(parser, at, close);
        add_mark(parser, display ? "$$" : "$");
        parser->block.maths += parser->block.maths < 255;
    }
    const uint8_t *after = memchr(close, '>', (size_t)(parser->end - close));
    return after ? after + 1 : parser->end;
}
