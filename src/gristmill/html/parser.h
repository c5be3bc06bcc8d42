/* The parser at work: what parse.c (tags), elements.c (open elements), blocks.c (blocks) and text.c (text) share. */
#ifndef GRISTMILL_HTML_PARSER_H
#define GRISTMILL_HTML_PARSER_H
#include "tokens.h"

enum { CLASS_CACHE = 256, MAX_FORMATTING = 256, MAX_SAME = 3, NAMES = 1024 };
/* White space; a box in the line, as of an image or a button, which readers see between two words. */
enum { SPACE = 1, APART = 2 };

/* An open element. */
struct open {
    uint8_t tag;
    uint16_t kind;
    bool link, pre, skip, bold;
    bool box;   /* a button or the like: words outside are not glued to its own */
    bool line;  /* a line of code, or what holds such */
    bool ended; /* a form past its end tag: it goes as soon as it is the innermost */
    int32_t node;
    uint32_t name;   /* of a T_OTHER: hash of its name, 0 where no end tag may find it */
    uint64_t groups; /* of this and the inline elements around it */
    int32_t outer;   /* lists and tables: the one around, as a place in the stack */
    int32_t
        counter; /* lists: number of the next item, or -1 where bullets count; tables: 1 where one is inside; lines of
                        code, <sub> and <sup>: where their text begins */
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
    const struct word_weights *words;
    struct open stack[MAX_OPEN];
    int depth;
    int links, pres, skips, bolds, svgs;
    uint16_t opened[T_COUNT]; /* open elements of each tag: none is looked for in vain */
    uint32_t changes, searched[T_COUNT]; /* of the stack; their number when a start tag last looked through it */
    struct {
        uint32_t open, searched;
    } named[NAMES]; /* the same of elements that only their names tell apart and their end tags, by hash */
    int list, table; /* places in the stack; -1 */
    uint32_t lists;
    struct block block; /* being filled */
    uint8_t space;      /* what is owed before the next visible character: SPACE, APART */
    int breaks;         /* <br> in a row */
    bool any;           /* the block has visible characters */
    bool item;          /* the next block begins a list item */
    bool paragraph;     /* the next block follows two <br> */
    bool form;          /* a form has begun and not ended */
    bool xml;           /* <a/> is <a></a> */
    const uint8_t *no_math_end; /* no <math> before this has an end tag */
    bool math;          /* the last <math> had none, and nothing broke out of it */
    uint8_t formatting[MAX_FORMATTING]; /* tags of active formatting elements, with markers */
    int formattings;
    uint32_t source_end;
    int facts;
    struct cached_class cache[CLASS_CACHE];
};

/* Adds bytes to the page's text, whatever they are. */
bool gm_html_put(struct parser *parser, const void *bytes, size_t length);
/* Adds visible bytes to the block, after a space where one is owed. */
void gm_html_add_visible(struct parser *parser, const uint8_t *bytes, size_t length);
/* Adds text with white space made one space, references decoded, invisible characters left out; in <pre> as it is. */
void gm_html_add_text(struct parser *parser, const uint8_t *at, const uint8_t *end);
/* Adds text in which a reference is none, and a zero byte is shown (§13.2.5.5). */
void gm_html_add_raw(struct parser *parser, const uint8_t *at, const uint8_t *end);
/* Ends a line of code that has begun, and one that is empty since `start` (SIZE_MAX: none is). */
void gm_html_end_line(struct parser *parser, size_t start);
/* Marks what is raised or lowered; returns where its text begins, 0 where no mark is made. */
int32_t gm_html_begin_script(struct parser *parser, enum tag tag);
void gm_html_end_script(struct parser *parser, const struct open *script);
/* Adds a formula in TeX between dollar signs. */
void gm_html_add_formula(struct parser *parser, struct slice tex, bool display);
/* A <math> element: its TeX where it has some, else its elements as TeX. Returns what follows it. */
const uint8_t *gm_html_read_math(struct parser *parser, const struct tag_token *token, const uint8_t *at);
/* Where a text next is, or NULL. */
const uint8_t *gm_find_bytes(const uint8_t *at, const uint8_t *end, const char *text);
/* Counts what a block's text is made of. */
void gm_html_measure(const uint8_t *text, struct block *block);
/* Whether a text ends as a sentence does, quotes and brackets apart. */
bool gm_html_ends(const uint8_t *text, size_t length);

/* Ends the current block, if it holds anything. */
void gm_html_flush(struct parser *parser);
/* How many lists are open. */
uint8_t gm_html_list_depth(const struct parser *parser);
/* Whether what stands in an element of a table is shown before the table. */
bool gm_html_is_fostered(const struct node *node);
/* Moves text of a table that has ended before it, if it is in none of its cells. */
void gm_html_foster(struct page *page, int32_t table);
/* Makes one block of each row of a table that has ended, if it is one of data. */
void gm_html_join_table(struct parser *parser, int32_t table);
/* A boundary of blocks, which has no effect in what is not shown. */
void gm_html_part(struct parser *parser);
/* Closes the innermost open element, and forms around it whose end tag has come. */
void gm_html_pop(struct parser *parser);
/* What an element says of its content by tag, role, style and names. */
struct cached_class gm_html_judge(struct parser *parser, const struct tag_token *token);
/* Makes a block-level element; returns its number. */
int32_t gm_html_push_node(struct parser *parser, const struct tag_token *token, struct cached_class says);

/* Counts an element that opens (1) or closes (-1). */
void gm_html_count(struct parser *parser, const struct open *open, int change);
/* Puts an element on the stack, which has room. */
void gm_html_open(struct parser *parser, struct open open);
/* Closes open elements from the innermost to the one at that place of the stack. */
void gm_html_close_to(struct parser *parser, int place);
/* Where the innermost open element of that tag is, or 0; looks no further than a scope or another tag (T_COUNT: none). */
int gm_html_find_open(const struct parser *parser, enum tag tag, enum tag limit);
/* Whether names mean nothing here. */
bool gm_html_in_svg(const struct parser *parser);
/* Ends the foreign content that a tag is in, if it is one that does. */
void gm_html_break_out(struct parser *parser, enum tag tag);
/* Notes that a formatting element begins, or an element that the earlier ones do not reach into. */
void gm_html_remember_formatting(struct parser *parser, enum tag tag);
/* Forgets the formatting elements that began inside an element of that tag, if they do not reach out of it. */
void gm_html_forget_since(struct parser *parser, enum tag tag);
/* Closes what a start tag ends first (§13.2.6.4.7 and the table modes). */
void gm_html_close_implied(struct parser *parser, enum tag tag);
/* Whether a form begins here: a form in a form is not there. */
bool gm_html_begin_form(struct parser *parser);
/* Does what an end tag asks. */
void gm_html_end(struct parser *parser, const struct tag_token *token);

#endif
