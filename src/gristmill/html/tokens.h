/* Tokens of HTML (WHATWG, §13.2.5 Tokenization): tags with the attributes that we look at, and decoded text. */
#ifndef GRISTMILL_HTML_TOKENS_H
#define GRISTMILL_HTML_TOKENS_H
#include "page.h"

struct slice {
    const uint8_t *at;
    size_t length;
};

/* clang-format off */
#define ATTRIBUTES(X)                                                                                                  \
    X(ALT, "alt") X(ALTTEXT, "alttext") X(ARIA_HIDDEN, "aria-hidden") X(CLASS, "class") X(CONTENT, "content")          \
    X(DISPLAY, "display") X(HIDDEN, "hidden") X(HREF, "href") X(HTTP_EQUIV, "http-equiv") X(ID, "id")                  \
    X(ITEMPROP, "itemprop") X(ITEMTYPE, "itemtype") X(LANG, "lang") X(NAME, "name") X(PROPERTY, "property") X(REL, "rel") X(ROLE, "role")      \
    X(SHADOWROOTMODE, "shadowrootmode") X(SRC, "src") X(START, "start") X(STYLE, "style") X(TYPE, "type")

enum attribute {
#define X(id, name) A_##id,
    ATTRIBUTES(X)
#undef X
    A_COUNT
};
/* clang-format on */
_Static_assert(A_COUNT <= 32, "tag_token.present has a bit for each attribute");

struct tag_token {
    enum tag tag;
    uint32_t name;         /* hash of a T_OTHER's name, 0 of others */
    bool end;              /* </name> */
    bool closed;           /* <name/> */
    uint32_t present;      /* bit a: attribute a is there */
    struct slice value[A_COUNT];
};

unsigned gm_tag_kind(enum tag tag);
const char *gm_tag_name(enum tag tag);
/* Reads the tag that begins at `at` ("<" and a letter, or "</" and a letter); returns what follows, or NULL at the end
   of the page. */
const uint8_t *gm_read_tag(const uint8_t *at, const uint8_t *end, struct tag_token *token);
/* The end tag of a raw text element, or `end`. */
const uint8_t *gm_raw_end(const uint8_t *at, const uint8_t *end, enum tag tag);
/* What follows a comment, doctype or the like that begins at `at` ("<!", "<?" or "</"). */
const uint8_t *gm_skip_comment(const uint8_t *at, const uint8_t *end);
/* Decodes the character reference that begins at `at` ("&") into `out` (8 bytes); returns what follows it. In an
   attribute's value one without ";" before "=", a letter or a digit is text (§13.2.5.73): `?a=1&copy=2`. */
const uint8_t *gm_read_reference(const uint8_t *at, const uint8_t *end, const struct entities *entities, bool attribute,
                                 uint8_t *out, size_t *length);
bool gm_slice_is(struct slice slice, const char *text);        /* `text` is in lower case, the slice in any */
bool gm_slice_has(struct slice slice, const char *text);       /* anywhere inside */
bool gm_slice_has_word(struct slice slice, const char *words); /* one of several, all separated by spaces */

/* ---- the tags by which a page names other pages and says what may be done with it: links.c ---- */

/* Whether a start tag is one of them: <a>, <area>, <base> and <link> with href, <frame> and <iframe> with src, <meta>
   with content. */
bool gm_is_link(const struct tag_token *token);
enum { LINK_GROWTH = 3 }; /* a zero byte becomes the three of U+FFFD; no reference grows by as much */
/* Writes a row: tag, href (src of a frame, content of <meta>), rel (name or property of <meta>) and type (http-equiv of
   <meta>), references decoded, each ended by a zero byte, which no value can hold (§13.2.5.36 makes U+FFFD of it). It
   is never longer than LINK_GROWTH times its tag in the page. Returns what follows the row. */
uint8_t *gm_write_link(const struct tag_token *token, const struct entities *entities, uint8_t *out);

static inline bool gm_is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13 && c != 11); }
static inline bool gm_is_letter(uint8_t c) { return (uint8_t)((c | 32) - 'a') < 26; }

#endif
