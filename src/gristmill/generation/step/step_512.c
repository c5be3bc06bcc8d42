#include "../../model/kernels.h"
#ifdef GM_X86
#pragma GCC target("avx512f,avx512bw") /* before all else: what is inlined must have it too */
#define LANES 16
#define NAME(name) name##_512
#include "step_loops.h"
#endif
