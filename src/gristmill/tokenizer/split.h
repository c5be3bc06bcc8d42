/* Splitting text into the pieces within which BPE merges: the published patterns of the model families as hand-written
   matchers. The leftmost alternative wins, as in the regular expressions.

   Text is meant to be UTF-8. A byte that is not part of a valid sequence counts as one character of class OTHER, so that
   any bytes at all are read safely. */
#ifndef GRISTMILL_SPLIT_H
#define GRISTMILL_SPLIT_H
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "../c/hashing.h"
#include "../c/utf8.h"

#define INLINE static inline __attribute__((always_inline))

/* Classes of characters, as `unicode_classes.txt` has them. BREAK is \r and \n, SPACE the rest of \s. */
enum { OTHER, UPPER, LOWER, LETTER, MARK, NUMBER, SPACE, BREAK };
/* The patterns, in the order of `PATTERNS` in patterns.py. */
enum { QWEN2, LLAMA_BPE, GPT_4O, GPT_2, SMOLLM };

enum {
    LETTERS = 1 << UPPER | 1 << LOWER | 1 << LETTER,
    SPACES = 1 << SPACE | 1 << BREAK,
    SIGNS = 1 << OTHER | 1 << MARK,                   /* [^\s\p{L}\p{N}] */
    CAPITALS = 1 << UPPER | 1 << LETTER | 1 << MARK,  /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
    SMALL = 1 << LOWER | 1 << LETTER | 1 << MARK,     /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
    PREFIX = SIGNS | 1 << SPACE                       /* [^\r\n\p{L}\p{N}] */
};

struct text {
    const uint8_t *classes, *bytes;
    size_t n;
};

/* The class of the character at `at` < n as a bit, and how many bytes it has. */
INLINE unsigned class_at(struct text t, size_t at, size_t *length) {
    return 1u << t.classes[gm_character(t.bytes + at, t.bytes + t.n, length)];
}

/* The end of the run of characters whose class is in `set`. */
INLINE size_t run_of(struct text t, size_t at, unsigned set) {
    size_t length;
    while (at < t.n && class_at(t, at, &length) & set) at += length;
    return at;
}

/* How many of the 16 bytes at `bytes` are ASCII letters before the first that is none. */
INLINE size_t ascii_letters(const uint8_t *bytes) {
#ifdef __SSE2__
    __m128i lower = _mm_or_si128(_mm_loadu_si128((const __m128i *)bytes), _mm_set1_epi8(0x20));
    __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)), /* signed: bytes from 0x80 are less */
                                   _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1)));
    return (size_t)__builtin_ctz(~(unsigned)_mm_movemask_epi8(letter));
#else
    size_t count = 0;
    while (count < 16 && (uint8_t)((bytes[count] | 0x20) - 'a') < 26) count++;
    return count;
#endif
}

/* The end of a run of letters. */
INLINE size_t run_of_letters(struct text t, size_t at) {
    for (;;) {
        while (at + 16 <= t.n) {
            size_t letters = ascii_letters(t.bytes + at);
            at += letters;
            if (letters < 16) break;
        }
        if (at >= t.n || (t.bytes[at] < 0x80 && at + 16 <= t.n)) return at;
        size_t length;
        if (!(class_at(t, at, &length) & LETTERS)) return at;
        at += length;
        while (at < t.n && t.bytes[at] >= 0x80) { /* other scripts: a character at a time until the next ASCII one */
            if (!(class_at(t, at, &length) & LETTERS)) return at;
            at += length;
        }
    }
}

/* The end of 's 't 're 've 'm 'll 'd at `at`, in either case where `fold`; `at` itself where there is none. */
INLINE size_t contraction(struct text t, size_t at, bool fold) {
    if (at + 1 >= t.n || t.bytes[at] != '\'') return at;
    uint8_t mask = fold ? 0x20 : 0, first = t.bytes[at + 1] | mask;
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if (at + 2 >= t.n) return at;
    if (fold && t.bytes[at + 1] == 0xC5 && t.bytes[at + 2] == 0xBF) return at + 3; /* U+017F folds to s */
    uint8_t second = t.bytes[at + 2] | mask;
    bool found = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
    return found ? at + 3 : at;
}

/* `\s*[\r\n]+` where `breaks`, then `\s+(?!\S)`, then `\s+`; `at` begins a run of white space. */
INLINE size_t white_space(struct text t, size_t at, bool breaks) {
    size_t length = 1, last = at, end = at, after_break = 0;
    while (end < t.n) {
        unsigned class = class_at(t, end, &length);
        if (!(class & SPACES)) break;
        last = end;
        end += length;
        if (class & 1u << BREAK) after_break = end;
    }
    if (breaks && after_break) return after_break;
    return end == t.n || last == at ? end : last; /* what follows takes the last space along */
}

/* ` ?[^\s\p{L}\p{N}]+` and then any of [\r\n] (and / where `slash`) where `breaks`; `at` where it does not match. */
INLINE size_t signs(struct text t, size_t at, bool breaks, bool slash) {
    size_t from = at + (t.bytes[at] == ' '), end = run_of(t, from, SIGNS);
    if (end == from) return at;
    while (breaks && end < t.n && (t.bytes[end] == '\n' || t.bytes[end] == '\r' || (slash && t.bytes[end] == '/')))
        end++;
    return end;
}

/* `\p{N}{1,most}`; `at` begins a number. */
INLINE size_t numbers(struct text t, size_t at, int most) {
    size_t length;
    for (; most && at < t.n && class_at(t, at, &length) & 1u << NUMBER; most--) at += length;
    return at;
}

INLINE size_t qwen2_like(struct text t, size_t at, int digits) {
    size_t length, end = contraction(t, at, true);
    if (end > at) return end;
    unsigned class = class_at(t, at, &length);
    if (class & LETTERS) return run_of_letters(t, at + length);
    if (class & PREFIX && (end = run_of_letters(t, at + length)) > at + length) return end;
    if (class & 1u << NUMBER) return numbers(t, at, digits);
    if ((end = signs(t, at, true, false)) > at) return end;
    return white_space(t, at, true);
}

INLINE size_t qwen2(const uint8_t *classes, const uint8_t *bytes, size_t n, size_t at) {
    return qwen2_like((struct text){classes, bytes, n}, at, 1);
}

INLINE size_t llama_bpe(const uint8_t *classes, const uint8_t *bytes, size_t n, size_t at) {
    return qwen2_like((struct text){classes, bytes, n}, at, 3);
}

/* `[CAPITALS]*[SMALL]+`. The star gives back what the plus needs: the last of its characters that may be small. */
INLINE size_t ends_small(struct text t, size_t at) {
    size_t length, end = at, after_small = at;
    while (end < t.n) {
        unsigned class = class_at(t, end, &length);
        if (!(class & CAPITALS)) break;
        end += length;
        if (class & SMALL) after_small = end;
    }
    size_t further = run_of(t, end, SMALL);
    return further > end ? further : after_small;
}

/* `[CAPITALS]+[SMALL]*`. */
INLINE size_t begins_capital(struct text t, size_t at) {
    size_t end = run_of(t, at, CAPITALS);
    return end > at ? run_of(t, end, SMALL) : at;
}

INLINE size_t gpt_4o(const uint8_t *classes, const uint8_t *bytes, size_t n, size_t at) {
    struct text t = {classes, bytes, n};
    size_t length, end;
    unsigned class = class_at(t, at, &length);
    size_t after = class & PREFIX ? at + length : at; /* the prefix is tried first, then left out */
    if ((end = ends_small(t, after)) > after || (end = ends_small(t, at)) > at) return contraction(t, end, true);
    if ((end = begins_capital(t, after)) > after || (end = begins_capital(t, at)) > at)
        return contraction(t, end, true);
    if (class & 1u << NUMBER) return numbers(t, at, 3);
    if ((end = signs(t, at, true, true)) > at) return end;
    return white_space(t, at, true);
}

INLINE size_t gpt_2(const uint8_t *classes, const uint8_t *bytes, size_t n, size_t at) {
    struct text t = {classes, bytes, n};
    size_t end = contraction(t, at, false);
    if (end > at) return end;
    size_t from = at + (bytes[at] == ' ');
    if ((end = run_of_letters(t, from)) > from || (end = run_of(t, from, 1u << NUMBER)) > from) return end;
    if ((end = signs(t, at, false, false)) > at) return end;
    return white_space(t, at, false);
}

/* GPT-2's between single digits. */
INLINE size_t smollm(const uint8_t *classes, const uint8_t *bytes, size_t n, size_t at) {
    struct text t = {classes, bytes, n};
    size_t length, end;
    if (class_at(t, at, &length) & 1u << NUMBER) return at + length;
    end = run_of(t, at, SPACES);
    if (end > at && end < n && class_at(t, end, &length) & 1u << NUMBER) return end;
    return gpt_2(classes, bytes, n, at);
}

/* The end of the piece that begins at `at` < n; at least one byte further. */
typedef size_t (*gm_splitter)(const uint8_t *classes, const uint8_t *text, size_t n, size_t at);

/* Call `function(…, splitter)` with the splitter of a pattern, so that the compiler makes one copy for each. */
#define GM_WITH_SPLITTER(pattern, function, ...)                                                                       \
    ((pattern) == QWEN2       ? function(__VA_ARGS__, qwen2)                                                           \
     : (pattern) == LLAMA_BPE ? function(__VA_ARGS__, llama_bpe)                                                       \
     : (pattern) == GPT_4O    ? function(__VA_ARGS__, gpt_4o)                                                          \
     : (pattern) == GPT_2     ? function(__VA_ARGS__, gpt_2)                                                           \
                              : function(__VA_ARGS__, smollm))

/* A piece of at most 15 bytes as two words: the bytes, zeros, and the length in the topmost byte. */
struct gm_key {
    uint64_t low, high;
};

static inline struct gm_key gm_key_of(const uint8_t *text, size_t n, size_t at, size_t length) {
    uint8_t bytes[16] = {0};
    struct gm_key key;
    if (at + 16 <= n) { /* a load of fixed size and a mask are faster than a copy of `length` bytes */
        memcpy(&key, text + at, 16);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        uint64_t low = length >= 8 ? ~0ull : (1ull << 8 * length) - 1;
        uint64_t high = length <= 8 ? 0 : (1ull << 8 * (length - 8)) - 1;
        key.low &= low, key.high &= high;
        key.high |= (uint64_t)length << 56;
        return key;
#endif
    }
    memcpy(bytes, text + at, length);
    memcpy(&key, bytes, 16);
    key.high = (key.high & ~(0xFFull << 56)) | (uint64_t)length << 56;
    return key;
}

/* The place of a piece in a table, by its key or its bytes; another in every process. */
static inline uint64_t gm_key_place(struct gm_key key) { return gm_place(key.low, key.high); }

static inline uint64_t gm_bytes_place(const uint8_t *bytes, size_t length) {
    uint64_t place = length, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        place = gm_place(place, word);
    }
    word = 0;
    memcpy(&word, bytes, length);
    return gm_place(place, word);
}

#endif
