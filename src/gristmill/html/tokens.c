/* Tokens of HTML: see tokens.h. */
#include "tokens.h"

#include <string.h>

enum { LONGEST_TAG = 16, LONGEST_REFERENCE = 32 };

static const struct {
    const char *name;
    uint8_t length;
    uint16_t kind;
} TAG[T_COUNT] = {{"", 0, 0},
#define X(id, name, kind) {name, sizeof(name) - 1, kind},
                  TAGS(X)
#undef X
};

unsigned gm_tag_kind(enum tag tag) { return TAG[tag].kind; }
const char *gm_tag_name(enum tag tag) { return TAG[tag].name; }

static bool is_text(struct slice slice, const char *text, size_t length) {
    if (slice.length != length) return false;
    for (size_t i = 0; i < length; i++)
        if (gm_lower(slice.at[i]) != (uint8_t)text[i]) return false;
    return true;
}

bool gm_slice_is(struct slice slice, const char *text) { return is_text(slice, text, strlen(text)); }

bool gm_slice_has(struct slice slice, const char *text) {
    size_t length = strlen(text);
    for (size_t i = 0; i + length <= slice.length; i++)
        if (gm_lower(slice.at[i]) == (uint8_t)text[0] && is_text((struct slice){slice.at + i, length}, text, length))
            return true;
    return false;
}

bool gm_slice_has_word(struct slice slice, const char *words) {
    size_t at = 0;
    while (at < slice.length) {
        while (at < slice.length && gm_is_space(slice.at[at])) at++;
        size_t start = at;
        while (at < slice.length && !gm_is_space(slice.at[at])) at++;
        const char *known = words;
        for (size_t length; *known; known += length + (known[length] == ' ')) {
            length = strcspn(known, " ");
            if (is_text((struct slice){slice.at + start, at - start}, known, length)) return true;
        }
    }
    return false;
}

/* Whether a name is before another (below zero), the same (0) or after it. */
static int order_of(const uint8_t *name, size_t length, const uint8_t *other, size_t known) {
    int order = memcmp(name, other, length < known ? length : known);
    return order ? order : (length > known) - (length < known);
}

/* The tag of a lower-case name, by halving. */
static enum tag find_tag(const uint8_t *name, size_t length) {
    size_t low = 1, high = T_COUNT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = order_of(name, length, (const uint8_t *)TAG[middle].name, TAG[middle].length);
        if (!order) return (enum tag)middle;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return T_OTHER;
}

static const char *const ATTRIBUTE[A_COUNT] = {
#define X(id, name) name,
    ATTRIBUTES(X)
#undef X
};

/* Keeps an attribute that we know; of two with one name the first counts. */
static void keep_attribute(struct tag_token *token, struct slice name, struct slice value) {
    if (name.length < 2 || name.length > sizeof "shadowrootmode" - 1) return;
    for (unsigned a = 0; a < A_COUNT; a++) {
        if (ATTRIBUTE[a][0] != gm_lower(name.at[0]) || !gm_slice_is(name, ATTRIBUTE[a])) continue;
        if (!(token->present >> a & 1)) token->value[a] = value;
        token->present |= 1u << a;
        return;
    }
}

/* Reads what follows an attribute's name: nothing, or = and a value. */
static const uint8_t *read_value(const uint8_t *at, const uint8_t *end, struct slice *value) {
    *value = (struct slice){at, 0};
    const uint8_t *next = at;
    while (next < end && gm_is_space(*next)) next++;
    if (next == end || *next != '=') return at;
    next++;
    while (next < end && gm_is_space(*next)) next++;
    if (next == end) return end;
    if (*next == '"' || *next == '\'') {
        const uint8_t *close = memchr(next + 1, *next, (size_t)(end - next - 1));
        if (!close) return end;
        *value = (struct slice){next + 1, (size_t)(close - next - 1)};
        return close + 1;
    }
    const uint8_t *start = next;
    while (next < end && !gm_is_space(*next) && *next != '>') next++;
    *value = (struct slice){start, (size_t)(next - start)};
    return next;
}

const uint8_t *gm_read_tag(const uint8_t *at, const uint8_t *end, struct tag_token *token) {
    uint8_t name[LONGEST_TAG];
    size_t length = 0;
    *token = (struct tag_token){.end = at[1] == '/'}; /* absent attributes are empty */
    at += token->end ? 2 : 1;
    const uint8_t *begin = at;
    while (at < end && !gm_is_space(*at) && *at != '/' && *at != '>') {
        if (length < LONGEST_TAG) name[length] = gm_lower(*at);
        length++, at++;
    }
    token->tag = length <= LONGEST_TAG ? find_tag(name, length) : T_OTHER;
    if (token->tag == T_OTHER) token->name = gm_word_hash(begin, length);
    while (at < end) {
        if (gm_is_space(*at)) {
            at++;
        } else if (*at == '/') {
            token->closed = ++at < end && *at == '>';
        } else if (*at == '>') {
            return at + 1;
        } else {
            const uint8_t *start = at++; /* a name may begin with = */
            while (at < end && !gm_is_space(*at) && *at != '/' && *at != '>' && *at != '=') at++;
            struct slice value;
            const uint8_t *close = at;
            at = read_value(at, end, &value);
            keep_attribute(token, (struct slice){start, (size_t)(close - start)}, value);
        }
    }
    return NULL;
}

/* Whether "</name" or "<name" with something that ends the name is here. */
static bool names(const uint8_t *at, const uint8_t *end, const char *name, size_t length) {
    if ((size_t)(end - at) <= length) return false;
    uint8_t after = at[length];
    return (gm_is_space(after) || after == '/' || after == '>') && gm_slice_is((struct slice){at, length}, name);
}

const uint8_t *gm_raw_end(const uint8_t *at, const uint8_t *end, enum tag tag) {
    const char *name = TAG[tag].name;
    size_t length = TAG[tag].length;
    bool escaped = false, twice = false; /* script data (double) escaped states: <!-- and <script inside a script */
    for (;; at++) {
        const uint8_t *found = memchr(at, '<', (size_t)(end - at));
        if (tag == T_SCRIPT && escaped) {
            const uint8_t *limit = found ? found : end;
            for (const uint8_t *dash = at; (dash = memchr(dash, '-', (size_t)(limit - dash))); dash++)
                if (end - dash >= 3 && dash[1] == '-' && dash[2] == '>') {
                    escaped = twice = false;
                    break;
                }
        }
        if (!found || end - found < 2) return end;
        at = found;
        if (at[1] == '/' && names(at + 2, end, name, length)) {
            if (!twice) return at;
            twice = false;
        } else if (tag == T_SCRIPT && !escaped && end - at >= 4 && !memcmp(at, "<!--", 4)) {
            escaped = true;
            at += 1; /* <!--> ends it at once */
        } else if (escaped && names(at + 1, end, name, length)) {
            twice = true;
        }
    }
}

const uint8_t *gm_skip_comment(const uint8_t *at, const uint8_t *end) {
    if (end - at < 4 || memcmp(at, "<!--", 4)) {
        const uint8_t *close = memchr(at, '>', (size_t)(end - at));
        return close ? close + 1 : end;
    }
    at += 4;
    if (at < end && *at == '>') return at + 1;
    if (end - at >= 2 && at[0] == '-' && at[1] == '>') return at + 2;
    for (; (at = memchr(at, '-', (size_t)(end - at))); at++) {
        if (end - at >= 3 && at[1] == '-' && at[2] == '>') return at + 3;
        if (end - at >= 4 && at[1] == '-' && at[2] == '!' && at[3] == '>') return at + 4;
    }
    return end;
}

static size_t put_utf8(uint32_t code, uint8_t *out) {
    if (code < 0x80) return out[0] = (uint8_t)code, 1;
    if (code < 0x800) return out[0] = (uint8_t)(0xC0 | code >> 6), out[1] = (uint8_t)(0x80 | (code & 63)), 2;
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12), out[1] = (uint8_t)(0x80 | (code >> 6 & 63));
        return out[2] = (uint8_t)(0x80 | (code & 63)), 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18), out[1] = (uint8_t)(0x80 | (code >> 12 & 63));
    return out[2] = (uint8_t)(0x80 | (code >> 6 & 63)), out[3] = (uint8_t)(0x80 | (code & 63)), 4;
}

/* What C1 codes mean to the web: windows-1252 (§13.2.5.80). */
static const uint16_t WINDOWS_1252[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                          0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                          0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                          0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};

static const uint8_t *read_number(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t *length) {
    const uint8_t *next = at + 2;
    bool hex = next < end && (*next | 32) == 'x';
    next += hex;
    const uint8_t *start = next;
    uint32_t code = 0;
    for (; next < end; next++) {
        uint8_t digit = (uint8_t)(*next - '0'), letter = (uint8_t)((*next | 32) - 'a');
        if (digit > 9) {
            if (!hex || letter > 5) break;
            digit = (uint8_t)(letter + 10);
        }
        if (code <= 0x10FFFF) code = code * (hex ? 16 : 10) + digit;
    }
    if (next == start) return out[0] = '&', *length = 1, at + 1;
    if (code >= 0x80 && code < 0xA0) code = WINDOWS_1252[code - 0x80];
    if (!code || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
    *length = put_utf8(code, out);
    return next + (next < end && *next == ';');
}

/* The number of a named reference, or -1. */
static int64_t find_entity(const struct entities *entities, const uint8_t *name, size_t length) {
    uint32_t low = 0, high = entities->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t start = middle ? entities->name_ends[middle - 1] : 0;
        int order = order_of(name, length, entities->names + start, entities->name_ends[middle] - start);
        if (!order) return middle;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return -1;
}

static bool is_alphanumeric(uint8_t c) { return gm_is_letter(c) || (uint8_t)(c - '0') < 10; }

const uint8_t *gm_read_reference(const uint8_t *at, const uint8_t *end, const struct entities *entities, bool attribute,
                                 uint8_t *out, size_t *length) {
    if (end - at >= 3 && at[1] == '#') return read_number(at, end, out, length);
    const uint8_t *name = at + 1, *next = name;
    while (next < end && next - name < LONGEST_REFERENCE && is_alphanumeric(*next)) next++;
    size_t longest = (size_t)(next - name) + (next < end && *next == ';');
    for (size_t size = longest; size >= 2; size--) { /* `&notit;` is `&not` and "it;" */
        int64_t found = find_entity(entities, name, size);
        if (found < 0) continue;
        const uint8_t *after = name + size;
        if (attribute && after[-1] != ';' && after < end && (*after == '=' || is_alphanumeric(*after))) break;
        uint32_t start = found ? entities->value_ends[found - 1] : 0;
        *length = entities->value_ends[found] - start;
        memcpy(out, entities->values + start, *length);
        return after;
    }
    return out[0] = '&', *length = 1, at + 1;
}
