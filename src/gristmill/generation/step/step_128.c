#include "../../model/kernels.h"
#define LANES 4
#define NAME(name) name##_128
#include "step_loops.h"
