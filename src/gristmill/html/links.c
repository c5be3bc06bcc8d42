/* The links of a page and what it says of itself, without its text: see tokens.h. */
#include "tokens.h"

#include <string.h>

/* The attribute that names another page or, of <meta>, says something of this one; A_ALT for tags that have none. */
static const enum attribute SUBJECT[T_COUNT] = {
    [T_A] = A_HREF,       [T_AREA] = A_HREF, [T_BASE] = A_HREF,  [T_LINK] = A_HREF,
    [T_META] = A_CONTENT, [T_FRAME] = A_SRC, [T_IFRAME] = A_SRC,
};

bool gm_is_link(const struct tag_token *token) {
    enum attribute subject = SUBJECT[token->tag];
    return subject != A_ALT && token->present >> subject & 1;
}

/* Value, relation and type of a row. */
static void fields(const struct tag_token *token, struct slice field[3]) {
    bool meta = token->tag == T_META;
    field[0] = token->value[SUBJECT[token->tag]];
    field[1] = token->value[!meta ? A_REL : token->present >> A_NAME & 1 ? A_NAME : A_PROPERTY];
    field[2] = token->value[meta ? A_HTTP_EQUIV : A_TYPE];
}

static uint8_t *write_value(struct slice value, const struct entities *entities, uint8_t *out) {
    const uint8_t *at = value.at, *end = at + value.length;
    while (at < end) {
        const uint8_t *start = at;
        while (at < end && *at && *at != '&') at++;
        memcpy(out, start, (size_t)(at - start));
        out += at - start;
        if (at == end) break;
        size_t length = 3;
        if (*at) at = gm_read_reference(at, end, entities, true, out, &length);
        else memcpy(out, "\xEF\xBF\xBD", length), at++;
        out += length;
    }
    *out = 0;
    return out + 1;
}

uint8_t *gm_write_link(const struct tag_token *token, const struct entities *entities, uint8_t *out) {
    struct slice field[3];
    const char *name = gm_tag_name(token->tag);
    size_t length = strlen(name) + 1;
    memcpy(out, name, length);
    out += length;
    fields(token, field);
    for (int i = 0; i < 3; i++) out = write_value(field[i], entities, out);
    return out;
}

/* Writes the rows of a page of UTF-8 into `out`, which has room for LINK_GROWTH times the page; returns their length. */
size_t gm_html_links(const uint8_t *html, size_t size, const struct entities *entities, unsigned xml, uint8_t *out) {
    const uint8_t *at = html, *end = html + size;
    uint8_t *start = out;
    struct tag_token token;
    int foreign = 0; /* open <svg> and <math> */
    while (at < end && (at = memchr(at, '<', (size_t)(end - at)))) {
        uint8_t next = end - at > 1 ? at[1] : 0;
        if (gm_is_letter(next) || (next == '/' && end - at > 2 && gm_is_letter(at[2]))) {
            at = gm_read_tag(at, end, &token);
            if (!at) break; /* the file ends within a tag: no tag */
            bool closed = token.closed && (xml || foreign || token.tag == T_SVG || token.tag == T_MATH);
            if (!token.end && gm_is_link(&token)) out = gm_write_link(&token, entities, out);
            if (token.end) {
                if ((token.tag == T_SVG || token.tag == T_MATH) && foreign) foreign--;
            } else if (closed) { /* <title/> and <style/> have an end in foreign content alone */
                continue;
            } else if (token.tag == T_SVG || token.tag == T_MATH) {
                foreign++;
            } else if (gm_tag_kind(token.tag) & RAW) {
                at = gm_raw_end(at, end, token.tag);
            }
        } else if (next == '!' || next == '?' || next == '/') {
            at = gm_skip_comment(at, end);
        } else {
            at++;
        }
    }
    return (size_t)(out - start);
}
