/* What the quality rules count in a text, in one pass over its UTF-8 bytes and one over its words.

   The definitions are those of statistics.py, which has them in plain words; the order of the counts is shared with it.
   Time grows with the text's bytes; memory is about 45 bytes a word. */
#include <stdlib.h>
#include <string.h>

#include "../../c/hashing.h"
#include "../../c/utf8.h"

enum { ALPHABETIC = 1, WORD = 2, SPACE = 4, TERMINAL = 8, CLOSING = 16, JOINING = 32, BULLET = 64, MARK = 128 };
enum { EAST = 256, SOUTHEAST = 512, UNSPACED = EAST | SOUTHEAST, EAST_WORD = 2, SOUTHEAST_WORD = 4, WIDE = 0x3000 };
enum { CLASSES = 0x40000, SHORT_LINE = 30, TOP = 2, TOPS = 3, REPEATED = 5, REPEATS = 6 };
/* clang-format off */
enum {
    CHARACTERS, TOKENS, WORDS, WORD_CHARACTERS, UNSPACED_WORDS, STOP_WORDS, HASHES, ELLIPSES, CHUNKS, ALPHABETIC_CHUNKS, LONGEST_CHUNK,
    SENTENCES, LINES, LINE_CHARACTERS, BULLET_LINES, ELLIPSIS_LINES, TERMINAL_LINES, SHORT_LINES, REPEATED_LINES,
    REPEATED_LINE_CHARACTERS, PARAGRAPHS, REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS, TOP_NGRAMS,
    REPEATED_NGRAMS = TOP_NGRAMS + TOPS, COUNTS = REPEATED_NGRAMS + REPEATS
};
/* clang-format on */
static const char STOPS[][5] = {"the", "be", "to", "of", "and", "that", "have", "with"};

/* A set of 64-bit hashes that numbers its members in the order in which they came. */
struct set {
    uint32_t *slots; /* number + 1 of a member; 0: free */
    uint64_t *members;
    size_t mask, used;
};

/* Whether there was memory for it. */
static int set_open(struct set *set, size_t most) {
    size_t size = 16;
    while (size < 2 * most) size *= 2;
    set->slots = calloc(size, sizeof *set->slots);
    set->members = malloc(most * sizeof *set->members);
    set->mask = size - 1;
    set->used = 0;
    return set->slots && set->members;
}

static void set_close(struct set *set) {
    free(set->slots);
    free(set->members);
}

/* The number of a member, which is added where it is new. */
static inline uint32_t set_number(struct set *set, uint64_t hash) {
    size_t at = gm_place(hash, 0) & set->mask;
    while (set->slots[at]) {
        if (set->members[set->slots[at] - 1] == hash) return set->slots[at] - 1;
        at = (at + 1) & set->mask;
    }
    set->members[set->used] = hash;
    set->slots[at] = (uint32_t)++set->used;
    return (uint32_t)set->used - 1;
}

/* Whether it was a member already; it is one now. */
static inline int set_add(struct set *set, uint64_t hash) {
    size_t before = set->used;
    set_number(set, hash);
    return set->used == before;
}

#define CLASS(c) ((c) < CLASSES ? classes[c] : 0)

/* A word (letters, digits, underscores, joined by single ones of .,:'’ between them; of a script without spaces so many
   characters as its words have on average) or a run of one other character. */
struct token {
    uint64_t hash;
    size_t characters;
    uint32_t first;
    unsigned kinds; /* of all its characters together */
};

/* The token that begins with the character `c` at `text`, which has `left` bytes; returns its length in bytes. */
static size_t read_token(const uint8_t *text, size_t left, uint32_t c, size_t step, const uint16_t *classes,
                         struct token *token) {
    unsigned kind = CLASS(c), script = kind & WORD ? kind & UNSPACED : 0;
    size_t at = 0, most = script == EAST ? EAST_WORD : script ? SOUTHEAST_WORD : SIZE_MAX;
    *token = (struct token){GM_FNV64, 0, c, 0};
    for (;;) {
        token->characters++;
        token->kinds |= kind;
        for (size_t i = 0; i < step; i++) token->hash = gm_fnv64(token->hash, text[at + i]);
        at += step;
        if (at == left || token->characters == most) break;
        c = gm_character(text + at, text + left, &step);
        unsigned next = CLASS(c);
        if (token->kinds & WORD) {
            if (!(next & WORD)) {
                size_t beyond = at + step, unused;
                if (script || !(next & JOINING) || !(kind & WORD) || beyond == left) break;
                unsigned after = CLASS(gm_character(text + beyond, text + left, &unused));
                if (!(after & WORD) || after & UNSPACED) break;
            } else if ((next & UNSPACED) != script) {
                break;
            }
        } else if (c != token->first) break;
        kind = next;
    }
    token->hash = gm_mix(token->hash);
    return at;
}

struct words {
    uint64_t *hashes;
    uint32_t *ends; /* ends[i]: characters of the first i words together */
    size_t count, room;
};

static int words_add(struct words *words, const struct token *token) {
    if (words->count + 1 >= words->room) {
        size_t room = words->room ? 2 * words->room : 1024;
        uint64_t *hashes = realloc(words->hashes, room * sizeof *hashes);
        if (hashes) words->hashes = hashes;
        uint32_t *ends = realloc(words->ends, room * sizeof *ends);
        if (ends) words->ends = ends;
        if (!hashes || !ends) return 0;
        words->room = room;
        words->ends[0] = 0;
    }
    words->hashes[words->count] = token->hash;
    words->ends[words->count + 1] = words->ends[words->count] + (uint32_t)token->characters;
    words->count++;
    return 1;
}

/* The bit of a stop word; 0 for another word. */
static inline unsigned stop_word(const uint8_t *text, size_t bytes) {
    if (bytes < 2 || bytes > 4) return 0;
    for (unsigned i = 0; i < sizeof STOPS / sizeof *STOPS; i++) {
        size_t at = 0;
        while (at < bytes && (text[at] | 0x20) == STOPS[i][at]) at++;
        if (at == bytes && !STOPS[i][at]) return 1u << i;
    }
    return 0;
}

/* What is known of the line being read. */
struct line {
    uint64_t hash;
    size_t characters, trailing, wide;  /* trailing: white space so far at its end; wide: characters twice as broad */
    int bullet, open, closed, ellipsis; /* open: a sentence has begun; closed: it ends here if white space follows */
    int ended;                          /* it ends here whatever follows but more of its end */
};

static void end_line(struct line *line, int64_t *counts, struct set *lines, uint64_t *paragraph, size_t *length) {
    size_t characters = line->characters - line->trailing;
    counts[LINES]++;
    counts[LINE_CHARACTERS] += (int64_t)characters;
    counts[BULLET_LINES] += line->bullet;
    counts[ELLIPSIS_LINES] += line->ellipsis;
    counts[TERMINAL_LINES] += line->closed;
    counts[SHORT_LINES] += characters + line->wide < SHORT_LINE;
    counts[SENTENCES] += line->open;
    if (set_add(lines, line->hash)) {
        counts[REPEATED_LINES]++;
        counts[REPEATED_LINE_CHARACTERS] += (int64_t)characters;
    }
    *paragraph = gm_mix(*paragraph ^ line->hash) + 1;
    *length += characters + (*length ? 1 : 0);
}

static void end_paragraph(uint64_t *paragraph, size_t *length, int64_t *counts, struct set *paragraphs) {
    if (!*length) return;
    counts[PARAGRAPHS]++;
    if (set_add(paragraphs, *paragraph)) {
        counts[REPEATED_PARAGRAPHS]++;
        counts[REPEATED_PARAGRAPH_CHARACTERS] += (int64_t)*length;
    }
    *paragraph = *length = 0;
}

/* Characters, words, lines, paragraphs, sentences; whether there was memory for it. */
static int read_text(const uint8_t *text, size_t size, const uint16_t *classes, int64_t *counts, struct words *words,
                     struct set *lines, struct set *paragraphs) {
    struct line line = {0};
    struct token token;
    uint64_t paragraph = 0;
    size_t length = 0, run = 0, step; /* run: characters since white space */
    unsigned stops = 0, chunk = 0, alphabetic = 0; /* in this run there was more than marks; a letter */
    for (size_t at = 0; at < size; at += step) {
        uint32_t c = gm_character(text + at, text + size, &step);
        unsigned kind = CLASS(c);
        if (kind & SPACE) {
            counts[CHARACTERS]++;
            run = 0;
            if (c == '\n') {
                if (line.characters) end_line(&line, counts, lines, &paragraph, &length);
                else end_paragraph(&paragraph, &length, counts, paragraphs);
                line = (struct line){0};
            } else if (line.characters) {
                line.characters++, line.trailing++;
                if (line.closed) counts[SENTENCES] += line.open, line.open = 0;
                line.ended = 0;
            }
            continue;
        }
        step = read_token(text + at, size - at, c, step, classes, &token);
        int64_t characters = (int64_t)token.characters;
        counts[CHARACTERS] += characters;
        if (!run) chunk = alphabetic = 0;
        if (!chunk && !(kind & MARK)) counts[CHUNKS]++, chunk = 1;
        if (!alphabetic && token.kinds & ALPHABETIC) counts[ALPHABETIC_CHUNKS]++, alphabetic = 1;
        int heading = !line.characters && at + step < size && text[at + step] == ' ';
        if (!line.characters) line.bullet = !!(kind & BULLET);
        line.hash = gm_mix(line.hash + token.hash + (run == 0));
        line.characters += token.characters;
        line.trailing = line.ellipsis = 0;
        line.wide += kind & WORD && kind & EAST ? token.characters : 0;
        if (line.ended && !(kind & (TERMINAL | CLOSING))) counts[SENTENCES] += line.open, line.ended = 0;
        line.open = 1;
        if (token.kinds & WORD) {
            line.closed = 0;
            counts[WORDS]++;
            counts[WORD_CHARACTERS] += characters;
            counts[UNSPACED_WORDS] += !!(kind & UNSPACED);
            stops |= stop_word(text + at, step);
        } else {
            line.closed = !!(kind & TERMINAL) || (run && line.closed && kind & CLOSING);
            line.ended |= kind & TERMINAL && c >= WIDE;
            line.ellipsis = c == 0x2026 || (c == '.' && characters >= 3);
            if (c == '#' && !heading) counts[HASHES] += characters;
            if (line.ellipsis) counts[ELLIPSES] += c == '.' ? characters / 3 : characters;
        }
        run += token.characters;
        if ((int64_t)run > counts[LONGEST_CHUNK]) counts[LONGEST_CHUNK] = (int64_t)run;
        if (!words_add(words, &token)) return 0;
    }
    if (line.characters) end_line(&line, counts, lines, &paragraph, &length);
    end_paragraph(&paragraph, &length, counts, paragraphs);
    counts[TOKENS] = (int64_t)words->count;
    for (; stops; stops &= stops - 1) counts[STOP_WORDS]++;
    return 1;
}

/* The commonest n-grams and the repeated ones. An n-gram can occur twice only if both (n-1)-grams in it do, so that each
   length looks only at the places that the one before left: few, in most texts. */
static int count_ngrams(const struct words *words, int64_t *counts) {
    size_t m = words->count;
    if (!m) return 1;
    struct set set;
    int opened = set_open(&set, m);
    uint64_t *grams = malloc((m + 1) * sizeof *grams);
    uint32_t *numbers = malloc((m + 1) * sizeof *numbers), *occurs = malloc((m + 1) * sizeof *occurs);
    uint8_t *again = calloc(m + 1, 1), *seen = malloc(m + 1); /* again: the (n-1)-gram here occurs twice or more */
    int fine = opened && grams && numbers && occurs && again && seen;
    if (fine) {
        memcpy(grams, words->hashes, m * sizeof *grams);
        memset(again, 1, m);
    }
    for (size_t n = 1; fine && n < REPEATED + REPEATS && n <= m; n++) {
        size_t places = m - n + 1, found = 0;
        memset(set.slots, 0, (set.mask + 1) * sizeof *set.slots);
        set.used = 0;
        for (size_t i = 0; i < places; i++) {
            if (n > 1) grams[i] = gm_mix(grams[i] * GM_GOLDEN + words->hashes[i + n - 1]);
            if (n > 1 && !(again[i] && again[i + 1])) {
                numbers[i] = UINT32_MAX;
                continue;
            }
            size_t before = set.used;
            numbers[i] = set_number(&set, grams[i]);
            if (set.used > before) occurs[numbers[i]] = 0;
            found |= ++occurs[numbers[i]] > 1;
        }
        uint32_t most = 1;
        for (size_t i = 0; i < places; i++) {
            uint32_t times = numbers[i] == UINT32_MAX ? 1 : occurs[numbers[i]];
            again[i] = times > 1;
            if (n >= TOP && n < TOP + TOPS && times > most) {
                most = times;
                counts[TOP_NGRAMS + n - TOP] = (int64_t)times * (words->ends[i + n] - words->ends[i] + n - 1);
            }
        }
        if (!found) break;
        if (n < REPEATED) continue;
        memset(seen, 0, set.used);
        for (size_t i = 0; i < places;) {
            size_t step = 1;
            if (again[i]) {
                if (seen[numbers[i]]) {
                    counts[REPEATED_NGRAMS + n - REPEATED] += words->ends[i + n] - words->ends[i];
                    step = n;
                }
                seen[numbers[i]] = 1;
            }
            i += step;
        }
    }
    set_close(&set);
    free(grams), free(numbers), free(occurs), free(again), free(seen);
    return fine;
}

/* `text` [size] is UTF-8; `classes` [CLASSES] says of what kinds each character is; `counts` [COUNTS] is written.
   Returns 0, or -1 where memory ran out or the text is longer than 2 GiB. */
int gm_measure(const uint8_t *text, size_t size, const uint16_t *classes, int64_t *counts) {
    struct words words = {0};
    struct set lines = {0}, paragraphs = {0};
    size_t ends = 1, fine = 0;
    memset(counts, 0, COUNTS * sizeof *counts);
    if (size > INT32_MAX) return -1;
    for (size_t i = 0; i < size; i++) ends += text[i] == '\n';
    if (set_open(&lines, ends) && set_open(&paragraphs, ends))
        fine = read_text(text, size, classes, counts, &words, &lines, &paragraphs) && count_ngrams(&words, counts);
    set_close(&lines), set_close(&paragraphs);
    free(words.hashes), free(words.ends);
    return fine ? 0 : -1;
}
