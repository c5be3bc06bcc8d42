/* MinHash signatures: the smallest (a·x + b) mod (2³¹ - 1) over all x, for each pair (a, b). */
#include <stddef.h>
#include <stdint.h>

enum { PRIME = 0x7FFFFFFF };

/* x mod (2³¹ - 1) for x below 2⁶²: 2³¹ is 1 modulo the prime, so the high bits are added to the low ones. */
static inline uint32_t modulo(uint64_t x) {
    x = (x & PRIME) + (x >> 31);
    x = (x & PRIME) + (x >> 31);
    return x == PRIME ? 0 : (uint32_t)x;
}

/* `shingles` [n], `a` and `b` [count], all below 2³¹; `least` [count] is written. */
void gm_minhash(const uint64_t *shingles, size_t n, const uint64_t *a, const uint64_t *b, size_t count,
                uint32_t *least) {
    for (size_t i = 0; i < count; i++) {
        uint32_t smallest = PRIME;
        for (size_t j = 0; j < n; j++) {
            uint32_t value = modulo(a[i] * shingles[j] + b[i]);
            smallest = value < smallest ? value : smallest;
        }
        least[i] = smallest;
    }
}
