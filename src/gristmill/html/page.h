/* An HTML page as blocks of text, and what the choice among them needs to know. See parse.c. */
#ifndef GRISTMILL_HTML_H
#define GRISTMILL_HTML_H
#include "buffer.h"
#include "word_table.h"

/* Elements that matter to the parser; every other name is T_OTHER. Names in alphabetical order. */
/* clang-format off */
#define TAGS(X)                                                                                                        \
    X(A, "a", FORMAT) X(ADDRESS, "address", PART) X(APPLET, "applet", SCOPE | FALLBACK | MARKER)                       \
    X(AREA, "area", VOID) X(ARTICLE, "article", PART) X(ASIDE, "aside", PART) X(AUDIO, "audio", FALLBACK)              \
    X(B, "b", FORMAT | BREAKS_OUT) X(BASE, "base", VOID) X(BIG, "big", FORMAT | BREAKS_OUT)                            \
    X(BLOCKQUOTE, "blockquote", PART | BREAKS_OUT) X(BODY, "body", BLOCK | BREAKS_OUT)                                 \
    X(BR, "br", VOID | BREAKS_OUT) X(BUTTON, "button", SCOPE | BOX) X(CANVAS, "canvas", FALLBACK)                      \
    X(CAPTION, "caption", BLOCK | SCOPE | MARKER | OF_TABLE) X(CENTER, "center", PART | BREAKS_OUT)                    \
    X(CODE, "code", FORMAT | BREAKS_OUT) X(COL, "col", VOID) X(DATALIST, "datalist", SKIP)                             \
    X(DD, "dd", PART | IMPLIED_END | BREAKS_OUT) X(DESC, "desc", SCOPE | SKIP) X(DETAILS, "details", PART)             \
    X(DIALOG, "dialog", PART) X(DIR, "dir", PART) X(DIV, "div", PART | OF_CODE | BREAKS_OUT)                           \
    X(DL, "dl", PART | BREAKS_OUT) X(DT, "dt", PART | IMPLIED_END | BREAKS_OUT) X(EM, "em", FORMAT | BREAKS_OUT)       \
    X(EMBED, "embed", VOID | BOX | BREAKS_OUT) X(FIELDSET, "fieldset", PART) X(FIGCAPTION, "figcaption", PART)         \
    X(FIGURE, "figure", PART) X(FONT, "font", FORMAT) X(FOOTER, "footer", PART)                                        \
    X(FOREIGNOBJECT, "foreignobject", SCOPE | SKIP) X(FORM, "form", PART) X(FRAME, "frame", VOID)                      \
    X(FRAMESET, "frameset", 0) X(H1, "h1", PART | BREAKS_OUT) X(H2, "h2", PART | BREAKS_OUT)                           \
    X(H3, "h3", PART | BREAKS_OUT) X(H4, "h4", PART | BREAKS_OUT) X(H5, "h5", PART | BREAKS_OUT)                       \
    X(H6, "h6", PART | BREAKS_OUT) X(HEAD, "head", BREAKS_OUT) X(HEADER, "header", PART) X(HGROUP, "hgroup", PART)     \
    X(HR, "hr", VOID | CLOSES_P | BREAKS_OUT) X(HTML, "html", SCOPE) X(I, "i", FORMAT | BREAKS_OUT)                    \
    X(IFRAME, "iframe", RAW | BOX) X(IMG, "img", VOID | BOX | BREAKS_OUT) X(INPUT, "input", VOID)                      \
    X(LEGEND, "legend", BLOCK) X(LI, "li", PART | IMPLIED_END | OF_CODE | BREAKS_OUT) X(LINK, "link", VOID)            \
    X(LISTING, "listing", PART | BREAKS_OUT) X(MAIN, "main", PART) X(MAP, "map", 0)                                    \
    X(MARQUEE, "marquee", SCOPE | MARKER | BOX) X(MATH, "math", 0) X(MENU, "menu", PART | BREAKS_OUT)                  \
    X(META, "meta", VOID | BREAKS_OUT) X(METER, "meter", FALLBACK) X(NAV, "nav", PART)                                 \
    X(NOBR, "nobr", FORMAT | BREAKS_OUT) X(NOEMBED, "noembed", RAW) X(NOFRAMES, "noframes", RAW)                       \
    X(NOSCRIPT, "noscript", FALLBACK) X(OBJECT, "object", SCOPE | FALLBACK | MARKER)                                   \
    X(OL, "ol", PART | OF_CODE | BREAKS_OUT) X(OPTGROUP, "optgroup", IMPLIED_END) X(OPTION, "option", IMPLIED_END)     \
    X(P, "p", PART | IMPLIED_END | BREAKS_OUT) X(PARAM, "param", VOID) X(PLAINTEXT, "plaintext", PART)                 \
    X(PRE, "pre", PART | BREAKS_OUT) X(PROGRESS, "progress", FALLBACK) X(RB, "rb", IMPLIED_END)                        \
    X(RP, "rp", SKIP | IMPLIED_END) X(RT, "rt", SKIP | IMPLIED_END) X(RTC, "rtc", SKIP | IMPLIED_END)                  \
    X(RUBY, "ruby", BREAKS_OUT) X(S, "s", FORMAT | BREAKS_OUT) X(SCRIPT, "script", RAW) X(SEARCH, "search", PART)      \
    X(SECTION, "section", PART) X(SELECT, "select", SKIP | BOX) X(SMALL, "small", FORMAT | BREAKS_OUT)                 \
    X(SOURCE, "source", VOID) X(SPAN, "span", BREAKS_OUT) X(STRIKE, "strike", FORMAT | BREAKS_OUT)                     \
    X(STRONG, "strong", FORMAT | BREAKS_OUT) X(STYLE, "style", RAW) X(SUB, "sub", BREAKS_OUT)                          \
    X(SUMMARY, "summary", PART) X(SUP, "sup", BREAKS_OUT) X(SVG, "svg", SKIP | BOX)                                    \
    X(TABLE, "table", BLOCK | SCOPE | OF_TABLE | OF_CODE | BREAKS_OUT) X(TBODY, "tbody", BLOCK | OF_TABLE | OF_CODE)   \
    X(TD, "td", BLOCK | SCOPE | MARKER | OF_TABLE | OF_CODE) X(TEMPLATE, "template", SCOPE | SKIP | MARKER)            \
    X(TEXTAREA, "textarea", RAW | BOX) X(TFOOT, "tfoot", BLOCK | OF_TABLE)                                             \
    X(TH, "th", BLOCK | SCOPE | MARKER | OF_TABLE) X(THEAD, "thead", BLOCK | OF_TABLE) X(TITLE, "title", RAW)          \
    X(TR, "tr", BLOCK | OF_TABLE | OF_CODE) X(TRACK, "track", VOID) X(TT, "tt", FORMAT | BREAKS_OUT)                   \
    X(U, "u", FORMAT | BREAKS_OUT) X(UL, "ul", PART | OF_CODE | BREAKS_OUT) X(VAR, "var", BREAKS_OUT)                  \
    X(VIDEO, "video", FALLBACK) X(WBR, "wbr", VOID) X(XMP, "xmp", PART | RAW)

enum tag {
    T_OTHER,
#define X(id, name, kind) T_##id,
    TAGS(X)
#undef X
    T_COUNT
};
/* clang-format on */
_Static_assert(T_COUNT <= UINT8_MAX, "tags are kept as uint8_t");

enum kind {
    BLOCK = 1 << 0,  /* breaks the line: begins and ends blocks of text */
    VOID = 1 << 1,   /* has no end tag */
    SKIP = 1 << 2,   /* its text is not the page's */
    RAW = 1 << 3,    /* its content is text up to its end tag */
    FORMAT = 1 << 4, /* may be closed across block boundaries */
    CLOSES_P = 1 << 5,
    PART = BLOCK | CLOSES_P,
    SCOPE = 1 << 6,        /* end tags do not look beyond it */
    FALLBACK = 1 << 7,     /* shown only where something else is not */
    IMPLIED_END = 1 << 8,  /* its end tag may be left out: "generate implied end tags" (§13.2.6.3) */
    MARKER = 1 << 9,       /* formatting does not reach into it (§13.2.4.3) */
    BREAKS_OUT = 1 << 10,  /* its start tag ends the foreign content that it is in (§13.2.6.5) */
    OF_TABLE = 1 << 11,    /* a table or one of its parts, cells among them */
    OF_CODE = 1 << 12,     /* in <pre>, a line of code or what holds such: it parts no blocks */
    BOX = 1 << 13          /* a box in the line, which parts the words around it though no space does */
};

/* Groups of words in class names and ids: bits 0 to 47, named in main_text.py. What elements say by themselves: */
#define G_NAV (1ull << 48)
#define G_HEADER (1ull << 49)
#define G_FOOTER (1ull << 50)
#define G_ASIDE (1ull << 51)
#define G_FORM (1ull << 52)
#define G_FIGURE (1ull << 53)
#define G_MAIN (1ull << 54)
#define G_ARTICLE (1ull << 55)
#define G_BUTTON (1ull << 56)
#define G_HIDDEN (1ull << 57)
#define G_POPUP (1ull << 58)
#define G_BODY_TEXT (1ull << 59) /* itemprop="articleBody" */

/* Named character references, sorted by name, as html.entities has them. */
struct entities {
    const uint8_t *names;
    const uint32_t *name_ends;
    const uint8_t *values;
    const uint32_t *value_ends;
    uint32_t count;
};

/* A block-level element. */
struct node {
    int32_t parent;
    int32_t first, end; /* its blocks */
    uint32_t look;      /* hash of tag and class: equal for parts made by one template */
    uint32_t names[4];  /* start and length in the HTML of its class and id */
    uint64_t own, all;  /* groups: its own, and those of its ancestors too (without <body> and <html>) */
    float sum, low, high, near; /* weights of its and its ancestors' class words */
    float body;         /* running text inside, in characters */
    uint32_t length, linked, blocks;
    uint16_t depth;
    uint8_t tag;
    uint8_t level;      /* heading level of headings */
    bool fostered;      /* in a table, in none of its cells */
};

/* A run of text between two boundaries. */
struct block {
    uint32_t start, length; /* bytes of the page's text */
    uint32_t linked;        /* bytes inside links */
    uint32_t bold;          /* bytes inside <b> and <strong> */
    uint32_t source;        /* byte offset in the HTML */
    uint32_t markup;        /* bytes of HTML it came from */
    int32_t node;
    uint32_t list;          /* number of the innermost list or table; 0: none */
    uint32_t ordinal;       /* of an <ol>'s item; 0: bullet */
    uint64_t groups;        /* of inline elements that hold all of it */
    uint32_t chars, words, digits, capitals, commas, stops; /* chars: code points, ideographs twice */
    uint16_t links, breaks; /* <a> and <br> inside */
    uint8_t depth;          /* lists around it */
    bool item;              /* begins an item */
    bool pre;
    bool row, head;         /* a table's row; of <th> only */
    bool after_break;       /* after two <br> */
    bool ends;              /* with a full stop or the like */
    bool gone;              /* merged into a row */
    uint8_t maths;          /* formulas inside */
};

struct page {
    const uint8_t *html;
    size_t size;
    struct buffer text;  /* of all blocks */
    struct buffer facts; /* rows as tokens.h says: the title, the first <h1>, what the page says of itself */
    struct buffer out;   /* the rendered main text */
    struct node *nodes;
    struct block *blocks;
    size_t node_count, node_capacity, block_count, block_capacity;
    uint32_t title, title_length; /* in `facts` */
    uint32_t said;       /* types of page that it names: a bit each, see note_type */
    bool docbook;        /* made by DocBook's style sheets: its body is text but for what is named so */
    uint32_t documented; /* marks of documentation: permalinks of headings, the name of a generator */
    int fault;           /* 0 or FAULT_MEMORY */
};

enum { FAULT_MEMORY = 1 };
enum { MAX_OPEN = 512 };
/* Elements and blocks that a page of so many bytes may have: one in ten bytes, and some for small pages. Each takes
   about a hundred bytes of memory, so that no page takes more than ten times what plain text of its length does. */
static inline size_t gm_most_parts(size_t bytes) { return 4096 + bytes / 10; }

/* Adds a row of facts that has a name and a text without zero bytes. */
void gm_html_add_fact(struct page *page, const char *name, const uint8_t *text, size_t length);

#endif
