#include "step.h"

#include "../model/kernels.h"
#define LANES 8
#define TILE_ROWS 4
#define STEP_TILE 3
#define AT_ONCE 2
#if defined(GM_HAS_512) && !defined(__SANITIZE_ADDRESS__)
#define TARGET __attribute__((target_clones("fma", "default")))
#else
#define TARGET
#endif
#define NAME(name) name##_256
#include "step_loops.h"
