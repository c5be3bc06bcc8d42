#include "../../model/kernels.h"
#ifdef GM_X86
#pragma GCC target("avx2,fma") /* before all else: what is inlined must have it too */
#define LANES 8
#define NAME(name) name##_256
#include "step_loops.h"
#endif
