/* A step of a transformer in one call. */
#include "step.h"

#include "../../model/kernels.h"

void gm_step_wait(struct step_barrier *barrier) { (void)barrier; }

/* How many floats of scratch a step needs. */
size_t gm_step_scratch(const struct step *s) {
    size_t D = up_to(s->width, PANEL), K = up_to(s->head, 16), A = s->heads * K;
    return STEP_ROWS * (2 * D + up_to(A + 2 * s->kv_heads * K, PANEL) + A + up_to(s->ffn, PANEL));
}

void gm_step(const struct step *s) { WIDEST(gm_step_part)(s, 0, 1, NULL); }
