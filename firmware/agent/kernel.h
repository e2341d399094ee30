/* What the encoder's forward pass is made of. Portable C; every result is TFLite Micro's, bit for bit. */
#ifndef UTTERBIT_KERNEL_H
#define UTTERBIT_KERNEL_H

#include "agent.h"

static inline int32_t ub_clamp(int32_t x, int32_t least, int32_t most) {
  return x < least ? least : x > most ? most : x;
}
static inline int8_t ub_saturate(int32_t x) { return (int8_t)ub_clamp(x, -128, 127); }

/* Positions that are computed side by side, so that a weight once loaded serves all of them. */
#define UB_BLOCK 8

/* The inputs of a block, two positions in a word, and what bounds their dot products. */
typedef struct {
  const uint32_t *energy; /* [chunks of columns]: the largest |x|^2 of a position */
  const uint32_t *words;  /* [columns][pairs]: x[2i] + x[2i + 1] 2^16 */
  uint32_t most;          /* the largest |x|^2 of a position over all columns */
  uint32_t positions;
  uint32_t columns;
} ub_block;

/* Bytes at the start of the arena in which ub_pack() places a block of so many columns. */
uint32_t ub_packed_bytes(uint32_t columns);

/* Packs x - zero of up to UB_BLOCK positions; their rows of `columns` int8 are `stride` apart and may overlap. */
ub_block ub_pack(uint8_t *arena, const int8_t *x, uint32_t stride, int32_t zero, uint32_t columns, uint32_t positions);

/* FULLY_CONNECTED of a block; of rows that overlap, CONV_2D over neighbours. In y positions are y_stride apart, and the
 * results of one of them y_step. */
void ub_matmul(const ub_agent *agent, const ub_matrix *m, const ub_block *x, int8_t *y, uint32_t y_stride,
               uint32_t y_step);

/* L2_NORMALIZATION of n rows: h = x / |x|, scale 1/128. */
void ub_normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h);

/* ADD: x += y, both int8 [count]. One of the multipliers of x and y must be a half, as TFLite makes them. */
static inline bool ub_is_half(int32_t multiplier, int32_t shift) { return multiplier == 1 << 30 && shift == 0; }
void ub_add(const ub_sum *sum, int8_t *x, const int8_t *y, uint32_t count);

/* Rows that a block is multiplied with in attention: keys, or columns of values; `stride` apart. */
typedef struct {
  const int8_t *rows;
  const uint8_t *energy; /* as in ub_matrix */
  uint32_t count;
  uint32_t stride;
} ub_rows;

/* Bytes of such rows' energy, and its computation. */
uint32_t ub_energy_bytes(uint32_t count, uint32_t columns);
ub_rows ub_bound(uint8_t *energy, const int8_t *rows, uint32_t stride, uint32_t count, uint32_t columns);

/* BATCH_MATMUL of a block with rows to y [positions][count], whose rows are y_stride apart. */
void ub_product(const ub_scale *scale, const ub_rows *rows, const ub_block *x, int8_t *y, uint32_t y_stride);

/* ADD of the mask and SOFTMAX, in place: x [rows][n], n at most UB_MAX_POSITIONS. masked: what a logit becomes at a word,
 * from -128 on; exponential: the layer's table of exp(-d * scale) in Q0.31. Scale 1/256, zero point -128. */
void ub_softmax(const int8_t *masked, const uint8_t *exponential, uint32_t rows, uint32_t n, int8_t *x);

#endif
