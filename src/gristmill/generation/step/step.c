/* A step of a transformer in one call. */
#include "step.h"

/* How many floats of scratch a step needs. */
size_t gm_step_scratch(const struct step *s) {
    step_sizes n = sizes_of(s);
    return STEP_ROWS * (2 * n.D + n.Q + n.A + n.F + longest_of(&n) / 2 + 1);
}

void gm_step(const struct step *s) { WIDEST(gm_step_rows)(s); }
