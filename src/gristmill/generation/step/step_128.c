#include "../../model/kernels.h"
#define LANES 4
#define TILE_ROWS 4
#define STEP_TILE 1
#define AT_ONCE 1
#define NAME(name) name##_128
#include "step_loops.h"
