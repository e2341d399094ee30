/* What the encoder's forward pass is made of. Portable C; every result is TFLite Micro's, bit for bit. */
#ifndef UTTERBIT_KERNEL_H
#define UTTERBIT_KERNEL_H

#include "agent.h"

static inline int32_t ub_clamp(int32_t x, int32_t least, int32_t most) {
  return x < least ? least : x > most ? most : x;
}
static inline int8_t ub_saturate(int32_t x) { return (int8_t)ub_clamp(x, -128, 127); }

/* Positions that are computed side by side, so that a weight once loaded serves all of them. */
#define UB_BLOCK 4

/* Bytes at the start of the arena in which ub_matmul() packs a block of inputs of so many columns. */
uint32_t ub_packed_bytes(uint32_t columns);

/* FULLY_CONNECTED of x [n][columns], whose rows are x_stride apart, to y [n][y_stride]. With rows that overlap it is
 * CONV_2D over neighbouring positions. */
void ub_matmul(const ub_agent *agent, const ub_matrix *m, const int8_t *x, uint32_t x_stride, uint32_t n, int8_t *y,
               uint32_t y_stride);

/* L2_NORMALIZATION of n rows: h = x / |x|, scale 1/128. */
void ub_normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h);

/* ADD: x += y, both int8 [count]. One of the multipliers of x and y must be a half, as TFLite makes them. */
static inline bool ub_is_half(int32_t multiplier, int32_t shift) { return multiplier == 1 << 30 && shift == 0; }
void ub_add(const ub_sum *sum, int8_t *x, const int8_t *y, uint32_t count);

/* The rows of attention of up to UB_BLOCK queries of one head: logits, then probabilities in their place. */
typedef union {
  int8_t logits[UB_BLOCK][UB_MAX_POSITIONS];
  uint8_t probabilities[UB_BLOCK][UB_MAX_POSITIONS]; /* in 1/256 */
} ub_attention;

/* BATCH_MATMUL and ADD of the mask: masked q k^T of `queries` rows of q with n rows of k; all rows are `stride` apart. */
void ub_attention_logits(const ub_scale *scale, const int8_t *masked, const int8_t *q, const int8_t *k, uint32_t stride,
                         uint32_t width, uint32_t queries, uint32_t n, ub_attention *rows);

/* SOFTMAX in place; exponential: the layer's table of exp(-d * scale) in Q0.31. */
void ub_softmax(const uint8_t *exponential, uint32_t queries, uint32_t n, ub_attention *rows);

/* BATCH_MATMUL: probabilities [queries][n] v [n][width] to context [queries][width]; rows are `stride` apart. */
void ub_attention_context(const ub_scale *scale, const ub_attention *rows, const int8_t *v, uint32_t stride,
                          uint32_t width, uint32_t queries, uint32_t n, int8_t *context);

#endif
