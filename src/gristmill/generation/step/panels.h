/* Products of rows with weights in panels of PANEL outputs; VECTORS vectors of LANES are a row of a panel.

   A panel of k inputs in memory, by the type of the weights:
   float32   [k][PANEL]
   bfloat16  [k / 2][PANEL][2]
   int8      for every GROUP of inputs a scale of each output, float32 [PANEL], then [GROUP / 2][PANEL][2] */
#include "../../model/vectors.h"
#include "step.h"
#ifdef GM_X86
#include <immintrin.h>
#endif

#define VECTORS (PANEL / LANES)

/* Rows that are multiplied at once, and panels where there is one row: as many sums as the registers hold. */
enum { STEP_TILE = LANES == 16 ? 8 : LANES == 8 ? 3 : 1, AT_ONCE = LANES / 4 };
enum { GROUP = 32, GROUP_BYTES = PANEL * (4 + GROUP), AHEAD = 2048 }; /* bytes that are fetched ahead */

typedef int8_t int8_vec __attribute__((vector_size(2 * LANES)));
typedef int16_t half_vec __attribute__((vector_size(2 * LANES)));
typedef int16_t int16_vec __attribute__((vector_size(4 * LANES)));

typedef struct {
    size_t k;
    const float *x;  /* [rows][k] */
    int16_t *shorts; /* for int8: the same as 16-bit numbers, [rows][k], */
    float *scales;   /* times a scale each, [rows] */
} factors;

INLINE size_t panel_bytes(int type, size_t k) {
    return type == FLOAT32 ? k * PANEL * 4 : type == BFLOAT16 ? k * PANEL * 2 : k / GROUP * GROUP_BYTES;
}

/* The weight of input i and output o of a panel. */
INLINE float weight_at(int type, const char *panel, size_t i, size_t o) {
    size_t pair = i / 2 * PANEL + o;
    if (type == FLOAT32) return ((const float *)panel)[i * PANEL + o];
    if (type == BFLOAT16) {
        uint32_t bits = (uint32_t)((const uint16_t *)panel)[2 * pair + i % 2] << 16;
        float value;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    const char *group = panel + i / GROUP * GROUP_BYTES;
    pair = i % GROUP / 2 * PANEL + o;
    return ((const float *)group)[o] * ((const int8_t *)(group + PANEL * 4))[2 * pair + i % 2];
}

/* LANES weights of inputs l and l + 1, of which `odd` is meant: the low and the high half of each word in bfloat16. */
INLINE vec weights_at(int type, const char *panel, size_t l, int odd, int j) {
    if (type == FLOAT32) return load((const float *)panel + (l + (size_t)odd) * PANEL + j * LANES);
    uvec both = (uvec)load((const float *)panel + l / 2 * PANEL + j * LANES);
    return (vec)(odd ? both & 0xffff0000u : both << 16);
}

/* out[rows][panels · PANEL] = or += factors · panels, in float32: each sum over the inputs in order. One row alone reads
   weights as fast as they come, and a seventh faster if they are fetched ahead. */
INLINE void float_tile(const factors *f, size_t first, const char *b, float *out, size_t ldo, int add, const int rows,
                       const int panels, const int type) {
    vec sums[8][8]; /* of which the registers hold those that count */
    const float *x = f->x + first * f->k;
    size_t size = panel_bytes(type, f->k), row = panel_bytes(type, 2);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++) sums[i][j] = add ? load(out + i * ldo + j * LANES) : all(0);
    for (size_t l = 0; l < f->k; l += 2)
        for (int p = 0; p < panels; p++) {
            if (rows == 1)
                for (size_t line = 0; line < row; line += 64)
                    __builtin_prefetch(b + p * size + l / 2 * row + AHEAD + line);
            for (int odd = 0; odd < 2; odd++)
                for (int j = 0; j < VECTORS; j++) {
                    vec right = weights_at(type, b + p * size, l, odd, j);
                    for (int i = 0; i < rows; i++) sums[i][p * VECTORS + j] += all(x[i * f->k + l + odd]) * right;
                }
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++) store(out + i * ldo + j * LANES, sums[i][j]);
}

/* sums + a[0]·b[0] + a[1]·b[1] of each pair of 16-bit numbers. */
INLINE ivec add_pairs(ivec sums, int16_vec a, int16_vec b) {
#if LANES == 16 && defined(__AVX512BW__)
    return sums + (ivec)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif LANES == 8 && defined(__AVX2__)
    return sums + (ivec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif LANES == 4 && defined(__SSE2__)
    return sums + (ivec)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    ivec low = ((ivec)((uvec)a << 16) >> 16) * ((ivec)((uvec)b << 16) >> 16);
    return sums + low + ((ivec)a >> 16) * ((ivec)b >> 16);
#endif
}

/* The same with int8 weights: whole numbers within a group, whose sums stay below 2³¹, then times its scales. */
INLINE void int8_tile(const factors *f, size_t first, const char *b, float *out, size_t ldo, int add, const int rows,
                      const int panels) {
    vec sums[8][8];
    const int16_t *x = f->shorts + first * f->k;
    size_t size = panel_bytes(INT8, f->k);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++) sums[i][j] = all(0);
    for (size_t l = 0; l < f->k; l += GROUP)
        for (int p = 0; p < panels; p++) {
            const char *group = b + p * size + l / GROUP * GROUP_BYTES;
            ivec dots[8][VECTORS];
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < VECTORS; j++) dots[i][j] = (ivec)all(0);
            for (int m = 0; m < GROUP / 2; m++) {
                const char *pairs = group + PANEL * (4 + 2 * m);
                if (rows == 1) __builtin_prefetch(pairs + AHEAD);
                for (int j = 0; j < VECTORS; j++) {
                    int8_vec narrow;
                    memcpy(&narrow, pairs + 2 * j * LANES, sizeof(narrow));
                    int16_vec right = __builtin_convertvector(narrow, int16_vec);
                    for (int i = 0; i < rows; i++) {
                        int32_t pair;
                        memcpy(&pair, x + i * f->k + l + 2 * (size_t)m, sizeof(pair));
                        dots[i][j] = add_pairs(dots[i][j], (int16_vec)(pair - (ivec){0}), right);
                    }
                }
            }
            for (int j = 0; j < VECTORS; j++) {
                vec scale = load((const float *)group + j * LANES);
                for (int i = 0; i < rows; i++)
                    sums[i][p * VECTORS + j] += __builtin_convertvector(dots[i][j], vec) * scale;
            }
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++) {
            float *to = out + i * ldo + j * LANES;
            vec whole = sums[i][j] * all(f->scales[first + (size_t)i]);
            store(to, add ? load(to) + whole : whole);
        }
}

INLINE void tile_of(const factors *f, size_t first, const char *b, float *out, size_t ldo, int add, const int rows,
                    const int panels, const int type) {
    if (type == INT8) int8_tile(f, first, b, out, ldo, add, rows, panels);
    else float_tile(f, first, b, out, ldo, add, rows, panels, type);
}

INLINE void typed_panels(const factors *f, size_t rows, const char *b, size_t panels, float *out, size_t ldo, int add,
                         const int type) {
    size_t p = 0, size = panel_bytes(type, f->k);
    if (rows == 1) /* one row has too few sums to be busy */
        for (; p + AT_ONCE <= panels; p += AT_ONCE)
            tile_of(f, 0, b + p * size, out + p * PANEL, ldo, add, 1, AT_ONCE, type);
    for (; p < panels; p++) {
        const char *own = b + p * size;
        float *to = out + p * PANEL;
        size_t i = 0;
        for (; i + STEP_TILE <= rows; i += STEP_TILE) tile_of(f, i, own, to + i * ldo, ldo, add, STEP_TILE, 1, type);
        if (STEP_TILE > 1 && rows - i == 1) tile_of(f, i, own, to + i * ldo, ldo, add, 1, 1, type);
        if (STEP_TILE > 2 && rows - i == 2) tile_of(f, i, own, to + i * ldo, ldo, add, 2, 1, type);
        if (STEP_TILE > 3 && rows - i == 3) tile_of(f, i, own, to + i * ldo, ldo, add, 3, 1, type);
        if (STEP_TILE > 4 && rows - i == 4) tile_of(f, i, own, to + i * ldo, ldo, add, 4, 1, type);
        if (STEP_TILE > 5 && rows - i == 5) tile_of(f, i, own, to + i * ldo, ldo, add, 5, 1, type);
        if (STEP_TILE > 6 && rows - i == 6) tile_of(f, i, own, to + i * ldo, ldo, add, 6, 1, type);
        if (STEP_TILE > 7 && rows - i == 7) tile_of(f, i, own, to + i * ldo, ldo, add, 7, 1, type);
    }
}

/* Rows times `panels` panels. */
static void panels_of(int type, const factors *f, size_t rows, const char *b, size_t panels, float *out, size_t ldo,
                      int add) {
    if (type == FLOAT32) typed_panels(f, rows, b, panels, out, ldo, add, FLOAT32);
    else if (type == BFLOAT16) typed_panels(f, rows, b, panels, out, ldo, add, BFLOAT16);
    else typed_panels(f, rows, b, panels, out, ldo, add, INT8);
}

/* A row as 16-bit numbers times a scale, which is NaN where one is no number. */
INLINE void shorten(const float *x, size_t k, int16_t *shorts, float *scale) {
    const vec magic = all(12582912.0f); /* 1.5·2²³: adding it rounds to a whole number, in the low bits */
    vec most = all(0), wrong = all(0);
    for (size_t i = 0; i < k; i += LANES) {
        vec own = load(x + i);
        most = larger(most, larger(own, -own));
        wrong += own - own;
    }
    float top = largest(most), inverse = top > 1e-30f ? 32767 / top : 0;
    *scale = (top > 1e-30f ? top / 32767 : 0) + sum(wrong);
    for (size_t i = 0; i < k; i += LANES) {
        ivec whole = (ivec)(load(x + i) * all(inverse) + magic) - (ivec)magic;
        half_vec narrow = __builtin_convertvector(whole, half_vec);
        memcpy(shorts + i, &narrow, sizeof(narrow));
    }
}
