/* The kernels' inner arithmetic, over whole ranges at once, for tests/test_engine.py. */
#include "../firmware/agent/kernel.c"

void probe_requantize(int32_t first, uint32_t count, int32_t significand, int32_t shift, int32_t *out);
void probe_inverse_sqrt(int32_t first, uint32_t count, int32_t *significands, int32_t *exponents);
void probe_dot(const int8_t *weights, uint32_t columns, const int8_t *x, int32_t *packed_sum, int32_t *plain_sum);
void probe_add(const int32_t *numbers, int8_t *x, const int8_t *y, uint32_t count);

void probe_requantize(int32_t first, uint32_t count, int32_t significand, int32_t shift, int32_t *out) {
  const multiplier scale = prepare(significand, shift);
  for (uint32_t i = 0; i < count; i++) out[i] = requantize(first + (int32_t)i, scale);
}

void probe_inverse_sqrt(int32_t first, uint32_t count, int32_t *significands, int32_t *exponents) {
  for (uint32_t i = 0; i < count; i++) significands[i] = inverse_sqrt(first + (int32_t)i, &exponents[i]);
}

/* One row of weights, twice, and one position, both ways; columns: a multiple of 4, at most 1024. */
void probe_dot(const int8_t *weights, uint32_t columns, const int8_t *x, int32_t *packed_sum, int32_t *plain_sum) {
  static packed packed_x[256];
  _Alignas(4) static int8_t aligned[1024];
  tile sums = {{{0}}}, plain = {{{0}}};
  memcpy(aligned, weights, columns);
  pack(x, 0, 1, columns, packed_x);
  dot_packed(1, aligned, 0, packed_x, columns, &sums);
  dot(1, aligned, 0, x, 0, columns, &plain);
  *packed_sum = sums.at[0][1];
  *plain_sum = plain.at[0][0];
}

/* ub_add(); numbers: multiplier and shift of x, of y and of the sum, then their zero points. */
void probe_add(const int32_t *numbers, int8_t *x, const int8_t *y, uint32_t count) {
  const ub_sum sum = {.a_multiplier = numbers[0], .a_shift = (int8_t)numbers[1], .b_multiplier = numbers[2],
                      .b_shift = (int8_t)numbers[3], .output_multiplier = numbers[4],
                      .output_shift = (int8_t)numbers[5], .a_zero = (int8_t)numbers[6], .b_zero = (int8_t)numbers[7],
                      .output_zero = (int8_t)numbers[8]};
  ub_add(&sum, x, y, count);
}
