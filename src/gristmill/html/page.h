/* An HTML page as blocks of text, and what the choice among them needs to know. See parse.c. */
#ifndef GRISTMILL_HTML_H
#define GRISTMILL_HTML_H
#include "buffer.h"
#include "word_table.h"

/* Elements that matter to the parser; every other name is T_OTHER. Names in alphabetical order. */
/* clang-format off */
#define TAGS(X)                                                                                                        \
    X(A, "a", FORMAT) X(ADDRESS, "address", BLOCK | CLOSES_P) X(APPLET, "applet", SCOPE | FALLBACK)                    \
    X(AREA, "area", VOID) X(ARTICLE, "article", BLOCK | CLOSES_P) X(ASIDE, "aside", BLOCK | CLOSES_P)                  \
    X(AUDIO, "audio", FALLBACK) X(B, "b", FORMAT) X(BASE, "base", VOID) X(BIG, "big", FORMAT)                          \
    X(BLOCKQUOTE, "blockquote", BLOCK | CLOSES_P) X(BODY, "body", BLOCK) X(BR, "br", VOID) X(BUTTON, "button", SCOPE)  \
    X(CANVAS, "canvas", FALLBACK) X(CAPTION, "caption", BLOCK | SCOPE) X(CENTER, "center", BLOCK | CLOSES_P)           \
    X(CODE, "code", FORMAT) X(COL, "col", VOID) X(DATALIST, "datalist", SKIP) X(DD, "dd", BLOCK | CLOSES_P)            \
    X(DESC, "desc", SCOPE | SKIP) X(DETAILS, "details", BLOCK | CLOSES_P) X(DIALOG, "dialog", BLOCK | CLOSES_P) X(DIR, "dir", BLOCK | CLOSES_P)      \
    X(DIV, "div", BLOCK | CLOSES_P) X(DL, "dl", BLOCK | CLOSES_P) X(DT, "dt", BLOCK | CLOSES_P) X(EM, "em", FORMAT)    \
    X(EMBED, "embed", VOID) X(FIELDSET, "fieldset", BLOCK | CLOSES_P) X(FIGCAPTION, "figcaption", BLOCK | CLOSES_P)    \
    X(FIGURE, "figure", BLOCK | CLOSES_P) X(FONT, "font", FORMAT) X(FOOTER, "footer", BLOCK | CLOSES_P)                \
    X(FOREIGNOBJECT, "foreignobject", SCOPE | SKIP) X(FORM, "form", BLOCK | CLOSES_P) X(FRAME, "frame", VOID) X(FRAMESET, "frameset", 0)          \
    X(H1, "h1", BLOCK | CLOSES_P) X(H2, "h2", BLOCK | CLOSES_P) X(H3, "h3", BLOCK | CLOSES_P)                          \
    X(H4, "h4", BLOCK | CLOSES_P) X(H5, "h5", BLOCK | CLOSES_P) X(H6, "h6", BLOCK | CLOSES_P) X(HEAD, "head", 0)       \
    X(HEADER, "header", BLOCK | CLOSES_P) X(HGROUP, "hgroup", BLOCK | CLOSES_P) X(HR, "hr", VOID | CLOSES_P)           \
    X(HTML, "html", SCOPE) X(I, "i", FORMAT) X(IFRAME, "iframe", RAW) X(IMG, "img", VOID) X(INPUT, "input", VOID)      \
    X(LEGEND, "legend", BLOCK) X(LI, "li", BLOCK | CLOSES_P) X(LINK, "link", VOID)                                     \
    X(LISTING, "listing", BLOCK | CLOSES_P) X(MAIN, "main", BLOCK | CLOSES_P) X(MAP, "map", 0)                         \
    X(MARQUEE, "marquee", SCOPE) X(MATH, "math", 0) X(MENU, "menu", BLOCK | CLOSES_P) X(META, "meta", VOID) X(METER, "meter", FALLBACK)            \
    X(NAV, "nav", BLOCK | CLOSES_P) X(NOBR, "nobr", FORMAT) X(NOEMBED, "noembed", RAW) X(NOFRAMES, "noframes", RAW)    \
    X(NOSCRIPT, "noscript", FALLBACK) X(OBJECT, "object", SCOPE | FALLBACK) X(OL, "ol", BLOCK | CLOSES_P)              \
    X(OPTGROUP, "optgroup", 0) X(OPTION, "option", 0) X(P, "p", BLOCK | CLOSES_P) X(PARAM, "param", VOID)              \
    X(PLAINTEXT, "plaintext", BLOCK | CLOSES_P) X(PRE, "pre", BLOCK | CLOSES_P) X(PROGRESS, "progress", FALLBACK) X(RB, "rb", 0) X(RP, "rp", SKIP)       \
    X(RT, "rt", SKIP) X(RTC, "rtc", SKIP) X(RUBY, "ruby", 0) X(S, "s", FORMAT) X(SCRIPT, "script", RAW)                \
    X(SEARCH, "search", BLOCK | CLOSES_P) X(SECTION, "section", BLOCK | CLOSES_P) X(SELECT, "select", SKIP)            \
    X(SMALL, "small", FORMAT) X(SOURCE, "source", VOID) X(SPAN, "span", 0) X(STRIKE, "strike", FORMAT)                 \
    X(STRONG, "strong", FORMAT) X(STYLE, "style", RAW) X(SUB, "sub", 0) X(SUMMARY, "summary", BLOCK | CLOSES_P)        \
    X(SUP, "sup", 0) X(SVG, "svg", SKIP) X(TABLE, "table", BLOCK | SCOPE) X(TBODY, "tbody", BLOCK)                     \
    X(TD, "td", BLOCK | SCOPE) X(TEMPLATE, "template", SCOPE | SKIP) X(TEXTAREA, "textarea", RAW)                      \
    X(TFOOT, "tfoot", BLOCK) X(TH, "th", BLOCK | SCOPE) X(THEAD, "thead", BLOCK) X(TITLE, "title", RAW)                \
    X(TR, "tr", BLOCK) X(TRACK, "track", VOID) X(TT, "tt", FORMAT) X(U, "u", FORMAT) X(UL, "ul", BLOCK | CLOSES_P)     \
    X(VAR, "var", 0) X(VIDEO, "video", FALLBACK) X(WBR, "wbr", VOID) X(XMP, "xmp", BLOCK | RAW | CLOSES_P)

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
    BLOCK = 1,    /* breaks the line: begins and ends blocks of text */
    VOID = 2,     /* has no end tag */
    SKIP = 4,     /* its text is not the page's */
    RAW = 8,      /* its content is text up to its end tag */
    FORMAT = 16,  /* may be closed across block boundaries */
    CLOSES_P = 32,
    SCOPE = 64,    /* end tags do not look beyond it */
    FALLBACK = 128 /* shown only where something else is not */
};
_Static_assert(FALLBACK <= UINT8_MAX, "kinds are kept as uint8_t");

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
