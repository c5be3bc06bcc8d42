#include "kernels.h"
#ifdef GM_HAS_512
#define LANES 16
#define TILE_ROWS 8
#define TARGET __attribute__((target("avx512f")))
#define NAME(name) name##_512
#include "kernels_loops.h"
#endif
