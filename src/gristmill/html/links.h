/* The tags by which a page names other pages and says what may be done with it. */
#ifndef GRISTMILL_HTML_LINKS_H
#define GRISTMILL_HTML_LINKS_H
#include "tokens.h"

/* Whether a start tag is one of them: <a>, <area>, <base> and <link> with href, <frame> and <iframe> with src, <meta>
   with content. */
bool gm_is_link(const struct tag_token *token);
/* The bytes that a row needs at most. */
size_t gm_link_room(const struct tag_token *token);
/* Writes a row: tag, href (src of a frame, content of <meta>), rel (name or property of <meta>) and type (http-equiv of
   <meta>), references decoded, each ended by a zero byte, which no value can hold (§13.2.5.36 makes U+FFFD of it). Returns what follows the row. */
uint8_t *gm_write_link(const struct tag_token *token, const struct entities *entities, uint8_t *out);

#endif
