#include "kernels.h"
#define LANES 4
#define TILE_ROWS 4
#define NAME(name) name##_128
#include "kernels_loops.h"
