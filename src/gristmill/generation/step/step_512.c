#include "../../model/kernels.h"
#ifdef GM_X86
#pragma GCC target("avx512f,avx512bw") /* before all else: what is inlined must have it too */
#define LANES 16
#define TILE_ROWS 8
#define STEP_TILE 8
#define AT_ONCE 4
#define NAME(name) name##_512
#include "step_loops.h"
#endif
