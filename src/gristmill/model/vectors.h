/* Vectors of LANES floats, in GCC's notation. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma GCC optimize("fp-contract=fast") /* fused multiply-add, which ISO mode turns off */

#define INLINE static inline __attribute__((always_inline))

enum { TILE_ROWS = LANES == 16 ? 8 : 4 }; /* so many rows of two vectors are the sums that the registers hold */

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(float)))); /* what comparing gives: -1 or 0 */
typedef uint32_t uvec __attribute__((vector_size(LANES * sizeof(float))));
typedef float loose __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

INLINE vec load(const float *x) { return *(const loose *)x; }
INLINE void store(float *x, vec v) { *(loose *)x = v; }
INLINE vec all(float x) { return x - (vec){0}; } /* adding it would turn -0 to 0, which takes an instruction */
INLINE vec choose(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }
INLINE vec larger(vec a, vec b) { return choose(a > b, a, b); }
INLINE vec at_least(vec x, float low) { return choose(x < all(low), all(low), x); } /* NaN stays NaN */

INLINE vec load_some(const float *x, size_t n, float otherwise) {
    vec v = all(otherwise);
    memcpy(&v, x, n * sizeof(float));
    return v;
}

/* Lane i has what lane i + by had, counted round. */
INLINE vec moved(vec v, int by) {
#ifdef __clang__
    vec out;
    for (int i = 0; i < LANES; i++) out[i] = v[(i + by) % LANES];
    return out;
#else
    ivec from;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) from[i] = i;
    return __builtin_shuffle(v, from + by);
#endif
}

INLINE float sum(vec v) {
#pragma GCC unroll 4
    for (int width = LANES / 2; width; width /= 2) v += moved(v, width);
    return v[0];
}

INLINE float largest(vec v) {
#pragma GCC unroll 4
    for (int width = LANES / 2; width; width /= 2) v = larger(v, moved(v, width));
    return v[0];
}

/* 2^x, relative error below 2e-7; 0 below -126, and x must not exceed 127. */
INLINE vec exp2v(vec x) {
    const vec magic = all(12582912.0f); /* 1.5·2²³: adding it rounds to a whole number, in the low bits */
    vec kept = at_least(x, -126), shifted = kept + magic, f = kept - (shifted - magic);
    uvec power = ((uvec)shifted - (uvec)magic + 127) << 23;
    vec p = all(1.54035304e-4f);
    p = p * f + all(1.33335581e-3f);
    p = p * f + all(9.61812911e-3f);
    p = p * f + all(5.55041087e-2f);
    p = p * f + all(2.40226507e-1f);
    p = p * f + all(6.93147181e-1f);
    p = p * f + all(1.0f);
    return choose(x < all(-126), all(0), p * (vec)power);
}

/* RMSNorm of `width` numbers, in rows that are `filled` up to a multiple of LANES with zeros. */
INLINE void normalise(const float *x, const float *weight, size_t width, size_t filled, float eps, float *y) {
    vec squares = all(0);
    for (size_t i = 0; i < filled; i += LANES) squares += load(x + i) * load(x + i);
    vec norm = all(1 / sqrtf(sum(squares) / (float)width + eps));
    for (size_t i = 0; i < filled; i += LANES) store(y + i, load(x + i) * norm * load(weight + i));
}

/* Matrix products of small tiles ----------------------------------------------------------------------------------- */

INLINE void tile(const float *a, size_t row, size_t step, const float *b, size_t ldb, float *c, size_t ldc, size_t k,
                 int add, const int wide) {
    vec sums[TILE_ROWS][2];
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < wide; j++) sums[i][j] = add ? load(c + i * ldc + j * LANES) : all(0);
    for (size_t l = 0; l < k; l++) {
        vec right[2];
        for (int j = 0; j < wide; j++) right[j] = load(b + l * ldb + j * LANES);
        for (int i = 0; i < TILE_ROWS; i++) {
            vec left = all(a[i * row + l * step]);
            for (int j = 0; j < wide; j++) sums[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < wide; j++) store(c + i * ldc + j * LANES, sums[i][j]);
}

/* c[m][n] = or += Σ a(i, l) b[l][j], a(i, l) = a[i·row + l·step]; m is a multiple of TILE_ROWS, n of LANES. */
INLINE void product(const float *a, size_t row, size_t step, const float *b, size_t ldb, float *c, size_t ldc, size_t m,
                    size_t n, size_t k, int add) {
    for (size_t i = 0; i < m; i += TILE_ROWS) {
        const float *left = a + i * row;
        size_t j = 0;
        for (; j + 2 * LANES <= n; j += 2 * LANES) tile(left, row, step, b + j, ldb, c + i * ldc + j, ldc, k, add, 2);
        if (j < n) tile(left, row, step, b + j, ldb, c + i * ldc + j, ldc, k, add, 1);
    }
}
