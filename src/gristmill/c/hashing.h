/* The hashes of the native part. `gm_mix` and the FNV ones give the same on every machine and in every process, for what
   is written down or compared across processes; `gm_place` differs from process to process, for hash tables. */
#ifndef GM_HASHING_H
#define GM_HASHING_H
#include <stddef.h>
#include <stdint.h>

#define GM_GOLDEN UINT64_C(0x9E3779B97F4A7C15) /* 2⁶⁴ over the golden ratio */
#define GM_FNV32 UINT32_C(2166136261) /* where FNV-1a begins (Fowler, Noll and Vo) */
#define GM_FNV64 UINT64_C(0xCBF29CE484222325)

/* Mixes a hash so that all its bits are alike: the finaliser of splitmix64 (Steele et al. 2014). */
static inline uint64_t gm_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* FNV-1a, a byte at a time. */
static inline uint32_t gm_fnv32(uint32_t hash, uint8_t byte) { return (hash ^ byte) * UINT32_C(16777619); }
static inline uint64_t gm_fnv64(uint64_t hash, uint8_t byte) { return (hash ^ byte) * UINT64_C(0x100000001B3); }

static inline uint32_t gm_fnv32_of(const uint8_t *bytes, size_t length) {
    uint32_t hash = GM_FNV32;
    for (size_t i = 0; i < length; i++) hash = gm_fnv32(hash, bytes[i]);
    return hash;
}

/* Two secret numbers that `native.py` draws in every process. */
extern uint64_t gm_seed[2] __attribute__((visibility("hidden")));

/* Where two words lie in a hash table: the halves of their product (as in wyhash, https://github.com/wangyi-fudan/wyhash,
   public domain). Tables are filled by what strangers write. With a known hash they could choose texts that crowd into
   few slots, so that each look-up goes through all of them; with a secret one they cannot. What a table gives must not
   depend on the order of its slots. */
static inline uint64_t gm_place(uint64_t low, uint64_t high) {
    unsigned __int128 product = (unsigned __int128)(low ^ gm_seed[0]) * (high ^ gm_seed[1]);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
