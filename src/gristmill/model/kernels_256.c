#include "kernels.h"
#define LANES 8
#define TILE_ROWS 4
#if defined(GM_HAS_512) && !defined(__SANITIZE_ADDRESS__)
#define TARGET __attribute__((target_clones("fma", "default")))
#else
#define TARGET
#endif
#define NAME(name) name##_256
#include "kernels_loops.h"
