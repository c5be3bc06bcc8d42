/* The one reader of UTF-8: every room's C code takes its characters from here. */
#ifndef GM_UTF8_H
#define GM_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODE_POINTS = 0x110000, NO_CHARACTER = 0xFFFD };

static inline bool gm_continues(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* The character at `at` < `end`, and its length in bytes. Bytes that are not UTF-8 are one character each, NO_CHARACTER;
   so are those of too long a form, which might hide a line's end. Surrogates pass. */
static inline uint32_t gm_character(const uint8_t *at, const uint8_t *end, size_t *length) {
    uint32_t first = at[0], point;
    size_t left = (size_t)(end - at);
    *length = 1;
    if (first < 0x80) return first;
    if (first < 0xE0) {
        if (first < 0xC2 || left < 2 || !gm_continues(at[1])) return NO_CHARACTER;
        *length = 2;
        return (first & 0x1F) << 6 | (at[1] & 0x3F);
    }
    if (first < 0xF0) {
        if (left < 3 || !gm_continues(at[1]) || !gm_continues(at[2])) return NO_CHARACTER;
        point = (first & 0x0F) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3F);
        if (point < 0x800) return NO_CHARACTER;
        *length = 3;
        return point;
    }
    if (left < 4 || !gm_continues(at[1]) || !gm_continues(at[2]) || !gm_continues(at[3])) return NO_CHARACTER;
    point = (first & 0x0F) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3F);
    if (point < 0x10000 || point >= CODE_POINTS) return NO_CHARACTER; /* first bytes above F4 give greater ones */
    *length = 4;
    return point;
}

#endif
