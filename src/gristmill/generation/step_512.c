#include "../model/kernels.h"
#ifdef GM_HAS_512
#define LANES 16
#define TILE_ROWS 8
#define STEP_TILE 8
#define AT_ONCE 4
#define TARGET __attribute__((target("avx512f")))
#define NAME(name) name##_512
#include "step_loops.h"
#endif
