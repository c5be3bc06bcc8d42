/* Finds the attributes of a few HTML tags without building a tree: a tokenizer after the WHATWG HTML standard §13.2.5,
 * as far as start tags and their attributes need it. It works on any encoding in which ASCII bytes are ASCII. */
#include <stdint.h>
#include <string.h>

static int is_space(uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r' || byte == '\f'; }

static int is_letter(uint8_t byte) { return (byte | 32) >= 'a' && (byte | 32) <= 'z'; }

/* Whether `word` (lower case) stands at `at`, in any case. */
static int stands(const uint8_t *text, int64_t at, int64_t end, const char *word) {
    for (; *word; word++, at++)
        if (at >= end || (text[at] >= 'A' && text[at] <= 'Z' ? text[at] | 32 : text[at]) != (uint8_t)*word) return 0;
    return 1;
}

/* Index of the name text[start:stop] in `names`, or -1. */
static int index_of(const uint8_t *text, int64_t start, int64_t stop, const char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if ((int64_t)strlen(names[i]) == stop - start && stands(text, start, stop, names[i])) return i;
    return -1;
}

/* Position after the next `-->` or `--!>` (or `>` of the empty comments `<!-->` and `<!--->`). */
static int64_t after_comment(const uint8_t *text, int64_t at, int64_t end) {
    if (at < end && text[at] == '>') return at + 1;
    if (at + 1 < end && text[at] == '-' && text[at + 1] == '>') return at + 2;
    while (at < end) {
        const uint8_t *dash = memchr(text + at, '-', (size_t)(end - at));
        if (!dash) return end;
        at = dash - text;
        if (at + 2 < end && text[at + 1] == '-') {
            if (text[at + 2] == '>') return at + 3;
            if (text[at + 2] == '!' && at + 3 < end && text[at + 3] == '>') return at + 4;
        }
        at++;
    }
    return end;
}

/* Position of the end tag that closes an element whose content is no markup. */
static int64_t after_raw(const uint8_t *text, int64_t at, int64_t end, const char *name) {
    int64_t length = (int64_t)strlen(name);
    while (at < end) {
        const uint8_t *open = memchr(text + at, '<', (size_t)(end - at));
        if (!open) return end;
        at = open - text;
        int64_t after = at + 2 + length;
        if (at + 1 < end && text[at + 1] == '/' && stands(text, at + 2, end, name) &&
            (after >= end || is_space(text[after]) || text[after] == '/' || text[after] == '>'))
            return at;
        at++;
    }
    return end;
}

static const char *const TAGS[] = {"a", "area", "base", "link", "meta"};
static const char *const ATTRIBUTES[] = {"href", "rel", "name", "content", "type"};
static const char *const RAW[] = {"script", "style", "textarea", "title", "iframe", "xmp", "noembed", "noframes"};
enum { TAG_COUNT = 5, ATTRIBUTE_COUNT = 5, RAW_COUNT = 8, ROW = 5 };

/* Writes rows of (tag number, tag, attribute, start, stop) for every attribute of ATTRIBUTES on a tag of TAGS, the first
 * of each name; returns how many rows there are, at most `capacity`. `found` holds capacity x 5 numbers. */
int64_t tag_attributes(const uint8_t *text, int64_t end, int64_t *found, int64_t capacity) {
    int64_t at = 0, rows = 0, number = 0;
    while (at < end && rows < capacity) {
        const uint8_t *open = memchr(text + at, '<', (size_t)(end - at));
        if (!open) break;
        at = open - text + 1;
        if (at >= end) break;
        if (text[at] == '!') {
            if (stands(text, at, end, "!--")) at = after_comment(text, at + 3, end);
            continue;
        }
        int closing = text[at] == '/';
        if (closing) at++;
        if (at >= end || !is_letter(text[at])) continue;
        int64_t start = at;
        while (at < end && !is_space(text[at]) && text[at] != '/' && text[at] != '>') at++;
        int tag = closing ? -1 : index_of(text, start, at, TAGS, TAG_COUNT);
        int raw = closing ? -1 : index_of(text, start, at, RAW, RAW_COUNT);
        unsigned seen = 0;
        int64_t before = rows;
        number++;
        while (at < end && text[at] != '>') { /* attributes */
            if (is_space(text[at]) || text[at] == '/') {
                at++;
                continue;
            }
            int64_t name = at++; /* a leading `=` belongs to the name */
            while (at < end && !is_space(text[at]) && text[at] != '/' && text[at] != '>' && text[at] != '=') at++;
            int64_t name_end = at, value = at, value_end = at;
            while (at < end && is_space(text[at])) at++;
            if (at < end && text[at] == '=') {
                at++;
                while (at < end && is_space(text[at])) at++;
                if (at < end && (text[at] == '"' || text[at] == '\'')) {
                    const uint8_t *quote = memchr(text + at + 1, text[at], (size_t)(end - at - 1));
                    if (!quote) return before; /* the file ends within a tag: no tag */
                    value = at + 1;
                    value_end = quote - text;
                    at = value_end + 1;
                } else {
                    value = at;
                    while (at < end && !is_space(text[at]) && text[at] != '>') at++;
                    value_end = at;
                }
            }
            int which = tag < 0 ? -1 : index_of(text, name, name_end, ATTRIBUTES, ATTRIBUTE_COUNT);
            if (which >= 0 && !(seen & (1u << which)) && rows < capacity) {
                seen |= 1u << which;
                int64_t *row = found + ROW * rows++;
                row[0] = number, row[1] = tag, row[2] = which, row[3] = value, row[4] = value_end;
            }
        }
        if (at >= end) return before;
        if (raw >= 0) at = after_raw(text, at + 1, end, RAW[raw]);
    }
    return rows;
}
