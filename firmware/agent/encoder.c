/* The forward pass, top to bottom, in the order in which it runs. n: positions of this sentence (its words + 1), E:
 * width of an embedding, D: of the residual stream, A: heads * head width, F: hidden neurons, T: tags, C: classes.
 *
 *   input   int8 [n][E]   sum of the pieces' rows                     zero point 0
 *   x       int8 [n][D]   convolution over neighbouring words
 *   per layer:
 *     h     int8 [n][D]   x / |x|                                     scale 1/128
 *     q k v int8 [n][A]   h W                                         zero point 0
 *     p     uint8 [n]     softmax(q k^T), one row at a time           scale 1/256
 *     h     int8 [n][A]   p v
 *     x     int8 [n][D]   x + h W
 *     h     int8 [n][D]   x / |x|
 *     f     int8 [n][F]   relu(h W)
 *     x     int8 [n][D]   x + f W
 *   h       int8 [n][D]   x / |x|
 *   classes int8 [C]      h[0] W;  tags int8 [n - 1][T] h[1..] W
 *
 * TFLite Micro computes all L positions and masks those without a token; convert/ proves from the quantization
 * parameters that the mask makes their share exactly zero, so that here they need not be computed at all. */
#include "encoder.h"

#include <string.h>

#include "bytes.h"

/* ---- fixed point, as TFLite Micro does it (tensorflow/lite/kernels/internal/common.cc, gemmlowp/fixedpoint.h) --- */

/* gemmlowp SaturatingRoundingDoublingHighMul for |a| <= 2^30, where it cannot saturate: round(a * b / 2^31). */
static inline int32_t high_mul(int32_t a, int32_t b) {
  const int64_t product = (int64_t)(a * 2) * b;
  return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
}

/* The same over the whole range of int32. */
static inline int32_t high_mul_full(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* gemmlowp RoundingDivideByPOT: x / 2^exponent, halves away from zero; exponent 0 .. 31, |x| < 2^30. */
static inline int32_t rounding_shift(int32_t x, int32_t exponent) {
  const int32_t half = (int32_t)((1u << exponent) >> 1);
  const int32_t toward_zero = (x >> 31) & -(int32_t)(exponent != 0);
  return (x + half + toward_zero) >> exponent;
}

/* MultiplyByQuantizedMultiplier with double rounding; shift is -31 .. 0 (checked when the bundle was opened). */
static inline int32_t requantize(int32_t x, int32_t multiplier, int32_t shift) {
  return rounding_shift(high_mul(x, multiplier), -shift);
}

static inline int32_t clamp(int32_t x, int32_t least, int32_t most) { return x < least ? least : x > most ? most : x; }
static inline int8_t saturate(int32_t x) { return (int8_t)clamp(x, -128, 127); }

static inline uint32_t leading_zeros(uint32_t x) {
  uint32_t count = 0;
  for (uint32_t step = 16; step > 0; step >>= 1)
    if (x >> (32 - step) == 0) count += step, x <<= step;
  return x >> 31 ? count : count + 1;
}

/* x * 2^exponent, saturating (gemmlowp SaturatingRoundingMultiplyByPOT for a positive exponent). */
static inline int32_t saturating_shift_left(int32_t x, uint32_t exponent) {
  const int32_t limit = INT32_MAX >> exponent;
  if (x > limit) return INT32_MAX;
  if (x < -limit - 1) return INT32_MIN;
  return (int32_t)((uint32_t)x << exponent);
}

/* gemmlowp one_over_one_plus_x_for_x_in_0_1: Q0.31 -> Q0.31, three steps of Newton's division. */
static int32_t one_over_one_plus(int32_t x) {
  const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
  int32_t y = 1515870810 + high_mul_full(half_denominator, -1010580540); /* 48/17 - 32/17 d, in Q2.29 */
  for (int step = 0; step < 3; step++) {
    const int32_t error = (1 << 29) - high_mul_full(half_denominator, y);
    y += saturating_shift_left(high_mul_full(y, error), 2);
  }
  return saturating_shift_left(y, 1);
}

/* GetInvSqrtQuantizedMultiplierExp: 1 / sqrt(x) as a significand in Q0.31 and an exponent (left if positive). */
static int32_t inverse_sqrt(int32_t x, int32_t *exponent) {
  *exponent = 0;
  if (x <= 1) return INT32_MAX;
  int32_t right = 11;
  while (x >= 1 << 29) {
    x /= 4;
    right++;
  }
  const uint32_t pairs = (leading_zeros((uint32_t)x) - 1) / 2 - 1;
  right -= (int32_t)pairs;
  x = (int32_t)((uint32_t)x << 2 * pairs);
  const int32_t half = rounding_shift(x >> 1, 1); /* Q3.28 */
  int32_t y = 1 << 28;
  for (int step = 0; step < 5; step++) {
    const int32_t cube = saturating_shift_left(high_mul_full(high_mul_full(y, y), y), 6);
    y = saturating_shift_left(high_mul_full((1 << 28) + (1 << 27), y) - high_mul_full(half, cube), 3);
  }
  y = high_mul_full(y, 1518500250); /* sqrt(2) / 2 */
  if (right < 0) {
    y = (int32_t)((uint32_t)y << -right);
    right = 0;
  }
  *exponent = -right;
  return y;
}

/* ---- operations ---------------------------------------------------------------------------------------------- */

/* y[p][r] = bias[r] + sum_c weights[r][c] * x[p][c] for R rows and P positions at once, kept in registers. The sizes
 * are constants at every call: 4 x 2 is what fits into the registers of a RISC-V (measured: make bench). */
#define TILE_ROWS 4
#define TILE_POSITIONS 2

static inline __attribute__((always_inline)) void dot_tile(uint32_t rows, uint32_t positions, const int8_t *weights,
                                                           uint32_t row_stride, const int8_t *x, uint32_t x_stride,
                                                           uint32_t columns, int32_t *sums) {
  for (uint32_t c = 0; c < columns; c++)
    for (uint32_t p = 0; p < positions; p++)
      for (uint32_t r = 0; r < rows; r++)
        sums[p * TILE_ROWS + r] += (int32_t)weights[r * row_stride + c] * x[p * x_stride + c];
}

/* FULLY_CONNECTED of x [n][columns], whose rows are x_stride apart, to y [n][y_stride]. With rows that overlap it is
 * CONV_2D over neighbouring positions. */
static void matmul(const ub_agent *agent, const ub_matrix *m, const int8_t *x, uint32_t x_stride, uint32_t n, int8_t *y,
                   uint32_t y_stride) {
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes;
  const int8_t *const weights = (const int8_t *)agent->sections[UB_FLATBUFFER].bytes + m->weights;
  const uint32_t columns = m->columns;
  const bool per_channel = m->channels > 1;
  for (uint32_t row = 0; row < m->rows; row += TILE_ROWS) {
    const uint32_t rows = m->rows - row < TILE_ROWS ? m->rows - row : TILE_ROWS;
    const int8_t *const w = weights + row * columns;
    int32_t bias[TILE_ROWS], multiplier[TILE_ROWS], shift[TILE_ROWS];
    for (uint32_t r = 0; r < rows; r++) {
      const uint32_t channel = per_channel ? row + r : 0;
      bias[r] = ub_read_i32(section + m->bias, row + r);
      multiplier[r] = ub_read_i32(section + m->multiplier, channel);
      shift[r] = (int8_t)section[m->shift + channel];
    }
    for (uint32_t position = 0; position < n; position += TILE_POSITIONS) {
      const uint32_t positions = n - position < TILE_POSITIONS ? n - position : TILE_POSITIONS;
      const int8_t *const in = x + position * x_stride;
      int32_t sums[TILE_POSITIONS * TILE_ROWS];
      for (uint32_t p = 0; p < positions; p++)
        for (uint32_t r = 0; r < rows; r++) sums[p * TILE_ROWS + r] = bias[r];
      if (rows == TILE_ROWS && positions == TILE_POSITIONS) {
        dot_tile(TILE_ROWS, TILE_POSITIONS, w, columns, in, x_stride, columns, sums);
      } else if (rows == TILE_ROWS) {
        dot_tile(TILE_ROWS, 1, w, columns, in, x_stride, columns, sums);
      } else {
        dot_tile(rows, positions, w, columns, in, x_stride, columns, sums);
      }
      for (uint32_t p = 0; p < positions; p++)
        for (uint32_t r = 0; r < rows; r++)
          y[(position + p) * y_stride + row + r] = (int8_t)clamp(
              requantize(sums[p * TILE_ROWS + r], multiplier[r], shift[r]) + m->output_zero, m->output_min, 127);
    }
  }
}

/* L2_NORMALIZATION of n rows: h = x / |x|, scale 1/128. */
static void normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h) {
  for (uint32_t p = 0; p < n; p++, x += width, h += width) {
    int32_t square = 0, exponent;
    for (uint32_t i = 0; i < width; i++) square += (x[i] - zero) * (x[i] - zero);
    const int32_t multiplier = inverse_sqrt(square, &exponent);
    exponent += 7;
    const int32_t left = exponent > 0 ? exponent : 0;
    const int32_t right = exponent > 0 ? 0 : exponent;
    for (uint32_t i = 0; i < width; i++) h[i] = saturate(requantize((x[i] - zero) * (1 << left), multiplier, right));
  }
}

/* ADD: x += y, both int8 [count]. */
static void add(const ub_sum *sum, int8_t *x, const int8_t *y, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    const int32_t a = requantize((x[i] - sum->a_zero) * (1 << 20), sum->a_multiplier, sum->a_shift);
    const int32_t b = requantize((y[i] - sum->b_zero) * (1 << 20), sum->b_multiplier, sum->b_shift);
    x[i] = saturate(requantize(a + b, sum->output_multiplier, sum->output_shift) + sum->output_zero);
  }
}

/* SOFTMAX of n masked logits: uint8 probabilities in 1/256 (TFLite's int8 plus 128). */
static void softmax(const uint8_t *exponential, const int8_t *logits, uint32_t n, uint8_t *probabilities) {
  int32_t most = -128;
  for (uint32_t i = 0; i < n; i++) most = logits[i] > most ? logits[i] : most;
  uint32_t sum = 0; /* Q12.19 */
  for (uint32_t i = 0; i < n; i++) sum += (ub_read_u32(exponential, (uint32_t)(most - logits[i])) + (1u << 11)) >> 12;
  const uint32_t zeros = leading_zeros(sum); /* one term is 1.0 and there are at most 64: 6 .. 12 */
  const int32_t scale = one_over_one_plus((int32_t)((sum << zeros) - (1u << 31)));
  const uint32_t exponent = 12 - zeros + 31 - 8;
  const uint32_t half = (1u << exponent) >> 1;
  for (uint32_t i = 0; i < n; i++) {
    const int32_t product = high_mul_full(scale, ub_read_i32(exponential, (uint32_t)(most - logits[i])));
    const uint32_t p = ((uint32_t)product + half) >> exponent;
    probabilities[i] = (uint8_t)(p > 255 ? 255 : p);
  }
}

/* Attention of every head: q, k, v int8 [n][A] -> context int8 [n][A]. */
static void attend(const ub_agent *agent, const ub_layer *layer, const int8_t *q, const int8_t *k, const int8_t *v,
                   uint32_t n, int8_t *context) {
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes;
  const int8_t *const masked = (const int8_t *)section + layer->masked + 128;
  const uint32_t width = layer->head_width, all = (uint32_t)layer->heads * width;
  for (uint32_t head = 0; head < all; head += width) {
    for (uint32_t i = 0; i < n; i++) {
      int8_t logits[UB_MAX_POSITIONS];
      uint8_t probabilities[UB_MAX_POSITIONS];
      for (uint32_t j = 0; j < n; j += TILE_ROWS) {
        const uint32_t rows = n - j < TILE_ROWS ? n - j : TILE_ROWS;
        int32_t sums[TILE_ROWS] = {0};
        if (rows == TILE_ROWS)
          dot_tile(TILE_ROWS, 1, k + j * all + head, all, q + i * all + head, 0, width, sums);
        else
          dot_tile(rows, 1, k + j * all + head, all, q + i * all + head, 0, width, sums);
        for (uint32_t r = 0; r < rows; r++)
          logits[j + r] = masked[saturate(requantize(sums[r], layer->logits.multiplier, layer->logits.shift))];
      }
      softmax(section + layer->exponential, logits, n, probabilities);
      for (uint32_t c = head; c < head + width; c++) {
        int32_t sum = 0;
        for (uint32_t j = 0; j < n; j++) sum += (int32_t)probabilities[j] * v[j * all + c];
        context[i * all + c] = saturate(requantize(sum, layer->context.multiplier, layer->context.shift));
      }
    }
  }
}

/* ---- the forward pass ---------------------------------------------------------------------------------------- */

static ub_layer read_layer(const ub_encoder_header *encoder, const uint8_t *section, uint32_t index) {
  ub_layer layer;
  memcpy(&layer, section + encoder->layer + index * sizeof layer, sizeof layer);
  return layer;
}

static uint32_t most_of(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Widest rows of the arena's three regions: x [n][D]; h [n][max(D, A)]; work: input, q k v, f, or the logits. */
typedef struct {
  uint32_t x, h, work;
} arena_layout;

static arena_layout layout(const ub_encoder_header *encoder, const uint8_t *section, uint32_t n) {
  arena_layout bytes = {n * encoder->width, n * encoder->width, (n + encoder->kernel - 1u) * encoder->embed};
  for (uint32_t i = 0; i < encoder->layers; i++) {
    const ub_layer layer = read_layer(encoder, section, i);
    const uint32_t all = (uint32_t)layer.heads * layer.head_width;
    bytes.h = most_of(bytes.h, n * all);
    bytes.work = most_of(bytes.work, n * most_of(most_of(3 * all, layer.up.rows), encoder->width));
  }
  bytes.work = most_of(bytes.work, encoder->classes + 2 * n * encoder->tags);
  return bytes;
}

uint32_t ub_encoder_arena(const ub_encoder_header *encoder, const uint8_t *section, uint32_t positions) {
  const arena_layout bytes = layout(encoder, section, positions);
  return bytes.x + bytes.h + bytes.work;
}

/* The input stands in the work region, between rows of zeros that the convolution sees beyond both ends. */
static int8_t *input_rows(const ub_agent *agent, uint32_t n) {
  const arena_layout bytes = layout(&agent->encoder, agent->sections[UB_ENCODER].bytes, n);
  int8_t *const work = (int8_t *)agent->arena + bytes.x + bytes.h;
  const uint32_t margin = agent->encoder.kernel / 2u * agent->encoder.embed;
  memset(work, 0, margin);
  memset(work + margin + n * agent->encoder.embed, 0, margin);
  return work + margin;
}

const int8_t *ub_embed(const ub_agent *agent, const uint8_t *text, const ub_token *tokens, uint32_t count) {
  const ub_features_header *const features = &agent->features;
  const uint8_t *const table = agent->sections[UB_FEATURES].bytes + features->table;
  const uint32_t embed = features->embed, row_bytes = embed * features->bits / 8u;
  int8_t *const input = input_rows(agent, count + 1);
  for (uint32_t position = 0; position <= count; position++) {
    uint16_t rows[UB_MAX_PIECES] = {(uint16_t)position};
    uint32_t pieces = 1;
    if (position > 0) pieces += ub_pieces(text, &tokens[position - 1], features->positions, features->rows, rows + 1);
    int16_t sum[UB_MAX_WIDTH] = {0};
    for (uint32_t piece = 0; piece < pieces; piece++) {
      const uint8_t *const row = table + rows[piece] * row_bytes;
      if (features->bits == 4) {
        for (uint32_t i = 0; i < row_bytes; i++) {
          sum[2 * i] = (int16_t)(sum[2 * i] + (row[i] & 15) - 8);
          sum[2 * i + 1] = (int16_t)(sum[2 * i + 1] + (row[i] >> 4) - 8);
        }
      } else {
        for (uint32_t i = 0; i < embed; i++) sum[i] = (int16_t)(sum[i] + (int8_t)row[i]);
      }
    }
    for (uint32_t i = 0; i < embed; i++) input[position * embed + i] = saturate(sum[i]);
  }
  return input;
}

ub_logits ub_encode_embeddings(const ub_agent *agent, const int8_t *embeddings, uint32_t positions) {
  memcpy(input_rows(agent, positions), embeddings, (size_t)positions * agent->encoder.embed);
  return ub_encode(agent, positions);
}

ub_logits ub_encode(const ub_agent *agent, uint32_t n) {
  const ub_encoder_header *const encoder = &agent->encoder;
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes;
  const uint32_t width = encoder->width;
  const arena_layout bytes = layout(encoder, section, n);
  int8_t *const x = (int8_t *)agent->arena;
  int8_t *const h = x + bytes.x;
  int8_t *const work = h + bytes.h;

  matmul(agent, &encoder->convolution, work, encoder->embed, n, x, width);
  for (uint32_t index = 0; index < encoder->layers; index++) {
    const ub_layer layer = read_layer(encoder, section, index);
    const uint32_t all = (uint32_t)layer.heads * layer.head_width;
    int8_t *const q = work, *const k = q + n * all, *const v = k + n * all;

    normalize(x, layer.attention_zero, n, width, h);
    matmul(agent, &layer.query, h, width, n, q, all);
    matmul(agent, &layer.key, h, width, n, k, all);
    matmul(agent, &layer.value, h, width, n, v, all);
    attend(agent, &layer, q, k, v, n, h);
    matmul(agent, &layer.output, h, all, n, work, width);
    add(&layer.attention_residual, x, work, n * width);

    normalize(x, layer.feed_forward_zero, n, width, h);
    matmul(agent, &layer.up, h, width, n, work, layer.up.rows);
    matmul(agent, &layer.down, work, layer.up.rows, n, h, width);
    add(&layer.feed_forward_residual, x, h, n * width);
  }
  normalize(x, encoder->final_zero, n, width, h);
  int8_t *const classes = work, *const tags = work + encoder->classes;
  matmul(agent, &encoder->class_head, h, width, 1, classes, encoder->classes);
  matmul(agent, &encoder->tag_head, h + width, width, n - 1, tags, encoder->tags);
  return (ub_logits){classes, tags, (uint8_t *)tags + (n - 1) * encoder->tags};
}
