/* The kernels' inner arithmetic, over whole ranges at once, for tests/test_engine.py. */
#include "../firmware/agent/kernel.c"

void probe_requantize(int32_t first, uint32_t count, int32_t significand, int32_t shift, int32_t *out);
void probe_inverse_sqrt(int32_t first, uint32_t count, int32_t *significands, int32_t *exponents);
void probe_sums(const int8_t *weights, uint32_t rows, uint32_t columns, const int8_t *x, int32_t zero, uint32_t positions,
                int32_t *out);
void probe_add(const int32_t *numbers, int8_t *x, const int8_t *y, uint32_t count);
void probe_softmax(const int32_t *exponential, uint32_t rows, uint32_t n, int8_t *x);
void probe_normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h);

void probe_requantize(int32_t first, uint32_t count, int32_t significand, int32_t shift, int32_t *out) {
  const multiplier scale = prepare(significand, shift);
  for (uint32_t i = 0; i < count; i++) out[i] = requantize(first + (int32_t)i, scale);
}

void probe_inverse_sqrt(int32_t first, uint32_t count, int32_t *significands, int32_t *exponents) {
  for (uint32_t i = 0; i < count; i++) significands[i] = inverse_sqrt(first + (int32_t)i, &exponents[i]);
}

/* A tile of up to 4 rows of weights at a block of up to 8 positions: out [rows][positions]; columns: at most 1024. */
void probe_sums(const int8_t *weights, uint32_t rows, uint32_t columns, const int8_t *x, int32_t zero, uint32_t positions,
                int32_t *out) {
  static _Alignas(4) uint8_t arena[20 * 1024];
  static uint8_t energy[1024];
  const ub_rows bound = ub_bound(energy, weights, columns, rows, columns);
  const ub_block block = ub_pack(arena, x, columns, zero, columns, positions);
  const tile t = {.weights = weights, .energy = bound.energy, .rows = rows, .stride = columns};
  tile_sums sums = {{{0}}};
  dot_block(&t, &block, &sums);
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t p = 0; p < positions; p++) out[r * positions + p] = sums.at[r][p];
}

/* ub_add(); numbers: multiplier and shift of x, of y and of the sum, then their zero points. */
void probe_add(const int32_t *numbers, int8_t *x, const int8_t *y, uint32_t count) {
  const ub_sum sum = {.a_multiplier = numbers[0], .a_shift = (int8_t)numbers[1], .b_multiplier = numbers[2],
                      .b_shift = (int8_t)numbers[3], .output_multiplier = numbers[4],
                      .output_shift = (int8_t)numbers[5], .a_zero = (int8_t)numbers[6], .b_zero = (int8_t)numbers[7],
                      .output_zero = (int8_t)numbers[8]};
  ub_add(&sum, x, y, count);
}

/* ub_softmax() of logits as they are: no mask. */
void probe_softmax(const int32_t *exponential, uint32_t rows, uint32_t n, int8_t *x) {
  int8_t same[256];
  for (int32_t i = -128; i < 128; i++) same[i + 128] = (int8_t)i;
  ub_softmax(same + 128, (const uint8_t *)exponential, rows, n, x);
}

void probe_normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h) {
  ub_normalize(x, zero, n, width, h);
}
