/* Text of blocks: white space, character references, invisible characters; and what a text is made of. */
#include "parser.h"

#include <string.h>

#include "../c/utf8.h"

bool gm_html_put(struct parser *parser, const void *bytes, size_t length) {
    if (gm_buffer_add(&parser->page->text, bytes, length)) return true;
    parser->page->fault = FAULT_MEMORY;
    return false;
}

/* Whether words stand on both sides of here: no bracket opens before, and a letter or digit follows of a script that
   writes spaces (UTF-8 leads below those of punctuation and ideographs). */
static bool between_words(const struct buffer *text, uint8_t next) {
    if (!gm_is_letter(next) && (uint8_t)(next - '0') > 9 && !(next >= 0xC3 && next <= 0xE1)) return false;
    size_t at = text->length - 1;
    if (text->at[at] < 0x80) return text->at[at] > ' ' && !strchr("([{<\"'/-_#@", text->at[at]);
    while (at > 0 && (text->at[at] & 0xC0) == 0x80) at--;
    return text->at[at] <= 0xE2 && memcmp(text->at + at, "\xE2\x80", 2);
}

/* Adds visible bytes to the block. */
void gm_html_add_visible(struct parser *parser, const uint8_t *bytes, size_t length) {
    struct block *block = &parser->block;
    uint64_t groups = parser->stack[parser->depth - 1].groups;
    if (!parser->any) {
        block->source = (uint32_t)(parser->at - parser->page->html);
        block->groups = groups;
        parser->any = true;
    } else {
        block->groups &= groups;
        bool space = parser->space & SPACE || (parser->space && between_words(&parser->page->text, *bytes));
        if (space && !gm_html_put(parser, " ", 1)) return;
    }
    parser->space = 0;
    parser->breaks = 0;
    if (parser->links) block->linked += (uint32_t)length;
    if (parser->bolds) block->bold += (uint32_t)length;
    gm_html_put(parser, bytes, length);
}

enum { PLAIN, WHITE, REFERENCE, DROPPED, LEAD_C2, LEAD_E2, LEAD_E3, LEAD_EF };

/* What a byte may begin, for the fast way over plain text. */
static inline int byte_class(uint8_t c) {
    if (c > ' ' && c < 0x7F) return c == '&' ? REFERENCE : PLAIN;
    if (c <= ' ') return gm_is_space(c) ? WHITE : DROPPED;
    if (c == 0x7F) return DROPPED;
    return c == 0xC2 ? LEAD_C2 : c == 0xE2 ? LEAD_E2 : c == 0xE3 ? LEAD_E3 : c == 0xEF ? LEAD_EF : PLAIN;
}

/* How many bytes of white (or no) space are here: non-breaking, ideographic and zero-width spaces, soft hyphens. */
static size_t odd_space(const uint8_t *at, const uint8_t *end, bool *white) {
    size_t length;
    uint32_t c = gm_character(at, end, &length);
    *white = c == 0x85 || c == 0xA0 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
             c == 0x3000;
    return *white || c == 0xAD || c == 0x200B || c == 0x200E || c == 0x200F || c == 0xFEFF ? length : 0;
}

/* Text in <pre>: kept as it is, less control characters. */
static void add_preformatted(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    while (at < end && !parser->page->fault) {
        const uint8_t *start = at;
        while (at < end && *at != '&' && *at != '\r' && (*at >= ' ' || *at == '\n' || *at == '\t')) at++;
        if (at > start) {
            bool visible = false;
            for (const uint8_t *c = start; c < at && !visible; c++) visible = !gm_is_space(*c);
            if (visible) gm_html_add_visible(parser, start, (size_t)(at - start));
            else gm_html_put(parser, start, (size_t)(at - start));
        } else if (*at == '&') {
            uint8_t out[8];
            size_t length;
            at = gm_read_reference(at, end, parser->entities, false, out, &length);
            if (byte_class(*out) != DROPPED) gm_html_add_visible(parser, out, length);
        } else {
            if (*at == '\r' && !(at + 1 < end && at[1] == '\n')) gm_html_put(parser, "\n", 1);
            at++;
        }
    }
}

/* Text with white space made one space, references decoded, invisible characters left out. */
void gm_html_add_text(struct parser *parser, const uint8_t *at, const uint8_t *end) {
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
        if (at > start) gm_html_add_visible(parser, start, (size_t)(at - start));
        if (at == end) return;
        if (found == WHITE) {
            parser->space = SPACE, at++;
        } else if (found == REFERENCE) {
            at = gm_read_reference(at, end, parser->entities, false, out, &length);
            if (length == 1 && gm_is_space(*out)) parser->space = SPACE;
            else if (odd_space(out, out + length, &white) == length) parser->space |= white;
            else if (byte_class(*out) != DROPPED) gm_html_add_visible(parser, out, length);
        } else if (found == DROPPED) {
            at++;
        } else if ((length = odd_space(at, end, &white))) {
            parser->space |= white, at += length;
        } else {
            gm_character(at, end, &length);
            gm_html_add_visible(parser, at, length), at += length;
        }
    }
}

void gm_html_add_raw(struct parser *parser, const uint8_t *at, const uint8_t *end) {
    static const uint8_t replacement[] = {0xEF, 0xBF, 0xBD};
    while (at < end) {
        const uint8_t *next = at;
        while (next < end && *next && *next != '&') next++;
        if (next > at) gm_html_add_text(parser, at, next);
        else if (*next++) gm_html_add_text(parser, at, next);
        else gm_html_add_text(parser, replacement, replacement + sizeof replacement);
        at = next;
    }
}

void gm_html_end_line(struct parser *parser, size_t start) {
    const struct buffer *text = &parser->page->text;
    if (parser->skips || (text->length == parser->block.start && start == SIZE_MAX)) return;
    if (text->length == start || (text->length && text->at[text->length - 1] != '\n')) gm_html_put(parser, "\n", 1);
}

/* Markdown has marks of HTML for it: 10<sup>6</sup> is no 106. */
int32_t gm_html_begin_script(struct parser *parser, enum tag tag) {
    if (parser->skips || parser->pres) return 0;
    gm_html_add_visible(parser, (const uint8_t *)(tag == T_SUB ? "<sub>" : "<sup>"), 5);
    parser->space = 0;
    return (int32_t)parser->page->text.length;
}

void gm_html_end_script(struct parser *parser, const struct open *script) {
    struct buffer *text = &parser->page->text;
    if ((size_t)script->counter < parser->block.start + 5) return; /* a block has ended inside */
    if (text->length > (size_t)script->counter) {
        gm_html_put(parser, script->tag == T_SUB ? "</sub>" : "</sup>", 6);
        return;
    }
    text->length -= 5;
    parser->any = text->length > parser->block.start;
}

void gm_html_measure(const uint8_t *text, struct block *block) {
    bool word = false;
    uint32_t ideographs = 0, unspaced = 0;
    const uint8_t *end = text + block->length;
    size_t length = 1;
    for (const uint8_t *at = text; at < end; at += length) {
        uint32_t c = *at;
        block->chars++;
        if (c < 0x80) {
            bool letter = gm_is_letter(*at), digit = c - '0' < 10;
            length = 1;
            block->words += (letter || digit) && !word;
            block->digits += digit;
            block->capitals += letter && c < 'a';
            block->commas += c == ',' || c == ';';
            block->stops += c == '.' || c == '!' || c == '?';
            word = letter || digit || (word && (c == '\'' || c == '-'));
            continue;
        }
        c = gm_character(at, end, &length);
        block->commas += c == 0x060C || c == 0x3001 || c == 0xFF0C;
        block->stops +=
            c == 0x061F || c == 0x0964 || c == 0x0965 || c == 0x2026 || c == 0x3002 || c == 0xFF01 || c == 0xFF1F;
        if (c >= 0x3000 && c < 0xA000) { /* kana, ideographs and their punctuation */
            ideographs++, word = false;
        } else if (c < 0xC0 || (c >= 0x2000 && c < 0x3000) || (c >= 0xFF00 && c < 0xFF40)) {
            word = false; /* signs: dashes, quotes, dots, bullets, arrows, full-width ones */
        } else if ((c >= 0x0E00 && c < 0x0F00) || (c >= 0x1000 && c < 0x10C0) || (c >= 0x1780 && c < 0x17C0)) {
            unspaced++, word = false; /* Thai, Lao, Burmese, Khmer */
        } else {
            block->words += !word, word = true;
        }
    }
    block->chars += ideographs;
    block->words += ideographs / 2 + unspaced / 5;
}

bool gm_html_ends(const uint8_t *text, size_t length) {
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
