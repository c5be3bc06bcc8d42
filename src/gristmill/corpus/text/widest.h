/* Marks a function whose loops are worth the widest vectors that the machine has: one version each, chosen at run time. */
#ifndef GM_WIDEST_H
#define GM_WIDEST_H
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) &&                           \
    !defined(__SANITIZE_ADDRESS__)
#define GM_WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GM_WIDEST
#endif
#endif
