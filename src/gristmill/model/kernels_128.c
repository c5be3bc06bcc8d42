#include "kernels.h"
#define LANES 4
#define NAME(name) name##_128
#include "kernels_loops.h"
