/* The seed of hash tables: see hashing.h. */
#include "hashing.h"

uint64_t gm_seed[2] = {GM_GOLDEN, UINT64_C(0xD6E8FEB86659FD93)};

#ifdef GM_SOURCES
const char gm_sources[] = GM_SOURCES; /* SHA-256 of all C files, as setup.py tells it: native.py compares it */
#endif

/* Sets the seed, [2]. Once, before any table is made. */
void gm_set_seed(const uint64_t *seed) { gm_seed[0] = seed[0], gm_seed[1] = seed[1]; }
